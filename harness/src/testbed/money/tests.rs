//! What the harness checks of itself, with a harness or a node that is off by one: honest ones never are.

use bitcoin::Amount;
use factory_core::{Change, Party, TxName};

use crate::ledger::Measured;
use crate::node::{Block, BlockTransaction};
use crate::testbed::{Stop, Testbed};

const MEMBERS: u32 = 2;

/// A factory that was closed at once, in the last block.
async fn closed() -> Testbed {
    let mut bed = Testbed::builder().members(MEMBERS).start().await.unwrap();
    bed.open().await.unwrap();
    bed.pay("operator", "m0", Amount::from_sat(100_000)).await.unwrap();
    bed.sign_closes().await.unwrap();
    bed.sign_factory_close().await.unwrap();
    bed.send("operator", "factory-close").await.unwrap();
    bed.mine(1).await.unwrap();
    bed
}

/// What is said in the end.
async fn failures(bed: Testbed) -> Vec<String> {
    match bed.finish().await {
        Ok(_) => Vec::new(),
        Err(Stop::Fail(failures)) => failures.split("; ").map(str::to_owned).collect(),
        Err(other) => panic!("{other}"),
    }
}

/// Has the node tell other sizes and another fee of the confirmed factory close than it has.
fn retell(bed: &mut Testbed, change: impl FnOnce(&mut Measured)) {
    let name = TxName::FactoryClose(0);
    let place = &mut bed.network.places[0];
    let record = place.ledger.get(name).unwrap();
    let mut told = record.measured.unwrap();
    change(&mut told);
    let tx = record.tx.transaction();
    let tx = BlockTransaction {
        txid: tx.compute_txid(),
        vsize: told.vsize,
        weight: told.weight,
        fee: Some(told.fee),
        vout: Vec::new(),
        transaction: (**tx).clone(),
    };
    let (height, hash) = (place.chain.height(), place.chain.tip());
    place.ledger.mined(&Block { hash, height, previous: None, tx: vec![tx] });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_passes() {
    assert_eq!(failures(closed().await).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_lost_or_made_is_found() {
    for (off, shown) in [(-1, 2_000_153), (1, 2_000_155)] {
        let mut bed = closed().await;
        retell(&mut bed, |told| told.fee = Amount::from_sat(told.fee.to_sat().checked_add_signed(off).unwrap()));
        let failures = failures(bed).await;
        assert!(
            failures.iter().any(|failure| failure.contains("went into the factory, and its outputs")
                && failure.ends_with(&format!("make {shown} sat"))),
            "{failures:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_measures_otherwise_is_found() {
    let changes: [fn(&mut Measured); 3] =
        [|told| told.vsize += 1, |told| told.weight -= 1, |told| told.fee += Amount::from_sat(1)];
    for change in changes {
        let mut bed = closed().await;
        retell(&mut bed, change);
        let failures = failures(bed).await;
        assert!(
            failures.iter().any(|failure| failure.contains("factory-close: node measures Measured")),
            "{failures:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_that_is_not_due_is_found() {
    // The harness's own record has a satoshi more with the member than the parties have.
    let mut bed = closed().await;
    let state = bed.book.channel(0).number() as u32 + 1;
    bed.book.enter(0, Party::Operator, Change::Pay { amount: Amount::ONE_SAT }, state).unwrap();
    let failures = failures(bed).await;
    assert_eq!(
        failures,
        ["operator ends with 1899692 sat, expected 1899691 sat", "m0 ends with 100000 sat, expected 100001 sat"]
    );
}
