//! Scanning a table, range by range.

use std::collections::BTreeSet;

use super::{create, event, put, statics};
use crate::model::{Condition, Key};
use crate::schema::Table;
use crate::store::{Cursor, Range, Store};

pub(super) async fn scans(store: &dyn Store, name: &str) {
    let table = create(store, name).await;
    let mut wanted = BTreeSet::new();
    let mut rows = Vec::new();
    for partition in 0..40 {
        for at in 0..partition % 7 {
            rows.push(event(
                &format!("s{partition}"),
                at,
                Some("x"),
                Some(i64::from(at)),
            ));
        }
        if partition % 5 == 0 {
            rows.push(statics(&format!("s{partition}"), "static"));
        }
    }
    for row in &rows {
        assert!(wanted.insert(format!("{:?}", row.key)));
    }
    put(store, &table, rows, &Condition::Always).await;
    for (count, limit) in [(1, 3), (1, 1_000), (9, 2), (16, 1_000)] {
        let mut seen = BTreeSet::new();
        for range in store
            .splits(&table, count)
            .await
            .expect("a table can be cut")
        {
            for key in scan(store, &table, &range, limit).await {
                assert!(
                    seen.insert(format!("{key:?}")),
                    "{key:?} is in one range, once"
                );
            }
        }
        assert_eq!(
            seen, wanted,
            "{count} ranges in pages of {limit} are the whole table"
        );
    }
    resumes(store, &table).await;
    halves(store, &table, &wanted).await;
}

async fn scan(store: &dyn Store, table: &Table, range: &Range, limit: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = store
            .scan(table, range, cursor.as_ref(), limit)
            .await
            .expect("a range can be read");
        keys.extend(page.rows.into_iter().map(|row| row.key));
        cursor = page.next;
        if cursor.is_none() {
            return keys;
        }
    }
}

/// A cursor from an earlier process goes on after its key; what came before may come again, what
/// comes after must come.
async fn resumes(store: &dyn Store, table: &Table) {
    if !store.capabilities().token_ranges {
        return;
    }
    let range = store.splits(table, 1).await.unwrap().remove(0);
    let all = scan(store, table, &range, 1_000).await;
    for at in (0..all.len()).step_by(3) {
        let cursor = Cursor {
            key: all[at].clone(),
            state: None,
        };
        let mut following = BTreeSet::new();
        let mut next = Some(cursor);
        while let Some(cursor) = next {
            let page = store.scan(table, &range, Some(&cursor), 4).await.unwrap();
            following.extend(page.rows.iter().map(|row| format!("{:?}", row.key)));
            next = page.next;
        }
        for key in &all[at + 1..] {
            assert!(
                following.contains(&format!("{key:?}")),
                "{key:?} comes after {:?}",
                all[at]
            );
        }
    }
}

async fn halves(store: &dyn Store, table: &Table, wanted: &BTreeSet<String>) {
    if !store.capabilities().token_ranges {
        return;
    }
    let mut ranges = store.splits(table, 1).await.unwrap();
    for _ in 0..4 {
        let halved = ranges
            .iter()
            .map(|range| store.halve(table, range).expect("a wide range"));
        ranges = halved.flatten().collect();
    }
    let mut seen = Vec::new();
    for range in &ranges {
        seen.extend(
            scan(store, table, range, 50)
                .await
                .into_iter()
                .map(|key| format!("{key:?}")),
        );
    }
    assert_eq!(seen.len(), wanted.len(), "halves don't overlap");
    assert_eq!(
        &seen.into_iter().collect::<BTreeSet<_>>(),
        wanted,
        "halves are the whole"
    );
}
