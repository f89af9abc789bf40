//! A certificate authority run by OpenSSL: it issues, revokes, writes CRLs and answers OCSP.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::http::base64;
use crate::scratch::Scratch;

/// The authority and its folder: `ca.pem`, of each certificate `NAME.pem` and `NAME.key`, and what [`Authority::list`]
/// wrote, `crl.pem`.
pub struct Authority {
    scratch: Scratch,
    /// OpenSSL takes its index away for a moment when it writes a new one.
    index: Mutex<()>,
}

/// A running HTTPS server; dropping it ends it.
pub struct HttpsFiles {
    child: Child,
    address: String,
}

impl HttpsFiles {
    /// `https://127.0.0.1:PORT/NAME`
    pub fn url(&self, name: &str) -> String {
        format!("https://{}/{name}", self.address)
    }
}

impl Drop for HttpsFiles {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CONFIGURATION: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
[ca]
default_ca = here
[here]
database = index.txt
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
policy = any
default_days = 30
crlnumber = crlnumber
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature,nonRepudiation
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
[server]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1,DNS:localhost
authorityKeyIdentifier = keyid
[responder]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = OCSPSigning
noCheck = ignored
authorityKeyIdentifier = keyid
[server]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
authorityKeyIdentifier = keyid
[list]
authorityKeyIdentifier = keyid
";

const KEY: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out";

impl Authority {
    /// An authority of this name, with a responder for OCSP.
    pub fn new(name: &str) -> Self {
        let scratch = Scratch::new();
        scratch.write("ca.cnf", CONFIGURATION);
        scratch.write("index.txt", "");
        scratch.write("serial", "1000\n");
        scratch.write("crlnumber", "01\n");
        scratch.openssl(&format!("{KEY} ca.key")).expect("a key");
        let root = "req -x509 -new -key ca.key -days 60 -config ca.cnf -extensions root -out ca.pem";
        scratch.openssl(&format!("{root} -subj /CN={name}")).expect("a root");
        let authority = Self { scratch, index: Mutex::default() };
        authority.issue_for("responder", "responder");
        authority
    }

    /// Its root's file.
    pub fn root(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Where a file of its folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn locked(&self) -> MutexGuard<'_, ()> {
        self.index.lock().expect("OpenSSL did its work before")
    }

    /// A certificate for signing documents.
    pub fn issue(&self, name: &str) {
        self.issue_for(name, "leaf");
    }

    /// A certificate for TLS: for a `client`, or for a `server` on this machine.
    pub fn issue_for(&self, name: &str, extensions: &str) {
        self.scratch.openssl(&format!("{KEY} {name}.key")).expect("a key");
        let request = format!("req -new -key {name}.key -config ca.cnf -subj /CN={name} -out {name}.csr");
        self.scratch.openssl(&request).expect("a request");
        self.sign(name, extensions);
    }

    /// Certifies a request of somebody else's for a `client` or a `server`.
    pub fn certify(&self, name: &str, request: &str, extensions: &str) -> String {
        self.scratch.write(&format!("{name}.csr"), request);
        self.sign(name, extensions);
        self.pem(name)
    }

    fn sign(&self, name: &str, extensions: &str) {
        let _index = self.locked();
        let issue = format!(
            "ca -batch -config ca.cnf -notext -in {name}.csr -extensions {extensions} -out {name}.pem"
        );
        self.scratch.openssl(&issue).expect("a certificate");
    }

    /// An HTTPS server of loopback, proved by this authority, that gives out the files of its folder.
    pub fn serve(&self) -> HttpsFiles {
        self.issue_for("server", "server");
        let mut child = Command::new("openssl")
            .args("s_server -accept 127.0.0.1:0 -key server.key -cert server.pem -WWW".split(' '))
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("OpenSSL can be run");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = said.find_map(|line| Some(line.ok()?.strip_prefix("ACCEPT ")?.to_owned()));
        let address = address.expect("OpenSSL says where it listens");
        // It goes on to name each file it gives out, and must not find the pipe closed.
        std::thread::spawn(move || said.for_each(drop));
        HttpsFiles { child, address }
    }

    /// Revokes a certificate; lists and answers of later on tell of it.
    pub fn revoke(&self, name: &str) {
        let _index = self.locked();
        let reason = "-crl_reason keyCompromise";
        self.scratch
            .openssl(&format!("ca -config ca.cnf -revoke {name}.pem {reason}"))
            .expect("a revocation");
    }

    /// A CRL of now, in DER.
    pub fn crl(&self) -> Vec<u8> {
        self.crl_with("-crlhours 2")
    }

    /// A CRL by more options of `openssl ca`, in DER.
    pub fn crl_with(&self, options: &str) -> Vec<u8> {
        let _index = self.locked();
        let list = format!("ca -config ca.cnf -gencrl -crlexts list {options} -out list.pem");
        self.scratch.openssl(&list).expect("a CRL");
        self.scratch.openssl("crl -in list.pem -outform DER -out list.der").expect("the CRL in DER");
        self.scratch.read("list.der")
    }

    /// Writes a list of now to `crl.pem`, by more options of `openssl ca`.
    pub fn list(&self, options: &str) {
        self.crl_with(options);
        std::fs::rename(self.path("list.pem"), self.path("crl.pem")).expect("a list was written");
    }

    /// The answer to an OCSP request, good for two hours.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        let _index = self.locked();
        self.scratch.write("request", request);
        let signer = "-index index.txt -CA ca.pem -rsigner responder.pem -rkey responder.key -rmd sha256";
        let files = "-reqin request -respout response -nmin 120";
        self.scratch.openssl(&format!("ocsp {signer} {files}")).expect("an answer");
        self.scratch.read("response")
    }

    /// The text of a PEM file in its folder.
    pub fn pem(&self, name: &str) -> String {
        String::from_utf8(self.scratch.read(&format!("{name}.pem"))).expect("PEM is text")
    }

    /// What to ask of `/v1/verifications` about a signature by `name`.
    pub fn verification(&self, name: &str) -> Value {
        self.scratch.write("content", b"signed elsewhere");
        let sign = format!("dgst -sha256 -sign {name}.key -out {name}.sig content");
        self.scratch.openssl(&sign).expect("a signature");
        json!({
            "algorithm": "ecdsa-p256-sha256",
            "input": {"data": base64(b"signed elsewhere")},
            "signature": base64(&self.scratch.read(&format!("{name}.sig"))),
            "certificate": self.pem(name),
        })
    }
}
