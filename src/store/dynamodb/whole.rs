//! Changes of more columns than an expression holds: 4,096 bytes, which is some 330 columns to set, and 300
//! operators, which is 150 columns to compare.
//!
//! The item is read, what becomes of it is decided here, and it is put as a whole on the condition that nothing has
//! changed it meanwhile. Where that condition is too long for an expression too, it is given attribute by
//! attribute in the older form (`Expected`), which has no such limits.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::ExpectedAttributeValue;

use super::DynamoDb;
use super::attr::{Attrs, to_sdk, to_sdk_map};
use super::change::{TRIES, key_text};
use super::errors::SdkCall;
use super::expression::{Terms, Unfit, condition};
use super::read::readable;
use crate::error::{Effect, Error, Kind, Result};
use crate::item::Mapping;
use crate::model::{Change, Condition, Key, Returns, Row};
use crate::store::{Changed, Reading};

/// That an item is still what was read.
enum Unchanged {
    Expression(Option<String>, Terms),
    Attributes(HashMap<String, ExpectedAttributeValue>),
}

impl DynamoDb {
    /// Changes an item by putting all of it.
    pub(super) async fn change_whole(
        &self,
        mapping: &Mapping,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        for _ in 0..TRIES {
            let seen = self.read_attributes(mapping, key, Reading::Strong).await?;
            let row = seen.clone().map(|item| readable(mapping, item));
            let row = row.transpose()?;
            if !on.holds(row.as_ref()) {
                return Ok(Changed::Refused(row));
            }
            let unchanged = Unchanged::since(mapping, seen.as_deref(), row.as_ref())?;
            let after = change.of(key, mapping.table().cells().len(), row.clone())?;
            let written = match &after {
                Some(row) => {
                    let mut item = mapping.item(row)?;
                    if let Change::Edit { .. } | Change::Strip = change {
                        // What someone else keeps at the item stays.
                        let others = seen.into_iter().flatten();
                        item.extend(others.filter(|(name, _)| !mapping.knows(name)));
                    }
                    self.put_unchanged(mapping, key, &item, unchanged).await?
                }
                None => self.delete_unchanged(mapping, key, unchanged).await?,
            };
            if written {
                return Ok(match returns {
                    Returns::Nothing => Changed::Written,
                    Returns::Old => Changed::Told(row),
                    Returns::New => Changed::Told(after),
                });
            }
        }
        let call = self.writing("dynamodb:PutItem", &mapping.table().name);
        let message = format!("an item was changed by others {TRIES} times while it was changed");
        Err(call
            .error(Kind::Transient, Effect::None, message)
            .with_context("key", key_text(mapping, key)))
    }

    async fn put_unchanged(
        &self,
        mapping: &Mapping,
        key: &Key,
        item: &Attrs,
        unchanged: Unchanged,
    ) -> Result<bool> {
        let table = mapping.table().name.as_str();
        let request = self
            .client
            .put_item()
            .table_name(table)
            .set_item(Some(to_sdk_map(item)));
        let request = match unchanged {
            Unchanged::Attributes(expected) => request.set_expected(Some(expected)),
            Unchanged::Expression(condition, terms) => request
                .set_condition_expression(condition)
                .set_expression_attribute_names(terms.names())
                .set_expression_attribute_values(terms.values()),
        };
        let call = self.writing("dynamodb:PutItem", table);
        let answer = request.customize().interceptor(self.asking()).send().await;
        written(&call, answer).map_err(|error| error.with_context("key", key_text(mapping, key)))
    }

    async fn delete_unchanged(
        &self,
        mapping: &Mapping,
        key: &Key,
        unchanged: Unchanged,
    ) -> Result<bool> {
        let table = mapping.table().name.as_str();
        let request = self
            .client
            .delete_item()
            .table_name(table)
            .set_key(Some(to_sdk_map(&mapping.key(key)?)));
        let request = match unchanged {
            Unchanged::Attributes(expected) => request.set_expected(Some(expected)),
            Unchanged::Expression(condition, terms) => request
                .set_condition_expression(condition)
                .set_expression_attribute_names(terms.names())
                .set_expression_attribute_values(terms.values()),
        };
        let call = self.writing("dynamodb:DeleteItem", table);
        let answer = request.customize().interceptor(self.asking()).send().await;
        written(&call, answer).map_err(|error| error.with_context("key", key_text(mapping, key)))
    }
}

impl Unchanged {
    fn since(
        mapping: &Mapping,
        seen: Option<&[(String, crate::item::Attr)]>,
        row: Option<&Row>,
    ) -> Result<Self> {
        let mut terms = Terms::default();
        let same = match row {
            Some(row) => Condition::Same(row.clone().into()),
            None => Condition::absent(),
        };
        match condition(mapping, &same, &mut terms) {
            Ok(condition) => Ok(Unchanged::Expression(condition, terms)),
            Err(Unfit::TooLong(_)) => Ok(Unchanged::Attributes(expected(
                mapping,
                seen.unwrap_or_default(),
            ))),
            Err(Unfit::Wrong(error)) => Err(error),
        }
    }
}

/// Every attribute that the mapping knows, as it was read: there with this value, or not there.
fn expected(
    mapping: &Mapping,
    seen: &[(String, crate::item::Attr)],
) -> HashMap<String, ExpectedAttributeValue> {
    let absent = mapping.attributes_known().map(|name| {
        let expected = ExpectedAttributeValue::builder().exists(false).build();
        (name.to_owned(), expected)
    });
    let mut expected: HashMap<_, _> = absent.collect();
    for (name, attr) in seen.iter().filter(|(name, _)| mapping.knows(name)) {
        let value = ExpectedAttributeValue::builder()
            .value(to_sdk(attr))
            .build();
        expected.insert(name.clone(), value);
    }
    expected
}

/// Whether a write was made: `false` if the item isn't what was read any more.
fn written<T, E>(
    call: &SdkCall<'_>,
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
) -> Result<bool, Error>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match answer {
        Ok(_) => Ok(true),
        Err(error)
            if error.as_service_error().and_then(E::code)
                == Some("ConditionalCheckFailedException") =>
        {
            Ok(false)
        }
        Err(error) => Err(call.failed(error)),
    }
}
