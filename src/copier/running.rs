//! The ranges that are being read: how far each has come, and what an idle reader takes over of them.
//!
//! A range that is read far longer than its peers is shared while it is read: its end is lowered, and what is beyond
//! becomes a range of its own. Only what no page has brought yet is given away. The statement that reads the range
//! keeps its bounds, and rows beyond the new end are dropped as they arrive, since the other reader brings them too:
//! so no cursor has to be found anew, and each row is written once. A partition has one token, and one reader.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::seconds;
use crate::model::{Row, Tokens};
use crate::store::Page;

/// What a copy is reading now.
#[derive(Default)]
pub(super) struct RunningRanges {
    held: Mutex<HeldRanges>,
    /// An idle reader may find more to take over than before.
    more: Notify,
}

#[derive(Default)]
struct HeldRanges {
    /// The tokens that the copy is of.
    whole: u64,
    /// The share of them that is done.
    done: f64,
    /// By the token that each begins after.
    running: BTreeMap<i64, RunningRange>,
    /// Parts of a range that was cut, which nobody reads yet.
    waiting: Vec<Tokens>,
}

/// A range that is being read.
struct RunningRange {
    up_to: i64,
    /// The token of the last row that has arrived.
    at: i64,
    /// Since when it is this one, and how many rows of it have arrived.
    since: Instant,
    rows: u64,
    /// The last page had rows of this token only, and the one before it ended there.
    is_in_one: bool,
    /// A page has arrived since something was given away last, and more are to come.
    may_give: bool,
}

/// How long the slowest reader has been in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Slowest {
    /// Seconds since a reader has come to another partition, of the one for which that is longest.
    pub seconds: f64,
    /// Rows of the largest partition that is being read, where one takes several pages.
    pub partition_rows: Option<u64>,
}

impl RunningRanges {
    /// A copy of these tokens begins, this share of which is done.
    pub(super) fn begin(&self, whole: Tokens, done: f64) {
        let mut held = self.held();
        held.whole = whole.width();
        held.done = done;
    }

    /// A range begins to be read.
    pub(super) fn enter(&self, tokens: Tokens) {
        let range = RunningRange {
            up_to: tokens.up_to,
            at: tokens.after,
            since: Instant::now(),
            rows: 0,
            is_in_one: false,
            may_give: false,
        };
        self.held().running.insert(tokens.after, range);
    }

    /// A page of a range has arrived: takes out of it what isn't the range's any more.
    pub(super) fn arrived(&self, tokens: Tokens, page: &mut Page, token: impl Fn(&Row) -> i64) {
        let mut held = self.held();
        let Some(range) = held.running.get_mut(&tokens.after) else {
            return;
        };
        if page.rows.last().is_some_and(|row| token(row) > range.up_to) {
            let mine = page.rows.partition_point(|row| token(row) <= range.up_to);
            page.rows.truncate(mine);
            page.next = None;
        }
        if let Some(last) = page.rows.last().map(&token) {
            let before = page.rows.partition_point(|row| token(row) < last);
            range.is_in_one = before == 0 && range.at == last;
            if range.at != last {
                (range.at, range.since, range.rows) = (last, Instant::now(), 0);
            }
            range.rows += (page.rows.len() - before) as u64;
        }
        range.may_give = page.next.is_some();
        if range.may_give {
            self.more.notify_one();
        }
    }

    /// A range isn't read any more; gives what was left to it.
    pub(super) fn leave(&self, tokens: Tokens) -> Tokens {
        let mut held = self.held();
        let Some(range) = held.running.get_mut(&tokens.after) else {
            return tokens;
        };
        range.may_give = false;
        Tokens {
            up_to: range.up_to,
            ..tokens
        }
    }

    /// What was read of a range is noted as done, and is in this share.
    pub(super) fn noted(&self, tokens: Tokens, done: f64) {
        let mut held = self.held();
        held.running.remove(&tokens.after);
        held.done = done;
    }

    /// Takes over for an idle reader: a part that waits, or of the range with most left the upper half of what no page
    /// has brought yet; all of that where its reader is in one partition for long.
    pub(super) fn take(&self) -> Option<Tokens> {
        let mut held = self.held();
        if !held.waiting.is_empty() {
            return Some(held.waiting.remove(0));
        }
        let ranges = held.running.values_mut().filter(|range| range.may_give);
        let range = ranges.max_by_key(|range| range.left().width())?;
        let given = match range.is_in_one {
            true => Some(range.left()).filter(|left| !left.is_empty()),
            false => range.left().halves().map(|(_, upper)| upper),
        }?;
        range.up_to = given.after;
        range.may_give = false;
        Some(given)
    }

    /// Lets idle readers have a part of a range that its reader comes to later.
    pub(super) fn offer(&self, tokens: Tokens) {
        self.held().waiting.push(tokens);
        self.more.notify_one();
    }

    /// Whether nobody has taken what was offered. Nobody will from now on.
    pub(super) fn take_back(&self, tokens: Tokens) -> bool {
        let mut held = self.held();
        let waiting = &mut held.waiting;
        let place = waiting.iter().position(|other| *other == tokens);
        place.map(|place| waiting.remove(place)).is_some()
    }

    /// Waits until there may be more to take over.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// Which part of the copy's tokens is done or has been read, 0 to 1; 1 is all of it, and noted.
    pub(super) fn share(&self) -> f64 {
        let held = self.held();
        if held.done >= 1.0 {
            return 1.0;
        }
        let read: u128 = held
            .running
            .iter()
            .map(|(after, range)| u128::from(range.at.wrapping_sub(*after) as u64))
            .sum();
        let share = held.done + read as f64 / held.whole.max(1) as f64;
        share.min(1.0 - f64::EPSILON)
    }

    pub(super) fn slowest(&self) -> Slowest {
        let held = self.held();
        let ranges = || held.running.values();
        Slowest {
            seconds: ranges()
                .map(|range| seconds(range.since))
                .fold(0.0, f64::max),
            partition_rows: ranges()
                .filter(|range| range.is_in_one)
                .map(|range| range.rows)
                .max(),
        }
    }

    fn held(&self) -> MutexGuard<'_, HeldRanges> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningRange {
    /// What no page has brought yet.
    fn left(&self) -> Tokens {
        Tokens {
            after: self.at,
            up_to: self.up_to.max(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{Key, Value};
    use crate::store::Cursor;

    fn tokens(after: i64, up_to: i64) -> Tokens {
        Tokens { after, up_to }
    }

    /// A row whose token is its key.
    fn row(token: i64) -> Row {
        Row::new(Key::row(vec![Value::BigInt(token)], vec![]), vec![])
    }

    fn token(row: &Row) -> i64 {
        match row.key.partition[0] {
            Value::BigInt(token) => token,
            _ => unreachable!(),
        }
    }

    fn page(at: &[i64], more: bool) -> Page {
        let rows: Vec<Row> = at.iter().copied().map(row).collect();
        let key = rows.last().unwrap().key.clone();
        let next = more.then_some(Cursor { key, state: None });
        Page {
            rows,
            next,
            ..Page::default()
        }
    }

    /// The tokens of what is left of a page that arrives, and whether another is to be asked for.
    fn arrived(ranges: &RunningRanges, range: Tokens, at: &[i64], more: bool) -> (Vec<i64>, bool) {
        let mut page = page(at, more);
        ranges.arrived(range, &mut page, token);
        (page.rows.iter().map(token).collect(), page.next.is_some())
    }

    #[test]
    fn half_of_what_is_unread_is_given_away_and_dropped_when_it_arrives() {
        let ranges = RunningRanges::default();
        let range = tokens(0, 1_000);
        ranges.enter(range);
        assert_eq!(ranges.take(), None, "nothing is known of it yet");
        assert_eq!(
            arrived(&ranges, range, &[10, 200], true),
            (vec![10, 200], true)
        );
        assert_eq!(ranges.take(), Some(tokens(600, 1_000)));
        assert_eq!(ranges.take(), None, "once for each page");
        assert_eq!(
            arrived(&ranges, range, &[600, 601, 900], true),
            (vec![600], false)
        );
        assert_eq!(ranges.take(), None, "its last page is here");
        assert_eq!(ranges.leave(range), tokens(0, 600));
    }

    #[test]
    fn who_is_in_one_partition_for_long_gives_all_the_rest_away() {
        let ranges = RunningRanges::default();
        let range = tokens(0, 1_000);
        ranges.enter(range);
        arrived(&ranges, range, &[10, 50], true);
        assert_eq!(ranges.slowest().partition_rows, None);
        arrived(&ranges, range, &[50, 50, 50], true);
        assert_eq!(ranges.slowest().partition_rows, Some(4));
        assert_eq!(ranges.take(), Some(tokens(50, 1_000)));
        assert_eq!(
            arrived(&ranges, range, &[50, 50], true),
            (vec![50, 50], true)
        );
        assert_eq!(ranges.take(), None, "a partition stays one");
        assert_eq!(
            arrived(&ranges, range, &[51, 52], true),
            (Vec::new(), false)
        );
        assert_eq!(ranges.leave(range), tokens(0, 50));
    }

    #[test]
    fn the_range_with_most_left_gives_and_what_waits_goes_first() {
        let ranges = RunningRanges::default();
        let (low, high) = (tokens(0, 1_000), tokens(1_000, 2_000));
        for (range, at) in [(low, 100), (high, 1_900)] {
            ranges.enter(range);
            arrived(&ranges, range, &[at], true);
        }
        ranges.offer(tokens(5_000, 6_000));
        ranges.offer(tokens(6_000, 7_000));
        assert_eq!(ranges.take(), Some(tokens(5_000, 6_000)));
        assert!(!ranges.take_back(tokens(5_000, 6_000)));
        assert!(ranges.take_back(tokens(6_000, 7_000)));
        assert_eq!(ranges.take(), Some(tokens(550, 1_000)));
        assert_eq!(ranges.take(), Some(tokens(1_950, 2_000)));
    }

    #[test]
    fn the_share_counts_what_has_arrived_and_is_whole_only_when_noted() {
        let ranges = RunningRanges::default();
        ranges.begin(tokens(0, 1_000), 0.5);
        let range = tokens(500, 1_000);
        ranges.enter(range);
        arrived(&ranges, range, &[600], true);
        assert!((ranges.share() - 0.6).abs() < 1e-9);
        arrived(&ranges, range, &[1_000], false);
        assert!(ranges.share() < 1.0);
        ranges.noted(range, 1.0);
        assert!(ranges.share() >= 1.0);
    }
}
