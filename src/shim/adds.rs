//! Adding to counters: one write at a time for a key, and everything that comes meanwhile as the next.
//!
//! A popular act gets thousands of votes a second, and an item takes a thousand writes. What goes along
//! shares the answer of its write, which is one operation with one phase: an add that waits hasn't begun.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::operation::{Joined, Operation, Place, Request, Sent};
use super::rows::{offline, to_source, unknown};
use super::table::Inner;
use crate::error::{Error, Kind, Result};
use crate::mapping::canonical;
use crate::model::{Add, Key, Mark};
use crate::protocol::{Step, counter};

/// What waits for the write under way of each key.
#[derive(Default)]
pub(super) struct Adds(Mutex<HashMap<Key, Vec<Waiting>>>);

struct Waiting {
    by: Vec<Option<i64>>,
    deadline: Instant,
    answer: oneshot::Sender<Result<()>>,
}

impl Adds {
    fn queues(&self) -> MutexGuard<'_, HashMap<Key, Vec<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an add. `true` if nothing of its key is under way, so that somebody has to begin.
    fn push(&self, key: &Key, waiting: Waiting) -> bool {
        let mut queues = self.queues();
        match queues.get_mut(key) {
            Some(queue) => {
                queue.push(waiting);
                false
            }
            None => {
                queues.insert(key.clone(), vec![waiting]);
                true
            }
        }
    }

    /// What goes together as the next write; none is the end of the queue.
    fn take(&self, key: &Key) -> Option<(Vec<Option<i64>>, Vec<Waiting>)> {
        let mut queues = self.queues();
        let queue = queues.get_mut(key)?;
        let mut together = Vec::new();
        let mut sum: Vec<Option<i64>> = Vec::new();
        let now = Instant::now();
        let mut rest = Vec::new();
        for waiting in queue.drain(..) {
            if waiting.deadline <= now || waiting.answer.is_closed() {
                // Nobody waits any more, and it hasn't been sent.
                let _ = waiting.answer.send(Err(too_late()));
                continue;
            }
            match plus(&sum, &waiting.by) {
                Some(both) if rest.is_empty() => {
                    sum = both;
                    together.push(waiting);
                }
                Some(_) | None => rest.push(waiting),
            }
        }
        *queue = rest;
        if together.is_empty() {
            queues.remove(key);
            return None;
        }
        Some((sum, together))
    }
}

/// Column by column; `None` if a sum leaves the range of an `i64`.
fn plus(one: &[Option<i64>], other: &[Option<i64>]) -> Option<Vec<Option<i64>>> {
    let at = |all: &[Option<i64>], at: usize| all.get(at).copied().flatten();
    let sum = |column| match (at(one, column), at(other, column)) {
        (None, None) => Some(None),
        (a, b) => Some(Some(a.unwrap_or(0).checked_add(b.unwrap_or(0))?)),
    };
    (0..one.len().max(other.len())).map(sum).collect()
}

fn too_late() -> Error {
    Error::new(
        Kind::Timeout,
        "adds before it took too long, and it wasn't sent",
    )
}

impl Inner {
    pub async fn add(
        self: Arc<Self>,
        joined: Arc<Joined>,
        key: Key,
        by: Vec<Option<i64>>,
    ) -> Result<()> {
        let key = canonical::key(joined.transform.target(), key);
        let deadline = self.deadline();
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            by,
            deadline,
            answer,
        };
        if self.adds.push(&key, waiting) {
            // A task of its own: others' adds must not end with this caller.
            tokio::spawn(self.clone().send_adds(joined, key));
        }
        let lost = || Err(unknown(&self));
        answered.await.unwrap_or_else(|_| lost())
    }

    async fn send_adds(self: Arc<Self>, joined: Arc<Joined>, key: Key) {
        while let Some((by, together)) = self.adds.take(&key) {
            let along = together.len() as u64 - 1;
            if along > 0 {
                let table = self.name.clone();
                metrics::counter!("crossfade_adds_coalesced_total", "table" => table)
                    .increment(along);
            }
            let earliest = together.iter().map(|waiting| waiting.deadline).min();
            let deadline = earliest.unwrap_or_else(Instant::now);
            let answer = match Operation::begin(&self, &joined, deadline) {
                Ok(operation) => operation.add(&key, by).await,
                Err(error) => Err(error),
            };
            for waiting in together {
                let _ = waiting.answer.send(answer.clone());
            }
        }
    }
}

impl Operation {
    async fn add(mut self, key: &Key, by: Vec<Option<i64>>) -> Result<()> {
        self.may_add(key)?;
        let mut add = counter::Add::new(self.phase(), by);
        let mut step = add.begin();
        let added = loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(added) => break added,
            };
            let reply = match call {
                counter::Call::Add { to, by } => self.send_add(key, to, by).await?,
                counter::Call::ReadNew
                | counter::Call::ReadOld
                | counter::Call::Insert(_)
                | counter::Call::Fold(_) => counter::Reply::Unknown,
            };
            step = add.step(reply);
        };
        match added {
            counter::Added::Added => self.may_say_done(),
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
    ) -> Result<counter::Reply> {
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
        let mut pauses = self.table.pauses();
        let mut sent_before = false;
        loop {
            match self.write(place, &Request::Add(&add)).await {
                Ok(Sent::Done(_)) => return Ok(counter::Reply::Written),
                // The same token counts once, however often it is sent.
                Ok(Sent::Unknown(_)) if has_token && self.pause(&mut pauses).await => {
                    sent_before = true;
                }
                Ok(Sent::Unknown(_)) => return Ok(counter::Reply::Unknown),
                // This one hasn't happened; an earlier one may have.
                Err(_) if sent_before => return Ok(counter::Reply::Unknown),
                Err(error) => return Err(error),
            }
        }
    }
}
