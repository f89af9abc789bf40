//! Access tokens: who gets one, what it opens, and what is tried against it.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tests::{Answer, Signer, Site, eventually, now};

static SITE: LazyLock<(Site, Signer)> = LazyLock::new(|| {
    let site = Site::start();
    let signer = site.signing_app("client", "p256");
    (site, signer)
});

fn site() -> &'static Site {
    &SITE.0
}

fn client() -> &'static Signer {
    &SITE.1
}

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn issuer() -> String {
    let metadata = site().stranger(None).get("/.well-known/oauth-authorization-server").expect(200).json();
    metadata["issuer"].as_str().unwrap().to_owned()
}

fn ask(site: &Site, form: &[(&str, &str)]) -> Answer {
    let escape = |text: &str| text.bytes().map(|octet| format!("%{octet:02X}")).collect::<String>();
    let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    site.stranger(None).send("POST", "/oauth2/token", &headers, Some(body.join("&").as_bytes()))
}

fn ask_with(site: &Site, assertion: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion),
    ];
    ask(site, &form)
}

fn token() -> String {
    let answer = ask_with(site(), &client().assertion(&issuer(), &json!({}))).expect(200).json();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn with_token(token: &str, path: &str) -> Answer {
    site().stranger(None).send("GET", path, &[("authorization", &format!("Bearer {token}"))], None)
}

#[track_caller]
fn refused(answer: &Answer, error: &str, code: &str) {
    let body = answer.json();
    assert_eq!((&body["error"], &body["code"]), (&json!(error), &json!(code)), "{}", answer.text());
    assert!(matches!(answer.status, 400 | 401 | 429), "{}", answer.status);
}

fn decoded(part: &str) -> Value {
    use base64::Engine as _;
    let octets = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&octets).unwrap()
}

#[test]
fn an_app_gets_a_token_for_its_signed_assertion_and_is_served_with_it() {
    let sm2 = site().signing_app("client-sm2", "sm2");
    for signer in [client(), &sm2] {
        for audience in [issuer(), format!("{}/oauth2/token", issuer())] {
            let answer = ask_with(site(), &signer.assertion(&audience, &json!({}))).expect(200);
            assert_eq!(answer.header("cache-control"), "no-store");
            let answer = answer.json();
            assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(600)));
            assert_eq!(answer["scope"], "keys signatures verifications");
            let token = answer["access_token"].as_str().unwrap();
            with_token(token, "/v1/keys").expect(200);
        }
    }
    let issued = site()
        .audit()
        .into_iter()
        .filter(|entry| entry["action"] == "token.issue" && entry["key"] == "sys-token");
    assert!(issued.count() >= 4);
}

#[test]
fn a_token_is_an_rfc_9068_token_that_the_published_keys_verify() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use base64::Engine as _;
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = token();
    let parts: Vec<_> = token.split('.').collect();
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    for member in ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope"] {
        assert!(!claims[member].is_null(), "{member} in {claims}");
    }
    assert!(claims["exp"].as_i64().unwrap() - now() <= 900);
    let keys = site().stranger(None).get("/oauth2/jwks").expect(200).json();
    let key =
        keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap().clone();
    let coordinate = |name: &str| url.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let signature = url.decode(parts[2]).unwrap();
    let message = format!("{}.{}", parts[0], parts[1]);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature).unwrap();
}

#[test]
fn an_assertion_counts_once() {
    let assertion = client().assertion(&issuer(), &json!({}));
    ask_with(site(), &assertion).expect(200);
    refused(&ask_with(site(), &assertion), "invalid_client", "replay");
}

#[test]
fn an_assertion_that_proves_nothing_gets_nothing() {
    let (issuer, thief, stranger) = (issuer(), Signer::new("client", "p256"), Signer::new("no-app", "p256"));
    let sm2_thief = Signer::new("client", "sm2");
    let good =
        json!({"iss": "client", "sub": "client", "aud": issuer, "exp": now() + 60, "jti": "0123456789"});
    let swapped = {
        let (first, second) =
            (client().assertion(&issuer, &json!({})), client().assertion(&issuer, &json!({})));
        let (head, _) = first.rsplit_once('.').unwrap();
        format!("{head}.{}", second.rsplit_once('.').unwrap().1)
    };
    let none = client().jws(&json!({"alg": "none"}), &good);
    let cases = [
        (thief.assertion(&issuer, &json!({})), "client_refused"),
        (stranger.assertion(&issuer, &json!({})), "client_refused"),
        (sm2_thief.assertion(&issuer, &json!({})), "client_refused"),
        (swapped, "client_refused"),
        (client().jws(&json!({"alg": "SM2"}), &good), "client_refused"),
        (client().jws(&json!({"alg": "HS256"}), &good), "client_refused"),
        (format!("{}.", none.rsplit_once('.').unwrap().0), "client_refused"),
        (none, "client_refused"),
        ("".to_owned(), "client_refused"),
        ("a.b.c".to_owned(), "client_refused"),
        (client().assertion("https://somewhere.else", &json!({})), "client_refused"),
        (client().assertion(&issuer, &json!({"sub": "sandbox-registration"})), "client_refused"),
        (client().assertion(&issuer, &json!({"iss": "sandbox-registration"})), "client_refused"),
        (client().assertion(&issuer, &json!({"jti": "short"})), "client_refused"),
        (client().assertion(&issuer, &json!({"exp": now() - 1})), "clock_skew"),
        (client().assertion(&issuer, &json!({"exp": now() + 7200})), "clock_skew"),
        (client().assertion(&issuer, &json!({"exp": i64::MAX})), "clock_skew"),
        (client().assertion(&issuer, &json!({"nbf": now() + 600})), "clock_skew"),
    ];
    for (assertion, code) in cases {
        refused(&ask_with(site(), &assertion), "invalid_client", code);
        token(); // whoever proves itself here is not slowed down by the others
    }
}

#[test]
fn a_token_request_that_is_none_is_told_so() {
    let assertion = client().assertion(&issuer(), &json!({}));
    let form = |grant, kind| {
        vec![("grant_type", grant), ("client_assertion_type", kind), ("client_assertion", &*assertion)]
    };
    refused(&ask(site(), &form("password", ASSERTION)), "unsupported_grant_type", "unsupported_grant_type");
    refused(&ask(site(), &form("client_credentials", "jwt")), "invalid_client", "client_refused");
    refused(&ask(site(), &[("grant_type", "client_credentials")]), "invalid_client", "client_refused");
    refused(&ask(site(), &[("scope", "keys")]), "invalid_request", "invalid_request");
    let mut scoped = form("client_credentials", ASSERTION);
    scoped.push(("scope", "keys maintenance"));
    refused(&ask(site(), &scoped), "invalid_scope", "invalid_scope");
    let json = [("content-type", "application/json")];
    let answer = site().stranger(None).send("POST", "/oauth2/token", &json, Some(b"{}"));
    refused(&answer, "invalid_request", "invalid_request");
}

#[test]
fn a_token_opens_no_more_than_it_says() {
    let assertion = client().assertion(&issuer(), &json!({}));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", &assertion),
        ("scope", "verifications"),
    ];
    let answer = ask(site(), &form).expect(200).json();
    assert_eq!(answer["scope"], "verifications");
    let refused = with_token(answer["access_token"].as_str().unwrap(), "/v1/keys").expect(403).json();
    assert_eq!(refused["code"], "scope_missing");
}

#[test]
fn what_is_no_token_of_this_site_opens_nothing() {
    let good = token();
    let parts: Vec<_> = good.split('.').collect();
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    let forge = |header: &Value, claims: &Value| client().jws(header, claims);
    let mut confused = header.clone();
    confused["typ"] = json!("JWT");
    let mut other = claims.clone();
    other["client_id"] = json!("sandbox-registration");
    // The last octet of the signature, another than it is.
    let mut chars = good.clone();
    chars.replace_range(good.len() - 2.., if good.ends_with("AA") { "AQ" } else { "AA" });
    for bad in [
        "",
        "x",
        &good[1..],
        &chars,
        &format!("{good}."),
        &format!("{}.{}.", parts[0], parts[1]),
        &forge(&header, &claims),
        &forge(&confused, &claims),
        &forge(&header, &other),
        &client().assertion(&issuer(), &json!({})),
    ] {
        let answer = with_token(bad, "/v1/keys");
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (401, &json!("token_invalid")),
            "{bad}: {}",
            answer.text()
        );
        assert!(answer.header("www-authenticate").contains("invalid_token"), "{:?}", answer.headers);
    }
    let basic = site().stranger(None).send("GET", "/v1/keys", &[("authorization", "Basic eDp5")], None);
    assert_eq!(basic.expect(401).json()["code"], "token_invalid");
}

#[test]
fn a_token_ends_with_its_time_its_credential_and_its_app() {
    let folder = tests::Folder::init();
    folder.configure("[callers]\n", "[callers]\ntoken_lifetime_s = 60\n");
    let site = folder.serve();
    let signer = site.signing_app("ending", "p256");
    let credential =
        site.app_command(&["show", "ending"])["credentials"][0]["id"].as_str().unwrap().to_owned();
    let issuer = site.stranger(None).get("/.well-known/oauth-authorization-server").expect(200).json();
    let issuer = issuer["issuer"].as_str().unwrap().to_owned();
    let get = |token: &str| {
        let headers = [("authorization", format!("Bearer {token}"))];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        site.stranger(None).send("GET", "/v1/keys", &headers, None)
    };
    let token = || {
        let answer = ask_with(&site, &signer.assertion(&issuer, &json!({}))).expect(200).json();
        assert_eq!(answer["expires_in"], 60);
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let first = token();
    get(&first).expect(200);
    site.app_command(&["lock", "ending", "--reason", "test"]);
    assert_eq!(get(&first).expect(403).json()["code"], "app_locked");
    assert_eq!(
        ask_with(&site, &signer.assertion(&issuer, &json!({}))).expect(403).json()["code"],
        "app_locked"
    );
    site.app_command(&["enable", "ending", "--reason", "test"]);
    get(&first).expect(200);
    let refused = eventually("the token expires", std::time::Duration::from_secs(120), || {
        let answer = get(&first);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.expect(401).json()["code"], "token_expired");
    let second = token();
    get(&second).expect(200);
    site.app_command(&["credential", "revoke", "ending", &credential, "--reason", "test"]);
    assert_eq!(get(&second).expect(401).json()["code"], "token_invalid");
}

#[test]
fn a_token_of_another_issuer_opens_nothing_though_the_same_key_signed_it() {
    let site = Site::start();
    let signer = site.signing_app("moved", "p256");
    let issuer = || {
        let metadata = site.stranger(None).get("/.well-known/oauth-authorization-server").expect(200).json();
        metadata["issuer"].as_str().unwrap().to_owned()
    };
    let before = issuer();
    let answer = ask_with(&site, &signer.assertion(&before, &json!({}))).expect(200).json();
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let get = || site.stranger(None).send("GET", "/v1/keys", &[("authorization", &bearer)], None);
    get().expect(200);
    site.configure(&[("issuer = \"https://", "issuer = \"https://moved.")]);
    assert!(site.command(&["reload"]).status.success());
    assert_eq!(issuer(), before.replace("https://", "https://moved."));
    let refused = get().expect(401).json();
    assert_eq!(refused["code"], "token_invalid", "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("somebody else"), "{refused}");
    // An assertion for the issuer before opens nothing either.
    let late = ask_with(&site, &signer.assertion(&before, &json!({})));
    self::refused(&late, "invalid_client", "client_refused");
}

/// What a gateway answers to `GET /v1/keys` with a token, asked from this address of this machine.
fn asked_from(site: &Site, address: &str, token: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let mut stream = site.connect_from(address);
    let request = format!(
        "GET /v1/keys HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    (status, text)
}

#[test]
fn who_tries_tokens_is_counted_and_in_the_end_not_judged_at_all() {
    const GUESSER: &str = "127.0.0.7";
    let site = Site::start();
    let [known, stranger] = ["at-home", "elsewhere"].map(|app| site.signing_app(app, "p256"));
    let metadata = site.stranger(None).get("/.well-known/oauth-authorization-server").expect(200).json();
    let issuer = metadata["issuer"].as_str().unwrap();
    let token = |signer: &Signer| {
        let answer = ask_with(&site, &signer.assertion(issuer, &json!({}))).expect(200).json();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let (known_token, token) = (token(&known), token(&stranger));
    assert_eq!(asked_from(&site, GUESSER, &known_token).0, 200);

    let parts: Vec<_> = token.split('.').collect();
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    let forged = |app: &str| {
        let mut claims = claims.clone();
        claims["client_id"] = json!(app);
        claims["jti"] = json!("forged");
        // No key signed it; the signature has the form of one.
        let [header, claims] = [&header, &claims].map(|part| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part.to_string())
        });
        format!("{header}.{claims}.{}", parts[2])
    };
    // In one app's name: after ten failures within a minute failures are told to wait, while the app's own token is good.
    let (status, text) = asked_from(&site, GUESSER, &forged("elsewhere"));
    assert!(status == 401 && text.contains("token_invalid"), "{text}");
    eventually("failures are told to wait", std::time::Duration::from_secs(300), || {
        let (status, text) = asked_from(&site, GUESSER, &forged("elsewhere"));
        (status == 429 && text.contains("too_many_attempts")).then_some(())
    });
    assert_eq!(asked_from(&site, GUESSER, &token).0, 200);

    // Now in this app's name, now in that one's: three hundred failures within a minute, and nobody is judged who is not
    // known there. On a machine so slow that they take longer, it takes more of them.
    let third = site.signing_app("third", "p256");
    let answer = ask_with(&site, &third.assertion(issuer, &json!({}))).expect(200).json();
    let third = answer["access_token"].as_str().unwrap();
    let forged: Vec<_> = (0..300).map(|number| forged(&format!("app-{number}"))).collect();
    eventually("the source is not judged any more", std::time::Duration::from_secs(300), || {
        for one in &forged {
            asked_from(&site, GUESSER, one);
        }
        let (status, text) = asked_from(&site, GUESSER, third);
        (status == 429 && text.contains("too_many_attempts")).then_some(())
    });
    assert_eq!(asked_from(&site, GUESSER, &known_token).0, 200, "who is known there");
    assert_eq!(asked_from(&site, "127.0.0.8", third).0, 200, "from elsewhere");
    eventually("the failures are on record", std::time::Duration::from_secs(60), || {
        let by = |entry: &Value| entry["actor"] == format!("unproved:elsewhere:{GUESSER}");
        site.audit().iter().any(|entry| entry["action"] == "request.refused" && by(entry)).then_some(())
    });
}
