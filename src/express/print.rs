//! Expressions as text again, with placeholders of their own.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::ast::{ConditionExpression, Operand, Path, PathStep};
use super::update::{Action, Amount, UpdateExpression};
use crate::item::Attr;

/// Gathers the names and values of what it prints. One for each request.
#[derive(Clone, Debug, Default)]
pub struct Printer {
    names: BTreeMap<String, String>,
    values: Vec<Attr>,
}

impl Printer {
    /// A condition's text.
    pub fn condition(&mut self, condition: &ConditionExpression) -> String {
        match condition {
            ConditionExpression::And(all) => self.joined(all, " AND "),
            ConditionExpression::Or(all) => self.joined(all, " OR "),
            ConditionExpression::Not(inner) => format!("NOT {}", self.enclosed(inner)),
            ConditionExpression::Compare(one, how, two) => {
                format!("{} {} {}", self.operand(one), how.sign(), self.operand(two))
            }
            ConditionExpression::Between(one, low, high) => format!(
                "{} BETWEEN {} AND {}",
                self.operand(one),
                self.operand(low),
                self.operand(high)
            ),
            ConditionExpression::In(one, choices) => {
                let one = self.operand(one);
                let choices: Vec<String> =
                    choices.iter().map(|choice| self.operand(choice)).collect();
                format!("{one} IN ({})", choices.join(", "))
            }
            ConditionExpression::Exists(path) => format!("attribute_exists({})", self.path(path)),
            ConditionExpression::NotExists(path) => {
                format!("attribute_not_exists({})", self.path(path))
            }
            ConditionExpression::HasType(path, name) => {
                let path = self.path(path);
                format!(
                    "attribute_type({path}, {})",
                    self.value(&Attr::S(name.clone()))
                )
            }
            ConditionExpression::BeginsWith(one, two) => {
                format!("begins_with({}, {})", self.operand(one), self.operand(two))
            }
            ConditionExpression::Contains(one, two) => {
                format!("contains({}, {})", self.operand(one), self.operand(two))
            }
        }
    }

    /// An update's text.
    pub fn update(&mut self, update: &UpdateExpression) -> String {
        let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for action in &update.actions {
            let path = self.path(action.path());
            let (word, text) = match action {
                Action::Set(_, amount) => ("SET", format!("{path} = {}", self.amount(amount))),
                Action::Remove(_) => ("REMOVE", path),
                Action::Add(_, value) => ("ADD", format!("{path} {}", self.value(value))),
                Action::Delete(_, value) => ("DELETE", format!("{path} {}", self.value(value))),
            };
            sections.entry(word).or_default().push(text);
        }
        let sections: Vec<String> = sections
            .into_iter()
            .map(|(word, parts)| format!("{word} {}", parts.join(", ")))
            .collect();
        sections.join(" ")
    }

    /// What its texts call `#…`; the names by these keys.
    pub fn names(&self) -> BTreeMap<String, String> {
        let turned = self
            .names
            .iter()
            .map(|(name, key)| (key.clone(), name.clone()));
        turned.collect()
    }

    /// What its texts call `:…`; the values by these keys.
    pub fn values(&self) -> BTreeMap<String, Attr> {
        let keyed = self.values.iter().enumerate();
        keyed
            .map(|(at, value)| (format!(":x{at}"), value.clone()))
            .collect()
    }

    fn joined(&mut self, all: &[ConditionExpression], word: &str) -> String {
        let parts: Vec<String> = all.iter().map(|one| self.enclosed(one)).collect();
        parts.join(word)
    }

    /// A condition's text to be put among others, in parentheses where it is made of several: the service refuses
    /// redundant ones.
    pub fn enclosed(&mut self, condition: &ConditionExpression) -> String {
        let text = self.condition(condition);
        match condition {
            ConditionExpression::And(_) | ConditionExpression::Or(_) => format!("({text})"),
            ConditionExpression::Not(_)
            | ConditionExpression::Compare(_, _, _)
            | ConditionExpression::Between(_, _, _)
            | ConditionExpression::In(_, _)
            | ConditionExpression::Exists(_)
            | ConditionExpression::NotExists(_)
            | ConditionExpression::HasType(_, _)
            | ConditionExpression::BeginsWith(_, _)
            | ConditionExpression::Contains(_, _) => text,
        }
    }

    fn operand(&mut self, operand: &Operand) -> String {
        match operand {
            Operand::Path(path) => self.path(path),
            Operand::Value(value) => self.value(value),
            Operand::Size(path) => format!("size({})", self.path(path)),
            Operand::SizeOf(value) => format!("size({})", self.value(value)),
        }
    }

    fn amount(&mut self, amount: &Amount) -> String {
        match amount {
            Amount::Value(value) => self.value(value),
            Amount::Path(path) => self.path(path),
            Amount::IfNotExists(path, otherwise) => {
                format!(
                    "if_not_exists({}, {})",
                    self.path(path),
                    self.amount(otherwise)
                )
            }
            Amount::Append(one, two) => {
                format!("list_append({}, {})", self.amount(one), self.amount(two))
            }
            Amount::Plus(one, two) => format!("{} + {}", self.amount(one), self.amount(two)),
            Amount::Minus(one, two) => format!("{} - {}", self.amount(one), self.amount(two)),
        }
    }

    /// A path's text.
    pub fn path(&mut self, path: &Path) -> String {
        let mut text = self.name(&path.attribute);
        for step in &path.steps {
            match step {
                PathStep::Field(name) => {
                    text.push('.');
                    text.push_str(&self.name(name));
                }
                PathStep::Index(index) => {
                    // Writing to a text can't fail.
                    let _ = write!(text, "[{index}]");
                }
            }
        }
        text
    }

    fn name(&mut self, name: &str) -> String {
        let next = self.names.len();
        let key = self.names.entry(name.to_owned());
        key.or_insert_with(|| format!("#x{next}")).clone()
    }

    fn value(&mut self, value: &Attr) -> String {
        self.values.push(value.clone());
        format!(":x{}", self.values.len() - 1)
    }
}
