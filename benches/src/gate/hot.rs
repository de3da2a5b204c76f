//! The hot paths: what the gate counts. Each sets itself up, counts what it is about by `counted`, and checks what came
//! of it, so that nobody makes a path faster by making it wrong.
//!
//! All of it is the same from run to run: seeds are fixed, and there is one thread. (The standard library's hashing is seeded
//! at random, and moves the counts by far less than anybody would look at: see `benches/README.md`.)

use std::cell::Cell;
use std::hint::black_box;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Transaction, Weight};
use factory_core::protocol::{Command, Effect, Event, Input, Message, Phase, Snapshot};
use factory_core::replacement::{Candidate, Entry, Mempool, Policy};
use factory_core::tx::{FactoryClose, size};
use factory_core::{
    Factory, Lock, LockKind, MemberKeys, MemberTerms, Nonce, Offer, OperatorKeys, Party, Session, Share, Signer, Terms,
    TxName, Wallet,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use secp256k1::{Keypair, PublicKey};

use crate::parties::{CAPACITY, Parties};

/// A part of a symbol's name: callgrind counts what happens between the entry of this function and its end.
pub const COUNTED_SYMBOL: &str = "gate_counted_region";

/// A hot path at one size.
#[derive(Clone, Copy, Debug)]
pub struct Hot {
    path: &'static str,
    members: u32,
    run: fn(u32),
}

/// A name, numbers of members, and what to run with each.
type Path = (&'static str, &'static [u32], fn(u32));

/// Every hot path, at which numbers of members it is counted, and how it runs.
const PATHS: &[Path] = &[
    ("key-aggregation", &[20, 100], key_aggregation),
    ("nonce-generation", &[20], nonce_generation),
    ("nonce-aggregation", &[20, 100], nonce_aggregation),
    ("partial-signing", &[20], partial_signing),
    ("assembly-and-verification", &[20, 100], assembly_and_verification),
    ("blame", &[20, 100], blame),
    ("allocation", &[20, 100], allocation),
    ("factory-close", &[20, 100], factory_close),
    ("proposal-coding", &[20, 100], proposal_coding),
    ("channel-update", &[2], channel_update),
    ("close-ceremony-operator", &[20, 100], |members| close_ceremony(members, Party::Operator)),
    ("close-ceremony-member", &[20, 100], |members| close_ceremony(members, Party::Member(0))),
    ("lifecycle", &[3, 20], lifecycle),
    ("snapshot-encode", &[20, 100], snapshot_encode),
    ("snapshot-restore-operator", &[20, 100], snapshot_restore_operator),
    ("snapshot-restore-member", &[20, 100], snapshot_restore_member),
    ("replacement-diagram", &[20, 63], |members| replacement(members, &Policy::CORE_31)),
    ("replacement-feerate", &[20, 63], |members| replacement(members, &Policy::CORE_30)),
];

impl Hot {
    /// Every hot path at every size at which it is counted.
    pub fn all() -> Vec<Hot> {
        let sizes = |&(path, sizes, run): &Path| sizes.iter().map(move |&members| Hot { path, members, run });
        PATHS.iter().flat_map(sizes).collect()
    }

    /// Its name: the path and the number of members, such as `blame/20`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.path, self.members)
    }

    /// Sets it up and runs it once.
    ///
    /// # Panics
    ///
    /// If it does not come out as it should.
    pub fn run(&self) {
        (self.run)(self.members);
    }
}

thread_local! {
    static REGIONS: Cell<u32> = const { Cell::new(0) };
}

/// How many regions this thread has counted.
pub fn regions() -> u32 {
    REGIONS.get()
}

/// Does the work and has its instructions counted, if callgrind is watching. Several regions of one run add up. What other
/// threads do meanwhile is not counted.
fn counted<T>(work: impl FnOnce() -> T) -> T {
    let mut work = Some(work);
    let mut result = None;
    gate_counted_region(&mut || result = work.take().map(|work| work()));
    REGIONS.set(REGIONS.get() + 1);
    result.expect("the region was entered")
}

/// Not generic, so that there is one symbol of this name and it holds no other's.
#[inline(never)]
fn gate_counted_region(mut work: &mut dyn FnMut()) {
    work();
    // With nothing left to do after it, the call might become a jump, and callgrind would see the region end at once.
    black_box(&mut work);
}

fn counted_if<T>(condition: bool, work: impl FnOnce() -> T) -> T {
    if condition { counted(work) } else { work() }
}

/// All that the signers of one message need.
struct Signing {
    keys: Vec<Keypair>,
    public: Vec<PublicKey>,
    lock: Lock,
    message: [u8; 32],
    rng: ChaCha20Rng,
}

impl Signing {
    /// The operator and its members.
    fn new(members: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let mut pair = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            Keypair::from_secret_bytes(bytes).expect("no zero in sight")
        };
        let keys: Vec<_> = (0..=members).map(|_| pair()).collect();
        let public: Vec<_> = keys.iter().map(Keypair::public_key).collect();
        let lock = Lock::new(LockKind::MuSig2, &public).expect("there are keys");
        Signing { keys, public, lock, message: [7; 32], rng }
    }

    fn signers(&mut self) -> Vec<Signer> {
        let Signing { keys, lock, message, rng, .. } = self;
        keys.iter().map(|key| Signer::new(rng, lock, key, message)).collect()
    }

    fn session(&self, nonces: &[Nonce]) -> Session {
        let aggregate = self.lock.aggregate(nonces).expect("the nonces are of this lock");
        self.lock.session(&aggregate, &self.message).expect("the aggregate is of this lock")
    }

    /// Checks that these shares make a valid signature.
    fn check(&self, session: &Session, shares: &[Share]) {
        let shares = self.public.iter().zip(shares);
        let witness = self.lock.assemble(session, shares).expect("there is a share of every signer");
        assert!(self.lock.verify(&self.message, &witness));
    }
}

fn public(signers: &[Signer]) -> Vec<Nonce> {
    signers.iter().map(Signer::public).collect()
}

fn key_aggregation(members: u32) {
    let signing = Signing::new(members);
    let lock = counted(|| Lock::new(LockKind::MuSig2, &signing.public)).expect("there are keys");
    assert_eq!(lock, signing.lock);
}

/// Of every signer.
fn nonce_generation(members: u32) {
    let mut signing = Signing::new(members);
    let signers = counted(|| signing.signers());
    assert_eq!(signers.len(), signing.keys.len());
}

fn nonce_aggregation(members: u32) {
    let mut signing = Signing::new(members);
    let nonces = public(&signing.signers());
    counted(|| signing.lock.aggregate(&nonces)).expect("the nonces are of this lock");
}

/// Of every signer, each with a session of its own.
fn partial_signing(members: u32) {
    let mut signing = Signing::new(members);
    let signers = signing.signers();
    let aggregate = signing.lock.aggregate(&public(&signers)).expect("the nonces are of this lock");
    let session = || signing.lock.session(&aggregate, &signing.message).expect("the aggregate is of this lock");
    let sign = |(signer, key): (Signer, &Keypair)| signer.sign(&signing.lock, &session(), key);
    let shares: Vec<_> = counted(|| signers.into_iter().zip(&signing.keys).map(sign).collect());
    signing.check(&session(), &shares);
}

fn assembly_and_verification(members: u32) {
    let mut signing = Signing::new(members);
    let signers = signing.signers();
    let session = signing.session(&public(&signers));
    let signed = signers.into_iter().zip(&signing.keys).map(|(signer, key)| signer.sign(&signing.lock, &session, key));
    let shares: Vec<_> = signed.collect();
    counted(|| signing.check(&session, &shares));
}

fn terms(members: u32) -> Terms {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let payout = Wallet::generate(&mut rng).script_pubkey().clone();
    let operator = OperatorKeys::generate(&mut rng, payout.clone()).public();
    let mut member = || {
        let public = MemberKeys::generate(&mut rng, payout.clone()).public();
        MemberTerms { public, capacity: CAPACITY }
    };
    let members = (0..members).map(|_| member()).collect();
    Terms::new(Offer::default(), operator, members).expect("there can be such a factory")
}

/// A funding of these terms, out of nothing: nobody looks at its inputs here.
fn funding(terms: &Terms) -> Transaction {
    let output = vec![terms.factory_output()];
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: Vec::new(), output }
}

/// Builds, hashes and serialises the allocation, and with it the factory's digest.
fn allocation(members: u32) {
    let terms = terms(members);
    let funding = funding(&terms);
    let (factory, bytes) = counted(|| {
        let factory = Factory::new(terms, &funding).expect("the funding pays to it");
        factory.allocation().txid();
        let bytes = serialize(factory.allocation().transaction().as_ref());
        (factory, bytes)
    });
    assert_eq!(factory.allocation().transaction().output.len(), members as usize);
    // Version, counts, input, outputs, locktime: without a witness there is no marker.
    assert_eq!(bytes.len(), 4 + 1 + 41 + 1 + 43 * members as usize + 4);
}

/// Builds, hashes and serialises the factory close.
fn factory_close(members: u32) {
    let terms = terms(members);
    let funding = funding(&terms);
    let factory = Factory::new(terms, &funding).expect("the funding pays to it");
    let balances = vec![CAPACITY / 2; members as usize];
    let (close, bytes) = counted(|| {
        let close = FactoryClose::new(&factory, balances).expect("every channel has as much");
        let bytes: Vec<_> =
            close.rungs().iter().map(|rung| (rung.txid(), serialize(rung.transaction().as_ref()))).collect();
        (close, bytes)
    });
    assert_eq!(close.rungs().len(), 1);
    assert_eq!(bytes[0].1.len(), 4 + 1 + 41 + 1 + 43 * (members as usize + 1) + 4);
}

/// A factory with a payment in each channel, whose channels' closes are all signed.
struct Closing {
    parties: Parties,
    rng: ChaCha20Rng,
    /// Whose work counts.
    whose: Option<Party>,
}

impl Closing {
    fn new(members: u32, whose: Option<Party>) -> Self {
        let mut parties = Parties::new(members, Offer::default());
        parties.open();
        parties.pay(0..members, Amount::from_sat(100_000));
        parties.command(Command::SignCloses);
        assert_eq!(parties.operator.phase(), Phase::ClosesSigned);
        Closing { parties, rng: ChaCha20Rng::seed_from_u64(6), whose }
    }

    fn begin(&mut self) -> Vec<Effect> {
        let Closing { parties, rng, whose } = self;
        let command = Input::Command(Command::SignFactoryClose);
        counted_if(*whose == Some(Party::Operator), || parties.operator.handle(command, rng)).expect("it is honest")
    }

    /// The members' answers to what the operator has sent.
    fn members(&mut self, effects: Vec<Effect>) -> Vec<Input> {
        let Closing { parties, rng, whose } = self;
        let mut answers = Vec::new();
        for effect in effects {
            let Effect::Send { to: to @ Party::Member(index), message } = effect else { continue };
            let member = &mut parties.members[index as usize];
            let input = Input::Message { from: Party::Operator, message };
            let effects = counted_if(*whose == Some(to), || member.handle(input, rng)).expect("it is honest");
            answers.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Send { message, .. } => Some(Input::Message { from: to, message }),
                _ => None,
            }));
        }
        answers
    }

    fn operator(&mut self, answers: Vec<Input>) -> Vec<Effect> {
        let Closing { parties, rng, whose } = self;
        let results = counted_if(*whose == Some(Party::Operator), || parties.operator.handle_all(answers, rng));
        results.into_iter().flat_map(|effects| effects.expect("honest parties agree")).collect()
    }
}

/// The factory close from the command until all hold it, as far as it is work of this party.
fn close_ceremony(members: u32, whose: Party) {
    let mut closing = Closing::new(members, Some(whose));
    let mut effects = closing.begin();
    loop {
        let answers = closing.members(effects);
        if answers.is_empty() {
            break;
        }
        effects = closing.operator(answers);
    }
    let name = TxName::FactoryClose(0);
    let held = closing.parties.members[0].transaction(name).expect("every member holds the factory close");
    assert_eq!(held, closing.parties.operator.transaction(name).expect("the operator holds it"));
}

/// All shares come in, one of them is wrong, and the operator finds out whose.
fn blame(members: u32) {
    let mut closing = Closing::new(members, None);
    let proposals = closing.begin();
    let nonces = closing.members(proposals);
    let aggregates = closing.operator(nonces);
    let mut shares = closing.members(aggregates);
    let Input::Message { message, .. } = shares[1].clone() else { panic!("a member only answers") };
    shares[0] = Input::Message { from: Party::Member(0), message };
    closing.whose = Some(Party::Operator);
    let effects = closing.operator(shares);
    let wrong = Event::WrongShares { tx: TxName::FactoryClose(0), culprits: vec![Party::Member(0)] };
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Report(event) if *event == wrong)));
}

/// The proposal of the factory close to bytes and back.
fn proposal_coding(members: u32) {
    let mut closing = Closing::new(members, None);
    let sent = closing.begin().into_iter().find_map(|effect| match effect {
        Effect::Send { message, .. } => Some(message),
        _ => None,
    });
    let proposal = sent.expect("the operator proposes it");
    let (bytes, decoded) = counted(|| {
        let bytes = proposal.encode();
        let decoded = Message::decode(&bytes).expect("it was encoded just now");
        (bytes, decoded)
    });
    assert_eq!(decoded.encode(), bytes);
}

/// One payment: everything that both sides do, until the member's balance is new on both.
fn channel_update(members: u32) {
    let mut parties = Parties::new(members, Offer::default());
    parties.open();
    let before = parties.messages();
    counted(|| parties.pay(0..1, Amount::from_sat(100_000)));
    // The proposal, the other side's share, the witness, the acknowledgement.
    assert_eq!(parties.messages() - before, 4);
}

/// Everything that all parties do.
fn lifecycle(members: u32) {
    let mut parties = Parties::new(members, Offer::default());
    counted(|| parties.lifecycle());
    assert_eq!(parties.operator.phase(), Phase::FactoryCloseSigned);
}

fn closed(members: u32) -> Parties {
    let mut parties = Parties::new(members, Offer::default());
    parties.lifecycle();
    parties
}

fn snapshot_encode(members: u32) {
    let parties = closed(members);
    let bytes = counted(|| parties.operator.snapshot().encode());
    let snapshot = Snapshot::decode(&bytes).expect("it was encoded just now");
    assert_eq!(snapshot, parties.operator.snapshot());
}

fn snapshot_restore_operator(members: u32) {
    let bytes = closed(members).operator.snapshot().encode();
    let fresh = Parties::new(members, Offer::default()).operator;
    let restored = counted(|| fresh.restore(&Snapshot::decode(&bytes).expect("it is a snapshot")));
    assert_eq!(restored.expect("it is the operator's own").snapshot().encode(), bytes);
}

fn snapshot_restore_member(members: u32) {
    let bytes = closed(members).members[0].snapshot().encode();
    let fresh = Parties::new(members, Offer::default()).members.swap_remove(0);
    let restored = counted(|| fresh.restore(&Snapshot::decode(&bytes).expect("it is a snapshot")));
    assert_eq!(restored.expect("it is the member's own").snapshot().encode(), bytes);
}

/// The smallest fee with which the factory close replaces the allocation and every close, at 1 sat/vB.
fn replacement(members: u32, policy: &Policy) {
    let kind = LockKind::MuSig2;
    let at_one = |weight: Weight| Amount::from_sat(weight.to_vbytes_ceil());
    let entry = |weight, parents| Entry { fee: at_one(weight), weight, version: 2, parents };
    let mut mempool = Mempool::new();
    let allocation = mempool.push(entry(size::allocation(kind, members as usize), vec![]));
    for _ in 0..members {
        mempool.push(entry(size::channel_spend(kind, 2), vec![allocation]));
    }
    let weight = size::factory_close(kind, members as usize);
    let (parents, conflicts) = (vec![], vec![allocation]);
    let close = Candidate { weight, version: 2, parents, conflicts, dust: 0, leaves_dust: false };
    let smallest = counted(|| policy.judge(&mempool, &close, Amount::ZERO).smallest_fee());
    // The fees of all that it replaces, and its own relay at 0.1 sat/vB.
    let replaced: Amount = mempool.entries().iter().map(|entry| entry.fee).sum();
    assert_eq!(smallest, Some(replaced + Amount::from_sat(close.vsize().div_ceil(10))));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_does_its_work_and_counts_it() {
        for (path, _, run) in PATHS {
            let before = regions();
            run(2);
            assert!(regions() > before, "{path} counts nothing");
        }
    }

    #[test]
    fn names_are_different() {
        let names: BTreeSet<_> = Hot::all().iter().map(Hot::name).collect();
        assert_eq!(names.len(), Hot::all().len());
        assert!(names.contains("blame/20"));
    }

    #[test]
    fn what_callgrind_looks_for_is_the_function() {
        let name = std::any::type_name_of_val(&gate_counted_region);
        assert!(name.ends_with(&format!("::{COUNTED_SYMBOL}")), "{name}");
    }
}
