//! Whether what was read fits together: names, targets and folders, each once.

use std::path::{Component, Path, PathBuf};

use super::names::{PlanFolder, cassandra_name, plain};
use super::reader::Source;
use super::stores::{NewKind, NewSection, OldKind, OldSection};
use super::tables::ReadTable;

/// No table twice, and no two tables to one target.
pub(super) fn unique(source: &Source<'_>, tables: &[ReadTable]) {
    for (place, table) in tables.iter().enumerate() {
        let earlier = &tables[..place];
        if let Some(first) = earlier.iter().find(|t| t.plan.name == table.plan.name) {
            source.wrong(
                table.name.line,
                format!(
                    "table `{}` is listed twice, first on line {}",
                    table.name.shown, first.name.line
                ),
                "leave one of them out",
            );
        } else if let Some(first) = earlier.iter().find(|t| t.plan.to == table.plan.to) {
            source.wrong(
                table.to.line,
                format!(
                    "two tables move to `{}`, first in line {}",
                    table.to.shown, first.to.line
                ),
                "give each a target of its own with to = \"…\"",
            );
        }
    }
}

/// Names in the new store, the control table's included.
pub(super) fn targets(source: &Source<'_>, new: &NewSection, tables: &[ReadTable]) {
    let control = &new.control_table;
    if new.kind == Some(NewKind::DynamoDb) {
        let names = tables
            .iter()
            .map(|table| (&table.to, table.plan.to == table.plan.name));
        for (name, is_old) in names.chain([(control, false)]) {
            if !(3..=255).contains(&name.value.len()) || !name.value.chars().all(plain) {
                source.wrong(
                    name.line,
                    format!("`{}` can't be the name of a table in DynamoDB", name.shown),
                    match is_old {
                        true => "write to = \"…\", 3 to 255 of A-Z a-z 0-9 _ . -",
                        false => "write 3 to 255 of A-Z a-z 0-9 _ . -",
                    },
                );
            }
        }
    }
    for table in tables.iter().filter(|t| t.plan.to == control.value) {
        source.wrong(
            table.to.line,
            format!("`{}` is the control table", table.to.shown),
            "write another to, or another control_table in [new]",
        );
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
