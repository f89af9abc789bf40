//! Verdicts, findings and kinds in words, Chinese and English: one table for the command line, the API and reports.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Serialize;

use crate::chain::Usage;
use crate::opened::Kind;
use crate::verdict::Verdict;

/// A language for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// 中文
    #[default]
    Zh,
    /// English
    En,
}

/// The same in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Words {
    /// 中文
    pub zh: &'static str,
    /// English
    pub en: &'static str,
}

impl Words {
    /// From Chinese and English.
    pub const fn new(zh: &'static str, en: &'static str) -> Self {
        Self { zh, en }
    }

    /// In one language.
    pub fn said_in(self, language: Language) -> &'static str {
        match language {
            Language::Zh => self.zh,
            Language::En => self.en,
        }
    }

    /// In the other language.
    pub fn said_beside(self, language: Language) -> &'static str {
        match language {
            Language::Zh => self.en,
            Language::En => self.zh,
        }
    }
}

impl Verdict {
    /// The verdict in words.
    pub fn words(self) -> Words {
        match self {
            Self::Valid => Words::new("有效", "valid"),
            Self::Unsigned => Words::new("未签名", "unsigned"),
            Self::Indeterminate => Words::new("无法判定", "indeterminate"),
            Self::Invalid => Words::new("无效", "invalid"),
        }
    }
}

impl Kind {
    /// The kind in words.
    pub fn words(self) -> Words {
        match self {
            Self::Cms => Words::new("CMS 签名", "CMS signature"),
            Self::Pdf => Words::new("PDF 文件", "PDF file"),
            Self::Ofd => Words::new("OFD 文件", "OFD file"),
            Self::Seal => Words::new("电子印章", "electronic seal"),
            Self::Timestamp => Words::new("时间戳", "timestamp"),
            Self::Certificate => Words::new("数字证书", "certificate"),
            Self::Request => Words::new("证书请求", "certification request"),
            Self::License => Words::new("电子营业执照", "license"),
            Self::ListProof => Words::new("清单条目证明", "proof of a list's item"),
            Self::Archive => Words::new("归档包", "archive package"),
        }
    }
}

impl Usage {
    /// What a certificate has to be good for, in words.
    pub fn words(self) -> Words {
        match self {
            Self::DocumentSigning => Words::new("签署文件", "signing documents"),
            Self::License => Words::new("作为电子营业执照", "being an electronic business license"),
            Self::TimeStamping => Words::new("签发时间戳", "issuing timestamps"),
            Self::TlsServer => Words::new("TLS 服务器", "proving a TLS server"),
            Self::TlsClient => Words::new("TLS 客户端", "proving a TLS client"),
            Self::Encryption => Words::new("加密", "encryption"),
            Self::Authority => Words::new("签发证书", "issuing certificates"),
            Self::Any => Words::new("任意用途", "any purpose"),
        }
    }
}

/// What a finding's code means; none for a code that no finding has.
pub fn finding(code: &str) -> Option<Words> {
    // Asked for each finding of each item of a batch.
    static BY_CODE: LazyLock<HashMap<&str, Words>> = LazyLock::new(|| FINDINGS.iter().copied().collect());
    BY_CODE.get(code).copied()
}

/// Does a finding with this code say that something was not checked?
pub fn leaves_unchecked(code: &str) -> bool {
    matches!(
        code,
        "certificate_unreadable"
            | "content_absent"
            | "encrypted"
            | "face_data_absent"
            | "face_fact_unproven"
            | "license_certificate_absent"
            | "shown_text_not_compared"
            | "counter_signatures_not_judged"
            | "revocation_not_checked"
            | "revocation_unknown"
            | "signer_certificate_absent"
            | "status_not_checked"
            | "status_unavailable"
            | "status_unknown"
            | "sub_filter_not_supported"
            | "too_large"
            | "trust_not_judged"
            | "unsigned_attributes_unreadable"
            | "unsupported_algorithm"
            | "validation_data_unreadable"
    )
}

/// Codes of findings, of this crate and of all that judge with it.
pub const FINDINGS: &[(&str, Words)] = &[
    // Certificates and their paths.
    ("not_yet_valid", Words::new("尚未生效", "not yet valid")),
    ("expired", Words::new("已过期", "expired")),
    ("revoked", Words::new("已吊销", "revoked")),
    ("revoked_later", Words::new("此后被吊销", "revoked later")),
    ("revocation_not_checked", Words::new("未核查吊销状态", "revocation was not checked")),
    ("crl_stale", Words::new("吊销列表已过期", "the CRL is stale")),
    ("crl_signature_invalid", Words::new("吊销列表签名无效", "the CRL's signature is invalid")),
    ("crl_not_supported", Words::new("不支持的吊销列表", "this kind of CRL is not supported")),
    (
        "crl_overdue",
        Words::new("吊销列表已逾期，尚在宽限期内", "the CRL is overdue, within its period of grace"),
    ),
    ("ocsp_stale", Words::new("OCSP 响应已过期", "the OCSP response is stale")),
    (
        "ocsp_overdue",
        Words::new(
            "OCSP 响应已逾期，尚在宽限期内",
            "the OCSP response is overdue, within its period of grace",
        ),
    ),
    ("ocsp_signature_invalid", Words::new("OCSP 响应签名无效", "the OCSP response's signature is invalid")),
    ("ocsp_not_supported", Words::new("不支持的 OCSP 响应", "this kind of OCSP response is not supported")),
    ("ocsp_status_unknown", Words::new("OCSP 状态未知", "the OCSP responder does not know the certificate")),
    ("revocation_unknown", Words::new("吊销状态未知", "revocation is unknown")),
    ("name_not_permitted", Words::new("名称约束不允许", "an authority may not certify this name")),
    ("policy_not_permitted", Words::new("证书策略不允许", "the certificate policies do not permit it")),
    ("no_path", Words::new("找不到到信任根的证书链", "no path to a trust anchor")),
    ("issuer_signature_invalid", Words::new("签发者签名无效", "the issuer's signature is invalid")),
    ("not_a_ca", Words::new("签发者不是认证机构", "the issuer is no authority")),
    ("path_length_exceeded", Words::new("证书链过长", "the path is too long")),
    ("key_usage_not_permitted", Words::new("密钥用途不符", "the key is not for this usage")),
    ("unknown_critical_extension", Words::new("含未知关键扩展", "an unknown critical extension")),
    ("algorithm_mismatch", Words::new("算法不一致", "algorithms do not go together")),
    ("unsupported_algorithm", Words::new("不支持的算法", "the algorithm is not supported")),
    ("name_mismatch", Words::new("名称不符", "the name does not match")),
    // Signatures.
    ("malformed", Words::new("格式错误", "malformed")),
    ("unreadable", Words::new("无法读取", "cannot be read")),
    ("signature_invalid", Words::new("签名无效", "the signature is invalid")),
    ("trust_not_judged", Words::new("未判定信任", "trust was not judged")),
    ("digest_mismatch", Words::new("内容与签名不符", "the content is not what was signed")),
    ("content_absent", Words::new("缺少原文", "the content is absent")),
    ("signer_certificate_absent", Words::new("缺少签名证书", "the signer's certificate is absent")),
    ("signing_certificate_mismatch", Words::new("签名证书不符", "made for another certificate")),
    ("content_type_mismatch", Words::new("内容类型不符", "the content type differs")),
    ("signed_attributes_absent", Words::new("缺少签名属性", "signed attributes are absent")),
    (
        "algorithm_protection_mismatch",
        Words::new("算法保护属性不符", "algorithms differ from the protected ones"),
    ),
    ("list_index_out_of_range", Words::new("清单中没有该序号", "the list has no such place")),
    ("list_path_length", Words::new("证明路径长度不符", "the path is truncated or too long")),
    ("list_item_not_proved", Words::new("未证明条目在清单中", "the item is not proved to be in the list")),
    ("list_content_differs", Words::new("内容与条目摘要不符", "the content is not what the item is about")),
    ("list_item_for_another", Words::new("签名人代另一主体签署该条目", "signed for another than the signer")),
    ("ambiguous_content", Words::new("内容有歧义", "the content is ambiguous")),
    ("ber_encoding", Words::new("采用 BER 编码", "encoded in BER")),
    ("ber_not_supported", Words::new("不支持的 BER 编码", "BER that is not read")),
    ("certificate_unreadable", Words::new("所附证书无法读取", "an attached certificate cannot be read")),
    ("no_signers", Words::new("没有签名人", "there are no signers")),
    ("counter_signature_invalid", Words::new("副署签名无效", "a counter-signature is invalid")),
    (
        "counter_signature_indeterminate",
        Words::new("副署签名无法判定", "a counter-signature cannot be judged"),
    ),
    (
        "counter_signatures_not_judged",
        Words::new("未判定全部副署签名", "not all counter-signatures were judged"),
    ),
    (
        "unsigned_attributes_unreadable",
        Words::new("未签名属性无法读取", "the unsigned attributes cannot be read"),
    ),
    // Timestamps.
    ("not_a_timestamp", Words::new("不是时间戳", "not a timestamp")),
    ("timestamp_refused", Words::new("时间戳服务拒绝签发", "the timestamping authority refused")),
    ("timestamp_invalid", Words::new("签名时间戳无效", "the signature's timestamp is invalid")),
    (
        "timestamp_indeterminate",
        Words::new("签名时间戳无法判定", "the signature's timestamp cannot be judged"),
    ),
    ("signing_certificate_absent", Words::new("未指明签名证书", "the signing certificate is not named")),
    (
        "timestamp_outside_validity",
        Words::new("时间戳不在证书有效期内", "made outside the certificate's validity"),
    ),
    ("timestamp_in_future", Words::new("时间戳晚于判定时间", "made after the time of judgement")),
    ("imprint_length", Words::new("摘要长度不符", "the imprint has the wrong length")),
    ("several_signers", Words::new("签名人多于一个", "there are several signers")),
    // Documents.
    ("encrypted", Words::new("文档已加密", "the document is encrypted")),
    ("too_large", Words::new("超出处理上限", "more than is read")),
    ("no_signatures", Words::new("文档没有签名", "the document has no signature")),
    ("signature_removed", Words::new("原有签名已被移除", "a signature was removed")),
    ("byte_range_invalid", Words::new("签名范围（ByteRange）无效", "the signed range is none of this file")),
    (
        "contents_mismatch",
        Words::new("签名值不在签名范围的空隙内", "the gap in the signed range is not the signature"),
    ),
    (
        "contents_trailing_data",
        Words::new("签名值之后有多余数据", "octets stand behind the signature in its place"),
    ),
    ("content_attached", Words::new("签名自带原文", "the signature brings a content of its own")),
    (
        "coverage_incomplete",
        Words::new("签名未覆盖完整版本", "the signature does not cover a whole revision"),
    ),
    (
        "signature_misplaced",
        Words::new("签名不在其覆盖的版本内", "the signature is not part of what it covers"),
    ),
    ("sub_filter_not_supported", Words::new("不支持的签名形式", "this form of signature is not supported")),
    ("trailing_data", Words::new("文件末尾之后有多余数据", "octets stand behind the end of the document")),
    ("unlisted_octets", Words::new("更新中有未列出的数据", "an update has octets that belong to no object")),
    ("object_misplaced", Words::new("对象位置不符", "an object stands where its revision cannot have it")),
    ("ambiguous_object", Words::new("对象有重复键", "an object has a key twice")),
    ("document_changed", Words::new("签名后文档结构被改动", "the document was changed after it was signed")),
    ("page_changed", Words::new("签名后页面被改动", "a page was changed after it was signed")),
    ("content_changed", Words::new("签名后内容被改动", "contents were changed after they were signed")),
    ("font_changed", Words::new("签名后字体被改动", "a font was changed after the document was signed")),
    ("field_added", Words::new("签名后增加了表单域", "a form field was added after the document was signed")),
    (
        "field_changed",
        Words::new("签名后表单域被改动", "a form field was changed after the document was signed"),
    ),
    ("signature_replaced", Words::new("签名值被替换", "a signature was replaced")),
    (
        "signature_appearance_changed",
        Words::new("签名外观被改动", "the appearance of a signature was changed"),
    ),
    (
        "change_not_permitted",
        Words::new("签名后的改动不被允许", "a later change that the signature does not permit"),
    ),
    ("locked_field_changed", Words::new("锁定的表单域被改动", "a locked form field was changed")),
    ("later_changes_permitted", Words::new("签名后有允许的改动", "later changes that the signature permits")),
    (
        "active_content",
        Words::new("含脚本或自动动作", "the document has scripts or actions that run by themselves"),
    ),
    (
        "validation_data_unreadable",
        Words::new("验证数据部分无法读取", "some of the document's validation data cannot be read"),
    ),
    // Seals.
    (
        "seal_maker_not_trusted",
        Words::new("印章的制章人不在认可之列", "the seal's maker is none of those that count"),
    ),
    ("seal_maker_not_checked", Words::new("未核对制章人", "nobody says who may make seals")),
    ("seal_forged", Words::new("印章的制章签名无效", "the seal maker's signature is invalid")),
    ("seal_not_yet_valid", Words::new("印章尚未生效", "the seal is not yet valid")),
    ("seal_expired", Words::new("印章已过期", "the seal has expired")),
    ("signer_not_in_seal", Words::new("签章人不在印章的证书列表中", "the signer may not use the seal")),
    (
        "signed_outside_seal_validity",
        Words::new("签章时间不在印章有效期内", "signed outside the seal's validity"),
    ),
    (
        "signed_outside_certificate_validity",
        Words::new("签章时间不在证书有效期内", "signed outside the certificate's validity"),
    ),
    ("signing_time_in_future", Words::new("签章时间晚于判定时间", "signed after the time of judgement")),
    ("signing_time_unreadable", Words::new("签章时间无法读取", "the time of signing cannot be read")),
    (
        "seal_encoding_tolerated",
        Words::new("印章编码与标准略有出入", "encoded otherwise than the standard has it"),
    ),
    // OFD packages.
    ("ofd_duplicate_entry", Words::new("包内有重名文件", "several entries have the same name")),
    ("ofd_unsafe_path", Words::new("包内路径不安全", "an entry name is not permitted")),
    ("ofd_part_missing", Words::new("缺少文件", "a part is missing")),
    ("ofd_part_altered", Words::new("受保护的文件已被改动", "a protected part was altered")),
    ("ofd_part_uncovered", Words::new("有内容未受签名保护", "a part that is shown is not protected")),
    ("ofd_part_unreferenced", Words::new("包内有未被引用的文件", "parts that nothing refers to")),
    (
        "ofd_part_ambiguous",
        Words::new(
            "引用与文件名写法不一的未保护文件",
            "an unprotected part that is named in another spelling",
        ),
    ),
    ("ofd_part_unreadable", Words::new("有文件无法解析", "a part cannot be parsed")),
    ("ofd_stamp_page_unknown", Words::new("签章所在页不存在", "a stamp is for a page that is not there")),
    ("ofd_form_tolerated", Words::new("写法与标准略有出入", "written otherwise than the standard has it")),
    ("seal_differs", Words::new("印章文件与签章中的印章不同", "the seal's part is another seal")),
    ("raw_signature", Words::new("仅有裸签名值", "the signature value stands alone")),
    // Licenses.
    ("uscc_missing", Words::new("缺少统一社会信用代码", "the social credit code is missing")),
    ("uscc_invalid", Words::new("统一社会信用代码无效", "the social credit code is invalid")),
    ("wrong_curve", Words::new("不是 SM2 密钥", "the key is not an SM2 key")),
    ("test_identity", Words::new("测试主体", "a test identity")),
    ("test_identity_in_production", Words::new("测试主体不得用于生产", "a test identity outside a sandbox")),
    ("serial_format", Words::new("执照序列号格式不符", "the serial has an unusual form")),
    ("unknown_attribute", Words::new("未知照面属性", "an unknown face attribute")),
    ("unknown_template", Words::new("未知执照模板", "an unknown template")),
    ("status_not_permitted", Words::new("主体状态不允许", "the holder's status rules it out")),
    ("status_flagged", Words::new("主体状态须留意", "the holder's status should be known")),
    ("status_not_checked", Words::new("未核查登记状态", "the holder's status was not checked")),
    ("status_unavailable", Words::new("登记状态暂时无法查询", "nobody could say how the holder stands")),
    ("status_stale", Words::new("登记状态已过时", "what is known of the holder's status is too old")),
    ("status_unknown", Words::new("登记机关没有该主体的状态", "the register does not know the holder")),
    (
        "status_malformed",
        Words::new("登记状态的应答不合规", "what the register says of the holder is malformed"),
    ),
    ("archive_malformed", Words::new("归档包格式不合规", "the archive package is malformed")),
    (
        "archive_too_large",
        Words::new("归档包过大或压缩比异常", "the archive package is too large, or packed too well"),
    ),
    (
        "archive_unsafe_path",
        Words::new("归档包内文件名不安全", "a file of the archive package has an unsafe name"),
    ),
    ("archive_encrypted", Words::new("归档包内文件已加密", "a file of the archive package is encrypted")),
    ("archive_member_missing", Words::new("归档包缺少文件", "the archive package lacks a file")),
    (
        "archive_member_added",
        Words::new("归档包多出文件", "the archive package has a file that its manifest does not name"),
    ),
    (
        "archive_member_duplicated",
        Words::new("归档包内文件重名", "the archive package has files of the same name"),
    ),
    (
        "archive_member_renamed",
        Words::new("归档包内文件被改名", "a file of the archive package has another name"),
    ),
    ("archive_member_altered", Words::new("归档包内文件被改动", "a file of the archive package was altered")),
    (
        "archive_manifest_unsigned",
        Words::new("归档包清单的签名不成立", "the manifest's signature does not hold"),
    ),
    (
        "archive_of_another_stamp",
        Words::new("归档包内容属于另一签章", "a part of the archive package is another stamp's"),
    ),
    (
        "archive_time_contradicted",
        Words::new("归档时间与时间戳不符", "the manifest's time is not its timestamp's"),
    ),
    (
        "archivist_not_checked",
        Words::new("未核对归档包由谁签名", "who may sign archive packages was not said"),
    ),
    ("archivist_unknown", Words::new("归档包由他人签名", "somebody else signed the archive package")),
    ("option_not_applicable", Words::new("该选项不适用", "the option does not go with this file")),
    (
        "archive_verdict_differs",
        Words::new("与归档时的验证结论不同", "the verdict was another one when the package was made"),
    ),
    ("evidence_malformed", Words::new("存证包格式不合规", "the evidence is malformed")),
    ("evidence_altered", Words::new("存证包被改动", "the evidence was altered")),
    (
        "evidence_of_another_document",
        Words::new("存证包属于另一文件", "the evidence is about another document"),
    ),
    ("evidence_without_record", Words::new("存证包没有时间戳记录", "the evidence has no timestamped record")),
    ("evidence_incomplete", Words::new("存证包缺少部分验证资料", "the evidence lacks some validation data")),
    (
        "evidence_log_contradicts",
        Words::new("审计日志与存证包不符", "the audit log contradicts the evidence"),
    ),
    (
        "evidence_not_in_log",
        Words::new("存证记录未证明已入审计日志", "the evidence is not proved to be in the audit log"),
    ),
    (
        "evidence_log_signer_unknown",
        Words::new("审计日志的签名者不受信任", "no anchor vouches for the audit log's signer"),
    ),
    ("face_differs_from_register", Words::new("照面与登记不符", "the face differs from the register")),
    ("license_not_current", Words::new("不是现行执照", "not the current license")),
    // License files.
    ("license_file_unsealed", Words::new("执照文件未加盖电子印章", "the license file is not sealed")),
    ("license_certificate_absent", Words::new("文件未附执照证书", "the file carries no license certificate")),
    ("face_data_absent", Words::new("文件未附照面数据", "the file carries no face data")),
    ("face_data_malformed", Words::new("照面数据格式错误", "the face data are malformed")),
    (
        "face_differs_from_certificate",
        Words::new("照面与执照证书不符", "the face differs from the license certificate"),
    ),
    (
        "shown_text_differs",
        Words::new("版面文字与照面数据不符", "the page shows something else than its data"),
    ),
    ("shown_text_not_compared", Words::new("无法比对版面文字", "what the page shows cannot be compared")),
    ("face_fact_unproven", Words::new("执照证书不含的事项", "facts that no license certificate has")),
    (
        "seal_not_of_authority",
        Words::new("不是登记机关的印章", "the seal is not that of the registering authority"),
    ),
    // Identifiers.
    ("length_wrong", Words::new("位数不对", "wrong length")),
    ("character_not_permitted", Words::new("字符错误", "a character that is not permitted")),
    ("department_unknown", Words::new("登记管理部门代码错误", "unknown registration department")),
    ("category_unknown", Words::new("机构类别代码错误", "unknown category")),
    ("region_not_digits", Words::new("行政区划码应为数字", "the region is not all digits")),
    ("region_unknown", Words::new("行政区划码错误", "unknown region")),
    (
        "subject_check_wrong",
        Words::new("主体标识码校验位错误", "the subject code's check character is wrong"),
    ),
    ("check_wrong", Words::new("校验位错误", "the check character is wrong")),
    ("is_registration_number", Words::new("是十五位注册号", "a 15-digit registration number")),
    ("root_wrong", Words::new("标识根错误", "wrong root")),
    ("parts_wrong", Words::new("段数不对", "wrong number of parts")),
    ("version_wrong", Words::new("版本号错误", "wrong version")),
    ("birth_date_wrong", Words::new("出生日期错误", "wrong date of birth")),
    ("prefix_unknown", Words::new("号段错误", "unknown prefix")),
    // Signing PDFs, and responses to requests for timestamps.
    ("appearance", Words::new("签名外观无法绘制", "the appearance cannot be drawn")),
    ("dynamic_form", Words::new("文件为动态 XFA 表单", "the document is a dynamic XFA form")),
    ("field_name", Words::new("签名域名称不合规则", "the name of the field breaks the rule")),
    ("field_signed", Words::new("签名域已被签署", "the field is signed already")),
    ("field_taken", Words::new("签名域名称已被占用", "the name of the field is taken")),
    ("field_unknown", Words::new("没有该签名域", "there is no such field")),
    ("keyword_not_found", Words::new("页面中没有该关键字", "the keyword is not on the pages")),
    (
        "nonce_mismatch",
        Words::new("时间戳未包含请求的随机数", "the timestamp does not repeat the request's nonce"),
    ),
    (
        "not_permitted",
        Words::new("文件的认证或锁定不允许", "the document's certification or a lock forbids it"),
    ),
    ("off_page", Words::new("位置超出页面", "the place reaches over the page's edge")),
    ("page_unknown", Words::new("没有该页", "there is no such page")),
    ("plan", Words::new("签名方案自相矛盾", "the plan contradicts itself")),
    (
        "policy_mismatch",
        Words::new("时间戳策略与请求不符", "the timestamp has another policy than was asked for"),
    ),
    ("room", Words::new("预留的签名空间不足", "too little room was left for the signature")),
    ("seam_needs_pages", Words::new("骑缝章至少需要两页", "a cross-page seal needs two pages")),
    ("seed_value", Words::new("签名域要求其他签名方式", "the field asks for another way of signing")),
];
