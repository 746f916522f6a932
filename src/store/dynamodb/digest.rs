//! A digest of an item as it is, for items that no mapping can read. It is kept in control tables, so that its
//! form stays.

use sha2::{Digest, Sha256};

use super::attr::Attrs;
use crate::item::Attr;

/// The same for the same item, in whatever order its attributes and the members of its sets come.
pub(super) fn digest(attrs: Attrs) -> u64 {
    let mut text = Vec::new();
    put(&Attr::M(attrs), &mut text);
    let digest = Sha256::digest(&text);
    digest
        .iter()
        .take(8)
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

fn put(attr: &Attr, out: &mut Vec<u8>) {
    match attr {
        Attr::S(text) => bytes(b'S', text.as_bytes(), out),
        Attr::N(number) => bytes(b'N', number.as_bytes(), out),
        Attr::B(value) => bytes(b'B', value, out),
        Attr::Bool(value) => bytes(b'?', &[u8::from(*value)], out),
        Attr::Null => bytes(b'0', &[], out),
        Attr::L(values) => members(b'L', values.iter().map(whole).collect(), out),
        Attr::M(pairs) => {
            let pair = |(name, value): &(String, Attr)| {
                let mut text = Vec::new();
                bytes(b'n', name.as_bytes(), &mut text);
                put(value, &mut text);
                text
            };
            members(b'M', sorted(pairs.iter().map(pair).collect()), out);
        }
        Attr::Ss(texts) => members(
            b's',
            sorted(texts.iter().map(|t| t.as_bytes().to_vec()).collect()),
            out,
        ),
        Attr::Ns(numbers) => members(
            b'm',
            sorted(numbers.iter().map(|n| n.as_bytes().to_vec()).collect()),
            out,
        ),
        Attr::Bs(binaries) => members(b'b', sorted(binaries.clone()), out),
    }
}

fn whole(attr: &Attr) -> Vec<u8> {
    let mut text = Vec::new();
    put(attr, &mut text);
    text
}

fn sorted(mut members: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    members.sort_unstable();
    members
}

fn members(letter: u8, members: Vec<Vec<u8>>, out: &mut Vec<u8>) {
    bytes(letter, &(members.len() as u64).to_be_bytes(), out);
    for member in members {
        bytes(b'.', &member, out);
    }
}

fn bytes(letter: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(letter);
    out.extend_from_slice(&(value.len() as u64).to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, set: &[&str]) -> Attrs {
        let set = Attr::Ss(set.iter().map(|text| (*text).to_owned()).collect());
        let inner = vec![
            ("b".to_owned(), Attr::Bool(true)),
            ("a".to_owned(), Attr::Null),
        ];
        vec![
            ("p".to_owned(), Attr::N("3".to_owned())),
            ("v".to_owned(), Attr::M(inner)),
            (name.to_owned(), set),
        ]
    }

    #[test]
    fn the_same_item_has_the_same_digest_for_ever() {
        let one = digest(item("s", &["x", "yz"]));
        let mut other = item("s", &["yz", "x"]);
        other.reverse();
        assert_eq!(one, digest(other));
        assert_eq!(one, PINNED, "lists in control tables hold it");
        assert_ne!(one, digest(item("s", &["xy", "z"])));
        assert_ne!(one, digest(item("t", &["x", "yz"])));
    }

    const PINNED: u64 = 3_735_342_792_761_805_295;
}
