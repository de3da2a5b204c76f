//! Shopfloor drives single-funded Lightning channel factories through their lifecycle on real Bitcoin nodes.
pub mod node;
pub mod scenario;
