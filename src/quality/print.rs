//! The tree as canonical text; parsing that text gives the same tree.

use std::fmt::{self, Display, Formatter};

use crate::quality::syntax::*;

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(version) = &self.version {
            writeln!(f, "Metadata = {{ \"Version\": \"{version}\" }}")?;
        }
        if let Some(sources) = &self.sources {
            let mut entries = Vec::new();
            if let Some(primary) = &sources.primary {
                entries.push(format!("\"Primary\": \"{primary}\""));
            }
            if !sources.additional.is_empty() {
                entries.push(format!("\"AdditionalDataSources\": {}", list(&sources.additional)));
            }
            writeln!(f, "DataSources = {{ {} }}", entries.join(", "))?;
        }
        for variable in &self.variables {
            match &variable.value {
                VariableValue::Text(text) => writeln!(f, "{} = \"{text}\"", variable.name)?,
                VariableValue::List(texts) => writeln!(f, "{} = {}", variable.name, list(texts))?,
            }
        }
        if !self.default_labels.is_empty() {
            writeln!(f, "DefaultLabels = [{}]", labels(&self.default_labels))?;
        }
        if !self.rules.is_empty() {
            section(f, "Rules", &self.rules)?;
        }
        if !self.analyzers.is_empty() {
            section(f, "Analyzers", &self.analyzers)?;
        }
        Ok(())
    }
}

fn section<T: Display>(f: &mut Formatter<'_>, name: &str, items: &[T]) -> fmt::Result {
    writeln!(f, "{name} = [")?;
    for (idx, item) in items.iter().enumerate() {
        writeln!(f, "    {item}{}", if idx + 1 < items.len() { "," } else { "" })?;
    }
    writeln!(f, "]")
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(", "))
}

fn labels(labels: &[Label]) -> String {
    labels.iter().map(|l| format!("\"{}\"=\"{}\"", l.key, l.value)).collect::<Vec<_>>().join(", ")
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Node::Rule(rule) => rule.fmt(f),
            Node::Composite(composite) => composite.fmt(f),
        }
    }
}

impl Display for Composite {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = match self.connective {
            Connective::And => " and ",
            Connective::Or => " or ",
        };
        let labeled = !self.labels.is_empty();
        if labeled {
            f.write_str("(")?;
        }
        for (idx, leg) in self.legs.iter().enumerate() {
            if idx > 0 {
                f.write_str(word)?;
            }
            match leg {
                // A labeled composite brings its own parentheses.
                Node::Composite(inner) if !inner.labels.is_empty() => inner.fmt(f)?,
                leg => write!(f, "({leg})")?,
            }
        }
        if labeled {
            write!(f, ") labels=[{}]", labels(&self.labels))?;
        }
        Ok(())
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        for parameter in &self.parameters {
            parameter.fmt(f)?;
        }
        if let Some(condition) = &self.condition {
            write!(f, " {condition}")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, " where \"{filter}\"")?;
        }
        if !self.labels.is_empty() {
            write!(f, " labels=[{}]", labels(&self.labels))?;
        }
        if let Some(threshold) = &self.threshold {
            write!(f, " with threshold {threshold}")?;
        }
        for tag in &self.tags {
            write!(f, " with {} = \"{}\"", tag.name, tag.value)?;
        }
        Ok(())
    }
}

impl Display for Analyzer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        self.parameters.iter().try_for_each(|p| p.fmt(f))
    }
}

impl Display for Parameter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.connector {
            Some(Connector::Of) => f.write_str(" of")?,
            Some(Connector::And) => f.write_str(" and")?,
            None => {}
        }
        match &self.value {
            ParameterValue::Text(text) => write!(f, " \"{text}\""),
            ParameterValue::Variable(name) => write!(f, " ${name}"),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Number(c) => c.fmt(f),
            Condition::Text(c) => c.fmt(f),
            Condition::Date(c) => c.fmt(f),
            Condition::Duration(c) => c.fmt(f),
            Condition::Size(c) => c.fmt(f),
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}

impl<T: Display> Display for Comparison<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Comparison::Compare { operator, operand } => write!(f, "{operator} {operand}"),
            Comparison::Between { negated, low, high } => write!(f, "{}between {low} and {high}", not(*negated)),
            Comparison::In { negated, items } => {
                let items = items.iter().map(T::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "{}in [{items}]", not(*negated))
            }
        }
    }
}

impl Display for TextCondition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TextCondition::Compare(c) => c.fmt(f),
            TextCondition::InVariable { negated, name } => write!(f, "{}in ${name}", not(*negated)),
            TextCondition::Matches { negated, pattern } => write!(f, "{}matches {pattern}", not(*negated)),
        }
    }
}

impl Display for TextOperand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TextOperand::Quoted(text) => write!(f, "\"{text}\""),
            TextOperand::Variable(name) => write!(f, "${name}"),
            TextOperand::Null => f.write_str("NULL"),
            TextOperand::Empty => f.write_str("EMPTY"),
            TextOperand::WhitespacesOnly => f.write_str("WHITESPACES_ONLY"),
        }
    }
}

impl Display for Operator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
        })
    }
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Number(number) => write!(f, "{number}"),
            Expression::Null => f.write_str("NULL"),
            Expression::Binary { operator, left, right } => {
                let sign = match operator {
                    Arithmetic::Add => '+',
                    Arithmetic::Subtract => '-',
                    Arithmetic::Multiply => '*',
                    Arithmetic::Divide => '/',
                };
                // One level of precedence, left to right: only a right side needs parentheses.
                match **right {
                    Expression::Binary { .. } => write!(f, "{left} {sign} ({right})"),
                    _ => write!(f, "{left} {sign} {right}"),
                }
            }
            Expression::Call { name, arguments } => {
                let arguments = arguments.iter().map(Expression::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "{name}({arguments})")
            }
        }
    }
}

impl Display for TimeUnit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeUnit::Days => "days",
            TimeUnit::Hours => "hours",
            TimeUnit::Minutes => "minutes",
        })
    }
}

impl Display for DateOperand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DateOperand::Date(text) | DateOperand::Time(text) => write!(f, "\"{text}\""),
            DateOperand::Now => f.write_str("now()"),
            DateOperand::NowAnd { amount, unit } => {
                let sign = if *amount < 0 { '-' } else { '+' };
                write!(f, "(now() {sign} {} {unit})", amount.unsigned_abs())
            }
            DateOperand::Null => f.write_str("NULL"),
        }
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.unit)
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.amount, self.unit)
    }
}
