//! Both tables read once, side by side, and summed up.
//!
//! The old table is read by token ranges, the new one by its own parts. What a page adds is taken over
//! together with the place after it. Of the old table that place is a token, and rows of the token that a page
//! ends in wait for the next page, because a range may be gone on with after a token by any process,
//! and after a row only by the one that read it.

use futures::stream::{FuturesUnordered, StreamExt};

use super::buckets;
use super::canonical::Fingerprinter;
use super::grid::Side;
use super::state::VerifyState;
use super::verdict::{READ_KEYS, Stance, Suspect, Why, is_off};
use super::{FUTURE, VerifyRun, stopped};
use crate::codec::cql;
use crate::display;
use crate::error::{Error, Kind, Result};
use crate::layer::{FIRST_PAGE, next_page};
use crate::model::{Key, Mark, Row, Tokens, Value};
use crate::store::{Cursor, Page, Range, Reads};

/// Suspects that are looked at before more are gathered.
const MANY_SUSPECTS: usize = 50_000;
/// How often a range that can't be cut any more is tried.
const LAST_TRIES: u32 = 3;

/// What some rows of the old table come to.
#[derive(Default)]
struct ScanBatch {
    sums: buckets::BucketBatch,
    rows: u64,
    expiring: u64,
    future: u64,
    total: i128,
    suspects: Vec<(Suspect, u128)>,
}

impl ScanBatch {
    fn absorb(&mut self, other: ScanBatch) {
        self.sums.absorb(other.sums);
        self.rows += other.rows;
        self.expiring += other.expiring;
        self.future += other.future;
        self.total += other.total;
        self.suspects.extend(other.suspects);
    }

    fn commit(self, state: &mut VerifyState) {
        state.sums.add(Side::Old, &self.sums);
        state.found.old_rows += self.rows;
        state.found.expiring += self.expiring;
        state.found.future += self.future;
        state.found.old_total += self.total;
        for (suspect, digest) in self.suspects {
            state.suspect(suspect, digest);
        }
    }
}

impl VerifyRun<'_> {
    /// What is left of both scans.
    pub(super) async fn scan(&self) -> Result<()> {
        tokio::try_join!(self.scan_old(), self.scan_new())?;
        Ok(())
    }

    async fn scan_old(&self) -> Result<()> {
        let left = self.state().old_done.missing_in(Tokens::ALL);
        let widest = Tokens::ALL.width() / self.verifier.options.old_ranges.max(1) as u64;
        let ranges = left.into_iter().flat_map(|gap| {
            let count = usize::try_from(gap.width().div_ceil(widest.max(1))).unwrap_or(1);
            gap.split(count)
        });
        self.at_once(ranges, |tokens| self.old_range(tokens)).await
    }

    async fn scan_new(&self) -> Result<()> {
        let parts: Vec<usize> = {
            let state = self.state();
            let places = 0..state.parts.len();
            places
                .filter(|place| !state.parts[*place].is_done)
                .collect()
        };
        self.at_once(parts, |place| self.new_part(place)).await
    }

    /// Some of the work at once, until all of it is done.
    pub(super) async fn at_once<T, F>(
        &self,
        work: impl IntoIterator<Item = T>,
        each: impl Fn(T) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let mut work = work.into_iter();
        let readers = self.verifier.options.readers;
        let mut running: FuturesUnordered<_> = work.by_ref().take(readers).map(&each).collect();
        while let Some(outcome) = running.next().await {
            outcome?;
            running.extend(work.next().map(&each));
        }
        Ok(())
    }

    async fn old_range(&self, tokens: Tokens) -> Result<()> {
        let mut left = vec![tokens];
        while let Some(tokens) = left.pop() {
            if self.is_enough() {
                break;
            }
            let Some(rest) = self.old_pages(tokens).await? else {
                continue;
            };
            match rest.halves() {
                Some((low, high)) => left.extend([high, low]),
                None => self.old_token(rest).await?,
            }
        }
        Ok(())
    }

    /// Reads a range; what is left of it if it can't be read as a whole.
    async fn old_pages(&self, tokens: Tokens) -> Result<Option<Tokens>> {
        let source = self.verifier.transform.source();
        let mut fingerprinter = Fingerprinter::new(self.verifier.transform.target(), self.seed);
        let (mut ready, mut pending) = (ScanBatch::default(), ScanBatch::default());
        let mut left = tokens;
        let mut at = None;
        let mut pages = Pages::default();
        while let Some(page) = pages.next(self, Side::Old, &Range::Tokens(tokens)).await {
            let page = match page {
                Err(error) if error.kind() == Kind::RangeTooCostly => {
                    tracing::info!("cutting the range {left}, which can't be read whole: {error}");
                    return Ok(Some(left));
                }
                page => page?,
            };
            for row in page.rows {
                let token = cql::token(source.partition(), &row.key.partition);
                if at != Some(token) {
                    ready.absorb(std::mem::take(&mut pending));
                }
                at = Some(token);
                self.see_row(row, &mut fingerprinter, &mut pending);
            }
            if let Some(token) = at.filter(|token| token - 1 > left.after) {
                self.commit(std::mem::take(&mut ready), left, token - 1)
                    .await?;
                left.after = token - 1;
            }
            if self.is_enough() {
                return Ok(None);
            }
        }
        ready.absorb(pending);
        self.commit(ready, left, tokens.up_to).await?;
        Ok(None)
    }

    async fn commit(&self, batch: ScanBatch, left: Tokens, up_to: i64) -> Result<()> {
        {
            let mut state = self.state();
            batch.commit(&mut state);
            state.old_done.insert(Tokens { up_to, ..left });
            self.live.set(&state);
        }
        self.settle_many().await
    }

    /// A token that can't be read as a whole: slice by slice, and what still can't be read is counted.
    async fn old_token(&self, token: Tokens) -> Result<()> {
        let source = self.verifier.transform.source();
        let mut fingerprinter = Fingerprinter::new(self.verifier.transform.target(), self.seed);
        let mut all = ScanBatch::default();
        let mut unreadable = Vec::new();
        let whole = Range::Tokens(token);
        let mut left = self.verifier.old.0.halve(source, &whole);
        if left.is_none() {
            left = Some(vec![whole]);
        }
        let mut left = left.unwrap_or_default();
        left.reverse();
        while let Some(part) = left.pop() {
            let mut error = None;
            for attempt in 0..LAST_TRIES {
                match self.old_part(&part, &mut fingerprinter).await {
                    Ok(batch) => {
                        all.absorb(batch);
                        error = None;
                        break;
                    }
                    Err(costly) if costly.kind() == Kind::RangeTooCostly => error = Some(costly),
                    Err(error) => return Err(error),
                }
                if let Some(parts) = self.verifier.old.0.halve(source, &part) {
                    left.extend(parts.into_iter().rev());
                    error = None;
                    break;
                }
                self.wait(std::time::Duration::from_millis(200 << attempt))
                    .await?;
            }
            if let Some(error) = error {
                unreadable.push((display::range(source, &part), error.to_string()));
            }
        }
        let mut state = self.state();
        all.commit(&mut state);
        for (range, why) in unreadable {
            state.found.unreadable_range(range, why);
        }
        state.old_done.insert(token);
        Ok(())
    }

    async fn old_part(
        &self,
        part: &Range,
        fingerprinter: &mut Fingerprinter<'_>,
    ) -> Result<ScanBatch> {
        let mut batch = ScanBatch::default();
        let mut pages = Pages::default();
        while let Some(page) = pages.next(self, Side::Old, part).await {
            for row in page?.rows {
                self.see_row(row, fingerprinter, &mut batch);
            }
        }
        Ok(batch)
    }

    fn see_row(&self, row: Row, fingerprinter: &mut Fingerprinter<'_>, batch: &mut ScanBatch) {
        batch.rows += 1;
        let source = row.key.clone();
        let is_late = self.is_late(&row);
        batch.future += u64::from(self.is_future(&row));
        let row = match self.as_new(row) {
            Ok(Some(row)) => row,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!("a row that the new store can't hold: {error}");
                // Its key there isn't known, but it has no item either.
                let digest = fingerprinter.key(&source).1;
                batch
                    .suspects
                    .push((suspect(Why::Unfit, source.clone(), source), digest));
                return;
            }
        };
        let fingerprint = fingerprinter.fingerprint(&row);
        if self.verifier.counters.is_some() {
            batch.total += row.cells.iter().map(total).sum::<i128>();
        }
        if is_late {
            let late = suspect(Why::Late, row.key.clone(), source);
            batch.suspects.push((late, fingerprint.key));
        }
        if fingerprint.expires.is_some_and(|at| at <= self.cutoff) {
            batch.expiring += 1;
            return;
        }
        batch.sums.add(&fingerprint);
    }

    async fn new_part(&self, place: usize) -> Result<()> {
        let (range, cursor) = {
            let state = self.state();
            let part = &state.parts[place];
            (part.range.clone(), part.cursor.clone())
        };
        let mut fingerprinter = Fingerprinter::new(self.verifier.transform.target(), self.seed);
        let mut pages = Pages::starting_at(cursor);
        while let Some(page) = pages.next(self, Side::New, &range).await {
            let page = page?;
            {
                let mut state = self.state();
                state.parts[place].is_done = page.next.is_none();
                state.parts[place].cursor = page.next;
                page.unreadable
                    .iter()
                    .for_each(|item| state.found.unreadable(item, &self.verifier.adopted));
                for item in page.rows {
                    self.see_item(item, &mut fingerprinter, &mut state);
                }
                self.live.set(&state);
            }
            self.settle_many().await?;
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }

    fn see_item(&self, item: Row, fingerprinter: &mut Fingerprinter<'_>, state: &mut VerifyState) {
        if item.mark != Some(Mark::Tombstone) {
            state.found.new_rows += 1;
        }
        let most = self.verifier.options.most_owned;
        match self.stance(&item) {
            stance @ (Stance::Owned | Stance::Adopted) => {
                state.found.adopted += u64::from(stance == Stance::Adopted);
                let digest = fingerprinter.key(&item.key).1;
                state.owned.add(item.key, digest, most);
            }
            Stance::Foreign => {
                let digest = fingerprinter.key(&item.key).1;
                state.owned.add(item.key.clone(), digest, most);
                state.suspect(self.suspect_item(Why::Foreign, item.key), digest);
            }
            Stance::Partial => {}
            Stance::Compared => {
                if self.verifier.counters.is_some() {
                    state.found.new_total += item.cells.iter().map(total).sum::<i128>();
                }
                state.found.adopted += u64::from(self.is_adopted(&item));
                if self.has_odd_totals(&item) {
                    let digest = fingerprinter.key(&item.key).1;
                    state.suspect(self.suspect_item(Why::Totals, item.key.clone()), digest);
                }
                let Some(item) = self.as_compared(item) else {
                    return;
                };
                let fingerprint = fingerprinter.fingerprint(&item);
                // The old row is left out too.
                if fingerprint.expires.is_none_or(|at| at > self.cutoff) {
                    state.sums.add_one(Side::New, &fingerprint);
                }
            }
        }
    }

    /// A suspect of which only the item is known.
    pub(super) fn suspect_item(&self, why: Why, key: Key) -> Suspect {
        Suspect {
            why,
            source: self.verifier.transform.keeps_keys().then(|| key.clone()),
            key,
        }
    }

    /// What an item means to the comparison.
    pub(super) fn stance(&self, item: &Row) -> Stance {
        match item.mark {
            // Of a counter what was folded into it is compared, like of any other.
            None if self.is_adopted(item) => match self.verifier.counters {
                Some(_) => Stance::Compared,
                None => Stance::Adopted,
            },
            None => Stance::Foreign,
            Some(Mark::Tombstone) => Stance::Owned,
            Some(Mark::Application) if self.verifier.counters.is_none() => Stance::Owned,
            Some(Mark::Partial) => Stance::Partial,
            Some(Mark::Copied | Mark::Resaved | Mark::Application) => Stance::Compared,
        }
    }

    pub(super) fn is_adopted(&self, item: &Row) -> bool {
        let table = self.verifier.transform.target();
        self.verifier.adopted.has_item(table, item)
    }

    /// Whether the totals of a counter that no application has added to aren't what was folded, though it began
    /// with nothing.
    pub(super) fn has_odd_totals(&self, item: &Row) -> bool {
        self.verifier.counters.is_some() && is_off(item) && !self.is_adopted(item)
    }

    /// Looks at what has come together, before it takes too much room.
    pub(super) async fn settle_many(&self) -> Result<()> {
        if !self.has_many() {
            return Ok(());
        }
        let _one = self.settling.lock().await;
        // Someone else may have looked at them meanwhile.
        if !self.has_many() {
            return Ok(());
        }
        self.settle().await
    }

    /// Whether more suspects are gathered than are worth room, or are needed until enough differences are found.
    fn has_many(&self) -> bool {
        let state = self.state();
        let most = self.verifier.options.max_differences;
        let wanted = most.saturating_sub(state.found.differences());
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        state.suspects.len() >= wanted.clamp(READ_KEYS, MANY_SUSPECTS)
    }

    pub(super) fn is_late(&self, row: &Row) -> bool {
        let written = row.times.written();
        match self.verifier.frozen_at {
            Some(frozen) => written.is_some_and(|at| at >= frozen) && !self.is_future(row),
            None => false,
        }
    }

    fn is_future(&self, row: &Row) -> bool {
        let since = self.begun.elapsed().as_micros() as i64;
        let now = self.old_now.saturating_add(since);
        row.times
            .written()
            .is_some_and(|at| at > now.saturating_add(FUTURE))
    }
}

fn total(cell: &Option<Value>) -> i128 {
    match cell {
        Some(Value::BigInt(total)) => i128::from(*total),
        Some(_) | None => 0,
    }
}

fn suspect(why: Why, key: Key, source: Key) -> Suspect {
    Suspect {
        why,
        key,
        source: Some(source),
    }
}

/// The pages of a range, one after the other.
#[derive(Default)]
pub(super) struct Pages {
    cursor: Option<Cursor>,
    is_over: bool,
    limit: usize,
}

impl Pages {
    pub fn starting_at(cursor: Option<Cursor>) -> Self {
        Pages {
            cursor,
            ..Pages::default()
        }
    }

    /// The next page; `None` after the last one, and after an error.
    pub async fn next(
        &mut self,
        run: &VerifyRun<'_>,
        side: Side,
        range: &Range,
    ) -> Option<Result<Page>> {
        if self.is_over {
            return None;
        }
        let limit = match self.limit {
            0 => FIRST_PAGE,
            limit => limit,
        };
        let transform = &run.verifier.transform;
        let (store, table): (&dyn Reads, _) = match side {
            Side::Old => (&*run.verifier.old.0, transform.source()),
            Side::New => (&*run.verifier.new, transform.target()),
        };
        let scan = store.scan(table, range, self.cursor.as_ref(), limit);
        let page = run.unless_stopped(scan).await;
        match &page {
            Ok(page) => {
                self.cursor = page.next.clone();
                self.is_over = page.next.is_none();
                self.limit = next_page(page, limit, run.verifier.options.page_bytes);
            }
            Err(_) => self.is_over = true,
        }
        Some(page)
    }
}

impl VerifyRun<'_> {
    /// A call, given up when the verification has been asked to stop.
    pub(super) async fn unless_stopped<T>(
        &self,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            answer = call => answer,
            () = self.stop.cancelled() => Err(stopped()),
        }
    }

    pub(super) async fn wait(&self, time: std::time::Duration) -> Result<()> {
        self.unless_stopped(async {
            tokio::time::sleep(time).await;
            Ok::<(), Error>(())
        })
        .await
    }
}
