//! What is done in the transaction that writes the entries about it. What one caller brings cannot end the batch of the others:
//! each act is taken back by itself.

use tokio::sync::oneshot;

use super::keeping::Sealed;
use super::tree::Hash;
use super::{LogId, stored};
use crate::database::{AdvisoryLock, Transaction, query};
use crate::incidents::IncidentChange;
use crate::mandates::MandateWork;
use crate::oidc::LoginChange;
use crate::policies::PolicyChange;
use crate::protection::Protection;
use crate::retentions::NewRetention;
use crate::scan_sessions::ScanChange;
use crate::seals::{SealChange, Written};
use crate::stamp_jobs::StampedDocument;
use crate::stamps::{self, Stamp};
use crate::templates::TemplateChange;
use crate::{StoreError, UnusedAccount};

/// An entry that waits to be written.
pub(super) struct Waiting {
    pub(super) entry: Vec<u8>,
    pub(super) leaf_hash: Hash,
    pub(super) keeping: Option<Sealed>,
    pub(super) act: Option<Act>,
    /// No index where what was to be done with the entry was forestalled: then there is no entry either.
    pub(super) answer: oneshot::Sender<Option<u64>>,
}

/// What is done in the transaction that writes the entry about it, or not at all.
pub(super) enum Act {
    Stamp(Box<Stamp>),
    JobStamp(Box<(Stamp, StampedDocument)>),
    Seal(Box<SealChange>),
    TurnOff(Box<UnusedAccount>),
    Mandate(Box<MandateWork>),
    Scan(Box<ScanChange>),
    Login(Box<LoginChange>),
    Template(Box<TemplateChange>),
    Policy(Box<PolicyChange>),
    Retention(Box<NewRetention>),
    Incident(Box<IncidentChange>),
}

impl Act {
    /// Whether rows are read before they are written, or several in one transaction, by whichever gateway: one at a time.
    fn reads_first(&self) -> bool {
        match self {
            Self::TurnOff(_)
            | Self::Mandate(_)
            | Self::Scan(_)
            | Self::Login(_)
            | Self::Template(_)
            | Self::Policy(_)
            | Self::Retention(_)
            | Self::Incident(_) => true,
            Self::Stamp(_) | Self::JobStamp(_) | Self::Seal(_) => false,
        }
    }
}

/// What came of what goes with an entry.
enum Outcome {
    Done,
    /// Others came first.
    Forestalled,
    /// The request does not hold its idempotency key any more.
    KeyLost,
}

/// Does what goes with the entries of a batch, whose first entry gets the index `first`. Entries about what was not done are taken
/// out of the batch: nothing of that is in the database.
///
/// # Errors
/// The transaction cannot go on.
pub(super) async fn carry_out(
    transaction: &mut Transaction<'_>,
    protection: &Protection,
    (log, first): (LogId, u64),
    batch: &mut Vec<Waiting>,
) -> Result<(), StoreError> {
    if batch.iter().any(|waiting| waiting.act.as_ref().is_some_and(Act::reads_first)) {
        transaction.lock(AdvisoryLock::Write).await?;
    }
    for waiting in std::mem::take(batch) {
        let place = (log, first + batch.len() as u64);
        let outcome = match &waiting.act {
            None => keep(transaction, place.1, &waiting).await?,
            Some(act) => match alone(transaction, protection, place, act, &waiting).await? {
                Ok(outcome) => outcome,
                Err(error) => {
                    let error = crate::error::with_causes(&error);
                    tracing::error!(error, "what goes with an audit entry cannot be done; neither is");
                    continue; // who waits learns it by the dropped channel
                }
            },
        };
        match outcome {
            Outcome::Done => batch.push(waiting),
            Outcome::Forestalled => {
                let _ = waiting.answer.send(None); // a waiter that has gone away has nothing to do either
            }
            Outcome::KeyLost => tracing::warn!(
                "what a request did is not recorded: it does not hold its idempotency key any more"
            ),
        }
    }
    Ok(())
}

/// Does an act whole or not at all, and leaves the transaction usable. The inner error is the act's.
async fn alone(
    transaction: &mut Transaction<'_>,
    protection: &Protection,
    place: (LogId, u64),
    act: &Act,
    waiting: &Waiting,
) -> Result<Result<Outcome, StoreError>, StoreError> {
    query("SAVEPOINT act").execute(&mut **transaction).await?;
    let done = perform(transaction, protection, place, act, waiting).await;
    if !matches!(done, Ok(Outcome::Done)) {
        query("ROLLBACK TO SAVEPOINT act").execute(&mut **transaction).await?;
    }
    query("RELEASE SAVEPOINT act").execute(&mut **transaction).await?;
    Ok(done)
}

async fn perform(
    transaction: &mut Transaction<'_>,
    protection: &Protection,
    (log, index): (LogId, u64),
    act: &Act,
    waiting: &Waiting,
) -> Result<Outcome, StoreError> {
    let done = match act {
        Act::Seal(change) => {
            let written = change.write(&mut *transaction).await?;
            if written == Written::Done {
                change.note(&mut *transaction, log, stored(index)).await?;
            }
            written == Written::Done
        }
        Act::TurnOff(unused) => unused.turn_off(&mut *transaction, protection).await?,
        Act::Mandate(work) => {
            let written = work.write(&mut *transaction).await?;
            if written {
                work.note(&mut *transaction, log, stored(index)).await?;
            }
            written
        }
        Act::Scan(change) => change.write(&mut *transaction, protection).await?,
        Act::Login(change) => change.write(&mut *transaction).await?,
        Act::Template(change) => change.write(&mut *transaction, protection).await?,
        Act::Policy(change) => change.write(&mut *transaction, protection).await?,
        Act::Incident(change) => change.write(&mut *transaction).await?,
        Act::Retention(new) => new.write(&mut *transaction, (log, stored(index)), &waiting.entry).await?,
        Act::Stamp(stamp) => {
            stamps::insert(&mut *transaction, (log, stored(index)), &waiting.entry, stamp).await?
        }
        Act::JobStamp(done) => {
            let (stamp, document) = &**done;
            document.write(&mut *transaction, &stamp.id).await?
                && stamps::insert(&mut *transaction, (log, stored(index)), &waiting.entry, stamp).await?
        }
    };
    if done { keep(transaction, index, waiting).await } else { Ok(Outcome::Forestalled) }
}

/// Keeps the answer that goes with an entry.
async fn keep(
    transaction: &mut Transaction<'_>,
    index: u64,
    waiting: &Waiting,
) -> Result<Outcome, StoreError> {
    if let Some(keeping) = &waiting.keeping
        && !keeping.keep(transaction, index).await?
    {
        return Ok(Outcome::KeyLost);
    }
    Ok(Outcome::Done)
}
