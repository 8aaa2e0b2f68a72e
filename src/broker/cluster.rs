//! How to reach a Kafka cluster, and who asks: plain data, known to every build.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::domain::secret::Secret;

/// What stands before the names of topics where nothing else is said.
pub const PREFIX: &str = "lakegate.";

/// A cluster, who this process is there, and what new topics are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Stands before every topic, group and transactional id: installations of one cluster differ in it.
    pub prefix: String,
    /// `None`: plain text.
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
    pub copies: Copies,
}

impl Cluster {
    pub fn new(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), prefix: PREFIX.to_owned(), tls: None, sasl: None, copies: Copies::default() }
    }

    pub fn protocol(&self) -> Protocol {
        match (&self.tls, &self.sasl) {
            (None, None) => Protocol::Plaintext,
            (Some(_), None) => Protocol::Ssl,
            (None, Some(_)) => Protocol::SaslPlaintext,
            (Some(_), Some(_)) => Protocol::SaslSsl,
        }
    }
}

/// Whom to trust, and how this process shows who it is. Names of brokers are always checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the trusted authorities; `None`: the system's.
    pub ca: Option<PathBuf>,
    pub client: Option<ClientIdentity>,
}

/// Who this process is on a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file of the certificate and those it is signed with.
    pub certificate: PathBuf,
    /// PEM.
    pub key: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {
    Password {
        mechanism: PasswordMechanism,
        user: String,
        password: Secret,
    },
    /// A token nobody signed, for a broker that takes such ones: for tests. Tokens of an OAuth server would want
    /// libcurl in the client, which this build leaves out.
    UnsecuredToken {
        principal: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// What SASL offers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Password(PasswordMechanism),
    OAuthBearer,
}

impl Mechanism {
    pub const ALL: [Mechanism; 4] = [
        Mechanism::Password(PasswordMechanism::Plain),
        Mechanism::Password(PasswordMechanism::ScramSha256),
        Mechanism::Password(PasswordMechanism::ScramSha512),
        Mechanism::OAuthBearer,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Password(PasswordMechanism::Plain) => "PLAIN",
            Mechanism::Password(PasswordMechanism::ScramSha256) => "SCRAM-SHA-256",
            Mechanism::Password(PasswordMechanism::ScramSha512) => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// What a connection is made of, as every Kafka client calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    pub const ALL: [Protocol; 4] = [Protocol::Plaintext, Protocol::Ssl, Protocol::SaslPlaintext, Protocol::SaslSsl];

    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        }
    }

    pub fn has_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    pub fn has_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

/// A word is none of a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is none of {known}")]
pub struct UnknownWord {
    word: String,
    known: String,
}

fn one_of<T: Copy>(word: &str, all: &[T], spelled: impl Fn(T) -> &'static str) -> Result<T, UnknownWord> {
    let unknown = || UnknownWord { word: word.to_owned(), known: all.iter().map(|t| spelled(*t)).collect::<Vec<_>>().join(", ") };
    all.iter().copied().find(|t| spelled(*t).eq_ignore_ascii_case(word)).ok_or_else(unknown)
}

impl FromStr for Protocol {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        one_of(word, &Self::ALL, Self::as_str)
    }
}

impl FromStr for Mechanism {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        one_of(word, &Self::ALL, Self::as_str)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Copies of a topic's records, and how many of them must have one before it counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    /// `None`: the broker's default.
    pub replication: Option<u16>,
    /// `None`: the broker's default.
    pub in_sync: Option<u16>,
}

impl Copies {
    /// What nobody said: three copies and two in step wherever there are brokers for it, else what the broker does.
    #[must_use]
    pub fn on(self, brokers: usize) -> Self {
        let replication = self.replication.or((brokers >= 3).then_some(3));
        let in_sync = self.in_sync.or(replication.filter(|n| *n >= 3).map(|_| 2));
        Self { replication, in_sync }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_three_keeps_three_copies_unless_told_otherwise() {
        let said = |replication, in_sync| Copies { replication, in_sync };
        for (ours, brokers, then) in [
            (said(None, None), 1, said(None, None)),
            (said(None, None), 2, said(None, None)),
            (said(None, None), 3, said(Some(3), Some(2))),
            (said(Some(1), None), 5, said(Some(1), None)),
            (said(None, Some(1)), 3, said(Some(3), Some(1))),
        ] {
            assert_eq!(ours.on(brokers), then, "{ours:?} {brokers}");
        }
    }

    #[test]
    fn words_are_read_in_any_case_and_others_named() {
        assert_eq!("sasl_ssl".parse(), Ok(Protocol::SaslSsl));
        assert_eq!("scram-sha-512".parse(), Ok(Mechanism::Password(PasswordMechanism::ScramSha512)));
        let error = "GSSAPI".parse::<Mechanism>().unwrap_err().to_string();
        assert_eq!(error, "\"GSSAPI\" is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER");
    }
}
