//! Judging license files (公示版): the good ones, and six defects each by its own finding.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use certs_test::LicenseFileDefect;
use formats::license_file::FileForm;
use formats::verdict::Verdict;
use verify_front::{LicenseAnswer, LicenseType, StatusQuestion};

mod fixture;
use fixture::{AT, Front, entity, front, good, license_files, record};

fn kind(form: FileForm) -> LicenseType {
    match form {
        FileForm::Ofd => LicenseType::Ofd,
        FileForm::Pdf => LicenseType::Pdf,
    }
}

impl Front {
    async fn judge(&self, octets: &[u8], form: FileForm) -> LicenseAnswer {
        self.front.judge(octets, kind(form), AT, &StatusQuestion::now(AT)).await.unwrap()
    }
}

/// A front whose library knows the license of which there are files.
async fn knowing() -> Front {
    let front = front(false).await;
    front.store.upsert_entity(&entity(good())).await.unwrap();
    front.store.insert_license(&record(good())).await.unwrap();
    front
}

#[tokio::test]
async fn a_good_file_is_valid_and_says_what_it_shows_and_who_sealed_it() {
    let front = knowing().await;
    let files: Vec<_> = license_files().iter().filter(|file| file.defect.is_none()).collect();
    assert_eq!(files.len(), 2);
    for file in files {
        let answer = front.judge(&file.octets, file.form).await;
        assert_eq!(answer.judgement.findings, [], "{}", file.file_name());
        assert_eq!(answer.judgement.verdict, Verdict::Valid);
        assert_eq!(answer.face.unwrap().uscc, good().uscc);
        assert_eq!(answer.license.unwrap().serial, good().license_serial);
        assert_eq!(answer.status.unwrap().code, 1);
        let summary = answer.file.unwrap();
        assert_eq!(summary.form, file.form);
        assert_eq!(summary.sealed_by.len(), 1);
        assert!(summary.sealed_by[0].starts_with("西安市市场监督管理局"), "{summary:?}");
        let facts = summary.data.unwrap().facts;
        assert!(facts.contains(&("统一社会信用代码".to_owned(), good().uscc.clone())), "{facts:?}");
    }
}

#[tokio::test]
async fn each_of_six_defects_is_found_in_both_forms_by_its_own_finding() {
    let front = knowing().await;
    let mut found = 0;
    for file in license_files() {
        let (Some(defect), Some(finding)) = (file.defect, file.finding()) else { continue };
        let answer = front.judge(&file.octets, file.form).await;
        let name = file.file_name();
        assert!(answer.judgement.has(finding), "{name}: {:?}", answer.judgement);
        assert_ne!(answer.judgement.verdict, Verdict::Valid, "{name}");
        // What is planted is told from what is not.
        let others = license_files().iter().filter(|other| other.form == file.form);
        for other in others.filter(|other| other.defect != file.defect).filter_map(|other| other.finding()) {
            let follows = (defect, other) == (LicenseFileDefect::Altered, "shown_text_differs");
            assert!(follows || !answer.judgement.has(other), "{name} {other}: {:?}", answer.judgement);
        }
        found += 1;
    }
    assert_eq!(found, 2 * LicenseFileDefect::ALL.len());
}

#[tokio::test]
async fn without_the_register_a_file_proves_itself_and_that_nobody_was_asked_is_noted() {
    let front = front(false).await;
    for file in license_files().iter().filter(|file| file.defect.is_none()) {
        let answer = front.judge(&file.octets, file.form).await;
        assert_eq!(answer.judgement.verdict, Verdict::Valid, "{:?}", answer.judgement);
        assert!(answer.judgement.has("status_not_checked"));
    }
}

#[tokio::test]
async fn a_file_of_the_other_form_or_of_none_is_malformed() {
    let front = knowing().await;
    for file in license_files().iter().filter(|file| file.defect.is_none()) {
        let other = if file.form == FileForm::Ofd { FileForm::Pdf } else { FileForm::Ofd };
        for octets in [&file.octets[..], b"", b"%PDF-1.7", b"PK\x03\x04"] {
            let answer = front.judge(octets, other).await;
            assert_eq!(answer.judgement.verdict, Verdict::Invalid, "{:?}", answer.judgement);
            assert!(answer.judgement.has("malformed"), "{:?}", answer.judgement);
            assert!(answer.license.is_none() && answer.face.is_none());
        }
    }
}
