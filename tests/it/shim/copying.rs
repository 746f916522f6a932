//! A copier as `migrate copy` is one: it registers, waits for all participants, and drives the protocol's machines
//! against a target that it may write to while its lease lasts. It is killed now and then.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossfade::control::{Accept, Member, MemberRole, New, ParticipantKind, Record, Watch};
use crossfade::error::{Effect, Error, Kind, Result};
use crossfade::model::{ClusteringRange, Condition, Fold, Key, Mark, Query, Row, Value};
use crossfade::protocol::Machine;
use crossfade::protocol::counter::{self, Pass, Rules};
use crossfade::protocol::phase::Work;
use crossfade::protocol::row::{Call, CopyRow, Reply};
use crossfade::protocol::{Phase, Step};
use crossfade::store::{Changed, Reading, Store, WriteOutcome, WriteOutcomes};
use crossfade::transform::Transform;

use super::TARGET;
use super::wire::{Process, Wire};
use super::world::{LEASE, World, control, everybody, schema, spec};

/// Copies again and again until all is over.
pub async fn copier(world: Arc<World>) {
    for life in 0.. {
        if world.is_over() {
            return;
        }
        world.pause(800).await;
        let process = Process::new(&world.chance, world.weather);
        let run = run(&world, &process, life);
        if world.chance.happens(0.4) {
            let limit = world.chance.millis(1_500);
            if tokio::time::timeout(limit, run).await.is_err() {
                world.tell("the copier was killed".into());
            }
        } else if let Err(error) = run.await {
            world.tell(format!("the copier: {error}"));
        }
        process.kill();
    }
}

struct Copier {
    world: Arc<World>,
    transform: Transform,
    old: Arc<dyn Store>,
    new: Arc<dyn Store>,
}

async fn run(world: &Arc<World>, process: &Process, life: u32) -> Result<()> {
    let control = control(world, process);
    let record = control.require(TARGET).await?.record;
    let is_frozen = record.phase == Phase::Copy;
    let works = match world.counters {
        true => record.phase.allows(Work::Fold),
        false => record.phase.allows(Work::Copy),
    };
    if !works {
        return Ok(());
    }
    let role = MemberRole {
        id: format!("copier {life}"),
        kind: ParticipantKind::Copier,
        name: "copier".into(),
        lease: LEASE,
        clock: world.clock(),
    };
    let member = Member::join(control.clone(), TARGET, role, accept(&record)).await?;
    let new = member.writer(&New::over(Wire::to(&world.new, process)));
    let copier = Copier {
        world: world.clone(),
        transform: spec().transform(&schema(world.counters), 0)?,
        old: Wire::to(&world.old, process),
        new: Arc::new(new),
    };
    let work = async {
        if is_frozen {
            let mut watch = Watch::new(world.clock());
            everybody(world, &control, &mut watch, None).await;
            if control.require(TARGET).await?.record.phase != Phase::Copy {
                return Err(Error::new(Kind::Mismatch, "overtaken"));
            }
        }
        copier.all(is_frozen).await
    };
    let worked = tokio::select! {
        biased;
        worked = work => worked,
        error = member.keep() => Err(error),
    };
    let _ = tokio::time::timeout(LEASE.lasts, member.leave()).await;
    if is_frozen && worked.is_ok() {
        world.copied.store(record.freeze, Ordering::SeqCst);
        world.tell(format!("copied freeze {}", record.freeze));
    }
    worked
}

fn accept(begun: &Record) -> Accept {
    let begun = begun.clone();
    Box::new(move |now: &Record| {
        if now.phase == begun.phase && now.freeze == begun.freeze {
            return Ok(());
        }
        Err(Error::new(Kind::Mismatch, "the record was changed"))
    })
}

impl Copier {
    async fn all(&self, is_frozen: bool) -> Result<()> {
        for row in self.listed().await? {
            match self.world.counters {
                true => self.fold(row, is_frozen).await?,
                false => self.copy(row).await?,
            }
        }
        Ok(())
    }

    /// The old table, partition by partition.
    async fn listed(&self) -> Result<Vec<Row>> {
        let source = self.transform.source();
        let names = match self.world.counters {
            true => vec!["0", "1", "2"],
            false => vec!["x"],
        };
        let mut all = Vec::new();
        for name in names {
            let query = Query {
                range: ClusteringRange::whole(vec![Value::text(name)]),
                reverse: false,
                after: None,
                limit: 1_000,
            };
            let listed = self.patiently(async || self.old.query(source, &query).await);
            all.extend(listed.await?.rows);
        }
        Ok(all)
    }

    /// Until it is answered, or fails for good.
    async fn patiently<T>(&self, call: impl AsyncFn() -> Result<T>) -> Result<T> {
        loop {
            match call().await {
                Err(error) if error.kind().is_transient() => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn copy(&self, row: Row) -> Result<()> {
        let mut copy = match self.world.chance.happens(0.5) {
            true => CopyRow::of_row(self.transform.apply(row)?),
            false => CopyRow::of_key(row.key),
        };
        let mut step = copy.begin();
        while let Step::Call(call) = step {
            let reply = match call {
                Call::ReadOld(key) => Reply::Row(self.read_old(&key).await?),
                Call::WriteNew { key, change, on } => {
                    let target = self.transform.target();
                    let written = self.new.update_item(target, &key, &change, &on).await;
                    match written {
                        Ok(Changed::Written) => Reply::Written,
                        Ok(Changed::Told(item)) => Reply::Told(item),
                        Ok(Changed::Refused(item)) => Reply::Refused(item),
                        Err(error) if error.kind().is_transient() => {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            Reply::Unknown
                        }
                        Err(error) => return Err(error),
                    }
                }
                call => panic!("a copy doesn't do this: {call:?}"),
            };
            step = copy.step(reply);
        }
        Ok(())
    }

    async fn read_old(&self, key: &Key) -> Result<Option<Row>> {
        let source = self.transform.source();
        let read = self.patiently(async || self.old.read(source, key, Reading::Strong).await);
        read.await?.map(|row| self.transform.apply(row)).transpose()
    }

    async fn fold(&self, row: Row, is_frozen: bool) -> Result<()> {
        let pass = match is_frozen {
            true => Pass::Settling,
            false => Pass::CatchUp,
        };
        assert!(!pass.may_skip(Rules::default(), None, &totals(&row)));
        let key = row.key.clone();
        let mut fold = match self.world.chance.below(3) {
            0 => counter::FoldCounters::new(Rules::default()),
            1 => counter::FoldCounters::first(Rules::default(), totals(&row)),
            _ => counter::FoldCounters::again(Rules::default(), totals(&row)),
        };
        let mut step = fold.begin();
        loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(folded) if folded.is_settled() => return Ok(()),
                Step::Done(folded) => panic!("counters only grow here: {folded:?}"),
            };
            step = fold.step(self.fold_call(&key, call).await?);
        }
    }

    async fn fold_call(
        &self,
        key: &Key,
        call: counter::CounterCall,
    ) -> Result<counter::CounterReply> {
        let target = self.transform.target();
        let puts = match call {
            counter::CounterCall::ReadNew => {
                let read = async || self.new.read(target, key, Reading::Strong).await;
                let item = self.patiently(read).await?;
                return Ok(counter::CounterReply::New(item.map(|row| {
                    counter::CounterItem {
                        totals: totals(&row),
                        watermarks: row.watermarks,
                    }
                })));
            }
            counter::CounterCall::ReadOld => {
                let row = self.read_old(key).await?;
                return Ok(counter::CounterReply::Old(row.as_ref().map(totals)));
            }
            counter::CounterCall::Insert(all) => {
                let cells = all.iter().map(|total| total.map(Value::BigInt));
                let mut row = Row::new(key.clone(), cells.collect());
                row.watermarks = all;
                row.mark = Some(Mark::Copied);
                self.new.put(target, &[row], &Condition::absent()).await
            }
            counter::CounterCall::Fold(moves) => {
                let key = key.clone();
                self.new.fold(target, vec![Fold { key, moves }]).await
            }
            call @ (counter::CounterCall::Add { .. } | counter::CounterCall::AddAndTell { .. }) => {
                panic!("a fold doesn't do this: {call:?}")
            }
        };
        written(puts).await
    }
}

async fn written(puts: WriteOutcomes) -> Result<counter::CounterReply> {
    match puts.rows.into_iter().next() {
        Some(Ok(WriteOutcome::Written)) => Ok(counter::CounterReply::Written),
        Some(Ok(WriteOutcome::Refused)) => Ok(counter::CounterReply::Refused),
        Some(Err(error)) if error.kind().is_transient() => {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(match error.known_effect() {
                Effect::None => counter::CounterReply::Refused,
                Effect::Unknown => counter::CounterReply::Unknown,
            })
        }
        Some(Err(error)) => Err(error),
        None => panic!("no answer to a write"),
    }
}

fn totals(row: &Row) -> counter::Totals {
    let total = |cell: &Option<Value>| match cell {
        Some(Value::BigInt(total)) => Some(*total),
        _ => None,
    };
    row.cells.iter().map(total).collect()
}
