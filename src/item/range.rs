//! Spans of a partition as ranges of its sort key.

use std::cmp::Ordering;
use std::ops::Bound;

use super::attr::Attr;
use super::keys;
use super::keys::SORT_KEY_LIMIT;
use super::mapping::{Mapping, own_attribute};
use crate::codec::cql;
use crate::codec::number;
use crate::codec::ordered::after_prefix;
use crate::error::{Error, Kind, Result};
use crate::model::{ClusteringRange, Value};

/// What every row's sort key comes after or is, but not that of a partition's static columns.
const FIRST_ROW: &[u8] = &[0x01];

/// A range of sort keys, from the lowest on. `None` is open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SortRange {
    /// Where it begins.
    pub lower: Option<SortEnd>,
    /// Where it ends.
    pub upper: Option<SortEnd>,
}

/// One end of a range of sort keys.
#[derive(Clone, Debug, PartialEq)]
pub struct SortEnd {
    /// The sort key's value.
    pub attr: Attr,
    /// Whether that value itself belongs to the range.
    pub included: bool,
}

/// An end as it comes out of a bound.
enum BoundEnd {
    Open,
    At(SortEnd),
    /// No sort key lies on this side of it.
    Nothing,
}

impl Mapping {
    /// The sort keys of a range; `None` if no row can lie in it. The static columns' item belongs to the
    /// range of a whole partition, but not where sort keys run backwards: it would be at the wrong end.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for bounds that aren't values of the first clustering columns.
    pub fn sort_range(&self, range: &ClusteringRange) -> Result<Option<SortRange>> {
        let (low, high) = match self.is_reversed() {
            false => (&range.from, &range.until),
            true => (&range.until, &range.from),
        };
        let lower = match low {
            Bound::Unbounded => BoundEnd::Open,
            Bound::Included(prefix) => self.lower(prefix, true)?,
            Bound::Excluded(prefix) => self.lower(prefix, false)?,
        };
        let upper = match high {
            Bound::Unbounded => BoundEnd::Open,
            Bound::Included(prefix) => self.upper(prefix, true)?,
            Bound::Excluded(prefix) => self.upper(prefix, false)?,
        };
        let range = match (lower, upper) {
            (BoundEnd::Nothing, _) | (_, BoundEnd::Nothing) => return Ok(None),
            (lower, upper) => SortRange {
                lower: lower
                    .end()
                    .or_else(|| self.first_row(range))
                    .map(lower_within_limit),
                upper: upper.end().map(upper_within_limit),
            },
        };
        Ok((!range.is_empty()).then_some(range))
    }

    /// Keeps the static columns' item out.
    fn first_row(&self, range: &ClusteringRange) -> Option<SortEnd> {
        let is_out = !range.is_whole() || self.is_reversed();
        (is_out && self.table.has_statics()).then(|| SortEnd {
            attr: Attr::B(FIRST_ROW.to_vec()),
            included: true,
        })
    }

    fn lower(&self, prefix: &[Value], included: bool) -> Result<BoundEnd> {
        match self.place(prefix)? {
            SortPlace::Everywhere if included => Ok(BoundEnd::Open),
            SortPlace::Everywhere => Ok(BoundEnd::Nothing),
            SortPlace::BeforeAll => Ok(BoundEnd::Open),
            SortPlace::Own(attr) => Ok(BoundEnd::At(SortEnd { attr, included })),
            SortPlace::Made(bytes) if included => Ok(from(bytes)),
            SortPlace::Made(bytes) => Ok(after_prefix(&bytes).map_or(BoundEnd::Nothing, from)),
        }
    }

    fn upper(&self, prefix: &[Value], included: bool) -> Result<BoundEnd> {
        match self.place(prefix)? {
            SortPlace::Everywhere if included => Ok(BoundEnd::Open),
            SortPlace::Everywhere | SortPlace::BeforeAll => Ok(BoundEnd::Nothing),
            SortPlace::Own(attr) => Ok(BoundEnd::At(SortEnd { attr, included })),
            SortPlace::Made(bytes) if included => {
                Ok(after_prefix(&bytes).map_or(BoundEnd::Open, before))
            }
            SortPlace::Made(bytes) => Ok(before(bytes)),
        }
    }

    /// Where the rows lie whose first clustering columns are these.
    fn place(&self, prefix: &[Value]) -> Result<SortPlace> {
        let columns = self.table.clustering();
        if prefix.len() > columns.len() {
            let (has, wants) = (prefix.len(), columns.len());
            let message = format!("a bound has {has} values where the table has {wants} columns");
            return Err(Error::new(Kind::Invalid, message));
        }
        match (&self.sort, columns, prefix) {
            (_, _, []) => Ok(SortPlace::Everywhere),
            // A key attribute is never empty, and CQL's empty value comes before all others.
            (Some(sort), [column], [value]) if !sort.made => {
                match cql::to_bytes(value, &column.ty).is_empty() {
                    true => Ok(SortPlace::BeforeAll),
                    false => own_attribute(column, value, sort.ty).map(SortPlace::Own),
                }
            }
            _ => keys::sort_prefix(columns, prefix).map(SortPlace::Made),
        }
    }
}

/// Where rows lie among the sort keys of a partition.
enum SortPlace {
    Everywhere,
    /// Before every sort key that there can be.
    BeforeAll,
    /// Where a column's own attribute has this value.
    Own(Attr),
    /// Where a made sort key begins with these bytes.
    Made(Vec<u8>),
}

impl BoundEnd {
    fn end(self) -> Option<SortEnd> {
        match self {
            BoundEnd::At(end) => Some(end),
            BoundEnd::Open | BoundEnd::Nothing => None,
        }
    }
}

fn from(bytes: Vec<u8>) -> BoundEnd {
    BoundEnd::At(SortEnd {
        attr: Attr::B(bytes),
        included: true,
    })
}

fn before(bytes: Vec<u8>) -> BoundEnd {
    BoundEnd::At(SortEnd {
        attr: Attr::B(bytes),
        included: false,
    })
}

impl SortRange {
    /// Whether a sort key lies in it (`Equal`), before it, or after it.
    pub fn compare(&self, sort_key: &Attr) -> Ordering {
        let is_before = |end: &SortEnd| match compare(sort_key, &end.attr) {
            Ordering::Less => true,
            Ordering::Equal => !end.included,
            Ordering::Greater => false,
        };
        let is_behind = |end: &SortEnd| match compare(sort_key, &end.attr) {
            Ordering::Less => false,
            Ordering::Equal => !end.included,
            Ordering::Greater => true,
        };
        if self.lower.as_ref().is_some_and(is_before) {
            Ordering::Less
        } else if self.upper.as_ref().is_some_and(is_behind) {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }

    /// Whether nothing of it lies after a sort key, forwards or backwards.
    pub fn ends_at(&self, sort_key: &Attr, forward: bool) -> bool {
        let end = if forward { &self.upper } else { &self.lower };
        end.as_ref()
            .is_some_and(|end| compare(sort_key, &end.attr).is_eq())
    }

    /// What lies in both of two ranges; `None` if nothing does.
    pub fn and(self, other: SortRange) -> Option<SortRange> {
        let later = |one: SortEnd, two: SortEnd| match compare(&one.attr, &two.attr) {
            Ordering::Less => two,
            Ordering::Equal if one.included => two,
            Ordering::Equal | Ordering::Greater => one,
        };
        let earlier = |one: SortEnd, two: SortEnd| match compare(&one.attr, &two.attr) {
            Ordering::Less => one,
            Ordering::Equal if one.included => two,
            Ordering::Equal => one,
            Ordering::Greater => two,
        };
        let both = SortRange {
            lower: both(self.lower, other.lower, later),
            upper: both(self.upper, other.upper, earlier),
        };
        (!both.is_empty()).then_some(both)
    }

    fn is_empty(&self) -> bool {
        let (Some(lower), Some(upper)) = (&self.lower, &self.upper) else {
            return false;
        };
        match compare(&lower.attr, &upper.attr) {
            Ordering::Less => false,
            Ordering::Equal => !(lower.included && upper.included),
            Ordering::Greater => true,
        }
    }
}

fn both(
    one: Option<SortEnd>,
    two: Option<SortEnd>,
    narrower: impl Fn(SortEnd, SortEnd) -> SortEnd,
) -> Option<SortEnd> {
    match (one, two) {
        (Some(one), Some(two)) => Some(narrower(one, two)),
        (end, None) | (None, end) => end,
    }
}

/// The same lower end in a sort key's limit, beyond which DynamoDB takes none in a condition: no sort key lies
/// between the two.
fn lower_within_limit(end: SortEnd) -> SortEnd {
    match last_within_limit(&end.attr) {
        Some(attr) => SortEnd {
            attr,
            included: false,
        },
        None => end,
    }
}

fn upper_within_limit(end: SortEnd) -> SortEnd {
    match last_within_limit(&end.attr) {
        Some(attr) => SortEnd {
            attr,
            included: true,
        },
        None => end,
    }
}

/// The last value of a sort key's limit that comes before one that is longer; `None` if it isn't.
fn last_within_limit(attr: &Attr) -> Option<Attr> {
    match attr {
        Attr::B(bytes) if bytes.len() > SORT_KEY_LIMIT => {
            Some(Attr::B(bytes[..SORT_KEY_LIMIT].to_vec()))
        }
        Attr::S(text) if text.len() > SORT_KEY_LIMIT => {
            let end = text.floor_char_boundary(SORT_KEY_LIMIT);
            // The character that is cut takes more bytes than there is room for; those that do with less
            // come before it, and these are the last of them.
            let last = match SORT_KEY_LIMIT - end {
                0 => "",
                1 => "\u{7f}",
                2 => "\u{7ff}",
                _ => "\u{ffff}",
            };
            Some(Attr::S(format!("{}{last}", &text[..end])))
        }
        _ => None,
    }
}

/// Compares two sort keys of one table, as DynamoDB orders them.
fn compare(a: &Attr, b: &Attr) -> Ordering {
    match (a, b) {
        (Attr::B(a), Attr::B(b)) => a.cmp(b),
        (Attr::S(a), Attr::S(b)) => a.cmp(b),
        (Attr::N(a), Attr::N(b)) => {
            number::small_integer_of_n(a).cmp(&number::small_integer_of_n(b))
        }
        // A table's sort keys are all of one of these types.
        _ => Ordering::Equal,
    }
}
