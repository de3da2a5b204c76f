//! The one way in which parties sign a transaction together: MuSig2 (BIP 327) in two rounds, with the operator as
//! coordinator and as last signer.
//!
//! A [`Coordinator`] is the operator's side of a signing session, a [`Participant`] a member's. Both fail before they
//! change: a refused message leaves them as they were.

use std::ops::Range;
use std::sync::Arc;

use bitcoin::Amount;
use rand_core::CryptoRng;
use secp256k1::musig::{AggregatedNonce, PartialSignature, PublicNonce, Session};
use secp256k1::{Keypair, PublicKey, schnorr};

use super::{Proposal, Reason};
use crate::channel::{Channel, CloseError};
use crate::factory::Factory;
use crate::lock::{Lock, Signer};
use crate::name::{Party, TxName};
use crate::terms::party;
use crate::tx::{Complete, FactoryClose, Unsigned, channel_close};

/// A transaction to sign, as this party has derived it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    factory: Arc<Factory>,
    subject: Subject,
}

#[derive(Clone, Debug)]
enum Subject {
    Allocation,
    Close { member: u32, balance: Amount, state: u64, unsigned: Unsigned },
    FactoryClose(Arc<FactoryClose>),
}

impl Task {
    pub(super) fn allocation(factory: &Arc<Factory>) -> Self {
        Task { factory: factory.clone(), subject: Subject::Allocation }
    }

    pub(super) fn close(factory: &Arc<Factory>, member: u32, channel: &Channel) -> Result<Self, CloseError> {
        let (balance, state) = (channel.member(), channel.state());
        let unsigned = channel_close::build(factory, member, balance)?;
        Ok(Task { factory: factory.clone(), subject: Subject::Close { member, balance, state, unsigned } })
    }

    pub(super) fn factory_close(factory: &Arc<Factory>, close: &Arc<FactoryClose>) -> Self {
        Task { factory: factory.clone(), subject: Subject::FactoryClose(close.clone()) }
    }

    pub(super) fn name(&self) -> TxName {
        match &self.subject {
            Subject::Allocation => TxName::Allocation,
            Subject::Close { member, .. } => TxName::Close(*member),
            Subject::FactoryClose(_) => TxName::FactoryClose,
        }
    }

    pub(super) fn proposal(&self) -> Proposal {
        match &self.subject {
            Subject::Allocation => Proposal::Allocation,
            Subject::Close { balance, state, .. } => Proposal::Close { balance: *balance, state: *state },
            Subject::FactoryClose(close) => Proposal::FactoryClose(close.clone()),
        }
    }

    /// Whether `proposal` proposes this.
    pub(super) fn is(&self, proposal: &Proposal) -> bool {
        match (&self.subject, proposal) {
            (Subject::Allocation, Proposal::Allocation) => true,
            (Subject::Close { balance, state, .. }, Proposal::Close { balance: found_balance, state: found_state }) => {
                (balance, state) == (found_balance, found_state)
            }
            (Subject::FactoryClose(close), Proposal::FactoryClose(found)) => {
                close.unsigned().txid() == found.unsigned().txid()
            }
            _ => false,
        }
    }

    /// The members that sign.
    pub(super) fn signers(&self) -> Range<u32> {
        match &self.subject {
            Subject::Close { member, .. } => *member..member + 1,
            _ => 0..self.factory.terms().members().len() as u32,
        }
    }

    fn unsigned(&self) -> &Unsigned {
        match &self.subject {
            Subject::Allocation => self.factory.allocation(),
            Subject::Close { unsigned, .. } => unsigned,
            Subject::FactoryClose(close) => close.unsigned(),
        }
    }

    fn lock(&self) -> &Lock {
        match &self.subject {
            Subject::Close { member, .. } => &self.factory.terms().channel_locks()[*member as usize],
            _ => self.factory.terms().factory_lock(),
        }
    }

    fn public_key(&self, member: u32) -> PublicKey {
        let public = &self.factory.terms().members()[member as usize].public;
        if let Subject::Close { .. } = self.subject { public.channel } else { public.factory }
    }

    fn complete(&self, signature: &schnorr::Signature) -> Result<Arc<Complete>, Reason> {
        Ok(Arc::new(self.unsigned().complete(self.lock(), signature)?))
    }

    fn draw(&self, key: &Keypair, rng: &mut (impl CryptoRng + ?Sized)) -> Signer {
        Signer::new(rng, self.lock(), key, self.unsigned().sighash())
    }

    fn session(&self, aggregate: AggregatedNonce) -> Session {
        self.lock().session(aggregate, self.unsigned().sighash())
    }
}

/// One value from each member that signs.
#[derive(Debug)]
struct Gathered<T> {
    values: Vec<Option<T>>,
    missing: usize,
}

impl<T: PartialEq> Gathered<T> {
    fn new(signers: usize) -> Self {
        Gathered { values: (0..signers).map(|_| None).collect(), missing: signers }
    }

    /// Takes a value in. Says whether all are there now, and were not before.
    fn put(&mut self, slot: usize, value: T, what: &'static str) -> Result<bool, Reason> {
        match &self.values[slot] {
            Some(known) if *known == value => Ok(false),
            Some(_) => Err(Reason::Contradiction(what)),
            None => {
                self.values[slot] = Some(value);
                self.missing -= 1;
                Ok(self.missing == 0)
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }
}

/// The operator's side of a signing session.
#[derive(Debug)]
pub(super) struct Coordinator {
    task: Task,
    session: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Nonces { own: Signer, nonces: Gathered<PublicNonce> },
    Partials { own: Signer, session: Session, nonces: Gathered<PublicNonce>, partials: Gathered<PartialSignature> },
    Signed { signature: schnorr::Signature, held: Gathered<()> },
    Failed,
}

/// What a message leads to.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing, yet.
    None,
    /// All nonces are there.
    Aggregate(AggregatedNonce),
    /// All partial signatures are there, and the signature is good.
    Signed(schnorr::Signature, Arc<Complete>),
    /// All partial signatures are there, and these are wrong.
    Failed(Vec<Party>),
    /// Every member that signs holds the transaction.
    HeldByAll,
}

impl Coordinator {
    /// Begins the first session. `key` is the operator's for this transaction.
    pub(super) fn new(task: Task, key: &Keypair, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let stage = Coordinator::first_stage(&task, key, rng);
        Coordinator { task, session: 1, stage }
    }

    /// Begins another session of the same transaction, with fresh nonces.
    pub(super) fn renew(&mut self, key: &Keypair, rng: &mut (impl CryptoRng + ?Sized)) {
        self.stage = Coordinator::first_stage(&self.task, key, rng);
        self.session += 1;
    }

    fn first_stage(task: &Task, key: &Keypair, rng: &mut (impl CryptoRng + ?Sized)) -> Stage {
        Stage::Nonces { own: task.draw(key, rng), nonces: Gathered::new(task.signers().len()) }
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    pub(super) fn session(&self) -> u32 {
        self.session
    }

    /// The signature, if there is one, and who has not acknowledged that it holds the transaction.
    pub(super) fn unacknowledged(&self) -> Option<(schnorr::Signature, Vec<u32>)> {
        let Stage::Signed { signature, held } = &self.stage else { return None };
        let missing = self.task.signers().zip(&held.values).filter(|(_, held)| held.is_none());
        Some((*signature, missing.map(|(member, _)| member).collect()))
    }

    fn slot(&self, member: u32) -> usize {
        (member - self.task.signers().start) as usize
    }

    /// A nonce from `member`, which is one of the signers.
    pub(super) fn nonce(&mut self, member: u32, nonce: PublicNonce) -> Result<Progress, Reason> {
        let slot = self.slot(member);
        match &mut self.stage {
            Stage::Nonces { nonces, .. } => {
                if !nonces.put(slot, nonce, "nonce")? {
                    return Ok(Progress::None);
                }
            }
            Stage::Partials { nonces, .. } => {
                nonces.put(slot, nonce, "nonce")?;
                return Ok(Progress::None);
            }
            Stage::Signed { .. } | Stage::Failed => return Ok(Progress::None),
        }
        let Stage::Nonces { own, nonces } = std::mem::replace(&mut self.stage, Stage::Failed) else {
            unreachable!("the stage was just matched")
        };
        let own_nonce = own.public();
        let aggregate = AggregatedNonce::new(&nonces.all().chain([&own_nonce]).collect::<Vec<_>>());
        let partials = Gathered::new(nonces.values.len());
        self.stage = Stage::Partials { own, session: self.task.session(aggregate), nonces, partials };
        Ok(Progress::Aggregate(aggregate))
    }

    /// A partial signature from `member`, which is one of the signers. The last one makes the operator add its own.
    pub(super) fn partial(
        &mut self,
        member: u32,
        partial: PartialSignature,
        key: &Keypair,
    ) -> Result<Progress, Reason> {
        let slot = self.slot(member);
        match &mut self.stage {
            Stage::Nonces { .. } => return Err(Reason::Unexpected("a partial signature before the aggregate nonce")),
            Stage::Partials { partials, .. } => {
                if !partials.put(slot, partial, "partial signature")? {
                    return Ok(Progress::None);
                }
            }
            Stage::Signed { .. } | Stage::Failed => return Ok(Progress::None),
        }
        let Stage::Partials { own, session, nonces, partials } = std::mem::replace(&mut self.stage, Stage::Failed)
        else {
            unreachable!("the stage was just matched")
        };
        let own = own.sign(self.task.lock(), &session, key);
        let signature = session.partial_sig_agg(&partials.all().chain([&own]).collect::<Vec<_>>()).assume_valid();
        if let Ok(complete) = self.task.complete(&signature) {
            self.stage = Stage::Signed { signature, held: Gathered::new(partials.values.len()) };
            return Ok(Progress::Signed(signature, complete));
        }
        // Only now is it worth a verification each. There is at least one culprit: good shares make a good signature.
        let shares = self.task.signers().zip(nonces.all().zip(partials.all()));
        let wrong = shares.filter(|(member, (nonce, partial))| {
            !self.task.lock().verify_partial(&session, self.task.public_key(*member), nonce, partial)
        });
        Ok(Progress::Failed(wrong.map(|(member, _)| party(member as usize)).collect()))
    }

    /// `member`, which is one of the signers, holds the transaction.
    pub(super) fn held(&mut self, member: u32) -> Result<Progress, Reason> {
        let slot = self.slot(member);
        let Stage::Signed { held, .. } = &mut self.stage else {
            return Err(Reason::Unexpected("an acknowledgement of a signature that was not sent"));
        };
        Ok(if held.put(slot, (), "acknowledgement")? { Progress::HeldByAll } else { Progress::None })
    }
}

/// A member's side of a signing session.
#[derive(Debug)]
pub(super) struct Participant {
    task: Task,
    session: u32,
    stage: MemberStage,
}

#[derive(Debug)]
enum MemberStage {
    /// The public nonce has been sent.
    Ready(Signer),
    /// The partial signature has been sent. The secret nonce is no more.
    Released(AggregatedNonce),
    /// The transaction is complete.
    Held(schnorr::Signature),
}

impl Participant {
    /// Takes part in `session`, and the nonce to send. What the member has to check comes before.
    pub(super) fn new(
        task: Task,
        session: u32,
        key: &Keypair,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> (Self, PublicNonce) {
        let signer = task.draw(key, rng);
        let nonce = signer.public();
        (Participant { task, session, stage: MemberStage::Ready(signer) }, nonce)
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    pub(super) fn session(&self) -> u32 {
        self.session
    }

    pub(super) fn holds(&self) -> bool {
        matches!(self.stage, MemberStage::Held(_))
    }

    /// The aggregate nonce: the partial signature to send, unless it has been sent.
    pub(super) fn aggregate(
        &mut self,
        aggregate: AggregatedNonce,
        key: &Keypair,
    ) -> Result<Option<PartialSignature>, Reason> {
        match &self.stage {
            MemberStage::Ready(_) => {}
            MemberStage::Released(known) if *known != aggregate => {
                return Err(Reason::Contradiction("aggregate nonce"));
            }
            MemberStage::Released(_) | MemberStage::Held(_) => return Ok(None),
        }
        let MemberStage::Ready(signer) = std::mem::replace(&mut self.stage, MemberStage::Released(aggregate)) else {
            unreachable!("the stage was just matched")
        };
        Ok(Some(signer.sign(self.task.lock(), &self.task.session(aggregate), key)))
    }

    /// The signature: the complete transaction, unless it is held already.
    pub(super) fn signature(&mut self, signature: schnorr::Signature) -> Result<Option<Arc<Complete>>, Reason> {
        match &self.stage {
            MemberStage::Ready(_) => Err(Reason::Unexpected("a signature that this party has no share in")),
            MemberStage::Released(_) => {
                let complete = self.task.complete(&signature)?;
                self.stage = MemberStage::Held(signature);
                Ok(Some(complete))
            }
            MemberStage::Held(known) if *known == signature => Ok(None),
            MemberStage::Held(_) => Err(Reason::Contradiction("signature")),
        }
    }
}
