//! Many runs: which, in what order, how many at once, and what is shown meanwhile.

mod args;
mod exit;
mod job;
mod progress;
mod repeat;
mod schedule;
mod select;
#[cfg(test)]
pub(crate) mod tests;

pub use args::{OutputError, SuiteArgs};
pub use exit::{EXIT_CODES, Exit};
pub(crate) use job::ScenarioJob;
pub use progress::{Display, Progress, Style};
pub use repeat::{differences, repeated};
pub use schedule::{Budget, Job, NOT_BEGUN, Outcome, run};
pub use select::{About, NothingSelected, Selection, Shard, ShardError, TagError, TagRule};
