//! The tree of a DQDL document. No behavior beyond looking things up.
//!
//! Quoted text is kept as it stands between its quotes; what its backslashes mean depends on where it
//! stands and is decided by [`crate::quality::condition`].

use std::fmt;

use crate::quality::catalog::RuleKind;

/// Where something starts in the text; line and column count from 1, columns in characters.
///
/// All places are equal: two documents that say the same are the same document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How much a diagnostic weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The rules cannot be used as they are.
    Error,
    /// The rules can be used; something in them has no effect.
    Note,
}

/// One fault of a document, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub line: u32,
    pub column: u32,
    /// The rule type the fault stands in, if any.
    pub rule: Option<String>,
    pub message: String,
}

impl Diagnostic {
    pub fn new(place: Place, rule: Option<&str>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, line: place.line, column: place.column, rule: rule.map(str::to_owned), message: message.into() }
    }

    /// The same as a note.
    pub fn into_note(self) -> Self {
        Self { severity: Severity::Note, ..self }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if let Some(rule) = &self.rule {
            write!(f, "{rule}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// A whole document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ruleset {
    pub version: Option<String>,
    pub sources: Option<DataSources>,
    pub variables: Vec<Variable>,
    pub default_labels: Vec<Label>,
    pub rules: Vec<Node>,
    pub analyzers: Vec<Analyzer>,
}

impl Ruleset {
    pub fn variable(&self, name: &str) -> Option<&VariableValue> {
        self.variables.iter().find(|v| v.name == name).map(|v| &v.value)
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataSources {
    pub primary: Option<String>,
    pub additional: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    pub name: String,
    pub value: VariableValue,
}

#[derive(Debug, Clone, PartialEq)]
pub enum VariableValue {
    Text(String),
    List(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    pub key: String,
    pub value: String,
    pub place: Place,
}

/// A rule, or rules combined.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every node is a rule")]
pub enum Node {
    Rule(Rule),
    Composite(Composite),
}

impl Node {
    pub fn labels(&self) -> &[Label] {
        match self {
            Node::Rule(rule) => &rule.labels,
            Node::Composite(composite) => &composite.labels,
        }
    }

    pub fn place(&self) -> Place {
        match self {
            Node::Rule(rule) => rule.place,
            Node::Composite(composite) => composite.place,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connective {
    And,
    Or,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Composite {
    pub connective: Connective,
    /// At least two.
    pub legs: Vec<Node>,
    pub labels: Vec<Label>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub kind: RuleKind,
    pub parameters: Vec<Parameter>,
    pub condition: Option<Condition>,
    pub filter: Option<String>,
    pub labels: Vec<Label>,
    pub threshold: Option<Comparison<Expression>>,
    pub tags: Vec<Tag>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Analyzer {
    pub kind: RuleKind,
    pub parameters: Vec<Parameter>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub connector: Option<Connector>,
    pub value: ParameterValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connector {
    Of,
    And,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValue {
    Text(String),
    Variable(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Number(Comparison<Expression>),
    Text(TextCondition),
    Date(Comparison<DateOperand>),
    Duration(Comparison<Duration>),
    Size(Comparison<Size>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A comparison with operands of one kind. `Between` excludes both ends; `negated` is its complement.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison<T> {
    Compare { operator: Operator, operand: T },
    Between { negated: bool, low: T, high: T },
    In { negated: bool, items: Vec<T> },
}

impl<T> Comparison<T> {
    /// All operands, in the order of the text.
    pub fn operands(&self) -> Vec<&T> {
        match self {
            Comparison::Compare { operand, .. } => vec![operand],
            Comparison::Between { low, high, .. } => vec![low, high],
            Comparison::In { items, .. } => items.iter().collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum TextCondition {
    Compare(Comparison<TextOperand>),
    InVariable { negated: bool, name: String },
    Matches { negated: bool, pattern: TextOperand },
}

#[derive(Debug, Clone, PartialEq)]
pub enum TextOperand {
    Quoted(String),
    Variable(String),
    Null,
    Empty,
    WhitespacesOnly,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Number(f64),
    Null,
    Binary { operator: Arithmetic, left: Box<Expression>, right: Box<Expression> },
    Call { name: String, arguments: Vec<Expression> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DateOperand {
    /// `yyyy-MM-dd`; only the shape is known to be right.
    Date(String),
    /// `9:30 AM` or `21:45`, today.
    Time(String),
    Now,
    /// `(now() - 3 days)`; positive is later.
    NowAnd {
        amount: i64,
        unit: TimeUnit,
    },
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    Days,
    Hours,
    Minutes,
}

impl TimeUnit {
    pub const fn millis(self) -> i64 {
        match self {
            TimeUnit::Days => 86_400_000,
            TimeUnit::Hours => 3_600_000,
            TimeUnit::Minutes => 60_000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration {
    pub amount: i64,
    pub unit: TimeUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub amount: u64,
    pub unit: SizeUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeUnit {
    B,
    KB,
    MB,
    GB,
    TB,
}
