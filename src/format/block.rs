//! Blocks: what a reader hands on. A block owns its bytes, so it may cross threads.

use crate::domain::reason::ReasonCode;

/// Where a record stands in the decompressed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Zero-based number among the file's physical records (bad ones count, the header does not).
    pub row: u64,
    /// One-based number of the line the record starts on.
    pub line: u64,
    /// Offset of its first byte in the decompressed, undecoded stream.
    pub byte_offset: u64,
    /// Its length in bytes, without the line break.
    pub byte_len: u32,
}

/// A record that cannot become a row, with its source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    pub place: Place,
    pub reason: ReasonCode,
    /// What exactly is wrong, for a person.
    pub detail: String,
    /// Source bytes, cut at [`SOURCE_TEXT_MAX`].
    pub source: Vec<u8>,
}

impl BadRecord {
    /// Keeps the start of `source`.
    pub fn new(place: Place, reason: ReasonCode, detail: String, source: &[u8]) -> Self {
        Self { place, reason, detail, source: source[..source.len().min(SOURCE_TEXT_MAX)].to_vec() }
    }
}

/// Source text kept of one bad record.
pub const SOURCE_TEXT_MAX: usize = 4096;

/// Records of a text table: `places.len() × width` cells, row by row.
#[derive(Debug, Clone, Default)]
pub struct TextBlock {
    /// UTF-8 text the cells point into; quoted cells are already unescaped here.
    pub text: String,
    /// `rows × width` spans in row-major order.
    pub cells: Vec<TextCell>,
    /// Cells per record: the same for every record of the block.
    pub width: usize,
    /// One per record.
    pub places: Vec<Place>,
    /// Records that could not be read, in file order, interleaved by `place.row`.
    pub bad: Vec<BadRecord>,
}

/// One cell: a span of [`TextBlock::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextCell {
    pub start: u32,
    pub len: u32,
}

impl TextBlock {
    /// Records in the block.
    pub fn rows(&self) -> usize {
        self.places.len()
    }

    /// Bytes of one cell after unquoting. Panics outside `rows × width`.
    #[inline]
    pub fn cell_bytes(&self, row: usize, column: usize) -> usize {
        self.cells[row * self.width + column].len as usize
    }

    /// Text of one cell after unquoting. Panics outside `rows × width`.
    #[inline]
    pub fn cell(&self, row: usize, column: usize) -> &str {
        let cell = self.cells[row * self.width + column];
        &self.text[cell.start as usize..(cell.start + cell.len) as usize]
    }
}

/// A JSON value that keeps the token text of numbers and the order of keys.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonValue {
    Null,
    Bool(bool),
    /// The token as written: `2.50`, `1e3`, `9007199254740993`.
    Number(Box<str>),
    String(Box<str>),
    Array(Vec<JsonValue>),
    /// Keys in order of appearance; unique unless the contract accepts duplicates (last wins then).
    Object(Vec<(Box<str>, JsonValue)>),
}

/// Records of a JSON file.
#[derive(Debug, Clone, Default)]
pub struct TreeBlock {
    /// One object per record.
    pub records: Vec<Vec<(Box<str>, JsonValue)>>,
    /// One per record.
    pub places: Vec<Place>,
    /// Records that could not be read, in file order.
    pub bad: Vec<BadRecord>,
}

/// A block of one file. All blocks of a file are of one kind.
#[derive(Debug, Clone)]
pub enum Block {
    Text(TextBlock),
    Tree(TreeBlock),
}

impl Block {
    /// Of the good records, in file order.
    pub fn places(&self) -> &[Place] {
        match self {
            Block::Text(block) => &block.places,
            Block::Tree(block) => &block.places,
        }
    }

    /// Records that could not be read, in file order.
    pub fn bad(&self) -> &[BadRecord] {
        match self {
            Block::Text(block) => &block.bad,
            Block::Tree(block) => &block.bad,
        }
    }
}

/// Something noticed about the file that is no error: a dialect, a skipped preamble, a byte order mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEvent {
    pub reason: ReasonCode,
    pub detail: String,
}

/// The file as a whole cannot be read; nothing of it lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRefusal {
    pub reason: ReasonCode,
    /// What and where, for a person: line and byte offset if known.
    pub detail: String,
}
