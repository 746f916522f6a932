//! Parts of items, for writes that change an item or ask what is in it.

use std::collections::BTreeSet;

use super::attr::Attr;
use super::mapping::{Mapping, corrupt, owned};
use super::sink::put_column;
use super::types;
use crate::codec::canonical::is_null;
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Value};
use crate::schema::Column;

impl Mapping {
    /// The name of the attribute that says which columns a partial item decides (`_d`): a string set of
    /// their names.
    pub fn decided(&self) -> &str {
        &self.decided
    }

    /// The name of the attribute that says when an item expires, in epoch seconds, if the table has one.
    pub fn expiry(&self) -> Option<&str> {
        self.table.layout.expiry_attribute.as_deref()
    }

    /// [`Mapping::expiry`], for a row that expires.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the table has none.
    pub fn expiry_of_row(&self) -> Result<&str> {
        self.expiry().ok_or_else(|| {
            let message = "the row expires, and there is no attribute to keep that in";
            Error::new(Kind::Invalid, message).with_help(
                "add `expiry = { attribute = \"expires_at\", from = \"max\" }` to the table in the plan",
            )
        })
    }

    /// A column by its place among [`crate::schema::Table::cells`]. Its name is its attribute's.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if there is none.
    pub fn column(&self, cell: usize) -> Result<&Column> {
        let columns = self.table.cells();
        columns.get(cell).ok_or_else(|| {
            let message = format!("column {cell} of a table with {} is named", columns.len());
            Error::new(Kind::Invalid, message)
        })
    }

    /// The attribute of a cell's value; `None` if an item has none for it, since it is null.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it isn't of the column's type, or there is no such column.
    pub fn cell(&self, cell: usize, value: Option<&Value>) -> Result<Option<Attr>> {
        let column = self.column(cell)?;
        let null = |value: &&Value| column.is_multicell() && is_null(value);
        let Some(value) = value.filter(|value| !null(value)) else {
            return Ok(None);
        };
        let mut attrs = Vec::with_capacity(1);
        put_column(column, self.forms[cell], value, &mut attrs)?;
        Ok(attrs.pop().map(|(_, attr)| attr))
    }

    /// The value that an attribute is to a cell.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is none of the column's type, or there is no such column.
    pub fn value(&self, cell: usize, attr: &Attr) -> Result<Value> {
        let column = self.column(cell)?;
        let value = match self.forms[cell] {
            Some(form) => types::from_formed(attr.clone(), &column.ty, form),
            None => types::from_attr(attr.clone(), &column.ty),
        };
        value.ok_or_else(|| {
            let (name, ty) = (&column.name, column.cql_type());
            let message = format!("the value of `{name}` doesn't fit its column, a {ty}");
            Error::new(Kind::Invalid, message)
        })
    }

    /// Key columns that are attributes of their own beside a made key.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if a value isn't of its column's type.
    pub fn key_columns(&self, key: &Key) -> Result<Vec<(String, Attr)>> {
        let mut columns = Vec::new();
        self.put_key_columns(key, &mut columns)?;
        Ok(owned(columns))
    }

    /// What is in [`Mapping::decided`] for these cells: at least one, since no set is empty.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if there is no such column.
    pub fn decided_names(&self, cells: &BTreeSet<usize>) -> Result<Attr> {
        let name = |cell: &usize| self.column(*cell).map(|column| column.name.clone());
        Ok(Attr::Ss(cells.iter().map(name).collect::<Result<_>>()?))
    }

    pub(super) fn read_decided(&self, name: &str, attr: Attr) -> Result<BTreeSet<usize>> {
        let wrong = || corrupt(name, "a set of this table's columns");
        let Attr::Ss(names) = attr else {
            return Err(wrong());
        };
        let cells = names.iter().map(|name| self.table.cell(name));
        cells.collect::<Option<_>>().ok_or_else(wrong)
    }
}
