//! `migrate check` as a forecast, held against what a copy then takes; and `status --watch`.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use super::{Bench, credentials, number, says};
use crate::serve::python::python;
use crate::support::{Migrate, Outcome};

const ROWS: i32 = 2_000;

async fn filled(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    bench
        .cql("CREATE TABLE users (id int PRIMARY KEY, v text)")
        .await;
    let rows = (0..ROWS).map(|id| (id, "x".repeat(if id % 4 == 0 { 1_500 } else { 20 })));
    bench
        .fill("INSERT INTO users (id, v) VALUES (?, ?)", rows)
        .await;
    bench
}

fn checked(bench: &Bench, more: &[&str]) -> Json {
    let words = [&["check", "--json"], more].concat();
    let lines = bench.migrate(&words).run().expect_code(0).json();
    lines.into_iter().next().expect("a table")
}

/// What `--all` counts is what the copy writes; a part of the ring tells about the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forecast_is_what_a_copy_takes() {
    let bench = filled("forecast").await;
    let table = "[prices]\nwrite_units_million = 1_000\n[pace]\nwrite_units = 100\n\
        [[table]]\nname = \"users\"\nto = \"@-users\"\n";
    bench.plan(table);
    let all = checked(&bench, &["--all"]);
    assert_eq!(all["verdict"], "ready");
    assert_eq!(all["decide"], serde_json::json!([]));
    assert_eq!(number(&all["read"], "rows"), ROWS as u64);
    assert_eq!(all["read"]["share"], 1.0);
    // Three of four rows are small, one has two kilobytes begun.
    assert_eq!(number(&all["forecast"], "write_units"), 2_500);
    assert_eq!(all["forecast"]["copy_seconds"], 25.0);
    assert_eq!(all["forecast"]["write_units_per_second"], 100.0);
    assert_eq!(all["forecast"]["copy"], 2.5);
    assert!(all["forecast"]["prices_region"].is_null(), "{all}");
    assert!(
        all["clocks"]["old"]
            .as_f64()
            .is_some_and(|ahead| ahead.abs() < 60.0),
        "{all}"
    );

    let part = checked(&bench, &["--sample", "20%"]);
    let share = part["read"]["share"].as_f64().expect("a share");
    assert!((0.19..0.22).contains(&share), "{part}");
    let rows = number(&part["forecast"], "rows") as f64;
    assert!((0.5..2.0).contains(&(rows / f64::from(ROWS))), "{part}");

    bench
        .plan(&table.replace("[pace]\nwrite_units = 100\n", ""))
        .init();
    let copied = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0);
    let copied = copied.json().into_iter().next().expect("a table");
    assert_eq!(number(&copied, "bytes"), number(&all["read"], "bytes"));
    assert_eq!(copied["units"], 2_500.0);

    let told = bench
        .migrate(&["check", "--all"])
        .run()
        .expect_code(0)
        .stdout;
    let sums = told
        .lines()
        .find(|line| line.starts_with(" users "))
        .expect("a line");
    assert!(sums.contains("2,000"), "{told}");
    assert!(told.contains("prices of the plan"), "{told}");
    bench.done().await;
}

/// What is wrong is in the verdict, for people and for programs.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_to_be_decided_comes_last() {
    let bench = filled("decide").await;
    bench.cql("CREATE INDEX ON users (v)").await;
    bench
        .cql("CREATE TABLE ending (id int PRIMARY KEY, v text)")
        .await;
    bench
        .cql("INSERT INTO ending (id, v) VALUES (1, 'x') USING TTL 5000")
        .await;
    bench.plan(
        "[[table]]\nname = \"users\"\nto = \"@-users\"\n[[table]]\nname = \"ending\"\nto = \"@-ending\"\n\
         [[table]]\nname = \"nowhere\"\nto = \"@-nowhere\"\n",
    );
    let told = bench.migrate(&["check"]).run().expect_code(2).stdout;
    let (_, decide) = told
        .split_once("0 of 3 tables can be moved as the plan says; to be decided:")
        .expect(&told);
    for word in [
        "users: refused: the",
        "ignore = [\"indexes\"]",
        "ending: 1 of the rows that were read make no item",
        "nowhere: refused: the old store has no such table",
    ] {
        assert!(decide.contains(word), "no `{word}` in {decide}");
    }
    let lines = bench
        .migrate(&["check", "--json"])
        .run()
        .expect_code(2)
        .json();
    let verdicts: Vec<&str> = lines
        .iter()
        .map(|line| line["verdict"].as_str().expect("one"))
        .collect();
    assert_eq!(verdicts, ["refused", "dead_letters", "refused"]);
    assert!(
        lines
            .iter()
            .all(|line| !line["decide"].as_array().expect("a list").is_empty())
    );
    let wrong = bench
        .migrate(&["check", "--sample", "0%"])
        .run()
        .expect_code(2);
    says(&wrong, &["--sample 0%: not a part of the table"]);
    bench.done().await;
}

/// What runs a command on a terminal of 80 columns, types, and prints what was drawn.
const ON_TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios, time
typed, words = sys.argv[1], sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(words[0], words)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
before, seen, sent = time.time(), b"", False
while True:
    ready, _, _ = select.select([fd], [], [], 0.2)
    if ready:
        try:
            got = os.read(fd, 65536)
        except OSError:
            break
        if not got:
            break
        seen += got
    if not sent and b"q leaves" in seen and time.time() - before > 3:
        os.write(fd, typed.encode())
        sent = True
    if time.time() - before > 120:
        os.kill(pid, 9)
        break
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

fn on_terminal(bench: &Bench, typed: &str, words: &[&str]) -> Outcome {
    let mut command = Command::new(python());
    command
        .args(["-c", ON_TERMINAL, typed, env!("CARGO_BIN_EXE_migrate")])
        .args(words)
        .args(["--plan", "plan.toml"])
        .current_dir(bench.folder.path())
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    for (name, value) in credentials() {
        command.env(name, value);
    }
    let output = command.output().expect("Python runs");
    std::io::stderr()
        .write_all(&output.stderr)
        .expect("written");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_is_left_by_a_key() {
    let bench = filled("watched").await;
    bench
        .plan("[[table]]\nname = \"users\"\nto = \"@-users\"\n")
        .init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    let drawn = on_terminal(&bench, "q", &["status", "--watch"]);
    assert_eq!(drawn.code, Some(0), "{drawn}");
    for word in [
        "users",
        "offline",
        "100.0 %",
        "████",
        "next: migrate verify",
        "\x1b[?1049h",
        "\x1b[?1049l",
    ] {
        assert!(
            drawn.stdout.contains(word),
            "no {word:?} in {:?}",
            drawn.stdout
        );
    }
    for line in drawn.stdout.split("\r\n") {
        let shown: String = without_codes(line);
        assert!(shown.chars().count() <= 80, "{shown}");
    }
    let piped = bench.migrate(&["status", "--watch"]).run().expect_code(2);
    says(&piped, &["--watch draws on a terminal"]);
    assert_eq!(piped.stdout, "");

    // Results fit the terminal too.
    let copied = on_terminal(&bench, "", &["copy", "--offline"]);
    assert_eq!(copied.code, Some(0), "{copied}");
    for line in copied.stdout.lines() {
        let shown = without_codes(line.trim_end());
        assert!(shown.chars().count() <= 80, "{shown}");
    }
    assert!(
        copied.stdout.contains("table users, copied, read"),
        "{copied}"
    );
    bench.done().await;
}

/// A line as it is seen.
fn without_codes(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = part.find(|c: char| c.is_ascii_alphabetic());
        shown += ends.and_then(|at| part.get(at + 1..)).unwrap_or_default();
    }
    // What is drawn again over the same line counts once.
    shown.rsplit('\r').next().unwrap_or_default().to_owned()
}

#[test]
fn many_ways_to_ask_too_much() {
    let both = Migrate::new(["check", "--plan", "x.toml", "--all", "--sample", "1%"]).run();
    says(&both.expect_code(2), &["cannot be used with"]);
}
