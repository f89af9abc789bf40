//! The order for a key ceremony: words into a [`KeyAct`], every fault named at once.

use config::{DeviceId, GroupId, KeyId};
use serde::Deserialize;
use signing::KeyAct;
use store::{KeyPurpose, Spread, WrappingKey};
use time::Duration;
use utoipa::ToSchema;

use crate::body::{Faults, Object};
use crate::input::reason;
use crate::problem::Problem;

/// What is to be done to which key, and why. Which fields an act takes is said with each; others are faults.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CeremonyRequest {
    /// `create`, `next`, `spread`, `install`, `rotate`, `retire` or `destroy`.
    #[schema(example = "create")]
    act: String,
    /// The key.
    #[schema(example = "license-sm2")]
    key: String,
    /// For the record: 1 to 500 characters.
    reason: String,
    /// For how many seconds it can be confirmed: 1 to 604800, default 86400.
    valid_seconds: Option<u32>,
    /// `create`: the group whose devices are to hold it.
    group: Option<String>,
    /// `create`: `sm2`, `p256` or `rsa2048`; of a wrapping key `aes256` or `hmac-sha256`.
    algorithm: Option<String>,
    /// `create`: what it is for, for good, such as `service`.
    purpose: Option<String>,
    /// `create`: CKA_LABEL of its objects; the key's name if absent.
    label: Option<String>,
    /// `create` and `next`: `wrap`, `clone` or `per-device`. Default `wrap` with a wrapping key, else `clone`.
    spread: Option<String>,
    /// `create` and `next`: what it is wrapped under to be spread.
    #[schema(value_type = Option<WrappingKeyRequest>)]
    wrapping_key: Option<Object<WrappingKeyRequest>>,
    /// All but `create` and `next`: the key's version.
    version: Option<u32>,
    /// `install`: the device whose copy it is, where copies differ.
    device: Option<String>,
    /// `install`: PEM, the copy's own first.
    certificate_chain: Option<String>,
    /// `rotate`: for how many days the version before stays in the devices; default 0 retires it at once.
    overlap_days: Option<u16>,
    /// `rotate`: devices that are out of order and prove the version when they come back.
    without: Option<Vec<String>>,
    /// `destroy`: devices that cannot be told any more and are known to be erased.
    erased: Option<Vec<String>>,
}

/// A version of a wrapping key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrappingKeyRequest {
    /// The wrapping key.
    id: String,
    /// Its version.
    version: u32,
}

/// An order that was checked in form.
pub(crate) struct CeremonyOrder {
    pub(crate) act: KeyAct,
    pub(crate) reason: String,
    pub(crate) lifetime: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Next,
    Spread,
    Install,
    Rotate,
    Retire,
    Destroy,
}

const ACTS: [(&str, Act); 7] = [
    ("create", Act::Create),
    ("next", Act::Next),
    ("spread", Act::Spread),
    ("install", Act::Install),
    ("rotate", Act::Rotate),
    ("retire", Act::Retire),
    ("destroy", Act::Destroy),
];

const SPREADS: [(&str, Spread); 3] =
    [("wrap", Spread::Wrap), ("clone", Spread::Clone), ("per-device", Spread::PerDevice)];

/// Seconds for which a ceremony waits.
const DAY: u32 = 86_400;
const WEEK: u32 = 7 * DAY;
/// Days for which a version may overlap with the next.
const LONGEST_OVERLAP: u16 = 3_660;
/// Octets of a label.
const LONGEST_LABEL: usize = 64;

impl CeremonyRequest {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(self) -> Result<CeremonyOrder, Problem> {
        let mut faults = Faults::default();
        let order = self.read(&mut faults);
        faults.into_result(order)
    }

    fn read(&self, faults: &mut Faults) -> Option<CeremonyOrder> {
        let Some(act) = ACTS.iter().find(|(word, _)| *word == self.act).map(|(_, act)| *act) else {
            let words: Vec<_> = ACTS.iter().map(|(word, _)| *word).collect();
            faults.add("act", "invalid_value", format!("must be one of: {}", words.join(", ")));
            return None;
        };
        self.refuse_others(act, faults);
        let key = faults.parse("key", "invalid_value", KeyId::parse(&self.key));
        let reason = reason(faults, &self.reason);
        let valid = self.valid_seconds.unwrap_or(DAY);
        if !(1..=WEEK).contains(&valid) {
            faults.add("valid_seconds", "invalid_value", format!("must be 1 to {WEEK}"));
        }
        let act = match act {
            Act::Create => self.create(faults, key),
            Act::Next => {
                let plan = self.plan(faults);
                (|| {
                    let (spread, wrapping_key) = plan?;
                    Some(KeyAct::Next { key: key?, spread, wrapping_key })
                })()
            }
            Act::Spread => {
                with_version(self.version(faults), key, |key, version| KeyAct::Spread { key, version })
            }
            Act::Retire => {
                with_version(self.version(faults), key, |key, version| KeyAct::Retire { key, version })
            }
            Act::Install => self.install(faults, key),
            Act::Rotate => {
                let overlap_days = self.overlap_days.unwrap_or(0);
                if overlap_days > LONGEST_OVERLAP {
                    faults.add("overlap_days", "invalid_value", format!("must be 0 to {LONGEST_OVERLAP}"));
                }
                let without = devices(faults, "without", self.without.as_deref());
                let version = self.version(faults);
                (|| Some(KeyAct::Rotate { key: key?, version: version?, overlap_days, without: without? }))()
            }
            Act::Destroy => {
                let erased = devices(faults, "erased", self.erased.as_deref());
                let version = self.version(faults);
                (|| Some(KeyAct::Destroy { key: key?, version: version?, erased: erased? }))()
            }
        };
        Some(CeremonyOrder {
            act: act?,
            reason: reason?.to_owned(),
            lifetime: Duration::seconds(i64::from(valid)),
        })
    }

    fn create(&self, faults: &mut Faults, key: Option<KeyId>) -> Option<KeyAct> {
        let group = required(faults, "group", self.group.as_deref())
            .and_then(|group| faults.parse("group", "invalid_value", GroupId::parse(group)));
        let algorithm = required(faults, "algorithm", self.algorithm.as_deref());
        let purpose = required(faults, "purpose", self.purpose.as_deref())
            .and_then(|purpose| faults.parse("purpose", "invalid_value", purpose.parse::<KeyPurpose>()));
        let label = self.label.as_deref().unwrap_or(&self.key);
        if !(1..=LONGEST_LABEL).contains(&label.len()) || label.chars().any(char::is_control) {
            faults.add("label", "invalid_value", "must be 1 to 64 octets without control characters");
        }
        let plan = self.plan(faults);
        let (spread, wrapping_key) = plan?;
        Some(KeyAct::Create {
            key: key?,
            group: group?,
            algorithm: algorithm?.to_owned(),
            purpose: purpose?,
            label: label.to_owned(),
            spread,
            wrapping_key,
        })
    }

    fn install(&self, faults: &mut Faults, key: Option<KeyId>) -> Option<KeyAct> {
        let version = self.version(faults);
        let device = match &self.device {
            None => Some(None),
            Some(device) => faults.parse("device", "invalid_value", DeviceId::parse(device)).map(Some),
        };
        let chain = required(faults, "certificate_chain", self.certificate_chain.as_deref());
        Some(KeyAct::Install {
            key: key?,
            version: version?,
            device: device?,
            certificate_chain: chain?.to_owned(),
        })
    }

    /// How the copies come into the devices.
    fn plan(&self, faults: &mut Faults) -> Option<(Spread, Option<WrappingKey>)> {
        let default = if self.wrapping_key.is_some() { Spread::Wrap } else { Spread::Clone };
        let spread = faults.word("spread", self.spread.as_deref(), &SPREADS, default)?;
        if (spread == Spread::Wrap) != self.wrapping_key.is_some() {
            faults.add("wrapping_key", "not_applicable", "goes with the spread wrap, and then always");
            return None;
        }
        let Some(Object(wrapping)) = &self.wrapping_key else { return Some((spread, None)) };
        let id = faults.parse("wrapping_key.id", "invalid_value", KeyId::parse(&wrapping.id))?;
        Some((spread, Some(WrappingKey { id, version: wrapping.version })))
    }

    fn version(&self, faults: &mut Faults) -> Option<u32> {
        if self.version.is_none() {
            faults.add("version", "missing_field", "is required");
        }
        self.version
    }

    /// A field that the act does not take would be confirmed in vain.
    fn refuse_others(&self, act: Act, faults: &mut Faults) {
        const PLAN: &[Act] = &[Act::Create, Act::Next];
        const OF_VERSION: &[Act] = &[Act::Spread, Act::Install, Act::Rotate, Act::Retire, Act::Destroy];
        let fields: [(&str, bool, &[Act]); 12] = [
            ("group", self.group.is_some(), &[Act::Create]),
            ("algorithm", self.algorithm.is_some(), &[Act::Create]),
            ("purpose", self.purpose.is_some(), &[Act::Create]),
            ("label", self.label.is_some(), &[Act::Create]),
            ("spread", self.spread.is_some(), PLAN),
            ("wrapping_key", self.wrapping_key.is_some(), PLAN),
            ("version", self.version.is_some(), OF_VERSION),
            ("device", self.device.is_some(), &[Act::Install]),
            ("certificate_chain", self.certificate_chain.is_some(), &[Act::Install]),
            ("overlap_days", self.overlap_days.is_some(), &[Act::Rotate]),
            ("without", self.without.is_some(), &[Act::Rotate]),
            ("erased", self.erased.is_some(), &[Act::Destroy]),
        ];
        for (field, given, of) in fields {
            if given && !of.contains(&act) {
                faults.add(field, "not_applicable", format!("the act {} does not take it", self.act));
            }
        }
    }
}

fn devices(faults: &mut Faults, field: &str, names: Option<&[String]>) -> Option<Vec<DeviceId>> {
    let names = names.unwrap_or_default().iter();
    names.map(|name| faults.parse(field, "invalid_value", DeviceId::parse(name))).collect()
}

fn with_version(
    version: Option<u32>,
    key: Option<KeyId>,
    act: impl FnOnce(KeyId, u32) -> KeyAct,
) -> Option<KeyAct> {
    Some(act(key?, version?))
}

fn required<'t>(faults: &mut Faults, field: &str, text: Option<&'t str>) -> Option<&'t str> {
    if text.is_none() {
        faults.add(field, "missing_field", "is required");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(body: Value) -> Result<CeremonyOrder, Problem> {
        serde_json::from_value::<CeremonyRequest>(body).unwrap().check()
    }

    #[test]
    fn each_act_is_read_with_its_own_fields() {
        let order = check(json!({
            "act": "create", "key": "k", "reason": " why ", "group": "g", "algorithm": "sm2",
            "purpose": "service", "wrapping_key": {"id": "kek", "version": 1},
        }));
        let order = order.unwrap();
        assert_eq!((order.reason.as_str(), order.lifetime), ("why", Duration::days(1)));
        let KeyAct::Create { label, spread, wrapping_key, .. } = order.act else { panic!("a create") };
        assert_eq!((label.as_str(), spread, wrapping_key.unwrap().version), ("k", Spread::Wrap, 1));
        for act in ["spread", "rotate", "retire", "destroy"] {
            let order = check(json!({"act": act, "key": "k", "reason": "r", "version": 2})).unwrap();
            assert_eq!(order.act.name(), format!("key.{act}"));
        }
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        for (body, fields) in [
            (json!({"act": "melt", "key": "k", "reason": "r"}), &["act"][..]),
            (json!({"act": "retire", "key": "-", "reason": ""}), &["key", "reason", "version"]),
            (json!({"act": "create", "key": "k", "reason": "r"}), &["group", "algorithm", "purpose"]),
            (json!({"act": "next", "key": "k", "reason": "r", "spread": "wrap"}), &["wrapping_key"]),
            (json!({"act": "next", "key": "k", "reason": "r", "version": 1}), &["version"]),
            (json!({"act": "spread", "key": "k", "reason": "r", "version": 1, "group": "g"}), &["group"]),
            (json!({"act": "install", "key": "k", "reason": "r", "version": 1}), &["certificate_chain"]),
            (
                json!({"act": "retire", "key": "k", "reason": "r", "version": 1, "valid_seconds": 0}),
                &["valid_seconds"],
            ),
        ] {
            let problem = check(body.clone()).err().expect("refused");
            assert_eq!(problem.fields().collect::<Vec<_>>(), fields, "{body}");
        }
    }
}
