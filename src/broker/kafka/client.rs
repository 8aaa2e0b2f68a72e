//! What every Kafka client here has in common: where its log lines go, and what its errors mean.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

use crate::broker::LogError;

/// Listens to one client.
#[derive(Debug, Default)]
pub(super) struct Ear {
    /// A request timed out or a connection broke since [`Ear::listen`].
    shaken: AtomicBool,
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
