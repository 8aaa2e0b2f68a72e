//! Every object-key pattern lakegate writes, in one place.
//!
//! ```text
//! curated/<dataset>/<hive partitions>/<dataset>-<shard>-<seq:012>-<hash8>.parquet
//! quarantine/<dataset>/<date>/<reason>/<run>.json       one letter
//! quarantine/<dataset>/<date>/<reason>/<run>.rows.jsonl its rows
//! dq-results/<dataset>/<date>/<batch>.json
//! replay/<name>.json                                     manifests dropped by hand
//! _staging/<dataset>/…                                   plans in progress, swept by age
//! _lakegate/…                                            contracts, registry, identity
//! ```

use object_store::path::Path;
use percent_encoding::percent_decode_str;

/// Characters Hive and Spark escape in partition values, beside controls (Hive's `FileUtils.escapePathName`).
const HIVE: &str = "\"#%'*/:=?\\{[]^";

/// What stands for null in a partition's path.
pub const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// `a=1/b=x%2Fy`: names and values escaped as Hive and Spark do; null and the empty text have no
/// name of their own in a path and share Hive's default partition.
pub fn partition_path(values: &[(&str, Option<&str>)]) -> String {
    let part = |(name, value): &(&str, Option<&str>)| {
        let value = match value.filter(|v| !v.is_empty()) {
            None => HIVE_NULL.to_owned(),
            // A value that spells Hive's null is still a value.
            Some(HIVE_NULL) => format!("%5F{}", &HIVE_NULL[1..]),
            Some(value) => hive_escape(value),
        };
        format!("{}={value}", hive_escape(name))
    };
    values.iter().map(part).collect::<Vec<_>>().join("/")
}

/// One name or value of a hive path. Only ASCII is escaped: Spark reads each escaped byte as a character.
pub fn hive_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_control() || HIVE.contains(c) {
            escaped.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The value behind an escaped one.
pub fn hive_unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A key of ours. The text is made of checked names, so it always parses.
pub fn key(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|_| Path::from(text))
}

/// The final file of one plan in one partition; `digest` is the content's, hex.
pub fn published_file(location: &str, partition: &str, dataset: &str, shard: u32, seq: u64, digest: &str) -> String {
    let name = format!("{dataset}-{shard}-{seq:012}-{}.parquet", &digest[..digest.len().min(8)]);
    [location.trim_matches('/'), partition, &name].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>().join("/")
}

/// A staged file: named by its content, so a rerun writes the same object.
pub fn staged_file(dataset: &str, batch: &str, digest: &str) -> String {
    format!("{}{digest}.parquet", staged_folder(dataset, batch))
}

/// Everything staged of one batch.
pub fn staged_folder(dataset: &str, batch: &str) -> String {
    format!("_staging/{dataset}/{}/", batch.replace('/', "-"))
}

/// Row letters of one object, staged by content.
pub fn staged_rows(dataset: &str, digest: &str) -> String {
    format!("_staging/{dataset}/rows/{digest}.jsonl")
}

/// A letter: one per object and stage; writing it again changes nothing.
pub fn letter(dataset: &str, date: &str, reason: &str, run: &str, stage: &str) -> String {
    format!("quarantine/{dataset}/{date}/{reason}/{run}.{stage}.json")
}

/// The rows a letter speaks of.
pub fn letter_rows(dataset: &str, date: &str, reason: &str, run: &str, stage: &str) -> String {
    format!("quarantine/{dataset}/{date}/{reason}/{run}.{stage}.rows.jsonl")
}

/// The quality report of one batch.
pub fn quality_report(dataset: &str, date: &str, batch: &str) -> String {
    format!("dq-results/{dataset}/{date}/{}.json", batch.replace('/', "-"))
}

/// One version of a contract.
pub fn contract(dataset: &str, hash: &str) -> String {
    format!("_lakegate/contracts/{dataset}/{hash}.json")
}

/// Where replay manifests are dropped.
pub const REPLAY_PREFIX: &str = "replay";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_ours_look_like_this() {
        assert_eq!(
            published_file("curated/orders/", "ingest_date=2026-01-02", "orders", 3, 41, "0123456789abcdef"),
            "curated/orders/ingest_date=2026-01-02/orders-3-000000000041-01234567.parquet"
        );
        assert_eq!(published_file("curated/orders", "", "orders", 0, 0, "ab"), "curated/orders/orders-0-000000000000-ab.parquet");
        assert_eq!(staged_file("orders", "orders/3/000000000041", "d"), "_staging/orders/orders-3-000000000041/d.parquet");
    }

    #[test]
    fn partitions_escape_as_hive_does() {
        let cases = [
            ("a", "a"),
            ("a/b", "a%2Fb"),
            ("x=y", "x%3Dy"),
            ("100%", "100%25"),
            ("2026-01-02", "2026-01-02"),
            ("a b", "a b"),
            ("c:d", "c%3Ad"),
            ("\u{7f}", "%7F"),
            ("..", ".."),
            ("Zürich", "Zürich"),
            ("\n\"'*?\\{[]^#", "%0A%22%27%2A%3F%5C%7B%5B%5D%5E%23"),
        ];
        for (value, escaped) in cases {
            assert_eq!(hive_escape(value), escaped);
        }
        assert_eq!(partition_path(&[("d", None), ("s", Some(""))]), "d=__HIVE_DEFAULT_PARTITION__/s=__HIVE_DEFAULT_PARTITION__");
        let spelled = partition_path(&[("d", Some(HIVE_NULL))]);
        assert_ne!(spelled, "d=__HIVE_DEFAULT_PARTITION__", "a value is not null because it spells it");
        assert_eq!(hive_unescape(&spelled["d=".len()..]), HIVE_NULL);
    }

    proptest! {
        #[test]
        fn escaping_round_trips_and_makes_one_segment(value in "\\PC*") {
            let escaped = hive_escape(&value);
            prop_assert!(!escaped.contains('/'));
            prop_assert_eq!(hive_unescape(&escaped), value);
        }
    }
}
