//! What operators want of the pace of a table's tools, and what each tool makes of it.
//!
//! Two kinds of items, under the target's name: `pace` is what operators want, changed by compare-and-set, so that no two
//! of them undo each other's word; `pacing <id>` is what one process does, written by that process alone, each time it
//! renews. It is there while the process works.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Control, key};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::model::{Condition, Value};

pub(super) const PACE: &str = "pace";
pub(super) const PACING: &str = "pacing ";
/// How often a change is tried while others change it too.
const TRIES: usize = 20;

/// What operators want of a table's tools, all of them together; what is left open is as the plan says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceWish {
    /// The most write units of the new store in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_units: Option<u32>,
    /// The most rows read in a second, of either store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_rows: Option<u32>,
    /// Nothing is read or written until an operator says so.
    #[serde(default)]
    pub paused: bool,
    /// Who said so last: machine and process, for people.
    #[serde(default)]
    pub by: String,
    /// When, by that machine's clock: seconds since 1970.
    #[serde(default)]
    pub at: i64,
}

/// What one process of the tools does at the moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaceReport {
    /// `copy`, `verify`, `finish`, `failures --retry`.
    pub command: String,
    /// Machine and process, for people.
    pub name: String,
    /// Whether it reads the old store, and whether it writes to the new one: who shares which ceiling.
    pub reads_old: bool,
    /// See there.
    pub writes: bool,
    /// Grows while it runs.
    pub heartbeat: u64,
    /// When this was noted by its own machine's clock, seconds since 1970: for people.
    pub noted_at: i64,
    /// The most units that it writes in a second now; none = as many as the new store takes.
    pub write_units: Option<f64>,
    /// The most rows that it reads of the old store in a second now.
    pub read_rows: Option<f64>,
    /// Units that it wrote in the last second.
    pub units: f64,
    /// Rows that it read in the last second, of either store.
    pub rows: f64,
    /// Why it isn't more; none where nothing holds it back.
    pub reason: Option<String>,
}

impl Control {
    /// What operators want of a table's pace; `None` if none has said anything.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`].
    pub async fn pace_wish(&self, target: &str) -> Result<Option<PaceWish>> {
        let item = self.item(target, PACE).await?;
        Ok(item.map(|(wish, _)| wish))
    }

    /// Changes what operators want, whoever else does so at the same time. Gives what holds from then on.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`]; [`Kind::Mismatch`] if others change it again and again.
    pub async fn change_pace_wish(
        &self,
        target: &str,
        change: impl Fn(&mut PaceWish),
    ) -> Result<PaceWish> {
        for _ in 0..TRIES {
            let there = self.item::<PaceWish>(target, PACE).await?;
            let (mut wish, version, on) = match there {
                Some((wish, version)) => {
                    let on = Condition::equals(super::VERSION, Value::BigInt(version));
                    (wish, version, on)
                }
                None => (PaceWish::default(), 0, Condition::absent()),
            };
            change(&mut wish);
            if self.swap(target, PACE, &wish, version + 1, &on).await? {
                return Ok(wish);
            }
        }
        Err(Error::new(
            Kind::Mismatch,
            "others changed the pace at the same time, again and again",
        )
        .with_context("target", target)
        .with_help("look at `migrate pace --show`, then say it again"))
    }

    /// Writes what a process does. Only that process writes it.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_pace(&self, target: &str, id: &str, report: &PaceReport) -> Result<()> {
        let row = self.row(target, &format!("{PACING}{id}"), report, 0)?;
        self.write(vec![row]).await
    }

    /// What every process of a table's tools does, by id. One that was killed stays until another has seen that it is
    /// silent.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`].
    pub async fn pace_reports(&self, target: &str) -> Result<Vec<(String, PaceReport)>> {
        self.list(target, PACING).await
    }

    /// Takes away what a process did.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_pace(&self, target: &str, id: &str) -> Result<()> {
        self.purge(vec![key(target, &format!("{PACING}{id}"))])
            .await
    }
}

/// Which processes of a table's tools are at work, by this process's own clock: one whose report stays as it is for a
/// lease has ended, and another machine's clock isn't asked.
#[derive(Debug)]
pub struct PaceSharers {
    clock: Clock,
    lease: Duration,
    seen: BTreeMap<String, (u64, Duration)>,
}

impl PaceSharers {
    /// Nobody has been seen yet.
    pub fn new(clock: Clock, lease: Duration) -> Self {
        PaceSharers {
            clock,
            lease,
            seen: BTreeMap::new(),
        }
    }

    /// The ids of those of these that aren't at work any more.
    pub fn silent<'a>(&mut self, reports: &'a [(String, PaceReport)]) -> Vec<&'a str> {
        let now = self.clock.now();
        let mut silent = Vec::new();
        self.seen
            .retain(|id, _| reports.iter().any(|(there, _)| there == id));
        for (id, report) in reports {
            let beat = report.heartbeat;
            let seen = self.seen.entry(id.clone()).or_insert((beat, now));
            if seen.0 != beat {
                *seen = (beat, now);
            }
            if now.saturating_sub(seen.1) > self.lease {
                silent.push(id.as_str());
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::control::New;
    use crate::store::memory::Memory;

    fn report(heartbeat: u64) -> PaceReport {
        PaceReport {
            command: "copy".into(),
            name: "a machine".into(),
            reads_old: true,
            writes: true,
            heartbeat,
            noted_at: 0,
            write_units: None,
            read_rows: None,
            units: 0.0,
            rows: 0.0,
            reason: None,
        }
    }

    #[tokio::test]
    async fn operators_dont_undo_each_others_words() {
        let control = Control::new(New::over(Arc::new(Memory::new())), "control");
        control.create().await.unwrap();
        let say = |units, rows, paused| {
            control.change_pace_wish("t", move |wish: &mut PaceWish| {
                wish.write_units = wish.write_units.or(units);
                wish.read_rows = wish.read_rows.or(rows);
                wish.paused |= paused;
            })
        };
        let said = tokio::join!(
            say(Some(1), None, false),
            say(None, Some(2), false),
            say(None, None, true)
        );
        said.0.unwrap();
        said.1.unwrap();
        said.2.unwrap();
        let wish = control.pace_wish("t").await.unwrap().unwrap();
        let all = (wish.write_units, wish.read_rows, wish.paused);
        assert_eq!(all, (Some(1), Some(2), true));
        assert_eq!(control.pace_wish("other").await.unwrap(), None);
    }

    #[test]
    fn one_that_stays_silent_for_a_lease_shares_nothing_any_more() {
        let time = Arc::new(AtomicU64::new(0));
        let mut sharers = PaceSharers::new(Clock::Counted(time.clone()), Duration::from_secs(10));
        let mut at = |seconds: u64, one: u64, other: u64| {
            time.store(seconds * 1_000, Ordering::SeqCst);
            let reports = [
                ("a".to_owned(), report(one)),
                ("b".to_owned(), report(other)),
            ];
            let silent = sharers.silent(&reports).into_iter();
            silent.map(str::to_owned).collect::<Vec<String>>()
        };
        assert!(at(0, 1, 7).is_empty());
        assert!(at(9, 2, 7).is_empty());
        assert_eq!(at(11, 3, 7), ["b"]);
        // It was only suspended.
        assert!(at(12, 4, 8).is_empty());
    }
}
