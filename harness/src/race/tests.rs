//! The model of experiments against what is known beforehand.

use std::path::Path;

use super::draws::Draws;
use super::fast::{self, Prediction};
use super::language::{Experiment, Side};
use super::load::load;
use super::record::Trial;
use super::setup::Setup;
use super::stats::Fit;

const TWO_SIDES: &str = "
name: two sides
nodes:
  north: { kind: core-31, only: allocation }
  south: { kind: core-31, only: factory-close }
factory: { members: 20 }
publish:
  - { tx: allocation, at: north }
  - { tx: closes, at: north }
  - { tx: factory-close, at: south }
miners:
  a: { share: 70 %, node: north }
  b: { share: 30 %, node: south }
";

fn setup(text: &str) -> Setup {
    let experiment: Experiment = serde_yaml::from_str(text).unwrap();
    Setup::new(&experiment, Vec::new()).unwrap()
}

fn predicted(setup: &Setup, seed: u64, trials: u64) -> Option<f64> {
    let mut prediction = Prediction::new(setup, seed);
    prediction.add(0..trials);
    prediction.chance()
}

fn wins(trials: &[Trial], side: Side) -> f64 {
    trials.iter().filter(|trial| trial.winner == Some(side)).count() as f64 / trials.len() as f64
}

#[test]
fn a_share_of_s_wins_s_of_the_races() {
    let setup = setup(TWO_SIDES);
    let trials = fast::trials(&setup, 1, 0..20_000);
    let rate = wins(&trials, Side::FactoryClose);
    assert!((rate - 0.3).abs() < 4.0 * (0.3 * 0.7 / 20_000.0_f64).sqrt(), "{rate}");
    let chance = predicted(&setup, 1, 10).unwrap();
    assert!((chance - 0.3).abs() < 1e-9, "{chance}");
    let mean = trials.iter().map(|trial| trial.time_ms as f64).sum::<f64>() / 20_000.0;
    assert!((mean - 600_000.0).abs() < 4.0 * 600_000.0 / 20_000.0_f64.sqrt(), "{mean}");
    assert!(trials.iter().all(|trial| trial.blocks == 1 && trial.fees_sat.iter().sum::<u64>() == 4_008));
}

#[test]
fn blocks_without_transactions_change_nothing_but_the_time() {
    let text =
        TWO_SIDES.replace("70 %, node: north", "35 %, node: north").replace("30 %, node: south", "15 %, node: south")
            + "  c: { share: 50 %, node: north, policy: empty }\n";
    let setup = setup(&text);
    let trials = fast::trials(&setup, 2, 0..20_000);
    let rate = wins(&trials, Side::FactoryClose);
    assert!((rate - 0.3).abs() < 4.0 * (0.3 * 0.7 / 20_000.0_f64).sqrt(), "{rate}");
    assert!((predicted(&setup, 2, 10).unwrap() - 0.3).abs() < 1e-9);
    let mean = trials.iter().map(|trial| trial.time_ms as f64).sum::<f64>() / 20_000.0;
    assert!((mean - 1_200_000.0).abs() < 4.0 * 1_200_000.0 / 20_000.0_f64.sqrt(), "{mean}");
}

/// The allocation alone, and the factory close so much later: it wins where no block comes before.
#[test]
fn a_lead_wins_as_often_as_a_block_comes_in_it() {
    let text = "
name: lead
nodes: { one: { kind: core-31 } }
factory: { members: 20 }
publish:
  - { tx: allocation, at: one }
  - { tx: factory-close, at: one, after: 10 min }
miners: { a: { share: 100 %, node: one } }
";
    let setup = setup(text);
    let expected = (-1.0_f64).exp();
    assert!((predicted(&setup, 3, 10).unwrap() - expected).abs() < 1e-9);
    let rate = wins(&fast::trials(&setup, 3, 0..20_000), Side::FactoryClose);
    assert!((rate - expected).abs() < 4.0 * (expected * (1.0 - expected) / 20_000.0).sqrt(), "{rate}");
}

/// Half of all blocks are empty, and after two of them nothing is decided any more.
#[test]
fn a_trial_that_is_given_up_is_nobody_s() {
    let text =
        TWO_SIDES.replace("70 %, node: north", "35 %, node: north").replace("30 %, node: south", "15 %, node: south")
            + "  c: { share: 50 %, node: north, policy: empty }\nblocks: { give_up: 2 }\n";
    let close = |setup: &Setup, expected: f64| {
        let chance = predicted(setup, 6, 10).unwrap();
        assert!((chance - expected).abs() < 1e-9, "{chance}, by hand {expected}");
        let trials = fast::trials(setup, 6, 0..20_000);
        let rate = wins(&trials, Side::FactoryClose);
        assert!((rate - expected).abs() < 4.0 * (expected * (1.0 - expected) / 20_000.0).sqrt(), "{rate}");
        trials
    };
    let trials = close(&setup(&text), 0.15 + 0.5 * 0.15);
    let given_up: Vec<_> = trials.iter().filter(|trial| trial.winner.is_none()).collect();
    assert!(given_up.iter().all(|trial| trial.found == [0, 0, 2] && trial.blocks == 2 && trial.decided_by.is_none()));
    assert!(given_up.len().abs_diff(5_000) < 250, "{}", given_up.len());
    // With a lead of 10 minutes, in which no block comes with 1/e, and one empty one with 1/(2e): the factory close then has
    // two blocks' time or one.
    let text = "
name: lead
nodes: { one: { kind: core-31 } }
factory: { members: 20 }
publish:
  - { tx: allocation, at: one }
  - { tx: factory-close, at: one, after: 10 min }
miners:
  a: { share: 50 %, node: one }
  b: { share: 50 %, node: one, policy: empty }
blocks: { give_up: 2 }
";
    close(&setup(text), (-1.0_f64).exp() * (0.75 + 0.5 * 0.5));
    // One block, whichever it is.
    close(&setup(&text.replace("give_up: 2", "give_up: 1")), (-1.0_f64).exp() * 0.5);
    let nobody = text.replace("share: 50 %, node: one }", "share: 50 %, node: one, policy: empty }");
    assert_eq!(predicted(&setup(&nobody), 6, 10), Some(0.0));
}

#[test]
fn theory_says_nothing_where_a_block_changes_what_comes_after_it() {
    for (name, set) in [("slow-blocks", "links.0.blocks=10 s"), ("partition-heals", "partitions.0.to=1 h")] {
        assert_eq!(predicted(&of_scenarios(name, set), 1, 10), None, "{name}");
    }
    let congested = TWO_SIDES.to_owned() + "congestion: { fill: 1 %, feerates: { constant: 3 sat/vB } }\n";
    assert!((predicted(&setup(&congested), 1, 10).unwrap() - 0.3).abs() < 1e-9);
    // Until the factory close is there, three in ten blocks hold neither side, and something of the background.
    let late = congested.replace("at: south }", "at: south, after: 1 min }");
    assert_eq!(predicted(&setup(&late), 1, 10), None);
}

/// What is mined depends on the background of each trial, so theory has to know that of all of them.
#[test]
fn theory_knows_the_background_of_every_trial() {
    let text = "
name: a bribe against congestion
nodes: { one: { kind: core-31 } }
factory: { members: 20, feerate: 20 sat/vB, premium: 1 sat/vB }
publish:
  - { tx: allocation, at: one }
  - { tx: closes, at: one }
  - { tx: factory-close, at: one }
miners: { a: { share: 100 %, node: one, policy: { bribed: { side: allocation, payment: 7_000 sat } } } }
blocks: { max_weight: 60_000 WU }
congestion: { fill: 100 %, feerates: { exponential: { mean: 4 sat/vB } } }
";
    let setup = setup(text);
    // Each trial has one outcome, and it is known beforehand.
    let rate = wins(&fast::trials(&setup, 1, 0..1_500), Side::FactoryClose);
    assert!((0.4..0.7).contains(&rate), "{rate}");
    assert!((predicted(&setup, 1, 1_500).unwrap() - rate).abs() < 1e-9);
    let mut in_parts = Prediction::new(&setup, 1);
    (0..3).for_each(|part| in_parts.add(part * 500..(part + 1) * 500));
    assert_eq!(in_parts.chance(), predicted(&setup, 1, 1_500));
}

#[test]
fn a_trial_is_the_same_whatever_was_tried_before_it() {
    let setup = setup(
        &(TWO_SIDES.to_owned()
            + "congestion: { fill: 150 %, feerates: { exponential: { mean: 3 sat/vB } } }\nblocks: { max_weight: 60_000 WU }\n"),
    );
    let all = fast::trials(&setup, 4, 0..50);
    assert_eq!(all[31..40], fast::trials(&setup, 4, 31..40));
    assert_ne!(all, fast::trials(&setup, 5, 0..50));
}

/// An experiment of the scenarios, with a value put in.
fn of_scenarios(name: &str, set: &str) -> Setup {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/miners/{name}.yaml"));
    let cells = load(&file, &[set.parse().unwrap()]).unwrap();
    assert_eq!(cells.len(), 1, "{name}: {set} leaves one cell");
    Setup::new(&cells[0].experiment, Vec::new()).unwrap()
}

/// What can be worked out by hand of the experiments: e(t) is how probable it is that no block comes in t seconds.
#[test]
fn the_experiments_come_out_as_worked_out_by_hand() {
    let e = |seconds: f64| (-seconds / 600.0).exp();
    let known = [
        // The premium of 2 sat/vB is 1,942 sat for the 971 vB of the factory close.
        ("bribed-minority", "miners.bribed.policy.bribed.payment=1_942 sat", 1.0),
        ("bribed-minority", "miners.bribed.policy.bribed.payment=1_943 sat", 0.9),
        ("replaced-anyway-share", "miners.contrary.share=30 %", 0.7),
        // Until the factory close is there, everybody mines the allocation.
        ("first-seen-share", "miners.first-seen.share=30 %", 0.7 * e(1.0)),
        ("mix-of-kinds", "factory.premium=0 sat/vB", 0.0),
        ("mix-of-kinds", "factory.premium=0.2 sat/vB", 0.7 * e(1.0)),
        ("mix-of-kinds", "factory.premium=1 sat/vB", e(1.0)),
        // 20 sat/vB are 19,420 sat, and the pin pays 20,000; 21 are 20,391, which does not pay for the relay at 1 sat/vB too.
        ("premium-against-a-pin", "factory.premium=20 sat/vB", 0.0),
        ("premium-against-a-pin", "factory.premium=21 sat/vB", 0.6 * e(30.0)),
        ("premium-against-a-pin", "factory.premium=22 sat/vB", e(30.0)),
        // Each side takes 5 seconds to the next node. Before the allocation is there, a miner mines neither.
        (
            "propagation-lead",
            "publish.1.after=300 s",
            e(0.4 * 5.0 + 0.7 * 5.0 + 290.0) * (0.3 * (1.0 - e(5.0)) + e(5.0) * (0.6 * (1.0 - e(5.0)) + e(5.0))),
        ),
        // 40 % know the factory close after a minute, and the others ten minutes later.
        ("stale-majority", "miners.slow.policy.stale.lag=10 min", e(60.0) * (0.4 * (1.0 - e(600.0)) + e(600.0))),
        ("slow-blocks", "links.0.blocks=0 s", 0.5),
        ("tie-under-congestion", "congestion.fill=50 %", 0.5),
        ("tie-under-congestion", "congestion.fill=150 %", 1.0),
    ];
    const TRIALS: u64 = 4_000;
    for (name, set, expected) in known {
        let setup = of_scenarios(name, set);
        let chance = predicted(&setup, 1, 50).unwrap();
        assert!((chance - expected).abs() < 1e-9, "{name}, {set}: {chance}, by hand {expected}");
        let rate = wins(&fast::trials(&setup, 1, 0..TRIALS), Side::FactoryClose);
        let tolerance = 4.0 * (expected * (1.0 - expected) / TRIALS as f64).sqrt();
        assert!((rate - expected).abs() <= tolerance, "{name}, {set}: {rate}, by hand {expected}");
    }
}

/// Two halves that do not hear of each other, and then do: with a heal before any block it is the shares that decide, and
/// with one far later the half that is ahead.
#[test]
fn the_longer_a_partition_the_more_the_majority_wins() {
    let rate = |to: &str| {
        let setup = of_scenarios("partition-heals", &format!("partitions.0.to={to}"));
        let trials = fast::trials(&setup, 1, 0..4_000);
        let undone = trials.iter().filter(|trial| trial.stale_blocks > 0).count();
        (wins(&trials, Side::FactoryClose), undone)
    };
    let ((short, none), (long, most)) = (rate("1 s"), rate("12 h"));
    assert!((short - 0.4).abs() < 0.04 && none < 20, "{short}, {none}");
    // 72 blocks come in the mean, 43.2 of them in the larger half: the other is ahead in few trials.
    assert!(long < 0.1 && most > 3_900, "{long}, {most}");
}

#[test]
fn arrivals_are_a_poisson_process_and_finders_have_their_shares() {
    let setup = setup(TWO_SIDES);
    let (mut gaps, mut found) = (Vec::new(), [0, 0]);
    for trial in 0..200 {
        let mut draws = Draws::new(9, trial);
        for _ in 0..100 {
            let (gap, miner) = draws.arrival(&setup);
            gaps.push(gap);
            found[miner] += 1;
        }
    }
    let arrivals = Fit::of_arrivals(&gaps, 600_000).unwrap();
    assert!(arrivals.p_value > 0.001, "{arrivals:?}");
    // The same test tells another mean from it.
    assert!(Fit::of_arrivals(&gaps, 630_000).unwrap().p_value < 1e-6);
    let shares = Fit::of_shares(&found, &[0.7, 0.3]).unwrap();
    assert!(shares.p_value > 0.001, "{shares:?}");
    assert!(Fit::of_shares(&found, &[0.68, 0.32]).unwrap().p_value < 1e-6);
}
