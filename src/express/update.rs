//! Updates: parsed.

use super::ast::{Operand, Path};
use super::condition::{needs_path, not_distinct, operand, redundant, wrong_type};
use super::placeholders::Placeholders;
use super::refused;
use super::token::{Token, TokenStream, refuse_overlap};
use crate::error::Result;
use crate::item::Attr;

/// An update.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateExpression {
    /// What it does, in the order it was written. All of it sees the item as it was before.
    pub actions: Vec<Action>,
}

/// One of an update's parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `SET path = amount`
    Set(Path, Amount),
    /// `REMOVE path`
    Remove(Path),
    /// `ADD path :value`: to a number, or to a set
    Add(Path, Attr),
    /// `DELETE path :value`: from a set
    Delete(Path, Attr),
}

/// What a path is set to.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    /// A value of the request.
    Value(Attr),
    /// What is at another path.
    Path(Path),
    /// What is at a path, or else something.
    IfNotExists(Path, Box<Amount>),
    /// One list with another one at its end.
    Append(Box<Amount>, Box<Amount>),
    /// The sum of two numbers.
    Plus(Box<Amount>, Box<Amount>),
    /// One number less another one.
    Minus(Box<Amount>, Box<Amount>),
}

impl Action {
    /// What it changes.
    pub fn path(&self) -> &Path {
        match self {
            Action::Set(path, _)
            | Action::Remove(path)
            | Action::Add(path, _)
            | Action::Delete(path, _) => path,
        }
    }
}

impl UpdateExpression {
    /// An update from its text.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] with the words of the service, without the name of the parameter before them.
    pub fn parse(text: &str, placeholders: &Placeholders) -> Result<Self> {
        let mut tokens = TokenStream::of(text, placeholders)?;
        let mut actions = Vec::new();
        let mut seen = Vec::new();
        loop {
            let Token::Keyword(word @ ("SET" | "REMOVE" | "ADD" | "DELETE")) = tokens.peek() else {
                return Err(tokens.unexpected());
            };
            if seen.contains(&word) {
                return Err(refused(format!(
                    "The \"{word}\" section can only be used once in an update expression;"
                )));
            }
            seen.push(word);
            tokens.next();
            section(&mut tokens, word, &mut actions)?;
            if tokens.peek() == Token::End {
                break;
            }
        }
        refuse_overlap(actions.iter().map(Action::path))?;
        Ok(UpdateExpression { actions })
    }

    /// The paths that it changes.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.actions.iter().map(Action::path)
    }
}

fn section(tokens: &mut TokenStream<'_>, word: &str, actions: &mut Vec<Action>) -> Result<()> {
    loop {
        let path = tokens.path()?;
        actions.push(match word {
            "SET" => {
                tokens.expect("=")?;
                tokens.count()?;
                Action::Set(path, amount(tokens)?)
            }
            "REMOVE" => Action::Remove(path),
            "ADD" => Action::Add(path, change(tokens, word)?),
            _ => Action::Delete(path, change(tokens, word)?),
        });
        if !tokens.take(",") {
            return Ok(());
        }
    }
}

/// The value of an `ADD` or a `DELETE`.
fn change(tokens: &mut TokenStream<'_>, word: &str) -> Result<Attr> {
    let Some(value) = tokens.value()? else {
        return Err(tokens.unexpected());
    };
    let fits = match &value {
        Attr::N(_) => word == "ADD",
        Attr::Ss(_) | Attr::Ns(_) | Attr::Bs(_) => true,
        Attr::S(_) | Attr::B(_) | Attr::Bool(_) | Attr::Null | Attr::L(_) | Attr::M(_) => false,
    };
    if !fits {
        let name = match &value {
            Attr::S(_) => "STRING",
            Attr::N(_) => "NUMBER",
            Attr::B(_) => "BINARY",
            Attr::Bool(_) => "BOOLEAN",
            Attr::Null => "NULL",
            Attr::L(_) => "LIST",
            Attr::M(_) => "MAP",
            Attr::Ss(_) | Attr::Ns(_) | Attr::Bs(_) => "SET",
        };
        return Err(refused(format!(
            "Incorrect operand type for operator or function; operator: {word}, operand type: {name}, typeSet: \
             ALLOWED_FOR_{word}_OPERAND"
        )));
    }
    Ok(value)
}

fn amount(tokens: &mut TokenStream<'_>) -> Result<Amount> {
    if tokens.peek() == Token::Sign("(") {
        // `(a) + :b`, or `(a + :b)`: only what follows tells.
        let here = tokens.mark();
        if let Ok(first) = part(tokens) {
            return rest(tokens, first);
        }
        tokens.back_to(here);
        tokens.expect("(")?;
        if tokens.peek() == Token::Sign("(") && encloses_all(tokens) {
            return Err(redundant());
        }
        let first = part(tokens)?;
        let inner = rest(tokens, first)?;
        tokens.expect(")")?;
        return Ok(inner);
    }
    let first = part(tokens)?;
    rest(tokens, first)
}

/// Whether the next parenthesis and the one before it enclose the same.
fn encloses_all(tokens: &mut TokenStream<'_>) -> bool {
    let here = tokens.mark();
    let mut depth = 0_usize;
    let closed = loop {
        match tokens.next() {
            Token::Sign("(") => depth += 1,
            Token::Sign(")") if depth == 1 => break true,
            Token::Sign(")") => depth = depth.saturating_sub(1),
            Token::End => break false,
            Token::Sign(_)
            | Token::Name(_)
            | Token::Keyword(_)
            | Token::NameKey(_)
            | Token::ValueKey(_)
            | Token::Digits(_) => {}
        }
    };
    let is_followed = tokens.peek() == Token::Sign(")");
    tokens.back_to(here);
    closed && is_followed
}

/// What may follow the first operand: one more, with a sign between them.
fn rest(tokens: &mut TokenStream<'_>, first: Amount) -> Result<Amount> {
    let sign = match tokens.peek() {
        Token::Sign(sign @ ("+" | "-")) => sign,
        Token::Sign(_)
        | Token::Name(_)
        | Token::Keyword(_)
        | Token::NameKey(_)
        | Token::ValueKey(_)
        | Token::Digits(_)
        | Token::End => return Ok(first),
    };
    tokens.next();
    tokens.count()?;
    let second = part(tokens)?;
    for operand in [&first, &second] {
        match operand {
            Amount::Value(Attr::N(_)) | Amount::Path(_) | Amount::IfNotExists(_, _) => {}
            Amount::Value(value) => return Err(wrong_type(sign, value)),
            Amount::Append(_, _) | Amount::Plus(_, _) | Amount::Minus(_, _) => {
                return Err(misused("list_append"));
            }
        }
    }
    let (first, second) = (Box::new(first), Box::new(second));
    Ok(match sign {
        "+" => Amount::Plus(first, second),
        _ => Amount::Minus(first, second),
    })
}

fn misused(name: &str) -> crate::error::Error {
    refused(format!(
        "The function is not allowed to be used this way in an expression; function: {name}"
    ))
}

/// A value, a path or a function, in parentheses or not.
fn part(tokens: &mut TokenStream<'_>) -> Result<Amount> {
    let here = tokens.mark();
    match tokens.take_call() {
        Some("if_not_exists") => if_not_exists(tokens),
        Some("list_append") => list_append(tokens),
        Some("size") => Err(refused(
            "The function is not allowed in an update expression; function: size",
        )),
        Some(
            name @ ("attribute_exists"
            | "attribute_not_exists"
            | "attribute_type"
            | "begins_with"
            | "contains"),
        ) => Err(refused(format!(
            "The function is not allowed in an update expression; function: {name}"
        ))),
        Some(name) => Err(refused(format!("Invalid function name; function: {name}"))),
        None => {
            tokens.back_to(here);
            match operand(tokens)? {
                Operand::Path(path) => Ok(Amount::Path(path)),
                Operand::Value(value) => Ok(Amount::Value(value)),
                Operand::Size(_) | Operand::SizeOf(_) => Err(refused(
                    "The function is not allowed in an update expression; function: size",
                )),
            }
        }
    }
}

/// Two operands and the parenthesis after them.
fn two(tokens: &mut TokenStream<'_>, name: &str) -> Result<(Amount, Amount)> {
    tokens.count()?;
    let first = tokens.nested(part)?;
    if tokens.take(")") {
        return Err(miscounted(name, 1));
    }
    tokens.expect(",")?;
    let second = tokens.nested(part)?;
    if tokens.peek() == Token::Sign(",") {
        return Err(miscounted(name, 3));
    }
    tokens.expect(")")?;
    Ok((first, second))
}

fn miscounted(name: &str, count: usize) -> crate::error::Error {
    refused(format!(
        "Incorrect number of operands for operator or function; operator or function: {name}, number of operands: {count}"
    ))
}

fn if_not_exists(tokens: &mut TokenStream<'_>) -> Result<Amount> {
    let (first, second) = two(tokens, "if_not_exists")?;
    match (first, second) {
        (_, Amount::Append(_, _)) => Err(misused("list_append")),
        (Amount::Path(path), Amount::Path(second)) if path == second => {
            Err(not_distinct("if_not_exists", &path))
        }
        (Amount::Path(path), second) => Ok(Amount::IfNotExists(path, Box::new(second))),
        (
            Amount::Value(_)
            | Amount::IfNotExists(_, _)
            | Amount::Append(_, _)
            | Amount::Plus(_, _)
            | Amount::Minus(_, _),
            _,
        ) => Err(needs_path("if_not_exists")),
    }
}

fn list_append(tokens: &mut TokenStream<'_>) -> Result<Amount> {
    let (first, second) = two(tokens, "list_append")?;
    for operand in [&first, &second] {
        match operand {
            Amount::Value(Attr::L(_)) | Amount::Path(_) | Amount::IfNotExists(_, _) => {}
            Amount::Value(value) => return Err(wrong_type("list_append", value)),
            Amount::Append(_, _) | Amount::Plus(_, _) | Amount::Minus(_, _) => {
                return Err(misused("list_append"));
            }
        }
    }
    Ok(Amount::Append(Box::new(first), Box::new(second)))
}
