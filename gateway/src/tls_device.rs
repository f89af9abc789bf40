//! A listener's private key in the devices. rustls asks for a handshake's signature and waits: so these handshakes run
//! on threads of their own, as many as may wait for devices at once, and each wait has an end. When no device can
//! sign, handshakes fail at once and cleanly.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use config::{AppId, KeyId};
use formats::scheme::HashAlgorithm;
use formats::{Certificate, PublicKey};
use hsm_driver::{Algorithm, Ask, Fleet, HsmError};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};
use signing::SystemDesk;
use store::KeyPurpose;
use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};

/// Signatures of handshakes that may wait for devices at once.
const THREADS: usize = 16;

/// Longer than a device may take: the fleet's own answer comes first.
const MARGIN: Duration = Duration::from_millis(200);

/// Why a handshake got no signature.
#[derive(Debug, Error)]
enum NoSignature {
    #[error("the devices are not there yet")]
    Starting,
    #[error("no key {0} of purpose tls with the certificate's public key")]
    NoKey(KeyId),
    #[error("{0}")]
    Device(#[from] HsmError),
    #[error("no device answered in time")]
    Late,
}

impl From<NoSignature> for rustls::Error {
    fn from(error: NoSignature) -> Self {
        tracing::warn!(%error, "a handshake got no signature from the devices");
        Self::Other(OtherError(Arc::new(error)))
    }
}

/// The way from handshakes to the devices.
#[derive(Default)]
pub(crate) struct TlsDevices {
    attached: OnceLock<Attached>,
    handshakes: Mutex<Option<Apart>>,
}

struct Attached {
    fleet: Arc<Fleet>,
    system: SystemDesk,
    /// Where the fleet works.
    runtime: Handle,
    caller: AppId,
}

/// A runtime that may be dropped anywhere.
struct Apart(Option<Runtime>);

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl TlsDevices {
    /// From now on the devices sign. Must be called on a tokio runtime, once.
    pub(crate) fn attach(&self, fleet: Arc<Fleet>, system: SystemDesk, caller: AppId) {
        let attached = Attached { fleet, system, runtime: Handle::current(), caller };
        let _ = self.attached.set(attached); // a second call changes nothing
    }

    /// The key behind a certificate. Once the register is there, it must have the key.
    ///
    /// # Errors
    /// In words: the certificate's key is of a kind that no listener can have, or the register has none such.
    pub(crate) fn key(
        self: &Arc<Self>,
        id: &KeyId,
        certificate: &Certificate,
        timeout: Duration,
    ) -> Result<Arc<dyn SigningKey>, String> {
        let public_key = certificate.public_key().map_err(|error| error.to_string())?;
        let spki = public_key.spki_der();
        let algorithm = match &public_key {
            PublicKey::P256(_) => SignatureAlgorithm::ECDSA,
            PublicKey::Rsa(_) => SignatureAlgorithm::RSA,
            _ => return Err("a listener's key is P-256 or RSA".to_owned()),
        };
        let proof = Proof { id: id.clone(), public_key, timeout, devices: Arc::clone(self) };
        if let Some(attached) = self.attached.get() {
            proof.driver_key(attached).map_err(|error| error.to_string())?;
        }
        Ok(Arc::new(DeviceKey { spki: spki.into(), algorithm, proof: Arc::new(proof) }))
    }

    /// Where handshakes run that wait for devices.
    pub(crate) fn handshakes(&self) -> std::io::Result<Handle> {
        let mut apart = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Apart(Some(runtime))) = &*apart {
            return Ok(runtime.handle().clone());
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tls-handshake")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        *apart = Some(Apart(Some(runtime)));
        Ok(handle)
    }
}

/// A key of the devices as rustls sees it.
struct DeviceKey {
    spki: SubjectPublicKeyInfoDer<'static>,
    algorithm: SignatureAlgorithm,
    proof: Arc<Proof>,
}

/// What signs for a certificate.
struct Proof {
    id: KeyId,
    public_key: PublicKey,
    timeout: Duration,
    devices: Arc<TlsDevices>,
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.proof.id)
    }
}

impl SigningKey for DeviceKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours: &[(SignatureScheme, Algorithm)] = match self.algorithm {
            SignatureAlgorithm::ECDSA => &[(SignatureScheme::ECDSA_NISTP256_SHA256, Algorithm::EcdsaP256)],
            _ => &[
                (SignatureScheme::RSA_PSS_SHA256, Algorithm::RsaPss),
                (SignatureScheme::RSA_PKCS1_SHA256, Algorithm::RsaPkcs1),
            ],
        };
        let (scheme, algorithm) = *ours.iter().find(|(scheme, _)| offered.contains(scheme))?;
        Some(Box::new(DeviceSigner { scheme, algorithm, proof: Arc::clone(&self.proof) }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.spki.as_ref()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

struct DeviceSigner {
    scheme: SignatureScheme,
    algorithm: Algorithm,
    proof: Arc<Proof>,
}

impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSigner({}, {:?})", self.proof.id, self.scheme)
    }
}

impl Signer for DeviceSigner {
    /// Blocks its thread, for the key's timeout at most.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut digest = [0; 32];
        digest.copy_from_slice(&HashAlgorithm::Sha256.digest(message));
        Ok(self.proof.sign(self.algorithm, digest)?)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl Proof {
    fn sign(&self, algorithm: Algorithm, digest: [u8; 32]) -> Result<Vec<u8>, NoSignature> {
        let attached = self.devices.attached.get().ok_or(NoSignature::Starting)?;
        let key = self.driver_key(attached)?;
        let (fleet, caller) = (Arc::clone(&attached.fleet), attached.caller.clone());
        let deadline = Some(Instant::now() + self.timeout);
        let (sender, answer) = sync_channel(1);
        attached.runtime.spawn(async move {
            let ask = Ask { caller: &caller, key: &key, algorithm, digest, deadline };
            let _ = sender.send(fleet.sign(ask).await); // the handshake may be gone
        });
        match answer.recv_timeout(self.timeout + MARGIN) {
            Ok(signed) => Ok(signed?.signature),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(NoSignature::Late),
        }
    }

    /// The copy of the key that the certificate speaks of, such as some device can serve.
    fn driver_key(&self, attached: &Attached) -> Result<KeyId, NoSignature> {
        let ring = attached.system.keys();
        let key = ring.get(&self.id).filter(|key| key.purpose == KeyPurpose::Tls);
        let copies = key.into_iter().flat_map(|key| &key.current.copies);
        let mut copies: Vec<_> = copies.filter(|copy| copy.public_key == self.public_key).collect();
        copies.sort_by_key(|copy| !attached.fleet.can_serve(&copy.driver_key));
        let copy = copies.first().ok_or_else(|| NoSignature::NoKey(self.id.clone()))?;
        Ok(copy.driver_key.clone())
    }
}
