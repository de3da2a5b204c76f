//! The links between the parties, and what a scenario does to them.

use std::collections::BTreeSet;

use factory_core::Party;
use factory_core::protocol::{Body, Exchange, Joint, Message, Slot, Step};

use crate::scenario::Withheld;

/// Which messages arrive. Those that do arrive in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Links {
    silent: BTreeSet<Party>,
    withholdings: Vec<Withholding>,
}

#[derive(Debug)]
struct Withholding {
    from: Party,
    what: Withheld,
    /// How many messages it has kept back.
    kept: usize,
}

impl Links {
    /// From now on `party` neither gets nor sends anything.
    pub(super) fn silence(&mut self, party: Party) {
        self.silent.insert(party);
    }

    /// From now on `from` keeps back what it owes.
    pub(super) fn withhold(&mut self, from: Party, what: Withheld) {
        self.withholdings.push(Withholding { from, what, kept: 0 });
    }

    /// What was to be kept back, and never was sent.
    pub(super) fn in_vain(&self) -> impl Iterator<Item = (Party, Withheld)> {
        self.withholdings.iter().filter(|withholding| withholding.kept == 0).map(|vain| (vain.from, vain.what))
    }

    /// Whether `message` arrives.
    pub(super) fn carry(&mut self, from: Party, to: Party, message: &Message) -> bool {
        if self.silent.contains(&from) || self.silent.contains(&to) {
            return false;
        }
        let Some(kind) = kind(message) else { return true };
        let holds = |withholding: &&mut Withholding| {
            // One completion is kept back, the signatures of the factory close are kept back for good.
            let open = kind == Withheld::Signatures || withholding.kept == 0;
            withholding.from == from && withholding.what == kind && open
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

fn kind(message: &Message) -> Option<Withheld> {
    let Message::About { body, .. } = message else { return None };
    match body {
        Body::Channel(Exchange::Complete { slot: Slot::State(_), .. }) => Some(Withheld::Completion),
        Body::Sign { joint: Joint::FactoryClose, step: Step::Signatures(_), .. } => Some(Withheld::Signatures),
        _ => None,
    }
}
