//! Typed tables: CQL's types, columns and keys, and how a table is laid out in the new store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

mod parse;

#[cfg(feature = "_store")]
mod stored;
#[cfg(feature = "_store")]
pub use stored::StoredTable;

/// A CQL type. Types inside a collection, tuple or user-defined type are always frozen; whether a
/// column itself is, is in [`Column::frozen`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the CQL names say it
pub enum Type {
    Ascii,
    Text,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Counter,
    Varint,
    Decimal,
    Float,
    Double,
    Boolean,
    Blob,
    Uuid,
    TimeUuid,
    Timestamp,
    Date,
    Time,
    Inet,
    Duration,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
    Udt(Arc<Udt>),
    /// Element type and dimension.
    Vector(Box<Type>, u16),
    /// A server-side Java class; its values are [`crate::model::Value::Blob`].
    Custom(String),
}

/// A user-defined type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Udt {
    /// Its name, without the keyspace.
    pub name: String,
    /// Field names and types, in order.
    pub fields: Vec<(String, Type)>,
}

/// Order of a clustering column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Ascending.
    Asc,
    /// Descending.
    Desc,
}

/// What a column is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Part of the partition key.
    Partition,
    /// Part of the clustering key.
    Clustering(Order),
    /// One value for the whole partition.
    Static,
    /// An ordinary column.
    Regular,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name, as stored (case kept, no quotes).
    pub name: String,
    /// Its type, without an outer `frozen`.
    pub ty: Type,
    /// Whether the type is wrapped in `frozen<…>`. Always true in a key.
    pub frozen: bool,
    /// What it is in its table.
    pub role: Role,
}

impl Column {
    /// A column whose type isn't frozen.
    pub fn new(name: impl Into<String>, ty: Type, role: Role) -> Self {
        Column {
            name: name.into(),
            ty,
            frozen: false,
            role,
        }
    }

    /// Whether each element is a cell of its own (a collection or user-defined type that isn't frozen).
    pub fn is_multicell(&self) -> bool {
        !self.frozen
            && matches!(
                self.ty,
                Type::List(_) | Type::Set(_) | Type::Map(..) | Type::Udt(_)
            )
    }

    /// The type as CQL writes it for this column.
    pub fn cql_type(&self) -> String {
        if self.frozen {
            inner(&self.ty)
        } else {
            self.ty.to_string()
        }
    }
}

/// The form of a column's attribute, where it isn't the usual one of the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "_store",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum Form {
    /// A number as its decimal text.
    Text,
    /// A decimal as a number.
    Number,
}

impl Form {
    /// Every one with its name in a plan.
    pub const NAMES: &[(&str, Form)] = &[("text", Form::Text), ("number", Form::Number)];

    /// Its name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Form::Text => "text",
            Form::Number => "number",
        }
    }

    /// Whether values of this type can have it. A counter can't be added to as text.
    pub fn fits(self, ty: &Type) -> bool {
        match self {
            Form::Text => matches!(
                ty,
                Type::TinyInt
                    | Type::SmallInt
                    | Type::Int
                    | Type::BigInt
                    | Type::Varint
                    | Type::Decimal
            ),
            Form::Number => *ty == Type::Decimal,
        }
    }
}

/// A table's layout in the new store, where the columns alone don't say it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "_store", derive(serde::Serialize, serde::Deserialize))]
pub struct Layout {
    /// The name of the partition key attribute, which is then made of the key columns' text. `None`
    /// makes one (`pk`) only where a single column's own attribute can't be the key.
    pub partition_attribute: Option<String>,
    /// The name of the sort key attribute, which is then made of the clustering columns' order-keeping
    /// bytes. `None` makes one (`sk`) only where a single column's own attribute can't be the key.
    pub sort_attribute: Option<String>,
    /// Whether partition keys that are too long are hashed. The partition key attribute is made then.
    #[cfg_attr(
        feature = "_store",
        serde(default, skip_serializing_if = "std::ops::Not::not")
    )]
    pub partition_hash: bool,
    /// What reserved attributes begin with (default `_`).
    pub reserved_prefix: String,
    /// The attribute that holds a row's expiry in epoch seconds.
    pub expiry_attribute: Option<String>,
    /// The columns outside the key whose attribute has another form than usual.
    #[cfg_attr(
        feature = "_store",
        serde(default, skip_serializing_if = "BTreeMap::is_empty")
    )]
    pub forms: BTreeMap<String, Form>,
}

impl Default for Layout {
    fn default() -> Self {
        Layout {
            partition_attribute: None,
            sort_attribute: None,
            partition_hash: false,
            reserved_prefix: "_".into(),
            expiry_attribute: None,
            forms: BTreeMap::new(),
        }
    }
}

/// A table: its name in one store, and its columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// Its name in its store.
    pub name: String,
    /// Partition key columns in order, clustering columns in order, then static and regular ones
    /// by name.
    pub columns: Vec<Column>,
    /// Its layout in the new store.
    pub layout: Layout,
    /// Whether rows that are read of it tell all of their cells' times, where the store can: it takes
    /// them to say when a row ends.
    pub tells_times: bool,
}

impl Table {
    /// A table with its columns brought into the order that every row follows. Columns of a key
    /// must be given in key order.
    pub fn new(name: impl Into<String>, columns: Vec<Column>) -> Self {
        let mut columns = columns;
        columns.sort_by(|a, b| {
            let rank = |role: Role| match role {
                Role::Partition => 0,
                Role::Clustering(_) => 1,
                Role::Static => 2,
                Role::Regular => 3,
            };
            rank(a.role).cmp(&rank(b.role)).then_with(|| match a.role {
                Role::Partition | Role::Clustering(_) => std::cmp::Ordering::Equal,
                Role::Static | Role::Regular => a.name.cmp(&b.name),
            })
        });
        Table {
            name: name.into(),
            columns,
            layout: Layout::default(),
            tells_times: false,
        }
    }

    /// The partition key columns, in order.
    pub fn partition(&self) -> &[Column] {
        &self.columns[..self.partition_len()]
    }

    /// The clustering columns, in order.
    pub fn clustering(&self) -> &[Column] {
        &self.columns[self.partition_len()..self.key_len()]
    }

    /// The columns outside the key: static ones, then regular ones, each by name. A row's `cells`
    /// follow this order.
    pub fn cells(&self) -> &[Column] {
        &self.columns[self.key_len()..]
    }

    /// Whether it has static columns.
    pub fn has_statics(&self) -> bool {
        self.cells()
            .iter()
            .any(|column| column.role == Role::Static)
    }

    /// Whether it is a counter table.
    pub fn is_counter(&self) -> bool {
        self.cells().iter().any(|column| column.ty == Type::Counter)
    }

    /// The place of a column among [`Table::cells`].
    pub fn cell(&self, name: &str) -> Option<usize> {
        self.cells().iter().position(|column| column.name == name)
    }

    fn partition_len(&self) -> usize {
        self.columns
            .iter()
            .take_while(|column| column.role == Role::Partition)
            .count()
    }

    fn key_len(&self) -> usize {
        self.columns
            .iter()
            .take_while(|column| matches!(column.role, Role::Partition | Role::Clustering(_)))
            .count()
    }
}

fn frozen(ty: &Type) -> String {
    format!("frozen<{ty}>")
}

fn inner(ty: &Type) -> String {
    match ty {
        Type::List(_) | Type::Set(_) | Type::Map(..) | Type::Tuple(_) | Type::Udt(_) => frozen(ty),
        Type::Ascii
        | Type::Text
        | Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Counter
        | Type::Varint
        | Type::Decimal
        | Type::Float
        | Type::Double
        | Type::Boolean
        | Type::Blob
        | Type::Uuid
        | Type::TimeUuid
        | Type::Timestamp
        | Type::Date
        | Type::Time
        | Type::Inet
        | Type::Duration
        | Type::Vector(..)
        | Type::Custom(_) => ty.to_string(),
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simple = match self {
            Type::Ascii => "ascii",
            Type::Text => "text",
            Type::TinyInt => "tinyint",
            Type::SmallInt => "smallint",
            Type::Int => "int",
            Type::BigInt => "bigint",
            Type::Counter => "counter",
            Type::Varint => "varint",
            Type::Decimal => "decimal",
            Type::Float => "float",
            Type::Double => "double",
            Type::Boolean => "boolean",
            Type::Blob => "blob",
            Type::Uuid => "uuid",
            Type::TimeUuid => "timeuuid",
            Type::Timestamp => "timestamp",
            Type::Date => "date",
            Type::Time => "time",
            Type::Inet => "inet",
            Type::Duration => "duration",
            Type::List(element) => return write!(f, "list<{}>", inner(element)),
            Type::Set(element) => return write!(f, "set<{}>", inner(element)),
            Type::Map(key, value) => return write!(f, "map<{}, {}>", inner(key), inner(value)),
            Type::Tuple(fields) => {
                let fields: Vec<String> = fields.iter().map(inner).collect();
                return write!(f, "tuple<{}>", fields.join(", "));
            }
            // `system_schema` leaves out these quotes, so that a type `int` there may be either.
            Type::Udt(udt) if is_built_in(&udt.name) => return write!(f, "\"{}\"", udt.name),
            Type::Udt(udt) => return f.write_str(&quoted(&udt.name)),
            Type::Vector(element, dimension) => {
                return write!(f, "vector<{}, {dimension}>", inner(element));
            }
            Type::Custom(class) => return write!(f, "'{class}'"),
        };
        f.write_str(simple)
    }
}

/// A name as CQL wants it: in double quotes unless it is plain lower case.
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

impl Type {
    /// The types directly inside it: elements, keys and values, fields. A scalar has none.
    pub fn inside(&self) -> Vec<&Type> {
        match self {
            Type::List(element) | Type::Set(element) | Type::Vector(element, _) => vec![element],
            Type::Map(key, value) => vec![key, value],
            Type::Tuple(fields) => fields.iter().collect(),
            Type::Udt(udt) => udt.fields.iter().map(|(_, field)| field).collect(),
            Type::Ascii
            | Type::Text
            | Type::TinyInt
            | Type::SmallInt
            | Type::Int
            | Type::BigInt
            | Type::Counter
            | Type::Varint
            | Type::Decimal
            | Type::Float
            | Type::Double
            | Type::Boolean
            | Type::Blob
            | Type::Uuid
            | Type::TimeUuid
            | Type::Timestamp
            | Type::Date
            | Type::Time
            | Type::Inet
            | Type::Duration
            | Type::Custom(_) => Vec::new(),
        }
    }

    /// Whether it is a custom type, or has one inside.
    pub fn has_custom(&self) -> bool {
        matches!(self, Type::Custom(_)) || self.inside().into_iter().any(Type::has_custom)
    }

    /// Adds the user-defined types it is made of, each before those that use it.
    pub fn collect_udts(&self, found: &mut Vec<Arc<Udt>>) {
        for inside in self.inside() {
            inside.collect_udts(found);
        }
        if let Type::Udt(udt) = self
            && !found.contains(udt)
        {
            found.push(udt.clone());
        }
    }
}

/// Built-in types that are followed by others in angle brackets.
fn takes_types(name: &str) -> bool {
    matches!(name, "frozen" | "list" | "set" | "map" | "tuple" | "vector")
}

/// Whether a name means a type of CQL's own, unless it is quoted.
pub(crate) fn is_built_in(name: &str) -> bool {
    takes_types(name)
        || matches!(
            name,
            "ascii"
                | "text"
                | "varchar"
                | "tinyint"
                | "smallint"
                | "int"
                | "bigint"
                | "counter"
                | "varint"
                | "decimal"
                | "float"
                | "double"
                | "boolean"
                | "blob"
                | "uuid"
                | "timeuuid"
                | "timestamp"
                | "date"
                | "time"
                | "inet"
                | "duration"
                | "empty"
        )
}
