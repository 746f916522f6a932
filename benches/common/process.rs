//! Processes of their own: the bench starts itself again in another role, so that each one's processor time and
//! memory can be told apart.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A process of this bench in another role. It ends with this one.
pub struct Part {
    child: std::process::Child,
    /// What it said first: where it listens.
    pub address: String,
}

/// The role that this process was started in, with what was given to it.
pub fn role() -> Option<Vec<String>> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next().as_deref() == Some("--role")).then(|| arguments.collect())
}

impl Part {
    pub fn start(role: &[&str]) -> Part {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--role")
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        assert!(!address.is_empty(), "{role:?} didn't start");
        Part {
            child,
            address: address.trim().to_owned(),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Processor time so far.
    pub fn busy(&self) -> Duration {
        busy_of(self.child.id())
    }

    /// Memory now, and at most so far, MB.
    pub fn resident(&self) -> (f64, f64) {
        let of = |line| memory(self.child.id(), line);
        (of("VmRSS"), of("VmHWM"))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that has run.
pub struct Ran {
    pub output: String,
    /// Processor time.
    pub busy: Duration,
    pub took: Duration,
    /// Memory at most, MB.
    pub peak: f64,
}

impl Ran {
    /// Microseconds of processor time for each.
    pub fn busy_us(&self, count: usize) -> f64 {
        self.busy.as_secs_f64() * 1e6 / count as f64
    }

    /// How many a second.
    pub fn rate(&self, count: usize) -> f64 {
        count as f64 / self.took.as_secs_f64()
    }
}

/// Runs a command to its end, which has to be a good one.
pub fn run(program: &str, arguments: &[&str]) -> Ran {
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "crossfade")
        .env("AWS_SECRET_ACCESS_KEY", "crossfade")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).unwrap();
        output
    });
    // Until it is waited for, what has ended still tells its processor time.
    let mut peak = 0.0_f64;
    let busy = loop {
        peak = peak.max(memory(process, "VmHWM"));
        let (state, busy) = of_all(process);
        if state == "Z" {
            break busy;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let took = begun.elapsed();
    let status = child.wait().unwrap();
    let output = reading.join().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {output}");
    Ran {
        output,
        busy,
        took,
        peak,
    }
}

/// A process's state and its processor time, in steps of a hundredth of a second.
fn of_all(process: u32) -> (String, Duration) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    (fields[0].to_owned(), Duration::from_millis(ticks * 10))
}

/// Tells the process that started this one where it listens, and ends when that one does.
pub fn listening(address: impl std::fmt::Display) {
    println!("{address}");
    let _ = std::io::stdout().flush();
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        std::process::exit(0);
    });
}

/// Processor time of this process so far.
pub fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Memory of this process at most so far, MB.
pub fn peak() -> f64 {
    memory(std::process::id(), "VmHWM")
}

fn busy_of(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanos = tasks.flatten().filter_map(|task| {
        let schedule = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedule.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn memory(process: u32, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|there| there.starts_with(line));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1_024.0
}

/// What the figures were measured on.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split(':').nth(1)?.trim()));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores of {}, {}, load {} when it began",
        model.unwrap_or("an unnamed processor"),
        std::env::consts::OS,
        load.split(' ').next().unwrap_or("?")
    )
}
