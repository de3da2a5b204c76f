//! Payments: the state moves at both ends alike, whatever crosses.

use factory_core::protocol::{Body, Command, Event, Message, Phase};
use factory_core::{Party, TxName};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::world::{World, capacity, sat};

const OPERATOR: Party = Party::Operator;
const M0: Party = Party::Member(0);
const M1: Party = Party::Member(1);

fn pay(to: Party, amount: u64) -> Command {
    Command::Pay { to, amount: sat(amount) }
}

fn refused(world: &mut World, party: Party, command: Command) -> String {
    world.command(party, command).unwrap_err().to_string()
}

/// Both ends have the same balance and state.
fn assert_agreed(world: &World, member: u32, balance: u64, state: u64) {
    let (operator, member_end) = world.channel(member);
    assert_eq!(operator, member_end);
    assert_eq!((operator.member(), operator.state()), (sat(balance), state));
    assert_eq!(operator.operator(), capacity(member) - sat(balance));
}

#[test]
fn a_payment_moves_both_ends_and_is_reported_at_both() {
    let mut world = World::new(2);
    world.open();
    world.pay(OPERATOR, M1, 5_000);
    world.pay(M1, OPERATOR, 2_000);
    assert_agreed(&world, 1, 3_000, 2);
    assert_agreed(&world, 0, 0, 0);
    for (payer, amount, state) in [(OPERATOR, 5_000, 1), (M1, 2_000, 2)] {
        let event = Event::Paid { channel: 1, payer, amount: sat(amount), state };
        assert_eq!((world.happened(OPERATOR, &event), world.happened(M1, &event)), (1, 1));
        assert_eq!(world.happened(M0, &event), 0);
    }
}

#[test]
fn impossible_payments_are_refused_where_they_are_asked_for() {
    let mut world = World::audited(2);
    assert_eq!(refused(&mut world, M0, pay(OPERATOR, 1)), "refused in phase `new`: the channel of m0 is not live");
    assert_eq!(refused(&mut world, OPERATOR, pay(M0, 1)), "refused in phase `new`: the channel of m0 is not live");
    world.operate(Command::Open);
    assert_eq!(refused(&mut world, OPERATOR, pay(M0, 1)), "refused in phase `funding`: the channel of m0 is not live");
    world.confirm(TxName::Funding, 3);
    world.command(OPERATOR, pay(M0, 10)).unwrap();
    for (party, command, expected) in [
        (OPERATOR, pay(M0, 10), "refused in phase `live`: a payment is in flight in the channel of m0"),
        (OPERATOR, Command::SignCloses, "refused in phase `live`: a payment is in flight in the channel of m0"),
        (OPERATOR, pay(M1, 0), "refused in phase `live`: a payment must be at least 1 sat"),
        (
            OPERATOR,
            pay(M1, 99_848),
            "refused in phase `live`: operator can pay 0.00099847 BTC in this channel, not 0.00099848 BTC \
             (0.00000154 BTC are kept for the close's fee)",
        ),
        (OPERATOR, pay(Party::Member(2), 1), "refused in phase `live`: the channel of m2 is not live"),
        (OPERATOR, pay(OPERATOR, 1), "refused in phase `live`: operator has no channel with this party to be paid in"),
        (M0, pay(M1, 1), "refused in phase `live`: m1 has no channel with this party to be paid in"),
        (M0, pay(OPERATOR, 1), "refused in phase `live`: m0 can pay 0 BTC in this channel, not 0.00000001 BTC"),
    ] {
        assert_eq!(refused(&mut world, party, command), expected);
    }
    world.run();
    world.pay(OPERATOR, M1, 99_847);
    assert_agreed(&world, 1, 99_847, 1);
    world.operate(Command::SignCloses);
    for party in [OPERATOR, M0] {
        let to = if party == OPERATOR { M0 } else { OPERATOR };
        let expected = "refused in phase `closes signed`: the channel of m0 is frozen for its close";
        assert_eq!(refused(&mut world, party, pay(to, 1)), expected);
    }
}

#[test]
fn wrong_payment_messages_are_refused_by_name() {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 5_000);
    let factory = world.factory().digest();
    for (to, body, expected) in [
        (
            OPERATOR,
            Body::Pay { state: 2, amount: sat(5_001) },
            "message from m0 refused in phase `live`: m0 can pay 0.00005000 BTC in this channel, not 0.00005001 BTC",
        ),
        (
            OPERATOR,
            Body::Pay { state: 3, amount: sat(1) },
            "message from m0 refused in phase `live`: a payment of 1 sat makes state 3: expected state 2",
        ),
        (
            OPERATOR,
            Body::Paid { state: 2 },
            "message from m0 refused in phase `live`: the acceptance of a payment that is not in flight does not \
                belong here",
        ),
        (
            M0,
            Body::Pay { state: 1, amount: sat(6_000) },
            "message from operator refused in phase `live`: the payment differs from the one before",
        ),
        (
            M0,
            Body::Pay { state: 2, amount: sat(94_847) },
            "message from operator refused in phase `live`: operator can pay 0.00094846 BTC in this channel, not \
                0.00094847 BTC (0.00000154 BTC are kept for the close's fee)",
        ),
        (
            M0,
            Body::Pay { state: 2, amount: sat(0) },
            "message from operator refused in phase `live`: a payment must be at least 1 sat",
        ),
        (
            M0,
            Body::Pay { state: u64::MAX, amount: sat(1) },
            "message from operator refused in phase `live`: a payment of 1 sat makes state 18446744073709551615: \
                expected state 2",
        ),
    ] {
        let from = if to == OPERATOR { M0 } else { OPERATOR };
        let error = world.message(from, to, Message::About { factory, body }).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.culprit, Some(from));
    }
    assert_agreed(&world, 0, 5_000, 1);
}

#[test]
fn the_operators_payment_goes_first() {
    let mut world = World::new(1);
    world.open();
    world.pay(OPERATOR, M0, 5_000);
    for operator_asks_first in [true, false] {
        let (balance, state) = (world.channel(0).0.member().to_sat(), world.channel(0).0.state());
        let mut asks = [(OPERATOR, pay(M0, 700)), (M0, pay(OPERATOR, 300))];
        if !operator_asks_first {
            asks.reverse();
        }
        for (party, command) in asks {
            world.command(party, command).unwrap();
        }
        world.run();
        assert_eq!(world.refused, []);
        assert_agreed(&world, 0, balance + 700, state + 1);
        assert_eq!(world.happened(M0, &Event::PutOff { channel: 0, amount: sat(300), state: state + 1 }), 1);
        // The member can ask again.
        world.pay(M0, OPERATOR, 300);
        assert_agreed(&world, 0, balance + 400, state + 2);
    }
}

#[test]
fn a_payment_that_crosses_with_the_freeze_is_put_off() {
    let mut world = World::new(2);
    world.open();
    world.pay(OPERATOR, M0, 5_000);
    world.command(M0, pay(OPERATOR, 300)).unwrap();
    world.operate(Command::SignCloses);
    world.assert_phase(Phase::ClosesSigned);
    assert_agreed(&world, 0, 5_000, 1);
    assert_eq!(world.happened(M0, &Event::PutOff { channel: 0, amount: sat(300), state: 2 }), 1);
    // From the operator, who froze the channel itself, it would be a contradiction.
    let factory = world.factory().digest();
    let message = Message::About { factory, body: Body::Pay { state: 2, amount: sat(1) } };
    let error = world.message(OPERATOR, M0, message).unwrap_err();
    let expected = "message from operator refused in phase `closes signed`: the channel of m0 is frozen for its close";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_channel_is_live_only_when_both_sides_have_seen_the_funding() {
    let mut world = World::new(2);
    world.operate(Command::Open);
    world.confirm_at(OPERATOR, TxName::Funding, 3);
    world.confirm_at(M0, TxName::Funding, 3);
    assert_eq!(
        (world.phase(OPERATOR), world.phase(M0), world.phase(M1)),
        (Phase::Funding, Phase::Live, Phase::Funding)
    );
    world.pay(OPERATOR, M0, 1_000);
    assert_agreed(&world, 0, 1_000, 1);
    assert_eq!(refused(&mut world, OPERATOR, pay(M1, 1)), "refused in phase `funding`: the channel of m1 is not live");
    let expected = "refused in phase `funding`: the channel of m1 is not live";
    assert_eq!(refused(&mut world, OPERATOR, Command::SignCloses), expected);
    world.confirm_at(M1, TxName::Funding, 4);
    world.assert_phase(Phase::Live);
}

/// Whatever both sides ask for and however it crosses, both ends agree once the links are empty, and so do all
/// reports: the balance is the sum of what was reported as paid.
#[test]
fn both_ends_converge_whatever_crosses() {
    let mut put_off = 0;
    for seed in 0..100 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut world = World::shuffled(2, seed);
        world.open();
        for _ in 0..60 {
            let member = (rng.next_u64() % 2) as u32;
            let (party, to) = if rng.next_u64() % 2 == 0 {
                (OPERATOR, Party::Member(member))
            } else {
                (Party::Member(member), OPERATOR)
            };
            // It may well be refused: too much, or one in flight.
            let _ = world.command(party, pay(to, rng.next_u64() % 30_000));
            for _ in 0..rng.next_u64() % 3 {
                world.deliver();
            }
        }
        // Whatever is still in flight crosses with the closes, or makes them wait.
        if world.command(OPERATOR, Command::SignCloses).is_err() {
            world.run();
            world.command(OPERATOR, Command::SignCloses).unwrap();
        }
        world.run();
        world.assert_phase(Phase::ClosesSigned);
        for member in 0..2 {
            let reported = |party: Party| {
                let of = |(who, event): &(Party, Event)| match event {
                    Event::Paid { channel, payer, amount, .. } if *who == party && *channel == member => {
                        let sat = amount.to_sat() as i64;
                        Some(if *payer == OPERATOR { sat } else { -sat })
                    }
                    _ => None,
                };
                world.events.iter().filter_map(of).collect::<Vec<_>>()
            };
            let payments = reported(OPERATOR);
            assert_eq!(payments, reported(Party::Member(member)), "seed {seed}, m{member}");
            assert!(!payments.is_empty());
            let balance = u64::try_from(payments.iter().sum::<i64>()).unwrap();
            assert_agreed(&world, member, balance, payments.len() as u64);
        }
        put_off += world.events.iter().filter(|(_, event)| matches!(event, Event::PutOff { .. })).count();
    }
    assert!(put_off > 100, "payments did cross: {put_off}");
}
