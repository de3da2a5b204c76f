//! Claims and verdicts as a table, and where it stands in a file.

use std::fmt::Write as _;
use std::path::Path;

use indexmap::IndexMap;

use super::{ClaimReport, ClaimsReport, Verdict};

/// Around the block in a file that is kept up to date.
const BEGIN: &str = "<!-- claims: begin -->";
const END: &str = "<!-- claims: end -->";

/// Returned when a file has no place for the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a line `{BEGIN}` and after it a line `{END}`, found none")]
pub struct NoBlock;

/// A table of all claims with a column for each kind of node, and below it the conditions. Scenarios are linked below
/// `folder`.
pub fn markdown(report: &ClaimsReport, folder: &Path) -> String {
    let mut text = String::new();
    let mut line = |words: &str| writeln!(text, "{words}").expect("a string takes all that is written");
    let kinds: Vec<&str> = report.nodes.keys().map(String::as_str).collect();
    line(&format!("| claim | shown by | {} |", kinds.join(" | ")));
    line(&format!("|---|---|{}", "---|".repeat(kinds.len())));
    let mut notes = Vec::new();
    for claim in &report.claims {
        let link = |path: &std::path::PathBuf| {
            format!("[{}]({})", path.with_extension("").display(), folder.join(path).display())
        };
        let links: Vec<String> = claim.scenarios.iter().map(link).collect();
        let numbered = conditions(claim);
        let first = notes.len() + 1;
        let cells: Vec<String> = kinds
            .iter()
            .map(|&kind| {
                let verdict = &claim.verdicts[kind];
                let note = numbered.get_index_of(verdict).map(|index| format!(" ({})", first + index));
                format!("{}{}", word(verdict), note.unwrap_or_default())
            })
            .collect();
        line(&format!("| {} ({}) | {} | {} |", claim.claim, claim.by, links.join(", "), cells.join(" | ")));
        notes.extend(numbered.into_iter().map(|(verdict, kinds)| note(verdict, &kinds)));
    }
    if !notes.is_empty() {
        line("");
    }
    for (number, note) in notes.iter().enumerate() {
        line(&format!("{}. {note}", number + 1));
    }
    text
}

/// The verdicts of a claim that need more than a word, and the kinds that have them.
fn conditions(claim: &ClaimReport) -> IndexMap<&Verdict, Vec<&str>> {
    let mut found: IndexMap<&Verdict, Vec<&str>> = IndexMap::new();
    for (kind, verdict) in &claim.verdicts {
        if *verdict != Verdict::Holds {
            found.entry(verdict).or_default().push(kind);
        }
    }
    found
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::HoldsIf { .. } => "holds if",
        Verdict::Fails { .. } => "**fails**",
        Verdict::None { .. } => "no verdict",
    }
}

fn note(verdict: &Verdict, kinds: &[&str]) -> String {
    let text = match verdict {
        Verdict::Holds => String::new(),
        Verdict::HoldsIf { holds, fails } if fails.is_empty() => format!("holds if {}", holds.join("; or if ")),
        Verdict::HoldsIf { holds, fails } => {
            format!("holds if {}. It fails if {}", holds.join("; or if "), fails.join("; or if "))
        }
        Verdict::Fails { fails } => format!("fails: {}", fails.join("; ")),
        Verdict::None { why } => why.clone(),
    };
    format!("{}: {text}.", kinds.join(", "))
}

/// The same file with `block` in the place that is marked for it.
///
/// # Errors
///
/// [`NoBlock`], if there is no such place.
pub fn update(file: &str, block: &str) -> Result<String, NoBlock> {
    let (before, rest) = file.split_once(BEGIN).ok_or(NoBlock)?;
    let (_, after) = rest.split_once(END).ok_or(NoBlock)?;
    Ok(format!("{before}{BEGIN}\n\n{block}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_told_once_for_all_kinds_that_share_them() {
        let shared = Verdict::HoldsIf { holds: vec!["a".to_owned(), "b".to_owned()], fails: vec!["c".to_owned()] };
        let fails = Verdict::Fails { fails: vec!["d".to_owned()] };
        let report = ClaimsReport {
            nodes: ["x", "y", "z"].map(|kind| (kind.to_owned(), "1".to_owned())).into_iter().collect(),
            claims: vec![ClaimReport {
                id: "first".to_owned(),
                claim: "It is so".to_owned(),
                by: "somebody".to_owned(),
                scenarios: vec!["one/two.yaml".into()],
                verdicts: [("x", shared.clone()), ("y", fails), ("z", shared)]
                    .map(|(kind, verdict)| (kind.to_owned(), verdict))
                    .into_iter()
                    .collect(),
            }],
        };
        let expected = "\
| claim | shown by | x | y | z |
|---|---|---|---|---|
| It is so (somebody) | [one/two](s/one/two.yaml) | holds if (1) | **fails** (2) | holds if (1) |

1. x, z: holds if a; or if b. It fails if c.
2. y: fails: d.
";
        assert_eq!(markdown(&report, Path::new("s")), expected);
    }

    #[test]
    fn only_the_marked_block_is_changed() {
        let file = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let new = update(&file, "new\n").unwrap();
        assert_eq!(new, format!("above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"));
        assert_eq!(update(&new, "new\n").unwrap(), new);
        assert_eq!(update("nothing", "new"), Err(NoBlock));
    }
}
