//! Bitcoin nodes: their kinds, where their programs come from, and their processes.

mod kind;
mod launcher;
mod process;
pub mod provision;
mod rpc;
pub mod snapshot;

pub use kind::{Kind, UnknownKind};
pub(crate) use process::logs;
pub use process::{Node, NodeConfig, StartError, StopError};
pub use rpc::{
    Block, BlockTransaction, ChainInfo, MempoolEntry, MempoolFees, Output, Rpc, RpcError, RpcErrorReason, Submission,
    Unspent,
};
