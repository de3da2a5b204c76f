//! The operator and its members, against each other in memory, through the public interface alone.

mod lifecycle;
mod links;
mod payments;
mod refusals;
mod signing;
mod world;
