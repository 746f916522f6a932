//! What goes to DynamoDB in the application's own words: everything from phase `done` on, and reads from `new` on, those of
//! indexes included.
//!
//! Nothing reads the old store any more, so the new one's answer is the answer. Until `finish` has been over the table
//! there may still be items in it that show no row: tombstones of the phase before, rows that have expired, and partial
//! items without any value. They are left out of what is read. A write that depends on what is there is sent with a
//! guard against them; where that meets one, it is taken away, as `finish` would do, and the write is sent again.

mod batch;
mod index;
mod read;
mod text;
mod together;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use super::app::{App, SERVICE};
use super::attempts::AttemptOutcome;
use super::fault::{Fault, Twice};
use super::json::ShownItem;
use super::pass::Passed;
use super::target::Target;
use crate::clock::unix_seconds;
use crate::error::{Effect, Error, Kind, Result as LibResult};
use crate::express::{Comparison, ConditionExpression, Operand, Path, Printer};
use crate::item::{Attr, Mapping};
use crate::model::Mark;
use crate::protocol::Phase;
use crate::shim::HeldPhase;

pub(super) use batch::{ReadWhole, refuse_marks};
pub(super) use together::{get, write};

/// The way to the new store, for as long as tables are held in their phases.
pub(super) struct Way {
    app: Arc<App>,
    held: Vec<HeldPhase>,
}

/// A table whose requests go that way.
pub(super) struct Native {
    way: Way,
    target: Target,
}

/// What the new store said to a request.
enum Said {
    Done(Json),
    Refused(Refused),
}

/// An error of the new store's own.
struct Refused {
    status: u16,
    said: Json,
}

impl Refused {
    fn code(&self) -> &str {
        let code = self.said["__type"].as_str().unwrap_or_default();
        code.rsplit('#').next().unwrap_or_default()
    }

    fn fault(&self, twice: Twice) -> Fault {
        let fault = Fault::passed_on(self.status, &self.said);
        match (self.status, twice) {
            // It may have been done all the same.
            (500.., Twice::Counts | Twice::ByToken) => Fault::ambiguous(fault.message),
            (_, _) => fault,
        }
    }
}

impl Way {
    pub fn new(app: Arc<App>) -> Self {
        Way {
            app,
            held: Vec::new(),
        }
    }

    /// Holds a table, if it is in this phase or a later one.
    pub async fn takes(&mut self, target: &Target, from: Phase) -> Result<bool, Fault> {
        if self.app.upstream.is_none() || !is_from(target.phase, from) {
            return Ok(false);
        }
        let held = target.table.hold().await?;
        let takes = is_from(held.phase(), from);
        if takes {
            self.held.push(held);
        }
        Ok(takes)
    }

    pub fn check(&self) -> LibResult<()> {
        self.held.iter().try_for_each(HeldPhase::check)
    }

    fn has_time(&self) -> LibResult<()> {
        self.held.iter().try_for_each(HeldPhase::has_time)
    }

    async fn send(&self, operation: &str, body: &Json, lost: Effect) -> LibResult<Passed> {
        let body = Bytes::from(body.to_string());
        self.send_text(operation, body, lost).await
    }

    /// Sends a request, for which a lost reply means this: again while it certainly changed nothing and there is time
    /// left.
    async fn send_text(&self, operation: &str, body: Bytes, lost: Effect) -> LibResult<Passed> {
        let Some(upstream) = &self.app.upstream else {
            return Err(Error::new(Kind::Unreachable, "there is no endpoint"));
        };
        let (until, kind) = (self.app.until(), "application/x-amz-json-1.0");
        let target = format!("{SERVICE}{operation}");
        loop {
            self.check()?;
            self.has_time()?;
            let sending = upstream.send(&target, kind, body.clone());
            let error = match tokio::time::timeout_at(until, sending).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.known_effect() == Effect::Unknown => {
                    error.with_effect(lost)
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    let message = "the new store didn't answer in time";
                    return Err(Error::new(Kind::Timeout, message).with_effect(lost));
                }
            };
            let may_do = error.kind().is_transient() && error.known_effect() == Effect::None;
            if !may_do || Instant::now() + PAUSE >= until {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks for what changes nothing.
    async fn read(&self, operation: &str, body: &Json) -> Result<Json, Fault> {
        let said = self.read_text(operation, body.to_string().into()).await?;
        Ok(serde_json::from_slice(&said).unwrap_or_default())
    }

    /// The same of a request's text, and the answer's.
    async fn read_text(&self, operation: &str, body: Bytes) -> Result<Bytes, Fault> {
        let answer = self.send_text(operation, body, Effect::None).await?;
        if answer.status != 200 {
            let said: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(Fault::passed_on(answer.status, &said));
        }
        self.check()?;
        Ok(answer.body)
    }

    /// Sends a write, once.
    async fn write(&self, operation: &str, body: &Json, twice: Twice) -> Result<Said, Fault> {
        let sent = self.send(operation, body, Effect::Unknown).await;
        let answer = sent.map_err(|error| Fault::of(&error, twice))?;
        let said: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status != 200 {
            let status = answer.status;
            return Ok(Said::Refused(Refused { status, said }));
        }
        for held in &self.held {
            let done = held.may_say_done();
            done.map_err(|error| Fault::of(&error, twice))?;
        }
        Ok(Said::Done(said))
    }

    /// Takes an item away that shows no row, unless another request has changed it since. A partial item is made a whole one
    /// where it has a value.
    async fn settle(&self, target: &Target, key: &Json, item: &Json) -> Result<(), Fault> {
        let mapping = target.mapping();
        let shown = Showing::of(mapping);
        let seen = |name: &str| match &item[name]["S"] {
            Json::String(text) => is(name, Attr::S(text.clone())),
            _ => ConditionExpression::NotExists(Path::attribute(name)),
        };
        let mut on = vec![seen(mapping.mark())];
        if let Some(name) = mapping.expiry() {
            on.push(match &item[name]["N"] {
                Json::String(number) => is(name, Attr::N(number.clone())),
                _ => ConditionExpression::NotExists(Path::attribute(name)),
            });
        }
        let mut printer = Printer::default();
        let mut body = json!({"TableName": target.name, "Key": key});
        let operation =
            match shown.hides(item) {
                true => {
                    let cells = mapping.table().cells().iter();
                    let cells = cells.filter(|column| item.get(&column.name).is_none());
                    on.extend(cells.map(|column| {
                        ConditionExpression::NotExists(Path::attribute(&column.name))
                    }));
                    "DeleteItem"
                }
                false => {
                    let marks = [mapping.mark(), mapping.decided()].map(Path::attribute);
                    let marks = marks.map(|path| printer.path(&path));
                    body["UpdateExpression"] = format!("REMOVE {}", marks.join(", ")).into();
                    "UpdateItem"
                }
            };
        body["ConditionExpression"] = printer.condition(&ConditionExpression::And(on)).into();
        put_placeholders(&mut body, &printer);
        match self.write(operation, &body, Twice::Same).await? {
            Said::Done(_) => Ok(()),
            Said::Refused(refused) if refused.code() == UNMET => Ok(()),
            Said::Refused(refused) => Err(refused.fault(Twice::Same)),
        }
    }
}

/// How long to wait before a request is sent again that the endpoint didn't get.
const PAUSE: Duration = Duration::from_millis(100);

/// What a failed condition is called.
const UNMET: &str = "ConditionalCheckFailedException";

fn is_from(phase: Phase, from: Phase) -> bool {
    phase >= from && phase != Phase::Offline
}

impl Native {
    /// The way for requests on a table that is in this phase or a later one.
    pub async fn of(app: &Arc<App>, target: &Target, from: Phase) -> Result<Option<Self>, Fault> {
        let mut way = Way::new(app.clone());
        let takes = way.takes(target, from).await?;
        let target = target.clone();
        Ok(takes.then_some(Native { way, target }))
    }

    fn shown(&self) -> Showing<'_> {
        Showing::of(self.target.mapping())
    }
}

/// What has to be known of an item's attributes to tell whether it is shown.
trait ItemAttributes {
    fn has(&self, name: &str) -> bool;

    /// The text of a number (`N`) or a string (`S`).
    fn scalar(&self, name: &str, kind: &str) -> Option<Cow<'_, str>>;
}

impl ItemAttributes for Json {
    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn scalar(&self, name: &str, kind: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self[name][kind].as_str()?))
    }
}

/// What is shown of a table's items.
struct Showing<'m> {
    mapping: &'m Mapping,
    now: i64,
}

impl<'m> Showing<'m> {
    fn of(mapping: &'m Mapping) -> Self {
        let now = unix_seconds();
        Showing { mapping, now }
    }

    /// Whether an item shows no row.
    fn hides(&self, item: &impl ItemAttributes) -> bool {
        let expires = self.mapping.expiry();
        // The store compares numbers of any kind.
        let expires = expires.and_then(|name| item.scalar(name, "N")?.parse::<f64>().ok());
        if expires.is_some_and(|at| at <= self.now as f64) {
            return true;
        }
        match self.mark(item) {
            Some(Mark::Tombstone) => true,
            Some(Mark::Partial) => {
                let mut columns = self.mapping.table().cells().iter();
                columns.all(|column| !item.has(&column.name))
            }
            Some(Mark::Copied | Mark::Resaved | Mark::Application) | None => false,
        }
    }

    fn mark(&self, item: &impl ItemAttributes) -> Option<Mark> {
        Mark::from_letter(&item.scalar(self.mapping.mark(), "S")?)
    }

    /// Whether a guarded write has to settle what it met before it can be judged.
    fn guards_against(&self, item: &Json) -> bool {
        self.hides(item) || self.mark(item) == Some(Mark::Partial)
    }

    /// Takes away what the migration keeps for itself.
    fn strip(&self, item: &mut Json) {
        if let Json::Object(attributes) = item {
            for name in self.mapping.reserved() {
                attributes.remove(name);
            }
        }
    }

    /// What of an item is shown, if anything.
    fn item(&self, mut item: Json) -> Option<Json> {
        let shows = item.is_object() && !self.hides(&item);
        self.strip(&mut item);
        shows.then_some(item)
    }

    /// That an item is one which such a write is judged by.
    fn guard(&self) -> ConditionExpression {
        let marks = [Mark::Tombstone, Mark::Partial].map(|mark| mark.letter().to_owned());
        let marks = marks.map(|letter| Operand::Value(Attr::S(letter)));
        let mark = Operand::Path(Path::attribute(self.mapping.mark()));
        let mut all = vec![ConditionExpression::Not(Box::new(ConditionExpression::In(
            mark,
            marks.into(),
        )))];
        if let Some(name) = self.mapping.expiry() {
            let expires = Operand::Path(Path::attribute(name));
            let now = Operand::Value(Attr::N(self.now.to_string()));
            let over = ConditionExpression::Compare(expires, Comparison::LessOrEqual, now);
            all.push(ConditionExpression::Not(Box::new(over)));
        }
        ConditionExpression::And(all)
    }

    /// The guard, and a condition of the request's own.
    fn guarded(&self, on: Option<&ConditionExpression>) -> ConditionExpression {
        let ConditionExpression::And(mut all) = self.guard() else {
            return self.guard();
        };
        all.extend(on.cloned());
        ConditionExpression::And(all)
    }
}

fn is(name: &str, value: Attr) -> ConditionExpression {
    let path = Operand::Path(Path::attribute(name));
    ConditionExpression::Compare(path, Comparison::Equal, Operand::Value(value))
}

/// The names and values of a request's expressions.
fn put_placeholders(body: &mut Json, printer: &Printer) {
    let (names, values) = (printer.names(), printer.values());
    if !names.is_empty() {
        body["ExpressionAttributeNames"] = json!(names);
    }
    if !values.is_empty() {
        let values: BTreeMap<String, Attr> = values.into_iter().collect();
        body["ExpressionAttributeValues"] =
            serde_json::to_value(ShownItem(values)).unwrap_or_default();
    }
}

/// A request as it came.
fn object(body: &[u8]) -> Result<Map<String, Json>, Fault> {
    super::json::read(body)
}

fn answered(said: &Json) -> AttemptOutcome {
    Ok(said.to_string().into())
}
