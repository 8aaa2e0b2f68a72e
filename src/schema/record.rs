//! The decision record (drift.md §2.8): one per file, also for clean files. A serde twin of [`Drift`].

use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::finding::Finding;

/// Version of the record's own format (decisions.md 24).
pub const RECORD_VERSION: u32 = 1;

/// What the caller knows about the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileFacts {
    /// URL or path, as it should be shown.
    pub file: String,
    pub version_id: Option<String>,
    /// Hex of the stored bytes' digest.
    pub sha256: Option<String>,
    pub dataset: String,
    /// Of text tables.
    pub dialect: Option<DialectRecord>,
}

/// The decision about one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    pub record_version: u32,
    pub file: String,
    pub version_id: Option<String>,
    pub sha256: Option<String>,
    pub dataset: String,
    pub registered_version: Option<u32>,
    pub dialect: Option<DialectRecord>,
    pub findings: Vec<FindingRecord>,
    pub kinds: Vec<String>,
    pub breaking: bool,
    pub action: String,
    pub reason: String,
    pub new_version: Option<u32>,
    /// `None`: only a schema was observed.
    pub rows: Option<RowsRecord>,
    pub raw_columns: Vec<String>,
    pub rename_candidates: Vec<RenameRecord>,
}

/// The dialect a text table was read in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialectRecord {
    pub delimiter: String,
    /// The declared delimiter, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    pub encoding: String,
    pub header: bool,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRecord {
    pub code: String,
    pub kind: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub evidence: EvidenceRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_bit: Option<String>,
    pub breaking: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hard: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub announced: bool,
    pub action: String,
    pub reason: String,
}

/// What a finding rests on; keys that do not apply are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EvidenceRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_null: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inferred: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `physical = landed + quarantined + deduplicated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowsRecord {
    pub physical: u64,
    pub landed: u64,
    pub quarantined: u64,
    pub deduplicated: u64,
}

/// A rename hint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenameRecord {
    pub from: String,
    pub to: String,
    /// Two digits are enough for a hint.
    pub score: f64,
    pub because: String,
}

impl RowsRecord {
    /// Before anything was read: nothing is deduplicated yet, and of a rejected file every row counts
    /// as quarantined.
    pub fn predicted(drift: &Drift) -> Self {
        let landed = if drift.plan.is_some() { drift.physical_rows - drift.quarantined_rows.min(drift.physical_rows) } else { 0 };
        let quarantined = if drift.plan.is_some() { drift.quarantined_rows } else { drift.physical_rows };
        Self { physical: drift.physical_rows, landed, quarantined, deduplicated: 0 }
    }
}

impl DecisionRecord {
    /// `rows`: counted by reading, or [`RowsRecord::predicted`].
    pub fn new(facts: FileFacts, drift: &Drift, rows: Option<RowsRecord>) -> Self {
        debug_assert!(
            rows.is_none_or(|r| r.physical == r.landed + r.quarantined + r.deduplicated),
            "every record lands, is quarantined or is deduplicated"
        );
        let renames = drift.rename_candidates.iter().map(|c| RenameRecord {
            from: c.from.clone(),
            to: c.to.clone(),
            score: (c.score * 100.0).round() / 100.0,
            because: c.because.clone(),
        });
        Self {
            record_version: RECORD_VERSION,
            file: facts.file,
            version_id: facts.version_id,
            sha256: facts.sha256,
            dataset: facts.dataset,
            registered_version: drift.registered_version,
            dialect: facts.dialect,
            findings: drift.findings.iter().map(FindingRecord::from).collect(),
            kinds: drift.kinds.iter().map(|k| k.as_str().to_owned()).collect(),
            breaking: drift.breaking,
            action: drift.action.as_str().to_owned(),
            reason: drift.reason.as_str().to_owned(),
            new_version: drift.new_version,
            rows,
            raw_columns: drift.raw_columns.clone(),
            rename_candidates: renames.collect(),
        }
    }
}

impl From<&Finding> for FindingRecord {
    fn from(f: &Finding) -> Self {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            code: f.code.as_str().to_owned(),
            kind: f.kind.as_str().to_owned(),
            path: f.path.clone(),
            from: some(&f.from),
            to: some(&f.to),
            evidence: EvidenceRecord {
                rows: f.evidence.rows,
                bad: f.evidence.bad,
                non_null: f.evidence.non_null,
                inferred: f.evidence.inferred.clone(),
                example: f.evidence.example.clone(),
                row: f.evidence.row,
                detail: f.evidence.detail.clone(),
            },
            policy_bit: f.policy_bit.clone(),
            breaking: f.breaking,
            hard: f.hard,
            announced: f.announced,
            action: f.action.as_str().to_owned(),
            reason: f.reason.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::options::SourceOptions;
    use crate::schema::options::SchemaOptions;
    use crate::schema::testing::{record, run, text_file};

    #[test]
    fn the_record_of_the_specification_comes_out() {
        let rows: Vec<String> = (0..50).map(|i| format!("{i}|7.00|r{i}")).collect();
        let file = text_file("visit_id|pages|referrer", &rows);
        let out = run(Some(&record("visit_id:long! pages:int?")), None, &SchemaOptions::default(), &SourceOptions::default(), &file);
        let facts = FileFacts { file: "visits_0001.csv".to_owned(), dataset: "visits".to_owned(), ..FileFacts::default() };
        let decision = DecisionRecord::new(facts, &out.drift, Some(RowsRecord::predicted(&out.drift)));
        let text = serde_json::to_string(&decision).expect("plain data");
        let expected = concat!(
            r#"{"record_version":1,"file":"visits_0001.csv","version_id":null,"sha256":null,"dataset":"visits","registered_version":7,"dialect":null,"#,
            r#""findings":[{"code":"TY6a","kind":"type","path":"pages","from":"int","to":"decimal text","#,
            r#""evidence":{"rows":50,"bad":0,"non_null":50,"example":"7.00","row":0},"#,
            r#""policy_bit":"allow_type_coercion=limited","breaking":false,"action":"coerce","reason":"type_drift_safe"},"#,
            r#"{"code":"AD1","kind":"additive","path":"referrer","from":"absent","to":"string","#,
            r#""evidence":{"rows":50,"non_null":50,"inferred":"string","example":"r0","row":0},"#,
            r#""policy_bit":"allow_additive_columns=true","breaking":false,"action":"accept_and_evolve","reason":"additive_column"}],"#,
            r#""kinds":["type","additive"],"breaking":false,"action":"accept_and_evolve","reason":"additive_column","new_version":8,"#,
            r#""rows":{"physical":50,"landed":50,"quarantined":0,"deduplicated":0},"raw_columns":[],"rename_candidates":[]}"#,
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<DecisionRecord>(&text).expect("reads back"), decision);
    }
}
