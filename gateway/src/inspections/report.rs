//! The report on an inspection (《日常巡检报告》): put together from what was kept, so that it says the same whenever it is set; as
//! PDF, which a key of the devices signs when the inspection ends, and as HTML.

use std::sync::Arc;

use config::{AppId, OwnName};
use formats::Algorithm;
use formats::cms::Family;
use formats::inspection_report::{CheckGroup, Grade, InspectionReport, ReportedCheck};
use formats::pdf::sign::{Certification, SignaturePlan, SubFilter};
use formats::report::Row;
use formats::scheme::SignatureScheme;
use formats::words::{Language, Words};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use signing::{Caller, Level, SignatureOrder, StampOrder, StampSigner, StampSubject};
use store::{Inspection, Occasion};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::catalogue::{self, Group};
use super::{Making, Results};
use crate::error::with_causes;
use crate::stamps::make::{CODE_LENGTH, number, random};
use crate::state::Gateway;

/// Where what to do about each check is written down.
pub(super) const GUIDE: &str = "docs/operations.md#inspections";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;\
    background:#fff}h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.1rem;margin-top:1.6rem}.dim{color:#5a5f66}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .5rem;\
    border-bottom:1px solid #d9dce0;overflow-wrap:anywhere}th{font-weight:600}td.grade{white-space:nowrap;font-weight:600}\
    .ok{color:#136f3a}.unmeasured{color:#5a5f66}.attention{color:#8a5a00}.abnormal{color:#a61e22}small{color:#5a5f66}\
    @media print{body{margin:0;max-width:none}}";

/// What an inspection is called by its occasion.
pub(super) fn title(occasion: Occasion) -> Words {
    match occasion {
        Occasion::Daily => Words::new("日常巡检报告", "Daily inspection report"),
        Occasion::Weekly => Words::new("周巡检报告", "Weekly inspection report"),
        Occasion::Quarterly => Words::new("季度巡检报告", "Quarterly inspection report"),
        Occasion::KeyMoment => Words::new("重要时刻保障巡检报告", "Inspection report before a key moment"),
        Occasion::OnDemand => Words::new("巡检报告", "Inspection report"),
    }
}

/// What stands above the findings.
struct Head<'a> {
    id: &'a str,
    occasion: Occasion,
    slot: Option<&'a str>,
    replica: &'a str,
    actor: &'a str,
    reason: &'a str,
    began: OffsetDateTime,
    ended: OffsetDateTime,
}

fn moment(at: OffsetDateTime, offset: UtcOffset) -> String {
    let form = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory]:[offset_minute]"
    );
    at.to_offset(offset).format(&form).unwrap_or_default()
}

fn compose(gateway: &Gateway, head: &Head<'_>, results: &Results, language: Language) -> InspectionReport {
    let offset = gateway.config.site.utc_offset;
    let row = |zh, en, value: String| Row::new(Words::new(zh, en), value);
    let orders: u32 = results.work.device_orders.values().sum();
    let most = results.work.device_orders.values().max().copied().unwrap_or_default();
    let due = head.slot.map(|slot| row("计划", "schedule", format!("{} {slot}", head.occasion)));
    let rows = [
        Some(row("编号", "number", head.id.to_owned())),
        Some(row("站点", "site", format!("{} · {}", gateway.config.site.name, head.replica))),
        due,
        Some(row("开始", "began", moment(head.began, offset))),
        Some(row("结束", "ended", moment(head.ended, offset))),
        Some(row("发起", "asked for by", head.actor.to_owned())),
        Some(row("事由", "reason", head.reason.to_owned())),
        Some(row("程序", "made by", format!("license-gateway {}", env!("CARGO_PKG_VERSION")))),
        Some(row(
            "对设备的开销",
            "cost to the devices",
            format!(
                "{orders} 次运算 operations; {most} + 1（本报告的签名 signature of this report）≤ {} / 设备 device",
                super::devices::MOST_ORDERS
            ),
        )),
    ];
    let group = |group: Group| {
        let of_group = |finding: &&super::Finding| {
            catalogue::kind(&finding.code).is_some_and(|kind| kind.group == group)
        };
        let checks = results.findings.iter().filter(of_group).map(check).collect::<Vec<_>>();
        (!checks.is_empty()).then(|| CheckGroup { heading: group.words(), checks })
    };
    InspectionReport {
        language,
        made_at: head.ended,
        title: title(head.occasion),
        number: head.id.to_owned(),
        grade: results.grade(),
        rows: rows.into_iter().flatten().collect(),
        groups: Group::ALL.into_iter().filter_map(group).collect(),
    }
}

fn check(finding: &super::Finding) -> ReportedCheck {
    let kind = catalogue::kind(&finding.code);
    let advice = kind.map(|kind| kind.advice).filter(|_| finding.grade >= Grade::Attention);
    ReportedCheck {
        code: finding.code.clone(),
        what: kind.map_or(Words::new("其他", "other"), |kind| kind.what),
        subject: finding.subject.clone(),
        grade: finding.grade,
        measured: finding.measured.clone(),
        threshold: kind.map(|kind| kind.limit.words()).unwrap_or_default(),
        evidence: finding.evidence.clone(),
        advice,
    }
}

/// The report as PDF, signed where the site has a key for it; the number of its stamp, or why it has none.
pub(super) async fn signed(
    gateway: &Gateway,
    making: &Making,
    results: &Results,
    at: OffsetDateTime,
) -> (Option<Vec<u8>>, Result<String, String>) {
    let order = &making.order;
    let head = Head {
        id: &making.id,
        occasion: order.occasion,
        slot: order.slot.as_deref(),
        replica: &gateway.config.site.replica,
        actor: &order.actor,
        reason: &order.reason,
        began: making.began,
        ended: at,
    };
    let (report, font) = (compose(gateway, &head, results, Language::Zh), gateway.font.clone());
    // Set where computing is done; the places there are for requests, which an inspection is none of.
    let set = match tokio::task::spawn_blocking(move || report.to_pdf(&font)).await {
        Ok(Ok(pdf)) => pdf,
        Ok(Err(error)) => return (None, Err(error.to_string())),
        Err(_) => return (None, Err("setting the report failed".to_owned())),
    };
    match stamp(gateway, making, set.clone(), at).await {
        Ok((stamp, document)) => (Some(document), Ok(stamp)),
        Err(why) => (Some(set), Err(why)),
    }
}

async fn stamp(
    gateway: &Gateway,
    making: &Making,
    pdf: Vec<u8>,
    at: OffsetDateTime,
) -> Result<(String, Vec<u8>), String> {
    let name = gateway.config.inspections.key.clone();
    let name = name.ok_or_else(|| "inspections.key is not set".to_owned())?;
    let keys = gateway.desk.keys();
    let key = keys.service_key(&name).map_err(|error| with_causes(&error))?;
    let algorithm = Algorithm::ALL.into_iter().find(|known| key.shown().public_key.supports(*known));
    let algorithm = algorithm.ok_or_else(|| format!("{name} signs by no known algorithm"))?;
    let filter = if algorithm == Algorithm::Sm2Sm3 { SubFilter::Pkcs7 } else { SubFilter::Cades };
    let plan = SignaturePlan {
        time: Some(at),
        signer: Some(gateway.config.site.name.clone()),
        reason: Some(title(making.order.occasion).zh.to_owned()),
        certification: Some(Certification::NoChanges),
        ..SignaturePlan::new(filter, SignatureScheme::from(algorithm).hash())
    };
    let prepare = move || StampSubject::pdf(pdf.into(), &plan, None).map_err(|error| error.to_string());
    let subject = tokio::task::spawn_blocking(prepare).await.map_err(|error| error.to_string())??;
    let caller = Caller {
        app: AppId::of(OwnName::Gateway),
        request_id: making.order.request_id.clone(),
        at,
        deadline: None,
        signed: Arc::default(),
    };
    let order = StampOrder {
        id: number(at),
        check_code: random(CODE_LENGTH),
        subject,
        first: SignatureOrder {
            signer: StampSigner::Key(name),
            algorithm,
            family: Family::Rfc5652,
            level: Level::B,
            sources: None,
        },
        further: Vec::new(),
        template: None,
    };
    let id = order.id.clone();
    let stamped = gateway.desk.stamp(&caller, order, |receipt| Ok(receipt.document.to_vec()), None).await;
    let (document, receipt, _) = stamped.map_err(|unstamped| with_causes(&unstamped.error))?;
    gateway.metrics.signed(receipt.device.as_str(), algorithm.name());
    Ok((id, document))
}

/// The report as a page.
pub(super) fn page(
    gateway: &Gateway,
    inspection: &Inspection,
    results: &Results,
    language: Language,
) -> Markup {
    let head = Head {
        id: &inspection.id,
        occasion: inspection.occasion,
        slot: inspection.slot.as_deref(),
        replica: &inspection.replica,
        actor: &inspection.actor,
        reason: &inspection.reason,
        began: inspection.began_at,
        ended: inspection.ended_at.unwrap_or(inspection.began_at),
    };
    let report = compose(gateway, &head, results, language);
    let say = |words: Words| words.said_in(language);
    let limit = |check: &ReportedCheck| match language {
        Language::Zh => check.threshold[0].clone(),
        Language::En => check.threshold[1].clone(),
    };
    let column = |zh, en| Words::new(zh, en).said_in(language);
    html! {
        (DOCTYPE)
        html lang=(column("zh-CN", "en")) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (say(report.title)) " " (report.number) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (say(report.title)) }
                p.dim { (report.title.said_beside(language)) }
                p {
                    strong class=(report.grade.as_str()) { (say(report.grade.words())) }
                    @for grade in Grade::ALL { " · " (say(grade.words())) " " (report.count(grade)) }
                }
                table { tbody {
                    @for row in &report.rows { tr { th scope="row" { (say(row.label)) } td { (row.value) } } }
                } }
                @for group in &report.groups {
                    h2 { (say(group.heading)) }
                    table {
                        thead { tr {
                            th scope="col" { (column("结论", "verdict")) }
                            th scope="col" { (column("检查项", "check")) }
                            th scope="col" { (column("实测", "measured")) }
                            th scope="col" { (column("阈值", "threshold")) }
                        } }
                        tbody {
                            @for check in &group.checks { tr {
                                td class=(format!("grade {}", check.grade.as_str())) { (say(check.grade.words())) }
                                td {
                                    (say(check.what))
                                    @if !check.subject.is_empty() { " [" (check.subject) "]" }
                                    br; small { code { (check.code) } }
                                }
                                td {
                                    (check.measured)
                                    @if !check.evidence.is_empty() { br; small { (check.evidence) } }
                                    @if let Some(advice) = check.advice {
                                        br; (column("处置建议：", "What to do: ")) (say(advice))
                                    }
                                }
                                td { (limit(check)) }
                            } }
                        }
                    }
                }
                p.dim { (column("各项的说明：", "What each means: ")) (GUIDE) }
            }
        }
    }
}
