//! The reference of the languages of scenarios and experiments says nothing that is wrong, and leaves nothing out.

use std::path::Path;

use serde_json::Value;
use shopfloor::scenario::FileKind;
use shopfloor::{race, scenario};

fn reference() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/README.md")).unwrap()
}

#[test]
fn every_file_in_it_is_sound() {
    let text = reference();
    let snippets: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").expect("every fence is closed").0).collect();
    assert!(snippets.len() >= 3, "{}", snippets.len());
    let (mut cells, mut experiments) = (0, 0);
    for snippet in snippets {
        let file = Path::new("README.md");
        let loaded = match FileKind::of(snippet) {
            FileKind::Scenario => scenario::load_text(file, snippet, &[]).map(|loaded| cells += loaded.len()),
            FileKind::Experiment => race::load_text(file, snippet, &[]).map(|loaded| experiments += loaded.len()),
        };
        loaded.unwrap_or_else(|invalid| panic!("{invalid}\nin\n{snippet}"));
    }
    assert!(cells >= 6 && experiments >= 1, "{cells} {experiments}");
}

/// The names of the steps, the expectations and all other keys, by the schema, so that none is forgotten.
#[test]
fn every_word_of_the_language_is_in_it() {
    let text = reference();
    let schema = scenario::schema();
    let schema = schema.as_value();
    let mut words = Vec::new();
    for step in schema["definitions"]["Step"]["oneOf"].as_array().unwrap() {
        match step["properties"].as_object() {
            Some(properties) => words.extend(properties.keys().map(String::as_str)),
            None => words.extend(step["const"].as_str().into_iter().chain(enumerated(step))),
        }
    }
    assert!(words.len() > 20 && words.contains(&"open") && words.contains(&"wait-for"), "{words:?}");
    for keys in [&schema["properties"], &schema["definitions"]["Expect"]["properties"]] {
        words.extend(keys.as_object().unwrap().keys().map(String::as_str));
    }
    for kind in ["FactorySpec", "NodeSpec", "PartySpec"] {
        words.extend(schema["definitions"][kind]["properties"].as_object().unwrap().keys().map(String::as_str));
    }
    for word in words {
        assert!(text.contains(&format!("`{word}`")), "`{word}` is missing");
    }
    // Every step has an example of its own.
    for step in schema["definitions"]["Step"]["oneOf"].as_array().unwrap() {
        let name = step["properties"].as_object().and_then(|properties| properties.keys().next().map(String::as_str));
        if let Some(name) = name {
            assert!(text.contains(&format!("`- {name}: ")), "{name} has no example");
        }
    }
}

/// The same for experiments: all keys, and the words that a value can be, but for those of scenarios.
#[test]
fn every_word_of_experiments_is_in_it() {
    let text = reference();
    let text = text.split_once("## Experiments").expect("a section of their own").1;
    let schema = race::schema();
    let mut words = std::collections::BTreeSet::new();
    words_of(schema.as_value(), &mut words);
    assert!(words.len() > 60 && words.contains("first-seen") && words.contains("lag"), "{words:?}");
    for word in words {
        // In a table of keys, or in an example.
        let is_there = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_-".contains(letter));
        assert!(is_there.into_iter().any(|there| there == word), "`{word}` is missing");
    }
}

fn words_of(value: &Value, words: &mut std::collections::BTreeSet<String>) {
    words.extend(value["properties"].as_object().into_iter().flat_map(|keys| keys.keys().cloned()));
    words.extend(value["const"].as_str().map(str::to_owned));
    words.extend(enumerated(value).map(str::to_owned));
    match value {
        Value::Object(map) => map.values().for_each(|value| words_of(value, words)),
        Value::Array(list) => list.iter().for_each(|value| words_of(value, words)),
        _ => {}
    }
}

/// The examples of steps in the tables are what the language says.
#[test]
fn every_example_of_a_step_can_be_read() {
    let text = reference();
    let examples = text.lines().filter(|line| line.starts_with("| `")).flat_map(|line| line.split('`'));
    let examples: Vec<&str> = examples.filter(|part| part.starts_with("- ")).collect();
    assert!(examples.len() > 25, "{examples:?}");
    for example in examples {
        let scenario = format!(
            "name: an example\nnodes:\n  alice: {{ kind: core-31 }}\n  bob: {{ kind: core-31 }}\n  carol: {{ kind: core-31 }}\n\
            factory: {{ members: 2, capacity: 1_000_000 sat }}\nsteps:\n  {example}\n"
        );
        if let Err(invalid) = scenario::load_text(Path::new("README.md"), &scenario, &[]) {
            // Alone, a step may come at the wrong time; its form must be right.
            let text = invalid.to_string();
            assert!(
                !text.contains("unknown ") && !text.contains("found ") && !text.contains("missing"),
                "{example}: {text}"
            );
        }
    }
}

fn enumerated(step: &Value) -> impl Iterator<Item = &str> {
    step["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)
}
