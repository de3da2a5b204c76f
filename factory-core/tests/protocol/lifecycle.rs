//! Whole lifecycles, with every size, amount and signature checked.

use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Message as Digest, Secp256k1, XOnlyPublicKey, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxOut};
use factory_core::protocol::{Command, Event, Phase};
use factory_core::tx::{Complete, size};
use factory_core::{Party, TxName};

use crate::world::{World, capacity, sat};

const OPERATOR: Party = Party::Operator;

/// Verifies every input's signature as a node would: a key path spend (BIP 341) with the default sighash type, under
/// the key in the spent script, by a library other than the one that made it.
fn verify(tx: &Transaction, spent: &[TxOut]) {
    let secp = Secp256k1::verification_only();
    for (index, output) in spent.iter().enumerate() {
        let [signature] = tx.input[index].witness.to_vec().try_into().expect("one witness item");
        let signature = schnorr::Signature::from_slice(&signature).expect("64 bytes: the default sighash type");
        assert!(output.script_pubkey.is_p2tr());
        let key = XOnlyPublicKey::from_slice(&output.script_pubkey.as_bytes()[2..]).expect("a point");
        let sighash = SighashCache::new(tx)
            .taproot_key_spend_signature_hash(index, &Prevouts::All(spent), TapSighashType::Default)
            .unwrap();
        secp.verify_schnorr(&signature, &Digest::from_digest(sighash.to_byte_array()), &key).expect("a good signature");
    }
}

fn paid_to(tx: &Transaction, script: &ScriptBuf) -> Vec<Amount> {
    tx.output.iter().filter(|output| output.script_pubkey == *script).map(|output| output.value).collect()
}

fn sum(amounts: impl IntoIterator<Item = Amount>) -> Amount {
    amounts.into_iter().sum()
}

/// Opens, pays each member its balance, and closes. The balances are what each member was paid.
fn lifecycle(members: u32, balance: impl Fn(u32) -> u64) -> World {
    let mut world = World::new(members);
    world.operate(Command::Open);
    world.assert_phase(Phase::Funding);
    for party in world.everybody() {
        assert_eq!(world.transaction(party, TxName::Allocation).unwrap().txid(), world.factory().allocation().txid());
    }
    assert_eq!(world.watchers(TxName::Funding).len(), members as usize + 1, "every party watches the funding");
    assert_eq!(world.broadcasts.len(), 1);
    assert_eq!((world.broadcasts[0].0, world.broadcasts[0].1), (OPERATOR, TxName::Funding));

    world.confirm(TxName::Funding, 2);
    world.assert_phase(Phase::Funding);
    let confirmed =
        |world: &World| world.events.iter().filter(|(_, event)| matches!(event, Event::Confirmed(_))).count();
    assert_eq!(confirmed(&world), 0, "every party waits for 3 confirmations");
    world.confirm(TxName::Funding, 3);
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
        assert_eq!(
            world.transaction(party, TxName::FactoryClose).unwrap().txid(),
            world.tx(TxName::FactoryClose).txid()
        );
    }
    assert_eq!(world.happened(OPERATOR, &Event::HeldByAll(TxName::FactoryClose)), 1);

    world.operate(Command::Publish(TxName::FactoryClose));
    assert_eq!(world.broadcasts.len(), 2);
    world.confirm(TxName::FactoryClose, 3);
    world.assert_phase(Phase::Closed);
    check_money(&world, balance);
    world
}

/// Everything that must hold of the transactions of a finished lifecycle, whatever the balances.
fn check_money(world: &World, balance: impl Fn(u32) -> u64) {
    let terms = world.factory().terms();
    let tx = |name| world.tx(name).transaction();
    let (funding, allocation, close) = (tx(TxName::Funding), tx(TxName::Allocation), tx(TxName::FactoryClose));
    let members = world.members.len() as u32;

    let coin = TxOut { value: world.coin.value, script_pubkey: world.operator_wallet.script_pubkey().clone() };
    verify(funding, &[coin]);
    verify(allocation, &funding.output[..1]);
    verify(close, &funding.output[..1]);
    for spender in [allocation, close] {
        assert_eq!(spender.input[0].previous_output.txid, funding.compute_txid());
    }
    let factory_value = funding.output[0].value;
    assert_eq!(factory_value, sum((0..members).map(capacity)) + world.tx(TxName::Allocation).fee());

    let mut operator_total = Amount::ZERO;
    let mut fees = world.tx(TxName::Allocation).fee();
    for member in 0..members {
        let name = TxName::Close(member);
        let channel_close = world.tx(name).transaction();
        verify(channel_close, &allocation.output[member as usize..][..1]);
        assert_eq!(channel_close.input[0].previous_output.txid, allocation.compute_txid());
        assert_eq!(channel_close.input[0].previous_output.vout, member);
        assert_eq!(world.transaction(Party::Member(member), name).unwrap().as_ref(), world.tx(name));

        let payout = &terms.members()[member as usize].public.payout;
        let expected = if balance(member) < 330 { vec![] } else { vec![sat(balance(member))] };
        assert_eq!(paid_to(channel_close, payout), expected, "m{member} by its close");
        assert_eq!(paid_to(close, payout), expected, "m{member} by the factory close");
        operator_total += sum(paid_to(channel_close, &terms.operator().payout));
        fees += world.tx(name).fee();
        assert_eq!(capacity(member), sum(channel_close.output.iter().map(|o| o.value)) + world.tx(name).fee());
    }
    assert_eq!(sum(paid_to(close, &terms.operator().payout)), operator_total);
    assert!(paid_to(close, &terms.operator().payout).len() <= 1, "the operator's outputs are merged");
    assert_eq!(world.tx(TxName::FactoryClose).fee(), fees, "the sum of the fees that it cuts through");
    assert_eq!(sum(close.output.iter().map(|output| output.value)) + fees, factory_value);

    for complete in (0..members).map(TxName::Close).chain([TxName::Allocation, TxName::FactoryClose]) {
        let complete: &Complete = world.tx(complete);
        let tx = complete.transaction();
        assert_eq!(tx.input.len(), 1);
        assert_eq!(tx.input[0].sequence, Sequence(0xffff_fffd));
        assert_eq!((tx.version.0, tx.lock_time.to_consensus_u32()), (2, 0));
        assert_eq!(complete.txid(), tx.compute_txid());
        assert_eq!(tx.weight(), size::key_path_spend(tx.output.len()));
    }
    assert_eq!(funding.weight(), size::funding(1, 2));
}

fn check_sizes(world: &World) {
    let members = world.members.len() as u64;
    let vsize = |name| world.tx(name).transaction().vsize() as u64;
    let long_count = |outputs| if outputs >= 253 { 2 } else { 0 };
    assert_eq!(vsize(TxName::Allocation), 68 + 43 * members + long_count(members));
    assert_eq!(vsize(TxName::FactoryClose), 111 + 43 * members + long_count(members + 1));
    assert_eq!(world.tx(TxName::Allocation).transaction().weight(), size::allocation(world.members.len()));
    assert_eq!(world.tx(TxName::FactoryClose).transaction().weight(), size::factory_close(world.members.len()));
    for member in 0..world.members.len() as u32 {
        assert_eq!(vsize(TxName::Close(member)), 154);
        assert_eq!(world.tx(TxName::Close(member)).fee(), sat(154));
    }
    assert_eq!(world.tx(TxName::Allocation).fee(), sat(vsize(TxName::Allocation)));
}

fn full(members: u32) {
    let world = lifecycle(members, |member| 10_000 + 7 * u64::from(member));
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
    let world = lifecycle(6, balance);
    let outputs = |name| world.tx(name).transaction().output.len();
    assert_eq!((0..6).map(|member| outputs(TxName::Close(member))).collect::<Vec<_>>(), [1, 1, 2, 2, 1, 1]);
    assert_eq!(outputs(TxName::FactoryClose), 5, "four members and the operator");
    assert_eq!(world.tx(TxName::Close(1)).fee(), sat(154 + 329));
    assert_eq!(world.tx(TxName::Close(4)).fee(), sat(154 + 329));
}

/// If everything is the members', the factory close has no output for the operator.
#[test]
fn an_operator_with_nothing_left_gets_no_output() {
    let world = lifecycle(3, |member| capacity(member).to_sat() - 154);
    assert_eq!(world.tx(TxName::FactoryClose).transaction().output.len(), 3);
}

#[test]
fn the_closes_pay_out_too_if_there_is_no_factory_close() {
    let mut world = World::new(3);
    world.open();
    world.pay(OPERATOR, Party::Member(1), 5_000);
    world.operate(Command::SignCloses);
    for (party, name) in [
        (Party::Member(2), TxName::Allocation),
        (Party::Member(0), TxName::Close(0)),
        (Party::Member(1), TxName::Close(1)),
        (OPERATOR, TxName::Close(1)),
        (OPERATOR, TxName::Close(0)),
        (OPERATOR, TxName::Close(2)),
    ] {
        world.command(party, Command::Publish(name)).unwrap();
        let (by, last, tx) = world.broadcasts.last().unwrap();
        assert_eq!((*by, *last, tx.as_ref()), (party, name, world.tx(name)));
    }
    world.confirm(TxName::Close(0), 3);
    world.confirm(TxName::Close(1), 3);
    assert_eq!(world.phase(Party::Member(0)), Phase::Closed);
    assert_eq!(world.phase(Party::Member(2)), Phase::ClosesSigned);
    assert_eq!(world.phase(OPERATOR), Phase::ClosesSigned);
    world.confirm(TxName::Close(2), 3);
    assert_eq!(world.phase(OPERATOR), Phase::Closed);
    assert_eq!(world.happened(OPERATOR, &Event::Closed), 1);
}
