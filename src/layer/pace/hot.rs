//! Partitions of the new store that are hot by themselves, while the table as a whole could take more.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, Spent, Taken};
use crate::model::Value;

/// The most that are watched; of more the table as a whole suffers.
const MOST: usize = 256;
/// One that wasn't refused anything for so long is none any more.
const COOLED: Duration = Duration::from_secs(60);
/// A step down leaves this part.
const TO: f64 = 0.7;
/// Rows a second that are always let through, so that it is seen when it has cooled.
const LEAST: f64 = 1.0;

/// The partitions that a store has called hot, with what each may take.
#[derive(Debug, Default)]
pub(super) struct HotPartitions {
    known: Mutex<HashMap<u64, HotPartition>>,
    /// Nearly always there are none.
    any: AtomicBool,
}

#[derive(Clone, Debug)]
struct HotPartition {
    rows: Arc<Account>,
    refused: Instant,
}

/// What a call has taken of hot partitions: rows of each.
#[derive(Default)]
pub(super) struct HotTaken(Vec<(Arc<Account>, u64, usize, Taken)>);

/// A partition of a table, by its key.
pub(super) fn partition(table: &str, key: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (table, key).hash(&mut hasher);
    hasher.finish()
}

impl HotPartitions {
    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Waits until the hot ones among these take the rows that are meant for them.
    pub(super) async fn take(&self, rows: impl Iterator<Item = u64>) -> HotTaken {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for partition in rows {
            *counts.entry(partition).or_default() += 1;
        }
        let hot: Vec<(Arc<Account>, u64, usize)> = {
            let known = self.known();
            let account = |(id, count)| Some((known.get(&id)?.rows.clone(), id, count));
            counts.into_iter().filter_map(account).collect()
        };
        let mut taken = Vec::with_capacity(hot.len());
        // In the order of their ids, so that no two calls wait for each other.
        for (account, id, count) in hot {
            let took = account.take(count).await;
            taken.push((account, id, count, took));
        }
        HotTaken(taken)
    }

    /// The call is over, and of these partitions some rows were refused.
    pub(super) fn settle(&self, taken: HotTaken, refused: &BTreeMap<u64, usize>) {
        for (account, id, count, took) in taken.0 {
            let refused = refused.get(&id).copied().unwrap_or(0);
            let done = count.saturating_sub(refused) as f64;
            account.settle(count, took, Spent { done, refused });
            if refused == 0 {
                account.is_well(took.begun);
            } else if account.is_told_by(took.begun) {
                account.step_down(TO, true, LEAST);
            }
        }
        if !refused.is_empty() {
            self.note(refused.keys().copied());
        }
    }

    fn note(&self, refused: impl Iterator<Item = u64>) {
        let now = Instant::now();
        let mut known = self.known();
        known.retain(|_, hot| now.saturating_duration_since(hot.refused) < COOLED);
        for id in refused {
            if let Some(hot) = known.get_mut(&id) {
                hot.refused = now;
            } else if known.len() < MOST {
                let rows = Arc::new(Account::new(None, 1.0));
                known.insert(id, HotPartition { rows, refused: now });
            }
        }
        self.any.store(!known.is_empty(), Ordering::Relaxed);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        if !self.any() {
            return 0;
        }
        self.note(std::iter::empty());
        self.known().len()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, HotPartition>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
