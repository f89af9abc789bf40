//! Does a certificate speak for a name?

use std::net::IpAddr;

use der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::error::FormatError;
use crate::oid;
use crate::uscc::Uscc;
use crate::x509::Certificate;

/// commonName and organizationName (RFC 5280, A.1).
const NAMES: [const_oid::ObjectIdentifier; 2] =
    [const_oid::ObjectIdentifier::new_unwrap("2.5.4.3"), const_oid::ObjectIdentifier::new_unwrap("2.5.4.10")];

/// Is `name` one of the certificate's?
///
/// A host name, IP address or mail address is looked for in subjectAltName alone (RFC 9525, 6): host names without
/// regard to case, `*` for one whole left-most label. Any other name must be the subject's commonName or
/// organizationName, letter for letter.
///
/// # Errors
/// [`FormatError::Malformed`] for a subjectAltName that cannot be read.
pub fn speaks_for(certificate: &Certificate, name: &str) -> Result<bool, FormatError> {
    let alternatives: Option<SubjectAltName> = certificate.extension(oid::SUBJECT_ALT_NAME)?;
    let alternatives = alternatives.map(|names| names.0).unwrap_or_default();
    let address = name.parse::<IpAddr>().ok();
    let in_alternatives = alternatives.iter().any(|alternative| match alternative {
        GeneralName::DnsName(pattern) => address.is_none() && host_matches(pattern.as_str(), name),
        GeneralName::Rfc822Name(mail) => mail_matches(mail.as_str(), name),
        GeneralName::IpAddress(octets) => match address {
            Some(IpAddr::V4(address)) => octets.as_bytes() == address.octets(),
            Some(IpAddr::V6(address)) => octets.as_bytes() == address.octets(),
            None => false,
        },
        _ => false,
    });
    let is_other = address.is_none() && !is_host(name) && !name.contains('@');
    Ok(in_alternatives || is_other && in_subject(certificate, name))
}

/// Letters, digits, hyphens and dots, at least one dot, or `localhost`: what an ordinary name is not.
fn is_host(name: &str) -> bool {
    let permitted = |character: char| character.is_ascii_alphanumeric() || "-.".contains(character);
    name.chars().all(permitted) && (name.contains('.') || name.eq_ignore_ascii_case("localhost"))
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        // A star stands for one label, and never for a name right under the root.
        Some(parent) => host.split_once('.').is_some_and(|(label, rest)| {
            !label.is_empty() && parent.contains('.') && rest.eq_ignore_ascii_case(parent)
        }),
    }
}

fn mail_matches(pattern: &str, mail: &str) -> bool {
    match (pattern.rsplit_once('@'), mail.rsplit_once('@')) {
        (Some((local, host)), Some((wanted, at))) => local == wanted && host.eq_ignore_ascii_case(at),
        _ => false,
    }
}

/// organizationName (RFC 5280, A.1).
const ORGANIZATION: const_oid::ObjectIdentifier = const_oid::ObjectIdentifier::new_unwrap("2.5.4.10");
/// Where authorities put an organisation's code: organizationIdentifier (X.520), serialNumber, organizationalUnitName.
const CODES: [const_oid::ObjectIdentifier; 3] = [
    const_oid::ObjectIdentifier::new_unwrap("2.5.4.97"),
    const_oid::ObjectIdentifier::new_unwrap("2.5.4.5"),
    const_oid::ObjectIdentifier::new_unwrap("2.5.4.11"),
];
/// What stands before a unified social credit code in organizationIdentifier (EN 319 412-1, 5.1.4).
const REGISTER: &str = "NTRCN-";

/// Is this the certificate of the enterprise with this name and this unified social credit code?
///
/// Every organizationName of the subject must be the name, letter for letter, and there must be one; organizationIdentifier,
/// serialNumber or organizationalUnitName must be the code.
pub fn is_of_enterprise(certificate: &Certificate, name: &str, uscc: &Uscc) -> bool {
    let mut organizations = values(certificate, &[ORGANIZATION]).peekable();
    organizations.peek().is_some()
        && organizations.all(|organization| organization.as_deref() == Some(name))
        && values(certificate, &CODES)
            .flatten()
            .any(|code| code.strip_prefix(REGISTER).unwrap_or(&code) == uscc.as_str())
}

/// Is this the certificate of who has this name and, if there is one, this unified social credit code?
///
/// Names are no identity: enterprises of one name are told apart by their codes. Where the holder has a code and the subject
/// has one, in organizationIdentifier, or else in serialNumber, or else in organizationalUnitName, the codes decide, and
/// the name says nothing. Otherwise the certificate must [speak for](speaks_for) the whole name.
pub fn is_of_holder(certificate: &Certificate, name: &str, uscc: Option<&Uscc>) -> bool {
    let codes = |kind: &const_oid::ObjectIdentifier| -> Vec<Uscc> {
        let texts = values(certificate, std::slice::from_ref(kind)).flatten().collect::<Vec<_>>();
        let code = |text: &String| Uscc::parse_sandbox(text.strip_prefix(REGISTER).unwrap_or(text)).ok();
        texts.iter().filter_map(code).collect()
    };
    let named = CODES.iter().map(codes).find(|codes| !codes.is_empty());
    match (uscc, named) {
        (Some(uscc), Some(named)) => named.iter().all(|code| code == uscc),
        (_, _) => speaks_for(certificate, name).unwrap_or(false),
    }
}

fn in_subject(certificate: &Certificate, name: &str) -> bool {
    values(certificate, &NAMES).any(|value| value.as_deref() == Some(name))
}

/// The subject's attributes of these types; none for one that is no text.
fn values<'c>(
    certificate: &'c Certificate,
    types: &'c [const_oid::ObjectIdentifier],
) -> impl Iterator<Item = Option<String>> + 'c {
    let parts = certificate.inner().tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    parts.filter(|part| types.contains(&part.oid)).map(|part| text(&part.value))
}

/// The text of a DirectoryString, UTF-8 and its subsets.
fn text(value: &der::Any) -> Option<String> {
    use der::{Encode, Tag, Tagged};
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        Tag::BmpString => {
            der::asn1::BmpString::from_der(&value.to_der().ok()?).ok().map(|text| text.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_whole_label() {
        for (pattern, host, matches) in [
            ("example.test", "EXAMPLE.test", true),
            ("example.test", "example.test.", true),
            ("*.example.test", "a.example.test", true),
            ("*.example.test", "a.b.example.test", false),
            ("*.example.test", "example.test", false),
            ("*.test", "a.test", false),
            ("a*.example.test", "ab.example.test", false),
        ] {
            assert_eq!(host_matches(pattern, host), matches, "{pattern} {host}");
        }
        assert!(mail_matches("a@Example.test", "a@example.test"));
        assert!(!mail_matches("A@example.test", "a@example.test"));
    }
}
