//! `shopfloor claims`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::{interrupted, write_json, write_text};
use super::{AnyError, Exit, update};
use crate::claims::{self, Claims, ClaimsReport, Verdict};
use crate::node::Kind;
use crate::node::provision::{Env, Tool};
use crate::suite::Style;
use crate::testbed::{Stop, locate};

/// What `claims` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ClaimsArgs {
    /// A file of claims; those of the proposal if none is named
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The folder of the scenarios
    #[arg(long, value_name = "FOLDER", default_value = "scenarios")]
    scenarios: PathBuf,
    /// Which nodes; every one that is installed if none is named
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Write the report as JSON; `-` is the standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown; `-` is the standard output, and meant if there is no other output
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Put the table into a Markdown file, in the place that is marked for it
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
}

pub(super) fn claims(args: &ClaimsArgs) -> Result<Exit, AnyError> {
    let claims = match args.file.as_deref().map_or_else(Claims::own, Claims::read) {
        Ok(claims) => claims,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(Exit::BadInput);
        }
    };
    let env = Arc::new(Env::from_process()?);
    let (kinds, missing) = kinds(&env, &args.kind)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let running =
        async { claims::run(&claims, &kinds, &args.scenarios, env, Style::of_stderr(false), interrupted()).await };
    let report = match runtime.block_on(running) {
        Ok(Some(report)) => report,
        Ok(None) => {
            eprintln!("interrupted");
            return Ok(Exit::Interrupted);
        }
        Err(Stop::Fail(why)) => {
            eprintln!("{why}");
            return Ok(Exit::BadInput);
        }
        Err(stop) => return Err(stop.into()),
    };
    write(args, &report)?;
    let verdicts = report.claims.iter().flat_map(|claim| claim.verdicts.values());
    let none = verdicts.filter(|verdict| matches!(verdict, Verdict::None { .. })).count();
    Ok(match (none, missing || kinds.is_empty()) {
        (1.., _) => Exit::Fail,
        (0, true) => Exit::Skip,
        (0, false) => Exit::Pass,
    })
}

/// The kinds that are there, and whether one that was named is not.
fn kinds(env: &Env, named: &[Kind]) -> Result<(Vec<Kind>, bool), AnyError> {
    let (mut found, mut missing) = (Vec::new(), false);
    for kind in if named.is_empty() { Kind::ALL.to_vec() } else { named.to_vec() } {
        match locate(env, Tool::Node(kind)) {
            Ok(_) => found.push(kind),
            Err(Stop::Skip(why)) => {
                eprintln!("{kind}: skipped: {why}");
                missing |= !named.is_empty();
            }
            Err(stop) => return Err(stop.into()),
        }
    }
    Ok((found, missing))
}

fn write(args: &ClaimsArgs, report: &ClaimsReport) -> Result<(), AnyError> {
    if let Some(path) = &args.json {
        write_json(path, report)?;
    }
    if let Some(path) = &args.update {
        // Links go from the file to the scenarios.
        let folder = relative(path, &args.scenarios);
        update(path, "claims", &claims::markdown(report, folder))?;
    }
    if let Some(path) = &args.markdown {
        write_text(path, &claims::markdown(report, &args.scenarios))?;
    }
    if args.json.is_none() && args.update.is_none() && args.markdown.is_none() {
        io::stdout().lock().write_all(claims::markdown(report, &args.scenarios).as_bytes())?;
    }
    Ok(())
}

/// The scenarios as the file names them that lies beside them or above.
fn relative<'a>(file: &Path, scenarios: &'a Path) -> &'a Path {
    file.parent().and_then(|folder| scenarios.strip_prefix(folder).ok()).unwrap_or(scenarios)
}
