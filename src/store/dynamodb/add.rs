//! Adding to counters, for an application.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{TransactWriteItem, Update as SdkUpdate};

use super::DynamoDb;
use super::attr::{Attrs, to_sdk_map};
use super::body::Body;
use super::outcome::pairs_text;
use super::read::readable;
use super::update::ItemUpdate;
use crate::error::{Effect, Error, Kind, Result};
use crate::item::{Attr, Mapping};
use crate::model::{Add, Row};
use crate::schema::Type;
use crate::store::telling_no_tokens;

impl DynamoDb {
    /// What [`crate::store::Store::add`] does.
    pub(super) async fn add_up(&self, mapping: &Mapping, add: &Add) -> Result<()> {
        let update = update(mapping, add)?;
        match &add.token {
            None => self.add_once(mapping, &update, None).await.map(drop),
            Some(token) => self.add_by_token(mapping, &update, token).await,
        }
    }

    /// What [`crate::store::Store::add_and_return`] does.
    pub(super) async fn add_up_and_tell(
        &self,
        mapping: &Mapping,
        add: &Add,
    ) -> Result<Option<Row>> {
        if add.token.is_some() {
            return Err(telling_no_tokens());
        }
        let update = update(mapping, add)?;
        let item = self.add_once(mapping, &update, Some("ALL_NEW")).await?;
        let row = item.map(|item| readable(mapping, item)).transpose();
        // It is added, whatever the item is like.
        row.map_err(|error| error.with_effect(Effect::Unknown))
    }

    async fn add_once(
        &self,
        mapping: &Mapping,
        update: &ItemUpdate,
        returns: Option<&str>,
    ) -> Result<Option<Attrs>> {
        let table = mapping.table().name.as_str();
        let body = Body::on(table)
            .item("Key", &update.key)
            .text("UpdateExpression", &expression(update)?)
            .text_if("ReturnValues", returns)
            .terms(&update.terms);
        let call = self.writing("dynamodb:UpdateItem", table);
        let answer = self.change_by("UpdateItem", body).await;
        answer.map_err(|error| {
            call.failed(error)
                .with_context("key", pairs_text(&update.key))
        })
    }

    /// As a transaction of its own: with the same token DynamoDB does it once within ten minutes.
    async fn add_by_token(
        &self,
        mapping: &Mapping,
        update: &ItemUpdate,
        token: &str,
    ) -> Result<()> {
        // The permission is that of what the transaction does.
        let call = self.writing("dynamodb:UpdateItem", &mapping.table().name);
        let action = SdkUpdate::builder()
            .table_name(&mapping.table().name)
            .set_key(Some(to_sdk_map(&update.key)))
            .update_expression(expression(update)?)
            .set_expression_attribute_names(update.terms.names())
            .set_expression_attribute_values(update.terms.values())
            .build()
            .map_err(|error| {
                Error::new(Kind::Invalid, "the request can't be made").with_source(error)
            })?;
        let request = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(action).build())
            .client_request_token(token);
        let Err(error) = request.customize().interceptor(self.asking()).send().await else {
            return Ok(());
        };
        let error = match reason(&error) {
            Some((code, message)) => call.cancelled(&code, &message).with_source(error),
            None => call.failed(error),
        };
        Err(error.with_context("key", pairs_text(&update.key)))
    }
}

/// Why a transaction was cancelled: the code and message of its only action.
fn reason<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<(String, String)> {
    let TransactWriteItemsError::TransactionCanceledException(cancelled) =
        error.as_service_error()?
    else {
        return None;
    };
    let reason = cancelled.cancellation_reasons().first();
    let code = reason.and_then(|reason| reason.code()).unwrap_or("no code");
    let message = reason.and_then(|reason| reason.message());
    let message = message.or(cancelled.message()).unwrap_or("no reason given");
    Some((code.to_owned(), message.to_owned()))
}

/// An add is never read before it is made, so there is no other way for one that is too long.
fn expression(update: &ItemUpdate) -> Result<String> {
    Ok(update.expression()?)
}

fn update(mapping: &Mapping, add: &Add) -> Result<ItemUpdate> {
    let mut update = ItemUpdate::of(mapping, &add.key)?;
    for (cell, by) in add.by.iter().enumerate() {
        let Some(by) = by else { continue };
        let column = mapping.column(cell)?;
        if column.ty != Type::Counter {
            let message = "what is added to isn't a counter";
            return Err(Error::new(Kind::Invalid, message).with_context("column", &column.name));
        }
        update.add(&column.name, Attr::N(by.to_string()));
    }
    update.mark(mapping, add.mark);
    Ok(update)
}
