//! What is found out about one table.

use crossfade::clock;
use crossfade::error::{Error, Kind, Result};
use crossfade::forecast::{Ceilings, Forecast, PRICES, Prices, forecast};
use crossfade::item::Mapping;
use crossfade::migration::{Measured, Migration, Portion, Survey};
use crossfade::plan::NewStorePlan;
use crossfade::store::cassandra::RepairHistory;
use crossfade::store::{Finding, Inspection};

use super::permits::{MissingPermit, Permits};
use crate::Exit;
use crate::format;
use crate::stores::OpenStores;

/// A table, as far as it could be looked at.
pub struct Checked {
    pub migration: Migration,
    pub survey: Option<Survey>,
    /// What the new store has of it; `None` while it isn't known.
    pub target: Option<Option<Inspection>>,
    /// Where the new store has attributes.
    pub mapping: Option<Mapping>,
    pub measured: Option<Measured>,
    pub forecast: Option<Forecast>,
    pub repaired: Option<RepairHistory>,
    /// Which permissions are missing.
    pub permits: Permits,
    /// Why the rest isn't known.
    pub error: Option<Error>,
}

impl Checked {
    pub fn name(&self) -> &str {
        &self.migration.spec.name
    }

    /// What both stores found.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let old = self.survey.iter().flat_map(|survey| &survey.old.findings);
        let target = self.target.iter().flatten();
        old.chain(target.flat_map(|target| &target.findings))
    }

    pub fn is_refused(&self, finding: &Finding) -> bool {
        let findings = std::slice::from_ref(finding);
        !self.migration.refusals(findings).is_empty()
    }

    pub fn exit(&self) -> Exit {
        let is_refused = self.findings().any(|finding| self.is_refused(finding));
        if self.error.is_some() || is_refused {
            return Exit::Error;
        }
        let measured = self.measured.as_ref();
        match measured.is_some_and(|measured| !measured.troubles.is_empty()) {
            true => Exit::Differences,
            false => Exit::Done,
        }
    }

    /// What prevents moving it as the plan says, a line each.
    pub fn decisions(&self) -> Vec<String> {
        let mut decisions = Vec::new();
        decisions.extend(
            self.error
                .iter()
                .map(|error| format!("refused: {}", error.cause())),
        );
        if let Some(error) = &self.error {
            // What the refusal names itself isn't told twice.
            let told = error.to_string();
            let is_told =
                |one: &MissingPermit| told.contains(&one.permission) && told.contains(&one.on);
            let missing = self.permits.missing.iter();
            let missing = missing.filter(|one| one.is_of_check() && !is_told(one));
            decisions.extend(missing.map(|one| format!("permission missing: {}", one.told())));
        }
        for finding in self.findings().filter(|finding| self.is_refused(finding)) {
            decisions.push(format!(
                "refused: {}; {}",
                finding.message,
                finding.next_step(true)
            ));
        }
        let troubles = self.measured.iter().flat_map(|found| &found.troubles);
        for (reason, trouble) in troubles {
            decisions.push(format!(
                "{} of the rows that were read make no item: {reason}",
                format::count(trouble.rows)
            ));
        }
        decisions
    }
}

/// How far the clocks of both stores are before this machine's, in seconds, where they tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    pub old: Option<f64>,
    pub new: Option<f64>,
}

pub async fn clocks(stores: &OpenStores) -> Clocks {
    let before = |theirs: Option<i64>, begun: i64, ended: i64| {
        theirs.map(|theirs| (theirs - (begun + ended) / 2) as f64 / 1e6)
    };
    let begun = clock::unix_micros();
    let old = stores.old.0.now().await.unwrap_or(None);
    let old = before(old, begun, clock::unix_micros());
    let begun = clock::unix_micros();
    let new = stores.new.now().await.unwrap_or(None);
    let new = before(new, begun, clock::unix_micros());
    Clocks { old, new }
}

/// Finds out what there is to know of a table.
///
/// # Errors
/// What isn't about this table alone.
pub async fn table(stores: &OpenStores, migration: Migration, portion: Portion) -> Result<Checked> {
    let mut checked = Checked {
        migration,
        survey: None,
        target: None,
        mapping: None,
        measured: None,
        forecast: None,
        repaired: None,
        permits: Permits::default(),
        error: None,
    };
    match checked.fill(stores, portion).await {
        Ok(()) => {}
        Err(error) if is_about_the_table(&error) => checked.error = Some(error),
        Err(error) => return Err(error),
    }
    Ok(checked)
}

fn is_about_the_table(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Missing | Kind::Mismatch | Kind::Config | Kind::Unsupported | Kind::Denied
    )
}

impl Checked {
    async fn fill(&mut self, stores: &OpenStores, portion: Portion) -> Result<()> {
        let survey = self.survey.insert(self.migration.survey().await?);
        self.repaired = stores.repaired(&self.migration.spec.name).await;
        self.target = Some(self.migration.check_target(survey).await?);
        if let NewStorePlan::DynamoDb(_) = stores.plan.new {
            self.mapping = Some(Mapping::new(survey.transform.target())?);
            let measured = self.migration.measure(survey, portion).await?;
            let size = measured.whole(survey.old.rows, survey.old.bytes);
            self.forecast = size.map(|size| forecast(size, ceilings(stores), prices(stores)));
            self.measured = Some(measured);
        }
        Ok(())
    }
}

fn ceilings(stores: &OpenStores) -> Ceilings {
    let pace = stores.plan.pace;
    Ceilings {
        write_units: pace.write_units.map(f64::from),
        read_rows: pace.read_rows.map(f64::from),
    }
}

/// Those of the plan, else those that are known here.
pub fn prices(stores: &OpenStores) -> Prices {
    stores.plan.prices.unwrap_or(PRICES)
}
