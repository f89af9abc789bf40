//! Identifiers against ones that are in use, and against what their check characters promise.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use formats::cert_id::{BUSINESS_LICENSE_TYPE, CertificateId, CertificateIdError};
use formats::identifier::{IdentifierKind, check};
use formats::registration_number::RegistrationNumber;
use formats::uscc::{Uscc, UsccError};
use formats::{Verdict, resident_id};
use proptest::prelude::*;

/// From public documents; the check characters were not computed here.
const IN_USE: [&str; 4] = [
    "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.002.S",
    "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U",
    "1.2.156.3005.2.11100000000013338W009.11330105002500287C.2025052201.002.0",
    "1.2.156.3005.2.11100000000013338W087.11370800MB28559184.37080001202411010001.001.3",
];

fn codes(kind: IdentifierKind, text: &str) -> Vec<&'static str> {
    check(kind, text, false).judgement.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn identifiers_in_use_are_valid_and_fall_into_their_parts() {
    for text in IN_USE {
        let id = CertificateId::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert!(id.type_code().starts_with(id.definer().as_str()), "{text}");
        assert!(text.contains(&format!(".{}.{}.{:03}.", id.issuer(), id.serial(), id.version())), "{text}");
    }
}

#[test]
fn a_public_example_with_a_wrong_check_character_is_refused_for_that_alone() {
    let text =
        "1.2.156.3005.2.11100000000013661B006.113700000045046442.209FA4E88F9E4C878F3E9BED2CE7EA49.001.M";
    assert_eq!(CertificateId::faults(text), [CertificateIdError::Check { expected: 'D', found: 'M' }]);
}

#[test]
fn each_layer_of_an_identifier_has_its_code() {
    let good = IN_USE[0];
    for (text, expected) in [
        (good.replace("3005", "3006"), &["root_wrong"][..]),
        (good.replace(".002", ""), &["parts_wrong"]),
        (format!("{good}.X"), &["parts_wrong"]),
        (good.replace("W011", "W01"), &["length_wrong"]),
        (good.replace("20230000403", ""), &["length_wrong"]),
        (good.replace("20230000403", &"1".repeat(65)), &["length_wrong"]),
        (good.replace("20230000403", "2023-000403"), &["character_not_permitted"]),
        (good.replace(".002.", ".0A2."), &["character_not_permitted"]),
        (good.replace(".002.", ".000."), &["version_wrong", "check_wrong"]),
        (good.replace("13338W", "13339W"), &["uscc_invalid", "check_wrong"]),
        (good.replace("6122244L", "6122245L"), &["uscc_invalid", "check_wrong"]),
        (good.replace(".S", ".T"), &["check_wrong"]),
        (good.to_lowercase(), &["character_not_permitted"; 3]),
        (format!(" {good}"), &["root_wrong"]),
        (format!("{good}.OFD"), &["parts_wrong"]),
    ] {
        assert_eq!(codes(IdentifierKind::CertId, &text), expected, "{text}");
        assert!(CertificateId::parse(&text).is_err());
    }
}

#[test]
fn the_identifier_of_a_business_license_gets_its_check_character() {
    let issuer = Uscc::parse("91350100M000100Y43").unwrap();
    let id = CertificateId::new(BUSINESS_LICENSE_TYPE, &issuer, "0001", 1).unwrap();
    assert_eq!(id.as_str(), "1.2.156.3005.2.11100000MB0143028R001.91350100M000100Y43.0001.001.O");
    assert!(CertificateId::new(BUSINESS_LICENSE_TYPE, &issuer, "a", 1).is_err());
    assert!(CertificateId::new(BUSINESS_LICENSE_TYPE, &issuer, "1", 1000).is_err());
}

#[test]
fn all_faults_of_a_social_credit_code_are_named_and_none_for_a_good_one() {
    assert_eq!(Uscc::faults("91350100M000100Y43"), []);
    // Two letters outside the alphabet and one character too few.
    let faults = Uscc::faults("9135010IM000100Y4o".get(..17).unwrap());
    assert_eq!(faults, [UsccError::Length { found: 17 }, UsccError::Character { position: 8, found: 'I' }],);
    let layers: Vec<_> = Uscc::faults("97350A00M000100Y58").iter().map(UsccError::code).collect();
    assert_eq!(layers, ["category_unknown", "region_not_digits", "subject_check_wrong", "check_wrong"]);
}

#[test]
fn a_registration_number_is_told_from_a_social_credit_code() {
    RegistrationNumber::parse("440301103448669").unwrap();
    assert_eq!(codes(IdentifierKind::RegistrationNumber, "440301103448668"), ["check_wrong"]);
    assert_eq!(codes(IdentifierKind::RegistrationNumber, "44030110344866"), ["length_wrong"]);
    assert_eq!(codes(IdentifierKind::RegistrationNumber, "44030110344866X"), ["character_not_permitted"]);
    let as_uscc = codes(IdentifierKind::Uscc, "440301103448669");
    assert_eq!(as_uscc, ["length_wrong", "is_registration_number"]);
}

#[test]
fn the_standards_example_of_an_identity_number_is_valid_and_its_neighbours_are_not() {
    // GB 11643-1999, annex A.
    assert_eq!(resident_id::faults("11010519491231002X"), []);
    for (text, expected) in [
        ("110105194912310021", &["check_wrong"][..]),
        ("11010519491231002x", &["character_not_permitted"]),
        ("11010519491331002X", &["birth_date_wrong", "check_wrong"]),
        ("99010519491231002X", &["region_unknown", "check_wrong"]),
        ("11010519491231002", &["length_wrong"]),
        ("X10105194912310021", &["character_not_permitted"]),
    ] {
        assert_eq!(codes(IdentifierKind::ResidentId, text), expected, "{text}");
    }
}

#[test]
fn no_finding_on_personal_data_repeats_it() {
    for (kind, text) in
        [(IdentifierKind::ResidentId, "11010519491231009Q"), (IdentifierKind::MobilePhone, "1380013800Q")]
    {
        let report = format!("{:?}", check(kind, text, false));
        assert!(report.contains("character_not_permitted"), "{report}");
        assert!(!report.contains('Q') && !report.contains("13800") && !report.contains("1949"), "{report}");
    }
}

#[test]
fn a_mobile_number_has_eleven_digits_of_a_known_range() {
    assert_eq!(codes(IdentifierKind::MobilePhone, "13800138000"), [""; 0]);
    assert_eq!(codes(IdentifierKind::MobilePhone, "12800138000"), ["prefix_unknown"]);
    assert_eq!(codes(IdentifierKind::MobilePhone, "1380013800"), ["length_wrong"]);
}

#[test]
fn what_was_probably_meant_is_offered_and_never_taken() {
    let report = check(IdentifierKind::Uscc, " ９1350100m000100Y43", false);
    assert_eq!(report.judgement.verdict, Verdict::Invalid);
    assert_eq!(report.normalised.as_deref(), Some("91350100M000100Y43"));
    assert_eq!(check(IdentifierKind::Uscc, "91350100M000100Y43", false).normalised, None);
    assert_eq!(check(IdentifierKind::Uscc, "91350100m000100y44", false).normalised, None);
}

#[test]
fn a_test_enterprise_is_admitted_in_a_sandbox_only() {
    let judged = |sandbox| check(IdentifierKind::Uscc, "ZZJGD1609314154606", sandbox).judgement;
    assert_eq!(judged(true).verdict, Verdict::Valid);
    assert!(judged(false).has("test_identity_in_production"));
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,80}") {
        for (_, kind) in IdentifierKind::NAMES {
            let report = check(kind, &text, false);
            prop_assert_eq!(report.judgement.findings.is_empty(), report.judgement.verdict == Verdict::Valid);
        }
    }

    #[test]
    fn the_faults_of_a_text_are_empty_exactly_if_it_parses(text in "[0-9A-HJ-NP-RTUWXYIOz]{15,18}") {
        prop_assert_eq!(Uscc::faults(&text).first().cloned(), Uscc::parse(&text).err());
        prop_assert_eq!(RegistrationNumber::faults(&text).first().cloned(), RegistrationNumber::parse(&text).err());
    }

    #[test]
    fn a_changed_character_or_a_swap_of_neighbours_spoils_an_identifier(
        which in 0..IN_USE.len(), place in 15usize..90, other in "[0-9A-Z]",
    ) {
        let text = IN_USE[which];
        let place = 15 + (place - 15) % (text.len() - 15);
        let mut changed = text.to_owned();
        changed.replace_range(place..=place, &other);
        if changed != text && !text[place..].starts_with('.') {
            prop_assert!(CertificateId::parse(&changed).is_err(), "{changed}");
        }
        if place + 1 < text.len() {
            let mut swapped = text.as_bytes().to_vec();
            swapped.swap(place, place + 1);
            let swapped = String::from_utf8(swapped).unwrap();
            if swapped != text {
                prop_assert!(CertificateId::parse(&swapped).is_err(), "{swapped}");
            }
        }
    }

    #[test]
    fn a_changed_digit_spoils_a_registration_number(place in 0usize..15, digit in 0u8..10) {
        let good = "440301103448669";
        let mut changed = good.as_bytes().to_vec();
        changed[place] = b'0' + digit;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert_eq!(RegistrationNumber::parse(&changed).is_ok(), changed == good);
    }
}
