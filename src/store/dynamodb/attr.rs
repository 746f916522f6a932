//! Attribute values to the SDK's type and back, and what they weigh on the wire.

use std::collections::HashMap;
use std::fmt::Write as _;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::error::{Error, Kind, Result};
use crate::item::Attr;

/// An item, or the attributes of a key, by name.
pub(super) type Attrs = Vec<(String, Attr)>;

/// The SDK's form.
pub(super) fn into_sdk(attr: Attr) -> AttributeValue {
    match attr {
        Attr::S(text) => AttributeValue::S(text),
        Attr::N(number) => AttributeValue::N(number),
        Attr::B(bytes) => AttributeValue::B(Blob::new(bytes)),
        Attr::Bool(value) => AttributeValue::Bool(value),
        Attr::Null => AttributeValue::Null(true),
        Attr::L(values) => AttributeValue::L(values.into_iter().map(into_sdk).collect()),
        Attr::M(pairs) => {
            let pairs = pairs.into_iter();
            AttributeValue::M(pairs.map(|(name, attr)| (name, into_sdk(attr))).collect())
        }
        Attr::Ss(members) => AttributeValue::Ss(members),
        Attr::Ns(members) => AttributeValue::Ns(members),
        Attr::Bs(members) => AttributeValue::Bs(members.into_iter().map(Blob::new).collect()),
    }
}

/// The SDK's form of a copy.
pub(super) fn to_sdk(attr: &Attr) -> AttributeValue {
    into_sdk(attr.clone())
}

/// The SDK's form of an item, a key or a map.
pub(super) fn to_sdk_map(pairs: &[(String, Attr)]) -> HashMap<String, AttributeValue> {
    pairs
        .iter()
        .map(|(name, attr)| (name.clone(), to_sdk(attr)))
        .collect()
}

fn from_sdk(value: AttributeValue) -> Result<Attr> {
    Ok(match value {
        AttributeValue::S(text) => Attr::S(text),
        AttributeValue::N(number) => Attr::N(number),
        AttributeValue::B(bytes) => Attr::B(bytes.into_inner()),
        AttributeValue::Bool(value) => Attr::Bool(value),
        AttributeValue::Null(_) => Attr::Null,
        AttributeValue::L(values) => {
            Attr::L(values.into_iter().map(from_sdk).collect::<Result<_>>()?)
        }
        AttributeValue::M(pairs) => Attr::M(from_sdk_map(pairs)?),
        AttributeValue::Ss(members) => Attr::Ss(members),
        AttributeValue::Ns(members) => Attr::Ns(members),
        AttributeValue::Bs(members) => {
            Attr::Bs(members.into_iter().map(Blob::into_inner).collect())
        }
        _ => {
            return Err(Error::new(
                Kind::Corrupt,
                "an attribute has a type that this version doesn't know",
            ));
        }
    })
}

/// From the SDK's form of an item, a key or a map.
pub(super) fn from_sdk_map(pairs: HashMap<String, AttributeValue>) -> Result<Attrs> {
    pairs
        .into_iter()
        .map(|(name, value)| Ok((name, from_sdk(value)?)))
        .collect()
}

/// Bytes of a text as a JSON string.
pub(super) fn wire_text(text: &str) -> usize {
    let escaped: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' => 1,
            0..0x20 => 5,
            _ => 0,
        })
        .sum();
    2 + text.len() + escaped
}

/// The attributes of a key as bytes, the same for the same key. Only keys: no other types.
pub(super) fn key_bytes<'a>(
    attrs: impl IntoIterator<Item = (&'a str, &'a Attr)>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64);
    for (name, attr) in attrs {
        let (letter, value): (u8, &[u8]) = match attr {
            Attr::S(text) => (b'S', text.as_bytes()),
            Attr::N(number) => (b'N', number.as_bytes()),
            Attr::B(value) => (b'B', value),
            Attr::Bool(_)
            | Attr::Null
            | Attr::L(_)
            | Attr::M(_)
            | Attr::Ss(_)
            | Attr::Ns(_)
            | Attr::Bs(_) => {
                return Err(Error::new(
                    Kind::Corrupt,
                    format!("the key attribute `{name}` is neither S, N nor B"),
                ));
            }
        };
        bytes.push(letter);
        for part in [name.as_bytes(), value] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    Ok(bytes)
}

/// The attributes of a key from [`key_bytes`].
pub(super) fn key_from_bytes(bytes: &[u8]) -> Result<Attrs> {
    let mut rest = bytes;
    let mut attrs = Vec::new();
    while let Some((letter, tail)) = rest.split_first() {
        let mut tail = tail;
        let mut part = || -> Option<&[u8]> {
            let (len, rest) = tail.split_first_chunk::<4>()?;
            let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            tail = rest;
            Some(part)
        };
        let pair = part().zip(part()).and_then(|(name, value)| {
            let text = || String::from_utf8(value.to_vec()).ok();
            let attr = match letter {
                b'S' => Attr::S(text()?),
                b'N' => Attr::N(text()?),
                b'B' => Attr::B(value.to_vec()),
                _ => return None,
            };
            Some((String::from_utf8(name.to_vec()).ok()?, attr))
        });
        attrs.push(pair.ok_or_else(|| {
            Error::new(Kind::Corrupt, "a scan's place can't be read")
                .with_help("it belongs to another version; start the scan again")
        })?);
        rest = tail;
    }
    Ok(attrs)
}

/// A key for people: `pk=a#1, sk=0x00ff`, cut where it gets long.
pub(super) fn key_text<'a>(attrs: impl IntoIterator<Item = (&'a str, &'a Attr)>) -> String {
    const LONG: usize = 120;
    let mut text = String::new();
    for (name, attr) in attrs {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let value = match attr {
            Attr::S(value) | Attr::N(value) => value.clone(),
            Attr::B(bytes) => bytes
                .iter()
                .take(LONG)
                .fold(String::from("0x"), |mut hex, byte| {
                    // Writing to a string doesn't fail.
                    let _ = write!(hex, "{byte:02x}");
                    hex
                }),
            Attr::Bool(_)
            | Attr::Null
            | Attr::L(_)
            | Attr::M(_)
            | Attr::Ss(_)
            | Attr::Ns(_)
            | Attr::Bs(_) => "?".into(),
        };
        text.push_str(name);
        text.push('=');
        text.extend(value.chars().take(LONG));
        if value.chars().nth(LONG).is_some() {
            text.push('…');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_text_is_never_counted_smaller_than_its_json() {
        for text in ["", "a", "a\"b\\c\n\u{1}é", "\u{1f}\u{7f}"] {
            let (counted, real) = (wire_text(text), serde_json::json!(text).to_string().len());
            assert!(
                counted >= real && counted <= 2 * real + 8,
                "{text}: {counted}"
            );
        }
    }

    #[test]
    fn a_key_survives_its_bytes_and_cut_bytes_are_refused() {
        let key: Attrs = vec![
            ("p".into(), Attr::S("a\u{0}é".into())),
            ("sort".into(), Attr::B(vec![0, 255])),
        ];
        let bytes = key_bytes(key.iter().map(|(name, attr)| (name.as_str(), attr))).unwrap();
        assert_eq!(key_from_bytes(&bytes).unwrap(), key);
        for end in 1..bytes.len() {
            let cut = key_from_bytes(&bytes[..end]);
            assert!(cut.is_err() || cut.unwrap().len() == 1, "{end}");
        }
        let number = [("n", &Attr::N("-5".into()))];
        let bytes = key_bytes(number).unwrap();
        assert_eq!(
            key_from_bytes(&bytes).unwrap(),
            [("n".into(), Attr::N("-5".into()))]
        );
        assert!(key_bytes([("n", &Attr::Bool(true))]).is_err());
    }

    #[test]
    fn a_key_is_shown_as_people_write_it_and_cut_when_long() {
        let (text, bytes) = (Attr::S("x".repeat(500)), Attr::B(vec![0, 255]));
        let shown = key_text([("pk", &text), ("sk", &bytes)]);
        assert!(
            shown.starts_with("pk=xxx") && shown.ends_with("…, sk=0x00ff"),
            "{shown}"
        );
        assert!(shown.len() < 200);
    }
}
