//! Whole lifecycles, with every size, amount and signature checked.

use bitcoin::{Amount, ScriptBuf, Sequence, Transaction};
use factory_core::protocol::{Command, Event, Phase};
use factory_core::tx::size;
use factory_core::{FeeRule, LockKind, Offer, Party, TxName, TxVersion, fee};

use crate::world::{M1, M2, OPERATOR, World, capacity, rate, sat};

const CLOSE: TxName = TxName::FactoryClose(0);

fn paid_to(tx: &Transaction, script: &ScriptBuf) -> Vec<Amount> {
    tx.output.iter().filter(|output| output.script_pubkey == *script).map(|output| output.value).collect()
}

fn sum(amounts: impl IntoIterator<Item = Amount>) -> Amount {
    amounts.into_iter().sum()
}

/// Opens, pays each member its balance, and closes by the last rung. The balances are what each member was paid.
fn lifecycle(members: u32, offer: Offer, balance: impl Fn(u32) -> u64) -> World {
    let mut world = World::with(members, offer);
    world.operate(Command::Open);
    world.assert_phase(Phase::Funding);
    for party in world.everybody() {
        assert_eq!(world.transaction(party, TxName::Allocation).unwrap().txid(), world.factory().allocation().txid());
    }
    for member in 0..members {
        let first = TxName::Refund(member, 0);
        assert_eq!(world.transaction(Party::Member(member), first), world.transaction(OPERATOR, first));
        assert!(world.transaction(OPERATOR, first).is_some(), "the refund is there before the money");
    }
    assert_eq!(world.broadcasts_of(OPERATOR), [TxName::Funding]);

    world.mine(&[TxName::Funding]);
    world.blocks(world.offer.confirmations - 2);
    world.assert_phase(Phase::Funding);
    let confirmed =
        |world: &World| world.events.iter().filter(|(_, event)| matches!(event, Event::Confirmed(_))).count();
    assert_eq!(confirmed(&world), 0, "every party waits for 3 confirmations");
    world.blocks(1);
    world.assert_phase(Phase::Live);
    assert_eq!(confirmed(&world), members as usize + 1);
    let live = |(party, event): &(Party, Event)| match event {
        Event::Live { channel } => Some((*party, *channel)),
        _ => None,
    };
    let mut live: Vec<_> = world.events.iter().filter_map(live).collect();
    live.sort_unstable();
    let both = (0..members).map(|member| (OPERATOR, member)).chain((0..members).map(|m| (Party::Member(m), m)));
    assert_eq!(live, both.collect::<Vec<_>>());
    for member in 0..members {
        if balance(member) > 0 {
            world.pay(OPERATOR, Party::Member(member), balance(member));
        }
    }
    world.operate(Command::SignCloses);
    world.assert_phase(Phase::ClosesSigned);
    world.operate(Command::SignFactoryClose);
    world.assert_phase(Phase::FactoryCloseSigned);
    for party in world.everybody() {
        for rung in 0..world.offer.close_fee.rungs() as u8 {
            let name = TxName::FactoryClose(rung);
            assert_eq!(world.transaction(party, name).unwrap().as_ref(), world.tx(name));
            assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(name)), 1);
        }
    }
    let last = TxName::FactoryClose(world.offer.close_fee.rungs() as u8 - 1);
    world.broadcasts.clear();
    world.operate(Command::Publish(last));
    assert_eq!(world.broadcasts_of(OPERATOR), [last]);
    world.confirm(last);
    world.assert_phase(Phase::Closed);
    for party in world.everybody() {
        assert_eq!(world.happened(party, &Event::Closed), 1, "{party}");
    }
    assert!(world.ledger.is_conserved());
    check_money(&world, balance);
    world
}

/// Everything that must hold of the transactions of a finished lifecycle, whatever the balances. The ledger has
/// verified the witnesses of what was in blocks; the rest is verified here by mining it in a world of its own.
fn check_money(world: &World, balance: impl Fn(u32) -> u64) {
    let terms = world.factory().terms();
    let tx = |name| world.tx(name).transaction();
    let (funding, allocation, close) = (tx(TxName::Funding), tx(TxName::Allocation), tx(CLOSE));
    let members = world.members.len() as u32;
    for spender in [allocation, close] {
        assert_eq!(spender.input[0].previous_output.txid, funding.compute_txid());
    }
    let factory_value = funding.output[0].value;
    let allocation_fee = world.tx(TxName::Allocation).fee();
    assert_eq!(factory_value, sum((0..members).map(capacity)) + allocation_fee);
    assert_eq!(sum(allocation.output.iter().map(|output| output.value)) + allocation_fee, factory_value);

    let mut operator_total = Amount::ZERO;
    let mut fees = allocation_fee;
    for member in 0..members {
        let name = TxName::Close(member);
        let channel_close = world.tx(name).transaction();
        assert_eq!(channel_close.input[0].previous_output.txid, allocation.compute_txid());
        assert_eq!(channel_close.input[0].previous_output.vout, member);
        assert_eq!(world.transaction(Party::Member(member), name).unwrap().as_ref(), world.tx(name));

        let payout = &terms.members()[member as usize].public.payout;
        let expected = if balance(member) < 330 { vec![] } else { vec![sat(balance(member))] };
        assert_eq!(paid_to(channel_close, payout), expected, "m{member} by its close");
        // The refund of the same state pays the same, too.
        let state = world.end(OPERATOR, member).agreed().unwrap().number();
        assert_eq!(state, u32::from(balance(member) > 0));
        let refund = world.tx(TxName::Refund(member, state));
        assert_eq!(refund.transaction().output, channel_close.output, "m{member} by its refund");
        let lock = 288 - 4 * state as u16;
        assert_eq!(refund.transaction().input[0].sequence, Sequence::from_height(lock));
        for rung in 0..world.offer.close_fee.rungs() as u8 {
            assert_eq!(paid_to(tx(TxName::FactoryClose(rung)), payout), expected, "m{member} by rung {rung}");
        }
        operator_total += sum(paid_to(channel_close, &terms.operator().payout));
        fees += world.tx(name).fee();
        assert_eq!(capacity(member), sum(channel_close.output.iter().map(|o| o.value)) + world.tx(name).fee());
    }
    let closes = (0..members).map(TxName::Close);
    let shared = closes.clone().chain([TxName::Allocation]).map(|name| world.tx(name));
    let rungs = (0..world.offer.close_fee.rungs() as u8).map(|rung| world.tx(TxName::FactoryClose(rung)));
    let version = if world.offer.version == TxVersion::Two { 2 } else { 3 };
    for complete in shared.chain(rungs.clone()) {
        let tx = complete.transaction();
        assert_eq!(tx.input.len(), 1);
        assert_eq!(tx.input[0].sequence, Sequence(0xffff_fffd));
        assert_eq!((tx.version.0, tx.lock_time.to_consensus_u32()), (version, 0));
        assert_eq!(complete.txid(), tx.compute_txid());
    }
    let outputs = close.output.len();
    for (complete, premium) in rungs.zip(world.offer.close_fee.premiums()) {
        let members_outputs = outputs - usize::from(operator_total > Amount::ZERO);
        let kind = world.offer.lock;
        let vsize = size::lock_spend(kind, members as usize + 1, members_outputs + 1).to_vbytes_ceil();
        let premium = fee(*premium, vsize).unwrap().min(operator_total);
        let operator = paid_to(complete.transaction(), &terms.operator().payout);
        assert!(operator.len() <= 1, "the operator's outputs are merged");
        assert_eq!(sum(operator), operator_total - premium, "the operator pays the premium, and nobody else");
        assert_eq!(complete.fee(), fees + premium, "the fees that it cuts through, and the premium");
        let paid = sum(complete.transaction().output.iter().map(|output| output.value));
        assert_eq!(paid + complete.fee(), factory_value);
    }
    assert_eq!(funding.weight(), size::funding(1, 2));
    // 2 sat/vB, and the rest goes back.
    let fee = sat(2 * funding.vsize() as u64);
    assert_eq!(world.tx(TxName::Funding).fee(), fee);
    let change = bitcoin::TxOut {
        value: world.coin.value - factory_value - fee,
        script_pubkey: world.operator_wallet.script_pubkey().clone(),
    };
    assert_eq!(funding.output[1..], [change]);
}

fn check_sizes(world: &World) {
    let members = world.members.len() as u64;
    let vsize = |name| world.tx(name).transaction().vsize() as u64;
    let long_count = |outputs| if outputs >= 253 { 2 } else { 0 };
    assert_eq!(vsize(TxName::Allocation), 68 + 43 * members + long_count(members));
    assert_eq!(vsize(CLOSE), 111 + 43 * members + long_count(members + 1));
    let kind = LockKind::MuSig2;
    assert_eq!(world.tx(TxName::Allocation).transaction().weight(), size::allocation(kind, members as usize));
    assert_eq!(world.tx(CLOSE).transaction().weight(), size::factory_close(kind, members as usize));
    for member in 0..world.members.len() as u32 {
        assert_eq!(vsize(TxName::Close(member)), 154);
        assert_eq!(world.tx(TxName::Close(member)).fee(), sat(154));
    }
    assert_eq!(world.tx(TxName::Allocation).fee(), sat(vsize(TxName::Allocation)));
}

fn full(members: u32) {
    let world = lifecycle(members, Offer::default(), |member| 10_000 + 7 * u64::from(member));
    check_sizes(&world);
}

#[test]
fn one_member() {
    full(1);
}

#[test]
fn three_members() {
    full(3);
}

#[test]
fn twenty_members() {
    full(20);
}

#[test]
fn two_hundred_members() {
    full(200);
}

/// Nothing takes a time that grows with the square of the number of members: this would show it.
#[test]
fn a_thousand_members() {
    full(1_000);
}

/// 252 channels: the factory close alone has 253 outputs.
#[test]
fn output_counts_of_three_bytes() {
    full(252);
}

/// Every kind of lock, with both versions, and every fee rule: 18 lifecycles.
#[test]
fn every_lock_version_and_fee_rule() {
    let mut count = 0;
    for lock in [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh] {
        for version in [TxVersion::Two, TxVersion::Three] {
            for close_fee in
                [FeeRule::Exact, FeeRule::Premium(rate(1)), FeeRule::Ladder(vec![rate(0), rate(2), rate(5)])]
            {
                let offer = Offer { lock, version, close_fee, ..Offer::default() };
                lifecycle(3, offer, |member| [0, 329, 40_000][member as usize]);
                count += 1;
            }
        }
    }
    assert_eq!(count, 18);
}

/// A premium that would take all that the operator has takes just that, and the members lose nothing.
#[test]
fn the_operators_output_bounds_the_premium() {
    let offer = Offer { close_fee: FeeRule::Ladder(vec![rate(1), rate(10_000)]), ..Offer::default() };
    let world = lifecycle(2, offer, |_| 20_000);
    assert_eq!(world.tx(TxName::FactoryClose(0)).transaction().output.len(), 3);
    assert_eq!(world.tx(TxName::FactoryClose(1)).transaction().output.len(), 2, "nothing is left for the operator");
}

/// Nothing, dust, the least that is not dust, and what leaves the operator dust, exactly not dust, and nothing.
#[test]
fn dust_is_left_out_alike_everywhere() {
    let most = |member: u32| capacity(member).to_sat() - 154;
    let balance = |member: u32| match member {
        0 => 0,
        1 => 329,
        2 => 330,
        3 => most(3) - 330,
        4 => most(4) - 329,
        _ => most(member),
    };
    let world = lifecycle(6, Offer::default(), balance);
    let outputs = |name| world.tx(name).transaction().output.len();
    assert_eq!((0..6).map(|member| outputs(TxName::Close(member))).collect::<Vec<_>>(), [1, 1, 2, 2, 1, 1]);
    assert_eq!(outputs(CLOSE), 5, "four members and the operator");
    assert_eq!(world.tx(TxName::Close(1)).fee(), sat(154 + 329));
    assert_eq!(world.tx(TxName::Close(4)).fee(), sat(154 + 329));
    let fees: Amount = (0..6).map(|member| world.tx(TxName::Close(member)).fee()).sum();
    assert_eq!(fees, sat(6 * 154 + 2 * 329));
    assert_eq!(world.tx(CLOSE).fee(), world.tx(TxName::Allocation).fee() + fees);
}

/// If everything is the members', the factory close has no output for the operator.
#[test]
fn an_operator_with_nothing_left_gets_no_output() {
    let world = lifecycle(3, Offer::default(), |member| capacity(member).to_sat() - 154);
    assert_eq!(world.tx(CLOSE).transaction().output.len(), 3);
}

/// The closes pay the same as the factory close would, and are valid on top of the allocation.
#[test]
fn the_closes_pay_out_too_if_there_is_no_factory_close() {
    let mut world = World::new(3);
    world.open();
    world.pay(OPERATOR, M1, 5_000);
    world.operate(Command::SignCloses);
    for (party, name) in [
        (M2, TxName::Allocation),
        (Party::Member(0), TxName::Close(0)),
        (M1, TxName::Close(1)),
        (OPERATOR, TxName::Close(1)),
        (OPERATOR, TxName::Close(0)),
        (OPERATOR, TxName::Close(2)),
    ] {
        world.command(party, Command::Publish(name)).unwrap();
        let (by, last, tx) = world.broadcasts.last().unwrap();
        assert_eq!((*by, *last, tx.as_ref()), (party, name, world.tx(name)));
    }
    world.mine(&[TxName::Allocation, TxName::Close(0), TxName::Close(1)]);
    world.blocks(2);
    assert_eq!(world.phase(Party::Member(0)), Phase::Closed);
    assert_eq!(world.phase(M1), Phase::Closed);
    assert_eq!(world.phase(M2), Phase::OnChain);
    assert_eq!(world.phase(OPERATOR), Phase::OnChain);
    world.confirm(TxName::Close(2));
    world.assert_phase(Phase::Closed);
    assert_eq!(world.happened(OPERATOR, &Event::Closed), 1);
    let payout = |member: usize| world.factory().terms().members()[member].public.payout.clone();
    assert_eq!([0, 1, 2].map(|member| world.ledger.balance(&payout(member)).to_sat()), [0, 5_000, 0]);
    let operator = world.ledger.balance(&world.factory().terms().operator().payout);
    assert_eq!(operator, sat(300_003 - 5_000 - 3 * 154));
}
