//! What a user reads of a scenario file that is wrong: one file for each way to be wrong, and its errors word for word.

use std::fs;
use std::path::{Path, PathBuf};

use shopfloor::scenario;

/// The files, sorted.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_broken_scenario_is_shown_where_it_is_broken() {
    let files = files();
    assert!(files.len() > 150, "only {} files", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("broken-errors");
    let _bound = settings.bind_to_scope();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let mut invalid = match scenario::load(&file, &[]) {
            Err(invalid) => invalid,
            Ok(cells) => panic!("{name}: nothing is wrong with it, in {} cells", cells.len()),
        };
        assert!(!invalid.problems.is_empty(), "{name}: {invalid:?}");
        for problem in &invalid.problems {
            let (line, column) = problem.position.unwrap_or_else(|| panic!("{name}: {problem:?} is nowhere"));
            assert!(line > 0 && column > 0, "{name}: {problem:?}");
            assert!(problem.message.contains("expected"), "{name}: {problem:?}");
        }
        invalid.file = Path::new("broken").join(file.file_name().unwrap());
        insta::assert_snapshot!(name.as_str(), invalid.to_string());
    }
}
