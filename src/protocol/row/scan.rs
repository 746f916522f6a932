//! Walks over whole tables.
//!
//! | phase | steps |
//! |---|---|
//! | `old` | pages of O |
//! | `bridge`, `switch`, `copy` | first O's rows: 1 a page of O. 2 read N for its keys: a row there is shown instead, `t` or expired: none; absent: O's row. A `k` is read as by [`Get`], from its start, since O's row was read before it. Then N's items whose key O lacks: 1 a page of N. 2 read O for its keys: it has one: it was shown before |
//! | `new`, `done` | pages of N |
//!
//! The walk over O comes first, because rows move from O to N and never back: what has left O's part of the walk
//! is in N before the walk over N begins. The other way round a row that moves while N has been walked over is
//! missed. What is there all the time is shown once, and is shown as it was at some moment of the page.
//!
//! Where `bridge` meets `switch`, a row may be missed that both write at once: who is in `bridge` has found nothing in
//! N, who is in `switch` makes an item, the walk over O finds nothing yet, and then the old row is written, so that the
//! walk over N takes the key for one that was shown. It takes a write in `bridge` that is on its way all the time.
//!
//! A row that is deleted and put again while it is walked over may be shown twice, and so may one whose old twin
//! expires in between.
//!
//! A [`Position`] goes on in another phase than it was given in. Once O isn't read any more, the rows after a
//! position within it are N's items, but for those that were copied from what has been shown: what an application
//! has written since may be shown again, and nothing is missed.

use std::cmp::Ordering;

use super::{Get, Got, PageReply, Reply, show};
use crate::model::{ItemState, Key, Mark, Row};
use crate::protocol::phase::RowRead;
use crate::protocol::{Machine, Phase, Step};

/// Where a scan goes on. It stays good in every phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// In the old store's table, after this key.
    Old(Key),
    /// In the new store's table, after this key or from its start.
    New {
        /// The key.
        after: Option<Key>,
        /// Which rows of the old store have been shown before.
        shown: Shown,
    },
}

/// Which of the old store's rows a scan has shown before it went over the new store's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    /// None: the new store has all there are.
    None,
    /// Those up to this key.
    UpTo(Key),
    /// All of them.
    All,
}

/// The order in which the old store is walked over: by token, then within the partition.
pub trait ScanOrder {
    /// Compares two keys of the table.
    fn compare(&self, a: &Key, b: &Key) -> Ordering;
}

/// What a scan asks of the stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScanCall {
    /// A page of the old store's table: rows after this key alone.
    Old {
        /// The key; `None` is the start.
        after: Option<Key>,
        /// How many at most.
        limit: usize,
    },
    /// A page of the new store's table, tombstones and all, strongly consistent.
    New {
        /// The key that it begins after, in the new store's own order; `None` is the start.
        after: Option<Key>,
        /// How many at most.
        limit: usize,
    },
    /// Read rows of the old store, with its overlapping consistency.
    ReadOld(Vec<Key>),
    /// Read items of the new store, strongly consistent.
    ReadNew(Vec<Key>),
}

/// What came of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScanReply {
    /// The page. Only the last one may be without rows.
    Page(PageReply),
    /// One for each key, in order.
    Rows(Vec<Option<Row>>),
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Walked {
    /// The rows, and where the next page begins if more may follow.
    Rows(Vec<Row>, Option<Position>),
    /// Applications may not read this table: it is offline.
    Refused,
}

/// How much a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageLimit {
    /// Rows at most; at least 1.
    pub rows: usize,
    /// Bytes that end it, by [`Row::weight`]: a page may have one store page more.
    pub bytes: usize,
    /// Pages of a store that end it, be it without rows.
    pub pages: usize,
}

/// Rows of a store's first page at most: how large they are isn't known yet.
const FIRST_PAGE: usize = 100;
/// Rows of a later one at most.
const LARGEST_PAGE: usize = 1_000;

/// Reads a page of a whole table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Walkover<O> {
    phase: Phase,
    order: O,
    now: i64,
    rows_expire: bool,
    bound: PageLimit,
    /// Where it is; `None` at the end.
    position: Option<ScanPlace>,
    rows: Vec<Row>,
    weight: usize,
    pages: usize,
    at: ScanAt,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ScanPlace {
    Old(Option<Key>),
    New { after: Option<Key>, shown: Shown },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ScanAt {
    Start,
    Page,
    /// N's items for the keys of this page of O are being read.
    Beside(PageReply),
    /// O's rows for the keys of these items, which are of a page of N that ends so.
    Beneath(Vec<Row>, PageEnd),
    /// A partial item is being read with what the old store has; the others of its page follow.
    Partial {
        get: Box<Get>,
        rest: Vec<ScannedRow>,
        end: PageEnd,
    },
}

/// A row of a page: itself, or a partial item that has to be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ScannedRow {
    Row(Row),
    Partial(Key),
}

/// How a store's page ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PageEnd {
    last: Option<Key>,
    more: bool,
}

impl PageEnd {
    fn of(page: &PageReply) -> Self {
        PageEnd {
            last: page.rows.last().map(|row| row.key.clone()),
            more: page.more && !page.rows.is_empty(),
        }
    }
}

impl<O: ScanOrder> Walkover<O> {
    /// A page in this phase at `now` (seconds since 1970), from a position or the start. `rows_expire` as of
    /// [`Get::new`].
    pub fn new(
        phase: Phase,
        position: Option<Position>,
        order: O,
        bound: PageLimit,
        now: i64,
        rows_expire: bool,
    ) -> Self {
        let position = match (phase.row_read(), position) {
            (RowRead::Refused, _) => None,
            (RowRead::Old, None) => Some(ScanPlace::Old(None)),
            (RowRead::Old, Some(Position::Old(key))) => Some(ScanPlace::Old(Some(key))),
            // All of the old store's rows have been shown.
            (RowRead::Old, Some(Position::New { .. })) => None,
            (RowRead::NewElseOld | RowRead::NewElseOldAndSave, None) => Some(ScanPlace::Old(None)),
            (RowRead::NewElseOld | RowRead::NewElseOldAndSave, Some(Position::Old(key))) => {
                Some(ScanPlace::Old(Some(key)))
            }
            (RowRead::New, None) => Some(ScanPlace::New {
                after: None,
                shown: Shown::None,
            }),
            (RowRead::New, Some(Position::Old(key))) => Some(ScanPlace::New {
                after: None,
                shown: Shown::UpTo(key),
            }),
            (
                RowRead::NewElseOld | RowRead::NewElseOldAndSave | RowRead::New,
                Some(Position::New { after, shown }),
            ) => Some(ScanPlace::New { after, shown }),
        };
        Walkover {
            phase,
            order,
            now,
            rows_expire,
            bound: PageLimit {
                rows: bound.rows.max(1),
                ..bound
            },
            position,
            rows: Vec::new(),
            weight: 0,
            pages: 0,
            at: ScanAt::Start,
        }
    }

    fn reads_old(&self) -> bool {
        match self.phase.row_read() {
            RowRead::Old | RowRead::NewElseOld | RowRead::NewElseOldAndSave => true,
            RowRead::New | RowRead::Refused => false,
        }
    }

    /// The next page of a store, or the answer.
    fn advance(&mut self) -> Step<ScanCall, Walked> {
        let is_full = self.rows.len() >= self.bound.rows
            || self.weight >= self.bound.bytes
            || self.pages >= self.bound.pages;
        let Some(place) = self.position.clone().filter(|_| !is_full) else {
            let next = self.position.take().and_then(|place| match place {
                ScanPlace::Old(key) => key.map(Position::Old),
                ScanPlace::New { after, shown } => Some(Position::New { after, shown }),
            });
            return Step::Done(Walked::Rows(std::mem::take(&mut self.rows), next));
        };
        self.pages += 1;
        self.at = ScanAt::Page;
        let limit = self.page_size();
        Step::Call(match place {
            ScanPlace::Old(after) => ScanCall::Old { after, limit },
            ScanPlace::New { after, .. } => ScanCall::New { after, limit },
        })
    }

    /// Rows that are still wanted, as far as they will fit.
    fn page_size(&self) -> usize {
        let fitting = match self.weight.checked_div(self.rows.len()) {
            None => FIRST_PAGE,
            Some(row) => self.bound.bytes.saturating_sub(self.weight) / row.max(1),
        };
        let wanted = self.bound.rows.saturating_sub(self.rows.len());
        wanted.min(fitting).clamp(1, LARGEST_PAGE)
    }

    /// A store's page has been read.
    fn seen(&mut self, page: PageReply) -> Step<ScanCall, Walked> {
        let keys: Vec<Key> = page.rows.iter().map(|row| row.key.clone()).collect();
        match (&self.position, self.phase.row_read()) {
            (Some(ScanPlace::Old(_)), RowRead::NewElseOld | RowRead::NewElseOldAndSave)
                if !keys.is_empty() =>
            {
                self.at = ScanAt::Beside(page);
                Step::Call(ScanCall::ReadNew(keys))
            }
            (Some(ScanPlace::Old(_)), _) => {
                let end = PageEnd::of(&page);
                let rows = page.rows.into_iter().map(ScannedRow::Row).collect();
                self.show(rows, end)
            }
            (Some(ScanPlace::New { shown, .. }), _) => {
                let shown = shown.clone();
                self.seen_new(page, &shown)
            }
            (None, _) => self.advance(),
        }
    }

    /// N's items for a page of O's rows.
    fn seen_beside(&mut self, page: PageReply, items: Vec<Option<Row>>) -> Step<ScanCall, Walked> {
        let end = PageEnd::of(&page);
        let mut pairs = Vec::with_capacity(page.rows.len());
        for (row, item) in page.rows.into_iter().zip(items) {
            match ItemState::of(item.as_ref(), self.now) {
                ItemState::Absent => pairs.push(ScannedRow::Row(row)),
                ItemState::Partial => pairs.push(ScannedRow::Partial(row.key)),
                ItemState::Row | ItemState::Tombstone | ItemState::Expired => {
                    pairs.extend(show(item, None, self.now).map(ScannedRow::Row));
                }
            }
        }
        self.show(pairs, end)
    }

    /// A page of N's items, of which those that may have been shown with O's rows are looked for there.
    fn seen_new(&mut self, page: PageReply, shown: &Shown) -> Step<ScanCall, Walked> {
        let end = PageEnd::of(&page);
        let mut items = page.rows;
        items.retain(|item| match ItemState::of(Some(item), self.now) {
            ItemState::Row | ItemState::Partial => true,
            ItemState::Tombstone | ItemState::Expired | ItemState::Absent => false,
        });
        if !self.reads_old() {
            // What was copied was shown where its old row was.
            items.retain(|item| !(is_copy(item) && self.may_be_shown(item, shown)));
        }
        let beneath: Vec<Key> = items
            .iter()
            .filter(|item| self.reads_old() && self.may_be_shown(item, shown))
            .map(|item| item.key.clone())
            .collect();
        if beneath.is_empty() {
            return self.show(self.of_items(items), end);
        }
        self.at = ScanAt::Beneath(items, end);
        Step::Call(ScanCall::ReadOld(beneath))
    }

    fn may_be_shown(&self, item: &Row, shown: &Shown) -> bool {
        match shown {
            Shown::None => false,
            Shown::UpTo(key) => self.order.compare(&item.key, key).is_le(),
            Shown::All => true,
        }
    }

    /// What of N's items is shown: those with a row in O were shown before.
    fn seen_beneath(
        &mut self,
        items: Vec<Row>,
        end: PageEnd,
        old: Vec<Option<Row>>,
    ) -> Step<ScanCall, Walked> {
        let Some(ScanPlace::New { shown, .. }) = self.position.clone() else {
            return self.advance();
        };
        let mut old = old.into_iter();
        let mut left = Vec::with_capacity(items.len());
        for item in items {
            let is_beneath = self.may_be_shown(&item, &shown);
            if !is_beneath || old.next().flatten().is_none() {
                left.push(item);
            }
        }
        let pairs = self.of_items(left);
        self.show(pairs, end)
    }

    fn of_items(&self, items: Vec<Row>) -> Vec<ScannedRow> {
        let pair = |item: Row| match ItemState::of(Some(&item), self.now) {
            ItemState::Partial if self.reads_old() => Some(ScannedRow::Partial(item.key)),
            ItemState::Partial
            | ItemState::Row
            | ItemState::Tombstone
            | ItemState::Expired
            | ItemState::Absent => show(Some(item), None, self.now).map(ScannedRow::Row),
        };
        items.into_iter().filter_map(pair).collect()
    }

    /// Shows what is known, up to the next partial item, which is read first.
    fn show(&mut self, pairs: Vec<ScannedRow>, end: PageEnd) -> Step<ScanCall, Walked> {
        let mut pairs = pairs.into_iter();
        while let Some(pair) = pairs.next() {
            match pair {
                ScannedRow::Row(row) => self.push(row),
                ScannedRow::Partial(key) => {
                    let mut get = Box::new(Get::new(self.phase, key, self.now, self.rows_expire));
                    let step = get.begin();
                    let rest = pairs.collect();
                    return self.getting(get, step, rest, end);
                }
            }
        }
        let PageEnd { last, more } = end;
        self.position = match (self.position.take(), more) {
            (Some(ScanPlace::Old(after)), true) => Some(ScanPlace::Old(last.or(after))),
            (Some(ScanPlace::Old(_)), false) => match self.phase.row_read() {
                RowRead::NewElseOld | RowRead::NewElseOldAndSave => Some(ScanPlace::New {
                    after: None,
                    shown: Shown::All,
                }),
                RowRead::Old | RowRead::New | RowRead::Refused => None,
            },
            (Some(ScanPlace::New { after, shown }), true) => Some(ScanPlace::New {
                after: last.or(after),
                shown,
            }),
            (Some(ScanPlace::New { .. }), false) | (None, _) => None,
        };
        self.advance()
    }

    fn push(&mut self, row: Row) {
        self.weight += row.weight();
        self.rows.push(row);
    }

    fn getting(
        &mut self,
        get: Box<Get>,
        step: super::RowStep<Got>,
        rest: Vec<ScannedRow>,
        end: PageEnd,
    ) -> Step<ScanCall, Walked> {
        match step {
            Step::Call(super::Call::ReadNew(key)) => {
                self.at = ScanAt::Partial { get, rest, end };
                Step::Call(ScanCall::ReadNew(vec![key]))
            }
            Step::Call(super::Call::ReadOld(key)) => {
                self.at = ScanAt::Partial { get, rest, end };
                Step::Call(ScanCall::ReadOld(vec![key]))
            }
            // A read asks for nothing else.
            Step::Call(
                super::Call::WriteNew { .. }
                | super::Call::WriteAndTell { .. }
                | super::Call::WriteOld(_)
                | super::Call::QueryNew(_)
                | super::Call::QueryOld(_)
                | super::Call::DeleteOld(_),
            )
            | Step::Done(Got::Refused) => Step::Done(Walked::Refused),
            Step::Done(Got::Row(row)) => {
                row.into_iter().for_each(|row| self.push(row));
                self.show(rest, end)
            }
            // The copier brings it over.
            Step::Done(Got::Save(row, _)) => {
                self.push(row);
                self.show(rest, end)
            }
        }
    }
}

impl<O: ScanOrder> Machine for Walkover<O> {
    type Call = ScanCall;
    type Reply = ScanReply;
    type Answer = Walked;

    fn begin(&mut self) -> Step<ScanCall, Walked> {
        match self.phase.row_read() {
            RowRead::Refused => Step::Done(Walked::Refused),
            RowRead::Old | RowRead::NewElseOld | RowRead::NewElseOldAndSave | RowRead::New => {
                self.advance()
            }
        }
    }

    /// A reply that isn't what was asked for means: this page of the store from its start.
    fn step(&mut self, reply: ScanReply) -> Step<ScanCall, Walked> {
        match (std::mem::replace(&mut self.at, ScanAt::Start), reply) {
            (ScanAt::Page, ScanReply::Page(page)) => self.seen(page),
            (ScanAt::Beside(page), ScanReply::Rows(items)) if items.len() == page.rows.len() => {
                self.seen_beside(page, items)
            }
            (ScanAt::Beneath(items, end), ScanReply::Rows(old)) => {
                self.seen_beneath(items, end, old)
            }
            (ScanAt::Partial { mut get, rest, end }, ScanReply::Rows(rows)) => {
                let row = rows.into_iter().next().flatten();
                let step = get.step(Reply::Row(row));
                self.getting(get, step, rest, end)
            }
            (ScanAt::Partial { mut get, rest, end }, ScanReply::Page(_)) => {
                let step = get.begin();
                self.getting(get, step, rest, end)
            }
            (
                ScanAt::Start | ScanAt::Page | ScanAt::Beside(_) | ScanAt::Beneath(..),
                ScanReply::Page(_) | ScanReply::Rows(_),
            ) => self.advance(),
        }
    }
}

fn is_copy(item: &Row) -> bool {
    match item.mark {
        Some(Mark::Copied | Mark::Resaved) => true,
        Some(Mark::Application | Mark::Tombstone | Mark::Partial) | None => false,
    }
}
