//! What is wrong with the steps that change a channel.

use bitcoin::Amount;
use factory_core::{Change, ChangeError, Party, hash_of};

use super::super::language::{Htlc, Pay, Settle, channel_of};
use super::super::value::Who;
use super::Check;
use crate::factory;

impl Check<'_> {
    /// Whether the two sides of a channel hear each other.
    fn talking(&mut self, member: u32, path: &str) -> bool {
        let sides = [Party::Operator, Party::Member(member)];
        let silent = sides.into_iter().find(|side| self.silent.contains(side));
        if let Some(silent) = silent {
            self.problem(
                path,
                format!("{silent} is silent, so m{member}'s channel cannot be updated: expected it online"),
            );
        }
        silent.is_none()
    }

    /// Makes the next state of a channel. Says what is wrong if it cannot be.
    fn update(&mut self, by: Party, member: u32, change: Change, path: &str) -> bool {
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
                if let Some(states) = self.history.as_mut().and_then(|history| history.get_mut(member as usize)) {
                    states.push(next.clone());
                }
                *state = next;
                return true;
            }
            Err(ChangeError::Nothing | ChangeError::NotEnough { .. }) if available == Amount::ZERO => {
                format!(
                    "{by} has nothing to pay with in m{member}'s channel at this point: expected a payment to it before"
                )
            }
            Err(ChangeError::Nothing | ChangeError::NotEnough { .. }) => format!(
                "{by} cannot pay {} sat in m{member}'s channel at this point: expected 1 to {} sat",
                amount.to_sat(),
                available.to_sat()
            ),
            Err(ChangeError::HtlcTooSmall { amount, minimum }) => format!(
                "an HTLC of {} sat would leave dust after the fee of its claim: expected at least {} sat",
                amount.to_sat(),
                minimum.to_sat()
            ),
            Err(error @ ChangeError::Exhausted { .. }) => {
                format!("{error}: expected fewer updates, or longer refund_locks")
            }
            Err(error) => format!("{error}: expected a change that the channel allows"),
        };
        self.problem(path, message);
        false
    }

    pub(super) fn payment(&mut self, pay: &Pay, path: &str) {
        let before = self.problems.len();
        for (side, what) in [(pay.from, "from"), (pay.to, "to")] {
            if let Who::One(party) = side {
                self.party(party, format!("{path}.{what}"));
            }
        }
        let Some(payments) = pay.payments(self.states.len() as u32) else {
            let message = format!(
                "{} has no channel with {}: expected the operator on one side, and a member or `members` on the other",
                pay.from, pay.to
            );
            return self.problem(format!("{path}.to"), message);
        };
        if self.problems.len() > before {
            return;
        }
        if !self.afford(payments.len() as u64, path) {
            return;
        }
        let change = Change::Pay { amount: pay.amount.0 };
        for (from, member) in payments {
            if !self.talking(member, path) || !self.update(from, member, change, &format!("{path}.amount")) {
                return;
            }
        }
    }

    pub(super) fn htlc(&mut self, htlc: &Htlc, path: &str) {
        let (from, to) = (htlc.from.0, htlc.to.0);
        let known = self.present(from, format!("{path}.from")) & self.present(to, format!("{path}.to"));
        let Some(member) = channel_of(from, to) else {
            let message =
                format!("{from} has no channel with {to}: expected the operator on one side and a member on the other");
            return self.problem(format!("{path}.to"), message);
        };
        if !known || !self.talking(member, path) {
            return;
        }
        let hash = self.hash(&htlc.secret);
        // A later step names an HTLC by its secret and its recipient, so these must not mean two.
        let is_for_to = |(member, htlc): (u32, &factory_core::Htlc)| {
            let recipient = if htlc.offerer == Party::Operator { Party::Member(member) } else { Party::Operator };
            htlc.hash == hash && recipient == to
        };
        let mut pending =
            (0..).zip(&self.states).flat_map(|(member, state)| state.htlcs().iter().map(move |htlc| (member, htlc)));
        if pending.any(is_for_to) {
            let message = format!(
                "an HTLC for {to} with the secret `{}` is pending already: expected another secret",
                htlc.secret
            );
            return self.problem(format!("{path}.secret"), message);
        }
        let rules = factory::channel_rules(self.scenario, member);
        let expiry = htlc.expiry.0;
        let earliest = rules.earliest_expiry(self.states[member as usize].number(), 0, true);
        if u64::from(expiry) < earliest {
            let message = format!(
                "an HTLC in m{member}'s channel must leave time to go on chain: expected at least {earliest} blocks, found {expiry}"
            );
            return self.problem(format!("{path}.expiry"), message);
        }
        let change = Change::AddHtlc { amount: htlc.amount.0, hash, expiry: self.height.saturating_add(expiry) };
        self.update(from, member, change, &format!("{path}.amount"));
    }

    pub(super) fn settle(&mut self, settle: &Settle, claim: bool, path: &str) {
        let by = settle.by.0;
        if !self.present(by, format!("{path}.by")) {
            return;
        }
        let hash = self.hash(&settle.secret);
        let pending = |(member, state): (u32, &factory_core::State)| {
            let htlc = state.htlcs().iter().find(|htlc| htlc.hash == hash && htlc.offerer != by)?;
            let concerned = by == Party::Operator || by == Party::Member(member);
            concerned.then_some((member, htlc.id))
        };
        let Some((member, id)) = (0..).zip(&self.states).find_map(pending) else {
            let message = format!(
                "no HTLC with the secret `{}` is offered to {by} at this point: expected one that is pending",
                settle.secret
            );
            return self.problem(format!("{path}.secret"), message);
        };
        if !claim {
            if self.talking(member, &format!("{path}.by")) {
                self.update(by, member, Change::FailHtlc { id }, path);
            }
            return;
        }
        // Where the two cannot update the channel any more, the claim is for the chain.
        let silent = [Party::Operator, Party::Member(member)].iter().any(|side| self.silent.contains(side));
        if !silent && !self.on_chain && !self.frozen {
            let preimage = factory::preimage(self.scenario, &settle.secret);
            self.update(by, member, Change::FulfilHtlc { id, preimage }, path);
        }
    }

    pub(super) fn quiescent(&mut self, path: &str) {
        let pending = (0..).zip(&self.states).find(|(_, state): &(u32, _)| !state.htlcs().is_empty());
        if let Some((member, _)) = pending
            && !self.uncertain
        {
            self.problem(
                path,
                format!(
                    "an HTLC is pending in m{member}'s channel at this point: expected a claim or fail of it before"
                ),
            );
        }
    }

    fn hash(&self, secret: &str) -> [u8; 32] {
        hash_of(&factory::preimage(self.scenario, secret))
    }
}
