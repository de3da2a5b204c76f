//! What parties do with blocks: wait, give up, go on chain, and see everything confirmed.

use factory_core::protocol::{Body, Cause, Command, Event, Exchange, Joint, Message, Phase, Step};
use factory_core::{FeeRule, Offer, Party, TxName};

use crate::world::{M0, M1, M2, OPERATOR, START, World, capacity, change_exchange, change_step, pay, rate, sat};

/// How many blocks the operator waits, and how many a member does, which lets the operator wait for others first.
const PATIENCE: u32 = 6;
const MEMBERS_PATIENCE: u32 = 12;

fn aborted(phase: Phase, culprits: &[Party]) -> Event {
    Event::Aborted { phase, cause: Cause::Silence, culprits: culprits.to_vec() }
}

fn fell_back(phase: Phase, cause: Cause, culprits: &[Party]) -> Event {
    Event::FellBack { phase, cause, culprits: culprits.to_vec() }
}

/// Mines empty blocks for exactly as long as a party waits, and sees that it does; then one more.
fn wait_for(world: &mut World, party: Party, patience: u32, event: &Event) {
    world.blocks(patience);
    assert_eq!(world.happened(party, event), 0, "{party} waits for {patience} blocks");
    world.blocks(1);
    assert_eq!(world.happened(party, event), 1, "{party}: {event} after {patience} blocks; {:?}", world.events.last());
}

#[test]
fn silence_before_the_funding_ends_it() {
    for (phase, lost) in [
        (Phase::Joining, None),
        (Phase::SigningRefunds, Some(change_exchange(M1, OPERATOR, |_| None))),
        (
            Phase::SigningAllocation,
            Some(change_step(M1, OPERATOR, Joint::Allocation, |step| match step {
                // Not answered: what it does not take part in is as good as nothing.
                Step::Nonces(_) => Step::Nonces(Vec::new()),
                step => step,
            })),
        ),
    ] {
        let mut world = World::audited(3);
        match lost {
            None => drop(world.mute.insert(M1)),
            Some(tamper) => world.tamper = tamper,
        }
        world.operate(Command::Open);
        assert_eq!(world.phase(OPERATOR), phase);
        let event = aborted(phase, &[M1]);
        wait_for(&mut world, OPERATOR, PATIENCE, &event);
        assert_eq!(event.to_string(), format!("gives up in phase `{phase}`: no answer from m1"));
        assert_eq!(world.phase(OPERATOR), Phase::Aborted);
        world.blocks(MEMBERS_PATIENCE + 1);
        for party in [M0, M2] {
            assert_eq!(world.phase(party), Phase::Aborted, "{party} in {phase}");
            let blames = |(who, event): &(Party, Event)| {
                let Event::Aborted { cause: Cause::Silence, culprits, .. } = event else { return false };
                *who == party && *culprits == [OPERATOR]
            };
            assert_eq!(world.events.iter().filter(|event| blames(event)).count(), 1);
        }
        // It is over: the member comes too late, and no money has moved.
        world.mute.clear();
        world.tamper = None;
        world.blocks(5);
        assert_eq!(world.phase(OPERATOR), Phase::Aborted);
        assert!(world.broadcasts.is_empty(), "{phase}");
    }
}

#[test]
fn one_unacknowledged_allocation_keeps_the_money_back() {
    let mut world = World::audited(2);
    world.tamper = Some(Box::new(|from, _, message| {
        let held = matches!(&message, Message::About { body: Body::Sign { step: Step::Held, .. }, .. });
        (from != M1 || !held).then_some(message)
    }));
    world.operate(Command::Open);
    wait_for(&mut world, OPERATOR, PATIENCE, &aborted(Phase::SigningAllocation, &[M1]));
    world.tamper = None;
    world.blocks(3);
    assert!(world.broadcasts.is_empty());
    // The acknowledgement comes when it is too late.
    let held = world.about(Body::Sign { joint: Joint::Allocation, session: 1, step: Step::Held });
    world.message(M1, OPERATOR, held).unwrap();
    world.blocks(1);
    assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(TxName::Allocation)), 1);
    assert!(world.broadcasts.is_empty());
    let refused = world.command(OPERATOR, Command::Publish(TxName::Funding)).unwrap_err();
    assert_eq!(refused.to_string(), "refused in phase `aborted`: cannot publish funding: the factory was given up");
}

#[test]
fn a_funding_that_never_confirms_is_given_up_by_members() {
    let mut world = World::audited(1);
    world.operate(Command::Open);
    assert_eq!(world.broadcasts_of(OPERATOR), [TxName::Funding]);
    world.blocks(10 * MEMBERS_PATIENCE);
    assert_eq!(world.phase(M0), Phase::Funding);
    assert_eq!(world.broadcasts_of(OPERATOR), [TxName::Funding; 120], "with every block");
    world.blocks(1);
    assert_eq!(world.happened(M0, &aborted(Phase::Funding, &[OPERATOR])), 1);
}

/// A member that has given up does not acknowledge the allocation any more, and without that nothing is funded.
#[test]
fn a_member_that_has_given_up_lets_nobody_fund() {
    let mut world = World::audited(1);
    world.tamper = change_step(OPERATOR, M0, Joint::Allocation, |step| match step {
        Step::Signatures(_) => Step::Aggregates(std::sync::Arc::new(Vec::new())),
        step => step,
    });
    world.operate(Command::Open);
    assert_eq!(world.refusals().len(), 1);
    world.tamper = None;
    // The member's view of the chain is ahead of the operator's.
    for height in 1..=MEMBERS_PATIENCE + 1 {
        world.show(M0, START + height, &[]);
    }
    assert_eq!(world.phase(M0), Phase::Aborted);
    world.show(OPERATOR, START + 1, &[]);
    world.run();
    assert_eq!(world.phase(OPERATOR), Phase::SigningAllocation);
    assert!(world.broadcasts.is_empty());
}

/// However long the funding took, nobody is late while it gets its confirmations.
#[test]
fn a_funding_that_confirms_late_is_as_good_as_any() {
    for delay in [MEMBERS_PATIENCE + 1, 10 * MEMBERS_PATIENCE - 1] {
        // More confirmations than anybody's patience.
        let mut world = World::audited_with(1, Offer { confirmations: 15, ..Offer::default() });
        world.operate(Command::Open);
        world.blocks(delay);
        world.confirm(TxName::Funding);
        world.assert_phase(Phase::Live);
        world.blocks(2 * MEMBERS_PATIENCE);
        world.assert_phase(Phase::Live);
        assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::FellBack { .. })));
    }
}

/// Goes through the whole fallback of a world in which somebody has gone on chain: the allocation first, then closes
/// where there are any, and refunds exactly when their locks have passed. Sees what everybody is paid in the end.
fn settle(world: &mut World, publisher: Party, closes: &[u32], refunds: &[(u32, u32)], balances: &[u64]) {
    world.mute = world.everybody().collect();
    assert_eq!(world.broadcasts_of(publisher).last(), Some(&TxName::Allocation));
    world.blocks(1);
    assert_eq!(world.broadcasts_of(publisher), [TxName::Allocation], "with every block");
    world.mine(&[TxName::Allocation]);
    let allocated = world.ledger.height();
    for party in world.everybody() {
        assert_eq!(world.phase(party), Phase::OnChain, "{party}");
    }
    let expected: Vec<_> = closes.iter().map(|member| TxName::Close(*member)).collect();
    assert_eq!(world.broadcasts_of(publisher), expected);
    world.mine(&expected);
    let mut refunds = refunds.to_vec();
    // The newer the state, the shorter the lock.
    refunds.sort_by_key(|(_, state)| std::cmp::Reverse(*state));
    for (member, state) in refunds {
        let name = TxName::Refund(member, state);
        let lock = 288 - 4 * state;
        while world.ledger.height() + 2 < allocated + lock {
            world.blocks(1);
            assert!(!all_broadcasts(world).contains(&name), "{name} before its time");
        }
        let early = world.ledger.mine_these(&[world.find(name)]).unwrap_err().to_string();
        assert!(early.starts_with("the relative lock of input 0 ends at height"), "{early}");
        world.blocks(1);
        assert!(all_broadcasts(world).contains(&name), "{name} can be in the next block");
        world.mine(&[name]);
    }
    assert_eq!(world.happened(OPERATOR, &Event::Closed), 0, "not before it is deep enough");
    world.blocks(world.offer.confirmations - 1);
    assert_eq!(world.refused, []);
    let terms = world.factory().terms().clone();
    let mut rest: u64 = 0;
    for (member, balance) in balances.iter().enumerate() {
        let party = Party::Member(member as u32);
        assert_eq!(world.phase(party), Phase::Closed);
        let payout = &terms.members()[member].public.payout;
        assert_eq!(world.ledger.balance(payout), sat(*balance), "{party}");
        rest += capacity(member as u32).to_sat() - balance - 154;
    }
    assert_eq!(world.phase(OPERATOR), Phase::Closed);
    assert_eq!(world.happened(OPERATOR, &Event::Closed), 1);
    assert_eq!(world.ledger.balance(&terms.operator().payout), sat(rest));
}

/// What anybody has broadcast since the last time.
fn all_broadcasts(world: &mut World) -> Vec<TxName> {
    std::mem::take(&mut world.broadcasts).into_iter().map(|(_, name, _)| name).collect()
}

/// Three channels, with states 0, 1 and 2.
fn paid() -> World {
    let mut world = World::audited(3);
    world.open();
    world.pay(OPERATOR, M1, 40_000);
    world.pay(OPERATOR, M2, 30_000);
    world.pay(M2, OPERATOR, 10_000);
    world.broadcasts.clear();
    world
}

const PAID: [u64; 3] = [0, 40_000, 20_000];
const REFUNDS: &[(u32, u32)] = &[(0, 0), (1, 1), (2, 2)];

#[test]
fn a_member_that_never_sees_the_funding_sends_the_operator_on_chain() {
    let mut world = World::audited(1);
    world.operate(Command::Open);
    world.mute.insert(M0);
    world.confirm(TxName::Funding);
    wait_for(&mut world, OPERATOR, PATIENCE, &fell_back(Phase::Funding, Cause::Silence, &[M0]));
    settle(&mut world, OPERATOR, &[], &[(0, 0)], &[0]);
}

#[test]
fn silence_in_an_update_sends_the_proposer_on_chain() {
    for (proposer, silent, patience) in [(OPERATOR, M1, PATIENCE), (M1, OPERATOR, MEMBERS_PATIENCE)] {
        let mut world = paid();
        world.mute.insert(silent);
        world.ask(proposer, silent, pay(100));
        let event = fell_back(Phase::Live, Cause::Silence, &[silent]);
        wait_for(&mut world, proposer, patience, &event);
        assert_eq!(event.to_string(), format!("goes on chain in phase `live`: no answer from {silent}"));
        // The channel is on its way to the chain: it is not updated any more.
        let update = Command::Update { with: silent, change: pay(1) };
        let refused = world.command(proposer, update).unwrap_err();
        assert_eq!(refused.reason.to_string(), "the channel of m1 is on its way to the chain");
        settle(&mut world, proposer, &[], REFUNDS, &PAID);
    }
}

#[test]
fn silence_while_the_closes_are_signed() {
    let mut world = paid();
    world.mute.insert(M1);
    world.operate(Command::SignCloses);
    wait_for(&mut world, OPERATOR, PATIENCE, &fell_back(Phase::SigningCloses, Cause::Silence, &[M1]));
    // The closes that are signed, and the refund of the channel that has none.
    settle(&mut world, OPERATOR, &[0, 2], &[(1, 1)], &PAID);
}

#[test]
fn silence_while_the_factory_close_is_signed() {
    let mut world = paid();
    world.operate(Command::SignCloses);
    world.mute.insert(M1);
    world.operate(Command::SignFactoryClose);
    wait_for(&mut world, OPERATOR, PATIENCE, &fell_back(Phase::SigningFactoryClose, Cause::Silence, &[M1]));
    settle(&mut world, OPERATOR, &[0, 1, 2], &[], &PAID);
}

#[test]
fn an_operator_that_asks_for_no_factory_close_sends_members_on_chain() {
    let mut world = paid();
    world.operate(Command::SignCloses);
    wait_for(&mut world, M1, MEMBERS_PATIENCE, &fell_back(Phase::ClosesSigned, Cause::Silence, &[OPERATOR]));
    assert_eq!(world.phase(OPERATOR), Phase::ClosesSigned);
    world.mine(&[TxName::Allocation]);
    assert_eq!(world.happened(OPERATOR, &fell_back(Phase::ClosesSigned, Cause::AllocationConfirmed, &[])), 1);
    let of_m1 = world.broadcasts_of(M1);
    assert_eq!(of_m1, [TxName::Allocation, TxName::Close(1)], "its own channel's close, and no other");
}

/// A withheld factory close is no harm: whoever holds it publishes it, and the others have their closes.
#[test]
fn a_factory_close_that_nobody_publishes_is_published_by_all_who_hold_it() {
    let mut world = paid();
    world.operate(Command::SignCloses);
    world.tamper = change_step(OPERATOR, M2, Joint::FactoryClose, |step| match step {
        Step::Signatures(_) => Step::Signatures(std::sync::Arc::new(Vec::new())),
        step => step,
    });
    world.operate(Command::SignFactoryClose);
    world.refused.clear();
    world.broadcasts.clear();
    world.blocks(PATIENCE);
    assert!(world.broadcasts.is_empty());
    world.blocks(1);
    assert_eq!(world.broadcasts_of(OPERATOR), [TxName::FactoryClose(0)]);
    world.blocks(MEMBERS_PATIENCE - PATIENCE);
    assert_eq!(world.broadcasts.iter().filter(|(party, ..)| *party == M1).count(), 1);
    assert_eq!(world.broadcasts_of(M1), [TxName::FactoryClose(0)]);
    // m2 does not hold it, and goes the other way.
    assert_eq!(world.happened(M2, &fell_back(Phase::SigningFactoryClose, Cause::Silence, &[OPERATOR])), 1);
    world.refused.clear();
    world.confirm(TxName::FactoryClose(0));
    for party in world.everybody() {
        assert_eq!(world.phase(party), Phase::Closed, "{party} sees it confirmed, whether or not it holds it");
    }
    let payout = &world.factory().terms().members()[2].public.payout;
    assert_eq!(world.ledger.balance(payout), sat(20_000));
}

#[test]
fn an_allocation_that_somebody_else_publishes_is_followed() {
    for steps in 0..3 {
        let mut world = paid();
        let mut phase = Phase::Live;
        if steps > 0 {
            world.operate(Command::SignCloses);
            phase = Phase::ClosesSigned;
        }
        if steps > 1 {
            world.operate(Command::SignFactoryClose);
            phase = Phase::FactoryCloseSigned;
        }
        world.command(M0, Command::Publish(TxName::Allocation)).unwrap();
        assert_eq!(world.broadcasts_of(M0), [TxName::Allocation]);
        world.mine(&[TxName::Allocation]);
        for party in world.everybody() {
            let event = fell_back(phase, Cause::AllocationConfirmed, &[]);
            assert_eq!(world.happened(party, &event), 1, "{party} in {phase}");
            assert_eq!(world.phase(party), Phase::OnChain);
        }
        let closes: &[_] = if steps > 0 { &[TxName::Close(0), TxName::Close(1), TxName::Close(2)] } else { &[] };
        assert_eq!(world.broadcasts_of(OPERATOR), closes);
        world.mine(closes);
        world.blocks(2);
        if steps > 0 {
            world.assert_phase(Phase::Closed);
        }
    }
}

#[test]
fn the_user_may_give_up_on_the_others() {
    let mut world = World::audited(2);
    world.operate(Command::Open);
    world.command(M0, Command::FallBack).unwrap();
    // Nothing of a member's is at stake before the funding is confirmed.
    let event = Event::Aborted { phase: Phase::Funding, cause: Cause::Command, culprits: vec![] };
    assert_eq!(world.happened(M0, &event), 1);
    assert_eq!(world.broadcasts_of(M0), []);

    let mut world = World::audited(2);
    world.tamper = change_exchange(M1, OPERATOR, |_| None);
    world.operate(Command::Open);
    world.operate(Command::FallBack);
    let event = Event::Aborted { phase: Phase::SigningRefunds, cause: Cause::Command, culprits: vec![] };
    assert_eq!(world.happened(OPERATOR, &event), 1);
    assert_eq!(event.to_string(), "gives up in phase `signing the refunds`: by command");

    let mut world = paid();
    world.command(M1, Command::FallBack).unwrap();
    assert_eq!(world.happened(M1, &fell_back(Phase::Live, Cause::Command, &[])), 1);
    settle(&mut world, M1, &[], REFUNDS, &PAID);

    // With the factory close in hand, that is the way.
    let mut world = paid();
    world.operate(Command::SignCloses);
    world.operate(Command::SignFactoryClose);
    world.command(M1, Command::FallBack).unwrap();
    assert_eq!(world.broadcasts_of(M1), [TxName::FactoryClose(0)]);
}

#[test]
fn the_ladder_is_climbed_with_patience() {
    let close_fee = FeeRule::Ladder(vec![rate(0), rate(1), rate(2)]);
    let mut world = World::audited_with(2, Offer { close_fee, ..Offer::default() });
    world.open();
    world.operate(Command::SignCloses);
    world.operate(Command::SignFactoryClose);
    world.broadcasts.clear();
    let rung = TxName::FactoryClose;
    world.operate(Command::Publish(rung(0)));
    assert_eq!(world.broadcasts_of(OPERATOR), [rung(0)]);
    for present in 0..2 {
        for _ in 0..PATIENCE {
            world.blocks(1);
            assert_eq!(world.broadcasts_of(OPERATOR), [rung(present)]);
        }
        world.blocks(1);
        assert_eq!(world.broadcasts_of(OPERATOR), [rung(present + 1)]);
    }
    // The last stays, for as long as it takes. Any rung may be the one that a miner takes.
    world.blocks(3 * PATIENCE);
    assert!(world.broadcasts_of(OPERATOR).iter().all(|name| *name == rung(2)));
    world.confirm(rung(1));
    world.assert_phase(Phase::Closed);
    world.broadcasts.clear();
    world.blocks(2);
    assert!(world.broadcasts.is_empty());
    let refused = world.command(OPERATOR, Command::Publish(rung(3))).unwrap_err();
    assert_eq!(refused.reason.to_string(), "cannot publish factory-close-3: there is no such variant");
}

/// A member holds a newer refund than the operator, which has signed it: whatever is published is known.
#[test]
fn a_state_that_only_the_other_side_holds_is_known_when_it_is_published() {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 50_000);
    world.tamper = change_exchange(M0, OPERATOR, |exchange| match exchange {
        Exchange::Complete { .. } => None,
        other => Some(other),
    });
    world.pay(M0, OPERATOR, 1_000);
    world.command(M0, Command::FallBack).unwrap();
    world.mine(&[TxName::Allocation]);
    world.blocks(279);
    assert!(world.broadcasts.iter().all(|(party, name, _)| *party == M0 || *name != TxName::Refund(0, 1)));
    assert_eq!(world.broadcasts_of(M0).last(), Some(&TxName::Refund(0, 2)));
    world.confirm(TxName::Refund(0, 2));
    assert_eq!(world.happened(OPERATOR, &Event::Confirmed(TxName::Refund(0, 2))), 1);
    world.assert_phase(Phase::Closed);
    let payout = &world.factory().terms().members()[0].public.payout;
    assert_eq!(world.ledger.balance(payout), sat(49_000));
}
