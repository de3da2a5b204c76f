//! The operator and the members, and the links that carry their messages.

mod links;
mod seat;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bitcoin::{OutPoint, ScriptBuf, Transaction};
use factory_core::protocol::{Block, ChannelEnd, Command, Effect, Event, Input, ProtocolError};
use factory_core::tx::Complete;
use factory_core::tx::funding::Coin;
use factory_core::{Factory, Party, TxName, Wallet};
use rayon::prelude::*;

use crate::factory::{capacities, offer};
use crate::scenario::{Crash, MessageKind, Moment, Scenario, Withhold};
use links::Links;
use seat::{Reaction, Seat};
pub(crate) use seat::{member_keys, operator_keys, payout_wallet};

/// In a round with fewer busy parties than this, they take turns.
const FEW: usize = 8;

/// All parties of one factory. Messages arrive in the order in which they were sent, so that a run can be reproduced.
#[derive(Debug)]
pub struct Parties {
    /// The operator, then the members.
    seats: Vec<Seat>,
    links: Links,
    /// Who wants to see what creates and what spends an output.
    watchers: HashMap<OutPoint, BTreeSet<Party>>,
}

/// What the parties did until no message was under way any more.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What they publish.
    pub broadcasts: Vec<(Party, TxName, Arc<Complete>)>,
    /// What they said to each other and to their users, in its order.
    pub noted: Vec<Noted>,
}

/// Something that a party said.
#[derive(Debug)]
pub enum Noted {
    /// A message.
    Message {
        /// What it carries.
        kind: MessageKind,
        /// Who sent it.
        from: Party,
        /// To whom.
        to: Party,
        /// Whether it arrived.
        arrived: bool,
    },
    /// Something that happened to a party.
    Event(Party, Event),
    /// A party crashed.
    Crash(Party, Moment),
}

/// Returned when a party refuses what it is told.
#[derive(Debug, thiserror::Error)]
#[error("{party}: {source}")]
pub struct PartyError {
    /// Who refuses.
    pub party: Party,
    /// What, and why.
    pub source: ProtocolError,
}

impl Parties {
    /// The parties of a scenario, each with keys of its own from the scenario's seed. The operator funds the factory
    /// out of `wallet`, which holds `coins`.
    pub fn new(scenario: &Scenario, wallet: Wallet, coins: Vec<Coin>) -> Self {
        let (seed, offer, capacities) = (scenario.seed, offer(scenario), capacities(scenario));
        let operator = Seat::operator(seed, wallet, coins, offer.clone(), capacities.clone());
        let member = |(index, capacity): (u32, &bitcoin::Amount)| Seat::member(seed, index, offer.clone(), *capacity);
        let mut seats: Vec<Seat> = [operator].into_iter().chain((0..).zip(&capacities).map(member)).collect();
        for party in seat::crashing(&scenario.steps) {
            seats[place(party)].keep_store();
        }
        Parties { seats, links: Links::default(), watchers: HashMap::new() }
    }

    /// From now on what parties store is kept, so that any of them can crash.
    pub fn keep_stores(&mut self) {
        self.seats.iter_mut().for_each(Seat::keep_store);
    }

    /// Gives parties commands, all at once, and lets the parties talk until they are done.
    ///
    /// # Errors
    ///
    /// [`PartyError`], if a party refuses a command or a message.
    pub fn command(&mut self, commands: impl IntoIterator<Item = (Party, Command)>) -> Result<Outcome, PartyError> {
        self.deliver(commands.into_iter().map(|(party, command)| (party, Input::Command(command))))
    }

    /// Shows those of `parties` who see the chain its next block: its height to each, and each of `txs` to those who
    /// watch an output that it creates or spends.
    ///
    /// # Errors
    ///
    /// [`PartyError`], if a party refuses what another says to that.
    pub fn block(
        &mut self,
        parties: impl IntoIterator<Item = Party>,
        height: u32,
        txs: &[Arc<Transaction>],
    ) -> Result<Outcome, PartyError> {
        let mut shown: BTreeMap<Party, Vec<Arc<Transaction>>> = BTreeMap::new();
        for tx in txs {
            let txid = tx.compute_txid();
            let spent = tx.input.iter().map(|input| input.previous_output);
            let created = (0..tx.output.len() as u32).map(|vout| OutPoint::new(txid, vout));
            let watchers = spent.chain(created).filter_map(|outpoint| self.watchers.get(&outpoint));
            let concerned: BTreeSet<Party> = watchers.flatten().copied().collect();
            for party in concerned {
                shown.entry(party).or_default().push(Arc::clone(tx));
            }
        }
        let see = parties.into_iter().filter(|party| !self.seats[place(*party)].away);
        let blocks = see.map(|party| {
            let txs = shown.remove(&party).unwrap_or_default();
            (party, Input::Block(Block { height, txs }))
        });
        let blocks: Vec<_> = blocks.collect();
        self.deliver(blocks)
    }

    /// From now on `party` neither gets nor sends messages.
    pub fn silence(&mut self, party: Party) {
        self.links.silence(party);
    }

    /// From now on `party` does not see the chain either.
    pub fn take_offline(&mut self, party: Party) {
        self.links.silence(party);
        self.seats[place(party)].away = true;
    }

    /// `party` loses what it has in memory, now or at a moment that is still to come.
    pub fn crash(&mut self, crash: Crash) -> Option<Noted> {
        let (party, moment) = (crash.party.0, crash.at);
        let seat = &mut self.seats[place(party)];
        if moment != Moment::Now {
            seat.doom(crash);
            return None;
        }
        seat.crash();
        Some(Noted::Crash(party, moment))
    }

    /// `party` is back, started again if it had crashed. The blocks up to `height` are there already.
    ///
    /// # Errors
    ///
    /// [`PartyError`], if it cannot read what it has stored.
    pub fn bring_back(&mut self, party: Party, height: u32) -> Result<(), PartyError> {
        self.links.unsilence(party);
        let seat = &mut self.seats[place(party)];
        if seat.crashed {
            seat.start_again().map_err(|source| PartyError { party, source })?;
            for outpoint in seat.watched() {
                self.watchers.entry(outpoint).or_default().insert(party);
            }
        }
        let seat = &mut self.seats[place(party)];
        if seat.away {
            seat.catch_up_until(height);
            seat.away = false;
        }
        Ok(())
    }

    /// Whether a party sees the chain, and does things.
    pub fn is_there(&self, party: Party) -> bool {
        !self.seats[place(party)].away
    }

    /// From now on a party keeps back what it owes.
    pub fn withhold(&mut self, order: Withhold) {
        self.links.withhold(order);
    }

    /// What was to be kept back, and never was sent.
    pub fn withheld_in_vain(&self) -> impl Iterator<Item = &Withhold> {
        self.links.in_vain()
    }

    /// The crashes whose moment never came.
    pub fn crashes_in_vain(&self) -> impl Iterator<Item = &Crash> {
        self.seats.iter().flat_map(Seat::dooms)
    }

    /// A party's end of a member's channel, if it has one.
    pub fn channel(&self, party: Party, member: u32) -> Option<&ChannelEnd> {
        self.seats.get(place(party))?.channel(member)
    }

    /// The factory, once somebody knows its terms.
    pub fn factory(&self) -> Option<&Arc<Factory>> {
        self.seats.iter().find_map(Seat::factory)
    }

    /// A transaction that a party holds.
    pub fn transaction(&self, party: Party, name: TxName) -> Option<&Arc<Complete>> {
        self.seats.get(place(party))?.transaction(name)
    }

    /// What a party watches on the chain.
    pub fn watched(&self, party: Party) -> Vec<OutPoint> {
        self.seats[place(party)].watched()
    }

    /// Where each party's final balance goes.
    pub fn payouts(&self) -> impl Iterator<Item = (Party, &ScriptBuf)> {
        self.seats.iter().map(|seat| (seat.party(), seat.payout()))
    }

    /// Hands out `inputs`, and the messages that follow from them, in rounds: whoever has several in a round takes them in
    /// the order in which they were sent, and the parties take theirs at the same time, on all cores. What they do about
    /// it is done in the order of the inputs, so the cores decide nothing.
    fn deliver(&mut self, inputs: impl IntoIterator<Item = (Party, Input)>) -> Result<Outcome, PartyError> {
        let mut round: Vec<_> = inputs.into_iter().collect();
        let mut outcome = Outcome::default();
        while !round.is_empty() {
            let mut next = Vec::new();
            for (party, reaction) in self.react(round) {
                let Some(reaction) = reaction else { continue };
                let Reaction { effects, crash } = reaction.map_err(|source| PartyError { party, source })?;
                for effect in effects {
                    self.perform(party, effect, &mut next, &mut outcome);
                }
                if let Some(moment) = crash {
                    outcome.noted.push(Noted::Crash(party, moment));
                }
            }
            round = next;
        }
        Ok(outcome)
    }

    /// What comes of each input at its party, in their order; nothing, if it has crashed before.
    fn react(&mut self, round: Vec<(Party, Input)>) -> Vec<(Party, Option<Result<Reaction, ProtocolError>>)> {
        let parties: Vec<Party> = round.iter().map(|(party, _)| *party).collect();
        let mut inboxes: HashMap<Party, Vec<Input>> = HashMap::new();
        for (party, input) in round {
            inboxes.entry(party).or_default().push(input);
        }
        let mut reactions: HashMap<Party, _> = if inboxes.len() < FEW {
            // For a message or two, waking another core takes longer than it saves.
            let handle = |(party, inbox)| (party, self.seats[place(party)].handle(inbox).into_iter());
            inboxes.into_iter().map(handle).collect()
        } else {
            let seats = self.seats.iter_mut();
            let busy = seats.filter_map(|seat| inboxes.remove(&seat.party()).map(|inbox| (seat, inbox)));
            let busy: Vec<_> = busy.collect();
            let handled = busy.into_par_iter().map(|(seat, inbox)| (seat.party(), seat.handle(inbox).into_iter()));
            handled.collect::<Vec<_>>().into_iter().collect()
        };
        let next = |party: Party| (party, reactions.get_mut(&party).and_then(Iterator::next));
        parties.into_iter().map(next).collect()
    }

    /// Does what a party wants done.
    fn perform(&mut self, party: Party, effect: Effect, next: &mut Vec<(Party, Input)>, outcome: &mut Outcome) {
        match effect {
            Effect::Send { to, message } => {
                let kind = MessageKind::of(&message);
                let arrived = self.links.carry(party, to, kind) && !self.seats[place(to)].crashed;
                outcome.noted.push(Noted::Message { kind, from: party, to, arrived });
                if arrived {
                    next.push((to, Input::Message { from: party, message }));
                }
            }
            // The party has done that itself.
            Effect::Persist(_) => {}
            Effect::Broadcast { name, tx } => outcome.broadcasts.push((party, name, tx)),
            Effect::Watch(outpoint) => {
                self.watchers.entry(outpoint).or_default().insert(party);
            }
            Effect::Report(event) => outcome.noted.push(Noted::Event(party, event)),
        }
    }
}

/// Where a party sits.
fn place(party: Party) -> usize {
    match party {
        Party::Operator => 0,
        Party::Member(member) => member as usize + 1,
    }
}

#[cfg(test)]
mod tests;
