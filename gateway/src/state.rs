use std::sync::Arc;

use config::Config;
use formats::font::Font;
use hsm_driver::Fleet;
use outbound::Figures;
use signing::{MandateKeys, SigningDesk, SystemDesk};
use store::{AuditLog, Blobs, EvidenceItems, LicenseFiles, Store};
use verify_front::{CarefulRegister, LicenseFront, TrustInForce};

use crate::admission::Admission;
use crate::audit::AuditView;
use crate::auth::Callers;
use crate::batch::Places;
use crate::behaviour::Behaviour;
use crate::ceremonies::Attempts;
use crate::idempotency::Instance;
use crate::judging::Judging;
use crate::metrics::Metrics;
use crate::reload::Reloads;
use crate::sessions::waiting::Waiting;
use crate::stamp_jobs::StampJobs;
use crate::tally::Tally;
use crate::timestamps::Timestamps;
use crate::trust::TrustKeeper;

/// What handlers share. Each takes from it only what it needs. It never changes: a reload makes the next one, and
/// a request is answered whole by the one it began with.
#[derive(Clone)]
pub(crate) struct Gateway(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) audit: AuditLog,
    /// What readers of the log see beside it.
    pub(crate) auditing: AuditView,
    /// What is recorded together, a second at a time.
    pub(crate) tally: Arc<Tally>,
    /// What callers do that is unusual.
    pub(crate) behaviour: Behaviour,
    /// Who may ask, and what they did lately.
    pub(crate) callers: Arc<Callers>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) desk: SigningDesk,
    /// Signs with the site's own keys.
    pub(crate) system: SystemDesk,
    /// The keys of standing mandates.
    pub(crate) mandates: MandateKeys,
    /// What documents are judged against.
    pub(crate) documents: Arc<TrustInForce>,
    pub(crate) licenses: LicenseFront,
    pub(crate) timestamps: Timestamps,
    /// Keeps both up to date.
    pub(crate) trust: Arc<TrustKeeper>,
    /// What reports are set in.
    pub(crate) font: Font,
    /// Where batches are judged.
    pub(crate) judging: Arc<Judging>,
    /// For batches of orders.
    pub(crate) places: Places,
    pub(crate) metrics: Arc<Metrics>,
    /// Requests being worked on.
    pub(crate) admission: Arc<Admission>,
    /// Confirmations that were tried in custodians' names.
    pub(crate) attempts: Arc<Attempts>,
    /// In whose name idempotency keys are held.
    pub(crate) instance: Instance,
    /// Documents that are stamped many at a time.
    pub(crate) stamp_jobs: Arc<StampJobs>,
    /// What stamps are verified with later.
    pub(crate) evidence: EvidenceItems,
    /// Evidence packages that are on their way to strangers.
    pub(crate) showing: Arc<Admission>,
    /// The contents of license files.
    pub(crate) license_files: LicenseFiles,
    /// The files of licenses that apps keep.
    pub(crate) retained: Blobs,
    /// Where registration statuses come from.
    pub(crate) register: Arc<CarefulRegister>,
    /// What is on its way to apps.
    pub(crate) deliveries: Arc<Figures>,
    /// Who waits for which session.
    pub(crate) waiting: Arc<Waiting>,
    /// Where a reload is asked for.
    pub(crate) reloads: Reloads,
}

impl Gateway {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for Gateway {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
