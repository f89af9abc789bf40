//! Sets up a token: initialises it, sets its PINs and imports keys by template. Used for sandboxes and tests,
//! where keys come from software; a real key is generated in its device by a ceremony.
//!
//! Like the daily work it runs in a process of its own: [`provision`] starts one, [`run`] is that process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::device::WorkerCommand;
use crate::dialect::Dialect;
use crate::order::SecretKind;

/// What a token shall hold. Doing it twice changes nothing the second time.
#[derive(Serialize, Deserialize)]
pub struct ProvisionOrder {
    /// The vendor's library.
    pub module: String,
    /// Serial number of the token, or nothing for the first that is not initialised.
    pub serial: Option<String>,
    /// Label it gets.
    pub label: String,
    /// Security officer's PIN.
    pub so_pin: String,
    /// User's PIN.
    pub pin: String,
    /// Numbers of the vendor.
    pub dialect: Dialect,
    /// Keys to import.
    pub keys: Vec<ImportKey>,
}

/// One key to import.
#[derive(Clone, Serialize, Deserialize)]
pub struct ImportKey {
    /// CKA_LABEL of both objects.
    pub label: String,
    /// CKA_ID of both objects.
    pub cka_id: Vec<u8>,
    /// The numbers.
    pub parts: KeyParts,
    /// Whether it may leave under a wrapping key.
    pub extractable: bool,
}

/// The numbers of a key, big-endian.
#[derive(Clone, Serialize, Deserialize)]
pub enum KeyParts {
    /// SM2: scalar (32 octets) and point (65 octets).
    Sm2 {
        /// d.
        scalar: Zeroizing<Vec<u8>>,
        /// `04‖X‖Y`.
        point: Vec<u8>,
    },
    /// P-256: scalar (32 octets) and point (65 octets).
    P256 {
        /// d.
        scalar: Zeroizing<Vec<u8>>,
        /// `04‖X‖Y`.
        point: Vec<u8>,
    },
    /// A secret key of 32 octets.
    Secret {
        /// The octets.
        value: Zeroizing<Vec<u8>>,
        /// What it is for.
        kind: SecretKind,
    },
    /// RSA with its CRT numbers.
    Rsa {
        /// n.
        modulus: Vec<u8>,
        /// e.
        exponent: Vec<u8>,
        /// d.
        private_exponent: Zeroizing<Vec<u8>>,
        /// p, q, d mod p-1, d mod q-1, q⁻¹ mod p.
        crt: Zeroizing<Vec<Vec<u8>>>,
    },
}

/// Why a token was not set up.
#[derive(Debug, Error)]
pub enum ProvisionError {
    /// The process could not be started or fed.
    #[error("provisioning process")]
    Process(#[from] std::io::Error),
    /// The order could not be written or read.
    #[error("provisioning order")]
    Order(#[from] serde_json::Error),
    /// The process said why.
    #[error("token {label}: {reason}")]
    Failed {
        /// The token.
        label: String,
        /// In the process's words.
        reason: String,
    },
}

/// ASN.1 object identifiers as CKA_EC_PARAMS.
const SM2_CURVE: [u8; 10] = [0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d];
const P256_CURVE: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Sets a token up in a process of its own; `env` is that process's additional environment
/// and `folder` its working folder.
///
/// # Errors
/// See [`ProvisionError`]; a token half set up is completed by the next call.
pub fn provision(
    command: &WorkerCommand,
    env: &BTreeMap<String, String>,
    folder: &Path,
    order: &ProvisionOrder,
) -> Result<(), ProvisionError> {
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .envs(env)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let json = Zeroizing::new(serde_json::to_vec(order)?);
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&json)?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let reason = if reason.is_empty() { output.status.to_string() } else { reason };
    Err(ProvisionError::Failed { label: order.label.clone(), reason })
}

/// The provisioning process: reads an order from standard input, answers on standard output. Internal.
#[must_use]
pub fn run() -> ExitCode {
    let mut json = Zeroizing::new(Vec::new());
    let order = std::io::stdin()
        .read_to_end(&mut json)
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_slice::<ProvisionOrder>(&json).map_err(|error| error.to_string()));
    match order.and_then(|order| set_up(&order).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(std::io::stdout(), "{reason}"); // the exit code says it too
            ExitCode::FAILURE
        }
    }
}

fn set_up(order: &ProvisionOrder) -> Result<(), cryptoki::error::Error> {
    let module = Pkcs11::new(&order.module)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let (so_pin, pin) = (AuthPin::from(order.so_pin.clone()), AuthPin::from(order.pin.clone()));
    let Some(slot) = find_slot(&module, order)? else {
        return Err(cryptoki::error::Error::NotSupported); // no token to be had: nothing was touched
    };
    if !module.get_token_info(slot)?.token_initialized() {
        module.init_token(slot, &so_pin, &order.label)?;
    }
    // Some modules move an initialised token to a slot of its own.
    let slot = find_slot(&module, order)?.unwrap_or(slot);
    let session = module.open_rw_session(slot)?;
    if !module.get_token_info(slot)?.user_pin_initialized() {
        session.login(UserType::So, Some(&so_pin))?;
        session.init_pin(&pin)?;
        session.logout()?;
    }
    session.login(UserType::User, Some(&pin))?;
    for key in &order.keys {
        import(&session, key, &order.dialect)?;
    }
    session.logout()
}

fn find_slot(module: &Pkcs11, order: &ProvisionOrder) -> Result<Option<Slot>, cryptoki::error::Error> {
    let mut blank = None;
    for slot in module.get_slots_with_token()? {
        let info = module.get_token_info(slot)?;
        if order.serial.as_ref().is_some_and(|serial| info.serial_number().trim_end() == serial) {
            return Ok(Some(slot));
        }
        if order.serial.is_none() && info.token_initialized() && info.label().trim_end() == order.label {
            return Ok(Some(slot));
        }
        if !info.token_initialized() {
            blank.get_or_insert(slot);
        }
    }
    Ok(blank.filter(|_| order.serial.is_none()))
}

fn import(session: &Session, key: &ImportKey, dialect: &Dialect) -> Result<(), cryptoki::error::Error> {
    if let KeyParts::Secret { value, kind } = &key.parts {
        return import_secret(session, key, value, *kind);
    }
    let (kind, public, private) = numbers(key, dialect)?;
    let common = |class| {
        vec![
            Attribute::Class(class),
            Attribute::KeyType(kind),
            Attribute::Token(true),
            Attribute::Label(key.label.clone().into_bytes()),
            Attribute::Id(key.cka_id.clone()),
        ]
    };
    for (class, own, numbers) in [
        (ObjectClass::PUBLIC_KEY, vec![Attribute::Private(false), Attribute::Verify(true)], public),
        (
            ObjectClass::PRIVATE_KEY,
            vec![
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(key.extractable),
                Attribute::Sign(true),
            ],
            private,
        ),
    ] {
        let there = session.find_objects(&[Attribute::Class(class), Attribute::Id(key.cka_id.clone())])?;
        if there.is_empty() {
            let template: Vec<_> = common(class).into_iter().chain(own).chain(numbers).collect();
            session.create_object(&template)?;
        }
    }
    Ok(())
}

fn import_secret(
    session: &Session,
    key: &ImportKey,
    value: &[u8],
    kind: SecretKind,
) -> Result<(), cryptoki::error::Error> {
    let place = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Id(key.cka_id.clone())];
    if !session.find_objects(&place)?.is_empty() {
        return Ok(());
    }
    let (key_type, uses) = match kind {
        SecretKind::Wrapping => (KeyType::AES, vec![Attribute::Wrap(true), Attribute::Unwrap(true)]),
        SecretKind::Mac => (KeyType::GENERIC_SECRET, vec![Attribute::Sign(true)]),
    };
    let common = [
        Attribute::KeyType(key_type),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(key.extractable),
        Attribute::Label(key.label.clone().into_bytes()),
        Attribute::Value(value.to_vec()),
    ];
    let template: Vec<_> = place.into_iter().chain(common).chain(uses).collect();
    session.create_object(&template).map(drop)
}

type Numbers = (KeyType, Vec<Attribute>, Vec<Attribute>);

fn numbers(key: &ImportKey, dialect: &Dialect) -> Result<Numbers, cryptoki::error::Error> {
    Ok(match &key.parts {
        KeyParts::Secret { .. } => return Err(cryptoki::error::Error::NotSupported), // it is no pair
        KeyParts::Sm2 { scalar, point } => {
            let numbers = dialect.sm2.as_ref().ok_or(cryptoki::error::Error::NotSupported)?;
            let kind = KeyType::new_vendor_defined(numbers.key_type)?;
            curve_numbers(kind, &SM2_CURVE, scalar, point)
        }
        KeyParts::P256 { scalar, point } => curve_numbers(KeyType::EC, &P256_CURVE, scalar, point),
        KeyParts::Rsa { modulus, exponent, private_exponent, crt } => {
            let public =
                vec![Attribute::Modulus(modulus.clone()), Attribute::PublicExponent(exponent.clone())];
            let mut private = public.clone();
            private.push(Attribute::PrivateExponent(private_exponent.to_vec()));
            if let [p, q, dp, dq, q_inverse] = crt.as_slice() {
                private.extend([
                    Attribute::Prime1(p.clone()),
                    Attribute::Prime2(q.clone()),
                    Attribute::Exponent1(dp.clone()),
                    Attribute::Exponent2(dq.clone()),
                    Attribute::Coefficient(q_inverse.clone()),
                ]);
            }
            (KeyType::RSA, public, private)
        }
    })
}

fn curve_numbers(kind: KeyType, curve: &[u8], scalar: &[u8], point: &[u8]) -> Numbers {
    let parameters = Attribute::EcParams(curve.to_vec());
    // PKCS#11 §2.3.3: CKA_EC_POINT is a DER OCTET STRING.
    let wrapped = [&[0x04, u8::try_from(point.len()).unwrap_or_default()], point].concat();
    (
        kind,
        vec![parameters.clone(), Attribute::EcPoint(wrapped)],
        vec![parameters, Attribute::Value(scalar.to_vec())],
    )
}
