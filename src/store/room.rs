//! How many bytes of rows a process holds at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Room for the pages of all that a process reads as a tool, in bytes of rows ([`crate::model::Row::weight`]).
///
/// A page takes its room before it is asked for, by what its rows may weigh, and holds what they do weigh
/// until it is dropped ([`super::Page::room`]). More than was taken is never waited for: two readers that
/// hold half of the room each would wait for each other for ever. So a page whose rows are larger than any
/// before them overdraws the room, and those that come after it wait.
///
/// The holder of a page must not need another one to be done with it.
pub struct Room {
    total: usize,
    /// Below 0 it is overdrawn.
    free: Mutex<i64>,
    /// Only the one whose turn it is waits for it.
    freed: Notify,
    turn: tokio::sync::Mutex<()>,
}

/// A page takes no more than this part of the room, so that no reader waits for one other.
const SHARE: usize = 4;

impl Room {
    /// What the tools of one process take.
    pub const BYTES: usize = 24 << 20;

    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let total = bytes.max(1);
        Room {
            total,
            free: Mutex::new(signed(total)),
            freed: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Takes room for a page of `rows` rows that weigh up to `each`, and no more than `most` together: for as
    /// many of them as there is room for, and one at least. Gives how many that are.
    ///
    /// Each in turn, so that no large page waits for ever.
    pub async fn take(self: &Arc<Self>, rows: usize, each: usize, most: usize) -> (usize, Held) {
        let each = each.clamp(1, self.total);
        let one = each.min(most.max(1));
        let wanted = rows.max(1).saturating_mul(each).min(most.max(1));
        let share = (self.total / SHARE).max(one);
        let wanted = wanted.min(share);
        // A page of a few rows costs its reader as much time as one of many.
        let least = wanted.min((share / SHARE).max(one));
        let _turn = self.turn.lock().await;
        let taken = loop {
            {
                let mut free = self.free();
                if *free >= signed(least) {
                    let taken = signed(wanted).min(*free);
                    *free -= taken;
                    break usize::try_from(taken).unwrap_or(least);
                }
            }
            self.freed.notified().await;
        };
        let held = Held {
            room: self.clone(),
            bytes: taken,
        };
        match taken >= most {
            true => (rows.max(1), held),
            false => (rows.min(taken / each).max(1), held),
        }
    }

    /// Bytes that are held, or were taken for pages that aren't there yet.
    pub fn held(&self) -> usize {
        usize::try_from(signed(self.total) - *self.free()).unwrap_or(0)
    }

    fn give_back(&self, bytes: i64) {
        *self.free() += bytes;
        self.freed.notify_one();
    }

    fn free(&self) -> MutexGuard<'_, i64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Room {
    fn default() -> Self {
        Room::new(Room::BYTES)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({} of {} bytes)", self.held(), self.total)
    }
}

/// The room of one page, given back when it is dropped.
pub struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Held {
    /// The page is there, and weighs this.
    pub fn settle(&mut self, bytes: usize) {
        self.room.give_back(signed(self.bytes) - signed(bytes));
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.give_back(signed(self.bytes));
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} bytes)", self.bytes)
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_page_is_as_large_as_there_is_room_for() {
        let room = Arc::new(Room::new(1_600));
        let (rows, first) = room.take(1_000, 1, usize::MAX).await;
        assert_eq!(rows, 400, "a quarter");
        let (rows, second) = room.take(1_000, 100, usize::MAX).await;
        assert_eq!(rows, 4);
        let (rows, third) = room.take(3, 100, usize::MAX).await;
        assert_eq!((rows, room.held()), (3, 1_100));
        let (rows, mut fourth) = room.take(1_000, 1, 200).await;
        assert_eq!((rows, room.held()), (1_000, 1_300), "a store's own limit");
        let (rows, fifth) = room.take(1_000, 1, usize::MAX).await;
        assert_eq!(rows, 300, "what there is");
        fourth.settle(50);
        let (rows, sixth) = room.take(1_000, 1, usize::MAX).await;
        assert_eq!(rows, 150);
        drop((first, second, third, fourth, fifth, sixth));
        assert_eq!(room.held(), 0);
        let (rows, _held) = room.take(10, 1_000_000, usize::MAX).await;
        assert_eq!((rows, room.held()), (1, 1_600), "larger than the room");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_overdrawn_is_waited_for_by_those_who_come_after_in_turn() {
        let room = Arc::new(Room::new(100));
        let (_, mut held) = room.take(1, 10, usize::MAX).await;
        let (_, mut other) = room.take(1, 10, usize::MAX).await;
        // Neither waits for the other.
        held.settle(500);
        other.settle(500);
        assert_eq!(room.held(), 1_000);
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let room = room.clone();
            let wait = async move { room.take(1, 25, usize::MAX).await.1 };
            waiting.push(tokio::spawn(wait));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(waiting.iter().all(|wait| !wait.is_finished()));
        // One that gives up takes nothing, and holds up nothing.
        waiting.remove(0).abort();
        drop(other);
        for wait in waiting {
            assert_eq!(wait.await.map(|held| held.bytes).ok(), Some(25));
        }
        assert_eq!(room.held(), 0);
    }
}
