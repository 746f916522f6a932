//! Work under a lease: how every command that writes to the new store takes part, and takes its leave.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Migration;
use crate::clock::Clock;
use crate::control::{Accept, Lease, Member, MemberRole, ParticipantKind, Record};
use crate::copier::stopped;
use crate::error::{Error, Kind, Result};
use crate::layer::retry::Patience;

/// A tool's longest operation is one call of the new store. DynamoDB's are given up after this.
pub(super) const OPERATION: Duration = Duration::from_secs(10);
/// How long a command that is over tries to take its leave.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// Does the work while the lease is kept, and leaves, however it ends.
///
/// # Errors
/// The work's; and why the lease couldn't be kept, by which the work is dropped.
pub(super) async fn under_lease<T>(
    member: &Arc<Member>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let worked = tokio::select! {
        worked = work => worked,
        error = member.keep() => Err(error),
    };
    // One that can't say goodbye is taken for dead after its lease.
    let _ = tokio::time::timeout(GOODBYE_WITHIN, member.leave()).await;
    worked
}

/// Does work that may be dropped at any moment, until it is told to stop.
///
/// # Errors
/// The work's; [`Kind::Stopped`].
pub(super) async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        worked = work => worked,
        () = stop.cancelled() => Err(stopped()),
    }
}

impl Migration {
    /// What a tool registers as.
    pub(super) fn role(
        &self,
        id: &str,
        kind: ParticipantKind,
        name: &str,
        lease: Duration,
    ) -> MemberRole {
        MemberRole {
            id: id.to_owned(),
            kind,
            name: name.to_owned(),
            lease: Lease {
                lasts: lease,
                operation: self.operation,
                landing: self.landing,
            },
            clock: Clock::Machine,
        }
    }

    /// Registers a tool, which works only while the record stays this one.
    pub(super) async fn join(
        &self,
        id: &str,
        kind: ParticipantKind,
        name: &str,
        lease: Duration,
        record: &Record,
    ) -> Result<Arc<Member>> {
        let role = self.role(id, kind, name, lease);
        let (begun, target) = (record.clone(), self.spec.to.clone());
        let accept: Accept = Box::new(move |now: &Record| {
            let same = now.phase == begun.phase
                && now.freeze == begun.freeze
                && now.incarnation == begun.incarnation
                && now.mapping == begun.mapping
                && !now.emptying;
            if same {
                return Ok(());
            }
            let freeze = |record: &Record| format!("{}, freeze {}", record.phase, record.freeze);
            Err(Error::new(
                Kind::Mismatch,
                "the control record was changed while this command ran",
            )
            .with_context("target", target.as_str())
            .with_context("now in", freeze(now))
            .with_context("this command began in", freeze(&begun))
            .with_help(
                "its phase was moved, or a reset or another plan is at work; see `migrate status`, \
                 then start again",
            ))
        });
        let (leases, target) = (self.leases.clone(), &self.spec.to);
        Member::join_patiently(leases, target, role, accept, Patience::LOOK).await
    }
}
