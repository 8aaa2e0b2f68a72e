//! A million fingerprints met for the first time: our table, which waits for many places at a time, beside hashbrown's.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lakegate::schema::distinct::{Distinct, TOUCHED};
use xxhash_rust::xxh3::xxh3_128;

const N: usize = 1_000_000;

fn distinct_fingerprints_per_s(c: &mut Criterion) {
    let prints: Vec<u128> = (0..N).map(|n| xxh3_128(format!("order-{n}").as_bytes())).collect();
    let mut group = c.benchmark_group("distinct_fingerprints_per_s");
    group.throughput(Throughput::Elements(N as u64)).sample_size(20);
    group.bench_function("distinct", |b| {
        let room = || {
            let mut seen = Distinct::default();
            seen.reserve(N);
            seen
        };
        let meet = |mut seen: Distinct<u128>| {
            for some in prints.chunks(TOUCHED) {
                seen.touch(some.iter().copied());
                for print in some {
                    assert!(seen.meet(*print, *print).is_none());
                }
            }
            seen
        };
        b.iter_batched(room, meet, BatchSize::PerIteration);
    });
    group.bench_function("hashbrown", |b| {
        let meet = |mut seen: hashbrown::HashMap<u128, u128>| {
            for print in &prints {
                assert!(seen.insert(*print, *print).is_none());
            }
            seen
        };
        b.iter_batched(|| hashbrown::HashMap::with_capacity(N), meet, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, distinct_fingerprints_per_s);
criterion_main!(benches);
