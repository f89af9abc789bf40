//! What a test enterprise is to be, as it is asked for.

use certs_test::LicenseTemplate;
use formats::uscc::Uscc;
use serde::{Deserialize, Serialize};

use crate::body::Faults;
use crate::problem::Problem;

/// What stands in the name of each.
const MARK: &str = "测试";
/// Characters of a name at most.
const LONGEST_NAME: usize = 60;
/// The registration statuses there are.
const STATUSES: [i64; 7] = [1, 2, 3, 4, 5, 6, 9];
/// What may be on file beside a status.
const FLAGS: [&str; 6] = ["经营异常名录", "严重违法失信", "年报未报", "歇业", "跨省迁移中", "另册管理"];

/// What a license is worth by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LicenseState {
    /// Nothing is wrong with it.
    Good,
    /// Its five years ended a year ago.
    Expired,
    /// On the license authority's revocation list.
    Revoked,
}

impl LicenseState {
    const NAMES: [(&str, Self); 3] =
        [("good", Self::Good), ("expired", Self::Expired), ("revoked", Self::Revoked)];

    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Orders a test enterprise; whatever is left out is drawn or usual.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnterpriseRequest {
    /// ZZJGD and 13 digits.
    code: Option<String>,
    /// Which kind of code is drawn: `test` (ZZJGD and 13 digits) or `uscc` (keeps GB 32100).
    code_kind: Option<String>,
    name: Option<String>,
    /// `A` to `I`.
    template: Option<String>,
    status: Option<i64>,
    flags: Option<Vec<String>>,
    /// `good`, `expired` or `revoked`.
    license: Option<String>,
}

/// Asks for another standing; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StandingRequest {
    status: Option<i64>,
    flags: Option<Vec<String>>,
    /// `revoked` revokes the license; `good` and `expired` issue another one if it is something else.
    license: Option<String>,
}

/// Which code an enterprise gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Given(Uscc),
    /// One that breaks GB 32100.
    DrawnTest,
    /// One that keeps it.
    DrawnValid,
}

/// An order that can be carried out.
#[derive(Debug)]
pub(super) struct Founding {
    pub(super) code: Code,
    pub(super) name: Option<String>,
    pub(super) template: &'static LicenseTemplate,
    pub(super) status: i64,
    pub(super) flags: Vec<String>,
    pub(super) license: LicenseState,
}

/// A standing that can be taken.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) status: Option<i64>,
    pub(super) flags: Option<Vec<String>>,
    pub(super) license: Option<LicenseState>,
}

impl EnterpriseRequest {
    pub(super) fn check(self) -> Result<Founding, Problem> {
        let mut faults = Faults::default();
        let kinds = [("test", Code::DrawnTest), ("uscc", Code::DrawnValid)];
        let kind = faults.word("code_kind", self.code_kind.as_deref(), &kinds, Code::DrawnTest);
        let code = match self.code.map(|code| Uscc::parse_sandbox(&code)) {
            None => kind,
            Some(_) if self.code_kind.is_some() => {
                faults.add("code_kind", "invalid_value", "is for codes that are drawn: leave it or code out");
                None
            }
            Some(Ok(code)) if code.is_test() => Some(Code::Given(code)),
            // A code that keeps GB 32100 can be somebody's.
            Some(_) => {
                faults.add("code", "uscc_invalid", "must be that of a test enterprise: ZZJGD and 13 digits");
                None
            }
        };
        let letter = self.template.as_deref().unwrap_or("A");
        let template = LicenseTemplate::of(letter);
        if template.is_none() {
            faults.add("template", "invalid_value", "must be a letter from A to I");
        }
        if let Some(name) = &self.name
            && (!name.contains(MARK)
                || name.chars().count() > LONGEST_NAME
                || name.chars().any(char::is_control))
        {
            let detail =
                format!("must say {MARK} and have {LONGEST_NAME} characters at most, none of control");
            faults.add("name", "invalid_value", detail);
        }
        let (status, flags) = standing(&mut faults, self.status, self.flags);
        let license =
            faults.word("license", self.license.as_deref(), &LicenseState::NAMES, LicenseState::Good);
        let name = self.name;
        let founding = code.zip(template).zip(license).map(|((code, template), license)| Founding {
            code,
            name,
            template,
            status: status.unwrap_or(STATUSES[0]),
            flags: flags.unwrap_or_default(),
            license,
        });
        faults.into_result(founding)
    }
}

impl StandingRequest {
    pub(super) fn check(self) -> Result<Standing, Problem> {
        let mut faults = Faults::default();
        let (status, flags) = standing(&mut faults, self.status, self.flags);
        let names = LicenseState::NAMES.map(|(name, state)| (name, Some(state)));
        let license = faults.word("license", self.license.as_deref(), &names, None);
        if status.is_none() && flags.is_none() && self.license.is_none() && faults.count() == 0 {
            faults.add("status", "missing_field", "name what is to change: status, flags or license");
        }
        faults.into_result(license.map(|license| Standing { status, flags, license }))
    }
}

fn standing(
    faults: &mut Faults,
    status: Option<i64>,
    flags: Option<Vec<String>>,
) -> (Option<i64>, Option<Vec<String>>) {
    if status.is_some_and(|status| !STATUSES.contains(&status)) {
        faults.add("status", "invalid_value", "must be one of: 1, 2, 3, 4, 5, 6, 9");
    }
    let mut seen: Vec<&String> = Vec::new();
    for (place, flag) in flags.iter().flatten().enumerate() {
        if !FLAGS.contains(&flag.as_str()) || seen.contains(&flag) {
            let detail = format!("must be one of these, once: {}", FLAGS.join(", "));
            faults.add(&format!("flags[{place}]"), "invalid_value", detail);
        }
        seen.push(flag);
    }
    (status, flags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn order(body: Value) -> Result<Founding, Vec<String>> {
        let request: EnterpriseRequest = serde_json::from_value(body).unwrap();
        request.check().map_err(|problem| {
            problem.into_faults().into_iter().map(|fault| format!("{} {}", fault.field, fault.code)).collect()
        })
    }

    #[test]
    fn what_is_left_out_is_usual() {
        let usual = order(json!({})).unwrap();
        assert_eq!((usual.code, usual.template.letter, usual.status), (Code::DrawnTest, 'A', 1));
        assert_eq!((usual.license, usual.flags), (LicenseState::Good, Vec::<String>::new()));
        assert_eq!(order(json!({"code_kind": "uscc"})).unwrap().code, Code::DrawnValid);
    }

    #[test]
    fn every_fault_is_told_and_no_real_code_or_name_is_taken() {
        let wrong = json!({
            "code": "91610000MA00000000", "name": "秦风贸易有限公司", "template": "J", "status": 7,
            "flags": ["歇业", "歇业", "x"], "license": "lost",
        });
        assert_eq!(
            order(wrong).unwrap_err(),
            [
                "code uscc_invalid",
                "template invalid_value",
                "name invalid_value",
                "status invalid_value",
                "flags[1] invalid_value",
                "flags[2] invalid_value",
                "license invalid_value"
            ]
        );
        let both = json!({"code": "ZZJGD0000000000001", "code_kind": "test"});
        assert_eq!(order(both).unwrap_err(), ["code_kind invalid_value"]);
        // A valid code can be somebody's: it is drawn, never given.
        assert_eq!(order(json!({"code": "91310000MA1FL5E56F"})).unwrap_err(), ["code uscc_invalid"]);
    }

    #[test]
    fn a_change_changes_something() {
        let check = |body: Value| serde_json::from_value::<StandingRequest>(body).unwrap().check();
        assert_eq!(check(json!({})).unwrap_err().code(), "missing_field");
        assert_eq!(check(json!({"status": 8})).unwrap_err().code(), "invalid_value");
        assert_eq!(check(json!({"flags": []})).unwrap().flags, Some(Vec::new()));
        assert_eq!(check(json!({"license": "revoked"})).unwrap().license, Some(LicenseState::Revoked));
    }
}
