//! Channels: how states follow each other, which of them may be enforced at each step, and how they end.

use factory_core::protocol::{Body, Command, Content, Event, Exchange, Message, Phase, Slot};
use factory_core::{Change, Offer, Party, RefundLocks, TxName};

use crate::world::{M0, OPERATOR, START, World, add, capacity, change_exchange, pay, preimage, sat};

/// The height at which channels are live in these tests.
const LIVE: u32 = START + 3;

fn live() -> World {
    let mut world = World::audited(1);
    world.open();
    world
}

/// The numbers of the states that may be enforced, as far as a party knows.
fn enforceable(world: &World, party: Party) -> Vec<u32> {
    world.end(party, 0).enforceable().map(|state| state.number()).collect()
}

fn other(party: Party) -> Party {
    if party == OPERATOR { M0 } else { OPERATOR }
}

/// What the newest state of both ends is: what the member has, the operator, and all HTLCs, and its number.
fn agreed(world: &World) -> (u64, u64, Vec<u64>, u32) {
    let state = world.end(OPERATOR, 0).agreed().unwrap();
    assert_eq!(world.end(M0, 0).agreed(), Some(state));
    assert_eq!(enforceable(world, OPERATOR), [state.number()]);
    assert_eq!(enforceable(world, M0), [state.number()]);
    let htlcs: Vec<_> = state.htlcs().iter().map(|htlc| htlc.amount.to_sat()).collect();
    let (member, operator) = (state.member().to_sat(), state.operator().to_sat());
    assert_eq!(member + operator + htlcs.iter().sum::<u64>(), capacity(0).to_sat());
    (member, operator, htlcs, state.number())
}

fn refused(world: &mut World, party: Party, command: Command) -> String {
    world.command(party, command).unwrap_err().reason.to_string()
}

fn is_complete(exchange: &Exchange) -> bool {
    matches!(exchange, Exchange::Complete { .. })
}

/// Loses what `lost` finds on the way from one party to the other.
fn lose(world: &mut World, from: Party, lost: fn(&Exchange) -> bool) {
    world.tamper = change_exchange(from, other(from), move |exchange| (!lost(&exchange)).then_some(exchange));
}

#[test]
fn what_may_be_enforced_is_explicit_at_each_step() {
    for proposer in [OPERATOR, M0] {
        let mut world = live();
        world.pay(OPERATOR, M0, 50_000);
        let acceptor = other(proposer);
        let sets = |world: &World| (enforceable(world, proposer), enforceable(world, acceptor));
        let quiescent = |world: &World| [proposer, acceptor].map(|party| world.end(party, 0).is_quiescent());
        assert_eq!((sets(&world), quiescent(&world)), ((vec![1], vec![1]), [true, true]));
        // A proposal signs nothing.
        world.ask(proposer, acceptor, pay(700));
        assert_eq!((sets(&world), quiescent(&world)), ((vec![1], vec![1]), [false, true]));
        // The other side accepts and signs, without holding anything.
        assert!(world.deliver());
        assert_eq!((sets(&world), quiescent(&world)), ((vec![1], vec![1, 2]), [false, false]));
        assert_eq!(world.transaction(acceptor, TxName::Refund(0, 2)), None);
        // The proposer holds the new state, and the old one is the past for it.
        assert!(world.deliver());
        assert_eq!((sets(&world), quiescent(&world)), ((vec![2], vec![1, 2]), [true, false]));
        assert!(world.transaction(proposer, TxName::Refund(0, 2)).is_some());
        // So does the other side.
        assert!(world.deliver());
        assert_eq!((sets(&world), quiescent(&world)), ((vec![2], vec![2]), [true, true]));
        assert!(world.deliver());
        assert!(!world.deliver(), "four messages");
    }
}

/// PROTOCOL.md, 2, "Stale state": a side that has signed and got nothing reckons with every state in question.
#[test]
fn a_stale_channel_has_up_to_three_candidates_and_collapses() {
    let mut world = live();
    world.pay(OPERATOR, M0, 50_000);
    lose(&mut world, M0, is_complete);
    world.pay(M0, OPERATOR, 1_000);
    assert_eq!((enforceable(&world, OPERATOR), enforceable(&world, M0)), (vec![1, 2], vec![2]));
    let held: Vec<_> = world.end(OPERATOR, 0).released().map(|state| state.number()).collect();
    assert_eq!((world.end(OPERATOR, 0).agreed().unwrap().number(), held), (1, vec![2]));
    // A stale channel is not closed.
    let refusal = refused(&mut world, OPERATOR, Command::SignCloses);
    assert_eq!(refusal, "an update is in flight in the channel of m0");

    // A third state on top of it, withheld as well: three candidates.
    world.pay(M0, OPERATOR, 2_000);
    assert_eq!((enforceable(&world, OPERATOR), enforceable(&world, M0)), (vec![1, 2, 3], vec![3]));
    let balances: Vec<_> = world.end(OPERATOR, 0).enforceable().map(|state| state.member().to_sat()).collect();
    assert_eq!(balances, [50_000, 49_000, 47_000]);

    // The member says what it holds: all others are the past.
    world.tamper = None;
    world.blocks(1);
    assert_eq!(agreed(&world), (47_000, 53_000, vec![], 3));
    world.operate(Command::SignCloses);
    world.assert_phase(Phase::ClosesSigned);
}

/// A late completion of one candidate leaves the newer ones in question.
#[test]
fn a_late_completion_leaves_newer_candidates() {
    let mut world = live();
    world.pay(OPERATOR, M0, 50_000);
    let withheld = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let keep = withheld.clone();
    world.tamper = change_exchange(M0, OPERATOR, move |exchange| {
        if !is_complete(&exchange) {
            return Some(exchange);
        }
        keep.borrow_mut().push(exchange);
        None
    });
    world.pay(M0, OPERATOR, 1_000);
    world.pay(M0, OPERATOR, 2_000);
    assert_eq!(enforceable(&world, OPERATOR), [1, 2, 3]);
    let completions = withheld.borrow().clone();
    for (completion, expected) in completions.into_iter().zip([vec![2, 3], vec![3]]) {
        let message = world.about(Body::Channel(Box::new(completion)));
        world.message(M0, OPERATOR, message).unwrap();
        assert_eq!(enforceable(&world, OPERATOR), expected);
    }
    assert_eq!(agreed(&world).3, 3);
}

/// The other way out: the operator proposes a state on top of the one that it does not hold.
#[test]
fn a_stale_channel_goes_on_with_a_newer_state() {
    let mut world = live();
    world.pay(OPERATOR, M0, 50_000);
    lose(&mut world, M0, is_complete);
    world.pay(M0, OPERATOR, 1_000);
    assert_eq!(enforceable(&world, OPERATOR), [1, 2]);
    // The proposer signs last: its own proposal is no candidate before it holds it.
    world.ask(OPERATOR, M0, pay(300));
    assert_eq!(enforceable(&world, OPERATOR), [1, 2]);
    world.deliver();
    assert_eq!((enforceable(&world, OPERATOR), enforceable(&world, M0)), (vec![1, 2], vec![2, 3]));
    world.run();
    assert_eq!(agreed(&world), (49_300, 50_700, vec![], 3));
    // State 2 was never reported at the operator, and is part of state 3 all the same.
    let states = |world: &mut World, party| {
        let reports = world.reports(party).into_iter();
        reports.filter_map(|event| if let Event::Updated { state, .. } = event { Some(state) } else { None }).collect()
    };
    let of_operator: Vec<u32> = states(&mut world, OPERATOR);
    assert_eq!((of_operator, states(&mut world, M0)), (vec![1, 3], vec![1, 2, 3]));
}

#[test]
fn an_htlc_is_added_and_fulfilled_or_failed_in_both_directions() {
    let mut world = live();
    world.pay(OPERATOR, M0, 50_000);
    world.update(OPERATOR, M0, add(5_000, 1, 1_000));
    assert_eq!(agreed(&world), (50_000, 45_000, vec![5_000], 2));
    world.update(M0, OPERATOR, add(6_000, 2, 1_001));
    assert_eq!(agreed(&world), (44_000, 45_000, vec![5_000, 6_000], 3));
    for party in [OPERATOR, M0] {
        assert!(!world.end(party, 0).is_quiescent(), "HTLCs are pending");
    }
    let refusal = refused(&mut world, OPERATOR, Command::SignCloses);
    assert_eq!(refusal, "2 HTLCs are pending in the channel of m0");

    let wrong = |id, byte| Change::FulfilHtlc { id, preimage: preimage(byte) };
    for (party, change, expected) in [
        (M0, wrong(0, 2), "that is not the preimage of HTLC 0"),
        (M0, wrong(1, 2), "HTLC 1 was not offered to m0"),
        (OPERATOR, wrong(0, 1), "HTLC 0 was not offered to operator"),
        (OPERATOR, wrong(2, 1), "no HTLC 2 is pending"),
        (OPERATOR, Change::FailHtlc { id: 0 }, "HTLC 0 was not offered to operator"),
        (M0, Change::FailHtlc { id: 7 }, "no HTLC 7 is pending"),
    ] {
        assert_eq!(refused(&mut world, party, Command::Update { with: other(party), change }), expected);
        let Change::FulfilHtlc { id, preimage } = change else { continue };
        // A claim is refused alike, and does not remember a preimage that is none.
        let claim = Command::Claim { with: other(party), id, preimage };
        assert_eq!(refused(&mut world, party, claim), expected);
    }

    world.update(M0, OPERATOR, Change::FulfilHtlc { id: 0, preimage: preimage(1) });
    assert_eq!(agreed(&world), (49_000, 45_000, vec![6_000], 4));
    world.update(OPERATOR, M0, Change::FailHtlc { id: 1 });
    assert_eq!(agreed(&world), (55_000, 45_000, vec![], 5));

    world.update(M0, OPERATOR, add(6_000, 3, 1_000));
    world.update(OPERATOR, M0, add(7_000, 4, 1_000));
    world.command(OPERATOR, Command::Claim { with: M0, id: 2, preimage: preimage(3) }).unwrap();
    world.run();
    assert_eq!(agreed(&world), (49_000, 44_000, vec![7_000], 8));
    let claimed = Change::FulfilHtlc { id: 2, preimage: preimage(3) };
    let event = Event::Updated { channel: 0, by: OPERATOR, change: claimed, state: 8 };
    assert_eq!([OPERATOR, M0].map(|party| world.happened(party, &event)), [1, 1]);
    world.update(M0, OPERATOR, Change::FailHtlc { id: 3 });
    assert_eq!(agreed(&world), (49_000, 51_000, vec![], 9));
    world.operate(Command::SignCloses);
    assert_eq!(world.tx(TxName::Close(0)).transaction().output[0].value, sat(49_000));
}

/// A claim that finds another update under way is made with the next block.
#[test]
fn a_claim_waits_for_the_update_that_is_under_way() {
    let mut world = live();
    world.update(OPERATOR, M0, add(5_000, 1, 1_000));
    world.command(M0, Command::Claim { with: OPERATOR, id: 0, preimage: preimage(1) }).unwrap();
    world.ask(OPERATOR, M0, pay(100));
    world.run();
    // They crossed: the operator's went first.
    assert_eq!(agreed(&world), (100, 94_900, vec![5_000], 2));
    world.blocks(1);
    assert_eq!(agreed(&world), (5_100, 94_900, vec![], 3));
}

#[test]
fn an_htlc_that_expires_too_soon_is_refused_by_both_sides() {
    // The lock of the state, 3 blocks to confirm, and three times the patience for who proposes.
    let earliest = LIVE + 288 + 3 + 18;
    for proposer in [OPERATOR, M0] {
        let mut world = live();
        world.pay(OPERATOR, M0, 50_000);
        let earliest = earliest - 4;
        let change = add(5_000, 1, earliest - 1);
        let refusal = refused(&mut world, proposer, Command::Update { with: other(proposer), change });
        assert_eq!(refusal, format!("an expiry at block {} is too soon: expected {earliest} or later", earliest - 1));

        // The other side leaves the message as long as its patience, and not a block more.
        world.ask(proposer, other(proposer), add(5_000, 1, earliest));
        for height in 1..=6 {
            world.show(other(proposer), LIVE + height, &[]);
        }
        world.run();
        assert_eq!(agreed(&world).2, [5_000]);

        world.ask(proposer, other(proposer), add(6_000, 1, earliest + 5));
        for height in 7..=16 {
            world.show(other(proposer), LIVE + height, &[]);
        }
        world.run();
        let (expiry, expected) = (earliest + 5, LIVE + 16 + 280 + 3 + 12);
        assert_eq!(
            world.refusals(),
            [format!(
                "{}: message from {proposer} refused in phase `live`: an expiry at block {expiry} is too soon: \
                 expected {expected} or later",
                other(proposer)
            )]
        );
        let mut world = live();
        let not_a_height = Command::Update { with: M0, change: add(5_000, 1, 500_000_000) };
        assert_eq!(refused(&mut world, OPERATOR, not_a_height), "500000000 is no block height");
    }
}

fn exhausting() -> World {
    // 20, 15, 10: two updates.
    let refund_locks = RefundLocks { initial: 20, step: 5, minimum: 8 };
    let mut world = World::audited_with(1, Offer { refund_locks, ..Offer::default() });
    world.open();
    world
}

#[test]
fn updates_are_exhausted_exactly_at_the_last_state() {
    let mut world = exhausting();
    world.pay(OPERATOR, M0, 10_000);
    world.pay(M0, OPERATOR, 1_000);
    assert_eq!(agreed(&world), (9_000, 91_000, vec![], 2));
    let expected = "the channel's updates are exhausted at state 2: it can only be closed";
    for party in [OPERATOR, M0] {
        assert_eq!(refused(&mut world, party, Command::Update { with: other(party), change: pay(1) }), expected);
    }
    // Nor is a proposal accepted from somebody who counts otherwise.
    let proposed = world.history.iter().rev().find_map(|(_, _, message)| match message {
        Message::About { body: Body::Channel(exchange), .. } => match &**exchange {
            Exchange::Propose { proposed, nonce, .. } => Some((proposed.clone(), nonce.clone())),
            _ => None,
        },
        _ => None,
    });
    let (proposed, nonce) = proposed.unwrap();
    for party in [OPERATOR, M0] {
        let content = Content::State { base: 2, change: pay(1) };
        let exchange = Exchange::Propose { attempt: 9, content, proposed: proposed.clone(), nonce: nonce.clone() };
        let message = world.about(Body::Channel(Box::new(exchange)));
        assert_eq!(world.message(other(party), party, message).unwrap_err().reason.to_string(), expected);
    }
    world.operate(Command::SignCloses);
    world.assert_phase(Phase::ClosesSigned);
}

/// A known preimage whose update can no longer be made stops nothing: the way on chain is left.
#[test]
fn a_claim_in_an_exhausted_channel_waits_for_the_chain() {
    let mut world = exhausting();
    world.pay(OPERATOR, M0, 10_000);
    world.update(OPERATOR, M0, add(5_000, 1, LIVE + 60));
    world.command(M0, Command::Claim { with: OPERATOR, id: 0, preimage: preimage(1) }).unwrap();
    assert_eq!(agreed(&world).3, 2);
    // 10 blocks of lock and 3 to confirm, and the patience.
    let last_chance = LIVE + 60 - 10 - 3 - 6;
    while world.ledger.height() < last_chance - 1 {
        world.blocks(1);
    }
    assert_eq!(world.phase(M0), Phase::Live);
    world.blocks(1);
    assert_eq!(world.phase(M0), Phase::OnChain);
}

/// From its signature on the close on, a channel never has another state, whatever comes late.
#[test]
fn no_state_follows_a_close() {
    let mut world = live();
    world.pay(OPERATOR, M0, 50_000);
    // A payment of the operator's that is under way when another world freezes the channel.
    let proposals = |to: Party| {
        let mut ahead = live();
        ahead.pay(OPERATOR, M0, 50_000);
        ahead.pay(other(to), to, 100);
        let late = ahead.history.into_iter().filter(move |(from, receiver, message)| {
            let exchange = |message: &Message| match message {
                Message::About { body: Body::Channel(exchange), .. } => {
                    matches!(**exchange, Exchange::Propose { content: Content::State { base: 1, .. }, .. })
                }
                _ => false,
            };
            *receiver == to && *from == other(to) && exchange(message)
        });
        late.map(|(_, _, message)| message).collect::<Vec<_>>()
    };
    let (to_member, to_operator) = (proposals(M0).remove(0), proposals(OPERATOR).remove(0));
    // The freeze reaches the member, whose answer is lost: it has signed, and does not hold the close.
    lose(&mut world, M0, |exchange| matches!(exchange, Exchange::Accept { .. }));
    world.operate(Command::SignCloses);
    for party in [OPERATOR, M0] {
        assert!(world.end(party, 0).is_frozen());
        assert_eq!(world.transaction(party, TxName::Close(0)), None);
    }
    for step in 0..3 {
        let before = [OPERATOR, M0].map(|party| world.dump(party));
        let raised = match to_member.clone() {
            Message::About { factory, body: Body::Channel(mut exchange) } => {
                if let Exchange::Propose { attempt, .. } = &mut *exchange {
                    *attempt = 99;
                }
                Message::About { factory, body: Body::Channel(exchange) }
            }
            other => other,
        };
        let error = world.message(OPERATOR, M0, raised).unwrap_err();
        assert_eq!(error.reason.to_string(), "the channel of m0 is frozen for its close", "{step}");
        // Here it crosses with the freeze, and is passed over.
        world.message(M0, OPERATOR, to_operator.clone()).unwrap();
        assert!(!world.deliver(), "nobody answers");
        assert!([OPERATOR, M0].map(|party| world.dump(party)) == before, "{step}");
        for party in [OPERATOR, M0] {
            let update = Command::Update { with: other(party), change: pay(1) };
            assert_eq!(refused(&mut world, party, update), "the channel of m0 is frozen for its close");
        }
        match step {
            0 => {
                world.tamper = None;
                world.blocks(1);
                assert_eq!(world.phase(M0), Phase::ClosesSigned);
            }
            _ => {
                world.restart(OPERATOR);
                world.restart(M0);
            }
        }
    }
    assert_eq!(agreed(&world), (50_000, 50_000, vec![], 1));
}

#[test]
fn each_lost_step_is_mended_with_the_next_block() {
    let propose: fn(&Exchange) -> bool = |exchange| matches!(exchange, Exchange::Propose { .. });
    let accept: fn(&Exchange) -> bool = |exchange| matches!(exchange, Exchange::Accept { .. });
    let held: fn(&Exchange) -> bool = |exchange| matches!(exchange, Exchange::Held { .. });
    for proposer in [OPERATOR, M0] {
        let acceptor = other(proposer);
        for (step, from, lost, sets) in [
            ("propose", proposer, propose, (vec![1], vec![1])),
            ("accept", acceptor, accept, (vec![1], vec![1, 2])),
            ("complete", proposer, is_complete as fn(&Exchange) -> bool, (vec![2], vec![1, 2])),
            ("held", acceptor, held, (vec![2], vec![2])),
        ] {
            let mut world = live();
            world.pay(OPERATOR, M0, 50_000);
            lose(&mut world, from, lost);
            world.pay(proposer, acceptor, 100);
            assert_eq!((enforceable(&world, proposer), enforceable(&world, acceptor)), sets, "{step} of {proposer}");
            world.tamper = None;
            world.blocks(1);
            assert_eq!(world.refused, [], "{step} of {proposer}");
            assert_eq!(agreed(&world).3, 2);
            let event = Event::Updated { channel: 0, by: proposer, change: pay(100), state: 2 };
            assert_eq!([OPERATOR, M0].map(|party| world.happened(party, &event)), [1, 1], "{step} of {proposer}");
            // Both sides know it, so that it can be closed.
            world.operate(Command::SignCloses);
            world.assert_phase(Phase::ClosesSigned);
        }
    }
}

#[test]
fn each_step_may_come_twice() {
    for proposer in [OPERATOR, M0] {
        let mut world = live();
        world.pay(OPERATOR, M0, 50_000);
        world.ask(proposer, other(proposer), pay(100));
        for step in ["propose", "accept", "complete", "held"] {
            assert!(world.deliver(), "{step}");
            let (from, to, message) = world.history.last().cloned().unwrap();
            let before = [OPERATOR, M0].map(|party| world.dump(party));
            world.message(from, to, message).unwrap();
            assert!([OPERATOR, M0].map(|party| world.dump(party)) == before, "{step} of {proposer}, again");
        }
        world.run();
        assert_eq!(agreed(&world).3, 2);
    }
}

#[test]
fn another_state_of_the_same_number_is_refused() {
    for proposer in [OPERATOR, M0] {
        let stale = |amount| {
            let mut world = live();
            world.pay(OPERATOR, M0, 50_000);
            lose(&mut world, proposer, is_complete);
            world.pay(proposer, other(proposer), amount);
            world
        };
        let (mut world, elsewhere) = (stale(1_000), stale(1_001));
        let (.., message) = elsewhere.history.iter().rev().find(|(from, ..)| *from == proposer).unwrap();
        let Message::About { factory, body: Body::Channel(mut exchange) } = message.clone() else {
            panic!("the last that arrived is of an exchange: {message:?}")
        };
        let Exchange::Propose { attempt, .. } = &mut *exchange else { panic!("it is the proposal: {message:?}") };
        *attempt += 1;
        let other_state = Message::About { factory, body: Body::Channel(exchange) };
        let error = world.message(proposer, other(proposer), other_state).unwrap_err();
        assert_eq!(error.reason.to_string(), "the state differs from the one before");
        assert_eq!(enforceable(&world, other(proposer)), [1, 2]);
    }
}

#[test]
fn what_was_not_signed_cannot_be_completed() {
    let mut world = live();
    world.pay(OPERATOR, M0, 50_000);
    let witness = factory_core::protocol::WireWitness(world.tx(TxName::Refund(0, 1)).witness().clone());
    for (slot, expected) in [
        (Slot::State(2), "a state that this party has not signed does not belong here"),
        (Slot::Close, "a close that this party has not signed does not belong here"),
    ] {
        for party in [OPERATOR, M0] {
            let complete = world.about(Body::Channel(Box::new(Exchange::Complete { slot, witness: witness.clone() })));
            assert_eq!(world.message(other(party), party, complete).unwrap_err().reason.to_string(), expected);
        }
    }
    // An acknowledgement of what is not there is passed over.
    for slot in [Slot::State(0), Slot::State(2), Slot::Close] {
        let before = world.dump(OPERATOR);
        let held = world.about(Body::Channel(Box::new(Exchange::Held { slot })));
        world.message(M0, OPERATOR, held).unwrap();
        assert!(world.dump(OPERATOR) == before);
    }
}
