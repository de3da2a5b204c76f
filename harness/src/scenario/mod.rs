//! Scenarios: the YAML language, and the runner.

pub(crate) mod check;
mod language;
mod load;
mod problem;
mod run;
mod value;

pub use language::{Broadcast, Expect, ExpectSubmission, FactorySpec, Mine, NodeSpec, Pay, Scenario, Sign, Step};
pub use load::{Loaded, Override, OverrideError, find, load, load_text};
pub use problem::{Invalid, Problem};
pub use run::{Options, run};
pub use value::{Count, KindName, Named, PartyName, Rate, Sat, Side, TransactionName, Who};
