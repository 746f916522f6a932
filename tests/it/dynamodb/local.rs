//! Against the server that `CROSSFADE_DYNAMODB` names: DynamoDB Local, or another one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, StreamSpecification, StreamViewType, TimeToLiveSpecification,
};
use crossfade::error::Kind;
use crossfade::model::{Condition, F32, F64, Key, Mark, Row, Value};
use crossfade::schema::{Column, Role, Table, Type};
use crossfade::store::dynamodb::{DynamoDb, DynamoDbConfig};
use crossfade::store::{Reading, Reads, Store, Weight, WriteOutcome};

use super::{column, config, connect, key, note, notes, some_notes};

fn url() -> String {
    std::env::var("CROSSFADE_DYNAMODB").expect(
        "CROSSFADE_DYNAMODB isn't set: start a DynamoDB Local and set it to its URL, or use tests/run",
    )
}

/// A table name that no other test and no other run has.
fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{n}", now.as_nanos())
}

async fn with_table(table: Table) -> (DynamoDb, Table) {
    let store = connect(&url()).await;
    store.create(&table).await.unwrap();
    (store, table)
}

/// The SDK alone, for looking at what really lies there.
fn raw() -> Client {
    let credentials = aws_sdk_dynamodb::config::Credentials::new(
        "AKIDCROSSFADE",
        "a-secret-to-be-kept",
        Some("a-token-to-be-kept".into()),
        None,
        "tests",
    );
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
        .region(aws_config::Region::from_static("us-east-1"))
        .credentials_provider(credentials)
        .endpoint_url(url())
        .build();
    Client::from_conf(config)
}

async fn raw_items(table: &str) -> Vec<HashMap<String, AttributeValue>> {
    let answer = raw().scan().table_name(table).consistent_read(true).send();
    answer.await.unwrap().items.unwrap_or_default()
}

fn written(puts: &crossfade::store::WriteOutcomes) -> usize {
    let is_written = |row: &&Result<WriteOutcome, _>| matches!(row, Ok(WriteOutcome::Written));
    puts.rows.iter().filter(is_written).count()
}

/// A table whose columns become every type of attribute there is.
fn everything(name: String) -> Table {
    let cell = |name: &str, ty| column(name, ty, Role::Regular);
    let frozen = |name: &str, ty| Column {
        frozen: true,
        ..column(name, ty, Role::Regular)
    };
    let text = || Box::new(Type::Text);
    let columns = vec![
        column("id", Type::Text, Role::Partition),
        cell("it's \"a\" ? name", Type::Text),
        cell("big", Type::Varint),
        cell("bin", Type::Blob),
        cell("dec", Type::Decimal),
        cell("f32", Type::Float),
        cell("f64", Type::Double),
        frozen("list", Type::List(Box::new(Type::List(text())))),
        cell("map", Type::Map(text(), Box::new(Type::BigInt))),
        cell("sb", Type::Set(Box::new(Type::Blob))),
        cell("si", Type::Set(Box::new(Type::Int))),
        cell("st", Type::Set(text())),
        cell("timestamp", Type::Timestamp),
        frozen("tup", Type::Tuple(vec![Type::Int, Type::Text])),
        cell("yes", Type::Boolean),
        cell("ключ", Type::Text),
    ];
    Table::new(name, columns)
}

fn everything_rows(table: &Table) -> Vec<Row> {
    let row = |id: &str, cells: &[(&str, Value)]| {
        let mut row = Row::new(
            Key::row(vec![Value::text(id)], Vec::new()),
            vec![None; table.cells().len()],
        );
        for (name, value) in cells {
            row.cells[table.cell(name).unwrap()] = Some(value.clone());
        }
        row.mark = Some(Mark::Copied);
        row
    };
    // 10^38 - 1, the largest number with 38 digits.
    let digits = (10_i128.pow(38) - 1).to_be_bytes().to_vec();
    let text = Value::text;
    vec![
        row(
            "empty",
            &[
                ("it's \"a\" ? name", text("")),
                ("bin", Value::Blob(Vec::new())),
            ],
        ),
        row("nothing", &[]),
        row(
            "numbers",
            &[
                ("big", Value::Varint(digits)),
                (
                    "dec",
                    Value::Decimal {
                        unscaled: vec![110],
                        scale: 2,
                    },
                ),
                ("f32", Value::Float(F32::from_bits(0.1_f32.to_bits()))),
                ("f64", Value::Double(F64::from_bits(0.1_f64.to_bits()))),
                ("timestamp", Value::Timestamp(i64::MIN)),
            ],
        ),
        row(
            "odd",
            &[
                ("big", Value::Varint(vec![0x7f; 40])),
                ("f32", Value::Float(F32::from_bits(0x7fc0_0001))),
                ("f64", Value::Double(F64::from_bits((-0.0_f64).to_bits()))),
                ("ключ", text("\u{0} \u{1f600} \u{2028} \\ ' \" ?")),
            ],
        ),
        row(
            "collections",
            &[
                ("bin", Value::Blob((0..=255).collect())),
                (
                    "list",
                    Value::List(vec![Value::List(Vec::new()), Value::List(vec![text("")])]),
                ),
                (
                    "map",
                    Value::Map(vec![(text("a.b c"), Value::BigInt(i64::MAX))]),
                ),
                (
                    "sb",
                    Value::Set(vec![Value::Blob(Vec::new()), Value::Blob(vec![0, 255])]),
                ),
                ("si", Value::Set(vec![Value::Int(i32::MIN), Value::Int(0)])),
                ("st", Value::Set(vec![text(""), text("b"), text("é")])),
                ("tup", Value::Tuple(vec![None, Some(text("x"))])),
                ("yes", Value::Boolean(false)),
            ],
        ),
    ]
}

#[tokio::test]
async fn every_type_comes_back_as_it_was_from_either_way_of_writing() {
    let (store, table) = with_table(everything(fresh("everything"))).await;
    let single = DynamoDbConfig {
        partiql: Some(false),
        ..config(&url())
    };
    let single = DynamoDb::connect(single).await.unwrap();
    let other = everything(fresh("everything"));
    single.create(&other).await.unwrap();

    let rows = everything_rows(&table);
    let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
    for (store, table) in [(&store, &table), (&single, &other)] {
        let puts = store.put(table, &rows.clone(), &Condition::absent()).await;
        assert_eq!(written(&puts), rows.len(), "{:?}", puts.rows);
        assert!(puts.units >= rows.len() as f64 && puts.bytes > 500);
        let found = store.get(table, &keys).await.unwrap();
        let found: Vec<Row> = found.into_iter().map(Option::unwrap).collect();
        assert_eq!(found, rows);
    }
    let by_id = |items: Vec<HashMap<String, AttributeValue>>| {
        let id = |item: &HashMap<String, AttributeValue>| item["id"].as_s().unwrap().clone();
        let items = items.into_iter().map(|item| (id(&item), item));
        items.collect::<HashMap<_, _>>()
    };
    let (batch, single) = (
        by_id(raw_items(&table.name).await),
        by_id(raw_items(&other.name).await),
    );
    assert_eq!(batch, single);
    assert_eq!(batch["empty"]["it's \"a\" ? name"].as_s().unwrap(), "");
    assert_eq!(batch["numbers"]["_m"].as_s().unwrap(), "c");
}

#[tokio::test]
async fn what_is_there_is_refused_and_its_neighbours_are_written() {
    let (store, table) = with_table(notes(&fresh("refused"))).await;
    let first = store
        .put(&table, &[note("a", 3, "mine")], &Condition::absent())
        .await;
    assert_eq!(written(&first), 1);
    let puts = store
        .put(&table, &some_notes(60), &Condition::absent())
        .await;
    for (n, row) in puts.rows.iter().enumerate() {
        let expected = if n == 3 {
            WriteOutcome::Refused
        } else {
            WriteOutcome::Written
        };
        assert_eq!(row.as_ref().unwrap(), &expected, "row {n}");
    }
    let kept = store
        .get(&table, &[key("a", 3), key("a", 60), key("a", 59)])
        .await
        .unwrap();
    assert_eq!(
        kept,
        [Some(note("a", 3, "mine")), None, Some(note("a", 59, "b"))]
    );
}

#[tokio::test]
async fn one_key_twice_in_a_put_is_written_once() {
    let (store, table) = with_table(notes(&fresh("twice"))).await;
    let rows = vec![
        note("a", 1, "first"),
        note("b", 1, "b"),
        note("a", 1, "second"),
    ];
    let puts = store.put(&table, &rows, &Condition::absent()).await;
    let puts: Vec<WriteOutcome> = puts.rows.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        puts,
        [
            WriteOutcome::Written,
            WriteOutcome::Written,
            WriteOutcome::Refused
        ]
    );
    let kept = store
        .get(&table, &[key("a", 1), key("a", 1)])
        .await
        .unwrap();
    assert_eq!(kept, vec![Some(note("a", 1, "first")); 2]);
}

#[tokio::test]
async fn a_row_over_the_limit_is_invalid_and_its_neighbours_are_written() {
    let (store, table) = with_table(notes(&fresh("oversize"))).await;
    let mut rows = some_notes(25);
    rows[7] = note("a", 7, &"x".repeat(409_600));
    rows[9] = note(&"k".repeat(2_049), 9, "x");
    let puts = store.put(&table, &rows, &Condition::absent()).await;
    for (n, row) in puts.rows.iter().enumerate() {
        match row {
            Ok(put) => assert_eq!(
                (put, n == 7 || n == 9),
                (&WriteOutcome::Written, false),
                "row {n}"
            ),
            Err(error) => assert_eq!((error.kind(), n == 7 || n == 9), (Kind::Invalid, true)),
        }
    }
    assert_eq!(raw_items(&table.name).await.len(), 23);
}

#[tokio::test]
async fn rows_of_many_megabytes_and_of_many_columns_are_written() {
    let (store, table) = with_table(notes(&fresh("large"))).await;
    let mut rows = some_notes(45);
    for row in &mut rows {
        row.cells[0] = Some(Value::text("x".repeat(390_000)));
    }
    let puts = store.put(&table, &rows, &Condition::absent()).await;
    assert_eq!(written(&puts), 45, "{:?}", puts.rows);
    assert!(puts.units >= 45.0 * 381.0, "{}", puts.units);
    let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
    // 17 MB: more than one answer.
    let found = store.get(&table, &keys).await.unwrap();
    assert!(found.into_iter().map(Option::unwrap).eq(rows));

    let wide = (0..500).map(|n| {
        column(
            &format!("a_rather_long_column_{n:04}"),
            Type::Int,
            Role::Regular,
        )
    });
    let columns = wide
        .chain([column("id", Type::Text, Role::Partition)])
        .collect();
    let wide = Table::new(fresh("wide"), columns);
    store.create(&wide).await.unwrap();
    let row = |id: &str, filled: i32| {
        let cells = (0..500).map(|n| (n < filled).then_some(Value::Int(n)));
        Row::new(Key::row(vec![Value::text(id)], Vec::new()), cells.collect())
    };
    let rows = vec![row("wide", 500), row("narrow", 2), row("wide2", 499)];
    let puts = store.put(&wide, &rows, &Condition::absent()).await;
    assert_eq!(written(&puts), 3, "{:?}", puts.rows);
    let again = store.put(&wide, &rows, &Condition::absent()).await;
    assert!(
        again
            .rows
            .iter()
            .all(|row| matches!(row, Ok(WriteOutcome::Refused)))
    );
    let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
    let found = store.get(&wide, &keys).await.unwrap();
    assert!(found.into_iter().map(Option::unwrap).eq(rows));
}

#[tokio::test]
async fn guards_hold_for_puts_and_purges() {
    let (store, table) = with_table(notes(&fresh("guards"))).await;
    let marked = |n, body: &str, mark| Row {
        mark: Some(mark),
        ..note("g", n, body)
    };
    let rows = vec![
        marked(0, "copied", Mark::Copied),
        marked(1, "mine", Mark::Application),
    ];
    store.put(&table, &rows, &Condition::Always).await;
    let outcomes = async |on: Condition| {
        let rows: Vec<Row> = (0..3).map(|n| marked(n, "new", Mark::Copied)).collect();
        let puts = store.put(&table, &rows, &on).await;
        let rows = puts.rows.into_iter().map(Result::unwrap);
        rows.collect::<Vec<WriteOutcome>>()
    };
    use WriteOutcome::{Refused, Written};
    let body = |text| Condition::equals(0, Value::text(text));
    assert_eq!(outcomes(body("other")).await, [Refused, Refused, Refused]);
    assert_eq!(
        outcomes(Condition::Marked(Mark::Copied)).await,
        [Written, Refused, Refused]
    );
    assert_eq!(outcomes(body("mine")).await, [Refused, Written, Refused]);
    assert_eq!(
        outcomes(Condition::Always).await,
        [Written, Written, Written]
    );

    let rows = vec![
        note(&"k".repeat(3_000), 0, "x"),
        marked(1, "new", Mark::Copied),
    ];
    let puts = store.put(&table, &rows, &body("new")).await;
    assert_eq!(puts.rows[0].as_ref().unwrap_err().kind(), Kind::Invalid);
    assert_eq!(puts.rows[1].as_ref().unwrap(), &Written);

    store
        .put(
            &table,
            &[marked(1, "mine", Mark::Application)],
            &Condition::Always,
        )
        .await;
    let keys = || (0..4).map(|n| key("g", n)).collect::<Vec<_>>();
    let purged = store
        .purge(&table, keys(), &Condition::Marked(Mark::Copied))
        .await;
    let purged: Vec<WriteOutcome> = purged.rows.into_iter().map(Result::unwrap).collect();
    assert_eq!(purged, [Written, Refused, Written, Refused]);
    assert_eq!(raw_items(&table.name).await.len(), 1);
    let purged = store.purge(&table, keys(), &Condition::Always).await;
    assert!(purged.rows.iter().all(|row| matches!(row, Ok(Written))));
    assert!(raw_items(&table.name).await.is_empty());
}

#[tokio::test]
async fn segments_give_everything_once_also_from_a_cursor_without_state() {
    let (store, table) = with_table(notes(&fresh("scan"))).await;
    let rows: Vec<Row> = (0..300)
        .map(|n| note(&format!("id{}", n % 40), n, "b"))
        .collect();
    assert_eq!(
        written(&store.put(&table, &rows, &Condition::absent()).await),
        300
    );
    for forgetful in [false, true] {
        let mut seen: Vec<i32> = Vec::new();
        for range in store.splits(&table, 5).await.unwrap() {
            let mut after = None;
            loop {
                let page = store.scan(&table, &range, after.as_ref(), 7).await.unwrap();
                assert!(page.rows.len() <= 7);
                assert!(page.rows.is_empty() || page.bytes > 0);
                seen.extend(
                    page.rows
                        .iter()
                        .map(|row| match &row.key.clustering.as_deref() {
                            Some([Value::Int(n)]) => *n,
                            other => panic!("{other:?}"),
                        }),
                );
                after = page.next;
                match &mut after {
                    None => break,
                    Some(cursor) if forgetful => cursor.state = None,
                    Some(_) => {}
                }
            }
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..300));
    }
}

#[tokio::test]
async fn an_item_that_is_no_row_is_told_beside_the_rows_of_its_page() {
    let (store, table) = with_table(notes(&fresh("corrupt"))).await;
    let put = raw()
        .put_item()
        .table_name(&table.name)
        .item("id", AttributeValue::S("who".into()))
        .item("n", AttributeValue::N("7".into()))
        .item("body", AttributeValue::L(Vec::new()));
    put.send().await.unwrap();
    let range = &store.splits(&table, 1).await.unwrap()[0];
    let page = store.scan(&table, range, None, 10).await.unwrap();
    let [odd] = &page.unreadable[..] else {
        panic!("{page:?}");
    };
    assert_eq!((odd.key.as_str(), odd.is_marked), ("id=who, n=7", false));
    assert_eq!(odd.error.kind(), Kind::Corrupt);
    let read = store.read(&table, &key("who", 7), Reading::Strong).await;
    let error = read.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("id=who, n=7"), "{error}");
}

#[tokio::test]
async fn creating_twice_is_fine_and_other_keys_are_a_mismatch() {
    let (store, table) = with_table(notes(&fresh("create"))).await;
    store.create(&table).await.unwrap();
    let described = raw().describe_table().table_name(&table.name).send().await;
    let described = described.unwrap().table.unwrap();
    assert_eq!(described.deletion_protection_enabled(), Some(true));

    let other = Table::new(
        table.name.clone(),
        vec![
            column("id", Type::Int, Role::Partition),
            column("body", Type::Text, Role::Regular),
        ],
    );
    let error = store.create(&other).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    for part in ["`id` (S)", "`n` (N)", "`id` (N)", &table.name] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }

    let new = notes(&fresh("create"));
    let both = futures::future::join_all((0..4).map(|_| store.create(&new))).await;
    assert!(both.iter().all(Result::is_ok), "{both:?}");
}

#[tokio::test]
async fn inspecting_tells_identity_and_what_stands_in_the_way() {
    let (store, table) = with_table(notes(&fresh("inspect"))).await;
    let plain = store.inspect(&table.name).await.unwrap().unwrap();
    assert!(plain.findings.is_empty(), "{:?}", plain.findings);
    assert!(plain.table.is_none());
    let again = store.inspect(&table.name).await.unwrap().unwrap();
    assert_eq!(plain.id, again.id);
    assert!(store.inspect("no-such-table").await.unwrap().is_none());

    let raw = raw();
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::KeysOnly)
        .build();
    let update = raw.update_table().table_name(&table.name);
    let update = update
        .stream_specification(stream.unwrap())
        .deletion_protection_enabled(false);
    update.send().await.unwrap();
    let expiry = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("gone");
    let update = raw.update_time_to_live().table_name(&table.name);
    update
        .time_to_live_specification(expiry.build().unwrap())
        .send()
        .await
        .unwrap();
    let found = store.inspect(&table.name).await.unwrap().unwrap();
    let found: Vec<_> = found.findings.iter().map(|f| (f.code, f.weight)).collect();
    assert!(
        found.contains(&("stream", Weight::Ignorable("stream"))),
        "{found:?}"
    );
    assert!(
        found.contains(&("native-ttl", Weight::Refused)),
        "{found:?}"
    );
    assert!(
        found.contains(&("deletion-protection", Weight::Note)),
        "{found:?}"
    );

    raw.delete_table()
        .table_name(&table.name)
        .send()
        .await
        .unwrap();
    store.create(&table).await.unwrap();
    let other = store.inspect(&table.name).await.unwrap().unwrap();
    assert_ne!(plain.id, other.id);
}

#[tokio::test]
async fn a_missing_table_is_missing_in_every_call() {
    let store = connect(&url()).await;
    let table = notes(&fresh("missing"));
    let mut errors = vec![
        store.get(&table, &[key("a", 1)]).await.unwrap_err(),
        store
            .scan(&table, &store.splits(&table, 1).await.unwrap()[0], None, 1)
            .await
            .unwrap_err(),
    ];
    let puts = store
        .put(&table, &some_notes(2), &Condition::absent())
        .await
        .rows;
    errors.extend(puts.into_iter().map(Result::unwrap_err));
    let puts = store
        .put(&table, &some_notes(2), &Condition::Always)
        .await
        .rows;
    errors.extend(puts.into_iter().map(Result::unwrap_err));
    assert_eq!(errors.len(), 6);
    for error in errors {
        assert_eq!(error.kind(), Kind::Missing, "{error}");
        assert!(error.to_string().contains(&table.name), "{error}");
        assert!(
            error.next_step().unwrap().contains("migrate init"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn credentials_come_from_the_environment() {
    let store = DynamoDb::connect(DynamoDbConfig {
        credentials: None,
        ..config(&url())
    });
    let store = store
        .await
        .expect("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to anything");
    assert!(store.inspect("no-such-table").await.unwrap().is_none());
    assert_eq!(store.endpoint(), url());
}
