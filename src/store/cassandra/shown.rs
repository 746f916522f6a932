//! Whether the role that logs in is shown all that a table holds. Some servers answer differently by role, and
//! don't say so: what was left out or masked would be missing in the new store, and compare equal there.

use std::collections::HashMap;

use super::Cassandra;
use super::fence::has_no_permissions;
use crate::error::{Kind, Result};
use crate::schema::quoted;
use crate::store::{Finding, Weight};

/// A table's property that DataStax Enterprise keeps for `RESTRICT ROWS`: the column that rows are told by.
const RESTRICTED_ROWS: &str = "DSE_RLACA";

/// The permission to read.
const SELECT: &str = "SELECT";
/// The permission to see what masked columns hold.
const UNMASK: &str = "UNMASK";

impl Cassandra {
    /// What this login isn't shown of a table, and where it is shown what others aren't.
    pub(super) async fn shown_findings(
        &self,
        table: &str,
        extensions: &HashMap<String, Vec<u8>>,
    ) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let masked = self.masked_columns(table).await?;
        if !masked.is_empty() {
            let sees = self.may(UNMASK, table).await?;
            let grant = self.grant(UNMASK, table);
            findings.push(masked_columns(&masked, self.me(), sees, grant));
        }
        if let Some(column) = extensions.get(RESTRICTED_ROWS) {
            let sees = self.may(SELECT, table).await?;
            let column = String::from_utf8_lossy(column);
            let grant = self.grant(SELECT, table);
            findings.push(restricted_rows(&column, self.me(), sees, grant));
        }
        Ok(findings)
    }

    /// The columns that have a mask: Cassandra 5.0 and later.
    async fn masked_columns(&self, table: &str) -> Result<Vec<String>> {
        let masked = self
            .rows_of::<(String,)>(
                "SELECT column_name FROM system_schema.column_masks \
                 WHERE keyspace_name = ? AND table_name = ?",
                (&self.keyspace, table),
            )
            .await;
        match masked {
            Ok(masked) => Ok(masked.into_iter().map(|(name,)| name).collect()),
            Err(error) if error.kind() == Kind::Missing => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether this login has a permission on a table: granted to it, or to a role that it inherits from, on the
    /// table or on what holds it. Where the server doesn't tell, it hasn't.
    async fn may(&self, permission: &str, table: &str) -> Result<bool> {
        let listed = async {
            if let Some(me) = &self.login {
                let roles = self.roles_of(me).await?;
                if roles.values().any(|is_super| *is_super) {
                    return Ok(true);
                }
            }
            let grants = self.grants(permission, table, self.login.as_deref());
            Ok(!grants.await?.is_empty())
        };
        match listed.await {
            Ok(may) => Ok(may),
            Err(error) if has_no_permissions(&error) => Ok(true),
            Err(error) if matches!(error.kind(), Kind::Denied | Kind::Unsupported) => {
                tracing::debug!("whether {permission} is granted isn't told: {error}");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn grant(&self, permission: &str, table: &str) -> String {
        let (keyspace, table) = (quoted(&self.keyspace), quoted(table));
        let to = match &self.login {
            Some(me) => quoted(me),
            None => "the role that logs in".to_owned(),
        };
        format!("GRANT {permission} ON TABLE {keyspace}.{table} TO {to}")
    }

    fn me(&self) -> &str {
        self.login.as_deref().unwrap_or("the role that logs in")
    }
}

fn masked_columns(columns: &[String], me: &str, sees: bool, grant: String) -> Finding {
    let columns = columns.join(", ");
    let (weight, message, advice) = match sees {
        true => (
            Weight::Note,
            format!("columns are masked for roles without {UNMASK}: {columns}"),
            "in the new store everyone who may read the table sees them; grant that to fewer, or mask them in the \
             plan"
                .to_owned(),
        ),
        false => (
            Weight::Refused,
            format!(
                "columns are masked, and `{me}` isn't shown what they hold, so that the masks would be copied: \
                 {columns}"
            ),
            grant,
        ),
    };
    Finding {
        code: "masked-columns",
        weight,
        message,
        advice,
    }
}

fn restricted_rows(column: &str, me: &str, sees: bool, grant: String) -> Finding {
    let what = format!("access to its rows is restricted by `{column}`");
    let (weight, message, advice) = match sees {
        true => (
            Weight::Note,
            format!("{what}, and `{me}` may read all of them"),
            "the new store has no such restriction".to_owned(),
        ),
        false => (
            Weight::Refused,
            format!(
                "{what}, and `{me}` may be shown a part of them, so that the others would be missing"
            ),
            grant,
        ),
    };
    Finding {
        code: "restricted-rows",
        weight,
        message,
        advice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_refused_with_the_grant_that_shows_it() {
        let grant = || "GRANT it".to_owned();
        let columns = ["email".to_owned(), "phone".to_owned()];
        for sees in [true, false] {
            let weight = match sees {
                true => Weight::Note,
                false => Weight::Refused,
            };
            let masked = masked_columns(&columns, "migrate", sees, grant());
            let restricted = restricted_rows("tenant", "migrate", sees, grant());
            for (found, name) in [(masked, "email, phone"), (restricted, "`tenant`")] {
                assert_eq!(found.weight, weight);
                assert!(found.message.contains(name), "{}", found.message);
                assert_eq!(found.advice == "GRANT it", !sees, "{}", found.advice);
            }
        }
    }
}
