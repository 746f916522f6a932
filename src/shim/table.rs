//! One table of an application: every operation on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::inner::{Begun, Joining, TableInner};
use super::items::Items;
use super::old::OldStore;
use super::operation::Operation;
use super::queue::{AddToken, AskedAdd, minus};
use super::rows::{RowsPage, Written};
use super::{Settings, Ttl};
use crate::control::{Control, New};
use crate::error::Result;
use crate::model::{ClusteringRange, Key, Mutation, Query, Returns, Row, Update};
use crate::protocol::Phase;
use crate::protocol::row::DeleteProgress;
use crate::spec::TableSpec;

/// A table of an application.
#[derive(Clone)]
pub struct Table {
    pub(super) inner: Arc<TableInner>,
    keeper: Arc<Keeper>,
    /// When what is asked of it has to be over, if that is earlier than each operation's own deadline.
    until: Option<Instant>,
}

/// The deletion of a range of rows that may take more than one deadline: [`Table::range_deletion`].
///
/// It is one deletion, as long as it may take. A row that is written meanwhile into the part that is done is
/// written after it, and stays.
pub struct RangeDeletion {
    table: Table,
    range: ClusteringRange,
    progress: DeleteProgress,
}

impl RangeDeletion {
    /// Deletes what is left, within a deadline. After an error, or where it was dropped, it may be run again, in
    /// whatever phase the table is by then.
    ///
    /// # Errors
    /// As [`Table::delete_range`]: a range that isn't one of the table, a deadline, a store, the lease. After a kind that
    /// isn't transient the next run fails in the same way.
    pub async fn run(&mut self) -> Result<()> {
        let begun = self.table.begun().await?;
        let operation = self.table.begin_rows(&begun, None)?;
        operation
            .delete_range(self.range.clone(), &mut self.progress)
            .await
    }

    /// How many rows were deleted so far; none are counted in phase `old`.
    pub fn deleted(&self) -> u64 {
        self.progress.deleted
    }

    /// Up to which key nothing is left, if that is known.
    pub fn up_to(&self) -> Option<&Key> {
        self.progress.up_to.as_ref()
    }
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
        spec: TableSpec,
        settings: Arc<Settings>,
        old: Arc<OldStore>,
        new: New,
        control: Control,
    ) -> Table {
        let inner = Arc::new(TableInner::new(spec, settings, old, new, control));
        let keeper = tokio::spawn(inner.clone().keep_joined());
        Table {
            inner,
            keeper: Arc::new(Keeper(keeper)),
            until: None,
        }
    }

    /// The same table, whose operations have to be over by then: they are parts of one request.
    pub(crate) fn until(&self, until: Instant) -> Table {
        Table {
            until: Some(until),
            ..self.clone()
        }
    }

    /// Its name in the plan.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its name in the new store.
    pub fn target(&self) -> &str {
        &self.inner.spec.to
    }

    /// The phase in which an operation would begin now, without waiting for anything.
    ///
    /// # Errors
    /// [`Kind::Unreachable`](crate::error::Kind::Unreachable) if the table hasn't been joined yet or the lease is over; what the
    /// last try to join failed with, if it did.
    pub fn ready(&self) -> Result<Phase> {
        self.inner.ready()
    }

    /// Waits until the table has been joined, and tells the phase that operations begin in.
    ///
    /// # Errors
    /// [`Kind::Missing`](crate::error::Kind::Missing) without a control record; [`Kind::Mismatch`](crate::error::Kind::Mismatch)
    /// if the record belongs to another plan or schema; what a store failed with, if it still does after
    /// [`Settings::deadline`].
    pub async fn phase(&self) -> Result<Phase> {
        Ok(self.begun().await?.joined.member.phase())
    }

    /// The table as it is in the new store: the columns that rows and keys have here.
    ///
    /// # Errors
    /// The table can't be joined, as in [`Table::phase`].
    pub async fn schema(&self) -> Result<crate::schema::Table> {
        Ok(self.begun().await?.joined.transform.target().clone())
    }

    /// How its rows look as items.
    ///
    /// # Errors
    /// The table can't be joined, as in [`Table::phase`]; [`crate::error::Kind::Config`] for a table that no item can hold,
    /// which only an embedded new store takes.
    pub async fn items(&self) -> Result<Items> {
        self.begun().await?.joined.items()
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if the key doesn't fit the table; [`Kind::Timeout`](crate::error::Kind::Timeout)
    /// past the deadline; [`Kind::Unreachable`](crate::error::Kind::Unreachable) if a store can't be reached or the lease is over;
    /// [`Kind::Mismatch`](crate::error::Kind::Mismatch) while the table is offline; what else a store refuses.
    pub async fn get(&self, key: &Key) -> Result<Option<Row>> {
        self.get_within(&self.begun().await?, key).await
    }

    /// Writes a whole row: columns that are null are absent afterwards. Its `expires` is made of the time to
    /// live.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if the row doesn't fit the table; a deadline, a store or the lease, as in
    /// [`Table::get`]. With [`crate::error::Effect::Unknown`] the row may have been written, or may be yet: writing it again is
    /// the caller's choice, since that may undo a later write.
    pub async fn put(&self, row: Row, ttl: Ttl) -> Result<()> {
        self.put_within(&self.begun().await?, row, ttl).await
    }

    /// Writes a whole row if there is none.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if the row doesn't fit the table; a deadline, a store or the lease, as in
    /// [`Table::get`]. With unknown effect the row may have been written, or may be yet.
    pub async fn insert(&self, row: Row, ttl: Ttl) -> Result<Written> {
        let begun = self.begun().await?;
        let row = self.inner.fitting(&begun.joined, row, ttl)?;
        self.inner.write(&begun, Mutation::Insert(row)).await
    }

    /// Changes some columns of a row, which need not exist. In the new store its time to live becomes the
    /// row's.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if a column or value doesn't fit the table; a deadline, a store or the lease,
    /// as in [`Table::get`], with the effect unknown where it may have been made. An edit of a collection's elements needs the
    /// whole row: in `bridge` and `switch` it may be refused ([`crate::error::Kind::Transient`]), and is tried again until the
    /// deadline.
    pub async fn update(&self, update: Update, ttl: Ttl) -> Result<()> {
        self.update_within(&self.begun().await?, update, ttl).await
    }

    /// Changes some columns if the row is there and all `expected` cells (by their place among
    /// [`crate::schema::Table::cells`]) are as given; `None` is null.
    ///
    /// # Errors
    /// As [`Table::update`]: values that don't fit, a deadline, a store, the lease. With unknown effect the condition may have
    /// held and the change may have been made.
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
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if it isn't a key of the table; a deadline, a store or the lease, as in
    /// [`Table::get`]. With unknown effect the row may have been deleted, or may be yet.
    pub async fn delete(&self, key: &Key) -> Result<()> {
        let begun = self.begun().await?;
        self.inner.is_of_rows(&begun.joined, Some(key))?;
        let mutation = Mutation::Delete(key.clone());
        self.inner.write(&begun, mutation).await.map(drop)
    }

    /// Deletes a range of rows: natively in `old`, else key by key, so that it isn't atomic.
    ///
    /// A range with more rows than can be deleted within the deadline takes several calls: each one deletes what
    /// is left, and looks at what was deleted before. Where that alone may take a deadline, as with some 100,000
    /// rows or more, [`Table::range_deletion`] goes on where it was.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if the range isn't one of the table; a deadline, a store or the lease, as in
    /// [`Table::get`]; then some of the rows may be left. The error tells how many were deleted and up to which key; its effect
    /// is unknown once one of them was deleted.
    pub async fn delete_range(&self, range: ClusteringRange) -> Result<()> {
        self.range_deletion(range).run().await
    }

    /// The deletion of a range of rows, to be run until it is done: however many rows there are, each run goes on
    /// where the one before it was.
    pub fn range_deletion(&self, range: ClusteringRange) -> RangeDeletion {
        RangeDeletion {
            table: self.clone(),
            range,
            progress: DeleteProgress::default(),
        }
    }

    /// Reads a page of a range of rows, in clustering order or backwards. A whole partition begins with its
    /// static row, if there is one. A page may have no rows though more follow: it ends where [`RowsPage::next`] is none.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if the key doesn't fit the table; [`Kind::Timeout`](crate::error::Kind::Timeout)
    /// past the deadline; [`Kind::Unreachable`](crate::error::Kind::Unreachable) if a store can't be reached or the lease is over;
    /// [`Kind::Mismatch`](crate::error::Kind::Mismatch) while the table is offline; what else a store refuses.
    pub async fn query(&self, query: Query) -> Result<RowsPage> {
        self.query_within(&self.begun().await?, query).await
    }

    /// Adds to a counter. Adds to one key that come while one is under way go together as the next.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if there is no such counter; a deadline, a store or the lease, as in
    /// [`Table::get`]. With unknown effect, adding again may count twice; see [`TablePlan::exactly_once`](crate::spec::TablePlan).
    pub async fn add(&self, key: &Key, column: &str, by: i64) -> Result<()> {
        let begun = self.begun().await?;
        let columns = begun.joined.transform.target().cells();
        let place = columns.iter().position(|there| there.name == column);
        let place =
            place.ok_or_else(|| self.inner.wrong(format!("there is no counter `{column}`")))?;
        let mut all = vec![None; columns.len()];
        all[place] = Some(by);
        let adding = AskedAdd {
            by: all,
            tells: false,
            token: None,
        };
        self.add_within(begun, key, adding).await.map(drop)
    }

    /// Adds to several counters of a row in one write: one number for each of
    /// [`crate::schema::Table::cells`].
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if there aren't as many numbers as counters; else as [`Table::add`]. With
    /// unknown effect, adding again may count twice.
    pub async fn add_all(&self, key: &Key, by: Vec<Option<i64>>) -> Result<()> {
        let returns = Returns::Nothing;
        self.add_and_tell(key, by, returns, None).await.map(drop)
    }

    /// Adds to several counters of a row in one write, and tells the totals before or after: one for each of
    /// [`crate::schema::Table::cells`].
    ///
    /// From `copy` on no two adds are told the same totals. Before, others may add to the old store while it is
    /// read, and with [`TablePlan::exactly_once`](crate::spec::TablePlan) to the new one too.
    ///
    /// # Errors
    /// As [`Table::add_all`]. The effect is unknown, too, where the add was made and the totals couldn't be read.
    pub async fn add_and_count(
        &self,
        key: &Key,
        by: Vec<Option<i64>>,
        returns: Returns,
    ) -> Result<Vec<Option<i64>>> {
        self.add_and_tell(key, by, returns, None).await
    }

    /// The same, known by a token of the caller's own: with [`TablePlan::exactly_once`](crate::spec::TablePlan) it counts once in the new store,
    /// however often it is sent within ten minutes and from whichever process. It goes alone, while others of its key
    /// wait.
    ///
    /// # Errors
    /// As [`Table::add_all`]. Where the effect is unknown, [`AddToken::tells`] says whether it may be sent again.
    pub async fn add_by_token(
        &self,
        key: &Key,
        by: Vec<Option<i64>>,
        returns: Returns,
        token: AddToken,
    ) -> Result<Vec<Option<i64>>> {
        self.add_and_tell(key, by, returns, Some(token)).await
    }

    async fn add_and_tell(
        &self,
        key: &Key,
        by: Vec<Option<i64>>,
        returns: Returns,
        token: Option<AddToken>,
    ) -> Result<Vec<Option<i64>>> {
        let begun = self.begun().await?;
        let adding = AskedAdd {
            by: by.clone(),
            tells: match returns {
                Returns::Nothing => false,
                Returns::Old | Returns::New => true,
            },
            token,
        };
        let after = self.add_within(begun, key, adding).await?;
        match returns {
            Returns::Nothing | Returns::New => Ok(after),
            Returns::Old => minus(&after, &by),
        }
    }

    /// For how long adds of every participant have gone to the new store with their tokens, as far as this process
    /// knows; `None` where they may go to the old store, or have no tokens.
    ///
    /// # Errors
    /// The table can't be joined, as in [`Table::phase`].
    pub async fn tells_by_token(&self) -> Result<Option<Duration>> {
        if !self.inner.spec.exactly_once {
            return Ok(None);
        }
        let begun = self.begun().await?;
        let (phase, since) = begun.joined.member.phase_since();
        Ok(match phase {
            Phase::Copy | Phase::New | Phase::Done => Some(since),
            // This one's go there; others may be a phase earlier.
            Phase::Switch => Some(Duration::ZERO),
            Phase::Old | Phase::Bridge | Phase::Offline => None,
        })
    }

    /// A row's totals: one for each of [`crate::schema::Table::cells`], all null if there is no such row.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if the table has no counters, or a total that no bigint can hold; a deadline,
    /// a store or the lease, as in [`Table::get`].
    pub async fn count(&self, key: &Key) -> Result<Vec<Option<i64>>> {
        self.count_within(&self.begun().await?, key).await
    }

    pub(super) async fn leave(self) -> Result<()> {
        let state = self.inner.state.borrow().clone();
        let Joining::Joined(joined) = state else {
            return Ok(());
        };
        let left = joined.member.leave().await;
        self.keeper.0.abort();
        left
    }

    /// Begins a call of the application: what it may take counts from here, joining included.
    pub(super) async fn begun(&self) -> Result<Begun> {
        let deadline = Instant::now() + self.inner.settings.deadline;
        let deadline = self.until.map_or(deadline, |until| until.min(deadline));
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

    pub(super) async fn query_within(&self, begun: &Begun, query: Query) -> Result<RowsPage> {
        self.begin_rows(begun, None)?.query(query).await
    }

    pub(super) async fn count_within(&self, begun: &Begun, key: &Key) -> Result<Vec<Option<i64>>> {
        self.inner.is_of_counters(&begun.joined, key)?;
        let operation = Operation::begin(&self.inner, &begun.joined, begun.deadline)?;
        operation.count(key.clone()).await
    }

    async fn add_within(
        &self,
        begun: Begun,
        key: &Key,
        adding: AskedAdd,
    ) -> Result<Vec<Option<i64>>> {
        self.inner.is_of_counters(&begun.joined, key)?;
        let (has, wants) = (
            adding.by.len(),
            begun.joined.transform.target().cells().len(),
        );
        if has != wants {
            let message = format!("{has} numbers for the {wants} counters of a row");
            return Err(self.inner.wrong(message));
        }
        self.inner.clone().add(begun, key.clone(), adding).await
    }

    fn begin_rows(&self, begun: &Begun, key: Option<&Key>) -> Result<Operation> {
        self.inner.is_of_rows(&begun.joined, key)?;
        Operation::begin(&self.inner, &begun.joined, begun.deadline)
    }
}
