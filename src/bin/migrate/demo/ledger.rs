//! What the applications of the demo were promised, written down beside the stores, and what they saw.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossfade::error::Result;
use crossfade::model::{Key, Row, Value};
use crossfade::shim::Shim;

use super::ClosingLine;
use super::data::{user, users, vote_key};
use crate::format;

/// Totals of `called` and `texted`.
pub type LedgerTotals = [i64; 2];

/// Who is signed up, changed and deleted while the demo runs: the first so many users.
pub const BUSY: u64 = 2_000;

/// Everything that was promised.
pub struct Ledger {
    users: Vec<Mutex<Story>>,
    cast: Vec<Mutex<Votes>>,
    pub tally: LedgerTally,
}

/// What was added to one row of counters.
#[derive(Default)]
struct Votes {
    cast: LedgerTotals,
    /// Added, or not: the reply was lost.
    in_doubt: LedgerTotals,
}

/// What was done to one user. One task at a time changes it.
#[derive(Clone, Default)]
pub struct Story {
    /// The last change that was begun.
    begun: u64,
    /// The last one that was acknowledged.
    acknowledged: u64,
    /// Those that were deletes.
    deletes: BTreeSet<u64>,
    /// It isn't known what has become of the last one, which may land late: so it was the last one.
    in_doubt: bool,
}

/// Counts of what was done and seen.
#[derive(Default)]
pub struct LedgerTally {
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub failed: AtomicU64,
    lost: AtomicU64,
    back: AtomicU64,
}

impl LedgerTally {
    /// What the applications did, for people.
    pub fn said(&self) -> String {
        let of = |count: &AtomicU64| format::count(count.load(Ordering::Relaxed));
        format!(
            "The applications have ended: {} changes of users and {} reads of them; {} operations failed, and said so",
            of(&self.writes),
            of(&self.reads),
            of(&self.failed)
        )
    }
}

/// What became of a change.
#[derive(Clone, Copy)]
pub enum ChangeFate {
    Written,
    Deleted,
}

impl Ledger {
    /// A ledger of so many users, and of the votes of earlier days.
    pub fn new(users: u64, cast: Vec<LedgerTotals>) -> Self {
        let stories = (0..users.min(BUSY)).map(|_| Mutex::default());
        Ledger {
            users: stories.collect(),
            cast: cast.into_iter().map(Votes::of).map(Mutex::new).collect(),
            tally: LedgerTally::default(),
        }
    }

    /// How many users are busy.
    pub fn users(&self) -> u64 {
        self.users.len() as u64
    }

    /// How many counters there are.
    pub fn counters(&self) -> u64 {
        self.cast.len() as u64
    }

    /// A change of a user is about to be sent: its number. None if it can't be told what that would overtake.
    pub fn begin(&self, number: u64, change: ChangeFate) -> Option<u64> {
        let mut story = self.story(number);
        if story.in_doubt {
            return None;
        }
        story.begun += 1;
        let begun = story.begun;
        if matches!(change, ChangeFate::Deleted) {
            story.deletes.insert(begun);
        }
        Some(begun)
    }

    /// It isn't known whether the last change of a user was made.
    pub fn doubt(&self, number: u64) {
        self.story(number).in_doubt = true;
    }

    /// It was acknowledged.
    pub fn acknowledge(&self, number: u64, change: u64) {
        self.story(number).acknowledged = change;
        self.tally.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// A vote was acknowledged, or it isn't known whether it was made.
    pub fn voted(&self, number: u64, column: usize, by: i64, in_doubt: bool) {
        let mut votes = lock(&self.cast[number as usize]);
        match in_doubt {
            false => votes.cast[column] += by,
            true => votes.in_doubt[column] += by,
        }
    }

    /// How a user's story is before a read.
    pub fn before(&self, number: u64) -> Story {
        self.story(number).clone()
    }

    /// Judges what a read has seen, which began at that story.
    pub fn seen(&self, number: u64, before: &Story, row: Option<&Row>) {
        self.tally.reads.fetch_add(1, Ordering::Relaxed);
        let after = self.story(number).clone();
        match row.map(change_of) {
            // A row may show anything that hasn't been overtaken by what was acknowledged.
            Some(change) if (before.acknowledged..=after.begun).contains(&change) => {}
            Some(change) => {
                let deleted = after.deletes.range(change..=before.acknowledged).next();
                match deleted {
                    Some(_) => &self.tally.back,
                    None => &self.tally.lost,
                }
                .fetch_add(1, Ordering::Relaxed);
            }
            None => {
                let mut deletes = after.deletes.range(before.acknowledged..=after.begun);
                if deletes.next().is_none() {
                    self.tally.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Reads everything once more, when nothing writes any more.
    pub async fn check(&self, shim: &Shim) -> Result<Vec<ClosingLine>> {
        let table = shim.table("users")?;
        for number in 0..self.users() {
            let before = self.before(number);
            let row = table.get(&user(number).key).await?;
            self.seen(number, &before, row.as_ref());
        }
        let votes = shim.table("votes")?;
        let (mut cast, mut in_doubt, mut counted, mut different) = (0, 0, 0, 0);
        for number in 0..self.counters() {
            let (promised, doubted) = {
                let votes = lock(&self.cast[number as usize]);
                (votes.cast, votes.in_doubt)
            };
            let seen = votes.count(&vote_key(number)).await?;
            let seen: Vec<i64> = seen.into_iter().map(|total| total.unwrap_or(0)).collect();
            cast += sum(&promised);
            in_doubt += sum(&doubted);
            counted += sum(&seen);
            let lawful = |at: usize| promised[at]..=promised[at] + doubted[at];
            let is_lawful = (0..2).all(|at| seen.get(at).is_some_and(|n| lawful(at).contains(n)));
            different += u64::from(!is_lawful);
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(vec![
            ClosingLine::new("acknowledged writes lost", 0, of(&self.tally.lost)),
            ClosingLine::new("deleted rows seen again", 0, of(&self.tally.back)),
            ClosingLine::new("votes cast, and counted", cast, counted).in_doubt(in_doubt),
            ClosingLine::new("counters that differ", 0, different),
        ])
    }

    fn story(&self, number: u64) -> MutexGuard<'_, Story> {
        lock(&self.users[number as usize])
    }
}

/// A user's row as a change leaves it: its number is in the address.
pub fn changed(number: u64, change: u64) -> Row {
    let mut row = user(number);
    row.cells[email()] = Some(Value::Text(format!("{change}@example.org")));
    row
}

/// The place of the address among the cells.
pub fn email() -> usize {
    users().cell("email").unwrap_or_default()
}

/// The key of a user.
pub fn user_key(number: u64) -> Key {
    user(number).key
}

/// Which change a row shows; what was there before them all is number 0.
fn change_of(row: &Row) -> u64 {
    match row.cells.get(email()) {
        Some(Some(Value::Text(address))) => {
            let number = address.split('@').next();
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        }
        Some(Some(_) | None) | None => 0,
    }
}

impl Votes {
    fn of(cast: LedgerTotals) -> Self {
        Votes {
            cast,
            ..Votes::default()
        }
    }
}

fn sum(totals: &[i64]) -> u64 {
    totals.iter().map(|total| total.unsigned_abs()).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
