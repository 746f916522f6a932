//! The fence: while the old table is frozen, the database itself lets the application's role write nothing
//! there.
//!
//! It is closed in `switch`, before the record says `copy`: no participant writes to the old table
//! then, and a client that doesn't take part is stopped before a row is copied. It is opened in `switch` again, after the
//! record has left `copy`: so whatever is killed, a table in `copy` is never without it. The role is noted in
//! the record before its permission is taken, and stays there until it was given back.

use super::Migration;
use super::moves::{Event, MoveOptions, Observer, OpenOld, Refusal};
use crate::control::{Control, Record, Versioned};
use crate::error::{Error, Kind, Result};
use crate::store::{Old, WriteAccess};

impl Migration {
    /// What argues against closing the fence that the plan wants.
    pub(super) async fn may_close(&self, open_old: OpenOld<'_>) -> Result<Vec<Refusal>> {
        let Some(role) = &self.spec.fence else {
            return Ok(Vec::new());
        };
        let old = self.old_with_roles(open_old).await?;
        let writing = old.0.write_access(&self.spec.name, role).await;
        old.0.close().await;
        let against = writing?.against.into_iter();
        let refusals = against.map(|finding| Refusal {
            what: finding.message,
            help: finding.advice,
        });
        Ok(refusals.collect())
    }

    /// What argues against opening a fence that is closed: a store that can't be asked would leave the
    /// table in `switch`, from which the way on leads through the old store too.
    pub(super) async fn may_open(
        &self,
        record: &Record,
        open_old: OpenOld<'_>,
    ) -> Result<Vec<Refusal>> {
        if record.fenced.is_empty() {
            return Ok(Vec::new());
        }
        match open_old().await {
            Ok(old) => {
                old.0.close().await;
                Ok(Vec::new())
            }
            Err(error) => Ok(vec![Refusal {
                what: format!(
                    "{} has to get its permission to write back, and the old store can't be asked: {error}",
                    names(record)
                ),
                help: "start it first; or go on to `new`, for which the old store isn't needed"
                    .into(),
            }]),
        }
    }

    /// Takes the role's permission, waits until no server goes by it any more, and looks whether it is
    /// gone. `None` if the record was changed by someone else meanwhile.
    pub(super) async fn close_fence(
        &self,
        control: &Control,
        there: &Versioned,
        options: &MoveOptions<'_>,
        tell: Observer<'_>,
    ) -> Result<Option<Versioned>> {
        let Some(role) = &self.spec.fence else {
            return Ok(Some(there.clone()));
        };
        let old = self.old_with_roles(options.open_old).await?;
        let closed = self.close(control, there, &old, role, tell).await;
        old.0.close().await;
        closed
    }

    async fn close(
        &self,
        control: &Control,
        there: &Versioned,
        old: &Old,
        role: &str,
        tell: Observer<'_>,
    ) -> Result<Option<Versioned>> {
        let table = &self.spec.name;
        let writing = self.closable(old, role).await?;
        let mut noted = there.clone();
        if writing.own && !there.record.fenced.contains(role) {
            let mut record = there.record.clone();
            record.fenced.insert(role.to_owned());
            match self.noted(control, there, &record).await? {
                Some(next) => noted = next,
                None => return Ok(None),
            }
        }
        if writing.own {
            old.0.revoke(table, role).await?;
        }
        // Also where it was gone already: it may have been taken just now, by one that was killed.
        let settles = writing.settles;
        tell(Event::Fencing { role, settles });
        tokio::time::sleep(settles).await;
        if self.closable(old, role).await?.own {
            return Err(Error::new(
                Kind::Mismatch,
                "the write permission that was revoked just now has been granted again",
            )
            .with_context("table", table.as_str())
            .with_context("role", role)
            .with_help("find out who did, then run the command again"));
        }
        Ok(Some(noted))
    }

    /// What lets the role write, if it can be taken.
    async fn closable(&self, old: &Old, role: &str) -> Result<WriteAccess> {
        let writing = old.0.write_access(&self.spec.name, role).await?;
        if writing.against.is_empty() {
            return Ok(writing);
        }
        let lines = writing.against.iter();
        let lines = lines.map(|finding| format!("  {}; {}", finding.message, finding.advice));
        let error = Error::new(Kind::Mismatch, "the permission to write can't be taken:")
            .with_context("table", self.spec.name.as_str())
            .with_context("role", role);
        Err(lines.fold(error, Error::with_line))
    }

    /// Gives every role back what was taken from it, and only that.
    pub(super) async fn open_fence(
        &self,
        control: &Control,
        there: &Versioned,
        options: &MoveOptions<'_>,
        tell: Observer<'_>,
    ) -> Result<()> {
        let old = self.old_with_roles(options.open_old).await?;
        let opened = self.open(control, there, &old, tell).await;
        old.0.close().await;
        opened
    }

    async fn open(
        &self,
        control: &Control,
        there: &Versioned,
        old: &Old,
        tell: Observer<'_>,
    ) -> Result<()> {
        // Only its version changes: an `advance` that closes the fence at this moment finds that it can't
        // go on to `copy`, and begins again.
        let Some(seen) = self.noted(control, there, &there.record).await? else {
            return Ok(());
        };
        for role in &seen.record.fenced {
            let given = old.0.grant(&self.spec.name, role).await;
            given.map_err(|error| error.with_context("not given back to", role.as_str()))?;
            tell(Event::Unfenced { role });
        }
        let mut record = seen.record.clone();
        record.fenced.clear();
        match control.replace(&self.spec.to, &seen, &record).await? {
            true => Ok(()),
            false => Err(self
                .overtaken()
                .with_context("given back", names(&seen.record))),
        }
    }

    /// The record as it is written now; `None` if someone else was quicker.
    async fn noted(
        &self,
        control: &Control,
        there: &Versioned,
        record: &Record,
    ) -> Result<Option<Versioned>> {
        if !control.replace(&self.spec.to, there, record).await? {
            return Ok(None);
        }
        let noted = control.require(&self.spec.to).await?;
        Ok((noted.record == *record).then_some(noted))
    }

    async fn old_with_roles(&self, open_old: OpenOld<'_>) -> Result<Old> {
        let old = open_old().await;
        old.map_err(|error| {
            error.with_context("needed for", format!("the fence of {}", self.spec.name))
        })
    }
}

fn names(record: &Record) -> String {
    let names: Vec<String> = record
        .fenced
        .iter()
        .map(|role| format!("`{role}`"))
        .collect();
    names.join(", ")
}
