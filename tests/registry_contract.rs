//! The contract of the registry seam on the embedded registry, and what only it can show.

#![allow(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use std::sync::Arc;

use lakegate::lake::local::{LocalLake, Sync};
use lakegate::registry::embedded::EmbeddedRegistry;
use lakegate::registry::{RegistryError, SchemaRegistry};
use object_store::ObjectStore;
use object_store::memory::InMemory;

#[path = "suites/registry.rs"]
mod suite;

use suite::contract;

fn two(store: Arc<dyn ObjectStore>) -> (Arc<dyn SchemaRegistry>, Arc<dyn SchemaRegistry>) {
    (Arc::new(EmbeddedRegistry::new(Arc::clone(&store))), Arc::new(EmbeddedRegistry::new(store)))
}

#[tokio::test]
async fn the_embedded_registry_in_memory_keeps_the_contract() {
    let (one, other) = two(Arc::new(InMemory::new()));
    contract(one, other, |name| name.parse().unwrap()).await;
}

#[tokio::test]
async fn the_embedded_registry_in_a_directory_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(Arc::new(LocalLake::open(folder.path(), Sync::Never).unwrap()));
    contract(one, other, |name| name.parse().unwrap()).await;
}

#[tokio::test]
async fn files_of_a_newer_format_are_refused() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let at = object_store::path::Path::from("_lakegate/registry/ids/0000000007.json");
    object_store::ObjectStoreExt::put(&store, &at, r#"{"format_version":2,"id":7,"schema":"int"}"#.into()).await.unwrap();
    let answer = EmbeddedRegistry::new(store).by_id(lakegate::domain::names::SchemaId(7)).await;
    assert!(matches!(answer, Err(RegistryError::Corrupt { ref detail, .. }) if detail.contains("format 2")), "{answer:?}");
}
