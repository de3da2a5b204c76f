//! How a transaction gets from the node that it is sent to, to all that hear of it.

use std::time::Instant;

use bitcoin::{Transaction, Txid};
use factory_core::TxName;

use super::{DEADLINE, Network, NetworkError, POLL};
use crate::node::{Acceptance, Submission};

/// What came of a transaction at one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) node: usize,
    pub(crate) heard: Heard,
}

/// What a node says to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is in its mempool now, in the place of these.
    Accepted(Vec<TxName>),
    /// It was in its mempool before.
    Known,
    /// It refuses it.
    Rejected(String),
}

impl Heard {
    pub(crate) fn is_accepted(&self) -> bool {
        !matches!(self, Heard::Rejected(_))
    }
}

impl Network {
    /// Sends a transaction to a node, and waits until it is wherever it can get from there. Tells what came of it at
    /// each node that it reached, the first one first.
    pub(crate) async fn submit(
        &mut self,
        node: usize,
        name: TxName,
        tx: &Transaction,
    ) -> Result<Vec<Arrival>, NetworkError> {
        let known = self.places[node].ledger.is_known(name);
        let rpc = self.places[node].rpc()?.clone();
        let heard = match rpc.submit(tx).await? {
            Submission::Rejected(reason) => return Ok(vec![Arrival { node, heard: Heard::Rejected(reason) }]),
            Submission::Accepted if known => Heard::Known,
            Submission::Accepted => Heard::Accepted(self.places[node].ledger.accepted(name, &rpc).await?),
        };
        let mut arrivals = vec![Arrival { node, heard }];
        arrivals.extend(self.spread(node, name, tx).await?);
        Ok(arrivals)
    }

    /// Waits until what is in a node's mempool is wherever it can get from there.
    pub(crate) async fn spread(
        &mut self,
        from: usize,
        name: TxName,
        tx: &Transaction,
    ) -> Result<Vec<Arrival>, NetworkError> {
        let mut arrivals = Vec::new();
        let (mut reached, mut next) = (vec![from], 0);
        let mut asked = vec![from];
        // News go from each node that takes it to those that it is linked with.
        while let Some(here) = reached.get(next).copied() {
            next += 1;
            for neighbour in self.neighbours(here) {
                if asked.contains(&neighbour) {
                    continue;
                }
                asked.push(neighbour);
                let heard = self.hear(neighbour, name, tx).await?;
                if heard.is_accepted() {
                    reached.push(neighbour);
                }
                arrivals.push(Arrival { node: neighbour, heard });
            }
        }
        Ok(arrivals)
    }

    /// Waits until a node has a transaction that a peer offers it, if it will take it at all: what it would say is asked
    /// first, since a node tells nobody that it has refused something.
    async fn hear(&mut self, node: usize, name: TxName, tx: &Transaction) -> Result<Heard, NetworkError> {
        let place = &self.places[node];
        let rpc = place.rpc()?.clone();
        if place.ledger.is_known(name) {
            return Ok(Heard::Known);
        }
        if let Acceptance::Rejected(reason) = rpc.test_accept(tx).await? {
            return Ok(Heard::Rejected(reason));
        }
        let txid = tx.compute_txid();
        let begun = Instant::now();
        loop {
            if self.is_in_mempool(node, txid).await? {
                let replaced = self.places[node].ledger.accepted(name, &rpc).await?;
                return Ok(Heard::Accepted(replaced));
            }
            if begun.elapsed() > DEADLINE {
                let awaited = format!("{name} to be in the mempool of {}", self.places[node].name);
                let seen = match rpc.test_accept(tx).await? {
                    Acceptance::Rejected(reason) => format!("the node refuses it by now: {reason}"),
                    _ => "no peer has brought it, and the node would take it".to_owned(),
                };
                return Err(NetworkError::Late { awaited, seen });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn is_in_mempool(&self, node: usize, txid: Txid) -> Result<bool, NetworkError> {
        Ok(self.places[node].rpc()?.mempool().await?.contains(&txid))
    }
}
