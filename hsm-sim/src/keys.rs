//! `C_GenerateKey` to `C_DeriveKey`.

use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::{
    attributes::Attributes,
    crypto::{Key, cipher::Direction, ec, operate, rsa, sm2},
    error::{Error, Result},
    mechanism::{Block, Call, KeyKind, Mechanism, Usage},
    module::Module,
    objects::{Template, check_placement},
    operations::{Output, Room},
    rules::{self, Moment},
    session::Session,
};

/// 65537, the one public exponent the device generates keys for.
const F4: &[u8] = &[1, 0, 1];

/// How a key came to be, which decides its history attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Generated(CK_MECHANISM_TYPE),
    Unwrapped,
    Derived,
}

impl Module {
    /// `C_GenerateKey`
    pub fn generate_key(
        &self,
        handle: CK_SESSION_HANDLE,
        call: Call,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(handle)?;
        call.check(Usage::Generate)?;
        let kind = match call.mechanism {
            Mechanism::BlockKeyGen(Block::Aes) => KeyKind::Aes,
            Mechanism::BlockKeyGen(Block::Sm4) => KeyKind::Sm4,
            Mechanism::GenericSecretKeyGen => KeyKind::Generic,
            _ => return Err(Error::MechanismInvalid),
        };
        let attributes = self.new_key(template, CKO_SECRET_KEY, kind, Origin::Generated(call.number))?;
        check_placement(&session, &attributes)?;
        let len = match (kind, attributes.number(CKA_VALUE_LEN)) {
            (KeyKind::Sm4, None) => 16,
            (_, Some(len)) if len <= 512 => len as usize,
            (_, Some(_)) => return Err(Error::KeySizeRange),
            (_, None) => return Err(Error::TemplateIncomplete),
        };
        self.faults.work();
        let mut octets = Zeroizing::new(vec![0; len]);
        getrandom::fill(&mut octets).map_err(|_| Error::DeviceError)?;
        self.finish_key(&session, attributes, Key::secret(kind, &octets)?)
    }

    /// `C_GenerateKeyPair`: the public key's handle and the private key's.
    pub fn generate_key_pair(
        &self,
        handle: CK_SESSION_HANDLE,
        call: Call,
        public: Template,
        private: Template,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let session = self.session(handle)?;
        call.check(Usage::GenerateKeyPair)?;
        let kind = match call.mechanism {
            Mechanism::RsaKeyPairGen => KeyKind::Rsa,
            Mechanism::EcKeyPairGen => KeyKind::Ec,
            Mechanism::Sm2KeyPairGen => KeyKind::Sm2,
            _ => return Err(Error::MechanismInvalid),
        };
        let origin = Origin::Generated(call.number);
        let public = self.new_key(public, CKO_PUBLIC_KEY, kind, origin)?;
        let private = self.new_key(private, CKO_PRIVATE_KEY, kind, origin)?;
        check_placement(&session, &public)?;
        check_placement(&session, &private)?;
        let generate = new_pair(kind, &public)?;
        self.faults.work();
        let private_key = generate()?;
        let public_key = private_key.public().ok_or(Error::FunctionFailed)?;
        let public = self.finish_key(&session, public, public_key)?;
        match self.finish_key(&session, private, private_key) {
            Ok(private) => Ok((public, private)),
            Err(error) => {
                // Half a pair is no pair. Failing to remove it changes nothing about the error.
                let _ = session.slot.remove(public);
                Err(error)
            }
        }
    }

    /// `C_WrapKey`: private keys leave as PKCS#8, symmetric ones as plain octets, under the mechanism.
    pub fn wrap_key(
        &self,
        handle: CK_SESSION_HANDLE,
        call: &Call,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        room: Room,
    ) -> Result<Output> {
        let session = self.session(handle)?;
        call.check(Usage::Wrap)?;
        let wrapping = session.slot.object(wrapping).ok_or(Error::KeyHandleInvalid)?;
        let target = session.slot.object(key).ok_or(Error::KeyHandleInvalid)?;
        wrapping.permit(call, Usage::Wrap)?;
        operate::check(call, Usage::Wrap, wrapping.key()?).map_err(|error| match error {
            Error::KeyTypeInconsistent => Error::WrappingKeyTypeInconsistent,
            other => other,
        })?;
        if !target.flag(CKA_EXTRACTABLE) || target.flag(CKA_WRAP_WITH_TRUSTED) && !wrapping.flag(CKA_TRUSTED)
        {
            return Err(Error::KeyUnextractable);
        }
        let plaintext = target.key()?.to_wrappable()?;
        let len = operate::cipher_len(call, wrapping.key()?, Direction::Encrypt, plaintext.len());
        match room {
            Room::Query => return Ok(Output::Length(len)),
            Room::Octets(room) if room < len => return Ok(Output::TooSmall(len)),
            Room::Octets(_) => {}
        }
        self.faults.work();
        let wrapped = operate::encrypt(call, wrapping.key()?, &plaintext).map_err(|error| match error {
            Error::DataLenRange => Error::KeyNotWrappable,
            other => other,
        })?;
        Ok(Output::fit(wrapped, room))
    }

    /// `C_UnwrapKey`
    pub fn unwrap_key(
        &self,
        handle: CK_SESSION_HANDLE,
        call: &Call,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(handle)?;
        call.check(Usage::Unwrap)?;
        let unwrapping = session.slot.object(unwrapping).ok_or(Error::KeyHandleInvalid)?;
        unwrapping.permit(call, Usage::Unwrap)?;
        operate::check(call, Usage::Unwrap, unwrapping.key()?)?;
        let (class, kind, attributes) = self.incoming_key(template, Origin::Unwrapped)?;
        check_placement(&session, &attributes)?;
        self.faults.work();
        let invalid = Error::WrappedKeyInvalid;
        let octets =
            operate::decrypt(call, unwrapping.key()?, wrapped).map(Zeroizing::new).map_err(|_| invalid)?;
        let key = match class {
            CKO_PRIVATE_KEY => Key::from_pkcs8(kind, &octets).ok_or(invalid)?,
            _ => Key::secret(kind, cut(&octets, &attributes)?).map_err(|_| invalid)?,
        };
        self.finish_key(&session, attributes, key)
    }

    /// `C_DeriveKey`: ECDH without a key derivation function.
    pub fn derive_key(
        &self,
        handle: CK_SESSION_HANDLE,
        call: &Call,
        base: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(handle)?;
        call.check(Usage::Derive)?;
        let base = session.slot.object(base).ok_or(Error::KeyHandleInvalid)?;
        base.permit(call, Usage::Derive)?;
        operate::check(call, Usage::Derive, base.key()?)?;
        let (class, kind, attributes) = self.incoming_key(template, Origin::Derived)?;
        if class != CKO_SECRET_KEY {
            return Err(Error::TemplateInconsistent);
        }
        check_placement(&session, &attributes)?;
        self.faults.work();
        let shared = operate::agree(call, base.key()?)?;
        let key = Key::secret(kind, cut(&shared, &attributes)?)?;
        self.finish_key(&session, attributes, key)
    }

    /// A generated key's attributes, before its material.
    fn new_key(
        &self,
        template: Template,
        class: CK_OBJECT_CLASS,
        kind: KeyKind,
        origin: Origin,
    ) -> Result<Attributes> {
        let mut attributes = Attributes::from_template(template)?;
        rules::check(&attributes, class, Moment::Generate)?;
        let key_type = self.dialect.key_type(kind).ok_or(Error::MechanismInvalid)?;
        attributes.default_to(CKA_CLASS, &class.to_ne_bytes());
        attributes.default_to(CKA_KEY_TYPE, &key_type.to_ne_bytes());
        if attributes.number(CKA_CLASS) != Some(class) || attributes.number(CKA_KEY_TYPE) != Some(key_type) {
            return Err(Error::TemplateInconsistent);
        }
        set_history(&mut attributes, class, origin);
        Ok(attributes)
    }

    /// An unwrapped or derived key's class, kind and attributes, before its material.
    fn incoming_key(
        &self,
        template: Template,
        origin: Origin,
    ) -> Result<(CK_OBJECT_CLASS, KeyKind, Attributes)> {
        let mut attributes = Attributes::from_template(template)?;
        let class = attributes.number(CKA_CLASS).ok_or(Error::TemplateIncomplete)?;
        if !matches!(class, CKO_PRIVATE_KEY | CKO_SECRET_KEY) {
            return Err(Error::TemplateInconsistent);
        }
        rules::check(&attributes, class, Moment::Unwrap)?;
        let kind = self.kind(&attributes)?;
        set_history(&mut attributes, class, origin);
        Ok((class, kind, attributes))
    }

    fn finish_key(
        &self,
        session: &Session,
        mut attributes: Attributes,
        key: Key,
    ) -> Result<CK_OBJECT_HANDLE> {
        self.describe(&key, &mut attributes)?;
        self.place(session, attributes, Some(key))
    }
}

fn set_history(attributes: &mut Attributes, class: CK_OBJECT_CLASS, origin: Origin) {
    let (local, mechanism) = match origin {
        Origin::Generated(mechanism) => (true, mechanism),
        Origin::Unwrapped | Origin::Derived => (false, CK_UNAVAILABLE_INFORMATION),
    };
    rules::fill_defaults(attributes, class, origin == Origin::Unwrapped);
    attributes.set_flag(CKA_LOCAL, local);
    attributes.set_number(CKA_KEY_GEN_MECHANISM, mechanism);
    if local && class != CKO_PUBLIC_KEY {
        attributes.set_flag(CKA_ALWAYS_SENSITIVE, attributes.flag(CKA_SENSITIVE));
        attributes.set_flag(CKA_NEVER_EXTRACTABLE, !attributes.flag(CKA_EXTRACTABLE));
    }
}

/// Checks the public template, and gives back the work itself.
fn new_pair(kind: KeyKind, public: &Attributes) -> Result<Box<dyn FnOnce() -> Result<Key>>> {
    match kind {
        KeyKind::Rsa => {
            let bits = public.number(CKA_MODULUS_BITS).ok_or(Error::TemplateIncomplete)?;
            if !matches!(bits, 2048 | 3072 | 4096) {
                return Err(Error::KeySizeRange);
            }
            if public.get(CKA_PUBLIC_EXPONENT).is_some_and(|exponent| exponent != F4) {
                return Err(Error::AttributeValueInvalid);
            }
            Ok(Box::new(move || Ok(Key::RsaPrivate(Box::new(rsa::PrivateKey::generate(bits as usize)?)))))
        }
        KeyKind::Ec => {
            let curve = ec::Curve::from_params(public.require(CKA_EC_PARAMS)?)?;
            Ok(Box::new(move || Ok(Key::EcPrivate(Box::new(ec::PrivateKey::generate(curve)?)))))
        }
        KeyKind::Sm2 => {
            if public.get(CKA_EC_PARAMS).is_some_and(|params| params != ec::oid_der(ec::SM2_CURVE)) {
                return Err(Error::CurveNotSupported);
            }
            Ok(Box::new(|| Ok(Key::Sm2Private(Box::new(sm2::PrivateKey::generate()?)))))
        }
        KeyKind::Aes | KeyKind::Sm4 | KeyKind::Generic => Err(Error::MechanismInvalid),
    }
}

/// The first `CKA_VALUE_LEN` octets, or all when the template does not say.
fn cut<'a>(octets: &'a [u8], attributes: &Attributes) -> Result<&'a [u8]> {
    match attributes.number(CKA_VALUE_LEN) {
        None | Some(0) => Ok(octets),
        Some(len) => octets.get(..usize::try_from(len).unwrap_or(usize::MAX)).ok_or(Error::KeySizeRange),
    }
}
