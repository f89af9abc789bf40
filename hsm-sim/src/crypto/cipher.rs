//! AES and SM4 in their modes.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, aead::Aead};
use aes_kw::{AesKw, AesKwp};
use cbc::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
    InnerIvInit, KeyInit, StreamCipher,
    block_padding::{NoPadding, Pkcs7},
    common::InnerInit,
    consts::{U12, U16},
};
use ctr::{Ctr32BE, Ctr64BE, Ctr128BE, CtrCore};
use sm4::Sm4;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    mechanism::{Block, Call, Mechanism, Parameter},
};

const BLOCK: usize = 16;

/// Which way the octets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// Everything the modes need of a block cipher.
trait Cipher: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit {}
impl<C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit> Cipher for C {}

/// Runs a cipher mechanism over the whole input.
pub(crate) fn apply(call: &Call, key: &[u8], direction: Direction, data: &[u8]) -> Result<Vec<u8>> {
    let block = block_of(call.mechanism).ok_or(Error::MechanismInvalid)?;
    match (block, key.len()) {
        (Block::Sm4, 16) => run::<Sm4>(call, key, direction, data),
        (Block::Aes, 16) => run::<Aes128>(call, key, direction, data),
        (Block::Aes, 24) => run::<Aes192>(call, key, direction, data),
        (Block::Aes, 32) => run::<Aes256>(call, key, direction, data),
        _ => Err(Error::KeySizeRange),
    }
}

/// The block cipher of a mechanism, if it is a cipher mode.
pub(crate) fn block_of(mechanism: Mechanism) -> Option<Block> {
    match mechanism {
        Mechanism::Ecb(block)
        | Mechanism::EcbPad(block)
        | Mechanism::Cbc(block)
        | Mechanism::CbcPad(block)
        | Mechanism::Ctr(block)
        | Mechanism::Gcm(block) => Some(block),
        Mechanism::AesKeyWrap | Mechanism::AesKeyWrapPad => Some(Block::Aes),
        _ => None,
    }
}

/// Refuses a parameter the mode cannot use, before any data comes.
pub(crate) fn check_parameter(call: &Call) -> Result<()> {
    let good = match (call.mechanism, &call.parameter) {
        (Mechanism::Cbc(_) | Mechanism::CbcPad(_), Parameter::Octets(iv)) => iv.len() == BLOCK,
        (Mechanism::Ctr(_), Parameter::Counter { bits, .. }) => matches!(bits, 32 | 64 | 128),
        (Mechanism::Gcm(_), Parameter::Gcm { iv, tag_bits, .. }) => iv.len() == 12 && *tag_bits == 128,
        (Mechanism::Ecb(_) | Mechanism::EcbPad(_), Parameter::None) => true,
        (Mechanism::AesKeyWrap | Mechanism::AesKeyWrapPad, Parameter::None) => true,
        _ => false,
    };
    if good { Ok(()) } else { Err(Error::MechanismParamInvalid) }
}

/// The longest output for an input of that length.
pub(crate) fn output_len(mechanism: Mechanism, direction: Direction, input: usize) -> usize {
    match (mechanism, direction) {
        (Mechanism::CbcPad(_) | Mechanism::EcbPad(_), Direction::Encrypt) => (input / BLOCK + 1) * BLOCK,
        (Mechanism::Gcm(_), Direction::Encrypt) => input + BLOCK,
        (Mechanism::Gcm(_), Direction::Decrypt) => input.saturating_sub(BLOCK),
        (Mechanism::AesKeyWrap, Direction::Encrypt) => input + 8,
        (Mechanism::AesKeyWrapPad, Direction::Encrypt) => (input.div_ceil(8) + 1) * 8,
        (Mechanism::AesKeyWrap | Mechanism::AesKeyWrapPad, Direction::Decrypt) => input.saturating_sub(8),
        _ => input,
    }
}

fn run<C: Cipher>(call: &Call, key: &[u8], direction: Direction, data: &[u8]) -> Result<Vec<u8>> {
    use Direction::{Decrypt, Encrypt};
    let cipher = C::new_from_slice(key).map_err(|_| Error::KeySizeRange)?;
    let whole_blocks = |error| if data.len().is_multiple_of(BLOCK) { Ok(()) } else { Err(error) };
    match (call.mechanism, &call.parameter, direction) {
        (Mechanism::Ecb(_), _, Encrypt) => {
            whole_blocks(Error::DataLenRange)?;
            Ok(ecb(data, |block| cipher.encrypt_block(block)))
        }
        (Mechanism::Ecb(_), _, Decrypt) => {
            whole_blocks(Error::EncryptedDataLenRange)?;
            Ok(ecb(data, |block| cipher.decrypt_block(block)))
        }
        (Mechanism::EcbPad(_), _, Encrypt) => {
            let fill = BLOCK - data.len() % BLOCK;
            let padded = Zeroizing::new([data, &vec![fill as u8; fill]].concat());
            Ok(ecb(&padded, |block| cipher.encrypt_block(block)))
        }
        (Mechanism::EcbPad(_), _, Decrypt) => {
            whole_blocks(Error::EncryptedDataLenRange)?;
            let mut plaintext = ecb(data, |block| cipher.decrypt_block(block));
            let fill = plaintext.last().map_or(0, |fill| usize::from(*fill));
            let start = plaintext.len().checked_sub(fill).ok_or(Error::EncryptedDataInvalid)?;
            if !(1..=BLOCK).contains(&fill)
                || plaintext[start..].iter().any(|octet| usize::from(*octet) != fill)
            {
                return Err(Error::EncryptedDataInvalid);
            }
            plaintext.truncate(start);
            Ok(plaintext)
        }
        (Mechanism::Cbc(_), Parameter::Octets(iv), Encrypt) => {
            whole_blocks(Error::DataLenRange)?;
            Ok(cbc::Encryptor::inner_iv_init(cipher, &block_iv(iv)?).encrypt_padded_vec::<NoPadding>(data))
        }
        (Mechanism::Cbc(_), Parameter::Octets(iv), Decrypt) => {
            whole_blocks(Error::EncryptedDataLenRange)?;
            cbc::Decryptor::inner_iv_init(cipher, &block_iv(iv)?)
                .decrypt_padded_vec::<NoPadding>(data)
                .map_err(|_| Error::EncryptedDataInvalid)
        }
        (Mechanism::CbcPad(_), Parameter::Octets(iv), Encrypt) => {
            Ok(cbc::Encryptor::inner_iv_init(cipher, &block_iv(iv)?).encrypt_padded_vec::<Pkcs7>(data))
        }
        (Mechanism::CbcPad(_), Parameter::Octets(iv), Decrypt) => {
            whole_blocks(Error::EncryptedDataLenRange)?;
            cbc::Decryptor::inner_iv_init(cipher, &block_iv(iv)?)
                .decrypt_padded_vec::<Pkcs7>(data)
                .map_err(|_| Error::EncryptedDataInvalid)
        }
        (Mechanism::Ctr(_), Parameter::Counter { bits, block }, _) => {
            let (iv, mut data) = (Array::from(*block), data.to_vec());
            let done = match bits {
                32 => Ctr32BE::from_core(CtrCore::inner_iv_init(cipher, &iv)).try_apply_keystream(&mut data),
                64 => Ctr64BE::from_core(CtrCore::inner_iv_init(cipher, &iv)).try_apply_keystream(&mut data),
                _ => Ctr128BE::from_core(CtrCore::inner_iv_init(cipher, &iv)).try_apply_keystream(&mut data),
            };
            done.map(|()| data).map_err(|_| Error::DataLenRange)
        }
        (Mechanism::Gcm(_), Parameter::Gcm { iv, aad, .. }, _) => {
            let gcm = AesGcm::<C, U12>::from(cipher);
            let nonce = Array::try_from(iv.as_slice()).map_err(|_| Error::MechanismParamInvalid)?;
            let payload = aes_gcm::aead::Payload { msg: data, aad };
            match direction {
                Encrypt => gcm.encrypt(&nonce, payload).map_err(|_| Error::DataLenRange),
                Decrypt => gcm.decrypt(&nonce, payload).map_err(|_| Error::EncryptedDataInvalid),
            }
        }
        (Mechanism::AesKeyWrap, _, Encrypt) => {
            let mut wrapped = vec![0; data.len() + 8];
            AesKw::inner_init(cipher).wrap_key(data, &mut wrapped).map_err(|_| Error::DataLenRange)?;
            Ok(wrapped)
        }
        (Mechanism::AesKeyWrap, _, Decrypt) => {
            unwrapped(data, |buffer| AesKw::inner_init(cipher).unwrap_key(data, buffer).map(<[u8]>::len))
        }
        (Mechanism::AesKeyWrapPad, _, Encrypt) => {
            let mut wrapped = vec![0; output_len(call.mechanism, direction, data.len())];
            AesKwp::inner_init(cipher).wrap_key(data, &mut wrapped).map_err(|_| Error::DataLenRange)?;
            Ok(wrapped)
        }
        (Mechanism::AesKeyWrapPad, _, Decrypt) => {
            unwrapped(data, |buffer| AesKwp::inner_init(cipher).unwrap_key(data, buffer).map(<[u8]>::len))
        }
        _ => Err(Error::MechanismParamInvalid),
    }
}

fn ecb(data: &[u8], step: impl Fn(&mut Array<u8, U16>)) -> Vec<u8> {
    let mut output = data.to_vec();
    for chunk in output.chunks_exact_mut(BLOCK) {
        let mut block = Array::default();
        block.copy_from_slice(chunk);
        step(&mut block);
        chunk.copy_from_slice(&block);
    }
    output
}

fn block_iv(iv: &[u8]) -> Result<Array<u8, U16>> {
    Array::try_from(iv).map_err(|_| Error::MechanismParamInvalid)
}

fn unwrapped<E>(
    wrapped: &[u8],
    unwrap: impl FnOnce(&mut [u8]) -> std::result::Result<usize, E>,
) -> Result<Vec<u8>> {
    if wrapped.len() < 16 || !wrapped.len().is_multiple_of(8) {
        return Err(Error::EncryptedDataLenRange);
    }
    let mut buffer = vec![0; wrapped.len() - 8];
    let len = unwrap(&mut buffer).map_err(|_| Error::EncryptedDataInvalid)?;
    buffer.truncate(len);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(mechanism: Mechanism, parameter: Parameter) -> Call {
        Call { number: 0, mechanism, parameter }
    }

    #[test]
    fn sm4_ecb_gives_the_standards_example() {
        // GB/T 32907-2016, annex A.1.
        let key = hex::decode("0123456789abcdeffedcba9876543210").unwrap();
        let call = call(Mechanism::Ecb(Block::Sm4), Parameter::None);
        let ciphertext = apply(&call, &key, Direction::Encrypt, &key).unwrap();
        assert_eq!(hex::encode(&ciphertext), "681edf34d206965e86b3e94f536e4246");
        assert_eq!(apply(&call, &key, Direction::Decrypt, &ciphertext).unwrap(), key);
    }

    #[test]
    fn every_mode_undoes_itself_within_the_promised_length() {
        let key = [7; 16];
        let iv = || Parameter::Octets(vec![1; 16]);
        let gcm = || Parameter::Gcm { iv: vec![2; 12], aad: b"aad".to_vec(), tag_bits: 128 };
        let counter = |bits| Parameter::Counter { bits, block: [3; 16] };
        let calls = [
            call(Mechanism::Cbc(Block::Aes), iv()),
            call(Mechanism::CbcPad(Block::Sm4), iv()),
            call(Mechanism::EcbPad(Block::Sm4), Parameter::None),
            call(Mechanism::Ctr(Block::Aes), counter(32)),
            call(Mechanism::Ctr(Block::Sm4), counter(128)),
            call(Mechanism::Gcm(Block::Aes), gcm()),
            call(Mechanism::Gcm(Block::Sm4), gcm()),
            call(Mechanism::AesKeyWrap, Parameter::None),
            call(Mechanism::AesKeyWrapPad, Parameter::None),
        ];
        let plaintext = [9; 64];
        for call in calls {
            let ciphertext = apply(&call, &key, Direction::Encrypt, &plaintext).unwrap();
            assert_eq!(ciphertext.len(), output_len(call.mechanism, Direction::Encrypt, 64), "{call:?}");
            let again = apply(&call, &key, Direction::Decrypt, &ciphertext).unwrap();
            assert_eq!(again, plaintext, "{call:?}");
            assert!(output_len(call.mechanism, Direction::Decrypt, ciphertext.len()) >= 64, "{call:?}");
        }
    }

    #[test]
    fn lengths_a_mode_cannot_take_are_refused() {
        let key = [7; 16];
        let cbc = call(Mechanism::Cbc(Block::Aes), Parameter::Octets(vec![0; 16]));
        assert_eq!(apply(&cbc, &key, Direction::Encrypt, &[0; 15]), Err(Error::DataLenRange));
        let wrap = call(Mechanism::AesKeyWrapPad, Parameter::None);
        for len in [0, 8, 17] {
            let error = apply(&wrap, &key, Direction::Decrypt, &vec![0; len]);
            assert_eq!(error, Err(Error::EncryptedDataLenRange), "{len}");
        }
        let short = call(Mechanism::Cbc(Block::Aes), Parameter::Octets(vec![0; 8]));
        assert_eq!(check_parameter(&short), Err(Error::MechanismParamInvalid));
    }
}
