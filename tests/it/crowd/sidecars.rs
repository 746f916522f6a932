//! Three applications in Python with eight tasks each (twenty in a long run), and a sidecar for each of them: whatever
//! DynamoDB's protocol has, at random, by boto3 in both of its retry modes, while the tables are moved from `old` to `done`
//! with a way back in between, sidecars are killed, and clients give up before a sidecar does.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::more::{PROTOCOL, task};
use super::process::Process;
use super::tasks::{Crowd, CrowdSize};
use super::{Verdict, filled, look_at_the_end, seed};
use crate::command::Bench;
use crate::serve::clients::Sidecar;
use crate::serve::python::python;
use crate::support::{Running, is_long};

/// Clients wait for a second.
const PLAN: &str = "[lease]\nseconds = 3\noperation_seconds = 2\nlanding_seconds = 3\n\
                    [shim]\nresave = \"background\"\ndeadline_seconds = 2\n\
                    [[table]]\nname = \"polls\"\nto = \"@-polls\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\nkey_only = \"keep\"\n\
                    [table.columns]\nb = { rename = \"second\" }\n\
                    [[table]]\nname = \"messages\"\nto = \"@-messages\"\nkey_only = \"keep\"\n\
                    [table.columns]\nb = { rename = \"second\" }\n";
const TABLES: [&str; 3] = ["polls", "users", "messages"];

/// The way, and where a sidecar is killed in the ordinary run.
const WAY: [(&str, &str, bool); 11] = [
    ("advance", "bridge", true),
    ("advance", "switch", false),
    ("advance", "copy", true),
    ("advance", "new", false),
    ("back", "copy", false),
    ("back", "switch", false),
    ("back", "bridge", false),
    ("advance", "switch", false),
    ("advance", "copy", false),
    ("advance", "new", true),
    ("advance", "done", false),
];

struct Walk {
    bench: Bench,
    crowd: Arc<Crowd>,
    sidecars: Vec<Sidecar>,
    /// Processes of sidecars that were killed.
    dead: Vec<u32>,
    chance: SmallRng,
    begun: Instant,
}

impl Walk {
    fn say(&self, what: &str) {
        println!("{:>6.1} s: {what}", self.begun.elapsed().as_secs_f64());
    }

    /// `kill -9`, and another one in its place.
    fn kill(&mut self) {
        let which = self.chance.random_range(0..self.sidecars.len());
        let sidecar = self.sidecars.swap_remove(which);
        let address = sidecar.url.trim_start_matches("http://").to_owned();
        self.dead.push(sidecar.running.pid());
        sidecar.running.kill();
        self.sidecars.push(Sidecar::start_at(&self.bench, &address));
        self.say(&format!("the sidecar at {address} was killed"));
    }

    /// The ids under which those that were killed are still registered, as arguments.
    fn gone(&self, table: &str) -> Vec<String> {
        let status = self.bench.status();
        let of = status.iter().find(|one| one["table"] == table);
        let all = of.expect("its table")["instances"]
            .as_array()
            .expect("an array");
        let is_dead = |name: &str| {
            let process = |pid: &u32| name.ends_with(&format!("process {pid}"));
            self.dead.iter().any(process)
        };
        let dead = all
            .iter()
            .filter(|one| is_dead(one["name"].as_str().expect("a name")));
        let ids = dead.map(|one| one["id"].as_str().expect("an id").to_owned());
        ids.flat_map(|id| ["--gone".to_owned(), id]).collect()
    }

    /// Moves all tables at once. While they do, a sidecar may be killed; not where no lease says that it is gone.
    fn moves(&mut self, way: &str, to: &str, kills: bool) {
        self.crowd.moves();
        let begin = |table: &str| -> Running {
            let gone = self.gone(table);
            let mut arguments = vec![way, "--table", table, "--to", to];
            arguments.extend(gone.iter().map(String::as_str));
            // Those that are said to be gone are among the registered ones.
            let expected = (3 + gone.len() / 2).to_string();
            if (way, to) == ("advance", "bridge") {
                arguments.extend(["--expect", &expected]);
            }
            if to == "done" {
                arguments.extend(["--yes-done", table]);
            }
            self.bench.migrate(&arguments).spawn()
        };
        let moves = TABLES.map(begin);
        if kills {
            let moment = self.chance.random_range(0..1_000);
            std::thread::sleep(Duration::from_millis(moment));
            self.kill();
        }
        for one in moves {
            one.wait().expect_code(0);
        }
        self.say(&format!("in {to}"));
    }

    async fn go(&mut self) {
        self.crowd.serves("old").await;
        self.kill();
        self.crowd.serves("old").await;
        let times = if is_long() { 3 } else { 1 };
        for time in 0..times {
            // The way back leads to `bridge`, and `done` comes once.
            let first = if time == 0 { 0 } else { 4 };
            let last = if time + 1 == times {
                WAY.len()
            } else {
                WAY.len() - 1
            };
            for (way, to, kills) in &WAY[first..last] {
                if (*way, *to) == ("advance", "new") {
                    self.bench
                        .migrate(&["copy", "--final"])
                        .run()
                        .expect_code(0);
                    self.bench.migrate(&["verify"]).run().expect_code(0);
                    self.say("copied and verified");
                }
                let without_lease =
                    (*way, *to) == ("advance", "bridge") || (*way, *to) == ("advance", "switch");
                let in_between =
                    !without_lease && (is_long() || (*way, *to) == ("advance", "done"));
                self.moves(way, to, in_between);
                self.crowd.conditions_apart.store(false, Ordering::SeqCst);
                self.crowd.serves(to).await;
                if *kills || is_long() {
                    self.kill();
                    self.crowd.serves(to).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_by_sidecars_go_on_while_their_tables_move() {
    let seed = seed();
    println!("CROSSFADE_SEED={seed}");
    let mut chance = SmallRng::seed_from_u64(seed);
    let size = match is_long() {
        true => CrowdSize::FULL,
        false => CrowdSize::SMALL,
    };
    let crowd = Arc::new(Crowd::new(size));
    crowd.conditions_apart.store(true, Ordering::SeqCst);
    let _verdict = Verdict(crowd.clone());
    let bench = filled(&crowd, &mut chance).await;
    // Beside so many others, a batch of statements takes DynamoDB Local ten seconds.
    let stores = bench
        .stores()
        .replace("[journal]", "partiql = false\n[journal]");
    bench.write("plan.toml", &format!("{stores}{PLAN}"));
    bench.init();
    let sidecars: Vec<Sidecar> = (0..3).map(|_| Sidecar::start(&bench)).collect();
    let start = |sidecar: &Sidecar| {
        let mut drive = Command::new(python());
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/serve/drive.py");
        drive.args([file, &sidecar.url, &bench.keyspace, "legacy,standard"]);
        Arc::new(Process::start_by(drive))
    };
    let processes: Vec<Arc<Process>> = sidecars.iter().map(start).collect();
    let mut tasks = Vec::new();
    for process in &processes {
        for _ in 0..size.tasks {
            let chance = SmallRng::seed_from_u64(chance.random());
            tasks.push(tokio::spawn(task(crowd.clone(), process.clone(), chance)));
        }
    }
    let mut walk = Walk {
        bench,
        crowd: crowd.clone(),
        sidecars,
        dead: Vec::new(),
        chance,
        begun: Instant::now(),
    };
    walk.go().await;
    crowd.end();
    for task in tasks {
        task.await.expect("no panic");
    }
    walk.say("over");
    crowd.print();
    crowd.did_each(&PROTOCOL);
    let Walk {
        bench, sidecars, ..
    } = walk;
    look_at_the_end(&bench, &crowd, &processes).await;
    crowd.look_at_errors(|kind, error| match error {
        "ServiceUnavailable" | "ProvisionedThroughputExceededException" | "unanswered" => true,
        // Constants are written again after it; what would count twice isn't.
        "InternalServerError" => !matches!(kind, "add" | "add_and_count"),
        "AmbiguousWriteFailureException" => !matches!(kind, "put" | "delete" | "batch_write"),
        // The old store has none; and others may be at a key.
        "ValidationException" => kind.starts_with("transact"),
        "TransactionCanceledException" => kind.starts_with("transact"),
        _ => false,
    });
    for process in processes {
        Arc::into_inner(process).expect("nobody else").end();
    }
    for sidecar in sidecars {
        sidecar.running.signal("TERM");
        sidecar.running.wait().expect_code(0);
    }
    let wrongs = crowd.wrongs();
    assert!(
        wrongs.is_empty(),
        "CROSSFADE_SEED={seed}\n{}",
        wrongs.join("\n")
    );
    bench.done().await;
}
