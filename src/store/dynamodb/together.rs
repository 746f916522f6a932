//! Several items at one moment: transactions.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, Get, Put, ReturnValuesOnConditionCheckFailure,
    TransactGetItem, TransactWriteItem, Update as SdkUpdate,
};

use super::DynamoDb;
use super::attr::to_sdk_map;
use super::change::{ItemEdits, collections};
use super::errors::SdkCall;
use super::expression::{Terms, condition};
use super::read::row_of;
use crate::error::{Effect, Error, Kind, Result};
use crate::item::Mapping;
use crate::model::{Change, Key, Returns, Row};
use crate::schema::Table;
use crate::store::{Changed, Reading, Together};

/// The permission is that of what a transaction does.
const WRITES: &str = "dynamodb:PutItem";
const READS: &str = "dynamodb:GetItem";

impl DynamoDb {
    /// What [`crate::store::Store::transact`] does.
    pub(super) async fn change_together(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        let Some(first) = changes.first() else {
            return Ok(Vec::new());
        };
        let mut items = Vec::with_capacity(changes.len());
        // The items whose collections are edited, as they were read.
        let mut read = Vec::with_capacity(changes.len());
        for one in changes {
            let mapping = self.mapping(one.table)?;
            let there = match one.change {
                Change::Edit { .. } if !elements(one.change).is_empty() => {
                    self.read_item(&mapping, one.key, Reading::Strong).await?
                }
                Change::Edit { .. }
                | Change::Put(_)
                | Change::Bury
                | Change::Remove
                | Change::Keep
                | Change::Strip => None,
            };
            items.push(action(&mapping, one, there.as_ref())?);
            read.push(there);
        }
        let call = self.writing(WRITES, &first.table.name);
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items));
        let Err(error) = request.customize().interceptor(self.asking()).send().await else {
            return Ok(vec![Changed::Written; changes.len()]);
        };
        let reasons = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                cancelled.cancellation_reasons().to_vec()
            }
            Some(_) | None => Vec::new(),
        };
        if reasons.len() != changes.len() {
            return Err(call.failed(error));
        }
        let mut answers = Vec::with_capacity(changes.len());
        for ((one, reason), there) in changes.iter().zip(reasons).zip(read) {
            answers.push(self.answer(&call, one, reason, there.as_ref())?);
        }
        Ok(answers)
    }

    /// What a transaction that was cancelled says of one of its changes.
    fn answer(
        &self,
        call: &SdkCall<'_>,
        one: &Together<'_>,
        reason: CancellationReason,
        read: Option<&Row>,
    ) -> Result<Changed> {
        let code = reason.code().unwrap_or("no code");
        let met = match code {
            "None" => return Ok(Changed::Written),
            "ConditionalCheckFailed" => reason.item,
            _ => {
                let message = reason.message().unwrap_or("no reason given");
                return Err(call.cancelled(code, message));
            }
        };
        let mapping = self.mapping(one.table)?;
        let met = met.filter(|item| !item.is_empty());
        let met = met.map(|item| row_of(&mapping, item)).transpose()?;
        let edited = elements(one.change);
        if collections(&edited, met.as_ref()) != collections(&edited, read) {
            let message = "a collection was changed by others while it was edited";
            return Err(call.error(Kind::Transient, Effect::None, message));
        }
        Ok(Changed::Refused(met))
    }

    /// What [`crate::store::Reads::get_together`] does.
    pub(super) async fn read_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        let mut rows = vec![None; keys.len()];
        let mut places = Vec::with_capacity(keys.len());
        let mut items = Vec::with_capacity(keys.len());
        for (place, (table, key)) in keys.iter().enumerate() {
            let mapping = self.mapping(table)?;
            let Some(attributes) = mapping.key_to_find(key)? else {
                continue;
            };
            let get = Get::builder()
                .table_name(&table.name)
                .set_key(Some(to_sdk_map(&attributes)))
                .build()
                .map_err(unmade)?;
            items.push(TransactGetItem::builder().get(get).build());
            places.push((place, mapping));
        }
        let Some((table, _)) = keys.first().filter(|_| !items.is_empty()) else {
            return Ok(rows);
        };
        let call = self.reading(READS, &table.name);
        let request = self
            .client
            .transact_get_items()
            .set_transact_items(Some(items));
        let answer = request.send().await.map_err(|error| match reason(&error) {
            Some((code, message)) => call.cancelled(&code, &message).with_source(error),
            None => call.failed(error),
        })?;
        let found = answer.responses.unwrap_or_default();
        for ((place, mapping), response) in places.into_iter().zip(found) {
            let item = response.item.filter(|item| !item.is_empty());
            if let Some(row) = rows.get_mut(place) {
                *row = item.map(|item| row_of(&mapping, item)).transpose()?;
            }
        }
        Ok(rows)
    }
}

/// The first reason for which a read was cancelled.
fn reason<R>(error: &SdkError<TransactGetItemsError, R>) -> Option<(String, String)> {
    let TransactGetItemsError::TransactionCanceledException(cancelled) =
        error.as_service_error()?
    else {
        return None;
    };
    let mut reasons = cancelled.cancellation_reasons().iter();
    let reason = reasons.find(|reason| reason.code() != Some("None"))?;
    let message = reason.message().unwrap_or("no reason given");
    Some((reason.code()?.to_owned(), message.to_owned()))
}

/// The cells whose new value depends on the old one.
fn elements(change: &Change) -> Vec<usize> {
    match change {
        Change::Edit { cells, .. } => ItemEdits::of_elements(cells),
        Change::Put(_) | Change::Bury | Change::Remove | Change::Keep | Change::Strip => Vec::new(),
    }
}

/// One change in the words of a transaction.
fn action(mapping: &Mapping, one: &Together<'_>, there: Option<&Row>) -> Result<TransactWriteItem> {
    let table = mapping.table().name.as_str();
    let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
    let item = TransactWriteItem::builder();
    let mut terms = Terms::default();
    let put = |row: &Row, mut terms: Terms| -> Result<Put> {
        let condition = condition(mapping, one.on, &mut terms)?;
        Put::builder()
            .table_name(table)
            .set_item(Some(to_sdk_map(&mapping.item(row)?)))
            .set_condition_expression(condition)
            .set_expression_attribute_names(terms.names())
            .set_expression_attribute_values(terms.values())
            .return_values_on_condition_check_failure(all_old.clone())
            .build()
            .map_err(unmade)
    };
    Ok(match one.change {
        Change::Put(row) => item.put(put(row, terms)?),
        Change::Bury => {
            let tombstone = Row::tombstone(one.key.clone(), mapping.table().cells().len());
            item.put(put(&tombstone, terms)?)
        }
        Change::Remove => {
            let condition = condition(mapping, one.on, &mut terms)?;
            let delete = Delete::builder()
                .table_name(table)
                .set_key(Some(to_sdk_map(&mapping.key(one.key)?)))
                .set_condition_expression(condition)
                .set_expression_attribute_names(terms.names())
                .set_expression_attribute_values(terms.values())
                .return_values_on_condition_check_failure(all_old);
            item.delete(delete.build().map_err(unmade)?)
        }
        Change::Keep => {
            let condition = condition(mapping, one.on, &mut terms)?;
            let check = ConditionCheck::builder()
                .table_name(table)
                .set_key(Some(to_sdk_map(&mapping.key(one.key)?)))
                .set_condition_expression(condition)
                .set_expression_attribute_names(terms.names())
                .set_expression_attribute_values(terms.values())
                .return_values_on_condition_check_failure(all_old);
            item.condition_check(check.build().map_err(unmade)?)
        }
        Change::Edit {
            cells,
            mark,
            expires,
        } => {
            let edits = ItemEdits {
                cells,
                mark: *mark,
                expires: *expires,
                returns: Returns::Nothing,
            };
            let update = edits.update(mapping, one.key, there, one.on)?;
            let update = SdkUpdate::builder()
                .table_name(table)
                .set_key(Some(to_sdk_map(&update.key)))
                .update_expression(update.expression()?)
                .set_condition_expression(update.condition()?)
                .set_expression_attribute_names(update.terms.names())
                .set_expression_attribute_values(update.terms.values())
                .return_values_on_condition_check_failure(all_old);
            item.update(update.build().map_err(unmade)?)
        }
        Change::Strip => {
            let message = "marks aren't taken off in a transaction";
            return Err(Error::new(Kind::Unsupported, message));
        }
    }
    .build())
}

fn unmade(error: aws_sdk_dynamodb::error::BuildError) -> Error {
    Error::new(Kind::Invalid, "the request can't be made").with_source(error)
}
