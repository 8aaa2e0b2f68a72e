//! Suffixes a contract accepts (contract.md, `source.suffixes`).

use crate::domain::names::ObjectKey;
use crate::domain::reason::ReasonCode;
use crate::format::options::Format;

/// The key ends in none of the suffixes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key ends in none of {}", .accepted.join(", "))]
pub struct SuffixRefused {
    pub accepted: Vec<String>,
}

impl SuffixRefused {
    pub fn reason(&self) -> ReasonCode {
        ReasonCode::SuffixRefused
    }
}

/// Suffixes that follow from the formats, when a contract names none (decisions.md 41): each plain
/// and compressed, because magic bytes decide about compression anyway.
pub fn of_formats(formats: &[Format]) -> Vec<String> {
    let mut suffixes = Vec::new();
    for format in formats {
        let (bases, compresses): (&[&str], bool) = match format {
            Format::Csv => (&[".csv", ".tsv"], true),
            Format::Json => (&[".json"], true),
            Format::JsonLines => (&[".jsonl", ".ndjson"], true),
            Format::Avro => (&[".avro"], false),
            Format::Parquet => (&[".parquet"], false),
        };
        for base in bases {
            suffixes.push((*base).to_owned());
            if compresses {
                suffixes.extend([".gz", ".zst"].map(|c| format!("{base}{c}")));
            }
        }
    }
    suffixes
}

/// Judges a key; an empty list accepts everything. ASCII case does not count: `.CSV` is `.csv`.
///
/// # Errors
/// No suffix of the list fits.
pub fn judge(key: &ObjectKey, accepted: &[String]) -> Result<(), SuffixRefused> {
    let key = key.as_str().as_bytes();
    let fits = |suffix: &String| {
        let suffix = suffix.as_bytes();
        key.len() >= suffix.len() && key[key.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
    };
    if accepted.is_empty() || accepted.iter().any(fits) {
        return Ok(());
    }
    Err(SuffixRefused { accepted: accepted.to_vec() })
}
