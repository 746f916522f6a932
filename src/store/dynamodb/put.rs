//! Writing and deleting rows, each on its condition.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use futures::StreamExt;
use futures::stream;

use super::attr::{into_sdk, to_sdk_map};
use super::expression::{Terms, condition};
use super::outcome::{RowOutcomes, SINGLE_CALLS, pairs_text, puts, single_outcome};
use super::ready::{PutRows, Ready};
use super::{DynamoDb, batch};
use crate::error::Result;
use crate::item::Mapping;
use crate::model::{Condition, Key, Row};
use crate::store::{WriteOutcomes, failed_rows};

/// Batches of one put that are under way at once.
const BATCHES: usize = 8;
impl DynamoDb {
    /// What [`crate::store::Store::put`] does.
    pub(super) async fn put_rows(
        &self,
        mapping: &Mapping,
        rows: &[Row],
        on: &Condition,
    ) -> WriteOutcomes {
        let count = rows.len();
        let condition = match ConditionText::new(mapping, on) {
            Ok(condition) => condition,
            Err(error) => return failed_rows(count, &error),
        };
        let mut outcome = RowOutcomes::default();
        let mut sizes = vec![0; count];
        let mut rounds = Rounds::default();
        for (place, row) in rows.iter().enumerate() {
            match ready(mapping, place, row) {
                Ok((key, row)) => {
                    sizes[place] = row.item.size;
                    rounds.add(key, row);
                }
                Err(error) => outcome.rows.push((place, Err(error))),
            }
        }
        let all = PutRows { mapping, rows };
        for round in rounds.0 {
            let answer = self.put_round(all, round.rows, on, &condition);
            outcome = outcome.and(answer.await);
        }
        puts(count, outcome, &sizes)
    }

    async fn put_round<'a>(
        &self,
        all: PutRows<'a>,
        rows: Vec<Ready<'a>>,
        on: &Condition,
        condition: &ConditionText,
    ) -> RowOutcomes {
        let mut outcome = RowOutcomes::default();
        let mut single = Vec::new();
        if on.is_absence() && self.partiql.is_tried() {
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

    async fn put_one(
        &self,
        all: PutRows<'_>,
        row: Ready<'_>,
        condition: &ConditionText,
    ) -> RowOutcomes {
        let table = all.mapping.table().name.as_str();
        let item = match all.item(&row) {
            Ok(item) => item.into_iter(),
            Err(error) => return RowOutcomes::of(row.place, Err(error)),
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
        on: &Condition,
    ) -> WriteOutcomes {
        let count = keys.len();
        let condition = match ConditionText::new(mapping, on) {
            Ok(condition) => condition,
            Err(error) => return failed_rows(count, &error),
        };
        let outcome = stream::iter(keys.into_iter().enumerate())
            .map(|(place, key)| self.delete_one(mapping, place, key, &condition))
            .buffer_unordered(SINGLE_CALLS)
            .fold(RowOutcomes::default(), async |all, answer| all.and(answer))
            .await;
        puts(count, outcome, &vec![0; count])
    }

    async fn delete_one(
        &self,
        mapping: &Mapping,
        place: usize,
        key: Key,
        condition: &ConditionText,
    ) -> RowOutcomes {
        let attrs = match mapping.key(&key) {
            Ok(attrs) => attrs,
            Err(error) => return RowOutcomes::of(place, Err(error)),
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
struct Rounds<'a>(Vec<PutRound<'a>>);

#[derive(Default)]
struct PutRound<'a> {
    /// Digests: two keys with the same one only go in different rounds.
    keys: HashSet<u64>,
    rows: Vec<Ready<'a>>,
}

impl<'a> Rounds<'a> {
    fn add(&mut self, key: u64, row: Ready<'a>) {
        let free = self.0.iter().position(|round| !round.keys.contains(&key));
        let at = free.unwrap_or_else(|| {
            self.0.push(PutRound::default());
            self.0.len() - 1
        });
        self.0[at].keys.insert(key);
        self.0[at].rows.push(row);
    }
}

/// A row as its item, and a digest of its key.
fn ready<'a>(mapping: &'a Mapping, place: usize, row: &Row) -> Result<(u64, Ready<'a>)> {
    let item = mapping.write(row)?;
    let mut digest = DefaultHasher::new();
    item.key().hash(&mut digest);
    Ok((digest.finish(), Ready { place, item }))
}

/// A condition in DynamoDB's words, the same for each row.
#[derive(Default)]
struct ConditionText {
    expression: Option<String>,
    terms: Terms,
}

impl ConditionText {
    fn new(mapping: &Mapping, on: &Condition) -> Result<Self> {
        let mut terms = Terms::default();
        Ok(ConditionText {
            expression: condition(mapping, on, &mut terms)?,
            terms,
        })
    }
}
