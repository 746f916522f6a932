//! Scan: a whole table, page by page.
//!
//! A scan goes over the old store's rows and then over those that the new one has alone. Where it is, is in its
//! `LastEvaluatedKey`: the key of the last item, and beside it an attribute that says the rest. In `done` it is the key
//! alone, as DynamoDB has it.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::asked::Asked;
use super::attempts::AttemptOutcome;
use super::fault::Fault;
use super::json::{self, GivenItem};
use super::query::{Evaluation, refuse_index};
use super::target::{Target, counters_alone, json as item_json};
use crate::error::Kind;
use crate::express::Item;
use crate::item::Attr;
use crate::model::Key;
use crate::protocol::Phase;
use crate::protocol::row::{Position, Shown};
use crate::shim::{Scan, ScanPart};

/// The most segments, as the service has it.
const SEGMENTS: i64 = 1_000_000;

/// Scan.
pub(super) async fn scan(target: &Target, mut asked: Asked) -> AttemptOutcome {
    refuse_index(target, &asked)?;
    if target.is_counter() {
        return Err(counters_alone(&target.name));
    }
    let (partition, sort) = target.key_names();
    let mut expressed = asked.expressed(partition, sort)?;
    let part = part(&asked)?;
    let start = asked.exclusive_start_key.take().map(json::item);
    let mut page = Evaluation::of(&asked, target, &mut expressed)?;
    let phase = target.table.phase().await?;
    let mut position = match start {
        Some(start) => Some(position(target, start, phase)?),
        None => None,
    };
    let mut reached = None;
    // The shim ends a page by its bytes, and so does the service: one request, one page.
    loop {
        let scan = Scan {
            position: position.take(),
            limit: page.rows(),
            part,
        };
        let found = match (target.table.scan(scan).await, reached.take()) {
            (Ok(found), _) => found,
            // What was found in time is a page.
            (Err(error), Some(reached)) if error.kind() == Kind::Timeout => {
                let last = last(target, &reached, phase)?;
                return Ok(page.reply(target, Some(last)));
            }
            (Err(error), _) => return Err(error.into()),
        };
        for row in &found.rows {
            page.take(target.shown(row)?);
        }
        match found.next {
            None => return Ok(page.reply(target, None)),
            Some(next) if page.is_full() => {
                let last = last(target, &next, phase)?;
                return Ok(page.reply(target, Some(last)));
            }
            Some(next) => {
                reached = Some(next.clone());
                position = Some(next);
            }
        }
    }
}

fn part(asked: &Asked) -> Result<Option<ScanPart>, Fault> {
    let (index, total) = match (asked.segment, asked.total_segments) {
        (None, None) => return Ok(None),
        (Some(index), Some(total)) => (index, total),
        (None, Some(_)) => {
            return Err(Fault::invalid(
                "The Segment parameter is required but was not present in the request when parameter TotalSegments is \
                 present",
            ));
        }
        (Some(_), None) => {
            return Err(Fault::invalid(
                "The TotalSegments parameter is required but was not present in the request when Segment parameter is \
                 present",
            ));
        }
    };
    if !(1..=SEGMENTS).contains(&total) {
        return Err(Fault::invalid(format!(
            "1 validation error detected: Value '{total}' at 'totalSegments' failed to satisfy constraint: Member must \
             have value less than or equal to {SEGMENTS}"
        )));
    }
    if !(0..total).contains(&index) {
        return Err(Fault::invalid(format!(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {index} is \
             not less than TotalSegments: {total}"
        )));
    }
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Some(ScanPart {
        index: number(index),
        total: number(total),
    }))
}

/// What says the rest of a position.
fn attribute(target: &Target) -> String {
    format!("{}scan", target.mapping().table().layout.reserved_prefix)
}

/// Whether it goes on with a scan that began before `done`: only that has a position of its own.
pub(super) fn began_before(target: &Target, asked: &Asked) -> bool {
    let start = asked.exclusive_start_key.as_ref();
    start.is_some_and(|start| start.contains_key(&attribute(target)))
}

fn last(target: &Target, position: &Position, phase: Phase) -> Result<Json, Fault> {
    let (key, rest) = match position {
        Position::Old(key) => (Some(key), "old".to_owned()),
        Position::New { after, shown } => {
            let shown = match shown {
                Shown::None => "new".to_owned(),
                Shown::All => "new all".to_owned(),
                Shown::UpTo(key) => {
                    let key = item_json(target.items.position_item(key)?);
                    format!("new up to {key}")
                }
            };
            (after.as_ref(), shown)
        }
    };
    let mut item = match key {
        Some(key) => target.items.position_item(key)?,
        None => Item::new(),
    };
    if !(phase == Phase::Done && rest == "new" && key.is_some()) {
        item.insert(attribute(target), Attr::S(rest));
    }
    Ok(item_json(item))
}

fn position(target: &Target, mut start: Item, phase: Phase) -> Result<Position, Fault> {
    let invalid = || Fault::invalid("The provided starting key is invalid");
    let rest = match start.remove(&attribute(target)) {
        Some(Attr::S(rest)) => rest,
        Some(_) => return Err(invalid()),
        // A key as DynamoDB gives it, or made by hand.
        None => match phase {
            Phase::Old => "old".to_owned(),
            Phase::New | Phase::Done => "new".to_owned(),
            Phase::Bridge | Phase::Switch | Phase::Copy | Phase::Offline => {
                return Err(Fault::invalid(
                    "The provided starting key is invalid: while a table moves, a scan goes on from a LastEvaluatedKey \
                     as it was given, and from no other key",
                ));
            }
        },
    };
    let key_of = |item: &Item| target.items.position_key(item).map_err(|_| invalid());
    let after: Option<Key> = match start.is_empty() {
        true => None,
        false => Some(key_of(&start)?),
    };
    let shown = match rest.as_str() {
        "old" => return after.map(Position::Old).ok_or_else(invalid),
        "new" => Shown::None,
        "new all" => Shown::All,
        other => {
            let text = other.strip_prefix("new up to ").ok_or_else(invalid)?;
            let key: GivenItem = json::read(text.as_bytes()).map_err(|_| invalid())?;
            let key: BTreeMap<String, Attr> = json::item(key);
            Shown::UpTo(key_of(&key)?)
        }
    };
    Ok(Position::New { after, shown })
}
