//! What gateways on one database tell each other of the calls they let through, so that an app's rate is one rate.
//!
//! Nothing is stored and nothing waits for the disk: it is told by the server's notifications. One that is lost lets
//! that many calls through once more.

use config::AppId;
use sqlx::postgres::PgListener;

use crate::database::{Pool, query};
use crate::{Store, StoreError};

const CHANNEL: &str = "license_gateway_rates";
/// A notification holds less than 8,000 octets.
const LONGEST_TEXT: usize = 7_000;

/// Where one hears what other gateways let through.
pub struct RateUse {
    /// Absent on SQLite, whose file belongs to one gateway.
    listener: Option<PgListener>,
    /// What this gateway tells begins with it.
    own: String,
}

impl Store {
    /// Begins to hear what other gateways let through.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the server does not answer.
    pub async fn rate_use(&self) -> Result<RateUse, StoreError> {
        let own = self.replica().unwrap_or_default().to_owned();
        let Pool::Postgres(pool) = self.readers() else { return Ok(RateUse { listener: None, own }) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(RateUse { listener: Some(listener), own })
    }

    /// Tells the other gateways how many calls of which apps this one let through since it told them last.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the server does not answer.
    pub async fn tell_rate_use(&self, used: &[(AppId, u32)]) -> Result<(), StoreError> {
        if matches!(self.readers(), Pool::Sqlite(_)) {
            return Ok(());
        }
        let own = self.replica().unwrap_or_default();
        for text in texts(own, used) {
            query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(text).execute(self.writer()).await?;
        }
        Ok(())
    }
}

impl RateUse {
    /// Waits for the next that another gateway tells.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the server does not answer any more; listen anew then.
    pub async fn next(&mut self) -> Result<Vec<(AppId, u32)>, StoreError> {
        let Some(listener) = &mut self.listener else { return std::future::pending().await };
        loop {
            // None: the connection was lost and is there again; what was told meanwhile is let through once more.
            let Some(notification) = listener.try_recv().await? else { continue };
            if let Some(used) = read(&self.own, notification.payload()) {
                return Ok(used);
            }
        }
    }
}

/// `REPLICA`, then a line `APP COUNT` for each app.
fn texts(own: &str, used: &[(AppId, u32)]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for (app, count) in used {
        let line = format!("\n{app} {count}");
        match texts.last_mut() {
            Some(text) if text.len() + line.len() <= LONGEST_TEXT => text.push_str(&line),
            _ => texts.push(format!("{own}{line}")),
        }
    }
    texts
}

/// What another gateway told; none if it was this one. What cannot be read was told by a newer one.
fn read(own: &str, text: &str) -> Option<Vec<(AppId, u32)>> {
    let mut lines = text.lines();
    if lines.next()? == own {
        return None;
    }
    let used = lines.filter_map(|line| {
        let (app, count) = line.split_once(' ')?;
        Some((AppId::parse(app).ok()?, count.parse().ok()?))
    });
    Some(used.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_told_is_heard_by_others_only_in_texts_that_fit() {
        let used: Vec<_> =
            (0..500_u32).map(|n| (AppId::parse(&format!("{:a>60}{n}", "")).unwrap(), n)).collect();
        let told = texts("first", &used);
        assert!(told.len() > 1 && told.iter().all(|text| text.len() < 8_000));
        let heard: Vec<_> = told.iter().flat_map(|text| read("second", text).unwrap()).collect();
        assert_eq!(heard, used);
        assert_eq!(read("first", &told[0]), None);
        assert_eq!(read("second", "first\nan app\none\nok 3").unwrap(), [(AppId::parse("ok").unwrap(), 3)]);
        assert!(texts("first", &[]).is_empty());
    }
}
