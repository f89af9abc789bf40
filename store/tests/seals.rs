//! The register of seals: each change beside its record or not at all, and nothing comes back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use certs_test::{Options, Sandbox};
use config::SealNumber;
use formats::seal::Seal;
use formats::{Certificate, Uscc};
use store::{
    AuditEntry, AuditLog, AuditWriter, DataKey, DataKeys, NewSeal, RegisteredSeal, SealHolder, SealKind,
    SealQuery, SealRefusal, SealState, Store, StoreError, Terms,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    a_seal_is_entered_with_its_record_and_found_again,
    of_two_changes_of_one_seal_one_is_made_and_recorded,
    what_cannot_be_done_of_a_change_ends_nobody_elses_batch,
    a_change_that_was_decided_on_another_version_is_not_prepared,
    a_change_whose_record_was_not_answered_is_found_where_it_was_made,
    a_number_is_given_once,
    what_was_revoked_or_replaced_does_not_come_back,
    a_replaced_seal_and_the_new_one_change_together_or_not_at_all,
    what_a_seal_is_cannot_be_changed_or_forgotten,
    a_seal_that_was_altered_is_not_used,
    a_new_data_key_takes_seals_over,
    seals_are_listed_page_by_page,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| certs_test::generate(&Options { seed: [7; 32], at: AT }).unwrap());

fn certificate(service: &str) -> Certificate {
    let found = SANDBOX.services.iter().find(|known| known.id == service).unwrap();
    Certificate::from_der(&found.chain[0]).unwrap()
}

fn id(number: &str) -> SealNumber {
    SealNumber::parse(number).unwrap()
}

/// The register does not look at who made a seal; that of the sandbox stands for all.
fn seal(number: &str) -> NewSeal {
    NewSeal {
        id: id(number),
        kind: SealKind::Agency,
        holder: SealHolder {
            name: "测试市市场监督管理局".to_owned(),
            uscc: Some(Uscc::parse_sandbox(&SANDBOX.licenses[0].uscc).unwrap()),
        },
        seal: Seal::from_der(&SANDBOX.sealed.seal).unwrap(),
        svg: None,
        certificates: vec![certificate("demo-sm2")],
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

    async fn enter(&self, number: &str) -> Result<u64, StoreError> {
        let change = self.store.enter_seal(seal(number), "person:a", "as agreed", AT).await?;
        self.log.append_seal(entry("seal.make"), change).await
    }

    async fn change(&self, number: &str, to: SealState) -> Result<u64, StoreError> {
        let change = self.store.change_seal(&id(number), to, "person:b", "lost", AT).await?;
        self.log.append_seal(entry("seal.change"), change).await
    }

    async fn replace(&self, number: &str, by: &str) -> Result<u64, StoreError> {
        let change = self.store.replace_seal(&id(number), seal(by), "person:b", "worn", AT).await?;
        self.log.append_seal(entry("seal.replace"), change).await
    }

    async fn seal(&self, number: &str) -> RegisteredSeal {
        self.store.seal(&id(number)).await.unwrap()
    }

    async fn recorded(&self) -> Vec<String> {
        let entries = self.log.entries(0, 1000).await.unwrap();
        entries.iter().map(|stored| String::from_utf8_lossy(&stored.entry).into_owned()).collect()
    }
}

async fn a_seal_is_entered_with_its_record_and_found_again(database: &Database) {
    let register = Register::new(database).await;
    assert!(matches!(register.store.seal(&id("1")).await, Err(StoreError::NotFound { what: "seal", .. })));
    register.log.append(entry("before")).await.unwrap();
    assert_eq!(register.enter("1").await.unwrap(), 1);
    assert_eq!(register.change("1", SealState::Suspended).await.unwrap(), 2);
    assert_eq!(register.recorded().await.len(), 3);

    let found = register.seal("1").await;
    assert_eq!((found.kind, found.state, found.version), (SealKind::Agency, SealState::Suspended, 2));
    assert_eq!(found.seal.der(), SANDBOX.sealed.seal);
    assert_eq!(found.picture().octets, SANDBOX.sealed.picture);
    assert_eq!(found.holder, seal("1").holder);
    assert_eq!(found.certificates[0].der(), certificate("demo-sm2").der());
    assert_eq!((found.reason.as_str(), found.actor.as_str()), ("lost", "person:b"));
    let events = register.store.seal_events(&id("1")).await.unwrap();
    let events: Vec<_> = events
        .iter()
        .map(|event| (event.version, event.state, event.reason.as_str(), event.audit_index))
        .collect();
    assert_eq!(events, [(1, SealState::Active, "as agreed", 1), (2, SealState::Suspended, "lost", 2)]);

    // The reasons why it cannot be used.
    let codes = |seal: &RegisteredSeal, signer: &str, at| {
        let refusals = seal.refusals(Some(&certificate(signer)), at);
        refusals.iter().map(SealRefusal::code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&found, "demo-sm2", AT), ["seal_suspended"]);
    register.change("1", SealState::Active).await.unwrap();
    let found = register.seal("1").await;
    let (from, until) = (found.seal.info().valid_from, found.seal.info().valid_until);
    assert_eq!(codes(&found, "demo-sm2", AT), [""; 0]);
    assert_eq!(codes(&found, "demo-sm2", from - Duration::SECOND), ["seal_not_yet_valid"]);
    assert_eq!(codes(&found, "demo-sm2", until), [""; 0], "the last second counts");
    assert_eq!(codes(&found, "portal-sm2", until + Duration::SECOND), ["seal_expired", "signer_not_in_seal"]);
    register.writer.finish().await;
}

async fn a_change_that_was_decided_on_another_version_is_not_prepared(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    let seen = i64::from(register.seal("1").await.version);
    register.change("1", SealState::Suspended).await.unwrap();
    register.change("1", SealState::Active).await.unwrap();
    let terms = Terms::from(AT).since(Some(seen));
    let prepared = register.store.change_seal(&id("1"), SealState::Revoked, "person:b", "x", terms).await;
    assert!(matches!(prepared, Err(StoreError::Changed { .. })), "it looks the same: {prepared:?}");
    let prepared = register.store.replace_seal(&id("1"), seal("2"), "person:b", "x", terms).await;
    assert!(matches!(prepared, Err(StoreError::Changed { .. })), "{prepared:?}");
    let terms = Terms::from(AT).since(Some(seen + 2));
    assert!(register.store.change_seal(&id("1"), SealState::Revoked, "person:b", "x", terms).await.is_ok());
    register.writer.finish().await;
}

async fn a_change_whose_record_was_not_answered_is_found_where_it_was_made(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    let Register { store, log, .. } = &register;
    let change = store.change_seal(&id("1"), SealState::Revoked, "person:b", "lost", AT).await.unwrap();
    let makes = change.makes().unwrap();
    let mut raw = database.raw().await;
    raw.block_writers("seals").await;
    {
        // It is on its way, and nobody waits for the answer.
        let mut appending = Box::pin(log.append_seal(entry("seal.revoke"), change));
        let polled = appending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
    }
    assert_eq!(store.seal_change_on_record(&makes).await.unwrap(), None);
    raw.release().await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let index = loop {
        if let Some(index) = store.seal_change_on_record(&makes).await.unwrap() {
            break index;
        }
        assert!(std::time::Instant::now() < until, "it was not made");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!((register.seal("1").await.state, index), (SealState::Revoked, 1));
    register.writer.finish().await;
}

async fn of_two_changes_of_one_seal_one_is_made_and_recorded(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    let Register { store, log, .. } = &register;
    let prepared = async |to| store.change_seal(&id("1"), to, "person:b", "x", AT).await.unwrap();
    let (one, other) = (prepared(SealState::Suspended).await, prepared(SealState::Revoked).await);
    // Beside others in one batch.
    let ((one, other), (beside, more)) = tokio::join!(
        async { tokio::join!(log.append_seal(entry("a"), one), log.append_seal(entry("b"), other)) },
        async { tokio::join!(log.append(entry("c")), log.append(entry("d"))) },
    );
    let mut indices: Vec<_> =
        [one.as_ref().ok(), other.as_ref().ok()].into_iter().flatten().copied().collect();
    assert_eq!(indices.len(), 1, "{one:?} {other:?}");
    let refused = one.err().or(other.err()).unwrap();
    assert!(matches!(refused, StoreError::NotAllowed { what: "seal", state: "changed", .. }), "{refused:?}");
    indices.extend([beside.unwrap(), more.unwrap()]);
    indices.sort_unstable();
    assert_eq!(indices, [1, 2, 3], "what was refused takes no place in the log");
    assert_eq!(register.recorded().await.len(), 4);
    assert_eq!(register.seal("1").await.version, 2);
    assert_eq!(store.seal_events(&id("1")).await.unwrap().len(), 2);
    register.writer.finish().await;
}

async fn what_cannot_be_done_of_a_change_ends_nobody_elses_batch(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    register.enter("2").await.unwrap();
    let Register { store, log, .. } = &register;
    // No database takes this text; the first step of the replacement is done by then.
    let bad = store.change_seal(&id("1"), SealState::Suspended, "person:b", "a\0b", AT).await.unwrap();
    let half = store.replace_seal(&id("2"), seal("3"), "person:b", "worn", AT).await.unwrap();
    register.enter("3").await.unwrap();
    let (bad, half, (one, other)) =
        tokio::join!(log.append_seal(entry("bad"), bad), log.append_seal(entry("half"), half), async {
            tokio::join!(log.append(entry("c")), log.append(entry("d")))
        },);
    assert!(matches!(bad, Err(StoreError::AuditUnavailable)), "{bad:?}");
    assert!(matches!(half, Err(StoreError::NotAllowed { .. })), "{half:?}");
    let mut indices = [one.unwrap(), other.unwrap()];
    indices.sort_unstable();
    assert_eq!(indices, [3, 4]);
    for number in ["1", "2", "3"] {
        assert_eq!(register.seal(number).await.state, SealState::Active, "{number}");
        assert_eq!(store.seal_events(&id(number)).await.unwrap().len(), 1, "{number}");
    }
    assert_eq!(register.recorded().await.len(), 5);
    assert_eq!(register.change("1", SealState::Revoked).await.unwrap(), 5, "the log goes on");
    register.writer.finish().await;
}

async fn a_number_is_given_once(database: &Database) {
    let register = Register::new(database).await;
    let Register { store, log, .. } = &register;
    let prepared = async || store.enter_seal(seal("1"), "person:a", "x", AT).await.unwrap();
    let (one, other) = (prepared().await, prepared().await);
    let (one, other) = tokio::join!(log.append_seal(entry("a"), one), log.append_seal(entry("b"), other));
    let refused = match (one, other) {
        (Ok(0), Err(error)) | (Err(error), Ok(0)) => error,
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, StoreError::AlreadyExists { what: "seal", .. }), "{refused:?}");
    let again = register.enter("1").await.unwrap_err();
    assert!(matches!(again, StoreError::AlreadyExists { what: "seal", .. }), "{again:?}");
    assert_eq!(register.recorded().await.len(), 1);
    register.writer.finish().await;
}

async fn what_was_revoked_or_replaced_does_not_come_back(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    register.enter("2").await.unwrap();
    register.change("1", SealState::Suspended).await.unwrap();
    let twice = register.change("1", SealState::Suspended).await.unwrap_err();
    assert!(matches!(twice, StoreError::NotAllowed { state: "suspended", .. }), "{twice:?}");
    register.change("1", SealState::Revoked).await.unwrap();
    register.replace("2", "3").await.unwrap();
    for number in ["1", "2"] {
        for to in [SealState::Active, SealState::Suspended, SealState::Revoked] {
            let error = register.change(number, to).await.unwrap_err();
            assert!(matches!(error, StoreError::NotAllowed { .. }), "{number} {to} {error:?}");
        }
        register.replace(number, "4").await.unwrap_err();
    }
    let mut raw = database.raw().await;
    raw.execute("UPDATE seals SET state = 'active' WHERE id = '1'").await.unwrap_err();
    let replaced = register.seal("2").await;
    assert_eq!((replaced.state, replaced.replaced_by), (SealState::Replaced, Some(id("3"))));
    register.writer.finish().await;
}

async fn a_replaced_seal_and_the_new_one_change_together_or_not_at_all(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    let Register { store, log, .. } = &register;
    // The new one's number is taken between preparing and doing.
    let prepared = store.replace_seal(&id("1"), seal("2"), "person:b", "worn", AT).await.unwrap();
    register.enter("2").await.unwrap();
    let refused = log.append_seal(entry("seal.replace"), prepared).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotAllowed { .. }), "{refused:?}");
    assert_eq!(register.seal("1").await.state, SealState::Active);
    let taken = store.replace_seal(&id("1"), seal("2"), "person:b", "worn", AT).await.unwrap_err();
    assert!(matches!(taken, StoreError::AlreadyExists { .. }), "{taken:?}");
    // The old one is revoked between preparing and doing.
    let prepared = store.replace_seal(&id("1"), seal("3"), "person:b", "worn", AT).await.unwrap();
    register.change("1", SealState::Revoked).await.unwrap();
    log.append_seal(entry("seal.replace"), prepared).await.unwrap_err();
    assert!(matches!(store.seal(&id("3")).await, Err(StoreError::NotFound { .. })));
    assert_eq!(register.recorded().await.len(), 3);
    register.writer.finish().await;
}

async fn what_a_seal_is_cannot_be_changed_or_forgotten(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    register.writer.finish().await;
    let mut raw = database.raw().await;
    for (statement, words) in [
        ("UPDATE seals SET holder = 'another'", "what a seal is never changes"),
        ("UPDATE seals SET octets = x'00'", "what a seal is never changes"),
        ("UPDATE seals SET certificates = ''", "what a seal is never changes"),
        ("UPDATE seals SET id = '2'", "what a seal is never changes"),
        ("UPDATE seals SET state = 'replaced'", " constraint"),
        ("DELETE FROM seals", "a seal is never forgotten"),
        ("UPDATE seal_events SET reason = 'another'", "what became of a seal does not change"),
        ("DELETE FROM seal_events", "never forgotten"),
    ] {
        raw.refused(statement, &[words]).await;
    }
}

async fn a_seal_that_was_altered_is_not_used(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    register.enter("2").await.unwrap();
    register.change("1", SealState::Suspended).await.unwrap();
    let mut raw = database.raw().await;
    raw.execute("UPDATE seals SET state = 'active' WHERE id = '1'").await.unwrap();
    let altered = register.store.seal(&id("1")).await.unwrap_err();
    assert!(matches!(altered, StoreError::Altered { .. }), "{altered:?}");
    register.change("1", SealState::Revoked).await.expect_err("what is not sound gets no good code");
    let page = register.store.seals(&SealQuery { limit: 10, ..SealQuery::default() }).await.unwrap();
    assert_eq!(page.items.iter().map(|seal| seal.id.as_str()).collect::<Vec<_>>(), ["2"]);
    let taken = register.enter("1").await.unwrap_err();
    assert!(matches!(taken, StoreError::AlreadyExists { .. }), "{taken:?}");
    assert_eq!(register.store.protection().newly_altered(), ["seals 1"]);
    // Nor one that nobody entered.
    raw.execute(
        "INSERT INTO seals (id, kind, holder, uscc, octets, certificates, state, version, reason, actor,
             created_at, changed_at, revision, code)
         SELECT '9', kind, holder, uscc, octets, certificates, state, version, reason, actor, created_at,
             changed_at, revision, code FROM seals WHERE id = '2'",
    )
    .await
    .unwrap();
    let planted = register.store.seal(&id("9")).await.unwrap_err();
    assert!(matches!(planted, StoreError::Altered { .. }), "{planted:?}");
    register.writer.finish().await;
}

async fn a_new_data_key_takes_seals_over(database: &Database) {
    let register = Register::new(database).await;
    register.enter("1").await.unwrap();
    let prepared =
        register.store.change_seal(&id("1"), SealState::Suspended, "person:b", "x", AT).await.unwrap();
    register.store.protection().unlock(keys(&[1, 2]).using(2));
    assert!(register.store.renew_protection().await.unwrap() >= 1);
    assert_eq!(register.store.renew_protection().await.unwrap(), 0);
    register.log.append_seal(entry("late"), prepared).await.expect_err("it rests on the row as it was");
    register.store.protection().unlock(DataKeys::new(vec![DataKey::new(2, &[2; 32])]).unwrap());
    assert_eq!(register.seal("1").await.state, SealState::Active, "it needs the old key no more");
    register.change("1", SealState::Suspended).await.unwrap();
    register.writer.finish().await;
}

async fn seals_are_listed_page_by_page(database: &Database) {
    let register = Register::new(database).await;
    for number in ["a", "b", "c", "d", "e"] {
        register.enter(number).await.unwrap();
    }
    register.change("c", SealState::Revoked).await.unwrap();
    let list = async |query: SealQuery| {
        let page = register.store.seals(&query).await.unwrap();
        (page.items.iter().map(|seal| seal.id.to_string()).collect::<String>(), page.next)
    };
    let first = SealQuery { limit: 2, ..SealQuery::default() };
    assert_eq!(list(first.clone()).await, ("ab".to_owned(), Some("b".to_owned())));
    let next = SealQuery { after: Some(id("b")), ..first.clone() };
    assert_eq!(list(next).await, ("cd".to_owned(), Some("d".to_owned())));
    let last = SealQuery { after: Some(id("d")), ..first.clone() };
    assert_eq!(list(last).await, ("e".to_owned(), None));
    let revoked = SealQuery { state: Some(SealState::Revoked), ..first.clone() };
    assert_eq!(list(revoked).await, ("c".to_owned(), None));
    let other = Uscc::parse_sandbox(&SANDBOX.licenses[1].uscc).unwrap();
    assert_eq!(list(SealQuery { uscc: Some(other), ..first }).await, (String::new(), None));
    register.writer.finish().await;
}
