//! Whole lifecycles on a chain in memory, with everything going wrong that can.

use std::time::Instant;

use factory_core::simulation::{Path, Plan, crash_points, run, run_many, run_with_crash};
use factory_core::{FeeRule, LockKind, Offer, RefundLocks, TxVersion};

/// How many random lifecycles are played out; more with `SHOPFLOOR_LIFECYCLES`.
const LIFECYCLES: u64 = 10_000;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// On every schedule, no member ends below its last agreed amount, no value appears or disappears, no nonce signs twice,
/// no party signs a state after its channel's close. `SHOPFLOOR_SEED` plays one lifecycle again.
#[test]
fn random_lifecycles() {
    if let Some(seed) = from_environment("SHOPFLOOR_SEED") {
        let plan = Plan::from_seed(seed);
        println!("{plan:#?}");
        println!("{:#?}", run(plan).unwrap_or_else(|violation| panic!("seed {seed}: {violation}")));
        return;
    }
    let began = Instant::now();
    let lifecycles = from_environment("SHOPFLOOR_LIFECYCLES").unwrap_or(LIFECYCLES);
    let tally = run_many(0..lifecycles, std::thread::available_parallelism().map_or(2, usize::from));
    println!("{tally}in {:.1} s", began.elapsed().as_secs_f64());
    assert!(tally.violations.is_empty(), "{tally}");
    assert_eq!(tally.lifecycles(), lifecycles);
    // A way that no lifecycle took would mean that the plans are not wild enough.
    for path in [Path::FactoryClose, Path::Closes, Path::Refunds, Path::Mixed, Path::Aborted] {
        assert!(tally.paths.get(&path).is_some_and(|count| *count > 0), "no lifecycle took this way: {path}\n{tally}");
    }
    for (what, count) in [
        ("crash", tally.crashes),
        ("wrong share", tally.wrong_shares),
        ("HTLC taken on chain", tally.htlc_successes),
        ("HTLC taken back on chain", tally.htlc_timeouts),
    ] {
        assert!(count > 0, "there was no {what}\n{tally}");
    }
}

#[test]
fn a_seed_plays_the_same_again() {
    for seed in 0..50 {
        assert_eq!(run(Plan::from_seed(seed)), run(Plan::from_seed(seed)), "seed {seed}");
    }
}

/// Every lock, version and fee rule, without any fault: the factory close settles it, for the exact amounts.
#[test]
fn calm_lifecycles_take_the_factory_close() {
    for lock in [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh] {
        for version in [TxVersion::Two, TxVersion::Three] {
            for close_fee in [FeeRule::Exact, FeeRule::Premium(Offer::default().feerate)] {
                let offer = Offer { lock, version, close_fee, ..Offer::default() };
                for seed in 0..5 {
                    let outcome = run(Plan::calm(seed, 3, offer.clone())).unwrap();
                    assert_eq!(outcome.path, Path::FactoryClose, "{offer:?}, seed {seed}");
                    assert_eq!((outcome.crashes, outcome.wrong_shares), (0, 0));
                }
            }
        }
    }
}

/// A crash before and after every order to store something and every message, of every party: the lifecycle still comes
/// to its end, and nothing is lost.
#[test]
fn a_crash_at_every_point_loses_nothing() {
    let refund_locks = RefundLocks { initial: 16, step: 2, minimum: 2 };
    let mut points_in_all = 0;
    for (seed, lock) in [(1, LockKind::MuSig2), (2, LockKind::MuSig2), (3, LockKind::Tapscript)] {
        let plan = || Plan::calm(seed, 2, Offer { lock, refund_locks, ..Offer::default() });
        let points = crash_points(plan()).unwrap();
        points_in_all += points.len();
        for point in points {
            let outcome = run_with_crash(plan(), point);
            let outcome = outcome.unwrap_or_else(|violation| panic!("seed {seed}, {point:?}: {violation}"));
            assert_eq!(outcome.crashes, 1, "seed {seed}, {point:?}");
        }
    }
    println!("{points_in_all} crash points");
    assert!(points_in_all > 300, "{points_in_all} crash points");
}
