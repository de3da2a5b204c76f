//! The JSON Schemas of experiment files, by which editors help to write them, and of what comes of them.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::language::Experiment;
use super::report::RaceReport;

/// The JSON Schema of an experiment file.
pub fn schema() -> Schema {
    crate::scenario::with_matrix::<Experiment>()
}

/// The JSON Schema of what `shopfloor race --json` writes.
pub fn reports_schema() -> Schema {
    SchemaSettings::draft07().for_serialize().into_generator().into_root_schema_for::<Vec<RaceReport>>()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::samples;
    use super::*;

    #[test]
    fn the_file_is_up_to_date() {
        crate::published::is_up_to_date("experiment.json", &schema());
    }

    #[test]
    fn the_file_of_reports_is_up_to_date() {
        crate::published::is_up_to_date("races.json", &reports_schema());
    }

    /// Everything in the JSON is in the schema, under the same name.
    #[test]
    fn the_json_is_what_the_schema_describes() {
        let reports = [samples::single(), samples::matrix(&["0 sat/vB", "1 sat/vB"])];
        let json = serde_json::to_value(reports).unwrap();
        let optional = ["block_weight", "claim", "description", "nodes", "records"];
        let keys = crate::published::describes(&reports_schema(), &json, &optional);
        // Eleven keys of each of the 200 trials, of the one point and of the ten.
        assert!(keys > 200 * 11 * 11, "{keys}");
        assert_eq!(json[0]["points"][0]["records"][0]["winner"], "factory-close");
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
