//! The JSON Schema of experiment files, by which editors help to write them.

use schemars::Schema;

use super::language::Experiment;

/// The JSON Schema of an experiment file.
pub fn schema() -> Schema {
    crate::scenario::with_matrix::<Experiment>()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/experiment.json");

    #[test]
    fn the_file_is_up_to_date() {
        let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("SHOPFLOOR_BLESS").is_some() {
            std::fs::write(FILE, &made).unwrap();
        }
        let there = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            there == made,
            "harness/schema/experiment.json is not what the types say: \
            run `SHOPFLOOR_BLESS=1 cargo test -p shopfloor --lib schema` and commit the file"
        );
    }

    /// What an editor would show of each, wherever it stands.
    #[test]
    fn every_key_and_every_word_is_described() {
        let schema = schema();
        let mut keys = 0;
        look(schema.as_value(), "", &mut keys);
        assert!(keys > 50, "{keys}");
    }

    fn look(value: &Value, path: &str, keys: &mut usize) {
        let described = |value: &Value| value["description"].as_str().is_some_and(|text| text.len() > 3);
        for (key, property) in value["properties"].as_object().into_iter().flatten() {
            // The one property of a word with a value is described beside it.
            assert!(described(property) || described(value), "{path}.{key}: {property}");
            *keys += 1;
        }
        for word in value["oneOf"].as_array().into_iter().flatten() {
            assert!(described(word), "{path}: {word}");
        }
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| look(value, &format!("{path}.{key}"), keys)),
            Value::Array(list) => list.iter().for_each(|value| look(value, path, keys)),
            _ => {}
        }
    }
}
