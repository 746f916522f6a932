//! What rows are laid over to be compared: whose they are, and which bucket they fall in.

use crate::model::Tokens;

/// Buckets are ranges of 2^44 tokens.
const BITS: u32 = 20;
/// How many there are.
pub(super) const BUCKETS: u32 = 1 << BITS;

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

/// The beginning of a digest.
pub(super) fn short(digest: u128) -> u64 {
    (digest >> 64) as u64
}
