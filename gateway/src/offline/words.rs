//! Outcomes in words, Chinese and English.

use formats::visible::visible;
use formats::words::{self, Language, Words};
use formats::{Finding, Verdict};
use serde_json::{Value, json};

use super::Outcome;

/// One line for the verdict, one for each finding.
pub(super) fn describe(outcome: &Outcome, language: Language) -> String {
    let (name, kind) = (visible(&outcome.name), outcome.kind.1.said_in(language));
    let verdict = outcome.judgement.verdict.words().said_in(language);
    let mut text = match language {
        Language::Zh => format!("{name}：{verdict}（{kind}）\n"),
        Language::En => format!("{name}: {verdict} ({kind})\n"),
    };
    for finding in &outcome.judgement.findings {
        text.push_str(&line(finding, language));
    }
    let mut say = |label: Words, value: &str| {
        let (label, value) = (label.said_in(language), visible(value));
        text.push_str(&match language {
            Language::Zh => format!("  {label}：{value}\n"),
            Language::En => format!("  {label}: {value}\n"),
        });
    };
    for member in ["license", "certificate", "request"] {
        if let Some(subject) = outcome.more.get(member).and_then(|part| part["subject"].as_str()) {
            say(Words::new("主体", "subject"), subject);
        }
    }
    if let Some(proof) = outcome.more.get("proof").filter(|proof| proof.is_object()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        say(Words::new("条目", "item"), &text(&proof["item"]["id"]));
        if proof["item"]["enterprise"].is_string() {
            say(Words::new("所为企业", "for the enterprise"), &text(&proof["item"]["enterprise"]));
        }
        let place = proof["index"].as_u64().unwrap_or_default().saturating_add(1);
        say(Words::new("位置", "place"), &format!("{place} / {}", proof["size"]));
    }
    let file = outcome.more.get("license_file");
    for name in file.and_then(|file| file["sealed_by"].as_array()).into_iter().flatten() {
        say(Words::new("签章", "sealed by"), name.as_str().unwrap_or_default());
    }
    for signer in outcome.more.get("signers").and_then(|signers| signers.as_array()).into_iter().flatten() {
        if let Some(subject) = signer["subject"].as_str() {
            say(Words::new("签名人", "signer"), subject);
        }
    }
    // Its site is its own word; the certificate is somebody else's.
    if let Some(manifest) = outcome.more.get("manifest_signature") {
        for signer in manifest["signers"].as_array().into_iter().flatten() {
            if let Some(subject) = signer["subject"].as_str() {
                say(Words::new("清单签名人", "the manifest's signer"), subject);
            }
        }
    }
    if let Some(site) = outcome.more.get("manifest").and_then(|manifest| manifest["site"].as_str()) {
        say(Words::new("清单自称的站点", "site, as the manifest says"), site);
    }
    if let Some(time) = outcome.more.get("timestamp").and_then(|stamp| stamp["time"].as_str()) {
        say(Words::new("时间", "time"), time);
    }
    if let Some(meant) = outcome.more.get("normalised").and_then(|meant| meant.as_str()) {
        say(Words::new("可能是", "perhaps meant"), meant);
    }
    if let Some(evidence) = outcome.more.get("evidence") {
        text.push_str(&of_evidence(evidence, language));
    }
    text
}

/// What the evidence proves, or why it proves nothing.
fn of_evidence(evidence: &Value, language: Language) -> String {
    let verdicts = [Verdict::Valid, Verdict::Invalid, Verdict::Indeterminate];
    let verdict = verdicts.into_iter().find(|verdict| json!(verdict) == evidence["verdict"]);
    let verdict = verdict.map(|verdict| verdict.words().said_in(language)).unwrap_or_default();
    let proven = evidence["proven_at"].as_str().map(visible);
    let mut text = match (language, proven) {
        (Language::Zh, Some(at)) => format!("  证据：{verdict}，按 {at} 时判断\n"),
        (Language::Zh, None) => format!("  证据：{verdict}\n"),
        (Language::En, Some(at)) => format!("  evidence: {verdict}, judged as of {at}\n"),
        (Language::En, None) => format!("  evidence: {verdict}\n"),
    };
    for finding in evidence["findings"].as_array().into_iter().flatten() {
        let (code, detail) = (&finding["code"], &finding["detail"]);
        let (code, detail) = (code.as_str().unwrap_or_default(), detail.as_str().unwrap_or_default());
        text.push_str(&said(code, detail, language));
    }
    text
}

fn line(finding: &Finding, language: Language) -> String {
    said(finding.code, &finding.detail, language)
}

fn said(code: &str, detail: &str, language: Language) -> String {
    let words = words::finding(code).map_or(code, |words| words.said_in(language));
    let detail = visible(detail);
    match language {
        Language::Zh => format!("  [{code}] {words}：{detail}\n"),
        Language::En => format!("  [{code}] {words}: {detail}\n"),
    }
}
