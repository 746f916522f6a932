//! An endpoint that answers as DynamoDB does, in memory and fast, so that it isn't what is measured.
//!
//! The operations of a copy, a shim and a sidecar: tables, items, queries, scans, inserts in PartiQL. What costs time on
//! the way of a copy and of a read is done on the text as it came; conditions and updates are evaluated by
//! [`crossfade::express`]. It knows no indexes, no transactions, no limits, and verifies no signature.

mod reads;
mod table;
mod values;
mod writes;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossfade::express::{
    self, ConditionExpression, KeyCondition, Placeholders, Projection, UpdateExpression,
};
use crossfade::item::Attr;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use self::table::Table;
use super::raw::{elements, member, members, text};
use super::{process, wire};

/// The role of a process that is an endpoint. With `keys` and how names of tables begin as its arguments it keeps of items that
/// are inserted there their keys alone: for copies of more rows than memory holds.
pub fn run(arguments: &[String]) {
    let keys_alone = match arguments {
        [word, begin] if word == "keys" => Some(begin.clone()),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        process::listening(listener.local_addr().unwrap());
        let store = Rc::new(RefCell::new(Store {
            keys_alone,
            ..Store::default()
        }));
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let store = store.clone();
            tokio::task::spawn_local(async move { drop(connection(socket, store).await) });
        }
    }));
}

async fn connection(mut socket: TcpStream, store: Rc<RefCell<Store>>) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut read = Vec::with_capacity(64 << 10);
    let mut answer = Vec::with_capacity(64 << 10);
    loop {
        let head = loop {
            if let Some(head) = wire::head(&read)
                && read.len() >= head.bytes + head.body
            {
                break head;
            }
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let whole = head.bytes + head.body;
        let target = wire::header(&read[..head.bytes], "x-amz-target").unwrap_or_default();
        let operation = target
            .strip_prefix(b"DynamoDB_20120810.")
            .unwrap_or_default();
        let (status, body) = match store
            .borrow_mut()
            .answer(operation, &read[head.bytes..whole])
        {
            Ok(body) => ("200 OK", body),
            Err(Refused(code, message, item)) => {
                let mut body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message});
                if let Some(item) = item {
                    body["Item"] = serde_json::from_slice(&item).unwrap();
                }
                ("400 Bad Request", body.to_string().into_bytes())
            }
        };
        answer.clear();
        let head = format!(
            "HTTP/1.1 {status}\r\nserver: Server\r\ncontent-type: application/x-amz-json-1.0\r\n\
             x-amzn-requestid: K5G8QJ2D7M0C1B9V6X3Z4N8S2WVV4KQNSO5AEMVJF66Q9ASUAAJG\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        answer.extend_from_slice(head.as_bytes());
        answer.extend_from_slice(&body);
        socket.write_all(&answer).await?;
        read.drain(..whole);
    }
}

/// A code, a message, and the item that a condition met.
struct Refused(&'static str, String, Option<Vec<u8>>);

type Answer = Result<Vec<u8>, Refused>;

fn invalid(message: impl Into<String>) -> Refused {
    Refused("ValidationException", message.into(), None)
}

impl From<crossfade::error::Error> for Refused {
    fn from(error: crossfade::error::Error) -> Self {
        invalid(error.message())
    }
}

#[derive(Default)]
struct Store {
    tables: HashMap<String, Table>,
    /// The table and the attributes of each statement.
    statements: HashMap<Vec<u8>, Rc<Statement>>,
    /// How the names of tables begin of whose items the keys alone are kept.
    keys_alone: Option<String>,
    /// How many requests there were.
    requests: u64,
}

struct Statement {
    table: String,
    /// As JSON strings without quotes.
    names: Vec<Vec<u8>>,
}

/// Write units of an item, by the length of its text.
fn units(bytes: usize) -> usize {
    bytes.div_ceil(1_024).max(1)
}

fn capacity(out: &mut Vec<u8>, table: &str, units: usize) {
    out.extend_from_slice(
        format!("{{\"TableName\":\"{table}\",\"CapacityUnits\":{units}.0}}").as_bytes(),
    );
}

impl Store {
    fn answer(&mut self, operation: &[u8], body: &[u8]) -> Answer {
        self.requests += 1;
        match operation {
            // Not one of the service's: how many requests there were before this one.
            b"CountRequests" => Ok(json!({"Requests": self.requests - 1})
                .to_string()
                .into_bytes()),
            b"BatchExecuteStatement" => self.insert(body),
            b"BatchWriteItem" => self.put_all(body),
            b"GetItem" => self.get(body),
            b"PutItem" => self.put(body),
            b"UpdateItem" => self.update(body),
            b"DeleteItem" => self.delete(body),
            b"BatchGetItem" => self.get_all(body),
            b"Query" => self.query(body),
            b"Scan" => self.scan(body),
            b"CreateTable" => self.create(body),
            b"DescribeTable" => Ok(json!({"Table": self.named(body)?.described})
                .to_string()
                .into_bytes()),
            b"DescribeTimeToLive" => {
                let ttl = match &self.named(body)?.ttl {
                    Some(name) => json!({"TimeToLiveStatus": "ENABLED", "AttributeName": name}),
                    None => json!({"TimeToLiveStatus": "DISABLED"}),
                };
                Ok(json!({"TimeToLiveDescription": ttl})
                    .to_string()
                    .into_bytes())
            }
            b"UpdateTimeToLive" => {
                let asked = parsed(body)?;
                let wanted = &asked["TimeToLiveSpecification"];
                let name = wanted["AttributeName"].as_str().map(str::to_owned);
                self.named_mut(body)?.ttl = name.filter(|_| wanted["Enabled"] == true);
                Ok(json!({"TimeToLiveSpecification": wanted})
                    .to_string()
                    .into_bytes())
            }
            b"ListTables" => Ok(
                json!({"TableNames": self.tables.keys().collect::<Vec<_>>()})
                    .to_string()
                    .into_bytes(),
            ),
            b"DeleteTable" => {
                let name = name_of(body)?;
                self.tables.remove(&name);
                Ok(b"{}".to_vec())
            }
            _ => Err(Refused("UnknownOperationException", String::new(), None)),
        }
    }

    fn table(&self, name: &str) -> Result<&Table, Refused> {
        let missing = || {
            Refused(
                "ResourceNotFoundException",
                "Requested resource not found".into(),
                None,
            )
        };
        self.tables.get(name).ok_or_else(missing)
    }

    fn named(&self, body: &[u8]) -> Result<&Table, Refused> {
        self.table(&name_of(body)?)
    }

    fn named_mut(&mut self, body: &[u8]) -> Result<&mut Table, Refused> {
        let name = name_of(body)?;
        let missing = || {
            Refused(
                "ResourceNotFoundException",
                "Requested resource not found".into(),
                None,
            )
        };
        self.tables.get_mut(&name).ok_or_else(missing)
    }

    fn create(&mut self, body: &[u8]) -> Answer {
        let asked = parsed(body)?;
        let name = asked["TableName"].as_str().unwrap_or_default().to_owned();
        let role = |role: &str| {
            let keys = asked["KeySchema"].as_array()?;
            let key = keys.iter().find(|key| key["KeyType"] == role)?;
            key["AttributeName"].as_str().map(str::to_owned)
        };
        let described = json!({
            "TableName": name, "TableStatus": "ACTIVE", "KeySchema": asked["KeySchema"],
            "AttributeDefinitions": asked["AttributeDefinitions"], "CreationDateTime": 1.0e9,
            "TableId": format!("{:032x}", self.tables.len()), "ItemCount": 0, "TableSizeBytes": 0,
            "TableArn": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{name}"),
            "DeletionProtectionEnabled": true,
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        });
        let table = Table {
            partition: role("HASH").ok_or_else(|| invalid("there is no partition key"))?,
            sort: role("RANGE"),
            described: described.clone(),
            partitions: BTreeMap::new(),
            ttl: None,
        };
        self.tables.insert(name, table);
        Ok(json!({"TableDescription": described})
            .to_string()
            .into_bytes())
    }
}

fn name_of(body: &[u8]) -> Result<String, Refused> {
    member(body, "TableName")
        .and_then(text)
        .ok_or_else(|| invalid("there is no table name"))
}

fn parsed(body: &[u8]) -> Result<Json, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused("SerializationException", error.to_string(), None))
}

fn asks(body: &[u8], name: &str, value: &str) -> bool {
    member(body, name).is_some_and(|there| there == format!("\"{value}\"").as_bytes())
}
