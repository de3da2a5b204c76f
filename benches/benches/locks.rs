//! The three ways to build an n-of-n: their creation, all that n signers do for one signature, and its verification.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

mod common;

use std::hint::black_box;

use benches::scheme::{MESSAGE, keys};
use bitcoin::Witness;
use common::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use factory_core::{Lock, LockKind, Signer};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use secp256k1::{Keypair, PublicKey};

fn locks(criterion: &mut Criterion<CpuTime>) {
    // Tapscript holds at most 999 keys, and a witness script 20.
    for (kind, sizes) in [
        (LockKind::MuSig2, [2, 20, 100, 999].as_slice()),
        (LockKind::Tapscript, &[2, 20, 100, 999]),
        (LockKind::Wsh, &[2, 5, 10, 20]),
    ] {
        for &signers in sizes {
            let keys = keys(signers);
            let public: Vec<PublicKey> = keys.iter().map(Keypair::public_key).collect();
            let mut rng = ChaCha20Rng::seed_from_u64(6);
            let mut bench = |name: &str, measure: &mut dyn FnMut(&mut criterion::Bencher<'_, CpuTime>)| {
                let mut group = criterion.benchmark_group(format!("lock {kind}: {name}"));
                if signers > 100 {
                    group.sample_size(10);
                }
                group.bench_function(BenchmarkId::new("ours", signers), |bencher| measure(bencher));
                group.finish();
            };
            bench("create", &mut |bencher| bencher.iter(|| Lock::new(kind, black_box(&public))));
            let lock = Lock::new(kind, &public).expect("it holds so many keys");
            bench("sign, all signers", &mut |bencher| bencher.iter(|| sign(&lock, &keys, &public, &mut rng)));
            let witness = sign(&lock, &keys, &public, &mut rng);
            bench("verify", &mut |bencher| bencher.iter(|| assert!(lock.verify(&MESSAGE, black_box(&witness)))));
        }
    }
}

fn sign(lock: &Lock, keys: &[Keypair], public: &[PublicKey], rng: &mut ChaCha20Rng) -> Witness {
    let signers: Vec<Signer> = keys.iter().map(|key| Signer::new(rng, lock, key, &MESSAGE)).collect();
    let nonces: Vec<_> = signers.iter().map(Signer::public).collect();
    let aggregate = lock.aggregate(&nonces).expect("they are this lock's");
    let session = lock.session(&aggregate, &MESSAGE).expect("it is this lock's");
    let shares: Vec<_> = signers.into_iter().zip(keys).map(|(signer, key)| signer.sign(lock, &session, key)).collect();
    lock.assemble(&session, public.iter().zip(&shares)).expect("every share is there")
}

criterion_group!(name = benches; config = common::settings(); targets = locks);
criterion_main!(benches);
