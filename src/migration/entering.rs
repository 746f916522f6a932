//! What a phase takes before a table may enter it.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};

use super::Migration;
use super::adopting::is_adopted;
use super::moves::{MoveOptions, OpenOld, Refusal};
use super::survey::MOST_NAMES;
use crate::control::{New, Record};
use crate::display;
use crate::error::Result;
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::{Key, Mark, Row, Tokens};
use crate::protocol::Phase;
use crate::protocol::{counter, row};
use crate::schema::Table;
use crate::store::{Cursor, Old, Range};
use crate::verifier::Adopted;

/// Parts of the target that are looked through at once.
const SCANS: usize = 8;
/// Items of one page.
const ITEMS: usize = 5_000;
/// Keys of one read of the old store.
const READ_KEYS: usize = 100;

impl Migration {
    /// What argues against a table's entering a phase from where it is; all of it that can be told.
    /// Asks the old store only for [`Phase::New`] and what follows it, and for the fence.
    ///
    /// # Errors
    /// The stores'.
    pub async fn may_enter(
        &self,
        record: &Record,
        to: Phase,
        options: &MoveOptions<'_>,
    ) -> Result<Vec<Refusal>> {
        match (record.phase, to) {
            (Phase::Old, Phase::Bridge) => self.may_begin_live(record).await,
            // From here on nothing reads the old store.
            (Phase::Copy | Phase::Offline, Phase::New | Phase::Done) => {
                self.has_arrived(record, options.open_old).await
            }
            (Phase::Switch, Phase::Copy) => self.may_close(options.open_old).await,
            (Phase::Copy, Phase::Switch) => self.may_open(record, options.open_old).await,
            (Phase::Bridge, Phase::Old) => self.may_return(record).await,
            // The barrier is all it takes.
            (
                Phase::Old
                | Phase::Bridge
                | Phase::Switch
                | Phase::Copy
                | Phase::New
                | Phase::Done
                | Phase::Offline,
                _,
            ) => Ok(Vec::new()),
        }
    }

    /// A row that is in the new store hides the old one, copied or not. Folded counters hide nothing.
    async fn may_begin_live(&self, record: &Record) -> Result<Vec<Refusal>> {
        if record.source.read()?.is_counter() {
            return Ok(Vec::new());
        }
        if !self.new.capabilities().change {
            return Ok(vec![Refusal {
                what: "this new store can't change single items on a condition, as applications have to".into(),
                help: "stop them and copy offline, or move to DynamoDB".into(),
            }]);
        }
        let beyond = self.beyond_adopted(record).await?;
        if beyond.is_empty() {
            return Ok(Vec::new());
        }
        let what = match record.adopted {
            true => "the target has got or changed items since it was taken over, which",
            false => "the target has items, which",
        };
        Ok(vec![Refusal {
            what: format!(
                "{what} would hide the rows of the old table: such as {}",
                beyond.join("; ")
            ),
            help: format!(
                "find out what wrote them; delete them, or accept them with `migrate init --adopt {}`",
                self.spec.to
            ),
        }])
    }

    /// In `old` nothing looks at the new store. Holds once every participant is in `bridge`: then no instance makes an item
    /// of a row there, or adds to a counter.
    pub(super) async fn may_return(&self, record: &Record) -> Result<Vec<Refusal>> {
        let target = record.target.read()?;
        let adopted = self.adopted(record).await?;
        let new = self.new.patient(Patience::default(), &self.pace.new);
        let ranges = new.splits(&target, SCANS).await?;
        let mut scans: FuturesUnordered<_> = ranges
            .iter()
            .map(|range| hidden_in_old(&new, &target, range, &adopted))
            .collect();
        let mut held = Vec::new();
        while let Some(found) = scans.next().await {
            held.extend(found?);
            if held.len() >= MOST_NAMES {
                break;
            }
        }
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let what = match target.is_counter() {
            true => "the new store has counters that were added to there",
            false => "the new store has rows",
        };
        held.truncate(MOST_NAMES);
        Ok(vec![Refusal {
            what: format!(
                "{what}, and nothing looks there in `old`: such as {}",
                held.join("; ")
            ),
            help: "`bridge` is as far back as this table goes; it loses nothing by waiting there"
                .into(),
        }])
    }

    /// Every row and every counter is in the new store, and whole, and a verification has looked.
    async fn has_arrived(&self, record: &Record, open_old: OpenOld<'_>) -> Result<Vec<Refusal>> {
        let source = record.source.read()?;
        let mut refusals = Vec::new();
        refusals.extend(self.unfinished(record, &source).await?);
        let letters = self.letters(record).await?.len();
        if letters > 0 {
            refusals.push(Refusal {
                what: format!("{letters} rows or ranges could not be copied"),
                help: "see `migrate failures` for which and why".into(),
            });
        }
        // Comparing comes when all else is well.
        if !refusals.is_empty() {
            return Ok(refusals);
        }
        if let Some(unverified) = self.unverified(record).await? {
            // It reads the whole target, which a clean verification has done; and while a table is offline,
            // no application writes there.
            let may_be_partial = record.phase != Phase::Offline || record.adopted;
            if !source.is_counter() && may_be_partial {
                refusals.extend(self.partial_items(record, &source, open_old).await?);
            }
            refusals.push(unverified);
        }
        Ok(refusals)
    }

    async fn unfinished(&self, record: &Record, source: &Table) -> Result<Option<Refusal>> {
        let done = self.done_elsewhere(record).await?;
        let percent = (done.share_of(Tokens::ALL) * 1e3).floor() / 10.0;
        let (is_done, what, command) = match source.is_counter() {
            true => {
                let settled = done.is_all().then_some(record.freeze);
                let may = counter::may_enter_new(settled, record.freeze);
                (may, "a final pass has settled", "copy --final")
            }
            false => (done.is_all(), "a copy is through with", "copy"),
        };
        if is_done {
            return Ok(None);
        }
        let offline = match record.phase {
            Phase::Offline => " --offline",
            Phase::Old | Phase::Bridge | Phase::Switch | Phase::Copy | Phase::New | Phase::Done => {
                ""
            }
        };
        Ok(Some(Refusal {
            what: format!(
                "since the old table was frozen (freeze {}), {what} {percent:.1} % of it",
                record.freeze
            ),
            help: format!(
                "run `migrate {command}{offline} --table {}` to its end",
                self.spec.name
            ),
        }))
    }

    /// Partial items whose key the old table holds. A copy completes those it meets, so there should be
    /// none; in `new` each would be a row that lacks columns.
    async fn partial_items(
        &self,
        record: &Record,
        source: &Table,
        open_old: OpenOld<'_>,
    ) -> Result<Option<Refusal>> {
        if !self
            .spec
            .transform(source, record.default_ttl)?
            .keeps_keys()
        {
            tracing::info!(
                "{}: keys are masked, so partial items can't be looked up in the old table; the copy has \
                 completed each one that it met",
                self.spec.name
            );
            return Ok(None);
        }
        let patient = |store, pace| Arc::new(Retry::new(store, Patience::default()).paced(pace));
        let new = self.new.patient(Patience::default(), &self.pace.new);
        let old = tokio::sync::OnceCell::new();
        let open = async || {
            open_old()
                .await
                .map(|old| Old(patient(old.0, &self.pace.old)))
        };
        let holds = async |keys: Vec<Key>| -> Result<Vec<Key>> {
            let mut held = Vec::new();
            for keys in keys.chunks(READ_KEYS) {
                let old = old.get_or_try_init(&open).await?;
                let rows = old.0.get(source, keys).await?;
                let there = keys.iter().zip(rows).filter(|(_, row)| row.is_some());
                held.extend(there.map(|(key, _)| key.clone()));
            }
            Ok(held)
        };
        let target = record.target.read()?;
        let ranges = new.splits(&target, SCANS).await?;
        let mut scans: FuturesUnordered<_> = ranges
            .iter()
            .map(|range| partial_of(&new, &target, range, &holds))
            .collect();
        let mut held = Vec::new();
        while let Some(found) = scans.next().await {
            held.extend(found?);
        }
        if held.is_empty() {
            return Ok(None);
        }
        let some = held
            .iter()
            .take(MOST_NAMES)
            .map(|key| display::key(source, key));
        Ok(Some(Refusal {
            what: format!(
                "{} items have some columns of their rows only, the rest is in the old table, such as {}",
                held.len(),
                some.collect::<Vec<_>>().join("; ")
            ),
            help: "a copy of a new freeze completes them: `migrate back --to switch`, `migrate advance --to \
                   copy`, `migrate copy`"
                .into(),
        }))
    }
}

/// The first keys of a range whose items show what the old table doesn't. What was adopted, and has no mark, no
/// application has written since; and in `old` nothing looked at it before.
async fn hidden_in_old(
    new: &New,
    target: &Table,
    range: &Range,
    adopted: &Adopted,
) -> Result<Vec<String>> {
    let is_as_adopted = |item: &Row| item.mark.is_none() && adopted.has_item(target, item);
    let may_return = |item: &Row| match target.is_counter() {
        true => match counter::CounterItem::of(item.clone()) {
            Ok(item) => counter::may_return_to_old(Some(&item)),
            Err(_) => false,
        },
        false => row::may_return_to_old(Some(item)),
    };
    let mut held = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = new.scan(target, range, cursor.as_ref(), ITEMS).await?;
        let unreadable = page.unreadable.into_iter();
        let unreadable = unreadable.filter(|item| !is_adopted(item, adopted));
        held.extend(unreadable.map(|item| item.key));
        let rows = page.rows.iter();
        let hidden = rows.filter(|item| !may_return(item) && !is_as_adopted(item));
        held.extend(hidden.map(|item| display::key(target, &item.key)));
        cursor = page.next;
        if cursor.is_none() || held.len() >= MOST_NAMES {
            return Ok(held);
        }
    }
}

/// The keys of a range's partial items that the old table holds.
async fn partial_of(
    new: &New,
    target: &Table,
    range: &Range,
    holds: &impl AsyncFn(Vec<Key>) -> Result<Vec<Key>>,
) -> Result<Vec<Key>> {
    let mut held = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = new.scan(target, range, cursor.as_ref(), ITEMS).await?;
        let page = page.readable_but_for_strangers()?;
        let rows = page.rows.into_iter();
        let partial = rows.filter(|row| row.mark == Some(Mark::Partial));
        held.extend(holds(partial.map(|row| row.key).collect()).await?);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(held);
        }
    }
}
