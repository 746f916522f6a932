//! Which permissions are missing in both stores, each by its name: for this command and for all others.

use std::collections::BTreeSet;

use crossfade::connect;
use crossfade::error::{Kind, Result};
use crossfade::layer::retry::Patience;
use crossfade::migration::{Migration, Survey};
use crossfade::model::Tokens;
use crossfade::permissions::{ASKED, COMMANDS, Permissions};
use crossfade::plan::{NewStorePlan, OldStorePlan};
use crossfade::store::Range;
use crossfade::store::dynamodb::{ActionAnswer, DynamoDb};

use crate::stores::OpenStores;

/// What is known of permissions on a table.
#[derive(Default)]
pub struct Permits {
    pub missing: Vec<MissingPermit>,
    /// What can't be told, and why.
    pub untold: Vec<String>,
}

/// A permission that isn't there.
pub struct MissingPermit {
    /// `dynamodb:Scan`, `SELECT`.
    pub permission: String,
    /// `arn:aws:…`, `ks.t`.
    pub on: String,
    /// The commands that take it.
    pub commands: Vec<&'static str>,
}

impl MissingPermit {
    pub fn told(&self) -> String {
        let commands = self.commands.join(", ");
        format!("{} on {} ({commands})", self.permission, self.on)
    }

    /// Whether this command takes it.
    pub fn is_of_check(&self) -> bool {
        self.commands.contains(&"check")
    }
}

/// The commands of the table that take a permission.
fn commands_with(permission: &str, of: fn(&Permissions) -> Vec<&'static str>) -> Vec<&'static str> {
    let with = COMMANDS.iter().filter(|one| of(one).contains(&permission));
    with.map(|one| one.command).collect()
}

/// Everything that commands take somewhere, in order.
fn all(of: fn(&Permissions) -> Vec<&'static str>) -> BTreeSet<&'static str> {
    COMMANDS.iter().flat_map(of).collect()
}

/// Actions that can't be asked for without doing them.
pub fn not_asked() -> Vec<&'static str> {
    let mut all: BTreeSet<&str> = all(Permissions::all_on_targets);
    all.extend(self::all(Permissions::all_on_control));
    all.into_iter()
        .filter(|action| !ASKED.contains(action))
        .collect()
}

/// Asks both stores. What is looked at otherwise stops at the first refusal; this goes on.
#[derive(Default)]
pub struct PermitAsker {
    dynamo: Option<DynamoDb>,
    /// On the control table; asked once.
    pub control: Option<Permits>,
}

impl PermitAsker {
    /// What is missing on a table in the old store and on its target.
    pub async fn table(
        &mut self,
        stores: &OpenStores,
        migration: &Migration,
        survey: Option<&Survey>,
    ) -> Permits {
        let mut permits = Permits::default();
        if let OldStorePlan::Cassandra(old) = &stores.plan.old {
            let on = format!("{}.{}", old.keyspace, migration.spec.name);
            match may_select(stores, migration, survey).await {
                Ok(true) => {}
                Ok(false) => permits.missing.push(MissingPermit {
                    permission: "SELECT".to_owned(),
                    on,
                    commands: commands_with("SELECT", Permissions::all_on_old),
                }),
                Err(error) => {
                    let why = error.cause();
                    permits.untold.push(format!("SELECT on {on}: {why}"));
                }
            }
        }
        let NewStorePlan::DynamoDb(_) = &stores.plan.new else {
            return permits;
        };
        match self.dynamo(stores).await {
            Ok(dynamo) => {
                let of = Permissions::all_on_targets;
                permits.of_new(&dynamo, &migration.spec.to, of).await;
                if self.control.is_none() {
                    let mut control = Permits::default();
                    let of = Permissions::all_on_control;
                    control
                        .of_new(&dynamo, &stores.plan.control_table, of)
                        .await;
                    self.control = Some(control);
                }
            }
            Err(error) => permits.untold.push(error.cause()),
        }
        permits
    }

    async fn dynamo(&mut self, stores: &OpenStores) -> Result<DynamoDb> {
        if let Some(dynamo) = &self.dynamo {
            return Ok(dynamo.clone());
        }
        let dynamo = connect::dynamodb(&stores.plan).await?;
        Ok(self.dynamo.insert(dynamo).clone())
    }
}

/// Whether the login may read a table: asked by reading the last of all tokens.
async fn may_select(
    stores: &OpenStores,
    migration: &Migration,
    survey: Option<&Survey>,
) -> Result<bool> {
    let old = &stores.old.0;
    let table = match survey {
        Some(survey) => Some(survey.transform.source().clone()),
        None => {
            let look = || old.inspect(&migration.spec.name);
            let seen = Patience::LOOK.insist(old.name(), look).await?;
            seen.and_then(|seen| seen.table)
        }
    };
    // One that isn't there is told elsewhere.
    let Some(table) = table else { return Ok(true) };
    let last = Range::Tokens(Tokens {
        after: i64::MAX - 1,
        up_to: i64::MAX,
    });
    let look = || old.scan(&table, &last, None, 1);
    match Patience::LOOK.insist(old.name(), look).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == Kind::Denied => Ok(false),
        Err(error) => Err(error),
    }
}

impl Permits {
    async fn of_new(
        &mut self,
        dynamo: &DynamoDb,
        table: &str,
        of: fn(&Permissions) -> Vec<&'static str>,
    ) {
        for action in all(of).into_iter().filter(|action| ASKED.contains(action)) {
            let look = || dynamo.may(table, action);
            match Patience::LOOK.insist("dynamodb", look).await {
                Ok(ActionAnswer::Allowed | ActionAnswer::NotAsked) => {}
                Ok(ActionAnswer::Denied(on)) => self.missing.push(MissingPermit {
                    permission: format!("dynamodb:{action}"),
                    on,
                    commands: commands_with(action, of),
                }),
                Err(error) => self
                    .untold
                    .push(format!("dynamodb:{action} on {table}: {}", error.cause())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_is_not_asked() {
        let not_asked = not_asked();
        for action in [
            "CreateTable",
            "DeleteItem",
            "PartiQLInsert",
            "PutItem",
            "UpdateItem",
        ] {
            assert!(not_asked.contains(&action), "{action}");
        }
        assert!(not_asked.iter().all(|action| !ASKED.contains(action)));
        let select = commands_with("SELECT", Permissions::all_on_old);
        assert!(
            select.contains(&"check") && !select.contains(&"status"),
            "{select:?}"
        );
        assert_eq!(commands_with("DROP", Permissions::all_on_old), ["finish"]);
        assert_eq!(
            commands_with("MODIFY", Permissions::all_on_old),
            ["shim, serve"]
        );
    }
}
