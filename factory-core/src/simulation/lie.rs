//! What a liar makes of its messages.

use std::sync::Arc;

use bitcoin::Amount;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

use crate::channel::Change;
use crate::protocol::{Body, Content, Exchange, Message, Proposal, Proposed, Step};

/// What becomes of `message`: `None` withholds it. `earlier` is what the liar has sent before.
pub(super) fn twist(message: Message, earlier: &[Message], rng: &mut ChaCha20Rng) -> Option<Message> {
    let mut below = |limit: u64| rng.next_u64() % limit;
    if below(3) > 0 {
        return Some(message);
    }
    let old = (!earlier.is_empty()).then(|| earlier[below(earlier.len() as u64) as usize].clone());
    match below(4) {
        0 => None,
        1 => old.or(Some(message)),
        _ => {
            let Message::About { factory, body } = message else { return Some(message) };
            let old = match old {
                Some(Message::About { body, .. }) => Some(body),
                _ => None,
            };
            let body = match body {
                Body::Sign { joint, session, step } => {
                    Body::Sign { joint, session: session + below(2) as u32, step: step_of(step, old, below(8)) }
                }
                Body::Channel(exchange) => Body::Channel(Box::new(exchange_of(*exchange, old, below(8)))),
                Body::Ready => Body::Ready,
            };
            Some(Message::About { factory, body })
        }
    }
}

/// Another step of the same kind.
fn step_of(step: Step, old: Option<Body>, how: u64) -> Step {
    let old = match old {
        Some(Body::Sign { step, .. }) => Some(step),
        _ => None,
    };
    match (step, old) {
        (Step::Propose(proposal), _) => Step::Propose(Arc::new(match proposal.as_ref() {
            Proposal::Allocation(proposed) => Proposal::Allocation(change(proposed, how)),
            Proposal::FactoryClose { balances, rungs } => {
                let mut balances = balances.to_vec();
                if how.is_multiple_of(2)
                    && let Some(balance) = balances.first_mut()
                {
                    *balance = Amount::from_sat(balance.to_sat() / 2);
                }
                Proposal::FactoryClose {
                    balances: balances.into(),
                    rungs: rungs.iter().map(|rung| change(rung, how)).collect(),
                }
            }
        })),
        (Step::Nonces(_), Some(Step::Nonces(old))) => Step::Nonces(old),
        (Step::Aggregates(_), Some(Step::Aggregates(old))) => Step::Aggregates(old),
        (Step::Shares(_), Some(Step::Shares(old))) => Step::Shares(old),
        (Step::Signatures(_), Some(Step::Signatures(old))) => Step::Signatures(old),
        (Step::Shares(mut shares), _) => {
            if how.is_multiple_of(2) {
                shares.pop();
            }
            Step::Shares(shares)
        }
        (step, _) => step,
    }
}

fn exchange_of(exchange: Exchange, old: Option<Body>, how: u64) -> Exchange {
    let old = match old {
        Some(Body::Channel(exchange)) => Some(*exchange),
        _ => None,
    };
    match (exchange, old) {
        (Exchange::Propose { attempt, content, proposed, nonce }, _) if how < 4 => {
            Exchange::Propose { attempt, content, proposed: change(&proposed, how), nonce }
        }
        (Exchange::Propose { attempt, content, proposed, nonce }, _) => {
            let content = match content {
                Content::State { base, change: Change::Pay { amount } } => {
                    let amount = Amount::from_sat(amount.to_sat() * how);
                    Content::State { base: base + u32::from(how == 5), change: Change::Pay { amount } }
                }
                Content::Close { state, balance } => {
                    Content::Close { state, balance: Amount::from_sat(balance.to_sat() / 2) }
                }
                other => other,
            };
            Exchange::Propose { attempt, content, proposed, nonce }
        }
        (Exchange::Accept { attempt, nonce, share }, Some(Exchange::Accept { nonce: old, share: other, .. })) => {
            if how.is_multiple_of(2) {
                Exchange::Accept { attempt, nonce: old, share }
            } else {
                Exchange::Accept { attempt, nonce, share: other }
            }
        }
        (Exchange::Complete { slot, .. }, Some(Exchange::Complete { witness, .. })) => {
            Exchange::Complete { slot, witness }
        }
        (exchange, _) => exchange,
    }
}

fn change(proposed: &Proposed, how: u64) -> Proposed {
    let mut tx = bitcoin::Transaction::clone(&proposed.tx);
    let mut sighash = proposed.sighash;
    match how {
        0 => tx.version = bitcoin::transaction::Version::ONE,
        1 => tx.input[0].sequence = bitcoin::Sequence::MAX,
        2 => sighash ^= 2,
        3 => tx.output.reverse(),
        _ => {
            if let Some(output) = tx.output.first_mut() {
                output.value = Amount::from_sat(output.value.to_sat() / 2);
            }
        }
    }
    Proposed { tx: Arc::new(tx), sighash }
}
