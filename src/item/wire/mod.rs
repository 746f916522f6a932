//! Attribute values as DynamoDB's JSON, written straight to bytes and read straight from them. What is written is byte for byte
//! what the SDK writes (`store/dynamodb` has the test).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

#[cfg(feature = "dynamodb")]
mod read;

#[cfg(feature = "dynamodb")]
pub(crate) use read::Attributes;

use super::attr::Attr;

/// Writes a text as a JSON string.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                &HEX[usize::from(byte & 0xf)..][..1]
            }
        };
        out.extend_from_slice(escaped);
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes bytes as a JSON string of base64.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    // There is as much room as it takes.
    let written = STANDARD.encode_slice(bytes, &mut out[begin..]);
    out.truncate(begin + written.unwrap_or(0));
    out.push(b'"');
}

/// Writes a value.
pub(crate) fn put_attr(out: &mut Vec<u8>, attr: &Attr) {
    match attr {
        Attr::S(text) => {
            out.extend_from_slice(b"{\"S\":");
            put_text(out, text);
        }
        Attr::N(number) => {
            out.extend_from_slice(b"{\"N\":");
            put_text(out, number);
        }
        Attr::B(bytes) => {
            out.extend_from_slice(b"{\"B\":");
            put_bytes(out, bytes);
        }
        Attr::Bool(true) => out.extend_from_slice(b"{\"BOOL\":true"),
        Attr::Bool(false) => out.extend_from_slice(b"{\"BOOL\":false"),
        Attr::Null => out.extend_from_slice(b"{\"NULL\":true"),
        Attr::L(elements) => {
            out.extend_from_slice(b"{\"L\":");
            put_all(out, elements, put_attr);
        }
        Attr::M(entries) => {
            out.extend_from_slice(b"{\"M\":");
            let entries = entries.iter();
            put_pairs(out, entries.map(|(name, attr)| (name.as_str(), attr)));
        }
        Attr::Ss(members) => {
            out.extend_from_slice(b"{\"SS\":");
            put_all(out, members, |out, text| put_text(out, text));
        }
        Attr::Ns(members) => {
            out.extend_from_slice(b"{\"NS\":");
            put_all(out, members, |out, number| put_text(out, number));
        }
        Attr::Bs(members) => {
            out.extend_from_slice(b"{\"BS\":");
            put_all(out, members, |out, bytes| put_bytes(out, bytes));
        }
    }
    out.push(b'}');
}

fn put_all<T>(out: &mut Vec<u8>, all: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (at, one) in all.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(out, one);
    }
    out.push(b']');
}

/// Writes an item, a key or a map.
pub(crate) fn put_pairs<'a>(
    out: &mut Vec<u8>,
    pairs: impl IntoIterator<Item = (&'a str, &'a Attr)>,
) {
    out.push(b'{');
    for (at, (name, attr)) in pairs.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_text(out, name);
        out.push(b':');
        put_attr(out, attr);
    }
    out.push(b'}');
}
