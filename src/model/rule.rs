//! Writes that depend on the row that is there, in the application's own terms.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Edit, Key, Row, Update};
use crate::error::Result;

/// What a rule reads of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Looks {
    /// These cells, by their place among [`crate::schema::Table::cells`], and whether there is a row.
    Cells(BTreeSet<usize>),
    /// More than cells: when the row expires, say.
    Row,
}

/// What an application wants a row to be like before it writes, and what it makes of it.
///
/// Stores and the protocol's machines see it as this and nothing more, so that any language of conditions will
/// do. A rule is pure: of the same row it says the same.
pub trait Judge: Any + fmt::Debug + Send + Sync {
    /// Its text. Rules with the same text are the same rule.
    fn text(&self) -> &str;

    /// Whether the row is as it is wanted. `None` is no row: a key that was deleted or has expired has none.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] if that can't be said of this row.
    fn holds(&self, row: Option<&Row>) -> Result<bool>;

    /// What it makes of the row, for [`Then::Compute`]: what becomes of each cell, and a new expiry.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] if it can make nothing of this row.
    fn edits(&self, row: Option<&Row>) -> Result<Edits>;

    /// What it reads of a row.
    fn looks(&self) -> &Looks;
}

/// What becomes of a row's cells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Edits {
    /// In the order of [`crate::schema::Table::cells`]; `None` leaves a cell as it is.
    pub cells: Vec<Option<Edit>>,
    /// A new expiry of the row; `None` leaves it as it is.
    pub expires: Option<i64>,
}

/// A [`Judge`] that is passed around.
#[derive(Clone)]
pub struct Rule(Arc<dyn Judge>);

impl Rule {
    /// A rule.
    pub fn new(judge: impl Judge) -> Self {
        Rule(Arc::new(judge))
    }

    /// The judge, if it is one of this type: for a store that can say it in its own words.
    pub fn as_a<T: Judge>(&self) -> Option<&T> {
        let judge: &dyn Any = &*self.0;
        judge.downcast_ref()
    }

    /// As of [`Judge::holds`].
    ///
    /// # Errors
    /// The same.
    pub fn holds(&self, row: Option<&Row>) -> Result<bool> {
        self.0.holds(row)
    }

    /// As of [`Judge::edits`].
    ///
    /// # Errors
    /// The same.
    pub fn edits(&self, row: Option<&Row>) -> Result<Edits> {
        self.0.edits(row)
    }

    /// As of [`Judge::looks`].
    pub fn looks(&self) -> &Looks {
        self.0.looks()
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.0.text() == other.0.text()
    }
}

impl Eq for Rule {}

impl Hash for Rule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text().hash(state);
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A write that is made if a rule holds for the row that is there, or for there being none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judged {
    /// The row's key.
    pub key: Key,
    /// The rule.
    pub rule: Rule,
    /// What is written.
    pub then: Then,
}

/// What a [`Judged`] write does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// Puts the whole row.
    Put(Row),
    /// Deletes the row.
    Delete,
    /// Changes some columns; what becomes of them doesn't depend on the row but by [`Edit`]s of collections.
    Update(Update),
    /// Changes what the rule says that it makes of the row.
    Compute,
    /// Writes nothing: the rule alone has to hold, beside other writes of a transaction.
    Nothing,
}

/// Which row a write is to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Returns {
    /// None.
    #[default]
    Nothing,
    /// The row as it was before the write.
    Old,
    /// The row as it is after the write.
    New,
}
