//! What the fuzz targets have in common: a factory of two members, all of them honest, whose messages, blocks, commands
//! and stored records the fuzzer bends.
//!
//! A lifecycle takes far more steps than a fuzzer finds by itself, so an input first says at which [`Stage`] it begins.
//! Each stage is played once per process, and every input restores the parties from what they had stored by then.

mod bytes;
mod mutate;
mod stage;
mod world;

use factory_core::Party;
use factory_core::protocol::{Input, Message, Snapshot};

use bytes::Bytes;
use stage::Stage;
use world::World;

/// No input does more than so many things.
const MOST_STEPS: usize = 200;

/// Asserts that a message is the same once it was encoded and decoded.
///
/// # Panics
///
/// If it is not.
pub fn survives_encoding(message: &Message) {
    let encoded = message.encode();
    let again = Message::decode(&encoded).expect("what was encoded can be decoded");
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
    assert_eq!(encoded, again.encode());
}

/// A lifecycle in which `target` meets whatever `data` says.
///
/// # Panics
///
/// If something happens that must never happen: see [`World::give`].
pub fn drive(data: &[u8], target: Party) {
    let mut bytes = Bytes::new(data);
    let mut world = World::at(Stage::choose(&mut bytes));
    for _ in 0..MOST_STEPS {
        if bytes.is_empty() {
            break;
        }
        world.step(&mut bytes, target);
    }
    // Whatever it went through, it can go on from what it has stored.
    world.restart(target);
}

/// A party restored from records that `data` has bent, or is. If it accepts them, it must be able to go on.
///
/// # Panics
///
/// If it cannot, or if something happens that must never happen: see [`World::give`].
pub fn restore(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let whole = bytes.byte().is_multiple_of(8);
    let mut world = World::at(Stage::choose(&mut bytes));
    let party = [Party::Operator, Party::Member(0), Party::Member(1)][usize::from(bytes.byte() % 3)];
    let snapshot = if whole {
        let Ok(snapshot) = Snapshot::decode(bytes.rest()) else { return };
        snapshot
    } else {
        mutate::snapshot(world.stored(party), &mut bytes)
    };
    assert_eq!(Snapshot::decode(&snapshot.encode()).as_ref(), Ok(&snapshot), "a snapshot survives its encoding");
    let Ok(()) = world.restore(party, &snapshot) else { return };
    let block = world.block(&mut bytes);
    world.give(party, Input::Block(block)).expect("a party takes every block");
    world.check_snapshot(party);
    for _ in 0..8 {
        if bytes.is_empty() {
            break;
        }
        world.step(&mut bytes, party);
    }
    world.check_snapshot(party);
}

/// Something for the fuzzer to begin with: for each target, inputs that get somewhere.
pub fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let headers = || (0..stage::STAGES).flat_map(|at| (0..3).map(move |kind| [at, kind]));
    let worlds: Vec<_> = headers().map(|header| World::at(Stage::choose(&mut Bytes::new(&header)))).collect();
    let messages = worlds.iter().flat_map(World::sent).map(|message| message.encode()).collect();
    let driven =
        || headers().map(|[at, kind]| [[at, kind].as_slice(), &(0..64).collect::<Vec<_>>()].concat()).collect();
    let mut snapshots = Vec::new();
    for ([at, kind], world) in headers().zip(&worlds) {
        for (number, party) in [(0, Party::Operator), (1, Party::Member(0))] {
            snapshots.push([[0, at, kind, number].as_slice(), &world.stored(party).encode()].concat());
            snapshots.push([[1, at, kind, number].as_slice(), &(0..64).collect::<Vec<_>>()].concat());
        }
    }
    vec![("message", messages), ("snapshot", snapshots), ("operator", driven()), ("member", driven())]
}
