//! Validation data that comes with the document (ETSI EN 319 142-1, 5.4.2): more certificates, CRLs and OCSP responses
//! for the judge. Each is signed by who answers for it, so it does not matter who put it there.

use lopdf::{Dictionary, Object};

use super::super::PdfError;
use super::super::document::View;
use crate::chain::TrustStore;
use crate::ocsp::OcspResponse;
use crate::verdict::Judgement;
use crate::x509::{Certificate, Crl};

/// The most of each kind that are read.
const MOST: usize = 200;

/// The trust store with what the document brings.
pub(super) fn with_validation_data(
    view: &View<'_, '_>,
    trust: &TrustStore,
    judgement: &mut Judgement,
) -> Result<TrustStore, PdfError> {
    let Some(dss) = view.dictionary(&view.catalog()?, b"DSS")? else { return Ok(trust.clone()) };
    let mut unreadable = 0;
    let certificates = read(view, &dss, b"Certs", Certificate::from_der, &mut unreadable)?;
    let crls = read(view, &dss, b"CRLs", Crl::from_der, &mut unreadable)?;
    let ocsp = read(view, &dss, b"OCSPs", OcspResponse::from_der, &mut unreadable)?;
    if unreadable > 0 {
        let detail = format!("{unreadable} of the document's certificates, CRLs and OCSP responses");
        judgement.note("validation_data_unreadable", detail);
    }
    Ok(trust.clone().with_more(certificates, crls, ocsp))
}

fn read<T, E>(
    view: &View<'_, '_>,
    dss: &Dictionary,
    key: &[u8],
    parse: fn(&[u8]) -> Result<T, E>,
    unreadable: &mut usize,
) -> Result<Vec<T>, PdfError> {
    let mut found = Vec::new();
    let values = view.array(dss, key)?;
    *unreadable += values.len().saturating_sub(MOST);
    for value in values.iter().take(MOST) {
        let parsed = match view.resolve(value)? {
            Object::Stream(stream) => view.content(&stream).ok().and_then(|octets| parse(&octets).ok()),
            _ => None,
        };
        match parsed {
            Some(parsed) => found.push(parsed),
            None => *unreadable += 1,
        }
    }
    Ok(found)
}
