//! The signing of one factory close, or of one allocation, played again and again, with only one party's work timed: for how
//! long its thread has a processor.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{Amount, Transaction, TxOut};
use factory_core::protocol::{Body, Command, Effect, Input, Joint, Message, Operator, Phase, Proposal, Snapshot, Step};
use factory_core::{AggregateNonce, Digest, Factory, Lock, Offer, Party, Signer};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use secp256k1::musig::{AggregatedNonce, KeyAggCache, PartialSignature, PublicNonce, Session};
use secp256k1::{Keypair, PublicKey, XOnlyPublicKey, schnorr};

use crate::parties::Parties;
use crate::{bare, clock};

/// A factory whose channels are all closed, as its operator has stored it.
#[derive(Debug)]
pub struct Ceremony {
    parties: Parties,
    factory: Arc<Factory>,
    stored: Snapshot,
    rng: ChaCha20Rng,
    sessions: u32,
}

/// How long the operator takes over one signature by all.
#[derive(Clone, Copy, Debug)]
pub struct OperatorTimes {
    /// Over the command: it derives and hashes the factory close, draws its own nonces, and proposes it to every member.
    pub proposal: Duration,
    /// Over the nonces and shares of all members, until it holds the complete transaction: it adds up the nonces, signs
    /// its own share, adds up the shares, verifies the whole, and says so to every member.
    pub from_nonces: Duration,
}

/// What the operator proposes to sign, and the aggregate of all nonces.
#[derive(Clone, Debug)]
pub struct Proposals {
    joint: Joint,
    proposal: Arc<Proposal>,
    aggregates: Arc<Vec<AggregateNonce>>,
}

/// The bare values of one signature by all, before they are put together.
#[derive(Debug)]
pub struct BareSigning {
    keys: Vec<PublicKey>,
    cache: KeyAggCache,
    output_key: XOnlyPublicKey,
    message: [u8; 32],
    nonces: Vec<PublicNonce>,
    shares: Vec<PartialSignature>,
}

/// What a member needs for its part of one signature, by nothing but the crate `secp256k1`.
#[derive(Debug)]
pub struct BareMember {
    cache: KeyAggCache,
    key: Keypair,
    aggregate: AggregatedNonce,
    lock: Lock,
    output: TxOut,
    tx: Arc<Transaction>,
    message: [u8; 32],
    rng: ChaCha20Rng,
}

impl Ceremony {
    /// A factory of so many members, opened, with a payment in each channel, and every channel's close signed.
    pub fn new(members: u32, offer: Offer) -> Self {
        let mut parties = Parties::new(members, offer);
        parties.open();
        parties.pay(0..members, Amount::from_sat(100_000));
        parties.sign_closes();
        let factory = parties.operator.factory().expect("it is open").clone();
        let stored = parties.operator.snapshot();
        Ceremony { parties, factory, stored, rng: ChaCha20Rng::seed_from_u64(4), sessions: 1 }
    }

    /// The parties.
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// The operator's work on one factory close, from the command to the complete transaction. The members' work is not in
    /// it, nor is the restoring of the operator before.
    ///
    /// From the nonces on, the second of two sessions is timed, which comes after one that a member has left unfinished, and
    /// messages are copied just before: so what the operator reads is in the processor's caches, as it is for bare loops.
    pub fn operator(&mut self) -> OperatorTimes {
        let mut operator = self.parties.new_operator().restore(&self.stored).expect("it has stored this");
        let (proposal, effects) = self.timed(&mut operator, vec![Input::Command(Command::SignFactoryClose)]);
        let (signers, nonces) = self.nonces(&effects);
        let (_, effects) = self.timed(&mut operator, nonces);
        let mut shares = self.shares(signers, &effects);
        shares.pop();
        self.timed(&mut operator, shares);

        let (_, effects) = self.timed(&mut operator, vec![Input::Command(Command::SignFactoryClose)]);
        let (signers, nonces) = self.nonces(&effects);
        let (added_up, effects) = self.timed(&mut operator, nonces.clone());
        let shares = self.shares(signers, &effects);
        let (completed, _) = self.timed(&mut operator, shares.clone());
        assert_eq!(operator.phase(), Phase::FactoryCloseSigned);
        OperatorTimes { proposal, from_nonces: added_up + completed }
    }

    /// All members' answers to the proposal among these effects, and who will sign.
    fn nonces(&mut self, effects: &[Effect]) -> (Vec<(Signer, [u8; 32])>, Vec<Input>) {
        let Some((session, Step::Propose(proposal))) = first_step(effects) else { panic!("a proposal comes first") };
        let (factory, lock, sighashes) =
            (self.factory.digest(), self.factory.terms().factory_lock(), self.sighashes(&proposal));
        let (mut signers, mut answers) = (Vec::new(), Vec::new());
        for (member, keys) in self.parties.member_keys.iter().enumerate() {
            let first = signers.len();
            signers.extend(
                sighashes.iter().map(|sighash| (Signer::new(&mut self.rng, lock, &keys.factory, sighash), *sighash)),
            );
            let nonces = signers[first..].iter().map(|(signer, _)| signer.public()).collect();
            answers.push(answer(member, factory, session, Step::Nonces(nonces)));
        }
        (signers, answers)
    }

    /// All members' answers to the aggregate nonces among these effects.
    fn shares(&self, signers: Vec<(Signer, [u8; 32])>, effects: &[Effect]) -> Vec<Input> {
        let Some((number, Step::Aggregates(aggregates))) = first_step(effects) else { panic!("all nonces are there") };
        let (factory, lock) = (self.factory.digest(), self.factory.terms().factory_lock());
        let mut sessions = Vec::new();
        for ((_, sighash), aggregate) in signers.iter().zip(aggregates.iter()) {
            sessions.push(lock.session(aggregate, sighash).expect("it is this lock's"));
        }
        let mut signers = signers.into_iter().map(|(signer, _)| signer);
        let mut answers = Vec::new();
        for (member, keys) in self.parties.member_keys.iter().enumerate() {
            let share = |session| signers.next().expect("one for each variant").sign(lock, session, &keys.factory);
            let shares = sessions.iter().map(share).collect();
            answers.push(answer(member, factory, number, Step::Shares(shares)));
        }
        answers
    }

    /// How long the operator takes over these inputs, and what comes of the last.
    fn timed(&mut self, operator: &mut Operator, inputs: Vec<Input>) -> (Duration, Vec<Effect>) {
        let mut effects = Vec::new();
        let began = clock::thread();
        for input in inputs {
            effects = operator.handle(input, &mut self.rng).expect("all are honest");
        }
        (clock::thread() - began, effects)
    }

    /// What all sign for each variant that is proposed.
    fn sighashes(&self, proposal: &Proposal) -> Vec<[u8; 32]> {
        let terms = self.factory.terms();
        let output = terms.factory_output();
        let proposed = match proposal {
            Proposal::Allocation(proposed) => std::slice::from_ref(proposed),
            Proposal::FactoryClose { rungs, .. } => rungs,
        };
        proposed.iter().map(|proposed| terms.factory_lock().sighash(&proposed.tx, &output)).collect()
    }

    /// What a member is asked to sign, with an aggregate of nonces.
    pub fn proposals(&mut self, joint: Joint) -> Proposals {
        let proposal = match joint {
            Joint::Allocation => {
                let tx = self.factory.allocation().transaction().clone();
                let sighash = self.factory.terms().offer().lock.sighash_type();
                Arc::new(Proposal::Allocation(factory_core::protocol::Proposed { tx, sighash }))
            }
            Joint::FactoryClose => {
                let mut operator = self.parties.new_operator().restore(&self.stored).expect("it has stored this");
                let effects = operator.handle(Input::Command(Command::SignFactoryClose), &mut self.rng);
                let step = first_step(&effects.expect("every close is signed"));
                let Some((_, Step::Propose(proposal))) = step else { panic!("a proposal comes first") };
                proposal
            }
        };
        let sighashes = self.sighashes(&proposal);
        let lock = self.factory.terms().factory_lock();
        let aggregate = |sighash: &[u8; 32]| {
            let key = &self.parties.operator_keys.factory;
            lock.aggregate([&Signer::new(&mut self.rng, lock, key, sighash).public()]).expect("it is this lock's")
        };
        let aggregates = Arc::new(sighashes.iter().map(aggregate).collect());
        Proposals { joint, proposal, aggregates }
    }

    /// A member's work on one signature by all: the time that it takes over the proposal and the aggregate of nonces.
    pub fn member(&mut self, proposals: &Proposals) -> Duration {
        self.sessions += 1;
        let (factory, joint, session) = (self.factory.digest(), proposals.joint, self.sessions);
        let message = |step| {
            let body = Body::Sign { joint, session, step };
            Input::Message { from: Party::Operator, message: Message::About { factory, body } }
        };
        let proposal = message(Step::Propose(proposals.proposal.clone()));
        let aggregates = message(Step::Aggregates(proposals.aggregates.clone()));
        let member = &mut self.parties.members[0];
        let began = clock::thread();
        let nonces = member.handle(proposal, &mut self.rng).expect("it is what it derives");
        let shares = member.handle(aggregates, &mut self.rng).expect("it has sent its nonces");
        let spent = clock::thread() - began;
        assert!(matches!(first_step(&nonces), Some((_, Step::Nonces(_)))));
        assert!(matches!(first_step(&shares), Some((_, Step::Shares(_)))));
        spent
    }

    /// The bare part of a member's work.
    pub fn bare_member(&mut self, proposals: &Proposals) -> BareMember {
        let (terms, key) = (self.factory.terms(), self.parties.member_keys[0].factory);
        let (cache, _) = self.bare_keys();
        let tx = match &*proposals.proposal {
            Proposal::Allocation(proposed) => &proposed.tx,
            Proposal::FactoryClose { rungs, .. } => &rungs[0].tx,
        };
        let (lock, output, tx) = (terms.factory_lock().clone(), terms.factory_output(), tx.clone());
        let message = lock.sighash(&tx, &output);
        let (_, other) = bare::nonce(&cache, &self.parties.operator_keys.factory, &message, &mut self.rng);
        let aggregate = AggregatedNonce::new(&[&other]);
        BareMember { cache, key, aggregate, lock, output, tx, message, rng: self.rng.clone() }
    }

    fn bare_keys(&self) -> (KeyAggCache, XOnlyPublicKey) {
        let terms = self.factory.terms();
        let keys = terms.members().iter().map(|member| member.public.factory).chain([terms.operator().factory]);
        bare::aggregate(&keys.collect::<Vec<_>>())
    }

    /// Nonces and partial signatures of all, by nothing but the crate `secp256k1`.
    pub fn bare_signing(&mut self) -> BareSigning {
        let (cache, output_key) = self.bare_keys();
        let message = [9; 32];
        let of_members = self.parties.member_keys.iter().map(|keys| keys.factory);
        let keys: Vec<Keypair> = of_members.chain([self.parties.operator_keys.factory]).collect();
        let (secret, nonces): (Vec<_>, Vec<_>) =
            keys.iter().map(|key| bare::nonce(&cache, key, &message, &mut self.rng)).unzip();
        let session = Session::new(&cache, AggregatedNonce::new(&nonces.iter().collect::<Vec<_>>()), &message);
        let shares = secret.into_iter().zip(&keys).map(|(secret, key)| session.partial_sign(secret, key, &cache));
        let shares = shares.collect();
        let keys = keys.iter().map(Keypair::public_key).collect();
        BareSigning { keys, cache, output_key, message, nonces, shares }
    }
}

impl BareMember {
    /// Nonces, the session under their aggregate, and the partial signature. With `hashing` the hash of what is signed is
    /// in it, too.
    pub fn run(&mut self, hashing: bool) -> Duration {
        let began = clock::thread();
        let message = if hashing { self.lock.sighash(&self.tx, &self.output) } else { self.message };
        let (secret, public) = bare::nonce(&self.cache, &self.key, &message, &mut self.rng);
        let share = Session::new(&self.cache, self.aggregate, &message).partial_sign(secret, &self.key, &self.cache);
        let spent = clock::thread() - began;
        std::hint::black_box((public, share));
        spent
    }
}

impl BareSigning {
    /// The least that a coordinator must do: add up the nonces, begin the session, add up the shares, and verify the whole.
    pub fn optimistic(&self) -> Duration {
        let began = clock::thread();
        let aggregate = AggregatedNonce::new(&self.nonces.iter().collect::<Vec<_>>());
        let session = Session::new(&self.cache, aggregate, &self.message);
        let signature = session.partial_sig_agg(&self.shares.iter().collect::<Vec<_>>()).assume_valid();
        let valid = schnorr::verify(&signature, &self.message, &self.output_key).is_ok();
        let spent = clock::thread() - began;
        assert!(valid);
        spent
    }

    /// The same, with every share verified by itself in place of the whole.
    pub fn every_share(&self) -> Duration {
        let began = clock::thread();
        let aggregate = AggregatedNonce::new(&self.nonces.iter().collect::<Vec<_>>());
        let session = Session::new(&self.cache, aggregate, &self.message);
        let mut given = self.keys.iter().zip(&self.nonces).zip(&self.shares);
        let good = given.all(|((key, nonce), share)| session.partial_verify(&self.cache, share, nonce, *key));
        let signature = session.partial_sig_agg(&self.shares.iter().collect::<Vec<_>>());
        let spent = clock::thread() - began;
        std::hint::black_box(signature);
        assert!(good);
        spent
    }
}

fn answer(member: usize, factory: Digest, session: u32, step: Step) -> Input {
    let body = Body::Sign { joint: Joint::FactoryClose, session, step };
    Input::Message { from: Party::Member(member as u32), message: Message::About { factory, body } }
}

/// The first step of a signing session that is sent, with the session's number.
fn first_step(effects: &[Effect]) -> Option<(u32, Step)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::About { body: Body::Sign { session, step, .. }, .. }, .. } => {
            Some((*session, step.clone()))
        }
        _ => None,
    })
}
