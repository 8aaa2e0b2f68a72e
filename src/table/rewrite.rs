//! Files made from files: a staged file sealed under its final footer, and a published file with
//! some objects' rows dropped and others added.

use std::sync::Arc;

use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter};

use crate::schema::union::Union;
use crate::table::footer::{Footer, FooterObject, KEY};
use crate::table::parquet::{ParquetOptions, TableFile, TableWriter};

/// Rows read at a time.
const BATCH_ROWS: usize = 64 << 10;

/// A file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error("the file has no footer of ours")]
    Foreign,
    #[error("the footer counts {footer} rows, the file has {rows}")]
    Torn { footer: u64, rows: u64 },
}

/// The same rows under another footer, without encoding them again.
///
/// # Errors
/// When the bytes are no Parquet file.
pub fn seal(file: &Bytes, footer: &Footer) -> Result<Bytes, RewriteError> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file)?;
    let meta = metadata.file_metadata();
    let mut entries = meta.key_value_metadata().cloned().unwrap_or_default();
    entries.retain(|e| e.key != KEY);
    entries.push(KeyValue::new(KEY.to_owned(), footer.to_json()));
    let sealed = FileMetaData::new(
        meta.version(),
        meta.num_rows(),
        meta.created_by().map(str::to_owned),
        Some(entries),
        meta.schema_descr_ptr(),
        meta.column_orders().cloned(),
    );
    let sealed = ParquetMetaDataBuilder::new(sealed).set_row_groups(metadata.row_groups().to_vec()).build();
    // The last 8 bytes: length of the thrift footer, and the magic.
    let end = file.len() - 8;
    let thrift = u32::from_le_bytes(file[end..end + 4].try_into().expect("four bytes")) as usize;
    let mut out = file[..end - thrift].to_vec();
    ParquetMetaDataWriter::new(&mut out, &sealed).finish()?;
    Ok(out.into())
}

/// A file and which of its objects' rows are kept, by place in its footer.
pub struct Part {
    pub file: Bytes,
    pub keep: Box<dyn Fn(&FooterObject) -> bool + Send>,
}

/// One file of the kept rows of all parts, in order. `footer` gets the objects as they lie in it.
///
/// # Errors
/// When a part is not ours or contradicts its footer.
pub fn compose(parts: Vec<Part>, options: ParquetOptions, footer: impl FnOnce(Vec<FooterObject>) -> Footer) -> Result<Bytes, RewriteError> {
    let mut opened = Vec::new();
    for part in parts {
        opened.push((TableFile::open(part.file)?, part.keep));
    }
    let union = Union::of(opened.iter().map(|(file, _)| file.schema().as_ref()));
    let mut writer = TableWriter::new(Vec::new(), Arc::clone(union.schema()), options)?;
    let mut objects = Vec::new();
    for (file, keep) in opened {
        let held = file.footer().ok_or(RewriteError::Foreign)?.objects;
        let (rows, counted) = (file.rows(), held.iter().map(|o| o.rows).sum::<u64>());
        if rows != counted {
            return Err(RewriteError::Torn { footer: counted, rows });
        }
        let mut ranges = Ranges::new(&held, &keep);
        for batch in file.read(None, BATCH_ROWS)? {
            let batch = union.conform(&batch?)?;
            for (start, len) in ranges.within(batch.num_rows()) {
                writer.write(&batch.slice(start, len))?;
            }
        }
        objects.extend(held.into_iter().filter(|o| keep(o)));
    }
    Ok(writer.finish(&footer(objects))?.into())
}

/// Row ranges that are kept, walked batch by batch.
struct Ranges {
    /// (rows left, kept), the current one last.
    left: Vec<(u64, bool)>,
}

impl Ranges {
    fn new(objects: &[FooterObject], keep: &dyn Fn(&FooterObject) -> bool) -> Self {
        Self { left: objects.iter().rev().map(|o| (o.rows, keep(o))).collect() }
    }

    /// Kept ranges among the next `rows` rows, as (start, length) within them.
    fn within(&mut self, rows: usize) -> Vec<(usize, usize)> {
        let (mut at, mut kept) = (0, Vec::new());
        while at < rows {
            let Some((left, keep)) = self.left.last_mut() else { break };
            let n = usize::try_from(*left).unwrap_or(usize::MAX).min(rows - at);
            if *keep && n > 0 {
                kept.push((at, n));
            }
            *left -= n as u64;
            at += n;
            if *left == 0 {
                self.left.pop();
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn object(name: &str, rows: u64) -> FooterObject {
        FooterObject { object: name.into(), token: "t".into(), generation: 0, run_id: "r".into(), rows }
    }

    fn footer(batch_id: &str, objects: Vec<FooterObject>) -> Footer {
        Footer { format_version: 1, dataset: "d".into(), batch_id: batch_id.into(), commit_seq: 7, stamp: "s".into(), objects }
    }

    fn file(schema: Vec<Field>, columns: Vec<ArrayRef>, objects: Vec<FooterObject>) -> Bytes {
        let schema = Arc::new(Schema::new(schema));
        let mut writer = TableWriter::new(Vec::new(), Arc::clone(&schema), ParquetOptions::default()).unwrap();
        writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
        writer.finish(&footer("b0", objects)).unwrap().into()
    }

    fn three() -> Bytes {
        file(
            vec![Field::new("n", DataType::Int32, true)],
            vec![Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, 6]))],
            vec![object("a", 2), object("b", 3), object("c", 1)],
        )
    }

    fn rows(file: Bytes) -> RecordBatch {
        let read: Vec<RecordBatch> = TableFile::open(file).unwrap().read(None, 4).unwrap().collect::<Result<_, _>>().unwrap();
        arrow::compute::concat_batches(&read[0].schema(), &read).unwrap()
    }

    #[test]
    fn sealing_changes_the_footer_and_no_row() {
        let sealed = seal(&three(), &footer("b1", vec![object("a", 6)])).unwrap();
        let opened = TableFile::open(sealed.clone()).unwrap();
        assert_eq!(opened.footer().unwrap(), footer("b1", vec![object("a", 6)]));
        assert_eq!(rows(sealed), rows(three()));
        assert!(seal(&Bytes::from_static(b"not a parquet file"), &footer("b1", vec![])).is_err());
    }

    #[test]
    fn dropped_objects_leave_and_new_rows_follow() {
        let new = file(
            vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)],
            vec![Arc::new(Int64Array::from(vec![20, 21])), Arc::new(StringArray::from(vec!["x", "y"]))],
            vec![object("b", 2)],
        );
        let parts = vec![Part { file: three(), keep: Box::new(|o| o.object != "b") }, Part { file: new, keep: Box::new(|_| true) }];
        let composed = compose(parts, ParquetOptions::default(), |objects| footer("b2", objects)).unwrap();
        let held = TableFile::open(composed.clone()).unwrap().footer().unwrap().objects;
        assert_eq!(held, [object("a", 2), object("c", 1), object("b", 2)]);
        let all = rows(composed);
        let n = all.column(0).as_any().downcast_ref::<Int64Array>().expect("widened");
        assert_eq!(n.values(), &[1, 2, 6, 20, 21]);
        assert_eq!(all.column(1).null_count(), 3);
    }

    #[test]
    fn a_footer_that_miscounts_is_refused() {
        let torn = file(vec![Field::new("n", DataType::Int32, true)], vec![Arc::new(Int32Array::from(vec![1]))], vec![object("a", 2)]);
        let parts = vec![Part { file: torn, keep: Box::new(|_| true) }];
        assert!(matches!(compose(parts, ParquetOptions::default(), |o| footer("x", o)), Err(RewriteError::Torn { footer: 2, rows: 1 })));
    }
}
