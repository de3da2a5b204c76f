//! What the benches share: factories in memory, and the bare operations that they are compared with. And the gate: the
//! hot paths' instructions, counted and compared with what they were.

pub mod bare;
pub mod gate;
pub mod parties;
