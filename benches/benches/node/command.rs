//! The program `shopfloor` as a child of a bench: the bench itself, started once more, so that what is measured is what was
//! just built.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Says to this program that it is to be `shopfloor`.
const CHILD: &str = "SHOPFLOOR_BENCH_CHILD";
/// What the child's last line begins with.
const PEAK: &str = "peak memory, KiB: ";

/// One run of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// The most memory that it held at once, in bytes, without its nodes'.
    pub(crate) peak: u64,
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

/// Runs the program in `folder`, which has to end well.
///
/// # Panics
///
/// If it cannot be started, or ends otherwise than with 0.
pub(crate) fn shopfloor(folder: &Path, args: &[&str]) -> Run {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.current_dir(folder).args(args).env(CHILD, "1").stdin(Stdio::null());
    let began = Instant::now();
    let output = command.output().expect("a program that runs can be started");
    let wall = began.elapsed();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "shopfloor {}: {}\n{}{error}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    let peak = error.lines().rev().find_map(|line| line.strip_prefix(PEAK)).expect("the child told its peak");
    Run { wall, peak: 1024 * peak.parse::<u64>().expect("a number") }
}
