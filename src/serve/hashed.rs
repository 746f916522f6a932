//! Hashed partition keys (`keys = { partition_hash = true }`): a key that is too long is known by its hash, which
//! doesn't tell the row. The row's item does, so such a row is found by its key once the new store has it.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::app::App;
use super::asked::{Asked, ReturnValues};
use super::attempts::AttemptOutcome;
use super::capacity::{self, WantedCapacity};
use super::fault::Fault;
use super::json::GivenItem;
use super::target::{ReplyBody, Target, json as item_json};
use crate::error::Effect;
use crate::express::Item;
use crate::item::Attr;
use crate::model::Key;
use crate::protocol::Phase;

/// What is known of a row by its hashed key.
pub(super) enum FoundByHash {
    Row(Key),
    /// From `new` on: there is no such row.
    None,
}

impl App {
    /// Looks a row up by its hashed key.
    ///
    /// # Errors
    /// It may be in the old store, where it isn't known by its hash.
    pub async fn by_hash(&self, target: &Target, given: &Item) -> Result<FoundByHash, Fault> {
        if target.phase != Phase::Old {
            let body = json!({
                "TableName": target.name, "Key": item_json(given.clone()), "ConsistentRead": true,
            });
            let found = self.asked_for(target, "GetItem", body).await?;
            if let Some(found) = found {
                return Ok(FoundByHash::Row(found));
            }
        }
        absent(target)
    }

    /// The values of a hashed partition key: those of any of its items.
    ///
    /// # Errors
    /// As of [`App::by_hash`].
    pub async fn partition_by_hash(
        &self,
        target: &Target,
        given: &Attr,
    ) -> Result<FoundByHash, Fault> {
        if target.phase != Phase::Old {
            let (partition, _) = target.key_names();
            let values = Item::from([(":p".to_owned(), given.clone())]);
            let body = json!({
                "TableName": target.name, "ConsistentRead": true, "Limit": 1,
                "KeyConditionExpression": "#p = :p", "ExpressionAttributeNames": {"#p": partition},
                "ExpressionAttributeValues": item_json(values),
            });
            if let Some(found) = self.asked_for(target, "Query", body).await? {
                return Ok(FoundByHash::Row(found));
            }
        }
        absent(target)
    }

    async fn asked_for(
        &self,
        target: &Target,
        operation: &str,
        body: Json,
    ) -> Result<Option<Key>, Fault> {
        let answer = self
            .send_on(operation, Bytes::from(body.to_string()), Effect::None)
            .await?;
        let mut said: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status != 200 {
            return Err(Fault::passed_on(answer.status, &said));
        }
        let item = match operation {
            "Query" => said["Items"][0].take(),
            _ => said["Item"].take(),
        };
        if !item.is_object() {
            return Ok(None);
        }
        let item: GivenItem = super::json::read_value(&item, "the new store's item")?;
        Ok(Some(target.items.key_of_item(&super::json::item(item))?))
    }
}

fn absent(target: &Target) -> Result<FoundByHash, Fault> {
    match target.phase {
        Phase::New | Phase::Done => Ok(FoundByHash::None),
        Phase::Old | Phase::Bridge | Phase::Switch | Phase::Copy | Phase::Offline => {
            Err(Fault::invalid(format!(
                "the partition key is hashed, and doesn't tell which row is meant: in phase `{}` such a row of `{}` is \
                 known by its key only once it has moved, and every one from phase `new` on",
                target.phase, target.name
            )))
        }
    }
}

/// The answer of a request on the item of a row that isn't there; none if it would make one.
pub(super) fn on_nothing(target: &Target, operation: &str, mut asked: Asked) -> AttemptOutcome {
    let wanted = WantedCapacity::of(asked.return_consumed_capacity.as_deref())?;
    let (partition, sort) = target.key_names();
    let expressed = asked.expressed(partition, sort)?;
    let units = match operation {
        "GetItem" => capacity::read(0),
        "DeleteItem" => {
            let _: ReturnValues = asked.returns(&["ALL_OLD", "NONE"])?;
            if expressed
                .condition
                .is_some_and(|condition| !condition.holds(None))
            {
                return Err(Fault::new(
                    400,
                    "ConditionalCheckFailedException",
                    "The conditional request failed",
                ));
            }
            capacity::write(0)
        }
        _ => {
            return Err(Fault::invalid(
                "there is no item of this hashed partition key, and an update doesn't tell the row's key: put the \
                 whole item",
            ));
        }
    };
    Ok(ReplyBody::new()
        .json("ConsumedCapacity", wanted.of_table(&target.name, units))
        .done())
}
