//! The index that a request names.

use std::sync::Arc;

use serde_json::json;

use super::Native;
use crate::serve::fault::Fault;
use crate::serve::indexes::{Index, TableIndexes};

impl Native {
    /// An index of the table, in the description that has it.
    pub(super) async fn index(&self, name: &str) -> Result<TableIndexes, Fault> {
        let table = &self.target.name;
        let indexes = &self.way.app.indexes;
        if let Some(known) = indexes
            .known(table)
            .filter(|known| known.contains_key(name))
        {
            return Ok(known);
        }
        let said = self
            .way
            .read("DescribeTable", &json!({"TableName": table}))
            .await?;
        let all = ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"];
        let all = all.iter().filter_map(|kind| said["Table"][kind].as_array());
        let described = all.flatten().filter_map(|said| {
            let name = said["IndexName"].as_str()?;
            Some((name.to_owned(), Index::of(said)))
        });
        let described: TableIndexes = Arc::new(described.collect());
        indexes.keep(table, &described);
        match described.contains_key(name) {
            true => Ok(described),
            false => Err(Fault::invalid(format!(
                "The table does not have the specified index: {name}"
            ))),
        }
    }
}
