//! Scenario files from any text.

#![no_main]

use std::path::Path;

use shopfloor::scenario::{self, Loaded};

/// The plan of a sound scenario can be made and shown, and its sums are right.
fn planned(cell: &Loaded) {
    let plan = scenario::plan(cell).expect("what is sound can be planned");
    assert!(plan.transactions.contains_key("funding") && plan.transactions.contains_key("allocation"));
    for (name, tx) in &plan.transactions {
        assert_eq!(tx.vsize, tx.weight.div_ceil(4), "{name}");
        assert!(tx.outputs.iter().all(|output| output.amount_sat >= 330), "{name} pays dust");
    }
    if let Some(fee) = plan.cut_through_fee_sat {
        assert!(plan.transactions["factory-close"].fee_sat >= fee, "a factory close pays for what it cuts through");
    }
    assert!(plan.mermaid().starts_with("flowchart LR\n"));
    assert!(plan.to_string().contains(&cell.scenario.name));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = Path::new("fuzzed.yaml");
    match scenario::load_text(file, text, &[]) {
        Ok(cells) => {
            assert!(!cells.is_empty(), "a sound file has at least one cell");
            let again = scenario::load_text(file, text, &[]).expect("what was sound once is sound again");
            assert_eq!(cells.len(), again.len());
            for (cell, other) in cells.iter().zip(&again) {
                let (one, other) = (format!("{:?}", cell.scenario), format!("{:?}", other.scenario));
                assert_eq!(one, other, "a file is read in one way");
                assert_eq!(cell.lines.len(), cell.scenario.steps.len());
                for step in &cell.scenario.steps {
                    assert!(!step.to_string().is_empty());
                }
            }
            // Keys of thousands of members take their time, and make nothing else of the plan.
            for cell in cells.iter().filter(|cell| cell.scenario.factory.members.0 <= 8).take(3) {
                planned(cell);
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
