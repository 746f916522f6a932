//! What the tasks of the processes do, at random, and what is written down of it.
//!
//! Many of the keys are a few hot ones. A quarter is the key of the moment, which is another one soon: so
//! several meet at a row that nobody has touched before. The rest are any.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Map, Value as Json, json};

use super::process::{Answer, Process};
use crate::history::{Cell, History, Meant, Reading, Told};

/// How large a crowd is, and how much it has to do.
#[derive(Clone, Copy, Debug)]
pub struct CrowdSize {
    /// Keys of users.
    pub users: usize,
    /// Tasks of each process.
    pub tasks: usize,
    /// Commands of a kind that are to be acknowledged in each phase.
    pub enough: u64,
}

impl CrowdSize {
    pub const FULL: CrowdSize = CrowdSize {
        users: 4_500,
        tasks: 20,
        enough: 15,
    };
    /// For what works so much for each command that a crowd of the full size would take minutes for every step.
    pub const SMALL: CrowdSize = CrowdSize {
        users: 300,
        tasks: 8,
        enough: 5,
    };
}

/// Keys of the other tables, and how many of all are hot.
pub const HOT_USERS: usize = 40;
pub const ROOMS: usize = 25;
pub const MESSAGES: usize = 20;
const HOT_ROOMS: usize = 2;
pub const POLLS: usize = 200;
const HOT_POLLS: usize = 20;
/// Users that conditional writes may have for themselves.
const CONDITIONAL: usize = 100;

/// The columns of a row in the new store. The old one calls the second `b`.
pub const COLUMNS: [&str; 3] = ["a", "second", "c"];

/// How long a key is the one of the moment.
const MOMENT: Duration = Duration::from_millis(100);
/// The pause of a task after each command, so that the machine has time for others too.
const BREATH: std::ops::Range<u64> = 100..300;
const PATIENCE: Duration = Duration::from_secs(900);

const KINDS: [&str; 7] = ["get", "put", "update", "delete", "query", "add", "count"];

/// A key of one of the tables.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    User(usize),
    Message(usize, usize),
    Poll(usize),
}

impl Key {
    /// All of them, with so many users.
    fn all(users: usize) -> impl Iterator<Item = Key> {
        let messages = (0..ROOMS).flat_map(|room| (0..MESSAGES).map(move |at| (room, at)));
        let messages = messages.map(|(room, at)| Key::Message(room, at));
        (0..users)
            .map(Key::User)
            .chain(messages)
            .chain((0..POLLS).map(Key::Poll))
    }

    pub fn table(self) -> &'static str {
        match self {
            Key::User(_) => "users",
            Key::Message(..) => "messages",
            Key::Poll(_) => "polls",
        }
    }

    /// What it is called in its table.
    pub fn id(self) -> String {
        match self {
            Key::User(at) => format!("u{at}"),
            Key::Message(room, at) => format!("r{room} {at}"),
            Key::Poll(at) => format!("p{at}"),
        }
    }

    /// What the history calls it.
    pub fn name(self) -> String {
        format!("{} {}", self.table(), self.id())
    }

    pub fn columns(self) -> Map<String, Json> {
        let columns = match self {
            Key::User(_) | Key::Poll(_) => json!({"id": self.id()}),
            Key::Message(room, at) => json!({"room": format!("r{room}"), "at": at}),
        };
        columns.as_object().expect("an object").clone()
    }

    /// A row of either table, be it there or not.
    fn of_rows(chance: &mut SmallRng, users: usize, since: Duration) -> Key {
        if chance.random_bool(0.25) {
            let moment = since.as_millis() / MOMENT.as_millis();
            return Key::User(moment as usize * 7_919 % users);
        }
        match chance.random_bool(0.6) {
            true => Key::User(one_of(chance, users, HOT_USERS)),
            false => Key::Message(room(chance), chance.random_range(0..MESSAGES)),
        }
    }

    pub fn of_polls(chance: &mut SmallRng) -> Key {
        Key::Poll(one_of(chance, POLLS, HOT_POLLS))
    }
}

fn room(chance: &mut SmallRng) -> usize {
    one_of(chance, ROOMS, HOT_ROOMS)
}

/// A hot one more often than not.
fn one_of(chance: &mut SmallRng, all: usize, hot: usize) -> usize {
    let is_hot = chance.random_bool(0.6);
    chance.random_range(0..if is_hot { hot } else { all })
}

/// What became of the commands of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    done: u64,
    refused: u64,
    unknown: u64,
}

/// What all tasks share.
pub struct Crowd {
    pub size: CrowdSize,
    begun: Instant,
    pub history: History,
    /// The phase that everyone is in, for as long as nobody moves.
    phase: Mutex<Option<&'static str>>,
    tallies: Mutex<BTreeMap<(Option<&'static str>, &'static str), Tally>>,
    /// By the command's kind and the error's.
    errors: Mutex<BTreeMap<(&'static str, String), u64>>,
    /// What a single answer was wrong with.
    wrongs: Mutex<Vec<String>>,
    is_over: AtomicBool,
    /// Keys at the end of the users are left to conditional writes: in `old`, Cassandra orders those and plain ones each
    /// for itself.
    pub conditions_apart: AtomicBool,
}

impl Crowd {
    pub fn new(size: CrowdSize) -> Self {
        Crowd {
            size,
            begun: Instant::now(),
            history: History::default(),
            phase: Mutex::default(),
            tallies: Mutex::default(),
            errors: Mutex::default(),
            wrongs: Mutex::default(),
            is_over: AtomicBool::new(false),
            conditions_apart: AtomicBool::new(false),
        }
    }

    /// All keys that there may be.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        Key::all(self.size.users)
    }

    /// Somebody is about to leave the phase.
    pub fn moves(&self) {
        *self.phase.lock().expect("no panic") = None;
    }

    /// Waits until enough of each kind has been done while everyone is in this phase.
    pub async fn serves(&self, phase: &'static str) {
        let done = || {
            let tallies = self.tallies.lock().expect("no panic");
            let done = |kind| tallies.get(&(Some(phase), kind)).map_or(0, |it| it.done);
            KINDS.map(done)
        };
        let before = done();
        *self.phase.lock().expect("no panic") = Some(phase);
        let begun = Instant::now();
        while done()
            .iter()
            .zip(before)
            .any(|(now, then)| now - then < self.size.enough)
        {
            let (now, waited) = (done(), begun.elapsed());
            assert!(
                waited < PATIENCE,
                "too little was done in {phase}: {before:?}, {now:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// All that was wrong.
    pub fn wrongs(&self) -> Vec<String> {
        let mut wrongs = self.wrongs.lock().expect("no panic").clone();
        wrongs.extend(self.history.wrongs());
        wrongs
    }

    /// Fails if there was an error that no application should see, by the command's kind and the error's.
    pub fn look_at_errors(&self, may_be: impl Fn(&str, &str) -> bool) {
        let errors = self.errors.lock().expect("no panic").clone();
        println!("errors: {errors:?}");
        let odd = errors.keys().find(|(kind, error)| !may_be(kind, error));
        assert_eq!(odd, None, "{errors:?}");
    }

    /// Fails if a kind of command was never acknowledged: then the run has shown nothing of it.
    pub fn did_each(&self, kinds: &[&str]) {
        let tallies = self.tallies.lock().expect("no panic");
        let done = |wanted: &str| -> u64 {
            let of = tallies.iter().filter(|((_, kind), _)| *kind == wanted);
            of.map(|(_, tally)| tally.done).sum()
        };
        let never: Vec<&&str> = kinds.iter().filter(|kind| done(kind) == 0).collect();
        assert!(never.is_empty(), "never done: {never:?}");
    }

    pub fn print(&self) {
        for ((phase, kind), tally) in self.tallies.lock().expect("no panic").iter() {
            println!("{:>8} {kind:>6}: {tally:?}", phase.unwrap_or("between"));
        }
        println!("{:?}", self.history.judged());
    }

    /// The phase, if nobody moves.
    pub fn phase(&self) -> Option<&'static str> {
        *self.phase.lock().expect("no panic")
    }

    /// One command, counted.
    pub async fn ask(&self, process: &Process, kind: &'static str, mut command: Json) -> Answer {
        command["op"] = json!(kind);
        // The history's numbers of the writes in it.
        let writes = command
            .as_object_mut()
            .and_then(|command| command.remove("writes"));
        let before = self.phase();
        let (answer, repeated) = process.ask(command).await;
        let writes = writes.filter(|_| repeated);
        for write in writes.iter().filter_map(Json::as_array).flatten() {
            let write = write.as_u64().expect("a number");
            self.history.repeated(write as usize);
        }
        let phase = before.filter(|_| before == self.phase());
        let mut tallies = self.tallies.lock().expect("no panic");
        let tally = tallies.entry((phase, kind)).or_default();
        match &answer {
            Answer::Ok(_) => tally.done += 1,
            Answer::Error {
                kind: error,
                without_effect,
            } => {
                match without_effect {
                    true => tally.refused += 1,
                    false => tally.unknown += 1,
                }
                let mut errors = self.errors.lock().expect("no panic");
                *errors.entry((kind, error.clone())).or_default() += 1;
            }
        }
        answer
    }

    /// A write, and what is learnt of it.
    async fn write(
        &self,
        process: &Process,
        kind: &'static str,
        (key, meant): (Key, Meant),
        mut command: Json,
    ) -> Answer {
        let write = self.history.begin_write(&key.name(), meant);
        command["writes"] = json!([write]);
        let answer = self.ask(process, kind, command).await;
        match &answer {
            Answer::Ok(ok) => {
                assert_eq!(*ok, Json::Bool(true), "{kind} {key:?}");
                self.history.end_write(write, Told::Done);
            }
            Answer::Error { without_effect, .. } => {
                if *without_effect {
                    self.history.end_write(write, Told::Not);
                }
            }
        }
        answer
    }

    pub async fn put(&self, process: &Process, key: Key, chance: &mut SmallRng) -> Answer {
        let cells = COLUMNS.map(|_| chance.random_bool(0.8).then(|| self.history.value()));
        let mut row = key.columns();
        for (column, cell) in COLUMNS.iter().zip(cells) {
            row.extend(cell.map(|value| ((*column).to_owned(), json!(value))));
        }
        let meant = Meant::Cells(cells.map(Some).to_vec());
        let command = json!({"table": key.table(), "row": row});
        self.write(process, "put", (key, meant), command).await
    }

    pub async fn update(&self, process: &Process, key: Key, chance: &mut SmallRng) -> Answer {
        let mut cells = [None; COLUMNS.len()];
        while cells.iter().all(Option::is_none) {
            cells = cells.map(|_| match chance.random_range(0..10) {
                0..4 => Some(Some(self.history.value())),
                4 => Some(None),
                _ => None,
            });
        }
        let (mut set, mut remove) = (Map::new(), Vec::new());
        for (column, cell) in COLUMNS.iter().zip(cells) {
            match cell {
                Some(Some(value)) => drop(set.insert((*column).to_owned(), json!(value))),
                Some(None) => remove.push(*column),
                None => {}
            }
        }
        let command =
            json!({"table": key.table(), "key": key.columns(), "set": set, "remove": remove});
        let meant = Meant::Cells(cells.to_vec());
        self.write(process, "update", (key, meant), command).await
    }

    async fn delete(&self, process: &Process, key: Key) -> Answer {
        let meant = Meant::Cells(vec![Some(None); COLUMNS.len()]);
        let command = json!({"table": key.table(), "key": key.columns()});
        self.write(process, "delete", (key, meant), command).await
    }

    pub async fn add(&self, process: &Process, key: Key, by: i64) -> Answer {
        let command = json!({"table": key.table(), "key": key.columns(), "column": "n", "by": by});
        self.write(process, "add", (key, Meant::Add(by)), command)
            .await
    }

    pub async fn get(&self, process: &Process, key: Key) -> Answer {
        let reading = self.history.begin_read();
        let command = json!({"table": key.table(), "key": key.columns()});
        let answer = self.ask(process, "get", command).await;
        if let Answer::Ok(row) = &answer {
            self.saw(&reading, key, row);
        }
        answer
    }

    pub async fn count(&self, process: &Process, key: Key) -> Answer {
        let reading = self.history.begin_read();
        let command = json!({"table": key.table(), "key": key.columns()});
        let answer = self.ask(process, "count", command).await;
        if let Answer::Ok(totals) = &answer {
            let total = totals["n"].as_i64().unwrap_or(0);
            self.history.saw_total(&reading, &key.name(), total);
        }
        answer
    }

    async fn query(&self, process: &Process, chance: &mut SmallRng) -> Answer {
        let room = room(chance);
        let limit = chance
            .random_bool(0.3)
            .then(|| chance.random_range(1..MESSAGES));
        self.list(process, room, chance.random_bool(0.5), limit)
            .await
    }

    /// Lists a room's messages, the latest first unless it is reversed.
    pub async fn list(
        &self,
        process: &Process,
        room: usize,
        reverse: bool,
        limit: Option<usize>,
    ) -> Answer {
        let reading = self.history.begin_read();
        let partition = json!({"room": format!("r{room}")});
        let command = json!({"table": "messages", "partition": partition, "reverse": reverse, "limit": limit});
        let answer = self.ask(process, "query", command).await;
        if let Answer::Ok(rows) = &answer {
            let rows = rows.as_array().expect("rows");
            self.listed(&reading, room, reverse, rows, limit);
        }
        answer
    }

    /// Each key up to the last one that was listed, or all if there were fewer than wanted, was either there
    /// or not.
    fn listed(
        &self,
        reading: &Reading,
        room: usize,
        reverse: bool,
        rows: &[Json],
        limit: Option<usize>,
    ) {
        let at = |row: &Json| row["at"].as_u64().expect("a number") as usize;
        let places: Vec<usize> = rows.iter().map(at).collect();
        let ordered = places.windows(2).all(|pair| match reverse {
            true => pair[0] < pair[1],
            false => pair[0] > pair[1],
        });
        let too_many = limit.is_some_and(|limit| rows.len() > limit);
        let stranger = rows.iter().find(|row| row["room"] != format!("r{room}"));
        if !ordered || too_many || stranger.is_some() {
            let wrong = format!("r{room}, reverse {reverse}, limit {limit:?}: {rows:?}");
            self.wrongs.lock().expect("no panic").push(wrong);
            return;
        }
        let is_whole = limit.is_none_or(|limit| rows.len() < limit);
        let last = places.last().copied();
        for place in 0..MESSAGES {
            let was_passed = match reverse {
                true => last.is_some_and(|last| place <= last),
                false => last.is_some_and(|last| place >= last),
            };
            if is_whole || was_passed {
                let row = rows.iter().find(|row| at(row) == place);
                self.saw(
                    reading,
                    Key::Message(room, place),
                    row.unwrap_or(&Json::Null),
                );
            }
        }
    }

    /// A row was seen, or null.
    pub fn saw(&self, reading: &Reading, key: Key, row: &Json) {
        let cell = |column: &&str| match &row[*column] {
            Json::Null => None,
            value => Some(value.as_u64().expect("a value that somebody wrote")),
        };
        let cells: Vec<Cell> = COLUMNS.iter().map(cell).collect();
        self.history.saw_cells(reading, &key.name(), cells);
    }

    /// What the items of a table say, read without the shim while it is in `new`.
    pub fn saw_items(&self, reading: &Reading, items: &HashMap<String, Item>, table: &str) {
        let number = |item: &Item, name: &str| match item.get(name) {
            Some(AttributeValue::N(number)) => Some(number.parse::<i64>().expect("a number")),
            Some(other) => panic!("{name} is {other:?}"),
            None => None,
        };
        for key in self.keys().filter(|key| key.table() == table) {
            let item = items.get(&key.name());
            let item = item.filter(|item| item.get("_m") != Some(&AttributeValue::S("t".into())));
            let value = |name| number(item?, name);
            match key {
                Key::Poll(_) => {
                    let total = value("n").unwrap_or(0);
                    self.history.saw_total(reading, &key.name(), total);
                }
                Key::User(_) | Key::Message(..) => {
                    let cells = COLUMNS.map(|column| value(column).map(|value| value as u64));
                    self.history.saw_cells(reading, &key.name(), cells.to_vec());
                }
            }
        }
    }

    /// A row for plain writes.
    pub fn any_row(&self, chance: &mut SmallRng) -> Key {
        match Key::of_rows(chance, self.size.users, self.begun.elapsed()) {
            Key::User(at) if self.conditions_apart.load(Ordering::SeqCst) => {
                Key::User(at % (self.size.users - CONDITIONAL))
            }
            key => key,
        }
    }

    /// A user for conditional writes.
    pub fn any_conditional(&self, chance: &mut SmallRng) -> Key {
        match chance.random_bool(0.5) || self.conditions_apart.load(Ordering::SeqCst) {
            true => Key::User(self.size.users - 1 - chance.random_range(0..CONDITIONAL)),
            false => Key::User(one_of(chance, self.size.users, HOT_USERS)),
        }
    }

    /// Something, at random.
    pub async fn operate(&self, process: &Process, chance: &mut SmallRng) {
        let key = self.any_row(chance);
        match chance.random_range(0..100) {
            0..30 => self.get(process, key).await,
            30..44 => self.put(process, key, chance).await,
            44..62 => self.update(process, key, chance).await,
            62..70 => self.delete(process, key).await,
            70..78 => self.query(process, chance).await,
            78..92 => {
                let by = chance.random_range(1..5);
                self.add(process, Key::of_polls(chance), by).await
            }
            _ => self.count(process, Key::of_polls(chance)).await,
        };
    }
}

type Item = HashMap<String, AttributeValue>;

impl Crowd {
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

/// One task of a process, until all is over.
pub async fn task(crowd: Arc<Crowd>, process: Arc<Process>, mut chance: SmallRng) {
    while !crowd.is_over() {
        tokio::time::sleep(Duration::from_millis(chance.random_range(BREATH))).await;
        if !process.rests() {
            crowd.operate(&process, &mut chance).await;
        }
    }
}
