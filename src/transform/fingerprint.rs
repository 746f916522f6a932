//! A digest of everything that decides which item a row becomes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::mask::{digest, keyed};
use super::{ColumnRule, ExpiryFrom, ExpiryRule, Mask};
use crate::codec::ordered::holds_others;
use crate::error::Result;
use crate::schema::{Order, Role, Table, Type};
use crate::secret::Secret;

/// Part of every fingerprint: to be counted up when rows become other items than before.
pub(super) const FORMAT: u8 = 1;

/// The digest that [`super::Transform::fingerprint`] is.
pub(super) fn fingerprint(
    old: &Table,
    rules: &BTreeMap<String, ColumnRule>,
    expiry: Option<&ExpiryRule>,
    mask_key: Option<&Secret>,
    target: &Table,
) -> Result<[u8; 32]> {
    let mut print = Hashing(Sha256::new());
    print.0.update([FORMAT]);
    print.number(old.columns.len());
    for column in &old.columns {
        print.text(&column.name);
        print.text(&column.cql_type());
        print.text(match column.role {
            Role::Partition => "partition",
            Role::Clustering(Order::Asc) => "ascending",
            Role::Clustering(Order::Desc) => "descending",
            Role::Static => "static",
            Role::Regular => "regular",
        });
        print.fields_of(&column.ty);
    }
    let layout = &target.layout;
    print.maybe(layout.partition_attribute.as_deref());
    print.maybe(layout.sort_attribute.as_deref());
    if layout.partition_hash {
        print.text("partition hash");
    }
    print.text(&layout.reserved_prefix);
    print.maybe(layout.expiry_attribute.as_deref());
    // Once there were none.
    for (name, form) in &layout.forms {
        print.text("form");
        print.text(name);
        print.text(form.name());
    }
    print.maybe(expiry.map(|rule| match rule.from {
        ExpiryFrom::Max => "max",
        ExpiryFrom::Min => "min",
        ExpiryFrom::Reject => "reject",
    }));
    let rules = rules
        .iter()
        .filter(|(_, rule)| **rule != ColumnRule::default());
    for (name, rule) in rules.clone() {
        print.text(name);
        print.maybe(rule.rename.as_deref());
        print.maybe(rule.drop.then_some("drop"));
        print.maybe(rule.mask.map(Mask::name));
        // Once there was none of these: a rule without them keeps its print.
        if let Some(text) = &rule.constant {
            print.text("constant");
            print.text(text);
        }
        if let Some(to) = rule.convert {
            print.text("convert");
            print.text(to.name());
        }
    }
    let keyed_mask = |(_, rule): (&String, &ColumnRule)| rule.mask.is_some_and(Mask::is_keyed);
    if rules.clone().any(keyed_mask) && mask_key.is_some() {
        print
            .0
            .update(digest(&keyed(mask_key)?, b"crossfade mask key"));
    }
    // Once the sort keys of these were bytes in no order.
    if target
        .clustering()
        .iter()
        .any(|column| holds_others(&column.ty))
    {
        print.text("sort keys in Cassandra's order");
    }
    Ok(print.0.finalize().into())
}

/// Parts of a digest, each with its length, so that they can't run into each other.
pub(super) struct Hashing(pub Sha256);

impl Hashing {
    pub fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_be_bytes());
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text);
    }

    pub fn maybe(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    /// The fields of every user-defined type inside a type, which its CQL text doesn't say.
    pub fn fields_of(&mut self, ty: &Type) {
        if let Type::Udt(udt) = ty {
            self.number(udt.fields.len());
            for (name, ty) in &udt.fields {
                self.text(name);
                self.text(&ty.to_string());
                self.fields_of(ty);
            }
        } else {
            ty.inside().into_iter().for_each(|ty| self.fields_of(ty));
        }
    }
}
