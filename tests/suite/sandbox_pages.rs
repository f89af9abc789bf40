//! The pages to try a sandbox by: an integrating system and a phone, in real browsers. A site for production has neither.

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Browser, Folder, Ran, Site, base64, eventually, repository};

use crate::phone::Phone;
use crate::sessions::refused;

const SOON: Duration = Duration::from_secs(90);
const DEMO: &str = "/sandbox/demo/sessions";

/// A site of these tests' own.
static SITE: LazyLock<Site> = LazyLock::new(Site::start);

fn demo(width: u32, height: u32) -> Browser {
    let browser = Browser::start(width, height);
    browser.open(&format!("{}/sandbox/demo", SITE.base()));
    browser
}

/// A phone that is shown what the QR code says.
fn phone(qr: &str) -> Browser {
    let browser = Browser::start(390, 844);
    browser.open(&format!("{}/sandbox/phone", SITE.base()));
    browser.type_into("qr", qr);
    browser.press("识别");
    browser
}

/// What the code that is shown says.
fn payload(browser: &Browser) -> String {
    let read = || {
        let said = browser.script("return document.getElementById('payload')?.textContent ?? ''");
        said.as_str().filter(|said| !said.is_empty()).map(str::to_owned)
    };
    eventually("a QR code", SOON, read)
}

fn choose(browser: &Browser, id: &str, value: &str) {
    browser.script(&format!(
        "const choice = document.getElementById('{id}'); choice.value = '{value}'; \
         choice.dispatchEvent(new Event('change')); return choice.value"
    ));
}

/// Whether anything is wider than the window.
fn fits(browser: &Browser) {
    let beyond = browser.script("return document.documentElement.scrollWidth - window.innerWidth");
    assert!(beyond.as_i64().unwrap() <= 0, "{beyond} px too wide:\n{}", browser.text());
}

fn begun(what: &str) -> Value {
    SITE.stranger(None).post(DEMO, &json!({"what": what, "ttl": 300})).expect(201).json()
}

fn result(session: &Value, ticket: &Value) -> Answer {
    result_once(session, &json!({"ticket": ticket}))
}

fn result_once(session: &Value, asked: &Value) -> Answer {
    let path = format!("{DEMO}/{}/result", session["session"].as_str().unwrap());
    SITE.stranger(None).post(&path, asked)
}

#[test]
fn somebody_signs_in_by_scanning_and_the_result_is_had_once() {
    let demo = demo(1280, 900);
    demo.sees("扫码登录");
    choose(&demo, "ttl", "300");
    demo.click("#begin-login");
    demo.sees("等待扫码");
    // By the link, for people without a phone.
    let link = demo.script("return document.getElementById('phone').href");
    let phone = Browser::start(390, 844);
    phone.open(link.as_str().unwrap());
    phone.sees("请求登录");
    phone.sees("网上登记平台（沙箱）");
    phone.sees("年度报告网上填报（annual-report）");
    fits(&phone);
    demo.sees("已扫码，请在手机上确认");
    // A page that is loaded again is the same phone.
    phone.open(link.as_str().unwrap());
    phone.sees("请求登录");
    // A license that does not verify lets nobody in.
    choose(&phone, "license", "A-expired");
    phone.press("确认");
    phone.sees("这张执照已过期");
    choose(&phone, "license", "A-good-2");
    phone.press("确认");
    phone.sees("请回到电脑上继续");
    demo.sees("欢迎，");
    demo.sees("结果已验证");
    let shown = demo.text();
    assert_eq!(shown.matches('✓').count(), 3, "{shown}");
    assert!(shown.contains("法定代表人") && shown.contains("存续"), "{shown}");
    let consent = demo.script("return document.getElementById('consent').textContent");
    let consent: Value = serde_json::from_str(consent.as_str().unwrap()).unwrap();
    assert_eq!(
        (&consent["role"], &consent["item"]),
        (&json!("legal_representative"), &json!("annual-report"))
    );
    // Whoever comes back has it no second time.
    demo.open(&format!("{}/sandbox/demo", SITE.base()));
    demo.sees("结果只能取一次");
    let again = demo.script_async(
        "const done = arguments[arguments.length - 1]; \
         const { session, ticket } = JSON.parse(sessionStorage.getItem('demo.session')); \
         fetch(`/sandbox/demo/sessions/${session}/result`, { method: 'POST', \
           headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ticket }) }) \
           .then(async (answer) => done([answer.status, (await answer.json()).code]))",
    );
    assert_eq!(again, json!([409, "session_consumed"]));
    // In English.
    demo.press("English");
    demo.sees("A result can be fetched once");
    demo.press("Start again");
    demo.sees("Stamp by phone");
    assert_eq!(demo.script("return document.documentElement.lang"), "en");
}

#[test]
fn who_declines_or_comes_late_lets_nobody_in() {
    let demo = demo(390, 844);
    fits(&demo);
    choose(&demo, "ttl", "300");
    demo.click("#begin-login");
    let phone = phone(&payload(&demo));
    phone.sees("请求登录");
    phone.press("拒绝");
    phone.sees("请求方不会得到任何信息");
    demo.sees("持照人已拒绝");
    fits(&demo);
    demo.press("重新开始");
    choose(&demo, "ttl", "30");
    demo.click("#begin-login");
    let late = payload(&demo);
    demo.sees("二维码已过期");
    phone.press("返回");
    phone.type_into("qr", &late);
    phone.press("识别");
    phone.sees("二维码已过期，请在电脑上刷新");
    phone.press("返回");
    phone.type_into("qr", &late.replacen("\"expires\":", "\"expires\":1", 1));
    phone.press("识别");
    phone.sees("二维码的签名不是本网关的");
    phone.type_into("qr", "{}");
    phone.press("识别");
    phone.sees("这不是本网关的二维码");
}

#[test]
fn a_document_is_stamped_and_data_are_read_by_phone() {
    let demo = demo(1280, 900);
    choose(&demo, "ttl", "300");
    // What an address stands for: the page's policy lets nothing fetch it.
    demo.script(
        "const make = URL.createObjectURL; window.kept = new Map(); \
         URL.createObjectURL = (blob) => { const href = make.call(URL, blob); window.kept.set(href, blob); \
         return href; }; return null",
    );
    demo.click("#begin-stamp");
    let phone = phone(&payload(&demo));
    phone.sees("请求签署");
    phone.sees("年度报告书（演示）annual-report.pdf");
    phone.click("#role-administrator");
    phone.press("确认");
    phone.sees("请回到电脑上继续");
    demo.sees("文件已签章");
    demo.sees("签章文件验证（有效）");
    demo.sees("证照管理员");
    let named = demo.script("return document.querySelector('a[download]').getAttribute('download')");
    assert!(named.as_str().unwrap().ends_with(".pdf"), "{named}");
    let linked = demo.script_async(
        "const done = arguments[arguments.length - 1]; const { href } = document.querySelector('a[download]'); \
         window.kept.get(href).text().then((text) => done([text.slice(0, 5), text.length > 1000]))",
    );
    assert_eq!(linked, json!(["%PDF-", true]));
    demo.press("退出");
    demo.click("#begin-authorise");
    phone.press("返回");
    phone.type_into("qr", &payload(&demo));
    phone.press("识别");
    phone.sees("注册资本");
    phone.click("#role-agent");
    phone.sees("30 天内有效");
    phone.press("确认");
    demo.sees("持照人同意读取");
    demo.sees("办事人");
    demo.sees("注册资本");
}

#[test]
fn a_phone_signs_nothing_that_it_cannot_show() {
    let session = begun("stamp");
    let phone = Browser::start(390, 844);
    phone.open(&format!("{}/sandbox/phone", SITE.base()));
    // A gateway that asks for something else than it shows.
    for (bent, why) in [
        ("asked.to_sign = btoa(atob(asked.to_sign).slice(0, -1) + '?')", "与显示的摘要不符"),
        ("asked.to_sign = btoa('?' + atob(asked.to_sign).slice(1))", "与显示的摘要不符"),
        ("delete asked.digest", "与显示的摘要不符"),
        ("asked.consent_version = 3", "这部手机不认识"),
    ] {
        phone.script(&format!(
            "window.honest ??= window.fetch; \
             window.fetch = async (path, ...rest) => {{ \
               const answer = await window.honest.call(window, path, ...rest); \
               if (!path.endsWith(':scan')) return answer; \
               const asked = await answer.json(); {bent}; \
               return new Response(JSON.stringify(asked), {{ status: 200 }}); }}; return null"
        ));
        phone.type_into("qr", session["qr_text"].as_str().unwrap());
        phone.press("识别");
        phone.sees(why);
        phone.press("返回");
    }
    phone.script("window.fetch = window.honest; return null");
    phone.type_into("qr", session["qr_text"].as_str().unwrap());
    phone.press("识别");
    phone.sees("请求签署");
}

#[test]
fn only_whose_browser_began_a_session_gets_its_result() {
    let (mine, other) = (begun("login"), begun("login"));
    let phone = Phone::good(&SITE);
    let asked = phone.scan(&SITE, &mine).expect(200).json();
    phone.confirm(&SITE, &phone.consent(&asked)).expect(200);
    for ticket in [&other["ticket"], &json!(""), &json!("00")] {
        refused(result(&mine, ticket), 404, "unknown_session");
    }
    let id = mine["session"].as_str().unwrap();
    let events = format!("{DEMO}/{id}/events?ticket={}", other["ticket"].as_str().unwrap());
    refused(SITE.stranger(None).get(&events), 404, "unknown_session");
    let stamp = format!("{DEMO}/{id}/stamp");
    refused(SITE.stranger(None).post(&stamp, &json!({"ticket": other["ticket"]})), 404, "unknown_session");
    let with = |once: &str| json!({"ticket": mine["ticket"], "once": once});
    refused(result_once(&mine, &with("多")), 422, "header_malformed");
    let answer = result_once(&mine, &with("1")).expect(200).json();
    // Lost on the way, it is had again by the same question, and by no other.
    assert_eq!(result_once(&mine, &with("1")).expect(200).json(), answer);
    refused(result_once(&mine, &with("2")), 409, "session_consumed");
    let passed = json!({"result_signature": true, "consent_signature": true, "consent_session": true});
    assert_eq!(answer["checks"], passed, "{answer:#}");
    refused(result(&mine, &mine["ticket"]), 409, "session_consumed");
    refused(
        SITE.stranger(None).post(&stamp, &json!({"ticket": mine["ticket"]})),
        422,
        "session_signs_nothing",
    );
    refused(SITE.stranger(None).post(DEMO, &json!({"what": "pay"})), 422, "invalid_value");
    refused(SITE.stranger(None).post(DEMO, &json!({"what": "login", "ttl": 5})), 422, "out_of_range");
}

#[test]
fn the_phone_signs_with_test_licenses_and_no_other_keys() {
    let stranger = SITE.stranger(None);
    let licenses = stranger.get("/sandbox/phone/licenses").expect(200).json();
    let licenses = licenses.as_array().unwrap();
    assert_eq!(licenses.len(), 24, "{licenses:#?}");
    let signed =
        |id: &str| stranger.post(&format!("/sandbox/phone/licenses/{id}/sign"), &json!({"consent": "{}"}));
    signed("A-good").expect(200);
    for id in ["demo-sm2", "..%2ftls", "A-good.pem", "A-good%00", ""] {
        assert_eq!(signed(id).status, 404, "{id}");
    }
    let long = json!({"consent": "x".repeat(17 << 10), "to_sign": base64(&[0; 2000])});
    let problem = stranger.post("/sandbox/phone/licenses/A-good/sign", &long).expect(422).json();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem:#}");
    // A license that somebody else issued has no place there, whatever its name and key.
    let folder = Folder::init();
    let pki = folder.data().join("pki");
    let real = tests::Scratch::new();
    let request =
        "req -x509 -newkey sm2 -sm3 -nodes -keyout key.pem -out license.pem -days 30 -subj /CN=Enterprise";
    real.openssl(request).expect("a license");
    real.openssl("x509 -in license.pem -outform DER -out license.der").expect("DER");
    real.openssl("pkcs8 -topk8 -nocrypt -in key.pem -out pkcs8.pem").expect("PKCS#8");
    std::fs::write(pki.join("licenses/A-good.der"), real.read("license.der")).unwrap();
    std::fs::write(pki.join("private/license-A-good.pem"), real.read("pkcs8.pem")).unwrap();
    let site = folder.serve();
    let path = "/sandbox/phone/licenses/A-good/sign";
    refused(site.stranger(None).post(path, &json!({"consent": "{}"})), 500, "internal_error");
    assert!(site.log().contains("the license is not one of a test authority"), "{}", site.log());
}

#[test]
fn a_sandbox_that_takes_no_api_keys_has_no_such_pages() {
    let folder = Folder::init();
    folder.configure("[callers]\n", "[callers]\napi_keys = false\n");
    let site = folder.serve();
    let stranger = site.stranger(None);
    for path in ["/sandbox/demo", "/sandbox/phone", "/sandbox/phone/licenses"] {
        assert_eq!(stranger.get(path).status, 404, "{path}");
    }
    for path in [DEMO, "/sandbox/phone/licenses/A-good/sign"] {
        assert_eq!(stranger.post(path, &json!({})).status, 404, "{path}");
    }
}

#[test]
fn a_site_for_production_has_no_such_pages_at_any_door() {
    let folder = Folder::init();
    folder.configure("sandbox = true", "sandbox = false");
    folder.configure("http = \"127.0.0.1:8080\"\n", "admin = \"127.0.0.1:0\"\n");
    let site = folder.serve();
    let paths = [
        "/sandbox",
        "/sandbox/demo",
        "/sandbox/phone",
        "/sandbox/phone.js",
        "/sandbox/phone/licenses",
        "/sandbox/phone/licenses/A-good/sign",
        DEMO,
    ];
    let status = |to: &[String]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(site.ca_file()).args(to);
        Ran::of(&mut curl).expect("curl").text
    };
    for path in paths {
        for listener in ["https", "admin"] {
            let url = format!("https://{}{path}", site.listener(listener));
            for method in ["GET", "POST"] {
                assert_eq!(
                    status(&["-X".to_owned(), method.to_owned(), url.clone()]),
                    "404",
                    "{method} {url}"
                );
            }
        }
        let socket = ["--unix-socket".to_owned(), site.admin_socket().display().to_string()];
        let at_socket = |method: &str| {
            let url = format!("http://localhost{path}");
            status(&[socket.as_slice(), &["-X".to_owned(), method.to_owned(), url]].concat())
        };
        assert_eq!((at_socket("GET"), at_socket("POST")), ("404".to_owned(), "404".to_owned()), "{path}");
    }
}

#[test]
fn their_files_are_served_and_nothing_else_runs_in_them() {
    let stranger = SITE.stranger(None);
    let folder = repository().join("gateway/sandbox");
    let mut served = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "annual-report.html" {
            // What the document was made of.
            assert_eq!(stranger.get(&format!("/sandbox/{name}")).status, 404);
            continue;
        }
        served += 1;
        let answer = stranger.get(&format!("/sandbox/{name}")).expect(200);
        let policy = answer.header("content-security-policy");
        let parts: &[&str] = match name.ends_with(".pdf") {
            true => &["default-src 'none'", "object-src 'self'", "frame-ancestors 'none'"],
            false => &[
                "default-src 'none'",
                "script-src 'self'",
                "frame-ancestors 'none'",
                "require-trusted-types-for 'script'",
            ],
        };
        for part in parts {
            assert!(policy.contains(part), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        if name.ends_with(".pdf") {
            continue;
        }
        let text = answer.text();
        for way in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"]
        {
            assert!(!text.contains(way), "{name} has {way}");
        }
    }
    assert_eq!(served, 9);
    let page = stranger.get("/sandbox/demo").expect(200);
    assert!(page.header("content-type").starts_with("text/html"), "{}", page.text());
}

#[test]
fn every_word_is_there_in_both_languages() {
    let browser = demo(1280, 800);
    let differ = browser.script_async(
        "const done = arguments[arguments.length - 1]; import('/sandbox/words.js').then(({ LISTS }) => { \
         const [zh, en] = [LISTS.zh, LISTS.en].map((list) => new Set(Object.keys(list))); \
         done([...zh.symmetricDifference(en)]); })",
    );
    assert_eq!(differ, json!([]));
}
