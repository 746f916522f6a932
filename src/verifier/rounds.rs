//! From buckets that don't close to single rows.
//!
//! What the application owns is taken out of the old store's sums first: by reading those rows while they
//! are few, else in one more scan of the old table, or several if there are more than can be remembered. Then the buckets that are still open are read again
//! from both stores, in rounds of as many rows as fit into memory: the old rows' digests, then the items,
//! which strike out what they equal. What is left on either side is suspected.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use super::Run;
use super::buckets::{Buckets, Side, tokens_of};
use super::canonical::{Print, Printer};
use super::expiries;
use super::scan::{Pages, Stance};
use super::state::{FEW_OWNED, short};
use super::suspects::{READ_KEYS, Suspect, Why};
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Row, Tokens};
use crate::store::Range;

/// Some open buckets, and which of their rows: a bucket may have more than a round can take.
struct Round {
    buckets: BTreeSet<u32>,
    part: u64,
    of: u64,
}

impl Round {
    fn has(&self, bucket: u32, key: u128) -> bool {
        short(key) % self.of == self.part && self.buckets.contains(&bucket)
    }

    /// Its buckets as runs of neighbours.
    fn runs(&self) -> Vec<RangeInclusive<u32>> {
        let mut runs: Vec<RangeInclusive<u32>> = Vec::new();
        for &bucket in &self.buckets {
            match runs.last_mut() {
                Some(run) if *run.end() + 1 == bucket => *run = *run.start()..=bucket,
                Some(_) | None => runs.push(bucket..=bucket),
            }
        }
        runs
    }
}

/// Cuts open buckets, given with their numbers of rows, into rounds of about `most` rows.
fn rounds(open: impl Iterator<Item = (u32, u64)>, most: u64) -> Vec<Round> {
    let mut rounds = Vec::new();
    let (mut buckets, mut total) = (BTreeSet::new(), 0);
    for (bucket, rows) in open {
        if rows > most {
            let of = rows.div_ceil(most);
            rounds.extend((0..of).map(|part| Round {
                buckets: [bucket].into(),
                part,
                of,
            }));
            continue;
        }
        if total + rows > most {
            rounds.push(whole(std::mem::take(&mut buckets)));
            total = 0;
        }
        buckets.insert(bucket);
        total += rows;
    }
    if !buckets.is_empty() {
        rounds.push(whole(buckets));
    }
    rounds
}

fn whole(buckets: BTreeSet<u32>) -> Round {
    Round {
        buckets,
        part: 0,
        of: 1,
    }
}

impl Run<'_> {
    /// Suspects all rows in which the stores seem to differ.
    pub(super) async fn find(&self, mut sums: Buckets) -> Result<()> {
        sums.is_full();
        self.take_out_owned(&mut sums).await?;
        sums.forgive();
        self.state().found.expiry_bound = sums.bound().map_err(|_| too_many())?;
        let rounds = rounds(sums.open(), self.verifier.options.round_rows);
        drop(sums);
        if rounds.len() > 1 {
            tracing::info!(
                "the stores differ in so many places that it takes {} rounds to find them all",
                rounds.len()
            );
        }
        for round in rounds {
            self.round(&round).await?;
            self.settle().await?;
        }
        Ok(())
    }

    /// Takes the old rows of keys that the application owns out of the sums.
    async fn take_out_owned(&self, sums: &mut Buckets) -> Result<()> {
        let owned = std::mem::take(&mut self.state().owned);
        let mut printer = Printer::new(self.verifier.transform.target(), self.seed);
        let most = self.verifier.options.most_owned;
        if owned.count <= most.min(FEW_OWNED) as u64 && self.verifier.transform.keeps_keys() {
            let source = self.verifier.transform.source();
            for keys in owned.keys.chunks(READ_KEYS) {
                let rows = self.get(&*self.verifier.old.0, source, keys).await?;
                for row in rows.into_iter().flatten() {
                    if let Some(print) = self.old_print(row, &mut printer, self.cutoff) {
                        sums.take_out(&print);
                    }
                }
            }
            return Ok(());
        }
        let passes = owned.count.div_ceil(most.max(1) as u64);
        let mut prints = owned.prints;
        for pass in 0..passes {
            if passes > 1 {
                tracing::info!(
                    "the application owns {} items: leaving out their old rows, pass {} of {passes}",
                    owned.count,
                    pass + 1
                );
                prints = self.owned_prints(prints, pass, passes).await?;
            }
            prints.sort_unstable();
            self.take_out(sums, &prints).await?;
        }
        Ok(())
    }

    /// Key prints of one part of what the application owns, in the room of others.
    async fn owned_prints(&self, mut prints: Vec<u64>, part: u64, of: u64) -> Result<Vec<u64>> {
        prints.clear();
        let prints = Mutex::new(prints);
        let target = self.verifier.transform.target();
        let parts = self
            .verifier
            .new
            .splits(target, self.verifier.options.readers);
        let parts = self.unless_stopped(parts).await?;
        self.at_once(parts, |range| async {
            self.new_items(range, |item, printer| match self.stance(&item) {
                Stance::Owned | Stance::Foreign => {
                    let print = short(printer.key(&item.key).1);
                    if print % of == part {
                        let mut prints = prints.lock().unwrap_or_else(PoisonError::into_inner);
                        prints.push(print);
                    }
                }
                Stance::Compared | Stance::Partial => {}
            })
            .await
        })
        .await?;
        Ok(prints.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the old rows with these key prints, which are sorted, out of the sums.
    async fn take_out(&self, sums: &mut Buckets, prints: &[u64]) -> Result<()> {
        let mut printer = Printer::new(self.verifier.transform.target(), self.seed);
        let all = Tokens::ALL.split(self.verifier.options.old_ranges);
        self.old_rows(all, |row| {
            let print = self.old_print(row, &mut printer, self.cutoff);
            if let Some(print) = print.filter(|p| prints.binary_search(&short(p.key)).is_ok()) {
                sums.take_out(&print);
            }
        })
        .await
    }

    async fn round(&self, round: &Round) -> Result<()> {
        let target = self.verifier.transform.target();
        let mut printer = Printer::new(target, self.seed);
        let cutoff = super::now() + super::MARGIN;
        let mut left: HashMap<u128, Print> = HashMap::new();
        self.old_rows(self.old_tokens(round), |row| {
            let print = self.old_print(row, &mut printer, cutoff);
            if let Some(print) = print.filter(|print| round.has(print.bucket, print.key)) {
                left.insert(print.key, print);
            }
        })
        .await?;
        let left = Mutex::new(left);
        let ranges = self.new_ranges(round).await?;
        self.at_once(ranges, |range| {
            self.new_items(range, |item, printer| {
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                self.strike_out(item, round, &mut left, printer, cutoff);
            })
        })
        .await?;
        let left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            return Ok(());
        }
        // Their keys are needed now, of which only digests were kept.
        let buckets = left.values().map(|print| print.bucket).collect();
        let rest = Round { buckets, ..*round };
        self.old_rows(self.old_tokens(&rest), |row| {
            let source = row.key.clone();
            let Ok(Some(row)) = self.as_new(row) else {
                return;
            };
            let (_, digest) = printer.key(&row.key);
            if left.contains_key(&digest) {
                self.suspect_compared(row.key, Some(source), digest);
            }
        })
        .await
    }

    /// Takes out what an item equals, or hides. Suspects an item whose row the old store lacks.
    fn strike_out(
        &self,
        item: Row,
        round: &Round,
        left: &mut HashMap<u128, Print>,
        printer: &mut Printer<'_>,
        cutoff: i64,
    ) {
        let (bucket, digest) = printer.key(&item.key);
        if !round.has(bucket, digest) {
            return;
        }
        let key = item.key.clone();
        match self.stance(&item) {
            Stance::Owned | Stance::Foreign => {
                left.remove(&digest);
            }
            // Stays, if the old store has the row.
            Stance::Partial => {}
            Stance::Compared => {
                let Some(item) = self.as_compared(item) else {
                    return;
                };
                let print = printer.print(&item);
                match left.get(&digest) {
                    Some(old) if are_same(old, &print) => drop(left.remove(&digest)),
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
    fn old_print(&self, row: Row, printer: &mut Printer<'_>, cutoff: i64) -> Option<Print> {
        // A row that the new store can't hold is suspected by the scan.
        let row = self.as_new(row).ok().flatten()?;
        let print = printer.print(&row);
        print.expires.is_none_or(|at| at > cutoff).then_some(print)
    }

    /// Where the old rows of a round's buckets are.
    fn old_tokens(&self, round: &Round) -> Vec<Tokens> {
        match self.verifier.transform.keeps_keys() {
            true => round
                .runs()
                .into_iter()
                .map(|run| tokens_of(*run.start(), *run.end()))
                .collect(),
            // Masked keys have other tokens.
            false => Tokens::ALL.split(self.verifier.options.old_ranges),
        }
    }

    /// Where the items of a round's buckets are.
    async fn new_ranges(&self, round: &Round) -> Result<Vec<Range>> {
        let new = &self.verifier.new;
        if new.capabilities().token_ranges {
            let range =
                |run: RangeInclusive<u32>| Range::Tokens(tokens_of(*run.start(), *run.end()));
            return Ok(round.runs().into_iter().map(range).collect());
        }
        let target = self.verifier.transform.target();
        let parts = new.splits(target, self.verifier.options.readers);
        self.unless_stopped(parts).await
    }

    /// Reads old rows; what can't be read is passed over, since the scan has counted it.
    async fn old_rows(
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
                        let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
                        page.rows.into_iter().for_each(&mut *each);
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

    /// Reads the items of a range.
    async fn new_items(
        &self,
        range: Range,
        mut each: impl FnMut(Row, &mut Printer<'_>),
    ) -> Result<()> {
        let mut printer = Printer::new(self.verifier.transform.target(), self.seed);
        let mut pages = Pages::default();
        while let Some(page) = pages.next(self, Side::New, &range).await {
            for item in page?.rows {
                each(item, &mut printer);
            }
        }
        Ok(())
    }
}

fn too_many() -> Error {
    Error::new(
        Kind::Unsupported,
        "more rows expire than can be compared in the memory there is",
    )
    .help("compare parts of it with --sample")
}

fn are_same(old: &Print, new: &Print) -> bool {
    let expire = match (old.expires, new.expires) {
        (Some(old), Some(new)) => expiries::are_same(old, new),
        // Whether a row expires is in its digest.
        (None, None) | (Some(_), None) | (None, Some(_)) => true,
    };
    old.row == new.row && expire
}

#[cfg(test)]
mod tests {
    use super::super::buckets::{BUCKETS, bucket_of};
    use super::*;

    #[test]
    fn rounds_have_every_open_bucket_and_no_more_rows_than_they_may() {
        let open = [(0, 4), (1, 4), (2, 5), (7, 25), (8, 1), (BUCKETS - 1, 10)];
        let rounds = rounds(open.into_iter(), 10);
        let shape: Vec<(Vec<u32>, u64, u64)> = rounds
            .iter()
            .map(|round| {
                (
                    round.buckets.iter().copied().collect(),
                    round.part,
                    round.of,
                )
            })
            .collect();
        assert_eq!(
            shape,
            [
                (vec![0, 1], 0, 1),
                (vec![7], 0, 3),
                (vec![7], 1, 3),
                (vec![7], 2, 3),
                (vec![2, 8], 0, 1),
                (vec![BUCKETS - 1], 0, 1),
            ]
        );
        assert_eq!(rounds[0].runs(), [0..=1]);
        assert_eq!(rounds[4].runs(), [2..=2, 8..=8]);
        let token = tokens_of(7, 7).up_to;
        assert_eq!(bucket_of(token), 7);
        let parts = (1..4).filter(|at| rounds[*at].has(7, 12_345 << 64));
        assert_eq!(parts.count(), 1, "each row belongs to one part");
    }
}
