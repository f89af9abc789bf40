//! Apps are told what concerns them: signed so that a stranger's tools agree, again until it arrives, by whichever gateway
//! is left, and nowhere that the site does not let them be told.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Answer, Authority, Caller, Fields, Folder, Person, Postgres, Ran, Reply, Scratch, Site, Source,
    eventually, free_port, gateway, repository, unbase64,
};

/// A lease is half a minute.
const SOON: Duration = Duration::from_secs(90);

/// A site of these tests' own that tries again soon.
static SITE: LazyLock<Site> = LazyLock::new(|| impatient(Folder::init()).serve());

fn impatient(folder: Folder) -> Folder {
    folder.configure("[site]\n", "[outbound]\nretry_ms = 100\n[site]\n");
    folder
}

/// What came in, in its order.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<Delivery>>>);

/// The fields and the body of one.
type Delivery = (Fields, Vec<u8>);

impl Received {
    /// Has a source take what comes for `/hook` and answer it.
    fn at(source: &Source, answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let received = Self::default();
        let kept = received.clone();
        source.answer_with_fields("hook", move |fields, body| {
            let mut kept = kept.0.lock().unwrap();
            kept.push((fields.clone(), body.to_vec()));
            answer(kept.len())
        });
        received
    }

    fn all(&self) -> Vec<(Fields, Vec<u8>)> {
        self.0.lock().unwrap().clone()
    }

    /// The first one with this id.
    fn find(&self, id: &str) -> Option<(Fields, Vec<u8>)> {
        self.all().into_iter().find(|(fields, _)| fields["webhook-id"] == id)
    }

    fn bodies(&self, kind: &str) -> Vec<Value> {
        let bodies = self.all().into_iter().map(|(_, body)| serde_json::from_slice::<Value>(&body).unwrap());
        bodies.filter(|body| body["type"] == kind).collect()
    }
}

/// Enters an app.
fn entered(site: &Site, app: &str) {
    let body = json!({"id": app, "name": "窗口登记业务系统", "scopes": ["keys"], "reason": "test"});
    admin(site).post("/v1/admin/apps", &body).expect(201);
}

fn admin(site: &Site) -> Caller {
    site.app_number(2)
}

fn put(site: &Site, app: &str, url: &str) -> Answer {
    let json = [("content-type", "application/json")];
    let body = json!({"url": url, "reason": "test"}).to_string();
    admin(site).send("PUT", &format!("/v1/admin/apps/{app}/webhook"), &json, Some(body.as_bytes()))
}

/// Registers an address; answers the secret.
fn registered(site: &Site, app: &str, url: &str) -> String {
    let set = put(site, app, url).expect(200);
    assert_eq!(set.header("cache-control"), "no-store");
    set.json()["secret"].as_str().unwrap().to_owned()
}

/// Asks for a test delivery; answers its id.
fn tested(site: &Site, app: &str) -> String {
    let path = format!("/v1/admin/apps/{app}/webhook/test");
    let asked = admin(site).post(&path, &json!({"reason": "test"})).expect(202).json();
    asked["delivery"].as_str().unwrap().to_owned()
}

fn delivery(site: &Site, id: &str) -> Value {
    admin(site).get(&format!("/v1/admin/deliveries/{id}")).expect(200).json()
}

fn ends(site: &Site, id: &str, state: &str) -> Value {
    eventually(&format!("{id} is {state}"), SOON, || {
        let found = delivery(site, id);
        (found["state"] == state).then_some(found)
    })
}

/// Checks both signatures with OpenSSL; answers whether it is content with `v1`, and with `vsm2`.
fn verified(fields: &Fields, body: &[u8], secret: &str, public_key: &str) -> (bool, bool) {
    let scratch = Scratch::new();
    let signed =
        [format!("{}.{}.", fields["webhook-id"], fields["webhook-timestamp"]).as_bytes(), body].concat();
    scratch.write("signed", &signed);
    scratch.write("public.pem", public_key);
    let entry = |version: &str| {
        let mut entries = fields["webhook-signature"].split(' ').filter_map(|entry| entry.split_once(','));
        entries.find(|(found, _)| *found == version).map(|(_, value)| unbase64(value)).unwrap()
    };
    let key: String =
        unbase64(secret.strip_prefix("whsec_").unwrap()).iter().map(|octet| format!("{octet:02x}")).collect();
    let mac = scratch.openssl(&format!("dgst -sha256 -mac HMAC -macopt hexkey:{key} -binary signed"));
    scratch.write("signature", entry("vsm2"));
    let sm2 = scratch
        .openssl("dgst -sm3 -verify public.pem -sigopt distid:1234567812345678 -signature signature signed");
    (mac.expect("openssl dgst -hmac").stdout == entry("v1"), sm2.ok)
}

#[test]
fn a_test_delivery_arrives_once_and_openssl_accepts_both_signatures() {
    let (site, source) = (&*SITE, Source::start());
    let received = Received::at(&source, |_| Reply::Status(204));
    entered(site, "told");
    let path = "/v1/admin/apps/told/webhook";
    assert_eq!(admin(site).get(path).expect(404).json()["code"], "no_webhook");
    let secret = registered(site, "told", &source.url("hook"));
    let shown = admin(site).get(path).expect(200).json();
    assert_eq!((&shown["app"], &shown["url"]), (&json!("told"), &json!(source.url("hook"))));
    assert!(shown.get("secret").is_none(), "it is shown once");
    let key = &shown["sm2_keys"][0];
    assert_eq!(key["key"], "front-sm2");
    let public = site.app().get("/v1/keys/front-sm2").expect(200).json();
    assert_eq!(key["public_keys"], json!([public["public_key"]]), "an app can ask for it itself");

    let id = tested(site, "told");
    let found = ends(site, &id, "delivered");
    assert_eq!((&found["app"], &found["type"]), (&json!("told"), &json!("webhook.test")));
    assert_eq!(
        (&found["attempts"], &found["status"], &found["error"]),
        (&json!(1), &json!(204), &Value::Null)
    );
    let [(fields, body)] = &received.all()[..] else { panic!("it came once") };
    assert_eq!(
        (fields["webhook-id"].as_str(), fields["content-type"].as_str()),
        (id.as_str(), "application/json")
    );
    let said: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&said["type"], &said["data"]), (&json!("webhook.test"), &json!({"app": "told"})));
    let public_key = key["public_keys"][0].as_str().unwrap();
    assert_eq!(verified(fields, body, &secret, public_key), (true, true));
    let damaged = [&body[..], b" "].concat();
    assert_eq!(verified(fields, &damaged, &secret, public_key), (false, false));

    // Another secret from now on.
    let other = registered(site, "told", &source.url("hook"));
    assert_ne!(other, secret);
    let id = tested(site, "told");
    ends(site, &id, "delivered");
    let (fields, body) = received.find(&id).unwrap();
    assert_eq!(verified(&fields, &body, &secret, public_key), (false, true));
    assert_eq!(verified(&fields, &body, &other, public_key), (true, true));
    let log = site.audit().iter().map(Value::to_string).collect::<String>() + &site.log();
    for secret in [&secret, &other] {
        assert!(!log.contains(secret.strip_prefix("whsec_").unwrap()));
    }
    let figures = site.stranger(None).get("/metrics").text();
    assert!(figures.contains("license_gateway_delivery_attempts{outcome=\"delivered\"}"), "{figures}");
}

/// Judges a delivery as a receiver would.
const LIBRARY: &str = "\
import json, sys
from standardwebhooks.webhooks import Webhook
secret, fields = sys.argv[1], json.loads(sys.argv[2])
print(json.dumps(Webhook(secret).verify(open('body', 'rb').read(), fields)))
";

#[test]
fn the_library_for_standard_webhooks_accepts_a_delivery_and_refuses_it_damaged() {
    let python = repository().join("target/venv/bin/python");
    assert!(python.exists(), "{} is not there: make test-tools", python.display());
    let (site, source, scratch) = (&*SITE, Source::start(), Scratch::new());
    let received = Received::at(&source, |_| Reply::Status(200));
    entered(site, "library");
    let secret = registered(site, "library", &source.url("hook"));
    let id = tested(site, "library");
    ends(site, &id, "delivered");
    let (fields, body) = received.find(&id).unwrap();
    let judged = |body: &[u8]| {
        scratch.write("body", body);
        let fields = serde_json::to_string(&fields).unwrap();
        let mut library = Command::new(&python);
        Ran::of(library.args(["-c", LIBRARY, &secret, &fields]).current_dir(scratch.path()))
    };
    let accepted: Value = serde_json::from_slice(&judged(&body).expect("it accepts").stdout).unwrap();
    assert_eq!(accepted["type"], "webhook.test");
    let refused = judged(&[&body[..], b" "].concat());
    assert!(!refused.ok && refused.text.contains("WebhookVerificationError"), "{}", refused.text);
}

#[test]
fn an_app_is_told_of_its_credentials_its_state_and_of_what_is_unusual() {
    let folder = impatient(Folder::init());
    folder.configure("[callers]\n", "[alarms]\nrefusals = 5\n[callers]\n");
    let (site, source) = (folder.serve(), Source::start());
    let received = Received::at(&source, |_| Reply::Status(200));
    let app = site.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned();
    registered(&site, &app, &source.url("hook"));
    // Counted a minute: six of these are in one, also if another one begins among them.
    for _ in 0..11 {
        site.app().get("/v1/licenses/no-such-code/face").expect(422);
    }
    let alarm = eventually("the alarm is told", SOON, || received.bodies("app.alarm").into_iter().next());
    assert_eq!((&alarm["data"]["app"], &alarm["data"]["rule"]), (&json!(app), &json!("refusals")));

    let path = format!("/v1/admin/apps/{app}");
    let new = json!({"kind": "hmac-sm3", "reason": "test"});
    let added = admin(&site).post(&format!("{path}/credentials"), &new).expect(201).json();
    let credential = added["id"].as_str().unwrap();
    let revoke = format!("{path}/credentials/{credential}/revoke");
    admin(&site).post(&revoke, &json!({"reason": "test"})).expect(200);
    admin(&site).post(&format!("{path}/freeze"), &json!({"reason": "test"})).expect(200);
    for kind in ["app.credential_added", "app.credential_revoked"] {
        let told = eventually(kind, SOON, || received.bodies(kind).into_iter().next());
        assert_eq!(told["data"]["credential"], credential);
        assert!(!told.to_string().contains(added["secret"].as_str().unwrap()));
    }
    let told =
        eventually("the freeze is told", SOON, || received.bodies("app.state_changed").into_iter().next());
    assert_eq!(told["data"], json!({"app": app, "state": "locked"}));
}

#[test]
fn what_cannot_be_delivered_is_tried_again_until_it_arrives_under_the_same_id() {
    let site = &*SITE;
    entered(site, "flaky");
    // Nobody is there at first.
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    registered(site, "flaky", &format!("http://{address}/hook"));
    let id = tested(site, "flaky");
    eventually("it failed", SOON, || (delivery(site, &id)["error"] == "unreachable").then_some(()));
    let source = Source::on(eventually("the port is still free", SOON, || TcpListener::bind(address).ok()));
    let received = Received::at(&source, |count| match count {
        1 => Reply::Status(500),
        2 => Reply::Redirect("http://127.0.0.1:1/elsewhere".to_owned()),
        _ => Reply::Body(b"thanks".to_vec()),
    });
    let found = ends(site, &id, "delivered");
    assert!(found["attempts"].as_u64().unwrap() >= 4, "{found}");
    let all = received.all();
    assert_eq!(all.len(), 3, "a redirect is not followed, and what was taken is not sent again");
    assert!(all.iter().all(|(fields, body)| fields["webhook-id"] == id && *body == all[0].1));
}

#[test]
fn what_the_other_side_wants_no_more_is_dead_until_an_operator_sends_it_again() {
    let (site, source) = (&*SITE, Source::start());
    let received = Received::at(&source, |count| Reply::Status(if count == 1 { 410 } else { 200 }));
    entered(site, "gone");
    registered(site, "gone", &source.url("hook"));
    let id = tested(site, "gone");
    let found = ends(site, &id, "dead");
    assert_eq!((&found["error"], &found["status"]), (&json!("gone"), &json!(410)));
    let dead = admin(site).get("/v1/admin/deliveries?state=dead&app=gone").expect(200).json();
    assert_eq!(dead["items"], json!([found]));
    let resend = format!("/v1/admin/deliveries/{id}/resend");
    let business = site.app().post(&resend, &json!({"reason": "x"}));
    assert_eq!(business.expect(403).json()["code"], "scope_missing");
    let resent = admin(site).post(&resend, &json!({"reason": "they are back"})).expect(200).json();
    assert_eq!((&resent["state"], &resent["attempts"]), (&json!("waiting"), &json!(0)));
    ends(site, &id, "delivered");
    assert_eq!(received.all().len(), 2);
    let again = admin(site).post(&resend, &json!({"reason": "x"})).expect(409).json();
    assert_eq!(again["code"], "delivery_not_dead");
    let unknown = admin(site).post("/v1/admin/deliveries/none/resend", &json!({"reason": "x"}));
    assert_eq!(unknown.expect(404).json()["code"], "unknown_delivery");
    for query in ["state=lost", "app=a%20b", "colour=1"] {
        let answer = admin(site).get(&format!("/v1/admin/deliveries?{query}"));
        assert!([400, 422].contains(&answer.status), "{query}: {}", answer.text());
    }
    let subject = format!("{id}: gone webhook.test: ");
    let about = |entry: &Value| entry["subject"].as_str().is_some_and(|said| said.starts_with(&subject));
    let resends: Vec<_> = site.audit().into_iter().filter(about).collect();
    let outcomes: Vec<_> = resends.iter().map(|entry| entry["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["intended", "ok", "intended", "delivery_not_dead"]);
    assert_eq!(resends[1]["subject"], format!("{subject}they are back"));
    assert!(resends.iter().all(|entry| entry["action"] == "delivery.resend"));
}

#[test]
fn an_app_without_a_webhook_any_more_is_told_nothing() {
    let (site, source) = (&*SITE, Source::start());
    let received = Received::at(&source, |_| Reply::Status(503));
    entered(site, "removed");
    registered(site, "removed", &source.url("hook"));
    let id = tested(site, "removed");
    eventually("it was tried", SOON, || (!received.all().is_empty()).then_some(()));
    let remove = "/v1/admin/apps/removed/webhook/remove";
    admin(site).post(remove, &json!({"reason": "over"})).expect(200);
    assert_eq!(ends(site, &id, "dead")["error"], "no_webhook");
    for path in [remove, "/v1/admin/apps/removed/webhook/test"] {
        assert_eq!(admin(site).post(path, &json!({"reason": "x"})).expect(404).json()["code"], "no_webhook");
    }
    for verb in ["remove", "test"] {
        let path = format!("/v1/admin/apps/nobody/webhook/{verb}");
        assert_eq!(
            admin(site).post(&path, &json!({"reason": "x"})).expect(404).json()["code"],
            "unknown_app"
        );
    }
}

#[test]
fn addresses_inside_the_house_are_refused() {
    let site = &*SITE;
    entered(site, "inside");
    for (url, code) in [
        ("https://10.0.0.1/", "address_not_permitted"),
        ("https://169.254.169.254/latest", "address_not_permitted"),
        ("https://[fc00::1]/", "address_not_permitted"),
        ("https://[::ffff:192.168.0.1]/", "address_not_permitted"),
        ("http://app.example/", "invalid_value"),
        ("http://10.0.0.1/", "invalid_value"),
        ("https://a:b@app.example/", "invalid_value"),
        ("file:///etc/passwd", "invalid_value"),
        ("", "invalid_value"),
    ] {
        let answer = put(site, "inside", url).expect(422).json();
        assert_eq!((&answer["errors"][0]["field"], &answer["code"]), (&json!("url"), &json!(code)), "{url}");
    }
    let nobody = put(site, "nobody", "https://app.example/").expect(404).json();
    assert_eq!(nobody["code"], "unknown_app");
    let folder = Folder::init();
    folder.configure("[site]\n", "[outbound]\nretry_ms = 100\nnetworks = [\"192.0.2.0/24\"]\n[site]\n");
    let site = folder.serve();
    entered(&site, "allowed");
    put(&site, "allowed", "https://192.0.2.7/").expect(200);
    assert_eq!(
        put(&site, "allowed", "https://192.168.0.1/").expect(422).json()["code"],
        "address_not_permitted"
    );
}

#[test]
fn one_that_hangs_does_not_keep_the_others_waiting() {
    let (site, slow, quick) = (&*SITE, Source::start(), Source::start());
    let _hanging = Received::at(&slow, |_| Reply::Hang);
    let received = Received::at(&quick, |_| Reply::Status(200));
    for (app, source) in [("slow", &slow), ("quick", &quick)] {
        entered(site, app);
        registered(site, app, &source.url("hook"));
    }
    for _ in 0..40 {
        tested(site, "slow");
    }
    eventually("it hangs", SOON, || (slow.hanging() > 0).then_some(()));
    let id = tested(site, "quick");
    eventually("the other one is told", SOON, || received.find(&id));
    // Those whose time is over may not be seen to have ended yet.
    assert!(slow.hanging() <= 8, "it has its share and no more: {}", slow.hanging());
}

#[test]
fn a_webhook_takes_two_people_where_the_site_wants_two() {
    let folder = impatient(Folder::init());
    folder.configure("[site]\n", "[administration]\ntwo_person = true\n[site]\n");
    let (site, source) = (folder.serve(), Source::start());
    let received = Received::at(&source, |_| Reply::Status(200));
    let [security, system] = ["security", "console"].map(|name| Person::of_sandbox(&site, name).sign_in());
    let app = site.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/admin/apps/{app}/webhook");
    let body = json!({"url": source.url("hook"), "reason": "contract 2026-17"});
    let asked = security.send("PUT", &path, Some(&body)).expect(202).json();
    let (approval, secret) = (asked["approval"].as_str().unwrap(), asked["secret"].as_str().unwrap());
    assert!(!asked["difference"].to_string().contains(secret));
    assert_eq!(security.get(&path).expect(404).json()["code"], "no_webhook");
    let shown = system.get(&format!("/v1/admin/approvals/{approval}")).expect(200).json();
    assert_eq!((&shown["action"], &shown["subject"]), (&json!("app.webhook.set"), &json!(app)));
    let difference = &shown["difference"][0];
    assert_eq!((&difference["field"], &difference["before"]), (&json!("webhook"), &Value::Null));
    assert_eq!(difference["after"]["url"], source.url("hook"));
    let decide = format!("/v1/admin/approvals/{approval}/approve");
    assert_eq!(system.post(&decide, &json!({"reason": "checked"})).expect(200).json()["outcome"], "ok");
    let webhook = security.get(&path).expect(200).json();
    let asked =
        security.post(&format!("{path}/test"), &json!({"reason": "does it work?"})).expect(202).json();
    let (fields, body) =
        eventually("it arrives", SOON, || received.find(asked["delivery"].as_str().unwrap()));
    let public_key = webhook["sm2_keys"][0]["public_keys"][0].as_str().unwrap();
    assert_eq!(verified(&fields, &body, secret, public_key), (true, true));
    // What contains harm waits for nobody.
    security.post(&format!("{path}/remove"), &json!({"reason": "over"})).expect(200);
}

#[test]
fn what_a_killed_gateway_had_in_its_queue_is_delivered_by_the_next_one() {
    let (site, source) = (impatient(Folder::init()).serve(), Source::start());
    let hanging = Received::at(&source, |_| Reply::Hang);
    entered(&site, "killed");
    registered(&site, "killed", &source.url("hook"));
    let ids: Vec<_> = (0..10).map(|_| tested(&site, "killed")).collect();
    eventually("some are under way", SOON, || (hanging.all().len() >= 2).then_some(()));
    let site = site.kill().serve();
    let received = Received::at(&source, |_| Reply::Status(200));
    for id in &ids {
        ends(&site, id, "delivered");
        assert!(received.find(id).is_some());
    }
    assert_eq!(received.all().len(), 10, "none is sent again that was taken");
}

#[test]
fn two_gateways_deliver_each_notice_once_and_one_goes_on_for_the_other() {
    let server = Postgres::start();
    let first = impatient(Folder::init_on(&server)).serve();
    let second = Folder::beside(&first, "second").serve();
    let source = Source::start();
    let received = Received::at(&source, |_| Reply::Status(200));
    entered(&first, "shared");
    registered(&first, "shared", &source.url("hook"));
    let mut ids: Vec<_> = (0..30).map(|_| tested(&first, "shared")).collect();
    for id in &ids {
        ends(&second, id, "delivered");
    }
    assert_eq!(received.all().len(), 30, "each once");
    let id = tested(&first, "shared");
    let _folder = first.kill();
    ends(&second, &id, "delivered");
    ids.push(id);
    let mut told: Vec<_> = received.all().iter().map(|(fields, _)| fields["webhook-id"].clone()).collect();
    told.sort();
    told.dedup();
    ids.sort();
    assert_eq!(told, ids);
}

/// Takes what is posted and answers 204; says first where it listens.
const HTTPS: &str = "\
import http.server, ssl
class Taker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        self.send_response(204)
        self.end_headers()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Taker)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

/// Ends it with the test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn over_https_only_a_certificate_that_the_site_trusts_is_told_anything() {
    let authority = Authority::new("receivers");
    authority.issue_for("server", "server");
    let mut python = Command::new("python3");
    python.args(["-c", HTTPS]).current_dir(authority.path("").as_path());
    let mut server = Ended(python.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("python3"));
    let mut said = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let url = format!("https://127.0.0.1:{}/hook", said.next().expect("it says where").unwrap());

    let strange = &*SITE;
    entered(strange, "strange");
    registered(strange, "strange", &url);
    let refused = tested(strange, "strange");
    let failed = eventually("it is refused", SOON, || {
        let found = delivery(strange, &refused);
        (found["error"] == "unreachable").then_some(found)
    });
    assert_eq!((&failed["state"], &failed["status"]), (&json!("waiting"), &Value::Null));

    let folder = impatient(Folder::init());
    let anchors = format!("[trust.fetch]\ntls_anchors = [\"{}\"]\n[site]\n", authority.root().display());
    folder.configure("[site]\n", &anchors);
    let site = folder.serve();
    entered(&site, "trusted");
    registered(&site, "trusted", &url);
    assert_eq!(ends(&site, &tested(&site, "trusted"), "delivered")["status"], 204);
}

#[test]
fn the_command_line_registers_tests_and_sends_again() {
    let (site, source) = (&*SITE, Source::start());
    let received = Received::at(&source, |count| Reply::Status(if count == 1 { 410 } else { 200 }));
    entered(site, "shell");
    let run = |arguments: &[&str]| -> Value {
        let output = site.command(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let url = source.url("hook");
    let set = run(&["app", "webhook", "set", "shell", &url, "--reason", "r"]);
    assert!(set["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(run(&["app", "webhook", "show", "shell"])["url"], url);
    let asked = run(&["app", "webhook", "test", "shell", "--reason", "r"]);
    let id = asked["delivery"].as_str().unwrap();
    ends(site, id, "dead");
    let dead = run(&["delivery", "list", "--app", "shell", "--state", "dead"]);
    assert_eq!(dead["items"][0]["id"], id);
    let mut list = Command::new(gateway());
    let listed = Ran::of(list.args(["delivery", "list", "--socket"]).arg(site.admin_socket()));
    assert!(listed.expect("delivery list").text.contains(id));
    assert_eq!(run(&["delivery", "resend", id, "--reason", "r"])["state"], "waiting");
    ends(site, id, "delivered");
    assert_eq!(run(&["delivery", "show", id])["state"], "delivered");
    assert_eq!(received.all().len(), 2);
    run(&["app", "webhook", "remove", "shell", "--reason", "r"]);
    let none = site.command(&["app", "webhook", "show", "shell", "--json"]);
    assert!(!none.status.success());
}
