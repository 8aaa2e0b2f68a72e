//! Where a command writes: results to standard output, remarks and progress to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::cli::table::Table;

/// Standard output and error of one command; in tests, memory.
pub struct Out {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    /// Progress is shown only to a person.
    pub progress: bool,
}

impl Out {
    pub fn standard() -> Self {
        Self { stdout: Box::new(io::stdout()), stderr: Box::new(io::stderr()), progress: io::stderr().is_terminal() }
    }

    /// Writes to `stdout` and `stderr` as given; never shows progress.
    pub fn to(stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self { stdout, stderr, progress: false }
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// Those of writing; also a closed pipe, which [`crate::cli::main`] takes for a reader that has seen enough.
    pub fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(value)?;
        self.line(&line)
    }

    /// One line, or several.
    ///
    /// # Errors
    /// As [`Out::json`].
    pub fn line(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.stdout, "{text}")?;
        Ok(self.stdout.flush()?)
    }

    /// # Errors
    /// As [`Out::json`].
    pub fn table(&mut self, table: &Table) -> anyhow::Result<()> {
        self.stdout.write_all(table.render().as_bytes())?;
        Ok(self.stdout.flush()?)
    }

    /// A remark for people, on standard error; losing it fails nothing.
    pub fn note(&mut self, text: &str) {
        drop(writeln!(self.stderr, "{text}"));
    }

    /// Replaces the progress line; only on a terminal. The empty text clears it.
    pub fn progress(&mut self, text: &str) {
        if self.progress {
            drop(write!(self.stderr, "\r\x1b[2K{text}").and_then(|()| self.stderr.flush()));
        }
    }
}
