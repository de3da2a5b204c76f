//! The rules for a parent and its child that come together (package relay, one parent and one child).

use std::collections::BTreeSet;

use bitcoin::Amount;

use super::judge::{PACKAGE_MAX_WEIGHT, Size, TRUC_CHILD_MAX_VSIZE, TRUC_MAX_VSIZE, diagram, number, smallest_above};
use super::{Candidate, Finding, Judgement, Limits, Mempool, Policy, Quality, Requires, Rule};

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
    /// Its child. Its parent here is not among its [`Candidate::parents`], but counts for [`Candidate::leaves_dust`].
    pub child: Candidate,
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
        let weight = parent.weight + child.weight;
        let light = Requires::AtMost { limit: PACKAGE_MAX_WEIGHT, found: weight.to_wu() };
        let mut findings = vec![Finding { rule: Rule::PackageWeight, requires: light }];
        findings.extend([self.standardness(parent), self.standardness(child)].concat());
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
        if self.pays_for_itself(parent) {
            let too_little = *parent_fee < self.relay_minimum.fee(parent.vsize());
            let against = too_little.then_some("the parent pays too little by itself");
            add(Rule::RelayMinimum, Requires::Nothing(against));
        }
        if self.pays_for_itself(child) {
            add(Rule::RelayMinimum, Requires::Fee(self.relay_minimum.fee(child.vsize())));
        }
        let conflicts: BTreeSet<usize> = parent.conflicts.iter().chain(&child.conflicts).copied().collect();
        let parents: BTreeSet<usize> = parent.parents.iter().chain(&child.parents).copied().collect();
        if self.truc {
            add(Rule::Truc, Requires::Nothing(truc(package, &parents)));
        }
        if self.mempool_minimum > self.relay_minimum {
            add(Rule::MempoolMinimum, rest(self.mempool_minimum.fee(vsize)));
        }
        add(Rule::RelayMinimum, rest(self.relay_minimum.fee(vsize)));
        if let Limits::Chain { vsize: limit, .. } = self.limits {
            add(Rule::AncestorSize, Requires::AtMost { limit, found: vsize });
        }
        // A package that replaces nothing may have other ancestors. Such a one is not judged here.
        add(Rule::PackageParents, Requires::AtMost { limit: 0, found: number(parents.len()) });
        if !conflicts.is_empty() {
            let evicted = mempool.descendants(conflicts.iter().copied());
            let fees = mempool.fees(&evicted);
            add(Rule::Evicted, Requires::AtMost { limit: self.most_evicted, found: self.evicted(mempool, &conflicts) });
            add(Rule::AbsoluteFee, rest(fees));
            add(Rule::RelayPayment, rest(fees + self.incremental.fee(vsize)));
            add(Rule::PackageFeerate, Requires::Fee(self.above_parent(package)));
            let size = if self.quality == Quality::Diagram {
                Size::Weight(weight.to_wu())
            } else {
                add(Rule::ConflictTopology, Requires::Nothing(relatives(mempool, &evicted)));
                Size::Virtual(vsize)
            };
            add(Rule::Diagram, rest(diagram(mempool, &[], size, &evicted)));
        }
        if let Limits::Cluster { count, weight: limit } = self.limits {
            add(Rule::ClusterCount, Requires::AtMost { limit: count, found: 2 });
            add(Rule::ClusterWeight, Requires::AtMost { limit, found: weight.to_wu() });
        }
        if parent.leaves_dust || child.leaves_dust {
            add(Rule::DustSpent, Requires::Nothing(Some("one of them leaves dust of its parent")));
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
    use crate::replacement::{Entry, RelayRate};

    fn candidate(vsize: u64, conflicts: Vec<usize>, dust: usize) -> Candidate {
        Candidate {
            weight: Weight::from_wu(4 * vsize),
            version: 3,
            parents: vec![],
            conflicts,
            dust,
            leaves_dust: false,
        }
    }

    /// A factory close of three members in the mempool, and the allocation with an anchor and no fee that would evict it.
    fn anchored() -> (Mempool, Package) {
        let mut mempool = Mempool::new();
        let (fee, weight) = (Amount::from_sat(659), Weight::from_wu(4 * 240));
        let close = mempool.push(Entry { fee, weight, version: 3, parents: vec![] });
        let (parent, child) = (candidate(210, vec![close], 1), candidate(120, vec![], 0));
        (mempool, Package { parent, parent_fee: Amount::ZERO, child })
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
        let mut leaving = package.clone();
        leaving.child.leaves_dust = true;
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
        package.parent_fee = Amount::from_sat(210);
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
    fn before_cluster_mempool_only_version_3_may_pay_less_than_is_relayed() {
        let (mempool, mut package) = anchored();
        (package.parent.dust, package.parent.version, package.child.version) = (0, 2, 2);
        assert_eq!(smallest(&Policy::CORE_31, &mempool, &package), Ok(907));
        assert_eq!(smallest(&Policy::CORE_30, &mempool, &package), Err(Rule::RelayMinimum));
        // Knots does not know version 3, unless it is told to.
        let (_, mut restricted) = anchored();
        restricted.parent.dust = 0;
        assert_eq!(smallest(&Policy::CORE_29, &mempool, &restricted), Ok(659 + 330));
        assert_eq!(smallest(&Policy::KNOTS_29, &mempool, &restricted), Err(Rule::RelayMinimum));
        let enforcing = Policy { truc: true, ..Policy::KNOTS_29 };
        assert_eq!(smallest(&enforcing, &mempool, &restricted), Ok(659 + 330));
        package.parent_fee = Amount::from_sat(209);
        assert_eq!(smallest(&Policy::CORE_29, &mempool, &package), Err(Rule::RelayMinimum));
        package.parent_fee = Amount::from_sat(210);
        assert_eq!(smallest(&Policy::CORE_29, &mempool, &package), Ok(659 + 330 - 210));
        // What replaces nothing is relayed from 330 sat, of which the child pays at least its own 120.
        for (parent_fee, child) in [(0, Err(Rule::RelayMinimum)), (210, Ok(120)), (300, Ok(120))] {
            package.parent_fee = Amount::from_sat(parent_fee);
            package.parent.conflicts.clear();
            assert_eq!(smallest(&Policy::CORE_29, &Mempool::new(), &package), child);
        }
        assert_eq!(smallest(&Policy::CORE_31, &Mempool::new(), &package), Ok(0));
    }

    #[test]
    fn packages_are_limited_to_the_last_virtual_byte() {
        let of = |parent: u64, child: u64| {
            let paying = Candidate { version: 2, ..candidate(child, vec![], 0) };
            let parent = Candidate { weight: Weight::from_wu(parent), ..paying.clone() };
            Package { parent, parent_fee: Amount::ONE_BTC, child: paying }
        };
        let empty = Mempool::new();
        for policy in [Policy::CORE_30, Policy::CORE_31] {
            assert!(smallest(&policy, &empty, &of(399_996, 1_001)).is_ok());
            assert_eq!(smallest(&policy, &empty, &of(399_997, 1_001)), Err(Rule::PackageWeight));
        }
        // 404,000 weight units may be 101,001 vB, since each is rounded up.
        let mut uneven = of(399_997, 1_000);
        uneven.child.weight = Weight::from_wu(4_003);
        assert_eq!(smallest(&Policy::CORE_30, &empty, &uneven), Err(Rule::AncestorSize));
        assert!(smallest(&Policy::CORE_31, &empty, &uneven).is_ok());
        // Nodes may be told other limits.
        let limits = |count, weight| Policy { limits: Limits::Cluster { count, weight }, ..Policy::CORE_31 };
        assert_eq!(smallest(&limits(1, 404_000), &empty, &uneven), Err(Rule::ClusterCount));
        assert_eq!(smallest(&limits(2, 403_999), &empty, &uneven), Err(Rule::ClusterWeight));
    }

    #[test]
    fn a_package_pays_each_minimum_for_both() {
        let (_, mut package) = anchored();
        package.parent.conflicts.clear();
        let empty = Mempool::new();
        assert_eq!(smallest(&Policy::CORE_31, &empty, &package), Ok(33));
        assert_eq!(smallest(&Policy::CORE_29, &empty, &package), Ok(330));
        let full = Policy { mempool_minimum: RelayRate(5_000), ..Policy::CORE_31 };
        assert_eq!(smallest(&full, &empty, &package), Ok(5 * 330));
        let judgement = full.judge_package(&empty, &package, Amount::ZERO);
        assert_eq!(judgement.binding(), Some(Rule::MempoolMinimum));
    }

    #[test]
    fn each_limit_holds_for_packages() {
        let (mempool, package) = anchored();
        let with = |change: &dyn Fn(&mut Package)| {
            let mut changed = package.clone();
            change(&mut changed);
            smallest(&Policy::CORE_30, &mempool, &changed)
        };
        assert!(with(&|package| package.parent.weight = Weight::from_wu(40_000)).is_ok());
        assert_eq!(with(&|package| package.parent.weight = Weight::from_wu(40_001)), Err(Rule::Truc));
        let of_version_2 = |package: &mut Package| {
            (package.parent.version, package.parent.dust, package.parent_fee) = (2, 0, Amount::from_sat(210));
        };
        assert_eq!(with(&of_version_2), Err(Rule::Truc));
        assert_eq!(with(&|package| package.parent.parents = vec![0]), Err(Rule::Truc));
        assert_eq!(with(&|package| package.parent.leaves_dust = true), Err(Rule::DustSpent));
        let mut crowd = mempool.clone();
        let first = crowd.entries()[0].clone();
        for _ in 0..100 {
            crowd.push(first.clone());
        }
        let evicting = |many| Package { parent: candidate(210, (0..many).collect(), 1), ..package.clone() };
        for policy in [Policy::CORE_30, Policy::CORE_31] {
            assert!(smallest(&policy, &crowd, &evicting(100)).is_ok());
            assert_eq!(smallest(&policy, &crowd, &evicting(101)), Err(Rule::Evicted));
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
            // Core 31 finds that out last.
            let poor = policy.judge(&mempool, &candidate, Amount::from_sat(240));
            let rule = if policy == Policy::CORE_31 { Rule::AbsoluteFee } else { Rule::SpendsNoConflict };
            assert_eq!(poor.first_broken().map(|finding| finding.rule), Some(rule));
        }
    }
}
