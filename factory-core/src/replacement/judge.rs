//! The rules for a transaction that comes alone.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::Amount;

use super::diagram::{Chunk, Vertex, chunks, improves};
use super::{Candidate, Finding, Judgement, Limits, Mempool, Policy, Quality, Requires, Rule};

/// The heaviest transaction that is relayed, in weight units.
const MAX_WEIGHT: u64 = 400_000;

/// The heaviest package that is relayed, in weight units.
pub(super) const PACKAGE_MAX_WEIGHT: u64 = 404_000;

/// The largest transaction of version 3, in virtual bytes, and the largest that spends an unconfirmed one (BIP 431).
pub(super) const TRUC_MAX_VSIZE: u64 = 10_000;
pub(super) const TRUC_CHILD_MAX_VSIZE: u64 = 1_000;

/// The largest transaction for which one more descendant is let in, in virtual bytes (the CPFP carve-out).
const CARVE_OUT_VSIZE: u64 = 10_000;

impl Policy {
    /// What every rule of this policy says of `candidate` at this fee, in the order in which a node tries them.
    pub fn judge(&self, mempool: &Mempool, candidate: &Candidate, fee: Amount) -> Judgement {
        let mut conflicts: BTreeSet<usize> = candidate.conflicts.iter().copied().collect();
        let vsize = candidate.vsize();
        let mut findings = self.standardness(candidate);
        findings.push(Finding { rule: Rule::Dust, requires: self.dust(candidate.dust) });
        let mut add = |rule, requires| findings.push(Finding { rule, requires });

        let relayed = (Rule::RelayMinimum, Requires::Fee(self.relay_minimum.fee(vsize)));
        // A mempool that has not been full asks for nothing of its own, and tells the relay's minimum as its own.
        let full = (self.mempool_minimum > self.relay_minimum)
            .then(|| (Rule::MempoolMinimum, Requires::Fee(self.mempool_minimum.fee(vsize))));
        let minima = if self.pays_for_itself(candidate) { [Some(relayed), full] } else { [full, Some(relayed)] };
        for (rule, requires) in minima.into_iter().flatten() {
            add(rule, requires);
        }
        if let Limits::Chain { count, vsize } = self.limits {
            let carved_out = candidate.vsize() <= CARVE_OUT_VSIZE && !self.restricts(candidate);
            for (rule, limit, found) in chain(mempool, candidate, &conflicts, carved_out, count, vsize) {
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
            let ancestors = mempool.ancestors(candidate.parents.iter().copied());
            let against =
                ancestors.iter().any(|one| conflicts.contains(one)).then_some("it spends what it would evict");
            let disjoint = (Rule::SpendsNoConflict, Requires::Nothing(against));
            if let Quality::AboveConflicts { cut } = self.quality {
                add(disjoint.0, disjoint.1.clone());
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
                let size = Size::Weight(candidate.weight.to_wu());
                let least = diagram(mempool, &candidate.parents, size, &evicted);
                add(Rule::Diagram, Requires::Fee(least));
                add(disjoint.0, disjoint.1);
            }
        } else {
            self.cluster(mempool, candidate, &BTreeSet::new(), &mut add);
        }
        if candidate.leaves_dust {
            add(Rule::DustSpent, Requires::Nothing(Some("it leaves dust of its parent")));
        }
        Judgement { fee, findings }
    }

    /// Whether a transaction has to pay the relay's minimum by itself, even in a package: before cluster mempool, since its
    /// child may go and leave it. Those of version 3 need not, where that is enforced.
    pub(super) fn pays_for_itself(&self, candidate: &Candidate) -> bool {
        self.quality != Quality::Diagram && !self.restricts(candidate)
    }

    /// Whether it is held to the topology of version 3.
    fn restricts(&self, candidate: &Candidate) -> bool {
        self.truc && candidate.version == 3
    }

    pub(super) fn standardness(&self, candidate: &Candidate) -> Vec<Finding> {
        let version = (!(1..=3).contains(&candidate.version)).then_some("versions 1 to 3 are relayed");
        let weight = Requires::AtMost { limit: MAX_WEIGHT, found: candidate.weight.to_wu() };
        [(Rule::Version, Requires::Nothing(version)), (Rule::Weight, weight)]
            .map(|(rule, requires)| Finding { rule, requires })
            .to_vec()
    }

    /// What so many outputs of dust ask of the transaction that has them.
    pub(super) fn dust(&self, outputs: usize) -> Requires {
        match outputs {
            0 => Requires::AtMost { limit: 0, found: 0 },
            few if few <= self.ephemeral_dust => Requires::NoFee,
            many => Requires::AtMost { limit: number(self.ephemeral_dust), found: number(many) },
        }
    }

    /// How many transactions it would evict, counted for each conflict; or how many clusters it touches.
    pub(super) fn evicted(&self, mempool: &Mempool, conflicts: &BTreeSet<usize>) -> u64 {
        let none = BTreeSet::new();
        let found = match self.quality {
            Quality::AboveConflicts { .. } => conflicts.iter().map(|&one| mempool.descendants([one]).len()).sum(),
            Quality::Diagram => {
                let first = |&one: &usize| mempool.cluster([one], &none).first().copied();
                conflicts.iter().map(first).collect::<BTreeSet<_>>().len()
            }
        };
        number(found)
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
            let found = number(cluster.len()) + 1;
            add(Rule::ClusterCount, Requires::AtMost { limit: count, found });
            add(Rule::ClusterWeight, Requires::AtMost { limit: weight, found: weights + candidate.weight.to_wu() });
        }
    }
}

/// The smallest fee with a feerate above that of this conflict.
fn above(mempool: &Mempool, conflict: usize, vsize: u64, cut: bool) -> Amount {
    let entry = &mempool.entries()[conflict];
    smallest_above(entry.fee.to_sat(), entry.vsize(), vsize, cut)
}

/// The smallest fee with which so many virtual bytes have a feerate above that of `fee` over `size`.
pub(super) fn smallest_above(fee: u64, size: u64, vsize: u64, cut: bool) -> Amount {
    let (fee, size, vsize) = (u128::from(fee), u128::from(size), u128::from(vsize));
    let sat = if cut { ((fee * 1000 / size + 1) * vsize).div_ceil(1000) } else { fee * vsize / size + 1 };
    u64::try_from(sat).map_or(Amount::MAX_MONEY, |sat| Amount::from_sat(sat).min(Amount::MAX_MONEY))
}

/// The limits of ancestors and descendants: for each rule the limit and what there is.
fn chain(
    mempool: &Mempool,
    candidate: &Candidate,
    conflicts: &BTreeSet<usize>,
    carved_out: bool,
    count: u64,
    vsize: u64,
) -> [(Rule, u64, u64); 4] {
    let own = candidate.vsize();
    let count_of = |set: &BTreeSet<usize>| number(set.len());
    let ancestors = mempool.ancestors(candidate.parents.iter().copied());
    let (mut most, mut most_size) = (count, vsize);
    // What replaces exactly one transaction may take its place among the descendants.
    if let Some(&conflict) = conflicts.first().filter(|_| conflicts.len() == 1) {
        most += 1;
        most_size += mempool.vsizes(&mempool.descendants([conflict]));
    }
    // The carve-out: a small child of a transaction without ancestors. One of version 3 has none where its topology is
    // enforced.
    if carved_out && ancestors.len() <= 1 {
        most += 1;
        most_size += CARVE_OUT_VSIZE;
    }
    let below: Vec<BTreeSet<usize>> = ancestors.iter().map(|&ancestor| mempool.descendants([ancestor])).collect();
    let descendants = below.iter().map(|set| count_of(set) + 1).max().unwrap_or(1);
    let descendant_size = below.iter().map(|set| mempool.vsizes(set) + own).max().unwrap_or(own);
    [
        (Rule::Ancestors, count, count_of(&ancestors) + 1),
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

/// How nodes measure transactions when they draw diagrams.
#[derive(Clone, Copy)]
pub(super) enum Size {
    /// In weight units: with cluster mempool.
    Weight(u64),
    /// In virtual bytes: before it.
    Virtual(u64),
}

/// The smallest fee at which the diagram of the clusters that it touches improves.
pub(super) fn diagram(mempool: &Mempool, parents: &[usize], size: Size, evicted: &BTreeSet<usize>) -> Amount {
    let touched = evicted.iter().chain(parents).copied();
    let before = mempool.cluster(touched, &BTreeSet::new());
    let old = chunks(&graph(mempool, &before, size));
    let rest: BTreeSet<usize> = before.difference(evicted).copied().collect();
    let places: BTreeMap<usize, usize> = rest.iter().enumerate().map(|(place, &number)| (number, place)).collect();
    let mut new = graph(mempool, &rest, size);
    let parents = parents.iter().filter_map(|parent| places.get(parent).copied()).collect();
    let (Size::Weight(own) | Size::Virtual(own)) = size;
    new.push(Vertex { chunk: Chunk { fee: 0, size: i128::from(own) }, parents });
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

fn graph(mempool: &Mempool, of: &BTreeSet<usize>, like: Size) -> Vec<Vertex> {
    let places: BTreeMap<usize, usize> = of.iter().enumerate().map(|(place, &number)| (number, place)).collect();
    let vertex = |&number: &usize| {
        let entry = &mempool.entries()[number];
        let size = match like {
            Size::Weight(_) => entry.weight.to_wu(),
            Size::Virtual(_) => entry.vsize(),
        };
        let chunk = Chunk { fee: i128::from(entry.fee.to_sat()), size: i128::from(size) };
        Vertex { chunk, parents: entry.parents.iter().filter_map(|parent| places.get(parent).copied()).collect() }
    };
    of.iter().map(vertex).collect()
}

pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
