//! The model of every mempool against the mempool itself.

mod support;

use std::collections::BTreeSet;

use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, TxOut};
use factory_core::replacement::Rule;
use factory_core::tx::funding::Coin;
use factory_core::tx::transfer;
use factory_core::{TxVersion, fee};
use rand_core::Rng as _;
use shopfloor::node::snapshot::{address, faucet};
use shopfloor::node::{Acceptance, Kind, Submission};
use shopfloor::replacement::{Case, Closes, Placed, Question, Shape, Stage, answer, smallest_fee};
use shopfloor::scenario::CloseFee;
use shopfloor::seed;
use support::stage;

/// How many factories each kind is asked about.
const COMBINATIONS: u64 = 300;
/// Names another seed than 1.
const SEED: &str = "SHOPFLOOR_SEED";

/// Random numbers for one combination.
struct Dice(rand_chacha::ChaCha20Rng);

impl Dice {
    /// From `low` to `high`, both included, with each doubling as likely as the next.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        let part = self.0.next_u64() as f64 / u64::MAX as f64;
        let (low, high) = (low as f64, high as f64 + 1.0);
        (low * (high / low).powf(part)) as u64
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// From 0.1 to 50 sat/vB.
    fn feerate(&mut self) -> FeeRate {
        FeeRate::from_sat_per_kwu(self.between(25, 12_500))
    }

    fn version(&mut self) -> TxVersion {
        if self.one_in(3) { TxVersion::Three } else { TxVersion::Two }
    }
}

/// Panics if the node's word is not the model's; says which word it was.
fn agree(what: &str, predicted: Option<&str>, found: Option<&str>) {
    let same = match (predicted, found) {
        (None, None) => true,
        (Some(predicted), Some(found)) => found.contains(predicted),
        _ => false,
    };
    assert!(same, "{what}: the model says {predicted:?} and the node {found:?}");
}

fn agree_on(what: &str, placed: &Placed) {
    let predicted = placed.predicted.first_broken().map(|finding| finding.rule.reject_reason());
    let found = match &placed.found {
        Submission::Accepted => None,
        Submission::Rejected(why) => Some(why.as_str()),
    };
    agree(what, predicted, found);
}

/// A factory, some of its closes, some of their descendants: the node takes of them what the model says, and the factory
/// close at the fee that the model says, to the satoshi.
async fn combination(stage: &mut Stage, seed: u64) -> String {
    let mut dice = Dice(seed::stream(seed, "combination"));
    let members = u32::try_from(dice.between(1, 70)).unwrap();
    let (feerate, version) = (dice.feerate(), dice.version());
    let mut case = Case::new(stage, Shape { members, feerate, version, seed }).await.unwrap();
    let closes = if dice.one_in(3) { members } else { u32::try_from(dice.below(u64::from(members) + 1)).unwrap() };
    let mut about =
        format!("{members} members, version {version}, {} sat/kwu, {closes} closes", feerate.to_sat_per_kwu());

    let (tx, paid) = case.allocation();
    agree_on(&format!("{about}: the allocation"), &case.place(stage, tx, paid).await.unwrap());
    if !case.placed().is_empty() {
        for member in 0..closes {
            let (tx, paid) = case.close(member).unwrap();
            agree_on(&format!("{about}: close-m{member}"), &case.place(stage, tx, paid).await.unwrap());
        }
    }
    let mut spent = BTreeSet::new();
    for number in 0..usize::try_from(dice.below(5)).unwrap() {
        // Both outputs of each close are its parties' own, and the first one of each descendant.
        let Some(parents) = case.placed().len().checked_sub(1).filter(|parents| *parents > 0) else { break };
        let parent = &case.placed()[1 + usize::try_from(dice.below(parents as u64)).unwrap()];
        let vout = u32::try_from(dice.below(parent.output.len() as u64)).unwrap();
        let outpoint = OutPoint::new(parent.compute_txid(), vout);
        if !spent.insert(outpoint) {
            continue;
        }
        let size = if dice.one_in(3) { dice.between(200, 100_000) } else { dice.between(200, 1_100) };
        let child_version = if dice.one_in(4) { dice.version() } else { version };
        let rate = dice.feerate();
        let paid = fee(rate, size).unwrap();
        // The factory close evicts whatever spends it.
        let coin = stage.lend(number).unwrap();
        let Some(tx) = case.descendant(outpoint, size, child_version, paid, coin) else { continue };
        about += &format!("; {size} vB of version {child_version} at {paid}");
        agree_on(&format!("{about}: descendant {number}"), &case.place(stage, tx, paid).await.unwrap());
    }

    let policy = stage.policy().await.unwrap();
    let exact = case.exact_fee();
    let close = case.factory_close(exact).unwrap();
    let candidate = case.about(&close);
    let smallest = policy.judge(case.model(), &candidate, exact).smallest_fee();
    let measured = smallest_fee(stage, &mut case, smallest).await.unwrap();
    assert_eq!(smallest, measured.smallest, "{about}: the smallest fee");
    let any = Amount::from_sat(dice.below(2 * case.highest_fee().min(smallest.unwrap_or(exact)).to_sat() + 1));
    for fee in [exact, any] {
        let Some(close) = case.factory_close(fee) else { continue };
        let judgement = policy.judge(case.model(), &candidate, fee);
        let predicted = judgement.first_broken().map(|finding| finding.rule.reject_reason());
        let found = match stage.node().rpc().test_accept(&close).await.unwrap() {
            Acceptance::Accepted => None,
            Acceptance::Rejected(why) => Some(why),
            Acceptance::AlreadyInMempool => panic!("{about}: nobody has sent it"),
        };
        agree(&format!("{about}: the factory close at {fee}"), predicted, found.as_deref());
    }
    let smallest = smallest.unwrap_or_else(|| panic!("{about}: no factory close gets in"));
    let close = case.factory_close(smallest).unwrap();
    assert_eq!(stage.node().rpc().submit(&close).await.unwrap(), Submission::Accepted, "{about}");
    assert_eq!(stage.node().rpc().mempool().await.unwrap(), [close.compute_txid()], "{about}: what is left");
    let judgement = policy.judge(case.model(), &candidate, smallest);
    judgement.binding().unwrap().name().to_owned()
}

/// Prints how often each rule has decided.
async fn combinations(kind: Kind) {
    let Some(mut stage) = stage(kind, &[]).await else { return };
    let seed: u64 = std::env::var(SEED).map_or(1, |seed| seed.parse().expect("the seed is a number"));
    let mut decided = std::collections::BTreeMap::new();
    for number in 0..COMBINATIONS {
        // What fails is told with this line before it.
        println!("{kind}: {SEED}={seed}, combination {number}");
        *decided.entry(combination(&mut stage, seed.wrapping_add(number)).await).or_insert(0) += 1;
    }
    println!("{kind}: decided by {decided:?}");
    assert!(decided.len() > 1, "all the same: {decided:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn core_31_is_as_predicted() {
    combinations(Kind::Core31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_30_is_as_predicted() {
    combinations(Kind::Core30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_29_is_as_predicted() {
    combinations(Kind::Core29).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_28_is_as_predicted() {
    combinations(Kind::Core28).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knots_29_is_as_predicted() {
    combinations(Kind::Knots29).await;
}

/// Whatever fits into mempools, and one more, in both versions: of each the exact fee, the smallest, and every refusal are
/// as predicted.
async fn sizes(kind: Kind) {
    let Some(mut stage) = stage(kind, &[]).await else { return };
    let policy = stage.policy().await.unwrap();
    for version in [TxVersion::Two, TxVersion::Three] {
        for members in [3, 20, 24, 25, 26, 63, 64, 100] {
            let closes = [Closes::Count(0), Closes::Boundary, Closes::All];
            let numbers = closes.map(|closes| closes.numbers(&policy, members, FeeRate::BROADCAST_MIN, version));
            for closes in numbers.concat() {
                let found = answer(&mut stage, &question(members, closes, version)).await.unwrap();
                assert!(found.differences.is_empty(), "{found:?}");
                assert_eq!(found.min_fee_predicted_sat, found.min_fee_measured_sat, "{found:?}");
                assert!(found.min_fee_measured_sat.is_some(), "{found:?}");
            }
        }
    }
}

fn question(members: u32, closes: u32, version: TxVersion) -> Question {
    let feerate = FeeRate::BROADCAST_MIN;
    Question { members, closes, feerate, version, close_fee: CloseFee::Exact, seed: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn core_31_at_every_boundary() {
    sizes(Kind::Core31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_30_at_every_boundary() {
    sizes(Kind::Core30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_29_at_every_boundary() {
    sizes(Kind::Core29).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_28_at_every_boundary() {
    sizes(Kind::Core28).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knots_29_at_every_boundary() {
    sizes(Kind::Knots29).await;
}

/// What is known of every kind, in figures: a second opinion on the model and on how it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_figures_that_are_known() {
    // The kind; the smallest fee for three members against the allocation alone; the most closes of twenty against which
    // the exact fee is enough; the most closes that get in.
    let known = [
        (Kind::Core31, 240, 19, 63),
        (Kind::Core30, 241, 19, 25),
        (Kind::Core29, 437, 13, 25),
        (Kind::Core28, 437, 13, 25),
        (Kind::Knots29, 437, 13, 25),
    ];
    for (kind, smallest, last, most) in known {
        let Some(mut stage) = stage(kind, &[]).await else { continue };
        let mut ask =
            async |members, closes| answer(&mut stage, &question(members, closes, TxVersion::Two)).await.unwrap();
        let alone = ask(3, 0).await;
        assert_eq!((alone.exact_accepted, alone.min_fee_measured_sat), (true, Some(smallest)), "{kind}");
        assert!(ask(20, last).await.exact_accepted, "{kind}");
        let beyond = ask(20, last + 1).await;
        let words = beyond.reject_reason.unwrap();
        assert!(!beyond.exact_accepted && words.contains("insufficient fee"), "{kind}: {words}");
        let crowd = ask(100, most + 1).await;
        let words = crowd.closes_refused.unwrap();
        assert_eq!((crowd.closes, crowd.evicted), (most, most + 1), "{kind}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_relay_costs_nothing_a_tie_is_enough() {
    for kind in Kind::ALL {
        let Some(mut stage) = stage(kind, &["-incrementalrelayfee=0"]).await else { continue };
        let found = answer(&mut stage, &question(20, 20, TxVersion::Two)).await.unwrap();
        assert!(found.differences.is_empty(), "{kind}: {found:?}");
        // Before Core 31 the feerate of the factory close, which is smaller, is above the allocation's anyway.
        assert_eq!((found.exact_accepted, found.min_fee_measured_sat), (true, Some(found.exact_fee_sat)), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mempool_asks_for_its_own_minimum() {
    for kind in Kind::ALL {
        let Some(mut stage) = stage(kind, &["-maxmempool=5"]).await else { continue };
        let shape = Shape { members: 20, feerate: FeeRate::BROADCAST_MIN, version: TxVersion::Two, seed: 1 };
        let mut case = Case::new(&mut stage, shape).await.unwrap();
        let mut restricted = Case::new(&mut stage, Shape { version: TxVersion::Three, ..shape }).await.unwrap();
        stage.fill(FeeRate::from_sat_per_vb_u32(5)).await.unwrap();
        // Which minimum a fee below both is refused for depends on the version and on the node.
        for case in [&mut case, &mut restricted] {
            let close = case.factory_close(Amount::from_sat(10)).unwrap();
            agree_on(&format!("{kind}: 10 sat"), &case.place(&stage, close, Amount::from_sat(10)).await.unwrap());
        }
        let (tx, paid) = case.allocation();
        let placed = case.place(&stage, tx, paid).await.unwrap();
        agree_on("the allocation", &placed);
        assert_eq!(placed.predicted.first_broken().map(|finding| finding.rule), Some(Rule::MempoolMinimum), "{kind}");
        let policy = stage.policy().await.unwrap();
        let close = case.factory_close(case.exact_fee()).unwrap();
        let candidate = case.about(&close);
        let judgement = policy.judge(case.model(), &candidate, case.exact_fee());
        assert_eq!(judgement.binding(), Some(Rule::MempoolMinimum), "{kind}");
        let smallest = judgement.smallest_fee().unwrap();
        assert!(smallest > Amount::from_sat(971 * 5), "{kind}: {smallest}");
        let measured = smallest_fee(&stage, &mut case, Some(smallest)).await.unwrap();
        assert_eq!(measured.smallest, Some(smallest), "{kind}");
        assert!(measured.refusal.unwrap().contains("mempool min fee not met"), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_options_make_other_rules() {
    let cases: [(Kind, &[&str], u32); 2] =
        [(Kind::Core31, &["-limitclustercount=10"], 9), (Kind::Knots29, &["-mempooltruc=enforce"], 1)];
    for (kind, args, most) in cases {
        let Some(mut stage) = stage(kind, args).await else { continue };
        let found = answer(&mut stage, &question(20, 20, TxVersion::Three)).await.unwrap();
        assert_eq!(found.closes, if kind == Kind::Knots29 { most } else { 1 }, "{kind}");
        let found_2 = answer(&mut stage, &question(20, 20, TxVersion::Two)).await.unwrap();
        assert_eq!(found_2.closes, if kind == Kind::Knots29 { 20 } else { most }, "{kind}");
        assert!(found.differences.is_empty() && found_2.differences.is_empty(), "{kind}: {found:?} {found_2:?}");
    }
}

/// An allocation of version 3 without a fee, with an anchor, and its paying child take the place of a factory close; when
/// the child goes, the factory close comes back, and is confirmed.
async fn anchored(kind: Kind) {
    let Some(mut stage) = stage(kind, &[]).await else { return };
    let shape = Shape { members: 3, feerate: FeeRate::BROADCAST_MIN, version: TxVersion::Three, seed: 1 };
    let mut case = Case::new(&mut stage, shape).await.unwrap();
    let coin = stage.coin(Amount::from_sat(100_000)).await.unwrap();
    let exact = case.exact_fee();
    let close = case.factory_close(exact).unwrap();
    assert_eq!(case.place(&stage, close.clone(), exact).await.unwrap().found, Submission::Accepted);

    let allocation = case.anchored_allocation(Amount::ZERO).unwrap();
    let policy = stage.policy().await.unwrap();
    let child = |fee| case.anchor_child(&allocation, &coin, fee).unwrap();
    let package = case.package(&allocation, &child(Amount::ZERO));
    let judgement = policy.judge_package(case.model(), &package, Amount::ONE_SAT);
    let rpc = stage.node().rpc();
    if kind == Kind::Knots29 {
        // It lets no dust in, whatever the transaction pays.
        assert_eq!(judgement.smallest_fee(), None);
        let refused = rpc.submit_package(&[allocation.clone(), child(Amount::from_sat(50_000))]).await.unwrap();
        assert_ne!(refused.transactions[0].outcome, Submission::Accepted, "{refused:?}");
        assert_eq!(rpc.mempool().await.unwrap(), [close.compute_txid()]);
        return;
    }
    let smallest = judgement.smallest_fee().unwrap();
    let below = policy.judge_package(case.model(), &package, smallest - Amount::ONE_SAT);
    let words = below.first_broken().unwrap().rule.package_reject_reason();
    let refused = rpc.submit_package(&[allocation.clone(), child(smallest - Amount::ONE_SAT)]).await.unwrap();
    assert!(refused.message.contains(words), "{kind}: expected {words}, and it said {refused:?}");
    assert_eq!(rpc.mempool().await.unwrap(), [close.compute_txid()], "{kind}");

    let paying = child(smallest);
    let taken = rpc.submit_package(&[allocation.clone(), paying.clone()]).await.unwrap();
    assert_eq!((taken.message.as_str(), taken.replaced.as_slice()), ("success", &[close.compute_txid()][..]), "{kind}");
    let there: BTreeSet<_> = rpc.mempool().await.unwrap().into_iter().collect();
    assert_eq!(there, [allocation.compute_txid(), paying.compute_txid()].into(), "{kind}");
    // The factory close does not get back in against them.
    assert!(matches!(rpc.submit(&close).await.unwrap(), Submission::Rejected(_)), "{kind}");

    // Whoever made the child takes its coin elsewhere, for a little more. What is left is an allocation that pays nothing.
    let output = TxOut { value: coin.value - smallest * 2, script_pubkey: faucet().script_pubkey().clone() };
    let elsewhere = transfer::build(&[(&faucet(), coin)], TxVersion::Two, vec![output]).unwrap();
    assert_eq!(rpc.submit(elsewhere.transaction()).await.unwrap(), Submission::Accepted, "{kind}");
    let left = rpc.mempool().await.unwrap();
    assert!(!left.contains(&paying.compute_txid()), "{kind}");
    // So the factory close, sent again, is back, and a block decides.
    assert_eq!(rpc.submit(&close).await.unwrap(), Submission::Accepted, "{kind}");
    let there: BTreeSet<_> = rpc.mempool().await.unwrap().into_iter().collect();
    assert_eq!(there, [close.compute_txid(), elsewhere.txid()].into(), "{kind}");
    let block = rpc.mine(&address(&faucet())).await.unwrap();
    let mined: BTreeSet<_> = block.tx[1..].iter().map(|tx| tx.txid).collect();
    assert_eq!(mined, there, "{kind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchored_allocation_evicts_the_factory_close_until_its_child_is_gone() {
    for kind in Kind::ALL {
        anchored(kind).await;
    }
}

/// An allocation that pays nothing and its paying child: in both versions, with an anchor that is dust and one that is not,
/// with a factory close to evict and without.
async fn packages(kind: Kind, args: &[&str], expected: usize) {
    let Some(mut stage) = stage(kind, args).await else { return };
    let mut taken = 0;
    for number in 0..8 {
        let version = if number & 1 == 0 { TxVersion::Two } else { TxVersion::Three };
        let anchor = Amount::from_sat(if number & 2 == 0 { 0 } else { 240 });
        let what = format!("{kind}, version {version}, an anchor of {anchor}, {number}");
        let shape = Shape { members: 3, feerate: FeeRate::from_sat_per_vb_u32(5), version, seed: number };
        let coin = stage.coin(Amount::from_sat(100_000)).await.unwrap();
        let mut case = Case::new(&mut stage, shape).await.unwrap();
        if number & 4 != 0 {
            let exact = case.exact_fee();
            let close = case.factory_close(exact).unwrap();
            assert_eq!(case.place(&stage, close, exact).await.unwrap().found, Submission::Accepted, "{what}");
        }
        let allocation = case.anchored_allocation(anchor).unwrap();
        let child = |fee| case.anchor_child(&allocation, &coin, fee).unwrap();
        let package = case.package(&allocation, &child(Amount::ZERO));
        let policy = stage.policy().await.unwrap();
        let smallest = policy.judge_package(case.model(), &package, Amount::ZERO).smallest_fee();
        let fees = smallest.map_or(vec![Amount::from_sat(50_000)], |fee| vec![fee - Amount::ONE_SAT, fee]);
        for fee in fees {
            let predicted = policy.judge_package(case.model(), &package, fee);
            let answer = stage.node().rpc().submit_package(&[allocation.clone(), child(fee)]).await.unwrap();
            let accepted = answer.transactions.iter().all(|tx| tx.outcome == Submission::Accepted);
            let words = format!("{answer:?}");
            let broken = predicted.first_broken().map(|finding| finding.rule.package_reject_reason());
            agree(&format!("{what}: at {fee}"), broken, (!accepted).then_some(&words));
            taken += usize::from(accepted);
        }
        stage.mine().await.unwrap();
    }
    assert_eq!(taken, expected, "{kind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_as_predicted() {
    // Before Core 31 only version 3 may pay less than is relayed.
    packages(Kind::Core31, &[], 8).await;
    for kind in [Kind::Core30, Kind::Core29, Kind::Core28] {
        packages(kind, &[], 4).await;
    }
    // Knots takes no dust, and nothing that pays too little, unless it is told what version 3 is.
    packages(Kind::Knots29, &[], 0).await;
    packages(Kind::Knots29, &["-mempooltruc=enforce"], 2).await;
}

fn to_faucet(value: Amount) -> TxOut {
    TxOut { value, script_pubkey: faucet().script_pubkey().clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_spends_its_own_conflict_is_refused_whatever_it_pays() {
    for kind in Kind::ALL {
        let Some(mut stage) = stage(kind, &[]).await else { continue };
        let coin = stage.coin(Amount::from_sat(100_000)).await.unwrap();
        let shape = Shape { members: 1, feerate: FeeRate::BROADCAST_MIN, version: TxVersion::Two, seed: 1 };
        let mut case = Case::new(&mut stage, shape).await.unwrap();
        let value = Amount::from_sat(99_000);
        let first = transfer::build(&[(&faucet(), coin.clone())], TxVersion::Two, vec![to_faucet(value)]).unwrap();
        let output = Coin { outpoint: OutPoint::new(first.txid(), 0), value };
        let paid = coin.value - value;
        agree_on("the first", &case.place(&stage, first.transaction().as_ref().clone(), paid).await.unwrap());
        for fee in [300, 50_000].map(Amount::from_sat) {
            let left = vec![to_faucet(coin.value + value - fee)];
            let coins = [(&faucet(), coin.clone()), (&faucet(), output.clone())];
            let second = transfer::build(&coins, TxVersion::Two, left).unwrap();
            let placed = case.place(&stage, second.transaction().as_ref().clone(), fee).await.unwrap();
            agree_on(&format!("{kind}: at {fee}"), &placed);
            assert_ne!(placed.found, Submission::Accepted, "{kind}: at {fee}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_evicts_an_anchors_child_has_to_spend_the_anchor() {
    for kind in Kind::ALL {
        // Knots takes no anchor that is dust.
        let Some(mut stage) = stage(kind, &[]).await.filter(|_| kind != Kind::Knots29) else { continue };
        let [coin, other] =
            [stage.coin(Amount::from_sat(100_000)).await.unwrap(), stage.coin(Amount::ONE_SAT * 50_000).await.unwrap()];
        let shape = Shape { members: 1, feerate: FeeRate::BROADCAST_MIN, version: TxVersion::Three, seed: 1 };
        let mut case = Case::new(&mut stage, shape).await.unwrap();
        let anchor = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_p2a() };
        let outputs = vec![to_faucet(coin.value), anchor];
        let parent = transfer::build(&[(&faucet(), coin.clone())], TxVersion::Three, outputs).unwrap();
        let output = Coin { outpoint: OutPoint::new(parent.txid(), 0), value: coin.value };
        let parent = parent.transaction().as_ref().clone();
        let fee = Amount::from_sat(500);
        let child = case.anchor_child(&parent, &other, fee).unwrap();
        let answer = stage.node().rpc().submit_package(&[parent.clone(), child.clone()]).await.unwrap();
        assert_eq!(answer.message, "success", "{kind}");
        case.enter(parent.clone(), Amount::ZERO);
        case.enter(child, fee);

        let fee = Amount::from_sat(5_000);
        let left = vec![to_faucet(output.value - fee)];
        let leaving = transfer::build(&[(&faucet(), output.clone())], TxVersion::Three, left).unwrap();
        let placed = case.place(&stage, leaving.transaction().as_ref().clone(), fee).await.unwrap();
        agree_on(&format!("{kind}: what leaves the anchor"), &placed);
        assert_ne!(placed.found, Submission::Accepted, "{kind}");
        let both = case.anchor_child(&parent, &output, fee).unwrap();
        let placed = case.place(&stage, both, fee).await.unwrap();
        agree_on(&format!("{kind}: what spends the anchor"), &placed);
        assert_eq!(placed.found, Submission::Accepted, "{kind}");
    }
}
