//! The steps of a scenario.

use factory_core::Party;
use factory_core::protocol::Command;

use super::{Stop, Testbed};
use crate::network::{End, Network, NetworkError};
use crate::scenario::{Crash, Sign, Step, WaitFor};

impl Testbed {
    /// Does one step of a scenario. Everything that follows from it has happened when this returns: messages have
    /// arrived, and transactions and blocks are wherever they can be.
    ///
    /// # Errors
    ///
    /// [`Stop`], if what it asserts does not hold, or it cannot be done.
    pub async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Open => self.open_factory().await,
            Step::Pay(pay) => self.payments(pay).await,
            Step::Htlc(htlc) => self.htlc(htlc).await,
            Step::Claim(claim) => self.claim(claim).await,
            Step::Fail(fail) => self.fail(fail).await,
            Step::Quiesce => self.quiesce(),
            Step::Sign(Sign::Closes) => self.command(Party::Operator, Command::SignCloses).await,
            Step::Sign(Sign::FactoryClose) => self.command(Party::Operator, Command::SignFactoryClose).await,
            Step::Broadcast(broadcast) => self.broadcast(broadcast).await,
            Step::SubmitPackage(package) => self.submit_package(package).await,
            Step::Spend(spend) => self.spend(spend).await,
            Step::Fill(fill) => self.fill(fill).await,
            Step::FallBack(fall_back) => self.command(fall_back.by.0, Command::FallBack).await,
            Step::Mine(mine) => self.mine_blocks(mine).await,
            Step::Reorg(reorg) => self.reorganise(reorg).await,
            Step::Partition(groups) => {
                let told: Vec<_> = groups.iter().map(|group| group.join(", ")).collect();
                groups.iter().flatten().try_for_each(|name| self.node(Some(name)).map(|_| ()))?;
                self.log.fault(format!("partition: {}", told.join(" | ")));
                self.network.partition(groups).await?;
                Ok(())
            }
            Step::Heal => {
                self.log.fault("the partition heals");
                self.network.heal().await?;
                self.follow(None).await
            }
            Step::Kill(node) => {
                let node = self.told(node, "is killed")?;
                Ok(self.network.kill(node).await?)
            }
            Step::Stop(node) => {
                let node = self.told(node, "is stopped")?;
                Ok(self.network.stop(node).await?)
            }
            Step::Start(node) => {
                let node = self.told(node, "is started again")?;
                self.network.start(node).await?;
                self.show_mempool(node);
                self.follow(None).await
            }
            Step::Pause(node) => {
                let node = self.told(node, "is frozen")?;
                Ok(self.network.pause(node).await?)
            }
            Step::Resume(node) => {
                let node = self.told(node, "goes on")?;
                self.network.resume(node).await?;
                self.follow(None).await
            }
            Step::Silence(party) => {
                self.log.fault(format!("{} falls silent", party.0));
                self.parties.silence(party.0);
                Ok(())
            }
            Step::Offline(party) => {
                self.log.fault(format!("{} goes offline", party.0));
                self.parties.take_offline(party.0);
                Ok(())
            }
            Step::Crash(crash) => {
                self.crash(crash);
                Ok(())
            }
            Step::Online(party) => {
                self.log.fault(format!("{} is back", party.0));
                self.bring_back(party.0).await
            }
            Step::Withhold(withhold) => {
                self.parties.withhold(withhold.clone());
                Ok(())
            }
            Step::WaitFor(wait) => self.wait_for(wait).await,
            Step::Expect(expect) => {
                let checks = self.checks(expect).await?;
                self.judge_all(checks)
            }
            Step::ExpectStates(expect) => self.expect_states(expect),
        }
    }

    /// Like [`Testbed::step`], for the step with this number; it stops at once if a node ends that should not.
    pub(crate) async fn step_while_nodes_live(&mut self, number: usize, step: &Step) -> Result<(), Stop> {
        self.log.step = Some(number);
        let lives = Lives::of(&self.network);
        // A step that ends a node is about it.
        if matches!(step, Step::Kill(_) | Step::Stop(_)) {
            return self.step(step).await;
        }
        tokio::select! {
            result = self.step(step) => result,
            name = lives.first_end() => Err(Stop::Error(format!("node {name} ended while it was needed"))),
        }
    }

    async fn open_factory(&mut self) -> Result<(), Stop> {
        self.command(Party::Operator, Command::Open).await?;
        let miner = self.network.first_running().ok_or_else(|| NetworkError::NotRunning("any".to_owned()))?;
        for _ in 0..self.scenario.factory.confirmations.0 {
            self.mine_block(miner, false).await?;
        }
        Ok(())
    }

    fn crash(&mut self, crash: &Crash) {
        if let Some(noted) = self.parties.crash(crash.clone()) {
            self.log.note(&noted);
        }
    }

    async fn wait_for(&mut self, wait: &WaitFor) -> Result<(), Stop> {
        let begun = tokio::time::Instant::now();
        loop {
            self.look().await?;
            let checks = self.checks(&wait.expect).await?;
            let missing: Vec<String> = checks.iter().filter_map(|check| check.result.clone().err()).collect();
            if missing.is_empty() {
                return self.judge_all(checks);
            }
            if begun.elapsed() > wait.within.0 {
                let seconds = wait.within.0.as_secs();
                let text = format!("waited {seconds} s in vain: {}", missing.join("; "));
                return self.judge(String::new(), Err(text));
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Looks at every running node: its chain and its mempool.
    pub(super) async fn look(&mut self) -> Result<(), Stop> {
        self.follow(None).await?;
        for node in self.network.running() {
            let rpc = self.network.places[node].rpc()?.clone();
            self.network.places[node].ledger.refresh(&rpc).await?;
            self.show_mempool(node);
        }
        Ok(())
    }

    fn told(&mut self, node: &String, what: &str) -> Result<usize, Stop> {
        self.log.fault(format!("node {node} {what}"));
        self.node(Some(node))
    }
}

/// The ends of all nodes that run.
struct Lives(Vec<(String, End)>);

impl Lives {
    fn of(network: &Network) -> Self {
        Lives(network.places.iter().map(|place| (place.name.clone(), place.ended())).collect())
    }

    /// Completes with the name of the first node that ends.
    async fn first_end(mut self) -> String {
        std::future::poll_fn(|context| {
            for (name, end) in &mut self.0 {
                if end.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(name.clone());
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
