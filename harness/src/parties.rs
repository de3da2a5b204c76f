//! The operator and the members, and the links that carry their messages.

use std::collections::VecDeque;
use std::sync::Arc;

use bitcoin::{ScriptBuf, Txid};
use factory_core::protocol::{Agreement, Command, Effect, Event, Input, Member, Operator, ProtocolError};
use factory_core::tx::Complete;
use factory_core::tx::funding::Coin;
use factory_core::{Factory, MemberKeys, OperatorKeys, Party, TxName, Wallet};
use rand_chacha::ChaCha20Rng;

use crate::factory::{capacities, offer};
use crate::scenario::Scenario;
use crate::seed;

/// All parties of one factory. Messages arrive in the order in which they were sent, so that a run can be reproduced.
#[derive(Debug)]
pub struct Parties {
    operator: Seat<Operator>,
    members: Vec<Seat<Member>>,
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
    pub broadcasts: Vec<(TxName, Arc<Complete>)>,
    /// What they want to be told of: that a transaction has so many confirmations.
    pub watches: Vec<Watch>,
    /// What they report.
    pub events: Vec<(Party, Event)>,
    /// How many messages they exchanged.
    pub messages: usize,
}

/// A party's wish to be told when a transaction has so many confirmations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Who wants to know.
    pub party: Party,
    /// Which transaction.
    pub tx: TxName,
    /// Its identifier.
    pub txid: Txid,
    /// How many confirmations.
    pub confirmations: u32,
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
        Parties { members: members.collect(), operator }
    }

    /// Gives `party` a command, and lets the parties talk until they are done.
    ///
    /// # Errors
    ///
    /// [`PartyError`], if a party refuses the command or a message.
    pub fn command(&mut self, party: Party, command: Command) -> Result<Outcome, PartyError> {
        self.deliver([(party, Input::Command(command))])
    }

    /// Tells each of `watches` that its transaction has the confirmations that it waits for.
    ///
    /// # Errors
    ///
    /// [`PartyError`], if a party does not expect that.
    pub fn confirmed(&mut self, watches: &[Watch]) -> Result<Outcome, PartyError> {
        let input = |watch: &Watch| Input::Confirmed { tx: watch.tx, confirmations: watch.confirmations };
        self.deliver(watches.iter().map(|watch| (watch.party, input(watch))))
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
                        outcome.messages += 1;
                        queue.push_back((to, Input::Message { from: party, message }));
                    }
                    Effect::Broadcast { name, tx } => outcome.broadcasts.push((name, tx)),
                    Effect::Watch { tx, txid, confirmations } => {
                        outcome.watches.push(Watch { party, tx, txid, confirmations });
                    }
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
