//! Dropping a table that a rehearsal made.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::DynamoDb;
use crate::error::{Effect, Kind, Result};

/// How often it is looked whether the table can be dropped, or is gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long that is waited for.
const DROPPED_WITHIN: Duration = Duration::from_secs(300);

impl DynamoDb {
    /// Takes the protection of a table away, drops it, and waits until it is gone. One that isn't there is no error.
    pub(super) async fn drop_protected(&self, table: &str) -> Result<()> {
        let until = Instant::now() + DROPPED_WITHIN;
        let mut asked = false;
        while let Some(found) = self.describe(table).await? {
            if !asked && found.table_status() == Some(&aws_sdk_dynamodb::types::TableStatus::Active)
            {
                match found.deletion_protection_enabled() {
                    Some(true) => self.unprotect(table).await?,
                    Some(false) | None => {
                        self.request_drop(table).await?;
                        asked = true;
                    }
                }
                continue;
            }
            if Instant::now() > until {
                let call = self.writing("dynamodb:DeleteTable", table);
                return Err(call
                    .error(Kind::Timeout, Effect::Unknown, "the table isn't gone yet")
                    .with_help("run the same command again"));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn unprotect(&self, table: &str) -> Result<()> {
        let call = self.writing("dynamodb:UpdateTable", table);
        let request = self.client.update_table().table_name(table);
        match request.deletion_protection_enabled(false).send().await {
            Ok(_) => Ok(()),
            Err(error) => unless_gone(call.failed(error)),
        }
    }

    async fn request_drop(&self, table: &str) -> Result<()> {
        let call = self.writing("dynamodb:DeleteTable", table);
        match self.client.delete_table().table_name(table).send().await {
            Ok(_) => Ok(()),
            Err(error) => unless_gone(call.failed(error)),
        }
    }
}

/// One that is gone is what was wanted.
fn unless_gone(error: crate::error::Error) -> Result<()> {
    match error.kind() {
        Kind::Missing => Ok(()),
        _ => Err(error),
    }
}
