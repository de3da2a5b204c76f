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
#[allow(clippy::print_stdout)]
fn how_fast() {
    for text in [TWO_SIDES.to_owned(), TWO_SIDES.to_owned() + "congestion: { fill: 150 %, feerates: { exponential: { least: 1 sat/vB, mean: 3 sat/vB } } }\nblocks: { max_weight: 60_000 WU }\n"] {
        let setup = setup(&text);
        let begun = std::time::Instant::now();
        let trials = fast::trials(&setup, 1, 0..10_000);
        println!("{:?} {} {:?}", begun.elapsed(), wins(&trials, Side::FactoryClose), &trials[0]);
        println!("{:?}", fast::predicted(&setup, 1, 10));
    }
}
