//! The one error type: each variant *is* a PKCS#11 return value.

use cryptoki_sys::*;

/// Why a call failed. The discriminant is the `CKR_` value (PKCS#11 v2.40, section 11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u64)]
pub enum Error {
    /// The object forbids the act: `CKA_COPYABLE` or `CKA_DESTROYABLE` is false.
    #[error("action prohibited")]
    ActionProhibited = CKR_ACTION_PROHIBITED,
    /// An argument cannot be right, such as a null pointer where data must be.
    #[error("bad argument")]
    ArgumentsBad = CKR_ARGUMENTS_BAD,
    /// The attribute may not be given or changed here.
    #[error("attribute is read-only")]
    AttributeReadOnly = CKR_ATTRIBUTE_READ_ONLY,
    /// The object does not give this value away.
    #[error("attribute is sensitive")]
    AttributeSensitive = CKR_ATTRIBUTE_SENSITIVE,
    /// The object has no such attribute.
    #[error("attribute type invalid for the object")]
    AttributeTypeInvalid = CKR_ATTRIBUTE_TYPE_INVALID,
    /// The attribute's value has the wrong length or content.
    #[error("attribute value invalid")]
    AttributeValueInvalid = CKR_ATTRIBUTE_VALUE_INVALID,
    /// The caller's buffer is too short.
    #[error("buffer too small")]
    BufferTooSmall = CKR_BUFFER_TOO_SMALL,
    /// The application's own mutexes are required, and this module brings its own.
    #[error("cannot use the application's mutexes")]
    CantLock = CKR_CANT_LOCK,
    /// `C_Initialize` came twice.
    #[error("already initialised")]
    CryptokiAlreadyInitialized = CKR_CRYPTOKI_ALREADY_INITIALIZED,
    /// `C_Initialize` has not been called.
    #[error("not initialised")]
    CryptokiNotInitialized = CKR_CRYPTOKI_NOT_INITIALIZED,
    /// The curve is not one of the device's.
    #[error("curve not supported")]
    CurveNotSupported = CKR_CURVE_NOT_SUPPORTED,
    /// The input's length does not suit the mechanism, or exceeds the device's bound.
    #[error("data length out of range")]
    DataLenRange = CKR_DATA_LEN_RANGE,
    /// The device cannot be reached or broke down.
    #[error("device error")]
    DeviceError = CKR_DEVICE_ERROR,
    /// The token was taken out of its slot.
    #[error("device removed")]
    DeviceRemoved = CKR_DEVICE_REMOVED,
    /// The ciphertext does not decrypt.
    #[error("encrypted data invalid")]
    EncryptedDataInvalid = CKR_ENCRYPTED_DATA_INVALID,
    /// The ciphertext's length is impossible.
    #[error("encrypted data length out of range")]
    EncryptedDataLenRange = CKR_ENCRYPTED_DATA_LEN_RANGE,
    /// The operation failed inside the device.
    #[error("function failed")]
    FunctionFailed = CKR_FUNCTION_FAILED,
    /// Nothing runs in parallel in PKCS#11 v2.40.
    #[error("function not parallel")]
    FunctionNotParallel = CKR_FUNCTION_NOT_PARALLEL,
    /// The device does not offer the function.
    #[error("function not supported")]
    FunctionNotSupported = CKR_FUNCTION_NOT_SUPPORTED,
    /// Something that should not happen.
    #[error("general error")]
    GeneralError = CKR_GENERAL_ERROR,
    /// The key's usage flags or allowed mechanisms forbid the operation.
    #[error("key function not permitted")]
    KeyFunctionNotPermitted = CKR_KEY_FUNCTION_NOT_PERMITTED,
    /// No such key.
    #[error("key handle invalid")]
    KeyHandleInvalid = CKR_KEY_HANDLE_INVALID,
    /// The key is too small or too large.
    #[error("key size out of range")]
    KeySizeRange = CKR_KEY_SIZE_RANGE,
    /// The key's type does not suit the mechanism.
    #[error("key type inconsistent")]
    KeyTypeInconsistent = CKR_KEY_TYPE_INCONSISTENT,
    /// The key may not leave the device.
    #[error("key unextractable")]
    KeyUnextractable = CKR_KEY_UNEXTRACTABLE,
    /// This kind of key cannot be wrapped by the mechanism.
    #[error("key not wrappable")]
    KeyNotWrappable = CKR_KEY_NOT_WRAPPABLE,
    /// The mechanism is unknown or not meant for the operation.
    #[error("mechanism invalid")]
    MechanismInvalid = CKR_MECHANISM_INVALID,
    /// The mechanism's parameter is malformed.
    #[error("mechanism parameter invalid")]
    MechanismParamInvalid = CKR_MECHANISM_PARAM_INVALID,
    /// No slot event is waiting.
    #[error("no event")]
    NoEvent = CKR_NO_EVENT,
    /// No such object, or it cannot be seen now.
    #[error("object handle invalid")]
    ObjectHandleInvalid = CKR_OBJECT_HANDLE_INVALID,
    /// Another operation of this kind is under way in the session.
    #[error("operation active")]
    OperationActive = CKR_OPERATION_ACTIVE,
    /// No operation of this kind was begun.
    #[error("operation not initialised")]
    OperationNotInitialized = CKR_OPERATION_NOT_INITIALIZED,
    /// Wrong PIN.
    #[error("pin incorrect")]
    PinIncorrect = CKR_PIN_INCORRECT,
    /// The PIN is too short or too long.
    #[error("pin length out of range")]
    PinLenRange = CKR_PIN_LEN_RANGE,
    /// Too many wrong PINs.
    #[error("pin locked")]
    PinLocked = CKR_PIN_LOCKED,
    /// The device takes no seeds: the operating system's generator needs none.
    #[error("random seed not supported")]
    RandomSeedNotSupported = CKR_RANDOM_SEED_NOT_SUPPORTED,
    /// The session limit is reached.
    #[error("session count reached")]
    SessionCount = CKR_SESSION_COUNT,
    /// A session is open where none may be.
    #[error("session exists")]
    SessionExists = CKR_SESSION_EXISTS,
    /// No such session.
    #[error("session handle invalid")]
    SessionHandleInvalid = CKR_SESSION_HANDLE_INVALID,
    /// `CKF_SERIAL_SESSION` was not given.
    #[error("parallel sessions not supported")]
    SessionParallelNotSupported = CKR_SESSION_PARALLEL_NOT_SUPPORTED,
    /// The act needs a read-write session.
    #[error("session is read-only")]
    SessionReadOnly = CKR_SESSION_READ_ONLY,
    /// A read-only session stands in the way of the security officer's login.
    #[error("a read-only session exists")]
    SessionReadOnlyExists = CKR_SESSION_READ_ONLY_EXISTS,
    /// The security officer is logged in, so no read-only session may open.
    #[error("the security officer's read-write session exists")]
    SessionReadWriteSoExists = CKR_SESSION_READ_WRITE_SO_EXISTS,
    /// The signature does not verify.
    #[error("signature invalid")]
    SignatureInvalid = CKR_SIGNATURE_INVALID,
    /// The signature's length is impossible.
    #[error("signature length out of range")]
    SignatureLenRange = CKR_SIGNATURE_LEN_RANGE,
    /// No such slot.
    #[error("slot id invalid")]
    SlotIdInvalid = CKR_SLOT_ID_INVALID,
    /// The template lacks what the object needs.
    #[error("template incomplete")]
    TemplateIncomplete = CKR_TEMPLATE_INCOMPLETE,
    /// The template contradicts itself, the mechanism or the object.
    #[error("template inconsistent")]
    TemplateInconsistent = CKR_TEMPLATE_INCONSISTENT,
    /// There is no token in the slot.
    #[error("token not present")]
    TokenNotPresent = CKR_TOKEN_NOT_PRESENT,
    /// The token has not been initialised.
    #[error("token not recognised")]
    TokenNotRecognized = CKR_TOKEN_NOT_RECOGNIZED,
    /// That user is logged in already.
    #[error("user already logged in")]
    UserAlreadyLoggedIn = CKR_USER_ALREADY_LOGGED_IN,
    /// The other user is logged in.
    #[error("another user is logged in")]
    UserAnotherAlreadyLoggedIn = CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    /// The act needs a login.
    #[error("user not logged in")]
    UserNotLoggedIn = CKR_USER_NOT_LOGGED_IN,
    /// The user's PIN was never set.
    #[error("user pin not initialised")]
    UserPinNotInitialized = CKR_USER_PIN_NOT_INITIALIZED,
    /// No such kind of user.
    #[error("user type invalid")]
    UserTypeInvalid = CKR_USER_TYPE_INVALID,
    /// The wrapped key does not unwrap.
    #[error("wrapped key invalid")]
    WrappedKeyInvalid = CKR_WRAPPED_KEY_INVALID,
    /// The wrapping key's type does not suit the mechanism.
    #[error("wrapping key type inconsistent")]
    WrappingKeyTypeInconsistent = CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
}

impl Error {
    /// The value the C caller sees.
    pub fn rv(self) -> CK_RV {
        self as CK_RV
    }
}

impl From<Error> for CK_RV {
    fn from(error: Error) -> Self {
        error.rv()
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
