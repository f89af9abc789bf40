//! Looking up faces and statuses in the library.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use formats::uscc::Uscc;
use serde_json::{Map, Value, json};
use store::EntityRecord;
use verify_front::{FieldGrant, FrontError};

mod fixture;
use fixture::{AT, Front, entity, front, good, licenses, record};

async fn stocked() -> Front {
    let front = front(false).await;
    for license in licenses(certs_test::LicenseKind::Good) {
        front.store.upsert_entity(&entity(license)).await.unwrap();
        front.store.insert_license(&record(license)).await.unwrap();
    }
    front
}

async fn face(front: &Front, granted: &[&str]) -> Map<String, Value> {
    let granted = FieldGrant::new(granted.iter().copied());
    front.front.face(&entity(good()).uscc, &granted).await.unwrap().unwrap().face
}

#[tokio::test]
async fn only_granted_fields_leave() {
    let front = stocked().await;
    let register = entity(good()).face;
    for field in ["name", "domicile", "established", "business_scope"] {
        let face = face(&front, &[field, "no_such_field"]).await;
        assert_eq!(face, Map::from_iter([(field.to_owned(), register[field].clone())]));
    }
    assert!(face(&front, &[]).await.is_empty());
}

#[tokio::test]
async fn a_person_is_masked_unless_granted_in_full() {
    let front = stocked().await;
    let name = entity(good()).face["legal_representative"].as_str().unwrap().to_owned();
    assert_eq!(name.chars().count(), 3);
    for (granted, wanted) in [
        (&["name"][..], None),
        (&["legal_representative"], Some(format!("{}**", name.chars().next().unwrap()))),
        (&["legal_representative_full"], Some(name.clone())),
        (&["legal_representative", "legal_representative_full"], Some(name.clone())),
        (&["*"], Some(name.clone())),
    ] {
        let face = face(&front, granted).await;
        let shown = face.get("legal_representative").map(|value| value.as_str().unwrap().to_owned());
        assert_eq!(shown, wanted, "{granted:?}");
    }
}

#[tokio::test]
async fn raw_attributes_never_leave_because_they_would_go_round_the_mask() {
    let front = stocked().await;
    assert!(entity(good()).face["attributes"].is_object(), "the register holds them");
    for granted in [&["attributes", "legal_representative"][..], &["*"]] {
        assert!(!face(&front, granted).await.contains_key("attributes"));
    }
}

#[tokio::test]
async fn a_face_answer_names_its_entity_and_its_date() {
    let front = stocked().await;
    let granted = FieldGrant::new(["template"]);
    let answer = front.front.face(&entity(good()).uscc, &granted).await.unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(answer).unwrap(),
        json!({"uscc": good().uscc, "face": {"template": "A"}, "as_of": "2024-05-06T07:08:09Z"})
    );
}

#[tokio::test]
async fn an_unknown_entity_has_neither_face_nor_status() {
    let front = stocked().await;
    let unknown = Uscc::parse("91350100M000100Y43").unwrap();
    assert_eq!(front.front.status(&unknown).await.unwrap(), None);
    assert_eq!(front.front.face(&unknown, &FieldGrant::new(["*"])).await.unwrap(), None);
}

#[tokio::test]
async fn a_test_identity_is_served_in_the_sandbox_only() {
    let test = Uscc::parse_sandbox("ZZJGD1609314154606").unwrap();
    let everything = FieldGrant::new(["*"]);
    for sandbox in [false, true] {
        let front = front(sandbox).await;
        let entity = EntityRecord { uscc: test, status_as_of: AT, ..entity(good()) };
        front.store.upsert_entity(&entity).await.unwrap();
        let face = front.front.face(&test, &everything).await;
        let status = front.front.status(&test).await;
        if sandbox {
            assert!(face.unwrap().is_some() && status.unwrap().is_some());
        } else {
            assert!(matches!(face, Err(FrontError::TestIdentityInProduction)), "{face:?}");
            assert!(matches!(status, Err(FrontError::TestIdentityInProduction)), "{status:?}");
        }
    }
}
