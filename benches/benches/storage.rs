//! What a party stores, and how long it takes to come back from that.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

mod common;

use std::hint::black_box;

use benches::parties::Parties;
use common::CpuTime;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use factory_core::Offer;
use factory_core::protocol::{Phase, Snapshot};

fn storage(criterion: &mut Criterion<CpuTime>) {
    for members in [10, 100, 1_000] {
        let mut parties = Parties::new(members, Offer::default());
        parties.lifecycle();
        let mut bench = |name: &str, measure: &mut dyn FnMut(&mut criterion::Bencher<'_, CpuTime>)| {
            let mut group = criterion.benchmark_group(format!("snapshot: {name}"));
            if members > 100 {
                group.sample_size(10);
            }
            group.bench_function(BenchmarkId::new("ours", members), |bencher| measure(bencher));
            group.finish();
        };
        bench("encode the operator", &mut |bencher| bencher.iter(|| parties.operator.snapshot().encode()));
        bench("encode a member", &mut |bencher| bencher.iter(|| parties.members[0].snapshot().encode()));
        let stored = parties.operator.snapshot().encode();
        bench("restore the operator", &mut |bencher| {
            let restore = |operator: factory_core::protocol::Operator| {
                let snapshot = Snapshot::decode(black_box(&stored)).expect("it is a snapshot");
                operator.restore(&snapshot).expect("it has stored this")
            };
            assert_eq!(restore(parties.new_operator()).phase(), Phase::FactoryCloseSigned);
            bencher.iter_batched(|| parties.new_operator(), restore, BatchSize::PerIteration);
        });
        let stored = parties.members[0].snapshot().encode();
        bench("restore a member", &mut |bencher| {
            let restore = |member: factory_core::protocol::Member| {
                let snapshot = Snapshot::decode(black_box(&stored)).expect("it is a snapshot");
                member.restore(&snapshot).expect("it has stored this")
            };
            assert_eq!(restore(parties.new_member(0)).phase(), Phase::FactoryCloseSigned);
            bencher.iter_batched(|| parties.new_member(0), restore, BatchSize::PerIteration);
        });
    }
}

criterion_group!(name = benches; config = common::settings(); targets = storage);
criterion_main!(benches);
