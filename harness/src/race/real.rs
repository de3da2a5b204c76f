//! The nodes of an experiment, real ones.
//!
//! They run for as long as there are trials, without links: whoever carries out the experiment hands transactions and blocks
//! from one to the other, in simulated time, so that every trial comes out the same again. Their chain goes on from trial to
//! trial. A trial begins with a block that confirms what the one before has left over, and the funding of the next factory.

mod background;
mod block;
mod lane;
mod purse;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::VecDeque;

use bitcoin::{Amount, ScriptBuf, Transaction, Weight};
use factory_core::tx::funding::Coin;
use futures_util::future::try_join_all;

pub(crate) use background::background_facts;

use self::block::{Plan, miner_script};
use self::lane::Lane;
use self::purse::Purse;
use self::trial::{Made, Trial};
use super::language::PublishedTx;
use super::sides::{self, Signed};
use super::{BlockId, Experiment, Facts, Item, Nodes, Sides};
use crate::node::provision::Env;
use crate::node::snapshot::subsidy;
use crate::node::{Submission, TemplateTransaction};
use crate::replacement::Draft;
use crate::testbed::Stop;

/// What a block may weigh that confirms what is left over: the chain's limit, with room for the header and the coinbase.
const LEFTOVERS: u64 = 3_900_000;
/// For so many blocks that background transactions fill, there are coins at the beginning of a trial.
const BLOCKS_AHEAD: u64 = 60;
/// At most so many coins are made at the beginning of a trial.
const MOST_COINS: u64 = 20_000;

/// The nodes of an experiment, real ones, with the trial that they are in.
#[derive(Debug)]
pub(crate) struct RealNodes {
    experiment: Experiment,
    sides: Sides,
    lane: Lane,
    purse: Purse,
    trial: Option<Trial>,
    /// How many trials have begun.
    begun: u64,
    /// How many closes of each factory are signed.
    closes: u32,
    rejections: Vec<Rejection>,
}

/// A transaction that a node did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The node, by its place in the file.
    pub(crate) node: usize,
    /// The transaction.
    pub(crate) item: Item,
    /// The node's words.
    pub(crate) reason: String,
}

impl RealNodes {
    /// Starts the nodes of `experiment`.
    ///
    /// # Errors
    ///
    /// [`Stop::Skip`], if the program of one is not there; [`Stop::Fail`], if there can be no such factory; [`Stop::Error`],
    /// if a node does not start.
    pub(crate) async fn start(env: &Env, experiment: &Experiment) -> Result<RealNodes, Stop> {
        let sides = sides::facts(experiment)?;
        let lane = Lane::start(env, experiment).await?;
        let purse = Purse::new(lane.snapshot.coins());
        let members = experiment.factory.members.0;
        let closes = experiment.publish.iter().map(|publish| match publish.tx {
            PublishedTx::Closes => members,
            PublishedTx::FirstCloses(count) => count.0.min(members),
            PublishedTx::Pin => 1,
            PublishedTx::Allocation | PublishedTx::FactoryClose => 0,
        });
        let closes = closes.max().unwrap_or_default();
        let experiment = experiment.clone();
        Ok(RealNodes { experiment, sides, lane, purse, trial: None, begun: 0, closes, rejections: Vec::new() })
    }

    /// Begins a trial: every node has the same chain, which ends with the block that confirms the funding of a new factory,
    /// and an empty mempool. `seed` decides the keys of the factory.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if a node does not do what it must, or the coins of the chain are used up.
    pub(crate) async fn begin(&mut self, seed: u64) -> Result<(), Stop> {
        let draft = Draft::new(sides::shape(&self.experiment, seed)?)?;
        let (mut previous, mut waiting) = self.settle().await?;
        let pin = self.experiment.pin.is_some();
        let funding = self.purse.fund(draft.output(), pin, self.wanted_coins())?;
        waiting.push_back(funding.tx.clone());
        // What is there takes part in no trial, and pays nobody.
        let mut time = self.lane.latest();
        let first = loop {
            time += 1;
            let txs = fitting(&mut waiting);
            let height = previous.height + 1;
            let plan = Plan {
                previous: previous.hash,
                height,
                time,
                number: self.begun << 32,
                reward_to: ScriptBuf::new(),
                reward: Amount::ZERO,
            };
            let block = block::build(plan, txs).ok_or_else(|| error("the simulated time is past the last"))?;
            self.lane.extend_all(&block).await?;
            let hash = block.block_hash();
            if waiting.is_empty() {
                break Made { block, hash, height, previous: None, items: Vec::new(), node: 0 };
            }
            previous = Tip { hash, height };
        };
        self.check_empty().await?;
        let mut case = draft.funded(&funding.tx)?;
        let signed = sides::sign(&self.experiment, &mut case, self.closes, funding.pin_coin.clone())?;
        self.check_facts(&signed)?;
        self.begun += 1;
        self.rejections.clear();
        self.trial = Some(Trial::new(case, signed, funding.pin_coin, first));
        Ok(())
    }

    /// What the nodes have not taken in this trial, in the order in which it was offered.
    pub(crate) fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Ends the trial before: all nodes get its longest chain, and all that it paid comes into the purse. Returns the tip,
    /// and what is to be confirmed after it.
    async fn settle(&mut self) -> Result<(Tip, VecDeque<Transaction>), Stop> {
        let Some(mut trial) = self.trial.take() else {
            let snapshot = &self.lane.snapshot;
            return Ok((Tip { hash: snapshot.tip(), height: snapshot.height() }, VecDeque::new()));
        };
        let longest = trial.longest();
        let chain = trial.chain(longest);
        let give = self.lane.nodes.iter_mut().map(|node| {
            let chain = &chain;
            async move {
                for made in &chain[1..] {
                    node.take(&made.block).await?;
                }
                Ok::<_, Stop>(())
            }
        });
        try_join_all(give).await?;
        let tip = chain.last().map(|made| Tip { hash: made.hash, height: made.height });
        let tip = tip.ok_or_else(|| error("a trial has no block"))?;
        let rest = trial.rest(longest)?;
        let factory: Vec<&Transaction> = rest.factory.iter().collect();
        self.purse.collect(&factory, trial.case.payout(), trial.pin_coin.clone());
        trial
            .background
            .iter_mut()
            .filter_map(|background| background.left.take())
            .for_each(|coin| self.purse.put(coin));
        Ok((tip, rest.unconfirmed.into()))
    }

    /// How many more coins the background needs.
    fn wanted_coins(&self) -> usize {
        let Some(congestion) = &self.experiment.congestion else { return 0 };
        let weight = background_facts(congestion.size.0, Amount::ZERO).weight.to_wu();
        let per_block = self.experiment.blocks.max_weight.0.to_wu().div_ceil(weight);
        let filled = congestion.fill.0.div_ceil(crate::scenario::Percent::WHOLE.0);
        let wanted = (per_block * (filled + BLOCKS_AHEAD)).min(MOST_COINS);
        (wanted as usize).saturating_sub(self.purse.background_coins())
    }

    /// Whether every mempool is empty.
    async fn check_empty(&self) -> Result<(), Stop> {
        let check = self.lane.nodes.iter().map(|node| async move {
            match node.rpc().mempool().await?.as_slice() {
                [] => Ok(()),
                held => Err(error(format!("{} holds at the beginning of a trial: {held:?}", node.name))),
            }
        });
        try_join_all(check).await?;
        Ok(())
    }

    /// Whether what was signed is what was to be expected.
    fn check_facts(&self, signed: &Signed) -> Result<(), Stop> {
        let (found, expected) = (&signed.facts, &self.sides);
        let same = found == expected
            && signed.allocation.weight() == expected.allocation.weight
            && signed.closes.iter().all(|close| close.weight() == expected.close.weight)
            && signed.factory_close.weight() == expected.factory_close.weight;
        if same { Ok(()) } else { Err(error(format!("the factory is {found:?}: expected {expected:?}"))) }
    }

    fn trial(&self) -> Result<&Trial, Stop> {
        self.trial.as_ref().ok_or_else(no_trial)
    }

    fn trial_mut(&mut self) -> Result<&mut Trial, Stop> {
        self.trial.as_mut().ok_or_else(no_trial)
    }

    /// The simulated time in seconds since 1970.
    fn time(&self, time_ms: u64) -> Result<u64, Stop> {
        Ok(self.trial()?.base + time_ms / 1_000)
    }

    /// A coin for a background transaction. If there is none any more, those that confirmed ones have left are good if all
    /// nodes have the same tip: nothing undoes that.
    async fn background_coin(&mut self, facts: Facts) -> Result<Coin, Stop> {
        let cost = background::cost(facts)
            .ok_or_else(|| error(format!("no transaction weighs just {} WU", facts.weight.to_wu())))?;
        if let Some(coin) = self.purse.take(cost) {
            return Ok(coin);
        }
        let tips = try_join_all(self.lane.nodes.iter().map(|node| node.tip())).await?;
        let trial = self.trial.as_mut().ok_or_else(no_trial)?;
        if let Some(tip) = tips.first().filter(|first| tips.iter().all(|tip| tip == *first)) {
            let number = trial.number(*tip)?;
            trial.take_confirmed_coins(number).into_iter().for_each(|coin| self.purse.put(coin));
        }
        self.purse.take(cost).ok_or_else(|| {
            error(format!(
                "no coin is left for a background transaction that costs {cost}: until all nodes have the same chain \
                    again, there are coins for about {BLOCKS_AHEAD} full blocks"
            ))
        })
    }

    /// Which transactions of a template these are; they have to be as heavy and pay as much as is known of them.
    fn known(&self, node: usize, template: &[TemplateTransaction]) -> Result<Vec<Item>, Stop> {
        let (trial, name) = (self.trial()?, &self.lane.nodes[node].name);
        let mut items = Vec::with_capacity(template.len());
        for tx in template {
            let item = trial
                .item(tx.txid)
                .ok_or_else(|| error(format!("{name} would mine {}, which is none of the trial's", tx.txid)))?;
            let (found, expected) = (Facts { fee: tx.fee, weight: tx.weight }, trial.facts(item)?);
            if found != expected {
                return Err(error(format!("{name} says of {item}: {found:?}, expected {expected:?}")));
            }
            items.push(item);
        }
        Ok(items)
    }
}

impl Nodes for RealNodes {
    type Error = Stop;

    async fn issue(&mut self, background: &[Facts]) -> Result<(), Stop> {
        for facts in background {
            let coin = self.background_coin(*facts).await?;
            let (tx, left) =
                background::build(&coin, *facts).ok_or_else(|| error("a coin does not hold what it must"))?;
            self.trial_mut()?.issue(tx, *facts, left);
        }
        Ok(())
    }

    async fn offer(&mut self, node: usize, time_ms: u64, items: &[Item]) -> Result<Vec<bool>, Stop> {
        let time = self.time(time_ms)?;
        let trial = self.trial.as_ref().ok_or_else(no_trial)?;
        let lane_node = &mut self.lane.nodes[node];
        lane_node.reach(time).await?;
        let txs = items.iter().map(|item| trial.tx(*item)).collect::<Result<Vec<_>, Stop>>()?;
        let answers = lane_node.rpc().submit_each(txs).await?;
        let accepted = answers.iter().map(|answer| *answer == Submission::Accepted).collect();
        for (item, answer) in items.iter().zip(answers) {
            if let Submission::Rejected(reason) = answer {
                self.rejections.push(Rejection { node, item: *item, reason });
            }
        }
        Ok(accepted)
    }

    async fn holds(&mut self, node: usize) -> Result<Vec<Item>, Stop> {
        let held = self.lane.nodes[node].rpc().mempool().await?;
        let trial = self.trial()?;
        let items = held.into_iter().filter_map(|txid| trial.item(txid));
        let mut items: Vec<_> = items.filter(|item| item.side().is_some()).collect();
        items.sort_unstable();
        Ok(items)
    }

    async fn template(&mut self, node: usize, time_ms: u64) -> Result<Vec<Item>, Stop> {
        let time = self.time(time_ms)?;
        let template = self.lane.nodes[node].template(time).await?;
        self.known(node, &template)
    }

    async fn mine(&mut self, node: usize, time_ms: u64, items: &[Item], miner: usize) -> Result<BlockId, Stop> {
        let time = self.time(time_ms)?;
        let tip = self.tip(node).await?;
        let trial = self.trial()?;
        let (before, number) = (trial.block(tip)?, trial.blocks.len());
        let height = before.height + 1;
        let plan = Plan {
            previous: before.hash,
            height,
            // Later than the block before, so later than the median of the last eleven.
            time: time.max(u64::from(before.block.header.time) + 1),
            number: (self.begun << 32) + number as u64,
            reward_to: miner_script(miner),
            reward: subsidy(height) + trial.paid(items)?,
        };
        let txs = items.iter().map(|item| trial.tx(*item).cloned()).collect::<Result<Vec<_>, Stop>>()?;
        let block = block::build(plan, txs).ok_or_else(|| error("the simulated time is past the last"))?;
        self.lane.nodes[node].extend(&block).await?;
        let hash = block.block_hash();
        let made = Made { block, hash, height, previous: Some(tip), items: items.to_vec(), node };
        self.trial_mut()?.blocks.push(made);
        Ok(BlockId(number))
    }

    async fn deliver(&mut self, node: usize, block: BlockId) -> Result<(), Stop> {
        let made = self.trial.as_ref().ok_or_else(no_trial)?.block(block)?;
        self.lane.nodes[node].take(&made.block).await?;
        Ok(())
    }

    async fn tip(&mut self, node: usize) -> Result<BlockId, Stop> {
        let tip = self.lane.nodes[node].tip().await?;
        self.trial()?.number(tip)
    }

    async fn fees(&mut self, tip: BlockId, miners: usize) -> Result<Vec<u64>, Stop> {
        let trial = self.trial()?;
        let (last, first) = (trial.block(tip)?, trial.block(BlockId::FIRST)?.hash);
        let scripts: Vec<ScriptBuf> = (0..miners).map(miner_script).collect();
        let rpc = self.lane.nodes[last.node].rpc();
        let mut fees = vec![0; miners];
        let (mut hash, mut height) = (last.hash, last.height);
        while hash != first {
            let block = rpc.raw_block(hash).await?;
            let rewards = &block.txdata.first().ok_or_else(|| error(format!("{hash} has no coinbase")))?.output;
            let paid = |output: &&bitcoin::TxOut| scripts.iter().position(|script| *script == output.script_pubkey);
            let (miner, reward) = rewards
                .iter()
                .find_map(|output| Some((paid(&output)?, output.value)))
                .ok_or_else(|| error(format!("{hash} pays to none of the miners")))?;
            let fee = reward.checked_sub(subsidy(height)).ok_or_else(|| error(format!("{hash} pays {reward}")))?;
            fees[miner] += fee.to_sat();
            (hash, height) = (block.header.prev_blockhash, height - 1);
        }
        Ok(fees)
    }
}

/// Where a chain ends.
struct Tip {
    hash: bitcoin::BlockHash,
    height: u64,
}

/// Takes as many transactions off the front as fit into a block.
fn fitting(waiting: &mut VecDeque<Transaction>) -> Vec<Transaction> {
    let mut left = Weight::from_wu(LEFTOVERS);
    let mut fitting = Vec::new();
    while let Some(tx) = waiting.pop_front() {
        match left.checked_sub(tx.weight()) {
            Some(rest) => left = rest,
            // One that is too large by itself goes alone, and the nodes say so.
            None if fitting.is_empty() => {
                fitting.push(tx);
                break;
            }
            None => {
                waiting.push_front(tx);
                break;
            }
        }
        fitting.push(tx);
    }
    fitting
}

fn no_trial() -> Stop {
    error("no trial has begun")
}

fn error(error: impl std::fmt::Display) -> Stop {
    Stop::Error(error.to_string())
}
