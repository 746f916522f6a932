//! Attribute values read straight from DynamoDB's JSON. They came from the service, or were checked where they were taken
//! from a client: nothing is refused here but what is no attribute value.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::item::Attr;

/// How deep values may be nested: deeper than in any item, and no deeper than the stack goes.
const DEEPEST: usize = 64;

/// The attributes of an item, in the order in which they came.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Attributes(pub Vec<(String, Attr)>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttrMap(1)).map(Attributes)
    }
}

/// A value at a depth.
#[derive(Clone, Copy)]
struct AttrAt(usize);

/// The types of values, so that their names needn't be copied.
#[derive(Deserialize)]
enum AttrKind {
    S,
    N,
    B,
    #[serde(rename = "BOOL")]
    Bool,
    #[serde(rename = "NULL")]
    Null,
    L,
    M,
    #[serde(rename = "SS")]
    Ss,
    #[serde(rename = "NS")]
    Ns,
    #[serde(rename = "BS")]
    Bs,
}

impl<'de> DeserializeSeed<'de> for AttrAt {
    type Value = Attr;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attr, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AttrAt {
    type Value = Attr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attr, A::Error> {
        if self.0 > DEEPEST {
            return Err(A::Error::custom("an attribute value is nested too deeply"));
        }
        let Some(kind) = map.next_key::<AttrKind>()? else {
            return Err(A::Error::custom("an attribute value is empty"));
        };
        let value = match kind {
            AttrKind::S => Attr::S(map.next_value()?),
            AttrKind::N => Attr::N(map.next_value()?),
            AttrKind::B => Attr::B(map.next_value::<AttrBytes>()?.0),
            AttrKind::Bool => Attr::Bool(map.next_value()?),
            AttrKind::Null => map.next_value::<bool>().map(|_| Attr::Null)?,
            AttrKind::L => Attr::L(map.next_value_seed(AttrList(self.0 + 1))?),
            AttrKind::M => Attr::M(map.next_value_seed(AttrMap(self.0 + 1))?),
            AttrKind::Ss => Attr::Ss(map.next_value()?),
            AttrKind::Ns => Attr::Ns(map.next_value()?),
            AttrKind::Bs => {
                let blobs: Vec<AttrBytes> = map.next_value()?;
                Attr::Bs(blobs.into_iter().map(|blob| blob.0).collect())
            }
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::custom("an attribute value has two types")),
        }
    }
}

struct AttrList(usize);

impl<'de> DeserializeSeed<'de> for AttrList {
    type Value = Vec<Attr>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Attr>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AttrList {
    type Value = Vec<Attr>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attribute values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<Attr>, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = elements.next_element_seed(AttrAt(self.0))? {
            all.push(value);
        }
        Ok(all)
    }
}

struct AttrMap(usize);

impl<'de> DeserializeSeed<'de> for AttrMap {
    type Value = Vec<(String, Attr)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AttrMap {
    type Value = Vec<(String, Attr)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attribute values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::with_capacity(8);
        while let Some(name) = entries.next_key::<String>()? {
            all.push((name, entries.next_value_seed(AttrAt(self.0))?));
        }
        Ok(all)
    }
}

struct AttrBytes(Vec<u8>);

impl<'de> Deserialize<'de> for AttrBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = AttrBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AttrBytes, E> {
                STANDARD.decode(text).map(AttrBytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}
