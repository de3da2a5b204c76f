//! The allocation: splits the factory output into one channel output per member.

use bitcoin::{OutPoint, TxOut};

use super::{SEQUENCE, Unsigned};
use crate::terms::Terms;

/// The allocation of the factory at `outpoint`. Output `i` is the channel of member `i`, with its whole capacity.
pub(crate) fn build(terms: &Terms, outpoint: OutPoint) -> Unsigned {
    let channels = terms.members().iter().zip(terms.channel_locks());
    let outputs = channels
        .map(|(member, lock)| TxOut { value: member.capacity, script_pubkey: lock.script_pubkey().clone() })
        .collect();
    let spent = (outpoint, &terms.factory_output());
    Unsigned::new(terms.offer().version, terms.factory_lock(), spent, SEQUENCE, outputs)
}
