use super::*;
use crate::race::language::MarginSign;
use crate::race::samples::{experiment, matrix, single, trial, trials};
use crate::scenario::{BlockWeight, Percent};

/// A point of these trials, with this prediction.
fn point(experiment: &Experiment, trials: Vec<Trial>, predicted: Option<f64>) -> Point {
    Point::new(IndexMap::new(), experiment, trials, Known { predicted, ..Known::default() })
}

#[test]
fn a_point_counts_what_is_in_its_trials() {
    let (fc, allocation) = (Some(Side::FactoryClose), Some(Side::Allocation));
    let trials = vec![
        trial(0, fc, 1, &[30, -10]),
        trial(1, allocation, 3, &[]),
        trial(2, fc, 2, &[100]),
        trial(3, None, 1_000, &[]),
    ];
    let point = point(&experiment(25), trials, Some(0.5));
    let Outcomes { factory_close, allocation, neither } = point.outcomes;
    assert_eq!((factory_close.count, allocation.count, neither.count), (2, 1, 1));
    assert_eq!((factory_close.rate, allocation.rate, neither.rate), (0.5, 0.25, 0.25));
    assert_eq!(factory_close.interval, Interval::wilson(2, 4, Z_95));
    assert_eq!(point.prediction_holds, Some(true));
    // The trial that was given up confirmed nothing.
    let blocks = point.blocks.unwrap();
    assert_eq!((blocks.mean, blocks.sd, blocks.median), (2.0, 1.0, 2.0));
    let time = point.time_s.unwrap();
    assert!((time.mean - (500.0 + 1_537.0 + 1_074.0) / 3.0).abs() < 1e-9, "{time:?}");
    let [alice, bob] = point.miners.as_slice() else { panic!("{:?}", point.miners) };
    assert_eq!((alice.blocks_found, alice.blocks_expected, alice.fees_mean_sat), (2, 251.5, 2_000.0));
    assert_eq!((bob.blocks_found, bob.blocks_expected, bob.fees_mean_sat), (1_004, 754.5, 1_000.0));
    assert_eq!(bob.policy, "bribed: 20,000 sat for allocation");
    assert_eq!(point.factory_vsize_mean, (2.0 * 971.0 + 2.0 * 4_008.0) / 4.0);
    assert_eq!(point.stale_blocks, 1);
    let margin = MarginReport {
        count: 3,
        measured_mean_sat: 40.0,
        measured_min_sat: -10,
        measured_max_sat: 100,
        formula_mean_sat: 40.5,
        marginal_mean: 2.0,
    };
    assert_eq!(point.margin, Some(margin));
    assert_eq!(point.arrivals, None);
    assert!(point.shares.unwrap().p_value < 1e-9);
    assert_eq!(point.failures, [""; 0]);
}

#[test]
fn what_is_not_as_expected_is_said() {
    /// What the file expects, what is there, and the beginning of what is said.
    struct Case {
        wins: Option<u64>,
        sign: Option<MarginSign>,
        predicted: Option<f64>,
        trials: Vec<Trial>,
        said: Vec<&'static str>,
    }
    let case = |wins, sign, predicted, trials, said: &[&'static str]| Case {
        wins,
        sign,
        predicted,
        trials,
        said: said.to_vec(),
    };
    for (number, case) in [
        case(Some(60), None, None, trials(200, 120, 0), &[]),
        case(Some(50), None, Some(0.55), trials(200, 120, 0), &[]),
        case(
            Some(90),
            None,
            Some(0.3),
            trials(200, 120, 0),
            &[
                "expected the factory close to win in 90 % of the trials, as the file says, found 120 of 200, by which it is 46.28 % to 72.31 %",
                "expected the factory close to win in 30 % of the trials, as theory predicts, found 120 of 200, by which",
            ],
        ),
        case(Some(100), None, Some(1.0), trials(200, 200, 0), &[]),
        case(
            Some(100),
            None,
            None,
            trials(200, 199, 0),
            &["expected the factory close to win in 100 % of the trials, as the file says, found 199 of 200"],
        ),
        case(None, Some(MarginSign::Positive), None, trials(20, 10, 1), &[]),
        case(
            None,
            Some(MarginSign::Positive),
            None,
            trials(20, 10, -5),
            &["expected every rational miner to gain by the factory close, found otherwise in 23 of 40 blocks, first -5 sat in trial 0"],
        ),
        case(None, Some(MarginSign::Negative), None, vec![trial(0, None, 1, &[-1])], &[]),
        case(None, Some(MarginSign::Zero), None, vec![trial(0, None, 1, &[0])], &[]),
        case(
            None,
            Some(MarginSign::Zero),
            None,
            vec![trial(0, None, 1, &[])],
            &["expected every rational miner to neither gain nor lose by the factory close, found none that had a block"],
        ),
        case(Some(0), Some(MarginSign::Zero), Some(0.0), Vec::new(), &["expected trials, found none"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut experiment = experiment(50);
        experiment.expect.factory_close_wins = case.wins.map(|percent| Percent(percent * 10_000));
        experiment.expect.margin = case.sign;
        let said = point(&experiment, case.trials, case.predicted).failures;
        assert_eq!(said.len(), case.said.len(), "case {number}: {said:#?}");
        for (said, expected) in said.iter().zip(&case.said) {
            assert!(said.starts_with(expected), "case {number}: found {said}");
        }
    }
}

#[test]
fn a_model_that_disagrees_is_a_failure() {
    let known = Known { model_disagreements: Some(2), ..Known::default() };
    let point = Point::new(IndexMap::new(), &experiment(50), trials(9, 3, 0), known);
    assert_eq!(
        point.failures,
        ["expected the model and the nodes to agree in every trial, found that they do not in 2 of 9"]
    );
}

#[test]
fn failures_name_their_point() {
    let mut report = matrix(&["0 sat/vB"]);
    report.points[1].failures = vec!["something".to_owned()];
    let report = RaceReport::new("sample.yaml".as_ref(), &experiment(50), report.points);
    assert_eq!(report.failures, ["miners.alice.share=25 %: something"]);
    assert_eq!(report.trials, 200);
    assert_eq!(report.block_weight, None);
}

#[test]
fn smaller_blocks_are_said() {
    let mut experiment = experiment(50);
    experiment.blocks.max_weight = BlockWeight(Weight::from_wu(200_000));
    let points = vec![point(&experiment, trials(10, 5, 0), None)];
    let report = RaceReport::new("sample.yaml".as_ref(), &experiment, points);
    let note = "-blockmaxweight is lowered: blocks hold at most 200,000 WU, not 4,000,000 WU";
    assert_eq!(report.block_weight.as_deref(), Some(note));
}

#[test]
fn the_fields_of_the_json_are_stable() {
    let report = single();
    let json = serde_json::to_value(&report).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let point = &json["points"][0];
    insta::assert_snapshot!(keys(&json), @"format shopfloor file name description seed trials points failures");
    insta::assert_snapshot!(keys(point), @"axes nodes max_block_weight trials outcomes predicted_rate prediction_holds blocks time_s miners factory_vsize_mean stale_blocks margin arrivals shares model_disagreements failures records");
    insta::assert_snapshot!(keys(&point["outcomes"]["factory_close"]), @"count rate interval");
    insta::assert_snapshot!(keys(&point["time_s"]), @"mean sd median p10 p90");
    insta::assert_snapshot!(keys(&point["miners"][0]), @"name policy share blocks_found blocks_expected fees_mean_sat");
    insta::assert_snapshot!(keys(&point["margin"]), @"count measured_mean_sat measured_min_sat measured_max_sat formula_mean_sat marginal_mean");
    insta::assert_snapshot!(keys(&point["records"][0]), @"number winner blocks time_ms decided_by fees_sat found factory_vsize stale_blocks margins");
    let without = serde_json::to_value(report.without_records()).unwrap();
    assert_eq!(without["points"][0].get("records"), None);
    let schema = schemars::schema_for!(RaceReport).to_value();
    assert!(schema["properties"]["points"].is_object(), "{schema}");
}
