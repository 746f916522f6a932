//! The way of the tables, and what befalls everybody on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value as Json;
use tokio::task::JoinHandle;

use super::process::{Answer, Process};
use super::tasks::{Crowd, Key, POLLS};
use crate::command::Bench;
use crate::forwarding::Forwarding;
use crate::scripted::Request;
use crate::support::Running;

const LEASE: Duration = Duration::from_secs(3);
pub const OPERATION: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(900);
const TABLES: [&str; 3] = ["polls", "users", "messages"];
/// The process whose answers can be held back.
const HELD: usize = 2;

/// A move of all tables, by one step.
type Step = (&'static str, &'static str);

const FORWARD: [Step; 2] = [("advance", "switch"), ("advance", "copy")];
const BACK: [Step; 3] = [("back", "copy"), ("back", "switch"), ("back", "bridge")];
const NEW: Step = ("advance", "new");

pub struct Walk {
    bench: Bench,
    crowd: Arc<Crowd>,
    processes: [Arc<Process>; 3],
    gate: Forwarding,
    chance: SmallRng,
    hiccups: (Arc<AtomicBool>, JoinHandle<()>),
    /// The tables have been copied once, so that a copier may find nothing to write.
    copied: bool,
    begun: Instant,
}

/// A command whose answer is held back.
struct Probe {
    /// Its key, as it stands in requests.
    id: String,
    /// It is one request that has no condition.
    is_one_write: bool,
    /// The new store was asked.
    came: bool,
    asking: JoinHandle<Answer>,
}

/// Waits for something.
async fn within(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether it is about leases and phases.
fn is_control(request: &Request) -> bool {
    let table = request.body["TableName"].as_str();
    table.is_none_or(|table| table.ends_with("-control"))
}

/// Lets processes stand still for a moment, so that what they have under way gets late.
async fn hiccups(processes: [Arc<Process>; 3], mut chance: SmallRng, over: Arc<AtomicBool>) {
    while !over.load(Ordering::SeqCst) {
        let pause = Duration::from_millis(chance.random_range(300..1_500));
        tokio::time::sleep(pause).await;
        let process = &processes[chance.random_range(0..3)];
        let Ok(_signals) = process.signals.try_lock() else {
            continue;
        };
        process.stop();
        let still = Duration::from_millis(chance.random_range(50..900));
        tokio::time::sleep(still).await;
        process.go_on();
    }
}

impl Walk {
    pub fn new(
        bench: Bench,
        crowd: Arc<Crowd>,
        processes: [Arc<Process>; 3],
        gate: Forwarding,
        mut chance: SmallRng,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stumbling = SmallRng::seed_from_u64(chance.random());
        let hiccups = tokio::spawn(hiccups(processes.clone(), stumbling, over.clone()));
        Walk {
            bench,
            crowd,
            processes,
            gate,
            chance,
            hiccups: (over, hiccups),
            copied: false,
            begun: Instant::now(),
        }
    }

    /// From `old` to `new`, and then back to `bridge` and to `new` again, so many times.
    pub async fn go(&mut self, times: usize) {
        self.crowd.serves("old").await;
        self.moves(("advance", "bridge"), &["--expect", "3"]);
        self.say("in bridge");
        self.forward(Some(NEW)).await;
        let stops = [BACK[0], FORWARD[1], BACK[1], NEW, BACK[2]];
        for time in 0..times {
            // Once is enough for those who wait for it.
            let stop = (times > 1).then(|| stops[time % stops.len()]);
            for step in BACK {
                self.step(step, stop).await;
            }
            self.forward(stop).await;
        }
    }

    /// From `bridge` to `new`. A stop: where a process stands still across its lease, and copiers are killed.
    async fn forward(&mut self, stop: Option<Step>) {
        self.crowd.serves("bridge").await;
        if stop.is_some() {
            self.stopped_in_bridge().await;
        } else {
            self.moves(FORWARD[0], &[]);
        }
        self.crowd.serves("switch").await;
        self.step(FORWARD[1], stop).await;
        self.crowd.serves("copy").await;
        let before = self.look_at_items("before copying").await;
        if stop.is_some() {
            self.kill_a_copier("polls").await;
            self.kill_a_copier("users").await;
        }
        self.run(&["copy", "--final"]);
        self.copied = true;
        self.say("copied");
        self.run(&["verify"]);
        self.say("verified");
        self.step(NEW, stop).await;
        self.crowd.serves("new").await;
        let after = self.look_at_items("in new").await;
        // Without them there would be little to prove.
        let all = before
            .iter()
            .zip(after)
            .all(|(before, after)| before + after > 0);
        assert!(all, "{before:?}, {after:?}");
    }

    async fn step(&mut self, step: Step, stop: Option<Step>) {
        match stop == Some(step) {
            true => self.stopped_across_its_lease(step).await,
            false => self.moves(step, &[]),
        }
        self.say(&format!("in {}", step.1));
    }

    fn say(&self, what: &str) {
        println!("{:>6.1} s: {what}", self.begun.elapsed().as_secs_f64());
    }

    fn run(&self, arguments: &[&str]) {
        self.bench.migrate(arguments).run().expect_code(0);
    }

    /// Moves of all tables at once.
    fn begin(&self, (way, to): Step, more: &[&str]) -> Vec<Running> {
        self.crowd.moves();
        let begin = |table| {
            let arguments = [way, "--table", table, "--to", to];
            let command = self.bench.migrate(&[&arguments, more].concat());
            command.spawn()
        };
        TABLES.map(begin).into()
    }

    fn moves(&self, step: Step, more: &[&str]) {
        for running in self.begin(step, more) {
            running.wait().expect_code(0);
        }
    }

    /// Waits until each table's applications are like this.
    async fn until(&self, what: &str, wanted: impl Fn(&[Json]) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.bench.status();
            let applications = |table: &Json| -> Vec<Json> {
                let all = table["instances"].as_array().expect("an array").iter();
                all.filter(|one| one["kind"] == "shim").cloned().collect()
            };
            if status.iter().all(|table| wanted(&applications(table))) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What is still in `bridge` needs no lease, so that the move waits for it, however long.
    async fn stopped_in_bridge(&mut self) {
        let process = self.processes[self.chance.random_range(0..3)].clone();
        let signals = process.signals.lock().await;
        process.stop();
        let name = process.name();
        let mut moves = self.begin(FORWARD[0], &[]);
        for running in &moves {
            let waits = |line: &str| line.contains("to be in `switch`") && line.contains(&name);
            running.wait_for("that it is waited for", waits);
        }
        tokio::time::sleep(LEASE + OPERATION + Duration::from_secs(1)).await;
        assert!(moves.iter_mut().all(Running::runs), "a move passed it");
        let stands = |one: &Json| match one["name"] == name.as_str() {
            true => one["phase"] == "bridge",
            false => one["phase"] == "switch",
        };
        self.until("in switch without it", |all| {
            all.len() == 3 && all.iter().all(stands)
        })
        .await;
        assert!(moves.iter_mut().all(Running::runs), "a move passed it");
        process.go_on();
        drop(signals);
        for running in moves {
            running.wait().expect_code(0);
        }
        self.say("in switch, having waited for one in bridge");
    }

    /// What is still from `switch` on loses its lease: the move goes on without it, and all that it had
    /// under way and begins afterwards fails, until it has joined again.
    async fn stopped_across_its_lease(&mut self, step: Step) {
        let tasks = self.crowd.size.tasks;
        let process = self.processes[HELD].clone();
        let signals = process.signals.lock().await;
        process.rest(true);
        within("nothing under way", || process.under_way() == 0).await;
        let probes = self.probe(&process).await;
        process.stop();
        // The answers come while it stands still, and then more commands.
        self.gate.let_go();
        process.rest(false);
        self.moves(step, &[]);
        self.until("without it", |all| {
            all.len() == 2 && all.iter().all(|one| one["name"] != process.name().as_str())
        })
        .await;
        self.crowd.serves(step.1).await;
        within("commands of all tasks", || process.under_way() >= tasks).await;
        let outstanding = process.under_way() as u64;

        // It can't learn that it may work again; the new store would do whatever it asks for.
        self.gate.hold(is_control);
        let (ok, errors) = process.answered();
        process.go_on();
        within("an error for each command", || {
            assert_eq!(process.answered().0, ok, "it succeeded without a lease");
            process.answered().1 >= errors + outstanding
        })
        .await;
        for probe in probes {
            match probe.asking.await.expect("no panic") {
                Answer::Ok(ok) => panic!("{ok} was answered past the lease"),
                Answer::Error { without_effect, .. } => {
                    let is_done = probe.came && probe.is_one_write;
                    assert!(!(is_done && without_effect), "{} was done", probe.id);
                }
            }
        }
        self.gate.let_go();
        drop(signals);
        self.until("with it again", |all| {
            all.len() == 3 && all.iter().all(|one| one["phase"] == step.1)
        })
        .await;
        within("successes again", || {
            process.answered().0 >= ok + tasks as u64
        })
        .await;
        self.say(&format!(
            "one has failed past its lease, {outstanding} times, and joined again"
        ));
    }

    /// Commands that a process has sent to the new store, and whose answers are held back there.
    async fn probe(&mut self, process: &Arc<Process>) -> Vec<Probe> {
        self.gate.take();
        self.gate.hold(|request| !is_control(request));
        let mut probes = Vec::new();
        for at in 1..=10 {
            let key = match at % 5 {
                0..3 => Key::User(self.crowd.size.users - at),
                _ => Key::Poll(POLLS - at),
            };
            let (crowd, process) = (self.crowd.clone(), process.clone());
            let mut chance = SmallRng::seed_from_u64(self.chance.random());
            let asking = async move {
                match at % 5 {
                    0 => crowd.put(&process, key, &mut chance).await,
                    1 => crowd.update(&process, key, &mut chance).await,
                    2 => crowd.get(&process, key).await,
                    3 => crowd.add(&process, key, 1).await,
                    _ => crowd.count(&process, key).await,
                }
            };
            probes.push(Probe {
                id: format!("\"{}\"", key.id()),
                is_one_write: matches!(at % 5, 0 | 3),
                came: false,
                asking: tokio::spawn(asking),
            });
        }
        within("requests of each", || {
            for seen in self.gate.take() {
                let body = seen.request.body.to_string();
                let about = |probe: &&mut Probe| body.contains(&probe.id);
                probes
                    .iter_mut()
                    .filter(about)
                    .for_each(|probe| probe.came = true);
            }
            // One may have failed before, on a busy machine.
            probes
                .iter()
                .all(|probe| probe.came || probe.asking.is_finished())
        })
        .await;
        probes
    }

    /// Begins a copy, and kills it at a random moment: the first time after it has begun to write.
    async fn kill_a_copier(&mut self, table: &str) {
        let arguments = ["copy", "--table", table];
        let mut copier = self.bench.migrate_by("slow.toml", &arguments).spawn();
        while !self.copied && copier.runs() && self.marked(table, "c").await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let longest = if self.copied { 3_000 } else { 500 };
        let moment = self.chance.random_range(0..longest);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let outcome = copier.kill();
        let copied = self.marked(table, "c").await;
        self.say(&format!(
            "a copier of {table} was killed: {}; {copied} items are copied",
            outcome.code.is_none()
        ));
        // Counters are few: on a busy machine it may be through with them before anybody looks.
        let was_killed = self.copied || table == "polls" || outcome.code.is_none();
        assert!(was_killed, "it was through: {outcome}");
    }

    /// How many items have this mark.
    async fn marked(&self, table: &str, mark: &str) -> i32 {
        let scan = self.bench.dynamo.scan().consistent_read(true);
        let scan = scan.table_name(self.bench.target(table));
        let scan = scan.filter_expression("#m = :m").select(Select::Count);
        let scan = scan.expression_attribute_names("#m", "_m");
        let scan = scan.expression_attribute_values(":m", AttributeValue::S(mark.into()));
        let mut pages = scan.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += page.expect("a page").count();
        }
        count
    }

    /// How many items applications wrote, re-saves, partial ones, tombstones and copied ones there are.
    async fn look_at_items(&self, when: &str) -> [usize; 5] {
        let mut items = self.bench.items("users").await;
        items.extend(self.bench.items("messages").await);
        let count = |mark: &str| {
            let mark = AttributeValue::S(mark.into());
            items.iter().filter(|item| item["_m"] == mark).count()
        };
        let counts = ["a", "r", "k", "t", "c"].map(count);
        self.say(&format!("{when}: items marked a, r, k, t, c: {counts:?}"));
        counts
    }

    /// The end of all that befalls the processes.
    pub async fn end(self) -> (Bench, [Arc<Process>; 3]) {
        self.hiccups.0.store(true, Ordering::SeqCst);
        self.say("over");
        self.hiccups.1.await.expect("no panic");
        (self.bench, self.processes)
    }
}
