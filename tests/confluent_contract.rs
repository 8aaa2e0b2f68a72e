//! The contract of the registry seam on a real registry over HTTP, and what only a real one shows.
//!
//! `tests/env/registry start` starts one and prints LAKEGATE_TEST_REGISTRY. Without that variable nothing here runs,
//! unless LAKEGATE_TEST_REQUIRE names `registry`: then it fails. Every test has subjects of its own.
#![cfg(feature = "confluent")]
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]
#![allow(clippy::disallowed_methods, reason = "the environment names the server")]

use std::sync::Arc;

use lakegate::domain::names::Subject;
use lakegate::registry::address::Address;
use lakegate::registry::confluent::ConfluentRegistry;
use lakegate::registry::{RegistryError, SchemaRegistry};
use lakegate::wire::records::ALL;
use uuid::Uuid;

#[path = "suites/registry.rs"]
mod suite;

use suite::{contract, schema};

/// Where the server is, if one is named.
fn server() -> Option<Address> {
    match std::env::var("LAKEGATE_TEST_REGISTRY") {
        Ok(url) => Some(Address::new(vec![url.parse().unwrap()])),
        Err(_) => {
            let required = std::env::var("LAKEGATE_TEST_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|r| r == "registry"),
                "LAKEGATE_TEST_REGISTRY names no server; start one with tests/env/registry start"
            );
            eprintln!("not run: LAKEGATE_TEST_REGISTRY names no server; tests/env/registry start begins one");
            None
        }
    }
}

fn open(address: &Address) -> Arc<dyn SchemaRegistry> {
    Arc::new(ConfluentRegistry::open(address).unwrap())
}

/// A subject of this run: the name's first bytes give way to a mark, if it is too long for one.
fn fresh(name: &str) -> Subject {
    let mark = Uuid::new_v4().simple().to_string();
    let mut name = name.to_owned();
    while name.len() + mark.len() > 255 {
        name.remove(0);
    }
    format!("{name}{mark}").parse().unwrap()
}

#[tokio::test]
async fn a_real_registry_keeps_the_contract() {
    let Some(address) = server() else { return };
    contract(open(&address), open(&address), fresh).await;
}

#[tokio::test]
async fn our_own_records_are_registered_once_whoever_comes_first() {
    let Some(address) = server() else { return };
    let (one, other) = (open(&address), open(&address));
    for (record, text) in ALL {
        let subject = fresh(record);
        let (a, b) = futures::join!(one.register(&subject, text), other.register(&subject, text));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a, b, "{record}");
        assert_eq!(open(&address).by_id(a.id).await.unwrap(), a.schema, "{record}");
        assert_eq!(open(&address).register(&subject, text).await.unwrap(), a, "{record}: a process that starts anew");
    }
}

#[tokio::test]
async fn a_wrong_path_is_told_as_such() {
    let Some(address) = server() else { return };
    let wrong = format!("{}/nowhere", address.urls[0]);
    let answer = open(&Address::new(vec![wrong.parse().unwrap()])).register(&fresh("s"), &schema(&["a"])).await;
    assert!(matches!(answer, Err(RegistryError::NoRegistry { ref detail }) if detail.contains("path")), "{answer:?}");
}
