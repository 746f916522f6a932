//! What becomes of each column, for people.

use super::attributes::KeyAttribute;
use super::mapping::Mapping;
use super::types::{self, NativeSet};
use crate::schema::{Column, Form, Role, Type};

/// What becomes of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnReport {
    /// The column's name in the new table.
    pub column: String,
    /// Its CQL type.
    pub cql_type: String,
    /// The attribute that holds it.
    pub attribute: String,
    /// The attribute's form: `N`, `SS`, `L of S`; for key columns also their place in the key.
    pub form: String,
    /// What is kept in another form, or needs care; empty if nothing does.
    pub note: String,
}

impl Mapping {
    /// What becomes of each column, in the order of the table.
    pub fn describe(&self) -> Vec<ColumnReport> {
        let columns = self.table.columns.iter();
        columns.map(|column| self.describe_one(column)).collect()
    }

    fn describe_one(&self, column: &Column) -> ColumnReport {
        let own = form(&column.ty, column.is_multicell());
        let (form, mut note) = match (column.role, &self.sort) {
            (Role::Partition, _) => in_key(&self.partition, own, column),
            (Role::Clustering(_), Some(sort)) => in_key(sort, own, column),
            (Role::Clustering(_), None) | (Role::Static | Role::Regular, _) => {
                match self.table.layout.forms.get(&column.name) {
                    Some(chosen) => in_form(*chosen, &column.ty),
                    None => (own, note(&column.ty, column.is_multicell()).to_owned()),
                }
            }
        };
        if column.role == Role::Static {
            let statics = "in the partition's static item";
            note = if note.is_empty() {
                statics.to_owned()
            } else {
                format!("{statics}; {note}")
            };
        }
        ColumnReport {
            column: column.name.clone(),
            cql_type: column.cql_type(),
            attribute: column.name.clone(),
            form,
            note,
        }
    }
}

fn in_key(key: &KeyAttribute, own: String, column: &Column) -> (String, String) {
    if key.made {
        let form = format!("{own}, and part of key {}", key.name);
        return (form, note(&column.ty, false).to_owned());
    }
    // A partition key of one column is never empty in Cassandra.
    let mut notes = vec![note(&column.ty, false)];
    if matches!(column.role, Role::Clustering(_)) {
        notes
            .push("a row with an empty value in it can't be copied; a made sort key could hold it");
    }
    notes.retain(|note| !note.is_empty());
    (format!("{own}, the key"), notes.join("; "))
}

/// A form that the plan has chosen.
fn in_form(chosen: Form, ty: &Type) -> (String, String) {
    let (form, note) = match (chosen, ty) {
        (Form::Text, Type::Varint) => ("S", "its digits; over 1,024 bytes: envelope"),
        (Form::Text, Type::Decimal) => (
            "S",
            "such as 1.10, which keeps the scale and doesn't sort; over 1,024 bytes: envelope",
        ),
        (Form::Text, _) => ("S", "its digits, which don't sort as numbers do"),
        (Form::Number, _) => (
            "N",
            "with a 0 at the end of a fraction (1.10), a negative scale or over 38 digits: envelope",
        ),
    };
    (form.to_owned(), note.to_owned())
}

fn form(ty: &Type, multicell: bool) -> String {
    let plain = match ty {
        Type::Ascii | Type::Text | Type::Decimal | Type::Uuid | Type::TimeUuid | Type::Inet => "S",
        Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Counter
        | Type::Varint
        | Type::Float
        | Type::Double
        | Type::Timestamp
        | Type::Date
        | Type::Time => "N",
        Type::Boolean => "BOOL",
        Type::Blob | Type::Custom(_) => "B",
        Type::Duration => "M of mo, d, ns",
        Type::Set(element) if multicell => match types::native_set(element) {
            NativeSet::Strings => "SS",
            NativeSet::Numbers => "NS",
            NativeSet::Binaries => "BS",
            NativeSet::None => return format!("L of {}", form(element, false)),
        },
        Type::Vector(element, _) if **element == Type::Float => "B",
        Type::List(element) | Type::Set(element) | Type::Vector(element, _) => {
            return format!("L of {}", form(element, false));
        }
        Type::Map(key, element) if types::has_named_keys(key, multicell) => {
            return format!("M of {}", form(element, false));
        }
        Type::Map(..) => "L of L",
        Type::Tuple(_) => "L",
        Type::Udt(_) => "M",
    };
    plain.to_owned()
}

fn note(ty: &Type, multicell: bool) -> &'static str {
    match ty {
        Type::Varint => "over 38 digits: envelope; form = \"text\" keeps all as their digits",
        Type::Decimal => "as <unscaled>E<-scale>, which keeps the scale and doesn't sort",
        Type::Float | Type::Double => "NaN, infinities, -0.0 and what an N can't hold: envelope",
        Type::Timestamp => "milliseconds since 1970",
        Type::Date => "days since 1970-01-01",
        Type::Time => "nanoseconds since midnight",
        Type::Custom(_) => "CQL bytes",
        Type::Vector(element, _) if **element == Type::Float => "CQL bytes, 4 for each element",
        Type::Map(key, _) if types::has_named_keys(key, multicell) => {
            "with an empty or over-long key: L of L"
        }
        Type::Map(..) => "pairs of key and value",
        Type::Set(element) if multicell && types::native_set(element) == NativeSet::Numbers => {
            "with an empty number in it: envelope"
        }
        Type::Ascii
        | Type::Text
        | Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Counter
        | Type::Boolean
        | Type::Blob
        | Type::Uuid
        | Type::TimeUuid
        | Type::Inet
        | Type::Duration
        | Type::List(_)
        | Type::Set(_)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..) => "",
    }
}
