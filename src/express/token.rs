//! Expressions as tokens, and what all grammars share: paths, values, refusals that name the place.

use super::ast::{Path, PathStep};
use super::placeholders::Placeholders;
use super::reserved::is_reserved;
use super::{DEEPEST, LONGEST, MOST_OPERATORS, MOST_STEPS, refused};
use crate::error::{Error, Result};
use crate::item::Attr;

/// Words that are never names, in any case.
const KEYWORDS: [&str; 9] = [
    "AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name as it is typed; also the name of a function.
    Name(&'t str),
    /// One of [`KEYWORDS`].
    Keyword(&'static str),
    /// `#name`.
    NameKey(&'t str),
    /// `:value`.
    ValueKey(&'t str),
    /// Digits.
    Digits(&'t str),
    /// Everything else: `(`, `<=`, and what no grammar knows.
    Sign(&'t str),
    /// There is nothing more.
    End,
}

#[derive(Clone, Copy)]
struct Placed<'t> {
    token: Token<'t>,
    from: usize,
    to: usize,
}

/// An expression that is being parsed.
pub(super) struct TokenStream<'t> {
    text: &'t str,
    placed: Vec<Placed<'t>>,
    at: usize,
    operators: usize,
    depth: usize,
    pub(super) placeholders: &'t Placeholders,
}

/// The end of the run of bytes that begins here.
fn run(text: &str, from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let rest = text.as_bytes().iter().skip(from);
    from + rest.take_while(|byte| belongs(**byte)).count()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn place(text: &str, from: usize) -> Placed<'_> {
    let rest = &text[from..];
    let first = rest.chars().next().unwrap_or(' ');
    let piece = |to: usize| &text[from..to];
    let (to, token) = match first {
        'a'..='z' | 'A'..='Z' => {
            let to = run(text, from, is_word);
            let keyword = KEYWORDS
                .iter()
                .find(|word| word.eq_ignore_ascii_case(piece(to)));
            let token = match keyword {
                Some(word) => Token::Keyword(word),
                None => Token::Name(piece(to)),
            };
            (to, token)
        }
        '0'..='9' => {
            // A leading zero is alone: `[00]` is no index.
            let to = match first {
                '0' => from + 1,
                _ => run(text, from, |byte| byte.is_ascii_digit()),
            };
            (to, Token::Digits(piece(to)))
        }
        '#' | ':' => {
            let to = run(text, from + 1, is_word);
            let token = match (first, to == from + 1) {
                (_, true) => Token::Sign(piece(to)),
                ('#', false) => Token::NameKey(piece(to)),
                (_, false) => Token::ValueKey(piece(to)),
            };
            (to, token)
        }
        _ => {
            let two = ["<=", ">=", "<>"].iter().any(|sign| rest.starts_with(sign));
            let to = from + if two { 2 } else { first.len_utf8() };
            (to, Token::Sign(piece(to)))
        }
    };
    Placed { token, from, to }
}

impl<'t> TokenStream<'t> {
    pub(super) fn of(text: &'t str, placeholders: &'t Placeholders) -> Result<Self> {
        if text.is_empty() {
            return Err(refused("The expression can not be empty;"));
        }
        if text.len() > LONGEST {
            return Err(refused(format!(
                "Expression size has exceeded the maximum allowed size; expression size: {}",
                text.len()
            )));
        }
        let mut placed = Vec::new();
        let mut from = 0;
        while let Some(first) = text[from..].chars().next() {
            if first.is_ascii_whitespace() {
                from += 1;
                continue;
            }
            let next = place(text, from);
            from = next.to;
            placed.push(next);
        }
        Ok(TokenStream {
            text,
            placed,
            at: 0,
            operators: 0,
            depth: 0,
            placeholders,
        })
    }

    fn ahead(&self, by: usize) -> Token<'t> {
        self.placed
            .get(self.at + by)
            .map_or(Token::End, |placed| placed.token)
    }

    pub(super) fn peek(&self) -> Token<'t> {
        self.ahead(0)
    }

    pub(super) fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// A place to come back to.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.at, self.operators)
    }

    pub(super) fn back_to(&mut self, (at, operators): (usize, usize)) {
        (self.at, self.operators) = (at, operators);
    }

    /// Takes this sign, if it is the next token.
    pub(super) fn take(&mut self, sign: &str) -> bool {
        let is = self.peek() == Token::Sign(sign);
        self.at += usize::from(is);
        is
    }

    /// Takes this keyword, if it is the next token.
    pub(super) fn take_keyword(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Token::Keyword(found) if found == word);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<()> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    pub(super) fn expect_end(&self) -> Result<()> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    /// The function that is called next, if one is; taken with its parenthesis.
    pub(super) fn take_call(&mut self) -> Option<&'t str> {
        match (self.peek(), self.ahead(1)) {
            (Token::Name(name), Token::Sign("(")) => {
                self.at += 2;
                Some(name)
            }
            _ => None,
        }
    }

    /// A refusal of the next token.
    pub(super) fn unexpected(&self) -> Error {
        let here = self.at.min(self.placed.len());
        let before = here.checked_sub(1).and_then(|at| self.placed.get(at));
        let (this, after) = (self.placed.get(here), self.placed.get(here + 1));
        let token = this.map_or("<EOF>", |placed| &self.text[placed.from..placed.to]);
        let from = before.or(this).map_or(0, |placed| placed.from);
        let to = after.or(this).map_or(self.text.len(), |placed| placed.to);
        refused(format!(
            "Syntax error; token: \"{token}\", near: \"{}\"",
            &self.text[from..to]
        ))
    }

    /// Counts an operator or a function.
    pub(super) fn count(&mut self) -> Result<()> {
        self.operators += 1;
        match self.operators > MOST_OPERATORS {
            true => Err(refused(format!(
                "The expression contains too many operators; the most are {MOST_OPERATORS}"
            ))),
            false => Ok(()),
        }
    }

    /// Goes a level deeper.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEEPEST {
            return Err(refused(format!(
                "The expression is nested too deeply; the most levels are {DEEPEST}"
            )));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// A value, if it is the next token.
    pub(super) fn value(&mut self) -> Result<Option<Attr>> {
        let Token::ValueKey(key) = self.peek() else {
            return Ok(None);
        };
        self.at += 1;
        self.placeholders.value(key).map(Some)
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Token::Name(name) if is_reserved(name) => Err(refused(format!(
                "Attribute name is a reserved keyword; reserved keyword: {name}"
            ))),
            Token::Name(name) => {
                self.at += 1;
                Ok(name.to_owned())
            }
            Token::NameKey(key) => {
                self.at += 1;
                self.placeholders.name(key)
            }
            Token::Keyword(_)
            | Token::ValueKey(_)
            | Token::Digits(_)
            | Token::Sign(_)
            | Token::End => Err(self.unexpected()),
        }
    }

    /// A document path.
    pub(super) fn path(&mut self) -> Result<Path> {
        let mut path = Path::attribute(self.name()?);
        loop {
            if self.take(".") {
                path.steps.push(PathStep::Field(self.name()?));
            } else if self.take("[") {
                let Token::Digits(digits) = self.peek() else {
                    return Err(self.unexpected());
                };
                let index: u32 = digits.parse().map_err(|_| {
                    refused(format!(
                        "List index is not within the allowable range; index: [{digits}]"
                    ))
                })?;
                self.at += 1;
                self.expect("]")?;
                path.steps.push(PathStep::Index(index as usize));
            } else {
                break;
            }
            if path.steps.len() >= MOST_STEPS {
                return Err(refused(
                    "The document path has too many nesting elements; nesting levels: 33",
                ));
            }
        }
        Ok(path)
    }

    /// Paths that are separated by commas.
    pub(super) fn paths(&mut self) -> Result<Vec<Path>> {
        let mut paths = vec![self.path()?];
        while self.take(",") {
            paths.push(self.path()?);
        }
        Ok(paths)
    }
}

/// Refuses paths of which one lies within another one, or that take the same thing for a map and a list.
pub(super) fn refuse_overlap<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<()> {
    let mut seen: Vec<&Path> = Vec::new();
    for path in paths {
        for other in &seen {
            if other.attribute != path.attribute {
                continue;
            }
            let mut steps = other.steps.iter().zip(&path.steps);
            let verb = match steps.find(|(one, two)| one != two) {
                None => "overlap",
                Some(
                    (PathStep::Field(_), PathStep::Index(_))
                    | (PathStep::Index(_), PathStep::Field(_)),
                ) => "conflict",
                Some(
                    (PathStep::Field(_), PathStep::Field(_))
                    | (PathStep::Index(_), PathStep::Index(_)),
                ) => {
                    continue;
                }
            };
            return Err(refused(format!(
                "Two document paths {verb} with each other; must remove or rewrite one of these paths; path one: \
                 {other}, path two: {path}"
            )));
        }
        seen.push(path);
    }
    Ok(())
}
