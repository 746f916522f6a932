//! The bodies of requests, written part by part.

use super::expression::Terms;
use crate::item::{Attr, wire};

/// A body that isn't complete yet.
pub(super) struct Body(Vec<u8>);

impl Body {
    /// The body of a request on a table.
    pub fn on(table: &str) -> Self {
        Body(Vec::with_capacity(256)).text("TableName", table)
    }

    /// Adds a text.
    pub fn text(mut self, name: &str, text: &str) -> Self {
        wire::put_text(self.begin(name), text);
        self
    }

    /// Adds a text, if there is one.
    pub fn text_if(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// Adds whether something is so.
    pub fn flag(mut self, name: &str, is_so: bool) -> Self {
        let text: &[u8] = if is_so { b"true" } else { b"false" };
        self.begin(name).extend_from_slice(text);
        self
    }

    /// Adds a number.
    pub fn number(mut self, name: &str, number: usize) -> Self {
        self.begin(name)
            .extend_from_slice(number.to_string().as_bytes());
        self
    }

    /// Adds an item or a key.
    pub fn item(mut self, name: &str, item: &[(String, Attr)]) -> Self {
        put_item(self.begin(name), item);
        self
    }

    /// The same, if there is one.
    pub fn item_if(self, name: &str, item: Option<&[(String, Attr)]>) -> Self {
        match item {
            Some(item) => self.item(name, item),
            None => self,
        }
    }

    /// Adds the keys that are read of a table, and that they are read as they are now.
    pub fn keys_of(mut self, table: &str, keys: &[Vec<(String, Attr)>]) -> Self {
        let out = self.begin("RequestItems");
        out.push(b'{');
        wire::put_text(out, table);
        out.extend_from_slice(b":{\"ConsistentRead\":true,\"Keys\":[");
        for (at, key) in keys.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            put_item(out, key);
        }
        out.extend_from_slice(b"]}}");
        self
    }

    /// Adds what the request's expressions name.
    pub fn terms(mut self, terms: &Terms) -> Self {
        let names = terms.all_names();
        if !names.is_empty() {
            let out = self.begin("ExpressionAttributeNames");
            for (at, (key, name)) in names.iter().enumerate() {
                out.push(if at == 0 { b'{' } else { b',' });
                wire::put_text(out, key);
                out.push(b':');
                wire::put_text(out, name);
            }
            out.push(b'}');
        }
        let values = terms.all_values();
        if !values.is_empty() {
            let pairs = values.iter().map(|(key, value)| (key.as_str(), &**value));
            wire::put_pairs(self.begin("ExpressionAttributeValues"), pairs);
        }
        self
    }

    /// The body of a request that isn't on one table.
    pub fn empty() -> Self {
        Body(Vec::with_capacity(256))
    }

    pub fn done(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }

    fn begin(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        wire::put_text(&mut self.0, name);
        self.0.push(b':');
        &mut self.0
    }
}

fn put_item(out: &mut Vec<u8>, item: &[(String, Attr)]) {
    wire::put_pairs(out, item.iter().map(|(name, attr)| (name.as_str(), attr)));
}
