//! Messages and commands that do not belong: refused by name, and without a trace.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, FeeRate, OutPoint, Txid};
use factory_core::protocol::{Agreement, Body, Command, Input, Member, Message, Operator, Step};
use factory_core::tx::funding::Coin;
use factory_core::{MemberKeys, Offer, OperatorKeys, Party, TxName, TxVersion, Wallet};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::world::{World, capacity, keys, offer, sat, script};

const OPERATOR: Party = Party::Operator;
const M0: Party = Party::Member(0);
const M1: Party = Party::Member(1);

fn refused(world: &mut World, from: Party, to: Party, message: Message) -> String {
    let error = world.message(from, to, message).unwrap_err();
    assert_eq!(error.culprit, Some(from));
    error.to_string()
}

fn held(tx: TxName, session: u32) -> Body {
    Body::Sign { tx, session, step: Step::Held }
}

fn member_keys(seed: u64) -> MemberKeys {
    keys(&mut ChaCha20Rng::seed_from_u64(seed))
}

#[test]
fn another_factory_is_refused_by_both_sides() {
    let (mut world, mut other) = (World::audited(2), World::new(3));
    world.open();
    other.open();
    let (this, that) = (world.factory().digest(), other.factory().digest());
    assert_ne!(this, that);
    for (from, to) in [(OPERATOR, M0), (M0, OPERATOR)] {
        for body in [Body::Ready, Body::Pay { state: 1, amount: sat(1) }, held(TxName::Allocation, 1)] {
            assert_eq!(
                refused(&mut world, from, to, Message::About { factory: that, body }),
                format!(
                    "message from {from} refused in phase `live`: the message is about another factory: expected \
                        {this}, found {that}"
                )
            );
        }
    }
    let factory = other.factory().clone();
    assert_eq!(
        refused(&mut world, OPERATOR, M0, Message::Factory(factory)),
        "message from operator refused in phase `live`: the factory differs from the one before"
    );
}

#[test]
fn strangers_are_refused() {
    let mut world = World::audited(2);
    world.open();
    let factory = world.factory().digest();
    for (from, to) in [(M1, M0), (M0, M0), (Party::Member(2), OPERATOR), (OPERATOR, OPERATOR)] {
        assert_eq!(
            refused(&mut world, from, to, Message::About { factory, body: Body::Ready }),
            format!("message from {from} refused in phase `live`: {from} has no channel with this party")
        );
    }
}

#[test]
fn what_one_side_says_the_other_may_not() {
    let mut world = World::audited(2);
    world.open();
    let factory = world.factory().clone();
    let about = |body| Message::About { factory: factory.digest(), body };
    let invite = Message::Invite { member: 0, capacity: capacity(0), offer: offer() };
    let proposal = Body::Sign {
        tx: TxName::Allocation,
        session: 1,
        step: Step::Propose(factory_core::protocol::Proposal::Allocation),
    };
    for (from, to, message, expected) in [
        (M0, OPERATOR, invite, "a message that only the operator sends does not belong here"),
        (
            M0,
            OPERATOR,
            Message::Factory(factory.clone()),
            "a message that only the operator sends does not belong here",
        ),
        (M0, OPERATOR, about(proposal), "a step that only the operator takes does not belong here"),
        (
            M0,
            OPERATOR,
            about(held(TxName::Close(0), 1)),
            "a step of a signing session that was not proposed does not belong here",
        ),
        (
            M0,
            OPERATOR,
            about(held(TxName::Allocation, 2)),
            "a step of a signing session that was not proposed does not belong here",
        ),
        (M0, OPERATOR, Message::Join(member_keys(1).public()), "the join differs from the one before"),
        (OPERATOR, M0, Message::Join(member_keys(1).public()), "a message that only members send does not belong here"),
        (OPERATOR, M0, about(held(TxName::Allocation, 1)), "a step that only members take does not belong here"),
        (
            OPERATOR,
            M0,
            about(held(TxName::FactoryClose, 1)),
            "a step of a signing session that this party does not take part in does not belong here",
        ),
    ] {
        let expected = format!("message from {from} refused in phase `live`: {expected}");
        assert_eq!(refused(&mut world, from, to, message), expected);
    }
    world.operate(Command::SignCloses);
    assert_eq!(
        refused(&mut world, M0, OPERATOR, about(held(TxName::Close(1), 1))),
        "message from m0 refused in phase `closes signed`: m0 does not sign close-m1"
    );
}

#[test]
fn nobody_joins_with_what_would_spoil_it_for_all() {
    let mut world = World::audited(3);
    world.command(OPERATOR, Command::Open).unwrap();
    let first = member_keys(1).public();
    world.message(M0, OPERATOR, Message::Join(first.clone())).unwrap();
    let other = member_keys(2).public();
    let copy = |change: &dyn Fn(&mut factory_core::MemberPublic)| {
        let mut public = other.clone();
        change(&mut public);
        Message::Join(public)
    };
    for (message, expected) in [
        (copy(&|public| public.factory = first.factory), "its factory key is that of m0"),
        (copy(&|public| public.channel = first.channel), "its channel key is that of m0"),
        (
            copy(&|public| public.payout = bitcoin::ScriptBuf::from_bytes(vec![0x51])),
            "payout script: expected pay-to-taproot, found 51",
        ),
    ] {
        let expected = format!("message from m1 refused in phase `joining`: {expected}");
        assert_eq!(refused(&mut world, M1, OPERATOR, message), expected);
    }
    let changed = Message::Join(other.clone());
    assert_eq!(
        refused(&mut world, M0, OPERATOR, changed),
        "message from m0 refused in phase `joining`: the join differs from the one before"
    );
    world.message(M1, OPERATOR, Message::Join(other)).unwrap();
}

#[test]
fn a_member_joins_only_as_agreed() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let agreement = Agreement { offer: offer(), capacity: capacity(0) };
    let mut member = Member::new(0, member_keys(1), agreement);
    let invite = |member, capacity, offer| Message::Invite { member, capacity, offer };
    for (message, expected) in [
        (invite(1, capacity(0), offer()), "member: expected m0, found m1"),
        (invite(0, sat(99_999), offer()), "capacity: expected 0.00100000 BTC, found 0.00099999 BTC"),
        (invite(0, capacity(0), Offer { version: TxVersion::Three, ..offer() }), "version: expected 2, found 3"),
        (
            invite(0, capacity(0), Offer { feerate: FeeRate::from_sat_per_kwu(251), ..offer() }),
            "feerate: expected 250 sat/kwu, found 251 sat/kwu",
        ),
        (invite(0, capacity(0), Offer { confirmations: 2, ..offer() }), "confirmations: expected 3, found 2"),
    ] {
        let error = member.handle(Input::Message { from: OPERATOR, message }, &mut rng).unwrap_err();
        assert_eq!(error.to_string(), format!("message from operator refused in phase `new`: {expected}"));
    }
}

/// The factory that m0 gets is not the one that it joined, in one respect after the other.
#[test]
fn a_member_checks_the_factory_before_its_allocation() {
    let factory_with =
        |operator_capacity: Amount, other: Offer, index: usize, change: &dyn Fn(&mut factory_core::MemberPublic)| {
            let mut rng = ChaCha20Rng::seed_from_u64(5);
            let wallet = Wallet::generate(&mut rng);
            let operator = OperatorKeys::generate(&mut rng, script(1)).public();
            let mut members: Vec<_> = [1, 2]
                .map(|seed| factory_core::MemberTerms { public: member_keys(seed).public(), capacity: capacity(0) })
                .into();
            change(&mut members[index].public);
            members[index].capacity = operator_capacity;
            let terms = factory_core::Terms::new(other, operator, members).unwrap();
            let coin = Coin { outpoint: OutPoint::new(Txid::from_byte_array([1; 32]), 0), value: sat(10_000_000) };
            let feerate = FeeRate::from_sat_per_vb_u32(1);
            let funding = factory_core::tx::funding::build(&wallet, &[coin], terms.factory_output(), feerate).unwrap();
            std::sync::Arc::new(factory_core::Factory::new(terms, funding.transaction()).unwrap())
        };
    let stranger = member_keys(9).public();
    let none = |_: &mut factory_core::MemberPublic| ();
    for (factory, expected) in [
        (factory_with(capacity(0), offer(), 0, &|public| public.factory = stranger.factory), "factory key: expected "),
        (factory_with(capacity(0), offer(), 0, &|public| public.channel = stranger.channel), "channel key: expected "),
        (factory_with(capacity(0), offer(), 0, &|public| public.payout = script(7)), "payout script: expected "),
        (factory_with(sat(90_000), offer(), 0, &none), "capacity: expected 0.00100000 BTC, found 0.00090000 BTC"),
        (
            factory_with(capacity(0), Offer { version: TxVersion::Three, ..offer() }, 0, &none),
            "version: expected 2, found 3",
        ),
    ] {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut member = Member::new(0, member_keys(1), Agreement { offer: offer(), capacity: capacity(0) });
        let mut say = |message| member.handle(Input::Message { from: OPERATOR, message }, &mut rng);
        let early = say(Message::Factory(factory.clone())).unwrap_err().to_string();
        assert_eq!(
            early,
            "message from operator refused in phase `new`: a factory before the invitation does not belong here"
        );
        say(Message::Invite { member: 0, capacity: capacity(0), offer: offer() }).unwrap();
        let error = say(Message::Factory(factory)).unwrap_err().to_string();
        let start = format!("message from operator refused in phase `joining`: {expected}");
        assert!(error.starts_with(&start), "{error}");
    }
    // Somebody else's part is no business of m0's, and m2 is not in a factory of two.
    let factory = factory_with(sat(90_000), offer(), 1, &none);
    for (index, expected) in [(0, None), (2, Some("members: expected m2 among them, found 2 members"))] {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut member = Member::new(index, member_keys(1), Agreement { offer: offer(), capacity: capacity(0) });
        let mut say = |message| member.handle(Input::Message { from: OPERATOR, message }, &mut rng);
        say(Message::Invite { member: index, capacity: capacity(0), offer: offer() }).unwrap();
        let error = say(Message::Factory(factory.clone())).err().map(|error| error.reason.to_string());
        assert_eq!(error.as_deref(), expected);
    }
}

#[test]
fn an_operator_that_cannot_make_the_factory_invites_nobody() {
    let operator = |capacities: Vec<Amount>, coin: u64, offer| {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let wallet = Wallet::generate(&mut rng);
        let keys = OperatorKeys::generate(&mut rng, script(1));
        let coin = Coin { outpoint: OutPoint::new(Txid::from_byte_array([1; 32]), 0), value: sat(coin) };
        let feerate = FeeRate::from_sat_per_vb_u32(1);
        Operator::new(keys, wallet, vec![coin], offer, capacities, feerate)
    };
    for (mut operator, expected) in [
        (operator(vec![], 1_000_000, offer()), "a factory needs at least one member"),
        (
            operator(vec![sat(100_000); 3], 300_307, offer()),
            "the operator's wallet holds 0.00300307 BTC in 1 coins: the factory needs 0.00300197 BTC and the \
                funding's fee",
        ),
        (
            operator(vec![sat(813)], 1_000_000, offer()),
            "the capacity of m0's channel is 0.00000813 BTC: it must hold at least 0.00000814 BTC (the fee of its \
                close and two outputs that are not dust)",
        ),
        (
            operator(vec![sat(100_000)], 1_000_000, Offer { confirmations: 0, ..offer() }),
            "the funding needs at least 1 confirmation before the channels go live",
        ),
        (
            operator(vec![sat(100_000); 230], 100_000_000, Offer { version: TxVersion::Three, ..offer() }),
            "230 members make the factory-close 10001 vB, over the limit of 10000 vB for version 3 that nodes relay",
        ),
    ] {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let error = operator.handle(Input::Command(Command::Open), &mut rng).unwrap_err();
        assert_eq!(error.to_string(), format!("refused in phase `new`: {expected}"));
    }
}

#[test]
fn commands_in_the_wrong_place_are_refused() {
    let mut world = World::audited(2);
    let publish = Command::Publish;
    let expect = |world: &mut World, party, command, expected: &str| {
        let error = world.command(party, command).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.culprit), (expected, None));
    };
    for (party, command, expected) in [
        (OPERATOR, Command::SignCloses, "refused in phase `new`: to sign the closes does not belong here"),
        (OPERATOR, Command::SignFactoryClose, "refused in phase `new`: to sign the factory close does not belong here"),
        (
            OPERATOR,
            publish(TxName::Funding),
            "refused in phase `new`: cannot publish funding: not every member has joined",
        ),
        (
            OPERATOR,
            publish(TxName::Close(2)),
            "refused in phase `new`: cannot publish close-m2: there is no such member",
        ),
        (OPERATOR, publish(TxName::Allocation), "refused in phase `new`: cannot publish allocation: it is not signed"),
        (M0, Command::Open, "refused in phase `new`: only the operator can open a factory"),
        (M0, Command::SignCloses, "refused in phase `new`: only the operator can have the closes signed"),
        (M0, Command::SignFactoryClose, "refused in phase `new`: only the operator can have the factory close signed"),
        (
            M0,
            publish(TxName::Allocation),
            "refused in phase `new`: cannot publish allocation: its signature has not come",
        ),
    ] {
        expect(&mut world, party, command, expected);
    }
    // One acknowledgement short of complete: the funding stays back.
    world.tamper = crate::world::change_step(M0, OPERATOR, TxName::Allocation, |step| match step {
        Step::Held => Step::Propose(factory_core::protocol::Proposal::Allocation),
        step => step,
    });
    world.operate(Command::Open);
    assert_eq!(world.refusals().len(), 1);
    expect(
        &mut world,
        OPERATOR,
        publish(TxName::Funding),
        "refused in phase `signing the allocation`: cannot publish funding: not every member has acknowledged \
            that it holds the allocation",
    );
    let early = world.input(OPERATOR, Input::Confirmed { tx: TxName::Funding, confirmations: 3 }).unwrap_err();
    assert_eq!(
        early.to_string(),
        "refused in phase `signing the allocation`: a confirmation of the funding, which was not broadcast, does \
            not belong here"
    );
    world.tamper = None;
    world.operate(Command::Open);
    world.confirm(TxName::Funding, 3);
    for (party, command, expected) in [
        (OPERATOR, Command::Open, "refused in phase `live`: to open does not belong here"),
        (M0, publish(TxName::Funding), "refused in phase `live`: cannot publish funding: only the operator holds it"),
        (
            M0,
            publish(TxName::Close(1)),
            "refused in phase `live`: cannot publish close-m1: only the operator and the member whose channel it \
                closes hold it",
        ),
        (M0, publish(TxName::Close(0)), "refused in phase `live`: cannot publish close-m0: its signature has not come"),
        (
            M0,
            publish(TxName::FactoryClose),
            "refused in phase `live`: cannot publish factory-close: its signature has not come",
        ),
    ] {
        expect(&mut world, party, command, expected);
    }
    let unknown = world.input(M0, Input::Confirmed { tx: TxName::FactoryClose, confirmations: 3 }).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "refused in phase `live`: factory-close is confirmed, and this party does not hold it"
    );
}

/// The funding that a factory is bound to pays to it: that is checked where factories are made.
#[test]
fn a_funding_that_does_not_pay_to_the_factory_makes_none() {
    let mut world = World::new(2);
    world.open();
    let terms = || world.factory().terms().clone();
    let mut funding = world.tx(TxName::Funding).transaction().clone();
    assert_eq!(factory_core::Factory::new(terms(), &funding).unwrap().digest(), world.factory().digest());
    funding.output[0].value += sat(1);
    let script = format!("{:x}", terms().factory_output().script_pubkey);
    assert_eq!(
        factory_core::Factory::new(terms(), &funding).unwrap_err().to_string(),
        format!("output 0 of the funding: expected 0.00200155 BTC to {script}, found 0.00200156 BTC to {script}")
    );
    funding.output.clear();
    assert_eq!(
        factory_core::Factory::new(terms(), &funding).unwrap_err().to_string(),
        format!("output 0 of the funding: expected 0.00200155 BTC to {script}, found nothing")
    );
}
