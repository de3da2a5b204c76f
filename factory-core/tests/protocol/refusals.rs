//! Messages and commands that do not belong: refused by name, and without a trace.

use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, FeeRate, OutPoint, Txid};
use factory_core::protocol::{
    Agreement, Body, Command, Content, Exchange, Input, Joint, Member, Message, Operator, Proposal, Proposed, Slot,
    Step,
};
use factory_core::tx::funding::Coin;
use factory_core::{
    FeeRule, LockKind, MemberPublic, Offer, OperatorKeys, Party, RefundLocks, Terms, TxName, TxVersion, Wallet,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::world::{M0, M1, M2, OPERATOR, World, capacity, change_step, keys, pay, rate, sat, script};

fn refused(world: &mut World, from: Party, to: Party, message: Message) -> String {
    let error = world.message(from, to, message).unwrap_err();
    assert_eq!(error.culprit, Some(from));
    error.to_string()
}

fn held(joint: Joint, session: u32) -> Body {
    Body::Sign { joint, session, step: Step::Held }
}

/// An invitation on the default terms, with the capacity of m0.
fn invitation(member: u32) -> Message {
    Message::Invite { member, capacity: capacity(0), offer: Arc::new(Offer::default()) }
}

fn held_state(number: u32) -> Body {
    Body::Channel(Box::new(Exchange::Held { slot: Slot::State(number) }))
}

fn allocation(world: &World) -> Proposed {
    Proposed { tx: world.factory().allocation().transaction().clone(), sighash: 0 }
}

#[test]
fn another_factory_is_refused_by_both_sides() {
    let (mut world, mut other) = (World::audited(2), World::new(3));
    world.open();
    other.open();
    let (this, that) = (world.factory().digest(), other.factory().digest());
    assert_ne!(this, that);
    for (from, to) in [(OPERATOR, M0), (M0, OPERATOR)] {
        for body in [Body::Ready, held_state(0), held(Joint::Allocation, 1)] {
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
    for (from, to) in [(M1, M0), (M0, M0), (M2, OPERATOR), (OPERATOR, OPERATOR)] {
        let message = world.about(Body::Ready);
        assert_eq!(
            refused(&mut world, from, to, message),
            format!("message from {from} refused in phase `live`: {from} has no channel with this party")
        );
    }
}

#[test]
fn what_one_side_says_the_other_may_not() {
    let mut world = World::audited(2);
    world.open();
    let proposal = Step::Propose(Arc::new(Proposal::Allocation(allocation(&world))));
    let propose = Body::Sign { joint: Joint::Allocation, session: 1, step: proposal };
    let nonce = world.history.iter().find_map(|(from, _, message)| match message {
        Message::About { body: Body::Channel(exchange), .. } if *from == OPERATOR => match &**exchange {
            Exchange::Propose { nonce, .. } => Some(nonce),
            _ => None,
        },
        _ => None,
    });
    let nonce = nonce.expect("the operator proposed the first state").clone();
    let exchange = |content| {
        let (proposed, nonce) = (allocation(&world), nonce.clone());
        world.about(Body::Channel(Box::new(Exchange::Propose { attempt: 9, content, proposed, nonce })))
    };
    let only_operator = "a message that only the operator sends does not belong here";
    for (from, to, message, expected) in [
        (M0, OPERATOR, invitation(0), only_operator),
        (M0, OPERATOR, Message::Factory(world.factory().clone()), only_operator),
        (M0, OPERATOR, world.about(propose), "a step that only the operator takes does not belong here"),
        (
            M0,
            OPERATOR,
            world.about(held(Joint::FactoryClose, 1)),
            "a step of a signing session that was not proposed does not belong here",
        ),
        (
            M0,
            OPERATOR,
            world.about(held(Joint::Allocation, 2)),
            "a step of a signing session that was not proposed does not belong here",
        ),
        (M0, OPERATOR, exchange(Content::FirstState), "a proposal that only the operator makes does not belong here"),
        (
            M0,
            OPERATOR,
            exchange(Content::Close { state: 0, balance: sat(0) }),
            "a proposal that only the operator makes does not belong here",
        ),
        (M0, OPERATOR, Message::Join(Box::new(keys(1).public())), "the join differs from the one before"),
        (
            OPERATOR,
            M0,
            Message::Join(Box::new(keys(1).public())),
            "a message that only members send does not belong here",
        ),
        (OPERATOR, M0, world.about(held(Joint::Allocation, 1)), "a step that only members take does not belong here"),
        (
            OPERATOR,
            M0,
            world.about(Body::Sign {
                joint: Joint::FactoryClose,
                session: 1,
                step: Step::Signatures(Arc::new(Vec::new())),
            }),
            "signatures that this party has no share in does not belong here",
        ),
    ] {
        let expected = format!("message from {from} refused in phase `live`: {expected}");
        assert_eq!(refused(&mut world, from, to, message), expected);
    }
}

/// Before there is a factory, nothing about one is taken.
#[test]
fn nothing_about_a_factory_comes_before_it() {
    let mut finished = World::new(2);
    finished.open();
    let mut world = World::audited(2);
    let ready = finished.about(Body::Ready);
    assert_eq!(
        refused(&mut world, OPERATOR, M0, ready.clone()),
        "message from operator refused in phase `new`: a message about a factory that is not there yet does not belong \
         here"
    );
    assert_eq!(
        refused(&mut world, M0, OPERATOR, ready),
        "message from m0 refused in phase `new`: what concerns a factory that is not there yet does not belong here"
    );
    assert_eq!(
        refused(&mut world, M0, OPERATOR, Message::Join(Box::new(keys(1).public()))),
        "message from m0 refused in phase `new`: a join before the invitation does not belong here"
    );
    // News of the funding comes after everybody holds the allocation.
    world.tamper = change_step(M0, OPERATOR, Joint::Allocation, |_| Step::Held);
    world.operate(Command::Open);
    assert_eq!(world.refusals().len(), 1);
    for (from, to, expected) in [
        (OPERATOR, M0, "news of the funding before this party holds the allocation does not belong here"),
        (M0, OPERATOR, "news of the funding before it is broadcast does not belong here"),
    ] {
        let ready = world.about(Body::Ready);
        assert_eq!(
            refused(&mut world, from, to, ready),
            format!("message from {from} refused in phase `signing the allocation`: {expected}")
        );
    }
}

#[test]
fn nobody_joins_with_what_would_spoil_it_for_all() {
    let mut world = World::audited(3);
    world.command(OPERATOR, Command::Open).unwrap();
    let first = keys(1).public();
    world.message(M0, OPERATOR, Message::Join(Box::new(first.clone()))).unwrap();
    let other = keys(2).public();
    let copy = |change: &dyn Fn(&mut MemberPublic)| {
        let mut public = other.clone();
        change(&mut public);
        Message::Join(Box::new(public))
    };
    let operator = crate::world::operator_keys().public();
    for (message, expected) in [
        (copy(&|public| public.factory = first.factory), "its factory key is that of m0"),
        (copy(&|public| public.channel = first.channel), "its channel key is that of m0"),
        (copy(&|public| public.factory = operator.factory), "its factory key is that of operator"),
        (copy(&|public| public.channel = operator.channel), "its channel key is that of operator"),
        (
            copy(&|public| public.payout = bitcoin::ScriptBuf::from_bytes(vec![0x51])),
            "payout script: expected pay-to-taproot, found 51",
        ),
    ] {
        let expected = format!("message from m1 refused in phase `joining`: {expected}");
        assert_eq!(refused(&mut world, M1, OPERATOR, message), expected);
    }
    let changed = Message::Join(Box::new(other.clone()));
    assert_eq!(
        refused(&mut world, M0, OPERATOR, changed),
        "message from m0 refused in phase `joining`: the join differs from the one before"
    );
    world.message(M1, OPERATOR, Message::Join(Box::new(other))).unwrap();
}

/// Every term of the offer that is not as agreed, and what is said of it.
fn other_offers() -> Vec<(Offer, &'static str)> {
    let agreed = Offer::default;
    let locks = |initial, step, minimum| RefundLocks { initial, step, minimum };
    let feerate = FeeRate::from_sat_per_kwu(251);
    let expected = "RefundLocks { initial: 288, step: 4, minimum: 8 }";
    assert_eq!(format!("{:?}", RefundLocks::default()), expected);
    vec![
        (Offer { version: TxVersion::Three, ..agreed() }, "version: expected 2, found 3"),
        (Offer { lock: LockKind::Wsh, ..agreed() }, "lock: expected musig2, found wsh"),
        (Offer { feerate, ..agreed() }, "feerate: expected 250 sat/kwu, found 251 sat/kwu"),
        (Offer { close_fee: FeeRule::Ladder(vec![FeeRate::ZERO]), ..agreed() }, "close fee: expected Exact, found "),
        (Offer { confirmations: 2, ..agreed() }, "confirmations: expected 3, found 2"),
        (Offer { refund_locks: locks(287, 4, 8), ..agreed() }, "refund locks: expected RefundLocks { initial: 288, "),
        (Offer { refund_locks: locks(288, 3, 8), ..agreed() }, "refund locks: expected RefundLocks { initial: 288, "),
        (Offer { refund_locks: locks(288, 4, 7), ..agreed() }, "refund locks: expected RefundLocks { initial: 288, "),
        (Offer { patience: 7, ..agreed() }, "patience: expected 6, found 7"),
    ]
}

#[test]
fn a_member_joins_only_as_agreed() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let agreement = Agreement { offer: Offer::default(), capacity: capacity(0) };
    let mut member = Member::new(0, keys(1), agreement);
    let invite = |member, capacity, offer| Message::Invite { member, capacity, offer: Arc::new(offer) };
    let others = other_offers().into_iter().map(|(offer, expected)| (invite(0, capacity(0), offer), expected));
    for (message, expected) in [
        (invite(1, capacity(0), Offer::default()), "member: expected m0, found m1"),
        (invite(0, sat(99_999), Offer::default()), "capacity: expected 0.00100000 BTC, found 0.00099999 BTC"),
    ]
    .into_iter()
    .chain(others)
    {
        let before = format!("{member:?}");
        let error = member.handle(Input::Message { from: OPERATOR, message }, &mut rng).unwrap_err();
        let start = format!("message from operator refused in phase `new`: {expected}");
        assert!(error.to_string().starts_with(&start), "{error}");
        assert_eq!(format!("{member:?}"), before);
    }
}

/// The factory that m0 gets is not the one that it joined, in one respect after the other.
#[test]
fn a_member_checks_the_factory_before_its_allocation() {
    let factory_with = |operator_capacity: Amount, other: Offer, index: usize, change: &dyn Fn(&mut MemberPublic)| {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let wallet = Wallet::generate(&mut rng);
        let operator = OperatorKeys::generate(&mut rng, script(1)).public();
        let mut members: Vec<_> =
            [1, 2].map(|seed| factory_core::MemberTerms { public: keys(seed).public(), capacity: capacity(0) }).into();
        change(&mut members[index].public);
        members[index].capacity = operator_capacity;
        let terms = Terms::new(other, operator, members).unwrap();
        let coin = Coin { outpoint: OutPoint::new(Txid::from_byte_array([1; 32]), 0), value: sat(10_000_000) };
        let feerate = FeeRate::from_sat_per_vb_u32(1);
        let funding = factory_core::tx::funding::build(&wallet, &[coin], terms.factory_output(), feerate).unwrap();
        Arc::new(factory_core::Factory::new(terms, funding.transaction()).unwrap())
    };
    let stranger = keys(9).public();
    let none = |_: &mut MemberPublic| ();
    let factories = [
        (
            factory_with(capacity(0), Offer::default(), 0, &|public| public.factory = stranger.factory),
            "factory key: expected ",
        ),
        (
            factory_with(capacity(0), Offer::default(), 0, &|public| public.channel = stranger.channel),
            "channel key: expected ",
        ),
        (
            factory_with(capacity(0), Offer::default(), 0, &|public| public.payout = script(7)),
            "payout script: expected ",
        ),
        (
            factory_with(sat(90_000), Offer::default(), 0, &none),
            "capacity: expected 0.00100000 BTC, found 0.00090000 BTC",
        ),
    ];
    let others = other_offers().into_iter();
    let others = others.map(|(offer, expected)| (factory_with(capacity(0), offer, 0, &none), expected));
    for (factory, expected) in factories.into_iter().chain(others) {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let agreement = Agreement { offer: Offer::default(), capacity: capacity(0) };
        let mut member = Member::new(0, keys(1), agreement);
        let mut say = |message| member.handle(Input::Message { from: OPERATOR, message }, &mut rng);
        say(invitation(0)).unwrap();
        let error = say(Message::Factory(factory)).unwrap_err().to_string();
        let start = format!("message from operator refused in phase `joining`: {expected}");
        assert!(error.starts_with(&start), "{error}");
    }
    // Somebody else's part is no business of m0's, and m2 is not in a factory of two.
    let factory = factory_with(sat(90_000), Offer::default(), 1, &none);
    for (index, expected) in [(0, None), (2, Some("members: expected m2 among them, found 2 members"))] {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut member = Member::new(index, keys(1), Agreement { offer: Offer::default(), capacity: capacity(0) });
        let mut say = |message| member.handle(Input::Message { from: OPERATOR, message }, &mut rng);
        say(invitation(index)).unwrap();
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
        Operator::new(keys, wallet, vec![coin], offer, capacities, rate(1))
    };
    let locks =
        |initial, step, minimum| Offer { refund_locks: RefundLocks { initial, step, minimum }, ..Offer::default() };
    let three = || Offer { version: TxVersion::Three, ..Offer::default() };
    let three_channels = || vec![sat(100_000); 3];
    for (mut operator, expected) in [
        (operator(vec![], 1_000_000, Offer::default()), "a factory needs at least one member"),
        (
            operator(three_channels(), 300_307, Offer::default()),
            "the operator's wallet holds 0.00300307 BTC in 1 coins: the factory needs 0.00300197 BTC and the \
                funding's fee",
        ),
        (
            operator(vec![sat(813)], 1_000_000, Offer::default()),
            "the capacity of m0's channel is 0.00000813 BTC: it must hold at least 0.00000814 BTC (the fee of its \
                close and two outputs that are not dust)",
        ),
        (
            operator(three_channels(), 1_000_000, Offer { confirmations: 0, ..Offer::default() }),
            "the funding needs at least 1 confirmation before the channels go live",
        ),
        (
            operator(three_channels(), 1_000_000, Offer { patience: 0, ..Offer::default() }),
            "a party must wait for others for at least 1 block",
        ),
        (
            operator(three_channels(), 1_000_000, locks(100, 0, 8)),
            "refund locks from 100 down to 8 blocks in steps of 0: expected a step of at least 1 and a minimum from 1 \
             to the initial lock",
        ),
        (
            operator(three_channels(), 1_000_000, locks(7, 1, 8)),
            "refund locks from 7 down to 8 blocks in steps of 1: expected a step of at least 1 and a minimum from 1 \
             to the initial lock",
        ),
        (
            operator(three_channels(), 1_000_000, Offer { close_fee: FeeRule::Ladder(vec![]), ..Offer::default() }),
            "a fee ladder has 1 to 16 rungs, found 0",
        ),
        (
            operator(vec![sat(100_000); 20], 100_000_000, Offer { lock: LockKind::Wsh, ..Offer::default() }),
            "20 members and the operator are 21 keys: a wsh lock holds at most 20",
        ),
        (
            operator(vec![sat(100_000); 230], 100_000_000, three()),
            "230 members make the factory-close 10001 vB, over the limit of 10000 vB for version 3 that nodes relay",
        ),
    ] {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let error = operator.handle(Input::Command(Command::Open), &mut rng).unwrap_err();
        assert_eq!(error.to_string(), format!("refused in phase `new`: {expected}"));
        assert_eq!(operator.phase(), factory_core::protocol::Phase::New);
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
    let nothing_yet = "refused in phase `new`: cannot publish allocation: there is no factory yet";
    let no_factory = "refused in phase `new`: what concerns a factory that is not there yet does not belong here";
    for (party, command, expected) in [
        (OPERATOR, Command::SignCloses, "refused in phase `new`: to sign the closes does not belong here"),
        (OPERATOR, Command::SignFactoryClose, "refused in phase `new`: to sign the factory close does not belong here"),
        (OPERATOR, publish(TxName::Allocation), nothing_yet),
        (M0, publish(TxName::Allocation), nothing_yet),
        (OPERATOR, Command::FallBack, no_factory),
        (M0, Command::FallBack, no_factory),
        (M0, Command::Update { with: OPERATOR, change: pay(1) }, no_factory),
    ] {
        expect(&mut world, party, command, expected);
    }
    // One acknowledgement short of complete: the funding stays back.
    world.tamper = change_step(M0, OPERATOR, Joint::Allocation, |step| match step {
        Step::Held => Step::Signatures(Arc::new(Vec::new())),
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
    world.tamper = None;
    world.operate(Command::Open);
    world.confirm(TxName::Funding);
    for (party, command, expected) in [
        (OPERATOR, Command::Open, "to open does not belong here"),
        (OPERATOR, Command::SignFactoryClose, "to sign the factory close does not belong here"),
        (M0, Command::Open, "only the operator can open a factory"),
        (M0, Command::SignCloses, "only the operator can have the closes signed"),
        (M0, Command::SignFactoryClose, "only the operator can have the factory close signed"),
        (M0, publish(TxName::Funding), "cannot publish funding: only the operator holds it"),
        (OPERATOR, publish(TxName::Close(2)), "cannot publish close-m2: there is no such member"),
        (
            M0,
            publish(TxName::Close(1)),
            "cannot publish close-m1: only the operator and the member whose channel it is hold it",
        ),
        (
            M0,
            publish(TxName::Refund(1, 0)),
            "cannot publish refund-m1-0: only the operator and the member whose channel it is hold it",
        ),
        (M0, publish(TxName::Refund(0, 1)), "cannot publish refund-m0-1: it is not the newest that this party holds"),
        (
            M0,
            publish(TxName::HtlcTimeout(0, 0)),
            "cannot publish htlc-timeout-m0-0: a claim is published by itself, when its time comes",
        ),
        (M0, publish(TxName::Close(0)), "cannot publish close-m0: it is not signed"),
        (M0, publish(TxName::FactoryClose(0)), "cannot publish factory-close: it is not signed"),
        (M0, publish(TxName::FactoryClose(1)), "cannot publish factory-close-1: it is not signed"),
    ] {
        expect(&mut world, party, command, &format!("refused in phase `live`: {expected}"));
    }
}

/// The funding that a factory is bound to pays to it: that is checked where factories are made.
#[test]
fn a_funding_that_does_not_pay_to_the_factory_makes_none() {
    let mut world = World::new(2);
    world.open();
    let terms = || world.factory().terms().clone();
    let mut funding = bitcoin::Transaction::clone(world.tx(TxName::Funding).transaction());
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
