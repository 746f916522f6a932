//! What is shown while a command works: bars on a terminal, a JSON line every few seconds
//! elsewhere. All of it goes to stderr; stdout is for data.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crossfade::copier::{CopyProgress, CopySnapshot};
use crossfade::error::Error;
use crossfade::migration::Paces;
use crossfade::migration::history::HistorySecond;
use crossfade::verifier;
use crossfade::visible::visible_lines;

use crate::format;

/// How often a JSON line is written.
const LINE_EVERY: Duration = Duration::from_secs(3);
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Where progress is shown.
#[derive(Clone)]
pub struct Screen {
    bars: MultiProgress,
    terminal: bool,
    /// Whether no progress is shown.
    quiet: bool,
}

impl Screen {
    pub fn new(quiet: bool) -> Self {
        Screen {
            bars: MultiProgress::new(),
            terminal: io::stderr().is_terminal() && !is_dumb(),
            quiet,
        }
    }

    /// Sends the log to stderr, above the bars. `RUST_LOG` chooses what is in it.
    pub fn log(&self) {
        let own = match self.quiet {
            true => LevelFilter::WARN,
            false => LevelFilter::INFO,
        };
        let usual = Targets::new()
            .with_default(LevelFilter::ERROR)
            .with_target("crossfade", own)
            .with_target("scylla", LevelFilter::OFF)
            .with_target("aws", LevelFilter::OFF);
        let wanted = std::env::var("RUST_LOG").unwrap_or_default();
        // A filter of spans would be taken for a target that nothing has.
        let wanted = match wanted.as_str() {
            "" => Ok(usual),
            spans if spans.contains('[') => Err(usual),
            levels => levels.parse().map_err(|_| usual),
        };
        if wanted.is_err() {
            self.say(
                "warning: `RUST_LOG` can't be read, so the log is as without it; write levels by target: \
                 `info,crossfade=debug`",
            );
        }
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(self.clone())
            .with_ansi(self.terminal && !without_colour())
            .with_target(false);
        tracing_subscriber::registry()
            .with(lines)
            .with(wanted.unwrap_or_else(|usual| usual))
            .init();
    }

    /// Shows an error.
    pub fn error(&self, error: &Error) {
        self.bars.suspend(|| eprintln!("error: {error}"));
    }

    /// Says something that isn't data.
    pub fn say(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{}", visible_lines(text)));
    }

    /// Shows a verification until the answer is dropped.
    pub fn follow_verify(
        &self,
        table: &str,
        live: Arc<verifier::VerifyProgress>,
        paces: Paces,
    ) -> Followed {
        if self.quiet {
            return Followed::unseen();
        }
        let begun = Instant::now();
        if !self.terminal {
            let table = table.to_owned();
            let task = tokio::spawn(async move {
                let mut told = 0;
                loop {
                    tokio::time::sleep(LINE_EVERY).await;
                    eprintln!("{}", verify_line(&table, &live, begun, &paces, &mut told));
                }
            });
            return Followed { bar: None, task };
        }
        let bar = self.bars.add(ProgressBar::new(1_000));
        bar.set_style(style());
        bar.set_prefix(table.to_owned());
        let drawn = bar.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(DRAW_EVERY).await;
                let (old, new) = live.rows();
                drawn.set_position((live.share() * 1_000.0) as u64);
                let (old, new) = (format::count(old), format::count(new));
                let mut text = format!("{old} old rows, {new} new ones compared");
                add_reason(&mut text, &paces);
                drawn.set_message(text);
            }
        });
        Followed {
            bar: Some(bar),
            task,
        }
    }

    /// Shows a copy until the answer is dropped.
    pub fn follow(
        &self,
        table: &str,
        live: Arc<CopyProgress>,
        rows: Option<u64>,
        paces: Paces,
    ) -> Followed {
        if self.quiet {
            return Followed::unseen();
        }
        let mut speed = Speed::new(rows);
        let (bar, task) = if self.terminal {
            let bar = self.bars.add(ProgressBar::new(1_000));
            bar.set_style(style());
            bar.set_prefix(table.to_owned());
            let drawn = bar.clone();
            let task = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(DRAW_EVERY).await;
                    draw(&drawn, &live.reading(), &mut speed, &paces);
                }
            });
            (Some(bar), task)
        } else {
            let table = table.to_owned();
            let task = tokio::spawn(async move {
                let mut told = 0;
                loop {
                    tokio::time::sleep(LINE_EVERY).await;
                    eprintln!(
                        "{}",
                        line(&table, &live.reading(), &mut speed, &paces, &mut told)
                    );
                }
            });
            (None, task)
        };
        Followed { bar, task }
    }
}

/// A terminal on which no bar can be drawn: it gets lines, as a file does.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// <https://no-color.org>
fn without_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A copy that is being shown.
pub struct Followed {
    bar: Option<ProgressBar>,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    fn unseen() -> Self {
        Followed {
            bar: None,
            task: tokio::spawn(async {}),
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    // What doesn't fit is cut off: a line that wraps is drawn anew below itself each time.
    ProgressStyle::with_template("{prefix:16!} {bar:16} {percent:>3} % {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What holds the work back, if anything does.
fn add_reason(text: &mut String, paces: &Paces) {
    if let Some(reason) = paces.reason() {
        text.push_str(&format!(", {reason}"));
    }
}

/// How fast the work is, how fast it may be, and why not faster.
#[derive(serde::Serialize)]
struct PaceLine {
    /// Units written, and rows read of the old store and of the new one, in the last second.
    units: f64,
    old_rows: f64,
    new_rows: f64,
    /// The most of each in a second now; null = as many as the stores give.
    most_units: Option<f64>,
    most_old_rows: Option<f64>,
    most_new_rows: Option<f64>,
    reason: Option<String>,
    /// What was done in each second since the last line.
    seconds: Vec<HistorySecond>,
}

/// `told` is the last second that an earlier line has told.
fn pace_line(paces: &Paces, told: &mut i64) -> PaceLine {
    let seconds = paces.seconds(*told, false);
    *told = seconds.last().map_or(*told, |second| second.at);
    let (old, new) = (paces.old.now(), paces.new.now());
    PaceLine {
        units: new.units.round(),
        old_rows: old.rows.round(),
        new_rows: new.rows.round(),
        most_units: new.write_units.map(f64::round),
        most_old_rows: old.read_rows.map(f64::round),
        most_new_rows: new.read_rows.map(f64::round),
        reason: paces.reason().map(|reason| reason.to_string()),
        seconds,
    }
}

fn verify_line(
    table: &str,
    live: &verifier::VerifyProgress,
    begun: Instant,
    paces: &Paces,
    told: &mut i64,
) -> String {
    let (old_rows, new_rows) = live.rows();
    format::json(&VerifyLine {
        event: "progress",
        table,
        share: (live.share() * 1e4).round() / 1e4,
        old_rows,
        new_rows,
        seconds: (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        pace: pace_line(paces, told),
    })
}

#[derive(serde::Serialize)]
struct VerifyLine<'a> {
    event: &'static str,
    table: &'a str,
    share: f64,
    old_rows: u64,
    new_rows: u64,
    seconds: f64,
    pace: PaceLine,
}

fn draw(bar: &ProgressBar, reading: &CopySnapshot, speed: &mut Speed, paces: &Paces) {
    let counts = &reading.counts;
    let (rate, eta) = speed.of(reading);
    let mut text = format!(
        "{} rows, {}/s",
        format::count(counts.read),
        format::count(rate as u64)
    );
    if let Some(eta) = eta {
        text.push_str(&format!(", {} left", format::time(eta)));
    }
    if let Some(rows) = reading.partition_rows {
        text.push_str(&format!(
            ", a partition of {} rows so far",
            format::count(rows)
        ));
    }
    if counts.throttles > 0 {
        text.push_str(&format!(", {} throttles", format::count(counts.throttles)));
    }
    if counts.failed > 0 {
        text.push_str(&format!(", {} dead letters", format::count(counts.failed)));
    }
    if let Some(store) = away(reading) {
        text.push_str(&format!(", waiting for the {store} store"));
    }
    add_reason(&mut text, paces);
    bar.set_position((reading.share * 1_000.0) as u64);
    bar.set_message(text);
}

fn line(
    table: &str,
    reading: &CopySnapshot,
    speed: &mut Speed,
    paces: &Paces,
    told: &mut i64,
) -> String {
    let counts = &reading.counts;
    let (rate, eta) = speed.of(reading);
    let line = ProgressLine {
        event: "progress",
        table,
        share: (reading.share * 1e4).round() / 1e4,
        read: counts.read,
        written: counts.written,
        present: counts.present,
        completed: counts.completed,
        failed: counts.failed,
        bytes: counts.bytes,
        throttles: counts.throttles,
        seconds: (counts.seconds * 10.0).round() / 10.0,
        rows_per_second: rate.round(),
        seconds_left: eta.map(f64::round),
        partition_rows: reading.partition_rows,
        waiting_for: away(reading),
        pace: pace_line(paces, told),
    };
    format::json(&line)
}

#[derive(serde::Serialize)]
struct ProgressLine<'a> {
    event: &'static str,
    table: &'a str,
    share: f64,
    read: u64,
    written: u64,
    present: u64,
    completed: u64,
    failed: u64,
    bytes: u64,
    throttles: u64,
    seconds: f64,
    rows_per_second: f64,
    /// null = not known: nothing tells yet, or more is left of a partition than the rest would take.
    seconds_left: Option<f64>,
    /// Rows so far of the largest partition that is being read, where one takes several pages.
    partition_rows: Option<u64>,
    waiting_for: Option<&'static str>,
    pace: PaceLine,
}

/// How much of the past counts for what is left, seconds: a pace, or a store that was away, changes it soon.
const LATELY: f64 = 30.0;
/// Of less than this share nothing follows.
const TELLING: f64 = 0.05;

/// How fast a copy is lately.
struct Speed {
    /// Rows of the table, as the old store estimates.
    rows: Option<u64>,
    /// Seconds, share and rows read.
    marks: VecDeque<(f64, f64, u64)>,
}

impl Speed {
    fn new(rows: Option<u64>) -> Self {
        Speed {
            rows,
            marks: VecDeque::from([(0.0, 0.0, 0)]),
        }
    }

    /// Rows per second since it began, and seconds left: from the share that was done lately, or from the old store's
    /// estimate while the share says nothing yet. Neither tells what is left of a partition: who has been in one for
    /// longer than all the rest would take may be there as long again.
    fn of(&mut self, reading: &CopySnapshot) -> (f64, Option<f64>) {
        let (seconds, read) = (reading.counts.seconds.max(0.001), reading.counts.read);
        self.marks.push_back((seconds, reading.share, read));
        // One mark that is older than that stays.
        while self
            .marks
            .get(1)
            .is_some_and(|mark| mark.0 < seconds - LATELY)
        {
            self.marks.pop_front();
        }
        let (then, share, rows) = self.marks.front().copied().unwrap_or_default();
        let passed = (seconds - then).max(0.001);
        let share = (reading.share - share) / passed;
        let rows = read.saturating_sub(rows) as f64 / passed;
        let left = if reading.share > TELLING && share > 0.0 {
            (reading.share < 1.0).then(|| (1.0 - reading.share) / share)
        } else {
            // An estimate that is passed already says nothing of what is left.
            let estimate = self.rows.filter(|all| rows > 0.0 && *all > read);
            estimate.map(|all| (all - read) as f64 / rows)
        };
        let left = left.filter(|left| *left >= reading.same_partition_seconds);
        (read as f64 / seconds, left)
    }
}

fn away(reading: &CopySnapshot) -> Option<&'static str> {
    match (reading.old_away, reading.new_away) {
        (false, false) => None,
        (true, false) => Some("old"),
        (false, true) => Some("new"),
        (true, true) => Some("old and the new"),
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        Log {
            bars: self.bars.clone(),
            text: Vec::new(),
        }
    }
}

/// One log line, written above the bars when it is whole.
pub struct Log {
    bars: MultiProgress,
    text: Vec<u8>,
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        if text.is_empty() {
            return Ok(());
        }
        self.bars.suspend(|| io::stderr().write_all(&text))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A log that can't be written has nowhere to say so.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: f64, share: f64, read: u64) -> CopySnapshot {
        CopySnapshot {
            counts: crossfade::control::Counts {
                seconds,
                read,
                ..Default::default()
            },
            share,
            same_partition_seconds: 0.0,
            partition_rows: None,
            old_away: false,
            new_away: false,
        }
    }

    /// A burst at the beginning, and a pace from then on: what is left goes by the pace, and goes down.
    #[test]
    fn what_is_left_goes_by_the_pace_of_late() {
        let mut speed = Speed::new(None);
        speed.of(&at(1.0, 0.2, 2_000));
        let mut last = f64::MAX;
        for second in 2..=100 {
            let share = 0.2 + 0.001 * f64::from(second);
            let (rate, left) = speed.of(&at(second.into(), share, 2_000 + 10 * second as u64));
            assert!(rate < 2_000.0);
            if second > 40 {
                let left = left.unwrap();
                assert!(
                    (left - (1.0 - share) / 0.001).abs() < 1.0,
                    "{second}: {left}"
                );
                assert!(left < last, "{second}: {left} after {last}");
                last = left;
            }
        }
    }

    #[test]
    fn an_estimate_serves_until_the_share_tells() {
        let mut speed = Speed::new(Some(1_000));
        assert_eq!(speed.of(&at(10.0, 0.0, 100)), (10.0, Some(90.0)));
        assert_eq!(speed.of(&at(20.0, 0.0, 1_100)).1, None);
        assert_eq!(Speed::new(None).of(&at(10.0, 0.01, 100)).1, None);
        assert_eq!(Speed::new(None).of(&at(10.0, 1.0, 100)).1, None);
    }

    /// Nearly all is done, and one reader is in a partition of a million rows for 40 s.
    #[test]
    fn a_partition_that_takes_long_is_not_no_time_left() {
        let mut speed = Speed::new(Some(1_100_000));
        for second in 1..=10 {
            let (second, rows) = (f64::from(second), 10_000 * second as u64);
            assert!(speed.of(&at(second, second * 0.099, rows)).1.is_some());
        }
        for second in 1..=40 {
            let seconds = f64::from(second);
            let mut now = at(10.0 + seconds, 0.99, 100_000 + 25_000 * second as u64);
            now.same_partition_seconds = seconds;
            let left = speed.of(&now).1;
            assert!(
                left.is_none_or(|left| left >= seconds),
                "{second}: {left:?}"
            );
        }
    }
}
