//! A node of one kind, with coins to fund factories from.

use bitcoin::{Amount, FeeRate, Transaction, TxOut};
use factory_core::replacement::Policy;
use factory_core::tx::funding::{self, Coin};
use factory_core::{Factory, Terms};

use crate::node::provision::{Env, Tool, Version};
use crate::node::snapshot::{self, Snapshot};
use crate::node::{Kind, Node, NodeConfig, Submission};
use crate::run_dir::RunDir;
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
    pub async fn start(env: &Env, kind: Kind, args: &[&str]) -> Result<Stage, Stop> {
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
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
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

    /// The rules of its mempool: those of its kind, with the feerates that it tells itself.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if it does not answer.
    pub async fn policy(&self) -> Result<Policy, Stop> {
        let told = self.node.rpc().mempool_rates().await?;
        let (incremental, relay_minimum, mempool_minimum) =
            (told.incremental, told.relay_minimum, told.mempool_minimum);
        Ok(Policy { incremental, relay_minimum, mempool_minimum, ..self.kind.policy() })
    }

    /// Funds a factory, and mines a block with it and with everything else that the mempool holds.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if the coins do not suffice or the node does not take them.
    pub async fn fund(&mut self, terms: Terms) -> Result<Factory, Stop> {
        let funding = self.pay(terms.factory_output(), FUNDING_RATE)?;
        self.put(&funding).await?;
        self.mine().await?;
        Factory::new(terms, &funding).map_err(error)
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
            self.coins.push(Coin { outpoint, value: change.value });
        }
        Ok(tx)
    }
}

pub(super) fn error(error: impl std::fmt::Display) -> Stop {
    Stop::Error(error.to_string())
}
