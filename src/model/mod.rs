//! Keys, values and rows, as every store and the protocol see them: CQL's data model without loss.
//!
//! A [`Value`] keeps exactly what Cassandra keeps: [`crate::codec::cql`] turns any bytes of any type into
//! one, and it into the same bytes again. Equality is equality of those bytes, so `NaN` equals
//! itself, `-0.0` differs from `0.0`, and a varint written with a leading zero byte differs from
//! one without.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

mod change;
mod condition;
mod range;
mod rule;
mod times;
mod tokens;

pub use change::{Change, Edit, Mutation, Update};
pub use condition::{Condition, ItemState};
pub use range::{ClusteringRange, Query};
pub use rule::{Edits, Judge, Judged, Looks, Returns, Rule, Then};
pub use times::{CellTimes, End, Ends, Times};
pub use tokens::{Intervals, Tokens};

/// An `f32` compared by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct F32(u32);

/// An `f64` compared by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct F64(u64);

impl F32 {
    /// The number.
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
    /// Its bits, NaN payload included.
    pub fn bits(self) -> u32 {
        self.0
    }
    /// From bits.
    pub fn from_bits(bits: u32) -> Self {
        F32(bits)
    }
}

impl F64 {
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
    /// Its bits, NaN payload included.
    pub fn bits(self) -> u64 {
        self.0
    }
    /// From bits.
    pub fn from_bits(bits: u64) -> Self {
        F64(bits)
    }
}

impl From<f32> for F32 {
    fn from(value: f32) -> Self {
        F32(value.to_bits())
    }
}

impl From<f64> for F64 {
    fn from(value: f64) -> Self {
        F64(value.to_bits())
    }
}

impl fmt::Debug for F32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

impl fmt::Debug for F64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

/// One value of a column, or inside a collection. Null is `Option::None` around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A zero-length value of a type whose values have a length (CQL's "empty", which isn't null).
    Empty,
    /// `ascii`, `text`, `varchar`.
    Text(String),
    /// `blob`, and values of custom types.
    Blob(Vec<u8>),
    /// `boolean`.
    Boolean(bool),
    /// `tinyint`.
    TinyInt(i8),
    /// `smallint`.
    SmallInt(i16),
    /// `int`.
    Int(i32),
    /// `bigint`, and a counter's total.
    BigInt(i64),
    /// `varint`: two's complement, big-endian, as stored (also if not the shortest form).
    Varint(Vec<u8>),
    /// `decimal`: `unscaled * 10^-scale`, unscaled as in [`Value::Varint`].
    Decimal {
        /// Two's complement, big-endian.
        unscaled: Vec<u8>,
        /// Digits after the point.
        scale: i32,
    },
    /// `float`.
    Float(F32),
    /// `double`.
    Double(F64),
    /// `uuid`, `timeuuid`.
    Uuid([u8; 16]),
    /// `timestamp`: milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// `date`: days since 1970-01-01, plus 2^31.
    Date(u32),
    /// `time`: nanoseconds since midnight.
    Time(i64),
    /// `inet`.
    Inet(IpAddr),
    /// `duration`: months, days and nanoseconds, which can't be turned into each other.
    Duration {
        /// Months.
        months: i32,
        /// Days.
        days: i32,
        /// Nanoseconds.
        nanos: i64,
    },
    /// `list<T>`.
    List(Vec<Value>),
    /// `set<T>`, in the order it was read.
    Set(Vec<Value>),
    /// `map<K, V>`, in the order it was read.
    Map(Vec<(Value, Value)>),
    /// `tuple<…>`; may be shorter than the type (missing fields are null).
    Tuple(Vec<Option<Value>>),
    /// A user-defined type's fields in order; may be shorter than the type (missing fields are null).
    Udt(Vec<Option<Value>>),
    /// `vector<T, n>`.
    Vector(Vec<Value>),
    /// Bytes that the server holds though they don't follow the type: a boolean of 2, a frozen list
    /// with a null inside. They are kept as they are.
    Raw(Vec<u8>),
}

impl Value {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    /// About how many bytes it takes in memory and on the wire: for bounding what is in flight.
    pub fn weight(&self) -> usize {
        8 + match self {
            Value::Text(text) => text.len(),
            Value::Blob(bytes) | Value::Varint(bytes) | Value::Raw(bytes) => bytes.len(),
            Value::Decimal { unscaled, .. } => unscaled.len() + 4,
            Value::List(values) | Value::Set(values) | Value::Vector(values) => {
                values.iter().map(Value::weight).sum()
            }
            Value::Map(pairs) => pairs.iter().map(|(k, v)| k.weight() + v.weight()).sum(),
            Value::Tuple(fields) | Value::Udt(fields) => {
                fields.iter().flatten().map(Value::weight).sum()
            }
            Value::Empty
            | Value::Boolean(_)
            | Value::TinyInt(_)
            | Value::SmallInt(_)
            | Value::Int(_)
            | Value::BigInt(_)
            | Value::Float(_)
            | Value::Double(_)
            | Value::Uuid(_)
            | Value::Timestamp(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Inet(_)
            | Value::Duration { .. } => 8,
        }
    }
}

/// A row's primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The partition key columns, in order.
    pub partition: Vec<Value>,
    /// The clustering columns, in order (none for a table without); `None` means the partition's
    /// static row.
    pub clustering: Option<Vec<Value>>,
}

impl Key {
    /// The key of a row.
    pub fn row(partition: Vec<Value>, clustering: Vec<Value>) -> Self {
        Key {
            partition,
            clustering: Some(clustering),
        }
    }

    /// The place of a partition's static columns.
    pub fn statics(partition: Vec<Value>) -> Self {
        Key {
            partition,
            clustering: None,
        }
    }

    /// Whether this is the place of a partition's static columns.
    pub fn is_static(&self) -> bool {
        self.clustering.is_none()
    }
}

/// Who wrote an item of the new store last. Not set in old stores, nor once `finish --strip` is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// `c`: the copier.
    Copied,
    /// `r`: a shim that found it in the old store.
    Resaved,
    /// `a`: the application.
    Application,
    /// `t`: a deleted row, kept so that the old store's isn't seen again.
    Tombstone,
    /// `k`: some columns, written by the application before the row had been copied.
    Partial,
}

impl Mark {
    /// The letter it is stored as.
    pub fn letter(self) -> &'static str {
        match self {
            Mark::Copied => "c",
            Mark::Resaved => "r",
            Mark::Application => "a",
            Mark::Tombstone => "t",
            Mark::Partial => "k",
        }
    }

    /// From the letter it is stored as.
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "c" => Some(Mark::Copied),
            "r" => Some(Mark::Resaved),
            "a" => Some(Mark::Application),
            "t" => Some(Mark::Tombstone),
            "k" => Some(Mark::Partial),
            _ => None,
        }
    }
}

/// A row, or a partition's static columns, with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Its key.
    pub key: Key,
    /// The columns outside the key, in the order of [`crate::schema::Table::cells`]; `None` is null.
    /// A row leaves the static ones null, a static row the others.
    pub cells: Vec<Option<Value>>,
    /// When its cells end and were written.
    pub times: Times,
    /// When the whole row expires, seconds since 1970: an item of the new store.
    pub expires: Option<i64>,
    /// Who wrote it: an item of the new store.
    pub mark: Option<Mark>,
    /// Of counters in the new store, in the order of `cells`: how much of the old total is inside
    /// the value. Empty where there is none.
    pub watermarks: Vec<Option<i64>>,
    /// Of a partial item ([`Mark::Partial`]): which of `cells` it decides, be it that they are null.
    /// The others are the old store's. Empty for everything else.
    pub decided: BTreeSet<usize>,
}

impl Row {
    /// A row without times and mark.
    pub fn new(key: Key, cells: Vec<Option<Value>>) -> Self {
        Row {
            key,
            cells,
            times: Times::OfRow,
            expires: None,
            mark: None,
            watermarks: Vec::new(),
            decided: BTreeSet::new(),
        }
    }

    /// The tombstone of a row that would have so many cells.
    pub fn tombstone(key: Key, cells: usize) -> Self {
        Row {
            mark: Some(Mark::Tombstone),
            ..Row::new(key, vec![None; cells])
        }
    }

    /// About how many bytes it takes in memory and on the wire.
    pub fn weight(&self) -> usize {
        let key = self
            .key
            .partition
            .iter()
            .chain(self.key.clustering.iter().flatten());
        64 + key
            .chain(self.cells.iter().flatten())
            .map(Value::weight)
            .sum::<usize>()
    }
}

/// The fold of one counter row: what moves from the old totals into the new store, all columns in
/// one conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The row's key.
    pub key: Key,
    /// In the order of [`crate::schema::Table::cells`]; `None` leaves a column as it is.
    pub moves: Vec<Option<Move>>,
}

/// What a fold does to one counter: adds `to - from` to its value and sets its watermark to `to`,
/// on the condition that the watermark is still `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// The watermark that was read; `None` if there was none, which counts as 0.
    pub from: Option<i64>,
    /// The old store's total.
    pub to: i64,
}

impl Move {
    /// What is added to the counter's value. Two totals may be further apart than an `i64` reaches.
    pub fn by(self) -> i128 {
        i128::from(self.to) - i128::from(self.from.unwrap_or(0))
    }
}

/// What an application adds to the counters of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// The row's key.
    pub key: Key,
    /// How much, in the order of [`crate::schema::Table::cells`]; `None` leaves a column as it is.
    pub by: Vec<Option<i64>>,
    /// The mark that an item of the new store has afterwards.
    pub mark: Option<Mark>,
    /// A name of this very add. With it the new store adds once, however often it is sent within
    /// ten minutes.
    pub token: Option<String>,
}
