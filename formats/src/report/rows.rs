//! Rows that reports of several kinds share.

use super::{Row, stamp};
use crate::chain::{RevocationMode, TrustStore, Usage};
use crate::license::{Face, FaceDate};
use crate::scheme::HashAlgorithm;
use crate::words::Words;
use crate::x509::Certificate;
use time::OffsetDateTime;

/// The digests of octets, by which they are found again.
pub fn digests(octets: &[u8]) -> [Row; 2] {
    let row = |label, hash: HashAlgorithm| Row::new(label, hex::encode(hash.digest(octets)));
    [
        row(Words::new("SM3 摘要", "SM3 digest"), HashAlgorithm::Sm3),
        row(Words::new("SHA-256 摘要", "SHA-256 digest"), HashAlgorithm::Sha256),
    ]
}

/// By what certificates were judged.
pub fn policy(usage: Usage, trust: &TrustStore, at: OffsetDateTime) -> [Row; 4] {
    let revocation = match trust.revocation().mode {
        RevocationMode::Required => Words::new("必须可核查", "must be known"),
        RevocationMode::WhenKnown => Words::new("无法核查时予以注明", "noted where it cannot be looked up"),
        RevocationMode::Off => Words::new("不核查", "not asked about"),
    };
    [
        Row::at(Words::new("有效性基准时间", "Validity judged for"), at),
        Row::of_words(Words::new("证书用途要求", "Certificates good for"), usage.words()),
        Row::of_words(Words::new("吊销状态要求", "Revocation"), revocation),
        Row::new(Words::new("验证过程", "Process"), "ETSI EN 319 102-1, 5.3 (Basic)"),
    ]
}

/// What a certificate says of itself.
pub fn certificate(certificate: &Certificate) -> [Row; 4] {
    let validity = format!("{} – {}", stamp(certificate.not_before()), stamp(certificate.not_after()));
    [
        Row::new(Words::new("证书主体", "Subject"), certificate.subject()),
        Row::new(Words::new("签发者", "Issuer"), certificate.issuer()),
        Row::new(Words::new("证书序列号", "Serial number"), certificate.serial_hex()),
        Row::new(Words::new("有效期", "Validity"), validity),
    ]
}

/// The path of a certificate that has rows of its own, from its issuer to the anchor.
pub fn path(path: &[Certificate]) -> Vec<Row> {
    const LINK: Words = Words::new("证书链", "Certificate path");
    const ANCHOR: Words = Words::new("信任根", "Trust anchor");
    let Some((anchor, links)) = path.split_last() else { return Vec::new() };
    let said =
        |certificate: &Certificate| format!("{} ({})", certificate.subject(), certificate.serial_hex());
    let mut rows: Vec<Row> = links.iter().skip(1).map(|link| Row::new(LINK, said(link))).collect();
    rows.push(Row::new(ANCHOR, said(anchor)));
    rows
}

/// What a license shows, as far as it has a name.
pub fn face(face: &Face) -> Vec<Row> {
    let text = |text: &Option<String>| text.clone();
    let date = |date: &Option<FaceDate>| date.as_ref().map(|date| date.text.clone());
    let fields = [
        (Words::new("名称", "Name"), text(&face.name)),
        (Words::new("统一社会信用代码", "Social credit code"), Some(face.uscc.trim().to_owned())),
        (Words::new("注册号", "Registration number"), text(&face.registration_number)),
        (Words::new("法定代表人（负责人）", "Representative"), text(&face.legal_representative)),
        (Words::new("注册资本", "Registered capital"), text(&face.registered_capital)),
        (Words::new("住所", "Domicile"), text(&face.domicile)),
        (Words::new("成立日期", "Established"), date(&face.established)),
        (Words::new("经营期限自", "Term from"), date(&face.term_from)),
        (Words::new("经营期限至", "Term to"), date(&face.term_to)),
        (Words::new("经营范围", "Business scope"), text(&face.business_scope)),
        (Words::new("业务范围", "Service scope"), text(&face.service_scope)),
        (Words::new("登记机关", "Registration authority"), text(&face.registration_authority)),
        (Words::new("登记日期", "Registered"), date(&face.registered)),
        (Words::new("外国企业名称", "Foreign name"), text(&face.foreign_name)),
        (Words::new("外国企业住所", "Foreign domicile"), text(&face.foreign_domicile)),
        (Words::new("持有人", "Holder"), text(&face.holder)),
    ];
    let shown = fields.into_iter().filter_map(|(label, value)| Some((label, value?)));
    shown.filter(|(_, value)| !value.is_empty()).map(|(label, value)| Row::new(label, value)).collect()
}
