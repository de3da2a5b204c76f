//! Blocks: locks, reorganisations, conflicts and conservation.

use super::*;

/// Pays a coin of key 1 to key 2, locked for `blocks` after the coin's.
fn locked(outpoint: OutPoint, sat: u64, blocks: u16) -> Arc<Transaction> {
    let mut tx = unsigned(&[outpoint], vec![output(pays(2), sat - 1000)]);
    tx.input[0].sequence = Sequence::from_height(blocks);
    signed(tx, 1, sat)
}

#[test]
fn relative_lock_ends_exactly_at_its_height() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(1), COIN));
    let tx = locked(coin, COIN, 5);
    // The coin is at 100: a block at 105 may spend it.
    for found in 101..105 {
        let refusal = Refusal::Immature { input: 0, found, expected: 105 };
        assert_eq!(ledger.submit(&tx), Err(refusal.clone()));
        assert_eq!(ledger.mine_these(&[Arc::clone(&tx)]).unwrap_err(), refusal);
        ledger.mine();
    }
    assert_eq!(ledger.submit(&tx), Ok(Vec::new()));
    assert_eq!(ledger.mine().height, 105);
    assert_eq!(ledger.confirmed(&tx.compute_txid()), Some(105));
}

#[test]
fn a_parent_in_the_mempool_counts_as_in_the_next_block() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(3), COIN));
    let parent = pay(coin, COIN, 3, 1, 1000);
    ledger.submit(&parent).unwrap();
    let child = |blocks| locked(first_output(&parent), COIN - 1000, blocks);
    let refusal = Refusal::Immature { input: 0, found: 101, expected: 102 };
    assert_eq!(ledger.submit(&child(1)), Err(refusal.clone()));
    assert_eq!(ledger.mine_these(&[Arc::clone(&parent), child(1)]).unwrap_err(), refusal);
    ledger.mine();
    assert_eq!(ledger.submit(&child(1)), Ok(Vec::new()));
    assert_eq!(ledger.mine().height, 102);

    // A lock of no blocks lets the child follow at once.
    ledger.reorg(2).unwrap();
    ledger.mempool.evict(&[child(1).compute_txid()]);
    assert_eq!(ledger.submit(&child(0)), Ok(Vec::new()));
    assert_eq!(ledger.mine().txs, [Arc::clone(&parent), child(0)]);
}

#[test]
fn relative_locks_need_version_two_and_no_clock() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(1), COIN));
    let with = |version: i32, sequence: u32| {
        let mut tx = unsigned(&[coin], vec![output(pays(2), COIN - 1000)]);
        (tx.version, tx.input[0].sequence) = (Version(version), Sequence(sequence));
        signed(tx, 1, COIN)
    };
    assert_eq!(ledger.submit(&with(2, 1 << 22 | 1)), Err(Refusal::TimeLock));
    assert!(matches!(ledger.submit(&with(3, 9)), Err(Refusal::Immature { expected: 109, .. })));
    assert_eq!(ledger.submit(&with(1, 9)), Ok(Vec::new()));
}

#[test]
fn absolute_locks_count_unless_every_input_is_final() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(1), COIN));
    let with = |lock: u32, sequence| {
        let mut tx = unsigned(&[coin], vec![output(pays(2), COIN - 1000)]);
        tx.lock_time = LockTime::from_consensus(lock);
        tx.input[0].sequence = sequence;
        signed(tx, 1, COIN)
    };
    let rbf = Sequence::ENABLE_RBF_NO_LOCKTIME;
    assert_eq!(ledger.submit(&with(101, rbf)), Err(Refusal::NotFinal { found: 101, expected: 101 }));
    assert_eq!(ledger.submit(&with(500_000_000, rbf)), Err(Refusal::TimeLock));
    assert_eq!(ledger.submit(&with(100, rbf)), Ok(Vec::new()));
    assert!(ledger.mine_these(&[with(999, Sequence::MAX)]).is_ok());
}

#[test]
fn value_is_never_created() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(1), COIN));
    let more = signed(unsigned(&[coin], vec![output(pays(2), COIN + 1)]), 1, COIN);
    let refusal = Refusal::ValueCreated { found: u128::from(COIN) + 1, expected: COIN.into() };
    assert_eq!(ledger.submit(&more), Err(refusal.clone()));
    assert_eq!(ledger.mine_these(&[more]).unwrap_err(), refusal);
    // Sums that go around the end of 64 bits are no way either.
    let around = signed(unsigned(&[coin], vec![output(pays(2), u64::MAX), output(pays(2), COIN)]), 1, COIN);
    assert!(matches!(ledger.mine_these(&[around]), Err(Refusal::ValueCreated { .. })));
    let twice = Arc::new(unsigned(&[coin, coin], vec![output(pays(2), COIN)]));
    assert_eq!(ledger.mine_these(&[twice]).unwrap_err(), Refusal::DuplicateInput { outpoint: coin });
    assert!(ledger.is_conserved());
    assert_eq!(ledger.balance(&pays(1)), Amount::from_sat(COIN));
}

#[test]
fn inputs_are_there_once() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(1), COIN));
    let (tx, rival) = (pay(coin, COIN, 1, 2, 1000), pay(coin, COIN, 1, 3, 1000));
    let by = tx.compute_txid();
    let child = pay(first_output(&tx), COIN - 1000, 2, 3, 1000);
    let missing = Refusal::MissingInput { input: 0, outpoint: first_output(&tx) };
    assert_eq!(ledger.submit(&child), Err(missing.clone()));
    assert_eq!(ledger.mine_these(&[Arc::clone(&child), Arc::clone(&tx)]).unwrap_err(), missing);
    // The first would be valid: but nothing of a block that is refused remains.
    let spent = Refusal::SpentInput { input: 0, outpoint: coin, by };
    assert_eq!(ledger.mine_these(&[Arc::clone(&tx), Arc::clone(&rival)]).unwrap_err(), spent);
    assert!(ledger.unspent(&coin).is_some() && ledger.confirmed(&by).is_none() && ledger.is_conserved());
    assert_eq!(ledger.height(), START);
    // A parent in the mempool is enough for the mempool, and not for a block.
    ledger.submit(&tx).unwrap();
    assert_eq!(ledger.mine_these(&[Arc::clone(&child)]).unwrap_err(), missing);
    assert_eq!(ledger.submit(&child), Ok(Vec::new()));
    ledger.mine_these(&[tx, child]).unwrap();
    assert_eq!(ledger.submit(&rival), Err(spent));
    assert!(ledger.unspent(&coin).is_none());
    let none = signed(unsigned(&[coin], vec![]), 1, COIN);
    assert_eq!(ledger.submit(&none), Err(Refusal::Empty { inputs: 1, outputs: 0 }));
}

#[test]
fn a_mined_conflict_evicts_with_descendants() {
    let mut ledger = ledger();
    let coins = [1, 1].map(|n| ledger.mint(output(pays(n), COIN)));
    let parent = pay(coins[0], COIN, 1, 2, 1000);
    let child = pay(first_output(&parent), COIN - 1000, 2, 3, 1000);
    let bystander = pay(coins[1], COIN, 1, 4, 1000);
    for tx in [&parent, &child, &bystander] {
        ledger.submit(tx).unwrap();
    }
    // A miner may take a rival that the mempool would refuse, and pay no fee at all.
    let rival = pay(coins[0], COIN, 1, 5, 0);
    let block = ledger.mine_these(&[Arc::clone(&rival)]).unwrap();
    assert_eq!(block.txs, [rival]);
    let waits = [&parent, &child, &bystander].map(|tx| ledger.in_mempool(&tx.compute_txid()));
    assert_eq!(waits, [false, false, true]);
    assert_eq!(ledger.mine().txs, [bystander]);
    assert!(ledger.is_conserved());
}

#[test]
fn a_reorg_puts_back_what_fits() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(3), COIN));
    let parent = pay(coin, COIN, 3, 1, 1000);
    let sat = COIN - 1000;
    let child = locked(first_output(&parent), sat, 2);
    let grandchild = pay(first_output(&child), sat - 1000, 2, 4, 1000);
    ledger.submit(&parent).unwrap();
    ledger.mine();
    ledger.mine();
    ledger.submit(&child).unwrap();
    ledger.mine();
    ledger.submit(&grandchild).unwrap();
    let late = ledger.mint(output(pays(7), COIN));
    assert_eq!(ledger.height(), 103);
    assert_eq!(ledger.reorg(4), Err(ReorgError { found: 4, most: 3 }));

    // One block: the child is valid in the next block, and what spends it stays.
    assert_eq!(ledger.reorg(1), Ok(102));
    assert!(ledger.in_mempool(&child.compute_txid()) && ledger.in_mempool(&grandchild.compute_txid()));
    assert!(ledger.unspent(&first_output(&parent)).is_some() && ledger.block(103).is_none());
    assert!(ledger.unspent(&late).is_some() && ledger.is_conserved());

    // All: the child's lock counts from a parent without a block, so only the parent fits.
    assert_eq!(ledger.reorg(2), Ok(START));
    let waits = [&parent, &child, &grandchild].map(|tx| ledger.in_mempool(&tx.compute_txid()));
    assert_eq!(waits, [true, false, false]);
    assert_eq!(ledger.confirmed(&parent.compute_txid()), None);
    assert_eq!(ledger.balance(&pays(3)), Amount::from_sat(COIN));
    assert!(ledger.is_conserved());

    // The late coin's locks count from where the chain ended.
    assert_eq!(ledger.mine().txs, [Arc::clone(&parent)]);
    let mut tx = unsigned(&[late], vec![output(pays(8), COIN - 1000)]);
    tx.input[0].sequence = Sequence::from_height(2);
    assert_eq!(ledger.submit(&signed(tx, 7, COIN)), Ok(Vec::new()));
    assert_eq!(ledger.block(101).unwrap().txs, [parent]);
    assert!(ledger.block(100).is_none() && ledger.block(0).is_none());
}

#[test]
fn a_reorg_keeps_chains_of_transactions_together() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(1), COIN));
    let mut txs = vec![pay(coin, COIN, 1, 1, 1000)];
    for sat in [COIN - 1000, COIN - 2000, COIN - 3000] {
        txs.push(pay(first_output(txs.last().unwrap()), sat, 1, 1, 1000));
    }
    ledger.mine_these(&txs[..1]).unwrap();
    ledger.mine_these(&txs[1..3]).unwrap();
    ledger.submit(&txs[3]).unwrap();
    ledger.reorg(2).unwrap();
    assert!(txs.iter().all(|tx| ledger.in_mempool(&tx.compute_txid())));
    assert_eq!(ledger.mine().txs, txs);
    assert!(ledger.is_conserved());
}

#[test]
fn a_reorg_lets_a_rival_win() {
    let mut ledger = ledger();
    let coin = ledger.mint(output(pays(1), COIN));
    let (tx, rival) = (pay(coin, COIN, 1, 2, 50), pay(coin, COIN, 1, 3, 2000));
    // Below the minimum feerate: a miner took it, so the mempool has it after the reorganisation.
    ledger.mine_these(&[Arc::clone(&tx)]).unwrap();
    ledger.reorg(1).unwrap();
    assert!(ledger.in_mempool(&tx.compute_txid()));
    assert_eq!(ledger.submit(&rival), Ok(vec![tx.compute_txid()]));
    ledger.mine();
    assert_eq!(ledger.confirmed(&rival.compute_txid()), Some(101));
    assert!(ledger.is_conserved());
}

#[test]
fn conservation_notices_a_lost_or_forged_coin() {
    let mut ledger = ledger();
    let coins = [1, 2, 3].map(|n| ledger.mint(output(pays(n), COIN)));
    for (coin, n) in coins.into_iter().zip(1..) {
        ledger.submit(&pay(coin, COIN, n, n + 1, 1000 * u64::from(n))).unwrap();
        ledger.mine();
        assert!(ledger.is_conserved());
    }
    assert_eq!(ledger.balance(&pays(2)), Amount::from_sat(COIN - 1000));
    ledger.chain.forge();
    assert!(!ledger.is_conserved());
}
