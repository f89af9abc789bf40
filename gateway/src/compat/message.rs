//! Messages of the national front's protocol: `message_header` and `message_content`, all members texts, and the answers to them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use utoipa::ToSchema;

use crate::body::{self, Faults};
use crate::problem::{Fault, Problem};

/// The version of answers to who names none.
const VERSION: &str = "1";
/// China's time of day, in which the protocol writes times.
const CHINA: UtcOffset = match UtcOffset::from_hms(8, 0, 0) {
    Ok(offset) => offset,
    Err(_) => UtcOffset::UTC,
};
/// A signature of SM2 in DER has so many octets.
const SIGNATURE: std::ops::RangeInclusive<usize> = 8..=72;

/// A message, its parts not read yet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    #[schema(value_type = MessageHeader)]
    message_header: Value,
    #[serde(default)]
    #[schema(value_type = MessageContent)]
    message_content: Value,
}

/// Who says what about which.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageHeader {
    /// What the business system calls itself.
    #[schema(example = "SAIC_YWXT_000001")]
    pub(super) syscode: Option<String>,
    /// In a sandbox the app's API key; elsewhere it says nothing.
    pub(super) authcode: Option<String>,
    /// `003`, `004`, `005`, `011` or `901`.
    #[schema(example = "003")]
    pub(super) businesstype: Option<String>,
    /// base64: SM2 signature over the message without this member, DER.
    sign: Option<String>,
    /// `1` or `2`; the answer has the same.
    version: Option<String>,
    /// 授权事项码: the code of the business item.
    pub(super) itemcode: Option<String>,
    /// The system's own number for the business: 12 digits.
    pub(super) bsuniqueid: Option<String>,
}

/// What is asked.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageContent {
    /// `1101`, `1102`; of `011` `1402` to `1406`.
    qrtype: Option<String>,
    /// Of `003` `1` with the image, `0` without; of `005` `5`.
    rettype: Option<String>,
    /// `0` or `1`: the code is the same.
    qrinfotype: Option<String>,
    /// yyyyMMddHHmmssSSS, the time of day in China.
    opertime: Option<String>,
    /// The session; of `005` the code that was read.
    qrid: Option<String>,
    /// 原文: what is to be co-signed, which the phone shows; with `1101`.
    plainvalue: Option<String>,
}

/// A message whose parts are known.
pub(crate) struct Received {
    pub(super) header: MessageHeader,
    pub(super) content: MessageContent,
    /// What `sign` is over.
    pub(super) text: String,
}

impl Message {
    /// The message of a body.
    pub(super) fn read(octets: &[u8]) -> Result<Received, Problem> {
        body::parse::<Self>(octets)?.received()
    }

    /// Its parts. What is not known in them is refused, so that nothing mis-spelt is passed over.
    pub(crate) fn received(self) -> Result<Received, Problem> {
        let message = self;
        let header: MessageHeader = part(&message.message_header, "message_header")?;
        if header.businesstype.as_deref().is_some_and(|kind| !super::BUSINESS_TYPES.contains(&kind)) {
            return Err(Problem::businesstype_unknown());
        }
        let content = match &message.message_content {
            Value::Null => MessageContent::default(),
            content => part(content, "message_content")?,
        };
        let text = signed_text(&message);
        Ok(Received { header, content, text })
    }

    /// Kind and content of a phone's message, which has the members of the native route's request.
    pub(super) fn of_phone(octets: &[u8]) -> Result<(String, Map<String, Value>), Problem> {
        let message: Self = body::parse(octets)?;
        let header: MessageHeader = part(&message.message_header, "message_header")?;
        let kind = header.businesstype.ok_or_else(|| missing("message_header.businesstype"))?;
        match message.message_content {
            Value::Object(content) => Ok((kind, content)),
            _ => Err(Problem::faults(vec![no_object("message_content")])),
        }
    }
}

fn no_object(name: &str) -> Fault {
    Fault::new(name, "invalid_type", "must be an object")
}

pub(super) fn missing(field: &str) -> Problem {
    Problem::faults(vec![Fault::new(field, "missing_field", "is required")])
}

/// A part of a message.
pub(super) fn part<T: DeserializeOwned>(value: &Value, name: &'static str) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(Problem::faults(vec![no_object(name)]));
    }
    // As faults anew: the detail names the fields, too.
    let read = body::parse(value.to_string().as_bytes());
    read.map_err(|problem| Problem::faults(problem.within(name).into_faults()))
}

/// What is signed of a message: itself without `sign`, members in alphabetical order, no blanks.
fn signed_text(message: &Message) -> String {
    let mut header = message.message_header.clone();
    if let Value::Object(members) = &mut header {
        members.remove("sign");
    }
    // Maps of this JSON library are in alphabetical order.
    json!({"message_content": message.message_content, "message_header": header}).to_string()
}

impl Received {
    /// All that can be said of a message by itself.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.kind()?;
        self.syscode()?;
        self.sign();
        self.made_at()?;
        self.version()?;
        self.business()?;
        let content = &self.content;
        content.check_form()?;
        content.qrtype(&["1101", "1102", "1402", "1403", "1404", "1405", "1406"])?;
        content.rettype(&["0", "1", "5"])?;
        content.plainvalue().map(drop)
    }

    pub(super) fn kind(&self) -> Result<&str, Problem> {
        self.header.businesstype.as_deref().ok_or_else(|| missing("message_header.businesstype"))
    }

    pub(super) fn syscode(&self) -> Result<&str, Problem> {
        self.header.syscode.as_deref().ok_or_else(|| missing("message_header.syscode"))
    }

    /// The signature, if what stands in its place can be one. Callers were seen that send a constant.
    pub(super) fn sign(&self) -> Option<Vec<u8>> {
        let octets = STANDARD.decode(self.header.sign.as_deref()?).ok()?;
        (SIGNATURE.contains(&octets.len()) && octets[0] == 0x30).then_some(octets)
    }

    /// When the message was made, if it says so.
    pub(super) fn made_at(&self) -> Result<Option<OffsetDateTime>, Problem> {
        let Some(text) = said(&self.content.opertime) else { return Ok(None) };
        let fault = || {
            let detail = "must be yyyyMMddHHmmssSSS, the time of day in China";
            Problem::faults(vec![Fault::new("message_content.opertime", "invalid_time", detail)])
        };
        read_time(text).map(Some).ok_or_else(fault)
    }

    /// The version in which it is answered.
    pub(super) fn version(&self) -> Result<&'static str, Problem> {
        match said(&self.header.version) {
            None | Some("1") => Ok(VERSION),
            Some("2") => Ok("2"),
            Some(_) => Err(Problem::faults(vec![Fault::new(
                "message_header.version",
                "invalid_value",
                "must be 1 or 2",
            )])),
        }
    }

    /// The business's number.
    pub(super) fn business(&self) -> Result<Option<String>, Problem> {
        let Some(number) = said(&self.header.bsuniqueid) else { return Ok(None) };
        if number.len() == 12 && number.bytes().all(|octet| octet.is_ascii_digit()) {
            return Ok(Some(number.to_owned()));
        }
        let fault = Fault::new("message_header.bsuniqueid", "invalid_value", "must be 12 digits");
        Err(Problem::faults(vec![fault]))
    }
}

/// What stands in a member. Callers send empty texts for what they do not say.
pub(super) fn said(member: &Option<String>) -> Option<&str> {
    member.as_deref().filter(|text| !text.is_empty())
}

impl MessageContent {
    pub(super) fn qrtype(&self, known: &[&'static str]) -> Result<&'static str, Problem> {
        let qrtype = said(&self.qrtype).ok_or_else(|| missing("message_content.qrtype"))?;
        word("qrtype", qrtype, known)
    }

    pub(super) fn rettype(&self, known: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        said(&self.rettype).map(|rettype| word("rettype", rettype, known)).transpose()
    }

    /// Refuses a form of code that there is not.
    pub(super) fn check_form(&self) -> Result<(), Problem> {
        said(&self.qrinfotype).map_or(Ok(()), |form| word("qrinfotype", form, &["0", "1"]).map(drop))
    }

    pub(super) fn qrid(&self) -> Result<&str, Problem> {
        said(&self.qrid).ok_or_else(|| missing("message_content.qrid"))
    }

    /// What is to be co-signed.
    pub(super) fn plainvalue(&self) -> Result<Option<&str>, Problem> {
        let Some(text) = said(&self.plainvalue) else { return Ok(None) };
        let mut faults = Faults::default();
        faults.seen("message_content.plainvalue", Some(text), 500);
        faults.into_result(Some(Some(text)))
    }
}

fn word(field: &str, text: &str, known: &[&'static str]) -> Result<&'static str, Problem> {
    let found = known.iter().find(|word| **word == text).copied();
    found.ok_or_else(|| {
        let detail = format!("must be one of: {}", known.join(", "));
        Problem::faults(vec![Fault::new(format!("message_content.{field}"), "invalid_value", detail)])
    })
}

/// yyyyMMddHHmmssSSS.
fn read_time(text: &str) -> Option<OffsetDateTime> {
    if text.len() != 17 || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u16>().ok();
    let small = |from: usize, to: usize| u8::try_from(number(from, to)?).ok();
    let month = Month::try_from(small(4, 6)?).ok()?;
    let date = Date::from_calendar_date(number(0, 4)?.into(), month, small(6, 8)?).ok()?;
    let time = Time::from_hms_milli(small(8, 10)?, small(10, 12)?, small(12, 14)?, number(14, 17)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_offset(CHINA))
}

/// A time as the protocol writes it.
pub(super) fn time_text(at: OffsetDateTime) -> String {
    let at = at.to_offset(CHINA);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}{:03}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond(),
    )
}

/// A message of the site's: what it says, and its signature over that.
pub(super) fn said_by_site(version: &str, sign: &str, content: Map<String, Value>) -> Value {
    json!({
        "message_header": {"sign": sign, "version": version, "errorCode": "0", "errorInfo": ""},
        "message_content": content,
    })
}

/// An answer.
pub(super) fn answer(version: &str, sign: &str, content: Map<String, Value>) -> Response {
    Json(said_by_site(version, sign, content)).into_response()
}

/// A refusal, in the protocol's form.
pub(super) fn refusal(status: StatusCode, code: &str, detail: &str) -> Response {
    let header = json!({"sign": "", "version": VERSION, "errorCode": code, "errorInfo": detail});
    no_store((status, Json(json!({"message_header": header, "message_content": {}}))).into_response())
}

/// An answer that nobody keeps.
pub(super) fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_chinas_and_read_as_they_are_written() {
        let at = read_time("20261123204500123").expect("a time");
        assert_eq!(at.unix_timestamp(), 1_795_437_900);
        assert_eq!(time_text(at), "20261123204500123");
        for wrong in ["", "2026112320450012", "20261323204500123", "20261123254500123", "2026112320450０123"]
        {
            assert_eq!(read_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_signed_has_its_members_in_order_and_no_signature_in_it() {
        let message = r#"{ "message_header": {"version":"1","sign":"AAAA","syscode":"S","businesstype":"901"},
                           "message_content": {"opertime":"20261123204500123"} }"#;
        let received = Message::read(message.as_bytes()).expect("a message");
        assert_eq!(
            received.text,
            r#"{"message_content":{"opertime":"20261123204500123"},"message_header":{"businesstype":"901","syscode":"S","version":"1"}}"#
        );
        assert_eq!(received.sign(), None, "that is no signature");
    }

    #[test]
    fn what_is_mis_spelt_or_missing_is_named() {
        for (message, code, field) in [
            (r#"{"message_header":{"syscode":"S"}}"#, "missing_field", "message_header.businesstype"),
            (r#"{"message_header":{"businesstype":"003"}}"#, "missing_field", "message_header.syscode"),
            (
                r#"{"message_header":{"bussinesstype":"003"}}"#,
                "unknown_field",
                "message_header.bussinesstype",
            ),
            (
                r#"{"message_header":{"businesstype":"006"}}"#,
                "businesstype_unknown",
                "message_header.businesstype",
            ),
            (r#"{"message_header":{"businesstype":3}}"#, "invalid_type", "message_header.businesstype"),
            (r#"{"message_header":[]}"#, "invalid_type", "message_header"),
            (
                r#"{"message_header":{"businesstype":"003"},"message_content":{"qrType":"1102"}}"#,
                "unknown_field",
                "message_content.qrType",
            ),
            (r#"{"message_head":{}}"#, "unknown_field", "message_head"),
        ] {
            let read = Message::read(message.as_bytes());
            let problem = read.and_then(|read| read.kind().and(read.syscode()).map(drop)).expect_err(message);
            assert_eq!((problem.code(), problem.fields().next()), (code, Some(field)), "{message}");
        }
    }
}
