//! What is wrong with links and partitions.

use std::collections::{BTreeSet, HashMap};

use super::super::language::Partition;
use super::Check;

impl Check<'_> {
    pub(super) fn links(&mut self) {
        let Some(links) = &self.experiment.links else { return };
        let mut seen: HashMap<BTreeSet<&str>, usize> = HashMap::new();
        let before = self.problems.len();
        for (place, link) in links.iter().enumerate() {
            let path = format!("links.{place}");
            let (one, other) = (&link.between.0, &link.between.1);
            let known = [one, other].map(|name| self.known(name, format!("{path}.between")));
            if one == other {
                self.problem(format!("{path}.between"), format!("`{one}` is linked with itself: expected two nodes"));
            } else if known == [true, true]
                && let Some(first) = seen.insert(BTreeSet::from([one.as_str(), other.as_str()]), place)
            {
                let message = format!("{one} and {other} are linked already, by links.{first}: expected one link");
                self.problem(format!("{path}.between"), message);
            }
            self.in_time(link.transactions, format!("{path}.transactions"));
            self.in_time(link.blocks, format!("{path}.blocks"));
        }
        if self.problems.len() > before {
            return;
        }
        let mut names = self.experiment.nodes.keys().map(String::as_str);
        let first = names.next().unwrap_or_default();
        let mut reached = BTreeSet::from([first]);
        let mut waiting = vec![first];
        while let Some(node) = waiting.pop() {
            for link in links {
                let other = match (link.between.0.as_str(), link.between.1.as_str()) {
                    (one, other) if one == node => other,
                    (other, one) if one == node => other,
                    _ => continue,
                };
                if reached.insert(other) {
                    waiting.push(other);
                }
            }
        }
        let unreached: Vec<&str> = names.filter(|name| !reached.contains(name)).collect();
        if !unreached.is_empty() {
            let message = format!(
                "no chain of links leads from {first} to {}, so blocks never get there: expected a link",
                unreached.join(" or ")
            );
            self.problem("links", message);
        }
    }

    pub(super) fn partitions(&mut self) {
        let partitions = &self.experiment.partitions;
        for (place, partition) in partitions.iter().enumerate() {
            let path = format!("partitions.{place}");
            let (from, to) = (partition.from, partition.to);
            if from >= to {
                let message = format!("it ends at {to} and begins at {from}: expected an end after the beginning");
                self.problem(format!("{path}.to"), message);
            }
            let before = self.problems.len();
            self.in_time(from, format!("{path}.from"));
            // It ends after it begins, so one is enough to be told of.
            if self.problems.len() == before {
                self.in_time(to, format!("{path}.to"));
            }
            for (other, earlier) in partitions.iter().enumerate().take(place) {
                if from < earlier.to && earlier.from < to {
                    let message = format!(
                        "it goes from {from} to {to}, and partitions.{other} from {} to {}: expected one at a time",
                        earlier.from, earlier.to
                    );
                    self.problem(&path, message);
                }
            }
            self.groups(partition, &format!("{path}.groups"));
        }
    }

    fn groups(&mut self, partition: &Partition, path: &str) {
        let before = self.problems.len();
        let mut seen = BTreeSet::new();
        for (group, nodes) in partition.groups.iter().enumerate() {
            if nodes.is_empty() {
                self.problem(format!("{path}.{group}"), "nobody is in this group: expected at least one node");
            }
            for (index, node) in nodes.iter().enumerate() {
                let path = format!("{path}.{group}.{index}");
                if self.known(node, &path) && !seen.insert(node.as_str()) {
                    self.problem(path, format!("{node} is there twice: expected it in one group"));
                }
            }
        }
        if partition.groups.len() < 2 {
            let message = format!("found {}: expected at least two groups of nodes", partition.groups.len());
            self.problem(path, message);
        }
        let names = self.experiment.nodes.keys().map(String::as_str);
        let missing: Vec<&str> = names.filter(|name| !seen.contains(name)).collect();
        if self.problems.len() == before && !missing.is_empty() {
            let message = format!("{} in no group: expected every node in one", are(&missing));
            self.problem(path, message);
        }
    }
}

fn are(names: &[&str]) -> String {
    format!("{} {}", names.join(" and "), if names.len() == 1 { "is" } else { "are" })
}
