//! What is in a target, by who wrote it.

use crate::model::{Mark, Row};
use crate::protocol::counter;

/// What is in a target, by who wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Items that a copy or fold wrote.
    pub copied: u64,
    /// Items that applications wrote, saved or deleted; counters that they added to.
    pub applications: u64,
    /// Items without a mark: written in `done`, or by someone else.
    pub unmarked: u64,
}

impl Marks {
    pub(super) fn and(self, other: Marks) -> Marks {
        Marks {
            copied: self.copied + other.copied,
            applications: self.applications + other.applications,
            unmarked: self.unmarked + other.unmarked,
        }
    }

    pub(super) fn of(item: &Row, is_counter: bool) -> Marks {
        // A fold leaves a counter's mark as it is, so what was added shows in its watermark too.
        let is_added_to = is_counter
            && !counter::CounterItem::of(item.clone())
                .is_ok_and(|item| counter::may_return_to_old(Some(&item)));
        let mut marks = Marks::default();
        match item.mark {
            None => marks.unmarked = 1,
            Some(Mark::Copied) if !is_added_to => marks.copied = 1,
            Some(
                Mark::Copied | Mark::Resaved | Mark::Application | Mark::Tombstone | Mark::Partial,
            ) => {
                marks.applications = 1;
            }
        }
        marks
    }

    /// Whatever it is, with a mark it came by the shim or a tool, and without it didn't.
    pub(super) fn of_unreadable(is_marked: bool) -> Marks {
        Marks {
            copied: 0,
            applications: u64::from(is_marked),
            unmarked: u64::from(!is_marked),
        }
    }

    /// Whether a migration that begins at `old` would hide or overwrite what was moved here before. Folded
    /// counters are at home in `old`.
    pub(super) fn is_of_a_migration(self, is_counter: bool) -> bool {
        self.applications > 0 || (!is_counter && self.copied > 0)
    }

    /// In words.
    pub fn told(self) -> String {
        format!(
            "{} items of applications, {} copied, {} without a mark",
            self.applications, self.copied, self.unmarked
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_was_added_to_is_an_application_s() {
        use crate::model::{Key, Value};
        let counter = |mark, total, watermark| {
            let key = Key::row(vec![Value::Int(1)], vec![]);
            let mut row = Row::new(key, vec![Some(Value::BigInt(total))]);
            row.mark = mark;
            row.watermarks = vec![watermark];
            Marks::of(&row, true)
        };
        let folded = counter(Some(Mark::Copied), 5, Some(5));
        assert_eq!((folded.copied, folded.applications), (1, 0));
        let added = counter(Some(Mark::Copied), 6, Some(5));
        assert_eq!((added.copied, added.applications), (0, 1));
        assert_eq!(counter(Some(Mark::Application), 5, Some(5)).applications, 1);
        assert_eq!(counter(None, 5, Some(5)).unmarked, 1);
    }
}
