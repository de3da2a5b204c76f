//! What one signature by all costs the operator and a member through their `handle`, next to the bare operations.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

mod common;

use std::time::Duration;

use benches::ceremony::Ceremony;
use bitcoin::FeeRate;
use common::CpuTime;
use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use factory_core::protocol::Joint;
use factory_core::{FeeRule, Offer};

const MEMBERS: [u32; 4] = [10, 100, 1_000, 2_322];

fn ceremony(criterion: &mut Criterion<CpuTime>) {
    for members in MEMBERS {
        let mut ceremony = Ceremony::new(members, Offer::default());
        {
            let mut bench = |name: &str, who: &str, measure: &mut dyn FnMut() -> Duration| {
                let mut group = criterion.benchmark_group(name);
                // Each run is prepared anew, at many times its cost, so their number must not follow from what they take.
                group.sampling_mode(SamplingMode::Flat);
                group.warm_up_time(Duration::from_nanos(1)).measurement_time(Duration::from_nanos(1));
                group.sample_size(if members > 100 { 15 } else { 50 });
                group.bench_function(BenchmarkId::new(who, members), |bencher| {
                    bencher.iter_custom(|iterations| (0..iterations).map(|_| measure()).sum());
                });
                group.finish();
            };
            let name = "operator: from the nonces to the signature";
            bench(name, "ours", &mut || ceremony.operator().from_nonces);
            bench(name, "floor", &mut || ceremony.bare_signing().optimistic());
            bench(name, "every share verified", &mut || ceremony.bare_signing().every_share());
            bench("operator: the proposal", "ours", &mut || ceremony.operator().proposal);
            if members == 100 {
                let ladder = [0, 1, 2, 4].map(FeeRate::from_sat_per_vb_u32).to_vec();
                let mut ladder =
                    Ceremony::new(members, Offer { close_fee: FeeRule::Ladder(ladder), ..Offer::default() });
                bench(name, "ladder of 4", &mut || ladder.operator().from_nonces);
                bench("operator: the proposal", "ladder of 4", &mut || ladder.operator().proposal);
            }
        }
        for (joint, name) in [
            (Joint::Allocation, "member: its part of the allocation"),
            (Joint::FactoryClose, "member: its part of the factory close"),
        ] {
            let proposals = ceremony.proposals(joint);
            let mut group = criterion.benchmark_group(name);
            group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400)).sample_size(20);
            group.bench_function(BenchmarkId::new("ours", members), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| ceremony.member(&proposals)).sum());
            });
            for (who, hashing) in [("floor", false), ("floor with hashing", true)] {
                group.bench_function(BenchmarkId::new(who, members), |bencher| {
                    let mut bare = ceremony.bare_member(&proposals);
                    bencher.iter_custom(|iterations| (0..iterations).map(|_| bare.run(hashing)).sum());
                });
            }
            group.finish();
        }
    }
}

criterion_group!(name = benches; config = common::settings(); targets = ceremony);
criterion_main!(benches);
