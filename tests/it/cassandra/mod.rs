//! The Cassandra store on a real server.

mod applications;
mod cutting;
mod equal;
mod inspecting;
mod late;
mod odd_types;
mod refusals;
mod scans;
pub(crate) mod types;
mod writes;

use crossfade::model::{Key, Row, Value};
use crossfade::schema::Table;
use crossfade::store::cassandra::{Cassandra, CassandraConfig, Consistency};
use crossfade::store::{Cursor, Range, Reads, Weight};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use crate::support::{cassandra_address, release, unique};

/// A keyspace of its own: the store under test, and a plain session to prepare it with.
struct Bench {
    store: Cassandra,
    session: Session,
    keyspace: String,
    /// Of the server: older ones can do less.
    release: (u32, u32),
}

fn config(keyspace: &str) -> CassandraConfig {
    let mut config = CassandraConfig::new([cassandra_address()], keyspace);
    config.consistency = Consistency::One;
    config
}

impl Bench {
    async fn new(name: &str) -> Self {
        let keyspace = unique(name);
        let session = SessionBuilder::new()
            .known_node(cassandra_address())
            // The driver can't read the types of other tests' tables.
            .fetch_schema_metadata(false)
            .build()
            .await
            .expect("a session");
        let bench = format!(
            "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        );
        session.query_unpaged(bench, ()).await.expect("a keyspace");
        session.use_keyspace(&keyspace, false).await.expect("it");
        let store = Cassandra::connect(config(&keyspace))
            .await
            .expect("a store");
        Bench {
            store,
            release: release(&session).await,
            session,
            keyspace,
        }
    }

    /// What `check` says of columns of custom types: a server before 4.0 can't give them as blobs.
    fn custom_types(&self) -> Weight {
        match self.release >= (4, 0) {
            true => Weight::Note,
            false => Weight::Refused,
        }
    }

    async fn cql(&self, statement: &str) {
        if let Err(error) = self.session.query_unpaged(statement, ()).await {
            panic!("{statement}: {error}");
        }
    }

    /// The table as the server describes it.
    async fn table(&self, name: &str) -> Table {
        let found = self.store.inspect(name).await.expect("an answer");
        found.expect("it is there").table.expect("its columns")
    }

    /// All rows of a range, by pages of `limit`.
    async fn all(&self, table: &Table, range: &Range, limit: usize) -> Vec<Row> {
        self.behind(table, range, None, limit).await
    }

    async fn behind(
        &self,
        table: &Table,
        range: &Range,
        from: Option<Cursor>,
        limit: usize,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut cursor = from;
        loop {
            let page = self
                .store
                .scan(table, range, cursor.as_ref(), limit)
                .await
                .expect("a page");
            rows.extend(page.rows);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return rows,
            }
        }
    }

    async fn done(self) {
        self.cql(&format!("DROP KEYSPACE {}", self.keyspace)).await;
    }
}

fn key(partition: &[Value], clustering: &[Value]) -> Key {
    Key::row(partition.to_vec(), clustering.to_vec())
}

/// The value of a cell, by name.
fn cell<'a>(table: &Table, row: &'a Row, name: &str) -> Option<&'a Value> {
    row.cells[table.cell(name).expect("a column")].as_ref()
}
