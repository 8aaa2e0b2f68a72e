//! docker-compose.yml and Dockerfile name nothing the product or the repository does not know. No container engine is
//! needed: what they say is held against the command line, the configuration and the files.
#![cfg(all(feature = "kafka", feature = "confluent", feature = "s3"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use saphyr::{LoadableYamlNode, Yaml};

const COMPOSE: &str = include_str!("../docker-compose.yml");
const DOCKERFILE: &str = include_str!("../Dockerfile");
const SETTINGS: &str = include_str!("../deploy/compose/lakegate.toml");
const PROMETHEUS: &str = include_str!("../deploy/compose/prometheus.yml");

fn yaml(text: &str) -> Yaml<'_> {
    Yaml::load_from_str(text).unwrap().remove(0)
}

fn words(node: &Yaml<'_>) -> Vec<String> {
    let all = node.as_vec().map(|list| list.iter().map(|w| w.as_str().unwrap().to_owned()).collect());
    all.unwrap_or_default()
}

/// Services by name, aliases resolved.
fn services() -> BTreeMap<String, Yaml<'static>> {
    let file = yaml(COMPOSE);
    let services = file["services"].as_mapping().unwrap().clone();
    services.into_iter().map(|(name, service)| (name.as_str().unwrap().to_owned(), service)).collect()
}

fn of_ours(services: &BTreeMap<String, Yaml<'static>>) -> Vec<Yaml<'static>> {
    let ours: Vec<Yaml<'static>> =
        services.values().filter(|s| s.as_mapping_get("image").and_then(Yaml::as_str) == Some("lakegate")).cloned().collect();
    assert!(ours.len() >= 3, "two processes and the topics");
    ours
}

fn environment(service: &Yaml<'_>) -> BTreeMap<String, String> {
    let said = service.as_mapping_get("environment").and_then(Yaml::as_mapping);
    let text = |v: &Yaml<'_>| v.as_str().map_or_else(|| v.as_integer().unwrap().to_string(), str::to_owned);
    said.map(|m| m.iter().map(|(k, v)| (k.as_str().unwrap().to_owned(), text(v))).collect()).unwrap_or_default()
}

fn settings() -> toml::Table {
    SETTINGS.parse().unwrap()
}

/// `lakegate` from this build, with nothing of the caller's environment.
fn lakegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lakegate"));
    command.env_clear().args(arguments);
    command
}

#[test]
fn the_settings_of_its_processes_are_settings_of_the_product() {
    let services = services();
    for service in of_ours(&services) {
        let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/compose/lakegate.toml");
        let checked = lakegate(&["config", "check", "--config", settings]).envs(environment(&service)).output().unwrap();
        assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        let without = lakegate(&["config", "check", "--config", settings]).output().unwrap();
        assert!(!without.status.success(), "the secrets come from the environment");
    }
}

#[test]
fn the_commands_of_its_processes_are_commands_of_the_product() {
    let services = services();
    for service in of_ours(&services) {
        let command = words(&service["command"]);
        let at = command.iter().position(|w| w.starts_with('-')).unwrap_or(command.len());
        let mut asked: Vec<&str> = command[..at].iter().map(String::as_str).collect();
        asked.push("--help");
        let help = lakegate(&asked).output().unwrap();
        assert!(help.status.success(), "{command:?}");
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        for flag in command.iter().filter(|w| w.starts_with("--")) {
            assert!(help.contains(&format!("{flag} ")), "{command:?}: {flag} is not in\n{help}");
        }
        let config = command.iter().position(|w| w == "--config").map(|at| command[at + 1].clone());
        let mounted = words(&service["volumes"]).iter().any(|v| v.split(':').nth(1).map(str::to_owned) == config);
        assert!(mounted, "{config:?} is mounted");
    }
}

#[test]
fn every_file_it_mounts_is_in_the_repository_and_every_service_it_waits_for_is_there() {
    let services = services();
    for (name, service) in &services {
        for volume in service.as_mapping_get("volumes").map(words).unwrap_or_default() {
            let source = volume.split(':').next().unwrap();
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{name} mounts {source}");
        }
        for (awaited, _) in service.as_mapping_get("depends_on").and_then(Yaml::as_mapping).into_iter().flatten() {
            assert!(services.contains_key(awaited.as_str().unwrap()), "{name} waits for {awaited:?}");
        }
    }
}

#[test]
fn addresses_ports_and_buckets_agree() {
    let services = services();
    let settings = settings();
    let said = |section: &str, key: &str| settings[section][key].as_str().unwrap().to_owned();

    let listener = environment(&services["kafka"])["KAFKA_ADVERTISED_LISTENERS"].clone();
    assert_eq!(listener, format!("PLAINTEXT://{}", said("kafka", "brokers")));
    let registry = &environment(&services["registry"])["QUARKUS_HTTP_PORT"];
    assert!(said("registry", "url").starts_with(&format!("http://registry:{registry}/")));
    let s3 = format!("http://s3:{}", environment(&services["s3"])["MOTO_PORT"]);
    assert_eq!(said("s3", "endpoint"), s3);
    assert_eq!(environment(&services["producer"])["S3_ENDPOINT"], s3);

    let made = words(&services["buckets"]["command"]);
    let landing = settings["source"][0]["url"].as_str().unwrap().to_owned();
    for url in [said("lake", "url"), landing] {
        let bucket = url.strip_prefix("s3://").unwrap();
        assert!(made.contains(&format!("{s3}/{bucket}")), "{bucket} is made");
    }

    let port = said("metrics", "listen").rsplit(':').next().unwrap().to_owned();
    assert!(DOCKERFILE.lines().any(|l| l == format!("EXPOSE {port}")));
    let scraped = words(&yaml(PROMETHEUS)["scrape_configs"][0]["static_configs"][0]["targets"]);
    let processes: Vec<String> = services.keys().filter(|n| n.starts_with("lakegate-")).map(|n| format!("{n}:{port}")).collect();
    assert_eq!(scraped, processes);
    assert!(processes.len() >= 2);
    for rules in words(&yaml(PROMETHEUS)["rule_files"]) {
        let mounted = words(&services["prometheus"]["volumes"]);
        assert!(mounted.iter().any(|v| v.contains(&format!(":/etc/prometheus/{rules}"))), "{rules}");
    }
    let folder = include_str!("../deploy/grafana/provisioning/dashboards/lakegate.yml");
    let dashboards = yaml(folder)["providers"][0]["options"]["path"].as_str().unwrap().to_owned();
    assert!(words(&services["grafana"]["volumes"]).iter().any(|v| v.contains(&format!(":{dashboards}/"))), "{dashboards}");
}

#[test]
fn the_image_is_stripped_and_runs_as_a_user_without_rights() {
    assert!(DOCKERFILE.contains("\nUSER lakegate\n") && DOCKERFILE.contains("cargo build --release --locked"));
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    assert_eq!(manifest["profile"]["release"]["strip"].as_bool(), Some(true));
    let rust = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(DOCKERFILE.contains(&format!("FROM rust:{rust}-")), "the image is built with the oldest Rust that is supported");
    let state = settings()["state"]["dir"].as_str().unwrap().to_owned();
    assert!(DOCKERFILE.contains(&format!("--home-dir {state} lakegate\n")), "the state folder belongs to that user");
}
