//! A part of the old table, compared by reading each of its rows in the new store.

use super::VerifyRun;
use super::canonical::Fingerprinter;
use super::grid::{BUCKETS, Side, tokens_of};
use super::scan::Pages;

use super::verdict::{READ_KEYS, Stance, Suspect, Why};
use crate::error::{Kind, Result};
use crate::model::{Key, Row};
use crate::store::Range;

/// Ranges that a sample is spread over.
const RANGES: u32 = 64;

impl VerifyRun<'_> {
    /// Looks at whole token ranges, spread over the ring from a place that is another one each time.
    pub(super) async fn sample(&self) -> Result<()> {
        let share = self.verifier.options.sample.clamp(0.0, 1.0);
        let stretch = BUCKETS / RANGES;
        let wanted = ((f64::from(stretch) * share) as u32).clamp(1, stretch);
        let first = (self.seed % u64::from(stretch - wanted + 1)) as u32;
        let ranges = (0..RANGES).map(|at| {
            let first = at * stretch + first;
            tokens_of(first, first + wanted - 1)
        });
        self.at_once(ranges, |tokens| self.sample_range(Range::Tokens(tokens)))
            .await
    }

    async fn sample_range(&self, range: Range) -> Result<()> {
        let mut left = vec![range];
        while let Some(range) = left.pop() {
            let mut pages = Pages::default();
            while let Some(page) = pages.next(self, Side::Old, &range).await {
                match page {
                    Ok(page) => {
                        for rows in page.rows.chunks(READ_KEYS) {
                            self.sample_rows(rows).await?;
                            self.settle_many().await?;
                            if self.is_enough() {
                                self.state().found.stop_early(0);
                                return Ok(());
                            }
                        }
                    }
                    Err(error) if error.kind() == Kind::RangeTooCostly => {
                        let source = self.verifier.transform.source();
                        match self.verifier.old.0.halve(source, &range) {
                            Some(parts) => left.extend(parts),
                            None => {
                                let range = crate::display::range(source, &range);
                                let mut state = self.state();
                                state.found.unreadable_range(range, error.to_string());
                            }
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    async fn sample_rows(&self, rows: &[Row]) -> Result<()> {
        let target = self.verifier.transform.target();
        let mut fingerprinter = Fingerprinter::new(target, self.seed);
        let mut keys: Vec<Key> = Vec::with_capacity(rows.len());
        let mut olds = Vec::with_capacity(rows.len());
        for row in rows {
            let source = row.key.clone();
            let is_late = self.is_late(row);
            match self.as_new(row.clone()) {
                Ok(Some(row)) => {
                    keys.push(row.key.clone());
                    olds.push((source, row, is_late));
                }
                Ok(None) => {}
                Err(_) => self.suspect(Why::Unfit, source.clone(), source, &mut fingerprinter),
            }
        }
        let items = self.read_new(&keys).await?;
        for (item, (source, old, is_late)) in items.into_iter().zip(olds) {
            let key = old.key.clone();
            let why = if is_late { Why::Late } else { Why::Compared };
            match item {
                Ok(Some(item)) => {
                    self.state().found.new_rows += 1;
                    match self.stance(&item) {
                        Stance::Owned if is_late => {}
                        Stance::Owned => continue,
                        Stance::Adopted => {
                            self.state().found.adopted += 1;
                            if !is_late {
                                continue;
                            }
                        }
                        Stance::Foreign => {
                            self.suspect(Why::Foreign, key, source, &mut fingerprinter);
                            continue;
                        }
                        Stance::Compared if self.has_odd_totals(&item) => {
                            self.suspect(Why::Totals, key, source, &mut fingerprinter);
                            continue;
                        }
                        Stance::Compared => {
                            let is_adopted = self.is_adopted(&item);
                            self.state().found.adopted += u64::from(is_adopted);
                            let item = self.as_compared(item);
                            if item.is_some_and(|item| self.are_same(&item, &old)) && !is_late {
                                continue;
                            }
                        }
                        Stance::Partial => {}
                    }
                    self.suspect(why, key, source, &mut fingerprinter);
                }
                Ok(None) => self.suspect(why, key, source, &mut fingerprinter),
                Err(error) if error.kind() == Kind::Corrupt => {
                    let mut state = self.state();
                    state
                        .found
                        .unreadable_range(crate::display::key(target, &key), error.to_string());
                }
                Err(_) => self.suspect(Why::Compared, key, source, &mut fingerprinter),
            }
        }
        let mut state = self.state();
        state.found.old_rows += rows.len() as u64;
        self.live.set(&state);
        Ok(())
    }

    fn suspect(&self, why: Why, key: Key, source: Key, fingerprinter: &mut Fingerprinter<'_>) {
        let digest = fingerprinter.key(&key).1;
        let suspect = Suspect {
            why,
            key,
            source: Some(source),
        };
        self.state().suspect(suspect, digest);
    }
}
