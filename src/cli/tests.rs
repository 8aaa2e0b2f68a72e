use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::CommandFactory;

use super::*;

/// What a command wrote, kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Runs a command line; answers its code and standard output, or the usage error's code and message.
fn lakegate(args: &[&str]) -> (u8, String) {
    let cli = match Cli::try_parse_from([&["lakegate"], args].concat()) {
        Ok(cli) => cli,
        Err(e) => return (exit::USAGE, e.to_string()),
    };
    let kept = Kept::default();
    match futures::executor::block_on(dispatch(cli.command, &mut Out::to(Box::new(kept.clone()), Box::new(kept.clone())))) {
        Ok(code) => (code, kept.text()),
        Err(e) => (exit::code_of(&e), format!("{e:#}")),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const AWS: &str = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventTime":"2026-01-02T03:04:05Z","s3":{"bucket":{"name":"raw"},"object":{"key":"in/a+b%2Bc.csv","size":9,"eTag":"abc","sequencer":"0064"}}},{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{}}]}"#;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_tells_a_newcomer_what_there_is() {
    insta::assert_snapshot!(Cli::command().term_width(100).render_help().to_string(), @r"
    The gate between a landing bucket and a trusted data lake. Landed is not trusted

    Usage: lakegate <COMMAND>

    Commands:
      demo        See it work: golden files, a burst and two weeks of real flights through all stages,
                  one object into quarantine and back. Nothing needs to be installed
      run         Run the bridge and the stages: landed files become published tables
      config      See what `run` would run with: every setting and where it was said
      check       Check one file against a contract, offline: what `run` would do with it
      replay      Send objects through the pipeline again, safely
      quarantine  See what was held back, and why; release or discard it
      runs        See what became of every object
      gc          Remove staged copies that no plan and no record needs any more
      access      Print the rights a process needs, and no more
      topics      Make and check the topics of a Kafka cluster
      contract    Work on contracts: what a dataset promises
      events      Read object-store events by hand
      route       Try event patterns by hand: which dataset does an object belong to?
      schema      Compare Avro schemas as a registry would

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Every command explains itself with --help and prints JSON with --json.
    Exit codes of every command: 64 usage or configuration, 70 internal failure,
    75 a store, broker or registry does not answer; others stand in the command's help.
    ");
}

#[test]
fn events_are_read_as_a_person_and_as_a_script_want_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "event.json", AWS);
    let (code, text) = lakegate(&["events", "parse", &file]);
    assert_eq!(code, 1, "one of two records failed");
    insta::assert_snapshot!(text, @r"
    EVENT              OBJECT            VERSION  SIZE  SEQUENCER  TIME
    ObjectCreated:Put  raw/in/a b+c.csv  abc         9  0064       2026-01-02T03:04:05.000Z
    record 1: missing_field: s3.bucket.name is missing
    ");
    let (code, json) = lakegate(&["events", "parse", &file, "--json"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(json, @r#"{"family":"aws","suspected":null,"events":[{"record":0,"class":"created","event_name":"ObjectCreated:Put","bucket":"raw","key":"in/a b+c.csv","raw_key":"in/a+b%2Bc.csv","version_id":null,"etag":"abc","size":9,"sequencer":"0064","event_time":"2026-01-02T03:04:05.000Z","family":"aws","marker":false,"replay_name":null}],"errors":[{"record":1,"reason":"missing_field","detail":"s3.bucket.name is missing"}],"ignorable":[]}"#);
    assert_eq!(lakegate(&["events", "parse", &write(folder.path(), "x", "no json")]).0, 2);
    assert_eq!(lakegate(&["events", "parse", &write(folder.path(), "t", r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#)]).0, 0);
    assert_eq!(lakegate(&["events", "parse", "/no/such/file"]).0, 64);
}

#[test]
fn the_newer_of_two_sequencers_is_named() {
    let order =
        |key_b: &str, a: &str, b: &str| lakegate(&["events", "order", "--family", "aws", "--key-a", "k", "--key-b", key_b, a, b, "--json"]);
    assert_eq!(order("k", "2", "1"), (0, "{\"newer\":\"a\"}\n".to_owned()));
    assert_eq!(order("k", "1", "2"), (0, "{\"newer\":\"b\"}\n".to_owned()));
    assert_eq!(order("k", "1", "10"), (0, "{\"newer\":\"equal\"}\n".to_owned()));
    assert_eq!(order("other", "1", "2"), (2, "{\"newer\":null}\n".to_owned()));
    assert_eq!(lakegate(&["events", "order", "--family", "nope", "--key-a", "k", "--key-b", "k", "1", "2"]).0, 64);
}

#[test]
fn a_pattern_that_fails_names_the_first_field() {
    let event = r#"{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"raw"},"object":{"key":"in/a.csv"}}}"#;
    let test = |pattern: &str, event: &str| lakegate(&["route", "test", "--pattern", pattern, "--event", event]);
    assert_eq!(test(r#"{"object":{"key":[{"prefix":"in/"}]}}"#, event), (0, "matches\n".to_owned()));
    let (code, text) = test(r#"{"object":{"key":[{"prefix":"out/"}]}}"#, event);
    assert_eq!(code, 1);
    insta::assert_snapshot!(text, @r#"object.key must be [{"prefix":"out/"}], but it is "in/a.csv""#);
    assert_eq!(
        test(
            r#"{"object":{"key":[{"prefix":"in/a b+"}]}}"#,
            &AWS.replace(r#",{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{}}"#, "")
        )
        .0,
        0
    );
    let (code, text) = test(r#"{"object":{"key":"in"}}"#, event);
    assert_eq!(code, 2);
    insta::assert_snapshot!(text, @r"refused: $.object.key: must be an array of alternatives or an object, found text");
    assert_eq!(test("{", event).0, 64);
}

#[test]
fn a_key_is_explained_against_every_route() {
    let folder = tempfile::tempdir().unwrap();
    for (name, prefix) in [("orders", "landing/orders/"), ("items", "landing/items/")] {
        let text =
            format!("dataset: {name}\nroute: {{\"object\": {{\"key\": [{{\"prefix\": \"{prefix}\"}}]}}}}\nsource: {{formats: [csv]}}\n");
        write(folder.path(), &format!("{name}.yaml"), &text);
    }
    let contracts = folder.path().to_str().unwrap();
    let explain = |key: &str| lakegate(&["route", "explain", key, "--contracts", contracts]);
    let (code, text) = explain("s3://raw/landing/orders/a.csv");
    insta::assert_snapshot!(text, @r#"
    raw/landing/orders/a.csv belongs to orders
    DATASET  WHY
    items    object.key must be [{"prefix":"landing/items/"}], but it is "landing/orders/a.csv"
    orders   matches
    "#);
    assert_eq!(code, 0);
    assert_eq!(explain("raw/elsewhere/a.csv").0, 1);
    assert_eq!(explain("no-key").0, 64);
}

#[test]
fn schemas_are_compared_as_a_registry_would() {
    let (one, two, three) = (
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#,
    );
    let check = |candidate: &str| {
        lakegate(&["schema", "compatible", "--mode", "backward", "--version", one, "--version", two, "--candidate", candidate])
    };
    assert_eq!(check(two), (0, "compatible\n".to_owned()));
    let (code, text) = check(three);
    assert_eq!(code, 1);
    insta::assert_snapshot!(text, @r#"
    not compatible
      it cannot read data of version 2: "a": long cannot be read as string
    "#);
    assert_eq!(check("{}").0, 2);
    assert_eq!(lakegate(&["schema", "compatible", "--mode", "sideways", "--candidate", one]).0, 64);
}

#[test]
fn lint_names_file_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "good.yaml", "dataset: orders\nsource: {formats: [csv]}\n");
    let bad = write(folder.path(), "bad.yaml", "datset: orders\n");
    assert_eq!(lakegate(&["contract", "lint", &good]).0, 0);
    let (code, text) = lakegate(&["contract", "lint", &good, &bad]);
    assert_eq!(code, 2);
    assert!(text.contains("bad.yaml:1:1") && text.contains("dataset"), "{text}");
}

const VERSION: &str = r#"{"uri":"raw/in/a.csv","dataset":"orders","status":"PUBLISHED","reason":null,"stage":"publish",
    "rows":{"in":12,"published":11,"quarantined":1,"deduplicated":0},"run_id":"5f0c","replay_id":null,"generation":0,
    "version_id":null,"etag":"e","size":9,"source":"s","first_landed":"2026-01-02T03:04:05.000Z","at":"2026-01-02T03:04:06.000Z",
    "of_landing_record":false,"landing":{"partition":0,"offset":7}}"#;

const LETTER: &str = r#"{"uri":"raw/in/a.csv","dataset":"orders","state":"open","stage":"classify","reason":"row_type_error","detail":"1 row","remedy":"mend it",
    "whole_object":false,"rows_quarantined":1,"reasons":{"row_type_error":1},"run_id":"5f0c","replay_id":null,"generation":0,
    "version_id":null,"contract_hash":null,"evidence":{"column":"amount"},"samples":["{\"amount\":\"\u001b[31mx\"}"],
    "row_letters":"_staging/orders/rows/d.jsonl","raw":null,"landing":{"partition":0,"offset":7},"at":"2026-01-02T03:04:06.000Z"}"#;

#[test]
fn tables_tell_what_became_of_objects() {
    let version = serde_json::from_str(VERSION).unwrap();
    insta::assert_snapshot!(runs::versions_table(&[version]).render(), @r"
    STATUS     DATASET  OBJECT        GEN  IN  PUBLISHED  HELD  DEDUP  REASON  AT                        RUN
    PUBLISHED  orders   raw/in/a.csv    0  12         11     1      0          2026-01-02T03:04:06.000Z  5f0c
    ");
    let letter: crate::app::view::LetterView = serde_json::from_str(LETTER).unwrap();
    insta::assert_snapshot!(quarantine::letters_table(std::slice::from_ref(&letter)).render(), @r"
    STATE  REASON          DATASET  OBJECT        ROWS  STAGE     AT                        RUN
    open   row_type_error  orders   raw/in/a.csv     1  classify  2026-01-02T03:04:06.000Z  5f0c
    ");
    insta::assert_snapshot!(quarantine::letter_text(&letter), @r#"
    raw/in/a.csv: row_type_error
      state     open
      what      1 row
      remedy    mend it
      held back 1 row_type_error
      dataset   orders
      stage     classify
      at        2026-01-02T03:04:06.000Z
      run       5f0c
      landing   partition 0 offset 7
      all rows  _staging/orders/rows/d.jsonl
      evidence  {"column":"amount"}
      sample    {"amount":"�[31mx"}
    "#);
}

#[tokio::test]
async fn what_a_run_left_behind_can_be_asked_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["raw/orders", "contracts", "state"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    write(Path::new(&at("raw/orders")), "a.csv", "id,name\n1,x\n2,y\n");
    write(Path::new(&at("raw/orders")), "b.exe", "nothing to read");
    let contract = "dataset: orders\nroute: {\"object\": {\"key\": [{\"prefix\": \"orders/\"}]}}\nsource: {formats: [csv]}\n";
    write(Path::new(&at("contracts")), "orders.yaml", contract);
    let arguments = [
        "lakegate",
        "run",
        "--landing",
        &at("raw"),
        "--lake",
        &at("lake"),
        "--contracts",
        &at("contracts"),
        "--state",
        &at("state"),
        "--until-idle",
        "--timeout",
        "60s",
        "--no-sync",
        "--json",
    ];
    let Command::Run(args) = Cli::try_parse_from(arguments).unwrap().command else { panic!("run is run") };
    let code = run::run(args, |_, code| code).await;
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::QUARANTINED)));
    let ask = async |arguments: &[&str]| {
        let state = at("state");
        let arguments = [&["lakegate"], arguments, &["--state", &state, "--json"]].concat();
        let kept = Kept::default();
        let cli = Cli::try_parse_from(arguments).unwrap();
        let code = dispatch(cli.command, &mut Out::to(Box::new(kept.clone()), Box::new(std::io::sink()))).await.unwrap();
        let lines: Vec<serde_json::Value> = kept.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        (code, lines)
    };
    let (_, rows) = ask(&["runs", "list"]).await;
    let mut told: Vec<_> = rows.iter().map(|r| (r["uri"].as_str().unwrap(), r["status"].as_str().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(told, [("raw/orders/a.csv", "PUBLISHED"), ("raw/orders/b.exe", "QUARANTINED")]);
    let (code, history) = ask(&["runs", "show", "raw/orders/a.csv"]).await;
    assert_eq!((code, history[0]["lines"][0]["word"].is_string()), (0, true));
    assert_eq!(ask(&["runs", "show", "raw/none"]).await.0, exit::NO);
    let (_, letters) = ask(&["quarantine", "list", "--dataset", "orders"]).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let run = letters[0]["run_id"].as_str().unwrap();
    assert_eq!(ask(&["quarantine", "show", run]).await.0, 0);
    let (_, plan) = ask(&["replay", "quarantine", "--dataset", "orders", "--dry-run"]).await;
    assert_eq!((&plan[0]["replay"], &plan[0]["ordered"]), (&1.into(), &false.into()));
}

#[test]
fn a_configuration_is_shown_with_origins_and_checked_with_places() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(
        folder.path(),
        "good.toml",
        "[lake]\nurl = \"/srv/lake\"\n[[source]]\nname = \"raw\"\nkind = \"listing\"\nurl = \"/srv/raw\"\n",
    );
    let (code, text) = lakegate(&["config", "show", "--config", &good]);
    assert_eq!(code, 0, "{text}");
    let row = |key: &str| text.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{key}: {text}")).to_owned();
    assert!(row("lake.url").ends_with(&format!("{good}:2")));
    assert!(row("contracts.url").contains("(not set)"));
    assert!(row("run.drain").contains("30s") && row("run.drain").ends_with("default"));
    assert!(row("source[0].poll").contains("2s"));
    let (code, text) = lakegate(&["config", "check", "--config", &good]);
    assert_eq!(code, 0);
    assert!(text.starts_with(&format!("no fault: 4 settings from {good}, 0 from the environment, ")), "{text}");
    assert!(text.contains("run will need it: contracts.url") && !text.contains("lake.url"), "{text}");

    let bad = write(folder.path(), "bad.toml", "[lake]\nurll = \"x\"\n[run]\npoll = 5\n");
    let (code, text) = lakegate(&["config", "check", "--config", &bad]);
    let told = format!(
        "{bad}:2: lake.urll: unknown key; did you mean url?\n\
         {bad}:4: run.poll: a duration needs its unit; write \"30s\", \"5m\", \"7d\"\n"
    );
    assert_eq!((code, text), (64, told));
    let (code, text) = lakegate(&["config", "check", "--json", "--config", &bad]);
    let view: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, view["problems"].as_array().map(Vec::len)), (64, Some(2)));
    assert_eq!(view["problems"][1]["origin"], serde_json::json!({ "from": "file", "file": bad, "line": 4 }));

    let broken = write(folder.path(), "broken.toml", "[lake\n");
    let (code, text) = lakegate(&["config", "check", "--config", &broken]);
    assert!(code == 64 && text.contains(&format!("{broken}:1: not TOML")), "{text}");
    assert_eq!(lakegate(&["config", "check", "--config", "no/such.toml"]).0, 64);
}

#[test]
fn the_schema_of_contracts_is_printed_as_it_is_committed() {
    let (code, text) = lakegate(&["contract", "schema"]);
    assert_eq!((code, text.as_str()), (0, include_str!("../../schemas/contract.schema.json")));
}
