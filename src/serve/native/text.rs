//! Items as the text in which the new store gave them: only what tells whether an item is shown is read, and nothing is
//! built up that is only passed on.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::{ItemAttributes, Showing};
use crate::serve::fault::Fault;

/// An object's fields, in their order, each value as it was written.
pub(super) struct TextObject<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> TextObject<'a> {
    /// # Errors
    /// It isn't what the new store says.
    pub fn read(text: &'a [u8]) -> Result<Self, Fault> {
        serde_json::from_slice(text).map_err(|_| strange())
    }

    pub fn field(&self, name: &str) -> Option<&'a RawValue> {
        let mut fields = self.0.iter();
        fields.find_map(|(field, value)| (field == name).then_some(*value))
    }

    /// The object again: what `change` says in place of each field's value, and without those of which it says nothing.
    pub fn written(
        &self,
        into: &mut Vec<u8>,
        mut change: impl FnMut(&str, &mut Vec<u8>) -> FieldFate,
    ) {
        into.push(b'{');
        let mut is_first = true;
        for (name, value) in &self.0 {
            let before = into.len();
            if !is_first {
                into.push(b',');
            }
            // A `String` has nothing that can't be written.
            let _ = serde_json::to_writer(&mut *into, name.as_ref());
            into.push(b':');
            match change(name, into) {
                FieldFate::Kept => into.extend_from_slice(value.get().as_bytes()),
                FieldFate::Replaced => {}
                FieldFate::Removed => {
                    into.truncate(before);
                    continue;
                }
            }
            is_first = false;
        }
        into.push(b'}');
    }
}

/// What becomes of a field.
pub(super) enum FieldFate {
    Kept,
    /// Its value was written.
    Replaced,
    Removed,
}

impl ItemAttributes for TextObject<'_> {
    fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    fn scalar(&self, name: &str, kind: &str) -> Option<Cow<'_, str>> {
        let value: Json = serde_json::from_str(self.field(name)?.get()).ok()?;
        Some(Cow::Owned(value[kind].as_str()?.to_owned()))
    }
}

impl Showing<'_> {
    /// Writes what of an item is shown, if anything.
    pub(super) fn write(&self, item: &RawValue, into: &mut Vec<u8>) -> Result<bool, Fault> {
        let item = TextObject::read(item.get().as_bytes())?;
        if self.hides(&item) {
            return Ok(false);
        }
        item.written(into, |name, _| {
            match self.mapping.reserved().any(|reserved| reserved == name) {
                true => FieldFate::Removed,
                false => FieldFate::Kept,
            }
        });
        Ok(true)
    }

    /// The answer of GetItem, with what of its item is shown.
    pub(super) fn got(&self, said: &[u8]) -> Result<Vec<u8>, Fault> {
        let said_as = TextObject::read(said)?;
        let mut item = Vec::new();
        let shows = match said_as.field("Item") {
            Some(text) => self.write(text, &mut item)?,
            None => false,
        };
        let mut told = Vec::with_capacity(said.len());
        said_as.written(&mut told, |name, told| match name {
            "Item" if shows => {
                told.append(&mut item);
                FieldFate::Replaced
            }
            "Item" => FieldFate::Removed,
            _ => FieldFate::Kept,
        });
        Ok(told)
    }

    /// The answer of Query or Scan, with the items that are shown.
    pub(super) fn page(&self, said: &[u8]) -> Result<Vec<u8>, Fault> {
        let said_as = TextObject::read(said)?;
        let items: Vec<&RawValue> = match said_as.field("Items") {
            Some(items) => serde_json::from_str(items.get()).map_err(|_| strange())?,
            None => return Ok(said.to_vec()),
        };
        let (mut shown, mut count) = (Vec::with_capacity(said.len()), 0);
        shown.push(b'[');
        for item in items {
            let before = shown.len();
            if count > 0 {
                shown.push(b',');
            }
            match self.write(item, &mut shown)? {
                true => count += 1,
                false => shown.truncate(before),
            }
        }
        shown.push(b']');
        let mut told = Vec::with_capacity(said.len());
        said_as.written(&mut told, |name, told| match name {
            "Items" => {
                told.append(&mut shown);
                FieldFate::Replaced
            }
            "Count" => {
                told.extend_from_slice(count.to_string().as_bytes());
                FieldFate::Replaced
            }
            _ => FieldFate::Kept,
        });
        Ok(told)
    }
}

fn strange() -> Fault {
    Fault::new(
        500,
        "InternalServerError",
        "the new store's answer can't be read: it isn't DynamoDB's JSON",
    )
}

impl<'de> Deserialize<'de> for TextObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = TextObject<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some(FieldName(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(TextObject(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A field's name, borrowed where it is written without escapes.
#[derive(serde::Deserialize)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::item::Mapping;
    use crate::schema::{Column, Role, Table, Type};

    fn mapping() -> Mapping {
        let columns = vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("v", Type::Text, Role::Regular),
        ];
        let mut table = Table::new("t", columns);
        table.layout.expiry_attribute = Some("ends".into());
        Mapping::new(&table).unwrap()
    }

    fn item() -> impl Strategy<Value = Json> {
        let name = "id|v|_m|_d|ends|é\"\\\\\n|other";
        let letter = prop_oneof![Just("c"), Just("t"), Just("k"), Just("a"), Just("x")];
        let value = prop_oneof![
            letter.prop_map(|letter| json!({ "S": letter })),
            prop_oneof![Just("1"), Just("9999999999"), Just("1e3"), Just("?")]
                .prop_map(|number| json!({ "N": number })),
            any::<String>().prop_map(|text| json!({"M": {"_m": {"S": text}, "l": {"L": []}}})),
        ];
        proptest::collection::btree_map(name, value, 0..5)
            .prop_map(|item| Json::Object(item.into_iter().collect()))
    }

    proptest! {
        /// The same is shown as by those who build items up.
        #[test]
        fn what_is_shown_as_text_is_what_is_shown(items in proptest::collection::vec(item(), 0..4)) {
            let mapping = mapping();
            let showing = Showing::of(&mapping);
            let shown: Vec<Json> = items.iter().filter_map(|item| showing.item(item.clone())).collect();
            let said = json!({"Items": items, "Count": items.len(), "ScannedCount": 9}).to_string();
            let told: Json = serde_json::from_slice(&showing.page(said.as_bytes()).unwrap()).unwrap();
            prop_assert_eq!(told, json!({"Items": shown, "Count": shown.len(), "ScannedCount": 9}));
            for item in items {
                let said = json!({"Item": item, "ConsumedCapacity": {"CapacityUnits": 1.0}}).to_string();
                let told: Json = serde_json::from_slice(&showing.got(said.as_bytes()).unwrap()).unwrap();
                let mut wanted = json!({"ConsumedCapacity": {"CapacityUnits": 1.0}});
                if let Some(shown) = showing.item(item) {
                    wanted["Item"] = shown;
                }
                prop_assert_eq!(told, wanted);
            }
        }
    }

    #[test]
    fn what_isnt_an_answer_is_named() {
        let mapping = mapping();
        let showing = Showing::of(&mapping);
        assert_eq!(showing.got(b"{}").unwrap(), b"{}");
        for said in ["", "[]", "{\"Item\":1}", "{\"Item\":{\"id\":}}"] {
            let fault = showing.got(said.as_bytes()).unwrap_err();
            assert!(fault.message.contains("isn't DynamoDB's JSON"), "{said}");
        }
        assert!(showing.page(b"{\"Items\":{}}").is_err());
    }
}
