//! A mempool that is full of what is none of the factory's.

use bitcoin::{Amount, TxOut};
use factory_core::replacement::RelayRate;
use factory_core::tx::funding::Coin;
use factory_core::tx::{Complete, size, transfer};
use factory_core::{TxVersion, Wallet, fee};

use super::{Stop, Testbed};
use crate::node::Submission;
use crate::node::snapshot;
use crate::scenario::Fill;
use crate::scenario::check::SMALL_MEMPOOL;
use crate::seed;

/// As many outputs as keep a transaction of one input within the size that nodes relay (about 99,000 vB).
pub(crate) const OUTPUTS: usize = 2_300;
/// What a node says to a transaction that would itself be the first to go.
pub(crate) const FULL: &str = "mempool full";

impl Testbed {
    /// Sends a node large transactions until it takes nothing any more at their feerate.
    ///
    /// Each pays one satoshi less than the one before. So the last one is what there is no room for, and every one that was
    /// ever taken stays: which peer has heard of which does not depend on chance.
    pub(super) async fn fill(&mut self, fill: &Fill) -> Result<(), Stop> {
        let node = self.node(fill.node.as_ref())?;
        let rpc = self.network.places[node].rpc()?.clone();
        let wanted = fill.feerate.0;
        let name = self.name(node).to_owned();
        let too_much = || Stop::Fail(format!("{} is too high a feerate to fill a mempool", fill.feerate));
        let vsize = size::funding(1, OUTPUTS).to_vbytes_ceil();
        let lowest = fee(wanted, vsize).ok_or_else(too_much)?;
        let faucet = snapshot::faucet();
        let receiver = Wallet::generate(&mut seed::stream(self.scenario.seed, "filler"));
        while rpc.mempool_rules().await?.mempool_minimum <= RelayRate::from(wanted) {
            let left = self.coins.len();
            let coin = self.take_coin().map_err(|_| {
                Stop::Fail(format!("{name} is not full, and no coin is left: expected `args: [{SMALL_MEMPOOL}]`"))
            })?;
            let tx = filler(&faucet, coin, &receiver, lowest + Amount::from_sat(left as u64)).ok_or_else(too_much)?;
            match rpc.submit(tx.transaction()).await? {
                Submission::Accepted => self.network.pass_on(node, tx.transaction()).await?,
                Submission::Rejected(reason) if reason.contains(FULL) => {}
                Submission::Rejected(reason) => {
                    return Err(Stop::Fail(format!("a transaction that is to fill {name} was rejected: {reason}")));
                }
            }
        }
        self.network.filled = true;
        self.log.fault(format!("the mempool of {name} is filled at {}", fill.feerate));
        self.look().await
    }
}

/// A large transaction that pays `fee`, if the coin holds as much.
pub(crate) fn filler(faucet: &Wallet, coin: Coin, receiver: &Wallet, fee: Amount) -> Option<Complete> {
    let each = coin.value.checked_sub(fee)? / OUTPUTS as u64;
    let rest = coin.value - fee - each * OUTPUTS as u64;
    let output = |value| TxOut { value, script_pubkey: receiver.script_pubkey().clone() };
    let mut outputs = vec![output(each); OUTPUTS];
    outputs[0].value += rest;
    transfer::build(&[(faucet, coin)], TxVersion::Two, outputs).ok()
}
