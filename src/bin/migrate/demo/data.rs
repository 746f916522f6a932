//! A believable data set, the same in every demo.

use std::sync::Arc;

use crossfade::model::{Key, Row, Value};
use crossfade::schema::{Column, Order, Role, Table, Type, Udt};

fn column(name: &str, ty: Type, role: Role) -> Column {
    let frozen = matches!(ty, Type::Udt(_));
    Column {
        name: name.into(),
        ty,
        frozen,
        role,
    }
}

/// What `CREATE TABLE users (id uuid PRIMARY KEY, …)` would make.
pub fn users() -> Table {
    let address = Udt {
        name: "address".into(),
        fields: vec![("street".into(), Type::Text), ("zip".into(), Type::Text)],
    };
    let shows = Type::Map(Box::new(Type::Text), Box::new(Type::Timestamp));
    Table::new(
        "users",
        vec![
            column("id", Type::Uuid, Role::Partition),
            column("name", Type::Text, Role::Regular),
            column("email", Type::Text, Role::Regular),
            column("born", Type::Date, Role::Regular),
            column("home", Type::Udt(Arc::new(address)), Role::Regular),
            column("phones", Type::Set(Box::new(Type::Text)), Role::Regular),
            column("seen", shows, Role::Regular),
            column("credit", Type::Decimal, Role::Regular),
        ],
    )
}

/// What `CREATE TABLE ballots (…, PRIMARY KEY ((show, round), voter, nth)) WITH CLUSTERING ORDER BY
/// (voter ASC, nth DESC)` would make, with a static column beside.
pub fn ballots() -> Table {
    Table::new(
        "ballots",
        vec![
            column("show", Type::Text, Role::Partition),
            column("round", Type::Int, Role::Partition),
            column("voter", Type::Uuid, Role::Clustering(Order::Asc)),
            column("nth", Type::SmallInt, Role::Clustering(Order::Desc)),
            column("host", Type::Text, Role::Static),
            column("choice", Type::Text, Role::Regular),
            column("paid", Type::Decimal, Role::Regular),
        ],
    )
}

/// Well mixed bits of a number, so that the data looks like data and is the same in every demo.
pub fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn uuid(number: u64) -> Value {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed(number).to_be_bytes());
    bytes[8..].copy_from_slice(&mixed(!number).to_be_bytes());
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Value::Uuid(bytes)
}

fn pick<'a>(from: &[&'a str], bits: u64) -> &'a str {
    from[(bits % from.len() as u64) as usize]
}

const FIRST: &[&str] = &[
    "Ada",
    "Björn",
    "Chidi",
    "Dolores",
    "Emre",
    "Françoise",
    "Gita",
    "Hiro",
];
const LAST: &[&str] = &[
    "Alvarez",
    "Brand",
    "Cho",
    "Dąbrowski",
    "Eze",
    "Fitzgerald",
    "Grønn",
];
const STREETS: &[&str] = &["High Street", "Rue de la Paix", "Hauptstraße", "Via Roma"];
const SHOWS: &[&str] = &["the-big-night", "song-contest", "cook-off", "dance-finals"];

pub fn user(number: u64) -> Row {
    let bits = mixed(number);
    let (first, last) = (pick(FIRST, bits), pick(LAST, bits >> 8));
    let phones =
        (0..bits % 3).map(|n| Value::Text(format!("+44 20 {:08}", (bits >> n) % 100_000_000)));
    let seen = SHOWS.iter().take((bits >> 4) as usize % 4).map(|show| {
        (
            Value::text(*show),
            Value::Timestamp(1_700_000_000_000 + (bits % 31_536_000_000) as i64),
        )
    });
    let (phones, seen): (Vec<Value>, Vec<(Value, Value)>) = (phones.collect(), seen.collect());
    let home = Value::Udt(vec![
        Some(Value::Text(format!(
            "{} {}",
            bits % 200,
            pick(STREETS, bits >> 16)
        ))),
        (!bits.is_multiple_of(5)).then(|| Value::Text(format!("{:05}", bits % 99_999))),
    ]);
    let cells = vec![
        Some(Value::Date((1 << 31) + (bits % 20_000) as u32)),
        Some(Value::Decimal {
            unscaled: (bits as i16).to_be_bytes().to_vec(),
            scale: 2,
        }),
        Some(Value::Text(format!(
            "{}.{number}@example.org",
            first.to_lowercase()
        ))),
        (!bits.is_multiple_of(3)).then_some(home),
        Some(Value::Text(format!("{first} {last}"))),
        (!phones.is_empty()).then_some(Value::Set(phones)),
        (!seen.is_empty()).then_some(Value::Map(seen)),
    ];
    Row::new(Key::row(vec![uuid(number)], vec![]), cells)
}

pub fn ballot(number: u64) -> Row {
    let bits = mixed(number ^ 0x5eed);
    let rounds = 50 * SHOWS.len() as u64;
    let of = if number < rounds {
        number
    } else {
        bits % rounds
    };
    let show = vec![
        Value::text(pick(SHOWS, of)),
        Value::Int((of / SHOWS.len() as u64) as i32),
    ];
    // The first ones say who hosted each round.
    if number < rounds {
        return Row::new(
            Key::statics(show),
            vec![Some(Value::text(pick(FIRST, bits))), None, None],
        );
    }
    let key = Key::row(show, vec![uuid(number), Value::SmallInt((bits % 3) as i16)]);
    let paid = bits.is_multiple_of(4).then(|| Value::Decimal {
        unscaled: vec![0x32],
        scale: 2,
    });
    Row::new(
        key,
        vec![None, Some(Value::Text(format!("act {}", bits % 12))), paid],
    )
}

/// What `CREATE TABLE votes (…, called counter, texted counter, PRIMARY KEY ((show, round), act,
/// region))` would make.
pub fn votes() -> Table {
    Table::new(
        "votes",
        vec![
            column("show", Type::Text, Role::Partition),
            column("round", Type::Int, Role::Partition),
            column("act", Type::Text, Role::Clustering(Order::Asc)),
            column("region", Type::SmallInt, Role::Clustering(Order::Asc)),
            column("called", Type::Counter, Role::Regular),
            column("texted", Type::Counter, Role::Regular),
        ],
    )
}

const ACTS: u64 = 12;
const REGIONS: u64 = 40;

/// The key of a counter row: that many regions and acts to a round, before the next one.
pub fn vote_key(number: u64) -> Key {
    let (region, rest) = (number % REGIONS, number / REGIONS);
    let (act, round) = (rest % ACTS, rest / ACTS);
    let show = Value::text(pick(SHOWS, round));
    let partition = vec![show, Value::Int((round / SHOWS.len() as u64) as i32)];
    let act = Value::Text(format!("act {act}"));
    Key::row(partition, vec![act, Value::SmallInt(region as i16)])
}
