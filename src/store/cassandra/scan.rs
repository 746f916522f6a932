//! Pages of a range, by the server's own paging.
//!
//! A scan goes through stages: the whole of a token range is one statement, a slice is one, and
//! going on after a row of an earlier process takes a few (see [`super::resume`]). Where it is
//! is in [`Cursor::state`]; a range ends where the server gives no paging state, whatever the
//! number of rows.

use scylla::response::{PagingState, PagingStateResponse};

use super::decode::RowShape;
use super::errors::{self, Doing};
use super::resume::{Stage, StagePosition};
use super::slice;
use super::statement::{BoundValues, Selection, equal, of, quoted_always, token};
use super::{Cassandra, Replicas, connect};
use crate::clock::unix_seconds;
use crate::error::{Error, Kind, Result};
use crate::model::{CellTimes, End, Ends, Key, Row, Times};
use crate::schema::{Order, Role, Table};
use crate::store::{Cursor, Page, Range, Slice};

/// How long an answer may take whose times to live are believed at once, in seconds. The server counts them from the
/// moment in which it began with the request: somewhere between asking and the answer.
const IN_TIME: i64 = 2;

/// Whether times to live may be off that were counted from when the rows were asked for: then it pays to ask again.
/// Where the server is slow and nothing else, they aren't, so once is enough.
struct Untimely {
    asked_at: i64,
    again: bool,
}

impl Untimely {
    fn new() -> Self {
        Untimely {
            asked_at: unix_seconds(),
            again: false,
        }
    }

    /// Whether what was asked for is to be asked for once more.
    fn asks_again(&mut self, rows: &[Row]) -> bool {
        let took = unix_seconds() - self.asked_at;
        let is_late = !(0..=IN_TIME).contains(&took);
        if self.again || !is_late || !rows.iter().any(ends) {
            return false;
        }
        tracing::debug!("reading rows with times to live once more: the answer took {took} s");
        self.again = true;
        true
    }

    /// Now rows are asked for.
    fn ask(&mut self) -> i64 {
        self.asked_at = unix_seconds();
        self.asked_at
    }
}

/// Whether a row has a cell that ends.
fn ends(row: &Row) -> bool {
    let is_told = |cell: &CellTimes| match cell.ends {
        Ends::Told { first, .. } => first != End::Never,
        Ends::Null | Ends::Untold => false,
    };
    match &row.times {
        Times::OfCells(cells) => cells.iter().any(is_told),
        Times::OfRow => false,
    }
}

/// A `SELECT`, and what its rows become.
pub(super) struct Select {
    pub selection: Selection,
    pub conditions: String,
    pub values: BoundValues,
    /// Whether static columns become rows of their own.
    pub statics: bool,
}

/// What the server gave: a page's rows, and the paging state if there are more.
pub(super) struct Answered {
    pub rows: Vec<Row>,
    pub bytes: u64,
    pub more: Option<Vec<u8>>,
}

impl Cassandra {
    /// The next page of a range, from its start or after a cursor.
    pub(super) async fn read_page(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let mut key = after.map(|cursor| cursor.key.clone());
        let mut position = match after {
            None => StagePosition::start(range)?,
            Some(cursor) => match &cursor.state {
                Some(state) => StagePosition::from_bytes(state)?,
                None => match self.after(table, range, &cursor.key).await? {
                    Some(position) => position,
                    None => return Ok(Page::default()),
                },
            },
        };
        if position.starts_again() {
            key = None;
        }
        let mut page = Page::default();
        loop {
            let asked = self.asked(table, range, &position.stage, key.as_ref())?;
            let paging = position.paging.take();
            let answered = self
                .page(table, &asked, key.as_ref(), paging, limit, Doing::Scan)
                .await?;
            page.bytes += answered.bytes;
            page.rows = answered.rows;
            if let Some(last) = page.rows.last() {
                key = Some(last.key.clone());
            }
            let next = match answered.more {
                Some(paging) => Some(StagePosition {
                    stage: position.stage,
                    paging: Some(paging),
                }),
                None => position.stage.next(range).map(StagePosition::at),
            };
            match (next, &key) {
                (None, _) => return Ok(page),
                // A cursor needs a row; without one the next page is read at once.
                (Some(next), Some(key)) if !page.rows.is_empty() => {
                    page.next = Some(Cursor {
                        key: key.clone(),
                        state: Some(next.to_bytes()),
                    });
                    return Ok(page);
                }
                (Some(next), _) => position = next,
            }
        }
    }

    pub(super) fn selected(&self, table: &Table) -> Selection {
        Selection::rows(table, self.reads_element_ttls).telling_writes(self.writes_since)
    }

    fn asked(
        &self,
        table: &Table,
        range: &Range,
        stage: &Stage,
        key: Option<&Key>,
    ) -> Result<Select> {
        let mut values = BoundValues::default();
        let token = token(table);
        let rows = || self.selected(table);
        match (stage, range) {
            (Stage::Tokens { after }, Range::Tokens(tokens)) => {
                values.push_token(*after);
                values.push_token(tokens.up_to);
                Ok(Select {
                    selection: rows(),
                    conditions: format!("{token} > ? AND {token} <= ?"),
                    values,
                    statics: table.has_statics(),
                })
            }
            (Stage::Again { token: one }, Range::Tokens(_)) => {
                values.push_token(*one);
                Ok(Select {
                    selection: rows(),
                    conditions: format!("{token} = ?"),
                    values,
                    statics: table.has_statics(),
                })
            }
            (Stage::Rest { depth, after, .. }, Range::Tokens(_)) => {
                let key = key.ok_or_else(|| foreign("a key"))?;
                values.push_all(&key.partition, table.partition());
                let mut conditions = equal(table.partition());
                let columns = table.clustering();
                if let Some(last) = depth.checked_sub(1) {
                    let column = columns
                        .get(last)
                        .ok_or_else(|| foreign("as many columns"))?;
                    for column in &columns[..last] {
                        conditions.push_str(&format!(" AND {} = ?", quoted_always(&column.name)));
                    }
                    let is_behind = match column.role {
                        Role::Clustering(Order::Desc) => "<",
                        Role::Clustering(Order::Asc)
                        | Role::Partition
                        | Role::Static
                        | Role::Regular => ">",
                    };
                    conditions.push_str(&format!(
                        " AND {} {is_behind} ?",
                        quoted_always(&column.name)
                    ));
                    values.push_bytes(after.iter().take(*depth));
                }
                Ok(Select {
                    selection: rows(),
                    conditions,
                    values,
                    statics: false,
                })
            }
            (Stage::Slice, Range::Slice(slice)) => Ok(self.asked_slice(table, slice)),
            (
                Stage::Tokens { .. } | Stage::Again { .. } | Stage::Rest { .. } | Stage::Slice,
                Range::Tokens(_) | Range::Slice(_) | Range::Segment { .. },
            ) => Err(foreign("this range")),
        }
    }

    fn asked_slice(&self, table: &Table, slice: &Slice) -> Select {
        let token = token(table);
        let mut values = BoundValues::default();
        values.push_token(slice.token);
        values.push_token(slice.token);
        let mut conditions = format!("{token} >= ? AND {token} <= ?");
        if slice::is_statics(table, slice) {
            return Select {
                selection: Selection::statics(table, self.reads_element_ttls)
                    .telling_writes(self.writes_since),
                conditions,
                values,
                statics: true,
            };
        }
        let columns = table.clustering();
        values.push_all(&slice.prefix, columns);
        for column in columns.iter().take(slice.prefix.len()) {
            conditions.push_str(&format!(" AND {} = ?", quoted_always(&column.name)));
        }
        if let Some(column) = columns.get(slice.prefix.len()) {
            for (bound, relation) in [(&slice.from, ">="), (&slice.until, "<")] {
                if let Some(value) = bound {
                    conditions.push_str(&format!(
                        " AND {} {relation} ?",
                        quoted_always(&column.name)
                    ));
                    values.push(value, column);
                }
            }
        }
        // The server reads the slices alone, but wants to be told that this is meant.
        conditions.push_str(" ALLOW FILTERING");
        Select {
            selection: self.selected(table),
            conditions,
            values,
            statics: false,
        }
    }

    /// The next page of a statement's answer.
    pub(super) async fn page(
        &self,
        table: &Table,
        asked: &Select,
        before: Option<&Key>,
        paging: Option<Vec<u8>>,
        limit: usize,
        doing: Doing,
    ) -> Result<Answered> {
        let select = asked.selection.text(&self.keyspace, table);
        let cql = format!("{select} WHERE {}", asked.conditions);
        let mut statement = self.prepare(&cql, doing).await?;
        let paging = paging.map_or_else(PagingState::start, PagingState::new_from_raw_bytes);
        let mut untimely = Untimely::new();
        loop {
            let rows = self.page_rows.within(limit);
            statement.set_page_size(i32::try_from(rows).unwrap_or(i32::MAX));
            let now = untimely.ask();
            let page = self
                .session
                .execute_single_page(&statement, &asked.values, paging.clone());
            let (answer, more) = match page.await {
                Ok(page) => page,
                // Each time it asks for less.
                Err(error) if self.page_rows.learns(&error, rows) => continue,
                Err(error) => return Err(errors::executing(error, doing)),
            };
            let answer = answer.into_rows_result().map_err(|error| {
                Error::new(Kind::Corrupt, format!("a SELECT gave no rows: {error}"))
            })?;
            let reading = RowShape {
                table,
                selection: &asked.selection,
                now,
                statics: asked.statics,
            };
            let rows = reading.rows(&answer, before)?;
            if untimely.asks_again(&rows) {
                continue;
            }
            let more = match more {
                PagingStateResponse::HasMorePages { state } => {
                    state.as_bytes_slice().map(|bytes| bytes.to_vec())
                }
                PagingStateResponse::NoMorePages => None,
            };
            return Ok(Answered {
                rows,
                bytes: answer.rows_bytes_size() as u64,
                more,
            });
        }
    }

    /// The row of one key.
    pub(super) async fn get_one(
        &self,
        table: &Table,
        key: &Key,
        replicas: Replicas,
    ) -> Result<Option<Row>> {
        let mut values = BoundValues::default();
        values.push_key(table, key);
        let (selection, conditions) = if key.is_static() {
            let selection = Selection::statics(table, self.reads_element_ttls)
                .telling_writes(self.writes_since);
            (selection, format!("{} LIMIT 1", equal(table.partition())))
        } else {
            let columns = table.partition().iter().chain(table.clustering());
            (self.selected(table), equal(columns))
        };
        let cql = format!(
            "{} WHERE {conditions}",
            selection.text(&self.keyspace, table)
        );
        let mut statement = self.prepare(&cql, Doing::Read).await?;
        match replicas {
            Replicas::Configured => {}
            Replicas::Agreed => statement.set_consistency(connect::agreed(self.writes)),
        }
        let mut untimely = Untimely::new();
        loop {
            let now = untimely.ask();
            let answer = self
                .session
                .execute_unpaged(&statement, &values)
                .await
                .map_err(|error| errors::executing(error, Doing::Read))?
                .into_rows_result()
                .map_err(|error| {
                    Error::new(Kind::Corrupt, format!("a SELECT gave no rows: {error}"))
                })?;
            let reading = RowShape {
                table,
                selection: &selection,
                now,
                statics: key.is_static(),
            };
            let mut rows = reading.rows(&answer, None)?;
            if !untimely.asks_again(&rows) {
                return Ok(rows.pop());
            }
        }
    }

    /// Partition keys at one token: two, if more than one.
    pub(super) async fn partitions_at(&self, table: &Table, at: i64) -> Result<Vec<Key>> {
        let selection = Selection {
            statics_only: true,
            cells: Vec::new(),
            ttls: Vec::new(),
            writes: Vec::new(),
            since: i64::MAX,
        };
        let names: Vec<String> = table
            .partition()
            .iter()
            .map(|column| quoted_always(&column.name))
            .collect();
        let cql = format!(
            "SELECT DISTINCT {} FROM {} WHERE {} = ? LIMIT 2",
            names.join(", "),
            of(&self.keyspace, table),
            token(table)
        );
        let mut values = BoundValues::default();
        values.push_token(at);
        let statement = self.prepare(&cql, Doing::Scan).await?;
        let answer = self
            .session
            .execute_unpaged(&statement, &values)
            .await
            .map_err(|error| errors::executing(error, Doing::Scan))?
            .into_rows_result()
            .map_err(|error| {
                Error::new(Kind::Corrupt, format!("a SELECT gave no rows: {error}"))
            })?;
        RowShape {
            table,
            selection: &selection,
            now: 0,
            statics: false,
        }
        .partitions(&answer)
    }
}

fn foreign(what: &str) -> Error {
    Error::new(Kind::Mismatch, format!("the cursor isn't one of {what}"))
        .with_help("go on with the cursor of this very range, or without its state")
}
