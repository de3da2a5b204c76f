//! Signing when somebody does not keep to the protocol: who is named, who refuses, and what can be done again.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use factory_core::protocol::{Body, Command, Event, Message, Phase, Proposal, Step};
use factory_core::tx::FactoryClose;
use factory_core::{Party, TxName};
use secp256k1::musig::{AggregatedNonce, PartialSignature};
use secp256k1::schnorr;

use crate::world::{World, change_step, sat};

const OPERATOR: Party = Party::Operator;
const M1: Party = Party::Member(1);

/// The command that has a transaction signed.
fn command(tx: TxName) -> Command {
    match tx {
        TxName::Funding | TxName::Allocation => Command::Open,
        TxName::Close(_) => Command::SignCloses,
        TxName::FactoryClose => Command::SignFactoryClose,
    }
}

/// Three members, with all done that comes before `tx` is signed.
fn before(tx: TxName) -> World {
    let mut world = World::audited(3);
    if tx > TxName::Allocation {
        world.open();
        world.pay(OPERATOR, M1, 5_000);
    }
    if tx == TxName::FactoryClose {
        world.operate(Command::SignCloses);
    }
    world
}

fn other_partial(step: Step) -> Step {
    match step {
        Step::Partial(_) => Step::Partial(PartialSignature::from_byte_array(&[1; 32]).unwrap()),
        step => step,
    }
}

const SIGNED: [TxName; 3] = [TxName::Allocation, TxName::Close(1), TxName::FactoryClose];

#[test]
fn a_wrong_partial_signature_is_found_and_named_and_the_session_begins_anew() {
    for tx in SIGNED {
        let mut honest = before(tx);
        honest.operate(command(tx));
        let expected = honest.tx(tx).txid();

        let mut world = before(tx);
        world.tamper = change_step(M1, OPERATOR, tx, other_partial);
        world.operate(command(tx));
        assert_eq!(world.happened(OPERATOR, &Event::WrongPartials { tx, culprits: vec![M1] }), 1, "{tx}");
        assert_eq!(world.refused, []);
        let signing = match tx {
            TxName::Allocation | TxName::Funding => Phase::SigningAllocation,
            TxName::Close(_) => Phase::SigningCloses,
            TxName::FactoryClose => Phase::SigningFactoryClose,
        };
        assert_eq!(world.phase(OPERATOR), signing);
        for party in world.everybody() {
            assert_eq!(world.transaction(party, tx), None, "{party} does not hold {tx}");
        }
        assert_eq!(world.broadcasts.len(), usize::from(tx != TxName::Allocation), "{tx}");

        world.tamper = None;
        world.operate(command(tx));
        assert_eq!(world.refused, []);
        for party in [OPERATOR, M1] {
            assert_eq!(world.transaction(party, tx).expect("complete").txid(), expected, "{party}");
        }
        // What belongs to the session that failed may still come again, and changes nothing.
        for (from, to, message) in world.history.clone() {
            let again = world.message(from, to, message.clone());
            assert_eq!(again, Ok(()), "{tx}: {from} to {to}, {message:?}");
        }
        world.run();
        assert_eq!(world.refused, []);
    }
}

/// A member that is slow answers an earlier session when a later one is under way.
#[test]
fn late_steps_of_an_earlier_session_are_passed_over() {
    for tx in SIGNED {
        let mut world = before(tx);
        let late = Rc::new(RefCell::new(None));
        let keep = late.clone();
        world.tamper = Some(Box::new(move |from, _, message| match &message {
            Message::About { body: Body::Sign { tx: found, step: Step::Nonce(_), .. }, .. }
                if (from, *found) == (M1, tx) && keep.borrow().is_none() =>
            {
                *keep.borrow_mut() = Some(message);
                None
            }
            _ => Some(message),
        }));
        world.operate(command(tx));
        let late = late.take().expect("m1 sent a nonce");
        world.tamper = None;
        // The later session is proposed, and has no nonce yet.
        world.command(OPERATOR, command(tx)).unwrap();
        world.message(M1, OPERATOR, late).unwrap();
        world.run();
        assert_eq!(world.refused, [], "{tx}");
        assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::WrongPartials { .. })), "{tx}");
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(tx)), 1, "{tx}");
    }
}

#[test]
fn a_late_aggregate_nonce_of_an_earlier_session_takes_no_nonce_of_a_later() {
    for tx in SIGNED {
        let mut world = before(tx);
        world.tamper = change_step(M1, OPERATOR, tx, other_partial);
        world.operate(command(tx));
        world.tamper = None;
        let step_for_m1 = |message: &(Party, Party, Message), wanted: fn(&Step) -> bool| match message {
            (_, M1, Message::About { body: Body::Sign { tx: found, step, .. }, .. }) => *found == tx && wanted(step),
            _ => false,
        };
        let aggregate = |message: &_| step_for_m1(message, |step| matches!(step, Step::Aggregate(_)));
        let proposal = |message: &_| step_for_m1(message, |step| matches!(step, Step::Propose(_)));
        let late = world.history.iter().find(|message| aggregate(message)).cloned().unwrap();
        world.history.clear();

        world.command(OPERATOR, command(tx)).unwrap();
        while !world.history.iter().any(proposal) {
            assert!(world.deliver(), "{tx}: m1 is asked again");
        }
        world.message(OPERATOR, M1, late.2).unwrap();
        world.run();
        assert_eq!(world.refused, [], "{tx}");
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(tx)), 1, "{tx}");
    }
}

#[test]
fn proposals_out_of_place_are_refused() {
    let proposal = |world: &World, tx, session, proposal| Message::About {
        factory: world.factory().digest(),
        body: Body::Sign { tx, session, step: Step::Propose(proposal) },
    };
    let mut world = World::audited(3);
    world.operate(Command::Open);
    let close = |member| (TxName::Close(member), Proposal::Close { balance: sat(0), state: 0 });
    for ((tx, proposed), session, expected) in [
        (close(1), 1, "the channel of m1 is not live"),
        (close(0), 1, "m1 does not sign close-m0"),
        (
            (TxName::Allocation, Proposal::Allocation),
            2,
            "a proposal of what this party holds complete does not belong here",
        ),
        (
            (TxName::Funding, Proposal::Allocation),
            1,
            "a proposal under the name of another transaction does not belong here",
        ),
    ] {
        let message = proposal(&world, tx, session, proposed);
        let error = world.message(OPERATOR, M1, message).unwrap_err();
        assert_eq!(error.to_string(), format!("message from operator refused in phase `funding`: {expected}"));
    }
}

#[test]
fn all_culprits_are_named_and_nobody_else() {
    let tx = TxName::Allocation;
    let mut world = World::new(5);
    let mut first = change_step(Party::Member(3), OPERATOR, tx, other_partial).unwrap();
    // A nonce other than the one that the member signs with spoils its share just as well.
    let swap = |step| match step {
        Step::Nonce(nonce) => {
            let other = secp256k1::Keypair::from_secret_bytes([3; 32]).unwrap().public_key().serialize();
            let mut bytes = nonce.serialize();
            bytes[..33].copy_from_slice(&other);
            Step::Nonce(secp256k1::musig::PublicNonce::from_byte_array(&bytes).unwrap())
        }
        step => step,
    };
    let mut second = change_step(Party::Member(0), OPERATOR, tx, swap).unwrap();
    world.tamper = Some(Box::new(move |from, to, message| second(from, to, first(from, to, message)?)));
    world.operate(Command::Open);
    let culprits = vec![Party::Member(0), Party::Member(3)];
    assert_eq!(world.happened(OPERATOR, &Event::WrongPartials { tx, culprits }), 1);
}

/// A message changed on the way from the operator to m1, and how m1 refuses it.
struct Case {
    name: &'static str,
    tx: TxName,
    change: Box<dyn FnMut(Step) -> Step>,
    expected: &'static str,
}

fn case(name: &'static str, tx: TxName, change: impl FnMut(Step) -> Step + 'static, expected: &'static str) -> Case {
    Case { name, tx, change: Box::new(change), expected }
}

fn propose(change: impl Fn(Proposal) -> Proposal + 'static) -> impl FnMut(Step) -> Step + 'static {
    move |step| match step {
        Step::Propose(proposal) => Step::Propose(change(proposal)),
        step => step,
    }
}

/// The factory close of the world that [`before`] makes, with other balances.
fn factory_close(balances: [u64; 3]) -> Proposal {
    let world = before(TxName::FactoryClose);
    Proposal::FactoryClose(Arc::new(FactoryClose::new(world.factory(), balances.map(sat).to_vec()).unwrap()))
}

#[test]
fn a_member_refuses_what_is_not_right() {
    const CLOSE: TxName = TxName::Close(1);
    const FC: TxName = TxName::FactoryClose;
    let other_factory = {
        let mut world = World::new(4);
        world.open();
        Proposal::FactoryClose(Arc::new(FactoryClose::new(world.factory(), vec![sat(5_000); 4]).unwrap()))
    };
    let less = factory_close([0, 4_999, 0]);
    let more = factory_close([0, 5_001, 0]);
    let dust = factory_close([0, 0, 0]);
    for case in [
        case(
            "a close with less",
            CLOSE,
            propose(|_| Proposal::Close { balance: sat(4_999), state: 1 }),
            "m1: message from operator refused in phase `live`: balance: expected 0.00005000 BTC, found 0.00004999 BTC",
        ),
        case(
            "a close with more",
            CLOSE,
            propose(|_| Proposal::Close { balance: sat(5_001), state: 1 }),
            "m1: message from operator refused in phase `live`: balance: expected 0.00005000 BTC, found 0.00005001 BTC",
        ),
        case(
            "a close in an old state",
            CLOSE,
            propose(|_| Proposal::Close { balance: sat(0), state: 0 }),
            "m1: message from operator refused in phase `live`: state: expected 1, found 0",
        ),
        case(
            "a close in a state to come",
            CLOSE,
            propose(|_| Proposal::Close { balance: sat(5_000), state: 2 }),
            "m1: message from operator refused in phase `live`: state: expected 1, found 2",
        ),
        case(
            "a factory close in the place of a close",
            CLOSE,
            propose(move |_| less.clone()),
            "m1: message from operator refused in phase `live`: a proposal under the name of another transaction does not belong here",
        ),
        case(
            "a factory close with less than the close",
            FC,
            propose({
                let less = factory_close([0, 4_999, 0]);
                move |_| less.clone()
            }),
            "m1: message from operator refused in phase `closes signed`: balance: expected 0.00005000 BTC, found \
                0.00004999 BTC",
        ),
        case(
            "a factory close with more than the close",
            FC,
            propose(move |_| more.clone()),
            "m1: message from operator refused in phase `closes signed`: balance: expected 0.00005000 BTC, found \
                0.00005001 BTC",
        ),
        case(
            "a factory close that leaves the member out",
            FC,
            propose(move |_| dust.clone()),
            "m1: message from operator refused in phase `closes signed`: balance: expected 0.00005000 BTC, found 0 BTC",
        ),
        case(
            "another factory's close, with the right balance",
            FC,
            propose(move |_| other_factory.clone()),
            "m1: message from operator refused in phase `closes signed`: factory: expected {this}, found {other}",
        ),
    ] {
        let mut world = before(case.tx);
        world.tamper = change_step(OPERATOR, M1, case.tx, case.change);
        world.operate(command(case.tx));
        let refusals = world.refusals();
        assert_eq!(refusals.len(), 1, "{}: {refusals:?}", case.name);
        match case.expected.strip_suffix("{this}, found {other}") {
            Some(start) => {
                let rest = refusals[0].strip_prefix(start).expect(case.name);
                let (this, other) = rest.split_once(", found ").expect(case.name);
                assert_eq!(this, world.factory().digest().to_string());
                assert!(other.len() == 64 && other != this, "{other}");
            }
            None => assert_eq!(refusals[0], case.expected, "{}", case.name),
        }
        for party in world.everybody() {
            assert_eq!(world.transaction(party, case.tx), None, "{}: {party}", case.name);
        }
        // Once the operator keeps to the protocol, it goes on.
        world.tamper = None;
        world.operate(command(case.tx));
        assert_eq!(world.refused, [], "{}", case.name);
        assert!(world.transaction(M1, case.tx).is_some(), "{}", case.name);
    }
}

#[test]
fn no_factory_close_before_what_it_replaces() {
    let finished = before(TxName::FactoryClose);
    let proposal =
        |world: &World| Proposal::FactoryClose(Arc::new(FactoryClose::new(world.factory(), vec![sat(0); 3]).unwrap()));
    let propose = |world: &World| {
        let body = Body::Sign { tx: TxName::FactoryClose, session: 1, step: Step::Propose(proposal(&finished)) };
        Message::About { factory: world.factory().digest(), body }
    };
    // While the allocation is being signed: m1's share never reaches the operator.
    let mut world = before(TxName::Allocation);
    world.tamper = change_step(M1, OPERATOR, TxName::Allocation, other_partial);
    world.operate(Command::Open);
    let error = world.message(OPERATOR, M1, propose(&world)).unwrap_err();
    let expected =
        "message from operator refused in phase `signing the allocation`: it comes before this party holds allocation";
    assert_eq!(error.to_string(), expected);

    let mut world = before(TxName::Close(1));
    let error = world.message(OPERATOR, M1, propose(&world)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "message from operator refused in phase `live`: it comes before this party holds close-m1"
    );
    let refused = world.command(OPERATOR, Command::SignFactoryClose).unwrap_err();
    assert_eq!(refused.to_string(), "refused in phase `live`: to sign the factory close does not belong here");

    // The operator waits for the last acknowledgement.
    world.tamper = Some(Box::new(|from, _, message| {
        let last = from == Party::Member(2)
            && matches!(&message, Message::About { body: Body::Sign { step: Step::Held, .. }, .. });
        (!last).then_some(message)
    }));
    world.operate(Command::SignCloses);
    assert!(world.transaction(Party::Member(2), TxName::Close(2)).is_some());
    let refused = world.command(OPERATOR, Command::SignFactoryClose).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused in phase `signing the closes`: to sign the factory close does not belong here"
    );
    world.tamper = None;
    world.operate(Command::SignCloses);
    world.operate(Command::SignFactoryClose);
    world.assert_phase(Phase::FactoryCloseSigned);
}

#[test]
fn a_proposal_does_not_change_under_way() {
    let mut world = before(TxName::FactoryClose);
    world.tamper = change_step(M1, OPERATOR, TxName::FactoryClose, other_partial);
    world.operate(Command::SignFactoryClose);
    // m1 has released its share for one factory close, so it signs no other, even one that pays it the same.
    let other = factory_close([400, 5_000, 0]);
    world.tamper = change_step(OPERATOR, M1, TxName::FactoryClose, propose(move |_| other.clone()));
    world.operate(Command::SignFactoryClose);
    assert_eq!(
        world.refusals(),
        ["m1: message from operator refused in phase `signing the factory close`: the proposal differs from \
                the one before"]
    );
}

#[test]
fn a_share_is_released_once_for_a_session() {
    for tx in SIGNED {
        // The operator's next message to m1 after the aggregate nonce is another aggregate nonce, of the same session.
        let mut world = before(tx);
        let mut aggregate: Option<AggregatedNonce> = None;
        world.tamper = change_step(OPERATOR, M1, tx, move |step| match step {
            Step::Aggregate(found) => {
                aggregate = Some(found);
                Step::Aggregate(found)
            }
            Step::Signature(_) => {
                let mut bytes = aggregate.unwrap().serialize();
                bytes[0] ^= 1; // the point's other root
                Step::Aggregate(AggregatedNonce::from_byte_array(&bytes).unwrap())
            }
            step => step,
        });
        world.operate(command(tx));
        let refusals = world.refusals();
        assert_eq!(refusals.len(), 1, "{tx}: {refusals:?}");
        assert!(refusals[0].ends_with(": the aggregate nonce differs from the one before"), "{}", refusals[0]);
        assert!(refusals[0].starts_with("m1: message from operator"), "{}", refusals[0]);
        assert_eq!(world.transaction(M1, tx), None);
    }
}

#[test]
fn a_wrong_signature_is_refused() {
    for tx in SIGNED {
        let mut world = before(tx);
        world.tamper = change_step(OPERATOR, M1, tx, |step| match step {
            Step::Signature(signature) => {
                let mut bytes = signature.to_byte_array();
                bytes[63] ^= 1;
                Step::Signature(schnorr::Signature::from_byte_array(bytes))
            }
            step => step,
        });
        world.operate(command(tx));
        let expected = format!("the signature is not valid for transaction {}", world.tx(tx).txid());
        let refusals = world.refusals();
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].ends_with(&expected), "{}", refusals[0]);
        assert_eq!(world.transaction(M1, tx), None);
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(tx)), 0);
        // Nothing goes out before m1 holds the allocation.
        if tx == TxName::Allocation {
            assert!(world.broadcasts.is_empty());
            assert_eq!(world.phase(OPERATOR), Phase::SigningAllocation);
        }
        world.tamper = None;
        world.operate(command(tx));
        assert_eq!(world.transaction(M1, tx), world.transaction(OPERATOR, tx));
        assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(tx)), 1);
    }
}
