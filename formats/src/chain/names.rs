//! Name constraints (RFC 5280, 4.2.1.10).

use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

use super::subject_of;
use crate::error::FormatError;
use crate::name::FoldedName;
use crate::oid;
use crate::verdict::Judgement;
use crate::x509::Certificate;

/// The most comparisons of a name with a subtree along one path.
const MAX_COMPARISONS: usize = 1 << 17;

/// A name that a certificate bears, or the base of a subtree.
enum Form {
    Directory(FoldedName),
    Email(String),
    Dns(String),
    Uri(String),
    Ip(Vec<u8>),
    /// One of the forms that are not compared here; constraining them refuses all.
    Other(u8),
}

struct Subtrees {
    permitted: Vec<Form>,
    excluded: Vec<Form>,
}

/// Judges the names of all certificates of `path`, leaf first, by the constraints of those above them.
/// Certificates that renew an authority's key are exempt, as RFC 5280, 6.1.3 (b) says.
pub(super) fn judge(path: &[&Certificate]) -> Judgement {
    let mut judgement = Judgement::new();
    let mut constraints: Vec<(&Certificate, Subtrees)> = Vec::new();
    let mut comparisons_left = MAX_COMPARISONS;
    for (position, certificate) in path.iter().enumerate().rev() {
        let is_renewal = position > 0 && certificate.is_self_issued();
        if !constraints.is_empty() && !is_renewal {
            match names(certificate) {
                Ok(names) => check(certificate, &names, &constraints, &mut comparisons_left, &mut judgement),
                Err(error) => judgement.invalid("malformed", error.to_string()),
            }
        }
        if position > 0 {
            match subtrees(certificate) {
                Ok(None) => {}
                Ok(Some(subtrees)) => constraints.push((certificate, subtrees)),
                Err(error) => judgement.invalid("malformed", error.to_string()),
            }
        }
    }
    judgement
}

fn check(
    certificate: &Certificate,
    names: &[Form],
    constraints: &[(&Certificate, Subtrees)],
    comparisons_left: &mut usize,
    judgement: &mut Judgement,
) {
    for (authority, subtrees) in constraints {
        let cost = names.len() * (subtrees.permitted.len() + subtrees.excluded.len());
        let Some(left) = comparisons_left.checked_sub(cost) else {
            let detail = format!("{} meets too many name constraints to compare", subject_of(certificate));
            judgement.invalid("name_not_permitted", detail);
            return;
        };
        *comparisons_left = left;
        if names.iter().any(|name| !subtrees.permit(name)) {
            let (subject, authority) = (subject_of(certificate), subject_of(authority));
            judgement.invalid(
                "name_not_permitted",
                format!("a name of {subject} is outside of what {authority} may certify"),
            );
        }
    }
}

fn subtrees(certificate: &Certificate) -> Result<Option<Subtrees>, FormatError> {
    let Some(constraints) = certificate.extension::<NameConstraints>(oid::NAME_CONSTRAINTS)? else {
        return Ok(None);
    };
    let malformed = |reason: &str| {
        FormatError::malformed("certificate", format!("{}: {reason}", subject_of(certificate)))
    };
    if constraints.permitted_subtrees.is_none() && constraints.excluded_subtrees.is_none() {
        return Err(malformed("its name constraints constrain nothing"));
    }
    let bases = |subtrees: Option<Vec<GeneralSubtree>>| {
        let subtrees = subtrees.unwrap_or_default();
        if subtrees.iter().any(|subtree| subtree.minimum != 0 || subtree.maximum.is_some()) {
            return Err(malformed("its name constraints have minimum or maximum"));
        }
        Ok(subtrees.iter().map(|subtree| form(&subtree.base)).collect())
    };
    let permitted = bases(constraints.permitted_subtrees)?;
    let excluded = bases(constraints.excluded_subtrees)?;
    Ok(Some(Subtrees { permitted, excluded }))
}

/// The subject, its e-mail addresses where they stand nowhere else, and the alternative names.
fn names(certificate: &Certificate) -> Result<Vec<Form>, FormatError> {
    let alternative = certificate.extension::<SubjectAltName>(oid::SUBJECT_ALT_NAME)?;
    let mut names: Vec<_> = alternative.iter().flat_map(|names| &names.0).map(form).collect();
    if !names.iter().any(|name| matches!(name, Form::Email(_))) {
        let attributes = certificate.inner().tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
        for attribute in attributes.filter(|attribute| attribute.oid == oid::EMAIL_ADDRESS) {
            names.push(Form::Email(String::from_utf8_lossy(attribute.value.value()).into_owned()));
        }
    }
    if !certificate.subject_name().is_empty() {
        names.push(Form::Directory(certificate.subject_name().clone()));
    }
    Ok(names)
}

fn form(name: &GeneralName) -> Form {
    match name {
        GeneralName::DirectoryName(name) => Form::Directory(FoldedName::new(name)),
        GeneralName::Rfc822Name(name) => Form::Email(name.as_str().to_owned()),
        GeneralName::DnsName(name) => Form::Dns(name.as_str().to_ascii_lowercase()),
        GeneralName::UniformResourceIdentifier(uri) => Form::Uri(uri.as_str().to_owned()),
        GeneralName::IpAddress(octets) => Form::Ip(octets.as_bytes().to_vec()),
        GeneralName::OtherName(_) => Form::Other(0),
        GeneralName::EdiPartyName(_) => Form::Other(5),
        GeneralName::RegisteredId(_) => Form::Other(8),
    }
}

impl Subtrees {
    fn permit(&self, name: &Form) -> bool {
        let of_its_form = |bases: &[Form]| bases.iter().any(|base| base.is_like(name));
        // What cannot be compared is taken for what speaks against the name.
        let permitted = !of_its_form(&self.permitted)
            || self.permitted.iter().any(|base| base.contains(name, false) == Some(true));
        let excluded = self
            .excluded
            .iter()
            .filter(|base| base.is_like(name))
            .any(|base| base.contains(name, true) != Some(false));
        permitted && !excluded
    }
}

impl Form {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(form), Self::Other(other)) => form == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Does the subtree below this base contain `name`? None when that cannot be told. `excluding`: a
    /// wildcard lies in every subtree that one of its hosts lies in.
    fn contains(&self, name: &Self, excluding: bool) -> Option<bool> {
        match (self, name) {
            (Self::Directory(base), Self::Directory(name)) => Some(name.is_within(base)),
            (Self::Email(base), Self::Email(name)) => email_is_within(name, base),
            (Self::Dns(base), Self::Dns(name)) => Some(match name.strip_prefix("*.") {
                Some(domain) if excluding => {
                    host_is_within(domain, base)
                        || base.split_once('.').is_some_and(|(_, parent)| parent == domain)
                }
                _ => host_is_within(name, base),
            }),
            (Self::Uri(base), Self::Uri(name)) => uri_is_within(name, base),
            (Self::Ip(base), Self::Ip(name)) => ip_is_within(name, base),
            _ => None,
        }
    }
}

/// Zero or more labels may stand before the base; a base that starts with a dot asks for one at least.
fn host_is_within(host: &str, base: &str) -> bool {
    if base.is_empty() {
        return true;
    }
    match host.strip_suffix(base) {
        Some(rest) if base.starts_with('.') => !rest.is_empty(),
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

/// A base is a mailbox, a host, or with a leading dot a domain.
fn email_is_within(address: &str, base: &str) -> Option<bool> {
    let (mailbox, host) = address.rsplit_once('@')?;
    if mailbox.is_empty() || host.is_empty() {
        return None;
    }
    Some(match base.rsplit_once('@') {
        Some((base_mailbox, base_host)) => base_mailbox == mailbox && base_host.eq_ignore_ascii_case(host),
        None if base.starts_with('.') => {
            host_is_within(&host.to_ascii_lowercase(), &base.to_ascii_lowercase())
        }
        None => base.is_empty() || host.eq_ignore_ascii_case(base),
    })
}

/// A base is a host, or with a leading dot a domain; addresses instead of host names are never within.
fn uri_is_within(uri: &str, base: &str) -> Option<bool> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.starts_with('[') {
        return None;
    }
    let host = host.split_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    if host.is_empty() || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    let base = base.to_ascii_lowercase();
    Some(if base.starts_with('.') { host_is_within(&host, &base) } else { base.is_empty() || host == base })
}

/// A base is an address and a mask.
fn ip_is_within(address: &[u8], base: &[u8]) -> Option<bool> {
    if !matches!(base.len(), 8 | 32) || !matches!(address.len(), 4 | 16) {
        return None;
    }
    let (network, mask) = base.split_at(base.len() / 2);
    if network.len() != address.len() {
        return Some(false);
    }
    Some(address.iter().zip(network).zip(mask).all(|((a, n), m)| a & m == n & m))
}
