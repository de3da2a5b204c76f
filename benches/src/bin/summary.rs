//! Puts together what `cargo bench -p benches` has measured: a table, and figures for dashboards.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use benches::summary::{json, read, table, update_block};
use clap::Parser;

/// Put together what `cargo bench -p benches` has measured last: a Markdown table on standard output.
#[derive(Parser)]
struct Args {
    /// Criterion's folder [default: $CRITERION_HOME, or `criterion` in the target folder of this program]
    #[arg(long, value_name = "FOLDER")]
    criterion: Option<PathBuf>,
    /// Write the table into the block `figures` of this Markdown file, too
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
    /// Write every figure into this file, in github-action-benchmark's form `customSmallerIsBetter`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let folder = match args.criterion.or_else(|| env::var_os("CRITERION_HOME").map(PathBuf::from)) {
        Some(folder) => folder,
        // The program is in target/release, and criterion's folder in target.
        None => {
            let program = env::current_exe()?;
            let target = program.ancestors().nth(2).ok_or("the program is in no target folder")?;
            target.join("criterion")
        }
    };
    let measured = read(&folder)?;
    let text = format!("{}\n\n{}", machine()?, table::markdown(&measured));
    if let Some(path) = args.json {
        write(&path, &format!("{}\n", serde_json::to_string_pretty(&json::figures(&measured))?))?;
    }
    if let Some(path) = args.update {
        let file = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let none =
            || format!("{}: expected a line `<!-- figures: begin -->` and one `<!-- figures: end -->`", path.display());
        write(&path, &update_block(&file, "figures", &text).ok_or_else(none)?)?;
    }
    print!("{text}");
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What the figures are of.
fn machine() -> Result<String, Box<dyn Error>> {
    let cores = std::thread::available_parallelism()?;
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let model = field("model name").unwrap_or_else(|| env::consts::ARCH.to_owned());
    let hashing = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "sha_ni"));
    let hashing = if hashing { "with" } else { "without" };
    Ok(format!("Machine: {cores} cores, {model}, {hashing} SHA instructions."))
}
