//! Outcomes in words, Chinese and English.

use formats::{Finding, Verdict};

use super::Outcome;

/// A language for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// 中文
    Zh,
    /// English
    En,
}

/// One line for the verdict, one for each finding.
pub(super) fn describe(outcome: &Outcome, language: Language) -> String {
    let verdict = verdict(outcome.judgement.verdict, language);
    let mut text = match language {
        Language::Zh => format!("{}：{verdict}（{}）\n", outcome.name, kind(outcome.kind, language)),
        Language::En => format!("{}: {verdict} ({})\n", outcome.name, kind(outcome.kind, language)),
    };
    for finding in &outcome.judgement.findings {
        text.push_str(&line(finding, language));
    }
    for member in ["license", "certificate", "request"] {
        let Some(subject) = outcome.more.get(member).and_then(|part| part["subject"].as_str()) else {
            continue;
        };
        text.push_str(&match language {
            Language::Zh => format!("  主体：{subject}\n"),
            Language::En => format!("  subject: {subject}\n"),
        });
    }
    for signer in outcome.more.get("signers").and_then(|signers| signers.as_array()).into_iter().flatten() {
        let Some(subject) = signer["subject"].as_str() else { continue };
        text.push_str(&match language {
            Language::Zh => format!("  签名人：{subject}\n"),
            Language::En => format!("  signer: {subject}\n"),
        });
    }
    if let Some(time) = outcome.more.get("timestamp").and_then(|stamp| stamp["time"].as_str()) {
        text.push_str(&match language {
            Language::Zh => format!("  时间：{time}\n"),
            Language::En => format!("  time: {time}\n"),
        });
    }
    if let Some(meant) = outcome.more.get("normalised").and_then(|meant| meant.as_str()) {
        text.push_str(&match language {
            Language::Zh => format!("  可能是：{meant}\n"),
            Language::En => format!("  perhaps meant: {meant}\n"),
        });
    }
    text
}

fn line(finding: &Finding, language: Language) -> String {
    let words = meaning(finding.code, language).unwrap_or(finding.code);
    match language {
        Language::Zh => format!("  [{}] {words}：{}\n", finding.code, finding.detail),
        Language::En => format!("  [{}] {words}: {}\n", finding.code, finding.detail),
    }
}

fn verdict(verdict: Verdict, language: Language) -> &'static str {
    match (verdict, language) {
        (Verdict::Valid, Language::Zh) => "有效",
        (Verdict::Valid, Language::En) => "valid",
        (Verdict::Unsigned, Language::Zh) => "未签名",
        (Verdict::Unsigned, Language::En) => "unsigned",
        (Verdict::Indeterminate, Language::Zh) => "无法判定",
        (Verdict::Indeterminate, Language::En) => "indeterminate",
        (Verdict::Invalid, Language::Zh) => "无效",
        (Verdict::Invalid, Language::En) => "invalid",
    }
}

fn kind(kind: &'static str, language: Language) -> &'static str {
    if language == Language::En {
        return match kind {
            "cms" => "CMS signature",
            "tsr" => "timestamp",
            "cert" => "certificate",
            "csr" => "certification request",
            "seal" => "electronic seal",
            "uscc" => "unified social credit code",
            "cert-id" => "certificate identifier",
            other => other,
        };
    }
    match kind {
        "cms" => "CMS 签名",
        "pdf" => "PDF 文件",
        "ofd" => "OFD 文件",
        "seal" => "电子印章",
        "tsr" => "时间戳",
        "cert" => "数字证书",
        "csr" => "证书请求",
        "license" => "电子营业执照",
        "uscc" => "统一社会信用代码",
        "cert-id" => "电子证照标识",
        _ => "未知类型",
    }
}

fn meaning(code: &str, language: Language) -> Option<&'static str> {
    let (_, chinese, english) = MEANINGS.iter().find(|(known, ..)| *known == code)?;
    Some(match language {
        Language::Zh => chinese,
        Language::En => english,
    })
}

/// Codes of findings, in words.
const MEANINGS: &[(&str, &str, &str)] = &[
    // Certificates and their paths.
    ("not_yet_valid", "尚未生效", "not yet valid"),
    ("expired", "已过期", "expired"),
    ("revoked", "已吊销", "revoked"),
    ("revoked_later", "此后被吊销", "revoked later"),
    ("revocation_not_checked", "未核查吊销状态", "revocation was not checked"),
    ("crl_stale", "吊销列表已过期", "the CRL is stale"),
    ("crl_overdue", "吊销列表已逾期，尚在宽限期内", "the CRL is overdue, within its period of grace"),
    ("crl_signature_invalid", "吊销列表签名无效", "the CRL's signature is invalid"),
    ("crl_not_supported", "不支持的吊销列表", "this kind of CRL is not supported"),
    ("ocsp_stale", "OCSP 响应已过期", "the OCSP response is stale"),
    (
        "ocsp_overdue",
        "OCSP 响应已逾期，尚在宽限期内",
        "the OCSP response is overdue, within its period of grace",
    ),
    ("ocsp_signature_invalid", "OCSP 响应签名无效", "the OCSP response's signature is invalid"),
    ("ocsp_not_supported", "不支持的 OCSP 响应", "this kind of OCSP response is not supported"),
    ("ocsp_status_unknown", "OCSP 状态未知", "the OCSP responder does not know the certificate"),
    ("revocation_unknown", "吊销状态未知", "revocation is unknown"),
    ("name_not_permitted", "名称约束不允许", "an authority may not certify this name"),
    ("policy_not_permitted", "证书策略不允许", "the certificate policies do not permit it"),
    ("no_path", "找不到到信任根的证书链", "no path to a trust anchor"),
    ("issuer_signature_invalid", "签发者签名无效", "the issuer's signature is invalid"),
    ("not_a_ca", "签发者不是认证机构", "the issuer is no authority"),
    ("path_length_exceeded", "证书链过长", "the path is too long"),
    ("key_usage_not_permitted", "密钥用途不符", "the key is not for this usage"),
    ("unknown_critical_extension", "含未知关键扩展", "an unknown critical extension"),
    ("algorithm_mismatch", "算法不一致", "algorithms do not go together"),
    ("unsupported_algorithm", "不支持的算法", "the algorithm is not supported"),
    ("name_mismatch", "名称不符", "the name does not match"),
    // Signatures.
    ("malformed", "格式错误", "malformed"),
    ("unreadable", "无法读取", "cannot be read"),
    ("type_not_supported", "暂不支持此类型", "this type is not supported yet"),
    ("signature_invalid", "签名无效", "the signature is invalid"),
    ("trust_not_judged", "未判定信任", "trust was not judged"),
    ("digest_mismatch", "内容与签名不符", "the content is not what was signed"),
    ("content_absent", "缺少原文", "the content is absent"),
    ("signer_certificate_absent", "缺少签名证书", "the signer's certificate is absent"),
    ("signing_certificate_mismatch", "签名证书不符", "made for another certificate"),
    ("content_type_mismatch", "内容类型不符", "the content type differs"),
    ("signed_attributes_absent", "缺少签名属性", "signed attributes are absent"),
    ("algorithm_protection_mismatch", "算法保护属性不符", "algorithms differ from the protected ones"),
    ("ambiguous_content", "内容有歧义", "the content is ambiguous"),
    ("ber_encoding", "采用 BER 编码", "encoded in BER"),
    ("ber_not_supported", "不支持的 BER 编码", "BER that is not read"),
    ("certificate_unreadable", "所附证书无法读取", "an attached certificate cannot be read"),
    ("no_signers", "没有签名人", "there are no signers"),
    ("counter_signature_invalid", "副署签名无效", "a counter-signature is invalid"),
    ("counter_signature_indeterminate", "副署签名无法判定", "a counter-signature cannot be judged"),
    ("counter_signatures_not_judged", "未判定全部副署签名", "not all counter-signatures were judged"),
    ("unsigned_attributes_unreadable", "未签名属性无法读取", "the unsigned attributes cannot be read"),
    // Timestamps.
    ("not_a_timestamp", "不是时间戳", "not a timestamp"),
    ("timestamp_refused", "时间戳服务拒绝签发", "the timestamping authority refused"),
    ("timestamp_invalid", "签名时间戳无效", "the signature's timestamp is invalid"),
    ("timestamp_indeterminate", "签名时间戳无法判定", "the signature's timestamp cannot be judged"),
    ("signing_certificate_absent", "未指明签名证书", "the signing certificate is not named"),
    ("timestamp_outside_validity", "时间戳不在证书有效期内", "made outside the certificate's validity"),
    ("timestamp_in_future", "时间戳晚于判定时间", "made after the time of judgement"),
    ("imprint_length", "摘要长度不符", "the imprint has the wrong length"),
    ("several_signers", "签名人多于一个", "there are several signers"),
    // Licenses.
    ("uscc_missing", "缺少统一社会信用代码", "the social credit code is missing"),
    ("uscc_invalid", "统一社会信用代码无效", "the social credit code is invalid"),
    ("wrong_curve", "不是 SM2 密钥", "the key is not an SM2 key"),
    ("test_identity", "测试主体", "a test identity"),
    ("test_identity_in_production", "测试主体不得用于生产", "a test identity outside a sandbox"),
    ("serial_format", "执照序列号格式不符", "the serial has an unusual form"),
    ("unknown_attribute", "未知照面属性", "an unknown face attribute"),
    ("unknown_template", "未知执照模板", "an unknown template"),
    ("status_not_permitted", "主体状态不允许", "the holder's status rules it out"),
    ("status_flagged", "主体状态须留意", "the holder's status should be known"),
    ("status_not_checked", "未核查登记状态", "the holder's status was not checked"),
    ("face_differs_from_register", "照面与登记不符", "the face differs from the register"),
    ("license_not_current", "不是现行执照", "not the current license"),
    // Identifiers.
    ("length_wrong", "位数不对", "wrong length"),
    ("character_not_permitted", "字符错误", "a character that is not permitted"),
    ("department_unknown", "登记管理部门代码错误", "unknown registration department"),
    ("category_unknown", "机构类别代码错误", "unknown category"),
    ("region_not_digits", "行政区划码应为数字", "the region is not all digits"),
    ("region_unknown", "行政区划码错误", "unknown region"),
    ("subject_check_wrong", "主体标识码校验位错误", "the subject code's check character is wrong"),
    ("check_wrong", "校验位错误", "the check character is wrong"),
    ("is_registration_number", "是十五位注册号", "a 15-digit registration number"),
    ("root_wrong", "标识根错误", "wrong root"),
    ("parts_wrong", "段数不对", "wrong number of parts"),
    ("version_wrong", "版本号错误", "wrong version"),
    ("birth_date_wrong", "出生日期错误", "wrong date of birth"),
    ("prefix_unknown", "号段错误", "unknown prefix"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_finding_in_the_documents_has_words_in_both_languages() {
        let document = include_str!("../../../docs/integration.md");
        let findings = document.split("## Findings").nth(1).expect("a chapter on findings");
        let rows = findings.lines().filter(|line| line.starts_with("| `"));
        let mut codes = 0;
        for row in rows {
            let first = row.split('|').nth(1).unwrap_or_default();
            for code in first.split('`').skip(1).step_by(2) {
                for language in [Language::Zh, Language::En] {
                    assert!(meaning(code, language).is_some(), "{code} has no words");
                }
                codes += 1;
            }
        }
        assert!(codes > 30, "{codes}");
    }

    #[test]
    fn no_code_has_words_twice() {
        for (place, (code, ..)) in MEANINGS.iter().enumerate() {
            assert!(!MEANINGS[..place].iter().any(|(earlier, ..)| earlier == code), "{code}");
        }
    }
}
