//! What some rows of the old table tell of all of them: keys that the new store can't hold, and what a row costs there.

use super::survey::sample_of;
use super::{Migration, OpenOld};
use crate::clock;
use crate::display;
use crate::error::{Kind, Result};
use crate::forecast;
use crate::item::{Mapping, item_size};
use crate::model::Row;
use crate::protocol::Phase;
use crate::schema::Table;
use crate::store::Old;
use crate::transform::Transform;

/// Places of the ring that rows are read from, and rows of each.
const PLACES: usize = 32;
const ROWS: usize = 100;

/// Rows whose keys the new store can't hold, among some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unkept {
    /// How many rows were looked at.
    pub sampled: usize,
    /// How many of them have such a key.
    pub count: usize,
    /// One of the keys, and why it can't be held.
    pub example: (String, String),
}

impl Migration {
    /// What becomes of a table without a control record. Where the plan leaves open whether a sort key is made,
    /// the target that is there says it; where there is none, one is made if some rows need it: a key attribute
    /// holds no empty value.
    pub(super) async fn settle(&self, table: &Table, default_ttl: u32) -> Result<Transform> {
        let plain = self.spec.transform(table, default_ttl)?;
        let is_open = self.spec.keys.sort.is_none();
        if !is_open || !self.new.capabilities().key_attributes {
            return Ok(plain);
        }
        let mapping = Mapping::new(plain.target())?;
        if mapping.sort().is_none_or(|sort| sort.made) {
            return Ok(plain);
        }
        let mut spec = self.spec.clone();
        spec.table.keys.sort = Some(crate::item::SORT_ATTRIBUTE.to_owned());
        let made = spec.transform(table, default_ttl)?;
        // A column may have the name of the attribute.
        let Ok(made_mapping) = Mapping::new(made.target()) else {
            return Ok(plain);
        };
        if self.inspect_target().await?.is_some() {
            // It only compares keys.
            return Ok(match self.new_looks.create(plain.target()).await {
                Err(error) if error.kind() == Kind::Mismatch => {
                    match self.new_looks.create(made.target()).await {
                        Ok(()) => made,
                        Err(_) => plain,
                    }
                }
                Ok(()) | Err(_) => plain,
            });
        }
        let rows = self.sample(table, PLACES, ROWS).await?;
        let needs_it =
            |row: &&Row| mapping.key(&row.key).is_err() && made_mapping.key(&row.key).is_ok();
        let needing = rows.iter().filter(needs_it).count();
        if needing == 0 {
            return Ok(plain);
        }
        tracing::info!(
            "{}: the clustering column is empty in {needing} of {} sampled rows, which no key attribute can be: \
             the sort key is made (`{}`, of bytes)",
            self.spec.name,
            rows.len(),
            crate::item::SORT_ATTRIBUTE
        );
        Ok(made)
    }

    /// How many keys the new store can't hold, as far as some rows of the old table tell: from `bridge` on these
    /// can be read, but not written. `None` if none was found, or the new
    /// store has no such keys, or the table is frozen, so that dead letters say it.
    ///
    /// # Errors
    /// The stores'.
    pub async fn unkept(&self, open_old: OpenOld<'_>) -> Result<Option<Unkept>> {
        let Some(there) = self.control.load(&self.spec.to).await? else {
            return Ok(None);
        };
        let record = &there.record;
        let may_grow = matches!(record.phase, Phase::Old | Phase::Bridge | Phase::Switch);
        if !may_grow || !self.new.capabilities().key_attributes {
            return Ok(None);
        }
        let source = record.source.read()?;
        let transform = self
            .spec
            .settled(record)
            .transform(&source, record.default_ttl)?;
        let mapping = Mapping::new(transform.target())?;
        let rows = sample_of(&open_old().await?, &source, PLACES, ROWS).await?;
        let sampled = rows.len();
        let mut unkept: Option<Unkept> = None;
        for row in rows {
            let key = display::key(&source, &row.key);
            let Err(error) = transform
                .look(row)
                .and_then(|(row, _)| mapping.key(&row.key))
            else {
                continue;
            };
            let first = Unkept {
                sampled,
                count: 0,
                example: (key, error.to_string()),
            };
            unkept.get_or_insert(first).count += 1;
        }
        Ok(unkept)
    }

    /// Write units of a row's item on average, as far as some rows of the old table tell; 1 at least.
    ///
    /// # Errors
    /// The stores'; [`Kind::Missing`] if there is no control record.
    pub async fn mean_write_units(&self, old: &Old) -> Result<f64> {
        let record = &self.control.require(&self.spec.to).await?.record;
        let source = record.source.read()?;
        let spec = self.spec.settled(record);
        let transform = spec.transform(&source, record.default_ttl)?;
        // Rows' ends are counted from now on, as if it were frozen now.
        let transform = transform.frozen(Some(clock::unix_micros()));
        let mapping = Mapping::new(transform.target())?;
        let (mut items, mut units) = (0_u64, 0);
        for row in sample_of(old, &source, PLACES, ROWS).await? {
            let item = transform.apply(row).and_then(|row| mapping.item(&row));
            // One that makes no item is told of elsewhere.
            let Ok(item) = item else { continue };
            items += 1;
            units += forecast::write_units(item_size(&item) as u64);
        }
        match items {
            0 => Ok(1.0),
            items => Ok(units as f64 / items as f64),
        }
    }
}
