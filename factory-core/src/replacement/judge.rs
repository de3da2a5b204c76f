//! The rules for a transaction that comes alone.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::Amount;

use super::diagram::{Chunk, Vertex, chunks, improves};
use super::{Candidate, Finding, Judgement, Limits, Mempool, Policy, Quality, Requires, Rule};

/// The heaviest transaction that is relayed, in weight units.
const MAX_WEIGHT: u64 = 400_000;

/// The largest transaction of version 3, in virtual bytes, and the largest that spends an unconfirmed one (BIP 431).
const TRUC_MAX_VSIZE: u64 = 10_000;
const TRUC_CHILD_MAX_VSIZE: u64 = 1_000;

/// The largest transaction for which one more descendant is let in, in virtual bytes (the CPFP carve-out).
const CARVE_OUT_VSIZE: u64 = 10_000;

impl Policy {
    /// What every rule of this policy says of `candidate` at this fee, in the order in which a node tries them.
    pub fn judge(&self, mempool: &Mempool, candidate: &Candidate, fee: Amount) -> Judgement {
        let mut conflicts: BTreeSet<usize> = candidate.conflicts.iter().copied().collect();
        let vsize = candidate.vsize();
        let mut findings = self.standardness(candidate, fee);
        let mut add = |rule, requires| findings.push(Finding { rule, requires });

        add(Rule::MempoolMinimum, Requires::Fee(self.mempool_minimum.fee(vsize)));
        add(Rule::RelayMinimum, Requires::Fee(self.relay_minimum.fee(vsize)));
        if let Limits::Chain { count, vsize } = self.limits {
            for (rule, limit, found) in chain(mempool, candidate, &conflicts, count, vsize) {
                add(rule, Requires::AtMost { limit, found });
            }
        }
        if self.truc {
            let (against, sibling) = truc(mempool, candidate, &conflicts);
            // The one other child is evicted as if it conflicted.
            conflicts.extend(sibling);
            add(Rule::Truc, Requires::Nothing(against));
        }
        if !conflicts.is_empty() {
            let evicted = mempool.descendants(conflicts.iter().copied());
            if let Quality::AboveConflicts { cut } = self.quality {
                let above = conflicts.iter().map(|&conflict| above(mempool, conflict, vsize, cut)).max();
                add(Rule::FeerateAboveConflicts, Requires::Fee(above.unwrap_or(Amount::ZERO)));
            }
            add(Rule::Evicted, Requires::AtMost { limit: self.most_evicted, found: self.evicted(mempool, &conflicts) });
            if self.quality != Quality::Diagram {
                let parents = |&one: &usize| mempool.entries()[one].parents.iter().copied();
                let spent: BTreeSet<usize> = evicted.iter().flat_map(parents).collect();
                let new = candidate.parents.iter().any(|parent| !spent.contains(parent));
                let against = new.then_some("it spends an unconfirmed output that what it replaces does not spend");
                add(Rule::NoNewUnconfirmed, Requires::Nothing(against));
            }
            let fees = mempool.fees(&evicted);
            add(Rule::AbsoluteFee, Requires::Fee(fees));
            add(Rule::RelayPayment, Requires::Fee(fees + self.incremental.fee(vsize)));
            self.cluster(mempool, candidate, &evicted, &mut add);
            if self.quality == Quality::Diagram {
                let least = diagram(mempool, candidate, &evicted);
                add(Rule::Diagram, Requires::Fee(least));
            }
        } else {
            self.cluster(mempool, candidate, &BTreeSet::new(), &mut add);
        }
        Judgement { fee, findings }
    }

    fn standardness(&self, candidate: &Candidate, fee: Amount) -> Vec<Finding> {
        let version = (!(1..=3).contains(&candidate.version)).then_some("versions 1 to 3 are relayed");
        let free = if fee == Amount::ZERO { self.ephemeral_dust } else { 0 };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let at_most = |limit, found| Requires::AtMost { limit, found };
        [
            (Rule::Version, Requires::Nothing(version)),
            (Rule::Weight, at_most(MAX_WEIGHT, candidate.weight.to_wu())),
            (Rule::Dust, at_most(count(free), count(candidate.dust))),
        ]
        .map(|(rule, requires)| Finding { rule, requires })
        .to_vec()
    }

    /// How many transactions it would evict, counted for each conflict; or how many clusters it touches.
    fn evicted(&self, mempool: &Mempool, conflicts: &BTreeSet<usize>) -> u64 {
        let none = BTreeSet::new();
        let found = match self.quality {
            Quality::AboveConflicts { .. } => conflicts.iter().map(|&one| mempool.descendants([one]).len()).sum(),
            Quality::Diagram => {
                let first = |&one: &usize| mempool.cluster([one], &none).first().copied();
                conflicts.iter().map(first).collect::<BTreeSet<_>>().len()
            }
        };
        u64::try_from(found).unwrap_or(u64::MAX)
    }

    fn cluster(
        &self,
        mempool: &Mempool,
        candidate: &Candidate,
        evicted: &BTreeSet<usize>,
        add: &mut impl FnMut(Rule, Requires),
    ) {
        if let Limits::Cluster { count, weight } = self.limits {
            let cluster = mempool.cluster(candidate.parents.iter().copied(), evicted);
            let weights: u64 = cluster.iter().map(|&number| mempool.entries()[number].weight.to_wu()).sum();
            let found = u64::try_from(cluster.len()).unwrap_or(u64::MAX).saturating_add(1);
            add(Rule::ClusterCount, Requires::AtMost { limit: count, found });
            add(Rule::ClusterWeight, Requires::AtMost { limit: weight, found: weights + candidate.weight.to_wu() });
        }
    }
}

/// The smallest fee with a feerate above that of this conflict.
fn above(mempool: &Mempool, conflict: usize, vsize: u64, cut: bool) -> Amount {
    let entry = &mempool.entries()[conflict];
    let (fee, size, vsize) = (u128::from(entry.fee.to_sat()), u128::from(entry.vsize()), u128::from(vsize));
    let sat = if cut { ((fee * 1000 / size + 1) * vsize).div_ceil(1000) } else { fee * vsize / size + 1 };
    u64::try_from(sat).map_or(Amount::MAX_MONEY, |sat| Amount::from_sat(sat).min(Amount::MAX_MONEY))
}

/// The limits of ancestors and descendants: for each rule the limit and what there is.
fn chain(
    mempool: &Mempool,
    candidate: &Candidate,
    conflicts: &BTreeSet<usize>,
    count: u64,
    vsize: u64,
) -> [(Rule, u64, u64); 4] {
    let own = candidate.vsize();
    let number = |set: &BTreeSet<usize>| u64::try_from(set.len()).unwrap_or(u64::MAX);
    let ancestors = mempool.ancestors(candidate.parents.iter().copied());
    let (mut most, mut most_size) = (count, vsize);
    // What replaces exactly one transaction may take its place among the descendants.
    if let Some(&conflict) = conflicts.first().filter(|_| conflicts.len() == 1) {
        most += 1;
        most_size += mempool.vsizes(&mempool.descendants([conflict]));
    }
    // The carve-out: a small child of a transaction without ancestors.
    if own <= CARVE_OUT_VSIZE && candidate.version != 3 && ancestors.len() <= 1 {
        most += 1;
        most_size += CARVE_OUT_VSIZE;
    }
    let below: Vec<BTreeSet<usize>> = ancestors.iter().map(|&ancestor| mempool.descendants([ancestor])).collect();
    let descendants = below.iter().map(|set| number(set) + 1).max().unwrap_or(1);
    let descendant_size = below.iter().map(|set| mempool.vsizes(set) + own).max().unwrap_or(own);
    [
        (Rule::Ancestors, count, number(&ancestors) + 1),
        (Rule::AncestorSize, vsize, mempool.vsizes(&ancestors) + own),
        (Rule::Descendants, most, descendants),
        (Rule::DescendantSize, most_size, descendant_size),
    ]
}

/// What stands against it by the rules of version 3, and the sibling that it would have to evict.
fn truc(
    mempool: &Mempool,
    candidate: &Candidate,
    conflicts: &BTreeSet<usize>,
) -> (Option<&'static str>, Option<usize>) {
    let restricted = candidate.version == 3;
    let entries = mempool.entries();
    for &parent in &candidate.parents {
        match (restricted, entries[parent].version == 3) {
            (false, true) => return (Some("it spends from version 3 without being of version 3"), None),
            (true, false) => return (Some("it is of version 3 and spends from another"), None),
            _ => {}
        }
    }
    if !restricted {
        return (None, None);
    }
    if candidate.vsize() > TRUC_MAX_VSIZE {
        return (Some("it is of version 3 and larger than 10,000 vB"), None);
    }
    let parents: BTreeSet<usize> = candidate.parents.iter().copied().collect();
    if parents.len() > 1 {
        return (Some("it is of version 3 and has more than one parent"), None);
    }
    let Some(&parent) = parents.first() else { return (None, None) };
    if !entries[parent].parents.is_empty() {
        return (Some("it is of version 3 and has a grandparent"), None);
    }
    if candidate.vsize() > TRUC_CHILD_MAX_VSIZE {
        return (Some("it is a child of version 3 and larger than 1,000 vB"), None);
    }
    let mut siblings = mempool.descendants([parent]);
    siblings.remove(&parent);
    if siblings.is_empty() || siblings.iter().any(|sibling| conflicts.contains(sibling)) {
        return (None, None);
    }
    match (siblings.len(), siblings.first()) {
        (1, Some(&sibling)) if mempool.ancestors([sibling]).len() == 2 => (None, Some(sibling)),
        _ => (Some("its parent has a child already"), None),
    }
}

/// The smallest fee at which the diagram of the clusters that it touches improves.
fn diagram(mempool: &Mempool, candidate: &Candidate, evicted: &BTreeSet<usize>) -> Amount {
    let touched = evicted.iter().chain(&candidate.parents).copied();
    let before = mempool.cluster(touched, &BTreeSet::new());
    let old = chunks(&graph(mempool, &before));
    let rest: BTreeSet<usize> = before.difference(evicted).copied().collect();
    let places: BTreeMap<usize, usize> = rest.iter().enumerate().map(|(place, &number)| (number, place)).collect();
    let mut new = graph(mempool, &rest);
    let parents = candidate.parents.iter().filter_map(|parent| places.get(parent).copied()).collect();
    let size = i128::from(candidate.weight.to_wu());
    new.push(Vertex { chunk: Chunk { fee: 0, size }, parents });
    let last = new.len() - 1;
    let mut better = |sat: u64| {
        new[last].chunk.fee = i128::from(sat);
        improves(&chunks(&new), &old)
    };
    // More fee never makes the diagram worse.
    let (mut fails, mut holds) = (None, Amount::MAX_MONEY.to_sat());
    while fails.map_or(0, |fails: u64| fails + 1) < holds {
        let low = fails.map_or(0, |fails| fails + 1);
        let middle = low + (holds - low) / 2;
        if better(middle) { holds = middle } else { fails = Some(middle) }
    }
    Amount::from_sat(holds)
}

fn graph(mempool: &Mempool, of: &BTreeSet<usize>) -> Vec<Vertex> {
    let places: BTreeMap<usize, usize> = of.iter().enumerate().map(|(place, &number)| (number, place)).collect();
    let vertex = |&number: &usize| {
        let entry = &mempool.entries()[number];
        let chunk = Chunk { fee: i128::from(entry.fee.to_sat()), size: i128::from(entry.weight.to_wu()) };
        Vertex { chunk, parents: entry.parents.iter().filter_map(|parent| places.get(parent).copied()).collect() }
    };
    of.iter().map(vertex).collect()
}
