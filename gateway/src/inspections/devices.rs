//! Checks of the devices. What they cost a device is bounded before it begins: so many orders of it, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use formats::inspection_report::Grade;
use hsm_driver::{
    Answer, CheckOutcome, DeviceStatus, DeviceTelemetry, HsmError, KeyState, Order, SelfTest, State,
};
use store::{Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::catalogue::{CHECKS, Group};
use super::randomness::{self, BITS, Chances, OCTETS};
use super::{Finding, Work};
use crate::state::Gateway;

/// Devices that are inspected at the same time.
const AT_ONCE: usize = 2;
/// Signatures that a device has to make at most; where it has more keys, chance says which.
const SIGNATURES: usize = 28;
/// Computations that an order for known answers asks of a device: SM3, SHA-256, SM4, AES.
const KNOWN_ANSWERS: u32 = 4;
/// Samples of random numbers of a self-test, and as many of the statistics.
const SAMPLES: u32 = 2;
/// What a self-test always costs beside its signatures.
const BESIDE_SIGNATURES: u32 = KNOWN_ANSWERS + SAMPLES;
/// Computations of one device for an inspection at most: signatures, known answers, samples, and the signature on the report, which
/// one of the devices makes. With a minute between two inspections that is less than one in a hundred of what a device does that
/// does 62 in a second.
pub(super) const MOST_ORDERS: u32 = SIGNATURES as u32 + BESIDE_SIGNATURES + SAMPLES + 1;
/// How long one device may take.
const PATIENCE: Duration = Duration::from_secs(45);
const SAMPLE_TIME: Duration = Duration::from_secs(5);
/// Signatures in the last hour, and in the baseline, below which a latency says nothing.
const FEWEST: u64 = 50;
const BASELINE: time::Duration = time::Duration::days(7);

/// Inspects all devices.
pub(super) async fn inspect(gateway: &Gateway, whole: bool, work: &mut Work) -> Vec<Finding> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for device in &gateway.config.devices {
        let (gateway, places, device) = (gateway.clone(), Arc::clone(&places), device.clone());
        tasks.spawn(async move {
            let _place = places.acquire().await;
            (device.id.to_string(), one(&gateway, &device, whole).await)
        });
    }
    let mut found: BTreeMap<_, _> = BTreeMap::new();
    while let Some(ended) = tasks.join_next().await {
        found.extend(ended.ok());
    }
    let mut findings = Vec::new();
    for device in &gateway.config.devices {
        let id = device.id.as_str();
        // One that panicked may have asked for all that it may.
        let broken_off = || (not_made(id, whole, "its inspection was broken off"), MOST_ORDERS);
        let (of_device, orders) = found.remove(id).unwrap_or_else(broken_off);
        work.device_orders.insert(id.to_owned(), orders);
        findings.extend(of_device);
    }
    findings
}

/// All checks of a device of which nothing is known.
fn not_made(id: &str, whole: bool, why: &str) -> Vec<Finding> {
    let of_devices = CHECKS.iter().filter(|kind| kind.group == Group::Devices && (whole || !kind.weekly));
    of_devices.map(|kind| Finding::unknown(kind.code, id, why.to_owned())).collect()
}

async fn one(gateway: &Gateway, device: &config::Device, whole: bool) -> (Vec<Finding>, u32) {
    let id = device.id.as_str();
    let telemetry = match gateway.fleet.telemetry(&device.id) {
        Ok(telemetry) => telemetry,
        Err(error) => return (not_made(id, whole, &error.to_string()), 0),
    };
    let status = &telemetry.status;
    let mut findings = vec![state(id, status), sessions(id, status, device.lanes), drift(id, status)];
    let mut orders = 0;
    let tested = tokio::time::timeout(PATIENCE, gateway.fleet.brief_self_test(&device.id, SIGNATURES)).await;
    // One that was broken off asked for all that it may.
    let tested = tested.unwrap_or(Err(HsmError::DeadlineExceeded { attempts: 1 }));
    orders += match &tested {
        Ok(test) => signatures(test).count() as u32 + BESIDE_SIGNATURES,
        Err(HsmError::NotRunning { .. }) => 0,
        Err(_) => SIGNATURES as u32 + BESIDE_SIGNATURES,
    };
    findings.extend(self_test(id, &tested));
    if whole {
        let (finding, samples) = random(gateway, device).await;
        findings.push(finding);
        orders += samples;
    }
    findings.push(latency(gateway, device, &telemetry).await);
    (findings, orders)
}

fn signatures(test: &SelfTest) -> impl Iterator<Item = &hsm_driver::Check> {
    test.checks.iter().filter(|check| check.name.starts_with("key "))
}

fn state(id: &str, status: &DeviceStatus) -> Finding {
    let grade = match status.state {
        State::Ready => Grade::Ok,
        State::Starting | State::Degraded | State::Draining | State::Maintenance => Grade::Attention,
        State::Down | State::Quarantined => Grade::Abnormal,
    };
    let said = serde_json::to_value(status.state).ok();
    let measured = said.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
    let token = status.token.as_ref().map(|token| {
        format!("{} {} · {} · {}", token.manufacturer, token.model, token.serial, token.firmware)
    });
    let error = status.last_error.as_ref().filter(|_| grade != Grade::Ok);
    let evidence = [token, error.cloned()].into_iter().flatten().collect::<Vec<_>>().join("; ");
    Finding::new("device.state", id, grade, measured, evidence)
}

/// Whether sessions and keys are those of a worker that serves: of one that does not, the last known figures stay.
fn serves(state: State) -> bool {
    !matches!(state, State::Starting | State::Down | State::Quarantined)
}

fn sessions(id: &str, status: &DeviceStatus, configured: usize) -> Finding {
    let open = if serves(status.state) { status.lanes } else { 0 };
    let grade = match open {
        0 => Grade::Abnormal,
        open if open < configured => Grade::Attention,
        _ => Grade::Ok,
    };
    let load = format!("load {}, queued {}", status.load, status.queued);
    Finding::new("device.sessions", id, grade, format!("{open} / {configured}"), load)
}

fn drift(id: &str, status: &DeviceStatus) -> Finding {
    const CODE: &str = "device.key_drift";
    if !serves(status.state) {
        return Finding::unknown(CODE, id, "the device is not in service".to_owned());
    }
    let keys = &status.keys;
    let of = |state: KeyState| keys.iter().filter(move |key| key.state == state);
    if keys.is_empty() {
        return Finding::unknown(CODE, id, "no key is registered for the device".to_owned());
    }
    let measured = format!("{} / {}", of(KeyState::Held).count(), keys.len());
    let wrong: Vec<_> = [
        (KeyState::Missing, "missing"),
        (KeyState::Different, "different"),
        (KeyState::Unusable, "unusable"),
    ]
    .into_iter()
    .flat_map(|(state, word)| of(state).map(move |key| format!("{} {word}", key.id)))
    .collect();
    if !wrong.is_empty() {
        return Finding::new(CODE, id, Grade::Abnormal, measured, listed(&wrong));
    }
    match of(KeyState::Unknown).count() {
        0 => Finding::new(CODE, id, Grade::Ok, measured, String::new()),
        unknown => Finding::unknown(CODE, id, format!("{unknown} keys: the device has not been up")),
    }
}

/// Names, the first of them.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" (+{})", names.len() - SHOWN));
    }
    text
}

/// What a self-test shows: by algorithm, and as a whole.
fn self_test(id: &str, tested: &Result<SelfTest, HsmError>) -> [Finding; 4] {
    const WHOLE: &str = "device.self_test";
    let test = match tested {
        Ok(test) => test,
        Err(error) => {
            let unknown = |code| Finding::unknown(code, id, error.to_string());
            return ["device.sm2", "device.sm3", "device.sm4", WHOLE].map(unknown);
        }
    };
    let known = |code, name: &str| {
        let check = test.checks.iter().find(|check| check.name == name);
        match check.map(|check| check.outcome) {
            Some(CheckOutcome::Passed) => Finding::new(code, id, Grade::Ok, "as published", name),
            Some(CheckOutcome::Failed) => Finding::new(code, id, Grade::Abnormal, "not as published", name),
            Some(CheckOutcome::NotAvailable) => {
                Finding::unknown(code, id, "the device does not offer it".to_owned())
            }
            None => Finding::unknown(code, id, "the device gave no known answers".to_owned()),
        }
    };
    let of_sm2: Vec<_> = signatures(test).filter(|check| check.name.ends_with(" sm2-sm3")).collect();
    let failed = |checks: &[&hsm_driver::Check]| {
        let failed = checks.iter().filter(|check| check.outcome == CheckOutcome::Failed);
        let said =
            failed.map(|check| format!("{}: {}", check.name, check.detail.as_deref().unwrap_or("failed")));
        said.collect::<Vec<_>>()
    };
    let counted = |code, checks: &[&hsm_driver::Check]| {
        let failed = failed(checks);
        let grade = if failed.is_empty() { Grade::Ok } else { Grade::Abnormal };
        let measured = format!("{} / {}", checks.len() - failed.len(), checks.len());
        Finding::new(code, id, grade, measured, listed(&failed))
    };
    let sm2 = match &of_sm2[..] {
        [] => Finding::unknown("device.sm2", id, "the device holds no SM2 key".to_owned()),
        checks => counted("device.sm2", checks),
    };
    let made: Vec<_> =
        test.checks.iter().filter(|check| check.outcome != CheckOutcome::NotAvailable).collect();
    [
        sm2,
        known("device.sm3", "known answer sm3"),
        known("device.sm4", "known answer sm4"),
        counted(WHOLE, &made),
    ]
}

/// Statistics on a sample; on a second one where the first is odd. How many samples it took is told.
async fn random(gateway: &Gateway, device: &config::Device) -> (Finding, u32) {
    const CODE: &str = "device.random";
    let id = device.id.as_str();
    let (mut asked, mut samples) = (0, Vec::new());
    loop {
        if let Some(grade) = randomness::judged(&samples) {
            let said: Vec<_> = samples.iter().map(Chances::to_string).collect();
            let evidence = format!("{asked} × {BITS} bits");
            return (Finding::new(CODE, id, grade, format!("P: {}", said.join("; ")), evidence), asked);
        }
        asked += 1;
        let answer = gateway.fleet.order(&device.id, Order::Random { octets: OCTETS }, SAMPLE_TIME).await;
        match answer {
            Ok(Answer::Octets(octets)) if octets.len() == usize::from(OCTETS) => {
                samples.push(Chances::of(&octets));
            }
            Ok(_) => {
                return (Finding::new(CODE, id, Grade::Abnormal, "too few octets", String::new()), asked);
            }
            Err(HsmError::NotRunning { .. }) => {
                return (Finding::unknown(CODE, id, "the device is not running".to_owned()), asked - 1);
            }
            Err(error) => return (Finding::unknown(CODE, id, error.to_string()), asked),
        }
    }
}

/// The last hour's median against the week before it.
async fn latency(gateway: &Gateway, device: &config::Device, telemetry: &DeviceTelemetry) -> Finding {
    const CODE: &str = "device.latency";
    let id = device.id.as_str();
    let hour = &telemetry.latency.hour;
    if hour.count < FEWEST {
        let why = format!("{} signatures in the last hour: too few", hour.count);
        return Finding::unknown(CODE, id, why);
    }
    match baseline(&gateway.store, &device.id, OffsetDateTime::now_utc()).await {
        Ok((signed, _)) if signed < FEWEST => {
            let why = format!("{signed} signatures in the week before: no baseline yet");
            Finding::unknown(CODE, id, why)
        }
        Ok((_, baseline)) => {
            let evidence =
                format!("p50 {} µs, p99 {} µs; baseline p50 {baseline:.0} µs", hour.p50_us, hour.p99_us);
            Finding::figure(CODE, id, hour.p50_us as f64 / baseline.max(1.0), evidence)
        }
        Err(error) => Finding::unknown(CODE, id, error.to_string()),
    }
}

/// Signatures of the week before the hour that is judged, and the mean of their medians in microseconds. Minute by minute: in
/// longer steps the last one would hold the hour itself.
async fn baseline(
    store: &Store,
    device: &config::DeviceId,
    now: OffsetDateTime,
) -> Result<(u64, f64), StoreError> {
    // A minute that begins before this time has ended an hour ago.
    let until = now - time::Duration::HOUR - time::Duration::MINUTE;
    let spans = store.device_history(device, until - BASELINE, until, Duration::from_secs(60)).await?;
    let signed: u64 = spans.iter().map(|span| span.figures.signed).sum();
    let weighed: f64 = spans.iter().map(|span| span.figures.p50_us as f64 * span.figures.signed as f64).sum();
    Ok((signed, weighed / signed.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(checks: &[(&str, CheckOutcome)]) -> SelfTest {
        let check = |(name, outcome): &(&str, CheckOutcome)| hsm_driver::Check {
            name: (*name).to_owned(),
            outcome: *outcome,
            detail: (*outcome == CheckOutcome::Failed).then(|| "the signature is wrong".to_owned()),
        };
        SelfTest { passed: true, at: 0, took_ms: 1, checks: checks.iter().map(check).collect() }
    }

    #[test]
    fn what_a_device_does_not_offer_is_not_said_to_be_well() {
        use CheckOutcome::{Failed, NotAvailable, Passed};
        let sound = test(&[
            ("key a sm2-sm3", Passed),
            ("key b ecdsa-p256-sha256", Passed),
            ("known answer sm3", Passed),
            ("known answer sm4", NotAvailable),
        ]);
        let grades = |test| self_test("d1", &test).map(|finding| finding.grade);
        assert_eq!(grades(Ok(sound)), [Grade::Ok, Grade::Ok, Grade::Unmeasured, Grade::Ok]);
        let broken = test(&[("key a sm2-sm3", Failed), ("known answer sm3", Failed)]);
        assert_eq!(
            grades(Ok(broken)),
            [Grade::Abnormal, Grade::Abnormal, Grade::Unmeasured, Grade::Abnormal]
        );
        assert_eq!(grades(Err(HsmError::DeadlineExceeded { attempts: 1 })), [Grade::Unmeasured; 4]);
    }

    #[test]
    fn of_a_device_whose_inspection_was_broken_off_each_check_is_there_and_unmeasured() {
        let found = not_made("d1", true, "broken off");
        assert!(found.iter().all(|finding| finding.grade == Grade::Unmeasured && finding.subject == "d1"));
        assert!(found.iter().any(|finding| finding.code == "device.random"));
        assert_eq!(not_made("d1", false, "broken off").len(), found.len() - 1);
    }

    #[tokio::test]
    async fn the_hour_that_is_judged_is_no_part_of_its_baseline() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
        let store = Store::create(url.as_str()).await.unwrap();
        let device = config::DeviceId::parse("d1").unwrap();
        let minute = |at, p50_us| {
            let state = "ready".to_owned();
            let figures = store::DeviceFigures { state, signed: 100, p50_us, ..Default::default() };
            store::DeviceMinute { device: device.clone(), at, figures }
        };
        for now in
            [time::macros::datetime!(2026-11-23 12:00 UTC), time::macros::datetime!(2026-11-23 23:59:59 UTC)]
        {
            let device = &device;
            let judged = [1, 30, 59].map(|ago| minute(now - time::Duration::minutes(ago), 9_000));
            store.record_device_minutes(&judged).await.unwrap();
            assert_eq!(baseline(&store, device, now).await.unwrap().0, 0, "{now}");
            let before = [62, 100].map(|ago| minute(now - time::Duration::minutes(ago), 1_000));
            store.record_device_minutes(&before).await.unwrap();
            assert_eq!(baseline(&store, device, now).await.unwrap(), (200, 1_000.0), "{now}");
            store
                .downsample_device_history(now + BASELINE * 3, Duration::ZERO, Duration::ZERO)
                .await
                .unwrap();
        }
    }

    #[test]
    fn an_inspection_costs_a_device_less_than_one_in_a_hundred() {
        // Of what a slow one does in the least time between two.
        let slowest = 62.0 * super::super::APART.whole_seconds() as f64;
        assert!(f64::from(MOST_ORDERS) / slowest < 0.01, "{MOST_ORDERS} of {slowest}");
    }
}
