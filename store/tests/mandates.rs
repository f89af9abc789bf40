//! The register of mandates: each change beside its record or not at all, and no signature more than was granted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::LazyLock;

use certs_test::{Options, Sandbox};
use config::{AppId, GroupId, KeyId, MandateNumber};
use formats::{Certificate, Uscc};
use store::{
    AuditEntry, AuditLog, AuditWriter, DataKey, DataKeys, Grantor, Mandate, MandateFormat, MandateOrder,
    MandateQuery, MandateRefusal, MandateState, MandateTerms, MandateUse, NewMandate, Store, StoreError,
    Terms, WrappedKey, WrappingKey,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

on_both_databases! {
    a_mandate_is_entered_with_its_key_and_its_record_and_found_again,
    a_mandate_goes_its_way_and_its_end_destroys_the_key,
    of_two_changes_of_one_mandate_one_is_made_and_recorded,
    no_signature_more_is_taken_than_was_granted,
    what_is_not_in_force_gives_no_signature,
    what_a_mandate_grants_cannot_be_changed_or_forgotten,
    a_mandate_that_was_altered_is_not_used,
    a_new_data_key_takes_mandates_over,
    mandates_are_listed_by_app_page_by_page,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| certs_test::generate(&Options { seed: [7; 32], at: AT }).unwrap());

fn certificate() -> Certificate {
    let found = SANDBOX.services.iter().find(|known| known.id == "demo-sm2").unwrap();
    Certificate::from_der(&found.chain[0]).unwrap()
}

fn id(number: &str) -> MandateNumber {
    MandateNumber::parse(number).unwrap()
}

fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

fn key(name: &str) -> WrappingKey {
    WrappingKey { id: KeyId::parse(name).unwrap(), version: 1 }
}

fn mandate(number: &str) -> NewMandate {
    NewMandate {
        id: id(number),
        enterprise: Uscc::parse_sandbox(&SANDBOX.licenses[0].uscc).unwrap(),
        name: "测试有限公司".to_owned(),
        grantor: Grantor { name: "测试甲".to_owned(), id_number: "canary-number-31".to_owned() },
        evidence: "ab".repeat(32),
        apps: [app("window"), app("portal")].into(),
        terms: MandateTerms {
            formats: [MandateFormat::Pdf, MandateFormat::Digest].into(),
            purposes: ["合同".to_owned()].into(),
            per_day: 3,
            in_all: 5,
            largest_octets: 1000,
            branches: [].into(),
            valid_from: AT - Duration::days(1),
            valid_until: AT + Duration::days(30),
        },
        key: WrappedKey {
            id: KeyId::parse(&format!("mandate.{number}")).unwrap(),
            owner: number.to_owned(),
            group: GroupId::parse("bureau").unwrap(),
            wrapping_key: key("sys-kek"),
            algorithm: "sm2".to_owned(),
            public_key: vec![0x30, 0x59],
            blob: b"blob".to_vec(),
            mac: [9; 32],
            created_at: AT,
            destroyed_at: None,
        },
        code_key: key("sys-mac"),
    }
}

fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: "person:a".to_owned(),
        at: AT,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: "1".to_owned(),
        result_digest: None,
        subject: None,
    }
}

fn keys(secrets: &[u8]) -> DataKeys {
    let keys = (1..).zip(secrets).map(|(version, secret)| DataKey::new(version, &[*secret; 32]));
    DataKeys::new(keys.collect()).unwrap()
}

fn one_of(mandate: &Mandate, day: i64) -> MandateUse {
    MandateUse {
        mandate: mandate.id.clone(),
        version: mandate.version,
        day,
        per_day: mandate.terms.per_day,
        in_all: mandate.terms.in_all,
        count: 1,
    }
}

struct Register {
    store: Store,
    log: AuditLog,
    writer: AuditWriter,
}

impl Register {
    async fn new(database: &Database) -> Self {
        let store = database.create().await;
        store.protection().unlock(keys(&[1]));
        let (log, writer) = AuditLog::start(&store).await.unwrap();
        Self { store, log, writer }
    }

    async fn enter(&self, new: NewMandate) -> Result<u64, StoreError> {
        let change = self.store.enter_mandate(new, "person:a", "granted", AT).await?;
        self.log.append_mandate(entry("mandate.create"), change).await
    }

    async fn certify(&self, number: &str) {
        let (number, certificates) = (id(number), vec![certificate()]);
        let change =
            self.store.certify_mandate(&number, certificates, "person:a", "issued", AT).await.unwrap();
        self.log.append_mandate(entry("mandate.certify"), change).await.unwrap();
    }

    async fn change(&self, number: &str, to: MandateState) -> Result<u64, StoreError> {
        let change = self.store.change_mandate(&id(number), to, "person:b", "because", AT).await?;
        self.log.append_mandate(entry("mandate.change"), change).await
    }

    async fn in_force(&self, number: &str) -> Mandate {
        self.enter(mandate(number)).await.unwrap();
        self.certify(number).await;
        self.change(number, MandateState::Active).await.unwrap();
        self.store.mandate(&id(number)).await.unwrap()
    }

    async fn take(&self, wanted: &MandateUse) -> Result<u64, MandateRefusal> {
        self.log.append_mandate_use(entry("stamp.pdf"), wanted.clone()).await.unwrap()
    }

    async fn recorded(&self) -> usize {
        self.log.entries(0, 1000).await.unwrap().len()
    }

    async fn finish(self) {
        drop(self.log);
        self.writer.finish().await;
    }
}

async fn a_mandate_is_entered_with_its_key_and_its_record_and_found_again(database: &Database) {
    let register = Register::new(database).await;
    let index = register.enter(mandate("M-1")).await.unwrap();
    let found = register.store.mandate(&id("M-1")).await.unwrap();
    assert_eq!((found.state, found.version, &*found.name), (MandateState::Draft, 1, "测试有限公司"));
    assert_eq!(found.grantor, mandate("M-1").grantor);
    assert_eq!((found.terms, found.apps), (mandate("M-1").terms, mandate("M-1").apps));
    let wrapped = register.store.wrapped_key(&found.key).await.unwrap().unwrap();
    assert_eq!((wrapped.owner.as_str(), wrapped.blob), ("M-1", b"blob".to_vec()));
    let events = register.store.mandate_events(&id("M-1")).await.unwrap();
    assert_eq!((events.len(), events[0].audit_index), (1, index));
    let again = register.enter(mandate("M-1")).await.unwrap_err();
    assert!(matches!(again, StoreError::AlreadyExists { what: "mandate", .. }), "{again:?}");
    let contents = database.contents();
    assert!(!contents.windows(16).any(|octets| octets == b"canary-number-31"), "who granted it is sealed");
    register.finish().await;
}

async fn a_mandate_goes_its_way_and_its_end_destroys_the_key(database: &Database) {
    let register = Register::new(database).await;
    register.enter(mandate("M-1")).await.unwrap();
    for to in [MandateState::Active, MandateState::Suspended, MandateState::Draft] {
        let error = register.change("M-1", to).await.unwrap_err();
        assert!(matches!(error, StoreError::NotAllowed { state: "draft", .. }), "{error:?}");
    }
    register.certify("M-1").await;
    register.change("M-1", MandateState::Active).await.unwrap();
    let late = register.store.certify_mandate(&id("M-1"), vec![certificate()], "a", "b", AT).await;
    assert!(matches!(late.unwrap_err(), StoreError::NotAllowed { state: "active", .. }));
    register.change("M-1", MandateState::Suspended).await.unwrap();
    register.change("M-1", MandateState::Active).await.unwrap();
    register.change("M-1", MandateState::Ended).await.unwrap();
    let ended = register.store.mandate(&id("M-1")).await.unwrap();
    assert_eq!((ended.state, ended.version), (MandateState::Ended, 6));
    let wrapped = register.store.wrapped_key(&ended.key).await.unwrap().unwrap();
    assert!(wrapped.blob.is_empty() && wrapped.destroyed_at.is_some(), "{wrapped:?}");
    for to in [MandateState::Active, MandateState::Suspended, MandateState::Ended] {
        let error = register.change("M-1", to).await.unwrap_err();
        assert!(matches!(error, StoreError::NotAllowed { state: "ended", .. }), "{error:?}");
    }
    assert_eq!(register.recorded().await, 6);
    register.finish().await;
}

async fn of_two_changes_of_one_mandate_one_is_made_and_recorded(database: &Database) {
    let register = Register::new(database).await;
    let mandate = register.in_force("M-1").await;
    let before = register.recorded().await;
    let prepare = |to| register.store.change_mandate(&mandate.id, to, "person:b", "because", AT);
    let (first, second) =
        (prepare(MandateState::Suspended).await.unwrap(), prepare(MandateState::Ended).await.unwrap());
    let made = first.makes();
    assert_eq!(register.store.mandate_change_on_record(&made).await.unwrap(), None);
    let index = register.log.append_mandate(entry("mandate.suspend"), first).await.unwrap();
    assert_eq!(register.store.mandate_change_on_record(&made).await.unwrap(), Some(index));
    // Nor is one made that was decided on before.
    let decided = Terms::from(AT).since(Some(mandate.version.into()));
    let stale =
        register.store.change_mandate(&mandate.id, MandateState::Ended, "person:b", "because", decided);
    assert!(matches!(stale.await.unwrap_err(), StoreError::Changed { .. }));
    let late = register.log.append_mandate(entry("mandate.end"), second).await.unwrap_err();
    assert!(matches!(late, StoreError::NotAllowed { state: "changed", .. }), "{late:?}");
    assert_eq!(register.recorded().await, before + 1);
    let key = register.store.wrapped_key(&mandate.key).await.unwrap().unwrap();
    assert!(key.destroyed_at.is_none());
    register.finish().await;
}

async fn no_signature_more_is_taken_than_was_granted(database: &Database) {
    let register = Register::new(database).await;
    let mandate = register.in_force("M-1").await;
    let before = register.recorded().await;
    // Ten at once: three on a day.
    let today = one_of(&mandate, 100);
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (log, wanted) = (register.log.clone(), today.clone());
        tasks.spawn(async move { log.append_mandate_use(entry("stamp.pdf"), wanted).await.unwrap() });
    }
    let taken = tasks.join_all().await;
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 3);
    assert!(
        taken.iter().flat_map(|taken| taken.as_ref().err()).all(|why| *why == MandateRefusal::UsedUpToday(3))
    );
    assert_eq!(register.recorded().await, before + 3, "what is refused is no intention");
    // One is not used, and may be taken again.
    register.log.append_mandate_unused(entry("stamp.pdf"), today.clone()).await.unwrap();
    register.take(&today).await.unwrap();
    assert_eq!(register.take(&today).await, Err(MandateRefusal::UsedUpToday(3)));
    // Two are left for all other days.
    let tomorrow = one_of(&mandate, 101);
    register.take(&tomorrow).await.unwrap();
    register.take(&tomorrow).await.unwrap();
    assert_eq!(register.take(&tomorrow).await, Err(MandateRefusal::UsedUp(5)));
    let counted = register.store.taken_of_mandate(&mandate.id, 101).await.unwrap();
    assert_eq!((counted.on_day, counted.in_all), (2, 5));
    register.finish().await;
}

async fn what_is_not_in_force_gives_no_signature(database: &Database) {
    let register = Register::new(database).await;
    register.enter(mandate("M-0")).await.unwrap();
    let draft = register.store.mandate(&id("M-0")).await.unwrap();
    assert_eq!(register.take(&one_of(&draft, 1)).await, Err(MandateRefusal::NotActive));
    let mandate = register.in_force("M-1").await;
    let wanted = one_of(&mandate, 1);
    register.change("M-1", MandateState::Suspended).await.unwrap();
    assert_eq!(register.take(&wanted).await, Err(MandateRefusal::Suspended));
    register.change("M-1", MandateState::Active).await.unwrap();
    // It was looked at before: whoever asks anew has it.
    assert_eq!(register.take(&wanted).await, Err(MandateRefusal::NotActive));
    let anew = register.store.mandate(&mandate.id).await.unwrap();
    register.take(&one_of(&anew, 1)).await.unwrap();
    register.change("M-1", MandateState::Ended).await.unwrap();
    assert_eq!(register.take(&one_of(&anew, 1)).await, Err(MandateRefusal::Ended));

    // What it is for.
    let order = MandateOrder { format: MandateFormat::Pdf, purpose: "合同", octets: 1000 };
    assert!(anew.refusals(Some(order), AT).is_empty());
    let other = MandateOrder { format: MandateFormat::Ofd, purpose: "别的", octets: 1001 };
    let codes: Vec<_> = anew.refusals(Some(other), AT).iter().map(MandateRefusal::code).collect();
    assert_eq!(codes, ["mandate_format", "mandate_purpose", "mandate_document_too_large"]);
    let late = anew.refusals(None, anew.terms.valid_until + Duration::SECOND);
    assert_eq!(late[0].code(), "mandate_expired");
    assert!(anew.refusals(None, anew.terms.valid_until).is_empty(), "its last second counts");
    let early = anew.refusals(None, anew.terms.valid_from - Duration::SECOND);
    assert_eq!(early[0].code(), "mandate_not_yet_valid");
    register.finish().await;
}

async fn what_a_mandate_grants_cannot_be_changed_or_forgotten(database: &Database) {
    let register = Register::new(database).await;
    register.in_force("M-1").await;
    register.finish().await;
    let mut raw = database.raw().await;
    for statement in [
        "UPDATE mandates SET apps = '[]'",
        "UPDATE mandates SET terms = '{}'",
        "UPDATE mandates SET certificates = 'other'",
        "UPDATE mandates SET state = 'draft'",
        "UPDATE mandates SET certificates = '', state = 'active'",
        "DELETE FROM mandates",
        "UPDATE mandate_events SET reason = 'other'",
        "DELETE FROM mandate_events",
    ] {
        raw.execute(statement).await.expect_err(statement);
    }
}

async fn a_mandate_that_was_altered_is_not_used(database: &Database) {
    let register = Register::new(database).await;
    register.in_force("M-1").await;
    register.in_force("M-2").await;
    register.change("M-1", MandateState::Suspended).await.unwrap();
    let mut raw = database.raw().await;
    raw.execute("UPDATE mandates SET state = 'active' WHERE id = 'M-1'").await.unwrap();
    let error = register.store.mandate(&id("M-1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Altered { .. }), "{error:?}");
    let listed =
        register.store.mandates(&MandateQuery { limit: 10, ..MandateQuery::default() }).await.unwrap();
    assert_eq!(listed.items.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["M-2"]);
    drop(raw);
    register.finish().await;
}

async fn a_new_data_key_takes_mandates_over(database: &Database) {
    let register = Register::new(database).await;
    let wanted = one_of(&register.in_force("M-1").await, 1);
    register.store.protection().unlock(keys(&[1, 2]));
    assert_eq!(register.store.renew_protection().await.unwrap(), 1);
    assert_eq!(register.store.renew_protection().await.unwrap(), 0);
    let only = DataKeys::new(vec![DataKey::new(2, &[2; 32])]).unwrap();
    register.store.protection().unlock(only);
    let found = register.store.mandate(&id("M-1")).await.unwrap();
    assert_eq!((found.version, found.grantor), (3, mandate("M-1").grantor));
    register.take(&wanted).await.unwrap();
    register.finish().await;
}

async fn mandates_are_listed_by_app_page_by_page(database: &Database) {
    let register = Register::new(database).await;
    for number in ["M-1", "M-2", "M-3"] {
        register.enter(mandate(number)).await.unwrap();
    }
    let other = NewMandate { apps: [app("portal")].into(), ..mandate("M-4") };
    register.enter(other).await.unwrap();
    let mut wanted = MandateQuery { app: Some(app("window")), limit: 2, ..MandateQuery::default() };
    let first = register.store.mandates(&wanted).await.unwrap();
    assert_eq!((first.items.len(), first.next.as_deref()), (2, Some("M-2")));
    wanted.after = Some(id("M-2"));
    let last = register.store.mandates(&wanted).await.unwrap();
    assert_eq!((last.items[0].id.as_str(), last.items.len(), last.next), ("M-3", 1, None));
    let nobody = MandateQuery { app: Some(app("nobody")), limit: 10, ..MandateQuery::default() };
    assert!(register.store.mandates(&nobody).await.unwrap().items.is_empty());
    let ended = MandateQuery { state: Some(MandateState::Ended), limit: 10, ..MandateQuery::default() };
    assert!(register.store.mandates(&ended).await.unwrap().items.is_empty());
    let of = Some(mandate("M-1").enterprise);
    let all = MandateQuery { enterprise: of, limit: 10, ..MandateQuery::default() };
    assert_eq!(register.store.mandates(&all).await.unwrap().items.len(), 4);
    register.finish().await;
}
