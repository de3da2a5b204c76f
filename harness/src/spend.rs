//! What a party does with its own money: a transaction that spends its output of one of the factory's.
//!
//! It returns the party's output to the party, undiminished. A coin of the faucet's pays its fee and its size, so that
//! what everybody has of the factory stays the same.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, PubkeyHash, ScriptBuf, ScriptHash, TxOut, VarInt, WPubkeyHash};
use factory_core::tx::Complete;
use factory_core::tx::funding::Coin;
use factory_core::tx::transfer::{self, NotCovered};
use factory_core::{TxVersion, Wallet};

/// What every output holds that only adds to the size: more than any dust limit.
const FILLING: Amount = Amount::from_sat(1_000);
/// The bytes of an output beside its script: 8 of its value, 1 of the script's length.
const OUTPUT_BASE: u64 = 8 + 1;
/// What two key path inputs, the party's output and everything that is there once take, in vB: all but the other outputs
/// and the count of outputs. The witnesses' 134 WU are rounded up.
const BASE: u64 = 4 + 1 + 2 * 41 + 43 + 4 + 34;
/// With up to so many small outputs beside equal large ones, every size can be met from about 500 vB on.
const SMALL_OUTPUTS: usize = 7;

/// The outputs that give a spend its size.
#[derive(Debug)]
pub(crate) struct Padding {
    scripts: Vec<ScriptBuf>,
    /// The virtual size of the spend with them, in vB.
    pub(crate) vsize: u64,
}

impl Padding {
    /// The outputs that make a spend just `size` vB large, or as little larger as can be. Every node kind relays payments
    /// to their scripts by default, whatever it thinks of data.
    pub(crate) fn of(size: u64, taproot: &ScriptBuf) -> Padding {
        let small = [
            ScriptBuf::new_p2pkh(&PubkeyHash::all_zeros()),
            ScriptBuf::new_p2sh(&ScriptHash::all_zeros()),
            ScriptBuf::new_p2wpkh(&WPubkeyHash::all_zeros()),
        ];
        let bytes = |script: &ScriptBuf| OUTPUT_BASE + script.len() as u64;
        let mut vsize = size;
        loop {
            for counts in mixtures() {
                let of_small: u64 = small.iter().zip(counts).map(|(script, count)| bytes(script) * count as u64).sum();
                for length_of_count in [1, 3] {
                    let Some(rest) = vsize.checked_sub(BASE + length_of_count + of_small) else { continue };
                    let large = (rest / bytes(taproot)) as usize;
                    let outputs = 1 + large + counts.iter().sum::<usize>();
                    let fits =
                        rest.is_multiple_of(bytes(taproot)) && VarInt::from(outputs).size() as u64 == length_of_count;
                    // Something has to take what the coin holds beyond the fee.
                    if fits && outputs > 1 {
                        let others = small.iter().zip(counts).flat_map(|(script, count)| vec![script.clone(); count]);
                        let scripts = vec![taproot.clone(); large].into_iter().chain(others).collect();
                        return Padding { scripts, vsize };
                    }
                }
            }
            vsize += 1;
        }
    }

    /// Spends `own`, a party's output, back to the party, and the faucet's `coin` to the padding and to `fee`.
    ///
    /// # Errors
    ///
    /// [`NotCovered`], if the coin holds less than that takes.
    pub(crate) fn spend(
        self,
        own: (&Wallet, Coin),
        coin: (&Wallet, Coin),
        fee: Amount,
        version: TxVersion,
    ) -> Result<Complete, NotCovered> {
        let filling = FILLING * self.scripts.len() as u64;
        let held = coin.1.value;
        let left = held.checked_sub(fee + filling).ok_or(NotCovered { held, paid: fee + filling })?;
        let returned = TxOut { value: own.1.value, script_pubkey: own.0.script_pubkey().clone() };
        let padding = self.scripts.into_iter().enumerate().map(|(place, script_pubkey)| TxOut {
            value: if place == 0 { FILLING + left } else { FILLING },
            script_pubkey,
        });
        let outputs = [returned].into_iter().chain(padding).collect();
        transfer::build(&[own, coin], version, outputs)
    }
}

/// How many there can be of each of three small outputs, the fewest first.
fn mixtures() -> impl Iterator<Item = [usize; 3]> {
    let split =
        |sum: usize| (0..=sum).flat_map(move |one| (0..=sum - one).map(move |other| [one, other, sum - one - other]));
    (0..=SMALL_OUTPUTS).flat_map(split)
}

#[cfg(test)]
mod tests {
    use bitcoin::{OutPoint, Txid};

    use super::*;
    use crate::seed;

    fn spend(size: u64) -> (Complete, u64) {
        let (party, faucet) =
            (Wallet::generate(&mut seed::stream(1, "m0")), Wallet::generate(&mut seed::stream(0, "faucet")));
        let coin = |vout, sat| Coin { outpoint: OutPoint::new(Txid::all_zeros(), vout), value: Amount::from_sat(sat) };
        let padding = Padding::of(size, faucet.script_pubkey());
        let vsize = padding.vsize;
        let fee = Amount::from_sat(9_472);
        let tx =
            padding.spend((&party, coin(0, 100_000)), (&faucet, coin(1, 5_000_000_000)), fee, TxVersion::Two).unwrap();
        assert_eq!(tx.fee(), fee);
        assert_eq!(tx.transaction().output[0].value, Amount::from_sat(100_000));
        assert_eq!(tx.transaction().output[0].script_pubkey, *party.script_pubkey());
        assert!(tx.transaction().output.iter().all(|output| output.value >= FILLING));
        (tx, vsize)
    }

    #[test]
    fn a_spend_is_as_large_as_it_is_to_be() {
        for size in (500..600).chain([1_000, 1_001, 10_990, 11_000, 11_100]).chain(94_700..94_720).chain([100_000]) {
            let (tx, vsize) = spend(size);
            assert_eq!((vsize, tx.transaction().vsize() as u64), (size, size));
        }
    }

    #[test]
    fn a_size_that_cannot_be_met_is_rounded_up() {
        for (size, met) in [(0, 200), (200, 200), (201, 201), (204, 212), (212, 212), (213, 231)] {
            let (tx, vsize) = spend(size);
            assert_eq!((vsize, tx.transaction().vsize() as u64), (met, met), "{size}");
        }
    }
}
