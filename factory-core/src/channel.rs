//! A channel between the operator and one member: who owns how much of it, and how it is split at the end.

use bitcoin::Amount;

use crate::name::Party;
use crate::terms::DUST_LIMIT;

/// The agreed balances of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    capacity: Amount,
    member: Amount,
    reserve: Amount,
    state: u64,
}

/// The outputs of a channel close. An output that would be dust is `None`, and its value goes to the fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// What the member gets.
    pub member: Option<Amount>,
    /// What the operator gets: the rest, less the fee.
    pub operator: Option<Amount>,
    /// What the miner gets.
    pub fee: Amount,
}

/// Returned when a payment cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// Returned when nothing is paid.
    #[error("a payment must be at least 1 sat")]
    Nothing,
    /// Returned when a party pays more than it has in the channel. The operator must also keep the reserve.
    #[error("{payer} can pay {available} in this channel, not {amount}{}", reserve_note(*.reserve))]
    NotEnough {
        /// Who would pay.
        payer: Party,
        /// What was to be paid.
        amount: Amount,
        /// What can be paid.
        available: Amount,
        /// What the payer has to keep.
        reserve: Amount,
    },
}

/// Returned when a close cannot give the members those balances.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Returned when a balance leaves the operator less than the fee of the close.
    #[error("a balance of {balance} leaves less than the close's fee of {fee} in a channel of {capacity}")]
    OverCapacity {
        /// What the member was to have.
        balance: Amount,
        /// What the channel holds.
        capacity: Amount,
        /// What the close costs.
        fee: Amount,
    },
    /// Returned when there is no such member.
    #[error("there is no member m{member} among {members}")]
    NoSuchMember {
        /// The number asked for.
        member: u32,
        /// How many there are.
        members: usize,
    },
    /// Returned when there is not one balance per member.
    #[error("{found} balances for {members} members")]
    BalanceCount {
        /// How many balances there are.
        found: usize,
        /// How many members there are.
        members: usize,
    },
}

fn reserve_note(reserve: Amount) -> String {
    if reserve == Amount::ZERO { String::new() } else { format!(" ({reserve} are kept for the close's fee)") }
}

impl Channel {
    /// A new channel, all of it the operator's, who keeps at least `reserve` in it.
    pub(crate) fn new(capacity: Amount, reserve: Amount) -> Self {
        Channel { capacity, member: Amount::ZERO, reserve, state: 0 }
    }

    /// The member's balance.
    pub fn member(&self) -> Amount {
        self.member
    }

    /// The operator's balance, out of which it will pay the fee of the close.
    pub fn operator(&self) -> Amount {
        self.capacity - self.member
    }

    /// The number of the state: how many payments have been made, either way.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// The channel after a payment of `amount` by `payer` to the other side.
    ///
    /// # Errors
    ///
    /// [`PaymentError`], if the payer cannot pay that.
    pub fn after_payment(&self, payer: Party, amount: Amount) -> Result<Channel, PaymentError> {
        let (held, reserve) = match payer {
            Party::Operator => (self.operator(), self.reserve),
            Party::Member(_) => (self.member, Amount::ZERO),
        };
        let available = held.checked_sub(reserve).unwrap_or(Amount::ZERO);
        if amount == Amount::ZERO {
            return Err(PaymentError::Nothing);
        }
        if amount > available {
            return Err(PaymentError::NotEnough { payer, amount, available, reserve });
        }
        let member = match payer {
            Party::Operator => self.member + amount,
            Party::Member(_) => self.member - amount,
        };
        Ok(Channel { member, state: self.state + 1, ..self.clone() })
    }
}

impl Split {
    /// How a channel of `capacity` is split if the member ends with `balance` and the close costs `fee`.
    ///
    /// # Errors
    ///
    /// [`CloseError::OverCapacity`], if that leaves the operator less than the fee.
    pub fn new(capacity: Amount, balance: Amount, fee: Amount) -> Result<Split, CloseError> {
        let operator = capacity
            .checked_sub(balance)
            .and_then(|rest| rest.checked_sub(fee))
            .ok_or(CloseError::OverCapacity { balance, capacity, fee })?;
        let kept = |amount: Amount| (amount >= DUST_LIMIT).then_some(amount);
        let (member, operator) = (kept(balance), kept(operator));
        let paid = member.unwrap_or(Amount::ZERO) + operator.unwrap_or(Amount::ZERO);
        Ok(Split { member, operator, fee: capacity - paid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sat(sat: u64) -> Amount {
        Amount::from_sat(sat)
    }

    #[test]
    fn balances_move_and_stay_within_the_channel() {
        let channel = Channel::new(sat(10_000), sat(154));
        let member = Party::Member(0);
        let paid = channel.after_payment(Party::Operator, sat(9_846)).unwrap();
        assert_eq!((paid.member(), paid.operator(), paid.state()), (sat(9_846), sat(154), 1));
        let back = paid.after_payment(member, sat(9_846)).unwrap();
        assert_eq!((back.member(), back.operator(), back.state()), (sat(0), sat(10_000), 2));

        for (channel, payer, amount, expected) in [
            (
                &channel,
                Party::Operator,
                9_847,
                "operator can pay 0.00009846 BTC in this channel, not 0.00009847 BTC (0.00000154 BTC are kept for the close's fee)",
            ),
            (&channel, member, 1, "m0 can pay 0 BTC in this channel, not 0.00000001 BTC"),
            (
                &paid,
                Party::Operator,
                1,
                "operator can pay 0 BTC in this channel, not 0.00000001 BTC (0.00000154 BTC are kept for the close's fee)",
            ),
            (&paid, member, 9_847, "m0 can pay 0.00009846 BTC in this channel, not 0.00009847 BTC"),
            (&paid, member, 0, "a payment must be at least 1 sat"),
        ] {
            assert_eq!(channel.after_payment(payer, sat(amount)).unwrap_err().to_string(), expected);
        }
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
}
