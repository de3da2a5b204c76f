//! Reading and checking a scenario file, over its steps: `scenarios/lifecycle/basic.yaml`, which has ten, and the same with
//! more.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

mod common;

use std::hint::black_box;
use std::path::Path;

use common::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shopfloor::scenario::load_text;

const BASIC: &str = include_str!("../../scenarios/lifecycle/basic.yaml");

fn loader(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("scenario: load and check, over its steps");
    for steps in [10, 100, 1_000] {
        let last = "  - mine: { by: alice, blocks: 1 }\n";
        let text = BASIC.replace(last, &last.repeat(steps - 9));
        let load = || load_text(Path::new("basic.yaml"), black_box(&text), &[]);
        let loaded = load().expect("it is a scenario");
        assert_eq!(loaded[0].scenario.steps.len(), steps);
        group.bench_function(BenchmarkId::new("ours", steps), |bencher| bencher.iter(load));
    }
    group.finish();
}

criterion_group!(name = benches; config = common::settings(); targets = loader);
criterion_main!(benches);
