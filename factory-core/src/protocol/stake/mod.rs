//! What every party has once the factory is known, and how it follows the chain: what is confirmed, what it wants
//! confirmed, and when it goes on without the others.

mod chain;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::{OutPoint, ScriptBuf, Txid};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng as _};
use secp256k1::Keypair;
use serde::{Deserialize, Serialize};

use crate::channel::State;
use crate::cores;
use crate::factory::Factory;
use crate::name::{Party, TxName};
use crate::protocol::channel_end::{ChannelEnd, Context};
use crate::protocol::message::Joint;
use crate::protocol::record::Key;
use crate::protocol::{Cause, Effect, Event, Phase, Reason};
use crate::tx::{Complete, FactoryClose, refund};

/// What a party has in a factory.
#[derive(Debug)]
pub(in crate::protocol) struct Stake {
    pub(in crate::protocol) me: Party,
    pub(in crate::protocol) factory: Arc<Factory>,
    pub(in crate::protocol) channel_key: Keypair,
    pub(in crate::protocol) payout: ScriptBuf,
    /// The operator's ends of all channels, in the agreed order; or a member's end of its own.
    pub(in crate::protocol) ends: Vec<ChannelEnd>,
    /// Operator: the funding, signed.
    pub(in crate::protocol) funding: Option<Arc<Complete>>,
    pub(in crate::protocol) allocation: Option<Arc<Complete>>,
    /// What this party has agreed to sign as the factory close.
    pub(in crate::protocol) close: Option<Arc<FactoryClose>>,
    /// The variants of the factory close, once this party holds them.
    pub(in crate::protocol) rungs: Vec<Arc<Complete>>,
    pub(in crate::protocol) core: Core,
    /// What has to be stored before anything is sent.
    dirty: BTreeSet<Key>,
}

/// What is stored of it beside the factory, the channels and the transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::protocol) struct Core {
    /// Whose records these are.
    pub(in crate::protocol) me: Party,
    pub(in crate::protocol) phase: Phase,
    /// The height of the last block.
    pub(in crate::protocol) height: u32,
    /// The height of the highest block that was ever shown, or that is known to be there: only blocks above it are time
    /// that others had to answer in.
    seen: u32,
    /// For how many blocks the party has been in its phase.
    pub(in crate::protocol) waited: u32,
    /// Operator: the last signing session that it began. Member: the last in which it released shares.
    pub(in crate::protocol) sessions: BTreeMap<Joint, u32>,
    /// What is in a block, and at which height.
    confirmed: BTreeMap<TxName, u32>,
    /// What is so deep that it counts as final.
    deep: BTreeSet<TxName>,
    /// What is broadcast with every block until it is confirmed.
    wanted: BTreeSet<TxName>,
    /// For how many blocks the present variant of the factory close has been broadcast in vain.
    rung_age: u32,
    /// The refunds in blocks.
    refunds: BTreeMap<u32, OnChain>,
    /// Channels that were spent in a way that this party does not know, and at which height.
    lost: BTreeMap<u32, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OnChain {
    state: State,
    txid: Txid,
    /// The output of the first HTLC.
    first_htlc: u32,
}

impl OnChain {
    fn htlcs(&self) -> impl Iterator<Item = (OutPoint, &crate::channel::Htlc)> {
        let outpoint = |vout| OutPoint::new(self.txid, vout);
        self.state.htlcs().iter().zip(self.first_htlc..).map(move |(htlc, vout)| (outpoint(vout), htlc))
    }
}

impl Core {
    pub(in crate::protocol) fn new(me: Party, phase: Phase, height: u32) -> Self {
        Core {
            me,
            phase,
            height,
            seen: height,
            waited: 0,
            sessions: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            deep: BTreeSet::new(),
            wanted: BTreeSet::new(),
            rung_age: 0,
            refunds: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Whether the refunds that it has seen in blocks are refunds of the factory's channels.
    pub(in crate::protocol) fn is_of(&self, factory: &Factory) -> bool {
        self.refunds.iter().all(|(member, OnChain { state, txid, first_htlc })| {
            refund::build(factory, *member, state).is_ok_and(|refund| {
                let sides = refund.transaction().output.len() - state.htlcs().len();
                refund.txid() == *txid && sides == *first_htlc as usize
            })
        })
    }

    pub(in crate::protocol) fn session(&self, joint: Joint) -> u32 {
        self.sessions.get(&joint).copied().unwrap_or(0)
    }
}

impl Stake {
    pub(in crate::protocol) fn new(
        me: Party,
        factory: Arc<Factory>,
        (channel_key, payout): (Keypair, ScriptBuf),
        ends: Vec<ChannelEnd>,
        core: Core,
    ) -> Self {
        Stake {
            me,
            factory,
            channel_key,
            payout,
            ends,
            funding: None,
            allocation: None,
            close: None,
            rungs: Vec::new(),
            core,
            dirty: BTreeSet::new(),
        }
    }

    /// Marks a record to be stored before anything is sent.
    pub(in crate::protocol) fn touch(&mut self, key: Key) {
        self.dirty.insert(key);
    }

    /// The effects, after the orders to store what has changed: each record once, and before anything is sent.
    pub(in crate::protocol) fn flush(&mut self, mut effects: Vec<Effect>) -> Vec<Effect> {
        if effects.is_empty() && self.dirty.is_empty() {
            // Most of what the operator gets only adds to what it waits for.
            return effects;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        effects.retain(|effect| match effect {
            Effect::Persist(key) => {
                dirty.insert(*key);
                false
            }
            _ => true,
        });
        // In place: to thousands of members there are megabytes.
        effects.splice(0..0, dirty.into_iter().map(Effect::Persist));
        effects
    }

    /// Moves forward to a phase. Never back: a confirmation may have overtaken a signature.
    pub(in crate::protocol) fn advance(&mut self, phase: Phase) {
        if phase > self.core.phase {
            self.core.phase = phase;
            self.core.waited = 0;
            self.touch(Key::Core);
        }
    }

    /// The party's end of a member's channel, and what it needs to sign.
    pub(in crate::protocol) fn end_mut(&mut self, member: u32) -> Result<(&mut ChannelEnd, Context<'_>), Reason> {
        let index = if let Party::Operator = self.me { member as usize } else { 0 };
        let context = Context { factory: &self.factory, key: &self.channel_key, height: self.core.height };
        let end = self.ends.get_mut(index).filter(|end| end.member() == member);
        Ok((end.ok_or(Reason::UnknownPayee(Party::Member(member)))?, context))
    }

    /// The operator does `work` in each of these channels, on all cores where there are many. Every channel has random numbers
    /// of its own, so what comes of it does not depend on how many cores there are.
    pub(in crate::protocol) fn in_channels<T: Send>(
        &mut self,
        tasks: Vec<(u32, T)>,
        rng: &mut dyn CryptoRng,
        work: impl Fn(&mut ChannelEnd, Context<'_>, T, &mut dyn CryptoRng) -> Result<Vec<Effect>, Reason> + Sync + Send,
    ) -> Vec<Result<Vec<Effect>, Reason>> {
        let context = Context { factory: &self.factory, key: &self.channel_key, height: self.core.height };
        let mut by_member: BTreeMap<u32, (usize, T, ChaCha20Rng)> = BTreeMap::new();
        for (index, (member, task)) in tasks.into_iter().enumerate() {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            by_member.insert(member, (index, task, ChaCha20Rng::from_seed(seed)));
        }
        // From one to the next, past all others: a single step must not cost more the more members there are.
        let (mut ends, mut next) = (self.ends.iter_mut(), 0);
        let mut jobs = Vec::with_capacity(by_member.len());
        for (member, (index, task, rng)) in by_member {
            let end = ends.nth((member - next) as usize).expect("whoever asks knows that the channel is there");
            next = member + 1;
            jobs.push((index, end, task, rng));
        }
        jobs.sort_unstable_by_key(|(index, ..)| *index);
        cores::map(jobs, |(_, end, task, mut rng)| work(end, context, task, &mut rng))
    }

    /// A transaction that this party holds complete.
    pub(in crate::protocol) fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        match name {
            TxName::Allocation => self.allocation.as_ref(),
            TxName::FactoryClose(rung) => self.rungs.get(usize::from(rung)),
            TxName::Close(member) => self.end(member)?.close(),
            TxName::Refund(member, state) => {
                let end = self.end(member)?;
                end.refund().filter(|_| end.agreed().is_some_and(|agreed| agreed.number() == state))
            }
            TxName::Funding => self.funding.as_ref(),
            TxName::HtlcSuccess(..) | TxName::HtlcTimeout(..) | TxName::Spend(_) => None,
        }
    }

    /// The party's end of a member's channel.
    pub(in crate::protocol) fn end(&self, member: u32) -> Option<&ChannelEnd> {
        let index = if let Party::Operator = self.me { member as usize } else { 0 };
        self.ends.get(index).filter(|end| end.member() == member)
    }

    /// Has a transaction broadcast until it is confirmed. The allocation and the factory close exclude each other: the
    /// last wish counts.
    pub(in crate::protocol) fn want(&mut self, name: TxName) {
        let excluded: fn(&TxName) -> bool = match name {
            TxName::FactoryClose(_) => |other| {
                matches!(other, TxName::Allocation | TxName::FactoryClose(_) | TxName::Close(_) | TxName::Refund(..))
            },
            TxName::Allocation | TxName::Close(_) | TxName::Refund(..) => {
                |other| matches!(other, TxName::FactoryClose(_))
            }
            _ => |_| false,
        };
        self.core.wanted.retain(|other| !excluded(other));
        self.core.wanted.insert(name);
        self.core.rung_age = 0;
        self.touch(Key::Core);
    }

    pub(in crate::protocol) fn wants_factory_close(&self) -> bool {
        self.core.wanted.iter().any(|name| matches!(name, TxName::FactoryClose(_)))
    }

    pub(in crate::protocol) fn is_confirmed(&self, name: TxName) -> bool {
        self.core.confirmed.contains_key(&name)
    }

    fn factory_close_confirmed(&self) -> bool {
        // They sort after all others.
        self.core.confirmed.keys().next_back().is_some_and(|name| matches!(name, TxName::FactoryClose(_)))
    }

    /// Goes on without the others, or gives up if no money is in the factory yet. What there is to broadcast follows
    /// from [`Stake::rebroadcast`].
    pub(in crate::protocol) fn fall_back(&mut self, cause: Cause, culprits: Vec<Party>) -> Vec<Effect> {
        let phase = self.core.phase;
        if phase >= Phase::OnChain {
            return Vec::new();
        }
        if !self.rungs.is_empty() && cause != Cause::AllocationConfirmed {
            // It pays the same, and nobody is needed for it any more.
            if self.wants_factory_close() {
                return Vec::new();
            }
            self.want(TxName::FactoryClose(0));
            return Vec::new();
        }
        // Nothing of a member's is at stake before the funding is confirmed.
        let unfunded = phase == Phase::Funding && self.me != Party::Operator && !self.is_confirmed(TxName::Funding);
        if phase < Phase::Funding || unfunded {
            self.advance(Phase::Aborted);
            return vec![Effect::Report(Event::Aborted { phase, cause, culprits })];
        }
        self.advance(Phase::OnChain);
        if !self.is_confirmed(TxName::Allocation) {
            self.want(TxName::Allocation);
        }
        vec![Effect::Report(Event::FellBack { phase, cause, culprits })]
    }

    /// Broadcasts what the party holds.
    pub(in crate::protocol) fn broadcast(&self, name: TxName) -> Option<Effect> {
        self.transaction(name).map(|tx| Effect::Broadcast { name, tx: tx.clone() })
    }
}
