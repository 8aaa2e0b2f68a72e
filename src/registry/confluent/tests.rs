use std::sync::Arc;

use object_store::memory::InMemory;

use super::testing::{Asked, Next, Server};
use super::*;
use crate::domain::reason::Disposition;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::registry::address::Credentials;
use crate::registry::embedded::EmbeddedRegistry;

async fn server(script: Vec<Next>) -> Server {
    Server::start(EmbeddedRegistry::new(Arc::new(InMemory::new())), script).await
}

fn open(address: &Address) -> ConfluentRegistry {
    ConfluentRegistry::open(address).unwrap()
}

fn say(status: u16, body: &str) -> Next {
    Next::Say(status, body.to_owned())
}

fn subject() -> Subject {
    "orders/1 value".parse().unwrap()
}

const A: &str = r#"{"type":"record","name":"r","fields":[{"name":"a","type":"string"}]}"#;
const AB: &str =
    r#"{"type":"record","name":"r","fields":[{"name":"a","type":"string"},{"name":"b","type":["null","string"],"default":null}]}"#;

/// Method and path of each request, without the base.
fn lines(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(|a| format!("{} {}", a.method, a.path.strip_prefix("/base").unwrap())).collect()
}

#[tokio::test]
async fn a_first_version_is_registered_under_a_mode_of_its_own() {
    let server = server(Vec::new()).await;
    let registry = open(&server.address());
    let first = registry.register(&subject(), A).await.unwrap();
    let at = "/subjects/orders%2F1%20value/versions";
    let config = "/config/orders%2F1%20value";
    let expected = [
        format!("GET {at}"),
        format!("GET {config}"),
        format!("PUT {config}"),
        format!("POST {at}"),
        format!("GET {at}"),
        format!("GET {at}/1"),
    ];
    assert_eq!(lines(&server.asked()), expected);
    // What cannot change is not asked again.
    assert_eq!(registry.by_id(first.id).await.unwrap(), first.schema);
    assert_eq!(registry.versions(&subject()).await.unwrap(), [first]);
    assert_eq!(lines(&server.asked()), [format!("GET {at}")]);
    registry.set_mode(&subject(), Compatibility::Full).await.unwrap();
    registry.register(&subject(), AB).await.unwrap();
    let puts = server.asked().iter().filter(|a| a.method == Method::PUT).count();
    assert_eq!(puts, 1, "a mode that was said stays");
}

#[tokio::test]
async fn the_url_that_answered_last_is_asked_first() {
    let (broken, good) = (server(vec![say(503, "")]).await, server(Vec::new()).await);
    // A port that nobody listens on.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let urls = vec![format!("http://{closed}").parse().unwrap(), broken.base(), good.base()];
    let registry = open(&Address::new(urls));
    assert_eq!(registry.latest(&subject()).await.unwrap(), None);
    assert_eq!((broken.asked().len(), good.asked().len()), (1, 1));
    assert_eq!(registry.latest(&subject()).await.unwrap(), None);
    assert_eq!((broken.asked().len(), good.asked().len()), (0, 1));
    // It falls silent, and the one that was broken has come back.
    good.then(vec![say(500, "")]);
    broken.then(vec![Next::Serve]);
    assert_eq!(registry.latest(&subject()).await.unwrap(), None);
    assert_eq!((broken.asked().len(), good.asked().len()), (1, 1));
    broken.then(vec![say(502, "bad gateway")]);
    let error = registry.latest(&subject()).await.unwrap_err();
    let RegistryError::Unreachable { detail } = &error else { panic!("{error}") };
    for part in [closed.to_string(), "502 bad gateway".to_owned(), "500".to_owned()] {
        assert!(detail.contains(&part), "{part}: {detail}");
    }
}

#[tokio::test]
async fn whatever_answers_without_being_a_registry_is_waited_for() {
    let server = server(Vec::new()).await;
    let mut address = server.address();
    address.timeout = Span::from_millis(300);
    for (next, told) in [
        (say(200, "<html>Back soon</html>"), "not JSON"),
        (say(200, r#"{"id":"seven"}"#), "answer about"),
        (say(200, &format!("[{}1]", "1,".repeat(4 << 20))), "more than"),
        (say(200, &"[".repeat(1 << 20)), "not JSON"),
        (say(404, "default backend"), "path"),
        (say(500, r#"{"error_code":50001,"message":"backend"}"#), "backend"),
        (say(401, r#"{"error_code":40101,"message":"Unauthorized"}"#), "credentials"),
        (say(422, r#"{"error_code":42205,"message":"read-only mode"}"#), "read-only"),
        (say(418, "teapot"), "teapot"),
        (Next::Redirect("https://elsewhere/".to_owned()), "https://elsewhere/"),
        (Next::Hang, "too long"),
    ] {
        server.then(vec![next.clone()]);
        let registry = open(&address);
        for error in [
            registry.versions(&subject()).await.unwrap_err(),
            registry.register(&subject(), A).await.unwrap_err(),
            registry.accepts(&subject(), A).await.unwrap_err(),
            registry.by_id(SchemaId(1)).await.unwrap_err(),
            registry.mode(&subject()).await.unwrap_err(),
        ] {
            assert_eq!(error.disposition(), Disposition::Retry, "{next:?}: {error}");
            assert!(error.to_string().contains(told), "{next:?}: {error}");
        }
    }
}

#[tokio::test]
async fn credentials_are_sent_and_never_told() {
    let server = server(vec![say(401, ""), Next::Serve]).await;
    let mut address = server.address();
    address.credentials = Credentials::Basic { user: "u".to_owned(), password: Secret::new("hunter2".to_owned()) };
    let error = open(&address).latest(&subject()).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Denied { detail } if detail.contains("credentials") && !detail.contains("hunter2")), "{error}");
    assert_eq!(server.asked()[0].authorization.as_deref(), Some("Basic dTpodW50ZXIy"));
    address.credentials = Credentials::Bearer(Secret::new("token".to_owned()));
    open(&address).latest(&subject()).await.unwrap();
    assert_eq!(server.asked()[0].authorization.as_deref(), Some("Bearer token"));
    assert!(!format!("{address:?}").contains("token\""));
}

/// Reads of versions and mode, a mode that is there, then what POST and the questions after it are answered.
fn refusing(answers: &[Next]) -> Vec<Next> {
    let before = [say(200, "[]"), say(200, r#"{"compatibilityLevel":"FULL"}"#)];
    before.into_iter().chain(answers.iter().cloned()).chain([say(200, "[]"), say(200, r#"{"compatibilityLevel":"FULL"}"#)]).collect()
}

#[tokio::test]
async fn a_refusal_says_why_as_well_as_the_server_can() {
    let conflict = |message: &str| say(409, &json!({ "error_code": 409, "message": message }).to_string());
    let verbose = |messages: Value| say(200, &json!({ "is_compatible": false, "messages": messages }).to_string());
    let detailed = "Schema being registered is incompatible, details: [{errorType:'X'}]";
    for (answers, expected) in [
        (vec![conflict(detailed)], vec![detailed]),
        (vec![conflict("incompatible"), verbose(json!(["b has no default", "c neither"]))], vec!["b has no default", "c neither"]),
        // Apicurio: a list of differences in the refusal, none in the answer to the question.
        (vec![conflict("Incompatible artifact: [b at /fields/1]"), verbose(json!([]))], vec!["Incompatible artifact: [b at /fields/1]"]),
        (vec![conflict("incompatible"), say(404, "no such path")], vec!["incompatible"]),
    ] {
        let server = server(refusing(&answers)).await;
        let error = open(&server.address()).register(&subject(), A).await.unwrap_err();
        let RegistryError::Incompatible { mode: Compatibility::Full, messages, .. } = &error else { panic!("{error}") };
        assert_eq!(messages, &expected);
    }
    let invalid = say(422, r#"{"error_code":42201,"message":"no namespace"}"#);
    let server = server(refusing(&[invalid])).await;
    let error = open(&server.address()).register(&subject(), A).await.unwrap_err();
    assert!(matches!(&error, RegistryError::SchemaInvalid { detail } if detail == "no namespace"), "{error}");
}

/// A server may refuse what our own judgement and its own check let pass; asked again and again, nothing would end.
#[tokio::test]
async fn a_refusal_is_remembered_until_the_subject_changes() {
    let conflict = say(409, r#"{"error_code":409,"message":"details: it does not please"}"#);
    let server = server(refusing(&[conflict])).await;
    let registry = open(&server.address());
    let refused = registry.register(&subject(), A).await.unwrap_err();
    let full = say(200, r#"{"compatibilityLevel":"FULL"}"#);
    server.then(vec![say(200, "[]"), full.clone(), say(200, r#"{"is_compatible":true}"#)]);
    assert_eq!(registry.accepts(&subject(), A).await.unwrap_err(), refused);
    server.then(vec![say(200, "[]"), say(200, r#"{"compatibilityLevel":"NONE"}"#), say(200, r#"{"is_compatible":true}"#)]);
    registry.accepts(&subject(), A).await.expect("the mode is another now");
    server.then(vec![say(200, "[]"), full, say(200, r#"{"is_compatible":true}"#)]);
    registry.accepts(&subject(), AB).await.expect("another schema");
}

/// Apicurio refuses the second of two that set a mode, or register, at once.
#[tokio::test]
async fn whoever_loses_a_race_looks_again() {
    let raced = say(409, r#"{"error_code":40901,"message":"A rule named 'COMPATIBILITY' already exists."}"#);
    let server = server(vec![say(200, "[]"), say(404, r#"{"error_code":40408}"#), raced.clone(), Next::Serve]).await;
    let registry = open(&server.address());
    assert_eq!(registry.register(&subject(), A).await.unwrap().version, SchemaVersion(1));
    server.then(vec![raced.clone(), raced.clone(), Next::Serve]);
    registry.set_mode(&subject(), Compatibility::Full).await.unwrap();
    server.then(vec![raced]);
    let error = registry.set_mode(&subject(), Compatibility::None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

#[test]
fn an_address_that_cannot_be_used_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let address = || Address::new(vec!["https://h".parse().unwrap()]);
    let told = |address: &Address| ConfluentRegistry::open(address).err().expect("refused").to_string();
    let with_ca = |ca| Address { ca: Some(ca), ..address() };
    assert!(told(&with_ca(folder.path().join("none"))).contains("none"));
    assert!(told(&with_ca(put("empty.pem", "no certificate"))).contains("empty.pem"));
    let client = crate::registry::address::ClientIdentity { certificate: put("c.pem", "x"), key: Secret::new("hunter2".to_owned()) };
    let error = told(&Address { client: Some(client), ..address() });
    assert!(error.contains("c.pem") && !error.contains("hunter2"), "{error}");
    assert!(told(&Address::new(vec!["http://h:99999".parse().unwrap()])).contains("h:99999"));
}
