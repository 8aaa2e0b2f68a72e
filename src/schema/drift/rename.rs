//! Rename hints (RN3): a missing and an unknown column that look alike. Never mapped silently.

use std::collections::BTreeSet;

use crate::schema::matching::normalized;
use crate::schema::observe::{Observation, UnknownColumn};
use crate::schema::options::SchemaOptions;
use crate::schema::shape::Shape;

/// A missing column and the unknown one that may be it.
#[derive(Debug, Clone, PartialEq)]
pub struct RenameCandidate {
    /// Observed name.
    pub from: String,
    /// Registered name.
    pub to: String,
    /// 0.4 · name similarity + 0.6 · similarity of what is known about the values (drift.md §2.6).
    pub score: f64,
    /// Why it is named, for a person.
    pub because: String,
}

/// From this score on a pair is named.
const SCORE_MIN: f64 = 0.8;

/// Pairs beyond this many are not compared.
const PAIRS_MAX: usize = 10_000;

/// Candidates among the `missing` nodes and the unknown columns with values, best first per column.
pub(super) fn candidates(observation: &Observation, options: &SchemaOptions, missing: &[usize]) -> Vec<RenameCandidate> {
    let unknown: Vec<&UnknownColumn> =
        observation.unknown.iter().filter(|u| u.record == 0 && u.collides.is_none() && u.inference.n_values > 0).collect();
    let mut found: Vec<RenameCandidate> = Vec::new();
    if missing.len() * unknown.len() > PAIRS_MAX {
        return found;
    }
    for node in missing {
        let info = &observation.nodes[*node];
        for column in &unknown {
            let Some(shape) = column.inference.shape("inferred") else { continue };
            if !info.shape.same_family(&shape) {
                continue;
            }
            let of_type = |n: &&usize| observation.nodes[**n].shape.same_family(&shape);
            let alike = |u: &&&UnknownColumn| u.inference.shape("inferred").is_some_and(|s| s.same_family(&info.shape));
            let only = missing.iter().filter(of_type).count() == 1 && unknown.iter().filter(alike).count() == 1;
            let name = name_similarity(&info.path, &column.key);
            let score = 0.4 * name + 0.6 * value_similarity(&info.path, &info.shape, column, &shape, options);
            if score >= SCORE_MIN || only {
                let because = if only { "the only pair of one type".to_owned() } else { format!("name {name:.2}, values alike") };
                found.push(RenameCandidate { from: column.key.clone(), to: info.path.clone(), score, because });
            }
        }
    }
    found.sort_by(|a, b| a.to.cmp(&b.to).then(b.score.total_cmp(&a.score)).then(a.from.cmp(&b.from)));
    found
}

/// Contract facts stand in for a profile (decisions.md 35): type, list, range.
fn value_similarity(path: &str, registered: &Shape, column: &UnknownColumn, observed: &Shape, options: &SchemaOptions) -> f64 {
    let mut parts = vec![if registered == observed || registered.subsumes(observed) || observed.subsumes(registered) { 1.0 } else { 0.8 }];
    let Some(rules) = options.columns.get(path) else { return parts[0] };
    let examples: Vec<&str> = column.inference.examples.iter().map(|e| e.1.as_str()).collect();
    let share = |ok: &dyn Fn(&str) -> bool| examples.iter().filter(|e| ok(e)).count() as f64 / examples.len().max(1) as f64;
    if let Some(allowed) = &rules.allowed_values {
        parts.push(share(&|e| allowed.iter().any(|a| a == e)));
    }
    if rules.min.is_some() || rules.max.is_some() {
        let inside = |n: f64| rules.min.is_none_or(|m| n >= m) && rules.max.is_none_or(|m| n <= m);
        parts.push(share(&|e| e.parse::<f64>().is_ok_and(inside)));
    }
    parts.iter().sum::<f64>() / parts.len() as f64
}

/// The better of Jaro-Winkler over the whole names and the share of common words.
fn name_similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (normalized(a), normalized(b));
    let words = |s: &str| s.split(['_', '.']).filter(|w| !w.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>();
    let (wa, wb) = (words(&a), words(&b));
    let all = wa.union(&wb).count();
    let common = if all == 0 { 0.0 } else { wa.intersection(&wb).count() as f64 / all as f64 };
    jaro_winkler(&a, &b).max(common)
}

fn jaro_winkler(a: &str, b: &str) -> f64 {
    // Names are short; what is longer is cut so that the square below stays small.
    let a: Vec<char> = a.chars().take(128).collect();
    let b: Vec<char> = b.chars().take(128).collect();
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 1.0 } else { 0.0 };
    }
    let window = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut used = vec![false; b.len()];
    let mut in_a: Vec<char> = Vec::new();
    for (i, c) in a.iter().enumerate() {
        let range = i.saturating_sub(window)..(i + window + 1).min(b.len());
        if let Some(j) = range.into_iter().find(|j| !used[*j] && b[*j] == *c) {
            used[j] = true;
            in_a.push(*c);
        }
    }
    if in_a.is_empty() {
        return 0.0;
    }
    let in_b: Vec<char> = b.iter().zip(&used).filter(|(_, u)| **u).map(|(c, _)| *c).collect();
    let swapped = in_a.iter().zip(&in_b).filter(|(x, y)| x != y).count() as f64 / 2.0;
    let m = in_a.len() as f64;
    let jaro = (m / a.len() as f64 + m / b.len() as f64 + (m - swapped) / m) / 3.0;
    let prefix = a.iter().zip(&b).take(4).take_while(|(x, y)| x == y).count() as f64;
    jaro + prefix * 0.1 * (1.0 - jaro)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_letters_and_words() {
        assert!((jaro_winkler("martha", "marhta") - 0.961).abs() < 0.001);
        assert!((jaro_winkler("dixon", "dicksonx") - 0.813).abs() < 0.001);
        assert_eq!(name_similarity("order_id", "Order ID"), 1.0);
        assert_eq!(name_similarity("id_order", "order_id"), 1.0);
        assert!(name_similarity("site", "property") < 0.6);
    }
}
