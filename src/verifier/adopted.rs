//! Items that were in the target when `init --adopt` took it over. They have no mark, and are known by a digest.
//!
//! A row is known by its key and all it holds: changed without the shim, it is a stranger again. A counter
//! is known by its key alone: what it counts may go on, and a fold marks it as copied. What is apart from its
//! watermark then was in it before.
//!
//! Digests are kept in the control table, so that their form stays.

use std::sync::Arc;

use twox_hash::XxHash3_128;

use super::canonical::Fingerprinter;
use crate::model::{Mark, Row};
use crate::schema::Table;

const SEED: u64 = 0x6164_6f70_7465_6431;

/// The digests of adopted items.
#[derive(Clone, Debug, Default)]
pub struct Adopted(Arc<[u64]>);

impl Adopted {
    /// These digests.
    pub fn of(mut digests: Vec<u64>) -> Self {
        digests.sort_unstable();
        Adopted(digests.into())
    }

    /// Whether this is the digest of an adopted item.
    pub fn has(&self, digest: u64) -> bool {
        self.0.binary_search(&digest).is_ok()
    }

    /// Whether an item is one of them, as it was then; a counter, whatever it counts by now, unless an
    /// application has added to it.
    pub(crate) fn has_item(&self, table: &Table, item: &Row) -> bool {
        let may_be = match item.mark {
            None => true,
            Some(Mark::Copied) => table.is_counter(),
            Some(Mark::Resaved | Mark::Application | Mark::Tombstone | Mark::Partial) => false,
        };
        may_be && !self.0.is_empty() && self.has(digest(table, item))
    }
}

/// What an item is known by.
pub(crate) fn digest(table: &Table, item: &Row) -> u64 {
    let mut fingerprinter = Fingerprinter::new(table, SEED);
    if table.is_counter() {
        return short(fingerprinter.key(&item.key).1);
    }
    let mut text = fingerprinter.fingerprint(item).row.to_be_bytes().to_vec();
    let expires = item.expires.map(i64::to_be_bytes);
    text.extend(expires.iter().flatten());
    short(XxHash3_128::oneshot_with_seed(SEED, &text))
}

fn short(digest: u128) -> u64 {
    (digest >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Value};
    use crate::schema::{Column, Order, Role, Type};

    fn table(ty: Type) -> Table {
        let columns = vec![
            Column::new("p", Type::Text, Role::Partition),
            Column::new("c", Type::Int, Role::Clustering(Order::Asc)),
            Column::new("v", ty, Role::Regular),
        ];
        Table::new("t", columns)
    }

    fn item(p: &str, value: Value) -> Row {
        let key = Key::row(vec![Value::text(p)], vec![Value::Int(7)]);
        Row::new(key, vec![Some(value)])
    }

    #[test]
    fn a_row_is_known_by_all_it_holds_and_a_counter_by_its_key() {
        let rows = table(Type::Text);
        let one = item("a", Value::text("x"));
        let mut expiring = one.clone();
        expiring.expires = Some(1_700_000_000);
        let mut later = one.clone();
        later.expires = Some(1_700_000_001);
        let others = [
            item("b", Value::text("x")),
            item("a", Value::text("y")),
            expiring,
            later,
        ];
        let mut digests: Vec<u64> = others.iter().map(|item| digest(&rows, item)).collect();
        digests.push(digest(&rows, &one));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 5);

        let counters = table(Type::Counter);
        let count = |p: &str, total| digest(&counters, &item(p, Value::BigInt(total)));
        assert_eq!(count("a", 1), count("a", 2));
        assert_ne!(count("a", 1), count("b", 1));
    }

    #[test]
    fn only_what_no_shim_and_no_copier_has_written_is_as_it_was() {
        let marked = |mark| Row {
            mark,
            ..item("a", Value::text("x"))
        };
        for (ty, also) in [(Type::Text, None), (Type::Counter, Some(Mark::Copied))] {
            let table = table(ty);
            let adopted = Adopted::of(vec![digest(&table, &marked(None))]);
            for mark in [
                None,
                Some(Mark::Copied),
                Some(Mark::Resaved),
                Some(Mark::Application),
                Some(Mark::Tombstone),
                Some(Mark::Partial),
            ] {
                let is_known = mark.is_none() || mark == also;
                assert_eq!(adopted.has_item(&table, &marked(mark)), is_known);
            }
        }
    }

    #[test]
    fn digests_stay_for_ever() {
        let mut row = item("a", Value::text("x"));
        row.expires = Some(1_700_000_000);
        let counter = item("a", Value::BigInt(1));
        let kept = [
            digest(&table(Type::Text), &row),
            digest(&table(Type::Counter), &counter),
        ];
        assert_eq!(
            kept,
            [14_610_199_462_797_812_968, 9_676_258_565_190_454_929],
            "lists in control tables hold them"
        );
    }
}
