//! TransactWriteItems and TransactGetItems in the application's own words, where every table of the plan among theirs
//! is in `done`; other tables may be among them too.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::{Map, Value as Json};

use super::read::{part, whole};
use super::write::{EXPRESSIONS, WriteParts};
use super::{Said, Showing, Way, answered, object};
use crate::express::Projection;
use crate::protocol::Phase;
use crate::serve::app::App;
use crate::serve::asked::Asked;
use crate::serve::attempts::AttemptOutcome;
use crate::serve::fault::{Fault, Twice};
use crate::serve::item::ItemWrite;
use crate::serve::target::Target;

/// What a cancelled transaction is called.
const CANCELLED: &str = "TransactionCanceledException";

/// One action.
struct Part {
    name: String,
    body: Map<String, Json>,
    /// None for another table.
    own: Option<(Target, WriteParts)>,
}

/// The actions of a transaction, and the way for them; `None` if a table isn't there yet.
async fn actions(
    app: &Arc<App>,
    body: &mut Map<String, Json>,
) -> Result<Option<(Way, Vec<(String, Map<String, Json>, Option<Target>)>)>, Fault> {
    let mut way = Way::new(app.clone());
    let mut held = BTreeMap::new();
    let mut actions = Vec::new();
    let Some(Json::Array(items)) = body.remove("TransactItems") else {
        return Ok(None);
    };
    for item in items {
        let Json::Object(item) = item else {
            return Ok(None);
        };
        // What is wrong with it is told where it is read.
        let mut item = item.into_iter().filter(|(_, action)| !action.is_null());
        let (Some((name, Json::Object(action))), None) = (item.next(), item.next()) else {
            return Ok(None);
        };
        let table = action.get("TableName").and_then(Json::as_str);
        let Some(table) = table.map(str::to_owned) else {
            return Ok(None);
        };
        let target = match held.get(&table) {
            Some(target) => Option::clone(target),
            None => {
                let target = app.target(&table).await?;
                if let Some(target) = &target
                    && !way.takes(target, Phase::Done).await?
                {
                    return Ok(None);
                }
                held.insert(table, target.clone());
                target
            }
        };
        actions.push((name, action, target));
    }
    Ok(Some((way, actions)))
}

/// What one action says.
fn asked(body: &Map<String, Json>, at: usize, name: &str) -> Result<Asked, Fault> {
    let place = format_args!("TransactItems[{at}].{name}");
    super::super::json::read_value(&Json::Object(body.clone()), place)
}

/// TransactWriteItems.
pub(in crate::serve) async fn write(
    app: &Arc<App>,
    body: &[u8],
) -> Result<Option<ItemWrite>, Fault> {
    let mut body = object(body)?;
    let Some((way, actions)) = actions(app, &mut body).await? else {
        return Ok(None);
    };
    // The guards change from second to second, and a token is that of the very same request: retries are told apart
    // by what is remembered of attempts.
    body.remove("ClientRequestToken");
    let mut twice = Twice::Same;
    let mut parts = Vec::with_capacity(actions.len());
    for (at, (name, mut body, target)) in actions.into_iter().enumerate() {
        let own = match target {
            None => {
                twice = Twice::Counts;
                None
            }
            Some(target) => {
                let asked = asked(&body, at, &name)?;
                let own = WriteParts::of(target.mapping(), &name, asked)?;
                if own.twice == Twice::Counts {
                    twice = Twice::Counts;
                }
                if own.depends() {
                    body.retain(|name, _| !EXPRESSIONS.contains(&name.as_str()));
                }
                Some((target, own))
            }
        };
        parts.push(Part { name, body, own });
    }
    let making = async move {
        loop {
            let mut body = body.clone();
            let all = parts.iter().map(Part::action).collect();
            body.insert("TransactItems".into(), Json::Array(all));
            let body = Json::Object(body);
            let refused = match way.write("TransactWriteItems", &body, twice).await? {
                Said::Done(said) => return answered(&said),
                Said::Refused(refused) => refused,
            };
            let fault = refused.fault(twice);
            let reasons = match &refused.said["CancellationReasons"] {
                Json::Array(reasons) if refused.code() == CANCELLED => reasons.clone(),
                _ => return Err(fault),
            };
            let mut settled = false;
            for (part, reason) in parts.iter().zip(&reasons) {
                let Some((target, own)) = &part.own else {
                    continue;
                };
                let item = &reason["Item"];
                if Showing::of(target.mapping()).guards_against(item) {
                    way.has_time()?;
                    way.settle(target, &own.key, item).await?;
                    settled = true;
                }
            }
            if !settled {
                let reasons = parts.iter().zip(reasons).map(Part::reason).collect();
                return Err(fault.with("CancellationReasons", Json::Array(reasons)));
            }
        }
    };
    let making = making.boxed();
    Ok(Some(ItemWrite { twice, making }))
}

impl Part {
    /// Its action as it is sent.
    fn action(&self) -> Json {
        let mut body = Json::Object(self.body.clone());
        if let Some((target, own)) = self.own.as_ref().filter(|(_, own)| own.depends()) {
            let guarded = Showing::of(target.mapping()).guarded(own.on.as_ref());
            own.put_into(&mut body, &guarded);
        }
        Json::Object([(self.name.clone(), body)].into_iter().collect())
    }

    /// Why it was cancelled, as it asked to be told.
    fn reason((part, mut reason): (&Part, Json)) -> Json {
        if let (Some((target, own)), Json::Object(said)) = (&part.own, &mut reason) {
            match said.remove("Item") {
                Some(mut item) if own.shows_unmet => {
                    Showing::of(target.mapping()).strip(&mut item);
                    said.insert("Item".into(), item);
                }
                Some(_) | None => {}
            }
        }
        reason
    }
}

/// TransactGetItems.
pub(in crate::serve) async fn get(
    app: &Arc<App>,
    body: &[u8],
) -> Result<Option<AttemptOutcome>, Fault> {
    let mut body = object(body)?;
    let Some((way, actions)) = actions(app, &mut body).await? else {
        return Ok(None);
    };
    let mut all = Vec::with_capacity(actions.len());
    let mut read: Vec<Option<(Target, Option<Projection>)>> = Vec::with_capacity(actions.len());
    for (at, (name, mut body, target)) in actions.into_iter().enumerate() {
        if let Some(target) = &target {
            let mut asked = asked(&body, at, &name)?;
            asked.take_key()?;
            let (partition, sort) = target.key_names();
            let projection = asked.expressed(partition, sort)?.projection;
            let named = projection.iter().flat_map(|projection| &projection.paths);
            target.refuse_reserved(named)?;
            whole(&mut body);
            read.push(Some((target.clone(), projection)));
        } else {
            read.push(None);
        }
        let action = [(name, Json::Object(body))].into_iter().collect();
        all.push(Json::Object(action));
    }
    body.insert("TransactItems".into(), Json::Array(all));
    let mut said = way.read("TransactGetItems", &Json::Object(body)).await?;
    if let Json::Array(responses) = &mut said["Responses"] {
        for (response, read) in responses.iter_mut().zip(&read) {
            let Some((target, projection)) = read else {
                continue;
            };
            let shown = Showing::of(target.mapping());
            let item = part(&shown, response["Item"].take(), projection.as_ref())?;
            if let Json::Object(response) = response {
                match item {
                    Some(item) => response.insert("Item".into(), item),
                    None => response.remove("Item"),
                };
            }
        }
    }
    Ok(Some(answered(&said)))
}
