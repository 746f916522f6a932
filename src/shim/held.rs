//! The right to go to the new store by another way than this shim's.

use std::sync::atomic::Ordering;

use super::operation::Operation;
use super::table::Table;
use crate::error::Result;
use crate::protocol::Phase;

/// A phase that the table is held in: no move passes it until this is dropped.
pub(crate) struct HeldPhase(Operation);

impl Table {
    /// Holds the table in the phase that an operation would begin in now.
    ///
    /// # Errors
    /// The table can't be joined, as in [`Table::phase`]; the lease is over.
    pub(crate) async fn hold(&self) -> Result<HeldPhase> {
        let begun = self.begun().await?;
        Operation::begin(&self.inner, &begun.joined, begun.deadline).map(HeldPhase)
    }

    /// Whether no item of the table has an attribute of the migration's own any more, and none will get one: `finish --strip` has
    /// been over it.
    ///
    /// # Errors
    /// As of [`Table::hold`].
    pub(crate) async fn is_stripped(&self) -> Result<bool> {
        let joined = self.begun().await?.joined;
        Ok(joined.member.phase() == Phase::Done && joined.stripped.load(Ordering::SeqCst))
    }
}

impl HeldPhase {
    /// The phase.
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Whether it may still be gone by: asked before each request, and before what one answered is given.
    ///
    /// # Errors
    /// The lease is over.
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// Whether there is time for another try.
    ///
    /// # Errors
    /// There is none.
    pub fn has_time(&self) -> Result<()> {
        self.0.has_time()
    }

    /// As [`HeldPhase::check`], of a write that was made.
    ///
    /// # Errors
    /// The lease is over, so that others may have gone on.
    pub fn may_say_done(&self) -> Result<()> {
        self.0.may_say_done()
    }
}
