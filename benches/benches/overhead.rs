//! What the protocol costs beyond its cryptography: one factory from its opening to the signed factory close, in memory
//! and on one core, next to the bare operations on curve and hashes that it is made of, in the same run.
//!
//! `cargo bench -p benches --bench overhead -- 1000`: the number of members, 100 and 1,000 without one.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{Amount, OutPoint, Txid};
use factory_core::protocol::{Agreement, Block, Command, Effect, Input, Member, Operator, Phase};
use factory_core::tx::funding::Coin;
use factory_core::{Change, Lock, LockKind, MemberKeys, Offer, OperatorKeys, Party, TxName, Wallet};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rayon::prelude::*;
use secp256k1::musig::{AggregatedNonce, KeyAggCache, Session, SessionSecretRand};
use secp256k1::{Keypair, PublicKey, XOnlyPublicKey, schnorr};

const CAPACITY: Amount = Amount::from_sat(1_000_000);
/// How often each part is timed; the fastest counts.
const REPETITIONS: u32 = 3;

fn main() {
    let asked: Vec<u32> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![100, 1000] } else { asked };
    println!(
        "{:>7}  {:>11}  {:>10}  {:>6}  {:>10}  {:>8}  {:>9}",
        "members", "one core", "bare", "ratio", "all cores", "speed-up", "messages"
    );
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be started");
    for members in sizes {
        let mut protocol = Duration::MAX;
        let mut bare = Duration::MAX;
        let mut shared = Duration::MAX;
        let mut messages = 0;
        for _ in 0..REPETITIONS {
            let mut parties = Parties::new(members);
            let began = Instant::now();
            one_core.install(|| parties.lifecycle());
            protocol = protocol.min(began.elapsed());
            let mut others = Parties::new(members);
            let began = Instant::now();
            others.lifecycle();
            shared = shared.min(began.elapsed());
            assert_eq!(digest(&parties), digest(&others), "the cores decide nothing");
            messages = parties.messages;
            bare = bare.min(Bare::new(members).lifecycle(&parties));
        }
        let ratio = protocol.as_secs_f64() / bare.as_secs_f64();
        let faster = protocol.as_secs_f64() / shared.as_secs_f64();
        println!(
            "{members:>7}  {protocol:>11.1?}  {bare:>10.1?}  {ratio:>6.2}  {shared:>10.1?}  {faster:>8.2}  {messages:>9}"
        );
    }
}

fn digest(parties: &Parties) -> Vec<u8> {
    parties.operator.snapshot().encode()
}

struct Parties {
    operator: Operator,
    members: Vec<Member>,
    rngs: Vec<ChaCha20Rng>,
    messages: u64,
}

impl Parties {
    fn new(members: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let offer = Offer::default();
        let wallet = Wallet::generate(&mut rng);
        let txid = Txid::from_raw_hash(bitcoin::hashes::Hash::all_zeros());
        let coin = Coin { outpoint: OutPoint::new(txid, 0), value: Amount::MAX_MONEY };
        let payout = Wallet::generate(&mut rng).script_pubkey().clone();
        let keys = OperatorKeys::generate(&mut rng, payout);
        let capacities = vec![CAPACITY; members as usize];
        let operator = Operator::new(keys, wallet, vec![coin], offer.clone(), capacities, offer.feerate);
        let mut member = |index| {
            let payout = Wallet::generate(&mut rng).script_pubkey().clone();
            let keys = MemberKeys::generate(&mut rng, payout);
            Member::new(index, keys, Agreement { offer: offer.clone(), capacity: CAPACITY })
        };
        let members: Vec<_> = (0..members).map(&mut member).collect();
        let rngs = (0..=members.len() as u64).map(|seed| ChaCha20Rng::seed_from_u64(100 + seed)).collect();
        Parties { operator, members, rngs, messages: 0 }
    }

    /// Delivers messages in rounds: all that the operator is to get at once, and the members' each on any core.
    fn deliver(&mut self, inputs: impl IntoIterator<Item = (Party, Input)>) {
        let mut round: Vec<_> = inputs.into_iter().collect();
        while !round.is_empty() {
            let mut to_members: Vec<Vec<Input>> = self.members.iter().map(|_| Vec::new()).collect();
            let mut to_operator = Vec::new();
            let mut sent = Vec::new();
            for (party, input) in round {
                match (party, input) {
                    (Party::Member(member), input) => to_members[member as usize].push(input),
                    (Party::Operator, Input::Message { from, message }) => to_operator.push((from, message)),
                    (Party::Operator, input) => {
                        let effects = self.operator.handle(input, &mut self.rngs[0]).expect("it is honest");
                        sent.extend(effects.into_iter().map(|effect| (Party::Operator, effect)));
                    }
                }
            }
            let (operator_rng, member_rngs) = self.rngs.split_at_mut(1);
            for effects in self.operator.handle_all(to_operator, &mut operator_rng[0]) {
                sent.extend(effects.expect("honest parties agree").into_iter().map(|effect| (Party::Operator, effect)));
            }
            let members = self.members.par_iter_mut().zip(member_rngs).zip(to_members).enumerate();
            let of_members: Vec<_> = members
                .flat_map_iter(|(index, ((member, rng), inputs))| {
                    let effects = inputs.into_iter().flat_map(|input| member.handle(input, rng).expect("it is honest"));
                    effects.map(|effect| (Party::Member(index as u32), effect)).collect::<Vec<_>>()
                })
                .collect();
            sent.extend(of_members);
            let messages = sent.into_iter().filter_map(|(from, effect)| match effect {
                Effect::Send { to, message } => Some((to, Input::Message { from, message })),
                _ => None,
            });
            round = messages.collect();
            self.messages += round.len() as u64;
        }
    }

    fn command(&mut self, command: Command) {
        self.deliver([(Party::Operator, Input::Command(command))]);
    }

    fn lifecycle(&mut self) {
        self.command(Command::Open);
        let funding = self.operator.transaction(TxName::Funding).expect("the operator has signed it").clone();
        for height in 1..=3 {
            let txs = if height == 1 { vec![funding.transaction().clone()] } else { Vec::new() };
            let block = Input::Block(Block { height, txs });
            let everybody = (0..self.members.len() as u32).map(Party::Member).chain([Party::Operator]);
            self.deliver(everybody.map(|party| (party, block.clone())).collect::<Vec<_>>());
        }
        let change = Change::Pay { amount: Amount::from_sat(100_000) };
        let pay = |member| (Party::Operator, Input::Command(Command::Update { with: Party::Member(member), change }));
        self.deliver((0..self.members.len() as u32).map(pay).collect::<Vec<_>>());
        self.command(Command::SignCloses);
        self.command(Command::SignFactoryClose);
        assert_eq!(self.operator.phase(), Phase::FactoryCloseSigned);
        for member in &self.members {
            let close = member.transaction(TxName::FactoryClose(0)).expect("every member holds the factory close");
            assert_eq!(close.transaction().output.len(), self.members.len() + 1);
        }
    }
}

/// The operations on curve and hashes alone, in loops, with nothing between them.
struct Bare {
    operator: [Keypair; 2],
    members: Vec<[Keypair; 2]>,
    rng: ChaCha20Rng,
}

impl Bare {
    fn new(members: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut pair = || {
            [(); 2].map(|()| {
                let mut bytes = [0; 32];
                rng.fill_bytes(&mut bytes);
                Keypair::from_secret_bytes(bytes).expect("no zero in sight")
            })
        };
        let operator = pair();
        let members = (0..members).map(|_| pair()).collect();
        Bare { operator, members, rng }
    }

    /// All that one lifecycle takes: the factory's and the channels' keys; three signatures in every channel (the first
    /// refund, that after a payment, the close), two of all parties (the allocation and the factory close).
    fn lifecycle(mut self, parties: &Parties) -> Duration {
        let factory = parties.operator.factory().expect("it has run").clone();
        let close = parties.operator.transaction(TxName::FactoryClose(0)).expect("it has run").clone();
        let channel_close = parties.operator.transaction(TxName::Close(0)).expect("it has run").clone();
        let began = Instant::now();
        // Both keys of each party are sorted and aggregated as the lock does it, with the tweak of the output.
        let everybody: Vec<PublicKey> =
            self.members.iter().chain([&self.operator]).map(|pair| pair[0].public_key()).collect();
        let factory_cache = aggregate(&everybody);
        let caches: Vec<_> =
            self.members.iter().map(|pair| aggregate(&[pair[1].public_key(), self.operator[1].public_key()])).collect();
        // Each side of a channel hashes what it signs there.
        let channel_output = factory.channel(0).expect("there is a member").output.clone();
        for _ in 0..3 {
            for (member, cache) in caches.iter().enumerate() {
                let message = [7; 32];
                for _ in 0..2 {
                    black_box(sighash(factory.channel(0).expect("it is there").lock, &channel_close, &channel_output));
                }
                let keys = [self.members[member][1], self.operator[1]];
                self.sign(cache, &keys, &message, 2);
            }
        }
        let keys: Vec<Keypair> = self.members.iter().chain([&self.operator]).map(|pair| pair[0]).collect();
        let factory_output = factory.terms().factory_output();
        for per_party in [false, true] {
            // The allocation is derived once with the factory; each party derives the factory close by itself.
            let message = [9; 32];
            for _ in 0..if per_party { keys.len() } else { 1 } {
                black_box(sighash(factory.terms().factory_lock(), &close, &factory_output));
            }
            self.sign(&factory_cache, &keys, &message, keys.len());
        }
        began.elapsed()
    }

    /// One signature by all of `keys`: nonces, one aggregate of them, and for each signer the session, its share, and a
    /// verification of the whole. Where there are but two signers each aggregates the nonces itself.
    fn sign(
        &mut self,
        (cache, output_key): &(KeyAggCache, XOnlyPublicKey),
        keys: &[Keypair],
        message: &[u8; 32],
        verifiers: usize,
    ) {
        let nonces: Vec<_> = keys
            .iter()
            .map(|key| {
                let (mut session, mut extra) = ([0; 32], [0; 32]);
                self.rng.fill_bytes(&mut session);
                self.rng.fill_bytes(&mut extra);
                let rand = SessionSecretRand::assume_unique_per_nonce_gen(session, &key.secret_key());
                cache.nonce_gen_with_uniform_randomness(rand, key.public_key(), message, extra)
            })
            .collect();
        let public: Vec<_> = nonces.iter().map(|(_, public)| public).collect();
        if keys.len() == 2 {
            black_box(AggregatedNonce::new(&public));
        }
        let aggregated = AggregatedNonce::new(&public);
        let mut partials = Vec::with_capacity(keys.len());
        let mut last = None;
        for (key, (secret, _)) in keys.iter().zip(nonces) {
            let session = Session::new(cache, aggregated, message);
            partials.push(session.partial_sign(secret, key, cache));
            last = Some(session);
        }
        let signature: schnorr::Signature =
            last.expect("there is a signer").partial_sig_agg(&partials.iter().collect::<Vec<_>>()).assume_valid();
        for _ in 0..verifiers {
            assert!(schnorr::verify(&signature, message, output_key).is_ok());
        }
    }
}

/// Sorted, aggregated and tweaked as an output without a script path.
fn aggregate(keys: &[PublicKey]) -> (KeyAggCache, XOnlyPublicKey) {
    let mut keys: Vec<&PublicKey> = keys.iter().collect();
    secp256k1::sort_pubkeys(&mut keys);
    let mut cache = KeyAggCache::new(&keys);
    let tweak = <bitcoin::TapTweakHash as bitcoin::hashes::Hash>::hash(&cache.agg_pk().to_byte_array());
    let tweak = secp256k1::Scalar::from_be_bytes(bitcoin::hashes::Hash::to_byte_array(tweak)).expect("in range");
    let tweaked = cache.pubkey_xonly_tweak_add(&tweak).expect("the tweak is no key's negation");
    (cache, tweaked.x_only_public_key().0)
}

fn sighash(lock: &Lock, complete: &Arc<factory_core::tx::Complete>, spent: &bitcoin::TxOut) -> [u8; 32] {
    assert_eq!(lock.kind(), LockKind::MuSig2);
    lock.sighash(complete.transaction(), spent)
}
