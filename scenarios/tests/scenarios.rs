//! Runs every cell of every scenario of this package as one test: `cargo test -p scenarios`.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use shopfloor::Kind;
use shopfloor::node::provision::{self, Env, LocateError, Tool};
use shopfloor::report::Verdict;
use shopfloor::scenario::{self, Backend, Loaded, Options};

/// With this set to `1`, a scenario in containers fails where no container engine answers.
const REQUIRE_CONTAINERS: &str = "SHOPFLOOR_REQUIRE_CONTAINERS";

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match trials(root) {
        Ok(trials) => libtest_mimic::run(&args, trials).exit_code(),
        Err(invalid) => {
            eprintln!("{invalid}");
            ExitCode::FAILURE
        }
    }
}

fn trials(root: &Path) -> Result<Vec<Trial>, scenario::Invalid> {
    let mut trials = Vec::new();
    for file in scenario::find(&[root.to_owned()])?.files {
        let name = file.strip_prefix(root).unwrap_or(&file).with_extension("").display().to_string();
        for loaded in scenario::load(&file, &[])? {
            let cell: Vec<String> = loaded.cell.iter().map(|(place, value)| format!("{place}={value}")).collect();
            let name = if cell.is_empty() { name.clone() } else { format!("{name} [{}]", cell.join(", ")) };
            trials.push(Trial::test(name.clone(), move || run(&name, &loaded)));
        }
    }
    Ok(trials)
}

/// Passes if the scenario does. A scenario that is skipped has shown nothing, so it fails; only containers and kinds of node
/// may be missing, unless they are asked for.
fn run(name: &str, loaded: &Loaded) -> Result<(), Failed> {
    let env = Env::from_process()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let options = Options { env: &env, keep: false, on_step: &|_, _, _| {} };
    let report = runtime.block_on(scenario::run(loaded, &options));
    let in_containers = loaded.scenario.nodes.values().any(|node| node.backend == Backend::Container);
    let required = std::env::var(REQUIRE_CONTAINERS).is_ok_and(|value| value == "1");
    match report.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Skip if (in_containers && !required) || is_left_out(&env, loaded)? => {
            println!("{name} was skipped: {}", report.failures.join("; "));
            Ok(())
        }
        verdict => {
            let failures = report.failures.join("\n");
            Err(format!("{}: {verdict:?}\n{failures}\n{}", report.title(), report.logs).into())
        }
    }
}

/// Whether a kind of its nodes is left out by `SHOPFLOOR_KINDS`; or not installed, where that names none and it is not the
/// default kind.
fn is_left_out(env: &Env, loaded: &Loaded) -> Result<bool, Failed> {
    let chosen = env.kinds()?;
    Ok(loaded.scenario.nodes.values().any(|node| match &chosen {
        Some(chosen) => !chosen.contains(&node.kind.0),
        None if node.kind.0 == Kind::DEFAULT => false,
        None => matches!(provision::locate(env, Tool::Node(node.kind.0)), Err(LocateError::NotFound { .. })),
    }))
}
