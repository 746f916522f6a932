//! A process of the `drive` example, with many commands under way.

use std::collections::HashMap;
use std::fs::DirEntry;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use crate::command::credentials;
use crate::driving::drive;
use crate::support::signal;

/// How long an answer may take, the process having been stopped meanwhile.
const PATIENCE: Duration = Duration::from_secs(900);

/// Who waits for which answer.
type Waiting = Mutex<HashMap<u64, oneshot::Sender<Json>>>;

pub struct Process {
    child: Child,
    commands: Mutex<Option<ChildStdin>>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    told: Arc<Told>,
    /// Its tasks are to send nothing.
    rests: AtomicBool,
    /// Held by whoever sends it signals.
    pub signals: tokio::sync::Mutex<()>,
}

/// How many commands were answered.
#[derive(Default)]
struct Told {
    ok: AtomicU64,
    errors: AtomicU64,
}

/// What came of a command.
#[derive(Clone, Debug)]
pub enum Answer {
    Ok(Json),
    /// The error, and whether it certainly had no effect.
    Error {
        kind: String,
        without_effect: bool,
    },
}

impl Answer {
    fn of(line: &Json) -> Self {
        if let Some(ok) = line.get("ok") {
            return Answer::Ok(ok.clone());
        }
        let text = |name: &str| line["error"][name].as_str().expect("text").to_owned();
        let without_effect = match text("effect").as_str() {
            "none" => true,
            "unknown" => false,
            other => panic!("an effect `{other}`: {line}"),
        };
        Answer::Error {
            kind: text("kind"),
            without_effect,
        }
    }
}

impl Process {
    /// The example, by this plan.
    pub fn start(plan: &Path) -> Self {
        let mut drive = Command::new(drive());
        drive.arg("--plan").arg(plan);
        Self::start_by(drive)
    }

    /// A program that takes the example's commands.
    pub fn start_by(mut program: Command) -> Self {
        let mut child = program
            .envs(credentials())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let commands = child.stdin.take();
        let answers = child.stdout.take().expect("stdout");
        let waiting = Arc::new(Waiting::default());
        let told = Arc::new(Told::default());
        let (waits, tells) = (waiting.clone(), told.clone());
        std::thread::spawn(move || read(answers, &waits, &tells));
        Process {
            child,
            commands: Mutex::new(commands),
            waiting,
            next: AtomicU64::new(1),
            told,
            rests: AtomicBool::new(false),
            signals: tokio::sync::Mutex::default(),
        }
    }

    /// What it calls itself.
    pub fn name(&self) -> String {
        format!("drive, process {}", self.child.id())
    }

    /// Sends a command, whose answer may be waited for.
    pub fn send(&self, mut command: Json) -> oneshot::Receiver<Json> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        command["id"] = json!(id);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().expect("no panic").insert(id, answer);
        let mut commands = self.commands.lock().expect("no panic");
        let commands = commands.as_mut().expect("open");
        writeln!(commands, "{command}").expect("sent");
        answered
    }

    /// One command, what came of it, and whether the client has sent it more than once.
    pub async fn ask(&self, command: Json) -> (Answer, bool) {
        let answer = tokio::time::timeout(PATIENCE, self.send(command)).await;
        let answer = answer.expect("an answer in time");
        let line = answer.expect("the process has ended without an answer");
        (Answer::of(&line), line["repeated"] == true)
    }

    /// How many commands haven't been answered.
    pub fn under_way(&self) -> usize {
        self.waiting.lock().expect("no panic").len()
    }

    /// How many were answered with success, and how many with an error.
    pub fn answered(&self) -> (u64, u64) {
        let count = |of: &AtomicU64| of.load(Ordering::SeqCst);
        (count(&self.told.ok), count(&self.told.errors))
    }

    /// Whether its tasks are to send nothing.
    pub fn rests(&self) -> bool {
        self.rests.load(Ordering::SeqCst)
    }

    /// Tells its tasks to send nothing any more, or to go on.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::SeqCst);
    }

    /// `kill -STOP`: in the middle of whatever it does. After this it does nothing any more.
    pub fn stop(&self) {
        signal(self.child.id(), "STOP");
        let begun = Instant::now();
        while !stands_still(self.child.id()) {
            assert!(begun.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// `kill -CONT`.
    pub fn go_on(&self) {
        signal(self.child.id(), "CONT");
    }

    /// The end of its input: it leaves, and ends.
    pub fn end(mut self) {
        drop(self.commands.lock().expect("no panic").take());
        assert!(self.child.wait().expect("its end").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether every thread of a process has come to the signal that stops it: on a busy machine, one that has
/// not yet works on for a while.
fn stands_still(process: u32) -> bool {
    let states = match std::fs::read_dir(format!("/proc/{process}/task")) {
        Ok(threads) => {
            let stat = |thread: std::io::Result<DirEntry>| {
                let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
                // After the name, which is in parentheses.
                Some(stat.rsplit(") ").next()?.to_owned())
            };
            threads.filter_map(stat).collect()
        }
        // Elsewhere than on Linux.
        Err(_) => {
            let ps = Command::new("ps")
                .args(["-o", "state=", "-p", &process.to_string()])
                .output();
            vec![String::from_utf8_lossy(&ps.expect("ps runs").stdout).into_owned()]
        }
    };
    states.iter().all(|state: &String| state.starts_with('T'))
}

/// Hands on the answers until the process ends; who waits still then, is told so.
fn read(answers: ChildStdout, waiting: &Waiting, told: &Told) {
    for line in BufReader::new(answers).lines().map_while(Result::ok) {
        let answer: Json = serde_json::from_str(&line).expect("JSON");
        let id = answer["id"].as_u64().expect("its id");
        let count = match answer.get("ok") {
            Some(_) => &told.ok,
            None => &told.errors,
        };
        count.fetch_add(1, Ordering::SeqCst);
        let waits = waiting.lock().expect("no panic").remove(&id);
        // A task that has ended waits for nothing.
        let _ = waits.expect("a command is answered once").send(answer);
    }
    waiting.lock().expect("no panic").clear();
}
