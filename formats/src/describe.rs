//! What a certificate says, for people and policies. Read with `x509-parser`, a second reader beside the one
//! that judges: nothing here decides a verdict.

use serde::Serialize;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::error::FormatError;
use crate::x509::Certificate;

/// The parts of a certificate that people ask about. Empty lists stand for absent extensions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateFacts {
    /// Kind of public key, such as `SM2` or `RSA`.
    pub key: String,
    /// keyUsage (RFC 5280 4.2.1.3), by the standard's names.
    pub key_usage: Vec<&'static str>,
    /// extKeyUsage (RFC 5280 4.2.1.12): names where known, else dotted identifiers.
    pub extended_key_usage: Vec<String>,
    /// subjectAltName (RFC 5280 4.2.1.6), such as `DNS:localhost`.
    pub subject_alternative_names: Vec<String>,
    /// Whether basicConstraints say that it is an authority.
    pub authority: bool,
}

/// Reads the facts of a certificate.
///
/// # Errors
/// [`FormatError::Malformed`] when the second reader cannot make sense of it, and the errors of
/// [`Certificate::public_key`].
pub fn describe(certificate: &Certificate) -> Result<CertificateFacts, FormatError> {
    let malformed = |reason: String| FormatError::Malformed { what: "certificate", reason };
    let (_, parsed) =
        X509Certificate::from_der(certificate.der()).map_err(|error| malformed(error.to_string()))?;
    let mut facts = CertificateFacts {
        key: certificate.public_key()?.kind().to_owned(),
        key_usage: Vec::new(),
        extended_key_usage: Vec::new(),
        subject_alternative_names: Vec::new(),
        authority: false,
    };
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => {
                let named = [
                    (usage.digital_signature(), "digitalSignature"),
                    (usage.non_repudiation(), "nonRepudiation"),
                    (usage.key_encipherment(), "keyEncipherment"),
                    (usage.data_encipherment(), "dataEncipherment"),
                    (usage.key_agreement(), "keyAgreement"),
                    (usage.key_cert_sign(), "keyCertSign"),
                    (usage.crl_sign(), "cRLSign"),
                    (usage.encipher_only(), "encipherOnly"),
                    (usage.decipher_only(), "decipherOnly"),
                ];
                facts.key_usage = named.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let named = [
                    (usage.any, "anyExtendedKeyUsage"),
                    (usage.server_auth, "serverAuth"),
                    (usage.client_auth, "clientAuth"),
                    (usage.code_signing, "codeSigning"),
                    (usage.email_protection, "emailProtection"),
                    (usage.time_stamping, "timeStamping"),
                    (usage.ocsp_signing, "OCSPSigning"),
                ];
                let named = named.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned());
                facts.extended_key_usage = named.chain(usage.other.iter().map(ToString::to_string)).collect();
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                facts.subject_alternative_names = names.general_names.iter().map(alternative_name).collect();
            }
            ParsedExtension::BasicConstraints(constraints) => facts.authority = constraints.ca,
            _ => {}
        }
    }
    Ok(facts)
}

fn alternative_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("URI:{name}"),
        GeneralName::IPAddress(octets) => match *octets {
            [a, b, c, d] => format!("IP:{}", std::net::Ipv4Addr::new(*a, *b, *c, *d)),
            octets => match <[u8; 16]>::try_from(octets) {
                Ok(octets) => format!("IP:{}", std::net::Ipv6Addr::from(octets)),
                Err(_) => format!("IP:{}", hex::encode(octets)),
            },
        },
        other => format!("{other:?}"),
    }
}
