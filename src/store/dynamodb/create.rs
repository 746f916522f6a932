//! Creating a table, and comparing the keys of one that is there.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType as KeyRole, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::{Instant, sleep};

use super::DynamoDb;
use crate::error::{Effect, Error, Kind, Result};
use crate::item::{KeyAttribute, KeyType, Mapping};

/// How long a new table may take until it can be used. AWS takes seconds.
const CREATION: Duration = Duration::from_secs(300);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(200);

impl DynamoDb {
    /// Makes the table unless it is there with these keys, and waits until it can be used.
    pub(super) async fn create_table(&self, mapping: &Mapping) -> Result<()> {
        let table = mapping.table().name.as_str();
        let until = Instant::now() + CREATION;
        let mut created = false;
        loop {
            match self.describe(table).await? {
                None if created => {} // not to be seen yet
                None => {
                    self.request_table(mapping).await?;
                    created = true;
                }
                Some(found) => {
                    self.compare_keys(mapping, table, &found)?;
                    if can_be_used(found.table_status()) {
                        return Ok(());
                    }
                }
            }
            if Instant::now() > until {
                return Err(self
                    .writing("dynamodb:CreateTable", table)
                    .error(
                        Kind::Timeout,
                        Effect::Unknown,
                        "the new table can't be used yet",
                    )
                    .with_help("look at its status in the console, and run the command again"));
            }
            sleep(POLL).await;
        }
    }

    /// Switches the table's own expiry on, unless it is on already.
    pub(super) async fn expire_items(&self, mapping: &Mapping) -> Result<()> {
        let table = mapping.table().name.as_str();
        let call = self.writing("dynamodb:UpdateTimeToLive", table);
        let Some(attribute) = &mapping.table().layout.expiry_attribute else {
            return Ok(());
        };
        let on = self.client.describe_time_to_live().table_name(table).send();
        let on = on.await.ok().and_then(|on| on.time_to_live_description);
        let is_on = on.is_some_and(|on| {
            let status = on.time_to_live_status;
            let is_on = matches!(
                status,
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
            );
            is_on && on.attribute_name.as_deref() == Some(attribute)
        });
        if is_on {
            return Ok(());
        }
        let wanted = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(attribute)
            .build()
            .map_err(|error| {
                call.error(Kind::Invalid, Effect::None, "the request can't be made")
                    .with_source(error)
            })?;
        let request = self.client.update_time_to_live().table_name(table);
        let request = request.time_to_live_specification(wanted);
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| call.failed(error))
    }

    async fn request_table(&self, mapping: &Mapping) -> Result<()> {
        let call = self.writing("dynamodb:CreateTable", &mapping.table().name);
        let mut request = self
            .client
            .create_table()
            .table_name(&mapping.table().name)
            .billing_mode(BillingMode::PayPerRequest)
            .deletion_protection_enabled(true);
        for (key, role) in keys_of(mapping) {
            let definition = AttributeDefinition::builder()
                .attribute_name(&key.name)
                .attribute_type(scalar(key.ty))
                .build();
            let element = KeySchemaElement::builder()
                .attribute_name(&key.name)
                .key_type(role)
                .build();
            let (Ok(definition), Ok(element)) = (definition, element) else {
                return Err(call.error(Kind::Invalid, Effect::None, "a key has no name"));
            };
            request = request
                .attribute_definitions(definition)
                .key_schema(element);
        }
        match request.send().await {
            Ok(_) => Ok(()),
            // Someone else was quicker; its keys are compared next.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_resource_in_use_exception()) =>
            {
                Ok(())
            }
            Err(error) => Err(call.failed(error)),
        }
    }

    fn compare_keys(&self, mapping: &Mapping, table: &str, found: &TableDescription) -> Result<()> {
        let wanted: Vec<String> = keys_of(mapping)
            .map(|(key, role)| key_line(&key.name, scalar(key.ty).as_str(), &role))
            .collect();
        let there: Vec<String> = found
            .key_schema()
            .iter()
            .map(|element| {
                let ty = found
                    .attribute_definitions()
                    .iter()
                    .find(|definition| definition.attribute_name() == element.attribute_name())
                    .map_or("?", |definition| definition.attribute_type().as_str());
                key_line(element.attribute_name(), ty, element.key_type())
            })
            .collect();
        if wanted == there {
            return Ok(());
        }
        Err(Error::new(
            Kind::Mismatch,
            format!(
                "the table is there with other keys: it has {}, the mapping needs {}",
                there.join(" and "),
                wanted.join(" and ")
            ),
        )
        .with_context("table", table)
        .with_context("endpoint", &*self.endpoint)
        .with_help("name another table with `to`, set `keys`, or remove the table that is there"))
    }
}

fn can_be_used(status: Option<&TableStatus>) -> bool {
    matches!(status, Some(TableStatus::Active | TableStatus::Updating))
}

fn keys_of(mapping: &Mapping) -> impl Iterator<Item = (&KeyAttribute, KeyRole)> {
    std::iter::once((mapping.partition(), KeyRole::Hash))
        .chain(mapping.sort().map(|key| (key, KeyRole::Range)))
}

fn key_line(name: &str, ty: &str, role: &KeyRole) -> String {
    let role = match role {
        KeyRole::Hash => "partition",
        KeyRole::Range => "sort",
        other => other.as_str(),
    };
    format!("the {role} key `{name}` ({ty})")
}

fn scalar(ty: KeyType) -> ScalarAttributeType {
    match ty {
        KeyType::S => ScalarAttributeType::S,
        KeyType::N => ScalarAttributeType::N,
        KeyType::B => ScalarAttributeType::B,
    }
}
