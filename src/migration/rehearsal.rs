//! Rehearsals: a plan's tables copied into scratch tables of their own, beside the migration and without touching it.
//!
//! A scratch table is called as the target, with a suffix. It has a control record of its own under that name, of a
//! plan whose name has the suffix too, and that record says that it is a rehearsal's ([`Record::rehearsal`]). Nothing
//! but that mark lets a table be dropped, and only a table that a rehearsal has made gets it.
//!
//! [`Record::rehearsal`]: crate::control::Record::rehearsal

use super::{Init, InitOptions, Migration};
use crate::error::{Error, Kind, Result};

/// What dropping a scratch table comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The table, and all that the control table had of it.
    Dropped,
    /// There was none.
    Nothing,
}

impl Migration {
    /// Makes the scratch table and its record. Safe to repeat.
    ///
    /// # Errors
    /// Those of [`Migration::init`]; [`Kind::Mismatch`] if there is a table of that name already that no rehearsal of
    /// this plan has made.
    pub async fn init_scratch(&self) -> Result<Init> {
        self.control.create().await?;
        self.refuse_strange().await?;
        self.init(InitOptions::default()).await
    }

    /// Whether a copy into the scratch table would begin. Changes nothing.
    ///
    /// # Errors
    /// What [`Migration::init_scratch`] or the copy would be refused with.
    pub async fn would_rehearse(&self) -> Result<()> {
        self.refuse_strange().await?;
        let survey = self.survey().await?;
        match self.phase().await? {
            Some(_) => self.would_copy(&survey, true, false).await.map(drop),
            None => {
                self.refuse(&survey.old.findings)?;
                self.refuse_incapable(&survey)
            }
        }
    }

    /// Refuses a table of the scratch table's name that no rehearsal has made.
    async fn refuse_strange(&self) -> Result<()> {
        let target = self.spec.to.as_str();
        if self.control.load(target).await?.is_some() || self.inspect_target().await?.is_none() {
            return Ok(());
        }
        let message = "there is a table of this name already, which no rehearsal has made";
        Err(Error::new(Kind::Mismatch, message)
            .with_context("target", target)
            .with_help(
                "write another suffix in --to-suffix; if a rehearsal was killed just after it had made the table, \
                 delete the table, which is empty then",
            ))
    }

    /// Whether there is a scratch table that [`Migration::drop_scratch`] would drop.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if it is no scratch table of this plan: it has no record, the record is that of a migration
    /// or of another plan, or the table was made anew by someone else.
    pub async fn scratch(&self) -> Result<Dropped> {
        let target = self.spec.to.as_str();
        let not_ours = |message: &str| {
            Err(Error::new(Kind::Mismatch, message)
                .with_context("target", target)
                .with_help("if it may go, delete it in the new store itself"))
        };
        let there = self.inspect_target().await?;
        let Some(seen) = self.control.load(target).await? else {
            return match there {
                None => Ok(Dropped::Nothing),
                Some(_) => not_ours("the table isn't dropped: it has no record of a rehearsal"),
            };
        };
        self.spec.same_plan(&seen.record)?;
        match there {
            Some(table) if table.id != seen.record.target_id => {
                not_ours("the table isn't dropped: it isn't the one that the rehearsal has made")
            }
            Some(_) | None => Ok(Dropped::Dropped),
        }
    }

    /// Drops a scratch table, and all that the control table has of it. Safe to repeat, and to kill: the record goes
    /// last.
    ///
    /// # Errors
    /// Those of [`Migration::scratch`], and the store's.
    pub async fn drop_scratch(&self) -> Result<Dropped> {
        let found = self.scratch().await?;
        if found == Dropped::Dropped {
            self.new.drop_table(&self.spec.to).await?;
            self.control.forget(&self.spec.to).await?;
        }
        Ok(found)
    }
}
