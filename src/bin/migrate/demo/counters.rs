//! The votes: counters that are folded while people go on voting.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crossfade::error::Result;
use crossfade::migration::{Migration, read_all};
use crossfade::model::{Key, Row, Value};
use crossfade::store::{Guard, Put, Store};

use super::data::{mixed, vote_key, votes};
use super::{Line, Stores, Way, fill};
use crate::Exit;
use crate::words;

/// Counters that each of the voters' rounds adds to.
const AT_ONCE: u64 = 100;
/// Lines of the list of totals.
const SHOWN: usize = 6;
/// Passes before the voting ends. Each moves what was added since the one before.
const PASSES: usize = 2;

/// Totals of `called` and `texted`.
type Totals = [i64; 2];

/// A table of counters, and what was added to each.
pub struct Voting<'a> {
    stores: &'a Stores<'a>,
    cast: Vec<Totals>,
}

impl<'a> Voting<'a> {
    /// A table with the votes of earlier days.
    pub async fn fill(stores: &'a Stores<'a>, rows: u64) -> Result<Voting<'a>> {
        let earlier = |n| [(mixed(n) % 900) as i64, (mixed(!n) % 5_000) as i64];
        let cast: Vec<Totals> = (0..rows).map(earlier).collect();
        let rows = (0..).zip(&cast).map(|(number, totals)| row(number, totals));
        fill(&*stores.old, &votes(), rows).await?;
        Ok(Voting { stores, cast })
    }

    /// Folds while people vote, then once more when the lines are closed.
    pub async fn move_table(self) -> Result<Vec<Line>> {
        let (stores, earlier) = (self.stores, sum(&self.cast));
        let migration = stores.migration(&votes()).await?;
        let closed = CancellationToken::new();
        let voters = tokio::spawn(vote(stores.old.clone(), self.cast, closed.clone()));

        let first = stores
            .copy(
                &migration,
                Way {
                    half: true,
                    ..Way::default()
                },
            )
            .await?;
        stores.say_first("votes", &first);
        let mut folded = first.counts.folded;
        for pass in 1..=PASSES {
            let counts = stores.copy(&migration, Way::default()).await?.counts;
            folded += counts.folded;
            stores.screen.say(&format!(
                "votes: pass {pass} while people vote: {} counters had grown, {} had not",
                words::count(counts.folded),
                words::count(counts.unchanged)
            ));
        }
        closed.cancel();
        let cast = voters.await.map_err(|error| {
            let error = std::io::Error::other(error);
            crossfade::error::Error::new(crossfade::error::Kind::Unknown, "the voters failed")
                .source_of(error)
        })??;
        let way = Way {
            offline: true,
            settle: true,
            half: false,
        };
        let last = stores.copy(&migration, way).await?;
        stores.screen.say(&format!(
            "votes: the lines are closed, {} votes came in meanwhile; final pass: {} counters had grown",
            words::count(sum(&cast) - earlier),
            words::count(last.counts.folded)
        ));
        folded += last.counts.folded;
        let seen = compare(stores, &migration, &cast).await?;
        let rows = cast.len() as u64;
        let line = |what: &str, promised, seen| Line {
            what: format!("votes: {what}"),
            promised,
            seen,
        };
        let stopped = u64::from(first.exit == Exit::Stopped);
        stores.screen.say(&format!(
            "votes: {} folds over {} passes, {stopped} of them stopped half-way",
            words::count(folded),
            PASSES + 2
        ));
        Ok(vec![
            line(
                "votes cast, and counted in the new store",
                sum(&cast),
                seen.counted,
            ),
            line("counters in the new store", rows, seen.counters),
            line(
                "counters settled by the final pass",
                rows,
                last.counts.settled,
            ),
            line("counters that differ", 0, seen.different),
            line("dead letters", 0, last.failures),
        ])
    }
}

/// Adds to the old store until the lines are closed, and tells what every counter should be.
async fn vote(
    old: Arc<dyn Store>,
    mut cast: Vec<Totals>,
    closed: CancellationToken,
) -> Result<Vec<Totals>> {
    let table = votes();
    let mut turn = 0;
    while !closed.is_cancelled() {
        turn += 1;
        let mut changed = BTreeMap::new();
        for one in 0..AT_ONCE {
            let bits = mixed(turn * AT_ONCE + one);
            let number = bits % cast.len() as u64;
            let totals = &mut cast[number as usize];
            totals[(bits >> 40) as usize % 2] += 1 + (bits >> 50) as i64 % 3;
            changed.insert(number, row(number, totals));
        }
        let rows: Vec<Row> = changed.into_values().collect();
        let puts = old.put(&table, &rows, &Guard::Always).await;
        puts.rows.into_iter().collect::<Result<Vec<Put>>>()?;
    }
    Ok(cast)
}

#[derive(Default)]
struct Seen {
    counters: u64,
    counted: u64,
    different: u64,
}

/// Reads both tables whole, and shows some totals side by side.
async fn compare(stores: &Stores<'_>, migration: &Migration, cast: &[Totals]) -> Result<Seen> {
    let survey = migration.survey().await?;
    let (mut olds, mut news) = (BTreeMap::new(), BTreeMap::new());
    let name = |key: &Key| crossfade::show::key(&votes(), key);
    read_all(&*stores.old, survey.transform.source(), |row| {
        olds.insert(name(&row.key), totals(&row));
    })
    .await?;
    read_all(&*stores.new, survey.transform.target(), |row| {
        news.insert(name(&row.key), totals(&row));
    })
    .await?;
    let mut lines = Vec::new();
    let mut seen = Seen {
        counters: news.len() as u64,
        ..Seen::default()
    };
    for (number, cast) in (0..).zip(cast) {
        let name = name(&vote_key(number));
        let (old, new) = (olds.get(&name), news.get(&name));
        seen.counted += new.map_or(0, |new| sum(&[*new]));
        seen.different += u64::from(old != Some(cast) || new != Some(cast));
        if lines.len() < SHOWN {
            let shown = |totals: Option<&Totals>| match totals {
                Some([called, texted]) => format!("{called} + {texted}"),
                None => "missing".to_owned(),
            };
            lines.push(vec![name, shown(Some(cast)), shown(old), shown(new)]);
        }
    }
    let header = ["votes (called + texted)", "cast", "old store", "new store"];
    words::print(&format!("{}\n", words::table(&header, lines)));
    Ok(seen)
}

fn row(number: u64, totals: &Totals) -> Row {
    let cells = totals.map(|total| Some(Value::BigInt(total)));
    Row::new(vote_key(number), cells.into())
}

fn totals(row: &Row) -> Totals {
    let total = |at: usize| match row.cells.get(at) {
        Some(Some(Value::BigInt(total))) => *total,
        Some(Some(_) | None) | None => 0,
    };
    [total(0), total(1)]
}

fn sum(all: &[Totals]) -> u64 {
    all.iter().flatten().map(|total| total.unsigned_abs()).sum()
}
