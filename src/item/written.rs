//! Items written straight from rows: the values of their attributes, without the attributes.

use super::attr::ITEM_LIMIT;
use super::mapping::Mapping;
use super::sink::{Sink, put_column};
use super::{Attr, types, wire};
use crate::error::Result;
use crate::model::{Row, Value};
use crate::schema::{Column, Form};

/// An item's attributes as DynamoDB's JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WrittenItem<'m> {
    /// Their names, those of the key first.
    pub names: Vec<&'m str>,
    /// Their values in the same order, with commas between.
    pub values: Vec<u8>,
    /// Its size as DynamoDB counts it.
    pub size: usize,
    /// Bytes of the values of the key's attributes.
    key: usize,
}

impl WrittenItem<'_> {
    /// The values of the key's attributes: the same for the same key, and for no other.
    pub(crate) fn key(&self) -> &[u8] {
        &self.values[..self.key]
    }

    fn begin(&mut self) {
        if !self.names.is_empty() {
            self.values.push(b',');
        }
    }
}

impl<'m> Sink<'m> for WrittenItem<'m> {
    fn attr(&mut self, name: &'m str, attr: Attr) {
        self.begin();
        self.names.push(name);
        self.size += name.len() + attr.size();
        wire::put_attr(&mut self.values, &attr);
    }

    fn column(&mut self, column: &'m Column, form: Option<Form>, value: &Value) -> Result<()> {
        self.begin();
        let written = match form {
            Some(_) => None,
            None => types::write(value, &column.ty, column.is_multicell(), &mut self.values),
        };
        let name = column.name.as_str();
        match written {
            Some(size) => self.size += name.len() + size,
            None => {
                let mut attr = Vec::with_capacity(1);
                put_column(column, form, value, &mut attr)?;
                for (_, attr) in attr {
                    self.size += name.len() + attr.size();
                    wire::put_attr(&mut self.values, &attr);
                }
            }
        }
        self.names.push(name);
        Ok(())
    }
}

impl Mapping {
    /// [`Mapping::attributes`], written.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn write(&self, row: &Row) -> Result<WrittenItem<'_>> {
        let mut written = WrittenItem {
            names: Vec::with_capacity(self.table.columns.len() + 4),
            values: Vec::with_capacity(row.weight() * 3 / 2),
            size: 0,
            key: 0,
        };
        self.put_key(&row.key, &mut written)?;
        written.key = written.values.len();
        self.lay_rest(row, &mut written)?;
        if written.size > ITEM_LIMIT {
            // It says which column is the biggest.
            self.attributes(row)?;
        }
        Ok(written)
    }
}
