//! What a user reads of a file that is wrong: one file for each way to be wrong, and its errors word for word.

use std::fs;
use std::path::{Path, PathBuf};

use shopfloor::scenario::Invalid;
use shopfloor::{race, scenario};

/// The files of a folder of `tests/`, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files
}

#[test]
fn every_broken_scenario_is_shown_where_it_is_broken() {
    shown("broken", 150, |file| scenario::load(file, &[]).map(|cells| cells.len()));
}

#[test]
fn every_broken_experiment_is_shown_where_it_is_broken() {
    shown("broken-race", 100, |file| race::load(file, &[]).map(|cells| cells.len()));
}

/// Every file of a folder is wrong, and its errors are those beside it.
fn shown(folder: &str, least: usize, load: impl Fn(&Path) -> Result<usize, Invalid>) {
    let files = files(folder);
    assert!(files.len() > least, "only {} files", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(format!("{folder}-errors"));
    let _bound = settings.bind_to_scope();
    let root = files[0].parent().unwrap().display().to_string() + "/";
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let mut invalid = match load(&file) {
            Err(invalid) => invalid,
            Ok(cells) => panic!("{name}: nothing is wrong with it, in {cells} cells"),
        };
        assert!(!invalid.problems.is_empty(), "{name}: {invalid:?}");
        for problem in &invalid.problems {
            let (line, column) = problem.position.unwrap_or_else(|| panic!("{name}: {problem:?} is nowhere"));
            assert!(line > 0 && column > 0, "{name}: {problem:?}");
            assert!(problem.message.contains("expected"), "{name}: {problem:?}");
        }
        invalid.file = Path::new(folder).join(file.file_name().unwrap());
        // Files that a file names are shown with their folders, which differ from machine to machine.
        insta::assert_snapshot!(name.as_str(), invalid.to_string().replace(&root, ""));
    }
}
