//! What the server itself takes for equal, how it orders that, and what it makes of what it is given: what
//! [`crossfade::codec::canonical`] and the sort keys say is compared with it.

use crossfade::codec::canonical;
use crossfade::codec::cql;
use crossfade::codec::ordered::compare;
use crossfade::item::keys::sort_bytes;
use crossfade::model::{Condition, Key, Mutation, Row, Tokens, Value};
use crossfade::schema::{Column, Table, Type};
use crossfade::store::{Range, Reads, Store, WriteOutcome};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Bench, key};

const ALL: Range = Range::Tokens(Tokens::ALL);

/// Clustering columns, each alone in a table: every way of holding others, and scalars that order in ways of
/// their own inside them.
const ORDERED: [&str; 19] = [
    "frozen<tuple<text, int>>",
    "frozen<tuple<int, frozen<tuple<text, decimal>>>>",
    "frozen<tuple<timeuuid, uuid>>",
    "frozen<place>",
    "frozen<list<text>>",
    "frozen<list<frozen<place>>>",
    "frozen<list<frozen<tuple<tinyint, tinyint>>>>",
    "frozen<set<text>>",
    "frozen<set<decimal>>",
    "frozen<set<frozen<tuple<tinyint, text>>>>",
    "frozen<map<text, int>>",
    "frozen<map<varint, frozen<list<tinyint>>>>",
    "frozen<tuple<frozen<set<text>>, boolean>>",
    "frozen<tuple<inet, double>>",
    "frozen<tuple<date, time>>",
    "vector<float, 2>",
    "vector<text, 2>",
    "vector<frozen<tuple<tinyint, tinyint>>, 2>",
    "frozen<list<vector<smallint, 2>>>",
];

/// How many values of each.
const VALUES: usize = 25;

fn value(ty: &Type, chance: &mut SmallRng) -> Value {
    let mut pick = |many: &[i64]| many[chance.random_range(0..many.len())];
    match ty {
        Type::Text | Type::Ascii => {
            let texts = ["", "a", "b", "aa", "a\0", "é"];
            Value::text(texts[chance.random_range(0..texts.len())])
        }
        Type::TinyInt => Value::TinyInt(pick(&[-1, 0, 1, 127]) as i8),
        Type::SmallInt => Value::SmallInt(pick(&[-1, 0, 1, 256]) as i16),
        Type::Int => Value::Int(pick(&[-1, 0, 1, 256, i64::from(i32::MIN)]) as i32),
        Type::Varint => Value::Varint(match pick(&[0, 1, 2, 3]) {
            0 => vec![0, 1],
            1 => vec![1],
            2 => vec![0xff],
            _ => vec![1, 0],
        }),
        Type::Decimal => Value::Decimal {
            unscaled: vec![pick(&[0, 1, 10, 100, 255]) as u8],
            scale: pick(&[0, 1, 2]) as i32,
        },
        Type::Double => Value::Double([-0.0, 0.0, 1.5, f64::NAN][chance.random_range(0..4)].into()),
        Type::Float => Value::Float([-0.0, 0.0, -1.5, f32::NAN][chance.random_range(0..4)].into()),
        Type::Boolean => Value::Boolean(pick(&[0, 1]) == 1),
        Type::Date => Value::Date(pick(&[0, 1 << 31, 1]) as u32),
        Type::Time => Value::Time(pick(&[0, 1, 256])),
        Type::Inet => {
            let texts = ["1.2.3.4", "102:304::", "9.0.0.1"];
            Value::Inet(
                texts[chance.random_range(0..3)]
                    .parse()
                    .expect("an address"),
            )
        }
        Type::Uuid | Type::TimeUuid => {
            let mut bytes = [0; 16];
            for at in [0, 3, 7, 8, 15] {
                bytes[at] = pick(&[0, 1, 0x7f, 0x80]) as u8;
            }
            let version = if *ty == Type::Uuid { pick(&[1, 4]) } else { 1 };
            bytes[6] = (version as u8) << 4;
            Value::Uuid(bytes)
        }
        Type::List(element) => Value::List(values(element, chance)),
        Type::Set(element) => Value::Set(values(element, chance)),
        Type::Map(name, element) => {
            let names = values(name, chance);
            let pair = |name| (name, value(element, chance));
            Value::Map(names.into_iter().map(pair).collect())
        }
        Type::Tuple(types) => Value::Tuple(fields(types.iter(), chance)),
        Type::Udt(udt) => Value::Udt(fields(udt.fields.iter().map(|(_, ty)| ty), chance)),
        Type::Vector(element, dimension) => {
            let values = (0..*dimension).map(|_| value(element, chance));
            Value::Vector(values.collect())
        }
        other => panic!("no values of {other}"),
    }
}

fn values(element: &Type, chance: &mut SmallRng) -> Vec<Value> {
    let count = chance.random_range(0..4);
    (0..count).map(|_| value(element, chance)).collect()
}

/// At least one: the server's own types have no tuple without any field.
fn fields<'t>(
    types: impl ExactSizeIterator<Item = &'t Type>,
    chance: &mut SmallRng,
) -> Vec<Option<Value>> {
    let given = chance.random_range(1..=types.len());
    let mut field = |ty| (chance.random_range(0..4) > 0).then(|| value(ty, chance));
    types.take(given).map(&mut field).collect()
}

async fn bench(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    bench
        .cql("CREATE TYPE place (street text, zip int, tags frozen<set<text>>)")
        .await;
    bench
}

impl Bench {
    /// Without the types that the server hasn't got.
    fn of_release<'t>(&self, types: &[&'t str]) -> Vec<&'t str> {
        let has = |ty: &&str| !ty.contains("vector<") || self.release >= (5, 0);
        types.iter().copied().filter(has).collect()
    }
}

fn only_clustering(table: &Table) -> &Column {
    let columns = table.clustering();
    assert_eq!(columns.len(), 1);
    &columns[0]
}

#[tokio::test]
async fn clustering_columns_are_ordered_as_the_server_orders_them() {
    let bench = bench("ordered").await;
    let mut chance = SmallRng::seed_from_u64(20_261_128);
    for (at, ty) in bench.of_release(&ORDERED).iter().enumerate() {
        let direction = if at % 2 == 0 { "ASC" } else { "DESC" };
        let name = format!("t{at}");
        bench
            .cql(&format!(
                "CREATE TABLE {name} (p int, c {ty}, v int, PRIMARY KEY (p, c)) \
                 WITH CLUSTERING ORDER BY (c {direction})"
            ))
            .await;
        let table = bench.table(&name).await;
        let column = only_clustering(&table);
        let given: Vec<Value> = (0..VALUES)
            .map(|_| value(&column.ty, &mut chance))
            .collect();
        let rows = given.iter().enumerate().map(|(n, value)| {
            let key = key(&[Value::Int(1)], std::slice::from_ref(value));
            Row::new(key, vec![Some(Value::Int(n as i32))])
        });
        // One after the other, so that the last of equal ones is the one that stays.
        for row in rows {
            let puts = bench.store.put(&table, &[row], &Condition::Always).await;
            let put = puts.rows.into_iter().next().expect("an answer");
            assert_eq!(put.expect("a put"), WriteOutcome::Written, "{ty}");
        }
        let read = bench.all(&table, &ALL, 1000).await;
        let keys: Vec<&Value> = read
            .iter()
            .map(|row| &row.key.clustering.as_ref().expect("a row")[0])
            .collect();
        for pair in keys.windows(2) {
            let order = compare(&column.ty, pair[0], pair[1]);
            let is_before = if direction == "ASC" {
                order.is_lt()
            } else {
                order.is_gt()
            };
            assert!(is_before, "{ty} {direction}: {pair:?}");
            let bytes = |value: &Value| {
                let values = std::slice::from_ref(value);
                sort_bytes(table.clustering(), values).expect("a sort key")
            };
            let order = bytes(pair[0]).cmp(&bytes(pair[1]));
            // Where all columns descend the sort key ascends, and is read backwards.
            let is_before = if direction == "ASC" {
                order.is_lt()
            } else {
                order.is_gt()
            };
            assert!(is_before, "{ty} {direction}: {pair:?} as sort keys");
        }
        // What became one row there is one here: every row has the last of those that are equal.
        for (row, there) in read.iter().zip(&keys) {
            let last = given
                .iter()
                .rposition(|value| {
                    let given =
                        canonical::key(&table, key(&[Value::Int(1)], std::slice::from_ref(value)));
                    let given = &given.clustering.expect("a row's")[0];
                    compare(&column.ty, given, there).is_eq()
                })
                .map(|last| Value::Int(last as i32));
            assert_eq!(row.cells[0], last, "{ty}: {there:?}");
        }
        // And each is found by any of its spellings.
        for value in &given {
            let given = key(&[Value::Int(1)], std::slice::from_ref(value));
            let given = canonical::key(&table, given);
            let found = bench.store.get(&table, std::slice::from_ref(&given)).await;
            assert!(found.expect("an answer")[0].is_some(), "{ty}: {given:?}");
        }
    }
    bench.done().await;
}

/// Columns of values. All but the first four can be parts of a partition key too.
const GIVEN: [&str; 12] = [
    "set<decimal>",
    "map<decimal, text>",
    "list<varint>",
    "list<frozen<set<decimal>>>",
    "frozen<set<text>>",
    "frozen<set<frozen<set<varint>>>>",
    "frozen<map<decimal, frozen<set<decimal>>>>",
    "frozen<list<frozen<list<frozen<set<text>>>>>>",
    "frozen<tuple<frozen<set<text>>, int>>",
    "frozen<place>",
    "frozen<list<frozen<place>>>",
    "vector<frozen<set<text>>, 2>",
];

#[tokio::test]
async fn a_value_that_is_given_becomes_what_the_server_makes_of_it() {
    let bench = bench("given").await;
    let mut chance = SmallRng::seed_from_u64(20_261_128);
    let given = bench.of_release(&GIVEN);
    let columns = |types: &[&str]| {
        let columns = types.iter().enumerate();
        let columns = columns.map(|(at, ty)| format!("v{at:02} {ty}"));
        columns.collect::<Vec<String>>().join(", ")
    };
    bench
        .cql(&format!(
            "CREATE TABLE cells (p int PRIMARY KEY, {})",
            columns(&given)
        ))
        .await;
    let (_, frozen) = given.split_at(4);
    let names: Vec<String> = (0..frozen.len()).map(|at| format!("v{at:02}")).collect();
    bench
        .cql(&format!(
            "CREATE TABLE keys (n int, {}, PRIMARY KEY ((n, {})))",
            columns(frozen),
            names.join(", ")
        ))
        .await;
    let (cells, keys) = (bench.table("cells").await, bench.table("keys").await);
    for n in 0..25 {
        let mut any = |columns: &[Column]| -> Vec<Value> {
            columns
                .iter()
                .map(|column| value(&column.ty, &mut chance))
                .collect()
        };
        let values = any(cells.cells()).into_iter().map(Some).collect();
        let row = Row::new(key(&[Value::Int(n)], &[]), values);
        let mut partition = any(keys.partition());
        partition[0] = Value::Int(n);
        let only_key = Row::new(Key::row(partition, vec![]), vec![]);
        for (table, row) in [(&cells, row), (&keys, only_key)] {
            // As an application without this crate would have bound it, and as it is given here.
            let put = Mutation::Put(row.clone());
            bench.store.apply(table, &put).await.expect("a write");
            let canonical = match canonical::mutation(table, put) {
                Mutation::Put(row) => row,
                other => panic!("{other:?}"),
            };
            let asked = std::slice::from_ref(&canonical.key);
            let there = bench.store.get(table, asked).await;
            let there = there.expect("an answer").remove(0);
            let there = there.unwrap_or_else(|| panic!("{canonical:?} isn't there"));
            let there = canonical::stored(table, there);
            for (column, (there, here)) in table
                .cells()
                .iter()
                .zip(there.cells.iter().zip(&canonical.cells))
            {
                let bytes = |value: &Option<Value>| {
                    value.as_ref().map(|value| cql::to_bytes(value, &column.ty))
                };
                assert_eq!(bytes(there), bytes(here), "{}: {here:?}", column.cql_type());
            }
            assert_eq!(there.key, canonical.key);
        }
    }
    // Nothing was written beside it.
    assert_eq!(bench.all(&keys, &ALL, 100).await.len(), 25);
    bench.done().await;
}
