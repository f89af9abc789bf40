//! Signers the gateway has never heard of: a CA made by OpenSSL and one made by BouncyCastle.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bouncycastle::BouncyCastle;
use crate::built::repository;
use crate::scratch::Ran;

/// Foreign material, made once per shared site. Its roots are anchors of that site.
pub struct Foreign {
    folder: PathBuf,
    /// The Java programs, for judging the gateway's own CMS.
    pub bouncycastle: BouncyCastle,
}

const EXTENSIONS: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
C = CN
O = Foreign OpenSSL CA
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature,nonRepudiation
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
";

impl Foreign {
    /// Makes everything in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let bouncycastle = BouncyCastle::compile(&folder);
        std::fs::copy(repository().join("LICENSE"), folder.join("content")).expect("LICENSE is in the tree");
        bouncycastle.issue(&folder, &folder.join("content"));
        let foreign = Self { folder, bouncycastle };
        foreign.openssl_ca();
        foreign
    }

    /// The signed file.
    pub fn content(&self) -> Vec<u8> {
        self.read("content")
    }

    /// A file of the material: those of `Issue.java`, and `openssl-{ca,p256,rsa}.pem` with `openssl-KIND-FORM.der`
    /// (CMS, KIND `p256` or `rsa`, FORM `attached` or `detached`).
    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Where such a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The roots, as files to be configured as anchors.
    pub(crate) fn anchors(&self) -> [PathBuf; 2] {
        ["ca.pem", "openssl-ca.pem"].map(|name| self.path(name))
    }

    fn openssl_ca(&self) {
        std::fs::write(self.path("openssl.cnf"), EXTENSIONS).expect("the folder can be written");
        let key = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
        self.openssl(&format!("genpkey {key} -out openssl-ca.key"));
        self.openssl("req -x509 -new -key openssl-ca.key -days 30 -config openssl.cnf -extensions root -out openssl-ca.pem");
        for (serial, kind, key) in
            [(2, "p256", key), (3, "rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048")]
        {
            self.openssl(&format!("genpkey {key} -out {kind}.key"));
            self.openssl(&format!(
                "req -new -key {kind}.key -config openssl.cnf -subj /C=CN/CN=Foreign-{kind} -out {kind}.csr"
            ));
            self.openssl(&format!(
                "x509 -req -in {kind}.csr -CA openssl-ca.pem -CAkey openssl-ca.key -set_serial {serial} -days 20 \
                 -extfile openssl.cnf -extensions leaf -out openssl-{kind}.pem"
            ));
            for (form, option) in [("attached", "-nodetach"), ("detached", "")] {
                self.openssl(&format!(
                    "cms -sign -binary {option} -md sha256 -nosmimecap -in content -outform DER \
                     -signer openssl-{kind}.pem -inkey {kind}.key -certfile openssl-ca.pem -out openssl-{kind}-{form}.der"
                ));
            }
        }
    }

    fn openssl(&self, arguments: &str) {
        let folder: &Path = &self.folder;
        Ran::of(Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder))
            .expect(arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_judges_accept_foreign_cms_and_refuse_it_over_other_content_or_under_another_root() {
        let scratch = Scratch::new();
        let foreign = Foreign::new(scratch.path().join("foreign"));
        let other = scratch.write("other", b"other content");
        let verify = |root, cms: &str, content: Option<&Path>| {
            foreign.bouncycastle.verify(&foreign.path(root), &foreign.path(cms), content).ok
        };
        for (root, stranger, signer) in [
            ("ca.pem", "openssl-ca.pem", "cms-rfc5652"),
            ("ca.pem", "openssl-ca.pem", "cms-gbt35275"),
            ("openssl-ca.pem", "ca.pem", "openssl-p256"),
            ("openssl-ca.pem", "ca.pem", "openssl-rsa"),
        ] {
            let [attached, detached] = ["attached", "detached"].map(|form| format!("{signer}-{form}.der"));
            assert!(verify(root, &attached, None), "{attached}");
            assert!(verify(root, &detached, Some(&foreign.path("content"))), "{detached}");
            assert!(!verify(root, &detached, Some(&other)), "{detached} over other content");
            assert!(!verify(stranger, &attached, None), "{attached} under {stranger}");
        }
        for signer in ["openssl-p256", "openssl-rsa"] {
            let options = "cms -verify -binary -inform DER -CAfile foreign/openssl-ca.pem -out seen";
            scratch.openssl(&format!("{options} -in foreign/{signer}-attached.der")).expect(signer);
        }
    }
}
