//! What parties store: enough to go on after a crash at any point, and no secret.

use std::sync::Arc;

use factory_core::protocol::{
    Body, Command, Exchange, Joint, Key, MAX_SNAPSHOT_BYTES, Member, Message, Phase, ProtocolError, RECORD_VERSION,
    Snapshot, Step,
};
use factory_core::{DecodeError, Offer, Party, TxName, VersionFound};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::world::{
    M0, M1, OPERATOR, World, add, change_step, flipped, member_keys, new_member, operator_keys, pay, preimage,
};

const CLOSE: TxName = TxName::FactoryClose(0);

/// The steps of a lifecycle with HTLCs, each of which ends in quiet.
const STEPS: [fn(&mut World); 9] = [
    |world| world.command(OPERATOR, Command::Open).unwrap(),
    |world| world.mine_without_running(&[world.find(TxName::Funding)]),
    |world| {
        world.mine_without_running(&[]);
        world.mine_without_running(&[]);
    },
    |world| (0..2).for_each(|member| world.ask(OPERATOR, Party::Member(member), pay(10_000))),
    |world| world.ask(M0, OPERATOR, add(5_000, 1, 10_000)),
    |world| world.command(OPERATOR, Command::Claim { with: M0, id: 0, preimage: preimage(1) }).unwrap(),
    |world| world.command(OPERATOR, Command::SignCloses).unwrap(),
    |world| world.command(OPERATOR, Command::SignFactoryClose).unwrap(),
    |world| {
        world.command(OPERATOR, Command::Publish(CLOSE)).unwrap();
        world.mine_without_running(&[world.find(CLOSE)]);
        world.mine_without_running(&[]);
        world.mine_without_running(&[]);
    },
];

fn txids(world: &World) -> Vec<bitcoin::Txid> {
    let names = [TxName::Funding, TxName::Allocation, TxName::Close(0), TxName::Close(1), CLOSE];
    names.map(|name| world.tx(name).txid()).to_vec()
}

/// What can be seen of a party from outside.
fn view(world: &World, party: Party) -> String {
    let names = [TxName::Funding, TxName::Allocation, TxName::Close(0), TxName::Close(1), CLOSE, TxName::Refund(0, 2)];
    let held = names.map(|name| world.transaction(party, name));
    let channel = |member: u32| match party {
        Party::Operator => world.operator.channel(member),
        Party::Member(index) => world.members[index as usize].channel(member),
    };
    let ends = [0, 1].map(|member| {
        channel(member).map(|end| {
            let enforceable: Vec<_> = end.enforceable().collect();
            let refund = (end.refund(), end.close());
            format!("{enforceable:?} {refund:?} {} {} {}", end.is_live(), end.is_frozen(), end.is_quiescent())
        })
    });
    let height = match party {
        Party::Operator => world.operator.height(),
        Party::Member(index) => world.members[index as usize].height(),
    };
    format!("{} {height} {held:?} {ends:?}", world.phase(party))
}

#[test]
fn a_party_is_the_same_after_a_restart_in_every_phase() {
    let mut world = World::audited(2);
    let mut phases = std::collections::BTreeSet::new();
    let mut expected = World::audited(2);
    for step in STEPS {
        step(&mut world);
        // In the middle of things, and when all is quiet.
        for _ in 0..1_000 {
            for party in world.everybody() {
                phases.insert((party, world.phase(party)));
                if world.phase(party) <= Phase::Joining {
                    continue;
                }
                let snapshot = world.snapshot(party);
                assert!(world.stored[&party] == snapshot, "{party}");
                let restored = restored(&world, party, &snapshot).unwrap();
                assert!(restored.0 == snapshot, "{party} in {}", world.phase(party));
                assert_eq!(restored.1, world.phase(party));
            }
            if !world.deliver() {
                break;
            }
        }
        let before: Vec<_> = world.everybody().map(|party| view(&world, party)).collect();
        for party in world.everybody() {
            world.restart(party);
        }
        let after: Vec<_> = world.everybody().map(|party| view(&world, party)).collect();
        assert_eq!(after, before);
        step(&mut expected);
        expected.run();
        let views: Vec<_> = world.everybody().map(|party| view(&expected, party)).collect();
        // Witnesses differ where nonces do; here all were drawn in the same order.
        assert_eq!(after, views);
    }
    world.assert_phase(Phase::Closed);
    assert_eq!(txids(&world), txids(&expected));
    let of = |party: Party| phases.iter().filter(|(who, _)| *who == party).map(|(_, phase)| *phase).collect::<Vec<_>>();
    let all = [
        Phase::Joining,
        Phase::SigningRefunds,
        Phase::SigningAllocation,
        Phase::Funding,
        Phase::Live,
        Phase::SigningCloses,
        Phase::ClosesSigned,
        Phase::SigningFactoryClose,
        Phase::FactoryCloseSigned,
        Phase::Closed,
    ];
    assert_eq!(of(OPERATOR), all);
    let member: Vec<_> = [Phase::New].into_iter().chain(all).collect();
    assert_eq!(of(M0), member);
}

/// A party made anew from a snapshot: what it would store, and its phase.
fn restored(world: &World, party: Party, snapshot: &Snapshot) -> Result<(Snapshot, Phase), ProtocolError> {
    Ok(match party {
        Party::Operator => {
            let operator = crate::world::new_operator(2, &world.offer, &world.coin).restore(snapshot)?;
            (operator.snapshot(), operator.phase())
        }
        Party::Member(index) => {
            let member = new_member(index, &world.offer).restore(snapshot)?;
            (member.snapshot(), member.phase())
        }
    })
}

/// After any one message of a lifecycle, any one party forgets all that it has not stored, and all that is under way to
/// it is lost. The outcome is the same.
#[test]
fn a_crash_after_any_message_changes_nothing() {
    let quiet = |world: &mut World| {
        world.run();
        // One block to ask again, and as many more as a session takes to begin anew, twice.
        world.blocks(4);
        world.refused.clear();
    };
    let mut reference = World::new(2);
    for step in STEPS {
        step(&mut reference);
        quiet(&mut reference);
    }
    let expected = txids(&reference);
    let messages = reference.history.len();
    assert!(messages > 60, "{messages}");
    for party in reference.everybody() {
        for crash in 0..messages {
            let mut world = World::new(2);
            for step in STEPS {
                step(&mut world);
                while world.deliver() {
                    if world.history.len() == crash {
                        world.restart(party);
                    }
                }
                if world.operator.phase() == Phase::New {
                    // Who has joined is not stored: nothing is at stake, and the user opens anew.
                    world.operate(Command::Open);
                }
                quiet(&mut world);
            }
            for party in world.everybody() {
                assert_eq!(world.phase(party), Phase::Closed, "{party}, crash of {party} after message {crash}");
            }
            assert_eq!(txids(&world), expected, "crash of {party} after message {crash}");
        }
    }
}

/// The secret keys, and the random numbers that secret nonces are made of, are in no record.
#[test]
fn records_hold_no_secret() {
    let mut world = World::audited(2);
    let mut seen = 0;
    let mut secrets: Vec<Vec<u8>> = Vec::new();
    let operator = operator_keys();
    let mut pairs = vec![operator.factory, operator.channel];
    for member in 0..2 {
        let keys = member_keys(member);
        pairs.extend([keys.factory, keys.channel]);
    }
    secrets.extend(pairs.iter().map(|pair| pair.to_secret_bytes().to_vec()));
    for seed in 100..103 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for _ in 0..400 {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            secrets.push(bytes.to_vec());
        }
    }
    let public = world.offer.confirmations;
    assert_eq!(public, 3);
    let heads: std::collections::HashSet<&[u8]> = secrets.iter().map(|secret| &secret[..16]).collect();
    for step in STEPS {
        step(&mut world);
        loop {
            for party in world.everybody() {
                let bytes = world.stored[&party].encode();
                seen += bytes.len();
                assert!(!bytes.windows(16).any(|window| heads.contains(window)), "{party} stores a secret");
            }
            if !world.deliver() {
                break;
            }
        }
    }
    assert!(seen > 100_000, "{seen}");
    // The search finds what is there: a public key.
    let key = operator.factory.public_key().serialize();
    let bytes = world.stored[&M0].encode();
    assert!(bytes.windows(33).any(|window| window == key));
}

/// A member that has released its shares of a session, and forgets everything else, never releases them again.
#[test]
fn a_restart_releases_no_share_twice() {
    for joint in [Joint::Allocation, Joint::FactoryClose] {
        let mut world = World::audited(2);
        for step in STEPS.into_iter().take(if joint == Joint::Allocation { 0 } else { 7 }) {
            step(&mut world);
            world.run();
        }
        // Its shares never arrive.
        world.tamper = change_step(M1, OPERATOR, joint, |step| match step {
            Step::Shares(_) => Step::Held,
            step => step,
        });
        STEPS[if joint == Joint::Allocation { 0 } else { 7 }](&mut world);
        world.run();
        world.refused.clear();
        world.tamper = None;
        let to_m1 = |message: &&(Party, Party, Message)| match message {
            (OPERATOR, M1, Message::About { body: Body::Sign { joint: found, .. }, .. }) => *found == joint,
            _ => false,
        };
        let session: Vec<_> = world.history.iter().filter(to_m1).map(|(.., message)| message.clone()).collect();
        assert_eq!(session.len(), 2, "the proposal and the aggregates");
        world.restart(M1);
        for message in &session {
            world.message(OPERATOR, M1, message.clone()).unwrap();
            assert!(!world.deliver(), "{joint:?}: nothing is answered");
        }
        // Nor for other aggregates of the same session, with which two shares would give the key away.
        let Message::About { factory, body: Body::Sign { session: number, step: Step::Aggregates(known), .. } } =
            &session[1]
        else {
            panic!("the aggregates come second")
        };
        let step = Step::Aggregates(Arc::new(known.iter().map(|aggregate| flipped(aggregate, 66)).collect()));
        let body = Body::Sign { joint, session: *number, step };
        world.message(OPERATOR, M1, Message::About { factory: *factory, body }).unwrap();
        assert!(!world.deliver(), "{joint:?}: nothing is answered");
        // A later session goes well.
        world.blocks(3);
        assert_eq!(world.refused, []);
        let name = if joint == Joint::Allocation { TxName::Allocation } else { CLOSE };
        assert!(world.transaction(M1, name).is_some());
    }
}

/// In a channel, too: an attempt is answered once, and a proposer that has forgotten its nonce proposes anew.
#[test]
fn a_restart_answers_no_proposal_twice() {
    for proposer in [OPERATOR, M0] {
        let mut world = World::audited(2);
        STEPS.into_iter().take(4).for_each(|step| {
            step(&mut world);
            world.run();
        });
        let (acceptor, state) = (if proposer == OPERATOR { M0 } else { OPERATOR }, TxName::Refund(0, 2));
        world.ask(proposer, acceptor, pay(100));
        assert!(world.deliver());
        let (from, to, proposal) = world.history.last().cloned().unwrap();
        assert_eq!((from, to), (proposer, acceptor));
        // Both crash; the answer is lost.
        world.restart(proposer);
        world.restart(acceptor);
        let numbers: Vec<_> = world.end(acceptor, 0).enforceable().map(|state| state.number()).collect();
        assert_eq!(numbers, [1, 2], "it has signed, and knows it");
        world.message(from, to, proposal.clone()).unwrap();
        assert!(!world.deliver(), "the same attempt is not answered again");
        world.blocks(1);
        let attempt = |message: &Message| match message {
            Message::About { body: Body::Channel(exchange), .. } => match **exchange {
                Exchange::Propose { attempt, .. } => Some(attempt),
                _ => None,
            },
            _ => None,
        };
        let last = world.history.iter().rev().find_map(|(.., message)| attempt(message));
        assert_eq!(last, Some(attempt(&proposal).expect("a proposal") + 1));
        assert!(world.transaction(OPERATOR, state).is_some());
        assert_eq!(world.transaction(OPERATOR, state), world.transaction(M0, state));
    }
}

/// Two members, and the factory close is signed: every kind of record is there.
fn finished() -> World {
    let mut world = World::audited(2);
    for step in STEPS.into_iter().take(8) {
        step(&mut world);
        world.run();
    }
    world
}

#[test]
fn snapshots_survive_their_encoding_and_nothing_else_passes_for_one() {
    let world = finished();
    for party in world.everybody() {
        let snapshot = world.snapshot(party);
        let bytes = snapshot.encode();
        assert_eq!(bytes[0], RECORD_VERSION);
        assert!(Snapshot::decode(&bytes).unwrap() == snapshot);
        // Each truncation is an error, and so is each byte too many.
        for length in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Snapshot::decode(&longer), Err(DecodeError::LeftOver(1)));
        let mut other_version = bytes.clone();
        other_version[0] = 7;
        let expected = DecodeError::Version { found: VersionFound(Some(7)), expected: RECORD_VERSION };
        assert_eq!(Snapshot::decode(&other_version), Err(expected));
    }
    let expected = DecodeError::Version { found: VersionFound(None), expected: RECORD_VERSION };
    assert_eq!(expected.to_string(), "version (none) is not known: expected 1");
    assert_eq!(Snapshot::decode(&[]), Err(expected));
    let long = vec![RECORD_VERSION; MAX_SNAPSHOT_BYTES + 1];
    let expected = DecodeError::TooLong { found: MAX_SNAPSHOT_BYTES + 1, limit: MAX_SNAPSHOT_BYTES };
    assert_eq!(Snapshot::decode(&long), Err(expected));
    assert!(Snapshot::default().is_empty());
    let new = new_member(0, &Offer::default()).restore(&Snapshot::default()).unwrap();
    assert_eq!(new.phase(), Phase::New);
}

#[test]
fn records_that_are_not_the_partys_own_are_refused() {
    let world = finished();
    let restore = |index: u32, snapshot: &Snapshot| -> Result<Member, ProtocolError> {
        new_member(index, &world.offer).restore(snapshot)
    };
    let own = world.snapshot(M0);
    restore(0, &own).unwrap();
    let foreign = "refused in phase `new`: the stored records do not belong together: the keys are not this party's in the \
                   factory";
    let others = "refused in phase `new`: the stored records do not belong together: they are another party's";
    for party in [M1, OPERATOR] {
        assert_eq!(restore(0, &world.snapshot(party)).unwrap_err().to_string(), others);
    }
    let operator = crate::world::new_operator(2, &world.offer, &world.coin).restore(&own);
    assert_eq!(operator.unwrap_err().to_string(), others);
    // Another member's keys under this number.
    let agreement =
        factory_core::protocol::Agreement { offer: world.offer.clone(), capacity: crate::world::capacity(0) };
    let stranger = Member::new(0, member_keys(1), agreement).restore(&own).unwrap_err();
    assert_eq!(stranger.to_string(), foreign);

    let keys = [Key::Factory, Key::Core, Key::Joint(Joint::Allocation), Key::Joint(CLOSE_JOINT), Key::Channel(0)];
    for key in keys {
        let record = own.get(key).unwrap_or_else(|| panic!("{key} is stored")).to_vec();
        let with = |record: Vec<u8>| {
            let mut changed = own.clone();
            changed.put(key, record);
            restore(0, &changed).map(|member| member.phase()).map_err(|error| error.to_string())
        };
        for length in 0..record.len() {
            let error = with(record[..length].to_vec()).unwrap_err();
            assert!(error.starts_with(&format!("refused in phase `new`: the record {key}: ")), "{key}: {error}");
        }
        let mut other_version = record.clone();
        other_version[0] = 2;
        let expected = format!("refused in phase `new`: the record {key}: version 2 is not known: expected 1");
        assert_eq!(with(other_version), Err(expected));
        let mut longer = record.clone();
        longer.push(0);
        let expected = format!("refused in phase `new`: the record {key}: 1 bytes are left over");
        assert_eq!(with(longer), Err(expected));
    }
    // Without one of the records, the others are not enough.
    for missing in [Key::Core, Key::Channel(0)] {
        let mut some = Snapshot::default();
        keys.iter().filter(|key| **key != missing).for_each(|key| some.put(*key, own.get(*key).unwrap().to_vec()));
        let error = restore(0, &some).unwrap_err().to_string();
        assert_eq!(error, "refused in phase `new`: the stored records do not belong together: one is missing");
    }
    // Signatures are verified again: the last bytes of these records are those of a witness.
    for (key, tx) in [(Key::Joint(Joint::Allocation), TxName::Allocation), (Key::Joint(CLOSE_JOINT), CLOSE)] {
        let mut record = own.get(key).unwrap().to_vec();
        *record.last_mut().unwrap() ^= 1;
        let mut changed = own.clone();
        changed.put(key, record);
        let error = restore(0, &changed).unwrap_err().to_string();
        let txid = world.tx(tx).txid();
        assert_eq!(error, format!("refused in phase `new`: the signature is not valid for transaction {txid}"));
    }
}

const CLOSE_JOINT: Joint = Joint::FactoryClose;
