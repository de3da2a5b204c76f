//! `shopfloor schema`.

use std::io::{self, Write as _};

use clap::ValueEnum;

use super::{AnyError, Exit};
use crate::{fees, race, report, scenario};

/// What there is a schema of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Subject {
    /// A scenario file
    Scenario,
    /// An experiment file
    Experiment,
    /// What `run --json` writes
    Report,
    /// What `race --json` writes
    Races,
    /// What `fees --json` writes
    Fees,
}

pub(super) fn schema(subject: Subject) -> Result<Exit, AnyError> {
    let schema = match subject {
        Subject::Scenario => scenario::schema(),
        Subject::Experiment => race::schema(),
        Subject::Report => report::schema(),
        Subject::Races => race::reports_schema(),
        Subject::Fees => fees::schema(),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &schema)?;
    writeln!(out)?;
    Ok(Exit::Pass)
}
