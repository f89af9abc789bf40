//! What a leaf's key may be used for, as its keyUsage and extKeyUsage say.

use const_oid::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::error::FormatError;
use crate::oid;
use crate::x509::Certificate;

/// What the leaf's key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Signing documents: keyUsage, when present, must hold digitalSignature or nonRepudiation, and
    /// extKeyUsage, when present, must not be only about servers, timestamps or OCSP.
    DocumentSigning,
    /// Being an electronic business license: the same, with the relaxations of this module's table.
    License,
    /// Issuing timestamps: extKeyUsage is there, critical, and holds timeStamping alone (RFC 3161, 2.3).
    TimeStamping,
    /// Proving a TLS server: extKeyUsage, when present, must hold serverAuth (RFC 5280, 4.2.1.12).
    TlsServer,
    /// Proving a TLS client: extKeyUsage, when present, must hold clientAuth.
    TlsClient,
    /// Having things encrypted to it: the other half of an SM2 pair (GM/T 0015).
    Encryption,
    /// Signing certificates.
    Authority,
    /// No purpose in particular: path, validity and revocation only.
    Any,
}

/// Purposes that have nothing to do with documents.
const OTHER_PURPOSES: [ObjectIdentifier; 3] = [oid::SERVER_AUTH, oid::TIME_STAMPING, oid::OCSP_SIGNING];

impl Usage {
    /// All of them, with the names callers use.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("document", Self::DocumentSigning),
        ("license", Self::License),
        ("timestamp", Self::TimeStamping),
        ("tls-server", Self::TlsServer),
        ("tls-client", Self::TlsClient),
        ("encryption", Self::Encryption),
        ("ca", Self::Authority),
        ("any", Self::Any),
    ];

    /// For findings: what the key would have to be for.
    pub(super) fn purpose(self) -> &'static str {
        match self {
            Self::DocumentSigning | Self::License => "signing documents",
            Self::TimeStamping => "timestamps alone",
            Self::TlsServer => "TLS servers",
            Self::TlsClient => "TLS clients",
            Self::Encryption => "encryption",
            Self::Authority => "signing certificates",
            Self::Any => "anything",
        }
    }

    /// Does the certificate permit this usage?
    pub(super) fn permitted_by(self, certificate: &Certificate) -> Result<bool, FormatError> {
        let usage = certificate.extension::<KeyUsage>(oid::KEY_USAGE)?;
        let purposes = certificate.extension::<ExtendedKeyUsage>(oid::EXT_KEY_USAGE)?;
        let by_usage = |permits: fn(&KeyUsage) -> bool| usage.as_ref().is_none_or(permits);
        let by_purpose = |wanted| {
            let named = |found: &ObjectIdentifier| [wanted, oid::ANY_EXTENDED_KEY_USAGE].contains(found);
            purposes.as_ref().is_none_or(|purposes| purposes.0.iter().any(named))
        };
        Ok(match self {
            Self::DocumentSigning | Self::License => may_sign_documents(certificate)?,
            Self::TimeStamping => may_timestamp(certificate)?,
            Self::TlsServer => {
                by_purpose(oid::SERVER_AUTH)
                    && by_usage(|u| u.digital_signature() || u.key_encipherment() || u.key_agreement())
            }
            Self::TlsClient => {
                by_purpose(oid::CLIENT_AUTH) && by_usage(|u| u.digital_signature() || u.key_agreement())
            }
            Self::Encryption => {
                by_usage(|u| u.key_encipherment() || u.data_encipherment() || u.key_agreement())
            }
            Self::Authority => {
                let constraints = certificate.extension::<BasicConstraints>(oid::BASIC_CONSTRAINTS)?;
                constraints.is_some_and(|constraints| constraints.ca) && by_usage(KeyUsage::key_cert_sign)
            }
            Self::Any => true,
        })
    }
}

/// Do keyUsage and extKeyUsage, where present, permit signing documents? The encryption certificate
/// of an SM2 pair does not (GM/T 0015).
pub(crate) fn may_sign_documents(certificate: &Certificate) -> Result<bool, FormatError> {
    let by_usage = certificate
        .extension::<KeyUsage>(oid::KEY_USAGE)?
        .is_none_or(|usage| usage.digital_signature() || usage.non_repudiation());
    let by_purpose = certificate
        .extension::<ExtendedKeyUsage>(oid::EXT_KEY_USAGE)?
        .is_none_or(|purposes| purposes.0.iter().any(|purpose| !OTHER_PURPOSES.contains(purpose)));
    Ok(by_usage && by_purpose)
}

/// Is extKeyUsage there, critical, and about timestamps alone (RFC 3161, 2.3), and does keyUsage permit signing?
pub(crate) fn may_timestamp(certificate: &Certificate) -> Result<bool, FormatError> {
    let by_usage = certificate
        .extension::<KeyUsage>(oid::KEY_USAGE)?
        .is_none_or(|usage| usage.digital_signature() || usage.non_repudiation());
    let alone = certificate
        .extension::<ExtendedKeyUsage>(oid::EXT_KEY_USAGE)?
        .is_some_and(|purposes| purposes.0 == [oid::TIME_STAMPING]);
    Ok(by_usage && alone && is_critical(certificate, oid::EXT_KEY_USAGE))
}

fn is_critical(certificate: &Certificate, id: ObjectIdentifier) -> bool {
    let extensions = certificate.inner().tbs_certificate.extensions.as_deref().unwrap_or_default();
    extensions.iter().any(|extension| extension.extn_id == id && extension.critical)
}
