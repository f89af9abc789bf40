//! The document security store (ISO 32000-2, 12.8.4.3; EN 319 142-1, 5.4.2): what a reader needs to judge the
//! signatures when the services that gave it are gone.

use std::collections::HashMap;

use aws_lc_rs::digest;
use lopdf::{Dictionary, Object, ObjectId, Stream};

use super::error::SignError;
use super::source::Source;
use super::update::Update;
use crate::pdf::Document;
use crate::scheme::HashAlgorithm;
use crate::x509::{Certificate, Crl};

const MAX_ITEMS: usize = 1_000;

/// What one signature is judged with: chains and revocation states of its signer and of its timestamp's authority.
#[derive(Clone, Debug, Default)]
pub struct SignatureValidation {
    /// The full name of its field.
    pub field: String,
    /// All certificates of the chains.
    pub certificates: Vec<Certificate>,
    /// Lists.
    pub crls: Vec<Crl>,
    /// OCSP answers (OCSPResponse in DER).
    pub ocsps: Vec<Vec<u8>>,
}

/// The octets to put behind the document: an update with all of it, beside what is there already.
///
/// # Errors
/// [`SignError::FieldUnknown`] for a field that is not there or not signed, those of documents that cannot be updated,
/// and [`SignError::TooLarge`] for more than 1,000 items.
pub fn add_validation_data(
    document: &[u8],
    signatures: &[SignatureValidation],
) -> Result<Vec<u8>, SignError> {
    let count: usize =
        signatures.iter().map(|one| one.certificates.len() + one.crls.len() + one.ocsps.len()).sum();
    if count > MAX_ITEMS {
        return Err(SignError::TooLarge("items of validation data"));
    }
    let document = Document::open(document)?;
    let source = Source::of(&document)?;
    if !source.has_room_for(1) {
        return Err(SignError::TooLarge("updates"));
    }
    let (root, catalog) = source.catalog()?;
    let fields = source.signature_fields()?;
    let present = source.dictionary(catalog, b"DSS");
    let mut store = Store::of(&source, present);
    let mut update = Update::of(&source);
    let mut related =
        present.and_then(|present| source.dictionary(present, b"VRI")).cloned().unwrap_or_default();
    for signature in signatures {
        let field = fields.iter().find(|field| field.name == signature.field);
        let contents = field
            .and_then(|field| field.value.as_ref())
            .and_then(|value| source.entry(&value.dictionary, b"Contents"))
            .and_then(|contents| contents.as_str().ok())
            .ok_or_else(|| SignError::FieldUnknown(signature.field.clone()))?;
        let mut own = Dictionary::new();
        for (kind, octets) in signature.items() {
            let id = store.add(&mut update, kind, octets);
            let list: &mut Vec<Object> = match own.get_mut(kind.related().as_bytes()) {
                Ok(Object::Array(list)) => list,
                _ => {
                    own.set(kind.related(), Vec::<Object>::new());
                    own.get_mut(kind.related().as_bytes())?.as_array_mut()?
                }
            };
            if !list.contains(&id.into()) {
                list.push(id.into());
            }
        }
        let id = update.add(own);
        related.set(name_of(contents), id);
    }
    let mut dss = present.cloned().unwrap_or_default();
    dss.set("Type", "DSS");
    dss.set("VRI", related);
    for kind in Kind::ALL {
        if !store.lists[kind as usize].is_empty() {
            dss.set(kind.name(), std::mem::take(&mut store.lists[kind as usize]));
        }
    }
    match catalog.get(b"DSS") {
        Ok(Object::Reference(id)) => update.put(*id, dss),
        _ => {
            let id = update.add(dss);
            update.change(&source, root)?.set("DSS", id);
        }
    }
    let written = update.write(&source)?;
    source.sound()?;
    Ok(written.octets)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    Crl,
    Ocsp,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Certificate, Self::Crl, Self::Ocsp];

    /// In the store itself.
    fn name(self) -> &'static str {
        ["Certs", "CRLs", "OCSPs"][self as usize]
    }

    /// In what is related to one signature.
    fn related(self) -> &'static str {
        ["Cert", "CRL", "OCSP"][self as usize]
    }
}

impl SignatureValidation {
    fn items(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        let certificates = self.certificates.iter().map(|one| (Kind::Certificate, one.der()));
        let crls = self.crls.iter().map(|one| (Kind::Crl, one.der()));
        let ocsps = self.ocsps.iter().map(|one| (Kind::Ocsp, one.as_slice()));
        certificates.chain(crls).chain(ocsps)
    }
}

/// What the store holds, each thing once.
struct Store {
    lists: [Vec<Object>; 3],
    known: HashMap<(usize, Vec<u8>), ObjectId>,
}

impl Store {
    fn of(source: &Source<'_>, present: Option<&Dictionary>) -> Self {
        let mut store = Self { lists: Default::default(), known: HashMap::new() };
        let Some(present) = present else { return store };
        for kind in Kind::ALL {
            let list = source.array(present, kind.name().as_bytes()).unwrap_or_default();
            store.lists[kind as usize] = list.to_vec();
            for item in list {
                let Ok(id) = item.as_reference() else { continue };
                let Ok(stream) = source.follow(item).as_stream() else { continue };
                if let Ok(octets) = source.content(stream) {
                    store.known.insert((kind as usize, HashAlgorithm::Sha256.digest(&octets)), id);
                }
            }
        }
        store
    }

    fn add(&mut self, update: &mut Update, kind: Kind, octets: &[u8]) -> ObjectId {
        let key = (kind as usize, HashAlgorithm::Sha256.digest(octets));
        *self.known.entry(key).or_insert_with(|| {
            let mut stream = Stream::new(Dictionary::new(), octets.to_vec());
            // What does not become smaller stays as it is.
            let _ = stream.compress();
            let id = update.add(stream);
            self.lists[kind as usize].push(id.into());
            id
        })
    }
}

/// The name of what is related to a signature: SHA-1 of its /Contents, which identifies and protects nothing.
fn name_of(contents: &[u8]) -> String {
    hex::encode_upper(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, contents))
}
