//! Stopping, starting again, and what stays.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::{Answer, Caller, Folder, Site, base64, eventually};

fn sign(app: &Caller) -> Answer {
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"kept")}});
    app.post("/v1/signatures", &body).expect(201)
}

fn index(answer: &Answer) -> u64 {
    answer.json()["audit_index"].as_u64().expect("a signature has a place in the log")
}

#[test]
fn a_second_init_and_start_keep_keys_apps_licenses_and_the_log() {
    let site = Site::start();
    let sandbox = site.sandbox().clone();
    let key = site.app().get("/v1/keys/demo-sm2").expect(200).json()["public_key"].clone();
    let before = index(&sign(site.app()));

    let (folder, status) = site.stop();
    assert_eq!(status.code(), Some(0), "SIGTERM ends with {status}");
    let files = ["gateway.toml", "sandbox.json"].map(|name| folder.data().join(name));
    let texts = files.each_ref().map(|file| std::fs::read_to_string(file).unwrap());
    folder.init_again();
    assert_eq!(files.map(|file| std::fs::read_to_string(file).unwrap()), texts);

    let site = folder.serve();
    assert_eq!(site.sandbox()["apps"], sandbox["apps"]);
    assert_eq!(site.app().get("/v1/keys/demo-sm2").expect(200).json()["public_key"], key);
    assert!(index(&sign(site.app())) > before);
    let uscc = sandbox["licenses"][0].as_str().unwrap();
    site.app().get(&format!("/v1/licenses/{uscc}/face")).expect(200);
}

#[test]
fn sigterm_under_load_answers_what_is_recorded() {
    let site = Site::start();
    let indexes = Mutex::new(Vec::new());
    let refused = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let (base, key) =
        (site.base().to_owned(), site.sandbox()["apps"][0]["api_key"].as_str().unwrap().to_owned());

    let (folder, status) = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let body =
                    json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"load")}});
                let headers = [("content-type", "application/json"), ("connection", "close")];
                let app = Caller::new(&base, Some(&key));
                while !over.load(Ordering::Relaxed) {
                    // A refused connection and a 503 say that nothing was done; anything else must be whole.
                    let sent =
                        app.try_send("POST", "/v1/signatures", &headers, Some(body.to_string().as_bytes()));
                    match sent {
                        Ok(answer) if answer.status == 201 => indexes.lock().unwrap().push(index(&answer)),
                        Ok(answer) => {
                            assert_eq!(answer.status, 503, "{}", answer.text());
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            });
        }
        eventually("the load is under way", Duration::from_secs(60), || {
            (indexes.lock().unwrap().len() > 200).then_some(())
        });
        let stopped = site.stop();
        over.store(true, Ordering::Relaxed);
        stopped
    });
    assert_eq!(status.code(), Some(0), "{status}");

    // Each signature is recorded before its answer leaves, so a lost answer would leave an entry nobody was told of.
    // A refusal by the devices is recorded, too.
    let indexes = indexes.into_inner().unwrap();
    let first = *indexes.iter().min().unwrap();
    let site = folder.serve();
    let recorded = index(&sign(site.app())) - first;
    let answered = indexes.len() as u64;
    let refused = refused.into_inner();
    assert!(
        recorded >= answered && recorded <= answered + refused,
        "{recorded} entries, {answered} signatures answered, {refused} refusals"
    );
}

#[test]
fn a_start_after_kill_nine_goes_on_where_the_log_was() {
    let site = Site::start();
    let before = index(&sign(site.app()));
    tests::signal(site.pid(), "KILL");
    let (folder, _) = site.stop();
    let site: Site = Folder::serve(folder);
    assert!(index(&sign(site.app())) > before);
}
