//! The connection to a node.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use std::{fmt, io};

use bitcoind::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::trace::Trace;

/// A connection to one node.
#[derive(Clone, Debug)]
pub struct Rpc {
    node: Arc<str>,
    client: Arc<Client>,
    trace: Arc<Trace>,
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
    /// The call could not be recorded in the node's folder.
    #[error("cannot record the call: {0}")]
    Unrecorded(io::Error),
    /// No answer came, or not one that could be read.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
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
    pub(in crate::node) fn new(node: &str, client: Client, trace: Trace) -> Self {
        Rpc { node: node.into(), client: Arc::new(client), trace: Arc::new(trace) }
    }

    /// A connection to a node whose calls are recorded in the node's folder.
    pub(crate) fn traced(node: &str, client: Client, dir: &Path) -> io::Result<Self> {
        Ok(Rpc::new(node, client, Trace::append_to(&dir.join("rpc.jsonl"))?))
    }

    /// The node's name.
    pub(in crate::node) fn node(&self) -> &Arc<str> {
        &self.node
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
        let (client, trace) = (Arc::clone(&self.client), Arc::clone(&self.trace));
        let answer = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let answer = client.call::<Box<RawValue>>(method, &params).map_err(reason);
            let recorded = answer.as_deref().map_err(|reason| reason as &dyn fmt::Display);
            trace.record(method, &params, recorded, begun.elapsed()).map_err(RpcErrorReason::Unrecorded)?;
            serde_json::from_str(answer?.get()).map_err(|error| RpcErrorReason::Failed(error.into()))
        });
        let answer = answer.await.unwrap_or_else(|join| Err(RpcErrorReason::Failed(join.into())));
        answer.map_err(|reason| RpcError { node: Arc::clone(&self.node), method, reason })
    }

    /// Sets the node's clock, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn set_time(&self, time: u64) -> Result<(), RpcError> {
        self.call("setmocktime", vec![json!(time)]).await
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
    pub(in crate::node) async fn log_path(&self) -> Result<String, RpcError> {
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
