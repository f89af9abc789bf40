//! The rows about verification: the engine by itself, and batches over HTTP.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sm2::dsa::signature::Signer as _;
use sm2::pkcs8::EncodePublicKey as _;
use tests::Folder;

use crate::generator::{self, Plan};
use crate::profile::{Request, Target};
use crate::report::{Row, Verdict, median};
use crate::{Fallible, say};

const ENGINE_GOAL: &str = ">= 30000/s, >= 6 x RustCrypto";
const TOGETHER: &str = "sm2_verify_together";
const BATCH_GOAL: &str = ">= 40000/s on two cores";
/// As many as one call takes.
const ITEMS: u32 = 1_000;
const CONNECTIONS: usize = 4;

/// After so many uses every key has its table in the gateway.
const USES: u32 = 25;

/// All rows; what the engine does together is the reference of the batches.
pub(crate) fn rows(runtime: &tokio::runtime::Runtime, seconds: Duration, rounds: u32) -> Fallible<Vec<Row>> {
    let mut rows = engine(seconds)?;
    let together = rows.iter().find(|row| row.name == TOGETHER).and_then(|row| row.value);
    rows.push(batch(runtime, seconds, rounds, together)?);
    Ok(rows)
}

/// SM2 verifications in a second of one core, one by one and together, by `sm2-verify`'s example `rate`, which
/// `make bench` builds.
fn engine(seconds: Duration) -> Fallible<Vec<Row>> {
    let program = std::env::current_exe()?.with_file_name("examples").join("rate");
    if !program.is_file() {
        let why = "sm2-verify's example `rate` is not built";
        return Ok(vec![Row::absent("sm2_verify", "/core-s", ENGINE_GOAL, why)]);
    }
    let output = Command::new(program).arg(seconds.as_secs_f64().to_string()).output()?;
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    let row = |name, unit, figure: &str, reference: &str, goal| {
        let (value, reference) = (figures[figure].as_f64(), figures[reference].as_f64());
        let ratio = value.zip(reference).map(|(value, reference)| value / reference);
        let met = value.is_some_and(|value| value >= 30_000.0) && ratio.is_some_and(|ratio| ratio >= 6.0);
        let verdict = match goal {
            ENGINE_GOAL => Verdict::Met(met),
            _ => Verdict::Unknown("no goal is set".to_owned()),
        };
        Row { name, unit, value, reference, ratio, goal, verdict }
    };
    Ok(vec![
        row("sm2_verify", "/core-s, scalar", "windowed", "rustcrypto", ENGINE_GOAL),
        row(TOGETHER, "/core-s, scalar, by 32", "together", "rustcrypto", ENGINE_GOAL),
        row("sm2_verify_bare", "/core-s, no tables", "without_tables", "rustcrypto", "-"),
        row("sm2_verify_openssl", "/core-s, against OpenSSL", "windowed", "openssl", "-"),
        row("sm2_verify_p256", "/core-s, against aws-lc", "windowed", "aws_lc_p256", "-"),
    ])
}

/// Signatures of 1,000 keys over messages of 256 octets, through `POST /v1/verifications:batch`; the reference is what
/// the engine would verify in the gateway's processor time.
fn batch(
    runtime: &tokio::runtime::Runtime,
    seconds: Duration,
    rounds: u32,
    engine: Option<f64>,
) -> Fallible<Row> {
    let site = Folder::init().serve();
    let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
    let items: Vec<Value> = (0..ITEMS).map(item).collect::<Fallible<_>>()?;
    let body = json!({"items": items});
    let post = || site.app().post("/v1/verifications:batch", &body).expect(200).json();
    for _ in 1..USES {
        post();
    }
    let answer = post();
    let judged = answer["items"]
        .as_array()
        .map_or(0, |items| items.iter().filter(|item| item["verdict"] == "valid").count());
    if judged != ITEMS as usize {
        return Err(format!("{judged} of {ITEMS} good signatures are valid").into());
    }
    let (mut rates, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let plan = Plan {
            address: target.address,
            request: Request::post(&target, "/v1/verifications:batch", &body),
            connections: CONNECTIONS,
            warm_up: Duration::from_secs(1),
            duration: seconds,
            rate: None,
            pid: Some(site.pid()),
        };
        let measured = tokio::task::LocalSet::new().block_on(runtime, generator::run(plan, None))?;
        let rate = f64::from(ITEMS) * measured.per_second();
        let per_cpu_second = measured.per_cpu_second().map(|rate| f64::from(ITEMS) * rate);
        say(&format!("verify batch: {rate:.0} signatures/s, {:.0} per CPU-s", per_cpu_second.unwrap_or(0.0)));
        rates.push(rate);
        shares.extend(per_cpu_second.zip(engine).map(|(found, engine)| found / engine));
    }
    let value = median(rates).unwrap_or(0.0);
    let ratio = median(shares);
    Ok(Row {
        name: "verify_batch",
        unit: "signatures/s",
        value: Some(value),
        reference: engine,
        ratio,
        goal: BATCH_GOAL,
        verdict: Verdict::Met(value >= 40_000.0),
    })
}

fn item(number: u32) -> Fallible<Value> {
    let mut secret = [9; 32];
    secret[28..].copy_from_slice(&number.to_be_bytes());
    let key = sm2::dsa::SigningKey::from_slice("1234567812345678", &secret)?;
    let message = vec![number as u8; 256];
    let signature: sm2::dsa::Signature = key.sign(&message);
    let octets = signature.to_bytes();
    let (r, s) = octets.split_at(32);
    let public_key = sm2::PublicKey::from_sec1_bytes(&key.verifying_key().to_sec1_bytes())?;
    Ok(json!({
        "algorithm": "sm2-sm3",
        "input": {"data": STANDARD.encode(&message)},
        "signature": STANDARD.encode(der(r, s)),
        "public_key": public_key.to_public_key_pem(sm2::pkcs8::LineEnding::LF)?,
    }))
}

/// `SEQUENCE { INTEGER r, INTEGER s }` of two numbers of 32 octets.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let digits = &number[number.iter().take_while(|octet| **octet == 0).count()..];
        let sign: &[u8] = if digits.first().is_none_or(|octet| octet & 0x80 != 0) { &[0] } else { &[] };
        [&[2, (digits.len() + sign.len()) as u8], sign, digits].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}
