//! The table of routes: which dataset an event belongs to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::fields::Fields;
use super::pattern::{Explanation, Pattern, Reach};
use crate::domain::names::DatasetName;
use crate::event::{self, ObjectEvent};

/// One dataset's route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub dataset: DatasetName,
    pub pattern: Pattern,
    /// The contract's `route_priority`, default 0; the highest wins where several match.
    pub priority: Option<i64>,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    #[error("dataset {dataset} has two routes")]
    DatasetTwice { dataset: DatasetName },
    #[error("{first} and {second} have the same route and the same priority; give one a route_priority")]
    SamePattern { first: DatasetName, second: DatasetName },
}

/// Two routes of one priority that can meet on the same object, as far as bucket and key prefix
/// tell. A warning: a suffix or a size may still keep them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    pub first: DatasetName,
    pub second: DatasetName,
    /// `None`: any bucket.
    pub bucket: Option<String>,
    /// The longer of the two prefixes.
    pub prefix: String,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = self.bucket.as_deref().unwrap_or("any bucket");
        let Overlap { first, second, prefix, .. } = self;
        write!(f, "{first} and {second} can both match keys under {prefix:?} in {bucket}; give one a route_priority")
    }
}

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    Dataset(DatasetName),
    None,
    /// Several routes of the highest matching priority, sorted by name.
    Ambiguous(Vec<DatasetName>),
}

/// Routes, indexed by the buckets they name.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Vec<Entry>,
    by_bucket: HashMap<String, Vec<usize>>,
    of_any_bucket: Vec<usize>,
    overlaps: Vec<Overlap>,
}

#[derive(Debug, Clone)]
struct Entry {
    route: Route,
    reaches: Vec<Reach>,
    of_envelope: bool,
}

impl Entry {
    fn priority(&self) -> i64 {
        self.route.priority.unwrap_or(0)
    }
}

impl Table {
    /// Builds the index.
    ///
    /// # Errors
    /// All problems at once: a dataset with two routes, or two datasets whose routes are equal and
    /// would be ambiguous for every object.
    pub fn new(routes: Vec<Route>) -> Result<Self, Vec<RouteProblem>> {
        let problems = problems(&routes);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut table = Self::default();
        for (idx, route) in routes.into_iter().enumerate() {
            let entry = Entry { reaches: route.pattern.reaches(), of_envelope: route.pattern.is_of_envelope(), route };
            let buckets: Option<BTreeSet<&String>> =
                entry.reaches.iter().map(|r| r.buckets.as_ref()).collect::<Option<Vec<_>>>().map(|b| b.into_iter().flatten().collect());
            match buckets {
                Some(buckets) => buckets.into_iter().for_each(|b| table.by_bucket.entry(b.clone()).or_default().push(idx)),
                None => table.of_any_bucket.push(idx),
            }
            table.entries.push(entry);
        }
        table.overlaps = overlaps(&table.entries);
        Ok(table)
    }

    /// Obvious overlaps of routes with equal priority, found when the table was built.
    pub fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }

    /// The dataset of an event: the highest priority among the matching routes wins; two at that
    /// priority are ambiguous, and nobody guesses.
    pub fn dataset_for(&self, event: &ObjectEvent) -> Routing {
        let (bucket, key) = (event.object.bucket.as_str(), event.object.key.as_str());
        let named = self.by_bucket.get(bucket).map_or(&[][..], Vec::as_slice);
        let mut subjects: Option<(Fields, Fields)> = None;
        let mut best: Option<i64> = None;
        let mut winners: Vec<&DatasetName> = Vec::new();
        for entry in named.iter().chain(&self.of_any_bucket).filter_map(|idx| self.entries.get(*idx)) {
            if best.is_some_and(|b| entry.priority() < b) || !entry.reaches.iter().any(|r| r.covers(bucket, key)) {
                continue;
            }
            let (whole, detail) = subjects.get_or_insert_with(|| {
                let envelope = event::envelope(event);
                (Fields::of(&envelope), Fields::of(&envelope["detail"]))
            });
            if !entry.route.pattern.matches_fields(if entry.of_envelope { whole } else { detail }) {
                continue;
            }
            if best != Some(entry.priority()) {
                winners.clear();
                best = Some(entry.priority());
            }
            winners.push(&entry.route.dataset);
        }
        winners.sort_unstable();
        match winners.as_slice() {
            [] => Routing::None,
            [only] => Routing::Dataset((*only).clone()),
            several => Routing::Ambiguous(several.iter().map(|d| (*d).clone()).collect()),
        }
    }

    /// Every route's answer to one event, in the order of the table: what matches, and why the others
    /// do not.
    pub fn explain(&self, event: &ObjectEvent) -> Vec<(&DatasetName, Explanation)> {
        let envelope = event::envelope(event);
        self.entries.iter().map(|e| (&e.route.dataset, e.route.pattern.explain(e.route.pattern.subject(&envelope)))).collect()
    }
}

fn problems(routes: &[Route]) -> Vec<RouteProblem> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<&DatasetName, usize> = BTreeMap::new();
    for (idx, route) in routes.iter().enumerate() {
        if seen.insert(&route.dataset, idx).is_some() {
            found.push(RouteProblem::DatasetTwice { dataset: route.dataset.clone() });
            continue;
        }
        for earlier in &routes[..idx] {
            let same = earlier.pattern == route.pattern && earlier.priority.unwrap_or(0) == route.priority.unwrap_or(0);
            if same && earlier.dataset != route.dataset {
                found.push(RouteProblem::SamePattern { first: earlier.dataset.clone(), second: route.dataset.clone() });
            }
        }
    }
    found
}

fn overlaps(entries: &[Entry]) -> Vec<Overlap> {
    let mut found = Vec::new();
    for (idx, second) in entries.iter().enumerate() {
        for first in entries[..idx].iter().filter(|e| e.priority() == second.priority()) {
            let meeting = first.reaches.iter().find_map(|a| second.reaches.iter().find_map(|b| meet(a, b)));
            if let Some((bucket, prefix)) = meeting {
                found.push(Overlap { first: first.route.dataset.clone(), second: second.route.dataset.clone(), bucket, prefix });
            }
        }
    }
    found
}

/// A bucket and a prefix two reaches share, if any.
fn meet(a: &Reach, b: &Reach) -> Option<(Option<String>, String)> {
    let bucket = match (&a.buckets, &b.buckets) {
        (Some(a), Some(b)) => Some(a.intersection(b).next()?.clone()),
        (Some(one), None) | (None, Some(one)) => Some(one.iter().next()?.clone()),
        (None, None) => None,
    };
    let prefix = a.prefixes.iter().find_map(|x| {
        b.prefixes.iter().find_map(|y| if y.starts_with(x.as_str()) { Some(y) } else { x.starts_with(y.as_str()).then_some(x) })
    })?;
    Some((bucket, prefix.clone()))
}
