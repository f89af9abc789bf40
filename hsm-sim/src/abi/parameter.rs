//! `CK_MECHANISM` and the parameter structures behind it.

use cryptoki_sys::*;

use super::memory::{octets, read};
use crate::{
    error::{Error, Result},
    mechanism::{Call, Hash, Parameter, ParameterForm},
    module::Module,
};

/// The mechanism a caller names, with its parameter copied.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn call(module: &Module, pointer: *const CK_MECHANISM) -> Result<Call> {
    let raw = unsafe { read(pointer) }?;
    let mechanism = module.mechanism(raw.mechanism)?;
    let parameter = match mechanism.parameter_form() {
        ParameterForm::None if raw.ulParameterLen == 0 => Ok(Parameter::None),
        ParameterForm::None => Err(Error::MechanismParamInvalid),
        ParameterForm::Octets => {
            unsafe { octets(raw.pParameter.cast(), raw.ulParameterLen) }.map(|octets| match octets {
                [] => Parameter::None,
                octets => Parameter::Octets(octets.to_vec()),
            })
        }
        ParameterForm::Counter => unsafe { structure(raw) }.map(counter),
        ParameterForm::Gcm => unsafe { structure(raw).and_then(|params| gcm(params)) },
        ParameterForm::Pss => unsafe { structure(raw) }.and_then(pss),
        ParameterForm::Oaep => unsafe { structure(raw).and_then(|params| oaep(params)) },
        ParameterForm::Ecdh => unsafe { structure(raw).and_then(|params| ecdh(params)) },
    }
    .map_err(|_| Error::MechanismParamInvalid)?;
    Ok(Call { number: raw.mechanism, mechanism, parameter })
}

/// The parameter as a structure of exactly its size.
///
/// # Safety
/// See the head of [`super`].
unsafe fn structure<T: Copy>(raw: CK_MECHANISM) -> Result<T> {
    if raw.ulParameterLen != size_of::<T>() as CK_ULONG {
        return Err(Error::MechanismParamInvalid);
    }
    unsafe { read(raw.pParameter.cast()) }
}

fn counter(params: CK_AES_CTR_PARAMS) -> Parameter {
    Parameter::Counter { bits: params.ulCounterBits, block: params.cb }
}

/// # Safety
/// See the head of [`super`].
unsafe fn gcm(params: CK_AES_GCM_PARAMS) -> Result<Parameter> {
    let iv = unsafe { octets(params.pIv, params.ulIvLen) }?.to_vec();
    let aad = unsafe { octets(params.pAAD, params.ulAADLen) }?.to_vec();
    Ok(Parameter::Gcm { iv, aad, tag_bits: params.ulTagBits })
}

fn pss(params: CK_RSA_PKCS_PSS_PARAMS) -> Result<Parameter> {
    let hash = Hash::from_mechanism(params.hashAlg)?;
    // MGF1 with another hash than the message's is legal and offered by nobody this device plays.
    if Hash::from_mgf(params.mgf)? != hash {
        return Err(Error::MechanismParamInvalid);
    }
    match usize::try_from(params.sLen) {
        Ok(salt_len @ 0..=512) => Ok(Parameter::Pss { hash, salt_len }),
        _ => Err(Error::MechanismParamInvalid),
    }
}

/// # Safety
/// See the head of [`super`].
unsafe fn oaep(params: CK_RSA_PKCS_OAEP_PARAMS) -> Result<Parameter> {
    let label = match params.source {
        CKZ_DATA_SPECIFIED => unsafe { octets(params.pSourceData.cast(), params.ulSourceDataLen) }?.to_vec(),
        0 if params.ulSourceDataLen == 0 => Vec::new(),
        _ => return Err(Error::MechanismParamInvalid),
    };
    let (hash, mgf) = (Hash::from_mechanism(params.hashAlg)?, Hash::from_mgf(params.mgf)?);
    Ok(Parameter::Oaep { hash, mgf, label })
}

/// # Safety
/// See the head of [`super`].
unsafe fn ecdh(params: CK_ECDH1_DERIVE_PARAMS) -> Result<Parameter> {
    if params.kdf != CKD_NULL || params.ulSharedDataLen != 0 {
        return Err(Error::MechanismParamInvalid);
    }
    Ok(Parameter::Ecdh(unsafe { octets(params.pPublicData, params.ulPublicDataLen) }?.to_vec()))
}
