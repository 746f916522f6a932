//! Rows: who owns a key, and the steps of every operation on it, phase by phase.
//!
//! For each key the new store itself says who owns it. No item: the old store does. An item, be it a
//! tombstone: the new one does, and whatever the old store has is hidden. Before `done` no key goes back
//! from the one to the other, so nothing that happens late can bring an old row to light again. No clock,
//! version or claim decides anything between the stores.
//!
//! An update of some columns of a key that the new store doesn't have can't wait for the rest of the row.
//! It makes a *partial item*: the given columns, and the set of columns that it decides (null is decided
//! too). Readers lay it over the old row, and the copier adds what it lacks: it *completes* it.
//!
//! # The steps
//!
//! `O` is the old store, `N` the new one. Every step is one store call and atomic. `IF` is a condition on
//! N's item that the same call checks; a refused call tells which item it met, so that the next step needs
//! no read. An item is *row*, `t` (tombstone), `k` (partial), *expired* or *absent* ([`ItemState`]).
//!
//! **[`Get`]**
//!
//! | phase | steps |
//! |---|---|
//! | `old` | 1 read O |
//! | `bridge`, `switch` | 1 read N. Row: that is it. `t` or expired: there is none. 2 `k` or absent: read O, and lay `k` over it |
//! | `copy` | the same; if O had a row, it is saved afterwards ([`Resave`]): absent: put it IF absent; `k`: complete it. Refused: someone else did |
//! | `new`, `done` | 1 read N: row or `k`. Else there is none; O isn't read |
//!
//! N comes first in every read: else a row could be read in O, an update land in N, and `k` be laid over a
//! row that isn't the latest. Where rows expire, N is read again after O, until it has what it had before:
//! the row may have been written to N after the first look, and the old one expired before it was looked
//! for. In `copy` that takes it only if O had no row.
//!
//! **[`Write`]** of [`Mutation::Put`] and [`Mutation::Delete`]
//!
//! | phase | steps |
//! |---|---|
//! | `old` | 1 O |
//! | `bridge` | 1 N IF it has an item of any kind. 2 refused: O |
//! | `switch`, `copy`, `new` | 1 N, whatever is there. A delete leaves `t` |
//! | `done` | 1 N, whatever is there, without a mark. A delete deletes |
//!
//! **[`Write`]** of [`Mutation::Update`], by what N has. `SET` is the update itself, and leaves the other
//! columns as they are.
//!
//! | phase | row, `t` | expired | `k` | absent |
//! |---|---|---|---|---|
//! | `old` | O | O | O | O |
//! | `bridge` | SET IF row or `t` | put the given columns alone IF expired | SET and decide them IF `k` | O |
//! | `switch`, `copy` | the same | the same | SET and decide them IF `k` or absent | the same |
//! | `new` | SET IF not expired | the same | the same call | the same call |
//! | `done` | the same, without marks | the same | the same | the same |
//!
//! The first call is that of the first column, and a refusal names the next. On `t` nothing is left of the
//! old columns, so SET makes a row of the given ones. An update that gives no column a value makes no
//! row: on `t` and on what expired it does nothing, and neither from `new` on where N has nothing; a `k`
//! without values shows none, and stays a `k`.
//!
//! **[`Write`]** of what needs the old value: an update that changes elements of a collection,
//! [`Mutation::Insert`] and [`Mutation::UpdateIf`]. It can't be laid over a row, so it needs a whole one:
//!
//! | phase | row, `t`, expired | `k` | absent |
//! |---|---|---|---|
//! | `old` | O | O | O |
//! | `bridge` | in place, IF its condition holds and it is not `k` | [`WriteAnswer::Later`] | update: O; insert, update-if: [`WriteAnswer::Later`] |
//! | `switch` | the same | [`WriteAnswer::Later`] | [`WriteAnswer::Later`] |
//! | `copy` | the same | read O, complete it, then as for a row | read O, put it IF absent, then as for a row; O has none: as in `new` |
//! | `new`, `done` | the same | update: in place; others: as a row, for O has no part in it | as if deleted |
//!
//! **[`QueryRange`]** reads as `Get` does, for every stretch of keys N before O (and N again where rows
//! expire), and merges both in clustering order. **[`DeleteRange`]** is native in `old`; else it lists the
//! keys of both stores (from `new` on of N) and deletes each as `Write` would: as safe as a delete for each
//! key, and not atomic over them.
//!
//! **[`Write`]** of what is [`crate::model::Judged`]: it depends on the row that is there, by a rule of the
//! application's own. A tombstone, an item that has expired, and from `new` on no item, are judged as there being
//! no row; a partial item is never judged.
//!
//! | phase | row | `t`, expired | `k` | absent |
//! |---|---|---|---|---|
//! | `old` | 1 read O, and judge it. 2 O IF the cells that the rule looks at are still so, or IF there still is no row. Refused: judge what was met | | | |
//! | `bridge`, `switch` | in place IF the rule holds | judged here; then IF still so | [`WriteAnswer::Later`] | [`WriteAnswer::Later`] |
//! | `copy` | the same | the same | read O, complete it, then as for a row | read O, put it IF absent, then as for a row; O has none: as in `new` |
//! | `new`, `done` | the same | the same | completed by itself, then as a row | as `t` |
//!
//! What is *made of* the row ([`crate::model::Then::Compute`]) takes a look at N first, and is written IF the cells
//! that the rule looks at are still so.
//!
//! A write that **tells** the row ([`Write::telling`]) has it from the same call of N. What of it the old store has is
//! read after that: in `copy` it doesn't change; in `switch` and for a `k` of `bridge` it may have been overtaken. Where
//! O is written, it is read before.
//!
//! **[`Walkover`]** scans whole tables, **[`WriteTogether`]** and **[`ReadTogether`]** are transactions; their steps
//! are told in their modules.
//!
//! **Tools**
//!
//! | machine | phases | steps |
//! |---|---|---|
//! | [`CopyRow`] | `copy`, `offline` | 1 read O: none: done. 2 put it IF absent. 3 refused by `k`: complete it, and again if refused by another `k`. Refused by anything else: done |
//! | [`Repair`] | `copy`, `offline` | 1 read N: absent: copy. Written by an application or by an unknown writer: done. 2 read O. 3 if it differs: put it IF the item has the mark that was seen. If O has none: delete it on that condition, if told so |
//! | [`Purge`] | `done` | 1 read N. 2 `t`: delete IF `t`. Expired: delete IF it still is expired. Marked, if told so: take the marks off IF it has the mark that was seen (`k`: IF it is as it was seen) |
//!
//! *Complete*: SET the columns that `k` doesn't decide as O has them, mark as the application's, forget what
//! was decided, IF it is `k` and decides what it did. A `k` whose key O lacks is a whole row. Where the old
//! row expires, it must have been read after the `k` was met (if it was read before, it is read again), and
//! the condition is that `k` is still the very same: a younger one must not get an expiry that has passed.
//! (One that was given equal values again can't be told from the one that was met. It takes a completion
//! that is on its way at the moment of expiry, and then the update expires with the row.)
//!
//! # Why this is safe
//!
//! The model of `tests/model.rs` drives these machines through every order of their calls, and leaves out
//! one rule after the other to see that it is needed. In words:
//!
//! - `bridge` has one effective write for each operation, and N is where it looks first: a peer in
//!   `switch` may have written there a moment ago. A peer in `old` knows nothing of N, so nothing is made there.
//! - In `copy` nothing writes to O, so what was read there can't be overtaken, and "put IF absent" is
//!   all that copying and saving need: what an application wrote is never touched.
//! - No instance in `new` reads O, hence all rows have to be in N and whole before that.
//! - A write whose reply was lost is sent again only where its condition makes that harmless: copies,
//!   completions, purges. An application's write is answered [`WriteAnswer::Unknown`], because a second
//!   one could undo a later write.
//! - An operation keeps the phase it began in to its end, what it saves afterwards included; and every
//!   machine here belongs to a participant whom the moves from phase to phase wait for.
//!
//! Times are given to the machines (`now`). Expiry belongs to whole rows: an update leaves it as it is
//! unless it gives one, and a completed item has that of the old row unless an update gave it one.
//!
//! What drives a machine has to bound the number of its calls: two of them may refuse each other as
//! long as one gets on.

mod get;
mod purge;
mod query;
mod scan;
mod together;
mod tools;
mod walk;
mod write;

#[cfg(test)]
mod tests;

pub use get::{Get, Got, Resave};
pub use purge::{Purge, Purged};
pub use query::{DeleteProgress, DeleteRange, Queried, QueryRange};
pub use scan::{PageLimit, Position, ScanCall, ScanOrder, ScanReply, Shown, Walked, Walkover};
pub use together::{
    Cause, Concluded, ReadTogether, SeenTogether, TogetherCall, TogetherReply, WriteTogether,
};
pub use tools::{Copied, CopyRow, Repair, Repaired};
pub use walk::ClusteringOrder;
pub use write::{Write, WriteAnswer};

use super::phase::RowRead;
use crate::model::{
    Change, ClusteringRange, Condition, Edit, ItemState, Key, Mark, Mutation, Query, Returns, Row,
};

/// Whether a key lets its table go back from `bridge` to `old`, where nothing looks at the new store. Asked of
/// every key once every participant is in `bridge`. An item of any kind forbids it, a copy that is the old row's twin
/// included: a participant that is still in `bridge` writes to the item, and one in `old` doesn't see that.
pub fn may_return_to_old(item: Option<&Row>) -> bool {
    item.is_none()
}

/// What a machine wants next, about one row or a range of rows.
pub type RowStep<A> = super::Step<Call, A>;

/// A store call.
///
/// Rows of the old store come and go as the new store would have them: their cells in the order of the
/// new table, renamed, masked and with an expiry as the plan says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Read an item of the new store, strongly consistent.
    ReadNew(Key),
    /// Read a row of the old store, with its overlapping consistency.
    ReadOld(Key),
    /// Write to the new store, if the condition holds.
    WriteNew {
        /// Where.
        key: Key,
        /// What.
        change: Change,
        /// On which condition.
        on: Condition,
    },
    /// The same, and the reply tells the item as it is before or after.
    WriteAndTell {
        /// Where.
        key: Key,
        /// What.
        change: Change,
        /// On which condition.
        on: Condition,
        /// Which of them.
        returns: Returns,
    },
    /// Write to the old store as the application would have done it.
    WriteOld(Mutation),
    /// Read a page of items of the new store, strongly consistent, tombstones and all.
    QueryNew(Query),
    /// Read a page of rows of the old store.
    QueryOld(Query),
    /// Delete a range of rows in the old store.
    DeleteOld(ClusteringRange),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// What was read, if there is anything.
    Row(Option<Row>),
    /// The page that was read.
    Page(PageReply),
    /// The write has happened.
    Written,
    /// The write has happened, and this is the item that it was to tell, if there is one.
    Told(Option<Row>),
    /// The write has certainly not happened, since its condition wasn't met: by this item or row.
    Refused(Option<Row>),
    /// The reply was lost: the write may have happened, or may happen yet. (A read that failed is no
    /// reply at all: it is made again, or the machine dropped.)
    Unknown,
}

/// A page of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageReply {
    /// The rows, in the order that was asked for. Only the last page may be without any.
    pub rows: Vec<Row>,
    /// Whether more rows may follow.
    pub more: bool,
}

/// The row that readers see, given what both stores have: without mark and decided cells.
fn show(item: Option<Row>, old: Option<Row>, now: i64) -> Option<Row> {
    match (ItemState::of(item.as_ref(), now), item, old) {
        (ItemState::Absent, _, old) => old,
        (ItemState::Tombstone | ItemState::Expired, ..)
        | (ItemState::Row | ItemState::Partial, None, _) => None,
        (ItemState::Row, Some(item), _) => Some(Row { mark: None, ..item }),
        (ItemState::Partial, Some(item), Some(mut old)) => {
            old.expires = item.expires.or(old.expires);
            for (at, cell) in item.cells.into_iter().enumerate() {
                if let (true, Some(shown)) = (item.decided.contains(&at), old.cells.get_mut(at)) {
                    *shown = cell;
                }
            }
            Some(old)
        }
        // A column that was taken away doesn't make a row.
        (ItemState::Partial, Some(item), None) if item.cells.iter().all(Option::is_none) => None,
        (ItemState::Partial, Some(item), None) => Some(Row {
            mark: None,
            decided: Default::default(),
            ..item
        }),
    }
}

/// Whether the new store has to be looked at once more after the old one, where rows expire: until it has
/// the same before and after, so that both were seen at one moment.
///
/// The row may have come to the new store after the first look, and then the old one have expired: it would
/// be missing. As long as the old store is written to, there may be another row by then. Once it is
/// frozen, a row that is there has been there all the time.
fn must_look_again(read: RowRead, old: Option<&Row>) -> bool {
    match read {
        RowRead::NewElseOld => true,
        RowRead::NewElseOldAndSave => old.is_none(),
        RowRead::Old | RowRead::New | RowRead::Refused => false,
    }
}

/// The write that brings an old row into the new store: all of it where there is no item, or what a
/// partial item doesn't decide.
fn move_over(item: Option<&Row>, old: &Row, mark: Mark) -> (Change, Condition) {
    let Some(partial) = item else {
        let mut row = old.clone();
        row.mark = Some(mark);
        return (Change::Put(row), Condition::absent());
    };
    let cells = old.cells.iter().enumerate();
    let cells = cells.map(|(at, cell)| match cell {
        Some(value) if !partial.decided.contains(&at) => Some(Edit::Set(value.clone())),
        Some(_) | None => None,
    });
    let change = Change::Edit {
        cells: cells.collect(),
        mark: Some(Mark::Application),
        // What an update said of the row's expiry is younger than the old row.
        expires: partial.expires.is_none().then_some(old.expires).flatten(),
    };
    let on = match old.expires {
        None => Condition::Decides(partial.decided.clone()),
        Some(_) => Condition::Same(partial.clone().into()),
    };
    (change, on)
}

/// Whether an old row that was read before may complete a partial item that has just been met.
///
/// A row that expires may be gone by now, and the item be younger: it would be given columns that are no
/// more, and an expiry that has passed. So the row is read again; and the item must still be the very one
/// that was met before, since the same columns may have been written anew after the row expired.
fn completes_what_is_met(old: &Row) -> bool {
    old.expires.is_none()
}

/// The write that makes a partial item whole whose key the old store lacks: a row, or a tombstone if it
/// shows none.
fn settle(partial: Row) -> (Change, Condition) {
    if partial.cells.iter().all(Option::is_none) {
        return (Change::Bury, Condition::Same(partial.into()));
    }
    let change = Change::Edit {
        cells: vec![None; partial.cells.len()],
        mark: Some(Mark::Application),
        expires: None,
    };
    (change, Condition::Decides(partial.decided))
}
