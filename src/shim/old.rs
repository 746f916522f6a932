//! The old store: connected to when it is first needed, and not before.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use crate::error::{Error, Kind, Result};
use crate::store::{Old, Store};

/// Connects to the old store.
pub type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Old>> + Send + Sync>;

/// The old store of an application.
pub enum OldStore {
    /// It is open.
    Open(Old),
    /// It is opened by the first operation that needs it. Once the table is in `new`, none does.
    Later(Later),
}

/// A store that is opened when it is first needed.
pub struct Later {
    connect: Arc<Connect>,
    open: Arc<OnceCell<Old>>,
}

impl OldStore {
    /// A store that is opened by this when it is first needed.
    pub fn later(connect: Connect) -> Self {
        OldStore::Later(Later {
            connect: Arc::new(connect),
            open: Arc::default(),
        })
    }

    /// The store.
    pub(super) async fn get(&self) -> Result<Arc<dyn Store>> {
        match self {
            OldStore::Open(old) => Ok(old.0.clone()),
            OldStore::Later(later) => later.get().await,
        }
    }
}

impl Later {
    async fn get(&self) -> Result<Arc<dyn Store>> {
        if let Some(old) = self.open.get() {
            return Ok(old.0.clone());
        }
        // A task of its own: who waits for it has a deadline, and connecting may take longer.
        let (open, connect) = (self.open.clone(), self.connect.clone());
        let opening = tokio::spawn(async move {
            let opened = open.get_or_try_init(|| connect()).await;
            opened.map(|old| old.0.clone())
        });
        opening.await.unwrap_or_else(|error| {
            Err(Error::new(
                Kind::Unreachable,
                "connecting to the old store was broken off",
            )
            .with_source(error))
        })
    }
}
