//! Tables in `done` among those of a batch: what is for them is sent on with what is for others.

use serde_json::{Map, Value as Json};

use super::Showing;
use super::read::{part, whole};
use crate::express::Projection;
use crate::express::judge::refuse_reserved;
use crate::serve::asked::Asked;
use crate::serve::fault::Fault;
use crate::serve::target::Target;

/// A table of a BatchGetItem.
pub(in crate::serve) struct ReadWhole {
    target: Target,
    projection: Option<Projection>,
    /// Its request without the keys, for those that are left.
    rest: Map<String, Json>,
}

impl ReadWhole {
    /// What it says, and what is to be sent for it.
    ///
    /// # Errors
    /// What of it is wrong.
    pub fn of(target: Target, asked_as: &str, request: Json) -> Result<(Self, Json), Fault> {
        let place = format_args!("RequestItems.{asked_as}");
        let asked: Result<Asked, Fault> = super::super::json::read_value(&request, place);
        let (mut asked, Json::Object(mut body)) = (asked?, request) else {
            return Err(super::super::asked::missing("keys"));
        };
        asked.keys.take();
        let (partition, sort) = target.key_names();
        let projection = asked.expressed(partition, sort)?.projection;
        target.refuse_reserved(projection.iter().flat_map(|projection| &projection.paths))?;
        let mut rest = body.clone();
        rest.remove("Keys");
        whole(&mut body);
        let own = ReadWhole {
            target,
            projection,
            rest,
        };
        Ok((own, Json::Object(body)))
    }

    /// What is shown of the items that came.
    ///
    /// # Errors
    /// An item that can't be read.
    pub fn shown(&self, items: Json) -> Result<Json, Fault> {
        let items = match items {
            Json::Array(items) => items,
            _ => Vec::new(),
        };
        let shown = Showing::of(self.target.mapping());
        let items = items
            .into_iter()
            .filter_map(|item| part(&shown, item, self.projection.as_ref()).transpose());
        items.collect::<Result<_, _>>().map(Json::Array)
    }

    /// The request for the keys that are left.
    pub fn left(&self, mut left: Json) -> Json {
        let mut rest = self.rest.clone();
        rest.insert("Keys".into(), left["Keys"].take());
        Json::Object(rest)
    }
}

/// Refuses a write of a batch that names what the migration keeps for itself.
///
/// # Errors
/// It does.
pub(in crate::serve) fn refuse_marks(target: &Target, write: &Json) -> Result<(), Fault> {
    let item = write["PutRequest"]["Item"].as_object();
    for name in item.into_iter().flat_map(Map::keys) {
        refuse_reserved(target.mapping(), name)?;
    }
    Ok(())
}
