//! What reads items.

use super::values::{item, placeholders, shown, shown_value};
use super::*;

impl Store {
    pub(super) fn get(&self, body: &[u8]) -> Answer {
        let table = self.named(body)?;
        let key = member(body, "Key").ok_or_else(|| invalid("there is no key"))?;
        let Some(item) = table.get(&table.place(key)?) else {
            return Ok(b"{}".to_vec());
        };
        let projected = projected(body, item)?;
        let item = projected.as_deref().unwrap_or(item);
        let mut out = Vec::with_capacity(item.len() + 128);
        out.extend_from_slice(b"{");
        if member(body, "ReturnConsumedCapacity").is_some_and(|value| value == b"\"TOTAL\"") {
            out.extend_from_slice(b"\"ConsumedCapacity\":");
            capacity(&mut out, &name_of(body)?, item.len().div_ceil(4_096).max(1));
            out.push(b',');
        }
        out.extend_from_slice(b"\"Item\":");
        out.extend_from_slice(item);
        out.push(b'}');
        Ok(out)
    }

    pub(super) fn get_all(&self, body: &[u8]) -> Answer {
        let mut out = b"{\"Responses\":{".to_vec();
        for (name, asked) in members(member(body, "RequestItems").unwrap_or_default()) {
            let table = self.table(&String::from_utf8_lossy(name))?;
            out.extend_from_slice(&[b"\"", name, b"\":["].concat());
            for key in elements(member(asked, "Keys").unwrap_or_default()) {
                if let Some(item) = table.get(&table.place(key)?) {
                    out.extend_from_slice(
                        &projected(asked, item)?.unwrap_or_else(|| item.to_vec()),
                    );
                    out.push(b',');
                }
            }
            if out.last() == Some(&b',') {
                out.pop();
            }
            out.extend_from_slice(b"],");
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.extend_from_slice(b"},\"UnprocessedKeys\":{}}");
        Ok(out)
    }

    pub(super) fn query(&self, body: &[u8]) -> Answer {
        let table = self.named(body)?;
        let placeholders = placeholders(body)?;
        let condition = member(body, "KeyConditionExpression")
            .and_then(text)
            .unwrap_or_default();
        let wanted = KeyCondition::parse(
            &condition,
            &placeholders,
            &table.partition,
            table.sort.as_deref(),
        )?;
        let mut test = Vec::new();
        let partition = shown_value(&wanted.partition);
        if let Some(sort) = &wanted.sort {
            use express::{Operand, Path, SortCondition};
            let path = Operand::Path(Path::attribute(table.sort.as_deref().unwrap_or_default()));
            let value = |attr: &Attr| Operand::Value(attr.clone());
            test.push(match sort {
                SortCondition::Is(how, with) => {
                    ConditionExpression::Compare(path, *how, value(with))
                }
                SortCondition::Between(low, high) => {
                    ConditionExpression::Between(path, value(low), value(high))
                }
                SortCondition::BeginsWith(start) => {
                    ConditionExpression::BeginsWith(path, value(start))
                }
            });
        }
        let any = table.sort.is_none().then(|| b"{}".to_vec());
        let whole = Table {
            sort: None,
            described: Json::Null,
            partition: table.partition.clone(),
            partitions: BTreeMap::new(),
            ttl: None,
        };
        let (of, _) = whole.placed(Some(partition.as_bytes()), any.as_deref())?;
        let after = match member(body, "ExclusiveStartKey") {
            Some(key) if key != b"null" => Some(table.place(key)?.1),
            _ => None,
        };
        let forward = member(body, "ScanIndexForward").is_none_or(|value| value != b"false");
        let empty = BTreeMap::new();
        let items = table.partitions.get(&of).unwrap_or(&empty);
        let range = match (after, forward) {
            (None, _) => (Bound::Unbounded, Bound::Unbounded),
            (Some(after), true) => (Bound::Excluded(after), Bound::Unbounded),
            (Some(after), false) => (Bound::Unbounded, Bound::Excluded(after)),
        };
        let items = items.range(range).map(|(_, item)| &**item);
        let items: Box<dyn Iterator<Item = &[u8]>> = match forward {
            true => Box::new(items),
            false => Box::new(items.rev()),
        };
        let mut failed = None;
        let meets = items.filter(|stored| {
            test.is_empty()
                || match item(stored) {
                    Ok(there) => test.iter().all(|test| test.holds(Some(&there))),
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                }
        });
        let page = page(table, body, meets);
        match failed {
            Some(error) => Err(error),
            None => page,
        }
    }

    pub(super) fn scan(&self, body: &[u8]) -> Answer {
        let table = self.named(body)?;
        let number = |name| {
            member(body, name)
                .and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok())
        };
        let (segment, total) = (
            number("Segment").unwrap_or(0),
            number("TotalSegments").unwrap_or(1).max(1),
        );
        let width = u64::MAX / total;
        let low = (segment * width, Vec::new());
        let high = match segment + 1 == total {
            true => Bound::Unbounded,
            false => Bound::Excluded(((segment + 1) * width, Vec::new())),
        };
        let after = match member(body, "ExclusiveStartKey") {
            Some(key) if key != b"null" => Some(table.place(key)?),
            _ => None,
        };
        let from = after
            .as_ref()
            .map_or(low, |(partition, _)| partition.clone());
        let items = table.partitions.range((Bound::Included(from), high));
        let items = items.flat_map(|(partition, items)| {
            let begin = match &after {
                Some((of, sort)) if of == partition => Bound::Excluded(sort.clone()),
                Some(_) | None => Bound::Unbounded,
            };
            items
                .range((begin, Bound::Unbounded))
                .map(|(_, item)| &**item)
        });
        page(table, body, items)
    }
}

/// The most bytes of a page.
const PAGE: usize = 1 << 20;

fn page<'a>(table: &Table, body: &[u8], items: impl Iterator<Item = &'a [u8]>) -> Answer {
    let limit = member(body, "Limit")
        .and_then(|value| std::str::from_utf8(value).ok()?.parse::<usize>().ok());
    let limit = limit.unwrap_or(usize::MAX);
    let filter = match member(body, "FilterExpression").and_then(text) {
        Some(text) => Some(ConditionExpression::parse(&text, &placeholders(body)?)?),
        None => None,
    };
    let mut out = b"{\"Items\":[".to_vec();
    let (mut count, mut scanned, mut bytes) = (0_usize, 0_usize, 0_usize);
    let mut last = None;
    let mut items = items.peekable();
    while let Some(stored) = items.next() {
        scanned += 1;
        bytes += stored.len();
        let passes = match &filter {
            Some(filter) => filter.holds(Some(&item(stored)?)),
            None => true,
        };
        if passes {
            if count > 0 {
                out.push(b',');
            }
            count += 1;
            match projected(body, stored)? {
                Some(part) => out.extend_from_slice(&part),
                None => out.extend_from_slice(stored),
            }
        }
        // As the service does it: a page with as many items as were asked for says where it ends, though nothing may follow.
        if scanned >= limit || bytes >= PAGE && items.peek().is_some() {
            last = Some(table.key_of(stored));
            break;
        }
    }
    out.extend_from_slice(format!("],\"Count\":{count},\"ScannedCount\":{scanned}").as_bytes());
    if asks(body, "ReturnConsumedCapacity", "TOTAL") {
        out.extend_from_slice(b",\"ConsumedCapacity\":");
        capacity(&mut out, &name_of(body)?, bytes.div_ceil(4_096).max(1));
    }
    if let Some(last) = last {
        out.extend_from_slice(b",\"LastEvaluatedKey\":");
        out.extend_from_slice(&last);
    }
    out.push(b'}');
    Ok(out)
}

fn projected(body: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    let Some(text) = member(body, "ProjectionExpression").and_then(text) else {
        return Ok(None);
    };
    let projection = Projection::parse(&text, &placeholders(body)?)?;
    Ok(Some(shown(&projection.of(&item(stored)?))))
}
