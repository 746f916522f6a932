//! The applications of the demo.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crossfade::error::{Effect, Error, Kind, Result};
use crossfade::model::{Edit, Update};
use crossfade::shim::{Shim, Table, Ttl};

use super::data::{mixed, vote_key};
use super::ledger::{ChangeFate, Ledger, changed, email, user_key};

/// Tasks of each application that work with users, and as many that vote.
const TASKS: u64 = 6;
/// A task's rest after each operation.
const REST: Duration = Duration::from_millis(4);

/// Applications at work.
pub struct Traffic {
    over: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Traffic {
    /// Begins.
    pub fn begin(shims: &[Shim], ledger: &Arc<Ledger>) -> Traffic {
        let over = CancellationToken::new();
        let all = shims.len() as u64 * TASKS;
        let mut tasks = Vec::new();
        for (at, shim) in (0..).zip(shims) {
            for task in 0..TASKS {
                let one = Worker {
                    number: at * TASKS + task,
                    all,
                    ledger: ledger.clone(),
                    over: over.clone(),
                };
                let (users, votes) = (shim.table("users"), shim.table("votes"));
                let voter = one.clone();
                tasks.push(tokio::spawn(async move { one.work(&users?).await }));
                tasks.push(tokio::spawn(async move { voter.vote(&votes?).await }));
            }
        }
        Traffic { over, tasks }
    }

    /// Ends, once every operation has.
    pub async fn end(self) -> Result<()> {
        self.over.cancel();
        let ended = try_join_all(self.tasks).await;
        let broken = |error| {
            Error::new(Kind::Unknown, "an application of the demo failed").with_source(error)
        };
        ended.map_err(broken)?.into_iter().collect()
    }
}

/// One task of an application. Users are shared out, so that each is changed by one task; everyone reads all.
#[derive(Clone)]
struct Worker {
    number: u64,
    all: u64,
    ledger: Arc<Ledger>,
    over: CancellationToken,
}

impl Worker {
    async fn work(self, users: &Table) -> Result<()> {
        let mut turn = self.number << 32;
        while !self.over.is_cancelled() {
            turn += 1;
            let bits = mixed(turn);
            let any = (bits >> 8) % self.ledger.users();
            let mine = any - any % self.all + self.number;
            let done = match bits % 8 {
                0..=2 if mine < self.ledger.users() => self.change(users, mine, bits >> 4).await,
                _ => self.read(users, any).await,
            };
            self.count(done)?;
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }

    /// Changes a user: the whole row, one column, or deletes it.
    async fn change(&self, users: &Table, number: u64, bits: u64) -> Result<()> {
        let kind = match bits % 4 {
            0 => ChangeFate::Deleted,
            _ => ChangeFate::Written,
        };
        let Some(change) = self.ledger.begin(number, kind) else {
            return Ok(());
        };
        let row = changed(number, change);
        let done = match bits % 4 {
            0 => users.delete(&user_key(number)).await,
            1 => users.put(row, Ttl::Default).await,
            _ => {
                let mut cells = vec![None; row.cells.len()];
                cells[email()] = row.cells[email()].clone().map(Edit::Set);
                let update = Update {
                    key: row.key,
                    cells,
                    expires: None,
                };
                users.update(update, Ttl::Default).await
            }
        };
        match &done {
            Ok(()) => self.ledger.acknowledge(number, change),
            Err(error) if error.known_effect() == Effect::Unknown => self.ledger.doubt(number),
            Err(_) => {}
        }
        done
    }

    async fn read(&self, users: &Table, number: u64) -> Result<()> {
        let before = self.ledger.before(number);
        let row = users.get(&user_key(number)).await?;
        self.ledger.seen(number, &before, row.as_ref());
        Ok(())
    }

    async fn vote(self, votes: &Table) -> Result<()> {
        let mut turn = !self.number << 32;
        while !self.over.is_cancelled() {
            turn = turn.wrapping_add(1);
            let bits = mixed(turn);
            // Most voters like the same few acts.
            let number = (bits >> 8) % 64.min(self.ledger.counters());
            let (column, by) = ((bits >> 40) as usize % 2, 1 + (bits >> 50) as i64 % 3);
            let mut adds = vec![None; 2];
            adds[column] = Some(by);
            let done = votes.add_all(&vote_key(number), adds).await;
            match &done {
                Ok(()) => self.ledger.voted(number, column, by, false),
                Err(error) if error.known_effect() == Effect::Unknown => {
                    self.ledger.voted(number, column, by, true);
                }
                Err(_) => {}
            }
            self.count(done)?;
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }

    fn count(&self, done: Result<()>) -> Result<()> {
        match done {
            Ok(()) => Ok(()),
            Err(error) if error.kind().is_transient() => {
                tracing::debug!("an operation failed: {error}");
                self.ledger.tally.failed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
