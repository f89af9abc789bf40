//! What a template says of an order for a stamp. It is read by what reads orders, so that what a template says by itself can
//! be carried out; what it leaves open an order says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::Algorithm;
use formats::pdf::sign::{self, FieldPlan, Look, PageRect, Pages, Place, SignError, SignaturePlan};
use serde_json::{Map, Value};
use store::RegisteredSeal;
use time::OffsetDateTime;

use super::{Setting, StampRequest, What, ofd, pdf};
use crate::body::{self, Faults, Few, Object};
use crate::problem::{Fault, Problem};
use crate::stamps::make::page_of;
use crate::stamps::signer::SignerBody;

/// What belongs to one document.
const NEVER: [&str; 5] = ["digest", "document", "items", "template", "template_version"];
/// How a stamp's number and check code look.
const NUMBER: &str = "20261122-7QX2M0K4T9";
const CHECK_CODE: &str = "7QX2M-0K4T9-B3NZD-51HVA";

/// Puts in what a template says; what both say is at fault.
pub(super) fn fill<T: Clone>(faults: &mut Faults, field: &str, own: &mut Option<T>, said: Option<&T>) {
    match (own.is_some(), said) {
        (true, Some(_)) => conflict(faults, field),
        (false, said) => *own = said.cloned(),
        (true, None) => {}
    }
}

/// The same of a list, which is not said where it is empty.
pub(super) fn fill_list<T: Clone>(faults: &mut Faults, field: &str, own: &mut Vec<T>, said: &[T]) {
    match (own.is_empty(), said.is_empty()) {
        (false, false) => conflict(faults, field),
        (true, _) => *own = said.to_vec(),
        (false, true) => {}
    }
}

fn conflict(faults: &mut Faults, field: &str) {
    faults.add(field, "template_conflict", "the template says this");
}

/// What an order can say beside these members of a template.
pub(crate) fn open_members(stamp: &Map<String, Value>) -> Vec<String> {
    let Some(Value::Array(signers)) = stamp.get("signers") else { return open_of_one(stamp) };
    let mut open = Vec::new();
    for (place, signer) in signers.iter().enumerate() {
        let mut of_one = signer.as_object().cloned().unwrap_or_default(); // each was read as an object
        of_one.extend(stamp.get("format").map(|format| ("format".to_owned(), format.clone())));
        open.extend(open_of_one(&of_one).into_iter().map(|name| format!("signers[{place}].{name}")));
    }
    open
}

fn open_of_one(stamp: &Map<String, Value>) -> Vec<String> {
    const OF_PDF: [&str; 13] = [
        "algorithm",
        "appearance",
        "certify",
        "existing_field",
        "family",
        "field",
        "level",
        "location",
        "profile",
        "reason",
        "seal",
        "signer",
        "signer_name",
    ];
    const OF_LOOK: [&str; 6] = ["picture", "places", "qr", "text", "text_place", "text_size"];
    let (members, looks): (&[&str], &[&str]) = match stamp.get("format").and_then(Value::as_str) {
        Some("digest") => (&["algorithm", "family", "level", "signer"], &[]),
        Some("ofd") => (
            &["algorithm", "appearance", "seal", "signer"],
            &["places", "qr", "text", "text_place", "text_size"],
        ),
        _ => (&OF_PDF, &OF_LOOK),
    };
    let mut open = Vec::new();
    for name in members {
        match stamp.get(*name) {
            None => open.push((*name).to_owned()),
            Some(Value::Object(look)) => {
                let looks = looks.iter().filter(|look_name| !look.contains_key(**look_name));
                open.extend(looks.map(|look_name| format!("{name}.{look_name}")));
            }
            Some(_) => {}
        }
    }
    open
}

impl StampRequest {
    /// What a template says, as an order that says nothing else.
    ///
    /// # Errors
    /// It is not what an order can say.
    pub(crate) fn of_template(stamp: &Map<String, Value>) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        for name in NEVER.into_iter().filter(|name| stamp.contains_key(*name)) {
            faults.add(name, "not_applicable", "is said by each order");
        }
        faults.into_result(Some(()))?;
        body::parse(&serde_json::to_vec(stamp).unwrap_or_default()) // it was JSON
    }

    /// The order with what its template says in it.
    ///
    /// # Errors
    /// Everything that both say.
    pub(crate) fn filled(mut self, template: &Self) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        self.fill(template, &mut faults);
        faults.into_result(Some(self))
    }

    fn fill(&mut self, template: &Self, faults: &mut Faults) {
        let one = "the template is for one signer";
        match (&mut self.signers, &template.signers) {
            (Some(Few(own)), Some(Few(said))) if own.len() == said.len() => {
                for (place, (Object(own), Object(said))) in own.iter_mut().zip(said).enumerate() {
                    let mut part = Faults::default();
                    own.fill(said, &mut part);
                    faults.add_of(&format!("signers[{place}]"), part);
                }
            }
            (Some(Few(own)), Some(Few(said))) => {
                let detail = format!("the template has {} signers, not {}", said.len(), own.len());
                faults.add("signers", "template_conflict", detail);
            }
            (Some(_), None) if !template.of_one_signature().is_empty() => {
                return faults.add("signers", "template_conflict", one);
            }
            (Some(_), None) => {}
            (None, said) => self.signers = said.clone(),
        }
        let Self {
            format,
            signer,
            algorithm,
            seal,
            profile,
            family,
            level,
            field,
            existing_field,
            signer_name,
            reason,
            location,
            certify,
            appearance,
            signers: _,
            document: _,
            at_hand: _,
            digest: _,
            items: _,
            template: _,
            template_version: _,
        } = template;
        fill(faults, "signer", &mut self.signer, signer.as_ref());
        for (name, own, said) in [
            ("format", &mut self.format, format),
            ("algorithm", &mut self.algorithm, algorithm),
            ("seal", &mut self.seal, seal),
            ("profile", &mut self.profile, profile),
            ("family", &mut self.family, family),
            ("level", &mut self.level, level),
            ("field", &mut self.field, field),
            ("existing_field", &mut self.existing_field, existing_field),
            ("signer_name", &mut self.signer_name, signer_name),
            ("reason", &mut self.reason, reason),
            ("location", &mut self.location, location),
            ("certify", &mut self.certify, certify),
        ] {
            fill(faults, name, own, said.as_ref());
        }
        match (&mut self.appearance, appearance) {
            (Some(Object(own)), Some(Object(said))) => own.filled(said, faults),
            (Some(_), None) => {}
            (None, said) => self.appearance = said.clone(),
        }
    }

    /// Who signs, if a template names somebody.
    pub(crate) fn named_signer(&self) -> Option<&SignerBody> {
        self.signer.as_ref().map(|Object(signer)| signer)
    }

    /// The number of the seal that a template names.
    pub(crate) fn named_seal(&self) -> Option<&str> {
        self.seal.as_deref()
    }

    /// What is wrong with one signature's part of a template by itself: nothing of it must fail in every order.
    pub(crate) fn template_faults(
        &self,
        seal: Option<&RegisteredSeal>,
        site: Option<&str>,
        at: OffsetDateTime,
    ) -> Faults {
        let mut order = self.clone();
        match order.format.as_deref() {
            Some("digest") => order.digest = Some(STANDARD.encode([0; 32])),
            _ => order = order.about(bytes::Bytes::new()),
        }
        let page = site.map(|site| page_of(site, CHECK_CODE));
        let mut faults = Faults::default();
        let algorithms = match &self.algorithm {
            Some(text) => match crate::input::algorithm(&mut faults, text) {
                Some(algorithm) => vec![algorithm],
                None => return faults,
            },
            // Whose key signs, an order says.
            None => vec![Algorithm::EcdsaP256Sha256, Algorithm::Sm2Sm3],
        };
        let by = |algorithm: Algorithm| {
            let (id, check_code) = (NUMBER, CHECK_CODE);
            let check_page = page.as_deref();
            let setting = Setting { algorithm, at, id, check_code, check_page, seal, is_template: true };
            let mut faults = Faults::default();
            let read = order.read(&mut faults, &setting);
            faults.retain(|fault| !self.leaves_open(fault));
            let tried = match read.map(|read| read.what) {
                Some(What::Pdf { plan, .. }) => tried(*plan),
                Some(What::Ofd { seen, .. }) => ofd::tried(&seen),
                _ => None,
            };
            tried.into_iter().for_each(|(field, code, error)| faults.add(field, code, error));
            faults
        };
        let read = algorithms.into_iter().map(by).min_by_key(Faults::count);
        read.unwrap_or_default()
    }

    /// Whether an order can say what is missing.
    fn leaves_open(&self, fault: &Fault) -> bool {
        // A list is the template's or the order's as a whole. A place without a size has the seal's.
        let is_sealed = self.seal.is_none()
            && (self.format.as_deref() == Some("ofd") || self.profile.as_deref() == Some("gm-seal"));
        let is_size = fault.field.ends_with(".width") || fault.field.ends_with(".height");
        let is_order_s = match fault.field.contains('[') {
            true => is_sealed && is_size,
            false => fault.field != "format",
        };
        fault.code == "missing_field" && is_order_s
    }
}

/// What fails of a plan in any document: field, code and why. It is tried on an empty page that has all the room.
fn tried(plan: SignaturePlan) -> Option<(&'static str, &'static str, String)> {
    const SIDE: f32 = 12_000.0; // millimetres; no place is larger than 10,000
    let on_page = |places: Vec<Place>| places.into_iter().map(moved).collect::<Vec<_>>();
    let (name, places) = match plan.field {
        FieldPlan::New { name, places } => (name, places),
        FieldPlan::Existing(_) => (None, Vec::new()),
    };
    let look = plan.look.filter(|_| !places.is_empty());
    let places = if look.is_some() { on_page(places) } else { Vec::new() };
    let beside = plan.beside.into_iter().map(|(look, places): (Look, _)| (look, on_page(places))).collect();
    let plan = SignaturePlan { field: FieldPlan::New { name, places }, look, beside, ..plan };
    let error = match sign::prepare(&page(SIDE), &plan) {
        Ok(_) => return None,
        Err(error) => error,
    };
    let (field, code) = match (&error, &plan) {
        (SignError::Plan(_), plan) if plan.reason.as_deref().is_some_and(is_long) => {
            ("reason", "invalid_value")
        }
        (SignError::Plan(_), plan) if plan.location.as_deref().is_some_and(is_long) => {
            ("location", "invalid_value")
        }
        (SignError::Plan(_), plan) if plan.signer.as_deref().is_some_and(is_long) => {
            ("signer_name", "invalid_value")
        }
        (error, _) => pdf::fault(error),
    };
    Some((field, code, error.to_string()))
}

fn is_long(text: &str) -> bool {
    text.chars().count() > 1_000
}

/// A place of the same size where there is room for it.
fn moved(place: Place) -> Place {
    let (width, height) = place.size();
    Place::Rect { pages: Pages::All, rect: PageRect { left: 0.0, top: 0.0, width, height } }
}

/// A PDF of one empty page of so many millimetres.
fn page(side: f32) -> Vec<u8> {
    let points = side / 25.4 * 72.0;
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        format!("<</Type/Page/Parent 2 0 R/Resources<<>>/MediaBox[0 0 {points:.0} {points:.0}]>>"),
    ];
    let mut text = "%PDF-1.7\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (object, number) in objects.iter().zip(1..) {
        table.push_str(&format!("{:010} 00000 n \n", text.len()));
        text.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let start = text.len();
    let size = objects.len() + 1;
    text.push_str(&format!("{table}trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"));
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(stamp: Value) -> Vec<(String, &'static str)> {
        let Value::Object(stamp) = stamp else { panic!("an object") };
        let is_list = stamp.contains_key("signers");
        let faults = match StampRequest::of_template(&stamp) {
            Ok(template) => template.orders().and_then(|orders| {
                let (site, mut faults) = (Some("https://site.example"), Faults::default());
                for (place, order) in orders.iter().enumerate() {
                    let of_one = order.template_faults(None, site, OffsetDateTime::UNIX_EPOCH);
                    match is_list {
                        true => faults.add_of(&format!("signers[{place}]"), of_one),
                        false => faults = of_one,
                    }
                }
                faults.into_result(None::<()>)
            }),
            Err(problem) => Err(problem),
        };
        let faults = faults.expect_err("there is no value").into_faults();
        faults.into_iter().map(|fault| (fault.field, fault.code)).collect()
    }

    fn place() -> Value {
        json!({"kind": "rect", "pages": "last", "left": 20, "top": 20, "width": 60, "height": 20})
    }

    #[test]
    fn a_template_may_leave_open_what_an_order_can_say() {
        let nothing: [(String, &str); 0] = [];
        for good in [
            json!({"format": "pdf"}),
            json!({"format": "digest", "level": "B-T"}),
            json!({"format": "pdf", "appearance": {"text": ["收讫"], "places": [place()]}}),
            json!({"format": "pdf", "appearance": {"places": [place()], "qr": {"places": [place()]}}}),
            json!({"format": "pdf", "appearance": {"text": ["收讫"]}}),
            // In the seal's own size, whichever the order names.
            json!({"format": "ofd", "appearance": {"places": [{"kind": "rect", "left": 1, "top": 1}]}}),
            json!({"format": "pdf", "profile": "gm-seal", "appearance": {"places": [{"kind": "seam"}]}}),
            json!({"format": "pdf", "existing_field": "Seal", "appearance": {"text": ["收讫"]}}),
            json!({"format": "pdf", "signer": {"key": "demo-p256"}}),
            json!({"format": "pdf", "signers": [{"signer": {"key": "demo-p256"}}, {"reason": "复核"}]}),
        ] {
            assert_eq!(faults(good.clone()), nothing, "{good}");
        }
    }

    #[test]
    fn what_no_order_can_mend_is_refused_when_a_template_is_set() {
        let seen = |appearance: Value| json!({"format": "pdf", "appearance": appearance});
        let with = |name: &str, value: Value| {
            let mut place = place();
            place[name] = value;
            seen(json!({"text": ["收讫"], "places": [place]}))
        };
        let many = "收".repeat(1_000);
        for (bad, field, code) in [
            (json!({}), "format", "missing_field"),
            (json!({"format": "doc"}), "format", "invalid_value"),
            (json!({"format": "pdf", "document": ""}), "document", "not_applicable"),
            (json!({"format": "pdf", "signer": "demo-p256"}), "signer", "invalid_type"),
            (json!({"format": "pdf", "signers": []}), "signers", "invalid_value"),
            (json!({"format": "pdf", "signers": [{}], "reason": "收讫"}), "reason", "not_applicable"),
            (json!({"format": "pdf", "signers": [{"format": "pdf"}]}), "signers[0].format", "not_applicable"),
            (json!({"format": "digest", "signers": [{}]}), "signers", "not_applicable"),
            (
                json!({"format": "ofd", "signers": [{}, {"reason": "x"}]}),
                "signers[1].reason",
                "not_applicable",
            ),
            (json!({"format": "pdf", "colour": "red"}), "colour", "unknown_field"),
            (json!({"format": "pdf", "reason": 7}), "reason", "invalid_type"),
            (json!({"format": "pdf", "reason": "a".repeat(1_001)}), "reason", "invalid_value"),
            (json!({"format": "pdf", "field": "a.b"}), "field", "invalid_value"),
            (json!({"format": "pdf", "algorithm": "rot13"}), "algorithm", "unknown_algorithm"),
            (json!({"format": "pdf", "profile": "gm-seal", "level": "B-T"}), "level", "not_applicable"),
            (json!({"format": "ofd", "reason": "收讫"}), "reason", "not_applicable"),
            (json!({"format": "digest", "appearance": {}}), "appearance", "not_applicable"),
            (with("left", Value::Null), "appearance.places[0].left", "missing_field"),
            (with("width", Value::Null), "appearance.places[0].width", "missing_field"),
            (with("pages", json!("5-2")), "appearance.places[0].pages", "invalid_value"),
            (seen(json!({"picture": "AAAA", "places": [place()]})), "appearance.picture", "picture_unusable"),
            (seen(json!({"text": [many], "places": [place()]})), "appearance", "appearance_unusable"),
        ] {
            let found = faults(bad.clone());
            assert!(found.contains(&(field.to_owned(), code)), "{bad}: {found:?}");
        }
    }

    #[test]
    fn an_order_says_what_its_template_leaves_open_and_nothing_else() {
        let template = json!({"format": "pdf", "reason": "收讫", "appearance": {"places": [place()]}});
        let Value::Object(template) = template else { panic!("an object") };
        let template_read = StampRequest::of_template(&template).unwrap();
        let order = |more: Value| {
            let mut order = json!({"template": "received", "signer": {"key": "demo-p256"}});
            order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body::parse::<StampRequest>(order.to_string().as_bytes()).unwrap()
        };
        let filled = order(json!({"appearance": {"text": ["2026-17"]}})).filled(&template_read).unwrap();
        assert_eq!((filled.format.as_deref(), filled.reason.as_deref()), (Some("pdf"), Some("收讫")));
        let said =
            json!({"format": "pdf", "location": "here", "reason": "no", "appearance": {"places": [place()]}});
        let refused = order(said).filled(&template_read).err().unwrap();
        let fields: Vec<_> =
            refused.into_faults().into_iter().map(|fault| (fault.field, fault.code)).collect();
        let conflicts = ["format", "reason", "appearance.places"];
        assert_eq!(fields, conflicts.map(|field| (field.to_owned(), "template_conflict")));
        let open = open_members(&template);
        assert!(open.contains(&"appearance.text".to_owned()) && open.contains(&"seal".to_owned()));
        assert!(!open.iter().any(|name| ["reason", "format", "appearance.places"].contains(&&**name)));
    }

    #[test]
    fn what_a_template_says_of_each_signer_is_that_ones() {
        let template =
            json!({"format": "pdf", "signers": [{"reason": "经办"}, {"signer": {"key": "demo-sm2"}}]});
        let Value::Object(template) = template else { panic!("an object") };
        let read = StampRequest::of_template(&template).unwrap();
        let order = |signers: Value| {
            let order = json!({"template": "two", "signers": signers});
            body::parse::<StampRequest>(order.to_string().as_bytes()).unwrap()
        };
        let both = order(json!([{"signer": {"key": "demo-p256"}}, {"reason": "复核"}])).filled(&read);
        let both = both.unwrap().orders().unwrap();
        let reasons: Vec<_> = both.iter().map(|order| order.reason.as_deref()).collect();
        assert_eq!(reasons, [Some("经办"), Some("复核")]);
        assert!(both.iter().all(|order| order.signer.is_some() && order.format.as_deref() == Some("pdf")));
        let codes = |order: StampRequest, template: &StampRequest| {
            let refused = order.filled(template).and_then(StampRequest::orders).err().unwrap();
            refused.into_faults().into_iter().map(|fault| (fault.field, fault.code)).collect::<Vec<_>>()
        };
        let conflict = |field: &str| vec![(field.to_owned(), "template_conflict")];
        assert_eq!(codes(order(json!([{"reason": "x"}, {}])), &read), conflict("signers[0].reason"));
        assert_eq!(codes(order(json!([{}])), &read), conflict("signers"));
        let alone = json!({"format": "pdf", "reason": "收讫"});
        let alone = StampRequest::of_template(alone.as_object().unwrap()).unwrap();
        assert_eq!(codes(order(json!([{}, {}])), &alone), conflict("signers"));
        let open = open_members(&template);
        assert!(open.contains(&"signers[0].signer".to_owned()), "{open:?}");
        assert!(!open.contains(&"signers[0].reason".to_owned()) && !open.contains(&"reason".to_owned()));
    }
}
