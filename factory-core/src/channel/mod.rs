//! A channel between the operator and one member: its states, the rules by which one follows another, and which of them
//! may be enforced.

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{Amount, FeeRate};
use serde::{Deserialize, Serialize};

use crate::fee::fee;
use crate::lock::LockKind;
use crate::name::Party;
use crate::terms::{DUST_LIMIT, Offer, RefundLocks};
use crate::tx::{htlc, size};

/// The most HTLCs that can be pending in one channel.
pub const MAX_HTLCS: usize = 30;

/// A payment that whoever knows the preimage of its hash can take, until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Htlc {
    /// Its number in the channel, from 0, in the order in which they were added.
    pub id: u32,
    /// Who offers it, and gets it back if nobody takes it.
    pub offerer: Party,
    /// What it holds.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
    /// SHA-256 of the preimage.
    pub hash: [u8; 32],
    /// The block height from which on the offerer can take it back on chain.
    pub expiry: u32,
}

impl Htlc {
    /// Whether this is the preimage of its hash.
    pub fn is_preimage(&self, preimage: &[u8; 32]) -> bool {
        hash_of(preimage) == self.hash
    }
}

/// The hash that locks an HTLC to `preimage`: SHA-256.
pub fn hash_of(preimage: &[u8; 32]) -> [u8; 32] {
    sha256::Hash::hash(preimage).to_byte_array()
}

/// Who owns how much of a channel. Its refund pays just that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    number: u32,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    member: Amount,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    operator: Amount,
    htlcs: Vec<Htlc>,
    next_htlc: u32,
}

/// How one state differs from the one that it is built on. Who proposes it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The proposer pays the other side.
    Pay {
        /// How much.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        amount: Amount,
    },
    /// The proposer offers an HTLC to the other side.
    AddHtlc {
        /// What it holds.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        amount: Amount,
        /// SHA-256 of the preimage.
        hash: [u8; 32],
        /// The block height from which on it can be taken back.
        expiry: u32,
    },
    /// The proposer takes an HTLC that it was offered.
    FulfilHtlc {
        /// Its number.
        id: u32,
        /// The preimage of its hash.
        preimage: [u8; 32],
    },
    /// The proposer gives an HTLC back that it was offered.
    FailHtlc {
        /// Its number.
        id: u32,
    },
}

/// What a channel's states have to keep to. It follows from the offer and the channel's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRules {
    member: u32,
    capacity: Amount,
    feerate: FeeRate,
    lock: LockKind,
    refund_locks: RefundLocks,
    patience: u32,
}

/// The outputs of a channel close. An output that would be dust is `None`, and its value goes to the fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// What the member gets.
    pub member: Option<Amount>,
    /// What the operator gets: the rest, less the fee.
    pub operator: Option<Amount>,
    /// What the miner gets.
    pub fee: Amount,
}

/// Returned when a state cannot follow another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Returned when nothing is paid.
    #[error("a payment must be at least 1 sat")]
    Nothing,
    /// Returned when a party pays more than it has in the channel. The operator must also keep the reserve.
    #[error("{payer} can pay {available} in this channel, not {amount}{}", reserve_note(*.reserve))]
    NotEnough {
        /// Who would pay.
        payer: Party,
        /// What was to be paid.
        amount: Amount,
        /// What can be paid.
        available: Amount,
        /// What the payer has to keep.
        reserve: Amount,
    },
    /// Returned when the operator could no longer pay for the refund, which has an output for every HTLC.
    #[error("with {htlcs} HTLCs the operator must keep {needed} for the refund's fee, and would have {found}")]
    Reserve {
        /// How many HTLCs would be pending.
        htlcs: usize,
        /// What the refund costs.
        needed: Amount,
        /// What the operator would have.
        found: Amount,
    },
    /// Returned when an HTLC would be dust once it is claimed.
    #[error("an HTLC of {amount} would leave dust after the fee of its claim: expected at least {minimum}")]
    HtlcTooSmall {
        /// What it would hold.
        amount: Amount,
        /// What it must hold.
        minimum: Amount,
    },
    /// Returned when too many HTLCs are pending.
    #[error("{MAX_HTLCS} HTLCs are pending already")]
    TooManyHtlcs,
    /// Returned when an HTLC expires before its recipient could take it on chain.
    #[error("an expiry at block {expiry} is too soon: expected {earliest} or later")]
    ExpiryTooSoon {
        /// The block height at which it would expire.
        expiry: u32,
        /// The lowest that is allowed now.
        earliest: u64,
    },
    /// Returned when an expiry is no block height (BIP 65).
    #[error("{0} is no block height")]
    NotAHeight(u32),
    /// Returned when no such HTLC is pending.
    #[error("no HTLC {0} is pending")]
    NoSuchHtlc(u32),
    /// Returned when a party takes or fails an HTLC that was not offered to it.
    #[error("HTLC {id} was not offered to {party}")]
    NotRecipient {
        /// The HTLC's number.
        id: u32,
        /// Who wants it.
        party: Party,
    },
    /// Returned when the preimage is not that of the HTLC's hash.
    #[error("that is not the preimage of HTLC {0}")]
    WrongPreimage(u32),
    /// Returned when the lock of the next refund would be too short.
    #[error("the channel's updates are exhausted at state {last}: it can only be closed")]
    Exhausted {
        /// The last state that there can be.
        last: u32,
    },
}

/// Returned when a channel cannot be closed, or refunded, like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Returned when a balance leaves the operator less than the fee of the close.
    #[error("a balance of {balance} leaves less than the close's fee of {fee} in a channel of {capacity}")]
    OverCapacity {
        /// What the member was to have.
        balance: Amount,
        /// What the channel holds.
        capacity: Amount,
        /// What the close costs.
        fee: Amount,
    },
    /// Returned when there is no such member.
    #[error("there is no member m{member} among {members}")]
    NoSuchMember {
        /// The number asked for.
        member: u32,
        /// How many there are.
        members: usize,
    },
    /// Returned when there is not one balance per member.
    #[error("{found} balances for {members} members")]
    BalanceCount {
        /// How many balances there are.
        found: usize,
        /// How many members there are.
        members: usize,
    },
    /// Returned when there can be no refund of that state, since its lock would be too short.
    #[error("there is no lock for a refund of state {state}")]
    Exhausted {
        /// The state.
        state: u32,
    },
    /// Returned when a state is none that the channel can be in: its balances and HTLCs are not what the channel holds,
    /// or its HTLCs are not numbered as they were added.
    #[error("the channel cannot be in such a state {state}")]
    Impossible {
        /// The state.
        state: u32,
    },
    /// Returned when the operator cannot pay the fee of a refund.
    #[error("the operator cannot pay for a refund of state {state}")]
    Unpayable {
        /// The state.
        state: u32,
    },
}

fn reserve_note(reserve: Amount) -> String {
    if reserve == Amount::ZERO { String::new() } else { format!(" ({reserve} are kept for the fee of the way out)") }
}

impl ChannelRules {
    /// The rules of a channel of `capacity` under an offer from which a [`Budget`] can be made.
    ///
    /// [`Budget`]: crate::Budget
    pub fn new(member: u32, offer: &Offer, capacity: Amount) -> Self {
        ChannelRules {
            member,
            capacity,
            feerate: offer.feerate,
            lock: offer.lock,
            refund_locks: offer.refund_locks,
            patience: offer.patience,
        }
    }

    /// The first state: all of the channel is the operator's.
    pub fn first_state(&self) -> State {
        State { number: 0, member: Amount::ZERO, operator: self.capacity, htlcs: Vec::new(), next_htlc: 0 }
    }

    /// What a refund with so many HTLCs pays in fees. The operator pays it, so it keeps as much in reserve. Without
    /// HTLCs it is what a channel close costs.
    pub fn refund_fee(&self, htlcs: usize) -> Amount {
        let weight = size::channel_spend(self.lock, 2 + htlcs);
        fee(self.feerate, weight.to_vbytes_ceil()).unwrap_or(Amount::MAX_MONEY)
    }

    /// The relative lock of a state's refund, in blocks; `None` if updates are exhausted before it.
    pub fn refund_lock(&self, state: u32) -> Option<u16> {
        self.refund_locks.at(state)
    }

    /// How many blocks it takes to bring an HTLC of `state` on chain and claim it: the allocation confirms, the
    /// refund's lock passes, the refund confirms, the claim confirms.
    pub fn blocks_to_claim(&self, state: u32) -> u64 {
        u64::from(self.refund_lock(state).unwrap_or(self.refund_locks.minimum)) + 3
    }

    /// The lowest expiry that an HTLC added in `state` may have at block `height`. Its recipient must have time to
    /// wait for an answer first, and then to go on chain; who proposes it leaves the message as much time again.
    pub fn earliest_expiry(&self, state: u32, height: u32, proposing: bool) -> u64 {
        let patience = u64::from(self.patience) * if proposing { 3 } else { 2 };
        u64::from(height) + self.blocks_to_claim(state) + patience
    }

    /// From this block height on, whoever knows the preimage of an HTLC must go on chain to be sure of it.
    pub fn last_chance(&self, state: u32, expiry: u32) -> u64 {
        u64::from(expiry).saturating_sub(self.blocks_to_claim(state) + u64::from(self.patience))
    }

    fn other(&self, side: Party) -> Party {
        match side {
            Party::Operator => Party::Member(self.member),
            Party::Member(_) => Party::Operator,
        }
    }
}

impl State {
    /// Its number: how many states came before it.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What is the member's.
    pub fn member(&self) -> Amount {
        self.member
    }

    /// What is the operator's. It pays the fee of the close, or of the refund, out of this.
    pub fn operator(&self) -> Amount {
        self.operator
    }

    /// What is pending, in the order of the HTLCs' numbers.
    pub fn htlcs(&self) -> &[Htlc] {
        &self.htlcs
    }

    /// The pending HTLC with that number.
    pub fn htlc(&self, id: u32) -> Option<&Htlc> {
        self.htlcs.iter().find(|htlc| htlc.id == id)
    }

    /// The number of the next HTLC.
    pub fn next_htlc(&self) -> u32 {
        self.next_htlc
    }

    /// Whether a channel of `capacity` can be in this state. What follows from the first state always can be; what was
    /// stored need not.
    pub(crate) fn is_possible(&self, capacity: Amount) -> bool {
        let held = self.htlcs.iter().try_fold(self.member, |sum, htlc| sum.checked_add(htlc.amount));
        let balanced = held.and_then(|held| held.checked_add(self.operator)) == Some(capacity);
        let in_order = self.htlcs.windows(2).all(|pair| pair[0].id < pair[1].id);
        let numbered = self.htlcs.last().is_none_or(|last| last.id < self.next_htlc) && self.next_htlc <= self.number;
        balanced && in_order && numbered && self.htlcs.len() <= MAX_HTLCS
    }

    /// The state that `change`, proposed by `by`, makes of this one.
    ///
    /// # Errors
    ///
    /// [`ChangeError`], if it is against the rules. Whether an HTLC's expiry leaves enough time is not known here.
    pub fn after(&self, change: &Change, by: Party, rules: &ChannelRules) -> Result<State, ChangeError> {
        let number = self.number + 1;
        if rules.refund_lock(number).is_none() {
            return Err(ChangeError::Exhausted { last: rules.refund_locks.last_state() });
        }
        let mut next = State { number, ..self.clone() };
        match *change {
            Change::Pay { amount } => {
                next.take(by, amount, rules.refund_fee(self.htlcs.len()))?;
                next.give(rules.other(by), amount);
            }
            Change::AddHtlc { amount, hash, expiry } => {
                if self.htlcs.len() >= MAX_HTLCS {
                    return Err(ChangeError::TooManyHtlcs);
                }
                if htlc::worth(rules.feerate, amount).is_none() {
                    let claim = fee(rules.feerate, htlc::success_weight().to_vbytes_ceil());
                    let minimum = claim.unwrap_or(Amount::MAX_MONEY) + DUST_LIMIT;
                    return Err(ChangeError::HtlcTooSmall { amount, minimum });
                }
                if bitcoin::absolute::Height::from_consensus(expiry).is_err() {
                    return Err(ChangeError::NotAHeight(expiry));
                }
                next.take(by, amount, rules.refund_fee(self.htlcs.len() + 1))?;
                next.htlcs.push(Htlc { id: self.next_htlc, offerer: by, amount, hash, expiry });
                next.next_htlc += 1;
            }
            Change::FulfilHtlc { id, preimage } => {
                let taken = next.remove(id, by)?;
                if !taken.is_preimage(&preimage) {
                    return Err(ChangeError::WrongPreimage(id));
                }
                next.give(by, taken.amount);
            }
            Change::FailHtlc { id } => {
                let taken = next.remove(id, by)?;
                next.give(taken.offerer, taken.amount);
            }
        }
        let needed = rules.refund_fee(next.htlcs.len());
        if next.operator < needed {
            return Err(ChangeError::Reserve { htlcs: next.htlcs.len(), needed, found: next.operator });
        }
        Ok(next)
    }

    fn take(&mut self, payer: Party, amount: Amount, operator_reserve: Amount) -> Result<(), ChangeError> {
        let (held, reserve) = match payer {
            Party::Operator => (&mut self.operator, operator_reserve),
            Party::Member(_) => (&mut self.member, Amount::ZERO),
        };
        let available = held.checked_sub(reserve).unwrap_or(Amount::ZERO);
        if amount == Amount::ZERO {
            return Err(ChangeError::Nothing);
        }
        if amount > available {
            return Err(ChangeError::NotEnough { payer, amount, available, reserve });
        }
        *held -= amount;
        Ok(())
    }

    fn give(&mut self, payee: Party, amount: Amount) {
        match payee {
            Party::Operator => self.operator += amount,
            Party::Member(_) => self.member += amount,
        }
    }

    fn remove(&mut self, id: u32, recipient: Party) -> Result<Htlc, ChangeError> {
        let position = self.htlcs.iter().position(|htlc| htlc.id == id).ok_or(ChangeError::NoSuchHtlc(id))?;
        if self.htlcs[position].offerer == recipient {
            return Err(ChangeError::NotRecipient { id, party: recipient });
        }
        Ok(self.htlcs.remove(position))
    }
}

impl Split {
    /// How a channel of `capacity` is split if the member ends with `balance` and the close costs `fee`.
    ///
    /// # Errors
    ///
    /// [`CloseError::OverCapacity`], if that leaves the operator less than the fee.
    pub fn new(capacity: Amount, balance: Amount, fee: Amount) -> Result<Split, CloseError> {
        let operator = capacity
            .checked_sub(balance)
            .and_then(|rest| rest.checked_sub(fee))
            .ok_or(CloseError::OverCapacity { balance, capacity, fee })?;
        let kept = |amount: Amount| (amount >= DUST_LIMIT).then_some(amount);
        let (member, operator) = (kept(balance), kept(operator));
        let paid = member.unwrap_or(Amount::ZERO) + operator.unwrap_or(Amount::ZERO);
        Ok(Split { member, operator, fee: capacity - paid })
    }
}

#[cfg(test)]
mod tests;
