//! Findings about values: TY, NU, EN, ST, and contract ranges, one node at a time.
//!
//! The rule of the ratio: what the policy accepts is a finding of its own; all that it refuses is
//! *bad*, and at or below β it costs the rows (or the values), above β the file (drift.md §2.3).

use crate::domain::reason::ReasonCode;
use crate::schema::calendar::layout;
use crate::schema::evolve::Step;
use crate::schema::facts::Facts;
use crate::schema::finding::{Action, Evidence, Finding, FindingCode};
use crate::schema::leaf::PAIRS;
use crate::schema::number::dialect;
use crate::schema::observe::{Carrier, is_must};
use crate::schema::options::Coercion;
use crate::schema::plan::{DialectWord, Disposition};
use crate::schema::reading::Bin;
use crate::schema::resolve::Resolve;
use crate::schema::shape::{PRECISION_MAX, Shape};

use super::Case;

/// What the policy makes of one bin of one node.
#[derive(Debug, Clone, Copy)]
enum Stance {
    /// Lands, with this finding.
    Accepted { code: FindingCode, then: Disposition, action: Action },
    /// Bad; above β the column's finding has this code.
    Refused { code: FindingCode },
}

impl Case<'_> {
    pub(super) fn values(&mut self) {
        for node in 1..self.observation.nodes.len() {
            self.typed(node);
            self.nulls(node);
            self.codes(node);
            self.ranges(node);
        }
        for at in 0..self.observation.unknown.len() {
            self.open_column(at);
        }
    }

    fn identity(&self, node: usize) -> bool {
        self.options.is_identity(&self.observation.nodes[node].path)
    }

    fn must(&self, node: usize) -> bool {
        is_must(&self.observation.nodes[node], self.options)
    }

    /// An example as it may be shown: values of sensitive columns are not.
    pub(super) fn shown(&self, path: &str, text: &str) -> String {
        let sensitive = |p: &str| self.options.columns.get(p).is_some_and(|c| c.sensitive);
        let top = path.split(['.', '[', '{']).next().unwrap_or(path);
        if sensitive(path) || sensitive(top) { "[redacted]".to_owned() } else { text.to_owned() }
    }

    fn evidence(&self, node: usize, bins: &[Bin], bad: u64) -> Evidence {
        let facts = &self.observation.facts[node];
        let example = facts.examples.iter().filter(|e| bins.contains(&e.bin)).min_by_key(|e| e.row);
        let path = self.observation.nodes.get(node).map_or("", |n| n.path.as_str());
        Evidence {
            rows: Some(bins.iter().map(|b| facts.rows(*b)).sum()),
            bad: Some(bad),
            non_null: Some(facts.value_rows),
            example: example.map(|e| self.shown(path, &e.text)),
            row: example.map(|e| e.row),
            ..Evidence::default()
        }
    }

    fn typed(&mut self, node: usize) {
        if self.projects(node) {
            return self.project(node);
        }
        let facts = &self.observation.facts[node];
        let mut accepted: Vec<(Bin, Stance)> = Vec::new();
        let mut refused: Vec<(Bin, FindingCode)> = Vec::new();
        for bin in Bin::ALL.iter().copied().filter(|b| facts.rows(*b) > 0) {
            match self.stance(node, bin, facts) {
                None => {}
                Some(Stance::Refused { code }) => refused.push((bin, code)),
                Some(stance) => accepted.push((bin, stance)),
            }
        }
        self.choose_dialect(node, facts, &accepted);
        for (bin, stance) in &accepted {
            if let Stance::Accepted { code, then, action } = *stance {
                self.accept(node, *bin, code, then, action);
            }
        }
        if !refused.is_empty() {
            self.refuse(node, &refused);
        }
    }

    fn stance(&self, node: usize, bin: Bin, facts: &Facts) -> Option<Stance> {
        use Disposition::{Keep, KeepRaw, NullRaw};
        use FindingCode::*;
        let shape = &self.observation.nodes[node].shape;
        let decimal = matches!(shape, Shape::Decimal { .. });
        let limited = |code, then| self.at_least(node, Coercion::Limited, code, then);
        let full = |code, then| self.at_least(node, Coercion::Full, code, then);
        let refused = |code| Stance::Refused { code };
        Some(match bin {
            Bin::Exact | Bin::Null | Bin::Absent | Bin::Code | Bin::Range | Bin::Pattern => return None,
            Bin::NullToken if self.must(node) || self.identity(node) || !self.observation.nodes[node].nullable => refused(Ty8),
            Bin::NullToken => match self.casting(node) {
                Coercion::None => refused(Ty16),
                _ => Stance::Accepted { code: Ty16, then: NullRaw, action: Action::Coerce },
            },
            Bin::StringLiteral => limited(Ty4, Keep),
            Bin::Token => limited(Ty5, Keep),
            Bin::Integral => limited(Ty6a, Keep),
            Bin::Fractional if dialect::decimals(facts.hint).1 => refused(Ty11a),
            Bin::Fractional => full(Ty6b, KeepRaw),
            Bin::Wide if self.widens(node, facts) => Stance::Accepted { code: Ty3, then: Keep, action: Action::AcceptAndEvolve },
            Bin::Wide => refused(Ty3),
            Bin::WideDigits if self.widens(node, facts) => full(if decimal { Ty18b } else { Ty6b }, KeepRaw),
            Bin::WideDigits => refused(Ty8),
            Bin::BooleanDialect if chosen_pair(facts.hint).is_some() => limited(Ty10, Keep),
            Bin::NumberDialect => match dialect::decimals(facts.hint) {
                (true, false) | (false, true) => full(Ty11u, KeepRaw),
                _ => refused(Ty11a),
            },
            Bin::DateDialect => match facts.hint.count_ones() {
                0 => refused(Ty8),
                1 => full(Ty12u, KeepRaw),
                _ => refused(Ty12a),
            },
            Bin::Midnight if matches!(shape, Shape::Date) => limited(Ty13b, Keep),
            Bin::Midnight => limited(Ty13a, Keep),
            Bin::WithTime => full(Ty13c, KeepRaw),
            Bin::Zone => full(Ty14, KeepRaw),
            Bin::SubZeros => Stance::Accepted { code: Ty15a, then: Keep, action: Action::Accept },
            Bin::SubDigits => full(Ty15b, KeepRaw),
            Bin::ScaleZeros => limited(Ty18a, Keep),
            Bin::ScaleDigits => full(Ty18b, KeepRaw),
            Bin::Reshape => full(St2, Keep),
            Bin::Structure => refused(St1),
            Bin::BooleanDialect | Bin::Overflow | Bin::Bad => refused(Ty8),
        })
    }

    /// Casts into this node that are allowed: all of them where the contract sets the type.
    fn casting(&self, node: usize) -> Coercion {
        if self.choice(node).is_some() { Coercion::Full } else { self.coercion() }
    }

    fn at_least(&self, node: usize, needed: Coercion, code: FindingCode, then: Disposition) -> Stance {
        if self.casting(node) >= needed { Stance::Accepted { code, then, action: Action::Coerce } } else { Stance::Refused { code } }
    }

    /// A type the contract sets stays as it is.
    fn widens(&self, node: usize, facts: &Facts) -> bool {
        let free = self.choice(node).is_none() && self.coercion() != Coercion::None && self.may_widen();
        free && wider(&self.observation.nodes[node].shape, facts).is_some()
    }

    /// A column that must have a value is read as with `cast`; lint refuses `project` there where it can know.
    fn projects(&self, node: usize) -> bool {
        let asked = matches!(self.choice(node), Some(Resolve::Project(_)));
        asked && self.observation.nodes[node].nullable && !self.must(node) && !self.identity(node)
    }

    /// Values of another type become null and are kept apart. None of them is bad, so β does not count them.
    fn project(&mut self, node: usize) {
        let (info, facts) = (&self.observation.nodes[node], &self.observation.facts[node]);
        let others = |bin: &Bin| bin.has_value() && !bin.is_of_type() && facts.rows(*bin) > 0;
        let bins: Vec<Bin> = Bin::ALL.iter().copied().filter(others).collect();
        let Some(first) = bins.first() else { return };
        for bin in &bins {
            self.drafts[node].set(*bin, Disposition::NullRaw, FindingCode::Ty9);
        }
        let mut finding = Finding::new(FindingCode::Ty9, &info.path)
            .between(info.shape.to_string(), self.observed(node, *first))
            .policy(self.cast_bit(node))
            .action(Action::Coerce);
        finding.evidence = self.evidence(node, &bins, 0);
        self.add(finding);
    }

    fn choose_dialect(&mut self, node: usize, facts: &Facts, accepted: &[(Bin, Stance)]) {
        let dialect = accepted.iter().find_map(|(bin, _)| match bin {
            Bin::BooleanDialect => chosen_pair(facts.hint).map(DialectWord::Pair),
            Bin::NumberDialect if dialect::decimals(facts.hint).1 => Some(DialectWord::DecimalComma),
            Bin::NumberDialect => Some(DialectWord::DecimalPoint),
            Bin::DateDialect => Some(DialectWord::Layout(facts.hint.trailing_zeros() as u8)),
            _ => None,
        });
        self.drafts[node].dialect = dialect.unwrap_or_default();
    }

    fn accept(&mut self, node: usize, bin: Bin, code: FindingCode, then: Disposition, action: Action) {
        self.drafts[node].set(bin, then, code);
        let info = &self.observation.nodes[node];
        let facts = &self.observation.facts[node];
        if matches!(bin, Bin::Wide | Bin::WideDigits)
            && let Some(to) = wider(&info.shape, facts)
        {
            self.steps.push(Step::Widen { path: info.path.clone(), to });
        }
        let mut finding = Finding::new(code, &info.path)
            .between(info.shape.to_string(), self.observed(node, bin))
            .policy(self.cast_bit(node))
            .action(action);
        finding.evidence = self.evidence(node, &[bin], 0);
        self.add(finding);
    }

    fn refuse(&mut self, node: usize, refused: &[(Bin, FindingCode)]) {
        let info = &self.observation.nodes[node];
        let facts = &self.observation.facts[node];
        let bins: Vec<Bin> = refused.iter().map(|(bin, _)| *bin).collect();
        let bad = bins.iter().map(|b| facts.rows(*b)).sum::<u64>().min(facts.value_rows);
        let identity = self.identity(node);
        if !self.beyond(bad, facts.value_rows) {
            let rows = identity || self.must(node) || !info.nullable || self.coercion() == Coercion::None;
            let then = if rows { Disposition::QuarantineRow } else { Disposition::NullRaw };
            for bin in &bins {
                self.drafts[node].set(*bin, then, FindingCode::Ty9);
            }
            let mut finding = Finding::new(FindingCode::Ty9, &info.path)
                .between(info.shape.to_string(), self.observed(node, bins[0]))
                .policy(self.cast_bit(node))
                .action(if rows { Action::Accept } else { Action::Coerce });
            finding.evidence = self.evidence(node, &bins, bad);
            if bins == [Bin::Overflow] {
                finding.reason = ReasonCode::NumericOverflow;
            }
            self.add(finding);
            return;
        }
        let mut told: Vec<FindingCode> = Vec::new();
        for (bin, code) in refused {
            self.drafts[node].set(*bin, Disposition::NullRaw, *code);
            if told.contains(code) {
                continue;
            }
            told.push(*code);
            let alike: Vec<Bin> = refused.iter().filter(|(_, c)| c == code).map(|(b, _)| *b).collect();
            let rows = alike.iter().map(|b| facts.rows(*b)).sum();
            let mut finding = Finding::new(*code, &info.path)
                .between(info.shape.to_string(), self.observed(node, *bin))
                .policy(self.cast_bit(node))
                .breaking_if(true)
                .hard_if(identity)
                .action(Action::Coerce);
            finding.evidence = self.evidence(node, &alike, rows);
            if alike == [Bin::Overflow] {
                finding.reason = ReasonCode::NumericOverflow;
            }
            let mixed = self.observation.carrier == Carrier::Json && facts.rows(Bin::Exact) > 0;
            if mixed && matches!(code, FindingCode::Ty8 | FindingCode::St1) && alike != [Bin::Overflow] {
                finding.reason = ReasonCode::JsonMixedTypes;
            }
            if *code == FindingCode::Ty3 && self.input.evolution_refused {
                finding.reason = ReasonCode::RegistryRefused;
            }
            self.add(finding);
        }
    }

    /// What the file holds instead, for a person.
    fn observed(&self, node: usize, bin: Bin) -> String {
        let info = &self.observation.nodes[node];
        let facts = &self.observation.facts[node];
        match bin {
            Bin::NullToken => "null token".to_owned(),
            Bin::StringLiteral => format!("{} as string", info.shape),
            Bin::Token => "number or boolean token".to_owned(),
            Bin::Integral => "decimal text".to_owned(),
            Bin::Fractional => "decimals with a fraction".to_owned(),
            Bin::Wide | Bin::WideDigits => wider(&info.shape, facts).map_or_else(|| "a wider number".to_owned(), |s| s.to_string()),
            Bin::Overflow => "a number out of range".to_owned(),
            Bin::BooleanDialect => match chosen_pair(facts.hint) {
                Some(pair) => format!("{}/{}", PAIRS[usize::from(pair)].0, PAIRS[usize::from(pair)].1),
                None => "mixed boolean words".to_owned(),
            },
            Bin::NumberDialect => match dialect::decimals(facts.hint) {
                (true, true) => "numbers with decimal comma or grouping, ambiguous".to_owned(),
                (false, true) => "numbers with decimal comma".to_owned(),
                (true, false) => "grouped numbers".to_owned(),
                (false, false) => "numbers of mixed spelling".to_owned(),
            },
            Bin::DateDialect => {
                let names: Vec<String> = (0..layout::COUNT).filter(|l| facts.hint >> l & 1 == 1).map(layout::name).collect();
                if names.is_empty() { "dates of mixed layout".to_owned() } else { names.join(" or ") }
            }
            Bin::Midnight if matches!(info.shape, Shape::Date) => "timestamp at midnight".to_owned(),
            Bin::Midnight => "date".to_owned(),
            Bin::WithTime => "timestamp".to_owned(),
            Bin::Zone => "timestamp with another zone kind".to_owned(),
            Bin::SubZeros | Bin::SubDigits => "finer timestamps".to_owned(),
            Bin::ScaleZeros | Bin::ScaleDigits => "decimals of a larger scale".to_owned(),
            Bin::Reshape | Bin::Structure => "another structure".to_owned(),
            _ => "text".to_owned(),
        }
    }

    /// NU1 and NU2.
    fn nulls(&mut self, node: usize) {
        let info = &self.observation.nodes[node];
        let facts = &self.observation.facts[node];
        if !self.must(node) || facts.null_rows() == 0 || self.drafts[node].rules.contains_key(&Bin::Absent) {
            return;
        }
        let (nulls, path, shape) = (facts.null_rows(), info.path.clone(), info.shape.to_string());
        self.null_finding(node, nulls, path, shape);
    }

    fn null_finding(&mut self, node: usize, nulls: u64, path: String, shape: String) {
        let beyond = self.beyond(nulls, self.observation.rows);
        let code = if beyond { FindingCode::Nu2 } else { FindingCode::Nu1 };
        let then = if beyond { Disposition::Null } else { Disposition::QuarantineRow };
        for bin in [Bin::Null, Bin::Absent] {
            self.drafts[node].set(bin, then, code);
        }
        let identity = self.options.is_identity(&path);
        let mut finding = Finding::new(code, path)
            .between(shape, "null")
            .policy(format!("max_bad_row_ratio={}", self.options.policy.max_bad_row_ratio))
            .breaking_if(beyond)
            .hard_if(identity)
            .action(if beyond { Action::Coerce } else { Action::Accept });
        finding.evidence = self.evidence(node, &[Bin::Null, Bin::Absent], nulls);
        self.add(finding);
    }

    /// EN1, EN2 and EN3.
    fn codes(&mut self, node: usize) {
        let n = self.observation.facts[node].rows(Bin::Code);
        if n == 0 {
            return;
        }
        let shape = self.observation.nodes[node].shape.clone();
        let values = self.observation.facts[node].value_rows;
        let (is_enum, has_default) = match &shape {
            Shape::Enum(e) => (true, e.default.is_some()),
            _ => (false, false),
        };
        let (code, then, action, breaking) = if !self.beyond(n, values) {
            (FindingCode::En1, Disposition::QuarantineRow, Action::Accept, false)
        } else if has_default && self.coercion() != Coercion::None {
            (FindingCode::En2, Disposition::DefaultRaw, Action::Coerce, false)
        } else {
            let code = if has_default { FindingCode::En2 } else { FindingCode::En3 };
            // A code outside a string's list lands as it is (decisions.md 33).
            let (then, action) = if is_enum { (Disposition::NullRaw, Action::Coerce) } else { (Disposition::Keep, Action::Accept) };
            (code, then, action, true)
        };
        self.drafts[node].set(Bin::Code, then, code);
        let bad = if then == Disposition::DefaultRaw { 0 } else { n };
        let mut finding = Finding::new(code, self.observation.nodes[node].path.clone())
            .between(if is_enum { shape.to_string() } else { "allowed_values".to_owned() }, "other codes")
            .breaking_if(breaking)
            .hard_if(breaking && self.identity(node))
            .action(action);
        finding.evidence = self.evidence(node, &[Bin::Code], bad);
        if code == FindingCode::En2 {
            finding = finding.policy(self.coercion_bit());
        }
        self.add(finding);
    }

    /// SE1 and SE2, here only of contract range and pattern.
    fn ranges(&mut self, node: usize) {
        let facts = &self.observation.facts[node];
        let n = facts.rows(Bin::Range) + facts.rows(Bin::Pattern);
        if n > 0 {
            let (path, values) = (self.observation.nodes[node].path.clone(), facts.value_rows);
            self.range_finding(node, path, n, values, &[Bin::Range, Bin::Pattern]);
        }
    }

    fn range_finding(&mut self, node: usize, path: String, n: u64, values: u64, bins: &[Bin]) {
        let beyond = self.beyond(n, values);
        let code = if beyond { FindingCode::Se1 } else { FindingCode::Se2 };
        let then = if beyond { Disposition::Keep } else { Disposition::QuarantineRow };
        for bin in bins {
            self.drafts[node].set(*bin, then, code);
        }
        let identity = self.options.is_identity(&path);
        let mut finding = Finding::new(code, path)
            .between("contract min, max, pattern", "values outside")
            .policy(format!("max_bad_row_ratio={}", self.options.policy.max_bad_row_ratio))
            .breaking_if(beyond)
            .hard_if(identity);
        finding.evidence = self.evidence(node, bins, n);
        self.add(finding);
    }

    /// Contract facts of a column whose type is inferred from this very file.
    fn open_column(&mut self, at: usize) {
        let column = &self.observation.unknown[at];
        if column.collides.is_some() {
            return;
        }
        let (node, path, values) = (column.node, column.path.clone(), column.inference.n_values);
        let shape = column.inference.shape("inferred");
        let nulls = self.observation.facts[node].null_rows();
        let there = column.position.is_some() || values + column.inference.n_nulls > 0;
        if nulls > 0 && there {
            self.null_finding(node, nulls, path.clone(), "required".to_owned());
        }
        let Some(shape) = shape else { return };
        let facts = &self.observation.facts[node];
        let codes = facts.rows(Bin::Code);
        // Patterns are asked of text, ranges of numbers; see `Tally::check_unknown`.
        let bins: &[Bin] = match &shape {
            Shape::String => &[Bin::Pattern],
            s if s.is_numeric() => &[Bin::Range],
            _ => &[],
        };
        let n: u64 = bins.iter().map(|b| facts.rows(*b)).sum();
        if codes > 0 {
            let beyond = self.beyond(codes, values);
            let code = if beyond { FindingCode::En3 } else { FindingCode::En1 };
            self.drafts[node].set(Bin::Code, if beyond { Disposition::Keep } else { Disposition::QuarantineRow }, code);
            let mut finding = Finding::new(code, path.clone())
                .between("allowed_values", "other codes")
                .breaking_if(beyond)
                .hard_if(self.options.is_identity(&path));
            finding.evidence = Evidence { non_null: Some(values), ..self.evidence(node, &[Bin::Code], codes) };
            self.add(finding);
        }
        if n > 0 {
            self.range_finding(node, path, n, values, bins);
        }
    }
}

/// The next type that holds all values seen, if evolution may go there.
fn wider(shape: &Shape, facts: &Facts) -> Option<Shape> {
    match shape {
        Shape::Int => Some(Shape::Long),
        Shape::Float => Some(Shape::Double),
        Shape::Decimal { precision, scale } if facts.precision > *precision && facts.precision <= PRECISION_MAX => {
            Some(Shape::Decimal { precision: facts.precision, scale: *scale })
        }
        _ => None,
    }
}

/// The one pair all values of the column belong to.
fn chosen_pair(hint: u64) -> Option<u8> {
    let pairs = hint & ((1 << PAIRS.len()) - 1);
    (pairs.count_ones() == 1 && hint != crate::schema::reading::ANY_HINT).then(|| pairs.trailing_zeros() as u8)
}
