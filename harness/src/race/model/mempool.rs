//! What a node's mempool takes of the factory's transactions: asked of `factory_core::replacement`, once for each state.

use std::collections::{HashMap, HashSet};

use factory_core::replacement::{Candidate, Entry, Mempool, Policy, Quality, RelayRate};

use crate::race::item::{Facts, Item, Sides};
use crate::race::language::Side;

/// What of the factory is in a mempool, as far as it makes a difference: all closes but the first are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Held {
    allocation: bool,
    factory_close: bool,
    first_close: bool,
    pin: bool,
    other_closes: u32,
}

/// What of the factory is confirmed, as far as it makes a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Confirmed {
    spender: Option<Side>,
    first_close: bool,
}

/// What a transaction is, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Allocation,
    FirstClose,
    OtherClose,
    Pin,
    FactoryClose,
    Background,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) accepted: bool,
    /// Whether it takes the other side's place.
    pub(crate) replaces: bool,
}

/// Judges transactions for every node, and remembers.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    sides: Sides,
    policies: Vec<Policy>,
    /// For each node the first with the same policy.
    alike: Vec<usize>,
    known: HashMap<(usize, Held, Confirmed, Class, Comes), Verdict>,
}

/// Where a transaction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Comes {
    /// Somebody sent it.
    New,
    /// It was in a block that the node has left.
    Back,
}

/// The rules for what comes back from a block that the node has left (`bypass_limits` in `validation.cpp`): there is no least
/// feerate, and from Core 30 on version 3 has no topology.
fn lenient(policy: &Policy) -> Policy {
    let truc = policy.truc && policy.quality == Quality::AboveConflicts { cut: true };
    Policy { relay_minimum: RelayRate(0), mempool_minimum: RelayRate(0), truc, ..policy.clone() }
}

impl Held {
    fn of(items: &[Item]) -> Self {
        let mut held = Held::default();
        for item in items {
            match item {
                Item::Allocation => held.allocation = true,
                Item::FactoryClose => held.factory_close = true,
                Item::Close(0) => held.first_close = true,
                Item::Close(_) => held.other_closes += 1,
                Item::Pin => held.pin = true,
                Item::Background(_) => {}
            }
        }
        held
    }
}

impl Confirmed {
    pub(crate) fn of(items: &HashSet<Item>) -> Self {
        let spender = [Item::Allocation, Item::FactoryClose].into_iter().find(|item| items.contains(item));
        Confirmed { spender: spender.and_then(Item::side), first_close: items.contains(&Item::Close(0)) }
    }
}

impl Class {
    fn of(item: Item) -> Self {
        match item {
            Item::Allocation => Class::Allocation,
            Item::FactoryClose => Class::FactoryClose,
            Item::Close(0) => Class::FirstClose,
            Item::Close(_) => Class::OtherClose,
            Item::Pin => Class::Pin,
            Item::Background(_) => Class::Background,
        }
    }
}

impl Judge {
    pub(crate) fn new(sides: Sides, policies: Vec<Policy>) -> Self {
        let first = |policy: &Policy| policies.iter().position(|other| other == policy);
        let alike = policies.iter().enumerate().map(|(place, policy)| first(policy).unwrap_or(place)).collect();
        Judge { sides, policies, alike, known: HashMap::new() }
    }

    /// What a node says to a transaction that it does not have.
    pub(crate) fn judge(
        &mut self,
        node: usize,
        held: &[Item],
        confirmed: Confirmed,
        item: Item,
        comes: Comes,
    ) -> Verdict {
        let key = (self.alike[node], Held::of(held), confirmed, Class::of(item), comes);
        if let Some(verdict) = self.known.get(&key) {
            return *verdict;
        }
        let policy = &self.policies[key.0];
        let verdict = match comes {
            Comes::New => self.work_out(policy, held, confirmed, item),
            Comes::Back => self.work_out(&lenient(policy), held, confirmed, item),
        };
        self.known.insert(key, verdict);
        verdict
    }

    fn work_out(&self, policy: &Policy, held: &[Item], confirmed: Confirmed, item: Item) -> Verdict {
        let refused = Verdict { accepted: false, replaces: false };
        let spends_funding = |item: Item| matches!(item, Item::Allocation | Item::FactoryClose);
        if spends_funding(item) && confirmed.spender.is_some() {
            return refused;
        }
        let mut held = held.to_vec();
        held.sort_unstable();
        let place = |wanted: Item| held.iter().position(|other| *other == wanted);
        let parent_confirmed = match item.parent() {
            Some(Item::Allocation) => confirmed.spender == Some(Side::Allocation),
            Some(Item::Close(_)) => confirmed.first_close,
            _ => false,
        };
        let parents: Vec<usize> = item.parent().and_then(place).into_iter().collect();
        if item.parent().is_some() && parents.is_empty() && !parent_confirmed {
            return refused;
        }
        let mut mempool = Mempool::new();
        for &one in &held {
            let Some(Facts { fee, weight }) = self.facts(one) else { continue };
            let parents = one.parent().and_then(place).into_iter().collect();
            mempool.push(Entry { fee, weight, version: self.sides.version, parents });
        }
        let conflicts: Vec<usize> =
            (0..held.len()).filter(|&one| spends_funding(item) && spends_funding(held[one])).collect();
        let Some(Facts { fee, weight }) = self.facts(item) else { return refused };
        let replaces = !conflicts.is_empty();
        let candidate =
            Candidate { weight, version: self.sides.version, parents, conflicts, dust: 0, leaves_dust: false };
        Verdict { accepted: policy.judge(&mempool, &candidate, fee).accepted(), replaces }
    }

    fn facts(&self, item: Item) -> Option<Facts> {
        match item {
            Item::Allocation => Some(self.sides.allocation),
            Item::Close(_) => Some(self.sides.close),
            Item::Pin => self.sides.pin,
            Item::FactoryClose => Some(self.sides.factory_close),
            Item::Background(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::{Amount, Weight};

    use super::*;

    /// A factory of 20 at 1 sat/vB.
    fn sides() -> Sides {
        let facts = |fee, vsize: u64| Facts { fee: Amount::from_sat(fee), weight: Weight::from_wu(4 * vsize) };
        Sides {
            members: 20,
            version: 2,
            allocation: facts(928, 928),
            close: facts(154, 154),
            pin: Some(facts(1_000, 1_000)),
            factory_close: facts(928 + 20 * 154, 971),
        }
    }

    fn judge(policy: Policy, held: &[Item], item: Item) -> Verdict {
        Judge::new(sides(), vec![policy]).judge(0, held, Confirmed::default(), item, Comes::New)
    }

    fn with_closes(count: u32) -> Vec<Item> {
        [Item::Allocation].into_iter().chain((0..count).map(Item::Close)).collect()
    }

    #[test]
    fn the_factory_close_replaces_up_to_the_boundary() {
        for (policy, last) in
            [(Policy::CORE_29, 13), (Policy::KNOTS_29, 13), (Policy::CORE_30, 19), (Policy::CORE_31, 19)]
        {
            for closes in 0..=20 {
                let verdict = judge(policy.clone(), &with_closes(closes), Item::FactoryClose);
                assert_eq!(verdict, Verdict { accepted: closes <= last, replaces: true }, "{policy:?}, {closes}");
            }
        }
    }

    #[test]
    fn what_it_spends_has_to_be_there() {
        assert!(!judge(Policy::CORE_31, &[], Item::Close(3)).accepted);
        assert!(judge(Policy::CORE_31, &[Item::Allocation], Item::Close(3)).accepted);
        assert!(!judge(Policy::CORE_31, &with_closes(1)[..1], Item::Pin).accepted);
        assert!(judge(Policy::CORE_31, &with_closes(1), Item::Pin).accepted);
        let mut judge = Judge::new(sides(), vec![Policy::CORE_31]);
        let confirmed = Confirmed { spender: Some(Side::Allocation), first_close: false };
        assert!(judge.judge(0, &[], confirmed, Item::Close(3), Comes::New).accepted);
        assert!(!judge.judge(0, &[], confirmed, Item::FactoryClose, Comes::New).accepted);
        assert!(!judge.judge(0, &[], confirmed, Item::Pin, Comes::New).accepted);
    }

    #[test]
    fn the_allocation_does_not_come_back_against_the_factory_close() {
        assert!(!judge(Policy::CORE_29, &[Item::FactoryClose], Item::Allocation).accepted);
        assert!(!judge(Policy::CORE_31, &[Item::FactoryClose], Item::Allocation).accepted);
    }

    /// As mempool_truc.py of Core 30 has it (test_truc_reorg), and `validation.cpp` of each.
    #[test]
    fn what_comes_back_from_a_block_is_held_to_less() {
        let held = with_closes(1);
        for (policy, comes, accepted) in [
            (Policy::CORE_31, Comes::New, false),
            (Policy::CORE_31, Comes::Back, true),
            (Policy::CORE_30, Comes::New, false),
            (Policy::CORE_30, Comes::Back, true),
            (Policy::CORE_29, Comes::Back, false),
            (Policy::KNOTS_29, Comes::New, true),
        ] {
            let mut judge = Judge::new(Sides { version: 3, ..sides() }, vec![policy.clone()]);
            let verdict = judge.judge(0, &held, Confirmed::default(), Item::Close(1), comes);
            assert_eq!(verdict.accepted, accepted, "{policy:?} {comes:?}");
        }
        let dear = Policy { relay_minimum: RelayRate(2_000), mempool_minimum: RelayRate(2_000), ..Policy::CORE_31 };
        let mut judge = Judge::new(sides(), vec![dear]);
        for (comes, accepted) in [(Comes::New, false), (Comes::Back, true), (Comes::New, false)] {
            let verdict = judge.judge(0, &[], Confirmed::default(), Item::Allocation, comes);
            assert_eq!(verdict.accepted, accepted, "{comes:?}");
        }
    }
}
