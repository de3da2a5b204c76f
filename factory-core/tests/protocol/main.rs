//! The operator and its members, against each other in memory, through the public interface alone.

mod batches;
mod chain;
mod channels;
mod chaos;
mod joining;
mod lifecycle;
mod links;
mod mutations;
mod payments;
mod refusals;
mod settlement;
mod signing;
mod storage;
mod tamper;
mod traps;
mod wire;
mod world;
