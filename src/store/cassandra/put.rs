//! Puts and purges of rows: what the conformance suite and people's preparations need.

use futures::StreamExt;

use super::errors::Doing;
use super::{AT_ONCE, Cassandra};
use crate::error::Result;
use crate::model::{Condition, Key, Mutation, Row};
use crate::schema::Table;
use crate::store::{Changed, WriteOutcome, WriteOutcomes, unsupported};

impl Cassandra {
    pub(super) async fn put_rows(
        &self,
        table: &Table,
        rows: &[Row],
        on: &Condition,
    ) -> WriteOutcomes {
        let weights: Vec<usize> = rows.iter().map(Row::weight).collect();
        let writes: Vec<_> = rows
            .iter()
            .map(|row| self.put_one(table, row, on))
            .collect();
        let results: Vec<Result<WriteOutcome>> = futures::stream::iter(writes)
            .buffered(AT_ONCE)
            .map(|result| result.map_err(|error| self.placed(error, table, Doing::Write)))
            .collect()
            .await;
        let bytes = results
            .iter()
            .zip(weights)
            .filter(|(result, _)| matches!(result, Ok(WriteOutcome::Written)))
            .map(|(_, weight)| weight as u64)
            .sum();
        WriteOutcomes {
            rows: results,
            units: 0.0,
            bytes,
        }
    }

    pub(super) async fn purge_keys(
        &self,
        table: &Table,
        keys: Vec<Key>,
        on: &Condition,
    ) -> WriteOutcomes {
        let deletes: Vec<_> = keys
            .iter()
            .map(|key| self.purge_one(table, key, on))
            .collect();
        let results = futures::stream::iter(deletes)
            .buffered(AT_ONCE)
            .map(|result| result.map_err(|error| self.placed(error, table, Doing::Write)))
            .collect()
            .await;
        WriteOutcomes {
            rows: results,
            ..WriteOutcomes::default()
        }
    }

    async fn put_one(&self, table: &Table, row: &Row, on: &Condition) -> Result<WriteOutcome> {
        if row.mark.is_some() || row.expires.is_some() {
            return Err(unsupported("marks and expiry of whole rows"));
        }
        let mutation = match on {
            Condition::Always => Mutation::Put(row.clone()),
            absence if absence.is_absence() => Mutation::Insert(row.clone()),
            Condition::In { .. }
            | Condition::Cells { .. }
            | Condition::Judged { .. }
            | Condition::Decides(_)
            | Condition::Marked(_)
            | Condition::Same(_) => return Err(unsupported("this condition of a put")),
        };
        Ok(match self.mutate(table, &mutation).await? {
            Changed::Written | Changed::Told(_) => WriteOutcome::Written,
            Changed::Refused(_) => WriteOutcome::Refused,
        })
    }

    async fn purge_one(&self, table: &Table, key: &Key, on: &Condition) -> Result<WriteOutcome> {
        match on {
            Condition::Always => {}
            Condition::In { .. }
            | Condition::Cells { .. }
            | Condition::Judged { .. }
            | Condition::Decides(_)
            | Condition::Marked(_)
            | Condition::Same(_) => {
                return Err(unsupported("this condition of a purge"));
            }
        }
        let (cql, values) = self.delete_row(table, key)?;
        self.send(&cql, &values).await?;
        Ok(WriteOutcome::Written)
    }
}
