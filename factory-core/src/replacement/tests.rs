//! The model against what was measured on real nodes.

use bitcoin::{Amount, Weight};

use super::{Candidate, Entry, Mempool, Policy, Rule};

/// The weight of a factory close of so many members with the key path of MuSig2.
fn close_weight(members: u64) -> Weight {
    Weight::from_wu(4 * (111 + 43 * members))
}

/// The allocation of so many members and some of their closes, all at 1 sat/vB.
struct Case {
    mempool: Mempool,
    members: u64,
    version: i32,
}

impl Case {
    fn new(members: u64, closes: u64, version: i32) -> Self {
        let mut case = Case { mempool: Mempool::new(), members, version };
        case.push(68 + 43 * members, vec![]);
        for _ in 0..closes {
            case.push(154, vec![0]);
        }
        case
    }

    fn push(&mut self, vsize: u64, parents: Vec<usize>) -> usize {
        let (fee, weight) = (Amount::from_sat(vsize), Weight::from_wu(4 * vsize));
        self.mempool.push(Entry { fee, weight, version: self.version, parents })
    }

    /// The factory close against what is there.
    fn factory_close(&self) -> Candidate {
        let weight = close_weight(self.members);
        Candidate { weight, version: self.version, parents: vec![], conflicts: vec![0], dust: 0 }
    }

    /// One more close.
    fn next_close(&self) -> Candidate {
        let weight = Weight::from_wu(4 * 154);
        Candidate { weight, version: self.version, parents: vec![0], conflicts: vec![], dust: 0 }
    }

    fn exact(&self) -> Amount {
        Amount::from_sat(68 + 43 * self.members + 154 * self.members)
    }

    fn accepts_exact(&self, policy: &Policy) -> bool {
        policy.judge(&self.mempool, &self.factory_close(), self.exact()).accepted()
    }

    fn smallest(&self, policy: &Policy) -> u64 {
        policy.judge(&self.mempool, &self.factory_close(), Amount::ZERO).smallest_fee().unwrap().to_sat()
    }
}

const ALL: [(&str, Policy); 4] = [
    ("core-29", Policy::CORE_29),
    ("core-30", Policy::CORE_30),
    ("core-31", Policy::CORE_31),
    ("knots-29", Policy::KNOTS_29),
];

#[test]
fn against_the_allocation_alone_the_exact_fee_is_enough_everywhere() {
    for (name, policy) in ALL {
        for members in [3, 20, 100] {
            assert!(Case::new(members, 0, 2).accepts_exact(&policy), "{name}, {members} members");
        }
    }
}

#[test]
fn against_the_whole_package_the_exact_fee_is_a_tie_and_pays_for_no_relay() {
    for (name, policy) in ALL {
        for members in [3, 20] {
            let case = Case::new(members, members, 2);
            let judgement = policy.judge(&case.mempool, &case.factory_close(), case.exact());
            assert_eq!(judgement.first_broken().map(|finding| finding.rule), Some(Rule::RelayPayment), "{name}");
            assert_eq!(judgement.binding(), Some(Rule::RelayPayment), "{name}");
            // A premium of the relay feerate over the whole factory close is what is missing.
            let relay = policy.incremental.fee(111 + 43 * members);
            assert_eq!(judgement.smallest_fee(), Some(case.exact() + relay), "{name}");
        }
    }
}

#[test]
fn the_boundary_lies_where_it_was_measured() {
    for (policy, last) in [(Policy::CORE_29, 13), (Policy::KNOTS_29, 13), (Policy::CORE_30, 19), (Policy::CORE_31, 19)]
    {
        assert!(Case::new(20, last, 2).accepts_exact(&policy), "{policy:?}");
        assert!(!Case::new(20, last + 1, 2).accepts_exact(&policy), "{policy:?}");
    }
    for policy in [Policy::CORE_30, Policy::CORE_31] {
        assert!(Case::new(3, 2, 2).accepts_exact(&policy) && !Case::new(3, 3, 2).accepts_exact(&policy));
    }
}

#[test]
fn the_smallest_fee_against_the_allocation_alone() {
    let smallest = ALL.map(|(_, policy)| Case::new(3, 0, 2).smallest(&policy));
    assert_eq!(smallest, [437, 241, 240, 437]);
}

#[test]
fn so_many_closes_fit_beside_the_allocation() {
    for (name, policy) in ALL {
        let most = if name == "core-31" { 63 } else { 25 };
        let fits = |closes| {
            let case = Case::new(100, closes, 2);
            policy.judge(&case.mempool, &case.next_close(), Amount::from_sat(154))
        };
        assert!(fits(most - 1).accepted(), "{name}");
        let refused = fits(most);
        let reason = refused.first_broken().map(|finding| finding.rule.reject_reason());
        assert_eq!(reason, Some(if name == "core-31" { "too-large-cluster" } else { "too-long-mempool-chain" }));
        assert_eq!(refused.smallest_fee(), None, "no fee helps");
    }
}

#[test]
fn version_3_has_one_close_which_the_next_evicts_for_its_relay() {
    let case = Case::new(3, 1, 3);
    let judge = |policy: &Policy| policy.judge(&case.mempool, &case.next_close(), Amount::from_sat(154));
    for policy in [Policy::CORE_30, Policy::CORE_31] {
        assert!(!judge(&policy).accepted());
        assert_eq!(judge(&policy).smallest_fee(), Some(Amount::from_sat(154 + 16)));
    }
    // Knots does not enforce it, so both stand side by side.
    assert_eq!(judge(&Policy::KNOTS_29).smallest_fee(), Some(Amount::from_sat(154)));
    let of_version_2 = Candidate { version: 2, ..case.next_close() };
    let refused = Policy::CORE_31.judge(&case.mempool, &of_version_2, Amount::from_sat(10_000));
    assert_eq!(refused.first_broken().map(|finding| finding.rule), Some(Rule::Truc));
}

#[test]
fn a_large_descendant_pins_and_its_fee_has_to_be_paid() {
    let mut case = Case::new(3, 3, 2);
    let before = case.smallest(&Policy::CORE_31);
    assert_eq!(before, 683);
    let weight = Weight::from_wu(4 * 94_713);
    case.mempool.push(Entry { fee: Amount::from_sat(9_472), weight, version: 2, parents: vec![1] });
    assert_eq!(case.smallest(&Policy::CORE_31) - before, 9_472);
}

#[test]
fn a_full_mempool_asks_its_own_minimum() {
    let full = Policy { mempool_minimum: super::RelayRate(5_000), ..Policy::CORE_31 };
    let case = Case::new(3, 0, 2);
    let judgement = full.judge(&case.mempool, &case.factory_close(), case.exact());
    assert_eq!(judgement.first_broken().map(|finding| finding.rule), Some(Rule::MempoolMinimum));
    assert_eq!(judgement.smallest_fee(), Some(Amount::from_sat(1_200)));
}

#[test]
fn before_core_30_feerates_are_cut_before_they_are_compared() {
    // 1,000 sat over 333 vB is 3,003.003 sat/kvB: cut, the next whole one is enough.
    let mut mempool = Mempool::new();
    mempool.push(Entry { fee: Amount::from_sat(1_000), weight: Weight::from_wu(1_332), version: 2, parents: vec![] });
    let candidate =
        Candidate { weight: Weight::from_wu(40_000), version: 2, parents: vec![], conflicts: vec![0], dust: 0 };
    let smallest = |policy: Policy| {
        let judgement = policy.judge(&mempool, &candidate, Amount::ZERO);
        assert_eq!(judgement.binding(), Some(Rule::FeerateAboveConflicts));
        judgement.smallest_fee().unwrap().to_sat()
    };
    assert_eq!(smallest(Policy::CORE_29), 30_040);
    assert_eq!(smallest(Policy::CORE_30), 30_031);
}

#[test]
fn what_no_node_relays_is_refused_by_name() {
    let case = Case::new(2_324, 0, 2);
    let refused = |candidate: Candidate| {
        let judgement = Policy::CORE_31.judge(&case.mempool, &candidate, Amount::ONE_BTC);
        (judgement.first_broken().unwrap().rule.reject_reason(), judgement.smallest_fee())
    };
    assert_eq!(refused(case.factory_close()), ("tx-size", None));
    let small = Case::new(3, 0, 2).factory_close();
    assert_eq!(refused(Candidate { version: 4, ..small.clone() }), ("version", None));
    assert_eq!(refused(Candidate { dust: 1, ..small }), ("dust", None));
}

#[test]
fn before_cluster_mempool_a_replacement_spends_no_unconfirmed_output_that_is_new() {
    let mut case = Case::new(3, 0, 2);
    let funding = case.push(150, vec![]);
    let other = case.push(150, vec![]);
    let replaced = case.push(200, vec![funding]);
    let judge = |policy: Policy, parents: Vec<usize>| {
        let candidate = Candidate { parents, conflicts: vec![replaced], ..case.factory_close() };
        let judgement = policy.judge(&case.mempool, &candidate, Amount::from_sat(100_000));
        judgement.first_broken().map(|finding| finding.rule)
    };
    assert_eq!(judge(Policy::CORE_30, vec![funding]), None);
    assert_eq!(judge(Policy::CORE_30, vec![other]), Some(Rule::NoNewUnconfirmed));
    assert_eq!(judge(Policy::CORE_31, vec![other]), None);
}

#[test]
fn sizes_are_limited_to_the_last_virtual_byte() {
    let refused = |policy: &Policy, parent: u64, child: u64, version: i32| {
        let mut case = Case { mempool: Mempool::new(), members: 3, version };
        case.push(parent, vec![]);
        let candidate = Candidate { weight: Weight::from_wu(4 * child), ..case.next_close() };
        let judgement = policy.judge(&case.mempool, &candidate, Amount::ONE_BTC);
        judgement.first_broken().map(|finding| finding.rule)
    };
    // The parent and its child together: 101 kvB, or 404,000 weight units. Each alone is standard.
    for (policy, rule) in [(Policy::CORE_30, Rule::AncestorSize), (Policy::CORE_31, Rule::ClusterWeight)] {
        assert_eq!(refused(&policy, 90_000, 11_000, 2), None);
        assert_eq!(refused(&policy, 90_000, 11_001, 2), Some(rule));
    }
    // A child of version 3: 1,000 vB.
    assert_eq!(refused(&Policy::CORE_31, 200, 1_000, 3), None);
    assert_eq!(refused(&Policy::CORE_31, 200, 1_001, 3), Some(Rule::Truc));
    assert_eq!(refused(&Policy::KNOTS_29, 200, 1_001, 3), None);
}
