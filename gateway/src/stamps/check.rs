//! `GET /verify/{code}`: what is known of a stamp, for whoever holds the document.

use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use formats::{Certificate, FormatError};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::{Deserialize, Serialize};
use store::{RecordedStamp, StampMandate, StampSignature};
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::list::ListHeadItem;
use super::make::{CODE_LENGTH, grouped, typed};
use crate::audit::{InclusionResponse, proof_of};
use crate::auth::bucket::Pace;
use crate::auth::{Peer, throttle};
use crate::body::{QueryOf, Segment};
use crate::evidence::{self, show::EvidenceState};
use crate::problem::{Problem, ProblemDocument};
use crate::query_certificates::{Certified, certified};
use crate::state::Gateway;

const STYLE: &str = "body{font:1rem/1.6 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;\
    color:#1a1a1a;background:#fff}h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:1.6rem}dl{margin:0}dt{font-weight:600;margin-top:.8rem}\
    dd{margin:0;overflow-wrap:anywhere}code{font-size:.95em}details{margin-top:1.2rem}\
    @media(prefers-color-scheme:dark){body{color:#eee;background:#161616}a{color:#8ab4f8}}";

/// Fields of the page: it runs nothing, loads nothing, and its address, which holds the code, goes nowhere.
const FIELDS: [(HeaderName, &str); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "private, no-store"),
];

/// How often one source may look stamps up: a hall of people behind one address, but nobody who tries codes.
const CHECKS: Pace = Pace { rate: 10.0, burst: 60.0 };

/// What the page is wanted in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckQuery {
    /// `zh` or `en`.
    lang: Option<String>,
}

/// What is known of a stamp.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckResponse {
    /// Its number.
    stamp_id: String,
    /// `pdf`, `ofd` or `digest`.
    format: String,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    level: String,
    /// When it was made, RFC 3339.
    at: String,
    /// Where the signature is: the name of its field in a PDF, its part in an OFD package.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Whose key signed, as the certificate has it.
    signer: StampSignerItem,
    /// The enterprise in whose name it was made, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    enterprise: Option<EnterpriseItem>,
    /// Each of several signatures, in order; `level`, `field`, `signer` and `enterprise` are the first one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<CheckedSignature>,
    /// SM3 of the stamped document, hexadecimal: a document with another one was changed since, if only by further
    /// signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_sm3: Option<String>,
    /// The digest that was stamped, hexadecimal: SM3 of the content if the signer's key is one of SM2, else SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// SM3 of the CMS over that digest, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_sm3: Option<String>,
    /// The list that was stamped; `digest` is that of its head. An item of it is shown by its proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<ListHeadItem>,
    /// Octets of the stamped document, or of the CMS.
    octets: u64,
    /// What a query certificate (打印查询证明) says; absent of other documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    certified: Option<Certified>,
    /// What it will be verified with when its certificates are no more (`/verify/{code}/evidence`); absent before that is
    /// taken, and where the site keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceState>,
    /// That the audit log has the stamp (RFC 9162); null within the second before a checkpoint covers it.
    proof: Option<InclusionResponse>,
}

/// One of several signatures of a stamp.
#[derive(Serialize, ToSchema)]
struct CheckedSignature {
    /// Where it is: the name of its field in a PDF, its part in an OFD package.
    field: String,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    level: String,
    /// Whose key signed, as the certificate has it.
    signer: StampSignerItem,
    /// The enterprise in whose name it was made, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    enterprise: Option<EnterpriseItem>,
}

/// An enterprise that signed by a standing mandate.
#[derive(Serialize, ToSchema)]
struct EnterpriseItem {
    /// Its name.
    name: String,
    /// Its unified social credit code.
    uscc: String,
}

/// A signer's certificate.
#[derive(Serialize, ToSchema)]
struct StampSignerItem {
    /// Distinguished name, RFC 4514.
    subject: String,
    /// Distinguished name, RFC 4514.
    issuer: String,
    /// Hexadecimal.
    serial: String,
    /// The certificate, PEM.
    certificate: String,
}

impl EnterpriseItem {
    fn new(mandate: StampMandate) -> Self {
        Self { name: mandate.name, uscc: mandate.enterprise }
    }
}

impl StampSignerItem {
    fn new(certificate: &[u8]) -> Result<Self, FormatError> {
        let certificate = Certificate::from_der(certificate)?;
        Ok(Self {
            subject: certificate.subject(),
            issuer: certificate.issuer(),
            serial: certificate.serial_hex(),
            certificate: certificate.to_pem(),
        })
    }
}

impl CheckedSignature {
    fn new(signature: StampSignature) -> Result<Self, FormatError> {
        let StampSignature { certificate, field, level, mandate, .. } = signature;
        let signer = StampSignerItem::new(&certificate)?;
        Ok(Self { field, level, signer, enterprise: mandate.map(EnterpriseItem::new) })
    }
}

/// What is known of a stamp: HTML for people, or JSON by `Accept`. No credentials are needed; the code is one.
#[utoipa::path(
    get, path = "/verify/{code}", tag = "stamps",
    params(
        ("code" = String, Path, description = "the check code, with or without its hyphens"),
        ("lang" = Option<String>, Query, description = "`zh` or `en`; by `Accept-Language` if absent"),
    ),
    responses(
        (status = 200, description = "the stamp", content((CheckResponse = "application/json"), (String = "text/html"))),
        (status = "4XX", description = "refused; `unknown_stamp` for a code that no stamp has", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_check(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Segment(code): Segment,
    QueryOf(query): QueryOf<CheckQuery>,
) -> Result<Response, Problem> {
    let RecordedStamp { stamp, log, audit_index } = stamp_of_code(&gateway, &peer, &code).await?;
    let code = stamp.check_code.clone();
    let evidence = evidence::show::state(&gateway, &stamp.id).await?;
    let proof = proof_of(&gateway, log, audit_index).await?;
    let certified = certified(&gateway, &stamp.id).await?;
    let broken = |_| Problem::stamp_register_broken(&stamp.id);
    let signer = StampSignerItem::new(&stamp.certificate).map_err(broken)?;
    let signatures = stamp.signatures.into_iter().map(CheckedSignature::new);
    let signatures = signatures.collect::<Result<_, _>>().map_err(broken)?;
    let result = hex::encode(stamp.result_digest);
    let is_digest = stamp.format == "digest";
    let known = CheckResponse {
        at: stamp.at.format(&Rfc3339).unwrap_or_default(),
        format: stamp.format,
        level: stamp.level,
        field: (!is_digest).then_some(stamp.field),
        signer,
        enterprise: stamp.mandate.map(EnterpriseItem::new),
        signatures,
        document_sm3: (!is_digest).then(|| result.clone()),
        digest: is_digest.then(|| hex::encode(stamp.input_digest)),
        signature_sm3: is_digest.then_some(result),
        list: stamp.list.map(ListHeadItem::new),
        octets: stamp.octets,
        certified,
        evidence,
        proof,
        stamp_id: stamp.id,
    };
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if said(header::ACCEPT).contains("application/json") {
        return Ok((FIELDS, Json(known)).into_response());
    }
    let english = match query.lang.as_deref() {
        Some(lang) => lang == "en",
        None => said(header::ACCEPT_LANGUAGE).starts_with("en"),
    };
    Ok((FIELDS, Html(page(&known, &grouped(&code), english).into_string())).into_response())
}

/// The stamp of a check code, as often as its source may ask.
///
/// # Errors
/// There is none, or its source asked too often.
pub(crate) async fn stamp_of_code(
    gateway: &Gateway,
    peer: &Peer,
    code: &str,
) -> Result<RecordedStamp, Problem> {
    if let Peer::Network(address) = peer
        && let Some(wait) =
            gateway.callers.checks.take(throttle::source(address.ip()), CHECKS, Instant::now())
    {
        return Err(Problem::too_many_checks(wait));
    }
    let code = typed(code, CODE_LENGTH).ok_or_else(Problem::unknown_stamp)?;
    // The register shows only what the log vouches for.
    let found = gateway.store.stamp_of_code(&code).await.map_err(|error| Problem::from_stamps(&error))?;
    found.ok_or_else(Problem::unknown_stamp)
}

fn page(known: &CheckResponse, code: &str, english: bool) -> Markup {
    let say = |zh: &'static str, en: &'static str| if english { en } else { zh };
    let proved = match &known.proof {
        Some(proof) => html! {
            (say("审计日志", "audit log")) " " code { (proof.log()) } ", "
            (say("第", "entry ")) (proof.index()) (say("条，已由检查点证明", ", proved by a checkpoint"))
        },
        None => {
            html! { (say("已入审计日志，一秒内可证明", "in the audit log; can be proved within a second")) }
        }
    };
    html! {
        (DOCTYPE)
        html lang=(say("zh", "en")) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (say("签章查验", "Stamp check")) " " (known.stamp_id) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (say("签章查验", "Stamp check")) }
                    p {
                        (say("本网关签过以下文档或摘要。", "This gateway stamped the following document or digest. "))
                        (say("请比对您手中文件的 SM3 摘要；摘要不同说明文件此后有改动（例如后续签章）。",
                            "Compare the SM3 digest of the file you hold: another one means that it was changed since, if only by further signatures."))
                    }
                    dl {
                        dt { (say("签章编号", "Number")) } dd { (known.stamp_id) }
                        dt { (say("查验码", "Check code")) } dd { code { (code) } }
                        dt { (say("签章时间（UTC）", "Time (UTC)")) } dd { time datetime=(known.at) { (known.at) } }
                        @if known.signatures.is_empty() {
                            (signature(&known.signer, known.enterprise.as_ref(), &known.level, english))
                        }
                        @if let Some(digest) = &known.document_sm3 {
                            dt { (say("文档 SM3 摘要", "SM3 of the document")) } dd { code { (digest) } }
                            dt { (say("文档大小（字节）", "Octets")) } dd { (known.octets) }
                        }
                        @if let (Some(digest), Some(signature)) = (&known.digest, &known.signature_sm3) {
                            dt { (say("所签摘要（SM2 密钥为 SM3，其余为 SHA-256）", "The digest (SM3 with a key of SM2, else SHA-256)")) }
                            dd { code { (digest) } }
                            dt { (say("签名（CMS）的 SM3 摘要", "SM3 of the signature (CMS)")) } dd { code { (signature) } }
                        }
                        @if let Some(list) = &known.list {
                            dt { (say("清单条目数", "Items of the list")) } dd { (list.size) }
                            dt { (say("清单树根", "Root of the list")) } dd { code { (list.root) } }
                        }
                        dt { (say("存证", "Record")) } dd { (proved) }
                        @if known.evidence.is_some() {
                            dt { (say("长期验证", "Long-term verification")) }
                            dd {
                                a href=(format!("/verify/{code}/evidence")) { (say("下载证据包", "Evidence package")) }
                                (say("：证书到期或吊销列表不再可得时，凭它仍可验证。",
                                    ": with it the stamp can be verified when certificates have expired and lists are gone."))
                            }
                        }
                    }
                    @for (one, n) in known.signatures.iter().zip(1..) {
                        section {
                            h2 { (say("签名", "Signature")) " " (n) " / " (known.signatures.len()) }
                            dl { (signature(&one.signer, one.enterprise.as_ref(), &one.level, english)) }
                        }
                    }
                    @if let Some(certified) = &known.certified {
                        (certificate(certified, english))
                    }
                    details {
                        summary { (say("如何自行核对", "How to check it yourself")) }
                        p { code { "openssl dgst -sm3 FILE" } }
                        p {
                            (say("签名本身可用 PDF 或 OFD 阅读器或 license-gateway verify 验证；本页的 JSON 形式（Accept: application/json）含审计日志的包含证明。",
                                "A reader of PDF or OFD, or license-gateway verify, judges the signature itself; this page as JSON (Accept: application/json) holds the proof that the audit log has it."))
                        }
                    }
                    p { a href="?lang=zh" lang="zh" { "中文" } " · " a href="?lang=en" lang="en" { "English" } }
                }
            }
        }
    }
}

/// Who made a signature.
fn signature(
    signer: &StampSignerItem,
    enterprise: Option<&EnterpriseItem>,
    level: &str,
    english: bool,
) -> Markup {
    let say = |zh: &'static str, en: &'static str| if english { en } else { zh };
    html! {
        @if let Some(enterprise) = enterprise {
            dt { (say("签名企业", "Signed for the enterprise")) }
            dd { (enterprise.name) " (" code { (enterprise.uscc) } ")" }
        }
        dt { (say("签名人", "Signer")) } dd { (signer.subject) }
        dt { (say("证书颁发者", "Issuer")) } dd { (signer.issuer) }
        dt { (say("证书序列号", "Serial number")) } dd { code { (signer.serial) } }
        dt { (say("签名级别", "Level")) } dd { (level) }
    }
}

/// What a query certificate says: whoever holds it on paper compares.
fn certificate(certified: &Certified, english: bool) -> Markup {
    let say = |zh: &'static str, en: &'static str| if english { en } else { zh };
    html! {
        section {
            h2 { (say("查询证明所载内容", "What the query certificate says")) }
            p {
                (say("请逐项比对手中的证明；不一致的，以本页为准。此后的变更不在其内。",
                    "Compare each with the certificate you hold; where they differ, this page counts. Later changes are not in it."))
            }
            @if certified.unchanged == Some(false) {
                p {
                    strong {
                        (say("登记信息此后已变更：本证明所载内容已不是现状，不得再作为现状使用。",
                            "What is registered has changed since: the certificate does not say how things are now, and is not to be used as if it did."))
                    }
                }
            }
            @match &certified.facts {
                Some(facts) => dl {
                    @for fact in facts { dt { (fact.label) } dd { (fact.value) } }
                },
                None => p { (say("所载内容已过保存期限，仅存其摘要。", "It is not kept any more; its digest is.")) },
            }
            dl {
                dt { (say("快照 SM3 摘要", "SM3 of the snapshot")) } dd { code { (certified.snapshot_sm3) } }
            }
        }
    }
}
