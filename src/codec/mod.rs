//! Values as bytes and as text, and their order. Pure, and knows no store.
//!
//! [`cql`] is CQL's binary form; [`ordered`] are bytes that sort as Cassandra sorts the values; [`canonical`] is the
//! form that Cassandra gives to values.

#[cfg(test)]
pub(crate) mod arbitrary;
pub mod canonical;
pub mod cql;
#[cfg(feature = "_store")]
pub(crate) mod key;
pub(crate) mod number;
pub mod ordered;
pub(crate) mod text;
