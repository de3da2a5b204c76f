//! What a factory is: the parameters that every party agrees on before anything is signed.

use std::fmt;

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, TxOut, Weight};

use serde::{Deserialize, Serialize};

use crate::channel::ChannelRules;
use crate::cores;
use crate::fee::{FeeRule, FeeRuleError, fee};
use crate::keys::{MemberPublic, OperatorPublic};
use crate::lock::{Lock, LockError, LockKind};
use crate::name::{Party, TxName};
use crate::tx;
use crate::tx::size;

/// Outputs to pay-to-taproot below this value are dust: no node relays them at its default dust feerate (3 sat/vB over
/// the 43-byte output and a 67-vB input; Bitcoin Core, `GetDustThreshold`).
pub const DUST_LIMIT: Amount = Amount::from_sat(330);

/// The largest weight that nodes relay by default (Bitcoin Core, `MAX_STANDARD_TX_WEIGHT`).
pub const MAX_STANDARD_WEIGHT: Weight = Weight::from_wu_usize(400_000);

/// The largest version 3 transaction that nodes relay, in vB (BIP 431, rule 4).
pub const MAX_TRUC_VSIZE: u64 = 10_000;

/// The transaction version of the allocation, the channel closes and the factory close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TxVersion {
    /// Version 2: the usual mempool rules.
    #[default]
    Two,
    /// Version 3: topologically restricted until confirmation (TRUC, BIP 431).
    Three,
}

impl fmt::Display for TxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bitcoin().0.fmt(f)
    }
}

impl TxVersion {
    /// The number in the transaction.
    pub const fn to_bitcoin(self) -> Version {
        match self {
            TxVersion::Two => Version::TWO,
            TxVersion::Three => Version(3),
        }
    }
}

/// The conditions that the operator offers to everybody alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The version of every transaction but the funding.
    pub version: TxVersion,
    /// How the n-of-n of the factory and the 2-of-2 of every channel are built.
    pub lock: LockKind,
    /// What the allocation, each refund, each channel close and each claim of an HTLC pay per virtual byte.
    pub feerate: FeeRate,
    /// What the factory close pays beyond that.
    pub close_fee: FeeRule,
    /// How many confirmations the funding needs before the channels go live, and how many a transaction needs that
    /// settles something for good; at least 1.
    pub confirmations: u32,
    /// The relative locks of the refunds.
    pub refund_locks: RefundLocks,
    /// For how many blocks a party waits for another one before it goes on without it; at least 1.
    pub patience: u32,
}

impl Default for Offer {
    /// Version 2, MuSig2, 1 sat/vB, an exact factory close, 3 confirmations, 70 updates per channel, 6 blocks of
    /// patience.
    fn default() -> Self {
        Offer {
            version: TxVersion::Two,
            lock: LockKind::MuSig2,
            feerate: FeeRate::BROADCAST_MIN,
            close_fee: FeeRule::Exact,
            confirmations: 3,
            refund_locks: RefundLocks::default(),
            patience: 6,
        }
    }
}

/// The relative locks of the refunds, in blocks: a newer state has a shorter one, so that it can be published first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundLocks {
    /// The lock of state 0.
    pub initial: u16,
    /// By how much it shrinks with every state; at least 1.
    pub step: u16,
    /// The shortest lock that a refund may have. With it the channel can only be closed.
    pub minimum: u16,
}

impl Default for RefundLocks {
    /// 288 blocks, 4 less for every state, down to 8: 70 updates.
    fn default() -> Self {
        RefundLocks { initial: 288, step: 4, minimum: 8 }
    }
}

impl RefundLocks {
    /// The lock of `state`'s refund; `None` if updates are exhausted before it.
    pub fn at(&self, state: u32) -> Option<u16> {
        let shrunk = u64::from(state) * u64::from(self.step);
        let lock = u64::from(self.initial).checked_sub(shrunk)?;
        (lock >= u64::from(self.minimum)).then_some(lock as u16)
    }

    /// The number of the last state that there can be.
    pub fn last_state(&self) -> u32 {
        u32::from((self.initial - self.minimum) / self.step)
    }
}

/// One member's part of the terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberTerms {
    /// Its keys and its payout script.
    pub public: MemberPublic,
    /// The value of its channel. All of it is the operator's at first.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub capacity: Amount,
}

/// The agreed parameters of a factory, with the locks that follow from them. Valid once constructed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    offer: Offer,
    operator: OperatorPublic,
    members: Vec<MemberTerms>,
    factory_lock: Lock,
    channel_locks: Vec<Lock>,
    budget: Budget,
}

/// What follows from the offer and the capacities alone, before anybody's key is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What the allocation pays in fees.
    pub allocation_fee: Amount,
    /// What a channel close with two outputs pays in fees: also the reserve that the operator keeps in every channel.
    pub close_fee: Amount,
    /// What the factory output holds: all capacities and the allocation's fee.
    pub factory_value: Amount,
}

/// Returned when parameters cannot make a factory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Returned when there are no members.
    #[error("a factory needs at least one member")]
    NoMembers,
    /// Returned when channels would go live before the funding is confirmed.
    #[error("the funding needs at least 1 confirmation before the channels go live")]
    NoConfirmation,
    /// Returned when nobody would wait for anybody.
    #[error("a party must wait for others for at least 1 block")]
    NoPatience,
    /// Returned when the refunds' locks do not shrink, or cannot.
    #[error(
        "refund locks from {} down to {} blocks in steps of {}: expected a step of at least 1 and a minimum from 1 to the initial lock",
        .0.initial, .0.minimum, .0.step
    )]
    RefundLocks(RefundLocks),
    /// Returned when the rule for the factory close's fee makes no sense.
    #[error(transparent)]
    FeeRule(#[from] FeeRuleError),
    /// Returned when the lock cannot hold so many keys.
    #[error("{members} members and the operator are {} keys: a {kind} lock holds at most {limit}", members + 1)]
    TooManyKeys {
        /// How many members there are.
        members: usize,
        /// The kind of lock.
        kind: LockKind,
        /// How many keys it can hold.
        limit: usize,
    },
    /// Returned when a transaction for so many members is larger than nodes relay.
    #[error("{members} members make the {tx} {found}, over the limit of {limit} that nodes relay")]
    TooLarge {
        /// How many members there are.
        members: usize,
        /// Which transaction.
        tx: TxName,
        /// Its size, with the unit.
        found: String,
        /// The limit, with the unit.
        limit: String,
    },
    /// Returned when a fee, or the value of the whole factory, is over 21 million BTC.
    #[error("{0} is over 21 million BTC")]
    OverMoney(&'static str),
    /// Returned when a channel cannot pay for its close and leave something for both sides.
    #[error(
        "the capacity of {party}'s channel is {found}: it must hold at least {minimum} (the fee of its close and two outputs that are not dust)"
    )]
    CapacityTooSmall {
        /// Whose channel.
        party: Party,
        /// Its capacity.
        found: Amount,
        /// The least that it may be.
        minimum: Amount,
    },
    /// Returned when a key appears twice: whoever holds it could sign for both.
    #[error("{first} and {second} have the same {which} key")]
    DuplicateKey {
        /// One of the two.
        first: Party,
        /// The other.
        second: Party,
        /// `factory` or `channel`.
        which: &'static str,
    },
    /// Returned when a payout script is not pay-to-taproot: every size in the protocol is for those.
    #[error("the payout script of {0} is not pay-to-taproot")]
    PayoutNotTaproot(Party),
    /// Returned when the keys cannot be aggregated.
    #[error("the keys cannot be aggregated")]
    Lock(#[from] LockError),
}

impl Budget {
    /// Checks everything but the parties' keys and scripts.
    ///
    /// # Errors
    ///
    /// [`TermsError`], if there can be no such factory, whoever its parties are.
    pub fn new(offer: &Offer, capacities: &[Amount]) -> Result<Self, TermsError> {
        if capacities.is_empty() {
            return Err(TermsError::NoMembers);
        }
        if offer.confirmations == 0 {
            return Err(TermsError::NoConfirmation);
        }
        if offer.patience == 0 {
            return Err(TermsError::NoPatience);
        }
        let locks = offer.refund_locks;
        if locks.step == 0 || locks.minimum == 0 || locks.minimum > locks.initial {
            return Err(TermsError::RefundLocks(locks));
        }
        offer.close_fee.check()?;
        if let Some(limit) = offer.lock.max_signers().filter(|limit| capacities.len() + 1 > *limit) {
            return Err(TermsError::TooManyKeys { members: capacities.len(), kind: offer.lock, limit });
        }
        check_sizes(offer, capacities.len())?;
        let price = |weight: Weight, what| {
            fee(offer.feerate, weight.to_vbytes_ceil()).filter(is_money).ok_or(TermsError::OverMoney(what))
        };
        let allocation_fee = price(size::allocation(offer.lock, capacities.len()), "the allocation's fee")?;
        let close_fee = price(size::channel_spend(offer.lock, 2), "a channel close's fee")?;
        let highest = offer.close_fee.premiums().last().copied().unwrap_or(FeeRate::ZERO);
        fee(highest, size::factory_close(offer.lock, capacities.len()).to_vbytes_ceil())
            .filter(is_money)
            .ok_or(TermsError::OverMoney("the factory close's premium"))?;
        let minimum = close_fee + DUST_LIMIT * 2;
        if let Some((member, &found)) = capacities.iter().enumerate().find(|(_, capacity)| **capacity < minimum) {
            return Err(TermsError::CapacityTooSmall { party: party(member), found, minimum });
        }
        let factory_value = capacities
            .iter()
            .try_fold(allocation_fee, |sum, capacity| sum.checked_add(*capacity).filter(is_money))
            .ok_or(TermsError::OverMoney("the value of the factory"))?;
        Ok(Budget { allocation_fee, close_fee, factory_value })
    }
}

impl Terms {
    /// Checks the parameters and derives what follows from them.
    ///
    /// # Errors
    ///
    /// [`TermsError`] says which parameter is wrong.
    pub fn new(offer: Offer, operator: OperatorPublic, members: Vec<MemberTerms>) -> Result<Self, TermsError> {
        let capacities: Vec<_> = members.iter().map(|member| member.capacity).collect();
        let budget = Budget::new(&offer, &capacities)?;
        check_parties(&operator, &members)?;

        let kind = offer.lock;
        let everybody = || members.iter().map(|member| &member.public.factory).chain([&operator.factory]);
        // The first is that of the factory, which takes half as long as all others together.
        let of = [None].into_iter().chain(members.iter().map(Some)).collect();
        let mut locks = cores::map(of, |member| match member {
            None => Lock::new(kind, everybody()),
            Some(member) => Lock::new(kind, [&operator.channel, &member.public.channel]),
        })
        .into_iter();
        let factory_lock = locks.next().expect("one more than there are members")?;
        let channel_locks = locks.collect::<Result<_, _>>()?;
        Ok(Terms { offer, operator, members, factory_lock, channel_locks, budget })
    }

    /// The conditions that hold for everybody alike.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The operator's keys and payout script.
    pub fn operator(&self) -> &OperatorPublic {
        &self.operator
    }

    /// The members, in the agreed order.
    pub fn members(&self) -> &[MemberTerms] {
        &self.members
    }

    /// The n-of-n of the operator and all members.
    pub fn factory_lock(&self) -> &Lock {
        &self.factory_lock
    }

    /// The 2-of-2 of the operator and each member, in the agreed order.
    pub fn channel_locks(&self) -> &[Lock] {
        &self.channel_locks
    }

    /// What the allocation pays in fees.
    pub fn allocation_fee(&self) -> Amount {
        self.budget.allocation_fee
    }

    /// What a channel close with two outputs pays in fees. The operator pays it, so it is also the reserve that the
    /// operator keeps in every channel.
    pub fn close_fee(&self) -> Amount {
        self.budget.close_fee
    }

    /// The output that funds the factory: all capacities and the allocation's fee, locked by everybody.
    pub fn factory_output(&self) -> TxOut {
        TxOut { value: self.budget.factory_value, script_pubkey: self.factory_lock.script_pubkey().clone() }
    }

    /// The locktime of every transaction that several parties sign: none.
    pub const fn lock_time(&self) -> LockTime {
        tx::LOCK_TIME
    }

    /// The rules of a member's channel, or `None` if there is no such member.
    pub fn channel_rules(&self, member: u32) -> Option<ChannelRules> {
        let terms = self.members.get(member as usize)?;
        Some(ChannelRules::new(member, &self.offer, terms.capacity))
    }
}

/// The party of the member at `index` in the agreed order. Terms have far fewer than 2^32 members.
pub(crate) fn party(index: usize) -> Party {
    Party::Member(index as u32)
}

fn is_money(amount: &Amount) -> bool {
    *amount <= Amount::MAX_MONEY
}

fn check_sizes(offer: &Offer, members: usize) -> Result<(), TermsError> {
    for (tx, weight) in [
        (TxName::Allocation, size::allocation(offer.lock, members)),
        (TxName::FactoryClose(0), size::factory_close(offer.lock, members)),
    ] {
        let vsize = weight.to_vbytes_ceil();
        let (found, limit) = if weight > MAX_STANDARD_WEIGHT {
            (format!("{} WU", weight.to_wu()), format!("{} WU", MAX_STANDARD_WEIGHT.to_wu()))
        } else if offer.version == TxVersion::Three && vsize > MAX_TRUC_VSIZE {
            (format!("{vsize} vB"), format!("{MAX_TRUC_VSIZE} vB for version 3"))
        } else {
            continue;
        };
        return Err(TermsError::TooLarge { members, tx, found, limit });
    }
    Ok(())
}

fn check_parties(operator: &OperatorPublic, members: &[MemberTerms]) -> Result<(), TermsError> {
    let everybody = || {
        let members = members
            .iter()
            .enumerate()
            .map(|(index, member)| (party(index), member.public.factory, member.public.channel, &member.public.payout));
        members.chain([(Party::Operator, operator.factory, operator.channel, &operator.payout)])
    };
    for (which, keys) in [
        ("factory", everybody().map(|(party, factory, ..)| (factory, party)).collect::<Vec<_>>()),
        ("channel", everybody().map(|(party, _, channel, _)| (channel, party)).collect()),
    ] {
        let mut keys = keys;
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(TermsError::DuplicateKey { first: pair[0].1, second: pair[1].1, which });
        }
    }
    match everybody().find(|(.., payout)| !payout.is_p2tr()) {
        Some((party, ..)) => Err(TermsError::PayoutNotTaproot(party)),
        None => Ok(()),
    }
}
