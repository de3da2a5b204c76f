//! Numbers: amounts, feerates, counts and times.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bitcoin::{Amount, Denomination, FeeRate};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::text::{Text, TextVisitor, text_schema, texts};

/// An amount, written as `10_000 sat` or `0.5 BTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sat(pub Amount);

/// A feerate, written as `1 sat/vB` or `0.2 sat/vB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub FeeRate);

/// A feerate that may be zero, written as `0 sat/vB` or `1 sat/vB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Premium(pub FeeRate);

/// A virtual size, written as `94_713 vB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A whole number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

/// A time of the machine's clock, written as `30 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

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

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sat/vB", self.0.to_sat_per_kwu() as f64 / 250.0)
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

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix("vB").and_then(|number| digits(number)?.parse().ok());
        number.map(Size).ok_or_else(|| format!("`{text}` is no size: expected something like `94_713 vB`"))
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('s').and_then(|number| number.trim().parse::<u32>().ok());
        match number {
            Some(seconds) if seconds > 0 => Ok(Seconds(Duration::from_secs(seconds.into()))),
            _ => Err(format!("`{text}` is no time: expected something like `30 s`")),
        }
    }
}

/// The number without the underscores that part its digits.
pub(super) fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    let sound = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    (whole.split('_').all(sound) && sound(decimals)).then(|| text.replace('_', ""))
}

impl Text for Sat {
    const WHAT: &'static str = "an amount like `10_000 sat` or `0.5 BTC`";
    const PATTERN: &'static str = r"^[0-9][0-9_]*(\.[0-9]+)? (sat|sats|BTC)$";
    const NAME: &'static str = "Amount";
}

impl Text for Rate {
    const WHAT: &'static str = "a feerate like `1 sat/vB`";
    const PATTERN: &'static str = r"^[0-9][0-9_]*(\.[0-9]{1,3})? ?sat/vB$";
    const NAME: &'static str = "Feerate";
}

impl Text for Premium {
    const WHAT: &'static str = "a feerate like `1 sat/vB`, which may be zero";
    const PATTERN: &'static str = Rate::PATTERN;
    const NAME: &'static str = "Premium";
}

impl Text for Size {
    const WHAT: &'static str = "a virtual size like `94_713 vB`";
    const PATTERN: &'static str = "^[0-9][0-9_]* ?vB$";
    const NAME: &'static str = "Size";
}

impl Text for Seconds {
    const WHAT: &'static str = "a time like `30 s`";
    const PATTERN: &'static str = "^[0-9]+ ?s$";
    const NAME: &'static str = "Seconds";
}

texts!(Sat, Rate, Premium, Size, Seconds);

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

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a whole number from 1, such as 3 or 10_000",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": u32::MAX },
                { "type": "string", "pattern": "^[0-9][0-9_]*$" },
            ],
        })
    }
}

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
    fn sizes() {
        assert_eq!("94_713 vB".parse(), Ok(Size(94_713)));
        assert_eq!("212vB".parse(), Ok(Size(212)));
        for text in ["212", "212 WU", "-1 vB", "1.5 vB", "1__0 vB", " vB", "99999999999999999999 vB"] {
            assert!(text.parse::<Size>().unwrap_err().contains(text), "{text}");
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
