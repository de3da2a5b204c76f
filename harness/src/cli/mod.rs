//! The command line.

mod node;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Verdict;
use crate::scenario::Override;

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
    /// Check scenarios without a node
    Check(CheckArgs),
    /// List, install, find and remove the node programs
    #[command(subcommand)]
    Node(node::NodeCommand),
}

/// What `run` takes.
#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    check: CheckArgs,
    /// Write the reports as a JSON array to this file, or to standard output with `-`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the files of every run, not only of those that do not pass
    #[arg(long)]
    keep: bool,
}

/// What `check` takes.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Scenario files, or folders with scenario files in and below them
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

const EXIT_CODES: &str = "Exit codes: 0 all passed; 1 a scenario failed; 2 bad input; \
    3 nothing failed, but something was skipped; 4 the harness or a program it needs failed; 130 interrupted";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Pass = 0,
    Fail = 1,
    BadInput = 2,
    Skip = 3,
    Error = 4,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The code for several verdicts: the worst of them counts.
    fn of(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let rank =
            |exit: &Exit| [Exit::Pass, Exit::Skip, Exit::Fail, Exit::Error].iter().position(|known| known == exit);
        let exits = verdicts.into_iter().map(|verdict| match verdict {
            Verdict::Pass => Exit::Pass,
            Verdict::Fail => Exit::Fail,
            Verdict::Skip => Exit::Skip,
            Verdict::Error => Exit::Error,
        });
        exits.max_by_key(rank).unwrap_or(Exit::Pass)
    }
}

/// Runs the program that is called `shopfloor`, on this process's arguments.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => run::check(&args),
        Command::Node(command) => node::node(&command),
    };
    exit.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Error
    })
    .into()
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

    #[test]
    fn the_worst_verdict_decides() {
        use Verdict::*;
        for (verdicts, exit) in [
            (vec![Pass, Pass], Exit::Pass),
            (vec![Pass, Skip], Exit::Skip),
            (vec![Skip, Fail, Pass], Exit::Fail),
            (vec![Error, Fail], Exit::Error),
        ] {
            assert_eq!(Exit::of(verdicts.clone()), exit, "{verdicts:?}");
        }
    }
}
