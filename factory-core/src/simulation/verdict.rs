//! How a lifecycle ended, and whether everybody has what it must have.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bitcoin::{Amount, OutPoint, Transaction};

use super::audit::Violation;
use super::seat::Seat;
use super::world::World;
use crate::channel::{Split, State};
use crate::factory::Factory;
use crate::fee;
use crate::name::{Party, TxName};
use crate::terms::DUST_LIMIT;
use crate::tx::{channel_close, htlc, refund, size};

/// Which way the money left the factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// By the factory close.
    FactoryClose,
    /// By the allocation and the close of every channel.
    Closes,
    /// By the allocation, and the refund of every channel.
    Refunds,
    /// By the allocation, and closes of some channels and refunds of others.
    Mixed,
    /// It never came in: the factory was given up before.
    Aborted,
    /// Not at all, or not all of it: who was left had nothing more to get.
    Abandoned,
}

/// What a simulated lifecycle came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which way it took.
    pub path: Path,
    /// How many blocks were mined.
    pub blocks: u32,
    /// How many messages were delivered.
    pub messages: u64,
    /// How often a party crashed.
    pub crashes: u32,
    /// How many HTLCs were taken on chain with their preimage.
    pub htlc_successes: u32,
    /// How many HTLCs were taken back on chain.
    pub htlc_timeouts: u32,
    /// How many wrong shares were found.
    pub wrong_shares: u32,
    /// How many inputs were refused.
    pub refused: u32,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Path::FactoryClose => "factory close",
            Path::Closes => "allocation + closes",
            Path::Refunds => "allocation + refunds",
            Path::Mixed => "allocation + closes and refunds",
            Path::Aborted => "aborted before the funding",
            Path::Abandoned => "abandoned",
        })
    }
}

/// Who spends what, in the blocks of the ledger.
struct Spends(HashMap<OutPoint, Arc<Transaction>>);

impl Spends {
    fn of(world: &World) -> Self {
        let blocks = (0..=world.ledger.height()).filter_map(|height| world.ledger.block(height));
        let txs = blocks.flat_map(|block| &block.txs);
        Spends(txs.flat_map(|tx| tx.input.iter().map(|input| (input.previous_output, tx.clone()))).collect())
    }

    fn of_output(&self, outpoint: OutPoint) -> Option<&Arc<Transaction>> {
        self.0.get(&outpoint)
    }
}

/// How a channel was settled.
enum Settled<'a> {
    Close,
    Refund(&'a Arc<Transaction>),
    Not,
}

pub(super) fn judge(world: &World) -> Result<Outcome, Violation> {
    if !world.ledger.is_conserved() {
        return Err(Violation::NotConserved);
    }
    let mut outcome = Outcome {
        path: Path::Aborted,
        blocks: world.blocks,
        messages: world.messages,
        crashes: world.crashes,
        htlc_successes: 0,
        htlc_timeouts: 0,
        wrong_shares: world.wrong_shares,
        refused: world.refused,
    };
    let spends = Spends::of(world);
    // If the operator crashed before it made the factory anew, a member may still know it.
    let Some(factory) = world.seats.iter().find_map(Seat::factory) else { return Ok(outcome) };
    if world.ledger.confirmed(&factory.outpoint().txid).is_none() {
        return Ok(outcome);
    }
    let Some(spent) = spends.of_output(factory.outpoint()) else {
        // All of it is still the operator's, unless a member that is there has been paid.
        let waiting = |seat: &&Seat| {
            let paid = match seat.party {
                Party::Operator => true,
                Party::Member(member) => {
                    world.book.agreed(seat.party, member).is_some_and(|state| state.member() >= DUST_LIMIT)
                }
            };
            seat.is_protected() && seat.is_there() && paid
        };
        if let Some(seat) = world.seats.iter().find(waiting) {
            return Err(Violation::Unsettled(format!("{} has left money in the factory", seat.party)));
        }
        outcome.path = Path::Abandoned;
        return Ok(outcome);
    };
    let allocated = spent.compute_txid() == factory.allocation().txid();
    let members = 0..factory.terms().members().len() as u32;
    let settled: Vec<_> = members.map(|member| settled(world, factory, &spends, member)).collect();
    outcome.path = if !allocated { Path::FactoryClose } else { path_of(&settled) };
    let mut operator = Amount::ZERO;
    for (member, settled) in settled.iter().enumerate() {
        let member = member as u32;
        if !allocated {
            operator += check_cooperative(world, factory, member, "factory close")?;
            continue;
        }
        match settled {
            Settled::Close => operator += check_cooperative(world, factory, member, "channel close")?,
            Settled::Refund(tx) => operator += check_refund(world, factory, &spends, (member, tx), &mut outcome)?,
            Settled::Not => {
                let mut waiting = concerned(world, member).filter(|seat| seat.is_protected() && seat.is_there());
                if let Some(seat) = waiting.next() {
                    let message = format!("{} is closed, and the channel of m{member} is not settled", seat.party);
                    return Err(Violation::Unsettled(message));
                }
            }
        }
    }
    if !allocated {
        operator = less_premium(factory, spent, operator)?;
    }
    let seat = &world.seats[0];
    if seat.is_protected() && seat.is_there() {
        expect(world, seat, operator, outcome.path.to_string())?;
    }
    Ok(outcome)
}

fn path_of(settled: &[Settled<'_>]) -> Path {
    let all = |is: fn(&Settled<'_>) -> bool| settled.iter().all(is);
    if all(|settled| matches!(settled, Settled::Close)) {
        Path::Closes
    } else if all(|settled| matches!(settled, Settled::Refund(_))) {
        Path::Refunds
    } else if all(|settled| !matches!(settled, Settled::Not)) {
        Path::Mixed
    } else {
        Path::Abandoned
    }
}

/// The two sides of a channel.
fn concerned(world: &World, member: u32) -> impl Iterator<Item = &Seat> {
    [&world.seats[0], &world.seats[member as usize + 1]].into_iter()
}

fn settled<'a>(world: &World, factory: &Factory, spends: &'a Spends, member: u32) -> Settled<'a> {
    let Ok(channel) = factory.channel(member) else { return Settled::Not };
    let Some(tx) = spends.of_output(channel.outpoint) else { return Settled::Not };
    let txid = tx.compute_txid();
    let is_close = concerned(world, member)
        .filter_map(|seat| seat.channel(member)?.agreed())
        .any(|state| channel_close::build(factory, member, state.member()).is_ok_and(|close| close.txid() == txid));
    if is_close { Settled::Close } else { Settled::Refund(tx) }
}

/// What the member ends with where its channel ended in agreement. Returns what the operator must have of it.
fn check_cooperative(world: &World, factory: &Factory, member: u32, how: &str) -> Result<Amount, Violation> {
    let terms = factory.terms();
    let split = |party| {
        let balance = world.book.agreed(party, member).map_or(Amount::ZERO, State::member);
        Split::new(terms.members()[member as usize].capacity, balance, terms.close_fee())
            .map_err(|error| Violation::Unsettled(error.to_string()))
    };
    let seat = &world.seats[member as usize + 1];
    if seat.is_protected() {
        expect(world, seat, split(seat.party)?.member.unwrap_or(Amount::ZERO), how.to_owned())?;
    }
    Ok(split(Party::Operator)?.operator.unwrap_or(Amount::ZERO))
}

/// What the merged output holds after the premium of the variant that is confirmed.
fn less_premium(factory: &Factory, close: &Transaction, merged: Amount) -> Result<Amount, Violation> {
    let terms = factory.terms();
    let kept = |premium| {
        // The size with the operator's output, whether or not there is one in the end.
        let to_operator = close.output.iter().filter(|output| output.script_pubkey == terms.operator().payout).count();
        let outputs = close.output.len() + 1 - to_operator;
        let weight = size::lock_spend(terms.offer().lock, terms.members().len() + 1, outputs);
        let premium = fee(premium, weight.to_vbytes_ceil()).unwrap_or(merged).min(merged);
        if merged - premium >= DUST_LIMIT { merged - premium } else { Amount::ZERO }
    };
    let paid: Amount = close
        .output
        .iter()
        .filter(|output| output.script_pubkey == terms.operator().payout)
        .map(|output| output.value)
        .sum();
    let allowed: Vec<_> = terms.offer().close_fee.premiums().iter().copied().map(kept).collect();
    if allowed.contains(&paid) {
        return Ok(paid);
    }
    Err(Violation::Unsettled(format!("the factory close pays the operator {paid}, expected one of {allowed:?}")))
}

fn expect(world: &World, seat: &Seat, expected: Amount, how: String) -> Result<(), Violation> {
    let found = world.ledger.balance(seat.payout());
    if found == expected {
        return Ok(());
    }
    Err(Violation::Amount { party: seat.party, found: found.to_sat(), expected: expected.to_sat(), how })
}

/// A refund must be of a state that each protected side still reckons with, and pay it exactly that.
fn check_refund(
    world: &World,
    factory: &Factory,
    spends: &Spends,
    (member, tx): (u32, &Transaction),
    outcome: &mut Outcome,
) -> Result<Amount, Violation> {
    let txid = tx.compute_txid();
    let mut operator = Amount::ZERO;
    for seat in concerned(world, member).filter(|seat| seat.is_protected()) {
        if seat.channel(member).is_none() {
            continue;
        }
        let is = |state: &&State| refund::build(factory, member, state).is_ok_and(|unsigned| unsigned.txid() == txid);
        let Some(state) = world.book.enforceable(seat.party, member).find(is) else {
            return Err(Violation::OldState { party: seat.party, tx: TxName::Refund(member, 0) });
        };
        let agreed = world.book.agreed(seat.party, member).unwrap_or(state);
        if seat.party != Party::Operator && state.htlcs().is_empty() && agreed.htlcs().is_empty() {
            let (found, expected) = (state.member().to_sat(), agreed.member().to_sat());
            if found < expected {
                let how = format!("state {} in place of {}", state.number(), agreed.number());
                return Err(Violation::Amount { party: seat.party, found, expected, how });
            }
        }
        let rules = factory.terms().channel_rules(member);
        let own = match seat.party {
            Party::Member(_) => Some(state.member()),
            Party::Operator => {
                rules.and_then(|rules| state.operator().checked_sub(rules.refund_fee(state.htlcs().len())))
            }
        };
        let mut expected = own.filter(|own| *own >= DUST_LIMIT).unwrap_or(Amount::ZERO);
        let first = tx.output.len() - state.htlcs().len();
        for (index, pending) in state.htlcs().iter().enumerate() {
            let outpoint = OutPoint::new(txid, (first + index) as u32);
            let taken = spends.of_output(outpoint);
            let success = taken.is_some_and(|taken| htlc::preimage_in(taken, outpoint, pending).is_some());
            if seat.party != Party::Operator || !concerned_twice(world, member) {
                outcome.htlc_successes += u32::from(success);
                outcome.htlc_timeouts += u32::from(taken.is_some() && !success);
            }
            let mine = (pending.offerer == seat.party) != success;
            let Some(taken) = taken else {
                if pending.offerer == seat.party && seat.is_there() {
                    return Err(Violation::Unsettled(format!("HTLC {} of m{member} lies there for good", pending.id)));
                }
                continue;
            };
            let fee = fee(factory.terms().offer().feerate, taken.vsize() as u64).unwrap_or(Amount::ZERO);
            if mine {
                let paid = taken.output.iter().find(|output| output.script_pubkey == *seat.payout());
                if paid.map(|output| output.value) != pending.amount.checked_sub(fee) {
                    return Err(Violation::Unsettled(format!("the claim of HTLC {} pays {paid:?}", pending.id)));
                }
                expected += pending.amount - fee;
            }
        }
        match seat.party {
            Party::Operator => operator += expected,
            Party::Member(_) => expect(world, seat, expected, format!("refund of state {}", state.number()))?,
        }
    }
    Ok(operator)
}

/// Whether both sides of a channel are looked at, so that what is counted is counted once.
fn concerned_twice(world: &World, member: u32) -> bool {
    concerned(world, member).filter(|seat| seat.is_protected() && seat.channel(member).is_some()).count() == 2
}
