//! Values as attributes of the form that the plan chooses for their column, and back.

use super::{Attr, Fallback, bytes_of_fallback, fallback, number_text, or_whole, string};
use crate::codec::{cql, number, text};
use crate::model::Value;
use crate::schema::{Form, Type};

/// A value as an attribute of this form, or in the envelope where the form doesn't hold it exactly; `None` if it isn't
/// one of this type.
pub(in crate::item) fn to_formed(value: Value, ty: &Type, form: Form) -> Option<Attr> {
    let value = match value {
        Value::Raw(bytes) => cql::decode(ty, &bytes),
        value => value,
    };
    match value {
        Value::Raw(bytes) => Some(fallback(bytes, ty)),
        Value::Empty => Some(fallback(Vec::new(), ty)),
        value if cql::is_of(&value, ty) => Some(or_whole(exactly(&value, ty, form), &value, ty)),
        _ => None,
    }
}

fn exactly(value: &Value, ty: &Type, form: Form) -> Option<Attr> {
    match (form, value) {
        (Form::Text, value) => text::plain_number(ty, value).map(Attr::S),
        (Form::Number, Value::Decimal { unscaled, scale }) => {
            number::decimal_n(unscaled, *scale).map(Attr::N)
        }
        (Form::Number, _) => None,
    }
}

/// The value of an attribute of this form; `None` if the attribute isn't what a value of this type becomes.
pub(in crate::item) fn from_formed(attr: Attr, ty: &Type, form: Form) -> Option<Value> {
    let attr = match bytes_of_fallback(attr, ty) {
        Fallback::Bytes(bytes) => return Some(cql::decode(ty, &bytes)),
        Fallback::OtherType => return None,
        Fallback::No(attr) => attr,
    };
    match form {
        Form::Text => text::of_plain_number(ty, &string(attr)?),
        Form::Number => {
            let (unscaled, scale) = number::decimal_of_n(&number_text(attr)?)?;
            Some(Value::Decimal { unscaled, scale })
        }
    }
}
