//! Rules and a schema to a plan: which measures one pass must take, each once, and which rule reads which.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

use crate::quality::catalog::{RowVerdicts, RuleKind};
use crate::quality::columns::ColumnClass;
use crate::quality::condition::{self, Hindrance, Test, Want};
use crate::quality::lint;
use crate::quality::report::{Action, Scope};
use crate::quality::syntax::*;

/// A compiled `where`.
pub trait RowPredicate {
    /// One value per row of `batch`; false and NULL leave the row out.
    ///
    /// # Errors
    /// What kept the predicate from an answer; every rule that uses it fails with that reason.
    fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, String>;
}

/// Compiles the text of `where`; implemented over a SQL expression engine.
pub trait PredicateCompiler {
    /// # Errors
    /// Why the text is no predicate over `schema`.
    fn compile(&self, text: &str, schema: &Schema) -> Result<Box<dyn RowPredicate + Send + Sync>, String>;
}

/// What one pass measures, by column position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    Rows,
    Nulls { columns: Vec<usize> },
    Groups { columns: Vec<usize> },
    Moments { column: usize },
    Together { x: usize, y: usize },
    Lengths { column: usize },
    Compliance { column: usize, leaf: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pub measure: Measure,
    pub filter: Option<usize>,
}

/// A single rule.
#[derive(Debug)]
pub struct Leaf {
    pub kind: RuleKind,
    pub parameters: Vec<String>,
    pub filter: Option<usize>,
    /// Positions in [`Plan::measures`], in the order the judge of the rule type expects.
    pub measures: Vec<usize>,
    pub want: Want,
    pub threshold: Option<Test<f64>>,
    pub hindrance: Option<Hindrance>,
    pub in_composite: bool,
    pub is_pattern: bool,
}

#[derive(Debug)]
pub enum PlanNode {
    Leaf(usize),
    Composite { connective: Connective, legs: Vec<PlanNode> },
}

#[derive(Debug)]
pub struct PlannedRule {
    pub node: PlanNode,
    /// Canonical text.
    pub text: String,
    /// From the labels; without one the ruleset's default holds.
    pub action: Option<Action>,
    pub scope: Scope,
}

/// Everything a pass needs, made once per ruleset and schema. Clones share it.
#[derive(Clone)]
pub struct Plan(pub(crate) Arc<Compiled>);

pub(crate) struct Compiled {
    pub(crate) column_names: Vec<String>,
    pub(crate) measures: Vec<Measured>,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) rules: Vec<PlannedRule>,
    pub(crate) filters: Vec<Box<dyn RowPredicate + Send + Sync>>,
}

impl Plan {
    /// Binds `ruleset` to `schema`. A rule over an unknown column or of an unfit type is kept and fails with
    /// its reason (dqdl.md §1.4); a rule of a type this engine lacks is kept and not evaluated.
    ///
    /// # Errors
    /// Labels nobody understands and `where` texts that do not compile.
    pub fn compile(ruleset: &Ruleset, schema: &Schema, predicates: &dyn PredicateCompiler) -> Result<Self, Vec<Diagnostic>> {
        Self::bound(ruleset, Some((schema, predicates)))
    }

    /// For an object of which no row is there to tell its columns: only the number of rows is judged, every
    /// other rule is not evaluated (decisions.md 42).
    ///
    /// # Errors
    /// Labels nobody understands.
    pub fn without_rows(ruleset: &Ruleset) -> Result<Self, Vec<Diagnostic>> {
        Self::bound(ruleset, None)
    }

    fn bound(ruleset: &Ruleset, rows: Option<(&Schema, &dyn PredicateCompiler)>) -> Result<Self, Vec<Diagnostic>> {
        let mut faults = lint::labels(ruleset);
        let column_names = rows.iter().flat_map(|(schema, _)| schema.fields()).map(|f| f.name().clone()).collect();
        let plan = Compiled { column_names, measures: Vec::new(), leaves: Vec::new(), rules: Vec::new(), filters: Vec::new() };
        let mut binder = Binder { ruleset, rows, plan, filter_texts: Vec::new(), faults: &mut faults };
        for node in &ruleset.rules {
            let rule = PlannedRule {
                text: node.to_string(),
                action: lint::label(ruleset, node, "action").and_then(|l| Action::named(&l.value)),
                scope: lint::label(ruleset, node, "scope").and_then(|l| Scope::named(&l.value)).unwrap_or_default(),
                node: binder.node(node, false),
            };
            binder.plan.rules.push(rule);
        }
        let plan = binder.plan;
        if faults.is_empty() { Ok(Plan(Arc::new(plan))) } else { Err(faults) }
    }

    pub fn n_rules(&self) -> usize {
        self.0.rules.len()
    }

    /// Whether both ask the same of the same columns, so that what they measured can be merged.
    pub(crate) fn agrees_with(&self, other: &Plan) -> bool {
        let same_rules = || self.0.rules.iter().map(|r| &r.text).eq(other.0.rules.iter().map(|r| &r.text));
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.column_names == other.0.column_names && self.0.measures == other.0.measures && same_rules())
    }
}

struct Binder<'a> {
    ruleset: &'a Ruleset,
    rows: Option<(&'a Schema, &'a dyn PredicateCompiler)>,
    plan: Compiled,
    filter_texts: Vec<String>,
    faults: &'a mut Vec<Diagnostic>,
}

impl Binder<'_> {
    fn node(&mut self, node: &Node, in_composite: bool) -> PlanNode {
        match node {
            Node::Rule(rule) => PlanNode::Leaf(self.leaf(rule, in_composite)),
            Node::Composite(composite) => PlanNode::Composite {
                connective: composite.connective,
                legs: composite.legs.iter().map(|leg| self.node(leg, true)).collect(),
            },
        }
    }

    fn leaf(&mut self, rule: &Rule, in_composite: bool) -> usize {
        let idx = self.plan.leaves.len();
        let filter = match (self.rows, rule.filter.as_deref()) {
            (Some((schema, predicates)), Some(text)) => self.filter(rule, text, schema, predicates),
            _ => None,
        };
        let schema = self.rows.map(|(schema, _)| schema);
        let mut leaf = Leaf {
            kind: rule.kind,
            parameters: rule.parameters.iter().map(|p| condition::parameter(self.ruleset, p)).collect(),
            filter,
            measures: Vec::new(),
            want: Want::Nothing,
            threshold: None,
            hindrance: None,
            in_composite,
            is_pattern: matches!(rule.condition, Some(Condition::Text(TextCondition::Matches { .. }))),
        };
        match bind(self.ruleset, rule, schema) {
            Ok(_) if schema.is_none() && rule.kind != RuleKind::RowCount => {
                leaf.hindrance = Some(Hindrance::NotEvaluated("the object has no rows".to_owned()));
            }
            Err(hindrance) => leaf.hindrance = Some(hindrance),
            Ok(bound) => {
                leaf.want = bound.want;
                leaf.threshold = bound.threshold;
                for measure in measures(rule.kind, &bound.columns, idx, schema) {
                    let measured = Measured { measure, filter };
                    let known = self.plan.measures.iter().position(|m| *m == measured);
                    leaf.measures.push(known.unwrap_or_else(|| {
                        self.plan.measures.push(measured);
                        self.plan.measures.len() - 1
                    }));
                }
            }
        }
        self.plan.leaves.push(leaf);
        idx
    }

    fn filter(&mut self, rule: &Rule, text: &str, schema: &Schema, predicates: &dyn PredicateCompiler) -> Option<usize> {
        let text = condition::plain(text);
        if let Some(known) = self.filter_texts.iter().position(|t| *t == text) {
            return Some(known);
        }
        match predicates.compile(&text, schema) {
            Ok(predicate) => {
                self.filter_texts.push(text);
                self.plan.filters.push(predicate);
                Some(self.plan.filters.len() - 1)
            }
            Err(why) => {
                self.faults.push(Diagnostic::new(rule.place, Some(rule.kind.name()), format!("where \"{text}\": {why}")));
                None
            }
        }
    }
}

/// A rule's operands and columns, known to fit.
#[derive(Debug)]
pub(crate) struct Bound {
    pub want: Want,
    pub threshold: Option<Test<f64>>,
    pub columns: Vec<usize>,
}

/// Resolves operands and, with a schema, columns and their types.
pub(crate) fn bind(ruleset: &Ruleset, rule: &Rule, schema: Option<&Schema>) -> Result<Bound, Hindrance> {
    let signature = rule.kind.signature();
    if !signature.evaluated {
        return Err(Hindrance::NotEvaluated(format!("{} is not evaluated by this engine yet", signature.name)));
    }
    let want = condition::want(ruleset, rule)?;
    let threshold = rule.threshold.as_ref().map(condition::number_test).transpose()?;
    let mut columns = Vec::new();
    let Some(schema) = schema.filter(|_| signature.columns) else { return Ok(Bound { want, threshold, columns }) };
    for parameter in &rule.parameters {
        let name = condition::parameter(ruleset, parameter);
        let Ok(column) = schema.index_of(&name) else {
            return Err(Hindrance::Broken(format!("there is no column \"{name}\"")));
        };
        fits(rule.kind, &want, &name, schema, column)?;
        columns.push(column);
    }
    Ok(Bound { want, threshold, columns })
}

fn fits(kind: RuleKind, want: &Want, name: &str, schema: &Schema, column: usize) -> Result<(), Hindrance> {
    let data_type = schema.field(column).data_type();
    let class = ColumnClass::of(data_type);
    let (fits, needed) = match (kind, want) {
        (RuleKind::ColumnLength, _) => (class == ColumnClass::Text, "a string column"),
        (RuleKind::ColumnValues, Want::Number(_)) => {
            (matches!(class, ColumnClass::Number | ColumnClass::Text) || is_null_only(want), "a number or string column")
        }
        (RuleKind::ColumnValues, Want::Date { .. }) | (RuleKind::DataFreshness, _) => {
            (matches!(class, ColumnClass::Instant | ColumnClass::Text), "a date, timestamp or string column")
        }
        (RuleKind::Mean | RuleKind::Sum | RuleKind::StandardDeviation | RuleKind::Variance | RuleKind::ColumnCorrelation, _) => {
            (class == ColumnClass::Number, "a number column")
        }
        _ if kind.signature().condition == crate::quality::catalog::ConditionKinds::None || kind == RuleKind::Completeness => {
            (!data_type.is_nested() || matches!(kind, RuleKind::IsComplete | RuleKind::Completeness), "a column that is not nested")
        }
        _ => (!data_type.is_nested(), "a column that is not nested"),
    };
    if fits { Ok(()) } else { Err(Hindrance::Broken(format!("column \"{name}\" is of type {data_type}, the rule needs {needed}"))) }
}

/// `= NULL` and `!= NULL` ask nothing of the type.
fn is_null_only(want: &Want) -> bool {
    matches!(want, Want::Number(Test::Compare { operand: None, .. }))
}

fn measures(kind: RuleKind, columns: &[usize], leaf: usize, schema: Option<&Schema>) -> Vec<Measure> {
    let Some(column) = columns.first().copied() else {
        return if kind == RuleKind::RowCount { vec![Measure::Rows] } else { Vec::new() };
    };
    let own = columns.to_vec();
    match kind {
        RuleKind::Completeness | RuleKind::IsComplete => vec![Measure::Nulls { columns: own }],
        RuleKind::IsPrimaryKey => vec![Measure::Groups { columns: own.clone() }, Measure::Nulls { columns: own }],
        RuleKind::Uniqueness | RuleKind::IsUnique | RuleKind::UniqueValueRatio | RuleKind::DistinctValuesCount | RuleKind::Entropy => {
            vec![Measure::Groups { columns: own }]
        }
        RuleKind::Mean | RuleKind::Sum | RuleKind::StandardDeviation | RuleKind::Variance => vec![Measure::Moments { column }],
        RuleKind::ColumnCorrelation => vec![Measure::Together { x: column, y: columns.get(1).copied().unwrap_or(column) }],
        RuleKind::ColumnLength => vec![Measure::Compliance { column, leaf }, Measure::Lengths { column }],
        RuleKind::ColumnValues if schema.is_some_and(|s| ColumnClass::of(s.field(column).data_type()) == ColumnClass::Number) => {
            vec![Measure::Compliance { column, leaf }, Measure::Moments { column }]
        }
        RuleKind::ColumnValues | RuleKind::ColumnDataType | RuleKind::DataFreshness => vec![Measure::Compliance { column, leaf }],
        _ => Vec::new(),
    }
}

/// Whether the rule says which rows fail; a composite does if all its legs do.
pub(crate) fn has_row_verdicts(node: &Node, in_composite: bool) -> bool {
    match node {
        Node::Composite(composite) => composite.legs.iter().all(|leg| has_row_verdicts(leg, true)),
        Node::Rule(rule) => match rule.kind.signature().rows {
            RowVerdicts::Never => false,
            RowVerdicts::Always => true,
            RowVerdicts::Alone => !in_composite,
        },
    }
}
