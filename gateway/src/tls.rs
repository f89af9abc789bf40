//! TLS of the HTTPS listeners: rustls on aws-lc-rs, its certificate and key, and what clients' certificates are judged
//! against. One set is made whole from the files of one moment and never changes; a reload makes the next one, with
//! sessions of its own.

use std::io;
use std::sync::Arc;

use config::{ClientAuth, TlsVersion};
use formats::Crl;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::listen::Entrance;
use crate::tls_device::TlsDevices;

/// What the files hold, as they were read.
#[derive(Default)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: Vec<u8>,
    /// Empty when the key is in the devices.
    pub(crate) key: Vec<u8>,
    pub(crate) client_anchors: Vec<u8>,
    /// At least one of every path named.
    pub(crate) client_crls: Vec<Crl>,
}

/// What is wrong with a field's file.
pub(crate) struct Fault {
    pub(crate) field: &'static str,
    pub(crate) reason: String,
}

fn fault<E: ToString>(field: &'static str) -> impl Fn(E) -> Fault {
    move |error| Fault { field, reason: error.to_string() }
}

/// The terms of each HTTPS listener.
pub(crate) struct TlsSet {
    https: TlsTerms,
    /// Where clients are asked for certificates at all.
    mutual: Option<TlsTerms>,
    admin: Option<TlsTerms>,
    /// When the first certificate of the chain that is shown ends.
    pub(crate) not_after: OffsetDateTime,
    /// When the first list of clients' certificates is due.
    pub(crate) crls_until: Option<OffsetDateTime>,
}

/// How a listener shakes hands.
pub(crate) struct TlsTerms {
    config: Arc<ServerConfig>,
    /// Who judges clients' certificates.
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Where handshakes run whose signatures wait for a device.
    apart: Option<Handle>,
}

impl TlsTerms {
    /// Shakes hands; has no time limit of its own.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accept = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream);
        let Some(apart) = &self.apart else { return accept.await };
        // Ended when this is dropped.
        let mut handshake = JoinSet::new();
        handshake.spawn_on(accept, apart);
        match handshake.join_next().await {
            Some(Ok(shaken)) => shaken,
            _ => Err(io::Error::other("the handshake was given up")),
        }
    }
}

impl TlsSet {
    /// How a listener shakes hands; nothing where no TLS is spoken.
    pub(crate) fn terms(&self, entrance: Entrance) -> Option<&TlsTerms> {
        match entrance {
            Entrance::Http => None,
            Entrance::Https => Some(&self.https),
            Entrance::Mutual => self.mutual.as_ref(),
            Entrance::Admin => self.admin.as_ref(),
        }
    }

    /// Makes a set and checks that its parts belong together.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub(crate) fn new(
        config: &config::Config,
        files: &TlsFiles,
        devices: &Arc<TlsDevices>,
    ) -> Result<Self, Fault> {
        const CERTIFICATE: &str = "server.tls_certificate";
        let (server, tls) = (&config.server, &config.tls);
        let provider = Arc::new(provider(&tls.suites)?);
        let chain = certificates(CERTIFICATE, &files.certificate)?;
        let own = chain.first().ok_or("there is no certificate in it").map_err(fault(CERTIFICATE))?;
        let own = formats::Certificate::from_der(own).map_err(fault(CERTIFICATE))?;
        let not_after = chain
            .iter()
            .filter_map(|der| Some(formats::Certificate::from_der(der).ok()?.not_after()))
            .fold(own.not_after(), OffsetDateTime::min);
        let (certified, apart) = match &tls.key {
            Some(key) => {
                let signer = devices.key(key, &own, tls.sign_timeout).map_err(fault("tls.key"))?;
                let apart = devices.handshakes().map_err(fault("tls.key"))?;
                (CertifiedKey::new(chain, signer), Some(apart))
            }
            None => {
                let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(fault("server.tls_key"))?;
                let key = provider.key_provider.load_private_key(key).map_err(fault("server.tls_key"))?;
                (CertifiedKey::new(chain, key), None)
            }
        };
        certified.keys_match().map_err(fault(CERTIFICATE))?;
        let shown = Arc::new(SingleCertAndKey::from(certified));
        let clients = Clients::read(files)?;
        let terms = |auth: ClientAuth| -> Result<TlsTerms, Fault> {
            let verifier = clients.verifier(auth, &provider)?;
            let versions: &[_] = match tls.minimum {
                TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
                TlsVersion::Tls13 => &[&rustls::version::TLS13],
            };
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(fault("tls.suites"))?;
            let builder = match &verifier {
                Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
                None => builder.with_no_client_auth(),
            };
            let mut config = builder.with_cert_resolver(Arc::clone(&shown) as _);
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            // A session is of the listener and the set that it began under: nobody resumes one elsewhere or later.
            Ok(TlsTerms { config: Arc::new(config), clients: verifier, apart: apart.clone() })
        };
        Ok(Self {
            https: terms(server.client_auth)?,
            mutual: server.mutual.map(|_| terms(ClientAuth::Required)).transpose()?,
            admin: server.admin.map(|_| terms(server.admin_client_auth)).transpose()?,
            not_after,
            crls_until: clients.until,
        })
    }
}

/// All suites that are sound, or those named, in their order.
fn provider(names: &[String]) -> Result<CryptoProvider, Fault> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if names.is_empty() {
        return Ok(provider);
    }
    let all = std::mem::take(&mut provider.cipher_suites);
    let iana =
        |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    for name in names {
        let Some(suite) = all.iter().find(|suite| iana(suite) == *name) else {
            let known: Vec<_> = all.iter().map(iana).collect();
            let reason = format!("there is no suite {name:?}; known are {}", known.join(", "));
            return Err(Fault { field: "tls.suites", reason });
        };
        provider.cipher_suites.push(*suite);
    }
    Ok(provider)
}

fn certificates(field: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(fault(field))
}

/// What clients' certificates are judged against.
struct Clients {
    roots: Arc<RootCertStore>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    until: Option<OffsetDateTime>,
}

impl Clients {
    fn read(files: &TlsFiles) -> Result<Self, Fault> {
        const ANCHORS: &str = "tls.client_anchors";
        const CRLS: &str = "tls.client_crls";
        let mut roots = RootCertStore::empty();
        for der in certificates(ANCHORS, &files.client_anchors)? {
            roots.add(der).map_err(fault(ANCHORS))?;
        }
        let mut until: Option<OffsetDateTime> = None;
        for crl in &files.client_crls {
            let next = crl.next_update().ok_or("a list says no nextUpdate").map_err(fault(CRLS))?;
            until = Some(until.map_or(next, |until| until.min(next)));
        }
        let crls = files.client_crls.iter().map(|crl| crl.der().to_vec().into()).collect();
        Ok(Self { roots: Arc::new(roots), crls, until })
    }

    /// Nobody where nobody is asked. Every certificate of a chain is looked up, one of which no list speaks is
    /// refused, and so is everybody once a list has expired.
    fn verifier(
        &self,
        auth: ClientAuth,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Fault> {
        if auth == ClientAuth::Off {
            return Ok(None);
        }
        let roots = Arc::clone(&self.roots);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            .with_crls(self.crls.iter().cloned())
            .enforce_revocation_expiration();
        let builder = if auth == ClientAuth::Optional { builder.allow_unauthenticated() } else { builder };
        let built = builder.build().map_err(|error| match error {
            VerifierBuilderError::InvalidCrl(_) => fault("tls.client_crls")(error),
            _ => fault("tls.client_anchors")(error),
        });
        built.map(Some)
    }
}
