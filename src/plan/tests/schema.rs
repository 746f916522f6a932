//! The JSON Schema against plans that hold, and some that don't.

use serde_json::{Value, json};

use super::*;
use crate::plan::schema::json_schema;

/// What is wrong with a value by the words that the schema uses.
fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(either) = schema["anyOf"].as_array() {
        let fits = |one: &Value| faults(one, value, at).is_empty();
        return match either.iter().any(fits) {
            true => found,
            false => vec![format!("{at}: none of these")],
        };
    }
    if let Some(wanted) = schema.get("const") {
        return match wanted == value {
            true => found,
            false => vec![format!("{at}: not {wanted}")],
        };
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        other => panic!("{at}: {other:?}"),
    };
    if !fits {
        return vec![format!("{at}: not of the type")];
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        found.push(format!("{at}: not one of {choices:?}"));
    }
    if let Some(number) = value.as_i64()
        && (number < schema["minimum"].as_i64().unwrap()
            || number > schema["maximum"].as_i64().unwrap())
    {
        found.push(format!("{at}: out of bounds"));
    }
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(&schema["items"], item, &format!("{at}[{place}]")));
    }
    let Some(fields) = value.as_object() else {
        return found;
    };
    for (name, field) in fields {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => found.push(format!("{at}: unknown")),
            (Value::Null, free) => found.extend(faults(free, field, &at)),
            (known, _) => found.extend(faults(known, field, &at)),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            found.push(format!("{at}: no {name}"));
        }
    }
    found
}

fn judged(text: &str) -> Vec<String> {
    let plan: Value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    faults(&json_schema(), &plan, "")
}

#[test]
fn every_worked_plan_fits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(judged(&text), [""; 0], "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 3);
    assert_eq!(judged(SMALL), [""; 0]);
}

#[test]
fn what_the_reader_refuses_doesnt_fit() {
    for (line, by, said) in [
        (
            "kind = \"cassandra\"",
            "kind = \"casandra\"",
            ".old.kind: not one of",
        ),
        (
            "nodes = [\"127.0.0.1\"]",
            "nodes = \"127.0.0.1\"",
            ".old.nodes: not of the type",
        ),
        (
            "keyspace = \"bgt\"",
            "keyspase = \"bgt\"",
            ".old.keyspase: unknown",
        ),
        (
            "name = \"users\"",
            "to = \"users\"",
            ".table[0]: no \"name\"",
        ),
        (
            "name = \"users\"",
            "name = \"users\"\nexpiry = true",
            ".table[0].expiry: none of these",
        ),
        (
            "name = \"users\"",
            "name = \"users\"\ncolumns = { a = { mask = \"x\" } }",
            ".table[0].columns.a.mask: not one of",
        ),
        (
            "name = \"users\"",
            "name = \"users\"\ncolumns = { a = { form = \"x\" } }",
            ".table[0].columns.a.form: not one of",
        ),
        (
            "[[table]]",
            "[pace]\nwrite_units = 0\n[[table]]",
            ".pace.write_units: out of bounds",
        ),
        (
            "[[table]]",
            "[defaults]\nwhere = 5\n[[table]]",
            ".defaults.where: unknown",
        ),
    ] {
        let text = with(line, by);
        let found = judged(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(said), "{found:?}");
        assert!(parse(&text).is_err(), "{text}");
    }
}

/// Editors show what a key means: the page has a row for each.
#[test]
fn every_key_is_told_of() {
    fn untold(schema: &Value, at: &str, depth: usize, found: &mut Vec<String>) {
        let schema = schema["anyOf"].get(1).unwrap_or(schema);
        let schema = schema.get("items").unwrap_or(schema);
        for (name, value) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            // Which store it is can be seen in the headings; what is deeper is told of with what it is in.
            let is_told = value["description"]
                .as_str()
                .is_some_and(|told| told.len() > 4);
            // A section is told of key by key.
            let is_section = value["type"] == "object";
            if !is_told && !is_section && !["kind", "path"].contains(&name.as_str()) && depth < 2 {
                found.push(at.clone());
            }
            untold(value, &at, depth + 1, found);
        }
    }
    let mut found = Vec::new();
    untold(&json_schema(), "", 0, &mut found);
    assert_eq!(found, [""; 0]);
    let schema = json_schema();
    assert_eq!(
        schema["properties"]["table"]["items"]["properties"]["final_read"]["enum"],
        json!(["all", "quorum"])
    );
    let fresh = &schema["properties"]["verify"]["properties"]["fresh"]["description"];
    assert!(
        fresh
            .as_str()
            .unwrap()
            .contains("verification may have been read"),
        "{fresh}"
    );
}
