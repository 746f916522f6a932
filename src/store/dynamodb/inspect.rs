//! What there is to know about a table before it is moved to.

use aws_sdk_dynamodb::types::{TableDescription, TableStatus, TimeToLiveStatus};

use super::errors::{is_denied, is_unknown_call};
use super::{DynamoDb, connect};
use crate::error::Result;
use crate::store::{Finding, Inspection, Weight};

impl DynamoDb {
    /// The description of a table, `None` if there is none of this name.
    pub(super) async fn describe(&self, table: &str) -> Result<Option<TableDescription>> {
        let answer = self
            .client
            .describe_table()
            .table_name(table)
            .customize()
            .config_override(connect::quick(self.timeout))
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer.table),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_resource_not_found_exception()) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.reading("dynamodb:DescribeTable", table).failed(error)),
        }
    }

    /// What [`crate::store::Store::inspect`] tells.
    pub(super) async fn look_at(&self, table: &str) -> Result<Option<Inspection>> {
        let Some(found) = self.describe(table).await? else {
            return Ok(None);
        };
        let mut findings = Vec::new();
        findings.extend(status(&found));
        findings.extend(stream(&found));
        findings.extend(replicas(&found));
        findings.extend(indexes(&found));
        findings.extend(protection(&found));
        findings.extend(self.native_expiry(table).await?);
        Ok(Some(Inspection {
            id: identity(&found),
            table: None,
            default_ttl: 0,
            rows: found.item_count().and_then(|n| u64::try_from(n).ok()),
            bytes: found.table_size_bytes().and_then(|n| u64::try_from(n).ok()),
            findings,
        }))
    }

    async fn native_expiry(&self, table: &str) -> Result<Option<Finding>> {
        let answer = self
            .client
            .describe_time_to_live()
            .table_name(table)
            .customize()
            .config_override(connect::quick(self.timeout))
            .send()
            .await;
        let found = match answer {
            Ok(answer) => answer.time_to_live_description,
            Err(error) if is_denied(&error) => {
                return Ok(Some(Finding {
                    code: "native-ttl-unseen",
                    weight: Weight::Note,
                    message: "whether DynamoDB's own expiry is on can't be seen".into(),
                    advice: "allow dynamodb:DescribeTimeToLive, or make sure that it is off".into(),
                }));
            }
            Err(error) if is_unknown_call(&error) => None, // a server without expiry
            Err(error) => {
                let call = self.reading("dynamodb:DescribeTimeToLive", table);
                return Err(call.failed(error));
            }
        };
        Ok(found.and_then(|ttl| match ttl.time_to_live_status {
            None | Some(TimeToLiveStatus::Disabled | TimeToLiveStatus::Disabling) => None,
            Some(status) => Some(Finding {
                code: "native-ttl",
                weight: Weight::Refused,
                message: format!(
                    "DynamoDB's own expiry is {} on the attribute `{}`: it would delete items \
                     whose rows the old table still has, and those would come back",
                    status.as_str(),
                    ttl.attribute_name.unwrap_or_default()
                ),
                advice: "turn it off until the migration is done".into(),
            }),
        }))
    }
}

/// What tells this table from another one of its name: its id, or, where the server has none, its
/// name with the millisecond it was made in.
fn identity(table: &TableDescription) -> String {
    if let Some(id) = table.table_id() {
        return id.to_owned();
    }
    let arn = table.table_arn().or(table.table_name()).unwrap_or_default();
    let created = table.creation_date_time().map_or(0, |time| {
        time.secs() * 1_000 + i64::from(time.subsec_nanos() / 1_000_000)
    });
    format!("{arn}@{created}")
}

fn status(table: &TableDescription) -> Option<Finding> {
    let status = table.table_status()?;
    match status {
        TableStatus::Active | TableStatus::Updating => None,
        other => Some(Finding {
            code: "not-active",
            weight: Weight::Refused,
            message: format!("the table's status is {}", other.as_str()),
            advice: "wait until it is ACTIVE, or name another table".into(),
        }),
    }
}

fn stream(table: &TableDescription) -> Option<Finding> {
    let stream = table.stream_specification()?;
    stream.stream_enabled().then(|| Finding {
        code: "stream",
        weight: Weight::Ignorable("stream"),
        message: "the table has a stream: its readers will see every copied row as a new one"
            .into(),
        advice: "turn the stream off until the migration is done".into(),
    })
}

fn replicas(table: &TableDescription) -> Option<Finding> {
    let regions: Vec<&str> = table
        .replicas()
        .iter()
        .filter_map(|replica| replica.region_name())
        .collect();
    (!regions.is_empty()).then(|| Finding {
        code: "replicas",
        weight: Weight::Refused,
        message: format!(
            "the table is a global one ({}): a write in another region can undo a condition that \
             held here",
            regions.join(", ")
        ),
        advice: "move to a table of one region, and add the others when it is done".into(),
    })
}

fn indexes(table: &TableDescription) -> Option<Finding> {
    let global = table
        .global_secondary_indexes()
        .iter()
        .filter_map(|index| index.index_name());
    let local = table
        .local_secondary_indexes()
        .iter()
        .filter_map(|index| index.index_name());
    let names: Vec<&str> = global.chain(local).collect();
    (!names.is_empty()).then(|| Finding {
        code: "secondary-index",
        weight: Weight::Note,
        message: format!(
            "the table has indexes ({}): each of them adds to what a write costs, and an item \
             whose index key has another type is refused",
            names.join(", ")
        ),
        advice: "add indexes when the copy is done, if they are not needed before".into(),
    })
}

fn protection(table: &TableDescription) -> Option<Finding> {
    (table.deletion_protection_enabled() == Some(false)).then(|| Finding {
        code: "deletion-protection",
        weight: Weight::Note,
        message: "the table can be deleted by a single call".into(),
        advice: "turn its deletion protection on".into(),
    })
}
