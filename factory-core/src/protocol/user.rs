//! What the operator and the members do alike: updates of channels, claims, publications.

use rand_core::CryptoRng;

use super::message::Exchange;
use super::record::Key;
use super::stake::Stake;
use super::{Cause, Command, Effect, Phase, Reason};
use crate::channel::{Change, ChangeError};
use crate::name::{Party, TxName};

type Effects = Result<Vec<Effect>, Reason>;

/// Carries out a command that both kinds of party know.
pub(super) fn command(stake: Option<&mut Stake>, command: Command, rng: &mut dyn CryptoRng) -> Effects {
    let Some(stake) = stake else {
        return Err(match command {
            Command::Publish(tx) => Reason::CannotPublish { tx, missing: "there is no factory yet" },
            _ => Reason::Unexpected("what concerns a factory that is not there yet"),
        });
    };
    match command {
        Command::Update { with, change } => {
            let member = channel_with(stake, with)?;
            check_open(stake.core.phase, member)?;
            let (end, context) = stake.end_mut(member)?;
            end.propose_change(context, change, rng)
        }
        Command::Claim { with, id, preimage } => claim(stake, with, id, preimage, rng),
        Command::Publish(tx) => publish(stake, tx),
        Command::FallBack => {
            let mut effects = stake.fall_back(Cause::Command, Vec::new());
            effects.extend(stake.rebroadcast());
            Ok(effects)
        }
        Command::Open => Err(Reason::OperatorOnly("open a factory")),
        Command::SignCloses => Err(Reason::OperatorOnly("have the closes signed")),
        Command::SignFactoryClose => Err(Reason::OperatorOnly("have the factory close signed")),
    }
}

/// The member whose channel this party shares with `with`.
fn channel_with(stake: &Stake, with: Party) -> Result<u32, Reason> {
    match (stake.me, with) {
        (Party::Operator, Party::Member(member)) if (member as usize) < stake.ends.len() => Ok(member),
        (Party::Member(member), Party::Operator) => Ok(member),
        _ => Err(Reason::UnknownPayee(with)),
    }
}

/// Refuses what would be a new signature in a channel, once the party is on its way to the chain.
pub(super) fn check_open(phase: Phase, member: u32) -> Result<(), Reason> {
    if phase >= Phase::OnChain { Err(Reason::OnChain(member)) } else { Ok(()) }
}

/// Lets pass what only completes a signature that was given before.
pub(super) fn check_exchange(phase: Phase, member: u32, exchange: &Exchange) -> Result<(), Reason> {
    match exchange {
        Exchange::Propose { .. } | Exchange::Accept { .. } => check_open(phase, member),
        Exchange::Complete { .. } | Exchange::Held { .. } => Ok(()),
    }
}

fn claim(stake: &mut Stake, with: Party, id: u32, preimage: [u8; 32], rng: &mut dyn CryptoRng) -> Effects {
    let member = channel_with(stake, with)?;
    let me = stake.me;
    let (end, _) = stake.end_mut(member)?;
    let htlc = end.enforceable().find_map(|state| state.htlc(id)).ok_or(ChangeError::NoSuchHtlc(id))?;
    if htlc.offerer == me {
        return Err(ChangeError::NotRecipient { id, party: me }.into());
    }
    if !htlc.is_preimage(&preimage) {
        return Err(ChangeError::WrongPreimage(id).into());
    }
    end.remember(id, preimage);
    stake.touch(Key::Channel(member));
    let mut effects = claim_again(stake, rng);
    // Where there is no time left to agree on it, it is taken on chain, and the preimage is shown there first.
    if let Some(other) = stake.expiring() {
        effects.extend(stake.fall_back(Cause::HtlcExpiry, vec![other]));
    }
    if stake.core.phase == Phase::OnChain {
        effects.extend(stake.rebroadcast());
    }
    Ok(effects)
}

/// Proposes to take what HTLCs hold whose preimages are known, where nothing else is in flight. Where the channel's rules
/// allow no such update any more, the HTLC is taken on chain when its time comes.
pub(super) fn claim_again(stake: &mut Stake, rng: &mut dyn CryptoRng) -> Vec<Effect> {
    let mut effects = Vec::new();
    if stake.core.phase >= Phase::OnChain {
        return effects;
    }
    let height = stake.core.height;
    let members: Vec<_> =
        stake.ends.iter().filter(|end| end.claimable(height).is_some()).map(|end| end.member()).collect();
    for member in members {
        let Ok((end, context)) = stake.end_mut(member) else { continue };
        if let Some((id, preimage)) = end.claimable(height) {
            // Where no update can be made any more, as they are exhausted, the way on chain is left: see `last_chance`.
            effects.extend(end.propose_change(context, Change::FulfilHtlc { id, preimage }, rng).unwrap_or_default());
        }
    }
    effects
}

fn publish(stake: &mut Stake, tx: TxName) -> Effects {
    let missing = |missing| Err(Reason::CannotPublish { tx, missing });
    if let (TxName::Funding, Phase::Aborted) = (tx, stake.core.phase) {
        return missing("the factory was given up");
    }
    if let (TxName::Funding, true) = (tx, stake.core.phase < Phase::Funding) {
        return missing(match stake.me {
            Party::Operator => "not every member has acknowledged that it holds the allocation",
            Party::Member(_) => "only the operator holds it",
        });
    }
    match stake.broadcast(tx) {
        Some(broadcast) => {
            stake.want(tx);
            Ok(vec![broadcast])
        }
        None => missing(match (tx, stake.me) {
            (TxName::Funding, _) => "only the operator holds it",
            (TxName::Close(member) | TxName::Refund(member, _), _) if stake.end(member).is_none() => {
                if let Party::Operator = stake.me {
                    "there is no such member"
                } else {
                    "only the operator and the member whose channel it is hold it"
                }
            }
            (TxName::Refund(..), _) => "it is not the newest that this party holds",
            (TxName::HtlcSuccess(..) | TxName::HtlcTimeout(..), _) => {
                "a claim is published by itself, when its time comes"
            }
            (TxName::Spend(_), _) => "it is no transaction of the factory's",
            (TxName::FactoryClose(rung), _) if stake.rungs.len() > 1 && usize::from(rung) >= stake.rungs.len() => {
                "there is no such variant"
            }
            _ => "it is not signed",
        }),
    }
}
