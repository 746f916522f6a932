//! Attribute values as JSON, both ways, and the bodies of requests.
//!
//! Nothing that a client sends is recursed into deeper than an item may be nested, and a value is never built up
//! twice: it goes from the text straight into [`Attr`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::fault::Fault;
use crate::express::{self, Item};
use crate::item::Attr;

/// How deep values may be nested.
const DEEPEST: usize = 32;
/// Stands before a message that refuses a value, to be told from one about JSON itself.
const REFUSED: &str = "\u{1}";

/// The body of a request.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        match text.split_once(REFUSED) {
            Some((_, message)) => {
                let place = message.rfind(" at line ").unwrap_or(message.len());
                Fault::invalid(&message[..place])
            }
            None => Fault::new(400, "SerializationException", text),
        }
    })
}

/// A part of a body that was read as JSON before. It has no line and column any more: what is wrong with its form is told
/// with the place that the caller knows it by.
pub(super) fn read_value<T: DeserializeOwned>(
    value: &Json,
    place: impl fmt::Display,
) -> Result<T, Fault> {
    T::deserialize(value).map_err(|error| {
        let text = error.to_string();
        match text.split_once(REFUSED) {
            Some((_, message)) => Fault::invalid(message),
            None => Fault::new(400, "SerializationException", format!("{place}: {text}")),
        }
    })
}

/// An attribute value of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given(pub Attr);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested(1).deserialize(deserializer).map(Given)
    }
}

/// The attributes of a request by name. Of a name that is there twice the last one counts.
pub(super) type GivenItem = BTreeMap<String, Given>;

/// Without the wrappers.
pub(super) fn item(given: GivenItem) -> Item {
    let plain = |(name, Given(value))| (name, value);
    given.into_iter().map(plain).collect()
}

/// A value at a depth.
#[derive(Clone, Copy)]
struct Nested(usize);

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Attr;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attr, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Attr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute value such as {\"S\": \"text\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attr, A::Error> {
        if self.0 > DEEPEST {
            return Err(refused(
                "Nesting Levels have exceeded supported limits: Attributes must have nesting levels not greater than 32",
            ));
        }
        let Some(name) = map.next_key::<String>()? else {
            return Err(refused(
                "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
            ));
        };
        let value = match name.as_str() {
            "S" => Attr::S(map.next_value()?),
            "N" => Attr::N(number(&map.next_value::<String>()?)?),
            "B" => Attr::B(map.next_value::<Base64>()?.0),
            "BOOL" => Attr::Bool(map.next_value()?),
            "NULL" if map.next_value()? => Attr::Null,
            "NULL" => {
                return Err(refused(
                    "One or more parameter values were invalid: Null attribute value types must have the value of true",
                ));
            }
            "L" => Attr::L(map.next_value_seed(Elements(self.0 + 1))?),
            "M" => Attr::M(map.next_value_seed(Entries(self.0 + 1))?),
            "SS" => Attr::Ss(set("string set", map.next_value()?)?),
            "NS" => {
                let numbers: Vec<String> = map.next_value()?;
                let numbers = numbers.iter().map(|text| number(text));
                Attr::Ns(set("number set", numbers.collect::<Result<_, _>>()?)?)
            }
            "BS" => {
                let blobs: Vec<Base64> = map.next_value()?;
                let blobs = blobs.into_iter().map(|blob| blob.0).collect();
                Attr::Bs(set("binary set", blobs)?)
            }
            other => {
                let message = format!("{other:?} is no type of an attribute value");
                return Err(A::Error::custom(message));
            }
        };
        match map.next_key::<String>()? {
            None => Ok(value),
            Some(_) => Err(refused(
                "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
            )),
        }
    }
}

struct Elements(usize);

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Vec<Attr>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Attr>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<Attr>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attribute values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<Attr>, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = elements.next_element_seed(Nested(self.0))? {
            all.push(value);
        }
        Ok(all)
    }
}

struct Entries(usize);

impl<'de> DeserializeSeed<'de> for Entries {
    type Value = Vec<(String, Attr)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, Attr)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attribute values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            all.insert(name, entries.next_value_seed(Nested(self.0))?);
        }
        Ok(all.into_iter().collect())
    }
}

struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(Base64).map_err(D::Error::custom)
    }
}

fn refused<E: serde::de::Error>(message: impl fmt::Display) -> E {
    E::custom(format!("{REFUSED}{message}"))
}

fn number<E: serde::de::Error>(text: &str) -> Result<String, E> {
    express::number(text).map_err(|error| refused(error.message()))
}

fn set<T: Ord + Clone, E: serde::de::Error>(what: &str, members: Vec<T>) -> Result<Vec<T>, E> {
    let invalid = "One or more parameter values were invalid";
    if members.is_empty() {
        return Err(refused(format!("{invalid}: An {what}  may not be empty")));
    }
    let distinct: BTreeSet<&T> = members.iter().collect();
    match distinct.len() == members.len() {
        true => Ok(members),
        false => Err(refused(format!(
            "{invalid}: Input collection contains duplicates."
        ))),
    }
}

/// An attribute value of a reply.
pub(super) struct ShownValue<'a>(pub &'a Attr);

impl Serialize for ShownValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0 {
            Attr::S(text) => map.serialize_entry("S", text)?,
            Attr::N(number) => map.serialize_entry("N", number)?,
            Attr::B(bytes) => map.serialize_entry("B", &STANDARD.encode(bytes))?,
            Attr::Bool(value) => map.serialize_entry("BOOL", value)?,
            Attr::Null => map.serialize_entry("NULL", &true)?,
            Attr::L(elements) => map.serialize_entry("L", &ShownList(elements))?,
            Attr::M(entries) => map.serialize_entry("M", &ShownMap(entries))?,
            Attr::Ss(members) => map.serialize_entry("SS", members)?,
            Attr::Ns(members) => map.serialize_entry("NS", members)?,
            Attr::Bs(members) => {
                let members: Vec<String> = members.iter().map(|m| STANDARD.encode(m)).collect();
                map.serialize_entry("BS", &members)?;
            }
        }
        map.end()
    }
}

struct ShownList<'a>(&'a [Attr]);

impl Serialize for ShownList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0 {
            list.serialize_element(&ShownValue(value))?;
        }
        list.end()
    }
}

struct ShownMap<'a>(&'a [(String, Attr)]);

impl Serialize for ShownMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, &ShownValue(value))?;
        }
        map.end()
    }
}

/// An item of a reply.
pub(super) struct ShownItem(pub Item);

impl Serialize for ShownItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, &ShownValue(value))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn given(text: &str) -> Result<Attr, Fault> {
        read::<Given>(text.as_bytes()).map(|given| given.0)
    }

    fn values() -> impl Strategy<Value = Attr> {
        let number = (any::<i64>(), -60_i32..60)
            .prop_map(|(digits, power)| express::number(&format!("{digits}e{power}")).unwrap());
        let scalar = prop_oneof![
            any::<String>().prop_map(Attr::S),
            number.clone().prop_map(Attr::N),
            any::<Vec<u8>>().prop_map(Attr::B),
            any::<bool>().prop_map(Attr::Bool),
            Just(Attr::Null),
            proptest::collection::btree_set(any::<String>(), 1..4)
                .prop_map(|set| Attr::Ss(set.into_iter().collect())),
            proptest::collection::btree_set(number, 1..4)
                .prop_map(|set| Attr::Ns(set.into_iter().collect())),
            proptest::collection::btree_set(any::<Vec<u8>>(), 1..4)
                .prop_map(|set| Attr::Bs(set.into_iter().collect())),
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Attr::L),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Attr::M(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value in values()) {
            let text = serde_json::to_string(&ShownValue(&value)).unwrap();
            prop_assert_eq!(given(&text).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = read::<Given>(&bytes);
            let _ = read::<GivenItem>(&bytes);
        }

        #[test]
        fn any_json_is_read_or_refused(text in "[\\[\\]{}\":,SNBLM0-9e.tru ]{0,60}") {
            let _ = given(&text);
            let _ = read::<GivenItem>(text.as_bytes());
        }

        #[test]
        fn any_number_is_exact_or_refused(text in "[-+]?[0-9]{0,50}(\\.[0-9]{0,50})?([eE][-+]?[0-9]{1,6})?") {
            let quoted = format!("{{\"N\":\"{text}\"}}");
            if let Ok(Attr::N(kept)) = given(&quoted) {
                prop_assert!(express::compare_numbers(&kept, &text).is_eq(), "{} became {}", text, kept);
            }
        }
    }

    #[test]
    fn a_part_reads_as_the_text_does() {
        for text in [
            "{\"S\":\"x\"}",
            "{\"N\":\"1.0\"}",
            "{\"N\":1}",
            "{\"N\":\"abc\"}",
            "{\"B\":\"AQI=\"}",
            "{\"B\":\"?\"}",
            "{\"NULL\":false}",
            "{\"SS\":[\"a\",\"a\"]}",
            "{\"M\":{\"a\":{\"L\":[{\"BOOL\":true},{\"BS\":[\"AQ==\"]}]}}}",
            "{\"X\":\"a\"}",
            "{}",
            "[]",
            "7",
        ] {
            let part: Json = serde_json::from_str(text).unwrap();
            let part = read_value::<Given>(&part, "TransactItems[3].Put");
            match (part, read::<Given>(text.as_bytes())) {
                (Ok(part), Ok(whole)) => assert_eq!(part, whole, "{text}"),
                (Err(part), Err(whole)) if whole.code == "ValidationException" => {
                    assert_eq!(part, whole, "{text}");
                }
                // Where it is in the text that the client sent, or in which part of that.
                (Err(part), Err(whole)) => {
                    let (said, _) = whole.message.rsplit_once(" at line ").unwrap();
                    assert_eq!(part.code, whole.code, "{text}");
                    assert_eq!(part.message, format!("TransactItems[3].Put: {said}"));
                }
                (part, whole) => panic!("{text}: {part:?} and {whole:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_part_is_read_or_refused_as_its_text(text in "[\\[\\]{}\":,SNBLM0-9e.tru ]{0,60}") {
            if let Ok(part) = serde_json::from_str::<Json>(&text) {
                let read = read::<GivenItem>(part.to_string().as_bytes());
                let part = read_value::<GivenItem>(&part, "here");
                prop_assert_eq!(part.is_ok(), read.is_ok());
            }
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| {
            format!(
                "{}{{\"S\":\"x\"}}{}",
                "{\"L\":[".repeat(levels),
                "]}".repeat(levels)
            )
        };
        assert!(given(&nested(31)).is_ok());
        for levels in [32, 40, 60, 1_000, 1_000_000] {
            let fault = given(&nested(levels)).unwrap_err();
            assert_eq!(fault.status, 400, "{levels}");
        }
        assert_eq!(given(&"[".repeat(1 << 20)).unwrap_err().status, 400);
    }

    #[test]
    fn refusals_have_their_code() {
        for (text, code) in [
            ("{\"N\":\"1e500\"}", "ValidationException"),
            ("{\"N\":\"abc\"}", "ValidationException"),
            ("{\"N\":1}", "SerializationException"),
            ("{\"SS\":[]}", "ValidationException"),
            ("{\"SS\":[\"a\",\"a\"]}", "ValidationException"),
            ("{\"NS\":[\"1\",\"1.0\"]}", "ValidationException"),
            ("{}", "ValidationException"),
            ("{\"S\":\"a\",\"N\":\"1\"}", "ValidationException"),
            ("{\"NULL\":false}", "ValidationException"),
            ("{\"B\":\"?\"}", "SerializationException"),
            ("{\"X\":\"a\"}", "SerializationException"),
            ("{\"S\":\"a\"", "SerializationException"),
        ] {
            assert_eq!(given(text).unwrap_err().code, code, "{text}");
        }
        let fault = given("{\"N\":\"abc\"}").unwrap_err();
        assert_eq!(
            fault.message,
            "The parameter cannot be converted to a numeric value: abc"
        );
    }
}
