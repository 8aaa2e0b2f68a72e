//! What every Kafka client here has in common: where its log lines go, and what its errors mean.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tracing::{debug, warn};

use crate::broker::LogError;
use crate::clock::Stopwatch;

/// Listens to one client.
#[derive(Debug, Default)]
pub(super) struct Ear {
    /// A request timed out or a connection broke since [`Ear::listen`].
    shaken: AtomicBool,
    /// Why the broker does not let this client in, as it last said.
    turned_away: Mutex<Option<String>>,
}

/// Facilities of log lines that mean a request may have been sent twice.
const SHAKING: [&str; 2] = ["REQTMOUT", "FAIL"];

impl Ear {
    /// Forgets what was heard.
    pub(super) fn listen(&self) {
        self.shaken.store(false, Ordering::Relaxed);
    }

    pub(super) fn shake(&self) {
        self.shaken.store(true, Ordering::Relaxed);
    }

    fn turned_away(&self) -> Option<String> {
        self.turned_away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_shaken(&self) -> bool {
        self.shaken.load(Ordering::Relaxed)
    }
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if SHAKING.contains(&facility) {
            self.shake();
        }
        // The client heals itself of most of what it reports; what it does not heal of comes as an error of a call.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => warn!(facility, text, "kafka client"),
            _ => debug!(facility, text, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, text: &str) {
        self.shake();
        if let Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL) =
            error.rdkafka_error_code()
        {
            warn!(text, "the broker does not let this client in");
            *self.turned_away.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        }
        debug!(%error, text, "kafka client");
    }
}

impl ConsumerContext for Ear {}

/// Leaders and coordinators move and are elected, right after a topic's creation as well: the same question finds the
/// new one in a moment.
pub(super) fn passes_by_itself(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                // What the client knows of a topic was dropped and is being asked for.
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
        )
    )
}

/// Takes log lines and errors off a client that fetches nothing: they would pile up in it.
pub(super) fn hear(client: &BaseConsumer<Ear>) {
    for _ in 0..8 {
        drop(client.poll(Duration::ZERO));
    }
}

/// Events looked through for a reason: log lines stand between.
const EVENTS_MAX: usize = 1_000;

/// Asks for metadata of one topic, or all. A client that is not let in only sees its connections broken, so between
/// short waits its events are looked at: the reason is told at once, and no sooner than it is known.
pub(super) fn metadata(client: &BaseConsumer<Ear>, topic: Option<&str>, within: Duration) -> Result<Metadata, LogError> {
    let step = within.min(Duration::from_secs(3));
    let since = Stopwatch::start();
    loop {
        let error = match client.fetch_metadata(topic, step) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        for _ in 0..EVENTS_MAX {
            drop(client.poll(Duration::ZERO));
            if let Some(text) = client.context().turned_away() {
                return Err(LogError::Refused {
                    detail: format!(
                        "{text}; check kafka.security_protocol, then kafka.sasl_mechanism, user and password, or kafka.ca and client_cert"
                    ),
                });
            }
        }
        let waits = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown)
        );
        if !waits || since.elapsed() >= within {
            return Err(log_error(&error));
        }
    }
}

/// A refusal, with what the right is about.
pub(super) fn needs(error: LogError, what: &str) -> LogError {
    match error {
        LogError::Refused { detail } => {
            LogError::Refused { detail: format!("{detail} ({what}); `lakegate access kafka` prints the rights it needs") }
        }
        other => other,
    }
}

/// What a code says about the caller's request, beside a broker that is not there.
pub(super) fn log_error(error: &KafkaError) -> LogError {
    let detail = error.to_string();
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::UnsupportedFeature,
        ) => LogError::Refused { detail },
        Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::ProducerFenced) => LogError::Fenced,
        _ => LogError::Unreachable { detail },
    }
}
