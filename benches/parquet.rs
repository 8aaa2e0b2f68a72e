//! How fast typed rows become a Parquet file.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lakegate::table::footer::Footer;
use lakegate::table::parquet::{ParquetOptions, TableWriter};

const ROWS: i64 = 65_536;

/// Orders in the shape of the demo's: unique ids, few customers, three currencies, scattered amounts.
fn orders() -> RecordBatch {
    let ids: StringArray = (0..ROWS).map(|n| Some(format!("ord-{n:09}"))).collect();
    let customers: StringArray = (0..ROWS).map(|n| (n % 50 != 0).then(|| format!("cus-{:06}", n * 7_919 % 5_000))).collect();
    let amounts: Float64Array = (0..ROWS).map(|n| Some((n * 104_729 % 50_000) as f64 / 100.0)).collect();
    let currencies: StringArray = (0..ROWS).map(|n| Some(["EUR", "USD", "AUD"][(n % 3) as usize])).collect();
    let times: Int64Array = (0..ROWS).map(|n| Some(1_768_435_200_000 + n * 13 % 86_400_000)).collect();
    RecordBatch::try_from_iter([
        ("order_id", Arc::new(ids) as _),
        ("customer_id", Arc::new(customers) as _),
        ("amount", Arc::new(amounts) as _),
        ("currency", Arc::new(currencies) as _),
        ("event_ts", Arc::new(times) as _),
    ])
    .expect("columns of one length")
}

fn write_parquet_rows_per_s(c: &mut Criterion) {
    let batch = orders();
    let footer = Footer {
        format_version: Footer::FORMAT_VERSION,
        dataset: "orders".into(),
        batch_id: "bench".into(),
        commit_seq: 0,
        stamp: String::new(),
        objects: Vec::new(),
    };
    let mut group = c.benchmark_group("write_parquet_rows_per_s");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("orders", |b| {
        b.iter(|| {
            let mut writer = TableWriter::new(Vec::new(), batch.schema(), ParquetOptions::default()).expect("a plain schema");
            writer.write(&batch).expect("memory takes every write");
            writer.finish(&footer).expect("memory takes every write")
        });
    });
    group.finish();
}

criterion_group!(benches, write_parquet_rows_per_s);
criterion_main!(benches);
