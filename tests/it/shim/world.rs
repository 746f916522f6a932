//! A small world for the shim: two stores, applications, a copier, somebody who moves the phases; and what
//! befalls them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade::clock::Clock;
use crossfade::control::{Control, Gone, Lease, New, Record, Versioned, Watch};
use crossfade::error::{Effect, Result};
use crossfade::express::{Action, Amount, ConditionExpression, Path, UpdateExpression};
use crossfade::item::Attr;
use crossfade::migration::{InitOptions, Migration};
use crossfade::model::{
    ClusteringRange, Edit, Key, Mark, Query, Returns, Row, Tokens, Update, Value,
};
use crossfade::protocol::Phase;
use crossfade::schema::{Column, Order, Role, Table as Schema, Type};
use crossfade::shim::{OldStore, ResaveMode, Returned, Scan, Settings, Shim, Table, Ttl, Written};
use crossfade::spec::{TablePlan, TableSpec};
use crossfade::store::memory::Memory;
use crossfade::store::{Old, Range, Reads, Store};
use tokio::time::Instant;

use super::wire::{Chance, Process, Weather, Wire};
use super::{CONTROL, TARGET};
use crate::history::{Cell, History, Meant, Told};

/// Times are such that a late call may meet a phase several steps on.
pub const LEASE: Lease = Lease {
    lasts: Duration::from_secs(1),
    operation: Duration::from_secs(3),
    landing: Duration::from_secs(6),
};
const DEADLINE: Duration = Duration::from_millis(2_500);
/// The longest way of a call; no longer than the longest operation.
const SLOWEST: u64 = 2_800;
/// How often the clock of leases is set. The rest of an operation's time is slack enough.
const TICK: Duration = Duration::from_millis(50);

/// Rows that applications work on.
const ROWS: i32 = 3;

pub struct World {
    pub old: Arc<Memory>,
    pub new: Arc<Memory>,
    pub chance: Chance,
    pub weather: Weather,
    pub history: History,
    pub millis: Arc<AtomicU64>,
    pub counters: bool,
    /// The last freeze that a copier has got through.
    pub copied: AtomicU64,
    pub over: AtomicBool,
    gone: Mutex<BTreeSet<String>>,
    /// What happened besides, for people.
    told: Mutex<Vec<String>>,
    began: Instant,
}

pub fn spec() -> TableSpec {
    TableSpec::new("test", TablePlan::new("things").to(TARGET))
}

pub fn schema(counters: bool) -> Schema {
    let mut columns = vec![Column::new("p", Type::Text, Role::Partition)];
    if counters {
        columns.push(Column::new("n", Type::Counter, Role::Regular));
    } else {
        columns.push(Column::new("at", Type::Int, Role::Clustering(Order::Asc)));
        columns.push(Column::new("a", Type::Int, Role::Regular));
        columns.push(Column::new("b", Type::Int, Role::Regular));
    }
    Schema::new("things", columns)
}

/// What a process uses to look at phases.
pub fn control(world: &World, process: &Process) -> Control {
    Control::new(New::over(Wire::to(&world.new, process)), CONTROL)
}

impl World {
    /// A world of a seed, its table in `old`.
    pub async fn new(seed: u64) -> Arc<World> {
        let chance = Chance::new(seed);
        // What is very slow is rare: else nothing gets on, and late calls meet no later phase.
        let (slow, slowest) =
            chance.one_of(&[(0.3, 30), (0.1, 300), (0.01, SLOWEST), (0.03, SLOWEST)]);
        let weather = Weather {
            slow,
            slowest: Duration::from_millis(slowest),
            unreachable: chance.one_of(&[0.0, 0.02, 0.05]),
            lost: chance.one_of(&[0.0, 0.02, 0.05]),
            held: Duration::ZERO,
        };
        let world = World {
            old: Arc::new(Memory::new()),
            new: Arc::new(Memory::new()),
            counters: seed % 4 == 3,
            chance,
            weather,
            history: History::default(),
            millis: Arc::default(),
            copied: AtomicU64::new(0),
            over: AtomicBool::new(false),
            gone: Mutex::default(),
            told: Mutex::default(),
            began: Instant::now(),
        };
        world.old.create(&schema(world.counters)).await.unwrap();
        let control = Control::new(New::over(world.new.clone()), CONTROL);
        let (old, new) = (Old(world.old.clone()), New::over(world.new.clone()));
        let migration = Migration::new(spec(), old, new, control);
        migration.init(InitOptions::default()).await.unwrap();
        let world = Arc::new(world);
        let ticking = world.clone();
        tokio::spawn(async move {
            loop {
                let passed = ticking.began.elapsed().as_millis() as u64;
                ticking.millis.store(passed, Ordering::SeqCst);
                tokio::time::sleep(TICK).await;
            }
        });
        world
    }

    pub fn clock(&self) -> Clock {
        Clock::Counted(self.millis.clone())
    }

    pub fn tell(&self, what: String) {
        let line = format!(
            "{:>6} ms, moment {}: {what}",
            self.began.elapsed().as_millis(),
            self.history.moment()
        );
        self.told.lock().unwrap().push(line);
    }

    pub fn told(&self) -> String {
        self.told.lock().unwrap().join("\n    ")
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub async fn pause(&self, millis: u64) {
        tokio::time::sleep(self.chance.millis(millis)).await;
    }

    pub async fn rows(&self, store: &Memory, table: &Schema) -> Vec<Row> {
        let range = Range::Tokens(Tokens::ALL);
        store.scan(table, &range, None, 1_000).await.unwrap().rows
    }

    fn keys(&self) -> Vec<Key> {
        let row = |at: i32| match self.counters {
            true => Key::row(vec![Value::text(at.to_string())], vec![]),
            false => Key::row(vec![Value::text("x")], vec![Value::Int(at)]),
        };
        (0..ROWS).map(row).collect()
    }

    fn shim(&self, id: &str, process: &Process) -> Shim {
        let settings = Settings {
            id: id.into(),
            lease: LEASE,
            deadline: DEADLINE,
            resave: self
                .chance
                .one_of(&[ResaveMode::Inline, ResaveMode::Background]),
            clock: self.clock(),
            ..Settings::new(id)
        };
        let old = OldStore::Open(Old(Wire::to(&self.old, process)));
        let new = New::over(Wire::to(&self.new, process));
        Shim::start(settings, old, new, control(self, process), [spec()]).unwrap()
    }
}

/// An application: processes one after the other, each with a few users, until all is over.
pub async fn application(world: Arc<World>, number: usize) {
    let mut id = format!("app {number}");
    for life in 0.. {
        let process = Process::new(&world.chance, world.weather);
        let shim = world.shim(&id, &process);
        let table = shim.table("things").unwrap();
        // One at a time: which of several would go on first is left to chance that no seed decides.
        while table.phase().await.is_err() {}
        let users =
            (0..2).map(|_| tokio::spawn(user(world.clone(), process.clone(), table.clone())));
        let users: Vec<_> = users.collect();
        drop(table);
        world.pause(4_000).await;
        let dies = befall(&world, &process, &id).await && !world.is_over();
        if !dies {
            for user in users {
                user.await.unwrap();
            }
            world.tell(format!("{id} leaves"));
            let _ = tokio::time::timeout(Duration::from_secs(20), shim.leave()).await;
            return;
        }
        process.kill();
        users.iter().for_each(|user| user.abort());
        drop(shim);
        world.pause(2_000).await;
        // It may come back under its name, or under another one, and then somebody has to vouch for it.
        if world.chance.happens(0.5) {
            world.gone.lock().unwrap().insert(id);
            id = format!("app {number}, life {life}");
        }
    }
}

/// Something happens to a process, or not. `true` if it is killed.
async fn befall(world: &World, process: &Process, id: &str) -> bool {
    let long = LEASE.lasts + LEASE.operation;
    match world.chance.below(6) {
        0 => {
            world.tell(format!("{id} is killed"));
            return true;
        }
        1 => {
            world.tell(format!("{id} stands still"));
            process.stop(long + world.chance.millis(4_000));
        }
        2 => {
            world.tell(format!("{id} is cut off from the control table"));
            process.cut(long + world.chance.millis(4_000));
        }
        _ => {}
    }
    false
}

/// A user of an application, who gives up on some operations.
async fn user(world: Arc<World>, process: Process, table: Table) {
    let keys = world.keys();
    while !world.is_over() {
        world.pause(1_500).await;
        process.runs().await;
        let at = world.chance.below(keys.len() as u64) as usize;
        let (key, name) = (&keys[at], at.to_string());
        let operation = operate(&world, &table, key, &name, &keys);
        match world.chance.happens(0.05) {
            // An answer that nobody has waited for tells nothing.
            true => drop(tokio::time::timeout(world.chance.millis(30), operation).await),
            false => operation.await,
        }
    }
}

async fn operate(world: &World, table: &Table, key: &Key, name: &str, keys: &[Key]) {
    if world.counters {
        return match world.chance.happens(0.6) {
            true => add(world, table, key, name).await,
            false => count(world, table, key, name).await,
        };
    }
    match world.chance.below(100) {
        0..20 => put(world, table, key, name).await,
        20..45 => update(world, table, key, name).await,
        45..53 => delete(world, table, key, name).await,
        53..58 => insert(world, table, key, name).await,
        70..74 => put_if(world, table, key, name).await,
        74..77 => delete_if(world, table, key, name).await,
        77..81 => set_if(world, table, key, name).await,
        81..84 => scan(world, table, keys).await,
        58..61 => delete_all(world, table, keys).await,
        61..70 => query(world, table, keys).await,
        _ => get(world, table, key, name).await,
    }
}

/// What an application learns of a write from its answer.
fn end(world: &World, write: usize, answer: Result<()>) {
    match answer {
        Ok(()) => world.history.end_write(write, Told::Done),
        Err(error) if error.known_effect() == Effect::None => {
            world.history.end_write(write, Told::Not);
        }
        Err(_) => {}
    }
}

async fn add(world: &World, table: &Table, key: &Key, name: &str) {
    let by = world.chance.below(5) as i64 + 1;
    let write = world.history.begin_write(name, Meant::Add(by));
    end(world, write, table.add(key, "n", by).await);
}

async fn count(world: &World, table: &Table, key: &Key, name: &str) {
    let reading = world.history.begin_read();
    if let Ok(totals) = table.count(key).await {
        world
            .history
            .saw_total(&reading, name, totals[0].unwrap_or(0));
    }
}

/// New values for both columns, the second one null now and then.
fn fresh(world: &World) -> Vec<Cell> {
    let first = Some(world.history.value());
    let second = world.chance.happens(0.8).then(|| world.history.value());
    vec![first, second]
}

fn value(cell: Cell) -> Option<Value> {
    cell.map(|value| Value::Int(value as i32))
}

fn cells(row: Option<&Row>) -> Vec<Cell> {
    let cell = |cell: &Option<Value>| match cell {
        Some(Value::Int(value)) => Some(*value as u64),
        Some(other) => panic!("a value that nobody wrote: {other:?}"),
        None => None,
    };
    row.map_or(vec![None; 2], |row| row.cells.iter().map(cell).collect())
}

async fn put(world: &World, table: &Table, key: &Key, name: &str) {
    let cells = fresh(world);
    let row = Row::new(key.clone(), cells.iter().copied().map(value).collect());
    let meant = Meant::Cells(cells.into_iter().map(Some).collect());
    let write = world.history.begin_write(name, meant);
    end(world, write, table.put(row, Ttl::Default).await);
}

async fn insert(world: &World, table: &Table, key: &Key, name: &str) {
    let cells = fresh(world);
    let row = Row::new(key.clone(), cells.iter().copied().map(value).collect());
    let meant = Meant::Cells(cells.into_iter().map(Some).collect());
    let write = world.history.begin_write(name, meant);
    match table.insert(row, Ttl::Default).await {
        Ok(Written::Unmet(_)) => world.history.end_write(write, Told::Not),
        written => end(world, write, written.map(drop)),
    }
}

/// That there is a row, or that there is none.
fn wanted(world: &World) -> Option<ConditionExpression> {
    let path = Path::attribute("p");
    Some(match world.chance.happens(0.5) {
        true => ConditionExpression::Exists(path),
        false => ConditionExpression::NotExists(path),
    })
}

fn end_if(world: &World, write: usize, answer: Result<Returned>) {
    match answer {
        Ok(Returned::Unmet(_)) => world.history.end_write(write, Told::Not),
        answer => end(world, write, answer.map(drop)),
    }
}

async fn put_if(world: &World, table: &Table, key: &Key, name: &str) {
    let cells = fresh(world);
    let row = Row::new(key.clone(), cells.iter().copied().map(value).collect());
    let meant = Meant::Cells(cells.into_iter().map(Some).collect());
    let write = world.history.begin_write(name, meant);
    let put = table.put_if(row, Ttl::Default, wanted(world), Returns::Old);
    end_if(world, write, put.await);
}

async fn delete_if(world: &World, table: &Table, key: &Key, name: &str) {
    let meant = Meant::Cells(vec![Some(None); 2]);
    let write = world.history.begin_write(name, meant);
    let delete = table.delete_if(key, wanted(world), Returns::Nothing);
    end_if(world, write, delete.await);
}

/// Sets a column to a number that is added up, so that the row has to be read.
async fn set_if(world: &World, table: &Table, key: &Key, name: &str) {
    let value = world.history.value();
    let meant = Meant::Cells(vec![None, Some(Some(value))]);
    let write = world.history.begin_write(name, meant);
    let number = |number: u64| Box::new(Amount::Value(Attr::N(number.to_string())));
    let sum = Amount::Plus(number(0), number(value));
    let update = UpdateExpression {
        actions: vec![Action::Set(Path::attribute("b"), sum)],
    };
    let on = Some(ConditionExpression::Exists(Path::attribute("p")));
    let updated = table.update_item(key, update, on, Returns::New);
    end_if(world, write, updated.await);
}

async fn scan(world: &World, table: &Table, keys: &[Key]) {
    let reading = world.history.begin_read();
    let page = table.scan(Scan {
        position: None,
        limit: 100,
        part: None,
    });
    let Ok(page) = page.await else {
        return;
    };
    // What it doesn't show it may have missed: see the machine's page.
    for (at, key) in keys.iter().enumerate() {
        for row in page.rows.iter().filter(|row| row.key == *key) {
            let name = at.to_string();
            world.history.saw_cells(&reading, &name, cells(Some(row)));
        }
    }
}

async fn update(world: &World, table: &Table, key: &Key, name: &str) {
    let mut cells = vec![None; 2];
    let cell = world.chance.happens(0.85).then(|| world.history.value());
    cells[world.chance.below(2) as usize] = Some(cell);
    let edit = |cell: &Option<Cell>| cell.map(|cell| value(cell).map_or(Edit::Clear, Edit::Set));
    let update = Update {
        key: key.clone(),
        cells: cells.iter().map(edit).collect(),
        expires: None,
    };
    let write = world.history.begin_write(name, Meant::Cells(cells));
    end(world, write, table.update(update, Ttl::Default).await);
}

async fn delete(world: &World, table: &Table, key: &Key, name: &str) {
    let write = world
        .history
        .begin_write(name, Meant::Cells(vec![Some(None); 2]));
    end(world, write, table.delete(key).await);
}

/// Deletes the partition: as good as a delete of each row.
async fn delete_all(world: &World, table: &Table, keys: &[Key]) {
    let begin = |at: usize| {
        let meant = Meant::Cells(vec![Some(None); 2]);
        world.history.begin_write(&at.to_string(), meant)
    };
    let writes: Vec<usize> = (0..keys.len()).map(begin).collect();
    let answer = table
        .delete_range(ClusteringRange::whole(vec![Value::text("x")]))
        .await;
    for write in writes {
        end(world, write, answer.clone());
    }
}

async fn get(world: &World, table: &Table, key: &Key, name: &str) {
    let reading = world.history.begin_read();
    if let Ok(row) = table.get(key).await {
        world.history.saw_cells(&reading, name, cells(row.as_ref()));
    }
}

async fn query(world: &World, table: &Table, keys: &[Key]) {
    let reading = world.history.begin_read();
    let query = Query {
        range: ClusteringRange::whole(vec![Value::text("x")]),
        reverse: world.chance.happens(0.5),
        after: None,
        limit: 100,
    };
    let Ok(page) = table.query(query).await else {
        return;
    };
    for (at, key) in keys.iter().enumerate() {
        let row = page.rows.iter().find(|row| row.key == *key);
        world
            .history
            .saw_cells(&reading, &at.to_string(), cells(row));
    }
}

/// Reads everything once more, when nothing writes any longer.
pub async fn look_at_the_end(world: Arc<World>) {
    let calm = Weather {
        slow: 0.0,
        slowest: Duration::from_millis(1),
        unreachable: 0.0,
        lost: 0.0,
        held: Duration::ZERO,
    };
    let process = Process::new(&world.chance, calm);
    let shim = world.shim("the last one", &process);
    let table = shim.table("things").unwrap();
    let before = world.history.judged().reads;
    for (at, key) in world.keys().iter().enumerate() {
        match world.counters {
            true => count(&world, &table, key, &at.to_string()).await,
            false => get(&world, &table, key, &at.to_string()).await,
        }
    }
    assert_eq!(
        world.history.judged().reads,
        before + ROWS as usize,
        "the last reads failed"
    );
}

/// Walks through the phases at random, forward more often than back, and ends in `done` or anywhere.
pub async fn mover(world: Arc<World>) {
    let process = Process::new(&world.chance, world.weather);
    let control = control(&world, &process);
    let mut watch = Watch::new(world.clock());
    for _ in 0..world.chance.below(5) + 5 {
        world.pause(400).await;
        let Some(next) = next(&world, required(&control).await.record.phase) else {
            break;
        };
        everybody(&world, &control, &mut watch, Some(next)).await;
        let there = required(&control).await;
        if (there.record.phase, next) == (Phase::Copy, Phase::New) {
            while world.copied.load(Ordering::SeqCst) != there.record.freeze {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_has_arrived(&world).await;
        }
        let is_freezing = (there.record.phase, next) == (Phase::Switch, Phase::Copy);
        let record = Record {
            phase: next,
            freeze: there.record.freeze + u64::from(is_freezing),
            ..there.record.clone()
        };
        if let Ok(true) = control.replace(TARGET, &there, &record).await {
            world.tell(format!("to {next}"));
        }
    }
    everybody(&world, &control, &mut watch, None).await;
    world.over.store(true, Ordering::SeqCst);
}

fn next(world: &World, phase: Phase) -> Option<Phase> {
    let back = world.chance.happens(0.35);
    Some(match phase {
        Phase::Old => Phase::Bridge,
        Phase::Bridge => Phase::Switch,
        Phase::Switch if back => Phase::Bridge,
        Phase::Switch => Phase::Copy,
        Phase::Copy if back => Phase::Switch,
        Phase::Copy => Phase::New,
        Phase::New if back => Phase::Copy,
        Phase::New => Phase::Done,
        Phase::Done | Phase::Offline => return None,
    })
}

async fn required(control: &Control) -> Versioned {
    loop {
        match control.require(TARGET).await {
            Ok(there) => return there,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until everyone is in the phase of the record, and the next one may be entered.
pub async fn everybody(world: &World, control: &Control, watch: &mut Watch, next: Option<Phase>) {
    let begun = Instant::now();
    loop {
        let phase = required(control).await.record.phase;
        let gone = Gone {
            ids: world.gone.lock().unwrap().iter().cloned().collect(),
            silent: None,
        };
        let left = watch.look(control, TARGET, phase, next, &gone).await;
        if left.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(600),
            "waited for ever: {left:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What `new` takes: no row is left behind, none is partial, every watermark is at its total.
async fn assert_has_arrived(world: &World) {
    let source = schema(world.counters);
    let transform = spec().transform(&source, 0).unwrap();
    let old = world.rows(&world.old, &source).await;
    let new = world.rows(&world.new, transform.target()).await;
    for row in old {
        let there = new.iter().find(|there| there.key == row.key);
        let has_arrived = there.is_some_and(|there| match world.counters {
            true => cells_of(&row.cells) == there.watermarks,
            false => there.mark != Some(Mark::Partial),
        });
        assert!(has_arrived, "{row:?} was not copied: {there:?}");
    }
}

fn cells_of(cells: &[Option<Value>]) -> Vec<Option<i64>> {
    let total = |cell: &Option<Value>| match cell {
        Some(Value::BigInt(total)) => Some(*total),
        _ => None,
    };
    cells.iter().map(total).collect()
}
