//! Expiries compared without looking at single rows, though those of one row are seconds apart in both stores.
//!
//! A sum of expiries can't do that: what may honestly be apart grows with the rows that are summed up, and hides
//! one that is wrong. So each row's time is cut into cells of some width, from a beginning that is the row's own,
//! and what is summed up is a hash of the row and its cell. Where both stores' expiries lie in one cell, the two
//! hashes cancel out; where they don't, the sum is another one, but for a chance of 2^-64, however
//! many rows there are beside it.
//!
//! Two expiries that are no more than [`CLOCK_BOUND`] apart may still lie on either side of a cell's edge. Then
//! both are within [`CLOCK_BOUND`] of that edge. Expiries at an edge are therefore remembered, of either
//! store; once all rows were read, each pair that lies on either side of an edge for no other reason is taken out
//! of the sums again. So
//!
//! - expiries up to [`CLOCK_BOUND`] apart never differ;
//! - expiries that are a cell's width or more apart always do;
//! - of those between, `d` seconds apart, a share of about `d / width` does, each by itself.
//!
//! What is remembered is 10 of `width` seconds, of both stores. To remember no more than [`MOST_EDGES`] there are
//! cells of several [`WIDTHS`] at once, and where the narrowest take too much, only the wider ones count from
//! then on: 64 seconds up to some 1.6 million rows that expire, 2 hours and 17 minutes up to 200 million, 12 days
//! up to 27,000 million.

use std::io::{self, Write};

use super::canonical::Fingerprint;
use super::grid::{Side, short};

/// How far apart the two stores' expiries of one row may be, seconds: each is a clock's reading and a
/// remaining time in whole seconds.
pub(super) const CLOCK_BOUND: i64 = 5;

/// Whether two expiries are apart by no more than clocks may be.
pub(super) fn are_same(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= CLOCK_BOUND.unsigned_abs()
}

/// How many widths of cells there are.
pub(super) const LEVELS: usize = 3;
/// The widths of cells, in seconds, as powers of two.
const WIDTHS: [u32; LEVELS] = [6, 13, 20];
/// Expiries at the edges of cells of one width that are remembered, of both stores.
const MOST_EDGES: usize = 1 << 19;

/// What some rows' cells come to, for each width.
pub(super) type Cells = [u64; LEVELS];

/// Hashes of the cells that a row's expiry lies in.
pub(super) fn cells_of(key: u64, expires: i64) -> Cells {
    std::array::from_fn(|level| hash(key, level, cell(key, level, expires)))
}

pub(super) fn add(to: &mut Cells, other: &Cells) {
    for (to, other) in to.iter_mut().zip(other) {
        *to = to.wrapping_add(*other);
    }
}

pub(super) fn negative(cells: &Cells) -> Cells {
    cells.map(u64::wrapping_neg)
}

/// Seconds from the beginning of time, which is another one for each row and width.
fn place(key: u64, level: usize, expires: i64) -> i64 {
    // Other bits of the digest for each width; together they have 60.
    let beginning = (key >> (20 * level)) & ((1 << WIDTHS[level]) - 1);
    expires.saturating_add(beginning as i64)
}

fn cell(key: u64, level: usize, expires: i64) -> i64 {
    place(key, level, expires) >> WIDTHS[level]
}

fn hash(key: u64, level: usize, cell: i64) -> u64 {
    let mut bytes = [0; 17];
    bytes[..8].copy_from_slice(&key.to_be_bytes());
    bytes[8..16].copy_from_slice(&cell.to_be_bytes());
    bytes[16] = level as u8;
    twox_hash::XxHash3_128::oneshot(&bytes) as u64
}

/// Whether the other store's expiry may honestly lie in a neighbouring cell.
fn is_at_edge(key: u64, level: usize, expires: i64) -> bool {
    let width = 1 << WIDTHS[level];
    let within = place(key, level, expires) & (width - 1);
    within < CLOCK_BOUND || within >= width - CLOCK_BOUND
}

/// An expiry at the edge of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    key: u64,
    bucket: u32,
    expires: i64,
}

impl Edge {
    /// That of a row, if it is at an edge of any width.
    pub fn of(fingerprint: &Fingerprint) -> Option<Self> {
        let (key, expires) = (short(fingerprint.key), fingerprint.expires?);
        let edge = Edge {
            key,
            bucket: fingerprint.bucket,
            expires,
        };
        (0..LEVELS)
            .any(|level| is_at_edge(key, level, expires))
            .then_some(edge)
    }

    fn row(&self) -> (u64, u32) {
        (self.key, self.bucket)
    }
}

/// Both stores' expiries at the edges of cells of one width.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Level {
    old: Vec<Edge>,
    new: Vec<Edge>,
}

/// Both stores' expiries at edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edges {
    /// None for a width that took too much.
    levels: [Option<Level>; LEVELS],
    /// Whether any row expires.
    any: bool,
    most: usize,
}

impl Default for Edges {
    fn default() -> Self {
        Edges {
            levels: std::array::from_fn(|_| Some(Level::default())),
            any: false,
            most: MOST_EDGES,
        }
    }
}

impl Edges {
    #[cfg(test)]
    pub fn at_most(most: usize) -> Self {
        Edges {
            most,
            ..Edges::default()
        }
    }

    /// Notes that a row expires.
    pub fn expires(&mut self) {
        self.any = true;
    }

    /// Remembers an expiry for each width that has it at an edge.
    pub fn add(&mut self, side: Side, edge: Edge) {
        for (at, level) in self.levels.iter_mut().enumerate() {
            let Some(edges) = level else { continue };
            if !is_at_edge(edge.key, at, edge.expires) {
                continue;
            }
            if edges.old.len() + edges.new.len() >= self.most {
                *level = None;
                continue;
            }
            match side {
                Side::Old => edges.old.push(edge),
                Side::New => edges.new.push(edge),
            }
        }
    }

    /// Orders what is remembered, which has to come before looking at it.
    pub fn sort(&mut self) {
        for level in self.levels.iter_mut().flatten() {
            level.old.sort_unstable();
            level.new.sort_unstable();
        }
    }

    /// The cells in which an old row was summed up that is read for the second time now: its expiry may have
    /// come to another second.
    pub fn cells_again(&self, fingerprint: &Fingerprint) -> Cells {
        let Some(expires) = fingerprint.expires else {
            return Cells::default();
        };
        let key = short(fingerprint.key);
        std::array::from_fn(|at| {
            let first = self.levels[at].as_ref().and_then(|level| {
                let row = (key, fingerprint.bucket);
                let place = level.old.binary_search_by_key(&row, Edge::row).ok()?;
                Some(level.old[place].expires)
            });
            // Away from any edge the second reading lies in the cell of the first.
            hash(key, at, cell(key, at, first.unwrap_or(expires)))
        })
    }

    /// What has to be taken out of a bucket's sums, because it lies on either side of an edge for no other reason
    /// than what clocks may be apart.
    pub fn honest(&self) -> impl Iterator<Item = (u32, Cells)> + '_ {
        let levels = self.levels.iter().enumerate();
        levels.flat_map(|(at, level)| {
            let pairs = level.iter().flat_map(pairs);
            pairs.filter_map(move |(old, new)| {
                let cells = [old, new].map(|edge| cell(edge.key, at, edge.expires));
                let is_honest = are_same(old.expires, new.expires);
                if !is_honest || cells[0] == cells[1] {
                    return None;
                }
                let [old_hash, new_hash] = cells.map(|cell| hash(old.key, at, cell));
                let mut apart = Cells::default();
                apart[at] = old_hash.wrapping_sub(new_hash);
                Some((old.bucket, apart))
            })
        })
    }

    /// Which widths count.
    pub fn counting(&self) -> [bool; LEVELS] {
        std::array::from_fn(|at| self.levels[at].is_some())
    }

    /// From how many seconds on an expiry that is wrong is sure to show. None if no row expires; an error if there
    /// are too many to tell.
    pub fn bound(&self) -> Result<Option<u64>, TooMany> {
        match self.counting().iter().position(|counts| *counts) {
            _ if !self.any => Ok(None),
            Some(level) => Ok(Some(1 << WIDTHS[level])),
            None => Err(TooMany),
        }
    }

    /// How many bytes [`Edges::write`] writes.
    pub fn size(&self) -> usize {
        let level = |level: &Level| 16 + (level.old.len() + level.new.len()) * RECORD;
        1 + LEVELS + self.levels.iter().flatten().map(level).sum::<usize>()
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&[u8::from(self.any)])?;
        for level in &self.levels {
            out.write_all(&[u8::from(level.is_some())])?;
            let Some(level) = level else { continue };
            for edges in [&level.old, &level.new] {
                out.write_all(&(edges.len() as u64).to_be_bytes())?;
                for edge in edges {
                    out.write_all(&edge.key.to_be_bytes())?;
                    out.write_all(&edge.bucket.to_be_bytes())?;
                    out.write_all(&edge.expires.to_be_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Edges from bytes; `None` if they aren't any.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (any, mut rest) = bytes.split_first()?;
        let mut edges = Edges {
            any: *any != 0,
            ..Edges::default()
        };
        for level in &mut edges.levels {
            let (there, after) = rest.split_first()?;
            rest = after;
            *level = match there {
                0 => None,
                _ => Some(Level {
                    old: list(&mut rest)?,
                    new: list(&mut rest)?,
                }),
            };
        }
        rest.is_empty().then_some(edges)
    }
}

/// More rows expire than can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Bytes of an expiry on disk.
const RECORD: usize = 20;

fn list(rest: &mut &[u8]) -> Option<Vec<Edge>> {
    let (count, after) = rest.split_first_chunk::<8>()?;
    let size = usize::try_from(u64::from_be_bytes(*count)).ok()?;
    let (records, after) = after.split_at_checked(size.checked_mul(RECORD)?)?;
    *rest = after;
    let record = |record: &[u8]| {
        let (key, rest) = record.split_first_chunk::<8>()?;
        let (bucket, rest) = rest.split_first_chunk::<4>()?;
        Some(Edge {
            key: u64::from_be_bytes(*key),
            bucket: u32::from_be_bytes(*bucket),
            expires: i64::from_be_bytes(rest.try_into().ok()?),
        })
    };
    records.chunks_exact(RECORD).map(record).collect()
}

/// The rows that both stores have at an edge.
fn pairs(level: &Level) -> impl Iterator<Item = (&Edge, &Edge)> {
    let mut new = level.new.iter().peekable();
    level.old.iter().filter_map(move |old| {
        while new.next_if(|new| new.row() < old.row()).is_some() {}
        let new = new.next_if(|new| new.row() == old.row())?;
        Some((old, new))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fingerprint(key: u64, expires: i64) -> Fingerprint {
        Fingerprint {
            bucket: (key % 7) as u32,
            key: u128::from(key) << 64,
            row: 1,
            expires: Some(expires),
        }
    }

    /// What is left of the sums of all rows of both stores, for each width that counts.
    fn left(edges: &mut Edges, rows: &[(u64, i64, i64)]) -> [bool; LEVELS] {
        let mut sums = Cells::default();
        for (key, old, new) in rows {
            let fingerprints = [fingerprint(*key, *old), fingerprint(*key, *new)];
            for (side, fingerprint) in [Side::Old, Side::New].into_iter().zip(fingerprints) {
                if let Some(edge) = Edge::of(&fingerprint) {
                    edges.add(side, edge);
                }
            }
            add(&mut sums, &cells_of(*key, *old));
            add(&mut sums, &negative(&cells_of(*key, *new)));
        }
        edges.sort();
        for (_, cells) in edges.honest() {
            add(&mut sums, &negative(&cells));
        }
        let counting = edges.counting();
        std::array::from_fn(|at| counting[at] && sums[at] != 0)
    }

    proptest! {
        #[test]
        fn what_clocks_may_be_apart_never_shows_and_a_width_always_does(
            rows in prop::collection::btree_map(any::<u64>(), (0_i64..1 << 40, -CLOCK_BOUND..=CLOCK_BOUND), 1..300),
            wrong: prop::sample::Index, beyond in 0_i64..1 << 30, early: bool, level in 0..LEVELS,
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(key, (old, apart))| (key, old, old + apart)).collect();
            let mut edges = Edges::default();
            prop_assert_eq!(left(&mut edges, &rows), [false; LEVELS]);
            let mut bytes = Vec::new();
            prop_assert!(edges.write(&mut bytes).is_ok());
            prop_assert_eq!(bytes.len(), edges.size());
            prop_assert_eq!(Edges::from_bytes(&bytes), Some(edges));
            let mut planted = rows.clone();
            let at = wrong.index(rows.len());
            let off = (1 << WIDTHS[level]) + beyond;
            planted[at].2 = planted[at].1 + if early { -off } else { off };
            let shown = left(&mut Edges::default(), &planted);
            prop_assert!(shown[..=level].iter().all(|shown| *shown), "{:?}", shown);
        }

        #[test]
        fn a_row_that_is_read_again_is_taken_out_as_it_was_put_in(
            rows in prop::collection::btree_map(any::<u64>(), (0_i64..1 << 40, -CLOCK_BOUND..=CLOCK_BOUND), 1..300),
        ) {
            let mut edges = Edges::default();
            for (key, (first, _)) in &rows {
                if let Some(edge) = Edge::of(&fingerprint(*key, *first)) {
                    edges.add(Side::Old, edge);
                }
            }
            edges.sort();
            for (key, (first, apart)) in &rows {
                prop_assert_eq!(edges.cells_again(&fingerprint(*key, first + apart)), cells_of(*key, *first));
            }
        }
    }

    #[test]
    fn where_the_narrow_cells_take_too_much_the_wider_ones_count() {
        let rows: Vec<_> = (0..20_000_u64)
            .map(|n| {
                (
                    n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                    1_700_000_000 + n as i64,
                    1_700_000_003 + n as i64,
                )
            })
            .collect();
        let mut edges = Edges::at_most(1_000);
        edges.expires();
        assert_eq!(left(&mut edges, &rows), [false; LEVELS]);
        assert_eq!(edges.counting(), [false, true, true]);
        assert_eq!(edges.bound(), Ok(Some(8_192)));
        let mut planted = rows.clone();
        planted[77].2 += 43_200;
        let mut again = Edges::at_most(1_000);
        assert!(left(&mut again, &planted)[1]);
        // Not even the widest: then nothing may be called the same.
        let mut none = Edges::at_most(0);
        none.expires();
        left(&mut none, &rows);
        assert_eq!(none.bound(), Err(TooMany));
        assert_eq!(Edges::default().bound(), Ok(None));
    }
}
