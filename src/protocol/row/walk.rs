use std::cmp::Ordering;
use std::ops::Bound;

use super::{Call, PageReply, Reply, RowStep, must_look_again};
use crate::model::{ClusteringRange, Key, Mark, Query, Row};
use crate::protocol::phase::RowRead;

/// The order of rows within a partition, the static row first: as both stores list them forwards.
pub trait ClusteringOrder {
    /// Compares two keys of one partition.
    fn compare(&self, a: &Key, b: &Key) -> Ordering;
}

/// Rows of a page at most, unless a caller asks for more.
const LARGEST_PAGE: usize = 4_000;
/// Bytes of rows that a page should have at most.
const PAGE_BYTES: usize = 1 << 20;

/// Which stores a walk looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WalkedStores {
    Old,
    New,
    /// Each stretch in the new store before the old one; and then again in the new one, if rows expire.
    Both {
        read: RowRead,
        rows_expire: bool,
    },
}

/// Walks over a range of rows, a stretch at a time.
///
/// With both stores a stretch ends where the shorter of the two pages does, so that each of its keys has
/// been looked for in both. What the new store's page has beyond it is kept for the next stretch, because
/// it has been read first all the same; what the old store's page has beyond it is read again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Walk<O> {
    order: O,
    stores: WalkedStores,
    /// What is asked for next: everything up to `query.after` is over.
    query: Query,
    /// What the caller asked for.
    limit: usize,
    /// The new store's page after `query.after`, if it has been read.
    new: Option<PageReply>,
    at: WalkAt,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WalkAt {
    ReadingNew,
    ReadingOld,
    /// The new store is being read again; this is the old store's page.
    Rechecking(PageReply),
}

/// A key of a stretch, with what the new and the old store have of it: at least one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: Key,
    pub(super) item: Option<Row>,
    pub(super) old: Option<Row>,
}

/// What was found between two positions.
#[derive(Debug)]
pub(super) struct Stretch {
    /// In order, each key once.
    pub(super) pairs: Vec<Pair>,
    /// Whether nothing follows.
    pub(super) is_over: bool,
}

impl<O: ClusteringOrder> Walk<O> {
    pub(super) fn new(order: O, stores: WalkedStores, query: Query) -> Self {
        let limit = query.limit.max(1);
        Walk {
            order,
            stores,
            query: Query { limit, ..query },
            limit,
            new: None,
            at: WalkAt::ReadingNew,
        }
    }

    /// The key that the next stretch comes after.
    pub(super) fn after(&self) -> Option<&Key> {
        self.query.after.as_ref()
    }

    /// What is still to be walked over forwards, as a range; with a partition's static row, unless rows were
    /// walked over.
    pub(super) fn rest(&self) -> ClusteringRange {
        let range = self.query.range.clone();
        let values = self.after().and_then(|key| key.clustering.clone());
        match values.filter(|values| !values.is_empty()) {
            Some(values) => ClusteringRange {
                from: Bound::Excluded(values),
                ..range
            },
            None => range,
        }
    }

    /// The first call of the next stretch.
    pub(super) fn advance(&mut self) -> Call {
        match (self.stores, &self.new) {
            (WalkedStores::Old, _) | (WalkedStores::Both { .. }, Some(_)) => self.read_old(),
            (WalkedStores::New, _) | (WalkedStores::Both { .. }, None) => {
                self.read_new(WalkAt::ReadingNew)
            }
        }
    }

    /// The step after a reply. One that isn't what was asked for means: this stretch from its start.
    pub(super) fn step(&mut self, reply: Reply) -> RowStep<Stretch> {
        let page = match reply {
            Reply::Page(page) if page.more && page.rows.is_empty() => return self.again(),
            Reply::Page(page) => page,
            Reply::Row(_)
            | Reply::Written
            | Reply::Refused(_)
            | Reply::Told(_)
            | Reply::Unknown => {
                return self.again();
            }
        };
        match (
            std::mem::replace(&mut self.at, WalkAt::ReadingNew),
            self.stores,
        ) {
            (WalkAt::ReadingNew, WalkedStores::Both { .. }) => {
                self.new = Some(page);
                RowStep::Call(self.read_old())
            }
            (
                WalkAt::ReadingOld,
                WalkedStores::Both {
                    rows_expire: true, ..
                },
            ) => RowStep::Call(self.read_new(WalkAt::Rechecking(page))),
            (WalkAt::Rechecking(old), _) => self.stretch(old, Some(page)),
            (
                WalkAt::ReadingOld,
                WalkedStores::Both { .. } | WalkedStores::Old | WalkedStores::New,
            ) => self.stretch(page, None),
            (WalkAt::ReadingNew, WalkedStores::Old | WalkedStores::New) => {
                self.new = Some(page);
                self.stretch(PageReply::default(), None)
            }
        }
    }

    fn again(&mut self) -> RowStep<Stretch> {
        self.new = None;
        RowStep::Call(self.advance())
    }

    fn read_new(&mut self, at: WalkAt) -> Call {
        self.at = at;
        Call::QueryNew(self.query.clone())
    }

    fn read_old(&mut self) -> Call {
        self.at = WalkAt::ReadingOld;
        Call::QueryOld(self.query.clone())
    }

    fn stretch(&mut self, old: PageReply, recheck: Option<PageReply>) -> RowStep<Stretch> {
        let new = self.new.take().unwrap_or_default();
        let ends = [Some(&new), Some(&old), recheck.as_ref()];
        let ends = ends.into_iter().flatten().filter(|page| page.more);
        let end = ends.filter_map(|page| page.rows.last()).map(|row| &row.key);
        let end = end.min_by(|a, b| self.compare(a, b)).cloned();

        let is_within = |row: &Row| match &end {
            Some(end) => self.compare(&row.key, end).is_le(),
            None => true,
        };
        let (items, rest) = new.rows.into_iter().partition(is_within);
        let old = old.rows.into_iter().filter(is_within).collect();
        let mut pairs = self.pairs(items, old);
        let larger = self.larger(&pairs);
        let changed = recheck.and_then(|page| {
            let mut items = page.rows.into_iter().filter(is_within);
            items.find(|item| self.has_changed(&pairs, item))
        });

        self.query.limit = larger;
        if let Some(changed) = changed {
            pairs.retain(|pair| self.compare(&pair.key, &changed.key).is_lt());
            if let Some(last) = pairs.last() {
                self.query.after = Some(last.key.clone());
            }
            return RowStep::Done(Stretch {
                pairs,
                is_over: false,
            });
        }
        let rest = PageReply {
            rows: rest,
            more: new.more,
        };
        let is_known = !rest.more || !rest.rows.is_empty();
        self.new = is_known.then_some(rest);
        let is_over = end.is_none();
        self.query.after = end.or(self.query.after.take());
        RowStep::Done(Stretch { pairs, is_over })
    }

    /// How many rows the next page should have, from those of this one: large rows come by fewer.
    fn larger(&self, pairs: &[Pair]) -> usize {
        let rows = pairs.iter().flat_map(|pair| [&pair.item, &pair.old]);
        let weights = rows.flatten().map(Row::weight);
        let (count, weight) =
            weights.fold((0, 0), |(count, sum), weight| (count + 1, sum + weight));
        let fitting = match count {
            0 => LARGEST_PAGE,
            count => PAGE_BYTES / (weight / count).max(1),
        };
        let doubled = self.query.limit.saturating_mul(2);
        doubled.min(fitting).min(LARGEST_PAGE).max(self.limit)
    }

    /// Whether an item tells that its key was overtaken: see [`must_look_again`].
    fn has_changed(&self, pairs: &[Pair], item: &Row) -> bool {
        let at = pairs.binary_search_by(|pair| self.compare(&pair.key, &item.key));
        let (Some(pair), WalkedStores::Both { read, .. }) =
            (at.ok().and_then(|at| pairs.get(at)), self.stores)
        else {
            return true;
        };
        // Where the item alone decides, it doesn't matter what the old store had meanwhile.
        let decides_alone = |seen: &Row| seen.mark != Some(Mark::Partial);
        must_look_again(read, pair.old.as_ref())
            && !pair.item.as_ref().is_some_and(decides_alone)
            && pair.item.as_ref() != Some(item)
    }

    fn pairs(&self, items: Vec<Row>, old: Vec<Row>) -> Vec<Pair> {
        let (mut items, mut old) = (items.into_iter().peekable(), old.into_iter().peekable());
        let mut pairs = Vec::with_capacity(items.len().max(old.len()));
        loop {
            let order = match (items.peek(), old.peek()) {
                (Some(item), Some(row)) => self.compare(&item.key, &row.key),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return pairs,
            };
            let item = items.next_if(|_| order.is_le());
            let old = old.next_if(|_| order.is_ge());
            let key = item.as_ref().or(old.as_ref()).map(|row| row.key.clone());
            pairs.extend(key.map(|key| Pair { key, item, old }));
        }
    }

    fn compare(&self, a: &Key, b: &Key) -> Ordering {
        let order = self.order.compare(a, b);
        if self.query.reverse {
            order.reverse()
        } else {
            order
        }
    }
}
