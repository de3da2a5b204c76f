//! The mempool: fees, replacement, dust.

use super::*;

/// A ledger with one coin of key 1.
fn one_coin() -> (Ledger, OutPoint) {
    let mut ledger = ledger();
    let outpoint = ledger.mint(output(pays(1), COIN));
    (ledger, outpoint)
}

/// Size of [`pay`], in vB.
fn pay_vsize() -> u64 {
    pay(OutPoint::null(), COIN, 1, 1, 0).vsize() as u64
}

#[test]
fn minimum_feerate_is_rounded_up() {
    let (mut ledger, coin) = one_coin();
    let needed = pay_vsize();
    let refusal = ledger.submit(&pay(coin, COIN, 1, 2, needed - 1)).unwrap_err();
    assert_eq!(refusal, Refusal::FeeTooLow { needed: Amount::from_sat(needed), found: Amount::from_sat(needed - 1) });
    assert_eq!(ledger.submit(&pay(coin, COIN, 1, 2, needed)), Ok(Vec::new()));

    // 0.1 sat/vB of 111 vB are 11.1 sat.
    let mut ledger = Ledger::new(START, FeeRate::from_sat_per_kwu(25));
    let coin = ledger.mint(output(pays(1), COIN));
    assert_eq!(needed, 111);
    assert!(matches!(ledger.submit(&pay(coin, COIN, 1, 2, 11)), Err(Refusal::FeeTooLow { .. })));
    assert_eq!(ledger.submit(&pay(coin, COIN, 1, 2, 12)), Ok(Vec::new()));
}

#[test]
fn dust_is_for_miners_only() {
    let (mut ledger, coin) = one_coin();
    let with = |sat| signed(unsigned(&[coin], vec![output(pays(2), 50_000), output(pays(3), sat)]), 1, COIN);
    let (found, expected) = (Amount::from_sat(329), Amount::from_sat(330));
    assert_eq!(ledger.submit(&with(329)), Err(Refusal::Dust { output: 1, found, expected }));
    assert_eq!(ledger.submit(&with(330)), Ok(Vec::new()));
    assert!(ledger.mine_these(&[with(329)]).is_ok());
    assert!(!ledger.in_mempool(&with(330).compute_txid()));
}

#[test]
fn replacement_pays_for_its_relay_too() {
    let (mut ledger, coin) = one_coin();
    let (first, relay) = (pay(coin, COIN, 1, 2, 1000), pay_vsize());
    let replacement = |fee| pay(coin, COIN, 1, 3, fee);
    ledger.submit(&first).unwrap();
    let needed = Amount::from_sat(1000 + relay);
    for fee in [500, 1000, 1000 + relay - 1] {
        let refusal = Refusal::ReplacementFee { needed, found: Amount::from_sat(fee) };
        assert_eq!(ledger.submit(&replacement(fee)), Err(refusal), "fee {fee}");
        assert!(ledger.in_mempool(&first.compute_txid()));
    }
    let enough = replacement(1000 + relay);
    assert_eq!(ledger.submit(&enough), Ok(vec![first.compute_txid()]));
    assert!(ledger.in_mempool(&enough.compute_txid()) && !ledger.in_mempool(&first.compute_txid()));
    assert_eq!(ledger.mine().txs, [enough]);
    assert!(ledger.is_conserved());
}

#[test]
fn replacement_pays_for_the_descendants_it_evicts() {
    let (mut ledger, coin) = one_coin();
    let parent = pay(coin, COIN, 1, 2, 1000);
    let child = pay(first_output(&parent), COIN - 1000, 2, 3, 2000);
    let grandchild = pay(first_output(&child), COIN - 3000, 3, 4, 4000);
    for tx in [&parent, &child, &grandchild] {
        ledger.submit(tx).unwrap();
    }
    let needed = 7000 + pay_vsize();
    let refusal = ledger.submit(&pay(coin, COIN, 1, 5, needed - 1)).unwrap_err();
    let (needed, found) = (Amount::from_sat(needed), Amount::from_sat(needed - 1));
    assert_eq!(refusal, Refusal::ReplacementFee { needed, found });
    let mut replaced = ledger.submit(&pay(coin, COIN, 1, 5, needed.to_sat())).unwrap();
    let mut expected = [&parent, &child, &grandchild].map(|tx| tx.compute_txid());
    replaced.sort();
    expected.sort();
    assert_eq!(replaced, expected);
    assert_eq!(ledger.mine().txs.len(), 1);
}

#[test]
fn replacement_needs_a_higher_feerate_than_each_conflict() {
    let (mut ledger, coin) = one_coin();
    let first = pay(coin, COIN, 1, 2, 10 * pay_vsize());
    ledger.submit(&first).unwrap();
    // Twice as large or so: its fee pays for its relay long before its feerate is higher.
    let large = |fee: u64| {
        let outputs = (0..4).map(|n| output(pays(n + 3), if n == 0 { COIN - 3000 - fee } else { 1000 })).collect();
        signed(unsigned(&[coin], outputs), 1, COIN)
    };
    let tie = 10 * large(0).vsize() as u64;
    let (needed, found) = (Amount::from_sat(tie + 1), Amount::from_sat(tie));
    assert_eq!(ledger.submit(&large(tie)), Err(Refusal::ReplacementFee { needed, found }));
    assert_eq!(ledger.submit(&large(tie + 1)), Ok(vec![first.compute_txid()]));
}

#[test]
fn replacement_needs_a_signal_of_the_conflict_or_an_ancestor() {
    let (mut ledger, coin) = one_coin();
    let no_signal = |outpoint, sat, from, fee: u64| {
        let mut tx = unsigned(&[outpoint], vec![output(pays(2), sat - fee)]);
        tx.input[0].sequence = Sequence::ENABLE_LOCKTIME_NO_RBF;
        signed(tx, from, sat)
    };
    let first = no_signal(coin, COIN, 1, 1000);
    ledger.submit(&first).unwrap();
    let refusal = Refusal::NotReplaceable { conflict: first.compute_txid() };
    assert_eq!(ledger.submit(&pay(coin, COIN, 1, 3, 9000)), Err(refusal));

    let (mut ledger, coin) = one_coin();
    let parent = pay(coin, COIN, 1, 2, 1000);
    let child = no_signal(first_output(&parent), COIN - 1000, 2, 1000);
    ledger.submit(&parent).unwrap();
    ledger.submit(&child).unwrap();
    let other_child = pay(first_output(&parent), COIN - 1000, 2, 3, 9000);
    assert_eq!(ledger.submit(&other_child), Ok(vec![child.compute_txid()]));
}

#[test]
fn replacement_cannot_spend_what_it_replaces() {
    let (mut ledger, coin) = one_coin();
    let first = pay(coin, COIN, 1, 1, 1000);
    ledger.submit(&first).unwrap();
    let spent = [output(pays(1), COIN), output(pays(1), COIN - 1000)];
    let mut tx = unsigned(&[coin, first_output(&first)], vec![output(pays(2), COIN)]);
    for input in 0..2 {
        let signature = schnorr(&tx, input, &spent, 1, None, TapSighashType::Default);
        tx.input[input].witness = Witness::from_slice(&[signature]);
    }
    let refusal = Refusal::SpendsReplaced { conflict: first.compute_txid() };
    assert_eq!(ledger.submit(&Arc::new(tx)), Err(refusal));
    assert!(ledger.in_mempool(&first.compute_txid()));
}

#[test]
fn a_second_offer_changes_nothing() {
    let (mut ledger, coin) = one_coin();
    let tx = pay(coin, COIN, 1, 2, 1000);
    ledger.submit(&tx).unwrap();
    assert_eq!(ledger.submit(&tx), Ok(Vec::new()));
    let mut other = (*tx).clone();
    other.input[0].witness = Witness::from_slice(&[[1; 64]]);
    let txid = tx.compute_txid();
    assert_eq!(ledger.submit(&Arc::new(other)), Err(Refusal::OtherWitness { txid }));
    assert_eq!(ledger.mine().txs, [Arc::clone(&tx)]);
    assert_eq!(ledger.submit(&tx), Err(Refusal::AlreadyConfirmed { txid, height: START + 1 }));
}

#[test]
fn a_block_has_parents_first_and_then_the_highest_feerates() {
    let mut ledger = ledger();
    let coins = [1, 2, 3].map(|n| ledger.mint(output(pays(n), COIN)));
    let low = pay(coins[0], COIN, 1, 4, 200);
    let child = pay(first_output(&low), COIN - 200, 4, 5, 5000);
    let middle = pay(coins[1], COIN, 2, 6, 1000);
    let same = pay(coins[2], COIN, 3, 6, 1000);
    for tx in [&low, &child, &middle, &same] {
        ledger.submit(tx).unwrap();
    }
    assert_eq!(ledger.mine().txs, [middle, same, low, child]);
    assert_eq!(ledger.balance(&pays(6)), Amount::from_sat(2 * (COIN - 1000)));
    assert_eq!(ledger.balance(&pays(4)), Amount::ZERO);
    assert!(ledger.is_conserved());
}
