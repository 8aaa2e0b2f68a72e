//! The contract of the registry seam, run on every implementation that needs no server.

#![allow(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use std::sync::Arc;

use lakegate::domain::names::{SchemaVersion, Subject};
use lakegate::lake::local::{LocalLake, Sync};
use lakegate::registry::embedded::EmbeddedRegistry;
use lakegate::registry::{RegistryError, SchemaRegistry};
use lakegate::schema::options::Compatibility;
use object_store::ObjectStore;
use object_store::memory::InMemory;

fn schema(fields: &[&str]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|f| if f.starts_with('{') { (*f).to_owned() } else { format!(r#"{{"name":"{f}","type":"string"}}"#) }).collect();
    format!(r#"{{"type":"record","name":"r","fields":[{}]}}"#, fields.join(","))
}

const ADDED: &str = r#"{"name":"added","type":["null","string"],"default":null}"#;

async fn contract(one: Arc<dyn SchemaRegistry>, other: Arc<dyn SchemaRegistry>) {
    let subject: Subject = "orders/2-value".parse().unwrap();
    assert_eq!(one.latest(&subject).await.unwrap(), None);
    assert_eq!(one.mode(&subject).await.unwrap(), Compatibility::BackwardTransitive);

    let first = one.register(&subject, &schema(&["a"])).await.unwrap();
    assert_eq!(first.version, SchemaVersion(1));
    assert_eq!(one.register(&subject, &schema(&["a"])).await.unwrap(), first, "the same schema again is the same version");
    assert_eq!(other.latest(&subject).await.unwrap(), Some(first.clone()), "seen by another instance");
    assert_eq!(other.by_id(first.id).await.unwrap(), first.schema);

    let second = other.register(&subject, &schema(&["a", ADDED])).await.unwrap();
    assert_eq!(second.version, SchemaVersion(2));
    assert_ne!(second.id, first.id);
    assert_eq!(one.versions(&subject).await.unwrap(), [first, second]);

    let refused = one.register(&subject, &schema(&["a", "required"])).await;
    assert!(matches!(refused, Err(RegistryError::Incompatible { ref messages, .. }) if !messages.is_empty()), "{refused:?}");
    assert!(matches!(one.register(&subject, "{").await, Err(RegistryError::SchemaInvalid { .. })));
    other.set_mode(&subject, Compatibility::None).await.unwrap();
    assert_eq!(one.register(&subject, &schema(&["a", "required"])).await.unwrap().version, SchemaVersion(3));
    assert!(one.by_id(lakegate::domain::names::SchemaId(999_999)).await.is_err());

    // Subjects are opaque text.
    for odd in ["..", ".", "a b+%2F", "ä", &"/".repeat(255), &"x".repeat(255)] {
        let odd: Subject = odd.parse().unwrap();
        assert_eq!(one.latest(&odd).await.unwrap(), None, "{odd} is a subject of its own");
        let registered = one.register(&odd, &schema(&["a"])).await.unwrap();
        assert_eq!(other.latest(&odd).await.unwrap(), Some(registered));
    }

    // Two that register at once: the same schema becomes one version, different ones two.
    let race: Subject = "race-value".parse().unwrap();
    let (same, also) = (schema(&["x"]), schema(&["x"]));
    let (a, b) = futures::join!(one.register(&race, &same), other.register(&race, &also));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a, b, "same id, same version");
    let elsewhere: Subject = "elsewhere-value".parse().unwrap();
    assert_eq!(other.register(&elsewhere, &same).await.unwrap().id, a.id, "a schema has one id under every subject");
    let reordered = r#"{"fields":[{"type":"string","name":"x"}], "name":"r", "type":"record"}"#;
    assert_eq!(one.register(&race, reordered).await.unwrap(), a, "layout and key order make no new version");
    one.set_mode(&race, Compatibility::None).await.unwrap();
    let (left, right) = (schema(&["l"]), schema(&["r"]));
    let (a, b) = futures::join!(one.register(&race, &left), other.register(&race, &right));
    let mut versions = [a.unwrap().version.0, b.unwrap().version.0];
    versions.sort_unstable();
    assert_eq!(versions, [2, 3]);
}

fn two(store: Arc<dyn ObjectStore>) -> (Arc<dyn SchemaRegistry>, Arc<dyn SchemaRegistry>) {
    (Arc::new(EmbeddedRegistry::new(Arc::clone(&store))), Arc::new(EmbeddedRegistry::new(store)))
}

#[tokio::test]
async fn the_embedded_registry_in_memory_keeps_the_contract() {
    let (one, other) = two(Arc::new(InMemory::new()));
    contract(one, other).await;
}

#[tokio::test]
async fn the_embedded_registry_in_a_directory_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(Arc::new(LocalLake::open(folder.path(), Sync::Never).unwrap()));
    contract(one, other).await;
}

#[tokio::test]
async fn files_of_a_newer_format_are_refused() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let at = object_store::path::Path::from("_lakegate/registry/ids/0000000007.json");
    object_store::ObjectStoreExt::put(&store, &at, r#"{"format_version":2,"id":7,"schema":"int"}"#.into()).await.unwrap();
    let answer = EmbeddedRegistry::new(store).by_id(lakegate::domain::names::SchemaId(7)).await;
    assert!(matches!(answer, Err(RegistryError::Corrupt { ref detail, .. }) if detail.contains("format 2")), "{answer:?}");
}
