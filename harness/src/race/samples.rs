//! Experiments with trials made by hand, for tests.

use bitcoin::{Amount, FeeRate};
use indexmap::IndexMap;

use super::language::{Blocks, Experiment, Miner, MiningPolicy, RaceExpect, RaceFactory, Side};
use super::record::{Margin, Trial};
use super::report::{Known, NodeVersion, Point, RaceReport};
use crate::scenario::{Count, Percent, Premium, Rate, Sat};

/// An experiment with two miners: one that is rational and has this share, in percent, and one that is bribed.
pub(super) fn experiment(share: u64) -> Experiment {
    let miner = |share, policy| Miner { share: Some(Percent(share * 10_000)), node: "node".to_owned(), policy };
    let bribed = MiningPolicy::Bribed { side: Side::Allocation, payment: Sat(Amount::from_sat(20_000)) };
    let miners = [
        ("alice".to_owned(), miner(share, MiningPolicy::Rational { second: "other".to_owned() })),
        ("bob".to_owned(), miner(100 - share, bribed)),
    ];
    Experiment {
        claim: None,
        name: "a sample".to_owned(),
        description: "Made by hand.".to_owned(),
        seed: 7,
        trials: Count(10),
        nodes: IndexMap::new(),
        links: None,
        partitions: Vec::new(),
        factory: RaceFactory {
            members: Count(20),
            feerate: Rate(FeeRate::BROADCAST_MIN),
            version: Count(2),
            premium: Premium(FeeRate::ZERO),
        },
        pin: None,
        publish: Vec::new(),
        miners: miners.into_iter().collect(),
        blocks: Blocks::default(),
        congestion: None,
        expect: RaceExpect::default(),
    }
}

/// A trial that alice decides for the factory close, or bob for the allocation, or nobody.
pub(super) fn trial(number: u64, winner: Option<Side>, blocks: u32, margins: &[i64]) -> Trial {
    let alice = u32::from(winner == Some(Side::FactoryClose));
    Trial {
        number,
        winner,
        blocks,
        time_ms: u64::from(blocks) * 500_000 + number * 37_000,
        decided_by: winner.map(|side| usize::from(side == Side::Allocation)),
        fees_sat: vec![u64::from(alice) * 4_000, 1_000],
        found: vec![alice, blocks - alice],
        factory_vsize: if winner == Some(Side::FactoryClose) { 971 } else { 4_008 },
        stale_blocks: u32::from(number == 1),
        margins: margins
            .iter()
            .map(|&measured_sat| Margin { measured_sat, formula_sat: measured_sat as f64 + 0.5, marginal: 2.0 })
            .collect(),
        judgements: Vec::new(),
    }
}

/// So many trials, of which the factory close wins the first `wins`.
pub(super) fn trials(count: u64, wins: u64, margin: i64) -> Vec<Trial> {
    let winner = |number| if number < wins { Side::FactoryClose } else { Side::Allocation };
    let blocks = |number: u64| 1 + (number % 7 * (number % 3)) as u32 / 4;
    let margins = |number| [margin, margin + (number % 9) as i64 * 10];
    (0..count).map(|number| trial(number, Some(winner(number)), blocks(number), &margins(number))).collect()
}

fn axes<const N: usize>(values: [(&str, String); N]) -> IndexMap<String, String> {
    values.into_iter().map(|(place, value)| (place.to_owned(), value)).collect()
}

/// A report of one point.
pub(super) fn single() -> RaceReport {
    let experiment = experiment(50);
    let nodes = [("node".to_owned(), NodeVersion { kind: "core-31".to_owned(), version: "31.99".to_owned() })];
    let known = Known { nodes: nodes.into_iter().collect(), model_disagreements: Some(0), ..Known::default() };
    let point = Point::new(IndexMap::new(), &experiment, trials(200, 120, 0), known);
    RaceReport::new("sample.yaml".as_ref(), &experiment, vec![point])
}

/// A report of a matrix of alice's share, and of a premium if there is more than one.
pub(super) fn matrix(premiums: &[&str]) -> RaceReport {
    let mut points = Vec::new();
    for share in [0, 25, 50, 75, 100] {
        for (number, premium) in premiums.iter().enumerate() {
            let mut axes = axes([("miners.alice.share", format!("{share} %"))]);
            if premiums.len() > 1 {
                axes.insert("factory.premium".to_owned(), (*premium).to_owned());
            }
            let predicted = share as f64 / (100 + 30 * number) as f64;
            let wins = (predicted * 200.0) as u64 + if share == 25 { 9 } else { 0 };
            let margin = number as i64 * 971 + share as i64 * 3 - 100;
            let known = Known { predicted: Some(predicted), ..Known::default() };
            points.push(Point::new(axes, &experiment(share), trials(200, wins, margin), known));
        }
    }
    RaceReport::new("sample.yaml".as_ref(), &experiment(50), points)
}

/// A report of a matrix of names.
pub(super) fn kinds() -> RaceReport {
    let names = ["core-29", "core-30", "core-31", "{ exponential: { least: 1 sat/vB, mean: 5 sat/vB } }"];
    let point = |(number, name): (usize, &&str)| {
        let known = Known { predicted: Some(0.5), ..Known::default() };
        let axes = axes([("nodes.node.kind", (*name).to_owned())]);
        Point::new(axes, &experiment(50), trials(200, 90 + 10 * number as u64, 50), known)
    };
    RaceReport::new("sample.yaml".as_ref(), &experiment(50), names.iter().enumerate().map(point).collect())
}
