//! Query: the rows of a partition, or of a part of it.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::app::App;
use super::asked::{Asked, Expressed, enumerated};
use super::attempts::AttemptOutcome;
use super::capacity::{self, WantedCapacity};
use super::fault::Fault;
use super::hashed::FoundByHash;
use super::range::{RowStretch, RowsRead, rows};
use super::target::{ReplyBody, Target, counters_alone, json as item_json, paths, project};
use crate::error::{Error, Kind};
use crate::express::{ConditionExpression, Item, KeyCondition, Projection};
use crate::model::{Key, Query, Value};

/// Bytes of items that a page evaluates.
pub(super) const PAGE: usize = 1 << 20;
/// Rows that are asked for first, where a page has no limit of its own.
const FIRST: usize = 100;
/// And later, once it is known how large they are.
const MOST: usize = 1_000;

/// What is done with each item that is evaluated.
pub(super) struct Evaluation {
    filter: Option<ConditionExpression>,
    projection: Option<Projection>,
    counts: bool,
    limit: usize,
    pub wanted: WantedCapacity,
    items: Vec<Item>,
    count: usize,
    scanned: usize,
    bytes: usize,
}

impl Evaluation {
    /// What a Query or a Scan says of it.
    pub fn of(asked: &Asked, target: &Target, expressed: &mut Expressed) -> Result<Self, Fault> {
        let (filter, projection) = (expressed.filter.take(), expressed.projection.take());
        target.refuse_reserved(filter.iter().flat_map(paths))?;
        target.refuse_reserved(projection.iter().flat_map(|projection| &projection.paths))?;
        let counts = match asked.select.as_deref() {
            None | Some("ALL_ATTRIBUTES" | "SPECIFIC_ATTRIBUTES") => false,
            Some("COUNT") => true,
            Some("ALL_PROJECTED_ATTRIBUTES") => {
                return Err(Fault::invalid(
                    "One or more parameter values were invalid: Select type ALL_PROJECTED_ATTRIBUTES is supported only \
                     when querying an index",
                ));
            }
            Some(other) => {
                let all = "[SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]";
                return Err(enumerated("select", other, all));
            }
        };
        if counts && projection.is_some() {
            return Err(Fault::invalid(
                "One or more parameter values were invalid: Cannot specify the AttributesToGet when choosing to get \
                 only the Count",
            ));
        }
        Ok(Evaluation {
            filter,
            projection,
            counts,
            limit: asked.limit()?.unwrap_or(usize::MAX),
            wanted: WantedCapacity::of(asked.return_consumed_capacity.as_deref())?,
            items: Vec::new(),
            count: 0,
            scanned: 0,
            bytes: 0,
        })
    }

    /// Evaluates an item; whether the page is full with it.
    pub fn take(&mut self, item: Item) -> bool {
        self.scanned += 1;
        self.bytes += capacity::size(&item);
        if self
            .filter
            .as_ref()
            .is_none_or(|filter| filter.holds(Some(&item)))
        {
            self.count += 1;
            if !self.counts {
                self.items.push(project(item, self.projection.as_ref()));
            }
        }
        self.is_full()
    }

    pub fn is_full(&self) -> bool {
        self.scanned >= self.limit || self.bytes >= PAGE
    }

    /// How many rows to ask for, so that there is about a page of them.
    pub fn rows(&self) -> usize {
        let left = self.limit.saturating_sub(self.scanned).max(1);
        let bytes = PAGE.saturating_sub(self.bytes);
        let by_size = match self.bytes.checked_div(self.scanned) {
            None | Some(0) => FIRST,
            Some(of_one) => (bytes / of_one).clamp(1, MOST),
        };
        left.min(by_size)
    }

    /// The reply; `last` is where the next page goes on.
    pub fn reply(self, target: &Target, last: Option<Json>) -> Bytes {
        let units = capacity::read(self.bytes);
        ReplyBody::new()
            .items("Items", (!self.counts).then_some(&self.items))
            .json("Count", Some(json!(self.count)))
            .json("ScannedCount", Some(json!(self.scanned)))
            .json("LastEvaluatedKey", last)
            .json(
                "ConsumedCapacity",
                self.wanted.of_table(&target.name, units),
            )
            .done()
    }
}

/// Query.
pub(super) async fn query(app: &App, target: &Target, mut asked: Asked) -> AttemptOutcome {
    refuse_index(target, &asked)?;
    if target.is_counter() {
        return Err(counters_alone(&target.name));
    }
    let (partition, sort) = target.key_names();
    let mut expressed = asked.expressed(partition, sort)?;
    let condition = expressed.key.take().ok_or_else(|| {
        Fault::invalid(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        )
    })?;
    if let Some(filter) = &expressed.filter {
        refuse_keys_in_filter(target, filter)?;
    }
    let mut page = Evaluation::of(&asked, target, &mut expressed)?;
    let start = asked.exclusive_start_key.take().map(super::json::item);
    let start = start
        .map(|key| target.items.position_key(&key))
        .transpose()
        .map_err(|_| Fault::invalid("The provided starting key is invalid"))?;
    let forward = asked.scan_index_forward.unwrap_or(true);
    let values = match partition_values(target, &condition)? {
        Some(values) => values,
        None => match app.partition_by_hash(target, &condition.partition).await? {
            FoundByHash::Row(row) => row.partition,
            FoundByHash::None => return Ok(page.reply(target, None)),
        },
    };
    let RowStretch { range, test } = match rows(target, condition, values)? {
        RowsRead::None => return Ok(page.reply(target, None)),
        RowsRead::One(key) => {
            // Behind the only one there is nothing.
            if start.is_none()
                && let Some(item) = target.read(&key).await?
            {
                page.take(item);
            }
            return Ok(page.reply(target, None));
        }
        RowsRead::Of(stretch) => *stretch,
    };
    if start
        .as_ref()
        .is_some_and(|start| start.partition != range.partition)
    {
        return Err(Fault::invalid(
            "The provided starting key is outside query boundaries based on provided conditions",
        ));
    }
    let mut query = Query {
        range,
        reverse: forward == target.mapping().is_reversed(),
        after: start,
        limit: 1,
    };
    let mut reached = None;
    loop {
        query.limit = page.rows();
        let found = match (target.table.query(query.clone()).await, reached.take()) {
            (Ok(found), _) => found,
            // What was found in time is a page.
            (Err(error), Some(reached)) if error.kind() == Kind::Timeout => {
                return Ok(page.reply(target, Some(reached)));
            }
            (Err(error), _) => return Err(error.into()),
        };
        // Its time was over before there were more.
        let is_short = found.rows.len() < query.limit;
        for row in found.rows {
            let key = row.key.clone();
            let item = target.shown(&row)?;
            if !test.as_ref().is_none_or(|test| test.holds(Some(&item))) {
                continue;
            }
            if page.take(item) {
                return Ok(page.reply(target, Some(last(target, &key)?)));
            }
        }
        match found.next {
            None => return Ok(page.reply(target, None)),
            Some(next) => match last(target, &next) {
                Ok(last) if is_short => return Ok(page.reply(target, Some(last))),
                Ok(last) => {
                    reached = Some(last);
                    query.after = Some(next);
                }
                // A key that no item can have is in no reply.
                Err(_) => query.after = Some(next),
            },
        }
    }
}

/// The partition that a condition names; `None` if it is known by its hash.
///
/// # Errors
/// It isn't spelled as the table's keys are.
pub(super) fn partition_values(
    target: &Target,
    condition: &KeyCondition,
) -> Result<Option<Vec<Value>>, Fault> {
    let given = [(target.key_names().0.to_owned(), condition.partition.clone())];
    if target.items.is_hashed(&Item::from(given)) {
        return Ok(None);
    }
    let values = target.mapping().partition_of(&condition.partition);
    let refused = |error: Error| {
        Fault::invalid(format!(
            "One or more parameter values were invalid: {}",
            error.message()
        ))
    };
    values.map(Some).map_err(refused)
}

fn last(target: &Target, key: &Key) -> Result<Json, Fault> {
    Ok(item_json(target.items.position_item(key)?))
}

/// Indexes aren't the old table's, and an embedded store has none.
pub(super) fn refuse_index(target: &Target, asked: &Asked) -> Result<(), Fault> {
    let Some(index) = &asked.index_name else {
        return Ok(());
    };
    Err(Fault::invalid(format!(
        "the index `{index}` of `{}` can't be read in phase `{}`: it lacks the rows that haven't moved. It is read from \
         phase `new` on",
        target.name, target.phase
    )))
}

fn refuse_keys_in_filter(target: &Target, filter: &ConditionExpression) -> Result<(), Fault> {
    let (partition, sort) = target.key_names();
    let is_key = |name: &str| name == partition || Some(name) == sort;
    match paths(filter)
        .into_iter()
        .find(|path| is_key(&path.attribute))
    {
        None => Ok(()),
        Some(path) => Err(Fault::invalid(format!(
            "Filter Expression can only contain non-primary key attributes: Primary key attribute: {}",
            path.attribute
        ))),
    }
}
