//! Runs every scenario of this package on each kind of node, each as one test: `cargo test -p scenarios`.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use shopfloor::node::provision::Env;
use shopfloor::report::Verdict;
use shopfloor::scenario::{self, Options};

/// What the figures of every scenario hold for.
const KINDS: [&str; 2] = ["core-31", "knots-29"];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = match scenario::find(&[root.to_owned()]) {
        Ok(files) => files,
        Err(invalid) => {
            eprintln!("{invalid}");
            return ExitCode::FAILURE;
        }
    };
    let trials = files.into_iter().flat_map(|file| {
        let name = file.strip_prefix(root).unwrap_or(&file).with_extension("").display().to_string();
        KINDS.map(|kind| {
            let file = file.clone();
            Trial::test(format!("{name} on {kind}"), move || run(&file, kind))
        })
    });
    libtest_mimic::run(&args, trials.collect()).exit_code()
}

/// Passes if the scenario does. A scenario that is skipped has shown nothing, so here it fails, and says what it lacks.
fn run(file: &Path, kind: &str) -> Result<(), Failed> {
    let nodes = scenario::load(file, &[])?.scenario.nodes.value;
    let overrides: Result<Vec<_>, _> = nodes.keys().map(|node| format!("nodes.{node}.kind={kind}").parse()).collect();
    let loaded = scenario::load(file, &overrides?)?;
    let env = Env::from_process()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let options = Options { env: &env, keep: false, on_step: |_| {} };
    let report = runtime.block_on(scenario::run(&loaded, &options));
    if report.verdict == Verdict::Pass { Ok(()) } else { Err(format!("\n{report}").into()) }
}
