//! Conditions and updates of items as rules about rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ast::{ConditionExpression, Operand, Path};
use super::update::{Action, Amount, UpdateExpression};
use super::value::equal;
use super::{Item, refused};
use crate::codec::canonical;
use crate::codec::number::small_integer_of_n;
use crate::error::{Error, Kind, Result};
use crate::item::{Attr, Mapping};
use crate::model::{Edit, Edits, Judge, Looks, Row, Value};
use crate::schema::Role;

/// A condition on the item that a row becomes, and what an update makes of it.
#[derive(Debug)]
pub struct ItemRule {
    mapping: Arc<Mapping>,
    condition: Option<ConditionExpression>,
    update: Option<UpdateExpression>,
    expires: Option<i64>,
    looks: Looks,
    text: String,
}

impl ItemRule {
    /// A rule for the items of this mapping, static ones or others: one without a condition always holds, one
    /// without an update changes nothing. An update comes with the expiry that it gives unless it says another.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it names an attribute that the migration keeps for itself, or the update one that
    /// is no column outside the key.
    pub fn new(
        mapping: Arc<Mapping>,
        is_static: bool,
        condition: Option<ConditionExpression>,
        update: Option<(UpdateExpression, Option<i64>)>,
    ) -> Result<Self> {
        let (update, expires) = match update {
            Some((update, expires)) => (Some(update), expires),
            None => (None, None),
        };
        for changed in update.iter().flat_map(UpdateExpression::paths) {
            refuse_unchangeable(&mapping, &changed.attribute)?;
        }
        let mut cells = BTreeSet::new();
        let mut more = false;
        for path in paths(condition.as_ref(), update.as_ref()) {
            refuse_reserved(&mapping, &path.attribute)?;
            more |= mapping.expiry() == Some(path.attribute.as_str());
            // Of the other kind of row's columns it has none.
            let own = |cell: &usize| {
                let column = mapping.table().cells().get(*cell);
                column.is_some_and(|column| (column.role == Role::Static) == is_static)
            };
            cells.extend(mapping.table().cell(&path.attribute).filter(own));
        }
        let text = format!(
            "{}: {condition:?} {update:?} {expires:?}",
            mapping.table().name
        );
        Ok(ItemRule {
            mapping,
            condition,
            update,
            expires,
            looks: match more {
                true => Looks::Row,
                false => Looks::Cells(cells),
            },
            text,
        })
    }

    /// The condition.
    pub fn condition(&self) -> Option<&ConditionExpression> {
        self.condition.as_ref()
    }

    fn item(&self, row: Option<&Row>) -> Result<Option<Item>> {
        let item = row.map(|row| self.mapping.shown(row)).transpose()?;
        Ok(item.map(|attributes| attributes.into_iter().collect()))
    }
}

impl Judge for ItemRule {
    fn text(&self) -> &str {
        &self.text
    }

    fn holds(&self, row: Option<&Row>) -> Result<bool> {
        match &self.condition {
            Some(condition) => Ok(condition.holds(self.item(row)?.as_ref())),
            None => Ok(true),
        }
    }

    /// The item after the update has to be one of this table: its values must fit their columns.
    fn edits(&self, row: Option<&Row>) -> Result<Edits> {
        let table = self.mapping.table();
        let mut edits = Edits {
            cells: vec![None; table.cells().len()],
            expires: self.expires,
        };
        let Some(update) = &self.update else {
            return Ok(edits);
        };
        let before = self.item(row)?;
        let after = update.apply(before.as_ref())?;
        for path in update.paths() {
            let name = path.attribute.as_str();
            let given = after.get(name).filter(|attr| **attr != Attr::Null);
            if self.mapping.expiry() == Some(name) {
                edits.expires = Some(expiry(name, given)?);
            } else if let Some(cell) = table.cell(name)
                && let Some(edit) = edits.cells.get_mut(cell)
            {
                let value = given.map(|attr| value(&self.mapping, cell, attr));
                *edit = Some(value.transpose()?.flatten().map_or(Edit::Clear, Edit::Set));
            }
        }
        Ok(canonical::edits(table, edits))
    }

    fn looks(&self) -> &Looks {
        &self.looks
    }
}

/// The expiry that an item is given.
///
/// # Errors
/// [`Kind::Invalid`] if it is no number of seconds, or is taken away.
pub fn expiry(name: &str, given: Option<&Attr>) -> Result<i64> {
    let Some(given) = given else {
        let message = format!("the expiry `{name}` can't be taken away from an item that is there");
        return Err(Error::new(Kind::Unsupported, message)
            .with_help("put the whole item without it, or set it to a time far away"));
    };
    let seconds = match given {
        Attr::N(number) => small_integer_of_n(number),
        Attr::S(_)
        | Attr::B(_)
        | Attr::Bool(_)
        | Attr::Null
        | Attr::L(_)
        | Attr::M(_)
        | Attr::Ss(_)
        | Attr::Ns(_)
        | Attr::Bs(_) => None,
    };
    seconds.ok_or_else(|| {
        refused(format!(
            "the expiry `{name}` isn't a number of whole seconds"
        ))
    })
}

/// The value that an attribute is to a cell, which has to become the same attribute again; `None` for one that
/// CQL takes for null.
///
/// # Errors
/// [`Kind::Invalid`] if it doesn't fit the column.
pub fn value(mapping: &Mapping, cell: usize, given: &Attr) -> Result<Option<Value>> {
    let value = mapping.value(cell, given)?;
    match mapping.cell(cell, Some(&value))? {
        None => Ok(None),
        Some(attr) if equal(&attr, given) => Ok(Some(value)),
        Some(_) => {
            let column = mapping.column(cell)?;
            let (name, ty) = (&column.name, column.cql_type());
            let message =
                format!("the value of `{name}` would be another one in its column, a {ty}");
            Err(Error::new(Kind::Invalid, message))
        }
    }
}

/// Whether two attributes are equal to DynamoDB: numbers by value, sets in any order.
pub fn same(one: &Attr, two: &Attr) -> bool {
    equal(one, two)
}

/// Refuses the names of attributes that the migration keeps for itself.
///
/// # Errors
/// [`Kind::Invalid`].
pub fn refuse_reserved(mapping: &Mapping, attribute: &str) -> Result<()> {
    match mapping.reserved().any(|reserved| reserved == attribute) {
        true => Err(refused(format!(
            "the attribute `{attribute}` is one that the migration keeps for itself"
        ))),
        false => Ok(()),
    }
}

/// Refuses what isn't a column outside the key, nor the expiry.
fn refuse_unchangeable(mapping: &Mapping, attribute: &str) -> Result<()> {
    refuse_reserved(mapping, attribute)?;
    if mapping.table().cell(attribute).is_some() || mapping.expiry() == Some(attribute) {
        return Ok(());
    }
    Err(match mapping.knows(attribute) {
        true => refused(format!(
            "Cannot update attribute {attribute}. This attribute is part of the key"
        )),
        false => refused(format!(
            "the table has no column for the attribute `{attribute}`"
        )),
    })
}

/// Every path that a condition and an update look at or change.
pub fn paths<'e>(
    condition: Option<&'e ConditionExpression>,
    update: Option<&'e UpdateExpression>,
) -> Vec<&'e Path> {
    let mut paths = Vec::new();
    if let Some(condition) = condition {
        of_condition(condition, &mut paths);
    }
    for action in update.iter().flat_map(|update| &update.actions) {
        paths.push(action.path());
        if let Action::Set(_, amount) = action {
            of_amount(amount, &mut paths);
        }
    }
    paths
}

fn of_condition<'c>(condition: &'c ConditionExpression, paths: &mut Vec<&'c Path>) {
    match condition {
        ConditionExpression::And(all) | ConditionExpression::Or(all) => {
            all.iter().for_each(|one| of_condition(one, paths));
        }
        ConditionExpression::Not(inner) => of_condition(inner, paths),
        ConditionExpression::Compare(one, _, two)
        | ConditionExpression::BeginsWith(one, two)
        | ConditionExpression::Contains(one, two) => {
            paths.extend([one, two].into_iter().filter_map(of))
        }
        ConditionExpression::Between(one, low, high) => {
            paths.extend([one, low, high].into_iter().filter_map(of));
        }
        ConditionExpression::In(one, choices) => {
            paths.extend(of(one));
            paths.extend(choices.iter().filter_map(of));
        }
        ConditionExpression::Exists(path)
        | ConditionExpression::NotExists(path)
        | ConditionExpression::HasType(path, _) => {
            paths.push(path);
        }
    }
}

fn of(operand: &Operand) -> Option<&Path> {
    match operand {
        Operand::Path(path) | Operand::Size(path) => Some(path),
        Operand::Value(_) | Operand::SizeOf(_) => None,
    }
}

fn of_amount<'a>(amount: &'a Amount, paths: &mut Vec<&'a Path>) {
    match amount {
        Amount::Value(_) => {}
        Amount::Path(path) => paths.push(path),
        Amount::IfNotExists(path, otherwise) => {
            paths.push(path);
            of_amount(otherwise, paths);
        }
        Amount::Append(one, two) | Amount::Plus(one, two) | Amount::Minus(one, two) => {
            of_amount(one, paths);
            of_amount(two, paths);
        }
    }
}
