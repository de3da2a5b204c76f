//! The scenarios say what they show, and together they use the whole language.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use shopfloor::race;
use shopfloor::scenario::{self, Expect, Loaded, Step};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn all() -> Result<Vec<Loaded>, Box<dyn Error>> {
    let mut all = Vec::new();
    for file in scenario::find(&[root().to_owned()])?.files {
        all.extend(scenario::load(&file, &[])?);
    }
    Ok(all)
}

#[test]
fn every_scenario_says_what_it_shows() -> Result<(), Box<dyn Error>> {
    let (mut names, mut files) = (BTreeSet::new(), BTreeSet::new());
    for loaded in all()? {
        if !files.insert(loaded.file.clone()) {
            continue;
        }
        let (file, scenario) = (loaded.file.strip_prefix(root())?.to_owned(), &loaded.scenario);
        assert!(scenario.description.trim().chars().count() >= 60, "{}: expected a description", file.display());
        assert!(!scenario.tags.is_empty(), "{}: expected a tag", file.display());
        assert_eq!(file.components().count(), 2, "{}: expected a topic folder", file.display());
        assert!(names.insert(scenario.name.clone()), "{}: `{}` is there twice", file.display(), scenario.name);
    }
    Ok(())
}

#[test]
fn every_experiment_is_sound_and_says_what_it_shows() -> Result<(), Box<dyn Error>> {
    let mut names = BTreeSet::new();
    for file in race::find(&[root().to_owned()])?.files {
        let cells = race::load(&file, &[])?;
        let experiment = &cells.first().ok_or("no cell")?.experiment;
        let file = file.strip_prefix(root())?;
        assert!(experiment.description.trim().chars().count() >= 60, "{}: expected a description", file.display());
        assert_eq!(file.components().count(), 2, "{}: expected a topic folder", file.display());
        assert!(names.insert(experiment.name.clone()), "{}: `{}` is there twice", file.display(), experiment.name);
    }
    assert!(!names.is_empty(), "there is no experiment");
    Ok(())
}

#[test]
fn the_scenarios_use_every_step_and_every_expectation() -> Result<(), Box<dyn Error>> {
    let (mut steps, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for Loaded { scenario, .. } in all()? {
        note(&scenario.expect, &mut fields);
        for step in &scenario.steps {
            steps.insert(name(step));
            match step {
                Step::Expect(expect) => note(expect, &mut fields),
                Step::WaitFor(wait) => note(&wait.expect, &mut fields),
                _ => {}
            }
        }
    }
    let missing = |all: &[&'static str], used: &BTreeSet<&'static str>| -> Vec<&'static str> {
        all.iter().copied().filter(|name| !used.contains(name)).collect()
    };
    assert_eq!(missing(&STEPS, &steps), [""; 0], "steps that no scenario uses");
    assert_eq!(missing(&FIELDS, &fields), [""; 0], "expectations that no scenario uses");
    Ok(())
}

/// Makes the list of all names, and the function that gives each its own: a variant that is missing does not compile.
macro_rules! steps {
    ($($variant:ident $name:literal),* $(,)?) => {
        const STEPS: [&str; [$($name),*].len()] = [$($name),*];

        fn name(step: &Step) -> &'static str {
            match step {
                $(Step::$variant { .. } => $name,)*
            }
        }
    };
}

steps! {
    Open "open", Pay "pay", Htlc "htlc", Claim "claim", Fail "fail", Quiesce "quiesce", Sign "sign",
    Broadcast "broadcast", SubmitPackage "submit-package", Spend "spend", Fill "fill", FallBack "fall-back", Mine "mine", Reorg "reorg",
    Partition "partition", Heal "heal", Kill "kill", Stop "stop", Start "start", Pause "pause", Resume "resume",
    Silence "silence", Offline "offline", Crash "crash", Online "online", Withhold "withhold", WaitFor "wait-for",
    Expect "expect", ExpectStates "expect-states",
}

/// The same for the fields of [`Expect`]: each counts as used where it is not as it is by default.
macro_rules! fields {
    ($($field:ident),* $(,)?) => {
        const FIELDS: [&str; [$(stringify!($field)),*].len()] = [$(stringify!($field)),*];

        fn note(expect: &Expect, used: &mut BTreeSet<&'static str>) {
            let Expect { $($field),* } = expect;
            let unused = Expect::default();
            $(if *$field != unused.$field {
                used.insert(stringify!($field));
            })*
        }
    };
}

fields! {
    at, signed, in_mempool, replaced, evicted, confirmed, buried, confirmations, mempool, fees, sizes, height,
    same_tip, balances, reported, outstanding, unsettled,
}
