//! PutItem, UpdateItem and DeleteItem in the application's own words.

use futures::FutureExt;
use serde_json::{Map, Value as Json};

use super::{Native, Said, UNMET, object, put_placeholders};
use crate::express::judge::{self, refuse_reserved};
use crate::express::{Action, ConditionExpression, Path, Printer, UpdateExpression};
use crate::item::Mapping;
use crate::serve::asked::{Asked, missing};
use crate::serve::attempts::AttemptOutcome;
use crate::serve::fault::{Fault, Twice};
use crate::serve::item::ItemWrite;
use crate::serve::target::{is_same_twice, json};

/// What is in place of expressions in a request: they are printed anew.
pub(super) const EXPRESSIONS: [&str; 7] = [
    "AttributeUpdates",
    "ConditionExpression",
    "ConditionalOperator",
    "Expected",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "UpdateExpression",
];

/// What a write says beside the parts that are sent on as they are.
pub(super) struct WriteParts {
    pub key: Json,
    pub on: Option<ConditionExpression>,
    pub update: Option<UpdateExpression>,
    pub shows_unmet: bool,
    pub twice: Twice,
}

impl WriteParts {
    /// Of a PutItem, UpdateItem, DeleteItem or ConditionCheck, in or outside of a transaction.
    ///
    /// # Errors
    /// What of it is wrong; attributes that the migration keeps for itself.
    pub fn of(mapping: &Mapping, operation: &str, mut asked: Asked) -> Result<Self, Fault> {
        let sort = mapping.sort().map(|sort| sort.name.as_str());
        let expressed = asked.expressed(&mapping.partition().name, sort)?;
        let shows_unmet = asked.shows_unmet()?;
        let on = expressed.condition;
        let mut update = expressed.update;
        let key = match operation {
            "Put" => {
                let mut item = asked.take_item()?;
                for name in item.keys() {
                    refuse_reserved(mapping, name)?;
                }
                item.retain(|name, _| {
                    *name == mapping.partition().name || Some(name.as_str()) == sort
                });
                item
            }
            _ => asked.take_key()?,
        };
        if operation == "Update" && update.is_none() {
            let actions = Vec::new();
            update = Some(UpdateExpression { actions });
        }
        if operation == "ConditionCheck" && on.is_none() {
            return Err(missing("conditionExpression"));
        }
        for path in judge::paths(on.as_ref(), update.as_ref()) {
            refuse_reserved(mapping, &path.attribute)?;
        }
        let twice = match update.as_ref().is_none_or(is_same_twice) {
            true => Twice::Same,
            false => Twice::Counts,
        };
        // What the application writes is its own; nothing looks at a counter's mark any more.
        if let Some(update) = &mut update
            && !mapping.table().is_counter()
        {
            let mark = Path::attribute(mapping.mark());
            update.actions.push(Action::Remove(mark));
        }
        Ok(WriteParts {
            key: json(key),
            on,
            update,
            shows_unmet,
            twice,
        })
    }

    /// Whether what it does depends on what is there.
    pub fn depends(&self) -> bool {
        self.on.is_some() || self.update.is_some()
    }

    /// Puts the expressions into a request that has none any more.
    pub fn put_into(&self, body: &mut Json, on: &ConditionExpression) {
        let mut printer = Printer::default();
        if let Some(update) = self
            .update
            .as_ref()
            .filter(|update| !update.actions.is_empty())
        {
            body["UpdateExpression"] = printer.update(update).into();
        }
        body["ConditionExpression"] = printer.condition(on).into();
        body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD".into();
        put_placeholders(body, &printer);
    }
}

impl Native {
    /// PutItem, UpdateItem and DeleteItem, with `operation` as a transaction calls them.
    pub fn write(
        self,
        operation: &'static str,
        body: &[u8],
        asked: Asked,
    ) -> Result<ItemWrite, Fault> {
        let body = object(body)?;
        let parts = WriteParts::of(self.target.mapping(), operation, asked)?;
        let twice = parts.twice;
        let making = async move {
            match parts.depends() {
                false => self.plain(operation, body).await,
                true => self.guarded(operation, body, parts).await,
            }
        };
        let making = making.boxed();
        Ok(ItemWrite { twice, making })
    }

    /// A write that is the same whatever is there.
    async fn plain(self, operation: &str, body: Map<String, Json>) -> AttemptOutcome {
        let (body, twice) = (Json::Object(body), Twice::Same);
        let operation = format!("{operation}Item");
        match self.way.write(&operation, &body, twice).await? {
            Said::Refused(refused) => Err(refused.fault(twice)),
            Said::Done(mut said) => {
                let old = said["Attributes"].take();
                self.written(said, self.shown().item(old))
            }
        }
    }

    async fn guarded(
        self,
        operation: &str,
        mut body: Map<String, Json>,
        parts: WriteParts,
    ) -> AttemptOutcome {
        body.retain(|name, _| !EXPRESSIONS.contains(&name.as_str()));
        let body = Json::Object(body);
        let operation = format!("{operation}Item");
        loop {
            let shown = self.shown();
            let mut body = body.clone();
            parts.put_into(&mut body, &shown.guarded(parts.on.as_ref()));
            let refused = match self.way.write(&operation, &body, parts.twice).await? {
                Said::Done(mut said) => {
                    let mut told = said["Attributes"].take();
                    shown.strip(&mut told);
                    return self.written(said, Some(told));
                }
                Said::Refused(refused) => refused,
            };
            if refused.code() != UNMET {
                return Err(refused.fault(parts.twice));
            }
            let mut item = refused.said["Item"].clone();
            if shown.guards_against(&item) {
                self.way.has_time()?;
                self.way.settle(&self.target, &parts.key, &item).await?;
                continue;
            }
            let unmet = Fault::new(400, UNMET, "The conditional request failed");
            shown.strip(&mut item);
            return Err(match parts.shows_unmet && item.is_object() {
                true => unmet.with("Item", item),
                false => unmet,
            });
        }
    }

    fn written(&self, mut said: Json, told: Option<Json>) -> AttemptOutcome {
        let is_there = |told: &Json| told.as_object().is_some_and(|told| !told.is_empty());
        if let Json::Object(said) = &mut said {
            match told.filter(is_there) {
                Some(told) => said.insert("Attributes".into(), told),
                None => said.remove("Attributes"),
            };
        }
        super::answered(&said)
    }
}
