//! What a scenario file may say.
//!
//! No field is flattened and no enum untagged, since either would cost the position in error messages.

mod step;

use std::collections::BTreeMap;

use factory_core::{LockKind, RefundLocks};
use serde::Deserialize;
use serde_yaml::Spanned;

use super::value::{Count, KindName, Named, PartyName, Premium, Rate, Sat, TransactionName};

pub use step::{
    Broadcast, ExpectStates, ExpectSubmission, FallBack, Htlc, Mine, Pay, Settle, Sign, Step, Withheld, Withhold,
};
pub(crate) use step::{channel_of, listed};

/// One scenario: a factory, what happens to it, and how it must end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: Spanned<String>,
    /// What it is there to show.
    #[serde(default)]
    pub description: String,
    /// Decides every key, nonce and address. The same seed gives the same transactions and blocks.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// The nodes, by name.
    pub nodes: Spanned<BTreeMap<String, NodeSpec>>,
    /// The factory.
    pub factory: FactorySpec,
    /// What happens, in this order.
    pub steps: Spanned<Vec<Spanned<Step>>>,
    /// What must be true in the end. That every party has its exact final amount, and that nothing of the factory's
    /// money is lost, is checked in any case.
    #[serde(default)]
    pub expect: Expect,
}

/// One node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its kind.
    pub kind: KindName,
    /// More arguments for its program, such as `-incrementalrelayfee=0`.
    #[serde(default)]
    pub args: Vec<String>,
}

/// The factory's terms.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorySpec {
    /// How many members there are beside the operator: `m0`, `m1`, …
    pub members: Spanned<Count>,
    /// The value of each channel. All of it is the operator's at first.
    pub capacity: Spanned<Sat>,
    /// What the allocation and each channel close pay per virtual byte. The funding pays the same.
    #[serde(default = "default_feerate")]
    pub feerate: Spanned<Rate>,
    /// The transaction version: 2, or 3 (TRUC, BIP 431).
    #[serde(default = "default_version")]
    pub version: Spanned<Count>,
    /// How the n-of-n and every 2-of-2 are built: `musig2`, `tapscript` or `wsh`.
    #[serde(default = "default_lock")]
    pub lock: Spanned<Named<LockKind>>,
    /// What the factory close pays beyond the fees of what it cuts through.
    #[serde(default = "default_close_fee")]
    pub close_fee: Spanned<CloseFee>,
    /// How many confirmations the funding needs before the channels go live.
    #[serde(default = "default_confirmations")]
    pub confirmations: Count,
    /// The relative locks of the refunds, in blocks.
    #[serde(default = "default_refund_locks")]
    pub refund_locks: Spanned<RefundLocksSpec>,
    /// For how many blocks a party waits for another one before it goes on without it.
    #[serde(default = "default_patience")]
    pub patience: Count,
}

/// What the factory close pays beyond the fees of what it cuts through.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum CloseFee {
    /// Nothing.
    Exact,
    /// So much per virtual byte of the factory close.
    Premium(Rate),
    /// One variant for each of these premiums, in rising order: `factory-close`, `factory-close-1`, …
    Ladder(Vec<Premium>),
}

/// The relative locks of the refunds, in blocks: a newer state has a shorter one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundLocksSpec {
    /// The lock of state 0.
    pub initial: Count,
    /// By how much it shrinks with every state.
    pub step: Count,
    /// The shortest lock that a refund may have. With it the channel can only be closed.
    pub minimum: Count,
}

/// What must be true in the end. Each entry names the transaction or the party that it means.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// In a block of the best chain.
    #[serde(default)]
    pub confirmed: Vec<Spanned<TransactionName>>,
    /// Was in a mempool, until another transaction took its place.
    #[serde(default)]
    pub replaced: Vec<Spanned<TransactionName>>,
    /// What a transaction pays to the miner, exactly.
    #[serde(default)]
    pub fees: BTreeMap<TransactionName, Spanned<Sat>>,
    /// What a party ends with out of the factory, exactly.
    #[serde(default)]
    pub balances: BTreeMap<PartyName, Spanned<Sat>>,
}

/// A value that no file gave.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(value, serde_yaml::Location::UNKNOWN, serde_yaml::Location::UNKNOWN)
}

fn default_seed() -> u64 {
    1
}

fn default_feerate() -> Spanned<Rate> {
    unwritten(Rate(bitcoin::FeeRate::BROADCAST_MIN))
}

fn default_version() -> Spanned<Count> {
    unwritten(Count(2))
}

fn default_confirmations() -> Count {
    Count(3)
}

fn default_lock() -> Spanned<Named<LockKind>> {
    unwritten(Named(LockKind::default()))
}

fn default_close_fee() -> Spanned<CloseFee> {
    unwritten(CloseFee::Exact)
}

fn default_refund_locks() -> Spanned<RefundLocksSpec> {
    let RefundLocks { initial, step, minimum } = RefundLocks::default();
    let count = |blocks: u16| Count(blocks.into());
    unwritten(RefundLocksSpec { initial: count(initial), step: count(step), minimum: count(minimum) })
}

fn default_patience() -> Count {
    Count(factory_core::Offer::default().patience)
}
