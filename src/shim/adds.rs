//! Adds to counters: one write at a time for a key, and everything that comes meanwhile as the next.
//!
//! A popular act gets thousands of votes a second, and an item takes a thousand writes. What goes along
//! shares the answer of its write, which is one operation with one phase: an add that waits hasn't begun.
//! Each has a deadline of its own all the same. One that passes while the add waits means that it hasn't
//! happened; one that passes while it is on its way means that its outcome isn't known.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::inner::{Begun, Joined, TableInner};
use super::operation::{Operation, Sent, StoreWrite, Tried, WhichStore};
use super::queue::{AddToken, AskedAdd, MARGIN};
use super::rows::to_source;
use crate::codec::canonical;
use crate::error::{Effect, Error, Result};
use crate::model::{Add, Key, Mark};
use crate::protocol::counter::Totals;
use crate::protocol::{Machine, Step, counter};
use crate::store::Changed;

impl TableInner {
    /// Adds; and tells the totals after that, if they are asked for.
    pub async fn add(self: Arc<Self>, begun: Begun, key: Key, adding: AskedAdd) -> Result<Totals> {
        let Begun { joined, deadline } = begun;
        let key = canonical::key(joined.transform.target(), key);
        let (answer, mut answered) = oneshot::channel();
        let (id, begins) = self.adds.push(&key, adding, deadline, answer);
        if begins {
            // A task of its own: others' adds must not end with this caller.
            tokio::spawn(self.clone().send_adds(joined, key.clone()));
        }
        if let Ok(answer) = tokio::time::timeout_at(deadline, &mut answered).await {
            return answer.unwrap_or_else(|_| Err(self.unknown()));
        }
        match self.adds.withdraw(&key, id) {
            Some(error) => Err(error.with_context("table", self.name.as_str())),
            // It may have been answered since.
            None => answered.try_recv().unwrap_or_else(|_| Err(self.unknown())),
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
            let begun = Instant::now();
            let (by, token) = (together.by.clone(), together.token());
            let tried = match Operation::begin(&self, &joined, deadline) {
                Ok(operation) if together.tells() => operation.add_and_count(&key, by, token).await,
                Ok(operation) => operation.add(&key, by, token).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(AddTry::Done(totals)) => together.answer(Ok(totals)),
                Ok(AddTry::NotYet(error)) => {
                    self.adds.put_back(&key, together, &error, begun.elapsed());
                    pauses.sleep().await;
                    continue;
                }
                Err(error) => together.answer(Err(error)),
            }
            pauses = self.pauses();
        }
    }
}

/// What one try of an add came to.
enum AddTry {
    /// These are the totals, if they were asked for.
    Done(Totals),
    /// It certainly hasn't happened, and may if it is tried again.
    NotYet(Error),
}

impl Operation {
    async fn add(
        mut self,
        key: &Key,
        by: Vec<Option<i64>>,
        token: Option<AddToken>,
    ) -> Result<AddTry> {
        let token = token.as_ref();
        self.may_add(key)?;
        let mut add = counter::AddToCounters::new(self.phase(), by);
        let mut step = add.begin();
        let added = loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(added) => break added,
            };
            let reply = match call {
                counter::CounterCall::Add { to, by } => {
                    match self.send_add(key, to, by, token).await? {
                        Replied::With(reply) => reply,
                        Replied::NotYet(error) => return Ok(AddTry::NotYet(error)),
                    }
                }
                counter::CounterCall::ReadNew
                | counter::CounterCall::ReadOld
                | counter::CounterCall::Insert(_)
                | counter::CounterCall::Fold(_)
                | counter::CounterCall::AddAndTell { .. } => counter::CounterReply::Unknown,
            };
            step = add.step(reply);
        };
        match added {
            counter::Added::Added => self.may_say_done().map(|()| AddTry::Done(Vec::new())),
            counter::Added::Refused => Err(self.table.offline()),
            counter::Added::Unknown => Err(self.table.unknown()),
        }
    }

    async fn add_and_count(
        mut self,
        key: &Key,
        by: Vec<Option<i64>>,
        token: Option<AddToken>,
    ) -> Result<AddTry> {
        let token = token.as_ref();
        self.may_add(key)?;
        let mut tally = counter::Tally::new(self.phase(), by);
        let mut step = tally.begin();
        let tallied = loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(tallied) => break tallied,
            };
            let reply = match call {
                counter::CounterCall::Add { to, by } => self.send_add(key, to, by, token).await?,
                counter::CounterCall::AddAndTell { to, by } => {
                    self.send_and_tell(key, to, by, token).await?
                }
                call @ (counter::CounterCall::ReadNew
                | counter::CounterCall::ReadOld
                | counter::CounterCall::Insert(_)
                | counter::CounterCall::Fold(_)) => match self.read_counter(call, key).await {
                    Ok(reply) => Replied::With(reply),
                    // The add is made, whatever became of the look at the totals.
                    Err(error) if tally.is_made() => return Err(error.with_effect(Effect::Unknown)),
                    Err(error) => return Err(error),
                },
            };
            step = match reply {
                Replied::With(reply) => tally.step(reply),
                Replied::NotYet(error) => return Ok(AddTry::NotYet(error)),
            };
        };
        match tallied {
            counter::Tallied::Added(counted) => {
                self.may_say_done()?;
                let totals = self.totals(counted);
                let totals = totals.map_err(|error| error.with_effect(Effect::Unknown));
                totals.map(AddTry::Done)
            }
            counter::Tallied::Refused => Err(self.table.offline()),
            counter::Tallied::Unknown => Err(self.table.unknown()),
        }
    }

    /// Sends an add to the new store, which tells the item as it is then. With a token it can't: then the item is
    /// read after it.
    async fn send_and_tell(
        &mut self,
        key: &Key,
        to: counter::AddPlace,
        by: counter::Totals,
        token: Option<&AddToken>,
    ) -> Result<Replied> {
        if self.table.spec.exactly_once {
            return match self.send_add(key, to, by, token).await? {
                Replied::With(counter::CounterReply::Written) => {
                    let read = self.read_counter(counter::CounterCall::ReadNew, key).await;
                    let read = read.map_err(|error| error.with_effect(Effect::Unknown));
                    read.map(Replied::With)
                }
                other => Ok(other),
            };
        }
        let add = Add {
            key: key.clone(),
            by,
            mark: match to {
                counter::AddPlace::New => Some(Mark::Application),
                counter::AddPlace::Old | counter::AddPlace::NewUnmarked => None,
            },
            token: None,
        };
        let request = StoreWrite::AddAndTell(&add);
        Ok(match self.write_once(WhichStore::New, &request).await? {
            Tried::Sent(Sent::Done(Changed::Told(row))) => {
                let item = row.map(counter::CounterItem::of).transpose();
                let item = item.map_err(|error| error.with_effect(Effect::Unknown));
                Replied::With(counter::CounterReply::New(item?))
            }
            Tried::Sent(Sent::Done(Changed::Written | Changed::Refused(_)) | Sent::Unknown(_)) => {
                Replied::With(counter::CounterReply::Unknown)
            }
            Tried::NotYet(error) => Replied::NotYet(error),
        })
    }

    /// Sends an add: once, or with a token until there is an answer.
    async fn send_add(
        &mut self,
        key: &Key,
        to: counter::AddPlace,
        by: counter::Totals,
        token: Option<&AddToken>,
    ) -> Result<Replied> {
        let (place, by, mark) = match to {
            counter::AddPlace::Old => {
                (WhichStore::Old, to_source(&self.joined.transform, by), None)
            }
            counter::AddPlace::New => (WhichStore::New, by, Some(Mark::Application)),
            counter::AddPlace::NewUnmarked => (WhichStore::New, by, None),
        };
        let has_token = place == WhichStore::New && self.table.spec.exactly_once;
        let reply = |reply| Ok(Replied::With(reply));
        if let (false, Some(token)) = (has_token, token) {
            token.is_untold();
            // Where it was sent before the token told it apart, and here it wouldn't.
            if token.is_again() {
                return reply(counter::CounterReply::Unknown);
            }
        }
        let text = match token {
            Some(token) => token.text().to_owned(),
            None => format!("{:032x}", rand::random::<u128>()),
        };
        let is_again = token.is_some_and(AddToken::is_again);
        let add = Add {
            key: key.clone(),
            by,
            mark,
            token: has_token.then_some(text),
        };
        let mut pauses = self.table.pauses();
        let mut sent_before = false;
        loop {
            match self.write_once(place, &StoreWrite::Add(&add)).await {
                Ok(Tried::Sent(Sent::Done(_))) => return reply(counter::CounterReply::Written),
                // The same token counts once, however often it is sent.
                Ok(Tried::Sent(Sent::Unknown(_))) if has_token => {
                    sent_before = true;
                    if !self.pause(&mut pauses).await {
                        return reply(counter::CounterReply::Unknown);
                    }
                }
                Ok(Tried::Sent(Sent::Unknown(_))) => return reply(counter::CounterReply::Unknown),
                // This one hasn't happened; an earlier one may have.
                Ok(Tried::NotYet(_)) if sent_before => {
                    if !self.pause(&mut pauses).await {
                        return reply(counter::CounterReply::Unknown);
                    }
                }
                Err(_) if sent_before => return reply(counter::CounterReply::Unknown),
                // The store refuses the token for another add than it knows: one of another phase.
                Err(_) if is_again => {
                    token.into_iter().for_each(AddToken::is_untold);
                    return reply(counter::CounterReply::Unknown);
                }
                Ok(Tried::NotYet(error)) => return Ok(Replied::NotYet(error)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What was heard of an add.
enum Replied {
    With(counter::CounterReply),
    /// It certainly hasn't happened, and may if it is tried again.
    NotYet(Error),
}
