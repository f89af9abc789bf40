//! In what form an answer leaves: JSON, or, where `Accept` prefers it, the report for people as PDF or text.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use formats::report::{Item, Report, ReportError};
use formats::words::Language;
use time::OffsetDateTime;

use crate::problem::Problem;
use crate::state::Gateway;

/// The header that has the verdict for those who did not ask for JSON.
const VERDICT: &str = "x-verdict";

/// A form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Text,
    Pdf,
}

/// The form and language that `Accept` and `Accept-Language` prefer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rendition {
    pub(crate) form: Form,
    language: Language,
}

impl<S: Send + Sync> FromRequestParts<S> for Rendition {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::preferred(&parts.headers))
    }
}

impl Rendition {
    fn preferred(headers: &HeaderMap) -> Self {
        const FORMS: [(&str, Form); 3] =
            [("application/json", Form::Json), ("application/pdf", Form::Pdf), ("text/plain", Form::Text)];
        const LANGUAGES: [(&str, Language); 2] = [("zh", Language::Zh), ("en", Language::En)];
        let any = |range: &str, form: &str| {
            range == "*/*"
                || range.strip_suffix("/*").is_some_and(|kind| form.split('/').next() == Some(kind))
        };
        let form = best(headers, &header::ACCEPT, &FORMS, any).unwrap_or(Form::Json);
        let any = |range: &str, language: &str| range == "*" || range.split('-').next() == Some(language);
        let language = best(headers, &header::ACCEPT_LANGUAGE, &LANGUAGES, any).unwrap_or_default();
        Self { form, language }
    }

    /// The report on one thing, in a form for people. It is put together and set where computing is done, not where
    /// requests are served.
    pub(crate) async fn report(
        self,
        gateway: &Gateway,
        made_at: OffsetDateTime,
        item: impl FnOnce() -> Item + Send + 'static,
    ) -> Result<Response, Problem> {
        let reference = crate::request_id::current();
        let maker = format!("license-gateway {} · {}", env!("CARGO_PKG_VERSION"), gateway.config.site.name);
        let (Self { form, language }, font) = (self, gateway.font.clone());
        let named = Some(reference.clone());
        let setting = gateway.judging.run(move || -> Result<_, ReportError> {
            let item = item();
            let verdict = item.judgement.verdict;
            let report = Report { language, made_at, maker, reference: named, items: vec![item] };
            let octets = match form {
                Form::Pdf => report.to_pdf(&font)?,
                Form::Text | Form::Json => report.to_text().into_bytes(),
            };
            Ok((verdict, octets))
        });
        let made = setting.await?.await.map_err(|_| Problem::panicked())?;
        let (verdict, octets) = made.map_err(|error| Problem::no_report(&error))?;
        let (media_type, ending) = match form {
            Form::Pdf => ("application/pdf", "pdf"),
            Form::Text | Form::Json => ("text/plain; charset=utf-8", "txt"),
        };
        let mut response = octets.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-language"));
        headers.insert(VERDICT, HeaderValue::from_static(verdict.words().en));
        // A request id is of letters, digits and `._-`.
        if let Ok(name) =
            HeaderValue::from_str(&format!("inline; filename=\"verification-{reference}.{ending}\""))
        {
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }
}

/// The offer that a header weighs highest (RFC 9110, 12.4.2); among equals the first. None where it admits none.
fn best<T: Copy>(
    headers: &HeaderMap,
    name: &HeaderName,
    offers: &[(&str, T)],
    covers: impl Fn(&str, &str) -> bool,
) -> Option<T> {
    let text =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let ranges = text.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next()?.to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        Some((range, weight.unwrap_or(0.0_f32)))
    });
    let ranges: Vec<_> = ranges.collect();
    let weight = |offer: &str| {
        // What names the offer counts before what covers it.
        let exact = ranges.iter().find(|(range, _)| range == offer);
        let wide = || ranges.iter().find(|(range, _)| covers(range, offer));
        exact.or_else(wide).map_or(0.0, |(_, weight)| *weight)
    };
    let mut chosen = None;
    for (offer, value) in offers {
        let weight = weight(offer);
        if weight > chosen.map_or(0.0, |(_, highest)| highest) {
            chosen = Some((*value, weight));
        }
    }
    chosen.map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(accept: &str, language: &str) -> (Form, Language) {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::ACCEPT, accept), (header::ACCEPT_LANGUAGE, language)] {
            if !value.is_empty() {
                headers.insert(name, value.parse().unwrap());
            }
        }
        let rendition = Rendition::preferred(&headers);
        (rendition.form, rendition.language)
    }

    #[test]
    fn json_is_the_answer_unless_another_form_is_preferred() {
        for accept in [
            "",
            "*/*",
            "application/*",
            "image/png",
            "application/json, application/pdf",
            "application/pdf;q=0.5, application/json",
            "text/html, application/xhtml+xml, */*;q=0.8",
            "application/pdf;q=0",
            "application/pdf;q=nonsense",
        ] {
            assert_eq!(preferred(accept, "").0, Form::Json, "{accept}");
        }
        for accept in [
            "application/pdf",
            "Application/PDF, application/problem+json",
            "application/json;q=0.1, application/pdf",
        ] {
            assert_eq!(preferred(accept, "").0, Form::Pdf, "{accept}");
        }
        for accept in ["text/plain", "text/*", "application/json;q=0.2, text/plain; charset=utf-8"] {
            assert_eq!(preferred(accept, "").0, Form::Text, "{accept}");
        }
    }

    #[test]
    fn chinese_is_the_language_unless_english_is_preferred() {
        for language in ["", "*", "de", "zh", "zh-CN,zh;q=0.9,en;q=0.8", "en;q=0.1, zh-Hans"] {
            assert_eq!(preferred("", language).1, Language::Zh, "{language}");
        }
        for language in ["en", "en-US,en;q=0.9", "de, en;q=0.5"] {
            assert_eq!(preferred("", language).1, Language::En, "{language}");
        }
    }
}
