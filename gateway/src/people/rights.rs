//! When who used which right last: noted once a day for each, so that it costs a look into a table in memory otherwise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};

use store::Store;
use time::OffsetDateTime;

use crate::auth::Scope;

const DAY: i64 = 86_400;

/// For each holder the day on which it used each scope last, as far as this gateway has noted it. Holders have proved
/// themselves, so that there are no more than the registers have.
pub(crate) struct RightsUsed {
    store: Store,
    days: RwLock<HashMap<String, [AtomicI64; Scope::ALL.len()]>>,
}

impl RightsUsed {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, days: RwLock::default() }
    }

    /// Notes a use. It is written in the background: what is lost is a day in a review.
    pub(crate) fn note(&self, holder: &str, scope: Scope) {
        let at = OffsetDateTime::now_utc();
        if !self.is_first(holder, scope, at.unix_timestamp() / DAY) {
            return;
        }
        let (store, holder) = (self.store.clone(), holder.to_owned());
        tokio::spawn(async move {
            if let Err(error) = store.note_right(&holder, scope.name(), at).await {
                tracing::warn!(%error, "the use of a right was not noted");
            }
        });
    }

    /// Whether nobody has noted it for this day.
    fn is_first(&self, holder: &str, scope: Scope, day: i64) -> bool {
        let place = Scope::ALL.iter().position(|known| *known == scope).unwrap_or_default();
        if let Some(days) = self.days.read().unwrap_or_else(PoisonError::into_inner).get(holder) {
            return days[place].fetch_max(day, Ordering::Relaxed) < day;
        }
        let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
        let days = days.entry(holder.to_owned()).or_default();
        days[place].fetch_max(day, Ordering::Relaxed) < day
    }
}
