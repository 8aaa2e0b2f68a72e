//! From drafts to the read plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::schema::avro;
use crate::schema::cast::TOP;
use crate::schema::finding::FindingCode;
use crate::schema::observe::{Carrier, Observation};
use crate::schema::plan::{Disposition, Expected, NodePlan, PLAN_VERSION, PlannedRules, ReadPlan, Rule};
use crate::schema::reading::Bin;
use crate::schema::shape::RecordShape;

use super::{Draft, DriftInput};

/// Nulls no finding speaks of: the default where the field has one and may not be null, else null.
pub(super) fn settle_defaults(observation: &Observation, drafts: &mut [Draft]) {
    for (node, info) in observation.nodes.iter().enumerate() {
        let rules = &mut drafts[node].rules;
        let default = |then| Rule { then, code: FindingCode::Rm1.as_str().to_owned() };
        if info.has_default {
            rules.entry(Bin::Absent).or_insert_with(|| default(Disposition::Default));
            if !info.nullable {
                rules.entry(Bin::Null).or_insert_with(|| default(Disposition::Default));
            }
        }
    }
}

/// `<column>__raw` of every column some value of which does not land as it was.
pub(super) fn raw_columns(observation: &Observation, drafts: &[Draft]) -> Vec<String> {
    let mut columns: BTreeSet<usize> = BTreeSet::new();
    for (node, info) in observation.nodes.iter().enumerate() {
        let facts = &observation.facts[node];
        if drafts[node].rules.iter().any(|(bin, rule)| rule.then.keeps_raw() && facts.rows(*bin) > 0) {
            columns.insert(info.column);
        }
    }
    columns.iter().filter_map(|c| observation.expected.fields.get(*c)).map(|f| format!("{}__raw", f.name)).collect()
}

/// Onboarding: what the contract only implied and the file lacks is no column yet, and columns stand in
/// the file's order.
pub(super) fn first_version(observation: &Observation, adopted: &[(usize, String)], next: &mut RecordShape) {
    let node_of = |name: &str| observation.nodes.iter().position(|n| n.is_field && n.path == name);
    next.fields
        .retain(|f| node_of(&f.name).is_none_or(|node| observation.facts[node].value_rows + observation.facts[node].rows(Bin::Null) > 0));
    next.fields.sort_by_key(|f| position(observation, adopted, &f.name));
}

/// Place of a column in a text table.
fn position(observation: &Observation, adopted: &[(usize, String)], name: &str) -> Option<usize> {
    let node = observation.nodes.iter().position(|n| n.is_field && n.path == name);
    let known = node.and_then(|node| observation.header_nodes.iter().position(|h| *h == Some(node)));
    let new = adopted.iter().find(|(at, n)| observation.unknown[*at].record == TOP && n == name);
    known.or_else(|| new.and_then(|(at, _)| observation.unknown[*at].position))
}

pub(super) fn plan(
    input: &DriftInput<'_>,
    target: &RecordShape,
    drafts: &[Draft],
    adopted: &[(usize, String)],
    raw_columns: &[String],
    quarantined: Option<u64>,
) -> ReadPlan {
    let observation = input.observation;
    let positions = target.fields.iter().map(|f| position(observation, adopted, &f.name)).collect();
    let mut nodes: BTreeMap<String, NodePlan> = BTreeMap::new();
    for (node, draft) in drafts.iter().enumerate() {
        let path = match observation.nodes.get(node) {
            Some(info) => info.path.clone(),
            None => match adopted_path(observation, adopted, node) {
                Some(path) => path,
                None => continue,
            },
        };
        if draft.rules.is_empty() && draft.dialect.is_none() {
            continue;
        }
        let rules = draft.rules.iter().map(|(bin, rule)| (bin.as_str().to_owned(), rule.clone())).collect();
        nodes.insert(path, NodePlan { dialect: draft.dialect, rules });
    }
    let is_adopted = |at: usize| adopted.iter().any(|(a, _)| *a == at);
    let left: Vec<usize> = (0..observation.unknown.len()).filter(|at| !is_adopted(*at)).collect();
    let rescued = left.iter().any(|at| observation.unknown[*at].inference.n_values > 0)
        || !observation.exploded.is_empty()
        || (observation.carrier == Carrier::Json && has_untyped_parts(observation));
    let rescued_positions = left
        .iter()
        .filter_map(|at| {
            let column = &observation.unknown[*at];
            column.position.filter(|_| column.inference.n_values > 0).map(|p| (p, column.path.clone()))
        })
        .collect();
    let mut columns: BTreeMap<String, PlannedRules> = BTreeMap::new();
    for (path, rules) in &input.options.columns {
        let planned = PlannedRules::from(rules);
        if planned != PlannedRules::default() {
            columns.insert(path.clone(), planned);
        }
    }
    for (at, name) in adopted {
        // A column adopted under another name keeps the rules its observed name has.
        let column = &observation.unknown[*at];
        if let Some(rules) = input.options.columns.get(&column.path).filter(|_| column.record == TOP && *name != column.key) {
            columns.insert(name.clone(), PlannedRules::from(rules));
        }
    }
    ReadPlan {
        plan_version: PLAN_VERSION,
        header: observation.header.clone(),
        schema: if *target == *observation.expected { Arc::clone(&observation.schema) } else { Arc::new(avro::record_to_json(target)) },
        n_registered: if observation.onboarding { 0 } else { observation.expected.fields.len() },
        positions,
        nodes,
        raw_columns: raw_columns.to_vec(),
        rescued,
        rescued_positions,
        null_tokens: input.null_tokens.to_vec(),
        columns,
        dedupe: input.options.dedupe.as_ref().map(Into::into),
        expected: Expected { physical: observation.physical_rows(), quarantined },
    }
}

/// Path under the name the column was adopted with.
fn adopted_path(observation: &Observation, adopted: &[(usize, String)], node: usize) -> Option<String> {
    let (at, name) = adopted.iter().find(|(at, _)| observation.unknown[*at].node == node)?;
    let prefix = &observation.nodes[observation.unknown[*at].record].path;
    Some(if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") })
}

/// Keys inside adopted columns can still be untyped (`[]` in every row); their values are kept apart.
fn has_untyped_parts(observation: &Observation) -> bool {
    observation.unknown.iter().any(|u| u.inference.has_untyped_parts())
}
