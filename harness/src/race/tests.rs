//! The model of experiments against what is known beforehand.

use super::fast;
use super::language::{Experiment, Side};
use super::record::Trial;
use super::setup::Setup;

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

fn wins(trials: &[Trial], side: Side) -> f64 {
    trials.iter().filter(|trial| trial.winner == Some(side)).count() as f64 / trials.len() as f64
}

#[test]
fn a_share_of_s_wins_s_of_the_races() {
    let setup = setup(TWO_SIDES);
    let trials = fast::trials(&setup, 1, 0..20_000);
    let rate = wins(&trials, Side::FactoryClose);
    assert!((rate - 0.3).abs() < 4.0 * (0.3 * 0.7 / 20_000.0_f64).sqrt(), "{rate}");
    let predicted = fast::predicted(&setup, 1, 10).unwrap();
    assert!((predicted - 0.3).abs() < 1e-9, "{predicted}");
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
    assert!((fast::predicted(&setup, 2, 10).unwrap() - 0.3).abs() < 1e-9);
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
    assert!((fast::predicted(&setup, 3, 10).unwrap() - expected).abs() < 1e-9);
    let rate = wins(&fast::trials(&setup, 3, 0..20_000), Side::FactoryClose);
    assert!((rate - expected).abs() < 4.0 * (expected * (1.0 - expected) / 20_000.0).sqrt(), "{rate}");
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
