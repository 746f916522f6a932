//! Whether an action is allowed on a table, asked by the action itself where that only reads.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, KeySchemaElement, KeysAndAttributes, ScalarAttributeType,
    TableDescription,
};

use super::errors::{SdkCall, is_denied, is_unknown_call};
use super::{DynamoDb, connect};
use crate::error::{Effect, Error, Kind, Result};

/// What the service says of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionAnswer {
    /// It is allowed.
    Allowed,
    /// It isn't, on this resource: as the service names it, or else the table.
    Denied(String),
    /// It would change something, so it wasn't asked; or the server doesn't have it.
    NotAsked,
}

impl DynamoDb {
    /// Asks whether an action (`GetItem`) is allowed on a table, which may be missing: permission is looked at first.
    ///
    /// # Errors
    /// The service's, for any other reason.
    pub async fn may(&self, table: &str, action: &str) -> Result<ActionAnswer> {
        let quick = || connect::quick(self.timeout);
        match action {
            "DescribeTable" => {
                let ask = self.client.describe_table().table_name(table);
                let asked = ask.customize().config_override(quick()).send().await;
                answer(asked, self.reading("dynamodb:DescribeTable", table))
            }
            "DescribeTimeToLive" => {
                let ask = self.client.describe_time_to_live().table_name(table);
                let asked = ask.customize().config_override(quick()).send().await;
                answer(asked, self.reading("dynamodb:DescribeTimeToLive", table))
            }
            "Scan" => {
                let ask = self.client.scan().table_name(table).limit(1);
                let asked = ask.customize().config_override(quick()).send().await;
                answer(asked, self.reading("dynamodb:Scan", table))
            }
            "GetItem" => {
                let key = self.any_key(table).await?;
                let ask = self.client.get_item().table_name(table).set_key(Some(key));
                let asked = ask.customize().config_override(quick()).send().await;
                answer(asked, self.reading("dynamodb:GetItem", table))
            }
            "BatchGetItem" => {
                let call = self.reading("dynamodb:BatchGetItem", table);
                let keys = KeysAndAttributes::builder().keys(self.any_key(table).await?);
                let keys = keys.build().map_err(|error| unbuilt(call, error))?;
                let ask = self.client.batch_get_item().request_items(table, keys);
                let asked = ask.customize().config_override(quick()).send().await;
                answer(asked, call)
            }
            "Query" => {
                let (partition, value) = self.any_partition(table).await?;
                let ask = self.client.query().table_name(table).limit(1);
                let ask = ask
                    .key_condition_expression("#p = :p")
                    .expression_attribute_names("#p", partition)
                    .expression_attribute_values(":p", value);
                let asked = ask.customize().config_override(quick()).send().await;
                answer(asked, self.reading("dynamodb:Query", table))
            }
            _ => Ok(ActionAnswer::NotAsked),
        }
    }

    /// A key of the form of the table's keys. Of a table that isn't there any key will do.
    async fn any_key(&self, table: &str) -> Result<HashMap<String, AttributeValue>> {
        Ok(self.any_parts(table).await?.into_iter().collect())
    }

    async fn any_partition(&self, table: &str) -> Result<(String, AttributeValue)> {
        let parts = self.any_parts(table).await?;
        Ok(parts.into_iter().next().unwrap_or_else(any_part))
    }

    async fn any_parts(&self, table: &str) -> Result<Vec<(String, AttributeValue)>> {
        let described = match self.describe(table).await {
            // A key of another form is refused too, and as what it is only if reading is allowed.
            Err(error) if error.kind() == Kind::Denied => None,
            described => described?,
        };
        Ok(described
            .as_ref()
            .map_or_else(|| vec![any_part()], parts_of))
    }
}

fn any_part() -> (String, AttributeValue) {
    ("p".to_owned(), AttributeValue::S("x".to_owned()))
}

/// The partition key first, as the service describes it.
fn parts_of(described: &TableDescription) -> Vec<(String, AttributeValue)> {
    let part = |element: &KeySchemaElement| {
        let name = element.attribute_name();
        let mut defined = described.attribute_definitions().iter();
        let defined = defined.find(|one| one.attribute_name() == name);
        let value = match defined.map(AttributeDefinition::attribute_type) {
            Some(ScalarAttributeType::N) => AttributeValue::N("0".to_owned()),
            Some(ScalarAttributeType::B) => AttributeValue::B(Blob::new([0])),
            // There are no others.
            Some(_) | None => AttributeValue::S("x".to_owned()),
        };
        (name.to_owned(), value)
    };
    described.key_schema().iter().map(part).collect()
}

fn answer<T, E>(
    asked: std::result::Result<T, SdkError<E, HttpResponse>>,
    call: SdkCall<'_>,
) -> Result<ActionAnswer>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let error = match asked {
        Ok(_) => return Ok(ActionAnswer::Allowed),
        Err(error) => error,
    };
    if is_denied(&error) {
        let message = error.as_service_error().and_then(E::message);
        let resource = message.and_then(resource).unwrap_or(call.table);
        return Ok(ActionAnswer::Denied(resource.to_owned()));
    }
    // A server without the call needs no permission for it.
    if is_unknown_call(&error) {
        return Ok(ActionAnswer::NotAsked);
    }
    let error = call.failed(error);
    if error.kind() == Kind::Missing {
        return Ok(ActionAnswer::Allowed);
    }
    Err(error)
}

/// What a refusal is about: `… is not authorized to perform: dynamodb:Scan on resource: arn:… because …`.
fn resource(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("on resource: ")?;
    rest.split_whitespace().next()
}

fn unbuilt(call: SdkCall<'_>, error: aws_sdk_dynamodb::error::BuildError) -> Error {
    call.error(Kind::Invalid, Effect::None, "the request can't be made")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::resource;

    #[test]
    fn the_resource_is_the_services_own() {
        let message = "User: arn:aws:iam::111122223333:user/look is not authorized to perform: dynamodb:Scan on resource: \
            arn:aws:dynamodb:us-east-1:111122223333:table/t because no identity-based policy allows the dynamodb:Scan action";
        let arn = "arn:aws:dynamodb:us-east-1:111122223333:table/t";
        assert_eq!(resource(message), Some(arn));
        assert_eq!(resource("no"), None);
    }
}
