//! The unified social credit code against public codes and against what its arithmetic promises.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use formats::uscc::{Uscc, UsccError};
use proptest::prelude::*;

const ALPHABET: &str = "0123456789ABCDEFGHJKLMNPQRTUWXY";

/// `code,valid,reason` rows; a reason of an invalid row begins with the kind of fault.
const PUBLIC: &str = include_str!("data/uscc_public.csv");

#[test]
fn every_public_code_is_judged_as_the_public_record_says() {
    let mut rows = 0;
    for row in PUBLIC.lines().skip(1) {
        let mut columns = row.splitn(3, ',');
        let (code, valid, reason) =
            (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap());
        let parsed = Uscc::parse(code);
        match valid {
            "yes" => assert_eq!(parsed.unwrap().as_str(), code, "{reason}"),
            _ if reason.starts_with("alphabet") => {
                assert!(matches!(parsed, Err(UsccError::Character { .. })), "{row}: {parsed:?}")
            }
            _ => assert!(
                matches!(parsed, Err(UsccError::SubjectCheck { .. } | UsccError::Check { .. })),
                "{row}: {parsed:?}"
            ),
        }
        rows += 1;
    }
    assert_eq!(rows, 20);
}

#[test]
fn an_error_names_position_and_reason() {
    let check = |text: &str, error: UsccError, position: Option<usize>| {
        let found = Uscc::parse(text).unwrap_err();
        assert_eq!(found, error, "{text}");
        assert_eq!(found.position(), position, "{text}");
    };
    check("", UsccError::Length { found: 0 }, None);
    check("440301103448669", UsccError::Length { found: 15 }, None);
    check("91350100M000100Y43 ", UsccError::Length { found: 19 }, None);
    check(" 1350100M000100Y43", UsccError::Character { position: 1, found: ' ' }, Some(1));
    check("91350100m000100Y43", UsccError::Character { position: 9, found: 'm' }, Some(9));
    check("91350100M000100Y4Z", UsccError::Character { position: 18, found: 'Z' }, Some(18));
    check("９1350100M000100Y43", UsccError::Character { position: 1, found: '９' }, Some(1));
    check("B1350100M000100Y43", UsccError::Department { found: 'B' }, Some(1));
    check("97350100M000100Y43", UsccError::Category { department: '9', found: '7' }, Some(2));
    check("9135010AM000100Y43", UsccError::Region { position: 8, found: 'A' }, Some(8));
    check("91350100M000100Y53", UsccError::SubjectCheck { expected: '4', found: '5' }, Some(17));
    check("914403001922038217", UsccError::Check { expected: '6', found: '7' }, Some(18));
}

#[test]
fn a_letter_may_name_the_department() {
    assert_eq!(Uscc::parse("N2610114MF454JFT3B").unwrap().to_string(), "N2610114MF454JFT3B");
}

#[test]
fn the_department_decides_which_categories_exist() {
    let table = [
        ('1', "1239"),
        ('2', "19"),
        ('3', "123459"),
        ('4', "19"),
        ('5', "1239"),
        ('6', "129"),
        ('7', "129"),
        ('8', "19"),
        ('9', "123"),
        ('A', "19"),
        ('N', "1239"),
        ('Y', "1"),
    ];
    for department in ALPHABET.chars() {
        let categories = table.iter().find(|(known, _)| *known == department).map_or("", |(_, c)| *c);
        for category in ALPHABET.chars() {
            let made = Uscc::with_check_digits(&format!("{department}{category}610000M000100Y"));
            assert_eq!(made.is_ok(), categories.contains(category), "{department}{category}: {made:?}");
        }
    }
}

#[test]
fn test_enterprises_exist_only_in_the_sandbox() {
    let code = "ZZJGD1609314154606";
    assert_eq!(Uscc::parse(code), Err(UsccError::Character { position: 1, found: 'Z' }));
    assert!(serde_json::from_str::<Uscc>(&format!("\"{code}\"")).is_err());
    let uscc = Uscc::parse_sandbox(code).unwrap();
    assert!(uscc.is_test());
    assert_eq!(uscc.as_str(), code);

    assert!(Uscc::parse_sandbox("ZZJGD160931415460X").is_err());
    assert!(Uscc::parse_sandbox("ZZJGD160931415460").is_err());
    assert!(!Uscc::parse_sandbox("91350100M000100Y43").unwrap().is_test());
    assert!(Uscc::parse_sandbox("91350100M000100Y44").is_err());
}

#[test]
fn json_carries_the_code_as_a_string_and_checks_it() {
    let uscc: Uscc = serde_json::from_str("\"91350100M000100Y43\"").unwrap();
    assert_eq!(serde_json::to_string(&uscc).unwrap(), "\"91350100M000100Y43\"");
    let error = serde_json::from_str::<Uscc>("\"91350100M000100Y44\"").unwrap_err();
    assert!(error.to_string().contains("position 18"), "{error}");
}

/// A code of any department the registers of market entities use, from random region and subject.
fn any_code() -> impl Strategy<Value = Uscc> {
    (
        prop::sample::select(vec!["91", "92", "93", "11", "51", "N2", "A1", "Y1"]),
        "[0-9]{6}",
        "[0-9A-HJ-NP-RTUW-Y]{8}",
    )
        .prop_map(|(kind, region, subject)| {
            Uscc::with_check_digits(&format!("{kind}{region}{subject}")).unwrap()
        })
}

proptest! {
    #[test]
    fn a_completed_code_parses(code in any_code()) {
        prop_assert_eq!(Uscc::parse(code.as_str()), Ok(code));
    }

    /// Weights are powers of 3, never 0 modulo 31, and the values are distinct below 31.
    #[test]
    fn any_single_substitution_is_detected(code in any_code(), position in 0usize..18, other in 0usize..31) {
        let other = ALPHABET.as_bytes()[other];
        let mut bytes = code.as_str().as_bytes().to_vec();
        prop_assume!(bytes[position] != other);
        bytes[position] = other;
        prop_assert!(Uscc::parse(std::str::from_utf8(&bytes).unwrap()).is_err());
    }

    /// Neighbouring weights differ modulo 31, the check character's own (1) from its neighbour's (28) too.
    #[test]
    fn any_swap_of_different_neighbours_is_detected(code in any_code(), position in 0usize..17) {
        let mut bytes = code.as_str().as_bytes().to_vec();
        prop_assume!(bytes[position] != bytes[position + 1]);
        bytes.swap(position, position + 1);
        prop_assert!(Uscc::parse(std::str::from_utf8(&bytes).unwrap()).is_err());
    }

    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        if let Ok(code) = Uscc::parse_sandbox(&text) {
            prop_assert_eq!(code.as_str(), text);
        }
    }
}
