//! Types as `system_schema` writes them.

use std::sync::Arc;

use super::{Type, Udt, is_built_in, takes_types};

/// The class of a type without values but the empty one.
const EMPTY_TYPE: &str = "org.apache.cassandra.db.marshal.EmptyType";

impl Type {
    /// Reads a type as `system_schema.columns` writes it, and says whether it is frozen at the top.
    ///
    /// `udts` are the keyspace's user-defined types, each before those that use it.
    ///
    /// # Errors
    /// A sentence that says which part isn't a type.
    pub fn parse(text: &str, udts: &[Arc<Udt>]) -> Result<(Type, bool), String> {
        let mut parser = TypeText {
            rest: text.trim(),
            whole: text,
            udts,
        };
        let parsed = parser.one()?;
        if parser.rest.is_empty() {
            Ok(parsed)
        } else {
            Err(parser.wrong("something follows it"))
        }
    }
}

struct TypeText<'a> {
    rest: &'a str,
    whole: &'a str,
    udts: &'a [Arc<Udt>],
}

impl TypeText<'_> {
    fn wrong(&self, why: &str) -> String {
        format!("`{}` is not a CQL type: {why}", self.whole)
    }

    fn one(&mut self) -> Result<(Type, bool), String> {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix('\'') {
            let (class, rest) = rest
                .split_once('\'')
                .ok_or_else(|| self.wrong("a quote isn't closed"))?;
            self.rest = rest;
            return Ok((Type::Custom(class.to_owned()), false));
        }
        let (name, is_quoted) = self.name()?;
        if is_quoted || (takes_types(&name) && !self.rest.trim_start().starts_with('<')) {
            return Ok((self.udt(&name)?, false));
        }
        let ty = match name.as_str() {
            "ascii" => Type::Ascii,
            "text" | "varchar" => Type::Text,
            "tinyint" => Type::TinyInt,
            "smallint" => Type::SmallInt,
            "int" => Type::Int,
            "bigint" => Type::BigInt,
            "counter" => Type::Counter,
            "varint" => Type::Varint,
            "decimal" => Type::Decimal,
            "float" => Type::Float,
            "double" => Type::Double,
            "boolean" => Type::Boolean,
            "blob" => Type::Blob,
            "uuid" => Type::Uuid,
            "timeuuid" => Type::TimeUuid,
            "timestamp" => Type::Timestamp,
            "date" => Type::Date,
            "time" => Type::Time,
            "inet" => Type::Inet,
            "duration" => Type::Duration,
            // What a table has whose hidden column `DROP COMPACT STORAGE` brought to light.
            "empty" => Type::Custom(EMPTY_TYPE.to_owned()),
            "frozen" => {
                let text = self.rest;
                let mut inside = self.arguments()?;
                let text = text.strip_suffix(self.rest).unwrap_or(text);
                return match (inside.pop(), inside.is_empty()) {
                    (Some(Argument::Type(ty)), true) => Ok((self.frozen(ty, text), true)),
                    _ => Err(self.wrong("frozen takes one type")),
                };
            }
            "list" | "set" => {
                let mut inside = self.arguments()?;
                match (inside.pop(), inside.is_empty()) {
                    (Some(Argument::Type(ty)), true) if name == "list" => Type::List(Box::new(ty)),
                    (Some(Argument::Type(ty)), true) => Type::Set(Box::new(ty)),
                    _ => return Err(self.wrong("a list or set takes one type")),
                }
            }
            "map" => {
                let mut inside = self.arguments()?;
                match (inside.pop(), inside.pop(), inside.is_empty()) {
                    (Some(Argument::Type(value)), Some(Argument::Type(key)), true) => {
                        Type::Map(Box::new(key), Box::new(value))
                    }
                    _ => return Err(self.wrong("a map takes two types")),
                }
            }
            "tuple" => {
                let fields = self
                    .arguments()?
                    .into_iter()
                    .map(|argument| match argument {
                        Argument::Type(ty) => Ok(ty),
                        Argument::Number(_) => Err(self.wrong("a tuple takes types")),
                    });
                Type::Tuple(fields.collect::<Result<_, _>>()?)
            }
            "vector" => {
                let mut inside = self.arguments()?;
                match (inside.pop(), inside.pop(), inside.is_empty()) {
                    (Some(Argument::Number(n)), Some(Argument::Type(ty)), true) => {
                        Type::Vector(Box::new(ty), n)
                    }
                    _ => return Err(self.wrong("a vector takes a type and a dimension")),
                }
            }
            other => self.udt(other)?,
        };
        Ok((ty, false))
    }

    /// Only collections, tuples and user-defined types are ever frozen: what looks like another type is a
    /// user-defined one of that name. `text` is the type in its brackets.
    fn frozen(&self, ty: Type, text: &str) -> Type {
        let name = text.trim().trim_matches(['<', '>']).trim();
        match self.udt(name) {
            Ok(udt) if is_built_in(name) => udt,
            Ok(_) | Err(_) => ty,
        }
    }

    fn udt(&self, name: &str) -> Result<Type, String> {
        match self.udts.iter().find(|udt| udt.name == name) {
            Some(udt) => Ok(Type::Udt(udt.clone())),
            None => Err(self.wrong(&format!(
                "`{name}` is neither a type nor a user-defined type"
            ))),
        }
    }

    fn name(&mut self) -> Result<(String, bool), String> {
        if let Some(rest) = self.rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = rest.char_indices().peekable();
            while let Some((at, c)) = chars.next() {
                if c != '"' {
                    name.push(c);
                } else if matches!(chars.peek(), Some((_, '"'))) {
                    name.push('"');
                    chars.next();
                } else {
                    self.rest = &rest[at + 1..];
                    return Ok((name, true));
                }
            }
            return Err(self.wrong("a quote isn't closed"));
        }
        let end = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.wrong("a name is missing"));
        }
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        Ok((name, false))
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, String> {
        self.rest = self.rest.trim_start();
        self.rest = self
            .rest
            .strip_prefix('<')
            .ok_or_else(|| self.wrong("`<` is missing"))?;
        let mut arguments = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
                let (digits, _) = self.name()?;
                let n = digits
                    .parse()
                    .map_err(|_| self.wrong("the dimension is out of range"))?;
                arguments.push(Argument::Number(n));
            } else {
                arguments.push(Argument::Type(self.one()?.0));
            }
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else if let Some(rest) = self.rest.strip_prefix('>') {
                self.rest = rest;
                return Ok(arguments);
            } else {
                return Err(self.wrong("`,` or `>` is missing"));
            }
        }
    }
}

enum Argument {
    Type(Type),
    Number(u16),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn types_read_back_as_they_are_written() {
        let address = Arc::new(Udt {
            name: "Home Address".into(),
            fields: vec![("street".into(), Type::Text), ("zip".into(), Type::Int)],
        });
        let list = Arc::new(Udt {
            name: "list".into(),
            fields: Vec::new(),
        });
        let int = Arc::new(Udt {
            name: "int".into(),
            fields: Vec::new(),
        });
        for (text, written) in [
            ("list", "\"list\""),
            ("list<frozen<list>>", "list<frozen<\"list\">>"),
            ("list<int>", "list<int>"),
            ("list<frozen<int>>", "list<frozen<\"int\">>"),
            ("map<int, frozen<\"int\">>", "map<int, frozen<\"int\">>"),
        ] {
            let udts = [list.clone(), int.clone()];
            let (ty, _) = Type::parse(text, &udts).unwrap();
            assert_eq!(ty.to_string(), written);
            assert_eq!(Type::parse(written, &udts).unwrap().0, ty);
        }
        for text in [
            "int",
            "list<int>",
            "map<text, frozen<set<uuid>>>",
            "tuple<int, frozen<tuple<text, blob>>>",
            "map<frozen<tuple<int, text>>, frozen<\"Home Address\">>",
            "vector<float, 3>",
            "\"Home Address\"",
            "'org.example.Odd'",
        ] {
            let (ty, frozen) = Type::parse(text, std::slice::from_ref(&address)).unwrap();
            assert!(!frozen, "{text}");
            assert_eq!(ty.to_string(), text);
        }
        let (ty, is_frozen) = Type::parse("frozen<map<text, int>>", &[]).unwrap();
        assert!(is_frozen);
        assert_eq!(ty, Type::Map(Box::new(Type::Text), Box::new(Type::Int)));
    }

    #[test]
    fn what_is_no_type_is_refused_with_the_text() {
        for text in [
            "",
            "strin",
            "list<>",
            "list<int",
            "map<int>",
            "int int",
            "vector<float, x>",
        ] {
            let error = Type::parse(text, &[]).unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
