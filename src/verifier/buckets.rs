//! Both stores' rows summed up, so that a table of any size is compared in the same memory.
//!
//! A bucket is a range of the partition key's tokens. For each bucket there is, of all its rows, what
//! the old store's digests come to less the new store's, the same of their expiries, and how many
//! there were. Sums don't care for the order in which rows come, so both stores are read in the order
//! that suits them.

use std::io::{self, Write};

use crate::model::Tokens;

/// Buckets are ranges of 2^44 tokens.
const BITS: u32 = 20;
/// How many there are.
pub(super) const BUCKETS: u32 = 1 << BITS;

/// How far apart the two stores' expiries of one row may be, seconds: each is a clock's reading and a
/// remaining time in whole seconds.
pub(super) const CLOCK_BOUND: i64 = 5;

/// The bucket of a token.
pub(super) fn bucket_of(token: i64) -> u32 {
    (((token as u64) ^ (1 << 63)) >> (64 - BITS)) as u32
}

/// The tokens of the buckets from the first to the last.
pub(super) fn tokens_of(first: u32, last: u32) -> Tokens {
    let edge = |bucket: u32| ((u64::from(bucket) << (64 - BITS)) ^ (1 << 63)) as i64;
    Tokens {
        // No key has the lowest token of all.
        after: edge(first).saturating_sub(1),
        up_to: match last + 1 {
            BUCKETS => i64::MAX,
            next => edge(next) - 1,
        },
    }
}

/// Whose row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    New,
}

/// Some rows of one store and one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub digests: u128,
    pub expiries: i64,
    pub rows: u32,
    pub expiring: u32,
}

impl Sum {
    /// One row.
    pub fn of(row: u128, expires: Option<i64>) -> Self {
        Sum {
            digests: row,
            expiries: expires.unwrap_or(0),
            rows: 1,
            expiring: u32::from(expires.is_some()),
        }
    }

    pub fn add(&mut self, other: &Sum) {
        self.digests = self.digests.wrapping_add(other.digests);
        self.expiries = self.expiries.wrapping_add(other.expiries);
        self.rows = self.rows.wrapping_add(other.rows);
        self.expiring = self.expiring.wrapping_add(other.expiring);
    }
}

/// A bucket: what the old store's sums come to less the new store's, and how many rows each has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    digests: u128,
    expiries: i64,
    old_rows: u32,
    new_rows: u32,
    /// Of both stores.
    expiring: u32,
}

impl Bucket {
    fn is_open(&self) -> bool {
        // Half of them are the old store's.
        let apart = i64::from(self.expiring.div_ceil(2)) * CLOCK_BOUND;
        self.digests != 0
            || self.old_rows != self.new_rows
            || self.expiries.unsigned_abs() > apart.unsigned_abs()
    }
}

/// Buckets that are made together, the first time one of them is needed.
const CHUNK: usize = 64;

/// All buckets: 48 bytes each, of those that have ever had a row and of their neighbours.
#[derive(Clone, Debug)]
pub(super) struct Buckets(Vec<Option<Box<[Bucket; CHUNK]>>>);

impl Default for Buckets {
    fn default() -> Self {
        Buckets(vec![None; BUCKETS as usize / CHUNK])
    }
}

/// Bytes of a bucket on disk.
const RECORD: usize = 40;

impl Buckets {
    /// Adds some rows of one store.
    pub fn add(&mut self, side: Side, bucket: u32, sum: &Sum) {
        let bucket = self.bucket(bucket as usize);
        let (digests, expiries, rows) = match side {
            Side::Old => (sum.digests, sum.expiries, &mut bucket.old_rows),
            Side::New => (
                sum.digests.wrapping_neg(),
                sum.expiries.wrapping_neg(),
                &mut bucket.new_rows,
            ),
        };
        *rows = rows.wrapping_add(sum.rows);
        bucket.digests = bucket.digests.wrapping_add(digests);
        bucket.expiries = bucket.expiries.wrapping_add(expiries);
        bucket.expiring = bucket.expiring.wrapping_add(sum.expiring);
    }

    fn bucket(&mut self, at: usize) -> &mut Bucket {
        let at = at % BUCKETS as usize;
        let chunk = self.0[at / CHUNK].get_or_insert_with(|| Box::new([Bucket::default(); CHUNK]));
        &mut chunk[at % CHUNK]
    }

    /// Takes a row of the old store out again. It was read twice, so that a remaining time in whole seconds may
    /// have come to another expiry: the bucket keeps what it allows for that.
    pub fn take_out(&mut self, bucket: u32, sum: &Sum) {
        let negative = Sum {
            digests: sum.digests.wrapping_neg(),
            expiries: sum.expiries.wrapping_neg(),
            rows: sum.rows.wrapping_neg(),
            expiring: 0,
        };
        self.add(Side::Old, bucket, &negative);
    }

    fn all(&self) -> impl Iterator<Item = (u32, &Bucket)> + '_ {
        let chunks = self.0.iter().enumerate();
        chunks.flat_map(|(at, chunk)| {
            let buckets = chunk.iter().flat_map(|chunk| chunk.iter()).enumerate();
            buckets.map(move |(within, bucket)| ((at * CHUNK + within) as u32, bucket))
        })
    }

    /// The buckets in which the stores differ, and how many rows the fuller side has there.
    pub fn open(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let open = self.all().filter(|(_, bucket)| bucket.is_open());
        open.map(|(at, bucket)| (at, u64::from(bucket.old_rows.max(bucket.new_rows))))
    }

    fn filled(&self) -> impl Iterator<Item = (u32, &Bucket)> + '_ {
        self.all()
            .filter(|(_, bucket)| **bucket != Bucket::default())
    }

    /// How many bytes [`Buckets::write`] writes.
    pub fn size(&self) -> usize {
        self.filled().count() * RECORD
    }

    /// Writes those that aren't empty.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (at, bucket) in self.filled() {
            out.write_all(&at.to_be_bytes())?;
            out.write_all(&bucket.digests.to_be_bytes())?;
            out.write_all(&bucket.expiries.to_be_bytes())?;
            for count in [bucket.old_rows, bucket.new_rows, bucket.expiring] {
                out.write_all(&count.to_be_bytes())?;
            }
        }
        Ok(())
    }

    /// Buckets from bytes; `None` if they aren't any.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut buckets = Buckets::default();
        let records = bytes.chunks_exact(RECORD);
        if !records.remainder().is_empty() {
            return None;
        }
        for record in records {
            let (at, rest) = record.split_first_chunk::<4>()?;
            let (digests, rest) = rest.split_first_chunk::<16>()?;
            let (expiries, rest) = rest.split_first_chunk::<8>()?;
            let (old_rows, rest) = rest.split_first_chunk::<4>()?;
            let (new_rows, rest) = rest.split_first_chunk::<4>()?;
            *buckets.bucket(u32::from_be_bytes(*at) as usize) = Bucket {
                digests: u128::from_be_bytes(*digests),
                expiries: i64::from_be_bytes(*expiries),
                old_rows: u32::from_be_bytes(*old_rows),
                new_rows: u32::from_be_bytes(*new_rows),
                expiring: u32::from_be_bytes(rest.try_into().ok()?),
            };
        }
        Some(buckets)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

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
        buckets.open().map(|(bucket, _)| bucket).collect()
    }

    proptest! {
        #[test]
        fn the_same_rows_in_any_order_close_every_bucket_and_one_change_opens_its_own(
            rows in prop::collection::vec((0_u32..64, any::<u128>(), prop::option::of(0_i64..1 << 40)), 1..60),
            turned: bool, changed: prop::sample::Index, what in 0..5,
        ) {
            let mut buckets = Buckets::default();
            let changed = changed.index(rows.len());
            let sum = |(_, row, expires): &(u32, u128, Option<i64>)| Sum::of(*row, *expires);
            rows.iter().for_each(|row| buckets.add(Side::Old, row.0, &sum(row)));
            let mut theirs: Vec<_> = rows.iter().cloned().enumerate().collect();
            if turned {
                theirs.reverse();
            }
            let expires = rows[changed].2.is_some();
            for (at, mut row) in theirs {
                match what {
                    1 if at == changed => row.1 ^= 1,
                    2 if at == changed => continue,
                    3 if at == changed => row.2 = row.2.map(|at| at + 60 * (CLOCK_BOUND + 1)),
                    4 => row.2 = row.2.map(|at| at + CLOCK_BOUND),
                    _ => {}
                }
                buckets.add(Side::New, row.0, &sum(&row));
            }
            let differs = matches!(what, 1 | 2) || (what == 3 && expires);
            prop_assert_eq!(opened(&buckets), if differs { vec![rows[changed].0] } else { vec![] });
            let back = Buckets::from_bytes(&written(&buckets));
            prop_assert!(back.is_some());
            let back = back.unwrap_or_default();
            prop_assert_eq!(opened(&back), opened(&buckets));
            prop_assert_eq!(written(&back), written(&buckets));
            if what == 2 {
                let (bucket, row, expires) = rows[changed];
                let again = expires.map(|at| at + CLOCK_BOUND);
                buckets.take_out(bucket, &Sum::of(row, again));
                prop_assert_eq!(opened(&buckets), Vec::<u32>::new());
            }
        }
    }
}
