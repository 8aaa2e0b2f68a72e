use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use crate::domain::names::{SchemaId, Subject};
use crate::registry::Registered;
use crate::registry::embedded::EmbeddedRegistry;
use crate::schema::options::Compatibility;

/// A registry that can fall silent.
struct Moody {
    inner: EmbeddedRegistry,
    silent: AtomicBool,
}

impl Moody {
    fn awake(&self) -> Result<&EmbeddedRegistry, RegistryError> {
        if self.silent.load(Ordering::Relaxed) { Err(RegistryError::Unreachable { detail: "asleep".into() }) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl SchemaRegistry for Moody {
    async fn register(&self, subject: &Subject, schema: &str) -> Result<Registered, RegistryError> {
        self.awake()?.register(subject, schema).await
    }
    async fn versions(&self, subject: &Subject) -> Result<Vec<Registered>, RegistryError> {
        self.awake()?.versions(subject).await
    }
    async fn latest(&self, subject: &Subject) -> Result<Option<Registered>, RegistryError> {
        self.awake()?.latest(subject).await
    }
    async fn by_id(&self, id: SchemaId) -> Result<String, RegistryError> {
        self.awake()?.by_id(id).await
    }
    async fn set_mode(&self, subject: &Subject, mode: Compatibility) -> Result<(), RegistryError> {
        self.awake()?.set_mode(subject, mode).await
    }
    async fn mode(&self, subject: &Subject) -> Result<Compatibility, RegistryError> {
        self.awake()?.mode(subject).await
    }
}

struct House {
    folder: tempfile::TempDir,
    catalog: Arc<Catalog>,
    registry: Arc<Moody>,
    reload: Reload,
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

fn contract(dataset: &str, field: &str) -> String {
    let avro = format!("{{ type: record, name: A, fields: [ {{ name: id, type: long }}, {field} ] }}");
    format!("dataset: {dataset}\nschema: {{ avro: {avro} }}\n")
}

impl House {
    async fn new(contracts: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        contracts.iter().for_each(|(name, text)| write(&folder, name, text));
        let lake: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&lake)));
        let registry = Arc::new(Moody { inner: EmbeddedRegistry::new(lake), silent: AtomicBool::new(false) });
        let shelf = Shelf::open(folder.path().to_str().unwrap(), &crate::lake::url::Stores::default()).unwrap();
        let seam = Arc::clone(&registry) as Arc<dyn SchemaRegistry>;
        let mut reload = Reload::new(shelf, Arc::clone(&catalog), seam, Span::from_secs(2));
        reload.start().await.unwrap();
        Self { folder, catalog, registry, reload }
    }

    fn hash(&self, dataset: &str) -> Option<String> {
        self.catalog.current(dataset).map(|d| d.hash.clone())
    }

    async fn versions(&self, dataset: &str) -> usize {
        self.registry.inner.versions(&format!("{dataset}-value").parse().unwrap()).await.unwrap().len()
    }
}

#[tokio::test]
async fn a_broken_edit_is_told_once_and_the_old_contracts_stay_in_force() {
    let mut house = House::new(&[("a.yaml", "dataset: a\n"), ("b.yaml", "dataset: b\n")]).await;
    assert_eq!(house.reload.look().await, Looked::Unchanged);
    let (a, b) = (house.hash("a"), house.hash("b"));
    write(&house.folder, "a.yaml", "dataset: a\nowner: somebody else\n");
    write(&house.folder, "b.yaml", "dataset: b\nowner: 7\n");
    let Looked::Refused(faults) = house.reload.look().await else { panic!("it was taken") };
    assert!(faults.len() == 1 && faults[0].contains("b.yaml:2:8: owner"), "{faults:?}");
    assert_eq!((house.hash("a"), house.hash("b")), (a.clone(), b), "all or nothing");
    assert_eq!(house.reload.look().await, Looked::Unchanged, "one change is told once");
    write(&house.folder, "b.yaml", "dataset: b\nowner: me\n");
    assert_eq!(house.reload.look().await, Looked::InForce(vec!["a".into(), "b".into()]));
    assert_ne!(house.hash("a"), a);
}

#[tokio::test]
async fn a_contract_that_is_gone_is_no_longer_in_force_and_a_new_one_is() {
    let mut house = House::new(&[("a.yaml", "dataset: a\n"), ("b.yaml", "dataset: b\n")]).await;
    let b = house.hash("b").unwrap();
    std::fs::remove_file(house.folder.path().join("b.yaml")).unwrap();
    write(&house.folder, "c.yaml", "dataset: c\n");
    assert_eq!(house.reload.look().await, Looked::InForce(vec!["a".into(), "c".into()]));
    assert_eq!(house.hash("b"), None);
    assert_eq!(house.catalog.version("b", &b).await.unwrap().name(), "b", "later stages still load it");
    std::fs::remove_file(house.folder.path().join("a.yaml")).unwrap();
    std::fs::remove_file(house.folder.path().join("c.yaml")).unwrap();
    assert!(matches!(house.reload.look().await, Looked::Refused(_)), "no contract at all is a mishap");
    assert!(house.hash("a").is_some());
}

#[tokio::test]
async fn an_incompatible_schema_refuses_all_before_anything_is_registered() {
    let x = "{ name: x, type: [ 'null', string ], default: null }";
    let mut house = House::new(&[("a.yaml", &contract("a", x)), ("b.yaml", &contract("b", x))]).await;
    write(&house.folder, "a.yaml", &contract("a", "{ name: y, type: [ 'null', string ], default: null }"));
    write(&house.folder, "b.yaml", &contract("b", "{ name: y, type: string }"));
    let Looked::Refused(faults) = house.reload.look().await else { panic!("it was taken") };
    assert!(faults.len() == 1 && faults[0].starts_with("b: the registry refuses"), "{faults:?}");
    assert_eq!((house.versions("a").await, house.versions("b").await), (1, 1));
    write(&house.folder, "b.yaml", &contract("b", x));
    assert!(matches!(house.reload.look().await, Looked::InForce(_)));
    assert_eq!((house.versions("a").await, house.versions("b").await), (2, 1));
}

#[tokio::test]
async fn a_registry_that_is_silent_is_asked_again() {
    let mut house = House::new(&[("a.yaml", "dataset: a\n")]).await;
    let old = house.hash("a");
    write(&house.folder, "a.yaml", "dataset: a\nowner: me\n");
    house.registry.silent.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(matches!(house.reload.look().await, Looked::Unanswered(why) if why.contains("asleep")));
        assert_eq!(house.hash("a"), old);
    }
    house.registry.silent.store(false, Ordering::Relaxed);
    assert!(matches!(house.reload.look().await, Looked::InForce(_)));
    assert_ne!(house.hash("a"), old);
}
