use std::ops::Bound;

use super::*;
use crate::model::ClusteringRange;

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
        error.places().contains("1025") && error.message().contains("1024"),
        "{error}"
    );
    let twice = long.repeat(2);
    let error = by_text.key(&key(&twice, Value::text("c"))).unwrap_err();
    assert!(
        error.places().contains("2050") && error.message().contains("2048"),
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
        ..Layout::default()
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
    let durations = Table::new("t", vec![column("d", Type::Duration, Role::Partition)]);
    assert!(Mapping::new(&durations).is_err());
}

/// Between a bound that is too long and the one that is asked for instead lies no sort key.
#[test]
fn bounds_over_the_limit_find_the_same_rows() {
    let by = |ty: Type, made: bool| {
        let columns = vec![
            column("p", Type::Int, Role::Partition),
            column("c", ty, Role::Clustering(Order::Asc)),
        ];
        let mut table = Table::new("t", columns);
        table.layout.sort_attribute = made.then(|| "sk".into());
        Mapping::new(&table).unwrap()
    };
    let texts = |at: usize| {
        let ends = [
            "",
            "a",
            "\u{7f}",
            "\u{7ff}",
            "é",
            "\u{ffff}",
            "€",
            "😀",
            "\u{10ffff}",
        ];
        let lengths = [1_020, 1_021, 1_022, 1_023, 1_024];
        let start = "m".repeat(lengths[at / ends.len() % lengths.len()]);
        format!("{start}{}", ends[at % ends.len()])
    };
    let all: Vec<String> = (0..45).map(texts).collect();
    let mut is_long = 0;
    for mapping in [by(Type::Text, false), by(Type::Text, true)] {
        for bound in &all {
            let range = |from, until| ClusteringRange {
                from,
                until,
                ..ClusteringRange::whole(vec![Value::Int(1)])
            };
            let end = vec![Value::text(bound.as_str())];
            let ranges = [
                range(Bound::Included(end.clone()), Bound::Unbounded),
                range(Bound::Excluded(end.clone()), Bound::Unbounded),
                range(Bound::Unbounded, Bound::Included(end.clone())),
                range(Bound::Unbounded, Bound::Excluded(end)),
            ];
            for (at, range) in ranges.iter().enumerate() {
                let range = mapping.sort_range(range).unwrap().unwrap();
                let ends = [&range.lower, &range.upper].into_iter().flatten();
                assert!(ends.into_iter().all(|end| end.attr.size() <= 1_024));
                for text in &all {
                    let key = Key::row(vec![Value::Int(1)], vec![Value::text(text.as_str())]);
                    let Ok(attributes) = mapping.key(&key) else {
                        is_long += 1;
                        continue;
                    };
                    let is_in = range.compare(&attributes[1].1).is_eq();
                    let wanted = match at {
                        0 => text >= bound,
                        1 => text > bound,
                        2 => text <= bound,
                        _ => text < bound,
                    };
                    assert_eq!(is_in, wanted, "{at}: {} {}", text.len(), bound.len());
                }
            }
        }
    }
    assert!(is_long > 0);
}

#[test]
fn hashed_partitions_are_read_from_their_columns() {
    let mut table = Table::new(
        "t",
        vec![
            column("p", Type::Text, Role::Partition),
            column("v", Type::Int, Role::Regular),
        ],
    );
    table.layout.partition_hash = true;
    let mapping = Mapping::new(&table).unwrap();
    let row = |p: String| Row::new(Key::row(vec![Value::Text(p)], Vec::new()), vec![None]);
    for p in ["u1".to_owned(), "#sha256:".to_owned(), "u".repeat(3_000)] {
        let item = mapping.item(&row(p.clone())).unwrap();
        assert!(item[0].1.size() <= 72);
        assert_eq!(mapping.row(item.clone()).unwrap(), row(p.clone()));
        let without = item
            .iter()
            .filter(|(name, _)| name != "p")
            .cloned()
            .collect();
        assert_eq!(mapping.row(without).is_ok(), p == "u1", "{p}");
        let mut other = item;
        other[1].1 = Attr::S("another".into());
        assert_eq!(mapping.row(other).is_ok(), p == "u1", "{p}");
    }
}
