//! The published schema against a validator that is not ours: it takes the policies that load and refuses what the
//! decoder refuses for its shape.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use sekimori::policy::{
    diagnostic::Sink,
    schema,
    yaml::{self, Node, Value},
};
use serde_json::{Map, Value as Json};

/// Problems of the shape: fields, types, required values, words with a pattern of their own.
const SHAPE: [&str; 8] = ["E012", "E013", "E014", "E015", "E016", "E018", "E019", "E044"];
/// The reader's own: such a file is no tree.
const SYNTAX: [&str; 6] = ["E004", "E005", "E006", "E007", "E008", "E009"];

fn under(folder: &str) -> Vec<PathBuf> {
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                waiting.push(entry);
            } else if entry.extension().is_some_and(|end| end == "yaml" || end == "yml") {
                files.push(entry);
            }
        }
    }
    files.sort();
    files
}

fn validator() -> Validator {
    jsonschema::options().should_validate_formats(true).build(&schema()).unwrap()
}

/// What an editor that knows YAML 1.2 hands to its validator.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Refused => Json::Null,
        Value::Scalar { text, plain: true } if text == "true" || text == "false" => Json::Bool(text == "true"),
        Value::Scalar { text, plain: true } => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) if number.is_finite() => number.into(),
            _ => text.as_str().into(),
        },
        Value::Scalar { text, plain: false } => text.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect::<Map<_, _>>().into()
        }
    }
}

fn tree(path: &Path) -> Json {
    let mut sink = Sink::over(vec![path.to_path_buf()]);
    json(&yaml::read(&std::fs::read(path).unwrap(), 0, &mut sink).root)
}

fn complaints(validator: &Validator, path: &Path) -> String {
    let found: Vec<String> = validator
        .iter_errors(&tree(path))
        .map(|error| format!("{}: {}: {error}", path.display(), error.instance_path()))
        .collect();
    found.join("\n")
}

#[test]
fn the_schema_itself_is_valid() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn the_policies_that_load_are_valid() {
    let validator = validator();
    let mut files = under("../policies");
    assert!(files.len() >= 7, "{files:?}");
    files.extend(under("tests/full"));
    for file in files {
        let complaints = complaints(&validator, &file);
        assert!(complaints.is_empty(), "{complaints}");
    }
}

#[test]
fn what_the_decoder_refuses_for_its_shape_the_schema_refuses() {
    let validator = validator();
    let (mut refused, mut taken) = (0, 0);
    let mut failures = String::new();
    for file in under("tests/broken") {
        let text = std::fs::read_to_string(&file).unwrap();
        let codes: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# expect: ")?.split(' ').next()).collect();
        let any = |of: &[&str]| codes.iter().any(|code| of.contains(code));
        let complaints = complaints(&validator, &file);
        if any(&SHAPE) {
            refused += 1;
            if complaints.is_empty() {
                failures += &format!("{} {codes:?}: the schema takes it\n", file.display());
            }
        } else if !any(&SYNTAX) && codes.iter().all(|code| *code >= "E040") {
            // What only names or meanings are wrong with is no matter of the schema.
            taken += 1;
            if !complaints.is_empty() {
                failures += &format!("{codes:?}: {complaints}\n");
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(refused >= 10 && taken >= 10, "{refused} refused, {taken} taken");
}
