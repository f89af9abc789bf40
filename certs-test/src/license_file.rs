//! License files: public editions (公示版) of a sample license as OFD and PDF, good and with each of six defects.

use std::io::{Cursor, Read, Write};

use formats::edition::PublicEdition;
use formats::font::Font;
use formats::license;
use formats::license_file::FileForm;
use formats::ofd::{OfdSignPlan, OfdSigner, Placement, Provider};
use formats::pdf::sign::{
    FieldPlan, Look, PageRect, Pages, Picture as LookPicture, Place, SignaturePlan, SubFilter, prepare,
};
use formats::scheme::HashAlgorithm;
use formats::seal::{Holders, Picture, Seal, SealDesign, SealPlan, SealSignaturePlan};
use formats::{Algorithm, Certificate, DEFAULT_SIGNER_ID};
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::authority::{Issuer, SANDBOX, ahead, back};
use crate::error::CertsTestError;
use crate::key::{KeyKind, PrivateParts, SoftwareKey};
use crate::license::SampleLicense;
use crate::seed::Seed;
use crate::service;

/// The fact that samples bend.
const NAME: &str = "名称";
/// The side of the seal in millimetres.
const SIDE: u32 = 42;

/// What is wrong with a license file: the six that a judge of files must tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicenseFileDefect {
    /// It breaks off.
    Damaged,
    /// Something was changed after it was sealed.
    Altered,
    /// Sealed with a seal of a maker that nobody trusts.
    Untrusted,
    /// What it shows and its data are another enterprise's name than its certificate's.
    Certificate,
    /// Its page shows another name than its data.
    Shown,
    /// All of it says what an earlier license said: the register has another domicile since.
    Register,
}

impl LicenseFileDefect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Damaged, Self::Altered, Self::Untrusted, Self::Certificate, Self::Shown, Self::Register];

    /// The name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Altered => "altered",
            Self::Untrusted => "untrusted",
            Self::Certificate => "certificate",
            Self::Shown => "shown",
            Self::Register => "register",
        }
    }
}

/// A public edition of a sample license.
#[derive(Clone, Debug)]
pub struct LicenseFile {
    /// OFD or PDF.
    pub form: FileForm,
    /// What is wrong with it; none for a good one.
    pub defect: Option<LicenseFileDefect>,
    /// Whose license it is.
    pub uscc: String,
    /// The file.
    pub octets: Vec<u8>,
}

impl LicenseFile {
    /// `license-good.ofd`, `license-shown.pdf`.
    pub fn file_name(&self) -> String {
        format!("license-{}.{}", self.defect.map_or("good", LicenseFileDefect::name), self.form.name())
    }

    /// The finding code a verifier must give; none for a good file.
    pub fn finding(&self) -> Option<&'static str> {
        Some(match (self.defect?, self.form) {
            (LicenseFileDefect::Damaged, _) => "malformed",
            (LicenseFileDefect::Altered, FileForm::Ofd) => "ofd_part_altered",
            (LicenseFileDefect::Altered, FileForm::Pdf) => "digest_mismatch",
            (LicenseFileDefect::Untrusted, _) => "no_path",
            (LicenseFileDefect::Certificate, _) => "face_differs_from_certificate",
            (LicenseFileDefect::Shown, _) => "shown_text_differs",
            (LicenseFileDefect::Register, _) => "face_differs_from_register",
        })
    }
}

/// What seals public editions, to be kept with a sandbox.
#[derive(Clone, Debug)]
pub struct EditionSealer {
    /// The certificate of the seal's maker, DER.
    pub maker: Vec<u8>,
    /// Who seals, DER.
    pub certificate: Vec<u8>,
    /// The seal (`SESeal`, GB/T 38540).
    pub seal: Vec<u8>,
    /// The sealer's SM2 key.
    pub private: PrivateParts,
}

/// Somebody who seals.
pub(crate) struct Sealer {
    pub(crate) certificate: Certificate,
    pub(crate) key: SoftwareKey,
    pub(crate) seal: Seal,
    pub(crate) picture: Picture,
    pub(crate) at: OffsetDateTime,
}

/// Makes them for a license, and for one that the same enterprise had before.
///
/// With them comes who sealed the good ones.
pub(crate) fn license_files(
    issuer: &Issuer,
    current: &SampleLicense,
    earlier: &[u8],
    seed: &Seed,
    at: OffsetDateTime,
) -> Result<(Vec<LicenseFile>, EditionSealer), CertsTestError> {
    let certificate = Certificate::from_der(&current.der).map_err(sealing)?;
    let (face, _) = license::face(&certificate).map_err(sealing)?;
    let authority = face.registration_authority.clone().unwrap_or_default();
    let stranger = Issuer::new("untrusted", KeyKind::Sm2, seed, at)?;
    let (sealer, maker) =
        Sealer::new(issuer, ["license-seal-maker", "license-sealer"], &authority, seed, at)?;
    let (strange, _) = Sealer::new(&stranger, ["strange-maker", "strange-sealer"], &authority, seed, at)?;
    let mut files = Vec::new();
    for form in [FileForm::Ofd, FileForm::Pdf] {
        let mut add = |defect, octets| {
            files.push(LicenseFile { form, defect, uscc: current.uscc.clone(), octets });
        };
        let good = sealer.sealed(&edition(&current.der)?, form)?;
        add(Some(LicenseFileDefect::Damaged), good[..good.len() / 2].to_vec());
        add(Some(LicenseFileDefect::Altered), altered(&good, form)?);
        add(None, good);
        add(Some(LicenseFileDefect::Untrusted), strange.sealed(&edition(&current.der)?, form)?);
        let mut other = renamed(edition(&current.der)?);
        add(Some(LicenseFileDefect::Shown), sealer.sealed(&other, form)?);
        let data = other.data();
        if let Some(attached) = &mut other.attached {
            attached.data = data;
        }
        add(Some(LicenseFileDefect::Certificate), sealer.sealed(&other, form)?);
        add(Some(LicenseFileDefect::Register), sealer.sealed(&edition(earlier)?, form)?);
    }
    let kept = EditionSealer {
        maker,
        certificate: sealer.certificate.der().to_vec(),
        seal: sealer.seal.der().to_vec(),
        private: sealer.key.private_parts()?,
    };
    Ok((files, kept))
}

/// The public edition of a license that says that it is for tests.
pub(crate) fn edition(der: &[u8]) -> Result<PublicEdition, CertsTestError> {
    let certificate = Certificate::from_der(der).map_err(sealing)?;
    let (face, _) = license::face(&certificate).map_err(sealing)?;
    let notice = "本文件仅用于测试，不具有任何效力。";
    Ok(PublicEdition::of_license(&face, der.to_vec(), "公示版 · 仅用于测试 TEST ONLY", notice))
}

/// Under a name that the certificate does not have.
fn renamed(mut edition: PublicEdition) -> PublicEdition {
    for (_, value) in edition.facts.iter_mut().filter(|(label, _)| label == NAME) {
        *value = value.replace("测试", "测试冒名");
    }
    edition
}

/// Changed after it was sealed.
fn altered(file: &[u8], form: FileForm) -> Result<Vec<u8>, CertsTestError> {
    match form {
        FileForm::Pdf => {
            // The version in the header: no reader minds, and every octet is covered.
            let mut altered = file.to_vec();
            if let Some(digit) = altered.get_mut(b"%PDF-1.".len()) {
                *digit ^= 1;
            }
            Ok(altered)
        }
        FileForm::Ofd => {
            let mut archive = ZipArchive::new(Cursor::new(file)).map_err(sealing)?;
            let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
            for place in 0..archive.len() {
                let mut entry = archive.by_index(place).map_err(sealing)?;
                let name = entry.name().map_err(sealing)?.into_owned();
                let mut octets = Vec::new();
                entry.read_to_end(&mut octets).map_err(sealing)?;
                if name.ends_with("Content.xml") {
                    octets = String::from_utf8(octets).map_err(sealing)?.replace("执照", "抵押").into_bytes();
                }
                writer.start_file(name, SimpleFileOptions::default()).map_err(sealing)?;
                writer.write_all(&octets).map_err(sealing)?;
            }
            Ok(writer.finish().map_err(sealing)?.into_inner())
        }
    }
}

impl Sealer {
    /// With a seal in the name of an authority; the certificate of the seal's maker, DER.
    fn new(
        issuer: &Issuer,
        [maker_id, id]: [&'static str; 2],
        authority: &str,
        seed: &Seed,
        at: OffsetDateTime,
    ) -> Result<(Self, Vec<u8>), CertsTestError> {
        let signer = |id| -> Result<_, CertsTestError> {
            let service = service::service(id, KeyKind::Sm2, issuer, seed, at)?;
            let certificate = Certificate::from_der(&service.chain[0]).map_err(sealing)?;
            Ok((certificate, SoftwareKey::derive(KeyKind::Sm2, seed, id)?))
        };
        let (maker, maker_key) = signer(maker_id)?;
        let maker_der = maker.der().to_vec();
        let (certificate, key) = signer(id)?;
        let design = SealDesign::Round {
            name: authority.to_owned(),
            purpose: Some("仅用于测试".to_owned()),
            code: Some("6101000000001".to_owned()),
            diameter: SIDE,
        };
        let picture = design.draw(Font::built_in()).map_err(sealing)?;
        let pending = SealPlan {
            vendor: "TEST ONLY".to_owned(),
            id: "61010000000001".to_owned(),
            kind: 1,
            name: format!("{authority} TEST ONLY"),
            holders: Holders::Certificates(vec![certificate.clone()]),
            created: back(at, 1)?,
            valid_from: back(at, 1)?,
            valid_until: ahead(at, 1095)?,
            picture: picture.clone(),
            maker,
            algorithm: Algorithm::Sm2Sm3,
            signer_id: DEFAULT_SIGNER_ID.to_vec(),
        }
        .prepare()
        .map_err(sealing)?;
        let signature = maker_key.sign(pending.to_be_signed())?;
        let seal = pending.finish(&signature).map_err(sealing)?;
        Ok((Self { certificate, key, seal, picture, at }, maker_der))
    }

    /// An edition as a sealed file.
    pub(crate) fn sealed(&self, edition: &PublicEdition, form: FileForm) -> Result<Vec<u8>, CertsTestError> {
        match form {
            FileForm::Ofd => self.ofd(&edition.to_ofd(Font::built_in(), self.at).map_err(sealing)?),
            FileForm::Pdf => self.pdf(edition.to_pdf(Font::built_in(), self.at).map_err(sealing)?),
        }
    }

    fn ofd(&self, plain: &[u8]) -> Result<Vec<u8>, CertsTestError> {
        let boundary = PublicEdition::seal_place(f64::from(SIDE), f64::from(SIDE));
        let pending = OfdSignPlan {
            ofd: plain,
            document: 0,
            signer: OfdSigner::Seal {
                seal: Box::new(self.seal.clone()),
                certificate: Box::new(self.certificate.clone()),
                stamps: vec![Placement { page: 0, boundary, clip: None }],
            },
            algorithm: Algorithm::Sm2Sm3,
            signer_id: DEFAULT_SIGNER_ID.to_vec(),
            signed_at: self.at,
            provider: Provider {
                name: "certs-test".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                company: SANDBOX.to_owned(),
            },
        }
        .prepare()
        .map_err(sealing)?;
        let signature = self.key.sign(pending.to_be_signed())?;
        pending.finish(&signature, None).map_err(sealing)
    }

    /// With a seal signature as Chinese readers know it (`/GM.sm2seal`).
    fn pdf(&self, mut plain: Vec<u8>) -> Result<Vec<u8>, CertsTestError> {
        let place = PublicEdition::seal_place(f64::from(SIDE), f64::from(SIDE));
        let [left, top, width, height] = [place.x, place.y, place.width, place.height].map(|n| n as f32);
        let rect = PageRect { left, top, width, height };
        let picture = LookPicture::new(self.picture.octets.clone()).map_err(sealing)?;
        let prepared = prepare(
            &plain,
            &SignaturePlan {
                field: FieldPlan::New { name: None, places: vec![Place::Rect { pages: Pages::All, rect }] },
                look: Some(Look::of_picture(picture)),
                // The seal with its picture, and the signature.
                room: self.seal.der().len() + 8_192,
                time: Some(self.at.to_offset(UtcOffset::UTC)), // written with its offset
                ..SignaturePlan::new(SubFilter::Sm2Seal, HashAlgorithm::Sm3)
            },
        )
        .map_err(sealing)?;
        let pending = SealSignaturePlan {
            seal: self.seal.clone(),
            signer: self.certificate.clone(),
            algorithm: Algorithm::Sm2Sm3,
            signer_id: DEFAULT_SIGNER_ID.to_vec(),
            signed_at: self.at,
            data_hash: prepared.digest().try_into().map_err(sealing)?,
            property_info: "ByteRange".to_owned(),
        }
        .prepare()
        .map_err(sealing)?;
        let signature = self.key.sign(pending.to_be_signed())?;
        let sealed = pending.finish(&signature, None).map_err(sealing)?;
        plain.extend(prepared.finish(&sealed).map_err(sealing)?);
        Ok(plain)
    }
}

pub(crate) fn sealing(error: impl std::fmt::Display) -> CertsTestError {
    CertsTestError::Seal(error.to_string())
}
