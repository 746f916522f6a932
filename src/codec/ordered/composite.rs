//! Values that hold others inside a sort key: collections, tuples, user-defined types, vectors.
//!
//! Each member is a component of its own, and `00` ends what has no fixed number of them. It comes before every
//! component, so that what is shorter sorts first. Of a tuple or user-defined type the null fields at the end
//! are left out, since Cassandra takes them as equal to fields that are missing.

use super::{Input, put_component, read_component, read_value};
use crate::model::Value;
use crate::schema::Type;

/// Ends the members. No component begins with it.
const END: u8 = 0x00;
/// A field that is null, and one that isn't.
const NULL: u8 = 0x01;
const FIELD: u8 = 0x02;

/// Whether values of a type hold others.
pub(crate) fn holds_others(ty: &Type) -> bool {
    match ty {
        Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..) => true,
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
        | Type::Custom(_) => false,
    }
}

/// Whether values of a type have fields, each of which may be null or missing.
pub(super) fn has_fields(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(_) | Type::Udt(_))
}

/// Appends the members; `None` if some can't be in a sort key, or the value isn't of this type. Then something
/// may have been appended.
pub(super) fn put(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match (ty, value) {
        (Type::List(element), Value::List(values)) | (Type::Set(element), Value::Set(values)) => {
            put_all(element, values, out)?;
            out.push(END);
        }
        (Type::Vector(element, dimension), Value::Vector(values)) => {
            (values.len() == usize::from(*dimension)).then_some(())?;
            put_all(element, values, out)?;
        }
        (Type::Map(key, element), Value::Map(pairs)) => {
            for (name, value) in pairs {
                put_component(key, name, true, out)?;
                put_component(element, value, true, out)?;
            }
            out.push(END);
        }
        (Type::Tuple(types), Value::Tuple(fields)) => put_fields(types.iter(), fields, out)?,
        (Type::Udt(udt), Value::Udt(fields)) => {
            put_fields(udt.fields.iter().map(|(_, ty)| ty), fields, out)?;
        }
        _ => return None,
    }
    Some(())
}

fn put_all(element: &Type, values: &[Value], out: &mut Vec<u8>) -> Option<()> {
    let mut values = values.iter();
    values.try_for_each(|value| put_component(element, value, true, out))
}

fn put_fields<'t>(
    types: impl ExactSizeIterator<Item = &'t Type>,
    fields: &[Option<Value>],
    out: &mut Vec<u8>,
) -> Option<()> {
    (fields.len() <= types.len()).then_some(())?;
    let given = fields.iter().rposition(Option::is_some);
    let given = given.map_or(0, |last| last + 1);
    for (ty, field) in types.zip(&fields[..given]) {
        match field {
            None => out.push(NULL),
            Some(value) => {
                out.push(FIELD);
                put_component(ty, value, true, out)?;
            }
        }
    }
    out.push(END);
    Some(())
}

/// Reads members up to where they end.
pub(super) fn read(ty: &Type, input: &mut Input<'_>) -> Option<Value> {
    Some(match ty {
        Type::List(element) => Value::List(read_all(element, input)?),
        Type::Set(element) => Value::Set(read_all(element, input)?),
        Type::Vector(element, dimension) => {
            let values = (0..*dimension).map(|_| read_component(element, input));
            Value::Vector(values.collect::<Option<_>>()?)
        }
        Type::Map(key, element) => {
            let mut pairs = Vec::new();
            loop {
                match input.byte()? {
                    END => break Value::Map(pairs),
                    header => {
                        let name = read_value(key, header, input)?;
                        pairs.push((name, read_component(element, input)?));
                    }
                }
            }
        }
        Type::Tuple(types) => Value::Tuple(read_fields(types.iter(), input)?),
        Type::Udt(udt) => Value::Udt(read_fields(udt.fields.iter().map(|(_, ty)| ty), input)?),
        _ => return None,
    })
}

fn read_all(element: &Type, input: &mut Input<'_>) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    loop {
        match input.byte()? {
            END => return Some(values),
            header => values.push(read_value(element, header, input)?),
        }
    }
}

fn read_fields<'t>(
    mut types: impl Iterator<Item = &'t Type>,
    input: &mut Input<'_>,
) -> Option<Vec<Option<Value>>> {
    let mut fields = Vec::new();
    loop {
        let field = match input.byte()? {
            END => break,
            NULL => types.next().map(|_| None)?,
            FIELD => Some(read_component(types.next()?, input)?),
            _ => return None,
        };
        fields.push(field);
    }
    match fields.last() {
        // One null stands for any number of them; a value without any field is another one.
        None => Some(vec![None]),
        Some(last) => last.is_some().then_some(fields),
    }
}
