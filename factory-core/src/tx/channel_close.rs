//! The channel close: the cooperative final split of one member's channel, that spends the allocation.

use bitcoin::{Amount, TxOut};

use super::{SEQUENCE, Unsigned};
use crate::channel::{CloseError, Split};
use crate::factory::Factory;

/// The close of `member`'s channel that leaves it `balance`. The member's output comes first, then the operator's; one
/// that would be dust is left out, and its value goes to the fee.
///
/// # Errors
///
/// [`CloseError`], if the channel cannot give the member that much, or there is no such member.
pub fn build(factory: &Factory, member: u32, balance: Amount) -> Result<Unsigned, CloseError> {
    let terms = factory.terms();
    let channel = factory.channel(member)?;
    let split = Split::new(channel.output.value, balance, terms.close_fee())?;
    let output =
        |value: Option<Amount>, payout| value.map(|value| TxOut { value, script_pubkey: Clone::clone(payout) });
    let outputs =
        [output(split.member, &channel.terms.public.payout), output(split.operator, &terms.operator().payout)];
    let outputs = outputs.into_iter().flatten().collect();
    Ok(Unsigned::new(terms.offer().version, channel.lock, (channel.outpoint, channel.output), SEQUENCE, outputs))
}
