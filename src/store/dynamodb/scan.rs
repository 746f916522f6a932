//! Reading a table page by page.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use futures::FutureExt;

use super::DynamoDb;
use super::attr::{from_sdk_map, key_bytes, key_from_bytes, to_sdk_map};
use super::digest::digest;
use super::outcome::{key_of_item, units};
use super::read::{SdkItem, is_marked, read_row};
use crate::error::{Effect, Kind, Result};
use crate::item::{Mapping, item_size};
use crate::store::{Cursor, Page, Range, Unreadable};

/// The most segments of a scan, set by DynamoDB.
const SEGMENTS: usize = 1_000_000;

/// Segments that together are a table.
pub(super) fn segments(count: usize) -> Vec<Range> {
    let total = count.clamp(1, SEGMENTS) as u32;
    (0..total)
        .map(|index| Range::Segment { index, total })
        .collect()
}

/// A page as the SDK gives it.
struct SdkPage {
    items: Option<Vec<SdkItem>>,
    last: Option<SdkItem>,
    units: Option<f64>,
}

impl DynamoDb {
    /// What [`crate::store::Store::scan`] does.
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
        self.pages(mapping, after, |start| {
            self.client
                .scan()
                .table_name(table)
                .consistent_read(true)
                .segment(i32::try_from(index).unwrap_or(i32::MAX))
                .total_segments(i32::try_from(total).unwrap_or(i32::MAX))
                .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .map(|answer| {
                    let answer = answer.map_err(|error| call.failed(error))?;
                    Ok(SdkPage {
                        units: units(answer.consumed_capacity.as_slice()),
                        items: answer.items,
                        last: answer.last_evaluated_key,
                    })
                })
        })
        .await
    }

    /// Asks for a page until there are rows or nothing is left: a page may be empty though more
    /// follow, but a cursor needs a row to name.
    async fn pages<F>(
        &self,
        mapping: &Mapping,
        after: Option<&Cursor>,
        ask: impl Fn(Option<SdkItem>) -> F,
    ) -> Result<Page>
    where
        F: Future<Output = Result<SdkPage>>,
    {
        let mut start = match after {
            None => None,
            Some(Cursor {
                state: Some(state), ..
            }) => Some(key_from_bytes(state)?),
            Some(Cursor { key, state: None }) => Some(mapping.key(key)?),
        };
        let mut page = Page::default();
        loop {
            let answer = ask(start.as_deref().map(to_sdk_map)).await?;
            page.units += answer.units.unwrap_or_default();
            for item in answer.items.unwrap_or_default() {
                let attrs = from_sdk_map(item)?;
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
            let Some(last) = answer.last else {
                return Ok(page);
            };
            let last = from_sdk_map(last)?;
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
