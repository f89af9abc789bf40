//! What is tried against logins by OpenID Connect, each by its code: nobody is logged in by what is somebody else's, and nothing leads
//! where the app did not say.

use serde_json::{Value, json};
use tests::{Signer, Site, shared};

use crate::oidc::{
    Begun, CALLBACK, VERIFIER, agree, answered, ask, client, code, encoded, issuer, part, redeem, refresh,
    send, text, userinfo,
};
use crate::phone::Phone;

/// What the app's address is told of a request that is refused.
fn denied(site: &Site, client: &str, changes: &[(&str, &str)]) -> Value {
    let (place, told) = answered(&site.stranger(None).get(&ask(client, changes)));
    assert_eq!(place, "https://app.example/cb");
    assert_eq!((&told["iss"], told.get("code")), (&json!(issuer(site)), None), "{told}");
    told["error"].clone()
}

/// The code of a page that refuses; it leads nowhere.
#[track_caller]
fn page(answer: tests::Answer, status: u16) -> String {
    let answer = answer.expect(status);
    assert_eq!(answer.header("location"), "");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    let text = answer.text();
    let (_, rest) = text.split_once("<code>").unwrap_or_else(|| panic!("{text}"));
    rest.split('<').next().unwrap().to_owned()
}

#[track_caller]
fn refused(answer: tests::Answer, error: &str, code: &str) {
    let body = answer.json();
    assert_eq!((&body["error"], &body["code"]), (&json!(error), &json!(code)), "{}", answer.text());
    assert!(matches!(answer.status, 400 | 401 | 403), "{}", answer.status);
}

fn is_over(site: &Site, tokens: &Value) {
    assert_eq!(userinfo(site, text(tokens, "access_token")).expect(401).json()["code"], "token_invalid");
}

#[test]
fn a_code_that_comes_twice_ends_what_came_of_it() {
    let site = &shared().site;
    let signer = client(site, "attack-replay", &["*"], &json!({}));
    let code = code(site, "attack-replay", &[]);
    let tokens = redeem(site, Some(&signer), &code, &[]).expect(200).json();
    userinfo(site, text(&tokens, "access_token")).expect(200);
    refused(redeem(site, Some(&signer), &code, &[]), "invalid_grant", "code_used");
    is_over(site, &tokens);
    refused(refresh(site, &signer, text(&tokens, "refresh_token")), "invalid_grant", "login_ended");
    refused(redeem(site, Some(&signer), &code, &[]), "invalid_grant", "login_ended");
    let replays = site
        .audit()
        .into_iter()
        .filter(|entry| entry["action"] == "oidc.replay" && entry["actor"] == "attack-replay");
    assert_eq!(replays.map(|entry| entry["outcome"].clone()).collect::<Vec<_>>(), ["code_used"]);
}

#[test]
fn a_refresh_token_that_comes_twice_ends_its_family() {
    let site = &shared().site;
    let signer = client(site, "attack-refresh", &["*"], &json!({}));
    let first = redeem(site, Some(&signer), &code(site, "attack-refresh", &[]), &[]).expect(200).json();
    let second = refresh(site, &signer, text(&first, "refresh_token")).expect(200).json();
    refused(refresh(site, &signer, text(&first, "refresh_token")), "invalid_grant", "refresh_token_used");
    refused(refresh(site, &signer, text(&second, "refresh_token")), "invalid_grant", "login_ended");
    is_over(site, &first);
    is_over(site, &second);
    // It takes the place of nothing else, and nothing else its.
    let other = redeem(site, Some(&signer), &code(site, "attack-refresh", &[]), &[]).expect(200).json();
    refused(refresh(site, &signer, text(&other, "access_token")), "invalid_grant", "refresh_token_unknown");
    assert_eq!(userinfo(site, text(&other, "refresh_token")).expect(401).json()["code"], "token_invalid");
    let more = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&other, "refresh_token")),
        ("scope", "openid license.face"),
    ];
    refused(send(site, "/oidc/token", Some(&signer), &more), "invalid_scope", "invalid_scope");
}

#[test]
fn without_the_verifier_a_code_is_of_no_use_and_no_request_goes_without_one() {
    let site = &shared().site;
    let signer = client(site, "attack-pkce", &["*"], &json!({}));
    assert_eq!(denied(site, "attack-pkce", &[("code_challenge", "")]), "invalid_request");
    assert_eq!(denied(site, "attack-pkce", &[("code_challenge_method", "")]), "invalid_request");
    let plain = [("code_challenge_method", "plain"), ("code_challenge", VERIFIER)];
    assert_eq!(denied(site, "attack-pkce", &plain), "invalid_request");
    let code = code(site, "attack-pkce", &[]);
    let wrong = "a".repeat(43);
    for verifier in [wrong.as_str(), crate::oidc::CHALLENGE, "short"] {
        let answer = redeem(site, Some(&signer), &code, &[("code_verifier", verifier)]);
        refused(answer, "invalid_grant", "code_verifier_wrong");
    }
    refused(
        redeem(site, Some(&signer), &code, &[("code_verifier", "")]),
        "invalid_request",
        "invalid_request",
    );
    redeem(site, Some(&signer), &code, &[]).expect(200);
}

#[test]
fn a_code_goes_to_no_other_address_and_comes_back_from_none() {
    let site = &shared().site;
    let signer = client(site, "attack-address", &["*"], &json!({}));
    for address in [
        "",
        "https://evil.example/cb",
        "https://app.example/cb",
        "https://app.example/cb?from=login&x=y",
        "https://app.example/cb?from=login#x",
        "https://app.example/cb/../evil?from=login",
        "https://app.example/CB?from=login",
        "https://app.example@evil.example/cb?from=login",
        "https://app.example.evil.example/cb?from=login",
        "https://app.example:443/cb?from=login",
        "http://app.example/cb?from=login",
        "//app.example/cb?from=login",
        "javascript:alert(1)",
    ] {
        let answer = site.stranger(None).get(&ask("attack-address", &[("redirect_uri", address)]));
        assert_eq!(page(answer, 400), "redirect_uri_unknown", "{address}");
    }
    // Which of two would count nobody knows.
    let twice =
        format!("{}&{}", ask("attack-address", &[]), encoded(&[("redirect_uri", "https://evil.example")]));
    assert_eq!(page(site.stranger(None).get(&twice), 422), "invalid_query");
    for unknown in ["nobody", "sandbox-portal", ""] {
        assert_eq!(page(site.stranger(None).get(&ask(unknown, &[])), 400), "login_client_unknown");
    }
    let code = code(site, "attack-address", &[]);
    let other = redeem(site, Some(&signer), &code, &[("redirect_uri", "https://app.example/cb")]);
    refused(other, "invalid_grant", "redirect_uri_differs");
    refused(
        redeem(site, Some(&signer), &code, &[("redirect_uri", "")]),
        "invalid_request",
        "invalid_request",
    );
    redeem(site, Some(&signer), &code, &[]).expect(200);
    // What is registered is an address, and a safe one.
    for address in
        ["http://app.example/cb", "https://*.example/cb", "https://app.example/cb#x", "app.example"]
    {
        let oidc = json!({"redirect_uris": [address], "item": "annual-report", "item_name": "x"});
        let app = json!({"id": "attack-form", "name": "x", "oidc": oidc, "reason": "test"});
        let problem = site.app_number(2).post("/v1/admin/apps", &app).expect(422).json();
        assert_eq!(
            (&problem["code"], &problem["errors"][0]["field"]),
            (&json!("invalid_redirect_uri"), &json!("oidc.redirect_uris"))
        );
    }
}

#[test]
fn a_code_is_of_use_to_the_app_only_that_asked_and_that_proves_itself() {
    let site = &shared().site;
    let signer = client(site, "attack-mine", &["*"], &json!({}));
    let other = client(site, "attack-theirs", &["*"], &json!({}));
    client(site, "attack-public", &["*"], &json!({"public": true}));
    let taken = code(site, "attack-mine", &[]);
    refused(redeem(site, Some(&other), &taken, &[]), "invalid_grant", "code_unknown");
    // Only who is registered so goes without a proof; nobody goes in another's name.
    refused(redeem(site, None, &taken, &[("client_id", "attack-mine")]), "invalid_client", "client_refused");
    refused(redeem(site, None, &taken, &[("client_id", "attack-public")]), "invalid_grant", "code_unknown");
    let thief = Signer::new("attack-mine", "p256");
    refused(redeem(site, Some(&thief), &taken, &[]), "invalid_client", "client_refused");
    let as_mine = redeem(site, Some(&other), &taken, &[("client_id", "attack-mine")]);
    refused(as_mine, "invalid_client", "client_refused");
    // An assertion for another endpoint or site is none here.
    for audience in [format!("{}/oauth2/token", issuer(site)), "https://another.example".to_owned()] {
        let assertion = signer.assertion(&audience, &json!({}));
        let proof = [
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
        ];
        refused(redeem(site, None, &taken, &proof), "invalid_client", "client_refused");
    }
    let tokens = redeem(site, Some(&signer), &taken, &[]).expect(200).json();
    refused(refresh(site, &other, text(&tokens, "refresh_token")), "invalid_grant", "refresh_token_unknown");
    send(site, "/oidc/revoke", Some(&other), &[("token", text(&tokens, "refresh_token"))]).expect(200);
    userinfo(site, text(&tokens, "access_token")).expect(200);
    let public = redeem(site, None, &code(site, "attack-public", &[]), &[("client_id", "attack-public")]);
    public.expect(200);
    // As soon as it has a key, the verifier alone is not enough.
    let key = Signer::new("attack-public", "p256");
    key.enter(site);
    let taken_of_keyless = code(site, "attack-public", &[]);
    let without = redeem(site, None, &taken_of_keyless, &[("client_id", "attack-public")]);
    refused(without, "invalid_client", "client_refused");
    redeem(site, Some(&key), &taken_of_keyless, &[]).expect(200);
    // An app that nobody logs in to, however well it proves itself.
    let stranger = site.signing_app("attack-stranger", "p256");
    refused(redeem(site, Some(&stranger), &taken, &[]), "unauthorized_client", "unauthorized_client");
    // Nor is an app served that is not served.
    site.app_command(&["lock", "attack-mine", "--reason", "test"]);
    userinfo(site, text(&tokens, "access_token")).expect(403);
    refused(refresh(site, &signer, text(&tokens, "refresh_token")), "invalid_client", "app_locked");
    // Strangers are not told why.
    assert_eq!(page(site.stranger(None).get(&ask("attack-mine", &[])), 400), "login_client_unknown");
}

#[test]
fn no_token_is_taken_for_another_kind() {
    let site = &shared().site;
    let signer = client(site, "attack-kinds", &["*"], &json!({}));
    let tokens = redeem(site, Some(&signer), &code(site, "attack-kinds", &[]), &[]).expect(200).json();
    let call = |token: &str| {
        let bearer = format!("Bearer {token}");
        site.stranger(None).send("GET", "/v1/keys", &[("authorization", &bearer)], None)
    };
    let id_token = text(&tokens, "id_token");
    for token in [id_token, text(&tokens, "access_token"), text(&tokens, "refresh_token")] {
        assert_eq!(call(token).expect(401).json()["code"], "token_invalid");
    }
    assert_eq!(userinfo(site, id_token).expect(401).json()["code"], "token_invalid");
    // By another algorithm or key an ID token is none.
    let claims = part(id_token, 1);
    let header = part(id_token, 0);
    let (start, signature) = id_token.rsplit_once('.').unwrap();
    let (_, body) = start.split_once('.').unwrap();
    let none = signer.jws(&json!({"alg": "none", "typ": "JWT"}), &claims);
    for hint in [
        signer.jws(&header, &claims),
        signer.jws(&json!({"alg": "HS256", "typ": "JWT", "kid": header["kid"]}), &claims),
        format!("{}.", none.rsplit_once('.').unwrap().0),
        format!("{}.{body}.{signature}", none.split('.').next().unwrap()),
        signer.assertion(&issuer(site), &json!({})),
    ] {
        let leave = encoded(&[("id_token_hint", &hint)]);
        assert_eq!(
            page(site.stranger(None).get(&format!("/oidc/logout?{leave}")), 400),
            "id_token_hint_invalid"
        );
    }
    userinfo(site, text(&tokens, "access_token")).expect(200);
}

#[test]
fn a_login_ends_in_the_browser_that_began_it() {
    let site = &shared().site;
    client(site, "attack-fixed", &["*"], &json!({}));
    let (browser, phone) = (site.stranger(None), Phone::good(site));
    let begun = Begun::at(&browser, &ask("attack-fixed", &[]));
    let other = Begun::at(&browser, &ask("attack-fixed", &[]));
    agree(&phone, site, &begun.seen(&browser), &json!({}));
    // Somebody else has the address, and even a cookie: of another login, or one that he made up.
    let name = begun.cookie.split('=').next().unwrap();
    let secret = other.cookie.split('=').nth(1).unwrap();
    for cookie in [String::new(), other.cookie.clone(), format!("{name}={secret}"), format!("{name}=")] {
        let stolen = Begun { path: begun.path.clone(), cookie };
        assert_eq!(page(stolen.page(&browser), 403), "login_other_browser");
        assert_eq!(page(stolen.send(&browser, "continue", "x"), 403), "login_other_browser");
        let state =
            browser.send("GET", &format!("{}/state", begun.path), &[("cookie", &stolen.cookie)], None);
        assert_eq!(state.expect(403).json()["code"], "login_other_browser");
    }
    // A form of another site's is not the page's.
    for form in ["", "x", &"0".repeat(64)] {
        assert_eq!(page(begun.send(&browser, "continue", form), 403), "login_forged");
        assert_eq!(page(begun.send(&browser, "cancel", form), 403), "login_forged");
    }
    let (_, told) = answered(&begun.press(&browser, "continue"));
    assert!(told["code"].is_string(), "{told}");
    assert_eq!(page(begun.page(&browser), 410), "login_over");
    assert_eq!(page(browser.get("/oidc/login/nothing"), 410), "login_unknown");
}

#[test]
fn the_pages_stand_in_no_frame_run_one_script_and_tell_nobody_their_address() {
    let site = &shared().site;
    client(site, "attack-frame", &["*"], &json!({}));
    let browser = site.stranger(None);
    let begun = Begun::at(&browser, &ask("attack-frame", &[]));
    let page = begun.page(&browser).expect(200);
    let policy = page.header("content-security-policy");
    for wanted in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "script-src 'sha256-",
        "form-action 'self' https:;",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(wanted), "{wanted}: {policy}");
    }
    assert!(!policy.contains("script-src 'unsafe"), "{policy}");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!((page.header("referrer-policy"), page.header("cache-control")), ("no-referrer", "no-store"));
    for outside in ["src=\"http", "href=\"http", "src=\"//", "@import", "url("] {
        assert!(!page.text().contains(outside), "{outside}");
    }
    // What an app is called is text.
    let oidc = json!({"redirect_uris": [CALLBACK], "item": "annual-report", "item_name": "<script>alert(1)</script>"});
    let app = json!({"id": "attack-names", "name": "<img src=x>", "oidc": oidc, "reason": "test"});
    site.app_number(2).post("/v1/admin/apps", &app).expect(201);
    let begun = Begun::at(&browser, &ask("attack-names", &[("scope", "openid")]));
    let text = begun.page(&browser).expect(200).text();
    assert!(text.contains("&lt;img src=x&gt;") && !text.contains("<script>alert"), "{text}");
}

#[test]
fn what_cannot_be_asked_is_told_the_app_and_logging_out_leads_nowhere_else() {
    let site = &shared().site;
    let signer = client(site, "attack-asks", &["*"], &json!({"scopes": ["license", "offline_access"]}));
    for (changes, error) in [
        ([("response_type", "token")], "unsupported_response_type"),
        ([("response_type", "")], "invalid_request"),
        ([("scope", "license")], "invalid_scope"),
        ([("scope", "openid operator")], "invalid_scope"),
        ([("prompt", "none")], "login_required"),
        ([("request", "eyJhbGciOiJub25lIn0.e30.")], "request_not_supported"),
        ([("request_uri", "https://evil.example/r")], "request_uri_not_supported"),
        ([("response_mode", "fragment")], "invalid_request"),
        ([("id_token_hint", "eyJhbGciOiJub25lIn0.e30.")], "invalid_request"),
    ] {
        let changes = [&[("scope", "openid license offline_access")][..], &changes].concat();
        assert_eq!(denied(site, "attack-asks", &changes), error, "{changes:?}");
    }
    let asked = [("scope", "openid license offline_access")];
    let tokens = redeem(site, Some(&signer), &code(site, "attack-asks", &asked), &[]).expect(200).json();
    let hint = text(&tokens, "id_token");
    for (parameters, code) in [
        (
            vec![("id_token_hint", hint), ("post_logout_redirect_uri", "https://evil.example/")],
            "redirect_uri_unknown",
        ),
        (vec![("id_token_hint", hint), ("post_logout_redirect_uri", CALLBACK)], "redirect_uri_unknown"),
        (vec![("id_token_hint", hint), ("client_id", "attack-other")], "id_token_hint_invalid"),
        (vec![("post_logout_redirect_uri", "https://app.example/bye")], "login_client_unknown"),
        (vec![("id_token_hint", "x")], "id_token_hint_invalid"),
    ] {
        let answer = site.stranger(None).get(&format!("/oidc/logout?{}", encoded(&parameters)));
        assert_eq!(page(answer, 400), code, "{parameters:?}");
    }
    userinfo(site, text(&tokens, "access_token")).expect(200);
}
