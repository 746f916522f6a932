//! A part of one partition.

use std::ops::Bound;

use super::{Key, Value};

/// The rows of one partition between two bounds, in clustering order. A bound may give the first
/// clustering columns only, and then stands for all rows that have these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusteringRange {
    /// The partition key.
    pub partition: Vec<Value>,
    /// Where it begins.
    pub from: Bound<Vec<Value>>,
    /// Where it ends.
    pub until: Bound<Vec<Value>>,
}

impl ClusteringRange {
    /// A whole partition.
    pub fn whole(partition: Vec<Value>) -> Self {
        ClusteringRange {
            partition,
            from: Bound::Unbounded,
            until: Bound::Unbounded,
        }
    }

    /// Whether it is a whole partition: only then the static row belongs to it, before all others.
    pub fn is_whole(&self) -> bool {
        self.from == Bound::Unbounded && self.until == Bound::Unbounded
    }
}

/// A page of a range: the first `limit` rows after a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The rows.
    pub range: ClusteringRange,
    /// Whether they come in clustering order backwards.
    pub reverse: bool,
    /// The key that the page begins after, in the order of the page; it need not be there (any more).
    pub after: Option<Key>,
    /// How many rows at most; at least 1.
    pub limit: usize,
}
