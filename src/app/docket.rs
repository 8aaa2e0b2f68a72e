//! Which letters wait for somebody: folded from the audit log (what people decided) and the status rows of replays.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::app::query::{Query, QueryError};
use crate::app::view::{is_of_landing_record, uri};
use crate::broker::Record;
use crate::domain::position::{NextOffset, Partition};
use crate::pipeline::topics::Topic;
use crate::quarantine::verdict::{LetterState, Verdict};
use crate::wire::records::{ObjectStatus, QuarantineLetter};

/// Header of a verdict's line in the audit log; the letter is named by the header [`LETTER`].
pub(crate) const VERDICT: &str = "verdict";
pub(crate) const LETTER: &str = "letter";

/// Names a letter's object, version and run; all letters of one run on one version share a fate.
pub(crate) fn name_of(letter: &QuarantineLetter) -> String {
    name(&letter.bucket, &letter.key, &letter.token, &letter.run_id)
}

/// The name that the letters of this row's run have.
pub(crate) fn named_by(row: &ObjectStatus) -> u128 {
    hash(&name(&row.bucket, &row.key, &row.token, &row.run_id))
}

/// The letter that a line of the audit log closes for good.
pub(crate) fn discarded(record: &Record) -> Option<u128> {
    let is_discard = record.header(VERDICT).and_then(|word| word.parse().ok()) == Some(Verdict::Discard);
    record.header(LETTER).filter(|_| is_discard).map(hash)
}

fn name(bucket: &str, key: &str, token: &str, run_id: &str) -> String {
    format!("{}#{token}#{run_id}", uri(bucket, key))
}

fn hash(text: &str) -> u128 {
    xxh3_128(text.as_bytes())
}

fn version(bucket: &str, key: &str, token: &str) -> u128 {
    hash(&format!("{}#{token}", uri(bucket, key)))
}

/// What was made of the letters of one partition; some 50 bytes for each that was decided or replayed.
#[derive(Debug, Default)]
pub(crate) struct Docket {
    /// By letter; the last one counts.
    verdicts: HashMap<u128, Verdict>,
    /// By version: generation and run of the last replay that was admitted or refused.
    replayed: HashMap<u128, (i32, u128)>,
}

impl Docket {
    pub(crate) fn state(&self, letter: &QuarantineLetter) -> LetterState {
        let overtaken = self.replayed.get(&version(&letter.bucket, &letter.key, &letter.token));
        let is_overtaken = overtaken.is_some_and(|(generation, run)| *generation >= letter.generation && *run != hash(&letter.run_id));
        LetterState::of(self.verdicts.get(&hash(&name_of(letter))).copied(), is_overtaken)
    }
}

impl Query {
    /// # Errors
    /// Those of the log.
    pub(crate) async fn docket(&self, partition: Partition) -> Result<Docket, QueryError> {
        let mut docket = Docket::default();
        self.records(Topic::Lifecycle, partition, NextOffset(0), None, |record| {
            let verdict = record.header(VERDICT).and_then(|word| word.parse::<Verdict>().ok());
            if let (Some(verdict), Some(letter)) = (verdict, record.header(LETTER)) {
                docket.verdicts.insert(hash(letter), verdict);
            }
        })
        .await?;
        let codec = Arc::clone(&self.outlet.codec);
        self.records(Topic::Status, partition, NextOffset(0), None, |record| {
            // Only a replay overtakes a letter, and its rows say so in a header.
            if record.header("replay_id").is_none() {
                return;
            }
            let Some(row) = record.value.as_ref().and_then(|v| codec.decode::<ObjectStatus>(v).ok()) else { return };
            if is_of_landing_record(&row.status) {
                return;
            }
            let last = docket.replayed.entry(version(&row.bucket, &row.key, &row.token)).or_default();
            if last.0 <= row.generation {
                *last = (row.generation, hash(&row.run_id));
            }
        })
        .await?;
        Ok(docket)
    }
}
