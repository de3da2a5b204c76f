//! How all parties sign together: in two rounds, with the operator as coordinator and as last signer.
//!
//! A [`Coordinator`] is the operator's side of a signing session, a [`Participant`] a member's. All variants of the
//! transaction are signed at once, each with nonces of its own. Both sides fail before they change: a refused message
//! leaves them as they were.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use rand_core::CryptoRng;
use secp256k1::Keypair;

use super::message::{Joint, Proposal, Proposed, WireWitness};
use super::{Mismatch, Reason};
use crate::factory::Factory;
use crate::lock::{AggregateNonce, Lock, Nonce, Session, Share, Signer};
use crate::name::{Party, TxName};
use crate::terms::party;
use crate::tx::{Complete, FactoryClose, Unsigned};

/// What is signed, as this party has derived it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    factory: Arc<Factory>,
    close: Option<Arc<FactoryClose>>,
}

impl Task {
    pub(super) fn allocation(factory: &Arc<Factory>) -> Self {
        Task { factory: factory.clone(), close: None }
    }

    pub(super) fn factory_close(factory: &Arc<Factory>, close: &Arc<FactoryClose>) -> Self {
        Task { factory: factory.clone(), close: Some(close.clone()) }
    }

    pub(super) fn joint(&self) -> Joint {
        if self.close.is_some() { Joint::FactoryClose } else { Joint::Allocation }
    }

    /// The names of the variants.
    pub(super) fn names(&self) -> Vec<TxName> {
        names(self.joint(), self.variants().len())
    }

    pub(super) fn proposal(&self) -> Proposal {
        let sighash = self.lock().kind().sighash_type();
        match &self.close {
            None => Proposal::Allocation(Proposed::new(self.factory.allocation(), sighash)),
            Some(close) => Proposal::FactoryClose {
                balances: close.balances().clone(),
                rungs: close.rungs().iter().map(|rung| Proposed::new(rung, sighash)).collect(),
            },
        }
    }

    fn variants(&self) -> &[Unsigned] {
        match &self.close {
            None => std::slice::from_ref(self.factory.allocation()),
            Some(close) => close.rungs(),
        }
    }

    fn lock(&self) -> &Lock {
        self.factory.terms().factory_lock()
    }

    /// Puts the witnesses in, if every one is good.
    pub(super) fn complete(&self, witnesses: &[WireWitness]) -> Result<Vec<Arc<Complete>>, Reason> {
        counted("witnesses", self.variants().len(), witnesses.len())?;
        let complete = |(variant, witness): (&Unsigned, &WireWitness)| {
            Ok(Arc::new(variant.complete(self.lock(), witness.0.clone())?))
        };
        self.variants().iter().zip(witnesses).map(complete).collect()
    }

    fn draw(&self, key: &Keypair, rng: &mut dyn CryptoRng) -> Vec<Signer> {
        self.variants().iter().map(|variant| Signer::new(rng, self.lock(), key, variant.sighash())).collect()
    }

    fn sessions(&self, aggregates: &[AggregateNonce]) -> Result<Vec<Session>, Reason> {
        counted("aggregate nonces", self.variants().len(), aggregates.len())?;
        let session = |(variant, aggregate): (&Unsigned, _)| Ok(self.lock().session(aggregate, variant.sighash())?);
        self.variants().iter().zip(aggregates).map(session).collect()
    }

    fn sign(&self, signers: Vec<Signer>, sessions: &[Session], key: &Keypair) -> Vec<Share> {
        signers.into_iter().zip(sessions).map(|(signer, session)| signer.sign(self.lock(), session, key)).collect()
    }
}

/// The names of the variants of what all sign together.
pub(super) fn names(joint: Joint, variants: usize) -> Vec<TxName> {
    match joint {
        Joint::Allocation => vec![TxName::Allocation],
        Joint::FactoryClose => (0..variants as u8).map(TxName::FactoryClose).collect(),
    }
}

fn counted(field: &'static str, expected: usize, found: usize) -> Result<(), Mismatch> {
    super::check::same(field, &expected, &found)
}

/// What each member owes: as many values as there are variants. All lie one behind the other, since they are added up in
/// that order: with one list per member the operator would wait for memory longer than it adds.
#[derive(Debug)]
struct Gathered<T> {
    values: Vec<Option<T>>,
    variants: usize,
    /// How many members have given nothing yet.
    missing: usize,
}

impl<T: Clone + PartialEq> Gathered<T> {
    fn new(members: usize, variants: usize) -> Self {
        Gathered { values: (0..members * variants).map(|_| None).collect(), variants, missing: members }
    }

    fn of(&self, member: u32) -> Range<usize> {
        let first = member as usize * self.variants;
        first..first + self.variants
    }

    fn has(&self, member: u32) -> bool {
        self.values[member as usize * self.variants].is_some()
    }

    fn has_just(&self, member: u32, values: &[T]) -> bool {
        self.values[self.of(member)].iter().flatten().eq(values)
    }

    /// Enters the values of a member of whom there are none, one for each variant. Says whether all are there now.
    fn put(&mut self, member: u32, values: &[T]) -> bool {
        let of = self.of(member);
        for (slot, value) in self.values[of].iter_mut().zip(values) {
            *slot = Some(value.clone());
        }
        self.missing -= 1;
        self.missing == 0
    }

    /// The values of one variant, member by member.
    fn variant(&self, variant: usize) -> impl Iterator<Item = &T> {
        self.values.iter().skip(variant).step_by(self.variants).flatten()
    }

    fn missing(&self) -> Vec<Party> {
        let members = self.values.len() / self.variants;
        (0..members).filter(|member| !self.has(*member as u32)).map(party).collect()
    }
}

/// The operator's side of a signing session.
#[derive(Debug)]
pub(super) struct Coordinator {
    task: Task,
    session: u32,
    stage: Stage,
    /// How many blocks have passed since the session began.
    pub(super) age: u32,
}

#[derive(Debug)]
enum Stage {
    Nonces { own: Vec<Signer>, nonces: Gathered<Nonce> },
    Shares { own: Vec<Signer>, sessions: Vec<Session>, nonces: Gathered<Nonce>, shares: Gathered<Share> },
    Signed { witnesses: Arc<Vec<WireWitness>>, held: Gathered<()> },
    Failed(Vec<Party>),
}

/// What a message leads to.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing, yet.
    None,
    /// All nonces are there.
    Aggregates(Arc<Vec<AggregateNonce>>),
    /// All shares are there, and the signatures are good.
    Signed(Arc<Vec<WireWitness>>, Vec<Arc<Complete>>),
    /// All shares are there, and those of these members are wrong.
    Failed(Vec<Party>),
    /// Every member holds the transaction.
    HeldByAll,
}

impl Coordinator {
    /// Begins a session. `key` is the operator's.
    pub(super) fn new(task: Task, session: u32, key: &Keypair, rng: &mut dyn CryptoRng) -> Self {
        let nonces = Gathered::new(task.factory.terms().members().len(), task.variants().len());
        let stage = Stage::Nonces { own: task.draw(key, rng), nonces };
        Coordinator { task, session, stage, age: 0 }
    }

    /// A session that has ended well, of which only the acknowledgements are missing.
    pub(super) fn signed(task: Task, session: u32, witnesses: Arc<Vec<WireWitness>>) -> Self {
        let held = Gathered::new(task.factory.terms().members().len(), 1);
        Coordinator { task, session, stage: Stage::Signed { witnesses, held }, age: 0 }
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    pub(super) fn session(&self) -> u32 {
        self.session
    }

    /// The witnesses, if the session has ended well, and who has not acknowledged that it holds them.
    pub(super) fn unacknowledged(&self) -> Option<(Arc<Vec<WireWitness>>, Vec<Party>)> {
        let Stage::Signed { witnesses, held } = &self.stage else { return None };
        Some((witnesses.clone(), held.missing()))
    }

    /// Whom the session waits for.
    pub(super) fn missing(&self) -> Vec<Party> {
        match &self.stage {
            Stage::Nonces { nonces, .. } => nonces.missing(),
            Stage::Shares { shares, .. } => shares.missing(),
            Stage::Signed { held, .. } => held.missing(),
            Stage::Failed(culprits) => culprits.clone(),
        }
    }

    /// Nonces from `member`.
    pub(super) fn nonces(&mut self, member: u32, found: Vec<Nonce>) -> Result<Progress, Reason> {
        counted("nonces", self.task.variants().len(), found.len())?;
        match &self.stage {
            Stage::Nonces { nonces, .. } | Stage::Shares { nonces, .. } if nonces.has(member) => {
                let same = nonces.has_just(member, &found);
                return if same { Ok(Progress::None) } else { Err(Reason::Contradiction("nonce")) };
            }
            Stage::Nonces { .. } | Stage::Shares { .. } => {}
            Stage::Signed { .. } | Stage::Failed(_) => return Ok(Progress::None),
        }
        // Nonces of another kind of lock are found here, while it is clear whose they are.
        for nonce in &found {
            self.task.lock().check_nonce(nonce)?;
        }
        let Stage::Nonces { own, nonces } = &mut self.stage else { return Ok(Progress::None) };
        if !nonces.put(member, &found) {
            return Ok(Progress::None);
        }
        let (own, nonces) = (std::mem::take(own), std::mem::replace(nonces, Gathered::new(0, 1)));
        let aggregate = |(variant, own): (usize, &Signer)| {
            let own = own.public();
            self.task.lock().aggregate(nonces.variant(variant).chain([&own]))
        };
        let aggregates: Vec<_> = own.iter().enumerate().map(aggregate).collect::<Result<_, _>>()?;
        let sessions = self.task.sessions(&aggregates)?;
        let shares = Gathered::new(self.task.factory.terms().members().len(), nonces.variants);
        self.stage = Stage::Shares { own, sessions, nonces, shares };
        Ok(Progress::Aggregates(Arc::new(aggregates)))
    }

    /// Shares from `member`. The last ones make the operator add its own.
    pub(super) fn shares(&mut self, member: u32, found: Vec<Share>, key: &Keypair) -> Result<Progress, Reason> {
        counted("shares", self.task.variants().len(), found.len())?;
        let shares = match &mut self.stage {
            Stage::Nonces { .. } => return Err(Reason::Unexpected("shares of signatures before the aggregate nonces")),
            Stage::Shares { shares, .. } => shares,
            Stage::Signed { .. } | Stage::Failed(_) => return Ok(Progress::None),
        };
        if shares.has(member) {
            let same = shares.has_just(member, &found);
            return if same { Ok(Progress::None) } else { Err(Reason::Contradiction("share")) };
        }
        if !shares.put(member, &found) {
            return Ok(Progress::None);
        }
        let Stage::Shares { own, sessions, nonces, shares } =
            std::mem::replace(&mut self.stage, Stage::Failed(Vec::new()))
        else {
            unreachable!("the stage was just matched")
        };
        let own = self.task.sign(own, &sessions, key);
        if let Some((witnesses, complete)) = self.assemble(&sessions, &shares, &own) {
            let witnesses = Arc::new(witnesses);
            let held = Gathered::new(self.task.factory.terms().members().len(), 1);
            self.stage = Stage::Signed { witnesses: witnesses.clone(), held };
            return Ok(Progress::Signed(witnesses, complete));
        }
        // Only now is it worth a verification each. There is at least one culprit: good shares make a good signature.
        let culprits = self.culprits(&sessions, &nonces, &shares);
        self.stage = Stage::Failed(culprits.clone());
        Ok(Progress::Failed(culprits))
    }

    fn assemble(
        &self,
        sessions: &[Session],
        shares: &Gathered<Share>,
        own: &[Share],
    ) -> Option<(Vec<WireWitness>, Vec<Arc<Complete>>)> {
        let terms = self.task.factory.terms();
        let witness = |(variant, session): (usize, &Session)| {
            let members = terms.members().iter().map(|member| &member.public.factory);
            let everybody = members.zip(shares.variant(variant)).chain([(&terms.operator().factory, &own[variant])]);
            self.task.lock().assemble(session, everybody).map(WireWitness)
        };
        let witnesses: Vec<_> = sessions.iter().enumerate().map(witness).collect::<Result<_, _>>().ok()?;
        let complete = self.task.complete(&witnesses).ok()?;
        Some((witnesses, complete))
    }

    fn culprits(&self, sessions: &[Session], nonces: &Gathered<Nonce>, shares: &Gathered<Share>) -> Vec<Party> {
        let mut culprits = BTreeSet::new();
        for (index, (variant, session)) in self.task.variants().iter().zip(sessions).enumerate() {
            let given = nonces.variant(index).zip(shares.variant(index));
            let members = self.task.factory.terms().members().iter().zip(given).enumerate();
            let wrong = members.filter(|(_, (member, (nonce, share)))| {
                let (lock, key) = (self.task.lock(), &member.public.factory);
                !lock.verify_share(session, variant.sighash(), key, nonce, share)
            });
            culprits.extend(wrong.map(|(member, _)| member));
        }
        culprits.into_iter().map(party).collect()
    }

    /// `member` holds the transaction.
    pub(super) fn held(&mut self, member: u32) -> Result<Progress, Reason> {
        let Stage::Signed { held, .. } = &mut self.stage else {
            return Err(Reason::Unexpected("an acknowledgement of a signature that was not sent"));
        };
        if held.has(member) {
            return Ok(Progress::None);
        }
        Ok(if held.put(member, &[()]) { Progress::HeldByAll } else { Progress::None })
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
    /// The public nonces have been sent.
    Ready(Vec<Signer>),
    /// The shares have been sent. The secret nonces are no more.
    Released(Arc<Vec<AggregateNonce>>),
}

impl Participant {
    /// Takes part in `session`, and the nonces to send. What the member has to check comes before.
    pub(super) fn new(task: Task, session: u32, key: &Keypair, rng: &mut dyn CryptoRng) -> (Self, Vec<Nonce>) {
        let signers = task.draw(key, rng);
        let nonces = signers.iter().map(Signer::public).collect();
        (Participant { task, session, stage: MemberStage::Ready(signers) }, nonces)
    }

    pub(super) fn session(&self) -> u32 {
        self.session
    }

    /// The aggregate nonces: the shares to send, unless they have been sent.
    pub(super) fn aggregates(
        &mut self,
        aggregates: Arc<Vec<AggregateNonce>>,
        key: &Keypair,
    ) -> Result<Option<Vec<Share>>, Reason> {
        match &self.stage {
            MemberStage::Ready(_) => {}
            MemberStage::Released(known) if *known != aggregates => {
                return Err(Reason::Contradiction("aggregate nonce"));
            }
            MemberStage::Released(_) => return Ok(None),
        }
        let sessions = self.task.sessions(&aggregates)?;
        let MemberStage::Ready(signers) = std::mem::replace(&mut self.stage, MemberStage::Released(aggregates)) else {
            unreachable!("the stage was just matched")
        };
        Ok(Some(self.task.sign(signers, &sessions, key)))
    }
}
