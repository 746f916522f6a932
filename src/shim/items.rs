//! Rows as the items of DynamoDB that applications know them as, and back: exactly, or not at all.

use std::sync::Arc;

use super::Ttl;
use crate::error::{Error, Kind, Result};
use crate::express::judge::{self, same};
use crate::express::{ConditionExpression, Item, ItemRule, UpdateExpression};
use crate::item::{Attr, Mapping, keys};
use crate::model::{Key, Row, Rule};

/// How the rows of a table look as items.
#[derive(Clone, Debug)]
pub struct Items(Arc<Mapping>);

impl Items {
    pub(super) fn new(mapping: Arc<Mapping>) -> Self {
        Items(mapping)
    }

    /// The names of the key attributes, and everything else about attributes.
    pub fn mapping(&self) -> &Mapping {
        &self.0
    }

    /// The key in the key attributes of a request: these and no others.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if an attribute is missing, is none of the key's, or is a spelling of the key that isn't
    /// the one that items have: it would be another item for the same row.
    pub fn key(&self, key: &Item) -> Result<Key> {
        let partition = &self.0.partition().name;
        let sort = self.0.sort().map(|sort| &sort.name);
        let mut names = key.keys();
        if names.any(|name| name != partition && Some(name) != sort)
            || key.len() != 1 + usize::from(sort.is_some())
        {
            return Err(mistaken(
                "The provided key element does not match the schema",
            ));
        }
        if self.is_hashed(key) {
            return Err(mistaken(
                "the partition key is hashed, and doesn't tell which row is meant",
            ));
        }
        let attributes = key.iter().map(|(name, attr)| (name.clone(), attr.clone()));
        let read = self.0.row(attributes.collect()).map_err(misread)?.key;
        self.is_spelled_so(key, self.0.key(&read)?)?;
        Ok(read)
    }

    /// Whether the partition key in a request is hashed: it doesn't tell which row's it is.
    pub fn is_hashed(&self, key: &Item) -> bool {
        let partition = key.get(&self.0.partition().name);
        let is_text = |attr: &Attr| matches!(attr, Attr::S(text) if keys::is_hashed(text));
        self.0.table().layout.partition_hash && partition.is_some_and(is_text)
    }

    /// The key of a whole item, which tells it also where its partition key is hashed.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it isn't one of the table.
    pub fn key_of_item(&self, item: &Item) -> Result<Key> {
        let table = self.0.table();
        let columns = table.partition().iter().chain(table.clustering());
        let names: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
        let is_of_key = |name: &str| {
            name == self.0.partition().name
                || self.0.sort().is_some_and(|sort| sort.name == name)
                || names.contains(&name)
        };
        let attributes = item.iter().filter(|(name, _)| is_of_key(name));
        let attributes = attributes.map(|(name, attr)| (name.clone(), attr.clone()));
        Ok(self.0.row(attributes.collect()).map_err(misread)?.key)
    }

    /// Where a page ends: the key as the attributes of a request, and the row's own key columns where the key alone
    /// doesn't tell them.
    ///
    /// # Errors
    /// As of [`Items::key_item`].
    pub fn position_item(&self, key: &Key) -> Result<Item> {
        let item = self.key_item(key)?;
        if !self.is_hashed(&item) {
            return Ok(item);
        }
        let cells = vec![None; self.0.table().cells().len()];
        self.item(&Row::new(key.clone(), cells))
    }

    /// The key of such a place.
    ///
    /// # Errors
    /// As of [`Items::key`].
    pub fn position_key(&self, item: &Item) -> Result<Key> {
        match self.is_hashed(item) {
            true => self.key_of_item(item),
            false => self.key(item),
        }
    }

    /// The key as the attributes of a request.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if no item can have it.
    pub fn key_item(&self, key: &Key) -> Result<Item> {
        Ok(self.0.key(key)?.into_iter().collect())
    }

    /// The row of a whole item, and when it expires. Attributes that are null are taken for absent ones.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for attributes without a column, or that the migration keeps for itself; for values
    /// that don't fit their column, or would be others in it; and as of [`Items::key`].
    pub fn row(&self, item: &Item) -> Result<(Row, Ttl)> {
        let given: Item = item
            .iter()
            .filter(|(_, attr)| **attr != Attr::Null)
            .map(|(name, attr)| (name.clone(), attr.clone()))
            .collect();
        for name in given.keys() {
            judge::refuse_reserved(&self.0, name)?;
            if !self.0.knows(name) {
                return Err(mistaken(format!(
                    "the table has no column for the attribute `{name}`"
                )));
            }
        }
        let expires = self.0.expiry();
        let expires = expires.and_then(|name| Some((name, given.get(name)?)));
        let expires = expires.map(|(name, attr)| judge::expiry(name, Some(attr)));
        let ttl = expires.transpose()?.map_or(Ttl::Default, Ttl::At);
        let row = self.0.row(given.clone().into_iter().collect());
        let row = row.map_err(misread)?;
        let again = self.0.shown(&row)?;
        self.is_spelled_so(&given, again)?;
        Ok((row, ttl))
    }

    /// The item of a row, without what the migration keeps for itself.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if its key is one that no item can have.
    pub fn item(&self, row: &Row) -> Result<Item> {
        Ok(self.0.shown(row)?.into_iter().collect())
    }

    /// A condition, and an update with the expiry that it gives unless it says another, as a rule about rows.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for attributes that the migration keeps for itself, and for an update of what isn't a
    /// column outside the key.
    pub(super) fn rule(
        &self,
        is_static: bool,
        condition: Option<ConditionExpression>,
        update: Option<(UpdateExpression, Option<i64>)>,
    ) -> Result<Rule> {
        ItemRule::new(self.0.clone(), is_static, condition, update).map(Rule::new)
    }

    /// Whether everything that was given is there again, once it has been read.
    fn is_spelled_so(&self, given: &Item, again: Vec<(String, Attr)>) -> Result<()> {
        let again: Item = again.into_iter().collect();
        // An empty collection of cells is null to CQL.
        let is_empty = |attr: &Attr| match attr {
            Attr::L(elements) => elements.is_empty(),
            Attr::M(entries) => entries.is_empty(),
            Attr::S(_)
            | Attr::N(_)
            | Attr::B(_)
            | Attr::Bool(_)
            | Attr::Null
            | Attr::Ss(_)
            | Attr::Ns(_)
            | Attr::Bs(_) => false,
        };
        let differs = |(name, attr): &(&String, &Attr)| match again.get(*name) {
            Some(there) => !same(there, attr),
            None => !is_empty(attr),
        };
        let Some((name, _)) = given.iter().find(differs) else {
            return Ok(());
        };
        let is_key = *name == self.0.partition().name
            || self.0.sort().is_some_and(|sort| sort.name == *name);
        Err(mistaken(match is_key {
            true => format!(
                "the key attribute `{name}` isn't spelled as the table's keys are (docs/keys.md): it would be another \
                 item for the same row"
            ),
            false => format!("the value of `{name}` would be another one in its column"),
        }))
    }
}

fn mistaken(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

fn misread(error: Error) -> Error {
    let message = error.message().replace("of an item isn't", "isn't");
    mistaken(message)
}
