//! What the protocol's definition says of sizes, fees and savings, against what was signed.

use bitcoin::FeeRate;
use factory_core::{LockKind, TxVersion};

use super::*;
use crate::published;

fn question(members: &[u32], locks: &[LockKind]) -> Question {
    Question {
        members: members.to_vec(),
        locks: locks.to_vec(),
        versions: vec![TxVersion::Two],
        feerates: vec![FeeRate::BROADCAST_MIN],
        seed: 1,
    }
}

fn ask(members: &[u32], locks: &[LockKind]) -> FeesReport {
    without_published(question(members, locks))
}

/// The published figures are the same whatever is asked.
fn without_published(question: Question) -> FeesReport {
    let (factories, left_out) = question.factories().unwrap();
    let (shopfloor, published) = (String::new(), Vec::new());
    FeesReport { format: FORMAT, shopfloor, seed: question.seed, factories, left_out, published }
}

fn tx(factory: &FactoryReport, name: Tx) -> TxReport {
    *factory.tx(name).unwrap()
}

fn way(factory: &FactoryReport, way: Way) -> WayReport {
    *factory.way(way).unwrap()
}

/// In percent, with one digit after the point.
fn percent(part: f64) -> f64 {
    (part * 1_000.0).round() / 10.0
}

#[test]
fn every_size_is_what_the_protocol_says() {
    let report = ask(&[1, 3, 20, 63, 200, 252, 253], &[LockKind::MuSig2]);
    for factory in &report.factories {
        let n = u64::from(factory.shape.members);
        let long = |outputs: u64| if outputs >= 253 { 2 } else { 0 };
        for (name, count, vb) in [
            (Tx::Funding, 1, 154),
            (Tx::Allocation, 1, 68 + 43 * n + long(n)),
            (Tx::FactoryClose, 1, 111 + 43 * n + long(n + 1)),
            (Tx::ChannelClose, n, 154),
            (Tx::Refund, n, 154),
            (Tx::SeparateOpen, n, 154),
            (Tx::SeparateClose, n, 154),
            (Tx::BatchedOpen, 1, 111 + 43 * n + long(n + 1)),
            (Tx::BatchedClose, n, 154),
        ] {
            let found = tx(factory, name);
            let sizes = [found.least_vb, found.most_vb, found.formula_vb];
            assert_eq!((u64::from(found.count), sizes), (count, [vb; 3]), "{name:?}, N = {n}");
            assert_eq!((found.vb, found.fee_sat), (count * vb, count * expected_fee(factory, name, vb)), "{name:?}");
            assert_eq!(found.witness_wu, 66, "{name:?}, N = {n}");
        }
    }
    assert_eq!(report.factories.len(), 7);
}

/// At 1 sat/vB a transaction pays its size, but the factory close what it cuts through.
fn expected_fee(factory: &FactoryReport, name: Tx, vb: u64) -> u64 {
    let cut_through = tx(factory, Tx::Allocation).vb + tx(factory, Tx::ChannelClose).vb;
    if name == Tx::FactoryClose { cut_through } else { vb }
}

#[test]
fn the_savings_are_those_of_the_protocol() {
    let report = ask(&[3, 20, 63, 200], &[LockKind::MuSig2]);
    let saved = |what: Way| report.factories.iter().map(move |factory| way(factory, what));
    let of_separate = |what| saved(what).map(|way| percent(way.vb_saved_of_separate)).collect::<Vec<_>>();
    assert_eq!(of_separate(Way::Cooperative), [57.4, 81.7, 84.7, 85.6]);
    assert_eq!(of_separate(Way::Fallback), [12.0, 32.4, 34.9, 35.7]);
    assert_eq!(of_separate(Way::Unilateral), [12.0, 32.4, 34.9, 35.7]);
    assert_eq!(of_separate(Way::Separate), [0.0; 4]);
    // The exact rule makes the factory close as dear as what it cuts through.
    for (cooperative, fallback) in saved(Way::Cooperative).zip(saved(Way::Fallback)) {
        assert_eq!(cooperative.fee_sat, fallback.fee_sat);
        assert_eq!(cooperative.fee_saved_of_separate, fallback.vb_saved_of_separate);
    }
    let twenty = &report.factories[1];
    assert_eq!(percent(way(twenty, Way::Cooperative).vb_saved_of_batched), 72.2);
    assert_eq!((way(twenty, Way::Fallback).vb, way(twenty, Way::Batched).vb), (4_162, 4_051));
    assert!(way(twenty, Way::Fallback).vb_saved_of_batched < 0.0);
    let counts = Way::ALL.map(|what| way(twenty, what).transactions);
    assert_eq!(counts, [2, 22, 22, 21, 40]);
    assert_eq!(way(twenty, Way::Cooperative).vb_per_member, 1_125.0 / 20.0);
    assert_eq!(way(twenty, Way::Fallback).fee_sat_per_member, 4_162.0 / 20.0);
}

#[test]
fn witnesses_weigh_what_the_table_of_locks_says() {
    for (lock, weights) in [
        (LockKind::MuSig2, &[(3, 66), (10, 66), (20, 66), (100, 66)][..]),
        (LockKind::Tapscript, &[(3, 333), (10, 1_028), (20, 2_018), (100, 9_938)]),
        (LockKind::Wsh, &[(3, 327), (10, 1_078), (20, 2_150)]),
    ] {
        for &(signers, weight) in weights {
            let report = ask(&[signers - 1], &[lock]);
            let factory = &report.factories[0];
            for name in [Tx::Allocation, Tx::FactoryClose] {
                let found = tx(factory, name);
                // Of ECDSA's signatures about half are one byte shorter than they can be, and few two.
                let shorter = if lock == LockKind::Wsh { 2 * u64::from(signers) } else { 0 };
                assert!(
                    (weight - shorter..=weight).contains(&found.witness_wu),
                    "{lock}, {signers} signers, {name:?}: {}",
                    found.witness_wu
                );
                assert!(found.most_vb <= found.formula_vb && found.least_vb + shorter / 4 + 1 >= found.formula_vb);
            }
            assert_eq!(tx(factory, Tx::Funding).vb, 154, "{lock}");
        }
    }
}

#[test]
fn fees_are_rounded_up_each_by_itself() {
    for (sat_per_kwu, allocation, close, by_size) in [(25, 20, 16, 24), (250, 197, 154, 240), (625, 493, 385, 600)] {
        let feerate = FeeRate::from_sat_per_kwu(sat_per_kwu);
        let report = without_published(Question { feerates: vec![feerate], ..question(&[3], &[LockKind::MuSig2]) });
        let factory = &report.factories[0];
        assert_eq!(tx(factory, Tx::Allocation).fee_sat, allocation);
        assert_eq!(tx(factory, Tx::ChannelClose).fee_sat, 3 * close);
        assert_eq!(tx(factory, Tx::SeparateClose).fee_sat, 3 * close);
        let exact = allocation + 3 * close;
        let fee = factory.factory_close;
        assert_eq!((fee.exact_sat, fee.by_size_sat, fee.left_sat), (exact, by_size, exact - by_size));
        assert_eq!(fee.left_sat_per_member, (exact - by_size) as f64 / 3.0);
        assert_eq!(fee.feerate_sat_per_vb, exact as f64 / 240.0);
        let cooperative = way(factory, Way::Cooperative);
        assert_eq!(cooperative.fee_sat, tx(factory, Tx::Funding).fee_sat + exact);
        assert_eq!(factory.fee_by_size(&cooperative), tx(factory, Tx::Funding).fee_sat + by_size);
    }
}

#[test]
fn channels_grow_with_the_feerate() {
    // Four closes of 154 vB at 100,000 sat/vB.
    let feerates = vec![FeeRate::BROADCAST_MIN, FeeRate::from_sat_per_vb_u32(100_000)];
    let report = without_published(Question { feerates, ..question(&[2], &[LockKind::MuSig2]) });
    let capacities: Vec<u64> = report.factories.iter().map(|factory| factory.capacity_sat).collect();
    assert_eq!(capacities, [1_000_000, 61_600_000]);
    assert_eq!(report.factories[0].ways.iter().map(|way| way.vb).sum::<u64>(), 351 + 616 + 616 + 505 + 616);
    assert_eq!(way(&report.factories[1], Way::Fallback).fee_sat, 61_600_000);
}

/// The largest factory close that nodes relay.
#[test]
fn two_thousand_three_hundred_and_twenty_two_members() {
    let report = ask(&[2_322], &[LockKind::MuSig2]);
    let factory = &report.factories[0];
    assert_eq!(tx(factory, Tx::FactoryClose).vb, 113 + 43 * 2_322);
    assert_eq!(tx(factory, Tx::FactoryClose).fee_sat, 70 + 43 * 2_322 + 154 * 2_322);
    assert_eq!(percent(way(factory, Way::Cooperative).vb_saved_of_separate), 86.0);
    assert_eq!(way(factory, Way::Separate).vb, 308 * 2_322);
}

#[test]
fn what_cannot_be_is_named_with_its_limit() {
    let answer =
        |members: &[u32], lock, version| Question { versions: vec![version], ..question(members, &[lock]) }.factories();
    let (factories, left_out) = answer(&[229, 230], LockKind::MuSig2, TxVersion::Three).unwrap();
    assert_eq!(tx(&factories[0], Tx::FactoryClose).vb, 9_958);
    let left_out: Vec<String> = left_out.iter().map(LeftOut::to_string).collect();
    assert_eq!(
        left_out,
        ["230 members, musig2, version 3, 1 sat/vB: 230 members make the factory-close 10001 vB, over the limit of \
             10000 vB for version 3 that nodes relay"]
    );
    for (members, lock, version, limit) in [
        (230, LockKind::MuSig2, TxVersion::Three, "over the limit of 10000 vB for version 3"),
        (20, LockKind::Wsh, TxVersion::Two, "20 members and the operator are 21 keys: a wsh lock holds at most 20"),
        (999, LockKind::Tapscript, TxVersion::Two, "are 1000 keys: a tapscript lock holds at most 999"),
        (2_323, LockKind::MuSig2, TxVersion::Two, "make the factory-close 400008 WU, over the limit of 400000 WU"),
    ] {
        let Err(FeesError::Nothing(why)) = answer(&[members], lock, version) else { panic!("{members}, {lock}") };
        assert_eq!(why.len(), 1);
        assert!(why[0].contains(limit), "{why:?}");
    }
    let feerates = vec![FeeRate::from_sat_per_kwu(4_000_000_000_000_000)];
    let error = Question { feerates, ..question(&[2], &[LockKind::MuSig2]) }.factories().unwrap_err();
    assert!(error.to_string().ends_with("the allocation's fee is over 21 million BTC"), "{error}");
}

#[test]
fn the_published_figures_come_out_of_their_formula() {
    let published = question(&[1], &[LockKind::MuSig2]).answer().unwrap().published;
    let formulas: Vec<_> =
        published.iter().map(|one| (one.parties, one.channels, one.published, percent(one.by_formula))).collect();
    assert_eq!(
        formulas,
        [
            (3, 3, Some(0.5), 50.0),
            (20, 100, Some(0.9), 90.0),
            (20, 100, Some(0.96), 96.0),
            (20, 19, None, 81.5),
            (101, 100, None, 85.2),
        ]
    );
    let sizes: Vec<_> = published.iter().map(|one| (one.factory_vb, one.separate_vb)).collect();
    // Of a group of 20 with MuSig2: 20 inputs of 57.5 vB, an output of 43 and 10.5 vB; an input of 57.5, 20 outputs and
    // 10.5. Of a channel: two inputs and one output, and 154 vB to close it.
    assert_eq!(sizes[2], (1_204 + 928, 100 * (169 + 154)));
    // With OP_CHECKMULTISIG the closes are at most 1,449 and 193 vB, and at least two bytes of witness less for each key.
    assert!((2_653 - 10..=2_653).contains(&sizes[1].0), "{sizes:?}");
    assert!((100 * (169 + 192 - 1)..=100 * (169 + 193)).contains(&sizes[1].1), "{sizes:?}");
    // Single-funded ones: F and FC against 308 vB for a channel.
    assert_eq!(sizes[3..], [(154 + 928, 19 * 308), (154 + 4_411, 100 * 308)]);
    for one in &published {
        assert_eq!(one.signed, 1.0 - one.factory_vb as f64 / one.separate_vb as f64);
    }
    for own in &published[3..] {
        assert!((own.signed - own.by_formula).abs() < 1e-12, "{own:?}");
    }
}

#[test]
fn a_seed_decides_everything() {
    let with = |seed| without_published(Question { seed, ..question(&[4], &[LockKind::Wsh]) });
    assert_eq!(with(7), with(7));
    // Signatures have other lengths, but in sum of so many never more than they can have.
    let sizes = |seed| with(seed).factories[0].transactions.iter().map(|tx| tx.witness_wu).collect::<Vec<_>>();
    assert!((1..20).any(|seed| sizes(seed) != sizes(20)));
}

#[test]
fn a_line_for_each_way_and_each_kind_of_transaction() {
    let report = ask(&[3], &[LockKind::MuSig2]);
    insta::assert_snapshot!(transactions_csv(&report), @r"
    members,lock,version,feerate_sat_per_vb,transaction,count,vb,least_vb,most_vb,formula_vb,witness_wu,fee_sat
    3,musig2,2,1,funding,1,154,154,154,154,66,154
    3,musig2,2,1,allocation,1,197,197,197,197,66,197
    3,musig2,2,1,channel-close,3,462,154,154,154,66,462
    3,musig2,2,1,refund,3,462,154,154,154,66,462
    3,musig2,2,1,factory-close,1,240,240,240,240,66,659
    3,musig2,2,1,separate-open,3,462,154,154,154,66,462
    3,musig2,2,1,separate-close,3,462,154,154,154,66,462
    3,musig2,2,1,batched-open,1,240,240,240,240,66,240
    3,musig2,2,1,batched-close,3,462,154,154,154,66,462
    ");
    let ways = ways_csv(&report);
    let mut lines = ways.lines();
    let columns = lines.next().unwrap().split(',').count();
    let starts: Vec<String> = lines
        .map(|line| {
            let values: Vec<&str> = line.split(',').collect();
            assert_eq!(values.len(), columns, "{line}");
            [&values[4..7], &values[10..11], &values[14..]].concat().join(",")
        })
        .collect();
    assert_eq!(
        starts,
        [
            "cooperative,2,394,813,394",
            "fallback,5,813,813,813",
            "unilateral,5,813,813,813",
            "batched,4,702,702,702",
            "separate,6,924,924,924",
        ]
    );
}

#[test]
fn columns_are_there_where_there_are_several_values() {
    let feerates = vec![FeeRate::BROADCAST_MIN, FeeRate::from_sat_per_kwu(25)];
    let locks = vec![LockKind::MuSig2, LockKind::Wsh];
    let question = Question { feerates, locks, members: vec![2, 20], ..question(&[], &[]) };
    let page = markdown(&without_published(question));
    let head = |line: &str| page.lines().find(|found| found.starts_with(line)).map(str::to_owned);
    assert_eq!(head("With ").unwrap(), "With version 2, seed 1, and every transaction signed:");
    let titles = head("| lock ").unwrap();
    let titles: Vec<&str> = titles.split('|').map(str::trim).take(8).collect();
    assert_eq!(titles, ["", "lock", "sat/vB", "members", "what is confirmed", "transactions", "vB", "vB per member"]);
    let cells = head("| musig2 |    0.1 |      20 | F, FC ").unwrap();
    let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
    // In fees, at 0.1 sat/vB: 16 for F, 93 for A and 16 for each close.
    let expected = ["2", "1,125", "56.3", "81.7", "72.2", "429", "21.5", "33.0", "-2.6", ""];
    assert_eq!(cells[5..], expected, "{page}");
    let left_out = "left out: 20 members, wsh, version 2, 0.1 sat/vB: 20 members and the operator are 21 keys";
    assert!(head(left_out).is_some(), "{page}");
}

#[test]
fn plots_have_a_series_for_each_lock() {
    let report = ask(&[3, 9], &[LockKind::MuSig2, LockKind::Tapscript]);
    let drawn = plots(&report).unwrap();
    assert_eq!(drawn.iter().map(|plot| plot.name).collect::<Vec<_>>(), ["saved", "size", "close-fee"]);
    assert_eq!(drawn, plots(&report).unwrap());
    let has = |plot: &crate::plot::Plot, text: &str| plot.svg.contains(&format!("\n{text}\n</text>"));
    for text in ["members", "3", "9", "cooperative: F and FC, musig2", "no factory, one open, tapscript"] {
        assert!(has(&drawn[0], text), "{text}");
    }
    assert!(has(&drawn[1], "no factory, musig2") && !has(&drawn[0], "no factory, musig2"));
    assert!(has(&drawn[2], "what its size costs, tapscript"));
    // Two numbers of members and the key: a circle for each of the four ways with MuSig2.
    assert_eq!(drawn[0].svg.matches("<circle").count(), 3 * 4);
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_report() {
    published::is_up_to_date("fees.json", &schema());
}

/// Everything in the JSON is in the schema, under the same name.
#[test]
fn the_json_is_what_the_schema_describes() {
    let mut report = question(&[1], &[LockKind::MuSig2]).answer().unwrap();
    report.left_out.push(LeftOut { shape: report.factories[0].shape, why: "a limit".to_owned() });
    let json = serde_json::to_value(&report).unwrap();
    let keys = published::describes(&schema(), &json, &[]);
    assert!(keys > 100, "{keys}");
    assert_eq!(json["factories"][0]["shape"]["lock"], "musig2");
    assert_eq!(json["factories"][0]["shape"]["version"], 2);
    assert_eq!(json["factories"][0]["ways"][0]["way"], "cooperative");
}
