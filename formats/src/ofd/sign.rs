//! Appending a signature, in two steps, so that whoever holds the key needs to know nothing of OFD.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::UTF_8;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::annotations::{Drawing, annotated};
use super::document::{Body, Deviations, Listed, MAX_TREE, Page, ROOT, bodies, listed, pages};
use super::error::OfdError;
use super::package::{MAX_ENTRIES, Package, resolve};
use super::signature::Description;
use super::splice::{append, places, prefix};
use super::stamps::Placement;
use super::verify::MAX_SIGNATURES;
use super::xml::{self, NAMESPACE, escape};
use crate::algorithm::Algorithm;
use crate::cms::{self, Content, Family, SignedDataPlan};
use crate::error::FormatError;
use crate::scheme::SignatureScheme;
use crate::seal::{PendingSealSignature, Seal, SealSignaturePlan};
use crate::x509::Certificate;

/// Who signs, and with what.
#[derive(Clone, Debug)]
pub enum OfdSigner {
    /// With an electronic seal, shown where `stamps` say (type Seal).
    Seal {
        /// The seal.
        seal: Box<Seal>,
        /// The signer's certificate, which the seal must list.
        certificate: Box<Certificate>,
        /// Where it is shown.
        stamps: Vec<Placement>,
    },
    /// Without one (type Sign).
    Sign {
        /// The certificates to include, the signer's first.
        chain: Vec<Certificate>,
    },
}

/// The software that signs, as it is written into the signature.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who made it.
    pub company: String,
}

/// What a signature is to be made of, whoever's it will be.
#[derive(Clone, Debug)]
pub struct OfdPlan<'a> {
    /// The package.
    pub ofd: &'a [u8],
    /// Which document of the package, counted from 0.
    pub document: usize,
    /// The seal and where it is shown (type Seal); none for a signature alone (type Sign).
    pub seal: Option<(&'a Seal, &'a [Placement])>,
    /// What is seen beside it; the first signature alone can have any.
    pub drawings: &'a [Drawing],
    /// How the key signs.
    pub algorithm: Algorithm,
    /// When, written to the second.
    pub signed_at: OffsetDateTime,
    /// The software that signs.
    pub provider: Provider,
}

/// The parts that a signature adds and changes, which wait for its value. It borrows nothing of the package.
#[derive(Clone, Debug)]
pub struct PreparedOfd {
    /// Parts with new content, and new parts.
    parts: Vec<(String, Vec<u8>)>,
    /// The Signature.xml.
    part: String,
    /// Where its value goes.
    signed_value: String,
    digest: [u8; 32],
}

/// What a signature is to be made of.
#[derive(Clone, Debug)]
pub struct OfdSignPlan<'a> {
    /// The package.
    pub ofd: &'a [u8],
    /// Which document of the package, counted from 0.
    pub document: usize,
    /// Who signs.
    pub signer: OfdSigner,
    /// How the key signs.
    pub algorithm: Algorithm,
    /// The identifier in SM2's Z.
    pub signer_id: Vec<u8>,
    /// When, written to the second.
    pub signed_at: OffsetDateTime,
    /// The software that signs.
    pub provider: Provider,
}

/// A package that waits for its signature.
#[derive(Clone, Debug)]
pub struct PendingOfd<'a> {
    ofd: &'a [u8],
    waiting: Waiting,
    prepared: PreparedOfd,
}

#[derive(Clone, Debug)]
enum Waiting {
    Seal(Box<PendingSealSignature>),
    Sign(Box<cms::Pending>),
}

/// Where the new signature goes.
struct Site {
    list: String,
    folder: String,
    id: u64,
    /// OFD.xml, if it has to name the list.
    root: Option<Vec<u8>>,
    list_octets: Vec<u8>,
}

impl<'a> OfdSignPlan<'a> {
    /// Settles everything that is to be signed: the digests of all parts, and where the seal is shown.
    ///
    /// # Errors
    /// As [`OfdPlan::prepare`]; [`OfdError::Format`] as [`SealSignaturePlan::prepare`] and [`cms::prepare`] do.
    pub fn prepare(self) -> Result<PendingOfd<'a>, OfdError> {
        let Self { ofd, document, signer, algorithm, signer_id, signed_at, provider } = self;
        let seal = match &signer {
            OfdSigner::Seal { seal, stamps, .. } => Some((&**seal, &**stamps)),
            OfdSigner::Sign { .. } => None,
        };
        let prepared =
            OfdPlan { ofd, document, seal, drawings: &[], algorithm, signed_at, provider }.prepare()?;
        let waiting = match signer {
            OfdSigner::Seal { seal, certificate, .. } => {
                let plan = SealSignaturePlan {
                    seal: *seal,
                    signed_at,
                    data_hash: prepared.digest,
                    property_info: prepared.location(),
                    signer: *certificate,
                    algorithm,
                    signer_id,
                };
                Waiting::Seal(Box::new(plan.prepare()?))
            }
            OfdSigner::Sign { chain } => {
                let plan = SignedDataPlan {
                    family: Family::Gbt35275,
                    algorithm,
                    content: Content::Bytes(prepared.digest.to_vec()),
                    detached: false,
                    chain,
                    signing_time: Some(signed_at),
                    signer_id,
                };
                Waiting::Sign(Box::new(cms::prepare(plan)?))
            }
        };
        Ok(PendingOfd { ofd, waiting, prepared })
    }
}

impl OfdPlan<'_> {
    /// Settles what the signature describes: the digests of all parts, and where the seal is shown.
    ///
    /// # Errors
    /// [`OfdError::Plan`] for a document or page that is not there, a package in which an earlier signature protects
    /// the list of signatures, so that none can be added, one with a signature already if something is to be drawn, or one
    /// that would have too much in it to be read; the rest for packages that cannot be read.
    pub fn prepare(&self) -> Result<PreparedOfd, OfdError> {
        let package = Package::open(self.ofd)?;
        let bodies = bodies(&package, &mut Deviations::default())?;
        let lists: Vec<&String> = bodies.iter().filter_map(|body| body.signatures.as_ref()).collect();
        let body = bodies.get(self.document);
        let body = body.ok_or_else(|| OfdError::Plan(format!("there is no document {}", self.document)))?;
        let mut earlier = Vec::new();
        for list in lists.iter().filter(|list| package.has(list)) {
            earlier.extend(listed(&package, list, &mut Deviations::default())?);
        }
        if earlier.len() >= MAX_SIGNATURES {
            return Err(OfdError::Plan(format!("it has {MAX_SIGNATURES} signatures already")));
        }
        let of_document = match body.signatures.as_ref().filter(|list| package.has(list)) {
            Some(list) => listed(&package, list, &mut Deviations::default())?,
            None => Vec::new(),
        };
        let site = Site::find(&package, body, self.document, &of_document)?;
        refuse_locked(&package, &earlier, &site)?;
        // Each earlier signature protects the pages as they were, annotations and all.
        if !self.drawings.is_empty() && !earlier.is_empty() {
            let reason = "it is signed already; text and QR codes come with the first signature alone";
            return Err(OfdError::Plan(reason.to_owned()));
        }
        let pages = match self.seal.is_some() || !self.drawings.is_empty() {
            true => pages(&package, &body.root)?,
            false => Vec::new(),
        };
        let drawn = annotated(&package, body, &pages, self.drawings, self.signed_at, &self.provider.name)?;
        // The description and the value, the seal, and a list where there is none.
        let new = drawn.iter().filter(|(part, _)| !package.has(part)).count();
        let added = 2 + usize::from(self.seal.is_some()) + usize::from(!package.has(&site.list)) + new;
        if package.entries() + added > MAX_ENTRIES {
            let reason = format!("with the signature it would have more than {MAX_ENTRIES} entries");
            return Err(OfdError::Plan(reason));
        }

        let (kind, stamps) = match self.seal {
            Some((_, stamps)) => ("Seal", stamped(&pages, stamps)?),
            None => ("Sign", String::new()),
        };
        let part = format!("{}/Signature.xml", site.folder);
        let signed_value = format!("{}/SignedValue.dat", site.folder);
        let seal_part = format!("{}/Seal.esl", site.folder);
        let references = self.references(&package, &lists, &site, &drawn)?;
        let seal = self.seal.map_or(String::new(), |_| {
            format!("<ofd:Seal><ofd:BaseLoc>/{}</ofd:BaseLoc></ofd:Seal>", escape(&seal_part))
        });
        let scheme = SignatureScheme::from(self.algorithm);
        let signature_xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ofd:Signature xmlns:ofd=\"{NAMESPACE}\"><ofd:SignedInfo>\
             <ofd:Provider ProviderName=\"{}\" Version=\"{}\" Company=\"{}\"/>\
             <ofd:SignatureMethod>{}</ofd:SignatureMethod>\
             <ofd:SignatureDateTime>{}</ofd:SignatureDateTime>\
             {references}{stamps}{seal}</ofd:SignedInfo><ofd:SignedValue>/{}</ofd:SignedValue></ofd:Signature>",
            escape(&self.provider.name),
            escape(&self.provider.version),
            escape(&self.provider.company),
            scheme.identifier().oid,
            compact(self.signed_at)?,
            escape(&signed_value),
        )
        .into_bytes();
        // As it could not be read again.
        if signature_xml.len() as u64 > MAX_TREE {
            return Err(OfdError::Plan(format!("its signature would have more than {MAX_TREE} octets")));
        }

        let mut parts = drawn;
        parts.extend(site.root.map(|octets| (ROOT.to_owned(), octets)));
        let entry = format!(
            "<ofd:Signature xmlns:ofd=\"{NAMESPACE}\" ID=\"{}\" Type=\"{kind}\" BaseLoc=\"/{}\"/>",
            site.id,
            escape(&part)
        );
        parts.push((site.list.clone(), listed_also(&site.list, site.list_octets, site.id, &entry)?));
        parts.extend(self.seal.map(|(seal, _)| (seal_part, seal.der().to_vec())));
        let mut digest = [0; 32];
        digest.copy_from_slice(&scheme.hash().digest(&signature_xml));
        parts.push((part.clone(), signature_xml));
        // What a package says of its places may be that two are one; that is to be found before a key signs.
        let mut places: HashSet<&str> = parts.iter().map(|(part, _)| part.as_str()).collect();
        if places.len() < parts.len() || !places.insert(&signed_value) {
            return Err(OfdError::Plan("two of its places are one part".to_owned()));
        }
        Ok(PreparedOfd { parts, part, signed_value, digest })
    }

    /// Every part but the lists of signatures, with the digest it will have; `drawn` are parts that change or come in.
    fn references(
        &self,
        package: &Package<'_>,
        lists: &[&String],
        site: &Site,
        drawn: &[(String, Vec<u8>)],
    ) -> Result<String, OfdError> {
        let hash = SignatureScheme::from(self.algorithm).hash();
        let mut text = format!("<ofd:References CheckMethod=\"{}\">", hash.oid());
        let new = drawn.iter().map(|(part, _)| part.as_str()).filter(|part| !package.has(part));
        for name in package.names().chain(new) {
            if name == site.list || lists.iter().any(|list| *list == name) {
                continue;
            }
            let changed = drawn.iter().find(|(part, _)| part == name);
            let digest = match (&site.root, changed) {
                (Some(octets), _) if name == ROOT => hash.digest(octets),
                (_, Some((_, octets))) => hash.digest(octets),
                _ => package.digest(name, hash)?,
            };
            let value = STANDARD.encode(digest);
            let name = escape(name);
            let _ = write!(
                text,
                "<ofd:Reference FileRef=\"/{name}\"><ofd:CheckValue>{value}</ofd:CheckValue></ofd:Reference>"
            ); // a String takes everything
        }
        text.push_str("</ofd:References>");
        Ok(text)
    }
}

/// Where the seal is shown.
fn stamped(pages: &[Page], stamps: &[Placement]) -> Result<String, OfdError> {
    let mut text = String::new();
    for (number, stamp) in stamps.iter().enumerate() {
        let page = pages.get(stamp.page);
        let page = page.ok_or_else(|| OfdError::Plan(format!("there is no page {}", stamp.page + 1)))?;
        let boxes = [Some(stamp.boundary), stamp.clip];
        if boxes.iter().flatten().any(|area| !area.is_finite() || area.width == 0.0 || area.height == 0.0) {
            return Err(OfdError::Plan("a stamp has no size".to_owned()));
        }
        let clip = stamp.clip.map_or(String::new(), |clip| format!(" Clip=\"{clip}\""));
        let (id, page, boundary) = (number + 1, escape(&page.id), stamp.boundary);
        let _ =
            write!(text, "<ofd:StampAnnot ID=\"{id}\" PageRef=\"{page}\" Boundary=\"{boundary}\"{clip}/>"); // a String takes everything
    }
    Ok(text)
}

impl PreparedOfd {
    /// The digest of the Signature.xml: what a seal signature has as `dataHash`, and a signature without a seal as its
    /// content. SM3 for SM2, SHA-256 otherwise.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The Signature.xml.
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Where the Signature.xml stands, as a seal signature's `propertyInfo` says it.
    pub fn location(&self) -> String {
        format!("/{}", self.part)
    }

    /// The package, which it was prepared for, with the signature: a `SES_Signature` with a seal, else a CMS. Parts that
    /// were there keep their packed octets; OFD.xml and the list of signatures are written anew where they change.
    ///
    /// # Errors
    /// [`OfdError::Package`] if the archive cannot be written.
    pub fn finish(mut self, ofd: &[u8], value: Vec<u8>) -> Result<Vec<u8>, OfdError> {
        self.parts.push((self.signed_value, value));
        write(&Package::open(ofd)?, self.parts).map_err(|error| OfdError::Package(error.to_string()))
    }
}

impl Site {
    fn find(
        package: &Package<'_>,
        body: &Body,
        document: usize,
        listed: &[Listed],
    ) -> Result<Self, OfdError> {
        let (list, root) = match &body.signatures {
            Some(list) => (list.clone(), None),
            None => {
                let list = resolve(&body.root, "Signs/Signatures.xml").filter(|list| !package.has(list));
                let list =
                    list.ok_or_else(|| OfdError::Plan("its place for signatures is taken".to_owned()))?;
                let octets = with_list(package.read(ROOT)?, document, &list)?;
                (list, Some(octets))
            }
        };
        let list_octets = match package.has(&list) {
            true => package.read(&list)?,
            false => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ofd:Signatures xmlns:ofd=\"{NAMESPACE}\">\
                 <ofd:MaxSignId>0</ofd:MaxSignId></ofd:Signatures>"
            )
            .into_bytes(),
        };
        let numbers = listed
            .iter()
            .filter_map(|one| one.id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().ok());
        let id = numbers.max().unwrap_or(0).max(listed.len() as u64).saturating_add(1);
        let folder = |number: usize| resolve(&list, &format!("Sign_{number}"));
        let free = |folder: &String| {
            !package.names().any(|name| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
        };
        let folder = (listed.len()..listed.len() + package.names().count() + 1).filter_map(folder).find(free);
        let folder = folder.ok_or_else(|| OfdError::Plan("no folder is free".to_owned()))?;
        Ok(Self { list, folder, id, root, list_octets })
    }
}

/// A signature that protects what an appended one has to change would not survive it.
fn refuse_locked(package: &Package<'_>, earlier: &[Listed], site: &Site) -> Result<(), OfdError> {
    for one in earlier {
        let description = Description::read(package, &one.part, &mut Deviations::default())?;
        let locks = |part: &str| part == site.list || site.root.is_some() && part == ROOT;
        if description.references.iter().filter_map(|reference| reference.part.as_deref()).any(locks) {
            let reason = format!("the signature {} permits no further signatures", one.id);
            return Err(OfdError::Plan(reason));
        }
    }
    Ok(())
}

/// What is put in is UTF-8.
pub(super) fn text(part: &str, octets: Vec<u8>) -> Result<String, OfdError> {
    let encoding = xml::declared(&octets).map_err(|reason| OfdError::part(part, reason))?;
    if encoding != UTF_8 {
        return Err(OfdError::Plan(format!("{part} is {}; only to UTF-8 can be added", encoding.name())));
    }
    String::from_utf8(octets).map_err(|_| OfdError::part(part, "it is not UTF-8"))
}

/// OFD.xml with the list of signatures named.
fn with_list(root: Vec<u8>, document: usize, list: &str) -> Result<Vec<u8>, OfdError> {
    let mut text = text(ROOT, root)?;
    let found = places(&text, "DocBody", 1).map_err(|reason| OfdError::part(ROOT, reason))?;
    let place = found.get(document).ok_or_else(|| OfdError::part(ROOT, "a DocBody is not found again"))?;
    let prefix = prefix(&place.name);
    let named = format!("<{prefix}Signatures>/{}</{prefix}Signatures>", escape(list));
    append(&mut text, place, &named);
    Ok(text.into_bytes())
}

/// Signatures.xml with one more entry, and MaxSignId raised if it is there.
fn listed_also(part: &str, octets: Vec<u8>, id: u64, entry: &str) -> Result<Vec<u8>, OfdError> {
    let failed = |reason: String| OfdError::part(part, reason);
    let mut text = text(part, octets)?;
    let roots = places(&text, "Signatures", 0).map_err(failed)?;
    let root = roots.first().ok_or_else(|| failed("its root is not found again".to_owned()))?;
    append(&mut text, root, entry);
    // It stands before the entries, whose place was used first.
    let highest = places(&text, "MaxSignId", 1).map_err(failed)?;
    if let Some(place) = highest.first().filter(|place| !place.empty) {
        text.replace_range(place.content.clone(), &id.to_string());
    }
    Ok(text.into_bytes())
}

fn compact(time: OffsetDateTime) -> Result<String, OfdError> {
    time.to_offset(UtcOffset::UTC)
        .format(format_description!("[year][month][day][hour][minute][second]Z"))
        .map_err(|_| OfdError::Plan("the time cannot be written".to_owned()))
}

impl PendingOfd<'_> {
    /// What is signed: `TBS_Sign` of the seal signature, or the signed attributes: for a key that hashes by itself.
    pub fn to_be_signed(&self) -> &[u8] {
        match &self.waiting {
            Waiting::Seal(pending) => pending.to_be_signed(),
            Waiting::Sign(pending) => pending.to_be_signed(),
        }
    }

    /// e (SM2) or the SHA-256 of [`to_be_signed`](Self::to_be_signed): for a key that signs digests.
    pub fn digest(&self) -> [u8; 32] {
        match &self.waiting {
            Waiting::Seal(pending) => pending.digest(),
            Waiting::Sign(pending) => pending.digest(),
        }
    }

    /// Checks `signature` (SM2 and ECDSA in DER) and puts everything together, as [`PreparedOfd::finish`] does.
    ///
    /// `timestamp`: a token (DER) over the octets of `signature`, for a seal signature.
    ///
    /// # Errors
    /// [`OfdError::Format`] with [`FormatError::SignatureInvalid`]; as [`PreparedOfd::finish`].
    pub fn finish(self, signature: &[u8], timestamp: Option<&[u8]>) -> Result<Vec<u8>, OfdError> {
        let value = match (self.waiting, timestamp) {
            (Waiting::Seal(pending), timestamp) => pending.finish(signature, timestamp)?,
            (Waiting::Sign(pending), None) => pending.finish(signature)?,
            (Waiting::Sign(_), Some(_)) => {
                return Err(
                    FormatError::Plan("a signature without a seal has no place for the timestamp").into()
                );
            }
        };
        self.prepared.finish(self.ofd, value)
    }
}

/// Copies the archive with some parts replaced and others added.
fn write(package: &Package<'_>, mut parts: Vec<(String, Vec<u8>)>) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = package.archive();
    let added: usize = parts.iter().map(|(_, octets)| octets.len()).sum();
    let size = archive.clone().into_inner().into_inner().len();
    let mut writer = ZipWriter::new(Cursor::new(Vec::with_capacity(size + added)));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for place in 0..archive.len() {
        let entry = archive.by_index_raw(place)?;
        let name = entry.name()?.into_owned();
        match parts.iter().position(|(part, _)| *part == name) {
            Some(found) => {
                let (name, octets) = parts.remove(found);
                writer.start_file(name, options)?;
                writer.write_all(&octets)?;
            }
            None => writer.raw_copy_file(entry)?,
        }
    }
    for (name, octets) in parts {
        writer.start_file(name, options)?;
        writer.write_all(&octets)?;
    }
    Ok(writer.finish()?.into_inner())
}
