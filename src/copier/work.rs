//! What is left to do, cut into jobs.

use super::CopySettings;
use crate::model::Intervals;
use crate::model::{Key, Tokens};

/// A range to copy, and the key after which it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) tokens: Tokens,
    pub(super) resume: Option<Key>,
}

/// Cuts what is left into jobs, neighbours far apart, so that the ranges that are read at once
/// spread over the old ring and over the target's partitions alike.
pub(super) fn jobs(
    done: &Intervals,
    cursors: &[(Tokens, Key)],
    options: &CopySettings,
) -> Vec<Job> {
    let widest = (Tokens::ALL.width() / options.splits.max(1) as u64).max(1);
    let mut jobs = Vec::new();
    for gap in done.missing_in(options.share) {
        // A cursor's rest has to be a job's beginning, or its key would cut off other rows.
        let mut edges: Vec<i64> = cursors
            .iter()
            .map(|(rest, _)| rest.after)
            .filter(|edge| gap.after < *edge && *edge < gap.up_to)
            .collect();
        edges.extend([gap.after, gap.up_to]);
        edges.sort_unstable();
        edges.dedup();
        for pair in edges.windows(2) {
            let &[after, up_to] = pair else { continue };
            let piece = Tokens { after, up_to };
            let count = usize::try_from(piece.width().div_ceil(widest)).unwrap_or(1);
            jobs.extend(piece.split(count).into_iter().map(|tokens| {
                Job {
                    tokens,
                    resume: cursors
                        .iter()
                        .find(|(rest, _)| rest.after == tokens.after)
                        .map(|(_, key)| key.clone()),
                }
            }));
        }
    }
    interleaved(jobs, options.readers)
}

/// `a b c d e f` read by two becomes `a d b e c f`.
fn interleaved(jobs: Vec<Job>, readers: usize) -> Vec<Job> {
    let stride = jobs.len().div_ceil(readers.max(1)).max(1);
    let mut slots: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
    let order = (0..stride).flat_map(|first| (first..slots.len()).step_by(stride));
    let order: Vec<usize> = order.collect();
    order
        .into_iter()
        .filter_map(|place| slots[place].take())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jobs_are_what_is_left_and_cursors_stand_at_their_beginning(
            done in prop::collection::vec((any::<i64>(), 0_u64..1 << 62), 0..6),
            cursor in any::<i64>(),
            splits in 1_usize..300,
            readers in 1_usize..40,
        ) {
            let done: Intervals = done
                .into_iter()
                .map(|(after, width)| Tokens { after, up_to: after.saturating_add(width as i64) })
                .collect();
            let key = Key::row(vec![Value::Int(1)], vec![]);
            let rest = Tokens { after: cursor, up_to: i64::MAX };
            let options = CopySettings { splits, readers, ..CopySettings::default() };
            let jobs = jobs(&done, &[(rest, key)], &options);
            let mut all = done.clone();
            let mut width = 0_u128;
            for job in &jobs {
                prop_assert!(!job.tokens.is_empty());
                prop_assert_eq!(job.resume.is_some(), job.tokens.after == cursor);
                width += u128::from(job.tokens.width());
                all.insert(job.tokens);
            }
            prop_assert!(all.is_all());
            let missing: u128 =
                done.missing_in(Tokens::ALL).iter().map(|t| u128::from(t.width())).sum();
            prop_assert_eq!(width, missing);
        }
    }
}
