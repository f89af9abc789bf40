//! Logins by OpenID Connect. A login is a session that somebody scans, the browser it was begun in, and what the app gets of it. It is
//! taken further in the transaction of the audit log's entry about it, by a statement that names the state it rests on: of all
//! who act at once, at whichever gateway, one does. Codes and tokens are kept as digests; what is asked and who it is, sealed.

mod devices;
mod pushed;

use std::collections::BTreeSet;

use config::AppId;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Cell, Protection};
use crate::scan_sessions::ScanChange;
use crate::words::words;
use crate::{Store, StoreError};

pub use devices::{DeviceLogin, NewDevice};
pub use pushed::NewPushed;

const LOGIN: &str = "login";
/// What names of enterprises are derived with.
const PAIRWISE: &str = "pairwise";

/// How people log in to an app with their license.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OidcClient {
    /// Where answers may go; compared octet by octet.
    pub redirect_uris: BTreeSet<String>,
    /// Where somebody may be sent who was logged out.
    pub post_logout_redirect_uris: BTreeSet<String>,
    /// Apps of one sector know an enterprise by one name.
    pub sector: String,
    /// What it may ask for besides `openid`.
    pub scopes: BTreeSet<String>,
    /// The code of the business item that logging in is.
    pub item: String,
    /// Its name, which the phone shows.
    pub item_name: String,
    /// Whether it proves itself by the code's verifier alone, because it can keep no key.
    pub public: bool,
    /// Whether devices without a browser log people in for it (RFC 8628).
    #[serde(default)]
    pub device_flow: bool,
    /// Whether only requests that it pushed are taken (RFC 9126).
    #[serde(default)]
    pub require_pushed_authorization_requests: bool,
}

words! {
    /// How far a login is.
    LoginState {
        /// The code is shown.
        Open = "open",
        /// The browser has an authorization code.
        Granted = "granted",
        /// The app has tokens for it.
        Redeemed = "redeemed",
        /// Nothing of it holds any more.
        Ended = "ended",
    }
}

words! {
    /// What a token is for.
    TokenKind {
        /// To ask who logged in.
        Access = "access",
        /// To get further tokens.
        Refresh = "refresh",
    }
}

/// A login.
pub struct Login {
    /// Its id.
    pub id: String,
    /// Who asked.
    pub app: AppId,
    /// In which somebody scans.
    pub session: String,
    /// SM3 of what the browser keeps.
    pub browser: [u8; 32],
    /// How far it is.
    pub state: LoginState,
    /// What was asked, JSON; none at the end.
    pub request: Option<Zeroizing<Vec<u8>>>,
    /// Who it is, JSON; none before, and at the end.
    pub result: Option<Zeroizing<Vec<u8>>>,
    /// When the code was given out; whole seconds.
    pub granted_at: Option<OffsetDateTime>,
    /// After which it is nothing any more; whole seconds.
    pub ends_at: OffsetDateTime,
}

/// A token of a login.
pub struct LoginToken {
    /// What it is for.
    pub kind: TokenKind,
    /// SHA-256 of the client certificate that it is bound to.
    pub bound: Option<[u8; 32]>,
    /// The app's credential that it was given for; none of an app that has none.
    pub credential: Option<String>,
    /// Until when it holds; whole seconds.
    pub expires_at: OffsetDateTime,
    /// Whether it was exchanged.
    pub is_used: bool,
}

/// A token to be kept.
#[derive(Clone)]
pub struct NewToken {
    /// SM3 of it.
    pub digest: [u8; 32],
    /// What it is for.
    pub kind: TokenKind,
    /// SHA-256 of the client certificate that it is bound to.
    pub bound: Option<[u8; 32]>,
    /// The app's credential that it is given for; none of an app that has none.
    pub credential: Option<String>,
    /// Until when it holds.
    pub expires_at: OffsetDateTime,
}

/// A login to be entered.
pub struct NewLogin<'l> {
    /// Its id.
    pub id: &'l str,
    /// Who asks.
    pub app: &'l AppId,
    /// In which somebody will scan.
    pub session: &'l str,
    /// SM3 of what the browser keeps.
    pub browser: [u8; 32],
    /// What is asked, JSON.
    pub request: &'l [u8],
    /// From when until when.
    pub times: (OffsetDateTime, OffsetDateTime),
    /// What a device finds it by that has no browser.
    pub device: Option<NewDevice>,
}

/// A change of a login that is ready to be made with its entry in the audit log.
pub struct LoginChange {
    id: String,
    step: LoginStep,
}

enum LoginStep {
    Begin {
        app: AppId,
        session: String,
        browser: [u8; 32],
        request: Vec<u8>,
        times: (OffsetDateTime, OffsetDateTime),
        device: Option<NewDevice>,
    },
    Grant {
        code: [u8; 32],
        result: Vec<u8>,
        at: OffsetDateTime,
        ends_at: OffsetDateTime,
    },
    Redeem {
        tokens: Vec<NewToken>,
        ends_at: OffsetDateTime,
    },
    Exchange {
        refresh: [u8; 32],
        tokens: Vec<NewToken>,
        at: OffsetDateTime,
    },
    End,
}

impl LoginChange {
    /// To the tokens that its code is exchanged for; `ends_at` is when the last of them can be of use.
    #[must_use]
    pub fn redeem(login: &Login, tokens: Vec<NewToken>, ends_at: OffsetDateTime) -> Self {
        Self { id: login.id.clone(), step: LoginStep::Redeem { tokens, ends_at } }
    }

    /// One refresh token for the next.
    #[must_use]
    pub fn exchange(login: &Login, refresh: [u8; 32], tokens: Vec<NewToken>, at: OffsetDateTime) -> Self {
        Self { id: login.id.clone(), step: LoginStep::Exchange { refresh, tokens, at } }
    }

    /// To its end: no token of it holds any more.
    #[must_use]
    pub fn end(login: &Login) -> Self {
        Self { id: login.id.clone(), step: LoginStep::End }
    }

    /// The login that it is about.
    pub(crate) fn login(&self) -> &str {
        &self.id
    }

    /// What it is when somebody else came first.
    pub(crate) fn refused(&self) -> StoreError {
        StoreError::Changed { what: LOGIN, id: self.id.clone() }
    }

    /// Makes it; false if another change came first: then nothing must be kept of it.
    pub(crate) async fn write(&self, connection: &mut Connection<'_>) -> Result<bool, StoreError> {
        let id = self.id.as_str();
        let changed = match &self.step {
            LoginStep::Begin { app, session, browser, request, times, device } => {
                query(
                    "INSERT INTO oidc_logins (id, app, session, browser, state, request, created_at, ends_at)
                     VALUES ($1, $2, $3, $4, 'open', $5, $6, $7)",
                )
                .bind(id)
                .bind(app.as_str())
                .bind(session)
                .bind(&browser[..])
                .bind(request)
                .bind(times.0.unix_timestamp())
                .bind(times.1.unix_timestamp())
                .execute(&mut *connection)
                .await
                .map_err(|error| StoreError::from_insert(LOGIN, id, error))?;
                if let Some(device) = device {
                    device.write(connection, id).await?;
                }
                return Ok(true);
            }
            LoginStep::Grant { code, result, at, ends_at } => {
                query(
                    "UPDATE oidc_logins SET state = 'granted', code_digest = $2, result = $3, granted_at = $4, ends_at = $5
                     WHERE id = $1 AND state = 'open'",
                )
                .bind(id)
                .bind(&code[..])
                .bind(result)
                .bind(at.unix_timestamp())
                .bind(ends_at.unix_timestamp())
                .execute(&mut *connection)
                .await?
            }
            LoginStep::Redeem { ends_at, .. } => {
                query("UPDATE oidc_logins SET state = 'redeemed', ends_at = $2 WHERE id = $1 AND state = 'granted'")
                    .bind(id)
                    .bind(ends_at.unix_timestamp())
                    .execute(&mut *connection)
                    .await?
            }
            LoginStep::Exchange { refresh, at, .. } => {
                query(
                    "UPDATE oidc_tokens SET used_at = $3 WHERE digest = $2 AND login = $1 AND used_at IS NULL
                     AND EXISTS (SELECT 1 FROM oidc_logins WHERE id = $1 AND state = 'redeemed')",
                )
                .bind(id)
                .bind(&refresh[..])
                .bind(at.unix_timestamp())
                .execute(&mut *connection)
                .await?
            }
            LoginStep::End => {
                query(
                    "UPDATE oidc_logins SET state = 'ended', request = NULL, result = NULL
                     WHERE id = $1 AND state <> 'ended'",
                )
                .bind(id)
                .execute(&mut *connection)
                .await?
            }
        };
        if changed.rows_affected() != 1 {
            return Ok(false);
        }
        if let LoginStep::Redeem { tokens, .. } | LoginStep::Exchange { tokens, .. } = &self.step {
            for token in tokens {
                query(
                    "INSERT INTO oidc_tokens (digest, login, kind, bound, credential, expires_at)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(&token.digest[..])
                .bind(id)
                .bind(token.kind.as_str())
                .bind(token.bound.as_ref().map(|bound| bound.to_vec()))
                .bind(&token.credential)
                .bind(token.expires_at.unix_timestamp())
                .execute(&mut *connection)
                .await?;
            }
        }
        Ok(true)
    }
}

impl Store {
    /// Prepares a new login.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub fn new_login(&self, new: &NewLogin<'_>) -> Result<LoginChange, StoreError> {
        let NewLogin { id, app, session, browser, request, times, device } = *new;
        let request = self.protection().seal(request_of(&place(id, app)), request)?;
        let (app, session) = (app.clone(), session.to_owned());
        Ok(LoginChange {
            id: id.to_owned(),
            step: LoginStep::Begin { app, session, browser, request, times, device },
        })
    }

    /// Prepares that a login's browser gets a code, of which this is SM3; `ends_at` is when the code does.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub fn login_grant(
        &self,
        login: &Login,
        code: [u8; 32],
        result: &[u8],
        (at, ends_at): (OffsetDateTime, OffsetDateTime),
    ) -> Result<LoginChange, StoreError> {
        let result = self.protection().seal(result_of(&place(&login.id, &login.app)), result)?;
        Ok(LoginChange { id: login.id.clone(), step: LoginStep::Grant { code, result, at, ends_at } })
    }

    /// A login that is not over.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Altered`] of what was not sealed for it; [`StoreError::Locked`].
    pub async fn login(&self, id: &str, at: OffsetDateTime) -> Result<Login, StoreError> {
        // No id holds one, and PostgreSQL takes none.
        let possible = if id.contains('\0') { "" } else { id };
        let found = query("SELECT * FROM oidc_logins WHERE id = $1 AND ends_at > $2")
            .bind(possible)
            .bind(at.unix_timestamp())
            .fetch_optional(self.readers())
            .await?;
        let row = found.ok_or_else(|| StoreError::NotFound { what: LOGIN, id: id.to_owned() })?;
        self.read_login(&row)
    }

    /// The login whose code has this digest, as long as it is known.
    ///
    /// # Errors
    /// As of [`Self::login`], without the first.
    pub async fn login_of_code(&self, code: &[u8; 32]) -> Result<Option<Login>, StoreError> {
        let found = query("SELECT * FROM oidc_logins WHERE code_digest = $1").bind(&code[..]);
        let found = found.fetch_optional(self.readers()).await?;
        found.map(|row| self.read_login(&row)).transpose()
    }

    /// The token that has this digest with its login, as long as they are known.
    ///
    /// # Errors
    /// As of [`Self::login`], without the first.
    pub async fn login_of_token(&self, digest: &[u8; 32]) -> Result<Option<(Login, LoginToken)>, StoreError> {
        let found = query(
            "SELECT l.*, t.kind, t.bound, t.credential, t.expires_at, t.used_at FROM oidc_tokens t JOIN oidc_logins l ON l.id = t.login
             WHERE t.digest = $1",
        )
        .bind(&digest[..])
        .fetch_optional(self.readers())
        .await?;
        let Some(row) = found else { return Ok(None) };
        let login = self.read_login(&row)?;
        let corrupt = |column| StoreError::Corrupt { what: LOGIN, id: login.id.clone(), column };
        let bound: Option<Vec<u8>> = row.try_get("bound")?;
        let used_at: Option<i64> = row.try_get("used_at")?;
        let token = LoginToken {
            kind: TokenKind::parse(row.try_get("kind")?).ok_or_else(|| corrupt("kind"))?,
            bound: bound.map(TryInto::try_into).transpose().map_err(|_| corrupt("bound"))?,
            credential: row.try_get("credential")?,
            expires_at: instant(&row, "expires_at")?.ok_or_else(|| corrupt("expires_at"))?,
            is_used: used_at.is_some(),
        };
        Ok(Some((login, token)))
    }

    /// How many logins wait for somebody to scan and confirm: of an app, and of all apps.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn open_logins(&self, app: &AppId, at: OffsetDateTime) -> Result<(u64, u64), StoreError> {
        let row = query(
            "SELECT COUNT(CASE WHEN app = $1 THEN 1 END) AS of_app, COUNT(*) AS of_all
             FROM oidc_logins WHERE state = 'open' AND ends_at > $2",
        )
        .bind(app.as_str())
        .bind(at.unix_timestamp())
        .fetch_one(self.readers())
        .await?;
        let count = |column| -> Result<u64, StoreError> {
            Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
        };
        Ok((count("of_app")?, count("of_all")?))
    }

    /// Enters a login with its session. Nothing of it is on record: anybody can begin as many as he likes, and what nobody scans is to
    /// leave nothing.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn begin_login(&self, change: ScanChange) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        if !change.write(&mut transaction, self.protection()).await? {
            return Err(change.refused());
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Takes a login away whose code nobody has scanned, with its session; false if somebody has, or it is not there any more.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn drop_unscanned_login(&self, login: &Login) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        for (delete, id) in [
            ("DELETE FROM scan_sessions WHERE id = $1 AND state = 'created'", &login.session),
            ("DELETE FROM oidc_logins WHERE id = $1 AND state = 'open'", &login.id),
        ] {
            if query(delete).bind(id).execute(&mut *transaction).await?.rows_affected() != 1 {
                return Ok(false);
            }
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes logins away whose codes nobody scanned until a time, with their sessions. Answers how many.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn forget_unscanned_logins(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        const UNSCANNED: &str = "login IS NOT NULL AND state = 'created' AND expires_at <= $1";
        let before = before.unix_timestamp();
        let found = format!("SELECT 1 FROM scan_sessions WHERE {UNSCANNED} LIMIT 1");
        let found = query(AssertSqlSafe(found)).bind(before).fetch_optional(self.readers()).await?;
        if found.is_none() {
            return Ok(0); // most often: nobody who writes is held up
        }
        let mut transaction = self.begin_write().await?;
        let logins = format!(
            "DELETE FROM oidc_logins
             WHERE state = 'open' AND session IN (SELECT id FROM scan_sessions WHERE {UNSCANNED})"
        );
        query(AssertSqlSafe(logins)).bind(before).execute(&mut *transaction).await?;
        let sessions = format!("DELETE FROM scan_sessions WHERE {UNSCANNED}");
        let removed = query(AssertSqlSafe(sessions)).bind(before).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(removed.rows_affected())
    }

    /// Takes away logins that were over before a time, with their tokens. Answers how many.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn forget_logins(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let before = before.unix_timestamp();
        let mut transaction = self.begin_write().await?;
        query("DELETE FROM oidc_tokens WHERE login IN (SELECT id FROM oidc_logins WHERE ends_at < $1)")
            .bind(before)
            .execute(&mut *transaction)
            .await?;
        let removed = query("DELETE FROM oidc_logins WHERE ends_at < $1").bind(before);
        let removed = removed.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(removed.rows_affected())
    }

    /// What names of enterprises are derived with. The first time it is what is brought, if no other gateway was faster.
    ///
    /// # Errors
    /// [`StoreError::Altered`]; [`StoreError::Locked`] without a data key.
    pub async fn pairwise_secret(
        &self,
        fresh: &[u8; 32],
        at: OffsetDateTime,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        const SELECT: &str = "SELECT secret FROM oidc_secrets WHERE name = $1";
        let cell = secret_of(PAIRWISE);
        let mut found = query(SELECT).bind(PAIRWISE).fetch_optional(self.readers()).await?;
        if found.is_none() {
            query("INSERT INTO oidc_secrets (name, secret, made_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
                .bind(PAIRWISE)
                .bind(self.protection().seal(cell, fresh)?)
                .bind(at.unix_timestamp())
                .execute(self.writer())
                .await?;
            found = query(SELECT).bind(PAIRWISE).fetch_optional(self.writer()).await?;
        }
        let row = found.ok_or_else(|| StoreError::NotFound { what: "secret", id: PAIRWISE.to_owned() })?;
        let sealed: Vec<u8> = row.try_get("secret")?;
        self.protection().open(cell, &sealed)
    }

    fn read_login(&self, row: &Row) -> Result<Login, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: LOGIN, id: id.clone(), column };
        let app = AppId::parse(row.try_get("app")?).map_err(|_| corrupt("app"))?;
        let place = place(&id, &app);
        let opened = |cell: Cell<'_>, protection: &Protection| -> Result<_, StoreError> {
            let sealed: Option<Vec<u8>> = row.try_get(cell.column)?;
            sealed.map(|sealed| protection.open(cell, &sealed)).transpose()
        };
        let browser: Vec<u8> = row.try_get("browser")?;
        Ok(Login {
            session: row.try_get("session")?,
            browser: browser.try_into().map_err(|_| corrupt("browser"))?,
            state: LoginState::parse(row.try_get("state")?).ok_or_else(|| corrupt("state"))?,
            request: opened(request_of(&place), self.protection())?,
            result: opened(result_of(&place), self.protection())?,
            granted_at: instant(row, "granted_at")?,
            ends_at: instant(row, "ends_at")?.ok_or_else(|| corrupt("ends_at"))?,
            app,
            id,
        })
    }
}

/// What a login holds opens under its own id and for its own app only.
fn request_of(place: &str) -> Cell<'_> {
    Cell { table: "oidc_logins", column: "request", row: place }
}

fn result_of(place: &str) -> Cell<'_> {
    Cell { table: "oidc_logins", column: "result", row: place }
}

fn secret_of(name: &str) -> Cell<'_> {
    Cell { table: "oidc_secrets", column: "secret", row: name }
}

/// Seals every secret anew that another data key seals; answers how many those were. The secrets stay what they are.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, "name, secret").await?;
    let mut renewed = 0;
    for row in &rows {
        let (name, sealed): (String, Vec<u8>) = (row.try_get("name")?, row.try_get("secret")?);
        if !protection.is_outdated(&sealed) {
            continue;
        }
        let sealed = match protection.reseal(secret_of(&name), &sealed) {
            Ok(sealed) => sealed,
            Err(error) => {
                unusable(error)?;
                continue;
            }
        };
        query("UPDATE oidc_secrets SET secret = $2 WHERE name = $1")
            .bind(&name)
            .bind(sealed)
            .execute(&mut *connection)
            .await?;
        renewed += 1;
    }
    Ok(renewed)
}

fn place(id: &str, app: &AppId) -> String {
    format!("{id} {app}")
}
