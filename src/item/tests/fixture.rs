#![cfg(feature = "_store")]

use super::*;

/// The examples that applications in other languages test themselves with. They were made by another
/// program, from the README's page on keys.
#[test]
fn keys_are_those_of_the_fixture() {
    let fixture = include_str!("../../../tests/fixtures/keys.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    let mut rows = 0;
    for table in fixture["tables"].as_array().unwrap() {
        let mapping = fixture_mapping(table);
        let table_columns = &mapping.table().columns;
        for row in table["rows"].as_array().unwrap() {
            let value = |column: &Column| {
                let digits = row["key"][&column.name].as_str().unwrap();
                let bytes = text::of_hex(digits.strip_prefix("0x").unwrap()).unwrap();
                crate::codec::cql::decode(&column.ty, &bytes)
            };
            let values = |columns: &[Column]| columns.iter().map(value).collect();
            let is_static = row["static"].as_bool() == Some(true);
            let key = Key {
                partition: values(mapping.table().partition()),
                clustering: (!is_static).then(|| values(mapping.table().clustering())),
            };
            let attributes = mapping.key(&key).unwrap();
            let item: serde_json::Map<_, _> = attributes.into_iter().map(as_json).collect();
            assert_eq!(
                serde_json::Value::from(item),
                row["item"],
                "{}",
                table["about"]
            );

            let cells = vec![None; mapping.table().cells().len()];
            let item = mapping.item(&Row::new(key.clone(), cells)).unwrap();
            assert_eq!(mapping.row(item).unwrap().key, key, "{table_columns:?}");
            rows += 1;
        }
    }
    assert!(rows >= 35, "{rows}");
}

fn fixture_mapping(table: &serde_json::Value) -> Mapping {
    let columns = table["columns"].as_array().unwrap().iter().map(|field| {
        let text = |name: &str| field[name].as_str().unwrap();
        let role = match text("role") {
            "partition" => Role::Partition,
            "ascending" => Role::Clustering(Order::Asc),
            "descending" => Role::Clustering(Order::Desc),
            "static" => Role::Static,
            role => {
                assert_eq!(role, "regular");
                Role::Regular
            }
        };
        column(
            text("name"),
            Type::parse(text("type"), &[]).unwrap().0,
            role,
        )
    });
    let mut schema = Table::new("t", columns.collect());
    let named = |part: &str| Some(table["keys"][part].as_str()?.to_owned());
    schema.layout.partition_attribute = named("partition");
    schema.layout.sort_attribute = named("sort");
    schema.layout.partition_hash = table["keys"]["partition_hash"] == true;
    Mapping::new(&schema).unwrap()
}

fn as_json((name, attr): (String, Attr)) -> (String, serde_json::Value) {
    let attr = match attr {
        Attr::S(text) => serde_json::json!({ "S": text }),
        Attr::N(number) => serde_json::json!({ "N": number }),
        Attr::B(bytes) => serde_json::json!({ "B": text::hex(&bytes) }),
        other => serde_json::json!(format!("{other:?} is in no key")),
    };
    (name, attr)
}
