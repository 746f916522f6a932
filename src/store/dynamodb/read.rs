//! Reading rows by key.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;

use super::DynamoDb;
use super::attr::{Attrs, from_sdk_map, key_bytes};
use super::body::Body;
use super::outcome::{item_key_text, key_of_item};
use crate::error::{Effect, Error, Kind, Result};
use crate::item::wire::Attributes;
use crate::item::{Attr, Mapping};
use crate::model::{Key, Row};
use crate::store::{Reading, Unreadable};

/// Keys that one request takes at most, set by DynamoDB.
const KEYS: usize = 100;
/// Requests of one read that are under way at once.
const REQUESTS: usize = 4;
pub(super) type SdkItem = HashMap<String, AttributeValue>;

/// Items as they are read: by the bytes of their keys.
type FoundItems = HashMap<Vec<u8>, Row>;

impl DynamoDb {
    /// What [`crate::store::Store::get`] does.
    pub(super) async fn read_keys(
        &self,
        mapping: &Mapping,
        keys: &[Key],
    ) -> Result<Vec<Option<Row>>> {
        let mut places: HashMap<Vec<u8>, Vec<usize>> = HashMap::with_capacity(keys.len());
        let mut wanted = Vec::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            let Some(attrs) = mapping.key_to_find(key)? else {
                continue;
            };
            let bytes = key_bytes(key_of_item(mapping, &attrs))?;
            let same = places.entry(bytes).or_default();
            if same.is_empty() {
                wanted.push(attrs);
            }
            same.push(place);
        }
        let mut requests = Vec::new();
        while !wanted.is_empty() {
            let rest = wanted.split_off(KEYS.min(wanted.len()));
            requests.push(std::mem::replace(&mut wanted, rest));
        }
        let found: Vec<FoundItems> = stream::iter(requests)
            .map(|keys| self.read_batch(mapping, keys))
            .buffer_unordered(REQUESTS)
            .try_collect()
            .await?;
        let mut rows = vec![None; keys.len()];
        for (bytes, row) in found.into_iter().flatten() {
            for place in places.get(&bytes).into_iter().flatten() {
                rows[*place] = Some(row.clone());
            }
        }
        Ok(rows)
    }

    /// What [`crate::store::Store::read`] does.
    pub(super) async fn read_item(
        &self,
        mapping: &Mapping,
        key: &Key,
        reading: Reading,
    ) -> Result<Option<Row>> {
        let item = self.read_attributes(mapping, key, reading).await?;
        item.map(|item| readable(mapping, item)).transpose()
    }

    /// All attributes of an item, those that the mapping doesn't know too.
    pub(super) async fn read_attributes(
        &self,
        mapping: &Mapping,
        key: &Key,
        reading: Reading,
    ) -> Result<Option<Attrs>> {
        let Some(attrs) = mapping.key_to_find(key)? else {
            return Ok(None);
        };
        #[derive(Deserialize)]
        struct Got {
            #[serde(rename = "Item")]
            item: Option<Attributes>,
        }
        let table = mapping.table().name.as_str();
        let call = self.reading("dynamodb:GetItem", table);
        let body = Body::on(table)
            .item("Key", &attrs)
            .flag("ConsistentRead", reading == Reading::Strong);
        let got: Got = self
            .direct
            .ask("GetItem", body.done(), None)
            .await
            .map_err(|error| call.failed(error))?;
        Ok(got.item.map(|Attributes(item)| item))
    }

    /// Reads on while each answer brings something: DynamoDB cuts an answer at 16 MB.
    async fn read_batch(&self, mapping: &Mapping, keys: Vec<Attrs>) -> Result<FoundItems> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Got {
            responses: Option<HashMap<String, Vec<Attributes>>>,
            unprocessed_keys: Option<HashMap<String, Left>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Left {
            keys: Vec<Attributes>,
        }
        let table = mapping.table().name.as_str();
        let call = self.reading("dynamodb:BatchGetItem", table);
        let mut found = FoundItems::new();
        let mut left = keys;
        while !left.is_empty() {
            let asked = left.len();
            let body = Body::empty().keys_of(table, &left);
            let got: Got = self
                .direct
                .ask("BatchGetItem", body.done(), None)
                .await
                .map_err(|error| call.failed(error))?;
            let items = got.responses.and_then(|mut tables| tables.remove(table));
            for Attributes(attrs) in items.unwrap_or_default() {
                let key = key_bytes(key_of_item(mapping, &attrs))?;
                found.insert(key, readable(mapping, attrs)?);
            }
            let rest = got
                .unprocessed_keys
                .and_then(|mut tables| tables.remove(table));
            let rest = rest.map(|rest| rest.keys).unwrap_or_default();
            left = rest.into_iter().map(|Attributes(key)| key).collect();
            if left.len() >= asked {
                return Err(call.error(
                    Kind::Throttled,
                    Effect::None,
                    format!("none of {asked} keys was read"),
                ));
            }
        }
        Ok(found)
    }
}

/// The row of an item as the SDK gives it.
pub(super) fn row_of(mapping: &Mapping, item: SdkItem) -> Result<Row> {
    readable(mapping, from_sdk_map(item)?)
}

/// The row of an item's attributes.
pub(super) fn readable(mapping: &Mapping, attrs: Vec<(String, Attr)>) -> Result<Row> {
    read_row(mapping, attrs).map_err(|unreadable| unreadable.error)
}

/// The row of an item.
pub(super) fn read_row(mapping: &Mapping, attrs: Vec<(String, Attr)>) -> Result<Row, Unreadable> {
    let key = item_key_text(mapping, &attrs);
    let is_marked = is_marked(mapping, &attrs);
    mapping.row(attrs).map_err(|error| Unreadable {
        error: Error::new(Kind::Corrupt, error.message())
            .with_context("table", &mapping.table().name)
            .with_context("key", key.as_str())
            .with_help("the item was not written by this mapping, or was changed by hand since"),
        key,
        is_marked,
        digest: None,
    })
}

pub(super) fn is_marked(mapping: &Mapping, attrs: &[(String, Attr)]) -> bool {
    attrs.iter().any(|(name, _)| name == mapping.mark())
}
