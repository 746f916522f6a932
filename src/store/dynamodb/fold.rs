//! Folding counters: what moves from the old totals, each row in one conditional `UpdateItem`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use futures::StreamExt;
use futures::stream;

use super::DynamoDb;
use super::attr::{to_sdk, to_sdk_map};
use super::outcome::{RowOutcomes, SINGLE_CALLS, pairs_text, puts, single_outcome};
use crate::item::{FoldedItem, Mapping};
use crate::model::{Fold, Mark};
use crate::store::{WriteOutcome, WriteOutcomes};

/// Counters of one call at most, so that its expressions aren't too long.
const COUNTERS: usize = 75;

impl DynamoDb {
    /// What [`crate::store::Store::fold`] does.
    pub(super) async fn fold_rows(&self, mapping: &Mapping, folds: Vec<Fold>) -> WriteOutcomes {
        let count = folds.len();
        let outcome = stream::iter(folds.into_iter().enumerate())
            .map(|(place, fold)| self.fold_one(mapping, place, fold))
            .buffer_unordered(SINGLE_CALLS)
            .fold(RowOutcomes::default(), async |all, answer| all.and(answer))
            .await;
        puts(count, outcome, &vec![0; count])
    }

    async fn fold_one(&self, mapping: &Mapping, place: usize, fold: Fold) -> RowOutcomes {
        let mut item = match mapping.fold(fold) {
            Ok(item) => item,
            Err(error) => return RowOutcomes::of(place, Err(error)),
        };
        let mut units = 0.0;
        loop {
            // Each counter has a watermark of its own, so that a row of many may be folded in parts.
            let rest = item.moves.split_off(COUNTERS.min(item.moves.len()));
            let mut outcome = self.fold_part(mapping, place, &item).await;
            units += outcome.units;
            outcome.units = units;
            let is_written = matches!(outcome.rows.as_slice(), [(_, Ok(WriteOutcome::Written))]);
            if rest.is_empty() || !is_written {
                return outcome;
            }
            item.moves = rest;
        }
    }

    async fn fold_part(&self, mapping: &Mapping, place: usize, item: &FoldedItem) -> RowOutcomes {
        let update = FoldUpdate::of(mapping, item);
        let request = self
            .client
            .update_item()
            .table_name(&mapping.table().name)
            .set_key(Some(to_sdk_map(&item.key)))
            .update_expression(update.expression)
            .condition_expression(update.condition)
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let call = self.writing("dynamodb:UpdateItem", &mapping.table().name);
        let answer = request
            .customize()
            .interceptor(self.asking())
            .send()
            .await
            .map(|answer| answer.consumed_capacity);
        single_outcome(&call, place, answer, 1.0, || pairs_text(&item.key))
    }
}

/// A fold in DynamoDB's words.
struct FoldUpdate {
    expression: String,
    condition: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl FoldUpdate {
    fn of(mapping: &Mapping, item: &FoldedItem) -> Self {
        let number = |number: i128| AttributeValue::N(number.to_string());
        let mut names = HashMap::from([("#m".to_owned(), mapping.mark().to_owned())]);
        let mark = AttributeValue::S(Mark::Copied.letter().into());
        let mut values = HashMap::from([(":m".to_owned(), mark)]);
        let mut set = vec!["#m = if_not_exists(#m, :m)".to_owned()];
        let (mut add, mut conditions) = (Vec::new(), Vec::new());
        for (at, (name, attr)) in item.own.iter().enumerate() {
            names.insert(format!("#k{at}"), name.clone());
            values.insert(format!(":k{at}"), to_sdk(attr));
            set.push(format!("#k{at} = :k{at}"));
        }
        for (at, column) in item.moves.iter().enumerate() {
            names.insert(format!("#c{at}"), column.total.clone());
            names.insert(format!("#w{at}"), column.watermark.clone());
            values.insert(format!(":by{at}"), number(column.step.by()));
            values.insert(format!(":to{at}"), number(column.step.to.into()));
            add.push(format!("#c{at} :by{at}"));
            set.push(format!("#w{at} = :to{at}"));
            match column.step.from {
                Some(from) => {
                    values.insert(format!(":from{at}"), number(from.into()));
                    conditions.push(format!("#w{at} = :from{at}"));
                }
                None => conditions.push(format!("attribute_not_exists(#w{at})")),
            }
        }
        FoldUpdate {
            expression: format!("SET {} ADD {}", set.join(", "), add.join(", ")),
            condition: conditions.join(" AND "),
            names,
            values,
        }
    }
}
