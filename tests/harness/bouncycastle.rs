//! BouncyCastle as a second opinion: the Java programs of `tests/bouncycastle/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::built::repository;
use crate::scratch::Ran;

/// Debian's libbcprov-java, libbcpkix-java and libbcutil-java.
const JARS: &str = "/usr/share/java/bcprov.jar:/usr/share/java/bcpkix.jar:/usr/share/java/bcutil.jar";

/// The compiled programs.
pub struct BouncyCastle {
    classes: PathBuf,
}

impl BouncyCastle {
    /// Compiles the programs into `folder`.
    pub fn compile(folder: &Path) -> Self {
        let classes = folder.join("classes");
        let sources = repository().join("tests/bouncycastle");
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-Xlint:none", "-encoding", "UTF-8", "-cp", JARS, "-d"]).arg(&classes);
        javac.args(
            ["Issue.java", "Revocations.java", "Seals.java", "Timestamp.java", "Verify.java"]
                .map(|source| sources.join(source)),
        );
        Ran::of(&mut javac).expect("javac compiles tests/bouncycastle");
        Self { classes }
    }

    /// What a foreign CA and its customer would hand in, written into `folder` (see `Issue.java`).
    pub fn issue(&self, folder: &Path, content: &Path) {
        self.java("Issue", &[folder, content]).expect("Issue");
    }

    /// Judges a CMS against the anchors; the text begins with `valid` or `invalid` (see `Verify.java`).
    pub fn verify(&self, anchors: &Path, cms: &Path, detached_content: Option<&Path>) -> Ran {
        let mut arguments = vec![anchors, cms];
        arguments.extend(detached_content);
        self.java("Verify", &arguments)
    }

    /// Judges a response to a request for a timestamp; the text begins with `valid` or `invalid` (see
    /// `Timestamp.java`).
    pub fn timestamp(&self, anchors: &Path, request: &Path, response: &Path) -> Ran {
        self.java("Timestamp", &[anchors, request, response])
    }

    /// Judges a seal signature (GB/T 38540) over a content; the text begins with `valid` or `invalid` (see `Seals.java`).
    pub fn seal(&self, signature: &Path, content: &Path) -> Ran {
        self.java("Seals", &[signature, content])
    }

    fn java(&self, class: &str, arguments: &[&Path]) -> Ran {
        let path = format!("{}:{JARS}", self.classes.display());
        Ran::of(
            Command::new("java")
                .args(["-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", &path, class])
                .args(arguments),
        )
    }
}
