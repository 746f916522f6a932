//! Tokens of partition keys: stretches of them, and sets of those, such as which part of a table is done.

use std::collections::BTreeMap;
use std::fmt;

/// A stretch of the partition key's tokens, `(after, up_to]`; the whole ring is
/// `(i64::MIN, i64::MAX]`, since no key has the token `i64::MIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tokens {
    /// Exclusive start.
    pub after: i64,
    /// Inclusive end; never below `after`.
    pub up_to: i64,
}

impl Tokens {
    /// The whole ring.
    pub const ALL: Tokens = Tokens {
        after: i64::MIN,
        up_to: i64::MAX,
    };

    /// How many tokens it has.
    pub fn width(&self) -> u64 {
        self.up_to.wrapping_sub(self.after) as u64
    }

    /// Whether it has no token.
    pub fn is_empty(&self) -> bool {
        self.up_to <= self.after
    }

    /// Whether it has this token.
    pub fn contains(&self, token: i64) -> bool {
        self.after < token && token <= self.up_to
    }

    /// Two halves, or `None` if it has a single token.
    pub fn halves(&self) -> Option<(Tokens, Tokens)> {
        if self.width() < 2 {
            return None;
        }
        let middle = self.after.wrapping_add((self.width() / 2) as i64);
        Some((
            Tokens {
                after: self.after,
                up_to: middle,
            },
            Tokens {
                after: middle,
                up_to: self.up_to,
            },
        ))
    }

    /// `count` stretches of nearly the same width (fewer if there aren't so many tokens).
    pub fn split(&self, count: usize) -> Vec<Tokens> {
        let width = u128::from(self.width());
        let count = (count.max(1) as u128).min(width.max(1));
        let edge = |i: u128| self.after.wrapping_add((width * i / count) as u64 as i64);
        (0..count)
            .map(|i| Tokens {
                after: edge(i),
                up_to: edge(i + 1),
            })
            .collect()
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}]", self.after, self.up_to)
    }
}

/// A set of tokens. Neighbouring and overlapping stretches become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals {
    /// Exclusive start to inclusive end.
    stretches: BTreeMap<i64, i64>,
}

impl Intervals {
    /// Adds a stretch.
    pub fn insert(&mut self, tokens: Tokens) {
        if tokens.is_empty() {
            return;
        }
        let Tokens {
            mut after,
            mut up_to,
        } = tokens;
        let touching: Vec<(i64, i64)> = self
            .stretches
            .range(..=up_to)
            .rev()
            .take_while(|(_, end)| **end >= after)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (start, end) in touching {
            self.stretches.remove(&start);
            after = after.min(start);
            up_to = up_to.max(end);
        }
        self.stretches.insert(after, up_to);
    }

    /// Adds every stretch of another set.
    pub fn extend(&mut self, other: &Intervals) {
        other.iter().for_each(|tokens| self.insert(tokens));
    }

    /// The stretches, in order.
    pub fn iter(&self) -> impl Iterator<Item = Tokens> + '_ {
        self.stretches.iter().map(|(after, up_to)| Tokens {
            after: *after,
            up_to: *up_to,
        })
    }

    /// What a stretch has that this set hasn't.
    pub fn missing_in(&self, within: Tokens) -> Vec<Tokens> {
        let mut missing = Vec::new();
        let mut after = within.after;
        for done in self.iter().filter(|done| done.up_to > within.after) {
            if done.after >= within.up_to {
                break;
            }
            if done.after > after {
                missing.push(Tokens {
                    after,
                    up_to: done.after,
                });
            }
            after = after.max(done.up_to);
        }
        if after < within.up_to {
            missing.push(Tokens {
                after,
                up_to: within.up_to,
            });
        }
        missing
    }

    /// Whether it has the whole ring.
    pub fn is_all(&self) -> bool {
        self.missing_in(Tokens::ALL).is_empty()
    }

    /// Which part of a stretch it has, 0 to 1; 1 is all of it, however little is missing.
    pub fn share_of(&self, within: Tokens) -> f64 {
        let missing: u128 = self
            .missing_in(within)
            .iter()
            .map(|tokens| u128::from(tokens.width()))
            .sum();
        if missing == 0 {
            return 1.0;
        }
        let share = 1.0 - missing as f64 / u128::from(within.width()).max(1) as f64;
        share.min(1.0 - f64::EPSILON)
    }
}

impl FromIterator<Tokens> for Intervals {
    fn from_iter<I: IntoIterator<Item = Tokens>>(tokens: I) -> Self {
        let mut intervals = Intervals::default();
        tokens
            .into_iter()
            .for_each(|tokens| intervals.insert(tokens));
        intervals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn tokens(after: i64, up_to: i64) -> Tokens {
        Tokens { after, up_to }
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_its_tokens(stretches in prop::collection::vec((-20_i64..20, 0_i64..8), 0..12)) {
            let mut plain = BTreeSet::new();
            let mut set = Intervals::default();
            for (after, width) in stretches {
                set.insert(tokens(after, after + width));
                plain.extend(after + 1..=after + width);
            }
            let listed: Vec<Tokens> = set.iter().collect();
            prop_assert_eq!(
                listed.iter().flat_map(|t| t.after + 1..=t.up_to).collect::<Vec<_>>(),
                plain.iter().copied().collect::<Vec<_>>()
            );
            prop_assert!(listed.windows(2).all(|pair| pair[0].up_to < pair[1].after));
            let missing: BTreeSet<i64> =
                set.missing_in(tokens(-30, 30)).iter().flat_map(|t| t.after + 1..=t.up_to).collect();
            prop_assert_eq!(missing, (-29..=30).filter(|t| !plain.contains(t)).collect::<BTreeSet<_>>());
        }

        #[test]
        fn splits_are_the_whole_without_overlap(after: i64, up_to: i64, count in 1_usize..300) {
            prop_assume!(after < up_to);
            let whole = tokens(after, up_to);
            let parts = whole.split(count);
            prop_assert_eq!(parts[0].after, after);
            prop_assert_eq!(parts[parts.len() - 1].up_to, up_to);
            prop_assert!(parts.windows(2).all(|pair| pair[0].up_to == pair[1].after));
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
        }
    }

    #[test]
    fn the_whole_ring_is_all() {
        let set: Intervals = Tokens::ALL.split(7).into_iter().rev().collect();
        assert!(set.is_all());
        assert_eq!(set.iter().count(), 1);
        assert_eq!(Intervals::default().missing_in(Tokens::ALL), [Tokens::ALL]);
        assert!((set.share_of(Tokens::ALL) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_single_token_that_is_missing_shows_in_the_share() {
        let mut set = Intervals::default();
        for (after, up_to) in [(i64::MIN, 41), (42, i64::MAX)] {
            set.insert(Tokens { after, up_to });
        }
        assert!(set.share_of(Tokens::ALL) < 1.0);
        set.insert(Tokens {
            after: 41,
            up_to: 42,
        });
        assert!(set.share_of(Tokens::ALL) >= 1.0);
    }
}
