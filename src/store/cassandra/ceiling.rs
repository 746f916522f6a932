//! How many rows a page may have: what the plan says, and what a guardrail of the cluster takes.

use std::sync::atomic::{AtomicUsize, Ordering};

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

/// The ceiling, for all that reads over one session.
#[derive(Debug)]
pub(super) struct Ceiling(AtomicUsize);

impl Ceiling {
    pub fn new(rows: Option<u32>) -> Self {
        let rows = rows.and_then(|rows| usize::try_from(rows).ok());
        Ceiling(AtomicUsize::new(rows.unwrap_or(usize::MAX).max(1)))
    }

    /// So many rows may be asked for where a caller would like this many.
    pub fn within(&self, wanted: usize) -> usize {
        wanted.min(self.0.load(Ordering::Relaxed)).max(1)
    }

    /// Lowers itself if a page of `asked` rows was refused for its size. `false` if the refusal is about
    /// something else.
    pub fn learns(&self, error: &ExecutionError, asked: usize) -> bool {
        let ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, why)) =
            error
        else {
            return false;
        };
        let Some(most) = page_size_taken(why, asked) else {
            return false;
        };
        if self.0.fetch_min(most, Ordering::Relaxed) > most {
            tracing::info!(
                "the cluster takes pages of {most} rows at most; `page_rows = {most}` in [old] says so from the start"
            );
        }
        true
    }
}

/// How many rows of a page a guardrail takes that has refused one of `asked` rows. Where it doesn't tell,
/// half as many.
fn page_size_taken(why: &str, asked: usize) -> Option<usize> {
    if super::errors::guardrail(why) != Some("page_size") {
        return None;
    }
    let told = why.split("threshold of").nth(1);
    let told = told.map(|rest| rest.trim_start().split(|c: char| !c.is_ascii_digit()));
    let told = told.and_then(|mut digits| digits.next()?.parse().ok());
    Some(told.unwrap_or(asked / 2)).filter(|most| (1..asked).contains(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guardrail_tells_what_it_takes() {
        let five = "Guardrail page_size violated: Aborting query for table t, page size 400 exceeds fail threshold of 50.";
        assert_eq!(page_size_taken(five, 400), Some(50));
        assert_eq!(
            page_size_taken("Guardrail page_size violated: too much", 400),
            Some(200)
        );
        assert_eq!(
            page_size_taken("Guardrail page_size violated: too much", 1),
            None
        );
        assert_eq!(
            page_size_taken(five, 50),
            None,
            "no page is asked for without end"
        );
        assert_eq!(
            page_size_taken("Guardrail allow_filtering violated: no", 400),
            None
        );
        assert_eq!(page_size_taken("unconfigured table t", 400), None);
    }
}
