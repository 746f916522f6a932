//! Parts of a partition: as CQL says them, listed and deleted.
//!
//! A bound gives values of the first clustering columns. Where all of these have the same order, one
//! comparison of tuples says it. Where some ascend and others descend none does, and a part is cut into
//! stretches that differ in one column each: from `(a, b, c)` on come rows with `c1 = a AND c2 = b` and c3
//! not before `c`, then those with `c1 = a` and c2 after `b`, then those with c1 after `a`. "After" is
//! `>` in an ascending column and `<` in a descending one.

use std::cmp::Ordering;
use std::ops;

use super::errors::Doing;
use super::scan::Select;
use super::statement::{BoundValues, equal, fits, of, quoted_always};
use super::{Cassandra, Replicas};
use crate::codec::ordered::compare;
use crate::error::{Error, Kind, Result};
use crate::model::{ClusteringRange, Key, Query, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::QueryPage;

/// The first values of clustering columns, as a bound.
type Prefix = ops::Bound<Vec<Value>>;

/// What one `WHERE` can say: rows whose first clustering columns equal some values, and whose next ones
/// lie between two bounds. Bounds are in clustering order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WhereStretch {
    equal: Vec<Value>,
    from: Prefix,
    until: Prefix,
}

/// What a query reads, one after the other.
enum QueryPart {
    Statics,
    Rows(WhereStretch),
}

impl Cassandra {
    /// The next page of a query.
    pub(super) async fn query_range(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        let parts = parts(table, query)?;
        let limit = query.limit.max(1);
        let partition = &query.range.partition;
        let mut rows = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let stretch = match part {
                QueryPart::Rows(stretch) => stretch,
                QueryPart::Statics => {
                    let key = Key::statics(partition.clone());
                    rows.extend(self.get_one(table, &key, Replicas::Configured).await?);
                    if rows.len() >= limit {
                        let more = at + 1 < parts.len();
                        return Ok(QueryPage { rows, more });
                    }
                    continue;
                }
            };
            let asked = self.asked_stretch(table, partition, stretch, query.reverse);
            let mut paging = None;
            loop {
                let left = limit - rows.len();
                let page = self
                    .page(table, &asked, None, paging, left, Doing::Read)
                    .await?;
                rows.extend(page.rows);
                if rows.len() >= limit {
                    let more = page.more.is_some() || at + 1 < parts.len();
                    return Ok(QueryPage { rows, more });
                }
                match page.more {
                    Some(next) => paging = Some(next),
                    None => break,
                }
            }
        }
        Ok(QueryPage { rows, more: false })
    }

    fn asked_stretch(
        &self,
        table: &Table,
        partition: &[Value],
        stretch: &WhereStretch,
        reverse: bool,
    ) -> Select {
        let mut values = BoundValues::default();
        let mut conditions = conditions(table, partition, stretch, &mut values);
        if reverse && !table.clustering().is_empty() {
            let backwards = table.clustering().iter().map(|column| {
                let order = match order(column) {
                    Order::Asc => "DESC",
                    Order::Desc => "ASC",
                };
                format!("{} {order}", quoted_always(&column.name))
            });
            let backwards: Vec<String> = backwards.collect();
            conditions.push_str(&format!(" ORDER BY {}", backwards.join(", ")));
        }
        Select {
            selection: self.selected(table),
            conditions,
            values,
            statics: false,
        }
    }

    /// Deletes a range in one write: a partition's rows change together or not at all.
    pub(super) async fn delete_range(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        check(table, range)?;
        let stretches = stretches(table.clustering(), &range.from, &range.until);
        let is_all = |stretch: &WhereStretch| {
            stretch.equal.is_empty() && is_open(&stretch.from) && is_open(&stretch.until)
        };
        if !range.is_whole() && table.has_statics() && stretches.iter().any(is_all) {
            let message = "all rows of a partition can't be deleted without its static columns";
            return Err(Error::new(Kind::Unsupported, message)
                .with_help("delete the whole partition, or give a bound"));
        }
        let mut values = BoundValues::default();
        let table_name = of(&self.keyspace, table);
        let deletes = stretches.iter().map(|stretch| {
            let conditions = conditions(table, &range.partition, stretch, &mut values);
            format!("DELETE FROM {table_name} WHERE {conditions}")
        });
        let deletes: Vec<String> = deletes.collect();
        match &deletes[..] {
            [] => Ok(()),
            [one] => self.send(one, &values).await,
            many => {
                let cql = format!("BEGIN UNLOGGED BATCH {}; APPLY BATCH", many.join("; "));
                self.send(&cql, &values).await
            }
        }
    }
}

/// What a page of a query reads, in this order. A static row comes before all rows.
fn parts(table: &Table, query: &Query) -> Result<Vec<QueryPart>> {
    check(table, &query.range)?;
    let (mut from, mut until) = (query.range.from.clone(), query.range.until.clone());
    let mut statics = query.range.is_whole() && table.has_statics();
    let columns = table.clustering();
    match query.after.as_ref().map(|key| &key.clustering) {
        None => {}
        Some(None) if query.reverse => return Ok(Vec::new()),
        Some(None) => statics = false,
        Some(Some(after)) => {
            fits(after, columns)?;
            let here = || ops::Bound::Included(after.clone());
            let beyond = ops::Bound::Excluded(after.clone());
            if query.reverse {
                // One that lies beyond the range takes nothing from it.
                if !is_empty(columns, &here(), &until) {
                    until = beyond;
                }
            } else {
                statics = false;
                if !is_empty(columns, &from, &here()) {
                    from = beyond;
                }
            }
        }
    }
    let rows = stretches(columns, &from, &until)
        .into_iter()
        .map(QueryPart::Rows);
    let mut parts: Vec<QueryPart> = statics
        .then_some(QueryPart::Statics)
        .into_iter()
        .chain(rows)
        .collect();
    if query.reverse {
        parts.reverse();
    }
    Ok(parts)
}

/// Refuses bounds that aren't values of the first clustering columns.
fn check(table: &Table, range: &ClusteringRange) -> Result<()> {
    let invalid =
        |message| Error::new(Kind::Invalid, message).with_context("table", table.name.as_str());
    if range.partition.len() != table.partition().len() {
        return Err(invalid(
            "a partition's key doesn't give each column a value",
        ));
    }
    fits(&range.partition, table.partition())?;
    for bound in [&range.from, &range.until] {
        if prefix(bound).len() > table.clustering().len() {
            return Err(invalid(
                "a bound gives more values than there are clustering columns",
            ));
        }
        fits(prefix(bound), table.clustering())?;
    }
    Ok(())
}

/// The stretches that together are the rows between two bounds, in clustering order.
fn stretches(columns: &[Column], from: &Prefix, until: &Prefix) -> Vec<WhereStretch> {
    if is_empty(columns, from, until) {
        return Vec::new();
    }
    let (a, b) = (prefix(from), prefix(until));
    let bounded = &columns[..a.len().max(b.len())];
    if bounded
        .windows(2)
        .all(|two| order(&two[0]) == order(&two[1]))
    {
        return vec![WhereStretch {
            equal: Vec::new(),
            from: from.clone(),
            until: until.clone(),
        }];
    }
    let common = common(columns, a, b);
    // One value of a bound: only with its last one it stands for what the whole bound does.
    let step = |bound: &Prefix, at: usize| match prefix(bound).get(at) {
        None => ops::Bound::Unbounded,
        Some(value) => match bound {
            ops::Bound::Included(values) if at + 1 == values.len() => {
                ops::Bound::Included(vec![value.clone()])
            }
            ops::Bound::Included(_) | ops::Bound::Excluded(_) | ops::Bound::Unbounded => {
                ops::Bound::Excluded(vec![value.clone()])
            }
        },
    };
    let behind_from = (common + 1..a.len()).rev().map(|at| WhereStretch {
        equal: a[..at].to_vec(),
        from: step(from, at),
        until: ops::Bound::Unbounded,
    });
    let between = WhereStretch {
        equal: a[..common].to_vec(),
        from: step(from, common),
        until: step(until, common),
    };
    let before_until = (common + 1..b.len()).map(|at| WhereStretch {
        equal: b[..at].to_vec(),
        from: ops::Bound::Unbounded,
        until: step(until, at),
    });
    let rows = behind_from.chain([between]).chain(before_until);
    rows.collect()
}

/// Whether no row can lie between two bounds. Of types whose order is the server's alone, it isn't known.
fn is_empty(columns: &[Column], from: &Prefix, until: &Prefix) -> bool {
    let (a, b) = (prefix(from), prefix(until));
    let excludes = |bound: &Prefix| matches!(bound, ops::Bound::Excluded(_));
    let at = common(columns, a, b);
    match (a.get(at), b.get(at)) {
        (Some(a), Some(b)) => has_order(&columns[at].ty) && in_order(&columns[at], a, b).is_gt(),
        // Both stand for the same rows, or one for some of the other's.
        (None, None) => excludes(from) || excludes(until),
        (None, Some(_)) => excludes(from),
        (Some(_), None) => excludes(until),
    }
}

/// How many of the first values are the same.
fn common(columns: &[Column], a: &[Value], b: &[Value]) -> usize {
    let pairs = columns.iter().zip(a.iter().zip(b));
    pairs
        .take_while(|(column, (a, b))| in_order(column, a, b).is_eq())
        .count()
}

fn in_order(column: &Column, a: &Value, b: &Value) -> Ordering {
    let ordering = compare(&column.ty, a, b);
    match order(column) {
        Order::Asc => ordering,
        Order::Desc => ordering.reverse(),
    }
}

fn order(column: &Column) -> Order {
    match column.role {
        Role::Clustering(order) => order,
        Role::Partition | Role::Static | Role::Regular => Order::Asc,
    }
}

/// Whether [`compare`] orders values of a type as the server does.
fn has_order(ty: &Type) -> bool {
    !matches!(ty, Type::Custom(_)) && ty.inside().into_iter().all(has_order)
}

fn prefix(bound: &Prefix) -> &[Value] {
    match bound {
        ops::Bound::Included(values) | ops::Bound::Excluded(values) => values,
        ops::Bound::Unbounded => &[],
    }
}

/// Whether a bound that holds any row holds them all.
fn is_open(bound: &Prefix) -> bool {
    prefix(bound).is_empty()
}

/// A stretch as what comes after `WHERE`, its values bound.
fn conditions(
    table: &Table,
    partition: &[Value],
    stretch: &WhereStretch,
    values: &mut BoundValues,
) -> String {
    values.push_all(partition, table.partition());
    let (equals, rest) = table.clustering().split_at(stretch.equal.len());
    values.push_all(&stretch.equal, equals);
    let mut parts = vec![equal(table.partition().iter().chain(equals))];
    for (bound, is_from) in [(&stretch.from, true), (&stretch.until, false)] {
        let (Some(first), false) = (rest.first(), is_open(bound)) else {
            continue;
        };
        let sign = match (order(first), is_from) {
            (Order::Asc, true) | (Order::Desc, false) => '>',
            (Order::Asc, false) | (Order::Desc, true) => '<',
        };
        let or_equal = match bound {
            ops::Bound::Included(_) => "=",
            ops::Bound::Excluded(_) | ops::Bound::Unbounded => "",
        };
        let compared = &rest[..prefix(bound).len()];
        let names: Vec<String> = compared
            .iter()
            .map(|column| quoted_always(&column.name))
            .collect();
        let marks = vec!["?"; names.len()].join(", ");
        parts.push(format!("({}) {sign}{or_equal} ({marks})", names.join(", ")));
        values.push_all(prefix(bound), compared);
    }
    parts.join(" AND ")
}
