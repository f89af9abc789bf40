//! What PKCS#11 v2.40 says about each attribute: its form, whose it is, and when a caller may give it.

use cryptoki_sys::*;

use crate::{
    attributes::Attributes,
    error::{Error, Result},
};

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `CK_BBOOL`
    Flag,
    /// `CK_ULONG`
    Number,
    /// An array of `CK_ULONG`.
    Numbers,
    /// Eight digits, or nothing.
    Date,
    /// Anything.
    Octets,
}

/// The moment a template is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// `C_CreateObject`
    Create,
    /// `C_GenerateKey`, `C_GenerateKeyPair`
    Generate,
    /// `C_UnwrapKey`, `C_DeriveKey`
    Unwrap,
    /// `C_CopyObject`
    Copy,
    /// `C_SetAttributeValue`
    Change,
}

/// One attribute's rule.
pub(crate) struct Rule {
    attribute: CK_ATTRIBUTE_TYPE,
    /// The shape of its value.
    pub(crate) form: Form,
    classes: u8,
    moments: u8,
    /// Whether it holds key material that `CKA_SENSITIVE` and `CKA_EXTRACTABLE` protect.
    secret: bool,
}

const DATA: u8 = 1;
const CERT: u8 = 2;
const PUB: u8 = 4;
const PRIV: u8 = 8;
const SECRET: u8 = 16;
const KEYS: u8 = PUB | PRIV | SECRET;
const ALL: u8 = DATA | CERT | KEYS;

const C: u8 = 1; // create
const G: u8 = 2; // generate
const U: u8 = 4; // unwrap, derive
const K: u8 = 8; // copy
const S: u8 = 16; // set later
const BORN: u8 = C | G | U;
const ANY: u8 = BORN | K | S;

const fn attribute(attribute: CK_ATTRIBUTE_TYPE, form: Form, classes: u8, moments: u8) -> Rule {
    Rule { attribute, form, classes, moments, secret: false }
}

const fn material(attribute: CK_ATTRIBUTE_TYPE, classes: u8) -> Rule {
    Rule { attribute, form: Form::Octets, classes, moments: C, secret: true }
}

static RULES: &[Rule] = &[
    attribute(CKA_CLASS, Form::Number, ALL, BORN),
    attribute(CKA_TOKEN, Form::Flag, ALL, BORN | K),
    attribute(CKA_PRIVATE, Form::Flag, ALL, BORN | K),
    attribute(CKA_MODIFIABLE, Form::Flag, ALL, BORN | K),
    attribute(CKA_COPYABLE, Form::Flag, ALL, BORN | K),
    attribute(CKA_DESTROYABLE, Form::Flag, ALL, BORN | K),
    attribute(CKA_LABEL, Form::Octets, ALL, ANY),
    attribute(CKA_APPLICATION, Form::Octets, DATA, C | K | S),
    attribute(CKA_OBJECT_ID, Form::Octets, DATA, C | K | S),
    attribute(CKA_CERTIFICATE_TYPE, Form::Number, CERT, C),
    attribute(CKA_CERTIFICATE_CATEGORY, Form::Number, CERT, C),
    attribute(CKA_ISSUER, Form::Octets, CERT, C | K | S),
    attribute(CKA_SERIAL_NUMBER, Form::Octets, CERT, C | K | S),
    attribute(CKA_SUBJECT, Form::Octets, CERT | PUB | PRIV, ANY),
    attribute(CKA_TRUSTED, Form::Flag, CERT | PUB | SECRET, ANY),
    attribute(CKA_ID, Form::Octets, CERT | KEYS, ANY),
    attribute(CKA_START_DATE, Form::Date, CERT | KEYS, ANY),
    attribute(CKA_END_DATE, Form::Date, CERT | KEYS, ANY),
    attribute(CKA_KEY_TYPE, Form::Number, KEYS, BORN),
    attribute(CKA_ALLOWED_MECHANISMS, Form::Numbers, KEYS, BORN),
    attribute(CKA_DERIVE, Form::Flag, KEYS, ANY),
    attribute(CKA_LOCAL, Form::Flag, KEYS, 0),
    attribute(CKA_KEY_GEN_MECHANISM, Form::Number, KEYS, 0),
    attribute(CKA_ENCRYPT, Form::Flag, PUB | SECRET, ANY),
    attribute(CKA_VERIFY, Form::Flag, PUB | SECRET, ANY),
    attribute(CKA_VERIFY_RECOVER, Form::Flag, PUB, ANY),
    attribute(CKA_WRAP, Form::Flag, PUB | SECRET, ANY),
    attribute(CKA_SIGN, Form::Flag, PRIV | SECRET, ANY),
    attribute(CKA_SIGN_RECOVER, Form::Flag, PRIV, ANY),
    attribute(CKA_DECRYPT, Form::Flag, PRIV | SECRET, ANY),
    attribute(CKA_UNWRAP, Form::Flag, PRIV | SECRET, ANY),
    attribute(CKA_SENSITIVE, Form::Flag, PRIV | SECRET, ANY),
    attribute(CKA_EXTRACTABLE, Form::Flag, PRIV | SECRET, ANY),
    attribute(CKA_WRAP_WITH_TRUSTED, Form::Flag, PRIV | SECRET, ANY),
    attribute(CKA_ALWAYS_SENSITIVE, Form::Flag, PRIV | SECRET, 0),
    attribute(CKA_NEVER_EXTRACTABLE, Form::Flag, PRIV | SECRET, 0),
    attribute(CKA_ALWAYS_AUTHENTICATE, Form::Flag, PRIV, BORN),
    attribute(CKA_MODULUS, Form::Octets, PUB | PRIV, C),
    attribute(CKA_MODULUS_BITS, Form::Number, PUB, G),
    attribute(CKA_PUBLIC_EXPONENT, Form::Octets, PUB | PRIV, C | G),
    attribute(CKA_EC_PARAMS, Form::Octets, PUB | PRIV, C | G),
    attribute(CKA_EC_POINT, Form::Octets, PUB | PRIV, C),
    attribute(CKA_VALUE_LEN, Form::Number, SECRET, G | U),
    material(CKA_VALUE, DATA | CERT | PRIV | SECRET),
    material(CKA_PRIVATE_EXPONENT, PRIV),
    material(CKA_PRIME_1, PRIV),
    material(CKA_PRIME_2, PRIV),
    material(CKA_EXPONENT_1, PRIV),
    material(CKA_EXPONENT_2, PRIV),
    material(CKA_COEFFICIENT, PRIV),
];

/// The rule of an attribute, if it is one the device knows.
pub(crate) fn rule(attribute: CK_ATTRIBUTE_TYPE) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.attribute == attribute)
}

/// Whether an attribute of an object of that class is key material.
pub(crate) fn is_key_material(class: CK_OBJECT_CLASS, attribute: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(class, CKO_PRIVATE_KEY | CKO_SECRET_KEY) && rule(attribute).is_some_and(|rule| rule.secret)
}

fn class_bit(class: CK_OBJECT_CLASS) -> u8 {
    match class {
        CKO_DATA => DATA,
        CKO_CERTIFICATE => CERT,
        CKO_PUBLIC_KEY => PUB,
        CKO_PRIVATE_KEY => PRIV,
        CKO_SECRET_KEY => SECRET,
        _ => 0,
    }
}

/// Refuses a template with attributes that the class does not have or that may not be given at that moment.
pub(crate) fn check(template: &Attributes, class: CK_OBJECT_CLASS, moment: Moment) -> Result<()> {
    let bit = match moment {
        Moment::Create => C,
        Moment::Generate => G,
        Moment::Unwrap => U,
        Moment::Copy => K,
        Moment::Change => S,
    };
    for (attribute, _) in template.iter() {
        let rule = rule(attribute).ok_or(Error::AttributeTypeInvalid)?;
        if rule.classes & class_bit(class) == 0 {
            return Err(Error::AttributeTypeInvalid);
        }
        if rule.moments & bit == 0 {
            return Err(Error::AttributeReadOnly);
        }
    }
    Ok(())
}

/// Refuses a change of an existing object that loosens what may only be tightened.
pub(crate) fn check_change(before: &Attributes, change: &Attributes) -> Result<()> {
    let loosens = |attribute, from: bool| {
        before.flag(attribute) == from && change.get(attribute) == Some(&[u8::from(!from)])
    };
    let refused = loosens(CKA_SENSITIVE, true)
        || loosens(CKA_WRAP_WITH_TRUSTED, true)
        || loosens(CKA_EXTRACTABLE, false)
        || loosens(CKA_COPYABLE, false);
    if refused { Err(Error::AttributeReadOnly) } else { Ok(()) }
}

/// Gives a new object every attribute its class has and the template left out.
///
/// PKCS#11 leaves most defaults to the token. This one's: a key may do what its type is for, but neither wrap,
/// unwrap nor derive; it is sensitive; it leaves the device only if asked for.
pub(crate) fn fill_defaults(attributes: &mut Attributes, class: CK_OBJECT_CLASS, extractable: bool) {
    let private = matches!(class, CKO_PRIVATE_KEY | CKO_SECRET_KEY);
    attributes.default_flag(CKA_PRIVATE, private);
    let set = attributes;
    for rule in RULES.iter().filter(|rule| rule.classes & class_bit(class) != 0 && !rule.secret) {
        let flag = match rule.attribute {
            CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE => true,
            CKA_SIGN | CKA_VERIFY | CKA_ENCRYPT | CKA_DECRYPT | CKA_SENSITIVE => true,
            CKA_EXTRACTABLE => extractable,
            _ => false,
        };
        match rule.form {
            Form::Flag => set.default_flag(rule.attribute, flag),
            Form::Date => set.default_to(rule.attribute, b""),
            Form::Octets if rule.moments & S != 0 => set.default_to(rule.attribute, b""),
            Form::Octets | Form::Number | Form::Numbers => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_of_another_class_or_moment_is_refused() {
        let mut template = Attributes::default();
        template.set_flag(CKA_SIGN, true);
        assert_eq!(check(&template, CKO_PRIVATE_KEY, Moment::Create), Ok(()));
        assert_eq!(check(&template, CKO_PUBLIC_KEY, Moment::Create), Err(Error::AttributeTypeInvalid));
        template.set_flag(CKA_LOCAL, true);
        assert_eq!(check(&template, CKO_PRIVATE_KEY, Moment::Create), Err(Error::AttributeReadOnly));
    }

    #[test]
    fn protection_may_be_tightened_and_never_loosened() {
        let (mut before, mut change) = (Attributes::default(), Attributes::default());
        before.set_flag(CKA_SENSITIVE, false);
        change.set_flag(CKA_SENSITIVE, true);
        assert_eq!(check_change(&before, &change), Ok(()));
        assert_eq!(check_change(&change, &before), Err(Error::AttributeReadOnly));
    }

    #[test]
    fn key_material_of_a_certificate_is_no_secret() {
        assert!(is_key_material(CKO_PRIVATE_KEY, CKA_VALUE));
        assert!(!is_key_material(CKO_CERTIFICATE, CKA_VALUE));
        assert!(!is_key_material(CKO_PRIVATE_KEY, CKA_MODULUS));
    }
}
