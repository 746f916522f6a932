//! A table of the plan, as requests on it see it.

use bytes::Bytes;
use serde_json::Value as Json;

use super::fault::Fault;
use super::json::ShownItem;
use crate::express::{
    Action, Amount, ConditionExpression, Item, Path, Projection, UpdateExpression,
};
use crate::item::{Attr, Mapping, wire};
use crate::model::{Key, Row, Value};
use crate::protocol::Phase;
use crate::shim::{Items, Table};

/// A table of the plan for one request.
#[derive(Clone)]
pub(super) struct Target {
    /// The new store's name for it, which is the one that applications use.
    pub name: String,
    pub table: Table,
    pub items: Items,
    /// The phase that requests begin in now.
    pub phase: Phase,
}

impl Target {
    pub fn mapping(&self) -> &Mapping {
        self.items.mapping()
    }

    pub fn is_counter(&self) -> bool {
        self.mapping().table().is_counter()
    }

    /// The names of the key attributes.
    pub fn key_names(&self) -> (&str, Option<&str>) {
        let sort = self.mapping().sort().map(|sort| sort.name.as_str());
        (&self.mapping().partition().name, sort)
    }

    /// Reads an item.
    pub async fn read(&self, key: &Key) -> Result<Option<Item>, Fault> {
        if self.is_counter() {
            let totals = self.table.count(key).await?;
            return self.totals(key, &totals);
        }
        let row = self.table.get(key).await?;
        row.map(|row| self.shown(&row)).transpose()
    }

    pub fn shown(&self, row: &Row) -> Result<Item, Fault> {
        Ok(self.items.item(row)?)
    }

    /// The item of a counter's totals; none where all are null.
    pub fn totals(&self, key: &Key, totals: &[Option<i64>]) -> Result<Option<Item>, Fault> {
        if totals.iter().all(Option::is_none) {
            return Ok(None);
        }
        let cells = totals.iter().map(|total| total.map(Value::BigInt));
        let row = Row::new(key.clone(), cells.collect());
        self.shown(&row).map(Some)
    }

    /// Refuses a projection or filter that names what the migration keeps for itself.
    pub fn refuse_reserved<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p Path>,
    ) -> Result<(), Fault> {
        for path in paths {
            crate::express::judge::refuse_reserved(self.mapping(), &path.attribute)?;
        }
        Ok(())
    }

    /// What an update adds to each counter.
    pub fn adds(&self, update: &UpdateExpression) -> Result<Vec<Option<i64>>, Fault> {
        let table = self.mapping().table();
        let mut by = vec![None; table.cells().len()];
        for action in &update.actions {
            let place = table
                .cell(&action.path().attribute)
                .filter(|_| action.path().steps.is_empty());
            let number = added(action).and_then(|text| text.parse::<i64>().ok());
            match (place.and_then(|place| by.get_mut(place)), number) {
                (Some(place), Some(number)) => *place = Some(number),
                (Some(_), None) | (None, _) => return Err(counters_alone(&self.name)),
            }
        }
        match by.iter().all(Option::is_none) {
            true => Err(counters_alone(&self.name)),
            false => Ok(by),
        }
    }
}

/// What a table of counters takes.
pub(super) fn counters_alone(table: &str) -> Fault {
    Fault::invalid(format!(
        "the table `{table}` holds counters: until its migration is over it takes `ADD counter :whole_number` and `SET \
         counter = if_not_exists(counter, :zero) + :whole_number` without a condition, and reads by key"
    ))
}

/// The number that an action adds to what is there or to 0.
fn added(action: &Action) -> Option<String> {
    match action {
        Action::Add(_, Attr::N(number)) => Some(number.clone()),
        Action::Set(path, Amount::Plus(one, two)) => match (&**one, &**two) {
            (first, Amount::Value(Attr::N(number))) | (Amount::Value(Attr::N(number)), first)
                if is_or_zero(first, path) =>
            {
                Some(number.clone())
            }
            (_, _) => None,
        },
        Action::Set(path, Amount::Minus(one, two)) => match (&**one, &**two) {
            (first, Amount::Value(Attr::N(number))) if is_or_zero(first, path) => {
                Some(match number.strip_prefix('-') {
                    Some(positive) => positive.to_owned(),
                    None => format!("-{number}"),
                })
            }
            (_, _) => None,
        },
        Action::Set(_, _) | Action::Add(_, _) | Action::Delete(_, _) | Action::Remove(_) => None,
    }
}

fn is_or_zero(amount: &Amount, path: &Path) -> bool {
    match amount {
        Amount::IfNotExists(there, otherwise) => {
            there == path && **otherwise == Amount::Value(Attr::N("0".into()))
        }
        Amount::Value(_)
        | Amount::Path(_)
        | Amount::Append(_, _)
        | Amount::Plus(_, _)
        | Amount::Minus(_, _) => false,
    }
}

/// Whether an update comes to the same when it is made twice.
pub(super) fn is_same_twice(update: &UpdateExpression) -> bool {
    update.actions.iter().all(|action| {
        let is_plain = action.path().steps.iter().all(|step| match step {
            crate::express::PathStep::Field(_) => true,
            crate::express::PathStep::Index(_) => false,
        });
        is_plain
            && match action {
                Action::Set(path, amount) => match amount {
                    Amount::Value(_) => true,
                    Amount::IfNotExists(there, otherwise) => {
                        there == path && matches!(**otherwise, Amount::Value(_))
                    }
                    Amount::Path(_)
                    | Amount::Append(_, _)
                    | Amount::Plus(_, _)
                    | Amount::Minus(_, _) => false,
                },
                Action::Add(_, Attr::N(_)) => false,
                Action::Add(_, _) | Action::Delete(_, _) | Action::Remove(_) => true,
            }
    })
}

/// The paths that a condition looks at.
pub(super) fn paths(condition: &ConditionExpression) -> Vec<&Path> {
    crate::express::judge::paths(Some(condition), None)
}

/// What a projection keeps of an item; all of it without one.
pub(super) fn project(item: Item, projection: Option<&Projection>) -> Item {
    match projection {
        Some(projection) => projection.of(&item),
        None => item,
    }
}

/// An item as JSON.
pub(super) fn json(item: Item) -> Json {
    // Its keys are text, the one thing that JSON asks for.
    serde_json::to_value(ShownItem(item)).unwrap_or_default()
}

/// A reply that is written part by part, some of which may not be there; items without being built up anew.
pub(super) struct ReplyBody(Vec<u8>);

impl ReplyBody {
    pub fn new() -> Self {
        ReplyBody(b"{".to_vec())
    }

    /// Adds an item, if there is one.
    pub fn item(mut self, name: &str, item: Option<&Item>) -> Self {
        if let Some(item) = item {
            self.begin(name);
            put_item(&mut self.0, item);
        }
        self
    }

    /// Adds items, if they are asked for.
    pub fn items(mut self, name: &str, items: Option<&[Item]>) -> Self {
        let Some(items) = items else { return self };
        self.begin(name);
        self.0.push(b'[');
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.0.push(b',');
            }
            put_item(&mut self.0, item);
        }
        self.0.push(b']');
        self
    }

    /// Adds something else, if it is there.
    pub fn json(mut self, name: &str, part: Option<Json>) -> Self {
        if let Some(part) = part {
            self.begin(name);
            // Its names are text, the one thing that JSON asks for.
            self.0.extend_from_slice(part.to_string().as_bytes());
        }
        self
    }

    pub fn done(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }

    fn begin(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        wire::put_text(&mut self.0, name);
        self.0.push(b':');
    }
}

fn put_item(out: &mut Vec<u8>, item: &Item) {
    wire::put_pairs(out, item.iter().map(|(name, value)| (name.as_str(), value)));
}
