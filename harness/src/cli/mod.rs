//! The command line.

mod claims;
mod fees;
mod node;
mod plan;
mod race;
mod replacement;
mod run;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use factory_core::TxVersion;

use crate::report::update_block;
use crate::scenario::Override;
use crate::scenario::check::version;
use crate::suite::{EXIT_CODES, Exit, SuiteArgs};

/// A regtest testbed for Lightning channel factories.
#[derive(Debug, Parser)]
#[command(name = "shopfloor", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios on real nodes
    Run(RunArgs),
    /// Check scenarios and experiments without a node
    Check(CheckArgs),
    /// Show the transactions that scenarios can make, with sizes, fees and locks, without a node
    Plan(plan::PlanArgs),
    /// Ask the model and real nodes what it takes for the factory close to replace the allocation
    Replacement(replacement::ReplacementArgs),
    /// Let miners decide between both sides, in experiments on real nodes and by the model
    Race(race::RaceArgs),
    /// Show what factories cost in chain space and fees, and what the same channels cost without one
    Fees(fees::FeesArgs),
    /// Judge what the proposal claims, by scenarios on every kind of node
    Claims(claims::ClaimsArgs),
    /// Print the JSON Schema of a kind of file
    Schema {
        /// Which
        #[arg(value_enum, default_value_t = schema::Subject::Scenario)]
        of: schema::Subject,
    },
    /// List, install, find and remove the node programs
    #[command(subcommand)]
    Node(node::NodeCommand),
}

/// What `run` takes.
#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    suite: SuiteArgs,
}

/// What `check` takes.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Files, or folders with files (*.yaml) in and below them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Put a value in the place of the file's, such as factory.members=200
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Put this seed in the place of the file's
    #[arg(long)]
    seed: Option<u64>,
}

impl CheckArgs {
    fn overrides(&self) -> Vec<Override> {
        self.set.iter().cloned().chain(self.seed.map(Override::seed)).collect()
    }
}

/// Runs the program that is called `shopfloor`, on this process's arguments.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => run::check(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Replacement(args) => replacement::replacement(&args),
        Command::Race(args) => race::race(&args),
        Command::Fees(args) => fees::fees(&args),
        Command::Claims(args) => claims::claims(&args),
        Command::Schema { of } => schema::schema(of),
        Command::Node(command) => node::node(&command),
    };
    exit.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Error
    })
    .into()
}

/// Reads the version of a factory's transactions.
fn tx_version(text: &str) -> Result<TxVersion, String> {
    let number = text.parse().ok();
    number.and_then(version).ok_or_else(|| format!("`{text}`: expected 2 or 3"))
}

/// Puts a block into a Markdown file, in the place that is marked for it.
fn update(path: &Path, name: &str, block: &str) -> Result<(), AnyError> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = fs::read_to_string(path).map_err(|error| named(&error))?;
    let file = update_block(&file, name, block).map_err(|error| named(&error))?;
    fs::write(path, file).map_err(|error| named(&error).into())
}

/// Whether a Markdown file can be read, and has the place that is marked for a block.
fn updatable(path: &Path, name: &str) -> Result<(), AnyError> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = fs::read_to_string(path).map_err(|error| named(&error))?;
    update_block(&file, name, "").map_err(|error| named(&error))?;
    Ok(())
}

/// An error that ends the program with [`Exit::Error`].
type AnyError = Box<dyn std::error::Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_declared_soundly() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
