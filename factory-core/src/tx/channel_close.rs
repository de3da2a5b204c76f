//! The channel close: the cooperative final split of one member's channel, that spends the allocation.

use bitcoin::{Amount, TxOut};

use super::Unsigned;
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
    let (Some((outpoint, channel)), Some(part)) =
        (factory.channel_output(member), terms.members().get(member as usize))
    else {
        return Err(CloseError::NoSuchMember { member, members: terms.members().len() });
    };
    let split = Split::new(channel.value, balance, terms.close_fee())?;
    let output =
        |value: Option<Amount>, payout| value.map(|value| TxOut { value, script_pubkey: Clone::clone(payout) });
    let outputs = [output(split.member, &part.public.payout), output(split.operator, &terms.operator().payout)];
    Ok(Unsigned::new(terms.offer().version, outpoint, channel, outputs.into_iter().flatten().collect()))
}
