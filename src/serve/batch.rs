//! BatchGetItem and BatchWriteItem: each item by itself, on tables of the plan and others together.
//!
//! What can't be done now goes into `UnprocessedKeys` and `UnprocessedItems`, as the service does it; so do writes of which it
//! can't be known whether they were made, since made again they come to the same. What goes to other tables is sent on as one request, and the two replies are joined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::app::App;
use super::asked::Asked;
use super::attempts::AttemptOutcome;
use super::capacity::{self, WantedCapacity};
use super::fault::{Fault, Twice};
use super::hashed::FoundByHash;
use super::item::whole;
use super::json::GivenItem;
use super::native::{ReadWhole, Way, refuse_marks};
use super::target::{ReplyBody, Target, counters_alone, json as item_json, project};
use crate::error::Effect;
use crate::express::{Item, Projection};
use crate::model::{Key, Row};
use crate::protocol::Phase;
use crate::shim::Ttl;

/// Keys of one BatchGetItem.
const KEYS: usize = 100;
/// Writes of one BatchWriteItem.
const WRITES: usize = 25;
/// Items that are read or written at once for one request.
const AT_ONCE: usize = 16;
/// Bytes of the items of one reply, after which the rest is left for the next one.
const BYTES: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Requests<T> {
    request_items: BTreeMap<String, T>,
    return_consumed_capacity: Option<String>,
}

/// A key that is read, and how.
struct BatchRead {
    table: usize,
    key: Key,
    given: Item,
}

/// A table of a BatchGetItem.
struct TableReading {
    asked_as: String,
    target: Target,
    projection: Option<Projection>,
    /// Its request without the keys, for those that are left.
    rest: Map<String, Json>,
}

/// BatchGetItem.
pub(super) async fn get(app: &Arc<App>, body: &[u8]) -> AttemptOutcome {
    let requests: Requests<Json> = super::json::read(body)?;
    let wanted = WantedCapacity::of(requests.return_consumed_capacity.as_deref())?;
    let mut others = Map::new();
    let (mut tables, mut reads) = (Vec::new(), Vec::new());
    let (mut way, mut natives) = (Way::new(app.clone()), BTreeMap::new());
    let mut count = 0;
    for (asked_as, request) in requests.request_items {
        count += request["Keys"].as_array().map_or(0, Vec::len);
        let Some(target) = app.target(&asked_as).await? else {
            others.insert(asked_as, request);
            continue;
        };
        if way.takes(&target, Phase::Done).await? {
            let (native, request) = ReadWhole::of(target, &asked_as, request)?;
            others.insert(asked_as.clone(), request);
            natives.insert(asked_as, native);
            continue;
        }
        let mut asked: Asked =
            super::json::read_value(&request, format_args!("RequestItems.{asked_as}"))?;
        let (partition, sort) = target.key_names();
        let keys = asked.keys.take().unwrap_or_default();
        let projection = asked.expressed(partition, sort)?.projection;
        target.refuse_reserved(projection.iter().flat_map(|projection| &projection.paths))?;
        let mut seen = BTreeSet::new();
        for given in keys.into_iter().map(super::json::item) {
            let key = match target.items.is_hashed(&given) {
                false => target.items.key(&given)?,
                true => match app.by_hash(&target, &given).await? {
                    FoundByHash::Row(key) => key,
                    FoundByHash::None => continue,
                },
            };
            if !seen.insert(item_json(given.clone()).to_string()) {
                return Err(Fault::invalid(
                    "Provided list of item keys contains duplicates",
                ));
            }
            let table = tables.len();
            reads.push(BatchRead { table, key, given });
        }
        let mut rest = match request {
            Json::Object(rest) => rest,
            _ => Map::new(),
        };
        rest.remove("Keys");
        tables.push(TableReading {
            asked_as,
            target,
            projection,
            rest,
        });
    }
    if !(1..=KEYS).contains(&count) {
        return Err(Fault::invalid(
            "Too many items requested for the BatchGetItem call",
        ));
    }
    way.check()?;
    let mut joined = JoinedAnswers::passed(app, "BatchGetItem", others, wanted).await?;
    way.check()?;
    for (asked_as, native) in natives {
        if let Some(items) = joined.responses.get_mut(&asked_as) {
            *items = native.shown(items.take())?;
        }
        if let Some(left) = joined.left.get_mut(&asked_as) {
            *left = native.left(left.take());
        }
    }
    read_all(tables, reads, joined, wanted).await
}

async fn read_all(
    tables: Vec<TableReading>,
    reads: Vec<BatchRead>,
    joined: JoinedAnswers,
    wanted: WantedCapacity,
) -> AttemptOutcome {
    let JoinedAnswers {
        mut responses,
        mut left,
        mut capacity,
    } = joined;
    for table in &tables {
        responses.insert(table.asked_as.clone(), Json::Array(Vec::new()));
    }
    let mut found = stream::iter(reads)
        .map(|read| {
            let target = tables.get(read.table).map(|table| table.target.clone());
            async move {
                let item = match target {
                    Some(target) => target.read(&read.key).await,
                    None => Ok(None),
                };
                (read, item)
            }
        })
        .buffer_unordered(AT_ONCE);
    let mut units = BTreeMap::new();
    let mut bytes = 0;
    while let Some((read, item)) = found.next().await {
        let Some(table) = tables.get(read.table) else {
            continue;
        };
        let item = match item {
            Ok(item) => item,
            Err(fault) if passes(&fault) => {
                leave(&mut left, table, read.given);
                continue;
            }
            Err(fault) => return Err(fault),
        };
        let size = item.as_ref().map_or(0, capacity::size);
        if bytes > 0 && bytes + size > BYTES {
            leave(&mut left, table, read.given);
            continue;
        }
        bytes += size;
        *units.entry(table.target.name.clone()).or_insert(0.0) += capacity::read(size);
        if let (Some(item), Some(Json::Array(all))) = (item, responses.get_mut(&table.asked_as)) {
            all.push(item_json(project(item, table.projection.as_ref())));
        }
    }
    if let Some(Json::Array(own)) = wanted.of_tables(&units) {
        capacity.extend(own);
    }
    Ok(ReplyBody::new()
        .json("Responses", Some(Json::Object(responses)))
        .json("UnprocessedKeys", Some(Json::Object(left)))
        .json(
            "ConsumedCapacity",
            (!capacity.is_empty()).then_some(Json::Array(capacity)),
        )
        .done())
}

fn leave(left: &mut Map<String, Json>, table: &TableReading, key: Item) {
    let rest = left
        .entry(table.asked_as.clone())
        .or_insert_with(|| Json::Object(table.rest.clone()));
    if let Json::Object(rest) = rest {
        let keys = rest.entry("Keys").or_insert_with(|| json!([]));
        if let Json::Array(keys) = keys {
            keys.push(item_json(key));
        }
    }
}

/// Whether it certainly did nothing, and may do later.
fn passes(fault: &Fault) -> bool {
    fault.status == 503 || fault.code == "ProvisionedThroughputExceededException"
}

/// What came back for the other tables.
#[derive(Default)]
struct JoinedAnswers {
    responses: Map<String, Json>,
    left: Map<String, Json>,
    capacity: Vec<Json>,
}

impl JoinedAnswers {
    /// Sends on what is for other tables.
    async fn passed(
        app: &Arc<App>,
        operation: &str,
        others: Map<String, Json>,
        wanted: WantedCapacity,
    ) -> Result<Self, Fault> {
        if others.is_empty() {
            return Ok(JoinedAnswers::default());
        }
        let wanted = match wanted {
            WantedCapacity::Nothing => "NONE",
            WantedCapacity::Total => "TOTAL",
            WantedCapacity::Indexes => "INDEXES",
        };
        let body = json!({"RequestItems": others, "ReturnConsumedCapacity": wanted});
        let lost = match operation {
            "BatchGetItem" => Effect::None,
            _ => Effect::Unknown,
        };
        let answer = app
            .send_on(operation, body.to_string().into(), lost)
            .await?;
        let said: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status != 200 {
            return Err(Fault::passed_on(answer.status, &said));
        }
        let map = |name: &str| match &said[name] {
            Json::Object(map) => map.clone(),
            _ => Map::new(),
        };
        let left = match operation {
            "BatchGetItem" => map("UnprocessedKeys"),
            _ => map("UnprocessedItems"),
        };
        Ok(JoinedAnswers {
            responses: map("Responses"),
            left,
            capacity: said["ConsumedCapacity"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WriteRequest {
    put_request: Option<PutRequest>,
    delete_request: Option<DeleteRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRequest {
    item: GivenItem,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteRequest {
    key: GivenItem,
}

/// One write of a batch.
struct BatchWrite {
    asked_as: String,
    target: Target,
    given: Json,
    does: Does,
    units: f64,
}

enum Does {
    Put(Row, Ttl),
    Delete(Key),
}

/// What of a BatchWriteItem has been read.
pub(super) struct WriteBatch {
    writes: Vec<BatchWrite>,
    others: Map<String, Json>,
    wanted: WantedCapacity,
    /// For the others, where tables in `done` are among them.
    way: Way,
}

/// Reads a BatchWriteItem, and refuses it as a whole if anything of it is wrong.
pub(super) async fn read(app: &Arc<App>, body: &[u8]) -> Result<WriteBatch, Fault> {
    let requests: Requests<Vec<Json>> = super::json::read(body)?;
    let wanted = WantedCapacity::of(requests.return_consumed_capacity.as_deref())?;
    let mut others = Map::new();
    let mut writes = Vec::new();
    let mut way = Way::new(app.clone());
    let mut count = 0;
    for (asked_as, all) in requests.request_items {
        count += all.len();
        let Some(target) = app.target(&asked_as).await? else {
            others.insert(asked_as, Json::Array(all));
            continue;
        };
        if way.takes(&target, Phase::Done).await? {
            all.iter()
                .try_for_each(|write| refuse_marks(&target, write))?;
            others.insert(asked_as, Json::Array(all));
            continue;
        }
        if target.is_counter() {
            return Err(counters_alone(&target.name));
        }
        let mut seen = BTreeSet::new();
        for (at, given) in all.into_iter().enumerate() {
            let request: WriteRequest =
                super::json::read_value(&given, format_args!("RequestItems.{asked_as}[{at}]"))?;
            let (does, units) = match (request.put_request, request.delete_request) {
                (Some(put), None) => {
                    let item = super::json::item(put.item);
                    let units = capacity::write(capacity::size(&item));
                    let (row, ttl) = whole(&target, &item)?;
                    (Does::Put(row, ttl), units)
                }
                (None, Some(delete)) => {
                    let given = super::json::item(delete.key);
                    let key = match target.items.is_hashed(&given) {
                        false => target.items.key(&given)?,
                        true => match app.by_hash(&target, &given).await? {
                            FoundByHash::Row(key) => key,
                            FoundByHash::None => continue,
                        },
                    };
                    (Does::Delete(key), 1.0)
                }
                (Some(_), Some(_)) | (None, None) => {
                    return Err(Fault::invalid(
                        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the \
                         supported datatypes: a write is a PutRequest or a DeleteRequest",
                    ));
                }
            };
            let key = match &does {
                Does::Put(row, _) => &row.key,
                Does::Delete(key) => key,
            };
            if !seen.insert(item_json(target.items.key_item(key)?).to_string()) {
                return Err(Fault::invalid(
                    "Provided list of item keys contains duplicates",
                ));
            }
            writes.push(BatchWrite {
                asked_as: asked_as.clone(),
                target: target.clone(),
                given,
                does,
                units,
            });
        }
    }
    if !(1..=WRITES).contains(&count) {
        return Err(Fault::invalid(
            "Too many items requested for the BatchWriteItem call",
        ));
    }
    Ok(WriteBatch {
        writes,
        others,
        wanted,
        way,
    })
}

impl WriteBatch {
    /// Writes all of it.
    pub async fn write(self, app: Arc<App>) -> AttemptOutcome {
        self.way.check()?;
        let JoinedAnswers {
            mut left,
            mut capacity,
            ..
        } = JoinedAnswers::passed(&app, "BatchWriteItem", self.others, self.wanted).await?;
        // They may be made again, whatever became of them.
        self.way.check()?;
        let mut written = stream::iter(self.writes)
            .map(|write| async move {
                let BatchWrite {
                    asked_as,
                    target,
                    given,
                    does,
                    units,
                } = write;
                let made = match does {
                    Does::Put(row, ttl) => target.table.put(row, ttl).await,
                    Does::Delete(key) => target.table.delete(&key).await,
                };
                (asked_as, target.name, given, units, made)
            })
            .buffer_unordered(AT_ONCE);
        let mut units = BTreeMap::new();
        let mut failed = None;
        while let Some((asked_as, name, given, cost, made)) = written.next().await {
            let fault = match made {
                Ok(()) => {
                    *units.entry(name).or_insert(0.0) += cost;
                    continue;
                }
                Err(error) => Fault::of(&error, Twice::Same),
            };
            // A write of constants may be made again, also when its effect is unknown.
            if passes(&fault) || fault.status >= 500 {
                let rest = left.entry(asked_as).or_insert_with(|| json!([]));
                if let Json::Array(rest) = rest {
                    rest.push(given);
                }
            } else {
                failed.get_or_insert(fault);
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        if let Some(Json::Array(own)) = self.wanted.of_tables(&units) {
            capacity.extend(own);
        }
        Ok(ReplyBody::new()
            .json("UnprocessedItems", Some(Json::Object(left)))
            .json(
                "ConsumedCapacity",
                (!capacity.is_empty()).then_some(Json::Array(capacity)),
            )
            .done())
    }
}
