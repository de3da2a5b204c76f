//! How a transaction gets from the node that it is sent to, to all that hear of it.

use std::time::Instant;

use bitcoin::Transaction;
use factory_core::TxName;

use super::{DEADLINE, Network, NetworkError, POLL};
use crate::node::{Acceptance, Rpc, Submission};

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
    /// Sends transactions to a node, in this order, and waits until they are wherever they can get from there. Tells for
    /// each what came of it at each node that it reached, the first one first.
    ///
    /// Nodes tell each other of transactions in intervals, so those that do not stand in each other's way travel together.
    /// Before one that would take the place of another, all others have arrived: else it would depend on chance which
    /// of the two a peer ever sees.
    pub(crate) async fn submit(
        &mut self,
        node: usize,
        txs: &[(TxName, &Transaction)],
    ) -> Result<Vec<Vec<Arrival>>, NetworkError> {
        let rpc = self.places[node].rpc()?.clone();
        let mut arrivals: Vec<Vec<Arrival>> = Vec::with_capacity(txs.len());
        let mut travelling = Vec::new();
        for (index, (name, tx)) in txs.iter().enumerate() {
            let has_rival = self.places[node].ledger.has_rival(*name);
            if has_rival {
                self.arrive(node, txs, &mut travelling, &mut arrivals).await?;
            }
            let known = self.places[node].ledger.is_known(*name);
            let heard = match rpc.submit(tx).await? {
                Submission::Rejected(reason) => Heard::Rejected(reason),
                Submission::Accepted if known => Heard::Known,
                Submission::Accepted => Heard::Accepted(self.places[node].ledger.accepted(*name, &rpc).await?),
            };
            if heard.is_accepted() {
                travelling.push(index);
            }
            arrivals.push(vec![Arrival { node, heard }]);
            if has_rival {
                self.arrive(node, txs, &mut travelling, &mut arrivals).await?;
            }
        }
        self.arrive(node, txs, &mut travelling, &mut arrivals).await?;
        Ok(arrivals)
    }

    /// Waits until everything that is on its way from a node has arrived.
    async fn arrive(
        &mut self,
        node: usize,
        txs: &[(TxName, &Transaction)],
        travelling: &mut Vec<usize>,
        arrivals: &mut [Vec<Arrival>],
    ) -> Result<(), NetworkError> {
        for index in travelling.drain(..) {
            let (name, tx) = txs[index];
            arrivals[index].extend(self.spread(node, name, tx).await?);
        }
        Ok(())
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

    /// Waits until a transaction that is none of the factory's is wherever it can get from a node that has it.
    pub(crate) async fn pass_on(&mut self, from: usize, tx: &Transaction) -> Result<(), NetworkError> {
        let (mut reached, mut next) = (vec![from], 0);
        let mut asked = vec![from];
        while let Some(here) = reached.get(next).copied() {
            next += 1;
            for neighbour in self.neighbours(here) {
                if asked.contains(&neighbour) {
                    continue;
                }
                asked.push(neighbour);
                let place = &self.places[neighbour];
                if offered(place.rpc()?, tx, || format!("{} to have it in its mempool", place.name)).await?.is_none() {
                    reached.push(neighbour);
                }
            }
        }
        Ok(())
    }

    /// Waits until a node has a transaction that a peer offers it, if it will take it at all, and enters it.
    async fn hear(&mut self, node: usize, name: TxName, tx: &Transaction) -> Result<Heard, NetworkError> {
        let place = &self.places[node];
        let rpc = place.rpc()?.clone();
        if place.ledger.is_known(name) {
            return Ok(Heard::Known);
        }
        match offered(&rpc, tx, || format!("{name} to be in the mempool of {}", place.name)).await? {
            Some(reason) => Ok(Heard::Rejected(reason)),
            None => Ok(Heard::Accepted(self.places[node].ledger.accepted(name, &rpc).await?)),
        }
    }
}

/// Waits until a node has a transaction that a peer offers it, if it will take it at all. Gives why not, if it will not:
/// that is asked first, since a node tells nobody that it has refused something.
async fn offered(rpc: &Rpc, tx: &Transaction, awaited: impl Fn() -> String) -> Result<Option<String>, NetworkError> {
    let begun = Instant::now();
    loop {
        match rpc.test_accept(tx).await? {
            Acceptance::AlreadyInMempool => return Ok(None),
            Acceptance::Rejected(reason) => return Ok(Some(reason)),
            Acceptance::Accepted => {}
        }
        if begun.elapsed() > DEADLINE {
            let seen = "no peer has brought it, and the node would take it".to_owned();
            return Err(NetworkError::Late { awaited: awaited(), seen });
        }
        tokio::time::sleep(POLL).await;
    }
}
