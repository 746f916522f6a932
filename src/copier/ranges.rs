//! Reading ranges of the old table, and cutting what can't be read whole.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::work::Job;
use super::{CopyRun, LARGEST_FIRST_PAGE, LAST_TRIES};
use crate::control::DeadLetter;
use crate::display;
use crate::error::{Error, Kind, Result};
use crate::layer::next_page;
use crate::model::{Key, Row, Tokens};
use crate::store::{Cursor, Page, Range};

impl CopyRun<'_> {
    pub(super) async fn job(&self, job: Job) -> Result<()> {
        let resume = job.resume.map(|key| Cursor { key, state: None });
        self.tokens(job.tokens, resume).await
    }

    /// Copies a range of tokens: as it is, or cut in parts if it can't be read as a whole.
    fn tokens(
        &self,
        tokens: Tokens,
        resume: Option<Cursor>,
    ) -> futures::future::BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ranges = &self.live.ranges;
            ranges.enter(tokens);
            let ended = self.pages(&Range::Tokens(tokens), resume).await;
            // An idle reader may have taken over the end of it.
            let read = ranges.leave(tokens);
            let (error, last) = match ended {
                Ok(()) => return self.finish(tokens, read).await,
                Err(RangeEnded { error, last }) if error.kind() == Kind::RangeTooCostly => {
                    (error, last)
                }
                Err(RangeEnded { error, .. }) => return Err(error),
            };
            let left = self.settle_before(tokens, read, last).await?;
            match left.halves() {
                Some((low, high)) => {
                    tracing::info!("cutting the range {left}, which can't be read whole: {error}");
                    ranges.offer(high);
                    self.tokens(low, None).await?;
                    if ranges.take_back(high) {
                        self.tokens(high, None).await?;
                    }
                    let nothing = Tokens {
                        after: left.up_to,
                        up_to: left.up_to,
                    };
                    self.finish(tokens, nothing).await
                }
                None => {
                    self.parts(Range::Tokens(left), error).await?;
                    self.finish(tokens, left).await
                }
            }
        })
    }

    /// What was read of a range that failed on the way is done, down to the last whole partition. It began as `tokens`, and
    /// `read` was left to its reader. Gives what is left to do.
    async fn settle_before(
        &self,
        tokens: Tokens,
        read: Tokens,
        last: Option<Key>,
    ) -> Result<Tokens> {
        let Some(key) = last else { return Ok(read) };
        let columns = self.copier.transform.source().partition();
        let token = crate::codec::cql::token(columns, &key.partition);
        if !read.contains(token) || token - 1 <= read.after {
            return Ok(read);
        }
        let before = Tokens {
            up_to: token - 1,
            ..read
        };
        self.finish(tokens, before).await?;
        Ok(Tokens {
            after: token - 1,
            ..read
        })
    }

    /// Copies a range below a single token in parts; what can't be read alone is a dead letter.
    fn parts(&self, range: Range, error: Error) -> futures::future::BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let source = self.copier.transform.source();
            let Some(parts) = self.copier.old.0.halve(source, &range) else {
                return self.last_try(&range, error).await;
            };
            for part in parts {
                match self.pages(&part, None).await {
                    Ok(()) => {}
                    Err(RangeEnded { error, .. }) if error.kind() == Kind::RangeTooCostly => {
                        self.parts(part, error).await?;
                    }
                    Err(RangeEnded { error, .. }) => return Err(error),
                }
            }
            Ok(())
        })
    }

    /// The partition of a range below a single token, if its first row can be read: a token is all that the
    /// range itself says of it.
    async fn partition_of(&self, range: &Range) -> Option<Key> {
        let token = match range {
            Range::Slice(slice) => slice.token,
            Range::Tokens(tokens) => tokens.up_to,
            Range::Segment { .. } => return None,
        };
        let one = Range::Tokens(Tokens {
            after: token.checked_sub(1)?,
            up_to: token,
        });
        let source = self.copier.transform.source();
        let page = self.copier.old.0.scan(source, &one, None, 1).await.ok()?;
        page.rows.into_iter().next().map(|row| row.key)
    }

    async fn last_try(&self, range: &Range, first: Error) -> Result<()> {
        let mut error = first;
        for attempt in 0..LAST_TRIES {
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
            match self.pages(range, None).await {
                Ok(()) => return Ok(()),
                Err(ended) if ended.error.kind() == Kind::RangeTooCostly => error = ended.error,
                Err(ended) => return Err(ended.error),
            }
        }
        let source = self.copier.transform.source();
        let reason = match self.partition_of(range).await {
            Some(key) => format!(
                "in the partition {}: {error}",
                display::partition(source, &key)
            ),
            None => error.to_string(),
        };
        let letter = DeadLetter {
            what: display::range(source, range),
            reason,
            freeze: self.copier.freeze,
            key: None,
            range: match range {
                Range::Tokens(tokens) => Some((tokens.after, tokens.up_to)),
                Range::Slice(slice) => Some((slice.token.saturating_sub(1), slice.token)),
                Range::Segment { .. } => None,
            },
            mended: false,
        };
        self.unsettled(range).await;
        self.bury(vec![letter]).await
    }

    /// What lies in a range that can't be read isn't settled.
    async fn unsettled(&self, range: &Range) {
        let mut done = self.done.lock().await;
        match range {
            // A range as small as it gets: one token.
            Range::Tokens(tokens) => done.unsettled.insert(tokens.up_to),
            Range::Slice(slice) => done.unsettled.insert(slice.token),
            Range::Segment { .. } => false,
        };
    }

    /// Reads the pages of a range one after the other, writing each while the next is read.
    async fn pages(&self, range: &Range, resume: Option<Cursor>) -> Result<(), RangeEnded> {
        let mut limit = self.first_page.load(Ordering::Relaxed);
        let mut last = None;
        let mut next = self.page(range, resume.as_ref(), limit).await;
        loop {
            let page = next.map_err(|error| {
                // What was read of it is read again.
                let again = error.kind() == Kind::RangeTooCostly && last.is_some();
                self.met_again.fetch_or(again, Ordering::Relaxed);
                RangeEnded {
                    error,
                    last: last.clone(),
                }
            })?;
            limit = next_page(&page, limit, self.copier.options.page_bytes);
            self.first_page
                .store(limit.min(LARGEST_FIRST_PAGE), Ordering::Relaxed);
            let cursor = page.next.clone();
            let newest = page.rows.last().map(|row| row.key.clone());
            let reading = async {
                match &cursor {
                    Some(cursor) => Some(self.page(range, Some(cursor), limit).await),
                    None => None,
                }
            };
            let writing = async {
                let written = self.write(page.rows).await;
                drop(page.room);
                written
            };
            let (following, written) = tokio::join!(reading, writing);
            written.map_err(|error| RangeEnded {
                error,
                last: last.clone(),
            })?;
            last = newest.or(last);
            if let (Range::Tokens(tokens), Some(key)) = (range, &last)
                && cursor.is_some()
                && self.copier.counters.is_none()
            {
                self.journal.acknowledge(*tokens, key);
            }
            match following {
                Some(page) => next = page,
                None => return Ok(()),
            }
        }
    }

    async fn page(&self, range: &Range, after: Option<&Cursor>, limit: usize) -> Result<Page> {
        let source = self.copier.transform.source();
        let scan = self.copier.old.0.scan(source, range, after, limit);
        let mut page = self.unless_stopped(scan).await?;
        if let Range::Tokens(tokens) = range {
            let token =
                |row: &Row| crate::codec::cql::token(source.partition(), &row.key.partition);
            self.live.ranges.arrived(*tokens, &mut page, token);
        }
        Ok(page)
    }
}

/// Why reading a range ended early, and the last key that the target has of it.
struct RangeEnded {
    error: Error,
    last: Option<Key>,
}
