//! One table of an application: joining its migration, and every operation on it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::adds::Adds;
use super::old::OldStore;
use super::operation::{Begun, FrozenAt, Joined, Operation};
use super::{Moving, Settings, Ttl};
use crate::control::{Accept, Control, Member, MemberRole, New, ParticipantKind, Record, hex};
use crate::error::{Error, Kind, Result};
use crate::mapping::Mapping;
use crate::model::{Key, List, Mutation, Row, Span, Update};
use crate::protocol::Phase;
use crate::schema::{Column, Role, StoredTable};
use crate::store::{Store, Weight};

/// Re-saves that are under way at once, for one table.
const RESAVES: usize = 64;

/// A table of an application.
#[derive(Clone)]
pub struct Table {
    pub(super) inner: Arc<Inner>,
    keeper: Arc<Keeper>,
}

/// What came of a write that has a condition of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Written.
    Done,
    /// The condition isn't met, by this row. Nothing was changed.
    Unmet(Option<Row>),
}

/// A page of a range of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// The key behind which the next page begins, if there may be more. It stays good in every phase and
    /// in another process.
    pub next: Option<Key>,
}

pub(super) struct Inner {
    /// Its name in the plan.
    pub name: String,
    pub moving: Moving,
    pub settings: Arc<Settings>,
    pub old: Arc<OldStore>,
    pub new: New,
    control: Control,
    state: watch::Sender<State>,
    pub resaves: Arc<Semaphore>,
    pub adds: Adds,
    /// How often something has been waited for, before it was tried again.
    pub paused: AtomicU64,
}

/// Where joining stands.
#[derive(Clone)]
enum State {
    /// It is tried; this is what stood in the way so far.
    Joining(Option<Error>),
    Joined(Arc<Joined>),
    /// The record isn't one to work under, for now.
    Refused(Error),
}

/// Keeps the membership while the table is held.
struct Keeper(JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Table {
    pub(super) fn start(
        moving: Moving,
        settings: Arc<Settings>,
        old: Arc<OldStore>,
        new: New,
        control: Control,
    ) -> Table {
        let inner = Arc::new(Inner {
            name: moving.spec.name.clone(),
            moving,
            settings,
            old,
            new,
            control,
            state: watch::Sender::new(State::Joining(None)),
            resaves: Arc::new(Semaphore::new(RESAVES)),
            adds: Adds::default(),
            paused: AtomicU64::default(),
        });
        let keeper = tokio::spawn(keep(inner.clone()));
        Table {
            inner,
            keeper: Arc::new(Keeper(keeper)),
        }
    }

    /// Its name in the plan.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Waits until the table has been joined, and tells the phase that operations begin in.
    ///
    /// # Errors
    /// What stands in the way, if that doesn't pass, or still does after [`Settings::deadline`].
    pub async fn phase(&self) -> Result<Phase> {
        Ok(self.begun().await?.joined.member.phase())
    }

    /// The table as it lies in the new store: the columns that rows and keys have here.
    ///
    /// # Errors
    /// Those of [`Table::phase`].
    pub async fn schema(&self) -> Result<crate::schema::Table> {
        Ok(self.begun().await?.joined.transform.target().clone())
    }

    /// Reads a row.
    ///
    /// # Errors
    /// The stores'; [`Kind::Unreachable`] past the lease; [`Kind::Mismatch`] while the table is offline.
    pub async fn get(&self, key: &Key) -> Result<Option<Row>> {
        self.get_within(&self.begun().await?, key).await
    }

    /// Writes a whole row: columns that are null are absent afterwards. Its `expires` is made of the time to
    /// live.
    ///
    /// # Errors
    /// Those of [`Table::get`]. With [`crate::error::Effect::Unknown`] it may have been written, or may be
    /// yet: writing it again is the caller's choice, since a later write may be undone by it.
    pub async fn put(&self, row: Row, ttl: Ttl) -> Result<()> {
        self.put_within(&self.begun().await?, row, ttl).await
    }

    /// Writes a whole row if there is none.
    ///
    /// # Errors
    /// Those of [`Table::put`].
    pub async fn insert(&self, row: Row, ttl: Ttl) -> Result<Written> {
        let begun = self.begun().await?;
        let row = self.inner.fitting(&begun.joined, row, ttl)?;
        self.inner.write(&begun, Mutation::Insert(row)).await
    }

    /// Changes some columns of a row, which need not exist. In the new store its time to live becomes the
    /// row's.
    ///
    /// # Errors
    /// Those of [`Table::put`]. An edit of a collection's elements needs the whole row: in `bridge` and
    /// `switch` it may be refused ([`Kind::Transient`]), and is tried again until the deadline.
    pub async fn update(&self, update: Update, ttl: Ttl) -> Result<()> {
        self.update_within(&self.begun().await?, update, ttl).await
    }

    /// Changes some columns if the row is there and all `expected` cells (by their place among
    /// [`crate::schema::Table::cells`]) are as given; `None` is null.
    ///
    /// # Errors
    /// Those of [`Table::update`].
    pub async fn update_if(
        &self,
        update: Update,
        expected: Vec<(usize, Option<crate::model::Value>)>,
        ttl: Ttl,
    ) -> Result<Written> {
        let begun = self.begun().await?;
        let update = self.inner.fitting_update(&begun.joined, update, ttl)?;
        let mutation = Mutation::UpdateIf { update, expected };
        self.inner.write(&begun, mutation).await
    }

    /// Deletes a row.
    ///
    /// # Errors
    /// Those of [`Table::put`].
    pub async fn delete(&self, key: &Key) -> Result<()> {
        let begun = self.begun().await?;
        self.inner.is_of_rows(&begun.joined, Some(key))?;
        let mutation = Mutation::Delete(key.clone());
        self.inner.write(&begun, mutation).await.map(drop)
    }

    /// Deletes a range of rows: natively in `old`, else key by key, so that it isn't atomic.
    ///
    /// A range with more rows than can be deleted within the deadline takes several calls: each one deletes what
    /// is left, and passes quickly over what was deleted before.
    ///
    /// # Errors
    /// Those of [`Table::put`]; then some of the rows may be left. The error tells how many were deleted and up
    /// to which key; its effect is unknown as soon as there was one.
    pub async fn delete_range(&self, span: Span) -> Result<()> {
        let begun = self.begun().await?;
        self.begin_rows(&begun, None)?.delete_range(span).await
    }

    /// Reads a page of a range of rows, in clustering order or backwards. A whole partition begins with its
    /// static row, if there is one.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn query(&self, list: List) -> Result<Page> {
        self.query_within(&self.begun().await?, list).await
    }

    /// Adds to a counter. Adds to one key that come while one is under way go together as the next.
    ///
    /// # Errors
    /// Those of [`Table::put`]. With unknown effect, adding again may count twice; see
    /// [`Moving::exactly_once`].
    pub async fn add(&self, key: &Key, column: &str, by: i64) -> Result<()> {
        let begun = self.begun().await?;
        let columns = begun.joined.transform.target().cells();
        let place = columns.iter().position(|there| there.name == column);
        let place =
            place.ok_or_else(|| self.inner.wrong(format!("there is no counter `{column}`")))?;
        let mut all = vec![None; columns.len()];
        all[place] = Some(by);
        self.add_within(begun, key, all).await
    }

    /// Adds to several counters of a row in one write: one number for each of
    /// [`crate::schema::Table::cells`].
    ///
    /// # Errors
    /// Those of [`Table::add`].
    pub async fn add_all(&self, key: &Key, by: Vec<Option<i64>>) -> Result<()> {
        self.add_within(self.begun().await?, key, by).await
    }

    /// A row's totals: one for each of [`crate::schema::Table::cells`], all null if there is no such row.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn count(&self, key: &Key) -> Result<Vec<Option<i64>>> {
        self.count_within(&self.begun().await?, key).await
    }

    pub(super) async fn leave(self) -> Result<()> {
        let state = self.inner.state.borrow().clone();
        let State::Joined(joined) = state else {
            return Ok(());
        };
        let left = joined.member.leave().await;
        self.keeper.0.abort();
        left
    }

    /// Begins a call of the application: what it may take counts from here, joining included.
    pub(super) async fn begun(&self) -> Result<Begun> {
        let deadline = Instant::now() + self.inner.settings.deadline;
        let joined = self.inner.joined(deadline).await?;
        Ok(Begun { joined, deadline })
    }

    pub(super) async fn get_within(&self, begun: &Begun, key: &Key) -> Result<Option<Row>> {
        self.begin_rows(begun, Some(key))?.get(key.clone()).await
    }

    pub(super) async fn put_within(&self, begun: &Begun, row: Row, ttl: Ttl) -> Result<()> {
        let row = self.inner.fitting(&begun.joined, row, ttl)?;
        self.inner.write(begun, Mutation::Put(row)).await.map(drop)
    }

    pub(super) async fn update_within(
        &self,
        begun: &Begun,
        update: Update,
        ttl: Ttl,
    ) -> Result<()> {
        let update = self.inner.fitting_update(&begun.joined, update, ttl)?;
        let mutation = Mutation::Update(update);
        self.inner.write(begun, mutation).await.map(drop)
    }

    pub(super) async fn query_within(&self, begun: &Begun, list: List) -> Result<Page> {
        self.begin_rows(begun, None)?.query(list).await
    }

    pub(super) async fn count_within(&self, begun: &Begun, key: &Key) -> Result<Vec<Option<i64>>> {
        self.inner.is_of_counters(&begun.joined, key)?;
        let operation = Operation::begin(&self.inner, &begun.joined, begun.deadline)?;
        operation.count(key.clone()).await
    }

    async fn add_within(&self, begun: Begun, key: &Key, by: Vec<Option<i64>>) -> Result<()> {
        self.inner.is_of_counters(&begun.joined, key)?;
        let (has, wants) = (by.len(), begun.joined.transform.target().cells().len());
        if has != wants {
            let message = format!("{has} numbers for the {wants} counters of a row");
            return Err(self.inner.wrong(message));
        }
        self.inner.clone().add(begun, key.clone(), by).await
    }

    fn begin_rows(&self, begun: &Begun, key: Option<&Key>) -> Result<Operation> {
        self.inner.is_of_rows(&begun.joined, key)?;
        Operation::begin(&self.inner, &begun.joined, begun.deadline)
    }
}

impl Inner {
    pub fn wrong(&self, message: String) -> Error {
        Error::new(Kind::Invalid, message).at("table", self.name.as_str())
    }

    async fn joined(&self, deadline: Instant) -> Result<Arc<Joined>> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Joining(_)));
        let state = match tokio::time::timeout_at(deadline, settled).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => self.state.borrow().clone(),
        };
        match state {
            State::Joined(joined) => Ok(joined),
            State::Refused(error) | State::Joining(Some(error)) => Err(error),
            State::Joining(None) => Err(Error::new(
                Kind::Unreachable,
                "the control record couldn't be read in time",
            )
            .at("table", self.name.as_str())
            .help("is the new store reachable?")),
        }
    }

    /// Refuses counters: a row of totals without watermarks would be counted twice, and a tombstone would
    /// hide what was counted.
    fn is_of_rows(&self, joined: &Joined, key: Option<&Key>) -> Result<()> {
        if joined.transform.target().is_counter() {
            let error = self.wrong("it is a table of counters".into());
            return Err(error.help("use `add` and `count`"));
        }
        key.map_or(Ok(()), |key| self.is_key(joined, key))
    }

    fn is_of_counters(&self, joined: &Joined, key: &Key) -> Result<()> {
        if !joined.transform.target().is_counter() {
            return Err(self.wrong("it isn't a table of counters".into()));
        }
        self.is_key(joined, key)
    }

    fn is_key(&self, joined: &Joined, key: &Key) -> Result<()> {
        if key.is_static() && !joined.transform.target().has_statics() {
            return Err(self.wrong("a row's key needs the clustering columns".into()));
        }
        Ok(())
    }

    /// A row with its expiry, once it fits the table.
    fn fitting(&self, joined: &Joined, row: Row, ttl: Ttl) -> Result<Row> {
        self.fits(joined, &row.key, row.cells.iter().map(Option::is_some))?;
        Ok(Row {
            expires: self.expires(joined, ttl)?,
            mark: None,
            ..row
        })
    }

    fn fitting_update(&self, joined: &Joined, update: Update, ttl: Ttl) -> Result<Update> {
        let edited = update.cells.iter().map(Option::is_some);
        self.fits(joined, &update.key, edited)?;
        let expires = self.expires(joined, ttl)?;
        Ok(Update { expires, ..update })
    }

    /// Whether a write with values in these cells is one for this key.
    fn fits(
        &self,
        joined: &Joined,
        key: &Key,
        cells: impl ExactSizeIterator<Item = bool>,
    ) -> Result<()> {
        self.is_of_rows(joined, Some(key))?;
        let table = joined.transform.target();
        if cells.len() != table.cells().len() {
            let (has, wants) = (cells.len(), table.cells().len());
            return Err(self.wrong(format!("a row has {has} cells where the table has {wants}")));
        }
        let is_misplaced = |(column, given): &(&Column, bool)| {
            *given && (column.role == Role::Static) != key.is_static()
        };
        match table.cells().iter().zip(cells).find(is_misplaced) {
            None => Ok(()),
            Some((column, _)) if key.is_static() => Err(self.wrong(format!(
                "the column `{}` isn't static: it takes the clustering columns too",
                column.name
            ))),
            Some((column, _)) => Err(self.wrong(format!(
                "the static column `{}` belongs to the partition: write it without clustering columns",
                column.name
            ))),
        }
    }

    /// When a row expires that is written now, seconds since 1970.
    fn expires(&self, joined: &Joined, ttl: Ttl) -> Result<Option<i64>> {
        let from_now = |seconds: u32| now() + i64::from(seconds);
        let expires = match ttl {
            Ttl::Never => return Ok(None),
            Ttl::Default if joined.default_ttl == 0 => return Ok(None),
            Ttl::Default => from_now(joined.default_ttl),
            Ttl::Seconds(seconds) => from_now(seconds.max(1)),
            Ttl::At(at) => at,
        };
        if !joined.rows_expire() {
            return Err(self.wrong("the row expires, and the new table has no attribute for that".into())
                .help("add `expiry = { attribute = \"expires_at\", from = \"max\" }` to the table in the plan"));
        }
        Ok(Some(expires))
    }

    /// Compares the old table with the record.
    pub async fn check_old(&self, joined: &Joined, old: &dyn Store) -> Result<()> {
        let spec = &self.moving.spec;
        let there = old.inspect(&spec.name).await?.ok_or_else(|| {
            Error::new(Kind::Missing, "the old store has no such table")
                .at("table", spec.name.as_str())
                .at("store", old.name())
        })?;
        if !old.capabilities().write {
            return Err(self.wrong(format!(
                "{} can't be written to by applications",
                old.name()
            )));
        }
        let mut findings = there.findings.iter();
        if let Some(found) = findings.find(|found| found.weight == Weight::Refused) {
            let message = format!("{}: {}", found.code, found.message);
            return Err(Error::new(Kind::Unsupported, message)
                .at("table", spec.name.as_str())
                .at("store", old.name())
                .help(found.advice.clone()));
        }
        let source = joined.transform.source();
        let same = there.id == joined.old_id
            && there.table.as_ref().map(StoredTable::of) == Some(StoredTable::of(source));
        if same {
            return Ok(());
        }
        Err(Error::new(
            Kind::Mismatch,
            "the old table isn't the one of the control record, or its schema was changed",
        )
        .at("table", spec.name.as_str())
        .at("recorded", joined.old_id.as_str())
        .at("now", there.id)
        .help("`migrate check` tells what differs"))
    }

    /// Compares everything with the record, and registers.
    async fn join(&self) -> Result<Joined> {
        let spec = &self.moving.spec;
        let record = self.control.require(&spec.to).await?.record;
        spec.same_plan(&record)?;
        let settled = spec.settled(&record);
        let transform = settled.transform(&record.source.read()?, record.default_ttl)?;
        let transform = Arc::new(transform);
        let target = self.new.inspect(&spec.to).await?.ok_or_else(|| {
            Error::new(Kind::Missing, "the target table is missing")
                .at("target", spec.to.as_str())
                .at("store", self.new.name())
        })?;
        let here = Record {
            target_id: target.id,
            mapping: hex(&transform.fingerprint()),
            ..record.clone()
        };
        spec.same(&record, &here)?;
        if transform.masks() {
            return Err(Error::new(
                Kind::Unsupported,
                "columns of this table are masked, so that what an application writes couldn't be written \
                 to the old store",
            )
            .at("table", self.name.as_str())
            .help("masked tables are copied with `migrate copy --offline`"));
        }
        if !self.new.capabilities().change {
            return Err(self.wrong(format!(
                "{} can't hold it while applications run",
                self.new.name()
            )));
        }
        if self.moving.exactly_once && !self.new.capabilities().tokens {
            let what = format!("{} can't count adds exactly once", self.new.name());
            return Err(self
                .wrong(what)
                .help("leave `exactly_once` out of the plan"));
        }
        let role = MemberRole {
            id: self.settings.id.clone(),
            kind: ParticipantKind::Shim,
            name: self.settings.name.clone(),
            lease: self.settings.lease,
            clock: self.settings.clock.clone(),
        };
        let frozen_at = Arc::new(FrozenAt::default());
        let accept = accept(&spec.to, &record, frozen_at.clone());
        let items = Mapping::new(transform.target()).map(Arc::new);
        let keys = match self.new.capabilities().key_attributes {
            true => Some(items.clone()?),
            false => None,
        };
        Ok(Joined {
            keys,
            items,
            member: Member::join(self.control.clone(), &spec.to, role, accept).await?,
            transform,
            default_ttl: record.default_ttl,
            old_id: record.old_id,
            frozen_at,
            old_is_right: tokio::sync::OnceCell::new(),
        })
    }
}

/// What a record has to be like, as long as this application works under it: phases come and go. Of each that
/// is accepted it notes when the old table was frozen.
fn accept(target: &str, begun: &Record, frozen_at: Arc<FrozenAt>) -> Accept {
    let (target, begun) = (target.to_owned(), begun.clone());
    Box::new(move |now: &Record| {
        if now.phase == Phase::Offline || now.emptying {
            return Err(Error::new(
                Kind::Mismatch,
                "the table is offline: it is being copied for applications that are stopped",
            )
            .at("target", target.as_str())
            .help("stop this application until the table is in `new`, or run `migrate reset`"));
        }
        let same = now.begun == begun.begun
            && now.plan == begun.plan
            && now.mapping == begun.mapping
            && now.target_id == begun.target_id
            && now.old_id == begun.old_id;
        if same {
            frozen_at.set(now.frozen_at);
            return Ok(());
        }
        Err(
            Error::new(Kind::Mismatch, "the control record is another one now")
                .at("target", target.as_str())
                .at("recorded", now.begun.as_str())
                .at("this application began under", begun.begun.as_str()),
        )
    })
}

/// Joins, renews the lease, and joins again, for ever.
async fn keep(table: Arc<Inner>) {
    let pause = table.settings.lease.lasts / 3;
    loop {
        match table.join().await {
            Ok(joined) => {
                let joined = Arc::new(joined);
                table.state.send_replace(State::Joined(joined.clone()));
                let error = joined.member.keep().await;
                tracing::warn!("{}: {error}", table.name);
                table.state.send_replace(State::Refused(error));
                // Another one may not acknowledge anything while something of this one can land.
                if let Err(error) = joined.member.leave().await {
                    tracing::debug!("{} couldn't be left: {error}", table.name);
                }
            }
            Err(error) if error.kind().passes() => {
                tracing::debug!("{} couldn't be joined yet: {error}", table.name);
                table.state.send_replace(State::Joining(Some(error)));
            }
            Err(error) => {
                tracing::warn!("{} can't be joined: {error}", table.name);
                table.state.send_replace(State::Refused(error));
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}
