//! One node of a scenario: its machine, while it has one, and what the harness has seen of it.

use bitcoin::BlockHash;
use factory_core::TxName;

use super::chain::Chain;
use super::{DEADLINE, End, Machine, NetworkError, Start};
use crate::electrum::Electrs;
use crate::ledger::Ledger;
use crate::node::{BlockSubmission, Rpc};

/// One node.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    start: Start,
    machine: Option<Machine>,
    paused: bool,
    /// The Electrum server beside it.
    pub(crate) electrs: Option<Electrs>,
    pub(crate) ledger: Ledger,
    pub(crate) chain: Chain,
    /// Whether every block is kept, to be given to the node again after it was killed.
    pub(super) keeps_blocks: bool,
    pub(super) raw_blocks: Vec<bitcoin::Block>,
    /// The factory's transactions in its mempool when that was last told.
    pub(crate) shown: Vec<TxName>,
}

impl Place {
    /// A node that has just been started on the pre-mined chain.
    pub(crate) fn new(
        name: String,
        start: Start,
        machine: Machine,
        base: (u64, BlockHash),
        keeps_blocks: bool,
    ) -> Self {
        Place {
            name,
            start,
            machine: Some(machine),
            paused: false,
            electrs: None,
            ledger: Ledger::default(),
            chain: Chain::new(base.0, base.1),
            keeps_blocks,
            raw_blocks: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// Whether it answers.
    pub(crate) fn is_running(&self) -> bool {
        self.machine.is_some() && !self.paused
    }

    pub(crate) fn machine(&self) -> Result<&Machine, NetworkError> {
        let running = self.machine.as_ref().filter(|_| !self.paused);
        running.ok_or_else(|| NetworkError::NotRunning(self.name.clone()))
    }

    pub(crate) fn rpc(&self) -> Result<&Rpc, NetworkError> {
        self.machine().map(Machine::rpc)
    }

    /// Completes when the machine has ended, whoever ended it; never, if there is none.
    pub(crate) fn ended(&self) -> End {
        match &self.machine {
            Some(machine) => machine.ended(),
            None => Box::pin(std::future::pending()),
        }
    }

    pub(super) async fn kill(&mut self) -> Result<(), NetworkError> {
        self.electrs = None;
        match self.machine.take() {
            Some(machine) => machine.kill().await,
            None => Err(NetworkError::NotRunning(self.name.clone())),
        }
    }

    pub(super) async fn stop(&mut self) -> Result<(), NetworkError> {
        self.electrs = None;
        match self.machine.take() {
            Some(machine) => machine.stop().await,
            None => Err(NetworkError::NotRunning(self.name.clone())),
        }
    }

    pub(super) async fn start_again(&mut self, time: u64) -> Result<(), NetworkError> {
        let had_electrs = self.start.electrs.is_some();
        let machine = self.start.again(time).await?;
        // What a killed node had not written yet, it gets again, as it would from its peers.
        for block in &self.raw_blocks {
            if let BlockSubmission::Rejected(reason) = machine.rpc().submit_block(block).await? {
                return Err(NetworkError::Block { name: self.name.clone(), block: block.block_hash(), reason });
            }
        }
        self.machine = Some(machine);
        self.paused = false;
        if had_electrs {
            self.start_electrs().await?;
        }
        let rpc = self.rpc()?.clone();
        self.ledger.refresh(&rpc).await?;
        Ok(())
    }

    /// Puts an Electrum server beside the node.
    pub(crate) async fn start_electrs(&mut self) -> Result<(), NetworkError> {
        if let (Some(program), Some(Machine::Process(node))) = (&self.start.electrs, &self.machine) {
            let electrs = Electrs::start(node, program, &self.start.electrs_dir()).await?;
            electrs.sync(self.chain.tip(), DEADLINE).await?;
            self.electrs = Some(electrs);
        }
        Ok(())
    }

    pub(super) async fn pause(&mut self) -> Result<(), NetworkError> {
        self.machine()?.pause().await?;
        self.paused = true;
        Ok(())
    }

    pub(super) async fn resume(&mut self, time: u64) -> Result<(), NetworkError> {
        let machine = self.machine.as_ref().ok_or_else(|| NetworkError::NotRunning(self.name.clone()))?;
        machine.resume().await?;
        machine.rpc().set_time(time).await?;
        self.paused = false;
        Ok(())
    }
}
