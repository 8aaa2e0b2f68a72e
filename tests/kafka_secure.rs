//! A pipeline on a broker that lets nobody do anything: SASL_SSL, an authorizer, and exactly the rights that
//! `lakegate access kafka` prints, granted by running what it prints.
//!
//! `tests/env/kafka-secure start` starts one and prints its variables. Without them nothing here runs, unless
//! LAKEGATE_TEST_REQUIRE names `kafka-secure`: then it fails. One test, because the node has one set of topics and rights.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]
#![allow(clippy::disallowed_methods, reason = "the environment names the server")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

const ASK: Duration = Duration::from_secs(15);

/// The node: who may log in where.
struct Node {
    sasl: String,
    ssl: String,
    /// In plain text; everybody may do everything there.
    admin: String,
    files: PathBuf,
    folder: tempfile::TempDir,
}

/// Who is granted what: the words that `access kafka` takes.
type Grant = (&'static str, &'static [&'static str]);
const SETUP: Grant = ("User:setup", &["--only-setup"]);
const GATE: Grant = ("User:gate", &["--with", "commands"]);
/// Without the stage that publishes.
const WEAK: Grant =
    ("User:weak", &["--stage", "bridge,validate,classify,assemble,transform,check,replay,letters,reports", "--with", "commands"]);
const CLIENT: Grant = ("User:CN=client", &["--stage", "reports"]);

/// What a command ended with.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Node {
    fn find() -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("LAKEGATE_TEST_KAFKA_SECURE{name}"));
        let (Ok(sasl), Ok(ssl), Ok(admin), Ok(files)) = (variable(""), variable("_SSL"), variable("_ADMIN"), variable("_FILES")) else {
            let required = std::env::var("LAKEGATE_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|r| r == "kafka-secure"), "no server is named; start one with tests/env/kafka-secure start");
            eprintln!("not run: LAKEGATE_TEST_KAFKA_SECURE names no server; tests/env/kafka-secure start begins one");
            return None;
        };
        Some(Self { sasl, ssl, admin, files: files.into(), folder: tempfile::tempdir().unwrap() })
    }

    /// Removes what an earlier run left on the node.
    fn clear(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.admin);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let look: BaseConsumer = config.create().unwrap();
        let ours = || -> Vec<String> {
            let metadata = look.fetch_metadata(None, ASK).unwrap();
            metadata.topics().iter().map(|t| t.name().to_owned()).filter(|name| name.starts_with("lakegate.")).collect()
        };
        let topics = ours();
        if topics.is_empty() {
            return;
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        runtime.block_on(admin.delete_topics(&names, &AdminOptions::new().operation_timeout(Some(ASK)))).unwrap();
        while !ours().is_empty() {
            std::thread::yield_now();
        }
        let groups = look.fetch_group_list(None, ASK).unwrap();
        let names: Vec<&str> = groups.groups().iter().map(|g| g.name()).filter(|name| name.starts_with("lakegate.")).collect();
        if !names.is_empty() {
            runtime.block_on(admin.delete_groups(&names, &AdminOptions::new())).unwrap();
        }
        for (principal, which) in [SETUP, GATE, WEAK, CLIENT] {
            self.rights(principal, which, "--remove --force");
        }
    }

    fn lakegate(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lakegate"));
        let secrets = ["gate", "weak", "setup"].map(|user| (format!("{}_PASSWORD", user.to_uppercase()), format!("{user}-secret")));
        let output = command.args(args).envs(secrets).env("WRONG_PASSWORD", "not it").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A settings' file with these lines under `[kafka]`.
    fn settings(&self, name: &str, brokers: &str, lines: &str) -> String {
        let (path, ca) = (self.path(name), self.files.join("broker.pem"));
        std::fs::write(&path, format!("[kafka]\nbrokers = \"{brokers}\"\nca = \"{}\"\n{lines}", ca.display())).unwrap();
        path
    }

    fn login(&self, user: &str) -> String {
        let password = format!("env:{}_PASSWORD", user.to_uppercase());
        let lines = format!("sasl_mechanism = \"SCRAM-SHA-512\"\nuser = \"{user}\"\npassword = \"{password}\"\n");
        self.settings(&format!("{user}.toml"), &self.sasl, &lines)
    }

    /// Runs what `access kafka` prints for a principal, as a person pastes it.
    fn grant(&self, (principal, which): (&str, &[&str])) {
        self.rights(principal, which, "--add");
    }

    /// Runs what `access kafka` prints for a principal, with this in place of `--add`.
    fn rights(&self, principal: &str, which: &[&str], verb: &str) {
        let printed = self.lakegate(&[&["access", "kafka", "--kafka", &self.admin, "--principal", principal], which].concat());
        assert_eq!(printed.code, 0, "{printed:?}");
        for line in printed.out.lines().map(|line| line.replace("--add", verb)) {
            let path = format!("{}:{}", self.files.display(), std::env::var("PATH").unwrap());
            let done = Command::new("sh").args(["-c", &line]).env("PATH", path).output().unwrap();
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Lands two good files and one that is refused, and runs the pipeline to its end.
fn run(node: &Node, config: &str, more: &[&str]) -> Ended {
    let (landing, lake, contracts, state) = (node.path("raw"), node.path("lake"), node.path("contracts"), node.path("state"));
    let contract = "dataset: orders\nroute: {\"object\": {\"key\": [{\"prefix\": \"orders/\"}]}}\nsource: {formats: [csv]}\n";
    write(&Path::new(&contracts).join("orders.yaml"), contract);
    for (name, text) in [("a.csv", "id,name\n1,x\n2,y\n"), ("b.csv", "id,name\n3,z\n"), ("c.exe", "nothing to read")] {
        write(&Path::new(&landing).join("orders").join(name), text);
    }
    let landing = format!("raw={landing}");
    let args =
        ["run", "--config", config, "--landing", &landing, "--lake", &lake, "--contracts", &contracts, "--state", &state, "--until-idle"];
    node.lakegate(&[&args, ["--timeout", "100s", "--json"].as_slice(), more].concat())
}

#[test]
fn a_pipeline_runs_with_exactly_the_rights_that_are_printed_and_names_one_that_is_missing() {
    let Some(node) = Node::find() else { return };
    node.clear();
    let (setup, gate, weak) = (node.login("setup"), node.login("gate"), node.login("weak"));

    // Nobody has any right yet: what is not allowed is told, not taken for absent.
    let refused = node.lakegate(&["topics", "create", "--config", &setup]);
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(refused.err.contains("lakegate.sources") && refused.err.contains("lakegate access kafka"), "{refused:?}");

    node.grant(SETUP);
    let made = node.lakegate(&["topics", "create", "--config", &setup, "--json"]);
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.out).unwrap();
    assert_eq!((made["done"].as_bool(), made["counts"]["create"].as_u64()), (Some(true), made["counts"]["topics"].as_u64()));
    let altered = node.lakegate(&["topics", "create", "--config", &setup, "--retention", "40d", "--json"]);
    let altered: Value = serde_json::from_str(&altered.out).unwrap();
    assert!(altered["counts"]["alter"].as_u64().unwrap() > 0, "{altered}");
    let again = node.lakegate(&["topics", "check", "--config", &setup, "--retention", "40d", "--json"]);
    let again: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((again["counts"]["alter"].as_u64(), again["counts"]["create"].as_u64()), (Some(0), Some(0)), "{again}");
    let other = node.lakegate(&["topics", "check", "--config", &setup, "--partitions", "5"]);
    assert_eq!(other.code, 1, "{other:?}");
    assert!(other.out.contains("log.partitions = 4"), "{other:?}");

    node.grant(GATE);
    let ran = run(&node, &gate, &[]);
    assert_eq!(ran.code, 3, "one file is quarantined: {ran:?}");
    let totals: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!((totals["objects"]["published"].as_u64(), totals["objects"]["quarantined"].as_u64()), (Some(2), Some(1)), "{totals}");
    assert_eq!(totals["rows"]["published"].as_u64(), Some(3), "{totals}");

    // Commands find the cluster by the same settings, and order through it.
    let (state, lake) = (node.path("state"), node.path("lake"));
    let quarantine = |words: &[&str]| {
        let at = ["--config", &gate, "--state", &state, "--lake", &lake, "--json"];
        let ended = node.lakegate(&[&["quarantine"], words, &at].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str::<Value>(ended.out.trim()).unwrap()
    };
    assert_eq!(quarantine(&["list"])["state"], "open");
    let released = quarantine(&["release", "raw/orders/c.exe", "--reason-text", "once more", "--by", "ada"]);
    assert_eq!(released["decided"], true, "{released}");
    assert_eq!(quarantine(&["list"])["state"], "released");
    let ran = run(&node, &gate, &[]);
    assert_eq!(ran.code, 3, "it is refused again: {ran:?}");
    let discarded = quarantine(&["discard", "--dataset", "orders", "--reason-text", "no table", "--by", "ada"]);
    assert_eq!((discarded["letters"].as_u64(), discarded["items"][0]["state"].as_str()), (Some(1), Some("open")), "{discarded}");

    // One stage's rights are missing: it halts and says what it lacks.
    node.grant(WEAK);
    let halted = run(&node, &weak, &["--stages", "publish"]);
    assert_ne!(halted.code, 0, "{halted:?}");
    assert!(halted.err.contains("lakegate.publish") && halted.err.contains("lakegate access kafka"), "{halted:?}");

    // Every way to log in, and one that fails.
    let check = |name: &str, brokers: &str, lines: &str| {
        let config = node.settings(name, brokers, lines);
        node.lakegate(&["topics", "check", "--config", &config, "--json"])
    };
    for (name, lines) in [
        ("plain.toml", "sasl_mechanism = \"PLAIN\"\nuser = \"gate\"\npassword = \"env:GATE_PASSWORD\"\n"),
        ("scram256.toml", "sasl_mechanism = \"SCRAM-SHA-256\"\nuser = \"gate\"\npassword = \"env:GATE_PASSWORD\"\n"),
        ("token.toml", "sasl_mechanism = \"OAUTHBEARER\"\nprincipal = \"gate\"\n"),
    ] {
        let ended = check(name, &node.sasl, lines);
        assert_eq!(ended.code, 0, "{name}: {ended:?}");
    }
    let (cert, key) = (node.files.join("client.pem"), node.files.join("client.key"));
    let lines = format!("client_cert = \"{}\"\nclient_key = \"file:{}\"\n", cert.display(), key.display());
    node.grant(CLIENT);
    let ended = check("certificate.toml", &node.ssl, &lines);
    assert_eq!(ended.code, 0, "{ended:?}");
    let wrong = check("wrong.toml", &node.sasl, "sasl_mechanism = \"PLAIN\"\nuser = \"gate\"\npassword = \"env:WRONG_PASSWORD\"\n");
    assert_eq!(wrong.code, 64, "{wrong:?}");
    assert!(wrong.err.contains("kafka.sasl_mechanism") && wrong.err.contains("uthentication"), "{wrong:?}");
    assert!(!wrong.err.contains("not it"), "{wrong:?}");
    let ca = node.path("stranger.toml");
    let stranger = format!("[kafka]\nbrokers = \"{}\"\nca = \"{}\"\n{lines}", node.ssl, cert.display());
    std::fs::write(&ca, stranger).unwrap();
    let stranger = node.lakegate(&["topics", "check", "--config", &ca]);
    assert_eq!(stranger.code, 64, "{stranger:?}");
    assert!(stranger.err.contains("kafka.ca"), "{stranger:?}");
}
