//! Wildcards: `*` spans anything including `/`, anchored at both ends.

/// Stars one wildcard may have. EventBridge refuses "too complex" rules without saying where the
/// limit lies (`*:*:*:*:*:event-bus/*` is over it); this one is ours.
pub const STARS_MAX: usize = 5;

/// A compiled wildcard: literals between stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    /// One more literal than there are stars.
    literals: Vec<String>,
}

impl Wildcard {
    /// Compiles; `\*` and `\\` are escapes. `Err` says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut literals = vec![String::new()];
        let mut chars = text.chars();
        let mut after_star = false;
        while let Some(c) = chars.next() {
            let literal = match c {
                '*' if after_star => return Err("two stars in a row mean no more than one".to_owned()),
                '*' => {
                    literals.push(String::new());
                    after_star = true;
                    continue;
                }
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    _ => return Err("a backslash escapes only * and \\".to_owned()),
                },
                other => other,
            };
            after_star = false;
            if let Some(last) = literals.last_mut() {
                last.push(literal);
            }
        }
        let n_stars = literals.len() - 1;
        if n_stars > STARS_MAX {
            return Err(format!("the wildcard is too complex: {n_stars} stars, at most {STARS_MAX}"));
        }
        Ok(Self { literals })
    }

    /// Linear in the text for each star: literals are found from left to right, which suffices
    /// because a star takes anything.
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.literals.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return text == first };
        let Some(mut text) = text.strip_prefix(first.as_str()) else { return false };
        for literal in middle {
            let Some(found) = text.find(literal.as_str()) else { return false };
            text = &text[found + literal.len()..];
        }
        text.ends_with(last.as_str())
    }

    /// What every match begins with.
    pub fn prefix(&self) -> &str {
        self.literals.first().map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_span_anything_and_both_ends_are_anchored() {
        for (pattern, text, matches) in [
            ("landing/*/orders.csv", "landing/a/b/orders.csv", true),
            ("landing/*/orders.csv", "x/landing/a/orders.csv", false),
            ("*.csv", ".csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aba", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\\\*", "a\\x", true),
            ("é*", "éa", true),
        ] {
            let compiled = Wildcard::parse(pattern).expect(pattern);
            assert_eq!(compiled.matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn malformed_and_complex_wildcards_are_refused() {
        for pattern in ["a**b", "a\\b", "a\\", "*:*:*:*:*:event-bus/*"] {
            assert!(Wildcard::parse(pattern).is_err(), "{pattern}");
        }
        assert!(Wildcard::parse("*:*:*:*:*").is_ok());
        assert!(Wildcard::parse("\\**").is_ok(), "an escaped star is no star");
    }

    proptest! {
        #[test]
        fn agrees_with_a_regular_expression(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            if let Ok(wildcard) = Wildcard::parse(&pattern) {
                let regex = regex::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).expect("valid");
                prop_assert_eq!(wildcard.matches(&text), regex.is_match(&text));
            }
        }
    }
}
