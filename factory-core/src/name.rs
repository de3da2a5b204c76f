//! What parties and transactions are called, by people and in reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A party of a factory. The operator sorts before the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Party {
    /// Funds the factory, has a channel with every member, coordinates every signature. Called `operator`.
    Operator,
    /// Has one channel, with the operator. Called `m0`, `m1`, …
    Member(u32),
}

/// A transaction of a factory, in the order in which a lifecycle meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TxName {
    /// `funding`: the only transaction that must confirm to open.
    Funding,
    /// `allocation`: spends the factory output into one channel output per member.
    Allocation,
    /// `refund-m0-7`: state 7 of the channel of m0, with a relative lock.
    Refund(u32, u32),
    /// `htlc-success-m0-3`: takes HTLC 3 of the channel of m0 from its refund, with the preimage.
    HtlcSuccess(u32, u32),
    /// `htlc-timeout-m0-3`: takes HTLC 3 of the channel of m0 back from its refund, after its expiry.
    HtlcTimeout(u32, u32),
    /// `close-m0`, `close-m1`, …: the cooperative final split of one member's channel.
    Close(u32),
    /// `factory-close`: spends the factory output directly to everybody's final balance. The higher rungs of a fee
    /// ladder are `factory-close-1`, `factory-close-2`, …
    FactoryClose(u8),
    /// `spend-0`, `spend-1`, …: a party spends what one of these gave it. No part of the protocol: what becomes of a
    /// party's own money concerns nobody else, but that it weighs on the transaction that it comes from.
    Spend(u32),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Operator => f.pad("operator"),
            Party::Member(member) => f.pad(&format!("m{member}")),
        }
    }
}

impl fmt::Display for TxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TxName::Funding => f.pad("funding"),
            TxName::Allocation => f.pad("allocation"),
            TxName::Refund(member, state) => f.pad(&format!("refund-m{member}-{state}")),
            TxName::HtlcSuccess(member, htlc) => f.pad(&format!("htlc-success-m{member}-{htlc}")),
            TxName::HtlcTimeout(member, htlc) => f.pad(&format!("htlc-timeout-m{member}-{htlc}")),
            TxName::Close(member) => f.pad(&format!("close-m{member}")),
            TxName::FactoryClose(0) => f.pad("factory-close"),
            TxName::FactoryClose(rung) => f.pad(&format!("factory-close-{rung}")),
            TxName::Spend(number) => f.pad(&format!("spend-{number}")),
        }
    }
}

/// Returned when a text names no party.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no party: expected operator, m0, m1, …")]
pub struct PartyNameError(String);

/// Returned when a text names no transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no transaction: expected funding, allocation, refund-m0-1, htlc-success-m0-0, htlc-timeout-m0-0, close-m0, factory-close, factory-close-1 or spend-0"
)]
pub struct TxNameError(String);

impl FromStr for Party {
    type Err = PartyNameError;

    fn from_str(text: &str) -> Result<Self, PartyNameError> {
        let member = || text.strip_prefix('m').and_then(member_number).map(Party::Member);
        if text == "operator" { Some(Party::Operator) } else { member() }.ok_or_else(|| PartyNameError(text.to_owned()))
    }
}

impl FromStr for TxName {
    type Err = TxNameError;

    fn from_str(text: &str) -> Result<Self, TxNameError> {
        match text {
            "funding" => Some(TxName::Funding),
            "allocation" => Some(TxName::Allocation),
            "factory-close" => Some(TxName::FactoryClose(0)),
            _ => numbered(text),
        }
        .ok_or_else(|| TxNameError(text.to_owned()))
    }
}

/// The name of a transaction that there are several of.
fn numbered(text: &str) -> Option<TxName> {
    if let Some(rung) = text.strip_prefix("factory-close-") {
        let rung = u8::try_from(member_number(rung)?).ok()?;
        return (rung > 0).then_some(TxName::FactoryClose(rung));
    }
    if let Some(number) = text.strip_prefix("spend-") {
        return member_number(number).map(TxName::Spend);
    }
    let (kind, numbers) = text.split_once("-m")?;
    let pair = |name: fn(u32, u32) -> TxName| {
        let (member, number) = numbers.split_once('-')?;
        Some(name(member_number(member)?, member_number(number)?))
    };
    match kind {
        "close" => member_number(numbers).map(TxName::Close),
        "refund" => pair(TxName::Refund),
        "htlc-success" => pair(TxName::HtlcSuccess),
        "htlc-timeout" => pair(TxName::HtlcTimeout),
        _ => None,
    }
}

/// A decimal number in its one canonical spelling, so that every party has exactly one name.
fn member_number(digits: &str) -> Option<u32> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for party in [Party::Operator, Party::Member(0), Party::Member(2322)] {
            assert_eq!(party.to_string().parse(), Ok(party));
        }
        for tx in [
            TxName::Funding,
            TxName::Allocation,
            TxName::Refund(0, 0),
            TxName::Refund(3, 17),
            TxName::HtlcSuccess(1, 2),
            TxName::HtlcTimeout(1, 2),
            TxName::Close(0),
            TxName::Close(12),
            TxName::FactoryClose(0),
            TxName::FactoryClose(15),
            TxName::Spend(0),
            TxName::Spend(12),
        ] {
            assert_eq!(tx.to_string().parse(), Ok(tx));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "m", "m-1", "m01", "m+1", "M1", "m4294967296", "Operator", "member1"] {
            assert_eq!(text.parse::<Party>(), Err(PartyNameError(text.to_owned())));
        }
        for text in [
            "",
            "close",
            "close-1",
            "close-m",
            "close-m007",
            "factory_close",
            "Funding",
            "factory-close-0",
            "factory-close-256",
            "spend",
            "spend-01",
            "spend-m0",
            "refund-m1",
            "refund-m1-01",
        ] {
            assert_eq!(text.parse::<TxName>(), Err(TxNameError(text.to_owned())));
        }
    }
}
