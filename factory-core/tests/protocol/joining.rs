//! In which order members join does not matter.

use std::collections::BTreeSet;

use bitcoin::ScriptBuf;
use factory_core::protocol::{Command, Event, Message, Phase};
use factory_core::{Lock, LockKind, Offer, Party, TxName};
use secp256k1::PublicKey;

use crate::world::{OPERATOR, World};

/// A lifecycle whose members' joins reach the operator in a given order: the order of the joins as the operator reports
/// them, the scripts of all locks, and all transactions' identifiers.
fn outcome(lock: LockKind, order: [u32; 4]) -> (Vec<u32>, Vec<ScriptBuf>, Vec<bitcoin::Txid>) {
    let mut world = World::audited_with(4, Offer { lock, ..Offer::default() });
    let joins = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let keep = joins.clone();
    world.tamper = Some(Box::new(move |from, _, message| match message {
        Message::Join(_) => {
            keep.borrow_mut().push((from, message));
            None
        }
        other => Some(other),
    }));
    world.operate(Command::Open);
    world.tamper = None;
    let joins = joins.take();
    assert_eq!(joins.len(), 4);
    for member in order {
        let (from, join) = joins.iter().find(|(from, _)| *from == Party::Member(member)).unwrap().clone();
        world.message(from, OPERATOR, join).unwrap();
    }
    world.run();
    world.confirm(TxName::Funding);
    for member in 0..4 {
        world.pay(OPERATOR, Party::Member(member), 10_000 + u64::from(member));
    }
    world.operate(Command::SignCloses);
    world.operate(Command::SignFactoryClose);
    world.assert_phase(Phase::FactoryCloseSigned);
    let joined = world.reports(OPERATOR).into_iter();
    let joined = joined.filter_map(|event| if let Event::Joined { member } = event { Some(member) } else { None });
    let terms = world.factory().terms();
    let locks = terms.channel_locks().iter().chain([terms.factory_lock()]);
    let names = [TxName::Funding, TxName::Allocation, TxName::FactoryClose(0)];
    let names =
        names.into_iter().chain((0..4).flat_map(|m| [TxName::Close(m), TxName::Refund(m, 0), TxName::Refund(m, 1)]));
    // The first refunds are the past by now; what is held of each channel is the newest.
    let txids = names.filter_map(|name| Some(world.transaction(OPERATOR, name)?.txid())).collect();
    (joined.collect(), locks.map(|lock| lock.script_pubkey().clone()).collect(), txids)
}

#[test]
fn the_order_of_joining_changes_no_address_and_no_transaction() {
    for lock in [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh] {
        let (joined, scripts, txids) = outcome(lock, [0, 1, 2, 3]);
        assert_eq!(joined, [0, 1, 2, 3]);
        assert_eq!(scripts.iter().collect::<BTreeSet<_>>().len(), 5, "five different locks");
        assert_eq!(txids.len(), 3 + 2 * 4);
        for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let (joined, other_scripts, other_txids) = outcome(lock, order);
            assert_eq!(joined, order, "they did join in this order");
            assert_eq!((other_scripts, other_txids), (scripts.clone(), txids.clone()), "{lock}, {order:?}");
        }
    }
}

/// The n-of-n is that of the sorted keys, whatever order they are given in; one other key makes another.
#[test]
fn a_lock_is_a_function_of_the_set_of_its_keys() {
    let key = |member: u32| crate::world::member_keys(member).factory.public_key();
    let keys: Vec<PublicKey> = (0..5).map(key).collect();
    for kind in [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh] {
        let lock = |keys: &[PublicKey]| Lock::new(kind, keys).unwrap();
        let expected = lock(&keys);
        let mut rotated = keys.clone();
        for _ in 0..5 {
            rotated.rotate_left(1);
            assert_eq!(lock(&rotated), expected);
            let reversed: Vec<_> = rotated.iter().rev().copied().collect();
            assert_eq!(lock(&reversed), expected);
        }
        let mut other = keys.clone();
        other[2] = key(9);
        assert_ne!(lock(&other).script_pubkey(), expected.script_pubkey());
        assert_ne!(lock(&keys[1..]).script_pubkey(), expected.script_pubkey());
    }
}
