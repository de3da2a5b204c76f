//! The arguments that say which scenarios are run, how, and where the reports go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::progress::Style;
use super::schedule::Budget;
use super::select::{Selection, Shard, TagRule};

/// Which scenarios are run, how, and where the reports go.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SuiteArgs {
    /// Run only scenarios with this in their path or title, in any case; given several times, any of them
    #[arg(long, value_name = "TEXT", help_heading = "Selection")]
    pub filter: Vec<String>,
    /// Run only scenarios with this tag or, as `!TAG`, without it; given several times, all of them
    #[arg(long, value_name = "TAG", help_heading = "Selection")]
    pub tag: Vec<TagRule>,
    /// Run only the I-th of N equal parts of the selection, such as 2/5
    #[arg(long, value_name = "I/N", help_heading = "Selection")]
    pub shard: Option<Shard>,
    /// Run everything so many times, and tell what differs between the times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Running")]
    pub repeat: u32,
    /// How many scenarios run at once, as far as memory allows [default: as many as keep the processors busy]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Running")]
    pub jobs: Option<u16>,
    /// Begin no further scenario once one failed; those that run are brought to their end
    #[arg(long, help_heading = "Running")]
    pub fail_fast: bool,
    /// Show every step as it begins
    #[arg(long, short, help_heading = "Running")]
    pub verbose: bool,
    /// Keep the files of every run, not only of those that do not pass
    #[arg(long, help_heading = "Running")]
    pub keep: bool,
    /// Write the report as JSON to this file, or to standard output with `-`
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json: Option<PathBuf>,
    /// Write the report as JUnit XML to this file, or to standard output with `-`
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub junit: Option<PathBuf>,
    /// Write the report as Markdown to this file, or to standard output with `-`
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub markdown: Option<PathBuf>,
    /// Write the report as one HTML page to this file, or to standard output with `-`
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub html: Option<PathBuf>,
}

/// Returned when two reports would go to one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{first} and --{second} both write to {place}: expected a place for each")]
pub struct OutputError {
    first: &'static str,
    second: &'static str,
    place: String,
}

impl SuiteArgs {
    /// Which scenarios are run.
    pub fn selection(&self) -> Selection {
        Selection { filter: self.filter.clone(), tags: self.tag.clone(), shard: self.shard }
    }

    /// How much may go on at once.
    pub fn budget(&self) -> Budget {
        Budget::of_machine(self.jobs.map(usize::from))
    }

    /// How progress is shown.
    pub fn style(&self) -> Style {
        Style::of_stderr(self.verbose)
    }

    /// Whether a report goes to standard output, so that nothing else may.
    pub fn uses_stdout(&self) -> bool {
        self.outputs().any(|(_, path)| path == Path::new("-"))
    }

    /// Checks that the reports do not overwrite each other.
    ///
    /// # Errors
    ///
    /// If two of them would go to one place.
    pub fn check_outputs(&self) -> Result<(), OutputError> {
        let mut taken = HashMap::new();
        for (second, path) in self.outputs() {
            if let Some(first) = taken.insert(path, second) {
                let standard = path == Path::new("-");
                let place = if standard { "standard output".to_owned() } else { path.display().to_string() };
                return Err(OutputError { first, second, place });
            }
        }
        Ok(())
    }

    fn outputs(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let outputs =
            [("json", &self.json), ("junit", &self.junit), ("markdown", &self.markdown), ("html", &self.html)];
        outputs.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        suite: SuiteArgs,
    }

    fn parse(args: &str) -> Result<SuiteArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("shopfloor").chain(args.split_whitespace())).map(|cli| cli.suite)
    }

    #[test]
    fn arguments_are_declared_soundly() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_become_a_selection_and_a_budget() {
        let args = parse("--filter a --filter b --tag !slow --shard 2/5 --jobs 3 --fail-fast").unwrap();
        let selection = args.selection();
        assert_eq!(selection.filter, ["a", "b"]);
        assert_eq!(selection.tags, ["!slow".parse().unwrap()]);
        assert_eq!(selection.shard, Some("2/5".parse().unwrap()));
        assert_eq!((args.budget().runs, args.repeat, args.fail_fast), (3, 1, true));
        for (bad, why) in [
            ("--shard 6/5", "there is no shard 6 of 5"),
            ("--repeat 0", "0 is not in 1.."),
            ("--jobs 0", "0 is not in 1.."),
            ("--tag !", "names no tag"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn only_one_report_goes_to_one_place() {
        let alone = parse("--json - --junit a.xml --html b.html").unwrap();
        assert_eq!(alone.check_outputs(), Ok(()));
        assert!(alone.uses_stdout());
        assert!(!parse("--json a").unwrap().uses_stdout());
        for (args, why) in [
            ("--json - --html -", "--json and --html both write to standard output: expected a place for each"),
            ("--junit a --markdown a", "--junit and --markdown both write to a: expected a place for each"),
        ] {
            assert_eq!(parse(args).unwrap().check_outputs().unwrap_err().to_string(), why);
        }
    }
}
