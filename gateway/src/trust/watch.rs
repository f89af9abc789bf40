//! Looking at the trust files every few seconds, beside reloads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use config::{OwnName, Trust};
use store::AuditEntry;
use time::OffsetDateTime;

use super::TrustKeeper;
use super::files::{Look, TrustFiles};
use crate::error::with_causes;
use crate::material::Unusable;

/// How often it is asked whether there is anything to look at, when the configuration says never.
const IDLE: Duration = Duration::from_secs(1);

/// Tells from looks when files are to be read: once they have changed, and stand still.
#[derive(Debug, Default)]
struct Watch {
    /// What was read last, whether it could be used or not.
    read: Option<Look>,
    last: Option<Look>,
}

impl Watch {
    /// Are the files to be read? A file that is being copied changes from one look to the next.
    fn sees(&mut self, look: Look) -> bool {
        let still = self.last.as_ref() == Some(&look);
        let changed = self.read.as_ref() != Some(&look);
        self.last = Some(look);
        still && changed
    }

    fn has_read(&mut self, look: Look) {
        self.read = Some(look);
    }
}

impl TrustKeeper {
    /// Looks until it is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let (mut watch, mut overdue) = (Watch::default(), BTreeSet::new());
        loop {
            let trust = self.shelf.trust();
            tokio::time::sleep(trust.poll.unwrap_or(IDLE)).await;
            self.tell_overdue(&mut overdue);
            if trust.poll.is_some() {
                watch = self.look(watch, trust).await;
            }
        }
    }

    async fn look(&self, mut watch: Watch, trust: Trust) -> Watch {
        let looking = tokio::task::spawn_blocking(move || {
            let look = Look::at(&trust);
            if !watch.sees(look.clone()) {
                return (watch, trust, None);
            }
            let files = TrustFiles::read(&trust);
            // Whatever was changed while it was read is read again.
            let read = (Look::at(&trust) == look).then(|| {
                watch.has_read(look);
                files
            });
            (watch, trust, read)
        });
        // The task ends early only if it panics, or with the runtime.
        let Ok((watch, trust, read)) = looking.await else { return Watch::default() };
        match read {
            None => {}
            Some(Ok(files)) => {
                if let Err(reason) = self.found(trust, files).await {
                    tracing::error!(reason, "trust files were not taken over; it is tried again");
                    self.set_refused(vec![reason]);
                    return Watch::default();
                }
            }
            Some(Err(unusable)) => self.refuse(&unusable),
        }
        watch
    }

    /// Files that can be used: they are taken over if they hold anything else than those in force.
    async fn found(&self, trust: Trust, files: TrustFiles) -> Result<(), String> {
        let changed = self.shelf.files().digests.changes_to(&files.digests);
        if changed.is_empty() {
            self.set_refused(Vec::new());
            return Ok(());
        }
        if self.shelf.trust() != trust {
            return Ok(()); // a reload came in between
        }
        let entry = AuditEntry {
            action: "trust.reload".to_owned(),
            actor: OwnName::TrustFiles.as_str().to_owned(),
            at: OffsetDateTime::now_utc(),
            device: None,
            input_digest: None,
            key: None,
            outcome: "ok".to_owned(),
            request_id: format!("{:032x}", fastrand::u128(..)),
            result_digest: None,
            subject: Some(changed.join(", ")),
        };
        let recorded = self.audit.append(entry).await;
        recorded.map_err(|error| format!("the record could not be written: {error}"))?;
        self.take(trust, files).await.map_err(|error| with_causes(&error))?;
        let generation = self.documents().current().generation();
        tracing::info!(?changed, %generation, "trust files were taken over");
        Ok(())
    }

    fn refuse(&self, unusable: &[Unusable]) {
        let reasons: Vec<String> = unusable.iter().map(ToString::to_string).collect();
        for reason in &reasons {
            tracing::error!("{reason}");
        }
        tracing::error!("trust files were not taken over; all is as it was");
        self.set_refused(reasons);
    }

    /// Says once of every list in force that its successor is overdue.
    fn tell_overdue(&self, told: &mut BTreeSet<String>) {
        let now = OffsetDateTime::now_utc();
        let mut overdue = BTreeSet::new();
        for (origin, crl) in self.shelf.newest_lists() {
            let Some(next) = crl.next_update().filter(|next| *next < now) else { continue };
            let name = format!("{} {origin:?}", crl.issuer());
            if !told.contains(&name) {
                let issuer = crl.issuer();
                tracing::error!(issuer, ?origin, next_update = %next, "a revocation list is overdue");
            }
            overdue.insert(name);
        }
        *told = overdue;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_when_they_have_changed_and_stand_still_and_once_only() {
        let looks: Vec<Look> = (0..3).map(Look::numbered).collect();
        let mut watch = Watch::default();
        let mut reads = |place: usize| {
            let read = watch.sees(looks[place].clone());
            if read {
                watch.has_read(looks[place].clone());
            }
            read
        };
        let seen = [0, 0, 0, 1, 2, 1, 1, 1, 0, 1, 0, 0];
        let expected = [false, true, false, false, false, false, true, false, false, false, false, true];
        assert_eq!(seen.map(&mut reads), expected);
    }
}
