//! Both stores' rows summed up, so that a table of any size is compared in the same memory.
//!
//! A bucket is a range of the partition key's tokens. For each bucket there is, of all its rows, what
//! the old store's digests come to less the new store's, the same of their [`expiries`](super::expiries), and
//! how many there were. Sums don't care for the order in which rows come, so both stores are read in the order
//! that suits them.

use std::io::{self, Write};

use super::canonical::Fingerprint;
use super::expiries::{self, Cells, Edge, Edges, LEVELS, TooMany};
use super::grid::{BUCKETS, Side, short};

/// Some rows of one store and one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    digests: u128,
    cells: Cells,
    rows: u32,
}

impl Sum {
    /// One row.
    pub fn of(fingerprint: &Fingerprint) -> Self {
        Sum {
            digests: fingerprint.row,
            cells: match fingerprint.expires {
                Some(expires) => expiries::cells_of(short(fingerprint.key), expires),
                None => Cells::default(),
            },
            rows: 1,
        }
    }

    pub fn add(&mut self, other: &Sum) {
        self.digests = self.digests.wrapping_add(other.digests);
        expiries::add(&mut self.cells, &other.cells);
        self.rows = self.rows.wrapping_add(other.rows);
    }

    fn negative(&self) -> Self {
        Sum {
            digests: self.digests.wrapping_neg(),
            cells: expiries::negative(&self.cells),
            rows: self.rows.wrapping_neg(),
        }
    }
}

/// Rows of one store that are added at once.
#[derive(Debug, Default)]
pub(super) struct BucketBatch {
    /// By bucket; one bucket's may come in several pieces.
    sums: Vec<(u32, Sum)>,
    edges: Vec<Edge>,
    expires: bool,
}

impl BucketBatch {
    pub fn add(&mut self, fingerprint: &Fingerprint) {
        self.expires |= fingerprint.expires.is_some();
        self.edges.extend(Edge::of(fingerprint));
        self.add_sum(fingerprint.bucket, Sum::of(fingerprint));
    }

    fn add_sum(&mut self, bucket: u32, sum: Sum) {
        match self.sums.last_mut() {
            Some((last, sums)) if *last == bucket => sums.add(&sum),
            Some(_) | None => self.sums.push((bucket, sum)),
        }
    }

    pub fn absorb(&mut self, other: BucketBatch) {
        for (bucket, sum) in other.sums {
            self.add_sum(bucket, sum);
        }
        self.edges.extend(other.edges);
        self.expires |= other.expires;
    }
}

/// A bucket: what the old store's sums come to less the new store's, and how many rows each has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    digests: u128,
    cells: Cells,
    old_rows: u32,
    new_rows: u32,
}

impl Bucket {
    /// Whether the stores differ here, by what counts of the cells.
    fn is_open(&self, counting: &[bool; LEVELS]) -> bool {
        let mut cells = self.cells.iter().zip(counting);
        self.digests != 0
            || self.old_rows != self.new_rows
            || cells.any(|(sum, counts)| *counts && *sum != 0)
    }
}

/// A bucket in which the stores differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct DifferingBucket {
    pub bucket: u32,
    /// How many rows the fuller side has.
    pub rows: u64,
    /// How many rows differ at least.
    pub least: u64,
}

/// Buckets that are made together, the first time one of them is needed.
const CHUNK: usize = 64;

/// All buckets: 48 bytes each, of those that have ever had a row and of their neighbours.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    chunks: Vec<Option<Box<[Bucket; CHUNK]>>>,
    edges: Edges,
}

impl Default for Buckets {
    fn default() -> Self {
        Buckets {
            chunks: vec![None; BUCKETS as usize / CHUNK],
            edges: Edges::default(),
        }
    }
}

/// Bytes of a bucket on disk.
const RECORD: usize = 52;

impl Buckets {
    /// Adds some rows of one store.
    pub fn add(&mut self, side: Side, batch: &BucketBatch) {
        for (bucket, sum) in &batch.sums {
            self.add_sum(side, *bucket, sum);
        }
        for edge in &batch.edges {
            self.edges.add(side, *edge);
        }
        if batch.expires {
            self.edges.expires();
        }
    }

    /// Adds one row.
    pub fn add_one(&mut self, side: Side, fingerprint: &Fingerprint) {
        let mut batch = BucketBatch::default();
        batch.add(fingerprint);
        self.add(side, &batch);
    }

    fn add_sum(&mut self, side: Side, bucket: u32, sum: &Sum) {
        let bucket = self.bucket(bucket as usize);
        let rows = match side {
            Side::Old => &mut bucket.old_rows,
            Side::New => &mut bucket.new_rows,
        };
        *rows = rows.wrapping_add(sum.rows);
        let sum = match side {
            Side::Old => *sum,
            Side::New => sum.negative(),
        };
        bucket.digests = bucket.digests.wrapping_add(sum.digests);
        expiries::add(&mut bucket.cells, &sum.cells);
    }

    fn bucket(&mut self, at: usize) -> &mut Bucket {
        let at = at % BUCKETS as usize;
        let chunk =
            self.chunks[at / CHUNK].get_or_insert_with(|| Box::new([Bucket::default(); CHUNK]));
        &mut chunk[at % CHUNK]
    }

    /// All rows of both stores are in; from here on rows are only taken out, and the buckets looked at.
    pub fn is_full(&mut self) {
        self.edges.sort();
    }

    /// Takes a row of the old store out again, which is read for the second time now.
    pub fn take_out(&mut self, fingerprint: &Fingerprint) {
        let sum = Sum {
            cells: self.edges.cells_again(fingerprint),
            ..Sum::of(fingerprint)
        };
        self.add_sum(Side::Old, fingerprint.bucket, &sum.negative());
    }

    /// Closes the buckets that are open for no other reason than what clocks may be apart.
    pub fn forgive(&mut self) {
        let edges = std::mem::take(&mut self.edges);
        for (bucket, cells) in edges.honest() {
            expiries::add(
                &mut self.bucket(bucket as usize).cells,
                &expiries::negative(&cells),
            );
        }
        self.edges = edges;
    }

    /// See [`Edges::bound`].
    pub fn bound(&self) -> Result<Option<u64>, TooMany> {
        self.edges.bound()
    }

    fn all(&self) -> impl Iterator<Item = (u32, &Bucket)> + '_ {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(|(at, chunk)| {
            let buckets = chunk.iter().flat_map(|chunk| chunk.iter()).enumerate();
            buckets.map(move |(within, bucket)| ((at * CHUNK + within) as u32, bucket))
        })
    }

    /// The buckets in which the stores differ.
    pub fn open(&self) -> impl Iterator<Item = DifferingBucket> + '_ {
        let counting = self.edges.counting();
        let open = self
            .all()
            .filter(move |(_, bucket)| bucket.is_open(&counting));
        open.map(|(at, bucket)| DifferingBucket {
            bucket: at,
            rows: bucket.old_rows.max(bucket.new_rows).into(),
            least: bucket.old_rows.abs_diff(bucket.new_rows).max(1).into(),
        })
    }

    fn filled(&self) -> impl Iterator<Item = (u32, &Bucket)> + '_ {
        self.all()
            .filter(|(_, bucket)| **bucket != Bucket::default())
    }

    /// How many bytes [`Buckets::write`] writes.
    pub fn size(&self) -> usize {
        8 + self.edges.size() + self.filled().count() * RECORD
    }

    /// Writes those that aren't empty.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.edges.size() as u64).to_be_bytes())?;
        self.edges.write(out)?;
        for (at, bucket) in self.filled() {
            out.write_all(&at.to_be_bytes())?;
            out.write_all(&bucket.digests.to_be_bytes())?;
            for cell in bucket.cells {
                out.write_all(&cell.to_be_bytes())?;
            }
            for count in [bucket.old_rows, bucket.new_rows] {
                out.write_all(&count.to_be_bytes())?;
            }
        }
        Ok(())
    }

    /// Buckets from bytes; `None` if they aren't any.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        let size = usize::try_from(u64::from_be_bytes(*size)).ok()?;
        let (edges, records) = rest.split_at_checked(size)?;
        let mut buckets = Buckets {
            edges: Edges::from_bytes(edges)?,
            ..Buckets::default()
        };
        let records = records.chunks_exact(RECORD);
        if !records.remainder().is_empty() {
            return None;
        }
        for record in records {
            let (at, rest) = record.split_first_chunk::<4>()?;
            let (digests, mut rest) = rest.split_first_chunk::<16>()?;
            let mut cells = Cells::default();
            for cell in &mut cells {
                let (sum, after) = rest.split_first_chunk::<8>()?;
                *cell = u64::from_be_bytes(*sum);
                rest = after;
            }
            let (old_rows, new_rows) = rest.split_first_chunk::<4>()?;
            *buckets.bucket(u32::from_be_bytes(*at) as usize) = Bucket {
                digests: u128::from_be_bytes(*digests),
                cells,
                old_rows: u32::from_be_bytes(*old_rows),
                new_rows: u32::from_be_bytes(new_rows.try_into().ok()?),
            };
        }
        Some(buckets)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::expiries::CLOCK_BOUND;
    use super::super::grid::{bucket_of, tokens_of};
    use super::*;
    use crate::model::Tokens;

    #[test]
    fn buckets_are_ranges_of_tokens_that_cover_the_ring() {
        assert_eq!(tokens_of(0, BUCKETS - 1), Tokens::ALL);
        assert_eq!(bucket_of(i64::MIN + 1), 0);
        assert_eq!(bucket_of(i64::MAX), BUCKETS - 1);
        for bucket in [0, 1, BUCKETS / 2 - 1, BUCKETS / 2, BUCKETS - 2, BUCKETS - 1] {
            let tokens = tokens_of(bucket, bucket);
            assert_eq!(bucket_of(tokens.after + 1), bucket);
            assert_eq!(bucket_of(tokens.up_to), bucket);
            if bucket > 0 {
                assert_eq!(tokens.after, tokens_of(bucket - 1, bucket - 1).up_to);
            }
        }
    }

    fn written(buckets: &Buckets) -> Vec<u8> {
        let mut bytes = Vec::new();
        buckets.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), buckets.size());
        bytes
    }

    fn opened(buckets: &Buckets) -> Vec<u32> {
        buckets.open().map(|opened| opened.bucket).collect()
    }

    proptest! {
        #[test]
        fn the_same_rows_in_any_order_close_every_bucket_and_one_change_opens_its_own(
            rows in prop::collection::vec((0_u32..64, any::<(u128, u128)>(), prop::option::of(0_i64..1 << 40)), 1..60),
            turned: bool, changed: prop::sample::Index, what in 0..5,
        ) {
            let mut buckets = Buckets::default();
            let changed = changed.index(rows.len());
            let fingerprints = rows.iter().map(|&(bucket, (key, row), expires)| Fingerprint { bucket, key, row, expires });
            let fingerprints: Vec<Fingerprint> = fingerprints.collect();
            fingerprints.iter().for_each(|row| buckets.add_one(Side::Old, row));
            let mut theirs: Vec<_> = fingerprints.iter().copied().enumerate().collect();
            if turned {
                theirs.reverse();
            }
            let expires = fingerprints[changed].expires.is_some();
            for (at, mut row) in theirs {
                match what {
                    1 if at == changed => row.row ^= 1,
                    2 if at == changed => continue,
                    3 if at == changed => row.expires = row.expires.map(|at| at + 64),
                    4 => row.expires = row.expires.map(|at| at + CLOCK_BOUND),
                    _ => {}
                }
                buckets.add_one(Side::New, &row);
            }
            let back = Buckets::from_bytes(&written(&buckets));
            prop_assert!(back.is_some());
            let mut back = back.unwrap_or_default();
            prop_assert_eq!(written(&back), written(&buckets));
            if what == 2 {
                let mut again = back.clone();
                again.is_full();
                let mut row = fingerprints[changed];
                row.expires = row.expires.map(|at| at + CLOCK_BOUND);
                again.take_out(&row);
                again.forgive();
                prop_assert_eq!(opened(&again), Vec::<u32>::new());
            }
            for buckets in [&mut buckets, &mut back] {
                buckets.is_full();
                buckets.forgive();
            }
            let differs = matches!(what, 1 | 2) || (what == 3 && expires);
            prop_assert_eq!(opened(&buckets), if differs { vec![fingerprints[changed].bucket] } else { vec![] });
            prop_assert_eq!(opened(&back), opened(&buckets));
        }
    }
}
