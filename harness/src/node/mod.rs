//! Bitcoin nodes: their kinds, where their programs come from, and their processes.

mod kind;

pub use kind::{Kind, UnknownKind};
