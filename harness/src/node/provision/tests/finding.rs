use std::time::Duration;

use super::installing::{Fake, is_gone};
use super::*;
use crate::node::provision::install::follow;
use crate::node::provision::recipe::recipe;
use crate::node::provision::{AskError, LocateError, Silent, Source, locate};

/// Puts a program into the machine's cache, as the recipe of this version would.
fn install(machine: &Machine, tool: Tool, script: &str) -> PathBuf {
    let recipe = Fake { revision: recipe(tool).revision(), ..Fake::printing(script) };
    follow(&machine.env(), tool, &recipe, &mut Silent).unwrap().path
}

#[test]
fn a_variable_beats_the_cache_which_beats_path() {
    let machine = Machine::new();
    let in_path = machine.program("bin/bitcoind", CORE_31);
    let found = locate(&machine.env(), CORE).unwrap();
    assert_eq!((found.path, found.source), (in_path, Source::Path));

    let in_cache = install(&machine, CORE, CORE_31);
    let found = locate(&machine.env(), CORE).unwrap();
    assert_eq!((found.path, found.source), (in_cache, Source::Cache));

    let named = machine.program("mine/node", CORE_31);
    let machine = machine.var("BITCOIND_EXE", "mine/node");
    let found = locate(&machine.env(), CORE).unwrap();
    assert_eq!((found.path, found.source), (named, Source::Variable("BITCOIND_EXE".into())));
    assert_eq!(found.version.to_string(), "31.99.0 (development snapshot between releases)");
}

#[test]
fn the_variable_of_the_kind_beats_bitcoind_exe() {
    let machine = Machine::new().var("BITCOIND_EXE", "no-such/file").var("SHOPFLOOR_CORE_31_EXE", "mine");
    let mine = machine.program("bin/mine", CORE_31);
    assert_eq!(locate(&machine.env(), CORE).unwrap().path, mine);
}

#[test]
fn bitcoind_exe_says_nothing_about_another_kind() {
    let machine = Machine::new().var("BITCOIND_EXE", "no-such/file");
    let knots = machine.program("bin/bitcoind", KNOTS_29);
    assert_eq!(locate(&machine.env(), KNOTS).unwrap().path, knots);
}

#[test]
fn a_variable_set_to_nothing_is_not_set() {
    let machine = Machine::new().var("BITCOIND_EXE", "");
    let in_path = machine.program("bin/bitcoind", CORE_31);
    assert_eq!(locate(&machine.env(), CORE).unwrap().path, in_path);
}

#[test]
fn another_version_of_the_family_is_taken_by_name_and_says_what_it_is() {
    let machine = Machine::new().var("BITCOIND_EXE", "./old");
    machine.program("old", CORE_29);
    assert_eq!(locate(&machine.env(), CORE).unwrap().version.to_string(), "29.1.0");
}

#[test]
fn in_path_only_the_kinds_own_version_is_taken() {
    let mut machine = Machine::new();
    machine.program("bin/bitcoind", CORE_29);
    let knots = machine.program("more/bitcoind", KNOTS_29);
    let path = format!("{}:{}:/usr/bin:/bin", machine.at("bin").display(), machine.at("more").display());
    machine.vars.push(("PATH".into(), path));

    assert_eq!(locate(&machine.env(), KNOTS).unwrap().path, knots);
    let error = locate(&machine.env(), CORE).unwrap_err().to_string();
    let expected = format!(
        "no core-31 here: run `shopfloor node install core-31`, or set BITCOIND_EXE to its bitcoind; in PATH is {}: \
         Bitcoin Core 29.1.0; in PATH is {}: Bitcoin Knots 29.4.2.knots20260508",
        machine.at("bin/bitcoind").display(),
        knots.display(),
    );
    assert_eq!(error, expected);
}

/// A program that is refused when it is named, though the cache and `PATH` both have a good one.
struct Refused {
    value: &'static str,
    script: Option<&'static str>,
    error: &'static str,
}

#[test]
fn a_named_program_that_is_none_is_refused_with_its_answer() {
    let cases = [
        Refused { value: "./mine", script: None, error: "no such file" },
        Refused { value: "./bin", script: None, error: "not an executable file" },
        Refused { value: "./mine", script: Some("echo hello; echo world"), error: "it answered `hello / world`" },
        Refused { value: "./mine", script: Some(":"), error: "it answered nothing" },
        Refused {
            value: "./mine",
            script: Some("echo libevent: cannot open >&2; exit 127"),
            error: "it ended with exit code 127, having answered `libevent: cannot open`",
        },
        Refused {
            value: "./mine",
            script: Some("kill -SEGV $$"),
            error: "it ended with signal 11, having answered nothing",
        },
        Refused {
            value: "./mine",
            script: Some("echo Bitcoin Core RPC client version v31.99.0"),
            error: "it answered `Bitcoin Core RPC client version v31.99.0`",
        },
    ];
    for Refused { value, script, error } in cases {
        let machine = Machine::new().var("BITCOIND_EXE", value);
        machine.program("bin/bitcoind", CORE_31);
        install(&machine, CORE, CORE_31);
        if let Some(script) = script {
            machine.program("mine", script);
        }
        let path = machine.env().directory().join(value);
        let expected =
            format!("BITCOIND_EXE={value}: expected the bitcoind of core-31, but {}: {error}", path.display());
        assert_eq!(locate(&machine.env(), CORE).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_bare_name_is_looked_up_in_path_as_a_shell_would() {
    let machine = Machine::new().var("BITCOIND_EXE", "mine");
    machine.program("mine", CORE_31);
    let error = locate(&machine.env(), CORE).unwrap_err();
    assert!(error.to_string().ends_with("(a file in the working directory is written ./mine)"), "{error}");
}

#[test]
fn knots_is_refused_for_a_core_kind() {
    let machine = Machine::new().var("SHOPFLOOR_CORE_31_EXE", "./knots");
    machine.program("knots", KNOTS_29);
    let error = locate(&machine.env(), CORE).unwrap_err().to_string();
    assert_eq!(
        error,
        "SHOPFLOOR_CORE_31_EXE=./knots: expected Bitcoin Core for core-31, found Bitcoin Knots 29.4.2.knots20260508"
    );
}

#[test]
fn a_named_program_that_hangs_is_stopped_with_all_it_started() {
    let machine = Machine::new().var("BITCOIND_EXE", "./slow");
    machine.program("slow", "echo one moment; sleep 1000 & echo $! > child; wait");
    let limit = Duration::from_millis(500);
    let error = locate(&machine.env().with_answer_limit(limit), CORE).unwrap_err();
    let LocateError::Refused { source, .. } = &error else { panic!("{error}") };
    assert_eq!(*source, AskError::Hangs { limit, said: "one moment\n".into() });
    assert!(error.to_string().ends_with("it gave no version within 500ms, having answered `one moment`"), "{error}");
    let child = fs::read_to_string(machine.at("child")).unwrap();
    assert!(is_gone(child.trim()));
}

#[test]
fn a_program_that_prints_without_end_is_no_bitcoind() {
    let machine = Machine::new().var("BITCOIND_EXE", "./yes");
    machine.program("yes", "exec /usr/bin/yes");
    let error = locate(&machine.env(), CORE).unwrap_err();
    assert!(error.to_string().contains("having answered `y / y / y`"), "{error}");
}

#[test]
fn a_tool_in_the_cache_that_no_longer_runs_is_an_error() {
    let machine = Machine::new();
    machine.program("bin/bitcoind", CORE_31);
    let path = install(&machine, CORE, CORE_31);
    program(&path, "echo libevent.so: cannot open shared object file >&2; exit 127");
    let error = locate(&machine.env(), CORE).unwrap_err();
    assert!(matches!(error, LocateError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("cannot open shared object file"), "{error}");

    assert_eq!(install(&machine, CORE, CORE_31), path);
    assert_eq!(locate(&machine.env(), CORE).unwrap().path, path);
}

#[test]
fn asking_for_a_version_touches_nothing_in_the_users_home() {
    // As bitcoind does, which so fails if two are asked at the same moment.
    let machine = Machine::new();
    let home = machine.at("home");
    fs::create_dir(&home).unwrap();
    let machine = machine.var("HOME", home.to_str().unwrap());
    machine.program("bin/bitcoind", &format!("mkdir $HOME/.bitcoin && echo asked > asked || exit 1; {CORE_31}"));
    assert_eq!(locate(&machine.env(), CORE).unwrap().source, Source::Path);
    assert_eq!(fs::read_to_string(machine.at("asked")).unwrap(), "asked\n");
    assert_eq!(fs::read_dir(home).unwrap().count(), 0);
}
