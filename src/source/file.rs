//! A file of notifications on local disk, one JSON document a line, read on as it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::event::ParseOptions;
use crate::source::landing::Notice;

/// Bytes of one line; a longer one is refused and skipped.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes read at a time: more than one line, so that every reading gets on.
const CHUNK_BYTES: usize = 4 << 20;
/// A page takes no further line once it has this many events.
const PAGE_EVENTS: usize = 1_000;

/// The file, named by the configuration and never by a key.
#[derive(Debug, Clone)]
pub struct NoticeFile {
    pub path: PathBuf,
    pub options: ParseOptions,
}

/// How far the file is read; committed by the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Byte offset of the next line.
    pub at: u64,
    /// The line at the cursor was refused as too long; the rest of it is skipped.
    pub skipping: bool,
}

/// What a page holds, in the order of the file.
#[derive(Debug, Clone)]
pub enum Item {
    Notice {
        at: u64,
        raw: Vec<u8>,
        notice: Notice,
    },
    /// A line that is too long: its first bytes.
    TooLong {
        at: u64,
        raw: Vec<u8>,
    },
}

/// One piece of the file.
#[derive(Debug, Clone, Default)]
pub struct FilePage {
    pub from: Cursor,
    pub next: Cursor,
    pub items: Vec<Item>,
    /// The file has been read to its end.
    pub last: bool,
    /// An unfinished line stands at the end: its bytes, at most [`LINE_BYTES_MAX`].
    pub torn: Option<Vec<u8>>,
}

impl NoticeFile {
    /// Reads on from a cursor. Blocking. A file that is not there yet is empty; one that became
    /// shorter is another file and read from its start.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn page(&self, from: Cursor) -> io::Result<FilePage> {
        let Some((chunk, start, at_end)) = chunk(&self.path, from.at)? else {
            return Ok(FilePage { from, next: from, last: true, ..FilePage::default() });
        };
        let skipping = from.skipping && start == from.at;
        let mut page = FilePage { from, ..FilePage::default() };
        let mut split = Split { bytes: &chunk, at: 0, at_end, skipping };
        let (mut n_events, mut full) = (0, false);
        while let Some(piece) = split.next() {
            match piece {
                Piece::Line { at, line } => {
                    let notice = Notice::read(line, &self.options);
                    n_events += notice.events.len();
                    page.items.push(Item::Notice { at: start + at as u64, raw: kept(line), notice });
                }
                Piece::TooLong { at, line } => page.items.push(Item::TooLong { at: start + at as u64, raw: kept(line) }),
            }
            if n_events >= PAGE_EVENTS {
                full = true;
                break;
            }
        }
        let rest = &chunk[split.at..];
        page.next = Cursor { at: start + split.at as u64, skipping: split.skipping };
        page.last = at_end && (!full || rest.is_empty());
        page.torn = (page.last && !rest.is_empty()).then(|| rest.to_vec());
        Ok(page)
    }
}

/// What is kept of a line for its letter.
fn kept(line: &[u8]) -> Vec<u8> {
    line[..line.len().min(crate::stage::letters::RAW_BYTES_MAX)].to_vec()
}

/// Bytes from `at` on, where they start, and whether the file ends with them.
fn chunk(path: &Path, at: u64) -> io::Result<Option<(Vec<u8>, u64, bool)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let len = file.metadata()?.len();
    let start = if len < at { 0 } else { at };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
    let at_end = bytes.len() < CHUNK_BYTES;
    Ok(Some((bytes, start, at_end)))
}

/// Lines of a chunk.
struct Split<'b> {
    bytes: &'b [u8],
    at: usize,
    at_end: bool,
    skipping: bool,
}

enum Piece<'b> {
    Line { at: usize, line: &'b [u8] },
    TooLong { at: usize, line: &'b [u8] },
}

impl<'b> Split<'b> {
    /// The next line; `None` when none is complete. Blank lines are passed over.
    fn next(&mut self) -> Option<Piece<'b>> {
        loop {
            let at = self.at;
            let rest = &self.bytes[at..];
            let (line, complete) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], true),
                None => (rest, false),
            };
            if self.skipping {
                self.at += line.len() + usize::from(complete);
                self.skipping = !complete;
                if !complete {
                    return None;
                }
                continue;
            }
            if line.len() > LINE_BYTES_MAX {
                self.at += line.len() + usize::from(complete);
                self.skipping = !complete;
                return Some(Piece::TooLong { at, line });
            }
            // A last line without a line break counts once it is a whole document: no part of one is.
            if !complete && !(self.at_end && (is_blank(line) || is_document(line))) {
                return None;
            }
            if !complete && line.is_empty() {
                return None;
            }
            self.at += line.len() + usize::from(complete);
            if !is_blank(line) {
                return Some(Piece::Line { at, line });
            }
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

fn is_document(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CREATED: &str = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"in/a.csv","size":9,"eTag":"e"}}}]}"#;

    fn file(content: impl AsRef<[u8]>) -> (tempfile::TempDir, NoticeFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notices.jsonl");
        std::fs::write(&path, content).unwrap();
        (folder, NoticeFile { path, options: ParseOptions::default() })
    }

    /// Events, faults and over-long lines of the whole file, and the last page.
    fn read_all(file: &NoticeFile) -> (usize, usize, usize, FilePage) {
        let (mut events, mut faults, mut long) = (0, 0, 0);
        let mut cursor = Cursor::default();
        loop {
            let page = file.page(cursor).unwrap();
            for item in &page.items {
                match item {
                    Item::Notice { notice, .. } => {
                        events += notice.events.len();
                        faults += usize::from(!notice.faults.is_empty());
                    }
                    Item::TooLong { .. } => long += 1,
                }
            }
            if page.last {
                return (events, faults, long, page);
            }
            assert_ne!(page.next, cursor, "every page gets on");
            cursor = page.next;
        }
    }

    #[test]
    fn lines_are_read_and_an_unfinished_one_waits() {
        let half = &CREATED[..40];
        let cases = [
            (String::new(), 0, 0, false),
            (format!("{CREATED}\n"), 1, 0, false),
            (format!("{CREATED}\r\n\n  \n{CREATED}"), 2, 0, false),
            (format!("{CREATED}\n{half}"), 1, 0, true),
            (format!("nonsense\n{CREATED}\n"), 1, 1, false),
            (format!("{CREATED}\n   "), 1, 0, false),
        ];
        for (content, events, faults, torn) in cases {
            let (_folder, file) = file(&content);
            let (e, f, _, page) = read_all(&file);
            assert_eq!((e, f, page.torn.is_some()), (events, faults, torn), "{content:?}");
        }
    }

    #[test]
    fn a_file_is_read_on_where_it_grew_and_again_when_it_is_another() {
        let (_folder, file) = file(format!("{CREATED}\n{}", &CREATED[..10]));
        let page = file.page(Cursor::default()).unwrap();
        assert_eq!(page.next.at, CREATED.len() as u64 + 1);
        std::fs::write(&file.path, format!("{CREATED}\n{CREATED}\n")).unwrap();
        assert_eq!(file.page(page.next).unwrap().items.len(), 1);
        std::fs::write(&file.path, "{}\n").unwrap();
        let again = file.page(page.next).unwrap();
        assert_eq!((again.items.len(), again.next.at), (1, 3));
    }

    #[test]
    fn a_missing_file_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let file = NoticeFile { path: folder.path().join("none"), options: ParseOptions::default() };
        let page = file.page(Cursor::default()).unwrap();
        assert!(page.last && page.items.is_empty());
    }

    #[test]
    fn a_line_too_long_is_refused_once_and_skipped_to_its_end() {
        for length in [LINE_BYTES_MAX + 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7] {
            let mut content = vec![b'x'; length];
            content.extend_from_slice(format!("\n{CREATED}\n").as_bytes());
            let (_folder, file) = file(content);
            let (events, faults, long, _) = read_all(&file);
            assert_eq!((events, faults, long), (1, 0, 1), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(content in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), Just(b'}'), any::<u8>()], 0..200)) {
            let (_folder, file) = file(&content);
            let (_, _, _, page) = read_all(&file);
            let torn = page.torn.map_or(0, |t| t.len());
            prop_assert_eq!(page.next.at as usize + torn, content.len());
        }
    }
}
