//! What links may do to messages: delay them against those of other links, deliver them again, and lose them.

use factory_core::protocol::{Command, Message, Phase, Reason};
use factory_core::tx::Complete;
use factory_core::{Party, TxName};

use crate::world::{OPERATOR, World, pay};

const CLOSE: TxName = TxName::FactoryClose(0);

/// A lifecycle with payments in both directions, in which `deliver` delivers all messages. All the transactions.
fn outcome_by(world: &mut World, mut deliver: impl FnMut(&mut World)) -> Vec<Complete> {
    let members = world.members.len() as u32;
    world.command(OPERATOR, Command::Open).unwrap();
    deliver(world);
    world.assert_phase(Phase::Funding);
    world.mine_without_running(&[world.find(TxName::Funding)]);
    for _ in 0..2 {
        world.mine_without_running(&[]);
    }
    deliver(world);
    for member in 0..members {
        world.ask(OPERATOR, Party::Member(member), pay(10_000 + u64::from(member)));
    }
    deliver(world);
    for member in 0..members {
        world.ask(Party::Member(member), OPERATOR, pay(1_000));
    }
    deliver(world);
    for command in [Command::SignCloses, Command::SignFactoryClose] {
        world.command(OPERATOR, command).unwrap();
        deliver(world);
    }
    world.mine_without_running(&[world.find(CLOSE)]);
    for _ in 0..2 {
        world.mine_without_running(&[]);
    }
    deliver(world);
    world.assert_phase(Phase::Closed);
    transactions(world)
}

fn transactions(world: &World) -> Vec<Complete> {
    let members = world.members.len() as u32;
    let names = [TxName::Funding, TxName::Allocation, CLOSE];
    let names = names.into_iter().chain((0..members).flat_map(|m| [TxName::Close(m), TxName::Refund(m, 2)]));
    names.map(|name| world.tx(name).clone()).collect()
}

fn outcome(world: &mut World) -> Vec<Complete> {
    outcome_by(world, World::run)
}

fn txids(transactions: &[Complete]) -> Vec<bitcoin::Txid> {
    transactions.iter().map(Complete::txid).collect()
}

fn sorted_events(world: &World) -> Vec<String> {
    let mut events: Vec<_> = world.events.iter().map(|(party, event)| format!("{party}: {event}")).collect();
    events.sort();
    events
}

/// Delivers a message again. Only a channel that is settled on chain may refuse it.
fn again(world: &mut World, from: Party, to: Party, message: &Message) {
    match world.message(from, to, message.clone()) {
        Ok(()) => {}
        Err(error) if matches!(error.reason, Reason::OnChain(_)) && error.phase == Phase::Closed => {}
        Err(error) => panic!("{from} to {to}, {message:?}: {error}"),
    }
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
    let (mut once, mut replayed) = (World::new(4), World::new(4));
    let expected = outcome(&mut once);
    let found = outcome_by(&mut replayed, |world| {
        world.run();
        let history = world.history.clone();
        for (from, to, message) in &history {
            again(world, *from, *to, message);
        }
        world.run();
        // What the repetitions led to is not itself repeated, or the history would double at each step.
        world.history = history;
    });
    assert_eq!(found, expected);
    assert_eq!(sorted_events(&replayed), sorted_events(&once), "nothing happens twice");
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
                    again(world, *from, *to, message);
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
    let expected = txids(&outcome(&mut World::new(6)));
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut world = World::shuffled(6, seed);
        assert_eq!(txids(&outcome(&mut world)), expected, "order {seed}");
        orders.insert(world.history.iter().map(|(from, to, _)| format!("{from}{to} ")).collect::<String>());
    }
    assert_eq!(orders.len(), 20, "the orders do differ");
}

/// Any one message may be lost, of every kind: the parties ask again with the next blocks, and no command is repeated.
#[test]
fn a_lost_message_is_mended_by_the_next_blocks() {
    let mut reference = World::new(2);
    let expected = txids(&outcome(&mut reference));
    let messages = reference.history.len();
    assert!(messages > 50, "{messages}");
    for lost in 0..messages {
        let mut world = World::new(2);
        let mut count = 0;
        world.tamper = Some(Box::new(move |_, _, message| {
            count += 1;
            (count != lost + 1).then_some(message)
        }));
        let found = outcome_by(&mut world, |world| {
            world.run();
            // One block to ask again, and one more for a session in which somebody has stopped answering.
            world.blocks(2);
            // What comes after a lost message may be refused.
            world.refused.clear();
        });
        assert_eq!(txids(&found), expected, "without message {lost}");
    }
}

/// Many may be lost: each one with a chance of one in eight. Patience is long enough here.
#[test]
fn many_lost_messages_are_mended_too() {
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng as _, SeedableRng as _};
    let expected = txids(&outcome(&mut World::new(2)));
    for seed in 0..10 {
        let offer = factory_core::Offer { patience: 1_000, ..Default::default() };
        let mut world = World::with(2, offer);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        world.tamper = Some(Box::new(move |_, _, message| (rng.next_u64() % 8 != 0).then_some(message)));
        let found = outcome_by(&mut world, |world| {
            world.run();
            world.blocks(60);
            world.refused.clear();
        });
        assert_eq!(txids(&found), expected, "seed {seed}");
    }
}
