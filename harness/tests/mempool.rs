//! What nodes of every kind say to transactions, alone and in packages, and to blocks that are put together by hand.

mod support;

use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Txid};
use factory_core::tx::funding::{self, Coin};
use shopfloor::node::snapshot::{address, faucet};
use shopfloor::node::{Acceptance, Ingredient, Kind, PackageSubmission, RpcErrorReason, Submission};
use support::{is_there, spend, start};

/// Spends the first output of `parent`, at so many satoshi per virtual byte.
fn child_of(parent: &Transaction, feerate: u64) -> Transaction {
    let coin = Coin { outpoint: OutPoint::new(parent.compute_txid(), 0), value: parent.output[0].value };
    let output = TxOut { value: Amount::from_sat(10_000), script_pubkey: faucet().script_pubkey().clone() };
    let feerate = FeeRate::from_sat_per_vb(feerate).unwrap();
    let child = funding::build(&faucet(), &[coin], output, feerate).unwrap();
    Transaction::clone(child.transaction())
}

fn outcomes(submission: &PackageSubmission) -> Vec<(Txid, bool)> {
    let transactions = submission.transactions.iter();
    transactions.map(|tx| (tx.txid, tx.outcome == Submission::Accepted)).collect()
}

async fn judgements(kind: Kind) {
    if !is_there(kind) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, node) = start(kind, dir.path()).await;
    let rpc = node.rpc();
    let script = faucet().script_pubkey().clone();

    let tx = spend(&snapshot, 0, &script, 5);
    assert_eq!(rpc.test_accept(&tx).await.unwrap(), Acceptance::Accepted);
    assert!(rpc.mempool().await.unwrap().is_empty());
    rpc.submit(&tx).await.unwrap();
    assert_eq!(rpc.test_accept(&tx).await.unwrap(), Acceptance::AlreadyInMempool);
    let mut other_witness = Transaction::clone(&tx);
    other_witness.input[0].witness.push([1]);
    assert_eq!(rpc.test_accept(&other_witness).await.unwrap(), Acceptance::AlreadyInMempool);
    // The same coin for less: the words are those with which the node refuses it.
    let cheaper = spend(&snapshot, 0, &script, 4);
    let Acceptance::Rejected(reason) = rpc.test_accept(&cheaper).await.unwrap() else { panic!("it is cheaper") };
    assert!(reason.contains("insufficient fee"), "{reason}");
    let Submission::Rejected(words) = rpc.submit(&cheaper).await.unwrap() else { panic!("it is cheaper") };
    assert!(words.contains("insufficient fee"), "{words}");

    // With cluster mempool, a parent of version 2 that pays nothing gets in with its child, and not without.
    let feerate = match kind {
        Kind::Core31 => 0,
        Kind::Core30 | Kind::Core29 | Kind::Core28 | Kind::Knots29 => 1,
    };
    let mut parent = Transaction::clone(&spend(&snapshot, 1, &script, feerate));
    let alone = rpc.test_accept(&parent).await.unwrap();
    assert_eq!(alone == Acceptance::Accepted, feerate > 0, "{alone:?}");
    let child = child_of(&parent, 10);
    let taken = rpc.submit_package(&[parent.clone(), child.clone()]).await.unwrap();
    assert_eq!(taken.message, "success");
    assert_eq!(outcomes(&taken), [(parent.compute_txid(), true), (child.compute_txid(), true)]);
    assert!(taken.replaced.is_empty());
    // With a better child, it takes the place of the other.
    let better = child_of(&parent, 20);
    let taken = rpc.submit_package(&[parent.clone(), better.clone()]).await.unwrap();
    assert_eq!(outcomes(&taken), [(parent.compute_txid(), true), (better.compute_txid(), true)]);
    assert_eq!(taken.replaced, [child.compute_txid()]);
    // One that is not signed is refused by name.
    parent.version = Version::ONE;
    let orphan = child_of(&parent, 10);
    let refused = rpc.submit_package(&[parent.clone(), orphan.clone()]).await.unwrap();
    assert_ne!(refused.message, "success");
    assert_eq!(outcomes(&refused), [(parent.compute_txid(), false), (orphan.compute_txid(), false)]);
    let error = rpc.submit_package(&[Transaction::clone(&tx), child]).await.unwrap_err();
    assert!(matches!(error.reason, RpcErrorReason::Refused { .. }), "{error}");

    // A block of just these, in this order.
    let given = spend(&snapshot, 2, &script, 1);
    let chosen = [Ingredient::InMempool(tx.compute_txid()), Ingredient::Given(&given)];
    let block = rpc.generate_block(&address(&faucet()), &chosen).await.unwrap();
    let txids: Vec<Txid> = block.tx[1..].iter().map(|tx| tx.txid).collect();
    assert_eq!(txids, [tx.compute_txid(), given.compute_txid()]);
    assert_eq!(rpc.best_block().await.unwrap(), block.hash);
    let left = rpc.mempool().await.unwrap();
    assert!(left.len() == 2 && left.contains(&better.compute_txid()), "{left:?}");
    assert!(matches!(rpc.test_accept(&tx).await.unwrap(), Acceptance::Rejected(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn core_31_judges() {
    judgements(Kind::Core31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_30_judges() {
    judgements(Kind::Core30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_29_judges() {
    judgements(Kind::Core29).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knots_29_judges() {
    judgements(Kind::Knots29).await;
}
