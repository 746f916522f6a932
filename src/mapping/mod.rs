//! Values and keys as the new store holds them, and the transforms of a plan. Pure: no I/O.

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
    /// Map. No name stands twice.
    M(Vec<(String, Attr)>),
    /// String set.
    Ss(Vec<String>),
    /// Number set.
    Ns(Vec<String>),
    /// Binary set.
    Bs(Vec<Vec<u8>>),
}
