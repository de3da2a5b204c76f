//! A node of one kind, with coins to fund factories from.

use bitcoin::{Amount, FeeRate, Transaction, TxOut};
use factory_core::replacement::{Limits, Policy, RelayRate};
use factory_core::tx::funding::{self, Coin};
use factory_core::tx::size;
use factory_core::{Wallet, fee};

use crate::node::provision::{Env, Tool, Version};
use crate::node::snapshot::{self, Snapshot};
use crate::node::{Kind, MempoolRules, Node, NodeConfig, Submission};
use crate::run_dir::RunDir;
use crate::seed;
use crate::testbed::fill::{FULL, OUTPUTS, filler};
use crate::testbed::{Stop, locate};

/// What the fundings pay: enough for every kind.
const FUNDING_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

/// A node on the pre-mined chain, that nobody else uses. It ends when this is dropped.
#[derive(Debug)]
pub struct Stage {
    kind: Kind,
    version: Version,
    node: Node,
    coins: Vec<Coin>,
    _folder: RunDir,
}

impl Stage {
    /// Starts a node of `kind` with these arguments beside the usual ones.
    ///
    /// # Errors
    ///
    /// [`Stop::Skip`], if its program is not there; [`Stop::Error`], if it does not start.
    pub async fn start(env: &Env, kind: Kind, args: &[String]) -> Result<Stage, Stop> {
        let program = locate(env, Tool::Node(kind))?;
        let cache = env.cache().map_err(error)?;
        let ports = cache.join("ports");
        let snapshot = Snapshot::of(&program.path, &cache, &ports).await.map_err(error)?;
        let folder = RunDir::new().map_err(error)?;
        let dir = folder.path().join(kind.name());
        snapshot.copy_to(&dir.join("data")).map_err(error)?;
        let config = NodeConfig {
            name: kind.to_string(),
            program: program.path.clone(),
            dir,
            ports,
            args: args.to_vec(),
            time: snapshot.time() + snapshot::BLOCK_INTERVAL,
            listen: false,
        };
        let node = Node::start(&config).await.map_err(error)?;
        Ok(Stage { kind, version: program.version, node, coins: snapshot.coins(), _folder: folder })
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version that its program tells.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The rules of its mempool: those of its kind, with what the node tells of them itself. Before Core 31 nodes do not tell
    /// the limits of ancestors and descendants.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if it does not answer.
    pub async fn policy(&self) -> Result<Policy, Stop> {
        let MempoolRules { incremental, relay_minimum, mempool_minimum, cluster, truc } =
            self.node.rpc().mempool_rules().await?;
        let usual = self.kind.policy();
        let limits = match cluster {
            Some((count, vsize)) => Limits::Cluster { count, weight: vsize * 4 },
            None => usual.limits,
        };
        let truc = truc.unwrap_or(usual.truc);
        Ok(Policy { incremental, relay_minimum, mempool_minimum, limits, truc, ..usual })
    }

    /// Pays to a factory's output, and mines a block with that and with everything else that the mempool holds.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if the coins do not suffice or the node does not take them.
    pub async fn fund(&mut self, output: TxOut) -> Result<Transaction, Stop> {
        let funding = self.pay(output, FUNDING_RATE)?;
        self.put(&funding).await?;
        self.mine().await?;
        Ok(funding)
    }

    /// A confirmed coin of the faucet's, counted from the last one. It is not taken: whoever spends it has to see to it that
    /// the spend is never mined, or that nobody asks for the coin again.
    pub fn lend(&self, number: usize) -> Option<Coin> {
        self.coins.iter().rev().nth(number).cloned()
    }

    /// Takes a coin of so much out of the wallet, confirmed.
    ///
    /// # Errors
    ///
    /// As for [`Stage::fund`].
    pub async fn coin(&mut self, value: Amount) -> Result<Coin, Stop> {
        let script_pubkey = snapshot::faucet().script_pubkey().clone();
        let tx = self.pay(TxOut { value, script_pubkey }, FUNDING_RATE)?;
        self.put(&tx).await?;
        self.mine().await?;
        Ok(Coin { outpoint: bitcoin::OutPoint::new(tx.compute_txid(), 0), value })
    }

    /// Sends the node large transactions until what it asks of any other is above `feerate`. It has to have been started with
    /// a small `-maxmempool`.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if no coin is left, or the node does not answer.
    pub async fn fill(&mut self, feerate: FeeRate) -> Result<(), Stop> {
        let receiver = Wallet::generate(&mut seed::stream(0, "filler"));
        let vsize = size::funding(1, OUTPUTS).to_vbytes_ceil();
        let lowest = fee(feerate, vsize).ok_or_else(|| error("the feerate is no amount"))?;
        while self.node.rpc().mempool_rules().await?.mempool_minimum <= RelayRate::from(feerate) {
            let coin = self.coins.pop().ok_or_else(|| error("no coin is left to fill the mempool with"))?;
            // Each pays less than the one before, so that the last one is what there is no room for.
            let paid = lowest + Amount::from_sat(self.coins.len() as u64);
            let tx = filler(&snapshot::faucet(), coin, &receiver, paid);
            let tx = tx.ok_or_else(|| error(format!("no coin can pay {paid}")))?;
            match self.node.rpc().submit(tx.transaction()).await? {
                Submission::Rejected(why) if !why.contains(FULL) => {
                    return Err(error(format!("a transaction that is to fill the mempool was refused: {why}")));
                }
                Submission::Accepted | Submission::Rejected(_) => {}
            }
        }
        Ok(())
    }

    /// Mines a block with what is in the mempool.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if the node does not.
    pub async fn mine(&self) -> Result<(), Stop> {
        self.node.rpc().generate(&snapshot::address(&snapshot::faucet())).await?;
        Ok(())
    }

    async fn put(&self, tx: &Transaction) -> Result<(), Stop> {
        match self.node.rpc().submit(tx).await? {
            Submission::Accepted => Ok(()),
            Submission::Rejected(why) => Err(Stop::Error(format!("{}: a payment was refused: {why}", self.kind))),
        }
    }

    /// Pays to `output`. The change is a coin from then on; it is spent only once the next block is mined.
    fn pay(&mut self, output: TxOut, feerate: FeeRate) -> Result<Transaction, Stop> {
        let paid = funding::build(&snapshot::faucet(), &self.coins, output, feerate).map_err(error)?;
        let tx = Transaction::clone(paid.transaction());
        let spent = |coin: &Coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint);
        self.coins.retain(|coin| !spent(coin));
        if let Some(change) = tx.output.get(1) {
            let outpoint = bitcoin::OutPoint::new(tx.compute_txid(), 1);
            self.coins.insert(0, Coin { outpoint, value: change.value });
        }
        Ok(tx)
    }
}

pub(super) fn error(error: impl std::fmt::Display) -> Stop {
    Stop::Error(error.to_string())
}
