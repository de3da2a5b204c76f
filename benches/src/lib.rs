//! What the benches share: factories in memory, and the bare operations that they are compared with.

pub mod bare;
pub mod parties;
