//! `shopfloor schema`.

use std::io::{self, Write as _};

use clap::ValueEnum;

use super::{AnyError, Exit};
use crate::{report, scenario};

/// What there is a schema of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Subject {
    /// A scenario file
    Scenario,
    /// What `run --json` writes
    Report,
}

pub(super) fn schema(subject: Subject) -> Result<Exit, AnyError> {
    let schema = match subject {
        Subject::Scenario => scenario::schema(),
        Subject::Report => report::schema(),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &schema)?;
    writeln!(out)?;
    Ok(Exit::Pass)
}
