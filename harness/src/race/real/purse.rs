//! The money of a set of nodes: what fundings are paid from, and the coins that background transactions spend.

use std::collections::{HashSet, VecDeque};

use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use factory_core::tx::funding::{Coin, FACTORY_VOUT};
use factory_core::tx::transfer;
use factory_core::{DUST_LIMIT, TxVersion, Wallet};

use super::background;
use super::error;
use crate::node::snapshot::faucet;
use crate::race::sides::PIN_COIN;
use crate::testbed::Stop;

/// What a coin of the background's holds at first.
const COIN: Amount = Amount::from_sat(2_000_000);
/// With less than this, a coin is not worth keeping.
const SPENT_UP: Amount = Amount::from_sat(50_000);

/// Money that is confirmed in the chain of all nodes.
#[derive(Debug)]
pub(super) struct Purse {
    faucet: Wallet,
    money: Vec<(Wallet, Coin)>,
    background: VecDeque<Coin>,
}

/// A transaction that pays to a factory's output, and what else it pays to.
#[derive(Debug)]
pub(super) struct Funding {
    pub(super) tx: Transaction,
    /// What pays for the large child, if that was asked for.
    pub(super) pin_coin: Option<Coin>,
}

impl Purse {
    /// A purse with coins of the faucet's.
    pub(super) fn new(coins: Vec<Coin>) -> Purse {
        let faucet = faucet();
        let money = coins.into_iter().map(|coin| (faucet.clone(), coin)).collect();
        Purse { faucet, money, background: VecDeque::new() }
    }

    /// How many coins there are for the background.
    pub(super) fn background_coins(&self) -> usize {
        self.background.len()
    }

    /// Takes the coin for a background transaction: the first one that holds enough.
    pub(super) fn take(&mut self, cost: Amount) -> Option<Coin> {
        let least = cost + background::script_pubkey().minimal_non_dust();
        let place = self.background.iter().position(|coin| coin.value >= least)?;
        self.background.remove(place)
    }

    /// Takes in a coin that a background transaction has left.
    pub(super) fn put(&mut self, coin: Coin) {
        if coin.value >= SPENT_UP {
            self.background.push_back(coin);
        }
    }

    /// Takes in what `txs`, which are confirmed, pay to the faucet or to `payout` and do not spend themselves; and `lent`,
    /// if none of them spends it.
    pub(super) fn collect(&mut self, txs: &[&Transaction], payout: &Wallet, lent: Option<Coin>) {
        let inputs = txs.iter().flat_map(|tx| &tx.input);
        let spent: HashSet<OutPoint> = inputs.map(|input| input.previous_output).collect();
        for tx in txs {
            let txid = tx.compute_txid();
            for (vout, output) in (0..).zip(&tx.output) {
                let owner = [payout, &self.faucet].into_iter().find(|own| *own.script_pubkey() == output.script_pubkey);
                let outpoint = OutPoint::new(txid, vout);
                if let Some(owner) = owner.filter(|_| !spent.contains(&outpoint) && output.value >= SPENT_UP) {
                    self.money.push((owner.clone(), Coin { outpoint, value: output.value }));
                }
            }
        }
        self.money.extend(lent.filter(|lent| !spent.contains(&lent.outpoint)).map(|coin| (self.faucet.clone(), coin)));
    }

    /// Spends all money to a factory's output, to a coin for the large child if there is one, to `coins` new coins for the
    /// background and back to the purse. It pays no fee: who mines it knows it. What it makes is in the purse from then on.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if there is not enough.
    pub(super) fn fund(&mut self, output: TxOut, pin: bool, coins: usize) -> Result<Funding, Stop> {
        let held: Amount = self.money.iter().map(|(_, coin)| coin.value).sum();
        let pays_pin = if pin { PIN_COIN } else { Amount::ZERO };
        let needed = output.value + pays_pin + COIN * coins as u64;
        let change = held.checked_sub(needed).filter(|change| *change >= DUST_LIMIT).ok_or_else(|| {
            error(format!(
                "the coins of the first blocks are used up: {held} is left, and the next trial needs {needed}"
            ))
        })?;
        let own = |value| TxOut { value, script_pubkey: self.faucet.script_pubkey().clone() };
        let fanned = TxOut { value: COIN, script_pubkey: background::script_pubkey() };
        let mut outputs = vec![output, own(change)];
        outputs.extend(pin.then(|| own(PIN_COIN)));
        let first_fanned = outputs.len();
        outputs.extend(std::iter::repeat_n(fanned, coins));
        let inputs: Vec<_> = self.money.iter().map(|(wallet, coin)| (wallet, coin.clone())).collect();
        let built = transfer::build(&inputs, TxVersion::Two, outputs).map_err(error)?;
        let tx = Transaction::clone(built.transaction());
        let txid = tx.compute_txid();
        let coin = |vout: usize| Coin { outpoint: OutPoint::new(txid, vout as u32), value: tx.output[vout].value };
        let pin_coin = pin.then(|| coin(FACTORY_VOUT as usize + 2));
        self.money = vec![(self.faucet.clone(), coin(FACTORY_VOUT as usize + 1))];
        self.background.extend((first_fanned..tx.output.len()).map(coin));
        Ok(Funding { tx, pin_coin })
    }
}
