//! What a light client asks an Electrum server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{Amount, BlockHash, Script, SignedAmount, Transaction, Txid};
use electrsd::ElectrsD;
use electrsd::electrum_client::{self, ElectrumApi as _};
use tokio::sync::oneshot;

use super::process::{Electrs, Order};

/// How often a server is asked for something that takes it a moment.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The newest block that a server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: BlockHash,
}

/// A transaction that pays to a script, or spends what was paid to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its identifier.
    pub txid: Txid,
    /// The height of the block that confirmed it; none if it is in the mempool.
    pub height: Option<u32>,
    /// What it pays, if it is in the mempool.
    pub fee: Option<Amount>,
}

/// What lies in the outputs that pay to a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// By the blocks alone.
    pub confirmed: Amount,
    /// What the mempool would add to that, or take from it.
    pub unconfirmed: SignedAmount,
}

/// Returned when a server does not answer, or not as it should in time.
#[derive(Debug, thiserror::Error)]
pub enum ElectrsError {
    /// Returned when the server answers with an error, or not at all.
    #[error("{name}: {what}: {source}")]
    Failed {
        /// The server.
        name: Arc<str>,
        /// What was asked.
        what: &'static str,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Returned when the server, or its node, has ended.
    #[error("{name}: {what}: it has ended")]
    Gone {
        /// The server.
        name: Arc<str>,
        /// What was asked.
        what: &'static str,
    },
    /// Returned when what is awaited does not come.
    #[error("{name}: after {} ms it has {seen}, expected {expected}", .after.as_millis())]
    Late {
        /// The server.
        name: Arc<str>,
        /// What was awaited.
        expected: String,
        /// What it had last.
        seen: String,
        /// How long was waited.
        after: Duration,
    },
}

impl Electrs {
    /// The newest block that the server knows.
    ///
    /// # Errors
    ///
    /// [`ElectrsError`], if it does not answer.
    pub async fn tip(&self) -> Result<Tip, ElectrsError> {
        let header = self.ask("tip", |electrs| electrs.client.block_headers_subscribe()).await?;
        Ok(Tip { height: header.height as u64, hash: header.header.block_hash() })
    }

    /// The transactions that pay to `script` or spend from it: those in blocks first, then those in the mempool.
    ///
    /// # Errors
    ///
    /// [`ElectrsError`], if the server does not answer.
    pub async fn history(&self, script: &Script) -> Result<Vec<HistoryEntry>, ElectrsError> {
        let script = script.to_owned();
        let entries = self.ask("history", move |electrs| electrs.client.script_get_history(&script)).await?;
        let entry = |entry: electrum_client::GetHistoryRes| HistoryEntry {
            txid: entry.tx_hash,
            // 0 and -1 stand for the mempool.
            height: u32::try_from(entry.height).ok().filter(|height| *height > 0),
            fee: entry.fee.map(Amount::from_sat),
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// What lies in the outputs that pay to `script`.
    ///
    /// # Errors
    ///
    /// [`ElectrsError`], if the server does not answer.
    pub async fn balance(&self, script: &Script) -> Result<Balance, ElectrsError> {
        let script = script.to_owned();
        let balance = self.ask("balance", move |electrs| electrs.client.script_get_balance(&script)).await?;
        Ok(Balance {
            confirmed: Amount::from_sat(balance.confirmed),
            unconfirmed: SignedAmount::from_sat(balance.unconfirmed),
        })
    }

    /// A transaction in a block or in the mempool.
    ///
    /// # Errors
    ///
    /// [`ElectrsError`], if the server does not know it, or does not answer.
    pub async fn transaction(&self, txid: Txid) -> Result<Transaction, ElectrsError> {
        self.ask("transaction", move |electrs| electrs.client.transaction_get(&txid)).await
    }

    /// Returns once the block `tip` is the newest that the server knows.
    ///
    /// # Errors
    ///
    /// [`ElectrsError`], if that takes longer than `deadline`, or the server does not answer.
    pub async fn sync(&self, tip: BlockHash, deadline: Duration) -> Result<Tip, ElectrsError> {
        let expected = format!("the tip {tip}");
        let seen = |tip: &Tip| format!("the tip {} at height {}", tip.hash, tip.height);
        self.wait(&expected, deadline, || self.tip(), |found| found.hash == tip, seen).await
    }

    /// Returns the history of `script` once `condition` holds for it. `expected` says what that is, for the error.
    ///
    /// # Errors
    ///
    /// [`ElectrsError`], if that takes longer than `deadline`, or the server does not answer.
    pub async fn sync_history(
        &self,
        script: &Script,
        expected: &str,
        deadline: Duration,
        condition: impl Fn(&[HistoryEntry]) -> bool,
    ) -> Result<Vec<HistoryEntry>, ElectrsError> {
        let look = || self.history(script);
        self.wait(expected, deadline, look, |history| condition(history), |history| described(history)).await
    }

    /// Lets the server look at its node again and again, until `condition` holds for what `look` gives.
    async fn wait<T, F: Future<Output = Result<T, ElectrsError>> + Send>(
        &self,
        expected: &str,
        deadline: Duration,
        look: impl Fn() -> F,
        condition: impl Fn(&T) -> bool,
        describe: impl Fn(&T) -> String,
    ) -> Result<T, ElectrsError> {
        let begun = Instant::now();
        loop {
            self.ask("trigger", |electrs| electrs.trigger()).await?;
            let seen = look().await?;
            if condition(&seen) {
                return Ok(seen);
            }
            let after = begun.elapsed();
            if after > deadline {
                let (name, expected) = (self.name().clone(), expected.to_owned());
                return Err(ElectrsError::Late { name, expected, seen: describe(&seen), after });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Asks the server in its own thread. An answer takes three seconds at most: so long the crate's connection waits.
    async fn ask<T, E>(
        &self,
        what: &'static str,
        question: impl FnOnce(&ElectrsD) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ElectrsError>
    where
        T: Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let (tell, answer) = oneshot::channel();
        // Whoever asked may have given up meanwhile.
        self.order(Order::Ask(Box::new(move |electrs| drop(tell.send(question(electrs))))));
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(ElectrsError::Failed { name: self.name().clone(), what, source: source.into() }),
            Err(_) => Err(ElectrsError::Gone { name: self.name().clone(), what }),
        }
    }
}

/// A history in words.
fn described(history: &[HistoryEntry]) -> String {
    let place = |entry: &HistoryEntry| match entry.height {
        Some(height) => format!("{} in block {height}", entry.txid),
        None => format!("{} in the mempool", entry.txid),
    };
    match history {
        [] => "no transaction of that script".to_owned(),
        // The newest tell most.
        [.., _] if history.len() > 5 => {
            let newest: Vec<_> = history[history.len() - 5..].iter().map(place).collect();
            format!("{} transactions, the last of them {}", history.len(), newest.join(", "))
        }
        all => all.iter().map(place).collect::<Vec<_>>().join(", "),
    }
}
