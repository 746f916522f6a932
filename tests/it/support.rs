//! What the tests share: where the servers are, names nobody else has, the real command.

// Each test module takes what it needs.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scylla_proxy::{Node, Proxy, RunningProxy, ShardAwareness};

/// How long the command may take where a test doesn't say: for hanging only, as every limit here.
const PATIENCE: Duration = Duration::from_secs(900);

/// Whether the sizes are those that a release is tried with, `CROSSFADE_LONG=1`, in place of ordinary ones.
pub fn is_long() -> bool {
    std::env::var_os("CROSSFADE_LONG").is_some()
}

/// `host:port` of a Cassandra without passwords.
pub fn cassandra_address() -> String {
    server("CROSSFADE_CASSANDRA")
}

/// The endpoint of a DynamoDB Local, or of whatever the tests are to run against.
pub fn dynamodb_url() -> String {
    server("CROSSFADE_DYNAMODB")
}

/// A Cassandra that wants a user (`cassandra`, password `cassandra`, may do everything) and TLS.
pub struct Secure {
    /// `host:port`.
    pub address: String,
    /// The PEM file of its certificate authority.
    pub ca: PathBuf,
}

/// The secure Cassandra.
pub fn secure_cassandra() -> Secure {
    Secure {
        address: server("CROSSFADE_CASSANDRA_SECURE"),
        ca: server("CROSSFADE_CASSANDRA_CA").into(),
    }
}

fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set. `tests/run FILTER` starts the servers and sets it; \
             or run `eval \"$(tests/servers/start)\"` (and `… start secure`) once, then `cargo test`"
        )
    })
}

/// Ports that a test may choose: the system gives none of them to whoever wants any (a listener at port 0, a connection
/// that goes out), and `tests/servers` takes none of them.
const PORTS: std::ops::Range<u16> = 30_100..32_700;

/// An address at which nobody listens: for a server that is started later, or again, and for what is to reach nobody. No
/// other test of this run is given it. A port that was listened at and closed is no such thing: by the time that a test
/// comes to it, another's connection may have it, or another's server.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    for _ in 0..count {
        // Runs beside this one begin elsewhere.
        let at = std::process::id().wrapping_mul(97);
        let at = at.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (at % count) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// A proxy in front of a Cassandra node, and its own `host:port`.
pub async fn proxied(node: &str) -> (RunningProxy, String) {
    let mut real = node.to_socket_addrs().expect("an address");
    let address = free_address();
    let node = Node::builder()
        .real_address(real.next().expect("one"))
        .proxy_address(address)
        .shard_awareness(ShardAwareness::Unaware)
        .build();
    let proxy = Proxy::new([node]).run().await.expect("a proxy");
    (proxy, address.to_string())
}

/// The release of the Cassandra behind a session, as far as behaviour goes by it: `(3, 11)`.
pub async fn release(session: &scylla::client::session::Session) -> (u32, u32) {
    let answer = session
        .query_unpaged("SELECT release_version FROM system.local", ())
        .await
        .expect("an answer");
    let rows = answer.into_rows_result().expect("rows");
    let (name,): (String,) = rows.single_row().expect("a row");
    let mut numbers = name.split('.').map(|number| number.parse().expect(&name));
    (numbers.next().expect("two"), numbers.next().expect("two"))
}

/// A name that no other test has, now or in an earlier run on the same server. Good as a keyspace,
/// as a table's name in either store and as a plan's: `votes_1k3f9a2_1`.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    format!(
        "{prefix}_{:x}{:x}_{}",
        now.as_secs() & 0xfff_ffff,
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A folder of the test's own, removed with the value.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Servers for one test alone, which may stop them: others run beside it on the shared ones.
pub struct OwnServers {
    run: PathBuf,
    exports: Vec<(String, String)>,
}

impl OwnServers {
    /// Starts them: `cassandra`, `dynamodb`, `secure`.
    pub fn start(names: &[&str]) -> Self {
        Self::start_with(names, "")
    }

    /// The same, with more lines for `cassandra.yaml`.
    pub fn start_with(names: &[&str], settings: &str) -> Self {
        let output = Command::new(script("start"))
            .args(names)
            .env_remove("CROSSFADE_SERVERS")
            .env("CROSSFADE_CASSANDRA_SETTINGS", settings)
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/servers/start runs");
        assert!(output.status.success(), "the servers did not start");
        let exports: Vec<(String, String)> = String::from_utf8(output.stdout)
            .expect("UTF-8")
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut servers = OwnServers {
            run: PathBuf::new(),
            exports,
        };
        servers.run = servers.get("CROSSFADE_SERVERS").into();
        servers
    }

    fn get(&self, variable: &str) -> String {
        let found = self.exports.iter().find(|(name, _)| name == variable);
        found
            .map(|(_, value)| value.clone())
            .unwrap_or_else(|| panic!("{variable} was not started"))
    }

    /// `host:port` of this Cassandra.
    pub fn cassandra_address(&self) -> String {
        self.get("CROSSFADE_CASSANDRA")
    }

    /// This Cassandra with passwords and TLS.
    pub fn secure(&self) -> Secure {
        Secure {
            address: self.get("CROSSFADE_CASSANDRA_SECURE"),
            ca: self.get("CROSSFADE_CASSANDRA_CA").into(),
        }
    }

    /// The endpoint of this DynamoDB Local.
    pub fn dynamodb_url(&self) -> String {
        self.get("CROSSFADE_DYNAMODB")
    }

    /// Does `stop`, `kill`, `start`, `pause` or `resume` to one of them. Port and data are kept.
    pub fn control(&self, name: &str, action: &str) {
        let status = Command::new(script("control"))
            .args([name, action])
            .env("CROSSFADE_SERVERS", &self.run)
            .status()
            .expect("tests/servers/control runs");
        assert!(status.success(), "{name} {action} failed");
    }
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        let status = Command::new(script("stop")).arg(&self.run).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("the servers of {} did not stop", self.run.display());
        } else if std::thread::panicking() {
            eprintln!("logs of the servers: {}", self.run.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.run);
        }
    }
}

/// A script of tests/servers.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/servers")
        .join(name)
}

/// A call of the real command.
pub struct Migrate {
    command: Command,
    patience: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Migrate {
    /// `migrate` with these arguments, without a terminal.
    pub fn new<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(arguments: I) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Migrate {
            command,
            patience: PATIENCE,
        }
    }

    /// With one more argument.
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// With an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without an environment variable.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// In another folder than the repository's.
    pub fn in_folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// As on a full disk: no file of its own grows past this. More is an error to it, not a signal.
    pub fn files_up_to(mut self, kilobytes: u32) -> Self {
        let mut limited = Command::new("bash");
        limited
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
                "bash",
            ])
            .arg(kilobytes.to_string())
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            limited.current_dir(folder);
        }
        self.command = limited;
        self
    }

    /// The longest it may take; past that it is killed and the test fails.
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.spawn().wait()
    }

    /// Starts it.
    pub fn spawn(mut self) -> Running {
        let mut child = self.command.spawn().expect("migrate starts");
        let lines = Arc::new(Lines::default());
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            BufReader::new(stdout)
                .read_to_string(&mut text)
                .expect("UTF-8 on stdout");
            text
        });
        let reader = Arc::clone(&lines);
        let stderr = std::thread::spawn(move || reader.read(BufReader::new(stderr)));
        Running {
            child,
            deadline: Instant::now() + self.patience,
            lines,
            readers: Some((stdout, stderr)),
        }
    }
}

/// `kill -STOP` and the like, by the signal's name.
pub fn signal(process: u32, name: &str) {
    let Output { status, stderr, .. } = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .output()
        .expect("kill runs");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "kill -s {name}: {stderr}");
}

/// The lines of stderr so far.
#[derive(Default)]
struct Lines {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Lines {
    fn read(&self, stderr: impl BufRead) {
        for line in stderr.lines() {
            let line = line.expect("UTF-8 on stderr");
            self.state.lock().expect("no panic").0.push(line);
            self.changed.notify_all();
        }
        self.state.lock().expect("no panic").1 = true;
        self.changed.notify_all();
    }

    fn text(&self) -> String {
        let state = self.state.lock().expect("no panic");
        state.0.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A call that runs. It is killed when dropped.
pub struct Running {
    child: Child,
    deadline: Instant,
    lines: Arc<Lines>,
    readers: Option<(JoinHandle<String>, JoinHandle<()>)>,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on stderr, past or coming, and returns it.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut seen = 0;
        let mut state = self.lines.state.lock().expect("no panic");
        loop {
            if let Some(line) = state.0[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = state.0.len();
            let left = self.deadline.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                let why = if state.1 { "it ended" } else { "time is up" };
                panic!("no line {what} on stderr ({why}):\n{}", state.0.join("\n"));
            }
            state = self
                .lines
                .changed
                .wait_timeout(state, left)
                .expect("no panic")
                .0;
        }
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// `kill -STOP` and the like, by the signal's name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// `kill -9`, and what it had said by then.
    pub fn kill(mut self) -> Outcome {
        self.child.kill().expect("it can be killed");
        self.wait()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Outcome {
        while self.runs() {
            if Instant::now() > self.deadline {
                let _ = self.child.kill();
                panic!("migrate took too long; it said:\n{}", self.lines.text());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (stdout, stderr) = self.readers.take().expect("waited for once");
        stderr.join().expect("stderr is read");
        Outcome {
            code: self.child.wait().expect("its status").code(),
            stdout: stdout.join().expect("stdout is read"),
            stderr: self.lines.text(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// Fails with all that was said unless this was the exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// The JSON objects on stdout, one a line.
    #[track_caller]
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome {
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "exit {code:?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

#[test]
fn servers_of_a_test_can_be_taken_away_and_given_back() {
    use std::net::TcpStream;

    let servers = OwnServers::start(&["dynamodb"]);
    let url = servers.dynamodb_url();
    let address = url.strip_prefix("http://").expect("plain HTTP").to_owned();
    TcpStream::connect(&address).expect("it answers");
    servers.control("dynamodb", "kill");
    TcpStream::connect(&address).expect_err("nobody answers");
    servers.control("dynamodb", "start");
    TcpStream::connect(&address).expect("it answers again at the same place");
    drop(servers);
    TcpStream::connect(&address).expect_err("it was stopped");
}

#[test]
fn a_free_address_is_given_to_one_alone() {
    let mut given: Vec<SocketAddr> = (0..50).map(|_| free_address()).collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 50);
    assert!(given.iter().all(|one| PORTS.contains(&one.port())));
}

#[test]
fn names_are_unique() {
    assert_ne!(unique("users"), unique("users"));
}
