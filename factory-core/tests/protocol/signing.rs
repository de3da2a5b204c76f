//! Signing when somebody does not keep to the protocol: who is named, who refuses, and what can be done again.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use factory_core::protocol::{
    Body, Command, Event, Exchange, Joint, Message, Phase, Proposal, Proposed, Reason, Slot, Step,
};
use factory_core::tx::FactoryClose;
use factory_core::{LockKind, Offer, Party, TxName};

use crate::world::{M0, M1, M2, OPERATOR, World, change_exchange, change_step, flipped, sat};

const SIGNED: [Joint; 2] = [Joint::Allocation, Joint::FactoryClose];
const LOCKS: [LockKind; 3] = [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh];

/// The command that has it signed.
fn command(joint: Joint) -> Command {
    match joint {
        Joint::Allocation => Command::Open,
        Joint::FactoryClose => Command::SignFactoryClose,
    }
}

fn name(joint: Joint) -> TxName {
    match joint {
        Joint::Allocation => TxName::Allocation,
        Joint::FactoryClose => TxName::FactoryClose(0),
    }
}

/// Three members, with all done that comes before `joint` is signed.
fn before(joint: Joint) -> World {
    before_with(joint, LockKind::MuSig2)
}

fn before_with(joint: Joint, lock: LockKind) -> World {
    let mut world = World::audited_with(3, Offer { lock, ..Offer::default() });
    if joint == Joint::FactoryClose {
        world.open();
        world.pay(OPERATOR, M1, 5_000);
        world.operate(Command::SignCloses);
        world.broadcasts.clear();
    }
    world
}

fn wrong_share(step: Step) -> Step {
    match step {
        Step::Shares(shares) => Step::Shares(shares.iter().map(|share| flipped(share, 1)).collect()),
        step => step,
    }
}

#[test]
fn a_wrong_share_is_found_and_named_and_the_session_begins_anew() {
    for (joint, lock) in SIGNED.into_iter().flat_map(|joint| LOCKS.map(|lock| (joint, lock))) {
        let tx = name(joint);
        let mut honest = before_with(joint, lock);
        honest.operate(command(joint));
        let expected = honest.tx(tx).txid();

        let mut world = before_with(joint, lock);
        world.tamper = change_step(M1, OPERATOR, joint, wrong_share);
        world.operate(command(joint));
        assert_eq!(world.happened(OPERATOR, &Event::WrongShares { tx, culprits: vec![M1] }), 1, "{tx}, {lock}");
        assert_eq!(world.refused, []);
        let signing = if joint == Joint::Allocation { Phase::SigningAllocation } else { Phase::SigningFactoryClose };
        assert_eq!(world.phase(OPERATOR), signing);
        for party in world.everybody() {
            assert_eq!(world.transaction(party, tx), None, "{party} does not hold {tx}");
        }
        assert!(world.broadcasts.is_empty(), "{tx}, {lock}");

        world.tamper = None;
        world.operate(command(joint));
        assert_eq!(world.refused, []);
        for party in world.everybody() {
            assert_eq!(world.transaction(party, tx).expect("complete").txid(), expected, "{party}");
        }
        // What belongs to the session that failed may still come again, and changes nothing.
        for (from, to, message) in world.history.clone() {
            let again = world.message(from, to, message.clone());
            assert_eq!(again, Ok(()), "{tx}, {lock}: {from} to {to}, {message:?}");
        }
        world.run();
        assert_eq!(world.refused, []);
        assert_eq!(world.happened(OPERATOR, &Event::WrongShares { tx, culprits: vec![M1] }), 1, "{tx}, {lock}");
    }
}

/// Without a command: a failed session begins anew with the next blocks.
#[test]
fn a_failed_session_begins_anew_with_the_blocks() {
    for joint in SIGNED {
        let mut world = before(joint);
        world.tamper = change_step(M1, OPERATOR, joint, wrong_share);
        world.operate(command(joint));
        world.tamper = None;
        world.blocks(2);
        assert_eq!(world.refused, []);
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(name(joint))), 1);
    }
}

/// A member whose share in a channel's transaction is wrong: the operator names it, and asks again with the next block.
#[test]
fn a_wrong_share_in_a_channel_is_named_and_asked_for_again() {
    for lock in LOCKS {
        for (steps, tx) in [(0, TxName::Refund(1, 0)), (1, TxName::Refund(1, 1)), (2, TxName::Close(1))] {
            let mut world = World::audited_with(3, Offer { lock, ..Offer::default() });
            let spoil = |world: &mut World| {
                world.tamper = change_exchange(M1, OPERATOR, |exchange| {
                    Some(match exchange {
                        Exchange::Accept { attempt, nonce, share } => {
                            Exchange::Accept { attempt, nonce, share: flipped(&share, 1) }
                        }
                        other => other,
                    })
                });
            };
            if steps > 0 {
                world.open();
            }
            spoil(&mut world);
            match steps {
                0 => world.operate(Command::Open),
                1 => world.pay(OPERATOR, M1, 5_000),
                _ => world.operate(Command::SignCloses),
            }
            assert_eq!(world.happened(OPERATOR, &Event::WrongShares { tx, culprits: vec![M1] }), 1, "{tx}, {lock}");
            assert_eq!(world.transaction(OPERATOR, tx), None);
            assert_eq!(world.transaction(M1, tx), None);
            world.tamper = None;
            world.blocks(1);
            assert_eq!(world.refused, [], "{tx}, {lock}");
            assert!(world.transaction(OPERATOR, tx).is_some());
            assert_eq!(world.transaction(M1, tx), world.transaction(OPERATOR, tx));
        }
    }
}

/// A wrong witness from the proposer: whoever signed first refuses it, and reckons with the state all the same.
#[test]
fn a_wrong_witness_in_a_channel_is_refused() {
    for lock in LOCKS {
        let mut world = World::audited_with(1, Offer { lock, ..Offer::default() });
        world.open();
        let old = world.end(M0, 0).refund().unwrap().witness().clone();
        world.tamper = change_exchange(OPERATOR, M0, move |exchange| {
            Some(match exchange {
                Exchange::Complete { slot, .. } => {
                    Exchange::Complete { slot, witness: factory_core::protocol::WireWitness(old.clone()) }
                }
                other => other,
            })
        });
        world.pay(OPERATOR, M0, 5_000);
        let txid = world.tx(TxName::Refund(0, 1)).txid();
        assert_eq!(
            world.refusals(),
            [format!(
                "m0: message from operator refused in phase `live`: the signature is not valid for transaction {txid}"
            )]
        );
        let numbers: Vec<_> = world.end(M0, 0).enforceable().map(|state| state.number()).collect();
        assert_eq!(numbers, [0, 1]);
        world.tamper = None;
        world.blocks(1);
        assert_eq!(world.transaction(M0, TxName::Refund(0, 1)), world.transaction(OPERATOR, TxName::Refund(0, 1)));
    }
}

/// A member that is slow answers an earlier session when a later one is under way.
#[test]
fn late_steps_of_an_earlier_session_are_passed_over() {
    for joint in SIGNED {
        let mut world = before(joint);
        let late = Rc::new(RefCell::new(None));
        let keep = late.clone();
        world.tamper = Some(Box::new(move |from, _, message| match &message {
            Message::About { body: Body::Sign { joint: found, step: Step::Nonces(_), .. }, .. }
                if (from, *found) == (M1, joint) && keep.borrow().is_none() =>
            {
                *keep.borrow_mut() = Some(message);
                None
            }
            _ => Some(message),
        }));
        world.operate(command(joint));
        let late = late.take().expect("m1 sent nonces");
        world.tamper = None;
        // The later session is proposed, and has no nonce yet.
        world.command(OPERATOR, command(joint)).unwrap();
        world.message(M1, OPERATOR, late).unwrap();
        world.run();
        assert_eq!(world.refused, [], "{joint:?}");
        assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::WrongShares { .. })), "{joint:?}");
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(name(joint))), 1, "{joint:?}");
    }
}

#[test]
fn late_aggregates_of_an_earlier_session_take_no_nonce_of_a_later() {
    for joint in SIGNED {
        let mut world = before(joint);
        world.tamper = change_step(M1, OPERATOR, joint, wrong_share);
        world.operate(command(joint));
        world.tamper = None;
        let step_for_m1 = |message: &(Party, Party, Message), wanted: fn(&Step) -> bool| match message {
            (_, M1, Message::About { body: Body::Sign { joint: found, step, .. }, .. }) => {
                *found == joint && wanted(step)
            }
            _ => false,
        };
        let aggregates = |message: &_| step_for_m1(message, |step| matches!(step, Step::Aggregates(_)));
        let proposal = |message: &_| step_for_m1(message, |step| matches!(step, Step::Propose(_)));
        let late = world.history.iter().find(|message| aggregates(message)).cloned().unwrap();
        world.history.clear();

        world.command(OPERATOR, command(joint)).unwrap();
        while !world.history.iter().any(proposal) {
            assert!(world.deliver(), "{joint:?}: m1 is asked again");
        }
        let before = world.dump(M1);
        world.message(OPERATOR, M1, late.2).unwrap();
        assert!(world.dump(M1) == before);
        world.run();
        assert_eq!(world.refused, [], "{joint:?}");
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(name(joint))), 1, "{joint:?}");
    }
}

#[test]
fn all_culprits_are_named_and_nobody_else() {
    for lock in LOCKS {
        let mut world = World::with(5, Offer { lock, ..Offer::default() });
        let mut first = change_step(Party::Member(3), OPERATOR, Joint::Allocation, wrong_share).unwrap();
        // Nonces other than those that the member signs with spoil its share just as well.
        let spoil = move |step| match step {
            Step::Nonces(nonces) if lock == LockKind::MuSig2 => {
                Step::Nonces(nonces.iter().map(|nonce| flipped(nonce, 66)).collect())
            }
            step if lock == LockKind::MuSig2 => step,
            step => wrong_share(step),
        };
        let mut second = change_step(M0, OPERATOR, Joint::Allocation, spoil).unwrap();
        world.tamper = Some(Box::new(move |from, to, message| second(from, to, first(from, to, message)?)));
        world.operate(Command::Open);
        let culprits = vec![M0, Party::Member(3)];
        let event = Event::WrongShares { tx: TxName::Allocation, culprits };
        assert_eq!(world.happened(OPERATOR, &event), 1, "{lock}");
        assert_eq!(event.to_string(), "wrong shares of allocation from m0, m3");
    }
}

#[test]
fn nonces_and_shares_that_do_not_fit_are_refused() {
    let other = LockKind::Tapscript;
    for joint in SIGNED {
        let mut foreign = before_with(joint, other);
        foreign.operate(command(joint));
        let foreign_step = |wanted: fn(&Step) -> bool| {
            let mut steps = foreign.history.iter().filter_map(|(from, _, message)| match message {
                Message::About { body: Body::Sign { joint: found, step, .. }, .. } => {
                    (*found == joint && (*from == M1 || wanted(step))).then(|| step.clone())
                }
                _ => None,
            });
            steps.find(&wanted).expect("there is one")
        };
        let nonces = foreign_step(|step| matches!(step, Step::Nonces(_)));
        let aggregates = foreign_step(|step| matches!(step, Step::Aggregates(_)));
        let kind = "a nonce, a session or a share is not one of a musig2 lock";
        for (from, to, wrong, expected) in [
            (M1, OPERATOR, nonces, kind),
            (M1, OPERATOR, Step::Nonces(Vec::new()), "nonces: expected 1, found 0"),
            (M1, OPERATOR, Step::Shares(Vec::new()), "shares: expected 1, found 0"),
            (OPERATOR, M1, aggregates, kind),
            (OPERATOR, M1, Step::Aggregates(Arc::new(Vec::new())), "aggregate nonces: expected 1, found 0"),
            (OPERATOR, M1, Step::Signatures(Arc::new(Vec::new())), "witnesses: expected 1, found 0"),
        ] {
            let mut world = before(joint);
            let replace = wrong.clone();
            world.tamper = change_step(from, to, joint, move |step| {
                if std::mem::discriminant(&step) == std::mem::discriminant(&replace) { replace.clone() } else { step }
            });
            world.operate(command(joint));
            let refusals = world.refusals();
            assert_eq!(refusals.len(), 1, "{joint:?} {wrong:?}: {refusals:?}");
            assert!(refusals[0].ends_with(&format!(": {expected}")), "{}", refusals[0]);
            world.tamper = None;
            world.blocks(2);
            assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(name(joint))), 1, "{joint:?} {wrong:?}");
        }
    }
}

fn factory_close(world: &World, balances: [u64; 3]) -> Proposal {
    let close = FactoryClose::new(world.factory(), balances.map(sat).to_vec()).unwrap();
    let rung = |rung: &factory_core::tx::Unsigned| Proposed { tx: rung.transaction().clone(), sighash: 0 };
    Proposal::FactoryClose { balances: close.balances().clone(), rungs: close.rungs().iter().map(rung).collect() }
}

fn propose(world: &World, joint: Joint, session: u32, proposal: Proposal) -> Message {
    world.about(Body::Sign { joint, session, step: Step::Propose(Arc::new(proposal)) })
}

#[test]
fn no_factory_close_before_what_it_replaces() {
    let finished = before(Joint::FactoryClose);
    let message = propose(&finished, Joint::FactoryClose, 1, factory_close(&finished, [0, 5_000, 0]));
    let refuse = |world: &mut World, phase, missing| {
        let error = world.message(OPERATOR, M1, message.clone()).unwrap_err();
        assert_eq!((error.phase, error.reason), (phase, Reason::NotYetHeld(missing)));
    };
    // While the refunds are being signed: m1's acceptance never reaches the operator.
    let mut world = before(Joint::Allocation);
    world.tamper = change_exchange(M1, OPERATOR, |_| None);
    world.operate(Command::Open);
    refuse(&mut world, Phase::SigningRefunds, TxName::Refund(1, 0));
    let proposed = Proposed { tx: world.factory().allocation().transaction().clone(), sighash: 0 };
    let error = propose(&world, Joint::Allocation, 1, Proposal::Allocation(proposed));
    let error = world.message(OPERATOR, M1, error).unwrap_err();
    assert_eq!(error.reason, Reason::NotYetHeld(TxName::Refund(1, 0)), "no allocation before the refund");

    // While the allocation is being signed: m1's share never reaches the operator.
    let mut world = before(Joint::Allocation);
    world.tamper = change_step(M1, OPERATOR, Joint::Allocation, wrong_share);
    world.operate(Command::Open);
    refuse(&mut world, Phase::SigningAllocation, TxName::Allocation);
    world.tamper = None;
    world.operate(Command::Open);
    world.confirm(TxName::Funding);
    world.pay(OPERATOR, M1, 5_000);
    refuse(&mut world, Phase::Live, TxName::Close(1));
    let refused = world.command(OPERATOR, Command::SignFactoryClose).unwrap_err();
    assert_eq!(refused.to_string(), "refused in phase `live`: to sign the factory close does not belong here");

    // The operator waits for the last acknowledgement.
    world.tamper = change_exchange(M2, OPERATOR, |exchange| match exchange {
        Exchange::Held { slot: Slot::Close } => None,
        other => Some(other),
    });
    world.operate(Command::SignCloses);
    assert!(world.transaction(M2, TxName::Close(2)).is_some());
    let refused = world.command(OPERATOR, Command::SignFactoryClose).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused in phase `signing the closes`: to sign the factory close does not belong here"
    );
    world.tamper = None;
    world.blocks(1);
    world.operate(Command::SignFactoryClose);
    world.assert_phase(Phase::FactoryCloseSigned);
}

#[test]
fn a_factory_close_does_not_change_under_way() {
    let mut world = before(Joint::FactoryClose);
    world.tamper = change_step(M1, OPERATOR, Joint::FactoryClose, wrong_share);
    world.operate(Command::SignFactoryClose);
    // m1 has released its share for one factory close, so it signs no other, even one that pays it the same.
    let other = propose(&world, Joint::FactoryClose, 2, factory_close(&world, [400, 5_000, 0]));
    let error = world.message(OPERATOR, M1, other).unwrap_err();
    assert_eq!(
        error.to_string(),
        "message from operator refused in phase `signing the factory close`: the factory close differs from the one \
         before"
    );
}

#[test]
fn a_proposal_under_another_name_is_refused() {
    let mut world = before(Joint::FactoryClose);
    let proposed = Proposed { tx: world.factory().allocation().transaction().clone(), sighash: 0 };
    for (joint, session, proposal) in [
        (Joint::FactoryClose, 1, Proposal::Allocation(proposed)),
        (Joint::Allocation, 2, factory_close(&world, [0, 5_000, 0])),
    ] {
        let message = propose(&world, joint, session, proposal);
        let error = world.message(OPERATOR, M1, message).unwrap_err();
        assert_eq!(
            error.to_string(),
            "message from operator refused in phase `closes signed`: a proposal under the name of another transaction \
             does not belong here"
        );
    }
}

#[test]
fn a_share_is_released_once_for_a_session() {
    for joint in SIGNED {
        // The operator's next message to m1 after the aggregate nonces is other aggregates, of the same session.
        let mut world = before(joint);
        let mut aggregates = None;
        world.tamper = change_step(OPERATOR, M1, joint, move |step| match step {
            Step::Aggregates(found) => {
                aggregates = Some(found.clone());
                Step::Aggregates(found)
            }
            // The other root of the first point.
            Step::Signatures(_) => {
                let other = aggregates.as_ref().unwrap().iter().map(|aggregate| flipped(aggregate, 66));
                Step::Aggregates(Arc::new(other.collect()))
            }
            step => step,
        });
        world.operate(command(joint));
        let refusals = world.refusals();
        assert_eq!(refusals.len(), 1, "{joint:?}: {refusals:?}");
        assert!(refusals[0].ends_with(": the aggregate nonce differs from the one before"), "{}", refusals[0]);
        assert!(refusals[0].starts_with("m1: message from operator"), "{}", refusals[0]);
        assert_eq!(world.transaction(M1, name(joint)), None);
    }
}

#[test]
fn a_wrong_signature_is_refused() {
    for joint in SIGNED {
        let tx = name(joint);
        let mut world = before(joint);
        world.tamper = change_step(OPERATOR, M1, joint, |step| match step {
            Step::Signatures(witnesses) => {
                Step::Signatures(Arc::new(witnesses.iter().map(|witness| flipped(witness, 1)).collect()))
            }
            step => step,
        });
        world.operate(command(joint));
        let expected = format!("the signature is not valid for transaction {}", world.tx(tx).txid());
        let refusals = world.refusals();
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].ends_with(&expected), "{}", refusals[0]);
        assert_eq!(world.transaction(M1, tx), None);
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(tx)), 0);
        // Nothing goes out before m1 holds the allocation.
        if joint == Joint::Allocation {
            assert!(world.broadcasts.is_empty());
            assert_eq!(world.phase(OPERATOR), Phase::SigningAllocation);
        }
        world.tamper = None;
        world.operate(command(joint));
        assert_eq!(world.transaction(M1, tx), world.transaction(OPERATOR, tx));
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(tx)), 1);
    }
}
