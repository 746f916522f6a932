//! Ranges, pages, going on, and cutting.

use std::collections::BTreeSet;

use crossfade::codec::cql;
use crossfade::error::Kind;
use crossfade::model::{ClusteringRange, Key, Query, Row, Tokens, Value};
use crossfade::schema::{Table, Type};
use crossfade::store::{Cursor, Range, Reads, Slice, Store};
use scylla::statement::batch::{Batch, BatchType};

use super::types::every_type;
use super::{Bench, cell, key};

const ALL: Range = Range::Tokens(Tokens::ALL);

fn int(value: i32) -> Value {
    Value::Int(value)
}

/// The rows by key, for comparing what came in another order.
fn sorted(rows: &[Row]) -> Vec<String> {
    let mut texts: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn ranges_give_every_row_once_in_token_order() {
    let bench = Bench::new("order").await;
    bench
        .cql("CREATE TABLE t (a int, b text, v int, PRIMARY KEY ((a, b)))")
        .await;
    let table = bench.table("t").await;
    let rows: Vec<Row> = (0..300)
        .map(|n| {
            Row::new(
                key(&[int(n), Value::text("x".repeat(n as usize % 7))], &[]),
                vec![Some(int(n))],
            )
        })
        .collect();
    let puts = bench
        .store
        .put(&table, &rows, &crossfade::model::Condition::Always)
        .await;
    assert!(puts.rows.iter().all(Result::is_ok));
    let read = bench.all(&table, &ALL, 17).await;
    assert_eq!(sorted(&read), sorted(&rows));
    let tokens: Vec<i64> = read
        .iter()
        .map(|row| cql::token(table.partition(), &row.key.partition))
        .collect();
    assert!(tokens.is_sorted());

    let mut pieces = Vec::new();
    for range in bench.store.splits(&table, 13).await.unwrap() {
        let Range::Tokens(tokens) = range else {
            panic!("{range:?}")
        };
        let piece = bench.all(&table, &range, 10).await;
        assert!(
            piece
                .iter()
                .all(|row| tokens.contains(cql::token(table.partition(), &row.key.partition)))
        );
        pieces.extend(piece);
    }
    assert_eq!(pieces, read);

    // After each row are the rows after it, and nothing else.
    for at in (0..read.len()).step_by(37) {
        let cursor = Cursor {
            key: read[at].key.clone(),
            state: None,
        };
        assert_eq!(
            bench.behind(&table, &ALL, Some(cursor), 50).await,
            read[at + 1..]
        );
    }
    bench.done().await;
}

/// 32 bytes with the same token as these: the second block is worked out from the first, backwards
/// through Murmur3, whose every step can be undone.
fn twin(of: &[u8; 32], first: [u8; 16]) -> [u8; 32] {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    // Newton: each step doubles the bits that are right.
    let inverse = |odd: u64| {
        (0..6).fold(odd, |x, _| {
            x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)))
        })
    };
    let half =
        |block: &[u8], at: usize| u64::from_le_bytes(block[8 * at..8 * at + 8].try_into().unwrap());
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let step = |(h1, h2): (u64, u64), block: &[u8]| {
        let h1 = (h1 ^ mix1(half(block, 0))).rotate_left(27).wrapping_add(h2);
        let h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        let h2 = (h2 ^ mix2(half(block, 1))).rotate_left(31).wrapping_add(h1);
        (h1, h2.wrapping_mul(5).wrapping_add(0x3849_5ab5))
    };
    let (end1, end2) = step(step((0, 0), &of[..16]), &of[16..]);
    let (h1, h2) = step((0, 0), &first);
    let fifth = inverse(5);
    let mixed1 = end1
        .wrapping_sub(0x52dc_e729)
        .wrapping_mul(fifth)
        .wrapping_sub(h2)
        .rotate_right(27)
        ^ h1;
    let mixed2 = end2
        .wrapping_sub(0x3849_5ab5)
        .wrapping_mul(fifth)
        .wrapping_sub(end1)
        .rotate_right(31)
        ^ h2;
    let k1 = mixed1
        .wrapping_mul(inverse(C2))
        .rotate_right(31)
        .wrapping_mul(inverse(C1));
    let k2 = mixed2
        .wrapping_mul(inverse(C1))
        .rotate_right(33)
        .wrapping_mul(inverse(C2));
    let mut twin = [0; 32];
    twin[..16].copy_from_slice(&first);
    twin[16..24].copy_from_slice(&k1.to_le_bytes());
    twin[24..].copy_from_slice(&k2.to_le_bytes());
    twin
}

#[tokio::test]
async fn partitions_that_share_a_token_are_both_read_again() {
    let bench = Bench::new("twins").await;
    bench
        .cql("CREATE TABLE t (p blob, c int, s int STATIC, PRIMARY KEY (p, c))")
        .await;
    let table = bench.table("t").await;
    let one = [7; 32];
    let partitions = [
        Value::Blob(one.to_vec()),
        Value::Blob(twin(&one, [1; 16]).to_vec()),
        Value::Blob(vec![9]),
    ];
    let token = |p: &Value| cql::token(table.partition(), std::slice::from_ref(p));
    assert_eq!(token(&partitions[0]), token(&partitions[1]));
    assert_ne!(partitions[0], partitions[1]);
    let mut rows = Vec::new();
    for p in &partitions {
        rows.push(Row::new(Key::statics(vec![p.clone()]), vec![Some(int(1))]));
        rows.extend((0..3).map(|c| Row::new(key(std::slice::from_ref(p), &[int(c)]), vec![None])));
    }
    bench
        .store
        .put(&table, &rows, &crossfade::model::Condition::Always)
        .await;
    let all = bench.all(&table, &ALL, 2).await;
    assert_eq!(sorted(&all), sorted(&rows));
    for (at, row) in all.iter().enumerate() {
        let cursor = Cursor {
            key: row.key.clone(),
            state: None,
        };
        let read = bench.behind(&table, &ALL, Some(cursor), 2).await;
        let twins = token(&row.key.partition[0]) == token(&partitions[0]);
        let from = all
            .iter()
            .position(|first| !twins || token(&first.key.partition[0]) == token(&partitions[0]));
        let wanted = if twins {
            &all[from.unwrap()..]
        } else {
            &all[at + 1..]
        };
        assert_eq!(read, wanted, "behind {:?}", row.key);
    }
    // Slices of the token hold both partitions.
    let (cut, _, lost) = scan_cutting(&bench, &table, token_of(&table, &partitions[..1])).await;
    assert_eq!((cut.len(), lost), (8, vec![]));
    for part in bench
        .store
        .halve(&table, &token_of(&table, &partitions[..1]))
        .unwrap()
    {
        assert!(bench.all(&table, &part, 1).await.len() % 2 == 0);
    }
    bench.done().await;
}

/// A table with three clustering columns in mixed order and static columns, and its rows as a scan
/// gives them.
async fn mixed(bench: &Bench) -> (Table, Vec<Row>) {
    bench.cql("CREATE TABLE t (p int, a int, b text, c int, s int STATIC, v int, PRIMARY KEY (p, a, b, c)) WITH CLUSTERING ORDER BY (a DESC, b ASC, c DESC)").await;
    for p in 0..3 {
        for a in 0..3 {
            for b in ["", "x", "xy"] {
                for c in 0..2 {
                    bench
                        .cql(&format!(
                            "INSERT INTO t (p, a, b, c, v) VALUES ({p}, {a}, '{b}', {c}, 1)"
                        ))
                        .await;
                }
            }
        }
    }
    bench.cql("UPDATE t SET s = 1 WHERE p = 1").await;
    bench.cql("UPDATE t SET s = 7 WHERE p = 7").await;
    let table = bench.table("t").await;
    let rows = bench.all(&table, &ALL, 1000).await;
    assert_eq!(rows.len(), 3 * 18 + 2);
    (table, rows)
}

#[tokio::test]
async fn going_on_behind_any_row_gives_exactly_the_rest() {
    let bench = Bench::new("resume").await;
    let (table, rows) = mixed(&bench).await;
    for limit in [1, 4, 1000] {
        assert_eq!(
            bench.all(&table, &ALL, limit).await,
            rows,
            "pages of {limit}"
        );
    }
    for (at, row) in rows.iter().enumerate() {
        let cursor = Cursor {
            key: row.key.clone(),
            state: None,
        };
        let rest = bench.behind(&table, &ALL, Some(cursor), 5).await;
        assert_eq!(rest, rows[at + 1..], "behind {:?}", row.key);
    }
    // A row that was deleted in the meantime is as good.
    let gone = key(&[int(1)], &[int(1), Value::text("w"), int(9)]);
    let rest = bench
        .behind(
            &table,
            &ALL,
            Some(Cursor {
                key: gone,
                state: None,
            }),
            5,
        )
        .await;
    let of_one: Vec<&Row> = rest
        .iter()
        .filter(|row| row.key.partition == [int(1)])
        .collect();
    assert_eq!(of_one.len(), 4 + 6);
    bench.done().await;
}

#[tokio::test]
async fn going_on_works_in_clustering_columns_of_every_type() {
    let bench = Bench::new("keys").await;
    bench
        .cql("CREATE TYPE \"Home Address\" (street text, \"Zip Code\" int, tags frozen<set<text>>)")
        .await;
    for (at, (name, ty, values)) in every_type(bench.release).into_iter().enumerate() {
        if ty == Type::Duration {
            continue; // the server takes none in a key
        }
        let name = match ty {
            Type::List(_) | Type::Set(_) | Type::Map(..) | Type::Udt(_)
                if !name.starts_with("frozen") =>
            {
                format!("frozen<{name}>")
            }
            _ => name.to_owned(),
        };
        let order = if at % 2 == 0 { "ASC" } else { "DESC" };
        let table = format!("t{at}_{order}").to_lowercase();
        bench.cql(&format!("CREATE TABLE {table} (p int, c {name}, d int, PRIMARY KEY (p, c, d)) WITH CLUSTERING ORDER BY (c {order}, d ASC)")).await;
        let table = bench.table(&table).await;
        // Bytes that the type doesn't have are equal to ones it has.
        let rows = values
            .iter()
            .filter(|value| !matches!(value, Value::Raw(_)))
            .flat_map(|value| {
                (0..2).map(|d| Row::new(key(&[int(1)], &[value.clone(), int(d)]), vec![]))
            });
        let rows: Vec<Row> = rows.collect();
        let puts = bench
            .store
            .put(&table, &rows, &crossfade::model::Condition::Always)
            .await;
        for put in puts.rows {
            put.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let all = bench.all(&table, &ALL, 100).await;
        assert_eq!(sorted(&all), sorted(&rows), "{name} {order}");
        for (at, row) in all.iter().enumerate() {
            let cursor = Cursor {
                key: row.key.clone(),
                state: None,
            };
            let rest = bench.behind(&table, &ALL, Some(cursor), 1).await;
            assert_eq!(rest, all[at + 1..], "{name} {order} behind {:?}", row.key);
        }
        let mut cut = Vec::new();
        for part in bench
            .store
            .halve(&table, &token_of(&table, &[int(1)]))
            .unwrap_or_default()
        {
            cut.extend(bench.all(&table, &part, 1).await);
        }
        assert!(
            cut.is_empty() || sorted(&cut) == sorted(&rows),
            "{name} {order}"
        );
    }
    bench.done().await;
}

#[tokio::test]
async fn a_partition_is_read_alone_and_gone_on_with() {
    let bench = Bench::new("query").await;
    let (table, rows) = mixed(&bench).await;
    for p in [0, 1, 7, 8] {
        let wanted: Vec<Row> = rows
            .iter()
            .filter(|row| row.key.partition == [int(p)])
            .cloned()
            .collect();
        let mut read: Vec<Row> = Vec::new();
        loop {
            let query = Query {
                range: ClusteringRange::whole(vec![int(p)]),
                reverse: false,
                after: read.last().map(|row| row.key.clone()),
                limit: 5,
            };
            let listed = bench.store.query(&table, &query).await.unwrap();
            read.extend(listed.rows);
            if !listed.more {
                break;
            }
        }
        assert_eq!(read, wanted, "partition {p}");
    }
    bench.done().await;
}

#[tokio::test]
async fn static_columns_are_one_row_before_the_partitions_rows() {
    let bench = Bench::new("statics").await;
    bench
        .cql(
            "CREATE TABLE t (p int, c int, s text STATIC, n int STATIC, v int, PRIMARY KEY (p, c))",
        )
        .await;
    for p in 0..20 {
        if p % 3 != 0 {
            bench
                .cql(&format!("UPDATE t SET s = 's{p}' WHERE p = {p}"))
                .await;
        }
        // Partitions with 0 to 3 rows.
        for c in 0..p % 4 {
            bench
                .cql(&format!("INSERT INTO t (p, c, v) VALUES ({p}, {c}, {p})"))
                .await;
        }
    }
    let table = bench.table("t").await;
    for limit in [1, 2, 3, 7, 1000] {
        let rows = bench.all(&table, &ALL, limit).await;
        for p in 0..20 {
            let of_one: Vec<&Row> = rows
                .iter()
                .filter(|row| row.key.partition == [int(p)])
                .collect();
            let (statics, plain): (Vec<&Row>, Vec<&Row>) =
                of_one.iter().partition(|row| row.key.is_static());
            assert_eq!(
                statics.len(),
                usize::from(p % 3 != 0),
                "pages of {limit}, partition {p}"
            );
            assert_eq!(
                plain.len(),
                p as usize % 4,
                "pages of {limit}, partition {p}"
            );
            if let Some(first) = statics.first() {
                assert_eq!(of_one[0], *first);
                assert_eq!(
                    cell(&table, first, "s"),
                    Some(&Value::text(format!("s{p}")))
                );
                assert_eq!(cell(&table, first, "v"), None);
            }
            assert!(plain.iter().all(|row| cell(&table, row, "s").is_none()));
        }
    }
    bench.done().await;
}

impl Bench {
    /// What a server counts as a tombstone when it is deleted: rows, but before 3.11 single cells alone.
    fn counted(&self) -> &'static str {
        if self.release < (3, 11) { "v" } else { "" }
    }
}

/// Deletes the rows of 0 to 105,000 but for these: more than a server reads over in one go.
async fn delete_many(bench: &Bench, statement: &str, but: &[i32]) {
    let delete = bench.session.prepare(statement).await.expect("prepared");
    let doomed: Vec<(i32,)> = (0..105_000)
        .filter(|at| !but.contains(at))
        .map(|at| (at,))
        .collect();
    for chunk in doomed.chunks(1000) {
        let mut batch = Batch::new(BatchType::Unlogged);
        chunk
            .iter()
            .for_each(|_| batch.append_statement(delete.clone()));
        bench.session.batch(&batch, chunk).await.expect("deleted");
    }
}

/// Scans as the copier does: what is too costly is cut, until it isn't or can't be.
async fn scan_cutting(bench: &Bench, table: &Table, whole: Range) -> (Vec<Row>, usize, Vec<Range>) {
    let (mut rows, mut refused, mut lost) = (Vec::new(), 0, Vec::new());
    let mut ranges = vec![whole];
    while let Some(range) = ranges.pop() {
        let (mut read, mut cursor) = (Vec::new(), None);
        loop {
            match bench.store.scan(table, &range, cursor.as_ref(), 100).await {
                Ok(page) => {
                    read.extend(page.rows);
                    cursor = page.next;
                    if cursor.is_none() {
                        rows.extend(read);
                        break;
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::RangeTooCostly, "{error}");
                    refused += 1;
                    match bench.store.halve(table, &range) {
                        Some(halves) => ranges.extend(halves),
                        None => lost.push(range),
                    }
                    break;
                }
            }
        }
    }
    (rows, refused, lost)
}

fn token_of(table: &Table, partition: &[Value]) -> Range {
    let token = cql::token(table.partition(), partition);
    Range::Tokens(Tokens {
        after: token - 1,
        up_to: token,
    })
}

#[tokio::test]
async fn a_partition_of_105000_deleted_rows_is_read_by_slices() {
    let bench = Bench::new("deleted").await;
    bench
        .cql("CREATE TABLE t (p int, kind text, at int, v int, PRIMARY KEY (p, kind, at))")
        .await;
    let mut live = Vec::new();
    for at in [-5, 52_500, 200_000] {
        bench
            .cql(&format!(
                "INSERT INTO t (p, kind, at, v) VALUES (1, 'visit', {at}, 1)"
            ))
            .await;
        live.push(at);
    }
    bench
        .cql("INSERT INTO t (p, kind, at, v) VALUES (1, 'a', 0, 1)")
        .await;
    bench
        .cql("INSERT INTO t (p, kind, at, v) VALUES (1, '', 0, 1)")
        .await;
    bench
        .cql("INSERT INTO t (p, kind, at, v) VALUES (2, 'visit', 0, 1)")
        .await;
    let delete = format!(
        "DELETE {} FROM t WHERE p = 1 AND kind = 'visit' AND at = ?",
        bench.counted()
    );
    delete_many(&bench, &delete, &live).await;
    let table = bench.table("t").await;
    let plain = bench
        .store
        .scan(&table, &token_of(&table, &[int(1)]), None, 100)
        .await;
    assert_eq!(plain.unwrap_err().kind(), Kind::RangeTooCostly);

    let (rows, refused, lost) = scan_cutting(&bench, &table, token_of(&table, &[int(1)])).await;
    assert!(refused > 1, "{refused}");
    assert_eq!(lost, []);
    assert_eq!(rows.len(), 5, "{rows:?}");
    let keys: BTreeSet<String> = rows.iter().map(|row| format!("{:?}", row.key)).collect();
    assert_eq!(keys.len(), 5);
    bench.done().await;
}

#[tokio::test]
async fn slices_of_a_token_are_all_of_it() {
    let bench = Bench::new("slices").await;
    bench.cql("CREATE TABLE t (p int, a int, b text, c uuid, s int STATIC, PRIMARY KEY (p, a, b, c)) WITH CLUSTERING ORDER BY (a DESC, b ASC, c DESC)").await;
    let table = bench.table("t").await;
    let mut rows = vec![Row::new(Key::statics(vec![int(1)]), vec![Some(int(9))])];
    for a in [Value::Empty, int(i32::MIN), int(-1), int(0), int(i32::MAX)] {
        for b in ["", "a", "a\0", "ä", "\u{10ffff}"] {
            for c in [
                Value::Empty,
                Value::Uuid([0; 16]),
                Value::Uuid([0xff; 16]),
                Value::Uuid(*b"0123456\x1489abcdef"),
            ] {
                rows.push(Row::new(
                    key(&[int(1)], &[a.clone(), Value::text(b), c]),
                    vec![None],
                ));
            }
        }
    }
    let puts = bench
        .store
        .put(&table, &rows, &crossfade::model::Condition::Always)
        .await;
    for put in puts.rows {
        put.expect("a put");
    }
    // Halves of halves, along the ones with most rows: each level is all of the token.
    let mut ranges = vec![token_of(&table, &[int(1)])];
    for level in 0..40 {
        let mut read = Vec::new();
        let mut largest = (0, 0);
        for (at, range) in ranges.iter().enumerate() {
            let piece = bench.all(&table, range, 7).await;
            if piece.len() > largest.1 && bench.store.halve(&table, range).is_some() {
                largest = (at, piece.len());
            }
            read.extend(piece);
        }
        assert_eq!(sorted(&read), sorted(&rows), "level {level}: {ranges:?}");
        if largest.1 == 0 {
            break;
        }
        let cut = ranges.swap_remove(largest.0);
        ranges.extend(bench.store.halve(&table, &cut).unwrap());
    }
    bench.done().await;
}

#[tokio::test]
async fn static_columns_in_front_of_deleted_rows_fail_alone() {
    let bench = Bench::new("front").await;
    bench
        .cql("CREATE TABLE t (p int, c int, s int STATIC, v int, PRIMARY KEY (p, c))")
        .await;
    bench.cql("UPDATE t SET s = 1 WHERE p = 1").await;
    bench.cql("INSERT INTO t (p, c) VALUES (1, 1000000)").await;
    let delete = format!("DELETE {} FROM t WHERE p = 1 AND c = ?", bench.counted());
    delete_many(&bench, &delete, &[]).await;
    let table = bench.table("t").await;
    let (rows, _, lost) = scan_cutting(&bench, &table, token_of(&table, &[int(1)])).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(cell(&table, &rows[0], "s"), None);
    // What couldn't be read is named: the place before all rows.
    let statics = Range::Slice(Slice {
        token: cql::token(table.partition(), &[int(1)]),
        prefix: vec![],
        from: None,
        until: Some(Value::Empty),
    });
    assert_eq!(lost, [statics]);
    bench.done().await;
}

#[tokio::test]
async fn a_cursor_of_another_range_is_refused() {
    let bench = Bench::new("cursors").await;
    bench
        .cql("CREATE TABLE t (p int, c int, PRIMARY KEY (p, c))")
        .await;
    bench.cql("INSERT INTO t (p, c) VALUES (1, 1)").await;
    bench.cql("INSERT INTO t (p, c) VALUES (1, 2)").await;
    let table = bench.table("t").await;
    let page = bench.store.scan(&table, &ALL, None, 1).await.unwrap();
    let cursor = page.next.unwrap();
    let slice = Range::Slice(Slice {
        token: 1,
        prefix: vec![],
        from: None,
        until: None,
    });
    let error = bench
        .store
        .scan(&table, &slice, Some(&cursor), 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    let broken = Cursor {
        state: Some(vec![1, 2, 3]),
        ..cursor
    };
    let error = bench
        .store
        .scan(&table, &ALL, Some(&broken), 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let segment = Range::Segment { index: 0, total: 1 };
    let error = bench
        .store
        .scan(&table, &segment, None, 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    bench.done().await;
}
