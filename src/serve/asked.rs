//! What requests say, in either of the protocol's two languages: expressions, and the parameters from before there
//! were any.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fault::Fault;
use super::json::{Given, GivenItem};
use crate::error::Error;
use crate::express::legacy::{self, AttributeUpdate, Expectation, Test};
use crate::express::{
    ConditionExpression, KeyCondition, Placeholders, Projection, UpdateExpression,
};
use crate::item::Attr;
use crate::model::Key;
use crate::shim::Items;

/// What a request on one table may have. Each operation takes its part; what it doesn't know it passes over, as the
/// service does.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Asked {
    pub key: Option<GivenItem>,
    pub keys: Option<Vec<GivenItem>>,
    pub item: Option<GivenItem>,
    pub attributes_to_get: Option<Vec<String>>,
    pub projection_expression: Option<String>,
    pub condition_expression: Option<String>,
    pub filter_expression: Option<String>,
    pub key_condition_expression: Option<String>,
    pub update_expression: Option<String>,
    pub expression_attribute_names: Option<BTreeMap<String, String>>,
    pub expression_attribute_values: Option<GivenItem>,
    pub expected: Option<BTreeMap<String, Expected>>,
    pub conditional_operator: Option<String>,
    pub attribute_updates: Option<BTreeMap<String, Changes>>,
    pub key_conditions: Option<BTreeMap<String, Tested>>,
    pub query_filter: Option<BTreeMap<String, Tested>>,
    pub scan_filter: Option<BTreeMap<String, Tested>>,
    pub return_values: Option<String>,
    pub return_values_on_condition_check_failure: Option<String>,
    pub return_consumed_capacity: Option<String>,
    pub index_name: Option<String>,
    pub select: Option<String>,
    pub limit: Option<i64>,
    pub scan_index_forward: Option<bool>,
    pub exclusive_start_key: Option<GivenItem>,
    pub segment: Option<i64>,
    pub total_segments: Option<i64>,
    /// The row that a hashed partition key means, once it has been looked up.
    #[serde(skip)]
    pub found: Option<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Expected {
    value: Option<Given>,
    exists: Option<bool>,
    comparison_operator: Option<String>,
    attribute_value_list: Option<Vec<Given>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Changes {
    action: Option<String>,
    value: Option<Given>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tested {
    comparison_operator: String,
    #[serde(default)]
    attribute_value_list: Vec<Given>,
}

impl Tested {
    fn test((attribute, tested): (String, Tested)) -> Test {
        Test {
            attribute,
            operator: tested.comparison_operator,
            values: plain(tested.attribute_value_list),
        }
    }
}

fn plain(values: Vec<Given>) -> Vec<Attr> {
    values.into_iter().map(|Given(value)| value).collect()
}

/// What a request's expressions came to.
#[derive(Debug, Default)]
pub(super) struct Expressed {
    pub condition: Option<ConditionExpression>,
    pub filter: Option<ConditionExpression>,
    pub update: Option<UpdateExpression>,
    pub projection: Option<Projection>,
    pub key: Option<KeyCondition>,
}

/// What a request returns of the item that it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ReturnValues {
    #[default]
    None,
    AllOld,
    UpdatedOld,
    AllNew,
    UpdatedNew,
}

impl Asked {
    /// Everything that it says in expressions or in the older parameters. A key condition is one on these key
    /// attributes.
    pub fn expressed(&mut self, partition: &str, sort: Option<&str>) -> Result<Expressed, Fault> {
        self.refuse_both()?;
        let names = self.expression_attribute_names.take();
        let values = self.expression_attribute_values.take();
        self.refuse_idle(names.is_some(), values.is_some())?;
        let values = super::json::item(values.unwrap_or_default());
        let placeholders = Placeholders::new(names.unwrap_or_default(), values)?;
        let any = self.is_any()?;
        let within = |parameter: &'static str| {
            move |error: Error| Fault::invalid(format!("Invalid {parameter}: {}", error.message()))
        };
        let condition = match self.condition_expression.take() {
            Some(text) => Some(
                ConditionExpression::parse(&text, &placeholders)
                    .map_err(within("ConditionExpression"))?,
            ),
            None => {
                let expected = self.expected.take().unwrap_or_default().into_iter();
                let expected = expected.map(|(name, expected)| {
                    let expectation = Expectation {
                        value: expected.value.map(|Given(value)| value),
                        exists: expected.exists,
                        operator: expected.comparison_operator,
                        values: expected.attribute_value_list.map(plain),
                    };
                    (name, expectation)
                });
                legacy::expected(expected, any)?
            }
        };
        let filter = match self.filter_expression.take() {
            Some(text) => Some(
                ConditionExpression::parse(&text, &placeholders)
                    .map_err(within("FilterExpression"))?,
            ),
            None => {
                let tests = self.query_filter.take().or(self.scan_filter.take());
                let tests = tests.unwrap_or_default().into_iter().map(Tested::test);
                legacy::filter(tests.collect(), any)?
            }
        };
        let update = match (self.update_expression.take(), self.attribute_updates.take()) {
            (Some(text), _) => Some(
                UpdateExpression::parse(&text, &placeholders)
                    .map_err(within("UpdateExpression"))?,
            ),
            (None, Some(updates)) => {
                let changes = updates.into_iter().map(|(name, change)| {
                    let change = AttributeUpdate {
                        action: change.action,
                        value: change.value.map(|Given(value)| value),
                    };
                    (name, change)
                });
                Some(legacy::attribute_updates(changes)?)
            }
            (None, None) => None,
        };
        let projection = match (
            self.projection_expression.take(),
            self.attributes_to_get.take(),
        ) {
            (Some(text), _) => Some(
                Projection::parse(&text, &placeholders).map_err(within("ProjectionExpression"))?,
            ),
            (None, Some(names)) => Some(legacy::attributes_to_get(names)?),
            (None, None) => None,
        };
        let key = match (
            self.key_condition_expression.take(),
            self.key_conditions.take(),
        ) {
            (Some(text), _) => Some(KeyCondition::parse(&text, &placeholders, partition, sort)?),
            (None, Some(tests)) => {
                let tests = tests.into_iter().map(Tested::test);
                Some(legacy::key_conditions(tests.collect(), partition, sort)?)
            }
            (None, None) => None,
        };
        placeholders.refuse_unused()?;
        Ok(Expressed {
            condition,
            filter,
            update,
            projection,
            key,
        })
    }

    fn is_any(&self) -> Result<bool, Fault> {
        match self.conditional_operator.as_deref() {
            None | Some("AND") => Ok(false),
            Some("OR") => Ok(true),
            Some(other) => Err(enumerated("conditionalOperator", other, "[OR, AND]")),
        }
    }

    fn refuse_both(&self) -> Result<(), Fault> {
        let there = |all: &[(bool, &'static str)]| -> Vec<&'static str> {
            let all = all.iter().filter(|(is_there, _)| *is_there);
            all.map(|(_, name)| *name).collect()
        };
        let older = there(&[
            (self.attributes_to_get.is_some(), "AttributesToGet"),
            (self.attribute_updates.is_some(), "AttributeUpdates"),
            (self.query_filter.is_some(), "QueryFilter"),
            (self.scan_filter.is_some(), "ScanFilter"),
            (self.expected.is_some(), "Expected"),
            (self.key_conditions.is_some(), "KeyConditions"),
            (self.conditional_operator.is_some(), "ConditionalOperator"),
        ]);
        let newer = there(&[
            (self.update_expression.is_some(), "UpdateExpression"),
            (self.projection_expression.is_some(), "ProjectionExpression"),
            (self.filter_expression.is_some(), "FilterExpression"),
            (self.condition_expression.is_some(), "ConditionExpression"),
            (
                self.key_condition_expression.is_some(),
                "KeyConditionExpression",
            ),
        ]);
        if older.is_empty() || newer.is_empty() {
            return Ok(());
        }
        Err(Fault::invalid(format!(
            "Can not use both expression and non-expression parameters in the same request: \
             Non-expression parameters: {{{}}} Expression parameters: {{{}}}",
            older.join(", "),
            newer.join(", ")
        )))
    }

    /// Refuses placeholders of a request without expressions.
    fn refuse_idle(&self, names: bool, values: bool) -> Result<(), Fault> {
        let has_values = self.update_expression.is_some()
            || self.filter_expression.is_some()
            || self.condition_expression.is_some()
            || self.key_condition_expression.is_some();
        let has_any = has_values || self.projection_expression.is_some();
        for (given, used, kind) in [(names, has_any, "Names"), (values, has_values, "Values")] {
            if given && !used {
                return Err(Fault::invalid(format!(
                    "ExpressionAttribute{kind} can only be specified when using expressions"
                )));
            }
        }
        Ok(())
    }

    /// What it returns of the item; `all` are those that the operation has.
    pub fn returns(&self, all: &[&str]) -> Result<ReturnValues, Fault> {
        let Some(text) = self.return_values.as_deref() else {
            return Ok(ReturnValues::None);
        };
        let returns = match text {
            "NONE" => Some(ReturnValues::None),
            "ALL_OLD" => Some(ReturnValues::AllOld),
            "UPDATED_OLD" => Some(ReturnValues::UpdatedOld),
            "ALL_NEW" => Some(ReturnValues::AllNew),
            "UPDATED_NEW" => Some(ReturnValues::UpdatedNew),
            _ => None,
        };
        match returns.filter(|_| all.contains(&text)) {
            Some(returns) => Ok(returns),
            None => Err(enumerated(
                "returnValues",
                text,
                &format!("[{}]", all.join(", ")),
            )),
        }
    }

    /// Whether a failed condition is to tell the item that it met.
    pub fn shows_unmet(&self) -> Result<bool, Fault> {
        match self.return_values_on_condition_check_failure.as_deref() {
            None | Some("NONE") => Ok(false),
            Some("ALL_OLD") => Ok(true),
            Some(other) => Err(enumerated(
                "returnValuesOnConditionCheckFailure",
                other,
                "[ALL_OLD, NONE]",
            )),
        }
    }

    /// The key of the one row that it is about.
    pub fn row_key(&mut self, items: &Items) -> Result<Key, Fault> {
        match self.found.take() {
            Some(found) => Ok(found),
            None => Ok(items.key(&self.take_key()?)?),
        }
    }

    /// The key of the one item that it is about.
    pub fn take_key(&mut self) -> Result<crate::express::Item, Fault> {
        self.key
            .take()
            .map(super::json::item)
            .ok_or_else(|| missing("key"))
    }

    /// The item that it puts.
    pub fn take_item(&mut self) -> Result<crate::express::Item, Fault> {
        self.item
            .take()
            .map(super::json::item)
            .ok_or_else(|| missing("item"))
    }

    /// How many items it evaluates at most.
    pub fn limit(&self) -> Result<Option<usize>, Fault> {
        match self.limit {
            None => Ok(None),
            Some(limit) => match usize::try_from(limit) {
                Ok(limit) if limit > 0 => Ok(Some(limit)),
                Ok(_) | Err(_) => Err(Fault::invalid(format!(
                    "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: \
                     Member must have value greater than or equal to 1"
                ))),
            },
        }
    }
}

/// A value that isn't one of those there are.
pub(super) fn enumerated(member: &str, value: &str, all: &str) -> Fault {
    Fault::invalid(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must satisfy \
         enum value set: {all}"
    ))
}

/// A parameter that has to be there.
pub(super) fn missing(member: &str) -> Fault {
    Fault::invalid(format!(
        "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
    ))
}
