//! What a device can be told beside signing with the keys it holds: make, move and remove keys, and answer
//! known questions. Orders are rare and speak JSON; each goes to one device and is never given to another.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ReturnValue;
use crate::frame::{Found, KeyOrder};
use crate::key::{Algorithm, PublicKey};

/// A kind of key pair a device can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// SM2 (GB/T 32918).
    Sm2,
    /// NIST P-256.
    P256,
    /// RSA with a modulus of 2,048 bits and the exponent 65537.
    Rsa2048,
}

impl KeyKind {
    /// The word for it in interfaces and registers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sm2 => "sm2",
            Self::P256 => "p256",
            Self::Rsa2048 => "rsa2048",
        }
    }
}

/// What a secret key is for; it can do nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretKind {
    /// Wraps and unwraps other keys.
    Wrapping,
    /// Derives the key of the outer MAC of wrapped keys.
    Mac,
}

/// What a device is told to do. Objects are named by CKA_ID.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Remember these keys under the next free numbers and tell what the token shows of them.
    #[doc(hidden)]
    AddKeys(Vec<KeyOrder>),
    /// Sign once, whatever the state of the device: for self-tests.
    Sign {
        /// The private key.
        cka_id: Vec<u8>,
        /// How.
        algorithm: Algorithm,
        /// What.
        digest: [u8; 32],
    },
    /// List the key objects.
    Inventory,
    /// Compute what is known: SM3, SHA-256, and encryption where the token does it.
    KnownAnswers,
    /// Octets of the device's generator, at most 4,096.
    Random {
        /// How many.
        octets: u16,
    },
    /// Make a key pair in the token, for good.
    GeneratePair {
        /// CKA_ID of both objects; must be free.
        cka_id: Vec<u8>,
        /// CKA_LABEL of both objects.
        label: String,
        /// What kind.
        kind: KeyKind,
        /// Whether it may leave under a wrapping key. It cannot be changed later.
        extractable: bool,
    },
    /// Make a secret key in the token, for good.
    GenerateSecret {
        /// CKA_ID; must be free.
        cka_id: Vec<u8>,
        /// CKA_LABEL.
        label: String,
        /// What for.
        kind: SecretKind,
    },
    /// Wrap a private key of the token under a wrapping key of the token.
    WrapOut {
        /// The private key.
        cka_id: Vec<u8>,
        /// The wrapping key.
        wrapping: Vec<u8>,
    },
    /// Put a wrapped key pair into the token, for good. It signs the digest, as proof that it is the pair's.
    UnwrapIn {
        /// As another device wrapped it out.
        blob: Vec<u8>,
        /// The wrapping key.
        wrapping: Vec<u8>,
        /// CKA_ID of both objects; must be free.
        cka_id: Vec<u8>,
        /// CKA_LABEL of both objects.
        label: String,
        /// The public half.
        public_key: PublicKey,
        /// Whether it may leave again.
        extractable: bool,
        /// What to sign.
        digest: [u8; 32],
    },
    /// Make a key pair that lives outside: it is wrapped and forgotten.
    GenerateWrapped {
        /// What kind.
        kind: KeyKind,
        /// The wrapping key.
        wrapping: Vec<u8>,
    },
    /// Sign with a key that lives outside. The unwrapped key stays with the session for a while.
    SignWrapped {
        /// The wrapped private key.
        blob: Vec<u8>,
        /// What kind it is of.
        kind: KeyKind,
        /// The wrapping key.
        wrapping: Vec<u8>,
        /// How.
        algorithm: Algorithm,
        /// What.
        digest: [u8; 32],
    },
    /// Make a one-time RSA pair under which another device sends a secret key; it ends with the session.
    Transport {
        /// CKA_ID of the pair; must be free.
        cka_id: Vec<u8>,
    },
    /// Wrap a secret key under another device's transport key (RSAES-OAEP, SHA-256).
    WrapFor {
        /// The secret key.
        cka_id: Vec<u8>,
        /// The other device's.
        transport: PublicKey,
    },
    /// Put a secret key into the token, for good, and end the transport pair.
    Install {
        /// As the other device wrapped it.
        blob: Vec<u8>,
        /// CKA_ID of the transport pair.
        transport: Vec<u8>,
        /// CKA_ID; must be free.
        cka_id: Vec<u8>,
        /// CKA_LABEL.
        label: String,
        /// What for.
        kind: SecretKind,
    },
    /// HMAC-SHA-256 of a text under a MAC key: how keys for outer MACs are derived.
    Derive {
        /// The MAC key.
        cka_id: Vec<u8>,
        /// The text.
        text: String,
    },
    /// Remove every object with that CKA_ID.
    Destroy {
        /// Whose.
        cka_id: Vec<u8>,
    },
}

/// A key object a token shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyObject {
    /// CKA_ID.
    pub cka_id: Vec<u8>,
    /// CKA_LABEL.
    pub label: String,
    /// CKO_PRIVATE_KEY, CKO_PUBLIC_KEY or CKO_SECRET_KEY.
    pub class: u64,
    /// CKK.
    pub key_type: u64,
}

/// One known answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAnswer {
    /// What was computed, such as `sm3`.
    pub name: String,
    /// `Some(true)` right, `Some(false)` wrong, `None` if the token does not do it.
    pub right: Option<bool>,
}

/// What a device answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The number of the first of the keys, and what the token shows of each.
    #[doc(hidden)]
    Keys {
        /// The first one's number.
        first: u16,
        /// One for each.
        found: Vec<Found>,
    },
    /// A signature as the device gave it, or what [`Order::Derive`] gave.
    Octets(Vec<u8>),
    /// A signature by a key that lives outside.
    SignedWrapped {
        /// As the device gave it.
        signature: Vec<u8>,
        /// Whether the session still had the key from an earlier use; else it was unwrapped for this one.
        kept: bool,
    },
    /// The objects there are.
    Objects(Vec<KeyObject>),
    /// What was computed.
    KnownAnswers(Vec<KnownAnswer>),
    /// A public key made in the token.
    PublicKey(PublicKey),
    /// A key under a wrapping key, with the public half if it was made for this.
    Wrapped {
        /// The octets.
        blob: Vec<u8>,
        /// The public half, for [`Order::GenerateWrapped`].
        public_key: Option<PublicKey>,
    },
    /// It is done; so many objects were touched.
    Done(u32),
}

impl fmt::Debug for Answer {
    /// Octets may be a derived key: only their number is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { first, found } => write!(f, "Keys({} from {first})", found.len()),
            Self::Octets(octets) => write!(f, "Octets({})", octets.len()),
            Self::SignedWrapped { signature, kept } => {
                write!(f, "SignedWrapped({} octets, kept: {kept})", signature.len())
            }
            Self::Objects(objects) => f.debug_tuple("Objects").field(objects).finish(),
            Self::KnownAnswers(answers) => f.debug_tuple("KnownAnswers").field(answers).finish(),
            Self::PublicKey(key) => f.debug_tuple("PublicKey").field(key).finish(),
            Self::Wrapped { blob, .. } => write!(f, "Wrapped({} octets)", blob.len()),
            Self::Done(count) => write!(f, "Done({count})"),
        }
    }
}

/// A call of an order that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderFailure {
    pub(crate) function: String,
    pub(crate) rv: ReturnValue,
}

pub(crate) type OrderOutcome = Result<Answer, OrderFailure>;
