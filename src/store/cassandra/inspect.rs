//! A table as the server describes it, and what its owner should know.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use scylla::frame::response::result::ColumnType;
use uuid::Uuid;

use super::errors::Doing;
use super::statement::{Selection, quoted_always};
use super::{Cassandra, overlap};
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, Order, Role, Table, Type, Udt, is_built_in};
use crate::store::{Finding, Inspection, Weight};

/// A row of `system_schema.columns`: name, kind, position, clustering order, type.
type Described = (String, String, i32, String, String);

/// A row of `system_schema.tables`: id, default time to live, flags, what others than Cassandra keep there.
type Stored = (
    Uuid,
    Option<i32>,
    Option<Vec<String>>,
    Option<HashMap<String, Vec<u8>>>,
);

/// What `system_schema` holds about one table.
struct SchemaEntry {
    id: Uuid,
    default_ttl: u32,
    flags: BTreeSet<String>,
    extensions: HashMap<String, Vec<u8>>,
}

impl Cassandra {
    pub(super) async fn inspect_table(&self, name: &str) -> Result<Option<Inspection>> {
        self.inspected(name).await.map_err(|error| {
            error
                .with_context("table", format!("{}.{name}", self.keyspace))
                .with_context("store", self.name.clone())
        })
    }

    async fn inspected(&self, name: &str) -> Result<Option<Inspection>> {
        let Some(entry) = self.entry(name).await? else {
            return Ok(None);
        };
        let mut findings = partitioner_findings(&self.partitioner);
        findings.extend(storage_findings(&entry.flags));
        // A table that is refused for how it is stored may have columns CQL has no words for.
        let refused = findings.iter().any(|found| found.weight == Weight::Refused);
        let table = match self.columns(name).await {
            Ok(table) => Some(table),
            Err(_) if refused => None,
            Err(error) => return Err(error),
        };
        findings.extend(self.overlap_finding().await?);
        if self.zero_ttl_is_default && entry.default_ttl > 0 {
            findings.push(default_ttl_finding());
        }
        findings.extend(self.shown_findings(name, &entry.extensions).await?);
        findings.extend(self.index_findings(name, table.as_ref()).await?);
        if let Some(table) = &table {
            findings.extend(column_findings(table, self.reads_element_ttls));
            findings.extend(self.custom_findings(table).await?);
        }
        let estimate = match &table {
            Some(table) => self.estimate(table).await?,
            None => None,
        };
        Ok(Some(Inspection {
            id: entry.id.to_string(),
            table,
            default_ttl: entry.default_ttl,
            rows: estimate.and_then(|estimate| estimate.rows),
            bytes: estimate.map(|estimate| estimate.bytes),
            findings,
        }))
    }

    /// Whether reads may miss what applications write, as far as the keyspace tells.
    async fn overlap_finding(&self) -> Result<Option<Finding>> {
        let found = self
            .rows_of::<(HashMap<String, String>,)>(
                "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?",
                (&self.keyspace,),
            )
            .await?;
        let reads = self.reads.unwrap_or(self.consistency);
        let datacenter = self.datacenter.as_deref();
        let options = found.first().map(|(options,)| options);
        Ok(options.and_then(|options| overlap::finding(reads, self.writes, options, datacenter)))
    }

    async fn entry(&self, name: &str) -> Result<Option<SchemaEntry>> {
        let found = self
            .rows_of::<Stored>(
                "SELECT id, default_time_to_live, flags, extensions FROM system_schema.tables \
                 WHERE keyspace_name = ? AND table_name = ?",
                (&self.keyspace, name),
            )
            .await?;
        let entry = |(id, ttl, flags, extensions): Stored| SchemaEntry {
            id,
            default_ttl: ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(0),
            flags: flags.unwrap_or_default().into_iter().collect(),
            extensions: extensions.unwrap_or_default(),
        };
        Ok(found.into_iter().next().map(entry))
    }

    /// The table's default time to live, in seconds; 0 for none.
    pub(super) async fn default_ttl(&self, name: &str) -> Result<u32> {
        Ok(self.entry(name).await?.map_or(0, |entry| entry.default_ttl))
    }

    async fn columns(&self, name: &str) -> Result<Table> {
        let udts = self.udts().await?;
        let mut described = self
            .rows_of::<Described>(
                "SELECT column_name, kind, position, clustering_order, type \
                 FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?",
                (&self.keyspace, name),
            )
            .await?;
        described.sort_by_key(|(_, _, position, _, _)| *position);
        let mut columns = Vec::with_capacity(described.len());
        for mut described in described {
            let (column_name, .., ty) = &mut described;
            let is_either = is_built_in(ty) && udts.ready.iter().any(|udt| udt.name == *ty);
            if is_either && self.is_user_defined(name, column_name).await? {
                *ty = format!("\"{ty}\"");
            }
            columns.push(column(described, &udts)?);
        }
        Ok(Table::new(name, columns))
    }

    /// Whether the server means a user-defined type where `system_schema`, which leaves quotes out, has the
    /// name of both one of these and a type of CQL's own.
    async fn is_user_defined(&self, table: &str, column: &str) -> Result<bool> {
        let (keyspace, table) = (quoted_always(&self.keyspace), quoted_always(table));
        let cql = format!("SELECT {} FROM {keyspace}.{table}", quoted_always(column));
        let statement = self.prepare_anew(&cql, Doing::Read).await?;
        let specs = statement.get_current_result_set_col_specs();
        let spec = specs.get().get_by_index(0).map(|spec| spec.typ().clone());
        Ok(matches!(spec, Some(ColumnType::UserDefinedType { .. })))
    }

    /// Whether columns of custom types can be read. The driver has no names for these, so that they are
    /// asked for as blobs, and keys would have to be given as such.
    async fn custom_findings(&self, table: &Table) -> Result<Option<Finding>> {
        let named = |columns: &[Column]| -> String {
            let custom = columns.iter().filter(|column| column.ty.has_custom());
            let names: Vec<&str> = custom.map(|column| column.name.as_str()).collect();
            names.join(", ")
        };
        let all = named(&table.columns);
        if all.is_empty() {
            return Ok(None);
        }
        let finding = |weight, message: String, advice: &str| {
            Ok(Some(Finding {
                code: "custom-type",
                weight,
                message,
                advice: advice.into(),
            }))
        };
        let advice =
            "copy the rows into a table whose columns have types of CQL's own, and move that";
        let keys = named(&[table.partition(), table.clustering()].concat());
        if !keys.is_empty() {
            let message = format!("rows can't be asked for by key columns of custom types: {keys}");
            return finding(Weight::Refused, message, advice);
        }
        let select = Selection::rows(table, self.reads_element_ttls).text(&self.keyspace, table);
        match self.prepare_anew(&select, Doing::Read).await {
            Ok(_) => finding(
                Weight::Note,
                format!("custom types are moved as the bytes they are: {all}"),
                "the application must know how to read those bytes; it can't insert or update on a condition \
                 in this table until `switch`",
            ),
            Err(error) if error.kind().is_transient() => Err(error),
            Err(error) => {
                let message =
                    format!("this server doesn't give custom types as blobs: {all} ({error})");
                finding(Weight::Refused, message, advice)
            }
        }
    }

    /// The keyspace's user-defined types, each before those that use it.
    async fn udts(&self) -> Result<Udts> {
        let waiting = self
            .rows_of::<(String, Option<Vec<String>>, Option<Vec<String>>)>(
                "SELECT type_name, field_names, field_types FROM system_schema.types \
                 WHERE keyspace_name = ?",
                (&self.keyspace,),
            )
            .await?
            .into_iter()
            .map(|(name, names, types)| {
                let fields = names.unwrap_or_default().into_iter();
                (name, fields.zip(types.unwrap_or_default()).collect())
            })
            .collect();
        Ok(in_order_of_use(waiting))
    }

    async fn index_findings(&self, name: &str, table: Option<&Table>) -> Result<Vec<Finding>> {
        let indexes = self
            .rows_of::<(String, String, Option<HashMap<String, String>>)>(
                "SELECT index_name, kind, options FROM system_schema.indexes \
                 WHERE keyspace_name = ? AND table_name = ?",
                (&self.keyspace, name),
            )
            .await?;
        let mut views = self
            .rows_of::<(String, String)>(
                "SELECT view_name, base_table_name FROM system_schema.views WHERE keyspace_name = ?",
                (&self.keyspace,),
            )
            .await?;
        // ScyllaDB keeps a secondary index as a view of its own.
        views.retain(|(view, base)| {
            base == name
                && !indexes
                    .iter()
                    .any(|(index, _, _)| *view == format!("{index}_index"))
        });
        let triggers = self
            .rows_of::<(String,)>(
                "SELECT trigger_name FROM system_schema.triggers \
                 WHERE keyspace_name = ? AND table_name = ?",
                (&self.keyspace, name),
            )
            .await?;
        let mut findings: Vec<Finding> = indexes
            .into_iter()
            .map(|(index, kind, options)| {
                index_finding(&index, &kind, &options.unwrap_or_default(), table)
            })
            .collect();
        findings.extend(views.into_iter().map(|(view, _)| Finding {
            code: "materialized-view",
            weight: Weight::Ignorable("views"),
            message: format!("the materialized view `{view}` is made from this table; it isn't moved"),
            advice: "see what reads it; a global secondary index of the new table, or a table of its own, may take its place".into(),
        }));
        findings.extend(triggers.into_iter().map(|(trigger,)| Finding {
            code: "trigger",
            weight: Weight::Ignorable("triggers"),
            message: format!("the trigger `{trigger}` runs on writes to this table; nothing does in the new store"),
            advice: "move what it does into the application, or to a stream of the new table".into(),
        }));
        Ok(findings)
    }
}

/// Of a server that applies the table's default to what shall stay for good.
fn default_ttl_finding() -> Finding {
    Finding {
        code: "default-ttl-always",
        weight: Weight::Note,
        message: "this server (before Cassandra 3.6) can't write a row that never expires to a table with a default \
                  time to live: in the phases `old` and `bridge` such writes of applications are refused"
            .into(),
        advice: "applications give each row a time to live, or take the default away: ALTER TABLE … WITH \
                 default_time_to_live = 0"
            .into(),
    }
}

fn partitioner_findings(partitioner: &str) -> Vec<Finding> {
    let class = partitioner.rsplit('.').next().unwrap_or(partitioner);
    let (code, why) = match class {
        "Murmur3Partitioner" => return Vec::new(),
        "RandomPartitioner" => (
            "random-partitioner",
            "its tokens are 127-bit MD5 hashes, while ranges here are cut by Murmur3's 64-bit tokens",
        ),
        "ByteOrderedPartitioner"
        | "OrderPreservingPartitioner"
        | "CollatingOrderPreservingPartitioner" => (
            "byte-ordered-partitioner",
            "its tokens are the keys themselves, which can't be cut into even ranges",
        ),
        _ => ("other-partitioner", "only Murmur3Partitioner is known here"),
    };
    vec![Finding {
            code,
            weight: Weight::Refused,
            message: format!("the cluster uses {class}: {why}"),
            advice: "a cluster can't change its partitioner: load the table into one with Murmur3Partitioner \
                     (sstableloader, or COPY TO and COPY FROM) and move it from there"
                .into(),
        }]
}

fn index_finding(
    index: &str,
    kind: &str,
    options: &HashMap<String, String>,
    table: Option<&Table>,
) -> Finding {
    let class = options.get("class_name").map_or("", String::as_str);
    let target = options.get("target").map_or("?", String::as_str);
    let (code, what) =
        if class.to_ascii_lowercase().contains("storageattachedindex") || class == "sai" {
            ("sai-index", "SAI index")
        } else if kind.eq_ignore_ascii_case("custom") {
            ("custom-index", "custom index")
        } else {
            ("secondary-index", "secondary index")
        };
    Finding {
        code,
        weight: Weight::Ignorable("indexes"),
        message: format!("the {what} `{index}` on `{target}` isn't moved"),
        advice: match may_be_index_key(target, table) {
            true => "queries by that column need a global secondary index of the new table, which you create",
            false => {
                "no index of DynamoDB has such a key: queries by that column need a table of their own, or a \
                 service for searching"
            }
        }
        .into(),
    }
}

/// Whether an index of DynamoDB can have what this one is on as its key: a string, a number or bytes. `target`
/// is a column, or `values(column)` and the like for a part of a collection.
fn may_be_index_key(target: &str, table: Option<&Table>) -> bool {
    let name = target.trim_matches('"').replace("\"\"", "\"");
    let column = table.and_then(|table| table.columns.iter().find(|column| column.name == name));
    match column.map(|column| &column.ty) {
        Some(
            Type::Boolean
            | Type::Duration
            | Type::List(_)
            | Type::Set(_)
            | Type::Map(..)
            | Type::Tuple(_)
            | Type::Udt(_)
            | Type::Vector(..)
            | Type::Custom(_),
        ) => false,
        Some(
            Type::Ascii
            | Type::Text
            | Type::TinyInt
            | Type::SmallInt
            | Type::Int
            | Type::BigInt
            | Type::Counter
            | Type::Varint
            | Type::Decimal
            | Type::Float
            | Type::Double
            | Type::Blob
            | Type::Uuid
            | Type::TimeUuid
            | Type::Timestamp
            | Type::Date
            | Type::Time
            | Type::Inet,
        ) => true,
        None => !target.contains('('),
    }
}

fn storage_findings(flags: &BTreeSet<String>) -> Vec<Finding> {
    let (code, what) = if flags.contains("super") {
        ("super-table", "a Thrift super column family")
    } else if flags.contains("dense") {
        (
            "dense-table",
            "a dense table, made by Thrift or WITH COMPACT STORAGE",
        )
    } else if !flags.contains("compound") {
        (
            "compact-table",
            "a table made by Thrift or WITH COMPACT STORAGE",
        )
    } else {
        return Vec::new();
    };
    vec![Finding {
        code,
        weight: Weight::Refused,
        message: format!("it is {what}, whose hidden columns CQL doesn't show"),
        advice: "ALTER TABLE … DROP COMPACT STORAGE turns it into an ordinary one (after upgrading all SSTables); \
                 or copy its rows into a new table"
            .into(),
    }]
}

fn column_findings(table: &Table, element_ttls: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let named = |test: &dyn Fn(&Column) -> bool| {
        let names: Vec<&str> = table
            .columns
            .iter()
            .filter(|column| test(column))
            .map(|column| column.name.as_str())
            .collect();
        names.join(", ")
    };
    let note = |code, message: String, advice: &str| Finding {
        code,
        weight: Weight::Note,
        message,
        advice: advice.into(),
    };
    let untold = named(&|column| column.is_multicell());
    if !element_ttls && !untold.is_empty() {
        findings.push(note(
            "collection-ttl",
            format!("this server doesn't tell when elements of collections expire (Cassandra 5.0 does): {untold}"),
            "an element is taken to live as long as its row's other cells; a row of which nothing else tells goes by the \
             plan's `key_only`",
        ));
    }
    findings
}

fn column((name, kind, _, order, text): Described, udts: &Udts) -> Result<Column> {
    let unknown =
        |what: String| Error::new(Kind::Unsupported, what).with_context("column", name.clone());
    let (ty, frozen) = Type::parse(&text, &udts.ready).map_err(|error| {
        let mut causes = udts.unknown.iter();
        let cause = causes.find(|(udt, _)| text.contains(udt.as_str()));
        unknown(error).with_context(
            "type",
            cause.map_or(text.clone(), |(_, cause)| cause.clone()),
        )
    })?;
    let role = match (kind.as_str(), order.as_str()) {
        ("partition_key", _) => Role::Partition,
        ("clustering", "desc") => Role::Clustering(Order::Desc),
        ("clustering", _) => Role::Clustering(Order::Asc),
        ("static", _) => Role::Static,
        ("regular", _) => Role::Regular,
        (other, _) => return Err(unknown(format!("`{other}` is no known kind of column"))),
    };
    Ok(Column {
        name,
        ty,
        frozen,
        role,
    })
}

/// The user-defined types of a keyspace.
struct Udts {
    /// Each before those that use it.
    ready: Vec<Arc<Udt>>,
    /// Those that can't be read, with the reason. They concern the tables that use them alone.
    unknown: Vec<(String, String)>,
}

/// Types with their fields' texts, brought into an order where each comes before its users.
fn in_order_of_use(mut waiting: Vec<(String, Vec<(String, String)>)>) -> Udts {
    let mut ready: Vec<Arc<Udt>> = Vec::new();
    loop {
        let before = waiting.len();
        let mut unknown = Vec::new();
        waiting.retain(|(name, texts)| {
            let fields: Result<Vec<_>, String> = texts
                .iter()
                .map(|(field, text)| Ok((field.clone(), Type::parse(text, &ready)?.0)))
                .collect();
            match fields {
                Ok(fields) => {
                    ready.push(Arc::new(Udt {
                        name: name.clone(),
                        fields,
                    }));
                    false
                }
                Err(error) => {
                    unknown.push((name.clone(), error));
                    true
                }
            }
        });
        if waiting.len() == before {
            return Udts { ready, unknown };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flags(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn storage_from_before_cql_is_refused_by_name() {
        assert!(storage_findings(&flags(&["compound"])).is_empty());
        assert!(storage_findings(&flags(&["compound", "counter"])).is_empty());
        for (words, code) in [
            (&[][..], "compact-table"),
            (&["dense"][..], "dense-table"),
            (&["compound", "dense"][..], "dense-table"),
            (&["dense", "super"][..], "super-table"),
        ] {
            let found = storage_findings(&flags(words));
            assert_eq!((found[0].code, found[0].weight), (code, Weight::Refused));
        }
    }

    #[test]
    fn partitioners_are_refused_by_name() {
        let named = |class: &str| {
            let found = partitioner_findings(&format!("org.apache.cassandra.dht.{class}"));
            found
                .into_iter()
                .next()
                .map(|found| (found.code, found.weight))
        };
        assert_eq!(named("Murmur3Partitioner"), None);
        for (class, code) in [
            ("RandomPartitioner", "random-partitioner"),
            ("ByteOrderedPartitioner", "byte-ordered-partitioner"),
            ("LocalPartitioner", "other-partitioner"),
        ] {
            assert_eq!(named(class), Some((code, Weight::Refused)));
        }
    }

    #[test]
    fn user_defined_types_come_before_their_users() {
        let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let given = vec![
            ("a".to_owned(), vec![text("x", "frozen<list<frozen<b>>>")]),
            ("b".to_owned(), vec![text("y", "frozen<c>")]),
            ("c".to_owned(), vec![text("z", "int")]),
            ("odd".to_owned(), vec![text("x", "nowhere")]),
        ];
        let sorted = in_order_of_use(given);
        let names: Vec<&str> = sorted.ready.iter().map(|udt| udt.name.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        let described = |ty: &str| {
            let words = ["v", "regular", "none", ty].map(str::to_owned);
            let [name, kind, order, ty] = words;
            column((name, kind, -1, order, ty), &sorted)
        };
        // A type that can't be read is no matter of a table that doesn't use it.
        described("list<frozen<a>>").unwrap();
        let error = described("frozen<odd>").unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}
