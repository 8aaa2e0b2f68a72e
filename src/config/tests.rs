use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::file;
use super::overlay::Flag;
use super::problem::Origin;
use super::section::{Reading, Section};
use super::settings::{Layers, SECTIONS, Settings, read, resolve};
use super::sources::SourceFlag;
use crate::app::exposition::Listen;
use crate::app::sources::Source;
use crate::broker::embedded::Durability;
use crate::domain::names::StageName;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::pipeline::runner::Limits;
use crate::registry::address::{BaseUrl, Credentials};
use crate::telemetry::logging::LogFormat;

fn layers(text: &str, environment: &[(&str, &str)], flags: &[Flag], sources: &[SourceFlag]) -> Layers {
    Layers {
        file: file::read("lakegate.toml", text).expect("it is TOML"),
        environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        flags: flags.to_vec(),
        sources: sources.to_vec(),
    }
}

fn flag(flag: &'static str, key: (&'static str, &'static str), value: &str) -> Flag {
    Flag { flag, key, value: value.to_owned() }
}

fn problems(text: &str, environment: &[(&str, &str)], flags: &[Flag], sources: &[SourceFlag]) -> String {
    let (_, problems) = read(layers(text, environment, flags, sources));
    problems.iter().map(|p| format!("{p}\n")).collect()
}

/// Value and origin of a setting.
fn said(settings: &Settings, key: &str) -> (String, String) {
    let shown = settings.shown.iter().find(|s| s.key == key).unwrap_or_else(|| panic!("{key} is not shown"));
    (shown.value.clone().unwrap_or_default(), shown.origin.to_string())
}

const WHOLE: &str = r#"
[lake]
url = "./lake"
[contracts]
url = "./contracts"
reload = "3s"
[state]
dir = "/var/lib/lakegate"
[s3]
endpoint = "https://store.one:9000"
region = "eu"
path_style = false
allow_http = false
anonymous = false
ca = "/etc/ca.pem"
timeout = "4m"
connect_timeout = "1s"
access_key_id = "env:S3_ID"
secret_access_key = "env:S3_SECRET"
[s3.buckets.landing]
endpoint = "http://localhost:1"
region = "us"
path_style = true
allow_http = true
anonymous = true
ca = "/etc/other.pem"
[kafka]
brokers = "one:9092,two:9092"
prefix = "team."
security_protocol = "plaintext"
[registry]
url = ["http://one:8081", "https://two/apis/ccompat/v7/"]
connect_timeout = "1s"
timeout = "2s"
[run]
stages = ["bridge", "validate"]
poll = "5s"
drain = "1m"
[log]
partitions = 8
retention = "14d"
retain_every = "10m"
sync = false
[worker]
poll_records = 10
attempts = 5
poll_bytes = "1 MiB"
inflight_objects = 2
inflight_bytes = 67108864
transaction_objects = 50
[[source]]
name = "raw"
kind = "listing"
url = "./landing"
[[source]]
name = "orders"
kind = "directory"
url = "./orders"
bucket = "shop"
prefix = "landing/orders/"
poll = "1s"
[[source]]
name = "told"
kind = "file"
path = "notices.jsonl"
family = "minio"
[logging]
level = "warn,lakegate::stage=debug"
format = "json"
[metrics]
listen = "127.0.0.1:9464"
hung_after = "1h"
[[source]]
name = "hook"
kind = "webhook"
address = "127.0.0.1:8080"
"#;

/// What [`WHOLE`] finds in the environment.
const KEYS: [(&str, &str); 3] = [("S3_ID", "k"), ("S3_SECRET", "hunter2"), ("AWS_REGION", "x")];

#[test]
fn a_whole_file_becomes_the_options_of_a_process() {
    let settings = resolve(layers(WHOLE, &KEYS, &[], &[])).unwrap();
    assert_eq!(said(&settings, "s3.secret_access_key").0, "*** (env:S3_SECRET)");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(settings.shown.iter().filter(|s| matches!(s.origin, Origin::Default)).all(|s| s.value.is_none() || s.key.ends_with("bucket")));
    assert_eq!(settings.run.drain, Span::from_secs(60));
    assert_eq!(settings.logging.level.as_ref().map(ToString::to_string).as_deref(), Some("warn,lakegate::stage=debug"));
    assert_eq!(settings.logging.format, LogFormat::Json);
    assert_eq!(settings.metrics, Some(Listen { address: "127.0.0.1:9464".to_owned(), hung_after: Span::from_secs(3600) }));
    let options = settings.options().unwrap();
    assert_eq!(
        (options.lake.as_str(), options.contracts, options.state),
        ("./lake", "./contracts".into(), Some("/var/lib/lakegate".into()))
    );
    assert_eq!(options.stages, [StageName::Bridge, StageName::Validate]);
    assert_eq!((options.poll, options.partitions), (Span::from_secs(5), Some(8)));
    assert_eq!((options.retention, options.retain_every), (Span::from_secs(14 * 86_400), Span::from_secs(600)));
    assert_eq!(options.durability, Durability::Buffer);
    let s3 = &options.stores.s3;
    assert_eq!((s3.timeout, s3.connect_timeout), (Span::from_secs(240), Span::from_secs(1)));
    let (lake, landing) = (s3.reach("lake"), s3.reach("landing"));
    assert_eq!((lake.endpoint.as_deref(), lake.allow_http, lake.path_style), (Some("https://store.one:9000"), Some(false), Some(false)));
    assert_eq!(
        (landing.endpoint.as_deref(), landing.region.as_deref(), landing.anonymous),
        (Some("http://localhost:1"), Some("us"), Some(true))
    );
    assert_eq!(landing.keys.map(|k| (k.id, k.secret)), Some(("k".to_owned(), "hunter2".to_owned())), "said for all buckets");
    assert_eq!(s3.environment.get("AWS_REGION"), Some("x"));
    let mut cluster = crate::broker::cluster::Cluster::new("one:9092,two:9092");
    cluster.prefix = "team.".to_owned();
    assert_eq!(options.kafka, Some(cluster));
    let registry = options.registry.unwrap();
    let urls: Vec<&str> = registry.urls.iter().map(BaseUrl::as_str).collect();
    assert_eq!(urls, ["http://one:8081", "https://two/apis/ccompat/v7"]);
    assert_eq!((registry.connect_timeout, registry.timeout), (Span::from_secs(1), Span::from_secs(2)));
    let Limits { poll, inflight_objects, inflight_bytes, transaction_objects, attempts } = options.limits;
    assert_eq!((attempts, options.reload), (5, Span::from_secs(3)));
    assert_eq!((poll.records, poll.bytes, inflight_objects, inflight_bytes, transaction_objects), (10, 1 << 20, 2, 64 << 20, 50));
    let [Source::Landing(raw), Source::Landing(orders), Source::Notices(told), Source::Webhook(hook)] = options.sources.as_slice() else {
        panic!("{:?}", options.sources)
    };
    assert_eq!((raw.bucket.as_str(), raw.url.as_str(), &raw.prefix, raw.poll), ("raw", "./landing", &None, Some(Span::from_secs(5))));
    assert_eq!((orders.bucket.as_str(), orders.prefix.as_ref().unwrap().as_ref()), ("shop", "landing/orders"));
    assert_eq!((orders.poll, &told.path), (Some(Span::from_secs(1)), &PathBuf::from("notices.jsonl")));
    assert_eq!((told.family.unwrap().as_str(), hook.address.as_str(), hook.family), ("minio", "127.0.0.1:8080", None));
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let environment =
        [("LAKEGATE__LAKE__URL", "/env"), ("LAKEGATE__RUN__POLL", "7s"), ("LAKEGATE__LOG__PARTITIONS", "2"), ("PATH", "/bin")];
    let flags = [flag("--lake", ("lake", "url"), "/flag"), flag("--no-sync", ("log", "sync"), "false")];
    let settings = resolve(layers("[lake]\nurl = \"/file\"\n[run]\npoll = \"5s\"\ndrain = \"1s\"\n", &environment, &flags, &[])).unwrap();
    let of = |key: &str| said(&settings, key);
    assert_eq!(of("lake.url"), ("/flag".into(), "--lake".into()));
    assert_eq!(of("run.poll"), ("7s".into(), "LAKEGATE__RUN__POLL".into()));
    assert_eq!(of("run.drain"), ("1s".into(), "lakegate.toml:5".into()));
    assert_eq!(of("log.partitions"), ("2".into(), "LAKEGATE__LOG__PARTITIONS".into()));
    assert_eq!(of("log.sync"), ("false".into(), "--no-sync".into()));
    assert_eq!(of("state.dir"), (".lakegate".into(), "default".into()));
}

#[test]
fn a_source_of_a_flag_replaces_the_one_of_its_name_and_joins_the_others() {
    let flags = [
        SourceFlag::Landing { name: "raw".into(), url: "./other".into() },
        SourceFlag::Notices { name: "n.jsonl".into(), path: "x/n.jsonl".into() },
        SourceFlag::Webhook { address: "127.0.0.1:0".into() },
    ];
    let settings = resolve(layers(WHOLE, &KEYS, &[], &flags)).unwrap();
    let names: Vec<&str> = settings.sources.iter().map(Source::name).collect();
    assert_eq!(names, ["orders", "told", "hook", "raw", "n.jsonl", "webhook"]);
    assert_eq!(said(&settings, "source(raw).url"), ("./other".into(), "--landing".into()));
    assert_eq!(said(&settings, "source(raw).poll"), ("5s".into(), "lakegate.toml:37".into()));
    assert!(settings.shown.iter().all(|s| s.key != "source[0].url"), "a replaced source is not shown");
}

#[test]
fn all_faults_come_at_once_each_with_its_place_and_remedy() {
    let text = r#"
[lakes]
url = "x"
[lake]
urll = "./lake"
[run]
poll = 5
drain = "soon"
stages = ["bridge", "glue"]
[log]
partitions = 0
retention = "0s"
sync = "yes"
retain_every = 1.5
[worker]
poll_bytes = "12"
inflight_objects = "many"
inflight_bytes = -1
[state]
dir = 7
"#;
    let environment = [
        ("LAKEGATE__LAKE__ULR", "x"),
        ("LAKEGATE__RUN", "x"),
        ("LAKEGATE__SOURCE__RAW", "x"),
        ("LAKEGATE__LOG__SYNC__NOW", "x"),
        ("LAKEGATE__WORKER__POLL_RECORDS", "0"),
        ("LAKEGATE__CONTRACTS__URL", ""),
    ];
    insta::assert_snapshot!(problems(text, &environment, &[flag("--stages", ("run", "stages"), "bridge,,check")], &[]), @r##"
    lakegate.toml:2: lakes: unknown section; did you mean lake?
    lakegate.toml:5: lake.urll: unknown key; did you mean url?
    lakegate.toml:7: run.poll: a duration needs its unit; write "30s", "5m", "7d"
    lakegate.toml:8: run.drain: "soon" is not a duration; write 250ms, 30s, 5m, 12h, 7d or ISO-8601 such as P7D
    lakegate.toml:11: log.partitions: 0 is not between 1 and 1024
    lakegate.toml:12: log.retention: is no time at all; write "1ms" or more
    lakegate.toml:13: log.sync: wants true or false, found text
    lakegate.toml:14: log.retain_every: wants a duration such as "30s", found a fraction
    lakegate.toml:16: worker.poll_bytes: 12 B is less than 1 KiB
    lakegate.toml:17: worker.inflight_objects: wants a whole number, found text
    lakegate.toml:18: worker.inflight_bytes: wants a size such as "128 MiB", found a whole number
    lakegate.toml:20: state.dir: wants text, found a whole number; put it in quotes
    LAKEGATE__LOG__SYNC__NOW: names no setting; variables are named LAKEGATE__SECTION__KEY
    LAKEGATE__RUN: names no setting; variables are named LAKEGATE__SECTION__KEY
    LAKEGATE__SOURCE__RAW: sources are a list; write them as [[source]] in the file, or use --landing, --notices, --webhook
    LAKEGATE__LAKE__ULR: lake.ulr: unknown key; did you mean LAKEGATE__LAKE__URL?
    LAKEGATE__CONTRACTS__URL: contracts.url: is empty
    --stages: run.stages: is empty
    LAKEGATE__WORKER__POLL_RECORDS: worker.poll_records: 0 is not between 1 and 1000000
    "##);
}

#[test]
fn faults_of_sources_are_told_with_the_source() {
    let text = r#"
[[source]]
name = "a/b"
kind = "listing"
[[source]]
name = "Raw Bucket"
kind = "listing"
url = "x"
[[source]]
name = "s"
kind = "listng"
[[source]]
kind = "webhook"
address = "8080"
url = "x"
[[source]]
name = "n"
kind = "file"
path = "n"
family = "s3"
pol = "1s"
[[source]]
name = "one"
kind = "listing"
url = "x"
bucket = "b"
prefix = "a//b"
[[source]]
name = "two"
kind = "listing"
url = "y"
bucket = "b"
[[source]]
name = "three"
kind = "listing"
url = "z"
bucket = "b"
[[source]]
name = "two"
kind = "webhook"
address = "0.0.0.0:1"
"#;
    insta::assert_snapshot!(problems(text, &[], &[], &[SourceFlag::Webhook { address: "0.0.0.0:1".into() }]), @r##"
    lakegate.toml:2: source[0]: url is missing; add url = …
    lakegate.toml:3: source[0].name: "a/b" is no name of a source; use at most 64 bytes, without / and control characters
    lakegate.toml:11: source[2].kind: "listng" is no kind of source; did you mean listing? kinds are listing, directory, file, webhook
    lakegate.toml:12: source[3]: name is missing; add name = …
    lakegate.toml:14: source[3].address: "8080" is no address to listen on; write HOST:PORT, such as 127.0.0.1:8080 or 0.0.0.0:8080
    lakegate.toml:15: source[3].url: unknown key; known here: name, kind, address, family
    lakegate.toml:20: source[4].family: "s3" is not a family of events; families are aws, minio, rustfs, ceph, versitygw, eventbridge, azure, gcs, listing
    lakegate.toml:21: source[4].pol: unknown key; did you mean poll?
    lakegate.toml:27: source[5].prefix: "a//b" is no prefix of keys: Path "a//b" contained empty path segment; write whole segments, such as landing/orders
    lakegate.toml:28: source(two): bucket b stands at x (lakegate.toml:22) and at y; give one of them another bucket
    lakegate.toml:33: source(three): bucket b stands at y (lakegate.toml:28) and at z; give one of them another bucket
    lakegate.toml:38: source(two): two sources are named two, the first at lakegate.toml:28; rename one
    --webhook: source(webhook): two webhooks listen on 0.0.0.0:1, the first at lakegate.toml:38; give each its own port
    "##);
    insta::assert_snapshot!(problems("source = 1\nlake = 2\n", &[("LAKEGATE__LAKE__URL", "x")], &[], &[SourceFlag::Landing { name: "A B".into(), url: "x".into() }]), @r##"
    lakegate.toml:1: source: wants a list of tables, found a whole number; write [[source]]
    lakegate.toml:2: lake: wants a table, found a whole number; write [lake]
    "##);
}

#[test]
fn faults_of_stores_name_their_bucket() {
    let text = "[s3]\nendpoint = \"localhost:9000\"\naccess_key_id = \"AKIA\"\nbuckets = 1\ntimeot = \"1s\"\n";
    insta::assert_snapshot!(problems(text, &[("LAKEGATE__S3__BUCKETS", "x")], &[], &[]), @r##"
    lakegate.toml:1: s3: an access key has an id and a secret; say both access_key_id and secret_access_key, or neither: the environment's are taken then
    lakegate.toml:2: s3.endpoint: "localhost:9000" is no endpoint; write https://host or https://host:port
    lakegate.toml:3: s3.access_key_id: a secret is said by reference; write env:NAME or file:PATH
    lakegate.toml:5: s3.timeot: unknown key; did you mean timeout?
    LAKEGATE__S3__BUCKETS: s3.buckets: wants a table, found text; write [s3.buckets.NAME] in the file
    "##);
    let text = "[s3.buckets.raw]\nendpoint = \"https://host/path\"\nregoin = \"eu\"\nsession_token = \"env:T\"\n[s3.buckets]\nlake = 1\n";
    insta::assert_snapshot!(problems(text, &[("T", "t")], &[], &[]), @r##"
    lakegate.toml:1: s3.buckets.raw: an access key has an id and a secret; say both access_key_id and secret_access_key, or neither: the environment's are taken then
    lakegate.toml:2: s3.buckets.raw.endpoint: "https://host/path" is no endpoint; write https://host or https://host:port
    lakegate.toml:3: s3.buckets.raw.regoin: unknown key; did you mean region?
    lakegate.toml:6: s3.buckets.lake: wants a table, found a whole number; write [s3.buckets.lake]
    "##);
}

#[test]
fn what_nobody_said_is_told_with_every_way_to_say_it() {
    let settings = resolve(Layers::default()).unwrap();
    let missing = settings.options().unwrap_err();
    insta::assert_snapshot!(missing, @r##"
    lake.url: where tables are published is not said; say --lake URL, or url under [lake] in the file given with --config, or LAKEGATE__LAKE__URL
    contracts.url: where the contracts are is not said; say --contracts DIR, or url under [contracts] in the file given with --config, or LAKEGATE__CONTRACTS__URL
    source: where files land is not said; say --landing [NAME=]URL, or a [[source]] of kind listing in the file given with --config
    "##);
    // Stages that read nothing that landed need no landing bucket.
    let text = "[lake]\nurl = \"l\"\n[contracts]\nurl = \"c\"\n[run]\nstages = [\"check\", \"publish\"]\n";
    assert!(resolve(layers(text, &[], &[], &[])).unwrap().options().is_ok());
}

#[test]
fn a_section_with_a_secret_shows_only_where_it_stands() {
    let text = "[kafka]\npassword = \"env:KAFKA_PASSWORD\"\nother = \"hunter2\"\nlost = \"env:NOWHERE\"\n";
    let root = file::read("lakegate.toml", text).unwrap();
    let environment = BTreeMap::from([("KAFKA_PASSWORD".to_owned(), "hunter2".to_owned())]);
    let mut reading = Reading { environment, ..Reading::default() };
    let mut section = Section::open(&root, "kafka", &mut reading);
    let password = section.secret("password", &mut reading).unwrap();
    assert_eq!(section.secret("other", &mut reading), None);
    assert_eq!(section.secret("lost", &mut reading), None);
    section.finish(&mut reading);
    assert_eq!(password.expose(), "hunter2");
    assert_eq!(reading.shown[0].value.as_deref(), Some("*** (env:KAFKA_PASSWORD)"));
    let told: Vec<String> = reading.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "lakegate.toml:3: kafka.other: a secret is said by reference; write env:NAME or file:PATH",
            "lakegate.toml:4: kafka.lost: the variable NOWHERE is not set",
        ]
    );
    assert!(!format!("{:?} {:?}", reading.shown, told).contains("hunter2"));
}

#[test]
fn the_documentation_names_every_setting_with_its_default() {
    let page = include_str!("../../docs/configuration.md");
    for section in SECTIONS {
        assert!(page.contains(&format!("[{section}]")), "docs/configuration.md has no [{section}]");
    }
    let (settings, _) = read(Layers::default());
    for shown in settings.shown {
        let (section, key) = shown.key.split_once('.').unwrap();
        let rows = page.lines().skip_while(|l| !l.starts_with(&format!("### [{section}]"))).skip(1).take_while(|l| !l.starts_with('#'));
        let row = rows.into_iter().find(|l| l.starts_with(&format!("| `{key}` |"))).unwrap_or_else(|| panic!("no row for {}", shown.key));
        if let Some(value) = shown.value.filter(|_| key != "stages") {
            assert!(row.contains(&format!("`{value}`")), "{}: the row does not say its default {value}: {row}", shown.key);
        }
    }
}

proptest! {
    #[test]
    fn any_value_of_any_setting_is_taken_or_refused(
        key in 0usize..20,
        value in prop_oneof!["[-0-9a-z., ]{0,12}", Just("30s".to_owned()), Just("true".to_owned()), Just("1 MiB".to_owned()), Just("4".to_owned())],
    ) {
        let (settings, _) = read(Layers::default());
        let shown = &settings.shown[key % settings.shown.len()];
        let (section, name) = shown.key.split_once('.').unwrap();
        let variable = super::overlay::variable(section, name);
        let (_, by_variable) = read(layers("", &[(&variable, &value)], &[], &[]));
        let (_, by_text) = read(layers(&format!("[{section}]\n{name} = {value:?}\n"), &[], &[], &[]));
        // What is refused as a word is refused as text; numbers, truths and lists are no texts.
        prop_assert!(by_variable.len() <= by_text.len(), "{} = {value:?}: {by_variable:?} {by_text:?}", shown.key);
        for problem in by_variable {
            prop_assert_eq!(&problem.key, &shown.key);
        }
    }
}

#[test]
fn a_registry_is_asked_with_what_its_section_says_and_no_secret_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, "hunter2\n").unwrap();
    let file = format!(
        "[registry]\nurl = \"https://r\"\nuser = \"u\"\npassword = \"env:PW\"\nca = \"ca.pem\"\nclient_cert = \"c.pem\"\nclient_key = \"file:{}\"\n",
        key.display()
    );
    let settings = resolve(layers(&file, &[("PW", "hunter2")], &[], &[])).unwrap();
    let address = settings.registry.as_ref().unwrap();
    let Credentials::Basic { user, password } = &address.credentials else { panic!("{address:?}") };
    assert_eq!((user.as_str(), password.expose()), ("u", "hunter2"));
    assert_eq!((address.ca.as_deref(), address.client.as_ref().unwrap().key.expose()), (Some(Path::new("ca.pem")), "hunter2"));
    assert!(!format!("{settings:?}").contains("hunter2"));
    let shown = settings.shown.iter().find(|s| s.key == "registry.password").unwrap();
    assert_eq!(shown.value.as_deref(), Some("*** (env:PW)"));

    let flag = Flag { flag: "--registry", key: ("registry", "url"), value: "http://a:1,http://b:2".to_owned() };
    let environment = BTreeMap::from([("LAKEGATE__REGISTRY__TOKEN".to_owned(), "env:PW".to_owned()), ("PW".to_owned(), "t".to_owned())]);
    let settings = resolve(Layers { environment, flags: vec![flag], ..Layers::default() }).unwrap();
    let address = settings.registry.unwrap();
    assert_eq!((address.urls.len(), address.credentials), (2, Credentials::Bearer(Secret::new("t".to_owned()))));

    let text = "[registry]\nurl = \"http://u:hunter2@r\"\nuser = \"u\"\ntoken = \"hunter2\"\nclient_cert = \"c\"\n";
    let told = resolve(layers(text, &[], &[], &[])).unwrap_err().to_string();
    assert!(!told.contains("hunter2"), "{told}");
    for part in [
        "registry.url: a URL holds no credentials",
        "registry.user: password is missing",
        "registry.token: a user is said",
        "by reference",
        "client_key is missing",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
