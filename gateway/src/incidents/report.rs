//! The report on a closed incident (事件报告), put together from its steps, so that it says the same whenever it is shown.

use formats::words::{Language, Words};
use maintenance::{Clock, Does, Standing, Way};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::{Known, view};
use crate::state::Gateway;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;\
    background:#fff}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:1.6rem}table{border-collapse:collapse;width:100%}\
    th,td{text-align:left;vertical-align:top;padding:.35rem .5rem;border-bottom:1px solid #d9dce0;overflow-wrap:anywhere}\
    th{font-weight:600;width:11rem}.late{color:#a61e22;font-weight:600}@media print{body{margin:0;max-width:none}}";

/// The page; none of an incident that is not closed.
pub(super) fn page(gateway: &Gateway, known: &Known, language: Language) -> Option<Markup> {
    let closed = known.steps.iter().rev().find_map(|step| match &step.does {
        Does::Close { report, release } => Some((report, release)),
        _ => None,
    });
    let (report, release) = closed?;
    let say = |zh: &'static str, en: &'static str| Words::new(zh, en).said_in(language);
    let moment = |at: OffsetDateTime| said(at, gateway.config.site.utc_offset);
    let (title, ..) = view::accepted(known);
    let incident = &known.incident;
    let fields = [
        (say("事件描述", "What happened"), &report.description),
        (say("事件来源", "Where it came from"), &report.origin),
        (say("原因", "Cause"), &report.cause),
        (say("解决办法", "What was done"), &report.solution),
        (say("责任人", "Who answers for it"), &report.responsible),
        (say("改进措施", "What will be otherwise"), &report.improvement),
    ];
    let clocks = [
        (say("响应", "Response"), incident.response(incident.accepted_at)),
        (say("解决", "Resolution"), incident.resolution(incident.accepted_at)),
    ];
    Some(html! {
        (DOCTYPE)
        html lang=(say("zh", "en")) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (say("事件报告", "Incident report")) " " (known.row.id) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { (say("事件报告", "Incident report")) }
                table {
                    tr { th { (say("编号", "Number")) } td { (known.row.id) } }
                    tr { th { (say("标题", "Title")) } td { (title) } }
                    tr { th { (say("系统", "System")) } td { (system(&known.row.system).said_in(language)) } }
                    tr { th { (say("级别", "Level")) } td { (level(known, language)) } }
                    tr { th { (say("受理时间", "Accepted")) } td { (moment(incident.accepted_at)) } }
                    @if let Some(at) = incident.closed_at {
                        tr { th { (say("闭环时间", "Closed")) } td { (moment(at)) } }
                    }
                    @for (name, clock) in &clocks { (promise(name, clock, language, moment)) }
                }
                h2 { (say("报告", "Report")) }
                table {
                    @for (name, text) in &fields { tr { th { (name) } td { (text) } } }
                    @if let Some(release) = release {
                        tr { th { (say("修复版本", "Release")) } td { (release) } }
                    }
                }
                h2 { (say("处理过程", "Steps")) }
                table {
                    @for step in &known.steps {
                        tr {
                            th { (moment(step.at)) br; (name(&step.does).said_in(language)) }
                            td { (told(&step.does, language)) br; small { (step.actor) } }
                        }
                    }
                }
            } }
        }
    })
}

fn said(at: OffsetDateTime, offset: UtcOffset) -> String {
    let form = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory]:[offset_minute]"
    );
    at.to_offset(offset).format(form).unwrap_or_default()
}

fn promise(
    name: &str,
    clock: &Clock,
    language: Language,
    moment: impl Fn(OffsetDateTime) -> String,
) -> Markup {
    let say = |zh: &'static str, en: &'static str| Words::new(zh, en).said_in(language);
    let is_late = clock.standing == Standing::Late;
    html! {
        tr {
            th { (name) }
            td class=[is_late.then_some("late")] {
                @if let Some(at) = clock.done_at { (moment(at)) " " }
                (if is_late { say("超时", "late") } else { say("按时", "in time") })
                " (" (say("时限", "due")) " " (moment(clock.due)) ")"
            }
        }
    }
}

fn level(known: &Known, language: Language) -> String {
    let words = ["一级", "二级", "三级", "四级"];
    let Some(level) = known.incident.level else { return String::new() };
    let zh = words.get(usize::from(level.number()).saturating_sub(1)).copied().unwrap_or_default();
    match language {
        Language::Zh => zh.to_owned(),
        Language::En => format!("{} ({zh})", level.number()),
    }
}

fn system(word: &str) -> Words {
    match word {
        "e_license" => Words::new("电子营业执照系统", "electronic license system"),
        "verification_front" => Words::new("验证前置系统", "verification front"),
        "stamps" => Words::new("签名戳系统", "stamp system"),
        "library_front" => Words::new("电子营业执照库前置系统", "library front"),
        "devices" => Words::new("服务器密码机", "server HSMs"),
        _ => Words::new("平台", "platform"),
    }
}

fn name(does: &Does) -> Words {
    match does {
        Does::Accept { .. } => Words::new("受理", "Accepted"),
        Does::Register { .. } => Words::new("登记", "Registered"),
        Does::Grade { .. } => Words::new("定级", "Graded"),
        Does::Respond { .. } => Words::new("响应", "Responded"),
        Does::Investigate { .. } => Words::new("排查", "Investigated"),
        Does::Handle { .. } => Words::new("处理", "Handled"),
        Does::Verify { .. } => Words::new("验证", "Verified"),
        Does::Close { .. } => Words::new("闭环", "Closed"),
        Does::Travel { .. } => Words::new("路途", "On the way"),
        Does::Note { .. } => Words::new("备注", "Note"),
    }
}

/// What was said at a step.
fn told(does: &Does, language: Language) -> String {
    let say = |zh: &'static str, en: &'static str| Words::new(zh, en).said_in(language);
    let way = |way: &Way, text: &str| {
        let way = match way {
            Way::Remote => say("远程", "remote"),
            Way::OnSite => say("现场", "on site"),
        };
        format!("[{way}] {text}")
    };
    match does {
        Does::Accept { description, .. } => description.clone(),
        Does::Register { affected } => affected.clone(),
        Does::Grade { level, override_reason, .. } => {
            format!("{} {}", level.number(), override_reason.as_deref().unwrap_or_default())
        }
        Does::Respond { way: how, note } => way(how, note),
        Does::Investigate { way: how, cause } => way(how, cause),
        Does::Handle { way: how, solution } => way(how, solution),
        Does::Verify { passed, how } => {
            let passed = if *passed { say("通过", "passed") } else { say("未通过", "not passed") };
            format!("[{passed}] {how}")
        }
        Does::Close { .. } => String::new(),
        Does::Travel { from, until, reason } => {
            format!("{} – {} {reason}", said(*from, UtcOffset::UTC), said(*until, UtcOffset::UTC))
        }
        Does::Note { text } => text.clone(),
    }
}
