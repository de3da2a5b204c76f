//! Scenarios: the YAML language, and the runner.

pub(crate) mod check;
mod language;
mod load;
mod problem;
mod run;
mod value;

pub use language::{
    Broadcast, CloseFee, Expect, ExpectStates, ExpectSubmission, FactorySpec, FallBack, Htlc, Mine, NodeSpec, Pay,
    RefundLocksSpec, Scenario, Settle, Sign, Step, Withheld, Withhold,
};
pub use load::{Loaded, Override, OverrideError, find, load, load_text};
pub use problem::{Invalid, Problem};
pub use run::{Options, run};
pub use value::{Count, KindName, Named, PartyName, Premium, Rate, Sat, Side, TransactionName, Who};
