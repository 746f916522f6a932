//! Key conditions: one partition, and a part of it.

use super::ast::{Comparison, ConditionExpression, Operand};
use super::placeholders::Placeholders;
use super::refused;
use crate::error::{Error, Result};
use crate::item::Attr;

/// What a query reads.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyCondition {
    /// The value of the partition key.
    pub partition: Attr,
    /// Which sort keys; `None` is all of them.
    pub sort: Option<SortCondition>,
}

/// Which sort keys of a partition are read.
#[derive(Clone, Debug, PartialEq)]
pub enum SortCondition {
    /// Those that compare so; never with `<>`.
    Is(Comparison, Attr),
    /// Those between two, both included.
    Between(Attr, Attr),
    /// Those that begin so.
    BeginsWith(Attr),
}

impl KeyCondition {
    /// A key condition from its text, for a table or an index with these key attributes.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] with the words of the service.
    pub fn parse(
        text: &str,
        placeholders: &Placeholders,
        partition: &str,
        sort: Option<&str>,
    ) -> Result<Self> {
        let invalid = |error: Error| {
            refused(format!(
                "Invalid KeyConditionExpression: {}",
                error.message()
            ))
        };
        let condition = ConditionExpression::parse(text, placeholders).map_err(invalid)?;
        Self::of(condition, partition, sort)
    }

    /// The same from a condition that was parsed.
    pub(super) fn of(
        condition: ConditionExpression,
        partition: &str,
        sort: Option<&str>,
    ) -> Result<Self> {
        let mut found = KeyCondition {
            partition: Attr::Null,
            sort: None,
        };
        let mut seen = Vec::new();
        for part in parts(condition)? {
            let (name, which) = about(part)?;
            if seen.contains(&name) {
                return Err(refused(
                    "KeyConditionExpressions must only contain one condition per key",
                ));
            }
            match which {
                SortCondition::Is(Comparison::Equal, value) if name == partition => {
                    found.partition = value
                }
                SortCondition::Is(_, _)
                | SortCondition::Between(_, _)
                | SortCondition::BeginsWith(_)
                    if name == partition =>
                {
                    return Err(refused("Query key condition not supported"));
                }
                which if Some(name.as_str()) == sort => found.sort = Some(which),
                SortCondition::Is(_, _)
                | SortCondition::Between(_, _)
                | SortCondition::BeginsWith(_) => {
                    let missed = sort.filter(|_| seen.iter().any(|seen| seen == partition));
                    return Err(refused(format!(
                        "Query condition missed key schema element: {}",
                        missed.unwrap_or(partition)
                    )));
                }
            }
            seen.push(name);
        }
        match seen.iter().any(|name| name == partition) {
            true => Ok(found),
            false => Err(refused(format!(
                "Query condition missed key schema element: {partition}"
            ))),
        }
    }
}

/// The conditions that are joined by `AND`.
fn parts(condition: ConditionExpression) -> Result<Vec<ConditionExpression>> {
    match condition {
        ConditionExpression::And(all) => {
            let parts: Vec<Vec<ConditionExpression>> =
                all.into_iter().map(parts).collect::<Result<_>>()?;
            Ok(parts.into_iter().flatten().collect())
        }
        ConditionExpression::Or(_) => Err(unsupported("OR")),
        ConditionExpression::Not(_) => Err(unsupported("NOT")),
        ConditionExpression::In(_, _) => Err(unsupported("IN")),
        ConditionExpression::Exists(_) => Err(unsupported("attribute_exists")),
        ConditionExpression::NotExists(_) => Err(unsupported("attribute_not_exists")),
        ConditionExpression::HasType(_, _) => Err(unsupported("attribute_type")),
        ConditionExpression::Contains(_, _) => Err(unsupported("contains")),
        ConditionExpression::Compare(_, Comparison::NotEqual, _) => Err(unsupported("<>")),
        single @ (ConditionExpression::Compare(_, _, _)
        | ConditionExpression::Between(_, _, _)
        | ConditionExpression::BeginsWith(_, _)) => Ok(vec![single]),
    }
}

fn unsupported(operator: &str) -> Error {
    refused(format!(
        "Invalid operator used in KeyConditionExpression: {operator}"
    ))
}

/// Which attribute a condition is about, and what it says.
fn about(condition: ConditionExpression) -> Result<(String, SortCondition)> {
    let nested = || {
        refused(
            "Invalid KeyConditionExpression: KeyConditionExpressions cannot have conditions on nested attributes",
        )
    };
    let value = |operand: Operand| match operand {
        Operand::Value(value) => Ok(value),
        Operand::Path(_) | Operand::Size(_) | Operand::SizeOf(_) => Err(refused(
            "Invalid condition in KeyConditionExpression: a key is compared with a value",
        )),
    };
    let (first, which) = match condition {
        ConditionExpression::Compare(first, how, second) => {
            (first, SortCondition::Is(how, value(second)?))
        }
        ConditionExpression::Between(first, low, high) => {
            (first, SortCondition::Between(value(low)?, value(high)?))
        }
        ConditionExpression::BeginsWith(first, start) => {
            (first, SortCondition::BeginsWith(value(start)?))
        }
        ConditionExpression::And(_)
        | ConditionExpression::Or(_)
        | ConditionExpression::Not(_)
        | ConditionExpression::In(_, _)
        | ConditionExpression::Exists(_)
        | ConditionExpression::NotExists(_)
        | ConditionExpression::HasType(_, _)
        | ConditionExpression::Contains(_, _) => {
            return Err(refused("Query key condition not supported"));
        }
    };
    match first {
        Operand::Path(path) if path.steps.is_empty() => Ok((path.attribute, which)),
        Operand::Path(_) => Err(nested()),
        Operand::Value(_) | Operand::Size(_) | Operand::SizeOf(_) => Err(refused(
            "Invalid condition in KeyConditionExpression: the key is named first",
        )),
    }
}
