//! Is a seal or a signature that of the authority which a license names?

use std::collections::BTreeSet;
use std::fmt;

use lopdf::Object;

use crate::cms::SignerReport;
use crate::pdf::{Document, SignatureField};
use crate::seal::SealFacts;
use crate::subject;

/// What stands behind the authority in the name of a seal: what that seal is for. A body of the authority's, its service
/// centre for one, has a name that begins with the authority's, too.
const PURPOSES: &[&str] = &[
    "专用章",
    "电子专用章",
    "营业执照专用章",
    "电子营业执照专用章",
    "执照专用章",
    "登记专用章",
    "企业登记专用章",
    "注册登记专用章",
    "登记注册专用章",
    "市场主体登记专用章",
    "经营主体登记专用章",
    "行政审批专用章",
    "行政许可专用章",
    "业务专用章",
    "公章",
    "电子公章",
    "印章",
    "电子印章",
];

/// What the seals of sandboxes have behind it.
const TEST_MARKS: &[&str] = &["TEST ONLY", "（仅用于测试 TEST ONLY）", "（仅用于测试）"];

/// Who made a signature of a file: the seal's name, which its maker has signed; without a seal the signers.
#[derive(Debug)]
pub(super) enum Sealer {
    Seal(String),
    Signers(Vec<SignerReport>),
}

impl Sealer {
    pub(super) fn of(seal: Option<SealFacts>, signers: Vec<SignerReport>) -> Self {
        match seal {
            Some(seal) => Self::Seal(seal.name),
            None => Self::Signers(signers),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Seal(name) => vec![name.clone()],
            Self::Signers(signers) => signers.iter().filter_map(|signer| signer.subject.clone()).collect(),
        }
    }

    pub(super) fn is_one_of(&self, authorities: &[&str]) -> bool {
        match self {
            Self::Seal(name) => authorities.iter().any(|authority| is_seal_of(name, authority)),
            Self::Signers(signers) => {
                let speaks_for = |signer: &SignerReport, authority: &str| {
                    let certificate = signer.certificate.as_ref();
                    certificate.is_some_and(|one| subject::speaks_for(one, authority).unwrap_or(false))
                };
                let is_authority =
                    |signer: &SignerReport| authorities.iter().any(|authority| speaks_for(signer, authority));
                !signers.is_empty() && signers.iter().all(is_authority)
            }
        }
    }
}

impl fmt::Display for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            names if names.is_empty() => f.write_str("(unknown)"),
            names => f.write_str(&names.join("; ")),
        }
    }
}

/// The authority without the word that says what it does with licenses.
pub(super) fn authority(name: &str) -> &str {
    let name = name.trim();
    name.strip_suffix("监制").unwrap_or(name).trim()
}

/// The authority, letter for letter, and behind it at most a purpose, a number and what marks a test.
fn is_seal_of(seal: &str, authority: &str) -> bool {
    let Some(rest) = seal.trim().strip_prefix(authority) else { return false };
    let rest = rest.trim();
    let rest = TEST_MARKS.iter().find_map(|mark| rest.strip_suffix(mark)).unwrap_or(rest);
    let rest = without_number(rest.trim()).trim();
    rest.is_empty() || PURPOSES.contains(&rest)
}

/// Without the number of one seal among several: （1）, (02), （三）.
fn without_number(text: &str) -> &str {
    let inside = text.strip_suffix([')', '）']).and_then(|text| text.rsplit_once(['(', '（']));
    let is_number = |number: &str| {
        (1..=3).contains(&number.chars().count())
            && number.chars().all(|c| c.is_ascii_digit() || "一二三四五六七八九十".contains(c))
    };
    inside.filter(|(_, number)| is_number(number)).map_or(text, |(before, _)| before)
}

/// The signature fields of a PDF that take no place on any page.
pub(super) fn unseen_fields(pdf: &[u8]) -> BTreeSet<String> {
    let Ok(document) = Document::open(pdf) else { return BTreeSet::new() };
    let fields = document.latest().signature_fields().unwrap_or_default();
    let (unseen, seen): (Vec<_>, Vec<_>) = fields.into_iter().partition(is_unseen);
    let names =
        |fields: Vec<SignatureField>| fields.into_iter().map(|field| field.name).collect::<BTreeSet<_>>();
    let seen = names(seen);
    names(unseen).into_iter().filter(|name| !seen.contains(name)).collect()
}

/// It is its own widget, whose rectangle has no area. What is written in another way may be seen.
fn is_unseen(field: &SignatureField) -> bool {
    let corners = field.dictionary.get(b"Rect").and_then(Object::as_array).ok();
    let corners: Option<Vec<f32>> =
        corners.and_then(|corners| corners.iter().map(|corner| corner.as_float().ok()).collect());
    !field.dictionary.has(b"Kids")
        && matches!(corners.as_deref(), Some([left, bottom, right, top]) if left == right || bottom == top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_the_authoritys_by_its_whole_name() {
        const AUTHORITY: &str = "某市市场监督管理局";
        for rest in [
            "",
            "营业执照专用章",
            "登记专用章（1）",
            "登记专用章(02)",
            "（三）",
            " TEST ONLY",
            "（仅用于测试 TEST ONLY）",
            "电子印章 TEST ONLY",
        ] {
            assert!(is_seal_of(&format!("{AUTHORITY}{rest}"), AUTHORITY), "{rest}");
        }
        for other in [
            "某市市场监督管理局机关服务中心",
            "某市市场监督管理局机关服务中心公章",
            "某市市场监督管理局机关服务中心 TEST ONLY",
            "某市市场监督管理局（1）机关服务中心",
            "某市市场监督管理局登记专用章代理",
            "某市市场监督管理局（ABC）",
            "某市市场监督管理局TEST ONLY机关服务中心",
            "非某市市场监督管理局",
            "某市市场监督管理",
            "",
        ] {
            assert!(!is_seal_of(other, AUTHORITY), "{other}");
        }
        assert_eq!(authority(" 某市市场监督管理局监制 "), AUTHORITY);
    }
}
