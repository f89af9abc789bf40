//! HTTP Message Signatures (RFC 9421), and what is tried against them.

use std::sync::LazyLock;

use tests::{Answer, SignedRequest, Signer, Site, base64, nonce, now};

static SITE: LazyLock<(Site, Signer)> = LazyLock::new(|| {
    let site = Site::start();
    let signer = site.signing_app("standard", "p256");
    (site, signer)
});

fn site() -> &'static Site {
    &SITE.0
}

fn signer() -> &'static Signer {
    &SITE.1
}

const ORDER: &[u8] = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG8="}}"#;
const ALL: &str = r#""@method" "@path" "@query" "content-digest""#;

fn digest(body: &[u8]) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    format!("sha-256=:{}:", base64(digest(&SHA256, body).as_ref()))
}

fn parameters(signer: &Signer) -> String {
    format!(r#";created={};nonce="{}";keyid="{}""#, now(), nonce(), signer.app)
}

/// A request signed over these components with these parameters, written from the standard.
fn signed(signer: &Signer, target: &str, body: &[u8], covered: &str, parameters: &str) -> SignedRequest {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let digest = digest(body);
    let mut base = String::new();
    for name in covered.split(' ').filter(|name| !name.is_empty()) {
        let value = match name {
            r#""@method""# => method,
            r#""@path""# => path,
            r#""@query""# => &format!("?{query}"),
            r#""@request-target""# => target,
            r#""content-digest""# => &digest,
            r#""content-type""# => "application/json",
            other => panic!("{other}"),
        };
        base.push_str(&format!("{name}: {value}\n"));
    }
    let input = format!("({covered}){parameters}");
    base.push_str(&format!("\"@signature-params\": {input}"));
    let fields = [
        ("signature-input", format!("sig={input}")),
        ("signature", format!("sig=:{}:", base64(&signer.sign_fixed(base.as_bytes())))),
        ("content-digest", digest.clone()),
        ("content-type", "application/json".to_owned()),
    ];
    SignedRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        body: body.to_vec(),
        headers: fields.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

fn order() -> SignedRequest {
    signed(signer(), "/v1/signatures", ORDER, ALL, &parameters(signer()))
}

fn list() -> SignedRequest {
    signed(signer(), "/v1/keys", b"", ALL, &parameters(signer()))
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (status, code), "{}", answer.text());
}

/// Whoever proves itself here is not slowed down by what was refused before.
fn known() {
    list().send(site()).expect(200);
}

#[test]
fn a_message_signed_by_sm2_or_p256_is_served_once() {
    let sm2 = site().signing_app("standard-sm2", "sm2");
    for (signer, alg) in [(signer(), "ecdsa-p256-sha256"), (&sm2, "sm2-sm3")] {
        for named in [String::new(), format!(r#";alg="{alg}""#)] {
            let parameters = parameters(signer) + &named;
            let request = signed(signer, "/v1/signatures", ORDER, ALL, &parameters);
            request.send(site()).expect(201);
            refused(&request.send(site()), 401, "replay");
        }
        let target = r#""@method" "@request-target" "content-type""#;
        let request = signed(signer, "/v1/keys?b=2&a=1", b"", target, &parameters(signer));
        request.send(site()).expect(200);
    }
    let id = site().app_command(&["show", "standard"])["credentials"][0]["id"].as_str().unwrap().to_owned();
    let named = |id: &str| {
        let parameters = parameters(signer()).replace("\"standard\"", &format!("\"standard/{id}\""));
        signed(signer(), "/v1/keys", b"", ALL, &parameters).send(site())
    };
    named(&id).expect(200);
    refused(&named("none"), 401, "client_signature_invalid");
    // A nonce that was used in these fields was used in ours.
    let (at, nonce) = (now(), nonce());
    signer().request_at(at, &nonce, "GET", "/v1/keys", b"").send(site()).expect(200);
    let again = format!(r#";created={at};nonce="{nonce}";keyid="standard""#);
    refused(&signed(signer(), "/v1/keys", b"", ALL, &again).send(site()), 401, "replay");
}

#[test]
fn what_is_not_covered_proves_nothing() {
    for covered in [
        "",
        r#""@path" "@query" "content-digest""#,
        r#""@method" "@query" "content-digest""#,
        r#""@method" "@path" "content-digest""#,
        r#""@method" "@path" "@query""#,
        r#""@method" "@request-target" "content-type""#,
    ] {
        let answer = signed(signer(), "/v1/signatures", ORDER, covered, &parameters(signer())).send(site());
        refused(&answer, 400, "signature_headers");
        assert_eq!(answer.json()["errors"][0]["code"], "not_covered", "{covered}");
        known();
    }
}

#[test]
fn what_is_covered_cannot_be_changed() {
    let other: &[u8] = br#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"aGVsbG9v"}}"#;
    let input = |from: &str, to: &str| {
        let request = order();
        let changed = request.header("signature-input").replace(from, to);
        request.clone().with("signature-input", &changed)
    };
    let used = order();
    let old = used.header("signature-input").split("nonce=").nth(1).unwrap()[1..33].to_owned();
    for request in [
        SignedRequest { body: other.to_vec(), ..order() },
        SignedRequest { body: other.to_vec(), ..order().with("content-digest", &digest(other)) },
        SignedRequest { body: Vec::new(), ..order() },
        SignedRequest { target: "/v1/verifications".to_owned(), ..order() },
        SignedRequest { target: "/v1/signatures?x=1".to_owned(), ..order() },
        SignedRequest { target: "/v1/keys/demo-sm2".to_owned(), ..list() },
        input("standard", "sandbox-registration"),
        input("nonce=\"", &format!("nonce=\"{}", &old[..8])),
        input("created=", "expires=4102444800;created="),
        input(" \"@query\"", " \"content-type\" \"@query\""),
        order().with("signature", used.header("signature")),
    ] {
        refused(&request.send(site()), 401, "client_signature_invalid");
        known();
    }
}

#[test]
fn an_algorithm_that_is_named_changes_none() {
    let sm2_in_its_name = Signer::new("standard", "sm2");
    for (signer, alg) in [
        (signer(), "hmac-sha256"),
        (signer(), "sm2-sm3"),
        (&sm2_in_its_name, "sm2-sm3"),
        (&sm2_in_its_name, "ecdsa-p256-sha256"),
    ] {
        let parameters = parameters(signer) + &format!(r#";alg="{alg}""#);
        let answer = signed(signer, "/v1/keys", b"", ALL, &parameters).send(site());
        refused(&answer, 401, "client_signature_invalid");
    }
    let none = parameters(signer()) + r#";alg="none""#;
    refused(&signed(signer(), "/v1/keys", b"", ALL, &none).send(site()), 400, "signature_headers");
    known();
}

#[test]
fn a_time_that_is_wrong_is_told() {
    for time in [
        format!("created={}", now() - 310),
        format!("created={}", now() + 400),
        format!("created={};expires={}", now() - 5, now() - 1),
    ] {
        let parameters = format!(r#";{time};nonce="{}";keyid="standard""#, nonce());
        refused(&signed(signer(), "/v1/keys", b"", ALL, &parameters).send(site()), 401, "clock_skew");
        known();
    }
}

#[test]
fn fields_are_there_once_and_well_formed() {
    let input = |text: &str| order().with("signature-input", text);
    let given = order().header("signature-input").to_owned();
    let with = |parameters: &str| input(&format!("sig=({ALL}){parameters}"));
    for (request, field) in [
        (order().without("signature-input"), "signature-input"),
        (order().without("signature"), "signature"),
        (order().without("content-digest"), "signature-input"),
        (order().and("signature-input", &given), "signature-input"),
        (order().and("signature", "sig=:AAAA:"), "signature"),
        (order().and("content-digest", &digest(b"")), "content-digest"),
        (order().with("signature", "other=:AAAA:"), "signature"),
        (order().with("signature", "sig=AAAA"), "signature"),
        (order().with("content-digest", "md5=:AAAA:"), "content-digest"),
        (order().with("content-digest", "sha-256=x"), "content-digest"),
        (input("sig"), "signature-input"),
        (input("("), "signature-input"),
        (input(&format!("{given}, more={}", given.split_once('=').unwrap().1)), "signature-input"),
        (input(&given.replace("\"@path\"", "\"@path\" \"@path\"")), "signature-input"),
        (input(&given.replace("\"content-digest\"", "\"content-digest\";sf")), "signature-input"),
        (input(&given.replace("\"@path\"", "\"@path\" \"@status\"")), "signature-input"),
        (input(&given.replace("\"@path\"", "\"@path\" \"Content-Type\"")), "signature-input"),
        (with(r#";nonce="0123456789abcdef";keyid="standard""#), "signature-input"),
        (with(&format!(r#";created={};keyid="standard""#, now())), "signature-input"),
        (with(&format!(r#";created={};nonce="short";keyid="standard""#, now())), "signature-input"),
        (with(&format!(r#";created={};nonce="0123456789abcdef""#, now())), "signature-input"),
        (
            with(&format!(r#";created={};nonce="0123456789abcdef";keyid="sta ndard""#, now())),
            "signature-input",
        ),
        (
            with(&format!(r#";created="{}";nonce="0123456789abcdef";keyid="standard""#, now())),
            "signature-input",
        ),
    ] {
        let answer = request.send(site());
        refused(&answer, 400, "signature_headers");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{}", answer.text());
        known();
    }
    let twice = order().and("x-signature", "AAAA").and("x-app-id", "standard");
    refused(&twice.send(site()), 400, "credentials_ambiguous");
}
