//! What changes items.

use super::values::{item, placeholders, shown};
use super::*;

impl Store {
    fn statement(&mut self, text: &[u8]) -> Result<Rc<Statement>, Refused> {
        if let Some(known) = self.statements.get(text) {
            return Ok(known.clone());
        }
        let whole: String = serde_json::from_slice(text).map_err(|_| invalid("no statement"))?;
        let parsed = whole.strip_prefix("INSERT INTO \"").and_then(|rest| {
            let (table, rest) = rest.split_once("\" VALUE {")?;
            let names = rest.strip_suffix('}')?.split(", ");
            let names = names.map(|pair| {
                Some(
                    pair.strip_prefix('\'')?
                        .strip_suffix("': ?")?
                        .replace("''", "'"),
                )
            });
            Some((table.to_owned(), names.collect::<Option<Vec<String>>>()?))
        });
        let (table, names) = parsed.ok_or_else(|| invalid(format!("not taken here: {whole}")))?;
        let quoted = |name: &String| {
            let quoted = json!(name).to_string();
            quoted.as_bytes()[1..quoted.len() - 1].to_vec()
        };
        let statement = Rc::new(Statement {
            table,
            names: names.iter().map(quoted).collect(),
        });
        self.statements.insert(text.to_vec(), statement.clone());
        Ok(statement)
    }

    /// BatchExecuteStatement of inserts.
    pub(super) fn insert(&mut self, body: &[u8]) -> Answer {
        let mut out = b"{\"Responses\":[".to_vec();
        let mut consumed: Vec<(String, usize)> = Vec::new();
        let statements = member(body, "Statements").unwrap_or_default();
        for (place, one) in elements(statements).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            let statement = self.statement(member(one, "Statement").unwrap_or_default())?;
            let parameters = member(one, "Parameters").unwrap_or_default();
            let begin = self.keys_alone.as_ref();
            let keys_alone = begin.is_some_and(|begin| statement.table.starts_with(begin));
            let Some(table) = self.tables.get_mut(&statement.table) else {
                let code = "ResourceNotFound";
                out.extend_from_slice(
                    format!("{{\"Error\":{{\"Code\":\"{code}\",\"Message\":\"no table\"}}}}")
                        .as_bytes(),
                );
                continue;
            };
            let (mut partition, mut sort) = (None, None);
            let mut item = Vec::with_capacity(if keys_alone { 0 } else { one.len() });
            for (name, value) in statement.names.iter().zip(elements(parameters)) {
                if *name == table.partition.as_bytes() {
                    partition = Some(value);
                } else if table
                    .sort
                    .as_ref()
                    .is_some_and(|sort| *name == sort.as_bytes())
                {
                    sort = Some(value);
                }
                if !keys_alone {
                    item.extend_from_slice(if item.is_empty() { b"{\"" } else { b",\"" });
                    item.extend_from_slice(name);
                    item.extend_from_slice(b"\":");
                    item.extend_from_slice(value);
                }
            }
            item.extend_from_slice(if item.is_empty() { b"{}" } else { b"}" });
            let place = table.placed(partition, sort)?;
            if table.get(&place).is_some() {
                out.extend_from_slice(
                    b"{\"Error\":{\"Code\":\"DuplicateItem\",\"Message\":\"Duplicate primary key exists in table\"}}",
                );
            } else {
                table.set(place, Some(item.into_boxed_slice()));
                out.extend_from_slice(
                    format!("{{\"TableName\":\"{}\"}}", statement.table).as_bytes(),
                );
            }
            let of_this = units(parameters.len());
            match consumed
                .iter_mut()
                .find(|(table, _)| *table == statement.table)
            {
                Some((_, units)) => *units += of_this,
                None => consumed.push((statement.table.clone(), of_this)),
            }
        }
        out.extend_from_slice(b"],\"ConsumedCapacity\":[");
        for (place, (table, units)) in consumed.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            capacity(&mut out, table, *units);
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }

    /// BatchWriteItem of puts.
    pub(super) fn put_all(&mut self, body: &[u8]) -> Answer {
        for (name, requests) in members(member(body, "RequestItems").unwrap_or_default()) {
            let name = String::from_utf8_lossy(name).into_owned();
            let missing = || {
                Refused(
                    "ResourceNotFoundException",
                    "Requested resource not found".into(),
                    None,
                )
            };
            let table = self.tables.get_mut(&name).ok_or_else(missing)?;
            for request in elements(requests) {
                let put = member(request, "PutRequest").and_then(|put| member(put, "Item"));
                let item = put.ok_or_else(|| invalid("only puts are taken here"))?;
                let place = table.place(item)?;
                table.set(place, Some(item.into()));
            }
        }
        Ok(b"{\"UnprocessedItems\":{}}".to_vec())
    }

    pub(super) fn put(&mut self, body: &[u8]) -> Answer {
        let name = name_of(body)?;
        let table = self.named_mut(body)?;
        let item = member(body, "Item").ok_or_else(|| invalid("there is no item"))?;
        let place = table.place(item)?;
        let old = table.get(&place);
        refuse_unmet(body, old.map(|old| &**old))?;
        let told = old.filter(|_| asks(body, "ReturnValues", "ALL_OLD"));
        let out = written(body, &name, told.map(|old| &**old), item.len());
        let item = item.into();
        table.set(place, Some(item));
        Ok(out)
    }

    pub(super) fn delete(&mut self, body: &[u8]) -> Answer {
        let name = name_of(body)?;
        let table = self.named_mut(body)?;
        let place = table.place(member(body, "Key").unwrap_or_default())?;
        let old = table.get(&place);
        refuse_unmet(body, old.map(|old| &**old))?;
        let told = old.filter(|_| asks(body, "ReturnValues", "ALL_OLD"));
        let out = written(body, &name, told.map(|old| &**old), 1);
        table.set(place, None);
        Ok(out)
    }

    pub(super) fn update(&mut self, body: &[u8]) -> Answer {
        let name = name_of(body)?;
        let table = self.named_mut(body)?;
        let key = member(body, "Key").unwrap_or_default();
        let place = table.place(key)?;
        let old = table.get(&place);
        refuse_unmet(body, old.map(|old| &**old))?;
        let placeholders = placeholders(body)?;
        let before = match old {
            Some(old) => item(old)?,
            None => item(key)?,
        };
        let after = match member(body, "UpdateExpression").and_then(text) {
            Some(text) => UpdateExpression::parse(&text, &placeholders)?.apply(Some(&before))?,
            None => before.clone(),
        };
        let told = match member(body, "ReturnValues")
            .and_then(text)
            .unwrap_or_default()
            .as_str()
        {
            "ALL_NEW" | "UPDATED_NEW" => Some(shown(&after)),
            "ALL_OLD" | "UPDATED_OLD" => old.map(|old| old.to_vec()),
            _ => None,
        };
        let after = shown(&after);
        let out = written(body, &name, told.as_deref(), after.len());
        table.set(place, Some(after.into_boxed_slice()));
        Ok(out)
    }
}

fn refuse_unmet(body: &[u8], old: Option<&[u8]>) -> Result<(), Refused> {
    let Some(condition) = member(body, "ConditionExpression").and_then(text) else {
        return Ok(());
    };
    let condition = ConditionExpression::parse(&condition, &placeholders(body)?)?;
    let there = old.map(item).transpose()?;
    if condition.holds(there.as_ref()) {
        return Ok(());
    }
    let told = old.filter(|_| asks(body, "ReturnValuesOnConditionCheckFailure", "ALL_OLD"));
    Err(Refused(
        "ConditionalCheckFailedException",
        "The conditional request failed".into(),
        told.map(<[u8]>::to_vec),
    ))
}

fn written(body: &[u8], table: &str, told: Option<&[u8]>, bytes: usize) -> Vec<u8> {
    let mut out = b"{".to_vec();
    if let Some(told) = told {
        out.extend_from_slice(b"\"Attributes\":");
        out.extend_from_slice(told);
    }
    if asks(body, "ReturnConsumedCapacity", "TOTAL") {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(b"\"ConsumedCapacity\":");
        capacity(&mut out, table, units(bytes));
    }
    out.push(b'}');
    out
}
