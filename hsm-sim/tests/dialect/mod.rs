//! A token that speaks a vendor's dialect, and what a caller can check about it from outside.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "only tests call these")]

use cryptoki::{
    context::Pkcs11,
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    slot::Slot,
};
use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_MECHANISM_TYPE, CK_RV, CKM_ECDSA, CKM_RSA_PKCS, CKM_VENDOR_DEFINED, CKR_OK,
};
use sm2_verify::{PublicKey, Signature};

use crate::device::{
    SM2_CURVE, Site, attribute, initialize, initialize_token, log_in, module_path, vendor, vendor_with,
};

const DEFAULT_ID: &[u8] = b"1234567812345678";
pub(crate) const MESSAGE: &[u8] = b"business license";

/// What a signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    E,
    Message,
    MessageWithZ,
}

/// How a signature is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Raw,
    Der,
}

/// The program's one token and a session in it.
pub(crate) struct Token {
    pub(crate) site: Site,
    pub(crate) pkcs11: Pkcs11,
    pub(crate) session: Session,
    key_type: KeyType,
}

/// An SM2 key pair as the caller sees it.
pub(crate) struct Pair {
    pub(crate) public: ObjectHandle,
    pub(crate) private: ObjectHandle,
    pub(crate) key: PublicKey,
}

impl Token {
    pub(crate) fn speaking(dialect: &str, sm2_key_type: u64) -> Self {
        let site = Site::speaking(dialect, 1, 16);
        site.select();
        let pkcs11 = Pkcs11::new(module_path()).unwrap();
        initialize(&pkcs11);
        let slot = Slot::try_from(0_u64).unwrap();
        initialize_token(&pkcs11, slot);
        let session = log_in(&pkcs11, slot);
        Self { site, pkcs11, session, key_type: KeyType::new_vendor_defined(sm2_key_type).unwrap() }
    }

    /// The vendor's own numbers in the mechanism list are these, and each number of the list has its information.
    pub(crate) fn offers(&self, numbers: &[u64]) {
        let list = self.mechanism_list();
        let (own, standard): (Vec<_>, Vec<_>) =
            list.iter().partition(|number| **number >= CKM_VENDOR_DEFINED);
        assert_eq!(own, numbers);
        assert!(standard.contains(&CKM_ECDSA) && standard.contains(&CKM_RSA_PKCS), "{standard:?}");
        let slot = self.session.get_session_info().unwrap().slot_id();
        for number in numbers {
            let mechanism = MechanismType::new_vendor_defined(*number).unwrap();
            self.pkcs11.get_mechanism_info(slot, mechanism).unwrap();
        }
        let unknown = MechanismType::new_vendor_defined(0x80C1_0011).unwrap();
        assert!(self.pkcs11.get_mechanism_info(slot, unknown).is_err());
    }

    /// `C_GetMechanismList` as it is; the wrapper hides vendors' numbers.
    #[allow(unsafe_code, reason = "the C function is called as a C program would")]
    fn mechanism_list(&self) -> Vec<CK_MECHANISM_TYPE> {
        let (mut list, mut count) = ([0; 64], 64);
        // SAFETY: the module is loaded and initialised, and all pointers are to live locals.
        unsafe {
            let library = libloading::Library::new(module_path()).unwrap();
            let get: libloading::Symbol<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
                library.get(b"C_GetFunctionList").unwrap();
            let mut functions = std::ptr::null_mut();
            assert_eq!(get(&mut functions), CKR_OK);
            let get_list = (*functions).C_GetMechanismList.unwrap();
            assert_eq!(get_list(0, list.as_mut_ptr(), &mut count), CKR_OK);
        }
        list[..count as usize].to_vec()
    }

    /// A new pair; its point must be shown bare or as an OCTET STRING, on the private key too or not.
    pub(crate) fn pair(&self, generate: u64, bare: bool, on_private: bool) -> Pair {
        let params = [Attribute::EcParams(SM2_CURVE.to_vec())];
        let (public, private) =
            self.session.generate_key_pair(&vendor(generate), &params, &[Attribute::Sign(true)]).unwrap();
        for handle in [public, private] {
            let key_type = attribute(&self.session, handle, AttributeType::KeyType);
            assert_eq!(key_type, Attribute::KeyType(self.key_type));
        }
        let Attribute::EcPoint(point) = attribute(&self.session, public, AttributeType::EcPoint) else {
            unreachable!()
        };
        let sec1 = if bare { &point[..] } else { point.strip_prefix(&[4, 65]).unwrap() };
        let shown = self.session.get_attributes(private, &[AttributeType::EcPoint]).unwrap();
        assert_eq!(shown, if on_private { vec![Attribute::EcPoint(point.clone())] } else { vec![] });
        Pair { public, private, key: PublicKey::from_sec1(sec1).unwrap() }
    }

    /// Signs, and checks the signature's form and value without the device; then has the device verify it.
    pub(crate) fn signs(&self, pair: &Pair, number: u64, input: Input, form: Form) {
        let e = match input {
            Input::E | Input::MessageWithZ => sm2_verify::e(DEFAULT_ID, &pair.key, MESSAGE).unwrap(),
            Input::Message => sm3(MESSAGE),
        };
        let data = if input == Input::E { &e[..] } else { MESSAGE };
        for _ in 0..8 {
            let signature = self.session.sign(&vendor(number), pair.private, data).unwrap();
            let parsed = match form {
                Form::Raw => Signature::from_raw(&signature),
                Form::Der => Signature::from_der(&signature),
            };
            assert!(
                sm2_verify::verify(&pair.key, &e, &parsed.unwrap()).is_ok(),
                "{number:#x} {input:?} {form:?}"
            );
            self.session.verify(&vendor(number), pair.public, data, &signature).unwrap();
        }
    }

    /// Encrypts to the public key and decrypts again.
    pub(crate) fn encrypts(&self, pair: &Pair, number: u64, form: Form) {
        let ciphertext = self.session.encrypt(&vendor(number), pair.public, MESSAGE).unwrap();
        assert_eq!(ciphertext[0], if form == Form::Der { 0x30 } else { 4 });
        assert_eq!(self.session.decrypt(&vendor(number), pair.private, &ciphertext).unwrap(), MESSAGE);
    }

    /// The digest is SM3.
    pub(crate) fn digests(&self, number: u64) {
        assert_eq!(self.session.digest(&vendor(number), MESSAGE).unwrap(), sm3(MESSAGE));
    }

    /// The digest is e, from X‖Y and an identity in the parameter.
    pub(crate) fn digests_with_z(&self, number: u64, pair: &Pair) {
        let mut parameter = [0; 80];
        parameter[..64].copy_from_slice(&pair.key.to_sec1()[1..]);
        parameter[64..].copy_from_slice(DEFAULT_ID);
        let e = sm2_verify::e(DEFAULT_ID, &pair.key, MESSAGE).unwrap();
        let mechanism = vendor_with(number, Some(&parameter));
        assert_eq!(self.session.digest(&mechanism, MESSAGE).unwrap(), e);
        assert!(self.session.digest(&vendor(number), MESSAGE).is_err());
    }

    /// An imported SM4 key encrypts, and undoes it, with each mechanism; those of `ivs` take an IV.
    pub(crate) fn encrypts_with_sm4(&self, key_type: u64, plain: &[u64], ivs: &[u64]) {
        let key = self
            .session
            .create_object(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::new_vendor_defined(key_type).unwrap()),
                Attribute::Value((0..16).collect()),
            ])
            .unwrap();
        let iv = [7_u8; 16];
        let mechanisms = plain.iter().map(|number| vendor(*number));
        for mechanism in mechanisms.chain(ivs.iter().map(|number| vendor_with(*number, Some(&iv)))) {
            let ciphertext = self.session.encrypt(&mechanism, key, &[9; 32]).unwrap();
            assert_ne!(ciphertext, [9; 32]);
            assert_eq!(self.session.decrypt(&mechanism, key, &ciphertext).unwrap(), [9; 32]);
        }
    }

    pub(crate) fn generates_sm4(&self, number: u64) {
        self.session.generate_key(&vendor(number), &[]).unwrap();
    }

    /// The MAC is HMAC with SM3.
    pub(crate) fn authenticates(&self, number: u64) {
        let length = [Attribute::ValueLen(32.into())];
        let key = self.session.generate_key(&Mechanism::GenericSecretKeyGen, &length).unwrap();
        let tag = self.session.sign(&vendor(number), key, MESSAGE).unwrap();
        assert_eq!(tag.len(), 32);
        self.session.verify(&vendor(number), key, MESSAGE, &tag).unwrap();
    }
}

fn sm3(message: &[u8]) -> [u8; 32] {
    use sm3::Digest;
    sm3::Sm3::digest(message).into()
}
