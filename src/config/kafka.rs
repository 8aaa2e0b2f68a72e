//! `[kafka]`: a cluster in place of the embedded log, and how this process shows it who it is.

use std::path::PathBuf;

use super::file::{Entry, Value};
use super::problem::Origin;
use super::section::{Reading, Refused, Said, Section, count, parsed, text};
use crate::broker::cluster::{ClientIdentity, Cluster, Copies, Mechanism, PREFIX, Protocol, Sasl, Tls};
use crate::domain::names::{StageName, TopicName};
use crate::domain::secret::Secret;

pub const SECTION: &str = "kafka";

/// Keys that only TLS reads.
const OF_TLS: [&str; 3] = ["ca", "client_cert", "client_key"];
/// Keys that only SASL reads.
const OF_SASL: [&str; 4] = ["sasl_mechanism", "user", "password", "principal"];

/// What the section says.
pub struct Kafka {
    /// `None`: the embedded log.
    pub cluster: Option<Cluster>,
    pub prefix: String,
}

/// What topics can be named with: the longest of ours after it fits too.
fn prefix_of_names(value: &Value) -> Result<String, Refused> {
    let prefix = text(value)?;
    let longest = StageName::ALL.iter().map(|s| format!("{prefix}changelog.{s}")).max_by_key(String::len).unwrap_or_default();
    match longest.parse::<TopicName>() {
        Ok(_) => Ok(prefix),
        Err(e) => Err(Refused { message: e.to_string(), remedy: Some("such as lakegate. or team.lakegate.".to_owned()) }),
    }
}

pub fn read(root: &[Entry], reading: &mut Reading) -> Kafka {
    let mut section = Section::open(root, SECTION, reading);
    let brokers = section.optional("brokers", reading, text);
    let prefix = section.or("prefix", PREFIX.to_owned(), reading, prefix_of_names);
    let is_said = |section: &Section<'_>, keys: &[&str]| keys.iter().any(|key| section.place(key).is_some());
    // Whoever says how to log in means it encrypted, unless the protocol says otherwise.
    let usual = match (is_said(&section, &OF_TLS), is_said(&section, &OF_SASL)) {
        (_, true) => Protocol::SaslSsl,
        (true, false) => Protocol::Ssl,
        (false, false) => Protocol::Plaintext,
    };
    let default = Said { value: usual, origin: Origin::Default };
    let protocol = section.or_said("security_protocol", default, reading, parsed::<Protocol>).value;
    let mechanism = section.optional("sasl_mechanism", reading, parsed::<Mechanism>);
    section.pair(["user", "password"], reading);
    section.pair(["client_cert", "client_key"], reading);
    let user = section.optional("user", reading, text);
    let password = section.secret("password", reading);
    let principal = section.optional("principal", reading, text);
    let ca = section.optional("ca", reading, text).map(|p| PathBuf::from(p.value));
    let certificate = section.optional("client_cert", reading, text).map(|p| PathBuf::from(p.value));
    let key = section.secret("client_key", reading);
    let copies = |n: Said<u64>| u16::try_from(n.value).unwrap_or(u16::MAX);
    let copies = Copies {
        replication: section.optional("replication_factor", reading, count(1, 32)).map(copies),
        in_sync: section.optional("min_insync_replicas", reading, count(1, 32)).map(copies),
    };
    if let (Some(all), Some(some)) = (copies.replication, copies.in_sync)
        && some > all
    {
        let message = format!("{some} copies in step of {all}: nothing could be written");
        section.refuse_key("min_insync_replicas", message, "say less than replication_factor", reading);
    }
    for (has, keys, better) in [
        (protocol.has_tls(), OF_TLS.as_slice(), "say security_protocol = \"SSL\" or \"SASL_SSL\", or leave it out"),
        (protocol.has_sasl(), OF_SASL.as_slice(), "say security_protocol = \"SASL_SSL\", or leave it out"),
    ] {
        for key in keys.iter().filter(|_| !has) {
            section.refuse_key(key, format!("nothing reads it with {protocol}"), better, reading);
        }
    }
    let sasl = if protocol.has_sasl() { sasl(&section, mechanism, user, password, principal, reading) } else { None };
    section.finish(reading);
    let client = certificate.zip(key).map(|(certificate, key)| ClientIdentity { certificate, key });
    let tls = protocol.has_tls().then_some(Tls { ca, client });
    let cluster = brokers.map(|brokers| Cluster { brokers: brokers.value, prefix: prefix.clone(), tls, sasl, copies });
    Kafka { cluster, prefix }
}

/// Who this process is, by the mechanism. What is missing is told at the key that calls for it.
fn sasl(
    section: &Section<'_>,
    mechanism: Option<Said<Mechanism>>,
    user: Option<Said<String>>,
    password: Option<Secret>,
    principal: Option<Said<String>>,
    reading: &mut Reading,
) -> Option<Sasl> {
    let Some(mechanism) = mechanism else {
        // Refused already if it was said; else told where something calls for it.
        if let (None, Some(key)) = (
            section.place("sasl_mechanism"),
            ["user", "password", "principal", "security_protocol"].iter().find(|k| section.place(k).is_some()),
        ) {
            section.refuse_key(key, "sasl_mechanism is missing", "say PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", reading);
        }
        return None;
    };
    match mechanism.value {
        Mechanism::Password(of) => {
            section.refuse_key(
                "principal",
                format!("only OAUTHBEARER reads it, not {}", mechanism.value),
                "say user and password",
                reading,
            );
            if section.place("user").is_none() && section.place("password").is_none() {
                let message = format!("{} wants a user and a password", mechanism.value);
                section.refuse_key("sasl_mechanism", message, "say user, and password = \"env:NAME\" or \"file:PATH\"", reading);
            }
            Some(Sasl::Password { mechanism: of, user: user?.value, password: password? })
        }
        Mechanism::OAuthBearer => {
            for key in ["user", "password"] {
                section.refuse_key(key, "OAUTHBEARER does not read it", "say principal", reading);
            }
            if section.place("principal").is_none() {
                let message = "OAUTHBEARER is built with unsecured tokens only, for tests: tokens of an OAuth server are not supported";
                section.refuse_key(
                    "sasl_mechanism",
                    message,
                    "say principal for an unsecured token, or use SCRAM-SHA-512 or client_cert",
                    reading,
                );
            }
            Some(Sasl::UnsecuredToken { principal: principal?.value })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::broker::cluster::PasswordMechanism;
    use crate::config::file;

    fn resolved(text: &str) -> (Option<Cluster>, Reading) {
        let environment = BTreeMap::from([("PASSWORD".to_owned(), "hunter2".to_owned()), ("KEY".to_owned(), "pem".to_owned())]);
        let mut reading = Reading { environment, ..Reading::default() };
        let root = file::read("f.toml", &format!("[kafka]\n{text}")).unwrap();
        let cluster = read(&root, &mut reading).cluster;
        (cluster, reading)
    }

    #[test]
    fn a_password_means_an_encrypted_connection() {
        let (cluster, reading) =
            resolved("brokers = \"b:1\"\nsasl_mechanism = \"SCRAM-SHA-512\"\nuser = \"u\"\npassword = \"env:PASSWORD\"");
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let cluster = cluster.unwrap();
        assert_eq!(cluster.protocol(), Protocol::SaslSsl);
        assert!(
            matches!(&cluster.sasl, Some(Sasl::Password { mechanism: PasswordMechanism::ScramSha512, password, .. }) if password.expose() == "hunter2")
        );
        let shown = format!("{:?} {cluster:?}", reading.shown);
        assert!(shown.contains("*** (env:PASSWORD)") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn plain_text_is_the_default_and_client_certificates_mean_tls() {
        assert_eq!(resolved("brokers = \"b:1\"").0.unwrap(), Cluster::new("b:1"));
        let (cluster, reading) = resolved("brokers = \"b:1\"\nclient_cert = \"c.pem\"\nclient_key = \"env:KEY\"\nca = \"ca.pem\"");
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let cluster = cluster.unwrap();
        assert_eq!((cluster.protocol(), cluster.tls.unwrap().client.unwrap().key.expose()), (Protocol::Ssl, "pem"));
        let (cluster, _) =
            resolved("brokers = \"b:1\"\nsasl_mechanism = \"OAUTHBEARER\"\nprincipal = \"p\"\nsecurity_protocol = \"sasl_plaintext\"");
        assert_eq!(cluster.unwrap().sasl, Some(Sasl::UnsecuredToken { principal: "p".into() }));
    }

    #[test]
    fn faults_name_their_key_and_the_way_out() {
        for (text, fault) in [
            ("user = \"u\"\nsasl_mechanism = \"PLAIN\"", "f.toml:2: kafka.user: password is missing"),
            ("sasl_mechanism = \"PLAIN\"", "f.toml:2: kafka.sasl_mechanism: PLAIN wants a user and a password"),
            ("sasl_mechanism = \"OAUTHBEARER\"", "f.toml:2: kafka.sasl_mechanism: OAUTHBEARER is built with unsecured tokens only"),
            ("sasl_mechanism = \"GSSAPI\"", "f.toml:2: kafka.sasl_mechanism: \"GSSAPI\" is none of PLAIN"),
            ("security_protocol = \"sasl_ssl\"", "f.toml:2: kafka.security_protocol: sasl_mechanism is missing"),
            ("security_protocol = \"plaintext\"\nca = \"x\"", "f.toml:3: kafka.ca: nothing reads it with PLAINTEXT"),
            ("sasl_mechanism = \"PLAIN\"\nuser = \"u\"\npassword = \"hunter2\"", "f.toml:4: kafka.password: a secret is said by reference"),
            ("replication_factor = 1\nmin_insync_replicas = 2", "f.toml:3: kafka.min_insync_replicas: 2 copies in step of 1"),
        ] {
            let (_, reading) = resolved(text);
            let told: Vec<String> = reading.problems.iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert!(told[0].contains(fault) && !told[0].contains("hunter2"), "{text}: {told:?}");
        }
    }
}
