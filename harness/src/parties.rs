//! The operator and the members, and the links that carry their messages.

mod links;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bitcoin::{OutPoint, ScriptBuf, Transaction};
use factory_core::protocol::{
    Agreement, Block, ChannelEnd, Command, Effect, Event, Input, Member, Operator, ProtocolError,
};
use factory_core::tx::Complete;
use factory_core::tx::funding::Coin;
use factory_core::{Factory, MemberKeys, OperatorKeys, Party, TxName, Wallet};
use rand_chacha::ChaCha20Rng;

use crate::factory::{capacities, offer};
use crate::scenario::{Scenario, Withheld};
use crate::seed;
use links::Links;

/// All parties of one factory. Messages arrive in the order in which they were sent, so that a run can be reproduced.
#[derive(Debug)]
pub struct Parties {
    operator: Seat<Operator>,
    members: Vec<Seat<Member>>,
    links: Links,
    /// Those that do not see the chain.
    offline: BTreeSet<Party>,
    /// Who wants to see what creates and what spends an output.
    watchers: HashMap<OutPoint, BTreeSet<Party>>,
}

/// A party with what only it has.
#[derive(Debug)]
struct Seat<T> {
    party: T,
    random: ChaCha20Rng,
    payout: ScriptBuf,
}

/// What the parties did until no message was under way any more.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What they publish.
    pub broadcasts: Vec<(Party, TxName, Arc<Complete>)>,
    /// What they report.
    pub events: Vec<(Party, Event)>,
    /// How many messages arrived.
    pub messages: usize,
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
        let (offer, capacities) = (offer(scenario), capacities(scenario));
        let seat = |party: Party| {
            let mut random = seed::stream(scenario.seed, &party.to_string());
            let payout = Wallet::generate(&mut random).script_pubkey().clone();
            (random, payout)
        };
        let (mut random, payout) = seat(Party::Operator);
        let keys = OperatorKeys::generate(&mut random, payout.clone());
        let feerate = offer.feerate;
        let operator = Operator::new(keys, wallet, coins, offer.clone(), capacities.clone(), feerate);
        let operator = Seat { party: operator, random, payout };
        let members = capacities.iter().enumerate().map(|(index, capacity)| {
            let index = index as u32;
            let (mut random, payout) = seat(Party::Member(index));
            let keys = MemberKeys::generate(&mut random, payout.clone());
            Seat {
                party: Member::new(index, keys, Agreement { offer: offer.clone(), capacity: *capacity }),
                random,
                payout,
            }
        });
        Parties {
            members: members.collect(),
            operator,
            links: Links::default(),
            offline: BTreeSet::new(),
            watchers: HashMap::new(),
        }
    }

    /// Gives `party` a command, and lets the parties talk until they are done.
    ///
    /// # Errors
    ///
    /// [`PartyError`], if a party refuses the command or a message.
    pub fn command(&mut self, party: Party, command: Command) -> Result<Outcome, PartyError> {
        self.deliver([(party, Input::Command(command))])
    }

    /// Shows everybody who sees the chain its next block: its height to each, and each of `txs` to those who watch an
    /// output that it creates or spends.
    ///
    /// # Errors
    ///
    /// [`PartyError`], if a party refuses what another says to that.
    pub fn block(&mut self, height: u32, txs: &[Arc<Transaction>]) -> Result<Outcome, PartyError> {
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
        let everybody = [Party::Operator].into_iter().chain((0..self.members.len() as u32).map(Party::Member));
        let see = everybody.filter(|party| !self.offline.contains(party));
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
        self.offline.insert(party);
    }

    /// From now on `from` keeps back what it owes.
    pub fn withhold(&mut self, from: Party, what: Withheld) {
        self.links.withhold(from, what);
    }

    /// What was to be kept back, and never was sent.
    pub fn withheld_in_vain(&self) -> impl Iterator<Item = (Party, Withheld)> {
        self.links.in_vain()
    }

    /// A party's end of a member's channel, if it has one.
    pub fn channel(&self, party: Party, member: u32) -> Option<&ChannelEnd> {
        match party {
            Party::Operator => self.operator.party.channel(member),
            Party::Member(index) => self.members.get(index as usize)?.party.channel(member),
        }
    }

    /// The factory, once its terms are agreed.
    pub fn factory(&self) -> Option<&Arc<Factory>> {
        self.operator.party.factory()
    }

    /// A transaction that the operator holds.
    pub fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        self.operator.party.transaction(name)
    }

    /// Where each party's final balance goes.
    pub fn payouts(&self) -> impl Iterator<Item = (Party, &ScriptBuf)> {
        let members = self.members.iter().zip(0..).map(|(seat, index)| (Party::Member(index), &seat.payout));
        [(Party::Operator, &self.operator.payout)].into_iter().chain(members)
    }

    fn deliver(&mut self, inputs: impl IntoIterator<Item = (Party, Input)>) -> Result<Outcome, PartyError> {
        let mut queue: VecDeque<_> = inputs.into_iter().collect();
        let mut outcome = Outcome::default();
        while let Some((party, input)) = queue.pop_front() {
            for effect in self.handle(party, input)? {
                match effect {
                    Effect::Send { to, message } => {
                        if self.links.carry(party, to, &message) {
                            outcome.messages += 1;
                            queue.push_back((to, Input::Message { from: party, message }));
                        }
                    }
                    Effect::Broadcast { name, tx } => outcome.broadcasts.push((party, name, tx)),
                    Effect::Watch(outpoint) => {
                        self.watchers.entry(outpoint).or_default().insert(party);
                    }
                    // No party of a scenario is restarted, so none needs what it stored.
                    Effect::Persist(_) => {}
                    Effect::Report(event) => outcome.events.push((party, event)),
                }
            }
        }
        Ok(outcome)
    }

    fn handle(&mut self, party: Party, input: Input) -> Result<Vec<Effect>, PartyError> {
        let result = match party {
            Party::Operator => self.operator.party.handle(input, &mut self.operator.random),
            Party::Member(member) => {
                let seat = &mut self.members[member as usize];
                seat.party.handle(input, &mut seat.random)
            }
        };
        result.map_err(|source| PartyError { party, source })
    }
}
