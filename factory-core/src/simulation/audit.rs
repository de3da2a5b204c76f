//! What must never happen, watched on everything that honest parties send.

use std::collections::{BTreeMap, HashMap};

use crate::channel::State;
use crate::lock::{Nonce, Share};
use crate::name::{Party, TxName};
use crate::protocol::{Body, Content, Exchange, Joint, Message, Phase, Proposal, Step};

/// Returned when something happened that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Returned when a secret nonce signed twice.
    #[error("{0} signed twice with one nonce")]
    NonceReused(Party),
    /// Returned when a party took part twice in one session.
    #[error("{party} signed twice in session {session} of the {joint:?}")]
    SessionReused {
        /// Who.
        party: Party,
        /// What was signed.
        joint: Joint,
        /// The session.
        session: u32,
    },
    /// Returned when a party signed a state after the close of its channel.
    #[error("{0} signed a state after the close of the channel")]
    StateAfterClose(Party),
    /// Returned when a party signed two states of one number.
    #[error("{party} signed two different states {number}")]
    TwoStates {
        /// Who.
        party: Party,
        /// The number of the states.
        number: u32,
    },
    /// Returned when a party signed a state before it had stored that it does.
    #[error("{party} signed state {number} before it had stored that")]
    NotStored {
        /// Who.
        party: Party,
        /// The number of the state.
        number: u32,
    },
    /// Returned when a member signed the factory close without what it replaces.
    #[error("{0} released shares of the factory close before it had stored the allocation and its channel's close")]
    CloseWithoutFallback(Party),
    /// Returned when value appeared or disappeared.
    #[error("value was made or lost on the ledger")]
    NotConserved,
    /// Returned when a party does not end with what it must.
    #[error("{party} ends with {found}, expected {expected}: {how}")]
    Amount {
        /// Who.
        party: Party,
        /// What it has, in satoshi.
        found: u64,
        /// What it must have, in satoshi.
        expected: u64,
        /// How its money came out.
        how: String,
    },
    /// Returned when a channel was settled in a state older than the one agreed.
    #[error("{party} agreed to a newer state than {tx}, which is confirmed")]
    OldState {
        /// Who.
        party: Party,
        /// What is confirmed.
        tx: TxName,
    },
    /// Returned when a party could not be restored from what it had stored.
    #[error("{party} cannot be restored: {error}")]
    NotRestored {
        /// Who.
        party: Party,
        /// Why.
        error: String,
    },
    /// Returned when a lifecycle does not come to an end.
    #[error("{party} is still in phase `{phase}` after {blocks} blocks")]
    Stuck {
        /// Who.
        party: Party,
        /// How far it is.
        phase: Phase,
        /// How many blocks were mined.
        blocks: u32,
    },
    /// Returned when a party that nobody wronged blames an honest one for a wrong signature.
    #[error("{party} blames {blamed}, which is honest, for a wrong signature of {tx}")]
    WronglyBlamed {
        /// Who blames.
        party: Party,
        /// Who is blamed.
        blamed: Party,
        /// For what.
        tx: TxName,
    },
    /// Returned when nobody paid or was paid where somebody must have been.
    #[error("{0}")]
    Unsettled(String),
}

/// Which states the honest parties have agreed to and signed, as they said at the time. It does not forget, whatever
/// becomes of the parties.
#[derive(Debug, Default)]
pub(super) struct Book {
    agreed: BTreeMap<(Party, u32), State>,
    released: BTreeMap<(Party, u32), Vec<State>>,
}

impl Book {
    /// `party` holds the refund of a state of `channel`.
    pub(super) fn agree(&mut self, party: Party, channel: u32, state: &State) {
        let newer = self.agreed(party, channel).is_none_or(|known| known.number() < state.number());
        if newer {
            self.agreed.insert((party, channel), state.clone());
        }
    }

    /// `party` has signed a state of `channel` for the other side. One number must stand for one state.
    pub(super) fn release(&mut self, party: Party, channel: u32, state: &State) -> Result<(), Violation> {
        let known = self.released.entry((party, channel)).or_default();
        match known.iter().find(|known| known.number() == state.number()) {
            Some(known) if known == state => Ok(()),
            Some(_) => Err(Violation::TwoStates { party, number: state.number() }),
            None => {
                known.push(state.clone());
                Ok(())
            }
        }
    }

    /// The newest state that `party` has held.
    pub(super) fn agreed(&self, party: Party, channel: u32) -> Option<&State> {
        self.agreed.get(&(party, channel))
    }

    /// The states that may be enforced against `party`.
    pub(super) fn enforceable(&self, party: Party, channel: u32) -> impl Iterator<Item = &State> {
        let agreed = self.agreed(party, channel);
        let newer = move |state: &&State| agreed.is_none_or(|agreed| state.number() > agreed.number());
        agreed.into_iter().chain(self.released.get(&(party, channel)).into_iter().flatten().filter(newer))
    }
}

/// What the honest parties have sent so far.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// What each nonce stands for: the transaction that it was drawn for, by its place in the protocol.
    nonces: HashMap<Vec<u8>, Vec<u8>>,
    /// The nonces that a member sent in a session.
    sessions: BTreeMap<(Party, Joint, u32), Vec<Nonce>>,
    shares: BTreeMap<(Party, Joint, u32), Vec<Share>>,
    /// What each proposal proposes, by who made it, in which channel.
    proposals: BTreeMap<(Party, u32, u32), Content>,
    /// Which channels a party has frozen.
    frozen: BTreeMap<(Party, u32), ()>,
}

impl Audit {
    /// Looks at a message that `from`, an honest party, sends in `channel`.
    pub(super) fn sent(&mut self, from: Party, channel: u32, message: &Message) -> Result<(), Violation> {
        let Message::About { body, .. } = message else { return Ok(()) };
        match body {
            Body::Sign { joint, session, step } => self.signed(from, *joint, *session, step),
            Body::Channel(exchange) => self.exchanged(from, channel, exchange),
            Body::Ready => Ok(()),
        }
    }

    fn signed(&mut self, from: Party, joint: Joint, session: u32, step: &Step) -> Result<(), Violation> {
        match step {
            Step::Nonces(nonces) => {
                self.sessions.insert((from, joint, session), nonces.clone());
                Ok(())
            }
            Step::Shares(shares) => {
                let place = (from, joint, session);
                match self.shares.get(&place) {
                    Some(known) if known != shares => {
                        return Err(Violation::SessionReused { party: from, joint, session });
                    }
                    _ => {}
                }
                let nonces = self.sessions.get(&place).cloned().unwrap_or_default();
                for (nonce, share) in nonces.iter().zip(shares) {
                    self.use_nonce(from, nonce, format!("{share:?}"))?;
                }
                self.shares.insert(place, shares.clone());
                Ok(())
            }
            // One proposal per session, of one transaction: the operator's own nonce is in its aggregate.
            Step::Propose(proposal) => {
                let what = match proposal.as_ref() {
                    Proposal::Allocation(proposed) => vec![proposed.tx.compute_txid()],
                    Proposal::FactoryClose { rungs, .. } => rungs.iter().map(|rung| rung.tx.compute_txid()).collect(),
                };
                self.note(format!("session {from} {joint:?} {session}").into_bytes(), format!("{what:?}"))
                    .map_err(|()| Violation::SessionReused { party: from, joint, session })
            }
            Step::Aggregates(aggregates) => self
                .note(format!("aggregate {from} {joint:?} {session}").into_bytes(), format!("{aggregates:?}"))
                .map_err(|()| Violation::SessionReused { party: from, joint, session }),
            Step::Signatures(_) | Step::Held => Ok(()),
        }
    }

    fn exchanged(&mut self, from: Party, channel: u32, exchange: &Exchange) -> Result<(), Violation> {
        match exchange {
            Exchange::Propose { attempt, content, proposed, nonce } => {
                self.proposals.insert((from, channel, *attempt), *content);
                if matches!(content, Content::Close { .. }) {
                    self.frozen.insert((from, channel), ());
                } else if self.frozen.contains_key(&(from, channel)) {
                    return Err(Violation::StateAfterClose(from));
                }
                self.use_nonce(from, nonce, format!("proposal {attempt} {}", proposed.tx.compute_txid()))
            }
            Exchange::Accept { attempt, nonce, share } => {
                let proposer = if from == Party::Operator { Party::Member(channel) } else { Party::Operator };
                match self.proposals.get(&(proposer, channel, *attempt)) {
                    Some(Content::Close { .. }) => {
                        self.frozen.insert((from, channel), ());
                    }
                    Some(_) if self.frozen.contains_key(&(from, channel)) => {
                        return Err(Violation::StateAfterClose(from));
                    }
                    _ => {}
                }
                self.use_nonce(from, nonce, format!("{share:?}"))
            }
            Exchange::Complete { .. } | Exchange::Held { .. } => Ok(()),
        }
    }

    fn use_nonce(&mut self, from: Party, nonce: &Nonce, what: String) -> Result<(), Violation> {
        let bytes = crate::encoding::to_bytes(nonce);
        // Locks without nonces have one empty value for all.
        if bytes.len() <= 1 {
            return Ok(());
        }
        self.note(bytes, what).map_err(|()| Violation::NonceReused(from))
    }

    fn note(&mut self, place: Vec<u8>, what: String) -> Result<(), ()> {
        match self.nonces.insert(place, what.clone().into_bytes()) {
            Some(before) if before != what.into_bytes() => Err(()),
            _ => Ok(()),
        }
    }
}
