//! Inserts in batches: PartiQL statements, how many go into a request, and what each answered.

use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementOutput;
use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum, BatchStatementRequest, ReturnConsumedCapacity,
};

use super::attr::{to_sdk, wire_bytes, wire_text};
use super::errors::{Call, is_refused_request, is_unknown_call};
use super::put::{Outcome, Ready, item_key_text, units};
use super::{BATCH, DynamoDb};
use crate::error::{Error, Kind, Result};
use crate::mapping::{Attr, Mapping};
use crate::store::Put;

/// The longest statement that DynamoDB takes, in bytes.
const STATEMENT: usize = 8_192;
/// The most bytes of a request. DynamoDB takes 16 MiB, but memory and time stay small with less.
const REQUEST: usize = 4 << 20;
/// Bytes that a request has besides its statements, rounded up.
const ENVELOPE: usize = 128;

/// Rows of one request.
pub(super) struct Batch {
    statements: Vec<(String, Ready)>,
    wire: usize,
}

/// Rows sorted into requests.
pub(super) struct Packed {
    /// What goes as batches.
    pub batches: Vec<Batch>,
    /// What has too many columns for a statement.
    pub too_long: Vec<Ready>,
}

/// Sorts rows into requests, in order.
pub(super) fn pack(table: &str, rows: Vec<Ready>) -> Packed {
    let mut packed = Packed {
        batches: Vec::new(),
        too_long: Vec::new(),
    };
    for row in rows {
        let statement = insert_statement(table, &row.item);
        if statement.len() > STATEMENT {
            packed.too_long.push(row);
            continue;
        }
        let values = row.item.iter().map(|(_, attr)| 1 + wire_bytes(attr));
        let wire = 40 + wire_text(&statement) + values.sum::<usize>();
        match packed.batches.last_mut() {
            Some(batch) if batch.statements.len() < BATCH && batch.wire + wire <= REQUEST => {
                batch.wire += wire;
                batch.statements.push((statement, row));
            }
            Some(_) | None => packed.batches.push(Batch {
                statements: vec![(statement, row)],
                wire: ENVELOPE + wire,
            }),
        }
    }
    packed
}

/// `INSERT INTO "t" VALUE {'a': ?, 'b': ?}`: the values travel apart from it, so that nothing in
/// them can be taken for PartiQL.
fn insert_statement(table: &str, item: &[(String, Attr)]) -> String {
    let names: usize = item.iter().map(|(name, _)| name.len() + 7).sum();
    let mut text = String::with_capacity(names + table.len() + 24);
    text.push_str("INSERT INTO \"");
    push_doubled(&mut text, table, '"');
    text.push_str("\" VALUE {");
    for (at, (name, _)) in item.iter().enumerate() {
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
    pub(super) async fn insert(&self, mapping: &Mapping, batch: Batch) -> (Outcome, Vec<Ready>) {
        let mut outcome = Outcome::default();
        let mut pending = vec![batch.statements];
        while let Some(mut statements) = pending.pop() {
            match self.insert_once(mapping, &statements).await {
                Sent::Answered(answer) => outcome = outcome.and(answer),
                Sent::RefusedAsAWhole => {
                    let half = statements.split_off(statements.len() / 2);
                    pending.push(half);
                    pending.push(statements);
                }
                Sent::Unsupported => {
                    pending.push(statements);
                    let left = pending.into_iter().flatten().map(|(_, row)| row);
                    return (outcome, left.collect());
                }
            }
        }
        (outcome, Vec::new())
    }

    async fn insert_once(&self, mapping: &Mapping, statements: &[(String, Ready)]) -> Sent {
        let call = self.writing("dynamodb:PartiQLInsert", &mapping.table().name);
        let requests = match requests(statements) {
            Ok(requests) => requests,
            Err(error) => return each_failed(mapping, statements, &error),
        };
        let answer = self
            .client
            .batch_execute_statement()
            .set_statements(Some(requests))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match answer {
            Ok(answer) => answered(&call, mapping, statements, answer),
            Err(error) if is_unknown_call(&error) && !self.partiql.demanded => {
                self.partiql.is_missing();
                Sent::Unsupported
            }
            Err(error) if is_unknown_call(&error) => {
                let error = call.failed(error).help("set `partiql = false` under [new]");
                each_failed(mapping, statements, &error)
            }
            Err(error) if statements.len() > 1 && is_refused_request(&error) => {
                Sent::RefusedAsAWhole
            }
            Err(error) => each_failed(mapping, statements, &call.failed(error)),
        }
    }
}

/// What became of a request.
enum Sent {
    /// Each row has its answer, be it the same error.
    Answered(Outcome),
    /// Something in it is wrong, and nobody knows what; nothing was written.
    RefusedAsAWhole,
    /// The endpoint has no PartiQL.
    Unsupported,
}

fn requests(statements: &[(String, Ready)]) -> Result<Vec<BatchStatementRequest>> {
    let request = |(statement, row): &(String, Ready)| {
        BatchStatementRequest::builder()
            .statement(statement)
            .set_parameters(Some(
                row.item.iter().map(|(_, attr)| to_sdk(attr)).collect(),
            ))
            .build()
            .map_err(|error| {
                Error::new(Kind::Invalid, "a statement can't be made").source_of(error)
            })
    };
    statements.iter().map(request).collect()
}

/// Gives each row its answer: they come in the order of the statements.
fn answered(
    call: &Call<'_>,
    mapping: &Mapping,
    statements: &[(String, Ready)],
    answer: BatchExecuteStatementOutput,
) -> Sent {
    let mut outcome = Outcome::default();
    let mut expected = 0.0;
    let mut answers = answer.responses.unwrap_or_default().into_iter();
    for (_, row) in statements {
        let put = match answers.next().map(|answer| answer.error) {
            Some(None) => Ok(Put::Written),
            Some(Some(error)) if error.code == Some(BatchStatementErrorCodeEnum::DuplicateItem) => {
                Ok(Put::Refused)
            }
            Some(Some(error)) => Err(call.statement_failed(&error)),
            None => Err(call.not_mentioned()),
        };
        if put.is_ok() {
            expected += row.units();
        }
        let put = put.map_err(|error| error.at("key", item_key_text(mapping, &row.item)));
        outcome.rows.push((row.place, put));
    }
    let told = units(answer.consumed_capacity.as_deref().unwrap_or_default());
    outcome.units = told.unwrap_or(expected);
    Sent::Answered(outcome)
}

fn each_failed(mapping: &Mapping, statements: &[(String, Ready)], error: &Error) -> Sent {
    let failed = |(_, row): &(String, Ready)| {
        let key = item_key_text(mapping, &row.item);
        (row.place, Err(error.clone().at("key", key)))
    };
    Sent::Answered(Outcome {
        rows: statements.iter().map(failed).collect(),
        units: 0.0,
    })
}
