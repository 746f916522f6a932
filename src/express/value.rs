//! Attribute values as expressions see them: equal, ordered, within one another.

use std::cmp::Ordering;

use super::ast::PathStep;
use super::decimal;
use crate::item::Attr;

/// The name of its type, as `attribute_type` has it.
pub(super) fn type_name(value: &Attr) -> &'static str {
    match value {
        Attr::S(_) => "S",
        Attr::N(_) => "N",
        Attr::B(_) => "B",
        Attr::Bool(_) => "BOOL",
        Attr::Null => "NULL",
        Attr::L(_) => "L",
        Attr::M(_) => "M",
        Attr::Ss(_) => "SS",
        Attr::Ns(_) => "NS",
        Attr::Bs(_) => "BS",
    }
}

/// What is at these steps below a value.
pub(super) fn at<'v>(value: &'v Attr, steps: &[PathStep]) -> Option<&'v Attr> {
    steps
        .iter()
        .try_fold(value, |value, step| match (value, step) {
            (Attr::M(entries), PathStep::Field(name)) => entries
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value),
            (Attr::L(elements), PathStep::Index(index)) => elements.get(*index),
            (_, PathStep::Field(_) | PathStep::Index(_)) => None,
        })
}

/// Whether two values are equal: numbers by value, sets in any order, maps by their entries.
pub fn equal(one: &Attr, two: &Attr) -> bool {
    match (one, two) {
        (Attr::N(one), Attr::N(two)) => decimal::order(one, two) == Ordering::Equal,
        (Attr::L(one), Attr::L(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| equal(one, two))
        }
        (Attr::M(one), Attr::M(two)) => {
            let has = |(name, value): &(String, Attr)| {
                two.iter()
                    .any(|(other, there)| other == name && equal(value, there))
            };
            one.len() == two.len() && one.iter().all(has)
        }
        (Attr::Ss(one), Attr::Ss(two)) => same_members(one, two, |one, two| one == two),
        (Attr::Bs(one), Attr::Bs(two)) => same_members(one, two, |one, two| one == two),
        (Attr::Ns(one), Attr::Ns(two)) => same_members(one, two, |one, two| {
            decimal::order(one, two) == Ordering::Equal
        }),
        (one, two) => one == two,
    }
}

fn same_members<T>(one: &[T], two: &[T], is: impl Fn(&T, &T) -> bool) -> bool {
    one.len() == two.len()
        && one
            .iter()
            .all(|member| two.iter().any(|other| is(member, other)))
}

/// The order of two values of one type that has one.
pub(super) fn order(one: &Attr, two: &Attr) -> Option<Ordering> {
    match (one, two) {
        (Attr::S(one), Attr::S(two)) => Some(one.as_bytes().cmp(two.as_bytes())),
        (Attr::N(one), Attr::N(two)) => Some(decimal::order(one, two)),
        (Attr::B(one), Attr::B(two)) => Some(one.cmp(two)),
        (_, _) => None,
    }
}

/// What `size` says of a value; of numbers, booleans and null it says nothing. A text counts as its UTF-16 units.
pub(super) fn size(value: &Attr) -> Option<usize> {
    match value {
        Attr::S(text) => Some(text.encode_utf16().count()),
        Attr::B(bytes) => Some(bytes.len()),
        Attr::L(elements) => Some(elements.len()),
        Attr::M(entries) => Some(entries.len()),
        Attr::Ss(members) | Attr::Ns(members) => Some(members.len()),
        Attr::Bs(members) => Some(members.len()),
        Attr::N(_) | Attr::Bool(_) | Attr::Null => None,
    }
}

/// Whether a text or binary has a part, a set a member, a list an element.
pub(super) fn contains(whole: &Attr, part: &Attr) -> bool {
    match (whole, part) {
        (Attr::S(text), Attr::S(part)) => text.contains(part.as_str()),
        (Attr::B(bytes), Attr::B(part)) => {
            part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
        }
        (Attr::Ss(members), Attr::S(part)) => members.contains(part),
        (Attr::Bs(members), Attr::B(part)) => members.contains(part),
        (Attr::Ns(members), Attr::N(part)) => members
            .iter()
            .any(|member| decimal::order(member, part) == Ordering::Equal),
        (Attr::L(elements), part) => elements.iter().any(|element| equal(element, part)),
        (_, _) => false,
    }
}

/// A scalar as refusals show it: `{N:9}`.
pub(super) fn shown(value: &Attr) -> String {
    match value {
        Attr::S(text) | Attr::N(text) => format!("{{{}:{text}}}", type_name(value)),
        Attr::B(_)
        | Attr::Bool(_)
        | Attr::Null
        | Attr::L(_)
        | Attr::M(_)
        | Attr::Ss(_)
        | Attr::Ns(_)
        | Attr::Bs(_) => format!("{{{}}}", type_name(value)),
    }
}
