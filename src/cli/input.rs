//! What a command reads: a file, standard input (`-`), or text on the command line. All bounded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::cli::exit::Usage;

/// Largest pattern, event or schema read.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Bytes of a file, or of standard input for `-`. One byte past `max` is read, so that whoever
/// judges the length sees that it is too long.
///
/// # Errors
/// [`Usage`] when it cannot be read.
pub fn bytes(path: &Path, max: u64) -> Result<Vec<u8>, Usage> {
    let failed = |e: std::io::Error| Usage(format!("{}: {e}", path.display()));
    let reader: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
    let mut read = Vec::new();
    reader.take(max.saturating_add(1)).read_to_end(&mut read).map_err(failed)?;
    Ok(read)
}

/// Text given outright (it starts like JSON), or of a file, or of standard input.
///
/// # Errors
/// [`Usage`] naming `flag` when it cannot be read, is not UTF-8 or too long.
pub fn text(given: &str, flag: &str) -> anyhow::Result<String> {
    if given.trim_start().starts_with(['{', '[', '"']) {
        return Ok(given.to_owned());
    }
    let read = bytes(Path::new(given), TEXT_BYTES_MAX).map_err(|e| Usage(format!("{flag}: {e}")))?;
    if read.len() as u64 > TEXT_BYTES_MAX {
        return Err(Usage(format!("{flag}: {given} is longer than {TEXT_BYTES_MAX} bytes")).into());
    }
    String::from_utf8(read).map_err(|_| Usage(format!("{flag}: {given} is not UTF-8 text")).into())
}

/// As [`text`], parsed.
///
/// # Errors
/// As [`text`]; also when it is not JSON.
pub fn json(given: &str, flag: &str) -> anyhow::Result<Value> {
    serde_json::from_str(&text(given, flag)?).map_err(|e| Usage(format!("{flag} is not JSON: {e}")).into())
}
