//! The OpenAPI document, from the table of operations and the very types that are read and written.

use std::sync::LazyLock;

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    answer,
    operations::{OPERATIONS, Operation},
    visit::Passer,
};
use crate::api::Problem;

static DOCUMENT: LazyLock<Result<Vec<u8>, serde_json::Error>> = LazyLock::new(|| serde_json::to_vec(&document()));

/// What is served: it says nothing about this box, so that nobody has to be known to read it.
pub(super) async fn serve(_: Passer) -> Response {
    match &*DOCUMENT {
        Ok(bytes) => answer::json(StatusCode::OK, bytes.clone()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// OpenAPI 3.1.
fn document() -> Value {
    let settings =
        || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut read = settings().for_deserialize().into_generator();
    let mut written = settings().for_serialize().into_generator();
    let refusal = refusal(&mut written);
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(operation, &mut read, &mut written);
    }
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sekimori",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What `sekimori` does on the command line, by the network. `exit` is the exit code of the command that asks the same: \
                            0 done or yes, 1 a clean no or something beside it went wrong, 2 a failure. Texts come in Japanese if `Accept-Language` begins with `ja`.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "security": [{ "token": [] }, { "certificate": [] }],
        "components": {
            "schemas": schemas,
            "responses": { "Refusal": {
                "description": "Not done: 400 not understood, 401 nobody who is known, 403 not permitted, 404 and 405 nothing there, 408 and 413 the body, \
                                409 refused or not in force, 415 not JSON, 429 too fast (503 for alerts), 500 failed, 503 busy.",
                "content": { "application/json": { "schema": refusal } },
            } },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "As `sekimori token add` showed it." },
                "certificate": { "type": "mutualTLS", "description": "Its subject was given to `sekimori token add --certificate`." },
            },
        },
    })
}

fn described(operation: &Operation, read: &mut SchemaGenerator, written: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": {
            "200": {
                "description": "The answer.",
                "content": { "application/json": { "schema": (operation.gives)(written) } },
            },
            "default": { "$ref": "#/components/responses/Refusal" },
        },
    });
    if let Some(takes) = operation.takes {
        let schema = takes(read);
        described["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    if operation.open {
        described["security"] = json!([]);
    }
    let parameters: Vec<Value> = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if !parameters.is_empty() {
        described["parameters"] = json!(parameters);
    }
    described
}

/// An answer around this body.
pub(super) fn answer_of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let (body, problem) = (generator.subschema_for::<T>(), generator.subschema_for::<Problem>());
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "exit": { "enum": [0, 1] },
            "body": body,
            "error": problem,
        },
        "required": ["exit", "body"],
    })
}

fn refusal(generator: &mut SchemaGenerator) -> Schema {
    let problem = generator.subschema_for::<Problem>();
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "exit": { "enum": [1, 2] },
            "error": problem,
            "body": { "description": "As under 200, where something was done and is not in force." },
        },
        "required": ["exit"],
        "anyOf": [{ "required": ["error"] }, { "required": ["body"] }],
    })
}

/// What a body says.
pub(super) fn body_of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Any object.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object" })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_reference_resolves_and_ids_are_unique() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let mut ids: Vec<&str> = OPERATIONS.iter().map(|operation| operation.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), OPERATIONS.len());
        assert!(document["paths"]["/v1/alerts/{receiver}"]["post"]["parameters"].is_array());
    }

    #[test]
    fn what_is_read_and_what_is_written_do_not_share_a_name_for_two_things() {
        let settings = || SchemaSettings::draft2020_12();
        let mut read = settings().for_deserialize().into_generator();
        let mut written = settings().for_serialize().into_generator();
        for operation in OPERATIONS {
            operation.takes.map(|takes| takes(&mut read));
            (operation.gives)(&mut written);
        }
        let written = written.take_definitions(true);
        for (name, schema) in read.take_definitions(true) {
            assert!(written.get(&name).is_none_or(|other| *other == schema), "{name}");
        }
    }
}
