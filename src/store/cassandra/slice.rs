//! Cutting a range in two: by token, then by clustering value.
//!
//! A token with clustering columns becomes slices of the first column's whole domain, a slice is
//! bisected by value, and where a single value is left, by the next column. Ends stay unbounded, so
//! that empty values (which sort before all others, in descending columns too) fall out of none.
//!
//! Static columns lie before the rows. A token's own slice for them is the one that ends before the
//! empty value of the first column, where no row can be.

use super::ordinal;
use crate::codec::cql;
use crate::model::Value;
use crate::schema::{Table, Type};
use crate::store::{Range, Slice};

/// Two or more ranges that together are all of this one.
pub(super) fn halve(table: &Table, range: &Range) -> Option<Vec<Range>> {
    match range {
        Range::Tokens(tokens) => match tokens.halves() {
            Some((low, high)) => Some(vec![Range::Tokens(low), Range::Tokens(high)]),
            None if tokens.is_empty() => None,
            None => cut_token(table, tokens.up_to),
        },
        Range::Slice(slice) if is_statics(table, slice) => None,
        Range::Slice(slice) => Some(cut(table, slice)?.into_iter().map(Range::Slice).collect()),
        Range::Segment { .. } => None,
    }
}

/// Whether a slice is the one for a token's static columns.
pub(super) fn is_statics(table: &Table, slice: &Slice) -> bool {
    let first = table.clustering().first();
    slice.prefix.is_empty()
        && slice.from.is_none()
        && first.is_some_and(|column| slice.until == Some(cql::decode(&column.ty, &[])))
}

fn cut_token(table: &Table, token: i64) -> Option<Vec<Range>> {
    let first = table.clustering().first()?;
    let whole = Slice {
        token,
        prefix: Vec::new(),
        from: None,
        until: None,
    };
    let parts = cut(table, &whole);
    if !table.has_statics() {
        return Some(parts?.into_iter().map(Range::Slice).collect());
    }
    let statics = Slice {
        until: Some(cql::decode(&first.ty, &[])),
        ..whole.clone()
    };
    let parts = parts.unwrap_or_else(|| vec![whole]);
    Some(
        std::iter::once(statics)
            .chain(parts)
            .map(Range::Slice)
            .collect(),
    )
}

fn cut(table: &Table, slice: &Slice) -> Option<Vec<Slice>> {
    let column = table.clustering().get(slice.prefix.len())?;
    match split(&column.ty, slice.from.as_ref(), slice.until.as_ref())? {
        Split::At(middle) => Some(vec![
            Slice {
                until: Some(middle.clone()),
                ..slice.clone()
            },
            Slice {
                from: Some(middle),
                ..slice.clone()
            },
        ]),
        Split::Single(value) => {
            let mut prefix = slice.prefix.clone();
            prefix.push(value);
            cut(
                table,
                &Slice {
                    token: slice.token,
                    prefix,
                    from: None,
                    until: None,
                },
            )
        }
    }
}

/// How the values between two bounds can be cut.
enum Split {
    /// Below this value, and from it on.
    At(Value),
    /// Not at all: it is one value.
    Single(Value),
}

/// `None` for a type whose values have no middle here.
fn split(ty: &Type, from: Option<&Value>, until: Option<&Value>) -> Option<Split> {
    match ty {
        Type::Text => split_text(from, until, ordinal::CHARS),
        Type::Ascii => split_text(from, until, 0x80),
        Type::Blob => {
            let digits = |value: Option<&Value>| match value {
                None => Some(None),
                Some(Value::Blob(bytes)) => {
                    Some(Some(bytes.iter().map(|&b| u32::from(b)).collect()))
                }
                Some(_) => None,
            };
            let back = |digits: &[u32]| {
                let bytes: Result<Vec<u8>, _> = digits.iter().map(|&d| u8::try_from(d)).collect();
                bytes.ok().map(Value::Blob)
            };
            split_digits(digits(from)?, digits(until)?, 0x100, back)
        }
        _ => split_ordinals(ty, from, until),
    }
}

fn split_ordinals(ty: &Type, from: Option<&Value>, until: Option<&Value>) -> Option<Split> {
    let (least, greatest) = ordinal::domain(ty)?;
    let low = match from {
        Some(value) => ordinal::of(ty, value)?,
        None => least,
    };
    let high = match until {
        Some(value) => match ordinal::of(ty, value)?.checked_sub(1) {
            Some(high) if high >= least => high,
            // Only the empty value sorts before the least one.
            Some(_) | None => return Some(Split::Single(Value::Empty)),
        },
        None => greatest,
    };
    if low < high {
        return ordinal::value(ty, low + (high - low) / 2 + 1).map(Split::At);
    }
    match from {
        // Empty values lie below it.
        None => ordinal::value(ty, low).map(Split::At),
        Some(value) => Some(Split::Single(value.clone())),
    }
}

fn split_text(from: Option<&Value>, until: Option<&Value>, limit: u32) -> Option<Split> {
    let digits = |value: Option<&Value>| match value {
        None => Some(None),
        Some(Value::Text(text)) => Some(Some(text.chars().map(ordinal::of_char).collect())),
        Some(_) => None,
    };
    let back = |digits: &[u32]| {
        let text: Option<String> = digits.iter().map(|&digit| ordinal::char(digit)).collect();
        text.map(Value::Text)
    };
    split_digits(digits(from)?, digits(until)?, limit, back)
}

fn split_digits(
    from: Option<Vec<u32>>,
    until: Option<Vec<u32>>,
    limit: u32,
    back: impl Fn(&[u32]) -> Option<Value>,
) -> Option<Split> {
    let from = from.unwrap_or_default();
    match ordinal::between(&from, until.as_deref(), limit) {
        Some(middle) => back(&middle).map(Split::At),
        None => back(&from).map(Split::Single),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Tokens;
    use crate::schema::{Column, Order, Role};

    fn table(statics: bool, types: &[Type]) -> Table {
        let column = |name: &str, ty: &Type, role| Column::new(name, ty.clone(), role);
        let mut columns = vec![column("p", &Type::Int, Role::Partition)];
        for (at, ty) in types.iter().enumerate() {
            columns.push(column(&format!("c{at}"), ty, Role::Clustering(Order::Desc)));
        }
        if statics {
            columns.push(column("s", &Type::Int, Role::Static));
        }
        Table::new("t", columns)
    }

    /// Follows the halves that hold `row` until none is left to cut, and says how often it cut.
    fn narrow(table: &Table, row: &[Value]) -> (Slice, usize) {
        let mut range = Range::Tokens(Tokens { after: 4, up_to: 5 });
        let mut steps = 0;
        while let Some(halves) = halve(table, &range) {
            let holding: Vec<&Range> = halves
                .iter()
                .filter(|half| holds(table, half, row))
                .collect();
            assert_eq!(holding.len(), 1, "{row:?} in {halves:?}");
            range = holding[0].clone();
            steps += 1;
            assert!(steps < 1000, "{row:?} isn't reached");
        }
        match range {
            Range::Slice(slice) => (slice, steps),
            other => unreachable!("{other:?}"),
        }
    }

    fn holds(table: &Table, range: &Range, row: &[Value]) -> bool {
        let Range::Slice(slice) = range else {
            return true;
        };
        let at = slice.prefix.len();
        let rank = |value: &Value| rank(&table.clustering()[at].ty, value);
        row[..at] == slice.prefix[..]
            && slice
                .from
                .as_ref()
                .is_none_or(|from| rank(from) <= rank(&row[at]))
            && slice
                .until
                .as_ref()
                .is_none_or(|until| rank(&row[at]) < rank(until))
    }

    fn rank(ty: &Type, value: &Value) -> (bool, u128, Vec<u8>) {
        match value {
            Value::Empty => (false, 0, Vec::new()),
            Value::Text(text) => (true, 0, text.clone().into_bytes()),
            Value::Blob(bytes) => (true, 0, bytes.clone()),
            other => (true, ordinal::of(ty, other).unwrap(), Vec::new()),
        }
    }

    #[test]
    fn every_row_is_in_one_half_down_to_itself() {
        let types = [Type::Int, Type::Text, Type::Blob];
        let table = table(false, &types);
        for (int, text, blob) in [
            (Value::Int(0), "", vec![]),
            (Value::Empty, "a", vec![0]),
            (Value::Int(i32::MIN), "a\0", vec![0, 0]),
            (Value::Int(i32::MAX), "\u{10FFFF}", vec![255, 255]),
            (Value::Int(-7), "\u{D7FF}\u{E000}", vec![1, 2, 3]),
        ] {
            let row = [int, Value::text(text), Value::Blob(blob)];
            let (slice, _) = narrow(&table, &row);
            assert_eq!(slice.prefix, row[..2]);
        }
    }

    #[test]
    fn a_token_with_static_columns_gives_them_a_slice_of_their_own() {
        let one = Range::Tokens(Tokens { after: 4, up_to: 5 });
        for first in [Type::Int, Type::Text] {
            let table = table(true, &[first]);
            let parts = halve(&table, &one).unwrap();
            assert_eq!(parts.len(), 3);
            let statics = parts.iter().filter(|part| match part {
                Range::Slice(slice) => is_statics(&table, slice),
                _ => false,
            });
            assert_eq!(statics.count(), 1);
            assert_eq!(halve(&table, &parts[0]), None);
        }
        let uncut = halve(&table(true, &[Type::Inet]), &one).unwrap();
        assert_eq!(uncut.len(), 2);
    }

    #[test]
    fn what_has_no_middle_is_not_cut() {
        let one = Range::Tokens(Tokens { after: 4, up_to: 5 });
        assert_eq!(halve(&table(false, &[]), &one), None);
        assert_eq!(halve(&table(false, &[Type::Inet]), &one), None);
        assert!(halve(&table(false, &[]), &Range::Tokens(Tokens::ALL)).is_some());
    }
}
