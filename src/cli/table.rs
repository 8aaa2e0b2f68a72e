//! Tables for people: aligned columns, long keys cut in the middle. Scripts read `--json`.

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
    /// Left, and never cut: sentences, in the last column.
    Prose,
}

/// Rows under a header. Cells are made of printable characters only: what a producer wrote into a
/// key cannot move the cursor.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// A cell is cut to this many characters.
const CELL_MAX: usize = 60;
const GAP: &str = "  ";

impl Table {
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Missing cells are empty, surplus ones are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells
            .into_iter()
            .zip(&self.columns)
            .map(|(cell, (_, align))| match align {
                Align::Prose => printable(&cell),
                Align::Left | Align::Right => cut(&printable(&cell), CELL_MAX),
            })
            .collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text; every line ends in a line break, none in spaces.
    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| self.rows.iter().map(|r| width(&r[i])).chain([width(self.columns[i].0)]).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut out = String::new();
            for (i, cell) in cells.enumerate() {
                let pad = " ".repeat(widths[i].saturating_sub(width(cell)));
                let gap = if i == 0 { "" } else { GAP };
                out.push_str(&match self.columns[i].1 {
                    Align::Left | Align::Prose => format!("{gap}{cell}{pad}"),
                    Align::Right => format!("{gap}{pad}{cell}"),
                });
            }
            text.push_str(out.trim_end());
            text.push('\n');
        };
        line(&mut self.columns.iter().map(|c| c.0));
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
        text
    }
}

/// Control characters become the replacement character, so a line stays a line.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_zero_width(c) { '\u{fffd}' } else { c }).collect()
}

/// Keeps both ends of a text longer than `max` characters: a key's file name says as much as its prefix.
pub fn cut(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max || max < 3 {
        return text.to_owned();
    }
    let tail = (max - 1) / 2;
    let head = max - 1 - tail;
    text.chars().take(head).chain(['…']).chain(text.chars().skip(count - tail)).collect()
}

/// Columns a text takes on a terminal: wide East Asian characters and emoji take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
}

/// Joiners and direction marks, which reorder or hide what stands beside them.
fn is_zero_width(c: char) -> bool {
    matches!(u32::from(c), 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x2069 | 0xFEFF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_aligned_and_long_keys_keep_both_ends() {
        let mut table = Table::new(&[("STATUS", Align::Left), ("ROWS", Align::Right), ("OBJECT", Align::Left)]);
        table.row(["PUBLISHED".to_owned(), "1204".to_owned(), "landing/orders/a.csv".to_owned()]);
        table.row(["IGNORED".to_owned(), "0".to_owned(), format!("landing/{}/日本\u{1b}[2J.csv", "x".repeat(80))]);
        table.row(["日本".to_owned()]);
        insta::assert_snapshot!(table.render(), @r"
        STATUS     ROWS  OBJECT
        PUBLISHED  1204  landing/orders/a.csv
        IGNORED       0  landing/xxxxxxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxx/日本�[2J.csv
        日本
        ");
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_cell_a_row_stays_one_line(cells in proptest::collection::vec(any::<String>(), 0..4)) {
            let mut table = Table::new(&[("A", Align::Left), ("B", Align::Right)]);
            table.row(cells);
            prop_assert_eq!(table.render().lines().count(), 2);
        }
    }
}
