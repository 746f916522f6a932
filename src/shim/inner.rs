//! What all operations on a table share: the record that it was joined under, and the stores.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::items::Items;
use super::old::OldStore;
use super::queue::AddQueue;
use super::{Settings, Ttl};
use crate::clock;
use crate::codec::text::hex;
use crate::control::{Accept, Control, Member, MemberRole, New, ParticipantKind, Record};
use crate::error::{Effect, Error, Kind, Result};
use crate::item::Mapping;
use crate::model::{Key, Row, Update, Value};
use crate::protocol::Phase;
use crate::schema::{Column, Role, StoredTable};
use crate::spec::TableSpec;
use crate::store::{Store, Weight};
use crate::transform::Transform;

/// Re-saves that are under way at once, for one table.
const RESAVES: usize = 64;

pub(super) struct TableInner {
    /// Its name in the plan.
    pub name: String,
    pub spec: TableSpec,
    pub settings: Arc<Settings>,
    pub old: Arc<OldStore>,
    pub new: New,
    control: Control,
    pub state: watch::Sender<Joining>,
    pub resaves: Arc<Semaphore>,
    pub adds: AddQueue,
    /// How often something has been waited for, before it was tried again.
    pub paused: AtomicU64,
}

/// Where joining stands.
#[derive(Clone)]
pub(super) enum Joining {
    /// It is tried; this is what stood in the way so far.
    Trying(Option<Error>),
    Joined(Arc<Joined>),
    /// The record isn't one to work under, for now.
    Refused(Error),
}

/// A table under the record that it was joined with.
pub(super) struct Joined {
    pub member: Arc<Member>,
    pub transform: Arc<Transform>,
    /// How keys lie in the new store, if it can't hold every one.
    pub keys: Option<Arc<Mapping>>,
    /// How rows look as items, unless no item can hold them.
    pub items: Result<Arc<Mapping>>,
    /// Seconds that a row lives where its writer doesn't say; 0 is for ever.
    pub default_ttl: u32,
    pub old_id: String,
    /// When the old table was frozen.
    pub frozen_at: Arc<FrozenAt>,
    /// Whether the record that was read last says that no item has an attribute of the migration's own any more.
    #[cfg_attr(
        not(feature = "serve"),
        allow(dead_code, reason = "only the sidecar asks")
    )]
    pub stripped: Arc<AtomicBool>,
    /// Set once the old table has been found to be the recorded one.
    pub old_is_right: tokio::sync::OnceCell<()>,
}

/// When the old table was frozen last, as the control record says that was read last: microseconds since
/// 1970. It is set before an operation can begin in the phase that the same record says.
#[derive(Default)]
pub(super) struct FrozenAt(Mutex<Option<i64>>);

impl FrozenAt {
    pub fn get(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, at: Option<i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl Joined {
    /// Whether rows of the table can expire at all.
    pub fn rows_expire(&self) -> bool {
        self.transform.target().layout.expiry_attribute.is_some()
    }

    /// How rows look as items.
    ///
    /// # Errors
    /// [`Kind::Config`] if no item can hold them.
    pub fn items(&self) -> Result<Items> {
        self.items.clone().map(Items::new)
    }

    /// Refuses a key that the new store can't hold: such a row stays in the old one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] with the reason.
    pub fn keeps(&self, key: &Key) -> Result<()> {
        match &self.keys {
            Some(keys) => keys.key(key).map(drop),
            None => Ok(()),
        }
    }

    /// The same for a partition.
    pub fn keeps_partition(&self, values: &[Value]) -> Result<()> {
        match &self.keys {
            Some(keys) => keys.partition_key(values).map(drop),
            None => Ok(()),
        }
    }
}

/// A call of an application: the record it works under, and when it has to be over.
pub(super) struct Begun {
    pub joined: Arc<Joined>,
    pub deadline: Instant,
}

impl TableInner {
    pub fn new(
        spec: TableSpec,
        settings: Arc<Settings>,
        old: Arc<OldStore>,
        new: New,
        control: Control,
    ) -> Self {
        TableInner {
            name: spec.name.clone(),
            spec,
            settings,
            old,
            new,
            control,
            state: watch::Sender::new(Joining::Trying(None)),
            resaves: Arc::new(Semaphore::new(RESAVES)),
            adds: AddQueue::default(),
            paused: AtomicU64::default(),
        }
    }

    pub fn wrong(&self, message: String) -> Error {
        Error::new(Kind::Invalid, message).with_context("table", self.name.as_str())
    }

    /// What is said of a write whose reply was lost.
    pub fn unknown(&self) -> Error {
        Error::new(
            Kind::Timeout,
            "the reply to a write was lost: it may have been made, or may be yet",
        )
        .with_effect(Effect::Unknown)
        .with_context("table", self.name.as_str())
    }

    pub fn offline(&self) -> Error {
        Error::new(
            Kind::Mismatch,
            "the table is offline: applications have to be stopped",
        )
        .with_context("table", self.name.as_str())
    }

    /// The phase in which an operation would begin now.
    ///
    /// # Errors
    /// What is in the way of one.
    pub fn ready(&self) -> Result<Phase> {
        match &*self.state.borrow() {
            Joining::Joined(joined) => joined.member.guard().map(|guard| guard.phase()),
            Joining::Trying(Some(error)) | Joining::Refused(error) => Err(error.clone()),
            Joining::Trying(None) => {
                let message = "it hasn't been joined yet";
                Err(Error::new(Kind::Unreachable, message)
                    .with_context("table", self.name.as_str()))
            }
        }
    }

    pub async fn joined(&self, deadline: Instant) -> Result<Arc<Joined>> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, Joining::Trying(_)));
        let state = match tokio::time::timeout_at(deadline, settled).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => self.state.borrow().clone(),
        };
        match state {
            Joining::Joined(joined) => Ok(joined),
            Joining::Refused(error) | Joining::Trying(Some(error)) => Err(error),
            Joining::Trying(None) => Err(Error::new(
                Kind::Unreachable,
                "the control record couldn't be read in time",
            )
            .with_context("table", self.name.as_str())
            .with_help("check that the new store is reachable")),
        }
    }

    /// Refuses counters: a row of totals without watermarks would be counted twice, and a tombstone would
    /// hide what was counted.
    pub fn is_of_rows(&self, joined: &Joined, key: Option<&Key>) -> Result<()> {
        if joined.transform.target().is_counter() {
            let error = self.wrong("it is a table of counters".into());
            return Err(error.with_help("use `add` and `count`"));
        }
        key.map_or(Ok(()), |key| self.is_key(joined, key))
    }

    pub fn is_of_counters(&self, joined: &Joined, key: &Key) -> Result<()> {
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
    pub fn fitting(&self, joined: &Joined, row: Row, ttl: Ttl) -> Result<Row> {
        self.fits(joined, &row.key, row.cells.iter().map(Option::is_some))?;
        Ok(Row {
            expires: self.expires(joined, ttl)?,
            mark: None,
            ..row
        })
    }

    pub fn fitting_update(&self, joined: &Joined, update: Update, ttl: Ttl) -> Result<Update> {
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
    pub fn expires(&self, joined: &Joined, ttl: Ttl) -> Result<Option<i64>> {
        let from_now = |seconds: u32| clock::unix_seconds() + i64::from(seconds);
        let expires = match ttl {
            Ttl::Never => return Ok(None),
            Ttl::Default if joined.default_ttl == 0 => return Ok(None),
            Ttl::Default => from_now(joined.default_ttl),
            Ttl::Seconds(seconds) => from_now(seconds.max(1)),
            Ttl::At(at) => at,
        };
        if !joined.rows_expire() {
            return Err(self.wrong("the row expires, and the new table has no attribute for that".into())
                .with_help("add `expiry = { attribute = \"expires_at\", from = \"max\" }` to the table in the plan"));
        }
        Ok(Some(expires))
    }

    /// Compares the old table with the record.
    pub async fn check_old(&self, joined: &Joined, old: &dyn Store) -> Result<()> {
        let spec = &self.spec;
        let there = old.inspect(&spec.name).await?.ok_or_else(|| {
            Error::new(Kind::Missing, "the old store has no such table")
                .with_context("table", spec.name.as_str())
                .with_context("store", old.name())
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
                .with_context("table", spec.name.as_str())
                .with_context("store", old.name())
                .with_help(found.advice.clone()));
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
        .with_context("table", spec.name.as_str())
        .with_context("recorded", joined.old_id.as_str())
        .with_context("now", there.id)
        .with_help("`migrate check` tells what differs"))
    }

    /// Compares everything with the record, and registers.
    async fn join(&self) -> Result<Joined> {
        let spec = &self.spec;
        let record = self.control.require(&spec.to).await?.record;
        spec.same_plan(&record)?;
        let settled = spec.settled(&record);
        let transform = settled.transform(&record.source.read()?, record.default_ttl)?;
        let transform = Arc::new(transform);
        let target = self.new.inspect(&spec.to).await?.ok_or_else(|| {
            Error::new(Kind::Missing, "the target table is missing")
                .with_context("target", spec.to.as_str())
                .with_context("store", self.new.name())
        })?;
        let here = Record {
            target_id: target.id,
            mapping: hex(&transform.fingerprint()),
            ..record.clone()
        };
        spec.same(&record, &here)?;
        if let [(_, _), ..] = transform.changes() {
            let changes = transform.changes().iter();
            let changes: Vec<String> = changes
                .map(|(name, what)| format!("{name} ({what})"))
                .collect();
            let message = format!(
                "values of these columns are changed on their way, so that what an application writes couldn't be \
                 written to the old store: {}",
                changes.join(", ")
            );
            return Err(Error::new(Kind::Unsupported, message)
                .with_context("table", self.name.as_str())
                .with_help(
                    "such a table is copied with `migrate copy --offline`, or is a rehearsal's",
                ));
        }
        if !self.new.capabilities().change {
            return Err(self.wrong(format!(
                "{} can't hold it while applications run",
                self.new.name()
            )));
        }
        if self.spec.exactly_once && !self.new.capabilities().idempotent_add {
            let what = format!("{} can't count adds exactly once", self.new.name());
            return Err(self
                .wrong(what)
                .with_help("leave `exactly_once` out of the plan"));
        }
        let role = MemberRole {
            id: self.settings.id.clone(),
            kind: ParticipantKind::Shim,
            name: self.settings.name.clone(),
            lease: self.settings.lease,
            clock: self.settings.clock.clone(),
        };
        let frozen_at = Arc::new(FrozenAt::default());
        let stripped = Arc::new(AtomicBool::new(record.stripped));
        let accept = accept(&spec.to, &record, frozen_at.clone(), stripped.clone());
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
            stripped,
            old_is_right: tokio::sync::OnceCell::new(),
        })
    }

    /// Joins, renews the lease, and joins again, for ever.
    pub async fn keep_joined(self: Arc<Self>) {
        let pause = self.settings.lease.lasts / 3;
        loop {
            match self.join().await {
                Ok(joined) => {
                    let joined = Arc::new(joined);
                    self.state.send_replace(Joining::Joined(joined.clone()));
                    let error = joined.member.keep().await;
                    tracing::warn!("{}: {error}", self.name);
                    self.state.send_replace(Joining::Refused(error));
                    // Another one may not acknowledge anything while something of this one can land.
                    if let Err(error) = joined.member.leave().await {
                        tracing::debug!("{} couldn't be left: {error}", self.name);
                    }
                }
                Err(error) if error.kind().is_transient() => {
                    tracing::debug!("{} couldn't be joined yet: {error}", self.name);
                    self.state.send_replace(Joining::Trying(Some(error)));
                }
                Err(error) => {
                    tracing::warn!("{} can't be joined: {error}", self.name);
                    self.state.send_replace(Joining::Refused(error));
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// What a record has to be like, as long as this application works under it: phases come and go. Of each that
/// is accepted it notes when the old table was frozen.
fn accept(
    target: &str,
    begun: &Record,
    frozen_at: Arc<FrozenAt>,
    stripped: Arc<AtomicBool>,
) -> Accept {
    let (target, begun) = (target.to_owned(), begun.clone());
    Box::new(move |now: &Record| {
        if now.phase == Phase::Offline || now.emptying {
            return Err(Error::new(
                Kind::Mismatch,
                "the table is offline: it is being copied for applications that are stopped",
            )
            .with_context("target", target.as_str())
            .with_help(
                "stop this application until the table is in `new`, or run `migrate reset`",
            ));
        }
        let same = now.incarnation == begun.incarnation
            && now.plan == begun.plan
            && now.mapping == begun.mapping
            && now.target_id == begun.target_id
            && now.old_id == begun.old_id;
        if same {
            frozen_at.set(now.frozen_at);
            stripped.store(now.stripped, Ordering::SeqCst);
            return Ok(());
        }
        Err(
            Error::new(Kind::Mismatch, "the control record is another one now")
                .with_context("target", target.as_str())
                .with_context("recorded", now.incarnation.as_str())
                .with_context("this application began under", begun.incarnation.as_str()),
        )
    })
}
