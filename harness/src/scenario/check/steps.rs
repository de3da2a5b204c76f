//! What is wrong with the steps, one after the other.

use bitcoin::Amount;
use factory_core::{Change, ChangeError, Party, TxName, hash_of};
use serde_yaml::{Location, Spanned};

use super::super::language::{
    Broadcast, ExpectStates, ExpectSubmission, Htlc, Pay, Settle, Sign, Step, Withheld, Withhold,
};
use super::super::value::{PartyName, Who};
use super::Check;
use crate::factory;
use crate::scenario::language::channel_of;

impl Check<'_> {
    pub(super) fn steps(&mut self) {
        let members = self.scenario.factory.members.value.0;
        self.states = (0..members).map(|member| factory::channel_rules(self.scenario, member).first_state()).collect();
        for (index, step) in self.scenario.steps.value.iter().enumerate() {
            let path = format!("steps.{index}");
            let at = step.referenced;
            if !self.opened && !matches!(step.value, Step::Open) {
                self.problem(at, &path, "no step has opened the factory yet");
                return;
            }
            self.step(&step.value, at, &path);
        }
        if !self.opened {
            self.problem(self.scenario.steps.referenced, "steps", "no step opens the factory, so nothing is shown");
        }
    }

    fn step(&mut self, step: &Step, at: Location, path: &str) {
        match step {
            Step::Open if self.opened => self.problem(at, path, "the factory is open already"),
            Step::Open => {
                self.opened = true;
                self.signed.extend([TxName::Funding, TxName::Allocation]);
            }
            Step::Pay(pay) => {
                if self.is_open(at, path) {
                    self.payment(pay, &format!("{path}.pay"));
                }
            }
            Step::Htlc(htlc) => {
                if self.is_open(at, path) {
                    self.htlc(htlc, &format!("{path}.htlc"));
                }
            }
            Step::Claim(claim) => self.settle(claim, true, &format!("{path}.claim")),
            Step::Fail(fail) => {
                if self.is_open(at, path) {
                    self.settle(fail, false, &format!("{path}.fail"));
                }
            }
            Step::Sign(sign) => self.signature(sign, &format!("{path}.sign")),
            Step::Broadcast(broadcast) => self.broadcast(broadcast, &format!("{path}.broadcast")),
            Step::FallBack(fall_back) => {
                self.present(&fall_back.by, &format!("{path}.fall-back.by"));
                self.on_chain = true;
            }
            Step::Mine(mine) => self.node(mine.by.as_ref(), &format!("{path}.mine.by")),
            Step::Silence(party) => {
                if self.present(party, &format!("{path}.silence")) && !self.silent.insert(party.value.0) {
                    self.problem(at, format!("{path}.silence"), format!("{} is silent already", party.value.0));
                }
            }
            Step::Offline(party) => {
                if self.present(party, &format!("{path}.offline")) {
                    self.silent.insert(party.value.0);
                    self.offline.insert(party.value.0);
                }
            }
            Step::Withhold(withhold) => self.withhold(withhold, &format!("{path}.withhold")),
            Step::ExpectStates(expect) => self.expect_states(expect, &format!("{path}.expect-states")),
        }
    }

    /// Whether channels can still be updated.
    fn is_open(&mut self, at: Location, path: &str) -> bool {
        if self.frozen {
            self.problem(at, path, "the closes are signed, so the channels are frozen");
        } else if self.on_chain {
            self.problem(at, path, "a party has fallen back, so the channels are on their way to the chain");
        }
        !self.frozen && !self.on_chain
    }

    /// Whether there is such a party, and it does things.
    fn present(&mut self, name: &Spanned<PartyName>, path: &str) -> bool {
        let before = self.problems.len();
        self.party(&Spanned::new(&name.value.0, name.referenced, name.defined), path);
        if self.offline.contains(&name.value.0) {
            self.problem(name.referenced, path, format!("{} is offline", name.value.0));
        }
        self.problems.len() == before
    }

    /// Whether the two sides of a channel hear each other.
    fn talking(&mut self, member: u32, at: Location, path: &str) -> bool {
        let sides = [Party::Operator, Party::Member(member)];
        let silent = sides.into_iter().find(|side| self.silent.contains(side));
        if let Some(silent) = silent {
            self.problem(at, path, format!("{silent} is silent, so m{member}'s channel cannot be updated"));
        }
        silent.is_none()
    }

    /// Makes the next state of a channel. Says what is wrong if it cannot be.
    fn update(&mut self, by: Party, member: u32, change: Change, at: Location, path: &str) -> bool {
        let rules = factory::channel_rules(self.scenario, member);
        let state = &mut self.states[member as usize];
        let amount = match change {
            Change::Pay { amount } | Change::AddHtlc { amount, .. } => amount,
            Change::FulfilHtlc { .. } | Change::FailHtlc { .. } => Amount::ZERO,
        };
        let pending = state.htlcs().len() + usize::from(matches!(change, Change::AddHtlc { .. }));
        let available = match by {
            Party::Operator => state.operator().checked_sub(rules.refund_fee(pending)).unwrap_or(Amount::ZERO),
            Party::Member(_) => state.member(),
        };
        let message = match state.after(&change, by, &rules) {
            Ok(next) => {
                *state = next;
                return true;
            }
            Err(ChangeError::Nothing | ChangeError::NotEnough { .. }) => format!(
                "{by} can pay from 1 to {} sat in m{member}'s channel at this point, not {} sat",
                available.to_sat(),
                amount.to_sat()
            ),
            Err(error) => error.to_string(),
        };
        self.problem(at, path, message);
        false
    }

    fn payment(&mut self, pay: &Pay, path: &str) {
        let before = self.problems.len();
        for (side, what) in [(&pay.from, "from"), (&pay.to, "to")] {
            if let Who::One(party) = side.value.0 {
                self.party(&Spanned::new(&party, side.referenced, side.defined), &format!("{path}.{what}"));
            }
        }
        let Some(payments) = pay.payments(self.states.len() as u32) else {
            let message = format!(
                "{} has no channel with {}: one side must be the operator, the other a member, or members for each",
                pay.from.value.0, pay.to.value.0
            );
            return self.problem(pay.to.referenced, format!("{path}.to"), message);
        };
        if self.problems.len() > before {
            return;
        }
        let change = Change::Pay { amount: pay.amount.value.0 };
        for (from, member) in payments {
            let fits = self.talking(member, pay.to.referenced, path)
                && self.update(from, member, change, pay.amount.referenced, &format!("{path}.amount"));
            if !fits {
                return;
            }
        }
    }

    fn htlc(&mut self, htlc: &Htlc, path: &str) {
        let (from, to) = (htlc.from.value.0, htlc.to.value.0);
        let known = self.present(&htlc.from, &format!("{path}.from")) & self.present(&htlc.to, &format!("{path}.to"));
        let Some(member) = channel_of(from, to) else {
            let message = format!("{from} has no channel with {to}: one side must be the operator, the other a member");
            return self.problem(htlc.to.referenced, format!("{path}.to"), message);
        };
        if !known || !self.talking(member, htlc.to.referenced, path) {
            return;
        }
        let hash = self.hash(&htlc.secret.value);
        // A later step names an HTLC by its secret and its recipient, so these must not mean two.
        let is_for_to = |(member, htlc): (u32, &factory_core::Htlc)| {
            let recipient = if htlc.offerer == Party::Operator { Party::Member(member) } else { Party::Operator };
            htlc.hash == hash && recipient == to
        };
        let mut pending =
            (0..).zip(&self.states).flat_map(|(member, state)| state.htlcs().iter().map(move |htlc| (member, htlc)));
        if pending.any(is_for_to) {
            let message = format!("an HTLC for {to} with the secret `{}` is pending already", htlc.secret.value);
            return self.problem(htlc.secret.referenced, format!("{path}.secret"), message);
        }
        // Heights count from now: only differences matter.
        let rules = factory::channel_rules(self.scenario, member);
        let expiry = htlc.expiry.value.0;
        let earliest = rules.earliest_expiry(self.states[member as usize].number(), 0, true);
        if u64::from(expiry) < earliest {
            let message = format!("an HTLC in m{member}'s channel needs at least {earliest} blocks at this point");
            return self.problem(htlc.expiry.referenced, format!("{path}.expiry"), message);
        }
        let change = Change::AddHtlc { amount: htlc.amount.value.0, hash, expiry };
        self.update(from, member, change, htlc.amount.referenced, &format!("{path}.amount"));
    }

    fn settle(&mut self, settle: &Settle, claim: bool, path: &str) {
        let by = settle.by.value.0;
        if !self.present(&settle.by, &format!("{path}.by")) {
            return;
        }
        let hash = self.hash(&settle.secret.value);
        let pending = |(member, state): (u32, &factory_core::State)| {
            let htlc = state.htlcs().iter().find(|htlc| htlc.hash == hash && htlc.offerer != by)?;
            let concerned = by == Party::Operator || by == Party::Member(member);
            concerned.then_some((member, htlc.id))
        };
        let Some((member, id)) = (0..).zip(&self.states).find_map(pending) else {
            let message = format!("no HTLC with the secret `{}` is offered to {by} at this point", settle.secret.value);
            return self.problem(settle.secret.referenced, format!("{path}.secret"), message);
        };
        if !claim {
            if self.talking(member, settle.by.referenced, path) {
                self.update(by, member, Change::FailHtlc { id }, settle.by.referenced, path);
            }
            return;
        }
        // Where the two cannot update the channel any more, the claim is for the chain.
        let silent = [Party::Operator, Party::Member(member)].iter().any(|side| self.silent.contains(side));
        if !silent && !self.on_chain && !self.frozen {
            let preimage = factory::preimage(self.scenario, &settle.secret.value);
            self.update(by, member, Change::FulfilHtlc { id, preimage }, settle.by.referenced, path);
        }
    }

    fn hash(&self, secret: &str) -> [u8; 32] {
        hash_of(&factory::preimage(self.scenario, secret))
    }

    fn signature(&mut self, sign: &Spanned<Sign>, path: &str) {
        let members = self.scenario.factory.members.value.0;
        let close = |member| TxName::Close(member);
        match sign.value {
            _ if self.on_chain => self.problem(sign.referenced, path, "a party has fallen back already"),
            Sign::Closes if self.frozen => self.problem(sign.referenced, path, "the closes are signed already"),
            Sign::Closes => {
                let pending = (0..).zip(&self.states).find(|(_, state)| !state.htlcs().is_empty());
                if let Some((member, _)) = pending {
                    let message = format!("HTLCs are pending in m{member}'s channel, so it cannot be closed");
                    return self.problem(sign.referenced, path, message);
                }
                self.frozen = true;
                let silent = |member: &u32| {
                    self.silent.contains(&Party::Operator) || self.silent.contains(&Party::Member(*member))
                };
                self.signed.extend((0..members).filter(|member| !silent(member)).map(close));
            }
            Sign::FactoryClose if !self.frozen => {
                self.problem(sign.referenced, path, "the closes must be signed before the factory close");
            }
            Sign::FactoryClose if !(0..members).map(close).all(|name| self.signed.contains(&name)) => {
                self.problem(sign.referenced, path, "not every close is signed, since somebody is silent");
            }
            Sign::FactoryClose if self.signed.contains(&TxName::FactoryClose(0)) => {
                self.problem(sign.referenced, path, "the factory close is signed already");
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
        self.node(broadcast.via.as_ref(), &format!("{path}.via"));
        self.present(&broadcast.by, &format!("{path}.by"));
        let (tx, by) = (broadcast.tx.value.0, broadcast.by.value.0);
        if self.transaction(&broadcast.tx, &format!("{path}.tx")) {
            let message = match tx {
                TxName::HtlcSuccess(..) | TxName::HtlcTimeout(..) => {
                    Some(format!("{tx} is published by itself, when its time comes"))
                }
                TxName::Refund(member, state) => {
                    let newest = self.states[member as usize].number();
                    (state > newest).then(|| format!("{tx} is not signed at this point: the newest state is {newest}"))
                }
                _ => (!self.signed.contains(&tx)).then(|| format!("{tx} is not signed at this point")),
            };
            if let Some(message) = message {
                self.problem(broadcast.tx.referenced, format!("{path}.tx"), message);
            }
        }
        if let (Party::Member(party), TxName::Close(member) | TxName::Refund(member, _)) = (by, tx)
            && party != member
        {
            let message = format!("m{party} does not have {tx}: only the operator and m{member} do");
            self.problem(broadcast.by.referenced, format!("{path}.by"), message);
        }
        if let (Party::Member(_), TxName::Funding) = (by, tx) {
            self.problem(broadcast.by.referenced, format!("{path}.by"), "only the operator has the funding");
        }
        if let (ExpectSubmission::Rejected(_), Some(_)) = (&broadcast.expect, &broadcast.replaces) {
            let message = "what is rejected replaces nothing";
            self.problem(broadcast.tx.referenced, format!("{path}.replaces"), message);
        }
        for (index, tx) in broadcast.replaces.iter().flatten().enumerate() {
            self.transaction(tx, &format!("{path}.replaces.{index}"));
        }
    }

    fn withhold(&mut self, withhold: &Withhold, path: &str) {
        let from = withhold.from.value.0;
        if self.present(&withhold.from, &format!("{path}.from"))
            && withhold.message == Withheld::Signatures
            && from != Party::Operator
        {
            let message = format!("{from} has no signatures to withhold: only the operator hands them out");
            self.problem(withhold.from.referenced, format!("{path}.from"), message);
        }
    }

    fn expect_states(&mut self, expect: &ExpectStates, path: &str) {
        let named = Spanned::new(&expect.party.value.0, expect.party.referenced, expect.party.defined);
        self.party(&named, &format!("{path}.party"));
        let channel = expect.channel.value.0;
        let Party::Member(_) = channel else {
            let message = "a channel goes by the name of its member: expected m0, m1, …";
            return self.problem(expect.channel.referenced, format!("{path}.channel"), message);
        };
        let named = Spanned::new(&channel, expect.channel.referenced, expect.channel.defined);
        self.party(&named, &format!("{path}.channel"));
        let party = expect.party.value.0;
        if party != Party::Operator && party != channel {
            let message = format!("{party} knows nothing of {channel}'s channel: only the operator and {channel} do");
            self.problem(expect.party.referenced, format!("{path}.party"), message);
        }
    }
}
