//! Runs every scenario of this package, each as one test: `cargo test -p scenarios`.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use shopfloor::node::provision::Env;
use shopfloor::report::Verdict;
use shopfloor::scenario::{self, Options};

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
    let trials = files.into_iter().map(|file| {
        let name = file.strip_prefix(root).unwrap_or(&file).with_extension("").display().to_string();
        Trial::test(name, move || run(&file))
    });
    libtest_mimic::run(&args, trials.collect()).exit_code()
}

/// Passes if the scenario does. A scenario that is skipped has shown nothing, so here it fails, and says what it lacks.
fn run(file: &Path) -> Result<(), Failed> {
    let loaded = scenario::load(file, &[])?;
    let env = Env::from_process()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let options = Options { env: &env, keep: false, on_step: |_| {} };
    let report = runtime.block_on(scenario::run(&loaded, &options));
    if report.verdict == Verdict::Pass { Ok(()) } else { Err(format!("\n{report}").into()) }
}
