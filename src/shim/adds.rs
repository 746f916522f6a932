//! Adding to counters: one write at a time for a key, and everything that comes meanwhile as the next.
//!
//! A popular act gets thousands of votes a second, and an item takes a thousand writes. What goes along
//! shares the answer of its write, which is one operation with one phase: an add that waits hasn't begun.
//! Each has a deadline of its own all the same. One that passes while the add waits means that it hasn't
//! happened; one that passes while it is on its way, that nobody knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::operation::{Begun, Joined, Operation, Place, Request, Sent, Tried};
use super::rows::{offline, to_source, unknown};
use super::table::Inner;
use crate::error::{Error, Kind, Result};
use crate::mapping::canonical;
use crate::model::{Add, Key, Mark};
use crate::protocol::{Step, counter};

/// Counters that one write adds to at most, so that its expression isn't too long for the store.
const COUNTERS: usize = 100;
/// What part of an operation's time an answer takes to come back to those who wait for it.
const MARGIN: u32 = 100;

/// What waits for the write under way of each key.
#[derive(Default)]
pub(super) struct Adds(Mutex<Queues>);

#[derive(Default)]
struct Queues {
    of: HashMap<Key, Vec<Waiting>>,
    next: u64,
}

struct Waiting {
    id: u64,
    by: Vec<Option<i64>>,
    deadline: Instant,
    /// What its last try came to, which has certainly not happened.
    failed: Option<Error>,
    answer: oneshot::Sender<Result<()>>,
}

impl Waiting {
    fn end(self) {
        let error = self.failed.unwrap_or_else(too_late);
        // Whoever doesn't wait any more knows without it.
        let _ = self.answer.send(Err(error));
    }
}

/// What goes together as one write.
struct Together {
    by: Vec<Option<i64>>,
    waiting: Vec<Waiting>,
}

impl Together {
    /// When the last of them gives up.
    fn deadline(&self) -> Instant {
        let deadlines = self.waiting.iter().map(|waiting| waiting.deadline);
        deadlines.max().unwrap_or_else(Instant::now)
    }

    fn answer(self, answer: &Result<()>) {
        for waiting in self.waiting {
            let _ = waiting.answer.send(answer.clone());
        }
    }
}

impl Adds {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an add: its id, and whether nothing of its key is under way, so that somebody has to begin.
    fn push(
        &self,
        key: &Key,
        by: Vec<Option<i64>>,
        deadline: Instant,
        answer: oneshot::Sender<Result<()>>,
    ) -> (u64, bool) {
        let mut queues = self.queues();
        let id = queues.next;
        queues.next += 1;
        let waiting = Waiting {
            id,
            by,
            deadline,
            failed: None,
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
    fn withdraw(&self, key: &Key, id: u64) -> Option<Error> {
        let mut queues = self.queues();
        let queue = queues.of.get_mut(key)?;
        let at = queue.iter().position(|waiting| waiting.id == id)?;
        Some(queue.remove(at).failed.unwrap_or_else(too_late))
    }

    /// What goes together as the next write; none is the end of the queue. An operation takes `time` at most.
    ///
    /// Those with little time left go along: each knows its own deadline, so they cost the others nothing,
    /// whereas a write of their own would cost those the time that it takes.
    fn take(&self, key: &Key, time: Duration) -> Option<Together> {
        let mut queues = self.queues();
        let queue = queues.of.get_mut(key)?;
        let soon = Instant::now() + time / MARGIN;
        // Nobody waits for these any more, and they haven't been sent.
        let is_over =
            |waiting: &mut Waiting| waiting.answer.is_closed() || waiting.deadline <= soon;
        queue.extract_if(.., is_over).for_each(Waiting::end);
        let mut together = Together {
            by: Vec::new(),
            waiting: Vec::new(),
        };
        let mut rest = Vec::new();
        for waiting in queue.drain(..) {
            match plus(&together.by, &waiting.by) {
                Some(both) if rest.is_empty() => {
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

    /// Adds that certainly haven't happened go to the head of the queue again.
    fn put_back(&self, key: &Key, together: Together, error: &Error) {
        let mut queues = self.queues();
        let queue = queues.of.entry(key.clone()).or_default();
        let again = together.waiting.into_iter().map(|waiting| Waiting {
            failed: Some(error.clone()),
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

fn too_late() -> Error {
    Error::new(
        Kind::Timeout,
        "adds before it took too long, and it wasn't sent",
    )
}

impl Inner {
    pub async fn add(self: Arc<Self>, begun: Begun, key: Key, by: Vec<Option<i64>>) -> Result<()> {
        let Begun { joined, deadline } = begun;
        let key = canonical::key(joined.transform.target(), key);
        let (answer, mut answered) = oneshot::channel();
        let (id, begins) = self.adds.push(&key, by, deadline, answer);
        if begins {
            // A task of its own: others' adds must not end with this caller.
            tokio::spawn(self.clone().send_adds(joined, key.clone()));
        }
        if let Ok(answer) = tokio::time::timeout_at(deadline, &mut answered).await {
            return answer.unwrap_or_else(|_| Err(unknown(&self)));
        }
        match self.adds.withdraw(&key, id) {
            Some(error) => Err(error.at("table", self.name.as_str())),
            // It may have been answered since.
            None => answered.try_recv().unwrap_or_else(|_| Err(unknown(&self))),
        }
    }

    async fn send_adds(self: Arc<Self>, joined: Arc<Joined>, key: Key) {
        let time = self.settings.deadline;
        let mut pauses = self.pauses();
        while let Some(together) = self.adds.take(&key, time) {
            let along = together.waiting.len() as u64 - 1;
            if along > 0 {
                let table = self.name.clone();
                metrics::counter!("crossfade_adds_coalesced_total", "table" => table)
                    .increment(along);
            }
            let deadline = together.deadline() - time / MARGIN;
            let tried = match Operation::begin(&self, &joined, deadline) {
                Ok(operation) => operation.add(&key, together.by.clone()).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(Added::Done) => together.answer(&Ok(())),
                Ok(Added::NotYet(error)) => {
                    self.adds.put_back(&key, together, &error);
                    pauses.sleep().await;
                    continue;
                }
                Err(error) => together.answer(&Err(error)),
            }
            pauses = self.pauses();
        }
    }
}

/// What one try of an add came to.
enum Added {
    Done,
    /// It certainly hasn't happened, and may if it is tried again.
    NotYet(Error),
}

impl Operation {
    async fn add(mut self, key: &Key, by: Vec<Option<i64>>) -> Result<Added> {
        self.may_add(key)?;
        let mut add = counter::Add::new(self.phase(), by);
        let mut step = add.begin();
        let added = loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(added) => break added,
            };
            let reply = match call {
                counter::Call::Add { to, by } => match self.send_add(key, to, by).await? {
                    Replied::With(reply) => reply,
                    Replied::NotYet(error) => return Ok(Added::NotYet(error)),
                },
                counter::Call::ReadNew
                | counter::Call::ReadOld
                | counter::Call::Insert(_)
                | counter::Call::Fold(_) => counter::Reply::Unknown,
            };
            step = add.step(reply);
        };
        match added {
            counter::Added::Added => self.may_say_done().map(|()| Added::Done),
            counter::Added::Refused => Err(offline(&self.table)),
            counter::Added::Unknown => Err(unknown(&self.table)),
        }
    }

    /// Sends an add: once, or with a token until there is an answer.
    async fn send_add(
        &mut self,
        key: &Key,
        to: counter::Place,
        by: counter::Totals,
    ) -> Result<Replied> {
        let (place, by, mark) = match to {
            counter::Place::Old => (Place::Old, to_source(&self.joined.transform, by), None),
            counter::Place::New => (Place::New, by, Some(Mark::Application)),
            counter::Place::NewUnmarked => (Place::New, by, None),
        };
        let has_token = place == Place::New && self.table.moving.exactly_once;
        let add = Add {
            key: key.clone(),
            by,
            mark,
            token: has_token.then(|| format!("{:032x}", rand::random::<u128>())),
        };
        let reply = |reply| Ok(Replied::With(reply));
        let mut pauses = self.table.pauses();
        let mut sent_before = false;
        loop {
            match self.write_once(place, &Request::Add(&add)).await {
                Ok(Tried::Sent(Sent::Done(_))) => return reply(counter::Reply::Written),
                // The same token counts once, however often it is sent.
                Ok(Tried::Sent(Sent::Unknown(_))) if has_token => {
                    sent_before = true;
                    if !self.pause(&mut pauses).await {
                        return reply(counter::Reply::Unknown);
                    }
                }
                Ok(Tried::Sent(Sent::Unknown(_))) => return reply(counter::Reply::Unknown),
                // This one hasn't happened; an earlier one may have.
                Ok(Tried::NotYet(_)) if sent_before => {
                    if !self.pause(&mut pauses).await {
                        return reply(counter::Reply::Unknown);
                    }
                }
                Err(_) if sent_before => return reply(counter::Reply::Unknown),
                Ok(Tried::NotYet(error)) => return Ok(Replied::NotYet(error)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What was heard of an add.
enum Replied {
    With(counter::Reply),
    /// It certainly hasn't happened, and may if it is tried again.
    NotYet(Error),
}
