//! How errors are put into words.

use serde::de::Unexpected;

/// What was found.
pub(super) fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) if text.chars().count() > 60 => {
            format!("the text `{}…`", text.chars().take(60).collect::<String>())
        }
        Unexpected::Str(text) => format!("the text `{text}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

/// What serde expects, in words that do not ask for a knowledge of Rust.
pub(super) fn expected(what: &str) -> String {
    match what {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "a boolean" => "`true` or `false`",
        "a string" => "a text",
        "a sequence" => "a list",
        "unit" => "nothing",
        "a tuple of size 2" | "fewer elements in array" => "a list of 2",
        other => other,
    }
    .to_owned()
}

/// Names, as a sentence lists them.
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The name that was probably meant.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // What is longer than any name was no slip of the fingers, and would be dear to compare.
    if name.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let distances = known.iter().map(|candidate| (distance(&plain(name), &plain(candidate)), *candidate));
    let (distance, candidate) = distances.min()?;
    (distance <= candidate.len().max(3) / 3).then_some(candidate)
}

/// How many letters have to be put in, left out, changed or swapped with their neighbours to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, against) in other.iter().enumerate() {
            let changed = rows[i][j] + usize::from(letter != against);
            let mut best = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == other[j - 1] && one[i - 1] == *against {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

/// What the reader of YAML says, in other words where its own are for programmers.
pub(super) fn yaml(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set DuplicateKeyPolicy").next().unwrap_or(rest);
        return format!("`{key}` is there twice: expected each key once");
    }
    for (begin, instead) in [
        ("multiple YAML documents", "a second document begins here: expected one in a file"),
        ("alias references unknown anchor", "no anchor has this name: expected one that stands above"),
        ("recursive references", "an anchor contains itself: expected values that come to an end"),
        ("recursion limit exceeded", "values lie too deep inside each other: expected at most 255 levels"),
        ("budget breached: ", "the document is too large: expected less, with every alias written out"),
        ("expected string scalar", "a list or a map is no key: expected a text"),
        ("unclosed bracket", "this bracket is never closed: expected its other half"),
        ("unclosed quote", "this quote is never closed: expected its other half"),
        ("tabs disallowed", "a tab cannot indent: expected spaces"),
        (
            "mapping values are not allowed",
            "no `:` can stand here: expected a space after each `:`, and keys of one map in one column",
        ),
    ] {
        if message.starts_with(begin) {
            return instead.to_owned();
        }
    }
    match message.contains("expected") {
        true => message.to_owned(),
        false => format!("{message}: expected YAML"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_guessed() {
        let known = ["members", "capacity", "capacities", "feerate", "fall-back", "to"];
        for (name, guess) in [
            ("capcity", Some("capacity")),
            ("memebrs", Some("members")),
            ("Feerate", Some("feerate")),
            ("fall_back", Some("fall-back")),
            ("ot", Some("to")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), guess, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }
}
