//! The way out of `offline`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};

use super::tool::under_lease;
use super::{Migration, SCAN_ROWS, WATCH_EVERY, beginning};
use crate::clock::{Clock, unix_seconds};
use crate::control::{Awaited, Late, Member, ParticipantKind, Record, Versioned, Watch};
use crate::error::{Error, Kind, Result};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::{Condition, Mark, Row};
use crate::protocol::Phase;
use crate::schema::Table;
use crate::store::{Cursor, Range, Reads, Store, WriteOutcome};
use crate::verifier::Adopted;

/// Parts of the target that are emptied at once.
const EMPTIED_AT_ONCE: usize = 8;

/// What a `reset` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Items deleted: those the copier wrote.
    pub emptied: u64,
    /// Items left, which someone else wrote, or which were there before.
    pub left: u64,
}

impl Migration {
    /// Empties what the copier wrote, and sets the record back to `old`. Safe to repeat, and to kill.
    ///
    /// It is a participant: one that was suspended writes nothing more once another command has gone on, and
    /// its last step replaces exactly the record that it began under.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if the table isn't offline, or a copy or another reset is running.
    pub async fn reset(&self, name: &str, lease: Duration) -> Result<Reset> {
        let there = self.control.require(&self.spec.to).await?;
        self.spec.same_plan(&there.record)?;
        self.refuse_unless_offline(&there.record)?;
        // From here on it waits for a store that goes away as a copy does.
        let patient = self.patiently();
        patient.alone(None).await?;
        let begun = match there.record.emptying {
            true => there,
            false => patient.mark_emptying(&there).await?,
        };
        let id = format!("reset-{:016x}", rand::random::<u64>());
        let member = self.join_reset(&id, name, lease, &begun.record).await?;
        under_lease(&member, patient.emptied(&begun, &member)).await
    }

    /// Notes that the target is being emptied, so that no copier joins.
    async fn mark_emptying(&self, there: &Versioned) -> Result<Versioned> {
        let emptying = Record {
            emptying: true,
            ..there.record.clone()
        };
        if !self
            .control
            .replace(&self.spec.to, there, &emptying)
            .await?
        {
            return Err(self.overtaken());
        }
        let now = self.control.require(&self.spec.to).await?;
        match now.record == emptying {
            true => Ok(now),
            false => Err(self.overtaken()),
        }
    }

    async fn emptied(&self, begun: &Versioned, member: &Arc<Member>) -> Result<Reset> {
        // One that joined a moment ago reads now that it may not work.
        self.alone(Some(member.id())).await?;
        let reset = match self.target_is_gone().await? {
            true => Reset::default(),
            false => self.empty(&begun.record, member).await?,
        };
        self.control.clear(&self.spec.to).await?;
        let back = Record {
            phase: Phase::Old,
            emptying: false,
            // Whatever a journal remembers of the emptied target is worth nothing from now on.
            incarnation: beginning(),
            moves: begun.record.moves_and(Phase::Old, unix_seconds()),
            ..begun.record.clone()
        };
        match self.control.replace(&self.spec.to, begun, &back).await? {
            true => Ok(reset),
            false => Err(self.overtaken()),
        }
    }

    async fn join_reset(
        &self,
        id: &str,
        name: &str,
        lease: Duration,
        begun: &Record,
    ) -> Result<Arc<Member>> {
        let role = self.role(id, ParticipantKind::Reset, name, lease);
        let (begun, target) = (begun.clone(), self.spec.to.clone());
        let accept = move |now: &Record| {
            match *now == begun {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Mismatch,
                "the control record was changed while this reset ran: another one, or another command, has \
                 gone on",
            )
            .with_context("target", target.as_str())
            .with_context("now in", now.phase.name())
            .with_help("see `migrate status`")),
        }
        };
        // It has marked the record, so that nothing else goes on before it has.
        let (leases, target, patience) = (self.leases.clone(), &self.spec.to, Patience::default());
        Member::join_patiently(leases, target, role, Box::new(accept), patience).await
    }

    async fn target_is_gone(&self) -> Result<bool> {
        Ok(self.inspect_target().await?.is_none())
    }

    /// Waits until every participant that ended without a word is surely dead. A living one is refused, but for one that
    /// has joined after this reset: it reads that it may not work, or that this reset comes first.
    async fn alone(&self, own: Option<&str>) -> Result<()> {
        // What a copy has sent that was killed would land in the table that is `old` again; what another reset
        // has sent, among the rows of the next copy.
        let late = match own {
            Some(_) => Late::Waited,
            None => Late::Let,
        };
        let mut watch = Watch::new(Clock::Machine);
        let mut first: Option<BTreeMap<String, u64>> = None;
        loop {
            let mut left = watch.remaining(&self.control, &self.spec.to, late).await?;
            left.retain(|one| Some(one.id.as_str()) != own);
            if left.is_empty() {
                return Ok(());
            }
            let beats = left
                .iter()
                .map(|one| (one.id.clone(), one.participant.heartbeat));
            let seen = first.get_or_insert_with(|| {
                tracing::info!(
                    "a command for {} ended without a word; watching whether it still runs",
                    self.spec.to
                );
                beats.collect()
            });
            for one in &left {
                let lives = seen.get(&one.id) != Some(&one.participant.heartbeat);
                let goes_first = match own {
                    None => true,
                    // Of two resets that joined at once, one has to give way.
                    Some(own) => {
                        one.participant.kind == ParticipantKind::Reset && one.id.as_str() < own
                    }
                };
                if lives && goes_first {
                    return Err(self.running(one));
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    fn running(&self, one: &Awaited) -> Error {
        let what = match one.participant.kind {
            ParticipantKind::Reset => "another reset",
            ParticipantKind::Shim => "an application",
            ParticipantKind::Copier => "a copy",
            ParticipantKind::Repair | ParticipantKind::Retry | ParticipantKind::Purge => {
                "another command"
            }
        };
        let message = format!("{what} is running: {}", one.participant.name);
        Error::new(Kind::Mismatch, message)
            .with_context("target", self.spec.to.as_str())
            .with_help("stop it first")
    }

    async fn empty(&self, record: &Record, member: &Arc<Member>) -> Result<Reset> {
        let target = record.target.read()?;
        let leased = Arc::new(member.writer(&self.new));
        let new = Retry::new(leased, Patience::default()).paced(&self.pace.new);
        let adopted = self.adopted(record).await?;
        let ranges = new.splits(&target, EMPTIED_AT_ONCE).await?;
        let mut emptying: FuturesUnordered<_> = ranges
            .iter()
            .map(|range| empty_range(&new, &target, range, &adopted))
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

/// An item that this version can't read, and so can't find either: of the former sort keys, say.
pub(super) fn unreadable(error: Error) -> Error {
    error.with_help(
        "a table that is clustered by tuples, user-defined types, collections or vectors, and was copied by version \
         0.1.0, has sort keys that this version doesn't read. Such a target can't be emptied item by item: delete \
         the table (its deletion protection has to be switched off first) and run `migrate reset` again, or name \
         another table in `to`",
    )
}

async fn empty_range(
    new: &dyn Store,
    target: &Table,
    range: &Range,
    adopted: &Adopted,
) -> Result<Reset> {
    let mut reset = Reset::default();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = new.scan(target, range, cursor.as_ref(), SCAN_ROWS).await?;
        let page = page.readable_but_for_strangers().map_err(unreadable)?;
        reset.left += page.unreadable.len() as u64;
        // An adopted counter counted before anything was folded into it, and folds go on from its watermark.
        let copied = |row: &&Row| row.mark == Some(Mark::Copied) && !adopted.has_item(target, row);
        reset.left += page.rows.iter().filter(|row| !copied(row)).count() as u64;
        let keys = page
            .rows
            .iter()
            .filter(copied)
            .map(|row| row.key.clone())
            .collect();
        for answer in new
            .purge(target, keys, &Condition::Marked(Mark::Copied))
            .await
            .rows
        {
            match answer? {
                WriteOutcome::Written => reset.emptied += 1,
                // Gone by an earlier try, or an application wrote it meanwhile.
                WriteOutcome::Refused => {}
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(reset);
        }
    }
}
