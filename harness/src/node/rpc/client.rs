//! The connection to a node.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use jsonrpc::Client;
use jsonrpc::http::bitreq_http;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::trace::Trace;

/// How long a node may take to answer a request.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many calls there are in one request at most.
const TOGETHER: usize = 100;

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

    /// Whom to ask at `url`, with the secret in the node's cookie.
    ///
    /// # Errors
    ///
    /// If the cookie is not there, or is not complete yet.
    pub(crate) fn client(url: &str, cookie: &Path) -> io::Result<Client> {
        let text = fs::read_to_string(cookie)?;
        let secret = text.lines().next().filter(|line| line.contains(':'));
        let secret = secret.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the cookie is not complete"))?;
        let transport = bitreq_http::Builder::new().url(url).map_err(io::Error::other)?;
        Ok(Client::with_transport(transport.timeout(PATIENCE).cookie_auth(secret).build()))
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
            let answer = client.call::<Box<RawValue>>(method, Some(&raw(&params)?)).map_err(reason);
            let recorded = answer.as_deref().map_err(|reason| reason as &dyn fmt::Display);
            trace.record(method, &params, recorded, begun.elapsed()).map_err(RpcErrorReason::Unrecorded)?;
            read(&answer?)
        });
        let answer = answer.await.unwrap_or_else(|join| Err(RpcErrorReason::Failed(join.into())));
        answer.map_err(|reason| RpcError { node: Arc::clone(&self.node), method, reason })
    }

    /// Calls `method` with each of `params` in their order, many in one request, and reads each answer as `T`.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer within a minute. What it refuses stands in the place of that call.
    pub(crate) async fn call_each<T>(
        &self,
        method: &'static str,
        params: Vec<Vec<Value>>,
    ) -> Result<Vec<Result<T, RpcErrorReason>>, RpcError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (client, trace) = (Arc::clone(&self.client), Arc::clone(&self.trace));
        let answers = tokio::task::spawn_blocking(move || {
            let mut answers = Vec::with_capacity(params.len());
            for params in params.chunks(TOGETHER) {
                answers.extend(together(&client, &trace, method, params)?);
            }
            Ok(answers)
        });
        let answers = answers.await.unwrap_or_else(|join| Err(RpcErrorReason::Failed(join.into())));
        answers.map_err(|reason| RpcError { node: Arc::clone(&self.node), method, reason })
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

/// Makes one request of several calls. The time that it takes is recorded with the last one.
fn together<T: DeserializeOwned>(
    client: &Client,
    trace: &Trace,
    method: &str,
    params: &[Vec<Value>],
) -> Result<Vec<Result<T, RpcErrorReason>>, RpcErrorReason> {
    let begun = Instant::now();
    let raws = params.iter().map(|params| raw(params)).collect::<Result<Vec<_>, _>>()?;
    let requests: Vec<_> = raws.iter().map(|raw| client.build_request(method, Some(raw))).collect();
    let responses = client.send_batch(&requests).map_err(reason)?;
    let took = begun.elapsed();
    let mut answers = Vec::with_capacity(params.len());
    for (place, (params, response)) in params.iter().zip(responses).enumerate() {
        let response = response.ok_or_else(|| RpcErrorReason::Failed("a call was not answered".into()))?;
        let answer = response.result::<Box<RawValue>>().map_err(reason);
        let recorded = answer.as_deref().map_err(|reason| reason as &dyn fmt::Display);
        let took = if place + 1 == requests.len() { took } else { Duration::ZERO };
        trace.record(method, params, recorded, took).map_err(RpcErrorReason::Unrecorded)?;
        answers.push(answer.and_then(|answer| read(&answer)));
    }
    Ok(answers)
}

fn raw(params: &[Value]) -> Result<Box<RawValue>, RpcErrorReason> {
    serde_json::value::to_raw_value(params).map_err(|error| RpcErrorReason::Failed(error.into()))
}

fn read<T: DeserializeOwned>(answer: &RawValue) -> Result<T, RpcErrorReason> {
    serde_json::from_str(answer.get()).map_err(|error| RpcErrorReason::Failed(error.into()))
}

fn reason(error: jsonrpc::Error) -> RpcErrorReason {
    match error {
        jsonrpc::Error::Rpc(error) => RpcErrorReason::Refused { code: error.code, message: error.message },
        other => RpcErrorReason::Failed(Box::new(other)),
    }
}
