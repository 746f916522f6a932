//! What isn't about the plan's tables: it is sent on as it came, signed anew, and its answer is given as it came. And
//! what about the plan's tables isn't about items: descriptions pass, changes are refused until `done`.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::fault::{Fault, Twice};
use super::target::Target;
use super::wire::HttpAnswer;
use crate::error::{Error, Result as LibResult};
use crate::item::KeyType;

/// Where requests on other tables go.
pub trait Upstream: Send + Sync + 'static {
    /// Sends a request, with its `X-Amz-Target` and content type, signed with this process's own credentials.
    fn send<'a>(
        &'a self,
        target: &'a str,
        content_type: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, LibResult<Passed>>;
}

/// What the upstream answered.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

#[cfg(feature = "dynamodb")]
impl Upstream for crate::store::dynamodb::Raw {
    fn send<'a>(
        &'a self,
        target: &'a str,
        content_type: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, LibResult<Passed>> {
        Box::pin(async move {
            let answer = self.send(target, content_type, body).await?;
            Ok(Passed {
                status: answer.status,
                headers: answer.headers,
                body: answer.body,
            })
        })
    }
}

/// Headers of an answer that are the client's business.
const HEADERS: [&str; 4] = [
    "content-type",
    "x-amzn-requestid",
    "x-amz-crc32",
    "x-amzn-errortype",
];

impl From<Passed> for HttpAnswer {
    fn from(passed: Passed) -> Self {
        let mut headers = HeaderMap::new();
        for name in HEADERS {
            if let Some(value) = passed.headers.get(name) {
                headers.insert(name, value.clone());
            }
        }
        HttpAnswer {
            status: passed.status,
            headers,
            body: passed.body,
        }
    }
}

impl Fault {
    /// The upstream's own error, for a request that is part of another one.
    pub fn passed_on(status: u16, said: &Json) -> Self {
        let code = said["__type"].as_str().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let known = [
            "AccessDeniedException",
            "ConditionalCheckFailedException",
            "IdempotentParameterMismatchException",
            "InternalServerError",
            "ItemCollectionSizeLimitExceededException",
            "ProvisionedThroughputExceededException",
            "ReplicatedWriteConflictException",
            "RequestLimitExceeded",
            "ResourceInUseException",
            "ResourceNotFoundException",
            "SerializationException",
            "ServiceUnavailable",
            "ThrottlingException",
            "TransactionCanceledException",
            "TransactionConflictException",
            "TransactionInProgressException",
            "ValidationException",
        ];
        let code = known.into_iter().find(|name| *name == code);
        let message = said["message"].as_str().or(said["Message"].as_str());
        Fault::new(
            status,
            code.unwrap_or("InternalServerError"),
            message.unwrap_or("the endpoint refused the request"),
        )
    }

    /// No answer came: the SDK does as it does when DynamoDB itself can't be reached.
    pub fn unanswered(error: &Error) -> Self {
        Fault::of(error, Twice::Same)
    }
}

/// The names of tables in a request that isn't about items.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Named {
    table_name: Option<String>,
    table_arn: Option<String>,
    resource_arn: Option<String>,
    global_table_name: Option<String>,
    source_table_name: Option<String>,
    source_table_arn: Option<String>,
    target_table_name: Option<String>,
    table_creation_parameters: Option<Box<Named>>,
    backup_arn: Option<String>,
    export_arn: Option<String>,
    import_arn: Option<String>,
}

impl Named {
    /// All of them.
    pub fn all(&self) -> Vec<&str> {
        let own = [
            &self.table_name,
            &self.table_arn,
            &self.resource_arn,
            &self.global_table_name,
            &self.source_table_name,
            &self.source_table_arn,
            &self.target_table_name,
            &self.backup_arn,
            &self.export_arn,
            &self.import_arn,
        ];
        let own = own.into_iter().flatten().map(|name| table_of(name));
        let inner = self.table_creation_parameters.iter();
        own.chain(inner.flat_map(|inner| inner.all())).collect()
    }
}

/// The table's name, of a name or an ARN.
pub(super) fn table_of(name: &str) -> &str {
    match name.strip_prefix("arn:") {
        None => name,
        Some(rest) => rest
            .split_once(":table/")
            .and_then(|(_, table)| table.split('/').next())
            .unwrap_or(name),
    }
}

/// Whether an operation changes no table, nor what is in it.
pub(super) fn only_looks(operation: &str) -> bool {
    ["Describe", "List", "Get"]
        .iter()
        .any(|start| operation.starts_with(start))
        || [
            "CreateBackup",
            "ExportTableToPointInTime",
            "TagResource",
            "UntagResource",
            "UpdateContinuousBackups",
            "UpdateContributorInsights",
        ]
        .contains(&operation)
}

/// The PartiQL statements of a request.
pub(super) fn statements(body: &[u8]) -> Result<Vec<String>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct One {
        statement: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct All {
        statement: Option<String>,
        statements: Option<Vec<One>>,
        transact_statements: Option<Vec<One>>,
    }
    let all: All = super::json::read(body)?;
    let many = [all.statements, all.transact_statements];
    let many = many.into_iter().flatten().flatten();
    Ok(all
        .statement
        .into_iter()
        .chain(many.filter_map(|one| one.statement))
        .collect())
}

/// Whether a statement may name a table: its name is there as a whole word. Too often rather than too rarely.
pub(super) fn mentions(statement: &str, table: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    statement.match_indices(table).any(|(at, _)| {
        let before = statement[..at].chars().next_back();
        let after = statement[at + table.len()..].chars().next();
        // `table.index` begins with the table.
        !before.is_some_and(is_part) && !after.is_some_and(|c| is_part(c) && c != '.')
    })
}

/// DescribeTable of a table in an embedded store.
pub(super) fn described(target: &Target) -> Vec<u8> {
    let mapping = target.mapping();
    let keys = [Some(mapping.partition()), mapping.sort()];
    let keys = || keys.into_iter().flatten();
    let kind = |ty: KeyType| match ty {
        KeyType::S => "S",
        KeyType::N => "N",
        KeyType::B => "B",
    };
    let definitions: Vec<Json> = keys()
        .map(|key| json!({"AttributeName": key.name, "AttributeType": kind(key.ty)}))
        .collect();
    let schema: Vec<Json> = keys()
        .zip(["HASH", "RANGE"])
        .map(|(key, role)| json!({"AttributeName": key.name, "KeyType": role}))
        .collect();
    let table = json!({
        "TableName": target.name,
        "TableStatus": "ACTIVE",
        "AttributeDefinitions": definitions,
        "KeySchema": schema,
        "CreationDateTime": 0,
        "ItemCount": 0,
        "TableSizeBytes": 0,
        "ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0, "NumberOfDecreasesToday": 0},
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "TableArn": format!("arn:aws:dynamodb:embedded:000000000000:table/{}", target.name),
    });
    json!({"Table": table}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_name_and_an_arn() {
        for (given, table) in [
            ("users", "users"),
            (
                "arn:aws:dynamodb:us-east-1:123456789012:table/users",
                "users",
            ),
            (
                "arn:aws:dynamodb:us-east-1:1:table/users/index/by-name",
                "users",
            ),
            (
                "arn:aws:dynamodb:us-east-1:1:table/users/backup/01",
                "users",
            ),
            (
                "arn:aws:dynamodb::1:global-table/users",
                "arn:aws:dynamodb::1:global-table/users",
            ),
        ] {
            assert_eq!(table_of(given), table);
        }
    }

    #[test]
    fn statements_name_tables_however_they_are_written() {
        for statement in [
            "SELECT * FROM \"bgt-users\" WHERE id='a'",
            "select * from users",
            "INSERT INTO \"users\" value {'id':'a'}",
            "SELECT * FROM users.\"by-name\"",
            "SELECT * FROM \"arn:aws:dynamodb:us-east-1:1:table/users\"",
        ] {
            let table = if statement.contains("bgt") {
                "bgt-users"
            } else {
                "users"
            };
            assert!(mentions(statement, table), "{statement}");
        }
        assert!(!mentions("SELECT * FROM \"other-users\"", "users"));
        assert!(!mentions("SELECT * FROM users2", "users"));
    }
}
