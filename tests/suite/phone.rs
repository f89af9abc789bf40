//! A phone with a license of the sandbox on it: scans, and signs what its holder agrees to.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tests::{Answer, Scratch, Site, base64};

use crate::sessions::now;

/// A phone with a license of the sandbox on it.
pub(crate) struct Phone {
    pub(crate) secret: String,
    pub(crate) license: String,
    pub(crate) key: PathBuf,
    pub(crate) uscc: String,
}

impl Phone {
    pub(crate) fn with(site: &Site, stem: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let pki = site.data().join("pki");
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(pki.join("manifest.json")).unwrap()).unwrap();
        let named = |entry: &&Value| entry["file"] == format!("licenses/{stem}.der");
        let entry = manifest["licenses"].as_array().unwrap().iter().find(named).unwrap();
        Self {
            secret: base64(format!("the secret of phone {number:08}").as_bytes()),
            license: std::fs::read_to_string(pki.join(format!("licenses/{stem}.pem"))).unwrap(),
            key: pki.join(format!("private/license-{stem}.pem")),
            uscc: entry["uscc"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) fn good(site: &Site) -> Self {
        Self::with(site, "A-good")
    }

    pub(crate) fn scan(&self, site: &Site, session: &Value) -> Answer {
        let body = json!({"qr": session["qr_text"], "phone": self.secret});
        site.stranger(None).post("/v1/phone/sessions:scan", &body)
    }

    /// What its holder would sign.
    pub(crate) fn consent(&self, asked: &Value) -> Value {
        let mut consent = json!({
            "app": asked["app"], "app_name": asked["app_name"], "at": now(0), "flow": asked["flow"],
            "item": asked["item"], "item_name": asked["item_name"], "nonce": asked["nonce"], "operator": null,
            "qrid": asked["qrid"], "role": "administrator", "uscc": self.uscc,
            "v": asked["consent_version"],
        });
        for field in ["biz_no", "digest", "fields", "stamp_id", "text"] {
            if let Some(value) = asked.get(field) {
                consent[field] = value.clone();
            }
        }
        consent
    }

    pub(crate) fn sign(&self, text: impl AsRef<[u8]>) -> String {
        let scratch = Scratch::new();
        scratch.write("text", text);
        let key = self.key.display();
        let signed = format!("dgst -sm3 -sign {key} -sigopt distid:1234567812345678 -out signature text");
        scratch.openssl(&signed).expect("openssl signs");
        base64(&scratch.read("signature"))
    }

    pub(crate) fn bring(&self, site: &Site, id: &str, text: &str, signature: &str) -> Answer {
        self.bring_all(site, id, text, signature, None)
    }

    pub(crate) fn bring_all(
        &self,
        site: &Site,
        id: &str,
        text: &str,
        signature: &str,
        digest_signature: Option<&str>,
    ) -> Answer {
        let mut body = json!({
            "phone": self.secret, "license": self.license, "consent": text, "signature": signature,
        });
        if let Some(signature) = digest_signature {
            body["digest_signature"] = signature.into();
        }
        site.stranger(None).post(&format!("/v1/phone/sessions/{id}/confirm"), &body)
    }

    pub(crate) fn confirm(&self, site: &Site, consent: &Value) -> Answer {
        let text = consent.to_string();
        let digest = consent["digest"].as_str().map(|digest| self.sign(to_sign(digest)));
        self.bring_all(site, consent["qrid"].as_str().unwrap(), &text, &self.sign(&text), digest.as_deref())
    }

    /// Has the site's library say how the holder of its license stands.
    pub(crate) fn stands(&self, site: &Site, code: i64) {
        in_database(site, &format!("UPDATE entities SET status = {code} WHERE uscc = '{}'", self.uscc));
    }

    pub(crate) fn deny(&self, site: &Site, id: &str) -> Answer {
        site.stranger(None).post(&format!("/v1/phone/sessions/{id}/deny"), &json!({"phone": self.secret}))
    }
}

/// Does something to a site's database past the site.
pub(crate) fn in_database(site: &Site, statement: &str) {
    let mut sqlite = std::process::Command::new("sqlite3");
    sqlite.args(["-cmd", ".timeout 30000"]).arg(site.data().join("gateway.db")).arg(statement);
    tests::Ran::of(&mut sqlite).expect("sqlite3");
}

/// What is signed of a digest in a SignedData of GB/T 35275: that its content is data, and its digest.
pub(crate) fn to_sign(digest: &str) -> Vec<u8> {
    let set = "314c301906092a864886f70d010903310c060a2a811ccf550601040201302f06092a864886f70d01090431220420";
    octets(&format!("{set}{digest}"))
}

fn octets(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
