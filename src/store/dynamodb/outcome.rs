//! What became of the rows of a call, and what it took; keys as the messages show them.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::ConsumedCapacity;
use serde::Deserialize;

use super::attr::key_text;
use super::errors::SdkCall;
use crate::error::{Error, Kind, Result};
use crate::item::{Attr, Mapping};
use crate::store::{WriteOutcome, WriteOutcomes};

/// Single calls of one put that are under way at once.
pub(super) const SINGLE_CALLS: usize = 16;

/// What became of some rows.
#[derive(Default)]
pub(super) struct RowOutcomes {
    /// By their places.
    pub rows: Vec<(usize, Result<WriteOutcome>)>,
    /// Capacity consumed.
    pub units: f64,
}

impl RowOutcomes {
    /// What became of one row that cost nothing.
    pub(super) fn of(place: usize, row: Result<WriteOutcome>) -> RowOutcomes {
        RowOutcomes {
            rows: vec![(place, row)],
            units: 0.0,
        }
    }

    /// What became of these rows and of others.
    pub(super) fn and(mut self, other: RowOutcomes) -> RowOutcomes {
        self.rows.extend(other.rows);
        self.units += other.units;
        self
    }
}

pub(super) fn single_outcome<E>(
    call: &SdkCall<'_>,
    place: usize,
    answer: std::result::Result<Option<ConsumedCapacity>, SdkError<E, HttpResponse>>,
    expected: f64,
    key: impl FnOnce() -> String,
) -> RowOutcomes
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let (row, units) = match answer {
        Ok(consumed) => (
            Ok(WriteOutcome::Written),
            units(consumed.as_slice()).unwrap_or(expected),
        ),
        // A condition that doesn't hold is paid for too.
        Err(error)
            if error.as_service_error().and_then(E::code)
                == Some("ConditionalCheckFailedException") =>
        {
            (Ok(WriteOutcome::Refused), expected)
        }
        Err(error) => (Err(call.failed(error).with_context("key", key())), 0.0),
    };
    RowOutcomes {
        rows: vec![(place, row)],
        units,
    }
}

/// What an answer says of the capacity that it took.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConsumedUnits {
    pub capacity_units: Option<f64>,
}

/// What the server says it took; `None` if it doesn't say.
pub(super) fn units(consumed: &[ConsumedCapacity]) -> Option<f64> {
    let units: Vec<f64> = consumed.iter().filter_map(|c| c.capacity_units()).collect();
    (!units.is_empty()).then(|| units.iter().sum())
}

pub(super) fn puts(count: usize, outcome: RowOutcomes, sizes: &[usize]) -> WriteOutcomes {
    let mut rows: Vec<Option<Result<WriteOutcome>>> = (0..count).map(|_| None).collect();
    let mut bytes = 0;
    for (place, row) in outcome.rows {
        if matches!(row, Ok(WriteOutcome::Written)) {
            bytes += sizes[place] as u64;
        }
        rows[place] = Some(row);
    }
    let lost = || Err(Error::new(Kind::Unknown, "a row was left out of its put"));
    WriteOutcomes {
        rows: rows
            .into_iter()
            .map(|row| row.unwrap_or_else(lost))
            .collect(),
        units: outcome.units,
        bytes,
    }
}

/// The attributes of an item's key, partition first.
pub(super) fn key_of_item<'a>(
    mapping: &'a Mapping,
    item: &'a [(String, Attr)],
) -> impl Iterator<Item = (&'a str, &'a Attr)> {
    let names = std::iter::once(mapping.partition()).chain(mapping.sort());
    names.filter_map(|key| {
        let (name, attr) = item.iter().find(|(name, _)| *name == key.name)?;
        Some((name.as_str(), attr))
    })
}

/// An item's key for people.
pub(super) fn item_key_text(mapping: &Mapping, item: &[(String, Attr)]) -> String {
    key_text(key_of_item(mapping, item))
}

pub(super) fn pairs_text(attrs: &[(String, Attr)]) -> String {
    key_text(attrs.iter().map(|(name, attr)| (name.as_str(), attr)))
}
