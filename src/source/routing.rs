//! Which dataset an event belongs to, by the contracts in force.
//!
//! A contract without a `route` takes the keys its `layout` begins with, else `landing/<dataset>/`.
//! Nobody guesses: an object several routes claim belongs to none, and the log says which.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};
use tracing::{error, warn};

use crate::domain::names::DatasetName;
use crate::event::ObjectEvent;
use crate::route::pattern::Pattern;
use crate::route::table::{Route, RouteProblem, Routing, Table};
use crate::stage::catalog::{Catalog, Dataset};

/// What one contract says about routing.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub dataset: DatasetName,
    /// Event pattern; `None`: by the key's prefix.
    pub route: Option<Value>,
    pub priority: i64,
    pub layout: Option<String>,
}

impl Claim {
    fn of(dataset: &Dataset) -> Self {
        let contract = &dataset.contract;
        Self {
            dataset: contract.dataset.clone(),
            route: contract.route.as_ref().map(|r| r.pattern.clone()),
            priority: contract.route_priority,
            layout: contract.layout.clone(),
        }
    }

    /// The pattern, as written or by default.
    pub fn pattern(&self) -> Value {
        match &self.route {
            Some(route) => route.clone(),
            None => json!({ "object": { "key": [{ "prefix": self.prefix() }] } }),
        }
    }

    fn prefix(&self) -> String {
        match &self.layout {
            Some(layout) => literal_prefix(layout, self.dataset.as_str()),
            None => format!("landing/{}/", self.dataset),
        }
    }
}

/// What every key of a layout begins with.
fn literal_prefix(layout: &str, dataset: &str) -> String {
    let mut prefix = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("{{") || rest.starts_with("}}") {
            prefix.push(c);
            rest = &rest[2..];
        } else if let Some(after) = rest.strip_prefix("{dataset}") {
            prefix.push_str(dataset);
            rest = after;
        } else if c == '{' || c == '}' {
            break;
        } else {
            prefix.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    prefix
}

/// The routes of one set of contracts.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    table: Table,
    /// Datasets whose route and priority equal those of the dataset in the table.
    tied: HashMap<DatasetName, Vec<DatasetName>>,
}

impl Routes {
    /// Never fails: lint refuses such contracts earlier; what is wrong all the same goes to the log, and
    /// only the objects it concerns are unrouted.
    pub fn of(claims: &[Claim]) -> Self {
        let mut routes = Vec::with_capacity(claims.len());
        for claim in claims {
            match Pattern::compile(&claim.pattern()) {
                Ok(pattern) => routes.push(Route { dataset: claim.dataset.clone(), pattern, priority: Some(claim.priority) }),
                Err(faults) => {
                    let fault = faults.first().map(ToString::to_string).unwrap_or_default();
                    error!(dataset = %claim.dataset, fault, "the route does not compile, nothing is routed by it");
                }
            }
        }
        let mut tied: HashMap<DatasetName, Vec<DatasetName>> = HashMap::new();
        let table = Table::new(routes.clone()).unwrap_or_else(|problems| {
            for problem in problems {
                error!(%problem, "routes collide");
                match problem {
                    RouteProblem::DatasetTwice { dataset } => drop_later(&mut routes, &dataset),
                    RouteProblem::SamePattern { first, second } => {
                        routes.retain(|r| r.dataset != second);
                        tied.entry(first).or_default().push(second);
                    }
                }
            }
            Table::new(routes).unwrap_or_default()
        });
        for overlap in table.overlaps() {
            warn!(%overlap, "routes overlap");
        }
        Self { table, tied }
    }

    /// The one dataset whose route matches best; `None` when there is none, or more than one.
    pub fn dataset_for(&self, event: &ObjectEvent) -> Option<DatasetName> {
        match self.table.dataset_for(event) {
            Routing::None => None,
            Routing::Dataset(dataset) => match self.tied.get(&dataset) {
                None => Some(dataset),
                Some(others) => ambiguous(event, std::iter::once(&dataset).chain(others)),
            },
            Routing::Ambiguous(datasets) => ambiguous(event, datasets.iter()),
        }
    }
}

fn drop_later(routes: &mut Vec<Route>, dataset: &DatasetName) {
    let mut met = false;
    routes.retain(|r| r.dataset != *dataset || !std::mem::replace(&mut met, true));
}

fn ambiguous<'d>(event: &ObjectEvent, datasets: impl Iterator<Item = &'d DatasetName>) -> Option<DatasetName> {
    let datasets = datasets.map(DatasetName::as_str).collect::<Vec<_>>().join(", ");
    warn!(object = %event.object, datasets, "several routes of one priority match, the object is unrouted");
    None
}

/// Hashes of the contracts a table was made of, and the table.
type Cached = Option<(Vec<String>, Arc<Routes>)>;

/// The routes in force. Rebuilt when a contract changed.
pub struct Router {
    contracts: Contracts,
}

enum Contracts {
    InForce { catalog: Arc<Catalog>, cached: RwLock<Cached> },
    Fixed(Arc<Routes>),
}

impl Router {
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { contracts: Contracts::InForce { catalog, cached: RwLock::new(None) } }
    }

    /// Routes that never change: for offline commands and tests.
    pub fn fixed(routes: Routes) -> Self {
        Self { contracts: Contracts::Fixed(Arc::new(routes)) }
    }

    /// The routes as they are now; taken once per decision.
    pub fn current(&self) -> Arc<Routes> {
        let (catalog, cached) = match &self.contracts {
            Contracts::Fixed(routes) => return Arc::clone(routes),
            Contracts::InForce { catalog, cached } => (catalog, cached),
        };
        let datasets = catalog.all();
        let known = |hashes: &[String]| hashes.iter().eq(datasets.iter().map(|d| &d.hash));
        if let Some((hashes, routes)) = cached.read().unwrap_or_else(PoisonError::into_inner).as_ref()
            && known(hashes)
        {
            return Arc::clone(routes);
        }
        let routes = Arc::new(Routes::of(&datasets.iter().map(|d| Claim::of(d)).collect::<Vec<_>>()));
        let hashes = datasets.iter().map(|d| d.hash.clone()).collect();
        *cached.write().unwrap_or_else(PoisonError::into_inner) = Some((hashes, Arc::clone(&routes)));
        routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::object::{ObjectRef, ObjectVersion};

    fn claim(dataset: &str, route: Option<Value>, priority: i64, layout: Option<&str>) -> Claim {
        Claim { dataset: dataset.parse().unwrap(), route, priority, layout: layout.map(str::to_owned) }
    }

    fn routed(claims: &[Claim], key: &str) -> Option<String> {
        let object = ObjectRef { bucket: "raw".parse().unwrap(), key: key.parse().unwrap() };
        let event = ObjectEvent::listed(object, ObjectVersion::default());
        Routes::of(claims).dataset_for(&event).map(|d| d.to_string())
    }

    #[test]
    fn contracts_without_a_route_take_their_prefix() {
        let claims = [
            claim("orders", None, 0, None),
            claim("events", None, 0, Some("in/{dataset}/{yyyy}/{file}")),
            claim("odd", None, 0, Some("{{x}}/{file}")),
        ];
        for (key, dataset) in [
            ("landing/orders/a.csv", Some("orders")),
            ("landing/orders2/a.csv", None),
            ("landing/events/a.csv", None),
            ("in/events/2026/a.csv", Some("events")),
            ("in/event/2026/a.csv", None),
            ("{x}/a.csv", Some("odd")),
            ("elsewhere/a.csv", None),
        ] {
            assert_eq!(routed(&claims, key).as_deref(), dataset, "{key}");
        }
    }

    #[test]
    fn the_higher_priority_wins_and_equals_belong_to_nobody() {
        let by = |prefix: &str| Some(json!({ "object": { "key": [{ "prefix": prefix }] } }));
        let wide = claim("wide", by("in/"), 0, None);
        let narrow = claim("narrow", by("in/n/"), 1, None);
        let level = claim("level", by("in/n/"), 0, None);
        assert_eq!(routed(&[wide.clone(), narrow], "in/n/a").as_deref(), Some("narrow"));
        assert_eq!(routed(&[wide.clone(), level.clone()], "in/n/a"), None);
        assert_eq!(routed(&[wide, level], "in/m/a").as_deref(), Some("wide"));
    }

    #[test]
    fn equal_routes_are_ambiguous_and_spoil_nothing_else() {
        let by = |prefix: &str| Some(json!({ "object": { "key": [{ "prefix": prefix }] } }));
        let claims =
            [claim("a", by("x/"), 0, None), claim("b", by("x/"), 0, None), claim("c", by("x/"), 0, None), claim("d", by("y/"), 0, None)];
        assert_eq!(routed(&claims, "x/1"), None);
        assert_eq!(routed(&claims, "y/1").as_deref(), Some("d"));
    }

    #[test]
    fn a_route_that_does_not_compile_spoils_only_itself() {
        let claims = [claim("bad", Some(json!({ "object": 1 })), 0, None), claim("orders", None, 0, None)];
        assert_eq!(routed(&claims, "landing/orders/1").as_deref(), Some("orders"));
        assert_eq!(routed(&claims, "landing/bad/1"), None);
    }
}
