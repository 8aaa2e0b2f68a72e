//! What a contract may say in a later version, and this one does not do: refused, never silently ignored.

use super::lint::Linter;
use super::model::{Contract, DedupeScope, Mode, OnDelete, PublishFormat};
use crate::quality::parser::parse;
use crate::quality::report::Scope;
use crate::quality::syntax::{Label, Node};

/// A key whose value is not built.
struct Unbuilt {
    /// Keys, outermost first.
    path: &'static [&'static str],
    is_asked: fn(&Contract) -> bool,
    /// What this version does instead, and what to write.
    instead: &'static str,
}

const UNBUILT: &[Unbuilt] = &[
    Unbuilt {
        path: &["mode"],
        is_asked: |c| c.mode != Mode::Etl,
        instead: "this version curates and publishes every object; write mode: etl, or leave the key out",
    },
    Unbuilt {
        path: &["on_delete"],
        is_asked: |c| c.on_delete == OnDelete::Tombstone,
        instead: "this version leaves published rows of a deleted object alone; write on_delete: ignore, or leave the key out",
    },
    Unbuilt {
        path: &["schema", "pending"],
        is_asked: |c| c.pending.is_some(),
        instead: "this version announces no schema; leave the key out, and register the new schema when it comes into force",
    },
    Unbuilt {
        path: &["rows", "dedupe", "scope"],
        is_asked: |c| c.schema.dedupe.is_some() && c.dedupe_scope == DedupeScope::Table,
        instead: "this version does not look up rows in the table; write scope: file, or leave the key out",
    },
    Unbuilt {
        path: &["publish", "format"],
        is_asked: |c| c.publish.format == PublishFormat::Delta,
        instead: "this version publishes Parquet; write format: parquet, or leave the key out",
    },
    Unbuilt {
        path: &["publish", "location"],
        is_asked: |c| c.publish.location.contains("://"),
        instead: "this version publishes below the lake; write a path such as curated/orders/",
    },
];

/// Notes a fault for everything the contract asks for that is not built.
pub(super) fn refuse(contract: &Contract, linter: &mut Linter) {
    for unbuilt in UNBUILT.iter().filter(|u| (u.is_asked)(contract)) {
        linter.fault(unbuilt.path, "is not built", Some(unbuilt.instead.to_owned()));
    }
    let Some(rules) = &contract.quality.rules else { return };
    let Ok(ruleset) = parse(&rules.text) else { return };
    let labels = ruleset.default_labels.iter().chain(ruleset.rules.iter().flat_map(Node::labels));
    for label in labels.filter(|l| is_table_scope(l)) {
        let place = rules.place(label.place.line, label.place.column);
        let instead = "this version keeps no history of the table; leave the label out, or write \"scope\"=\"batch\"".to_owned();
        linter.fault_at(place, "quality.rules", "\"scope\"=\"table\" is not built", Some(instead));
    }
}

fn is_table_scope(label: &Label) -> bool {
    label.key == "scope" && Scope::named(&label.value) == Some(Scope::Table)
}

#[cfg(test)]
mod tests {
    use crate::contract::lint::lint;
    use crate::contract::parse::parse;

    fn linted(yaml: &str) -> Vec<String> {
        let text = format!("dataset: a\n{yaml}\n");
        let contract = parse("c.yaml", &text).expect("parses");
        lint("c.yaml", &text, &contract).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_built_is_refused_with_its_place_and_what_to_write_instead() {
        let cases = [
            ("mode: elt", "c.yaml:2:1: mode: is not built; this version curates"),
            ("mode: both", "c.yaml:2:1: mode: is not built; this version curates"),
            ("on_delete: tombstone", "c.yaml:2:1: on_delete: is not built; this version leaves"),
            (
                "schema:\n  pending:\n    avro: { type: record, name: A, fields: [ { name: x, type: string } ] }",
                "c.yaml:3:3: schema.pending: is not built; this version announces",
            ),
            ("rows:\n  dedupe: { key: [x], scope: table }", "c.yaml:3:23: rows.dedupe.scope: is not built; this version does not look"),
            ("publish: { format: delta }", "c.yaml:2:12: publish.format: is not built; this version publishes Parquet"),
            ("publish: { location: \"s3://other/place\" }", "c.yaml:2:12: publish.location: is not built; this version publishes below"),
            ("quality:\n  rules: |\n    Rules = [ RowCount > 0,\n      IsUnique \"x\" labels=[\"scope\"=\"table\"] ]", "c.yaml:5:"),
        ];
        for (yaml, wanted) in cases {
            let [fault] = linted(yaml).try_into().unwrap_or_else(|all| panic!("{yaml}: {all:?}"));
            assert!(fault.starts_with(wanted), "{yaml}: {fault}");
        }
    }

    #[test]
    fn the_words_that_are_built_pass() {
        for yaml in [
            "mode: etl\non_delete: ignore\non_empty: quarantine\npublish: { format: parquet, location: curated/x/ }",
            "rows: { dedupe: { key: [x], scope: file } }",
            "schema: { max_versions_per_day: 1 }",
            "quality: { rules: 'Rules = [ IsUnique \"x\" labels=[\"scope\"=\"batch\"] ]' }",
        ] {
            assert_eq!(linted(yaml), Vec::<String>::new(), "{yaml}");
        }
    }
}
