//! Certificates that clients show: the chain that TLS verified, and whether it still holds.
//!
//! TLS asks once, at a full handshake. A session that is resumed and a connection that stays open would go on with a
//! certificate that has been revoked since; so each is judged again here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

/// How long a judgement holds while the lists and roots stay as they are: no list of theirs expires unseen.
const FRESH: Duration = Duration::from_secs(30);

/// The verified chain of a connection's client certificate, in the extensions of every request of that connection.
/// That it is some client of the site is proved; which app it stands for is not said.
#[derive(Debug, Clone)]
pub(crate) struct ClientChain(Arc<[CertificateDer<'static>]>);

impl ClientChain {
    /// The certificates in DER, the client's own first; there is one at least.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

/// What a connection's client proved, and by whose word.
pub(crate) struct Credential {
    chain: ClientChain,
    judged: Mutex<Judged>,
}

struct Judged {
    by: Arc<dyn ClientCertVerifier>,
    at: Instant,
    holds: bool,
}

impl Credential {
    /// What TLS took from the client: verified just now, or at an earlier handshake whose session is resumed.
    ///
    /// # Errors
    /// A chain of a resumed session does not hold any more.
    pub(crate) fn new(
        certificates: &[CertificateDer<'_>],
        verifier: &Arc<dyn ClientCertVerifier>,
        resumed: bool,
    ) -> Result<Self, rustls::Error> {
        let chain = ClientChain(certificates.iter().map(|der| der.clone().into_owned()).collect());
        if resumed {
            judge(&chain, verifier.as_ref())?;
        }
        let judged = Judged { by: Arc::clone(verifier), at: Instant::now(), holds: true };
        Ok(Self { chain, judged: Mutex::new(judged) })
    }

    /// The chain, if it holds under the verifier that counts now.
    pub(crate) fn chain(&self, verifier: Option<&Arc<dyn ClientCertVerifier>>) -> Option<&ClientChain> {
        let verifier = verifier?; // nobody vouches for it any more
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&judged.by, verifier) || judged.at.elapsed() >= FRESH {
            let holds = judge(&self.chain, verifier.as_ref()).is_ok();
            *judged = Judged { by: Arc::clone(verifier), at: Instant::now(), holds };
        }
        judged.holds.then_some(&self.chain)
    }
}

fn judge(chain: &ClientChain, verifier: &dyn ClientCertVerifier) -> Result<(), rustls::Error> {
    let Some((own, issuers)) = chain.certificates().split_first() else {
        return Err(rustls::Error::NoCertificatesPresented);
    };
    verifier.verify_client_cert(own, issuers, UnixTime::now()).map(drop)
}
