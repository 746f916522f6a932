//! What tests of the tools, the shim and the control table build on: two stores in memory with a control table, and what is in them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::{Control, New, Record};
use crate::model::{Condition, Row, Tokens};
use crate::protocol::Phase;
use crate::schema::{StoredTable, Table};
use crate::store::memory::Memory;
use crate::store::{Cursor, Range, Reads, Store, WriteOutcome};

/// An old store and a new one, with the control table in the new one.
pub struct Rig {
    /// The old store.
    pub old: Arc<Memory>,
    /// The new one.
    pub new: Arc<Memory>,
}

impl Rig {
    /// Both stores, empty but for the control table.
    pub async fn new() -> Self {
        let rig = Rig {
            old: Arc::new(Memory::new()),
            new: Arc::new(Memory::new()),
        };
        rig.control().create().await.unwrap();
        rig
    }

    /// The control table in the new store.
    pub fn control(&self) -> Control {
        Control::new(New::over(self.new.clone()), "control")
    }

    /// Makes a table in the old store and its target in the new one.
    pub async fn create(&self, source: &Table, target: &Table) {
        self.old.create(source).await.unwrap();
        self.new.create(target).await.unwrap();
    }
}

/// A control record as `init` would write it, under names that say what they are.
pub fn record(phase: Phase, source: &Table, target: &Table) -> Record {
    Record {
        plan: "test".into(),
        phase,
        freeze: 1,
        frozen_at: None,
        incarnation: "once".into(),
        old_id: "old".into(),
        target_id: "new".into(),
        mapping: "same".into(),
        source: StoredTable::of(source),
        target: StoredTable::of(target),
        default_ttl: 0,
        emptying: false,
        stripped: false,
        adopted: false,
        adoption: None,
        fenced: Default::default(),
        rehearsal: false,
        moves: Vec::new(),
        later: Default::default(),
    }
}

/// Puts rows as they are, marks and all.
pub async fn put(store: &Memory, table: &Table, rows: &[Row]) {
    let outcomes = store.put(table, rows, &Condition::Always).await;
    let mut outcomes = outcomes.rows.iter();
    assert!(outcomes.all(|outcome| matches!(outcome, Ok(WriteOutcome::Written))));
}

/// All that a table has, by its key as `Debug` shows it.
pub async fn content(store: &Memory, table: &Table) -> BTreeMap<String, Row> {
    let range = Range::Tokens(Tokens::ALL);
    let mut all = BTreeMap::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = store.scan(table, &range, cursor.as_ref(), 1_000);
        let page = page.await.unwrap();
        let rows = page.rows.into_iter();
        all.extend(rows.map(|row| (format!("{:?}", row.key), row)));
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}
