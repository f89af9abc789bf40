//! The timestamp desk on simulated devices behind real workers: what it makes is valid and on record, what it must not
//! make it does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use formats::scheme::HashAlgorithm;
use formats::tsp::{self, Failure, Imprint, Nonce, TimestampRequest, TokenInput};
use formats::{DEFAULT_SIGNER_ID, TrustStore, Verdict, oid};
use hsm_driver::Fleet;
use signing::{
    Asker, Clock, ClockRules, KeyRing, Moment, Sample, Serials, SystemDesk, TimestampDesk, TimestampError,
    TimestampForm, TimestampRules, TimestampSource,
};
use store::{KeyPurpose, KeyRecord, KeyState, KeyVersion};
use support::{Site, app, chain, copy, device_id, import, key_id, stamp, start, version};
use time::OffsetDateTime;

fn record(id: &str, algorithm: &str, purpose: KeyPurpose, of: &str) -> KeyRecord {
    let version = KeyVersion { cka_id: id.into(), ..version(1, KeyState::Active, vec![copy(None, of)]) };
    KeyRecord { id: key_id(id), algorithm: algorithm.to_owned(), purpose, ..stamp(vec![version]) }
}

fn rules() -> TimestampRules {
    TimestampRules {
        policies: vec!["1.2.3.4.1".parse().unwrap(), "1.2.3.4.2".parse().unwrap()],
        accuracy: Duration::from_secs(1),
        ordering: false,
        clock: ClockRules {
            max_offset: Duration::from_millis(500),
            max_age: Duration::from_secs(600),
            required: false,
        },
    }
}

async fn system(site: &Site, keys: &[(&str, &str, &str)]) -> (Arc<Fleet>, SystemDesk) {
    let imports = || keys.iter().map(|(id, _, of)| import(id, of)).collect();
    let devices = [site.device("d1", imports()), site.device("d2", imports())];
    let records = keys.iter().map(|(id, algorithm, of)| record(id, algorithm, KeyPurpose::Tsa, of));
    let (ring, left_out) = KeyRing::load(records.collect());
    assert!(left_out.is_empty(), "{left_out:?}");
    let fleet = start(&devices, ring.specs()).await;
    (Arc::clone(&fleet), SystemDesk::new(Arc::new(ring), fleet))
}

const BOTH: [(&str, &str, &str); 2] = [("tsa-a", "sm2", "sys-tsa"), ("tsa-b", "p256", "sys-tsa-p256")];

fn desk_with(site: &Site, system: &SystemDesk, clock: Clock, rules: TimestampRules) -> TimestampDesk {
    let serials = Arc::new(Serials::new(site.store.clone()));
    TimestampDesk::new(system.clone(), site.audit.clone(), serials, Arc::new(clock), rules)
}

fn asker() -> Asker {
    Asker { line: app(), actor: "window".to_owned(), request_id: "r-1".to_owned(), deadline: None }
}

fn request(hash: HashAlgorithm) -> TimestampRequest {
    TimestampRequest {
        imprint: Imprint::new(hash, &hash.digest(b"data")).unwrap(),
        policy: None,
        nonce: Nonce::from_unsigned(b"nonce"),
        certificates: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_either_form_are_valid_and_on_record() {
    let site = Site::new().await;
    let (fleet, system) = system(&site, &BOTH).await;
    let desk = desk_with(&site, &system, Clock::new([]), rules());
    let roots = ["sys-tsa", "sys-tsa-p256"].map(|id| chain(id).pop().unwrap());
    let trust = TrustStore::new(roots.to_vec(), Vec::new(), Vec::new());
    for (hash, form, wanted, key) in [
        (HashAlgorithm::Sm3, None, TimestampForm::Gbt20520, "tsa-a"),
        (HashAlgorithm::Sha256, None, TimestampForm::Rfc3161, "tsa-b"),
        (HashAlgorithm::Sha512, None, TimestampForm::Rfc3161, "tsa-b"),
        (HashAlgorithm::Sm3, Some(TimestampForm::Rfc3161), TimestampForm::Rfc3161, "tsa-b"),
    ] {
        let before = OffsetDateTime::now_utc();
        let request = TimestampRequest { policy: Some("1.2.3.4.2".parse().unwrap()), ..request(hash) };
        let made = desk.stamp(&asker(), form, &request).await.unwrap();
        let (token, at) = (&made.token[..], OffsetDateTime::now_utc());
        let input = TokenInput { token, content: None, signer_id: DEFAULT_SIGNER_ID, trust: &trust, at };
        let (report, _) = tsp::answer(&input, &request);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:?}");
        let info = report.info.unwrap();
        assert_eq!((&info.serial, info.time, info.policy.as_str()), (&made.serial, made.time, "1.2.3.4.2"));
        assert!(made.time >= before - Duration::from_micros(1) && made.time <= at);
        assert_eq!((made.form, made.key.as_str(), info.ordering), (wanted, key, false));
        assert_eq!(tsp::certificates(token).len(), 2, "the root stays out");
        let entry = site.recorded("timestamp").await.pop().unwrap();
        assert_eq!((entry.outcome.as_str(), entry.key.as_deref()), ("ok", Some(key)));
        assert_eq!(entry.input_digest, Some(info.imprint));
        assert_eq!(entry.result_digest, Some(hex::encode(HashAlgorithm::Sm3.digest(token))));
        assert_eq!(entry.device, Some(made.device.to_string()));
    }
    // As document stamps ask for them.
    let source: Arc<dyn TimestampSource> = Arc::new(desk.for_asker(asker()));
    let digest = HashAlgorithm::Sha256.digest(b"data");
    let token = source.token(HashAlgorithm::Sha256, &digest).await.unwrap();
    let at = OffsetDateTime::now_utc();
    let input = TokenInput { token: &token, content: None, signer_id: DEFAULT_SIGNER_ID, trust: &trust, at };
    assert_eq!(tsp::verify_digest(&input, &digest).judgement.verdict, Verdict::Valid);
    let short = source.token(HashAlgorithm::Sha256, &digest[..20]).await.unwrap_err();
    assert_eq!(short.refusal().failure, Failure::BadDataFormat);
    // What the devices do not sign is on record too.
    for device in ["d1", "d2"] {
        fleet.maintain(&device_id(device)).unwrap();
    }
    let refused = desk.stamp(&asker(), None, &request(HashAlgorithm::Sm3)).await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().failure), ("devices_unavailable", Failure::SystemFailure));
    assert_eq!(site.recorded("timestamp").await.pop().unwrap().outcome, "devices_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_in_vain_is_refused_before_a_device_is_asked() {
    let site = Site::new().await;
    let (_fleet, system) = system(&site, &BOTH[..1]).await;
    let desk = desk_with(&site, &system, Clock::new([]), rules());
    let stamp = async |form, request: TimestampRequest| desk.stamp(&asker(), form, &request).await;
    let other = TimestampRequest { policy: Some(oid::SM3), ..request(HashAlgorithm::Sm3) };
    let refused = stamp(None, other).await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().failure), ("unaccepted_policy", Failure::UnacceptedPolicy));
    let national = Some(TimestampForm::Gbt20520);
    let refused = stamp(national, request(HashAlgorithm::Sha256)).await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().failure), ("hash_not_supported", Failure::BadAlg));
    // There is no key but an SM2 key.
    let refused = stamp(None, request(HashAlgorithm::Sha256)).await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().failure), ("system_key_missing", Failure::SystemFailure));
    assert_eq!(site.recorded("timestamp").await.len(), 0);
    stamp(None, request(HashAlgorithm::Sm3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_certificate_for_something_else_makes_no_tokens() {
    let site = Site::new().await;
    let (_fleet, system) = system(&site, &[("tsa-a", "sm2", "sys-audit")]).await;
    let desk = desk_with(&site, &system, Clock::new([]), rules());
    let refused = desk.stamp(&asker(), None, &request(HashAlgorithm::Sm3)).await.unwrap_err();
    assert_eq!(refused.code(), "key_register_broken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_not_believed_makes_no_tokens() {
    let site = Site::new().await;
    let (_fleet, system) = system(&site, &BOTH).await;
    let required = ClockRules { required: true, ..rules().clock };
    for (offset, rules, made) in [
        (Some(0.1), TimestampRules { clock: required, ..rules() }, true),
        (Some(9.0), rules(), false),
        (None, rules(), true),
        (None, TimestampRules { clock: required, ..rules() }, false),
    ] {
        let clock = Clock::new(["server".to_owned()]);
        if let Some(offset) = offset {
            clock.note(0, Ok(Sample { offset, round_trip: 0.01, stratum: 1, at: Moment::now() }));
        }
        let desk = desk_with(&site, &system, clock, rules);
        let stamped = desk.stamp(&asker(), None, &request(HashAlgorithm::Sm3)).await;
        assert_eq!(stamped.is_ok(), made, "{offset:?}");
        if let Err(refused) = stamped {
            assert!(matches!(refused, TimestampError::Clock(_)));
            assert_eq!(refused.code(), "clock_unreliable");
            assert_eq!(refused.refusal().failure, Failure::TimeNotAvailable);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_in_order_follow_each_other_and_a_gateway_that_is_behind_refuses() {
    let site = Site::new().await;
    let (_fleet, system) = system(&site, &BOTH).await;
    let desk = desk_with(&site, &system, Clock::new([]), TimestampRules { ordering: true, ..rules() });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let desk = desk.clone();
        tasks.spawn(async move { desk.stamp(&asker(), None, &request(HashAlgorithm::Sm3)).await.unwrap() });
    }
    let made = tasks.join_all().await;
    let times: std::collections::BTreeSet<_> = made.iter().map(|stamp| stamp.time).collect();
    let serials: std::collections::BTreeSet<_> = made.iter().map(|stamp| stamp.serial.clone()).collect();
    assert_eq!((times.len(), serials.len()), (40, 40));
    let next = desk.stamp(&asker(), None, &request(HashAlgorithm::Sm3)).await.unwrap();
    assert!(next.time > *times.last().unwrap());
    // Another gateway's clock is a minute ahead.
    let ahead = OffsetDateTime::now_utc() + Duration::from_secs(60);
    let micros = u64::try_from(ahead.unix_timestamp_nanos() / 1000).unwrap();
    site.store.take_ordered(1, micros).await.unwrap();
    let refused = desk.stamp(&asker(), None, &request(HashAlgorithm::Sm3)).await.unwrap_err();
    assert_eq!(refused.code(), "clock_unreliable");
}
