//! Messages as bytes: whatever is said in a lifecycle survives, and nothing else passes for a message.

use std::collections::BTreeMap;

use factory_core::protocol::{
    Body, Command, Content, Exchange, Joint, MAX_MESSAGE_BYTES, Message, Phase, Proposal, Slot, Step, WIRE_VERSION,
};
use factory_core::{Change, DecodeError, FeeRule, LockKind, Offer, TxName, TxVersion, VersionFound};

use crate::world::{M0, M1, OPERATOR, World, add, preimage, rate};

/// Every kind of message, by a name that tells it from all others.
pub fn kind(message: &Message) -> String {
    let joint = |joint: &Joint| if *joint == Joint::Allocation { "allocation" } else { "factory close" };
    match message {
        Message::Invite { .. } => "invite".to_owned(),
        Message::Join(_) => "join".to_owned(),
        Message::Factory(_) => "factory".to_owned(),
        Message::About { body: Body::Ready, .. } => "ready".to_owned(),
        Message::About { body: Body::Sign { joint: of, step, .. }, .. } => {
            let step = match step {
                Step::Propose(proposal) => match proposal.as_ref() {
                    Proposal::Allocation(_) => "propose",
                    Proposal::FactoryClose { .. } => "propose ladder",
                },
                Step::Nonces(_) => "nonces",
                Step::Aggregates(_) => "aggregates",
                Step::Shares(_) => "shares",
                Step::Signatures(_) => "signatures",
                Step::Held => "held",
            };
            format!("{}: {step}", joint(of))
        }
        Message::About { body: Body::Channel(exchange), .. } => {
            let slot = |slot: &Slot| if *slot == Slot::Close { "close" } else { "state" };
            match &**exchange {
                Exchange::Propose { content, .. } => match content {
                    Content::FirstState => "channel: propose first state",
                    Content::State { change: Change::Pay { .. }, .. } => "channel: propose payment",
                    Content::State { change: Change::AddHtlc { .. }, .. } => "channel: propose HTLC",
                    Content::State { change: Change::FulfilHtlc { .. }, .. } => "channel: propose to fulfil",
                    Content::State { change: Change::FailHtlc { .. }, .. } => "channel: propose to fail",
                    Content::Close { .. } => "channel: propose close",
                }
                .to_owned(),
                Exchange::Accept { .. } => "channel: accept".to_owned(),
                Exchange::Complete { slot: of, .. } => format!("channel: complete {}", slot(of)),
                Exchange::Held { slot: of } => format!("channel: held {}", slot(of)),
            }
        }
    }
}

const KINDS: usize = 4 + 2 * 6 + 6 + 1 + 2 + 2;

/// All that is said in a lifecycle with HTLCs: one message of each kind, and every message that there is.
fn said(lock: LockKind, version: TxVersion) -> (BTreeMap<String, Message>, Vec<Message>) {
    let close_fee = FeeRule::Ladder(vec![rate(0), rate(1)]);
    let mut world = World::audited_with(2, Offer { lock, version, close_fee, ..Offer::default() });
    // What the parties get is what the bytes say, and not what was sent.
    world.tamper = Some(Box::new(|_, _, message| {
        let decoded = Message::decode(&message.encode()).expect("it was just encoded");
        assert_eq!(format!("{decoded:?}"), format!("{message:?}"));
        Some(decoded)
    }));
    world.open();
    world.pay(OPERATOR, M0, 40_000);
    world.update(OPERATOR, M0, add(5_000, 1, 1_000));
    world.update(M0, OPERATOR, add(6_000, 2, 1_000));
    world.update(M0, OPERATOR, Change::FulfilHtlc { id: 0, preimage: preimage(1) });
    world.update(OPERATOR, M0, Change::FailHtlc { id: 1 });
    world.pay(OPERATOR, M1, 1_000);
    world.operate(Command::SignCloses);
    world.operate(Command::SignFactoryClose);
    world.operate(Command::Publish(TxName::FactoryClose(1)));
    world.confirm(TxName::FactoryClose(1));
    world.assert_phase(Phase::Closed);
    let messages: Vec<_> = world.history.into_iter().map(|(.., message)| message).collect();
    (messages.iter().map(|message| (kind(message), message.clone())).collect(), messages)
}

#[test]
fn every_message_of_a_lifecycle_survives_its_encoding() {
    for lock in [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh] {
        for version in [TxVersion::Two, TxVersion::Three] {
            let (kinds, messages) = said(lock, version);
            assert_eq!(kinds.len(), KINDS, "{lock}: {:?}", kinds.keys());
            for message in messages {
                let bytes = message.encode();
                assert_eq!(bytes[0], WIRE_VERSION);
                let decoded = Message::decode(&bytes).unwrap();
                assert_eq!(decoded.encode(), bytes, "one message has one form: {}", kind(&message));
            }
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for lock in [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh] {
        for (kind, message) in said(lock, TxVersion::Two).0 {
            let bytes = message.encode();
            for length in 0..bytes.len() {
                assert!(
                    Message::decode(&bytes[..length]).is_err(),
                    "{lock}, {kind}: {length} of {} bytes",
                    bytes.len()
                );
            }
            let longer = [&bytes[..], &[0, 0]].concat();
            assert_eq!(Message::decode(&longer).unwrap_err(), DecodeError::LeftOver(2), "{lock}, {kind}");
        }
    }
}

/// Changed bytes make another message or none, and never a panic; another message is still one with a form of its own.
#[test]
fn changed_bytes_never_panic() {
    let (mut other, mut none) = (0, 0);
    for lock in [LockKind::MuSig2, LockKind::Wsh] {
        for (kind, message) in said(lock, TxVersion::Two).0 {
            let bytes = message.encode();
            for index in 1..bytes.len() {
                for change in [0x01, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[index] ^= change;
                    match Message::decode(&changed) {
                        Ok(decoded) => {
                            other += 1;
                            assert!(Message::decode(&decoded.encode()).is_ok(), "{kind}");
                        }
                        Err(_) => none += 1,
                    }
                }
            }
        }
    }
    assert!(other > 1_000 && none > 1_000, "{other} others, {none} none");
}

#[test]
fn versions_and_lengths_are_limited() {
    let (kinds, _) = said(LockKind::MuSig2, TxVersion::Two);
    let mut bytes = kinds["ready"].encode();
    bytes[0] = 2;
    let error = Message::decode(&bytes).unwrap_err();
    assert_eq!(error, DecodeError::Version { found: VersionFound(Some(2)), expected: WIRE_VERSION });
    assert_eq!(error.to_string(), "version 2 is not known: expected 1");
    let error = Message::decode(&[]).unwrap_err();
    assert_eq!(error, DecodeError::Version { found: VersionFound(None), expected: WIRE_VERSION });
    let mut long = kinds["ready"].encode();
    long.resize(MAX_MESSAGE_BYTES, 0);
    let left = MAX_MESSAGE_BYTES - kinds["ready"].encode().len();
    assert_eq!(Message::decode(&long).unwrap_err(), DecodeError::LeftOver(left), "the longest that is read");
    long.push(0);
    let error = Message::decode(&long).unwrap_err();
    assert_eq!(error, DecodeError::TooLong { found: MAX_MESSAGE_BYTES + 1, limit: MAX_MESSAGE_BYTES });
    // A length that promises more than there is takes no memory for it.
    let factory = kinds["channel: complete state"].encode();
    let digest = 1 + 1 + 32;
    for promise in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 10]] {
        for at in digest..factory.len() {
            let changed = [&factory[..at], promise, &factory[at..]].concat();
            let _ = Message::decode(&changed);
        }
    }
}
