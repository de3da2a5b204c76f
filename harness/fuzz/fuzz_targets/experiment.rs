//! Experiment files from any text.

#![no_main]

use std::path::Path;

use shopfloor::race;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = Path::new("fuzzed.yaml");
    match race::load_text(file, text, &[]) {
        Ok(cells) => {
            assert!(!cells.is_empty(), "a sound file has at least one cell");
            let again = race::load_text(file, text, &[]).expect("what was sound once is sound again");
            assert_eq!(cells.len(), again.len());
            for (cell, other) in cells.iter().zip(&again) {
                let (one, other) = (format!("{:?}", cell.experiment), format!("{:?}", other.experiment));
                assert_eq!(one, other, "a file is read in one way");
                let shares: u64 = cell.experiment.shares().iter().map(|share| share.0).sum();
                assert_eq!(shares, 1_000_000, "the shares add up");
            }
        }
        Err(invalid) => {
            assert!(!invalid.problems.is_empty(), "what is invalid has a problem");
            for problem in &invalid.problems {
                assert!(problem.position.is_some_and(|(line, column)| line > 0 && column > 0), "{problem:?}");
                assert!(problem.message.contains("expected"), "{problem:?}");
            }
            assert!(invalid.to_string().len() < 200_000, "errors are no longer than anybody reads");
        }
    }
});
