use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-06-01 0:00 UTC);

fn table() -> DecisionTable {
    DecisionTable::built_in().expect("the table is whole")
}

fn status(code: i64, flag: &str) -> StatusAnswer {
    let flags = if flag.is_empty() { Vec::new() } else { vec![flag.to_owned()] };
    StatusAnswer { code, text: "", flags, as_of: NOW }
}

fn question(license_use: LicenseUse, role: Role, item: &str) -> DecisionQuestion {
    let item = (!item.is_empty()).then(|| item.to_owned());
    DecisionQuestion { license_use, role, item, authorisation: None, at: NOW }
}

/// The whole of domain's table: of each standing what login, show, sign and file are worth, for no item, for an ordinary one,
/// for a liquidation and for a deregistration.
#[test]
fn each_standing_permits_what_its_row_says_and_nothing_else() {
    use LicenseUse::{File, Login, Show, Sign};
    const ITEMS: [&str; 4] = ["", "annual-report", "liquidation", "deregistration"];
    let (yes, no) = ([true; 4], [false; 4]);
    let (liquidation, deregistration) = ([false, false, true, true], [false, false, false, true]);
    for (code, flag, wanted, marked) in [
        (1, "", [yes, yes, yes, yes], [false; 4]),
        (1, "经营异常名录", [yes, yes, yes, yes], [false; 4]),
        (1, "另册管理", [yes, yes, yes, yes], [true; 4]),
        (1, "拟强制注销公告中", [yes, yes, yes, yes], [false, true, false, false]),
        (1, "恢复登记", [deregistration, yes, deregistration, yes], [true, true, true, false]),
        (2, "", [liquidation, yes, liquidation, yes], [true; 4]),
        (2, "恢复登记", [deregistration, yes, deregistration, yes], [true, true, true, false]),
        (2, "吊销,视同注销", [no; 4], [true; 4]),
        (1, "已强制注销", [no; 4], [true; 4]),
        (3, "", [no; 4], [true; 4]),
        (4, "", [no; 4], [true; 4]),
        (4, "恢复登记", [no; 4], [true; 4]),
        (5, "", [no; 4], [true; 4]),
        (6, "", [no; 4], [true; 4]),
        (9, "", [yes, yes, yes, yes], [true; 4]),
    ] {
        let uses = [Login, Show, Sign, File].into_iter().zip(wanted).zip(marked);
        for ((license_use, wanted), marked) in uses {
            for (item, wanted) in ITEMS.into_iter().zip(wanted) {
                let question = question(license_use, Role::LegalRepresentative, item);
                let decision = table().decide(&question, Verdict::Valid, Some(&status(code, flag)));
                let place = format!("{code} {flag} {license_use:?} {item}: {decision:?}");
                assert_eq!((decision.permitted, decision.marked), (wanted, marked), "{place}");
                assert_eq!(decision.permitted, decision.reason.is_none(), "{place}");
            }
        }
    }
}

#[test]
fn an_item_is_for_its_roles() {
    use Role::{Administrator, Agent, LegalRepresentative};
    let good = status(1, "");
    for (item, role, wanted) in [
        ("appoint-administrator", LegalRepresentative, None),
        ("appoint-administrator", Administrator, Some("role_not_permitted")),
        ("authorise-agent", Administrator, None),
        ("authorise-agent", Agent, Some("role_not_permitted")),
        ("annual-report", Administrator, None),
        ("annual-report", Agent, Some("authorisation_missing")),
        ("no-such-item", LegalRepresentative, Some("item_unknown")),
    ] {
        let decision = table().decide(&question(LicenseUse::Login, role, item), Verdict::Valid, Some(&good));
        assert_eq!(decision.reason, wanted, "{item} {role:?}");
    }
}

#[test]
fn an_agent_acts_within_his_authorisation() {
    let by = |items: Option<&[&str]>, until| {
        let items = items.map(|items| items.iter().map(|item| (*item).to_owned()).collect());
        Some(Authorisation { id: Some("sq-1".to_owned()), items, until })
    };
    let later = datetime!(2027-01-01 0:00 UTC);
    for (item, authorisation, wanted) in [
        ("annual-report", by(None, later), None),
        ("", by(None, later), None),
        ("annual-report", by(Some(&["annual-report"]), later), None),
        ("annual-report", by(Some(&["liquidation"]), later), Some("authorisation_not_for_item")),
        ("", by(Some(&["liquidation"]), later), Some("item_required")),
        ("annual-report", by(None, NOW), Some("authorisation_expired")),
    ] {
        let question = DecisionQuestion { authorisation, ..question(LicenseUse::Login, Role::Agent, item) };
        let decision = table().decide(&question, Verdict::Valid, Some(&status(1, "")));
        assert_eq!(decision.reason, wanted, "{item} {question:?}");
        assert_eq!(decision.authorisation.as_deref(), Some("sq-1"));
    }
}

#[test]
fn nobody_acts_by_a_license_that_is_not_valid_or_of_an_unknown_status() {
    let question = question(LicenseUse::Show, Role::LegalRepresentative, "");
    for verdict in [Verdict::Invalid, Verdict::Indeterminate] {
        let decision = table().decide(&question, verdict, Some(&status(1, "")));
        assert_eq!((decision.permitted, decision.reason), (false, Some("license_not_valid")));
    }
    assert_eq!(table().decide(&question, Verdict::Valid, None).reason, Some("status_unknown"));
    let unheard_of = table().decide(&question, Verdict::Valid, Some(&status(7, "")));
    assert_eq!(unheard_of.reason, Some("status_not_permitted"), "what no row speaks of is refused");
    let ended = |license_use| {
        let question = DecisionQuestion { license_use, ..question.clone() };
        table().decide(&question, Verdict::Invalid, Some(&status(4, ""))).reason
    };
    assert_eq!(ended(LicenseUse::Show), Some("status_not_permitted"));
    assert_eq!(ended(LicenseUse::File), Some("archive_only"), "what is on file stays there");
}

#[test]
fn a_table_that_is_not_whole_is_not_read() {
    let built_in = include_str!("../../data/decisions.toml");
    let with = |from: &str, to: &str| {
        assert!(built_in.contains(from), "{from}");
        DecisionTable::parse(&built_in.replacen(from, to, 1)).expect_err(to).to_string()
    };
    for (from, to, said) in [
        ("version = \"2026-2\"", "", "version"),
        ("version = \"2026-2\"", "version = \" \"", "version must be"),
        ("code = \"annual-report\"", "code = \"liquidation\"", "item liquidation is there twice"),
        ("roles = [\"legal_representative\"]", "roles = []", "item appoint-administrator has no roles"),
        ("roles = [\"legal_representative\"]", "roles = [\"boss\"]", "boss"),
        ("statuses = [3, 4, 5, 6]", "statuses = [3, 4, 5, 7]", "7 is no registration status"),
        ("statuses = [3, 4, 5, 6]", "statuses = [3, 4, 5]", "no standing without flags speaks of status 6"),
        ("\"only:liquidation\"", "\"only:wedding\"", "\"only:wedding\" must be"),
        ("login = \"refused\"", "login = \"no\"", "\"no\" must be"),
        ("login = \"refused\"", "", "login"),
        ("login = \"refused\"", "login = \"refused\"\nlogout = \"refused\"", "logout"),
    ] {
        let error = with(from, to);
        assert!(error.contains(said), "{to}: {error}");
    }
    let other = DecisionTable::parse(&built_in.replace("2026-2", "2026-3")).expect("another version");
    assert_eq!(other.version(), "2026-3");
    assert_ne!(other.digest(), table().digest());
}
