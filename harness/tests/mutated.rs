//! Experiment files in which anything may stand anywhere: they are read, or refused with a place and a reason, and nothing
//! panics.

use std::fs;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use shopfloor::race::{self, LoadedExperiment};
use shopfloor::scenario::Percent;
use shopfloor::seed;

/// How many texts are made of each file.
const ROUNDS: usize = 12;

/// What is put in the place of other things.
const PIECES: [&str; 24] = [
    "0",
    "1",
    "-1",
    "18446744073709551615",
    "4294967296",
    "0 %",
    "100 %",
    "18446744073709551615 %",
    "0 s",
    "9999999999 h",
    "0 sat",
    "21_000_000 BTC",
    "0.004 sat/vB",
    "18446744073709 sat/vB",
    "1 vB",
    "18446744073709551615 vB",
    "1 WU",
    "18446744073709551615 WU",
    "[]",
    "{}",
    "alice",
    "bob",
    "\n",
    "",
];

/// A source of numbers that are the same in every run.
struct Chance(ChaCha20Rng);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0.next_u32() as usize % limit.max(1)
    }
}

fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for folder in ["tests/broken-race", "../scenarios/miners"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let file = entry.unwrap().path();
            // Many members take long, and make nothing else of the checks.
            if let Ok(text) = fs::read_to_string(&file)
                && !text.contains("2323")
                && !text.contains("matrix")
            {
                texts.push((
                    file,
                    text.replace("members: 20\n", "members: 3\n").replace("members: 230\n", "members: 3\n"),
                ));
            }
        }
    }
    texts.sort();
    texts
}

/// Swaps, drops, repeats or replaces a line or a word.
fn mutate(text: &str, others: &[(PathBuf, String)], chance: &mut Chance) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (one, other) = (chance.below(lines.len()), chance.below(lines.len()));
    match chance.below(6) {
        0 => lines.swap(one, other),
        1 => drop(lines.remove(one)),
        2 => lines.insert(other, lines[one].clone()),
        3 => {
            let donor = &others[chance.below(others.len())].1;
            let line = donor.lines().nth(chance.below(donor.lines().count())).unwrap_or_default();
            lines.insert(one, line.to_owned());
        }
        _ => {
            let words: Vec<&str> = lines[one].split(' ').collect();
            let word = chance.below(words.len());
            let piece = PIECES[chance.below(PIECES.len())];
            let changed: Vec<&str> =
                words.iter().enumerate().map(|(place, old)| if place == word { piece } else { old }).collect();
            lines[one] = changed.join(" ");
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn nothing_in_an_experiment_file_makes_the_loader_panic() {
    let mut chance = Chance(seed::stream(1, "mutations"));
    let texts = texts();
    assert!(texts.len() > 90, "{}", texts.len());
    let sound_ones: Vec<_> = texts.iter().filter(|(file, text)| race::load_text(file, text, &[]).is_ok()).collect();
    let (mut sound, mut refused) = (0, 0);
    for (file, text) in &texts {
        let mut text = text.clone();
        for round in 0..ROUNDS {
            text = mutate(&text, &texts, &mut chance);
            match race::load_text(file, &text, &[]) {
                Ok(cells) => {
                    sound += 1;
                    assert!(!cells.is_empty(), "{text}");
                    cells.iter().for_each(holds);
                }
                Err(invalid) => {
                    refused += 1;
                    for problem in &invalid.problems {
                        assert!(problem.position.is_some_and(|(line, column)| line > 0 && column > 0), "{problem:?}");
                        assert!(problem.message.contains("expected"), "{problem:?}\n{text}");
                    }
                    assert!(!invalid.problems.is_empty() && invalid.to_string().len() < 200_000);
                }
            }
            // Few files survive more than a few changes; and most of these were wrong to begin with.
            if round % 3 == 2 {
                text.clone_from(&sound_ones[chance.below(sound_ones.len())].1);
            }
        }
    }
    assert!(sound > 30 && refused > 500, "{sound} sound, {refused} refused");
}

/// What an engine may rely on.
fn holds(loaded: &LoadedExperiment) {
    let experiment = &loaded.experiment;
    let shares: u64 = experiment.shares().iter().map(|share| share.0).sum();
    assert_eq!(shares, 1_000_000);
    for publish in &experiment.publish {
        assert!(experiment.nodes.contains_key(&publish.at));
    }
    for miner in experiment.miners.values() {
        assert!(experiment.nodes.contains_key(&miner.node) && miner.share != Some(Percent(0)));
    }
    if let Some(bins) = &loaded.histogram {
        assert!(bins.iter().all(|(_, count)| *count > 0) && !bins.is_empty());
    }
}
