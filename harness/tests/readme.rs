//! The tables in the README are what the nodes say today.

mod support;

use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use bitcoin::FeeRate;
use factory_core::{LockKind, TxVersion};
use shopfloor::claims::{self, Claims};
use shopfloor::fees::{self, Question as FeesQuestion};
use shopfloor::node::Kind;
use shopfloor::node::provision::Env;
use shopfloor::race::{self, Options};
use shopfloor::replacement::{self, Closes, Probed, Question};
use shopfloor::report::update_block;
use shopfloor::scenario::CloseFee;
use shopfloor::suite::Style;

/// Those whose verdicts the README shows.
const KINDS: [Kind; 4] = [Kind::Core31, Kind::Core30, Kind::Core29, Kind::Knots29];

/// Whether every kind is there.
fn are_there() -> bool {
    KINDS.into_iter().all(support::is_there)
}

/// The README holds this block, which a command writes.
fn shows(name: &str, block: &str, command: &str) {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let fresh = update_block(&readme, name, block).unwrap();
    assert!(
        readme == fresh,
        "the README is out of date: `{command} --update README.md` writes this, with SHOPFLOOR_KINDS={}:\n{block}",
        KINDS.map(Kind::name).join(",")
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verdicts() {
    if !are_there() {
        return;
    }
    let env = Arc::new(Env::from_process().unwrap());
    let claims = Claims::own().unwrap();
    let style = Style::of_stderr(false);
    let folder = root().join("scenarios");
    let report = claims::run(&claims, &KINDS, &folder, env, style, pending()).await.unwrap().unwrap();
    shows("claims", &claims::markdown(&report, Path::new("scenarios")), "shopfloor claims");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_mempool_asks_for() {
    let mut found = Vec::new();
    for kind in KINDS {
        let Some(mut stage) = support::stage(kind, &[]).await else { return };
        found.push(Probed::of(&mut stage).await.unwrap());
    }
    shows("policy", &replacement::probed_table(&found), "shopfloor replacement --policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_takes_to_replace() {
    let mut answers = Vec::new();
    for kind in KINDS {
        let Some(mut stage) = support::stage(kind, &[]).await else { return };
        let policy = stage.policy().await.unwrap();
        let (members, feerate, version) = (20, FeeRate::BROADCAST_MIN, TxVersion::Two);
        let closes = [Closes::Count(0), Closes::Boundary, Closes::All];
        let mut closes = closes.map(|closes| closes.numbers(&policy, members, feerate, version)).concat();
        closes.dedup();
        for closes in closes {
            let question = Question { members, closes, feerate, version, close_fee: CloseFee::Exact, seed: 1 };
            answers.push(replacement::answer(&mut stage, &question).await.unwrap());
        }
    }
    shows("replacement", &replacement::table(&answers), "shopfloor replacement");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wins() {
    if !are_there() {
        return;
    }
    let env = Arc::new(Env::from_process().unwrap());
    let mut reports = Vec::new();
    for name in ["mix-of-kinds", "premium-against-a-pin", "tie-under-congestion"] {
        let cells = race::load(&root().join(format!("scenarios/miners/{name}.yaml")), &[]).unwrap();
        let options = Options { trials: Some(50), lanes: 2 };
        reports.push(race::run(&cells, options, Arc::clone(&env), Arc::new(|_| {})).await.unwrap());
    }
    shows("races", &race::markdown(&reports), "shopfloor race");
}

/// It needs no node.
#[test]
fn what_a_factory_costs() {
    let question = FeesQuestion {
        members: vec![20, 200],
        locks: vec![LockKind::MuSig2],
        versions: vec![TxVersion::Two],
        feerates: vec![FeeRate::BROADCAST_MIN],
        seed: 1,
    };
    shows("fees", &fees::markdown(&question.answer().unwrap()), "shopfloor fees --members 20,200");
}
