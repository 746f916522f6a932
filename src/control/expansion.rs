//! Which tables the patterns of a plan stand for, as `migrate init` wrote it down.
//!
//! A plan's patterns mean tables of the old store, which may be ill or gone while a migration goes on. So the names are
//! kept beside the plan's records: under the plan's name in place of a target's, as the item `tables`, which no target
//! has.

use serde::{Deserialize, Serialize};

use super::Control;
use crate::error::Result;

const TABLES: &str = "tables";

/// Which tables the patterns of a plan stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expansion {
    /// The patterns that were asked for.
    pub patterns: Vec<String>,
    /// The names of the old store's tables, in the order they move.
    pub tables: Vec<String>,
}

impl Control {
    /// What a plan's patterns stood for when `migrate init` was run last; `None` before.
    ///
    /// # Errors
    /// The store's, and [`crate::error::Kind::Corrupt`].
    pub async fn expansion(&self, plan: &str) -> Result<Option<Expansion>> {
        let item = self.item(plan, TABLES).await?;
        Ok(item.map(|(expansion, _)| expansion))
    }

    /// Writes down what they stand for from now on.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_expansion(&self, plan: &str, expansion: &Expansion) -> Result<()> {
        let row = self.row(plan, TABLES, expansion, 0)?;
        self.write(vec![row]).await
    }
}
