use crate::support::{codes, gateway};

const CERT_ID: &str = "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.002.S";

#[test]
fn good_codes_are_valid_and_one_bad_one_makes_the_exit_code_one() {
    let ran = gateway("uscc --json 91350100M000100Y43 N2610114MF454JFT3B", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    let objects = ran.objects();
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[0]["identifier"], "91350100M000100Y43");
    assert_eq!(objects[0]["verdict"], "valid");
    assert_eq!(objects[0]["parts"]["region"], "350100");

    let ran = gateway("uscc --json 91350100M000100Y43 914403001922038217", &[]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.objects()[0]["verdict"], "valid");
    assert_eq!(ran.objects()[1]["verdict"], "invalid");
    assert_eq!(codes(&ran.objects()[1]), ["check_wrong"]);
}

#[test]
fn what_is_missing_or_wrong_in_a_code_is_named() {
    for (code, finding) in [
        ("91350100M000100Y4", "length_wrong"),
        ("91350100M000100Y4Z", "character_not_permitted"),
        ("B1350100M000100Y43", "department_unknown"),
        ("440301103448669", "is_registration_number"),
        ("ZZJGD1609314154606", "test_identity_in_production"),
        ("", "length_wrong"),
    ] {
        gateway("uscc --json", &[code]).expect(1, "invalid", Some(finding));
    }
    gateway("uscc --json --sandbox ZZJGD1609314154606", &[]).expect(0, "valid", Some("test_identity"));
    let meant = gateway("uscc --json", &["９1350100m000100Y43"]).expect(1, "invalid", None);
    assert_eq!(meant["normalised"], "91350100M000100Y43");
}

#[test]
fn certificate_identifiers_are_judged_by_every_layer() {
    let good = gateway("cert-id --json", &[CERT_ID]).expect(0, "valid", None);
    assert_eq!(good["parts"]["issuer"], "11430000006122244L");
    assert_eq!(good["parts"]["version"], 2);
    gateway("cert-id --json", &[&CERT_ID.replace(".S", ".T")]).expect(1, "invalid", Some("check_wrong"));
    gateway("cert-id --json", &["1.2.3"]).expect(1, "invalid", Some("root_wrong"));
}

#[test]
fn the_text_is_in_the_language_asked_for_and_no_identifier_is_wrong_usage() {
    let chinese = gateway("uscc --lang zh 914403001922038217", &[]);
    assert!(chinese.stdout.contains("无效") && chinese.stdout.contains("校验位错误"), "{}", chinese.stdout);
    let english = gateway("uscc --lang en 914403001922038217", &[]);
    assert!(english.stdout.contains("invalid (unified social credit code)"), "{}", english.stdout);
    assert_eq!(gateway("uscc --json", &[]).code, 2);
    assert_eq!(gateway("cert-id --lang fr x", &[]).code, 2);
}
