//! What is wrong with what is published, where and when.

use super::super::language::{Publish, PublishedTx, Side};
use super::Check;

impl PublishedTx {
    /// The side that it belongs to.
    fn side(self) -> Side {
        match self {
            PublishedTx::Allocation | PublishedTx::Closes | PublishedTx::FirstCloses(_) | PublishedTx::Pin => {
                Side::Allocation
            }
            PublishedTx::FactoryClose => Side::FactoryClose,
        }
    }

    /// Whether it spends of this one.
    fn spends(self, parent: PublishedTx) -> bool {
        match self {
            PublishedTx::Closes | PublishedTx::FirstCloses(_) => parent == PublishedTx::Allocation,
            PublishedTx::Pin => matches!(parent, PublishedTx::Closes | PublishedTx::FirstCloses(_)),
            PublishedTx::Allocation | PublishedTx::FactoryClose => false,
        }
    }

    /// What it is called in a file, and the file's word for what it spends of.
    fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            PublishedTx::Allocation => ("the allocation", None),
            PublishedTx::Closes | PublishedTx::FirstCloses(_) => ("a close", Some("allocation")),
            PublishedTx::Pin => ("the pin", Some("closes")),
            PublishedTx::FactoryClose => ("the factory close", None),
        }
    }
}

impl Check<'_> {
    pub(super) fn publish(&mut self) {
        let publish = &self.experiment.publish;
        if publish.is_empty() {
            let message = "nothing is published: expected both the allocation and the factory close";
            self.problem("publish", message);
            return;
        }
        for (tx, word) in [(PublishedTx::Allocation, "allocation"), (PublishedTx::FactoryClose, "factory-close")] {
            if !publish.iter().any(|other| other.tx == tx) {
                let message = format!("the {} is never published: expected `tx: {word}`", word.replace('-', " "));
                self.problem("publish", message);
            }
        }
        let pinned = publish.iter().any(|publish| publish.tx == PublishedTx::Pin);
        if self.experiment.pin.is_some() && !pinned {
            self.problem("pin", "the pin is never published: expected `tx: pin` in `publish`, or no pin");
        }
        for (place, one) in publish.iter().enumerate() {
            self.publish_one(one, &format!("publish.{place}"));
        }
    }

    fn publish_one(&mut self, publish: &Publish, path: &str) {
        let Publish { tx, at, after } = publish;
        if let PublishedTx::FirstCloses(count) = tx
            && count.0 > self.experiment.factory.members.0
        {
            let members = self.experiment.factory.members.0;
            let message = format!("there are {members} members: expected at most {members}, found {}", count.0);
            self.problem(format!("{path}.tx.first-closes"), message);
        }
        if *tx == PublishedTx::Pin && self.experiment.pin.is_none() {
            self.problem(format!("{path}.tx"), "there is no pin: expected `pin: { size: …, feerate: … }` in the file");
        }
        if self.known(at, format!("{path}.at"))
            && let Some(only) = self.experiment.nodes.get(at).and_then(|node| node.only)
            && only != tx.side()
        {
            let word = match only {
                Side::Allocation => "the allocation's side",
                Side::FactoryClose => "the factory close",
            };
            let message = format!(
                "{at} is told of nothing but {word} (nodes.{at}.only), and {} is of the other side: expected another node",
                tx.words().0
            );
            self.problem(format!("{path}.at"), message);
        }
        self.in_time(*after, format!("{path}.after"));
        // What spends of something that nobody knows is forgotten at once.
        let (called, Some(parent)) = tx.words() else { return };
        let parents = self.experiment.publish.iter().filter(|other| tx.spends(other.tx));
        match parents.map(|parent| parent.after).min() {
            None if *tx == PublishedTx::Pin => {
                let message = "the pin spends of a close, and none is ever published: expected `tx: closes` before it";
                self.problem(format!("{path}.tx"), message);
            }
            // That there is no allocation is said already.
            None => {}
            Some(first) if *after < first => {
                let message = format!(
                    "nobody knows `{parent}` before {first}, of which {called} spends: expected that much or more, \
                    found {after}"
                );
                self.problem(format!("{path}.after"), message);
            }
            Some(_) => {}
        }
    }
}
