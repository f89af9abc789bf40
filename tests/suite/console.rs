//! The maintenance console, in a real browser and on the wire.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Browser, Folder, Person, SignedIn, Site, eventually, repository};

const SOON: Duration = Duration::from_secs(90);
/// What markup in a text would do if it were ever taken for markup.
const MARKUP: &str = "<img src=x onerror=\"window.broken=1\"><script>window.broken=1</script>";

/// A site of these tests' own.
static SITE: LazyLock<Site> = LazyLock::new(Site::start);

fn console(site: &Site, width: u32, height: u32) -> Browser {
    let browser = Browser::start(width, height);
    browser.open(&format!("{}/console/", site.base()));
    browser
}

/// Signs in by password and code.
fn sign_in(browser: &Browser, person: &mut Person) {
    browser.type_into("account", &person.name);
    browser.type_into("password", &person.password);
    browser.press("下一步");
    browser.sees("使用恢复码");
    browser.type_into("code", &person.code());
    browser.press("登录");
}

/// Gives a reason in the dialog that is open, and confirms.
fn confirm(browser: &Browser, reason: &str) {
    browser.type_into("reason", reason);
    browser.press("确认");
}

/// The tokens that this tab holds, by account.
fn tokens(browser: &Browser) -> Value {
    let kept = browser.script(
        "return Object.fromEntries((JSON.parse(sessionStorage.getItem('console.sessions'))?.sessions ?? []) \
         .map((session) => [session.name, session.token]))",
    );
    assert!(kept.is_object(), "{kept}");
    kept
}

fn with_token(site: &Site, token: &Value) -> SignedIn {
    SignedIn::with(site, token.as_str().expect("a token"))
}

#[test]
fn its_files_are_all_served_and_nothing_else_runs_in_its_pages() {
    let stranger = SITE.stranger(None);
    let folder = repository().join("gateway/console");
    let names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in &names {
        let answer = stranger.get(&format!("/console/{name}")).expect(200);
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let kind = answer.header("content-type").to_owned();
        let expected = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript",
            "css" => "text/css",
            "svg" => "image/svg+xml",
            _ => "text/html",
        };
        assert!(kind.starts_with(expected), "{name}: {kind}");
        let text = answer.text();
        for way in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"]
        {
            let spaces = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!spaces.contains(way), "{name} has {way}");
        }
        // What a browser has is not sent again.
        let tag = answer.header("etag").to_owned();
        let again =
            stranger.send("GET", &format!("/console/{name}"), &[("if-none-match", tag.as_str())], None);
        assert_eq!(again.status, 304, "{name}");
        assert!(again.text().is_empty());
    }
    assert_eq!(stranger.get("/console/nothing.js").status, 404);
    assert_eq!(stranger.get("/console/..%2f..%2fgateway.toml").status, 404);
    // Whoever leads here from elsewhere ends nobody's sessions.
    for (site, clears) in [("same-origin", true), ("cross-site", false), ("none", false)] {
        let out = stranger.send("GET", "/console/signed-out", &[("sec-fetch-site", site)], None).expect(200);
        let cleared = out.headers.get("clear-site-data").is_some_and(|what| what == "\"cache\", \"storage\"");
        assert_eq!(cleared, clears, "{site}");
    }
}

#[test]
fn an_operator_signs_in_sees_a_device_fail_and_drains_one_on_record() {
    let site = Site::start();
    let mut person = Person::of_sandbox(&site, "console");
    let browser = console(&site, 1280, 800);
    browser.type_into("account", "console");
    browser.type_into("password", "wrong-password");
    browser.press("下一步");
    browser.sees("账号、密码或验证码不正确");
    sign_in(&browser, &mut person);
    browser.sees("全部 9 台设备正常");
    for device in 1..=9 {
        browser.sees(&format!("d{device}"));
    }

    site.fault("d3", "unreachable = true");
    let since = Instant::now();
    // Somebody has to use a device for its fault to be noticed.
    let app = site.app().clone();
    eventually("the fault on the page", SOON, || {
        let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": "aGVsbG8="}, "format": "raw"});
        app.post("/v1/signatures", &body).expect(201);
        browser.text().contains("台设备需要关注").then_some(())
    });
    println!("a fault was seen on the console after {:?}", since.elapsed());
    site.mend("d3");
    browser.sees("全部 9 台设备正常");

    browser.click("a[href='#/devices/d5']");
    browser.sees("SIM000005");
    browser.press("排空");
    browser.press("确认");
    assert!(browser.text().contains("原因"), "without a reason nothing is done");
    assert_eq!(site.device_state("d5"), "ready");
    confirm(&browser, "更换电源");
    browser.sees("已完成，审计编号");
    eventually("d5 is drained", SOON, || {
        ["draining", "maintenance"].contains(&site.device_state("d5").as_str()).then_some(())
    });
    browser.press("恢复服务");
    confirm(&browser, "电源已更换");
    eventually("d5 is back", SOON, || (site.device_state("d5") == "ready").then_some(()));
    let log = site.audit();
    let by_person = |action: &str| {
        log.iter().any(|entry| {
            entry["action"] == action && entry["actor"] == "person:console" && entry["device"] == "d5"
        })
    };
    assert!(by_person("device.drain") && by_person("device.resume"), "{log:?}");

    // The record shows it, with its proof.
    browser.press("审计");
    browser.sees("device.resume");
    browser.type_into("audit-action", "device.drain");
    browser.press("查询");
    browser.sees_no("device.resume");
    browser.sees("更换电源");
    let auditor = with_token(&site, &tokens(&browser)["console"]);
    let newest = site.audit().iter().rposition(|entry| entry["action"] == "device.drain").unwrap();
    eventually("a checkpoint over it", SOON, || {
        (auditor.get(&format!("/v1/audit/proofs/{newest}")).status == 200).then_some(())
    });
    browser.press("存在性证明");
    browser.sees("日志根由密钥");
    browser.press("关闭");

    // In English, and on a phone.
    browser.press("控制台（沙箱）");
    browser.press("English");
    browser.sees("Inclusion proof");
    browser.press("Devices");
    browser.sees("All 9 devices are ready");
    assert_eq!(browser.script("return document.documentElement.lang"), "en");
}

#[test]
fn accounts_in_one_tab_share_nothing_and_signing_out_ends_a_session_at_once() {
    let site = &*SITE;
    let mut people: Vec<Person> = Vec::new();
    for (name, role) in [("one", "operator"), ("two", "auditor"), ("three", "security-admin")] {
        people.push(Person::complete(site, name, &[role]).0);
    }
    let browser = console(site, 1280, 800);
    for (at, person) in people.iter_mut().enumerate() {
        if at > 0 {
            browser.press("张三");
            browser.press("登录其他账号");
        }
        sign_in(&browser, person);
        eventually("one more is signed in", SOON, || {
            (tokens(&browser).as_object().unwrap().len() == at + 1).then_some(())
        });
        browser.sees("我的账号");
    }
    let held = tokens(&browser);

    // Each has its own pages and its own place, whoever else is in.
    browser.sees("应用");
    assert!(!browser.text().contains("设备总览"));
    let switch_to = |name: &str| {
        browser.press("张三");
        browser.press(&format!("切换到 张三 ({name})"));
    };
    switch_to("one");
    browser.sees("设备总览");
    assert!(!browser.text().contains("审计"), "an operator does not read the record");
    browser.click("a[href='#/devices/d2']");
    browser.sees("SIM000002");
    switch_to("two");
    browser.sees("审计");
    switch_to("one");
    browser.sees("SIM000002"); // where that account was

    // No account's token does what another account may.
    assert_eq!(with_token(site, &held["one"]).get("/v1/audit/entries").status, 403);
    assert_eq!(with_token(site, &held["two"]).get("/v1/admin/apps").status, 403);
    assert_eq!(with_token(site, &held["three"]).get("/v1/devices").status, 403);
    // The computer remembers names, and nothing that signs in.
    let remembered = browser.script("return JSON.stringify({...localStorage})");
    for (name, token) in held.as_object().unwrap() {
        assert!(remembered.as_str().unwrap().contains(name));
        assert!(!remembered.as_str().unwrap().contains(token.as_str().unwrap()));
    }

    // Signing out of one leaves the others.
    browser.press("张三");
    browser.press("退出");
    browser.sees("已保存的账号");
    with_token(site, &held["one"]).get("/v1/account").expect(401);
    with_token(site, &held["two"]).get("/v1/account").expect(200);
    assert_eq!(tokens(&browser).as_object().unwrap().len(), 2);
    browser.script(
        "[...document.querySelectorAll('.choice')].find((one) => one.textContent.includes('two')).click()",
    );
    browser.sees("审计");

    // Signing out of all leaves nothing.
    browser.press("张三");
    browser.press("退出全部账号");
    browser.sees("已安全退出");
    for token in held.as_object().unwrap().values() {
        with_token(site, token).get("/v1/account").expect(401);
    }
    let kept = browser.script("return sessionStorage.length + localStorage.length");
    assert_eq!(kept, 0);
}

#[test]
fn what_one_person_asks_another_approves_and_no_text_becomes_markup() {
    let folder = Folder::init();
    folder.configure("[site]\n", "[administration]\ntwo_person = true\n[site]\n");
    let site = folder.serve();
    let [mut asking, mut approving] = ["security", "console"].map(|name| Person::of_sandbox(&site, name));
    let session = asking.sign_in();
    let body =
        json!({"id": "marked", "name": MARKUP, "scopes": ["keys"], "contacts": [MARKUP], "reason": MARKUP});
    assert_eq!(session.post("/v1/admin/apps", &body).expect(202).json()["state"], "pending");
    let browser = console(&site, 1280, 800);
    sign_in(&browser, &mut approving);
    browser.press("审批");
    browser.sees(MARKUP);
    browser.press("批准");
    confirm(&browser, MARKUP);
    browser.sees("没有待审批的变更");
    session.get("/v1/admin/apps/marked").expect(200);
    browser.press("审计");
    browser.type_into("audit-action", "approval.approve");
    browser.press("查询");
    browser.sees("marked");

    // Who asked sees it with the apps, and cannot approve what is asked next.
    let next = json!({"id": "another", "name": MARKUP, "scopes": ["keys"], "reason": MARKUP});
    session.post("/v1/admin/apps", &next).expect(202);
    browser.press("控制台（沙箱）");
    browser.press("登录其他账号");
    sign_in(&browser, &mut asking);
    browser.press("应用");
    browser.sees(MARKUP);
    browser.press("审批");
    browser.sees("本人提交，须由他人批准");
    browser.sees("another");
    let offered =
        browser.script("return [...document.querySelectorAll('main button')].map((one) => one.textContent)");
    assert_eq!(offered, json!(["撤回"]));
    browser.press("撤回");
    confirm(&browser, "typed by mistake");
    browser.sees("没有待审批的变更");
    assert_eq!(browser.script("return window.broken === undefined"), true);
}

#[test]
fn who_does_nothing_is_signed_out_though_the_page_looks_by_itself() {
    let site = &*SITE;
    let (mut person, _) = Person::complete(site, "absent", &["operator"]);
    let browser = console(site, 1280, 800);
    sign_in(&browser, &mut person);
    browser.sees("设备总览");
    let held = tokens(&browser);
    // Fourteen and a half minutes later.
    browser.script("const now = Date.now; let ahead = 870000; Date.now = () => now() + ahead; window.later = (more) => { ahead += more; }");
    browser.sees("即将自动退出");
    browser.press("继续使用");
    browser.sees_no("即将自动退出");
    with_token(site, &held["absent"]).get("/v1/account").expect(200);
    browser.script("window.later(901000)");
    browser.sees("因长时间未操作");
    with_token(site, &held["absent"]).get("/v1/account").expect(401);
}

#[test]
fn whoever_is_new_chooses_a_password_and_enrols_before_anything_else() {
    let site = &*SITE;
    let mut person = Person::made(site, "newcomer", &["auditor"]);
    let browser = console(site, 1280, 800);
    browser.type_into("account", &person.name);
    browser.type_into("password", &person.password);
    browser.press("下一步");
    browser.sees("请先修改密码");
    for (id, text) in
        [("present", person.password.as_str()), ("fresh", "kT7-vepo-Quag"), ("repeated", "another")]
    {
        browser.type_into(id, text);
    }
    browser.click(".stack button[type=submit]");
    browser.sees("两次输入的新密码不一致");
    browser.type_into("repeated", "kT7-vepo-Quag");
    browser.click(".stack button[type=submit]");
    browser.sees("请先绑定动态验证码");
    browser.press("绑定验证器");
    browser.sees("在验证器应用中录入");
    let secret = browser.script("return document.querySelector('code.long').textContent");
    secret.as_str().unwrap().clone_into(&mut person.secret);
    browser.type_into("factor-code", &person.code());
    browser.press("确认");
    browser.sees("请抄录恢复码");
    browser.press("下一步");
    browser.sees("设备总览");
    browser.press("我的账号");
    browser.sees("本会话");
}

#[test]
fn every_word_is_there_in_both_languages() {
    let browser = console(&SITE, 1280, 800);
    let differ = browser.script_async(
        "const done = arguments[arguments.length - 1]; import('./words.js').then(({ LISTS }) => { \
         const [zh, en] = [LISTS.zh, LISTS.en].map((list) => new Set(Object.keys(list))); \
         done([...zh.symmetricDifference(en)]); })",
    );
    assert_eq!(differ, json!([]));
}
