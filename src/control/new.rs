//! The store that is moved to, and who may do what there.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::Result;
use crate::layer::retry::Patience;
use crate::layer::{Pace, Retry};
use crate::schema::Table;
use crate::store::{Reads, Store};

/// The store that is moved to. Every participant may read it; what creates, expires and drops tables is here too.
///
/// Rows are changed through a [`crate::store::Writer`] alone, and only a participant gets one: a tool from
/// [`super::Member::writer`], an operation of an application from its [`super::PhaseGuard`]. A tool that hasn't
/// joined doesn't compile:
///
/// ```compile_fail
/// # use crossfade::control::New;
/// # use crossfade::model::Row;
/// # use crossfade::schema::Table;
/// # use crossfade::store::If;
/// async fn forgets_to_join(new: &New, table: &Table, row: Row) {
///     new.put(table, &[row], &If::Always).await;
/// }
/// ```
///
/// The control table's items are the leases themselves, and go by a door of their own that only
/// [`super::Control`] has.
#[derive(Clone)]
pub struct New {
    store: Arc<dyn Store>,
}

impl New {
    /// The store that is moved to is this one.
    pub fn over(store: Arc<dyn Store>) -> Self {
        New { store }
    }

    /// The same, with another layer around it.
    #[must_use]
    pub fn wrapped(self, wrap: fn(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        New::over(wrap(self.store))
    }

    /// The same for those who wait until it answers, within these ceilings.
    #[must_use]
    pub fn patient(&self, patience: Patience, pace: &Arc<Pace>) -> Self {
        let patient = Retry::new(self.store.clone(), patience).paced(pace);
        New::over(Arc::new(patient))
    }

    /// As [`Store::create`].
    ///
    /// # Errors
    /// As of that.
    pub async fn create(&self, table: &Table) -> Result<()> {
        self.store.create(table).await
    }

    /// As [`Store::enable_ttl`].
    ///
    /// # Errors
    /// As of that.
    pub async fn enable_ttl(&self, table: &Table) -> Result<()> {
        self.store.enable_ttl(table).await
    }

    /// As [`Store::drop_table`].
    ///
    /// # Errors
    /// As of that.
    pub async fn drop_table(&self, table: &str) -> Result<()> {
        self.store.drop_table(table).await
    }

    /// What may change rows. Not to be had outside of the control table's own code.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// Every participant may read.
impl Deref for New {
    type Target = dyn Reads;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl fmt::Debug for New {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "New({})", self.name())
    }
}
