//! Calls to a node, with just the fields of its answers that are needed, so that every kind's answers fit.

mod chain;
mod client;
mod mempool;
mod mining;
mod peers;
mod trace;

pub use chain::{Block, BlockSubmission, BlockTransaction, ChainInfo, Ingredient, Output, Unspent};
pub use client::{Rpc, RpcError, RpcErrorReason};
pub use mempool::{
    Acceptance, MempoolEntry, MempoolFees, MempoolRules, PackageSubmission, PackageTransaction, Submission,
};
pub use mining::TemplateTransaction;
pub use peers::{LinkError, LinkState, Peer};
pub(super) use trace::Trace;
