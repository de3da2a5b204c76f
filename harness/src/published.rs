//! What the tests of every published JSON Schema check.

use std::path::Path;

use schemars::Schema;
use serde_json::Value;

/// Checks that the file of this name in `schema/` is what the types say now. With `SHOPFLOOR_BLESS` it is written first.
pub(crate) fn is_up_to_date(name: &str, schema: &Schema) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(name);
    let made = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("SHOPFLOOR_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == made,
        "harness/schema/{name} is not what the types say: \
         run `SHOPFLOOR_BLESS=1 cargo test -p shopfloor --lib schema` and commit the file"
    );
}

/// Checks that everything in `value` is in the schema under the same name, with words, that nothing is missing in it, and that
/// the schema says of every key that it is always there, but for `optional` ones. Returns how many keys there are.
pub(crate) fn describes(schema: &Schema, value: &Value, optional: &[&str]) -> usize {
    let mut keys = 0;
    described(value, schema.as_value(), (schema.as_value(), optional), &mut keys);
    keys
}

fn described(value: &Value, schema: &Value, root: (&Value, &[&str]), keys: &mut usize) {
    if let Some(place) = schema["$ref"].as_str() {
        return described(value, root.0.pointer(place.trim_start_matches('#')).unwrap(), root, keys);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return described(value, &all[0], root, keys);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        assert!(any.len() == 2 && any[1]["type"] == "null", "it is no `Option`: {schema}");
        if !value.is_null() {
            described(value, &any[0], root, keys);
        }
        return;
    }
    match value {
        Value::Object(map) if schema["properties"].is_object() => {
            let none = Vec::new();
            let required = schema["required"].as_array().unwrap_or(&none);
            for (key, value) in map {
                let property = &schema["properties"][key];
                assert!(property["description"].as_str().is_some_and(|text| text.len() > 5), "{key}: {property}");
                let always = required.contains(&Value::from(key.as_str()));
                assert!(always != root.1.contains(&key.as_str()), "{key} is always there: {always}");
                described(value, property, root, keys);
                *keys += 1;
            }
            assert!(required.iter().all(|key| map.contains_key(key.as_str().unwrap())), "{required:?}");
        }
        Value::Object(map) => {
            assert!(schema["additionalProperties"].is_object(), "{schema}");
            map.values().for_each(|value| described(value, &schema["additionalProperties"], root, keys));
        }
        Value::Array(list) => {
            assert!(schema["items"].is_object(), "{schema}");
            list.iter().for_each(|value| described(value, &schema["items"], root, keys));
        }
        _ => {}
    }
}
