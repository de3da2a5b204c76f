//! Bitcoin nodes: their kinds, where their programs come from, and their processes.

mod arguments;
mod first_blocks;
mod keeper;
mod kind;
pub(crate) mod launcher;
mod link;
pub(crate) mod lodger;
mod process;
pub mod provision;
mod rpc;
pub mod snapshot;

pub(crate) use arguments::node_arguments;
pub use kind::{Kind, UnknownKind};
pub(crate) use process::logs;
pub use process::{Node, NodeConfig, StartError, StopError};
pub use rpc::{
    Acceptance, Block, BlockSubmission, BlockTransaction, ChainInfo, Ingredient, LinkError, LinkState, MempoolEntry,
    MempoolFees, MempoolRules, Output, PackageSubmission, PackageTransaction, Peer, Rpc, RpcError, RpcErrorReason,
    Submission, TemplateTransaction, Unspent,
};
