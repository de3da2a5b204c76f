//! The table of claims in the README is what the nodes say today.

mod support;

use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use shopfloor::claims::{self, Claims};
use shopfloor::node::Kind;
use shopfloor::node::provision::Env;
use shopfloor::suite::Style;

/// Those whose verdicts the README shows.
const KINDS: [Kind; 4] = [Kind::Core31, Kind::Core30, Kind::Core29, Kind::Knots29];

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_shows_the_verdicts_of_today() {
    let missing: Vec<Kind> = KINDS.into_iter().filter(|kind| !support::is_there(*kind)).collect();
    if !missing.is_empty() {
        eprintln!("skipped: the table has columns for kinds that are not here: {missing:?}");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let env = Arc::new(Env::from_process().unwrap());
    let claims = Claims::own().unwrap();
    let style = Style::of_stderr(false);
    let report = claims::run(&claims, &KINDS, &root.join("scenarios"), env, style, pending()).await.unwrap().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let table = claims::markdown(&report, Path::new("scenarios"));
    let fresh = claims::update(&readme, &table).unwrap();
    assert!(
        readme == fresh,
        "the README's claims are out of date: `cargo run -- claims --update README.md` writes this:\n{table}"
    );
}
