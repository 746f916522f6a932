//! Which request goes where: an operation, and the tables that it names.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::app::{App, SERVICE, Unknown};
use super::asked::Asked;
use super::attempts::{Attempt, AttemptOutcome, Attempts};
use super::fault::{Fault, Twice};
use super::hashed::FoundByHash;
use super::native::Native;
use super::pass::{Named, described, mentions, only_looks, statements, table_of};
use super::target::Target;
use super::wire::{Hold, HttpAnswer, Received, Service};
use super::{batch, hashed, item, native, query, scan, transact};
use crate::error::Effect;
use crate::protocol::Phase;
use crate::shim::AddToken;

impl App {
    async fn route(self: &Arc<Self>, request: &Received) -> Result<HttpAnswer, Fault> {
        if let Some(access) = &self.access {
            access.verify(&request.parts, &request.body)?;
        }
        let target = request.header("x-amz-target");
        let Some(operation) = target.strip_prefix(SERVICE) else {
            return self.other_service(request, target).await;
        };
        let body = &request.body;
        let making = Making {
            attempts: &self.attempts,
            attempt: match reads(operation) {
                // A read is made as often as it is asked for, so that nothing has to be known of it.
                true => Attempt::default(),
                false => attempt(request),
            },
            hold: request.hold.clone(),
        };
        let answer = match operation {
            "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem" | "Query" | "Scan" => {
                let Some(target) = self.target(&table_name(body)?).await? else {
                    return self.pass(request).await;
                };
                on_items(self, operation, target, body, making).await?
            }
            "BatchGetItem" | "BatchWriteItem" => {
                if !self.names_own(&batch_tables(body)?)? {
                    return self.pass(request).await;
                }
                match operation {
                    "BatchGetItem" => batch::get(self, body).await?,
                    _ => {
                        let batch = batch::read(self, body).await?;
                        let write = batch.write(self.clone());
                        making.of(Twice::Same, write).await?
                    }
                }
            }
            "TransactGetItems" | "TransactWriteItems" => {
                if !self.names_own(&transact::tables(body)?)? {
                    return self.pass(request).await;
                }
                match operation {
                    "TransactGetItems" => match native::get(self, body).await? {
                        Some(answer) => answer?,
                        None => transact::get(self, body).await?,
                    },
                    _ => {
                        let write = match native::write(self, body).await? {
                            Some(write) => write,
                            None => transact::write(self, body).await?,
                        };
                        let making = making.known_by(transact::token(body)?, body);
                        making.of(write.twice, write.making).await?
                    }
                }
            }
            "ExecuteStatement" | "BatchExecuteStatement" | "ExecuteTransaction" => {
                self.refuse_statements(body).await?;
                return self.pass(request).await;
            }
            "DescribeEndpoints" => endpoints(request),
            "ListTables" => self.list_tables(request).await?,
            other => return self.on_tables(other, request).await,
        };
        Ok(HttpAnswer::json(200, answer))
    }

    /// Whether any of these tables is one of the plan's.
    fn names_own(&self, names: &[String]) -> Result<bool, Fault> {
        let mut own = false;
        for name in names.iter().map(|name| table_of(name)) {
            self.refuse_other(name)?;
            own |= self.tables.contains_key(name);
        }
        Ok(own)
    }

    async fn refuse_statements(&self, body: &[u8]) -> Result<(), Fault> {
        let statements = statements(body)?;
        let tables = self.tables.keys().chain(&self.withheld);
        let is_named = |table: &&String| statements.iter().any(|text| mentions(text, table));
        for name in tables.filter(is_named) {
            let is_stripped = match self.table(name) {
                Some(table) => table.is_stripped().await?,
                None => false,
            };
            if !is_stripped {
                return Err(Fault::invalid(format!(
                    "PartiQL on `{name}` isn't taken by the sidecar until `migrate finish --strip` has been over the \
                     table: use the operations on items"
                )));
            }
        }
        match self.unknown {
            Unknown::Pass => Ok(()),
            Unknown::Refuse => Err(Fault::denied(
                "PartiQL isn't taken where the plan says [serve] unknown = \"refuse\"",
            )),
        }
    }

    /// Whether it is a retry of a write that isn't known here, and whether that may be made twice: without a look at the
    /// body, what may count counts.
    fn strange_write(&self, attempt: &Attempt, target: &str) -> Option<Twice> {
        let twice = match target.strip_prefix(SERVICE)? {
            "PutItem" | "DeleteItem" | "BatchWriteItem" => Twice::Same,
            "UpdateItem" | "TransactWriteItems" => Twice::Counts,
            _ => return None,
        };
        self.attempts.is_strange(attempt).then_some(twice)
    }

    /// A request about tables themselves.
    async fn on_tables(
        self: &Arc<Self>,
        operation: &str,
        request: &Received,
    ) -> Result<HttpAnswer, Fault> {
        let named: Named = super::json::read(&request.body)?;
        for name in named.all() {
            self.refuse_other(name)?;
            let Some(table) = self.table(name) else {
                continue;
            };
            if !only_looks(operation) && table.phase().await? != Phase::Done {
                return Err(Fault::denied(format!(
                    "{operation} on `{name}` isn't allowed before the phase `done`: the table is being migrated"
                )));
            }
            if self.upstream.is_none() {
                return match (operation, self.target(name).await?) {
                    ("DescribeTable", Some(target)) => {
                        Ok(HttpAnswer::json(200, described(&target)))
                    }
                    (_, _) => Err(Fault::invalid(format!(
                        "{operation} isn't there where the new store is embedded"
                    ))),
                };
            }
        }
        self.pass(request).await
    }

    /// A request to another service of the same endpoint: streams.
    async fn other_service(
        self: &Arc<Self>,
        request: &Received,
        target: &str,
    ) -> Result<HttpAnswer, Fault> {
        let is_streams = target.starts_with("DynamoDBStreams_");
        if is_streams && self.unknown == Unknown::Pass {
            return self.pass(request).await;
        }
        Err(Fault::new(
            400,
            "UnknownOperationException",
            "there is no such operation: X-Amz-Target is missing, or not DynamoDB_20120810",
        ))
    }

    async fn list_tables(&self, request: &Received) -> AttemptOutcome {
        if self.upstream.is_none() {
            let names: Vec<&String> = self.tables.keys().collect();
            return Ok(json!({ "TableNames": names }).to_string().into());
        }
        let answer = self
            .send_on("ListTables", request.body.clone(), Effect::None)
            .await?;
        let mut said: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status != 200 {
            return Err(Fault::passed_on(answer.status, &said));
        }
        if let Json::Array(names) = &mut said["TableNames"] {
            names.retain(|name| {
                name.as_str()
                    .is_none_or(|name| self.refuse_other(name).is_ok())
            });
        }
        Ok(said.to_string().into())
    }

    async fn pass(&self, request: &Received) -> Result<HttpAnswer, Fault> {
        let kind = match request.header("content-type") {
            "" => "application/x-amz-json-1.0",
            kind => kind,
        };
        let target = request.header("x-amz-target");
        let passed = self.send_as(target, kind, request.body.clone()).await?;
        Ok(passed.into())
    }
}

impl Service for App {
    async fn answer(self: Arc<Self>, request: Received) -> HttpAnswer {
        let began = Instant::now();
        let operation = shown_operation(request.header("x-amz-target"));
        // Asked before this attempt makes the call known.
        let target = request.header("x-amz-target");
        let strange = Attempt::is_retry_of(&request.parts.headers)
            .then(|| self.strange_write(&attempt(&request), target))
            .flatten();
        let answered =
            Arc::new(self.begin())
                .route(&request)
                .await
                .map_err(|fault| match strange {
                    Some(twice) => fault.after_another(twice),
                    None => fault,
                });
        let outcome = match &answered {
            Ok(answer) if answer.status == 200 => "ok",
            Ok(_) => "refused upstream",
            Err(fault) => fault.code,
        };
        metrics::counter!("crossfade_requests_total", "operation" => operation, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("crossfade_request_seconds", "operation" => operation)
            .record(began.elapsed());
        tracing::debug!("{operation}: {outcome}, {:?}", began.elapsed());
        answered.unwrap_or_else(HttpAnswer::from)
    }

    fn is_ready(&self) -> Result<(), String> {
        for table in self.tables.values() {
            table
                .ready()
                .map_err(|error| format!("{}: {error}", table.name()))?;
        }
        Ok(())
    }

    fn turned_away(&self, headers: &HeaderMap, fault: Fault) -> Fault {
        let attempt = Attempt::of(headers);
        self.attempts.turned_away(&attempt);
        let target = headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        match self.strange_write(&attempt, target.unwrap_or_default()) {
            Some(twice) => fault.after_another(twice),
            None => fault,
        }
    }

    fn longest(&self) -> Duration {
        self.deadline()
    }
}

/// How a write is made, or joined.
struct Making<'a> {
    attempts: &'a Arc<Attempts>,
    attempt: Attempt,
    hold: Arc<Hold>,
}

impl Making<'_> {
    /// The token that the new store knows an add by, if the table has adds counted exactly once there.
    async fn told(&mut self, target: &Target, body: &[u8]) -> Result<Option<AddToken>, Fault> {
        let Some(since) = target.table.tells_by_token().await? else {
            return Ok(None);
        };
        // Longer than any SDK goes on with a call, and than the new store remembers a token.
        self.attempt.is_told = since > super::attempts::KEPT;
        Ok(self.attempt.token(body))
    }

    /// The same for a request that brings a token of its own.
    fn known_by(mut self, token: Option<String>, body: &[u8]) -> Self {
        if let Some(token) = token {
            let mut of = DefaultHasher::new();
            body.hash(&mut of);
            self.attempt.call = Some(format!("token {token} {:016x}", of.finish()));
            self.attempt.by_token = true;
        }
        self
    }

    async fn of(
        self,
        twice: Twice,
        write: impl Future<Output = AttemptOutcome> + Send + 'static,
    ) -> AttemptOutcome {
        let hold = self.hold;
        let write = async move {
            let outcome = write.await;
            drop(hold);
            outcome
        };
        self.attempts.make(self.attempt, twice, write).await
    }
}

/// A request on the items of one table of the plan.
async fn on_items(
    app: &Arc<App>,
    operation: &str,
    target: Target,
    body: &Bytes,
    mut making: Making<'_>,
) -> AttemptOutcome {
    let mut asked: Asked = super::json::read(body)?;
    let token = match operation {
        "UpdateItem" if target.is_counter() => making.told(&target, body).await?,
        _ => None,
    };
    let from = match operation {
        _ if asked.index_name.is_some() => Phase::New,
        // Rows are read where they are. A scan's position has to be one that is good after a way back, too.
        "GetItem" | "Query" if !target.is_counter() => Phase::New,
        _ => Phase::Done,
    };
    let native = match scan::began_before(&target, &asked) {
        true => None,
        false => Native::of(app, &target, from).await?,
    };
    let key = asked.key.as_ref().filter(|_| native.is_none());
    if let Some(key) = key {
        let key = super::json::item(key.clone());
        if target.items.is_hashed(&key) {
            match app.by_hash(&target, &key).await? {
                FoundByHash::Row(found) => asked.found = Some(found),
                FoundByHash::None => return hashed::on_nothing(&target, operation, asked),
            }
        }
    }
    let write = match (operation, native) {
        ("GetItem", None) => return item::get(&target, asked).await,
        ("GetItem", Some(native)) => return native.get(body, asked).await,
        ("Query", None) => return query::query(app, &target, asked).await,
        ("Scan", None) => return scan::scan(&target, asked).await,
        ("Query" | "Scan", Some(native)) => return native.page(operation, body, asked).await,
        ("PutItem", None) => item::put(target, asked)?,
        ("PutItem", Some(native)) => native.write("Put", body, asked)?,
        ("UpdateItem", None) => item::update(target, asked, token)?,
        // Adds to counters are coalesced, and may carry a token.
        ("UpdateItem", Some(native)) if target.is_counter() => {
            match item::update(target, super::json::read(body)?, token) {
                Ok(add) => add,
                Err(_) => native.write("Update", body, asked)?,
            }
        }
        ("UpdateItem", Some(native)) => native.write("Update", body, asked)?,
        (_, None) => item::delete(target, asked)?,
        (_, Some(native)) => native.write("Delete", body, asked)?,
    };
    making.of(write.twice, write.making).await
}

/// Whether an operation on items changes nothing.
fn reads(operation: &str) -> bool {
    matches!(
        operation,
        "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems"
    )
}

/// What a request says of itself. A call that comes with another body is another call.
fn attempt(request: &Received) -> Attempt {
    let mut attempt = Attempt::of(&request.parts.headers);
    if let Some(call) = &mut attempt.call {
        let mut of = DefaultHasher::new();
        request.header("x-amz-target").hash(&mut of);
        request.body.hash(&mut of);
        call.push_str(&format!(" {:016x}", of.finish()));
    }
    attempt
}

fn table_name(body: &[u8]) -> Result<String, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        table_name: Option<String>,
    }
    let named: Named = super::json::read(body)?;
    named
        .table_name
        .ok_or_else(|| super::asked::missing("tableName"))
}

fn batch_tables(body: &[u8]) -> Result<Vec<String>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Batch {
        #[serde(default)]
        request_items: BTreeMap<String, serde::de::IgnoredAny>,
    }
    let batch: Batch = super::json::read(body)?;
    Ok(batch.request_items.into_keys().collect())
}

/// The SDK goes on asking here.
fn endpoints(request: &Received) -> Bytes {
    let endpoint = json!({"Address": request.header("host"), "CachePeriodInMinutes": 1440});
    json!({ "Endpoints": [endpoint] }).to_string().into()
}

/// The operations that metrics tell apart: a client doesn't make up names of its own.
fn shown_operation(target: &str) -> &'static str {
    const ALL: [&str; 18] = [
        "BatchExecuteStatement",
        "BatchGetItem",
        "BatchWriteItem",
        "DeleteItem",
        "DescribeEndpoints",
        "DescribeLimits",
        "DescribeTable",
        "DescribeTimeToLive",
        "ExecuteStatement",
        "ExecuteTransaction",
        "GetItem",
        "ListTables",
        "PutItem",
        "Query",
        "Scan",
        "TransactGetItems",
        "TransactWriteItems",
        "UpdateItem",
    ];
    let operation = target.strip_prefix(SERVICE).unwrap_or_default();
    let known = ALL.into_iter().find(|known| *known == operation);
    known.unwrap_or("other")
}
