//! What callers do that is unusual, told to people: in the log, as a figure and in the audit log. Nobody is refused for it.
//!
//! Requests are put into queues that never make them wait; one task goes through them by the rules. What it learns of a
//! caller's habits is kept in the database every few minutes, so that a restart forgets nothing and the gateways on one
//! database know the same.

mod rules;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use config::{AlarmRule, Alarms, AppId};
use rules::{Alarm, Habits, MOST_CALLERS, Network, Seen, Watcher};
use serde_json::json;
use store::{AuditEntry, AuditLog, Notice, Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::error::with_causes;
use crate::metrics::Metrics;
use crate::tally::CallerSlot;

/// The call that reads a license's face.
pub(crate) const FACE: &str = "/v1/licenses/{uscc}/face";
/// The call that reads a page of them.
pub(crate) const SEARCH: &str = "/v1/licenses";
/// The call that reads a license's file, which shows a face.
pub(crate) const FILE: &str = "/v1/licenses/{uscc}/files/{kind}";
/// The same in the national front's protocol.
pub(crate) const COMPAT_FILE: &str = crate::compat::FILE;
/// Requests that wait to be looked at in each queue; more are counted and not looked at.
const WAITING: usize = 8192;
/// How often habits are kept.
const KEEP_EVERY: Duration = Duration::from_secs(300);
/// Callers whose habits are kept in one transaction.
const PART: usize = 500;
/// Habits of callers who did not come for so long are forgotten.
const FORGOTTEN: time::Duration = time::Duration::days(400);

/// Alarms that wait to be put on record.
const WAITING_ALARMS: usize = 1024;

/// Where requests are seen. Who proved to be somebody and who did not have queues of their own: strangers, however many,
/// hide nobody.
#[derive(Clone)]
pub(crate) struct Behaviour {
    callers: mpsc::Sender<(Alarms, Seen)>,
    strangers: mpsc::Sender<(Alarms, Seen)>,
    metrics: Arc<Metrics>,
}

/// Requests on their way to be looked at.
pub(crate) struct Waiting {
    callers: mpsc::Receiver<(Alarms, Seen)>,
    strangers: mpsc::Receiver<(Alarms, Seen)>,
}

/// What matters of a request beside who asked and from where.
pub(crate) struct Request {
    pub(crate) credential: Option<String>,
    pub(crate) refused: bool,
    pub(crate) face: bool,
    pub(crate) missed: bool,
}

/// Both ends of the queues.
pub(crate) fn queue(metrics: Arc<Metrics>) -> (Behaviour, Waiting) {
    let ((callers, of_callers), (strangers, of_strangers)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
    let waiting = Waiting { callers: of_callers, strangers: of_strangers };
    (Behaviour { callers, strangers, metrics }, waiting)
}

impl Behaviour {
    /// Takes note of a request that was answered. Who is nobody and was not refused is of no interest.
    pub(crate) fn saw(
        &self,
        limits: &Alarms,
        caller: &CallerSlot,
        address: Option<IpAddr>,
        request: impl FnOnce() -> Request,
    ) {
        let Request { credential, refused, face, missed } = request();
        let (actor, proved) = match (caller.actor(), address) {
            (Some((actor, true)), _) => (actor.to_owned(), true),
            (_, Some(address)) if refused => (format!("anonymous:{address}"), false),
            _ => return,
        };
        let at = OffsetDateTime::now_utc().unix_timestamp();
        let network = address.map(Network::of);
        let seen = Seen { at, actor, proved, network, credential, refused, face, missed };
        let (queue, of) = if proved { (&self.callers, "callers") } else { (&self.strangers, "strangers") };
        if queue.try_send((*limits, seen)).is_err() {
            self.metrics.overlooked(of);
        }
    }
}

/// Goes through what was seen.
pub(crate) struct Watch {
    watcher: Watcher,
    store: Store,
    audit: AuditLog,
    metrics: Arc<Metrics>,
}

/// What came of keeping habits.
#[derive(Default)]
struct Stored {
    /// What other gateways had learnt.
    learnt: Vec<(String, Habits)>,
    /// Whose are not kept yet.
    unkept: Vec<String>,
}

impl Watch {
    pub(crate) fn new(store: Store, audit: AuditLog, metrics: Arc<Metrics>) -> Self {
        Self { watcher: Watcher::new(), store, audit, metrics }
    }

    /// Runs until the gateway stops, and keeps then what is left to be kept. It waits for no database: alarms and habits
    /// go there in tasks of their own, so that nothing is overlooked meanwhile.
    pub(crate) async fn keep(mut self, mut waiting: Waiting, mut stopping: watch::Receiver<bool>) {
        self.learn().await;
        let (alarms, raised) = mpsc::channel(WAITING_ALARMS);
        let raising = tokio::spawn(raise(self.store.clone(), self.audit.clone(), raised));
        let mut storing: Option<JoinHandle<Stored>> = None;
        let mut due = tokio::time::interval(KEEP_EVERY);
        due.reset();
        loop {
            let stored = async {
                match &mut storing {
                    Some(storing) => storing.await.unwrap_or_default(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((limits, seen)) = waiting.callers.recv() => self.look(&limits, &seen, &alarms),
                Some((limits, seen)) = waiting.strangers.recv() => self.look(&limits, &seen, &alarms),
                stored = stored => {
                    storing = None;
                    self.take(stored);
                }
                _ = due.tick() => if storing.is_none() {
                    let changed = self.watcher.changed(MOST_CALLERS);
                    storing = Some(tokio::spawn(store_habits(self.store.clone(), changed)));
                },
                () = ended(&mut stopping) => break,
            }
        }
        drop(alarms);
        if let Some(storing) = storing {
            let stored = storing.await.unwrap_or_default();
            self.take(stored);
        }
        let _ = store_habits(self.store.clone(), self.watcher.changed(MOST_CALLERS)).await;
        let _ = raising.await;
    }

    fn look(&mut self, limits: &Alarms, seen: &Seen, alarms: &mpsc::Sender<Alarm>) {
        for alarm in self.watcher.saw(limits, seen) {
            let Alarm { rule, actor, detail } = &alarm;
            self.metrics.alarmed(*rule);
            tracing::warn!(rule = rule.as_str(), actor, detail, "a caller does what is unusual");
            if alarms.try_send(alarm).is_err() {
                self.metrics.overlooked("alarms");
                tracing::error!("too many alarms wait for the audit log: one is not on record");
            }
        }
    }

    fn take(&mut self, stored: Stored) {
        for (actor, habits) in stored.learnt {
            self.watcher.learn(&actor, &habits);
        }
        self.watcher.put_back(stored.unkept.into_iter());
    }

    /// Takes up what earlier runs and other gateways learnt.
    async fn learn(&mut self) {
        let forgotten = self.store.forget_habits(OffsetDateTime::now_utc() - FORGOTTEN).await;
        if let Err(error) = forgotten {
            tracing::warn!(error = %with_causes(&error), "old habits of callers are not forgotten");
        }
        match self.store.habits(u32::try_from(MOST_CALLERS).unwrap_or(u32::MAX)).await {
            Ok(kept) => {
                for (actor, habits) in kept {
                    // What another release wrote is learnt anew.
                    if let Ok(habits) = serde_json::from_str::<Habits>(&habits) {
                        self.watcher.learn(&actor, &habits);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "the habits of callers have to be learnt anew");
            }
        }
    }
}

/// Keeps what was learnt of callers' habits, a part at a time.
async fn store_habits(store: Store, changed: Vec<(String, Habits)>) -> Stored {
    let text = |habits: &Habits| serde_json::to_string(habits).unwrap_or_default();
    let merged = |kept: &str, own: &str| {
        let (Ok(kept), Ok(mut own)) = (serde_json::from_str(kept), serde_json::from_str::<Habits>(own))
        else {
            return own.to_owned();
        };
        own.merge(&kept);
        text(&own)
    };
    let mut stored = Stored::default();
    for part in changed.chunks(PART) {
        let rows: Vec<_> = part.iter().map(|(actor, habits)| (actor.clone(), text(habits))).collect();
        match store.merge_habits(&rows, OffsetDateTime::now_utc(), merged).await {
            Ok(kept) => stored.learnt.extend(
                kept.into_iter()
                    .filter_map(|(actor, habits)| Some((actor, serde_json::from_str(&habits).ok()?))),
            ),
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "the habits of callers are not kept yet");
                stored.unkept.extend(rows.into_iter().map(|(actor, _)| actor));
            }
        }
    }
    stored
}

/// Tells apps and the audit log of alarms until no more come.
async fn raise(store: Store, audit: AuditLog, mut alarms: mpsc::Receiver<Alarm>) {
    while let Some(Alarm { rule, actor, detail }) = alarms.recv().await {
        let at = OffsetDateTime::now_utc();
        // Whose credentials are used so should know; a person or a stranger is no app.
        if let Ok(app) = AppId::parse(&actor)
            && let Err(error) = tell(&store, &app, rule, &detail, at).await
        {
            tracing::warn!(error = %with_causes(&error), "an app is not told of an alarm");
        }
        let entry = AuditEntry {
            action: "behaviour.alarm".to_owned(),
            actor,
            at,
            device: None,
            input_digest: None,
            key: None,
            outcome: rule.as_str().to_owned(),
            request_id: format!("{:032x}", fastrand::u128(..)),
            result_digest: None,
            subject: Some(detail),
        };
        if let Err(error) = audit.append(entry).await {
            tracing::error!(error = %with_causes(&error), "an alarm is not on record");
        }
    }
}

async fn tell(
    store: &Store,
    app: &AppId,
    rule: AlarmRule,
    detail: &str,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let data = json!({"app": app, "rule": rule.as_str(), "detail": detail});
    store.notify(&Notice::new(app, "app.alarm", data)?, at).await.map(drop)
}

async fn ended(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await; // whoever could say so is gone: that is the end, too
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::Slow;

    #[tokio::test]
    async fn strangers_however_many_hide_no_caller_and_what_is_overlooked_is_counted() {
        let metrics = Arc::new(Metrics::new(Arc::new(Slow::default())));
        let (behaviour, mut waiting) = queue(Arc::clone(&metrics));
        let text = include_str!("../../config/examples/site.toml");
        let limits = config::Config::parse(text, std::path::Path::new("/nowhere")).unwrap().alarms;
        let request = || Request { credential: None, refused: true, face: false, missed: false };
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..WAITING + 7 {
            behaviour.saw(&limits, &CallerSlot::default(), address, request);
        }
        let caller = CallerSlot::default();
        caller.fill("portal".to_owned());
        behaviour.saw(&limits, &caller, address, request);
        assert_eq!(waiting.callers.recv().await.unwrap().1.actor, "portal");
        assert_eq!(metrics.count_overlooked("strangers"), 7);
        assert_eq!(metrics.count_overlooked("callers"), 0);
    }
}
