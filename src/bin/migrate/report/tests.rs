//! The page of made-up tables: what is in it is text whatever it is, and nothing is fetched.
#![allow(clippy::unwrap_used)]

use crossfade::control::{DeadLetter, PhaseMove, Record};
use crossfade::migration::PaceStatus;
use crossfade::schema::{Column, Role, StoredTable, Table, Type};
use crossfade::verifier::{Example, Found, Values};

use super::*;

const HOSTILE: &str = "\"'><script src=http://evil.example/x.js>alert(1)</script><img src=https://evil.example onerror=x>\
    \u{202e}gpj\u{2066}\u{0}\u{1b}[2J\r\n</style></title></svg>&lt;";

fn table(name: &str) -> ReportTable {
    ReportTable {
        name: name.to_owned(),
        to: name.to_owned(),
        is_rehearsal: false,
        asked: Err(Error::new(Kind::Unreachable, name)),
        last: Ok(None),
        histories: Ok(BTreeMap::new()),
        dropped: Vec::new(),
        next: None,
    }
}

fn record(phase: crossfade::protocol::Phase) -> Record {
    let columns = vec![Column::new("p", Type::Int, Role::Partition)];
    let stored = StoredTable::of(&Table::new("t", columns));
    serde_json::from_value(serde_json::json!({
        "plan": HOSTILE, "phase": phase.name(), "freeze": 1, "old_id": "", "target_id": "", "mapping": "",
        "source": stored, "target": stored,
    }))
    .unwrap()
}

/// A table of which everything is known, and everything is hostile.
fn known() -> ReportTable {
    let hostile = HOSTILE.to_owned();
    let mut record = record(crossfade::protocol::Phase::Copy);
    record.moves = ["bridge", "switch", HOSTILE]
        .into_iter()
        .enumerate()
        .map(|(at, to)| PhaseMove {
            to: to.to_owned(),
            at: 1_800_000_000 + at as i64 * 10,
        })
        .collect();
    let letter = DeadLetter {
        what: hostile.clone(),
        reason: hostile.clone(),
        freeze: 1,
        key: None,
        range: None,
        mended: false,
    };
    let status = Status {
        record: Some(record),
        is_counter: false,
        share: 0.5,
        copiers: Vec::new(),
        instances: Vec::new(),
        failures: 1,
        verified: None,
        pace: PaceStatus::default(),
    };
    let value = Values {
        column: hostile.clone(),
        old: Some(hostile.clone()),
        new: None,
    };
    let example = Example {
        kind: hostile.clone(),
        key: hostile.clone(),
        columns: vec![value],
        note: Some(hostile.clone()),
    };
    let last = LastVerification {
        freeze: 1,
        sample: 1.0,
        found: Found {
            different: 7,
            examples: vec![example],
            ..Found::default()
        },
        ..LastVerification::default()
    };
    let second = |at: i64, throttled: u64| HistorySecond {
        at: 1_800_000_020 + at,
        units: 10.0,
        new_throttled: throttled,
        old_slowest_ms: 3.5,
        reason: Some(hostile.clone()),
        ..HistorySecond::default()
    };
    let seconds = (0..2_000).map(|at| second(at, u64::from(at == 700) * 12));
    ReportTable {
        asked: Ok(ControlAnswers {
            status,
            letters: vec![letter],
        }),
        last: Ok(Some(last)),
        histories: Ok(BTreeMap::from([(
            format!("{HOSTILE}.{HOSTILE}"),
            seconds.collect(),
        )])),
        dropped: vec![hostile.clone()],
        next: Some(hostile),
        ..table(HOSTILE)
    }
}

fn head() -> ReportHead {
    ReportHead {
        plan: HOSTILE.to_owned(),
        old: HOSTILE.to_owned(),
        new: HOSTILE.to_owned(),
        control: HOSTILE.to_owned(),
        journal: HOSTILE.to_owned(),
        made_at: 1_800_000_100,
        prices: Some((crossfade::forecast::PRICES, HOSTILE.to_owned())),
    }
}

/// The tags of a page, each with its attributes.
fn tags(html: &str) -> Vec<&str> {
    let inside = |part: &'_ str| part.find('>');
    html.split('<')
        .skip(1)
        .map(|part| &part[..inside(part).unwrap()])
        .collect()
}

#[test]
fn whatever_is_in_it_is_text_and_nothing_is_fetched() {
    let html = page(&head(), &[known(), table(HOSTILE)]);
    let known = [
        "!DOCTYPE",
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "bdi",
        "figure",
        "figcaption",
        "span",
        "svg",
        "path",
        "g",
        "rect",
        "text",
        "div",
    ];
    let mut open = Vec::new();
    for tag in tags(&html) {
        let name = tag
            .trim_matches('/')
            .split([' ', '\n', '/'])
            .next()
            .unwrap();
        assert!(known.contains(&name), "<{tag}>");
        for attribute in ["src", "href", "onerror", "onload", "style=", "url("] {
            assert!(!tag.contains(&format!(" {attribute}")), "<{tag}>");
        }
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{open:?}"),
            None if tag.ends_with('/') || ["!DOCTYPE", "meta"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for never in ["@import", "url(", "<script", "<link", "<img"] {
        assert!(!html.contains(never), "{never}");
    }
    // As text, inside of elements and of quoted attributes alone.
    for (at, _) in html.match_indices("http") {
        let before = &html[..at];
        let is_meta = before.ends_with("<meta ");
        assert!(
            is_meta || before.ends_with("src="),
            "{}",
            &html[at..at + 20]
        );
    }
    let acts = |c: char| {
        (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{2066}'
    };
    assert!(!html.contains(acts), "characters that act");
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn what_is_not_known_is_said() {
    let html = page(&head(), &[table("t")]);
    for words in [
        "The control table could not be asked",
        "are not known",
        "There is no history of this table",
    ] {
        assert!(html.contains(words), "{words}");
    }
    let mut bare = known();
    if let Ok(asked) = &mut bare.asked {
        asked.status.record = Some(record(crossfade::protocol::Phase::New));
    }
    bare.last = Err(std::io::Error::other("a broken disk"));
    bare.histories = Err(std::io::Error::other("a broken disk"));
    let html = page(&head(), &[bare]);
    for words in [
        "It is in `new`. When it came there is not recorded",
        "What was found last can&#39;t be read: a broken disk",
        "can&#39;t be read: a broken disk",
        "no verification that counts: none of this freeze",
        "No copy has noted anything under this freeze",
        "No copy of this freeze has told which write units it took",
    ] {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn a_spike_of_one_second_is_told_and_drawn() {
    let html = page(&head(), &[known()]);
    // 2,000 seconds in columns of 3: second 700 is in the 234th of 667.
    assert!(
        html.contains("Throttled by the new store: at most 12 in a second; a column is the highest of 3 seconds"),
        "told"
    );
    let left = 233.0 * 900.0 / 667.0;
    assert!(html.contains(&format!("M{left:.1},92V2.0H")), "drawn");
    assert!(
        html.contains("<bdi>2027-01-15T08:12:00Z</bdi>"),
        "the worst second"
    );
}
