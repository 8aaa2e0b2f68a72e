//! Everything that can be said about rules before any data flows.

use arrow::datatypes::Schema;

use crate::quality::condition::Hindrance;
use crate::quality::plan::{bind, has_row_verdicts};
use crate::quality::report::{Action, Scope};
use crate::quality::syntax::*;

/// Faults and notes about a ruleset, with a schema also about its columns. `where` is compiled by
/// [`crate::quality::plan::Plan::compile`] only.
pub fn check(ruleset: &Ruleset, schema: Option<&Schema>) -> Vec<Diagnostic> {
    let mut found = labels(ruleset);
    for node in &ruleset.rules {
        leaves(node, &mut |rule| {
            if let Err(hindrance) = bind(ruleset, rule, schema) {
                let place = |message: &str| Diagnostic::new(rule.place, Some(rule.kind.name()), message);
                found.push(match hindrance {
                    Hindrance::Broken(why) => place(&why),
                    Hindrance::NotEvaluated(why) => place(&why).into_note(),
                });
            }
        });
    }
    for analyzer in &ruleset.analyzers {
        let note = Diagnostic::new(analyzer.place, Some(analyzer.kind.name()), "analyzers are not evaluated by this engine yet");
        found.push(note.into_note());
    }
    found.sort_by_key(|d| (d.line, d.column));
    found
}

fn leaves(node: &Node, each: &mut impl FnMut(&Rule)) {
    match node {
        Node::Rule(rule) => each(rule),
        Node::Composite(composite) => composite.legs.iter().for_each(|leg| leaves(leg, each)),
    }
}

/// A rule's label, else the default one. Keys are case-sensitive.
pub(crate) fn label<'a>(ruleset: &'a Ruleset, node: &'a Node, key: &str) -> Option<&'a Label> {
    node.labels().iter().chain(&ruleset.default_labels).find(|l| l.key == key)
}

/// Labels this engine gives a meaning to: `action` and `scope`.
pub(crate) fn labels(ruleset: &Ruleset) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let name = |node: &Node| match node {
        Node::Rule(rule) => Some(rule.kind.name()),
        Node::Composite(_) => None,
    };
    for label in &ruleset.default_labels {
        unknown(label, None, &mut found);
    }
    for node in &ruleset.rules {
        node.labels().iter().for_each(|l| unknown(l, name(node), &mut found));
        legs(node, &mut |leg| {
            if let Some(label) = leg.labels().iter().find(|l| l.key == "action" || l.key == "scope") {
                found.push(Diagnostic::new(
                    label.place,
                    name(leg),
                    format!("\"{}\" belongs to the whole composite, not to a leg", label.key),
                ));
            }
        });
        let action = label(ruleset, node, "action").and_then(|l| Action::named(&l.value));
        let scope = label(ruleset, node, "scope").and_then(|l| Scope::named(&l.value)).unwrap_or_default();
        if action == Some(Action::QuarantineRows) && !has_row_verdicts(node, false) {
            found.push(Diagnostic::new(node.place(), name(node), "\"quarantine_rows\" needs a rule that says which rows fail"));
        }
        if action == Some(Action::FailBatch) && scope != Scope::Batch {
            found.push(Diagnostic::new(node.place(), name(node), "\"fail_batch\" needs \"scope\"=\"batch\""));
        }
    }
    found
}

fn legs(node: &Node, each: &mut impl FnMut(&Node)) {
    if let Node::Composite(composite) = node {
        for leg in &composite.legs {
            each(leg);
            legs(leg, each);
        }
    }
}

fn unknown(label: &Label, rule: Option<&str>, found: &mut Vec<Diagnostic>) {
    let known = match label.key.as_str() {
        "action" if Action::named(&label.value).is_none() => "warn, quarantine_rows, quarantine_files, fail_batch",
        "scope" if Scope::named(&label.value).is_none() => "object, batch, table",
        _ => return,
    };
    found.push(Diagnostic::new(label.place, rule, format!("\"{}\" is no {}; there are {known}", label.value, label.key)));
}
