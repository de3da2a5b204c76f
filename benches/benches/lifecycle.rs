//! One factory from its opening to the signed factory close, in memory: every key, nonce, signature and check.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

use std::hint::black_box;

use benches::parties::Parties;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use factory_core::Offer;

fn lifecycle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lifecycle in memory");
    group.sample_size(10);
    for members in [3, 20, 200, 1_000] {
        group.throughput(Throughput::Elements(u64::from(members)));
        group.bench_with_input(BenchmarkId::from_parameter(members), &members, |bencher, &members| {
            let parties = || Parties::new(members, Offer::default());
            bencher.iter_batched(parties, |mut parties| black_box(&mut parties).lifecycle(), BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, lifecycle);
criterion_main!(benches);
