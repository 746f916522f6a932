//! Whether a read always meets what was written: the replicas that answered the one and those that
//! confirmed the other must have one in common.

use std::collections::{BTreeMap, HashMap};

use super::Consistency;
use crate::store::{Finding, Weight};

/// How many replicas each datacenter has; one without a name where the keyspace doesn't tell them apart.
type Replication = BTreeMap<String, usize>;

/// The fewest replicas that a level is content with: of some datacenters, and of all together.
struct Fewest {
    of: BTreeMap<String, usize>,
    together: usize,
}

/// What the owner of a keyspace should know of the levels in use. `options` are its replication's.
pub(super) fn finding(
    reads: Consistency,
    writes: Consistency,
    options: &HashMap<String, String>,
    datacenter: Option<&str>,
) -> Option<Finding> {
    let replication = replication(options)?;
    if meet(reads, writes, &replication, datacenter) {
        return None;
    }
    let copies = replication.iter().map(|(name, count)| match name.as_str() {
        "" => count.to_string(),
        name => format!("{count} in {name}"),
    });
    let copies: Vec<String> = copies.collect();
    Some(Finding {
        code: "reads-may-miss-writes",
        weight: Weight::Note,
        message: format!(
            "reads at {} and writes at {} needn't meet in a replica; of each row there are {}",
            name(reads),
            name(writes),
            copies.join(", ")
        ),
        advice: "while applications run, `consistency` and `write_consistency` must meet: local_quorum twice, \
                 or all for one of them. What was written below that so far: `nodetool repair` the table first, \
                 or copy and verify with `consistency = \"all\"`"
            .into(),
    })
}

/// `None` for a strategy that isn't known here.
fn replication(options: &HashMap<String, String>) -> Option<Replication> {
    let class = options.get("class")?.rsplit('.').next()?;
    // ScyllaDB and Cassandra may say how many of them are transient: `3/1`.
    let count = |text: &String| text.split('/').next()?.parse::<usize>().ok();
    match class {
        "SimpleStrategy" => {
            let count = options.get("replication_factor").and_then(count)?;
            Some([(String::new(), count)].into())
        }
        "NetworkTopologyStrategy" => {
            let of_centers = options.iter().filter(|(name, _)| *name != "class");
            let of_centers = of_centers.map(|(name, text)| Some((name.clone(), count(text)?)));
            of_centers.collect()
        }
        _ => None,
    }
}

/// Two sets of replicas can miss each other only if both fit beside each other in every datacenter, and
/// in all of them together.
fn meet(
    reads: Consistency,
    writes: Consistency,
    replication: &Replication,
    datacenter: Option<&str>,
) -> bool {
    let reads = fewest(reads, replication, datacenter);
    let writes = fewest(writes, replication, datacenter);
    let of = |fewest: &Fewest, name: &str| fewest.of.get(name).copied().unwrap_or(0);
    let all: usize = replication.values().sum();
    let in_one = |(name, count): (&String, &usize)| of(&reads, name) + of(&writes, name) > *count;
    replication.iter().any(in_one) || reads.together + writes.together > all
}

fn fewest(level: Consistency, replication: &Replication, datacenter: Option<&str>) -> Fewest {
    let all: usize = replication.values().sum();
    let anywhere = |together| Fewest {
        of: BTreeMap::new(),
        together,
    };
    let local = |of: fn(usize) -> usize| {
        // A keyspace that doesn't tell datacenters apart has one, whatever its name.
        let named = datacenter.and_then(|name| replication.get_key_value(name));
        let (name, count) = named.or_else(|| replication.iter().next())?;
        let together = of(*count);
        let of = [(name.clone(), together)].into();
        Some(Fewest { of, together })
    };
    match level {
        Consistency::One => anywhere(1),
        Consistency::Two => anywhere(2),
        Consistency::Three => anywhere(3),
        Consistency::Quorum => anywhere(quorum(all)),
        Consistency::All => anywhere(all),
        Consistency::LocalOne => local(|_| 1).unwrap_or_else(|| anywhere(1)),
        Consistency::LocalQuorum => local(quorum).unwrap_or_else(|| anywhere(1)),
        Consistency::EachQuorum => {
            let of = replication
                .iter()
                .map(|(name, count)| (name.clone(), quorum(*count)));
            let of: BTreeMap<String, usize> = of.collect();
            let together = of.values().sum();
            Fewest { of, together }
        }
    }
}

fn quorum(count: usize) -> usize {
    count / 2 + 1
}

fn name(level: Consistency) -> &'static str {
    let mut names = Consistency::NAMES.iter();
    names
        .find(|(_, named)| *named == level)
        .map_or("?", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use Consistency::*;

    fn options(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn replicas_are_counted_by_datacenter() {
        let simple = options(&[
            ("class", "org.apache.cassandra.locator.SimpleStrategy"),
            ("replication_factor", "3"),
        ]);
        assert_eq!(replication(&simple).unwrap(), [(String::new(), 3)].into());
        let network = options(&[
            ("class", "NetworkTopologyStrategy"),
            ("east", "3"),
            ("west", "3/1"),
        ]);
        let expected = [("east".to_owned(), 3), ("west".to_owned(), 3)].into();
        assert_eq!(replication(&network).unwrap(), expected);
        assert_eq!(
            replication(&options(&[("class", "EverywhereStrategy")])),
            None
        );
    }

    #[test]
    fn reads_meet_writes_where_more_than_all_replicas_take_part() {
        let one_center = |count| Replication::from([(String::new(), count)]);
        for (count, reads, writes, expected) in [
            (1, One, One, true),
            (1, LocalOne, LocalOne, true),
            (2, One, One, false),
            (3, One, Quorum, false),
            (3, LocalQuorum, LocalQuorum, true),
            (3, Quorum, One, false),
            (3, Two, Two, true),
            (3, One, All, true),
            (3, All, One, true),
            (4, Two, Two, false),
            (5, Three, LocalQuorum, true),
        ] {
            let meets = meet(reads, writes, &one_center(count), Some("any"));
            assert_eq!(meets, expected, "{reads:?} and {writes:?} of {count}");
        }
        let two: Replication = [("east".to_owned(), 3), ("west".to_owned(), 3)].into();
        for (reads, writes, expected) in [
            (LocalQuorum, LocalQuorum, true),
            (LocalQuorum, Quorum, false),
            (LocalQuorum, EachQuorum, true),
            (Quorum, Quorum, true),
            (Quorum, EachQuorum, true),
            (Three, EachQuorum, true),
            (Two, EachQuorum, false),
            (LocalOne, All, true),
            (LocalOne, LocalQuorum, false),
        ] {
            let meets = meet(reads, writes, &two, Some("east"));
            assert_eq!(meets, expected, "{reads:?} and {writes:?}");
            let turned = meet(writes, reads, &two, Some("east"));
            assert_eq!(turned, expected, "{writes:?} and {reads:?}");
        }
    }

    #[test]
    fn what_is_told_names_levels_and_replicas() {
        let three = options(&[("class", "SimpleStrategy"), ("replication_factor", "3")]);
        assert_eq!(finding(LocalQuorum, LocalQuorum, &three, None), None);
        let found = finding(One, LocalQuorum, &three, None).unwrap();
        assert_eq!(found.weight, Weight::Note);
        let expected = "reads at one and writes at local_quorum needn't meet in a replica; of each row there are 3";
        assert_eq!(found.message, expected);
    }
}
