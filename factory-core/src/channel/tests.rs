use super::*;

const fn sat(sat: u64) -> Amount {
    Amount::from_sat(sat)
}

const MEMBER: Party = Party::Member(0);

fn rules(capacity: u64) -> ChannelRules {
    ChannelRules::new(0, &Offer::default(), sat(capacity))
}

fn pay(amount: u64) -> Change {
    Change::Pay { amount: sat(amount) }
}

fn add(amount: u64, preimage: [u8; 32]) -> Change {
    Change::AddHtlc { amount: sat(amount), hash: hash_of(&preimage), expiry: 500 }
}

fn amounts(state: &State) -> (u64, u64, u64, u32) {
    let pending: Amount = state.htlcs().iter().map(|htlc| htlc.amount).sum();
    (state.member().to_sat(), state.operator().to_sat(), pending.to_sat(), state.number())
}

#[test]
fn balances_move_and_stay_within_the_channel() {
    let rules = rules(10_000);
    let first = rules.first_state();
    let paid = first.after(&pay(9_846), Party::Operator, &rules).unwrap();
    assert_eq!(amounts(&paid), (9_846, 154, 0, 1));
    let back = paid.after(&pay(9_846), MEMBER, &rules).unwrap();
    assert_eq!(amounts(&back), (0, 10_000, 0, 2));

    for (state, payer, amount, expected) in [
        (
            &first,
            Party::Operator,
            9_847,
            "operator can pay 0.00009846 BTC in this channel, not 0.00009847 BTC (0.00000154 BTC are kept for the fee of the way out)",
        ),
        (&first, MEMBER, 1, "m0 can pay 0 BTC in this channel, not 0.00000001 BTC"),
        (&paid, MEMBER, 9_847, "m0 can pay 0.00009846 BTC in this channel, not 0.00009847 BTC"),
        (&paid, MEMBER, 0, "a payment must be at least 1 sat"),
    ] {
        assert_eq!(state.after(&pay(amount), payer, &rules).unwrap_err().to_string(), expected);
    }
}

#[test]
fn an_htlc_goes_to_its_recipient_or_back() {
    let rules = rules(100_000);
    let preimage = [7; 32];
    let paid = rules.first_state().after(&pay(40_000), Party::Operator, &rules).unwrap();
    for (offerer, recipient, fulfilled) in
        [(Party::Operator, MEMBER, (45_000, 55_000, 0, 3)), (MEMBER, Party::Operator, (35_000, 65_000, 0, 3))]
    {
        let pending = paid.after(&add(5_000, preimage), offerer, &rules).unwrap();
        assert_eq!(pending.htlcs().len(), 1);
        assert_eq!(amounts(&pending).2, 5_000, "offered by {offerer}");
        let take = Change::FulfilHtlc { id: 0, preimage };
        assert_eq!(amounts(&pending.after(&take, recipient, &rules).unwrap()), fulfilled);
        let failed = pending.after(&Change::FailHtlc { id: 0 }, recipient, &rules).unwrap();
        assert_eq!(amounts(&failed), (40_000, 60_000, 0, 3));
        assert_eq!(failed.next_htlc(), 1, "a number is used once");

        let other = Change::FulfilHtlc { id: 0, preimage: [8; 32] };
        let refused = |change: &Change, by| pending.after(change, by, &rules).unwrap_err();
        assert_eq!(refused(&other, recipient), ChangeError::WrongPreimage(0));
        assert_eq!(refused(&take, offerer), ChangeError::NotRecipient { id: 0, party: offerer });
        assert_eq!(refused(&Change::FailHtlc { id: 0 }, offerer), ChangeError::NotRecipient { id: 0, party: offerer });
        assert_eq!(refused(&Change::FailHtlc { id: 1 }, recipient), ChangeError::NoSuchHtlc(1));
    }
}

/// The smallest HTLC leaves its recipient exactly the dust limit; the operator keeps what the refund costs with it.
#[test]
fn htlcs_are_bounded() {
    let claim_fee = htlc::success_weight().to_vbytes_ceil();
    let rules = rules(2_000);
    let first = rules.first_state();
    let smallest = 330 + claim_fee;
    assert_eq!(
        first.after(&add(smallest - 1, [1; 32]), Party::Operator, &rules),
        Err(ChangeError::HtlcTooSmall { amount: sat(smallest - 1), minimum: sat(smallest) })
    );
    assert!(first.after(&add(smallest, [1; 32]), Party::Operator, &rules).is_ok());
    let reserve = rules.refund_fee(1);
    assert_eq!(reserve, sat(154 + 43));
    let most = first.after(&add(2_000 - 197, [1; 32]), Party::Operator, &rules).unwrap();
    assert_eq!(most.operator(), reserve);
    assert!(matches!(
        first.after(&add(2_000 - 196, [1; 32]), Party::Operator, &rules),
        Err(ChangeError::NotEnough { available, .. }) if available == sat(2_000 - 197)
    ));

    // A member's HTLC makes the operator's refund dearer, too.
    let paid = first.after(&pay(2_000 - 154 - 42), Party::Operator, &rules).unwrap();
    assert_eq!(
        paid.after(&add(smallest, [1; 32]), MEMBER, &rules),
        Err(ChangeError::Reserve { htlcs: 1, needed: sat(197), found: sat(196) })
    );
    let not_a_height = Change::AddHtlc { amount: sat(smallest), hash: [0; 32], expiry: 500_000_000 };
    assert_eq!(first.after(&not_a_height, Party::Operator, &rules), Err(ChangeError::NotAHeight(500_000_000)));
}

#[test]
fn pending_htlcs_are_counted() {
    let rules = rules(1_000_000);
    let mut state = rules.first_state();
    for index in 0..MAX_HTLCS {
        state = state.after(&add(1_000, [index as u8; 32]), Party::Operator, &rules).unwrap();
    }
    assert_eq!(state.after(&add(1_000, [99; 32]), Party::Operator, &rules), Err(ChangeError::TooManyHtlcs));
}

#[test]
fn updates_are_exhausted_when_the_lock_is_shortest() {
    let locks = RefundLocks { initial: 20, step: 6, minimum: 8 };
    assert_eq!([0, 1, 2, 3, u32::MAX].map(|state| locks.at(state)), [Some(20), Some(14), Some(8), None, None]);
    assert_eq!(locks.last_state(), 2);
    let rules = ChannelRules::new(0, &Offer { refund_locks: locks, ..Offer::default() }, sat(10_000));
    let one = rules.first_state().after(&pay(1), Party::Operator, &rules).unwrap();
    let two = one.after(&pay(1), Party::Operator, &rules).unwrap();
    assert_eq!(two.after(&pay(1), Party::Operator, &rules), Err(ChangeError::Exhausted { last: 2 }));
}

#[test]
fn dust_goes_to_the_fee() {
    let split = |balance| Split::new(sat(10_000), sat(balance), sat(154)).unwrap();
    for (balance, member, operator, fee) in [
        (0, None, Some(9_846), 154),
        (329, None, Some(9_517), 483),
        (330, Some(330), Some(9_516), 154),
        (9_516, Some(9_516), Some(330), 154),
        (9_517, Some(9_517), None, 483),
        (9_846, Some(9_846), None, 154),
    ] {
        let expected = Split { member: member.map(sat), operator: operator.map(sat), fee: sat(fee) };
        assert_eq!(split(balance), expected, "a balance of {balance}");
    }
    assert!(matches!(Split::new(sat(10_000), sat(9_847), sat(154)), Err(CloseError::OverCapacity { .. })));
}
