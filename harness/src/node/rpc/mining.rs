//! What a node would mine.

use bitcoin::{Amount, Txid, Weight};
use serde::Deserialize;
use serde_json::json;

use super::client::{Rpc, RpcError};

/// A transaction of a block template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct TemplateTransaction {
    /// Its identifier.
    pub txid: Txid,
    /// What it pays.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fee: Amount,
    /// Its weight.
    pub weight: Weight,
}

#[derive(Deserialize)]
struct Template {
    transactions: Vec<TemplateTransaction>,
}

impl Rpc {
    /// The transactions that the node would put into a block on its tip, parents before children.
    ///
    /// On the same tip, a node keeps what it answered for five seconds of its clock, whatever comes into its mempool.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn block_template(&self) -> Result<Vec<TemplateTransaction>, RpcError> {
        Ok(self.call::<Template>("getblocktemplate", vec![json!({"rules": ["segwit"]})]).await?.transactions)
    }
}
