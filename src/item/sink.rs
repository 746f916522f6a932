//! Where the attributes of an item go, one after the other.

use super::{Attr, types};
use crate::error::{Error, Kind, Result};
use crate::model::Value;
use crate::schema::{Column, Form};

/// What takes an item's attributes, one after the other.
pub(crate) trait Sink<'m> {
    /// Takes an attribute.
    fn attr(&mut self, name: &'m str, attr: Attr);

    /// Takes the attribute of a column's value, in its usual form or in this one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it isn't of the column's type.
    fn column(&mut self, column: &'m Column, form: Option<Form>, value: &Value) -> Result<()>;
}

impl<'m> Sink<'m> for Vec<(&'m str, Attr)> {
    fn attr(&mut self, name: &'m str, attr: Attr) {
        self.push((name, attr));
    }

    fn column(&mut self, column: &'m Column, form: Option<Form>, value: &Value) -> Result<()> {
        put_column(column, form, value, self)
    }
}

pub(super) fn put_column<'m>(
    column: &'m Column,
    form: Option<Form>,
    value: &Value,
    item: &mut Vec<(&'m str, Attr)>,
) -> Result<()> {
    let attr = match form {
        Some(form) => types::to_formed(value.clone(), &column.ty, form),
        None => types::to_attr(value.clone(), &column.ty, column.is_multicell()),
    };
    let attr = attr.ok_or_else(|| {
        let message = format!("a value of column {} isn't a {}", column.name, column.ty);
        Error::new(Kind::Invalid, message)
    })?;
    item.push((&column.name, attr));
    Ok(())
}
