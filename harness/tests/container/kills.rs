//! A harness that is killed leaves nothing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shopfloor::container::{ContainerConfig, ContainerNet, ContainerNode, Engine};
use shopfloor::node::Kind;
use shopfloor::reaper::Reaper;

use crate::run::{cache, engine, left, program, until};

/// Says where the killed process is, and in which folder it works.
const PHASE: &str = "SHOPFLOOR_TEST_PHASE";
const FOLDER: &str = "SHOPFLOOR_TEST_FOLDER";

#[test]
fn a_harness_that_is_killed_leaves_nothing_in_any_phase() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let (Ok(phase), Some(folder)) = (std::env::var(PHASE), std::env::var_os(FOLDER)) {
        runtime.block_on(goes_on_until_it_is_killed(&phase, folder.as_ref()));
    }
    let Some(engine) = runtime.block_on(engine()) else { return };
    thread::scope(|scope| {
        for phase in ["networks", "starting", "running", "paused", "split"] {
            let (runtime, engine) = (&runtime, &engine);
            scope.spawn(move || runtime.block_on(killed_in(engine, phase)));
        }
    });
}

async fn killed_in(engine: &Engine, phase: &str) {
    let base = tempfile::tempdir().unwrap();
    let mut harness = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::a_harness_that_is_killed_leaves_nothing_in_any_phase", "--nocapture"])
        .envs([(PHASE, phase.as_ref()), (FOLDER, base.path().as_os_str())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(harness.stdout.take().unwrap()).lines().map_while(Result::ok);
    let run =
        tokio::task::block_in_place(|| lines.find_map(|line| line.strip_prefix("reached by ").map(str::to_owned)));
    kill(Pid::from_raw(harness.id().cast_signed()), Signal::SIGKILL).unwrap();
    let run = run.unwrap_or_else(|| panic!("{phase}: {:?}", harness.wait()));
    harness.wait().unwrap();

    let dir = base.path().join(&run);
    until(&format!("{phase}: everything to be gone"), async || {
        !dir.exists() && left(engine, &run).await == (0, 0) && reapers(&dir).is_empty()
    })
    .await;
}

/// The processes that clean up after the run in a folder.
fn reapers(dir: &Path) -> Vec<String> {
    let variable = format!("SHOPFLOOR_REAPER_DIR={}", dir.display()).into_bytes();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let is_one = |pid: &String| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|entry| entry == variable)
    };
    pids.filter(is_one).collect()
}

async fn goes_on_until_it_is_killed(phase: &str, folder: &Path) {
    let engine = Engine::connect().await.unwrap();
    let name = format!("run-killed-{}-{phase}", std::process::id());
    let dir = folder.join(&name);
    fs::create_dir(&dir).unwrap();
    let reaper = Reaper::for_run(&dir, &name).unwrap();
    let net = ContainerNet::create(&engine, &reaper).await.unwrap();
    let reached = || println!("reached by {name}");
    let program = program(Kind::Core31);
    let image = engine.image_of(&program, &cache()).await.unwrap();
    let config = |node: &str| ContainerConfig {
        name: node.to_owned(),
        image: image.clone(),
        dir: dir.join(node),
        args: Vec::new(),
        time: 1_767_225_600,
    };
    if phase == "networks" {
        reached();
        std::future::pending::<()>().await;
    }
    if phase == "starting" {
        reached();
    }
    let alice = ContainerNode::start(&net, &config("alice")).await.unwrap();
    let _bob = ContainerNode::start(&net, &config("bob")).await.unwrap();
    match phase {
        "paused" => alice.pause().await.unwrap(),
        "split" => net.split(&[vec!["alice".to_owned()], vec!["bob".to_owned()]]).await.unwrap(),
        _ => {}
    }
    reached();
    std::future::pending::<()>().await;
}
