//! Inserts in batches: PartiQL statements, how many go into a request, and what each answered.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{BatchStatementError, BatchStatementErrorCodeEnum};
use serde::Deserialize;

use super::attr::wire_text;
use super::errors::{SdkCall, is_refused_request, is_unknown_call};
use super::outcome::{ConsumedUnits, RowOutcomes};
use super::ready::{PutRows, Ready};
use super::{BATCH, DynamoDb};
use crate::error::Error;
use crate::item::wire;
use crate::store::WriteOutcome;

/// The longest statement that DynamoDB takes, in bytes.
const STATEMENT: usize = 8_192;
/// The most bytes of a request. DynamoDB takes 16 MiB, but memory and time stay small with less.
const REQUEST: usize = 4 << 20;
/// Bytes that a request has besides its statements, rounded up.
const ENVELOPE: usize = 128;

/// A row and the statement that inserts it, which it shares with rows of the same columns.
type Statement<'a> = (Arc<str>, Ready<'a>);

/// Rows of one request.
pub(super) struct InsertBatch<'a> {
    statements: Vec<Statement<'a>>,
    wire: usize,
}

/// Rows sorted into requests.
pub(super) struct Packed<'a> {
    /// What goes as batches.
    pub batches: Vec<InsertBatch<'a>>,
    /// What has too many columns for a statement.
    pub too_long: Vec<Ready<'a>>,
}

/// Sorts rows into requests, in order.
pub(super) fn pack<'a>(table: &str, rows: Vec<Ready<'a>>) -> Packed<'a> {
    let mut packed = Packed {
        batches: Vec::new(),
        too_long: Vec::new(),
    };
    let mut names: Vec<&str> = Vec::new();
    let mut statement: Arc<str> = Arc::default();
    for row in rows {
        if row.item.names != names {
            names.clone_from(&row.item.names);
            statement = insert_statement(table, &names).into();
        }
        if statement.len() > STATEMENT {
            packed.too_long.push(row);
            continue;
        }
        let wire = row_wire(&statement, &row);
        match packed.batches.last_mut() {
            Some(batch) if batch.statements.len() < BATCH && batch.wire + wire <= REQUEST => {
                batch.wire += wire;
                batch.statements.push((statement.clone(), row));
            }
            Some(_) | None => packed.batches.push(InsertBatch {
                statements: vec![(statement.clone(), row)],
                wire: ENVELOPE + wire,
            }),
        }
    }
    packed
}

/// Bytes of a row in a request; of a small one no more than it could be, since any 25 of them fit.
fn row_wire(statement: &str, row: &Ready<'_>) -> usize {
    const SMALL: usize = 4_096;
    const MOST: usize = (REQUEST - ENVELOPE) / BATCH;
    if row.item.size + statement.len() <= SMALL {
        return MOST;
    }
    40 + wire_text(statement) + row.item.values.len()
}

/// `INSERT INTO "t" VALUE {'a': ?, 'b': ?}`: the values travel apart from it, so that nothing in
/// them can be taken for PartiQL.
fn insert_statement(table: &str, names: &[&str]) -> String {
    let mut text = String::new();
    text.push_str("INSERT INTO \"");
    push_doubled(&mut text, table, '"');
    text.push_str("\" VALUE {");
    for (at, name) in names.iter().enumerate() {
        text.push_str(if at == 0 { "'" } else { ", '" });
        push_doubled(&mut text, name, '\'');
        text.push_str("': ?");
    }
    text.push('}');
    text
}

fn push_doubled(text: &mut String, part: &str, quote: char) {
    let mut pieces = part.split(quote);
    text.extend(pieces.next());
    for piece in pieces {
        text.push(quote);
        text.push(quote);
        text.push_str(piece);
    }
}

impl DynamoDb {
    /// Sends a batch. What the endpoint has no call for comes back.
    pub(super) async fn insert<'a>(
        &self,
        all: PutRows<'a>,
        batch: InsertBatch<'a>,
    ) -> (RowOutcomes, Vec<Ready<'a>>) {
        let mut outcome = RowOutcomes::default();
        let mut pending = vec![batch.statements];
        while let Some(mut statements) = pending.pop() {
            match self.insert_once(all, &statements).await {
                SentBatch::Answered(answer) => outcome = outcome.and(answer),
                SentBatch::RefusedAsAWhole => {
                    let half = statements.split_off(statements.len() / 2);
                    pending.push(half);
                    pending.push(statements);
                }
                SentBatch::Unsupported => {
                    pending.push(statements);
                    let left = pending.into_iter().flatten().map(|(_, row)| row);
                    return (outcome, left.collect());
                }
            }
        }
        (outcome, Vec::new())
    }

    async fn insert_once(&self, all: PutRows<'_>, statements: &[Statement<'_>]) -> SentBatch {
        let call = self.writing("dynamodb:PartiQLInsert", &all.mapping.table().name);
        let body = request(statements);
        let answer = self
            .direct
            .ask("BatchExecuteStatement", body, self.permit.as_ref())
            .await;
        match answer {
            Ok(answer) => answered(&call, all, statements, answer),
            Err(error) if is_unknown_call(&error) && !self.partiql.demanded => {
                self.partiql.is_missing();
                SentBatch::Unsupported
            }
            Err(error) if is_unknown_call(&error) => {
                let error = call
                    .failed(error)
                    .with_help("set `partiql = false` under [new]");
                each_failed(all, statements, &error)
            }
            Err(error) if statements.len() > 1 && is_refused_request(&error) => {
                SentBatch::RefusedAsAWhole
            }
            Err(error) => each_failed(all, statements, &call.failed(error)),
        }
    }
}

/// What became of a request.
enum SentBatch {
    /// Each row has its answer, be it the same error.
    Answered(RowOutcomes),
    /// Something in it is wrong, and it isn't known what; nothing was written.
    RefusedAsAWhole,
    /// The endpoint has no PartiQL.
    Unsupported,
}

/// The body of a request.
fn request(statements: &[Statement<'_>]) -> Vec<u8> {
    let sizes = statements
        .iter()
        .map(|(text, row)| wire_text(text) + row.item.values.len() + 40);
    let mut body = Vec::with_capacity(sizes.sum::<usize>() + ENVELOPE);
    body.extend_from_slice(b"{\"Statements\":[");
    for (at, (text, row)) in statements.iter().enumerate() {
        body.extend_from_slice(match at {
            0 => b"{\"Statement\":",
            _ => b",{\"Statement\":",
        });
        wire::put_text(&mut body, text);
        body.extend_from_slice(b",\"Parameters\":[");
        body.extend_from_slice(&row.item.values);
        body.extend_from_slice(b"]}");
    }
    body.extend_from_slice(b"],\"ReturnConsumedCapacity\":\"TOTAL\"}");
    body
}

/// What is answered: usually nothing but the table's name, for each statement.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchAnswer {
    responses: Option<Vec<StatementAnswer>>,
    consumed_capacity: Option<Vec<ConsumedUnits>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatementAnswer {
    error: Option<StatementRefusal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatementRefusal {
    code: Option<String>,
    message: Option<String>,
}

impl From<StatementRefusal> for BatchStatementError {
    fn from(refused: StatementRefusal) -> Self {
        BatchStatementError::builder()
            .set_code(
                refused
                    .code
                    .as_deref()
                    .map(BatchStatementErrorCodeEnum::from),
            )
            .set_message(refused.message)
            .build()
    }
}

/// Gives each row its answer: they come in the order of the statements.
fn answered(
    call: &SdkCall<'_>,
    all: PutRows<'_>,
    statements: &[Statement<'_>],
    answer: BatchAnswer,
) -> SentBatch {
    let mut outcome = RowOutcomes::default();
    let mut expected = 0.0;
    let mut answers = answer.responses.unwrap_or_default().into_iter();
    for (_, row) in statements {
        let put = match answers.next().map(|answer| answer.error) {
            Some(None) => Ok(WriteOutcome::Written),
            Some(Some(refused)) => match BatchStatementError::from(refused) {
                error if error.code == Some(BatchStatementErrorCodeEnum::DuplicateItem) => {
                    Ok(WriteOutcome::Refused)
                }
                error => Err(call.statement_failed(&error)),
            },
            None => Err(call.not_mentioned()),
        };
        if put.is_ok() {
            expected += row.units();
        }
        let put = put.map_err(|error| error.with_context("key", all.key_text(row.place)));
        outcome.rows.push((row.place, put));
    }
    let told = answer.consumed_capacity.unwrap_or_default();
    let told: Vec<f64> = told.iter().filter_map(|told| told.capacity_units).collect();
    outcome.units = match told.is_empty() {
        true => expected,
        false => told.iter().sum(),
    };
    SentBatch::Answered(outcome)
}

fn each_failed(all: PutRows<'_>, statements: &[Statement<'_>], error: &Error) -> SentBatch {
    let failed = |(_, row): &Statement<'_>| {
        let key = all.key_text(row.place);
        (row.place, Err(error.clone().with_context("key", key)))
    };
    SentBatch::Answered(RowOutcomes {
        rows: statements.iter().map(failed).collect(),
        units: 0.0,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
    use aws_sdk_dynamodb::config::{
        BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
    };
    use aws_sdk_dynamodb::error::BoxError;
    use aws_sdk_dynamodb::types::{BatchStatementRequest, ReturnConsumedCapacity};
    use proptest::prelude::*;

    use super::*;
    use crate::item::{Attr, Sink, WrittenItem};
    use crate::store::dynamodb::attr::to_sdk;

    /// Keeps the body that would be sent, and sends nothing.
    #[derive(Clone, Debug, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl Intercept for Seen {
        fn name(&self) -> &'static str {
            "Seen"
        }

        fn read_before_signing(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _components: &RuntimeComponents,
            _config: &mut ConfigBag,
        ) -> Result<(), BoxError> {
            *self.0.lock().unwrap() = context.request().body().bytes().unwrap().to_vec();
            Err("it is only looked at".into())
        }
    }

    /// As the SDK writes it.
    async fn of_sdk(statements: &[Statement<'_>], rows: &[Vec<Attr>]) -> Vec<u8> {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .endpoint_url("http://127.0.0.1:1");
        let seen = Seen::default();
        let requests = statements.iter().zip(rows).map(|((text, _), attrs)| {
            let values = attrs.iter().map(to_sdk).collect();
            let request = BatchStatementRequest::builder().statement(&**text);
            request.set_parameters(Some(values)).build().unwrap()
        });
        let sent = Client::from_conf(config.build())
            .batch_execute_statement()
            .set_statements(Some(requests.collect()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .interceptor(seen.clone())
            .send()
            .await;
        assert!(sent.is_err());
        std::mem::take(&mut *seen.0.lock().unwrap())
    }

    /// Every kind of value. A map has one entry, since the SDK writes them in an order of chance.
    fn attrs() -> impl Strategy<Value = Attr> {
        let scalar = prop_oneof![
            any::<String>().prop_map(Attr::S),
            "[\\x00-\\x7f]{0,40}".prop_map(Attr::S),
            "-?[0-9]{1,38}".prop_map(Attr::N),
            any::<Vec<u8>>().prop_map(Attr::B),
            any::<bool>().prop_map(Attr::Bool),
            Just(Attr::Null),
            proptest::collection::vec(any::<String>(), 0..4).prop_map(Attr::Ss),
            proptest::collection::vec("[0-9]{1,9}", 0..4).prop_map(Attr::Ns),
            proptest::collection::vec(any::<Vec<u8>>(), 0..4).prop_map(Attr::Bs),
        ];
        scalar.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Attr::L),
                (any::<String>(), inner).prop_map(|entry| Attr::M(vec![entry])),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_body_is_byte_for_byte_what_the_sdk_writes(
            rows in proptest::collection::vec(proptest::collection::vec(attrs(), 0..5), 1..4),
            names in proptest::collection::vec(any::<String>(), 5),
        ) {
            let ready = rows.iter().enumerate().map(|(place, attrs)| {
                let mut item = WrittenItem::default();
                for (name, attr) in names.iter().zip(attrs) {
                    item.attr(name, attr.clone());
                }
                Ready { place, item }
            });
            let mut packed = pack("a \"table\"", ready.collect());
            let statements = packed.batches.pop().unwrap().statements;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let theirs = runtime.block_on(of_sdk(&statements, &rows));
            let ours = request(&statements);
            prop_assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
        }

        #[test]
        fn what_is_written_is_read_back(value in attrs()) {
            let mut text = Vec::new();
            wire::put_pairs(&mut text, [("a", &value)]);
            let read: wire::Attributes = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(read.0, vec![("a".to_owned(), value)]);
        }
    }

    #[test]
    fn an_answer_is_read_however_much_it_says() {
        let read = |text: &str| serde_json::from_str::<BatchAnswer>(text).unwrap();
        let usual = read(
            r#"{"Responses":[{"TableName":"t"},{"TableName":"t","Error":{"Code":"DuplicateItem","Message":"m","Item":{"a":{"S":"b"}}}}],
                "ConsumedCapacity":[{"TableName":"t","CapacityUnits":2.0}]}"#,
        );
        let responses = usual.responses.unwrap();
        assert_eq!(responses.len(), 2);
        assert!(responses[0].error.is_none());
        let refused = responses[1].error.as_ref().unwrap();
        assert_eq!(refused.code.as_deref(), Some("DuplicateItem"));
        assert_eq!(
            usual.consumed_capacity.unwrap()[0].capacity_units,
            Some(2.0)
        );
        let little = read(r#"{"Responses":[{"Item":{}}],"ConsumedCapacity":null}"#);
        assert_eq!(little.responses.unwrap().len(), 1);
        assert!(little.consumed_capacity.is_none());
        assert!(read("{}").responses.is_none());
    }
}
