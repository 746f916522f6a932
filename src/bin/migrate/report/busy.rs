//! When the commands were at work on a table, from their histories.

use std::collections::BTreeMap;

use crossfade::layer::TookCounts;
use crossfade::migration::history::HistorySecond;

use super::chart::Series;

/// A pause longer than this divides the work, so that what lies between isn't drawn.
const PAUSE: i64 = 600;

/// A command at work, all its shards together.
pub struct BusyTime {
    /// `copy`, `verify-repair`.
    pub command: String,
    /// The first second, and the one after the last.
    pub from: i64,
    pub to: i64,
    seconds: BTreeMap<i64, Second>,
}

/// What all shards did in a second.
#[derive(Clone, Default)]
struct Second {
    sum: HistorySecond,
    reasons: Vec<String>,
}

/// What there is of a second that can be drawn.
pub type Measure = fn(&HistorySecond) -> f64;

/// When each command was at work, in the order in which they began. `histories` are by the names of their files.
pub fn times(table: &str, histories: BTreeMap<String, Vec<HistorySecond>>) -> Vec<BusyTime> {
    let mut commands: BTreeMap<String, BTreeMap<i64, Second>> = BTreeMap::new();
    for (name, seconds) in histories {
        let rest = name.strip_prefix(table).unwrap_or(&name);
        let command = rest.rsplit('.').next().unwrap_or(rest).to_owned();
        let all = commands.entry(command).or_default();
        for second in seconds {
            all.entry(second.at).or_default().add(second);
        }
    }
    let mut times: Vec<BusyTime> = Vec::new();
    for (command, seconds) in commands {
        let mut open: Option<BusyTime> = None;
        for (at, second) in seconds {
            if let Some(time) = open.take_if(|time| at - time.to > PAUSE) {
                times.push(time);
            }
            let time = open.get_or_insert_with(|| BusyTime {
                command: command.clone(),
                from: at,
                to: at,
                seconds: BTreeMap::new(),
            });
            time.to = at + 1;
            time.seconds.insert(at, second);
        }
        times.extend(open);
    }
    times.sort_by_key(|time| time.from);
    times
}

impl Second {
    fn add(&mut self, one: HistorySecond) {
        let sum = &mut self.sum;
        sum.at = one.at;
        sum.old_rows += one.old_rows;
        sum.new_rows += one.new_rows;
        sum.units += one.units;
        sum.old_throttled += one.old_throttled;
        sum.new_throttled += one.new_throttled;
        sum.hot += one.hot;
        sum.old_failed += one.old_failed;
        sum.new_failed += one.new_failed;
        sum.old_slowest_ms = sum.old_slowest_ms.max(one.old_slowest_ms);
        sum.new_slowest_ms = sum.new_slowest_ms.max(one.new_slowest_ms);
        sum.old_reads.merge(&one.old_reads);
        sum.new_reads.merge(&one.new_reads);
        sum.new_writes.merge(&one.new_writes);
        // Shards share a ceiling.
        if let Some(most) = one.most_units {
            *sum.most_units.get_or_insert(0.0) += most;
        }
        if let Some(reason) = one.reason
            && !self.reasons.contains(&reason)
        {
            self.reasons.push(reason);
        }
    }
}

impl BusyTime {
    /// Seconds in which anything happened.
    pub fn seconds(&self) -> usize {
        self.seconds.len()
    }

    /// One thing that was measured, second by second.
    pub fn series(&self, measure: Measure) -> Series {
        let sums = self.sums();
        sums.map(|sum| (sum.at, measure(sum))).collect()
    }

    /// The ceiling of the units, where there was one.
    pub fn most_units(&self) -> Series {
        let sums = self.sums();
        sums.filter_map(|sum| Some((sum.at, sum.most_units?)))
            .collect()
    }

    /// All of it together.
    pub fn total(&self, measure: Measure) -> f64 {
        self.sums().map(measure).sum()
    }

    /// How long calls of one kind took, over all seconds.
    pub fn took(&self, calls: fn(&HistorySecond) -> &TookCounts) -> TookCounts {
        let mut all = TookCounts::default();
        self.sums().for_each(|sum| all.merge(calls(sum)));
        all
    }

    /// Of the seconds in which there is any: the one in the middle, the one that 1 in 100 are above, and the highest.
    pub fn spread(&self, measure: Measure) -> Option<[f64; 3]> {
        let mut values: Vec<f64> = self.sums().map(measure).filter(|one| *one > 0.0).collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        Some([values[last / 2], values[last * 99 / 100], values[last]])
    }

    /// Why it wasn't faster, and for how many seconds.
    pub fn reasons(&self) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for second in self.seconds.values() {
            for reason in &second.reasons {
                *counts.entry(reason).or_default() += 1;
            }
        }
        let counts = counts.into_iter();
        let mut counts: Vec<(String, usize)> = counts
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// The seconds in which most was asked for later or failed, the worst first.
    pub fn worst(&self, most: usize) -> Vec<&HistorySecond> {
        let trouble = |one: &HistorySecond| {
            one.old_throttled + one.new_throttled + one.old_failed + one.new_failed
        };
        let mut worst: Vec<&HistorySecond> = self.sums().filter(|one| trouble(one) > 0).collect();
        worst.sort_by_key(|one| std::cmp::Reverse(trouble(one)));
        worst.truncate(most);
        worst
    }

    fn sums(&self) -> impl Iterator<Item = &HistorySecond> {
        self.seconds.values().map(|second| &second.sum)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn second(at: i64, units: f64, throttled: u64) -> HistorySecond {
        let mut old_reads = TookCounts::default();
        old_reads.add(std::time::Duration::from_millis(3));
        HistorySecond {
            at,
            old_reads,
            units,
            new_throttled: throttled,
            old_slowest_ms: units,
            most_units: Some(10.0),
            reason: (throttled > 0).then(|| "throttled".to_owned()),
            ..HistorySecond::default()
        }
    }

    #[test]
    fn shards_are_added_up_and_pauses_divide() {
        let histories = BTreeMap::from([
            (
                "t.0-of-2.copy".to_owned(),
                vec![
                    second(100, 5.0, 0),
                    second(101, 6.0, 9),
                    second(9_000, 1.0, 0),
                ],
            ),
            ("t.1-of-2.copy".to_owned(), vec![second(101, 7.0, 1)]),
            ("t.verify".to_owned(), vec![second(5_000, 2.0, 0)]),
        ]);
        let times = times("t", histories);
        let told: Vec<_> = times
            .iter()
            .map(|time| (time.command.as_str(), time.from, time.to, time.seconds()))
            .collect();
        let wanted = [
            ("copy", 100, 102, 2),
            ("verify", 5_000, 5_001, 1),
            ("copy", 9_000, 9_001, 1),
        ];
        assert_eq!(told, wanted);
        let copy = &times[0];
        assert_eq!(copy.series(|one| one.units), [(100, 5.0), (101, 13.0)]);
        assert_eq!(copy.most_units(), [(100, 10.0), (101, 20.0)]);
        assert_eq!(copy.total(|one| one.new_throttled as f64), 10.0);
        assert_eq!(copy.spread(|one| one.old_slowest_ms), Some([5.0, 5.0, 7.0]));
        assert_eq!(copy.spread(|one| one.new_slowest_ms), None);
        assert_eq!(copy.took(|one| &one.old_reads).count(), 3);
        assert!(copy.took(|one| &one.new_writes).is_empty());
        assert_eq!(copy.reasons(), [("throttled".to_owned(), 1)]);
        assert_eq!(copy.worst(5).len(), 1);
        assert_eq!(copy.worst(5)[0].at, 101);
    }
}
