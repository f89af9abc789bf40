//! A judgement that is remembered says what one made anew would say, at any time and in any order.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use std::sync::LazyLock;

use formats::chain::{RevocationMode, RevocationPolicy, TrustStore, Usage, validate};
use formats::ocsp::OcspResponse;
use formats::{Certificate, Verdict};
use pki::{CrlPlan, Key, NOW, Plan};
use proptest::prelude::*;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use x509_cert::ext::pkix::{CrlReason, KeyUsages};

/// An issuer that was renewed with its key, CRLs that follow each other, and leaves with a fate each.
struct Site {
    leaves: Vec<Certificate>,
    /// Lists of certificates that come along.
    along: Vec<Vec<Certificate>>,
    stores: Vec<TrustStore>,
    /// When something begins or ends.
    turns: Vec<OffsetDateTime>,
}

const REVOKED: OffsetDateTime = datetime!(2026-05-20 8:00 UTC);
const HELD: OffsetDateTime = datetime!(2026-05-02 8:00 UTC);

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let root = Plan::authority("CN=Root,O=Bureau,C=CN").root(Key::p256());
    let issuer = Plan::authority("CN=Issuer,O=Bureau,C=CN");
    let old = Plan { not_after: datetime!(2026-05-25 0:00 UTC), ..issuer.clone() };
    let old = root.subordinate(&old, Key::sm2(3));
    let renewed = Plan { serial: 18, not_before: datetime!(2026-05-24 0:00 UTC), ..issuer };
    let renewed = root.subordinate(&renewed, Key::sm2(3));
    let leaf = |serial, plan: fn(Plan) -> Plan| {
        let plan = plan(Plan { serial, ..Plan::leaf("CN=Leaf,O=Bureau,C=CN") });
        renewed.issue(&plan, &Key::sm2(4))
    };
    let leaves = vec![
        leaf(1, |plan| plan),
        leaf(2, |plan| Plan { not_before: NOW - Duration::DAY, not_after: NOW + Duration::DAY, ..plan }),
        leaf(3, |plan| plan), // revoked
        leaf(4, |plan| plan), // held, then not any more
        leaf(5, |plan| Plan { key_usage: Some(KeyUsages::KeyEncipherment.into()), ..plan }),
        leaf(6, |plan| Plan { not_after: datetime!(9999-12-31 23:59:59 UTC), ..plan }),
        root.issue(&Plan::leaf("CN=Of the root,O=Bureau,C=CN"), &Key::p256()),
    ];
    let crl = |this_update: OffsetDateTime, next_update, revoked| {
        renewed.crl(&CrlPlan { this_update, next_update, revoked, ..CrlPlan::fresh() })
    };
    let hold = (4, HELD, Some(CrlReason::CertificateHold));
    let gone = (3, REVOKED, Some(CrlReason::KeyCompromise));
    let first = crl(datetime!(2026-05-10 0:00 UTC), Some(datetime!(2026-05-17 0:00 UTC)), vec![hold]);
    let second = crl(datetime!(2026-05-30 0:00 UTC), Some(datetime!(2026-06-06 0:00 UTC)), vec![gone]);
    let open = crl(datetime!(2026-05-28 0:00 UTC), None, vec![gone]);
    let of_root = root.crl(&CrlPlan::fresh());
    let store = |crls| TrustStore::new(vec![root.certificate.clone()], vec![old.certificate.clone()], crls);
    let strict =
        |max_age| RevocationPolicy { mode: RevocationMode::Required, max_age, ..RevocationPolicy::default() };
    let stores = vec![
        store(vec![]),
        store(vec![first.clone(), of_root.clone()]),
        store(vec![first.clone(), second.clone(), of_root.clone()]).with_revocation(strict(None)),
        store(vec![second, first, open, of_root]).with_revocation(strict(Some(Duration::days(3)))),
    ];
    let mut turns = vec![REVOKED, HELD, NOW, datetime!(2026-05-31 0:00 UTC), datetime!(2026-06-02 0:00 UTC)];
    for day in [10, 13, 17, 24, 25, 28, 30] {
        turns.push(datetime!(2026-05-01 0:00 UTC).replace_day(day).unwrap());
    }
    for certificate in leaves.iter().chain([&old.certificate, &root.certificate]) {
        turns.extend([certificate.not_before(), certificate.not_after()]);
    }
    turns.push(datetime!(2026-06-06 0:00 UTC));
    let along = vec![
        vec![],
        vec![renewed.certificate.clone()],
        vec![old.certificate.clone(), renewed.certificate.clone()],
        vec![renewed.certificate.clone(), old.certificate, renewed.certificate],
    ];
    Site { leaves, along, stores, turns }
});

/// Near a turn, or anywhere.
fn time() -> impl Strategy<Value = OffsetDateTime> {
    let steps = [
        Duration::ZERO,
        Duration::NANOSECOND,
        -Duration::NANOSECOND,
        Duration::SECOND,
        -Duration::SECOND,
        Duration::seconds(1) + Duration::NANOSECOND,
        Duration::HOUR,
    ];
    let near = (any::<prop::sample::Index>(), prop::sample::select(steps.to_vec()));
    let near = near.prop_map(|(turn, step)| turn.get(&SITE.turns).saturating_add(step));
    let anywhere = (-3_000_000..3_000_000i64).prop_map(|seconds| NOW + Duration::seconds(seconds));
    prop_oneof![3 => near, 2 => anywhere]
}

proptest! {
    #[test]
    fn a_remembered_judgement_is_that_made_anew(
        room in prop_oneof![Just(8 << 20), 1_000..8_000usize],
        asked in prop::collection::vec((0..4usize, 0..7usize, 0..4usize, 0..8usize, time()), 1..60),
    ) {
        let with_memory = |memory: usize| -> Vec<_> {
            SITE.stores.iter().map(|store| store.clone().with_memory(memory)).collect()
        };
        let (remembering, forgetting) = (with_memory(room), with_memory(0));
        for (store, leaf, along, usage, at) in asked {
            let judge = |trust: &TrustStore| {
                validate(&SITE.leaves[leaf], &SITE.along[along], trust, Usage::NAMES[usage].1, at)
            };
            let anew = judge(&forgetting[store]);
            prop_assert_eq!(&judge(&remembering[store]), &anew, "at {}", at);
            let hits = remembering[store].memory().hits;
            prop_assert_eq!(&judge(&remembering[store]), &anew, "again at {}", at);
            let memory = remembering[store].memory();
            prop_assert!(memory.bytes <= room);
            prop_assert!(room < 8 << 20 || memory.hits > hits);
        }
        prop_assert!(forgetting.iter().all(|store| store.memory().hits + store.memory().bytes as u64 == 0));
    }
}

#[test]
fn what_changes_with_the_time_is_judged_at_the_time() {
    let trust = SITE.stores[2].clone().with_memory(1 << 20);
    let judge = |leaf: usize, at| validate(&SITE.leaves[leaf], &SITE.along[1], &trust, Usage::Any, at);
    for _ in 0..2 {
        assert!(judge(2, REVOKED - Duration::SECOND).has("revoked_later"));
        assert!(judge(2, REVOKED).has("revoked"));
        assert_eq!(judge(0, NOW).verdict, Verdict::Valid);
        assert_eq!(judge(0, datetime!(2026-06-06 0:00 UTC)).verdict, Verdict::Valid);
        assert!(judge(0, datetime!(2026-06-06 0:00:01 UTC)).has("crl_stale"));
        assert!(judge(1, NOW + Duration::DAY + Duration::SECOND).has("expired"));
    }
    let memory = trust.memory();
    // The first is good at two of the times for one reason.
    assert_eq!((memory.hits, memory.misses, memory.certificates), (7, 5, 3));
}

#[test]
fn a_memory_is_of_one_store_alone() {
    let trusting = SITE.stores[0].clone().with_memory(1 << 20);
    let judge = |trust: &TrustStore| validate(&SITE.leaves[0], &SITE.along[1], trust, Usage::Any, NOW);
    assert_eq!(judge(&trusting).verdict, Verdict::Valid);
    assert_eq!(judge(&trusting.clone()).verdict, Verdict::Valid);
    assert_eq!(trusting.memory().hits, 1, "a copy of a store is the same store");
    let stricter = trusting
        .clone()
        .with_revocation(RevocationPolicy { mode: RevocationMode::Required, ..RevocationPolicy::default() });
    assert_eq!(judge(&stricter).verdict, Verdict::Indeterminate);
    assert_eq!(judge(&trusting.with_ocsp(Vec::<OcspResponse>::new())).verdict, Verdict::Valid);
    assert_eq!(judge(&TrustStore::default()).verdict, Verdict::Indeterminate);
}
