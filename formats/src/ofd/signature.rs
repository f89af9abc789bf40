//! Signature.xml (GB/T 33190, 18.2): what a signature protects and where its seal is shown. Elements may come in any
//! order, as producers write them in several.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::document::{Deviations, Rect, find, tree};
use super::error::OfdError;
use super::package::Package;
use super::xml::Element;
use crate::oid;
use crate::scheme::HashAlgorithm;

/// The most parts that a signature may protect; a package has no more.
const MAX_REFERENCES: usize = super::package::MAX_ENTRIES;

/// A part and the digest that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// As it is written.
    pub(super) location: String,
    /// The part, if there is one.
    pub(super) part: Option<String>,
    pub(super) check_value: Vec<u8>,
}

/// Where a seal is shown.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Stamp {
    /// Its own number.
    pub id: String,
    /// The number of the page.
    pub page: String,
    /// Where on the page, in millimetres.
    pub boundary: Rect,
    /// The part of the picture that is shown, in millimetres from the picture's corner; all of it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<Rect>,
}

/// What Signature.xml says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) provider: Option<String>,
    pub(super) method: Option<String>,
    pub(super) check_method: Option<String>,
    pub(super) date_time: Option<String>,
    pub(super) references: Vec<Reference>,
    pub(super) stamps: Vec<Stamp>,
    /// The part with the seal, as it is written.
    pub(super) seal: Option<(String, Option<String>)>,
    /// The part with the signature value.
    pub(super) signed_value: Option<String>,
}

impl Description {
    pub(super) fn read(
        package: &Package<'_>,
        part: &str,
        deviations: &mut Deviations,
    ) -> Result<Self, OfdError> {
        let root = tree(package, part, "Signature", deviations)?;
        Self::of(package, part, &root, deviations).map_err(|reason| OfdError::part(part, reason))
    }

    fn of(
        package: &Package<'_>,
        part: &str,
        root: &Element,
        deviations: &mut Deviations,
    ) -> Result<Self, String> {
        let info = root.child("SignedInfo")?.ok_or("it has no SignedInfo")?;
        let list = info.child("References")?.ok_or("it has no References")?;
        let mut references = Vec::new();
        for reference in list.children("Reference") {
            if references.len() == MAX_REFERENCES {
                return Err("it has too many references".to_owned());
            }
            let location = reference.attribute("FileRef").ok_or("a reference has no FileRef")?.to_owned();
            let packed: String = reference
                .value("CheckValue")?
                .ok_or("a reference has no CheckValue")?
                .split_whitespace()
                .collect();
            let check_value = STANDARD.decode(packed).map_err(|_| "a CheckValue is no base64")?;
            let part = find(package, part, &location, deviations);
            references.push(Reference { location, part, check_value });
        }
        let mut stamps = Vec::new();
        for stamp in info.children("StampAnnot") {
            let boxed = |name: &'static str| -> Result<Option<Rect>, String> {
                let text = stamp.value(name)?;
                text.map(|text| Rect::parse(text).ok_or_else(|| format!("a {name} is no box"))).transpose()
            };
            stamps.push(Stamp {
                id: stamp.attribute("ID").unwrap_or_default().to_owned(),
                page: stamp.value("PageRef")?.ok_or("a StampAnnot has no PageRef")?.to_owned(),
                boundary: boxed("Boundary")?.ok_or("a StampAnnot has no Boundary")?,
                clip: boxed("Clip")?,
            });
        }
        let seal = match info.child("Seal")? {
            Some(seal) => {
                let location = seal.value("BaseLoc")?.ok_or("the Seal has no BaseLoc")?.to_owned();
                let found = find(package, part, &location, deviations);
                Some((location, found))
            }
            None => None,
        };
        let provider = info.child("Provider")?.map(|provider| {
            let told = ["ProviderName", "Version", "Company"].map(|name| provider.value(name).ok().flatten());
            told.into_iter().flatten().collect::<Vec<_>>().join(", ")
        });
        Ok(Self {
            provider,
            method: info.value("SignatureMethod")?.map(str::to_owned),
            check_method: list.value("CheckMethod")?.map(str::to_owned),
            date_time: info.value("SignatureDateTime")?.map(str::to_owned),
            references,
            stamps,
            seal,
            signed_value: root
                .value("SignedValue")?
                .and_then(|location| find(package, part, location, deviations)),
        })
    }

    /// The hash of the check values: an object identifier, or a name, as producers write it.
    pub(super) fn hash(&self) -> Result<HashAlgorithm, String> {
        let Some(written) = &self.check_method else { return Err("no CheckMethod is named".to_owned()) };
        let dotted = |id: const_oid::ObjectIdentifier| *written == id.to_string();
        let named = |name: &str| written.replace('-', "").eq_ignore_ascii_case(name);
        match () {
            () if named("SM3") || dotted(oid::SM3) || dotted(oid::SM3_PLAIN) => Ok(HashAlgorithm::Sm3),
            () if named("SHA256") || dotted(oid::SHA256) => Ok(HashAlgorithm::Sha256),
            () if named("SHA384") || dotted(oid::SHA384) => Ok(HashAlgorithm::Sha384),
            () if named("SHA512") || dotted(oid::SHA512) => Ok(HashAlgorithm::Sha512),
            () => Err(format!("the CheckMethod {written}")),
        }
    }

    /// The time that stands in Signature.xml, in one of the forms that producers write; those without a zone are
    /// China's, eight hours before UTC.
    pub(super) fn time(&self) -> Option<OffsetDateTime> {
        let text = self.date_time.as_deref()?.trim();
        if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
            return Some(time);
        }
        let local = |time: PrimitiveDateTime| time.assume_offset(time::macros::offset!(+8));
        let compact = format_description!("[year][month][day][hour][minute][second]");
        if let Some(utc) = text.strip_suffix('Z') {
            let whole = utc.split('.').next().unwrap_or(utc);
            return PrimitiveDateTime::parse(whole, compact).ok().map(PrimitiveDateTime::assume_utc);
        }
        PrimitiveDateTime::parse(text, compact)
            .or_else(|_| {
                PrimitiveDateTime::parse(
                    text,
                    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"),
                )
            })
            .or_else(|_| {
                PrimitiveDateTime::parse(
                    text,
                    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]"),
                )
            })
            .ok()
            .map(local)
    }
}
