//! Patterns of `matches`: anchored at both ends, in Java's dialect as far as two engines know it.

/// A compiled pattern. Look-around and back-references cost the slower engine.
#[derive(Debug, Clone)]
pub enum Pattern {
    Plain(regex::Regex),
    Fancy(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles `text`, anchored (dqdl.md §1.4).
    ///
    /// # Errors
    /// What neither engine can read, with the reason of the second.
    pub fn compile(text: &str) -> Result<Self, String> {
        let anchored = format!(r"\A(?:{text})\z");
        if let Ok(plain) = regex::Regex::new(&anchored) {
            return Ok(Pattern::Plain(plain));
        }
        match fancy_regex::RegexBuilder::new(&anchored).backtrack_limit(100_000).build() {
            Ok(fancy) => Ok(Pattern::Fancy(Box::new(fancy))),
            Err(e) => Err(format!("the pattern \"{text}\" is not supported: {}", e.to_string().replace('\n', " "))),
        }
    }

    /// Whether all of `text` matches; a search that runs out of steps does not.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Plain(regex) => regex.is_match(text),
            Pattern::Fancy(regex) => regex.is_match(text).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_and_know_look_around() {
        for (pattern, text, holds) in [
            ("a|ab", "ab", true),
            ("a", "ab", false),
            ("", "", true),
            ("a*", "", true),
            (r"\d+", "12", true),
            (r"(?!x)\w+", "abc", true),
            (r"(?!x)\w+", "xbc", false),
            (r"(a)\1", "aa", true),
        ] {
            assert_eq!(Pattern::compile(pattern).expect(pattern).matches(text), holds, "{pattern} {text}");
        }
        for pattern in ["(", "[a", r"\p{NoSuch}"] {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
    }
}
