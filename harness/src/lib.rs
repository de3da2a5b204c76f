//! skeleton
pub mod node;
pub mod scenario;
