//! Orders: making, moving and removing keys, and known answers. Whatever makes or removes token objects does so
//! in a session of its own that is closed afterwards, so that the lane's session stays what it is.

use cryptoki_sys as sys;

use super::lane::{Failure, Lane, digest_info, mechanism, point, without_zeros};
use super::module::{Class, Mechanism, Module, ObjectHandle, SessionHandle, Template};
use crate::dialect::Dialect;
use crate::error::ReturnValue;
use crate::frame::{Function, KeyOrder};
use crate::key::{Algorithm, PublicKey};
use crate::order::{Answer, KeyKind, KeyObject, KnownAnswer, Order, OrderFailure, OrderOutcome, SecretKind};

/// ASN.1 object identifiers as CKA_EC_PARAMS.
const SM2_CURVE: [u8; 10] = [0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d];
const P256_CURVE: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const F4: [u8; 3] = [1, 0, 1];

/// Keys travel under AES-256 by RFC 5649, which has its own integrity check and which every token with wrapping
/// that was seen does.
const WRAP: Mechanism = Mechanism::Plain(sys::CKM_AES_KEY_WRAP_PAD);

type Done<T> = Result<T, OrderFailure>;

fn failed(function: &str) -> impl Fn(ReturnValue) -> OrderFailure {
    move |rv| OrderFailure { function: function.to_owned(), rv }
}

fn refused(function: &str, rv: u64) -> OrderFailure {
    failed(function)(ReturnValue(rv))
}

impl From<Failure> for OrderFailure {
    fn from((function, rv): Failure) -> Self {
        Self { function: function.name().to_owned(), rv }
    }
}

impl Lane<'_> {
    /// Does what was ordered. What a lost session or login costs is one more try, for orders that change nothing.
    pub(super) fn obey(&mut self, order: &Order) -> OrderOutcome {
        match order {
            Order::AddKeys(keys) => self.add_keys(keys),
            Order::Sign { cka_id, algorithm, digest } => {
                self.mended(|lane| lane.sign_by_id(cka_id, *algorithm, digest)).map(Answer::Octets)
            }
            Order::SignWrapped { blob, kind, wrapping, algorithm, digest } => {
                self.mended(|lane| lane.sign_wrapped((blob, *kind), wrapping, *algorithm, digest))
            }
            Order::Inventory => self.mended(Self::inventory),
            Order::KnownAnswers => self.mended(Self::known_answers),
            Order::Random { octets } => self.mended(|lane| {
                let session = lane.session()?;
                let random = lane.module().random(session, (*octets).min(4096));
                random.map(Answer::Octets).map_err(failed("C_GenerateRandom"))
            }),
            Order::Derive { cka_id, text } => self.mended(|lane| {
                let (session, module) = (lane.session()?, lane.module());
                let key = existing(module, session, &Class::Secret, cka_id)?;
                let hmac = Mechanism::Plain(sys::CKM_SHA256_HMAC);
                module.sign_init(session, &hmac, key).map_err(failed("C_SignInit"))?;
                module.sign(session, text.as_bytes()).map(Answer::Octets).map_err(failed("C_Sign"))
            }),
            Order::WrapOut { cka_id, wrapping } => self.mended(|lane| {
                let (session, module) = (lane.session()?, lane.module());
                let key = existing(module, session, &Class::Private, cka_id)?;
                let wrapping = existing(module, session, &Class::Secret, wrapping)?;
                let blob = module.wrap(session, &WRAP, wrapping, key).map_err(failed("C_WrapKey"))?;
                Ok(Answer::Wrapped { blob, public_key: None })
            }),
            Order::GenerateWrapped { kind, wrapping } => self.generate_wrapped(*kind, wrapping),
            Order::Transport { cka_id } => self.transport(cka_id),
            Order::WrapFor { cka_id, transport } => self.wrap_for(cka_id, transport),
            Order::GeneratePair { cka_id, label, kind, extractable } => self.writing(|lane, session| {
                let (public, private) = lane.generate(session, *kind, Some((cka_id, label)), *extractable)?;
                lane.all_or_nothing(session, &[public, private], |lane| {
                    lane.public_key_of(session, public, *kind).map(Answer::PublicKey)
                })
            }),
            Order::GenerateSecret { cka_id, label, kind } => self.writing(|lane, session| {
                let module = lane.module();
                free(module, session, cka_id)?;
                let template = secret(*kind, cka_id, label).number(sys::CKA_VALUE_LEN, 32);
                let mechanism = match kind {
                    SecretKind::Wrapping => sys::CKM_AES_KEY_GEN,
                    SecretKind::Mac => sys::CKM_GENERIC_SECRET_KEY_GEN,
                };
                let made = module.generate_key(session, mechanism, &template);
                made.map(|_| Answer::Done(1)).map_err(failed("C_GenerateKey"))
            }),
            Order::UnwrapIn { blob, wrapping, cka_id, label, public_key, extractable, digest } => self
                .writing(|lane, session| {
                    let place = Place { cka_id, label, extractable: *extractable };
                    lane.unwrap_in(session, (blob, wrapping), &place, public_key, digest)
                }),
            Order::Install { blob, transport, cka_id, label, kind } => self.writing(|lane, session| {
                let module = lane.module();
                free(module, session, cka_id)?;
                let private = existing(module, session, &Class::Private, transport)?;
                let template = secret(*kind, cka_id, label);
                let unwrap = |mechanism| module.unwrap(session, &mechanism, private, blob, &template);
                let installed = unwrap(Mechanism::Oaep).or_else(|_| unwrap(Mechanism::OaepSha1));
                installed.map_err(failed("C_UnwrapKey"))?;
                lane.destroy(session, transport).map(|_| Answer::Done(1))
            }),
            Order::Destroy { cka_id } => {
                self.writing(|lane, session| lane.destroy(session, cka_id).map(Answer::Done))
            }
        }
    }

    /// Tries again once when the session or login was lost.
    fn mended<T>(&mut self, act: impl Fn(&mut Self) -> Done<T>) -> Done<T> {
        match act(self) {
            Err(failure) if self.mend(failure.rv)? => act(self),
            other => other,
        }
    }

    /// Acts in a session that may write, and closes it whatever came of it.
    fn writing(&mut self, act: impl Fn(&mut Self, SessionHandle) -> Done<Answer>) -> OrderOutcome {
        self.mended(|lane| {
            lane.session()?; // the login hangs on it
            let opened = lane.module().open_session(lane.slot(), true);
            let session = opened.map_err(failed("C_OpenSession"))?;
            let outcome = act(lane, session);
            let _ = lane.module().close_session(session); // what was done stands
            outcome
        })
    }

    fn add_keys(&mut self, keys: &[KeyOrder]) -> OrderOutcome {
        let first = self.remember(keys);
        let found = self.public_keys(usize::from(first)).map_err(|error| match error {
            crate::error::StartError::Call { function, rv } => OrderFailure { function, rv },
            _ => refused("C_FindObjects", sys::CKR_GENERAL_ERROR),
        })?;
        Ok(Answer::Keys { first, found: found.into_iter().take(keys.len()).collect() })
    }

    fn sign_by_id(&mut self, cka_id: &[u8], algorithm: Algorithm, digest: &[u8; 32]) -> Done<Vec<u8>> {
        let session = self.session()?;
        let key = existing(self.module(), session, &Class::Private, cka_id)?;
        self.sign_with(session, key, algorithm, digest)
    }

    fn sign_with(
        &self,
        session: SessionHandle,
        key: ObjectHandle,
        algorithm: Algorithm,
        digest: &[u8; 32],
    ) -> Done<Vec<u8>> {
        let (module, dialect) = (self.module(), self.dialect());
        let mechanism = mechanism(algorithm, dialect).map_err(failed("C_SignInit"))?;
        module.sign_init(session, &mechanism, key).map_err(failed("C_SignInit"))?;
        let signed = if algorithm == Algorithm::RsaPkcs1 {
            module.sign(session, &digest_info(digest))
        } else {
            module.sign(session, digest)
        };
        signed.map_err(failed("C_Sign"))
    }

    fn inventory(&mut self) -> OrderOutcome {
        let (session, module) = (self.session()?, self.module());
        let mut objects = Vec::new();
        for class in [sys::CKO_PRIVATE_KEY, sys::CKO_PUBLIC_KEY, sys::CKO_SECRET_KEY] {
            let of_class = Template::default().number(sys::CKA_CLASS, class);
            for handle in module.find(session, &of_class).map_err(failed("C_FindObjects"))? {
                let text = |kind| module.value(session, handle, kind).unwrap_or_default();
                let key_type = <[u8; 8]>::try_from(text(sys::CKA_KEY_TYPE)).unwrap_or_default();
                objects.push(KeyObject {
                    cka_id: text(sys::CKA_ID),
                    label: String::from_utf8_lossy(&text(sys::CKA_LABEL)).into_owned(),
                    class,
                    key_type: u64::from_ne_bytes(key_type),
                });
            }
        }
        Ok(Answer::Objects(objects))
    }

    /// What standards publish: SM3 of "abc" (GB/T 32905 A.1), SHA-256 of "abc" (FIPS 180-4), SM4 of its own key
    /// (GB/T 32907 A.1), AES-256 of FIPS 197 C.3.
    fn known_answers(&mut self) -> OrderOutcome {
        let (session, module) = (self.session()?, self.module());
        let dialect = self.dialect();
        let mut answers = Vec::new();
        let mut note = |name: &str, outcome: Result<Vec<u8>, ReturnValue>, expected: &[u8]| {
            let right = match outcome {
                Ok(octets) => Some(octets == expected),
                Err(ReturnValue(
                    sys::CKR_MECHANISM_INVALID
                    | sys::CKR_FUNCTION_NOT_SUPPORTED
                    | sys::CKR_ATTRIBUTE_VALUE_INVALID
                    | sys::CKR_TEMPLATE_INCONSISTENT,
                )) => None,
                Err(rv) => return Err(OrderFailure { function: format!("known answer {name}"), rv }),
            };
            answers.push(KnownAnswer { name: name.to_owned(), right });
            Ok(())
        };
        if let Some(sm3) = dialect.sm3_digest() {
            note("sm3", module.digest(session, sm3, b"abc"), &SM3_ABC)?;
        }
        note("sha256", module.digest(session, sys::CKM_SHA256, b"abc"), &SHA256_ABC)?;
        let mut cipher =
            |name: &str, (kind, mechanism): (u64, u64), key: &[u8], (plain, expected): (&[u8], &[u8])| {
                let template = Template::default()
                    .number(sys::CKA_CLASS, sys::CKO_SECRET_KEY)
                    .number(sys::CKA_KEY_TYPE, kind)
                    .flag(sys::CKA_TOKEN, false)
                    .flag(sys::CKA_ENCRYPT, true)
                    .octets(sys::CKA_VALUE, key);
                let outcome = module.create_object(session, &template).and_then(|handle| {
                    let output = module.encrypt(session, mechanism, handle, plain);
                    let _ = module.destroy_object(session, handle); // it ends with the session at the latest
                    output
                });
                note(name, outcome, expected)
            };
        if let Some(numbers) = dialect.sm4_block() {
            cipher("sm4", numbers, &SM4_KEY, (&SM4_KEY, &SM4_CIPHERTEXT))?;
        }
        let key: [u8; 32] = std::array::from_fn(|octet| u8::try_from(octet).unwrap_or_default());
        cipher("aes256", (sys::CKK_AES, sys::CKM_AES_ECB), &key, (&AES_PLAINTEXT, &AES_CIPHERTEXT))?;
        Ok(Answer::KnownAnswers(answers))
    }

    /// A key pair: in the token under a name, or in this session without one.
    fn generate(
        &self,
        session: SessionHandle,
        kind: KeyKind,
        name: Option<(&[u8], &str)>,
        extractable: bool,
    ) -> Done<(ObjectHandle, ObjectHandle)> {
        let module = self.module();
        let named = |template: Template| match name {
            Some((cka_id, label)) => {
                template.octets(sys::CKA_ID, cka_id).octets(sys::CKA_LABEL, label.as_bytes())
            }
            None => template,
        };
        if let Some((cka_id, _)) = name {
            free(module, session, cka_id)?;
        }
        let common = || named(Template::default().flag(sys::CKA_TOKEN, name.is_some()));
        let public = common().flag(sys::CKA_VERIFY, true).flag(sys::CKA_PRIVATE, false);
        let (mechanism, public) = match kind {
            KeyKind::Sm2 => {
                let numbers = self.dialect().sm2.as_ref();
                let numbers =
                    numbers.ok_or_else(|| refused("C_GenerateKeyPair", sys::CKR_MECHANISM_INVALID))?;
                (numbers.generate, public.octets(sys::CKA_EC_PARAMS, &SM2_CURVE))
            }
            KeyKind::P256 => (sys::CKM_EC_KEY_PAIR_GEN, public.octets(sys::CKA_EC_PARAMS, &P256_CURVE)),
            KeyKind::Rsa2048 => (
                sys::CKM_RSA_PKCS_KEY_PAIR_GEN,
                public.number(sys::CKA_MODULUS_BITS, 2048).octets(sys::CKA_PUBLIC_EXPONENT, &F4),
            ),
        };
        let private = common()
            .flag(sys::CKA_PRIVATE, true)
            .flag(sys::CKA_SENSITIVE, true)
            .flag(sys::CKA_EXTRACTABLE, extractable)
            .flag(sys::CKA_SIGN, true);
        module.generate_pair(session, mechanism, (&public, &private)).map_err(failed("C_GenerateKeyPair"))
    }

    fn public_key_of(&self, session: SessionHandle, public: ObjectHandle, kind: KeyKind) -> Done<PublicKey> {
        let (module, attributes) = (self.module(), failed("C_GetAttributeValue"));
        Ok(match kind {
            KeyKind::Sm2 => PublicKey::Sm2(point(module.ec_point(session, public).map_err(attributes)?)),
            KeyKind::P256 => PublicKey::P256(point(module.ec_point(session, public).map_err(attributes)?)),
            KeyKind::Rsa2048 => {
                let (modulus, exponent) = module.rsa_numbers(session, public).map_err(attributes)?;
                PublicKey::Rsa { modulus: without_zeros(modulus), exponent: without_zeros(exponent) }
            }
        })
    }

    /// Removes the objects again if what remains to do fails.
    fn all_or_nothing<T>(
        &self,
        session: SessionHandle,
        objects: &[ObjectHandle],
        act: impl FnOnce(&Self) -> Done<T>,
    ) -> Done<T> {
        act(self).inspect_err(|_| {
            for object in objects {
                let _ = self.module().destroy_object(session, *object); // the error before says more
            }
        })
    }

    fn generate_wrapped(&mut self, kind: KeyKind, wrapping: &[u8]) -> OrderOutcome {
        let (session, module) = (self.session()?, self.module());
        let wrapping = existing(module, session, &Class::Secret, wrapping)?;
        let (public, private) = self.generate(session, kind, None, true)?;
        let wrapped = self.public_key_of(session, public, kind).and_then(|key| {
            Ok((key, module.wrap(session, &WRAP, wrapping, private).map_err(failed("C_WrapKey"))?))
        });
        for object in [public, private] {
            // Session objects end with the session, but it lives long.
            module.destroy_object(session, object).map_err(failed("C_DestroyObject"))?;
        }
        let (public_key, blob) = wrapped?;
        Ok(Answer::Wrapped { blob, public_key: Some(public_key) })
    }

    fn sign_wrapped(
        &mut self,
        (blob, kind): (&[u8], KeyKind),
        wrapping: &[u8],
        algorithm: Algorithm,
        digest: &[u8; 32],
    ) -> Done<Answer> {
        let answer = |kept| move |signature| Answer::SignedWrapped { signature, kept };
        let session = self.session()?;
        if let Some(handle) = self.unwrapped(blob) {
            match self.sign_with(session, handle, algorithm, digest) {
                // The token let go of it: unwrap it again.
                Err(OrderFailure {
                    rv: ReturnValue(sys::CKR_KEY_HANDLE_INVALID | sys::CKR_OBJECT_HANDLE_INVALID),
                    ..
                }) => self.forget_unwrapped(blob),
                other => return other.map(answer(true)),
            }
        }
        let module = self.module();
        let wrapping = existing(module, session, &Class::Secret, wrapping)?;
        let template =
            self.private_template(kind)?.flag(sys::CKA_TOKEN, false).flag(sys::CKA_EXTRACTABLE, false);
        let handle =
            module.unwrap(session, &WRAP, wrapping, blob, &template).map_err(failed("C_UnwrapKey"))?;
        self.keep_unwrapped(session, blob, handle);
        self.sign_with(session, handle, algorithm, digest).map(answer(false))
    }

    fn private_template(&self, kind: KeyKind) -> Done<Template> {
        let key_type = match kind {
            KeyKind::Sm2 => {
                let numbers = self.dialect().sm2.as_ref();
                numbers.ok_or_else(|| refused("C_UnwrapKey", sys::CKR_MECHANISM_INVALID))?.key_type
            }
            KeyKind::P256 => sys::CKK_EC,
            KeyKind::Rsa2048 => sys::CKK_RSA,
        };
        Ok(Template::default()
            .number(sys::CKA_CLASS, sys::CKO_PRIVATE_KEY)
            .number(sys::CKA_KEY_TYPE, key_type)
            .flag(sys::CKA_PRIVATE, true)
            .flag(sys::CKA_SENSITIVE, true)
            .flag(sys::CKA_SIGN, true))
    }

    fn unwrap_in(
        &self,
        session: SessionHandle,
        (blob, wrapping): (&[u8], &[u8]),
        place: &Place<'_>,
        public_key: &PublicKey,
        digest: &[u8; 32],
    ) -> OrderOutcome {
        let module = self.module();
        free(module, session, place.cka_id)?;
        let wrapping = existing(module, session, &Class::Secret, wrapping)?;
        let named = |template: Template| {
            template
                .flag(sys::CKA_TOKEN, true)
                .octets(sys::CKA_ID, place.cka_id)
                .octets(sys::CKA_LABEL, place.label.as_bytes())
        };
        let template =
            named(self.private_template(public_key.kind())?).flag(sys::CKA_EXTRACTABLE, place.extractable);
        let private =
            module.unwrap(session, &WRAP, wrapping, blob, &template).map_err(failed("C_UnwrapKey"))?;
        self.all_or_nothing(session, &[private], |lane| {
            let template = named(public_template(public_key, lane.dialect())?);
            let public = module.create_object(session, &template).map_err(failed("C_CreateObject"))?;
            lane.all_or_nothing(session, &[public], |lane| {
                lane.sign_with(session, private, public_key.algorithms()[0], digest).map(Answer::Octets)
            })
        })
    }

    fn transport(&mut self, cka_id: &[u8]) -> OrderOutcome {
        let (session, module) = (self.session()?, self.module());
        free(module, session, cka_id)?;
        let named = || Template::default().flag(sys::CKA_TOKEN, false).octets(sys::CKA_ID, cka_id);
        let public = named()
            .flag(sys::CKA_WRAP, true)
            .flag(sys::CKA_PRIVATE, false)
            .number(sys::CKA_MODULUS_BITS, 2048)
            .octets(sys::CKA_PUBLIC_EXPONENT, &F4);
        let private = named()
            .flag(sys::CKA_UNWRAP, true)
            .flag(sys::CKA_PRIVATE, true)
            .flag(sys::CKA_SENSITIVE, true)
            .flag(sys::CKA_EXTRACTABLE, false);
        let (public, _) = module
            .generate_pair(session, sys::CKM_RSA_PKCS_KEY_PAIR_GEN, (&public, &private))
            .map_err(failed("C_GenerateKeyPair"))?;
        self.public_key_of(session, public, KeyKind::Rsa2048).map(Answer::PublicKey)
    }

    fn wrap_for(&mut self, cka_id: &[u8], transport: &PublicKey) -> OrderOutcome {
        let (session, module) = (self.session()?, self.module());
        let PublicKey::Rsa { .. } = transport else {
            return Err(refused("C_CreateObject", sys::CKR_KEY_TYPE_INCONSISTENT));
        };
        let key = existing(module, session, &Class::Secret, cka_id)?;
        let template =
            public_template(transport, self.dialect())?.flag(sys::CKA_TOKEN, false).flag(sys::CKA_WRAP, true);
        let public = module.create_object(session, &template).map_err(failed("C_CreateObject"))?;
        let wrapped = match module.wrap(session, &Mechanism::Oaep, public, key) {
            Err(ReturnValue(sys::CKR_ARGUMENTS_BAD | sys::CKR_MECHANISM_PARAM_INVALID)) => {
                module.wrap(session, &Mechanism::OaepSha1, public, key)
            }
            other => other,
        };
        let _ = module.destroy_object(session, public); // a public key, of this session
        Ok(Answer::Wrapped { blob: wrapped.map_err(failed("C_WrapKey"))?, public_key: None })
    }

    fn destroy(&mut self, session: SessionHandle, cka_id: &[u8]) -> Done<u32> {
        if cka_id.is_empty() {
            return Err(refused("C_DestroyObject", sys::CKR_ARGUMENTS_BAD)); // it would mean every object without one
        }
        let module = self.module();
        let template = Template::default().octets(sys::CKA_ID, cka_id);
        let mut count = 0;
        for object in module.find(session, &template).map_err(failed("C_FindObjects"))? {
            module.destroy_object(session, object).map_err(failed("C_DestroyObject"))?;
            count += 1;
        }
        self.forget_handles();
        Ok(count)
    }
}

/// Where a key pair goes in a token.
struct Place<'p> {
    cka_id: &'p [u8],
    label: &'p str,
    extractable: bool,
}

fn existing(module: &Module, session: SessionHandle, class: &Class, cka_id: &[u8]) -> Done<ObjectHandle> {
    let found = module.find_key(session, class, cka_id).map_err(failed(Function::FindObjects.name()))?;
    found.ok_or_else(|| refused(Function::FindObjects.name(), sys::CKR_KEY_HANDLE_INVALID))
}

/// A CKA_ID is given once: PKCS#11 itself would take a second object with it.
fn free(module: &Module, session: SessionHandle, cka_id: &[u8]) -> Done<()> {
    let template = Template::default().octets(sys::CKA_ID, cka_id);
    let taken = module.find(session, &template).map_err(failed("C_FindObjects"))?;
    if taken.is_empty() { Ok(()) } else { Err(refused("CKA_ID taken", sys::CKR_ATTRIBUTE_VALUE_INVALID)) }
}

fn secret(kind: SecretKind, cka_id: &[u8], label: &str) -> Template {
    let template = Template::default()
        .number(sys::CKA_CLASS, sys::CKO_SECRET_KEY)
        .flag(sys::CKA_TOKEN, true)
        .flag(sys::CKA_PRIVATE, true)
        .flag(sys::CKA_SENSITIVE, true)
        // It has to reach the other devices of its group, under their transport keys.
        .flag(sys::CKA_EXTRACTABLE, true)
        .octets(sys::CKA_ID, cka_id)
        .octets(sys::CKA_LABEL, label.as_bytes());
    match kind {
        SecretKind::Wrapping => template
            .number(sys::CKA_KEY_TYPE, sys::CKK_AES)
            .flag(sys::CKA_WRAP, true)
            .flag(sys::CKA_UNWRAP, true)
            // A wrapping key that deciphers would show what it wraps.
            .flag(sys::CKA_ENCRYPT, false)
            .flag(sys::CKA_DECRYPT, false),
        SecretKind::Mac => {
            template.number(sys::CKA_KEY_TYPE, sys::CKK_GENERIC_SECRET).flag(sys::CKA_SIGN, true)
        }
    }
}

fn public_template(key: &PublicKey, dialect: &Dialect) -> Done<Template> {
    let template = Template::default()
        .number(sys::CKA_CLASS, sys::CKO_PUBLIC_KEY)
        .flag(sys::CKA_PRIVATE, false)
        .flag(sys::CKA_VERIFY, true);
    let curve = |template: Template, key_type, curve: &[u8], point: &[u8]| {
        // PKCS#11 §2.3.3: CKA_EC_POINT is a DER OCTET STRING.
        let wrapped = [&[0x04, u8::try_from(point.len()).unwrap_or_default()], point].concat();
        template
            .number(sys::CKA_KEY_TYPE, key_type)
            .octets(sys::CKA_EC_PARAMS, curve)
            .octets(sys::CKA_EC_POINT, &wrapped)
    };
    Ok(match key {
        PublicKey::Sm2(point) => {
            let numbers = dialect.sm2.as_ref();
            let numbers = numbers.ok_or_else(|| refused("C_CreateObject", sys::CKR_MECHANISM_INVALID))?;
            curve(template, numbers.key_type, &SM2_CURVE, point)
        }
        PublicKey::P256(point) => curve(template, sys::CKK_EC, &P256_CURVE, point),
        PublicKey::Rsa { modulus, exponent } => template
            .number(sys::CKA_KEY_TYPE, sys::CKK_RSA)
            .octets(sys::CKA_MODULUS, modulus)
            .octets(sys::CKA_PUBLIC_EXPONENT, exponent),
    })
}

const SM3_ABC: [u8; 32] = [
    0x66, 0xc7, 0xf0, 0xf4, 0x62, 0xee, 0xed, 0xd9, 0xd1, 0xf2, 0xd4, 0x6b, 0xdc, 0x10, 0xe4, 0xe2, 0x41,
    0x67, 0xc4, 0x87, 0x5c, 0xf2, 0xf7, 0xa2, 0x29, 0x7d, 0xa0, 0x2b, 0x8f, 0x4b, 0xa8, 0xe0,
];
const SHA256_ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0,
    0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];
const SM4_KEY: [u8; 16] =
    [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10];
const SM4_CIPHERTEXT: [u8; 16] =
    [0x68, 0x1e, 0xdf, 0x34, 0xd2, 0x06, 0x96, 0x5e, 0x86, 0xb3, 0xe9, 0x4f, 0x53, 0x6e, 0x42, 0x46];
const AES_PLAINTEXT: [u8; 16] =
    [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
const AES_CIPHERTEXT: [u8; 16] =
    [0x8e, 0xa2, 0xb7, 0xca, 0x51, 0x67, 0x45, 0xbf, 0xea, 0xfc, 0x49, 0x90, 0x4b, 0x49, 0x60, 0x89];
