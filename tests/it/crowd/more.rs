//! What applications do by DynamoDB's protocol beside what the `drive` example does: conditions, batches, transactions,
//! scans, totals that an add answers with.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value as Json, json};

use super::process::{Answer, Process};
use super::tasks::{COLUMNS, Crowd, Key, MESSAGES, ROOMS};
use crate::history::{Cell, Meant, Told};

/// All that is done by the protocol.
pub const PROTOCOL: [&str; 16] = [
    "add",
    "add_and_count",
    "batch_get",
    "batch_write",
    "count",
    "delete",
    "delete_if",
    "get",
    "put",
    "put_new",
    "query",
    "scan",
    "transact_get",
    "transact_write",
    "update",
    "update_if",
];

/// A column that is written is given a value.
const GIVEN: f64 = 0.8;

/// What a conditional write is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum If {
    PutNew,
    Update,
    Delete,
}

impl Crowd {
    fn any_cells(&self, chance: &mut SmallRng) -> [Cell; 3] {
        COLUMNS.map(|_| chance.random_bool(GIVEN).then(|| self.history.value()))
    }

    fn row(key: Key, cells: [Cell; 3]) -> Json {
        let mut row = key.columns();
        for (column, cell) in COLUMNS.iter().zip(cells) {
            row.extend(cell.map(|value| ((*column).to_owned(), json!(value))));
        }
        Json::Object(row)
    }

    /// A write of a whole row, on the condition that the row is as it was seen, or absent.
    async fn write_if(&self, process: &Process, key: Key, chance: &mut SmallRng, what: If) {
        let was = match what {
            If::PutNew => Json::Null,
            If::Update | If::Delete => match self.get(process, key).await {
                Answer::Ok(row) => row,
                Answer::Error { .. } => return,
            },
        };
        let cells = match what {
            If::PutNew | If::Update => self.any_cells(chance),
            If::Delete => [None; 3],
        };
        let reading = self.history.begin_read();
        let meant = Meant::Cells(cells.map(Some).to_vec());
        let write = self.history.begin_write(&key.name(), meant);
        let mut command = json!({"table": key.table(), "key": key.columns(), "was": was});
        if was.is_null() {
            command["was"] = json!({});
        }
        let kind = match what {
            If::PutNew => {
                command["row"] = Self::row(key, cells);
                "put_new"
            }
            If::Update => {
                let given = COLUMNS.iter().zip(cells);
                let set: serde_json::Map<_, _> = given
                    .clone()
                    .filter_map(|(name, cell)| Some(((*name).to_owned(), json!(cell?))))
                    .collect();
                let remove: Vec<_> = given.filter(|(_, cell)| cell.is_none()).collect();
                let remove: Vec<_> = remove.into_iter().map(|(name, _)| name).collect();
                command["set"] = Json::Object(set);
                command["remove"] = json!(remove);
                "update_if"
            }
            If::Delete => "delete_if",
        };
        command["writes"] = json!([write]);
        match self.ask(process, kind, command).await {
            // It was as the condition says at the moment of the write.
            Answer::Ok(told) if told["met"] == true => {
                self.saw(&reading, key, &was);
                self.history.end_write(write, Told::Done);
            }
            Answer::Ok(told) => {
                if !told["row"].is_null() {
                    self.saw(&reading, key, &told["row"]);
                }
                if told["sure"] == true {
                    self.history.end_write(write, Told::Not);
                }
            }
            Answer::Error {
                without_effect: true,
                ..
            } => self.history.end_write(write, Told::Not),
            Answer::Error { .. } => {}
        }
    }

    /// Different users.
    fn some(&self, chance: &mut SmallRng, count: usize) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        while keys.len() < count {
            let key = self.any_row(chance);
            let is_new = keys.iter().all(|other| other.id() != key.id());
            if matches!(key, Key::User(_)) && is_new {
                keys.push(key);
            }
        }
        keys
    }

    async fn get_many(&self, process: &Process, keys: &[Key], kind: &'static str) {
        let reading = self.history.begin_read();
        let named: Vec<_> = keys.iter().map(|key| key.columns()).collect();
        let command = json!({"table": "users", "keys": named});
        if let Answer::Ok(rows) = self.ask(process, kind, command).await {
            for key in keys {
                // What was left for later isn't among them.
                if let Some(row) = rows.get(key.id()) {
                    self.saw(&reading, *key, row);
                }
            }
        }
    }

    /// Puts some and deletes the last of them.
    async fn write_many(
        &self,
        process: &Process,
        keys: &[Key],
        chance: &mut SmallRng,
        kind: &'static str,
    ) {
        let (mut rows, mut deleted, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for (at, key) in keys.iter().enumerate() {
            let cells = match at + 1 == keys.len() {
                true => [None; 3],
                false => self.any_cells(chance),
            };
            match at + 1 == keys.len() {
                true => deleted.push(key.columns()),
                false => rows.push(Self::row(*key, cells)),
            }
            let meant = Meant::Cells(cells.map(Some).to_vec());
            writes.push((*key, self.history.begin_write(&key.name(), meant)));
        }
        let numbers: Vec<_> = writes.iter().map(|(_, write)| *write).collect();
        let command = json!({"table": "users", "rows": rows, "keys": deleted, "writes": numbers});
        let answer = self.ask(process, kind, command).await;
        for (key, write) in writes {
            let told = match &answer {
                Answer::Ok(said) => {
                    // What is left is to be written again, whether it was or not.
                    let left = said["left"].as_array().expect("ids");
                    (!left.contains(&json!(key.id()))).then_some(Told::Done)
                }
                Answer::Error { without_effect, .. } => without_effect.then_some(Told::Not),
            };
            if let Some(told) = told {
                self.history.end_write(write, told);
            }
        }
    }

    /// All messages, of which each was there or not.
    async fn scan(&self, process: &Process) {
        let reading = self.history.begin_read();
        let command = json!({"table": "messages"});
        let Answer::Ok(rows) = self.ask(process, "scan", command).await else {
            return;
        };
        let rows = rows.as_array().expect("rows");
        for room in 0..ROOMS {
            for at in 0..MESSAGES {
                let named = format!("r{room}");
                let is_it = |row: &&Json| row["room"] == named.as_str() && row["at"] == at;
                // While the phase changes, a row may be there twice.
                let found: Vec<&Json> = rows.iter().filter(is_it).collect();
                let nothing = found.is_empty().then_some(&Json::Null);
                for row in found.into_iter().chain(nothing) {
                    self.saw(&reading, Key::Message(room, at), row);
                }
            }
        }
    }

    async fn add_and_count(&self, process: &Process, key: Key, by: i64) {
        let reading = self.history.begin_read();
        let write = self.history.begin_write(&key.name(), Meant::Add(by));
        let command = json!({"table": key.table(), "key": key.columns(), "by": by});
        match self.ask(process, "add_and_count", command).await {
            Answer::Ok(totals) => {
                let total = totals["n"].as_i64().expect("a total");
                self.history.saw_total(&reading, &key.name(), total);
                self.history.end_write(write, Told::Done);
            }
            Answer::Error {
                without_effect: true,
                ..
            } => self.history.end_write(write, Told::Not),
            Answer::Error { .. } => {}
        }
    }

    /// Anything that the protocol has, at random.
    async fn operate_by_protocol(&self, process: &Process, chance: &mut SmallRng) {
        // What needs keys that have moved is held there until the deadline, and would keep all tasks.
        let is_held = matches!(self.phase(), Some("bridge" | "switch"));
        let conditional = self.any_conditional(chance);
        match chance.random_range(0..200) {
            0..110 => self.operate(process, chance).await,
            110..125 => {
                let by = chance.random_range(1..5);
                self.add_and_count(process, Key::of_polls(chance), by).await;
            }
            125..140 => {
                let keys = self.some(chance, 4);
                self.get_many(process, &keys, "batch_get").await;
            }
            140..150 => {
                let keys = self.some(chance, 4);
                self.write_many(process, &keys, chance, "batch_write").await;
            }
            150..152 => self.scan(process).await,
            _ if is_held && chance.random_bool(0.95) => self.operate(process, chance).await,
            152..164 => {
                self.write_if(process, conditional, chance, If::PutNew)
                    .await
            }
            164..180 => {
                self.write_if(process, conditional, chance, If::Update)
                    .await
            }
            180..190 => {
                self.write_if(process, conditional, chance, If::Delete)
                    .await
            }
            190..195 => {
                let keys = self.some(chance, 2);
                self.write_many(process, &keys, chance, "transact_write")
                    .await;
            }
            _ => {
                let keys = self.some(chance, 2);
                self.get_many(process, &keys, "transact_get").await;
            }
        }
    }
}

/// The pause of a task after each command: a sidecar works more for one than the example does.
const PAUSE: std::ops::Range<u64> = 200..600;

/// One task of an application, until all is over.
pub async fn task(crowd: Arc<Crowd>, process: Arc<Process>, mut chance: SmallRng) {
    while !crowd.is_over() {
        tokio::time::sleep(Duration::from_millis(chance.random_range(PAUSE))).await;
        crowd.operate_by_protocol(&process, &mut chance).await;
    }
}
