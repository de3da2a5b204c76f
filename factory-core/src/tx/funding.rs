//! The funding: the operator's own money, locked by everybody.

use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Witness};

use super::{Complete, LOCK_TIME, SEQUENCE, size};
use crate::fee;
use crate::keys::{Wallet, key_path_witness};
use crate::lock::key_path_sighash;
use crate::terms::{DUST_LIMIT, TxVersion};

/// The output of the funding that holds the factory. The change, if there is any, comes after it.
pub const FACTORY_VOUT: u32 = 0;

/// An unspent output of the operator's wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it holds.
    pub value: Amount,
}

/// Returned when a wallet cannot fund a factory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operator's wallet holds {held} in {coins} coins: the factory needs {needed} and the funding's fee")]
pub struct NotEnoughMoney {
    /// What the coins hold together.
    pub held: Amount,
    /// How many there are.
    pub coins: usize,
    /// What the factory output must hold.
    pub needed: Amount,
}

/// Spends as many of `coins`, in their order, as `output` and the fee at `feerate` take, and signs them. What is left
/// over goes back to the wallet, or to the fee if it would be dust.
///
/// # Errors
///
/// [`NotEnoughMoney`], if all the coins together do not suffice.
pub fn build(wallet: &Wallet, coins: &[Coin], output: TxOut, feerate: FeeRate) -> Result<Complete, NotEnoughMoney> {
    let mut held = Amount::ZERO;
    for (index, coin) in coins.iter().enumerate() {
        held += coin.value;
        let inputs = index + 1;
        let left_after = |outputs| {
            let fee = fee(feerate, size::funding(inputs, outputs).to_vbytes_ceil())?;
            held.checked_sub(output.value)?.checked_sub(fee)
        };
        let change = left_after(2).filter(|change| *change >= DUST_LIMIT);
        if change.is_none() && left_after(1).is_none() {
            continue;
        }
        let change = change.map(|value| TxOut { value, script_pubkey: wallet.script_pubkey().clone() });
        let outputs = [output].into_iter().chain(change).collect();
        return Ok(sign(wallet, &coins[..inputs], TxVersion::Two, outputs, held));
    }
    Err(NotEnoughMoney { held, coins: coins.len(), needed: output.value })
}

/// Spends all these coins to just these outputs, and signs. What they leave is the fee; `None` if they hold less.
pub fn spend(wallet: &Wallet, coins: &[Coin], version: TxVersion, outputs: Vec<TxOut>) -> Option<Complete> {
    let held = coins.iter().map(|coin| coin.value).sum();
    let paid: Amount = outputs.iter().map(|output| output.value).sum();
    (paid <= held).then(|| sign(wallet, coins, version, outputs, held))
}

/// Signs one input of a transaction that spends `spent`, of which this input's is the wallet's own. The others keep the
/// witnesses that they have.
///
/// # Panics
///
/// If there is not one spent output for each input, or no such input.
pub fn sign_input(wallet: &Wallet, mut tx: Transaction, input: usize, spent: &[&TxOut]) -> Transaction {
    let sighash = key_path_sighash(&tx, input, spent);
    tx.input[input].witness = key_path_witness(&wallet.sign(&sighash));
    tx
}

fn sign(wallet: &Wallet, coins: &[Coin], version: TxVersion, output: Vec<TxOut>, held: Amount) -> Complete {
    let paid: Amount = output.iter().map(|output| output.value).sum();
    let input = |coin: &Coin| TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: SEQUENCE,
        witness: Witness::new(),
    };
    let input = coins.iter().map(input).collect();
    let mut tx = Transaction { version: version.to_bitcoin(), lock_time: LOCK_TIME, input, output };
    let spent: Vec<_> =
        coins.iter().map(|coin| TxOut { value: coin.value, script_pubkey: wallet.script_pubkey().clone() }).collect();
    let spent: Vec<_> = spent.iter().collect();
    for index in 0..coins.len() {
        tx = sign_input(wallet, tx, index, &spent);
    }
    Complete::new(tx, held - paid)
}
