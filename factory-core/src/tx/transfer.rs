//! Money that is a wallet's own: spent by its key alone, without anybody of a factory.

use bitcoin::{Amount, ScriptBuf, Transaction, TxIn, TxOut, Witness};

use super::funding::Coin;
use super::{Complete, LOCK_TIME, SEQUENCE};
use crate::keys::{Wallet, key_path_witness};
use crate::lock::key_path_sighash;
use crate::terms::TxVersion;

/// Returned when coins do not hold what is to be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coins hold {held}: expected at least the {paid} that the outputs hold")]
pub struct NotCovered {
    /// What the coins hold together.
    pub held: Amount,
    /// What the outputs hold together.
    pub paid: Amount,
}

/// Spends coins, each with the wallet that it belongs to, to `outputs`, and signs for all of them. What the outputs leave
/// is the fee.
///
/// # Errors
///
/// [`NotCovered`], if they leave less than nothing.
pub fn build(coins: &[(&Wallet, Coin)], version: TxVersion, outputs: Vec<TxOut>) -> Result<Complete, NotCovered> {
    let held: Amount = coins.iter().map(|(_, coin)| coin.value).sum();
    let paid: Amount = outputs.iter().map(|output| output.value).sum();
    let fee = held.checked_sub(paid).ok_or(NotCovered { held, paid })?;
    let input = |(_, coin): &(&Wallet, Coin)| TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: SEQUENCE,
        witness: Witness::new(),
    };
    let mut tx = Transaction {
        version: version.to_bitcoin(),
        lock_time: LOCK_TIME,
        input: coins.iter().map(input).collect(),
        output: outputs,
    };
    let spent =
        |(wallet, coin): &(&Wallet, Coin)| TxOut { value: coin.value, script_pubkey: wallet.script_pubkey().clone() };
    let spent: Vec<TxOut> = coins.iter().map(spent).collect();
    let spent: Vec<&TxOut> = spent.iter().collect();
    for (index, (wallet, _)) in coins.iter().enumerate() {
        tx = sign_input(wallet, tx, index, &spent);
    }
    Ok(Complete::new(tx, fee))
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
