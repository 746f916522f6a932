//! Folding counters: drives the machines of [`crate::protocol::counter`] for the rows of a page, many
//! at a time, so that equal steps of different rows share a call.

use std::sync::atomic::Ordering;

use futures::stream::{FuturesUnordered, StreamExt};

use super::CopyRun;
use crate::codec::cql;
use crate::control::DeadLetter;
use crate::driver::{MOST_CALLS, first_copy, impossible, no_end};
use crate::error::{Error, Kind, Result};
use crate::model::{Condition, Fold, Key, Move, Row};
use crate::protocol::Machine;
use crate::protocol::Step;
use crate::protocol::counter::{
    self, CounterCall, CounterItem, CounterReply, Down, Folded, Pass, Rules, Totals, totals_of,
};
use crate::store::{WriteOutcome, WriteOutcomes};

/// How a table's counters are folded.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Which pass it is.
    pub pass: Pass,
    /// What the plan says of them.
    pub rules: Rules,
}

/// Keys of one read.
pub(super) const READ_KEYS: usize = 100;
/// Folds that are sent together, each as a call of its own.
const FOLDS: usize = 16;

/// A row on its way.
struct Task {
    /// In the old store.
    key: Key,
    /// In the new one.
    target: Key,
    machine: counter::FoldCounters,
    calls: u32,
}

/// Tasks whose next calls are of one kind.
type WaitingTasks<T> = Vec<(Task, T)>;

/// What a row's calls came to.
enum RowEnded {
    Folded(Task, Folded),
    /// The row can't be folded.
    Failed(Key, DeadLetter),
}

impl CopyRun<'_> {
    /// Folds the rows of a page, and returns when all are settled, be it as dead letters.
    pub(super) async fn fold(&self, counters: Counters, rows: Vec<Row>) -> Result<()> {
        let (tasks, mut letters) = self.tasks(counters, rows).await?;
        let mut noted = Vec::new();
        for ended in self.drive(tasks).await? {
            match ended {
                RowEnded::Folded(task, folded) => {
                    self.live.folded(&folded, counters.pass);
                    match folded {
                        Folded::Folded { totals } | Folded::Unchanged { totals } => {
                            let has_item = totals.iter().any(Option::is_some);
                            self.met.fetch_add(u64::from(has_item), Ordering::Relaxed);
                            noted.push((task.key, totals));
                        }
                        Folded::Gone => {}
                        Folded::WentDown(downs) => {
                            self.met.fetch_add(1, Ordering::Relaxed);
                            letters.push((self.went_down(&task.key, &downs), task.key));
                        }
                    }
                }
                RowEnded::Failed(key, letter) => letters.push((letter, key)),
            }
        }
        self.journal.folded(noted);
        if letters.is_empty() {
            return Ok(());
        }
        let (letters, keys): (Vec<DeadLetter>, Vec<Key>) = letters.into_iter().unzip();
        let columns = self.copier.transform.source().partition();
        let tokens = keys.iter().map(|key| cql::token(columns, &key.partition));
        self.done.lock().await.unsettled.extend(tokens);
        self.bury(letters).await
    }

    /// A machine for each row that the journal doesn't know to be folded.
    async fn tasks(
        &self,
        counters: Counters,
        rows: Vec<Row>,
    ) -> Result<(Vec<Task>, Vec<(DeadLetter, Key)>)> {
        let transform = &self.copier.transform;
        let columns = transform.target().cells().len();
        let keys: Vec<&Key> = rows.iter().map(|row| &row.key).collect();
        let known = match counters.pass {
            Pass::CatchUp => self.journal.totals(&keys, columns).await?,
            // Not believed, so not asked.
            Pass::Settling => vec![None; rows.len()],
        };
        let (mut tasks, mut letters, mut skipped) = (Vec::new(), Vec::new(), 0);
        let mostly_there = self.mostly_there();
        for (row, known) in rows.into_iter().zip(known) {
            let key = row.key.clone();
            let (scanned, target) = match transform
                .apply(row)
                .and_then(|row| Ok((totals_of(&row)?, row.key)))
            {
                Ok(read) => read,
                Err(error) if error.kind() == Kind::Invalid => {
                    letters.push((self.letter(&key, &error), key));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if counters
                .pass
                .may_skip(counters.rules, known.as_deref(), &scanned)
            {
                skipped += 1;
                continue;
            }
            let machine = if known.is_some() || mostly_there {
                counter::FoldCounters::again(counters.rules, scanned)
            } else {
                counter::FoldCounters::first(counters.rules, scanned)
            };
            tasks.push(Task {
                key,
                target,
                machine,
                calls: 0,
            });
        }
        self.live.skipped(skipped);
        Ok((tasks, letters))
    }

    /// Carries out the machines' calls until each has its answer.
    async fn drive(&self, tasks: Vec<Task>) -> Result<Vec<RowEnded>> {
        let mut ended = Vec::with_capacity(tasks.len());
        let begin = |mut task: Task| {
            let step = task.machine.begin();
            (task, step)
        };
        let mut steps: Vec<(Task, Step<CounterCall, Folded>)> =
            tasks.into_iter().map(begin).collect();
        while !steps.is_empty() {
            let (mut reads, mut old_reads) = (Vec::new(), Vec::new());
            let (mut inserts, mut folds) = (Vec::new(), Vec::new());
            for (mut task, step) in steps.drain(..) {
                task.calls += 1;
                match step {
                    Step::Done(folded) => ended.push(RowEnded::Folded(task, folded)),
                    Step::Call(_) if task.calls > MOST_CALLS => {
                        return Err(self.at_key(no_end(), &task.key));
                    }
                    Step::Call(CounterCall::ReadNew) => reads.push((task, ())),
                    Step::Call(CounterCall::ReadOld) => old_reads.push((task, ())),
                    Step::Call(CounterCall::Insert(totals)) => inserts.push((task, totals)),
                    Step::Call(CounterCall::Fold(moves)) => folds.push((task, moves)),
                    Step::Call(CounterCall::Add { .. } | CounterCall::AddAndTell { .. }) => {
                        return Err(self.at_key(impossible(), &task.key));
                    }
                }
            }
            let mut replies = self.read_new(reads, &mut ended).await?;
            replies.extend(self.read_old(old_reads).await?);
            replies.extend(self.insert(inserts, &mut ended).await?);
            replies.extend(self.write_folds(folds, &mut ended).await?);
            for (mut task, reply) in replies {
                let step = task.machine.step(reply);
                steps.push((task, step));
            }
        }
        Ok(ended)
    }

    async fn read_new(
        &self,
        waiting: WaitingTasks<()>,
        ended: &mut Vec<RowEnded>,
    ) -> Result<WaitingTasks<CounterReply>> {
        let mut replies = Vec::with_capacity(waiting.len());
        for (tasks, keys) in chunks(waiting, READ_KEYS, |task, ()| task.target.clone()) {
            let rows = self.items_of(&keys).await?;
            let first = || tasks.iter().zip(&rows).filter(|(task, _)| task.calls == 1);
            let is_there = |row: &Result<Option<Row>>| !matches!(row, Ok(None));
            self.saw(
                first().filter(|(_, row)| is_there(row)).count(),
                first().count(),
            );
            for (task, row) in tasks.into_iter().zip(rows) {
                match row.and_then(|row| row.map(CounterItem::of).transpose()) {
                    Ok(item) => replies.push((task, CounterReply::New(item))),
                    Err(error) if error.kind() == Kind::Corrupt => {
                        let letter = self.taken(&task.key, &error);
                        ended.push(RowEnded::Failed(task.key, letter));
                    }
                    Err(error) => return Err(self.at_key(error, &task.key)),
                }
            }
        }
        Ok(replies)
    }

    async fn read_old(&self, waiting: WaitingTasks<()>) -> Result<WaitingTasks<CounterReply>> {
        let transform = &self.copier.transform;
        let mut replies = Vec::with_capacity(waiting.len());
        for (tasks, keys) in chunks(waiting, READ_KEYS, |task, ()| task.key.clone()) {
            let reading = self.copier.old.0.get(transform.source(), &keys);
            for (task, row) in tasks.into_iter().zip(self.unless_stopped(reading).await?) {
                let row = row.map(|row| transform.apply(row).and_then(|row| totals_of(&row)));
                let row = row
                    .transpose()
                    .map_err(|error| self.at_key(error, &task.key))?;
                replies.push((task, CounterReply::Old(row)));
            }
        }
        Ok(replies)
    }

    async fn insert(
        &self,
        waiting: WaitingTasks<Totals>,
        ended: &mut Vec<RowEnded>,
    ) -> Result<WaitingTasks<CounterReply>> {
        let target = self.copier.transform.target();
        let at_once = self.copier.new.0.capabilities().put_rows.max(1);
        let row = |task: &Task, totals| first_copy(task.target.clone(), totals);
        let mut puts: FuturesUnordered<_> = chunks(waiting, at_once, row)
            .into_iter()
            .map(|(tasks, rows)| async move {
                let absent = Condition::absent();
                let put = self.copier.new.0.put(target, &rows, &absent);
                Ok::<_, Error>((tasks, self.unless_late(self.turn(1, put)).await?))
            })
            .collect();
        let mut replies = Vec::new();
        while let Some(put) = puts.next().await {
            let (tasks, puts) = put?;
            let refused = puts
                .rows
                .iter()
                .filter(|row| matches!(row, Ok(WriteOutcome::Refused)));
            self.saw(refused.count(), tasks.len());
            self.answered(tasks, puts, &mut replies, ended)?;
        }
        Ok(replies)
    }

    async fn write_folds(
        &self,
        waiting: WaitingTasks<Vec<Option<Move>>>,
        ended: &mut Vec<RowEnded>,
    ) -> Result<WaitingTasks<CounterReply>> {
        let target = self.copier.transform.target();
        let fold = |task: &Task, moves| Fold {
            key: task.target.clone(),
            moves,
        };
        let mut puts: FuturesUnordered<_> = chunks(waiting, FOLDS, fold)
            .into_iter()
            .map(|(tasks, folds)| async move {
                let calls = folds.len();
                let folded = self.copier.new.0.fold(target, folds);
                Ok::<_, Error>((tasks, self.unless_late(self.turn(calls, folded)).await?))
            })
            .collect();
        let mut replies = Vec::new();
        while let Some(put) = puts.next().await {
            let (tasks, puts) = put?;
            self.answered(tasks, puts, &mut replies, ended)?;
        }
        Ok(replies)
    }

    /// Hands each write's answer to its row. What the new store can't hold ends its row alone; an
    /// error whose effect isn't known ends the run, and the next one reads what has become of it.
    fn answered(
        &self,
        tasks: Vec<Task>,
        puts: WriteOutcomes,
        replies: &mut WaitingTasks<CounterReply>,
        ended: &mut Vec<RowEnded>,
    ) -> Result<()> {
        self.live.wrote(&puts);
        for (task, answer) in tasks.into_iter().zip(puts.rows) {
            match answer {
                Ok(WriteOutcome::Written) => replies.push((task, CounterReply::Written)),
                Ok(WriteOutcome::Refused) => replies.push((task, CounterReply::Refused)),
                Err(error) if error.kind() == Kind::Invalid => {
                    let letter = self.letter(&task.key, &error);
                    ended.push(RowEnded::Failed(task.key, letter));
                }
                Err(error) => return Err(self.at_key(error, &task.key)),
            }
        }
        Ok(())
    }

    fn mostly_there(&self) -> bool {
        self.mostly_there.load(Ordering::Relaxed)
    }

    /// Learns from the first look at some rows whether inserting the next ones is worth a try.
    fn saw(&self, there: usize, of: usize) {
        if of > 0 {
            self.mostly_there.store(there * 2 > of, Ordering::Relaxed);
        }
    }

    /// The dead letter of a row whose old total is below what is inside the new store.
    fn went_down(&self, key: &Key, downs: &[Down]) -> DeadLetter {
        let columns = self.copier.transform.target().cells();
        let reasons = downs.iter().map(|down| {
            let name = columns.get(down.column).map_or("?", |column| column.name.as_str());
            let inside = down.watermark;
            match down.total {
                Some(total) => format!(
                    "the counter {name} is {total} in the old store, below the {inside} that the new \
                     store has of it; if it may go down, set `decrements = true` for the table"
                ),
                None => format!(
                    "the counter {name} was deleted in the old store, and the new store has {inside} of \
                     it; what it counts after that is undefined in Cassandra, so it has to be decided by hand"
                ),
            }
        });
        self.letter(key, reasons.collect::<Vec<_>>().join("; "))
    }
}

/// Rows whose next calls are of one kind, in parts of at most `size`, and what each call is about.
fn chunks<T, X>(
    waiting: WaitingTasks<T>,
    size: usize,
    make: impl Fn(&Task, T) -> X,
) -> Vec<(Vec<Task>, Vec<X>)> {
    let mut parts: Vec<(Vec<Task>, Vec<X>)> = Vec::new();
    for (task, value) in waiting {
        let made = make(&task, value);
        match parts.last_mut() {
            Some((tasks, all)) if tasks.len() < size => {
                tasks.push(task);
                all.push(made);
            }
            Some(_) | None => parts.push((vec![task], vec![made])),
        }
    }
    parts
}
