use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use certs_test::Options;
use serde_json::Value;
use time::macros::datetime;

/// How the program ended and what it said.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// One JSON object per line.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The one object there is.
    #[track_caller]
    pub(crate) fn object(&self) -> Value {
        let mut objects = self.objects();
        assert_eq!(objects.len(), 1, "{}{}", self.stdout, self.stderr);
        objects.remove(0)
    }

    /// Verdict, codes of findings and exit code of the one object.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, verdict: &str, finding: Option<&str>) -> Value {
        let object = self.object();
        assert_eq!((self.code, object["verdict"].as_str().unwrap()), (code, verdict), "{object}");
        if let Some(finding) = finding {
            assert!(codes(&object).contains(&finding), "no {finding} in {object}");
        }
        object
    }
}

pub(crate) fn codes(object: &Value) -> Vec<&str> {
    object["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// Runs the program with blank-separated arguments, then `more`.
pub(crate) fn gateway(arguments: &str, more: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_license-gateway"))
        .args(arguments.split_whitespace())
        .args(more)
        .output()
        .unwrap();
    Ran {
        code: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The sandbox's material, made once. Everything in it is dated from [`MADE`].
pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
}

/// Inside the validity of everything good.
pub(crate) const AT: &str = "2026-06-02T00:00:00Z";

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { seed: [42; 32], at: datetime!(2026-06-01 00:00 UTC) };
    certs_test::generate(&options).unwrap().write_to(folder.path()).unwrap();
    Sandbox { folder }
});

pub(crate) fn sandbox() -> &'static Sandbox {
    &SANDBOX
}

impl Sandbox {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn manifest(&self, list: &str) -> Vec<Value> {
        let text = std::fs::read(self.path("manifest.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()[list].as_array().unwrap().clone()
    }

    /// Judges a file of the material by its own anchors, intermediates and CRLs.
    pub(crate) fn verify(&self, file: &str, options: &str) -> Ran {
        self.verify_path(&self.path(file), options)
    }

    pub(crate) fn verify_path(&self, file: &Path, options: &str) -> Ran {
        let folder = self.folder.path().display();
        let arguments = format!(
            "verify --json --sandbox --trust {folder}/trust/bundle.pem --intermediate {folder}/issuing \
             --seal-maker {folder}/seals/makers.pem --crl {folder}/crls {options}"
        );
        gateway(&arguments, &[file.to_str().unwrap()])
    }
}

/// A folder for one test, in which OpenSSL works.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    #[track_caller]
    pub(crate) fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A P-256 root `ca.pem` and, signed by it, `signer.pem` with `signer.key`.
    pub(crate) fn with_authority() -> Self {
        let scratch = Self::new();
        scratch.write(
            "openssl.cnf",
            "[req]\ndistinguished_name = name\nprompt = no\n[name]\nO = Somebody's CA\n\
             [root]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\n\
             [leaf]\nkeyUsage = critical,digitalSignature,nonRepudiation\n\
             [ocsp]\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = OCSPSigning\n\
             [tsa]\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = critical,timeStamping\n",
        );
        let key = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
        scratch.openssl(&format!("genpkey {key} -out ca.key"));
        scratch
            .openssl("req -x509 -new -key ca.key -days 30 -config openssl.cnf -extensions root -out ca.pem");
        for (serial, name) in [(2, "leaf"), (3, "tsa"), (4, "ocsp")] {
            scratch.openssl(&format!("genpkey {key} -out {name}.key"));
            scratch.openssl(&format!(
                "req -new -key {name}.key -config openssl.cnf -subj /C=CN/O=签名单位/CN={name} -utf8 -out {name}.csr"
            ));
            scratch.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -set_serial {serial} -days 20 \
                 -extfile openssl.cnf -extensions {name} -out {name}.pem"
            ));
        }
        scratch
    }

    /// Judges a file of this folder by `ca.pem`.
    pub(crate) fn verify(&self, file: &str, options: &str) -> Ran {
        let folder = self.0.path().display();
        let arguments = format!("verify --json --trust {folder}/ca.pem {options}");
        gateway(&arguments, &[self.path(file).to_str().unwrap()])
    }
}
