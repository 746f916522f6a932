//! What the items of the control table hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::text::hex;
#[cfg(feature = "copy")]
use crate::codec::{key, text::of_hex};
use crate::model::Intervals;
use crate::model::Tokens;
#[cfg(feature = "copy")]
use crate::model::{Key, Value};
use crate::protocol::Phase;
use crate::schema::StoredTable;
#[cfg(feature = "copy")]
use crate::schema::{Column, Table};

/// A target table's control record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The plan's name.
    pub plan: String,
    /// Where the migration stands.
    #[serde(with = "phase_name")]
    pub phase: Phase,
    /// How often the old table has been frozen so far.
    pub freeze: u64,
    /// What the old store's clock said just before the old table was frozen last, microseconds since
    /// 1970. None where it has no clock, or hasn't been frozen since this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_at: Option<i64>,
    /// Names this incarnation. Where a record is made anew, because an operator deleted it, freezes are
    /// counted from 0 again, and nothing that was noted under the first one may count.
    #[serde(default, rename = "begun")]
    pub incarnation: String,
    /// What never stays the same when the old table is made again.
    pub old_id: String,
    /// The same of the target.
    pub target_id: String,
    /// Fingerprint of source columns, target layout and transforms.
    pub mapping: String,
    /// The old table's schema.
    pub source: StoredTable,
    /// The target's, which reading it takes.
    pub target: StoredTable,
    /// Seconds that a row of the old table lives where its writer didn't say; 0 is for good.
    #[serde(default)]
    pub default_ttl: u32,
    /// `migrate reset` has begun to empty the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emptying: bool,
    /// `migrate finish --strip` has been over the whole target: none of its items has an attribute of the migration's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stripped: bool,
    /// `init --adopt` took a target over that had items already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Which items those are. None where there are none, and where an earlier version took the target over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// Roles whose permission to write to the old table has been taken, or is about to be: noted before
    /// it is taken, and forgotten only after it was given back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fenced: BTreeSet<String>,
    /// When it came to which phase, the oldest first, for people: the last 24 of them. What an earlier version has
    /// moved isn't there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<PhaseMove>,
    /// The target is a scratch table of a rehearsal: nobody's data, and `migrate rehearse drop` may drop it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rehearsal: bool,
    /// What a later version has noted, which an earlier version that changes the record leaves there.
    #[serde(flatten)]
    pub later: BTreeMap<String, serde_json::Value>,
}

/// Moves that a record remembers. Every participant reads it with each renewal, so it stays small.
const MOST_MOVES: usize = 24;

impl Record {
    /// The moves of this record, and one more.
    pub fn moves_and(&self, to: Phase, at: i64) -> Vec<PhaseMove> {
        let mut moves = self.moves.clone();
        moves.push(PhaseMove {
            to: to.name().to_owned(),
            at,
        });
        moves.drain(..moves.len().saturating_sub(MOST_MOVES));
        moves
    }
}

/// That a migration came to a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseMove {
    /// The phase's name: a later version may have more of them.
    pub to: String,
    /// When, seconds since 1970, by the clock of the machine that moved it.
    pub at: i64,
}

/// Which list of adopted items is a target's. The record names it once all of it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// A digest of the whole list: the same items make the same list.
    pub id: String,
    /// How many items it has.
    pub items: u64,
    /// How many control items hold it.
    pub pieces: u64,
}

mod phase_name {
    use super::Phase;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(phase: &Phase, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(phase.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Phase, D::Error> {
        super::named_phase(String::deserialize(from)?)
    }
}

mod maybe_phase_name {
    use super::Phase;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(phase: &Option<Phase>, out: S) -> Result<S::Ok, S::Error> {
        phase.map(Phase::name).serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Phase>, D::Error> {
        let name = Option::<String>::deserialize(from)?;
        name.map(super::named_phase).transpose()
    }
}

fn named_phase<E: serde::de::Error>(name: String) -> Result<Phase, E> {
    Phase::from_name(&name)
        .ok_or_else(|| E::custom(format!("phase `{name}` is unknown to this version")))
}

/// A copier's counts. `written` and `present` are approximate where a reply was lost: a write that
/// was sent again counts as present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows read from the old store.
    pub read: u64,
    /// Rows written to the new store.
    pub written: u64,
    /// Rows that the new store had already.
    pub present: u64,
    /// Rows of which the new store had some columns, and has all now.
    #[serde(default)]
    pub completed: u64,
    /// Rows and ranges that became dead letters.
    pub failed: u64,
    /// Bytes of rows written, as the new store counts them.
    pub bytes: u64,
    /// Write units consumed.
    pub units: f64,
    /// Times the new store asked for less.
    pub throttles: u64,
    /// Seconds it ran.
    pub seconds: f64,
    /// Counter rows that were written, because their old totals had grown.
    #[serde(default)]
    pub folded: u64,
    /// Counter rows whose old totals were in the new store already.
    #[serde(default)]
    pub unchanged: u64,
    /// Counter rows that a settling pass has left with their watermarks at the old totals.
    #[serde(default)]
    pub settled: u64,
    /// Counter rows whose old totals are below what the new store has of them; each is a dead letter.
    #[serde(default)]
    pub went_down: u64,
}

/// What one copier has done of a table, as all others sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The freeze it belongs to; of another one, it counts for nothing.
    pub freeze: u64,
    /// The record's incarnation that it belongs to; of another one, it counts for nothing. The name is in the digest.
    #[serde(default)]
    pub begun: String,
    /// The mapping it belongs to.
    pub mapping: String,
    /// Machine and process, for people.
    pub copier: String,
    /// Grows while it runs.
    pub heartbeat: u64,
    /// When this was noted by its own machine's clock, seconds since 1970: for people. None where an earlier
    /// version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted_at: Option<i64>,
    /// It ended by itself, rather than being killed.
    pub ended: bool,
    /// Done token ranges, `after..up_to`.
    pub done: Vec<String>,
    /// What it has counted.
    pub counts: Counts,
}

/// Most done ranges a progress item holds; beyond it the narrowest are left out, and would be
/// copied again if the journal were lost.
const MOST_RANGES: usize = 4_000;

impl Progress {
    /// Whether it was noted under this record, as it is now.
    pub fn is_of(&self, record: &Record) -> bool {
        self.freeze == record.freeze && self.begun == record.incarnation
    }

    /// A digest of all it tells. No two are the same that something was done between. It is of the debug form, and
    /// kept by verifications: renaming this type or a field of it makes those that were noted before count for nothing.
    pub fn digest(&self) -> String {
        use sha2::Digest;
        let text = format!("{self:?}");
        hex(&sha2::Sha256::digest(text.as_bytes())[..16])
    }

    /// What each of these tells, by its id: what [`Verified::copiers`] is compared with.
    pub fn digests(all: &[(String, Progress)]) -> std::collections::BTreeMap<String, String> {
        let digests = all.iter().map(|(id, one)| (id.clone(), one.digest()));
        digests.collect()
    }

    /// The done ranges as text.
    pub fn ranges(done: &Intervals) -> Vec<String> {
        let mut ranges: Vec<Tokens> = done.iter().collect();
        ranges.sort_by_key(|tokens| std::cmp::Reverse(tokens.width()));
        ranges.truncate(MOST_RANGES);
        ranges
            .iter()
            .map(|tokens| format!("{}..{}", tokens.after, tokens.up_to))
            .collect()
    }

    /// The done ranges again; what can't be read counts as not done.
    pub fn intervals(&self) -> Intervals {
        let tokens = |text: &String| {
            let (after, up_to) = text.split_once("..")?;
            Some(Tokens {
                after: after.parse().ok()?,
                up_to: up_to.parse().ok()?,
            })
        };
        self.done.iter().filter_map(tokens).collect()
    }
}

/// Something that could not be copied: a row, or a range of rows that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The row's key or the range, for people.
    pub what: String,
    /// Why, and what helps.
    pub reason: String,
    /// The freeze in which it was found; of an earlier one, it counts for nothing in a table of rows.
    #[serde(default)]
    pub freeze: u64,
    /// The row's key columns as hex of their CQL bytes; none for a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<StoredKey>,
    /// The tokens that a range lies in, `(after, up_to]`; none for a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(i64, i64)>,
    /// It was sent again, and is none any more. Kept, because journals remember it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mended: bool,
}

impl DeadLetter {
    /// A name for it: the same for the same row or range.
    pub(crate) fn digest(&self) -> String {
        use sha2::Digest;
        let text = format!("{} {:?}", self.what, self.key);
        hex(&sha2::Sha256::digest(text.as_bytes())[..16])
    }
}

/// What a whole verification has found, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// The freeze it belongs to; of another one, it counts for nothing.
    pub freeze: u64,
    /// The record's incarnation that it belongs to.
    #[serde(rename = "begun")]
    pub incarnation: String,
    /// The mapping it belongs to.
    pub mapping: String,
    /// Whether both stores had the same.
    pub clean: bool,
    /// How many differences of any kind there were.
    pub differences: u64,
    /// Rows of the old table.
    pub old_rows: u64,
    /// When it ended by its own clock, seconds since 1970.
    pub ended_at: i64,
    /// When the oldest part of the tables was read that it is about, by its own clock, seconds since 1970. None
    /// of one that an earlier version has noted: then it isn't known.
    #[serde(default)]
    pub oldest_at: Option<i64>,
    /// What every copier and fold had told of itself when it began, as digests. Whatever has run since
    /// shows in another one, and then the stores may have changed.
    pub copiers: std::collections::BTreeMap<String, String>,
}

impl Verified {
    /// Whether it was found under this record, as it is now.
    pub fn is_of(&self, record: &Record) -> bool {
        self.freeze == record.freeze
            && self.incarnation == record.incarnation
            && self.mapping == record.mapping
    }
}

/// A key as hex of its columns' CQL bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// Partition key columns.
    pub partition: Vec<String>,
    /// Clustering columns; none for a static row.
    pub clustering: Option<Vec<String>>,
}

#[cfg(feature = "copy")]
impl StoredKey {
    /// A key of this table.
    pub(crate) fn of(table: &Table, key: &Key) -> StoredKey {
        let digits = |columns: &[Column], values: &[Value]| {
            let parts = key::to_parts(columns, values);
            parts.map(|bytes| hex(&bytes)).collect()
        };
        let clustering = key.clustering.as_ref();
        StoredKey {
            partition: digits(table.partition(), &key.partition),
            clustering: clustering.map(|values| digits(table.clustering(), values)),
        }
    }

    /// The key again; `None` if it isn't one of this table.
    pub(crate) fn key(&self, table: &Table) -> Option<Key> {
        let values = |columns: &[Column], digits: &[String]| {
            let parts: Option<Vec<Vec<u8>>> = digits.iter().map(|digits| of_hex(digits)).collect();
            key::of_parts(columns, &parts?)
        };
        Some(Key {
            partition: values(table.partition(), &self.partition)?,
            clustering: match &self.clustering {
                Some(digits) => Some(values(table.clustering(), digits)?),
                None => None,
            },
        })
    }
}

/// A record with the version that a change has to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The record.
    pub record: Record,
    pub(super) version: i64,
}

/// What a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParticipantKind {
    /// An application.
    Shim,
    /// `migrate copy`.
    Copier,
    /// `migrate verify --repair`.
    Repair,
    /// `migrate failures --retry`.
    Retry,
    /// `migrate finish`.
    Purge,
    /// `migrate reset`.
    Reset,
}

impl ParticipantKind {
    /// All of them.
    pub const ALL: [ParticipantKind; 6] = [
        ParticipantKind::Shim,
        ParticipantKind::Copier,
        ParticipantKind::Repair,
        ParticipantKind::Retry,
        ParticipantKind::Purge,
        ParticipantKind::Reset,
    ];

    /// Its name, as people and the control table write it.
    pub fn name(self) -> &'static str {
        match self {
            ParticipantKind::Shim => "shim",
            ParticipantKind::Copier => "copier",
            ParticipantKind::Repair => "repair",
            ParticipantKind::Retry => "retry",
            ParticipantKind::Purge => "purge",
            ParticipantKind::Reset => "reset",
        }
    }
}

/// A participant that may write to the target, as all others see it. Only its owner changes the item, and
/// names the version it has seen: so one that was taken away notices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// What it is.
    pub kind: ParticipantKind,
    /// Machine and process, for people.
    pub name: String,
    /// The phase that it has acknowledged: everything it began in another one has ended. None while
    /// it joins, before its first operation.
    #[serde(with = "maybe_phase_name")]
    pub phase: Option<Phase>,
    /// Grows with every renewal.
    pub heartbeat: u64,
    /// When it renewed last by its own machine's clock, seconds since 1970: for people, who look once. What
    /// decides is how long its heartbeat was watched to be the same. None where an earlier version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<i64>,
    /// How long it goes on without a renewal, seconds.
    pub lease_seconds: u64,
    /// How long an operation of it takes at most, seconds.
    pub operation_seconds: u64,
    /// How long what it has sent may be under way after it has given it up, seconds.
    #[serde(default = "landing_seconds")]
    pub landing_seconds: u64,
    /// It was taken for dead, or left with calls under way: it is waited for by moves alone that fear late
    /// calls, and otherwise not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Something of it that it doesn't wait for any more may still land.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// A request that was signed is taken for five minutes by AWS, wherever it was in between.
pub(super) const LANDING_SECONDS: u64 = 300;

fn landing_seconds() -> u64 {
    LANDING_SECONDS
}

impl Participant {
    /// How long it may be silent though it lives and works: its lease and its longest operation.
    pub fn longest_silence(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.saturating_add(self.operation_seconds))
    }

    /// How long it has to be silent until surely nothing of it can land any more.
    pub fn longest_landing(&self) -> Duration {
        let landing = self.operation_seconds.max(self.landing_seconds);
        Duration::from_secs(self.lease_seconds.saturating_add(landing))
    }

    /// Whether it stops by itself when it can't renew. An application in a phase in which the old
    /// store decides goes on: a hiccup of the new store must not stop it. A tool always stops, so that a
    /// killed one delays a move by its lease and its longest operation at most.
    pub fn is_leased(&self) -> bool {
        match self.kind {
            ParticipantKind::Shim => self.phase.is_none_or(Phase::needs_lease),
            ParticipantKind::Copier
            | ParticipantKind::Repair
            | ParticipantKind::Retry
            | ParticipantKind::Purge
            | ParticipantKind::Reset => true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value as Json, json};

    use super::*;

    /// A version that knows nothing of a field moves the table on, and the next one reads it as it was.
    #[test]
    fn what_a_later_version_has_noted_stays() {
        let table = StoredTable::of(&crate::schema::Table::new("t", Vec::new()));
        let note = json!({"id": "x", "items": [1, 2]});
        let newer = json!({
            "plan": "p", "phase": "old", "freeze": 0, "old_id": "old", "target_id": "new", "mapping": "m",
            "source": table, "target": table, "of_tomorrow": note,
        });
        let record: Record = serde_json::from_value(newer).unwrap();
        let moved = Record {
            phase: Phase::Bridge,
            ..record
        };
        let moved: Json = serde_json::to_value(moved).unwrap();
        assert_eq!(moved["of_tomorrow"], note, "beside the others");
        assert_eq!(moved["phase"], "bridge");
        assert!(moved.get("later").is_none());
    }
}
