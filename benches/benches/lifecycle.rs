//! One factory from its opening to the signed factory close, in memory: every key, nonce, signature and check.

#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, Txid};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use factory_core::protocol::{Agreement, Block, Command, Effect, Input, Member, Operator};
use factory_core::tx::funding::Coin;
use factory_core::{Change, MemberKeys, Offer, OperatorKeys, Party, TxName, Wallet};
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
            Offer { feerate: FeeRate::from_sat_per_vb_u32(1), confirmations: CONFIRMATIONS, ..Offer::default() };
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

    /// Shows everybody a block.
    fn block(&mut self, height: u32, txs: Vec<Arc<Transaction>>) {
        let everybody = (0..self.members.len() as u32).map(Party::Member).chain([Party::Operator]);
        let block = Input::Block(Block { height, txs });
        self.deliver(everybody.map(|party| (party, block.clone())).collect::<Vec<_>>());
    }

    fn lifecycle(&mut self) {
        self.block(0, Vec::new());
        self.command(Command::Open);
        let funding = self.operator.transaction(TxName::Funding).expect("the funding is signed");
        let funding = Arc::clone(funding.transaction());
        self.block(1, vec![funding]);
        for height in 2..=CONFIRMATIONS {
            self.block(height, Vec::new());
        }
        for member in 0..self.members.len() as u32 {
            let change = Change::Pay { amount: Amount::from_sat(100_000) };
            self.command(Command::Update { with: Party::Member(member), change });
        }
        self.command(Command::SignCloses);
        self.command(Command::SignFactoryClose);
        let close = self.operator.transaction(TxName::FactoryClose(0)).expect("the factory close is complete");
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
