//! The transactions that a scenario can make, without a node: what each spends, what it weighs and costs.

mod derive;
mod mermaid;
mod rows;
mod table;

use std::path::PathBuf;

use factory_core::{CloseError, FundingMismatch, TermsError, TxName};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::load::Loaded;

/// The transactions that a scenario can make. They are derived by the same library, from the same keys, as in a run; only
/// their identifiers are not known, since they follow from the coins of a node's chain.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub file: PathBuf,
    /// The values that this cell of the scenario's matrix has, by their place in the scenario.
    pub cell: IndexMap<String, String>,
    /// How many members the factory has.
    pub members: u32,
    /// The transactions, by name, in the order in which a lifecycle meets them.
    pub transactions: IndexMap<String, Planned>,
    /// What the allocation and the closes of all channels pay together: what the factory close pays, without a premium.
    /// Nothing, if a channel cannot be closed in the end.
    pub cut_through_fee_sat: Option<u64>,
    /// The ways in which all of the factory can be settled on chain.
    pub paths: Vec<Path>,
    /// What cannot be known beforehand.
    pub notes: Vec<String>,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Planned {
    /// Which of the factory's transactions it spends: one of these.
    pub spends: Vec<String>,
    /// Virtual size, in vB. With locks of the kind `wsh`, whose signatures vary in length, the most that it can be.
    pub vsize: u64,
    /// Weight, in WU, likewise.
    pub weight: u64,
    /// What it pays to the miner, in satoshis.
    pub fee_sat: u64,
    /// For how many blocks what it spends must have been confirmed.
    pub relative_lock: Option<u16>,
    /// The height that it has to wait for.
    pub absolute_lock: Option<u32>,
    /// What it pays to whom.
    pub outputs: Vec<Output>,
    /// Whether the steps make it complete. What they do not is here as far as it could be made in the end.
    pub signed: bool,
    #[serde(skip)]
    pub(crate) name: Name,
}

/// The name, kept for sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) TxName);

/// One output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// `factory`, `channel of m0`, `change`, `HTLC 0`, or a party.
    pub to: String,
    /// How much.
    pub amount_sat: u64,
}

/// One way in which all of the factory can be settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Path {
    /// What is confirmed.
    pub name: String,
    /// How many transactions.
    pub transactions: usize,
    /// Their virtual size together, in vB.
    pub vsize: u64,
    /// Their weight together, in WU.
    pub weight: u64,
    /// Their fees together, in satoshis.
    pub fee_sat: u64,
}

/// Returned when the transactions of a scenario cannot be derived, although it is sound: a bug.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The terms.
    #[error("cannot make the terms: {0}")]
    Terms(#[from] TermsError),
    /// The funding.
    #[error("cannot make the funding: {0}")]
    Funding(#[from] factory_core::tx::funding::NotEnoughMoney),
    /// The factory.
    #[error("cannot make the factory: {0}")]
    Factory(#[from] FundingMismatch),
    /// A transaction of a channel, or the factory close.
    #[error("cannot close: {0}")]
    Close(#[from] CloseError),
    /// A fee.
    #[error("cannot claim an HTLC: {0}")]
    Claim(TxName),
    /// What a party spends.
    #[error("cannot make {0}")]
    Spend(TxName),
}

/// Derives the transactions that a scenario can make.
///
/// # Errors
///
/// [`PlanError`], if one of them cannot be derived.
pub fn plan(loaded: &Loaded) -> Result<Plan, PlanError> {
    let scenario = &loaded.scenario;
    let derived = derive::derive(scenario)?;
    let mut notes =
        vec!["identifiers are not known before a run: they follow from the coins of the node's chain".to_owned()];
    notes.extend(derived.notes);
    Ok(Plan {
        scenario: scenario.name.clone(),
        file: loaded.file.clone(),
        cell: loaded.cell.clone(),
        members: scenario.factory.members.0,
        transactions: derived.transactions.into_iter().map(|planned| (planned.name.0.to_string(), planned)).collect(),
        cut_through_fee_sat: derived.cut_through.map(|fee| fee.to_sat()),
        paths: derived.paths,
        notes,
    })
}

#[cfg(test)]
mod tests;
