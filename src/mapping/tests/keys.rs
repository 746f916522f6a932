use super::*;

#[test]
fn key_attributes_are_the_columns_own_where_they_can_be() {
    let own = |ty: Type| {
        let mapping = mapping(vec![column("k", ty, Role::Partition)]);
        let key = mapping.partition().clone();
        assert_eq!(key.made, key.name == "pk");
        (key.ty, key.made)
    };
    for ty in [
        Type::TinyInt,
        Type::BigInt,
        Type::Date,
        Type::Time,
        Type::Timestamp,
    ] {
        assert_eq!(own(ty), (KeyType::N, false));
    }
    for ty in [
        Type::Text,
        Type::Ascii,
        Type::Uuid,
        Type::TimeUuid,
        Type::Inet,
        Type::Decimal,
    ] {
        assert_eq!(own(ty), (KeyType::S, false));
    }
    assert_eq!(own(Type::Blob), (KeyType::B, false));
    for ty in [Type::Varint, Type::Double, Type::Boolean, set(Type::Int)] {
        assert_eq!(own(ty), (KeyType::S, true));
    }

    let sort = |columns: Vec<Column>| {
        let mapping = mapping([vec![id()], columns].concat());
        let sort = mapping.sort().unwrap().clone();
        assert_eq!(sort.made, sort.name == "sk");
        (sort.ty, sort.made, mapping.is_reversed())
    };
    assert_eq!(sort(vec![asc("c", Type::Int)]), (KeyType::N, false, false));
    assert_eq!(sort(vec![desc("c", Type::Int)]), (KeyType::N, false, true));
    assert_eq!(sort(vec![asc("c", Type::Text)]), (KeyType::S, false, false));
    assert_eq!(sort(vec![asc("c", Type::Blob)]), (KeyType::B, true, false));
    assert_eq!(
        sort(vec![desc("c", Type::TimeUuid)]),
        (KeyType::B, true, true)
    );
    let statics = column("s", Type::Int, Role::Static);
    assert_eq!(
        sort(vec![asc("c", Type::Int), statics]),
        (KeyType::B, true, false)
    );
    let both = |a: fn(&str, Type) -> Column, b: fn(&str, Type) -> Column| {
        sort(vec![a("a", Type::Int), b("b", Type::Int)])
    };
    assert_eq!(both(asc, desc), (KeyType::B, true, false));
    assert_eq!(both(desc, desc), (KeyType::B, true, true));
    assert!(mapping(vec![id()]).sort().is_none());
}

#[test]
fn a_key_that_is_named_is_made() {
    let mut table = Table::new("t", vec![id(), asc("c", Type::Text)]);
    table.layout.sort_attribute = Some("range".into());
    table.layout.partition_attribute = Some("hash".into());
    let mapping = Mapping::new(&table).unwrap();
    let row = Row::new(
        Key::row(vec![Value::text("a#b")], vec![Value::text("")]),
        vec![],
    );
    let item = mapping.item(&row).unwrap();
    assert_eq!(
        item,
        [
            ("hash".into(), s("a#b")),
            ("range".into(), Attr::B(vec![2, 0, 1])),
            ("id".into(), s("a#b")),
            ("c".into(), s("")),
        ]
    );
    assert_eq!(mapping.row(item).unwrap(), row);
}

#[test]
fn keys_that_no_attribute_can_hold_are_refused() {
    let by_text = mapping(vec![id(), asc("c", Type::Text)]);
    let by_int = mapping(vec![id(), asc("c", Type::Int)]);
    let key = |id: &str, c: Value| Key::row(vec![Value::text(id)], vec![c]);
    for (mapping, c) in [(&by_text, Value::text("")), (&by_int, Value::Empty)] {
        let error = mapping.key(&key("a", c)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().contains("column c is empty"), "{error}");
        assert!(
            error.next_step().unwrap().contains("sort = \"sk\""),
            "{error}"
        );
    }
    let long = "x".repeat(1025);
    assert!(
        by_text
            .key(&key(&long[1..], Value::text(&long[1..])))
            .is_ok()
    );
    let error = by_text.key(&key("a", Value::text(&long))).unwrap_err();
    assert!(
        error.message().contains("1025") && error.message().contains("1024"),
        "{error}"
    );
    let twice = long.repeat(2);
    let error = by_text.key(&key(&twice, Value::text("c"))).unwrap_err();
    assert!(
        error.message().contains("2050") && error.message().contains("2048"),
        "{error}"
    );
    for wrong in [
        Key::statics(vec![Value::text("a")]),
        Key::row(vec![Value::text("a")], vec![]),
        Key::row(vec![], vec![Value::text("c")]),
        key("a", Value::Int(1)),
    ] {
        assert_eq!(by_text.key(&wrong).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn the_static_row_stands_first() {
    let mapping = mapping(vec![
        id(),
        asc("c", Type::Int),
        column("s", Type::Int, Role::Static),
        column("v", Type::Int, Role::Regular),
    ]);
    let statics = Row::new(
        Key::statics(vec![Value::text("a")]),
        vec![Some(Value::Int(1)), None],
    );
    let item = mapping.item(&statics).unwrap();
    assert_eq!(
        item[..2],
        [("id".into(), s("a")), ("sk".into(), Attr::B(vec![0]))]
    );
    assert_eq!(mapping.row(item).unwrap(), statics);
}

#[test]
fn a_sort_key_and_its_columns_must_agree() {
    let mapping = mapping(vec![id(), asc("c", Type::Decimal)]);
    let decimal = |unscaled: u8, scale| Value::Decimal {
        unscaled: vec![unscaled],
        scale,
    };
    let row = Row::new(
        Key::row(vec![Value::text("a")], vec![decimal(10, 1)]),
        vec![],
    );
    let item = mapping.item(&row).unwrap();
    assert_eq!(mapping.row(item.clone()).unwrap(), row);
    // Without the column's own attribute the sort key says an equal value.
    let read = mapping.row(item[..2].to_vec()).unwrap();
    assert_eq!(read.key.clustering.unwrap(), [decimal(1, 0)]);
    let mut other = item;
    other[2].1 = s("2E0");
    assert_eq!(mapping.row(other).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn all_clashes_are_told_at_once() {
    let mut table = Table::new(
        "t",
        vec![
            column("sk", Type::Text, Role::Partition),
            column("b", Type::Int, Role::Partition),
            asc("c", Type::Blob),
            column("_m", Type::Int, Role::Regular),
            column("_w_n", Type::Int, Role::Regular),
            column("n", Type::Counter, Role::Regular),
            column("ttl", Type::Int, Role::Regular),
        ],
    );
    table.layout.expiry_attribute = Some("ttl".into());
    let error = Mapping::new(&table).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    for name in ["name sk ", "name _m ", "name _w_n ", "name ttl "] {
        assert!(error.message().contains(name), "{name}: {error}");
    }
    assert!(!error.message().contains("name pk "), "{error}");

    table.layout = Layout {
        partition_attribute: Some("p".repeat(256)),
        sort_attribute: Some("range".into()),
        reserved_prefix: "__".into(),
        expiry_attribute: None,
    };
    let error = Mapping::new(&table).unwrap_err();
    assert!(
        error.message().contains("256") && !error.message().contains(';'),
        "{error}"
    );
    table.layout.partition_attribute = Some("hash".into());
    assert!(Mapping::new(&table).is_ok());

    let mut plain = Table::new("t", vec![id()]);
    plain.layout.sort_attribute = Some("sk".into());
    assert!(Mapping::new(&plain).is_err());
    let spans = Table::new("t", vec![column("d", Type::Duration, Role::Partition)]);
    assert!(Mapping::new(&spans).is_err());
}
