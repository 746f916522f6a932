//! What every store can do, as one small trait.
//!
//! A store knows its own server and nothing else: no other store, no plan, no phase. It never
//! retries and never sleeps; wrappers in [`crate::layer`] do. What a store can't do is in its
//! [`Capabilities`], so that a plan that needs it is refused before a byte moves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row, Tokens,
    Value,
};
use crate::schema::Table;

#[cfg(feature = "cassandra")]
pub mod cassandra;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "embedded")]
pub mod embedded;
mod login;
pub mod memory;
mod ordered;
mod permit;
mod room;

pub use login::{ClientCertificate, Consistency, Login, Tls};
pub use permit::Permit;
pub use room::{Held, Room};

/// What a store can do. Nothing, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Can be scanned by ranges of the partition key's token: needed of an old store.
    pub token_ranges: bool,
    /// Can put a row on a condition: needed of a new store.
    pub conditional_put: bool,
    /// Can create tables.
    pub create: bool,
    /// Can hold a row's marks and expiry: needed of a new store.
    pub marks: bool,
    /// Can fold counters: needed of a new store for counter tables.
    pub fold: bool,
    /// Can change single items on a condition, and tell what stood in the way: needed of a new store
    /// while applications run.
    pub change: bool,
    /// Can carry out what applications do: needed of an old store while they run.
    pub write: bool,
    /// Does an add with a token once, however often it is sent: needed of a new store for `exactly_once`.
    pub idempotent_add: bool,
    /// Holds rows as items under key attributes, as [`crate::item::Mapping`] makes them: keys that are too
    /// long, or empty where no key attribute can be, are never in it.
    pub key_attributes: bool,
    /// The most rows of one put that cost one round trip; more are allowed.
    pub put_rows: usize,
    /// Bytes that a page has at most, whatever its rows; 0 where only its rows are limited.
    pub page_bytes: usize,
    /// Ranges of it that a tool reads at once, to take no more of it than its share; 0 where it has no shares.
    pub readers: usize,
}

/// A part of a table to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Whole partitions, by token.
    Tokens(Tokens),
    /// Rows of the partitions of one token, between two clustering positions.
    Slice(Slice),
    /// A parallel scan's segment, for stores without token ranges.
    Segment {
        /// Which one, from 0.
        index: u32,
        /// Of how many.
        total: u32,
    },
}

/// The rows of the partitions of one token whose first clustering columns equal `prefix` and whose
/// next one lies within the bounds. Their static rows are not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The token.
    pub token: i64,
    /// Values of the first clustering columns.
    pub prefix: Vec<Value>,
    /// The next column's lower bound, inclusive; `None` is unbounded. By value, not clustering order.
    pub from: Option<Value>,
    /// The next column's upper bound, exclusive; `None` is unbounded.
    pub until: Option<Value>,
}

/// Where a scan of a range goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last row that was read.
    pub key: Key,
    /// What the store itself needs to go on; only good in the process that got it.
    pub state: Option<Vec<u8>>,
}

/// A page of a scan.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its rows. May be empty though more follow.
    pub rows: Vec<Row>,
    /// Where to go on; `None` at the end of the range.
    pub next: Option<Cursor>,
    /// Bytes read, as far as the store tells; else estimated from the rows.
    pub bytes: u64,
    /// Capacity consumed (read units), where the store has such a thing.
    pub units: f64,
    /// What is there and can't be read as a row of this table; only of new stores.
    pub unreadable: Vec<Unreadable>,
    /// The room that its rows take, for as long as this is held; `None` where nothing counts.
    pub room: Option<Arc<Held>>,
}

/// An item that can't be read as a row of its table: someone else wrote it, or changed it by hand.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Its key, for people.
    pub key: String,
    /// Why it can't be read.
    pub error: Error,
    /// Whether it has a mark, as everything has that shims and tools wrote.
    pub is_marked: bool,
    /// A digest of its key and all it holds, if it has no mark and was met by a scan.
    pub digest: Option<u64>,
}

impl Page {
    /// The page, for the one that can't do without any of its items.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if one of them can't be read.
    pub fn readable(self) -> Result<Page> {
        match self.unreadable.into_iter().next() {
            Some(unreadable) => Err(unreadable.error),
            None => Ok(Page {
                unreadable: Vec::new(),
                ..self
            }),
        }
    }

    /// The page, for the one that can't do without any item of a shim's or a tool's. What strangers wrote may be
    /// unreadable.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if an item with a mark can't be read.
    pub fn readable_but_for_strangers(self) -> Result<Page> {
        match self.unreadable.iter().find(|item| item.is_marked) {
            Some(unreadable) => Err(unreadable.error.clone()),
            None => Ok(self),
        }
    }
}

/// What became of one row of a put, or one key of a purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Written.
    Written,
    /// The condition didn't hold. (After a lost reply it may be one's own write that is in the way.)
    Refused,
}

/// What became of a put.
#[derive(Clone, Debug, Default)]
pub struct WriteOutcomes {
    /// One for each row, in order. [`crate::error::Kind::Invalid`] here concerns that row alone.
    pub rows: Vec<Result<WriteOutcome>>,
    /// Capacity consumed (write units), where the store has such a thing; counted from the rows'
    /// sizes where the server doesn't tell.
    pub units: f64,
    /// Bytes of the rows that were written.
    pub bytes: u64,
}

/// What became of a change on a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Written.
    Written,
    /// Written, and this is the item before or after, as it was asked for, if there is one.
    Told(Option<Row>),
    /// The condition didn't hold; this is what was met. (After a lost reply it may be one's own write.)
    Refused(Option<Row>),
}

/// One change of a transaction.
#[derive(Clone, Debug)]
pub struct Together<'a> {
    /// The table.
    pub table: &'a Table,
    /// Which item. None is twice in a transaction.
    pub key: &'a Key,
    /// What.
    pub change: &'a Change,
    /// On which condition.
    pub on: &'a Condition,
}

/// A page of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryPage {
    /// Its rows, in the order that was asked for. Only the last part may be without any.
    pub rows: Vec<Row>,
    /// Whether more may follow.
    pub more: bool,
}

/// How a row of the new store is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reading {
    /// Everything that has been written is seen.
    #[default]
    Strong,
    /// What was written a moment ago may be missed; costs half.
    Eventual,
}

/// Something about a table that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A short, stable name: `secondary-index`, `byte-ordered-partitioner`.
    pub code: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Finding {
    /// What to do about it; if it is refused, the way to accept it too.
    pub fn next_step(&self, is_refused: bool) -> String {
        match self.weight {
            Weight::Ignorable(word) if is_refused => format!(
                "{}; accept that with `ignore = [\"{word}\"]` for the table in the plan",
                self.advice
            ),
            Weight::Ignorable(_) | Weight::Note | Weight::Refused => self.advice.clone(),
        }
    }
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Good to know.
    Note,
    /// Refused unless the plan's `ignore` has this word.
    Ignorable(&'static str),
    /// Refused.
    Refused,
}

/// What a store tells about one of its tables.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What never stays the same when a table is dropped and made again.
    pub id: String,
    /// Its columns, where the store knows them. DynamoDB knows none but the keys.
    pub table: Option<Table>,
    /// Seconds that a row lives where its writer didn't say.
    pub default_ttl: u32,
    /// Rows, roughly, where the store tells.
    pub rows: Option<u64>,
    /// Bytes, roughly, where the store tells.
    pub bytes: Option<u64>,
    /// What its owner should know.
    pub findings: Vec<Finding>,
}

/// What lets a role write to a table.
#[derive(Clone, Debug)]
pub struct WriteAccess {
    /// It may by a grant of its own on this very table, which can be taken and given back.
    pub own: bool,
    /// What argues against taking it: other grants that reach the table, say, which would be missed elsewhere.
    pub against: Vec<Finding>,
    /// How long the servers may still go by a grant that was taken.
    pub settles: Duration,
}

/// What a store tells, and nothing that changes it. Tables are passed with each call, as the caller
/// knows them; a store keeps no schema of its own but what it needs to be quick.
#[async_trait]
pub trait Reads: Send + Sync + 'static {
    /// A name for messages: `cassandra 127.0.0.1:9042`.
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Looks at a table; `None` if there is none of this name.
    ///
    /// # Errors
    /// The store can't be asked, or the keyspace is missing.
    async fn inspect(&self, table: &str) -> Result<Option<Inspection>>;

    /// Reads rows by key, as they are now (strongly, or at the store's configured consistency), in
    /// the order of `keys`. Tombstones and partial items are rows here.
    ///
    /// # Errors
    /// Any of the reads failed.
    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>>;

    /// Reads one row. As [`Reads::get`], in the cheapest call there is.
    ///
    /// # Errors
    /// The store can't be asked.
    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>>;

    /// Reads items of a new store as they are at one moment, in the order of `keys`.
    ///
    /// # Errors
    /// [`Kind::Transient`] if one of them is being changed; the store can't be asked.
    async fn get_together(&self, _keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        let message = "this store doesn't read several items at one moment";
        Err(Error::new(Kind::Unsupported, message))
    }

    /// Reads the next page of a query, in clustering order or backwards. A partition's static row comes
    /// first in that order, and belongs to whole partitions only.
    ///
    /// # Errors
    /// The store can't be asked.
    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage>;

    /// Cuts a table into about `count` ranges that together are all of it, without overlap.
    ///
    /// # Errors
    /// The store can't be asked.
    async fn splits(&self, table: &Table, count: usize) -> Result<Vec<Range>>;

    /// Reads the next page of a range, of about `limit` rows: from its start, or after a cursor.
    /// A cursor without state (from an earlier process) may give rows again that come before it.
    /// Rows of a token range come in the order of their tokens.
    ///
    /// # Errors
    /// [`crate::error::Kind::RangeTooCostly`] if a smaller range may do; see [`Reads::halve`].
    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page>;

    /// Cuts a range in two or more that together are all of it; `None` if it is as small as it gets.
    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>>;

    /// What its clock says, microseconds since 1970; `None` if it has none of its own.
    ///
    /// # Errors
    /// The store can't be asked.
    async fn now(&self) -> Result<Option<i64>> {
        Ok(None)
    }

    /// What lets a role write to a table of an old store.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if it has no roles, [`Kind::Missing`] if it hasn't this one, [`Kind::Denied`]
    /// if they may not be looked at.
    async fn write_access(&self, table: &str, _role: &str) -> Result<WriteAccess> {
        Err(without_roles(table))
    }

    /// The names of its tables, counters first: a plan's patterns stand for them. None if it can't tell.
    ///
    /// # Errors
    /// The store can't be asked.
    async fn tables(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Frees what it holds: connections closed, files flushed.
    async fn close(&self) {}
}

/// A data store: what it tells, and what changes it.
///
/// Wrappers forward every method, those with a body here too: `clippy::missing_trait_methods` is denied
/// on each of them.
#[async_trait]
pub trait Store: Reads {
    /// The same store for the holder of this permit: it asks it before **every request** that
    /// changes rows, right before the request is sent, and sends nothing once that is refused. One call
    /// may be many requests.
    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store>;

    /// The same store over new connections of its own: for who has met one that hangs, and can't wait until
    /// the others turn out to hang too. A store without connections is itself.
    fn afresh(self: Arc<Self>) -> Arc<dyn Store>;

    /// Creates a table, and waits until it can be used.
    ///
    /// A table that is there with the same keys is left as it is.
    ///
    /// # Errors
    /// [`crate::error::Kind::Mismatch`] if one is there with other keys.
    async fn create(&self, table: &Table) -> Result<()>;

    /// Writes whole rows, each on the condition. No key may be there twice in `rows`, which stay with the
    /// caller, so that what has to be sent again needn't be copied before.
    ///
    /// Rows succeed and fail one by one; a request that fails as a whole is the same error for each
    /// of its rows.
    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes;

    /// Really deletes these keys, each on the condition. No key may be there twice.
    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes;

    /// Folds counter rows, each in one write: adds every move's difference to its counter, sets its
    /// watermark, and the copier's mark where there is none; on the condition that each watermark
    /// still is the one the move starts from. Makes the row if there is none. No key may be there twice.
    ///
    /// Sent again after a lost reply, a fold that was done is refused: nothing is counted twice.
    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes;

    /// Changes one item of a new store, if the condition holds.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] for what the store can't hold. Where the effect is unknown, the
    /// change may have been made, or may be yet.
    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed>;

    /// Changes one item of a new store, if the condition holds, and tells the item before or after.
    ///
    /// # Errors
    /// As of [`Store::update_item`].
    async fn update_item_and_return(
        &self,
        table: &Table,
        _key: &Key,
        _change: &Change,
        _on: &Condition,
        _returns: Returns,
    ) -> Result<Changed> {
        let message = "this store doesn't tell what it has changed";
        Err(Error::new(Kind::Unsupported, message).with_context("table", table.name.as_str()))
    }

    /// Changes items of a new store, all of them or none: one answer for each, in order. If one is refused,
    /// nothing was written; each that isn't refused itself is answered [`Changed::Written`] all the same.
    ///
    /// # Errors
    /// As of [`Store::update_item`].
    async fn transact(&self, _changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        let message = "this store has no transactions";
        Err(Error::new(Kind::Unsupported, message))
    }

    /// Adds to the counters of one row, as [`Store::add`], and tells the row as it is then.
    ///
    /// # Errors
    /// As of [`Store::update_item`].
    async fn add_and_return(&self, table: &Table, _add: &Add) -> Result<Option<Row>> {
        let message = "this store doesn't tell what it has added to";
        Err(Error::new(Kind::Unsupported, message).with_context("table", table.name.as_str()))
    }

    /// Adds to the counters of one row, making it if there is none. Never to be sent again without a
    /// token, unless the effect is known to be none.
    ///
    /// # Errors
    /// As of [`Store::update_item`].
    async fn add(&self, table: &Table, add: &Add) -> Result<()>;

    /// Writes to an old store as an application would have done it. A refusal is that of the mutation's
    /// own condition.
    ///
    /// # Errors
    /// As of [`Store::update_item`].
    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed>;

    /// Deletes a range of rows in an old store.
    ///
    /// # Errors
    /// As of [`Store::update_item`].
    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()>;

    /// Lets the store delete rows whose expiry (the layout's attribute) has come, by itself. Once that is so
    /// it changes nothing.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if it can't.
    async fn enable_ttl(&self, table: &Table) -> Result<()> {
        let message = "this store can't delete expired rows by itself";
        Err(Error::new(Kind::Unsupported, message).with_context("table", table.name.as_str()))
    }

    /// Drops a table with everything in it. One that isn't there is no error.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if it can't.
    async fn drop_table(&self, table: &str) -> Result<()> {
        let message = "this store doesn't drop tables";
        Err(Error::new(Kind::Unsupported, message).with_context("table", table))
    }

    /// Takes a role's own grant to write to a table. One that isn't there is no error.
    ///
    /// # Errors
    /// As of [`Reads::write_access`].
    async fn revoke(&self, table: &str, _role: &str) -> Result<()> {
        Err(without_roles(table))
    }

    /// Gives it back. One that is there is no error.
    ///
    /// # Errors
    /// As of [`Reads::write_access`].
    async fn grant(&self, table: &str, _role: &str) -> Result<()> {
        Err(without_roles(table))
    }
}

/// The store that is left: every read of the old rows goes here, and nothing else does.
#[derive(Clone)]
pub struct Old(pub Arc<dyn Store>);

/// The store that is moved to, in the hands of a participant: it asks for the participant's permit
/// before every request.
#[derive(Clone)]
pub struct Writer(pub Arc<dyn Store>);

fn without_roles(table: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        "this store has no roles whose permissions could be taken",
    )
    .with_context("table", table)
    .with_help("leave `fence` out of the plan")
}

/// Refuses a table that is there with other keys than the one that is wanted.
fn same_keys(there: &Table, wanted: &Table) -> Result<()> {
    let keys = |table: &Table| -> Vec<String> {
        let key = table.partition().iter().chain(table.clustering());
        key.map(|column| format!("{} {} {:?}", column.name, column.cql_type(), column.role))
            .collect()
    };
    if keys(there) == keys(wanted) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Mismatch,
        "a table of this name is there with other keys",
    )
    .with_context("table", wanted.name.as_str())
    .with_context("there", keys(there).join(", "))
    .with_context("wanted", keys(wanted).join(", "))
    .with_help("choose another `to`, or drop that table if it isn't needed"))
}

/// The tokens of a range, for a store that reads nothing smaller than a partition by token.
fn tokens_of(range: &Range) -> Result<Tokens> {
    match range {
        Range::Tokens(tokens) => Ok(*tokens),
        Range::Slice(_) | Range::Segment { .. } => Err(Error::new(
            Kind::Unsupported,
            "this store is scanned by token ranges only",
        )),
    }
}

/// Two halves of a token range; `None` for anything smaller.
fn halve_tokens(range: &Range) -> Option<Vec<Range>> {
    let (low, high) = tokens_of(range).ok()?.halves()?;
    Some(vec![Range::Tokens(low), Range::Tokens(high)])
}

/// The same error for each of `count` rows.
pub fn failed_rows(count: usize, error: &Error) -> WriteOutcomes {
    WriteOutcomes {
        rows: (0..count).map(|_| Err(error.clone())).collect(),
        ..WriteOutcomes::default()
    }
}

/// Refuses an add with a token, which would count again if it were sent again.
#[cfg(any(feature = "cassandra", feature = "embedded"))]
fn without_tokens() -> Error {
    Error::new(
        Kind::Unsupported,
        "this store can't tell an add that was sent before by its token",
    )
    .with_help("leave `exactly_once` out of the plan")
}

/// Refuses an add with a token that is to be told of: a store that has done it before can't tell what it was
/// then.
fn telling_no_tokens() -> Error {
    Error::new(
        Kind::Unsupported,
        "an add with a token doesn't tell what it has added to",
    )
}

/// An error for what a store can't do.
#[cfg(any(feature = "cassandra", feature = "dynamodb"))]
fn unsupported(what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("this store doesn't take {what}"))
}
