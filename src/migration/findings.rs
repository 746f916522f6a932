//! What the last verification of a table found, with examples: a small file beside the journal.
//!
//! The control table holds whether a verification was clean. Its examples hold keys and values of rows, and stay on the
//! machine that compared them. The file is `<journal>/<table>.verified`, a JSON object that each verification replaces
//! as a whole. Only its owner may read it (mode 0600).

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::unix_seconds;
use crate::control::Record;
use crate::verifier::{Found, Mended, VerifyOutcome};

/// Examples that are kept.
const MOST_EXAMPLES: usize = 100;

/// What a verification found, and what it is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastVerification {
    /// The freeze it belongs to.
    pub freeze: u64,
    /// The record's incarnation that it belongs to.
    pub incarnation: String,
    /// The mapping it belongs to.
    pub mapping: String,
    /// The part of the old table that was looked at; 1 is all of it, in both directions.
    pub sample: f64,
    /// When it ended by its own clock, seconds since 1970.
    pub ended_at: i64,
    /// When the oldest part of the tables was read, by its own clock, seconds since 1970.
    pub oldest_at: i64,
    /// Seconds it took.
    pub seconds: f64,
    /// What was found, before anything was mended.
    pub found: Found,
    /// What was mended.
    pub mended: Option<Mended>,
}

impl LastVerification {
    pub(super) fn new(record: &Record, outcome: &VerifyOutcome, sample: f64) -> Self {
        let mut found = outcome.found.clone();
        found.examples.truncate(MOST_EXAMPLES);
        LastVerification {
            freeze: record.freeze,
            incarnation: record.incarnation.clone(),
            mapping: record.mapping.clone(),
            sample,
            ended_at: unix_seconds(),
            oldest_at: outcome.oldest_at,
            seconds: outcome.seconds,
            found,
            mended: outcome.mended,
        }
    }

    /// Whether it was found under this record, as it is now.
    pub fn is_of(&self, record: &Record) -> bool {
        self.freeze == record.freeze
            && self.incarnation == record.incarnation
            && self.mapping == record.mapping
    }
}

fn path(journal: &Path, table: &str) -> PathBuf {
    journal.join(format!("{table}.verified"))
}

/// Writes it in place of the one before. A verification that can't is worth as much without.
pub(super) fn keep(journal: &Path, table: &str, last: &LastVerification) {
    let path = path(journal, table);
    if let Err(error) = replace(&path, last) {
        tracing::warn!(
            "{} can't be written, so `migrate report` won't have the examples: {error}",
            path.display()
        );
    }
}

fn replace(path: &Path, last: &LastVerification) -> Result<()> {
    let text = serde_json::to_vec(last)?;
    let beside = path.with_extension("verified.new");
    // One that is left from before may be readable by others.
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600);
    file.open(&beside)?.write_all(&text)?;
    fs::rename(&beside, path)
}

/// What was found last from this folder; `None` if nothing was.
///
/// # Errors
/// Those of the disk; [`ErrorKind::InvalidData`] if it isn't such a file.
pub fn read(journal: &Path, table: &str) -> Result<Option<LastVerification>> {
    match fs::read(path(journal, table)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_last_one_is_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), "t").unwrap(), None);
        let mut last = LastVerification::default();
        last.found.missing = 3;
        last.found.old_total = i128::MAX;
        keep(folder.path(), "t", &last);
        last.mended = Some(Mended::default());
        keep(folder.path(), "t", &last);
        assert_eq!(read(folder.path(), "t").unwrap(), Some(last));
        let path = path(folder.path(), "t");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "{\"found\":").unwrap();
        let error = read(folder.path(), "t").unwrap_err();
        assert!(error.to_string().contains("EOF"), "{error}");
    }
}
