//! Whose a state folder is: one process at a time, one lake for ever (decisions.md 17, 18).
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::path::Path;
use std::sync::Arc;

use lakegate::app::run::{RunError, Running};
use lakegate::app::sources::{Landing, Source};
use lakegate::app::wiring::{Options, StartError};
use lakegate::broker::embedded::OpenError;
use lakegate::claim::ClaimError;
use lakegate::clock::SystemClock;

fn options(folder: &Path, lake: &str) -> Options {
    let at = |name: &str| folder.join(name);
    std::fs::create_dir_all(at("raw")).unwrap();
    std::fs::create_dir_all(at("contracts")).unwrap();
    std::fs::write(at("contracts/t.yaml"), "dataset: t\nroute: { object: { key: [ { prefix: t/ } ] } }\n").unwrap();
    Options::new(
        vec![Source::Landing(Landing::new("raw".parse().unwrap(), at("raw").display().to_string()))],
        at(lake).display().to_string(),
        at("contracts").display().to_string(),
        Some(at("state")),
    )
}

async fn start(options: &Options) -> Result<Running, StartError> {
    Running::start(options, Arc::new(SystemClock)).await.map_err(|e| match e {
        RunError::Start(e) => e,
        other => panic!("{other}"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), "lake");
    let first = start(&options).await.unwrap();
    let Err(refused) = start(&options).await else { panic!("two processes on one folder") };
    let state = folder.path().join("state").display().to_string();
    assert!(matches!(&refused, StartError::Broker(OpenError::Claim(ClaimError::InUse { folder })) if *folder == state), "{refused}");
    assert!(refused.to_string().contains(&state), "{refused}");
    first.stop().await.unwrap();
    start(&options).await.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_lake_is_refused_and_the_own_one_still_opens() {
    let folder = tempfile::tempdir().unwrap();
    let own = options(folder.path(), "lake");
    start(&own).await.unwrap().stop().await.unwrap();
    let Err(refused) = start(&options(folder.path(), "other")).await else { panic!("the state of one lake was used for another") };
    let StartError::OtherLake { expected, found, .. } = &refused else { panic!("{refused}") };
    assert_ne!(expected, found);
    assert!(refused.to_string().contains(expected.as_str()) && refused.to_string().contains("--state"), "{refused}");
    start(&own).await.unwrap().stop().await.unwrap();
}
