//! What the move will take, as one table.

use crossfade::forecast::{Forecast, NEW_TABLE_WRITE_UNITS, PRICES_AS_OF, PRICES_REGION};
use crossfade::plan::NewStorePlan;

use super::gather::Checked;
use crate::format;
use crate::stores::OpenStores;

pub fn show(stores: &OpenStores, all: &[Checked]) {
    let NewStorePlan::DynamoDb(dynamodb) = &stores.plan.new else {
        return;
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let header = [
        "table",
        "rows",
        "items",
        "units",
        "copy takes",
        "copy",
        "verify",
        "month",
    ];
    format::print(&format!("\n{}", format::table(&header, rows)));
    let forecasts: Vec<&Forecast> = all.iter().filter_map(|one| one.forecast.as_ref()).collect();
    if forecasts.is_empty() {
        return;
    }
    let sum = |of: fn(&Forecast) -> f64| forecasts.iter().map(|one| of(one)).sum::<f64>();
    if forecasts.len() > 1 {
        format::print(&format!(
            "all together: {} rows, {}, {}; to copy {}, to verify {}, a month {}",
            format::count(sum(|one| one.size.rows) as u64),
            format::bytes(sum(|one| one.size.bytes) as u64),
            format::time(sum(|one| one.copy_seconds)),
            money(sum(|one| one.copy)),
            money(sum(|one| one.verify)),
            money(sum(|one| one.month)),
        ));
    }
    let pace = match (stores.plan.pace.write_units, stores.plan.pace.read_rows) {
        (None, None) => format!(
            "one process, at the {} write units a second that a new table takes",
            format::count(NEW_TABLE_WRITE_UNITS as u64)
        ),
        _ => "one process, within the plan's [pace]".to_owned(),
    };
    let prices = whose_prices(stores, &dynamodb.region);
    format::print(&format!("{pace}; {prices}"));
    let fastest = forecasts.iter().map(|one| one.write_units_per_second);
    let fastest = fastest.fold(0.0, f64::max);
    if fastest > NEW_TABLE_WRITE_UNITS {
        format::print(&format!(
            "warm throughput: {} write units a second are more than the {} of a new table; set them before the copy, or \
             the first minutes are throttled",
            format::count(fastest as u64),
            format::count(NEW_TABLE_WRITE_UNITS as u64)
        ));
    }
}

/// Where the prices come from, and whether they are those of the plan's region.
pub fn whose_prices(stores: &OpenStores, region: &str) -> String {
    match &stores.plan.prices {
        Some(_) => "prices of the plan".to_owned(),
        None if region == PRICES_REGION => {
            format!("prices on demand in {PRICES_REGION} as of {PRICES_AS_OF}")
        }
        None => format!(
            "prices on demand in {PRICES_REGION} as of {PRICES_AS_OF}; those of {region} belong in [prices]"
        ),
    }
}

fn row(checked: &Checked) -> Vec<String> {
    let mut row = vec![checked.name().to_owned()];
    let Some(forecast) = &checked.forecast else {
        row.extend(["?"; 7].map(str::to_owned));
        return row;
    };
    let is_counted = checked
        .measured
        .as_ref()
        .is_some_and(|found| found.share >= 0.999);
    let about = if is_counted { "" } else { "~" };
    row.extend([
        format!(
            "{about}{}",
            format::count(forecast.size.rows.round() as u64)
        ),
        format!("{about}{}", format::bytes(forecast.size.bytes as u64)),
        format!("{about}{}", format::count(forecast.size.write_units as u64)),
        format::time(forecast.copy_seconds),
        money(forecast.copy),
        money(forecast.verify),
        money(forecast.month),
    ]);
    row
}

/// Dollars.
pub fn money(dollars: f64) -> String {
    match dollars {
        0.0 => "$0".to_owned(),
        little if little < 0.01 => "< $0.01".to_owned(),
        some => format!("${some:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn little_money_isnt_none() {
        assert_eq!(
            [0.0, 0.004, 0.01, 1234.5].map(money),
            ["$0", "< $0.01", "$0.01", "$1234.50"]
        );
    }
}
