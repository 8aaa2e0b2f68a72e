//! How fast the rows of a file are held against the registered schema: one day of flights.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lakegate::format::block::Block;
use lakegate::format::options::SourceOptions;
use lakegate::format::reader::{self, Hint};
use lakegate::schema::avro;
use lakegate::schema::observe::{Observer, Yardstick};
use lakegate::schema::options::SchemaOptions;

const DAY: &[u8] = include_bytes!("../assets/demo/flights/flights_20130102.csv.gz");
const REGISTERED: &str = include_str!("../contracts/schemas/flights.avsc");
const HEADER: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour";

fn observe_rows_per_s(c: &mut Criterion) {
    let mut source = SourceOptions::default();
    source.csv.null_tokens = vec![String::new(), "NA".into()];
    let registered = avro::record_from_text(REGISTERED).expect("the contract's schema");
    let yardstick = Arc::new(Yardstick::new(Some(&registered), &SchemaOptions::default(), &source).expect("no rule to compile"));
    let header: Vec<String> = HEADER.split(',').map(str::to_owned).collect();
    let mut file = reader::open(DAY, &source, &Hint::default()).expect("the day is readable");
    let mut blocks: Vec<Block> = Vec::new();
    while let Some(block) = file.next_block().expect("the day is readable") {
        blocks.push(block);
    }
    let mut group = c.benchmark_group("observe_rows_per_s");
    group.throughput(Throughput::Elements(file.totals().physical_rows));
    group.bench_function("flights", |b| {
        b.iter(|| {
            let mut observer = Observer::new(&yardstick, &header).expect("no rule to compile");
            blocks.iter().for_each(|block| observer.push(block));
            observer.finish()
        });
    });
    group.finish();
}

criterion_group!(benches, observe_rows_per_s);
criterion_main!(benches);
