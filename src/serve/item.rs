//! Requests on one item: GetItem, PutItem, UpdateItem, DeleteItem.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::asked::{Asked, Expressed, ReturnValues};
use super::attempts::AttemptOutcome;
use super::capacity::{self, WantedCapacity};
use super::fault::{Fault, Twice};
use super::target::{ReplyBody, Target, counters_alone, is_same_twice, json, project};
use crate::express::{Item, Projection, UpdateExpression};
use crate::model::{Key, Returns, Row};
use crate::shim::{AddToken, Returned, Ttl, Written};

/// A write that was read and found to be in order, and whether it may be made twice.
pub(super) struct ItemWrite {
    pub twice: Twice,
    pub making: BoxFuture<'static, AttemptOutcome>,
}

/// GetItem.
pub(super) async fn get(target: &Target, mut asked: Asked) -> AttemptOutcome {
    let key = asked.row_key(&target.items)?;
    let wanted = WantedCapacity::of(asked.return_consumed_capacity.as_deref())?;
    let (partition, sort) = target.key_names();
    let projection = asked.expressed(partition, sort)?.projection;
    target.refuse_reserved(projection.iter().flat_map(|projection| &projection.paths))?;
    let item = target.read(&key).await?;
    let units = capacity::read(item.as_ref().map_or(0, capacity::size));
    let item = item.map(|item| project(item, projection.as_ref()));
    Ok(ReplyBody::new()
        .item("Item", item.as_ref())
        .json("ConsumedCapacity", wanted.of_table(&target.name, units))
        .done())
}

/// PutItem.
pub(super) fn put(target: Target, mut asked: Asked) -> Result<ItemWrite, Fault> {
    let item = asked.take_item()?;
    let returns = asked.returns(&["ALL_OLD", "NONE"])?;
    let wanted = WantedCapacity::of(asked.return_consumed_capacity.as_deref())?;
    let shows_unmet = asked.shows_unmet()?;
    let (partition, sort) = target.key_names();
    let condition = asked.expressed(partition, sort)?.condition;
    let (row, ttl) = whole(&target, &item)?;
    let units = capacity::write(capacity::size(&item));
    let making = async move {
        let returned = match (condition, returns) {
            (None, ReturnValues::None) => target
                .table
                .put(row, ttl)
                .await
                .map(|()| Returned::Done(None)),
            (condition, ReturnValues::None) => {
                target
                    .table
                    .put_if(row, ttl, condition, Returns::Nothing)
                    .await
            }
            (condition, _) => target.table.put_if(row, ttl, condition, Returns::Old).await,
        };
        let old = done(&target, returned, shows_unmet, Twice::Same)?;
        Ok(written(&target, old, wanted, units))
    };
    Ok(ItemWrite {
        twice: Twice::Same,
        making: making.boxed(),
    })
}

/// The row of a whole item. One that doesn't say when it expires lives for ever, as in DynamoDB, whatever the old
/// table's default is.
pub(super) fn whole(target: &Target, item: &Item) -> Result<(Row, Ttl), Fault> {
    if target.is_counter() {
        return Err(counters_alone(&target.name));
    }
    let (row, ttl) = target.items.row(item)?;
    Ok(match ttl {
        Ttl::Default | Ttl::Never => (row, Ttl::Never),
        Ttl::Seconds(_) | Ttl::At(_) => (row, ttl),
    })
}

/// DeleteItem.
pub(super) fn delete(target: Target, mut asked: Asked) -> Result<ItemWrite, Fault> {
    let key = asked.row_key(&target.items)?;
    let returns = asked.returns(&["ALL_OLD", "NONE"])?;
    let wanted = WantedCapacity::of(asked.return_consumed_capacity.as_deref())?;
    let shows_unmet = asked.shows_unmet()?;
    let (partition, sort) = target.key_names();
    let condition = asked.expressed(partition, sort)?.condition;
    if target.is_counter() {
        return Err(counters_alone(&target.name));
    }
    let making = async move {
        let returned = match (condition, returns) {
            (None, ReturnValues::None) => target
                .table
                .delete(&key)
                .await
                .map(|()| Returned::Done(None)),
            (condition, ReturnValues::None) => {
                target
                    .table
                    .delete_if(&key, condition, Returns::Nothing)
                    .await
            }
            (condition, _) => target.table.delete_if(&key, condition, Returns::Old).await,
        };
        let old = done(&target, returned, shows_unmet, Twice::Same)?;
        let units = capacity::write(old.as_ref().map_or(0, capacity::size));
        Ok(written(&target, old, wanted, units))
    };
    Ok(ItemWrite {
        twice: Twice::Same,
        making: making.boxed(),
    })
}

/// UpdateItem.
pub(super) fn update(
    target: Target,
    mut asked: Asked,
    token: Option<AddToken>,
) -> Result<ItemWrite, Fault> {
    let key = asked.row_key(&target.items)?;
    let returns = asked.returns(&["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"])?;
    let wanted = WantedCapacity::of(asked.return_consumed_capacity.as_deref())?;
    let shows_unmet = asked.shows_unmet()?;
    let (partition, sort) = target.key_names();
    let Expressed {
        condition, update, ..
    } = asked.expressed(partition, sort)?;
    let update = update.unwrap_or(UpdateExpression {
        actions: Vec::new(),
    });
    let updating = PendingUpdate {
        target,
        key,
        returns,
        wanted,
        update,
    };
    if updating.target.is_counter() {
        if condition.is_some() {
            return Err(counters_alone(&updating.target.name));
        }
        let by = updating.target.adds(&updating.update)?;
        let twice = match token {
            Some(_) => Twice::ByToken,
            None => Twice::Counts,
        };
        let making = updating.add(by, token).boxed();
        return Ok(ItemWrite { twice, making });
    }
    if condition.is_none() && updating.update.actions.is_empty() {
        return Ok(ItemWrite {
            twice: Twice::Same,
            making: updating.touch().boxed(),
        });
    }
    let twice = match is_same_twice(&updating.update) {
        true => Twice::Same,
        false => Twice::Counts,
    };
    let making = async move {
        let PendingUpdate { target, key, .. } = &updating;
        let row = match updating.returns {
            ReturnValues::None => Returns::Nothing,
            ReturnValues::AllOld | ReturnValues::UpdatedOld => Returns::Old,
            ReturnValues::AllNew | ReturnValues::UpdatedNew => Returns::New,
        };
        let update = updating.update.clone();
        let returned = target.table.update_item(key, update, condition, row).await;
        let item = done(target, returned, shows_unmet, twice)?;
        Ok(updating.answer(item))
    };
    Ok(ItemWrite {
        twice,
        making: making.boxed(),
    })
}

/// An update on its way.
struct PendingUpdate {
    target: Target,
    key: Key,
    returns: ReturnValues,
    wanted: WantedCapacity,
    update: UpdateExpression,
}

impl PendingUpdate {
    /// Adds to counters.
    async fn add(self, by: Vec<Option<i64>>, token: Option<AddToken>) -> AttemptOutcome {
        let returns = match self.returns {
            ReturnValues::None => Returns::Nothing,
            ReturnValues::AllOld | ReturnValues::UpdatedOld => Returns::Old,
            ReturnValues::AllNew | ReturnValues::UpdatedNew => Returns::New,
        };
        let table = &self.target.table;
        let added = match token.clone() {
            Some(token) => table.add_by_token(&self.key, by, returns, token).await,
            None => match returns {
                Returns::Nothing => table.add_all(&self.key, by).await.map(|()| Vec::new()),
                Returns::Old | Returns::New => table.add_and_count(&self.key, by, returns).await,
            },
        };
        let twice = match token {
            Some(token) if token.tells() => Twice::ByToken,
            Some(_) | None => Twice::Counts,
        };
        let totals = added.map_err(|error| Fault::of(&error, twice))?;
        let item = self.target.totals(&self.key, &totals)?;
        Ok(self.answer(item))
    }

    /// An update without any action makes an item of the key alone, where there is none.
    async fn touch(self) -> AttemptOutcome {
        let cells = vec![None; self.target.mapping().table().cells().len()];
        let row = Row::new(self.key.clone(), cells);
        let inserted = self.target.table.insert(row, Ttl::Never).await;
        let inserted = inserted.map_err(|error| Fault::of(&error, Twice::Same))?;
        let item = match (self.returns, inserted) {
            (ReturnValues::AllNew, _) => self.target.read(&self.key).await?,
            (ReturnValues::AllOld, Written::Unmet(Some(row))) => Some(self.target.shown(&row)?),
            (ReturnValues::AllOld, Written::Done | Written::Unmet(None))
            | (ReturnValues::None | ReturnValues::UpdatedOld | ReturnValues::UpdatedNew, _) => None,
        };
        Ok(self.answer(item))
    }

    fn answer(&self, item: Option<Item>) -> Bytes {
        let units = capacity::write(item.as_ref().map_or(0, capacity::size));
        let item = item.map(|item| match self.returns {
            ReturnValues::UpdatedOld | ReturnValues::UpdatedNew => {
                let paths = self.update.paths().cloned().collect();
                Projection { paths }.of(&item)
            }
            ReturnValues::None | ReturnValues::AllOld | ReturnValues::AllNew => item,
        });
        let item = item.filter(|item| !item.is_empty());
        written(&self.target, item, self.wanted, units)
    }
}

/// The item that a write tells of; a condition that isn't met is a fault.
fn done(
    target: &Target,
    returned: crate::error::Result<Returned>,
    shows_unmet: bool,
    twice: Twice,
) -> Result<Option<Item>, Fault> {
    match returned.map_err(|error| Fault::of(&error, twice))? {
        Returned::Done(row) => row.map(|row| target.shown(&row)).transpose(),
        Returned::Unmet(row) => {
            let fault = Fault::new(
                400,
                "ConditionalCheckFailedException",
                "The conditional request failed",
            );
            Err(match row.filter(|_| shows_unmet) {
                Some(row) => fault.with("Item", json(target.shown(&row)?)),
                None => fault,
            })
        }
    }
}

fn written(target: &Target, item: Option<Item>, wanted: WantedCapacity, units: f64) -> Bytes {
    ReplyBody::new()
        .item("Attributes", item.as_ref())
        .json("ConsumedCapacity", wanted.of_table(&target.name, units))
        .done()
}
