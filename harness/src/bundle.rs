//! What a run that did not pass leaves behind, beside the nodes' own files, and the line that replays it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use indexmap::IndexMap;

use crate::report::{Entry, Happening, RunReport};

/// What goes into a bundle.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// The scenario's text.
    pub scenario: &'a str,
    /// What the run found.
    pub report: &'a RunReport,
    /// The transactions in hex, by name.
    pub transactions: &'a IndexMap<String, String>,
    /// What is in the nodes' mempools in the end, by node: as the node answers, or why it does not.
    pub mempools: &'a IndexMap<String, serde_json::Value>,
    /// The programs that ran.
    pub programs: &'a [Program],
    /// The folder from which the harness was called, and from which the replay finds its files.
    pub directory: &'a Path,
}

/// A program that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The node, or the server beside it.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it says of itself.
    pub version: String,
    /// The SHA-256 of its file, or the identifier of its image.
    pub sha256: String,
}

impl Program {
    /// The nodes' programs, as a report has them.
    pub fn of_nodes(report: &RunReport) -> Vec<Program> {
        let program = |(name, node): (&String, &crate::report::NodeReport)| Program {
            name: name.clone(),
            kind: node.kind.clone(),
            version: node.version.clone(),
            sha256: node.program.clone(),
        };
        report.nodes.iter().map(program).collect()
    }
}

/// What is what, for somebody who finds the folder.
const README: &str = "\
What a run of Shopfloor left behind.

README.txt        this text
replay.sh         runs the same again
scenario.yaml     the scenario as it was read; values from the command line are in replay.sh
report.json       what the run found: verdict, failures, transactions, blocks, balances, steps
timeline.txt      what happened: the step (from 1), the height of the highest chain, and what it was
transactions/     the raw transactions in hex, one per file, under their names
mempools.json     the nodes' mempools in the end
programs.txt      the programs that ran: name, kind, version and SHA-256
nodes/<name>/     a node's own folder: its logs, and in rpc.jsonl every call to it with its answer
";

/// Writes the bundle into the folder of a run.
///
/// # Errors
///
/// If a file cannot be written; the error names it.
pub fn write(dir: &Path, contents: &Contents<'_>) -> io::Result<()> {
    let json = |value: serde_json::Result<String>| value.map(|text| text + "\n").map_err(io::Error::from);
    put(&dir.join("README.txt"), README, 0o644)?;
    put(&dir.join("scenario.yaml"), contents.scenario, 0o644)?;
    put(&dir.join("report.json"), &json(serde_json::to_string_pretty(contents.report))?, 0o644)?;
    put(&dir.join("timeline.txt"), &timeline(&contents.report.timeline), 0o644)?;
    put(&dir.join("mempools.json"), &json(serde_json::to_string_pretty(contents.mempools))?, 0o644)?;
    put(&dir.join("programs.txt"), &programs(contents.programs), 0o644)?;
    let directory = quote(&contents.directory.to_string_lossy());
    put(&dir.join("replay.sh"), &format!("#!/bin/sh\ncd {directory} && exec {}\n", contents.report.replay), 0o755)?;
    let transactions = dir.join("transactions");
    fs::create_dir_all(&transactions).map_err(|error| at(&transactions, error))?;
    for (name, hex) in contents.transactions {
        put(&transactions.join(file_name(name) + ".hex"), &format!("{hex}\n"), 0o644)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes())).map_err(|error| at(path, error))
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A name as a file's: no two names meet, and none leads out of the folder.
fn file_name(name: &str) -> String {
    let mut text = String::new();
    for (index, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || byte == b'.' && index > 0;
        if plain {
            text.push(byte.into());
        } else {
            // Writing to a string cannot fail; so it is below.
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn programs(programs: &[Program]) -> String {
    let width = |of: fn(&Program) -> &str| programs.iter().map(|program| of(program).len()).max().unwrap_or(0);
    let (names, kinds, versions) = (width(|it| &it.name), width(|it| &it.kind), width(|it| &it.version));
    let line = |Program { name, kind, version, sha256 }: &Program| {
        format!("{name:names$}  {kind:kinds$}  {version:versions$}  {sha256}\n")
    };
    programs.iter().map(line).collect()
}

/// One line per entry.
fn timeline(entries: &[Entry]) -> String {
    let mut text = String::from("step  height  what\n");
    for entry in entries {
        let step = entry.step.map_or_else(|| "-".to_owned(), |step| (step + 1).to_string());
        let what = what(&entry.what).lines().collect::<Vec<_>>().join(" / ");
        let _ = writeln!(text, "{step:>4}  {:>6}  {what}", entry.height);
    }
    text
}

fn what(what: &Happening) -> String {
    let list = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    match what {
        Happening::Messages { what, from, to, count, lost: 0 } => format!("{from} -> {to}: {count} {what}"),
        Happening::Messages { what, from, to, count, lost } => {
            format!("{from} -> {to}: {count} {what}, of which {lost} never arrived")
        }
        Happening::Event { party, text } => format!("{party}: {text}"),
        Happening::Submitted { tx, by, node, rejected, replaced } => {
            let by = by.as_deref().unwrap_or("another node");
            let mut text = format!("{by} -> {node}: {tx}");
            match rejected {
                Some(reason) => text.push_str(&format!(", refused: {reason}")),
                None => text.push_str(", accepted"),
            }
            if !replaced.is_empty() {
                text.push_str(&format!(", in place of {}", list(replaced)));
            }
            text
        }
        Happening::Mempool { node, txs } => format!("{node}: the mempool holds {}", list(txs)),
        Happening::Block { node, height, hash, txs } => {
            format!("{node} mined block {height} ({hash}): {}", list(txs))
        }
        Happening::Reorganisation { node, from, depth, txs } => {
            format!("{node} left {depth} blocks from height {from} on: {} unconfirmed", list(txs))
        }
        Happening::Fault { text } => format!("fault: {text}"),
        Happening::Check { text, holds: true } => format!("holds: {text}"),
        Happening::Check { text, holds: false } => format!("DOES NOT HOLD: {text}"),
    }
}

/// The command that runs the same again. A value of the matrix's cell is given as if it were set by hand, which wins over
/// the axis, so that this cell is the only one. What showed only in a later repetition may need as many again.
pub fn replay(
    file: &Path,
    overrides: &[String],
    cell: &IndexMap<String, String>,
    seed: u64,
    repetition: Option<u32>,
) -> String {
    let key = |set: &str| set.split_once('=').map(|(key, _)| key.trim().to_owned()).unwrap_or_default();
    let set_by_hand: Vec<_> = overrides.iter().map(|set| key(set)).collect();
    let axes = cell.iter().filter(|(axis, _)| !set_by_hand.contains(axis));
    let sets = axes.map(|(axis, value)| format!("{axis}={value}")).chain(overrides.iter().cloned());
    let mut words = vec!["shopfloor".to_owned(), "run".to_owned()];
    let file = file.to_string_lossy();
    // A name with a dash in front would be taken for an option.
    words.push(if file.starts_with('-') { format!("./{file}") } else { file.into_owned() });
    for set in sets.filter(|set| key(set) != "seed") {
        words.extend(["--set".to_owned(), set]);
    }
    words.extend(["--seed".to_owned(), seed.to_string()]);
    if let Some(times) = repetition.filter(|&times| times > 1) {
        words.extend(["--repeat".to_owned(), times.to_string()]);
    }
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it: bare if nothing in it means anything to a shell.
fn quote(word: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(bare) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::report::Verdict;

    fn names(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn the_replay_line_is_safe_in_a_shell() {
        let cell: IndexMap<_, _> = [("nodes.bob.kind", "knots-29"), ("factory.close_fee", "{ premium: 1 sat/vB }")]
            .into_iter()
            .map(|(axis, value)| (axis.to_owned(), value.to_owned()))
            .collect();
        let none = IndexMap::new();
        let line =
            |file: &str, sets: &[&str], cell, repetition| replay(Path::new(file), &names(sets), cell, 7, repetition);
        assert_eq!(line("s/a.yaml", &[], &none, None), "shopfloor run s/a.yaml --seed 7");
        assert_eq!(
            line("it's here/a.yaml", &["factory.members=20"], &cell, Some(3)),
            r"shopfloor run 'it'\''s here/a.yaml' --set nodes.bob.kind=knots-29 --set 'factory.close_fee={ premium: 1 sat/vB }' --set factory.members=20 --seed 7 --repeat 3"
        );
        assert_eq!(
            line("-a.yaml", &["seed=3", "nodes.bob.kind=core-29"], &cell, Some(1)),
            "shopfloor run ./-a.yaml --set 'factory.close_fee={ premium: 1 sat/vB }' --set nodes.bob.kind=core-29 --seed 7",
            "a value set by hand wins over the cell, and the seed over one set by hand"
        );
        assert_eq!(quote(""), "''");
        assert_eq!(quote("$(x)"), "'$(x)'");
    }

    #[test]
    fn a_shell_reads_the_words_of_the_replay_line_as_they_were() {
        let sets = names(&["a='$(x) \\`y`\"", "b={ c: [1, 2] }"]);
        let line = replay(Path::new("it's/#1 *.yaml"), &sets, &IndexMap::new(), 7, None);
        let script = format!(r#"set -- {line}; printf '%s\n' "$@""#);
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        let words: Vec<_> = words.lines().collect();
        assert_eq!(words, ["shopfloor", "run", "it's/#1 *.yaml", "--set", &sets[0], "--set", &sets[1], "--seed", "7"]);
    }

    #[test]
    fn a_bundle_holds_what_its_readme_names() {
        let dir = tempfile::tempdir().unwrap();
        let report = crate::suite::tests::report("close", Verdict::Fail, &["m0 is poor"]);
        let transactions = [("x/y".to_owned(), "0200".to_owned())].into_iter().collect();
        let mempools = [("alice".to_owned(), serde_json::json!({ "aa": { "vsize": 100 } }))].into_iter().collect();
        let program = |name: &str, kind: &str| Program {
            name: name.to_owned(),
            kind: kind.to_owned(),
            version: "v1".to_owned(),
            sha256: "00ff".to_owned(),
        };
        let contents = Contents {
            scenario: "name: close\n",
            report: &report,
            transactions: &transactions,
            mempools: &mempools,
            programs: &[program("alice", "core-31"), program("bob-electrum", "electrs")],
            directory: Path::new("where it's called"),
        };
        // What an earlier attempt left does not stand in the way.
        for _ in 0..2 {
            write(dir.path(), &contents).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("scenario.yaml"), "name: close\n");
        assert_eq!(read("transactions/x%2fy.hex"), "0200\n");
        assert_eq!(read("programs.txt"), "alice         core-31  v1  00ff\nbob-electrum  electrs  v1  00ff\n");
        assert_eq!(read("replay.sh"), "#!/bin/sh\ncd 'where it'\\''s called' && exec shopfloor run close\n");
        let back: RunReport = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!((back.verdict, back.failures), (Verdict::Fail, names(&["m0 is poor"])));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&read("mempools.json")).unwrap()["alice"]["aa"]["vsize"],
            100
        );
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o111;
        assert_ne!(mode("replay.sh"), 0);
        assert_eq!(mode("report.json"), 0);
        let written = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        for name in written {
            assert!(README.lines().any(|line| line.starts_with(&name)), "{name} is in README.txt");
        }
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/README.txt");
        let error = put(&path, "", 0o644).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
    }

    #[test]
    fn file_names_lead_nowhere_and_never_meet() {
        for (name, file) in [
            ("channel-m0-close", "channel-m0-close"),
            ("htlc m0", "htlc%20m0"),
            ("../x", "%2e.%2fx"),
            ("a.b", "a.b"),
            ("a%2f", "a%252f"),
        ] {
            assert_eq!(file_name(name), file);
        }
    }

    #[test]
    fn the_timeline_has_a_line_per_entry() {
        let entry = |step, height, what| Entry { step, height, what };
        let text = |text: &str| text.to_owned();
        let submitted = |by: Option<&str>, rejected: Option<&str>, replaced: &[&str]| Happening::Submitted {
            tx: text("factory-close"),
            by: by.map(text),
            node: text("bob"),
            rejected: rejected.map(text),
            replaced: names(replaced),
        };
        let messages =
            |lost| Happening::Messages { what: text("nonces"), from: text("m0"), to: text("operator"), count: 3, lost };
        let (node, hash) = (text("bob"), text("0f"));
        let entries = [
            entry(None, 101, messages(0)),
            entry(Some(0), 101, messages(1)),
            entry(Some(0), 101, Happening::Event { party: text("m0"), text: text("signed\ntwice") }),
            entry(Some(1), 101, submitted(Some("m0"), Some("insufficient fee"), &[])),
            entry(Some(1), 101, submitted(None, None, &["allocation", "close-m1"])),
            entry(Some(1), 101, Happening::Mempool { node: node.clone(), txs: Vec::new() }),
            entry(Some(11), 102, Happening::Block { node: node.clone(), height: 102, hash, txs: names(&["x", "y"]) }),
            entry(Some(12), 102, Happening::Reorganisation { node, from: 101, depth: 2, txs: names(&["x"]) }),
            entry(Some(13), 102, Happening::Fault { text: text("alice crashes") }),
            entry(None, 102, Happening::Check { text: text("the money is there"), holds: true }),
            entry(None, 102, Happening::Check { text: text("x is confirmed"), holds: false }),
        ];
        insta::assert_snapshot!(timeline(&entries), @"
        step  height  what
           -     101  m0 -> operator: 3 nonces
           1     101  m0 -> operator: 3 nonces, of which 1 never arrived
           1     101  m0: signed / twice
           2     101  m0 -> bob: factory-close, refused: insufficient fee
           2     101  another node -> bob: factory-close, accepted, in place of allocation, close-m1
           2     101  bob: the mempool holds nothing
          12     102  bob mined block 102 (0f): x, y
          13     102  bob left 2 blocks from height 101 on: x unconfirmed
          14     102  fault: alice crashes
           -     102  holds: the money is there
           -     102  DOES NOT HOLD: x is confirmed
        ");
    }
}
