//! Changing one item on a condition: one write, whose effect is known or said to be unknown.
//!
//! Changes of a collection's elements need to know it, since a set or map isn't always the native one
//! that DynamoDB could change by itself (see [`crate::item`]): the item is read, and the new
//! collection put in place of the one that was read, on the condition that this is still there.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::DynamoDb;
use super::attr::Attrs;
use super::body::Body;
use super::direct::Failure;
use super::errors::SdkCall;
use super::expression::{Fit, Terms, Unfit, condition};
use super::outcome::pairs_text;
use super::read::readable;
use super::update::ItemUpdate;
use crate::codec::canonical;
use crate::error::{Effect, Kind, Result};
use crate::item::wire::Attributes;
use crate::item::{Attr, Mapping};
use crate::model::{Change, Condition, Edit, Key, Mark, Returns, Row, Value};
use crate::store::{Changed, Reading};

/// How often an edit of collections is tried when others change the same ones meanwhile.
pub(super) const TRIES: usize = 8;

impl DynamoDb {
    /// What [`crate::store::Store::update_item`] does. DynamoDB compares attributes; where the item has what is
    /// expected in another spelling, this spelling is expected of it.
    /// It is one write, or a read and a write where that would be more than an expression holds.
    pub(super) async fn change_item(
        &self,
        mapping: &Mapping,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        let mut spelled = None;
        for _ in 0..TRIES {
            let on = spelled.as_ref().unwrap_or(on);
            let changed = self.change_once(mapping, key, change, on, returns).await?;
            let Changed::Refused(item) = &changed else {
                return Ok(changed);
            };
            match canonical::respelled(mapping.table(), on, item.as_ref()) {
                Some(other) => spelled = Some(other),
                None => return Ok(changed),
            }
        }
        let call = self.writing("dynamodb:UpdateItem", &mapping.table().name);
        let message = format!("an expected value was rewritten in another form {TRIES} times");
        Err(call
            .error(Kind::Transient, Effect::None, message)
            .with_context("key", key_text(mapping, key)))
    }

    async fn change_once(
        &self,
        mapping: &Mapping,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        match self.change_at_once(mapping, key, change, on, returns).await {
            Ok(changed) => Ok(changed),
            Err(Unfit::TooLong(_)) => self.change_whole(mapping, key, change, on, returns).await,
            Err(Unfit::Wrong(error)) => Err(error),
        }
    }

    async fn change_at_once(
        &self,
        mapping: &Mapping,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Fit<Changed> {
        match change {
            Change::Put(row) => self.put_item(mapping, row, on, returns).await,
            Change::Bury => {
                let tombstone = Row::tombstone(key.clone(), mapping.table().cells().len());
                self.put_item(mapping, &tombstone, on, returns).await
            }
            Change::Remove => self.delete_item(mapping, key, on, returns).await,
            Change::Keep => self.keep_item(mapping, key, on, returns).await,
            Change::Strip => self.strip_item(mapping, key, on, returns).await,
            Change::Edit {
                cells,
                mark,
                expires,
            } => {
                let edits = ItemEdits {
                    cells,
                    mark: *mark,
                    expires: *expires,
                    returns,
                };
                self.edit_item(mapping, key, edits, on).await
            }
        }
    }

    async fn put_item(
        &self,
        mapping: &Mapping,
        row: &Row,
        on: &Condition,
        returns: Returns,
    ) -> Fit<Changed> {
        let item = mapping.item(row)?;
        let mut terms = Terms::default();
        let condition = condition(mapping, on, &mut terms)?;
        let table = mapping.table().name.as_str();
        let body = Body::on(table)
            .item("Item", &item)
            .text_if("ReturnValues", old(returns))
            .text_if("ConditionExpression", condition.as_deref())
            .terms(&terms)
            .text("ReturnValuesOnConditionCheckFailure", "ALL_OLD");
        let answer = self.change_by("PutItem", body).await;
        let told = answer.map(|old| Telling {
            returns,
            old,
            new: Some(row.clone()),
        });
        let call = self.writing("dynamodb:PutItem", table);
        self.changed(&call, mapping, &row.key, on.holds(None), told)
    }

    /// Makes a change: the item that the answer tells, if it does.
    pub(super) async fn change_by(
        &self,
        operation: &str,
        body: Body,
    ) -> std::result::Result<Option<Attrs>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Attributes")]
            item: Option<Attributes>,
        }
        let asked = self
            .direct
            .ask(operation, body.done(), self.permit.as_ref());
        let answer: Answer = asked.await?;
        Ok(answer.item.map(|Attributes(item)| item))
    }

    /// Looks whether the condition holds.
    async fn keep_item(
        &self,
        mapping: &Mapping,
        key: &Key,
        on: &Condition,
        returns: Returns,
    ) -> Fit<Changed> {
        let row = self.read_item(mapping, key, Reading::Strong).await?;
        Ok(match (on.holds(row.as_ref()), returns) {
            (false, _) => Changed::Refused(row),
            (true, Returns::Nothing) => Changed::Written,
            (true, Returns::Old | Returns::New) => Changed::Told(row),
        })
    }

    async fn delete_item(
        &self,
        mapping: &Mapping,
        key: &Key,
        on: &Condition,
        returns: Returns,
    ) -> Fit<Changed> {
        let mut terms = Terms::default();
        let condition = condition(mapping, on, &mut terms)?;
        let table = mapping.table().name.as_str();
        let body = Body::on(table)
            .item("Key", &mapping.key(key)?)
            .text_if("ReturnValues", old(returns))
            .text_if("ConditionExpression", condition.as_deref())
            .terms(&terms)
            .text("ReturnValuesOnConditionCheckFailure", "ALL_OLD");
        let answer = self.change_by("DeleteItem", body).await;
        let told = answer.map(|old| Telling {
            returns,
            old,
            new: None,
        });
        let call = self.writing("dynamodb:DeleteItem", table);
        self.changed(&call, mapping, key, on.holds(None), told)
    }

    /// Edits an item. Where collections are edited, a refusal may mean that these have changed since they
    /// were read; then they are edited again as the refusal shows them.
    async fn edit_item(
        &self,
        mapping: &Mapping,
        key: &Key,
        edits: ItemEdits<'_>,
        on: &Condition,
    ) -> Fit<Changed> {
        let elements = edits.elements();
        if elements.is_empty() {
            return self.edit_once(mapping, key, &edits, None, on).await;
        }
        let mut item = self.read_item(mapping, key, Reading::Strong).await?;
        for _ in 0..TRIES {
            let answer = self.edit_once(mapping, key, &edits, item.as_ref(), on);
            let met = match answer.await? {
                Changed::Refused(met) => met,
                made @ (Changed::Written | Changed::Told(_)) => return Ok(made),
            };
            if collections(&elements, met.as_ref()) == collections(&elements, item.as_ref()) {
                return Ok(Changed::Refused(met));
            }
            item = met;
        }
        let call = self.writing("dynamodb:UpdateItem", &mapping.table().name);
        let message =
            format!("a collection was changed by others {TRIES} times while it was edited");
        Err(call
            .error(Kind::Transient, Effect::None, message)
            .with_context("key", key_text(mapping, key))
            .into())
    }

    /// Edits an item whose edited collections are those of `item`.
    async fn edit_once(
        &self,
        mapping: &Mapping,
        key: &Key,
        edits: &ItemEdits<'_>,
        item: Option<&Row>,
        on: &Condition,
    ) -> Fit<Changed> {
        let update = edits.update(mapping, key, item, on)?;
        let seen = collections(&edits.elements(), item);
        let takes_none = on.holds(None) && seen.iter().all(Option::is_none);
        self.update_item(mapping, key, update, takes_none, edits.returns)
            .await
    }

    /// Takes marks, decided cells and watermarks off.
    async fn strip_item(
        &self,
        mapping: &Mapping,
        key: &Key,
        on: &Condition,
        returns: Returns,
    ) -> Fit<Changed> {
        let mut update = ItemUpdate::of(mapping, key)?;
        let condition = condition(mapping, on, &mut update.terms)?;
        condition.into_iter().for_each(|one| update.demand(one));
        for attribute in mapping.reserved() {
            update.set(attribute, None);
        }
        self.update_item(mapping, key, update, on.holds(None), returns)
            .await
    }

    async fn update_item(
        &self,
        mapping: &Mapping,
        key: &Key,
        update: ItemUpdate,
        takes_none: bool,
        returns: Returns,
    ) -> Fit<Changed> {
        let table = mapping.table().name.as_str();
        let body = Body::on(table)
            .item("Key", &update.key)
            .text("UpdateExpression", &update.expression()?)
            .text_if(
                "ReturnValues",
                match returns {
                    Returns::Nothing | Returns::Old => old(returns),
                    Returns::New => Some("ALL_NEW"),
                },
            )
            .text_if("ConditionExpression", update.condition()?.as_deref())
            .terms(&update.terms)
            .text("ReturnValuesOnConditionCheckFailure", "ALL_OLD");
        let answer = self.change_by("UpdateItem", body).await;
        let told = answer.map(|item| Telling::of_update(returns, item));
        let call = self.writing("dynamodb:UpdateItem", table);
        self.changed(&call, mapping, key, takes_none, told)
    }

    /// What became of a change; `takes_none` tells whether its condition holds where there is no item.
    fn changed(
        &self,
        call: &SdkCall<'_>,
        mapping: &Mapping,
        key: &Key,
        takes_none: bool,
        answer: std::result::Result<Telling, Failure>,
    ) -> Fit<Changed> {
        let error = match answer {
            Ok(told) => {
                // It is written, whatever the item was like.
                let told = told.changed(mapping);
                return Ok(told.map_err(|error| error.with_effect(Effect::Unknown))?);
            }
            Err(error) => error,
        };
        let unmet = error
            .as_service_error()
            .filter(|refusal| refusal.is_unmet());
        match unmet.map(|refusal| refusal.item.clone()) {
            Some(Some(Some(item))) => Ok(Changed::Refused(Some(readable(mapping, item)?))),
            Some(Some(None)) => {
                let message = "a refused write tells an item that can't be read";
                let error = call.error(Kind::Corrupt, Effect::None, message);
                Err(error.with_context("key", key_text(mapping, key)).into())
            }
            Some(None) if takes_none => {
                let message = "a refused write doesn't tell which item was in the way";
                let error = call.error(Kind::Unsupported, Effect::None, message);
                let error = error.with_context("key", key_text(mapping, key));
                let help = "the endpoint has to know ReturnValuesOnConditionCheckFailure";
                Err(error.with_help(help).into())
            }
            Some(None) => Ok(Changed::Refused(None)),
            None => Err(call
                .failed(error)
                .with_context("key", key_text(mapping, key))
                .into()),
        }
    }
}

/// What a write is to tell once it is made.
struct Telling {
    returns: Returns,
    /// The item before, or of an update the one that was asked for.
    old: Option<Attrs>,
    /// The row after, where the answer doesn't have it.
    new: Option<Row>,
}

impl Telling {
    /// An update's answer has the item that was asked for.
    fn of_update(returns: Returns, item: Option<Attrs>) -> Self {
        Telling {
            returns: match returns {
                Returns::Nothing => Returns::Nothing,
                Returns::Old | Returns::New => Returns::Old,
            },
            old: item,
            new: None,
        }
    }

    fn changed(self, mapping: &Mapping) -> Result<Changed> {
        // Of nothing the answer is an empty item.
        let old = self.old.filter(|item| !item.is_empty());
        Ok(match self.returns {
            Returns::Nothing => Changed::Written,
            Returns::Old => Changed::Told(old.map(|item| readable(mapping, item)).transpose()?),
            Returns::New => Changed::Told(self.new),
        })
    }
}

/// What a put or a delete is asked to return.
fn old(returns: Returns) -> Option<&'static str> {
    match returns {
        Returns::Old => Some("ALL_OLD"),
        Returns::Nothing | Returns::New => None,
    }
}

/// A [`Change::Edit`].
pub(super) struct ItemEdits<'a> {
    pub cells: &'a [Option<Edit>],
    pub mark: Option<Mark>,
    pub expires: Option<i64>,
    pub returns: Returns,
}

impl ItemEdits<'_> {
    fn elements(&self) -> Vec<usize> {
        Self::of_elements(self.cells)
    }

    /// The cells whose new value depends on the old one.
    pub fn of_elements(cells: &[Option<Edit>]) -> Vec<usize> {
        let cells = cells.iter().enumerate();
        let cells = cells.filter(|(_, edit)| edit.as_ref().is_some_and(Edit::needs_old));
        cells.map(|(cell, _)| cell).collect()
    }

    /// These edits as an update, if the condition holds and the edited collections are those of `item`.
    pub fn update(
        &self,
        mapping: &Mapping,
        key: &Key,
        item: Option<&Row>,
        on: &Condition,
    ) -> Fit<ItemUpdate> {
        let mut update = ItemUpdate::of(mapping, key)?;
        if let Some(condition) = condition(mapping, on, &mut update.terms)? {
            update.demand(condition);
        }
        let mut edited = BTreeSet::new();
        for (cell, edit) in self.cells.iter().enumerate() {
            let Some(edit) = edit else { continue };
            edited.insert(cell);
            let name = &mapping.column(cell)?.name;
            let old = item.and_then(|item| item.cells.get(cell)?.as_ref());
            if edit.needs_old() {
                let seen = mapping.cell(cell, old)?;
                let same = update.terms.is(name, seen);
                update.demand(same);
            }
            let new = canonical::edited(&mapping.column(cell)?.ty, edit, old.cloned())
                .map_err(|error| error.with_context("column", name))?;
            update.set(name, mapping.cell(cell, new.as_ref())?);
        }
        update.mark(mapping, self.mark);
        match self.mark {
            Some(Mark::Partial) if edited.is_empty() => {}
            Some(Mark::Partial) => update.add(mapping.decided(), mapping.decided_names(&edited)?),
            Some(Mark::Copied | Mark::Resaved | Mark::Application | Mark::Tombstone) | None => {
                update.set(mapping.decided(), None);
            }
        }
        if let Some(expires) = self.expires {
            let expires = Attr::N(expires.to_string());
            update.set(mapping.expiry_of_row()?, Some(expires));
        }
        Ok(update)
    }
}

/// What an item has in these cells.
pub(super) fn collections<'a>(cells: &[usize], item: Option<&'a Row>) -> Vec<Option<&'a Value>> {
    let value = |cell: &usize| item.and_then(|item| item.cells.get(*cell)?.as_ref());
    cells.iter().map(value).collect()
}

pub(super) fn key_text(mapping: &Mapping, key: &Key) -> String {
    // It has been mapped before.
    mapping
        .key(key)
        .map_or("?".to_owned(), |key| pairs_text(&key))
}
