//! Which rows a key condition means.
//!
//! A condition on a sort key is one on DynamoDB's attribute. A sort key that is a column's own attribute has the
//! same order as the column. The bytes of a made one begin with whole components, but a condition may cut one in the
//! middle: then the rows of the longest whole prefix are read, and the condition is asked of each of them.

use std::ops::Bound;

use super::fault::Fault;
use super::target::Target;
use crate::codec::number::Parts;
use crate::express::{
    Comparison, ConditionExpression, Item, KeyCondition, Operand, Path, SortCondition,
};
use crate::item::{Attr, KeyType, keys};
use crate::model::{ClusteringRange, Key, Value};

/// Which rows are read.
pub(super) enum RowsRead {
    /// The one with this key.
    One(Key),
    /// Those of a stretch.
    Of(Box<RowStretch>),
    /// None can be meant.
    None,
}

/// Rows one after the other.
pub(super) struct RowStretch {
    pub range: ClusteringRange,
    /// What has to hold for their items.
    pub test: Option<ConditionExpression>,
}

/// The rows of a key condition, in the partition of these values.
pub(super) fn rows(
    target: &Target,
    wanted: KeyCondition,
    partition: Vec<Value>,
) -> Result<RowsRead, Fault> {
    let mapping = target.mapping();
    let Some(sort) = mapping.sort() else {
        return Ok(RowsRead::One(Key::row(partition, Vec::new())));
    };
    let Some(condition) = wanted.sort else {
        let range = ClusteringRange::whole(partition);
        return Ok(RowsRead::Of(Box::new(RowStretch { range, test: None })));
    };
    refuse_types(&condition, sort.ty)?;
    let whole = ClusteringRange::whole(partition.clone());
    if let SortCondition::Is(Comparison::Equal, value) = &condition {
        let key = [
            (mapping.partition().name.clone(), wanted.partition),
            (sort.name.clone(), value.clone()),
        ];
        let key: Item = key.into_iter().collect();
        if !target.items.is_hashed(&key) {
            // One that isn't spelled so is no item's.
            return Ok(match target.items.key(&key) {
                Ok(key) => RowsRead::One(key),
                Err(_) => RowsRead::None,
            });
        }
    }
    let test = test(&sort.name, &condition);
    let bounds = match sort.made {
        true => made(target, &condition),
        false => own(target, &condition)?,
    };
    let Some((low, high)) = bounds else {
        return Ok(RowsRead::None);
    };
    let (from, until) = match mapping.is_reversed() {
        true => (high, low),
        false => (low, high),
    };
    let range = ClusteringRange {
        from,
        until,
        ..whole
    };
    // The static columns' item is in whole partitions alone.
    let statics = [(sort.name.clone(), Attr::B(keys::STATIC_SORT_KEY.to_vec()))];
    let takes_statics = sort.made
        && mapping.table().has_statics()
        && test.holds(Some(&statics.into_iter().collect()));
    let range = match takes_statics {
        true => ClusteringRange::whole(range.partition),
        false => range,
    };
    let test = Some(test);
    Ok(RowsRead::Of(Box::new(RowStretch { range, test })))
}

/// A condition's values have the sort key's type.
fn refuse_types(condition: &SortCondition, ty: KeyType) -> Result<(), Fault> {
    let is_of = |value: &Attr| match (value, ty) {
        (Attr::S(_), KeyType::S) | (Attr::N(_), KeyType::N) | (Attr::B(_), KeyType::B) => true,
        (_, KeyType::S | KeyType::N | KeyType::B) => false,
    };
    let fits = match condition {
        SortCondition::Is(_, value) => is_of(value),
        SortCondition::Between(low, high) => is_of(low) && is_of(high),
        SortCondition::BeginsWith(start) => is_of(start) && ty != KeyType::N,
    };
    match fits {
        true => Ok(()),
        false => Err(Fault::invalid(
            "One or more parameter values were invalid: Condition parameter type does not match schema type",
        )),
    }
}

fn test(name: &str, condition: &SortCondition) -> ConditionExpression {
    let path = Operand::Path(Path::attribute(name));
    let value = |value: &Attr| Operand::Value(value.clone());
    match condition {
        SortCondition::Is(how, with) => ConditionExpression::Compare(path, *how, value(with)),
        SortCondition::Between(low, high) => {
            ConditionExpression::Between(path, value(low), value(high))
        }
        SortCondition::BeginsWith(start) => ConditionExpression::BeginsWith(path, value(start)),
    }
}

/// The ends of a stretch of rows, by rising sort key.
type SortEnds = (Bound<Vec<Value>>, Bound<Vec<Value>>);

/// The whole components that the bytes of made sort keys begin with.
fn made(target: &Target, condition: &SortCondition) -> Option<SortEnds> {
    let bound = |value: &Attr| {
        let prefix = prefix(target, value);
        match prefix.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Included(prefix),
        }
    };
    Some(match condition {
        SortCondition::Is(Comparison::Equal | Comparison::NotEqual, value)
        | SortCondition::BeginsWith(value) => (bound(value), bound(value)),
        SortCondition::Is(Comparison::Less | Comparison::LessOrEqual, value) => {
            (Bound::Unbounded, bound(value))
        }
        SortCondition::Is(Comparison::Greater | Comparison::GreaterOrEqual, value) => {
            (bound(value), Bound::Unbounded)
        }
        SortCondition::Between(low, high) => (bound(low), bound(high)),
    })
}

/// The longest run of whole components.
fn prefix(target: &Target, value: &Attr) -> Vec<Value> {
    let mut values = Vec::new();
    let Attr::B(bytes) = value else {
        return values;
    };
    let columns = target.mapping().table().clustering();
    let mut rest = bytes.as_slice();
    for column in columns {
        let order = keys::component_order(columns, column);
        let Some((value, after)) = keys::decode_component(&column.ty, order, rest) else {
            break;
        };
        // Cut short, a component may read as another, shorter one.
        let mut again = Vec::new();
        let encoded = keys::encode_component(&column.ty, order, &value, &mut again);
        if encoded.is_err() || !rest.starts_with(&again) || again.len() + after.len() != rest.len()
        {
            break;
        }
        values.push(value);
        rest = after;
    }
    values
}

/// The same for a column's own attribute; `None` if nothing lies there.
fn own(target: &Target, condition: &SortCondition) -> Result<Option<SortEnds>, Fault> {
    let open = Bound::Unbounded;
    Ok(match condition {
        SortCondition::Is(Comparison::Equal | Comparison::NotEqual, _) => {
            Some((open.clone(), open))
        }
        SortCondition::Is(Comparison::Less | Comparison::LessOrEqual, value) => {
            end(target, value, false)?.map(|high| (open, high))
        }
        SortCondition::Is(Comparison::Greater | Comparison::GreaterOrEqual, value) => {
            end(target, value, true)?.map(|low| (low, open))
        }
        SortCondition::Between(low, high) => {
            let (low, high) = (end(target, low, true)?, end(target, high, false)?);
            low.zip(high)
        }
        SortCondition::BeginsWith(Attr::S(start)) => {
            let high = successor(start).map_or(Bound::Unbounded, |text| {
                Bound::Excluded(vec![Value::Text(text)])
            });
            Some((Bound::Included(vec![Value::Text(start.clone())]), high))
        }
        SortCondition::BeginsWith(_) => Some((open.clone(), open)),
    })
}

/// An end that takes in every row on this side of a value; `None` if there can be none.
fn end(target: &Target, value: &Attr, is_low: bool) -> Result<Option<Bound<Vec<Value>>>, Fault> {
    match value {
        Attr::S(text) => Ok(Some(Bound::Included(vec![Value::Text(text.clone())]))),
        Attr::N(text) => Ok(integer_end(target, text, is_low)),
        Attr::B(_)
        | Attr::Bool(_)
        | Attr::Null
        | Attr::L(_)
        | Attr::M(_)
        | Attr::Ss(_)
        | Attr::Ns(_)
        | Attr::Bs(_) => Ok(Some(Bound::Unbounded)),
    }
}

/// An end among whole numbers of the column's range.
fn integer_end(target: &Target, text: &str, is_low: bool) -> Option<Bound<Vec<Value>>> {
    let column = target.mapping().table().clustering().first()?;
    let of = |number: i64| crate::codec::text::of_integer(&column.ty, number);
    let floor = floor(text)?;
    if let Ok(number) = i64::try_from(floor)
        && let Some(value) = of(number)
    {
        return Some(Bound::Included(vec![value]));
    }
    // Beyond what the column can hold: all of it, or nothing, lies on that side.
    match (floor < 0) == is_low {
        true => Some(Bound::Unbounded),
        false => None,
    }
}

/// The largest whole number that isn't above a number.
fn floor(text: &str) -> Option<i128> {
    let parts = Parts::of(text)?;
    let digits = parts.significant.as_str();
    let power = digits.len() as i64 + parts.lowest;
    let huge = if parts.negative { i128::MIN } else { i128::MAX };
    let sign = if parts.negative { -1 } else { 1 };
    if digits.is_empty() {
        return Some(0);
    }
    if power > 30 {
        return Some(huge);
    }
    let is_whole = parts.lowest >= 0;
    let kept = usize::try_from(power).unwrap_or(0).min(digits.len());
    let whole = digits[..kept].parse::<i128>().unwrap_or(0);
    let zeros = u32::try_from(parts.lowest.max(0)).unwrap_or(0);
    let whole = sign * whole * 10_i128.pow(zeros);
    Some(match !is_whole && parts.negative {
        true => whole - 1,
        false => whole,
    })
}

/// The first text that comes after all those that begin so; `None` if there is none.
fn successor(start: &str) -> Option<String> {
    let mut chars: Vec<char> = start.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_floor() {
        for (text, expected) in [
            ("0", 0),
            ("7", 7),
            ("-7", -7),
            ("1.5", 1),
            ("-1.5", -2),
            ("0.001", 0),
            ("-0.001", -1),
            ("1200", 1200),
            ("12e2", 1200),
            ("-1e100", i128::MIN),
            ("1e100", i128::MAX),
            ("9223372036854775808", 9_223_372_036_854_775_808),
        ] {
            assert_eq!(floor(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn texts_have_one_behind_them() {
        assert_eq!(successor("ab").as_deref(), Some("ac"));
        assert_eq!(successor("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(successor("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor("\u{10ffff}"), None);
    }
}
