use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::*;
use crate::node::provision::install::follow;
use crate::node::provision::needs::Need;
use crate::node::provision::recipe::{BuildError, Recipe, Site};
use crate::node::provision::{
    Event, Family, InstallError, Installed, Program, Progress, Removed, Silent, Version, clean, missing_packages,
};

/// A recipe that is a shell script. It runs in the work folder, and finds the name of its machine's folder in `$1`.
pub(super) struct Fake {
    pub(super) revision: String,
    pub(super) script: String,
    pub(super) needs: Vec<Need>,
}

impl Fake {
    fn doing(script: &str) -> Fake {
        Fake { revision: "1".into(), script: script.to_owned(), needs: Vec::new() }
    }

    /// Makes a program out of this script.
    pub(super) fn printing(program: &str) -> Fake {
        let lines = format!("printf '%s\\n' '#!/bin/sh' '{program}' > ../out/bitcoind; chmod +x ../out/bitcoind");
        Fake::doing(&lines)
    }

    fn first(self, script: &str) -> Fake {
        Fake { script: format!("{script}; {}", self.script), ..self }
    }
}

impl Recipe for Fake {
    fn revision(&self) -> String {
        self.revision.clone()
    }

    fn made(&self) -> String {
        "a script".to_owned()
    }

    fn needs(&self) -> Vec<Need> {
        self.needs.clone()
    }

    fn promises(&self, version: &Version) -> bool {
        version.family() == Family::Core && version.numbers() == [31, 99, 0]
    }

    fn build(&self, site: &mut Site<'_>) -> Result<String, BuildError> {
        site.step("pretending");
        let machine = site.work().ancestors().nth(5).unwrap().to_owned();
        let run = site.command("sh").args(["-c", &self.script, "fake"]).arg(machine);
        site.run(&run)?;
        Ok("bitcoind".to_owned())
    }
}

/// Passes on whom an installer waits for.
struct Waits(mpsc::Sender<String>);

impl Progress for Waits {
    fn event(&mut self, _: Tool, event: Event<'_>) {
        if let Event::Waiting { holder } = event {
            self.0.send(holder.to_owned()).unwrap();
        }
    }
}

/// Whether a process still runs: not one that ended and that nobody has reaped yet.
fn is_running(pid: &str) -> bool {
    let ended = |stat: String| stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']);
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !ended(stat))
}

/// Whether a process that was killed is gone; the kernel takes a moment to put it away.
pub(super) fn is_gone(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_running(pid) && Instant::now() < deadline {
        thread::yield_now();
    }
    !is_running(pid)
}

fn install(machine: &Machine, recipe: &Fake) -> Result<Program, InstallError> {
    follow(&machine.env(), CORE, recipe, &mut Silent)
}

#[test]
fn what_is_installed_is_described_beside_it() {
    let machine = Machine::new();
    let program = install(&machine, &Fake::printing(CORE_31)).unwrap();
    assert_eq!(program.path, machine.at("cache/tools/core-31/1/bitcoind"));
    let text = fs::read(machine.at("cache/tools/core-31/1/installed.json")).unwrap();
    let installed: Installed = serde_json::from_slice(&text).unwrap();
    assert_eq!((installed.version, installed.sha256.len()), (program.version, 64));
    assert!(!machine.at("cache/tools/core-31/staging").exists());
}

#[test]
fn what_is_there_is_not_made_again() {
    let machine = Machine::new();
    let first = install(&machine, &Fake::printing(CORE_31)).unwrap();
    let second = install(&machine, &Fake::doing("exit 1")).unwrap();
    assert_eq!(first, second);
}

#[test]
fn a_failure_shows_its_last_lines_and_leaves_nothing_installed() {
    let machine = Machine::new();
    let error =
        install(&machine, &Fake::doing("echo fine; echo 'a.cpp:1: error' >&2; exit 2")).unwrap_err().to_string();
    assert!(error.starts_with("core-31: pretending: `sh -c "), "{error}");
    assert!(error.ends_with("its last lines:\n  fine\n  a.cpp:1: error"), "{error}");
    let log = machine.at("cache/tools/core-31/install.log");
    assert!(error.contains(&log.display().to_string()), "{error}");
    assert!(fs::read_to_string(log).unwrap().ends_with("fine\na.cpp:1: error\n"));
    assert!(!machine.at("cache/tools/core-31/1").exists());
    install(&machine, &Fake::printing(CORE_31)).unwrap();
}

#[test]
fn a_program_that_is_not_the_promised_one_is_not_moved_in() {
    let machine = Machine::new();
    let error = install(&machine, &Fake::printing(CORE_29)).unwrap_err().to_string();
    let expected = "core-31: the program was built, but asked for its version, it is Bitcoin Core 29.1.0, not what the \
                    recipe promises";
    assert_eq!(error, expected);
    let error = install(&machine, &Fake::printing("exit 7")).unwrap_err().to_string();
    assert!(error.ends_with("it ended with exit code 7, having answered nothing"), "{error}");
    assert!(!machine.at("cache/tools/core-31/1").exists());
}

#[test]
fn what_is_missing_is_told_before_anything_is_fetched() {
    let machine = Machine::new().var("PATH", "");
    let recipe = Fake { needs: vec![Need::CMAKE, Need::MAKE], ..Fake::doing("exit 1") };
    let error = install(&machine, &recipe).unwrap_err();
    assert_eq!(error.to_string(), "core-31 needs cmake and make: apt-get install cmake make");
    assert!(!machine.at("cache").exists());
    // Both recipes need a compiler; it is named once.
    let packages = missing_packages(&machine.env(), &[CORE, Tool::Electrs]).unwrap();
    assert_eq!(packages.iter().filter(|package| **package == "g++").count(), 1, "{packages:?}");
}

#[test]
fn a_second_installer_waits_for_the_first_and_finds_the_work_done() {
    let machine = Machine::new();
    for pipe in ["started", "gate"] {
        mkfifo(&machine.at(pipe), Mode::S_IRWXU).unwrap();
    }
    let recipe = Fake::printing(CORE_31).first("echo built >> $1/count; echo > $1/started; read go < $1/gate");
    let (sender, waits) = mpsc::channel();
    let programs = thread::scope(|scope| {
        let install = || {
            let (machine, recipe, sender) = (&machine, &recipe, sender.clone());
            scope.spawn(move || follow(&machine.env(), CORE, recipe, &mut Waits(sender)).unwrap())
        };
        let first = install();
        fs::read(machine.at("started")).unwrap();
        let second = install();
        let holder = waits.recv().unwrap();
        // Opened before anything is asserted: a panic in here would wait for the installers behind the gate.
        fs::write(machine.at("gate"), "go\n").unwrap();
        assert_eq!(holder, format!("process {}, installing", std::process::id()));
        [first, second].map(|installer| installer.join().unwrap())
    });
    assert_eq!(programs[0], programs[1]);
    assert_eq!(fs::read_to_string(machine.at("count")).unwrap(), "built\n");
}

const FOLDER: &str = "SHOPFLOOR_TEST_FOLDER";

#[test]
#[ignore = "not a test: the process that the test below kills"]
fn installs_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let env = env(folder.as_ref(), []);
    let script = "echo half > ../out/bitcoind; sleep 1000 & echo $! > $1/pipe; wait";
    let done = follow(&env, CORE, &Fake::doing(script), &mut Silent);
    panic!("ended by itself: {done:?}");
}

#[test]
fn a_killed_installer_leaves_nothing_installed_and_nothing_running() {
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let machine = Machine::new();
        mkfifo(&machine.at("pipe"), Mode::S_IRWXU).unwrap();
        let name = format!("{}::installs_until_it_is_killed", module_path!().split_once("::").unwrap().1);
        // Whoever runs the tests in the background has SIGINT ignored, and children would inherit that.
        let mut installer = Command::new("env")
            .arg("--default-signal=INT,TERM")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", &name])
            .env(FOLDER, machine.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut grandchild = String::new();
        BufReader::new(File::open(machine.at("pipe")).unwrap()).read_line(&mut grandchild).unwrap();
        assert!(is_running(grandchild.trim()));
        kill(Pid::from_raw(installer.id().cast_signed()), signal).unwrap();
        installer.wait().unwrap();

        assert!(!machine.at("cache/tools/core-31/1").exists());
        assert!(machine.at("cache/tools/core-31/staging/out/bitcoind").exists());
        // The lock is free when the last process that the killed one started is gone: so it is once this returns.
        let program = install(&machine, &Fake::printing(CORE_31)).unwrap();
        assert!(is_gone(grandchild.trim()), "{signal}");
        assert!(program.path.exists());
        assert!(!machine.at("cache/tools/core-31/staging").exists());
    }
}

#[test]
fn a_folder_without_a_description_is_replaced() {
    let machine = Machine::new();
    machine.program("cache/tools/core-31/1/bitcoind", "exit 1");
    let program = install(&machine, &Fake::printing(CORE_31)).unwrap();
    assert_eq!(program.version.number(), "31.99.0");
}

#[test]
fn cleaning_removes_tools_and_leftovers_and_counts_them() {
    let machine = Machine::new();
    assert_eq!(clean(&machine.env(), &Tool::all(), &mut Silent).unwrap(), []);
    install(&machine, &Fake::printing(CORE_31)).unwrap();
    let folder = machine.at("cache/tools/core-31");
    fs::create_dir_all(folder.join("staging/work")).unwrap();
    fs::write(folder.join("staging/work/leftover"), [0; 10_000]).unwrap();
    let removed = clean(&machine.env(), &Tool::all(), &mut Silent).unwrap();
    let [Removed { tool: CORE, bytes }] = removed[..] else { panic!("{removed:?}") };
    assert!((10_001..20_000).contains(&bytes), "{bytes}");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    assert_eq!(clean(&machine.env(), &Tool::all(), &mut Silent).unwrap(), []);
}
