//! AddQueue that wait for the write of their key that is under way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{Effect, Error, Kind, Result};
use crate::model::Key;
use crate::protocol::counter::Totals;

/// Counters that one write adds to at most, so that its expression isn't too long for the store.
const COUNTERS: usize = 100;
/// The longest try that is taken for a sign of how long the next one takes.
pub(super) const LONGEST_TRY: Duration = Duration::from_secs(1);
/// What part of an operation's time an answer takes to come back to those who wait for it.
pub(super) const MARGIN: u32 = 100;

/// What waits for the write under way of each key.
#[derive(Default)]
pub(super) struct AddQueue(Mutex<Queues>);

#[derive(Default)]
struct Queues {
    of: HashMap<Key, Vec<QueuedAdd>>,
    next: u64,
}

/// What an add is known by to its sender, for a store that counts once whatever it is sent with the same token.
#[derive(Clone, Debug)]
pub struct AddToken {
    /// The token: 1 to 36 characters.
    text: String,
    /// It may have been sent before with this token.
    again: bool,
    /// It was, or may have been, made in a way that the token doesn't tell.
    untold: Arc<AtomicBool>,
}

impl AddToken {
    /// A token of 1 to 36 characters, and whether an add may have been sent with it before.
    pub fn new(text: impl Into<String>, again: bool) -> Self {
        AddToken {
            text: text.into(),
            again,
            untold: Arc::default(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_again(&self) -> bool {
        self.again
    }

    pub(super) fn is_untold(&self) {
        self.untold.store(true, Ordering::Release);
    }

    /// Whether an add whose effect is unknown counts once if it is sent again with this token.
    pub fn tells(&self) -> bool {
        !self.untold.load(Ordering::Acquire)
    }
}

pub(super) struct QueuedAdd {
    id: u64,
    by: Vec<Option<i64>>,
    /// Whether it wants to know the totals after it.
    tells: bool,
    /// With one it goes alone.
    token: Option<AddToken>,
    deadline: Instant,
    /// What its last try came to, which has certainly not happened.
    failed: Option<Error>,
    /// How long that took: another one has to have the time, since the outcome of one that the deadline cuts off isn't known.
    took: Duration,
    answer: oneshot::Sender<Result<Totals>>,
}

impl QueuedAdd {
    fn end(self) {
        let error = self.failed.unwrap_or_else(too_late);
        // A caller that doesn't wait any more knows without it.
        let _ = self.answer.send(Err(error));
    }
}

/// An add as it is asked for.
pub(super) struct AskedAdd {
    pub by: Vec<Option<i64>>,
    /// Whether it wants to know the totals after it.
    pub tells: bool,
    pub token: Option<AddToken>,
}

/// What goes together as one write.
pub(super) struct QueuedAdds {
    pub by: Vec<Option<i64>>,
    pub waiting: Vec<QueuedAdd>,
}

impl QueuedAdds {
    /// When the last of them gives up.
    pub fn deadline(&self) -> Instant {
        let deadlines = self.waiting.iter().map(|waiting| waiting.deadline);
        deadlines.max().unwrap_or_else(Instant::now)
    }

    /// The token of the only one.
    pub fn token(&self) -> Option<AddToken> {
        self.waiting
            .iter()
            .find_map(|waiting| waiting.token.clone())
    }

    /// Whether any of them wants to know the totals.
    pub fn tells(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.tells)
    }

    /// Answers one after the other, as if each had been sent alone: the last one's totals are those that were told.
    pub fn answer(self, answer: Result<Totals>) {
        let mut answer = answer;
        for waiting in self.waiting.into_iter().rev() {
            let before = match &answer {
                Ok(totals) => minus(totals, &waiting.by),
                Err(error) => Err(error.clone()),
            };
            let _ = waiting.answer.send(answer);
            answer = before;
        }
    }
}

impl AddQueue {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an add: its id, and whether nothing of its key is under way, so that this caller has to begin.
    pub fn push(
        &self,
        key: &Key,
        adding: AskedAdd,
        deadline: Instant,
        answer: oneshot::Sender<Result<Totals>>,
    ) -> (u64, bool) {
        let AskedAdd { by, tells, token } = adding;
        let mut queues = self.queues();
        let id = queues.next;
        queues.next += 1;
        let waiting = QueuedAdd {
            id,
            by,
            tells,
            token,
            deadline,
            failed: None,
            took: Duration::ZERO,
            answer,
        };
        match queues.of.get_mut(key) {
            Some(queue) => {
                queue.push(waiting);
                (id, false)
            }
            None => {
                queues.of.insert(key.clone(), vec![waiting]);
                (id, true)
            }
        }
    }

    /// Takes an add back that waits; its error. `None` if it is on its way.
    pub fn withdraw(&self, key: &Key, id: u64) -> Option<Error> {
        let mut queues = self.queues();
        let queue = queues.of.get_mut(key)?;
        let at = queue.iter().position(|waiting| waiting.id == id)?;
        Some(queue.remove(at).failed.unwrap_or_else(too_late))
    }

    /// What goes together as the next write; none is the end of the queue. An operation takes `time` at most.
    ///
    /// Those with little time left go along: each knows its own deadline, so they cost the others nothing,
    /// whereas a write of their own would cost those the time that it takes.
    pub fn take(&self, key: &Key, time: Duration) -> Option<QueuedAdds> {
        let mut queues = self.queues();
        let queue = queues.of.get_mut(key)?;
        let now = Instant::now();
        // Nothing waits for these any more, or there is no time for them, and they haven't been sent.
        let is_over = |waiting: &mut QueuedAdd| {
            waiting.answer.is_closed() || waiting.deadline <= now + waiting.took.max(time / MARGIN)
        };
        queue.extract_if(.., is_over).for_each(QueuedAdd::end);
        let mut together = QueuedAdds {
            by: Vec::new(),
            waiting: Vec::new(),
        };
        let mut rest = Vec::new();
        for waiting in queue.drain(..) {
            let goes_along = together.waiting.is_empty()
                || (together.token().is_none() && waiting.token.is_none());
            match plus(&together.by, &waiting.by) {
                Some(both) if rest.is_empty() && goes_along => {
                    together.by = both;
                    together.waiting.push(waiting);
                }
                Some(_) | None => rest.push(waiting),
            }
        }
        *queue = rest;
        if together.waiting.is_empty() {
            queues.of.remove(key);
            return None;
        }
        Some(together)
    }

    /// Adds that certainly haven't happened, and how long it took to know that, go to the head of the queue again.
    pub fn put_back(&self, key: &Key, together: QueuedAdds, error: &Error, took: Duration) {
        let mut queues = self.queues();
        let queue = queues.of.entry(key.clone()).or_default();
        let again = together.waiting.into_iter().map(|waiting| QueuedAdd {
            failed: Some(error.clone()),
            took: took.min(LONGEST_TRY),
            ..waiting
        });
        queue.splice(0..0, again);
    }
}

/// Column by column; `None` if a sum leaves the range of an `i64`, or there are too many for a write.
fn plus(one: &[Option<i64>], other: &[Option<i64>]) -> Option<Vec<Option<i64>>> {
    let at = |all: &[Option<i64>], at: usize| all.get(at).copied().flatten();
    let sum = |column| match (at(one, column), at(other, column)) {
        (None, None) => Some(None),
        (a, b) => Some(Some(a.unwrap_or(0).checked_add(b.unwrap_or(0))?)),
    };
    let sum: Vec<Option<i64>> = (0..one.len().max(other.len()))
        .map(sum)
        .collect::<Option<_>>()?;
    // One add alone is as large as its caller made it.
    let fits = one.is_empty() || sum.iter().flatten().count() <= COUNTERS;
    fits.then_some(sum)
}

/// The totals before an add. One that isn't told stays so.
pub(super) fn minus(totals: &Totals, by: &[Option<i64>]) -> Result<Totals> {
    let before = |(at, total): (usize, &Option<i64>)| match (total, by.get(at).copied().flatten()) {
        (Some(total), Some(by)) => match total.checked_sub(by) {
            Some(before) => Ok(Some(before)),
            None => {
                Err(out_of_range(i128::from(*total) - i128::from(by)).with_effect(Effect::Unknown))
            }
        },
        (total, _) => Ok(*total),
    };
    totals.iter().enumerate().map(before).collect()
}

pub(super) fn out_of_range(total: i128) -> Error {
    let message = format!("the counter's total would be {total}, which no bigint can hold");
    Error::new(Kind::Invalid, message)
}

fn too_late() -> Error {
    Error::new(
        Kind::Timeout,
        "adds before it took too long, and it wasn't sent",
    )
}
