//! Messages and records that are almost right.

use std::sync::Arc;

use bitcoin::{Amount, Sequence, Transaction};
use factory_core::protocol::{
    Body, Content, Exchange, Joint, Key, Message, Proposal, Proposed, Slot, Snapshot, Step, WireWitness,
};
use factory_core::{AggregateNonce, Change, Nonce, Party, Share};

use crate::bytes::Bytes;

/// No more messages are kept.
const MOST_SENT: usize = 96;

/// Good parts of messages, to put where they do not belong.
#[derive(Clone, Debug, Default)]
pub struct Donors {
    sent: Vec<(Party, Message)>,
    nonces: Vec<Nonce>,
    aggregates: Vec<AggregateNonce>,
    shares: Vec<Share>,
    witnesses: Vec<WireWitness>,
    proposed: Vec<Proposed>,
}

impl Donors {
    /// The messages themselves, and who sent them.
    pub fn sent(&self) -> &[(Party, Message)] {
        &self.sent
    }

    pub fn learn(&mut self, from: Party, message: &Message) {
        if self.sent.len() >= MOST_SENT {
            return;
        }
        self.sent.push((from, message.clone()));
        let Message::About { body, .. } = message else { return };
        match body {
            Body::Sign { step, .. } => match step {
                Step::Propose(proposal) => match proposal.as_ref() {
                    Proposal::Allocation(proposed) => self.proposed.push(proposed.clone()),
                    Proposal::FactoryClose { rungs, .. } => self.proposed.extend_from_slice(rungs),
                },
                Step::Nonces(nonces) => self.nonces.extend_from_slice(nonces),
                Step::Aggregates(aggregates) => self.aggregates.extend_from_slice(aggregates),
                Step::Shares(shares) => self.shares.extend_from_slice(shares),
                Step::Signatures(witnesses) => self.witnesses.extend_from_slice(witnesses),
                Step::Held => {}
            },
            Body::Channel(exchange) => match exchange.as_ref() {
                Exchange::Propose { proposed, nonce, .. } => {
                    self.proposed.push(proposed.clone());
                    self.nonces.push(nonce.clone());
                }
                Exchange::Accept { nonce, share, .. } => {
                    self.nonces.push(nonce.clone());
                    self.shares.push(share.clone());
                }
                Exchange::Complete { witness, .. } => self.witnesses.push(witness.clone()),
                Exchange::Held { .. } => {}
            },
            Body::Ready => {}
        }
    }
}

/// `message`, changed in one or two places. `None` if it became bytes that are no message.
pub fn message(mut message: Message, donors: &Donors, bytes: &mut Bytes<'_>) -> Option<Message> {
    let how = bytes.byte();
    if how.is_multiple_of(8) {
        return Message::decode(&flip(message.encode(), bytes)).ok();
    }
    for _ in 0..=(how % 2) {
        message = change(message, donors, bytes);
    }
    Some(message)
}

fn change(message: Message, donors: &Donors, bytes: &mut Bytes<'_>) -> Message {
    match message {
        Message::Invite { mut member, mut capacity, mut offer } => {
            let of = Arc::make_mut(&mut offer);
            match bytes.byte() % 6 {
                0 => member = bytes.number(member),
                1 => capacity = bytes.amount(capacity),
                2 => of.confirmations = bytes.number(of.confirmations),
                3 => of.patience = bytes.number(of.patience),
                4 => of.refund_locks.initial = bytes.number(12) as u16,
                _ => of.refund_locks.step = bytes.number(0) as u16,
            }
            Message::Invite { member, capacity, offer }
        }
        Message::Join(mut public) => {
            let other = donors.sent.iter().find_map(|(_, message)| match message {
                Message::Join(other) if *other != public => Some(other.clone()),
                _ => None,
            });
            match (bytes.byte() % 4, other) {
                (0, Some(other)) => public.factory = other.factory,
                (1, Some(other)) => public.channel = other.channel,
                (2, Some(other)) => public.payout = other.payout,
                _ => public.payout = bytes.some(34).to_vec().into(),
            }
            Message::Join(public)
        }
        Message::Factory(factory) => Message::Factory(factory),
        Message::About { factory, body } => {
            let body = match body {
                Body::Sign { joint, session, step } => match bytes.byte() % 4 {
                    0 => Body::Sign { joint: other_joint(joint), session, step },
                    1 => Body::Sign { joint, session: bytes.number(session), step },
                    _ => Body::Sign { joint, session, step: change_step(step, donors, bytes) },
                },
                Body::Channel(exchange) => Body::Channel(Box::new(change_exchange(*exchange, donors, bytes))),
                Body::Ready => Body::Channel(Box::new(Exchange::Held { slot: slot(Slot::Close, bytes) })),
            };
            Message::About { factory, body }
        }
    }
}

fn other_joint(joint: Joint) -> Joint {
    match joint {
        Joint::Allocation => Joint::FactoryClose,
        Joint::FactoryClose => Joint::Allocation,
    }
}

/// Replaces, drops, doubles or swaps a part of a list.
fn change_list<T: Clone>(list: &mut Vec<T>, donors: &[T], bytes: &mut Bytes<'_>) {
    match bytes.byte() % 5 {
        0 => drop(list.pop()),
        1 => list.extend(list.last().cloned()),
        2 => list.reverse(),
        _ => {
            if let (Some(index), Some(other)) = (bytes.index(list.len()), bytes.of(donors)) {
                list[index] = other.clone();
            }
        }
    }
}

fn change_step(step: Step, donors: &Donors, bytes: &mut Bytes<'_>) -> Step {
    match step {
        Step::Propose(proposal) => Step::Propose(Arc::new(match Proposal::clone(&proposal) {
            Proposal::Allocation(proposed) => Proposal::Allocation(change_proposed(proposed, donors, bytes)),
            Proposal::FactoryClose { balances, mut rungs } => {
                let mut balances = balances.to_vec();
                match bytes.byte() % 4 {
                    0 => {
                        if let Some(index) = bytes.index(balances.len()) {
                            balances[index] = bytes.amount(balances[index]);
                        }
                    }
                    1 => change_list(&mut balances, &[Amount::ZERO, Amount::from_sat(u64::MAX)], bytes),
                    2 => change_list(&mut rungs, &donors.proposed, bytes),
                    _ => {
                        if let Some(rung) = rungs.pop() {
                            rungs.push(change_proposed(rung, donors, bytes));
                        }
                    }
                }
                Proposal::FactoryClose { balances: balances.into(), rungs }
            }
        })),
        Step::Nonces(mut nonces) => {
            change_list(&mut nonces, &donors.nonces, bytes);
            Step::Nonces(nonces)
        }
        Step::Aggregates(aggregates) => {
            let mut aggregates = aggregates.to_vec();
            change_list(&mut aggregates, &donors.aggregates, bytes);
            Step::Aggregates(Arc::new(aggregates))
        }
        Step::Shares(mut shares) => {
            change_list(&mut shares, &donors.shares, bytes);
            Step::Shares(shares)
        }
        Step::Signatures(witnesses) => {
            let mut witnesses = witnesses.to_vec();
            change_list(&mut witnesses, &donors.witnesses, bytes);
            Step::Signatures(Arc::new(witnesses))
        }
        Step::Held => match bytes.of(&donors.nonces) {
            Some(nonce) => Step::Nonces(vec![nonce.clone()]),
            None => Step::Shares(Vec::new()),
        },
    }
}

fn change_proposed(proposed: Proposed, donors: &Donors, bytes: &mut Bytes<'_>) -> Proposed {
    let mut sighash = proposed.sighash;
    let mut tx = Transaction::clone(&proposed.tx);
    match bytes.byte() % 10 {
        0 => sighash = bytes.byte(),
        1 => tx.version.0 = bytes.number(2) as i32,
        2 => tx.lock_time = bitcoin::absolute::LockTime::from_consensus(bytes.number(0)),
        3 => tx.input.iter_mut().for_each(|input| input.sequence = Sequence(bytes.number(input.sequence.0))),
        4 => tx.input.iter_mut().for_each(|input| input.previous_output.vout = bytes.number(0)),
        5 => drop(tx.output.pop()),
        6 => tx.output.reverse(),
        7 => {
            if let Some(index) = bytes.index(tx.output.len()) {
                tx.output[index].value = bytes.amount(tx.output[index].value);
            }
        }
        8 => {
            if let Some(index) = bytes.index(tx.output.len()) {
                tx.output[index].script_pubkey = bytes.some(34).to_vec().into();
            }
        }
        _ => return bytes.of(&donors.proposed).cloned().unwrap_or(proposed),
    }
    Proposed { tx: Arc::new(tx), sighash }
}

fn slot(near: Slot, bytes: &mut Bytes<'_>) -> Slot {
    match near {
        Slot::State(_) if bytes.byte().is_multiple_of(4) => Slot::Close,
        Slot::State(number) => Slot::State(bytes.number(number)),
        Slot::Close => Slot::State(bytes.number(1)),
    }
}

fn change_content(content: Content, bytes: &mut Bytes<'_>) -> Content {
    match content {
        Content::FirstState => Content::State { base: bytes.number(0), change: some_change(bytes) },
        Content::State { base, change } => match bytes.byte() % 3 {
            0 => Content::State { base: bytes.number(base), change },
            1 => Content::FirstState,
            _ => Content::State { base, change: some_change(bytes) },
        },
        Content::Close { state, balance } => match bytes.byte() % 3 {
            0 => Content::Close { state: bytes.number(state), balance },
            1 => Content::Close { state, balance: bytes.amount(balance) },
            _ => Content::State { base: state, change: some_change(bytes) },
        },
    }
}

fn some_change(bytes: &mut Bytes<'_>) -> Change {
    match bytes.byte() % 4 {
        0 => Change::Pay { amount: bytes.amount(Amount::from_sat(1_000)) },
        1 => {
            let amount = bytes.amount(Amount::from_sat(9_000));
            Change::AddHtlc { amount, hash: [bytes.byte(); 32], expiry: bytes.number(150) }
        }
        2 => Change::FulfilHtlc { id: bytes.number(0), preimage: [bytes.byte(); 32] },
        _ => Change::FailHtlc { id: bytes.number(0) },
    }
}

fn change_exchange(exchange: Exchange, donors: &Donors, bytes: &mut Bytes<'_>) -> Exchange {
    match exchange {
        Exchange::Propose { mut attempt, mut content, mut proposed, mut nonce } => {
            match bytes.byte() % 5 {
                0 => attempt = bytes.number(attempt),
                1 | 2 => content = change_content(content, bytes),
                3 => proposed = change_proposed(proposed, donors, bytes),
                _ => nonce = bytes.of(&donors.nonces).cloned().unwrap_or(nonce),
            }
            Exchange::Propose { attempt, content, proposed, nonce }
        }
        Exchange::Accept { mut attempt, mut nonce, mut share } => {
            match bytes.byte() % 3 {
                0 => attempt = bytes.number(attempt),
                1 => nonce = bytes.of(&donors.nonces).cloned().unwrap_or(nonce),
                _ => share = bytes.of(&donors.shares).cloned().unwrap_or(share),
            }
            Exchange::Accept { attempt, nonce, share }
        }
        Exchange::Complete { slot: near, witness } => match bytes.of(&donors.witnesses) {
            Some(other) if bytes.byte().is_multiple_of(2) => Exchange::Complete { slot: near, witness: other.clone() },
            _ => Exchange::Complete { slot: slot(near, bytes), witness },
        },
        Exchange::Held { slot: near } => Exchange::Held { slot: slot(near, bytes) },
    }
}

/// Changes some bytes, drops the end, or puts bytes in.
fn flip(mut encoded: Vec<u8>, bytes: &mut Bytes<'_>) -> Vec<u8> {
    for _ in 0..=(bytes.byte() % 4) {
        let at = usize::from(u16::from_le_bytes([bytes.byte(), bytes.byte()])) % encoded.len().max(1);
        match bytes.byte() % 6 {
            0 => encoded.truncate(at),
            1 | 2 => {
                if let Some(byte) = encoded.get_mut(at) {
                    *byte = bytes.byte();
                }
            }
            // The largest numbers, as `postcard` has them.
            3 => drop(encoded.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            4 => {
                let end = encoded.len().min(at + 1);
                drop(encoded.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0x0f]));
            }
            _ => {
                let end = encoded.len().min(at + 1);
                drop(encoded.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]));
            }
        }
    }
    encoded
}

/// `snapshot`, with records that are changed, exchanged, or replaced.
pub fn snapshot(mut snapshot: Snapshot, bytes: &mut Bytes<'_>) -> Snapshot {
    let keys = [
        Key::Core,
        Key::Channel(0),
        Key::Channel(1),
        Key::Factory,
        Key::Funding,
        Key::Joint(Joint::Allocation),
        Key::Joint(Joint::FactoryClose),
    ];
    for _ in 0..=(bytes.byte() % 3) {
        let key = keys[usize::from(bytes.byte()) % keys.len()];
        match bytes.byte() % 8 {
            0 => {
                let record = bytes.of(&keys).and_then(|other| snapshot.get(*other)).map(<[u8]>::to_vec);
                snapshot.put(key, record.unwrap_or_default());
            }
            1 => {
                // What the same party has stored at another stage.
                let other = crate::World::at(crate::Stage::choose(bytes)).stored(party_of(bytes));
                snapshot.put(key, other.get(key).map(<[u8]>::to_vec).unwrap_or_default());
            }
            2 => {
                let length = usize::from(bytes.byte());
                snapshot.put(key, bytes.some(length).to_vec());
            }
            _ => {
                let Some(record) = snapshot.get(key).map(<[u8]>::to_vec) else { continue };
                snapshot.put(key, flip(record, bytes));
            }
        }
    }
    snapshot
}

fn party_of(bytes: &mut Bytes<'_>) -> Party {
    [Party::Operator, Party::Member(0), Party::Member(1)][usize::from(bytes.byte() % 3)]
}
