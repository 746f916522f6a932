//! `ExpressionAttributeNames` and `ExpressionAttributeValues`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::refused;
use crate::error::Result;
use crate::item::Attr;

/// What a request gives for `#name` and `:value`, and which of them its expressions have used.
#[derive(Debug, Default)]
pub struct Placeholders {
    names: BTreeMap<String, String>,
    values: BTreeMap<String, Attr>,
    used: RefCell<BTreeSet<String>>,
}

impl Placeholders {
    /// Those of a request; keys with their `#` and `:`.
    ///
    /// # Errors
    /// A key isn't written as a placeholder is.
    pub fn new(names: BTreeMap<String, String>, values: BTreeMap<String, Attr>) -> Result<Self> {
        for (kind, sign, keys) in [
            ("Names", '#', names.keys().collect::<Vec<_>>()),
            ("Values", ':', values.keys().collect()),
        ] {
            let wrong = |key: &&String| {
                let rest = key.strip_prefix(sign).unwrap_or_default();
                rest.is_empty()
                    || !rest
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if let Some(key) = keys.into_iter().find(wrong) {
                return Err(refused(format!(
                    "ExpressionAttribute{kind} contains invalid key: Syntax error; key: \"{key}\""
                )));
            }
        }
        Ok(Placeholders {
            names,
            values,
            used: RefCell::default(),
        })
    }

    /// The attribute name of a `#name`.
    pub(super) fn name(&self, key: &str) -> Result<String> {
        self.used.borrow_mut().insert(key.to_owned());
        self.names.get(key).cloned().ok_or_else(|| {
            refused(format!(
                "An expression attribute name used in the document path is not defined; attribute name: {key}"
            ))
        })
    }

    /// The value of a `:value`.
    pub(super) fn value(&self, key: &str) -> Result<Attr> {
        self.used.borrow_mut().insert(key.to_owned());
        self.values.get(key).cloned().ok_or_else(|| {
            refused(format!(
                "An expression attribute value used in expression is not defined; attribute value: {key}"
            ))
        })
    }

    /// Refuses placeholders that no expression has used. To be asked when all of a request are parsed.
    ///
    /// # Errors
    /// There is one.
    pub fn refuse_unused(&self) -> Result<()> {
        let used = self.used.borrow();
        let unused = |keys: Vec<&String>| -> Vec<String> {
            let left = keys.into_iter().filter(|key| !used.contains(*key));
            left.cloned().collect()
        };
        for (kind, left) in [
            ("Names", unused(self.names.keys().collect())),
            ("Values", unused(self.values.keys().collect())),
        ] {
            if !left.is_empty() {
                return Err(refused(format!(
                    "Value provided in ExpressionAttribute{kind} unused in expressions: keys: {{{}}}",
                    left.join(", ")
                )));
            }
        }
        Ok(())
    }
}
