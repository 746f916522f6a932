//! Three processes with twenty tasks each, on the real servers: whatever they do, at random, while their
//! tables are moved to and fro, copiers are killed, and they themselves stand still now and then.
//!
//! What can't have been is found by [`crate::history`], which knows nothing of shims and phases.

mod more;
mod process;
mod sidecars;
mod tasks;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use scylla::value::Counter;

use self::process::{Answer, Process};
use self::tasks::{COLUMNS, Crowd, CrowdSize, HOT_USERS, Key, MESSAGES, ROOMS, task};
use self::walk::{OPERATION, Walk};
use crate::command::Bench;
use crate::forwarding::{Fault, Forwarding};
use crate::history::{Meant, Told};
use crate::support::is_long;

/// The leases are short, so that one that stands still loses its own soon.
const PLAN: &str = "[lease]\nseconds = 3\noperation_seconds = 2\nlanding_seconds = 3\n[shim]\nresave = \"background\"\n\
                    [[table]]\nname = \"polls\"\nto = \"@-polls\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\n[table.columns]\nb = { rename = \"second\" }\n\
                    [[table]]\nname = \"messages\"\nto = \"@-messages\"\n[table.columns]\nb = { rename = \"second\" }\n";

/// What a request of a copier takes longer than it would, so that it can be killed in the middle.
const SLOW: Duration = Duration::from_millis(20);

/// What is done to which key follows from it; when, doesn't.
fn seed() -> u64 {
    match std::env::var("CROSSFADE_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => rand::random_range(0..1_000_000),
    }
}

/// A run that fails on its way says what had been wrong by then.
struct Verdict(Arc<Crowd>);

impl Drop for Verdict {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("wrong by then: {}", self.0.wrongs().join("\n"));
        }
    }
}

/// Tables of which most rows are there when all begins, and whose values the history knows.
async fn filled(crowd: &Crowd, chance: &mut SmallRng) -> Bench {
    let bench = Bench::new("processes").await;
    for statement in [
        "CREATE TABLE polls (id text PRIMARY KEY, n counter)",
        "CREATE TABLE users (id text PRIMARY KEY, a bigint, b bigint, c bigint)",
        "CREATE TABLE messages (room text, at int, a bigint, b bigint, c bigint, PRIMARY KEY (room, at)) \
         WITH CLUSTERING ORDER BY (at DESC)",
    ] {
        bench.cql(statement).await;
    }
    let history = &crowd.history;
    let (mut users, mut messages, mut polls) = (Vec::new(), Vec::new(), Vec::new());
    for key in crowd.keys() {
        if !chance.random_bool(0.8) {
            continue;
        }
        let values = COLUMNS.map(|_| history.value());
        let [a, b, c] = values.map(|value| value as i64);
        let meant = match key {
            Key::Poll(at) => {
                let by = chance.random_range(1..100);
                polls.push((Counter(by), format!("p{at}")));
                Meant::Add(by)
            }
            Key::User(at) => {
                users.push((format!("u{at}"), a, b, c));
                Meant::Cells(values.map(|value| Some(Some(value))).to_vec())
            }
            Key::Message(room, at) => {
                messages.push((format!("r{room}"), at as i32, a, b, c));
                Meant::Cells(values.map(|value| Some(Some(value))).to_vec())
            }
        };
        let write = history.begin_write(&key.name(), meant);
        history.end_write(write, Told::Done);
    }
    let insert = "INSERT INTO users (id, a, b, c) VALUES (?, ?, ?, ?)";
    bench.fill(insert, users).await;
    let insert = "INSERT INTO messages (room, at, a, b, c) VALUES (?, ?, ?, ?, ?)";
    bench.fill(insert, messages).await;
    let add = "UPDATE polls SET n = n + ? WHERE id = ?";
    bench.fill(add, polls).await;
    bench
}

/// Reads every key once more, now that nothing writes any longer: without the shim, and most of them with it.
async fn look_at_the_end(bench: &Bench, crowd: &Arc<Crowd>, processes: &[Arc<Process>]) {
    let keys = crowd.keys().filter(|key| match key {
        Key::User(at) => *at < HOT_USERS || at % 5 == 0,
        Key::Message(..) | Key::Poll(_) => true,
    });
    let keys: Vec<Key> = keys.collect();
    let readers = crowd.size.tasks * processes.len();
    let read = |at: usize| {
        let (crowd, process) = (crowd.clone(), processes[at % processes.len()].clone());
        let keys: Vec<Key> = keys.iter().copied().skip(at).step_by(readers).collect();
        tokio::spawn(async move {
            for key in keys {
                let read = async || match key {
                    Key::Poll(_) => crowd.count(&process, key).await,
                    Key::User(_) | Key::Message(..) => crowd.get(&process, key).await,
                };
                // It may have been so busy that its lease has run out.
                while matches!(read().await, Answer::Error { .. }) {
                    tokio::time::sleep(OPERATION).await;
                }
            }
        })
    };
    for reader in (0..readers).map(read).collect::<Vec<_>>() {
        reader.await.expect("no panic");
    }
    for room in 0..ROOMS {
        crowd.list(&processes[0], room, room % 2 == 0, None).await;
    }
    let reading = crowd.history.begin_read();
    let text = |value: &AttributeValue| match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        other => panic!("a key that nobody wrote: {other:?}"),
    };
    for table in ["users", "messages", "polls"] {
        let items = bench.items(table).await.into_iter().map(|item| {
            let key = match item.get("id") {
                Some(id) => text(id),
                None => format!("{} {}", text(&item["room"]), text(&item["at"])),
            };
            (format!("{table} {key}"), item)
        });
        let items: HashMap<_, _> = items.collect();
        assert!(items.len() >= MESSAGES, "{table} has {} items", items.len());
        crowd.saw_items(&reading, &items, table);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_go_on_while_their_tables_move_to_and_fro() {
    let seed = seed();
    println!("CROSSFADE_SEED={seed}");
    let mut chance = SmallRng::seed_from_u64(seed);
    let crowd = Arc::new(Crowd::new(CrowdSize::FULL));
    let _verdict = Verdict(crowd.clone());
    let bench = filled(&crowd, &mut chance).await;
    bench.plan(PLAN).init();

    // Of the third one answers can be held back; copiers are slow enough to be killed on their way.
    let gate = Forwarding::start(&bench.url, |_| Fault::None);
    let slow = Forwarding::start(&bench.url, |_| {
        std::thread::sleep(SLOW);
        Fault::None
    });
    let by = |url: &str| format!("{}{PLAN}", bench.stores().replace(&bench.url, url));
    let inline = by(&bench.url).replace("background", "inline");
    let plans = [
        bench.folder.path().join("plan.toml"),
        bench.write("inline.toml", &inline),
        bench.write("gate.toml", &by(&gate.url)),
    ];
    bench.write("slow.toml", &by(&slow.url));

    let processes = plans.map(|plan| Arc::new(Process::start(&plan)));
    let mut tasks = Vec::new();
    for process in &processes {
        for _ in 0..crowd.size.tasks {
            let chance = SmallRng::seed_from_u64(chance.random());
            tasks.push(tokio::spawn(task(crowd.clone(), process.clone(), chance)));
        }
    }
    let mut walk = Walk::new(bench, crowd.clone(), processes, gate, chance);
    walk.go(if is_long() { 5 } else { 1 }).await;
    crowd.end();
    for task in tasks {
        task.await.expect("no panic");
    }
    let (bench, processes) = walk.end().await;
    crowd.print();
    look_at_the_end(&bench, &crowd, &processes).await;
    let passes = ["unreachable", "timeout", "throttled", "transient"];
    crowd.look_at_errors(|_, error| passes.contains(&error));
    for process in processes {
        Arc::into_inner(process).expect("nobody else").end();
    }
    for table in bench.status() {
        assert_eq!(table["instances"], serde_json::json!([]), "all have left");
    }
    let wrongs = crowd.wrongs();
    assert!(
        wrongs.is_empty(),
        "CROSSFADE_SEED={seed}\n{}",
        wrongs.join("\n")
    );
    bench.done().await;
}
