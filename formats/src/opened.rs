//! What a file is, whatever its name: PEM, base64 or bare octets; certificate, SignedData, timestamp, document, proof.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use const_oid::ObjectIdentifier;
use der::{Decode, Reader, SliceReader, Tag};

use crate::csr::Request;
use crate::list::LIST_PROOF_FORMAT;
use crate::x509::Certificate;
use crate::{oid, pem};

/// Kinds of things that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// CMS SignedData of either family.
    Cms,
    /// PDF.
    Pdf,
    /// OFD (GB/T 33190): a ZIP archive.
    Ofd,
    /// Electronic seal or its signature (GB/T 38540).
    Seal,
    /// Timestamp token or response (RFC 3161, GB/T 20520).
    Timestamp,
    /// Certificate.
    Certificate,
    /// Certification request (PKCS #10).
    Request,
    /// Electronic business license: a certificate with a face.
    License,
    /// An item of a signed list, with its proof: JSON.
    ListProof,
    /// A stamped document with what it is verified with later: a ZIP archive.
    Archive,
}

impl Kind {
    /// All of them, with the names callers use.
    pub const NAMES: [(&'static str, Self); 10] = [
        ("cms", Self::Cms),
        ("pdf", Self::Pdf),
        ("ofd", Self::Ofd),
        ("seal", Self::Seal),
        ("tsr", Self::Timestamp),
        ("cert", Self::Certificate),
        ("csr", Self::Request),
        ("license", Self::License),
        ("list-proof", Self::ListProof),
        ("archive", Self::Archive),
    ];

    /// The name callers use.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// The name of an archive package's first file, by which one is known.
pub const ARCHIVE_MANIFEST: &str = "archive-manifest.json";

/// A file without its armour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The octets: DER or BER where it is ASN.1.
    pub octets: Vec<u8>,
    /// What they look like; none where they look like nothing known.
    pub kind: Option<Kind>,
    /// Certificates that stand behind a first one in the same PEM text.
    pub more: Vec<Certificate>,
}

/// PEM labels and what stands below them (RFC 7468, and what is in use beside it).
const LABELS: [(&str, Kind); 8] = [
    ("CERTIFICATE", Kind::Certificate),
    ("X509 CERTIFICATE", Kind::Certificate),
    ("TRUSTED CERTIFICATE", Kind::Certificate),
    ("CERTIFICATE REQUEST", Kind::Request),
    ("NEW CERTIFICATE REQUEST", Kind::Request),
    ("CMS", Kind::Cms),
    ("PKCS7", Kind::Cms),
    ("PKCS #7 SIGNED DATA", Kind::Cms),
];

/// Takes the armour off and looks what is inside. Never fails: what cannot be opened stays as it is.
pub fn open(file: &[u8]) -> Opened {
    // A byte order mark in front of text.
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    if let Ok(text) = std::str::from_utf8(file) {
        let armoured = LABELS.iter().filter(|(label, _)| text.contains(&format!("-----BEGIN {label}-----")));
        let first = armoured.min_by_key(|(label, _)| text.find(&format!("-----BEGIN {label}-----")));
        if let Some((label, kind)) = first {
            let blocks = pem::blocks("file", label, text).unwrap_or_default();
            let Some((octets, more)) = blocks.split_first() else {
                return Opened { octets: file.to_vec(), kind: Some(*kind), more: Vec::new() };
            };
            let more = more.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
            let kind = look(octets).unwrap_or(*kind);
            return Opened { octets: octets.clone(), kind: Some(kind), more };
        }
        let packed: String = text.split_ascii_whitespace().collect();
        if let Some(octets) = STANDARD.decode(packed).ok().filter(|octets| !octets.is_empty())
            && let Some(kind) = look(&octets)
        {
            return Opened { octets, kind: Some(kind), more: Vec::new() };
        }
    }
    Opened { octets: file.to_vec(), kind: look(file), more: Vec::new() }
}

fn look(octets: &[u8]) -> Option<Kind> {
    // A PDF may have up to 1,024 octets before its header (ISO 32000-1, annex H).
    if octets.get(..octets.len().min(1024))?.windows(5).any(|window| window == b"%PDF-") {
        return Some(Kind::Pdf);
    }
    if octets.starts_with(b"PK\x03\x04") {
        // The first entry's local header: at 26 the length of its name, and at 30 the name.
        let is_archive = octets.get(26..28) == Some(&(ARCHIVE_MANIFEST.len() as u16).to_le_bytes()[..])
            && octets[28..].get(2..).is_some_and(|name| name.starts_with(ARCHIVE_MANIFEST.as_bytes()));
        return Some(if is_archive { Kind::Archive } else { Kind::Ofd });
    }
    if octets.trim_ascii_start().first() == Some(&b'{') {
        let (head, name) = (octets.get(..octets.len().min(4096))?, LIST_PROOF_FORMAT.as_bytes());
        return head.windows(name.len()).any(|window| window == name).then_some(Kind::ListProof);
    }
    if octets.first() != Some(&0x30) {
        return None;
    }
    if let Ok(certificate) = Certificate::from_der(octets) {
        return Some(if has_face(&certificate) { Kind::License } else { Kind::Certificate });
    }
    if Request::from_der(octets).is_ok() {
        return Some(Kind::Request);
    }
    let first = first_child(octets)?;
    match Tag::try_from(*first.first()?).ok()? {
        Tag::ObjectIdentifier => content_info(octets, first),
        Tag::Sequence => sequence_first(octets, first),
        _ => None,
    }
}

fn has_face(certificate: &Certificate) -> bool {
    let extensions = certificate.inner().tbs_certificate.extensions.as_deref().unwrap_or_default();
    extensions.iter().any(|extension| extension.extn_id.parent() == Some(oid::LICENSE_FACE_ARC))
}

/// SignedData, or a timestamp token: one whose content is TSTInfo.
fn content_info(octets: &[u8], first: &[u8]) -> Option<Kind> {
    let content_type = identifier(first)?;
    if ![oid::CMS_SIGNED_DATA, oid::GM_SIGNED_DATA].contains(&content_type) {
        return None;
    }
    // ContentInfo → [0] → SignedData, whose third member begins with the type of the content. The octets of that
    // identifier in the first few hundred tell; the judge will look for real.
    let encoded: &[u8] = &[0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
    let head = &octets[..octets.len().min(512)];
    let is_token = head.windows(encoded.len()).any(|window| window == encoded);
    Some(if is_token { Kind::Timestamp } else { Kind::Cms })
}

/// A timestamp response begins with a status, a seal with a header or a version.
fn sequence_first(octets: &[u8], first: &[u8]) -> Option<Kind> {
    let inner = first_child(first)?;
    match Tag::try_from(*inner.first()?).ok()? {
        Tag::Integer => {
            let second = children(octets).ok()?.get(1).copied();
            let is_token = |second: &[u8]| {
                first_child(second).and_then(identifier).is_some_and(|content_type| {
                    [oid::CMS_SIGNED_DATA, oid::GM_SIGNED_DATA].contains(&content_type)
                })
            };
            if second.is_none_or(is_token) {
                return Some(Kind::Timestamp);
            }
            let eseal = children(first).ok()?.get(1).copied()?;
            is_seal(first_child(eseal)?).then_some(Kind::Seal)
        }
        Tag::Sequence => is_seal(first).then_some(Kind::Seal),
        _ => None,
    }
}

/// SES_SealInfo begins with SES_Header, and that with `ES` (GB/T 38540, 6).
fn is_seal(seal_info: &[u8]) -> bool {
    let letters = first_child(seal_info).and_then(first_child);
    letters == Some(&[0x16, 0x02, b'E', b'S'])
}

fn identifier(der: &[u8]) -> Option<ObjectIdentifier> {
    ObjectIdentifier::from_der(der).ok()
}

/// The first element within a constructed one, of definite or indefinite length.
fn first_child(element: &[u8]) -> Option<&[u8]> {
    let content = match element {
        [_, 0x80, rest @ ..] => rest,
        [_, length, rest @ ..] if *length < 0x80 => rest,
        [_, length, rest @ ..] => rest.get(usize::from(length & 0x7f)..)?,
        _ => return None,
    };
    // An indefinite one has no length to cut it by: hand on all that follows.
    if content.get(1) == Some(&0x80) {
        return Some(content);
    }
    SliceReader::new(content).ok()?.tlv_bytes().ok()
}

fn children(element: &[u8]) -> der::Result<Vec<&[u8]>> {
    let mut reader = SliceReader::new(der::asn1::AnyRef::from_der(element)?.value())?;
    let mut found = Vec::new();
    while !reader.is_finished() && found.len() < 8 {
        found.push(reader.tlv_bytes()?);
    }
    Ok(found)
}
