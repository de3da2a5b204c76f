//! Each step of a MuSig2 signature, over the number of signers: `factory_core` (ours), the bare calls of the crate
//! `secp256k1` (the floor), and the crates `musig2` and `schnorr_fun`, all in the same run.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

mod common;
mod others;

use std::hint::black_box;

use benches::scheme::{Bare, Ours, Scheme, keys};
use common::CpuTime;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use others::{Musig2, SchnorrFun};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// The largest standard factory close has 2,322 members.
const SIGNERS: [usize; 5] = [2, 10, 100, 1_000, 2_322];

fn signing(criterion: &mut Criterion<CpuTime>) {
    for signers in SIGNERS {
        steps::<Ours>(criterion, signers);
        steps::<Bare>(criterion, signers);
        steps::<Musig2>(criterion, signers);
        steps::<SchnorrFun>(criterion, signers);
    }
}

fn steps<S: Scheme>(criterion: &mut Criterion<CpuTime>, signers: usize) {
    let scheme = S::new(&keys(signers));
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let id = || BenchmarkId::new(S::NAME, signers);
    let mut bench = |name: &str, measure: &mut dyn FnMut(&mut criterion::Bencher<'_, CpuTime>)| {
        let mut group = criterion.benchmark_group(name);
        if signers > 100 {
            // Ten runs of what takes up to half a second.
            group.sample_size(10);
        }
        group.bench_function(id(), |bencher| measure(bencher));
        group.finish();
    };

    bench("signing: key aggregation", &mut |bencher| bencher.iter(|| scheme.aggregate_keys()));
    let key = scheme.aggregate_keys();
    bench("signing: nonce generation", &mut |bencher| bencher.iter(|| scheme.nonce(&key, 0, &mut rng)));
    let (secrets, nonces): (Vec<_>, Vec<_>) = (0..signers).map(|signer| scheme.nonce(&key, signer, &mut rng)).unzip();
    bench("signing: nonce aggregation", &mut |bencher| bencher.iter(|| scheme.sum(&key, black_box(&nonces))));
    let sum = scheme.sum(&key, &nonces);
    bench("signing: partial signing", &mut |bencher| {
        let nonce = || scheme.nonce(&key, 0, &mut rng).0;
        let sign = |secret| scheme.sign(&key, &scheme.session(&key, &sum, &nonces), 0, secret);
        bencher.iter_batched(nonce, sign, BatchSize::SmallInput);
    });
    let session = scheme.session(&key, &sum, &nonces);
    let mut shares = Vec::with_capacity(signers);
    for (signer, secret) in secrets.into_iter().enumerate() {
        shares.push(scheme.sign(&key, &session, signer, secret));
    }
    assert!(scheme.finish(&key, &session, &shares).is_some(), "{} signs", S::NAME);
    bench("signing: share aggregation and one verification", &mut |bencher| {
        bencher.iter(|| scheme.finish(&key, &session, black_box(&shares)));
    });
    bench("signing: verification of every share", &mut |bencher| {
        bencher.iter(|| scheme.wrong(&key, &session, &nonces, black_box(&shares)));
    });
}

criterion_group!(name = benches; config = common::settings(); targets = signing);
criterion_main!(benches);
