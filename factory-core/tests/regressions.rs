//! What the fuzz targets have found, once each.

use std::collections::VecDeque;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, Txid};
use factory_core::protocol::{
    Agreement, Block, Body, Command, Content, Effect, Exchange, Input, Key, Member, Message, Operator, Phase,
    ProtocolError, Snapshot,
};
use factory_core::tx::funding::Coin;
use factory_core::{Change, MemberKeys, Offer, OperatorKeys, Party, RefundLocks, Wallet, hash_of};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

const CAPACITY: Amount = Amount::from_sat(100_000);
const M0: Party = Party::Member(0);

/// An operator and one member, all of whose messages arrive in order.
struct Pair {
    offer: Offer,
    operator: Operator,
    member: Member,
    rng: ChaCha20Rng,
    height: u32,
    under_way: VecDeque<(Party, Message)>,
    mempool: Vec<Arc<Transaction>>,
}

/// Terms under which four updates exhaust a channel.
fn short() -> Offer {
    Offer { refund_locks: RefundLocks { initial: 12, step: 2, minimum: 4 }, ..Offer::default() }
}

fn new_operator(offer: &Offer) -> Operator {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let payout = Wallet::generate(&mut rng).script_pubkey().clone();
    let keys = OperatorKeys::generate(&mut rng, payout);
    let coin = Coin { outpoint: OutPoint::new(Txid::from_byte_array([7; 32]), 0), value: Amount::from_sat(1_000_000) };
    let wallet = Wallet::generate(&mut rng);
    Operator::new(keys, wallet, vec![coin], offer.clone(), vec![CAPACITY], FeeRate::BROADCAST_MIN)
}

fn new_member(offer: &Offer) -> Member {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let payout = Wallet::generate(&mut rng).script_pubkey().clone();
    let agreement = Agreement { offer: offer.clone(), capacity: CAPACITY };
    Member::new(0, MemberKeys::generate(&mut rng, payout), agreement)
}

impl Pair {
    /// A channel that is live.
    fn live(offer: Offer) -> Self {
        let mut pair = Pair {
            operator: new_operator(&offer),
            member: new_member(&offer),
            offer,
            rng: ChaCha20Rng::seed_from_u64(3),
            height: 100,
            under_way: VecDeque::new(),
            mempool: Vec::new(),
        };
        pair.command(Party::Operator, Command::Open);
        pair.settle();
        (0..4).for_each(|_| pair.mine());
        assert_eq!((pair.operator.phase(), pair.member.phase()), (Phase::Live, Phase::Live));
        pair
    }

    fn give(&mut self, to: Party, input: Input) -> Result<(), ProtocolError> {
        let effects = match to {
            Party::Operator => self.operator.handle(input, &mut self.rng)?,
            Party::Member(_) => self.member.handle(input, &mut self.rng)?,
        };
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.under_way.push_back((to, message)),
                Effect::Broadcast { tx, .. } => self.mempool.push(tx.transaction().clone()),
                _ => {}
            }
        }
        Ok(())
    }

    fn command(&mut self, to: Party, command: Command) {
        self.give(to, Input::Command(command)).unwrap();
    }

    fn deliver(&mut self, to: Party, message: Message) -> Result<(), ProtocolError> {
        let from = if to == M0 { Party::Operator } else { M0 };
        self.give(to, Input::Message { from, message })
    }

    fn settle(&mut self) {
        while let Some((to, message)) = self.under_way.pop_front() {
            self.deliver(to, message).unwrap();
        }
    }

    fn pay(&mut self) {
        let change = Change::Pay { amount: Amount::from_sat(10_000) };
        self.command(Party::Operator, Command::Update { with: M0, change });
    }

    fn mine(&mut self) {
        self.height += 1;
        let block = Block { height: self.height, txs: std::mem::take(&mut self.mempool) };
        for party in [Party::Operator, M0] {
            self.give(party, Input::Block(block.clone())).unwrap();
        }
        self.settle();
    }
}

/// `block.height + 1` overflowed.
#[test]
fn the_highest_block_there_is_makes_everything_deep() {
    let mut pair = Pair::live(Offer::default());
    for party in [Party::Operator, M0] {
        pair.give(party, Input::Block(Block { height: u32::MAX, txs: Vec::new() })).unwrap();
    }
}

/// The member refused the claim after it had remembered the preimage, and then every block: it would never have gone on
/// chain for what is its own.
#[test]
fn a_claim_that_no_update_can_carry_out_goes_on_chain() {
    let mut pair = Pair::live(short());
    let (preimage, expiry) = ([5; 32], pair.height + 60);
    let change = Change::AddHtlc { amount: Amount::from_sat(9_000), hash: hash_of(&preimage), expiry };
    pair.command(Party::Operator, Command::Update { with: M0, change });
    pair.settle();
    for _ in 0..3 {
        pair.pay();
        pair.settle();
    }
    assert_eq!(pair.member.channel(0).unwrap().agreed().unwrap().number(), short().refund_locks.last_state());

    pair.command(M0, Command::Claim { with: Party::Operator, id: 0, preimage });
    while pair.member.phase() == Phase::Live {
        assert!(pair.height < expiry, "the HTLC expires, and nobody has done anything about it");
        pair.mine();
    }
    assert_eq!(pair.member.phase(), Phase::OnChain);
}

/// `base + 1` overflowed.
#[test]
fn a_proposal_on_top_of_the_highest_number_is_refused() {
    let mut pair = Pair::live(Offer::default());
    pair.pay();
    let (_, message) = pair.under_way.pop_front().unwrap();
    // The member has signed state 1, and does not hold it: it compares the next proposal's number with that.
    pair.deliver(M0, message.clone()).unwrap();
    let Message::About { factory, body: Body::Channel(exchange) } = message else { panic!("expected an exchange") };
    let Exchange::Propose { attempt, content, proposed, nonce } = *exchange else { panic!("expected a proposal") };
    let Content::State { change, .. } = content else { panic!("expected a state") };
    let content = Content::State { base: u32::MAX, change };
    let body = Body::Channel(Box::new(Exchange::Propose { attempt: attempt + 1, content, proposed, nonce }));
    let before = format!("{:?}", pair.member);
    pair.deliver(M0, Message::About { factory, body }).unwrap_err();
    assert_eq!(format!("{:?}", pair.member), before);
}

/// Twice the patience overflowed.
#[test]
fn a_patience_of_billions_of_blocks_is_for_ever() {
    let mut pair = Pair::live(Offer { patience: u32::MAX, ..Offer::default() });
    (0..20).for_each(|_| pair.mine());
    assert_eq!((pair.operator.phase(), pair.member.phase()), (Phase::Live, Phase::Live));
}

/// Sums of stored balances overflowed, a state without a predecessor had one counted from it, and more. What is stored
/// may be damaged: it is refused, or the party can go on with it.
#[test]
fn damaged_records_are_refused_or_harmless() {
    let mut pair = Pair::live(short());
    let (hash, expiry) = (hash_of(&[5; 32]), pair.height + 60);
    let change = Change::AddHtlc { amount: Amount::from_sat(9_000), hash, expiry };
    pair.command(Party::Operator, Command::Update { with: M0, change });
    pair.settle();
    // The last exchange is left in the middle, so that there is a proposal on one side and a release on the other.
    pair.pay();
    let (_, message) = pair.under_way.pop_front().unwrap();
    pair.deliver(M0, message).unwrap();

    let keys = [Key::Core, Key::Channel(0)];
    let of_operator = pair.operator.snapshot();
    let of_member = pair.member.snapshot();
    for (snapshot, is_operator) in [(&of_operator, true), (&of_member, false)] {
        for key in keys {
            let record = snapshot.get(key).unwrap();
            for at in 1..record.len() {
                for damaged in damages(record, at) {
                    let mut snapshot = snapshot.clone();
                    snapshot.put(key, damaged);
                    go_on(&pair.offer, &snapshot, is_operator);
                }
            }
        }
    }
}

fn damages(record: &[u8], at: usize) -> Vec<Vec<u8>> {
    let with = |value: &[u8]| [&record[..at], value, &record[at + 1..]].concat();
    // The largest numbers of 32 and of 64 bits, as `postcard` has them.
    let highest = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    vec![record[..at].to_vec(), with(&[0]), with(&[1]), with(&[0x7f]), with(&highest), with(&largest)]
}

fn go_on(offer: &Offer, snapshot: &Snapshot, is_operator: bool) {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let block = |height: u32| Input::Block(Block { height: height.saturating_add(1), txs: Vec::new() });
    if is_operator {
        let Ok(mut operator) = new_operator(offer).restore(snapshot) else { return };
        operator.handle(block(operator.height()), &mut rng).unwrap();
        new_operator(offer).restore(&operator.snapshot()).unwrap();
    } else {
        let Ok(mut member) = new_member(offer).restore(snapshot) else { return };
        member.handle(block(member.height()), &mut rng).unwrap();
        new_member(offer).restore(&member.snapshot()).unwrap();
    }
}
