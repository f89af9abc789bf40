//! Timestamps: what the authority answers, judged by OpenSSL and BouncyCastle; what it refuses; that no serial number
//! and, where order is promised, no time is given twice.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Answer, Caller, Folder, Postgres, Ran, Reply, Scratch, Site, Source, audit_on, base64, gateway, shared,
};

const QUERY: &str = "application/timestamp-query";
const POLICY: &str = "1.2.3.4.1";

fn ask(caller: &Caller, request: &[u8]) -> Answer {
    caller.send("POST", "/tsa", &[("content-type", QUERY)], Some(request))
}

/// A request that OpenSSL makes for the file `document`.
fn query(scratch: &Scratch, options: &str) -> Vec<u8> {
    scratch.openssl(&format!("ts -query -data document -out request.tsq {options}")).expect("ts -query");
    scratch.read("request.tsq")
}

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("document", b"a document");
    scratch
}

/// Why there is no token, as OpenSSL reads it.
fn refusal(scratch: &Scratch, answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/timestamp-reply", "{}", answer.text());
    scratch.write("refused.tsr", &answer.body);
    scratch.openssl("ts -reply -in refused.tsr -text").text
}

fn stamp(caller: &Caller, body: &Value) -> Answer {
    caller.post("/v1/timestamps", body)
}

#[test]
fn openssl_accepts_what_anybody_gets_at_tsa() {
    let (site, scratch) = (&shared().site, scratch());
    let ca = site.ca_file();
    for options in ["-sha256 -cert", "-sha384 -cert -no_nonce", "-sha512 -cert -tspolicy 1.2.3.4.1"] {
        let request = query(&scratch, options);
        let answer = ask(&site.stranger(None), &request).expect(200);
        assert_eq!(answer.header("content-type"), "application/timestamp-reply");
        scratch.write("response.tsr", &answer.body);
        for over in ["-queryfile request.tsq", "-data document"] {
            let verify = format!("ts -verify -in response.tsr {over} -CAfile {}", ca.display());
            let ran = scratch.openssl(&verify).expect(options);
            assert!(ran.text.contains("Verification: OK"), "{}", ran.text);
        }
        scratch.write("other", b"another document");
        let over_other = format!("ts -verify -in response.tsr -data other -CAfile {}", ca.display());
        assert!(!scratch.openssl(&over_other).ok);
        let judged = site.app().post(
            "/v1/timestamps:verify",
            &json!({"token": base64(&answer.body), "input": {"data": base64(b"a document")}}),
        );
        judged.expect_verdict("valid");
        assert_eq!(judged.json()["timestamp"]["policy"], POLICY);
    }
    // Without certificates only who has them can judge it.
    let answer = ask(&site.stranger(None), &query(&scratch, "-sha256")).expect(200);
    scratch.write("response.tsr", &answer.body);
    let chain = site.data().join("pki/services/sys-tsa-p256/chain.pem");
    let verify = format!("ts -verify -in response.tsr -queryfile request.tsq -CAfile {}", ca.display());
    assert!(!scratch.openssl(&verify).ok);
    scratch.openssl(&format!("{verify} -untrusted {}", chain.display())).expect("with the chain beside it");
}

#[test]
fn bouncycastle_accepts_tokens_of_sm2_and_p256_and_refuses_them_to_another_request() {
    let (shared, scratch) = (shared(), scratch());
    let ca = shared.site.data().join("pki/roots");
    for (options, root, family, algorithm) in [
        ("-sm3 -cert", "sm2.pem", "1.2.156.10197.6.1.4.2.2", "1.2.156.10197.1.301.1"),
        ("-sha256 -cert", "p256.pem", "1.2.840.113549.1.7.2", "1.2.840.10045.4.3.2"),
    ] {
        let request = query(&scratch, options);
        let response = ask(&shared.site.stranger(None), &request).expect(200).body;
        let (root, response) = (ca.join(root), scratch.write("response.tsr", response));
        let judge =
            |request: &std::path::Path| shared.foreign.bouncycastle.timestamp(&root, request, &response);
        let ran = judge(&scratch.path().join("request.tsq")).expect(options);
        assert!(ran.text.starts_with(&format!("valid {family} {algorithm} ")), "{}", ran.text);
        query(&scratch, options); // another nonce
        assert!(!judge(&scratch.path().join("request.tsq")).ok);
    }
}

#[test]
fn an_app_gets_a_token_with_its_place_on_record() {
    let (site, scratch) = (Site::start(), scratch());
    let digest = scratch.openssl("dgst -sha256 -binary document").stdout;
    for (body, form, key, hash) in [
        (json!({"input": {"data": base64(b"a document")}}), "gbt20520", "sys-tsa", "1.2.156.10197.1.401"),
        (
            json!({"input": {"digest": base64(&digest)}, "algorithm": "sha256"}),
            "rfc3161",
            "sys-tsa-p256",
            "2.16.840.1.101.3.4.2.1",
        ),
        (
            json!({"input": {"data": base64(b"a document")}, "form": "rfc3161", "algorithm": "sm3"}),
            "rfc3161",
            "sys-tsa-p256",
            "1.2.156.10197.1.401",
        ),
        (
            json!({"input": {"data": base64(b"a document")}, "form": "rfc3161", "nonce": "AP8=",
                   "policy": POLICY, "certificates": true}),
            "rfc3161",
            "sys-tsa-p256",
            "2.16.840.1.101.3.4.2.1",
        ),
    ] {
        let answer = stamp(site.app(), &body).expect(201);
        let (made, token) = (answer.json(), answer.bytes("token"));
        assert_eq!((&made["form"], &made["key"]), (&json!(form), &json!(key)), "{made}");
        assert_eq!((&made["policy"], &made["accuracy_ms"]), (&json!(POLICY), &json!(1000.0)), "{made}");
        // Our own judgement, over HTTP and offline, tells the same of it.
        let judged = site.app().post(
            "/v1/timestamps:verify",
            &json!({"token": base64(&token), "input": {"data": base64(b"a document")}}),
        );
        judged.expect_verdict("valid");
        let told = judged.json()["timestamp"].clone();
        assert_eq!((&told["serial"], &told["time"]), (&made["serial"], &made["gen_time"]), "{made}");
        assert_eq!(told["hash_algorithm"], hash);
        let nonce = if body["nonce"].is_null() { Value::Null } else { json!("ff") };
        assert_eq!(told["nonce"], nonce);
        let file = scratch.write("token.tsr", &token);
        let mut offline = Command::new(gateway());
        offline.args(["verify", "--json", "--type", "tsr", "--content"]).arg(scratch.path().join("document"));
        offline.arg("--trust").arg(site.ca_file()).arg(&file);
        let offline = Ran::of(&mut offline).expect("verify --type tsr");
        assert!(offline.text.contains(made["serial"].as_str().unwrap()), "{}", offline.text);
        // And it is on record.
        let entries = site.audit();
        let entry = &entries[usize::try_from(made["audit_index"].as_u64().unwrap()).unwrap()];
        assert_eq!((&entry["action"], &entry["outcome"]), (&json!("timestamp"), &json!("ok")), "{entry}");
        assert_eq!((&entry["actor"], &entry["key"]), (&json!("sandbox-registration"), &json!(key)));
        assert_eq!(entry["device"], made["device"]);
        assert_eq!(entry["input_digest"], told["imprint"]);
        assert!(entry["subject"].as_str().unwrap().contains(made["serial"].as_str().unwrap()), "{entry}");
    }
    // What a stranger got is on record too.
    ask(&site.stranger(None), &query(&scratch, "-sha256")).expect(200);
    let entries = site.audit();
    let strangers = entries.iter().filter(|entry| entry["actor"] == "anonymous:127.0.0.1");
    assert_eq!(strangers.filter(|entry| entry["action"] == "timestamp").count(), 1);
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    for line in [
        "license_gateway_timestamps_total{form=\"gbt20520\"} 1",
        "license_gateway_timestamps_total{form=\"rfc3161\"} 4",
        "license_gateway_clock_state{state=\"unwatched\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[test]
fn what_is_no_good_request_is_refused_in_rfc_3161s_words() {
    let (site, scratch) = (&shared().site, scratch());
    let good = query(&scratch, "-sha256 -cert");
    let sha1 = query(&scratch, "-sha1");
    let policy = query(&scratch, "-sha256 -tspolicy 1.2.3.4.99");
    // SHA-256's identifier with a digest of 20 octets, version 2, and an extension.
    let short = [
        &[0x30, 42, 2, 1, 1, 0x30, 37, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0][..],
        &[4, 20],
        &[7; 20],
    ]
    .concat();
    let mut version = good.clone();
    assert_eq!(version[2..5], [2, 1, 1]);
    version[4] = 2;
    let extension = {
        let mut extended = query(&scratch, "-sha256 -no_nonce");
        extended.extend([0xa0, 9, 0x30, 7, 6, 3, 0x2a, 3, 4, 4, 0]);
        extended[1] += 11;
        extended
    };
    for (request, code, words) in [
        (b"".to_vec(), "timestamp_request", "wrong format"),
        (b"hello".to_vec(), "timestamp_request", "wrong format"),
        (good[..good.len() - 1].to_vec(), "timestamp_request", "wrong format"),
        ([&good[..], &[0]].concat(), "timestamp_request", "wrong format"),
        (short, "timestamp_request", "wrong format"),
        (version, "timestamp_request", "transaction not permitted or supported"),
        (sha1, "hash_not_supported", "unrecognized or unsupported algorithm"),
        (policy, "unaccepted_policy", "requested TSA policy is not supported"),
        (extension, "unaccepted_extension", "requested extension is not supported"),
    ] {
        let answer = ask(site.app(), &request).expect(200);
        let said = refusal(&scratch, &answer);
        assert!(said.contains("Status: Rejected.") && said.contains(words), "{code}: {said}");
    }
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    for cause in ["badAlg", "badRequest", "badDataFormat", "unacceptedPolicy", "unacceptedExtension"] {
        let line = format!("license_gateway_timestamp_refusals_total{{cause=\"{cause}\"}}");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    // Refusals in the protocol's words are on record as others are, a second's in one entry.
    tests::eventually("the refusal is on record", Duration::from_secs(60), || {
        let refused = |entry: &Value| {
            entry["action"] == "request.refused"
                && entry["outcome"] == "hash_not_supported"
                && entry["subject"].as_str().is_some_and(|subject| subject.contains("POST /tsa"))
        };
        site.audit().iter().any(refused).then_some(())
    });
    // What is no such request at all gets a problem document.
    let huge = ask(site.app(), &vec![0x30; 100_000]).expect(413);
    assert_eq!(huge.json()["code"], "body_too_large");
    let other = site.app().send("POST", "/tsa", &[("content-type", "text/plain")], Some(&good));
    assert_eq!(other.expect(415).json()["code"], "unsupported_media_type");
    let wrong = ask(&site.stranger(Some("not a key")), &good);
    assert_eq!(wrong.expect(401).json()["code"], "api_key_invalid", "who claims to be an app must be one");
}

#[test]
fn what_is_wrong_with_an_order_is_said_by_field() {
    let site = &shared().site;
    let data = json!({"data": base64(b"x")});
    for (body, code, field) in [
        (json!({}), "missing_field", "input"),
        (json!({"input": {}}), "missing_field", "input"),
        (json!({"input": {"data": "AA==", "digest": "AA=="}}), "ambiguous_input", "input"),
        (json!({"input": {"data": "!"}}), "invalid_base64", "input.data"),
        (json!({"input": {"digest": base64(&[7; 20])}}), "digest_length", "input.digest"),
        (
            json!({"input": {"digest": base64(&[7; 32])}, "algorithm": "sha512"}),
            "digest_length",
            "input.digest",
        ),
        (json!({"input": data, "algorithm": "sha1"}), "invalid_value", "algorithm"),
        (
            json!({"input": data, "form": "gbt20520", "algorithm": "sha256"}),
            "hash_not_supported",
            "algorithm",
        ),
        (json!({"input": data, "form": "rfc5652"}), "invalid_value", "form"),
        (json!({"input": data, "nonce": ""}), "invalid_value", "nonce"),
        (json!({"input": data, "nonce": base64(&[1; 64])}), "invalid_value", "nonce"),
        (json!({"input": data, "policy": "one"}), "invalid_value", "policy"),
        (json!({"input": data, "policy": "1.2.3.4.99"}), "unaccepted_policy", "policy"),
        (json!({"input": data, "source": "elsewhere"}), "invalid_value", "source"),
        (json!({"input": data, "source": "outside"}), "no_outside_authority", "source"),
        (json!({"input": data, "source": "outside", "nonce": "AA=="}), "not_applicable", "nonce"),
        (json!({"input": data, "colour": "red"}), "unknown_field", "colour"),
    ] {
        let answer = stamp(site.app(), &body).expect(422).json();
        assert_eq!((&answer["code"], &answer["errors"][0]["field"]), (&json!(code), &json!(field)), "{body}");
    }
    for (body, code, field) in [
        (json!({"token": "!"}), "invalid_base64", "token"),
        (json!({"token": "AA==", "input": {}}), "missing_field", "input"),
        (json!({"token": "AA==", "at": "now"}), "invalid_time", "at"),
    ] {
        let answer = site.app().post("/v1/timestamps:verify", &body).expect(422).json();
        assert_eq!((&answer["code"], &answer["errors"][0]["field"]), (&json!(code), &json!(field)), "{body}");
    }
    let judged = site.app().post("/v1/timestamps:verify", &json!({"token": "AAAA"}));
    judged.expect_verdict("invalid");
    assert_eq!(judged.findings(), ["malformed"]);
    // The maintenance app has no business with timestamps.
    let refused = stamp(&site.app_number(2), &json!({"input": data})).expect(403).json();
    assert_eq!(refused["code"], "scope_missing");
    site.app().get("/v1/timestamps/clock").expect(200);
    site.app_number(2).get("/v1/timestamps/clock").expect(200);
}

#[test]
fn where_the_site_wants_it_only_apps_get_timestamps_and_strangers_get_few() {
    let folder = Folder::init();
    folder.configure("public = true\n", "public = true\npublic_rate = 1\npublic_burst = 3\n");
    let (site, scratch) = (folder.serve(), scratch());
    let request = query(&scratch, "-sha256");
    let answers: Vec<_> = (0..20).map(|_| ask(&site.stranger(None), &request)).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a burst is three");
    assert_eq!(refused.json()["code"], "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(answers.iter().filter(|answer| answer.status == 200).count() >= 3);
    for _ in 0..20 {
        ask(site.app(), &request).expect(200); // an app has its own limits
    }
    site.configure(&[("public = true", "public = false")]);
    Ran::of(Command::new("kill").args(["-HUP", &site.pid().to_string()])).expect("kill -HUP");
    tests::eventually("strangers are refused", Duration::from_secs(60), || {
        (ask(&site.stranger(None), &request).status == 401).then_some(())
    });
    ask(site.app(), &request).expect(200);
    site.configure(&[("policies = [\"1.2.3.4.1\"]\n", "")]);
    Ran::of(Command::new("kill").args(["-HUP", &site.pid().to_string()])).expect("kill -HUP");
    tests::eventually("there are no timestamps", Duration::from_secs(60), || {
        (ask(site.app(), &request).status == 404).then_some(())
    });
    assert_eq!(ask(site.app(), &request).json()["code"], "timestamps_off");
}

/// Tokens that sixteen threads get at these gateways, eight orders each: serial number and time, by thread in order.
fn sixteen_threads(sites: &[&Site]) -> Vec<Vec<(String, String)>> {
    let start = Barrier::new(16);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let (start, app) = (&start, sites[number % sites.len()].app_number(0));
                scope.spawn(move || {
                    start.wait();
                    let order = |turn: usize| {
                        let hash = if (number + turn).is_multiple_of(2) { "sm3" } else { "sha256" };
                        let input = json!({"data": base64(format!("{number} {turn}").as_bytes())});
                        let made =
                            stamp(&app, &json!({"input": input, "algorithm": hash})).expect(201).json();
                        let text = |member: &str| made[member].as_str().unwrap().to_owned();
                        (text("serial"), sortable(&text("gen_time")))
                    };
                    (0..8).map(order).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A time with six digits of a second, so that texts sort as times do.
fn sortable(time: &str) -> String {
    let (whole, fraction) =
        time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    format!("{whole}.{fraction:0<6}")
}

fn pair(ordering: bool) -> (Site, Site, Postgres, String) {
    let server = Postgres::start();
    let database = server.database();
    let folder = Folder::init_in(&server, &database);
    folder.configure("[timestamps]\n", &format!("[timestamps]\nordering = {ordering}\n"));
    let first = folder.serve();
    let second = Folder::beside(&first, "second").serve();
    (first, second, server, database)
}

#[test]
fn no_serial_number_is_given_twice_over_two_gateways_and_a_kill() {
    let (first, second, server, database) = pair(false);
    let mut serials = BTreeSet::new();
    let mut given = 0;
    let mut take = |sites: &[&Site]| {
        for (serial, _) in sixteen_threads(sites).into_iter().flatten() {
            assert!(serials.insert(serial.clone()), "{serial} twice");
            given += 1;
        }
    };
    take(&[&first, &second]);
    let second = second.kill().serve();
    take(&[&first, &second]);
    let first = first.kill().serve();
    take(&[&second, &first]);
    let recorded = audit_on(&server, &database);
    let stamped = recorded.iter().filter(|entry| entry["action"] == "timestamp" && entry["outcome"] == "ok");
    assert_eq!(stamped.count(), given, "each is on record");
    assert_eq!(given, 3 * 16 * 8);
    drop((first, second));
    drop(server);
}

#[test]
fn where_order_is_promised_times_go_on_over_two_gateways_and_a_kill() {
    let (first, second, server, _) = pair(true);
    let mut latest = String::new();
    let mut times = BTreeSet::new();
    let mut take = |sites: &[&Site]| {
        let before = latest.clone();
        for thread in sixteen_threads(sites) {
            assert!(thread.windows(2).all(|two| two[0].1 < two[1].1), "{thread:?}");
            for (_, time) in thread {
                assert!(time > before, "{time} is not after {before}");
                latest = latest.clone().max(time.clone());
                assert!(times.insert(time.clone()), "{time} twice");
            }
        }
    };
    take(&[&first, &second]);
    let second = second.kill().serve();
    take(&[&first, &second]);
    let judged = stamp(first.app(), &json!({"input": {"data": "AA=="}})).expect(201);
    let body = json!({"token": judged.json()["token"], "input": {"data": "AA=="}});
    let judged = second.app().post("/v1/timestamps:verify", &body);
    judged.expect_verdict("valid");
    assert_eq!(judged.json()["timestamp"]["ordering"], true);
    drop((first, second));
    drop(server);
}

#[test]
fn an_authority_outside_is_asked_and_believed_only_if_its_answer_is_good() {
    let outside = Folder::init().serve();
    let hostile = Source::start();
    let ask_there = |url: &str, root: &str| {
        let folder = Folder::init();
        let root = outside.data().join("pki/roots").join(root);
        let section = format!("[timestamps.outside]\nurl = {url:?}\nroots = [{root:?}]\n\n[fleet]\n");
        folder.configure("[fleet]\n", &section);
        folder.serve()
    };
    let order = |hash: &str| json!({"input": {"data": base64(b"x")}, "source": "outside", "algorithm": hash});
    let site = ask_there(&format!("{}/tsa", outside.base()), "p256.pem");
    let answer = stamp(site.app(), &order("sha512")).expect(201);
    let made = answer.json();
    assert_eq!((&made["policy"], &made["form"]), (&json!(POLICY), &Value::Null), "{made}");
    let judged = outside
        .app()
        .post("/v1/timestamps:verify", &json!({"token": made["token"], "input": {"data": base64(b"x")}}));
    judged.expect_verdict("valid");
    let entries = site.audit();
    let entry = &entries[usize::try_from(made["audit_index"].as_u64().unwrap()).unwrap()];
    assert_eq!((&entry["action"], &entry["outcome"]), (&json!("timestamp.outside"), &json!("ok")), "{entry}");
    // SM2 tokens of that authority come from a root that is not trusted here.
    let refused = stamp(site.app(), &order("sm3")).expect(502).json();
    assert_eq!(refused["code"], "outside_timestamp");
    assert!(refused["detail"].as_str().unwrap().contains("no_path"), "{refused}");
    drop(site);

    let site = ask_there(&hostile.url("tsa"), "p256.pem");
    // A good answer to another request: the nonce is another one.
    let scratch = scratch();
    scratch.write("document", b"x");
    let old = ask(outside.app(), &query(&scratch, "-sha256 -cert")).expect(200).body;
    let refused_there = ask(outside.app(), &query(&scratch, "-sha1")).expect(200).body;
    for (reply, said) in [
        (old, "nonce_mismatch"),
        (refused_there, "timestamp_refused"),
        (b"no response".to_vec(), "malformed"),
    ] {
        hostile.put("tsa", reply);
        let refused = stamp(site.app(), &order("sha256")).expect(502).json();
        assert_eq!(refused["code"], "outside_timestamp");
        assert!(refused["detail"].as_str().unwrap().contains(said), "{refused}");
    }
    for (reply, said) in [(500, "500"), (404, "404")] {
        hostile.answer("tsa", move |_| Reply::Status(reply));
        let refused = stamp(site.app(), &order("sha256")).expect(502).json();
        assert!(refused["detail"].as_str().unwrap().contains(said), "{refused}");
    }
    hostile.answer("tsa", |_| Reply::Endless);
    let refused = stamp(site.app(), &order("sha256")).expect(502).json();
    assert!(refused["detail"].as_str().unwrap().contains("more than"), "{refused}");
    stamp(site.app(), &json!({"input": {"data": "AA=="}})).expect(201); // its own are not touched by that
}
