//! What `migrate check` says of when rows end: what can be known of it, and what the plan makes of the rest.

use crossfade::migration::Survey;
use crossfade::schema::Role;
use crossfade::transform::{ExpiryRule, KeyOnly, Transform};

use crate::format;

/// The table's own TTL, and where the plan keeps it.
pub fn of_table(survey: &Survey, expiry: Option<&ExpiryRule>) {
    let ttl = survey.old.default_ttl;
    if ttl == 0 {
        return;
    }
    let kept = match expiry {
        Some(rule) => format!("the plan keeps when they end in `{}`", rule.attribute),
        None => "give the table an `expiry` in the plan".to_owned(),
    };
    format::print(&format!(
        "  note: default-ttl: rows live {} by default; {kept}",
        format::time(f64::from(ttl))
    ));
}

/// Rows of nothing but their key: all of a table without other columns, or those of the sample.
pub fn of_sample(survey: &Survey, key_only: u64, rows: u64) {
    let transform = &survey.transform;
    let columns = transform.source().cells();
    let which = match (
        columns.iter().all(|column| column.role == Role::Static),
        key_only,
    ) {
        (true, _) => "the table's rows have".to_owned(),
        (false, 0) => return,
        (false, count) => format!(
            "{} of {} sampled rows have",
            format::count(count),
            format::count(rows)
        ),
    };
    format::print(&format!(
        "  note: key-only: {which} nothing but their key, and Cassandra doesn't tell the TTL of that; {}",
        what_becomes(transform)
    ));
}

fn what_becomes(transform: &Transform) -> &'static str {
    if !transform.rows_may_end() {
        return "nothing says that rows of this table end, so they are copied as ones that stay; if the \
                application writes them with a TTL, give the table an `expiry` and a `key_only` in the plan";
    }
    match transform.key_only() {
        KeyOnly::Reject => {
            "they become dead letters, unless `key_only` in the plan says what becomes of them"
        }
        KeyOnly::Cells => {
            "they become dead letters: with `key_only = \"cells\"` a row ends with its cells, and these have none"
        }
        KeyOnly::DefaultTtl => {
            "by `key_only = \"default_ttl\"` they end as late as rows that are written at the freeze"
        }
        KeyOnly::Keep => "by `key_only = \"keep\"` they stay",
    }
}
