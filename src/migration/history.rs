//! What a command did second by second, in a small file beside the journal.
//!
//! The file is `<journal>/<table>.<command>.history`, with a shard `<table>.<i>-of-<n>.<command>.history`; words of the
//! command are joined with `-`. It holds a JSON object in each line, one for each second in which anything happened, in
//! the order in which it happened:
//!
//! ```text
//! {"at":1796000000,"old_rows":4200,"new_rows":0,"units":4180.5,"old_throttled":0,"new_throttled":12,"hot":0,"old_failed":0,"new_failed":0,"old_slowest_ms":31.5,"new_slowest_ms":0.0,"old_reads":{"26":3,"34":1},"new_writes":{"22":168},"most_units":4100.0,"most_old_rows":null,"reason":"throttled by the new store"}
//! ```
//!
//! | field | |
//! |---|---|
//! | `at` | the second, since 1970, by that machine's clock |
//! | `old_rows`, `new_rows` | rows read in it, of the old store and of the new one |
//! | `units` | write units of the new store |
//! | `old_throttled`, `new_throttled` | rows, and reads, that the store asked to send later |
//! | `hot` | those of them that were for hot partitions of the new store |
//! | `old_failed`, `new_failed` | reads that timed out, or found too few replicas or no server |
//! | `old_slowest_ms`, `new_slowest_ms` | how long the slowest read took that ended in it |
//! | `old_reads`, `new_reads`, `new_writes` | how many reads that went well and writes that ended in it took how long, each attempt by itself: `"26": 3` says that three took 0.1 ms times 2^(26/4) or less, and more than 2^(25/4); left out where there was none, and by versions before this |
//! | `most_units`, `most_old_rows` | the pace then, in a second; null = no limit |
//! | `reason` | why it wasn't faster; null = nothing held it back |
//!
//! Where it has grown to [`MOST_BYTES`] it becomes `….history.1` in place of the one before, and a new one begins. A line
//! that was cut off by a kill is passed over by [`read`]. Only its owner may read it (mode 0600).

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Paces;
use crate::layer::{PaceNow, PaceReason, PaceSecond, TookCounts};

/// The most that one of the two files holds: about four hours of work.
pub const MOST_BYTES: u64 = 4 << 20;

/// One second of a command's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistorySecond {
    /// Seconds since 1970.
    pub at: i64,
    /// Rows read of the old store.
    pub old_rows: u64,
    /// Rows read of the new store.
    pub new_rows: u64,
    /// Units written to the new store.
    pub units: f64,
    /// What the old store asked to send later.
    pub old_throttled: u64,
    /// What the new store asked to send later.
    pub new_throttled: u64,
    /// Those of them that were for hot partitions.
    pub hot: u64,
    /// Reads of the old store that failed.
    pub old_failed: u64,
    /// Reads of the new store that failed.
    pub new_failed: u64,
    /// The slowest read of the old store, milliseconds.
    pub old_slowest_ms: f64,
    /// The slowest read of the new store, milliseconds.
    pub new_slowest_ms: f64,
    /// How long reads of the old store took.
    #[serde(skip_serializing_if = "TookCounts::is_empty")]
    pub old_reads: TookCounts,
    /// How long reads of the new store took.
    #[serde(skip_serializing_if = "TookCounts::is_empty")]
    pub new_reads: TookCounts,
    /// How long writes to the new store took.
    #[serde(skip_serializing_if = "TookCounts::is_empty")]
    pub new_writes: TookCounts,
    /// The most units in a second.
    pub most_units: Option<f64>,
    /// The most rows of the old store in a second.
    pub most_old_rows: Option<f64>,
    /// Why it wasn't faster.
    pub reason: Option<String>,
}

impl Paces {
    /// The whole seconds after this one in which anything happened, at the pace as it is now; if the work is over the
    /// last one too, which isn't whole.
    pub fn seconds(&self, after: i64, is_over: bool) -> Vec<HistorySecond> {
        let mut seconds: BTreeMap<i64, HistorySecond> = BTreeMap::new();
        for one in self.old.seconds(after, is_over) {
            let second = seconds.entry(one.at).or_default();
            second.old_rows = one.rows;
            second.old_throttled = one.throttled;
            second.old_failed = one.failed;
            second.old_slowest_ms = millis(&one);
            second.old_reads = one.reads;
        }
        for one in self.new.seconds(after, is_over) {
            let second = seconds.entry(one.at).or_default();
            second.new_rows = one.rows;
            second.units = (one.units * 10.0).round() / 10.0;
            second.new_throttled = one.throttled;
            second.hot = one.hot;
            second.new_failed = one.failed;
            second.new_slowest_ms = millis(&one);
            second.new_reads = one.reads;
            second.new_writes = one.writes;
        }
        let (old, new) = (self.old.now(), self.new.now());
        let reason = reason(&old, &new).map(|reason| reason.to_string());
        let as_now = |(at, second)| HistorySecond {
            at,
            most_units: new.write_units.map(f64::round),
            most_old_rows: old.read_rows.map(f64::round),
            reason: reason.clone(),
            ..second
        };
        seconds.into_iter().map(as_now).collect()
    }
}

/// Why the paces of both stores are what they are: what a store says before a ceiling, the old store before the new one.
pub(super) fn reason(old: &PaceNow, new: &PaceNow) -> Option<PaceReason> {
    let both = [old.reason, new.reason];
    let told = |is_ceiling: bool| {
        let mut told = both.into_iter().flatten();
        told.find(|reason| (*reason == PaceReason::Ceiling) == is_ceiling)
    };
    told(false).or_else(|| told(true))
}

fn millis(second: &PaceSecond) -> f64 {
    (second.slowest.as_secs_f64() * 1e4).round() / 10.0
}

/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);

/// The file of a command's history.
pub(super) struct HistoryFile {
    path: PathBuf,
    /// The last second that is written.
    written: i64,
    /// It has been said that it can't be written.
    is_told: bool,
}

impl HistoryFile {
    /// `name` is the journal folder's: the table, and which shard.
    pub(super) fn new(journal: &Path, name: &str, command: &str) -> Self {
        let command = command.replace(" --", "-");
        HistoryFile {
            path: journal.join(format!("{name}.{command}.history")),
            written: 0,
            is_told: false,
        }
    }

    /// Writes for ever. What can't be written is passed over: the work goes on without it.
    pub(super) async fn keep(&mut self, paces: &Paces) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.note(paces, false);
        }
    }

    /// Writes what isn't yet.
    pub(super) fn note(&mut self, paces: &Paces, is_over: bool) {
        let seconds = paces.seconds(self.written, is_over);
        let Some(last) = seconds.last() else { return };
        self.written = last.at;
        if let Err(error) = self.append(&seconds)
            && !std::mem::replace(&mut self.is_told, true)
        {
            let path = self.path.display();
            tracing::warn!("{path} can't be written, and the work goes on without it: {error}");
        }
    }

    fn append(&self, seconds: &[HistorySecond]) -> std::io::Result<()> {
        let mut text = String::new();
        for second in seconds {
            text.push_str(&serde_json::to_string(second)?);
            text.push('\n');
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let there = fs::metadata(&self.path).map_or(0, |there| there.len());
        if there > MOST_BYTES {
            fs::rename(&self.path, older(&self.path))?;
        }
        let mut file = OpenOptions::new();
        let mut file = file
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        if self.is_cut_off() {
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())
    }

    /// Whether the last line was cut off by a kill.
    fn is_cut_off(&self) -> bool {
        use std::io::{Read, Seek, SeekFrom};
        let last = || -> std::io::Result<u8> {
            let mut file = fs::File::open(&self.path)?;
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            Ok(last[0])
        };
        last().is_ok_and(|last| last != b'\n')
    }
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// All there is of a table in a plan's journal folder: what each command and shard did, by the name of its file without
/// the ending, in the order of the seconds.
///
/// # Errors
/// Those of the disk; a folder that isn't there holds nothing.
pub fn read(journal: &Path, table: &str) -> std::io::Result<BTreeMap<String, Vec<HistorySecond>>> {
    let mut all = BTreeMap::new();
    let folder = match fs::read_dir(journal) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        folder => folder?,
    };
    for entry in folder {
        let name = entry?.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".history")) else {
            continue;
        };
        if !name
            .strip_prefix(table)
            .is_some_and(|rest| rest.starts_with('.'))
        {
            continue;
        }
        let path = journal.join(format!("{name}.history"));
        let mut seconds = Vec::new();
        for path in [older(&path), path] {
            match fs::read(&path) {
                Ok(text) => seconds.extend(lines(&String::from_utf8_lossy(&text))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        all.insert(name.to_owned(), seconds);
    }
    Ok(all)
}

fn lines(text: &str) -> impl Iterator<Item = HistorySecond> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn second(at: i64) -> HistorySecond {
        HistorySecond {
            at,
            old_rows: 7,
            ..HistorySecond::default()
        }
    }

    #[test]
    fn what_was_written_is_read_but_for_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(folder.path(), "users.0-of-2", "verify --repair");
        file.append(&[second(1), second(2)]).unwrap();
        let path = folder.path().join("users.0-of-2.verify-repair.history");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut text = fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 10);
        fs::write(&path, text).unwrap();
        file.append(&[second(3)]).unwrap();
        let other = HistoryFile::new(folder.path(), "users2", "copy");
        other.append(&[second(9)]).unwrap();
        let all = read(folder.path(), "users").unwrap();
        let expected = vec![second(1), second(3)];
        assert_eq!(
            all,
            BTreeMap::from([("users.0-of-2.verify-repair".to_owned(), expected)])
        );
        assert!(
            read(&folder.path().join("none"), "users")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn lines_of_earlier_versions_are_read() {
        let line = r#"{"at":5,"old_rows":7,"units":1.5,"old_slowest_ms":2.0,"later":1}"#;
        let read: Vec<HistorySecond> = lines(line).collect();
        let wanted = HistorySecond {
            units: 1.5,
            old_slowest_ms: 2.0,
            ..second(5)
        };
        assert_eq!(read, [wanted]);
        let mut told = second(5);
        told.new_writes.add(Duration::from_millis(4));
        let text = serde_json::to_string(&told).unwrap();
        assert!(text.contains(r#""new_writes":{"22":1}"#) && !text.contains("old_reads"));
        assert_eq!(lines(&text).collect::<Vec<_>>(), [told]);
    }

    #[test]
    fn it_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(folder.path(), "users", "copy");
        let many: Vec<HistorySecond> = (0..4_000).map(second).collect();
        for _ in 0..20 {
            file.append(&many).unwrap();
        }
        let sizes: Vec<u64> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size < MOST_BYTES + (2 << 20)));
    }
}
