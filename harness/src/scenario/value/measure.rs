//! Values that only experiments use: shares, times of the simulated clock, weights.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bitcoin::Weight;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer};

use super::number::digits;
use super::text::{Text, TextVisitor, text_schema, texts};

/// A part of a whole, written as `70 %` or `33.34 %`; in millionths, so that shares can be added up exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u64);

/// A time of the simulated clock, written as `0 s`, `2.5 s`, `10 min` or `2 h`; in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

/// A weight, written as `200_000 WU`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockWeight(pub Weight);

impl Percent {
    /// The whole.
    pub const WHOLE: Percent = Percent(1_000_000);

    /// As a fraction of 1.
    pub fn fraction(self) -> f64 {
        self.0 as f64 / Percent::WHOLE.0 as f64
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').and_then(|number| decimal(number, 4));
        number
            .map(Percent)
            .ok_or_else(|| format!("`{text}` is no share: expected something like `70 %`, with at most four decimals"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0 as f64 / 10_000.0)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let units = [("min", 60), ("s", 1), ("h", 3_600)];
        let parsed = units.iter().find_map(|(unit, seconds)| {
            let number = decimal(text.strip_suffix(unit)?, 3)?;
            number.checked_mul(*seconds)
        });
        parsed.map(Span).ok_or_else(|| {
            format!(
                "`{text}` is no time: expected something like `2.5 s`, `10 min` or `2 h`, with at most three decimals"
            )
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0 as f64 / 1_000.0)
    }
}

impl FromStr for BlockWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix("WU").and_then(|number| decimal(number, 0));
        let number = number.map(|number| BlockWeight(Weight::from_wu(number)));
        number.ok_or_else(|| format!("`{text}` is no weight: expected something like `200_000 WU`"))
    }
}

impl fmt::Display for BlockWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} WU", self.0.to_wu())
    }
}

/// A number that is not negative, with at most so many decimals, in units of the last of them.
fn decimal(text: &str, decimals: usize) -> Option<u64> {
    let number = digits(text)?;
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    if part.len() > decimals {
        return None;
    }
    format!("{whole}{part:0<decimals$}").parse().ok()
}

impl Text for Percent {
    const WHAT: &'static str = "a share like `70 %`";
    const PATTERN: &'static str = r"^[0-9][0-9_]*(\.[0-9]{1,4})? ?%$";
    const NAME: &'static str = "Percent";
}

impl Text for Span {
    const WHAT: &'static str = "a time like `2.5 s`, `10 min` or `2 h`";
    const PATTERN: &'static str = r"^[0-9][0-9_]*(\.[0-9]{1,3})? ?(s|min|h)$";
    const NAME: &'static str = "Span";
}

impl Text for BlockWeight {
    const WHAT: &'static str = "a weight like `200_000 WU`";
    const PATTERN: &'static str = "^[0-9][0-9_]* ?WU$";
    const NAME: &'static str = "BlockWeight";
}

texts!(Percent, Span, BlockWeight);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_times_and_weights() {
        for (text, millionths) in
            [("70 %", 700_000), ("33.34%", 333_400), ("0 %", 0), ("150 %", 1_500_000), ("0.0001 %", 1)]
        {
            assert_eq!(text.parse(), Ok(Percent(millionths)), "{text}");
        }
        for (text, milliseconds) in
            [("0 s", 0), ("2.5 s", 2_500), ("10 min", 600_000), ("2h", 7_200_000), ("1_000 s", 1_000_000)]
        {
            assert_eq!(text.parse(), Ok(Span(milliseconds)), "{text}");
        }
        assert_eq!("200_000 WU".parse(), Ok(BlockWeight(Weight::from_wu(200_000))));
        for text in ["70", "-1 %", "0.00001 %", "x %", "", "99999999999999999999 %"] {
            assert!(text.parse::<Percent>().unwrap_err().contains(text), "{text}");
        }
        for text in ["5", "-1 s", "1.0001 s", "1 day", "99999999999999999999 h"] {
            assert!(text.parse::<Span>().unwrap_err().contains(text), "{text}");
        }
        for text in ["5", "1.5 WU", "1 vB"] {
            assert!(text.parse::<BlockWeight>().unwrap_err().contains(text), "{text}");
        }
    }
}
