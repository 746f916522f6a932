//! Projections.

use super::Item;
use super::ast::{Path, PathStep};
use super::placeholders::Placeholders;
use super::token::{TokenStream, refuse_overlap};
use crate::error::Result;
use crate::item::Attr;

/// What is kept of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The paths, none within another one.
    pub paths: Vec<Path>,
}

impl Projection {
    /// A projection from its text.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`] with the words of the service, without the name of the parameter before them.
    pub fn parse(text: &str, placeholders: &Placeholders) -> Result<Self> {
        let mut tokens = TokenStream::of(text, placeholders)?;
        let paths = tokens.paths()?;
        tokens.expect_end()?;
        refuse_overlap(&paths)?;
        Ok(Projection { paths })
    }

    /// What is kept of an item. Lists close up over what is left out.
    pub fn of(&self, item: &Item) -> Item {
        let mut kept = Item::new();
        for (name, value) in item {
            let below: Vec<&[PathStep]> = self
                .paths
                .iter()
                .filter(|path| path.attribute == *name)
                .map(|path| path.steps.as_slice())
                .collect();
            if let Some(value) = part(value, &below) {
                kept.insert(name.clone(), value);
            }
        }
        kept
    }
}

/// What some paths keep of a value; `None` if nothing.
fn part(value: &Attr, paths: &[&[PathStep]]) -> Option<Attr> {
    if paths.iter().any(|steps| steps.is_empty()) {
        return Some(value.clone());
    }
    let below = |wanted: &PathStep| -> Vec<&[PathStep]> {
        let split = paths.iter().filter_map(|steps| steps.split_first());
        let within = split.filter(|(first, _)| *first == wanted);
        within.map(|(_, rest)| rest).collect()
    };
    match value {
        Attr::M(entries) => {
            let kept: Vec<(String, Attr)> = entries
                .iter()
                .filter_map(|(name, value)| {
                    let value = part(value, &below(&PathStep::Field(name.clone())))?;
                    Some((name.clone(), value))
                })
                .collect();
            (!kept.is_empty()).then_some(Attr::M(kept))
        }
        Attr::L(elements) => {
            let kept: Vec<Attr> = elements
                .iter()
                .enumerate()
                .filter_map(|(index, value)| part(value, &below(&PathStep::Index(index))))
                .collect();
            (!kept.is_empty()).then_some(Attr::L(kept))
        }
        Attr::S(_)
        | Attr::N(_)
        | Attr::B(_)
        | Attr::Bool(_)
        | Attr::Null
        | Attr::Ss(_)
        | Attr::Ns(_)
        | Attr::Bs(_) => None,
    }
}
