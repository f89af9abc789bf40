//! What a probe found, for people and for scripts.

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;

/// Everything found. Octets and numbers of PKCS#11 are hexadecimal text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether the gateway can sign with this device.
    pub usable: bool,
    /// The shipped dialect that fits: `standard` for a device without SM2; nothing when its SM2 fits none.
    pub dialect: Option<String>,
    /// Further shipped dialects that fit as well.
    pub also_fits: Vec<String>,
    /// Why the examination ended before its end, in a sentence.
    pub stopped: Option<String>,
    /// Things a person should know, in sentences.
    pub notes: Vec<String>,
    /// What the library says of itself.
    pub library: Option<LibraryFacts>,
    /// What the token says of itself.
    pub token: Option<Token>,
    /// The mechanism list.
    pub mechanisms: Vec<MechanismFacts>,
    /// SM2, one entry for each family of numbers tried.
    pub sm2: Vec<Sm2Finding>,
    /// P-256 and RSA.
    pub algorithms: Vec<AlgorithmFinding>,
    /// Digests, ciphers and random numbers.
    pub services: Vec<ServiceFinding>,
    /// Wrapping of private keys.
    pub wrapping: Vec<WrapFinding>,
    /// Sessions and how the device behaves in them.
    pub behaviour: Behaviour,
    /// How fast it signs.
    pub rates: Vec<Rate>,
    /// Every refusal met, with how often: `C_GenerateKeyPair answered CKR_MECHANISM_INVALID`.
    pub refusals: Vec<RefusalCount>,
    /// A dialect to start from, TOML.
    pub profile: String,
    /// A `[[device]]` table to start from, TOML.
    pub device: String,
}

/// CK_INFO.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LibraryFacts {
    /// manufacturerID.
    pub manufacturer: String,
    /// libraryDescription.
    pub description: String,
    /// libraryVersion.
    pub version: String,
    /// cryptokiVersion.
    pub cryptoki: String,
}

/// CK_TOKEN_INFO.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// label.
    pub label: String,
    /// manufacturerID.
    pub manufacturer: String,
    /// model.
    pub model: String,
    /// serialNumber.
    pub serial: String,
    /// firmwareVersion.
    pub firmware: String,
    /// The slot it is in now; it may be in another tomorrow.
    pub slot: u64,
    /// CKF_ flags by name.
    pub flags: Vec<String>,
    /// ulMaxSessionCount; 0 is "no limit", nothing "not said".
    pub max_sessions: Option<u64>,
    /// ulSessionCount.
    pub open_sessions: Option<u64>,
}

/// One line of the mechanism list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MechanismFacts {
    /// CKM number.
    pub number: String,
    /// Its name, where PKCS#11 or a surveyed vendor gives one.
    pub name: Option<String>,
    /// ulMinKeySize, in the mechanism's own unit.
    pub min_key: u64,
    /// ulMaxKeySize.
    pub max_key: u64,
    /// CKF_ flags by name.
    pub uses: Vec<String>,
}

/// SM2 under one family's numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sm2Finding {
    /// The family.
    pub family: String,
    /// CKK.
    pub key_type: String,
    /// How the key was come by: `generated`, `existing`, or why there is none.
    pub key: String,
    /// CKA_EC_POINT of the public key: `octet string`, `bare`, `x‖y`, or what it is.
    pub point: Option<String>,
    /// CKA_EC_POINT on the private key: the same, or nothing.
    pub point_on_private: Option<String>,
    /// What each signing number does.
    pub signatures: Vec<Sm2Signature>,
}

/// One SM2 signing number, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sm2Signature {
    /// CKM.
    pub number: String,
    /// The vendor's name for it.
    pub name: String,
    /// What is signed when the input is 32 octets: `e`, `sm3(message)`, `sm3(z‖message)`; nothing when no
    /// signature was given, `unknown` when it verifies as none of them.
    pub signs: Option<String>,
    /// How signatures are laid out: `r‖s`, `der`, `sloppy der`.
    pub form: Option<String>,
    /// Why there is no signature.
    pub refused: Option<String>,
}

/// One algorithm of the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlgorithmFinding {
    /// The name used in the HTTP interface.
    pub algorithm: String,
    /// A signature was made and verified.
    pub works: bool,
    /// How signatures are laid out, or why there are none.
    pub detail: String,
}

/// One service other than signing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceFinding {
    /// What was tried, such as `SM3 0x80009001`.
    pub service: String,
    /// The result was right.
    pub works: bool,
    /// What was compared, or why not.
    pub detail: String,
}

/// A private key wrapped, unwrapped and used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WrapFinding {
    /// The mechanism.
    pub mechanism: String,
    /// The wrapping key.
    pub by: String,
    /// The key wrapped.
    pub key: String,
    /// The unwrapped key signed and the signature verified.
    pub works: bool,
    /// Octets of the wrapped key, when it was wrapped.
    pub octets: Option<usize>,
    /// What happened.
    pub detail: String,
}

/// How the device behaves in its sessions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Behaviour {
    /// Sessions asked for.
    pub sessions_asked: Option<usize>,
    /// Sessions given; fewer than asked for when a limit was met.
    pub sessions_given: Option<usize>,
    /// Two sessions sign at once and independently.
    pub parallel: Option<bool>,
    /// What a second C_SignInit in a session with an open operation answers.
    pub second_init: Option<String>,
    /// Whether the first operation is still there after it.
    pub first_operation: Option<String>,
    /// What signing answers after C_Logout.
    pub after_logout: Option<String>,
    /// What the old handle does after the next C_Login. Private session keys end with the login.
    pub after_login: Option<String>,
    /// What becomes of the handle of a key that lives on the token; nothing when there is none.
    pub token_key_after_login: Option<String>,
}

/// How fast one algorithm is with so many sessions at work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The algorithm's name.
    pub algorithm: String,
    /// Sessions, each with a thread.
    pub lanes: usize,
    /// Signatures a second.
    pub per_second: f64,
    /// Median time of a signature, microseconds.
    pub p50_us: u64,
    /// The time that 99 of 100 keep, microseconds.
    pub p99_us: u64,
    /// Signatures refused or wrong.
    pub failed: u64,
}

/// A refusal and how often it was met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefusalCount {
    /// `C_Sign answered CKR_…`
    pub refusal: String,
    /// How often.
    pub count: u64,
}

impl Report {
    /// Draws the conclusions from what was found.
    pub(super) fn conclude(&mut self, order: &super::ProbeOrder, env: &[(String, String)]) {
        let mut fits = Vec::new();
        let mut own = None;
        for finding in &self.sm2 {
            for signature in &finding.signatures {
                if signature.signs.as_deref() != Some("e") {
                    continue;
                }
                own.get_or_insert((finding, signature));
                let shipped = Dialect::shipped(&finding.family).ok().and_then(|dialect| dialect.sm2);
                if shipped.is_some_and(|sm2| hex(sm2.sign) == signature.number) {
                    fits.push(finding.family.clone());
                }
            }
        }
        let plain = self.algorithms.iter().any(|finding| finding.works);
        let signs_sm2 = own.is_some();
        self.profile = match (fits.first(), own) {
            (Some(name), _) => self.profile(name, own.filter(|(finding, _)| finding.family == *name)),
            (None, Some(own)) => self.profile("custom", Some(own)),
            (None, None) => {
                "name = \"standard\" # no SM2: P-256 and RSA have PKCS#11's own numbers\n".to_owned()
            }
        };
        if signs_sm2 && fits.is_empty() {
            self.notes.push(
                "The device signs with SM2 under numbers of no shipped dialect. Add the profile to \
                 hsm-driver/dialects."
                    .to_owned(),
            );
        }
        if !signs_sm2 && plain {
            fits = vec!["standard".to_owned()];
            self.notes.push("No SM2: only keys on P-256 and RSA can live in this device.".to_owned());
        }
        self.usable = self.stopped.is_none() && (plain || !fits.is_empty());
        self.dialect = (!fits.is_empty()).then(|| fits.remove(0));
        self.also_fits = fits;
        if self.usable || signs_sm2 {
            self.device = self.sketch(order, env);
        } else {
            self.profile.clear();
        }
    }

    /// The numbers that were seen to work, as a dialect.
    fn profile(&self, name: &str, own: Option<(&Sm2Finding, &Sm2Signature)>) -> String {
        let mut profile = format!("name = \"{name}\"\n");
        let Some((finding, signature)) = own else { return profile };
        let families = super::survey::families();
        let family = families.iter().find(|family| family.name == finding.family);
        let generate = match family.and_then(|family| family.generate) {
            Some(number) => format!("generate = {} # CKM of key pairs", hex(number)),
            None => "# generate = CKM of key pairs, which is not known".to_owned(),
        };
        profile.push_str(&format!(
            "\n[sm2]\nkey_type = {} # CKK_SM2\nsign = {} # {}: input is e, answers {}\n{generate}\n",
            finding.key_type,
            signature.number,
            signature.name,
            signature.form.as_deref().unwrap_or("nothing"),
        ));
        let works = |name: &str| {
            let found = self.services.iter().find(|one| one.works && one.service.starts_with(name));
            found.and_then(|one| one.service.rsplit(' ').next())
        };
        if let Some(number) = works("SM3 ") {
            profile.push_str(&format!("\n[sm3]\ndigest = {number}\n"));
        }
        let sm4 = family.and_then(|family| family.sm4.as_ref());
        if let (Some(number), Some(sm4)) = (works("SM4 ECB "), sm4) {
            profile
                .push_str(&format!("\n[sm4]\nkey_type = {} # CKK_SM4\necb = {number}\n", hex(sm4.key_type)));
        }
        profile
    }

    fn sketch(&self, order: &super::ProbeOrder, env: &[(String, String)]) -> String {
        let serial = self.token.as_ref().map(|token| token.serial.clone()).or_else(|| order.serial.clone());
        let given = self.behaviour.sessions_given.unwrap_or(order.lanes);
        let lanes = self.best_lanes().unwrap_or(order.lanes).min(given);
        let text = |value: &str| toml::Value::from(value).to_string();
        let mut sketch = format!(
            "[[device]]\nid = \"d1\"           # its name here\ngroup = \"bureau\"    # devices that hold the same \
             keys\nmodule = {}\ntoken = {}\n",
            text(&order.module),
            text(&order.token)
        );
        if let Some(serial) = serial.filter(|serial| !serial.is_empty()) {
            sketch.push_str(&format!("serial = {}\n", text(&serial)));
        }
        sketch.push_str("pin_file = \"d1.pin\" # one line, mode 0600\n");
        let dialect = self.dialect.as_deref().unwrap_or("standard");
        sketch.push_str(&format!("dialect = {}\nlanes = {lanes}\n", text(dialect)));
        if !env.is_empty() {
            let table: toml::Table =
                env.iter().map(|(name, value)| (name.clone(), toml::Value::from(value.as_str()))).collect();
            sketch.push_str(&format!("env = {}\n", toml::Value::Table(table)));
        }
        sketch
    }

    /// The fewest lanes that reach nine tenths of the best rate of every algorithm.
    fn best_lanes(&self) -> Option<usize> {
        let best = |algorithm: &str| {
            let rates = self.rates.iter().filter(|rate| rate.algorithm == algorithm);
            rates.map(|rate| rate.per_second).fold(0.0, f64::max)
        };
        let enough = |rate: &&Rate| rate.per_second >= 0.9 * best(&rate.algorithm);
        let algorithms: std::collections::BTreeSet<&str> =
            self.rates.iter().map(|rate| rate.algorithm.as_str()).collect();
        let fewest = algorithms.into_iter().filter_map(|algorithm| {
            let rates = self.rates.iter().filter(|rate| rate.algorithm == algorithm);
            rates.filter(enough).map(|rate| rate.lanes).min()
        });
        fewest.max()
    }
}

/// A PKCS#11 number as vendors' headers write it.
pub(super) fn hex(number: u64) -> String {
    format!("0x{number:08X}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::ProbeOrder;

    fn concluded(mut report: Report) -> Report {
        let order = ProbeOrder {
            module: "/opt/v\"1/lib.so".to_owned(),
            token: "d1".to_owned(),
            serial: None,
            pin: None,
            existing_keys: Vec::new(),
            lanes: 8,
            measure: Duration::ZERO,
        };
        report.conclude(&order, &[]);
        report
    }

    fn signs_e(family: &str, number: u64) -> Sm2Finding {
        Sm2Finding {
            family: family.to_owned(),
            key_type: hex(0xFFFF_0001),
            signatures: vec![Sm2Signature {
                number: hex(number),
                name: "CKM_SM2".to_owned(),
                signs: Some("e".to_owned()),
                form: Some("r‖s".to_owned()),
                refused: None,
            }],
            ..Sm2Finding::default()
        }
    }

    fn rate(lanes: usize, per_second: f64) -> Rate {
        Rate { algorithm: "sm2-sm3".to_owned(), lanes, per_second, p50_us: 1, p99_us: 1, failed: 0 }
    }

    #[test]
    fn numbers_of_no_shipped_dialect_give_a_profile_to_start_from_and_no_dialect() {
        let report = concluded(Report { sm2: vec![signs_e("xihsm", 0xFFFF_0002)], ..Report::default() });
        assert_eq!((report.usable, report.dialect.as_deref()), (false, None), "{report}");
        let profile: Dialect = toml::from_str(&report.profile).unwrap();
        let sm2 = profile.sm2.unwrap();
        assert_eq!((sm2.key_type, sm2.sign), (0xFFFF_0001, 0xFFFF_0002));
        assert!(report.to_string().contains("name = \"custom\""), "{report}");
    }

    #[test]
    fn a_shipped_family_fits_by_its_shipped_number_only() {
        // 0x80008104 takes e too, and the shipped profile has 0x80008105.
        let report = concluded(Report { sm2: vec![signs_e("sansec", 0x8000_8104)], ..Report::default() });
        assert_eq!(report.dialect, None);
        let both = vec![signs_e("sansec", 0x8000_8105), signs_e("tass", 0x8000_8000)];
        let report = concluded(Report { sm2: both, ..Report::default() });
        assert_eq!((report.usable, report.dialect.as_deref()), (true, Some("sansec")));
        assert_eq!(report.also_fits, ["tass"]);
    }

    #[test]
    fn what_stopped_early_is_not_usable_whatever_was_found() {
        let sm2 = vec![signs_e("luna", 0x8000_0B21)];
        let report = concluded(Report { sm2, stopped: Some("hung".to_owned()), ..Report::default() });
        assert_eq!((report.usable, report.dialect.as_deref()), (false, Some("luna")));
    }

    #[test]
    fn the_device_table_parses_and_has_the_fewest_lanes_that_are_fast_enough() {
        let rates = vec![rate(1, 100.0), rate(2, 195.0), rate(4, 200.0), rate(8, 190.0)];
        let sm2 = vec![signs_e("luna", 0x8000_0B21)];
        let report = concluded(Report { sm2, rates, ..Report::default() });
        let table: toml::Table = toml::from_str(&report.device).unwrap();
        let device = &table["device"][0];
        assert_eq!(device["lanes"].as_integer(), Some(2), "{}", report.device);
        assert_eq!(device["module"].as_str(), Some("/opt/v\"1/lib.so"));
    }
}
