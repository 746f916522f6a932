//! Every type, and cells' times.

use std::time::{SystemTime, UNIX_EPOCH};

use crossfade::codec::cql;
use crossfade::model::{Condition, End, Ends, F32, F64, Row, Times, Tokens, Value};
use crossfade::schema::{Column, Order, Role, Table, Type, Udt};
use crossfade::store::{Range, Reads, Store, WriteOutcome};

use super::{Bench, cell, key};

fn decimal(unscaled: &[u8], scale: i32) -> Value {
    Value::Decimal {
        unscaled: unscaled.to_vec(),
        scale,
    }
}

/// Each type that a release has, with values at its edges.
pub(crate) fn every_type(release: (u32, u32)) -> Vec<(&'static str, Type, Vec<Value>)> {
    let since = |name: &str| match name {
        "duration" => (3, 10),
        _ if name.starts_with("vector<") => (5, 0),
        "\"Home Address\"" => (3, 6),
        _ => (3, 0),
    };
    let mut types = all_types();
    types.retain(|(name, ..)| since(name) <= release);
    types
}

fn all_types() -> Vec<(&'static str, Type, Vec<Value>)> {
    let text = |text: &str| Value::text(text);
    let udt = Type::Udt(std::sync::Arc::new(Udt {
        name: "Home Address".into(),
        fields: vec![
            ("street".into(), Type::Text),
            ("Zip Code".into(), Type::Int),
            ("tags".into(), Type::Set(Box::new(Type::Text))),
        ],
    }));
    let int_list = Type::List(Box::new(Type::Int));
    vec![
        ("ascii", Type::Ascii, vec![text(""), text("~")]),
        ("text", Type::Text, vec![text(""), text("\0"), text("ä€😀")]),
        (
            "tinyint",
            Type::TinyInt,
            vec![Value::TinyInt(i8::MIN), Value::TinyInt(i8::MAX)],
        ),
        (
            "smallint",
            Type::SmallInt,
            vec![Value::SmallInt(i16::MIN), Value::SmallInt(i16::MAX)],
        ),
        (
            "int",
            Type::Int,
            vec![
                Value::Int(i32::MIN),
                Value::Int(0),
                Value::Int(i32::MAX),
                Value::Empty,
            ],
        ),
        (
            "bigint",
            Type::BigInt,
            vec![
                Value::BigInt(i64::MIN),
                Value::BigInt(i64::MAX),
                Value::Empty,
            ],
        ),
        (
            "varint",
            Type::Varint,
            vec![
                Value::Varint(vec![0x80; 40]),
                Value::Varint(vec![0, 1]),
                Value::Varint(vec![0]),
                Value::Empty,
            ],
        ),
        (
            "decimal",
            Type::Decimal,
            vec![
                decimal(&[1], i32::MAX),
                decimal(&[0xff; 30], i32::MIN),
                decimal(&[0], 2),
                Value::Empty,
            ],
        ),
        (
            "float",
            Type::Float,
            vec![
                Value::Float(F32::from_bits(0x7fc0_1234)),
                Value::Float((-0.0).into()),
                Value::Float(f32::MIN_POSITIVE.into()),
                Value::Empty,
            ],
        ),
        (
            "double",
            Type::Double,
            vec![
                Value::Double(F64::from_bits(0xfff8_0000_0000_0042)),
                Value::Double((-0.0).into()),
                Value::Double(5e-324.into()),
                Value::Double(f64::NEG_INFINITY.into()),
                Value::Double(f64::MAX.into()),
            ],
        ),
        (
            "boolean",
            Type::Boolean,
            vec![
                Value::Boolean(false),
                Value::Boolean(true),
                Value::Raw(vec![2]),
                Value::Empty,
            ],
        ),
        (
            "blob",
            Type::Blob,
            vec![Value::Blob(vec![]), Value::Blob((0..=255).collect())],
        ),
        (
            "uuid",
            Type::Uuid,
            vec![Value::Uuid([0; 16]), Value::Uuid([255; 16]), Value::Empty],
        ),
        (
            "timeuuid",
            Type::TimeUuid,
            vec![
                Value::Uuid([0, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]),
                Value::Empty,
            ],
        ),
        (
            "timestamp",
            Type::Timestamp,
            vec![
                Value::Timestamp(i64::MIN),
                Value::Timestamp(-1),
                Value::Timestamp(i64::MAX),
                Value::Empty,
            ],
        ),
        (
            "date",
            Type::Date,
            vec![Value::Date(0), Value::Date(u32::MAX)],
        ),
        (
            "time",
            Type::Time,
            vec![Value::Time(0), Value::Time(86_399_999_999_999)],
        ),
        (
            "inet",
            Type::Inet,
            vec![
                Value::Inet("255.0.0.1".parse().unwrap()),
                Value::Inet("::ffff:10.0.0.9".parse().unwrap()),
                Value::Empty,
            ],
        ),
        (
            "duration",
            Type::Duration,
            vec![
                Value::Duration {
                    months: i32::MAX,
                    days: 0,
                    nanos: i64::MAX,
                },
                Value::Duration {
                    months: i32::MIN,
                    days: i32::MIN,
                    nanos: i64::MIN,
                },
                Value::Duration {
                    months: 0,
                    days: 0,
                    nanos: 0,
                },
            ],
        ),
        (
            "list<int>",
            int_list.clone(),
            vec![Value::List(vec![
                Value::Int(1),
                Value::Int(1),
                Value::Int(-1),
            ])],
        ),
        (
            "set<text>",
            Type::Set(Box::new(Type::Text)),
            vec![Value::Set(vec![text(""), text("a"), text("b")])],
        ),
        (
            "set<blob>",
            Type::Set(Box::new(Type::Blob)),
            vec![Value::Set(vec![
                Value::Blob(vec![]),
                Value::Blob(vec![0]),
                Value::Blob(vec![0, 0]),
            ])],
        ),
        (
            "set<bigint>",
            Type::Set(Box::new(Type::BigInt)),
            vec![Value::Set(vec![
                Value::BigInt(i64::MIN),
                Value::BigInt(0),
                Value::BigInt(i64::MAX),
            ])],
        ),
        (
            "set<double>",
            Type::Set(Box::new(Type::Double)),
            vec![Value::Set(vec![
                Value::Double((-0.0).into()),
                Value::Double(0.0.into()),
                Value::Double(f64::NAN.into()),
            ])],
        ),
        (
            "frozen<set<text>>",
            Type::Set(Box::new(Type::Text)),
            vec![Value::Set(vec![]), Value::Set(vec![text("")])],
        ),
        (
            "map<timestamp, text>",
            Type::Map(Box::new(Type::Timestamp), Box::new(Type::Text)),
            vec![Value::Map(vec![
                (Value::Timestamp(i64::MIN), text("")),
                (Value::Timestamp(7), text("seven")),
            ])],
        ),
        (
            "map<text, frozen<list<int>>>",
            Type::Map(Box::new(Type::Text), Box::new(int_list.clone())),
            vec![Value::Map(vec![
                (text(""), Value::List(vec![])),
                (text("k"), Value::List(vec![Value::Int(7)])),
            ])],
        ),
        (
            "frozen<list<int>>",
            int_list.clone(),
            vec![Value::List(vec![]), Value::List(vec![Value::Int(5)])],
        ),
        (
            "frozen<map<int, text>>",
            Type::Map(Box::new(Type::Int), Box::new(Type::Text)),
            vec![Value::Map(vec![])],
        ),
        (
            "frozen<tuple<int, text>>",
            Type::Tuple(vec![Type::Int, Type::Text]),
            vec![
                Value::Tuple(vec![None, Some(text("x"))]),
                Value::Tuple(vec![Some(Value::Int(1)), None]),
            ],
        ),
        (
            "\"Home Address\"",
            udt.clone(),
            vec![Value::Udt(vec![
                Some(text("a")),
                None,
                Some(Value::Set(vec![text("t")])),
            ])],
        ),
        (
            "frozen<\"Home Address\">",
            udt.clone(),
            vec![Value::Udt(vec![None, Some(Value::Int(1)), None])],
        ),
        (
            "list<frozen<\"Home Address\">>",
            Type::List(Box::new(udt)),
            vec![Value::List(vec![Value::Udt(vec![
                Some(text("a")),
                Some(Value::Int(2)),
                None,
            ])])],
        ),
        (
            "vector<float, 3>",
            Type::Vector(Box::new(Type::Float), 3),
            vec![Value::Vector(vec![
                Value::Float((-0.0).into()),
                Value::Float(f32::NAN.into()),
                Value::Float(1.5.into()),
            ])],
        ),
        (
            "vector<text, 2>",
            Type::Vector(Box::new(Type::Text), 2),
            vec![Value::Vector(vec![text(""), text("zz")])],
        ),
    ]
}

/// A table with a column of each type, made by the store.
fn wide_table(release: (u32, u32)) -> Table {
    let column = |name: String, ty, frozen, role| Column {
        name,
        ty,
        frozen,
        role,
    };
    let mut columns = vec![
        column("Part".into(), Type::Int, false, Role::Partition),
        column("select".into(), Type::Text, false, Role::Partition),
        column("c".into(), Type::Int, false, Role::Clustering(Order::Asc)),
    ];
    for (at, (text, ty, _)) in every_type(release).into_iter().enumerate() {
        let is_frozen = text.starts_with("frozen<");
        columns.push(column(format!("V{at:02}"), ty, is_frozen, Role::Regular));
    }
    Table::new("Wide", columns)
}

#[tokio::test]
async fn every_type_reads_back_as_it_was_put() {
    let bench = Bench::new("types").await;
    let table = wide_table(bench.release);
    bench.store.create(&table).await.expect("created");
    bench
        .store
        .create(&table)
        .await
        .expect("made again, it is left as it is");
    let described = bench.table("Wide").await;
    assert_eq!(described, table, "the server describes what was created");

    let types = every_type(bench.release);
    let most = types
        .iter()
        .map(|(_, _, values)| values.len())
        .max()
        .unwrap();
    let row = |at: usize| {
        let cells = types.iter().map(|(_, _, values)| values.get(at).cloned());
        Row::new(
            key(&[Value::Int(1), Value::text("")], &[Value::Int(at as i32)]),
            cells.collect(),
        )
    };
    // The last row has no cell but its key.
    let rows: Vec<Row> = (0..=most).map(row).collect();
    let puts = bench.store.put(&table, &rows, &Condition::Always).await;
    for (row, put) in rows.iter().zip(puts.rows) {
        assert_eq!(put.expect("a put"), WriteOutcome::Written, "{row:?}");
    }
    let read = bench.all(&table, &Range::Tokens(Tokens::ALL), 2).await;
    for (read, put) in read.iter().zip(&rows) {
        for (at, (name, _, _)) in types.iter().enumerate() {
            assert_eq!(read.cells[at], put.cells[at], "{name}");
        }
    }
    assert_eq!(read, rows);
    let keys: Vec<_> = rows.iter().rev().map(|row| row.key.clone()).collect();
    let got = bench.store.get(&table, &keys).await.expect("rows");
    assert_eq!(got, rows.into_iter().rev().map(Some).collect::<Vec<_>>());
    bench.done().await;
}

#[tokio::test]
async fn literals_read_back_as_the_model_has_them() {
    let bench = Bench::new("literals").await;
    let has_duration = bench.release >= (3, 10);
    let duration = if has_duration { "duration" } else { "text" };
    let literal = if has_duration { "-1mo2d3ns" } else { "'-'" };
    bench.cql(&format!("CREATE TABLE t (p int PRIMARY KEY, a decimal, b varint, c double, d {duration}, e inet, f time, g date, h timestamp, i map<text, int>, j tuple<int, text>, k boolean, l timeuuid, m list<int>)")).await;
    bench.cql(&format!("INSERT INTO t (p, a, b, c, d, e, f, g, h, i, j, k, l, m) VALUES (1, 1.10, 256, NaN, {literal}, '1.2.3.4', '00:00:01', '1970-01-02', 5, {{'b': 2, 'a': 1}}, (7, null), true, 50554d6e-29bb-11e5-b345-feff819cdc9f, [])")).await;
    let table = bench.table("t").await;
    let rows = bench.all(&table, &Range::Tokens(Tokens::ALL), 10).await;
    let expected = [
        ("a", Some(decimal(&[110], 2))),
        ("b", Some(Value::Varint(vec![1, 0]))),
        ("c", Some(Value::Double(f64::NAN.into()))),
        (
            "d",
            Some(match has_duration {
                true => Value::Duration {
                    months: -1,
                    days: -2,
                    nanos: -3,
                },
                false => Value::text("-"),
            }),
        ),
        ("e", Some(Value::Inet("1.2.3.4".parse().unwrap()))),
        ("f", Some(Value::Time(1_000_000_000))),
        ("g", Some(Value::Date(0x8000_0001))),
        ("h", Some(Value::Timestamp(5))),
        (
            "i",
            Some(Value::Map(vec![
                (Value::text("a"), Value::Int(1)),
                (Value::text("b"), Value::Int(2)),
            ])),
        ),
        ("j", Some(Value::Tuple(vec![Some(Value::Int(7)), None]))),
        ("k", Some(Value::Boolean(true))),
        (
            "l",
            Some(cql::decode(
                &Type::TimeUuid,
                &[
                    0x50, 0x55, 0x4d, 0x6e, 0x29, 0xbb, 0x11, 0xe5, 0xb3, 0x45, 0xfe, 0xff, 0x81,
                    0x9c, 0xdc, 0x9f,
                ],
            )),
        ),
        // An empty collection that isn't frozen is none.
        ("m", None),
    ];
    for (name, value) in expected {
        assert_eq!(cell(&table, &rows[0], name), value.as_ref(), "{name}");
    }
    bench.done().await;
}

#[tokio::test]
async fn cells_tell_when_they_expire() {
    let bench = Bench::new("ttls").await;
    // Element by element from 5.0 on; before 3.6 such a type is frozen.
    let tells_elements = bench.release >= (5, 0);
    let thaws_udts = bench.release >= (3, 6);
    bench.cql("CREATE TYPE u (a int, b int)").await;
    let udt = if thaws_udts { "u" } else { "frozen<u>" };
    bench.cql(&format!("CREATE TABLE t (p int, c int, s int STATIC, plain int, stays int, m map<text, int>, l frozen<list<int>>, u {udt}, PRIMARY KEY (p, c))")).await;
    bench
        .cql("INSERT INTO t (p, c, plain, l) VALUES (1, 1, 5, [1]) USING TTL 1000")
        .await;
    let set = if thaws_udts { "u.a = 1" } else { "u = {a: 1}" };
    bench
        .cql(&format!(
            "UPDATE t USING TTL 500 SET m['a'] = 1, {set} WHERE p = 1 AND c = 1"
        ))
        .await;
    bench
        .cql("UPDATE t SET m['b'] = 2, stays = 1 WHERE p = 1 AND c = 1")
        .await;
    bench
        .cql("UPDATE t USING TTL 2000 SET s = 1 WHERE p = 1")
        .await;
    bench
        .cql("INSERT INTO t (p, c, plain) VALUES (1, 2, 6)")
        .await;
    let table = bench.table("t").await;
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let rows = bench.all(&table, &Range::Tokens(Tokens::ALL), 10).await;
    assert_eq!(rows.len(), 3);
    let ends = |row: &Row, name: &str| match &row.times {
        Times::OfCells(cells) => cells[table.cell(name).unwrap()].ends,
        times => panic!("{times:?}"),
    };
    // Some of the time has passed between the writes and now.
    let near = |found: Ends, first: i64, last: Option<i64>| {
        let close = |found: End, wanted: Option<i64>| match (found, wanted) {
            (End::At(at), Some(wanted)) => (wanted - 30..=wanted + 30).contains(&(at - before)),
            (End::Never, wanted) => wanted.is_none(),
            (End::At(_), None) => false,
        };
        let Ends::Told {
            first: one,
            last: other,
        } = found
        else {
            panic!("{found:?}");
        };
        assert!(close(one, Some(first)) && close(other, last), "{found:?}");
    };
    assert!(rows[0].key.is_static());
    near(ends(&rows[0], "s"), 2000, Some(2000));
    near(ends(&rows[1], "plain"), 1000, Some(1000));
    near(ends(&rows[1], "l"), 1000, Some(1000));
    // Its other fields are null, which is another thing than to stay.
    match (tells_elements, thaws_udts) {
        (true, _) | (false, false) => near(ends(&rows[1], "u"), 500, Some(500)),
        (false, true) => assert_eq!(ends(&rows[1], "u"), Ends::Untold),
    }
    match tells_elements {
        true => near(ends(&rows[1], "m"), 500, None),
        false => assert_eq!(ends(&rows[1], "m"), Ends::Untold),
    }
    assert_eq!(ends(&rows[1], "stays"), Ends::NEVER);
    assert_eq!(ends(&rows[1], "s"), Ends::Null);
    assert_eq!(rows[2].times, Times::OfRow);
    let got = bench
        .store
        .get(&table, &[rows[0].key.clone()])
        .await
        .unwrap();
    near(ends(got[0].as_ref().unwrap(), "s"), 2000, Some(2000));
    bench.done().await;
}

#[tokio::test]
async fn puts_and_purges_keep_their_conditions() {
    let bench = Bench::new("puts").await;
    bench
        .cql("CREATE TABLE t (p int, c int, s text STATIC, v set<int>, PRIMARY KEY (p, c))")
        .await;
    let table = bench.table("t").await;
    let statics = Row::new(
        crossfade::model::Key::statics(vec![Value::Int(1)]),
        vec![Some(Value::text("s")), None],
    );
    let row = Row::new(
        key(&[Value::Int(1)], &[Value::Int(1)]),
        vec![None, Some(Value::Set(vec![Value::Int(3)]))],
    );
    let both = vec![statics.clone(), row.clone()];
    for wanted in [WriteOutcome::Written, WriteOutcome::Refused] {
        let puts = bench.store.put(&table, &both, &Condition::absent()).await;
        let results: Vec<WriteOutcome> = puts
            .rows
            .into_iter()
            .map(|put| put.expect("a put"))
            .collect();
        assert_eq!(results, [wanted.clone(), wanted]);
    }
    let keys = [
        statics.key.clone(),
        row.key.clone(),
        key(&[Value::Int(1)], &[Value::Int(2)]),
    ];
    let got = bench.store.get(&table, &keys).await.unwrap();
    assert_eq!(got, [Some(statics.clone()), Some(row.clone()), None]);

    // A whole row replaces all there was.
    let bare = Row::new(row.key.clone(), vec![None, None]);
    bench
        .store
        .put(&table, std::slice::from_ref(&bare), &Condition::Always)
        .await;
    assert_eq!(
        bench.store.get(&table, &keys[1..2]).await.unwrap(),
        [Some(bare)]
    );

    bench
        .store
        .purge(&table, keys[..1].to_vec(), &Condition::Always)
        .await;
    let got = bench.store.get(&table, &keys[..2]).await.unwrap();
    assert!(got[0].is_none() && got[1].is_some(), "{got:?}");
    bench
        .store
        .purge(&table, keys[1..2].to_vec(), &Condition::Always)
        .await;
    assert_eq!(
        bench.store.get(&table, &keys[..2]).await.unwrap(),
        [None, None]
    );

    let refused = bench
        .store
        .put(
            &table,
            &[row],
            &Condition::Marked(crossfade::model::Mark::Copied),
        )
        .await;
    let error = refused.rows[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), crossfade::error::Kind::Unsupported);
    bench.done().await;
}

#[tokio::test]
async fn a_table_with_other_keys_is_not_taken_for_the_wanted_one() {
    let bench = Bench::new("mismatch").await;
    bench
        .cql("CREATE TABLE \"Wide\" (\"Part\" int PRIMARY KEY, v int)")
        .await;
    bench.cql("CREATE TYPE \"Home Address\" (a int)").await;
    let error = bench
        .store
        .create(&wide_table(bench.release))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), crossfade::error::Kind::Mismatch, "{error}");
    bench.done().await;
}
