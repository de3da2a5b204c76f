use std::path::Path;

use super::{Plan, plan};
use crate::scenario::{Override, load};

fn planned(file: &str, overrides: &[&str]) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(file);
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
    let cells = load(&path, &overrides).unwrap_or_else(|invalid| panic!("{invalid}"));
    plan(&cells[0]).unwrap()
}

/// V_A = 68 + 43 N, V_C = 154, V_FC = 111 + 43 N, and the factory close pays what it cuts through.
#[test]
fn sizes_and_fees_follow_the_formulas() {
    for n in [3_u64, 20, 200] {
        let plan = planned("lifecycle/basic.yaml", &[&format!("factory.members={n}")]);
        let tx = |name: &str| (plan.transactions[name].vsize, plan.transactions[name].fee_sat);
        assert_eq!(tx("allocation"), (68 + 43 * n, 68 + 43 * n));
        assert_eq!(tx("factory-close"), (111 + 43 * n, 68 + 43 * n + 154 * n));
        for member in 0..n {
            assert_eq!(tx(&format!("close-m{member}")), (154, 154));
        }
        assert_eq!(plan.cut_through_fee_sat, Some(68 + 43 * n + 154 * n));
        assert_eq!(plan.paths[0].vsize, 111 + 43 * n);
        assert_eq!((plan.paths[1].vsize, plan.paths[1].transactions as u64), (68 + 43 * n + 154 * n, n + 1));
        assert!(plan.to_string().lines().count() < 40, "{plan}");
    }
}

/// What the scenarios themselves say of their transactions, and what runs have shown to be so.
#[test]
fn a_plan_agrees_with_what_scenarios_expect() {
    let plan = planned("fallback/htlc-fulfilled-on-chain.yaml", &[]);
    let fee = |name: &str| plan.transactions[name].fee_sat;
    assert_eq!(["refund-m0-2", "htlc-success-m0-0", "refund-m1-1"].map(fee), [197, 155, 154]);
    let refund = &plan.transactions["refund-m0-2"];
    assert_eq!((refund.relative_lock, refund.spends.as_slice()), (Some(12), ["allocation".to_owned()].as_slice()));
    let to: Vec<_> = refund.outputs.iter().map(|output| (output.to.as_str(), output.amount_sat)).collect();
    assert_eq!(to, [("m0", 100_000), ("operator", 849_803), ("HTLC 0", 50_000)]);
    assert_eq!(plan.transactions["htlc-success-m0-0"].spends, ["refund-m0-2"]);
    // The factory is open at height 203.
    assert_eq!(plan.transactions["htlc-timeout-m0-0"].absolute_lock, Some(233));
    assert_eq!(fee("htlc-timeout-m0-0"), 138);
    assert!(!plan.transactions.contains_key("factory-close") && plan.cut_through_fee_sat.is_none());

    let ladder = planned("fees/ladder.yaml", &[]);
    let fee = |name: &str| ladder.transactions[name].fee_sat;
    assert_eq!(["factory-close", "factory-close-1", "factory-close-2"].map(fee), [659, 899, 1_379]);
    let pinned = planned("replacement/pinned.yaml", &[]);
    let pin = &pinned.transactions["spend-0"];
    assert_eq!(
        (pin.vsize, pin.fee_sat, pin.spends.as_slice(), pin.signed),
        (94_713, 94_713, ["close-m0".to_owned()].as_slice(), true)
    );
    assert_eq!((pin.outputs[0].to.as_str(), pin.outputs[0].amount_sat, pin.outputs.len()), ("m0", 100_000, 2));

    let operator = ladder.transactions["factory-close-2"].outputs.last().unwrap();
    assert_eq!((operator.to.as_str(), operator.amount_sat), ("operator", 2_698_818));
}

#[test]
fn a_plan_can_be_drawn() {
    insta::assert_snapshot!("mermaid", planned("fallback/htlc-fulfilled-on-chain.yaml", &[]).mermaid());
    insta::assert_snapshot!("table", planned("lifecycle/basic.yaml", &["factory.members=200"]).to_string());
}

/// A run's transactions are just those that were planned.
#[tokio::test]
async fn a_run_is_as_planned() {
    use crate::node::provision::Env;
    use crate::report::Verdict;
    use crate::scenario::{Options, run};

    let env = Env::from_process().unwrap();
    for file in ["lifecycle/basic.yaml", "replacement/pinned.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(file);
        let loaded = load(&path, &[]).unwrap().remove(0);
        let plan = plan(&loaded).unwrap();
        let report = run(&loaded, &Options { env: &env, keep: false, on_step: &|_, _, _| {} }).await;
        assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.failures);
        assert!(report.transactions.len() >= 6);
        for (name, tx) in &report.transactions {
            let planned = &plan.transactions[name];
            let found = (tx.vsize, tx.weight, tx.fee_sat, tx.relative_lock);
            assert_eq!((planned.vsize, planned.weight, planned.fee_sat, planned.relative_lock), found, "{name}");
            assert_eq!(planned.spends, tx.spends, "{name}");
        }
    }
}
