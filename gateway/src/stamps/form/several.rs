//! An order for several signatures, as an order for each of them.

use bytes::Bytes;

use super::StampRequest;
use crate::body::{Faults, Few, Object};
use crate::problem::Problem;

/// Most signers of an order. Each takes devices' time, and what others judge with has its bounds.
const MOST_SIGNERS: usize = 8;

/// Signers as they were listed; of too many as many as show it.
pub(super) type Signers = Few<Object<StampRequest>, MOST_SIGNERS>;

impl StampRequest {
    /// Whether it says who signs one after the other.
    pub(crate) fn is_list(&self) -> bool {
        self.signers.is_some()
    }

    /// The order for each signature, in order; the document is with the first.
    ///
    /// # Errors
    /// What is said beside `signers`, or in one of them, and does not belong there.
    pub(crate) fn orders(mut self) -> Result<Vec<Self>, Problem> {
        let Some(Few(signers)) = self.signers.take() else { return Ok(vec![self]) };
        let mut faults = Faults::default();
        if !(1..=MOST_SIGNERS).contains(&signers.len()) {
            faults.add("signers", "invalid_value", format!("must be 1 to {MOST_SIGNERS}"));
            return faults.into_result(None); // before anything is made for each of them
        }
        if self.format.as_deref() == Some("digest") {
            faults.add("signers", "not_applicable", "a digest takes one signature");
        }
        for name in self.of_one_signature() {
            let code = if name == "signer" { "ambiguous_input" } else { "not_applicable" };
            faults.add(name, code, "each of signers says its own");
        }
        for (place, Object(signer)) in signers.iter().enumerate() {
            for name in signer.of_the_whole() {
                let field = format!("signers[{place}].{name}");
                faults.add(&field, "not_applicable", "is said of the whole order");
            }
        }
        let mut orders: Vec<_> = signers
            .into_iter()
            .map(|Object(signer)| Self { format: self.format.clone(), ..signer })
            .collect();
        if let Some(first) = orders.first_mut() {
            (first.document, first.at_hand) = (self.document, self.at_hand);
        }
        faults.into_result(Some(orders))
    }

    /// Takes the document out of the order, decoded.
    ///
    /// # Errors
    /// It is not base64, or too large.
    pub(crate) fn detached(&mut self) -> Result<Option<Bytes>, Problem> {
        match (self.at_hand.take(), self.document.take()) {
            (Some(octets), _) => Ok(Some(octets)),
            (None, Some(text)) => {
                let mut faults = Faults::default();
                let octets = text.octets(&mut faults);
                faults.into_result(octets.map(Some))
            }
            (None, None) => Ok(None),
        }
    }

    /// Names of the members that are said, and are about one signature.
    pub(super) fn of_one_signature(&self) -> Vec<&'static str> {
        let members = [
            ("signer", self.signer.is_some()),
            ("algorithm", self.algorithm.is_some()),
            ("seal", self.seal.is_some()),
            ("profile", self.profile.is_some()),
            ("family", self.family.is_some()),
            ("level", self.level.is_some()),
            ("field", self.field.is_some()),
            ("existing_field", self.existing_field.is_some()),
            ("signer_name", self.signer_name.is_some()),
            ("reason", self.reason.is_some()),
            ("location", self.location.is_some()),
            ("certify", self.certify.is_some()),
            ("appearance", self.appearance.is_some()),
        ];
        members.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| name).collect()
    }

    /// Names of the members that are said, and are about the whole order.
    fn of_the_whole(&self) -> Vec<&'static str> {
        let members = [
            ("format", self.format.is_some()),
            ("template", self.template.is_some()),
            ("template_version", self.template_version.is_some()),
            ("document", self.document.is_some()),
            ("digest", self.digest.is_some()),
            ("items", self.items.is_some()),
            ("signers", self.signers.is_some()),
        ];
        members.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| name).collect()
    }
}
