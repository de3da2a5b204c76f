//! The funding: the operator's own money, locked by everybody.

use bitcoin::{Amount, FeeRate, OutPoint, TxOut};

use super::{Complete, size, transfer};
use crate::fee;
use crate::keys::Wallet;
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
        let coins: Vec<_> = coins[..inputs].iter().map(|coin| (wallet, coin.clone())).collect();
        let outputs = [output].into_iter().chain(change).collect();
        let built = transfer::build(&coins, TxVersion::Two, outputs);
        return Ok(built.expect("the coins hold the output, its change and the fee"));
    }
    Err(NotEnoughMoney { held, coins: coins.len(), needed: output.value })
}
