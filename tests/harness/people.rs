//! People who operate a site: their accounts, codes of their second factor, and requests with their tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use serde_json::{Value, json};

use crate::{Answer, Caller, Site};

/// Seconds of a step (RFC 6238, 5.2).
const STEP: u64 = 30;

/// What a person has at hand: a name, a password, and an authenticator.
pub struct Person {
    /// The name to sign in with.
    pub name: String,
    /// The password.
    pub password: String,
    /// The secret of the second factor, base32; empty before it is enrolled.
    pub secret: String,
    /// The recovery codes that were not used yet.
    pub recovery_codes: Vec<String>,
    /// The step of the last code, so that each is another.
    step: u64,
    caller: Caller,
}

/// Somebody who is signed in, or a program with a personal access token.
pub struct SignedIn {
    /// What is shown with every request.
    pub token: String,
    caller: Caller,
}

impl Person {
    /// One of the people that `sandbox.json` names.
    pub fn of_sandbox(site: &Site, name: &str) -> Self {
        let people = site.sandbox()["people"].as_array().expect("the sandbox names people");
        let person =
            people.iter().find(|person| person["user"] == name).expect("the sandbox has this person");
        let text = |member: &str| person[member].as_str().expect("a text").to_owned();
        Self::new(site, name, text("password"), text("totp_secret"))
    }

    fn new(site: &Site, name: &str, password: String, secret: String) -> Self {
        let (recovery_codes, caller) = (Vec::new(), site.stranger(None));
        Self { name: name.to_owned(), password, secret, recovery_codes, step: 0, caller }
    }

    /// An account of these roles, made at the admin socket, with a one-time password.
    pub fn made(site: &Site, name: &str, roles: &[&str]) -> Self {
        let mut arguments =
            vec!["account", "create", name, "--display-name", "张三", "--reason", "test", "--json"];
        arguments.extend(roles.iter().flat_map(|role| ["--role", role]));
        let output = site.command(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).expect("the account as JSON");
        let password = made["one_time_password"].as_str().expect("a one-time password").to_owned();
        Self::new(site, name, password, String::new())
    }

    /// An account of these roles with a password of its own and a second factor, and its session.
    pub fn complete(site: &Site, name: &str, roles: &[&str]) -> (Self, SignedIn) {
        let mut person = Self::made(site, name, roles);
        let session = person.sign_in();
        person.choose_password(&session, "kT7-vepo-Quag");
        let session = person.enrol(&session);
        (person, session)
    }

    /// Chooses another password.
    pub fn choose_password(&mut self, session: &SignedIn, new: &str) {
        let body = json!({"present": self.password, "new": new});
        session.post("/v1/account/password", &body).expect(200);
        new.clone_into(&mut self.password);
    }

    /// Enrols a second factor; the session goes on under another token.
    pub fn enrol(&mut self, session: &SignedIn) -> SignedIn {
        let begun = session.post("/v1/account/second-factor", &json!({})).expect(200).json();
        begun["secret"].as_str().expect("a secret").clone_into(&mut self.secret);
        let confirmed = session
            .post("/v1/account/second-factor:confirm", &json!({"code": self.code()}))
            .expect(200)
            .json();
        let codes = confirmed["recovery_codes"].as_array().expect("recovery codes");
        self.recovery_codes = codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect();
        self.session(&confirmed)
    }

    /// A code that did not count yet: of this step, or of the next one, which is near enough.
    pub fn code(&mut self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() / STEP;
        self.step = now.max(self.step + 1);
        assert!(self.step <= now + 1, "a person has three codes within a minute; use recovery codes besides");
        code(&self.secret, self.step)
    }

    /// Signs in by password, and by a code in the same step if there is a second factor.
    pub fn sign_in(&mut self) -> SignedIn {
        let mut body = json!({"account": self.name, "password": self.password});
        if !self.secret.is_empty() {
            body["code"] = self.code().into();
        }
        let answer = self.caller.post("/v1/sign-in", &body).expect(200).json();
        assert_eq!(answer["state"], "signed_in", "{answer}");
        self.session(&answer)
    }

    /// Signs in with a recovery code.
    pub fn recover(&mut self) -> SignedIn {
        let code = self.recovery_codes.pop().expect("a recovery code is left");
        let body = json!({"account": self.name, "password": self.password, "recovery_code": code});
        let answer = self.caller.post("/v1/sign-in", &body).expect(200).json();
        self.session(&answer)
    }

    /// Tries to sign in with this body added to the name.
    pub fn try_sign_in(&self, mut body: Value) -> Answer {
        body["account"] = json!(self.name);
        self.caller.post("/v1/sign-in", &body)
    }

    fn session(&self, answer: &Value) -> SignedIn {
        let token = answer["token"].as_str().expect("a token").to_owned();
        SignedIn { token, caller: self.caller.clone() }
    }
}

impl SignedIn {
    /// Whoever shows this token at a site.
    pub fn with(site: &Site, token: &str) -> Self {
        Self { token: token.to_owned(), caller: site.stranger(None) }
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    /// `POST path` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body))
    }

    /// Any request with the token.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = body.map(Value::to_string);
        self.caller.send(
            method,
            path,
            &headers[..1 + usize::from(body.is_some())],
            body.as_deref().map(str::as_bytes),
        )
    }
}

/// The code of a step, six digits (RFC 4226, 5.3), by another implementation than the gateway's.
pub fn code(secret: &str, step: u64) -> String {
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &base32(secret));
    let tag = sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 15);
    let number = u32::from_be_bytes([tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]]);
    format!("{:06}", number % 1_000_000)
}

/// RFC 4648, without padding.
fn base32(text: &str) -> Vec<u8> {
    let (mut octets, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => panic!("{text:?} is not base32"),
        };
        (bits, held) = (bits << 5 | u32::from(value), held + 5);
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held) as u8);
        }
    }
    octets
}
