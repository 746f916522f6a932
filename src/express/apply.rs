//! Updates: applied to an item.

use std::cmp::Reverse;

use super::ast::{Path, PathStep};
use super::update::{Action, Amount, UpdateExpression};
use super::{Item, decimal, refused};
use crate::error::{Error, Result};
use crate::item::Attr;

impl UpdateExpression {
    /// The item that it makes of another one; of none, an item without any attribute.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`], in the words of the service, for an operand of another type, a path that
    /// leads nowhere, a number out of range.
    pub fn apply(&self, item: Option<&Item>) -> Result<Item> {
        let mut changed = item.cloned().unwrap_or_default();
        // What is set beyond a list's end is appended in the order of the indexes.
        let mut puts = Vec::new();
        let mut removals = Vec::new();
        for action in &self.actions {
            match action {
                Action::Set(path, amount) => puts.push((path, amount.of(item)?)),
                Action::Add(path, value) => puts.push((path, added(path.of(item), value)?)),
                Action::Delete(path, value) => match deleted(path.of(item), value)? {
                    Some(left) => puts.push((path, left)),
                    None => removals.push(path),
                },
                Action::Remove(path) => removals.push(path),
            }
        }
        puts.sort_by_key(|(path, _)| *path);
        // Elements are counted as they were before, so the last one goes first.
        removals.sort_by_key(|path| Reverse(*path));
        for (path, value) in puts {
            put(&mut changed, path, value)?;
        }
        for path in removals {
            remove(&mut changed, path)?;
        }
        Ok(changed)
    }
}

impl Amount {
    fn of(&self, item: Option<&Item>) -> Result<Attr> {
        match self {
            Amount::Value(value) => Ok(value.clone()),
            Amount::Path(path) => path.of(item).cloned().ok_or_else(|| {
                refused("The provided expression refers to an attribute that does not exist in the item")
            }),
            Amount::IfNotExists(path, otherwise) => {
                // Evaluated also where it isn't used: it must not refer to what isn't there.
                let otherwise = otherwise.of(item)?;
                Ok(path.of(item).cloned().unwrap_or(otherwise))
            }
            Amount::Append(one, two) => match (one.of(item)?, two.of(item)?) {
                (Attr::L(mut one), Attr::L(two)) => {
                    one.extend(two);
                    Ok(Attr::L(one))
                }
                (_, _) => Err(mistyped()),
            },
            Amount::Plus(one, two) => numbers(one.of(item)?, two.of(item)?, false),
            Amount::Minus(one, two) => numbers(one.of(item)?, two.of(item)?, true),
        }
    }
}

fn numbers(one: Attr, two: Attr, is_less: bool) -> Result<Attr> {
    match (one, two) {
        (Attr::N(one), Attr::N(two)) => decimal::sum(&one, &two, is_less).map(Attr::N),
        (_, _) => Err(mistyped()),
    }
}

fn mistyped() -> Error {
    refused("An operand in the update expression has an incorrect data type")
}

fn misled() -> Error {
    refused("The document path provided in the update expression is invalid for update")
}

/// The sum of two numbers or the union of two sets; the value itself, where there is nothing.
fn added(there: Option<&Attr>, value: &Attr) -> Result<Attr> {
    match (there, value) {
        (None, value) => Ok(value.clone()),
        (Some(Attr::N(one)), Attr::N(two)) => decimal::sum(one, two, false).map(Attr::N),
        (Some(Attr::Ss(one)), Attr::Ss(two)) => {
            Ok(Attr::Ss(union(one, two, |one, two| one == two)))
        }
        (Some(Attr::Bs(one)), Attr::Bs(two)) => {
            Ok(Attr::Bs(union(one, two, |one, two| one == two)))
        }
        (Some(Attr::Ns(one)), Attr::Ns(two)) => {
            Ok(Attr::Ns(union(one, two, |one, two| same_number(one, two))))
        }
        (Some(_), _) => Err(mistyped()),
    }
}

fn same_number(one: &str, two: &str) -> bool {
    decimal::order(one, two).is_eq()
}

fn union<T: Clone>(one: &[T], two: &[T], is: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut all = one.to_vec();
    for member in two {
        if !all.iter().any(|other| is(other, member)) {
            all.push(member.clone());
        }
    }
    all
}

/// A set without some members; `None` if none is left, and where there is nothing.
fn deleted(there: Option<&Attr>, value: &Attr) -> Result<Option<Attr>> {
    fn rest<T: Clone>(one: &[T], two: &[T], is: impl Fn(&T, &T) -> bool) -> Option<Vec<T>> {
        let left = one
            .iter()
            .filter(|member| !two.iter().any(|other| is(member, other)));
        let left: Vec<T> = left.cloned().collect();
        (!left.is_empty()).then_some(left)
    }
    match (there, value) {
        (None, _) => Ok(None),
        (Some(Attr::Ss(one)), Attr::Ss(two)) => {
            Ok(rest(one, two, |one, two| one == two).map(Attr::Ss))
        }
        (Some(Attr::Bs(one)), Attr::Bs(two)) => {
            Ok(rest(one, two, |one, two| one == two).map(Attr::Bs))
        }
        (Some(Attr::Ns(one)), Attr::Ns(two)) => {
            Ok(rest(one, two, |one, two| same_number(one, two)).map(Attr::Ns))
        }
        (Some(_), _) => Err(mistyped()),
    }
}

/// What the last step of a path leads out of.
fn parent<'i>(item: &'i mut Item, path: &Path) -> Result<Option<&'i mut Attr>> {
    let Some((_, before)) = path.steps.split_last() else {
        return Ok(None);
    };
    let mut here = item.get_mut(&path.attribute).ok_or_else(misled)?;
    for step in before {
        here = match (here, step) {
            (Attr::M(entries), PathStep::Field(name)) => {
                let entry = entries.iter_mut().find(|(found, _)| found == name);
                &mut entry.ok_or_else(misled)?.1
            }
            (Attr::L(elements), PathStep::Index(index)) => {
                elements.get_mut(*index).ok_or_else(misled)?
            }
            (_, PathStep::Field(_) | PathStep::Index(_)) => return Err(misled()),
        };
    }
    Ok(Some(here))
}

fn put(item: &mut Item, path: &Path, value: Attr) -> Result<()> {
    let Some(parent) = parent(item, path)? else {
        item.insert(path.attribute.clone(), value);
        return Ok(());
    };
    match (parent, path.steps.last()) {
        (Attr::M(entries), Some(PathStep::Field(name))) => {
            match entries.iter_mut().find(|(found, _)| found == name) {
                Some((_, there)) => *there = value,
                None => entries.push((name.clone(), value)),
            }
            Ok(())
        }
        (Attr::L(elements), Some(PathStep::Index(index))) => {
            match elements.get_mut(*index) {
                Some(there) => *there = value,
                None => elements.push(value),
            }
            Ok(())
        }
        (_, _) => Err(misled()),
    }
}

fn remove(item: &mut Item, path: &Path) -> Result<()> {
    let Some(parent) = parent(item, path)? else {
        item.remove(&path.attribute);
        return Ok(());
    };
    match (parent, path.steps.last()) {
        (Attr::M(entries), Some(PathStep::Field(name))) => {
            entries.retain(|(found, _)| found != name);
            Ok(())
        }
        (Attr::L(elements), Some(PathStep::Index(index))) => {
            if *index < elements.len() {
                elements.remove(*index);
            }
            Ok(())
        }
        (_, _) => Err(misled()),
    }
}
