//! What was promised of a table, and whether it was kept as far as that is known.

use crossfade::control::Verified;
use crossfade::migration::findings::LastVerification;
use crossfade::verifier::Found;

use crate::format;

/// Whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseState {
    Kept,
    Broken,
    NotKnown,
}

impl PromiseState {
    fn name(self) -> &'static str {
        match self {
            PromiseState::Kept => "yes",
            PromiseState::Broken => "no",
            PromiseState::NotKnown => "not known",
        }
    }
}

/// What a promise is, and which numbers of a verification break it.
struct Promise {
    what: &'static str,
    of_counters: Option<bool>,
    broken_by: fn(&Found) -> Vec<(u64, &'static str)>,
}

const PROMISES: &[Promise] = &[
    Promise {
        what: "every row of the old table is in the new one",
        of_counters: None,
        broken_by: |found| vec![(found.missing, "missing"), (found.unreadable, "unreadable")],
    },
    Promise {
        what: "what both have is the same",
        of_counters: Some(false),
        broken_by: |found| {
            vec![
                (found.different, "different"),
                (found.partial, "incomplete"),
            ]
        },
    },
    Promise {
        what: "every counter holds the old total, and what was added since",
        of_counters: Some(true),
        broken_by: |found| {
            vec![
                (found.counters_wrong, "wrong counters"),
                (found.different, "different"),
            ]
        },
    },
    Promise {
        what: "the new table holds nothing that neither the old one nor an application has put there",
        of_counters: None,
        broken_by: |found| vec![(found.extra, "extra"), (found.foreign, "of a stranger")],
    },
    Promise {
        what: "nothing that was written to the old table after the freeze is lost",
        of_counters: Some(false),
        broken_by: |found| vec![(found.late_writes, "late writes")],
    },
];

/// A line for each promise: what, whether it was kept, and what tells.
pub fn lines(
    is_counter: bool,
    verified: Option<&Verified>,
    last: Option<&LastVerification>,
) -> Vec<Vec<String>> {
    let promises = PROMISES
        .iter()
        .filter(|one| one.of_counters.is_none_or(|of| of == is_counter));
    let line = |one: &Promise| {
        let (state, why) = judged(one, verified, last);
        vec![one.what.to_owned(), state.name().to_owned(), why]
    };
    promises.map(line).collect()
}

const NONE_COUNTS: &str = "no verification that counts: none of this freeze, or a copy, fold, repair or retry has run since";

fn judged(
    promise: &Promise,
    verified: Option<&Verified>,
    last: Option<&LastVerification>,
) -> (PromiseState, String) {
    // A part of the table shows that a promise is broken, and never that it is kept.
    let Some(last) = last else {
        return match verified {
            None => (PromiseState::NotKnown, NONE_COUNTS.to_owned()),
            Some(one) if one.clean => (
                PromiseState::Kept,
                format!(
                    "{} old rows compared, no difference; {}",
                    format::count(one.old_rows),
                    format::moment(one.ended_at)
                ),
            ),
            Some(one) => (
                PromiseState::NotKnown,
                format!(
                    "{} differences of some kind; which is known where it was verified",
                    format::count(one.differences)
                ),
            ),
        };
    };
    let found = &last.found;
    let broken: Vec<String> = (promise.broken_by)(found)
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", format::count(count)))
        .collect();
    let when = format::moment(last.ended_at);
    if !broken.is_empty() {
        let mended = match last.mended {
            Some(_) => ", before the repair; verify again",
            None => "",
        };
        return (
            PromiseState::Broken,
            format!("{}{mended}; {when}", broken.join(", ")),
        );
    }
    if last.sample < 1.0 {
        let why = format!(
            "only {} % of the old rows compared; {when}",
            last.sample * 100.0
        );
        return (PromiseState::NotKnown, why);
    }
    if found.stopped_early {
        let why = format!("the verification stopped before it had looked at everything; {when}");
        return (PromiseState::NotKnown, why);
    }
    if verified.is_none() {
        return (PromiseState::NotKnown, format!("{NONE_COUNTS}; {when}"));
    }
    let why = format!(
        "{} old rows and {} items compared; {when}",
        format::count(found.old_rows),
        format::count(found.new_rows)
    );
    (PromiseState::Kept, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn states(verified: Option<&Verified>, last: Option<&LastVerification>) -> Vec<String> {
        let lines = lines(false, verified, last);
        lines.into_iter().map(|line| line[1].clone()).collect()
    }

    #[test]
    fn nothing_is_kept_that_nobody_has_looked_at() {
        assert_eq!(states(None, None), ["not known"; 4]);
        let mut last = LastVerification {
            sample: 1.0,
            ..LastVerification::default()
        };
        // The control table has withdrawn it.
        assert_eq!(states(None, Some(&last)), ["not known"; 4]);
        let mut noted = Verified {
            freeze: 1,
            incarnation: String::new(),
            mapping: String::new(),
            clean: true,
            differences: 0,
            old_rows: 5,
            ended_at: 1,
            oldest_at: None,
            copiers: std::collections::BTreeMap::new(),
        };
        assert_eq!(states(Some(&noted), Some(&last)), ["yes"; 4]);
        last.sample = 0.01;
        assert_eq!(states(Some(&noted), Some(&last)), ["not known"; 4]);
        last.found.late_writes = 1;
        assert_eq!(states(Some(&noted), Some(&last))[3], "no");
        last.sample = 1.0;
        last.found.stopped_early = true;
        assert_eq!(
            states(Some(&noted), Some(&last)),
            ["not known", "not known", "not known", "no"]
        );
        assert_eq!(states(Some(&noted), None), ["yes"; 4]);
        (noted.clean, noted.differences) = (false, 3);
        assert_eq!(states(Some(&noted), None), ["not known"; 4]);
    }
}
