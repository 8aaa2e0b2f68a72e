//! Compatibility of Avro schemas under the registry's modes.
//!
//! *Backward*: the candidate reads what the older version wrote. *Forward*: the older version
//! reads what the candidate writes. A transitive mode asks every version, the others the latest:
//! v1 {f1}, v2 {f1, f2 = "foo"}, v3 {f1, f2} passes BACKWARD and fails BACKWARD_TRANSITIVE, and a
//! lake still holds files of v1 (drift.md §1.3).

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;

use crate::schema::options::Compatibility;

/// A schema's text does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{which} does not parse: {detail}")]
pub struct SchemaInvalid {
    pub which: String,
    pub detail: String,
}

/// What is incompatible, as sentences; empty when `candidate` may follow `versions` (oldest first).
///
/// # Errors
/// When one of the schemas does not parse.
pub fn check(mode: Compatibility, versions: &[&str], candidate: &str) -> Result<Vec<String>, SchemaInvalid> {
    let parse = |which: String, text: &str| Schema::parse_str(text).map_err(|e| SchemaInvalid { which, detail: e.to_string() });
    let candidate = parse("the candidate".to_owned(), candidate)?;
    let all = versions
        .iter()
        .zip(1..)
        .map(|(text, n)| Ok((n, parse(format!("version {n}"), text)?)))
        .collect::<Result<Vec<(usize, Schema)>, SchemaInvalid>>()?;
    let (backward, forward, transitive) = match mode {
        Compatibility::None => return Ok(Vec::new()),
        Compatibility::Backward => (true, false, false),
        Compatibility::BackwardTransitive => (true, false, true),
        Compatibility::Forward => (false, true, false),
        Compatibility::ForwardTransitive => (false, true, true),
        Compatibility::Full => (true, true, false),
        Compatibility::FullTransitive => (true, true, true),
    };
    let asked = if transitive { &all[..] } else { &all[all.len().saturating_sub(1)..] };
    let mut messages = Vec::new();
    for (n, version) in asked {
        if backward && let Err(e) = SchemaCompatibility::can_read(version, &candidate) {
            messages.push(format!("it cannot read data of version {n}: {e}"));
        }
        if forward && let Err(e) = SchemaCompatibility::can_read(&candidate, version) {
            messages.push(format!("version {n} cannot read its data: {e}"));
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#)
    }

    const F1: &str = r#"{"name":"f1","type":"string"}"#;
    const F2_DEFAULT: &str = r#"{"name":"f2","type":"string","default":"foo"}"#;
    const F2: &str = r#"{"name":"f2","type":"string"}"#;
    const F2_NULL: &str = r#"{"name":"f2","type":["null","string"],"default":null}"#;

    fn passes(mode: Compatibility, versions: &[String], candidate: &str) -> bool {
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        check(mode, &versions, candidate).unwrap().is_empty()
    }

    #[test]
    fn each_mode_allows_what_the_registry_allows() {
        use Compatibility::*;
        let one = [record(F1)];
        let two = [record(&format!("{F1},{F2}"))];
        let with = |f: &str| record(&format!("{F1},{f}"));
        let int = r#"{"name":"f1","type":"int"}"#;
        let long = r#"{"name":"f1","type":"long"}"#;
        // versions, candidate, modes that pass
        let cases: [(&[String], String, &[Compatibility]); 6] = [
            (&one, with(F2_NULL), &[None, Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive]),
            (&one, with(F2), &[None, Forward, ForwardTransitive]),
            (&two, record(F1), &[None, Backward, BackwardTransitive]),
            (&[record(int)], record(long), &[None, Backward, BackwardTransitive]),
            (&[record(long)], record(int), &[None, Forward, ForwardTransitive]),
            (&one, record(int), &[None]),
        ];
        for (versions, candidate, pass) in cases {
            for mode in Compatibility::ALL {
                assert_eq!(passes(mode, versions, &candidate), pass.contains(&mode), "{mode:?} {candidate}");
            }
        }
    }

    #[test]
    fn the_latest_only_trap_needs_a_transitive_mode() {
        let versions = [record(F1), record(&format!("{F1},{F2_DEFAULT}"))];
        let third = record(&format!("{F1},{F2}"));
        assert!(passes(Compatibility::Backward, &versions, &third));
        assert!(!passes(Compatibility::BackwardTransitive, &versions, &third));
    }

    #[test]
    fn unions_enums_and_nesting_are_resolved() {
        let nullable = record(r#"{"name":"f1","type":["null","string"],"default":null}"#);
        assert!(passes(Compatibility::Backward, &[record(F1)], &nullable), "a value fits its union");
        assert!(!passes(Compatibility::Backward, &[nullable], &record(F1)), "null does not fit string");
        let e = |symbols: &str, default: &str| {
            record(&format!(r#"{{"name":"e","type":{{"type":"enum","name":"E","symbols":[{symbols}]{default}}}}}"#))
        };
        assert!(passes(Compatibility::Backward, &[e(r#""A""#, "")], &e(r#""A","B""#, "")));
        assert!(!passes(Compatibility::Backward, &[e(r#""A","B""#, "")], &e(r#""A""#, "")));
        let nested =
            |t: &str| record(&format!(r#"{{"name":"n","type":{{"type":"record","name":"N","fields":[{{"name":"x","type":"{t}"}}]}}}}"#));
        assert!(passes(Compatibility::Backward, &[nested("int")], &nested("double")));
        assert!(!passes(Compatibility::Backward, &[nested("string")], &nested("int")));
    }

    #[test]
    fn what_does_not_parse_is_named() {
        assert_eq!(check(Compatibility::Full, &["nope"], &record(F1)).unwrap_err().which, "version 1");
        assert_eq!(check(Compatibility::None, &[], "{}").unwrap_err().which, "the candidate");
    }
}
