//! The way out of `offline`.

use std::collections::BTreeMap;

use futures::stream::{FuturesUnordered, StreamExt};

use super::{Migration, SCAN_ROWS, WATCH_EVERY, beginning};
use crate::control::{Clock, Record, Waiting, Watch};
use crate::error::{Error, Kind, Result};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::{Mark, Row};
use crate::protocol::Phase;
use crate::schema::Table;
use crate::store::{Cursor, Guard, Put, Range, Store};

/// Parts of the target that are emptied at once.
const EMPTIED_AT_ONCE: usize = 8;

/// What a `reset` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Items deleted: those the copier wrote.
    pub emptied: u64,
    /// Items left, which somebody else wrote.
    pub left: u64,
}

impl Migration {
    /// Empties what the copier wrote, and sets the record back to `old`. Safe to repeat, and to kill.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if the table isn't offline, or a copy is running.
    pub async fn reset(&self) -> Result<Reset> {
        let there = self.control.require(&self.spec.to).await?;
        self.spec.same_plan(&there.record)?;
        if there.record.phase != Phase::Offline {
            return Err(Error::new(
                Kind::Mismatch,
                format!(
                    "the table is in phase `{}`, and `reset` leads out of `offline` only",
                    there.record.phase
                ),
            )
            .at("target", self.spec.to.as_str()));
        }
        self.nobody_copies(true).await?;
        let emptying = Record {
            emptying: true,
            ..there.record.clone()
        };
        if !there.record.emptying
            && !self
                .control
                .replace(&self.spec.to, &there, &emptying)
                .await?
        {
            return Err(self.overtaken());
        }
        // One that joined a moment ago reads now that it may not work.
        self.nobody_copies(false).await?;
        let reset = match self.target_is_gone().await? {
            true => Reset::default(),
            false => self.empty(&there.record).await?,
        };
        self.control.clear(&self.spec.to).await?;
        let now = self.control.require(&self.spec.to).await?;
        let back = Record {
            phase: Phase::Old,
            emptying: false,
            // Whatever a journal remembers of the emptied target is worth nothing from now on.
            begun: beginning(),
            ..now.record.clone()
        };
        if !self.control.replace(&self.spec.to, &now, &back).await? {
            return Err(self.overtaken());
        }
        Ok(reset)
    }

    async fn target_is_gone(&self) -> Result<bool> {
        Ok(self.inspect_target().await?.is_none())
    }

    /// Waits until whoever ended without a word is surely dead. One that lives is refused, or waited
    /// for.
    async fn nobody_copies(&self, refuse: bool) -> Result<()> {
        let mut watch = Watch::new(Clock::Machine);
        let heartbeats = |left: &[Waiting]| -> BTreeMap<String, u64> {
            let beat = |one: &Waiting| (one.id.clone(), one.participant.heartbeat);
            left.iter().map(beat).collect()
        };
        let mut left = watch.anybody(&self.control, &self.spec.to).await?;
        let first = heartbeats(&left);
        if !left.is_empty() {
            tracing::info!(
                "a copy of {} ended without a word; watching whether it still runs",
                self.spec.to
            );
        }
        while !left.is_empty() {
            for one in &left {
                if refuse && first.get(&one.id) != Some(&one.participant.heartbeat) {
                    return Err(self.running(&one.participant.name));
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
            left = watch.anybody(&self.control, &self.spec.to).await?;
        }
        Ok(())
    }

    fn running(&self, name: &str) -> Error {
        Error::new(Kind::Mismatch, format!("a copy is running: {name}"))
            .at("target", self.spec.to.as_str())
            .help("stop it first")
    }

    async fn empty(&self, record: &Record) -> Result<Reset> {
        let target = record.target.read()?;
        let new = Retry::new(self.new.0.clone(), Patience::default()).paced(&self.pace.new);
        let ranges = new.splits(&target, EMPTIED_AT_ONCE).await?;
        let mut emptying: FuturesUnordered<_> = ranges
            .iter()
            .map(|range| empty_range(&new, &target, range))
            .collect();
        let mut reset = Reset::default();
        while let Some(range) = emptying.next().await {
            let range = range?;
            reset.emptied += range.emptied;
            reset.left += range.left;
        }
        Ok(reset)
    }
}

async fn empty_range(new: &dyn Store, target: &Table, range: &Range) -> Result<Reset> {
    let mut reset = Reset::default();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = new.scan(target, range, cursor.as_ref(), SCAN_ROWS).await?;
        let page = page.readable()?;
        let copied = |row: &&Row| row.mark == Some(Mark::Copied);
        reset.left += page.rows.iter().filter(|row| !copied(row)).count() as u64;
        let keys = page
            .rows
            .iter()
            .filter(copied)
            .map(|row| row.key.clone())
            .collect();
        for answer in new
            .purge(target, keys, &Guard::Marked(Mark::Copied))
            .await
            .rows
        {
            match answer? {
                Put::Written => reset.emptied += 1,
                // Gone by an earlier try, or somebody wrote it meanwhile.
                Put::Refused => {}
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(reset);
        }
    }
}
