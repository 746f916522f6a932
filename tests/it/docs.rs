//! Pages that would otherwise drift from the code.

use std::fs;
use std::path::{Path, PathBuf};

use crossfade::protocol::Phase;
use crossfade::protocol::phase::{CounterAdd, CounterShown, RowRead, RowWrite, Transition, Work};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a page of the repository")
}

fn row_read(read: RowRead) -> &'static str {
    match read {
        RowRead::Old => "old",
        RowRead::NewElseOld => "new, else old",
        RowRead::NewElseOldAndSave => "new, else old, saved in the new one",
        RowRead::New => "new",
        RowRead::Refused => "refused",
    }
}

fn row_write(write: RowWrite) -> &'static str {
    match write {
        RowWrite::Old => "old",
        RowWrite::NewIfThereElseOld => "new if the key is there, else old",
        RowWrite::NewOverOld => "new, over what the old one has",
        RowWrite::NewWithTombstones => "new; a delete leaves a tombstone",
        RowWrite::New => "new; a delete deletes",
        RowWrite::Refused => "refused",
    }
}

fn counter_add(add: CounterAdd) -> &'static str {
    match add {
        CounterAdd::Old => "old",
        CounterAdd::New => "new",
        CounterAdd::NewUnmarked => "new, unmarked",
        CounterAdd::Refused => "refused",
    }
}

fn counter_shown(shown: CounterShown) -> &'static str {
    match shown {
        CounterShown::Old => "old",
        CounterShown::OldAndNew => "old + (c - w)",
        CounterShown::New => "c",
        CounterShown::Refused => "refused",
    }
}

fn work(phase: Phase) -> String {
    let words = [
        (Work::Copy, "copy"),
        (Work::Repair, "repair"),
        (Work::Verify, "verify"),
        (Work::Fold, "fold"),
        (Work::Settle, "settle"),
        (Work::Purge, "purge"),
        (Work::DropOld, "drop the old table"),
    ];
    let allowed = words.iter().filter(|(work, _)| phase.allows(*work));
    let allowed: Vec<&str> = allowed.map(|(_, word)| *word).collect();
    allowed.join(", ")
}

/// Where steps of these kinds lead.
fn moves(phase: Phase, ways: &[(Transition, &str)]) -> String {
    let step = |to: &Phase| {
        let way = phase.transition_to(*to)?;
        let (_, suffix) = ways.iter().find(|(kind, _)| *kind == way)?;
        Some(format!("`{to}`{suffix}"))
    };
    let steps: Vec<String> = Phase::ALL.iter().filter_map(step).collect();
    steps.join(", ")
}

/// A phase's line of the table, as the pages have it.
fn line(phase: Phase) -> String {
    let cells = [
        format!("`{phase}`"),
        row_read(phase.row_read()).into(),
        row_write(phase.row_write()).into(),
        counter_add(phase.counter_add()).into(),
        counter_shown(phase.counter_shown()).into(),
        work(phase),
        moves(
            phase,
            &[(Transition::Forward, ""), (Transition::Offline, "")],
        ),
        moves(
            phase,
            &[
                (
                    Transition::Back,
                    match phase {
                        Phase::Bridge => ", while the target holds nothing",
                        Phase::Old
                        | Phase::Switch
                        | Phase::Copy
                        | Phase::New
                        | Phase::Done
                        | Phase::Offline => "",
                    },
                ),
                (Transition::Reset, ", by a reset"),
            ],
        ),
    ];
    let mut line = String::from("|");
    for cell in cells {
        line.push_str(&match cell.as_str() {
            "" => " |".to_owned(),
            cell => format!(" {cell} |"),
        });
    }
    line
}

#[test]
fn the_table_of_phases_is_the_codes() {
    for path in ["docs/phases.md", "src/protocol/phase.rs"] {
        let text = page(path);
        for phase in Phase::ALL {
            let line = line(phase);
            assert!(text.contains(&line), "{path} lacks the line\n{line}");
        }
    }
}

/// The pages of the repository, with their paths from its root.
fn pages() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs", "tests", "clients", "packaging", "examples"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else {
            continue;
        };
        for entry in entries {
            let name = entry.expect("an entry").file_name();
            let path = Path::new(folder).join(name);
            if path.extension().is_some_and(|ending| ending == "md") {
                let text = fs::read_to_string(root().join(&path)).expect("a page");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 10, "pages are missing: {found:?}");
    found
}

/// A heading's anchor, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    });
    kept.collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    let mut fenced = false;
    text.lines().any(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#') && anchor(line) == wanted
    })
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for (path, text) in pages() {
        for (_, rest) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let Some(link) = rest.split(')').next() else {
                continue;
            };
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&path),
                file => root().join(path.parent().expect("a folder")).join(file),
            };
            let leads = match heading {
                "" => target.exists(),
                heading => fs::read_to_string(&target).is_ok_and(|text| has_anchor(&text, heading)),
            };
            if !leads {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
    assert!(count > 50, "only {count} links were found");
}

/// What an operator or the author of an application has to know is told in words.
#[test]
fn pages_for_users_send_nobody_into_the_sources() {
    let for_developers = ["CONTRIBUTING.md", "docs/ARCHITECTURE.md", "tests/README.md"];
    let mut found = Vec::new();
    for (path, text) in pages() {
        if for_developers.iter().any(|page| path == Path::new(page)) {
            continue;
        }
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("src/") && !link.contains("://") {
                found.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The files that the developers' pages name.
#[test]
fn what_the_architecture_names_is_there() {
    let mut missing = Vec::new();
    let mut count = 0;
    for path in ["docs/ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for line in page(path).lines() {
            let mut last: Option<PathBuf> = None;
            for word in line.split('`').skip(1).step_by(2) {
                let is_file = word.contains('/') || word.ends_with(".rs");
                if !is_file || word.contains([' ', '*', ':', '<']) {
                    continue;
                }
                // From the root, from `src`, or beside what was named before it.
                let beside = match &last {
                    Some(last) if last.is_file() => last.parent().map(Path::to_owned),
                    last => last.clone(),
                };
                let places = [Some(root()), Some(root().join("src")), beside];
                let mut files = places.into_iter().flatten().map(|place| place.join(word));
                last = files.find(|file| file.exists());
                count += 1;
                if last.is_none() {
                    missing.push(format!("{path}: {word}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(count > 50, "only {count} files were found");
}

#[test]
fn the_front_page_stays_short() {
    let lines = page("README.md").lines().count();
    assert!(lines <= 180, "README.md has {lines} lines");
}
