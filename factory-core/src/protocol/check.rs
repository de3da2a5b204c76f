//! What a member checks before it signs: one function for each kind of transaction.
//!
//! Each party derives the transactions itself, so their inputs, version, locktime, sequence and sighash type are right
//! by construction. What is checked are the values that they are derived from.

use std::fmt::{Display, LowerHex};

use bitcoin::Amount;

use super::{Agreement, Reason};
use crate::channel::Channel;
use crate::factory::Factory;
use crate::keys::MemberPublic;
use crate::terms::Offer;
use crate::tx::FactoryClose;

/// Returned when a field is not what was agreed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct Mismatch {
    /// The field.
    pub field: &'static str,
    /// What was agreed, as text.
    pub expected: String,
    /// What is there, as text.
    pub found: String,
}

/// What is checked before a member joins: the invitation is what was agreed.
pub(super) fn invitation(agreed: &Agreement, capacity: Amount, offer: &Offer) -> Result<(), Mismatch> {
    same("capacity", &agreed.capacity, &capacity)?;
    same("version", &agreed.offer.version, &offer.version)?;
    let feerate = |offer: &Offer| format!("{} sat/kwu", offer.feerate.to_sat_per_kwu());
    same("feerate", &feerate(&agreed.offer), &feerate(offer))?;
    same("confirmations", &agreed.offer.confirmations, &offer.confirmations)
}

/// What is checked before the allocation is signed: the member is in the factory, in its place, as it joined, and on
/// the agreed conditions. The allocation follows from the factory, and its type says that the funding pays to it.
pub(super) fn allocation(
    agreed: &Agreement,
    index: u32,
    public: &MemberPublic,
    factory: &Factory,
) -> Result<(), Reason> {
    let terms = factory.terms();
    let Some(found) = terms.members().get(index as usize) else {
        let found = format!("{} members", terms.members().len());
        return Err(Mismatch { field: "members", expected: format!("m{index} among them"), found }.into());
    };
    same("factory key", &public.factory, &found.public.factory)?;
    same("channel key", &public.channel, &found.public.channel)?;
    same("payout script", &Hex(&public.payout), &Hex(&found.public.payout))?;
    Ok(invitation(agreed, found.capacity, terms.offer())?)
}

/// What is checked before a channel close is signed: it is in the last state, and gives the member its balance.
pub(super) fn close(channel: &Channel, balance: Amount, state: u64) -> Result<(), Mismatch> {
    same("state", &channel.state(), &state)?;
    same("balance", &channel.member(), &balance)
}

/// What is checked before the factory close is signed, by a member that holds the allocation and its channel's close:
/// it is of the same factory, and gives the member the balance of that close. Then both pay it the same, to the same
/// script. The cost does not depend on the number of members.
pub(super) fn factory_close(
    factory: &Factory,
    index: u32,
    closed: &Channel,
    found: &FactoryClose,
) -> Result<(), Mismatch> {
    same("factory", &factory.digest(), &found.factory())?;
    // The digest says that there are as many balances as members, and this party is one of them.
    same("balance", &closed.member(), &found.balances()[index as usize])
}

fn same<T: PartialEq + Display>(field: &'static str, expected: &T, found: &T) -> Result<(), Mismatch> {
    if expected == found {
        return Ok(());
    }
    Err(Mismatch { field, expected: expected.to_string(), found: found.to_string() })
}

#[derive(PartialEq)]
struct Hex<T>(T);

impl<T: LowerHex> Display for Hex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
