//! Matching observed names to registered ones: exact → declared alias → normalized, if unique
//! (drift.md §2.2).

use std::collections::{BTreeMap, HashMap};

use super::options::ColumnRules;
use super::shape::Field;

/// How a name was matched, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matched {
    Exact,
    Alias,
    Cosmetic,
}

/// Finds the registered field of an observed name.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    exact: HashMap<String, usize>,
    alias: HashMap<String, usize>,
    /// `None`: two registered names normalize to this one.
    normal: HashMap<String, Option<usize>>,
}

impl Matcher {
    /// `prefix` is the path of the record, empty at the top; column rules are keyed by dotted path.
    pub fn new(fields: &[Field], prefix: &str, columns: &BTreeMap<String, ColumnRules>) -> Self {
        let mut matcher = Matcher::default();
        for (at, field) in fields.iter().enumerate() {
            matcher.exact.insert(field.name.clone(), at);
            let path = if prefix.is_empty() { field.name.clone() } else { format!("{prefix}.{}", field.name) };
            let declared = columns.get(&path).map_or(&[][..], |c| &c.aliases[..]);
            for alias in field.aliases.iter().chain(declared) {
                matcher.alias.entry(alias.clone()).or_insert(at);
            }
            matcher.normal.entry(normalized(&field.name)).and_modify(|slot| *slot = None).or_insert(Some(at));
        }
        matcher
    }

    /// The field's place and how the name led there.
    pub fn find(&self, name: &str) -> Option<(usize, Matched)> {
        if let Some(at) = self.exact.get(name) {
            return Some((*at, Matched::Exact));
        }
        if let Some(at) = self.alias.get(name) {
            return Some((*at, Matched::Alias));
        }
        let cosmetic = match self.normal.get(&normalized(name)) {
            Some(slot) => *slot,
            None => self.exact.get(&avro_name(name)).copied(),
        };
        cosmetic.map(|at| (at, Matched::Cosmetic))
    }
}

/// NFC (of Latin letters), trimmed including no-break and zero-width spaces, case-folded, space and
/// dash as `_`.
pub fn normalized(name: &str) -> String {
    let is_edge = |c: char| c.is_whitespace() || matches!(c, '\u{a0}' | '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{feff}' | '\u{2060}');
    let mut out = String::with_capacity(name.len());
    for c in name.trim_matches(is_edge).chars() {
        match c {
            ' ' | '-' | '\u{a0}' | '\u{2010}' | '\u{2011}' => out.push('_'),
            '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{feff}' | '\u{2060}' => {}
            '\u{300}'..='\u{328}' => match out.pop().map(|base| (base, composed(base, c))) {
                Some((_, Some(one))) => out.push(one),
                Some((base, None)) => {
                    out.push(base);
                    out.push(c);
                }
                None => out.push(c),
            },
            c => out.extend(c.to_lowercase()),
        }
    }
    out
}

/// The precomposed small letter of a base and a combining mark, for Latin letters.
fn composed(base: char, mark: char) -> Option<char> {
    let (bases, letters) = match mark {
        '\u{300}' => ("aeioun", "àèìòùǹ"),
        '\u{301}' => ("aeiouycnslrz", "áéíóúýćńśĺŕź"),
        '\u{302}' => ("aeioucghjswy", "âêîôûĉĝĥĵŝŵŷ"),
        '\u{303}' => ("anoiu", "ãñõĩũ"),
        '\u{304}' => ("aeiou", "āēīōū"),
        '\u{306}' => ("aeigou", "ăĕĭğŏŭ"),
        '\u{307}' => ("cegz", "ċėġż"),
        '\u{308}' => ("aeiouy", "äëïöüÿ"),
        '\u{30a}' => ("au", "åů"),
        '\u{30b}' => ("ou", "őű"),
        '\u{30c}' => ("cdenrstz", "čďěňřšťž"),
        '\u{327}' => ("csglnrkt", "çşģļņŗķţ"),
        '\u{328}' => ("aeiu", "ąęįų"),
        _ => return None,
    };
    let at = bases.chars().position(|b| b == base)?;
    letters.chars().nth(at)
}

/// The name as Avro allows it: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn avro_name(name: &str) -> String {
    let mut out: String = name.trim().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.as_bytes().first().is_none_or(u8::is_ascii_digit) {
        out.insert(0, '_');
    }
    out
}

/// Names of a header made unique: a repeated name gets the first free suffix (`a,b,a,a_1` → `a,b,a_2,a_1`).
pub fn unique_names(names: &[String]) -> Vec<String> {
    let taken: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
    let mut used: std::collections::HashSet<String> = std::collections::HashSet::new();
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let mut unique = name.clone();
        let mut n = 1usize;
        while used.contains(&unique) || (unique != *name && taken.contains(unique.as_str())) {
            unique = format!("{name}_{n}");
            n += 1;
        }
        used.insert(unique.clone());
        out.push(unique);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shape::Shape;

    fn matcher(names: &[&str]) -> Matcher {
        let mut fields: Vec<Field> = names.iter().map(|n| Field::nullable(*n, Shape::String)).collect();
        fields[0].aliases = vec!["Old Name".to_owned()];
        Matcher::new(&fields, "", &BTreeMap::new())
    }

    #[test]
    fn exact_beats_alias_beats_cosmetic() {
        let m = matcher(&["order_id", "größe", "total"]);
        assert_eq!(m.find("order_id"), Some((0, Matched::Exact)));
        assert_eq!(m.find("Old Name"), Some((0, Matched::Alias)));
        for name in ["Order ID", "ORDER-ID", "\u{a0}order_id ", "\u{feff}order_id", "order\u{200b}_id"] {
            assert_eq!(m.find(name), Some((0, Matched::Cosmetic)), "{name:?}");
        }
        assert_eq!(m.find("gro\u{308}ße"), Some((1, Matched::Cosmetic)), "decomposed letters are the same letters");
        assert_eq!(m.find("orderid"), None);
    }

    #[test]
    fn a_name_that_normalizes_to_two_is_unknown() {
        let m = matcher(&["x", "a_b", "A-B"]);
        assert_eq!(m.find("a b"), None);
        assert_eq!(m.find("A-B"), Some((2, Matched::Exact)));
    }

    #[test]
    fn repeated_names_never_collide() {
        let names = |list: &[&str]| unique_names(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["a", "b", "a", "a_1"]), ["a", "b", "a_2", "a_1"]);
        assert_eq!(names(&["a", "a", "a"]), ["a", "a_1", "a_2"]);
        assert_eq!(avro_name("9 lives (cat)"), "_9_lives__cat_");
        assert_eq!(avro_name(""), "_");
    }
}
