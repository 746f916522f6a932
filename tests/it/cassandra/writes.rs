//! When rows were written, and what the server's clock says.

use crossfade::model::Tokens;
use crossfade::store::{Range, Reads, Store};

use super::{Bench, config};

/// The youngest of what a row tells of its cells, by the row's key.
async fn youngest(store: &impl Store, bench: &Bench) -> Vec<(String, Option<i64>)> {
    let table = bench.table("t").await;
    let range = Range::Tokens(Tokens::ALL);
    let page = store.scan(&table, &range, None, 100).await.unwrap();
    let mut rows: Vec<(String, Option<i64>)> = page
        .rows
        .iter()
        .map(|row| {
            let written = row.times.written();
            (format!("{:?}", row.key), written)
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn rows_tell_when_they_were_written_if_that_is_asked_for() {
    let bench = Bench::new("writes").await;
    bench
        .cql("CREATE TABLE t (p int, c int, host text STATIC, v int, tags set<text>, PRIMARY KEY (p, c))")
        .await;
    for statement in [
        "INSERT INTO t (p, c, v) VALUES (1, 1, 1) USING TIMESTAMP 1000",
        "INSERT INTO t (p, c, v) VALUES (1, 2, 1) USING TIMESTAMP 5000",
        "INSERT INTO t (p, c, v) VALUES (1, 3, 1) USING TIMESTAMP 1000",
        "UPDATE t USING TIMESTAMP 7000 SET tags = tags + {'a'} WHERE p = 1 AND c = 3",
        "UPDATE t USING TIMESTAMP 9000 SET host = 'h' WHERE p = 1",
    ] {
        bench.cql(statement).await;
    }
    let silent = youngest(&bench.store, &bench).await;
    assert!(silent.iter().all(|(_, written)| written.is_none()));

    let store = crossfade::store::cassandra::Cassandra::connect(config(&bench.keyspace))
        .await
        .unwrap()
        .telling_writes_since(5000);
    let told = youngest(&store, &bench).await;
    let written: Vec<Option<i64>> = told.into_iter().map(|(_, written)| written).collect();
    // The static row, then the others; what is older than asked for isn't told.
    assert_eq!(written.len(), 4);
    // Collections tell from 5.0 on.
    let expected: &[i64] = match bench.release >= (5, 0) {
        true => &[5000, 7000, 9000],
        false => &[5000, 9000],
    };
    assert_eq!(
        written
            .iter()
            .flatten()
            .copied()
            .collect::<std::collections::BTreeSet<_>>(),
        expected.iter().copied().collect()
    );

    let before = store.now().await.unwrap().expect("it has a clock");
    bench.cql("INSERT INTO t (p, c, v) VALUES (2, 1, 1)").await;
    let store = store.telling_writes_since(before);
    let told = youngest(&store, &bench).await;
    assert_eq!(
        told.iter().filter(|(_, written)| written.is_some()).count(),
        1
    );
    let after = store.now().await.unwrap().expect("it has a clock");
    let written = told.iter().find_map(|(_, written)| *written).expect("it");
    // The clock ticks in milliseconds.
    assert!(
        (before..=after + 1_000).contains(&written),
        "{before} {written} {after}"
    );
    bench.done().await;
}
