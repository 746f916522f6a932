//! A second look at single rows, before anything is called a difference.
//!
//! The two stores are never read at one moment, and meanwhile copiers, shims and applications write to the
//! new one. So the item is read before and after the old row, until both times it is the same: then both
//! stores were as they were seen at one moment. The old store doesn't change but for what expires.

use std::time::Duration;

use super::canonical::differing;
use super::expiries;
use super::state::VerifyState;
use super::verdict::{READ_KEYS, Stance, Suspect, Verdict, Why, is_off};
use super::{MARGIN, VerifyRun};
use crate::clock::unix_seconds;
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Mark, Row};
use crate::schema::Table;
use crate::store::Reads;

/// Rows of a first look, before anything is known of what they weigh.
const FIRST_LOOK: usize = 25;
/// Bytes of rows of a look, each of which is read three times.
const LOOK_BYTES: usize = 4 << 20;
/// How often an item that changes under one's eyes is looked at.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Both stores' rows of a key, the old one as the new store would have it.
struct SecondLook {
    item: Result<Option<Row>>,
    old: Result<Option<Row>>,
    is_late: bool,
    is_steady: bool,
}

impl SecondLook {
    fn weight(&self) -> usize {
        let rows = [&self.item, &self.old].map(|row| row.as_ref().ok());
        let rows = rows.into_iter().flatten().flatten();
        rows.map(Row::weight).sum()
    }
}

impl VerifyRun<'_> {
    /// Looks at all suspects there are, counts what they are, and forgets them.
    pub(super) async fn settle(&self) -> Result<()> {
        let mut left = self.state().suspects.len();
        if left == 0 {
            return Ok(());
        }
        self.wait(self.verifier.options.delay).await?;
        let mut most = FIRST_LOOK;
        while left > 0 {
            if self.is_enough() {
                let mut state = self.state();
                state.suspects.clear();
                state.found.stop_early(0);
                break;
            }
            let count = left.min(most);
            let part = self.state().suspects[..count].to_vec();
            let looks = self.look(&part).await?;
            let largest = looks.iter().map(SecondLook::weight).max().unwrap_or(1);
            most = (LOOK_BYTES / largest.max(1))
                .clamp(1, READ_KEYS)
                .min(most * 4);
            let mut state = self.state();
            for (suspect, look) in part.iter().zip(looks) {
                self.count(suspect, &look, &mut state);
            }
            // Counted and forgotten at once, so that neither is lost nor done twice after a kill.
            state.suspects.drain(..count);
            left -= count;
        }
        Ok(())
    }

    fn count(&self, suspect: &Suspect, look: &SecondLook, state: &mut VerifyState) {
        let verdict = self.judge(suspect, look);
        let row = |row: &Result<Option<Row>>| row.clone().ok().flatten();
        let (old, item) = (row(&look.old), row(&look.item));
        let seen = (old.as_ref(), item.as_ref());
        let transform = &self.verifier.transform;
        let is_copied = self.verifier.is_copied;
        state
            .found
            .count(&verdict, &suspect.key, seen, transform, is_copied);
        if verdict.can_be_mended() && state.mend.len() < self.verifier.options.most_mended {
            state.mend.push(suspect.clone());
        }
    }

    async fn look(&self, suspects: &[Suspect]) -> Result<Vec<SecondLook>> {
        let mut looks: Vec<Option<SecondLook>> = suspects.iter().map(|_| None).collect();
        for round in 0..LOOKS {
            let places: Vec<usize> = (0..suspects.len())
                .filter(|place| looks[*place].as_ref().is_none_or(|look| !look.is_steady))
                .collect();
            if places.is_empty() {
                break;
            }
            if round > 0 {
                self.wait(BETWEEN_LOOKS).await?;
            }
            let chosen: Vec<&Suspect> = places.iter().map(|place| &suspects[*place]).collect();
            for (place, look) in places.into_iter().zip(self.look_once(&chosen).await?) {
                looks[place] = Some(look);
            }
        }
        Ok(looks.into_iter().flatten().collect())
    }

    async fn look_once(&self, suspects: &[&Suspect]) -> Result<Vec<SecondLook>> {
        let transform = &self.verifier.transform;
        let keys: Vec<Key> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
        let first = self.read_new(&keys).await?;
        let sources: Vec<Key> = suspects
            .iter()
            .filter_map(|suspect| suspect.source.clone())
            .collect();
        let olds = self.get(&*self.verifier.old.0, transform.source(), &sources);
        let mut olds = olds.await?.into_iter();
        let second = self.read_new(&keys).await?;
        let pairs = suspects.iter().zip(first.into_iter().zip(second));
        let mut looks = Vec::with_capacity(suspects.len());
        for (suspect, (first, second)) in pairs {
            let old = suspect.source.as_ref().and_then(|_| olds.next().flatten());
            let is_late = old.as_ref().is_some_and(|old| self.is_late(old));
            looks.push(SecondLook {
                is_steady: matches!((&first, &second), (Ok(one), Ok(two)) if one == two)
                    || second.is_err(),
                item: second,
                old: match old {
                    Some(old) => self.as_new(old),
                    None => Ok(None),
                },
                is_late,
            });
        }
        Ok(looks)
    }

    /// Items by key; one that can't be read is an error of its own.
    pub(super) async fn read_new(&self, keys: &[Key]) -> Result<Vec<Result<Option<Row>>>> {
        let (new, target) = (&*self.verifier.new, self.verifier.transform.target());
        match self.get(new, target, keys).await {
            Ok(rows) => Ok(rows.into_iter().map(Ok).collect()),
            Err(error) if is_about_one(&error) => {
                let mut rows = Vec::with_capacity(keys.len());
                for key in keys {
                    match self.get(new, target, std::slice::from_ref(key)).await {
                        Ok(row) => rows.push(Ok(row.into_iter().next().flatten())),
                        Err(error) if is_about_one(&error) => rows.push(Err(error)),
                        Err(error) => return Err(error),
                    }
                }
                Ok(rows)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn get(
        &self,
        store: &dyn Reads,
        table: &Table,
        keys: &[Key],
    ) -> Result<Vec<Option<Row>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.unless_stopped(store.get(table, keys)).await
    }

    fn judge(&self, suspect: &Suspect, look: &SecondLook) -> Verdict {
        let (item, unfit) = match &look.item {
            Ok(item) => (item.as_ref(), None),
            // A key that the new store can't have has no item.
            Err(error) if error.kind() == Kind::Invalid => (None, Some(error)),
            // The scan has counted it.
            Err(error) => match suspect.why {
                Why::Late => return Verdict::Late,
                Why::Compared | Why::Unfit | Why::Foreign | Why::Totals => {
                    tracing::debug!("an item can't be read: {error}");
                    return Verdict::Owned;
                }
            },
        };
        match (suspect.why, &suspect.source, item) {
            (Why::Foreign, _, Some(item)) if self.stance(item) == Stance::Foreign => {
                return Verdict::Foreign;
            }
            (Why::Foreign, _, Some(item)) if self.stance(item) == Stance::Adopted => {
                return Verdict::Adopted;
            }
            // It has a mark by now, and its row in the old store isn't known.
            (Why::Foreign, None, _) => return Verdict::Owned,
            (Why::Totals, None, Some(item)) if is_still_off(item) => return Verdict::Total,
            (Why::Totals, None, _) => return Verdict::Same,
            // Whatever else was seen of them, they are compared like all others.
            (Why::Foreign | Why::Totals, Some(_), _)
            | (Why::Compared | Why::Late | Why::Unfit, _, _) => {}
        }
        let old = match &look.old {
            Ok(old) => old.as_ref(),
            Err(error) => return Verdict::Unfit(error.clone()),
        };
        let compared = self.compare(item, old);
        match compared {
            Verdict::Missing if let Some(error) = unfit => Verdict::Unfit(error.clone()),
            Verdict::Same if suspect.why == Why::Totals && item.is_some_and(is_still_off) => {
                Verdict::Total
            }
            Verdict::Same if look.is_late => Verdict::LateButSame,
            Verdict::Missing
            | Verdict::Different
            | Verdict::Owned
            | Verdict::Foreign
            | Verdict::Partial
                if look.is_late =>
            {
                Verdict::Late
            }
            // The scan of the new store has seen to it.
            Verdict::Foreign => Verdict::Owned,
            Verdict::Same
            | Verdict::Owned
            | Verdict::Adopted
            | Verdict::Expiring
            | Verdict::LateButSame
            | Verdict::Missing
            | Verdict::Unfit(_)
            | Verdict::Extra
            | Verdict::Different
            | Verdict::Counter
            | Verdict::Total
            | Verdict::Late
            | Verdict::Partial => compared,
        }
    }

    /// What an item and an old row, as the new store would have it, are to each other.
    fn compare(&self, item: Option<&Row>, old: Option<&Row>) -> Verdict {
        let soon = unix_seconds() + MARGIN;
        let expires_soon =
            |row: Option<&Row>| row.and_then(|row| row.expires).is_some_and(|at| at <= soon);
        let Some(item) = item else {
            return match old {
                None => Verdict::Same,
                Some(_) if expires_soon(old) => Verdict::Expiring,
                Some(_) => Verdict::Missing,
            };
        };
        match self.stance(item) {
            Stance::Foreign => return Verdict::Foreign,
            Stance::Owned | Stance::Adopted => return Verdict::Owned,
            Stance::Partial if old.is_some() => return Verdict::Partial,
            Stance::Partial => return Verdict::Owned,
            Stance::Compared => {}
        }
        // An item that expires before its old row hides that, so that it isn't left out.
        let is_left_out = match old {
            None => expires_soon(Some(item)),
            Some(old) => expires_soon(Some(old)) || self.went_with_a_cell(item, old),
        };
        if is_left_out {
            return Verdict::Expiring;
        }
        let item = self.as_compared(item.clone());
        match (item, old) {
            (None, None) => Verdict::Same,
            (Some(item), None) if self.verifier.transform.may_outlive(&item) => Verdict::Expiring,
            (Some(_), None) => Verdict::Extra,
            (Some(item), Some(old)) if self.are_same(&item, old) => Verdict::Same,
            (None | Some(_), Some(_)) if self.verifier.counters.is_some() => Verdict::Counter,
            (None | Some(_), Some(_)) => Verdict::Different,
        }
    }

    /// Whether an item has expired because the plan lets a row go with the first of its cells: then the old
    /// row goes on without that one.
    fn went_with_a_cell(&self, item: &Row, old: &Row) -> bool {
        let transform = &self.verifier.transform;
        transform.expires_with_the_first_cell()
            && item.expires.is_some_and(|at| at <= unix_seconds())
            && !differing(transform.target(), item, old).is_empty()
    }

    pub(super) fn are_same(&self, item: &Row, old: &Row) -> bool {
        let expire = match (item.expires, old.expires) {
            (Some(new), Some(old)) => expiries::are_same(new, old),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        expire && differing(self.verifier.transform.target(), item, old).is_empty()
    }
}

/// Whether a read failed because of one of its keys or items.
fn is_about_one(error: &Error) -> bool {
    matches!(error.kind(), Kind::Corrupt | Kind::Invalid)
}

/// Whether a counter item that once was off may be so still: what an application has added since doesn't bring it
/// in order, and hides it for good.
fn is_still_off(item: &Row) -> bool {
    item.mark == Some(Mark::Application) || is_off(item)
}
