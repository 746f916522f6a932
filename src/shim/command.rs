//! Operations as JSON: one command, one answer, matched by `id`.
//!
//! ```text
//! {"id":1,"op":"put","table":"users","row":{"id":"u1","name":"Ann"}}
//! {"id":1,"ok":true}
//! ```

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Shim;
use crate::error::{Effect, Error, Kind, Result};

/// What commands are made of.
const FIELDS: [&str; 12] = [
    "id",
    "op",
    "table",
    "key",
    "row",
    "set",
    "remove",
    "partition",
    "limit",
    "reverse",
    "column",
    "by",
];

#[derive(Deserialize)]
struct JsonCommand {
    table: String,
    #[serde(flatten)]
    op: Op,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Op {
    Get {
        key: Map<String, Json>,
    },
    Put {
        row: Map<String, Json>,
    },
    Update {
        key: Map<String, Json>,
        #[serde(default)]
        set: Map<String, Json>,
        #[serde(default)]
        remove: Vec<String>,
    },
    Delete {
        key: Map<String, Json>,
    },
    Query {
        partition: Map<String, Json>,
        #[serde(default)]
        limit: Option<usize>,
        #[serde(default)]
        reverse: bool,
    },
    Add {
        key: Map<String, Json>,
        column: String,
        by: i64,
    },
    Count {
        key: Map<String, Json>,
    },
}

impl Shim {
    /// Carries out one command and answers it, whatever it is:
    ///
    /// | `op` | takes | answers |
    /// |---|---|---|
    /// | `get` | `key` | the row, or null |
    /// | `put` | `row`: columns left out are absent afterwards | true |
    /// | `update` | `key`, `set`, `remove` | true |
    /// | `delete` | `key` | true |
    /// | `query` | `partition`, `limit`, `reverse` | an array of rows |
    /// | `add` | `key`, `column`, `by` | true |
    /// | `count` | `key` | the totals by column |
    ///
    /// An error is `{"id":1,"error":{"kind":"…","effect":"none"|"unknown","message":"…"}}`. Values are those of
    /// [`crate::json`].
    pub async fn answer(&self, command: &[u8]) -> Json {
        let invalid =
            |error: serde_json::Error| Error::new(Kind::Invalid, format!("not a command: {error}"));
        let line: Result<Json> = serde_json::from_slice(command).map_err(invalid);
        let id = line.as_ref().map_or(Json::Null, |line| line["id"].clone());
        let command = line.and_then(|line| {
            refuse_unknown(&line)?;
            JsonCommand::deserialize(line).map_err(invalid)
        });
        let done = match command {
            Ok(command) => self.run(command).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(ok) => json!({"id": id, "ok": ok}),
            Err(error) => {
                let effect = match error.known_effect() {
                    Effect::None => "none",
                    Effect::Unknown => "unknown",
                };
                let kind = format!("{:?}", error.kind()).to_lowercase();
                json!({"id": id, "error": {"kind": kind, "effect": effect, "message": error.to_string()}})
            }
        }
    }

    async fn run(&self, command: JsonCommand) -> Result<Json> {
        let table = self.table(&command.table)?;
        match command.op {
            Op::Get { key } => Ok(json!(table.get_as::<Json>(&key).await?)),
            Op::Put { row } => table.put_as(&row).await.map(|()| Json::Bool(true)),
            Op::Update { key, set, remove } => {
                let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
                table.update_as(&key, &set, &remove).await?;
                Ok(Json::Bool(true))
            }
            Op::Delete { key } => {
                table.delete(&table.key_of(&key).await?).await?;
                Ok(Json::Bool(true))
            }
            Op::Query {
                partition,
                limit,
                reverse,
            } => Ok(json!(
                table.query_as::<Json>(&partition, reverse, limit).await?
            )),
            Op::Add { key, column, by } => {
                table.add(&table.key_of(&key).await?, &column, by).await?;
                Ok(Json::Bool(true))
            }
            Op::Count { key } => table.count_as(&key).await.map(Json::Object),
        }
    }
}

/// What is misspelled would be left out, and the rest be done.
fn refuse_unknown(line: &Json) -> Result<()> {
    let mut fields = line.as_object().into_iter().flat_map(Map::keys);
    match fields.find(|field| !FIELDS.contains(&field.as_str())) {
        None => Ok(()),
        Some(field) => {
            let message = format!("not a command: unknown field `{field}`");
            Err(Error::new(Kind::Invalid, message)
                .with_help(format!("there are: {}", FIELDS.join(", "))))
        }
    }
}
