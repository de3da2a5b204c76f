//! Building, checking, hashing and serialising each transaction of a factory, over its members; and an update of a channel.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

mod common;

use std::hint::black_box;
use std::sync::Arc;

use benches::bare::{self, Bare};
use benches::parties::Parties;
use bitcoin::{Amount, FeeRate, Transaction, TxOut};
use common::CpuTime;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use factory_core::protocol::Command;
use factory_core::tx::{FactoryClose, channel_close, refund};
use factory_core::{Change, Factory, FeeRule, Lock, Offer, Party, RefundLocks, Terms, TxName};

/// What each member was paid.
const PAID: Amount = Amount::from_sat(100_000);

fn transactions(criterion: &mut Criterion<CpuTime>) {
    for members in [10, 100, 1_000, 2_322] {
        let mut parties = Parties::new(members, Offer::default());
        parties.lifecycle();
        let factory = parties.operator.factory().expect("it is open").clone();
        let held = |name| parties.operator.transaction(name).expect("it is signed").transaction().clone();
        let mut bench = |name: &str, who: &str, measure: &mut dyn FnMut(&mut criterion::Bencher<'_, CpuTime>)| {
            let mut group = criterion.benchmark_group(format!("transactions: {name}"));
            group.bench_function(BenchmarkId::new(who, members), |bencher| measure(bencher));
            group.finish();
        };

        let terms = || factory.terms().clone();
        bench("build A", "ours", &mut |bencher| {
            let build = |terms| Factory::new(terms, factory.funding());
            bencher.iter_batched(terms, build, BatchSize::LargeInput);
        });
        // What comes in a message is another copy.
        let proposed = Transaction::clone(factory.allocation().transaction());
        bench("check A", "ours", &mut |bencher| {
            bencher.iter(|| assert!(factory.allocation().is(black_box(&proposed))))
        });

        let balances: Arc<[Amount]> = vec![PAID; members as usize].into();
        bench("build FC", "ours", &mut |bencher| bencher.iter(|| FactoryClose::new(&factory, balances.clone())));
        let ladder = with_ladder(&factory);
        let build = || FactoryClose::new(&ladder, balances.clone()).expect("there is one balance per member");
        assert_eq!(build().rungs().len(), 4);
        bench("build FC", "ladder of 4", &mut |bencher| bencher.iter(build));
        let close = FactoryClose::new(&factory, balances.clone()).expect("there is one balance per member");
        let proposed = Arc::new(Transaction::clone(close.rungs()[0].transaction()));
        bench("check FC", "ours", &mut |bencher| {
            bencher.iter(|| {
                let adopted = FactoryClose::adopt(&factory, &balances, &[&proposed]);
                assert!(adopted.is_ok_and(|adopted| adopted.is_some()));
            });
        });

        let channel = factory.channel(0).expect("there is a member");
        let build = || channel_close::build(&factory, 0, PAID).expect("it can pay that");
        bench("build C", "ours", &mut |bencher| bencher.iter(build));
        let proposed = held(TxName::Close(0));
        bench("check C", "ours", &mut |bencher| bencher.iter(|| assert!(build().is(black_box(&proposed)))));
        let state = parties.operator.channel(0).and_then(|end| end.agreed()).expect("it has a state").clone();
        let build = || refund::build(&factory, 0, &state).expect("it can be in that state");
        bench("build R", "ours", &mut |bencher| bencher.iter(build));
        let proposed = held(TxName::Refund(0, state.number()));
        bench("check R", "ours", &mut |bencher| bencher.iter(|| assert!(build().is(black_box(&proposed)))));

        let (factory_lock, output) = (factory.terms().factory_lock(), factory.terms().factory_output());
        let of_all: [(&str, Arc<Transaction>, &Lock, &TxOut); 4] = [
            ("A", held(TxName::Allocation), factory_lock, &output),
            ("FC", held(TxName::FactoryClose(0)), factory_lock, &output),
            ("C", held(TxName::Close(0)), channel.lock, channel.output),
            ("R", held(TxName::Refund(0, state.number())), channel.lock, channel.output),
        ];
        for (name, tx, lock, spent) in of_all {
            bench(&format!("hash {name}"), "ours", &mut |bencher| {
                bencher.iter(|| (tx.compute_txid(), lock.sighash(black_box(&tx), spent)));
            });
            bench(&format!("serialise {name}"), "ours", &mut |bencher| {
                bencher.iter(|| bitcoin::consensus::serialize(black_box(&*tx)));
            });
        }
    }
}

/// The same factory with four variants of its close.
fn with_ladder(factory: &Factory) -> Factory {
    let terms = factory.terms();
    let ladder = [0, 1, 2, 4].map(FeeRate::from_sat_per_vb_u32).to_vec();
    let offer = Offer { close_fee: FeeRule::Ladder(ladder), ..terms.offer().clone() };
    let terms = Terms::new(offer, terms.operator().clone(), terms.members().to_vec()).expect("the terms are valid");
    Factory::new(terms, factory.funding()).expect("it pays to the same keys")
}

/// One update of one channel, from the operator's command until both sides hold the new refund: four messages. The floor is
/// one signature of two, with what is signed hashed and the whole verified on both sides.
fn update(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("channel: an update, both sides");
    for members in [10, 100, 1_000] {
        // The most updates that there can be.
        let refund_locks = RefundLocks { initial: u16::MAX, step: 1, minimum: 1 };
        let mut parties = Parties::new(members, Offer { refund_locks, ..Offer::default() });
        parties.open();
        parties.between_two(0, pay(PAID));
        group.bench_function(BenchmarkId::new("ours", members), |bencher| {
            bencher.iter(|| parties.between_two(0, pay(Amount::ONE_SAT)));
        });
        let end = parties.operator.channel(0).expect("there is a member");
        let (state, refund) = (end.agreed().expect("it has a state"), end.refund().expect("it holds the refund"));
        assert_eq!(state.member(), PAID + Amount::ONE_SAT * u64::from(state.number() - 1), "every update has happened");
        let factory = parties.operator.factory().expect("it is open");
        let channel = factory.channel(0).expect("there is a member");
        let keys = [parties.member_keys[0].channel, parties.operator_keys.channel];
        let cache = bare::aggregate(&keys.map(|key| key.public_key()));
        let mut bare = Bare::new(0);
        group.bench_function(BenchmarkId::new("floor", members), |bencher| {
            bencher.iter(|| {
                let sighash = || channel.lock.sighash(black_box(refund.transaction()), channel.output);
                let (of_one, of_other) = (sighash(), sighash());
                assert_eq!(of_one, of_other);
                bare.sign(&cache, &keys, &of_one, 2);
            });
        });
    }
    group.finish();
}

fn pay(amount: Amount) -> Command {
    Command::Update { with: Party::Member(0), change: Change::Pay { amount } }
}

criterion_group!(name = benches; config = common::settings(); targets = transactions, update);
criterion_main!(benches);
