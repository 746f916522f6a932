//! Both stores, as far as one counter row goes. Every call is atomic.

use crossfade::model::Move;
use crossfade::protocol::Phase;
use crossfade::protocol::counter::{AddPlace, CounterCall, CounterItem, CounterReply, Totals};

/// The row in both stores, and what is on its way to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stores {
    pub old: Option<Totals>,
    pub new: Option<CounterItem>,
    /// Writes that nothing waits for any more: each lands some time, or never.
    pub late: Vec<Late>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Late {
    pub write: Write,
    /// The phase of the operation it belongs to.
    pub phase: Phase,
    /// Which of the applications' adds it is.
    pub add: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    Whole(CounterCall),
    /// Half of a fold, for a mutant that makes two writes of one.
    Watermarks(Vec<Option<Move>>),
}

impl Stores {
    /// What a call does, and its reply.
    pub fn call(&mut self, call: &CounterCall) -> CounterReply {
        match call {
            CounterCall::ReadNew => CounterReply::New(self.new.clone()),
            CounterCall::ReadOld => CounterReply::Old(self.old.clone()),
            CounterCall::Insert(_) if self.new.is_some() => CounterReply::Refused,
            CounterCall::Insert(totals) => {
                self.new = Some(CounterItem {
                    totals: totals.clone(),
                    watermarks: totals.clone(),
                });
                CounterReply::Written
            }
            CounterCall::Fold(moves) if !self.expected(moves) => CounterReply::Refused,
            CounterCall::Fold(moves) => {
                self.add_moves(moves);
                self.set_watermarks(moves);
                CounterReply::Written
            }
            CounterCall::AddAndTell { to, by } => {
                let (to, by) = (*to, by.clone());
                self.call(&CounterCall::Add { to, by });
                CounterReply::New(self.new.clone())
            }
            CounterCall::Add { to, by } => {
                let totals = match to {
                    AddPlace::Old => self.old.get_or_insert_with(|| vec![None; by.len()]),
                    AddPlace::New | AddPlace::NewUnmarked => &mut self.item(by.len()).totals,
                };
                for (total, by) in totals.iter_mut().zip(by) {
                    if let Some(by) = by {
                        *total = Some(total.unwrap_or(0) + by);
                    }
                }
                CounterReply::Written
            }
        }
    }

    /// Whether the watermarks are those from which the moves begin.
    pub fn expected(&self, moves: &[Option<Move>]) -> bool {
        let watermark = |column: usize| self.new.as_ref().and_then(|item| item.watermarks[column]);
        moves
            .iter()
            .enumerate()
            .all(|(column, moved)| moved.is_none_or(|moved| moved.from == watermark(column)))
    }

    /// The first half of a fold.
    pub fn add_moves(&mut self, moves: &[Option<Move>]) {
        let totals = &mut self.item(moves.len()).totals;
        for (total, moved) in totals.iter_mut().zip(moves) {
            if let Some(moved) = moved {
                let sum = i128::from(total.unwrap_or(0)) + moved.by();
                *total = Some(i64::try_from(sum).expect("small numbers"));
            }
        }
    }

    /// The second half of a fold.
    pub fn set_watermarks(&mut self, moves: &[Option<Move>]) {
        let watermarks = &mut self.item(moves.len()).watermarks;
        for (watermark, moved) in watermarks.iter_mut().zip(moves) {
            if let Some(moved) = moved {
                *watermark = Some(moved.to);
            }
        }
    }

    /// The new store's item, made if there is none.
    fn item(&mut self, columns: usize) -> &mut CounterItem {
        self.new.get_or_insert_with(|| CounterItem {
            totals: vec![None; columns],
            watermarks: vec![None; columns],
        })
    }
}
