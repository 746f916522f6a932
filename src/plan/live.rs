//! `[lease]` and `[shim]`: what a plan says of applications that go on while their tables move.

use super::reader::Section;
use super::{Lease, Resave, Shim};
use crate::store::Reading;

/// Seconds that a lease, or an operation, may take.
const SECONDS: std::ops::RangeInclusive<u32> = 1..=3600;

/// Reads `[lease]`; what isn't there has its default.
pub(super) fn lease(top: &mut Section<'_>) -> Lease {
    let default = Lease::default();
    let Some(mut lease) = top.section("lease") else {
        return default;
    };
    let lasts = lease.seconds("seconds", SECONDS);
    let operation = lease.seconds("operation_seconds", SECONDS);
    lease.finish();
    Lease {
        lasts: lasts.unwrap_or(default.lasts),
        operation: operation.unwrap_or(default.operation),
    }
}

/// Reads `[shim]`; what isn't there has its default.
///
/// A deadline that is left out is never above the longest operation, and one that is written is refused
/// if it is: the barrier takes an operation that is older than that for over.
pub(super) fn shim(top: &mut Section<'_>, lease: &Lease) -> Shim {
    let default = Shim {
        deadline: Shim::default().deadline.min(lease.operation),
        ..Shim::default()
    };
    let Some(mut shim) = top.section("shim") else {
        return default;
    };
    let readings = [("strong", Reading::Strong), ("eventual", Reading::Eventual)];
    let reads = shim.choice("reads", &readings);
    let resaves = [
        ("background", Resave::Background),
        ("inline", Resave::Inline),
    ];
    let resave = shim.choice("resave", &resaves);
    let deadline = shim.seconds("deadline_seconds", SECONDS);
    if let Some(deadline) = deadline.filter(|deadline| *deadline > lease.operation) {
        shim.source.wrong(
            shim.line_of("deadline_seconds"),
            format!(
                "`deadline_seconds` is {}, above the {} seconds of the longest operation",
                deadline.as_secs(),
                lease.operation.as_secs()
            ),
            "write less, or more in [lease] operation_seconds",
        );
    }
    shim.finish();
    Shim {
        reads: reads.unwrap_or(default.reads),
        resave: resave.unwrap_or(default.resave),
        deadline: deadline.unwrap_or(default.deadline),
    }
}
