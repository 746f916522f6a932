//! Which old totals of counters the target has: what a later pass needs not ask again.
//!
//! Totals lie in the order of the ring, a few hundred to a record, as in the leaves of a tree: a
//! record's key is that of its first entry, and it holds all up to the next record's. A page of a
//! scan touches few of them. An entry that is lost or can't be read costs a read of the target.

use std::collections::BTreeMap;
use std::ops::Bound;

use sha2::{Digest, Sha256};

use super::{Journal, open_record};
use crate::codec::{cql, key};
use crate::disk::disk_error;
use crate::error::Result;
use crate::model::Key;
use crate::schema::Table;

const TOTALS: u8 = b't';
/// Entries of a record; beyond it, it is cut in two.
const MOST_ENTRIES: usize = 256;
const TOTAL_BYTES: usize = 9;

/// The totals of one row's counters, in the order of the new table's [`Table::cells`].
pub type RowTotals = Vec<Option<i64>>;

/// A row's place: its token, so that neighbours on the ring lie together, and a digest of its key.
type RowPlace = [u8; 24];

/// The first key that isn't of totals' records and comes after them.
pub(super) const PAST_TOTALS: u8 = TOTALS + 1;
/// Where they begin.
pub(super) const FIRST: u8 = TOTALS;

impl Journal {
    /// The totals of these rows that the target has had, as far as this journal knows; `columns` of them
    /// to a row.
    ///
    /// # Errors
    /// The disk's.
    pub async fn totals(&self, keys: &[&Key], columns: usize) -> Result<Vec<Option<RowTotals>>> {
        let places: Vec<RowPlace> = keys.iter().map(|key| place(&self.table, key)).collect();
        let (Some(&low), Some(&high)) = (places.iter().min(), places.iter().max()) else {
            return Ok(Vec::new());
        };
        let folder = self.folder.clone();
        let read = move |db: &sled::Db| {
            let failed = |error| disk_error("read", &folder, error);
            let mut known = BTreeMap::new();
            let first = home(db, &low).map_err(failed)?;
            let from = first.map_or_else(|| record_key(&low), |(key, _)| key);
            for pair in db.range(from..=record_key(&high)) {
                let (_, record) = pair.map_err(failed)?;
                known.extend(entries(&record, columns));
            }
            Ok(places.iter().map(|place| known.remove(place)).collect())
        };
        self.disk.read(read).await
    }

    /// Notes the totals that the target has by now. Nothing waits for it.
    pub fn folded(&self, totals: Vec<(Key, RowTotals)>) {
        let Some(columns) = totals.first().map(|(_, totals)| totals.len()) else {
            return;
        };
        let new: BTreeMap<RowPlace, RowTotals> = totals
            .into_iter()
            .map(|(key, totals)| (place(&self.table, &key), totals))
            .collect();
        let folder = self.folder.clone();
        let sequence = self.take_sequences(new.len() as u64 + 1);
        self.disk.note(move |db| {
            let failed = |error| disk_error("write to", &folder, error);
            let batch = merged(db, new, columns, sequence).map_err(failed)?;
            db.apply_batch(batch).map_err(failed)
        });
    }
}

/// The records that these entries go into, as they will be.
fn merged(
    db: &sled::Db,
    new: BTreeMap<RowPlace, RowTotals>,
    columns: usize,
    mut sequence: u64,
) -> Result<sled::Batch, sled::Error> {
    let mut batch = sled::Batch::default();
    let mut rest = new;
    while let Some((first, _)) = rest.first_key_value() {
        let there = home(db, first)?;
        let start = there
            .as_ref()
            .map_or_else(|| record_key(first), |(key, _)| key.clone());
        let mut all: BTreeMap<RowPlace, RowTotals> = BTreeMap::new();
        if let Some((key, record)) = &there {
            all.extend(entries(record, columns));
            batch.remove(key.as_slice());
        }
        let beyond = (Bound::Excluded(start), Bound::Excluded(vec![PAST_TOTALS]));
        let next = db.range::<Vec<u8>, _>(beyond).next().transpose()?;
        let later = match next.and_then(|(key, _)| RowPlace::try_from(&key[1..]).ok()) {
            Some(next) => rest.split_off(&next),
            None => BTreeMap::new(),
        };
        all.append(&mut rest);
        rest = later;
        let all: Vec<(RowPlace, RowTotals)> = all.into_iter().collect();
        let pieces = all.len().div_ceil(MOST_ENTRIES).max(1);
        for piece in all.chunks(all.len().div_ceil(pieces).max(1)) {
            batch.insert(record_key(&piece[0].0), record(piece, sequence));
            sequence += 1;
        }
    }
    Ok(batch)
}

/// The record that a place belongs to: the last one that begins at it or before.
fn home(db: &sled::Db, place: &RowPlace) -> Result<Option<(Vec<u8>, sled::IVec)>, sled::Error> {
    let pair = db
        .range(vec![TOTALS]..=record_key(place))
        .next_back()
        .transpose()?;
    Ok(pair.map(|(key, record)| (key.to_vec(), record)))
}

fn place(table: &Table, key: &Key) -> RowPlace {
    let token = cql::token(table.partition(), &key.partition);
    let mut place = [0; 24];
    place[..8].copy_from_slice(&((token as u64) ^ (1 << 63)).to_be_bytes());
    let digest = Sha256::digest(key::to_bytes(table, key));
    place[8..].copy_from_slice(&digest[..16]);
    place
}

fn record_key(place: &RowPlace) -> Vec<u8> {
    let mut key = vec![TOTALS];
    key.extend_from_slice(place);
    key
}

fn record(entries: &[(RowPlace, RowTotals)], sequence: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(entries.len() * 64);
    for (place, totals) in entries {
        body.extend_from_slice(place);
        for total in totals {
            body.push(u8::from(total.is_some()));
            body.extend_from_slice(&total.unwrap_or(0).to_be_bytes());
        }
    }
    super::seal(sequence, &body)
}

/// A record's entries; none if it is damaged, since all it says can be asked again.
fn entries(record: &[u8], columns: usize) -> Vec<(RowPlace, RowTotals)> {
    let Some((_, body)) = open_record(record) else {
        return Vec::new();
    };
    let entry = |bytes: &[u8]| {
        let (place, rest) = bytes.split_first_chunk::<24>()?;
        let total = |bytes: &[u8]| {
            let (&there, number) = bytes.split_first()?;
            let number = i64::from_be_bytes(number.try_into().ok()?);
            Some((there == 1).then_some(number))
        };
        let totals = rest.chunks(TOTAL_BYTES).map(total).collect::<Option<_>>()?;
        Some((*place, totals))
    };
    let size = 24 + columns * TOTAL_BYTES;
    body.chunks_exact(size).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::journal::Binding;
    use crate::model::Value;
    use crate::schema::{Column, Role, Type};

    fn binding() -> Binding {
        let text = || "x".to_owned();
        Binding {
            plan: text(),
            table: text(),
            old_id: text(),
            target_id: text(),
            mapping: text(),
            freeze: 0,
            incarnation: text(),
            shard: text(),
        }
    }

    fn counters() -> Table {
        let columns = vec![
            Column::new("id", Type::Int, Role::Partition),
            Column::new("down", Type::Counter, Role::Regular),
            Column::new("up", Type::Counter, Role::Regular),
        ];
        Table::new("t", columns)
    }

    fn key(n: i32) -> Key {
        Key::row(vec![Value::Int(n)], vec![])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_was_noted_last_is_known_and_nothing_else(
            pages in prop::collection::vec((0_i32..3_000, 1_i32..900, any::<i64>()), 1..12),
        ) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let folder = tempfile::tempdir().unwrap();
                let place = folder.path().join("journal");
                let mut expected = BTreeMap::new();
                let open = async || {
                    Journal::open(&place, &binding(), &counters()).await.unwrap().journal
                };
                let mut journal = open().await;
                for (at, (from, count, total)) in pages.into_iter().enumerate() {
                    let page: Vec<(Key, RowTotals)> = (from..from + count)
                        .step_by(1 + at % 3)
                        .map(|n| (key(n), vec![Some(total.wrapping_add(n.into())), None]))
                        .collect();
                    expected.extend(page.iter().map(|(key, t)| (format!("{key:?}"), t.clone())));
                    journal.folded(page);
                    if at % 4 == 3 {
                        drop(journal);
                        journal = open().await;
                    }
                }
                let keys: Vec<Key> = (0..4_000).map(key).collect();
                let keys: Vec<&Key> = keys.iter().collect();
                // A note is done when a later write is.
                journal.count(&crate::control::Counts::default()).await.unwrap();
                let known = journal.totals(&keys, 2).await.unwrap();
                for (key, known) in keys.iter().zip(known) {
                    let wanted = expected.get(&format!("{key:?}")).cloned();
                    assert_eq!(known, wanted, "{key:?}");
                }
            });
        }
    }
}
