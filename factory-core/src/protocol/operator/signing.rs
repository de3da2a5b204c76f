//! How the operator coordinates what all parties sign, and asks again for what is missing.

use std::sync::Arc;

use rand_core::CryptoRng;

use super::{Effects, Operator, send};
use crate::name::{Party, TxName};
use crate::protocol::ceremony::{Coordinator, Progress, Task};
use crate::protocol::message::{Body, Joint, Step, WireWitness};
use crate::protocol::record::Key;
use crate::protocol::stake::Stake;
use crate::protocol::{Effect, Event, Message, Phase, Reason, user};
use crate::terms::party;
use crate::tx::Complete;

/// Room for what comes before a step that is said to all: the records to store, and the transactions to report.
const ROOM: usize = 32;

impl Operator {
    /// A step of a signing session, from a member.
    pub(super) fn on_step(&mut self, member: u32, joint: Joint, session: u32, step: Step) -> Effects {
        let key = self.keys.factory;
        let ceremony = self.coordinators[joint as usize].as_mut();
        let Some(ceremony) = ceremony.filter(|known| session <= known.session()) else {
            return Err(Reason::Unexpected("a step of a signing session that was not proposed"));
        };
        // An acknowledgement is of the transaction, whatever session made it.
        if session < ceremony.session() && !matches!(step, Step::Held) {
            return Ok(Vec::new());
        }
        let progress = match step {
            Step::Nonces(nonces) => ceremony.nonces(member, nonces)?,
            Step::Shares(shares) => ceremony.shares(member, shares, &key)?,
            Step::Held => ceremony.held(member)?,
            Step::Propose(_) | Step::Aggregates(_) | Step::Signatures(_) => {
                return Err(Reason::Unexpected("a step that only the operator takes"));
            }
        };
        if let Progress::None = progress {
            return Ok(Vec::new());
        }
        let names = ceremony.task().names();
        let session = ceremony.session();
        let stake = self.known()?;
        match progress {
            Progress::None => Ok(Vec::new()),
            Progress::Aggregates(aggregates) => Ok(tell_all(stake, joint, session, &Step::Aggregates(aggregates), [])),
            Progress::Signed(witnesses, complete) => {
                let reports = names.iter().map(|name| Effect::Report(Event::Complete(*name)));
                let effects = tell_all(stake, joint, session, &Step::Signatures(witnesses), reports);
                match joint {
                    Joint::Allocation => stake.allocation = complete.into_iter().next(),
                    Joint::FactoryClose => {
                        stake.rungs = complete;
                        stake.advance(Phase::FactoryCloseSigned);
                    }
                }
                stake.touch(Key::Joint(joint));
                Ok(effects)
            }
            Progress::Failed(culprits) => {
                let wrong = |tx| Effect::Report(Event::WrongShares { tx, culprits: culprits.clone() });
                Ok(names.first().copied().map(wrong).into_iter().collect())
            }
            Progress::HeldByAll => {
                let mut effects: Vec<_> = names.iter().map(|name| Effect::Report(Event::HeldByAll(*name))).collect();
                if joint == Joint::Allocation && stake.core.phase == Phase::SigningAllocation {
                    stake.advance(Phase::Funding);
                    stake.want(TxName::Funding);
                    effects.push(Effect::Report(Event::FundingReady));
                    effects.extend(stake.broadcast(TxName::Funding));
                }
                Ok(effects)
            }
        }
    }

    /// Begins a signing session with all members.
    pub(super) fn begin(&mut self, task: Task, rng: &mut dyn CryptoRng) -> Effects {
        let (joint, key) = (task.joint(), self.keys.factory);
        let stake = self.known()?;
        // It counts the operator's own sessions: only a stored record could make it so large.
        let session = stake.core.session(joint).saturating_add(1);
        stake.core.sessions.insert(joint, session);
        stake.touch(Key::Core);
        let proposal = Step::Propose(Arc::new(task.proposal()));
        let effects = tell_all(stake, joint, session, &proposal, []);
        self.coordinators[joint as usize] = Some(Coordinator::new(task, session, &key, rng));
        Ok(effects)
    }

    /// Says again what has not been answered; where nonces are at stake, in a new session. Sessions that are younger
    /// than `age` blocks are let be.
    pub(super) fn ask_again(&mut self, age: u32, rng: &mut dyn CryptoRng) -> Effects {
        let stake = self.known()?;
        let (phase, digest) = (stake.core.phase, stake.factory.digest());
        if phase >= Phase::OnChain {
            return Ok(Vec::new());
        }
        let mut effects = Vec::new();
        for member in 0..stake.ends.len() as u32 {
            let factory = stake.factory.clone();
            let (end, context) = stake.end_mut(member)?;
            match phase {
                Phase::SigningRefunds if !end.is_acknowledged() => {
                    effects.push(send(member, Message::Factory(factory.clone())));
                    if end.is_untouched() {
                        effects.extend(end.propose_first(context, rng)?);
                        continue;
                    }
                }
                // A crash may have come between the freezing of one channel and the next.
                Phase::SigningCloses if !end.is_frozen() && end.check_quiescent().is_ok() => {
                    effects.extend(end.propose_close(context, rng)?);
                    continue;
                }
                _ => {}
            }
            if end.is_ready() && !end.is_live() {
                effects.push(send(member, Message::About { factory: digest, body: Body::Ready }));
            }
            effects.extend(end.ask_again(context, rng)?);
        }
        effects.extend(user::claim_again(stake, rng));
        let joint = match phase {
            Phase::SigningAllocation => Joint::Allocation,
            Phase::SigningFactoryClose | Phase::FactoryCloseSigned => Joint::FactoryClose,
            _ => return Ok(effects),
        };
        let renewed = match &mut self.coordinators[joint as usize] {
            Some(ceremony) => {
                if let Some((witnesses, missing)) = ceremony.unacknowledged() {
                    let session = ceremony.session();
                    let stake = self.known()?;
                    let step = Step::Signatures(witnesses);
                    effects.extend(missing.into_iter().map(|to| tell(stake, to, joint, session, &step)));
                    return Ok(effects);
                }
                ceremony.age += 1;
                (ceremony.age > age).then(|| ceremony.task().clone())
            }
            // A restart has ended the session.
            None => {
                let stake = self.known()?;
                match joint {
                    Joint::Allocation => Some(Task::allocation(&stake.factory)),
                    Joint::FactoryClose => stake.close.as_ref().map(|close| Task::factory_close(&stake.factory, close)),
                }
            }
        };
        if let Some(task) = renewed {
            effects.extend(self.begin(task, rng)?);
        }
        Ok(effects)
    }
}

/// What a restored operator still has to see acknowledged, by [`Joint`].
pub(super) fn unfinished(stake: &Stake) -> [Option<Coordinator>; 2] {
    let witnesses = |held: &[Arc<Complete>]| {
        Arc::new(held.iter().map(|complete| WireWitness(complete.witness().clone())).collect())
    };
    let signed = |task: Task, held: &[Arc<Complete>]| {
        let session = stake.core.session(task.joint());
        Coordinator::signed(task, session, witnesses(held))
    };
    let allocation = stake.allocation.is_some();
    let close = stake.close.as_ref().filter(|_| !stake.rungs.is_empty());
    [
        allocation.then(|| signed(Task::allocation(&stake.factory), stake.allocation.as_slice())),
        close.map(|close| signed(Task::factory_close(&stake.factory, close), &stake.rungs)),
    ]
}

fn tell(stake: &Stake, to: Party, joint: Joint, session: u32, step: &Step) -> Effect {
    let body = Body::Sign { joint, session, step: step.clone() };
    Effect::Send { to, message: Message::About { factory: stake.factory.digest(), body } }
}

/// What comes `before`, and then the step to every member.
fn tell_all(
    stake: &Stake,
    joint: Joint,
    session: u32,
    step: &Step,
    before: impl IntoIterator<Item = Effect>,
) -> Vec<Effect> {
    // The orders to store come before all of it: they find room, so that it is allocated once.
    let mut effects = Vec::with_capacity(stake.ends.len() + ROOM);
    effects.extend(before);
    effects.extend((0..stake.ends.len()).map(|member| tell(stake, party(member), joint, session, step)));
    effects
}
