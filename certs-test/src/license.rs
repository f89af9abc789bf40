//! Sample licenses in the shape of real ones, good and bad.

use std::collections::BTreeMap;

use const_oid::ObjectIdentifier;
use serde::Serialize;
use time::OffsetDateTime;
use x509_cert::ext::pkix::CrlReason;

use crate::authority::{Issuer, ahead, back};
use crate::certificate::{self, DistinguishedName, Request, Revocation};
use crate::enterprise::{self, Enterprise, PER_TEMPLATE, TEMPLATES, china_time};
use crate::error::CertsTestError;
use crate::key::{KeyKind, PrivateParts, SoftwareKey};
use crate::seed::Seed;

/// Who issues licenses; only an organisation, as in real ones, and unmistakably none of them.
const ISSUER: &str = "测试用 TEST ONLY 市场监督管理总局信息中心";

/// For how many days a license is good.
pub(crate) const TERM_DAYS: i64 = 5 * 365;

/// The face attributes that samples bend.
const USCC: u16 = 13;
const DOMICILE: u16 = 29;

/// What a sample is a sample of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicenseKind {
    /// Nothing is wrong with it.
    Good,
    /// Its five years ended a year ago.
    Expired,
    /// On the license authority's revocation list.
    Revoked,
    /// The domicile was changed after signing.
    Tampered,
    /// Signed with a wrong check character in its code.
    WrongUscc,
}

impl LicenseKind {
    /// The name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Tampered => "tampered",
            Self::WrongUscc => "wrong-uscc",
        }
    }

    /// The finding code a verifier must give; none for a good license.
    pub fn finding(self) -> Option<&'static str> {
        match self {
            Self::Good => None,
            Self::Expired => Some("expired"),
            Self::Revoked => Some("revoked"),
            Self::Tampered => Some("issuer_signature_invalid"),
            Self::WrongUscc => Some("uscc_invalid"),
        }
    }
}

/// One made-up enterprise's license.
#[derive(Clone, Debug)]
pub struct SampleLicense {
    /// What it is a sample of.
    pub kind: LicenseKind,
    /// A 内资公司, B 内资非公司企业 or C 合伙企业.
    pub template: char,
    /// Counts licenses of the same kind and template from 1.
    pub number: usize,
    /// The code on the face; wrong in a sample of that.
    pub uscc: String,
    /// 执照序列号, 32 decimal digits.
    pub license_serial: String,
    /// The certificate.
    pub der: Vec<u8>,
    /// The face attributes as the certificate carries them.
    pub face: BTreeMap<u16, String>,
    /// Registration status for the library: 1 存续, 2 吊销,未注销.
    pub status: u8,
    /// The holder's SM2 key, for the phone simulator.
    pub private: PrivateParts,
}

impl SampleLicense {
    /// `A-good`, `A-good-2`, `A-wrong-uscc`: the file name without its ending.
    pub fn file_stem(&self) -> String {
        match self.number {
            1 => format!("{}-{}", self.template, self.kind.name()),
            number => format!("{}-{}-{number}", self.template, self.kind.name()),
        }
    }
}

/// What is made for each template: four good ones and one of each other kind.
const SAMPLES: [(LicenseKind, usize); PER_TEMPLATE] = [
    (LicenseKind::Good, 1),
    (LicenseKind::Good, 2),
    (LicenseKind::Good, 3),
    (LicenseKind::Good, 4),
    (LicenseKind::Expired, 1),
    (LicenseKind::Revoked, 1),
    (LicenseKind::Tampered, 1),
    (LicenseKind::WrongUscc, 1),
];

/// The license authority, SM2.
pub(crate) fn authority(seed: &Seed, at: OffsetDateTime) -> Result<Issuer, CertsTestError> {
    let named = |common_name: &str| DistinguishedName {
        country: "",
        organisation: ISSUER.to_owned(),
        common_name: common_name.to_owned(),
    };
    Issuer::with_names("license", named("TEST ONLY LICENSE Root CA"), named(""), KeyKind::Sm2, seed, at)
}

/// Makes every sample and puts the revoked ones on the authority's list.
pub(crate) fn samples(
    issuer: &mut Issuer,
    seed: &Seed,
    at: OffsetDateTime,
) -> Result<Vec<SampleLicense>, CertsTestError> {
    let mut licenses = Vec::new();
    for template in TEMPLATES {
        for (index, (kind, number)) in SAMPLES.into_iter().enumerate() {
            let issued = match kind {
                LicenseKind::Expired => back(at, 6 * 365)?,
                _ => back(at, 30)?,
            };
            let enterprise = enterprise::enterprise(template, index, issued)?;
            let serial = LicenseSerial::new(enterprise.region, issued, licenses.len() as u64 + 1)?;
            if kind == LicenseKind::Revoked {
                let reason = CrlReason::CessationOfOperation;
                issuer.revoke(Revocation { serial: serial.bytes, at: back(at, 7)?, reason });
            }
            licenses.push(sample(kind, number, enterprise, serial, issuer, seed)?);
        }
    }
    Ok(licenses)
}

/// The license that the first enterprise had before it moved: good, and not the register's any more.
pub(crate) fn earlier(issuer: &Issuer, seed: &Seed, at: OffsetDateTime) -> Result<Vec<u8>, CertsTestError> {
    let mut enterprise = enterprise::enterprise(TEMPLATES[0], 0, back(at, 90)?)?;
    let serial = LicenseSerial::new(enterprise.region, enterprise.issued, 1)?; // the time of issue tells it from the later one
    let domicile = enterprise.face.entry(DOMICILE).or_default();
    *domicile = domicile.replace("测试路", "测试旧路");
    Ok(sample(LicenseKind::Good, 1, enterprise, serial, issuer, seed)?.der)
}

fn sample(
    kind: LicenseKind,
    number: usize,
    enterprise: Enterprise,
    serial: LicenseSerial,
    issuer: &Issuer,
    seed: &Seed,
) -> Result<SampleLicense, CertsTestError> {
    let Enterprise { template, uscc, name, issued, mut face, .. } = enterprise;
    let mut uscc = uscc.to_string();
    if kind == LicenseKind::WrongUscc {
        let wrong = if uscc.ends_with('0') { '1' } else { '0' };
        uscc.pop();
        uscc.push(wrong);
        face.insert(USCC, uscc.clone());
    }

    let key =
        SoftwareKey::derive(KeyKind::Sm2, seed, &format!("license {template} {} {number}", kind.name()))?;
    let mut der = issuer.issue(asked(&name, &face, issued, serial.bytes, &key)?)?;
    if kind == LicenseKind::Tampered
        && let Some(domicile) = face.get_mut(&DOMICILE)
    {
        *domicile = domicile.replace("测试路", "冒名路");
        der = certificate::tamper(&der, face_oid(DOMICILE)?, domicile.as_bytes())?;
    }

    Ok(SampleLicense {
        kind,
        template,
        number,
        uscc,
        license_serial: serial.digits,
        der,
        face,
        status: if kind == LicenseKind::Revoked { 2 } else { 1 },
        private: key.private_parts()?,
    })
}

/// What a license's certificate says.
pub(crate) fn asked(
    name: &str,
    face: &BTreeMap<u16, String>,
    issued: OffsetDateTime,
    serial: [u8; 16],
    key: &SoftwareKey,
) -> Result<Request, CertsTestError> {
    Ok(Request {
        serial,
        subject: DistinguishedName {
            country: "CN",
            organisation: name.to_owned(),
            common_name: name.to_owned(),
        },
        not_before: issued,
        not_after: ahead(issued, TERM_DAYS)?,
        key: key.spki()?,
        extensions: face
            .iter()
            .map(|(number, text)| certificate::raw_extension(face_oid(*number)?, false, text.as_bytes()))
            .collect::<Result<_, _>>()?,
    })
}

/// 0.6.3.1040.N.
fn face_oid(number: u16) -> Result<ObjectIdentifier, CertsTestError> {
    ObjectIdentifier::from_arcs([0, 6, 3, 1040, u32::from(number)])
        .map_err(|error| CertsTestError::Encode { what: "a face attribute", source: error.into() })
}

/// A license's serial number: 32 decimal digits, and the same as the nibbles of 16 octets.
pub(crate) struct LicenseSerial {
    pub(crate) digits: String,
    pub(crate) bytes: [u8; 16],
}

impl LicenseSerial {
    /// Region (6), time of issue `yyyyMMddHHmmss` (14), sequence (12).
    pub(crate) fn new(region: &str, at: OffsetDateTime, sequence: u64) -> Result<Self, CertsTestError> {
        let issued = at.to_offset(china_time());
        let digits = format!(
            "{region}{:04}{:02}{:02}{:02}{:02}{:02}{sequence:012}",
            issued.year(),
            u8::from(issued.month()),
            issued.day(),
            issued.hour(),
            issued.minute(),
            issued.second(),
        );
        let mut bytes = [0; 16];
        hex::decode_to_slice(&digits, &mut bytes).map_err(|_| CertsTestError::Time(at))?;
        Ok(Self { digits, bytes })
    }
}
