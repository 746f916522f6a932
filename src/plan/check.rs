//! Whether what was read fits together: names, targets and folders, each once.

use std::path::{Component, Path, PathBuf};

use super::names::{PlanFolder, cassandra_name};
use super::reader::{Source, Text};
use super::stores::{NewKind, NewSection, OldKind, OldSection};
use super::tables::ReadTable;
use super::targets::{self, NamedTarget, Word};

/// Names of tables in the new store, the control table's included, and no table twice.
pub(super) fn targets(source: &Source<'_>, new: Option<&NewSection>, tables: &[ReadTable]) {
    fn word(text: &Text) -> Word<'_> {
        Word {
            value: &text.value,
            shown: &text.shown,
            line: text.line,
        }
    }
    let named: Vec<NamedTarget<'_>> = tables
        .iter()
        .map(|table| NamedTarget {
            name: word(&table.name),
            to: word(&table.to),
        })
        .collect();
    // Nothing is called so: without [new] nothing is known of its control table.
    let nothing = Word {
        value: "",
        shown: "",
        line: 0,
    };
    let control = new.map_or(nothing, |new| word(&new.control_table));
    let is_dynamodb = new.is_some_and(|new| new.kind == Some(NewKind::DynamoDb));
    for fault in targets::faults(&named, control, is_dynamodb) {
        source.wrong(fault.line, fault.message, fault.hint);
    }
}

/// Names in the old store.
pub(super) fn old_names(source: &Source<'_>, old: &OldSection, tables: &[ReadTable]) {
    if old.kind == Some(OldKind::Cassandra) {
        for table in tables {
            cassandra_name(source, "table", &table.name);
        }
    }
}

/// Embedded stores and the journal each have a folder of their own.
pub(super) fn folders(source: &Source<'_>, folders: [Option<&PlanFolder>; 3]) {
    let folders: Vec<&PlanFolder> = folders.into_iter().flatten().collect();
    for (place, folder) in folders.iter().enumerate() {
        let place_of = absolute(&folder.path);
        let first = folders[..place]
            .iter()
            .find(|earlier| absolute(&earlier.path) == place_of);
        if let Some(first) = first {
            source.wrong(
                folder.line,
                format!("this folder is already that of line {}", first.line),
                "give each store, and the journal, a folder of its own",
            );
        }
    }
}

/// The path without `.` and `..`, links not followed: the folder may not be there yet.
fn absolute(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(part),
        }
    }
    clean
}
