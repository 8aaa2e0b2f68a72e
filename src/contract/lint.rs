//! Checks across a contract's keys: columns that exist, formats and patterns that compile.
//!
//! Left to the caller, through [`lint_with`]: the layout, and files that are not there.

use chrono::format::{Item as TimeItem, StrftimeItems};
use serde_json::Value as Json;

use super::fault::{Fault, nearest};
use super::fields::Faults;
use super::model::{AvroSchema, Contract};
use super::parse::is_operational;
use super::tree::{self, Node, Value};
use crate::expression::derive::Derive;
use crate::quality;
use crate::quality::syntax::Severity;
use crate::route::pattern::Pattern;
use crate::schema::arrow;
use crate::schema::avro::record_from_text;
use crate::schema::options::StrictRequired;
use crate::schema::resolve::{Resolve, measured};

/// SQL functions that do not depend on their arguments alone (decisions.md 2).
pub const VOLATILE_FUNCTIONS: [&str; 12] = [
    "now",
    "random",
    "rand",
    "randn",
    "uuid",
    "gen_random_uuid",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "today",
];

/// Lints a parsed contract against its own text; `text` gives the faults their lines.
pub fn lint(file: &str, text: &str, contract: &Contract) -> Vec<Fault> {
    lint_with(file, text, contract, |_, _| {})
}

/// [`lint`], with the checks of other rooms: `more` adds faults through [`Linter::fault`].
pub fn lint_with(file: &str, text: &str, contract: &Contract, more: impl FnOnce(&Contract, &mut Linter)) -> Vec<Fault> {
    let root = tree::read(file, text).ok();
    let mut linter = Linter { root, faults: Faults::new(file) };
    check_columns(contract, &mut linter);
    check_column_rules(contract, &mut linter);
    check_resolve(contract, &mut linter);
    check_derive(contract, &mut linter);
    check_location(contract, &mut linter);
    check_avro(contract, &mut linter);
    check_route(contract, &mut linter);
    check_rules(contract, &mut linter);
    super::unbuilt::refuse(contract, &mut linter);
    more(contract, &mut linter);
    linter.faults.list.sort_by_key(|f| (f.line, f.column));
    linter.faults.list
}

/// Where faults are noted.
#[derive(Debug)]
pub struct Linter {
    root: Option<Node>,
    faults: Faults,
}

impl Linter {
    /// Notes a fault at the place of `path` (keys, outermost first), or of its nearest existing parent.
    pub fn fault(&mut self, path: &[&str], message: impl Into<String>, remedy: Option<String>) {
        let place = self.root.as_ref().map_or((1, 1), |root| place(root, path));
        self.faults.at(place, &path.join("."), message, remedy);
    }

    /// Notes a fault at a place that is known.
    pub fn fault_at(&mut self, place: (usize, usize), path: &str, message: impl Into<String>, remedy: Option<String>) {
        self.faults.at(place, path, message, remedy);
    }
}

fn place(root: &Node, path: &[&str]) -> (usize, usize) {
    let (mut node, mut place) = (root, (root.line, root.column));
    for key in path {
        let Value::Map(entries) = &node.value else { break };
        let Some(entry) = entries.iter().find(|e| e.key == *key) else { break };
        (node, place) = (&entry.node, (entry.line, entry.column));
    }
    place
}

/// Top-level columns of the schema; `None`: not loaded, or the dataset is onboarding.
fn schema_columns(contract: &Contract) -> Option<Vec<String>> {
    let schema = serde_json::from_str::<Json>(contract.avro_text()?).ok()?;
    Some(schema.get("fields")?.as_array()?.iter().filter_map(|f| f.get("name")?.as_str().map(str::to_owned)).collect())
}

fn check_columns(contract: &Contract, linter: &mut Linter) {
    let Some(columns) = schema_columns(contract) else { return };
    let derived: Vec<&str> = contract.transform.derive.iter().map(|(name, _)| name.as_str()).collect();
    let mut exists = |path: &[&str], column: &str, more: &[&str]| {
        let top = column.split('.').next().unwrap_or(column);
        if columns.iter().any(|c| c == top || c == column) || more.contains(&column) {
            return;
        }
        let known = columns.iter().map(String::as_str).chain(more.iter().copied());
        let remedy = nearest(column, known).map(|word| format!("did you mean {word}?"));
        linter.fault(path, format!("there is no column {column}"), remedy);
    };
    for column in &contract.schema.identity {
        exists(&["schema", "identity"], column, &[]);
    }
    for column in &contract.schema.required {
        exists(&["schema", "required"], column, &[]);
    }
    for column in contract.schema.columns.keys() {
        exists(&["schema", "columns", column], column, &[]);
    }
    if let StrictRequired::Columns(strict) = &contract.schema.policy.strict_required_columns {
        for column in strict {
            exists(&["schema", "policy", "strict_required_columns"], column, &[]);
        }
    }
    for column in contract.schema.dedupe.iter().flat_map(|d| &d.key) {
        exists(&["rows", "dedupe", "key"], column, &[]);
    }
    for column in contract.schema.resolve.keys() {
        exists(&["transform", "resolve", column], column, &[]);
    }
    for column in contract.transform.select.iter().flatten() {
        exists(&["transform", "select"], column, &derived);
    }
    for column in contract.transform.partition_by.iter().filter(|c| !is_operational(c)) {
        exists(&["transform", "partition_by"], column, &derived);
    }
    let Some(select) = &contract.transform.select else { return };
    for column in contract.transform.partition_by.iter().filter(|c| !is_operational(c) && !select.contains(c)) {
        linter.fault(&["transform", "partition_by"], format!("{column} is not in select"), Some(format!("add {column} to select")));
    }
}

fn check_column_rules(contract: &Contract, linter: &mut Linter) {
    let mut event_times = Vec::new();
    for (name, rules) in &contract.schema.columns {
        for format in rules.formats.iter().filter(|f| *f != "RFC3339") {
            let valid = format.contains('%') && !StrftimeItems::new(format).any(|item| matches!(item, TimeItem::Error));
            if !valid {
                let remedy = Some("write RFC3339 or a strftime format such as %Y-%m-%d".to_owned());
                linter.fault(&["schema", "columns", name, "format"], format!("{format:?} is not a time format"), remedy);
            }
        }
        if let Some(pattern) = &rules.pattern
            && let Err(e) = regex::Regex::new(pattern)
        {
            let why = e.to_string().lines().last().unwrap_or_default().trim().to_owned();
            linter.fault(&["schema", "columns", name, "pattern"], format!("is not a regular expression: {why}"), None);
        }
        if rules.event_time {
            event_times.push(name.as_str());
        }
    }
    if let [_, second, ..] = event_times.as_slice() {
        linter.fault(&["schema", "columns", second, "event_time"], format!("also on {}", event_times[0]), Some("name one".to_owned()));
    }
}

/// Choices whose columns would not follow from contract and registered version, and nulls where none may be.
fn check_resolve(contract: &Contract, linter: &mut Linter) {
    for (column, choice) in &contract.schema.resolve {
        let path = ["transform", "resolve", column.as_str()];
        match choice {
            Resolve::MakeCols | Resolve::MakeStruct => {
                let why = format!("{choice} would give the table a column or field for each type that some file happens to hold");
                let remedy = "cast:string keeps every value as text, project:TYPE one type and the originals in a raw column";
                linter.fault(&path, why, Some(remedy.to_owned()));
            }
            Resolve::Project(_) if contract.schema.is_identity(column) || contract.schema.is_required(column) => {
                let remedy = format!("write cast:{}", choice.target().map(ToString::to_string).unwrap_or_default());
                linter.fault(&path, format!("{choice} makes null of other values, and {column} must have one"), Some(remedy));
            }
            _ if column.contains('.') => linter.fault(&path, "is not a column of the table but a part of one", None),
            _ => {}
        }
    }
}

fn check_derive(contract: &Contract, linter: &mut Linter) {
    let derive = &contract.transform.derive;
    let mut volatile = Vec::new();
    for (column, expression) in derive {
        if is_operational(column) {
            linter.fault(&["transform", "derive", column], "is a column the pipeline adds", Some("take another name".to_owned()));
        }
        if let Some(function) = volatile_function(expression) {
            let remedy = Some("a replay must give the same rows".to_owned());
            linter.fault(&["transform", "derive", column], format!("{function} gives another value each time"), remedy);
            volatile.push(column);
        }
    }
    // Onboarding: which columns there are, and of which types, is not known yet.
    let compiled = match contract.avro_text().and_then(|text| record_from_text(text).ok()) {
        Some(shape) => Derive::compile(derive, &arrow::schema(&measured(&shape, &contract.schema.resolve))).map(drop),
        None => Derive::parse(derive),
    };
    for error in compiled.err().into_iter().flatten().filter(|e| !volatile.contains(&&e.column)) {
        linter.fault(&["transform", "derive", &error.column], error.source.to_string(), None);
    }
}

/// A volatile function in an expression, outside quotes. `current_date` and its kin need no parentheses.
fn volatile_function(expression: &str) -> Option<&'static str> {
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if matches!(first, '\'' | '"' | '`') {
            let after = &rest[1..];
            rest = after.find(first).map_or("", |end| &after[end + 1..]);
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let found = VOLATILE_FUNCTIONS.iter().find(|f| f.eq_ignore_ascii_case(word));
            if let Some(function) = found
                && (after.trim_start().starts_with('(') || function.starts_with("current_") || function.starts_with("local"))
            {
                return Some(function);
            }
            rest = after;
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    None
}

/// The schema can be used: references resolve, nothing is named twice, nothing contains itself.
fn check_avro(contract: &Contract, linter: &mut Linter) {
    let pending = contract.pending.as_ref().map(|p| &p.avro);
    for (path, schema) in [(["schema", "avro"].as_slice(), contract.avro.as_ref()), (&["schema", "pending", "avro"], pending)] {
        if let Some(AvroSchema::Inline(text)) = schema
            && let Err(e) = record_from_text(text)
        {
            linter.fault(path, format!("cannot be used as a schema: {e}"), None);
        }
    }
}

fn check_route(contract: &Contract, linter: &mut Linter) {
    let Some(route) = &contract.route else { return };
    for fault in Pattern::compile(&route.pattern).err().into_iter().flatten() {
        linter.fault_at((route.line, route.column), "route", fault.to_string(), None);
    }
}

/// Rules that do not parse, or can never be judged, are found before any file lands.
fn check_rules(contract: &Contract, linter: &mut Linter) {
    let Some(rules) = &contract.quality.rules else { return };
    let faults = match quality::parser::parse(&rules.text) {
        Ok(ruleset) => quality::lint::check(&ruleset, None),
        Err(faults) => faults,
    };
    for fault in faults.iter().filter(|f| f.severity == Severity::Error) {
        let message = fault.rule.as_ref().map_or_else(|| fault.message.clone(), |rule| format!("{rule}: {}", fault.message));
        linter.fault_at(rules.place(fault.line, fault.column), "quality.rules", message, None);
    }
}

fn check_location(contract: &Contract, linter: &mut Linter) {
    let location = &contract.publish.location;
    let leaves = location.starts_with('/') || location.split('/').any(|s| s == ".." || s == ".");
    if !location.contains("://") && leaves {
        let remedy = Some(format!("write curated/{}/ or a URL", contract.dataset));
        linter.fault(&["publish", "location"], format!("{location:?} is not a place under the lake"), remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::parse::parse;

    const AVRO: &str = r#"{"type":"record","name":"A","fields":[{"name":"order_id","type":"string"},{"name":"ts","type":"string"}]}"#;

    fn linted(yaml: &str) -> Vec<String> {
        let text = format!("dataset: a\n{yaml}\n");
        let contract = parse("c.yaml", &text).expect("parses").with_avro(AVRO);
        lint("c.yaml", &text, &contract).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn choices_that_make_no_sound_table_are_refused() {
        let yaml = "schema: { required: [order_id] }\ntransform:\n  resolve:\n    order_id: project:long\n    ts: make_cols";
        let faults = linted(yaml);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("c.yaml:5:") && faults[0].contains("makes null of other values"), "{}", faults[0]);
        assert!(faults[1].starts_with("c.yaml:6:") && faults[1].contains("each type that some file happens to hold"), "{}", faults[1]);
        assert!(linted("transform: { resolve: { order_id: cast:string, ts: match_registry } }").is_empty());
    }

    #[test]
    fn what_no_single_key_can_tell_is_found() {
        let cases = [
            ("schema: { identity: [order_ids] }", "c.yaml:2:11: schema.identity: there is no column order_ids; did you mean order_id?"),
            ("transform: { partition_by: [region] }", "c.yaml:2:14: transform.partition_by: there is no column region"),
            (
                "transform: { select: [order_id], partition_by: [ts] }",
                "c.yaml:2:34: transform.partition_by: ts is not in select; add ts to select",
            ),
            (
                "transform: { derive: { x: \"Now() + 1\" } }",
                "c.yaml:2:24: transform.derive.x: now gives another value each time; a replay must give the same rows",
            ),
            (
                "transform: { derive: { x: \"upper(order_idd)\" } }",
                "c.yaml:2:24: transform.derive.x: there is no column order_idd; there are order_id, ts (at character 7)",
            ),
            (
                "schema: { columns: { ts: { format: yyyy } } }",
                "c.yaml:2:28: schema.columns.ts.format: \"yyyy\" is not a time format; write RFC3339 or a strftime format such as %Y-%m-%d",
            ),
            (
                "publish: { location: /etc }",
                "c.yaml:2:12: publish.location: \"/etc/\" is not a place under the lake; write curated/a/ or a URL",
            ),
        ];
        for (yaml, wanted) in cases {
            assert_eq!(linted(yaml), [wanted], "{yaml}");
        }
        assert_eq!(linted("schema: { columns: { ts: { pattern: \"(\" } } }").len(), 1);
        assert_eq!(linted("schema: { columns: { ts: { event_time: true }, order_id: { event_time: true } } }").len(), 1);
    }

    #[test]
    fn of_an_onboarding_dataset_expressions_are_only_parsed() {
        let text = |expression: &str| format!("dataset: a\ntransform: {{ derive: {{ x: \"{expression}\" }} }}\n");
        let linted = |expression: &str| lint("c.yaml", &text(expression), &parse("c.yaml", &text(expression)).expect("parses"));
        assert!(linted("upper(whatever)").is_empty());
        let faults = linted("upper(whatever");
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].to_string().starts_with("c.yaml:2:24: transform.derive.x: "), "{}", faults[0]);
    }

    #[test]
    fn what_is_right_passes() {
        for yaml in [
            "schema: { identity: [order_id], required: [order_id.part] }",
            "transform: { partition_by: [ingest_date] }",
            "transform: { derive: { day: \"substr(ts, 1, 10)\" }, partition_by: [day] }",
            "transform: { derive: { x: \"concat('now()', ts, \\\"random\\\")\" } }",
            "publish: { location: other/place }",
        ] {
            assert_eq!(linted(yaml), Vec::<String>::new(), "{yaml}");
        }
    }
}
