//! What is wrong with the steps, one after the other.

use std::collections::HashSet;

use factory_core::{Party, TxName};

use super::super::language::{
    Broadcast, Crash, ExpectStates, Judgement, Mine, Moment, PerNode, Reorg, Sign, Step, SubmitPackage, Withhold,
};
use super::super::value::Txs;
use super::{Check, NodeState};
use crate::factory;

impl Check<'_> {
    pub(super) fn steps(&mut self) {
        let members = self.scenario.factory.members.0;
        if !self.afford(members.into(), "factory.members") {
            return;
        }
        self.states = (0..members).map(|member| factory::channel_rules(self.scenario, member).first_state()).collect();
        if let Some(history) = &mut self.history {
            *history = self.states.iter().map(|first| vec![first.clone()]).collect();
        }
        for (index, step) in self.scenario.steps.iter().enumerate() {
            self.step(step, &format!("steps.{index}"));
        }
        if !self.opened {
            self.problem("steps", "no step opens the factory: expected a step `open`");
        }
    }

    fn step(&mut self, step: &Step, path: &str) {
        let needs_factory = matches!(
            step,
            Step::Pay(_)
                | Step::Htlc(_)
                | Step::Claim(_)
                | Step::Fail(_)
                | Step::Quiesce
                | Step::Sign(_)
                | Step::Broadcast(_)
                | Step::SubmitPackage(_)
                | Step::Spend(_)
                | Step::Fill(_)
                | Step::FallBack(_)
                | Step::ExpectStates(_)
        );
        if needs_factory && !self.opened {
            return self.problem(path, "the factory is not open yet: expected a step `open` before this one");
        }
        match step {
            Step::Open if self.opened => self.problem(path, "the factory is open already: expected `open` once"),
            Step::Open => {
                self.opened = true;
                self.height = self.height.saturating_add(self.scenario.factory.confirmations.0);
                self.signed.extend([TxName::Funding, TxName::Allocation]);
                self.present(Party::Operator, path);
            }
            Step::Pay(pay) => {
                if self.is_open(path) {
                    self.payment(pay, &format!("{path}.pay"));
                }
            }
            Step::Htlc(htlc) => {
                if self.is_open(path) {
                    self.htlc(htlc, &format!("{path}.htlc"));
                }
            }
            Step::Claim(claim) => self.settle(claim, true, &format!("{path}.claim")),
            Step::Fail(fail) => {
                if self.is_open(path) {
                    self.settle(fail, false, &format!("{path}.fail"));
                }
            }
            Step::Quiesce => self.quiescent(path),
            Step::Sign(sign) => self.signature(*sign, &format!("{path}.sign")),
            Step::Broadcast(broadcast) => self.broadcast(broadcast, &format!("{path}.broadcast")),
            Step::SubmitPackage(package) => self.package(package, &format!("{path}.submit-package")),
            Step::Spend(spend) => self.spend(spend, &format!("{path}.spend")),
            Step::Fill(fill) => self.fill(fill, &format!("{path}.fill")),
            Step::FallBack(fall_back) => {
                self.present(fall_back.by.0, format!("{path}.fall-back.by"));
                self.on_chain = true;
            }
            Step::Mine(mine) => self.mining(mine, &format!("{path}.mine")),
            Step::Reorg(reorg) => self.reorganisation(reorg, &format!("{path}.reorg")),
            Step::Partition(groups) => self.partition(groups, &format!("{path}.partition")),
            Step::Heal => {}
            Step::Kill(node) => self.change(node, NodeState::Down, &format!("{path}.kill")),
            Step::Stop(node) => self.change(node, NodeState::Down, &format!("{path}.stop")),
            Step::Start(node) => self.change_back(node, NodeState::Down, &format!("{path}.start")),
            Step::Pause(node) => self.change(node, NodeState::Paused, &format!("{path}.pause")),
            Step::Resume(node) => self.change_back(node, NodeState::Paused, &format!("{path}.resume")),
            Step::Silence(party) => {
                if self.present(party.0, format!("{path}.silence")) && !self.silent.insert(party.0) {
                    self.problem(
                        format!("{path}.silence"),
                        format!("{} is silent already: expected it once, or `online` in between", party.0),
                    );
                }
            }
            Step::Offline(party) => {
                if self.present(party.0, format!("{path}.offline")) {
                    self.silent.insert(party.0);
                    self.offline.insert(party.0);
                }
            }
            Step::Crash(crash) => self.crash(crash, &format!("{path}.crash")),
            Step::Online(party) => self.online(party.0, &format!("{path}.online")),
            Step::Withhold(withhold) => self.withhold(withhold, &format!("{path}.withhold")),
            Step::WaitFor(wait) => {
                let path = format!("{path}.wait-for.expect");
                if wait.expect.is_empty() {
                    self.problem(&path, "there is nothing to wait for: expected something beside `at`");
                }
                self.expect(&wait.expect, &path);
            }
            Step::Expect(expect) => {
                let path = format!("{path}.expect");
                if expect.is_empty() {
                    self.problem(&path, "nothing is asserted: expected something beside `at`");
                }
                self.expect(expect, &path);
            }
            Step::ExpectStates(expect) => self.expect_states(expect, &format!("{path}.expect-states")),
        }
    }

    /// Whether channels can still be updated.
    fn is_open(&mut self, path: &str) -> bool {
        if self.frozen {
            self.problem(
                path,
                "the closes are signed, so the channels are frozen: expected this step before `sign: closes`",
            );
        } else if self.on_chain {
            self.problem(path, "a party has fallen back, so the channels are on their way to the chain: expected this step before that");
        }
        !self.frozen && !self.on_chain
    }

    /// Whether there is such a party, and it does things.
    pub(super) fn present(&mut self, party: Party, path: impl AsRef<str>) -> bool {
        let before = self.problems.len();
        self.party(party, &path);
        if self.offline.contains(&party) {
            self.problem(path, format!("{party} is offline at this point: expected it online"));
        }
        self.problems.len() == before
    }

    fn signature(&mut self, sign: Sign, path: &str) {
        let members = self.scenario.factory.members.0;
        let close = |member| TxName::Close(member);
        match sign {
            _ if self.on_chain => self.problem(path, "a party has fallen back already: expected this step before that"),
            Sign::Closes => {
                let pending = (0..).zip(&self.states).find(|(_, state)| !state.htlcs().is_empty());
                if let Some((member, _)) = pending
                    && !self.uncertain
                {
                    let message = format!(
                        "HTLCs are pending in m{member}'s channel, so it cannot be closed: expected a claim or fail of each first"
                    );
                    return self.problem(path, message);
                }
                self.frozen = true;
                let silent = |member: &u32| {
                    self.silent.contains(&Party::Operator) || self.silent.contains(&Party::Member(*member))
                };
                self.signed.extend((0..members).filter(|member| !silent(member)).map(close));
            }
            Sign::FactoryClose if !self.frozen => {
                self.problem(
                    path,
                    "the closes are not signed at this point: expected a step `sign: closes` before this one",
                );
            }
            Sign::FactoryClose if !(0..members).map(close).all(|name| self.signed.contains(&name)) => {
                self.problem(path, "not every close is signed, since somebody was silent: expected all of them");
            }
            Sign::FactoryClose if self.silent.is_empty() => {
                let rungs = factory::offer(self.scenario).close_fee.rungs();
                self.signed.extend((0..rungs).map(|rung| TxName::FactoryClose(rung as u8)));
            }
            // It is begun, and never done.
            Sign::FactoryClose => {}
        }
    }

    fn broadcast(&mut self, broadcast: &Broadcast, path: &str) {
        let by = broadcast.by.0;
        self.publishes(&broadcast.tx, by, broadcast.via.as_ref(), "tx", path);
        self.judged(&broadcast.expect, broadcast.replaces.as_ref(), path);
    }

    /// What is wrong with what nodes are to say to a transaction that is sent to one of them.
    pub(super) fn judged(&mut self, expect: &PerNode, replaces: Option<&Txs>, path: &str) {
        let mut rejected = false;
        match expect {
            PerNode::There(judgement) => {
                rejected = matches!(judgement, Judgement::Rejected(_));
                if *judgement == Judgement::Unreached {
                    let message = "the node that it is sent to is always reached: expected accepted or rejected";
                    self.problem(format!("{path}.expect"), message);
                }
            }
            PerNode::Each(nodes) => {
                if nodes.is_empty() {
                    self.problem(format!("{path}.expect"), "expected at least one node");
                }
                for node in nodes.keys() {
                    self.node(Some(node), format!("{path}.expect.{node}"));
                }
            }
        }
        self.replacing(replaces, rejected, path);
    }

    fn package(&mut self, package: &SubmitPackage, path: &str) {
        let names = self.publishes(&package.txs, package.by.0, package.via.as_ref(), "txs", path);
        // The limit is Bitcoin Core's (MAX_PACKAGE_COUNT).
        if !(2..=25).contains(&names) {
            let message = format!("expected 2 to 25 transactions, found {names}");
            self.problem(format!("{path}.txs"), message);
        }
        if package.expect == Judgement::Unreached {
            let message = "the node that it is sent to is always reached: expected accepted or rejected";
            self.problem(format!("{path}.expect"), message);
        }
        self.replacing(package.replaces.as_ref(), matches!(package.expect, Judgement::Rejected(_)), path);
    }

    fn replacing(&mut self, replaces: Option<&Txs>, rejected: bool, path: &str) {
        let Some(replaces) = replaces else { return };
        let path = format!("{path}.replaces");
        if rejected {
            self.problem(&path, "what is rejected replaces nothing: expected it without `replaces`");
        }
        self.transactions(replaces, &path);
    }

    /// What is wrong with a party's sending of transactions. Gives their number.
    fn publishes(&mut self, txs: &Txs, by: Party, via: Option<&String>, field: &str, path: &str) -> usize {
        let own = self.scenario.party(by).node;
        self.node(via.or(own.as_ref()), format!("{path}.via"));
        self.present(by, format!("{path}.by"));
        if txs.is_empty() {
            self.problem(format!("{path}.{field}"), "expected at least one transaction");
        }
        let names = self.transactions(txs, &format!("{path}.{field}"));
        let mut seen = HashSet::new();
        for name in &names {
            if !seen.insert(*name) {
                self.problem(format!("{path}.{field}"), format!("{name} is there twice: expected it once"));
            }
            self.publishable(*name, by, field, path);
        }
        names.len()
    }

    pub(super) fn publishable(&mut self, tx: TxName, by: Party, field: &str, path: &str) {
        let message = match tx {
            TxName::Spend(_) => Some(format!("{tx} is sent by its own step `spend`: expected another transaction")),
            TxName::HtlcSuccess(..) | TxName::HtlcTimeout(..) => {
                Some(format!("{tx} is published by itself, when its time comes: expected another transaction"))
            }
            TxName::Refund(member, state) => {
                let newest = self.states[member as usize].number();
                (state > newest).then(|| format!("{tx} is not signed at this point: expected a state up to {newest}"))
            }
            _ => (!self.signed.contains(&tx))
                .then(|| format!("{tx} is not signed at this point: expected a step that signs it before this one")),
        };
        if let Some(message) = message {
            self.problem(format!("{path}.{field}"), message);
        }
        if let (Party::Member(party), TxName::Close(member) | TxName::Refund(member, _)) = (by, tx)
            && party != member
        {
            let message = format!("m{party} does not have {tx}: expected the operator or m{member}");
            self.problem(format!("{path}.by"), message);
        }
        if let (Party::Member(_), TxName::Funding) = (by, tx) {
            self.problem(format!("{path}.by"), "only the operator has the funding: expected operator");
        }
    }

    fn mining(&mut self, mine: &Mine, path: &str) {
        self.node(mine.by.as_ref(), format!("{path}.by"));
        if let (Some(_), Some(_)) = (mine.blocks, mine.to_height) {
            self.problem(format!("{path}.to_height"), "it does not go together with `blocks`: expected one of the two");
        }
        let height = crate::node::snapshot::HEIGHT;
        if let Some(to) = mine.to_height
            && u64::from(to.0) <= height
        {
            self.problem(format!("{path}.to_height"), format!("the chain begins at height {height}: expected more"));
        }
        let blocks = mine.blocks.map_or(0, |blocks| blocks.0).max(mine.to_height.map_or(0, |to| to.0));
        if blocks > 10_000 {
            let field = if mine.blocks.is_some() { "blocks" } else { "to_height" };
            self.problem(format!("{path}.{field}"), format!("expected at most 10000, found {blocks}"));
        }
        self.height = match mine.to_height {
            Some(to) => self.height.max(to.0),
            None => self.height.saturating_add(mine.blocks.map_or(1, |blocks| blocks.0)),
        };
    }

    fn reorganisation(&mut self, reorg: &Reorg, path: &str) {
        self.node(reorg.on.as_ref(), format!("{path}.on"));
        if reorg.depth.0 > 100 {
            self.problem(format!("{path}.depth"), format!("expected at most 100 blocks, found {}", reorg.depth.0));
        }
        if let Some(blocks) = reorg.blocks
            && blocks.0 <= reorg.depth.0
        {
            let message = format!("expected more than the {} that are replaced, found {}", reorg.depth.0, blocks.0);
            self.problem(format!("{path}.blocks"), message);
        }
        let blocks = reorg.blocks.map_or(reorg.depth.0.saturating_add(1), |blocks| blocks.0);
        self.height = self.height.saturating_add(blocks.saturating_sub(reorg.depth.0));
    }

    fn partition(&mut self, groups: &[Vec<String>], path: &str) {
        let mut seen = HashSet::new();
        for (group, nodes) in groups.iter().enumerate() {
            for (index, node) in nodes.iter().enumerate() {
                let path = format!("{path}.{group}.{index}");
                if self.known_node(node, &path) && !seen.insert(node) {
                    self.problem(path, format!("{node} is in two groups: expected it in one"));
                }
            }
        }
        let rest = usize::from(seen.len() < self.nodes.len());
        if groups.iter().any(Vec::is_empty) || groups.len() + rest < 2 {
            self.problem(path, "expected at least two groups of nodes");
        }
    }

    fn change(&mut self, node: &String, to: NodeState, path: &str) {
        let before = self.problems.len();
        self.node(Some(node), path);
        if self.problems.len() == before {
            self.not_running.insert(node.clone(), to);
        }
    }

    fn change_back(&mut self, node: &String, from: NodeState, path: &str) {
        if self.known_node(node, path) {
            if self.not_running.get(node) == Some(&from) {
                self.not_running.remove(node);
            } else {
                let word = if from == NodeState::Paused { "paused" } else { "stopped or killed" };
                self.problem(
                    path,
                    format!("node {node} is not {word} at this point: expected it {word} before this step"),
                );
            }
        }
    }

    fn crash(&mut self, crash: &Crash, path: &str) {
        let party = crash.party.0;
        if !self.present(party, format!("{path}.party")) {
            return;
        }
        self.uncertain = true;
        let sends = |what: super::super::language::MessageKind| match party {
            Party::Operator => !what.is_members(),
            Party::Member(_) => !what.is_operators(),
        };
        match crash.at {
            Moment::Now => {
                self.silent.insert(party);
                self.offline.insert(party);
            }
            Moment::BeforeSending(kind) | Moment::AfterSending(kind) if !sends(kind) => {
                self.problem(
                    format!("{path}.at"),
                    format!("{party} never sends {kind}: expected a message of its own"),
                );
            }
            _ if !self.doomed.insert(party) => {
                self.problem(
                    format!("{path}.party"),
                    format!("a crash of {party} is still to come: expected `online` in between"),
                );
            }
            _ => {}
        }
    }

    fn online(&mut self, party: Party, path: &str) {
        self.party(party, path);
        let back = self.doomed.remove(&party) | self.silent.remove(&party) | self.offline.remove(&party);
        if !back {
            self.problem(
                path,
                format!("{party} is not away at this point: expected a silence, offline or crash of it before"),
            );
        }
    }

    fn withhold(&mut self, withhold: &Withhold, path: &str) {
        let (from, kind) = (withhold.from.0, withhold.message);
        if !self.present(from, format!("{path}.from")) {
            return;
        }
        self.uncertain = true;
        let message = match from {
            Party::Operator if kind.is_members() => format!("the operator sends no {kind}: expected a member"),
            Party::Member(_) if kind.is_operators() => {
                format!("{from} has no {kind} to withhold: expected the operator, who alone hands them out")
            }
            _ => {
                if let Some(to) = withhold.to {
                    self.party(to.0, format!("{path}.to"));
                    if super::super::language::channel_of(from, to.0).is_none() {
                        let message =
                            format!("{from} sends nothing to {}: expected the operator as one of the two", to.0);
                        self.problem(format!("{path}.to"), message);
                    }
                }
                return;
            }
        };
        self.problem(format!("{path}.from"), message);
    }

    fn expect_states(&mut self, expect: &ExpectStates, path: &str) {
        self.party(expect.party.0, format!("{path}.party"));
        let channel = expect.channel.0;
        let Party::Member(_) = channel else {
            let message = "a channel goes by the name of its member: expected m0, m1, …";
            return self.problem(format!("{path}.channel"), message);
        };
        self.party(channel, format!("{path}.channel"));
        let party = expect.party.0;
        if party != Party::Operator && party != channel {
            let message = format!("{party} knows nothing of {channel}'s channel: expected the operator or {channel}");
            self.problem(format!("{path}.party"), message);
        }
        if !expect.enforceable.is_sorted_by(|one, next| one < next) {
            self.problem(format!("{path}.enforceable"), "expected rising numbers");
        }
    }
}
