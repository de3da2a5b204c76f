//! What the benches share: factories in memory, the bare operations that they are compared with, the summary of what they
//! measured, and the gate: the hot paths' instructions, counted and compared with what they were.

pub mod bare;
pub mod ceremony;
pub mod clock;
pub mod gate;
pub mod parties;
pub mod scheme;
pub mod summary;
