//! What the benches share: factories in memory, the bare operations that they are compared with, and the summary of what
//! they measured.

pub mod bare;
pub mod ceremony;
pub mod clock;
pub mod parties;
pub mod scheme;
pub mod summary;
