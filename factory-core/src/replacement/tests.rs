//! The model against what was measured on real nodes.

use bitcoin::{Amount, Weight};

use super::{Candidate, Entry, Mempool, Policy, Requires, Rule};

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
        Candidate { weight, version: self.version, parents: vec![], conflicts: vec![0], dust: 0, leaves_dust: false }
    }

    /// One more close.
    fn next_close(&self) -> Candidate {
        let weight = Weight::from_wu(4 * 154);
        Candidate { weight, version: self.version, parents: vec![0], conflicts: vec![], dust: 0, leaves_dust: false }
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

const ALL: [(&str, Policy); 5] = [
    ("core-28", Policy::CORE_28),
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
    assert_eq!(smallest, [437, 437, 241, 240, 437]);
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
    let relayed = judgement.findings.iter().find(|finding| finding.rule == Rule::RelayMinimum);
    assert_eq!(relayed.map(|finding| &finding.requires), Some(&Requires::Fee(Amount::from_sat(24))));
    // A fee below both minima is refused for the relay's by nodes that ask it of each transaction.
    let first = |policy: &Policy, version: i32| {
        let full = Policy { mempool_minimum: super::RelayRate(5_000), ..policy.clone() };
        let case = Case::new(3, 0, version);
        let judgement = full.judge(&case.mempool, &case.factory_close(), Amount::ONE_SAT);
        judgement.first_broken().map(|finding| finding.rule)
    };
    assert_eq!(first(&Policy::CORE_30, 2), Some(Rule::RelayMinimum));
    assert_eq!(first(&Policy::CORE_30, 3), Some(Rule::MempoolMinimum));
    assert_eq!(first(&Policy::CORE_31, 2), Some(Rule::MempoolMinimum));
    assert_eq!(first(&Policy::KNOTS_29, 3), Some(Rule::RelayMinimum));
}

#[test]
fn dust_of_a_parent_in_the_mempool_is_spent_by_whoever_spends_from_it() {
    let case = Case::new(3, 0, 3);
    for policy in [Policy::CORE_30, Policy::CORE_31] {
        let leaving = Candidate { leaves_dust: true, ..case.next_close() };
        let judgement = policy.judge(&case.mempool, &leaving, Amount::from_sat(154));
        assert_eq!(judgement.first_broken().map(|finding| finding.rule), Some(Rule::DustSpent));
        assert_eq!(judgement.smallest_fee(), None);
        assert!(policy.judge(&case.mempool, &case.next_close(), Amount::from_sat(154)).accepted());
    }
}

#[test]
fn before_core_30_feerates_are_cut_before_they_are_compared() {
    // 1,000 sat over 333 vB is 3,003.003 sat/kvB: cut, the next whole one is enough.
    let mut mempool = Mempool::new();
    mempool.push(Entry { fee: Amount::from_sat(1_000), weight: Weight::from_wu(1_332), version: 2, parents: vec![] });
    let candidate = Candidate {
        weight: Weight::from_wu(40_000),
        version: 2,
        parents: vec![],
        conflicts: vec![0],
        dust: 0,
        leaves_dust: false,
    };
    let smallest = |policy: Policy| {
        let judgement = policy.judge(&mempool, &candidate, Amount::ZERO);
        assert_eq!(judgement.binding(), Some(Rule::FeerateAboveConflicts));
        judgement.smallest_fee().unwrap().to_sat()
    };
    assert_eq!(smallest(Policy::CORE_29), 30_040);
    assert_eq!(smallest(Policy::CORE_30), 30_031);
    // What is a whole number already is not enough.
    let mut whole = Mempool::new();
    whole.push(Entry { fee: Amount::from_sat(999), weight: Weight::from_wu(1_332), version: 2, parents: vec![] });
    let [cut, exact] = [Policy::CORE_29, Policy::CORE_30]
        .map(|policy| policy.judge(&whole, &candidate, Amount::ZERO).smallest_fee().unwrap().to_sat());
    assert_eq!([cut, exact], [30_010, 30_001]);
}

#[test]
fn a_node_may_ask_less_of_a_replacement_than_of_what_it_relays() {
    let free = Policy { incremental: super::RelayRate(0), ..Policy::CORE_29 };
    let case = Case::new(20, 20, 2);
    assert!(case.accepts_exact(&free));
    assert_eq!(case.smallest(&free), case.exact().to_sat());
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
    // Clusters are weighed to the last weight unit.
    let mut case = Case { mempool: Mempool::new(), members: 3, version: 2 };
    case.push(90_000, vec![]);
    let judge = |weight| {
        let candidate = Candidate { weight: Weight::from_wu(weight), ..case.next_close() };
        Policy::CORE_31.judge(&case.mempool, &candidate, Amount::ONE_BTC).accepted()
    };
    assert!(judge(44_000) && !judge(44_001));
    // A child of version 3: 1,000 vB.
    assert_eq!(refused(&Policy::CORE_31, 200, 1_000, 3), None);
    assert_eq!(refused(&Policy::CORE_31, 200, 1_001, 3), Some(Rule::Truc));
    assert_eq!(refused(&Policy::KNOTS_29, 200, 1_001, 3), None);
}

/// A mempool of these virtual bytes and parents, all at 1 sat/vB.
fn held(version: i32, txs: &[(u64, &[usize])]) -> Case {
    let mut case = Case { mempool: Mempool::new(), members: 3, version };
    for (vsize, parents) in txs {
        case.push(*vsize, parents.to_vec());
    }
    case
}

/// What a candidate that pays a bitcoin is refused for.
fn refusal(policy: &Policy, case: &Case, vsize: u64, parents: &[usize], conflicts: &[usize]) -> Option<Rule> {
    let candidate = Candidate {
        weight: Weight::from_wu(4 * vsize),
        version: case.version,
        parents: parents.to_vec(),
        conflicts: conflicts.to_vec(),
        dust: 0,
        leaves_dust: false,
    };
    let judgement = policy.judge(&case.mempool, &candidate, Amount::ONE_BTC);
    judgement.first_broken().map(|finding| finding.rule)
}

#[test]
fn one_small_child_more_is_carved_out() {
    let crowd = |version| {
        let mut case = held(version, &[(200, &[])]);
        for _ in 0..24 {
            case.push(154, vec![0]);
        }
        case
    };
    let full = crowd(2);
    assert_eq!(refusal(&Policy::CORE_30, &full, 10_000, &[0], &[]), None);
    assert_eq!(refusal(&Policy::CORE_30, &full, 10_001, &[0], &[]), Some(Rule::Descendants));
    // Not for a grandchild.
    let mut deep = held(2, &[(200, &[]), (154, &[0])]);
    for _ in 0..23 {
        deep.push(154, vec![1]);
    }
    assert_eq!(refusal(&Policy::CORE_30, &deep, 154, &[1], &[]), Some(Rule::Descendants));
    // Nor for version 3, but where nobody enforces what it means.
    let restricted = Case { version: 3, ..full };
    assert_eq!(refusal(&Policy::CORE_30, &restricted, 154, &[0], &[]), Some(Rule::Descendants));
    assert_eq!(refusal(&Policy::KNOTS_29, &restricted, 154, &[0], &[]), None);
    // It may be beyond the size of all, too.
    let large = held(2, &[(90_000, &[]), (10_000, &[0])]);
    assert_eq!(refusal(&Policy::CORE_30, &large, 10_000, &[0], &[]), None);
    let larger = held(2, &[(90_000, &[]), (11_001, &[0])]);
    assert_eq!(refusal(&Policy::CORE_30, &larger, 10_000, &[0], &[]), Some(Rule::DescendantSize));
}

#[test]
fn what_replaces_one_descendant_takes_its_place() {
    let mut case = held(2, &[(200, &[])]);
    for _ in 0..24 {
        case.push(154, vec![0]);
    }
    // Too large to be carved out.
    assert_eq!(refusal(&Policy::CORE_30, &case, 10_001, &[0], &[1]), None);
    assert_eq!(refusal(&Policy::CORE_30, &case, 10_001, &[0], &[1, 2]), Some(Rule::Descendants));
    // The place of a descendant is as large as all that hangs on it.
    let case = held(2, &[(60_000, &[]), (20_000, &[0]), (20_000, &[1])]);
    assert_eq!(refusal(&Policy::CORE_30, &case, 41_000, &[0], &[1]), None);
    assert_eq!(refusal(&Policy::CORE_30, &case, 41_001, &[0], &[1]), Some(Rule::AncestorSize));
    let case = held(2, &[(60_000, &[]), (20_000, &[0]), (15_000, &[0])]);
    assert_eq!(refusal(&Policy::CORE_30, &case, 26_000, &[0], &[1]), None);
    assert_eq!(refusal(&Policy::CORE_30, &case, 26_001, &[0], &[1]), Some(Rule::DescendantSize));
    // Cluster mempool counts what is left.
    let case = held(2, &[(60_000, &[]), (20_000, &[0]), (20_000, &[1])]);
    assert_eq!(refusal(&Policy::CORE_31, &case, 41_000, &[0], &[1]), None);
    assert_eq!(refusal(&Policy::CORE_31, &case, 21_001, &[0], &[2]), Some(Rule::ClusterWeight));
}

#[test]
fn chains_are_as_long_as_they_may_be() {
    let mut case = held(2, &[(154, &[])]);
    for number in 0..23 {
        case.push(154, vec![number]);
    }
    assert_eq!(refusal(&Policy::CORE_30, &case, 154, &[23], &[]), None);
    case.push(154, vec![23]);
    assert_eq!(refusal(&Policy::CORE_30, &case, 154, &[24], &[]), Some(Rule::Ancestors));
    assert_eq!(refusal(&Policy::CORE_31, &case, 154, &[24], &[]), None);
}

#[test]
fn version_3_keeps_to_its_topology() {
    // After a reorganisation a parent may have two children. None of them is evicted for a third.
    let two = held(3, &[(200, &[]), (154, &[0]), (154, &[0])]);
    let grandparent = held(3, &[(200, &[]), (154, &[0])]);
    let parents = held(3, &[(200, &[]), (200, &[])]);
    let mut mixed = held(2, &[(200, &[])]);
    mixed.version = 3;
    let alone = held(3, &[]);
    for policy in [Policy::CORE_30, Policy::CORE_31] {
        assert_eq!(refusal(&policy, &two, 154, &[0], &[]), Some(Rule::Truc));
        assert_eq!(refusal(&policy, &two, 154, &[0], &[1]), None);
        assert_eq!(refusal(&policy, &grandparent, 154, &[1], &[]), Some(Rule::Truc));
        assert_eq!(refusal(&policy, &parents, 154, &[0, 1], &[]), Some(Rule::Truc));
        assert_eq!(refusal(&policy, &mixed, 154, &[0], &[]), Some(Rule::Truc));
        assert_eq!(refusal(&policy, &alone, 10_000, &[], &[]), None);
        assert_eq!(refusal(&policy, &alone, 10_001, &[], &[]), Some(Rule::Truc));
    }
    for case in [two, grandparent, mixed] {
        assert_eq!(refusal(&Policy::KNOTS_29, &case, 154, &[0], &[]), None);
    }
}

#[test]
fn so_much_is_evicted_at_once() {
    let crowd = held(2, &[(100, &[][..]); 101]);
    let conflicts: Vec<usize> = (0..101).collect();
    for policy in [Policy::CORE_30, Policy::CORE_31] {
        assert_eq!(refusal(&policy, &crowd, 200, &[], &conflicts[1..]), None);
        assert_eq!(refusal(&policy, &crowd, 200, &[], &conflicts), Some(Rule::Evicted));
    }
    // A descendant that 51 of them share counts 51 times, or the cluster that it makes of them once.
    let mut shared = held(2, &[(100, &[][..]); 51]);
    shared.push(100, conflicts[..51].to_vec());
    assert_eq!(refusal(&Policy::CORE_30, &shared, 200, &[], &conflicts[..50]), None);
    assert_eq!(refusal(&Policy::CORE_30, &shared, 200, &[], &conflicts[..51]), Some(Rule::Evicted));
    let mut star = held(2, &[(200, &[])]);
    for _ in 0..101 {
        star.push(100, vec![0]);
    }
    let children: Vec<usize> = (1..102).collect();
    assert_eq!(refusal(&Policy::CORE_31, &star, 200, &[], &children), None);
    // Their parents are not new where one of what is evicted spends from them.
    let case = held(2, &[(100, &[]), (100, &[]), (100, &[0, 1])]);
    assert_eq!(refusal(&Policy::CORE_30, &case, 200, &[1], &[0]), None);
}

#[test]
fn only_direct_conflicts_set_the_feerate_and_all_that_is_evicted_the_fee() {
    let mut case = held(2, &[(200, &[])]);
    let (fee, weight) = (Amount::from_sat(1_000), Weight::from_wu(400));
    case.mempool.push(Entry { fee, weight, version: 2, parents: vec![0] });
    // At the feerate of the child it would be 2,400 sat.
    let smallest = [Policy::CORE_29, Policy::CORE_30].map(|policy| case.smallest(&policy));
    assert_eq!(smallest, [1_200 + 240, 1_200 + 24]);
}

#[test]
fn diagrams_are_drawn_by_weight_of_all_that_changes() {
    let mut mempool = Mempool::new();
    mempool.push(Entry { fee: Amount::from_sat(1_000), weight: Weight::from_wu(1_001), version: 2, parents: vec![] });
    let candidate = Candidate { weight: Weight::from_wu(4_000), ..Case::new(3, 0, 2).factory_close() };
    let smallest = |policy: Policy, mempool: &Mempool, candidate: &Candidate| {
        policy.judge(mempool, candidate, Amount::ZERO).smallest_fee().unwrap().to_sat()
    };
    assert_eq!(smallest(Policy::CORE_31, &mempool, &candidate), 3_997); // 1,000 sat over 1,001 weight units
    assert_eq!(smallest(Policy::CORE_30, &mempool, &candidate), 3_985); // over 251 vB, and more than that
    // Whoever spends from a parent at a tenth of the feerate brings it along, and pays for it.
    let mut case = held(2, &[(100, &[])]);
    let (fee, weight) = (Amount::from_sat(10), Weight::from_wu(400));
    let parent = case.mempool.push(Entry { fee, weight, version: 2, parents: vec![] });
    let child = Candidate { weight: Weight::from_wu(400), parents: vec![parent], ..case.factory_close() };
    assert_eq!(smallest(Policy::CORE_31, &case.mempool, &child), 190);
}

#[test]
fn clusters_are_counted_without_what_leaves() {
    let full = Case::new(100, 63, 2);
    assert_eq!(refusal(&Policy::CORE_31, &full, 154, &[0], &[]), Some(Rule::ClusterCount));
    assert_eq!(refusal(&Policy::CORE_31, &full, 154, &[0], &[1]), None);
}

#[test]
fn the_heaviest_transaction_is_standard() {
    let judge = |weight, version| {
        let candidate = Candidate {
            weight: Weight::from_wu(weight),
            version,
            conflicts: vec![],
            ..Case::new(3, 0, 2).factory_close()
        };
        let judgement = Policy::CORE_31.judge(&Mempool::new(), &candidate, Amount::ONE_BTC);
        judgement.first_broken().map(|finding| finding.rule)
    };
    assert_eq!(judge(400_000, 2), None);
    assert_eq!(judge(400_001, 2), Some(Rule::Weight));
    assert_eq!(judge(400_000, 1), None);
    assert_eq!(judge(400_000, 0), Some(Rule::Version));
}
