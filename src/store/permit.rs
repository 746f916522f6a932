//! The right to change rows of a new store.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;

/// The right to change rows of a new store, as a store sees it: something to ask before every request.
///
/// What it takes to hold one is said in [`crate::control`]: a live lease, under the record and in the
/// phase that its holder began in.
#[derive(Clone)]
pub struct Permit(Arc<dyn Fn() -> Result<()> + Send + Sync>);

impl Permit {
    /// A permit that holds for as long as this says so.
    pub fn new(holds: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Permit(Arc::new(holds))
    }

    /// Whether the next request may be sent.
    ///
    /// # Errors
    /// Why it may not; nothing was sent.
    pub fn ask(&self) -> Result<()> {
        (self.0)()
    }

    /// Asks the permit of a store that has one. A store without one isn't in the hands of a participant that has to
    /// join: it is the control table's, an old one, a test's.
    ///
    /// # Errors
    /// As of [`Permit::ask`].
    pub(super) fn ask_of(permit: &Option<Permit>) -> Result<()> {
        permit.as_ref().map_or(Ok(()), Permit::ask)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit(…)")
    }
}
