//! An account as stored, with the code over the row.

use std::collections::BTreeSet;

use config::AccountName;
use serde::de::DeserializeOwned;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{ACCOUNT, Account, AccountState, NewAccount, Role};
use crate::StoreError;
use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Cell, Protection, RowImage};
use crate::terms::Terms;

pub(super) const COLUMNS: &str =
    "name, display_name, roles, state, reason, password, password_set_at, one_time_until, earlier_passwords,
    totp_secret, totp_since, totp_pending, totp_step, recovery_codes, last_seen_at, created_at, changed_at, revision,
    code";

/// Everything of an account. What is sealed stays sealed until it is asked for.
pub(super) struct AccountRow {
    pub(super) account: Account,
    display_name: Vec<u8>,
    password: Vec<u8>,
    earlier_passwords: Vec<u8>,
    totp_secret: Option<Vec<u8>>,
    totp_pending: Option<Vec<u8>>,
    pub(super) totp_step: i64,
    /// SM3, hexadecimal.
    recovery_codes: Vec<String>,
}

impl AccountRow {
    pub(super) fn new(
        new: &NewAccount<'_>,
        hash: &str,
        protection: &Protection,
        at: OffsetDateTime,
    ) -> Result<Self, StoreError> {
        let account = Account {
            name: new.name.clone(),
            display_name: new.display_name.to_owned(),
            roles: new.roles.clone(),
            state: AccountState::Enabled,
            reason: String::new(),
            password_set_at: at,
            one_time_until: new.one_time_until,
            second_factor_since: None,
            recovery_codes_left: 0,
            last_seen_at: None,
            created_at: at,
            changed_at: at,
            revision: 0,
        };
        let password = protection.seal(password_of(new.name), hash.as_bytes())?;
        let earlier_passwords = protection.seal(earlier_of(new.name), b"[]")?;
        let (totp_secret, totp_pending, recovery_codes) = (None, None, Vec::new());
        let display_name = protection.seal(called_of(new.name), new.display_name.as_bytes())?;
        Ok(Self {
            account,
            display_name,
            password,
            earlier_passwords,
            totp_secret,
            totp_pending,
            totp_step: 0,
            recovery_codes,
        })
    }

    fn read(row: &Row) -> Result<(Self, Vec<u8>), StoreError> {
        let name: String = row.try_get("name")?;
        let corrupt = |column| StoreError::Corrupt { what: ACCOUNT, id: name.clone(), column };
        let at = |column| instant(row, column)?.ok_or_else(|| corrupt(column));
        let list: String = row.try_get("recovery_codes")?;
        let recovery_codes: Vec<String> = json(&list).ok_or_else(|| corrupt("recovery_codes"))?;
        let (roles, state): (String, String) = (row.try_get("roles")?, row.try_get("state")?);
        let account = Account {
            name: AccountName::parse(&name).map_err(|_| corrupt("name"))?,
            display_name: String::new(), // sealed; whoever judges the row opens it
            roles: words(&roles).ok_or_else(|| corrupt("roles"))?,
            state: AccountState::parse(&state).ok_or_else(|| corrupt("state"))?,
            reason: row.try_get("reason")?,
            password_set_at: at("password_set_at")?,
            one_time_until: instant(row, "one_time_until")?,
            second_factor_since: instant(row, "totp_since")?,
            recovery_codes_left: recovery_codes.len(),
            last_seen_at: instant(row, "last_seen_at")?,
            created_at: at("created_at")?,
            changed_at: at("changed_at")?,
            revision: row.try_get("revision")?,
        };
        let read = Self {
            account,
            display_name: row.try_get("display_name")?,
            password: row.try_get("password")?,
            earlier_passwords: row.try_get("earlier_passwords")?,
            totp_secret: row.try_get("totp_secret")?,
            totp_pending: row.try_get("totp_pending")?,
            totp_step: row.try_get("totp_step")?,
            recovery_codes,
        };
        Ok((read, row.try_get("code")?))
    }

    /// A row that is as this gateway wrote it.
    pub(super) fn judged(row: &Row, protection: &Protection) -> Result<Self, StoreError> {
        let (mut read, code) = Self::read(row)?;
        protection.check(&read.image(read.account.revision), &code)?;
        let opened = protection.open(called_of(&read.account.name), &read.display_name)?;
        read.account.display_name = read.utf8(&opened, "display_name")?.to_string();
        Ok(read)
    }

    /// The row with everything in it sealed anew, if another data key protects any of it.
    fn renewed(row: &Row, protection: &Protection) -> Result<Option<Self>, StoreError> {
        let (read, code) = Self::read(row)?;
        let secrets = [read.totp_secret.as_deref(), read.totp_pending.as_deref()];
        let always = [&code, &read.display_name, &read.password, &read.earlier_passwords].map(Vec::as_slice);
        let outdated = |stored: &[u8]| protection.is_outdated(stored);
        if !always.into_iter().any(outdated) && !secrets.into_iter().flatten().any(outdated) {
            return Ok(None);
        }
        let mut read = Self::judged(row, protection)?; // what was altered must not get a good code
        let name = &read.account.name;
        read.display_name = protection.reseal(called_of(name), &read.display_name)?;
        read.password = protection.reseal(password_of(name), &read.password)?;
        read.earlier_passwords = protection.reseal(earlier_of(name), &read.earlier_passwords)?;
        for (sealed, place) in
            [(&mut read.totp_secret, totp_of(name)), (&mut read.totp_pending, pending_of(name))]
        {
            if let Some(sealed) = sealed {
                *sealed = protection.reseal(place, sealed)?;
            }
        }
        Ok(Some(read))
    }

    /// Within a transaction, the row of an account that there is.
    pub(super) async fn of(
        connection: &mut Connection<'_>,
        protection: &Protection,
        name: &AccountName,
    ) -> Result<Self, StoreError> {
        let select = AssertSqlSafe(format!("SELECT {COLUMNS} FROM accounts WHERE name = $1"));
        let row = query(select).bind(name.as_str()).fetch_optional(connection).await?;
        match row {
            Some(row) => Self::judged(&row, protection),
            None => Err(StoreError::NotFound { what: ACCOUNT, id: name.to_string() }),
        }
    }

    fn image(&self, revision: i64) -> RowImage {
        let account = &self.account;
        let seconds = |at: Option<OffsetDateTime>| at.map(OffsetDateTime::unix_timestamp);
        RowImage::new("accounts", account.name.as_str(), revision)
            .octets_or_null("display_name", Some(&self.display_name))
            .text("roles", &text(&account.roles))
            .text("state", account.state.as_str())
            .text("reason", &account.reason)
            .octets_or_null("password", Some(&self.password))
            .integer("password_set_at", account.password_set_at.unix_timestamp())
            .integer_or_null("one_time_until", seconds(account.one_time_until))
            .octets_or_null("earlier_passwords", Some(&self.earlier_passwords))
            .octets_or_null("totp_secret", self.totp_secret.as_deref())
            .integer_or_null("totp_since", seconds(account.second_factor_since))
            .octets_or_null("totp_pending", self.totp_pending.as_deref())
            .integer("totp_step", self.totp_step)
            .text("recovery_codes", &text(&self.recovery_codes))
            .integer_or_null("last_seen_at", seconds(account.last_seen_at))
            .integer("created_at", account.created_at.unix_timestamp())
            .integer("changed_at", account.changed_at.unix_timestamp())
    }

    pub(super) async fn insert(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<(), StoreError> {
        let account = &self.account;
        query(
            "INSERT INTO accounts (name, display_name, roles, state, password, password_set_at, one_time_until,
                 earlier_passwords, created_at, changed_at, revision, code)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11)",
        )
        .bind(account.name.as_str())
        .bind(&self.display_name)
        .bind(text(&account.roles))
        .bind(account.state.as_str())
        .bind(&self.password)
        .bind(account.password_set_at.unix_timestamp())
        .bind(account.one_time_until.map(OffsetDateTime::unix_timestamp))
        .bind(&self.earlier_passwords)
        .bind(account.created_at.unix_timestamp())
        .bind(self.account.revision)
        .bind(protection.code(&self.image(self.account.revision))?)
        .execute(connection)
        .await
        .map_err(|error| StoreError::from_insert(ACCOUNT, account.name.as_str(), error))?;
        Ok(())
    }

    /// Writes what can change, with the code over the row as it is now.
    pub(super) async fn save(
        &mut self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<(), StoreError> {
        self.account.revision += 1;
        let account = &self.account;
        let seconds = |at: Option<OffsetDateTime>| at.map(OffsetDateTime::unix_timestamp);
        query(
            "UPDATE accounts SET display_name = $2, roles = $3, state = $4, reason = $5, password = $6,
                 password_set_at = $7, one_time_until = $8, earlier_passwords = $9, totp_secret = $10,
                 totp_since = $11, totp_pending = $12, totp_step = $13, recovery_codes = $14, last_seen_at = $15,
                 changed_at = $16, revision = $17, code = $18
             WHERE name = $1",
        )
        .bind(account.name.as_str())
        .bind(&self.display_name)
        .bind(text(&account.roles))
        .bind(account.state.as_str())
        .bind(&account.reason)
        .bind(&self.password)
        .bind(account.password_set_at.unix_timestamp())
        .bind(seconds(account.one_time_until))
        .bind(&self.earlier_passwords)
        .bind(self.totp_secret.as_deref())
        .bind(seconds(account.second_factor_since))
        .bind(self.totp_pending.as_deref())
        .bind(self.totp_step)
        .bind(text(&self.recovery_codes))
        .bind(seconds(account.last_seen_at))
        .bind(account.changed_at.unix_timestamp())
        .bind(self.account.revision)
        .bind(protection.code(&self.image(self.account.revision))?)
        .execute(connection)
        .await
        .map_err(|error| StoreError::from_insert(ACCOUNT, account.name.as_str(), error))?;
        Ok(())
    }

    pub(super) fn call(&mut self, protection: &Protection, display_name: &str) -> Result<(), StoreError> {
        let name = &self.account.name;
        self.display_name = protection.seal(called_of(name), display_name.as_bytes())?;
        display_name.clone_into(&mut self.account.display_name);
        Ok(())
    }

    /// The password's hash.
    pub(super) fn hash(&self, protection: &Protection) -> Result<Zeroizing<String>, StoreError> {
        let opened = protection.open(password_of(&self.account.name), &self.password)?;
        self.utf8(&opened, "password")
    }

    /// Hashes of the passwords before this one, newest first.
    pub(super) fn earlier_hashes(
        &self,
        protection: &Protection,
    ) -> Result<Vec<Zeroizing<String>>, StoreError> {
        let place = earlier_of(&self.account.name);
        let opened = protection.open(place, &self.earlier_passwords)?;
        serde_json::from_slice(&opened).map_err(|_| self.corrupt("earlier_passwords"))
    }

    /// Takes a password's hash in the place of the one before, and remembers so many of those.
    pub(super) fn set_hash(
        &mut self,
        protection: &Protection,
        hash: &str,
        remembered: usize,
    ) -> Result<(), StoreError> {
        let mut earlier = self.earlier_hashes(protection)?;
        earlier.insert(0, self.hash(protection)?);
        earlier.truncate(remembered);
        let earlier: Vec<&str> = earlier.iter().map(|hash| hash.as_str()).collect();
        let list = Zeroizing::new(text(&earlier));
        let name = &self.account.name;
        self.earlier_passwords = protection.seal(earlier_of(name), list.as_bytes())?;
        self.password = protection.seal(password_of(name), hash.as_bytes())?;
        Ok(())
    }

    /// The secret that codes are made with.
    pub(super) fn totp_secret(
        &self,
        protection: &Protection,
        pending: bool,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let name = &self.account.name;
        let (sealed, place) = match pending {
            true => (&self.totp_pending, pending_of(name)),
            false => (&self.totp_secret, totp_of(name)),
        };
        sealed.as_ref().map(|sealed| protection.open(place, sealed)).transpose()
    }

    pub(super) fn set_totp_pending(
        &mut self,
        protection: &Protection,
        secret: &[u8],
    ) -> Result<(), StoreError> {
        self.totp_pending = Some(protection.seal(pending_of(&self.account.name), secret)?);
        Ok(())
    }

    /// Has the pending secret count from now on, with the step of the code that confirmed it used up.
    pub(super) fn confirm_totp(
        &mut self,
        protection: &Protection,
        (secret, step): (&[u8], i64),
        recovery_codes: Vec<String>,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        // One that was begun anew since the code was judged is not the one that the code was of.
        let pending = self.totp_secret(protection, true)?.filter(|pending| pending[..] == *secret);
        let pending = pending.ok_or_else(|| StoreError::NotAllowed {
            what: ACCOUNT,
            id: self.account.name.to_string(),
            state: "complete",
            reason: "no second factor waits for a code",
        })?;
        self.totp_secret = Some(protection.seal(totp_of(&self.account.name), &pending)?);
        self.totp_pending = None;
        self.totp_step = step;
        self.account.second_factor_since = Some(at);
        self.set_recovery_codes(recovery_codes);
        Ok(())
    }

    pub(super) fn forget_totp(&mut self) {
        (self.totp_secret, self.totp_pending, self.totp_step) = (None, None, 0);
        self.account.second_factor_since = None;
        self.set_recovery_codes(Vec::new());
    }

    pub(super) fn set_recovery_codes(&mut self, codes: Vec<String>) {
        self.account.recovery_codes_left = codes.len();
        self.recovery_codes = codes;
    }

    /// Uses a recovery code up; false if it is none.
    pub(super) fn use_recovery_code(&mut self, digest: &str) -> bool {
        let before = self.recovery_codes.len();
        self.recovery_codes.retain(|code| code != digest);
        self.account.recovery_codes_left = self.recovery_codes.len();
        self.recovery_codes.len() < before
    }

    /// Refuses a change that was decided on another revision.
    pub(super) fn hold(&self, terms: Terms) -> Result<(), StoreError> {
        terms.hold_at(self.account.revision, ACCOUNT, self.account.name.as_str())
    }

    pub(super) fn corrupt(&self, column: &'static str) -> StoreError {
        StoreError::Corrupt { what: ACCOUNT, id: self.account.name.to_string(), column }
    }

    fn utf8(&self, octets: &[u8], column: &'static str) -> Result<Zeroizing<String>, StoreError> {
        let text = std::str::from_utf8(octets).map_err(|_| self.corrupt(column))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// Protects every account with a good code anew that another data key protects; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        match AccountRow::renewed(row, protection) {
            Ok(Some(mut row)) => {
                row.save(connection, protection).await?;
                renewed += 1;
            }
            Ok(None) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(renewed)
}

/// Where the hash of the present password stands.
fn password_of(name: &AccountName) -> Cell<'_> {
    Cell { table: "accounts", column: "password", row: name.as_str() }
}

/// Where the hashes of the passwords before it stand.
fn earlier_of(name: &AccountName) -> Cell<'_> {
    Cell { table: "accounts", column: "earlier_passwords", row: name.as_str() }
}

/// Where the secret of the second factor stands.
fn totp_of(name: &AccountName) -> Cell<'_> {
    Cell { table: "accounts", column: "totp_secret", row: name.as_str() }
}

/// Where the secret stands that waits to be confirmed.
fn pending_of(name: &AccountName) -> Cell<'_> {
    Cell { table: "accounts", column: "totp_pending", row: name.as_str() }
}

/// Where the person's name stands.
fn called_of(name: &AccountName) -> Cell<'_> {
    Cell { table: "accounts", column: "display_name", row: name.as_str() }
}

fn words(list: &str) -> Option<BTreeSet<Role>> {
    json::<Vec<String>>(list)?.iter().map(|word| Role::parse(word)).collect()
}

fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

pub(super) fn text(list: &impl serde::Serialize) -> String {
    serde_json::to_string(list).expect("words are always JSON")
}
