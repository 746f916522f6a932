//! Attribute values, and what they weigh.

use crate::codec::number;

/// The most bytes of an item, names included.
pub const ITEM_LIMIT: usize = 409_600;

/// An attribute value of DynamoDB, without its SDK.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// String.
    S(String),
    /// Number, as text.
    N(String),
    /// Binary.
    B(Vec<u8>),
    /// Boolean.
    Bool(bool),
    /// Null, only inside lists.
    Null,
    /// List.
    L(Vec<Attr>),
    /// Map. No name is twice.
    M(Vec<(String, Attr)>),
    /// String set.
    Ss(Vec<String>),
    /// Number set.
    Ns(Vec<String>),
    /// Binary set.
    Bs(Vec<Vec<u8>>),
}

impl Attr {
    /// Bytes that it counts towards [`ITEM_LIMIT`], without its name. Never less than DynamoDB counts.
    pub fn size(&self) -> usize {
        match self {
            Attr::S(text) => text.len(),
            Attr::N(number) => number::n_size(number),
            Attr::B(bytes) => bytes.len(),
            Attr::Bool(_) | Attr::Null => 1,
            Attr::L(attrs) => 3 + attrs.iter().map(|attr| 1 + attr.size()).sum::<usize>(),
            Attr::M(pairs) => 3 + pairs.len() + item_size(pairs),
            Attr::Ss(texts) => texts.iter().map(String::len).sum(),
            Attr::Ns(numbers) => numbers.iter().map(|number| number::n_size(number)).sum(),
            Attr::Bs(binaries) => binaries.iter().map(Vec::len).sum(),
        }
    }
}

/// Bytes of an item's attributes, names included.
pub fn item_size<N: AsRef<str>>(attributes: &[(N, Attr)]) -> usize {
    attributes
        .iter()
        .map(|(name, attr)| name.as_ref().len() + attr.size())
        .sum()
}
