//! Writing and deleting rows, each on its condition.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use futures::StreamExt;
use futures::stream;

use super::attr::{into_sdk, key_text, to_sdk_map};
use super::errors::Call;
use super::expression::{Terms, condition};
use super::{DynamoDb, batch};
use crate::error::{Error, Kind, Result};
use crate::mapping::{Attr, Mapping};
use crate::model::{Key, Row};
use crate::store::{Guard, Put, Puts, failed_rows};

/// Single calls of one put that are under way at once.
pub(super) const SINGLE_CALLS: usize = 16;
/// Batches of one put that are under way at once.
const BATCHES: usize = 8;
/// Bytes that are one write unit.
const UNIT: usize = 1024;

/// The rows of a put, and how they become items.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub mapping: &'a Mapping,
    pub rows: &'a [Row],
}

/// A row that is ready to be sent.
pub(super) struct Ready<'a> {
    /// Its place among the rows of the put.
    pub place: usize,
    /// Its attributes, those of the key included. Empty once they are on their way, since the SDK
    /// keeps what it sends; see [`Rows::item`].
    pub item: Vec<(&'a str, Attr)>,
    /// Its size as DynamoDB counts it.
    pub size: usize,
}

impl<'a> Rows<'a> {
    /// A row's attributes, to be sent: those that are ready, or the same again.
    pub(super) fn item(&self, ready: &mut Ready<'a>) -> Result<Vec<(&'a str, Attr)>> {
        match ready.item.is_empty() {
            true => Ok(self.mapping.attributes(&self.rows[ready.place])?.0),
            false => Ok(std::mem::take(&mut ready.item)),
        }
    }

    /// A row's key for people.
    pub(super) fn key_text(&self, place: usize) -> String {
        match self.mapping.key(&self.rows[place].key) {
            Ok(key) => pairs_text(&key),
            // It has been mapped before.
            Err(_) => "?".to_owned(),
        }
    }
}

/// What became of some rows.
#[derive(Default)]
pub(super) struct Outcome {
    /// By their places.
    pub rows: Vec<(usize, Result<Put>)>,
    /// Capacity consumed.
    pub units: f64,
}

impl Outcome {
    /// What became of one row that cost nothing.
    pub(super) fn of(place: usize, row: Result<Put>) -> Outcome {
        Outcome {
            rows: vec![(place, row)],
            units: 0.0,
        }
    }

    /// What became of these rows and of others.
    pub(super) fn and(mut self, other: Outcome) -> Outcome {
        self.rows.extend(other.rows);
        self.units += other.units;
        self
    }
}

impl Ready<'_> {
    /// Write units of this row, for servers that don't tell.
    pub(super) fn units(&self) -> f64 {
        self.size.div_ceil(UNIT).max(1) as f64
    }
}

impl DynamoDb {
    /// What [`crate::store::Store::put`] does.
    pub(super) async fn put_rows(&self, mapping: &Mapping, rows: &[Row], guard: &Guard) -> Puts {
        let count = rows.len();
        let condition = match Condition::new(mapping, guard) {
            Ok(condition) => condition,
            Err(error) => return failed_rows(count, &error),
        };
        let mut outcome = Outcome::default();
        let mut sizes = vec![0; count];
        let mut rounds = Rounds::default();
        for (place, row) in rows.iter().enumerate() {
            match ready(mapping, place, row) {
                Ok((key, row)) => {
                    sizes[place] = row.size;
                    rounds.add(key, row);
                }
                Err(error) => outcome.rows.push((place, Err(error))),
            }
        }
        let all = Rows { mapping, rows };
        for round in rounds.0 {
            let answer = self.put_round(all, round.rows, guard, &condition);
            outcome = outcome.and(answer.await);
        }
        puts(count, outcome, &sizes)
    }

    async fn put_round<'a>(
        &self,
        all: Rows<'a>,
        rows: Vec<Ready<'a>>,
        guard: &Guard,
        condition: &Condition,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut single = Vec::new();
        if *guard == Guard::Absent && self.partiql.is_tried() {
            let packed = batch::pack(&all.mapping.table().name, rows);
            let batches = packed.batches.into_iter();
            let calls: Vec<_> = batches.map(|batch| self.insert(all, batch)).collect();
            let mut answers = stream::iter(calls).buffer_unordered(BATCHES);
            single = packed.too_long;
            while let Some((answer, unsupported)) = answers.next().await {
                outcome = outcome.and(answer);
                single.extend(unsupported);
            }
        } else {
            single.extend(rows);
        }
        let single = single.into_iter();
        let calls: Vec<_> = single
            .map(|row| self.put_one(all, row, condition))
            .collect();
        stream::iter(calls)
            .buffer_unordered(SINGLE_CALLS)
            .fold(outcome, async |all, answer| all.and(answer))
            .await
    }

    async fn put_one(&self, all: Rows<'_>, mut row: Ready<'_>, condition: &Condition) -> Outcome {
        let table = all.mapping.table().name.as_str();
        let item = match all.item(&mut row) {
            Ok(item) => item.into_iter(),
            Err(error) => return Outcome::of(row.place, Err(error)),
        };
        let request = self
            .client
            .put_item()
            .table_name(table)
            .set_item(Some(
                item.map(|(name, attr)| (name.to_owned(), into_sdk(attr)))
                    .collect(),
            ))
            .set_condition_expression(condition.expression.clone())
            .set_expression_attribute_names(condition.terms.names())
            .set_expression_attribute_values(condition.terms.values())
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let call = self.writing("dynamodb:PutItem", table);
        let answer = request
            .customize()
            .interceptor(self.asking())
            .send()
            .await
            .map(|answer| answer.consumed_capacity);
        let units = row.units();
        single_outcome(&call, row.place, answer, units, || all.key_text(row.place))
    }

    /// What [`crate::store::Store::purge`] does.
    pub(super) async fn delete_keys(
        &self,
        mapping: &Mapping,
        keys: Vec<Key>,
        guard: &Guard,
    ) -> Puts {
        let count = keys.len();
        let condition = match Condition::new(mapping, guard) {
            Ok(condition) => condition,
            Err(error) => return failed_rows(count, &error),
        };
        let outcome = stream::iter(keys.into_iter().enumerate())
            .map(|(place, key)| self.delete_one(mapping, place, key, &condition))
            .buffer_unordered(SINGLE_CALLS)
            .fold(Outcome::default(), async |all, answer| all.and(answer))
            .await;
        puts(count, outcome, &vec![0; count])
    }

    async fn delete_one(
        &self,
        mapping: &Mapping,
        place: usize,
        key: Key,
        condition: &Condition,
    ) -> Outcome {
        let attrs = match mapping.key(&key) {
            Ok(attrs) => attrs,
            Err(error) => return Outcome::of(place, Err(error)),
        };
        let request = self
            .client
            .delete_item()
            .table_name(&mapping.table().name)
            .set_key(Some(to_sdk_map(&attrs)))
            .set_condition_expression(condition.expression.clone())
            .set_expression_attribute_names(condition.terms.names())
            .set_expression_attribute_values(condition.terms.values())
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let call = self.writing("dynamodb:DeleteItem", &mapping.table().name);
        let answer = request
            .customize()
            .interceptor(self.asking())
            .send()
            .await
            .map(|answer| answer.consumed_capacity);
        single_outcome(&call, place, answer, 1.0, || pairs_text(&attrs))
    }
}

/// Rows in the order they came, so that no round has one key twice.
#[derive(Default)]
struct Rounds<'a>(Vec<Round<'a>>);

#[derive(Default)]
struct Round<'a> {
    /// Digests: two keys with the same one only go in different rounds.
    keys: HashSet<u64>,
    rows: Vec<Ready<'a>>,
}

impl<'a> Rounds<'a> {
    fn add(&mut self, key: u64, row: Ready<'a>) {
        let free = self.0.iter().position(|round| !round.keys.contains(&key));
        let at = free.unwrap_or_else(|| {
            self.0.push(Round::default());
            self.0.len() - 1
        });
        self.0[at].keys.insert(key);
        self.0[at].rows.push(row);
    }
}

/// A row as its item, and a digest of its key attributes.
fn ready<'a>(mapping: &'a Mapping, place: usize, row: &Row) -> Result<(u64, Ready<'a>)> {
    let (item, size) = mapping.attributes(row)?;
    let mut digest = DefaultHasher::new();
    // The key's attributes come first.
    for (_, attr) in item.iter().take(1 + mapping.sort().iter().count()) {
        match attr {
            Attr::S(text) | Attr::N(text) => text.hash(&mut digest),
            Attr::B(bytes) => bytes.hash(&mut digest),
            Attr::Bool(_)
            | Attr::Null
            | Attr::L(_)
            | Attr::M(_)
            | Attr::Ss(_)
            | Attr::Ns(_)
            | Attr::Bs(_) => {}
        }
    }
    Ok((digest.finish(), Ready { place, item, size }))
}

/// The attributes of an item's key, partition first.
pub(super) fn key_of_item<'a>(
    mapping: &'a Mapping,
    item: &'a [(String, Attr)],
) -> impl Iterator<Item = (&'a str, &'a Attr)> {
    let names = std::iter::once(mapping.partition()).chain(mapping.sort());
    names.filter_map(|key| {
        let (name, attr) = item.iter().find(|(name, _)| *name == key.name)?;
        Some((name.as_str(), attr))
    })
}

/// An item's key for people.
pub(super) fn item_key_text(mapping: &Mapping, item: &[(String, Attr)]) -> String {
    key_text(key_of_item(mapping, item))
}

pub(super) fn pairs_text(attrs: &[(String, Attr)]) -> String {
    key_text(attrs.iter().map(|(name, attr)| (name.as_str(), attr)))
}

/// A guard in DynamoDB's words, the same for each row.
#[derive(Default)]
struct Condition {
    expression: Option<String>,
    terms: Terms,
}

impl Condition {
    fn new(mapping: &Mapping, guard: &Guard) -> Result<Self> {
        let mut terms = Terms::default();
        Ok(Condition {
            expression: condition(mapping, &guard.condition(), &mut terms)?,
            terms,
        })
    }
}

pub(super) fn single_outcome<E>(
    call: &Call<'_>,
    place: usize,
    answer: std::result::Result<Option<ConsumedCapacity>, SdkError<E, HttpResponse>>,
    expected: f64,
    key: impl FnOnce() -> String,
) -> Outcome
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let (row, units) = match answer {
        Ok(consumed) => (
            Ok(Put::Written),
            units(consumed.as_slice()).unwrap_or(expected),
        ),
        // A condition that doesn't hold is paid for too.
        Err(error)
            if error.as_service_error().and_then(E::code)
                == Some("ConditionalCheckFailedException") =>
        {
            (Ok(Put::Refused), expected)
        }
        Err(error) => (Err(call.failed(error).at("key", key())), 0.0),
    };
    Outcome {
        rows: vec![(place, row)],
        units,
    }
}

/// What the server says it took; `None` if it doesn't say.
pub(super) fn units(consumed: &[ConsumedCapacity]) -> Option<f64> {
    let units: Vec<f64> = consumed.iter().filter_map(|c| c.capacity_units()).collect();
    (!units.is_empty()).then(|| units.iter().sum())
}

pub(super) fn puts(count: usize, outcome: Outcome, sizes: &[usize]) -> Puts {
    let mut rows: Vec<Option<Result<Put>>> = (0..count).map(|_| None).collect();
    let mut bytes = 0;
    for (place, row) in outcome.rows {
        if matches!(row, Ok(Put::Written)) {
            bytes += sizes[place] as u64;
        }
        rows[place] = Some(row);
    }
    let lost = || Err(Error::new(Kind::Unknown, "a row was left out of its put"));
    Puts {
        rows: rows
            .into_iter()
            .map(|row| row.unwrap_or_else(lost))
            .collect(),
        units: outcome.units,
        bytes,
    }
}
