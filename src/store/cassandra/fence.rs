//! Taking a role's permission to write to one table, and giving it back.
//!
//! A permission is granted on a table, or on something that holds it (all tables of a keyspace, the keyspace,
//! all keyspaces), to a role, or to one whose grants it inherits; a superuser needs none. The server itself
//! lists what reaches a table. Only a grant to the role itself on the table itself concerns nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use scylla::response::query_result::QueryRowsResult;
use scylla::statement::Statement;
use scylla::value::{CqlValue, Row};

use super::Cassandra;
use super::errors::{self, Doing};
use super::statement::quoted_always;
use crate::error::{Error, Kind, Result};
use crate::schema::quoted;
use crate::store::{Finding, Weight, WriteAccess};

/// The permission to write.
const MODIFY: &str = "MODIFY";
/// The permission to grant and revoke, of what one has oneself.
const AUTHORIZE: &str = "AUTHORIZE";

/// How long servers remember permissions where they don't tell: Cassandra does so for 2 seconds unless it
/// is set otherwise, ScyllaDB for 10.
const REMEMBERED: Duration = Duration::from_secs(10);
/// What was let in at the last moment is on its way for a moment more.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// A grant as the server lists it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// Whom it was given to.
    role: String,
    /// On what: `<table ks.t>`, `<keyspace ks>`, `<all keyspaces>`.
    resource: String,
    permission: String,
}

impl Cassandra {
    pub(super) async fn write_access_of(&self, table: &str, role: &str) -> Result<WriteAccess> {
        let writing = async {
            let grants = self.grants(MODIFY, table, Some(role)).await?;
            let roles = self.roles_of(role).await?;
            let resource = format!("<table {}.{table}>", self.keyspace);
            let (own, wider): (Vec<Grant>, Vec<Grant>) = grants
                .into_iter()
                .partition(|grant| grant.role == role && grant.resource == resource);
            let supers = roles.iter().filter(|(_, is_super)| **is_super);
            let mut against: Vec<Finding> = supers.map(|(name, _)| superuser(role, name)).collect();
            let place = self.table_text(table);
            against.extend(wider.iter().map(|grant| too_wide(role, grant, &place)));
            against.extend(self.lacking(table, role).await?);
            let settles = match self.remembered().await {
                Ok(remembered) => remembered,
                Err(error) if error.kind() == Kind::Denied => {
                    against.push(self.untold());
                    REMEMBERED
                }
                Err(error) => return Err(error),
            };
            Ok(WriteAccess {
                own: !own.is_empty(),
                against,
                settles: settles + UNDER_WAY,
            })
        };
        writing.await.map_err(|error| self.of_role(error, role))
    }

    /// Sent again it changes nothing.
    pub(super) async fn revoke_from(&self, table: &str, role: &str) -> Result<()> {
        let (place, to) = (self.table_text(table), quoted_always(role));
        self.define(&format!("REVOKE {MODIFY} ON TABLE {place} FROM {to}"))
            .await
            .map_err(|error| self.of_role(error, role))
    }

    /// Sent again it changes nothing.
    pub(super) async fn grant_to(&self, table: &str, role: &str) -> Result<()> {
        let (place, to) = (self.table_text(table), quoted_always(role));
        self.define(&format!("GRANT {MODIFY} ON TABLE {place} TO {to}"))
            .await
            .map_err(|error| self.of_role(error, role))
    }

    /// Cassandra lets no role grant what it hasn't got. So the role that takes a permission needs it by a grant
    /// that stays, or could never give it back.
    async fn lacking(&self, table: &str, role: &str) -> Result<Option<Finding>> {
        let me = self.login.as_deref().unwrap_or_default();
        let roles = self.roles_of(me).await?;
        if roles
            .iter()
            .any(|(name, is_super)| *is_super && name != role)
        {
            return Ok(None);
        }
        let mine = self.grants("ALL", table, Some(me)).await?;
        let lacks = |wanted: &&str| {
            let mut mine = mine.iter();
            !mine.any(|grant| grant.permission == *wanted && grant.role != role)
        };
        let lacking: Vec<&str> = [MODIFY, AUTHORIZE].into_iter().filter(lacks).collect();
        if lacking.is_empty() {
            return Ok(None);
        }
        let advice = match me == role {
            true => "log in as another role than the application's".to_owned(),
            false => {
                let to = quoted(me);
                let place = self.table_text(table);
                let grant = lacking
                    .iter()
                    .map(|lacks| format!("GRANT {lacks} ON TABLE {place} TO {to}"));
                grant.collect::<Vec<_>>().join("; ")
            }
        };
        let message = format!(
            "`{me}`, which logs in here, couldn't give the permission back: it lacks {} on the table, other \
             than through `{role}`",
            lacking.join(" and ")
        );
        Ok(Some(refused("fence-login", message, advice)))
    }

    /// The grants of a permission, or of `ALL`, that reach a table for a role: the server looks at what holds
    /// the table, and at the roles that are inherited. Without a role, all grants there are.
    pub(super) async fn grants(
        &self,
        permission: &str,
        table: &str,
        role: Option<&str>,
    ) -> Result<Vec<Grant>> {
        let permission = match permission {
            "ALL" => "ALL PERMISSIONS".to_owned(),
            one => format!("{one} PERMISSION"),
        };
        let of = role.map_or(String::new(), |role| format!(" OF {}", quoted_always(role)));
        let cql = format!("LIST {permission} ON TABLE {}{of}", self.table_text(table));
        let Some(answer) = self.listed(&cql).await? else {
            return Ok(Vec::new());
        };
        let rows = answer
            .rows::<(String, Option<String>, String, String)>()
            .map_err(|error| unreadable(&cql, &error))?;
        rows.map(|row| {
            let (role, _, resource, permission) = row.map_err(|error| unreadable(&cql, &error))?;
            Ok(Grant {
                role,
                resource,
                permission,
            })
        })
        .collect()
    }

    /// A role and those whose grants it inherits, and whether each is a superuser.
    pub(super) async fn roles_of(&self, role: &str) -> Result<BTreeMap<String, bool>> {
        let cql = format!("LIST ROLES OF {}", quoted_always(role));
        let Some(answer) = self.listed(&cql).await? else {
            return Ok(BTreeMap::new());
        };
        // How many columns there are depends on the release; these two come first in each.
        let rows = answer
            .rows::<Row>()
            .map_err(|error| unreadable(&cql, &error))?;
        rows.map(|row| {
            let row = row.map_err(|error| unreadable(&cql, &error))?;
            match row.columns.as_slice() {
                [
                    Some(CqlValue::Text(name)),
                    Some(CqlValue::Boolean(is_super)),
                    ..,
                ] => Ok((name.clone(), *is_super)),
                _ => Err(unreadable(&cql, &"a name and a boolean were expected")),
            }
        })
        .collect()
    }

    /// What a `LIST` answers; where there is nothing to list, Cassandra's answer has no rows at all.
    async fn listed(&self, cql: &str) -> Result<Option<QueryRowsResult>> {
        let mut statement = Statement::new(cql);
        statement.set_is_idempotent(true);
        let answer = self.session.query_unpaged(statement, ()).await;
        let answer = answer.map_err(|error| {
            errors::executing(error, Doing::Read).with_context("statement", cql)
        })?;
        if !answer.is_rows() {
            return Ok(None);
        }
        let rows = answer.into_rows_result();
        rows.map(Some).map_err(|error| unreadable(cql, &error))
    }

    /// How long a server goes by permissions that it has read before, as the one that answers is set.
    async fn remembered(&self) -> Result<Duration> {
        let cql =
            "SELECT value FROM system_views.settings WHERE name = 'permissions_validity_in_ms'";
        match self.rows_of::<(Option<String>,)>(cql, ()).await {
            Ok(rows) => {
                let value = rows.into_iter().next().and_then(|(value,)| value);
                let milliseconds = value.and_then(|value| value.parse().ok());
                Ok(milliseconds.map_or(REMEMBERED, Duration::from_millis))
            }
            // Before Cassandra 4.0, and ScyllaDB.
            Err(error) if error.kind() == Kind::Missing => Ok(REMEMBERED),
            Err(error) => Err(error),
        }
    }

    fn untold(&self) -> Finding {
        let me = quoted(self.login.as_deref().unwrap_or_default());
        refused(
            "fence-cache",
            "how long the servers remember permissions can't be read".into(),
            format!("GRANT SELECT ON TABLE system_views.settings TO {me}"),
        )
    }

    fn table_text(&self, table: &str) -> String {
        format!("{}.{}", quoted_always(&self.keyspace), quoted_always(table))
    }

    fn of_role(&self, error: Error, role: &str) -> Error {
        let me = quoted(self.login.as_deref().unwrap_or_default());
        meant(error, &me)
            .with_context("role", role)
            .with_context("store", self.name.as_str())
    }
}

/// What the server's refusals mean for a fence that is closed or opened by this login. Only their words tell
/// a server without permissions from one that fails.
fn meant(error: Error, me: &str) -> Error {
    let words = error.message().to_ascii_lowercase();
    if has_no_permissions(&error) {
        let message = format!("the cluster has no permissions: {}", error.message());
        return Error::new(Kind::Unsupported, message)
            .with_help(
                "a fence takes `authorizer: CassandraAuthorizer` in cassandra.yaml, and a login; without \
                 them leave `fence` out of the plan: the barrier is enough for applications with the shim",
            )
            .with_source(error);
    }
    if words.contains("role ") && words.contains("doesn't exist") {
        return Error::new(Kind::Missing, "the cluster has no such role")
            .with_help("is it written as stored, case kept? `LIST ROLES` shows them; one that was dropped has to be made again")
            .with_source(error);
    }
    if error.kind() == Kind::Denied {
        return error.with_help(format!(
            "GRANT DESCRIBE ON ALL ROLES TO {me}; and {MODIFY} and {AUTHORIZE} on the table"
        ));
    }
    error
}

/// Whether a server refuses to list permissions because it has none: everyone may do everything.
pub(super) fn has_no_permissions(error: &Error) -> bool {
    let words = error.message().to_ascii_lowercase();
    words.contains("not supported by") || words.contains("anonymous")
}

fn superuser(role: &str, is_super: &str) -> Finding {
    let message = match role == is_super {
        true => format!("`{role}` is a superuser, who may write everywhere"),
        false => {
            format!("`{role}` inherits from `{is_super}`, a superuser, who may write everywhere")
        }
    };
    let advice =
        "let the application log in with a role of its own, with grants on its tables".into();
    refused("fence-superuser", message, advice)
}

/// A grant that reaches more than the table, or more than the role.
fn too_wide(role: &str, grant: &Grant, place: &str) -> Finding {
    let of = match grant.role == role {
        true => format!("`{role}`"),
        false => format!("`{}`, from which `{role}` inherits,", grant.role),
    };
    let message = format!(
        "{of} has {MODIFY} on {}, and to take it would hit more than this table and role",
        grant.resource
    );
    let advice = format!(
        "grant it table by table (GRANT {MODIFY} ON TABLE {place} TO {}, and so on), then revoke this one",
        quoted(role)
    );
    refused("fence-grant", message, advice)
}

fn refused(code: &'static str, message: String, advice: String) -> Finding {
    Finding {
        code,
        weight: Weight::Refused,
        message,
        advice,
    }
}

fn unreadable(cql: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("the server lists its roles and permissions in an unknown way: {why}"),
    )
    .with_context("statement", cql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_answer_is_told_apart() {
        let meant = |kind, words: &str| meant(Error::new(kind, words), "tool").kind();
        // With AllowAllAuthorizer, as an error of the server's own.
        let unsupported = "the node failed inside: java.lang.UnsupportedOperationException: LIST PERMISSIONS \
             operation is not supported by AllowAllAuthorizer";
        assert_eq!(meant(Kind::Transient, unsupported), Kind::Unsupported);
        let anonymous = "You have to be logged in and not anonymous to perform this request";
        assert_eq!(meant(Kind::Denied, anonymous), Kind::Unsupported);
        for missing in ["<role app> doesn't exist", "Role app doesn't exist"] {
            assert_eq!(meant(Kind::Invalid, missing), Kind::Missing);
        }
        let table = "Resource <table ks.my_role> doesn't exist";
        assert_eq!(meant(Kind::Invalid, table), Kind::Invalid);
        assert_eq!(meant(Kind::Timeout, "no answer"), Kind::Timeout);
    }
}
