//! Calls to a node, with just the fields of its answers that are needed, so that every kind's answers fit.

use std::sync::Arc;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Amount, BlockHash, ScriptBuf, Transaction, Txid};
use bitcoind::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Error codes of Bitcoin Core (`src/rpc/protocol.h`) that mean: the transaction is not accepted.
const REJECTED: [i32; 3] = [-25, -26, -27];

/// A connection to one node.
#[derive(Clone, Debug)]
pub struct Rpc {
    node: Arc<str>,
    client: Arc<Client>,
}

/// Returned when a call fails.
#[derive(Debug, thiserror::Error)]
#[error("{node}: {method}: {reason}")]
pub struct RpcError {
    /// The node asked.
    pub node: Arc<str>,
    /// What was asked.
    pub method: &'static str,
    /// What went wrong.
    pub reason: RpcErrorReason,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum RpcErrorReason {
    /// The node answered with an error.
    #[error("{message} (code {code})")]
    Refused {
        /// The node's code.
        code: i32,
        /// The node's text.
        message: String,
    },
    /// No answer came, or not one that could be read.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// What a node says to a transaction that is sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It is in the node's mempool now.
    Accepted,
    /// The node refuses it, with these words.
    Rejected(String),
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

/// A block with its transactions.
#[derive(Clone, Debug, Deserialize)]
pub struct Block {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u64,
    /// The coinbase, then the others.
    pub tx: Vec<BlockTransaction>,
}

/// A transaction in a block.
#[derive(Clone, Debug, Deserialize)]
pub struct BlockTransaction {
    /// Its identifier.
    pub txid: Txid,
    /// Virtual size, in vB.
    pub vsize: u64,
    /// Weight, in WU.
    pub weight: u64,
    /// What it paid; the coinbase pays none.
    #[serde(default, with = "bitcoin::amount::serde::as_btc::opt")]
    pub fee: Option<Amount>,
    /// Its outputs.
    pub vout: Vec<Output>,
    /// The transaction itself.
    #[serde(rename = "hex", with = "bitcoin::consensus::serde::With::<bitcoin::consensus::serde::Hex>")]
    pub transaction: Transaction,
}

/// A transaction output.
#[derive(Clone, Debug, Deserialize)]
pub struct Output {
    /// What it holds.
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    pub value: Amount,
}

/// An unspent output, in the node's chain.
#[derive(Clone, Debug, Deserialize)]
pub struct Unspent {
    /// The transaction that made it.
    pub txid: Txid,
    /// Its number there.
    pub vout: u32,
    /// Who may spend it.
    #[serde(rename = "scriptPubKey")]
    pub script_pubkey: ScriptBuf,
    /// What it holds.
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    pub amount: Amount,
}

#[derive(Deserialize)]
struct Scan {
    unspents: Vec<Unspent>,
}

/// Where a node's chain stands.
#[derive(Clone, Debug, Deserialize)]
pub struct ChainInfo {
    /// The network: `regtest`.
    pub chain: String,
    /// The height of the tip.
    pub blocks: u64,
    /// The hash of the tip.
    #[serde(rename = "bestblockhash")]
    pub tip: BlockHash,
    /// The time in the tip's header, in seconds since 1970.
    pub time: u64,
}

#[derive(Deserialize)]
struct NetworkInfo {
    subversion: String,
}

#[derive(Deserialize)]
struct RpcInfo {
    logpath: String,
}

impl Rpc {
    pub(super) fn new(node: &str, client: Client) -> Self {
        Rpc { node: node.into(), client: Arc::new(client) }
    }

    /// Calls `method` and reads its answer as `T`.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node refuses, does not answer within a minute, or answers something else.
    pub async fn call<T>(&self, method: &'static str, params: Vec<Value>) -> Result<T, RpcError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let client = Arc::clone(&self.client);
        let error = |reason| RpcError { node: Arc::clone(&self.node), method, reason };
        match tokio::task::spawn_blocking(move || client.call(method, &params)).await {
            Ok(answer) => answer.map_err(|source| error(reason(source))),
            Err(join) => Err(error(RpcErrorReason::Failed(join.into()))),
        }
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

    /// Mines one block on the node's tip from its own template, with the reward to `address`.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not.
    pub async fn mine(&self, address: &Address) -> Result<Block, RpcError> {
        let [hash] = self.call::<[BlockHash; 1]>("generatetoaddress", vec![json!(1), json!(address)]).await?;
        self.block(hash).await
    }

    /// A block.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not have it.
    pub async fn block(&self, hash: BlockHash) -> Result<Block, RpcError> {
        self.call("getblock", vec![json!(hash), json!(2)]).await
    }

    /// The unspent outputs, in the node's chain and not in its mempool, that pay to `scripts`.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn unspent(&self, scripts: impl IntoIterator<Item = &ScriptBuf>) -> Result<Vec<Unspent>, RpcError> {
        let scripts: Vec<_> = scripts.into_iter().map(|script| format!("raw({})", script.to_hex_string())).collect();
        let scan: Scan = self.call("scantxoutset", vec![json!("start"), json!(scripts)]).await?;
        Ok(scan.unspents)
    }

    /// Sets the node's clock, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn set_time(&self, time: u64) -> Result<(), RpcError> {
        self.call("setmocktime", vec![json!(time)]).await
    }

    /// Where the node's chain stands.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn chain(&self) -> Result<ChainInfo, RpcError> {
        self.call("getblockchaininfo", Vec::new()).await
    }

    /// What the node calls itself on its network, such as `/Satoshi:31.99.0/`.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn user_agent(&self) -> Result<String, RpcError> {
        Ok(self.call::<NetworkInfo>("getnetworkinfo", Vec::new()).await?.subversion)
    }

    /// Where the node writes its log.
    pub(super) async fn log_path(&self) -> Result<String, RpcError> {
        Ok(self.call::<RpcInfo>("getrpcinfo", Vec::new()).await?.logpath)
    }
}

fn reason(error: bitcoind::client::Error) -> RpcErrorReason {
    match error {
        bitcoind::client::Error::JsonRpc(jsonrpc::Error::Rpc(error)) => {
            RpcErrorReason::Refused { code: error.code, message: error.message }
        }
        other => RpcErrorReason::Failed(Box::new(other)),
    }
}
