//! Traps that one side of a channel can set the other, and what time others are given to answer.

use factory_core::Party;
use factory_core::protocol::{Cause, Command, Event, Exchange, Phase};

use crate::world::{M0, OPERATOR, World, add, change_exchange, pay, preimage};

const EXPIRY: u32 = 800;

fn with_htlc_for(recipient: Party) -> World {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 50_000);
    let offerer = if recipient == OPERATOR { M0 } else { OPERATOR };
    world.update(offerer, recipient, add(5_000, 1, EXPIRY));
    world
}

fn lose(world: &mut World, from: Party, to: Party, lost: fn(&Exchange) -> bool) {
    world.tamper = change_exchange(from, to, move |exchange| (!lost(&exchange)).then_some(exchange));
}

fn is_complete(exchange: &Exchange) -> bool {
    matches!(exchange, Exchange::Complete { .. })
}

/// Whoever takes an HTLC shows the preimage with the proposal: the offerer learns it though it never holds the state.
#[test]
fn a_withheld_fulfilment_shows_its_preimage() {
    let mut world = with_htlc_for(M0);
    lose(&mut world, M0, OPERATOR, is_complete);
    world.command(M0, Command::Claim { with: OPERATOR, id: 0, preimage: preimage(1) }).unwrap();
    world.run();
    let numbers: Vec<_> = world.end(OPERATOR, 0).enforceable().map(|state| state.number()).collect();
    assert_eq!(numbers, [2, 3], "the operator has signed state 3 and does not hold it");
    let shown = Event::Preimage { channel: 0, id: 0, preimage: preimage(1) };
    assert_eq!(world.happened(OPERATOR, &shown), 1);
}

/// An HTLC in a state that the recipient does not hold is no money yet: its preimage is kept back until it is.
#[test]
fn no_preimage_is_shown_for_an_htlc_that_is_not_held() {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 50_000);
    lose(&mut world, M0, OPERATOR, is_complete);
    world.update(M0, OPERATOR, add(5_000, 1, EXPIRY));
    let before = world.history.len();
    world.command(OPERATOR, Command::Claim { with: M0, id: 0, preimage: preimage(1) }).unwrap();
    world.run();
    assert_eq!(world.history.len(), before, "nothing is said");
    // Once the member lets the operator have the state, it is taken.
    world.tamper = None;
    world.blocks(2);
    assert!(world.end(OPERATOR, 0).agreed().unwrap().htlcs().is_empty());
    assert_eq!(world.end(OPERATOR, 0).agreed().unwrap().operator().to_sat(), 55_000);
}

/// With no time left to enforce the HTLC, the preimage is not shown to the other side first: it goes on chain at once.
#[test]
fn a_late_claim_goes_on_chain_at_once() {
    let mut world = with_htlc_for(M0);
    // State 2's lock, and 3 blocks for the allocation, the refund and the claim; and the patience.
    let last_chance = EXPIRY - 280 - 3 - 6;
    world.blocks(last_chance - world.ledger.height());
    let before = world.history.len();
    world.command(M0, Command::Claim { with: OPERATOR, id: 0, preimage: preimage(1) }).unwrap();
    world.run();
    assert_eq!(world.history.len(), before, "nothing is said");
    let event = Event::FellBack { phase: Phase::Live, cause: Cause::HtlcExpiry, culprits: vec![OPERATOR] };
    assert_eq!(world.happened(M0, &event), 1);

    // One block earlier it is still agreed on.
    let mut world = with_htlc_for(M0);
    world.blocks(last_chance - 1 - world.ledger.height());
    world.command(M0, Command::Claim { with: OPERATOR, id: 0, preimage: preimage(1) }).unwrap();
    world.run();
    assert!(world.end(M0, 0).agreed().unwrap().htlcs().is_empty());
    assert_eq!(world.phase(M0), Phase::Live);
}

/// To propose the same again and again, or to hold an acknowledgement back for good, does not keep the other waiting for
/// ever.
#[test]
fn nobody_is_kept_waiting_by_repetition() {
    for lost in [is_complete, |exchange: &Exchange| matches!(exchange, Exchange::Held { .. })] {
        let mut world = World::audited(1);
        world.open();
        world.pay(OPERATOR, M0, 50_000);
        lose(&mut world, M0, OPERATOR, lost);
        if lost(&Exchange::Held { slot: factory_core::protocol::Slot::Close }) {
            world.pay(OPERATOR, M0, 1);
        } else {
            world.pay(M0, OPERATOR, 1);
        }
        world.blocks(6);
        assert_eq!(world.phase(OPERATOR), Phase::Live, "the patience is not over");
        world.blocks(1);
        let event = Event::FellBack { phase: Phase::Live, cause: Cause::Silence, culprits: vec![M0] };
        assert_eq!(world.happened(OPERATOR, &event), 1);
    }
}

/// The operator has signed the member's proposal, and has proposed a state on top of it. That the member asks again for
/// what it has not got takes nothing back.
#[test]
fn an_own_proposal_survives_that_an_older_one_is_answered_again() {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 50_000);
    lose(&mut world, OPERATOR, M0, |exchange| matches!(exchange, Exchange::Accept { .. }));
    world.pay(M0, OPERATOR, 1_000);
    world.ask(OPERATOR, M0, pay(300));
    world.tamper = None;
    world.blocks(3);
    let state = world.end(M0, 0).agreed().unwrap();
    assert_eq!((state.number(), state.member().to_sat()), (3, 49_300));
    assert_eq!(world.end(OPERATOR, 0).agreed(), Some(state));
    let put_off = |event: &Event| matches!(event, Event::PutOff { .. });
    assert!(!world.reports(OPERATOR).iter().any(put_off), "the operator's goes first");
    assert_eq!(world.phase(OPERATOR), Phase::Live);
}

/// A side signs only so many states without holding one of them.
#[test]
fn candidates_are_bounded() {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 50_000);
    lose(&mut world, M0, OPERATOR, is_complete);
    for _ in 0..8 {
        world.update(M0, OPERATOR, pay(1));
    }
    assert_eq!(world.end(OPERATOR, 0).released().count(), 8);
    world.ask(M0, OPERATOR, pay(1));
    world.run();
    assert_eq!(world.end(OPERATOR, 0).released().count(), 8);
    let refusals = world.refusals();
    let expected = "operator: message from m0 refused in phase `live`: an update is in flight in the channel of m0";
    assert_eq!(refusals, [expected]);
}

/// Blocks that were there already when a party came back are no time in which others have failed to answer; nor is a
/// branch that takes the place of another.
#[test]
fn blocks_that_are_shown_late_are_not_waited_through() {
    let mut world = World::audited(1);
    world.open();
    lose(&mut world, OPERATOR, M0, |_| true);
    world.ask(OPERATOR, M0, pay(1_000));
    world.run();
    world.blocks(3);
    let height = world.ledger.height();
    for _ in 0..4 {
        for again in height - 1..=height {
            world.show(OPERATOR, again, &[]);
        }
    }
    world.blocks(3);
    assert_eq!(world.phase(OPERATOR), Phase::Live, "six blocks have passed");
    world.operator.catch_up_until(height + 20);
    world.blocks(17);
    assert_eq!((world.ledger.height(), world.phase(OPERATOR)), (height + 20, Phase::Live));
    world.blocks(1);
    let event = Event::FellBack { phase: Phase::Live, cause: Cause::Silence, culprits: vec![M0] };
    assert_eq!(world.happened(OPERATOR, &event), 1);
}

/// While a state is half-signed nothing is proposed on top of it unasked, and no preimage shown.
#[test]
fn a_claim_waits_for_a_half_signed_state() {
    let mut world = with_htlc_for(OPERATOR);
    lose(&mut world, M0, OPERATOR, is_complete);
    world.pay(M0, OPERATOR, 1);
    let before = world.history.len();
    world.command(OPERATOR, Command::Claim { with: M0, id: 0, preimage: preimage(1) }).unwrap();
    world.run();
    assert_eq!(world.history.len(), before, "nothing is said");
}

/// A channel is closed only once both sides are known to hold its last state.
#[test]
fn an_unacknowledged_state_is_not_closed() {
    let mut world = World::audited(1);
    world.open();
    lose(&mut world, M0, OPERATOR, |exchange| matches!(exchange, Exchange::Held { .. }));
    world.pay(OPERATOR, M0, 50_000);
    let refusal = world.command(OPERATOR, Command::SignCloses).unwrap_err().reason.to_string();
    assert_eq!(refusal, "an update is in flight in the channel of m0");
    world.tamper = None;
    world.blocks(1);
    world.operate(Command::SignCloses);
    world.assert_phase(Phase::ClosesSigned);
}
