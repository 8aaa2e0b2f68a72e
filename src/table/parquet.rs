//! Parquet out and in. Writer settings are explicit and fixed, so a rerun of a plan writes the
//! same bytes.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory, ArrowWriter, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;

use crate::table::encoding;
use crate::table::footer::{Footer, KEY};

/// `transform.parquet` of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParquetOptions {
    pub codec: Codec,
    pub row_group_rows: usize,
}

/// Codecs of published files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Uncompressed,
    Snappy,
    Lz4,
    /// Level 1 to 22.
    Zstd(i32),
}

impl Default for ParquetOptions {
    /// zstd(1): 8 % more CPU than snappy, a third fewer bytes (performance.md §2); 1,048,576 rows a group.
    fn default() -> Self {
        Self { codec: Codec::Zstd(1), row_group_rows: 1 << 20 }
    }
}

/// A row group is closed at this many encoded bytes even if it has fewer rows, so that wide rows cannot fill memory.
const ROW_GROUP_BYTES: usize = 128 << 20;

/// Batches of at least this many rows are encoded on two threads.
const TWO_THREADS_ROWS: usize = 4096;

/// Smaller batches are put together before they are encoded: starting on a column costs as much as some fifty values.
const SMALL_ROWS: usize = 4096;

/// Bytes of small batches that wait for more.
const SMALL_BYTES: usize = 4 << 20;

/// Writes one file. Its first rows decide how columns are encoded.
pub struct TableWriter<W: Write + Send> {
    schema: SchemaRef,
    options: ParquetOptions,
    compression: Compression,
    file: Option<OpenFile<W>>,
    /// Taken when the file is opened.
    sink: Option<W>,
    small: Vec<RecordBatch>,
    small_rows: usize,
    small_bytes: usize,
    rows: u64,
}

struct OpenFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: ArrowRowGroupWriterFactory,
    group: Option<Group>,
}

/// A row group in progress.
struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl<W: Write + Send> TableWriter<W> {
    /// # Errors
    /// When the codec's level is out of range.
    pub fn new(sink: W, schema: SchemaRef, options: ParquetOptions) -> Result<Self, ParquetError> {
        let compression = match options.codec {
            Codec::Uncompressed => Compression::UNCOMPRESSED,
            Codec::Snappy => Compression::SNAPPY,
            Codec::Lz4 => Compression::LZ4_RAW,
            Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
        };
        Ok(Self { schema, options, compression, file: None, sink: Some(sink), small: Vec::new(), small_rows: 0, small_bytes: 0, rows: 0 })
    }

    /// # Errors
    /// When the schema has no Parquet form, a batch is of another schema, or the sink fails.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.rows += batch.num_rows() as u64;
        if batch.num_rows() >= SMALL_ROWS {
            self.write_small()?;
            return self.encode(batch);
        }
        self.small_bytes += batch.get_array_memory_size();
        self.small.push(batch.clone());
        self.small_rows += batch.num_rows();
        if self.small_rows >= SMALL_ROWS || self.small_bytes > SMALL_BYTES { self.write_small() } else { Ok(()) }
    }

    fn write_small(&mut self) -> Result<(), ParquetError> {
        (self.small_rows, self.small_bytes) = (0, 0);
        let small = std::mem::take(&mut self.small);
        match small.as_slice() {
            [] => Ok(()),
            [one] => self.encode(one),
            [first, ..] => {
                let together = arrow::compute::concat_batches(first.schema_ref(), &small)?;
                self.encode(&together)
            }
        }
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let limit = self.options.row_group_rows.max(1);
        let file = self.file(Some(batch))?;
        let mut at = 0;
        while at < batch.num_rows() {
            let held = file.group.as_ref().map_or(0, |g| g.rows);
            let n = (limit - held).min(batch.num_rows() - at);
            file.encode(&batch.slice(at, n))?;
            at += n;
            if file.group.as_ref().is_some_and(|g| g.rows >= limit || g.bytes() > ROW_GROUP_BYTES) {
                file.close_group()?;
            }
        }
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer and hands the sink back.
    pub fn finish(mut self, footer: &Footer) -> Result<W, ParquetError> {
        self.write_small()?;
        self.file(None)?.close_group()?;
        let mut file = self.file.ok_or_else(|| ParquetError::General("the file was not opened".to_owned()))?;
        file.writer.append_key_value_metadata(KeyValue::new(KEY.to_owned(), footer.to_json()));
        file.writer.into_inner()
    }

    fn file(&mut self, first: Option<&RecordBatch>) -> Result<&mut OpenFile<W>, ParquetError> {
        if let Some(sink) = self.sink.take() {
            let mut properties = WriterProperties::builder()
                .set_created_by("lakegate".to_owned())
                .set_writer_version(WriterVersion::PARQUET_1_0)
                .set_compression(self.compression)
                .set_statistics_enabled(EnabledStatistics::Chunk);
            if let Some(first) = first {
                properties = encoding::chosen(properties, first);
            }
            let writer = ArrowWriter::try_new(sink, Arc::clone(&self.schema), Some(properties.build()))?;
            let (writer, columns) = writer.into_serialized_writer()?;
            self.file = Some(OpenFile { writer, columns, group: None });
        }
        self.file.as_mut().ok_or_else(|| ParquetError::General("an earlier write failed".to_owned()))
    }
}

impl<W: Write + Send> OpenFile<W> {
    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let group = match &mut self.group {
            Some(group) => group,
            none => {
                let columns = self.columns.create_column_writers(self.writer.flushed_row_groups().len())?;
                none.insert(Group { columns, rows: 0 })
            }
        };
        let mut leaves = Vec::with_capacity(group.columns.len());
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let bytes = column.get_array_memory_size();
            leaves.extend(compute_leaves(field, column)?.into_iter().map(|leaf| (leaf, bytes)));
        }
        if leaves.len() != group.columns.len() {
            return Err(ParquetError::General("a batch has other columns than its file".to_owned()));
        }
        let columns: Vec<Column<'_>> =
            group.columns.iter_mut().zip(leaves).map(|(writer, (leaf, bytes))| Column { writer, leaf, bytes }).collect();
        if batch.num_rows() < TWO_THREADS_ROWS {
            encode_all(columns)?;
        } else {
            let [mine, theirs] = halves(columns);
            std::thread::scope(|scope| {
                let other = scope.spawn(|| encode_all(theirs));
                let done = encode_all(mine);
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(done)
            })?;
        }
        group.rows += batch.num_rows();
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), ParquetError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let mut row_group = self.writer.next_row_group()?;
        for column in group.columns {
            column.close()?.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        Ok(())
    }
}

impl Group {
    /// Encoded so far.
    fn bytes(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }
}

/// One leaf column of a batch on its way into its writer.
struct Column<'g> {
    writer: &'g mut ArrowColumnWriter,
    leaf: ArrowLeafColumn,
    bytes: usize,
}

fn encode_all(columns: Vec<Column<'_>>) -> Result<(), ParquetError> {
    columns.into_iter().try_for_each(|column| column.writer.write(&column.leaf))
}

/// Two sets of about the same number of bytes.
fn halves(mut columns: Vec<Column<'_>>) -> [Vec<Column<'_>>; 2] {
    columns.sort_by_key(|c| std::cmp::Reverse(c.bytes));
    let (mut sets, mut bytes) = ([Vec::new(), Vec::new()], [0, 0]);
    for column in columns {
        let lighter = usize::from(bytes[1] < bytes[0]);
        bytes[lighter] += column.bytes;
        sets[lighter].push(column);
    }
    sets
}

/// A file of ours, opened.
pub struct TableFile {
    builder: ParquetRecordBatchReaderBuilder<Bytes>,
}

impl TableFile {
    /// # Errors
    /// When the bytes are no Parquet file.
    pub fn open(bytes: Bytes) -> Result<Self, ParquetError> {
        Ok(Self { builder: ParquetRecordBatchReaderBuilder::try_new(bytes)? })
    }

    pub fn schema(&self) -> &SchemaRef {
        self.builder.schema()
    }

    /// Our entry of the footer; `None`: somebody else wrote this file.
    pub fn footer(&self) -> Option<Footer> {
        let entries = self.builder.metadata().file_metadata().key_value_metadata()?;
        Footer::from_json(entries.iter().find(|e| e.key == KEY)?.value.as_deref()?)
    }

    pub fn rows(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads `columns` (all, if `None`) in batches of `batch_rows`.
    pub fn read(self, columns: Option<&[String]>, batch_rows: usize) -> Result<ParquetRecordBatchReader, ParquetError> {
        let mut builder = self.builder.with_batch_size(batch_rows.max(1));
        if let Some(columns) = columns {
            let roots: Vec<usize> =
                builder.schema().fields().iter().enumerate().filter(|(_, f)| columns.contains(f.name())).map(|(i, _)| i).collect();
            let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
            builder = builder.with_projection(mask);
        }
        builder.build()
    }
}

/// An empty file of a schema: what stands where an object's last row left a partition.
pub fn empty(schema: &SchemaRef, footer: &Footer) -> Result<Bytes, ParquetError> {
    let writer = TableWriter::new(Vec::new(), Arc::clone(schema), ParquetOptions::default())?;
    Ok(writer.finish(footer)?.into())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::table::footer::FooterObject;

    fn footer() -> Footer {
        Footer {
            format_version: 1,
            dataset: "orders".into(),
            batch_id: "orders/0/000000000001".into(),
            commit_seq: 0,
            stamp: String::new(),
            objects: vec![FooterObject { object: "raw/a.csv".into(), token: "e:1:2".into(), generation: 0, run_id: "r".into(), rows: 3 }],
        }
    }

    fn batch() -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec!["a", "b", "c"])), Arc::new(Int64Array::from(vec![1, 2, 3]))])
            .unwrap()
    }

    fn written(codec: Codec) -> Bytes {
        let mut writer = TableWriter::new(Vec::new(), batch().schema(), ParquetOptions { codec, row_group_rows: 2 }).unwrap();
        writer.write(&batch()).unwrap();
        assert_eq!(writer.rows(), 3);
        writer.finish(&footer()).unwrap().into()
    }

    #[test]
    fn a_file_reads_back_with_its_footer_in_every_codec() {
        for codec in [Codec::Uncompressed, Codec::Snappy, Codec::Lz4, Codec::Zstd(1)] {
            let file = TableFile::open(written(codec)).unwrap();
            assert_eq!((file.footer(), file.rows()), (Some(footer()), 3));
            let read: Vec<RecordBatch> = file.read(None, 1024).unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(arrow::compute::concat_batches(&read[0].schema(), &read).unwrap().columns(), batch().columns());
        }
        assert!(TableWriter::new(Vec::new(), batch().schema(), ParquetOptions { codec: Codec::Zstd(99), row_group_rows: 1 }).is_err());
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        assert_eq!(written(Codec::Zstd(1)), written(Codec::Zstd(1)));
    }

    #[test]
    fn a_projection_reads_only_its_columns_and_an_empty_file_has_the_schema() {
        let n = TableFile::open(written(Codec::Snappy)).unwrap().read(Some(&["n".into()]), 10).unwrap().next().unwrap().unwrap();
        assert_eq!((n.num_columns(), n.schema().field(0).name().as_str()), (1, "n"));
        let file = TableFile::open(empty(&batch().schema(), &footer()).unwrap()).unwrap();
        assert_eq!((file.rows(), file.schema().fields().len()), (0, 2));
        assert!(TableFile::open(Bytes::from_static(b"not parquet")).is_err());
    }
}
