//! What links may do to messages: delay them against those of other links, and deliver them again.

use factory_core::protocol::{Body, Command, Event, Message, Phase};
use factory_core::tx::Complete;
use factory_core::{Party, TxName};

use crate::world::{World, sat};

const OPERATOR: Party = Party::Operator;

/// A lifecycle with payments in both directions, in which `deliver` delivers all messages. All the transactions.
fn outcome_by(world: &mut World, mut deliver: impl FnMut(&mut World)) -> Vec<Complete> {
    let members = world.members.len() as u32;
    let pay = |to, amount| Command::Pay { to, amount: sat(amount) };
    world.command(OPERATOR, Command::Open).unwrap();
    deliver(world);
    world.confirm_without_running(TxName::Funding, 3);
    deliver(world);
    for member in 0..members {
        world.command(OPERATOR, pay(Party::Member(member), 10_000 + u64::from(member))).unwrap();
    }
    deliver(world);
    for member in 0..members {
        world.command(Party::Member(member), pay(OPERATOR, 1_000)).unwrap();
    }
    deliver(world);
    for command in [Command::SignCloses, Command::SignFactoryClose] {
        world.command(OPERATOR, command).unwrap();
        deliver(world);
    }
    world.confirm_without_running(TxName::FactoryClose, 3);
    deliver(world);
    world.assert_phase(Phase::Closed);
    let names = [TxName::Funding, TxName::Allocation, TxName::FactoryClose];
    let names = names.into_iter().chain((0..members).map(TxName::Close));
    names.map(|name| world.tx(name).clone()).collect()
}

fn outcome(world: &mut World) -> Vec<Complete> {
    outcome_by(world, World::run)
}

fn sorted_events(world: &World) -> Vec<String> {
    let mut events: Vec<_> = world.events.iter().map(|(party, event)| format!("{party}: {event}")).collect();
    events.sort();
    events
}

#[test]
fn every_message_may_come_twice() {
    let (mut once, mut twice) = (World::new(5), World::twice(5));
    let expected = outcome(&mut once);
    assert_eq!(outcome(&mut twice), expected);
    assert_eq!(sorted_events(&twice), sorted_events(&once), "nothing happens twice");
}

#[test]
fn all_earlier_messages_may_come_again_at_every_step() {
    let (mut once, mut again) = (World::new(4), World::new(4));
    let expected = outcome(&mut once);
    let replayed = outcome_by(&mut again, |world| {
        world.run();
        let history = world.history.clone();
        for (from, to, message) in &history {
            world
                .message(*from, *to, message.clone())
                .unwrap_or_else(|error| panic!("{from} to {to}, {message:?}: {error}"));
        }
        world.run();
        // What the repetitions led to is not itself repeated, or the history would double at each step.
        world.history = history;
    });
    assert_eq!(replayed, expected);
    assert_eq!(sorted_events(&again), sorted_events(&once), "nothing happens twice");
}

/// Each single message, of every kind, again right after each later one.
#[test]
fn any_earlier_message_may_come_again_after_any_later() {
    let mut reference = World::new(2);
    let expected = outcome(&mut reference);
    for chosen in 0..reference.history.len() {
        let mut world = World::new(2);
        let mut count = 0;
        let mut held: Option<(Party, Party, Message)> = None;
        let found = outcome_by(&mut world, |world| {
            while world.deliver() {
                if count == chosen {
                    held = world.history.last().cloned();
                } else if let Some((from, to, message)) = held.as_ref().filter(|_| count < reference.history.len()) {
                    // No more often than the lifecycle has messages: a signature that comes again is acknowledged
                    // again, and that is one more message.
                    world
                        .message(*from, *to, message.clone())
                        .unwrap_or_else(|error| panic!("message {chosen} again, {message:?}: {error}"));
                }
                count += 1;
            }
        });
        assert_eq!(found, expected, "message {chosen} again");
        assert_eq!(sorted_events(&world), sorted_events(&reference), "message {chosen} again");
    }
}

#[test]
fn the_order_across_links_does_not_matter() {
    let expected = outcome(&mut World::new(6));
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut world = World::shuffled(6, seed);
        // To the last bit of every signature: no party draws its nonces in the order of arrival.
        assert_eq!(outcome(&mut world), expected, "order {seed}");
        orders.insert(world.history.iter().map(|(from, to, _)| format!("{from}{to} ")).collect::<String>());
    }
    assert_eq!(orders.len(), 20, "the orders do differ");
}

/// A lost message of the opening or of a signing does no harm that repeating the command does not mend.
#[test]
fn lost_messages_are_mended_by_repeating_the_command() {
    let expected: Vec<_> = outcome(&mut World::new(2)).iter().map(Complete::txid).collect();
    for lost in 0..40 {
        let mut world = World::new(2);
        let mut count = 0;
        world.tamper = Some(Box::new(move |_, _, message| {
            let signing = match &message {
                Message::About { body, .. } => matches!(body, Body::Sign { .. }),
                _ => true,
            };
            count += usize::from(signing);
            (!signing || count != lost + 1).then_some(message)
        }));
        world.operate(Command::Open);
        if world.operator.phase() < Phase::Funding {
            world.operate(Command::Open);
        }
        world.confirm(TxName::Funding, 3);
        for member in 0..2 {
            world.pay(OPERATOR, Party::Member(member), 10_000 + u64::from(member));
            world.pay(Party::Member(member), OPERATOR, 1_000);
        }
        world.operate(Command::SignCloses);
        if world.operator.phase() < Phase::ClosesSigned {
            world.operate(Command::SignCloses);
        }
        world.operate(Command::SignFactoryClose);
        if world.happened(OPERATOR, &Event::HeldByAll(TxName::FactoryClose)) == 0 {
            world.operate(Command::SignFactoryClose);
        }
        // What comes after a lost message may be refused; in the end everybody is there.
        world.refused.clear();
        world.assert_phase(Phase::FactoryCloseSigned);
        let names = [TxName::Funding, TxName::Allocation, TxName::FactoryClose, TxName::Close(0), TxName::Close(1)];
        assert_eq!(names.map(|name| world.tx(name).txid()).to_vec(), expected, "without message {lost}");
    }
}
