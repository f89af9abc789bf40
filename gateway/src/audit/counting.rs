//! Counts what the logs of all gateways say was used. Each gateway counts its own log soon and looks now and then whether
//! somebody else's is left: a gateway that ended leaves nothing uncounted.

use std::time::Duration;

use store::{Archive, ArchiveError, AuditLog, Counted, LogId, Store};

use crate::error::with_causes;

/// How soon what was used is counted.
const EVERY: Duration = Duration::from_secs(2);
/// Every so many looks it is looked at the logs of other gateways too.
const OTHERS_EVERY: u32 = 30;

pub(super) struct Counting {
    pub(super) store: Store,
    pub(super) log: AuditLog,
    /// Where entries may have gone before they were counted.
    pub(super) archive: Option<Archive>,
}

impl Counting {
    /// Works until it is aborted: what is counted moves in one transaction with how far.
    pub(super) async fn run(self) {
        for look in 0_u32.. {
            if let Err(error) = self.look(look % OTHERS_EVERY == 0).await {
                tracing::error!(error = with_causes(&error), "what was used is not counted for now");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look(&self, others: bool) -> Result<(), ArchiveError> {
        let own = self.log.record().id;
        self.count(own).await?;
        if others {
            for log in self.store.audit_logs().await?.into_iter().filter(|log| log.id != own) {
                // One that cannot be read keeps no other from being counted.
                if let Err(error) = self.count(log.id).await {
                    tracing::error!(log = %log.id, error = with_causes(&error), "what was used is not counted for now");
                }
            }
        }
        Ok(())
    }

    async fn count(&self, log: LogId) -> Result<(), ArchiveError> {
        loop {
            match self.store.count_usage(log, self.archive.as_ref()).await? {
                Counted::Entries(_) => {}
                Counted::Nothing | Counted::Forestalled => return Ok(()),
                Counted::Waiting => {
                    tracing::warn!(%log, "what was used is not counted: its entries are in an archive that is not here");
                    return Ok(());
                }
            }
        }
    }
}
