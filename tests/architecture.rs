//! Holds the floors of ARCHITECTURE.md over the text of `src/`: who may import whom, how long a file may be,
//! which names and calls are banned, and each exception with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINE_CAP: usize = 600;

/// Modules of each floor. A module imports any floor below its own; floors 2 and 3 share a row because a seam's
/// implementations stand in the seam's folder.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["domain"]),
    (
        1,
        &[
            "admission",
            "batch",
            "contract",
            "event",
            "expression",
            "format",
            "publish",
            "quality",
            "quarantine",
            "replay",
            "route",
            "schema",
            "sweep",
            "table",
        ],
    ),
    (2, &["broker", "claim", "clock", "lake", "registry", "source", "state", "telemetry", "wire"]),
    (4, &["pipeline", "stage"]),
    (5, &["app", "cli", "config"]),
];

/// Edges beside "any floor below": (from, to, why). Everything else on the same floor or above is a fault.
const EDGES: &[(&str, &str, &str)] = &[
    ("admission", "format", "the names of formats; no reader"),
    ("contract", "batch", "limits are options the contract resolves into"),
    ("contract", "expression", "lint compiles derive and where"),
    ("contract", "format", "source options"),
    ("contract", "quality", "the ruleset is parsed with the contract"),
    ("contract", "route", "the pattern is parsed with the contract"),
    ("contract", "schema", "schema options"),
    ("contract", "table", "Parquet options"),
    ("quality", "expression", "where and CustomSql are expressions"),
    ("quality", "schema", "types of the judged columns, and what tells their values apart"),
    ("quarantine", "format", "the place of a bad record"),
    ("route", "event", "a pattern is matched against a normalized event"),
    ("schema", "format", "blocks that a reader hands out"),
    ("table", "schema::union", "rows of several versions meet in one file"),
    ("table", "lake::layout", "escaping of partition values: pure text, no store"),
    ("registry", "lake", "the embedded registry lives in the lake"),
    ("broker", "clock", "the embedded log waits on the clock"),
    ("broker", "claim", "the embedded log claims its folder as a process of a cluster does"),
    ("lake", "telemetry", "requests are counted"),
    ("telemetry", "clock", "health is judged against now; rounds are timed"),
    ("lake", "clock", "retries wait on the clock"),
    ("registry", "clock", "retries wait on the clock"),
    ("source", "broker", "cursors and landing records are one transaction"),
    ("source", "clock", "polling waits on the clock"),
    ("source", "lake", "a listing reads a store"),
    ("source", "wire", "landing records"),
    // Upwards: the bridge is step 0 of the pipeline, and writes as a stage writes. Narrow on purpose; no other path.
    ("source", "pipeline::outlet", "landing records and letters leave through the same outlet"),
    ("source", "pipeline::topics", "the name of the landing topic"),
    ("source", "pipeline::about", "a trace begins where an object lands"),
    ("source", "pipeline::tally", "what a webhook took is counted as a stage's decision is"),
    ("source", "telemetry", "what is counted of a notification"),
    ("source", "stage::letters", "the letter of an unreadable notification and its bound"),
    ("source", "stage::catalog", "the routes of the contracts in force"),
    ("source", "stage::validate::family_word", "one spelling of a sequencer's family"),
    ("state", "broker", "the changelog is a topic"),
    ("wire", "registry", "records are framed with registered ids"),
    ("wire", "lake", "claim checks are objects"),
    ("pipeline", "stage", "the runner drives the stage trait"),
    ("stage", "pipeline", "effects are handed to the pipeline's outlet"),
];

/// Words that must not stand in the code (comments, texts and tests aside): word, where it may stand, why it is banned.
/// A home is a prefix of the path below `src/`.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("println!", &["cli/", "main.rs"], "only commands print"),
    ("anyhow", &["cli/", "main.rs"], "a library error is an enum"),
    ("SystemTime::now", &["clock.rs"], "time is an argument"),
    ("Instant::now", &["clock.rs"], "time is an argument"),
    ("Utc::now", &["clock.rs"], "time is an argument"),
    ("Local::now", &["clock.rs"], "time is an argument"),
    ("thread::sleep", &["clock.rs"], "waiting is the clock's"),
    ("time::sleep", &["clock.rs"], "waiting is the clock's"),
];

/// Words no file of floors 0 and 1 may hold, on top of [`BANNED`].
const IMPURE: &[&str] = &[
    "tokio",
    "async ",
    ".await",
    "object_store",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "std::process",
    "futures::",
    "fjall",
    "axum",
    "reqwest",
];

const BANNED_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "processor"];

/// (file below `src/`, banned word, why it may stand there all the same).
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn every_file_keeps_to_its_floor() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(files.len() > 50, "src was not found whole: {} files", files.len());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let name = path.strip_prefix(&src).expect("below src").to_string_lossy().replace('\\', "/");
            faults_of(&name, &fs::read_to_string(path).expect("readable source"))
        })
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_exception_is_still_needed() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, word, _) in EXCEPTIONS {
        let text = fs::read_to_string(src.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(production(&text).contains(word), "{file} no longer holds `{word}`: drop the exception");
    }
}

#[test]
fn fabricated_violations_are_found() {
    let found = |file: &str, text: &str| faults_of(file, text).join("\n");
    assert!(found("domain/x.rs", "use crate::format::open;").contains("domain imports format"));
    assert!(found("schema/x.rs", "use crate::stage::Stage;").contains("schema imports stage"));
    assert!(found("format/x.rs", "use crate::{domain::names::A, schema::shape::B};").contains("format imports schema"));
    assert!(found("format/x.rs", "use crate::{\n    domain,\n    quality::{self, x},\n};").contains("format imports quality"));
    assert!(found("table/x.rs", "use crate::lake::local::LocalLake;").contains("table imports lake"));
    assert!(found("batch/x.rs", "fn f() { crate::broker::open() }").contains("batch imports broker"));
    assert!(found("route/x.rs", "pub async fn f() {}").contains("async"));
    assert!(found("event/x.rs", "use std::fs;").contains("std::fs"));
    assert!(found("lake/layout.rs", "use object_store::ObjectStore;").contains("object_store"));
    assert!(found("stage/x.rs", "println!(\"hello\");").contains("println!"));
    assert!(found("app/x.rs", "use anyhow::Result;").contains("anyhow"));
    assert!(found("stage/x.rs", "let t = std::time::Instant::now();").contains("Instant::now"));
    assert!(found("stage/utils.rs", "").contains("banned name"));
    assert!(found("attic/x.rs", "").contains("no floor"));
    assert!(found("stage/x.rs", &"let a = 1;\n".repeat(601)).contains("601 lines"));
}

#[test]
fn what_is_allowed_is_not_a_fault() {
    for (file, text) in [
        ("schema/x.rs", "use crate::{domain::names::A, format::block::{B, C}};\nuse crate::schema::shape;"),
        ("table/x.rs", "use crate::lake::layout::partition_value;"),
        ("domain/x.rs", "//! Used by [`crate::wire`] and async code.\n/// See `crate::clock`.\n/* crate::app */ pub struct A;"),
        ("format/x.rs", "pub fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n    use crate::stage;\n}"),
        ("format/tests.rs", "use std::fs;"),
        ("lake/layout.rs", "use object_store::path::Path;"),
        ("event/x.rs", "const A: &str = \"crate::app // tokio\";"),
        ("clock.rs", "let t = std::time::Instant::now();"),
        ("cli/x.rs", "println!(\"{}\", anyhow::anyhow!(crate::app::x));"),
        ("stage/x.rs", &"let a = 1;\n".repeat(600)),
    ] {
        assert_eq!(faults_of(file, text), Vec::<String>::new(), "{file}");
    }
}

/// Every fault of one file; `name` is its path below `src/`.
fn faults_of(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".rs");
    if name.split('/').any(|part| BANNED_NAMES.contains(&part.trim_end_matches(".rs"))) {
        faults.push(format!("{name}: banned name: call it by the noun it holds"));
    }
    if is_test(name) {
        return faults;
    }
    let lines = without_tests(text).lines().count();
    if lines > LINE_CAP {
        faults.push(format!("{name}: {lines} lines without tests, at most {LINE_CAP}"));
    }
    let code = production(text);
    for (word, homes, why) in BANNED {
        if holds(&code, word) && !homes.iter().any(|home| name.starts_with(home)) && !excepted(name, word) {
            faults.push(format!("{name}: `{word}`: {why}"));
        }
    }
    if matches!(stem, "lib" | "main") && !name.contains('/') {
        return faults;
    }
    let module = name.split('/').next().unwrap_or(name).trim_end_matches(".rs");
    let Some(floor) = floor_of(module) else {
        faults.push(format!("{name}: `{module}` stands on no floor: add it to FLOORS"));
        return faults;
    };
    for path in imports(&code) {
        let to = path.split("::").next().unwrap_or(&path);
        let allowed = to == module
            || EDGES.iter().any(|(a, b, _)| *a == module && within(&path, b))
            || floor == 5
            || floor_of(to).is_none_or(|f| f < floor);
        if !allowed {
            faults.push(format!("{name}: {module} imports {path}: not below floor {floor}, and no edge of EDGES"));
        }
    }
    // The layout is a pure core in the lake's folder: its key type is the store's, nothing else.
    let pure_code = if name == "lake/layout.rs" { Some(code.replace("object_store::path", "")) } else { (floor < 2).then_some(code) };
    for word in IMPURE.iter().filter(|_| pure_code.is_some()) {
        if pure_code.as_deref().is_some_and(|code| holds(code, word)) && !excepted(name, word) {
            faults.push(format!("{name}: `{word}` in a pure core"));
        }
    }
    faults
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

fn excepted(name: &str, word: &str) -> bool {
    EXCEPTIONS.iter().any(|(file, of, _)| *file == name && *of == word)
}

fn within(path: &str, edge: &str) -> bool {
    path == edge || path.strip_prefix(edge).is_some_and(|rest| rest.starts_with("::"))
}

/// Whether `word` stands in the code and is not the tail of a longer name.
fn holds(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| word.starts_with('.') || !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.ends_with("/testing.rs")
}

/// The text up to its `#[cfg(test)]` module; by convention that module is the last of a file.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// Code alone: tests, comments and the content of text literals removed.
fn production(text: &str) -> String {
    let chars: Vec<char> = without_tests(text).chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < chars.len() {
        let pair = (chars[at], chars.get(at + 1).copied().unwrap_or(' '));
        match pair {
            ('/', '/') => at = find(&chars, at, &['\n']),
            ('/', '*') => at = find(&chars, at + 2, &['*', '/']) + 2,
            ('\'', '"') if chars.get(at + 2) == Some(&'\'') => at += 3,
            ('\'', '\\') if chars.get(at + 3) == Some(&'\'') => at += 4,
            ('r', '"' | '#') if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
                if chars.get(at + 1 + hashes) == Some(&'"') {
                    let mut end = vec!['"'];
                    end.resize(1 + hashes, '#');
                    at = find(&chars, at + 2 + hashes, &end) + end.len();
                } else {
                    out.push('r');
                    at += 1;
                }
            }
            ('"', _) => {
                at += 1;
                while at < chars.len() && chars[at] != '"' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
                out.push_str("\"\"");
            }
            (c, _) => {
                out.push(c);
                at += 1;
            }
        }
    }
    out
}

/// Where `what` next stands at or after `from`, else the end.
fn find(chars: &[char], from: usize, what: &[char]) -> usize {
    (from..chars.len()).find(|&at| chars[at..].starts_with(what)).unwrap_or(chars.len())
}

/// Every path after `crate::`, groups opened one by one: `crate::{a::b, c}` is `a::b` and `c`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, word) in code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with('$')) {
        let rest = &code[at + word.len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(head(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        ',' | '}' if depth == 0 => {
                            found.insert(head(group[start..i].trim()));
                            start = i + 1;
                            if c == '}' {
                                break;
                            }
                        }
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

/// The leading path of names, without a trailing separator.
fn head(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    text[..end].trim_end_matches(':').to_owned()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).expect("readable folder").map(|e| e.expect("readable entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}
