//! What the report says of each table.

use std::collections::BTreeMap;

use crossfade::control::{Counts, DeadLetter, Progress, Record, Verified};
use crossfade::forecast::{Ceilings, Size, forecast};
use crossfade::migration::Status;
use crossfade::migration::findings::LastVerification;
use crossfade::protocol::Phase;
use crossfade::verifier::{Example, Values};

use super::busy::{self, BusyTime};
use super::chart::{Bar, bands};
use super::html::{HtmlPage, NUMBER, WORD};
use super::{ControlAnswers, ReportHead, ReportTable, promises, work};
use crate::check::money;
use crate::format::{count, moment, time};

/// Reasons of dead letters, and examples of each.
const MOST_REASONS: usize = 50;
const MOST_OF_REASON: usize = 3;
/// Differences that are shown.
const MOST_EXAMPLES: usize = 50;

/// A line for each table.
pub fn overview(page: &mut HtmlPage, tables: &[ReportTable]) {
    let row = |table: &ReportTable| {
        let mut row = vec![table.name.clone(), table.to.clone()];
        let Ok(asked) = &table.asked else {
            row.extend(["not known"; 4].map(str::to_owned));
            return row;
        };
        let status = &asked.status;
        row.push(phase(status).to_owned());
        row.push(format!("{:.1} %", (status.share * 1e3).floor() / 10.0));
        row.push(count(status.failures));
        row.push(match &status.verified {
            None => "no".to_owned(),
            Some(verified) if !counts(verified, status) => {
                "no longer: a copy, fold or retry has run since".to_owned()
            }
            Some(verified) if verified.clean => format!("clean, {}", moment(verified.ended_at)),
            Some(verified) => format!(
                "{} differences, {}",
                count(verified.differences),
                moment(verified.ended_at)
            ),
        });
        row
    };
    let columns = [
        WORD.named("table"),
        WORD.named("to"),
        WORD.named("phase"),
        NUMBER.named("copied"),
        NUMBER.named("dead letters"),
        WORD.named("verified"),
    ];
    page.table(&columns, &tables.iter().map(row).collect::<Vec<_>>());
    let next: Vec<Vec<String>> = tables
        .iter()
        .filter_map(|table| Some(vec![table.next.clone()?]))
        .collect();
    if !next.is_empty() {
        page.table(&[WORD.named("what comes next")], &next);
    }
}

fn phase(status: &Status) -> &str {
    let record = status.record.as_ref();
    record.map_or("not initialised", |record| record.phase.name())
}

/// All there is of a table.
pub fn table(page: &mut HtmlPage, head: &ReportHead, table: &ReportTable) {
    page.markup("<h2>");
    page.text(&format!("{} → {}", table.name, table.to));
    page.markup("</h2>\n");
    if table.is_rehearsal {
        page.paragraph("This is a rehearsal.");
    }
    let times = match &table.histories {
        Ok(histories) => busy::times(&table.name, histories.clone()),
        Err(_) => Vec::new(),
    };
    match &table.asked {
        Err(error) => {
            page.markup("<p class=\"bad\">");
            page.text(&format!("The control table could not be asked: {error}"));
            page.markup("</p>\n");
            page.unknown("So phases, counts, dead letters and what was verified are not known.");
        }
        Ok(asked) => match &asked.status.record {
            None => page.unknown(
                "The control table has no record of this table: `migrate init` comes first.",
            ),
            Some(record) => {
                timeline(page, head, record, &times);
                promised(page, table, asked, record);
                letters(page, &asked.letters);
                examples(page, table, record);
                cost(page, head, &asked.status);
            }
        },
    }
    work::show(page, head, table, &times);
}

/// When it came to which phase, and when tools were at work.
fn timeline(page: &mut HtmlPage, head: &ReportHead, record: &Record, times: &[BusyTime]) {
    page.markup("<h3>Phases</h3>\n");
    let is_over = record.phase == Phase::Done;
    let moves = &record.moves;
    let until = |at: usize| match moves.get(at + 1) {
        Some(next) => Some(next.at),
        None if is_over => None,
        None => Some(head.made_at),
    };
    let rows: Vec<Vec<String>> = moves
        .iter()
        .enumerate()
        .map(|(at, one)| {
            let stayed =
                until(at).map_or_else(String::new, |until| time((until - one.at).max(0) as f64));
            vec![one.to.clone(), moment(one.at), stayed]
        })
        .collect();
    if rows.is_empty() {
        page.unknown(&format!(
            "It is in `{}`. When it came there is not recorded: an earlier version of the tool has moved it, or it has not \
             been moved.",
            record.phase
        ));
    } else {
        let columns = [
            WORD.named("phase"),
            WORD.named("since"),
            NUMBER.named("for"),
        ];
        page.table(&columns, &rows);
    }
    if let Some(frozen_at) = record.frozen_at {
        page.paragraph(&format!(
            "Frozen for the last time at {}, by the old store's clock (freeze {}).",
            moment(frozen_at / 1_000_000),
            record.freeze
        ));
    }
    let phases = moves.iter().enumerate().map(|(at, one)| Bar {
        name: one.to.clone(),
        class: "phase",
        from: one.at,
        to: until(at).unwrap_or(one.at),
    });
    let phases: Vec<Bar> = phases.collect();
    let work = times.iter().map(|time| Bar {
        name: time.command.clone(),
        class: match time.command.split('-').next() {
            Some("copy") => "copy",
            Some("verify") => "verify",
            _ => "other",
        },
        from: time.from,
        to: time.to,
    });
    let work: Vec<Bar> = work.collect();
    let all = || phases.iter().chain(&work);
    let (from, to) = (
        all().map(|bar| bar.from).min(),
        all().map(|bar| bar.to).max(),
    );
    if let (Some(from), Some(to)) = (from, to) {
        let title =
            "phases, and below them the tools at work as far as this machine's histories tell";
        bands(page, title, &[phases, work], from, to.max(from + 1));
    }
}

/// What was promised and kept, and what was left out.
fn promised(page: &mut HtmlPage, table: &ReportTable, asked: &ControlAnswers, record: &Record) {
    let status = &asked.status;
    page.markup("<h3>What was promised, and whether it was kept</h3>\n");
    let verified = status.verified.as_ref().filter(|one| counts(one, status));
    let last = counted(table, record, status.verified.as_ref());
    let rows = promises::lines(status.is_counter, verified, last);
    page.table(
        &[
            WORD.named("promise"),
            WORD.named("kept"),
            WORD.named("what tells"),
        ],
        &rows,
    );

    page.markup("<h3>Counted</h3>\n");
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |what: &str, number: u64| rows.push(vec![what.to_owned(), count(number)]);
    let counts = sum(status);
    match status.copiers.is_empty() {
        true => {}
        false => {
            row(
                "read of the old table by copies of this freeze",
                counts.read,
            );
            for (what, number) in [
                ("written", counts.written),
                ("there already", counts.present),
                (
                    "completed, since an application had written some columns",
                    counts.completed,
                ),
                ("counters folded", counts.folded),
                ("counters that had not grown", counts.unchanged),
                ("counters settled", counts.settled),
            ] {
                if number > 0 {
                    row(what, number);
                }
            }
        }
    }
    row("left out: dead letters", status.failures);
    if let Some(last) = last {
        row("compared: rows of the old table", last.found.old_rows);
        row("compared: items of the new table", last.found.new_rows);
        for (what, number) in [
            (
                "left out of the comparison: expired, or about to",
                last.found.expiring,
            ),
            (
                "there before `init --adopt`, and so no differences",
                last.found.adopted,
            ),
            (
                "written with a time that has not come yet",
                last.found.future,
            ),
        ] {
            if number > 0 {
                row(what, number);
            }
        }
    } else if let Some(verified) = &status.verified {
        row("compared: rows of the old table", verified.old_rows);
    }
    page.table(&[WORD.named("rows"), NUMBER.named("how many")], &rows);
    if status.copiers.is_empty() {
        page.unknown("No copy has noted anything under this freeze.");
    } else if counts.written > 0 {
        page.paragraph(
            "“Written” and “there already” are approximate where a reply was lost: a write that was sent again counts as there \
             already. A row that was read twice, by a copy that was killed, counts twice.",
        );
    }
    if !table.dropped.is_empty() {
        page.paragraph(&format!(
            "Columns that the plan leaves out: {}.",
            table.dropped.join(", ")
        ));
    }
}

/// The verification of this machine's folder, if it is the one that the control table tells of.
fn counted<'a>(
    table: &'a ReportTable,
    record: &Record,
    verified: Option<&Verified>,
) -> Option<&'a LastVerification> {
    let last = table.last.as_ref().ok()?.as_ref()?;
    let is_it = verified.is_none_or(|verified| verified.oldest_at == Some(last.oldest_at));
    (last.is_of(record) && is_it).then_some(last)
}

/// Whether a verification tells of the table as the copiers have left it.
fn counts(verified: &Verified, status: &Status) -> bool {
    verified.copiers == Progress::digests(&status.copiers)
}

/// What all copiers of this freeze have done.
fn sum(status: &Status) -> Counts {
    let mut sum = Counts::default();
    for (_, progress) in &status.copiers {
        let one = &progress.counts;
        sum.read += one.read;
        sum.written += one.written;
        sum.present += one.present;
        sum.completed += one.completed;
        sum.bytes += one.bytes;
        sum.units += one.units;
        sum.folded += one.folded;
        sum.unchanged += one.unchanged;
        sum.settled += one.settled;
    }
    sum
}

fn letters(page: &mut HtmlPage, letters: &[DeadLetter]) {
    page.markup("<h3>Dead letters</h3>\n");
    if letters.is_empty() {
        page.paragraph("None.");
        return;
    }
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for letter in letters {
        let there = reasons.entry(&letter.reason).or_default();
        there.push(&letter.what);
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, whats)| std::cmp::Reverse(whats.len()));
    let left_out = reasons.len().saturating_sub(MOST_REASONS);
    reasons.truncate(MOST_REASONS);
    let row = |(reason, whats): (&str, Vec<&str>)| {
        let examples: Vec<String> = whats
            .iter()
            .take(MOST_OF_REASON)
            .map(|what| (*what).to_owned())
            .collect();
        vec![
            reason.to_owned(),
            count(whats.len() as u64),
            examples.join("; "),
        ]
    };
    let columns = [
        WORD.named("reason"),
        NUMBER.named("rows and ranges"),
        WORD.named("such as"),
    ];
    page.table(&columns, &reasons.into_iter().map(row).collect::<Vec<_>>());
    if left_out > 0 {
        page.paragraph(&format!("And {} more reasons.", count(left_out as u64)));
    }
}

/// What the last verification found, as far as this machine has kept it.
fn examples(page: &mut HtmlPage, table: &ReportTable, record: &Record) {
    page.markup("<h3>Differences</h3>\n");
    let last = match &table.last {
        Err(error) => {
            page.unknown(&format!("What was found last can't be read: {error}"));
            return;
        }
        Ok(None) => {
            page.unknown("No verification has run from this machine's journal folder, so there are no examples.");
            return;
        }
        Ok(Some(last)) => last,
    };
    if !last.is_of(record) {
        page.unknown(&format!(
            "The last verification from this folder, of {}, is of an earlier freeze or mapping, and counts for nothing now.",
            moment(last.ended_at)
        ));
        return;
    }
    let found = &last.found;
    let what = match last.sample < 1.0 {
        true => format!("{} % of the old rows", last.sample * 100.0),
        false => "all of both tables".to_owned(),
    };
    page.paragraph(&format!(
        "Of {}, in {}: {} looked at; {} differences.",
        moment(last.ended_at),
        time(last.seconds),
        what,
        count(found.differences())
    ));
    if let Some(mended) = &last.mended {
        page.paragraph(&format!(
            "Then repaired: {} copied, {} completed, {} rewritten, {} folded, {} deleted; {} left as they are.",
            count(mended.copied),
            count(mended.completed),
            count(mended.rewritten),
            count(mended.folded),
            count(mended.deleted),
            count(mended.left)
        ));
    }
    let rows: Vec<Vec<String>> = found
        .examples
        .iter()
        .take(MOST_EXAMPLES)
        .map(example)
        .collect();
    if !rows.is_empty() {
        let columns = [
            WORD.named("kind"),
            WORD.named("key"),
            WORD.named("old"),
            WORD.named("new"),
        ];
        page.table(&columns, &rows);
    }
    let shown = rows.len() as u64;
    if found.differences() > shown {
        page.paragraph(&format!("And {} more.", count(found.differences() - shown)));
    }
}

fn example(example: &Example) -> Vec<String> {
    let side = |of: fn(&Values) -> &Option<String>| {
        let values = example.columns.iter().map(|values| {
            let value = of(values).as_deref().unwrap_or("null");
            format!("{}: {value}", values.column)
        });
        values.collect::<Vec<_>>().join("; ")
    };
    let kind = match &example.note {
        Some(note) => format!("{}: {note}", example.kind),
        None => example.kind.clone(),
    };
    vec![
        kind,
        example.key.clone(),
        side(|values| &values.old),
        side(|values| &values.new),
    ]
}

/// What the copy took, and what a verification and a month take.
fn cost(page: &mut HtmlPage, head: &ReportHead, status: &Status) {
    let Some((prices, whose)) = &head.prices else {
        return;
    };
    page.markup("<h3>Cost</h3>\n");
    let counts = sum(status);
    if counts.units <= 0.0 {
        page.unknown("No copy of this freeze has told which write units it took.");
        return;
    }
    let size = Size {
        rows: (counts.written + counts.folded) as f64,
        bytes: counts.bytes as f64,
        write_units: counts.units,
    };
    let told = forecast(size, Ceilings::default(), *prices);
    let row =
        |what: &str, units: String, dollars: f64| vec![what.to_owned(), units, money(dollars)];
    let rows = [
        row(
            "copy of this freeze, by the write units that the service has told",
            count(counts.units.round() as u64),
            told.copy,
        ),
        row(
            "one verification of what was copied, estimated",
            count(told.read_units as u64),
            told.verify,
        ),
        row(
            "a month of what was copied, estimated",
            crate::format::bytes(counts.bytes),
            told.month,
        ),
    ];
    page.table(
        &[
            WORD.named("what"),
            NUMBER.named("units, or size"),
            NUMBER.named("cost"),
        ],
        &rows,
    );
    page.paragraph(&format!(
        "By {whose}. A provisioned table costs what is provisioned, whatever is written. Applications' own reads and writes are \
         not in it."
    ));
}
