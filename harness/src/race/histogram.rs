//! Reads what others pay from a file.

use std::path::Path;

use bitcoin::FeeRate;

use crate::scenario::{Rate, read_text};

/// A file that is longer than this is a mistake.
const MAX_BYTES: usize = 1 << 20;

/// The bins of a file with a line `FEERATE,COUNT` for each: feerates in sat/vB, and how many transactions pay them. Bins in
/// which nothing is are left out.
///
/// # Errors
///
/// Where in the file something is wrong, and what was expected.
pub(super) fn read(file: &Path) -> Result<Vec<(FeeRate, u64)>, String> {
    let text = read_text(file).map_err(|invalid| {
        let why = invalid.problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
        format!("{}: {why}: expected a file with lines like `12.5,340`", file.display())
    })?;
    if text.len() > MAX_BYTES {
        return Err(format!("{}: it is too long: expected at most {MAX_BYTES} bytes", file.display()));
    }
    parse(&text).map_err(|(line, why)| match line {
        Some(line) => format!("{}:{line}: {why}", file.display()),
        None => format!("{}: {why}", file.display()),
    })
}

/// In which line something is wrong, if it is in one, and what.
type Wrong = (Option<usize>, String);

fn parse(text: &str) -> Result<Vec<(FeeRate, u64)>, Wrong> {
    let (mut bins, mut total) = (Vec::new(), 0_u64);
    for (number, line) in (1..).zip(text.lines()) {
        let said = line.trim();
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        let wrong = |why: String| (Some(number), why);
        let (rate, count) = said.split_once(',').ok_or_else(|| {
            wrong(format!("found `{}`: expected a feerate in sat/vB and a count, like `12.5,340`", brief(said)))
        })?;
        let rate: Rate = format!("{} sat/vB", rate.trim()).parse().map_err(wrong)?;
        let digits = count.trim();
        let digits = Some(digits).filter(|count| count.bytes().all(|byte| byte.is_ascii_digit()));
        let count: u64 = digits
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| wrong(format!("`{}` is no count: expected a whole number from 0", brief(count.trim()))))?;
        total = total.checked_add(count).ok_or_else(|| {
            wrong(format!("all counts up to here are more than can be added up: expected at most {}", u64::MAX))
        })?;
        if count > 0 {
            bins.push((rate.0, count));
        }
    }
    match bins.is_empty() {
        true => Err((None, "there is nothing in any bin: expected a line like `12.5,340`".to_owned())),
        false => Ok(bins),
    }
}

/// The beginning of a text, for an error.
fn brief(text: &str) -> String {
    let safe = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    text.chars().take(60).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_read() {
        let text = "# sat/vB,count\n\n1,100\n 2.5 , 30 \n0.1,0\n1000,1\n";
        let rate = FeeRate::from_sat_per_kwu;
        assert_eq!(parse(text), Ok(vec![(rate(250), 100), (rate(625), 30), (rate(250_000), 1)]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, why) in [
            ("1,5\n2;5\n", Some(2), "found `2;5`: expected a feerate in sat/vB and a count, like `12.5,340`"),
            ("feerate,count\n", Some(1), "`feerate sat/vB` is no feerate: expected something like"),
            ("1,5\n\n0,5\n", Some(3), "it is zero"),
            ("1.0001,5\n", Some(1), "more than three decimals"),
            ("1,-5\n", Some(1), "`-5` is no count: expected a whole number from 0"),
            ("1,\n", Some(1), "`` is no count"),
            ("1,5,6\n", Some(1), "`5,6` is no count"),
            ("1,18446744073709551615\n2,1\n", Some(2), "more than can be added up"),
            ("# nothing\n", None, "there is nothing in any bin"),
            ("1,0\n", None, "there is nothing in any bin"),
        ] {
            let (found, message) = parse(text).unwrap_err();
            assert_eq!(found, line, "{text}");
            assert!(message.contains(why) && message.contains("expected"), "{text}: {message}");
        }
    }
}
