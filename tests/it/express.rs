//! DynamoDB's expressions as this crate evaluates them, held against DynamoDB Local: random items, conditions,
//! updates and projections, with the same answer from both, refusals in the same words.
//!
//! Where DynamoDB Local isn't the service, the documentation decides: it takes `size` and `convert` as names, which
//! are reserved words, and gives numbers back as they were written, where the service gives `1` for `1.0`.
//!
//! The same against `dynoxide`, an implementation that shares nothing with either, where `CROSSFADE_DYNOXIDE` says where
//! one listens. What it differs in is known by name ([`dynoxide_judges_less`]).

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ReturnValue,
    ScalarAttributeType,
};
use crossfade::express::{ConditionExpression, Item, Placeholders, Projection, UpdateExpression};
use crossfade::item::Attr;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

use crate::support::{dynamodb_url, unique};

/// How many of each.
const CASES: usize = 400;

/// A random item, and expressions about it.
struct Chance(StdRng);

impl Chance {
    fn one(&mut self, of: &[&str]) -> String {
        of.choose(&mut self.0).expect("not empty").to_string()
    }

    fn in_ten(&mut self, count: u32) -> bool {
        self.0.random_range(0..10) < count
    }

    fn number(&mut self) -> String {
        self.one(&[
            "0",
            "1",
            "-1",
            "5",
            "5.0",
            "0.5",
            "12",
            "1e2",
            "100",
            "-7.25",
            "99999999999999999999999999999999999999",
        ])
    }

    fn text(&mut self) -> String {
        self.one(&["a", "ab", "b", "é", "😀", "", "5"])
    }

    fn value(&mut self, depth: u32) -> Attr {
        let kinds = if depth == 0 { 8 } else { 10 };
        match self.0.random_range(0..kinds) {
            0 | 1 => Attr::N(self.number()),
            2 => Attr::S(self.text()),
            3 => Attr::B(self.text().into_bytes()),
            4 => Attr::Bool(self.in_ten(5)),
            5 => Attr::Null,
            6 => Attr::Ss(vec!["a".into(), "b".into()][..self.0.random_range(1..3)].to_vec()),
            7 => Attr::Ns(vec!["1".into(), "5".into()][..self.0.random_range(1..3)].to_vec()),
            8 => Attr::L(
                (0..self.0.random_range(0..4))
                    .map(|_| self.value(depth - 1))
                    .collect(),
            ),
            _ => {
                let names = ["x", "y"];
                let count = self.0.random_range(0..3);
                let entry = |name: &&str| ((*name).to_owned(), self.value(depth - 1));
                Attr::M(names[..count].iter().map(entry).collect())
            }
        }
    }

    fn item(&mut self) -> Item {
        let mut item = Item::from([("k".to_owned(), Attr::S("i".into()))]);
        for name in ["p", "q", "r", "l", "m"] {
            if self.in_ten(8) {
                let value = match name {
                    "l" => Attr::L((0..3).map(|_| self.value(1)).collect()),
                    "m" => Attr::M(vec![
                        ("x".into(), self.value(1)),
                        ("y".into(), self.value(0)),
                    ]),
                    _ => self.value(1),
                };
                item.insert(name.to_owned(), value);
            }
        }
        item
    }

    fn path(&mut self) -> String {
        self.one(&[
            "p", "q", "r", "l", "m", "l[0]", "l[1]", "l[7]", "m.x", "m.y", "m.z", "l[0].x",
            "m.x[0]", "#p", "m.#x",
        ])
    }

    fn operand(&mut self) -> String {
        match self.0.random_range(0..10) {
            0..4 => self.path(),
            4..9 => self.one(&[":a", ":b", ":c"]),
            _ => format!("size({})", self.path()),
        }
    }

    fn condition(&mut self, depth: u32) -> String {
        let simple = depth == 0 || self.in_ten(4);
        if simple {
            return match self.0.random_range(0..8) {
                0..3 => {
                    let sign = self.one(&["=", "<>", "<", "<=", ">", ">="]);
                    format!("{} {sign} {}", self.operand(), self.operand())
                }
                3 => format!(
                    "{} BETWEEN {} AND {}",
                    self.operand(),
                    self.operand(),
                    self.operand()
                ),
                4 => format!(
                    "{} IN ({}, {})",
                    self.operand(),
                    self.operand(),
                    self.operand()
                ),
                5 => format!("attribute_exists({})", self.path()),
                6 => {
                    let function = self.one(&["contains", "begins_with"]);
                    format!("{function}({}, {})", self.operand(), self.operand())
                }
                _ => format!("attribute_not_exists({})", self.operand()),
            };
        }
        match self.0.random_range(0..4) {
            0 => format!(
                "{} AND {}",
                self.condition(depth - 1),
                self.condition(depth - 1)
            ),
            1 => format!(
                "{} or {}",
                self.condition(depth - 1),
                self.condition(depth - 1)
            ),
            2 => format!("NOT {}", self.condition(depth - 1)),
            _ => format!("({})", self.condition(depth - 1)),
        }
    }

    fn amount(&mut self) -> String {
        let part = |this: &mut Self| match this.0.random_range(0..6) {
            0..3 => this.one(&[":a", ":b", ":c"]),
            3 | 4 => this.path(),
            _ => format!(
                "if_not_exists({}, {})",
                this.path(),
                this.one(&[":a", ":b", "q"])
            ),
        };
        match self.0.random_range(0..6) {
            0..3 => part(self),
            3 => format!("{} + {}", part(self), part(self)),
            4 => format!("{} - {}", part(self), part(self)),
            _ => format!("list_append({}, {})", part(self), part(self)),
        }
    }

    fn update(&mut self) -> String {
        let mut sections = Vec::new();
        if self.in_ten(7) {
            let mut parts = vec![format!("{} = {}", self.path(), self.amount())];
            if self.in_ten(4) {
                parts.push(format!("{} = {}", self.path(), self.amount()));
            }
            sections.push(format!("SET {}", parts.join(", ")));
        }
        if self.in_ten(3) {
            sections.push(format!("REMOVE {}", self.path()));
        }
        if self.in_ten(3) {
            sections.push(format!(
                "ADD {} {}",
                self.path(),
                self.one(&[":a", ":b", ":c"])
            ));
        }
        if sections.is_empty() || self.in_ten(2) {
            sections.push(format!(
                "DELETE {} {}",
                self.path(),
                self.one(&[":a", ":b", ":c"])
            ));
        }
        sections.join(" ")
    }

    fn projection(&mut self) -> String {
        let count = self.0.random_range(1..4);
        let paths: Vec<String> = (0..count).map(|_| self.path()).collect();
        paths.join(", ")
    }

    /// The placeholders that a text uses.
    fn placeholders(&mut self, text: &str) -> (BTreeMap<String, String>, BTreeMap<String, Attr>) {
        let names = [("#p", "p"), ("#x", "x")];
        let names = names.into_iter().filter(|(key, _)| text.contains(key));
        let mut values = BTreeMap::new();
        for key in [":a", ":b", ":c"] {
            if text.contains(key) {
                values.insert(key.to_owned(), self.value(1));
            }
        }
        (
            names
                .map(|(key, name)| (key.to_owned(), name.to_owned()))
                .collect(),
            values,
        )
    }
}

fn sdk(value: &Attr) -> AttributeValue {
    match value {
        Attr::S(text) => AttributeValue::S(text.clone()),
        Attr::N(number) => AttributeValue::N(number.clone()),
        Attr::B(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
        Attr::Bool(is) => AttributeValue::Bool(*is),
        Attr::Null => AttributeValue::Null(true),
        Attr::L(all) => AttributeValue::L(all.iter().map(sdk).collect()),
        Attr::M(all) => AttributeValue::M(
            all.iter()
                .map(|(name, value)| (name.clone(), sdk(value)))
                .collect(),
        ),
        Attr::Ss(all) => AttributeValue::Ss(all.clone()),
        Attr::Ns(all) => AttributeValue::Ns(all.clone()),
        Attr::Bs(all) => {
            AttributeValue::Bs(all.iter().map(|bytes| Blob::new(bytes.clone())).collect())
        }
    }
}

fn attr(value: &AttributeValue) -> Attr {
    match value {
        AttributeValue::S(text) => Attr::S(text.clone()),
        AttributeValue::N(number) => Attr::N(number.clone()),
        AttributeValue::B(bytes) => Attr::B(bytes.as_ref().to_vec()),
        AttributeValue::Bool(is) => Attr::Bool(*is),
        AttributeValue::Null(_) => Attr::Null,
        AttributeValue::L(all) => Attr::L(all.iter().map(attr).collect()),
        AttributeValue::M(all) => Attr::M(
            all.iter()
                .map(|(name, value)| (name.clone(), attr(value)))
                .collect(),
        ),
        AttributeValue::Ss(all) => Attr::Ss(all.clone()),
        AttributeValue::Ns(all) => Attr::Ns(all.clone()),
        AttributeValue::Bs(all) => {
            Attr::Bs(all.iter().map(|bytes| bytes.as_ref().to_vec()).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn item_of(attributes: &HashMap<String, AttributeValue>) -> Item {
    attributes
        .iter()
        .map(|(name, value)| (name.clone(), attr(value)))
        .collect()
}

/// Whether two items are the same to the service: it says nothing of the order of sets and maps, or of a number's
/// spelling. Asked of a condition, which knows.
fn same(one: &Item, two: &Item) -> bool {
    let given = Placeholders::new(
        BTreeMap::from([("#a".to_owned(), "a".to_owned())]),
        BTreeMap::from([(":a".to_owned(), Attr::M(two.clone().into_iter().collect()))]),
    );
    let whole = Item::from([("a".to_owned(), Attr::M(one.clone().into_iter().collect()))]);
    let condition = ConditionExpression::parse("#a = :a", &given.expect("right")).expect("right");
    condition.holds(Some(&whole))
}

struct Endpoint {
    client: Client,
    table: String,
}

impl Endpoint {
    async fn new(url: &str) -> Self {
        let shared = aws_config::defaults(aws_config::BehaviorVersion::v2026_01_12())
            .endpoint_url(url)
            .load()
            .await;
        let client = Client::new(&shared);
        let table = unique("express");
        let hash = KeySchemaElement::builder()
            .attribute_name("k")
            .key_type(KeyType::Hash)
            .build();
        let text = AttributeDefinition::builder()
            .attribute_name("k")
            .attribute_type(ScalarAttributeType::S)
            .build();
        client
            .create_table()
            .table_name(&table)
            .key_schema(hash.expect("complete"))
            .attribute_definitions(text.expect("complete"))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .expect("created");
        Endpoint { client, table }
    }

    async fn put(&self, item: &Item) {
        let item = item
            .iter()
            .map(|(name, value)| (name.clone(), sdk(value)))
            .collect();
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item));
        put.send().await.expect("put");
    }

    async fn done(self) {
        self.client
            .delete_table()
            .table_name(&self.table)
            .send()
            .await
            .expect("deleted");
    }
}

/// What the service said: an answer, or its words.
fn words<E: ProvideErrorMetadata>(error: &SdkError<E>) -> String {
    let service = error.as_service_error().expect("an answer of the service");
    match service.code() {
        Some("ConditionalCheckFailedException") => "refused by the condition".into(),
        Some("ValidationException") => {
            let words = service.message().unwrap_or_default();
            // The service says so before some, DynamoDB Local before none.
            let words = words
                .strip_prefix("1 validation error detected: ")
                .unwrap_or(words);
            words.to_owned()
        }
        other => panic!("{other:?}: {:?}", service.message()),
    }
}

type Given = (BTreeMap<String, String>, BTreeMap<String, Attr>);

fn names(given: &Given) -> Option<HashMap<String, String>> {
    (!given.0.is_empty()).then(|| given.0.clone().into_iter().collect())
}

fn values(given: &Given) -> Option<HashMap<String, AttributeValue>> {
    let all: HashMap<_, _> = given
        .1
        .iter()
        .map(|(key, value)| (key.clone(), sdk(value)))
        .collect();
    (!all.is_empty()).then_some(all)
}

/// What came of an expression, in words.
fn said<T>(outcome: &Result<T, String>) -> &str {
    outcome.as_ref().err().map_or("met", String::as_str)
}

/// Whether two refusals are of another kind: of the condition, of the expression, of what it does to this item.
/// Which of several faults of one expression is told is not a promise; the words of single faults are compared in
/// the module's own tests.
fn differs(ours: &str, theirs: &str) -> bool {
    let kind = |words: &str| match words.split_once(": ") {
        Some((what, _)) => what.to_owned(),
        None if words == "refused by the condition" => words.to_owned(),
        None => "can't be applied".to_owned(),
    };
    kind(ours) != kind(theirs)
}

#[tokio::test]
async fn conditions_and_updates_are_those_of_the_service() {
    compare(&dynamodb_url(), |_, _, _| false).await;
}

#[tokio::test]
#[ignore = "wants a dynoxide at CROSSFADE_DYNOXIDE"]
async fn conditions_and_updates_are_those_of_another_implementation() {
    let url = std::env::var("CROSSFADE_DYNOXIDE");
    let url = url.expect("CROSSFADE_DYNOXIDE=http://host:port");
    compare(&url, dynoxide_judges_less).await;
}

/// Where dynoxide 3.2 isn't the service, or it can't be told who is right.
///
/// - It orders values of any type, where the API reference has text, numbers and bytes alone (`LT`, `BETWEEN` and the
///   like; `begins_with` takes text), and takes an operand beside itself, which DynamoDB Local refuses as we do.
/// - It refuses `contains(:a, :a)` and `contains(size(a), size(a))`. The developer guide's "the path and the operand must be
///   distinct" is about a path, `contains(a, a)`; DynamoDB Local takes these.
/// - `if_not_exists(there, missing)` is `there` to it. The developer guide doesn't say that `missing` may be missing then;
///   to DynamoDB Local, and here, it may not.
fn dynoxide_judges_less(text: &str, ours: &str, theirs: &str) -> bool {
    const DISTINCT: &str = "The first operand must be distinct from the remaining operands";
    const TYPE: &str = "Incorrect operand type for operator or function; ";
    const MISSING: &str =
        "The provided expression refers to an attribute that does not exist in the item";
    let of_condition = |words: &str, what| {
        let of = words.strip_prefix("Invalid ConditionExpression: ");
        of.is_some_and(|words| words.starts_with(what))
    };
    let of_update = |words: &str, what| {
        let of = words.strip_prefix("Invalid UpdateExpression: ");
        of.is_some_and(|words| words.starts_with(what))
    };
    let is_evaluated = |words: &str| !words.starts_with("Invalid ");
    if is_evaluated(theirs) {
        return of_condition(ours, TYPE)
            || of_condition(ours, DISTINCT)
            || of_update(ours, DISTINCT)
            || ours == MISSING && theirs == "met" && text.contains("if_not_exists");
    }
    is_evaluated(ours)
        && of_condition(theirs, DISTINCT)
        && theirs.contains("operator: contains, ")
        && (text.contains("contains(:") || text.contains("contains(size("))
}

/// Random items and expressions, evaluated here and there.
async fn compare(url: &str, may_differ: fn(&str, &str, &str) -> bool) {
    let seed = std::env::var("CROSSFADE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().next_u64());
    println!("CROSSFADE_SEED={seed}");
    let mut chance = Chance(StdRng::seed_from_u64(seed));
    let there = Endpoint::new(url).await;
    let (mut held, mut changed, mut odd) = (0, 0, Vec::new());
    for _ in 0..CASES {
        let item = chance.item();
        there.put(&item).await;

        let text = chance.condition(2);
        let given = chance.placeholders(&text);
        let placeholders = Placeholders::new(given.0.clone(), given.1.clone()).expect("right");
        let ours = match ConditionExpression::parse(&text, &placeholders) {
            Ok(condition) if condition.holds(Some(&item)) => Ok(()),
            Ok(_) => Err("refused by the condition".to_owned()),
            Err(error) => Err(format!("Invalid ConditionExpression: {}", error.message())),
        };
        let sent = there
            .client
            .update_item()
            .table_name(&there.table)
            .key("k", AttributeValue::S("i".into()))
            .condition_expression(&text)
            .set_expression_attribute_names(names(&given))
            .set_expression_attribute_values(values(&given))
            .send()
            .await;
        let theirs = sent.map(drop).map_err(|error| words(&error));
        held += usize::from(ours.is_ok());
        match (&ours, &theirs) {
            (Ok(()), Ok(())) => {}
            (Err(ours), Err(theirs)) if !differs(ours, theirs) => {}
            _ if may_differ(&text, said(&ours), said(&theirs)) => {}
            _ => odd.push(format!(
                "{text}\n  {given:?}\n  {item:?}\n  ours {ours:?}\n  theirs {theirs:?}"
            )),
        }

        let text = chance.update();
        let given = chance.placeholders(&text);
        let placeholders = Placeholders::new(given.0.clone(), given.1.clone()).expect("right");
        let ours = match UpdateExpression::parse(&text, &placeholders) {
            Ok(update) => update
                .apply(Some(&item))
                .map_err(|error| error.message().to_owned()),
            Err(error) => Err(format!("Invalid UpdateExpression: {}", error.message())),
        };
        let sent = there
            .client
            .update_item()
            .table_name(&there.table)
            .key("k", AttributeValue::S("i".into()))
            .update_expression(&text)
            .set_expression_attribute_names(names(&given))
            .set_expression_attribute_values(values(&given))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let theirs = match sent {
            Ok(output) => Ok(item_of(output.attributes().expect("asked for"))),
            Err(error) => Err(words(&error)),
        };
        changed += usize::from(ours.is_ok());
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if same(ours, theirs) => {}
            (Err(ours), Err(theirs)) if !differs(ours, theirs) => {}
            _ if may_differ(&text, said(&ours), said(&theirs)) => {}
            _ => odd.push(format!(
                "{text}\n  {given:?}\n  {item:?}\n  ours {ours:?}\n  theirs {theirs:?}"
            )),
        }

        let text = chance.projection();
        let given = chance.placeholders(&text);
        let placeholders = Placeholders::new(given.0.clone(), given.1.clone()).expect("right");
        there.put(&item).await;
        let ours = match Projection::parse(&text, &placeholders) {
            Ok(projection) => Ok(projection.of(&item)),
            Err(error) => Err(format!("Invalid ProjectionExpression: {}", error.message())),
        };
        let sent = there
            .client
            .get_item()
            .table_name(&there.table)
            .key("k", AttributeValue::S("i".into()))
            .consistent_read(true)
            .projection_expression(&text)
            .set_expression_attribute_names(names(&given))
            .send()
            .await;
        let theirs = match sent {
            Ok(output) => Ok(output.item().map(item_of).unwrap_or_default()),
            Err(error) => Err(words(&error)),
        };
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if same(ours, theirs) => {}
            (Err(ours), Err(theirs)) if !differs(ours, theirs) => {}
            _ => odd.push(format!(
                "{text}\n  {given:?}\n  {item:?}\n  ours {ours:?}\n  theirs {theirs:?}"
            )),
        }
    }
    there.done().await;
    assert!(
        odd.is_empty(),
        "seed {seed}: {} differ:\n{}",
        odd.len(),
        odd.join("\n")
    );
    assert!(
        held > CASES / 20 && changed > CASES / 20,
        "{held} held, {changed} changed"
    );
}
