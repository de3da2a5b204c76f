//! The gate: how many instructions each hot path takes, counted and compared with a committed baseline.
//!
//! Wall time on a shared machine moves by more than a change that matters; instructions hardly move at all. `valgrind`'s
//! callgrind counts them: [`measure`] runs each of the [`hot`] paths under it, in a process of its own, and [`compare`] holds
//! the counts against the [`baseline`]. The program `gate` puts them together, and `ci/bench` is how to call it.
//!
//! It is done by hand, not with the crate `gungraun`: that needs a second program of exactly its own version, built wherever
//! the gate runs, and keeps its baselines as callgrind's output files. One option of callgrind and one line of what it
//! writes are all that there is to it, and the baselines are a file that people can read in a difference.

pub mod baseline;
pub mod compare;
pub mod hot;
pub mod measure;
