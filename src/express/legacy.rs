//! The parameters from before there were expressions, as the same types.
//!
//! `Expected`, `QueryFilter` and `ScanFilter` become a [`ConditionExpression`], `KeyConditions` a [`KeyCondition`],
//! `AttributeUpdates` an [`UpdateExpression`], `AttributesToGet` a [`Projection`]. A name here is an attribute's, dots included.
//! The rules are those of the
//! [developer guide](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LegacyConditionalParameters.html).

use super::ast::{Comparison, ConditionExpression, Operand, Path};
use super::key::KeyCondition;
use super::project::Projection;
use super::update::{Action, Amount, UpdateExpression};
use super::value::{order, type_name};
use super::{MOST_CHOICES, refused};
use crate::error::{Error, Result};
use crate::item::Attr;

/// A condition on one attribute: `ComparisonOperator` and `AttributeValueList`.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// The attribute.
    pub attribute: String,
    /// The operator, as it is written.
    pub operator: String,
    /// Its operands.
    pub values: Vec<Attr>,
}

/// What `Expected` says of one attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    /// `Value`
    pub value: Option<Attr>,
    /// `Exists`
    pub exists: Option<bool>,
    /// `ComparisonOperator`
    pub operator: Option<String>,
    /// `AttributeValueList`
    pub values: Option<Vec<Attr>>,
}

/// What `AttributeUpdates` says of one attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributeUpdate {
    /// `Action`; `PUT` if it is left out.
    pub action: Option<String>,
    /// `Value`
    pub value: Option<Attr>,
}

fn invalid(what: impl std::fmt::Display) -> Error {
    refused(format!("One or more parameter values were invalid: {what}"))
}

/// Several conditions joined: by `OR` if any of them is enough.
fn joined(mut all: Vec<ConditionExpression>, any: bool) -> Option<ConditionExpression> {
    match (all.len(), any) {
        (0, _) => None,
        (1, _) => all.pop(),
        (_, true) => Some(ConditionExpression::Or(all)),
        (_, false) => Some(ConditionExpression::And(all)),
    }
}

/// `QueryFilter` and `ScanFilter`; `any` is `ConditionalOperator` = `OR`. None where there is no condition.
///
/// # Errors
/// [`crate::error::Kind::Invalid`], in the words of the service.
pub fn filter(tests: Vec<Test>, any: bool) -> Result<Option<ConditionExpression>> {
    let conditions = tests
        .into_iter()
        .map(condition)
        .collect::<Result<Vec<_>>>()?;
    Ok(joined(conditions, any))
}

/// `Expected`, by attribute.
///
/// # Errors
/// As of [`filter`].
pub fn expected(
    expectations: impl IntoIterator<Item = (String, Expectation)>,
    any: bool,
) -> Result<Option<ConditionExpression>> {
    let mut conditions = Vec::new();
    for (attribute, expectation) in expectations {
        let must =
            |what: &str, when: &str| invalid(format!("{what} {when} for Attribute: {attribute}"));
        let Expectation {
            value,
            exists,
            operator,
            values,
        } = expectation;
        conditions.push(match (operator, value, values) {
            (_, Some(_), Some(_)) => {
                return Err(must(
                    "Value and AttributeValueList",
                    "cannot be used together",
                ));
            }
            (None, None, Some(_)) => {
                return Err(must(
                    "AttributeValueList",
                    "can only be used with a ComparisonOperator",
                ));
            }
            (Some(_), _, _) if exists.is_some() => {
                return Err(must(
                    "Exists and ComparisonOperator",
                    "cannot be used together",
                ));
            }
            (Some(operator), value, values) => condition(Test {
                attribute,
                operator,
                values: values
                    .or(value.map(|value| vec![value]))
                    .unwrap_or_default(),
            })?,
            (None, value, None) => match (exists, value) {
                (Some(false), None) => ConditionExpression::NotExists(Path::attribute(attribute)),
                (Some(false), Some(_)) => {
                    return Err(must("Value cannot be used", "when Exists is false"));
                }
                (Some(true) | None, Some(value)) => ConditionExpression::Compare(
                    Operand::Path(Path::attribute(attribute)),
                    Comparison::Equal,
                    Operand::Value(value),
                ),
                (Some(true), None) => {
                    return Err(must("Value must be provided", "when Exists is true"));
                }
                (None, None) => return Err(must("Value must be provided", "when Exists is null")),
            },
        });
    }
    Ok(joined(conditions, any))
}

/// `KeyConditions`, for a table or an index with these key attributes.
///
/// # Errors
/// As of [`filter`].
pub fn key_conditions(
    tests: Vec<Test>,
    partition: &str,
    sort: Option<&str>,
) -> Result<KeyCondition> {
    let supported = ["EQ", "LE", "LT", "GE", "GT", "BEGINS_WITH", "BETWEEN"];
    if tests
        .iter()
        .any(|test| !supported.contains(&test.operator.as_str()))
    {
        return Err(refused(
            "Attempted conditional constraint is not an indexable operation",
        ));
    }
    match filter(tests, false)? {
        Some(condition) => KeyCondition::of(condition, partition, sort),
        None => Err(refused(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        )),
    }
}

/// `AttributeUpdates`, by attribute.
///
/// # Errors
/// As of [`filter`].
pub fn attribute_updates(
    changes: impl IntoIterator<Item = (String, AttributeUpdate)>,
) -> Result<UpdateExpression> {
    let actions = changes.into_iter().map(|(attribute, change)| {
        let path = Path::attribute(attribute);
        match (change.action.as_deref().unwrap_or("PUT"), change.value) {
            ("PUT", Some(value)) => Ok(Action::Set(path, Amount::Value(value))),
            ("ADD", Some(value @ (Attr::N(_) | Attr::Ss(_) | Attr::Ns(_) | Attr::Bs(_)))) => {
                Ok(Action::Add(path, value))
            }
            ("ADD", Some(value @ Attr::L(_))) => {
                let there =
                    Amount::IfNotExists(path.clone(), Box::new(Amount::Value(Attr::L(Vec::new()))));
                let longer = Amount::Append(Box::new(there), Box::new(Amount::Value(value)));
                Ok(Action::Set(path, longer))
            }
            ("ADD", Some(value)) => Err(invalid(format!(
                "ADD action is not supported for the type {}",
                type_name(&value)
            ))),
            ("DELETE", None) => Ok(Action::Remove(path)),
            ("DELETE", Some(value @ (Attr::Ss(_) | Attr::Ns(_) | Attr::Bs(_)))) => {
                Ok(Action::Delete(path, value))
            }
            ("DELETE", Some(value)) => Err(invalid(format!(
                "DELETE action with value is not supported for the type {}",
                type_name(&value)
            ))),
            ("PUT" | "ADD", None) => Err(invalid(
                "Only DELETE action is allowed when no attribute value is specified",
            )),
            (other, _) => Err(invalid(format!("the action {other} does not exist"))),
        }
    });
    Ok(UpdateExpression {
        actions: actions.collect::<Result<_>>()?,
    })
}

/// `AttributesToGet`.
///
/// # Errors
/// As of [`filter`].
pub fn attributes_to_get(names: Vec<String>) -> Result<Projection> {
    let mut paths: Vec<Path> = Vec::with_capacity(names.len());
    for name in names {
        let path = Path::attribute(name);
        if paths.contains(&path) {
            return Err(invalid(format!(
                "Duplicate value in attribute name: {}",
                path.attribute
            )));
        }
        paths.push(path);
    }
    Ok(Projection { paths })
}

fn condition(test: Test) -> Result<ConditionExpression> {
    let Test {
        attribute,
        operator,
        values,
    } = test;
    let name = operator.as_str();
    let path = Path::attribute(attribute);
    let wanted = match name {
        "NULL" | "NOT_NULL" => 0..=0,
        "EQ" | "NE" | "LE" | "LT" | "GE" | "GT" | "CONTAINS" | "NOT_CONTAINS" | "BEGINS_WITH" => {
            1..=1
        }
        "BETWEEN" => 2..=2,
        "IN" => 1..=MOST_CHOICES,
        _ => return Err(refused("Comparison type does not exist in DynamoDB")),
    };
    let miscounted = || {
        invalid(format!(
            "Invalid number of argument(s) for the {name} ComparisonOperator"
        ))
    };
    if !wanted.contains(&values.len()) {
        return Err(miscounted());
    }
    for value in &values {
        if !takes(name, value) {
            return Err(invalid(format!(
                "ComparisonOperator {name} is not valid for {} AttributeValue type",
                type_name(value)
            )));
        }
    }
    let mut values = values.into_iter();
    let is = |how: Comparison, value: Option<Attr>| {
        let value = value.ok_or_else(miscounted)?;
        let path = Operand::Path(path.clone());
        Ok(ConditionExpression::Compare(
            path,
            how,
            Operand::Value(value),
        ))
    };
    let own = Operand::Path(path.clone());
    match name {
        "EQ" => is(Comparison::Equal, values.next()),
        "NE" => is(Comparison::NotEqual, values.next()),
        "LE" => is(Comparison::LessOrEqual, values.next()),
        "LT" => is(Comparison::Less, values.next()),
        "GE" => is(Comparison::GreaterOrEqual, values.next()),
        "GT" => is(Comparison::Greater, values.next()),
        "NULL" => Ok(ConditionExpression::NotExists(path)),
        "NOT_NULL" => Ok(ConditionExpression::Exists(path)),
        "IN" => Ok(ConditionExpression::In(
            own,
            values.map(Operand::Value).collect(),
        )),
        "BETWEEN" => {
            let (low, high) = (
                values.next().ok_or_else(miscounted)?,
                values.next().ok_or_else(miscounted)?,
            );
            match order(&low, &high) {
                None => Err(invalid(
                    "AttributeValues inside AttributeValueList must be of same type",
                )),
                Some(std::cmp::Ordering::Greater) => Err(refused(
                    "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound",
                )),
                Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal) => Ok(
                    ConditionExpression::Between(own, Operand::Value(low), Operand::Value(high)),
                ),
            }
        }
        "BEGINS_WITH" => {
            let start = values.next().ok_or_else(miscounted)?;
            Ok(ConditionExpression::BeginsWith(own, Operand::Value(start)))
        }
        contains => {
            let part = values.next().ok_or_else(miscounted)?;
            let has = ConditionExpression::Contains(own, Operand::Value(part));
            Ok(match contains {
                "CONTAINS" => has,
                // What isn't there neither contains it nor doesn't.
                _ => ConditionExpression::And(vec![
                    ConditionExpression::Exists(path),
                    ConditionExpression::Not(Box::new(has)),
                ]),
            })
        }
    }
}

/// Whether an operator takes a value of this type.
fn takes(operator: &str, value: &Attr) -> bool {
    let is_scalar = matches!(value, Attr::S(_) | Attr::N(_) | Attr::B(_));
    match operator {
        "LE" | "LT" | "GE" | "GT" | "BETWEEN" | "IN" => is_scalar,
        "CONTAINS" | "NOT_CONTAINS" => is_scalar || matches!(value, Attr::Bool(_) | Attr::Null),
        "BEGINS_WITH" => matches!(value, Attr::S(_) | Attr::B(_)),
        _ => true,
    }
}
