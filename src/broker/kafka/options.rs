//! What the Kafka ports are opened with, and the client properties that follow from it.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::broker::cluster::{Cluster, Copies, Mechanism, Sasl, Tls};
use crate::domain::names::TopicName;
use crate::domain::time::Span;

/// How to reach a cluster and what this process is called there.
#[derive(Clone)]
pub struct Options {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Stands before every topic's name.
    pub topic_prefix: String,
    /// Stands before every group's name and every transactional id.
    pub group_prefix: String,
    /// Names this process; two that run at once must not share it. Part of its transactional ids.
    pub instance: String,
    /// Members keep their partitions over a restart shorter than the session (`group.instance.id`).
    pub static_membership: bool,
    /// Of topics; what is not said follows the number of brokers.
    pub copies: Copies,
    /// Client properties of librdkafka as they are (`security.protocol`, `sasl.*`, `ssl.*`): may hold secrets.
    pub properties: BTreeMap<String, String>,
    /// A member silent for longer loses its partitions. Default 45 s.
    pub session_timeout: Span,
    /// A worker asked to give partitions up has this long before they are taken. Default 30 s.
    pub release_deadline: Span,
    /// Time a transaction may take; a dead worker blocks readers of its outputs as long. Default 20 s.
    pub transaction_timeout: Span,
}

impl Options {
    pub fn new(brokers: &str, instance: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic_prefix: String::new(),
            group_prefix: String::new(),
            instance: instance.to_owned(),
            static_membership: false,
            copies: Copies::default(),
            properties: BTreeMap::new(),
            session_timeout: Span::from_secs(45),
            release_deadline: Span::from_secs(30),
            transaction_timeout: Span::from_secs(20),
        }
    }
}

impl Options {
    /// The options of a cluster: security becomes properties of the client.
    pub fn of(cluster: &Cluster, instance: &str) -> Self {
        Self { copies: cluster.copies, properties: security(cluster), ..Self::new(&cluster.brokers, instance) }
    }
}

/// The client's properties for how a cluster is reached. They hold secrets.
fn security(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut set = |key: &str, value: &str| drop(properties.insert(key.to_owned(), value.to_owned()));
    set("security.protocol", cluster.protocol().as_str());
    if let Some(Tls { ca, client }) = &cluster.tls {
        if let Some(ca) = ca {
            set("ssl.ca.location", &ca.to_string_lossy());
        }
        if let Some(client) = client {
            set("ssl.certificate.location", &client.certificate.to_string_lossy());
            set("ssl.key.pem", client.key.expose());
        }
    }
    match &cluster.sasl {
        None => {}
        Some(Sasl::Password { mechanism, user, password }) => {
            set("sasl.mechanism", Mechanism::Password(*mechanism).as_str());
            set("sasl.username", user);
            set("sasl.password", password.expose());
        }
        Some(Sasl::UnsecuredToken { principal }) => {
            set("sasl.mechanism", Mechanism::OAuthBearer.as_str());
            set("enable.sasl.oauthbearer.unsecure.jwt", "true");
            set("sasl.oauthbearer.config", &format!("principal={principal}"));
        }
    }
    properties
}

/// Values of client properties stay out of logs.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("group_prefix", &self.group_prefix)
            .field("instance", &self.instance)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

/// Why no client can be made of the options.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("client property {key} is set by lakegate itself: exactly-once delivery depends on it")]
    Reserved { key: String },
    #[error("the Kafka client refuses its configuration: {source}")]
    Client {
        #[source]
        source: rdkafka::error::KafkaError,
    },
}

/// Properties that the transaction loop and the hand-over of partitions depend on.
const RESERVED: [&str; 16] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "linger.ms",
    "log.queue",
    "partition.assignment.strategy",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Bytes one consumer fetches ahead.
const FETCHED_KIB_MAX: &str = "8192";

impl Options {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        match self.properties.keys().find(|key| RESERVED.contains(&key.as_str())) {
            Some(key) => Err(OpenError::Reserved { key: key.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn topic(&self, name: &TopicName) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    pub(super) fn group(&self, name: &str) -> String {
        format!("{}{name}", self.group_prefix)
    }

    fn base(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("lakegate-{}-{role}", self.instance))
            .set("allow.auto.create.topics", "false")
            // Small requests one after another: Nagle's algorithm would hold each back.
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            // A request that timed out is told at this level, and the producer must hear of it.
            .set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// A member of a group.
    pub(super) fn member(&self, group: &str, instance: &str) -> ClientConfig {
        let mut config = self.base(group);
        let heartbeat = Span::from_millis((self.session_timeout.millis() / 10).clamp(100, 3_000));
        config
            .set("group.id", self.group(group))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout.millis().to_string())
            .set("heartbeat.interval.ms", heartbeat.millis().to_string())
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("queued.min.messages", "2000")
            .set("queued.max.messages.kbytes", FETCHED_KIB_MAX)
            // A seek takes effect when the fetch before it has come back.
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "50");
        if self.static_membership {
            config.set("group.instance.id", format!("{}-{instance}", self.group(group)));
        }
        config
    }

    /// A transactional producer.
    pub(super) fn producer(&self, group: &str, instance: &str) -> ClientConfig {
        let mut config = self.base(group);
        let timeout = self.transaction_timeout.millis();
        config
            .set("transactional.id", format!("{}-{instance}", self.group(group)))
            .set("transaction.timeout.ms", timeout.to_string())
            .set("message.timeout.ms", self.message_timeout().millis().to_string())
            // The stage batches: waiting for more only costs time.
            .set("linger.ms", "0")
            // What the first request of a transaction waits while the markers of the one before are written.
            .set("retry.backoff.ms", "15")
            .set("compression.codec", "lz4")
            .set("queue.buffering.max.kbytes", "131072");
        config
    }

    /// A message not taken by then has failed; the transaction is aborted while it still can be.
    pub(super) fn message_timeout(&self) -> Span {
        Span::from_millis(self.transaction_timeout.millis() * 3 / 4)
    }

    /// Metadata, offsets and committed positions; `group` is whose positions are asked for.
    pub(super) fn catalog(&self, group: Option<&str>) -> ClientConfig {
        let mut config = self.base("catalog");
        // Without a group: ends with what is not committed yet, the target of a restore (KAFKA-10167).
        config.set("isolation.level", "read_uncommitted").set("enable.auto.commit", "false");
        if let Some(group) = group {
            // With one: a position only once the transaction that moves it has ended.
            config.set("isolation.level", "read_committed").set("group.id", self.group(group));
        }
        config
    }

    /// A consumer that reads one partition at a time and joins nothing.
    pub(super) fn cursor(&self) -> ClientConfig {
        let mut config = self.base("reader");
        config
            .set("group.id", self.group("reader"))
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", FETCHED_KIB_MAX)
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "50");
        config
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.base("admin")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::cluster::{ClientIdentity, PasswordMechanism};
    use crate::domain::secret::Secret;

    #[test]
    fn what_exactly_once_depends_on_cannot_be_set_from_outside() {
        let mut options = Options::new("localhost:9092", "one");
        options.properties.insert("sasl.password".into(), "hush".into());
        assert!(options.check().is_ok());
        assert!(!format!("{options:?}").contains("hush"));
        options.properties.insert("isolation.level".into(), "read_uncommitted".into());
        assert!(matches!(options.check(), Err(OpenError::Reserved { key }) if key == "isolation.level"));
    }

    #[test]
    fn every_way_to_a_cluster_is_one_the_client_knows() {
        let mut cluster = Cluster::new("localhost:9092");
        let told = |cluster: &Cluster| {
            let options = Options::of(cluster, "one");
            options.check().unwrap();
            options.admin().create_native_config().expect("the client knows every property");
            let text: Vec<String> = options.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
            text.join(" ")
        };
        assert_eq!(told(&cluster), "security.protocol=PLAINTEXT");
        for (mechanism, word) in [
            (PasswordMechanism::Plain, "PLAIN"),
            (PasswordMechanism::ScramSha256, "SCRAM-SHA-256"),
            (PasswordMechanism::ScramSha512, "SCRAM-SHA-512"),
        ] {
            cluster.sasl = Some(Sasl::Password { mechanism, user: "u".into(), password: Secret::new("hush".into()) });
            let sasl = format!("sasl.mechanism={word} sasl.password=hush sasl.username=u");
            assert_eq!(told(&cluster), format!("{sasl} security.protocol=SASL_PLAINTEXT"));
            assert!(!format!("{cluster:?} {:?}", Options::of(&cluster, "one")).contains("hush"));
        }
        cluster.sasl = Some(Sasl::UnsecuredToken { principal: "p".into() });
        let token = "enable.sasl.oauthbearer.unsecure.jwt=true sasl.mechanism=OAUTHBEARER sasl.oauthbearer.config=principal=p";
        assert_eq!(told(&cluster), format!("{token} security.protocol=SASL_PLAINTEXT"));
        let client = ClientIdentity { certificate: "cert.pem".into(), key: Secret::new("key".into()) };
        cluster = Cluster { tls: Some(Tls { ca: Some("ca.pem".into()), client: Some(client) }), sasl: None, ..cluster };
        let files = "ssl.ca.location=ca.pem ssl.certificate.location=cert.pem ssl.key.pem=key";
        assert_eq!(told(&cluster), format!("security.protocol=SSL {files}"));
    }

    #[test]
    fn a_message_fails_before_its_transaction_does() {
        let options = Options::new("localhost:9092", "one");
        assert!(options.message_timeout() < options.transaction_timeout);
        let config = options.producer("validate", "one");
        assert_eq!(config.get("transactional.id"), Some("validate-one"));
    }
}
