//! A party spends what it has of the factory.

use std::sync::Arc;

use bitcoin::OutPoint;
use factory_core::tx::funding::Coin;
use factory_core::{TxName, fee};

use super::{Stop, Testbed};
use crate::node::snapshot;
use crate::parties::payout_wallet;
use crate::scenario::check::version;
use crate::scenario::{Spend, Txs};
use crate::spend::Padding;

impl Testbed {
    pub(super) async fn spend(&mut self, spend: &Spend) -> Result<(), Stop> {
        let (by, parent) = (spend.by.0, spend.tx.0);
        let via = self.via(spend.via.as_ref(), by)?;
        let wallet = payout_wallet(self.scenario.seed, by);
        let own = self.output_of(parent, wallet.script_pubkey()).ok_or_else(|| {
            Stop::Fail(format!("{parent} has no output of {by}'s, or is not signed: expected one that it can spend"))
        })?;
        let number = spend.version.unwrap_or(self.scenario.factory.version).0;
        let version = version(number).ok_or_else(|| Stop::Fail(format!("expected version 2 or 3, found {number}")))?;
        let faucet = snapshot::faucet();
        let padding = Padding::of(spend.size.map_or(0, |size| size.0), faucet.script_pubkey());
        let by_feerate = fee(self.scenario.factory.feerate.0, padding.vsize);
        let fee = spend.fee.map(|fee| fee.0).or(by_feerate);
        let fee = fee.ok_or_else(|| Stop::Fail(format!("{parent} is spent at a fee that is no amount")))?;
        let coin = self.take_coin()?;
        let tx = padding.spend((&wallet, own), (&faucet, coin), fee, version);
        let tx = Arc::new(tx.map_err(|error| Stop::Fail(format!("{parent} cannot be spent: {error}")))?);
        let name = TxName::Spend(self.spends);
        self.spends += 1;
        self.deliver(&[(name, tx)], &Txs::from(name), by, via, &spend.expect, spend.replaces.as_ref()).await
    }

    /// The output of a transaction that pays to a script, if the transaction is complete.
    fn output_of(&self, name: TxName, script: &bitcoin::ScriptBuf) -> Option<Coin> {
        let followed = self.network.places.iter().find_map(|place| place.ledger.get(name).map(|record| &record.tx));
        let tx =
            followed.or_else(|| self.scenario.everybody().find_map(|party| self.parties.transaction(party, name)))?;
        let (vout, output) = (0..).zip(&tx.transaction().output).find(|(_, output)| output.script_pubkey == *script)?;
        Some(Coin { outpoint: OutPoint::new(tx.txid(), vout), value: output.value })
    }

    /// A coin of the faucet's that nothing has spent. The funding takes the first ones, so the last ones are given.
    pub(super) fn take_coin(&mut self) -> Result<Coin, Stop> {
        let funding = self.parties.factory().map(|factory| factory.funding().clone());
        let spent = |coin: &Coin| {
            funding.as_ref().is_some_and(|tx| tx.input.iter().any(|input| input.previous_output == coin.outpoint))
        };
        let coin = self.coins.pop().filter(|coin| !spent(coin));
        coin.ok_or_else(|| Stop::Fail("no coin is left that could pay for transactions from outside".to_owned()))
    }
}
