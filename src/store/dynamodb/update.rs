//! What an `UpdateItem` does, in DynamoDB's words.

use super::attr::Attrs;
use super::expression::{Terms, Unfit, within_limit};
use crate::error::Result;
use crate::item::{Attr, Mapping};
use crate::model::{Key, Mark};

/// An update of one item, put together part by part.
pub(super) struct ItemUpdate {
    /// The item's key.
    pub key: Attrs,
    /// What the expressions name.
    pub terms: Terms,
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    conditions: Vec<String>,
}

impl ItemUpdate {
    /// An update that makes the item, if there is none, with the columns of its key.
    ///
    /// # Errors
    /// As of [`Mapping::key`].
    pub fn of(mapping: &Mapping, key: &Key) -> Result<Self> {
        let mut update = ItemUpdate {
            key: mapping.key(key)?,
            terms: Terms::default(),
            set: Vec::new(),
            remove: Vec::new(),
            add: Vec::new(),
            conditions: Vec::new(),
        };
        // What is there stays: two values that are one key may differ in bytes (1.0 and 1.00).
        for (column, attr) in mapping.key_columns(key)? {
            let (name, value) = (update.terms.name(&column), update.terms.value(attr));
            update
                .set
                .push(format!("{name} = if_not_exists({name}, {value})"));
        }
        Ok(update)
    }

    /// Gives an attribute this value; `None` removes it.
    pub fn set(&mut self, attribute: &str, attr: Option<Attr>) {
        let name = self.terms.name(attribute);
        match attr {
            Some(attr) => {
                let value = self.terms.value(attr);
                self.set.push(format!("{name} = {value}"));
            }
            None => self.remove.push(name),
        }
    }

    /// Gives the item this mark, or takes its mark away.
    pub fn mark(&mut self, mapping: &Mapping, mark: Option<Mark>) {
        let letter = mark.map(|mark| Attr::S(mark.letter().into()));
        self.set(mapping.mark(), letter);
    }

    /// Adds to a number, or members to a set.
    pub fn add(&mut self, attribute: &str, attr: Attr) {
        let (name, value) = (self.terms.name(attribute), self.terms.value(attr));
        self.add.push(format!("{name} {value}"));
    }

    /// Demands something more of the item.
    pub fn demand(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// The update expression.
    ///
    /// # Errors
    /// As of [`within_limit`].
    pub fn expression(&self) -> Result<String, Unfit> {
        let parts = [
            ("SET", &self.set),
            ("REMOVE", &self.remove),
            ("ADD", &self.add),
        ];
        let parts = parts.into_iter().filter(|(_, actions)| !actions.is_empty());
        let parts: Vec<String> = parts
            .map(|(word, actions)| format!("{word} {}", actions.join(", ")))
            .collect();
        within_limit(parts.join(" "))
    }

    /// The condition expression.
    ///
    /// # Errors
    /// As of [`within_limit`].
    pub fn condition(&self) -> Result<Option<String>, Unfit> {
        let all = (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "));
        all.map(within_limit).transpose()
    }
}
