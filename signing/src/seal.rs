//! Seals made by the site's seal maker key (purpose `seal`, SM2): GB/T 38540, version 4.

use config::{DeviceId, KeyId};
use formats::seal::{Holders, Picture, Seal, SealPlan};
use formats::{Certificate, DEFAULT_SIGNER_ID, PublicKey};
use store::KeyPurpose;
use time::OffsetDateTime;

use crate::sign::Turn;
use crate::system::algorithm;
use crate::{SigningCopy, SigningError, SigningKey, SystemDesk};

/// The maker's mark (`Vid`) in the seals.
const VENDOR: &str = "license-gateway";

/// What a seal is to be made of.
#[derive(Clone, Debug)]
pub struct SealOrder {
    /// Its number (`esID`), ASCII.
    pub id: String,
    /// The kind, by this site's numbering.
    pub kind: u32,
    /// Its name.
    pub name: String,
    /// Who may use it.
    pub holders: Holders,
    /// The first moment of its validity, to the second.
    pub valid_from: OffsetDateTime,
    /// The last second of its validity.
    pub valid_until: OffsetDateTime,
    /// How it looks.
    pub picture: Picture,
}

/// A seal, and what made it. It verified; it is not in the audit log by itself.
#[derive(Clone, Debug)]
pub struct MadeSeal {
    /// The seal.
    pub seal: Seal,
    /// The seal maker's key.
    pub key: KeyId,
    /// The device.
    pub device: DeviceId,
}

impl SystemDesk {
    /// Whether a seal of this validity could be made now, as far as the maker's certificate goes.
    ///
    /// # Errors
    /// [`SigningError::NoSystemKey`], [`SigningError::Register`] for a maker without certificate, and
    /// [`SigningError::SealOutlivesMaker`].
    pub fn may_make_seal(&self, from: OffsetDateTime, until: OffsetDateTime) -> Result<(), SigningError> {
        let ring = self.keys();
        let copies = self.copies(&ring, KeyPurpose::Seal, is_sm2)?;
        copies.iter().try_for_each(|(key, copy)| maker(key, copy, (from, until)).map(drop))
    }

    /// Makes a seal, signed by a device.
    ///
    /// # Errors
    /// As [`SystemDesk::may_make_seal`]; [`SigningError::Format`] for an order that makes no seal;
    /// [`SigningError::Device`] when no device signs within the site's deadline.
    pub async fn make_seal(&self, order: &SealOrder, at: OffsetDateTime) -> Result<MadeSeal, SigningError> {
        let ring = self.keys();
        let copies = self.copies(&ring, KeyPurpose::Seal, is_sm2)?;
        let (turn, signed) = self
            .ask(&self.name, None, copies, |(key, copy)| {
                let algorithm = algorithm(key, &copy.public_key)?;
                let pending = SealPlan {
                    vendor: VENDOR.to_owned(),
                    id: order.id.clone(),
                    kind: order.kind,
                    name: order.name.clone(),
                    holders: order.holders.clone(),
                    created: at,
                    valid_from: order.valid_from,
                    valid_until: order.valid_until,
                    picture: order.picture.clone(),
                    maker: maker(key, copy, (order.valid_from, order.valid_until))?.clone(),
                    algorithm,
                    signer_id: DEFAULT_SIGNER_ID.to_vec(),
                }
                .prepare()?;
                Ok(Turn { copy, algorithm, digest: pending.digest(), prepared: (key, pending) })
            })
            .await?;
        let (Turn { prepared: (key, pending), .. }, signed) = (turn, signed?);
        let seal = pending.finish(&signed.signature)?;
        Ok(MadeSeal { seal, key: key.id.clone(), device: signed.device })
    }
}

fn is_sm2(key: &SigningKey) -> bool {
    matches!(key.shown().public_key, PublicKey::Sm2(_))
}

/// The maker's certificate, which must be valid as long as the seal.
fn maker<'c>(
    key: &SigningKey,
    copy: &'c SigningCopy,
    (from, until): (OffsetDateTime, OffsetDateTime),
) -> Result<&'c Certificate, SigningError> {
    let maker = copy.chain.first().ok_or_else(|| SigningError::Register {
        key: key.id.clone(),
        reason: "a seal maker has a certificate".to_owned(),
    })?;
    if from < maker.not_before() || until > maker.not_after() {
        let (from, until) = (maker.not_before(), maker.not_after());
        return Err(SigningError::SealOutlivesMaker { from, until });
    }
    Ok(maker)
}
