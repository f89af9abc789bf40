//! Whether a license file may come into the library: it opens, its seal and its certificate hold, and it shows the entity
//! it is said to show.

use formats::license_file::FileForm;
use formats::uscc::Uscc;
use formats::verdict::{Finding, Verdict};
use time::OffsetDateTime;

use crate::judge::{Examined, OF_ISSUED};
use crate::{LicenseFront, LicenseType};

/// What was sealed in time stays what it is.
const PASSED: [&str; 2] = ["expired", "seal_expired"];

/// Why a file is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAdmitted {
    /// `other_entity`, or the code of the finding that keeps it out.
    pub code: &'static str,
    /// For people; names no person.
    pub detail: String,
}

impl LicenseFront {
    /// Judges a file that is to come into the library as one of this entity. That certificates have expired since, or
    /// that the license was revoked, keeps no file out: the register says what a license is worth. What could not be decided
    /// keeps it out unless `undecided` ones are taken. It computes for long enough to be kept away from threads that others
    /// wait for.
    ///
    /// # Errors
    /// Why it is kept out.
    pub fn admit_file(
        &self,
        octets: &[u8],
        form: FileForm,
        uscc: &Uscc,
        at: OffsetDateTime,
        undecided: bool,
    ) -> Result<(), NotAdmitted> {
        let kind = match form {
            FileForm::Ofd => LicenseType::Ofd,
            FileForm::Pdf => LicenseType::Pdf,
        };
        let Examined { license, file } = self.examine(octets, kind, at);
        let of_file = file.iter().flat_map(|file| &file.judgement.findings);
        let of_license = license.iter().flat_map(|license| &license.judgement.findings);
        let against: Vec<&Finding> = of_file
            .filter(|finding| !PASSED.contains(&finding.code))
            .chain(of_license.filter(|finding| !OF_ISSUED.contains(&finding.code)))
            .filter(|finding| finding.effect != Verdict::Valid)
            .collect();
        let refused = against.iter().find(|finding| finding.effect == Verdict::Invalid);
        let undecided_by = against.first().filter(|_| !undecided);
        if let Some(finding) = refused.or(undecided_by) {
            return Err(NotAdmitted { code: finding.code, detail: finding.detail.clone() });
        }
        match license.and_then(|license| license.uscc) {
            Some(named) if named == *uscc => Ok(()),
            Some(named) => {
                let detail = format!("its face names {named}");
                Err(NotAdmitted { code: "other_entity", detail })
            }
            None => {
                let detail = "no license certificate in it says whose it is".to_owned();
                Err(NotAdmitted { code: "license_certificate_absent", detail })
            }
        }
    }
}
