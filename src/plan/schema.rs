//! The JSON Schema of a plan, for editors.
//!
//! It isn't written down anywhere: the keys, their types and choices are those that the reader asks for while it reads a
//! plan with every section in it, and what they mean is in `docs/plan.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};
use toml::de::DeTable;

use super::parse;
use super::reader::{Section, Source, What};

/// Every section there is; what is asked for depends on the kinds of the stores.
const SECTIONS: [&str; 2] = [
    "[old]\nkind = \"cassandra\"\n[old.tls]\n[new]\nkind = \"dynamodb\"\n[new.tls]\n[journal]\n[pace]\n[lease]\n[shim]\n\
     [verify]\n[prices]\n[serve]\n[mask]\n[defaults]\nfence = {}\ncapacity = {}\nwarm = {}\nexpiry = {}\n\
     [[table]]\nfence = {}\ncapacity = {}\nwarm = {}\nexpiry = {}\nkeys = {}\ncolumns = { any = {} }\n",
    "[old]\nkind = \"embedded\"\n[new]\nkind = \"embedded\"\n[[table]]\n",
];

/// Sections of which other keys are required for each kind: `kind` alone is for all.
const BY_KIND: [&str; 2] = ["old", "new"];

/// What the reader asks for, by its place: `old.tls.ca`. A name that is free is `*`.
#[derive(Default)]
struct AskedKeys {
    keys: BTreeMap<String, What>,
    required: BTreeSet<String>,
}

/// The JSON Schema of a plan, as draft 2020-12 has it.
pub fn json_schema() -> Value {
    let mut asked = AskedKeys::default();
    for text in SECTIONS {
        let env = |_: &str| None;
        let source = Source::new(Path::new("plan.toml"), text, &env);
        let (document, _) = DeTable::parse_recoverable(text);
        // What is wrong with it is noted in the source, which is of no use here.
        drop(parse::read(Section::top(&source, document.get_ref())));
        let (keys, required) = source.asked();
        asked.keys.extend(keys);
        asked.required.extend(required);
    }
    // A plan without any table is told of in other words than one without a name.
    asked.required.insert("table".to_owned());
    let told = descriptions(include_str!("../../docs/plan.md"));
    let mut schema = section("", &asked, &told);
    schema.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".into(), json!("A plan of migrate"));
    Value::Object(schema)
}

fn section(path: &str, asked: &AskedKeys, told: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut free = None;
    for (place, what) in &asked.keys {
        let (parent, key) = place.rsplit_once('.').unwrap_or(("", place));
        if parent != path {
            continue;
        }
        let mut value = property(place, what, asked, told);
        let same = place.replacen("defaults.", "table.", 1);
        if let Some(told) = told.get(place).or_else(|| told.get(&same)) {
            value.insert("description".into(), json!(told));
        }
        if key == "*" {
            free = Some(value);
            continue;
        }
        let is_of_all = !BY_KIND.contains(&path) || key == "kind";
        if asked.required.contains(place) && is_of_all {
            required.push(json!(key));
        }
        properties.insert(key.to_owned(), Value::Object(value));
    }
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert(
        "additionalProperties".into(),
        free.map_or(json!(false), Value::Object),
    );
    if !required.is_empty() {
        schema.insert("required".into(), Value::Array(required));
    }
    schema
}

fn property(
    place: &str,
    what: &What,
    asked: &AskedKeys,
    told: &BTreeMap<String, String>,
) -> Map<String, Value> {
    let choices = |names: &[String]| json!({"type": "string", "enum": names});
    let value = match what {
        What::Text => json!({"type": "string", "minLength": 1}),
        What::Texts => json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
        What::Flag => json!({"type": "boolean"}),
        What::Time => json!({"type": "string", "pattern": "^[0-9]+[smhd]$|\\$\\{"}),
        What::Whole(within) => {
            json!({"type": "integer", "minimum": within.start(), "maximum": within.end()})
        }
        What::Amount => json!({"type": "number", "minimum": 0}),
        What::Choice(names) => choices(names),
        What::Choices(names) => json!({"type": "array", "items": choices(names)}),
        What::Section => Value::Object(section(place, asked, told)),
        What::SectionOrNone => {
            json!({"anyOf": [{"const": false}, Value::Object(section(place, asked, told))]})
        }
        What::Sections => {
            json!({"type": "array", "minItems": 1, "items": Value::Object(section(place, asked, told))})
        }
    };
    match value {
        Value::Object(value) => value,
        _ => Map::new(),
    }
}

/// What a page says of each key: the rows of its tables, below headings and in cells that name sections.
fn descriptions(page: &str) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    let mut heading = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let section = title.split('`').nth(1).unwrap_or_default();
            heading = section.trim_matches(['[', ']']).to_owned();
            continue;
        }
        let line = line.replace(" | |", " |  |");
        let cells: Vec<&str> = line.split(" | ").collect();
        let [names, default, text] = cells.as_slice() else {
            continue;
        };
        let words = names.split('`').skip(1).step_by(2);
        let text = text.trim_end_matches(['|', ' ']);
        let text = match (default.trim(), text) {
            ("", text) => text.to_owned(),
            (default, "") => default.to_owned(),
            (default, text) => format!("{default}; {text}"),
        };
        for word in words {
            let place = match word.split_once("] ") {
                Some((section, key)) => format!("{}.{key}", section.trim_matches('[')),
                None if word.starts_with('[') => word.trim_matches(['[', ']']).to_owned(),
                None if heading.is_empty() => word.to_owned(),
                None => format!("{heading}.{word}"),
            };
            told.insert(place, without_links(&text));
        }
    }
    told
}

/// `[text](address)` as `text`.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let open = before.rfind('[').unwrap_or(0);
        out.push_str(&before[..open]);
        out.push_str(before[open..].trim_start_matches('['));
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}
