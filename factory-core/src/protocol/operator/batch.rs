//! Many inputs at once: what concerns different channels is done on all cores.

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::{Effects, Operator};
use crate::channel::Change;
use crate::name::Party;
use crate::protocol::message::{Body, Exchange};
use crate::protocol::{Command, Effect, Input, Message, ProtocolError, user};

/// What is done in one channel, and touches no other.
enum ChannelStep {
    /// The member's message.
    Exchange(Box<Exchange>),
    /// What the user wants changed.
    Update(Change),
}

impl Operator {
    /// Takes inputs as [`Operator::handle`] would, one after the other; where many of them are about different channels, on
    /// all cores. Returns what came of each, in their order. What steps in several channels lead to together comes with the
    /// last of them that was taken, even if an earlier one was the last that was missing.
    pub fn handle_all(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        rng: &mut dyn CryptoRng,
    ) -> Vec<Result<Vec<Effect>, ProtocolError>> {
        let inputs = inputs.into_iter();
        let mut results = Vec::with_capacity(inputs.size_hint().0);
        let mut batch = Vec::new();
        let mut in_batch = BTreeSet::new();
        for input in inputs {
            let step = self.channel_step(input);
            let goes_along = matches!(&step, Ok((member, _)) if !in_batch.contains(member));
            if !batch.is_empty() && !goes_along {
                results.extend(self.handle_batch(std::mem::take(&mut batch), rng));
                in_batch.clear();
            }
            match step {
                Ok((member, step)) => {
                    in_batch.insert(member);
                    batch.push((member, step));
                }
                Err(input) => results.push(self.handle(input, rng)),
            }
        }
        results.extend(self.handle_batch(batch, rng));
        results
    }

    /// The step that an input takes in a member's channel; the input, if it takes none, or is not for this factory.
    fn channel_step(&self, input: Input) -> Result<(u32, ChannelStep), Input> {
        let known = self.stake.as_ref().map(|stake| stake.factory.digest());
        let is_known = |member: u32| (member as usize) < self.capacities.len();
        match input {
            Input::Message {
                from: Party::Member(member),
                message: Message::About { factory, body: Body::Channel(exchange) },
            } if Some(factory) == known && is_known(member) => Ok((member, ChannelStep::Exchange(exchange))),
            Input::Command(Command::Update { with: Party::Member(member), change })
                if known.is_some() && is_known(member) =>
            {
                Ok((member, ChannelStep::Update(change)))
            }
            input => Err(input),
        }
    }

    /// Takes a step in each of several channels, no two of them the same.
    fn handle_batch(
        &mut self,
        batch: Vec<(u32, ChannelStep)>,
        rng: &mut dyn CryptoRng,
    ) -> Vec<Result<Vec<Effect>, ProtocolError>> {
        let phase = self.phase();
        let Some(stake) = self.stake.as_mut().filter(|_| !batch.is_empty()) else { return Vec::new() };
        let culprit = |(member, step): &(u32, ChannelStep)| match step {
            ChannelStep::Exchange(_) => Some(Party::Member(*member)),
            ChannelStep::Update(_) => None,
        };
        let culprits: Vec<_> = batch.iter().map(culprit).collect();
        let results = stake.in_channels(batch, rng, |end, context, step, rng| match step {
            ChannelStep::Exchange(exchange) => {
                user::check_exchange(phase, end.member(), &exchange)?;
                end.on_exchange(context, *exchange, rng)
            }
            ChannelStep::Update(change) => {
                user::check_open(phase, end.member())?;
                end.propose_change(context, change, rng)
            }
        });
        let refused = |culprit, reason| ProtocolError { phase, culprit, reason };
        let finish =
            |(culprit, result): (Option<Party>, Effects)| Ok(stake.flush(result.map_err(|r| refused(culprit, r))?));
        let mut results: Vec<_> = culprits.iter().copied().zip(results).map(finish).collect();
        // What they lead to together comes with the last, and is stored there: after what each has changed in its channel.
        let Some(last) = results.iter().rposition(Result::is_ok) else { return results };
        let more = self.after_exchange(rng).map_err(|reason| refused(culprits[last], reason));
        let effects = std::mem::replace(&mut results[last], Ok(Vec::new()));
        results[last] = effects.and_then(|mut effects| {
            effects.extend(more?);
            Ok(self.stake.as_mut().map(|stake| stake.flush(effects)).unwrap_or_default())
        });
        results
    }
}
