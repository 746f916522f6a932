//! The barrier: a phase is left only when everyone is in it.
//!
//! Whether a participant is dead is judged by the one that waits, with its own clock: an
//! item that hasn't changed for its lease and its longest operation belongs to a participant that
//! does nothing any more. Its item is marked on the condition that it
//! still hasn't changed, so that one that does live finds itself lapsed, and joins again.
//!
//! What it has sent may still be under way: in a network that was cut, in a proxy, before the service.
//! So it is marked as gone at first, and its item stays until surely nothing of it can land any more
//! ([`Participant::longest_landing`]). Only steps that fear late calls wait for that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Control, Participant};
use crate::clock::Clock;
use crate::error::Result;
use crate::protocol::Phase;

/// Whom the operator vouches to be gone. Only those that don't stop by themselves need it.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    /// These.
    pub ids: Vec<String>,
    /// Participants that have been silent for so long, and longer than one that lives may be.
    pub silent: Option<Duration>,
}

/// What becomes of calls that may still land, of a participant that doesn't wait for them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// They do no harm.
    Let,
    /// They are waited for.
    Waited,
}

/// A participant that the barrier waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Its id.
    pub id: String,
    /// What it says of itself.
    pub participant: Participant,
    /// How long it has been silent, as seen from here.
    pub silent: Duration,
}

/// Watches the participants of one target.
#[derive(Debug, Default)]
pub struct Watch {
    clock: Clock,
    /// The version of each item, and since when it is that one.
    seen: BTreeMap<String, (i64, Duration)>,
}

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(clock: Clock) -> Self {
        Watch {
            clock,
            seen: BTreeMap::new(),
        }
    }

    /// One look: takes away the dead, and tells who hasn't acknowledged the phase yet. Before a step
    /// that fears late calls, tells too of whom something may still land.
    ///
    /// # Errors
    /// The store's.
    pub async fn look(
        &mut self,
        control: &Control,
        target: &str,
        phase: Phase,
        next: Option<Phase>,
        gone: &Gone,
    ) -> Result<Vec<Awaited>> {
        let late = match next.is_some_and(|next| phase.fears_late_calls(next)) {
            true => Late::Waited,
            false => Late::Let,
        };
        // A tool that works in `offline` may be dead though it has acknowledged that, and no other participant is there.
        let there = |participant: &Participant| {
            participant.phase == Some(phase) && (late == Late::Let || phase != Phase::Offline)
        };
        self.judge(control, target, there, late, gone).await
    }

    /// One look for the one that wants no participant to be there: takes away the dead, and tells who is left.
    ///
    /// # Errors
    /// The store's.
    pub async fn remaining(
        &mut self,
        control: &Control,
        target: &str,
        late: Late,
    ) -> Result<Vec<Awaited>> {
        self.judge(control, target, |_| false, late, &Gone::default())
            .await
    }

    /// One look for the one that knows that no participant can renew a lease any more, since there is no record: takes away who
    /// has been silent for longer than one that lives can be, and tells who is left.
    ///
    /// # Errors
    /// The store's.
    pub async fn outlived(&mut self, control: &Control, target: &str) -> Result<Vec<Awaited>> {
        let gone = Gone {
            ids: Vec::new(),
            silent: Some(Duration::ZERO),
        };
        self.judge(control, target, |_| false, Late::Let, &gone)
            .await
    }

    async fn judge(
        &mut self,
        control: &Control,
        target: &str,
        is_fine: impl Fn(&Participant) -> bool,
        late: Late,
        gone: &Gone,
    ) -> Result<Vec<Awaited>> {
        let participants = control.present_and_gone(target).await?;
        // Read after the answer has come, so that no participant is thought silent for longer than it was.
        let now = self.clock.now();
        let there: Vec<&String> = participants.iter().map(|(id, ..)| id).collect();
        self.seen.retain(|id, _| there.contains(&id));
        let mut waiting = Vec::new();
        for (id, mut participant, mut version) in participants {
            let seen = self.seen.entry(id.clone()).or_insert((version, now));
            if seen.0 != version {
                *seen = (version, now);
            }
            let silent = now.saturating_sub(seen.1);
            let is_settled = is_fine(&participant) && (late == Late::Let || !participant.late);
            // Also of one that has followed: it may have died before what it left under way had landed.
            let is_dead =
                !participant.gone && !is_settled && is_gone(&id, &participant, silent, gone);
            if is_dead && control.retire(target, &id, &participant, version).await? {
                version += 1;
                participant.gone = true;
                // The word that it is gone is this watch's own: it is silent for as long as before.
                seen.0 = version;
            }
            if participant.gone {
                if silent >= participant.longest_landing() {
                    control.remove(target, &id, version).await?;
                    continue;
                }
                if late == Late::Let {
                    continue;
                }
            } else if is_settled {
                continue;
            }
            waiting.push(Awaited {
                id,
                participant,
                silent,
            });
        }
        Ok(waiting)
    }
}

fn is_gone(id: &String, participant: &Participant, silent: Duration, gone: &Gone) -> bool {
    let operation = Duration::from_secs(participant.operation_seconds);
    let longest = participant.longest_silence();
    if participant.is_leased() {
        return silent >= longest;
    }
    // Also of one that is vouched for, no call may land late.
    let silent_for = gone.silent.map(|after| after.max(longest));
    let vouched = gone.ids.contains(id) || silent_for.is_some_and(|after| silent >= after);
    vouched && silent >= operation
}
