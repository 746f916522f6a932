//! From buckets that don't close to single rows.
//!
//! What the application owns is taken out of the old store's sums first: by reading those rows while they
//! are few, else in one more scan of the old table, or several if there are more than can be remembered. Where the
//! buckets that are still open have more rows than fit into memory, both stores are read once more, and those
//! rows alone summed up in other buckets ([`narrow`](super::narrow)). Then they are read in rounds: the old rows'
//! digests, then the items, which strike out what they equal. What is left on either side is suspected.
//!
//! However many rows differ, the tables are read no more often than [`Options`](super::Options) says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::VerifyRun;
use super::buckets::Buckets;
use super::canonical::{Fingerprint, Fingerprinter};
use super::expiries;
use super::grid::{Side, short, tokens_of};
use super::narrow::{Open, Suspected, too_many};
use super::scan::Pages;
use super::state::FEW_OWNED;
use super::verdict::{READ_KEYS, Stance, Suspect, Why};
use crate::clock::unix_seconds;
use crate::error::{Kind, Result};
use crate::model::{Key, Row, Tokens};
use crate::store::Range;

/// A part of what is suspected: as many rows as fit into memory.
struct SuspectRound<'a> {
    suspected: &'a Suspected,
    part: u64,
    of: u64,
}

impl SuspectRound<'_> {
    fn has(&self, bucket: u32, key: u128) -> bool {
        short(key) % self.of == self.part && self.suspected.has(bucket, key)
    }
}

/// An old row that no item has struck out yet.
struct Left {
    row: u128,
    /// 0 if it doesn't expire, which its digest tells too.
    expires: i64,
    bucket: u32,
}

impl VerifyRun<'_> {
    /// Suspects all rows in which the stores seem to differ, up to what is enough.
    pub(super) async fn find(&self, mut sums: Buckets) -> Result<()> {
        sums.is_full();
        let owned = self.take_out_owned(&mut sums).await?;
        sums.forgive();
        let bound = sums.bound().map_err(|_| too_many())?;
        self.state().found.expiry_bound = bound;
        let mut suspected = Suspected::of(&sums);
        drop(sums);
        let options = &self.verifier.options;
        let table = &self.verifier.transform.source().name;
        let mut narrowings = 0;
        while suspected.rows > options.round_rows
            && narrowings < options.most_narrowings
            && !self.is_enough_with(suspected.least)
        {
            narrowings += 1;
            tracing::info!(
                "{table}: {} rows or more seem to differ, among {}: reading both tables again to find out which",
                suspected.least,
                suspected.rows
            );
            let before = suspected.rows;
            self.narrow(&mut suspected, bound, &owned).await?;
            if suspected.rows > before / 2 {
                break;
            }
        }
        drop(owned);
        if self.is_enough_with(suspected.least) {
            tracing::warn!(
                "{table}: {} rows or more seem to differ; looking for the first {} (`--max-differences`)",
                suspected.least,
                options.max_differences
            );
        }
        let of = match suspected.rows {
            0 => 0,
            rows => rows.div_ceil(options.round_rows.max(1)),
        };
        for part in 0..of {
            if self.is_enough() || part >= options.most_rounds {
                self.state().found.stop_early(suspected.least);
                break;
            }
            let suspected = &suspected;
            self.round(&SuspectRound {
                suspected,
                part,
                of,
            })
            .await?;
            self.settle().await?;
        }
        if self.is_enough() {
            self.state().found.stop_early(suspected.least);
        }
        Ok(())
    }

    /// Whether so many differences were found that more would be of no use.
    pub(super) fn is_enough(&self) -> bool {
        self.is_enough_with(0)
    }

    fn is_enough_with(&self, more: u64) -> bool {
        let most = self.verifier.options.max_differences;
        self.state().found.differences().saturating_add(more) >= most
    }

    /// Takes the old rows of keys that the application owns out of the sums, and gives what is remembered of those
    /// keys, in order.
    async fn take_out_owned(&self, sums: &mut Buckets) -> Result<Vec<u64>> {
        let owned = std::mem::take(&mut self.state().owned);
        let mut fingerprinter = Fingerprinter::new(self.verifier.transform.target(), self.seed);
        let most = self.verifier.options.most_owned;
        if owned.count <= most.min(FEW_OWNED) as u64 && self.verifier.transform.keeps_keys() {
            let source = self.verifier.transform.source();
            for keys in owned.keys.chunks(READ_KEYS) {
                let rows = self.get(&*self.verifier.old.0, source, keys).await?;
                for row in rows.into_iter().flatten() {
                    if let Some(fingerprint) = self.old_print(row, &mut fingerprinter, self.cutoff)
                    {
                        sums.take_out(&fingerprint);
                    }
                }
            }
            let mut fingerprints = owned.fingerprints;
            fingerprints.sort_unstable();
            return Ok(fingerprints);
        }
        let passes = owned.count.div_ceil(most.max(1) as u64);
        let mut fingerprints = owned.fingerprints;
        for pass in 0..passes {
            if passes > 1 {
                tracing::info!(
                    "the application owns {} items: leaving out their old rows, pass {} of {passes}",
                    owned.count,
                    pass + 1
                );
                fingerprints = self.owned_prints(fingerprints, pass, passes).await?;
            }
            fingerprints.sort_unstable();
            self.take_out(sums, &fingerprints).await?;
        }
        Ok(fingerprints)
    }

    /// Key prints of one part of what the application owns, in the room of others.
    async fn owned_prints(
        &self,
        mut fingerprints: Vec<u64>,
        part: u64,
        of: u64,
    ) -> Result<Vec<u64>> {
        fingerprints.clear();
        let fingerprints = Mutex::new(fingerprints);
        let target = self.verifier.transform.target();
        let parts = self
            .verifier
            .new
            .splits(target, self.verifier.options.readers);
        let parts = self.unless_stopped(parts).await?;
        self.at_once(parts, |range| async {
            self.new_items(range, |item, fingerprinter| match self.stance(&item) {
                Stance::Owned | Stance::Adopted | Stance::Foreign => {
                    let fingerprint = short(fingerprinter.key(&item.key).1);
                    if fingerprint % of == part {
                        let mut fingerprints =
                            fingerprints.lock().unwrap_or_else(PoisonError::into_inner);
                        fingerprints.push(fingerprint);
                    }
                }
                Stance::Compared | Stance::Partial => {}
            })
            .await
        })
        .await?;
        Ok(fingerprints
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the old rows with these key prints, which are sorted, out of the sums.
    async fn take_out(&self, sums: &mut Buckets, fingerprints: &[u64]) -> Result<()> {
        let mut fingerprinter = Fingerprinter::new(self.verifier.transform.target(), self.seed);
        let all = Tokens::ALL.split(self.verifier.options.old_ranges);
        self.old_rows(all, |row| {
            let fingerprint = self.old_print(row, &mut fingerprinter, self.cutoff);
            if let Some(fingerprint) =
                fingerprint.filter(|p| fingerprints.binary_search(&short(p.key)).is_ok())
            {
                sums.take_out(&fingerprint);
            }
        })
        .await
    }

    async fn round(&self, round: &SuspectRound<'_>) -> Result<()> {
        let target = self.verifier.transform.target();
        let mut fingerprinter = Fingerprinter::new(target, self.seed);
        let cutoff = unix_seconds() + super::MARGIN;
        let mut left: HashMap<u64, Left> = HashMap::new();
        self.old_rows(self.old_tokens(&round.suspected.buckets), |row| {
            let fingerprint = self.old_print(row, &mut fingerprinter, cutoff);
            if let Some(fingerprint) =
                fingerprint.filter(|fingerprint| round.has(fingerprint.bucket, fingerprint.key))
            {
                let row = Left {
                    row: fingerprint.row,
                    expires: fingerprint.expires.unwrap_or(0),
                    bucket: fingerprint.bucket,
                };
                left.insert(short(fingerprint.key), row);
            }
        })
        .await?;
        let left = Mutex::new(left);
        let ranges = self.new_ranges(&round.suspected.buckets).await?;
        self.at_once(ranges, |range| {
            self.new_items(range, |item, fingerprinter| {
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                self.strike_out(item, round, &mut left, fingerprinter, cutoff);
            })
        })
        .await?;
        let left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            return Ok(());
        }
        // Their keys are needed now, of which only digests were kept.
        let buckets = left.values().map(|left| left.bucket).collect();
        self.old_rows(self.old_tokens(&buckets), |row| {
            let source = row.key.clone();
            let Ok(Some(row)) = self.as_new(row) else {
                return;
            };
            let (_, digest) = fingerprinter.key(&row.key);
            if left.contains_key(&short(digest)) {
                self.suspect_compared(row.key, Some(source), digest);
            }
        })
        .await
    }

    /// Takes out what an item equals, or hides. Suspects an item whose row the old store lacks.
    fn strike_out(
        &self,
        item: Row,
        round: &SuspectRound<'_>,
        left: &mut HashMap<u64, Left>,
        fingerprinter: &mut Fingerprinter<'_>,
        cutoff: i64,
    ) {
        let (bucket, digest) = fingerprinter.key(&item.key);
        if !round.has(bucket, digest) {
            return;
        }
        let key = item.key.clone();
        match self.stance(&item) {
            Stance::Owned | Stance::Adopted | Stance::Foreign => {
                left.remove(&short(digest));
            }
            // Stays, if the old store has the row.
            Stance::Partial => {}
            Stance::Compared => {
                let Some(item) = self.as_compared(item) else {
                    return;
                };
                let fingerprint = fingerprinter.fingerprint(&item);
                match left.get(&short(digest)) {
                    Some(old) if are_same(old, &fingerprint) => drop(left.remove(&short(digest))),
                    // However soon the item expires: the old row doesn't.
                    Some(_) => {}
                    // The old row is left out too, or has expired.
                    None if item.expires.is_some_and(|at| at <= cutoff) => {}
                    None => {
                        let source = self.verifier.transform.keeps_keys().then(|| key.clone());
                        self.suspect_compared(key, source, digest);
                    }
                }
            }
        }
    }

    fn suspect_compared(&self, key: Key, source: Option<Key>, digest: u128) {
        let mut state = self.state();
        // Those are looked at for another reason, or have been.
        if !state.special.contains(&short(digest)) {
            state.suspects.push(Suspect {
                why: Why::Compared,
                key,
                source,
            });
        }
    }

    /// An old row's print; none if it is left out.
    pub(super) fn old_print(
        &self,
        row: Row,
        fingerprinter: &mut Fingerprinter<'_>,
        cutoff: i64,
    ) -> Option<Fingerprint> {
        // A row that the new store can't hold is suspected by the scan.
        let row = self.as_new(row).ok().flatten()?;
        let fingerprint = fingerprinter.fingerprint(&row);
        fingerprint
            .expires
            .is_none_or(|at| at > cutoff)
            .then_some(fingerprint)
    }

    /// Where the old rows of some buckets are.
    pub(super) fn old_tokens(&self, buckets: &Open) -> Vec<Tokens> {
        match self.verifier.transform.keeps_keys() {
            true => buckets
                .runs()
                .into_iter()
                .map(|run| tokens_of(*run.start(), *run.end()))
                .collect(),
            // Masked keys have other tokens.
            false => Tokens::ALL.split(self.verifier.options.old_ranges),
        }
    }

    /// Where the items of some buckets are.
    pub(super) async fn new_ranges(&self, buckets: &Open) -> Result<Vec<Range>> {
        let new = &self.verifier.new;
        if new.capabilities().token_ranges {
            let runs = buckets.runs().into_iter();
            let range = |run: std::ops::RangeInclusive<u32>| tokens_of(*run.start(), *run.end());
            return Ok(runs.map(range).map(Range::Tokens).collect());
        }
        let target = self.verifier.transform.target();
        let parts = new.splits(target, self.verifier.options.readers);
        self.unless_stopped(parts).await
    }

    /// Reads old rows, until enough differences are found; what can't be read is passed over, since the scan has
    /// counted it.
    pub(super) async fn old_rows(
        &self,
        ranges: impl IntoIterator<Item = Tokens>,
        each: impl FnMut(Row),
    ) -> Result<()> {
        let each = Mutex::new(each);
        self.at_once(ranges, |tokens| self.old_rows_of(tokens, &each))
            .await
    }

    async fn old_rows_of(&self, tokens: Tokens, each: &Mutex<impl FnMut(Row)>) -> Result<()> {
        let source = self.verifier.transform.source();
        let mut left = vec![Range::Tokens(tokens)];
        while let Some(range) = left.pop() {
            let mut pages = Pages::default();
            while let Some(page) = pages.next(self, Side::Old, &range).await {
                match page {
                    Ok(page) => {
                        {
                            let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
                            page.rows.into_iter().for_each(&mut *each);
                        }
                        self.settle_many().await?;
                        if self.is_enough() {
                            return Ok(());
                        }
                    }
                    Err(error) if error.kind() == Kind::RangeTooCostly => {
                        // Rows that were given are given again. That only opens buckets in which there is
                        // nothing to be found.
                        let parts = self.verifier.old.0.halve(source, &range);
                        left.extend(parts.unwrap_or_default());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Reads the items of a range, until enough differences are found.
    pub(super) async fn new_items(
        &self,
        range: Range,
        mut each: impl FnMut(Row, &mut Fingerprinter<'_>),
    ) -> Result<()> {
        let mut fingerprinter = Fingerprinter::new(self.verifier.transform.target(), self.seed);
        let mut pages = Pages::default();
        while let Some(page) = pages.next(self, Side::New, &range).await {
            for item in page?.rows {
                each(item, &mut fingerprinter);
            }
            self.settle_many().await?;
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }
}

fn are_same(old: &Left, new: &Fingerprint) -> bool {
    old.row == new.row && expiries::are_same(old.expires, new.expires.unwrap_or(0))
}
