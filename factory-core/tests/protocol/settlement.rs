//! The end on chain: HTLCs that are taken or taken back, reorganisations, and old states.

use factory_core::protocol::{Cause, Command, Event, Phase};
use factory_core::{Party, TxName};

use crate::world::{M0, M1, OPERATOR, START, World, add, pay, preimage, sat};

const CLOSE: TxName = TxName::FactoryClose(0);
const SUCCESS: TxName = TxName::HtlcSuccess(0, 0);
const TIMEOUT: TxName = TxName::HtlcTimeout(0, 0);
const REFUND: TxName = TxName::Refund(0, 2);
const EXPIRY: u32 = 500;
/// State 2's lock, and 3 blocks for the allocation, the refund and the claim; and the patience.
const LAST_CHANCE: u32 = EXPIRY - 280 - 3 - 6;

fn other(party: Party) -> Party {
    if party == OPERATOR { M0 } else { OPERATOR }
}

fn advance_to(world: &mut World, height: u32) {
    assert!(world.ledger.height() < height);
    world.blocks(height - world.ledger.height());
}

/// A channel in state 2 with an HTLC of 5000 sat for preimage 1, which `offerer` offers.
fn with_htlc(offerer: Party) -> World {
    let mut world = World::audited(1);
    world.open();
    world.pay(OPERATOR, M0, 50_000);
    world.update(offerer, other(offerer), add(5_000, 1, EXPIRY));
    world.broadcasts.clear();
    world
}

fn claim(world: &mut World, party: Party) {
    world.command(party, Command::Claim { with: other(party), id: 0, preimage: preimage(1) }).unwrap();
    world.run();
}

fn went_on_chain(culprit: Party) -> Event {
    Event::FellBack { phase: Phase::Live, cause: Cause::HtlcExpiry, culprits: vec![culprit] }
}

/// Confirms the allocation and the refund, each as early as can be.
fn to_refund(world: &mut World) {
    world.mine(&[TxName::Allocation]);
    world.blocks(279);
    world.mine(&[REFUND]);
}

/// Sees what both sides are paid, if `winner` has the HTLC by the transaction of that name.
fn check_balances(world: &World, offerer: Party, winner: Party, name: TxName) {
    let claim = world.find(name);
    assert_eq!(claim.output.len(), 1);
    let fee = claim.vsize() as u64;
    assert_eq!(claim.output[0].value, sat(5_000 - fee), "the claim pays 1 sat/vB out of the HTLC");
    let refund = world.find(REFUND);
    // The operator pays for the refund, which has three outputs.
    let (mut member, mut operator) = (50_000, 50_000 - 197);
    *(if offerer == OPERATOR { &mut operator } else { &mut member }) -= 5_000;
    assert_eq!(refund.output.iter().map(|output| output.value.to_sat()).collect::<Vec<_>>(), [member, operator, 5_000]);
    *(if winner == OPERATOR { &mut operator } else { &mut member }) += 5_000 - fee;
    let terms = world.factory().terms();
    assert_eq!(world.ledger.balance(&terms.members()[0].public.payout), sat(member));
    assert_eq!(world.ledger.balance(&terms.operator().payout), sat(operator));
}

#[test]
fn an_htlc_is_taken_on_chain_with_the_preimage() {
    for offerer in [OPERATOR, M0] {
        let recipient = other(offerer);
        let mut world = with_htlc(offerer);
        world.mute.insert(offerer);
        advance_to(&mut world, LAST_CHANCE - 3);
        // There is time for the friendly way, but no answer.
        claim(&mut world, recipient);
        advance_to(&mut world, LAST_CHANCE - 1);
        assert_eq!(world.phase(recipient), Phase::Live);
        world.blocks(1);
        assert_eq!(world.happened(recipient, &went_on_chain(offerer)), 1);
        assert_eq!(world.broadcasts_of(recipient), [TxName::Allocation]);
        to_refund(&mut world);
        assert!(world.ledger.height() < EXPIRY);
        assert_eq!(world.broadcasts_of(recipient).last(), Some(&SUCCESS), "as soon as the refund is there");
        world.blocks(1);
        assert_eq!(world.broadcasts_of(recipient), [SUCCESS], "with every block");
        world.mine(&[SUCCESS]);
        let event = Event::Preimage { channel: 0, id: 0, preimage: preimage(1) };
        assert_eq!((world.happened(offerer, &event), world.happened(recipient, &event)), (1, 0));
        world.broadcasts.clear();
        world.blocks(1);
        assert_eq!(world.phase(recipient), Phase::OnChain, "not before the claim is deep enough");
        world.blocks(1);
        world.assert_phase(Phase::Closed);
        assert!(world.broadcasts.is_empty());
        check_balances(&world, offerer, recipient, SUCCESS);
    }
}

#[test]
fn an_expired_htlc_is_taken_back() {
    for offerer in [OPERATOR, M0] {
        let mut world = with_htlc(offerer);
        advance_to(&mut world, EXPIRY - 1);
        world.assert_phase(Phase::Live);
        world.blocks(1);
        assert_eq!(world.happened(offerer, &went_on_chain(other(offerer))), 1);
        assert_eq!(world.phase(other(offerer)), Phase::Live, "it has nothing to fear");
        to_refund(&mut world);
        assert_eq!(world.broadcasts_of(offerer).last(), Some(&TIMEOUT));
        world.confirm(TIMEOUT);
        world.assert_phase(Phase::Closed);
        assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Preimage { .. })));
        check_balances(&world, offerer, offerer, TIMEOUT);
    }
}

/// The refund is there before the HTLC expires: the offerer waits for the expiry to the block.
#[test]
fn an_htlc_is_not_taken_back_before_it_expires() {
    let mut world = with_htlc(OPERATOR);
    world.command(OPERATOR, Command::FallBack).unwrap();
    to_refund(&mut world);
    assert!(!world.broadcasts.iter().any(|(_, name, _)| *name == TIMEOUT));
    advance_to(&mut world, EXPIRY - 1);
    assert!(!world.broadcasts.iter().any(|(_, name, _)| *name == TIMEOUT));
    world.broadcasts.clear();
    world.blocks(1);
    assert_eq!(world.broadcasts_of(OPERATOR), [TIMEOUT], "the next block is the first that may hold it");
    world.confirm(TIMEOUT);
    assert_eq!(world.phase(OPERATOR), Phase::Closed);
    check_balances(&world, OPERATOR, OPERATOR, TIMEOUT);
}

/// The preimage comes when the refund is on chain already.
#[test]
fn a_late_preimage_is_used_at_once() {
    let mut world = with_htlc(OPERATOR);
    world.command(OPERATOR, Command::FallBack).unwrap();
    to_refund(&mut world);
    world.broadcasts.clear();
    claim(&mut world, M0);
    assert_eq!(world.broadcasts_of(M0), [SUCCESS]);
    world.confirm(SUCCESS);
    world.assert_phase(Phase::Closed);
    check_balances(&world, OPERATOR, M0, SUCCESS);
}

/// The last `depth` blocks are replaced by an empty one of the first one's height.
fn reorg(world: &mut World, depth: u32) {
    let height = world.ledger.height();
    world.ledger.reorg(depth).unwrap();
    world.broadcasts.clear();
    world.blocks(1);
    assert_eq!(world.ledger.height(), height - depth + 1);
    for party in world.everybody() {
        let seen = if let Party::Member(member) = party {
            world.members[member as usize].height()
        } else {
            world.operator.height()
        };
        assert_eq!(seen, height - depth + 1, "{party}");
    }
}

#[test]
fn an_htlcs_claim_survives_reorganisations() {
    let mut world = with_htlc(OPERATOR);
    world.command(OPERATOR, Command::FallBack).unwrap();
    to_refund(&mut world);
    claim(&mut world, M0);
    world.confirm(SUCCESS);
    world.assert_phase(Phase::Closed);
    // The claim is undone, and then the refund, too.
    reorg(&mut world, 3);
    assert_eq!(world.phase(M0), Phase::OnChain);
    assert_eq!(world.broadcasts_of(M0), [SUCCESS]);
    reorg(&mut world, 2);
    assert_eq!(world.broadcasts_of(M0), [REFUND]);
    world.mine(&[REFUND]);
    assert_eq!(world.broadcasts_of(M0), [SUCCESS]);
    world.confirm(SUCCESS);
    world.assert_phase(Phase::Closed);
    check_balances(&world, OPERATOR, M0, SUCCESS);
}

/// Two members, and the factory close is signed.
fn signed() -> World {
    let mut world = World::audited(2);
    world.open();
    world.pay(OPERATOR, M1, 40_000);
    world.operate(Command::SignCloses);
    world.operate(Command::SignFactoryClose);
    world.broadcasts.clear();
    world
}

#[test]
fn a_factory_close_is_final_only_when_it_is_deep() {
    let mut world = signed();
    world.command(OPERATOR, Command::Publish(CLOSE)).unwrap();
    world.mine(&[CLOSE]);
    world.blocks(1);
    world.assert_phase(Phase::FactoryCloseSigned);
    world.blocks(1);
    world.assert_phase(Phase::Closed);
    for party in world.everybody() {
        assert_eq!(world.happened(party, &Event::Confirmed(CLOSE)), 1);
        assert_eq!(world.happened(party, &Event::Closed), 1);
    }
    // A reorganisation that does not reach it changes nothing.
    reorg(&mut world, 2);
    world.blocks(2);
    world.assert_phase(Phase::Closed);
    for party in world.everybody() {
        assert_eq!(world.happened(party, &Event::Closed), 1);
    }
    assert!(world.broadcasts.is_empty());
}

/// Everybody who holds the factory close broadcasts it again, whoever published it.
#[test]
fn a_factory_close_that_is_undone_is_broadcast_by_all() {
    let mut world = signed();
    world.command(OPERATOR, Command::Publish(CLOSE)).unwrap();
    world.confirm(CLOSE);
    world.assert_phase(Phase::Closed);
    reorg(&mut world, 3);
    world.assert_phase(Phase::OnChain);
    for party in world.everybody() {
        let count = world.broadcasts.iter().filter(|(who, name, _)| (*who, *name) == (party, CLOSE)).count();
        assert_eq!(count, 1, "{party}");
    }
    world.confirm(CLOSE);
    world.assert_phase(Phase::Closed);
    assert_eq!(world.happened(OPERATOR, &Event::Closed), 2, "it was closed, was not, and is again");
    world.broadcasts.clear();
    world.blocks(1);
    assert!(world.broadcasts.is_empty());
}

#[test]
fn an_allocation_that_is_undone_may_give_way_to_the_factory_close() {
    let mut world = signed();
    world.command(M0, Command::Publish(TxName::Allocation)).unwrap();
    world.mine(&[TxName::Allocation]);
    world.assert_phase(Phase::OnChain);
    reorg(&mut world, 1);
    for party in world.everybody() {
        let count =
            world.broadcasts.iter().filter(|(who, name, _)| (*who, *name) == (party, TxName::Allocation)).count();
        assert_eq!(count, 1, "{party}");
    }
    world.confirm(CLOSE);
    world.assert_phase(Phase::Closed);
    let payout = &world.factory().terms().members()[1].public.payout;
    assert_eq!(world.ledger.balance(payout), sat(40_000));
}

#[test]
fn a_funding_that_is_undone_is_broadcast_again() {
    let mut world = World::audited(1);
    world.operate(Command::Open);
    world.mine(&[TxName::Funding]);
    world.blocks(1);
    reorg(&mut world, 2);
    assert_eq!(world.broadcasts_of(OPERATOR), [TxName::Funding]);
    world.assert_phase(Phase::Funding);
    // Its confirmations begin anew.
    world.mine(&[TxName::Funding]);
    world.blocks(1);
    world.assert_phase(Phase::Funding);
    world.blocks(1);
    world.assert_phase(Phase::Live);
    // Later, a channel that is live stays so, and works.
    reorg(&mut world, 3);
    assert_eq!(world.broadcasts_of(OPERATOR), [TxName::Funding]);
    world.confirm(TxName::Funding);
    world.assert_phase(Phase::Live);
    world.pay(OPERATOR, M0, 1_000);
    assert_eq!(world.happened(M0, &Event::Live { channel: 0 }), 1);
    let updated = Event::Updated { channel: 0, by: OPERATOR, change: pay(1_000), state: 1 };
    assert_eq!(world.happened(M0, &updated), 1);
}

/// Somebody has kept an old state, and nobody has published a newer one in time.
#[test]
fn an_old_state_is_reported_and_ends_the_channel() {
    let mut world = World::audited(1);
    world.open();
    let old = world.tx(TxName::Refund(0, 0)).transaction().clone();
    world.pay(OPERATOR, M0, 50_000);
    world.command(M0, Command::FallBack).unwrap();
    world.mine(&[TxName::Allocation]);
    world.blocks(287);
    assert!(world.ledger.height() > START + 288);
    world.mine_txs(&[old]);
    for party in world.everybody() {
        assert_eq!(world.happened(party, &Event::OldState { channel: 0 }), 1);
        assert_eq!(world.phase(party), Phase::OnChain, "it may be undone");
    }
    world.blocks(2);
    world.assert_phase(Phase::Closed);
    // A reorganisation above it does not bring the channel back; one that undoes it does.
    reorg(&mut world, 2);
    world.blocks(1);
    world.assert_phase(Phase::Closed);
    assert!(world.broadcasts.is_empty());
    reorg(&mut world, 3);
    world.assert_phase(Phase::OnChain);
    assert_eq!(world.broadcasts_of(M0), [TxName::Refund(0, 1)]);
    world.confirm(TxName::Refund(0, 1));
    world.assert_phase(Phase::Closed);
    assert_eq!(world.happened(M0, &Event::OldState { channel: 0 }), 1);
}
