//! The model of mempools: every rule and the smallest fee, for the factory close of 100 members against the allocation and
//! some of the channel closes.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

mod common;

use std::hint::black_box;

use bitcoin::{Amount, Weight};
use common::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use factory_core::LockKind;
use factory_core::replacement::{Candidate, Entry, Mempool, Policy};
use factory_core::tx::size;

const MEMBERS: usize = 100;

fn replacement(criterion: &mut Criterion<CpuTime>) {
    // A cluster holds 64 transactions: the allocation and 63 closes. A chain of Core 30 holds 24 closes.
    for (name, policy, most) in [("core-31", Policy::CORE_31, 63), ("core-30", Policy::CORE_30, 24)] {
        let mut group = criterion.benchmark_group(format!("replacement: {name}, over the closes in the mempool"));
        for closes in [1, 4, 12, most] {
            let mut mempool = Mempool::new();
            let mut push = |weight: Weight, parents| {
                let fee = Amount::from_sat(weight.to_vbytes_ceil());
                mempool.push(Entry { fee, weight, version: 2, parents })
            };
            let allocation = push(size::allocation(LockKind::MuSig2, MEMBERS), vec![]);
            for _ in 0..closes {
                push(size::channel_spend(LockKind::MuSig2, 2), vec![allocation]);
            }
            let weight = size::factory_close(LockKind::MuSig2, MEMBERS);
            let candidate = Candidate {
                weight,
                version: 2,
                parents: vec![],
                conflicts: vec![allocation],
                dust: 0,
                leaves_dust: false,
            };
            group.bench_function(BenchmarkId::new("ours", closes), |bencher| {
                bencher.iter(|| {
                    let judgement = policy.judge(black_box(&mempool), &candidate, Amount::ZERO);
                    judgement.smallest_fee().expect("a fee is all that it takes")
                });
            });
        }
        group.finish();
    }
}

criterion_group!(name = benches; config = common::settings(); targets = replacement);
criterion_main!(benches);
