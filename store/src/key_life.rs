//! The life of a key: entered, spread, certified, activated, replaced, retired, destroyed.
//!
//! Each step is one transaction that reads the key, refuses what its state does not allow and changes nothing
//! then. The schema's triggers say the same once more.

use config::{DeviceId, GroupId, KeyId};
use formats::{Certificate, PublicKey};
use time::OffsetDateTime;

use crate::database::{Connection, Transaction, query};
use crate::keys::{KEY, code, insert_logical, read};
use crate::protection::{Protection, wraps_a_data_key};
use crate::{
    KeyCopy, KeyPurpose, KeyRecord, KeyState, KeyVersion, Spread, Store, StoreError, WrappingKey, mandates,
    wrapped_keys,
};

/// A key to be entered; its first version is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// The group whose devices are to hold it.
    pub group: GroupId,
    /// `sm2`, `p256`, `rsa2048`, or of a secret key `sm4`, `aes256`, `hmac-sha256`.
    pub algorithm: String,
    /// What it is for, for good.
    pub purpose: KeyPurpose,
    /// CKA_LABEL of its objects.
    pub label: String,
}

/// How a version is to come into the devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionPlan {
    /// How it is spread.
    pub spread: Spread,
    /// What it is wrapped under; with [`Spread::Wrap`] only, and then always.
    pub wrapping_key: Option<WrappingKey>,
}

impl KeyPurpose {
    /// Whether others know such a key by its certificate, so that it cannot be used without one.
    #[must_use]
    pub fn needs_certificate(self) -> bool {
        match self {
            Self::Service | Self::Tls | Self::Tsa | Self::Seal | Self::Ca | Self::Front => true,
            Self::Token | Self::Audit | Self::Kek | Self::Personal => false,
        }
    }
}

impl KeyRecord {
    /// Whether it is a symmetric key, which has no public half.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        matches!(self.algorithm.as_str(), "sm4" | "aes256" | "hmac-sha256")
    }

    /// What `version` lacks before it can be activated; none when it lacks nothing.
    #[must_use]
    pub fn lacks(&self, version: &KeyVersion) -> Option<&'static str> {
        let without = |missing: fn(&KeyCopy) -> bool| version.copies.iter().any(missing);
        if version.copies.is_empty() {
            Some("no device holds it yet")
        } else if !self.is_symmetric() && without(|copy| copy.public_key.is_none()) {
            Some("the public key of a copy is not known")
        } else if self.purpose.needs_certificate() && without(|copy| copy.certificate_chain.is_empty()) {
            Some("a copy has no certificate")
        } else {
            None
        }
    }
}

impl Store {
    /// Enters a key with a pending version 1 whose CKA_ID is the key's id.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when its id, or its CKA_ID within the group, is taken;
    /// [`StoreError::RuleBroken`] for an unknown algorithm; [`StoreError::Unacceptable`] for a plan that
    /// contradicts itself.
    pub async fn create_key(
        &self,
        key: &NewKey,
        plan: &VersionPlan,
        at: OffsetDateTime,
    ) -> Result<KeyVersion, StoreError> {
        let mut transaction = self.begin_write().await?;
        let name = (&key.id, &key.group);
        let since = at.unix_timestamp();
        insert_logical(&mut transaction, name, &key.algorithm, key.purpose, &key.label, since).await?;
        insert_version(&mut transaction, (&key.id, &key.group), 1, plan, since).await?;
        self.commit_key(transaction, &key.id, 1).await
    }

    /// Enters the next version of a key, pending; its CKA_ID is `ID#N`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NotAllowed`] while another version is pending, and
    /// [`StoreError::Unacceptable`] for a plan that contradicts itself.
    pub async fn add_key_version(
        &self,
        id: &KeyId,
        plan: &VersionPlan,
        at: OffsetDateTime,
    ) -> Result<KeyVersion, StoreError> {
        let mut transaction = self.begin_write().await?;
        let key = find(&mut transaction, self.protection(), id).await?;
        if let Some(pending) = key.version_in(KeyState::Pending) {
            return Err(refusal(id, pending, "a key has one pending version at most"));
        }
        let number = key.versions.last().map_or(0, |last| last.version) + 1;
        insert_version(&mut transaction, (id, &key.group), number, plan, at.unix_timestamp()).await?;
        self.commit_key(transaction, id, number).await
    }

    /// Records that a device, or with none every device of the group, is to hold this copy. Recording the same
    /// copy again does nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when the version takes no more copies, when its spread
    /// is another one, or when the copy is there with another public key; [`StoreError::Unacceptable`] for a
    /// public key that is none or is not of the key's algorithm.
    pub async fn record_key_copy(
        &self,
        id: &KeyId,
        version: u32,
        device: Option<&DeviceId>,
        public_key: Option<&[u8]>,
        at: OffsetDateTime,
    ) -> Result<KeyVersion, StoreError> {
        let mut transaction = self.begin_write().await?;
        let key = find(&mut transaction, self.protection(), id).await?;
        let found = version_of(&key, version)?;
        check_public_key(&key, public_key)?;
        if device.is_some() != (found.spread == Spread::PerDevice) {
            return Err(refusal(id, found, "its copies are of the other kind"));
        }
        match found.copy(device) {
            Some(copy) if copy.public_key.as_deref() == public_key => return Ok(found.clone()),
            Some(copy) if copy.public_key.is_some() => {
                return Err(refusal(id, found, "the copy is there with another public key"));
            }
            // A device that joins the group makes its own copy of the version in use.
            _ if found.state == KeyState::Pending => {}
            _ if found.state == KeyState::Active && device.is_some() => {}
            _ => return Err(refusal(id, found, "it takes no more copies")),
        }
        query(
            "INSERT INTO key_copies (key_id, version, device, public_key, certificate_chain, created_at)
             VALUES ($1, $2, $3, $4, '', $5)
             ON CONFLICT (key_id, version, device) DO UPDATE SET public_key = excluded.public_key",
        )
        .bind(id.as_str())
        .bind(version)
        .bind(device.map_or("", DeviceId::as_str))
        .bind(public_key)
        .bind(at.unix_timestamp())
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::from_insert(KEY, id.as_str(), error))?;
        self.commit_key(transaction, id, version).await
    }

    /// Gives a copy its certificates (PEM, its own first), or newer ones.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] for a version that is out of use;
    /// [`StoreError::Unacceptable`] when the chain cannot be read, speaks for another public key, has expired at
    /// `at` or is not one certificate issued by the next. Whether its root is trusted is not asked here.
    pub async fn install_certificate(
        &self,
        id: &KeyId,
        version: u32,
        device: Option<&DeviceId>,
        chain: &str,
        at: OffsetDateTime,
    ) -> Result<KeyVersion, StoreError> {
        let mut transaction = self.begin_write().await?;
        let key = find(&mut transaction, self.protection(), id).await?;
        let found = version_of(&key, version)?;
        if matches!(found.state, KeyState::Retired | KeyState::Destroyed) {
            return Err(refusal(id, found, "it is out of use"));
        }
        let copy = found
            .copy(device)
            .ok_or_else(|| StoreError::NotFound { what: "copy of key", id: name(id, version, device) })?;
        let public_key = check_chain(id, chain, copy.public_key.as_deref(), at)?;
        query(
            "UPDATE key_copies SET certificate_chain = $4, public_key = $5
             WHERE key_id = $1 AND version = $2 AND device = $3",
        )
        .bind(id.as_str())
        .bind(version)
        .bind(device.map_or("", DeviceId::as_str))
        .bind(chain)
        .bind(public_key)
        .execute(&mut *transaction)
        .await?;
        self.commit_key(transaction, id, version).await
    }

    /// Makes the pending version the one that signs. The version before it is retiring until `overlap_until`, or
    /// retired at once without.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when the version is not pending or
    /// [lacks](KeyRecord::lacks) something; [`StoreError::Unacceptable`] for an overlap that ends before it begins.
    pub async fn activate_key_version(
        &self,
        id: &KeyId,
        version: u32,
        at: OffsetDateTime,
        overlap_until: Option<OffsetDateTime>,
    ) -> Result<KeyVersion, StoreError> {
        let mut transaction = self.begin_write().await?;
        let key = find(&mut transaction, self.protection(), id).await?;
        let found = version_of(&key, version)?;
        if found.state != KeyState::Pending {
            return Err(refusal(id, found, "only a pending version can be activated"));
        }
        if let Some(lack) = key.lacks(found) {
            return Err(refusal(id, found, lack));
        }
        if overlap_until.is_some_and(|until| until < at) {
            return Err(unacceptable(id, "the overlap ends before it begins"));
        }
        if let Some(before) = key.version_in(KeyState::Active) {
            let (state, until) = match overlap_until {
                Some(until) => (KeyState::Retiring, until),
                None => (KeyState::Retired, at),
            };
            set_state(&mut transaction, id, before.version, state, ("retires_at", until)).await?;
        }
        set_state(&mut transaction, id, version, KeyState::Active, ("activates_at", at)).await?;
        self.commit_key(transaction, id, version).await
    }

    /// Takes a version out of use: a retiring one whose overlap has ended, or the active one, after which the key
    /// signs no more until another version is activated.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] in any other state and before the overlap's end.
    pub async fn retire_key_version(
        &self,
        id: &KeyId,
        version: u32,
        at: OffsetDateTime,
    ) -> Result<KeyVersion, StoreError> {
        let mut transaction = self.begin_write().await?;
        let key = find(&mut transaction, self.protection(), id).await?;
        let found = version_of(&key, version)?;
        match found.state {
            KeyState::Active => {}
            KeyState::Retiring if found.retires_at.is_none_or(|until| until <= at) => {}
            KeyState::Retiring => return Err(refusal(id, found, "its overlap has not ended")),
            _ => return Err(refusal(id, found, "only an active or retiring version can be retired")),
        }
        set_state(&mut transaction, id, version, KeyState::Retired, ("retires_at", at)).await?;
        self.commit_key(transaction, id, version).await
    }

    /// Records that no device holds the version any more. Its public key and certificates stay for verifiers.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] for a version that may still sign.
    pub async fn destroy_key_version(
        &self,
        id: &KeyId,
        version: u32,
        at: OffsetDateTime,
    ) -> Result<KeyVersion, StoreError> {
        let mut transaction = self.begin_write().await?;
        let key = find(&mut transaction, self.protection(), id).await?;
        let found = version_of(&key, version)?;
        if !matches!(found.state, KeyState::Pending | KeyState::Retired) {
            return Err(refusal(id, found, "only a pending or retired version can be destroyed"));
        }
        if wraps_a_data_key(&mut transaction, id, version).await? {
            return Err(refusal(id, found, "a data key is wrapped under it"));
        }
        if wrapped_keys::rests_on_key(&mut transaction, id, version).await?
            || mandates::rests_on_key(&mut transaction, id, version).await?
        {
            return Err(refusal(id, found, "wrapped keys that are in use rest on it"));
        }
        set_state(&mut transaction, id, version, KeyState::Destroyed, ("destroyed_at", at)).await?;
        self.commit_key(transaction, id, version).await
    }

    /// Codes the key, commits and answers the version as it is now.
    async fn commit_key(
        &self,
        mut transaction: Transaction<'_>,
        id: &KeyId,
        version: u32,
    ) -> Result<KeyVersion, StoreError> {
        code(&mut transaction, self.protection(), id).await?;
        let key = find(&mut transaction, self.protection(), id).await?;
        let now = version_of(&key, version)?.clone();
        transaction.commit().await?;
        Ok(now)
    }
}

async fn find(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &KeyId,
) -> Result<KeyRecord, StoreError> {
    let found = read(connection, Some(id)).await?.pop();
    found.ok_or_else(|| StoreError::NotFound { what: KEY, id: id.to_string() })?.judged(protection)
}

fn version_of(key: &KeyRecord, version: u32) -> Result<&KeyVersion, StoreError> {
    key.version(version)
        .ok_or_else(|| StoreError::NotFound { what: "version of key", id: name(&key.id, version, None) })
}

async fn insert_version(
    connection: &mut Connection<'_>,
    (id, group): (&KeyId, &GroupId),
    number: u32,
    plan: &VersionPlan,
    at: i64,
) -> Result<(), StoreError> {
    if (plan.spread == Spread::Wrap) != plan.wrapping_key.is_some() {
        return Err(unacceptable(
            id,
            "a version that is spread by wrapping names its wrapping key, no other does",
        ));
    }
    let cka_id = if number == 1 { id.to_string() } else { format!("{id}#{number}") };
    query(
        "INSERT INTO key_versions (key_id, group_id, version, state, spread, cka_id, wrapping_key,
             wrapping_key_version, created_at)
         VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8)",
    )
    .bind(id.as_str())
    .bind(group.as_str())
    .bind(number)
    .bind(plan.spread.as_str())
    .bind(cka_id.into_bytes())
    .bind(plan.wrapping_key.as_ref().map(|key| key.id.as_str()))
    .bind(plan.wrapping_key.as_ref().map(|key| key.version))
    .bind(at)
    .execute(connection)
    .await
    .map_err(|error| StoreError::from_insert(KEY, id.as_str(), error))?;
    Ok(())
}

/// Sets the state and the column of times that goes with it.
async fn set_state(
    connection: &mut Connection<'_>,
    id: &KeyId,
    version: u32,
    state: KeyState,
    (column, at): (&'static str, OffsetDateTime),
) -> Result<(), StoreError> {
    let update =
        format!("UPDATE key_versions SET state = $3, {column} = $4 WHERE key_id = $1 AND version = $2");
    query(sqlx::AssertSqlSafe(update))
        .bind(id.as_str())
        .bind(version)
        .bind(state.as_str())
        .bind(at.unix_timestamp())
        .execute(connection)
        .await?;
    Ok(())
}

fn check_public_key(key: &KeyRecord, public_key: Option<&[u8]>) -> Result<(), StoreError> {
    let Some(der) = public_key else { return Ok(()) };
    let kind = match PublicKey::from_spki_der(der) {
        Ok(PublicKey::Sm2(_)) => "sm2",
        Ok(PublicKey::P256(_)) => "p256",
        Ok(PublicKey::Rsa(rsa)) if rsa.bits() == 2048 => "rsa2048",
        Ok(_) => "another",
        Err(_) => return Err(unacceptable(&key.id, "its public key cannot be read")),
    };
    if kind == key.algorithm {
        Ok(())
    } else {
        Err(unacceptable(&key.id, "its public key is not of its algorithm"))
    }
}

/// Checks a chain for one copy and answers the public key it speaks for.
fn check_chain(
    id: &KeyId,
    chain: &str,
    expected: Option<&[u8]>,
    at: OffsetDateTime,
) -> Result<Vec<u8>, StoreError> {
    let unreadable = |_| unacceptable(id, "its certificates cannot be read");
    let chain = Certificate::many_from_pem(chain).map_err(unreadable)?;
    let own = chain.first().ok_or_else(|| unacceptable(id, "there is no certificate in what was given"))?;
    let public_key = own.public_key().map_err(unreadable)?.spki_der();
    if expected.is_some_and(|expected| expected != public_key) {
        return Err(unacceptable(id, "the certificate speaks for another public key"));
    }
    for (certificate, issuer) in chain.iter().zip(chain.iter().skip(1)) {
        if certificate.verify_signature(&issuer.public_key().map_err(unreadable)?).is_err() {
            return Err(unacceptable(id, "its certificates are not each issued by the next"));
        }
    }
    if chain.iter().any(|certificate| certificate.not_after() <= at) {
        return Err(unacceptable(id, "a certificate has expired"));
    }
    Ok(public_key)
}

fn refusal(id: &KeyId, version: &KeyVersion, reason: &'static str) -> StoreError {
    let (id, state) = (name(id, version.version, None), version.state.as_str());
    StoreError::NotAllowed { what: "version of key", id, state, reason }
}

fn unacceptable(id: &KeyId, reason: &'static str) -> StoreError {
    StoreError::Unacceptable { what: KEY, id: id.to_string(), reason }
}

fn name(id: &KeyId, version: u32, device: Option<&DeviceId>) -> String {
    match device {
        Some(device) => format!("{id} version {version} in {device}"),
        None => format!("{id} version {version}"),
    }
}
