//! A process's way to a store: calls take their time, arrive late, fail, and lose their answers, all of it by
//! chance from a seed, in a time that only passes when nobody has anything to do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use crossfade::error::{Effect, Error, Kind, Result};
use crossfade::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row,
};
use crossfade::schema::Table;
use crossfade::store::memory::Memory;
use crossfade::store::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteAccess, WriteOutcomes, failed_rows,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::CONTROL;

/// Everything that is left to chance.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<SmallRng>>);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    /// Whether something happens that does so `share` of the time.
    pub fn happens(&self, share: f64) -> bool {
        self.below(1_000_000) < (share * 1e6) as u64
    }

    pub fn below(&self, end: u64) -> u64 {
        let mut chance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        chance.random_range(0..end)
    }

    pub fn millis(&self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }

    pub fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// How likely what is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// A call takes up to a few milliseconds, unless it is slow: then up to this.
    pub slow: f64,
    pub slowest: Duration,
    /// It fails before it arrives.
    pub unreachable: f64,
    /// It is done, and its answer is lost.
    pub lost: f64,
    /// Something on the way keeps each write for so long.
    pub held: Duration,
}

/// What has become of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// It was killed: nothing is sent any more, nothing hears an answer.
    is_dead: bool,
    /// It stands still until then.
    stopped_until: Option<Instant>,
    /// It can't reach the control table until then.
    cut_until: Option<Instant>,
}

/// A process, as the network knows it.
#[derive(Clone)]
pub struct Process {
    fate: Arc<Mutex<Fate>>,
    chance: Chance,
    weather: Weather,
}

impl Process {
    pub fn new(chance: &Chance, weather: Weather) -> Self {
        Process {
            fate: Arc::default(),
            chance: chance.clone(),
            weather,
        }
    }

    fn fate(&self) -> Fate {
        *self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Fate)) {
        change(&mut self.fate.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It is killed; what it has sent still arrives.
    pub fn kill(&self) {
        self.change(|fate| fate.is_dead = true);
    }

    /// It stands still for so long; what it has sent still arrives.
    pub fn stop(&self, time: Duration) {
        self.change(|fate| fate.stopped_until = Some(Instant::now() + time));
    }

    /// It can't reach the control table for so long.
    pub fn cut(&self, time: Duration) {
        self.change(|fate| fate.cut_until = Some(Instant::now() + time));
    }

    /// Waits until it runs (again); for ever once it is dead.
    pub async fn runs(&self) {
        loop {
            let fate = self.fate();
            if fate.is_dead {
                return std::future::pending().await;
            }
            match fate.stopped_until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    fn time(&self) -> Duration {
        match self.chance.happens(self.weather.slow) {
            true => self.chance.millis(self.weather.slowest.as_millis() as u64),
            false => self.chance.millis(4),
        }
    }

    /// A call on its way. Whoever gives it up doesn't hold it back.
    async fn call<T: Send + 'static>(
        &self,
        table: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let fate = self.fate();
        if fate.is_dead
            || fate
                .stopped_until
                .is_some_and(|until| until > Instant::now())
        {
            // A process that stands still sends nothing. What its timers make it send meanwhile, it would
            // send afterwards, and check its lease before.
            self.runs().await;
            return Err(unreachable());
        }
        if table == CONTROL && fate.cut_until.is_some_and(|until| until > Instant::now()) {
            tokio::time::sleep(self.time()).await;
            return Err(unreachable());
        }
        let (there, back) = (self.time(), self.time());
        let fails = self.chance.happens(self.weather.unreachable);
        let loses = self.chance.happens(self.weather.lost);
        let process = self.clone();
        let sent = tokio::spawn(async move {
            tokio::time::sleep(there).await;
            if fails {
                return Err(unreachable());
            }
            let answer = work.await;
            tokio::time::sleep(back).await;
            process.runs().await;
            match loses {
                true => Err(Error::new(Kind::Timeout, "the answer was lost on purpose")
                    .with_effect(Effect::Unknown)),
                false => answer,
            }
        });
        sent.await.unwrap_or_else(|_| Err(unreachable()))
    }
}

fn unreachable() -> Error {
    Error::new(Kind::Unreachable, "made unreachable on purpose").with_effect(Effect::None)
}

/// A store, seen from a process.
pub struct Wire {
    store: Arc<Memory>,
    process: Process,
    permit: Option<Permit>,
}

impl Wire {
    pub fn to(store: &Arc<Memory>, process: &Process) -> Arc<dyn Store> {
        Arc::new(Wire {
            store: store.clone(),
            process: process.clone(),
            permit: None,
        })
    }

    /// A write on its way. The permit is asked when it is sent: what happens on the way, nobody can stop.
    async fn sent<T: Send + 'static>(
        &self,
        table: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.permit.as_ref().map_or(Ok(()), Permit::ask)?;
        let held = self.process.weather.held;
        let work = async move {
            if held > Duration::ZERO {
                tokio::time::sleep(held).await;
            }
            work.await
        };
        self.process.call(table, work).await
    }

    /// A call of some rows at once, whose answers are lost together.
    async fn rows(
        &self,
        table: &str,
        count: usize,
        work: impl Future<Output = WriteOutcomes> + Send + 'static,
    ) -> WriteOutcomes {
        let answer = self.sent(table, async { Ok(work.await) }).await;
        answer.unwrap_or_else(|error| failed_rows(count, &error))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Wire {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        let (store, owned) = (self.store.clone(), table.to_owned());
        let work = async move { store.inspect(&owned).await };
        self.process.call(table, work).await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let (store, owned, keys) = (self.store.clone(), table.clone(), keys.to_vec());
        let work = async move { store.get(&owned, &keys).await };
        self.process.call(&table.name, work).await
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        let (store, owned, key) = (self.store.clone(), table.clone(), key.clone());
        let work = async move { store.read(&owned, &key, reading).await };
        self.process.call(&table.name, work).await
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        let store = self.store.clone();
        let owned: Vec<(Table, Key)> = keys
            .iter()
            .map(|(table, key)| (Table::clone(table), Key::clone(key)))
            .collect();
        let Some(first) = owned.first().map(|(table, _)| table.name.clone()) else {
            return Ok(Vec::new());
        };
        let work = async move {
            let keys: Vec<_> = owned.iter().map(|(table, key)| (table, key)).collect();
            store.get_together(&keys).await
        };
        self.process.call(&first, work).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        let (store, owned, query) = (self.store.clone(), table.clone(), query.clone());
        let work = async move { store.query(&owned, &query).await };
        self.process.call(&table.name, work).await
    }

    async fn splits(&self, table: &Table, count: usize) -> Result<Vec<Range>> {
        self.store.splits(table, count).await
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let (store, owned, range) = (self.store.clone(), table.clone(), range.clone());
        let after = after.cloned();
        let work = async move { store.scan(&owned, &range, after.as_ref(), limit).await };
        self.process.call(&table.name, work).await
    }

    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>> {
        self.store.halve(table, range)
    }

    async fn now(&self) -> Result<Option<i64>> {
        self.store.now().await
    }

    async fn write_access(&self, table: &str, role: &str) -> Result<WriteAccess> {
        self.store.write_access(table, role).await
    }

    async fn tables(&self) -> Result<Vec<String>> {
        self.store.tables().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Wire {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        self
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(Wire {
            store: self.store.clone(),
            process: self.process.clone(),
            permit: Some(permit),
        })
    }

    async fn create(&self, table: &Table) -> Result<()> {
        self.store.create(table).await
    }

    async fn put(&self, table: &Table, rows: &[Row], guard: &Condition) -> WriteOutcomes {
        let (store, owned, guard) = (self.store.clone(), table.clone(), guard.clone());
        let (count, rows) = (rows.len(), rows.to_vec());
        let work = async move { store.put(&owned, &rows, &guard).await };
        self.rows(&table.name, count, work).await
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, guard: &Condition) -> WriteOutcomes {
        let (store, owned, guard) = (self.store.clone(), table.clone(), guard.clone());
        let count = keys.len();
        let work = async move { store.purge(&owned, keys, &guard).await };
        self.rows(&table.name, count, work).await
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        let (store, owned) = (self.store.clone(), table.clone());
        let count = folds.len();
        let work = async move { store.fold(&owned, folds).await };
        self.rows(&table.name, count, work).await
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        let (store, owned, key) = (self.store.clone(), table.clone(), key.clone());
        let (change, on) = (change.clone(), on.clone());
        let work = async move { store.update_item(&owned, &key, &change, &on).await };
        self.sent(&table.name, work).await
    }

    async fn update_item_and_return(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        let (store, owned, key) = (self.store.clone(), table.clone(), key.clone());
        let (change, on) = (change.clone(), on.clone());
        let work = async move {
            let changed = store.update_item_and_return(&owned, &key, &change, &on, returns);
            changed.await
        };
        self.sent(&table.name, work).await
    }

    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        let store = self.store.clone();
        let owned: Vec<(Table, Key, Change, Condition)> = changes
            .iter()
            .map(|one| {
                let table = one.table.clone();
                (table, one.key.clone(), one.change.clone(), one.on.clone())
            })
            .collect();
        let Some(first) = owned.first().map(|(table, ..)| table.name.clone()) else {
            return Ok(Vec::new());
        };
        let work = async move {
            let changes = owned.iter().map(|(table, key, change, on)| Together {
                table,
                key,
                change,
                on,
            });
            store.transact(&changes.collect::<Vec<_>>()).await
        };
        self.sent(&first, work).await
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        let (store, owned, add) = (self.store.clone(), table.clone(), add.clone());
        let work = async move { store.add_and_return(&owned, &add).await };
        self.sent(&table.name, work).await
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        let (store, owned, add) = (self.store.clone(), table.clone(), add.clone());
        let work = async move { store.add(&owned, &add).await };
        self.sent(&table.name, work).await
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        let (store, owned, mutation) = (self.store.clone(), table.clone(), mutation.clone());
        let work = async move { store.apply(&owned, &mutation).await };
        self.sent(&table.name, work).await
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        let (store, owned, range) = (self.store.clone(), table.clone(), range.clone());
        let work = async move { store.delete(&owned, &range).await };
        self.sent(&table.name, work).await
    }
    async fn enable_ttl(&self, table: &Table) -> Result<()> {
        self.store.enable_ttl(table).await
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.store.drop_table(table).await
    }

    async fn revoke(&self, table: &str, role: &str) -> Result<()> {
        self.store.revoke(table, role).await
    }

    async fn grant(&self, table: &str, role: &str) -> Result<()> {
        self.store.grant(table, role).await
    }
}
