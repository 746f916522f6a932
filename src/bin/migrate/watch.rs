//! `migrate status --watch`: the same as a screen that is drawn again and again, until `q` is typed.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crossfade::clock;
use crossfade::control::ParticipantKind;
use crossfade::error::{Error, Kind, Result};

use crossfade::migration::{Migration, Status};
use crossfade::model::{Intervals, Tokens};
use crossfade::visible::visible;

use crate::Exit;
use crate::args;
use crate::format;
use crate::next::next;
use crate::signal;
use crate::stores::OpenStores;

/// How often the stores are asked.
const EVERY: Duration = Duration::from_secs(2);
/// Columns that are drawn at least and at most.
const NARROWEST: usize = 40;
const WIDEST: usize = 120;
/// Instances and copiers of a table that are shown one by one.
const MOST: usize = 3;

/// A table at one moment.
struct Seen {
    name: String,
    status: Status,
    /// Rows that the copiers have read by then, and when they said so last.
    read: u64,
    noted_at: i64,
    next: Option<String>,
}

/// How fast a table's copiers are: from two of their notes.
#[derive(Clone, Copy, Default)]
struct Rate {
    read: u64,
    noted_at: i64,
    share: f64,
    rows_per_second: Option<f64>,
    seconds_left: Option<f64>,
}

impl Rate {
    fn follow(&mut self, seen: &Seen) {
        let passed = seen.noted_at - self.noted_at;
        if self.noted_at > 0 && passed > 0 && seen.read >= self.read {
            let rows = (seen.read - self.read) as f64 / passed as f64;
            let share = (seen.status.share - self.share) / passed as f64;
            self.rows_per_second = (rows > 0.0).then_some(rows);
            let left = (share > 0.0).then(|| (1.0 - seen.status.share) / share);
            // What is shorter than the time between two notes says nothing: a large partition is done at once, at its end.
            self.seconds_left = left.filter(|left| *left >= passed as f64);
        }
        if passed != 0 {
            (self.read, self.noted_at, self.share) = (seen.read, seen.noted_at, seen.status.share);
        }
    }
}

pub async fn run(args: &args::StatusArgs) -> Result<Exit> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Error::new(
            Kind::Config,
            "--watch draws on a terminal, and this is none",
        )
        .with_help("leave --watch out, or take `migrate status --json` for a program"));
    }
    let stores = OpenStores::open_new(&args.chosen.plan).await?;
    let migrations = stores.migrations(args.chosen.table.as_deref())?;
    let mut rates = vec![Rate::default(); migrations.len()];
    let raw = RawTerminal::enter();
    let mut keys = keys();
    let stop = signal::wait();
    tokio::pin!(stop);
    loop {
        let begun = Instant::now();
        let mut tables = Vec::new();
        let mut trouble = None;
        for (migration, rate) in migrations.iter().zip(&mut rates) {
            match seen(&args.chosen.plan, migration).await {
                Ok(seen) => {
                    rate.follow(&seen);
                    tables.push((seen, *rate));
                }
                // A store that is away for a moment is no reason to leave.
                Err(error) if error.kind().is_transient() => trouble = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let (columns, rows) = size();
        let mut lines = screen(&tables, columns, without_colour());
        lines.extend(trouble.map(|trouble| cut(&trouble, columns)));
        draw(&lines, columns, rows);
        tokio::select! {
            () = tokio::time::sleep_until(begun + EVERY) => {}
            key = keys.recv() => if matches!(key, Some(b'q' | b'Q') | None) { break },
            () = &mut stop => break,
        }
    }
    drop(raw);
    stores.close().await;
    Ok(Exit::Done)
}

async fn seen(plan: &std::path::Path, migration: &Migration) -> Result<Seen> {
    let status = migration.status().await?;
    let copiers = || status.copiers.iter().map(|(_, progress)| progress);
    Ok(Seen {
        name: migration.spec.name.clone(),
        read: copiers().map(|one| one.counts.read).sum(),
        noted_at: copiers().filter_map(|one| one.noted_at).max().unwrap_or(0),
        next: next(plan, migration, &status),
        status,
    })
}

/// The whole screen, line by line, none of them wider than `columns`.
fn screen(tables: &[(Seen, Rate)], columns: usize, plain: bool) -> Vec<String> {
    let columns = columns.clamp(NARROWEST, WIDEST);
    let mut lines = Vec::new();
    for (seen, rate) in tables {
        let status = &seen.status;
        let phase = status
            .record
            .as_ref()
            .map_or("not initialised", |record| record.phase.name());
        let percent = (status.share * 1e3).floor() / 10.0;
        let mut head = format!(
            "{:<20} {phase:<8} {percent:>5.1} %",
            shortened(&visible(&seen.name), 20)
        );
        if let Some(rows) = rate.rows_per_second {
            head += &format!("  {} rows/s", format::count(rows as u64));
        }
        if let Some(left) = rate.seconds_left {
            head += &format!("  {} left", format::time(left));
        }
        lines.push(bold(&cut(&head, columns), plain));
        let done = status
            .copiers
            .iter()
            .fold(Intervals::default(), |mut done, (_, one)| {
                done.extend(&one.intervals());
                done
            });
        if !status.copiers.is_empty() {
            lines.push(format!("  {}", strip(&done, columns - 2)));
        }
        lines.extend(
            facts(status)
                .into_iter()
                .map(|fact| cut(&format!("  {fact}"), columns)),
        );
        if let Some(next) = &seen.next {
            lines.push(cut(&format!("  next: {next}"), columns));
        }
        lines.push(String::new());
    }
    lines.push(cut("q leaves", columns));
    lines
}

/// What else is to be known of a table.
fn facts(status: &Status) -> Vec<String> {
    let mut facts = Vec::new();
    let shims = status
        .instances
        .iter()
        .filter(|(_, one)| one.kind == ParticipantKind::Shim);
    let shims: Vec<_> = shims.collect();
    if !shims.is_empty() {
        let each = |(id, one): &&(String, crossfade::control::Participant)| {
            let phase = one.phase.map_or("joining", |phase| phase.name());
            format!("{} ({phase}, {})", visible(id), seen_ago(one.renewed_at))
        };
        facts.push(format!(
            "applications {}: {}",
            shims.len(),
            some(&shims, each)
        ));
    }
    let at_work: Vec<_> = status
        .copiers
        .iter()
        .filter(|(_, one)| !one.ended)
        .collect();
    if !at_work.is_empty() {
        let each = |(_, one): &&(String, crossfade::control::Progress)| {
            format!("{} ({})", visible(&one.copier), seen_ago(one.noted_at))
        };
        facts.push(format!(
            "copiers {}: {}",
            at_work.len(),
            some(&at_work, each)
        ));
    }
    for (_, tool) in &status.pace.tools {
        let mut fact = format!(
            "{} ({}): {} units/s, {} rows/s",
            tool.command,
            visible(&tool.name),
            format::count(tool.units.round() as u64),
            format::count(tool.rows.round() as u64)
        );
        if let Some(reason) = &tool.reason {
            fact += &format!(", {}", visible(reason));
        }
        facts.push(fact);
    }
    if status.pace.wish.as_ref().is_some_and(|wish| wish.paused) {
        facts.push("paused by an operator".to_owned());
    }
    let throttles: u64 = status
        .copiers
        .iter()
        .map(|(_, one)| one.counts.throttles)
        .sum();
    if throttles > 0 {
        facts.push(format!("{} throttles", format::count(throttles)));
    }
    if status.failures > 0 {
        facts.push(format!("{} dead letters", format::count(status.failures)));
    }
    match &status.verified {
        Some(verified) if verified.clean => {
            facts.push(format!(
                "verified, clean, {}",
                seen_ago(Some(verified.ended_at))
            ));
        }
        Some(verified) => facts.push(format!(
            "verified: {} differences, {}",
            format::count(verified.differences),
            seen_ago(Some(verified.ended_at))
        )),
        None => {}
    }
    facts
}

fn some<T>(all: &[T], each: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = all.iter().take(MOST).map(each).collect();
    match all.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}

fn seen_ago(at: Option<i64>) -> String {
    at.map_or_else(
        || "?".to_owned(),
        |at| {
            format!(
                "{} ago",
                format::time((clock::unix_seconds() - at).max(0) as f64)
            )
        },
    )
}

/// The ring from end to end: how much of each stretch is done.
fn strip(done: &Intervals, cells: usize) -> String {
    let shades = ['·', '░', '▒', '▓', '█'];
    let shade = |tokens: Tokens| {
        let share = done.share_of(tokens);
        // Neither none nor all is shown as such.
        let place = match share {
            none if none <= 0.0 => 0,
            all if all >= 1.0 => 4,
            some => 1 + (some * 3.0) as usize,
        };
        shades.get(place.min(4)).copied().unwrap_or('?')
    };
    Tokens::ALL.split(cells).into_iter().map(shade).collect()
}

fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn cut(line: &str, columns: usize) -> String {
    shortened(line, columns)
}

fn bold(text: &str, plain: bool) -> String {
    match plain {
        true => text.to_owned(),
        false => format!("\x1b[1m{text}\x1b[0m"),
    }
}

fn without_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        Ok(_) | Err(_) => (80, 24),
    }
}

/// Draws over what is there, so that nothing flickers.
fn draw(lines: &[String], _columns: usize, rows: usize) {
    let mut out = String::from("\x1b[H");
    let room = rows.saturating_sub(1).max(1);
    for line in lines.iter().take(room) {
        out += line;
        out += "\x1b[K\r\n";
    }
    out += "\x1b[J";
    let mut stdout = std::io::stdout();
    // A terminal that is gone ends the loop by its signal.
    let _ = stdout
        .write_all(out.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Keys as they are typed, without Enter; the terminal is as it was once this is dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> RawTerminal {
        let before = termios::tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut now = before.clone();
            // Ctrl-C stays a signal.
            now.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
            now.special_codes[SpecialCodeIndex::VMIN] = 1;
            now.special_codes[SpecialCodeIndex::VTIME] = 0;
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &now);
        }
        print!("\x1b[?1049h\x1b[?25l\x1b[2J");
        RawTerminal(before)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        print!("\x1b[?25h\x1b[?1049l");
        let _ = std::io::stdout().flush();
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for key in std::io::stdin().lock().bytes() {
            match key {
                Ok(key) if send.send(key).is_ok() => {}
                Ok(_) | Err(_) => return,
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(share: f64) -> Status {
        Status {
            record: None,
            is_counter: false,
            share,
            copiers: Vec::new(),
            instances: Vec::new(),
            failures: 2,
            verified: None,
            pace: Default::default(),
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let seen = Seen {
            name: "a_table_with_a_very_long_name_indeed".into(),
            status: status(0.5),
            read: 10,
            noted_at: 5,
            next: Some(
                "migrate init --plan /a/long/way/to/a/plan/that/goes/on/and/on.toml --table t"
                    .into(),
            ),
        };
        let rate = Rate {
            rows_per_second: Some(12_345.0),
            seconds_left: Some(4_000.0),
            ..Rate::default()
        };
        for columns in [40, 80, 200] {
            let lines = screen(&[(seen_again(&seen), rate)], columns, true);
            assert!(
                lines.iter().all(|line| line.chars().count() <= columns),
                "{lines:?}"
            );
        }
        let lines = screen(&[(seen, rate)], 80, true);
        assert!(
            lines[0].contains("50.0 %  12,345 rows/s  1 h 06 min left"),
            "{lines:?}"
        );
        assert!(lines[1].contains("2 dead letters"), "{lines:?}");
        assert!(lines[2].ends_with('…'), "{lines:?}");
    }

    fn seen_again(seen: &Seen) -> Seen {
        Seen {
            name: seen.name.clone(),
            status: status(seen.status.share),
            read: seen.read,
            noted_at: seen.noted_at,
            next: seen.next.clone(),
        }
    }

    #[test]
    fn a_strip_shows_what_is_done() {
        let none = Intervals::default();
        assert_eq!(strip(&none, 8), "········");
        let all: Intervals = [Tokens::ALL].into_iter().collect();
        assert_eq!(strip(&all, 8), "████████");
        let half: Intervals = [Tokens {
            up_to: 0,
            ..Tokens::ALL
        }]
        .into_iter()
        .collect();
        assert_eq!(strip(&half, 4), "██··");
    }

    #[test]
    fn a_rate_is_of_two_notes() {
        let mut rate = Rate::default();
        let at = |read: u64, noted_at: i64, share: f64| Seen {
            name: String::new(),
            status: status(share),
            read,
            noted_at,
            next: None,
        };
        rate.follow(&at(1_000, 100, 0.1));
        assert!(rate.rows_per_second.is_none());
        rate.follow(&at(1_000, 100, 0.1));
        rate.follow(&at(3_000, 110, 0.3));
        assert_eq!(rate.rows_per_second, Some(200.0));
        assert!((rate.seconds_left.unwrap() - 35.0).abs() < 1e-6);
    }
}
