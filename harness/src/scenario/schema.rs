//! The JSON Schema of files, by which editors help to write them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::language::Scenario;

/// The JSON Schema of a scenario file.
pub fn schema() -> Schema {
    with_matrix::<Scenario>()
}

/// The JSON Schema of a file that is read into a `T`. It is made of the types that files are read into, and of `matrix`,
/// which is taken out before that.
pub(crate) fn with_matrix<T: JsonSchema>() -> Schema {
    // Draft 7 is what the language servers for YAML understand best.
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>();
    let mut properties = schema.remove("properties").unwrap_or_default();
    if let Value::Object(properties) = &mut properties {
        properties.insert("matrix".to_owned(), matrix());
    }
    schema.insert("properties".to_owned(), properties);
    schema
}

fn matrix() -> Value {
    json!({
        "description": "Runs the file once for each combination of these values, such as \
            `nodes.alice.kind: [core-31, knots-29]`: the places of values in the file, with the values that they take.",
        "type": "object",
        "propertyNames": { "pattern": "^[^.]+(\\.[^.]+)*$" },
        "additionalProperties": { "type": "array", "minItems": 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_up_to_date() {
        crate::published::is_up_to_date("scenario.json", &schema());
    }

    /// What an editor would show, and complain of.
    #[test]
    fn every_key_and_every_step_is_described() {
        let schema = schema();
        let schema = schema.as_value();
        let described = |value: &Value| value["description"].as_str().is_some_and(|text| text.len() > 3);
        for (key, property) in schema["properties"].as_object().unwrap() {
            assert!(described(property), "{key}: {property}");
        }
        let steps = schema["definitions"]["Step"]["oneOf"].as_array().unwrap();
        assert!(steps.len() > 20, "{steps:?}");
        for step in steps {
            assert!(described(step), "{step}");
        }
        let words =
            |step: &Value| step["const"] == "open" || step["enum"].as_array().is_some_and(|words| !words.is_empty());
        assert!(steps.iter().any(words), "steps without a value are words: {steps:?}");
    }
}
