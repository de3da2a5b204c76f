//! What a node says about transactions that are not in a block.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, Transaction, Txid, Wtxid};
use factory_core::replacement::RelayRate;
use serde::Deserialize;
use serde_json::json;

use super::client::{Rpc, RpcError, RpcErrorReason};

/// Error codes of Bitcoin Core (`src/rpc/protocol.h`) that mean: the transaction is not accepted.
const REJECTED: [i32; 3] = [-25, -26, -27];

/// What a node says to a transaction that it has.
const ALREADY_THERE: &str = "txn-already-in-mempool";
/// What it says to one of which it has the same with another witness.
const OTHER_WITNESS_THERE: &str = "txn-same-nonwitness-data-in-mempool";
/// How Knots says that it holds version 3 to its topology.
const TRUC_ENFORCED: &str = "enforce";
/// What stands for the reason that a node does not give.
const NO_REASON: &str = "the node gives no reason";

/// What a node says to a transaction that is sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It is in the node's mempool now.
    Accepted,
    /// The node refuses it, with these words.
    Rejected(String),
}

/// What a node would say to a transaction, were it sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It would take it.
    Accepted,
    /// It has it already, or the same with another witness.
    AlreadyInMempool,
    /// It would refuse it, with these words.
    Rejected(String),
}

/// What a node says to transactions that are sent to it together.
#[derive(Clone, Debug)]
pub struct PackageSubmission {
    /// The node's word on the whole: `success`, or why not.
    pub message: String,
    /// What it says to each, in the order in which they were given.
    pub transactions: Vec<PackageTransaction>,
    /// Those that had to leave the mempool for them.
    pub replaced: Vec<Txid>,
}

/// One of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageTransaction {
    /// Its identifier.
    pub txid: Txid,
    /// Whether it is in the mempool now, be it because it was there before.
    pub outcome: Submission,
}

/// A transaction as a node's mempool sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct MempoolEntry {
    /// Virtual size, in vB.
    pub vsize: u64,
    /// Weight, in WU.
    pub weight: u64,
    /// Its fees.
    pub fees: MempoolFees,
}

/// The fees of a transaction in a mempool.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct MempoolFees {
    /// What it pays itself.
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    pub base: Amount,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TestResult {
    /// Absent if another transaction ended the test.
    allowed: Option<bool>,
    reject_reason: Option<String>,
    /// The reason with more words, where the node's kind knows them.
    reject_details: Option<String>,
}

#[derive(Deserialize)]
struct PackageResult {
    package_msg: String,
    #[serde(rename = "tx-results")]
    transactions: HashMap<Wtxid, PackageTransactionResult>,
    #[serde(rename = "replaced-transactions", default)]
    replaced: Vec<Txid>,
}

#[derive(Deserialize)]
struct PackageTransactionResult {
    error: Option<String>,
    /// The one in the mempool that has the same identifier, and another witness.
    #[serde(rename = "other-wtxid")]
    other: Option<Wtxid>,
}

/// What a node tells of its mempool's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolRules {
    /// What a replacement pays for its own relay.
    pub incremental: RelayRate,
    /// The least that is relayed.
    pub relay_minimum: RelayRate,
    /// The least that gets into its mempool as full as it is.
    pub mempool_minimum: RelayRate,
    /// How many transactions may be in a cluster, and how many vB they may have; told by kinds with a cluster mempool.
    pub cluster: Option<(u64, u64)>,
    /// Whether version 3 is held to its topology; told by kinds where that is an option.
    pub truc: Option<bool>,
}

#[derive(Deserialize)]
struct MempoolInfo {
    loaded: bool,
    #[serde(rename = "incrementalrelayfee", with = "bitcoin::amount::serde::as_btc")]
    incremental: Amount,
    #[serde(rename = "minrelaytxfee", with = "bitcoin::amount::serde::as_btc")]
    relay_minimum: Amount,
    #[serde(rename = "mempoolminfee", with = "bitcoin::amount::serde::as_btc")]
    mempool_minimum: Amount,
    #[serde(rename = "limitclustercount")]
    cluster_count: Option<u64>,
    #[serde(rename = "limitclustersize")]
    cluster_vsize: Option<u64>,
    truc_policy: Option<String>,
}

impl Rpc {
    /// Whether the node has read the mempool that it wrote when it was stopped.
    pub(in crate::node) async fn mempool_is_loaded(&self) -> Result<bool, RpcError> {
        Ok(self.call::<MempoolInfo>("getmempoolinfo", Vec::new()).await?.loaded)
    }

    /// What the node tells of its mempool's rules at this moment.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn mempool_rules(&self) -> Result<MempoolRules, RpcError> {
        let told: MempoolInfo = self.call("getmempoolinfo", Vec::new()).await?;
        let rate = |per_kilo: Amount| RelayRate(per_kilo.to_sat());
        Ok(MempoolRules {
            incremental: rate(told.incremental),
            relay_minimum: rate(told.relay_minimum),
            mempool_minimum: rate(told.mempool_minimum),
            cluster: told.cluster_count.zip(told.cluster_vsize),
            truc: told.truc_policy.map(|policy| policy == TRUC_ENFORCED),
        })
    }

    /// Sends a transaction to the node, which relays it if it accepts it. Any fee is taken.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node gives no judgement.
    pub async fn submit(&self, tx: &Transaction) -> Result<Submission, RpcError> {
        // The second argument lifts the limit on absurd feerates: the harness chooses the fee.
        match self.call::<Txid>("sendrawtransaction", vec![json!(serialize_hex(tx)), json!(0)]).await {
            Ok(_) => Ok(Submission::Accepted),
            Err(RpcError { reason: RpcErrorReason::Refused { code, message }, .. }) if REJECTED.contains(&code) => {
                Ok(Submission::Rejected(message))
            }
            Err(error) => Err(error),
        }
    }

    /// Like [`Rpc::submit`], for several, one after the other in their order.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node gives no judgement of one.
    pub async fn submit_each<'a>(
        &self,
        txs: impl IntoIterator<Item = &'a Transaction>,
    ) -> Result<Vec<Submission>, RpcError> {
        let method = "sendrawtransaction";
        let params = txs.into_iter().map(|tx| vec![json!(serialize_hex(tx)), json!(0)]).collect();
        let answers = self.call_each::<Txid>(method, params).await?;
        let judged = answers.into_iter().map(|answer| match answer {
            Ok(_) => Ok(Submission::Accepted),
            Err(RpcErrorReason::Refused { code, message }) if REJECTED.contains(&code) => {
                Ok(Submission::Rejected(message))
            }
            Err(reason) => Err(RpcError { node: Arc::clone(self.node()), method, reason }),
        });
        judged.collect()
    }

    /// The transactions in the node's mempool.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn mempool(&self) -> Result<Vec<Txid>, RpcError> {
        self.call("getrawmempool", Vec::new()).await
    }

    /// One transaction in the node's mempool.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if it is not there.
    pub async fn mempool_entry(&self, txid: Txid) -> Result<MempoolEntry, RpcError> {
        self.call("getmempoolentry", vec![json!(txid)]).await
    }

    /// Asks the node what it would say to a transaction. Any fee is taken.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node gives no judgement.
    pub async fn test_accept(&self, tx: &Transaction) -> Result<Acceptance, RpcError> {
        let params = vec![json!([serialize_hex(tx)]), json!(0)];
        let [result] = self.call::<[TestResult; 1]>("testmempoolaccept", params).await?;
        if result.allowed == Some(true) {
            return Ok(Acceptance::Accepted);
        }
        Ok(match result.reject_reason.as_deref() {
            Some(ALREADY_THERE | OTHER_WITNESS_THERE) => Acceptance::AlreadyInMempool,
            reason => Acceptance::Rejected(
                result.reject_details.or(reason.map(str::to_owned)).unwrap_or_else(|| NO_REASON.to_owned()),
            ),
        })
    }

    /// Sends transactions to the node that are judged together: parents, and last their child. Any fee is taken.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node gives no judgement, as for transactions that are no such package.
    pub async fn submit_package(&self, txs: &[Transaction]) -> Result<PackageSubmission, RpcError> {
        let hex: Vec<_> = txs.iter().map(serialize_hex).collect();
        let result: PackageResult = self.call("submitpackage", vec![json!(hex), json!(0)]).await?;
        let outcome = |tx: &Transaction| match result.transactions.get(&tx.compute_wtxid()) {
            Some(PackageTransactionResult { error: Some(error), .. }) => Submission::Rejected(error.clone()),
            Some(PackageTransactionResult { other: Some(_), .. }) => {
                Submission::Rejected(OTHER_WITNESS_THERE.to_owned())
            }
            Some(_) => Submission::Accepted,
            None => Submission::Rejected(NO_REASON.to_owned()),
        };
        let transactions =
            txs.iter().map(|tx| PackageTransaction { txid: tx.compute_txid(), outcome: outcome(tx) }).collect();
        Ok(PackageSubmission { message: result.package_msg, transactions, replaced: result.replaced })
    }
}
