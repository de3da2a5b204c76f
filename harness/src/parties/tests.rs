use std::path::Path;

use bitcoin::{Amount, OutPoint, Txid};

use super::*;
use crate::scenario::{Named, load_text};

const TEXT: &str = "\
name: a test
nodes:
  alice: { kind: core-31 }
factory:
  members: 2
  capacity: 1_000_000 sat
steps:
  - open
";

/// The messages to each member that did not arrive, and those that did.
fn to(outcome: &Outcome, member: u32) -> (Vec<MessageKind>, Vec<MessageKind>) {
    let of = |wanted: bool| {
        let kinds = outcome.noted.iter().filter_map(move |noted| match noted {
            Noted::Message { kind, to: Party::Member(to), arrived, .. } if *to == member && *arrived == wanted => {
                Some(*kind)
            }
            _ => None,
        });
        kinds.collect()
    };
    (of(false), of(true))
}

#[test]
fn what_is_sent_to_whoever_has_crashed_never_arrives() {
    let scenario = load_text(Path::new("test.yaml"), TEXT, &[]).unwrap().remove(0).scenario;
    let outpoint = OutPoint::new(Txid::from_raw_hash(bitcoin::hashes::Hash::all_zeros()), 0);
    let coins = vec![Coin { outpoint, value: Amount::from_sat(10_000_000) }];
    let wallet = payout_wallet(scenario.seed, Party::Operator);
    let mut parties = Parties::new(&scenario, wallet, coins);
    parties.keep_stores();
    let at = Moment::AfterSending(MessageKind::Joining);
    assert!(parties.crash(Crash { party: Named(Party::Member(0)), at }).is_none());
    let outcome = parties.command([(Party::Operator, Command::Open)]).unwrap();

    let crashes =
        outcome.noted.iter().filter(|noted| matches!(noted, Noted::Crash(Party::Member(0), moment) if *moment == at));
    assert_eq!(crashes.count(), 1);
    let (lost, arrived) = to(&outcome, 0);
    assert_eq!(arrived, [MessageKind::Invitation]);
    assert_eq!(lost, [MessageKind::Factory, MessageKind::Proposal]);
    let (lost, arrived) = to(&outcome, 1);
    assert_eq!(lost, []);
    assert_eq!(arrived[..3], [MessageKind::Invitation, MessageKind::Factory, MessageKind::Proposal]);
    assert!(parties.channel(Party::Member(0), 0).is_none(), "m0 knows nothing of the factory");
}
