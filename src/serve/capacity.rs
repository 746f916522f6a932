//! `ReturnConsumedCapacity`: estimates from the sizes of items, as the service counts them. What the old store
//! answered has cost none of it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::asked::enumerated;
use super::fault::Fault;
use crate::express::Item;
use crate::item::Attr;

/// What of the consumed capacity a request wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WantedCapacity {
    Nothing,
    Total,
    Indexes,
}

impl WantedCapacity {
    pub fn of(text: Option<&str>) -> Result<Self, Fault> {
        match text {
            None | Some("NONE") => Ok(WantedCapacity::Nothing),
            Some("TOTAL") => Ok(WantedCapacity::Total),
            Some("INDEXES") => Ok(WantedCapacity::Indexes),
            Some(other) => Err(enumerated(
                "returnConsumedCapacity",
                other,
                "[INDEXES, TOTAL, NONE]",
            )),
        }
    }

    /// For one table.
    pub fn of_table(self, table: &str, units: f64) -> Option<Json> {
        match self {
            WantedCapacity::Nothing => None,
            WantedCapacity::Total => Some(json!({"TableName": table, "CapacityUnits": units})),
            WantedCapacity::Indexes => Some(json!({
                "TableName": table, "CapacityUnits": units, "Table": {"CapacityUnits": units}
            })),
        }
    }

    /// For several.
    pub fn of_tables(self, units: &BTreeMap<String, f64>) -> Option<Json> {
        let all = units
            .iter()
            .map(|(table, units)| self.of_table(table, *units));
        all.collect::<Option<Vec<Json>>>()
            .filter(|all| !all.is_empty())
            .map(Json::Array)
    }
}

/// Bytes of an item as the service counts them.
pub(super) fn size(item: &Item) -> usize {
    let of = |(name, value): (&String, &Attr)| name.len() + value.size();
    item.iter().map(of).sum()
}

/// What reading so many bytes takes, strongly consistent.
pub(super) fn read(bytes: usize) -> f64 {
    bytes.div_ceil(4096).max(1) as f64
}

/// What writing an item of so many bytes takes.
pub(super) fn write(bytes: usize) -> f64 {
    bytes.div_ceil(1024).max(1) as f64
}
