//! `face.json`: what an edition shows, for programs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::license::{Face, FaceDate, same_value as same};

/// The most octets of `face.json`.
pub(crate) const MAX_DATA: usize = 64 << 10;
/// The most facts: a face has 24 attributes.
const MAX_FACTS: usize = 64;

/// What an edition shows, in the order in which it shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditionData {
    /// Of this form: [`EditionData::VERSION`].
    pub version: u32,
    /// 营业执照
    pub title: String,
    /// What kind of copy it is: 副本, 公示版.
    pub kind: String,
    /// The registered facts: label and value.
    pub facts: Vec<(String, String)>,
    /// The registering authority.
    pub authority: String,
    /// The date of registration, as it is written.
    pub date: String,
    /// What is said below the frame.
    pub notice: String,
}

impl EditionData {
    /// The only version there is.
    pub const VERSION: u32 = 1;

    /// Reads it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn from_json(octets: &[u8]) -> Result<Self, String> {
        // The reason itself would quote values, which may be persons' names.
        let data: Self = serde_json::from_slice(octets)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
        if data.version != Self::VERSION {
            return Err(format!("its version is {}", data.version));
        }
        if data.facts.len() > MAX_FACTS {
            return Err(format!("it has more than {MAX_FACTS} facts"));
        }
        Ok(data)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings and a number always serialise")
    }

    /// The value of the first fact with one of these labels.
    fn fact(&self, labels: &[&str]) -> Option<&str> {
        let named = self.facts.iter().find(|(label, _)| labels.contains(&label.as_str()));
        named.map(|(_, value)| value.as_str())
    }

    /// What the certificate's face says otherwise, by label; persons' names and other values are not repeated. A label
    /// that no certificate has stands in the second list.
    pub(super) fn compare(&self, face: &Face) -> (Vec<String>, Vec<String>) {
        let (mut differing, mut unproven) = (Vec::new(), Vec::new());
        for (label, shown) in &self.facts {
            match LABELS.iter().find(|(labels, _)| labels.contains(&label.as_str())) {
                Some((_, value)) if value(face).is_some_and(|value| same(value, shown)) => {}
                Some(_) => differing.push(label.clone()),
                None => unproven.push(label.clone()),
            }
        }
        // Two facts of one name: programs and people may take one each.
        for (labels, _) in LABELS {
            if self.facts.iter().filter(|(label, _)| labels.contains(&label.as_str())).count() > 1 {
                differing.push(labels[0].to_owned());
            }
        }
        // What makes it this enterprise's license must be there.
        for (labels, _) in &LABELS[..2] {
            if self.fact(labels).is_none() {
                differing.push(labels[0].to_owned());
            }
        }
        let foot = [
            ("登记机关", &self.authority, face.registration_authority.as_deref()),
            ("登记日期", &self.date, face.registered.as_ref().map(|date| date.text.as_str())),
        ];
        for (label, shown, known) in foot {
            let absent = known.unwrap_or_default().is_empty() && shown.is_empty();
            if !(absent || known.is_some_and(|known| same(known, shown))) {
                differing.push(label.to_owned());
            }
        }
        let mut named = BTreeSet::new();
        differing.retain(|label| named.insert(label.clone()));
        (differing, unproven)
    }
}

/// A value of a face.
type Value = fn(&Face) -> Option<&str>;

/// What labels of editions stand for; which one it is depends on the kind of enterprise.
const LABELS: &[(&[&str], Value)] = &[
    (&["统一社会信用代码"], |face| Some(face.uscc.as_str())),
    (&["名称"], |face| face.name.as_deref()),
    (&["注册号"], |face| face.registration_number.as_deref()),
    (
        &["法定代表人", "负责人", "执行事务合伙人", "投资人", "经营者", "首席代表"],
        |face| face.legal_representative.as_deref(),
    ),
    (&["注册资本", "出资额", "成员出资总额"], |face| face.registered_capital.as_deref()),
    (&["住所", "主要经营场所", "经营场所", "营业场所"], |face| face.domicile.as_deref()),
    (&["成立日期", "注册日期"], |face| text(face.established.as_ref())),
    (&["营业期限自", "经营期限自", "驻在期限自", "合伙期限自"], |face| {
        text(face.term_from.as_ref())
    }),
    (&["营业期限至", "经营期限至", "驻在期限至", "合伙期限至"], |face| {
        text(face.term_to.as_ref())
    }),
    (&["经营范围"], |face| face.business_scope.as_deref()),
    (&["业务范围"], |face| face.service_scope.as_deref()),
    (&["外国企业名称"], |face| face.foreign_name.as_deref()),
    (&["外国企业住所"], |face| face.foreign_domicile.as_deref()),
];

fn text(date: Option<&FaceDate>) -> Option<&str> {
    date.map(|date| date.text.as_str())
}
