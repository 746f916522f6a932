//! Conditions and filters: parsed and evaluated.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::{Comparison, ConditionExpression, Operand, Path};
use super::placeholders::Placeholders;
use super::token::{Token, TokenStream};
use super::value::{self, equal, order, type_name};
use super::{Item, MOST_CHOICES, refused};
use crate::error::Result;
use crate::item::Attr;

/// The types there are, as `attribute_type` names them.
const TYPES: [&str; 10] = ["S", "N", "B", "SS", "NS", "BS", "BOOL", "NULL", "L", "M"];

impl ConditionExpression {
    /// A condition or a filter from its text.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] with the words of the service, without the name of the parameter before them.
    pub fn parse(text: &str, placeholders: &Placeholders) -> Result<Self> {
        let mut tokens = TokenStream::of(text, placeholders)?;
        let (condition, _) = any(&mut tokens)?;
        tokens.expect_end()?;
        Ok(condition)
    }

    /// Whether it holds for an item; `None` is a key that has none.
    pub fn holds(&self, item: Option<&Item>) -> bool {
        match self {
            ConditionExpression::And(all) => all.iter().all(|one| one.holds(item)),
            ConditionExpression::Or(all) => all.iter().any(|one| one.holds(item)),
            ConditionExpression::Not(inner) => !inner.holds(item),
            ConditionExpression::Compare(one, comparison, two) => compare(
                one.of(item).as_deref(),
                *comparison,
                two.of(item).as_deref(),
            ),
            ConditionExpression::Between(one, low, high) => {
                let (one, low, high) = (one.of(item), low.of(item), high.of(item));
                compare(one.as_deref(), Comparison::GreaterOrEqual, low.as_deref())
                    && compare(one.as_deref(), Comparison::LessOrEqual, high.as_deref())
            }
            ConditionExpression::In(one, choices) => {
                let one = one.of(item);
                let is = |choice: &Operand| {
                    compare(
                        one.as_deref(),
                        Comparison::Equal,
                        choice.of(item).as_deref(),
                    )
                };
                choices.iter().any(is)
            }
            ConditionExpression::Exists(path) => path.of(item).is_some(),
            ConditionExpression::NotExists(path) => path.of(item).is_none(),
            ConditionExpression::HasType(path, name) => {
                path.of(item).is_some_and(|found| type_name(found) == name)
            }
            ConditionExpression::BeginsWith(one, two) => {
                match (one.of(item).as_deref(), two.of(item).as_deref()) {
                    (Some(Attr::S(text)), Some(Attr::S(start))) => text.starts_with(start.as_str()),
                    (Some(Attr::B(bytes)), Some(Attr::B(start))) => bytes.starts_with(start),
                    (_, _) => false,
                }
            }
            ConditionExpression::Contains(one, two) => match (one.of(item), two.of(item)) {
                (Some(one), Some(two)) => value::contains(&one, &two),
                (_, _) => false,
            },
        }
    }
}

/// Nothing equals nothing, and differs from everything.
fn compare(one: Option<&Attr>, comparison: Comparison, two: Option<&Attr>) -> bool {
    let (Some(one), Some(two)) = (one, two) else {
        return comparison == Comparison::NotEqual;
    };
    match comparison {
        Comparison::Equal => equal(one, two),
        Comparison::NotEqual => !equal(one, two),
        Comparison::Less => order(one, two) == Some(Ordering::Less),
        Comparison::LessOrEqual => order(one, two).is_some_and(Ordering::is_le),
        Comparison::Greater => order(one, two) == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order(one, two).is_some_and(Ordering::is_ge),
    }
}

impl Path {
    /// What an item has there.
    pub fn of<'i>(&self, item: Option<&'i Item>) -> Option<&'i Attr> {
        value::at(item?.get(&self.attribute)?, &self.steps)
    }
}

impl Operand {
    /// What it is for an item.
    pub(super) fn of<'i>(&'i self, item: Option<&'i Item>) -> Option<Cow<'i, Attr>> {
        let size =
            |value: &Attr| value::size(value).map(|size| Cow::Owned(Attr::N(size.to_string())));
        match self {
            Operand::Path(path) => path.of(item).map(Cow::Borrowed),
            Operand::Value(value) => Some(Cow::Borrowed(value)),
            Operand::Size(path) => path.of(item).and_then(size),
            Operand::SizeOf(value) => size(value),
        }
    }
}

/// A condition, and whether it is in parentheses of its own.
type Parsed = (ConditionExpression, bool);

fn any(tokens: &mut TokenStream<'_>) -> Result<Parsed> {
    several(tokens, "OR", all, ConditionExpression::Or)
}

fn all(tokens: &mut TokenStream<'_>) -> Result<Parsed> {
    several(tokens, "AND", negated, ConditionExpression::And)
}

fn several(
    tokens: &mut TokenStream<'_>,
    word: &str,
    part: fn(&mut TokenStream<'_>) -> Result<Parsed>,
    of: fn(Vec<ConditionExpression>) -> ConditionExpression,
) -> Result<Parsed> {
    let (first, enclosed) = part(tokens)?;
    if !tokens.take_keyword(word) {
        return Ok((first, enclosed));
    }
    tokens.count()?;
    let mut parts = vec![first, part(tokens)?.0];
    while tokens.take_keyword(word) {
        tokens.count()?;
        parts.push(part(tokens)?.0);
    }
    Ok((of(parts), false))
}

fn negated(tokens: &mut TokenStream<'_>) -> Result<Parsed> {
    if !tokens.take_keyword("NOT") {
        return single(tokens);
    }
    tokens.count()?;
    let (inner, _) = tokens.nested(negated)?;
    Ok((ConditionExpression::Not(Box::new(inner)), false))
}

fn single(tokens: &mut TokenStream<'_>) -> Result<Parsed> {
    if tokens.peek() == Token::Sign("(") {
        // `(a = :b)`, or `(a) = :b`: only what follows the parenthesis tells.
        let here = tokens.mark();
        match operand(tokens) {
            Ok(first) if compares(tokens.peek()) => return Ok((comparison(tokens, first)?, false)),
            Ok(_) | Err(_) => tokens.back_to(here),
        }
        tokens.expect("(")?;
        let (inner, enclosed) = tokens.nested(any)?;
        tokens.expect(")")?;
        return match enclosed {
            true => Err(redundant()),
            false => Ok((inner, true)),
        };
    }
    let here = tokens.mark();
    if let Some(name) = tokens.take_call()
        && name != "size"
    {
        return Ok((call(tokens, name)?, false));
    }
    tokens.back_to(here);
    let first = operand(tokens)?;
    if !compares(tokens.peek()) && matches!(first, Operand::Size(_) | Operand::SizeOf(_)) {
        return Err(refused(
            "The function is not allowed to be used this way in an expression; function: size",
        ));
    }
    Ok((comparison(tokens, first)?, false))
}

pub(super) fn redundant() -> crate::error::Error {
    refused("The expression has redundant parentheses;")
}

/// Whether an operand before this token is compared with another one.
fn compares(token: Token<'_>) -> bool {
    match token {
        Token::Sign(sign) => Comparison::of(sign).is_some(),
        Token::Keyword(word) => matches!(word, "BETWEEN" | "IN"),
        Token::Name(_) | Token::NameKey(_) | Token::ValueKey(_) | Token::Digits(_) | Token::End => {
            false
        }
    }
}

fn comparison(tokens: &mut TokenStream<'_>, first: Operand) -> Result<ConditionExpression> {
    match tokens.peek() {
        Token::Keyword("BETWEEN") => between(tokens, first),
        Token::Keyword("IN") => choice(tokens, first),
        Token::Sign(sign) => match Comparison::of(sign) {
            Some(how) => {
                tokens.next();
                tokens.count()?;
                let second = operand(tokens)?;
                let is_ordered = !matches!(how, Comparison::Equal | Comparison::NotEqual);
                for one in [&first, &second].into_iter().filter(|_| is_ordered) {
                    orderable(sign, one)?;
                }
                distinct(sign, &first, [&second])?;
                Ok(ConditionExpression::Compare(first, how, second))
            }
            None => Err(tokens.unexpected()),
        },
        Token::Name(_)
        | Token::Keyword(_)
        | Token::NameKey(_)
        | Token::ValueKey(_)
        | Token::Digits(_)
        | Token::End => Err(tokens.unexpected()),
    }
}

fn between(tokens: &mut TokenStream<'_>, first: Operand) -> Result<ConditionExpression> {
    tokens.next();
    tokens.count()?;
    let low = operand(tokens)?;
    if !tokens.take_keyword("AND") {
        return Err(tokens.unexpected());
    }
    let high = operand(tokens)?;
    for one in [&first, &low, &high] {
        orderable("BETWEEN", one)?;
    }
    distinct("BETWEEN", &first, [&low, &high])?;
    if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
        let bounds = |what: &str| {
            refused(format!(
                "The BETWEEN operator requires {what}; lower bound operand: AttributeValue: {}, upper bound operand: \
                 AttributeValue: {}",
                value::shown(low),
                value::shown(high)
            ))
        };
        match order(low, high) {
            None => return Err(bounds("same data type for lower and upper bounds")),
            Some(Ordering::Greater) => {
                return Err(bounds(
                    "upper bound to be greater than or equal to lower bound",
                ));
            }
            Some(Ordering::Less | Ordering::Equal) => {}
        }
    }
    Ok(ConditionExpression::Between(first, low, high))
}

fn choice(tokens: &mut TokenStream<'_>, first: Operand) -> Result<ConditionExpression> {
    tokens.next();
    tokens.count()?;
    tokens.expect("(")?;
    let mut choices = vec![operand(tokens)?];
    while tokens.take(",") {
        choices.push(operand(tokens)?);
    }
    tokens.expect(")")?;
    if choices.len() > MOST_CHOICES {
        return Err(refused(format!(
            "The IN operator is provided with too many operands; number of operands: {}",
            choices.len()
        )));
    }
    distinct("IN", &first, &choices)?;
    Ok(ConditionExpression::In(first, choices))
}

/// A function that is a condition. Its name and parenthesis are taken.
fn call(tokens: &mut TokenStream<'_>, name: &str) -> Result<ConditionExpression> {
    let wanted = match name {
        "attribute_exists" | "attribute_not_exists" => 1,
        "attribute_type" | "begins_with" | "contains" => 2,
        "if_not_exists" | "list_append" => {
            return Err(refused(format!(
                "The function is not allowed in a condition expression; function: {name}"
            )));
        }
        _ => return Err(refused(format!("Invalid function name; function: {name}"))),
    };
    tokens.count()?;
    let operands = operands(tokens)?;
    let count = operands.len();
    let miscounted = || {
        refused(format!(
            "Incorrect number of operands for operator or function; operator or function: {name}, number of \
             operands: {count}"
        ))
    };
    if count != wanted {
        return Err(miscounted());
    }
    let mut operands = operands.into_iter();
    let first = operands.next().ok_or_else(miscounted)?;
    let path = |operand: Operand| match operand {
        Operand::Path(path) => Ok(path),
        Operand::Value(_) | Operand::Size(_) | Operand::SizeOf(_) => Err(needs_path(name)),
    };
    let Some(second) = operands.next() else {
        return match name {
            "attribute_exists" => path(first).map(ConditionExpression::Exists),
            _ => path(first).map(ConditionExpression::NotExists),
        };
    };
    distinct(name, &first, [&second])?;
    match name {
        "attribute_type" => has_type(path(first)?, second),
        "begins_with" => {
            for one in [&first, &second] {
                match one {
                    Operand::Path(_) | Operand::Value(Attr::S(_) | Attr::B(_)) => {}
                    Operand::Value(value) => return Err(wrong_type(name, value)),
                    Operand::Size(_) | Operand::SizeOf(_) => {
                        return Err(wrong_type(name, &Attr::N(String::new())));
                    }
                }
            }
            Ok(ConditionExpression::BeginsWith(first, second))
        }
        _ => Ok(ConditionExpression::Contains(first, second)),
    }
}

fn has_type(path: Path, ty: Operand) -> Result<ConditionExpression> {
    match ty {
        Operand::Value(Attr::S(name)) if TYPES.contains(&name.as_str()) => {
            Ok(ConditionExpression::HasType(path, name))
        }
        Operand::Value(Attr::S(name)) => Err(refused(format!(
            "Invalid attribute type name found; type: {name}, valid types: {{{}}}",
            TYPES.join(",")
        ))),
        Operand::Value(other) => Err(wrong_type("attribute_type", &other)),
        Operand::Path(_) | Operand::Size(_) | Operand::SizeOf(_) => Err(refused(
            "Incorrect operand type for operator or function; operator or function: attribute_type",
        )),
    }
}

/// The operands of a call, up to its parenthesis.
fn operands(tokens: &mut TokenStream<'_>) -> Result<Vec<Operand>> {
    let mut operands = vec![operand(tokens)?];
    while tokens.take(",") {
        operands.push(operand(tokens)?);
    }
    tokens.expect(")")?;
    Ok(operands)
}

/// A path, a value or a size, in parentheses or not.
pub(super) fn operand(tokens: &mut TokenStream<'_>) -> Result<Operand> {
    if tokens.take("(") {
        if tokens.peek() == Token::Sign("(") {
            // Whether it is redundant or a condition, it is no operand.
            return Err(redundant());
        }
        let inner = operand(tokens)?;
        tokens.expect(")")?;
        return Ok(inner);
    }
    if let Some(value) = tokens.value()? {
        return Ok(Operand::Value(value));
    }
    match tokens.take_call() {
        Some("size") => size(tokens),
        Some(name) => Err(refused(format!("Invalid function name; function: {name}"))),
        None => tokens.path().map(Operand::Path),
    }
}

fn size(tokens: &mut TokenStream<'_>) -> Result<Operand> {
    tokens.count()?;
    let operands = operands(tokens)?;
    let count = operands.len();
    match operands.into_iter().next() {
        Some(Operand::Path(path)) if count == 1 => Ok(Operand::Size(path)),
        Some(Operand::Value(value)) if count == 1 => match value::size(&value) {
            Some(_) => Ok(Operand::SizeOf(value)),
            None => Err(wrong_type("size", &value)),
        },
        Some(Operand::Size(_) | Operand::SizeOf(_)) if count == 1 => Err(refused(
            "The function is not allowed to be used this way in an expression; function: size",
        )),
        Some(_) | None => Err(refused(format!(
            "Incorrect number of operands for operator or function; operator or function: size, number of operands: \
             {count}"
        ))),
    }
}

pub(super) fn needs_path(name: &str) -> crate::error::Error {
    refused(format!(
        "Operator or function requires a document path; operator or function: {name}"
    ))
}

pub(super) fn wrong_type(name: &str, value: &Attr) -> crate::error::Error {
    refused(format!(
        "Incorrect operand type for operator or function; operator or function: {name}, operand type: {}",
        type_name(value)
    ))
}

/// Refuses a value that has no order.
fn orderable(sign: &str, operand: &Operand) -> Result<()> {
    match operand {
        Operand::Value(Attr::S(_) | Attr::N(_) | Attr::B(_)) => Ok(()),
        Operand::Value(value) => Err(wrong_type(sign, value)),
        Operand::Path(_) | Operand::Size(_) | Operand::SizeOf(_) => Ok(()),
    }
}

/// Refuses to compare a path with itself.
fn distinct<'o>(
    sign: &str,
    first: &Operand,
    others: impl IntoIterator<Item = &'o Operand>,
) -> Result<()> {
    let Some(path) = first.path() else {
        return Ok(());
    };
    match others.into_iter().any(|other| other.path() == Some(path)) {
        true => Err(not_distinct(sign, path)),
        false => Ok(()),
    }
}

pub(super) fn not_distinct(sign: &str, path: &Path) -> crate::error::Error {
    refused(format!(
        "The first operand must be distinct from the remaining operands for this operator or function; operator: \
         {sign}, first operand: {path}"
    ))
}
