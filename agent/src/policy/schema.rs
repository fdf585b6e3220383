//! The JSON Schema of a policy file, from the structs of `document.rs`.

use serde_json::{Value as Json, json};

use super::{
    decode::{Decode, Definitions},
    document::File,
};

/// JSON Schema (draft 2020-12) of one policy file. It says what shape a file has; references between names,
/// addresses and the like are checked by `load` only.
pub fn schema() -> Json {
    let mut definitions = Definitions::new();
    let root = File::schema(&mut definitions);
    // A single file must say its version; the decoder reports that itself, with a code of its own.
    if let Some(required) = definitions.get_mut("File").and_then(|file| file.get_mut("required")) {
        *required = json!(["version"]);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sekimori policy, version 1",
        "$ref": root["$ref"],
        "$defs": definitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_resolves_and_every_field_is_described() {
        let schema = schema();
        let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
        assert!(definitions.len() >= 14);
        for (name, definition) in &definitions {
            assert_eq!(definition["additionalProperties"], false, "{name}");
            for (field, property) in definition["properties"].as_object().into_iter().flatten() {
                let text = property["description"].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{name}.{field} says nothing");
            }
        }
        let text = schema.to_string();
        for reference in text.split("\"$ref\":\"#/$defs/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(definitions.contains_key(name), "{name} is not defined");
        }
    }

    #[test]
    fn required_and_keywords_come_from_the_structs() {
        let schema = schema();
        assert_eq!(schema["$defs"]["File"]["required"], json!(["version"]));
        let zone = &schema["$defs"]["Zone"];
        assert_eq!(zone["required"], json!(["interfaces", "prefixes", "devices"]));
        assert_eq!(zone["properties"]["devices"]["enum"], json!(["registered", "known", "any"]));
        assert!(schema["$defs"]["Test"]["properties"]["in"].is_object());
        assert!(schema["$defs"]["Test"]["properties"]["at"].is_object());
    }
}
