//! Writes on a condition that is a test on the item, updates that need to know it, and writes that tell the row.
//!
//! An update goes to the store as it is where what becomes of each column is known without the row, and where
//! elements of a collection are added or taken away. Everything else, arithmetic and the copy of one path to another
//! among it, is made of the row that is read, on the condition that what was looked at of it is still so: the old
//! store knows no arithmetic, and in the new one a value has to fit its column.

use std::sync::Arc;

use super::inner::{Begun, TableInner};
use super::rows::Returned;
use super::table::Table;
use super::{Items, Ttl};
use crate::clock::unix_seconds;
use crate::codec::canonical;
use crate::error::{Error, Kind, Result};
use crate::express::judge;
use crate::express::{Action, Amount, ConditionExpression, Path, PathStep, UpdateExpression};
use crate::item::{Attr, Mapping};
use crate::model::{Edit, Judged, Key, Mutation, Returns, Row, Then, Update, Value};
use crate::protocol::row::Write;
use crate::schema::{Column, Role, Type};

impl Table {
    /// Writes a whole row, if a condition holds for the item that is there, or for there being none.
    ///
    /// The row before is told of one moment where the new store has it; of a key that hasn't moved it is read beside
    /// the write, so that another one may have come between.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a row that doesn't fit the table, and for a condition on attributes that the migration keeps for
    /// itself; a deadline, a store or the lease, as in [`Table::put`], whose effect may be unknown. In `bridge` and `switch` a key that hasn't moved refuses conditions ([`Kind::Transient`]), and is
    /// tried again until the deadline.
    pub async fn put_if(
        &self,
        row: Row,
        ttl: Ttl,
        on: Option<ConditionExpression>,
        returns: Returns,
    ) -> Result<Returned> {
        let begun = self.begun().await?;
        let row = self.inner.fitting(&begun.joined, row, ttl)?;
        let key = row.key.clone();
        let Some(on) = on else {
            let put = Mutation::Put(row);
            return self.inner.write_and_tell(&begun, put, returns).await;
        };
        let then = Then::Put(row);
        let judged = Judged {
            rule: begun
                .joined
                .items()?
                .rule(key.is_static(), Some(on), None)?,
            key,
            then,
        };
        self.inner.write_judged(&begun, judged, returns).await
    }

    /// Deletes a row, if a condition holds for it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a key that doesn't fit the table; conditions, deadline, stores and lease as in
    /// [`Table::put_if`].
    pub async fn delete_if(
        &self,
        key: &Key,
        on: Option<ConditionExpression>,
        returns: Returns,
    ) -> Result<Returned> {
        let begun = self.begun().await?;
        self.inner.is_of_rows(&begun.joined, Some(key))?;
        let key = key.clone();
        let Some(on) = on else {
            let delete = Mutation::Delete(key);
            return self.inner.write_and_tell(&begun, delete, returns).await;
        };
        let judged = Judged {
            rule: begun
                .joined
                .items()?
                .rule(key.is_static(), Some(on), None)?,
            key,
            then: Then::Delete,
        };
        self.inner.write_judged(&begun, judged, returns).await
    }

    /// Changes a row as an update of its item says, if a condition holds for it.
    ///
    /// # Errors
    /// [`Kind::Invalid`], in DynamoDB's words, for what can't be done to the item that is there, and for a value that
    /// doesn't fit its column; conditions, deadline, stores and lease as in [`Table::put_if`].
    pub async fn update_item(
        &self,
        key: &Key,
        update: UpdateExpression,
        on: Option<ConditionExpression>,
        returns: Returns,
    ) -> Result<Returned> {
        let begun = self.begun().await?;
        match self.inner.updating(&begun, key, update, on)? {
            Updating::Plain(mutation) => self.inner.write_and_tell(&begun, mutation, returns).await,
            Updating::Judged(judged) => self.inner.write_judged(&begun, judged, returns).await,
        }
    }
}

/// What a write of an item is to the protocol.
pub(super) enum Updating {
    Plain(Mutation),
    Judged(Judged),
}

impl Updating {
    /// The row's key.
    pub(super) fn key(&self) -> &Key {
        match self {
            Updating::Plain(mutation) => mutation.key(),
            Updating::Judged(judged) => &judged.key,
        }
    }
}

impl TableInner {
    async fn write_and_tell(
        self: &Arc<Self>,
        begun: &Begun,
        mutation: Mutation,
        returns: Returns,
    ) -> Result<Returned> {
        let mutation = canonical::mutation(begun.joined.transform.target(), mutation);
        let write = |phase| Write::new(phase, mutation.clone(), unix_seconds()).telling(returns);
        self.write_by(begun, mutation.key(), write).await
    }

    async fn write_judged(
        self: &Arc<Self>,
        begun: &Begun,
        judged: Judged,
        returns: Returns,
    ) -> Result<Returned> {
        let judged = canonical::judged(begun.joined.transform.target(), judged);
        let write = |phase| Write::judged(phase, judged.clone(), unix_seconds()).telling(returns);
        self.write_by(begun, &judged.key, write).await
    }

    /// What an update of an item is: one of constants and of elements, or one that is made of the row.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for what can't be done to any item of the table.
    pub(super) fn updating(
        &self,
        begun: &Begun,
        key: &Key,
        update: UpdateExpression,
        on: Option<ConditionExpression>,
    ) -> Result<Updating> {
        let joined = &begun.joined;
        self.is_of_rows(joined, Some(key))?;
        let items = joined.items()?;
        refuse_misplaced(items.mapping(), key, &update)?;
        let default = self.expires(joined, Ttl::Default)?;
        let is_static = key.is_static();
        let key = key.clone();
        Ok(match (native(&items, &key, &update), on) {
            (Some(native), on) => {
                let expires = native.expires.or(default);
                let native = Update { expires, ..native };
                match on {
                    None => Updating::Plain(Mutation::Update(native)),
                    Some(on) => Updating::Judged(Judged {
                        rule: items.rule(is_static, Some(on), None)?,
                        key,
                        then: Then::Update(native),
                    }),
                }
            }
            (None, on) => Updating::Judged(Judged {
                rule: items.rule(is_static, on, Some((update, default)))?,
                key,
                then: Then::Compute,
            }),
        })
    }
}

/// Refuses an update of columns that belong to the other kind of row: static ones with the clustering columns, the
/// others without.
fn refuse_misplaced(mapping: &Mapping, key: &Key, update: &UpdateExpression) -> Result<()> {
    let table = mapping.table();
    let columns = update
        .paths()
        .filter_map(|path| table.cell(&path.attribute));
    let columns = columns.filter_map(|cell| table.cells().get(cell));
    let is_misplaced = |column: &&Column| (column.role == Role::Static) != key.is_static();
    match columns.into_iter().find(is_misplaced) {
        None => Ok(()),
        Some(column) => Err(Error::new(
            Kind::Invalid,
            format!(
                "the column `{}` isn't one of this kind of row: static columns are written without the clustering \
                 columns, the others with them",
                column.name
            ),
        )),
    }
}

/// The update as one of constants and of elements, if it is one, and each value fits its column.
fn native(items: &Items, key: &Key, update: &UpdateExpression) -> Option<Update> {
    let mapping = items.mapping();
    let mut native = Update {
        key: key.clone(),
        cells: vec![None; mapping.table().cells().len()],
        expires: None,
    };
    for action in &update.actions {
        let path = action.path();
        if mapping.expiry() == Some(path.attribute.as_str()) {
            let Action::Set(_, Amount::Value(given)) = action else {
                return None;
            };
            native.expires = Some(judge::expiry(&path.attribute, Some(given)).ok()?);
            continue;
        }
        let cell = mapping.table().cell(&path.attribute)?;
        let edit = edit(mapping, cell, action)?;
        let there = native.cells.get_mut(cell)?;
        *there = Some(match (there.take(), edit) {
            (None, edit) => edit,
            (Some(Edit::PutInMap(mut entries)), Edit::PutInMap(more)) => {
                entries.extend(more);
                Edit::PutInMap(entries)
            }
            (Some(Edit::RemoveFromMap(mut keys)), Edit::RemoveFromMap(more)) => {
                keys.extend(more);
                Edit::RemoveFromMap(keys)
            }
            (Some(_), _) => return None,
        });
    }
    Some(native)
}

/// What an action does to a cell, if that is known without the row, but for the elements of a collection.
fn edit(mapping: &Mapping, cell: usize, action: &Action) -> Option<Edit> {
    let column = mapping.table().cells().get(cell)?;
    let value = |attr: &Attr| judge::value(mapping, cell, attr).ok();
    match (action, action.path().steps.as_slice()) {
        (Action::Set(_, Amount::Value(given)), []) if *given == Attr::Null => Some(Edit::Clear),
        (Action::Set(_, Amount::Value(given)), []) => {
            Some(value(given)?.map_or(Edit::Clear, Edit::Set))
        }
        (Action::Set(path, Amount::Append(list, more)), []) if column.is_multicell() => {
            let Amount::Value(more) = &**more else {
                return None;
            };
            match (is_itself(path, list), value(more)?) {
                (true, Some(Value::List(elements))) => Some(Edit::Append(elements)),
                (true, None) => Some(Edit::Append(Vec::new())),
                (_, _) => None,
            }
        }
        (Action::Set(_, Amount::Value(given)), [PathStep::Field(name)])
            if column.is_multicell() =>
        {
            let entry = Attr::M(vec![(name.clone(), given.clone())]);
            match value(&entry)? {
                Some(Value::Map(entries)) => Some(Edit::PutInMap(entries)),
                Some(_) | None => None,
            }
        }
        (Action::Remove(_), []) => Some(Edit::Clear),
        (Action::Remove(_), [PathStep::Field(name)]) if column.is_multicell() => {
            let has_names = match &column.ty {
                Type::Map(key, _) => matches!(**key, Type::Text | Type::Ascii),
                _ => false,
            };
            has_names.then(|| Edit::RemoveFromMap(vec![Value::text(name)]))
        }
        (Action::Add(_, members), []) if column.is_multicell() => match value(members)? {
            Some(Value::Set(members)) => Some(Edit::AddToSet(members)),
            Some(_) | None => None,
        },
        (Action::Delete(_, members), []) if column.is_multicell() => match value(members)? {
            Some(Value::Set(members)) => Some(Edit::RemoveFromSet(members)),
            Some(_) | None => None,
        },
        (Action::Set(..) | Action::Remove(_) | Action::Add(..) | Action::Delete(..), _) => None,
    }
}

/// Whether what is appended to is the list itself, or an empty one where there is none.
fn is_itself(path: &Path, list: &Amount) -> bool {
    match list {
        Amount::Path(other) => path == other,
        Amount::IfNotExists(other, otherwise) => {
            path == other && **otherwise == Amount::Value(Attr::L(Vec::new()))
        }
        Amount::Value(_) | Amount::Append(..) | Amount::Plus(..) | Amount::Minus(..) => false,
    }
}
