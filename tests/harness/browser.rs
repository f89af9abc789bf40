//! A real browser: Debian's Chromium, driven by its ChromeDriver over WebDriver (W3C), of which the few orders that the
//! tests need are JSON over plain HTTP.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use crate::http::unbase64;
use crate::postgres::free_port;
use crate::wait::eventually;

/// How long anything may take until it is seen.
const BOUND: Duration = Duration::from_secs(90);
/// The member that names an element (WebDriver, 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with an empty profile and one tab. Dropping it closes it.
pub struct Browser {
    agent: Agent,
    session: String,
    // Ended after the session above was closed, and before the profile goes.
    _driver: Driver,
    _profile: tempfile::TempDir,
}

struct Driver(Child);

/// Why an order was not carried out, such as `stale element reference`.
#[derive(Debug)]
struct Refused(String);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
    }
}

fn order(agent: &Agent, url: &str, body: &Value) -> Result<Value, Refused> {
    let sent = agent.post(url).header("content-type", "application/json").send(body.to_string());
    answered(sent.and_then(|answer| answer.into_body().read_to_string()))
}

fn answered(answer: Result<String, ureq::Error>) -> Result<Value, Refused> {
    let text = answer.map_err(|error| Refused(error.to_string()))?;
    let mut answer: Value = serde_json::from_str(&text).map_err(|error| Refused(error.to_string()))?;
    match answer["value"]["error"].as_str() {
        Some(error) => Err(Refused(format!("{error}: {}", answer["value"]["message"]))),
        None => Ok(answer["value"].take()),
    }
}

impl Browser {
    /// A browser in a window of this many CSS pixels.
    pub fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("TMPDIR", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed by tests/install-tools.sh");
        let driver = Driver(driver);
        // Without a sandbox of its own because tests run as root; without whatever talks to the browser's maker.
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().join("profile").display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "timeouts": {"script": 60_000, "pageLoad": 60_000},
        }}});
        let agent: Agent =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(BOUND)).build().into();
        let url = format!("http://127.0.0.1:{port}/session");
        let session = eventually("a browser", BOUND, || {
            let answer = order(&agent, &url, &wanted).ok()?;
            Some(format!("{url}/{}", answer["sessionId"].as_str()?))
        });
        Self { agent, session, _driver: driver, _profile: profile }
    }

    fn order(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        order(&self.agent, &format!("{}/{path}", self.session), body)
    }

    fn ask(&self, path: &str) -> Result<Value, Refused> {
        let url = format!("{}/{path}", self.session);
        answered(self.agent.get(&url).call().and_then(|answer| answer.into_body().read_to_string()))
    }

    /// Shows a page.
    pub fn open(&self, url: &str) {
        self.order("url", &json!({"url": url})).expect("the browser loads the page");
    }

    /// Where the tab is.
    pub fn url(&self) -> String {
        self.ask("url").expect("a URL").as_str().unwrap_or_default().to_owned()
    }

    /// All text that is seen.
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until this text is seen.
    pub fn sees(&self, text: &str) {
        let start = Instant::now();
        while !self.text().contains(text) {
            assert!(start.elapsed() < BOUND, "{text:?} is not seen, but:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until this text is seen no more.
    pub fn sees_no(&self, text: &str) {
        eventually(&format!("{text:?} is gone"), BOUND, || (!self.text().contains(text)).then_some(()));
    }

    /// Types into the field of this id, in place of what was there.
    pub fn type_into(&self, id: &str, text: &str) {
        self.with_first("css selector", &format!("#{id}"), |field| {
            self.order(&format!("element/{field}/clear"), &json!({}))?;
            self.order(&format!("element/{field}/value"), &json!({"text": text}))
        });
    }

    /// Clicks what this CSS selector finds first.
    pub fn click(&self, selector: &str) {
        self.with_first("css selector", selector, |element| {
            self.order(&format!("element/{element}/click"), &json!({}))
        });
    }

    /// Clicks the button, link or summary of this text that is seen; of a dialog's if one is open.
    pub fn press(&self, text: &str) {
        let named = format!("[not(@disabled)][normalize-space()='{text}']");
        let path = format!(
            "//dialog[@open]//button{named} | //*[self::button or self::a or self::summary][not(//dialog[@open])]{named}"
        );
        self.with_first("xpath", &path, |element| {
            self.order(&format!("element/{element}/click"), &json!({}))
        });
    }

    /// What a script returns.
    pub fn script(&self, script: &str) -> Value {
        self.order("execute/sync", &json!({"script": script, "args": []})).expect("the script runs")
    }

    /// What a script hands to its last argument.
    pub fn script_async(&self, script: &str) -> Value {
        self.order("execute/async", &json!({"script": script, "args": []})).expect("the script runs")
    }

    /// Writes a picture of the window, PNG.
    pub fn picture(&self, file: &Path) {
        let picture = self.ask("screenshot").expect("a picture");
        let octets = unbase64(picture.as_str().expect("a picture in base64"));
        std::fs::write(file, octets).expect("the picture is written");
    }

    /// Elements come and go while pages are drawn anew: what is stale or hidden is looked for again.
    fn with_first(&self, using: &str, value: &str, act: impl Fn(&str) -> Result<Value, Refused>) {
        let start = Instant::now();
        let tried = || {
            let found = self.order("elements", &json!({"using": using, "value": value}))?;
            for element in
                found.as_array().into_iter().flatten().filter_map(|element| element[ELEMENT].as_str())
            {
                if self.ask(&format!("element/{element}/displayed"))? == true {
                    return act(element).map(drop);
                }
            }
            Err(Refused("nothing like that is seen".to_owned()))
        };
        while let Err(Refused(why)) = tried() {
            assert!(start.elapsed() < BOUND, "{value} cannot be used: {why}; seen is:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
