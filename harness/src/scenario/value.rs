//! The values that scenarios are written with: amounts, feerates, counts, names.

use std::fmt;
use std::str::FromStr;

use bitcoin::{Amount, Denomination, FeeRate};
use factory_core::{Party, TxName};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::node::Kind;

/// An amount, written as `10_000 sat` or `0.5 BTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sat(pub Amount);

/// A feerate, written as `1 sat/vB` or `0.25 sat/vB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub FeeRate);

/// A feerate that may be zero, written as `0 sat/vB` or `1 sat/vB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Premium(pub FeeRate);

/// A whole number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

/// Who takes part in a payment: `operator`, `m0`, … or `members`, which stands for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// One party.
    One(Party),
    /// Every member.
    Members,
}

/// A name that is parsed from its text: a party, a transaction, a node kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named<T>(pub T);

impl FromStr for Sat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            |why: &str| format!("`{text}` is no amount: {why}expected something like `10_000 sat` or `0.5 BTC`");
        let (number, unit) = text.trim().rsplit_once(' ').ok_or_else(|| error(""))?;
        let denomination = match unit {
            "sat" | "sats" => Denomination::Satoshi,
            "BTC" => Denomination::Bitcoin,
            _ => return Err(error(&format!("`{unit}` is neither sat nor BTC; "))),
        };
        let number = digits(number).ok_or_else(|| error(""))?;
        if number.starts_with('-') {
            return Err(error("it is negative; "));
        }
        let amount = Amount::from_str_in(&number, denomination).map_err(|why| error(&format!("{why}; ")))?;
        if amount > Amount::MAX_MONEY {
            return Err(error("it is over 21 million BTC; "));
        }
        Ok(Sat(amount))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match feerate(text)? {
            FeeRate::ZERO => Err(format!("`{text}` is no feerate: it is zero; expected something like `1 sat/vB`")),
            rate => Ok(Rate(rate)),
        }
    }
}

impl FromStr for Premium {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        feerate(text).map(Premium)
    }
}

fn feerate(text: &str) -> Result<FeeRate, String> {
    let error = |why: &str| format!("`{text}` is no feerate: {why}expected something like `1 sat/vB`");
    let number = text.trim().strip_suffix("sat/vB").map(str::trim).ok_or_else(|| error(""))?;
    let number = digits(number).ok_or_else(|| error(""))?;
    if number.starts_with('-') {
        return Err(error("it is negative; "));
    }
    // One satoshi per virtual byte is 250 per kiloweight: a number with three decimals is 4,000ths of that.
    let (whole, decimals) = number.split_once('.').unwrap_or((&number, ""));
    let thousandths = match (whole.parse::<u64>(), decimals.len()) {
        (Ok(whole), 0) => whole.checked_mul(1000),
        (Ok(whole), 1..=3) => {
            format!("{decimals:0<3}").parse().ok().and_then(|part: u64| whole.checked_mul(1000)?.checked_add(part))
        }
        _ => return Err(error("it has more than three decimals; ")),
    };
    match thousandths {
        Some(thousandths) if thousandths % 4 == 0 => Ok(FeeRate::from_sat_per_kwu(thousandths / 4)),
        Some(_) => Err(error("it is no multiple of 0.004; ")),
        None => Err(error("it is too large; ")),
    }
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "members" => Ok(Who::Members),
            _ => text.parse().map(Who::One).map_err(|_| {
                format!("`{text}` is no party: expected operator, m0, m1, … or members, which means each of them")
            }),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::One(party) => party.fmt(f),
            Who::Members => f.pad("members"),
        }
    }
}

/// The number without the underscores that part its digits.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    let sound = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    (whole.split('_').all(sound) && sound(decimals)).then(|| text.replace('_', ""))
}

struct TextVisitor<T>(std::marker::PhantomData<T>, &'static str);

impl<T> Visitor<'_> for TextVisitor<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Sat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(std::marker::PhantomData, "an amount like `10_000 sat`"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(std::marker::PhantomData, "a feerate like `1 sat/vB`"))
    }
}

impl<'de> Deserialize<'de> for Premium {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(std::marker::PhantomData, "a feerate like `1 sat/vB`"))
    }
}

impl<'de, T> Deserialize<'de> for Named<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(std::marker::PhantomData, "a name")).map(Named)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 1")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(Count(number)),
            _ => Err(E::custom(format!("`{number}`: expected a whole number from 1 to {}", u32::MAX))),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Count, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(format!("`{number}`: expected a whole number from 1"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
        match digits(text).map(|digits| digits.parse::<i64>()) {
            Some(Ok(number)) => self.visit_i64(number),
            _ => Err(E::custom(format!("`{text}`: expected a whole number from 1"))),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

/// The side of a payment, by name.
pub type Side = Named<Who>;
/// A party, by name.
pub type PartyName = Named<Party>;
/// A transaction, by name.
pub type TransactionName = Named<TxName>;
/// A node kind, by name.
pub type KindName = Named<Kind>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, sat) in [
            ("0 sat", 0),
            ("10_000 sat", 10_000),
            ("1 sats", 1),
            ("0.5 BTC", 50_000_000),
            ("21000000 BTC", 2_100_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Sat(Amount::from_sat(sat))), "{text}");
        }
        for (text, why) in [
            ("10000", "expected"),
            ("-5 sat", "negative"),
            ("1.5 sat", "precision"),
            ("5 satoshi", "neither sat nor BTC"),
            ("1__0 sat", "expected"),
            ("1e3 sat", "expected"),
            ("21000001 BTC", "21 million"),
            ("99999999999999999999 sat", "out of range"),
            ("", "expected"),
        ] {
            let error = text.parse::<Sat>().unwrap_err();
            assert!(error.contains(why) && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn feerates() {
        for (text, per_kwu) in [("1 sat/vB", 250), ("0.1 sat/vB", 25), ("0.004sat/vB", 1), ("12.5 sat/vB", 3125)] {
            assert_eq!(text.parse(), Ok(Rate(FeeRate::from_sat_per_kwu(per_kwu))), "{text}");
        }
        for text in [
            "1",
            "1 sat/kvB",
            "-1 sat/vB",
            "0 sat/vB",
            "0.001 sat/vB",
            "0.0001 sat/vB",
            "99999999999999999999 sat/vB",
            "x sat/vB",
        ] {
            assert!(text.parse::<Rate>().unwrap_err().contains(text), "{text}");
        }
        assert_eq!("0 sat/vB".parse(), Ok(Premium(FeeRate::ZERO)));
        assert!("-1 sat/vB".parse::<Premium>().unwrap_err().contains("negative"));
    }
}
