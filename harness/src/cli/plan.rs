//! `shopfloor plan`.

use std::io::{self, Write as _};

use super::{AnyError, CheckArgs, Exit, run};
use crate::scenario::{self, Plan};

/// What `plan` takes.
#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    check: CheckArgs,
    /// Print the plans as a JSON array
    #[arg(long)]
    json: bool,
    /// Print a Mermaid flowchart of each
    #[arg(long, conflicts_with = "json")]
    mermaid: bool,
}

pub(super) fn plan(args: &PlanArgs) -> Result<Exit, AnyError> {
    let Some(scenarios) = run::load(&args.check) else { return Ok(Exit::BadInput) };
    let plans = scenarios.iter().map(scenario::plan).collect::<Result<Vec<Plan>, _>>()?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &plans)?;
        writeln!(out)?;
        return Ok(Exit::Pass);
    }
    for (number, plan) in plans.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        if args.mermaid {
            write!(out, "{}", plan.mermaid())?;
        } else {
            write!(out, "{plan}")?;
        }
    }
    Ok(Exit::Pass)
}
