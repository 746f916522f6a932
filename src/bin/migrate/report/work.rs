//! What the tools of this machine did, second by second.

use crossfade::layer::TookCounts;
use crossfade::migration::history::HistorySecond;

use super::busy::{BusyTime, Measure};
use super::chart::{Chart, number};
use super::html::{HtmlPage, NUMBER, WORD};
use super::{ReportHead, ReportTable};
use crate::format::{count, moment, time};

/// Times of work that are drawn of a table, the last ones.
const MOST_TIMES: usize = 12;
/// Seconds that are listed for what went wrong in them.
const MOST_WORST: usize = 10;

/// Second by second, what this machine's tools did.
pub fn show(page: &mut HtmlPage, head: &ReportHead, table: &ReportTable, times: &[BusyTime]) {
    page.markup("<h3>Second by second</h3>\n");
    if let Err(error) = &table.histories {
        page.unknown(&format!(
            "The histories in {} can't be read: {error}",
            head.journal
        ));
        return;
    }
    if times.is_empty() {
        page.unknown(&format!(
            "There is no history of this table in {}: no tool has run with this folder, or it was deleted. Tools on other machines \
             keep theirs there.",
            head.journal
        ));
        return;
    }
    let left_out = times.len().saturating_sub(MOST_TIMES);
    if left_out > 0 {
        page.paragraph(&format!(
            "The last {MOST_TIMES} times of work; {left_out} earlier ones are in the histories alone."
        ));
    }
    for time in &times[left_out..] {
        one_time(page, time);
    }
}

fn one_time(page: &mut HtmlPage, one: &BusyTime) {
    page.markup("<h4>");
    page.text(&format!(
        "{}, {} to {}",
        one.command,
        moment(one.from),
        moment(one.to)
    ));
    page.markup("</h4>\n");
    page.paragraph(&format!(
        "{} in which anything happened: {} rows of the old store and {} of the new one read, {} write units; asked to send later by the \
         old store {} times, by the new one {} times ({} of them for hot partitions); {} and {} reads failed.",
        time(one.seconds() as f64),
        number(one.total(|one| one.old_rows as f64)),
        number(one.total(|one| one.new_rows as f64)),
        count(one.total(|one| one.units).round() as u64),
        number(one.total(|one| one.old_throttled as f64)),
        number(one.total(|one| one.new_throttled as f64)),
        number(one.total(|one| one.hot as f64)),
        number(one.total(|one| one.old_failed as f64)),
        number(one.total(|one| one.new_failed as f64)),
    ));
    let reasons = one.reasons();
    if !reasons.is_empty() {
        let told = reasons
            .iter()
            .map(|(reason, seconds)| format!("{reason}, for {}", time(*seconds as f64)));
        page.paragraph(&format!(
            "Why it was not faster: {}.",
            told.collect::<Vec<_>>().join("; ")
        ));
    }
    charts(page, one);
    took(page, one);
    slowest(page, one);
    let worst = one.worst(MOST_WORST);
    if !worst.is_empty() {
        let row = |one: &HistorySecond| {
            vec![
                moment(one.at),
                count(one.old_throttled),
                count(one.new_throttled),
                count(one.hot),
                count(one.old_failed),
                count(one.new_failed),
            ]
        };
        let columns = [
            WORD.named("the worst seconds"),
            NUMBER.named("old store: later"),
            NUMBER.named("new store: later"),
            NUMBER.named("hot"),
            NUMBER.named("old reads failed"),
            NUMBER.named("new reads failed"),
        ];
        page.table(&columns, &worst.into_iter().map(row).collect::<Vec<_>>());
    }
}

fn charts(page: &mut HtmlPage, one: &BusyTime) {
    let draw = |page: &mut HtmlPage, title, unit, measure: Measure| {
        let all = one.series(measure);
        Chart {
            title,
            unit,
            from: one.from,
            to: one.to,
            all: &all,
            part: None,
            most: None,
        }
        .draw(page);
    };
    draw(
        page,
        "Rows read of the old store",
        "rows in a second",
        |one| one.old_rows as f64,
    );
    draw(
        page,
        "Rows read of the new store",
        "rows in a second",
        |one| one.new_rows as f64,
    );
    let (units, most) = (one.series(|one| one.units), one.most_units());
    Chart {
        title: "Write units of the new store",
        unit: "units in a second",
        from: one.from,
        to: one.to,
        all: &units,
        part: None,
        most: (!most.is_empty()).then_some(("the pace, where it is within the drawing", &most)),
    }
    .draw(page);
    draw(page, "Throttled by the old store", "in a second", |one| {
        one.old_throttled as f64
    });
    let (throttled, hot) = (
        one.series(|one| one.new_throttled as f64),
        one.series(|one| one.hot as f64),
    );
    Chart {
        title: "Throttled by the new store",
        unit: "in a second",
        from: one.from,
        to: one.to,
        all: &throttled,
        part: Some(("of them for hot partitions", &hot)),
        most: None,
    }
    .draw(page);
    draw(
        page,
        "Reads of the old store that failed",
        "in a second",
        |one| one.old_failed as f64,
    );
    draw(
        page,
        "Reads of the new store that failed",
        "in a second",
        |one| one.new_failed as f64,
    );
    draw(
        page,
        "The slowest read of the old store that ended in each second",
        "ms",
        |one| one.old_slowest_ms,
    );
    draw(
        page,
        "The slowest read of the new store that ended in each second",
        "ms",
        |one| one.new_slowest_ms,
    );
}

/// Percentiles of single calls.
fn took(page: &mut HtmlPage, one: &BusyTime) {
    let row = |calls: &str, counts: TookCounts| {
        let [half, most] = [counts.within(50)?, counts.within(99)?]
            .map(|took| format!("{:.1} ms", took.as_secs_f64() * 1e3));
        Some(vec![calls.to_owned(), count(counts.count()), half, most])
    };
    let rows = [
        row("reads of the old store", one.took(|one| &one.old_reads)),
        row("reads of the new store", one.took(|one| &one.new_reads)),
        row("writes to the new store", one.took(|one| &one.new_writes)),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().flatten().collect();
    if rows.is_empty() {
        page.unknown(
            "How long single calls took is not known: an earlier version, which did not record it, was at work.",
        );
        return;
    }
    let columns = [
        WORD.named("calls"),
        NUMBER.named("how many"),
        NUMBER.named("half took at most (p50)"),
        NUMBER.named("99 of 100 took at most (p99)"),
    ];
    page.table(&columns, &rows);
    page.paragraph(
        "A call is one request, of a page or a batch of many rows; one that was sent again counts again. Times are rounded up, by a \
         fifth at most.",
    );
}

/// Of each second the slowest read.
fn slowest(page: &mut HtmlPage, one: &BusyTime) {
    let row = |store: &str, measure: Measure| {
        let spread = one.spread(measure)?;
        let [middle, high, highest] = spread.map(|ms| format!("{ms:.1} ms"));
        Some(vec![store.to_owned(), middle, high, highest])
    };
    let rows: Vec<Vec<String>> = [
        row("old", |one| one.old_slowest_ms),
        row("new", |one| one.new_slowest_ms),
    ]
    .into_iter()
    .flatten()
    .collect();
    if rows.is_empty() {
        return;
    }
    let columns = [
        WORD.named("slowest read of a second"),
        NUMBER.named("in half of the seconds below"),
        NUMBER.named("in 99 of 100 below"),
        NUMBER.named("highest"),
    ];
    page.table(&columns, &rows);
}
