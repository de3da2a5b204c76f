//! The harness tested against itself: for each kind of expectation, scenarios that are wrong by one unit or one name.
//! The right one passes, and each wrong one fails and says what was expected of what, and what was found.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shopfloor::node::provision::Env;
use shopfloor::report::{RunReport, Verdict};
use shopfloor::scenario::{self, Options};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A scenario up to the point at which something is expected.
#[derive(Clone, Copy)]
struct Stage {
    nodes: &'static [&'static str],
    steps: &'static str,
    /// What has to be expected in the end of every scenario of this stage.
    end: &'static str,
}

/// Two nodes on one chain, and a factory that was closed at once, two blocks ago.
const CLOSED: Stage = Stage {
    nodes: &["alice", "bob"],
    steps: "
  - pay: { from: operator, to: members, amount: 100_000 sat }
  - sign: closes
  - sign: factory-close
  - broadcast: { tx: allocation }
  - broadcast: { tx: factory-close }
  - mine: { blocks: 2 }",
    end: "",
};

/// The allocation is in both mempools.
const PUBLISHED: Stage = Stage {
    nodes: &["alice", "bob"],
    steps: "
  - broadcast: { tx: allocation }",
    end: "unsettled: [members]",
};

/// The allocation was in a mempool that was lost.
const LOST: Stage = Stage {
    nodes: &["alice"],
    steps: "
  - broadcast: { tx: allocation }
  - kill: alice
  - start: alice",
    end: "unsettled: [members]",
};

/// Only one of two nodes has heard of the allocation, and has mined it.
const PARTED: Stage = Stage {
    nodes: &["alice", "bob"],
    steps: "
  - partition: [[alice], [bob]]
  - broadcast: { tx: allocation, via: alice }
  - mine: { by: alice }",
    end: "unsettled: [members]",
};

/// An HTLC of 50,000 sat lies on the chain, and nobody has taken it.
const OUTSTANDING: Stage = Stage {
    nodes: &["alice"],
    steps: "
  - pay: { from: operator, to: members, amount: 100_000 sat }
  - htlc: { from: operator, to: m0, amount: 50_000 sat, expiry: 60, secret: coffee }
  - offline: operator
  - fall-back: { by: m0 }
  - mine: { blocks: 37 }",
    end: "",
};

impl Stage {
    fn text(self, more_steps: &str, expect: &str) -> String {
        let nodes: String = self.nodes.iter().map(|name| format!("  {name}: {{ kind: core-31 }}\n")).collect();
        let expected = [expect, self.end].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        format!(
            "name: wrong\nnodes:\n{nodes}factory:\n  members: 3\n  capacity: 1_000_000 sat\n  \
             refund_locks: {{ initial: 40, step: 4, minimum: 4 }}\n  patience: 2\nsteps:\n  - open{}{more_steps}\n\
             expect: {{ {expected} }}\n",
            self.steps
        )
    }
}

/// No more scenarios than this run at once.
static AT_ONCE: Semaphore = Semaphore::const_new(3);

async fn run_in(env: &Env, text: &str, on_step: &(dyn Fn(usize, usize, &str) + Sync)) -> RunReport {
    let _turn = AT_ONCE.acquire().await.unwrap();
    let loaded =
        scenario::load_text(Path::new("wrong.yaml"), text, &[]).unwrap_or_else(|invalid| panic!("{invalid}\n{text}"));
    let [loaded] = loaded.as_slice() else { panic!("expected one cell:\n{text}") };
    let report = scenario::run(loaded, &Options { env, keep: false, on_step }).await;
    if let Some(files) = &report.files {
        std::fs::remove_dir_all(files).unwrap();
    }
    report
}

async fn run(text: &str) -> RunReport {
    run_in(&Env::from_process().unwrap(), text, &|_, _, _| {}).await
}

/// Runs a scenario that ends with this verdict, and of whose failures one is `shown`: says so if it does not.
async fn ends(text: String, verdict: Verdict, shown: String) -> Result<(), String> {
    let report = run(&text).await;
    let is_shown = shown.is_empty() || report.failures.iter().any(|failure| failure.contains(&shown));
    match report.verdict == verdict && is_shown {
        true => Ok(()),
        false => Err(format!(
            "expected {} and `{shown}`, found {} and {:?}:\n{text}",
            verdict.word(),
            report.verdict.word(),
            report.failures
        )),
    }
}

/// Runs all of them, and tells of every one that does not end as it should.
async fn all_end(cases: Vec<(String, Verdict, String)>) {
    let mut runs = JoinSet::new();
    for (text, verdict, shown) in cases {
        runs.spawn(ends(text, verdict, shown));
    }
    let wrong: Vec<String> = runs.join_all().await.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Where a stage stands, rightly and wrongly told.
struct Told {
    stage: Stage,
    right: &'static [&'static str],
    /// Each with what is said to it.
    wrong: &'static [(&'static str, &'static str)],
}

const TOLD: &[Told] = &[
    Told {
        stage: CLOSED,
        right: &[
            "signed: [close-m0, close-m1, close-m2]",
            "replaced: allocation",
            "confirmed: [funding, factory-close]",
            "buried: funding",
            "confirmations: { funding: 5, factory-close: 2 }",
            "mempool: []",
            "fees: { factory-close: 659 sat, allocation: 197 sat }",
            "sizes: { factory-close: 240, allocation: 197 }",
            "height: 205",
            "same_tip: true",
            "balances: { operator: 2_699_538 sat, m0: 100_000 sat }",
            "reported: { m0: [live, updated], operator: [live] }",
            "at: bob, height: 205",
        ],
        wrong: &[
            ("signed: [close-m0, allocation]", "allocation is replaced by factory-close at alice, expected signed"),
            ("replaced: close-m0", "close-m0 is signed at alice, expected replaced"),
            ("replaced: funding", "funding is confirmed in block 201 at bob, expected replaced"),
            ("confirmed: allocation", "allocation is replaced by factory-close at alice, expected confirmed"),
            (
                "buried: factory-close",
                "factory-close is confirmed in block 204 at alice, 2 blocks deep, expected buried: 3",
            ),
            ("confirmations: { funding: 4 }", "funding has 5 confirmations at alice, expected 4"),
            ("confirmations: { funding: 6 }", "funding has 5 confirmations at alice, expected 6"),
            ("confirmations: { allocation: 2 }", "allocation has 0 confirmations at alice, expected 2"),
            ("mempool: close-m0", "the mempool at alice holds nothing, expected close-m0"),
            ("fees: { factory-close: 658 sat }", "factory-close pays 659 sat, expected 658 sat"),
            ("fees: { factory-close: 660 sat }", "factory-close pays 659 sat, expected 660 sat"),
            ("fees: { allocation: 659 sat }", "allocation pays 197 sat, expected 659 sat"),
            ("fees: { close-m0: 154 sat }", "close-m0 pays nothing, since alice never took it: expected 154 sat"),
            ("sizes: { factory-close: 239 }", "factory-close has 240 vB, expected 239 vB"),
            ("sizes: { factory-close: 241 }", "factory-close has 240 vB, expected 241 vB"),
            ("sizes: { close-m0: 154 }", "close-m0 was never measured, since alice never took it: expected 154 vB"),
            ("height: 204", "alice is at height 205, expected 204"),
            ("height: 206", "bob is at height 205, expected 206"),
            ("same_tip: false", "all nodes are on the same block, expected different ones"),
            ("balances: { m0: 100_001 sat }", "m0 at alice has 100000 sat, expected 100001 sat: -1 sat"),
            ("balances: { m1: 99_999 sat }", "m1 at alice has 100000 sat, expected 99999 sat: +1 sat"),
            (
                "balances: { operator: 2_699_539 sat }",
                "operator at alice has 2699538 sat, expected 2699539 sat: -1 sat",
            ),
            ("reported: { m0: [closed] }", "m0 has reported live, updated, expected closed"),
            ("reported: { operator: [live, preimage] }", "operator has reported live, updated, expected preimage"),
        ],
    },
    Told {
        stage: PUBLISHED,
        right: &["in_mempool: allocation", "mempool: [allocation]", "fees: { allocation: 197 sat }"],
        wrong: &[
            ("in_mempool: funding", "funding is confirmed in block 201 at alice, expected in-mempool"),
            ("in_mempool: close-m0", "close-m0 is not even signed at alice, expected in-mempool"),
            ("mempool: []", "the mempool at bob holds allocation, expected nothing"),
            ("mempool: factory-close", "the mempool at alice holds allocation, expected factory-close"),
            ("evicted: allocation", "allocation is in-mempool at alice, expected evicted"),
            ("buried: allocation", "allocation is in-mempool at alice, 0 blocks deep, expected buried: 3 deep"),
        ],
    },
    Told {
        stage: LOST,
        right: &["evicted: allocation", "mempool: []"],
        wrong: &[
            ("evicted: funding", "funding is confirmed in block 201, expected evicted"),
            ("in_mempool: allocation", "allocation is evicted, expected in-mempool"),
            ("replaced: allocation", "allocation is evicted, expected replaced"),
        ],
    },
    Told {
        stage: PARTED,
        right: &[
            "at: alice, confirmed: allocation, height: 204",
            "at: bob, signed: allocation, height: 203",
            "same_tip: false",
        ],
        wrong: &[
            ("at: bob, confirmed: allocation", "allocation is signed at bob, expected confirmed"),
            ("at: alice, height: 203", "alice is at height 204, expected 203"),
            ("at: bob, height: 204", "bob is at height 203, expected 204"),
            ("confirmed: allocation", "allocation is signed at bob, expected confirmed"),
            ("same_tip: true", "the nodes are on different blocks: alice on"),
        ],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rightly_told_passes() {
    let mut cases = Vec::new();
    for Told { stage, right, .. } in TOLD {
        let steps: String = right.iter().map(|expect| format!("\n  - expect: {{ {expect} }}")).collect();
        cases.push((stage.text(&steps, ""), Verdict::Pass, String::new()));
        for expect in *right {
            cases.push((stage.text("", expect), Verdict::Pass, String::new()));
        }
    }
    all_end(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_wrongly_at_a_point_fails() {
    let wrong = TOLD.iter().flat_map(|told| told.wrong.iter().map(|wrong| (told.stage, *wrong)));
    let case = |(stage, (expect, shown)): (Stage, (&str, &str))| {
        (stage.text(&format!("\n  - expect: {{ {expect} }}"), ""), Verdict::Fail, shown.to_owned())
    };
    all_end(wrong.map(case).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_wrongly_in_the_end_fails() {
    let wrong = TOLD.iter().flat_map(|told| told.wrong.iter().map(|wrong| (told.stage, *wrong)));
    let case =
        |(stage, (expect, shown)): (Stage, (&str, &str))| (stage.text("", expect), Verdict::Fail, shown.to_owned());
    all_end(wrong.map(case).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_in_the_factory_is_told_exactly() {
    let told = |stage: Stage, unsettled: &str| Stage { end: "", ..stage }.text("", unsettled);
    let mut cases = Vec::new();
    for (text, shown) in [
        (told(OUTSTANDING, "outstanding: 50_000 sat"), ""),
        (
            told(OUTSTANDING, "outstanding: 49_999 sat"),
            "50000 sat are in HTLCs that nobody has taken, expected 49999 sat",
        ),
        (
            told(OUTSTANDING, "outstanding: 50_001 sat"),
            "50000 sat are in HTLCs that nobody has taken, expected 50001 sat",
        ),
        (told(CLOSED, "outstanding: 0 sat"), ""),
        (told(CLOSED, "outstanding: 1 sat"), "0 sat are in HTLCs that nobody has taken, expected 1 sat"),
        (told(PUBLISHED, "unsettled: [m0, m1, m2]"), ""),
        (told(PUBLISHED, "unsettled: [m0, m1]"), "nothing confirmed has settled m2's channel: no close, and no refund"),
        (told(PUBLISHED, "unsettled: [m1]"), "nothing confirmed has settled m0's channel and 1 more"),
        (told(PUBLISHED, ""), "nothing confirmed has settled m0's channel and 2 more"),
        (told(CLOSED, "unsettled: [m2]"), "m2's channel is settled, expected it to stay open"),
    ] {
        let verdict = if shown.is_empty() { Verdict::Pass } else { Verdict::Fail };
        cases.push((text, verdict, shown.to_owned()));
    }
    all_end(cases).await;
}

/// A scenario that stays on two nodes and leaves the factory open.
fn open_with(steps: &str) -> String {
    Stage { nodes: &["alice", "bob"], steps: "", end: "unsettled: [members]" }.text(&format!("\n{steps}"), "")
}

/// Steps that pass if `right` stands in the place of `@`, and fail with something else in it.
struct Steps {
    steps: &'static str,
    right: &'static [&'static str],
    wrong: &'static [(&'static str, &'static str)],
}

const STEPS: &[Steps] = &[
    Steps {
        steps: "  - broadcast: { tx: allocation, via: alice@ }",
        right: &["", ", expect: accepted", ", expect: { alice: accepted, bob: accepted }", ", replaces: []"],
        wrong: &[
            (", expect: { rejected: txn }", "allocation via alice: expected rejected with `txn`, and it was accepted"),
            (", expect: { bob: unreached }", "allocation via bob: expected unreached, and it was accepted"),
            (
                ", expect: { alice: accepted, bob: { rejected: fee } }",
                "allocation via bob: expected rejected with `fee`, and it was accepted",
            ),
            (", replaces: funding", "allocation via alice: expected to replace funding, and it replaced nothing"),
        ],
    },
    Steps {
        steps: "  - partition: [[alice], [bob]]\n  - broadcast: { tx: allocation, via: alice, expect: @ }",
        right: &["{ alice: accepted, bob: unreached }", "{ bob: unreached }"],
        wrong: &[
            ("{ alice: accepted, bob: accepted }", "allocation via bob: expected accepted, and it did not get there"),
            (
                "{ bob: { rejected: fee } }",
                "allocation via bob: expected rejected with `fee`, and it did not get there",
            ),
        ],
    },
    Steps {
        steps: "  - sign: closes
  - sign: factory-close
  - broadcast: { tx: factory-close }
  - broadcast: { tx: allocation@ }",
        right: &[", expect: { rejected: insufficient fee }", ", expect: { alice: { rejected: fee }, bob: unreached }"],
        wrong: &[
            ("", "allocation via alice: expected accepted, and it was rejected: insufficient fee"),
            (
                ", expect: { rejected: insufficient fees }",
                "allocation via alice: expected rejected with `insufficient fees`, and it was rejected: insufficient fee",
            ),
        ],
    },
    Steps {
        steps: "  - sign: closes
  - sign: factory-close
  - broadcast: { tx: [allocation, close-m1] }
  - broadcast: { tx: factory-close, replaces: @ }",
        right: &["[allocation, close-m1]", "[close-m1, allocation]"],
        wrong: &[
            ("[]", "factory-close via alice: expected to replace nothing, and it replaced allocation, close-m1"),
            ("allocation", "expected to replace allocation, and it replaced allocation, close-m1"),
            (
                "[allocation, close-m0]",
                "expected to replace allocation, close-m0, and it replaced allocation, close-m1",
            ),
            (
                "[allocation, close-m1, close-m2]",
                "expected to replace allocation, close-m1, close-m2, and it replaced allocation, close-m1",
            ),
        ],
    },
    Steps {
        steps: "  - sign: closes
  - sign: factory-close
  - submit-package: { txs: [allocation, close-m1]@ }",
        right: &["", ", expect: accepted, replaces: []"],
        wrong: &[
            (", expect: { rejected: fee }", "via alice: expected rejected with `fee`, and it was accepted"),
            (", replaces: funding", "via alice: expected to replace funding, and it replaced nothing"),
        ],
    },
    Steps {
        steps: "  - sign: closes
  - sign: factory-close
  - broadcast: { tx: factory-close }
  - submit-package: { txs: [allocation, close-m1], expect: @ }",
        right: &["{ rejected: insufficient fee }"],
        wrong: &[
            ("accepted", "expected accepted, and it was rejected: "),
            ("{ rejected: insufficient fees }", "expected rejected with `insufficient fees`, and it was rejected: "),
        ],
    },
    Steps {
        steps: "  - pay: { from: operator, to: members, amount: 9_000 sat }
  - pay: { from: m0, to: operator, amount: 1_000 sat }
  - expect-states: { party: operator, channel: m0, enforceable: @ }",
        right: &["[2]"],
        wrong: &[
            ("[1]", "as far as operator knows, states [2] of m0's channel may be enforced, expected [1]"),
            ("[1, 2]", "as far as operator knows, states [2] of m0's channel may be enforced, expected [1, 2]"),
            ("[3]", "as far as operator knows, states [2] of m0's channel may be enforced, expected [3]"),
        ],
    },
    Steps {
        steps: "  - pay: { from: operator, to: members, amount: 9_000 sat }
  - withhold: { from: m0, message: completion }
  - pay: { from: @, to: operator, amount: 1_000 sat }
  - quiesce\n  - pay: { from: m0, to: operator, amount: 1 sat }",
        right: &["m1"],
        wrong: &[("m0", "not quiescent: m0's channel, as operator sees it, and 0 more")],
    },
    Steps {
        steps: "  - broadcast: { tx: allocation }\n  - wait-for: { expect: { @ }, within: 1 s }",
        right: &["in_mempool: allocation", "confirmations: { funding: 3 }"],
        wrong: &[
            ("confirmed: allocation", "waited 1 s in vain: allocation is in-mempool at alice, expected confirmed"),
            ("confirmations: { funding: 4 }", "waited 1 s in vain: funding has 3 confirmations at alice, expected 4"),
            ("mempool: []", "waited 1 s in vain: the mempool at alice holds allocation, expected nothing"),
        ],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_expects_wrongly_fails() {
    let mut cases = Vec::new();
    for Steps { steps, right, wrong } in STEPS {
        let text = |in_place: &str| open_with(&steps.replace('@', in_place));
        cases.extend(right.iter().map(|right| (text(right), Verdict::Pass, String::new())));
        cases.extend(wrong.iter().map(|(wrong, shown)| (text(wrong), Verdict::Fail, (*shown).to_owned())));
    }
    all_end(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_nothing_is_inconclusive() {
    let alone = |steps: &str| Stage { nodes: &["alice"], steps: "", end: "" }.text(&format!("\n{steps}"), "");
    let settled = "  - sign: closes\n  - fall-back: { by: operator }\n  - mine: { blocks: 2 }";
    all_end(vec![
        (alone(settled), Verdict::Inconclusive, "the scenario asserts nothing".to_owned()),
        (alone(&format!("{settled}\n  - expect: {{ mempool: [] }}")), Verdict::Pass, String::new()),
        (
            open_with("  - withhold: { from: m0, message: completion }"),
            Verdict::Inconclusive,
            "m0 was to withhold its completion, and had none to send".to_owned(),
        ),
        (
            open_with("  - crash: { party: m1, at: { before-sending: completion } }"),
            Verdict::Inconclusive,
            "m1 was to crash before sending completion, which never came".to_owned(),
        ),
        // What failed counts for more than what never came.
        (
            open_with("  - withhold: { from: m0, message: completion }\n  - expect: { height: 204 }"),
            Verdict::Fail,
            "alice is at height 203, expected 204".to_owned(),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_skipped() {
    let empty = tempfile::tempdir().unwrap();
    let env = Env::new([("SHOPFLOOR_CACHE", empty.path()), ("PATH", empty.path())], empty.path());
    let report = run_in(&env, &CLOSED.text("", ""), &|_, _, _| {}).await;
    assert_eq!(report.verdict, Verdict::Skip, "{:?}", report.failures);
    assert!(report.failures[0].contains("shopfloor node install core-31"), "{:?}", report.failures);
    assert!(report.steps.is_empty() && report.nodes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_from_outside_is_an_error() {
    // A name that no other run on this machine has at the same time.
    let name = format!("victim-{}", std::process::id());
    let text = CLOSED.text("", "").replace("bob", &name);
    let killed = Mutex::new(Vec::new());
    let on_step = |_: usize, _: usize, step: &str| {
        if step.starts_with("mine") {
            let pids = processes_with(&format!("/nodes/{name}/data"));
            pids.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap());
            killed.lock().unwrap_or_else(PoisonError::into_inner).extend(pids);
        }
    };
    let report = run_in(&Env::from_process().unwrap(), &text, &on_step).await;
    assert!(!killed.into_inner().unwrap().is_empty(), "there was a node to kill");
    assert_eq!(report.verdict, Verdict::Error, "{:?}", report.failures);
    assert!(report.failures[0].contains(&name), "{:?}", report.failures);
}

/// The processes whose command line contains this.
fn processes_with(text: &str) -> Vec<i32> {
    let entries =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    entries.filter(has_it).collect()
}
