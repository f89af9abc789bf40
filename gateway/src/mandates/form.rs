//! What administrators say of a mandate that is to be entered.

use std::collections::BTreeSet;

use config::{AppId, GroupId, KeyId, MandateNumber};
use formats::{Uscc, resident_id};
use hsm_driver::KeyKind;
use serde::Deserialize;
use store::{Grantor, MandateFormat, MandateTerms};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::body::{Faults, Object};
use crate::people::form::is_unseen;
use crate::problem::Problem;
use crate::state::Gateway;

/// Most apps that share a mandate.
const MOST_APPS: usize = 20;
/// Most purposes that it names.
const MOST_PURPOSES: usize = 20;
/// Most branches that it covers.
const MOST_BRANCHES: usize = 1_000;
/// Most signatures on a day, and in all.
const MOST_ON_A_DAY: u64 = 1_000_000;
const MOST_IN_ALL: u64 = 1_000_000_000;
/// Largest document that stamps take at all, octets.
const LARGEST: u64 = 64 << 20;

/// A mandate that is to be entered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMandateRequest {
    /// The mandate.
    #[schema(value_type = MandateBody)]
    mandate: Object<MandateBody>,
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// A mandate, before it is entered. It names a person, so that it has no `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MandateBody {
    /// Its number, for good: 1 to 56 of `a-z A-Z 0-9 . _ -`.
    #[schema(example = "M-2026-0001")]
    number: String,
    /// In whose name it lets sign.
    #[schema(value_type = EnterpriseBody)]
    enterprise: Object<EnterpriseBody>,
    /// Who granted it: the legal representative.
    #[schema(value_type = GrantorBody)]
    granted_by: Object<GrantorBody>,
    /// SM3 of the document that grants it, hexadecimal. The document stays with whoever keeps it.
    evidence_sm3: String,
    /// Who may use it: ids of apps, 1 to 20.
    apps: Vec<String>,
    /// What may be stamped: some of `pdf`, `ofd` and `digest`.
    formats: Vec<String>,
    /// What for: 1 to 20 words of 1 to 40 characters, of which each use names one.
    purposes: Vec<String>,
    /// Branches that the enterprise acts for: unified social credit codes, up to 1,000. Under the mandate each item of a list is
    /// for one of them or for the enterprise itself.
    #[serde(default)]
    branches: Vec<String>,
    /// Most signatures on a day of the site: 1 to 1,000,000. A signature over a list counts once for each of its items.
    per_day: u64,
    /// Most signatures in all, no fewer than a day's: up to 1,000,000,000.
    in_all: u64,
    /// Largest document, octets: 1 to 67,108,864.
    largest_octets: u64,
    /// RFC 3339, to the second.
    valid_from: String,
    /// Its last second, RFC 3339.
    valid_until: String,
    /// The group whose devices make and use its key.
    group: String,
    /// `sm2` (default) or `p256`.
    algorithm: Option<String>,
}

/// An enterprise.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnterpriseBody {
    /// The name as its certificate will have it (O), 1 to 100 characters.
    name: String,
    /// The unified social credit code.
    uscc: String,
}

/// A legal representative. It has no `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantorBody {
    /// The name, 1 to 100 characters.
    name: String,
    /// `resident` (default): a citizen identity number (GB 11643); or `other`.
    id_kind: Option<String>,
    /// The number of the identity document; of another kind 3 to 40 letters, digits and hyphens.
    id_number: String,
}

/// A mandate as it is to be entered. It has no `Debug`.
pub(crate) struct MandateDraft {
    pub(super) number: MandateNumber,
    pub(super) key: KeyId,
    pub(super) enterprise: Uscc,
    pub(super) name: String,
    pub(super) grantor: Grantor,
    pub(super) evidence: String,
    pub(super) apps: BTreeSet<AppId>,
    pub(super) terms: MandateTerms,
    pub(super) group: GroupId,
    pub(super) kind: KeyKind,
}

impl NewMandateRequest {
    /// The draft and the reason, as far as they can be judged by themselves.
    ///
    /// # Errors
    /// Every fault at once.
    pub(crate) fn check(&self) -> Result<(MandateDraft, String), Problem> {
        let mut faults = Faults::default();
        let reason = crate::input::reason(&mut faults, &self.reason).map(str::to_owned);
        let draft = self.mandate.0.read(&mut faults);
        faults.into_result(draft.zip(reason))
    }
}

impl MandateBody {
    fn read(&self, faults: &mut Faults) -> Option<MandateDraft> {
        const KINDS: [(&str, KeyKind); 2] = [("sm2", KeyKind::Sm2), ("p256", KeyKind::P256)];

        let number = MandateNumber::parse(&self.number).ok();
        let key = KeyId::parse(&format!("mandate.{}", self.number)).ok();
        let number = number.zip(key);
        if number.is_none() {
            let detail = "must be 1 to 56 of a-z A-Z 0-9 . _ - and begin with a letter or digit";
            faults.add("mandate.number", "invalid_value", detail);
        }
        let EnterpriseBody { name, uscc } = &self.enterprise.0;
        let name = seen("mandate.enterprise.name", name, 100, faults);
        let uscc = faults.parse("mandate.enterprise.uscc", "uscc_invalid", Uscc::parse_sandbox(uscc));
        let grantor = self.granted_by.0.read(faults);
        let evidence = self.evidence_sm3.to_ascii_lowercase();
        if !hex::decode(&evidence).is_ok_and(|octets| octets.len() == 32) {
            faults.add("mandate.evidence_sm3", "invalid_value", "must be 64 hexadecimal digits");
        }
        let apps = self.apps(faults);
        let mut terms = self.terms(faults);
        let branches = self.branches(uscc.as_ref(), faults);
        let group = faults.parse("mandate.group", "invalid_value", GroupId::parse(&self.group));
        let kind = faults.word("mandate.algorithm", self.algorithm.as_deref(), &KINDS, KeyKind::Sm2);
        let (number, key) = number?;
        if let (Some(terms), Some(branches)) = (&mut terms, branches) {
            terms.branches = branches;
        }
        Some(MandateDraft {
            number,
            key,
            enterprise: uscc?,
            name: name?,
            grantor: grantor?,
            evidence,
            apps: apps?,
            terms: terms?,
            group: group?,
            kind: kind?,
        })
    }

    fn apps(&self, faults: &mut Faults) -> Option<BTreeSet<AppId>> {
        const FIELD: &str = "mandate.apps";
        if !(1..=MOST_APPS).contains(&self.apps.len()) {
            faults.add(FIELD, "invalid_value", format!("must be 1 to {MOST_APPS}"));
            return None;
        }
        let each = self.apps.iter().enumerate();
        each.map(|(at, app)| faults.parse(&format!("{FIELD}.{at}"), "invalid_value", AppId::parse(app)))
            .collect()
    }

    fn branches(&self, own: Option<&Uscc>, faults: &mut Faults) -> Option<BTreeSet<String>> {
        if self.branches.len() > MOST_BRANCHES {
            faults.add("mandate.branches", "invalid_value", format!("must be at most {MOST_BRANCHES}"));
            return None;
        }
        let mut branches = BTreeSet::new();
        for (at, code) in self.branches.iter().enumerate() {
            let field = format!("mandate.branches.{at}");
            let Some(code) = faults.parse(&field, "uscc_invalid", Uscc::parse_sandbox(code)) else {
                continue;
            };
            if own == Some(&code) {
                faults.add(&field, "invalid_value", "is the enterprise itself");
            }
            if !branches.insert(code.as_str().to_owned()) {
                faults.add(&field, "invalid_value", "is named twice");
            }
        }
        Some(branches)
    }

    fn terms(&self, faults: &mut Faults) -> Option<MandateTerms> {
        let mut formats = BTreeSet::new();
        for (at, word) in self.formats.iter().take(MandateFormat::NAMES.len() + 1).enumerate() {
            match MandateFormat::parse(word) {
                Some(format) => drop(formats.insert(format)),
                None => {
                    let field = format!("mandate.formats.{at}");
                    faults.add(&field, "invalid_value", "must be one of: digest, ofd, pdf");
                }
            }
        }
        if self.formats.is_empty() || self.formats.len() > MandateFormat::NAMES.len() {
            faults.add("mandate.formats", "invalid_value", "must be 1 to 3 words");
        }
        if !(1..=MOST_PURPOSES).contains(&self.purposes.len()) {
            faults.add("mandate.purposes", "invalid_value", format!("must be 1 to {MOST_PURPOSES}"));
        }
        let each = self.purposes.iter().take(MOST_PURPOSES).enumerate();
        let purposes: Option<BTreeSet<_>> =
            each.map(|(at, word)| seen(&format!("mandate.purposes.{at}"), word, 40, faults)).collect();
        for (field, value, most) in [
            ("mandate.per_day", self.per_day, MOST_ON_A_DAY),
            ("mandate.in_all", self.in_all, MOST_IN_ALL),
            ("mandate.largest_octets", self.largest_octets, LARGEST),
        ] {
            if !(1..=most).contains(&value) {
                faults.add(field, "invalid_value", format!("must be 1 to {most}"));
            }
        }
        if self.in_all < self.per_day {
            faults.add("mandate.in_all", "invalid_value", "must be no fewer than a day's");
        }
        let time = |field: &str, text: &str, faults: &mut Faults| {
            let time = faults.time(field, Some(text), OffsetDateTime::UNIX_EPOCH)?;
            OffsetDateTime::from_unix_timestamp(time.unix_timestamp()).ok()
        };
        let valid_from = time("mandate.valid_from", &self.valid_from, faults);
        let valid_until = time("mandate.valid_until", &self.valid_until, faults);
        if valid_from.zip(valid_until).is_some_and(|(from, until)| until <= from) {
            faults.add("mandate.valid_until", "invalid_validity", "must be after valid_from");
        }
        Some(MandateTerms {
            formats,
            purposes: purposes?,
            per_day: self.per_day,
            in_all: self.in_all,
            largest_octets: self.largest_octets,
            branches: BTreeSet::new(), // read by itself
            valid_from: valid_from?,
            valid_until: valid_until?,
        })
    }
}

impl GrantorBody {
    fn read(&self, faults: &mut Faults) -> Option<Grantor> {
        const KINDS: [(&str, bool); 2] = [("resident", true), ("other", false)];
        const NUMBER: &str = "mandate.granted_by.id_number";
        let name = seen("mandate.granted_by.name", &self.name, 100, faults);
        let resident = faults.word("mandate.granted_by.id_kind", self.id_kind.as_deref(), &KINDS, true);
        let number = self.id_number.trim().to_ascii_uppercase();
        // What is wrong with it is told without a part of it.
        let fault = match resident {
            Some(true) => resident_id::faults(&number).first().map(ToString::to_string),
            Some(false) => {
                let permitted = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
                let sane = (3..=40).contains(&number.len()) && number.bytes().all(permitted);
                (!sane).then(|| "must be 3 to 40 letters, digits and hyphens".to_owned())
            }
            None => None,
        };
        if let Some(detail) = fault {
            faults.add(NUMBER, "id_number_invalid", detail);
            return None;
        }
        resident?;
        Some(Grantor { name: name?, id_number: number })
    }
}

impl MandateDraft {
    /// Whether the mandate could be entered here and now: whose code it bears, whether its time has passed, whether there are
    /// such apps and such devices.
    ///
    /// # Errors
    /// Every fault at once; the register of apps cannot be read.
    pub(super) async fn judge(&self, gateway: &Gateway, now: OffsetDateTime) -> Result<(), Problem> {
        let register = gateway.callers.apps.read_anew().await;
        let register = register.map_err(|error| Problem::database(&error))?;
        let mut faults = Faults::default();
        if !gateway.config.site.sandbox && self.enterprise.is_test() {
            let detail = "test enterprises exist in a sandbox only";
            faults.add("mandate.enterprise.uscc", "test_identity_in_production", detail);
        }
        let is_test = |code: &String| Uscc::parse_sandbox(code).is_ok_and(|code| code.is_test());
        if !gateway.config.site.sandbox && self.terms.branches.iter().any(is_test) {
            let detail = "test enterprises exist in a sandbox only";
            faults.add("mandate.branches", "test_identity_in_production", detail);
        }
        if self.terms.valid_until <= now {
            faults.add("mandate.valid_until", "validity_over", "has passed");
        }
        for app in self.apps.iter().filter(|app| register.app(app).is_none()) {
            faults.add("mandate.apps", "unknown_app", format!("there is no app {app}"));
        }
        if !gateway.fleet.status().iter().any(|device| device.group == self.group) {
            let detail = format!("no device belongs to group {}", self.group);
            faults.add("mandate.group", "unknown_group", detail);
        }
        faults.into_result(Some(()))
    }
}

/// A text that people can see: one must not pass for another.
fn seen(field: &str, text: &str, most: usize, faults: &mut Faults) -> Option<String> {
    let text = text.trim();
    if (1..=most).contains(&text.chars().count()) && !text.chars().any(is_unseen) {
        return Some(text.to_owned());
    }
    faults.add(field, "invalid_value", format!("must be 1 to {most} characters that can be seen"));
    None
}
