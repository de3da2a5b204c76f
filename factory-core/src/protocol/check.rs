//! What a party checks before it signs: one function for each kind of transaction. Each compares the proposed
//! transaction, field by field, with the one that the party derives itself from the terms.

use std::fmt::{Display, LowerHex};
use std::sync::Arc;

use bitcoin::{Amount, Transaction};

use super::message::Proposed;
use super::{Agreement, Reason};
use crate::channel::State;
use crate::factory::Factory;
use crate::keys::MemberPublic;
use crate::terms::Offer;
use crate::tx::{FactoryClose, Unsigned, channel_close, refund};

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
    let wanted = &agreed.offer;
    same("version", &wanted.version, &offer.version)?;
    same("lock", &wanted.lock, &offer.lock)?;
    let feerate = |offer: &Offer| format!("{} sat/kwu", offer.feerate.to_sat_per_kwu());
    same("feerate", &feerate(wanted), &feerate(offer))?;
    let rule = |offer: &Offer| format!("{:?}", offer.close_fee);
    same("close fee", &rule(wanted), &rule(offer))?;
    same("confirmations", &wanted.confirmations, &offer.confirmations)?;
    let locks = |offer: &Offer| format!("{:?}", offer.refund_locks);
    same("refund locks", &locks(wanted), &locks(offer))?;
    same("patience", &wanted.patience, &offer.patience)
}

/// What is checked before anything of a factory is signed: the member is in it, in its place, as it joined, and on the
/// agreed conditions. That the funding pays to the factory is in its type.
pub(super) fn factory(
    agreed: &Agreement,
    index: u32,
    public: &MemberPublic,
    factory: &Factory,
) -> Result<(), Mismatch> {
    let terms = factory.terms();
    let Some(found) = terms.members().get(index as usize) else {
        let found = format!("{} members", terms.members().len());
        return Err(Mismatch { field: "members", expected: format!("m{index} among them"), found });
    };
    same("factory key", &public.factory, &found.public.factory)?;
    same("channel key", &public.channel, &found.public.channel)?;
    same("payout script", &Hex(&public.payout), &Hex(&found.public.payout))?;
    invitation(agreed, found.capacity, terms.offer())
}

/// What is checked before the allocation is signed.
pub(super) fn allocation(factory: &Factory, proposed: &Proposed) -> Result<(), Mismatch> {
    transaction(factory, proposed, factory.allocation(), None)
}

/// What is checked before the refund of `state` is signed: it pays what the state says, and its lock is the state's.
/// Whether that state may follow the one before it is checked where it is derived.
pub(super) fn refund(factory: &Factory, member: u32, state: &State, proposed: &Proposed) -> Result<Unsigned, Reason> {
    let expected = refund::build(factory, member, state)?;
    transaction(factory, proposed, &expected, Some(factory.terms().operator().payout.as_script()))?;
    Ok(expected)
}

/// What is checked before a channel close is signed: it settles the last state, in which no HTLC is pending, and gives
/// the member its balance.
pub(super) fn close(
    factory: &Factory,
    member: u32,
    agreed: &State,
    (state, balance): (u32, Amount),
    proposed: &Proposed,
) -> Result<Unsigned, Reason> {
    same("state", &agreed.number(), &state)?;
    same("balance", &agreed.member(), &balance)?;
    same("pending HTLCs", &0, &agreed.htlcs().len())?;
    let expected = channel_close::build(factory, member, balance)?;
    transaction(factory, proposed, &expected, Some(factory.terms().operator().payout.as_script()))?;
    Ok(expected)
}

/// What is checked before the factory close is signed: each variant is the cut-through of the allocation and of closes
/// that leave the members these balances, at a fee that the terms' rule allows, and gives this member exactly what its
/// own close gives it: the same script and amount, or nothing where that would be dust.
pub(super) fn factory_close(
    factory: &Factory,
    (index, own_balance): (u32, Amount),
    balances: &Arc<[Amount]>,
    rungs: &[Proposed],
) -> Result<Arc<FactoryClose>, Reason> {
    same("balances", &factory.terms().members().len(), &balances.len())?;
    same("balance", &own_balance, &balances[index as usize])?;
    let sighash = factory.terms().offer().lock.sighash_type();
    let proposed: Vec<_> = rungs.iter().filter(|rung| rung.sighash == sighash).map(|rung| &rung.tx).collect();
    if let Some(close) = FactoryClose::adopt(factory, balances, &proposed)? {
        return Ok(Arc::new(close));
    }
    // Something is wrong: what it is shows in the transactions.
    let expected = FactoryClose::new(factory, balances.clone())?;
    same("variants", &expected.rungs().len(), &rungs.len())?;
    for (expected, proposed) in expected.rungs().iter().zip(rungs) {
        transaction(factory, proposed, expected, Some(factory.terms().operator().payout.as_script()))?;
    }
    Ok(Arc::new(expected))
}

/// Compares a proposed transaction with the derived one. `fee_payer` is the script of the output that all fees come out
/// of, where there is one: if nothing but its amount differs, what is wrong is the fee.
fn transaction(
    factory: &Factory,
    proposed: &Proposed,
    expected: &Unsigned,
    fee_payer: Option<&bitcoin::Script>,
) -> Result<(), Mismatch> {
    same("sighash type", &factory.terms().offer().lock.sighash_type(), &proposed.sighash)?;
    let (found, expected) = (&proposed.tx, expected.transaction());
    if Arc::ptr_eq(found, expected) || found == expected {
        return Ok(());
    }
    same("version", &expected.version, &found.version)?;
    same("locktime", &expected.lock_time, &found.lock_time)?;
    same("inputs", &expected.input.len(), &found.input.len())?;
    for (expected, found) in expected.input.iter().zip(&found.input) {
        same("input", &expected.previous_output, &found.previous_output)?;
        same("sequence", &expected.sequence, &found.sequence)?;
        same("input script", &Hex(&expected.script_sig), &Hex(&found.script_sig))?;
        same("witness items", &expected.witness.len(), &found.witness.len())?;
    }
    outputs(expected, found, fee_payer)
}

fn outputs(expected: &Transaction, found: &Transaction, fee_payer: Option<&bitcoin::Script>) -> Result<(), Mismatch> {
    same("outputs", &expected.output.len(), &found.output.len())?;
    let pairs = || expected.output.iter().zip(&found.output).enumerate();
    if let Some((index, (wanted, other))) = pairs().find(|(_, (wanted, found))| wanted != found) {
        let sorted = |tx: &Transaction| {
            let mut outputs = tx.output.clone();
            outputs.sort_unstable();
            outputs
        };
        if sorted(expected) == sorted(found) {
            let (expected, found) = (describe(index, wanted), describe(index, other));
            return Err(Mismatch { field: "output order", expected, found });
        }
    }
    if let Some((index, (expected, found))) =
        pairs().find(|(_, (expected, found))| expected.script_pubkey != found.script_pubkey)
    {
        let (expected, found) = (describe(index, expected), describe(index, found));
        return Err(Mismatch { field: "output script", expected, found });
    }
    let mut wrong = pairs().filter(|(_, (expected, found))| expected.value != found.value);
    let Some((index, (wanted, other))) = wrong.next() else { return Ok(()) };
    let fee_only = wrong.next().is_none() && fee_payer.is_some_and(|script| *script == *wanted.script_pubkey);
    let field = if fee_only { "fee, from the operator's output" } else { "output amount" };
    Err(Mismatch { field, expected: describe(index, wanted), found: describe(index, other) })
}

fn describe(index: usize, output: &bitcoin::TxOut) -> String {
    format!("{} to {:x} in output {index}", output.value, output.script_pubkey)
}

struct Hex<T>(T);

impl<T: PartialEq> PartialEq for Hex<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: LowerHex> Display for Hex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn same<T: PartialEq + Display>(field: &'static str, expected: &T, found: &T) -> Result<(), Mismatch> {
    if expected == found {
        return Ok(());
    }
    Err(Mismatch { field, expected: expected.to_string(), found: found.to_string() })
}
