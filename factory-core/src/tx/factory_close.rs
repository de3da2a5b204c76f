//! The factory close: the cut-through of the allocation and of every channel close.

use std::sync::Arc;

use bitcoin::{Amount, FeeRate, Script, Transaction, TxOut};

use super::{LOCK_TIME, SEQUENCE, Unsigned, size};
use crate::channel::{CloseError, Split};
use crate::factory::Factory;
use crate::fee;
use crate::terms::DUST_LIMIT;

/// The factory close that leaves the members given balances, in all its variants.
///
/// Each member's output is exactly that of its channel close, and the same in every variant. The operator's outputs of
/// all channel closes are merged into one, the last; it pays the premium. So without a premium the fee is exactly the
/// sum of the fees of what the factory close cuts through.
#[derive(Debug)]
pub struct FactoryClose {
    balances: Arc<[Amount]>,
    rungs: Vec<Unsigned>,
}

/// The outputs of every variant, before there are any transactions.
struct Layout<'a> {
    factory: &'a Factory,
    /// The members' outputs.
    paid: Vec<(Amount, &'a Script)>,
    /// All that the members and the fees of the cut-through leave.
    merged: Amount,
}

impl FactoryClose {
    /// The close of `factory` that leaves the members `balances`, in the agreed order.
    ///
    /// # Errors
    ///
    /// [`CloseError`], if there is not one balance per member, or a channel cannot give its member that much.
    pub fn new(factory: &Factory, balances: impl Into<Arc<[Amount]>>) -> Result<Self, CloseError> {
        let balances = balances.into();
        let layout = Layout::new(factory, &balances)?;
        let terms = factory.terms();
        let rung = |&premium: &FeeRate| {
            let outputs = layout.outputs(premium);
            let outputs = outputs.map(|(value, script)| TxOut { value, script_pubkey: script.to_owned() }).collect();
            let spent = (factory.outpoint(), &terms.factory_output());
            Unsigned::new(terms.offer().version, terms.factory_lock(), spent, SEQUENCE, outputs)
        };
        let rungs = terms.offer().close_fee.premiums().iter().map(rung).collect();
        Ok(FactoryClose { balances, rungs })
    }

    /// The same, out of transactions that are proposed for it: they are shared, not made again. `None` if they are not
    /// what [`FactoryClose::new`] derives.
    ///
    /// # Errors
    ///
    /// [`CloseError`], as for [`FactoryClose::new`].
    pub fn adopt(
        factory: &Factory,
        balances: &Arc<[Amount]>,
        proposed: &[&Arc<Transaction>],
    ) -> Result<Option<Self>, CloseError> {
        let layout = Layout::new(factory, balances)?;
        let terms = factory.terms();
        let premiums = terms.offer().close_fee.premiums();
        if proposed.len() != premiums.len() {
            return Ok(None);
        }
        let output = terms.factory_output();
        let adopt = |(&premium, &tx): (&FeeRate, &&Arc<Transaction>)| {
            layout.is(tx, premium).then(|| {
                let paid: Amount = tx.output.iter().map(|output| output.value).sum();
                Unsigned::adopt(terms.factory_lock(), &output, tx.clone(), output.value - paid)
            })
        };
        let rungs: Option<Vec<_>> = premiums.iter().zip(proposed).map(adopt).collect();
        Ok(rungs.map(|rungs| FactoryClose { balances: balances.clone(), rungs }))
    }

    /// What each member has in the end, in the agreed order. A balance that would be dust has no output.
    pub fn balances(&self) -> &Arc<[Amount]> {
        &self.balances
    }

    /// The variants, by rising premium, without their signatures. There is at least one.
    pub fn rungs(&self) -> &[Unsigned] {
        &self.rungs
    }
}

impl<'a> Layout<'a> {
    fn new(factory: &'a Factory, balances: &[Amount]) -> Result<Self, CloseError> {
        let terms = factory.terms();
        let members = terms.members();
        if balances.len() != members.len() {
            return Err(CloseError::BalanceCount { found: balances.len(), members: members.len() });
        }
        let mut paid = Vec::with_capacity(members.len());
        let mut merged = Amount::ZERO;
        for (member, &balance) in members.iter().zip(balances) {
            let split = Split::new(member.capacity, balance, terms.close_fee())?;
            merged += split.operator.unwrap_or(Amount::ZERO);
            paid.extend(split.member.map(|value| (value, member.public.payout.as_script())));
        }
        Ok(Layout { factory, paid, merged })
    }

    /// The outputs of the variant with this premium.
    fn outputs(&self, premium: FeeRate) -> impl Iterator<Item = (Amount, &'a Script)> {
        let terms = self.factory.terms();
        let weight = size::lock_spend(terms.offer().lock, terms.members().len() + 1, self.paid.len() + 1);
        // The merged output bounds the premium: a premium that would eat it, or leave dust, takes all of it.
        let premium = fee(premium, weight.to_vbytes_ceil()).unwrap_or(self.merged).min(self.merged);
        let operator = Some(self.merged - premium).filter(|value| *value >= DUST_LIMIT);
        self.paid.iter().copied().chain(operator.map(|value| (value, terms.operator().payout.as_script())))
    }

    /// Whether `tx` is the variant with this premium, without its signatures.
    fn is(&self, tx: &Transaction, premium: FeeRate) -> bool {
        let [input] = tx.input.as_slice() else { return false };
        let outputs = tx.output.iter().map(|output| (output.value, output.script_pubkey.as_script()));
        (tx.version, tx.lock_time) == (self.factory.terms().offer().version.to_bitcoin(), LOCK_TIME)
            && (input.previous_output, input.sequence) == (self.factory.outpoint(), SEQUENCE)
            && input.script_sig.is_empty()
            && input.witness.is_empty()
            && outputs.eq(self.outputs(premium))
    }
}
