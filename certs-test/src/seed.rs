//! All randomness of a sandbox, derived from one seed: the same seed makes the same bytes.

use rsa::rand_core::{CryptoRng, Error, RngCore, impls};
use sm3::{Digest, Sm3};
use zeroize::{Zeroize, Zeroizing};

/// The root of derivation. Everything drawn from it carries a label, so that adding a key never changes
/// the others.
pub(crate) struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// An endless stream of bytes for one label.
    pub(crate) fn stream(&self, label: &str) -> Stream {
        let key = Sm3::new().chain_update(*self.0).chain_update(label.as_bytes()).finalize();
        Stream { key: Zeroizing::new(key.into()), counter: 0, block: Zeroizing::new([0; 32]), used: 32 }
    }

    /// A positive 16-byte serial number for one label.
    pub(crate) fn serial(&self, label: &str) -> [u8; 16] {
        let mut serial = [0; 16];
        self.stream(&format!("serial {label}")).fill_bytes(&mut serial);
        serial[0] = serial[0] & 0x7f | 0x40;
        serial
    }
}

/// SM3 in counter mode over a label's key.
pub(crate) struct Stream {
    key: Zeroizing<[u8; 32]>,
    counter: u64,
    block: Zeroizing<[u8; 32]>,
    used: usize,
}

impl Stream {
    fn next_byte(&mut self) -> u8 {
        if self.used == self.block.len() {
            let mut digest =
                Sm3::new().chain_update(*self.key).chain_update(self.counter.to_be_bytes()).finalize();
            self.block.copy_from_slice(&digest);
            digest.as_mut_slice().zeroize();
            self.counter += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, destination: &mut [u8]) {
        for byte in destination {
            *byte = self.next_byte();
        }
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(destination);
        Ok(())
    }
}

impl CryptoRng for Stream {}
