//! Writes on a condition that is a test on the item, updates that need to know it, and writes that tell the row.

use super::Ttl;
use super::table::Table;
use crate::error::{Error, Kind, Result};
use crate::express::{Condition, Update};
use crate::model::{Key, Returns, Row, Value};

/// What came of a write that may have a condition, and may have been asked for the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Written. The row before or after, if it was asked for and there is one.
    Done(Option<Row>),
    /// The condition isn't met, by this row. Nothing was changed.
    Unmet(Option<Row>),
}

impl Table {
    /// Writes a whole row, if a condition holds for the item that is there, or for there being none.
    ///
    /// # Errors
    /// Those of [`Table::put`]. [`Kind::Invalid`] for a condition on attributes that the migration keeps for
    /// itself. In `bridge` and `switch` a key that hasn't moved refuses conditions ([`Kind::Transient`]), and is
    /// tried again until the deadline.
    pub async fn put_if(
        &self,
        row: Row,
        ttl: Ttl,
        on: Option<Condition>,
        returns: Returns,
    ) -> Result<Returned> {
        let _ = (self.items().await?.rule(on, None)?, row, ttl, returns);
        Err(unbuilt())
    }

    /// Deletes a row, if a condition holds for it.
    ///
    /// # Errors
    /// Those of [`Table::put_if`].
    pub async fn delete_if(
        &self,
        key: &Key,
        on: Option<Condition>,
        returns: Returns,
    ) -> Result<Returned> {
        let _ = (key, on, returns);
        Err(unbuilt())
    }

    /// Changes a row as an update of its item says, if a condition holds for it.
    ///
    /// # Errors
    /// Those of [`Table::put_if`]; [`Kind::Invalid`], in DynamoDB's words, for what can't be done to the item
    /// that is there, and for a value that doesn't fit its column.
    pub async fn update_item(
        &self,
        key: &Key,
        update: Update,
        on: Option<Condition>,
        returns: Returns,
    ) -> Result<Returned> {
        let _ = (key, update, on, returns);
        Err(unbuilt())
    }

    /// Adds to several counters of a row in one write, and tells the totals before or after.
    ///
    /// # Errors
    /// Those of [`Table::add`].
    pub async fn add_and_count(
        &self,
        key: &Key,
        by: Vec<Option<i64>>,
        returns: Returns,
    ) -> Result<Vec<Option<i64>>> {
        let _ = (key, by, returns, Value::Empty);
        Err(unbuilt())
    }
}

pub(super) fn unbuilt() -> Error {
    Error::new(Kind::Unsupported, "the shim doesn't do this yet")
}
