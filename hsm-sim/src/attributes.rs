//! Attribute sets: what templates say and what objects consist of.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    rules::{Form, rule},
};

const ULONG: usize = size_of::<CK_ULONG>();

/// A set of attributes, each at most once. Values are wiped when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Attributes(BTreeMap<CK_ATTRIBUTE_TYPE, Zeroizing<Vec<u8>>>);

impl Attributes {
    /// From a caller's template: every attribute known, once, and of the right form.
    pub(crate) fn from_template(
        entries: impl IntoIterator<Item = (CK_ATTRIBUTE_TYPE, Vec<u8>)>,
    ) -> Result<Self> {
        let mut attributes = Self::default();
        for (attribute, value) in entries {
            let form = rule(attribute).ok_or(Error::AttributeTypeInvalid)?.form;
            let well_formed = match form {
                Form::Flag => matches!(value[..], [CK_FALSE] | [CK_TRUE]),
                Form::Number => value.len() == ULONG,
                Form::Date => matches!(value.len(), 0 | 8),
                Form::Numbers => value.len().is_multiple_of(ULONG),
                Form::Octets => true,
            };
            if !well_formed {
                return Err(Error::AttributeValueInvalid);
            }
            if attributes.0.insert(attribute, Zeroizing::new(value)).is_some() {
                return Err(Error::TemplateInconsistent);
            }
        }
        Ok(attributes)
    }

    /// The value of an attribute.
    pub(crate) fn get(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.0.get(&attribute).map(|value| value.as_slice())
    }

    /// The value of an attribute the template must have.
    pub(crate) fn require(&self, attribute: CK_ATTRIBUTE_TYPE) -> Result<&[u8]> {
        self.get(attribute).ok_or(Error::TemplateIncomplete)
    }

    /// Whether a flag is present and true.
    pub(crate) fn flag(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        self.get(attribute) == Some(&[CK_TRUE])
    }

    /// The value of a number.
    pub(crate) fn number(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        self.get(attribute)?.try_into().ok().map(CK_ULONG::from_ne_bytes)
    }

    /// The values of a list of numbers.
    pub(crate) fn numbers(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<Vec<CK_ULONG>> {
        let words = self.get(attribute)?.chunks_exact(ULONG);
        Some(words.filter_map(|word| word.try_into().ok().map(CK_ULONG::from_ne_bytes)).collect())
    }

    /// Sets a value.
    pub(crate) fn set(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) {
        self.0.insert(attribute, Zeroizing::new(value.to_vec()));
    }

    /// Takes a value away.
    pub(crate) fn remove(&mut self, attribute: CK_ATTRIBUTE_TYPE) {
        self.0.remove(&attribute);
    }

    /// Sets a flag.
    pub(crate) fn set_flag(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: bool) {
        self.set(attribute, &[if value { CK_TRUE } else { CK_FALSE }]);
    }

    /// Sets a number.
    pub(crate) fn set_number(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: CK_ULONG) {
        self.set(attribute, &value.to_ne_bytes());
    }

    /// Sets a value unless there is one.
    pub(crate) fn default_to(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) {
        self.0.entry(attribute).or_insert_with(|| Zeroizing::new(value.to_vec()));
    }

    /// Sets a flag unless it is set.
    pub(crate) fn default_flag(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: bool) {
        self.default_to(attribute, &[if value { CK_TRUE } else { CK_FALSE }]);
    }

    /// Takes in another set, whose values win.
    pub(crate) fn merge(&mut self, other: &Attributes) {
        self.0.extend(other.0.iter().map(|(attribute, value)| (*attribute, value.clone())));
    }

    /// Every attribute and its value, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &[u8])> {
        self.0.iter().map(|(attribute, value)| (*attribute, value.as_slice()))
    }

    /// Parts the set in two: those for which the test holds, and the rest.
    pub(crate) fn partition(&self, test: impl Fn(CK_ATTRIBUTE_TYPE) -> bool) -> (Attributes, Attributes) {
        let (yes, no) =
            self.0.iter().map(|(a, v)| (*a, v.clone())).partition::<BTreeMap<_, _>, _>(|(a, _)| test(*a));
        (Self(yes), Self(no))
    }

    /// For storage: type (8 octets), length (4), value; little-endian.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoded = Zeroizing::new(Vec::new());
        for (attribute, value) in self.iter() {
            encoded.extend_from_slice(&attribute.to_le_bytes());
            encoded.extend_from_slice(&(value.len() as u32).to_le_bytes());
            encoded.extend_from_slice(value);
        }
        encoded
    }

    /// Reads what [`Attributes::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(mut encoded: &[u8]) -> Option<Self> {
        let mut attributes = Self::default();
        while !encoded.is_empty() {
            let (attribute, rest) = encoded.split_first_chunk::<8>()?;
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            attributes.set(u64::from_le_bytes(*attribute), value);
            encoded = rest;
        }
        Some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_with_a_repeated_unknown_or_misshapen_attribute_is_refused() {
        let from = |entries: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
            Attributes::from_template(entries.iter().map(|(a, v)| (*a, v.to_vec()))).err()
        };
        assert_eq!(from(&[(CKA_LABEL, b"x"), (CKA_TOKEN, &[1])]), None);
        assert_eq!(from(&[(CKA_LABEL, b"x"), (CKA_LABEL, b"x")]), Some(Error::TemplateInconsistent));
        assert_eq!(from(&[(0x7777, b"x")]), Some(Error::AttributeTypeInvalid));
        assert_eq!(from(&[(CKA_TOKEN, &[2])]), Some(Error::AttributeValueInvalid));
        assert_eq!(from(&[(CKA_CLASS, &[0; 4])]), Some(Error::AttributeValueInvalid));
    }

    #[test]
    fn what_was_encoded_decodes_and_every_cut_of_it_does_not() {
        let mut attributes = Attributes::default();
        attributes.set(CKA_LABEL, b"label");
        attributes.set_number(CKA_CLASS, CKO_DATA);
        let encoded = attributes.encode();
        assert!(Attributes::decode(&encoded).as_ref() == Some(&attributes));
        let boundary = 8 + 4 + ULONG; // after the first attribute, where a cut goes unseen
        for len in (1..encoded.len()).filter(|len| *len != boundary) {
            assert!(Attributes::decode(&encoded[..len]).is_none(), "{len}");
        }
    }
}
