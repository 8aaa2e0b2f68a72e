//! `GET /metrics`, `/livez`, `/readyz`, `/startupz`: what a process shows of itself, to anybody who reaches the address.
//!
//! Answers are made of metrics and stage names only. Deliberately absent: authentication (the network's), and asking
//! anything outside while a probe waits.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::telemetry::health::{Health, Verdict};
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

/// Answers of metrics held at once; each may take some megabytes.
const ANSWERS_MAX: usize = 8;

/// An answer is handed on in pieces of this size, so that a reader who does not read holds one answer and no more.
const PIECE_BYTES: usize = 64 << 10;

/// What is shown.
pub struct Shown {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    seats: Arc<Semaphore>,
}

impl Shown {
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { metrics, health, seats: Arc::new(Semaphore::new(ANSWERS_MAX)) }
    }

    pub fn router(self: Arc<Self>) -> axum::Router {
        axum::Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async |State(shown): State<Arc<Shown>>| probed(shown.health.live())))
            .route("/readyz", get(async |State(shown): State<Arc<Shown>>| probed(shown.health.ready())))
            .route("/startupz", get(async |State(shown): State<Arc<Shown>>| probed(shown.health.startup())))
            .with_state(self)
    }
}

/// Serves until it is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(shown: Arc<Shown>, listener: TcpListener) -> std::io::Result<()> {
    axum::serve(listener, shown.router()).await
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    let Ok(seat) = Arc::clone(&shown.seats).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many readers at once\n").into_response();
    };
    let text = Bytes::from(shown.metrics.text());
    let pieces = (0..text.len()).step_by(PIECE_BYTES).map(move |at| text.slice(at..text.len().min(at + PIECE_BYTES)));
    let held = futures::stream::iter(pieces).map(move |piece| {
        let _until_the_last = &seat;
        Ok::<_, Infallible>(piece)
    });
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], Body::from_stream(held)).into_response()
}

fn probed(verdict: Verdict) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(faults) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", faults.join("\n"))).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::names::StageName;
    use crate::domain::time::Span;

    async fn asked(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let health = Health::new(Arc::new(ManualClock::default()), Span::from_secs(900));
        let shown = Arc::new(Shown::new(Arc::new(Metrics::new(&StageName::ALL)), Arc::new(health)));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(serve(shown, listener));
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_probes_are_read_and_nothing_is_written() {
        let metrics = asked("GET /metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
        assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("lakegate_kafka_transactions_total{outcome=\"committed\",stage=\"publish\"} 0\n"), "{metrics}");
        assert!(asked("GET /livez").await.starts_with("HTTP/1.1 200 OK"));
        for probe in ["/readyz", "/startupz"] {
            let answer = asked(&format!("GET {probe}")).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        }
        assert!(asked("POST /metrics").await.starts_with("HTTP/1.1 405"));
        assert!(asked("GET /").await.starts_with("HTTP/1.1 404"));
    }
}
