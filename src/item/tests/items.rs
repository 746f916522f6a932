use super::*;

#[test]
fn numbers_are_read_however_they_are_spelled() {
    let read = |ty: Type, text: &str| {
        let item = vec![("id".into(), s("k")), ("v".into(), n(text))];
        with_value(ty)
            .row(item)
            .map(|row| row.cells[0].clone().unwrap())
    };
    assert_eq!(read(Type::Int, "1E+1").unwrap(), Value::Int(10));
    assert_eq!(read(Type::Int, "-10.0").unwrap(), Value::Int(-10));
    assert_eq!(
        read(Type::Varint, "1E+20").unwrap(),
        varint("100000000000000000000")
    );
    assert_eq!(read(Type::Double, "1E+1").unwrap(), double(10.0));
    for (ty, text) in [
        (Type::Int, "1.5"),
        (Type::Int, "2147483648"),
        (Type::Date, "4294967296"),
    ] {
        let error = read(ty, text).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.message().contains("attribute v"), "{error}");
    }
}

#[test]
fn attributes_of_another_kind_are_corrupt() {
    for (ty, attr) in [
        (Type::Text, n("1")),
        (Type::Int, s("1")),
        (Type::Int, envelope("bigint", &[0; 8])),
        (Type::Boolean, Attr::Null),
        (list(Type::Int), Attr::L(vec![Attr::Null])),
        (Type::Tuple(vec![Type::Int]), Attr::L(vec![n("1"), n("2")])),
        (Type::Uuid, s("12345678-9abc")),
        (
            map(Type::Int, Type::Int),
            Attr::M(vec![("x".into(), n("1"))]),
        ),
    ] {
        let item = vec![("id".into(), s("k")), ("v".into(), attr)];
        let error = with_value(ty).row(item).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
}

#[test]
fn sizes_are_those_that_dynamodb_counts() {
    for (text, size) in [
        ("0", 1),
        ("1", 2),
        ("12", 2),
        ("123", 3),
        ("-1", 3),
        ("1.5", 3),
        ("1.0", 2),
        ("100", 2),
        ("1e2", 2),
        ("-2147483648", 7),
        ("9223372036854775807", 11),
        (&"9".repeat(38), 20),
        (&format!("-{}", "9".repeat(38)), 21),
    ] {
        assert_eq!(n(text).size(), size, "{text}");
    }
    assert_eq!(Attr::L(vec![]).size(), 3);
    assert_eq!(Attr::L(vec![s("a")]).size(), 5);
    assert_eq!(Attr::M(vec![("k".into(), s("a"))]).size(), 6);
    assert_eq!(Attr::L(vec![Attr::L(vec![])]).size(), 7);
    assert_eq!(Attr::Ss(vec!["a".into(), "bc".into()]).size(), 3);
    assert_eq!(item_size(&[("id", s("k")), ("v", Attr::Null)]), 5);
}

#[test]
fn items_over_the_limit_are_refused_with_their_biggest_column() {
    let mapping = mapping(vec![
        id(),
        column("big", Type::Blob, Role::Regular),
        column("small", Type::Text, Role::Regular),
    ]);
    // id k big small + x = 3 + 3 + 6
    let of = |bytes: usize| {
        let cells = vec![Some(Value::Blob(vec![0; bytes])), Some(Value::text("x"))];
        mapping.item(&row(cells))
    };
    assert_eq!(item_size(&of(ITEM_LIMIT - 12).unwrap()), ITEM_LIMIT);
    let error = of(ITEM_LIMIT - 11).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    for part in ["409601", "big", "409589"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn values_of_another_type_and_rows_of_another_shape_are_refused() {
    let mapping = with_value(Type::Int);
    let error = mapping
        .item(&row(vec![Some(Value::text("1"))]))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().contains('v'), "{error}");
    for cells in [vec![], vec![None, None]] {
        assert_eq!(mapping.item(&row(cells)).unwrap_err().kind(), Kind::Invalid);
    }
    let nested = with_value(list(set(Type::Int)));
    let value = Value::List(vec![Value::Set(vec![Value::text("1")])]);
    assert!(nested.item(&row(vec![Some(value)])).is_err());
}

#[test]
fn marks_and_expiry_come_back() {
    let mut table = Table::new("t", vec![id(), column("v", Type::Int, Role::Regular)]);
    table.layout.expiry_attribute = Some("expires_at".into());
    let mapping = Mapping::new(&table).unwrap();
    let mut expiring = row(vec![Some(Value::Int(1))]);
    expiring.expires = Some(1_800_000_000);
    expiring.mark = Some(Mark::Copied);
    let item = mapping.item(&expiring).unwrap();
    assert!(item.contains(&("_m".into(), s("c"))));
    assert!(item.contains(&("expires_at".into(), n("1800000000"))));
    assert_eq!(mapping.row(item).unwrap(), expiring);
    let error = with_value(Type::Int).item(&expiring).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.next_step().unwrap().contains("expiry"));

    let foreign = vec![("id".into(), s("k")), ("new_column".into(), s("x"))];
    assert_eq!(mapping.row(foreign).unwrap(), row(vec![None]));
    let odd = vec![("id".into(), s("k")), ("_m".into(), s("z"))];
    assert_eq!(mapping.row(odd).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn the_report_says_what_becomes_of_each_column() {
    let mapping = mapping(vec![
        id(),
        asc("at", Type::TimeUuid),
        column("s", Type::Int, Role::Static),
        column("tags", set(Type::Text), Role::Regular),
        column("pairs", map(Type::Double, Type::Int), Role::Regular),
        column("price", Type::Decimal, Role::Regular),
    ]);
    let report = mapping.describe();
    let forms: Vec<_> = report
        .iter()
        .map(|line| (line.column.as_str(), line.form.as_str()))
        .collect();
    assert_eq!(
        forms,
        [
            ("id", "S, the key"),
            ("at", "S, and part of key sk"),
            ("s", "N"),
            ("pairs", "L of L"),
            ("price", "S"),
            ("tags", "SS"),
        ]
    );
    assert!(report[4].note.contains("scale"));
    assert_eq!(report[5].cql_type, "set<text>");
}

#[test]
fn what_a_partial_item_decides_comes_back() {
    let columns = ["a", "b", "c"].map(|name| column(name, Type::Int, Role::Regular));
    let mapping = mapping([vec![id()], columns.to_vec()].concat());
    let mut partial = row(vec![Some(Value::Int(1)), None, None]);
    partial.mark = Some(Mark::Partial);
    partial.decided = [0, 2].into();
    let item = mapping.item(&partial).unwrap();
    assert!(item.contains(&("_d".into(), Attr::Ss(vec!["a".into(), "c".into()]))));
    assert_eq!(mapping.row(item).unwrap(), partial);
    for odd in [s("a"), Attr::Ss(vec!["a".into(), "nowhere".into()])] {
        let item = vec![("id".into(), s("k")), ("_d".into(), odd)];
        assert_eq!(mapping.row(item).unwrap_err().kind(), Kind::Corrupt);
    }
    partial.decided = [3].into();
    assert_eq!(mapping.item(&partial).unwrap_err().kind(), Kind::Invalid);
    let clash = Table::new("t", vec![id(), column("_d", Type::Int, Role::Regular)]);
    assert_eq!(Mapping::new(&clash).unwrap_err().kind(), Kind::Config);
}

#[test]
fn a_cell_alone_is_what_it_is_in_an_item() {
    let mapping = with_value(set(Type::Text));
    let (full, empty) = (Value::Set(vec![Value::text("x")]), Value::Set(Vec::new()));
    let attr = mapping.cell(0, Some(&full)).unwrap();
    assert_eq!(attr, Some(Attr::Ss(vec!["x".into()])));
    assert_eq!(mapping.cell(0, Some(&empty)).unwrap(), None);
    assert_eq!(mapping.cell(0, None).unwrap(), None);
    for (cell, value) in [(0, Value::Int(1)), (1, full)] {
        let error = mapping.cell(cell, Some(&value)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
}
