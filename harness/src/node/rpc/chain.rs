//! What a node says about its chain, and blocks that are made or taken in.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Amount, BlockHash, ScriptBuf, Transaction, Txid};
use serde::Deserialize;
use serde_json::json;

use super::client::{Rpc, RpcError};

/// A block with its transactions.
#[derive(Clone, Debug, Deserialize)]
pub struct Block {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u64,
    /// The hash of the block before it; the first block of all has none.
    #[serde(rename = "previousblockhash")]
    pub previous: Option<BlockHash>,
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

/// What a node says to a block that is given to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockSubmission {
    /// It is valid, and the node's tip now.
    Accepted,
    /// The node had it already.
    Known,
    /// The node has stored it, and has not connected it: it does not belong to the best chain that the node knows.
    Aside,
    /// The node refuses it, with these words.
    Rejected(String),
}

/// A transaction for a block that is put together by hand.
#[derive(Clone, Copy, Debug)]
pub enum Ingredient<'a> {
    /// One that is in the node's mempool.
    InMempool(Txid),
    /// One that need not be there.
    Given(&'a Transaction),
}

/// A block in full, as the node keeps it.
#[derive(Deserialize)]
#[serde(transparent)]
struct RawBlock(#[serde(with = "bitcoin::consensus::serde::With::<bitcoin::consensus::serde::Hex>")] bitcoin::Block);

#[derive(Deserialize)]
struct Generated {
    hash: BlockHash,
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

impl Rpc {
    /// Mines one block on the node's tip from its own template, with the reward to `address`.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not.
    pub async fn mine(&self, address: &Address) -> Result<Block, RpcError> {
        self.block(self.generate(address).await?).await
    }

    /// Like [`Rpc::mine`], for who needs no more than the block's hash.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not.
    pub async fn generate(&self, address: &Address) -> Result<BlockHash, RpcError> {
        let [hash] = self.call::<[BlockHash; 1]>("generatetoaddress", vec![json!(1), json!(address)]).await?;
        Ok(hash)
    }

    /// A block.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not have it.
    pub async fn block(&self, hash: BlockHash) -> Result<Block, RpcError> {
        self.call("getblock", vec![json!(hash), json!(2)]).await
    }

    /// Mines one block on the node's tip with just `transactions`, in their order, and the reward to `address`. The
    /// fees of given transactions are not taken.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not, as for transactions that would make the block invalid.
    pub async fn generate_block(&self, address: &Address, transactions: &[Ingredient<'_>]) -> Result<Block, RpcError> {
        let transactions: Vec<_> = transactions
            .iter()
            .map(|ingredient| match ingredient {
                Ingredient::InMempool(txid) => txid.to_string(),
                Ingredient::Given(tx) => serialize_hex(*tx),
            })
            .collect();
        let made: Generated = self.call("generateblock", vec![json!(address), json!(transactions)]).await?;
        self.block(made.hash).await
    }

    /// Gives the node a block.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node gives no judgement.
    pub async fn submit_block(&self, block: &bitcoin::Block) -> Result<BlockSubmission, RpcError> {
        let answer: Option<String> = self.call("submitblock", vec![json!(serialize_hex(block))]).await?;
        Ok(match answer.as_deref() {
            None => BlockSubmission::Accepted,
            Some("duplicate") => BlockSubmission::Known,
            // A second time it is `duplicate-inconclusive`.
            Some("inconclusive" | "duplicate-inconclusive") => BlockSubmission::Aside,
            Some(reason) => BlockSubmission::Rejected(reason.to_owned()),
        })
    }

    /// A block as the node keeps it.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not have it.
    pub async fn raw_block(&self, hash: BlockHash) -> Result<bitcoin::Block, RpcError> {
        Ok(self.call::<RawBlock>("getblock", vec![json!(hash), json!(0)]).await?.0)
    }

    /// The hash of the block at `height` in the node's best chain.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the chain is not that high.
    pub async fn block_hash(&self, height: u64) -> Result<BlockHash, RpcError> {
        self.call("getblockhash", vec![json!(height)]).await
    }

    /// The hash of the node's tip.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn best_block(&self) -> Result<BlockHash, RpcError> {
        self.call("getbestblockhash", Vec::new()).await
    }

    /// Makes the node treat a block, and all that follow it, as invalid. What they confirmed goes back into its mempool,
    /// as far as the mempool takes it.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not know the block.
    pub async fn invalidate_block(&self, hash: BlockHash) -> Result<(), RpcError> {
        self.call("invalidateblock", vec![json!(hash)]).await
    }

    /// Takes [`invalidate_block`](Self::invalidate_block) back.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not know the block.
    pub async fn reconsider_block(&self, hash: BlockHash) -> Result<(), RpcError> {
        self.call("reconsiderblock", vec![json!(hash)]).await
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

    /// Where the node's chain stands.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn chain(&self) -> Result<ChainInfo, RpcError> {
        self.call("getblockchaininfo", Vec::new()).await
    }
}
