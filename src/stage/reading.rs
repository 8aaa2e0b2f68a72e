//! One reading of a file: what classify observes, transform executes (decisions.md 38).
//!
//! Shared by the stages and by `lakegate check`, so that offline and online verdicts cannot differ.

use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::{GetResult, GetResultPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::contract::model::{Contract, OnEmpty};
use crate::domain::reason::ReasonCode;
use crate::format::block::{FileEvent, FileRefusal};
use crate::format::options::{Compression, Encoding, Format, SourceOptions};
use crate::format::reader::{ReadError, open};
use crate::format::resolved::{ExpectedColumn, ExpectedKind, Hint, JsonStyle, Newline, Resolved, Totals};
use crate::schema::checks::RuleError;
use crate::schema::dedupe::Dedupe;
use crate::schema::drift::{Drift, DriftInput, RegisteredSchema, classify};
use crate::schema::observe::{Observer, Yardstick};
use crate::schema::options::OnBadRow;
use crate::schema::plan::{Expected, ReadPlan};
use crate::schema::read::{Origin, RowCounts, TypedBlock, TypedReader};
use crate::schema::record::{DecisionRecord, DialectRecord, FileFacts, RowsRecord};
use crate::schema::resolve::measured;
use crate::schema::shape::{Field, Shape};
use crate::schema::typing::Typing;
use crate::stage::ahead::ahead;
use crate::stage::spool::temporary;

/// A local object up to this size is held in memory instead of open: a plan may have thousands of members,
/// and a process may by default open a thousand files.
const HELD_BYTES_MAX: u64 = 512 << 10;

/// What arrives as a stream is held in memory up to this size: a larger one would be held whole by whoever reads it.
const STREAMED_BYTES_MAX: usize = 8 << 20;

/// Content of an object, readable without awaiting.
pub enum Content {
    Bytes(io::Cursor<Bytes>),
    File(std::fs::File),
}

impl Content {
    /// A large local object is read from its file; what arrives as a stream is collected first.
    pub async fn of(found: GetResult) -> Result<Self, object_store::Error> {
        match found.payload {
            GetResultPayload::File(mut file, _) if found.meta.size <= HELD_BYTES_MAX => {
                let mut whole = Vec::with_capacity(usize::try_from(found.meta.size).unwrap_or(0));
                let unread = |e| object_store::Error::Generic { store: "landing", source: Box::new(e) };
                file.read_to_end(&mut whole).map_err(unread)?;
                Ok(Content::Bytes(io::Cursor::new(whole.into())))
            }
            GetResultPayload::File(file, _) => Ok(Content::File(file)),
            GetResultPayload::Stream(stream) => streamed(stream, STREAMED_BYTES_MAX).await,
        }
    }
}

/// Collects a stream: in memory up to `bytes_max`, beyond that in a temporary file that has lost its name already.
async fn streamed(
    mut stream: BoxStream<'static, Result<Bytes, object_store::Error>>,
    bytes_max: usize,
) -> Result<Content, object_store::Error> {
    let unkept = |e: io::Error| object_store::Error::Generic { store: "landing", source: Box::new(e) };
    let (mut held, mut n_held, mut spool): (Vec<Bytes>, usize, Option<std::fs::File>) = (Vec::new(), 0, None);
    while let Some(chunk) = stream.try_next().await? {
        if let Some(file) = &mut spool {
            file.write_all(&chunk).map_err(unkept)?;
            continue;
        }
        n_held += chunk.len();
        held.push(chunk);
        if n_held > bytes_max {
            let (mut file, path) = temporary().map_err(unkept)?;
            std::fs::remove_file(&path).map_err(unkept)?;
            held.drain(..).try_for_each(|chunk| file.write_all(&chunk)).map_err(unkept)?;
            spool = Some(file);
        }
    }
    if let Some(mut file) = spool {
        file.rewind().map_err(unkept)?;
        return Ok(Content::File(file));
    }
    let whole = match <[Bytes; 1]>::try_from(held) {
        Ok([one]) => one,
        Err(chunks) => chunks.concat().into(),
    };
    Ok(Content::Bytes(io::Cursor::new(whole)))
}

impl Read for Content {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::Bytes(cursor) => cursor.read(buf),
            Content::File(file) => file.read(buf),
        }
    }
}

/// How transform reads a file again: travels as the `read_plan` of records, the same for all files that are read alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilePlan {
    pub resolved: Resolved,
    pub plan: ReadPlan,
}

impl FilePlan {
    /// Its text, without how many rows are expected of this one file: records say that beside it.
    pub fn text(mut self) -> String {
        let Expected { quarantined, .. } = self.plan.expected;
        self.plan.expected = Expected { physical: 0, quarantined: quarantined.map(|_| 0) };
        serde_json::to_string(&self).expect("a plan is plain data with text keys")
    }
}

/// What one pass over a file found, and what follows from it.
pub struct Observed {
    pub drift: Drift,
    pub resolved: Resolved,
    pub events: Vec<FileEvent>,
    pub totals: Totals,
}

impl Observed {
    /// The decision record of the file (drift.md §2.8), with the rows as predicted.
    pub fn record(&self, file: &str, version_id: Option<String>, dataset: &Contract) -> DecisionRecord {
        let dialect = self.resolved.csv.as_ref().map(|csv| {
            let declared = dataset.source.csv.declared.as_ref().map(|d| d.delimiter.clone()).filter(|d| *d != csv.delimiter);
            DialectRecord {
                delimiter: csv.delimiter.clone(),
                expected: declared,
                encoding: self.resolved.encoding.as_str().to_owned(),
                header: csv.header,
            }
        });
        let sha256 = Some(hex::encode(self.totals.sha256));
        let facts = FileFacts { file: file.to_owned(), version_id, sha256, dataset: dataset.dataset.to_string(), dialect };
        DecisionRecord::new(facts, &self.drift, Some(RowsRecord::predicted(&self.drift)))
    }

    /// How to read the file; `None` when nothing of it lands.
    pub fn file_plan(&self) -> Option<FilePlan> {
        Some(FilePlan { resolved: self.resolved.clone(), plan: self.drift.plan.clone()? })
    }
}

/// What files of a contract are compared with while one version of its schema is registered.
pub struct Against {
    registered: Option<RegisteredSchema>,
    yardstick: Arc<Yardstick>,
    /// Registered columns in order: the prior of detection.
    expected: Option<Arc<[ExpectedColumn]>>,
}

impl Against {
    /// # Errors
    /// A rule of the contract cannot be used; lint finds it first.
    pub fn new(contract: &Contract, registered: Option<RegisteredSchema>) -> Result<Self, FileRefusal> {
        let shape = registered.as_ref().map(|r| &r.shape);
        let yardstick = Yardstick::new(shape, &contract.schema, &contract.source).map_err(|e| unusable(&e))?;
        let column = |f: &Field| ExpectedColumn { name: f.name.clone(), kind: kind(&f.shape) };
        let expected = shape.map(|s| measured(s, &contract.schema.resolve).fields.iter().map(column).collect());
        Ok(Self { yardstick: Arc::new(yardstick), expected, registered })
    }
}

fn unusable(rule: &RuleError) -> FileRefusal {
    FileRefusal { reason: ReasonCode::ContractMissing, detail: format!("a rule of the contract cannot be used: {rule}") }
}

/// What is asked of one file.
pub struct Question<'a> {
    pub contract: &'a Contract,
    pub against: &'a Against,
    /// The registry refused what this file needs.
    pub evolution_refused: bool,
    pub key: &'a str,
}

/// Reads a file whole and decides its drift.
///
/// # Errors
/// `Refused` when nothing of the file can land, `Input` when it could not be read.
pub fn observe<R: Read + Send>(input: R, question: &Question<'_>) -> Result<Observed, ReadError> {
    match question.contract.on_empty {
        None => observe_as(input, question, None),
        Some(OnEmpty::Accept) => observe_or_nothing(input, question),
        Some(OnEmpty::Quarantine) => {
            let observed = observe_as(input, question, None)?;
            if observed.totals.physical_rows > 0 {
                return Ok(observed);
            }
            let detail = "there is no row in the file, and the contract says on_empty: quarantine".to_owned();
            Err(ReadError::Refused(FileRefusal { reason: ReasonCode::EmptyFile, detail }))
        }
    }
}

/// `on_empty: accept`: a file with nothing in it counts as an empty list of records.
fn observe_or_nothing<R: Read + Send>(input: R, question: &Question<'_>) -> Result<Observed, ReadError> {
    let mut digested = Digested { input, sha256: Sha256::new(), bytes: 0 };
    let refusal = match observe_as(&mut digested, question, None) {
        Err(ReadError::Refused(refusal)) if refusal.reason == ReasonCode::EmptyFile => refusal,
        observed => return observed,
    };
    // White space was given up before its end: what follows may be content.
    if io::copy(&mut digested, &mut io::sink()).map_err(ReadError::Input)? > 0 {
        return Err(ReadError::Refused(refusal));
    }
    let mut observed = observe_as(b"[]".as_slice(), question, Some(EMPTY_LIST))?;
    let (stored_bytes, sha256) = (digested.bytes, digested.sha256.finalize().into());
    observed.totals = Totals { stored_bytes, sha256, ..Totals::default() };
    Ok(observed)
}

const EMPTY_LIST: Resolved = Resolved {
    format: Format::Json,
    compression: Compression::None,
    encoding: Encoding::Utf8,
    csv: None,
    header: Vec::new(),
    newline: Newline::Lf,
    skipped_lines: 0,
    skipped_bytes: 0,
    trailing_delimiter: false,
    json: Some(JsonStyle::Array),
};

/// Digests what passes: the reader of a file that turns out to be empty is gone before it could tell.
struct Digested<R> {
    input: R,
    sha256: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.sha256.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

/// `resolved`: read exactly so, nothing is detected.
fn observe_as<R: Read + Send>(input: R, question: &Question<'_>, resolved: Option<Resolved>) -> Result<Observed, ReadError> {
    let Question { contract, against, .. } = question;
    let suffix = if resolved.is_none() { suffix(question.key) } else { None };
    let hint = Hint { expected: against.expected.clone(), resolved, suffix };
    let mut reader = open(input, &contract.source, &hint)?;
    let observer = Observer::new(&against.yardstick, &reader.resolved().header);
    let mut observer = observer.map_err(|e| ReadError::Refused(unusable(&e)))?;
    ahead(
        || reader.next_block(),
        |block| {
            observer.push(&block);
            Ok(())
        },
    )?;
    let observation = observer.finish();
    let (resolved, totals) = (reader.resolved().clone(), reader.totals());
    // What was not detected is no surprise.
    let events = if hint.resolved.is_some() { Vec::new() } else { reader.events().to_vec() };
    let drift = classify(&DriftInput {
        registered: against.registered.as_ref(),
        pending: None,
        options: &contract.schema,
        null_tokens: &contract.source.csv.null_tokens,
        observation: &observation,
        events: &events,
        evolution_refused: question.evolution_refused,
    });
    Ok(Observed { drift, resolved, events, totals })
}

/// Why a planned reading failed.
#[derive(Debug, thiserror::Error)]
pub enum PlannedError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The plan does not fit the file any more: a broken promise of ours.
    #[error("{0}")]
    Broken(String),
}

/// A file plan made ready, for all files that share it.
pub struct Planned {
    file: FilePlan,
    typing: Arc<Typing>,
}

impl Planned {
    /// # Errors
    /// `Broken` when this program cannot execute the plan.
    pub fn new(file: FilePlan) -> Result<Self, PlannedError> {
        let typing = Typing::new(&file.plan).map_err(|e| PlannedError::Broken(e.to_string()))?;
        Ok(Self { file, typing: Arc::new(typing) })
    }

    pub fn plan(&self) -> &ReadPlan {
        &self.file.plan
    }

    /// Reads a file of which `expected` was observed, handing every block of typed rows to `each`. With `seen`,
    /// duplicates are looked for there, and the file's rows are added to it.
    ///
    /// # Errors
    /// Those of reading; `Broken` when the plan does not fit the file or counts differ from what was observed.
    pub fn read<R: Read + Send>(
        &self,
        input: R,
        expected: &Expected,
        source: &SourceOptions,
        seen: &mut Option<Dedupe>,
        mut each: impl FnMut(&TypedBlock, Origin<'_>) -> Result<(), String>,
    ) -> Result<RowCounts, PlannedError> {
        let hint = Hint { expected: None, resolved: Some(self.file.resolved.clone()), suffix: None };
        let mut reader = match open(input, source, &hint) {
            // It was accepted as empty, and still is.
            Err(ReadError::Refused(r)) if r.reason == ReasonCode::EmptyFile && expected.physical == 0 => {
                return Ok(RowCounts::default());
            }
            opened => opened?,
        };
        let header = &reader.resolved().header;
        let mut typed = TypedReader::new(&self.typing, header, expected.physical).map_err(|e| PlannedError::Broken(e.to_string()))?;
        let is_shared = seen.is_some();
        if let Some(dedupe) = seen.take() {
            typed.share(dedupe);
        }
        let source_text = self.typing.source_text();
        ahead(
            || {
                let Some(block) = reader.next_block()? else { return Ok(None) };
                let cast = self.typing.cast(&block);
                Ok(Some((block, cast)))
            },
            |(block, cast)| {
                let rows = typed.settle(&block, cast).map_err(|e| PlannedError::Broken(e.to_string()))?;
                each(&rows, &|row_idx| source_text.origin(&block, &rows, row_idx)).map_err(PlannedError::Broken)
            },
        )?;
        let counts = typed.counts();
        if is_shared {
            *seen = typed.into_dedupe();
        }
        if !counts.agree_with(expected) {
            return Err(PlannedError::Broken(format!("reading found {counts:?}, observing had found {expected:?}")));
        }
        Ok(counts)
    }
}

/// Why a file does not land though classify let it pass: it could not know of duplicates and of rows that
/// `derive` refuses, and too many are bad (decisions.md 27).
pub fn late_refusal(contract: &Contract, counts: &RowCounts, derive_failed: u64) -> Option<(ReasonCode, String)> {
    let all = RowCounts { quarantined: counts.quarantined + derive_failed, ..*counts };
    let strict = derive_failed > 0 && contract.schema.on_bad_row == OnBadRow::RejectFile;
    if !strict && !all.is_beyond(contract.schema.policy.max_bad_row_ratio) {
        return None;
    }
    let reason = if derive_failed > counts.by_duplicates { ReasonCode::DeriveFailed } else { ReasonCode::DuplicateRows };
    Some((reason, format!("{} of {} rows are bad, conflicting or refused by derive", all.quarantined, all.physical)))
}

fn kind(shape: &Shape) -> ExpectedKind {
    match shape {
        Shape::Boolean => ExpectedKind::Boolean,
        Shape::String | Shape::Enum(_) => ExpectedKind::String,
        Shape::Date | Shape::Timestamp { .. } => ExpectedKind::Temporal,
        shape if shape.is_numeric() => ExpectedKind::Number,
        _ => ExpectedKind::Other,
    }
}

/// Everything from the first dot of the last segment.
fn suffix(key: &str) -> Option<String> {
    let name = key.rsplit('/').next()?;
    name.find('.').map(|at| name[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::contract::parse::parse;
    use crate::schema::avro::record_from_text;

    const AVRO: &str = r#"{"type":"record","name":"A","fields":[{"name":"id","type":"long"}]}"#;

    /// Rows of a file, or why it is refused; observed and read again.
    fn told(words: &str, bytes: &[u8], registered: Option<RegisteredSchema>) -> Result<u64, ReasonCode> {
        let contract =
            parse("c.yaml", &format!("dataset: a\nsource: {{ formats: [csv] }}\nschema: {{ identity: [id] }}\n{words}\n")).unwrap();
        let against = Against::new(&contract, registered).unwrap();
        let question = Question { contract: &contract, against: &against, evolution_refused: false, key: "in/a.csv" };
        let observed = match observe(bytes, &question) {
            Ok(observed) => observed,
            Err(ReadError::Refused(r)) => return Err(r.reason),
            Err(ReadError::Input(e)) => panic!("{e}"),
        };
        assert_eq!(observed.totals.stored_bytes, bytes.len() as u64);
        assert_eq!(observed.totals.sha256, <[u8; 32]>::from(Sha256::digest(bytes)));
        let Some(plan) = observed.file_plan() else { return Err(observed.drift.reason) };
        let mut rows = 0;
        let expected = plan.plan.expected;
        let counts = Planned::new(plan).unwrap().read(bytes, &expected, &contract.source, &mut None, |block, _| {
            rows += block.batch.num_rows() as u64;
            Ok(())
        });
        assert_eq!(counts.unwrap().physical, rows);
        Ok(rows)
    }

    #[tokio::test]
    async fn a_stream_is_the_same_held_and_spooled() {
        let chunks: Vec<Bytes> = (0..50u8).map(|n| vec![n; 100].into()).collect();
        let whole = chunks.concat();
        for bytes_max in [0, 99, 100, 4_999, 5_000, 1 << 20] {
            let stream = futures::stream::iter(chunks.clone().into_iter().map(Ok)).boxed();
            let mut content = streamed(stream, bytes_max).await.unwrap();
            assert_eq!(matches!(content, Content::File(_)), bytes_max < whole.len(), "{bytes_max}");
            let mut read = Vec::new();
            content.read_to_end(&mut read).unwrap();
            assert_eq!(read, whole);
        }
        let broken = futures::stream::iter([
            Ok(vec![1; 10].into()),
            Err(object_store::Error::NotImplemented { operation: String::new(), implementer: String::new() }),
        ]);
        assert!(streamed(broken.boxed(), 5).await.is_err());
    }

    /// A batch of a thousand files carried a thousand plans: each said how many rows its file has.
    #[test]
    fn files_that_are_read_alike_share_the_text_of_their_plan() {
        let contract = parse("c.yaml", "dataset: a\nsource: { formats: [csv] }\n").unwrap();
        let registered = RegisteredSchema { version: 1, shape: record_from_text(AVRO).unwrap() };
        let against = Against::new(&contract, Some(registered)).unwrap();
        let plan = |bytes: &[u8]| {
            let question = Question { contract: &contract, against: &against, evolution_refused: false, key: "in/a.csv" };
            observe(bytes, &question).unwrap().file_plan().unwrap()
        };
        let (one, two) = (plan(b"id\n1\n"), plan(b"id\n2\n3\n"));
        assert_ne!(one, two, "of one file, the plan says what is expected");
        let expected = two.plan.expected;
        assert_eq!(one.text(), two.text());
        let shared = Planned::new(serde_json::from_str(&plan(b"id\n1\n").text()).unwrap()).unwrap();
        let read = |bytes: &[u8]| shared.read(bytes, &expected, &contract.source, &mut None, |_, _| Ok(()));
        assert_eq!(read(b"id\n2\n3\n").unwrap().landed, 2);
        assert!(matches!(read(b"id\n2\n"), Err(PlannedError::Broken(_))), "another file than the one that was observed");
    }

    #[test]
    fn empty_files_are_judged_by_the_word_of_the_contract() {
        let empty = Err(ReasonCode::EmptyFile);
        let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let registered = RegisteredSchema { version: 1, shape: record_from_text(AVRO).unwrap() };
        for registered in [None, Some(registered)] {
            for (what, bytes, plain, accept, quarantine) in [
                ("no bytes", b"".as_slice(), empty, Ok(0), empty),
                ("nothing in gzip", gzip, empty, Ok(0), empty),
                ("white space", b" \n\n", empty, Ok(0), empty),
                ("a header", b"id\n", Ok(0), Ok(0), empty),
                ("a row", b"id\n1\n", Ok(1), Ok(1), Ok(1)),
            ] {
                for (words, expected) in [("", plain), ("on_empty: accept", accept), ("on_empty: quarantine", quarantine)] {
                    assert_eq!(told(words, bytes, registered.clone()), expected, "{what}, {words:?}, {}", registered.is_some());
                }
            }
        }
    }
}
