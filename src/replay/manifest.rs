//! The replay manifest: `{replayId, reason, dataset, files: [{bucket, key, versionId?}], options?}`.
//!
//! All faults are told at once, each with its path; unknown keys are refused.

use std::fmt;

use serde_json::Value;

use crate::domain::names::{BucketName, DatasetName, ObjectKey, ReplayId};
use crate::domain::object::ObjectRef;

/// Files of one manifest.
pub const FILES_MAX: usize = 100_000;
/// Bytes of one manifest: room for 100 000 long keys.
pub const BYTES_MAX: usize = 64 << 20;
/// Faults told of one manifest.
pub const FAULTS_MAX: usize = 100;
const REASON_MAX: usize = 1024;
const VERSION_ID_MAX: usize = 1024;

/// A checked manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub replay_id: ReplayId,
    /// Why, for the audit log.
    pub reason: String,
    pub dataset: DatasetName,
    /// In the manifest's order; never empty.
    pub files: Vec<ReplayFile>,
    pub options: ReplayOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayFile {
    pub object: ObjectRef,
    /// `None`: the version that is newest when the replay is planned.
    pub version_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Replaces what is published and takes over what is in flight. Default false.
    pub force: bool,
    /// Only tells what would happen. Default false.
    pub dry_run: bool,
    /// Leaves published files out of the replay. Default true.
    pub skip_if_published: bool,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self { force: false, dry_run: false, skip_if_published: true }
    }
}

/// One fault of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `files[3].key`; empty for the document itself.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// A manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the replay manifest has {} fault(s): {}", faults.len(), faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "))]
pub struct ManifestError {
    /// At most [`FAULTS_MAX`], in document order.
    pub faults: Vec<Fault>,
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault { path: path.into(), message: message.into() });
        }
    }

    fn text<'a>(&mut self, object: &'a serde_json::Map<String, Value>, key: &str, at: &str) -> Option<&'a str> {
        match object.get(key) {
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.add(at, format!("must be text, found {}", kind(other)));
                None
            }
            None => {
                self.add(at, "is missing");
                None
            }
        }
    }

    fn name<T: std::str::FromStr<Err: fmt::Display>>(&mut self, object: &serde_json::Map<String, Value>, key: &str, at: &str) -> Option<T> {
        let text = self.text(object, key, at)?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(e) => {
                self.add(at, e.to_string());
                None
            }
        }
    }

    fn unknown(&mut self, object: &serde_json::Map<String, Value>, known: &[&str], prefix: &str) {
        for key in object.keys().filter(|k| !known.contains(&k.as_str())) {
            let shown: String = key.chars().take(80).collect();
            self.add(format!("{prefix}{shown}"), format!("is not a key of a replay manifest; known are {}", known.join(", ")));
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// All faults at once; syntax faults stand alone, with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut faults = Faults(Vec::new());
        let parsed = parse(bytes, &mut faults);
        match parsed {
            Some(manifest) if faults.0.is_empty() => Ok(manifest),
            _ => Err(ManifestError { faults: faults.0 }),
        }
    }
}

fn parse(bytes: &[u8], faults: &mut Faults) -> Option<Manifest> {
    if bytes.len() > BYTES_MAX {
        faults.add("", format!("has {} bytes, at most {BYTES_MAX} are allowed", bytes.len()));
        return None;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(e) => {
            faults.add("", format!("is not JSON: {e}"));
            return None;
        }
    };
    let Value::Object(root) = value else {
        faults.add("", format!("must be an object, found {}", kind(&value)));
        return None;
    };
    faults.unknown(&root, &["replayId", "reason", "dataset", "files", "options"], "");
    let replay_id = faults.name(&root, "replayId", "replayId");
    let reason = faults.text(&root, "reason", "reason");
    if let Some(text) = reason
        && (text.trim().is_empty() || text.len() > REASON_MAX)
    {
        faults.add("reason", format!("must have 1 to {REASON_MAX} bytes"));
    }
    let dataset = faults.name(&root, "dataset", "dataset");
    let files = parse_files(root.get("files"), faults);
    let options = parse_options(root.get("options"), faults);
    Some(Manifest { replay_id: replay_id?, reason: reason?.to_owned(), dataset: dataset?, files, options })
}

fn parse_files(value: Option<&Value>, faults: &mut Faults) -> Vec<ReplayFile> {
    let list = match value {
        Some(Value::Array(list)) => list,
        Some(other) => {
            faults.add("files", format!("must be a list, found {}", kind(other)));
            return Vec::new();
        }
        None => {
            faults.add("files", "is missing");
            return Vec::new();
        }
    };
    if list.is_empty() || list.len() > FILES_MAX {
        faults.add("files", format!("has {} files, 1 to {FILES_MAX} are allowed", list.len()));
        return Vec::new();
    }
    let mut files = Vec::with_capacity(list.len());
    for (i, item) in list.iter().enumerate() {
        let Value::Object(file) = item else {
            faults.add(format!("files[{i}]"), format!("must be an object, found {}", kind(item)));
            continue;
        };
        faults.unknown(file, &["bucket", "key", "versionId"], &format!("files[{i}]."));
        let bucket: Option<BucketName> = faults.name(file, "bucket", &format!("files[{i}].bucket"));
        let key: Option<ObjectKey> = faults.name(file, "key", &format!("files[{i}].key"));
        let version_id = match file.get("versionId") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if (1..=VERSION_ID_MAX).contains(&text.len()) => Some(text.clone()),
            Some(_) => {
                faults.add(format!("files[{i}].versionId"), format!("must be text of 1 to {VERSION_ID_MAX} bytes"));
                None
            }
        };
        if let (Some(bucket), Some(key)) = (bucket, key) {
            files.push(ReplayFile { object: ObjectRef { bucket, key }, version_id });
        }
    }
    files
}

fn parse_options(value: Option<&Value>, faults: &mut Faults) -> ReplayOptions {
    let mut options = ReplayOptions::default();
    let object = match value {
        None | Some(Value::Null) => return options,
        Some(Value::Object(object)) => object,
        Some(other) => {
            faults.add("options", format!("must be an object, found {}", kind(other)));
            return options;
        }
    };
    faults.unknown(object, &["force", "dryRun", "skipIfPublished"], "options.");
    let mut flag = |name: &str, target: &mut bool| match object.get(name) {
        None => {}
        Some(Value::Bool(on)) => *target = *on,
        Some(other) => faults.add(format!("options.{name}"), format!("must be true or false, found {}", kind(other))),
    };
    flag("force", &mut options.force);
    flag("dryRun", &mut options.dry_run);
    flag("skipIfPublished", &mut options.skip_if_published);
    if options.force && object.get("skipIfPublished") == Some(&Value::Bool(true)) {
        faults.add("options", "force replaces what is published and skipIfPublished leaves it alone; choose one");
    }
    options
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<String> {
        Manifest::parse(text.as_bytes()).expect_err("it must be refused").faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn a_manifest_parses() {
        let text = r#"{"replayId":"fix-7","reason":"bad deploy","dataset":"orders",
            "files":[{"bucket":"raw","key":"landing/a b.csv"},{"bucket":"raw","key":"x","versionId":"v2"}],"options":{"force":true}}"#;
        let manifest = Manifest::parse(text.as_bytes()).expect("valid");
        assert_eq!(manifest.replay_id.as_str(), "fix-7");
        assert_eq!(manifest.files[0].object.to_string(), "raw/landing/a b.csv");
        assert_eq!(manifest.files[1].version_id.as_deref(), Some("v2"));
        assert_eq!(manifest.options, ReplayOptions { force: true, dry_run: false, skip_if_published: true });
    }

    #[test]
    fn all_faults_come_at_once_with_their_paths() {
        let text = r#"{"replayId":"a/b","dataset":"Orders","why":1,"files":[{"bucket":"","key":7,"etag":"x"},5,{"bucket":"b","key":"k","versionId":""}],
            "options":{"force":"yes","skip":true}}"#;
        let told = faults(text);
        for start in [
            "why: is not a key",
            "replayId: replay id \"a/b\" contains '/'",
            "reason: is missing",
            "dataset: dataset name",
            "files[0].etag: is not",
            "files[0].bucket: bucket name is empty",
            "files[0].key: must be text, found a number",
            "files[1]: must be an object, found a number",
            "files[2].versionId: must be",
            "options.skip: is not a key",
            "options.force: must be true or false, found text",
        ] {
            assert!(told.iter().any(|f| f.starts_with(start)), "{start:?} is not among {told:#?}");
        }
        assert_eq!(told.len(), 11);
    }

    #[test]
    fn documents_that_are_no_manifest_are_refused() {
        let head = r#""replayId":"r","reason":"x","dataset":"d""#;
        let cases = [
            (String::new(), "is not JSON"),
            ("[]".to_owned(), "must be an object, found a list"),
            (format!("{{{head}}}"), "files: is missing"),
            (format!("{{{head},\"files\":[]}}"), "files: has 0 files"),
            (format!("{{{head},\"files\":{{}}}}"), "files: must be a list"),
            ("[".repeat(100_000), "is not JSON"),
            (format!("{{{head},\"files\":[{}1]}}", "1,".repeat(FILES_MAX)), "files: has 100001 files"),
            (
                format!(
                    "{{{head},\"files\":[{{\"bucket\":\"b\",\"key\":\"k\"}}],\"options\":{{\"force\":true,\"skipIfPublished\":true}}}}"
                ),
                "options: force",
            ),
        ];
        for (text, start) in cases {
            let told = faults(&text);
            assert!(told[0].starts_with(start), "{start:?}: {told:?}");
        }
    }

    #[test]
    fn the_number_of_faults_is_bounded() {
        let many = "1,".repeat(5000);
        assert_eq!(faults(&format!(r#"{{"replayId":"r","reason":"x","dataset":"d","files":[{many}1]}}"#)).len(), FAULTS_MAX);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Err(e) = Manifest::parse(&bytes) {
                prop_assert!(!e.faults.is_empty());
            }
        }
    }
}
