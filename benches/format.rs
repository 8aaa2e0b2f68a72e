//! How fast landed bytes become blocks: one day of flights, plain and gzip.

use std::io::Read;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lakegate::format::options::SourceOptions;
use lakegate::format::reader::{self, Hint};

const DAY: &[u8] = include_bytes!("../assets/demo/flights/flights_20130102.csv.gz");

fn rows(bytes: &[u8]) -> u64 {
    let mut file = reader::open(bytes, &SourceOptions::default(), &Hint::default()).expect("the day is readable");
    while file.next_block().expect("the day is readable").is_some() {}
    file.totals().physical_rows
}

fn read_csv_bytes_per_s(c: &mut Criterion) {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(DAY).read_to_end(&mut plain).expect("the asset is gzip");
    let mut group = c.benchmark_group("read_csv_bytes_per_s");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("plain", |b| b.iter(|| rows(&plain)));
    group.bench_function("gzip", |b| b.iter(|| rows(DAY)));
    group.finish();
}

criterion_group!(benches, read_csv_bytes_per_s);
criterion_main!(benches);
