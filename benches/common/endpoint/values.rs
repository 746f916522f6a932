//! Attribute values and placeholders, as the evaluator takes them.

use super::*;

pub(super) fn placeholders(body: &[u8]) -> Result<Placeholders, Refused> {
    let names = member(body, "ExpressionAttributeNames").filter(|names| *names != b"null");
    let names = members(names.unwrap_or_default())
        .filter_map(|(key, value)| Some((String::from_utf8(key.to_vec()).ok()?, text(value)?)));
    let values = member(body, "ExpressionAttributeValues").filter(|values| *values != b"null");
    Ok(Placeholders::new(
        names.collect(),
        item(values.unwrap_or(b"{}"))?,
    )?)
}

pub(super) fn item(stored: &[u8]) -> Result<express::Item, Refused> {
    let pair = |(name, value): (&[u8], &[u8])| {
        let name = text(&[b"\"", name, b"\""].concat())?;
        Some((name, attr(&serde_json::from_slice(value).ok()?)?))
    };
    let item: Option<express::Item> = members(stored).map(pair).collect();
    item.ok_or_else(|| invalid("an attribute value can't be read"))
}

fn attr(value: &Json) -> Option<Attr> {
    let (letter, value) = value.as_object()?.iter().next()?;
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let bytes = |value: &Json| STANDARD.decode(value.as_str()?).ok();
    Some(match letter.as_str() {
        "S" => Attr::S(text(value)?),
        "N" => Attr::N(text(value)?),
        "B" => Attr::B(bytes(value)?),
        "BOOL" => Attr::Bool(value.as_bool()?),
        "NULL" => Attr::Null,
        "L" => Attr::L(value.as_array()?.iter().map(attr).collect::<Option<_>>()?),
        "M" => {
            let pairs = value.as_object()?.iter();
            Attr::M(
                pairs
                    .map(|(name, value)| Some((name.clone(), attr(value)?)))
                    .collect::<Option<_>>()?,
            )
        }
        "SS" => Attr::Ss(value.as_array()?.iter().map(text).collect::<Option<_>>()?),
        "NS" => Attr::Ns(value.as_array()?.iter().map(text).collect::<Option<_>>()?),
        "BS" => Attr::Bs(value.as_array()?.iter().map(bytes).collect::<Option<_>>()?),
        _ => return None,
    })
}

pub(super) fn shown(item: &express::Item) -> Vec<u8> {
    let pairs: serde_json::Map<String, Json> = item
        .iter()
        .map(|(name, value)| (name.clone(), tree(value)))
        .collect();
    Json::Object(pairs).to_string().into_bytes()
}

pub(super) fn shown_value(value: &Attr) -> String {
    tree(value).to_string()
}

fn tree(value: &Attr) -> Json {
    match value {
        Attr::S(text) => json!({"S": text}),
        Attr::N(number) => json!({"N": number}),
        Attr::B(bytes) => json!({"B": STANDARD.encode(bytes)}),
        Attr::Bool(value) => json!({"BOOL": value}),
        Attr::Null => json!({"NULL": true}),
        Attr::L(values) => json!({"L": values.iter().map(tree).collect::<Vec<_>>()}),
        Attr::M(pairs) => {
            let pairs: serde_json::Map<String, Json> = pairs
                .iter()
                .map(|(name, value)| (name.clone(), tree(value)))
                .collect();
            json!({"M": pairs})
        }
        Attr::Ss(members) => json!({"SS": members}),
        Attr::Ns(members) => json!({"NS": members}),
        Attr::Bs(members) => {
            json!({"BS": members.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>()})
        }
    }
}
