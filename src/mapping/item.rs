//! Rows as items, and back.

use std::collections::HashMap;

use super::attr::{Attr, ITEM_LIMIT, item_size};
use super::keys::{self, PARTITION_KEY_LIMIT, SORT_KEY_LIMIT, STATIC_SORT_KEY};
use super::{number, text, types};
use crate::cql;
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Mark, Row, Value};
use crate::schema::{Column, Role, Table, Type};

/// The type of a key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

/// A key attribute of the new store's table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: KeyType,
    /// Whether it is made of key columns (`pk`, `sk`), which then are attributes of their own too;
    /// else it is the attribute of the only column of its part of the key.
    pub made: bool,
}

/// How the rows of one table become items: compiled once, used for every row.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub(super) table: Table,
    pub(super) partition: KeyAttribute,
    pub(super) sort: Option<KeyAttribute>,
    pub(super) mark: String,
    slots: HashMap<String, Slot>,
}

/// What an attribute's name stands for.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Partition,
    Sort,
    /// A clustering column's own attribute beside a made sort key.
    Clustering(usize),
    Cell(usize),
    Mark,
    Expiry,
}

impl Mapping {
    /// The mapping of a table as it lies in the new store (its columns and its layout).
    ///
    /// # Errors
    /// [`Kind::Config`] with everything that is wrong at once: attribute names that clash, are empty or
    /// too long for a key, a `sort_attribute` without clustering columns, key columns of a type that no
    /// key can have.
    pub fn new(table: &Table) -> Result<Mapping> {
        let partition = partition_attribute(table);
        let sort = sort_attribute(table);
        let prefix = &table.layout.reserved_prefix;
        let mark = format!("{prefix}m");
        let wrong = wrong_with(table, &partition, sort.as_ref(), &mark);
        if !wrong.is_empty() {
            return Err(Error::new(Kind::Config, wrong.join("; "))
                .at("table", &table.name)
                .help("name the key attributes with `keys = { partition = \"…\", sort = \"…\" }`, the reserved ones with `reserved_prefix`, or rename the column in the plan"));
        }
        let mut slots = HashMap::new();
        if sort.as_ref().is_some_and(|sort| sort.made) {
            let columns = table.clustering().iter().enumerate();
            slots.extend(columns.map(|(at, column)| (column.name.clone(), Slot::Clustering(at))));
        }
        let cells = table.cells().iter().enumerate();
        slots.extend(cells.map(|(at, column)| (column.name.clone(), Slot::Cell(at))));
        slots.insert(partition.name.clone(), Slot::Partition);
        slots.extend(sort.iter().map(|sort| (sort.name.clone(), Slot::Sort)));
        slots.insert(mark.clone(), Slot::Mark);
        let expiry = table.layout.expiry_attribute.iter();
        slots.extend(expiry.map(|name| (name.clone(), Slot::Expiry)));
        Ok(Mapping {
            table: table.clone(),
            partition,
            sort,
            mark,
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

    /// The key attributes of a key: one, or two if the table has a sort key.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the new store can't have such a key: over 2048 or 1024 bytes, or empty.
    pub fn key(&self, key: &Key) -> Result<Vec<(String, Attr)>> {
        let mut attributes = Vec::with_capacity(2);
        self.put_key(key, &mut attributes)?;
        Ok(attributes)
    }

    /// The partition key attribute's value.
    ///
    /// # Errors
    /// As of [`Mapping::key`].
    pub fn partition_key(&self, values: &[Value]) -> Result<Attr> {
        let columns = self.table.partition();
        let attr = match (self.partition.made, columns, values) {
            (false, [column], [value]) => own_attribute(column, value, self.partition.ty)?,
            _ => Attr::S(keys::partition_text(columns, values)?),
        };
        within(attr, "partition key", PARTITION_KEY_LIMIT)
    }

    /// The whole item of a row: key, key columns beside a made key, cells, mark and expiry. What a row
    /// tells of its cells' times is left out; [`super::Transform`] makes an expiry of it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the new store can't hold it: its key (see [`Mapping::key`]), more than
    /// [`ITEM_LIMIT`] bytes, an expiry without an attribute for it, values not of their column's type.
    pub fn item(&self, row: Row) -> Result<Vec<(String, Attr)>> {
        let columns = self.table.cells();
        if row.cells.len() != columns.len() {
            let (has, wants) = (row.cells.len(), columns.len());
            let message = format!("a row has {has} cells where the table has {wants} columns");
            return Err(Error::new(Kind::Invalid, message));
        }
        let mut item = Vec::with_capacity(self.table.columns.len() + 4);
        self.put_key(&row.key, &mut item)?;
        if self.partition.made {
            put_columns(self.table.partition(), row.key.partition, &mut item)?;
        }
        if self.sort.as_ref().is_some_and(|sort| sort.made) {
            let values = row.key.clustering.unwrap_or_default();
            put_columns(self.table.clustering(), values, &mut item)?;
        }
        for (column, value) in columns.iter().zip(row.cells) {
            let Some(value) = value else { continue };
            if column.is_multicell() && is_null(&value) {
                continue;
            }
            put_column(column, value, &mut item)?;
        }
        if let Some(mark) = row.mark {
            item.push((self.mark.clone(), Attr::S(mark.letter().into())));
        }
        if let Some(expires) = row.expires {
            let Some(name) = &self.table.layout.expiry_attribute else {
                return Err(Error::new(
                    Kind::Invalid,
                    "the row expires, and there is no attribute to keep that in",
                )
                .help("add `expiry = { attribute = \"expires_at\", from = \"max\" }` to the table in the plan"));
            };
            item.push((name.clone(), Attr::N(expires.to_string())));
        }
        within_limit(&item)?;
        Ok(item)
    }

    /// The row of an item. Attributes that the mapping doesn't know are passed over; an item without a
    /// mark is one that somebody else wrote, or that `finish --strip` was at.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if an attribute isn't what its column becomes.
    pub fn row(&self, item: Vec<(String, Attr)>) -> Result<Row> {
        let clustering = self.table.clustering();
        let (mut partition, mut sort) = (None, None);
        let mut own: Vec<Option<Attr>> = vec![None; clustering.len()];
        let mut cells = vec![None; self.table.cells().len()];
        let (mut mark, mut expires) = (None, None);
        for (name, attr) in item {
            let Some(slot) = self.slots.get(name.as_str()) else {
                continue;
            };
            match *slot {
                Slot::Partition => partition = Some(attr),
                Slot::Sort => sort = Some(attr),
                Slot::Clustering(at) => own[at] = Some(attr),
                Slot::Cell(at) => cells[at] = Some(cell(&self.table.cells()[at], attr)?),
                Slot::Mark => mark = Some(read_mark(attr).ok_or_else(|| corrupt(&name, "a mark"))?),
                Slot::Expiry => {
                    let seconds = match attr {
                        Attr::N(text) => number::small_integer_of_n(&text),
                        _ => None,
                    };
                    expires = Some(seconds.ok_or_else(|| corrupt(&name, "epoch seconds"))?);
                }
            }
        }
        let partition = self.read_partition(partition)?;
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
            times: Vec::new(),
            expires,
            mark,
            watermarks: Vec::new(),
        })
    }

    fn put_key(&self, key: &Key, out: &mut Vec<(String, Attr)>) -> Result<()> {
        let attr = self.partition_key(&key.partition)?;
        out.push((self.partition.name.clone(), attr));
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
        out.extend(self.sort.iter().map(|sort| sort.name.clone()).zip([attr]));
        Ok(())
    }

    fn read_partition(&self, attr: Option<Attr>) -> Result<Vec<Value>> {
        let name = &self.partition.name;
        let columns = self.table.partition();
        let attr = attr.ok_or_else(|| corrupt(name, "there"))?;
        let values = match (attr, columns) {
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
            let exact = cell(column, attr)?;
            if keys::compare(&column.ty, &exact, value).is_ne() {
                return Err(corrupt(&column.name, "the value that the sort key has"));
            }
            *value = exact;
        }
        Ok(Some(values))
    }
}

/// A collection or user-defined type of cells, without any: null in CQL.
fn is_null(value: &Value) -> bool {
    match value {
        Value::List(values) | Value::Set(values) => values.is_empty(),
        Value::Map(pairs) => pairs.is_empty(),
        Value::Udt(fields) => fields.iter().all(Option::is_none),
        _ => false,
    }
}

fn put_columns(
    columns: &[Column],
    values: Vec<Value>,
    item: &mut Vec<(String, Attr)>,
) -> Result<()> {
    let mut pairs = columns.iter().zip(values);
    pairs.try_for_each(|(column, value)| put_column(column, value, item))
}

fn put_column(column: &Column, value: Value, item: &mut Vec<(String, Attr)>) -> Result<()> {
    let attr = types::to_attr(value, &column.ty, column.is_multicell()).ok_or_else(|| {
        let message = format!("a value of column {} isn't a {}", column.name, column.ty);
        Error::new(Kind::Invalid, message)
    })?;
    item.push((column.name.clone(), attr));
    Ok(())
}

fn cell(column: &Column, attr: Attr) -> Result<Value> {
    types::from_attr(attr, &column.ty).ok_or_else(|| {
        corrupt(
            &column.name,
            &format!("what a {} becomes", column.cql_type()),
        )
    })
}

fn read_mark(attr: Attr) -> Option<Mark> {
    match attr {
        Attr::S(letter) => Mark::from_letter(&letter),
        _ => None,
    }
}

fn corrupt(attribute: &str, expected: &str) -> Error {
    let message = format!("the attribute {attribute} of an item isn't {expected}");
    Error::new(Kind::Corrupt, message)
}

/// The attribute of a key column that is the key itself.
fn own_attribute(column: &Column, value: &Value, ty: KeyType) -> Result<Attr> {
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
    Err(Error::new(Kind::Invalid, message).help(
        "a made sort key can hold it: with `keys = { sort = \"sk\" }` in the plan the target table has to be made anew",
    ))
}

fn within(attr: Attr, what: &str, limit: usize) -> Result<Attr> {
    let size = attr.size();
    if size <= limit {
        return Ok(attr);
    }
    let message = format!("the {what} has {size} bytes, the new store takes {limit}");
    Err(Error::new(Kind::Invalid, message))
}

fn within_limit(item: &[(String, Attr)]) -> Result<()> {
    let size = item_size(item);
    if size <= ITEM_LIMIT {
        return Ok(());
    }
    let biggest = item.iter().max_by_key(|(_, attr)| attr.size());
    let biggest = biggest.map_or(String::new(), |(name, attr)| {
        format!("; its biggest column, {name}, has {}", attr.size())
    });
    let message = format!("the item has {size} bytes, the new store takes {ITEM_LIMIT}{biggest}");
    Err(Error::new(Kind::Invalid, message))
}

fn partition_attribute(table: &Table) -> KeyAttribute {
    let layout = &table.layout;
    let own = match (table.partition(), &layout.partition_attribute) {
        ([column], None) => own_partition_type(&column.ty).map(|ty| (column.name.clone(), ty)),
        _ => None,
    };
    match own {
        Some((name, ty)) => KeyAttribute {
            name,
            ty,
            made: false,
        },
        None => KeyAttribute {
            name: layout.partition_attribute.clone().unwrap_or("pk".into()),
            ty: KeyType::S,
            made: true,
        },
    }
}

fn own_partition_type(ty: &Type) -> Option<KeyType> {
    match ty {
        Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Date
        | Type::Time
        | Type::Timestamp => Some(KeyType::N),
        Type::Blob => Some(KeyType::B),
        Type::Text | Type::Ascii | Type::Uuid | Type::TimeUuid | Type::Inet | Type::Decimal => {
            Some(KeyType::S)
        }
        Type::Counter
        | Type::Varint
        | Type::Float
        | Type::Double
        | Type::Boolean
        | Type::Duration
        | Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..)
        | Type::Custom(_) => None,
    }
}

fn sort_attribute(table: &Table) -> Option<KeyAttribute> {
    let layout = &table.layout;
    let own = match (table.clustering(), &layout.sort_attribute) {
        ([], _) => return None,
        ([column], None) if !table.has_statics() => {
            own_sort_type(&column.ty).map(|ty| (column.name.clone(), ty))
        }
        _ => None,
    };
    Some(match own {
        Some((name, ty)) => KeyAttribute {
            name,
            ty,
            made: false,
        },
        None => KeyAttribute {
            name: layout.sort_attribute.clone().unwrap_or("sk".into()),
            ty: KeyType::B,
            made: true,
        },
    })
}

/// The types whose own attribute sorts as the column does.
fn own_sort_type(ty: &Type) -> Option<KeyType> {
    match ty {
        Type::Text | Type::Ascii => Some(KeyType::S),
        _ if text::is_integer(ty) => Some(KeyType::N),
        _ => None,
    }
}

fn wrong_with(
    table: &Table,
    partition: &KeyAttribute,
    sort: Option<&KeyAttribute>,
    mark: &str,
) -> Vec<String> {
    const NAME_LIMIT: usize = 255;
    let layout = &table.layout;
    let mut wrong = Vec::new();
    if table.partition().is_empty() {
        wrong.push("the table has no partition key".to_owned());
    }
    if let (None, Some(name)) = (sort, &layout.sort_attribute) {
        wrong.push(format!(
            "a sort key {name} is named, but the table has no clustering column"
        ));
    }
    for column in &table.columns {
        let in_key = matches!(column.role, Role::Partition | Role::Clustering(_));
        if in_key && matches!(column.ty, Type::Duration | Type::Counter) {
            wrong.push(format!(
                "the column {} is a {}, which no key can hold",
                column.name, column.ty
            ));
        }
    }
    for key in [Some(partition), sort].into_iter().flatten() {
        if key.name.is_empty() || key.name.len() > NAME_LIMIT {
            wrong.push(format!(
                "the key attribute \"{}\" has {} bytes in its name, and must have 1 to {NAME_LIMIT}",
                key.name,
                key.name.len()
            ));
        }
    }
    let mut owners: HashMap<String, String> = HashMap::new();
    let mut claim = |name: &str, owner: String| match owners.get(name) {
        Some(first) => wrong.push(format!(
            "the attribute name {name} is wanted by {first} and by {owner}"
        )),
        None => {
            owners.insert(name.to_owned(), owner);
        }
    };
    let prefix = &layout.reserved_prefix;
    claim(mark, "the mark".into());
    claim(
        &format!("{prefix}d"),
        "the columns of a partial item".into(),
    );
    for column in table
        .cells()
        .iter()
        .filter(|column| column.ty == Type::Counter)
    {
        let owner = format!("the watermark of {}", column.name);
        claim(&format!("{prefix}w_{}", column.name), owner);
    }
    for (key, owner) in [(Some(partition), "partition"), (sort, "sort")] {
        if let Some(key) = key.filter(|key| key.made) {
            claim(&key.name, format!("the made {owner} key"));
        }
    }
    if let Some(name) = &layout.expiry_attribute {
        claim(name, "the expiry".into());
    }
    for column in &table.columns {
        claim(&column.name, "a column".to_owned());
    }
    wrong
}
