//! What is recorded together: refusals, one entry a second for each caller and reason; verifications, one entry a second
//! for each app. Nothing waits for these entries, and they are bounded whatever is sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use config::OwnName;
use formats::Verdict;
use store::{AuditEntry, AuditLog, StoreError};
use time::OffsetDateTime;
use tokio::sync::watch;

/// How long is counted into one entry.
const SPAN: Duration = Duration::from_secs(1);
/// Most entries of refusals a span for whoever proved nothing, and as many again for the others; the rest share one.
const MOST_REFUSALS: usize = 256;
/// Most entries that wait for a log that cannot be written.
const MOST_UNWRITTEN: usize = 4096;
/// Most routes that an entry names.
const MOST_ROUTES: usize = 4;

/// Who a request turned out to come from; filled by authentication, read by the edge.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallerSlot(Arc<OnceLock<String>>);

impl CallerSlot {
    /// Who it is, and whether that was proved; nobody as long as nothing is known.
    pub(crate) fn actor(&self) -> Option<(&str, bool)> {
        self.0.get().map(|actor| (actor.as_str(), !actor.starts_with("unproved:")))
    }

    /// Says who it is; the first word counts.
    pub(crate) fn fill(&self, actor: String) {
        let _ = self.0.set(actor); // it is filled already
    }
}

/// A request that was refused.
pub(crate) struct Refusal<'a> {
    /// Who asked, as far as it is known.
    pub(crate) caller: &'a CallerSlot,
    /// Where from; nothing for the admin socket.
    pub(crate) address: Option<IpAddr>,
    /// The problem's code.
    pub(crate) code: &'static str,
    pub(crate) method: &'static str,
    /// The route's pattern.
    pub(crate) route: &'a str,
    pub(crate) request_id: &'a str,
}

#[derive(Default)]
struct Refused {
    count: u64,
    routes: BTreeMap<String, u64>,
    request_id: String,
}

#[derive(Default)]
struct Counted {
    /// By actor and code.
    refused: BTreeMap<(String, &'static str), Refused>,
    /// By app: of each kind and verdict how many.
    verified: BTreeMap<String, BTreeMap<(&'static str, &'static str), u64>>,
}

/// Counts until the next entry is written.
#[derive(Default)]
pub(crate) struct Tally {
    counted: Mutex<Counted>,
    /// Entries that could not be written yet.
    unwritten: Mutex<Vec<AuditEntry>>,
}

impl Tally {
    /// Counts a refusal. The one place where refusals come from is `edge::watch`.
    pub(crate) fn refused(&self, refusal: &Refusal<'_>) {
        let actor = match (refusal.caller.0.get(), refusal.address) {
            (Some(actor), _) => actor.clone(),
            (None, Some(address)) => format!("anonymous:{address}"),
            (None, None) => OwnName::Anonymous.as_str().to_owned(),
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (actor, refusal.code);
        // Strangers, who can have as many names as they like, do not crowd out who proved to be somebody.
        let proved = refusal.caller.actor().is_some_and(|(_, proved)| proved);
        let most = if proved { 2 * MOST_REFUSALS } else { MOST_REFUSALS };
        let known = counted.refused.contains_key(&key) || counted.refused.len() < most;
        let key = if known { key } else { ("(several)".to_owned(), "(several)") };
        let refused = counted.refused.entry(key).or_default();
        refused.count += 1;
        if refused.request_id.is_empty() {
            refusal.request_id.clone_into(&mut refused.request_id);
        }
        let route = format!("{} {}", refusal.method, refusal.route);
        if refused.routes.contains_key(&route) || refused.routes.len() < MOST_ROUTES {
            *refused.routes.entry(route).or_default() += 1;
        }
    }

    /// Counts judgements for an app.
    pub(crate) fn verified(&self, app: &str, what: &'static str, verdict: Verdict) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if !counted.verified.contains_key(app) {
            counted.verified.insert(app.to_owned(), BTreeMap::new());
        }
        if let Some(verdicts) = counted.verified.get_mut(app) {
            *verdicts.entry((what, verdict.name())).or_default() += 1;
        }
    }

    /// Writes what was counted every second until the gateway stops, and what is left then.
    pub(crate) async fn keep(self: Arc<Self>, log: AuditLog, mut stopping: watch::Receiver<bool>) {
        loop {
            let last = tokio::time::timeout(SPAN, stopping.wait_for(|stopping| *stopping)).await.is_ok();
            self.write(&log).await;
            if last {
                return;
            }
        }
    }

    async fn write(&self, log: &AuditLog) {
        let counted = std::mem::take(&mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner));
        let mut entries = std::mem::take(&mut *self.unwritten());
        entries.extend(counted.entries(OffsetDateTime::now_utc()));
        let appends = entries.into_iter().map(|entry| {
            let log = log.clone();
            tokio::spawn(async move { log.append(entry.clone()).await.map_err(|error| (entry, error)) })
        });
        // Together: they share one durable write.
        for append in appends.collect::<Vec<_>>() {
            let Ok(Err((entry, error))) = append.await else { continue };
            self.put_back(entry, &error);
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, Vec<AuditEntry>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an entry for the next time. One whose write came to nothing in time may stand in the log all the same: then
    /// it stands there twice, with one request id, which is better than not at all.
    fn put_back(&self, entry: AuditEntry, error: &StoreError) {
        let mut unwritten = self.unwritten();
        if unwritten.len() < MOST_UNWRITTEN {
            unwritten.push(entry);
            tracing::warn!(%error, "refusals or verifications of a second are not on record yet");
        } else {
            tracing::error!(%error, action = entry.action, actor = entry.actor, "not on record");
        }
    }
}

impl Counted {
    fn entries(self, at: OffsetDateTime) -> Vec<AuditEntry> {
        let entry =
            |action: &str, actor: String, outcome: &str, request_id: String, subject: String| AuditEntry {
                action: action.to_owned(),
                actor,
                at,
                device: None,
                input_digest: None,
                key: None,
                outcome: outcome.to_owned(),
                request_id,
                result_digest: None,
                subject: Some(subject),
            };
        let mut entries = Vec::new();
        for ((actor, code), refused) in self.refused {
            let mut subject = format!("{} refused", refused.count);
            for (route, count) in &refused.routes {
                let _ = write!(subject, "; {route}: {count}"); // a String takes it
            }
            entries.push(entry("request.refused", actor, code, refused.request_id, subject));
        }
        for (app, verdicts) in self.verified {
            let said: Vec<_> = verdicts
                .iter()
                .map(|((what, verdict), count)| format!("{what} {verdict}: {count}"))
                .collect();
            let request_id = format!("{:032x}", fastrand::u128(..));
            entries.push(entry("usage.verifications", app, "ok", request_id, said.join("; ")));
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(tally: &Tally, slot: &CallerSlot, address: &str, code: &'static str, route: &str) {
        tally.refused(&Refusal {
            caller: slot,
            address: address.parse().ok(),
            code,
            method: "POST",
            route,
            request_id: "r-1",
        });
    }

    fn entries(tally: &Tally) -> Vec<(String, String, String)> {
        let counted = std::mem::take(&mut *tally.counted.lock().unwrap());
        let entries = counted.entries(OffsetDateTime::UNIX_EPOCH).into_iter();
        entries.map(|entry| (entry.actor, entry.outcome, entry.subject.unwrap())).collect()
    }

    #[test]
    fn refusals_of_a_caller_for_a_reason_make_one_entry_and_strangers_are_named_by_their_address() {
        let (tally, known) = (Tally::default(), CallerSlot::default());
        known.fill("portal".to_owned());
        for _ in 0..1000 {
            refuse(&tally, &known, "10.0.0.1", "key_not_permitted", "/v1/signatures");
        }
        refuse(&tally, &known, "10.0.0.1", "key_not_permitted", "/v1/keys/{id}");
        refuse(&tally, &CallerSlot::default(), "10.0.0.9", "api_key_invalid", "/v1/keys");
        let said =
            |actor: &str, code: &str, subject: &str| (actor.to_owned(), code.to_owned(), subject.to_owned());
        assert_eq!(
            entries(&tally),
            [
                said("anonymous:10.0.0.9", "api_key_invalid", "1 refused; POST /v1/keys: 1"),
                said(
                    "portal",
                    "key_not_permitted",
                    "1001 refused; POST /v1/keys/{id}: 1; POST /v1/signatures: 1000"
                ),
            ]
        );
        assert!(entries(&tally).is_empty(), "what was written is not written again");
    }

    #[test]
    fn however_many_strangers_are_refused_a_second_has_a_bounded_number_of_entries() {
        let tally = Tally::default();
        for n in 0..100_000_u32 {
            let address = std::net::Ipv4Addr::from(n).to_string();
            refuse(&tally, &CallerSlot::default(), &address, "api_key_invalid", &format!("/{}", n % 10));
        }
        let entries = entries(&tally);
        assert_eq!(entries.len(), MOST_REFUSALS + 1);
        let rest = entries.iter().find(|(actor, ..)| actor == "(several)").unwrap();
        assert!(rest.2.starts_with(&format!("{} refused", 100_000 - MOST_REFUSALS)), "{rest:?}");
        assert!(rest.2.matches(';').count() <= MOST_ROUTES);
    }

    #[test]
    fn strangers_do_not_crowd_out_who_proved_to_be_an_app() {
        let tally = Tally::default();
        for n in 0..MOST_REFUSALS as u32 {
            let address = std::net::Ipv4Addr::from(n).to_string();
            refuse(&tally, &CallerSlot::default(), &address, "api_key_invalid", "/");
        }
        let (app, claimed) = (CallerSlot::default(), CallerSlot::default());
        app.fill("portal".to_owned());
        claimed.fill("unproved:portal:192.0.2.1".to_owned());
        refuse(&tally, &claimed, "192.0.2.1", "client_signature_invalid", "/");
        refuse(&tally, &app, "192.0.2.1", "key_not_permitted", "/");
        let entries = entries(&tally);
        assert!(entries.iter().any(|(actor, code, _)| actor == "portal" && code == "key_not_permitted"));
        assert!(!entries.iter().any(|(actor, ..)| actor == "unproved:portal:192.0.2.1"));
    }

    #[test]
    fn verifications_of_an_app_make_one_entry_by_kind_and_verdict() {
        let tally = Tally::default();
        for n in 0..10 {
            tally.verified("portal", "signature", if n < 7 { Verdict::Valid } else { Verdict::Invalid });
        }
        tally.verified("portal", "license", Verdict::Valid);
        let expected = "license valid: 1; signature invalid: 3; signature valid: 7".to_owned();
        assert_eq!(entries(&tally), [("portal".to_owned(), "ok".to_owned(), expected)]);
    }
}
