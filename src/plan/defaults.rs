//! Plans made by a program: what a plan's file would leave out is what it would be there.
//!
//! A plan that is made isn't checked as one that is read is. Names have to be valid, targets of two tables have to
//! differ, and a table's target has to differ from the control table.

use std::path::{Path, PathBuf};

use super::{
    CassandraPlan, DEFAULT_CONTROL_TABLE, DEFAULT_LOCAL_REGION, DynamoDbPlan, Lease, NewStorePlan,
    OldStorePlan, PacePlan, Plan, Serve, ShimPlan, TablePlan, VerifyPlan,
};
use crate::store::Consistency;

impl Plan {
    /// A plan of these tables, in the order they move, with the defaults of a plan's file.
    pub fn new(
        name: impl Into<String>,
        old: OldStorePlan,
        new: NewStorePlan,
        tables: Vec<TablePlan>,
    ) -> Self {
        let name = name.into();
        Plan {
            old,
            new,
            control_table: DEFAULT_CONTROL_TABLE.into(),
            journal_dir: journal_dir(&name),
            pace: PacePlan::default(),
            lease: Lease::default(),
            shim: ShimPlan::default(),
            verify: VerifyPlan::default(),
            serve: Serve::default(),
            prices: None,
            mask_key: None,
            tables,
            patterns: Vec::new(),
            file: PathBuf::from("(made by the program)"),
            name,
        }
    }
}

/// The folder of the journal of a plan with this name.
pub(super) fn journal_dir(name: &str) -> PathBuf {
    Path::new("journal").join(name)
}

impl CassandraPlan {
    /// A cluster without login and encryption, read and written at `local_quorum`.
    pub fn new(nodes: Vec<String>, keyspace: impl Into<String>) -> Self {
        CassandraPlan {
            nodes,
            keyspace: keyspace.into(),
            consistency: Consistency::LocalQuorum,
            write_consistency: Consistency::LocalQuorum,
            readers: None,
            page_rows: None,
            datacenter: None,
            login: None,
            tls: None,
        }
    }
}

impl DynamoDbPlan {
    /// AWS in a region.
    pub fn new(region: impl Into<String>) -> Self {
        DynamoDbPlan {
            region: region.into(),
            endpoint: None,
            ca: None,
            partiql: None,
        }
    }

    /// A server with DynamoDB's protocol, `http://…` or `https://…`.
    pub fn at(endpoint: impl Into<String>) -> Self {
        DynamoDbPlan {
            endpoint: Some(endpoint.into()),
            ..DynamoDbPlan::new(DEFAULT_LOCAL_REGION)
        }
    }
}

#[cfg(all(test, feature = "plan"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What a file leaves out and what a program leaves out is the same.
    #[test]
    fn a_plan_that_is_made_is_the_one_that_is_read() {
        let text = "name = \"bgt\"\n\
            [old]\nkind = \"cassandra\"\nnodes = [\"a:9042\"]\nkeyspace = \"k\"\n\
            [new]\nkind = \"dynamodb\"\nregion = \"eu-west-1\"\n\
            [[table]]\nname = \"votes\"\n";
        let read = Plan::parse(text, Path::new("cf.toml"), &|_| None).unwrap();
        let mut made = Plan::new(
            "bgt",
            OldStorePlan::Cassandra(CassandraPlan::new(vec!["a:9042".into()], "k")),
            NewStorePlan::DynamoDb(DynamoDbPlan::new("eu-west-1")),
            vec![TablePlan::new("votes")],
        );
        // They say where the words are, which a program has none of.
        made.file.clone_from(&read.file);
        made.tables[0].line = read.tables[0].line;
        assert_eq!(format!("{made:?}"), format!("{read:?}"));
    }
}
