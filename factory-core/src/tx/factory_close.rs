//! The factory close: the cut-through of the allocation and of every channel close.

use bitcoin::{Amount, TxOut};

use super::Unsigned;
use crate::channel::{CloseError, Split};
use crate::factory::{Digest, Factory};

/// The factory close that leaves the members given balances.
///
/// Each member's output is exactly that of its channel close. The operator's outputs of all channel closes are merged
/// into one, the last. So the fee is exactly the sum of the fees of what it cuts through.
///
/// It is a function of the factory and the balances, and nothing else can make one. So parties of one process may share
/// it without trusting each other, as they share the [`Factory`]; a party across a wire would get the balances and
/// build it anew. That its input, version, locktime, sequence, fee and outputs are right holds by construction: what
/// is left for a member to check is that it is of the same factory, and that its own balance is right.
#[derive(Debug)]
pub struct FactoryClose {
    factory: Digest,
    balances: Vec<Amount>,
    unsigned: Unsigned,
}

impl FactoryClose {
    /// The close of `factory` that leaves the members `balances`, in the agreed order.
    ///
    /// # Errors
    ///
    /// [`CloseError`], if there is not one balance per member, or a channel cannot give its member that much.
    pub fn new(factory: &Factory, balances: Vec<Amount>) -> Result<Self, CloseError> {
        let terms = factory.terms();
        let members = terms.members();
        if balances.len() != members.len() {
            return Err(CloseError::BalanceCount { found: balances.len(), members: members.len() });
        }
        let mut outputs = Vec::with_capacity(members.len() + 1);
        let mut merged = Amount::ZERO;
        for (member, &balance) in members.iter().zip(&balances) {
            let split = Split::new(member.capacity, balance, terms.close_fee())?;
            merged += split.operator.unwrap_or(Amount::ZERO);
            outputs.extend(split.member.map(|value| TxOut { value, script_pubkey: member.public.payout.clone() }));
        }
        if merged > Amount::ZERO {
            outputs.push(TxOut { value: merged, script_pubkey: terms.operator().payout.clone() });
        }
        let unsigned = Unsigned::new(terms.offer().version, factory.outpoint(), &terms.factory_output(), outputs);
        Ok(FactoryClose { factory: factory.digest(), balances, unsigned })
    }

    /// The factory that it closes.
    pub fn factory(&self) -> Digest {
        self.factory
    }

    /// What each member has in the end, in the agreed order. A balance that would be dust has no output.
    pub fn balances(&self) -> &[Amount] {
        &self.balances
    }

    /// The transaction, without its signature.
    pub fn unsigned(&self) -> &Unsigned {
        &self.unsigned
    }
}
