//! Transactions over rows of one table or of several.

use super::judged::unbuilt;
use super::{Shim, Ttl};
use crate::error::Result;
use crate::express::{Condition, Update};
use crate::model::{Key, Row};

/// One write of a transaction.
#[derive(Clone, Debug)]
pub struct TransactWrite {
    /// The table, by its name in the plan.
    pub table: String,
    /// What is written.
    pub writes: Writes,
    /// On which condition.
    pub on: Option<Condition>,
}

/// What one write of a transaction does.
#[derive(Clone, Debug)]
pub enum Writes {
    /// Puts the whole row.
    Put(Row, Ttl),
    /// Changes the row as an update of its item says.
    Update(Key, Update),
    /// Deletes the row.
    Delete(Key),
    /// Nothing: the condition has to hold.
    Check(Key),
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transacted {
    /// All of it is written.
    Done,
    /// Nothing is written: one for each of its writes.
    Cancelled(Vec<Cancelled>),
}

/// What one write had to do with a transaction's being cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Nothing.
    No,
    /// Its condition isn't met, by this row.
    Unmet(Option<Row>),
    /// It can't be done to the item that is there, in DynamoDB's words.
    Invalid(String),
}

impl Shim {
    /// Writes all of it or nothing.
    ///
    /// # Errors
    /// Those of [`super::Table::put_if`] for each of the writes; [`crate::error::Kind::Unsupported`] in `old`,
    /// where the old store has no transactions; [`crate::error::Kind::Invalid`] for the same row twice.
    pub async fn transact(&self, writes: Vec<TransactWrite>) -> Result<Transacted> {
        let _ = writes;
        Err(unbuilt())
    }

    /// Reads rows as they were together at one moment, in the order of the keys.
    ///
    /// # Errors
    /// Those of [`super::Table::get`] for each of the keys; [`crate::error::Kind::Unsupported`] in `old`. In
    /// `bridge` and `switch` a key that hasn't moved refuses it ([`crate::error::Kind::Transient`]).
    pub async fn transact_get(&self, keys: Vec<(String, Key)>) -> Result<Vec<Option<Row>>> {
        let _ = keys;
        Err(unbuilt())
    }
}
