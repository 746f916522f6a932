//! Inserts in batches: PartiQL statements, how many go into a request, and what each answered.

use std::sync::Arc;

use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementOutput;
use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum, BatchStatementRequest, ReturnConsumedCapacity,
};

use super::attr::{into_sdk, wire_bytes, wire_text};
use super::errors::{SdkCall, is_refused_request, is_unknown_call};
use super::outcome::{RowOutcomes, units};
use super::ready::{PutRows, Ready};
use super::{BATCH, DynamoDb};
use crate::error::{Error, Kind, Result};
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
        if !row
            .item
            .iter()
            .map(|(name, _)| *name)
            .eq(names.iter().copied())
        {
            names = row.item.iter().map(|(name, _)| *name).collect();
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
    if row.size + statement.len() <= SMALL {
        return MOST;
    }
    let values = row.item.iter().map(|(_, attr)| 1 + wire_bytes(attr));
    40 + wire_text(statement) + values.sum::<usize>()
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
            match self.insert_once(all, &mut statements).await {
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

    async fn insert_once<'a>(
        &self,
        all: PutRows<'a>,
        statements: &mut [Statement<'a>],
    ) -> SentBatch {
        let call = self.writing("dynamodb:PartiQLInsert", &all.mapping.table().name);
        let requests = match requests(all, statements) {
            Ok(requests) => requests,
            Err(error) => return each_failed(all, statements, &error),
        };
        let answer = self
            .client
            .batch_execute_statement()
            .set_statements(Some(requests))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .interceptor(self.asking())
            .send()
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

fn requests<'a>(
    all: PutRows<'a>,
    statements: &mut [Statement<'a>],
) -> Result<Vec<BatchStatementRequest>> {
    let request = |(statement, row): &mut Statement<'a>| {
        let item = all.item(row)?.into_iter();
        BatchStatementRequest::builder()
            .statement(&**statement)
            .set_parameters(Some(item.map(|(_, attr)| into_sdk(attr)).collect()))
            .build()
            .map_err(|error| {
                Error::new(Kind::Invalid, "a statement can't be made").with_source(error)
            })
    };
    statements.iter_mut().map(request).collect()
}

/// Gives each row its answer: they come in the order of the statements.
fn answered(
    call: &SdkCall<'_>,
    all: PutRows<'_>,
    statements: &[Statement<'_>],
    answer: BatchExecuteStatementOutput,
) -> SentBatch {
    let mut outcome = RowOutcomes::default();
    let mut expected = 0.0;
    let mut answers = answer.responses.unwrap_or_default().into_iter();
    for (_, row) in statements {
        let put = match answers.next().map(|answer| answer.error) {
            Some(None) => Ok(WriteOutcome::Written),
            Some(Some(error)) if error.code == Some(BatchStatementErrorCodeEnum::DuplicateItem) => {
                Ok(WriteOutcome::Refused)
            }
            Some(Some(error)) => Err(call.statement_failed(&error)),
            None => Err(call.not_mentioned()),
        };
        if put.is_ok() {
            expected += row.units();
        }
        let put = put.map_err(|error| error.with_context("key", all.key_text(row.place)));
        outcome.rows.push((row.place, put));
    }
    let told = units(answer.consumed_capacity.as_deref().unwrap_or_default());
    outcome.units = told.unwrap_or(expected);
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
