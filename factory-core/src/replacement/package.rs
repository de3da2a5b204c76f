//! The rules for a parent and its child that come together (package relay, one parent and one child).

use std::collections::BTreeSet;

use bitcoin::Amount;

use super::judge::{Size, TRUC_CHILD_MAX_VSIZE, TRUC_MAX_VSIZE, diagram, number, smallest_above};
use super::{Candidate, Finding, Judgement, Mempool, Policy, Quality, Requires, Rule};

/// A parent that does not get in alone, and the child that pays for both.
///
/// What they spend beside each other is confirmed, or is what they would evict: packages with other unconfirmed parents
/// replace nothing at any node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The parent.
    pub parent: Candidate,
    /// What the parent pays by itself.
    pub parent_fee: Amount,
    /// Its child. What it spends of its parent is not among [`Candidate::parents`].
    pub child: Candidate,
    /// Whether the child spends all the parent's dust.
    pub spends_dust: bool,
}

impl Package {
    /// The size of both, in virtual bytes.
    fn vsize(&self) -> u64 {
        self.parent.vsize() + self.child.vsize()
    }
}

impl Policy {
    /// What every rule of this policy says of `package` when the child pays this fee, in the order in which a node tries
    /// them. It is the child's fee that [`Judgement::smallest_fee`] computes.
    pub fn judge_package(&self, mempool: &Mempool, package: &Package, child_fee: Amount) -> Judgement {
        let Package { parent, parent_fee, child, .. } = package;
        let vsize = package.vsize();
        // What the parent pays, the child need not.
        let rest = |total: Amount| Requires::Fee(total.checked_sub(*parent_fee).unwrap_or(Amount::ZERO));
        let mut findings = [self.standardness(parent), self.standardness(child)].concat();
        let mut add = |rule, requires| findings.push(Finding { rule, requires });

        add(
            Rule::Dust,
            match self.dust(parent.dust) {
                Requires::NoFee if *parent_fee == Amount::ZERO => Requires::Nothing(None),
                Requires::NoFee => Requires::Nothing(Some("the parent has dust and pays a fee")),
                other => other,
            },
        );
        add(Rule::Dust, self.dust(child.dust));
        let conflicts: BTreeSet<usize> = parent.conflicts.iter().chain(&child.conflicts).copied().collect();
        let parents: BTreeSet<usize> = parent.parents.iter().chain(&child.parents).copied().collect();
        if self.truc {
            add(Rule::Truc, Requires::Nothing(truc(package, &parents)));
        }
        if self.mempool_minimum > self.relay_minimum {
            add(Rule::MempoolMinimum, rest(self.mempool_minimum.fee(vsize)));
        }
        add(Rule::RelayMinimum, rest(self.relay_minimum.fee(vsize)));
        // A package that replaces nothing may have other ancestors. Such a one is not judged here.
        add(Rule::PackageParents, Requires::AtMost { limit: 0, found: number(parents.len()) });
        if !conflicts.is_empty() {
            let evicted = mempool.descendants(conflicts.iter().copied());
            let fees = mempool.fees(&evicted);
            add(Rule::Evicted, Requires::AtMost { limit: self.most_evicted, found: self.evicted(mempool, &conflicts) });
            add(Rule::AbsoluteFee, rest(fees));
            add(Rule::RelayPayment, rest(fees + self.incremental.fee(vsize)));
            add(Rule::PackageFeerate, Requires::Fee(self.above_parent(package)));
            let weight = Size::Weight((parent.weight + child.weight).to_wu());
            let size = if self.quality == Quality::Diagram { weight } else { Size::Virtual(vsize) };
            if self.quality != Quality::Diagram {
                add(Rule::ConflictTopology, Requires::Nothing(relatives(mempool, &evicted)));
            }
            add(Rule::Diagram, rest(diagram(mempool, &[], size, &evicted)));
        }
        if parent.dust > 0 {
            let against = (!package.spends_dust).then_some("the child leaves dust of its parent");
            add(Rule::DustSpent, Requires::Nothing(against));
        }
        Judgement { fee: child_fee, findings }
    }

    /// The smallest fee of the child with which the package has a feerate above its parent's.
    fn above_parent(&self, package: &Package) -> Amount {
        let (parent, whole) = (package.parent.vsize(), package.vsize());
        let fee = package.parent_fee.to_sat();
        let cut = matches!(self.quality, Quality::AboveConflicts { cut: true });
        let total = smallest_above(fee, parent, whole, cut);
        total.checked_sub(package.parent_fee).unwrap_or(Amount::ZERO)
    }
}

/// What stands against it by the rules of version 3.
fn truc(package: &Package, parents: &BTreeSet<usize>) -> Option<&'static str> {
    let (parent, child) = (&package.parent, &package.child);
    match (parent.version == 3, child.version == 3) {
        (false, false) => None,
        (true, false) => Some("the child spends from version 3 without being of version 3"),
        (false, true) => Some("the child is of version 3 and its parent is not"),
        (true, true) if parent.vsize() > TRUC_MAX_VSIZE => Some("the parent is of version 3 and larger than 10,000 vB"),
        (true, true) if child.vsize() > TRUC_CHILD_MAX_VSIZE => {
            Some("it is a child of version 3 and larger than 1,000 vB")
        }
        (true, true) if !parents.is_empty() => Some("there is another unconfirmed ancestor"),
        (true, true) => None,
    }
}

/// What stands against comparing diagrams: a transaction that would leave has more than one relative.
fn relatives(mempool: &Mempool, evicted: &BTreeSet<usize>) -> Option<&'static str> {
    let alone = |&one: &usize| mempool.cluster([one], &BTreeSet::new()).len() <= 2;
    (!evicted.iter().all(alone)).then_some("what it evicts hangs together with more than one other")
}

#[cfg(test)]
mod tests {
    use bitcoin::Weight;

    use super::*;
    use crate::replacement::Entry;

    fn candidate(vsize: u64, conflicts: Vec<usize>, dust: usize) -> Candidate {
        Candidate { weight: Weight::from_wu(4 * vsize), version: 3, parents: vec![], conflicts, dust }
    }

    /// A factory close of three members in the mempool, and the allocation with an anchor and no fee that would evict it.
    fn anchored() -> (Mempool, Package) {
        let mut mempool = Mempool::new();
        let (fee, weight) = (Amount::from_sat(659), Weight::from_wu(4 * 240));
        let close = mempool.push(Entry { fee, weight, version: 3, parents: vec![] });
        let (parent, child) = (candidate(210, vec![close], 1), candidate(120, vec![], 0));
        (mempool, Package { parent, parent_fee: Amount::ZERO, child, spends_dust: true })
    }

    fn smallest(policy: &Policy, mempool: &Mempool, package: &Package) -> Result<u64, Rule> {
        let judgement = policy.judge_package(mempool, package, Amount::ZERO);
        let rich = policy.judge_package(mempool, package, Amount::ONE_BTC);
        match judgement.smallest_fee() {
            Some(fee) => Ok(fee.to_sat()),
            None => Err(rich.first_broken().unwrap().rule),
        }
    }

    #[test]
    fn an_anchored_allocation_evicts_the_factory_close() {
        let (mempool, package) = anchored();
        // The diagram asks for the factory close's feerate, 659 sat over 240 vB, for all 330 vB.
        assert_eq!(smallest(&Policy::CORE_31, &mempool, &package), Ok(907));
        assert_eq!(smallest(&Policy::CORE_30, &mempool, &package), Ok(907));
        // The fees that are evicted and the relay.
        assert_eq!(smallest(&Policy::CORE_29, &mempool, &package), Ok(659 + 330));
        assert_eq!(smallest(&Policy::KNOTS_29, &mempool, &package), Err(Rule::Dust));
        let judgement = Policy::CORE_31.judge_package(&mempool, &package, Amount::from_sat(659 + 32));
        let broken = judgement.first_broken().unwrap().rule;
        assert_eq!(broken.package_reject_reason(), "package RBF failed: insufficient anti-DoS fees");
    }

    #[test]
    fn dust_is_for_who_pays_nothing_and_is_spent_at_once() {
        let (mempool, package) = anchored();
        let paying = Package { parent_fee: Amount::from_sat(1), ..package.clone() };
        assert_eq!(smallest(&Policy::CORE_31, &mempool, &paying), Err(Rule::Dust));
        let leaving = Package { spends_dust: false, ..package.clone() };
        assert_eq!(smallest(&Policy::CORE_31, &mempool, &leaving), Err(Rule::DustSpent));
        let mut dusty = package.clone();
        dusty.child.dust = 1;
        assert_eq!(smallest(&Policy::CORE_31, &mempool, &dusty), Err(Rule::Dust));
        // Alone it pays too little whatever it pays.
        let alone = Policy::CORE_31.judge(&mempool, &package.parent, Amount::ZERO);
        assert_eq!(alone.first_broken().map(|finding| finding.rule), Some(Rule::RelayMinimum));
        assert_eq!(alone.smallest_fee(), None);
    }

    #[test]
    fn a_child_pays_more_than_its_parent() {
        let (mempool, mut package) = anchored();
        package.parent = candidate(210, vec![0], 0);
        package.parent_fee = Amount::from_sat(900);
        // 900 sat over 210 vB are 4.285714 sat/vB: over 330 vB 1,414.3 sat, and cut to 4.285 one needs 4.286.
        assert_eq!(smallest(&Policy::CORE_31, &mempool, &package), Ok(1_415 - 900));
        assert_eq!(smallest(&Policy::CORE_29, &mempool, &package), Ok(1_415 - 900));
        package.parent_fee = Amount::from_sat(0);
        let rule = |policy: &Policy, mempool: &Mempool| smallest(policy, mempool, &package);
        let mut crowded = mempool.clone();
        for _ in 0..2 {
            let (fee, weight) = (Amount::from_sat(100), Weight::from_wu(400));
            crowded.push(Entry { fee, weight, version: 2, parents: vec![0] });
        }
        // Before cluster mempool only pairs are compared.
        assert_eq!(rule(&Policy::CORE_30, &crowded), Err(Rule::ConflictTopology));
        assert_eq!(rule(&Policy::CORE_31, &crowded), Ok(907));
        package.child.parents = vec![1];
        assert_eq!(smallest(&Policy::KNOTS_29, &crowded, &package), Err(Rule::PackageParents));
    }

    #[test]
    fn version_3_holds_for_both() {
        let (mempool, package) = anchored();
        let mut mixed = package.clone();
        mixed.child.version = 2;
        let mut large = package.clone();
        large.child.weight = Weight::from_wu(4_001);
        for broken in [mixed, large] {
            assert_eq!(smallest(&Policy::CORE_29, &mempool, &broken), Err(Rule::Truc));
        }
    }

    #[test]
    fn nothing_spends_what_it_evicts() {
        let (mempool, package) = anchored();
        let candidate = Candidate { parents: vec![0], dust: 0, ..package.parent };
        for policy in [Policy::CORE_29, Policy::CORE_31] {
            let judgement = policy.judge(&mempool, &candidate, Amount::ONE_BTC);
            assert_eq!(judgement.first_broken().map(|finding| finding.rule), Some(Rule::SpendsNoConflict));
            assert_eq!(judgement.smallest_fee(), None);
        }
    }
}
