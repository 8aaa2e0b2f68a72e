//! Findings about names: what the reader noticed, renames, order, missing and unknown columns.

use crate::domain::reason::ReasonCode;
use crate::schema::evolve::Step;
use crate::schema::finding::{Action, Evidence, Finding, FindingCode, Kind};
use crate::schema::matching::{Matched, avro_name, normalized};
use crate::schema::observe::{Carrier, UnknownColumn, is_must};
use crate::schema::options::{Coercion, StrictRequired};
use crate::schema::plan::Disposition;
use crate::schema::reading::Bin;
use crate::schema::resolve::Resolve;
use crate::schema::shape::{Field, Shape};

use super::{Case, rename};

impl Case<'_> {
    /// DI1 and DI2: what the reader resolved by detection.
    pub(super) fn events(&mut self) {
        for event in self.input.events {
            let detected = matches!(
                event.reason,
                ReasonCode::DelimiterDialect
                    | ReasonCode::QuoteDialect
                    | ReasonCode::EscapeDialect
                    | ReasonCode::NewlineDialect
                    | ReasonCode::EncodingBom
            );
            if self.observation.onboarding && detected {
                continue;
            }
            let code = if event.reason == ReasonCode::MissingHeader { FindingCode::Di2 } else { FindingCode::Di1 };
            let refused = code == FindingCode::Di2 && self.coercion() == Coercion::None;
            let mut finding = Finding::new(code, "").breaking_if(refused);
            if code == FindingCode::Di2 {
                finding = finding.policy(self.coercion_bit());
            }
            finding.reason = event.reason;
            finding.evidence.detail = Some(event.detail.clone());
            self.add(finding);
        }
    }

    /// AD6, RN1, RN2 and OR1.
    pub(super) fn names(&mut self) {
        let observation = self.observation;
        for (node, info) in observation.nodes.iter().enumerate().skip(1) {
            let facts = &observation.facts[node];
            let twice = observation.repeated_names.contains(&info.path);
            let n_names = facts.names.len() + usize::from(facts.named_exactly);
            if n_names > 1 || twice {
                let mut names: Vec<&str> = facts.names.keys().map(String::as_str).collect();
                if facts.named_exactly {
                    names.insert(0, &info.path);
                }
                let finding =
                    Finding::new(FindingCode::Ad6, &info.path).between(&info.path, names.join(", ")).breaking_if(true).hard_if(twice);
                self.add(finding);
                continue;
            }
            if let Some((name, how)) = facts.names.first_key_value() {
                let code = if *how == Matched::Alias { FindingCode::Rn2 } else { FindingCode::Rn1 };
                self.add(Finding::new(code, &info.path).between(&info.path, name));
            }
        }
        let order: Vec<usize> = observation.header_nodes.iter().flatten().copied().collect();
        if !observation.onboarding && !order.is_sorted() {
            self.add(Finding::new(FindingCode::Or1, "").between("registered order", observation.header.join(",")));
        }
    }

    /// A column of the table itself, not a part of one.
    fn is_top(&self, node: usize) -> bool {
        let info = &self.observation.nodes[node];
        info.is_field && self.observation.expected.fields.get(info.column).is_some_and(|f| f.name == info.path)
    }

    fn is_missing(&self, node: usize) -> bool {
        let observation = self.observation;
        if self.is_top(node) && observation.carrier == Carrier::Text {
            return !observation.header_nodes.contains(&Some(node));
        }
        let facts = &observation.facts[node];
        observation.nodes[node].is_field && facts.is_missing() && facts.rows(Bin::Absent) > 0
    }

    /// RM1, RM2 and RN3.
    pub(super) fn missing(&mut self) {
        let observation = self.observation;
        let missing: Vec<usize> = (1..observation.nodes.len()).filter(|n| self.is_missing(*n)).collect();
        let mut required_missing: Vec<String> = Vec::new();
        for node in &missing {
            let info = &observation.nodes[*node];
            let identity = self.options.is_identity(&info.path);
            if !is_must(info, self.options) && !identity {
                if !observation.onboarding {
                    let to = if info.has_default { "absent, default" } else { "absent, null" };
                    self.add(Finding::new(FindingCode::Rm1, &info.path).between(info.shape.to_string(), to));
                }
                continue;
            }
            required_missing.push(info.path.clone());
            self.missing_required(info.path.clone(), info.shape.to_string(), *node);
        }
        if observation.onboarding {
            self.never_seen(&required_missing);
        } else {
            let top: Vec<usize> = missing.into_iter().filter(|n| self.is_top(*n)).collect();
            let renames = rename::candidates(observation, self.options, &top);
            for candidate in &renames {
                let mut finding = Finding::new(FindingCode::Rn3, &candidate.to).between(&candidate.to, &candidate.from);
                finding.evidence.detail = Some(format!("similarity {:.2}: {}", candidate.score, candidate.because));
                self.add(finding);
                // A column that is missing because it is probably called otherwise belongs to that class.
                for missing in self.findings.iter_mut().filter(|f| f.kind == Kind::Removal && f.path == candidate.to) {
                    missing.reason = ReasonCode::HeaderRename;
                }
            }
            self.renames = renames;
        }
    }

    fn missing_required(&mut self, path: String, shape: String, node: usize) {
        let identity = self.options.is_identity(&path);
        let strict = match &self.options.policy.strict_required_columns {
            StrictRequired::All => true,
            StrictRequired::None => false,
            StrictRequired::Columns(list) => list.contains(&path),
        };
        let finding = Finding::new(FindingCode::Rm2, &path)
            .between(shape, "absent")
            .policy(if identity { "identity".to_owned() } else { format!("strict_required_columns={strict}") })
            .breaking_if(strict || identity)
            .hard_if(identity);
        self.add(finding);
        // Leniency lands null in every row; nothing of it is a bad row.
        if let Some(draft) = self.drafts.get_mut(node) {
            draft.set(Bin::Absent, Disposition::Null, FindingCode::Rm2);
            draft.set(Bin::Null, Disposition::Null, FindingCode::Rm2);
        }
    }

    /// Onboarding: required and identity columns the file should have had.
    fn never_seen(&mut self, told: &[String]) {
        let observation = self.observation;
        if observation.rows == 0 && observation.carrier == Carrier::Json {
            return;
        }
        let options = self.options;
        let names = options.required.iter().chain(&options.identity).chain(options.dedupe.iter().flat_map(|d| &d.key));
        let event_time = options.columns.iter().filter(|(_, c)| c.event_time).map(|(n, _)| n);
        let mut seen: Vec<&String> = Vec::new();
        for name in names.chain(event_time).chain(&options.partition_columns) {
            let registered = observation.expected.field(name).is_some();
            let unknown = observation.unknown.iter().find(|u| u.path == *name);
            let there = unknown.is_some_and(|u| u.position.is_some() || u.inference.n_values + u.inference.n_nulls > 0);
            let nested = name.contains('.');
            if registered || there || nested || told.contains(name) || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let node = unknown.map_or(usize::MAX, |u| u.node);
            self.missing_required(name.clone(), "required".to_owned(), node);
        }
    }

    /// AD1, AD3 and AD4; in onboarding every unknown column is simply adopted.
    pub(super) fn unknown(&mut self) {
        let observation = self.observation;
        if observation.onboarding {
            self.adopt_all();
            return;
        }
        let policy = &self.options.policy;
        let mut exploded: Vec<String> = observation.exploded.clone();
        let mut per_record: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
        for column in observation.unknown.iter().filter(|u| u.collides.is_none() && u.inference.n_values > 0) {
            *per_record.entry(column.record).or_default() += 1;
        }
        let total: usize = per_record.values().sum();
        if total > policy.max_new_columns && exploded.is_empty() {
            let widest = per_record.iter().max_by_key(|(_, n)| **n).map_or(0, |(record, _)| *record);
            exploded.push(observation.nodes[widest].path.clone());
        }
        for path in &exploded {
            let finding = Finding::new(FindingCode::Ad4, path)
                .between("record", format!("{total} or more new fields"))
                .policy(format!("max_new_columns={}", policy.max_new_columns))
                .breaking_if(true);
            self.add(finding);
        }
        if !exploded.is_empty() {
            return;
        }
        for (at, column) in observation.unknown.iter().enumerate() {
            if column.collides.is_some() {
                continue;
            }
            let evidence = Evidence {
                rows: Some(observation.rows),
                non_null: Some(column.inference.n_values),
                example: column.inference.examples.first().map(|e| self.shown(&column.path, &e.1)),
                row: column.inference.examples.first().map(|e| e.0),
                ..Evidence::default()
            };
            let shape = column.inference.shape(&avro_name(&column.key));
            let Some(shape) = shape else {
                let mut finding = Finding::new(FindingCode::Ad3, &column.path).between("absent", "no value");
                finding.evidence = evidence;
                self.add(finding);
                continue;
            };
            self.new_column(at, shape, evidence);
        }
    }

    fn new_column(&mut self, at: usize, shape: Shape, evidence: Evidence) {
        let column = &self.observation.unknown[at];
        let allowed = self.options.policy.allow_additive_columns;
        // A type the contract sets must hold everything the file has: it was not measured against it.
        let target = self.options.resolve.get(&column.path).and_then(Resolve::target);
        let fits = target.is_none_or(|t| *t == Shape::String || t.subsumes(&shape));
        let shape = target.filter(|_| fits).cloned().unwrap_or(shape);
        let refused = self.input.evolution_refused || !fits;
        let mut finding = Finding::new(FindingCode::Ad1, &column.path)
            .between("absent", shape.to_string())
            .policy(format!("allow_additive_columns={allowed}"))
            .breaking_if(!allowed || refused)
            .action(if allowed && !refused { Action::AcceptAndEvolve } else { Action::Accept });
        if self.input.evolution_refused {
            finding.reason = ReasonCode::RegistryRefused;
        }
        finding.evidence = Evidence { inferred: Some(shape.to_string()), ..evidence };
        if let Some(target) = target.filter(|_| !fits) {
            finding.evidence.detail = Some(format!("resolve asks for {target}; register the column first"));
        }
        self.add(finding);
        if allowed && !refused {
            self.adopt(at, shape);
        }
    }

    /// Keys of one JSON record that would be read into one column: one of them only fits under a changed
    /// name, or gets no column of its own because no type follows from its values.
    fn shares_its_name(&self, at: usize) -> Shared {
        let column = &self.observation.unknown[at];
        if column.position.is_some() {
            return Shared::No;
        }
        let one = normalized(&avro_name(&column.key));
        let unknown = self.observation.unknown.iter().enumerate();
        let alike: Vec<(usize, &UnknownColumn)> = unknown
            .filter(|(_, u)| u.record == column.record && u.collides.is_none() && u.inference.n_values > 0)
            .filter(|(_, u)| normalized(&avro_name(&u.key)) == one)
            .collect();
        let homeless = |u: &UnknownColumn| avro_name(&u.key) != u.key || u.inference.shape("").is_none();
        if alike.len() < 2 || !alike.iter().any(|(_, u)| homeless(u)) {
            return Shared::No;
        }
        let first = alike.iter().find(|(_, u)| u.inference.shape("").is_some());
        if first.is_some_and(|(other, _)| *other == at) { Shared::First } else { Shared::Later }
    }

    /// Appends the column to its record under a name Avro allows. Keys that become one name share a
    /// column of text, and where they meet in one record the weaker name is rescued.
    fn adopt(&mut self, at: usize, shape: Shape) {
        let shape = match self.shares_its_name(at) {
            Shared::No => shape,
            Shared::First => Shape::String,
            Shared::Later => return,
        };
        let column = &self.observation.unknown[at];
        let taken = |name: &str| {
            let same = |f: &Field| f.name == name;
            let record = &self.observation.nodes[column.record];
            let registered = match &record.shape {
                Shape::Record(_) if column.record == 0 => self.observation.expected.fields.iter().any(same),
                Shape::Record(inner) => inner.fields.iter().any(same),
                _ => false,
            };
            let adopted = self.adopted.iter().any(|(other, n)| n == name && self.observation.unknown[*other].record == column.record);
            registered || adopted
        };
        let wanted = avro_name(&column.key);
        let mut name = wanted.clone();
        let mut n = 1usize;
        while taken(&name) {
            name = format!("{wanted}_{n}");
            n += 1;
        }
        // A JSON key is found again by its name only; under any other it would be lost, so it is rescued.
        if n > 1 && column.position.is_none() {
            return;
        }
        let path = self.observation.nodes[column.record].path.clone();
        self.steps.push(Step::Append { path, field: Field::nullable(&name, shape) });
        self.adopted.push((at, name));
    }

    /// Contract facts were counted for the column as it stands alone. What is not adopted, or shares its
    /// column, is not judged by them: reading could not repeat it.
    pub(super) fn withdraw_open_rules(&mut self) {
        for at in 0..self.observation.unknown.len() {
            let alone = self.adopted.iter().any(|(other, _)| *other == at) && self.shares_its_name(at) == Shared::No;
            if !alone {
                self.drafts[self.observation.unknown[at].node].rules.clear();
            }
        }
    }

    fn adopt_all(&mut self) {
        let observation = self.observation;
        for path in &observation.exploded {
            let mut finding = Finding::new(FindingCode::Ad4, path).between("record", "more columns than the limit").breaking_if(true);
            finding.reason = ReasonCode::TooManyColumns;
            self.add(finding);
        }
        for (at, column) in observation.unknown.iter().enumerate() {
            let Some(shape) = column.inference.shape(&avro_name(&column.key)) else { continue };
            if column.collides.is_some() {
                continue;
            }
            self.adopt(at, shape);
            let adopted = self.adopted.iter().find(|(other, _)| *other == at).map(|(_, name)| name.clone());
            if let Some(name) = adopted.filter(|name| *name != column.key) {
                self.add(Finding::new(FindingCode::Rn1, &column.path).between(&column.path, &name));
            }
        }
    }
}

/// Whether a key has its column's name for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    No,
    First,
    Later,
}
