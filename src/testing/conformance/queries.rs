//! Listing whole partitions.

use super::{create, event, put, statics};
use crate::model::{ClusteringRange, Condition, Key, Query, Row, Value};
use crate::store::Store;

pub(super) async fn pages(store: &dyn Store, name: &str) {
    let table = create(store, name).await;
    let mut rows: Vec<Row> = (0..25).map(|at| event("q", at, Some("x"), None)).collect();
    rows.push(event("other", 1, None, None));
    rows.push(statics("q", "static"));
    put(store, &table, rows, &Condition::Always).await;
    for limit in [1, 7, 1_000] {
        let mut seen: Vec<Key> = Vec::new();
        loop {
            let query = Query {
                range: ClusteringRange::whole(vec![Value::text("q")]),
                reverse: false,
                after: seen.last().cloned(),
                limit,
            };
            let listed = store.query(&table, &query).await.unwrap();
            seen.extend(listed.rows.into_iter().map(|row| row.key));
            if !listed.more {
                break;
            }
        }
        let mut wanted = vec![Key::statics(vec![Value::text("q")])];
        wanted.extend((0..25).rev().map(|at| event("q", at, None, None).key));
        assert_eq!(
            seen, wanted,
            "pages of {limit} are the whole partition, each row once"
        );
    }
}
