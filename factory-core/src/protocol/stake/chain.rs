//! How a party follows the chain: what is confirmed, what is undone again, what it broadcasts for the next block, and
//! when all is settled.

use std::sync::Arc;

use bitcoin::{OutPoint, Transaction};

use super::{OnChain, Stake};
use crate::channel::Htlc;
use crate::name::{Party, TxName};
use crate::protocol::channel_end::ChannelEnd;
use crate::protocol::record::Key;
use crate::protocol::{Block, Cause, Effect, Event, Phase};
use crate::tx::htlc::{self, Claim};

impl Stake {
    /// Takes a block in. Returns what has become deep enough with it, and what there is to do about the rest.
    pub(in crate::protocol) fn on_block(&mut self, block: &Block) -> (Vec<TxName>, Vec<Effect>) {
        let mut effects = Vec::new();
        if block.height <= self.core.height {
            self.disconnect(block.height);
        }
        self.core.height = block.height;
        for tx in &block.txs {
            self.connect(tx, &mut effects);
        }
        let deep: Vec<_> = self
            .core
            .confirmed
            .iter()
            .filter(|(name, at)| self.is_deep(**at) && !self.core.deep.contains(name))
            .map(|(name, _)| *name)
            .collect();
        self.core.deep.extend(&deep);
        effects.extend(deep.iter().map(|name| Effect::Report(Event::Confirmed(*name))));
        if self.is_confirmed(TxName::Allocation) {
            effects.extend(self.fall_back(Cause::AllocationConfirmed, Vec::new()));
        }
        if let Some(expiring) = self.expiring() {
            effects.extend(self.fall_back(Cause::HtlcExpiry, vec![expiring]));
        }
        self.touch(Key::Core);
        (deep, effects)
    }

    /// Counts the last block as time that has passed. Says whether it is: one that takes another's place is not, nor one
    /// that is shown late.
    pub(in crate::protocol) fn tick(&mut self) -> bool {
        if self.core.height <= self.core.seen {
            return false;
        }
        self.core.seen = self.core.height;
        self.core.waited = self.core.waited.saturating_add(1);
        for end in &mut self.ends {
            end.tick();
        }
        if self.core.phase >= Phase::Funding && !self.is_confirmed(TxName::Allocation) {
            self.climb();
        }
        true
    }

    /// Blocks up to `height` are there already, and will only be shown late.
    pub(in crate::protocol) fn catch_up_until(&mut self, height: u32) {
        self.core.seen = self.core.seen.max(height);
        self.touch(Key::Core);
    }

    /// All that must be watched on the chain.
    pub(in crate::protocol) fn watched(&self) -> Vec<OutPoint> {
        let channels = self.ends.iter().filter_map(|end| self.factory.channel(end.member()).ok());
        let htlcs = self.core.refunds.values().flat_map(OnChain::htlcs).map(|(outpoint, _)| outpoint);
        [self.factory.outpoint()].into_iter().chain(channels.map(|channel| channel.outpoint)).chain(htlcs).collect()
    }

    /// Whether a block of that height is so deep that it counts as final.
    fn is_deep(&self, height: u32) -> bool {
        // Wider than a height, for the highest that there is; and nothing above the last block counts as confirmed.
        let depth = (u64::from(self.core.height) + 1).saturating_sub(u64::from(height));
        depth >= u64::from(self.factory.terms().offer().confirmations)
    }

    /// Undoes the blocks from `height` on.
    fn disconnect(&mut self, height: u32) {
        let core = &mut self.core;
        let undone: Vec<_> = core.confirmed.iter().filter(|(_, at)| **at >= height).map(|(name, _)| *name).collect();
        let settled = (core.deep.len(), core.lost.len());
        core.confirmed.retain(|_, at| *at < height);
        let confirmed = &core.confirmed;
        core.deep.retain(|name| confirmed.contains_key(name));
        core.lost.retain(|_, at| *at < height);
        core.refunds
            .retain(|member, on_chain| confirmed.contains_key(&TxName::Refund(*member, on_chain.state.number())));
        if core.phase == Phase::Closed && (core.deep.len(), core.lost.len()) != settled {
            core.phase = Phase::OnChain;
        }
        // Whoever published it may be gone: all who hold it broadcast it from now on.
        for name in undone {
            let again = match name {
                TxName::FactoryClose(_) => self.transaction(name).is_some(),
                TxName::Allocation => self.transaction(name).is_some() && !self.wants_factory_close(),
                _ => false,
            };
            if again {
                self.want(name);
            }
        }
        // What had settled it is gone, and nothing else is under way: the way over the allocation is open to anybody.
        let nothing_wanted = self.core.wanted.is_empty() && !self.is_confirmed(TxName::Allocation);
        if self.core.phase == Phase::OnChain && nothing_wanted && !self.factory_close_confirmed() {
            self.want(TxName::Allocation);
        }
    }

    fn connect(&mut self, tx: &Transaction, effects: &mut Vec<Effect>) {
        let height = self.core.height;
        if self.is_funding(tx) {
            self.core.confirmed.insert(TxName::Funding, height);
        }
        for input in &tx.input {
            let spent = input.previous_output;
            if spent == self.factory.outpoint() {
                if let Some(name) = self.joint_name(tx) {
                    self.core.confirmed.insert(name, height);
                }
            } else if spent.txid == self.factory.allocation().txid() {
                if let Some(name) = self.channel_spent(spent.vout, tx, effects) {
                    self.core.confirmed.insert(name, height);
                }
            } else if let Some((name, event)) = self.htlc_spent(spent, tx) {
                effects.extend(event.map(Effect::Report));
                self.core.confirmed.insert(name, height);
            }
        }
    }

    /// Large transactions are compared, not hashed: every party does this, and the factory close grows with their number.
    fn is_funding(&self, tx: &Transaction) -> bool {
        let funding = self.factory.funding();
        tx.output == funding.output && tx.compute_txid() == self.factory.outpoint().txid
    }

    fn joint_name(&self, tx: &Transaction) -> Option<TxName> {
        if self.factory.allocation().is(tx) {
            return Some(TxName::Allocation);
        }
        let rung = self.close.as_ref()?.rungs().iter().position(|rung| rung.is(tx))?;
        Some(TxName::FactoryClose(rung as u8))
    }

    fn channel_spent(&mut self, member: u32, tx: &Transaction, effects: &mut Vec<Effect>) -> Option<TxName> {
        let txid = tx.compute_txid();
        let end = self.end(member)?;
        if end.is_close(&self.factory, txid) {
            return Some(TxName::Close(member));
        }
        let Some(state) = end.state_of(&self.factory, txid).cloned() else {
            if self.core.lost.insert(member, self.core.height).is_none() {
                effects.push(Effect::Report(Event::OldState { channel: member }));
            }
            return None;
        };
        effects.extend(end.preimage_shown_in(state.number()).map(Effect::Report));
        let name = TxName::Refund(member, state.number());
        let first_htlc = (tx.output.len() - state.htlcs().len()) as u32;
        let on_chain = OnChain { state, txid, first_htlc };
        effects.extend(on_chain.htlcs().map(|(outpoint, _)| Effect::Watch(outpoint)));
        self.core.refunds.insert(member, on_chain);
        Some(name)
    }

    fn htlc_spent(&self, spent: OutPoint, tx: &Transaction) -> Option<(TxName, Option<Event>)> {
        let (member, on_chain) = self.core.refunds.iter().find(|(_, on_chain)| on_chain.txid == spent.txid)?;
        let (_, htlc) = on_chain.htlcs().find(|(outpoint, _)| *outpoint == spent)?;
        Some(match htlc::preimage_in(tx, spent, htlc) {
            Some(preimage) => {
                let event = Event::Preimage { channel: *member, id: htlc.id, preimage };
                (TxName::HtlcSuccess(*member, htlc.id), Some(event).filter(|_| self.offered_by_me(htlc)))
            }
            None => (TxName::HtlcTimeout(*member, htlc.id), None),
        })
    }

    fn offered_by_me(&self, htlc: &Htlc) -> bool {
        htlc.offerer == self.me
    }

    /// The other side of a channel with an HTLC that must go on chain now: one that this party can take and might lose,
    /// or one of its own that has expired.
    pub(in crate::protocol) fn expiring(&self) -> Option<Party> {
        let height = u64::from(self.core.height);
        let urgent = |end: &&ChannelEnd| {
            end.enforceable().any(|state| {
                state.htlcs().iter().any(|htlc| {
                    if self.offered_by_me(htlc) {
                        height >= u64::from(htlc.expiry)
                    } else {
                        let known = end.preimage(htlc.id).is_some();
                        known && height >= end.rules().last_chance(state.number(), htlc.expiry)
                    }
                })
            })
        };
        let end = self.ends.iter().find(urgent)?;
        Some(if self.me == Party::Operator { Party::Member(end.member()) } else { Party::Operator })
    }

    /// What to broadcast for the next block.
    pub(in crate::protocol) fn rebroadcast(&self) -> Vec<Effect> {
        if self.factory_close_confirmed() {
            return Vec::new();
        }
        let Some(&allocated) = self.core.confirmed.get(&TxName::Allocation) else {
            let wanted = self.core.wanted.iter().filter(|name| !self.is_confirmed(**name));
            return wanted.filter_map(|name| self.broadcast(*name)).collect();
        };
        let mut effects = Vec::new();
        for end in &self.ends {
            let member = end.member();
            if let Some(on_chain) = self.core.refunds.get(&member) {
                effects.extend(self.claims(end, on_chain));
            } else if self.core.lost.contains_key(&member) || self.is_confirmed(TxName::Close(member)) {
                // Settled.
            } else if end.close().is_some() {
                effects.extend(self.broadcast(TxName::Close(member)));
            } else if let Some(state) = end.agreed() {
                let lock = u64::from(end.rules().refund_lock(state.number()).unwrap_or(u16::MAX));
                // The next block is the first that may hold it (BIP 68).
                if u64::from(self.core.height) + 1 >= u64::from(allocated) + lock {
                    effects.extend(self.broadcast(TxName::Refund(member, state.number())));
                }
            }
        }
        effects
    }

    /// Turns to the next variant of the factory close, if the present one has been broadcast in vain for long enough.
    fn climb(&mut self) {
        let present = self.core.wanted.iter().find_map(|name| match name {
            TxName::FactoryClose(rung) => Some(*rung),
            _ => None,
        });
        let Some(rung) = present else { return };
        self.core.rung_age = self.core.rung_age.saturating_add(1);
        let patience = self.factory.terms().offer().patience;
        if self.core.rung_age > patience && usize::from(rung) + 1 < self.rungs.len() {
            self.want(TxName::FactoryClose(rung + 1));
        }
    }

    fn claims(&self, end: &ChannelEnd, on_chain: &OnChain) -> Vec<Effect> {
        let member = end.member();
        let claim = |(outpoint, htlc): (OutPoint, &Htlc)| {
            let (success, timeout) = (TxName::HtlcSuccess(member, htlc.id), TxName::HtlcTimeout(member, htlc.id));
            if self.is_confirmed(success) || self.is_confirmed(timeout) {
                return None;
            }
            let (name, by) = if !self.offered_by_me(htlc) {
                (success, Claim::Success(end.preimage(htlc.id)?))
            } else if self.core.height >= htlc.expiry {
                (timeout, Claim::Timeout)
            } else {
                return None;
            };
            let key = &self.channel_key;
            let tx = htlc::claim(&self.factory, member, htlc, outpoint, by, key, &self.payout)?;
            Some(Effect::Broadcast { name, tx: Arc::new(tx) })
        };
        on_chain.htlcs().filter_map(claim).collect()
    }

    /// Whether all that pays this party is final.
    pub(in crate::protocol) fn is_settled(&self) -> bool {
        let deep = |name| self.core.deep.contains(&name);
        if self.core.deep.iter().next_back().is_some_and(|name| matches!(name, TxName::FactoryClose(_))) {
            return true;
        }
        deep(TxName::Allocation)
            && self.ends.iter().all(|end| {
                let member = end.member();
                let lost = self.core.lost.get(&member).is_some_and(|at| self.is_deep(*at));
                if deep(TxName::Close(member)) || lost {
                    return true;
                }
                let Some(on_chain) = self.core.refunds.get(&member) else { return false };
                deep(TxName::Refund(member, on_chain.state.number()))
                    && on_chain.state.htlcs().iter().all(|htlc| {
                        let concerned = self.offered_by_me(htlc) || end.preimage(htlc.id).is_some();
                        let (success, timeout) =
                            (TxName::HtlcSuccess(member, htlc.id), TxName::HtlcTimeout(member, htlc.id));
                        !concerned || deep(success) || deep(timeout)
                    })
            })
    }

    /// Ends the story, if all is settled.
    pub(in crate::protocol) fn close_if_settled(&mut self) -> Option<Effect> {
        if self.core.phase < Phase::Funding || self.core.phase >= Phase::Closed || !self.is_settled() {
            return None;
        }
        self.advance(Phase::Closed);
        Some(Effect::Report(Event::Closed))
    }
}
