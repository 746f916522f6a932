//! Expressions: names and values in place of an item's, and a [`Condition`] in DynamoDB's words.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::attr::into_sdk;
use crate::error::{Error, Kind, Result};
use crate::express::{ItemRule, Printer};
use crate::item::{Attr, Mapping};
use crate::model::{Condition, ItemState, Mark, Row, Rule, Value};

/// The most bytes of an expression, set by DynamoDB.
const LONGEST: usize = 4_096;
/// The most operators and functions of an expression, set by DynamoDB.
const OPERATORS: usize = 300;

/// Why a change can't be said in an expression.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It is more than an expression holds, or says: for those who have no other way, an error.
    TooLong(Error),
    /// It can't be said at all.
    Wrong(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Unfit::Wrong(error)
    }
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::TooLong(error) | Unfit::Wrong(error) => error,
        }
    }
}

pub(super) type Fit<T> = std::result::Result<T, Unfit>;

/// The names and values of a request's expressions, which are written as `#3` and `:5` there.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    names: Vec<String>,
    values: Vec<Attr>,
    /// Those of the application's own conditions.
    printer: Printer,
}

impl Terms {
    /// What an attribute's name is written as.
    pub(super) fn name(&mut self, attribute: &str) -> String {
        let known = self.names.iter().position(|name| name == attribute);
        let at = known.unwrap_or_else(|| {
            self.names.push(attribute.to_owned());
            self.names.len() - 1
        });
        format!("#{at}")
    }

    /// What a value is written as.
    pub(super) fn value(&mut self, attr: Attr) -> String {
        self.values.push(attr);
        format!(":{}", self.values.len() - 1)
    }

    /// The names for the request.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        let names: HashMap<String, String> = self.all_names().into_iter().collect();
        (!names.is_empty()).then_some(names)
    }

    /// The values for the request.
    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        let values = self.all_values().into_iter();
        let values = values.map(|(key, attr)| (key, into_sdk(attr.into_owned())));
        let values: HashMap<String, AttributeValue> = values.collect();
        (!values.is_empty()).then_some(values)
    }

    /// What the names are written as, and they.
    pub(super) fn all_names(&self) -> Vec<(String, String)> {
        let names = self.names.iter().enumerate();
        let names = names.map(|(at, name)| (format!("#{at}"), name.clone()));
        names.chain(self.printer.names()).collect()
    }

    /// What the values are written as, and they.
    pub(super) fn all_values(&self) -> Vec<(String, Cow<'_, Attr>)> {
        let values = self.values.iter().enumerate();
        let values = values.map(|(at, value)| (format!(":{at}"), Cow::Borrowed(value)));
        let printed = self.printer.values().into_iter();
        values
            .chain(printed.map(|(key, attr)| (key, Cow::Owned(attr))))
            .collect()
    }

    /// `#3 = :5`, or that there is no such attribute.
    pub(super) fn is(&mut self, attribute: &str, attr: Option<Attr>) -> String {
        let name = self.name(attribute);
        match attr {
            Some(attr) => format!("{name} = {}", self.value(attr)),
            None => format!("attribute_not_exists({name})"),
        }
    }

    fn is_marked(&mut self, mapping: &Mapping, mark: Mark) -> String {
        self.is(mapping.mark(), Some(letter(mark)))
    }

    fn exists(&mut self, mapping: &Mapping) -> String {
        format!("attribute_exists({})", self.name(&mapping.partition().name))
    }
}

fn letter(mark: Mark) -> Attr {
    Attr::S(mark.letter().into())
}

/// A condition, or none; what it names and compares with is added to the terms.
///
/// # Errors
/// [`Kind::Invalid`] for columns that the table hasn't and values that aren't of their type;
/// [`Unfit::TooLong`] for more of them than an expression holds.
pub(super) fn condition(
    mapping: &Mapping,
    on: &Condition,
    terms: &mut Terms,
) -> Fit<Option<String>> {
    let condition = match on {
        Condition::Always => None,
        Condition::In { states, now } => in_states(mapping, states, *now, terms),
        Condition::Cells { expected, now } => {
            let row = in_states(mapping, &[ItemState::Row], *now, terms);
            let mut all: Vec<String> = row.into_iter().collect();
            for (cell, value) in expected {
                all.push(is_cell(mapping, *cell, value.as_ref(), terms)?);
            }
            Some(all.join(" AND "))
        }
        Condition::Judged { rule, or, now } => Some(judged(mapping, rule, or, *now, terms)?),
        Condition::Decides(cells) => {
            let partial = terms.is_marked(mapping, Mark::Partial);
            Some(format!("{partial} AND {}", decides(mapping, cells, terms)?))
        }
        Condition::Marked(mark) => Some(terms.is_marked(mapping, *mark)),
        Condition::Same(seen) => Some(is_same(mapping, seen, terms)?),
    };
    condition.map(within_limit).transpose()
}

/// An expression that DynamoDB takes.
///
/// # Errors
/// [`Unfit::TooLong`] if it is longer, or has more operators.
pub(super) fn within_limit(expression: String) -> Fit<String> {
    let (bytes, operators) = (expression.len(), operators(&expression));
    if bytes <= LONGEST && operators <= OPERATORS {
        return Ok(expression);
    }
    let message = format!(
        "an expression over the columns of an item has {bytes} bytes and {operators} operators, DynamoDB takes \
         {LONGEST} and {OPERATORS}"
    );
    let error = Error::new(Kind::Invalid, message).with_help("change fewer columns at once");
    Err(Unfit::TooLong(error))
}

/// How many operators and functions an expression has: everything but words, names and values.
fn operators(expression: &str) -> usize {
    let words = expression.split(|c: char| c.is_whitespace() || "(),".contains(c));
    let is_operator = |word: &&str| {
        !word.is_empty()
            && !word.starts_with(['#', ':'])
            && !matches!(*word, "SET" | "REMOVE" | "ADD" | "DELETE")
    };
    words.filter(is_operator).count()
}

/// That it is a row of which a rule holds, or in one of these states.
fn judged(
    mapping: &Mapping,
    rule: &Rule,
    or: &[ItemState],
    now: i64,
    terms: &mut Terms,
) -> Fit<String> {
    let Some(said) = rule.as_a::<ItemRule>() else {
        let error = Error::new(Kind::Unsupported, "the rule can't be said in an expression");
        return Err(Unfit::TooLong(error));
    };
    let row = in_states(mapping, &[ItemState::Row], now, terms);
    let rule = said
        .condition()
        .map(|condition| terms.printer.enclosed(condition));
    let both: Vec<String> = row.into_iter().chain(rule).collect();
    let both = both.join(" AND ");
    if or.is_empty() {
        return Ok(both);
    }
    let others = in_states(mapping, or, now, terms);
    Ok(match others {
        Some(others) => format!("({others} OR ({both}))"),
        None => both,
    })
}

/// That the item is in one of these states; `None` if it always is.
fn in_states(
    mapping: &Mapping,
    states: &[ItemState],
    now: i64,
    terms: &mut Terms,
) -> Option<String> {
    let wants = |state: ItemState| states.contains(&state);
    // Without an attribute for it nothing expires.
    let expiry = mapping.expiry();
    let any_age = expiry.is_none() || wants(ItemState::Expired);
    if any_age
        && ItemState::ALL
            .into_iter()
            .all(|state| state == ItemState::Expired || wants(state))
    {
        return None;
    }
    let mut either = Vec::new();
    let live = marks_in(mapping, states, terms);
    match (live, expiry.filter(|_| !any_age)) {
        (Some(live), Some(expiry)) => {
            let (name, now) = (terms.name(expiry), terms.value(Attr::N(now.to_string())));
            either.push(format!(
                "({live} AND (attribute_not_exists({name}) OR {name} > {now}))"
            ));
        }
        (Some(live), None) => either.push(live),
        (None, _) => {}
    }
    if wants(ItemState::Absent) {
        either.push(terms.is(&mapping.partition().name, None));
    }
    if let Some(expiry) = expiry.filter(|_| wants(ItemState::Expired)) {
        let (name, now) = (terms.name(expiry), terms.value(Attr::N(now.to_string())));
        either.push(format!("{name} <= {now}"));
    }
    Some(match either.as_slice() {
        [] => never(mapping, terms),
        [one] => one.clone(),
        _ => format!("({})", either.join(" OR ")),
    })
}

/// That an item is there, and its mark is one of these states'; `None` for states without marks.
fn marks_in(mapping: &Mapping, states: &[ItemState], terms: &mut Terms) -> Option<String> {
    let mut marks = Vec::new();
    let mut either = Vec::new();
    for state in states {
        match state {
            ItemState::Row => {
                marks.extend([Mark::Copied, Mark::Resaved, Mark::Application]);
                let exists = terms.exists(mapping);
                either.push(format!("({exists} AND {})", terms.is(mapping.mark(), None)));
            }
            ItemState::Tombstone => marks.push(Mark::Tombstone),
            ItemState::Partial => marks.push(Mark::Partial),
            ItemState::Absent | ItemState::Expired => {}
        }
    }
    if marks.is_empty() {
        return None;
    }
    let marks: Vec<String> = marks
        .into_iter()
        .map(|mark| terms.value(letter(mark)))
        .collect();
    let mark = terms.name(mapping.mark());
    either.push(format!("{mark} IN ({})", marks.join(", ")));
    Some(format!("({})", either.join(" OR ")))
}

/// A condition that no item meets, nor its absence.
fn never(mapping: &Mapping, terms: &mut Terms) -> String {
    let name = terms.name(&mapping.partition().name);
    format!("attribute_exists({name}) AND attribute_not_exists({name})")
}

fn is_cell(
    mapping: &Mapping,
    cell: usize,
    value: Option<&Value>,
    terms: &mut Terms,
) -> Result<String> {
    let attr = mapping.cell(cell, value)?;
    Ok(terms.is(&mapping.column(cell)?.name, attr))
}

fn decides(mapping: &Mapping, cells: &BTreeSet<usize>, terms: &mut Terms) -> Result<String> {
    let names = match cells.is_empty() {
        true => None,
        false => Some(mapping.decided_names(cells)?),
    };
    Ok(terms.is(mapping.decided(), names))
}

fn is_same(mapping: &Mapping, seen: &Row, terms: &mut Terms) -> Result<String> {
    let mut all = Vec::new();
    match (mapping.expiry(), seen.expires) {
        (None, None) => {}
        (None, Some(_)) => return Ok(never(mapping, terms)),
        (Some(name), expires) => {
            all.push(terms.is(name, expires.map(|at| Attr::N(at.to_string()))));
        }
    }
    if seen.mark.is_none() {
        all.push(terms.exists(mapping));
    }
    all.push(terms.is(mapping.mark(), seen.mark.map(letter)));
    all.push(decides(mapping, &seen.decided, terms)?);
    // A partial item has nothing outside the cells that it decides; an expression couldn't hold more of a
    // wide table.
    let is_partial = seen.mark == Some(Mark::Partial);
    let cells = seen.cells.iter().enumerate();
    for (cell, value) in cells.filter(|(cell, _)| !is_partial || seen.decided.contains(cell)) {
        all.push(is_cell(mapping, cell, value.as_ref(), terms)?);
    }
    Ok(all.join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_counted() {
        let of = [
            (
                "SET #0 = :0, #1 = if_not_exists(#1, :1) REMOVE #2 ADD #3 :3",
                3,
            ),
            ("#0 = :0 AND attribute_not_exists(#1)", 3),
            ("((attribute_exists(#0) AND #1 IN (:1, :2)) OR #2 <= :3)", 5),
        ];
        for (expression, count) in of {
            assert_eq!(operators(expression), count, "{expression}");
        }
    }

    #[test]
    fn an_expression_is_refused_for_its_length_and_for_its_operators() {
        let equal = |count: usize| {
            let all: Vec<String> = (0..count).map(|at| format!("#{at} = :{at}")).collect();
            all.join(" AND ")
        };
        assert!(within_limit(equal(150)).is_ok());
        assert!(matches!(within_limit(equal(151)), Err(Unfit::TooLong(_))));
        assert!(within_limit("x".repeat(LONGEST)).is_ok());
        assert!(within_limit("x".repeat(LONGEST + 1)).is_err());
    }
}
