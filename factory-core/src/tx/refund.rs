//! The refund: one state of a channel, enforceable once its relative lock has passed.

use bitcoin::{Amount, Sequence, TxOut};

use super::{Unsigned, htlc};
use crate::channel::{CloseError, State};
use crate::factory::Factory;
use crate::terms::DUST_LIMIT;

/// The refund of `member`'s channel in `state`: spends the channel output once the allocation is as many blocks deep as
/// the state's lock says (BIP 68). The member's output comes first, then the operator's, then one for each pending HTLC,
/// in the order of their numbers.
///
/// The operator pays the fee. An output of either side that would be dust is left out, and its value goes to the fee.
///
/// # Errors
///
/// [`CloseError`], if there is no such member, or its channel cannot be in such a state.
pub fn build(factory: &Factory, member: u32, state: &State) -> Result<Unsigned, CloseError> {
    let terms = factory.terms();
    let channel = factory.channel(member)?;
    let rules = terms.channel_rules(member).expect("the channel was just found");
    if !state.is_possible(channel.output.value) {
        return Err(CloseError::Impossible { state: state.number() });
    }
    let lock = rules.refund_lock(state.number()).ok_or(CloseError::Exhausted { state: state.number() })?;
    let operator = state
        .operator()
        .checked_sub(rules.refund_fee(state.htlcs().len()))
        .ok_or(CloseError::Unpayable { state: state.number() })?;
    let side =
        |value: Amount, payout| (value >= DUST_LIMIT).then(|| TxOut { value, script_pubkey: Clone::clone(payout) });
    let sides = [side(state.member(), &channel.terms.public.payout), side(operator, &terms.operator().payout)];
    let mut outputs: Vec<_> = sides.into_iter().flatten().collect();
    outputs.extend(state.htlcs().iter().map(|pending| TxOut {
        value: pending.amount,
        script_pubkey: htlc::Scripts::new(factory, member, pending).script_pubkey(),
    }));
    let spent = (channel.outpoint, channel.output);
    Ok(Unsigned::new(terms.offer().version, channel.lock, spent, Sequence::from_height(lock), outputs))
}
