//! The judge that executes a plan: what the plan says of a reading, and what that leaves behind.

use crate::domain::reason::ReasonCode;
use crate::format::block::JsonValue;

use super::cast::{Caster, Casters, Fate, Judge, Kind, Source};
use super::finding::FindingCode;
use super::infer::example;
use super::leaf::Dialect;
use super::matching::Matched;
use super::plan::{Disposition, ReadPlan};
use super::reading::{BIN_COUNT, Bin, Value};
use super::typing::PlanError;

/// Why a row does not land.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) reason: ReasonCode,
    pub(super) code: Option<FindingCode>,
    pub(super) path: String,
    pub(super) detail: String,
}

/// The plan's dispositions, by node and bin.
pub(super) struct Table {
    nodes: Vec<[Disposition; BIN_COUNT]>,
    codes: Vec<[Option<FindingCode>; BIN_COUNT]>,
    /// Paths whose values are redacted.
    pub(super) sensitive: Vec<String>,
}

impl Table {
    /// Also sets the casters' dialects.
    pub(super) fn new(casters: &mut Casters, plan: &ReadPlan) -> Result<Self, PlanError> {
        let mut table = Self {
            nodes: Vec::with_capacity(casters.nodes.len()),
            codes: Vec::with_capacity(casters.nodes.len()),
            sensitive: plan.columns.iter().filter(|(_, c)| c.sensitive).map(|(path, _)| path.clone()).collect(),
        };
        for info in &casters.nodes {
            let mut dispositions = [Disposition::QuarantineRow; BIN_COUNT];
            let mut codes = [None; BIN_COUNT];
            for bin in Bin::ALL {
                dispositions[*bin as usize] = Disposition::unnamed(*bin);
            }
            for (word, rule) in plan.nodes.get(&info.path).into_iter().flat_map(|n| &n.rules) {
                let bin = Bin::from_word(word).ok_or_else(|| PlanError::Word { word: word.clone() })?;
                let code = FindingCode::from_word(&rule.code).ok_or_else(|| PlanError::Word { word: rule.code.clone() })?;
                dispositions[bin as usize] = rule.then;
                codes[bin as usize] = Some(code);
            }
            table.nodes.push(dispositions);
            table.codes.push(codes);
        }
        let dialects: Vec<_> =
            casters.nodes.iter().map(|info| plan.nodes.get(&info.path).map(|n| n.dialect.dialect()).unwrap_or_default()).collect();
        for field in &mut casters.top.fields {
            set_dialects(field, &dialects);
        }
        Ok(table)
    }

    #[inline]
    pub(super) fn of(&self, node: usize, bin: Bin) -> Disposition {
        self.nodes[node][bin as usize]
    }
}

fn set_dialects(caster: &mut Caster, dialects: &[Dialect]) {
    match &mut caster.kind {
        Kind::Leaf(leaf) => leaf.dialect = dialects[caster.node],
        Kind::Array(item) | Kind::Map(item) => set_dialects(item, dialects),
        Kind::Record(record) => {
            for field in &mut record.fields {
                set_dialects(field, dialects);
            }
        }
    }
}

/// The executing [`Judge`]: looks dispositions up and remembers what they leave behind.
pub(super) struct Hand<'a> {
    table: &'a Table,
    casters: &'a Casters,
    /// Columns whose original is kept.
    pub(super) raw_columns: Vec<usize>,
    pub(super) rescued: Vec<(String, String)>,
    /// The first reason why the row does not land.
    pub(super) fault: Option<Fault>,
}

impl<'a> Hand<'a> {
    pub(super) fn new(table: &'a Table, casters: &'a Casters) -> Self {
        Self { table, casters, raw_columns: Vec::new(), rescued: Vec::new(), fault: None }
    }

    #[inline]
    pub(super) fn is_touched(&self) -> bool {
        self.fault.is_some() || !self.raw_columns.is_empty() || !self.rescued.is_empty()
    }

    fn refuse(&mut self, node: usize, bin: Bin, source: Source<'_>) {
        if self.fault.is_some() {
            return;
        }
        let code = self.table.codes[node][bin as usize];
        let reason = match (bin, code) {
            (Bin::Overflow, _) => ReasonCode::NumericOverflow,
            (_, Some(code)) => code.reason(),
            (_, None) => ReasonCode::RowTypeError,
        };
        let info = &self.casters.nodes[node];
        let column = &self.casters.nodes[self.casters.top.fields[info.column].node].path;
        let hidden = self.table.sensitive.iter().any(|s| *s == info.path || s == column);
        let shown = if hidden { "[redacted]".to_owned() } else { format!("{:?}", example(&source.text())) };
        let detail = match bin {
            Bin::Null | Bin::Absent => "null in a required column".to_owned(),
            Bin::Code => format!("{shown} is not in the list"),
            Bin::Range => format!("{shown} is out of range"),
            Bin::Pattern => format!("{shown} does not match the pattern"),
            _ => format!("{shown} is not a {}", info.shape),
        };
        self.fault = Some(Fault { reason, code, path: info.path.clone(), detail });
    }
}

impl Judge for Hand<'_> {
    fn judge(&mut self, node: usize, bin: Bin, _: u64, _: &Value<'_>, source: Source<'_>) -> Fate {
        let disposition = self.table.of(node, bin);
        if disposition.keeps_raw() {
            let column = self.casters.nodes[node].column;
            if !self.raw_columns.contains(&column) {
                self.raw_columns.push(column);
            }
        }
        match disposition {
            Disposition::Keep | Disposition::KeepRaw => Fate::Keep,
            Disposition::Null | Disposition::NullRaw => Fate::Null,
            Disposition::Default | Disposition::DefaultRaw => Fate::Default,
            Disposition::QuarantineRow => {
                self.refuse(node, bin, source);
                Fate::Null
            }
        }
    }

    fn unknown(&mut self, record: usize, key: &str, value: &JsonValue) {
        if matches!(value, JsonValue::Null) {
            return;
        }
        let prefix = &self.casters.nodes[record].path;
        let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        self.rescued.push((path, Source::Json(value).text()));
    }

    fn matched(&mut self, _: usize, _: &str, _: Matched) {}
}
