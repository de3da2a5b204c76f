//! Payments: the state moves at both ends alike, whatever crosses.

use factory_core::protocol::{Command, Event, Phase};
use factory_core::{Change, Party, TxName};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::world::{M0, M1, M2, OPERATOR, World, capacity, pay, sat};

fn refused(world: &mut World, party: Party, with: Party, change: Change) -> String {
    let error = world.command(party, Command::Update { with, change }).unwrap_err();
    assert_eq!(error.culprit, None);
    error.to_string()
}

/// Both ends have the same state, its refund, and nothing else that may be enforced.
fn assert_agreed(world: &World, member: u32, balance: u64, state: u32) {
    let (operator, own) = (world.end(OPERATOR, member), world.end(Party::Member(member), member));
    assert_eq!(operator.agreed(), own.agreed());
    let agreed = operator.agreed().unwrap();
    assert_eq!((agreed.member(), agreed.number()), (sat(balance), state));
    assert_eq!(agreed.operator(), capacity(member) - sat(balance));
    assert_eq!(operator.refund(), own.refund());
    assert_eq!((operator.released().count(), own.released().count()), (0, 0));
}

#[test]
fn a_payment_moves_both_ends_and_is_reported_at_both() {
    let mut world = World::audited(2);
    world.open();
    world.pay(OPERATOR, M1, 5_000);
    world.pay(M1, OPERATOR, 2_000);
    assert_agreed(&world, 1, 3_000, 2);
    assert_agreed(&world, 0, 0, 0);
    for (by, amount, state) in [(OPERATOR, 5_000, 1), (M1, 2_000, 2)] {
        let event = Event::Updated { channel: 1, by, change: pay(amount), state };
        assert_eq!((world.happened(OPERATOR, &event), world.happened(M1, &event)), (1, 1));
        assert_eq!(world.happened(M0, &event), 0);
    }
}

#[test]
fn impossible_payments_are_refused_where_they_are_asked_for() {
    let mut world = World::audited(2);
    let expected = "refused in phase `new`: what concerns a factory that is not there yet does not belong here";
    assert_eq!(refused(&mut world, M0, OPERATOR, pay(1)), expected);
    assert_eq!(refused(&mut world, OPERATOR, M0, pay(1)), expected);
    world.operate(Command::Open);
    let expected = "refused in phase `funding`: the channel of m0 is not live";
    assert_eq!(refused(&mut world, OPERATOR, M0, pay(1)), expected);
    assert_eq!(refused(&mut world, M0, OPERATOR, pay(1)), expected);
    world.confirm(TxName::Funding);
    world.ask(OPERATOR, M0, pay(10));
    let in_flight = "refused in phase `live`: an update is in flight in the channel of m0";
    assert_eq!(refused(&mut world, OPERATOR, M0, pay(10)), in_flight);
    assert_eq!(world.command(OPERATOR, Command::SignCloses).unwrap_err().to_string(), in_flight);
    for (party, with, change, expected) in [
        (OPERATOR, M1, pay(0), "a payment must be at least 1 sat"),
        (
            OPERATOR,
            M1,
            pay(99_848),
            "operator can pay 0.00099847 BTC in this channel, not 0.00099848 BTC (0.00000154 BTC are kept for the \
             fee of the way out)",
        ),
        (OPERATOR, M2, pay(1), "m2 has no channel with this party to be paid in"),
        (OPERATOR, OPERATOR, pay(1), "operator has no channel with this party to be paid in"),
        (M0, M1, pay(1), "m1 has no channel with this party to be paid in"),
        (M0, M0, pay(1), "m0 has no channel with this party to be paid in"),
        (M0, OPERATOR, pay(1), "m0 can pay 0 BTC in this channel, not 0.00000001 BTC"),
    ] {
        assert_eq!(refused(&mut world, party, with, change), format!("refused in phase `live`: {expected}"));
    }
    world.run();
    world.pay(OPERATOR, M1, 99_847);
    assert_agreed(&world, 1, 99_847, 1);
    world.operate(Command::SignCloses);
    for (party, with) in [(OPERATOR, M0), (M0, OPERATOR)] {
        let expected = "refused in phase `closes signed`: the channel of m0 is frozen for its close";
        assert_eq!(refused(&mut world, party, with, pay(1)), expected);
    }
}

#[test]
fn the_operators_payment_goes_first() {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 5_000);
    for operator_asks_first in [true, false] {
        let agreed = world.end(OPERATOR, 0).agreed().unwrap();
        let (balance, state) = (agreed.member().to_sat(), agreed.number());
        let mut asks = [(OPERATOR, M0, 700), (M0, OPERATOR, 300)];
        if !operator_asks_first {
            asks.reverse();
        }
        for (party, with, amount) in asks {
            world.ask(party, with, pay(amount));
        }
        world.run();
        assert_eq!(world.refused, []);
        assert_agreed(&world, 0, balance + 700, state + 1);
        let put_off = Event::PutOff { channel: 0, change: pay(300), state: state + 1 };
        assert_eq!((world.happened(M0, &put_off), world.happened(OPERATOR, &put_off)), (1, 0));
        // The member can ask again.
        world.pay(M0, OPERATOR, 300);
        assert_agreed(&world, 0, balance + 400, state + 2);
    }
}

#[test]
fn a_payment_that_crosses_with_the_freeze_is_put_off() {
    let mut world = World::audited(2);
    world.open();
    world.pay(OPERATOR, M0, 5_000);
    world.ask(M0, OPERATOR, pay(300));
    world.operate(Command::SignCloses);
    world.assert_phase(Phase::ClosesSigned);
    assert_agreed(&world, 0, 5_000, 1);
    let put_off = Event::PutOff { channel: 0, change: pay(300), state: 2 };
    assert_eq!(world.happened(M0, &put_off), 1);
}

#[test]
fn a_channel_is_live_only_when_both_sides_have_seen_the_funding() {
    let mut world = World::new(2);
    world.operate(Command::Open);
    let funding = world.find(TxName::Funding);
    // m1 does not see the blocks that the others see.
    for (height, txs) in [(101, vec![funding.clone()]), (102, vec![]), (103, vec![])] {
        for party in [OPERATOR, M0] {
            world.show(party, height, &txs);
        }
        world.run();
    }
    let phases = (world.phase(OPERATOR), world.phase(M0), world.phase(M1));
    assert_eq!(phases, (Phase::Funding, Phase::Live, Phase::Funding));
    world.pay(OPERATOR, M0, 1_000);
    assert_agreed(&world, 0, 1_000, 1);
    let expected = "refused in phase `funding`: the channel of m1 is not live";
    assert_eq!(refused(&mut world, OPERATOR, M1, pay(1)), expected);
    assert_eq!(world.command(OPERATOR, Command::SignCloses).unwrap_err().to_string(), expected);
    for (height, txs) in [(101, vec![funding]), (102, vec![]), (103, vec![])] {
        world.show(M1, height, &txs);
    }
    world.run();
    world.assert_phase(Phase::Live);
}

#[test]
fn a_member_that_sees_the_funding_first_is_live_as_soon_as_the_operator_is() {
    let mut world = World::new(2);
    world.operate(Command::Open);
    let funding = world.find(TxName::Funding);
    for party in [M0, M1, OPERATOR] {
        for (height, txs) in [(101, vec![funding.clone()]), (102, vec![]), (103, vec![])] {
            world.show(party, height, &txs);
        }
        // What each says is heard before the next one sees a block.
        world.run();
    }
    world.assert_phase(Phase::Live);
    world.pay(OPERATOR, M0, 1_000);
    assert_agreed(&world, 0, 1_000, 1);
}

/// Whatever both sides ask for and however it crosses, both ends agree once the links are empty, and so do all
/// reports: the balance is the sum of what was reported as paid.
#[test]
fn both_ends_converge_whatever_crosses() {
    let mut put_off = 0;
    for seed in 0..60 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut world = World::shuffled(2, seed);
        world.open();
        for _ in 0..60 {
            let member = (rng.next_u64() % 2) as u32;
            let (party, with) = if rng.next_u64() % 2 == 0 {
                (OPERATOR, Party::Member(member))
            } else {
                (Party::Member(member), OPERATOR)
            };
            // It may well be refused: too much, or one in flight.
            let _ = world.command(party, Command::Update { with, change: pay(rng.next_u64() % 30_000) });
            for _ in 0..rng.next_u64() % 3 {
                world.deliver();
            }
        }
        // Whatever is still in flight crosses with the closes, or makes them wait.
        if world.command(OPERATOR, Command::SignCloses).is_err() {
            world.run();
            // A proposal that found another one under way is made again with a block.
            world.blocks(2);
            world.command(OPERATOR, Command::SignCloses).unwrap();
        }
        world.run();
        world.assert_phase(Phase::ClosesSigned);
        for member in 0..2 {
            let reported = |party: Party| {
                let of = |(who, event): &(Party, Event)| match event {
                    Event::Updated { channel, by, change: Change::Pay { amount }, .. }
                        if *who == party && *channel == member =>
                    {
                        let sat = amount.to_sat() as i64;
                        Some(if *by == OPERATOR { sat } else { -sat })
                    }
                    _ => None,
                };
                world.events.iter().filter_map(of).collect::<Vec<_>>()
            };
            let payments = reported(OPERATOR);
            assert_eq!(payments, reported(Party::Member(member)), "seed {seed}, m{member}");
            assert!(!payments.is_empty());
            let balance = u64::try_from(payments.iter().sum::<i64>()).unwrap();
            assert_agreed(&world, member, balance, payments.len() as u32);
        }
        put_off += world.events.iter().filter(|(_, event)| matches!(event, Event::PutOff { .. })).count();
    }
    assert!(put_off > 60, "payments did cross: {put_off}");
}
