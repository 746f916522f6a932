//! GetItem, Query and Scan in the application's own words, and what they found without what shows no row.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::{Native, Showing, Way, answered, object};
use crate::express::Projection;
use crate::model::Mark;
use crate::protocol::Phase;
use crate::serve::asked::Asked;
use crate::serve::attempts::AttemptOutcome;
use crate::serve::fault::Fault;
use crate::serve::indexes::Index;
use crate::serve::json::GivenItem;
use crate::serve::query::partition_values;
use crate::serve::target::{Target, json as item_json, paths, project};

/// Keys of one BatchGetItem.
const KEYS: usize = 100;

/// What of a projection is said in a request.
const PROJECTIONS: [&str; 3] = [
    "AttributesToGet",
    "ExpressionAttributeNames",
    "ProjectionExpression",
];

/// A request for whole items: what to keep of them is done here.
pub(super) fn whole(body: &mut Map<String, Json>) {
    body.retain(|name, _| !PROJECTIONS.contains(&name.as_str()));
}

/// What is shown of an item that was read as a whole.
pub(super) fn part(
    shown: &Showing<'_>,
    item: Json,
    projection: Option<&Projection>,
) -> Result<Option<Json>, Fault> {
    let Some(item) = shown.item(item) else {
        return Ok(None);
    };
    let Some(projection) = projection else {
        return Ok(Some(item));
    };
    let item: GivenItem = super::super::json::read_value(&item, "the new store's item")?;
    let item = super::super::json::item(item);
    Ok(Some(item_json(project(item, Some(projection)))))
}

impl Native {
    /// Whether the table may still go back to where its rows are in both stores: it is read as in those phases.
    fn may_go_back(&self) -> bool {
        let mut held = self.way.held.iter();
        held.any(|held| held.phase() != Phase::Done)
    }

    /// Makes a read of the table strongly consistent before `done`.
    fn strengthen(&self, body: &mut Map<String, Json>) {
        if self.may_go_back() {
            body.insert("ConsistentRead".into(), true.into());
        }
    }

    /// The same of a request's text.
    fn strongly(&self, body: &Bytes) -> Result<Bytes, Fault> {
        if !self.may_go_back() {
            return Ok(body.clone());
        }
        let mut body = object(body)?;
        self.strengthen(&mut body);
        Ok(Json::Object(body).to_string().into())
    }

    /// GetItem.
    pub async fn get(self, body: &Bytes, mut asked: Asked) -> AttemptOutcome {
        let key = asked.take_key()?;
        if self.may_go_back() && !self.target.items.is_hashed(&key) {
            self.target.items.key(&key)?;
        }
        let (partition, sort) = self.target.key_names();
        let projection = asked.expressed(partition, sort)?.projection;
        let named = projection.iter().flat_map(|projection| &projection.paths);
        self.target.refuse_reserved(named)?;
        if projection.is_none() {
            let asking = self.strongly(body)?;
            let said = self.way.read_text("GetItem", asking).await?;
            return Ok(self.shown().got(&said)?.into());
        }
        let mut body = object(body)?;
        self.strengthen(&mut body);
        whole(&mut body);
        let mut said = self.way.read("GetItem", &Json::Object(body)).await?;
        let item = part(&self.shown(), said["Item"].take(), projection.as_ref())?;
        if let Json::Object(said) = &mut said {
            match item {
                Some(item) => said.insert("Item".into(), item),
                None => said.remove("Item"),
            };
        }
        answered(&said)
    }

    /// Query and Scan, of the table or of an index.
    pub async fn page(self, operation: &str, body: &Bytes, mut asked: Asked) -> AttemptOutcome {
        let described = match &asked.index_name {
            Some(name) => Some((self.index(name).await?, name.clone())),
            None => None,
        };
        let index = described.as_ref().and_then(|(all, name)| all.get(name));
        let (partition, sort) = match index {
            Some(index) => (index.partition.as_str(), index.sort.as_deref()),
            None => self.target.key_names(),
        };
        let (counts, is_older) = (asked.select.as_deref() == Some("COUNT"), is_older(&asked));
        let mut expressed = asked.expressed(partition, sort)?;
        if let Some(condition) = expressed.key.take()
            && index.is_none()
            && self.may_go_back()
        {
            partition_values(&self.target, &condition)?;
        }
        let named = expressed.filter.iter().flat_map(paths);
        self.target.refuse_reserved(named)?;
        let named = expressed.projection.iter().flat_map(|all| &all.paths);
        self.target.refuse_reserved(named)?;
        let seen = NeededAttributes::of(&self.target, index);
        let is_part = index.is_some() || counts || expressed.projection.is_some();
        if !is_part {
            let asking = self.strongly(body)?;
            let said = self.way.read_text(operation, asking).await?;
            return Ok(self.shown().page(&said)?.into());
        }
        let mut body = object(body)?;
        if index.is_none() {
            self.strengthen(&mut body);
        }
        let mut added = Vec::new();
        if counts && expressed.projection.is_some() {
            // It says what is wrong with that.
            return answered(&self.way.read(operation, &Json::Object(body)).await?);
        }
        if counts || expressed.projection.is_some() {
            let asked_for: BTreeSet<&str> = expressed
                .projection
                .iter()
                .flat_map(|all| &all.paths)
                .map(|path| path.attribute.as_str())
                .collect();
            let missing = seen.names.iter().copied();
            added = missing
                .filter(|name| !asked_for.contains(name))
                .map(str::to_owned)
                .collect();
            body.remove("Select").filter(|_| counts);
            ask_for(&mut body, &added, is_older);
        }
        let mut said = self.way.read(operation, &Json::Object(body)).await?;
        let items = match said["Items"].take() {
            Json::Array(items) => items,
            _ => Vec::new(),
        };
        let shown = self.shown();
        // A partial item is a row if it has a value, which a part of it doesn't tell.
        let is_unsure = |item: &Json| seen.by_key || shown.mark(item) == Some(Mark::Partial);
        let unsure: Vec<&Json> = items.iter().filter(|item| is_unsure(item)).collect();
        let hidden = self.way.hidden(&self.target, &unsure).await?;
        let items = items.into_iter().filter_map(|mut item| {
            let hides = match is_unsure(&item) {
                true => hidden.contains(&key_of(&self.target, &item)),
                false => shown.hides(&item),
            };
            if hides {
                return None;
            }
            shown.strip(&mut item);
            if let Json::Object(attributes) = &mut item {
                attributes.retain(|name, _| !added.contains(name));
            }
            Some(item)
        });
        let items: Vec<Json> = items.collect();
        if let Json::Object(said) = &mut said {
            said.insert("Count".into(), items.len().into());
            match counts {
                true => said.remove("Items"),
                false => said.insert("Items".into(), Json::Array(items)),
            };
        }
        answered(&said)
    }
}

/// What it takes to know of an item whether it shows a row.
struct NeededAttributes<'t> {
    names: Vec<&'t str>,
    /// It has to be looked for in the table: an index doesn't have it.
    by_key: bool,
}

impl<'t> NeededAttributes<'t> {
    fn of(target: &'t Target, index: Option<&Index>) -> Self {
        let mapping = target.mapping();
        let (partition, sort) = target.key_names();
        let keys = [Some(partition), sort].into_iter().flatten();
        let told = [Some(mapping.mark()), mapping.expiry()]
            .into_iter()
            .flatten();
        let has = |name: &str| index.is_none_or(|index| index.has(name));
        let by_key = !told.clone().all(has);
        let told = told.filter(|_| !by_key);
        NeededAttributes {
            names: keys.chain(told).collect(),
            by_key,
        }
    }
}

/// Whether a request is in the parameters from before there were expressions.
fn is_older(asked: &Asked) -> bool {
    asked.attributes_to_get.is_some()
        || asked.key_conditions.is_some()
        || asked.query_filter.is_some()
        || asked.scan_filter.is_some()
        || asked.conditional_operator.is_some()
}

/// Asks for some more attributes.
fn ask_for(body: &mut Map<String, Json>, names: &[String], is_older: bool) {
    if names.is_empty() {
        return;
    }
    if is_older {
        let all = body.entry("AttributesToGet").or_insert_with(|| json!([]));
        if let Json::Array(all) = all {
            all.extend(names.iter().map(|name| json!(name)));
        }
        return;
    }
    let mut paths: Vec<String> = Vec::new();
    let given = body.get("ProjectionExpression").and_then(Json::as_str);
    paths.extend(given.map(str::to_owned));
    let placeholders = body
        .entry("ExpressionAttributeNames")
        .or_insert_with(|| json!({}));
    for (at, name) in names.iter().enumerate() {
        let key = format!("#crossfade_{at}");
        placeholders[&key] = json!(name);
        paths.push(key);
    }
    body.insert("ProjectionExpression".into(), paths.join(", ").into());
}

/// An item's key, as text.
fn key_of(target: &Target, item: &Json) -> String {
    key_json(target, item).to_string()
}

fn key_json(target: &Target, item: &Json) -> Json {
    let (partition, sort) = target.key_names();
    let names = [Some(partition), sort].into_iter().flatten();
    let key = names.map(|name| (name.to_owned(), item[name].clone()));
    Json::Object(key.collect())
}

impl Way {
    /// Which of these items show no row: looked up in the table.
    async fn hidden(&self, target: &Target, items: &[&Json]) -> Result<BTreeSet<String>, Fault> {
        let mut left: Vec<Json> = items.iter().map(|item| key_json(target, item)).collect();
        let mut unseen: BTreeSet<String> = left.iter().map(Json::to_string).collect();
        left.sort_by_key(Json::to_string);
        left.dedup();
        while !left.is_empty() {
            self.has_time()?;
            let rest = left.split_off(left.len().min(KEYS));
            let request = json!({"Keys": left, "ConsistentRead": true});
            let body = json!({"RequestItems": {target.name.as_str(): request}});
            let mut said = self.read("BatchGetItem", &body).await?;
            let shown = Showing::of(target.mapping());
            if let Json::Array(found) = said["Responses"][target.name.as_str()].take() {
                for item in found.into_iter().filter(|item| !shown.hides(item)) {
                    unseen.remove(&key_of(target, &item));
                }
            }
            left = rest;
            let table = &mut said["UnprocessedKeys"][target.name.as_str()];
            if let Json::Array(again) = table["Keys"].take() {
                left.extend(again);
            }
        }
        Ok(unseen)
    }
}
