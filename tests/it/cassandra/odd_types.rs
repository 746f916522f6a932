//! Types that the driver or CQL's grammar has no words for.

use crossfade::error::{Effect, Kind};
use crossfade::model::{Condition, Edit, Mutation, Row, Times, Tokens, Update, Value};
use crossfade::schema::{Table, Type};
use crossfade::store::{Changed, Range, Reads, Store, Weight, WriteOutcome};

use super::{Bench, cell};

const COMPOSITE: &str = "'org.apache.cassandra.db.marshal.DynamicCompositeType(a=>org.apache.cassandra.db.marshal.BytesType)'";

async fn rows(bench: &Bench, table: &Table) -> Vec<Row> {
    bench.all(table, &Range::Tokens(Tokens::ALL), 100).await
}

fn udt_name(ty: &Type) -> Option<&str> {
    match ty {
        Type::Udt(udt) => Some(&udt.name),
        Type::List(inside) => udt_name(inside),
        _ => None,
    }
}

/// `system_schema` writes such names without quotes.
#[tokio::test]
async fn user_defined_types_may_be_called_as_built_in_ones() {
    let bench = Bench::new("called").await;
    let names = [
        "list", "map", "set", "tuple", "frozen", "vector", "int", "text", "empty",
    ];
    for name in names {
        bench.cql(&format!("CREATE TYPE \"{name}\" (a int)")).await;
    }
    let columns = names.map(|name| {
        format!(
            "f_{name} frozen<\"{name}\">, l_{name} list<frozen<\"{name}\">>, u_{name} \"{name}\""
        )
    });
    bench
        .cql(&format!(
            "CREATE TABLE t (p int PRIMARY KEY, i int, l list<int>, e list<text>, {})",
            columns.join(", ")
        ))
        .await;
    let table = bench.table("t").await;
    for column in table.cells() {
        let expected = column.name.split_once('_').map(|(_, name)| name);
        assert_eq!(udt_name(&column.ty), expected, "{}", column.name);
    }
    let value = |column: &crossfade::schema::Column| match (&column.ty, &*column.name) {
        (Type::Udt(_), _) => Value::Udt(vec![Some(Value::Int(7))]),
        (Type::List(_), "l") => Value::List(vec![Value::Int(7)]),
        (Type::List(_), "e") => Value::List(vec![Value::text("7")]),
        (Type::List(_), _) => Value::List(vec![Value::Udt(vec![Some(Value::Int(7))])]),
        _ => Value::Int(7),
    };
    let cells = table.cells().iter().map(|column| Some(value(column)));
    let row = Row::new(super::key(&[Value::Int(1)], &[]), cells.collect());
    let put = bench
        .store
        .put(&table, std::slice::from_ref(&row), &Condition::Always);
    assert_eq!(put.await.rows[0].as_ref().unwrap(), &WriteOutcome::Written);
    let found = rows(&bench, &table).await;
    assert_eq!(found[0].cells, row.cells);
    bench.done().await;
}

#[tokio::test]
async fn custom_types_are_read_as_the_bytes_they_are() {
    let bench = Bench::new("custom").await;
    bench
        .cql(&format!(
            "CREATE TABLE t (p int, c int, s {COMPOSITE} STATIC, v {COMPOSITE}, l list<{COMPOSITE}>, PRIMARY KEY (p, c))"
        ))
        .await;
    // An alias, a length and a value; then that there is no further part.
    let bytes = "80610001ff00";
    bench
        .cql(&format!(
            "INSERT INTO t (p, c, s, v, l) VALUES (1, 1, 0x{bytes}, 0x{bytes}, [0x{bytes}]) USING TTL 5000"
        ))
        .await;
    bench.cql("INSERT INTO t (p, c) VALUES (1, 2)").await;
    let found = bench.store.inspect("t").await.unwrap().unwrap();
    // Servers before 5.0 don't tell when elements expire.
    let findings = found.findings.iter().filter(|f| f.code != "collection-ttl");
    let named: Vec<_> = findings.map(|f| (f.code, f.weight)).collect();
    assert_eq!(named, [("custom-type", Weight::Note)]);
    let table = found.table.unwrap();
    let found = rows(&bench, &table).await;
    assert_eq!(found.len(), 3);
    let bytes = Value::Blob(vec![0x80, 0x61, 0, 1, 0xff, 0]);
    assert_eq!(cell(&table, &found[0], "s"), Some(&bytes));
    assert_eq!(cell(&table, &found[1], "v"), Some(&bytes));
    assert_eq!(
        cell(&table, &found[1], "l"),
        Some(&Value::List(vec![bytes.clone()]))
    );
    assert_eq!(cell(&table, &found[2], "v"), None);
    assert_ne!(found[1].times, Times::OfRow, "its TTL is told");
    let one = bench
        .store
        .get(&table, &[found[1].key.clone()])
        .await
        .unwrap();
    assert_eq!(one[0].as_ref().unwrap().cells, found[1].cells);
    bench.done().await;
}

#[tokio::test]
async fn what_applications_write_to_tables_with_custom_types() {
    let bench = Bench::new("written").await;
    bench
        .cql(&format!(
            "CREATE TABLE t (p int PRIMARY KEY, i int, l list<{COMPOSITE}>, v {COMPOSITE})"
        ))
        .await;
    let table = bench.table("t").await;
    let bytes = |last: u8| Some(Value::Blob(vec![0x80, 0x61, 0, 1, last, 0]));
    let mut row = Row::new(
        super::key(&[Value::Int(1)], &[]),
        vec![Some(Value::Int(1)), None, bytes(1)],
    );
    let put = Mutation::Put(row.clone());
    assert_eq!(
        bench.store.apply(&table, &put).await.unwrap(),
        Changed::Written
    );
    assert_eq!(rows(&bench, &table).await[0].cells, row.cells);
    let edits = vec![
        Some(Edit::Clear),
        Some(Edit::Clear),
        bytes(2).map(Edit::Set),
    ];
    let update = Update {
        key: row.key.clone(),
        cells: edits,
        expires: None,
    };
    let update = Mutation::Update(update);
    assert_eq!(
        bench.store.apply(&table, &update).await.unwrap(),
        Changed::Written
    );
    row.cells = vec![None, None, bytes(2)];
    assert_eq!(rows(&bench, &table).await[0].cells, row.cells);

    row.cells = vec![
        None,
        Some(Value::List(bytes(1).into_iter().collect())),
        None,
    ];
    for refused in [Mutation::Put(row.clone()), Mutation::Insert(row.clone())] {
        let error = bench.store.apply(&table, &refused).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unsupported, Effect::None),
            "{error}"
        );
    }
    bench.done().await;
}

/// What `DROP COMPACT STORAGE` makes of a table without a column outside the key.
#[tokio::test]
async fn tables_with_a_column_of_the_empty_type_move() {
    let bench = Bench::new("empty").await;
    bench.cql("CREATE TABLE t (p int, c int, value 'org.apache.cassandra.db.marshal.EmptyType', PRIMARY KEY (p, c))").await;
    bench.cql("INSERT INTO t (p, c) VALUES (1, 1)").await;
    let table = bench.table("t").await;
    let row = Row::new(super::key(&[Value::Int(1)], &[Value::Int(2)]), vec![None]);
    let put = Mutation::Put(row);
    assert_eq!(
        bench.store.apply(&table, &put).await.unwrap(),
        Changed::Written
    );
    let found = rows(&bench, &table).await;
    assert_eq!(found.len(), 2);
    assert_eq!(cell(&table, &found[1], "value"), None);
    bench.done().await;
}

#[tokio::test]
async fn custom_types_in_keys_are_refused_by_name() {
    let bench = Bench::new("customkey").await;
    bench
        .cql(&format!(
            "CREATE TABLE t (p int, c {COMPOSITE}, v int, PRIMARY KEY (p, c))"
        ))
        .await;
    let found = bench.store.inspect("t").await.unwrap().unwrap();
    let named: Vec<_> = found.findings.iter().map(|f| (f.code, f.weight)).collect();
    assert_eq!(named, [("custom-type", Weight::Refused)]);
    assert!(found.findings[0].message.ends_with(": c"), "{found:?}");
    bench.done().await;
}
