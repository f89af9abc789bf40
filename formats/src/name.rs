//! Distinguished names as RFC 5280, 7.1 compares them.

use const_oid::ObjectIdentifier;
use der::{Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RelativeDistinguishedName};

/// A name folded for comparison: equal for names that differ in letter case, in runs of blanks or between
/// PrintableString and UTF8String only. Folding is by Unicode's lower case, without the compatibility
/// mappings of StringPrep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoldedName(Vec<FoldedPart>);

/// One relative name, its attributes in order.
type FoldedPart = Vec<(ObjectIdentifier, Option<Tag>, Vec<u8>)>;

impl FoldedName {
    pub(crate) fn new(name: &Name) -> Self {
        Self(name.0.iter().map(part).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does the name lie in the subtree below `base` (RFC 5280, 4.2.1.10)?
    pub(crate) fn is_within(&self, base: &Self) -> bool {
        self.0.starts_with(&base.0)
    }

    /// The name one level deeper: a nameRelativeToCRLIssuer made absolute.
    pub(crate) fn with(&self, relative: &RelativeDistinguishedName) -> Self {
        let mut parts = self.0.clone();
        parts.push(part(relative));
        Self(parts)
    }
}

fn part(relative: &RelativeDistinguishedName) -> FoldedPart {
    let mut attributes: FoldedPart = relative.0.iter().map(attribute).collect();
    attributes.sort();
    attributes
}

fn attribute(attribute: &AttributeTypeAndValue) -> (ObjectIdentifier, Option<Tag>, Vec<u8>) {
    let (tag, octets) = (attribute.value.tag(), attribute.value.value());
    match (tag, std::str::from_utf8(octets)) {
        (Tag::PrintableString | Tag::Utf8String, Ok(text)) => (attribute.oid, None, fold(text).into_bytes()),
        (Tag::Ia5String, Ok(text)) => (attribute.oid, Some(tag), fold(text).into_bytes()),
        _ => (attribute.oid, Some(tag), octets.to_vec()),
    }
}

fn fold(text: &str) -> String {
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}
