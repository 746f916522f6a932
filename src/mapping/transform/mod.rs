//! What a plan does to rows on their way: columns renamed, dropped or masked, and one expiry for an
//! item where Cassandra has one for each cell.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{canonical, keys, text};
use crate::error::{Error, Kind, Result};
use crate::model::{CellTimes, Row, Value};
use crate::schema::{Column, Layout, Order, Role, Table, Type};
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// Part of every fingerprint: to be counted up when rows become other items than before.
const FORMAT: u8 = 1;
/// What masked text reads with [`Mask::Redact`].
const REDACTED: &str = "[redacted]";

/// What becomes of one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnRule {
    /// Its name in the new table.
    pub rename: Option<String>,
    /// Whether it is left behind.
    pub drop: bool,
    /// How its values are made unreadable.
    pub mask: Option<Mask>,
}

/// How values are made unreadable. Null stays null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// HMAC-SHA256 under the plan's mask key: equal values stay equal. Text becomes its lower-case
    /// hexadecimal digits, a blob its 32 bytes.
    Hmac,
    /// `[redacted]`, whatever it was.
    Redact,
}

/// What becomes of the expiries of a row's cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryRule {
    /// The attribute that gets the item's expiry in epoch seconds.
    pub attribute: String,
    /// Which of the cells' it is.
    pub from: ExpiryFrom,
}

/// Which of its cells' expiries a row gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryFrom {
    /// The latest; none if any cell never expires.
    Max,
    /// The earliest of those there are.
    Min,
    /// The one that all cells share; rows whose cells differ are refused.
    Reject,
}

/// Turns rows of the old table into rows of the new one.
#[derive(Clone)]
pub struct Transform {
    source: Table,
    target: Table,
    key: Vec<KeyStep>,
    cells: Vec<CellStep>,
    moves_nothing: bool,
    /// Whether a value may have nulls at its end.
    may_be_trimmed: bool,
    expiry: Option<ExpiryFrom>,
    fingerprint: [u8; 32],
}

/// The mask of one key column, in key order.
type KeyStep = Option<Masking>;

/// Where a cell of the new row comes from.
#[derive(Clone)]
struct CellStep {
    from: usize,
    mask: Option<Masking>,
}

#[derive(Clone)]
enum Masking {
    Hmac(Box<Hmac<Sha256>>),
    Redact,
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform")
            .field("source", &self.source.name)
            .field("target", &self.target)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

impl Transform {
    /// What `rules` (by column name) and the expiry rule make of a table, which is called `target_name`
    /// in the new store and lies there by `layout`. The expiry rule's attribute goes into the layout.
    ///
    /// # Errors
    /// [`Kind::Config`] with everything that is wrong at once: unknown columns; a key column dropped or
    /// redacted, since rows would fall together; a mask on anything but text and blobs, or without a
    /// key; new names that clash; an attribute of the expiry without a name.
    pub fn new(
        old: &Table,
        rules: &BTreeMap<String, ColumnRule>,
        expiry: Option<&ExpiryRule>,
        mask_key: Option<&Secret>,
        target_name: &str,
        layout: Layout,
    ) -> Result<Transform> {
        let wrong = wrong_with(old, rules, expiry, mask_key);
        if !wrong.is_empty() {
            return Err(Error::new(Kind::Config, wrong.join("; ")).at("table", &old.name));
        }
        let none = ColumnRule::default();
        let rule = |column: &Column| rules.get(&column.name).unwrap_or(&none);
        let renamed = |column: &Column| Column {
            name: rule(column).rename.clone().unwrap_or(column.name.clone()),
            ..column.clone()
        };
        let kept = old.columns.iter().filter(|column| !rule(column).drop);
        let mut target = Table::new(target_name, kept.map(renamed).collect());
        target.layout = layout;
        if let Some(expiry) = expiry {
            target.layout.expiry_attribute = Some(expiry.attribute.clone());
        }
        let masking = |column: &Column| masking(rule(column).mask, mask_key);
        let key_columns = old.partition().iter().chain(old.clustering());
        let key = key_columns.map(masking).collect::<Result<Vec<_>>>()?;
        let mut cells = Vec::with_capacity(target.cells().len());
        for column in target.cells() {
            let mut olds = old.cells().iter().enumerate();
            let came_from =
                |(_, old): &(usize, &Column)| !rule(old).drop && renamed(old).name == column.name;
            if let Some((from, old)) = olds.find(came_from) {
                let mask = masking(old)?;
                cells.push(CellStep { from, mask });
            }
        }
        let may_be_trimmed = |column: &Column| canonical::may_be_trimmed(&column.ty);
        let in_place = |(at, step): (usize, &CellStep)| step.from == at && step.mask.is_none();
        Ok(Transform {
            fingerprint: fingerprint(old, rules, expiry, mask_key, &target)?,
            source: old.clone(),
            moves_nothing: key.iter().all(Option::is_none)
                && cells.len() == old.cells().len()
                && cells.iter().enumerate().all(in_place),
            may_be_trimmed: target.columns.iter().any(may_be_trimmed),
            target,
            key,
            cells,
            expiry: expiry.map(|rule| rule.from),
        })
    }

    /// The old table.
    pub fn source(&self) -> &Table {
        &self.source
    }

    /// The new table: its columns as they are after the rules, and its layout.
    pub fn target(&self) -> &Table {
        &self.target
    }

    /// Whether a key of the new table is the old one's, rather than masked.
    pub fn keeps_keys(&self) -> bool {
        self.key.iter().all(Option::is_none)
    }

    /// Whether any value is made unreadable on the way, so that there is no way back.
    pub fn masks(&self) -> bool {
        self.key.iter().any(Option::is_some) || self.cells.iter().any(|step| step.mask.is_some())
    }

    /// Whether an item is gone once the first of its row's cells is.
    pub fn expires_with_the_first_cell(&self) -> bool {
        self.expiry == Some(ExpiryFrom::Min)
    }

    /// Which of the old table's cells a cell of the new one is.
    pub fn source_cell(&self, cell: usize) -> Option<usize> {
        self.cells.get(cell).map(|step| step.from)
    }

    /// A digest of everything that decides which item a row becomes: the old table's columns with their
    /// types, the layout, the rules, and of the mask key a digest under that key. Names of tables are
    /// no part of it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// A row of the old table as a row of the new one, its values in the form that they have in both
    /// ([`canonical::stored`]).
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it has cells that expire and there is no rule for that, or the rule is
    /// [`ExpiryFrom::Reject`] and its cells differ; if a value to be masked isn't text or a blob.
    pub fn apply(&self, row: Row) -> Result<Row> {
        let (row, kept) = self.look(row)?;
        kept.map(|()| row)
    }

    /// The same for whoever only shows it. Beside the row stands why it can't be kept in the new store, if
    /// it can't: nobody can say when it has to expire there. In the old store that doesn't matter.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if a value to be masked isn't text or a blob.
    pub fn look(&self, mut row: Row) -> Result<(Row, Result<()>)> {
        if !self.moves_nothing {
            let key = row.key.partition.iter_mut();
            let key = key.chain(row.key.clustering.iter_mut().flatten());
            for (value, mask) in key.zip(&self.key) {
                if let Some(mask) = mask {
                    mask.apply(value)?;
                }
            }
            let mut cells = Vec::with_capacity(self.cells.len());
            let mut times = Vec::with_capacity(row.times.len().min(self.cells.len()));
            for step in &self.cells {
                let mut value = row.cells.get_mut(step.from).and_then(Option::take);
                if let (Some(value), Some(mask)) = (&mut value, &step.mask) {
                    mask.apply(value)?;
                }
                cells.push(value);
                times.extend(row.times.get_mut(step.from).map(std::mem::take));
            }
            row.cells = cells;
            row.times = times;
        }
        if self.may_be_trimmed {
            row = canonical::stored(&self.target, row);
        }
        if row.times.is_empty() {
            return Ok((row, Ok(())));
        }
        let kept = self.expires(&row).map(|expires| row.expires = expires);
        Ok((row, kept))
    }

    fn expires(&self, row: &Row) -> Result<Option<i64>> {
        let cells = row.cells.iter().zip(&row.times);
        let mut all = cells
            .filter(|(value, _)| value.is_some())
            .flat_map(|(_, times)| expiries(times));
        match self.expiry {
            Some(ExpiryFrom::Max) => Ok(all
                .try_fold(None, |latest, at| at.map(|at| latest.max(Some(at))))
                .flatten()),
            Some(ExpiryFrom::Min) => Ok(all.flatten().min()),
            Some(ExpiryFrom::Reject) => {
                let first = all.next().flatten();
                if all.all(|at| at == first) {
                    return Ok(first);
                }
                Err(Error::new(Kind::Invalid, "the row's cells expire at different times")
                    .help("write `from = \"max\"` or `\"min\"` in the table's `expiry` in the plan"))
            }
            None if all.all(|at| at.is_none()) => Ok(None),
            None => Err(Error::new(
                Kind::Invalid,
                "the row has cells that expire, and the plan doesn't say what becomes of that",
            )
            .help("add `expiry = { attribute = \"expires_at\", from = \"max\" }` to the table in the plan")),
        }
    }
}

/// A cell that tells nothing never expires.
fn expiries(times: &CellTimes) -> impl Iterator<Item = Option<i64>> {
    let silent = times.expires.is_empty().then_some(None);
    times.expires.iter().copied().chain(silent)
}

impl Masking {
    fn apply(&self, value: &mut Value) -> Result<()> {
        let masked = match (self, &*value) {
            (Masking::Hmac(mac), Value::Text(text)) => {
                Value::Text(text::hex(&digest(mac, text.as_bytes())))
            }
            (Masking::Hmac(mac), Value::Blob(bytes)) => Value::Blob(digest(mac, bytes)),
            (Masking::Redact, Value::Text(_)) => Value::text(REDACTED),
            (Masking::Redact, Value::Blob(_)) => Value::Blob(REDACTED.into()),
            _ => {
                let message = "a value to be masked is neither text nor a blob";
                return Err(Error::new(Kind::Invalid, message));
            }
        };
        *value = masked;
        Ok(())
    }
}

fn digest(mac: &Hmac<Sha256>, bytes: &[u8]) -> Vec<u8> {
    let mut mac = mac.clone();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

fn masking(mask: Option<Mask>, key: Option<&Secret>) -> Result<Option<Masking>> {
    Ok(match mask {
        None => None,
        Some(Mask::Redact) => Some(Masking::Redact),
        Some(Mask::Hmac) => Some(Masking::Hmac(Box::new(keyed(key)?))),
    })
}

fn keyed(key: Option<&Secret>) -> Result<Hmac<Sha256>> {
    let key = key.map_or("", Secret::expose);
    Hmac::new_from_slice(key.as_bytes())
        .map_err(|error| Error::new(Kind::Config, "the mask key can't be used").source_of(error))
}

fn wrong_with(
    old: &Table,
    rules: &BTreeMap<String, ColumnRule>,
    expiry: Option<&ExpiryRule>,
    mask_key: Option<&Secret>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, rule) in rules {
        match old.columns.iter().find(|column| column.name == *name) {
            Some(column) => wrong.extend(wrong_with_rule(column, rule)),
            None => {
                let names: Vec<&str> = old.columns.iter().map(|c| c.name.as_str()).collect();
                wrong.push(format!(
                    "there is no column {name}, only {}",
                    names.join(", ")
                ));
            }
        }
    }
    let hmac = rules.values().any(|rule| rule.mask == Some(Mask::Hmac));
    if hmac && mask_key.is_none_or(|key| key.expose().is_empty()) {
        wrong.push("mask = \"hmac\" needs a key: add `[mask] key = \"${MASK_KEY}\"`".into());
    }
    if expiry.is_some_and(|rule| rule.attribute.is_empty()) {
        wrong.push("the expiry's attribute has no name".into());
    }
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for column in &old.columns {
        let rule = rules.get(&column.name);
        if rule.is_some_and(|rule| rule.drop) {
            continue;
        }
        let name = rule
            .and_then(|rule| rule.rename.as_ref())
            .unwrap_or(&column.name);
        if let Some(first) = names.insert(name, &column.name) {
            wrong.push(format!(
                "the columns {first} and {} would both be called {name}",
                column.name
            ));
        }
    }
    wrong
}

fn wrong_with_rule(column: &Column, rule: &ColumnRule) -> Vec<String> {
    let name = &column.name;
    let in_key = matches!(column.role, Role::Partition | Role::Clustering(_));
    let mut wrong = Vec::new();
    if rule.drop && in_key {
        wrong.push(format!(
            "the key column {name} can't be dropped: rows would fall together"
        ));
    }
    if rule.drop && (rule.rename.is_some() || rule.mask.is_some()) {
        wrong.push(format!(
            "the column {name} is dropped, so it can't be renamed or masked too"
        ));
    }
    if rule.rename.as_ref().is_some_and(String::is_empty) {
        wrong.push(format!("the column {name} is renamed to nothing"));
    }
    if rule.mask == Some(Mask::Redact) && in_key {
        wrong.push(format!(
            "the key column {name} can't be redacted: rows would fall together; mask = \"hmac\" keeps them apart"
        ));
    }
    let can_mask = matches!(column.ty, Type::Text | Type::Ascii | Type::Blob);
    if rule.mask.is_some() && !can_mask {
        let ty = column.cql_type();
        wrong.push(format!(
            "the column {name} is of type {ty}; only text, ascii and blob can be masked"
        ));
    }
    wrong
}

fn fingerprint(
    old: &Table,
    rules: &BTreeMap<String, ColumnRule>,
    expiry: Option<&ExpiryRule>,
    mask_key: Option<&Secret>,
    target: &Table,
) -> Result<[u8; 32]> {
    let mut print = Print(Sha256::new());
    print.0.update([FORMAT]);
    print.number(old.columns.len());
    for column in &old.columns {
        print.text(&column.name);
        print.text(&column.cql_type());
        print.text(match column.role {
            Role::Partition => "partition",
            Role::Clustering(Order::Asc) => "ascending",
            Role::Clustering(Order::Desc) => "descending",
            Role::Static => "static",
            Role::Regular => "regular",
        });
        print.fields_of(&column.ty);
    }
    let layout = &target.layout;
    print.maybe(layout.partition_attribute.as_deref());
    print.maybe(layout.sort_attribute.as_deref());
    print.text(&layout.reserved_prefix);
    print.maybe(layout.expiry_attribute.as_deref());
    print.maybe(expiry.map(|rule| match rule.from {
        ExpiryFrom::Max => "max",
        ExpiryFrom::Min => "min",
        ExpiryFrom::Reject => "reject",
    }));
    let rules = rules
        .iter()
        .filter(|(_, rule)| **rule != ColumnRule::default());
    for (name, rule) in rules.clone() {
        print.text(name);
        print.maybe(rule.rename.as_deref());
        print.maybe(rule.drop.then_some("drop"));
        print.maybe(rule.mask.map(|mask| match mask {
            Mask::Hmac => "hmac",
            Mask::Redact => "redact",
        }));
    }
    let hmac = |(_, rule): (&String, &ColumnRule)| rule.mask == Some(Mask::Hmac);
    if rules.clone().any(hmac) && mask_key.is_some() {
        print
            .0
            .update(digest(&keyed(mask_key)?, b"crossfade mask key"));
    }
    // Once the sort keys of these were bytes in no order.
    if target
        .clustering()
        .iter()
        .any(|column| keys::holds_others(&column.ty))
    {
        print.text("sort keys in Cassandra's order");
    }
    Ok(print.0.finalize().into())
}

/// Parts of a digest, each with its length, so that they can't run into each other.
struct Print(Sha256);

impl Print {
    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text);
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    /// The fields of every user-defined type inside a type, which its CQL text doesn't say.
    fn fields_of(&mut self, ty: &Type) {
        if let Type::Udt(udt) = ty {
            self.number(udt.fields.len());
            for (name, ty) in &udt.fields {
                self.text(name);
                self.text(&ty.to_string());
                self.fields_of(ty);
            }
        } else {
            ty.inside().into_iter().for_each(|ty| self.fields_of(ty));
        }
    }
}
