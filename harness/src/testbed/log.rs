//! What has happened so far, as the report tells it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use factory_core::{Party, TxName};
use indexmap::IndexMap;

use crate::parties::Noted;
use crate::report::{BlockReport, Entry, Happening, RefusedReport};
use crate::scenario::Reported;

/// After so many entries nothing more is told.
const MAX_ENTRIES: usize = 20_000;

/// How many entries back a message of the same round is looked for.
const ROUND: usize = 12;

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) timeline: Vec<Entry>,
    pub(super) blocks: Vec<BlockReport>,
    /// The hashes of the blocks.
    pub(super) mined: HashSet<String>,
    /// How often a node refused what a party published of its own accord: the transaction, the party, the reason.
    pub(super) refused: IndexMap<(TxName, Party, String), u32>,
    pub(super) messages: usize,
    /// Messages between members, of which there are none in a factory with an operator.
    pub(super) bypassed: Vec<String>,
    /// How many things were asserted, and how many of them by the scenario.
    pub(super) assertions: u32,
    pub(super) asked: u32,
    pub(super) failures: Vec<String>,
    /// What each party has reported.
    pub(super) reported: BTreeMap<Party, BTreeSet<Reported>>,
    pub(super) step: Option<usize>,
    pub(super) height: u64,
}

impl Log {
    pub(super) fn enter(&mut self, what: Happening) {
        let what = match self.timeline.len() {
            0..MAX_ENTRIES => what,
            MAX_ENTRIES => {
                Happening::Fault { text: "from here on the timeline tells nothing: it is too long".to_owned() }
            }
            _ => return,
        };
        self.timeline.push(Entry { step: self.step, height: self.height, what });
    }

    pub(super) fn fault(&mut self, text: impl Into<String>) {
        self.enter(Happening::Fault { text: text.into() });
    }

    /// Enters what was asserted, and that it holds, or why it does not.
    pub(super) fn check(&mut self, text: impl Into<String>, result: Result<(), String>) -> bool {
        self.assertions += 1;
        let (holds, mut text) = (result.is_ok(), text.into());
        if let Err(reason) = result {
            self.failures.push(reason.clone());
            text = reason;
        }
        self.enter(Happening::Check { text, holds });
        holds
    }

    /// Enters what a party said. Messages of one kind in one direction, one after the other, make one entry.
    pub(super) fn note(&mut self, noted: &Noted) {
        match noted {
            Noted::Message { kind, from, to, arrived } => {
                self.messages += usize::from(*arrived);
                if ![from, to].contains(&&Party::Operator) {
                    self.bypassed.push(format!("{from} sent its {kind} to {to}"));
                }
                let side = |party: &Party| match party {
                    Party::Operator => "operator".to_owned(),
                    Party::Member(_) => "members".to_owned(),
                };
                // Parties report what happened to them between one message and the next of the same round.
                let round = self.timeline.iter_mut().rev().take(ROUND).take_while(|entry| {
                    matches!(entry.what, Happening::Messages { .. } | Happening::Event { .. })
                        && entry.step == self.step
                });
                let alike = round.map(|entry| &mut entry.what).find_map(|happening| match happening {
                    Happening::Messages { what, from: sender, to: receiver, count, lost }
                        if *what == kind.to_string() && is_side(sender, from) && is_side(receiver, to) =>
                    {
                        Some((sender, receiver, count, lost))
                    }
                    _ => None,
                });
                if let Some((sender, receiver, count, lost)) = alike {
                    *count += 1;
                    *lost += usize::from(!arrived);
                    for (name, party) in [(sender, from), (receiver, to)] {
                        if *name != party.to_string() {
                            *name = side(party);
                        }
                    }
                    return;
                }
                self.enter(Happening::Messages {
                    what: kind.to_string(),
                    from: from.to_string(),
                    to: to.to_string(),
                    count: 1,
                    lost: usize::from(!arrived),
                });
            }
            Noted::Event(party, event) => {
                self.reported.entry(*party).or_default().extend(Reported::of(event));
                self.enter(Happening::Event { party: party.to_string(), text: event.to_string() });
            }
            Noted::Crash(party, moment) => self.fault(format!("{party} crashes: {moment}")),
        }
    }

    /// Enters that a node refused what a party published of its own accord.
    pub(super) fn refuse(&mut self, by: Party, tx: TxName, reason: &str) {
        *self.refused.entry((tx, by, reason.to_owned())).or_default() += 1;
    }

    /// What nodes refused.
    pub(super) fn refused(&self) -> Vec<RefusedReport> {
        let report = |((tx, by, reason), times): (&(TxName, Party, String), &u32)| RefusedReport {
            tx: tx.to_string(),
            by: by.to_string(),
            reason: reason.clone(),
            times: *times,
        };
        self.refused.iter().map(report).collect()
    }
}

/// Whether a party is on the side that a name means.
fn is_side(name: &str, party: &Party) -> bool {
    match party {
        Party::Operator => name == "operator",
        Party::Member(_) => name != "operator",
    }
}
