//! Reading a table page by page.

use serde::Deserialize;

use super::DynamoDb;
use super::attr::{key_bytes, key_from_bytes};
use super::body::Body;
use super::digest::digest;
use super::outcome::{ConsumedUnits, key_of_item};
use super::read::{is_marked, read_row};
use crate::error::{Effect, Kind, Result};
use crate::item::wire::Attributes;
use crate::item::{Mapping, item_size};
use crate::store::{Cursor, Page, Range, Unreadable};

/// The most items of a page, set by the width of the number in the protocol.
pub(super) const MOST: usize = i32::MAX as usize;
/// The most segments of a scan, set by DynamoDB.
const SEGMENTS: usize = 1_000_000;

/// Segments that together are a table.
pub(super) fn segments(count: usize) -> Vec<Range> {
    let total = count.clamp(1, SEGMENTS) as u32;
    (0..total)
        .map(|index| Range::Segment { index, total })
        .collect()
}

/// A page.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ItemsPage {
    pub items: Option<Vec<Attributes>>,
    pub last_evaluated_key: Option<Attributes>,
    consumed_capacity: Option<ConsumedUnits>,
}

impl DynamoDb {
    /// What [`crate::store::Store::scan`] does. It asks for a page until there are rows or nothing is left: a page may
    /// be empty though more follow, but a cursor needs a row to name.
    pub(super) async fn scan_page(
        &self,
        mapping: &Mapping,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let table = mapping.table().name.as_str();
        let call = self.reading("dynamodb:Scan", table);
        let (index, total) = match range {
            Range::Segment { index, total } => (*index, *total),
            Range::Tokens(_) | Range::Slice(_) => {
                return Err(call.error(
                    Kind::Unsupported,
                    Effect::None,
                    "DynamoDB is scanned by segments, not by tokens",
                ));
            }
        };
        let mut start = match after {
            None => None,
            Some(Cursor {
                state: Some(state), ..
            }) => Some(key_from_bytes(state)?),
            Some(Cursor { key, state: None }) => Some(mapping.key(key)?),
        };
        let mut page = Page::default();
        loop {
            let body = Body::on(table)
                .flag("ConsistentRead", true)
                .number("Segment", index as usize)
                .number("TotalSegments", total as usize)
                .number("Limit", limit.clamp(1, MOST))
                .item_if("ExclusiveStartKey", start.as_deref())
                .text("ReturnConsumedCapacity", "TOTAL");
            let answer: ItemsPage = self
                .direct
                .ask("Scan", body.done(), None)
                .await
                .map_err(|error| call.failed(error))?;
            let consumed = answer.consumed_capacity;
            page.units += consumed
                .and_then(|consumed| consumed.capacity_units)
                .unwrap_or_default();
            for Attributes(attrs) in answer.items.unwrap_or_default() {
                page.bytes += item_size(&attrs) as u64;
                // Its reader takes the attributes apart.
                let unmarked = (!is_marked(mapping, &attrs)).then(|| attrs.clone());
                match read_row(mapping, attrs) {
                    Ok(row) => page.rows.push(row),
                    Err(unreadable) => page.unreadable.push(Unreadable {
                        digest: unmarked.map(digest),
                        ..unreadable
                    }),
                }
            }
            let Some(Attributes(last)) = answer.last_evaluated_key else {
                return Ok(page);
            };
            if let Some(row) = page.rows.last() {
                page.next = Some(Cursor {
                    key: row.key.clone(),
                    state: Some(key_bytes(key_of_item(mapping, &last))?),
                });
                return Ok(page);
            }
            start = Some(last);
        }
    }
}
