//! Families of metrics with closed label sets: what a label may say stands in its definition, and every series whose
//! labels are known is born at 0, because `increase()` of a series born at 1 is 0.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// What a label may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    Of(&'static [&'static str]),
    /// One of these words, of which few occur: not born at 0.
    Rarely(&'static [&'static str]),
    /// A configured dataset; see [`Open`].
    Dataset,
    /// A configured source.
    Source,
    /// A stage of this process.
    Stage,
    /// A topic a stage of this process reads.
    Topic,
    /// One text for the life of the process.
    Fixed,
}

/// One label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// Kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One family, as documentation and rules know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub name: String,
    pub kind: Kind,
    pub labels: Vec<Label>,
    pub help: &'static str,
    /// Of a histogram, in the unit of its name.
    pub buckets: Vec<f64>,
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        write!(f, "{} {kind}", self.name)?;
        for label in &self.labels {
            let values = match label.values {
                Values::Of(words) => words.join("|"),
                // A long list of its own, with tests of its own.
                Values::Rarely(_) => format!("<{}>", label.name),
                Values::Dataset => "<dataset>".to_owned(),
                Values::Source => "<source>".to_owned(),
                Values::Stage => "<stage>".to_owned(),
                Values::Topic => "<topic>".to_owned(),
                Values::Fixed => "<fixed>".to_owned(),
            };
            write!(f, " {}={values}", label.name)?;
        }
        if !self.buckets.is_empty() {
            let bounds: Vec<String> = self.buckets.iter().map(ToString::to_string).collect();
            write!(f, " le={}|+Inf", bounds.join("|"))?;
        }
        Ok(())
    }
}

/// Something that comes to be known while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomer<'a> {
    /// The process itself.
    Process,
    Dataset(&'a str),
    Source(&'a str),
}

/// Every series of `labels` that a newcomer brings; none, if the family does not depend on it or on something else too.
fn series<'a>(labels: &[Label], stages: &[&'a str], newcomer: Newcomer<'a>) -> Vec<Vec<&'a str>> {
    let opens = |values: Values| matches!(values, Values::Dataset | Values::Source);
    let is_its_own = match newcomer {
        Newcomer::Process => !labels.iter().any(|l| opens(l.values)),
        Newcomer::Dataset(_) => labels.iter().any(|l| l.values == Values::Dataset) && labels.iter().all(|l| l.values != Values::Source),
        Newcomer::Source(_) => labels.iter().any(|l| l.values == Values::Source) && labels.iter().all(|l| l.values != Values::Dataset),
    };
    if !is_its_own {
        return Vec::new();
    }
    let mut all: Vec<Vec<&'a str>> = vec![Vec::new()];
    for label in labels {
        let words: Vec<&'a str> = match (label.values, newcomer) {
            (Values::Of(words), _) => words.to_vec(),
            (Values::Stage, _) => stages.to_vec(),
            (Values::Dataset, Newcomer::Dataset(name)) | (Values::Source, Newcomer::Source(name)) => vec![name],
            _ => return Vec::new(),
        };
        all = all.iter().flat_map(|head| words.iter().map(|w| [head.as_slice(), &[*w]].concat())).collect();
    }
    all
}

/// A family that is born at 0.
enum Born {
    Counter(IntCounterVec),
    Histogram(HistogramVec),
}

/// Registers families, and remembers what they are.
pub struct Families {
    pub registry: Registry,
    stages: Vec<&'static str>,
    definitions: Vec<Definition>,
    born: Vec<(Vec<Label>, Born)>,
}

impl Families {
    /// `stages`: those of this process.
    pub fn new(stages: Vec<&'static str>) -> Self {
        Self { registry: Registry::new(), stages, definitions: Vec::new(), born: Vec::new() }
    }

    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    fn define(&mut self, name: &str, kind: Kind, help: &'static str, labels: &[(&'static str, Values)], buckets: &[f64]) -> Definition {
        let labels = labels.iter().map(|(name, values)| Label { name, values: *values }).collect();
        let definition = Definition { name: format!("lakegate_{name}"), kind, labels, help, buckets: buckets.to_vec() };
        self.definitions.push(definition.clone());
        definition
    }

    fn register(&self, family: impl Collector + 'static) {
        self.registry.register(Box::new(family)).expect("families are defined once, in one file: tested");
    }

    pub fn counter(&mut self, name: &str, help: &'static str, labels: &[(&'static str, Values)]) -> IntCounterVec {
        let definition = self.define(name, Kind::Counter, help, labels, &[]);
        let names: Vec<&str> = definition.labels.iter().map(|l| l.name).collect();
        let family = IntCounterVec::new(Opts::new(definition.name, help), &names).expect("names are words: tested");
        self.register(family.clone());
        self.born.push((definition.labels, Born::Counter(family.clone())));
        family
    }

    pub fn gauge(&mut self, name: &str, help: &'static str, labels: &[(&'static str, Values)]) -> GaugeVec {
        let definition = self.define(name, Kind::Gauge, help, labels, &[]);
        let names: Vec<&str> = definition.labels.iter().map(|l| l.name).collect();
        let family = GaugeVec::new(Opts::new(definition.name, help), &names).expect("names are words: tested");
        self.register(family.clone());
        family
    }

    pub fn histogram(&mut self, name: &str, help: &'static str, buckets: &[f64], labels: &[(&'static str, Values)]) -> HistogramVec {
        let definition = self.define(name, Kind::Histogram, help, labels, buckets);
        let names: Vec<&str> = definition.labels.iter().map(|l| l.name).collect();
        let options = HistogramOpts::new(definition.name, help).buckets(buckets.to_vec());
        let family = HistogramVec::new(options, &names).expect("names are words: tested");
        self.register(family.clone());
        self.born.push((definition.labels, Born::Histogram(family.clone())));
        family
    }

    /// Brings every series into being that the newcomer makes known.
    pub fn meet(&self, newcomer: Newcomer<'_>) {
        for (labels, family) in &self.born {
            for values in series(labels, &self.stages, newcomer) {
                match family {
                    Born::Counter(family) => drop(family.with_label_values(&values)),
                    Born::Histogram(family) => drop(family.with_label_values(&values)),
                }
            }
        }
    }
}

/// Names that become label values, at most so many; what comes later shares one word.
#[derive(Debug)]
pub struct Open {
    max: usize,
    known: Mutex<BTreeSet<String>>,
}

/// The label of what came after the limit.
pub const OTHER: &str = "_other";

/// Whether a name was known.
pub enum Met {
    Known,
    New,
    /// Beyond the limit.
    TooMany,
}

impl Open {
    pub fn new(max: usize) -> Self {
        Self { max, known: Mutex::default() }
    }

    pub fn meet(&self, name: &str) -> Met {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return Met::Known;
        }
        if known.len() >= self.max {
            return Met::TooMany;
        }
        known.insert(name.to_owned());
        Met::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: Values = Values::Of(&["left", "right"]);

    fn text(families: &Families) -> String {
        prometheus::TextEncoder::new().encode_to_string(&families.registry.gather()).unwrap()
    }

    #[test]
    fn what_is_known_is_born_at_zero_and_nothing_else() {
        let mut families = Families::new(vec!["check", "publish"]);
        families.counter("a_total", "a", &[("stage", Values::Stage), ("side", SIDES)]);
        families.counter("b_total", "b", &[("dataset", Values::Dataset), ("side", SIDES)]);
        families.counter("c_total", "c", &[("dataset", Values::Dataset), ("reason", Values::Rarely(&["x"]))]);
        families.counter("d_total", "d", &[("source", Values::Source)]);
        families.gauge("e", "e", &[("stage", Values::Stage)]);
        families.meet(Newcomer::Process);
        let series = |text: String| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            series(text(&families)),
            [
                r#"lakegate_a_total{side="left",stage="check"} 0"#,
                r#"lakegate_a_total{side="left",stage="publish"} 0"#,
                r#"lakegate_a_total{side="right",stage="check"} 0"#,
                r#"lakegate_a_total{side="right",stage="publish"} 0"#,
            ]
        );
        families.meet(Newcomer::Dataset("orders"));
        families.meet(Newcomer::Source("raw"));
        let found = series(text(&families));
        assert!(found.contains(&r#"lakegate_b_total{dataset="orders",side="right"} 0"#.to_owned()), "{found:?}");
        assert!(found.contains(&r#"lakegate_d_total{source="raw"} 0"#.to_owned()), "{found:?}");
        assert_eq!(found.len(), 7, "a reason and a gauge are born when they are told: {found:?}");
    }

    #[test]
    fn names_beyond_the_limit_share_a_word() {
        let open = Open::new(2);
        assert!(matches!(open.meet("a"), Met::New));
        assert!(matches!(open.meet("b"), Met::New));
        assert!(matches!(open.meet("c"), Met::TooMany));
        assert!(matches!(open.meet("a"), Met::Known));
    }
}
