//! One reading of a file: what classify observes, transform executes (decisions.md 38).
//!
//! Shared by the stages and by `lakegate check`, so that offline and online verdicts cannot differ.

use std::io::{self, Read};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{GetResult, GetResultPayload};
use serde::{Deserialize, Serialize};

use crate::contract::model::Contract;
use crate::domain::reason::ReasonCode;
use crate::format::block::{FileEvent, FileRefusal};
use crate::format::options::SourceOptions;
use crate::format::reader::{ReadError, open};
use crate::format::resolved::{ExpectedColumn, ExpectedKind, Hint, Resolved, Totals};
use crate::schema::drift::{Drift, DriftInput, RegisteredSchema, classify};
use crate::schema::observe::Observer;
use crate::schema::plan::ReadPlan;
use crate::schema::read::{RowCounts, TypedBlock, TypedReader};
use crate::schema::record::{DecisionRecord, DialectRecord, FileFacts, RowsRecord};
use crate::schema::shape::Shape;
use crate::stage::ahead::ahead;

/// A local object up to this size is held in memory instead of open: a plan may have thousands of members,
/// and a process may by default open a thousand files.
const HELD_BYTES_MAX: u64 = 512 << 10;

/// Content of an object, readable without awaiting.
pub enum Content {
    Bytes(io::Cursor<Bytes>),
    File(std::fs::File),
}

impl Content {
    /// A large local object is read from its file; what arrives as a stream is collected.
    pub async fn of(found: GetResult) -> Result<Self, object_store::Error> {
        match found.payload {
            GetResultPayload::File(mut file, _) if found.meta.size <= HELD_BYTES_MAX => {
                let mut whole = Vec::with_capacity(usize::try_from(found.meta.size).unwrap_or(0));
                let unread = |e| object_store::Error::Generic { store: "landing", source: Box::new(e) };
                file.read_to_end(&mut whole).map_err(unread)?;
                Ok(Content::Bytes(io::Cursor::new(whole.into())))
            }
            GetResultPayload::File(file, _) => Ok(Content::File(file)),
            GetResultPayload::Stream(stream) => {
                let chunks: Vec<Bytes> = stream.try_collect().await?;
                let whole = match <[Bytes; 1]>::try_from(chunks) {
                    Ok([one]) => one,
                    Err(chunks) => chunks.concat().into(),
                };
                Ok(Content::Bytes(io::Cursor::new(whole)))
            }
        }
    }
}

impl Read for Content {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::Bytes(cursor) => cursor.read(buf),
            Content::File(file) => file.read(buf),
        }
    }
}

/// How transform reads a file again: travels as the `read_plan` of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilePlan {
    pub resolved: Resolved,
    pub plan: ReadPlan,
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
        let sha256 = Some(self.totals.sha256.iter().map(|b| format!("{b:02x}")).collect());
        let facts = FileFacts { file: file.to_owned(), version_id, sha256, dataset: dataset.dataset.to_string(), dialect };
        DecisionRecord::new(facts, &self.drift, Some(RowsRecord::predicted(&self.drift)))
    }

    /// How to read the file; `None` when nothing of it lands.
    pub fn file_plan(&self) -> Option<FilePlan> {
        Some(FilePlan { resolved: self.resolved.clone(), plan: self.drift.plan.clone()? })
    }
}

/// What is asked of one file.
pub struct Question<'a> {
    pub contract: &'a Contract,
    pub registered: Option<&'a RegisteredSchema>,
    /// The registry refused what this file needs.
    pub evolution_refused: bool,
    pub key: &'a str,
}

/// Reads a file whole and decides its drift.
///
/// # Errors
/// `Refused` when nothing of the file can land, `Input` when it could not be read.
pub fn observe<R: Read + Send>(input: R, question: &Question<'_>) -> Result<Observed, ReadError> {
    let contract = question.contract;
    let shape = question.registered.map(|r| &r.shape);
    let expected = shape.map(|s| s.fields.iter().map(|f| ExpectedColumn { name: f.name.clone(), kind: kind(&f.shape) }).collect());
    let hint = Hint { expected, resolved: None, suffix: suffix(question.key) };
    let mut reader = open(input, &contract.source, &hint)?;
    let header = reader.resolved().header.clone();
    let mut observer = Observer::new(shape, &contract.schema, &contract.source, &header).map_err(|e| {
        ReadError::Refused(FileRefusal {
            reason: ReasonCode::ContractMissing,
            detail: format!("a rule of the contract cannot be used: {e}"),
        })
    })?;
    ahead(
        || reader.next_block(),
        |block| {
            observer.push(&block);
            Ok(())
        },
    )?;
    let observation = observer.finish();
    let (resolved, events, totals) = (reader.resolved().clone(), reader.events().to_vec(), reader.totals());
    let drift = classify(&DriftInput {
        registered: question.registered,
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

/// Reads a file by its plan, handing every block of typed rows to `each`.
///
/// # Errors
/// Those of reading; `Broken` when the plan does not fit the file or counts differ from what was observed.
pub fn read<R: Read + Send>(
    input: R,
    plan: &FilePlan,
    source: &SourceOptions,
    mut each: impl FnMut(TypedBlock) -> Result<(), String>,
) -> Result<RowCounts, PlannedError> {
    let hint = Hint { expected: None, resolved: Some(plan.resolved.clone()), suffix: None };
    let mut reader = open(input, source, &hint)?;
    let header = reader.resolved().header.clone();
    let mut typed = TypedReader::new(&plan.plan, &header).map_err(|e| PlannedError::Broken(e.to_string()))?;
    ahead(
        || {
            let Some(block) = reader.next_block()? else { return Ok(None) };
            typed.push(&block).map(Some).map_err(|e| PlannedError::Broken(e.to_string()))
        },
        |rows| each(rows).map_err(PlannedError::Broken),
    )?;
    let counts = typed.counts();
    if !counts.agree_with(&plan.plan) {
        return Err(PlannedError::Broken(format!("reading found {counts:?}, observing had found {:?}", plan.plan.expected)));
    }
    Ok(counts)
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
