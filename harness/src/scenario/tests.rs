use std::path::Path;

use super::{Invalid, Loaded, Override, load_text};

const TEXT: &str = "\
name: a test
nodes:
  alice: { kind: core-31 }
factory:
  members: 2
  capacity: 1_000_000 sat
matrix:
  factory.members: [2, 3]
steps:
  - open
  - pay: { from: operator, to: m0, amount: 5 sat }
";

fn with(overrides: &[&str]) -> Result<Vec<Loaded>, Invalid> {
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
    load_text(Path::new("test.yaml"), TEXT, &overrides)
}

#[test]
fn an_override_takes_the_place_of_an_axis() {
    let members =
        |cells: Vec<Loaded>| -> Vec<u32> { cells.iter().map(|cell| cell.scenario.factory.members.0).collect() };
    assert_eq!(members(with(&[]).unwrap()), [2, 3]);
    assert_eq!(members(with(&["factory.members=7"]).unwrap()), [7]);
    // A number of the command line may have underscores, like one of the file.
    assert_eq!(members(with(&["factory.members=1_000"]).unwrap()), [1000]);
}

/// Errors of a value from the command line name it, and show the nearest place in the file.
#[test]
fn what_is_wrong_with_an_override_is_shown_at_the_nearest_place() {
    for (change, shown) in [
        ("factory.members=0", "test.yaml:5:3: --set factory.members=0: factory.members: `0`: expected a whole number"),
        (
            "factory.capcity=5 sat",
            "test.yaml:5:3: --set factory.capcity=5 sat: factory.capcity: unknown key `capcity`: did you",
        ),
        ("factory.lock=rsa", "test.yaml:5:3: --set factory.lock=rsa: factory.lock: `rsa` is no kind of lock"),
        (
            "steps.1.pay.amount=5",
            "test.yaml:11:10: --set steps.1.pay.amount=5: steps.1.pay.amount: found the number 5: expected",
        ),
        (
            "steps.1.pay.amount=5 BTC",
            "test.yaml:11:10: --set steps.1.pay.amount=5 BTC: steps.1.pay.amount: operator cannot pay",
        ),
        ("steps.9.pay=1", "test.yaml:10:3: --set steps.9.pay=1: there is no `9` in `steps`: expected a number below 2"),
        ("name.first=x", "test.yaml:1:7: --set name.first=x: `name` is a single value"),
        (
            "nodes.bob={ kind: core-9 }",
            "test.yaml:3:3: --set nodes.bob={ kind: core-9 }: nodes.bob.kind: unknown node kind",
        ),
        ("matrix.seed=[1, 2]", "test.yaml:1:1: --set matrix.seed=[1, 2]: a matrix cannot be set: expected"),
    ] {
        let invalid = with(&[change]).map(|cells| cells.len()).expect_err(change);
        assert!(invalid.to_string().starts_with(shown), "{change}: {invalid}");
        assert!(invalid.problems.iter().all(|problem| problem.position.is_some()), "{change}: {invalid:?}");
    }
}

#[test]
fn a_text_that_is_no_override_says_what_one_is() {
    for text in ["", "factory.members", "=5", "a..b=5", "a=[1"] {
        let error = text.parse::<Override>().unwrap_err().to_string();
        assert!(error.contains("expected something like `factory.members=200`"), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let invalid = super::load(Path::new("no/such/file.yaml"), &[]).map(|cells| cells.len()).unwrap_err();
    assert_eq!(invalid.problems[0].position, Some((1, 1)));
    assert!(invalid.to_string().starts_with("no/such/file.yaml:1:1: cannot be read: "), "{invalid}");
}

/// A short file must not ask for more than can be checked while a user waits.
#[test]
fn a_hundred_thousand_members_are_refused_at_once() {
    let text = TEXT.replace("[2, 3]", "[100_000]").replace("to: m0", "to: members");
    let started = std::time::Instant::now();
    let invalid = load_text(Path::new("test.yaml"), &text, &[]).map(|cells| cells.len()).unwrap_err();
    assert!(invalid.to_string().contains("expected fewer members"), "{invalid}");
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

/// A line of a megabyte is shown in part, and nothing in it moves the cursor.
#[test]
fn long_and_strange_lines_are_shown_in_part() {
    let text = format!("name: x\nseed: [\u{1b}[2J{}]\n", "x".repeat(300_000));
    let invalid = load_text(Path::new("test.yaml"), &text, &[]).map(|cells| cells.len()).unwrap_err().to_string();
    assert!(invalid.len() < 3_000 && !invalid.contains('\u{1b}'), "{invalid}");
}
