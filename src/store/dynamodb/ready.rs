//! Rows that are ready to be sent.

use super::outcome::pairs_text;
use crate::error::Result;
use crate::item::{Attr, Mapping, WrittenItem};
use crate::model::Row;

/// Bytes that are one write unit.
const UNIT: usize = 1024;

/// The rows of a put, and how they become items.
#[derive(Clone, Copy)]
pub(super) struct PutRows<'a> {
    pub mapping: &'a Mapping,
    pub rows: &'a [Row],
}

/// A row that is ready to be sent.
pub(super) struct Ready<'a> {
    /// Its place among the rows of the put.
    pub place: usize,
    /// Its attributes, those of the key included.
    pub item: WrittenItem<'a>,
}

impl<'a> PutRows<'a> {
    /// A row's attributes one by one, for calls that take them so.
    pub(super) fn item(&self, ready: &Ready<'a>) -> Result<Vec<(&'a str, Attr)>> {
        Ok(self.mapping.attributes(&self.rows[ready.place])?.0)
    }

    /// A row's key for people.
    pub(super) fn key_text(&self, place: usize) -> String {
        match self.mapping.key(&self.rows[place].key) {
            Ok(key) => pairs_text(&key),
            // It has been mapped before.
            Err(_) => "?".to_owned(),
        }
    }
}

impl Ready<'_> {
    /// Write units of this row, for servers that don't tell.
    pub(super) fn units(&self) -> f64 {
        self.item.size.div_ceil(UNIT).max(1) as f64
    }
}
