//! TransactWriteItems and TransactGetItems: on tables of the plan, or on others.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::app::App;
use super::asked::Asked;
use super::attempts::AttemptOutcome;
use super::capacity::{self, WantedCapacity};
use super::fault::{Fault, Twice};
use super::item::{ItemWrite, whole};
use super::target::{ReplyBody, Target, counters_alone, is_same_twice, json as item_json, project};
use crate::express::Projection;
use crate::model::Key;
use crate::shim::{Cancelled, TransactWrite, Transacted, Writes};

/// Actions of one transaction.
const ACTIONS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TransactRequest {
    transact_items: Vec<Map<String, Json>>,
    return_consumed_capacity: Option<String>,
    client_request_token: Option<String>,
}

/// The tables that a transaction names.
pub(super) fn tables(body: &[u8]) -> Result<Vec<String>, Fault> {
    let request: TransactRequest = super::json::read(body)?;
    let actions = request.transact_items.iter().flat_map(Map::values);
    let names = actions.filter_map(|action| Some(action["TableName"].as_str()?.to_owned()));
    Ok(names.collect())
}

/// The token that a transaction is known by, if it has one.
pub(super) fn token(body: &[u8]) -> Result<Option<String>, Fault> {
    let request: TransactRequest = super::json::read(body)?;
    match request.client_request_token {
        Some(token) if !(1..=36).contains(&token.len()) => Err(Fault::invalid(
            "1 validation error detected: Value at 'clientRequestToken' failed to satisfy constraint: Member must have \
             length less than or equal to 36",
        )),
        token => Ok(token),
    }
}

/// The actions of a transaction, each with its name, its table and what it says.
async fn actions(
    app: &Arc<App>,
    body: &[u8],
) -> Result<(Vec<(String, Target, Asked)>, WantedCapacity), Fault> {
    let request: TransactRequest = super::json::read(body)?;
    let wanted = WantedCapacity::of(request.return_consumed_capacity.as_deref())?;
    let count = request.transact_items.len();
    if !(1..=ACTIONS).contains(&count) {
        return Err(Fault::invalid(format!(
            "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have \
             length less than or equal to {ACTIONS}, and greater than or equal to 1"
        )));
    }
    let mut all = Vec::with_capacity(count);
    for (at, item) in request.transact_items.into_iter().enumerate() {
        let mut item = item.into_iter().filter(|(_, action)| !action.is_null());
        let (Some((name, action)), None) = (item.next(), item.next()) else {
            return Err(Fault::invalid(
                "TransactItems can only contain one of Check, Put, Update or Delete",
            ));
        };
        let table = action["TableName"].as_str().unwrap_or_default();
        let target = app.target(table).await?.ok_or_else(|| {
            Fault::invalid(format!(
                "a transaction on tables of the migration can't take in another one, `{table}`, before these are done"
            ))
        })?;
        if target.is_counter() {
            return Err(counters_alone(&target.name));
        }
        let asked = super::json::read_value(&action, format_args!("TransactItems[{at}].{name}"))?;
        all.push((name, target, asked));
    }
    Ok((all, wanted))
}

/// TransactWriteItems.
pub(super) async fn write(app: &Arc<App>, body: &[u8]) -> Result<ItemWrite, Fault> {
    let (actions, wanted) = actions(app, body).await?;
    let mut writes = Vec::with_capacity(actions.len());
    let mut shown = Vec::with_capacity(actions.len());
    let mut units = BTreeMap::new();
    let mut twice = Twice::Same;
    for (name, target, mut asked) in actions {
        let (partition, sort) = target.key_names();
        let shows_unmet = asked.shows_unmet()?;
        let expressed = asked.expressed(partition, sort)?;
        let mut cost = 1.0;
        let action = match name.as_str() {
            "Put" => {
                let item = asked.take_item()?;
                cost = capacity::write(capacity::size(&item));
                let (row, ttl) = whole(&target, &item)?;
                Writes::Put(row, ttl)
            }
            "Update" => {
                let key = target.items.key(&asked.take_key()?)?;
                let update = expressed
                    .update
                    .ok_or_else(|| super::asked::missing("updateExpression"))?;
                if !is_same_twice(&update) {
                    twice = Twice::Counts;
                }
                Writes::Update(key, update)
            }
            "Delete" => Writes::Delete(target.items.key(&asked.take_key()?)?),
            "ConditionCheck" => {
                if expressed.condition.is_none() {
                    return Err(super::asked::missing("conditionExpression"));
                }
                Writes::Check(target.items.key(&asked.take_key()?)?)
            }
            other => {
                return Err(Fault::invalid(format!(
                    "{other} is no action of a transaction"
                )));
            }
        };
        *units.entry(target.name.clone()).or_insert(0.0) += 2.0 * cost;
        writes.push(TransactWrite {
            table: target.table.name().to_owned(),
            writes: action,
            on: expressed.condition,
        });
        shown.push((target, shows_unmet));
    }
    let shim = app.shim();
    let making = async move {
        let transacted = shim.transact(writes).await;
        match transacted.map_err(|error| Fault::of(&error, twice))? {
            Transacted::Done => Ok(ReplyBody::new()
                .json("ConsumedCapacity", wanted.of_tables(&units))
                .done()),
            Transacted::Cancelled(reasons) => Err(cancelled(reasons, &shown)?),
        }
    };
    Ok(ItemWrite {
        twice,
        making: making.boxed(),
    })
}

fn cancelled(reasons: Vec<Cancelled>, shown: &[(Target, bool)]) -> Result<Fault, Fault> {
    let mut codes = Vec::with_capacity(reasons.len());
    let mut all = Vec::with_capacity(reasons.len());
    for (reason, (target, shows_unmet)) in reasons.into_iter().zip(shown) {
        let (code, reason) = match reason {
            Cancelled::No => ("None", json!({"Code": "None"})),
            Cancelled::Unmet(row) => {
                let code = "ConditionalCheckFailed";
                let mut reason = json!({"Code": code, "Message": "The conditional request failed"});
                if let (Some(row), true) = (row, shows_unmet) {
                    reason["Item"] = item_json(target.shown(&row)?);
                }
                (code, reason)
            }
            Cancelled::Invalid(message) => {
                let code = "ValidationError";
                (code, json!({"Code": code, "Message": message}))
            }
        };
        codes.push(code);
        all.push(reason);
    }
    let message = format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        codes.join(", ")
    );
    let fault = Fault::new(400, "TransactionCanceledException", message);
    Ok(fault.with("CancellationReasons", Json::Array(all)))
}

/// TransactGetItems.
pub(super) async fn get(app: &Arc<App>, body: &[u8]) -> AttemptOutcome {
    let (actions, wanted) = actions(app, body).await?;
    let mut keys: Vec<(String, Key)> = Vec::with_capacity(actions.len());
    let mut read: Vec<(Target, Option<Projection>)> = Vec::with_capacity(actions.len());
    for (name, target, mut asked) in actions {
        if name != "Get" {
            return Err(Fault::invalid(format!(
                "{name} is no action of TransactGetItems"
            )));
        }
        let key = target.items.key(&asked.take_key()?)?;
        let (partition, sort) = target.key_names();
        let projection = asked.expressed(partition, sort)?.projection;
        target.refuse_reserved(projection.iter().flat_map(|projection| &projection.paths))?;
        keys.push((target.table.name().to_owned(), key));
        read.push((target, projection));
    }
    let rows = app.shim().transact_get(keys).await?;
    let mut units = BTreeMap::new();
    let mut responses = Vec::with_capacity(rows.len());
    for (row, (target, projection)) in rows.into_iter().zip(read) {
        let item = row.map(|row| target.shown(&row)).transpose()?;
        let size = item.as_ref().map_or(0, capacity::size);
        *units.entry(target.name.clone()).or_insert(0.0) += 2.0 * capacity::read(size);
        let item = item.map(|item| item_json(project(item, projection.as_ref())));
        responses.push(item.map_or_else(|| json!({}), |item| json!({"Item": item})));
    }
    Ok(ReplyBody::new()
        .json("Responses", Some(Json::Array(responses)))
        .json("ConsumedCapacity", wanted.of_tables(&units))
        .done())
}
