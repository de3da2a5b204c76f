//! Every field of every transaction that a party is asked to sign, changed on the way to it: each change is refused by
//! the name of the field, and leaves the party as it was.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, Sequence, Transaction, TxOut, Txid};
use factory_core::protocol::{
    Body, Command, Content, Exchange, Joint, Message, Mismatch, Proposal, Proposed, Reason, Step,
};
use factory_core::{Change, FeeRule, LockKind, Offer, Party, TxName, hash_of};

use crate::world::{M0, M1, OPERATOR, World, pay, rate, sat, script};

/// A changed proposal, and what is said of it.
struct Case<T> {
    name: String,
    changed: T,
    expected: Mismatch,
}

fn mismatch(field: &'static str, expected: impl ToString, found: impl ToString) -> Mismatch {
    Mismatch { field, expected: expected.to_string(), found: found.to_string() }
}

fn describe(index: usize, output: &TxOut) -> String {
    format!("{} to {:x} in output {index}", output.value, output.script_pubkey)
}

/// Every field of a transaction, changed in every way that matters. All fees come out of the output to `fee_payer`.
fn of_transaction(original: &Proposed, fee_payer: Option<&ScriptBuf>) -> Vec<Case<Proposed>> {
    let mut cases = Vec::new();
    let mut add = |name: String, change: &dyn Fn(&mut Transaction), expected| {
        let mut tx = Transaction::clone(&original.tx);
        change(&mut tx);
        assert_ne!(tx, *original.tx, "{name} changes something");
        cases.push(Case { name, changed: Proposed { tx: Arc::new(tx), sighash: original.sighash }, expected });
    };
    let tx = original.tx.as_ref();
    let input = &tx.input[0];

    for version in [1, tx.version.0 ^ 1, -1] {
        let expected = mismatch("version", tx.version.0, version);
        add(format!("version {version}"), &|tx| tx.version = Version(version), expected);
    }
    for lock_time in [1, 500_000_000] {
        let expected = mismatch("locktime", 0, lock_time);
        let change = |tx: &mut Transaction| tx.lock_time = LockTime::from_consensus(lock_time);
        add(format!("locktime {lock_time}"), &change, expected);
    }
    add("no input".into(), &|tx| tx.input.clear(), mismatch("inputs", 1, 0));
    add("one more input".into(), &|tx| tx.input.push(tx.input[0].clone()), mismatch("inputs", 1, 2));
    let spent = input.previous_output;
    for other in [OutPoint::new(Txid::from_byte_array([3; 32]), spent.vout), OutPoint::new(spent.txid, spent.vout + 1)]
    {
        let expected = mismatch("input", spent, other);
        add(format!("input {other}"), &|tx| tx.input[0].previous_output = other, expected);
    }
    let sequence = input.sequence.0;
    // One block more and less, relative locks on and off, by time and by height, final.
    for other in [sequence + 1, sequence - 1, sequence ^ 1 << 31, sequence ^ 1 << 22, u32::MAX] {
        let expected = mismatch("sequence", sequence, other);
        add(format!("sequence {other}"), &|tx| tx.input[0].sequence = Sequence(other), expected);
    }
    let script_sig = ScriptBuf::from_bytes(vec![0x51]);
    add("input script".into(), &|tx| tx.input[0].script_sig = script_sig.clone(), mismatch("input script", "", "51"));
    add("witness".into(), &|tx| tx.input[0].witness.push([1]), mismatch("witness items", 0, 1));

    let count = tx.output.len();
    let added = TxOut { value: sat(330), script_pubkey: script(9) };
    for at in 0..=count {
        let expected = mismatch("outputs", count, count + 1);
        add(format!("one more output at {at}"), &|tx| tx.output.insert(at, added.clone()), expected);
    }
    for (index, output) in tx.output.iter().enumerate() {
        let without = |tx: &mut Transaction| drop(tx.output.remove(index));
        add(format!("without output {index}"), &without, mismatch("outputs", count, count - 1));
        let other = TxOut { script_pubkey: script(9), ..output.clone() };
        let expected = mismatch("output script", describe(index, output), describe(index, &other));
        add(format!("script of output {index}"), &|tx| tx.output[index] = other.clone(), expected);
        let field =
            if fee_payer == Some(&output.script_pubkey) { "fee, from the operator's output" } else { "output amount" };
        for value in [output.value + sat(1), output.value - sat(1), sat(0)] {
            let other = TxOut { value, ..output.clone() };
            let expected = mismatch(field, describe(index, output), describe(index, &other));
            add(format!("{value} in output {index}"), &|tx| tx.output[index] = other.clone(), expected);
        }
        for second in index + 1..count {
            let expected = mismatch("output order", describe(index, output), describe(index, &tx.output[second]));
            add(format!("outputs {index} and {second} swapped"), &|tx| tx.output.swap(index, second), expected);
            // A satoshi from one to the other: that is no matter of fees, whoever pays them.
            let less = TxOut { value: output.value - sat(1), ..output.clone() };
            let expected = mismatch("output amount", describe(index, output), describe(index, &less));
            let shift = |tx: &mut Transaction| {
                tx.output[index].value -= sat(1);
                tx.output[second].value += sat(1);
            };
            add(format!("1 sat from output {index} to {second}"), &shift, expected);
        }
    }
    for sighash in [original.sighash ^ 1, 2, 3, 0x81, 0x82, 0x83] {
        let expected = mismatch("sighash type", original.sighash, sighash);
        let changed = Proposed { tx: original.tx.clone(), sighash };
        cases.push(Case { name: format!("sighash type {sighash}"), changed, expected });
    }
    cases
}

/// Runs until the proposal that `wanted` finds is on its way from one party to another, and takes it off the link.
fn intercept(
    world: &mut World,
    (from, to): (Party, Party),
    wanted: fn(&Body) -> bool,
    act: impl FnOnce(&mut World),
) -> Message {
    let found = Rc::new(RefCell::new(None));
    let keep = found.clone();
    world.tamper = Some(Box::new(move |sender, receiver, message| match &message {
        Message::About { body, .. } if (sender, receiver) == (from, to) && wanted(body) => {
            *keep.borrow_mut() = Some(message);
            None
        }
        _ => Some(message),
    }));
    act(world);
    world.tamper = None;
    found.take().expect("it was proposed")
}

/// Delivers every changed proposal to the party, and then the original.
fn check(world: &mut World, (from, to): (Party, Party), original: Message, cases: Vec<Case<Message>>) -> usize {
    let count = cases.len();
    for Case { name, changed, expected } in cases {
        let before = (world.dump(to), world.snapshot(to));
        let error = world.message(from, to, changed).expect_err(&name);
        assert_eq!((error.culprit, &error.reason), (Some(from), &Reason::Mismatch(expected.clone())), "{name}");
        let text = format!("{}: expected {}, found {}", expected.field, expected.expected, expected.found);
        assert!(error.to_string().ends_with(&text), "{name}: {error}");
        assert!((world.dump(to), world.snapshot(to)) == before, "{name} leaves a trace");
    }
    let sent = world.history.len();
    world.message(from, to, original).expect("the original is accepted");
    world.run();
    assert!(world.history.len() > sent, "and answered");
    assert_eq!(world.refused, []);
    count
}

fn is_joint(body: &Body) -> bool {
    matches!(body, Body::Sign { step: Step::Propose(_), .. })
}

fn is_exchange(body: &Body) -> bool {
    matches!(body, Body::Channel(exchange) if matches!(**exchange, Exchange::Propose { .. }))
}

fn exchange_cases(
    message: &Message,
    payer: &ScriptBuf,
    contents: impl FnOnce(&Proposed, Content) -> Vec<Case<Content>>,
) -> Vec<Case<Message>> {
    let Message::About { factory, body: Body::Channel(exchange) } = message else { panic!("an exchange") };
    let Exchange::Propose { attempt, content, proposed, nonce } = &**exchange else { panic!("a proposal") };
    let wrap = |content: Content, proposed: Proposed| {
        let exchange = Exchange::Propose { attempt: *attempt, content, proposed, nonce: nonce.clone() };
        Message::About { factory: *factory, body: Body::Channel(Box::new(exchange)) }
    };
    let of_transaction = of_transaction(proposed, Some(payer)).into_iter().map(|case| Case {
        name: case.name,
        changed: wrap(*content, case.changed),
        expected: case.expected,
    });
    let of_content = contents(proposed, *content).into_iter().map(|case| Case {
        name: case.name,
        changed: wrap(case.changed, proposed.clone()),
        expected: case.expected,
    });
    of_transaction.chain(of_content).collect()
}

fn operator_payout(world: &World) -> ScriptBuf {
    world.factory().terms().operator().payout.clone()
}

fn world(lock: LockKind) -> World {
    let close_fee = FeeRule::Ladder(vec![rate(0), rate(1), rate(3)]);
    World::audited_with(3, Offer { lock, close_fee, ..Offer::default() })
}

/// The first refund, to a member.
fn first_refund(lock: LockKind) -> usize {
    let mut world = world(lock);
    let message = intercept(&mut world, (OPERATOR, M1), is_exchange, |world| world.operate(Command::Open));
    let cases = exchange_cases(&message, &operator_payout(&world), |_, content| {
        assert_eq!(content, Content::FirstState);
        Vec::new()
    });
    check(&mut world, (OPERATOR, M1), message, cases)
}

fn allocation(lock: LockKind) -> usize {
    let mut world = world(lock);
    let message = intercept(&mut world, (OPERATOR, M1), is_joint, |world| world.operate(Command::Open));
    let Message::About {
        factory,
        body: Body::Sign { joint: Joint::Allocation, session, step: Step::Propose(proposal) },
    } = &message
    else {
        panic!("the proposal of the allocation")
    };
    let Proposal::Allocation(proposed) = proposal.as_ref() else { panic!("the allocation") };
    let cases = of_transaction(proposed, None).into_iter().map(|case| {
        let step = Step::Propose(Arc::new(Proposal::Allocation(case.changed)));
        let body = Body::Sign { joint: Joint::Allocation, session: *session, step };
        Case { name: case.name, changed: Message::About { factory: *factory, body }, expected: case.expected }
    });
    let cases = cases.collect();
    check(&mut world, (OPERATOR, M1), message, cases)
}

/// A refund with HTLCs in both directions, to either side.
fn refund((from, to): (Party, Party), lock: LockKind) -> usize {
    let mut world = world(lock);
    world.open();
    world.pay(OPERATOR, M1, 40_000);
    let add = |amount, byte| Change::AddHtlc { amount: sat(amount), hash: hash_of(&[byte; 32]), expiry: 1_000 };
    world.update(OPERATOR, M1, add(5_000, 1));
    world.update(M1, OPERATOR, add(6_000, 2));
    let message = intercept(&mut world, (from, to), is_exchange, |world| world.update(from, to, add(7_000, 3)));
    let cases = exchange_cases(&message, &operator_payout(&world), |proposed, content| {
        let Content::State { base: 3, change: Change::AddHtlc { amount, hash, expiry } } = content else {
            panic!("an HTLC on top of state 3: {content:?}")
        };
        let outputs = &proposed.tx.output;
        assert_eq!(outputs.len(), 5);
        // Who offers pays, from the output of its own.
        let own = usize::from(from == OPERATOR);
        let of = |change| Content::State { base: 3, change };
        let less = TxOut { value: outputs[own].value - sat(1), ..outputs[own].clone() };
        let more = TxOut { value: outputs[own].value + sat(1), ..outputs[own].clone() };
        let case = |name: &str, changed, expected| Case { name: name.to_owned(), changed, expected };
        let amounts = |other: &TxOut| mismatch("output amount", describe(own, other), describe(own, &outputs[own]));
        let base = |base: u32| Content::State { base, change: Change::AddHtlc { amount, hash, expiry } };
        vec![
            case("HTLC +1", of(Change::AddHtlc { amount: amount + sat(1), hash, expiry }), amounts(&less)),
            case("HTLC -1", of(Change::AddHtlc { amount: amount - sat(1), hash, expiry }), amounts(&more)),
            case("base 4", base(4), mismatch("base state", 3, 4)),
            case("base max", base(u32::MAX), mismatch("base state", 3, u32::MAX)),
            case("no HTLC", of(pay(7_000)), mismatch("outputs", 4, 5)),
        ]
    });
    // A hash or an expiry that differs makes another script, in the HTLC's output and in no other.
    let Message::About { factory, body: Body::Channel(exchange) } = &message else { panic!("an exchange") };
    let Exchange::Propose { attempt, proposed, nonce, .. } = &**exchange else { panic!("a proposal") };
    for (hash, expiry) in [(hash_of(&[4; 32]), 1_000), (hash_of(&[3; 32]), 999), (hash_of(&[3; 32]), 1_001)] {
        let content = Content::State { base: 3, change: Change::AddHtlc { amount: sat(7_000), hash, expiry } };
        let exchange =
            Exchange::Propose { attempt: *attempt, content, proposed: proposed.clone(), nonce: nonce.clone() };
        let changed = Message::About { factory: *factory, body: Body::Channel(Box::new(exchange)) };
        let error = world.message(from, to, changed).unwrap_err();
        let Reason::Mismatch(found) = error.reason else { panic!("{error}") };
        assert_eq!((found.field, found.found), ("output script", describe(4, &proposed.tx.output[4])));
        assert!(found.expected.starts_with("0.00007000 BTC to 5120") && found.expected.ends_with(" in output 4"));
    }
    3 + check(&mut world, (from, to), message, cases)
}

fn channel_close(lock: LockKind) -> usize {
    let mut world = world(lock);
    world.open();
    world.pay(OPERATOR, M1, 40_000);
    world.pay(OPERATOR, M1, 1_000);
    let message = intercept(&mut world, (OPERATOR, M1), is_exchange, |world| world.operate(Command::SignCloses));
    let cases = exchange_cases(&message, &operator_payout(&world), |_, content| {
        assert_eq!(content, Content::Close { state: 2, balance: sat(41_000) });
        let states = [0, 1, 3, u32::MAX].map(|state| Case {
            name: format!("state {state}"),
            changed: Content::Close { state, balance: sat(41_000) },
            expected: mismatch("state", 2, state),
        });
        let balances = [0, 40_999, 41_001, 99_847].map(|balance| Case {
            name: format!("balance {balance}"),
            changed: Content::Close { state: 2, balance: sat(balance) },
            expected: mismatch("balance", sat(41_000), sat(balance)),
        });
        states.into_iter().chain(balances).collect()
    });
    check(&mut world, (OPERATOR, M1), message, cases)
}

fn factory_close(lock: LockKind) -> usize {
    let mut world = world(lock);
    world.open();
    world.pay(OPERATOR, M0, 1_000);
    world.pay(OPERATOR, M1, 40_000);
    world.operate(Command::SignCloses);
    let message = intercept(&mut world, (OPERATOR, M1), is_joint, |world| world.operate(Command::SignFactoryClose));
    let Message::About { factory, body: Body::Sign { joint: Joint::FactoryClose, session, step } } = &message else {
        panic!("the proposal of the factory close")
    };
    let Step::Propose(proposal) = step else { panic!("a proposal") };
    let Proposal::FactoryClose { balances, rungs } = proposal.as_ref() else { panic!("the factory close") };
    assert_eq!((&balances[..], rungs.len()), (&[sat(1_000), sat(40_000), sat(0)][..], 3));
    let wrap = |balances: Arc<[_]>, rungs: Vec<_>| {
        let step = Step::Propose(Arc::new(Proposal::FactoryClose { balances, rungs }));
        Message::About { factory: *factory, body: Body::Sign { joint: Joint::FactoryClose, session: *session, step } }
    };
    let payer = operator_payout(&world);
    let mut cases = Vec::new();
    for (rung, proposed) in rungs.iter().enumerate() {
        for case in of_transaction(proposed, Some(&payer)) {
            let mut changed = rungs.clone();
            changed[rung] = case.changed;
            let name = format!("rung {rung}: {}", case.name);
            cases.push(Case { name, changed: wrap(balances.clone(), changed), expected: case.expected });
        }
    }
    let mut add = |name: &str, balances: &[u64], rungs: Vec<Proposed>, expected| {
        let changed = wrap(balances.iter().copied().map(sat).collect(), rungs);
        cases.push(Case { name: name.to_owned(), changed, expected });
    };
    let all = rungs.clone();
    add("balance -1", &[1_000, 39_999, 0], all.clone(), mismatch("balance", sat(40_000), sat(39_999)));
    add("balance +1", &[1_000, 40_001, 0], all.clone(), mismatch("balance", sat(40_000), sat(40_001)));
    add("one balance fewer", &[1_000, 40_000], all.clone(), mismatch("balances", 3, 2));
    add("one balance more", &[1_000, 40_000, 0, 0], all.clone(), mismatch("balances", 3, 4));
    let first = &rungs[0].tx.output[0];
    let less = TxOut { value: sat(999), ..first.clone() };
    let expected = mismatch("output amount", describe(0, &less), describe(0, first));
    add("another one's balance -1", &[999, 40_000, 0], all.clone(), expected);
    add("another one's output", &[1_000, 40_000, 400], all.clone(), mismatch("outputs", 4, 3));
    add("one rung fewer", &[1_000, 40_000, 0], all[..2].to_vec(), mismatch("variants", 3, 2));
    add("no rung", &[1_000, 40_000, 0], Vec::new(), mismatch("variants", 3, 0));
    let more = [&all[..], &all[..1]].concat();
    add("one rung more", &[1_000, 40_000, 0], more, mismatch("variants", 3, 4));
    let swapped = vec![all[1].clone(), all[0].clone(), all[2].clone()];
    let last = |rung: usize| describe(2, &rungs[rung].tx.output[2]);
    let expected = mismatch("fee, from the operator's output", last(0), last(1));
    add("rungs swapped", &[1_000, 40_000, 0], swapped, expected);
    check(&mut world, (OPERATOR, M1), message, cases)
}

/// A proposal that never arrives is made again, without a command.
#[test]
fn a_lost_proposal_is_made_again() {
    let mut world = world(LockKind::MuSig2);
    world.open();
    world.pay(OPERATOR, M1, 40_000);
    world.operate(Command::SignCloses);
    let lost = intercept(&mut world, (OPERATOR, M1), is_joint, |world| world.operate(Command::SignFactoryClose));
    drop(lost);
    world.blocks(2);
    for party in world.everybody() {
        assert!(world.transaction(party, TxName::FactoryClose(2)).is_some(), "{party}");
    }
}

/// How many changes there are to a transaction of so many outputs.
const fn changes(outputs: usize) -> usize {
    let pairs = outputs * (outputs - 1) / 2;
    let fields = 3 + 2 + 2 + 2 + 5 + 1 + 1 + 6;
    fields + (outputs + 1) + outputs * (1 + 1 + 3) + pairs * 2
}

#[test]
fn every_change_is_refused_by_the_name_of_its_field() {
    let mut total = 0;
    for lock in [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh] {
        for (name, found, expected) in [
            ("first refund", first_refund(lock), changes(1)),
            ("allocation", allocation(lock), changes(3)),
            ("refund to the member", refund((OPERATOR, M1), lock), changes(5) + 8),
            ("refund to the operator", refund((M1, OPERATOR), lock), changes(5) + 8),
            ("channel close", channel_close(lock), changes(2) + 8),
            ("factory close", factory_close(lock), 3 * changes(3) + 10),
        ] {
            assert_eq!(found, expected, "{name}, {lock}");
            total += found;
        }
    }
    assert_eq!(total, 1_302, "no change is lost from the table unnoticed");
}
