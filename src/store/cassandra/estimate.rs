//! How large a table is, as far as one node tells.

use super::Cassandra;
use crate::error::Result;
use crate::model::Tokens;
use crate::schema::Table;

/// A table's size, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// Only where each partition is one row: the server counts partitions, not rows.
    pub rows: Option<u64>,
    pub bytes: u64,
}

/// What a node says of one of its own ranges.
struct Share {
    tokens: Tokens,
    partitions: u64,
    mean_bytes: u64,
}

impl Cassandra {
    /// From `system.size_estimates`, which has the ranges of the node that was asked; scaled by how
    /// much of the ring they are. `None` if it says nothing, as before the first flush.
    pub(super) async fn estimate(&self, table: &Table) -> Result<Option<Estimate>> {
        let shares = self
            .rows_of::<(String, String, Option<i64>, Option<i64>)>(
                "SELECT range_start, range_end, partitions_count, mean_partition_size \
                 FROM system.size_estimates WHERE keyspace_name = ? AND table_name = ?",
                (&self.keyspace, &table.name),
            )
            .await?
            .into_iter()
            .filter_map(|(after, up_to, partitions, mean_bytes)| {
                Some(Share {
                    tokens: Tokens {
                        after: after.parse().ok()?,
                        up_to: up_to.parse().ok()?,
                    },
                    partitions: u64::try_from(partitions?).ok()?,
                    mean_bytes: u64::try_from(mean_bytes?).ok()?,
                })
            })
            .collect::<Vec<_>>();
        Ok(scaled(&shares, table.clustering().is_empty()))
    }
}

fn scaled(shares: &[Share], row_per_partition: bool) -> Option<Estimate> {
    // The width of the last range wraps around the ring, and so does its subtraction.
    let told: u128 = shares
        .iter()
        .map(|share| match share.tokens.width() {
            0 => u128::from(u64::MAX),
            width => u128::from(width),
        })
        .sum();
    let partitions: u128 = shares
        .iter()
        .map(|share| u128::from(share.partitions))
        .sum();
    if told == 0 || partitions == 0 {
        return None;
    }
    let bytes: u128 = shares
        .iter()
        .map(|share| u128::from(share.partitions) * u128::from(share.mean_bytes))
        .sum();
    let whole = |part: u128| {
        let ring = part as f64 * (u64::MAX as f64 / told as f64).max(1.0);
        ring as u64
    };
    Some(Estimate {
        rows: row_per_partition.then(|| whole(partitions)),
        bytes: whole(bytes),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn share(after: i64, up_to: i64, partitions: u64) -> Share {
        Share {
            tokens: Tokens { after, up_to },
            partitions,
            mean_bytes: 100,
        }
    }

    #[test]
    fn a_node_with_half_the_ring_has_half_the_rows() {
        let half = scaled(&[share(0, i64::MAX, 500)], true).unwrap();
        assert!((990..=1010).contains(&half.rows.unwrap()), "{half:?}");
        assert!((99_000..=101_000).contains(&half.bytes), "{half:?}");
        let all = [share(i64::MIN, 0, 400), share(0, i64::MAX, 600)];
        assert_eq!(
            scaled(&all, false),
            Some(Estimate {
                rows: None,
                bytes: 100_000
            })
        );
        // One range that wraps around from and to the same token is the whole ring.
        assert_eq!(scaled(&[share(5, 5, 7)], true).unwrap().rows, Some(7));
        assert_eq!(scaled(&[share(0, 9, 0)], true), None);
        assert_eq!(scaled(&[], true), None);
    }
}
