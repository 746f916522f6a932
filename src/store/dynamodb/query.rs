//! Listing a partition, or a part of it.

use std::cmp::Ordering;
use std::ops::Bound;

use super::DynamoDb;
use super::attr::Attrs;
use super::body::Body;
use super::expression::Terms;
use super::read::readable;
use super::scan::{ItemsPage, MOST};
use crate::error::Result;
use crate::item::wire::Attributes;
use crate::item::{Attr, Mapping, SortRange};
use crate::model::{ClusteringRange, Key, Query, Row};
use crate::store::{QueryPage, Reading};

/// Where a page begins.
enum Start {
    First(SortRange),
    Behind(SortRange, Attrs),
    /// After the end of the query.
    Over,
}

impl DynamoDb {
    /// What [`crate::store::Reads::query`] does.
    pub(super) async fn query_rows(&self, mapping: &Mapping, query: &Query) -> Result<QueryPage> {
        if !(query.range.is_whole() && mapping.is_reversed() && mapping.table().has_statics()) {
            return self.query_items(mapping, query, query.limit).await;
        }
        // The static columns' item comes first among sort keys, which run backwards here.
        let statics = Key::statics(query.range.partition.clone());
        let statics = || self.read_item(mapping, &statics, Reading::Strong);
        let limit = query.limit.max(1);
        match (query.reverse, &query.after) {
            (false, None) => {
                let first = statics().await?;
                let rest = limit - first.iter().len();
                let mut listed = match rest {
                    0 => QueryPage {
                        rows: Vec::new(),
                        more: true,
                    },
                    rest => self.query_items(mapping, query, rest).await?,
                };
                listed.rows.splice(0..0, first);
                Ok(listed)
            }
            (false, Some(_)) => self.query_items(mapping, query, limit).await,
            (true, Some(after)) if after.is_static() => Ok(QueryPage::default()),
            (true, _) => {
                let mut listed = self.query_items(mapping, query, limit).await?;
                if !listed.more && listed.rows.len() < limit {
                    listed.rows.extend(statics().await?);
                } else {
                    listed.more = true;
                }
                Ok(listed)
            }
        }
    }

    /// The items of a range, in the order of their sort keys or backwards. DynamoDB may answer with
    /// nothing though more follows; it is asked on until there are rows.
    async fn query_items(
        &self,
        mapping: &Mapping,
        query: &Query,
        limit: usize,
    ) -> Result<QueryPage> {
        let Some(partition) = mapping.partition_to_find(&query.range.partition)? else {
            return Ok(QueryPage::default());
        };
        let Some(range) = mapping.sort_range(&query.range)? else {
            return Ok(QueryPage::default());
        };
        let forward = query.reverse == mapping.is_reversed();
        let (range, mut start) = match start(mapping, query, range, forward)? {
            Start::First(range) => (range, None),
            Start::Behind(range, key) => (range, Some(key)),
            Start::Over => return Ok(QueryPage::default()),
        };
        let table = mapping.table().name.as_str();
        let call = self.reading("dynamodb:Query", table);
        let mut terms = Terms::default();
        let condition = key_condition(mapping, partition, &range, &mut terms);
        loop {
            let body = Body::on(table)
                .flag("ConsistentRead", true)
                .text("KeyConditionExpression", &condition)
                .terms(&terms)
                .flag("ScanIndexForward", forward)
                .number("Limit", limit.clamp(1, MOST))
                .item_if("ExclusiveStartKey", start.as_deref());
            let answer: ItemsPage = self
                .direct
                .ask("Query", body.done(), None)
                .await
                .map_err(|error| call.failed(error))?;
            let rows: Vec<Row> = answer
                .items
                .unwrap_or_default()
                .into_iter()
                .map(|Attributes(attrs)| {
                    let is_within = sort_of(mapping, &attrs)
                        .is_none_or(|attr| range.compare(attr) == Ordering::Equal);
                    is_within.then(|| readable(mapping, attrs)).transpose()
                })
                .filter_map(Result::transpose)
                .collect::<Result<_>>()?;
            start = answer.last_evaluated_key.map(|Attributes(key)| key);
            // DynamoDB Local refuses to go on after the end.
            start = start.filter(|key| {
                !sort_of(mapping, key).is_some_and(|attr| range.ends_at(attr, forward))
            });
            let more = start.is_some();
            if !more || !rows.is_empty() {
                return Ok(QueryPage { rows, more });
            }
        }
    }
}

/// Where a page begins: after a key that may be gone by now, and may lie outside of the range.
fn start(mapping: &Mapping, query: &Query, range: SortRange, forward: bool) -> Result<Start> {
    let Some(after) = &query.after else {
        return Ok(Start::First(range));
    };
    if after.is_static() && mapping.is_reversed() {
        return Ok(match query.reverse {
            false => Start::First(range),
            true => Start::Over,
        });
    }
    let Some(key) = mapping.key_to_find(after)? else {
        // A row of the old store: what lies after it is a range.
        let following = match mapping.sort_range(&following(query, after))? {
            Some(following) => range.and(following),
            None => None,
        };
        return Ok(following.map_or(Start::Over, Start::First));
    };
    // Without a sort key a partition has one row.
    let Some(sort_key) = sort_of(mapping, &key) else {
        return Ok(Start::Over);
    };
    Ok(match (range.compare(sort_key), forward) {
        (Ordering::Equal, _) if range.ends_at(sort_key, forward) => Start::Over,
        (Ordering::Equal, _) => Start::Behind(range, key),
        (Ordering::Less, true) | (Ordering::Greater, false) => Start::First(range),
        (Ordering::Less, false) | (Ordering::Greater, true) => Start::Over,
    })
}

/// The rows of a query's partition that come after a key.
fn following(query: &Query, after: &Key) -> ClusteringRange {
    let values = after.clustering.clone().unwrap_or_default();
    let whole = ClusteringRange::whole(query.range.partition.clone());
    match query.reverse {
        false => ClusteringRange {
            from: Bound::Excluded(values),
            ..whole
        },
        true => ClusteringRange {
            until: Bound::Excluded(values),
            ..whole
        },
    }
}

fn sort_of<'a>(mapping: &Mapping, attrs: &'a [(String, Attr)]) -> Option<&'a Attr> {
    let name = &mapping.sort()?.name;
    let (_, attr) = attrs.iter().find(|(known, _)| known == name)?;
    Some(attr)
}

/// The condition on the key. A range with two ends can only be asked for with both of them.
fn key_condition(
    mapping: &Mapping,
    partition: Attr,
    range: &SortRange,
    terms: &mut Terms,
) -> String {
    let partition = terms.is(&mapping.partition().name, Some(partition));
    let Some(sort) = mapping.sort() else {
        return partition;
    };
    let mut value = |attr: &Attr| terms.value(attr.clone());
    let sorted = match (&range.lower, &range.upper) {
        (None, None) => return partition,
        (Some(lower), None) => {
            let sign = if lower.included { ">=" } else { ">" };
            format!("{sign} {}", value(&lower.attr))
        }
        (None, Some(upper)) => {
            let sign = if upper.included { "<=" } else { "<" };
            format!("{sign} {}", value(&upper.attr))
        }
        (Some(lower), Some(upper)) => {
            format!("BETWEEN {} AND {}", value(&lower.attr), value(&upper.attr))
        }
    };
    format!("{partition} AND {} {sorted}", terms.name(&sort.name))
}
