//! Objects that are no data: skipped and counted, not quarantined (drift.md §2.11).

use std::fmt;

use crate::domain::names::ObjectKey;

/// Why an object is ignored; the reason code is `ignored_object`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// A zero-byte object whose key ends in `/`.
    FolderMarker,
    /// `_SUCCESS`, written by Hadoop and Spark when a job ends.
    SuccessMarker,
    /// Anything below a `_temporary` folder: a job's unfinished work.
    TemporaryFolder,
    /// The file name begins with a dot.
    DotFile,
    /// `.tmp`: an upload that is not finished.
    TemporaryFile,
    /// `.crc`: Hadoop's checksum beside a file.
    Checksum,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ignored::FolderMarker => "a folder marker",
            Ignored::SuccessMarker => "a _SUCCESS marker",
            Ignored::TemporaryFolder => "below a _temporary folder",
            Ignored::DotFile => "a dot-file",
            Ignored::TemporaryFile => "a .tmp file",
            Ignored::Checksum => "a .crc file",
        })
    }
}

/// Judges a key; `size` in bytes where it is known. A `…/` key with bytes in it is no marker.
pub fn judge(key: &ObjectKey, size: Option<u64>) -> Option<Ignored> {
    let text = key.as_str();
    if text.ends_with('/') {
        return (size.unwrap_or(0) == 0).then_some(Ignored::FolderMarker);
    }
    let (folders, name) = text.rsplit_once('/').unwrap_or(("", text));
    if folders.split('/').any(|f| f == "_temporary") {
        return Some(Ignored::TemporaryFolder);
    }
    let ends =
        |suffix: &str| name.len() >= suffix.len() && name.as_bytes()[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes());
    match name {
        "_SUCCESS" => Some(Ignored::SuccessMarker),
        _ if name.starts_with('.') => Some(Ignored::DotFile),
        _ if ends(".tmp") => Some(Ignored::TemporaryFile),
        _ if ends(".crc") => Some(Ignored::Checksum),
        _ => None,
    }
}
