//! Rows as items, and back.

use std::collections::{BTreeSet, HashMap};

use super::attr::{Attr, ITEM_LIMIT, item_size};
use super::attributes::{KeyAttribute, KeyType};
use super::keys::{self, PARTITION_KEY_LIMIT, SORT_KEY_LIMIT, STATIC_SORT_KEY};
use super::sink::Sink;
use super::{attributes, types};
use crate::codec::canonical::is_null;
use crate::codec::cql;
use crate::codec::{number, ordered, text};
use crate::error::{Error, Kind, Result};
use crate::model::{Fold, Key, Mark, Move, Row, Times, Value};
use crate::schema::{Column, Form, Table};

/// How the rows of one table become items: compiled once, used for every row.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub(super) table: Table,
    pub(super) partition: KeyAttribute,
    pub(super) sort: Option<KeyAttribute>,
    pub(super) mark: String,
    pub(super) decided: String,
    /// The attribute of each cell's watermark; `None` for what isn't a counter.
    pub(super) watermarks: Vec<Option<String>>,
    /// Of each cell, where it isn't the usual one.
    pub(super) forms: Vec<Option<Form>>,
    slots: HashMap<String, Slot>,
}

/// What an attribute's name stands for.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Partition,
    Sort,
    /// A partition key column's own attribute beside a made partition key.
    PartitionColumn(usize),
    /// A clustering column's own attribute beside a made sort key.
    Clustering(usize),
    Cell(usize),
    /// Of a counter, by the place of its cell.
    Watermark(usize),
    Mark,
    Decided,
    Expiry,
}

/// A fold in attributes.
pub struct FoldedItem {
    /// The key.
    pub key: Vec<(String, Attr)>,
    /// Key columns that are attributes beside it.
    pub own: Vec<(String, Attr)>,
    /// What moves.
    pub moves: Vec<FoldedColumn>,
}

/// One counter of a fold in attributes.
pub struct FoldedColumn {
    /// The attribute of its total.
    pub total: String,
    /// The attribute of its watermark.
    pub watermark: String,
    /// What moves.
    pub step: Move,
}

impl Mapping {
    /// The mapping of a table as it is in the new store (its columns and its layout).
    ///
    /// # Errors
    /// [`Kind::Config`] with everything that is wrong at once: attribute names that clash, are empty or
    /// too long for a key, a `sort_attribute` without clustering columns, key columns of a type that no
    /// key can have.
    pub fn new(table: &Table) -> Result<Mapping> {
        let partition = attributes::partition_attribute(table);
        let sort = attributes::sort_attribute(table);
        let (mark, decided) = (attributes::mark(table), attributes::decided(table));
        let wrong = attributes::wrong_with(table, &partition, sort.as_ref());
        if !wrong.is_empty() {
            let error =
                Error::new(Kind::Config, wrong.join("; ")).with_context("table", &table.name);
            let clashes = |name: &&String| table.columns.iter().any(|column| column.name == **name);
            return Err(match table.layout.expiry_attribute.as_ref().filter(clashes) {
                Some(name) => error.with_help(format!(
                    "give the expiry another name in the plan, such as `expiry = {{ attribute = \"row_{name}\", … }}`"
                )),
                None => error.with_help("name the key attributes with `keys = { partition = \"…\", sort = \"…\" }`, the reserved ones with `reserved_prefix`, or rename the column in the plan"),
            });
        }
        let mut slots = HashMap::new();
        if sort.as_ref().is_some_and(|sort| sort.made) {
            let columns = table.clustering().iter().enumerate();
            slots.extend(columns.map(|(at, column)| (column.name.clone(), Slot::Clustering(at))));
        }
        if partition.made {
            let columns = table.partition().iter().enumerate();
            let slot = |at| Slot::PartitionColumn(at);
            slots.extend(columns.map(|(at, column)| (column.name.clone(), slot(at))));
        }
        let cells = table.cells().iter().enumerate();
        slots.extend(cells.map(|(at, column)| (column.name.clone(), Slot::Cell(at))));
        let watermarks = attributes::watermarks(table);
        let named = watermarks.iter().enumerate();
        slots.extend(named.filter_map(|(at, name)| Some((name.clone()?, Slot::Watermark(at)))));
        slots.insert(partition.name.clone(), Slot::Partition);
        slots.extend(sort.iter().map(|sort| (sort.name.clone(), Slot::Sort)));
        slots.insert(mark.clone(), Slot::Mark);
        slots.insert(decided.clone(), Slot::Decided);
        let expiry = table.layout.expiry_attribute.iter();
        slots.extend(expiry.map(|name| (name.clone(), Slot::Expiry)));
        Ok(Mapping {
            table: table.clone(),
            partition,
            sort,
            mark,
            decided,
            watermarks,
            forms: attributes::forms(table),
            slots,
        })
    }

    /// The table it was made for.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The partition key attribute.
    pub fn partition(&self) -> &KeyAttribute {
        &self.partition
    }

    /// The sort key attribute, if the table has one.
    pub fn sort(&self) -> Option<&KeyAttribute> {
        self.sort.as_ref()
    }

    /// Whether clustering order is the sort key's order backwards (all clustering columns descend).
    pub fn is_reversed(&self) -> bool {
        keys::is_reversed(self.table.clustering())
    }

    /// The name of the attribute that says who wrote an item (`_m`).
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Whether an attribute is one of those that items of this mapping may have.
    pub fn knows(&self, attribute: &str) -> bool {
        self.slots.contains_key(attribute)
    }

    /// The names of all attributes that items of this mapping may have.
    pub fn attributes_known(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(String::as_str)
    }

    /// The names of all attributes that the migration keeps for itself: mark, decided columns, watermarks.
    pub fn reserved(&self) -> impl Iterator<Item = &str> {
        let watermarks = self.watermarks.iter().flatten();
        let names = [&self.mark, &self.decided].into_iter().chain(watermarks);
        names.map(String::as_str)
    }

    /// The key attributes of a key: one, or two if the table has a sort key.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the new store can't have such a key: over 2048 or 1024 bytes, or empty.
    pub fn key(&self, key: &Key) -> Result<Vec<(String, Attr)>> {
        let mut attributes = Vec::with_capacity(2);
        self.put_key(key, &mut attributes)?;
        Ok(owned(attributes))
    }

    /// The key attributes of a key to be looked for; `None` if no item can have it, so that it isn't there.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is no key of this table.
    pub fn key_to_find(&self, key: &Key) -> Result<Option<Vec<(String, Attr)>>> {
        match self.key(key) {
            Ok(attributes) => Ok(Some(attributes)),
            Err(_) if self.is_key(key) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The values of a partition key attribute: exactly, so that another spelling of them is none.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is no partition key of this table, or a hashed one, which doesn't tell its values.
    pub fn partition_of(&self, attr: &Attr) -> Result<Vec<Value>> {
        let own = vec![None; self.table.partition().len()];
        let read = self.read_partition(Some(attr.clone()), own);
        let values = read.map_err(|error| Error::new(Kind::Invalid, error.message()))?;
        match self.partition_key(&values) {
            Ok(again) if is_same_key(&again, attr) => Ok(values),
            Ok(_) | Err(_) => {
                let message = format!("{} isn't spelled as keys are", self.partition.name);
                Err(Error::new(Kind::Invalid, message))
            }
        }
    }

    /// The partition key attribute's value to be looked for; `None` if no item can have it.
    ///
    /// # Errors
    /// As of [`Mapping::key_to_find`].
    pub fn partition_to_find(&self, values: &[Value]) -> Result<Option<Attr>> {
        match self.partition_key(values) {
            Ok(attr) => Ok(Some(attr)),
            Err(_) if are_of(self.table.partition(), values) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the table may have a row with this key, whatever the new store can hold.
    fn is_key(&self, key: &Key) -> bool {
        let is_placed = match &key.clustering {
            Some(values) => are_of(self.table.clustering(), values),
            None => self.table.has_statics(),
        };
        is_placed && are_of(self.table.partition(), &key.partition)
    }

    /// The partition key attribute's value.
    ///
    /// # Errors
    /// As of [`Mapping::key`].
    pub fn partition_key(&self, values: &[Value]) -> Result<Attr> {
        let columns = self.table.partition();
        let attr = match (self.partition.made, columns, values) {
            (false, [column], [value]) => own_attribute(column, value, self.partition.ty)?,
            _ => {
                let text = keys::partition_text(columns, values)?;
                match self.table.layout.partition_hash {
                    true => Attr::S(keys::hashed_text(text)),
                    false => Attr::S(text),
                }
            }
        };
        within(attr, PARTITION_KEY, PARTITION_KEY_LIMIT)
    }

    /// The whole item of a row: key, key columns beside a made key, cells, mark, the names of the columns
    /// that a partial item decides, and expiry. What a row
    /// tells of its cells' times is left out; [`crate::transform::Transform`] makes an expiry of it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the new store can't hold it: its key (see [`Mapping::key`]), more than
    /// [`ITEM_LIMIT`] bytes, an expiry without an attribute for it, values not of their column's type.
    pub fn item(&self, row: &Row) -> Result<Vec<(String, Attr)>> {
        let (attributes, _) = self.attributes(row)?;
        Ok(owned(attributes))
    }

    /// The item as applications see it: without what the migration keeps for itself, and however large.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a key that no item can have, an expiry without an attribute for it, values not of
    /// their column's type.
    pub fn shown(&self, row: &Row) -> Result<Vec<(String, Attr)>> {
        let mut item = Vec::with_capacity(self.table.columns.len() + 2);
        self.put_key(&row.key, &mut item)?;
        self.put_key_columns(&row.key, &mut item)?;
        self.put_cells(row, &mut item)?;
        if let Some(expires) = row.expires {
            item.push((self.expiry_of_row()?, Attr::N(expires.to_string())));
        }
        Ok(owned(item))
    }

    /// [`Mapping::item`] with the mapping's own names, and its size in bytes.
    pub(crate) fn attributes(&self, row: &Row) -> Result<(Vec<(&str, Attr)>, usize)> {
        let mut item = Vec::with_capacity(self.table.columns.len() + 4);
        self.put_key(&row.key, &mut item)?;
        self.lay_rest(row, &mut item)?;
        let size = within_limit(&item)?;
        Ok((item, size))
    }

    /// The attributes of a row's item but for its key, one after the other.
    pub(super) fn lay_rest<'m>(&'m self, row: &Row, item: &mut impl Sink<'m>) -> Result<()> {
        self.put_key_columns(&row.key, item)?;
        self.put_cells(row, item)?;
        for (name, watermark) in self.watermarks.iter().zip(&row.watermarks) {
            if let (Some(name), Some(watermark)) = (name, watermark) {
                item.attr(name.as_str(), Attr::N(watermark.to_string()));
            }
        }
        if let Some(mark) = row.mark {
            item.attr(&self.mark, Attr::S(mark.letter().into()));
        }
        if !row.decided.is_empty() {
            item.attr(&self.decided, self.decided_names(&row.decided)?);
        }
        if let Some(expires) = row.expires {
            item.attr(self.expiry_of_row()?, Attr::N(expires.to_string()));
        }
        Ok(())
    }

    fn put_cells<'m>(&'m self, row: &Row, item: &mut impl Sink<'m>) -> Result<()> {
        let columns = self.table.cells();
        if row.cells.len() != columns.len() {
            let (has, wants) = (row.cells.len(), columns.len());
            let message = format!("a row has {has} cells where the table has {wants} columns");
            return Err(Error::new(Kind::Invalid, message));
        }
        for ((column, form), value) in columns.iter().zip(&self.forms).zip(&row.cells) {
            let Some(value) = value else { continue };
            if column.is_multicell() && is_null(value) {
                continue;
            }
            item.column(column, *form, value)?;
        }
        Ok(())
    }

    /// The row of an item. Attributes that the mapping doesn't know are passed over; an item without a
    /// mark is one that someone else wrote, or that `finish --strip` was at.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if an attribute isn't what its column becomes.
    pub fn row(&self, item: Vec<(String, Attr)>) -> Result<Row> {
        let clustering = self.table.clustering();
        let (mut partition, mut sort) = (None, None);
        let mut own: Vec<Option<Attr>> = vec![None; clustering.len()];
        let mut own_partition: Vec<Option<Attr>> = vec![None; self.table.partition().len()];
        let mut cells = vec![None; self.table.cells().len()];
        let (mut mark, mut expires, mut decided) = (None, None, BTreeSet::new());
        let mut watermarks = Vec::new();
        for (name, attr) in item {
            let Some(slot) = self.slots.get(name.as_str()) else {
                continue;
            };
            match *slot {
                Slot::Partition => partition = Some(attr),
                Slot::Sort => sort = Some(attr),
                Slot::Clustering(at) => own[at] = Some(attr),
                Slot::PartitionColumn(at) => own_partition[at] = Some(attr),
                Slot::Cell(at) => cells[at] = Some(self.read_cell(at, attr)?),
                Slot::Watermark(at) => {
                    watermarks.resize(cells.len(), None);
                    watermarks[at] = Some(integer(&attr).ok_or_else(|| corrupt(&name, "a total"))?);
                }
                Slot::Mark => mark = Some(read_mark(attr).ok_or_else(|| corrupt(&name, "a mark"))?),
                Slot::Decided => decided = self.read_decided(&name, attr)?,
                Slot::Expiry => {
                    let seconds = integer(&attr);
                    expires = Some(seconds.ok_or_else(|| corrupt(&name, "epoch seconds"))?);
                }
            }
        }
        let partition = self.read_partition(partition, own_partition)?;
        let key = match &self.sort {
            None => Key::row(partition, Vec::new()),
            Some(attribute) => Key {
                partition,
                clustering: self.read_sort(attribute, sort, own)?,
            },
        };
        Ok(Row {
            key,
            cells,
            times: Times::OfRow,
            expires,
            mark,
            watermarks,
            decided,
        })
    }

    fn read_cell(&self, at: usize, attr: Attr) -> Result<Value> {
        let column = self.column(at)?;
        let value = match self.forms[at] {
            Some(form) => types::from_formed(attr, &column.ty, form),
            None => types::from_attr(attr, &column.ty),
        };
        value.ok_or_else(|| not_of(column))
    }

    /// A fold in attributes.
    ///
    /// # Errors
    /// As of [`Mapping::key`]; [`Kind::Invalid`] for a move of what isn't a counter.
    pub fn fold(&self, fold: Fold) -> Result<FoldedItem> {
        let key = self.key(&fold.key)?;
        let own = self.key_columns(&fold.key)?;
        let mut moves = Vec::new();
        for (at, step) in fold.moves.into_iter().enumerate() {
            let Some(step) = step else { continue };
            let column = self.table.cells().get(at);
            let (Some(column), Some(Some(watermark))) = (column, self.watermarks.get(at)) else {
                let message = format!("the fold moves column {at}, which isn't a counter");
                return Err(Error::new(Kind::Invalid, message));
            };
            moves.push(FoldedColumn {
                total: column.name.clone(),
                watermark: watermark.clone(),
                step,
            });
        }
        if moves.is_empty() {
            return Err(Error::new(Kind::Invalid, "the fold moves no counter"));
        }
        Ok(FoldedItem { key, own, moves })
    }

    pub(super) fn put_key<'m>(&'m self, key: &Key, out: &mut impl Sink<'m>) -> Result<()> {
        let attr = self.partition_key(&key.partition)?;
        out.attr(&self.partition.name, attr);
        let columns = self.table.clustering();
        let attr = match (&self.sort, &key.clustering) {
            (None, Some(values)) if values.is_empty() => return Ok(()),
            (Some(sort), Some(values)) => match (sort.made, columns, values.as_slice()) {
                (false, [column], [value]) => own_attribute(column, value, sort.ty)?,
                _ => Attr::B(keys::sort_bytes(columns, values)?),
            },
            (Some(sort), None) if sort.made => Attr::B(STATIC_SORT_KEY.to_vec()),
            (None, _) | (Some(_), None) => {
                let message = "the key has no place in a table without such clustering columns";
                return Err(Error::new(Kind::Invalid, message));
            }
        };
        let attr = within(attr, "sort key", SORT_KEY_LIMIT)?;
        if let Some(sort) = &self.sort {
            out.attr(&sort.name, attr);
        }
        Ok(())
    }

    /// The key columns that are attributes of their own beside a made key.
    pub(super) fn put_key_columns<'m>(&'m self, key: &Key, out: &mut impl Sink<'m>) -> Result<()> {
        if self.partition.made {
            put_columns(self.table.partition(), &key.partition, out)?;
        }
        if self.sort.as_ref().is_some_and(|sort| sort.made) {
            let values = key.clustering.as_deref().unwrap_or_default();
            put_columns(self.table.clustering(), values, out)?;
        }
        Ok(())
    }

    fn read_partition(&self, attr: Option<Attr>, own: Vec<Option<Attr>>) -> Result<Vec<Value>> {
        let name = &self.partition.name;
        let columns = self.table.partition();
        let attr = attr.ok_or_else(|| corrupt(name, "there"))?;
        let values = match (attr, columns) {
            (Attr::S(text), _) if self.table.layout.partition_hash && keys::is_hashed(&text) => {
                self.hashed_partition(text, own)?
            }
            (Attr::S(text), _) if self.partition.ty == KeyType::S => {
                keys::partition_values(columns, &text)
            }
            (attr, [column]) if self.partition.ty != KeyType::S => {
                types::from_attr(attr, &column.ty).map(|value| vec![value])
            }
            _ => None,
        };
        values.ok_or_else(|| corrupt(name, "a partition key of this table"))
    }

    /// The values of a hashed partition key, which only the columns' own attributes have.
    fn hashed_partition(&self, hash: String, own: Vec<Option<Attr>>) -> Result<Option<Vec<Value>>> {
        let mut values = Vec::with_capacity(own.len());
        for (column, attr) in self.table.partition().iter().zip(own) {
            let attr = attr.ok_or_else(|| corrupt(&column.name, "there, beside a hashed key"))?;
            values.push(key_value(column, attr)?);
        }
        let is_theirs = self.partition_key(&values)? == Attr::S(hash);
        Ok(is_theirs.then_some(values))
    }

    /// The clustering values, from the sort key; of the types whose sort key doesn't say the very value
    /// from their own attribute, which must be equal in clustering order.
    fn read_sort(
        &self,
        attribute: &KeyAttribute,
        attr: Option<Attr>,
        own: Vec<Option<Attr>>,
    ) -> Result<Option<Vec<Value>>> {
        let wrong = || corrupt(&attribute.name, "a sort key of this table");
        let columns = self.table.clustering();
        let attr = attr.ok_or_else(wrong)?;
        if !attribute.made {
            let [column] = columns else {
                return Err(wrong());
            };
            let value = types::from_attr(attr, &column.ty).ok_or_else(wrong)?;
            return Ok(Some(vec![value]));
        }
        let Attr::B(bytes) = attr else {
            return Err(wrong());
        };
        if bytes == STATIC_SORT_KEY {
            return Ok(None);
        }
        let mut values = keys::sort_values(columns, &bytes).ok_or_else(wrong)?;
        for ((column, attr), value) in columns.iter().zip(own).zip(&mut values) {
            let Some(attr) = attr else { continue };
            if keys::is_exact(&column.ty) {
                continue;
            }
            let exact = key_value(column, attr)?;
            if ordered::compare(&column.ty, &exact, value).is_ne() {
                return Err(corrupt(&column.name, "the value that the sort key has"));
            }
            *value = exact;
        }
        Ok(Some(values))
    }
}

/// Whether two key attributes are the same one: numbers by value.
fn is_same_key(one: &Attr, other: &Attr) -> bool {
    match (one, other) {
        (Attr::N(one), Attr::N(other)) => {
            number::small_integer_of_n(one) == number::small_integer_of_n(other)
        }
        (one, other) => one == other,
    }
}

pub(super) fn owned(attributes: Vec<(&str, Attr)>) -> Vec<(String, Attr)> {
    let owned = |(name, attr): (&str, Attr)| (name.to_owned(), attr);
    attributes.into_iter().map(owned).collect()
}

/// Whether each column of a key has a value of its type.
fn are_of(columns: &[Column], values: &[Value]) -> bool {
    let mut pairs = columns.iter().zip(values);
    columns.len() == values.len() && pairs.all(|(column, value)| cql::is_of(value, &column.ty))
}

fn put_columns<'m>(
    columns: &'m [Column],
    values: &[Value],
    item: &mut impl Sink<'m>,
) -> Result<()> {
    let mut pairs = columns.iter().zip(values);
    pairs.try_for_each(|(column, value)| item.column(column, None, value))
}

/// The value of a key column's own attribute.
fn key_value(column: &Column, attr: Attr) -> Result<Value> {
    types::from_attr(attr, &column.ty).ok_or_else(|| not_of(column))
}

fn not_of(column: &Column) -> Error {
    corrupt(
        &column.name,
        &format!("what a {} becomes", column.cql_type()),
    )
}

fn integer(attr: &Attr) -> Option<i64> {
    match attr {
        Attr::N(text) => number::small_integer_of_n(text),
        _ => None,
    }
}

fn read_mark(attr: Attr) -> Option<Mark> {
    match attr {
        Attr::S(letter) => Mark::from_letter(&letter),
        _ => None,
    }
}

pub(super) fn corrupt(attribute: &str, expected: &str) -> Error {
    let message = format!("the attribute {attribute} of an item isn't {expected}");
    Error::new(Kind::Corrupt, message)
}

/// The attribute of a key column that is the key itself.
pub(super) fn own_attribute(column: &Column, value: &Value, ty: KeyType) -> Result<Attr> {
    let attr = match ty {
        KeyType::S => Some(Attr::S(keys::part_text(column, value)?.into_owned())),
        KeyType::N => text::integer(&column.ty, value).map(|integer| Attr::N(integer.to_string())),
        KeyType::B => match value {
            Value::Blob(bytes) => Some(Attr::B(bytes.clone())),
            _ => None,
        },
    };
    if let Some(attr) = attr.filter(|attr| attr.size() > 0) {
        return Ok(attr);
    }
    let name = &column.name;
    if !cql::to_bytes(value, &column.ty).is_empty() {
        let message = format!("the value of key column {name} isn't a {}", column.ty);
        return Err(Error::new(Kind::Invalid, message));
    }
    let message =
        format!("the key column {name} is empty, which a key attribute of the new store can't be");
    Err(Error::new(Kind::Invalid, message).with_help(
        "a made sort key can hold it: with `keys = { sort = \"sk\" }` in the plan the target table has to be made anew",
    ))
}

/// What the partition key is called.
const PARTITION_KEY: &str = "partition key";

fn within(attr: Attr, what: &str, limit: usize) -> Result<Attr> {
    let size = attr.size();
    if size <= limit {
        return Ok(attr);
    }
    let message = format!("the {what} has more bytes than the {limit} that the new store takes");
    let error = Error::new(Kind::Invalid, message).with_context("bytes", size.to_string());
    Err(match what {
        PARTITION_KEY => error.with_help(
            "with `keys = { partition_hash = true }` in the plan such keys are hashed; the target table has to be \
             made anew",
        ),
        _ => error,
    })
}

/// The item's size, unless it is too large.
fn within_limit(item: &[(&str, Attr)]) -> Result<usize> {
    let size = item_size(item);
    if size <= ITEM_LIMIT {
        return Ok(size);
    }
    let biggest = item.iter().max_by_key(|(_, attr)| attr.size());
    let message = format!("the item has more bytes than the {ITEM_LIMIT} that the new store takes");
    let error = Error::new(Kind::Invalid, message).with_context("bytes", size.to_string());
    Err(match biggest {
        Some((name, attr)) => {
            error.with_context("biggest column", format!("{name} with {}", attr.size()))
        }
        None => error,
    })
}
