//! Scenarios: the YAML language, and the runner.

pub(crate) mod check;
mod document;
mod find;
mod language;
mod load;
mod plan;
mod problem;
mod read;
mod run;
mod schema;
mod value;
mod wording;

#[cfg(test)]
mod tests;

pub(crate) use check::is_word;
pub(crate) use find::{find_only, has};
pub(crate) use language::{channel_of, listed};
pub(crate) use load::{Cell, cells, read_text};
pub(crate) use schema::with_matrix;

pub use find::{FileKind, Found, find, find_all};
pub use language::{
    Backend, Broadcast, ChainView, CloseFee, Crash, Expect, ExpectStates, FactorySpec, FallBack, Fill, Htlc, Judgement,
    MessageKind, Mine, Moment, NodeSpec, PartySpec, Pay, PerNode, RefundLocksSpec, Reorg, Reported, Scenario, Settle,
    Sign, Spend, Step, Stored, SubmitPackage, Topology, WaitFor, Withhold,
};
pub use load::{Loaded, Override, OverrideError, load, load_text};
pub use plan::{Output, Path, Plan, PlanError, Planned, plan};
pub use problem::{Invalid, Problem};
pub use run::{Options, run};
pub use schema::schema;
pub use value::{
    BlockWeight, Count, KindName, Named, PartyName, Percent, Premium, Rate, Sat, Seconds, Size, Span, TransactionName,
    TxPattern, Txs, Who,
};
