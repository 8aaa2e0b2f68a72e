//! Row letters of one object while they are written: JSON Lines in a sink, samples and counts beside it.

use std::collections::BTreeMap;
use std::io::Write;

use crate::quarantine::row::{RowFinding, RowLetter};
use crate::schema::read::BadRow;
use crate::stage::spool::{Sink, Written};
use crate::wire::records::Admitted;

/// Rows of an object's letter that travel in the record itself.
const SAMPLES_MAX: usize = 20;

/// A longer letter is not sampled.
const SAMPLE_BYTES_MAX: usize = 4096;

/// An object's row letters, written.
pub struct Letters {
    pub written: Written,
    pub samples: Vec<String>,
    /// Rows by reason.
    pub reasons: BTreeMap<String, i64>,
}

impl Letters {
    pub fn rows(&self) -> i64 {
        self.reasons.values().sum()
    }
}

/// An object's row letters, being written.
pub struct LetterBook {
    /// `bucket/key`.
    file: String,
    sink: Sink,
    samples: Vec<String>,
    reasons: BTreeMap<String, i64>,
}

impl LetterBook {
    pub fn new(object: &Admitted) -> Self {
        Self { file: format!("{}/{}", object.bucket, object.key), sink: Sink::default(), samples: Vec::new(), reasons: BTreeMap::new() }
    }

    /// `bucket/key` of the object.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// A row that reading refused.
    ///
    /// # Errors
    /// The sink cannot take more.
    pub fn add(&mut self, row: &BadRow) -> Result<(), String> {
        let path = Some(row.path.clone()).filter(|p| !p.is_empty());
        let finding = RowFinding { reason: row.reason, detail: row.detail.clone(), path };
        self.put(&RowLetter::new(&self.file, Some(row.place), &row.source, finding))
    }

    /// # Errors
    /// The sink cannot take more.
    pub fn put(&mut self, letter: &RowLetter) -> Result<(), String> {
        let mut line = Vec::new();
        letter.write_line(&mut line);
        *self.reasons.entry(letter.reason().as_str().to_owned()).or_default() += 1;
        self.sink.write_all(&line).map_err(|e| format!("row letters: {e}"))?;
        if self.samples.len() < SAMPLES_MAX && line.len() <= SAMPLE_BYTES_MAX {
            self.samples.push(letter.json().to_string());
        }
        Ok(())
    }

    /// `None`: there was no letter.
    ///
    /// # Errors
    /// The sink cannot be finished.
    pub fn finish(self) -> Result<Option<Letters>, String> {
        if self.sink.is_empty() {
            return Ok(None);
        }
        let written = self.sink.finish().map_err(|e| format!("row letters: {e}"))?;
        Ok(Some(Letters { written, samples: self.samples, reasons: self.reasons }))
    }
}
