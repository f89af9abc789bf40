//! An order for a stamp on a PDF.

use std::sync::Arc;

use bytes::Bytes;
use formats::opened::Kind;
use formats::pdf::sign::{
    Certification, FieldPlan, Look, Place, SignError, SignaturePlan, SubFilter, USUAL_ROOM,
};
use formats::scheme::SignatureScheme;
use formats::seal::Seal;
use signing::StampSubject;

use super::appearance::{Seen, picture_of};
use super::{Setting, StampRequest, What};
use crate::body::{Faults, Object};
use crate::problem::{Fault, Problem};

impl StampRequest {
    /// How the document is to be signed.
    pub(super) fn pdf(
        &self,
        faults: &mut Faults,
        setting: &Setting<'_>,
        profile: Option<SubFilter>,
    ) -> Option<What> {
        const CERTIFICATIONS: [(&str, Option<Certification>); 3] = [
            ("no-changes", Some(Certification::NoChanges)),
            ("form-filling", Some(Certification::FormFilling)),
            ("annotations", Some(Certification::Annotations)),
        ];
        self.no_digest(faults);
        let certification = faults.word("certify", self.certify.as_deref(), &CERTIFICATIONS, None);
        let is_seal = profile == Some(SubFilter::Sm2Seal);
        if is_seal && self.seal.is_none() {
            faults.add("seal", "missing_field", "is required with the profile gm-seal");
        }
        if is_seal && self.family.is_some() {
            faults.add("family", "not_applicable", "a seal's signature is no CMS");
        }
        let seen = match (&self.appearance, setting.seal) {
            (Some(Object(appearance)), _) => appearance.check(faults, setting),
            (None, Some(seal)) if self.existing_field.is_some() => {
                Seen { look: picture_of(faults, seal).map(Look::of_picture), ..Seen::default() }
            }
            (None, Some(_)) if !is_seal => {
                faults.add("appearance", "missing_field", "a seal that is not set is to be shown");
                Seen::default()
            }
            (None, _) => Seen::default(),
        };
        let field = self.pdf_field(faults, seen.places, seen.look.is_some(), !seen.beside.is_empty());
        let document = self.document(faults, Kind::Pdf);
        let seal = setting.seal.filter(|_| is_seal).map(|seal| Arc::new(seal.seal.clone()));
        let usual = SignaturePlan::new(profile?, SignatureScheme::from(setting.algorithm).hash());
        let plan = SignaturePlan {
            field: field?,
            look: seen.look,
            beside: seen.beside,
            // The seal goes in whole, with its picture and up to a hundred certificates.
            room: seal.as_ref().map_or(usual.room, |seal| seal.der().len() + USUAL_ROOM),
            time: Some(setting.at),
            signer: self.signer_name.clone(),
            reason: self.reason.clone(),
            location: self.location.clone(),
            certification: certification?,
            ..usual
        };
        Some(What::Pdf { document: document?, plan: Box::new(plan), seal })
    }

    /// The field that takes the signature.
    fn pdf_field(
        &self,
        faults: &mut Faults,
        places: Vec<Place>,
        has_look: bool,
        has_code: bool,
    ) -> Option<FieldPlan> {
        // What the document itself calls a field may hold anything; not all of it can be kept in a database.
        if self.existing_field.as_ref().is_some_and(|name| name.chars().any(char::is_control)) {
            faults.add("existing_field", "invalid_value", "must have no control characters");
        }
        match (&self.existing_field, &self.field) {
            (Some(_), Some(_)) => {
                faults.add(
                    "existing_field",
                    "ambiguous_input",
                    "field and existing_field exclude each other",
                );
                None
            }
            (Some(_), None) if !places.is_empty() || has_code => {
                let field = if has_code { "appearance.qr" } else { "appearance.places" };
                faults.add(field, "not_applicable", "existing_field has its own place");
                None
            }
            (Some(name), None) => Some(FieldPlan::Existing(name.clone())),
            (None, name) => {
                if has_look && places.is_empty() {
                    faults.add("appearance.places", "missing_field", "one place is needed at least");
                }
                Some(FieldPlan::New { name: name.clone(), places })
            }
        }
    }
}

/// The document's update, with room for the signature.
pub(super) fn prepared(
    document: Bytes,
    plan: &SignaturePlan,
    seal: Option<Arc<Seal>>,
) -> Result<StampSubject, Problem> {
    StampSubject::pdf(document, plan, seal).map_err(|error| {
        let (field, code) = fault(&error);
        Problem::faults(vec![Fault::new(field, code, error.to_string())])
    })
}

/// Which field of the order an error is about, and its code.
pub(super) fn fault(error: &SignError) -> (&'static str, &'static str) {
    match error {
        SignError::Malformed(_) => ("document", "document_malformed"),
        SignError::TooLarge(_) => ("document", "document_too_large"),
        SignError::Encrypted => ("document", "document_encrypted"),
        SignError::DynamicForm => ("document", "document_dynamic_form"),
        SignError::NotPermitted(_) => ("document", "document_not_permitted"),
        SignError::FieldUnknown(_) => ("existing_field", "field_unknown"),
        SignError::FieldSigned(_) => ("existing_field", "field_signed"),
        SignError::SeedValue(_) => ("existing_field", "field_seed_value"),
        SignError::FieldTaken(_) => ("field", "field_taken"),
        SignError::FieldName => ("field", "invalid_value"),
        SignError::PageUnknown { .. } => ("appearance.places", "page_unknown"),
        SignError::OffPage(_) => ("appearance.places", "place_off_page"),
        SignError::KeywordNotFound(_) => ("appearance.places", "keyword_not_found"),
        SignError::SeamNeedsPages => ("appearance.places", "seam_needs_pages"),
        SignError::Appearance(_) => ("appearance", "appearance_unusable"),
        SignError::Room { .. } | SignError::Plan(_) => ("(body)", "invalid_value"),
    }
}
