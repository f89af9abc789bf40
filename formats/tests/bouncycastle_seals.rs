//! BouncyCastle as a second opinion on seal signatures, and on those in our OFD packages.
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::path::Path;
use std::process::Command;

use crate::packaging::{Parts, sealed};
use crate::sealing::{CONTENT, Site};

/// Debian's libbcprov-java.
const JAR: &str = "/usr/share/java/bcprov.jar";

struct Seals(tempfile::TempDir);

impl Seals {
    fn compile() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bouncycastle/Seals.java");
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-Xlint:none", "-encoding", "UTF-8", "-cp", JAR, "-d"]).arg(folder.path());
        let ran = javac.arg(source).output().expect("javac (tests/install-tools.sh installs it)");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Self(folder)
    }

    fn judge(&self, signature: &[u8], content: &[u8]) -> String {
        let path = |name: &str| self.0.path().join(name);
        std::fs::write(path("signature"), signature).unwrap();
        std::fs::write(path("content"), content).unwrap();
        let mut java = Command::new("java");
        java.args(["-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp"]);
        java.arg(format!("{}:{JAR}", self.0.path().display())).arg("Seals");
        let ran = java.arg(path("signature")).arg(path("content")).output().unwrap();
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }
}

#[test]
fn bouncycastle_accepts_our_seals_and_refuses_altered_ones() {
    let (seals, site) = (Seals::compile(), Site::sm2());
    let signature = site.sign(site.plan(site.seal(), CONTENT));
    assert_eq!(seals.judge(&signature, CONTENT), "valid 测试市场监督管理局");
    assert!(seals.judge(&signature, b"other").starts_with("invalid"));
    for from_end in [3, signature.len() / 2] {
        let mut altered = signature.clone();
        let place = altered.len() - from_end;
        altered[place] ^= 1;
        assert!(seals.judge(&altered, CONTENT).starts_with("invalid"));
    }
    let parts = Parts::of(&sealed(&site, 1));
    let xml = parts.octets("Doc_0/Signs/Sign_0/Signature.xml");
    let value = parts.octets("Doc_0/Signs/Sign_0/SignedValue.dat");
    assert_eq!(seals.judge(&value, &xml), "valid 测试市场监督管理局");
}
