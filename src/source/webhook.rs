//! Notifications over HTTP: `POST /notices`, whatever family and wrapping.
//!
//! An answer in the two hundreds means committed: the landings are on the log, so a sender that is
//! told otherwise sends again and validate tells the repetition. One bad record does not lose its
//! neighbors: they land, the sender gets 422 with the reasons, and the notification's first bytes
//! stand in a letter. Deliberately absent: following a `SubscribeURL` (anybody could make us call
//! anything), and authentication (the proxy's).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::broker::Broker;
use crate::clock::{self, Clock};
use crate::domain::time::Span;
use crate::domain::trace::TraceParent;
use crate::event::{CloudEventHeaders, Family, ParseOptions};
use crate::pipeline::tally::Tally;
use crate::source::landing::{FAULTS_MAX, Intake, Notice, Sender};

/// Bytes of one request's body: what one notification may have.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Requests held at once: with their bodies, at most 64 MiB; more are told to come again.
const REQUESTS_MAX: usize = 64;
/// A body that takes longer to arrive is given up.
const BODY_TIME_MAX: Span = Span::from_secs(30);

/// The webhook of one process.
pub struct Webhook {
    broker: Arc<dyn Broker>,
    intake: Intake,
    clock: Arc<dyn Clock>,
    source: String,
    family: Option<Family>,
    seats: Semaphore,
    tally: Option<Arc<Tally>>,
}

/// What a sender is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Webhook {
    /// `source` names this webhook in records and letters; `family` overrides detection of S3-shaped records.
    pub fn new(broker: Arc<dyn Broker>, intake: Intake, clock: Arc<dyn Clock>, source: impl Into<String>, family: Option<Family>) -> Self {
        Self { broker, intake, clock, source: source.into(), family, seats: Semaphore::new(REQUESTS_MAX), tally: None }
    }

    /// Counts what it takes.
    #[must_use]
    pub fn counted(mut self, tally: Option<Arc<Tally>>) -> Self {
        self.tally = tally;
        self
    }

    /// Lands what a notification says; answers once it is committed.
    pub async fn take(&self, body: &[u8], cloud_event: Option<CloudEventHeaders>, trace: Option<TraceParent>) -> Answer {
        let options = ParseOptions { max_bytes: BODY_BYTES_MAX, family_hint: self.family, cloud_event, ..ParseOptions::default() };
        let notice = Notice::read(body, &options);
        let now = self.clock.now();
        let records =
            self.intake.landings(&notice.events, Sender { source: &self.source, trace: trace.as_ref() }, now).and_then(|mut records| {
                if !notice.faults.is_empty() {
                    records.push(self.intake.unreadable(&self.source, body, notice.complaint(), now)?);
                }
                Ok(records)
            });
        let records = match records {
            Ok(records) => records,
            Err(e) => {
                error!(source = self.source, error = %e, "a notification could not be encoded");
                return failed(StatusCode::INTERNAL_SERVER_ERROR, "the notification could not be encoded");
            }
        };
        let facts = self.tally.as_ref().map(|t| [notice.facts(&self.source), t.landings(&records)].concat());
        if !records.is_empty()
            && let Err(e) = self.broker.append(records).await
        {
            warn!(source = self.source, error = %e, "a notification was not committed");
            return failed(StatusCode::SERVICE_UNAVAILABLE, "the log does not take records now; send it again");
        }
        if let (Some(tally), Some(facts)) = (&self.tally, facts) {
            tally.tell(&facts, self.clock.now());
        }
        answer(&notice, body)
    }

    /// `POST /notices` and `GET /livez`.
    pub fn router(self: Arc<Self>) -> axum::Router {
        axum::Router::new()
            .route("/notices", post(notices))
            .route("/livez", get(|| async { "ok\n" }))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }
}

/// Serves until stopped; requests that have begun are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(webhook: Arc<Webhook>, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, webhook.router()).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn notices(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    let Ok(_seat) = webhook.seats.try_acquire() else {
        return failed(StatusCode::SERVICE_UNAVAILABLE, "too many notifications at once; send it again").into_response();
    };
    let cloud_event = headers(request.headers());
    // One that is none is as good as absent (W3C Trace Context 3.2).
    let trace = request.headers().get(TraceParent::HEADER).and_then(|text| text.to_str().ok()?.parse().ok());
    let body = tokio::select! {
        biased;
        body = Bytes::from_request(request, &()) => body,
        () = clock::sleep(webhook.clock.as_ref(), BODY_TIME_MAX) => {
            return failed(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time").into_response();
        }
    };
    match body {
        Ok(body) => webhook.take(&body, cloud_event, trace).await.into_response(),
        Err(refused) => failed(refused.status(), &refused.body_text()).into_response(),
    }
}

fn headers(headers: &HeaderMap) -> Option<CloudEventHeaders> {
    CloudEventHeaders::of(headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))))
}

fn failed(status: StatusCode, message: &str) -> Answer {
    Answer { status, body: json!({ "error": message }) }
}

fn answer(notice: &Notice, body: &[u8]) -> Answer {
    let rejected: Vec<Value> = notice
        .faults
        .iter()
        .take(FAULTS_MAX)
        .map(|f| json!({ "record": f.record, "reason": f.reason.as_str(), "detail": f.detail }))
        .collect();
    let mut told = json!({ "accepted": notice.events.len(), "ignored": notice.ignored, "rejected": rejected });
    if notice.faults.len() > FAULTS_MAX {
        told["rejected_more"] = json!(notice.faults.len() - FAULTS_MAX);
    }
    if notice.ignored > 0
        && let Some(code) = validation_code(body)
    {
        told["validationResponse"] = code;
    }
    let status = if notice.faults.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Answer { status, body: told }
}

/// Event Grid's first delivery wants its code back in the answer.
fn validation_code(body: &[u8]) -> Option<Value> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let event = document.get(0)?;
    let kind = event.get("eventType")?.as_str()?;
    (kind == "Microsoft.EventGrid.SubscriptionValidationEvent").then(|| event.pointer("/data/validationCode").cloned())?
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", self.body)).into_response()
    }
}

#[cfg(test)]
mod tests;
