//! The links between the parties, and what a scenario does to them.

use std::collections::BTreeSet;

use factory_core::Party;

use crate::scenario::{MessageKind, Withhold};

/// Which messages arrive. Those that do arrive in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Links {
    silent: BTreeSet<Party>,
    withholdings: Vec<Withholding>,
}

#[derive(Debug)]
struct Withholding {
    order: Withhold,
    /// How many messages it has kept back.
    kept: usize,
}

impl Links {
    /// From now on `party` neither gets nor sends anything.
    pub(super) fn silence(&mut self, party: Party) {
        self.silent.insert(party);
    }

    /// From now on `party` gets and sends messages again.
    pub(super) fn unsilence(&mut self, party: Party) {
        self.silent.remove(&party);
    }

    /// From now on messages are kept back.
    pub(super) fn withhold(&mut self, order: Withhold) {
        self.withholdings.push(Withholding { order, kept: 0 });
    }

    /// What was to be kept back, and never was sent.
    pub(super) fn in_vain(&self) -> impl Iterator<Item = &Withhold> {
        self.withholdings.iter().filter(|withholding| withholding.kept == 0).map(|vain| &vain.order)
    }

    /// Whether a message arrives.
    pub(super) fn carry(&mut self, from: Party, to: Party, kind: MessageKind) -> bool {
        if self.silent.contains(&from) || self.silent.contains(&to) {
            return false;
        }
        let holds = |withholding: &&mut Withholding| {
            let order = &withholding.order;
            let open = order.always || withholding.kept == 0;
            let is_for = order.to.is_none_or(|only| only.0 == to);
            order.from.0 == from && order.message == kind && is_for && open
        };
        match self.withholdings.iter_mut().find(holds) {
            Some(withholding) => {
                withholding.kept += 1;
                false
            }
            None => true,
        }
    }
}
