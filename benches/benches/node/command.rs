//! The program `shopfloor` as a child of a bench: the bench itself, started once more, so that what is measured is what was
//! just built.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use shopfloor::Kind;

/// Says to this program that it is to be `shopfloor`.
const CHILD: &str = "SHOPFLOOR_BENCH_CHILD";
/// The exit code where scenarios were skipped.
const SKIPPED: i32 = 3;
/// What the child's last line begins with.
const PEAK: &str = "peak memory, KiB: ";

/// One run of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// The most memory that it held at once, in bytes, without its nodes'.
    pub(crate) peak: u64,
    /// How many scenarios passed.
    pub(crate) passed: u32,
}

/// Is `shopfloor`, if that is what this process was started for. To be called first of all.
pub(crate) fn be_shopfloor() -> Option<ExitCode> {
    std::env::var_os(CHILD)?;
    let exit = shopfloor::cli::main();
    // Linux counts it, in KiB (proc(5), VmHWM).
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells about its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it counts the peak");
    eprintln!("{PEAK}{}", line.trim().trim_end_matches(" kB"));
    Some(exit)
}

/// Runs scenarios in `folder`, all of which have to pass, or to be skipped for want of kinds of node that are left out here.
///
/// # Panics
///
/// If the program cannot be started, or something else comes of a scenario.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Run {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.current_dir(folder).arg("run").args(args).stdin(Stdio::null());
    command.env(CHILD, "1").env("SHOPFLOOR_KINDS", Kind::Core31.to_string());
    let began = Instant::now();
    let output = command.output().expect("a program that runs can be started");
    let wall = began.elapsed();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let code = output.status.code();
    assert!(matches!(code, Some(0 | SKIPPED)), "run {}: {}\n{said}{error}", args.join(" "), output.status);
    let peak = error.lines().rev().find_map(|line| line.strip_prefix(PEAK)).expect("the child told its peak");
    // Progress has a line for each, which begins with the verdict.
    let verdicts = error.lines().filter_map(|line| line.split_whitespace().next());
    let passed = verdicts.filter(|verdict| *verdict == "pass").count() as u32;
    assert!(passed > 0, "run {}: nothing passed\n{said}{error}", args.join(" "));
    Run { wall, peak: 1024 * peak.parse::<u64>().expect("a number"), passed }
}
