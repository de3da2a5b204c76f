//! One factory from its opening to the signed factory close, in memory: every key, nonce, signature and check.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

use std::collections::VecDeque;
use std::hint::black_box;

use bitcoin::{Amount, FeeRate, OutPoint, Txid};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use factory_core::protocol::{Agreement, Command, Effect, Input, Member, Operator};
use factory_core::tx::funding::Coin;
use factory_core::{MemberKeys, Offer, OperatorKeys, Party, TxName, TxVersion, Wallet};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

const CAPACITY: Amount = Amount::from_sat(1_000_000);
const CONFIRMATIONS: u32 = 3;

struct Parties {
    operator: Operator,
    members: Vec<Member>,
    rng: ChaCha20Rng,
}

impl Parties {
    fn new(members: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let offer =
            Offer { version: TxVersion::Two, feerate: FeeRate::from_sat_per_vb_u32(1), confirmations: CONFIRMATIONS };
        let wallet = Wallet::generate(&mut rng);
        let coin = Coin {
            outpoint: OutPoint::new(Txid::from_raw_hash(bitcoin::hashes::Hash::all_zeros()), 0),
            value: Amount::MAX_MONEY,
        };
        let payout = Wallet::generate(&mut rng).script_pubkey().clone();
        let keys = OperatorKeys::generate(&mut rng, payout);
        let capacities = vec![CAPACITY; members as usize];
        let operator = Operator::new(keys, wallet, vec![coin], offer.clone(), capacities, offer.feerate);
        let member = |index| {
            let payout = Wallet::generate(&mut rng).script_pubkey().clone();
            let keys = MemberKeys::generate(&mut rng, payout);
            Member::new(index, keys, Agreement { offer: offer.clone(), capacity: CAPACITY })
        };
        Parties { members: (0..members).map(member).collect(), operator, rng }
    }

    fn deliver(&mut self, inputs: impl IntoIterator<Item = (Party, Input)>) {
        let mut queue: VecDeque<_> = inputs.into_iter().collect();
        while let Some((party, input)) = queue.pop_front() {
            let effects = match party {
                Party::Operator => self.operator.handle(input, &mut self.rng),
                Party::Member(member) => self.members[member as usize].handle(input, &mut self.rng),
            };
            for effect in effects.expect("honest parties agree") {
                if let Effect::Send { to, message } = effect {
                    queue.push_back((to, Input::Message { from: party, message }));
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.deliver([(Party::Operator, Input::Command(command))]);
    }

    fn lifecycle(&mut self) {
        self.command(Command::Open);
        let everybody = (0..self.members.len() as u32).map(Party::Member).chain([Party::Operator]);
        let confirmed = Input::Confirmed { tx: TxName::Funding, confirmations: CONFIRMATIONS };
        self.deliver(everybody.map(|party| (party, confirmed.clone())).collect::<Vec<_>>());
        for member in 0..self.members.len() as u32 {
            self.command(Command::Pay { to: Party::Member(member), amount: Amount::from_sat(100_000) });
        }
        self.command(Command::SignCloses);
        self.command(Command::SignFactoryClose);
        let close = self.operator.transaction(TxName::FactoryClose).expect("the factory close is complete");
        assert_eq!(close.transaction().output.len(), self.members.len() + 1);
    }
}

fn lifecycle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lifecycle in memory");
    group.sample_size(10);
    for members in [3, 20, 200] {
        group.throughput(Throughput::Elements(u64::from(members)));
        group.bench_with_input(BenchmarkId::from_parameter(members), &members, |bencher, &members| {
            let parties = || Parties::new(members);
            bencher.iter_batched(
                parties,
                |mut parties| black_box(&mut parties).lifecycle(),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, lifecycle);
criterion_main!(benches);
