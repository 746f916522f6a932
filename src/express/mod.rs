//! DynamoDB's expressions: parsed, evaluated on an item, and printed again. Pure: no I/O.
//!
//! | expression | parsed by | what it does |
//! |---|---|---|
//! | `ConditionExpression`, `FilterExpression` | [`ConditionExpression::parse`] | [`ConditionExpression::holds`] for an item, or for none |
//! | `UpdateExpression` | [`UpdateExpression::parse`] | [`UpdateExpression::apply`] makes an item of another one |
//! | `ProjectionExpression` | [`Projection::parse`] | [`Projection::of`] keeps a part of an item |
//! | `KeyConditionExpression` | [`KeyCondition::parse`] | names one partition, and a part of it |
//!
//! The parameters from before there were expressions become the same types: [`legacy`].
//!
//! An [`ItemRule`] is both of them about rows: what the protocol's machines and the stores take.
//!
//! `#name` and `:value` are replaced while an expression is parsed, by [`Placeholders`], which also knows which of
//! them no expression of a request has used: the service refuses those. [`Printer`] goes the other way, so that a
//! condition can be sent on with another one added to it.
//!
//! The grammar and the limits are those of the
//! [developer guide](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html); where it is
//! silent, what DynamoDB Local does. A refusal has the words of the service: programs compare them.

mod apply;
mod ast;
mod condition;
mod decimal;
pub mod judge;
mod key;
pub mod legacy;
mod placeholders;
mod print;
mod project;
mod reserved;
mod token;
mod update;
mod value;

#[cfg(test)]
mod tests;

pub use ast::{Comparison, ConditionExpression, Operand, Path, PathStep};
pub use decimal::{number, order as compare_numbers};
pub use judge::ItemRule;
pub use key::{KeyCondition, SortCondition};
pub use placeholders::Placeholders;
pub use print::Printer;
pub use project::Projection;
pub use update::{Action, Amount, UpdateExpression};
pub use value::equal;

use std::collections::BTreeMap;

use crate::error::{Error, Kind};
use crate::item::Attr;

/// An item: its attributes by name.
pub type Item = BTreeMap<String, Attr>;

/// The longest expression, in bytes.
const LONGEST: usize = 4_096;
/// The most operators and functions in an expression.
const MOST_OPERATORS: usize = 300;
/// The most operands of an `IN`.
const MOST_CHOICES: usize = 100;
/// How deep parentheses, functions and `NOT` may be nested: a bound for the parser's own stack.
const DEEPEST: usize = 100;
/// The most steps of a path, its attribute included.
const MOST_STEPS: usize = 32;

/// A refusal of the request, in the words of the service.
fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}
