//! A whole sandbox site: nine devices, the gateway, its folder.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpSocket;
use ureq::http::HeaderMap;

use crate::built::{gateway, hsm_sim};
use crate::foreign::Foreign;
use crate::http::{Answer, Caller};
use crate::postgres::Postgres;
use crate::processes::{Worker, signal, workers};
use crate::scratch::Ran;
use crate::signer::now;
use crate::wait::eventually;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(90);
/// How long a stop may take: what is in flight is finished first.
const STOP: Duration = Duration::from_secs(90);

/// A prepared site that is not running, so that its configuration may be changed.
pub struct Folder {
    root: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// A running site. Dropping it stops it.
pub struct Site {
    // Dropped before the folder it works in.
    process: Process,
    folder: Folder,
    base: String,
    tls: String,
    sandbox: Value,
    app: Caller,
}

/// The site that harmless tests share, and the foreign signers it trusts.
pub struct Shared {
    /// The running site.
    pub site: Site,
    /// Its foreign signers.
    pub foreign: Foreign,
}

/// The shared site; started by whoever needs it first.
pub fn shared() -> &'static Shared {
    // Poisoned if the start fails, so that each test fails at once instead of trying again.
    static SHARED: LazyLock<Shared> = LazyLock::new(|| {
        let folder = Folder::init();
        let foreign = Foreign::new(folder.root.path().join("foreign"));
        folder.trust(&foreign.anchors());
        Shared { site: folder.serve(), foreign }
    });
    &SHARED
}

/// The audit log's entries in a database on a PostgreSQL server, oldest first.
pub fn audit_on(server: &Postgres, database: &str) -> Vec<Value> {
    let rows = server.query(database, "SELECT convert_from(entry, 'UTF8') FROM audit_entries ORDER BY idx");
    rows.lines().map(|line| serde_json::from_str(line).expect("an entry is JSON")).collect()
}

impl Folder {
    /// A new sandbox in a temporary folder, made by `license-gateway init`.
    pub fn init() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = Self { root, environment: Vec::new() };
        folder.init_again();
        folder
    }

    /// A new sandbox that keeps its state in a database of its own on a PostgreSQL server.
    pub fn init_on(server: &Postgres) -> Self {
        Self::init_in(server, &server.database())
    }

    /// A new sandbox that keeps its state in this empty database on a PostgreSQL server.
    pub fn init_in(server: &Postgres, database: &str) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = Self { root, environment: Vec::new() };
        let mut command = folder.init_command();
        command.args(["--database", &server.url(database), "--database-password-file"]);
        Ran::of(command.arg(server.password_file())).expect("license-gateway init --sandbox --database");
        folder
    }

    /// The folder of another gateway on the database and the devices of a site.
    pub fn beside(site: &Site, replica: &str) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = Self { root, environment: Vec::new() };
        std::fs::create_dir(folder.data()).expect("a folder can be made");
        for shared in ["hsm", "pki"] {
            std::os::unix::fs::symlink(site.data().join(shared), folder.data().join(shared)).expect("a link");
        }
        std::fs::copy(site.data().join("sandbox.json"), folder.data().join("sandbox.json"))
            .expect("it is there");
        let text = std::fs::read_to_string(site.config()).expect("gateway.toml is there");
        assert!(text.contains("[site]\n"), "{text}");
        let text = text.replace("[site]\n", &format!("[site]\nreplica = {replica:?}\n"));
        std::fs::write(folder.config(), text).expect("a file");
        folder
    }

    /// Runs `init` on the folder as it is.
    pub fn init_again(&self) {
        Ran::of(&mut self.init_command()).expect("license-gateway init --sandbox");
    }

    fn init_command(&self) -> Command {
        let mut command = Command::new(gateway());
        command.args(["init", "--sandbox", "--data"]).arg(self.data()).arg("--module").arg(hsm_sim());
        command
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.data().join("gateway.toml")
    }

    /// Gives the gateway a variable of the environment beside its own.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Replaces a text in the configuration file, which must hold it.
    pub fn configure(&self, text: &str, by: &str) {
        let config = std::fs::read_to_string(self.config()).expect("gateway.toml is there");
        assert!(config.contains(text), "gateway.toml holds {text:?}");
        std::fs::write(self.config(), config.replace(text, by)).expect("gateway.toml can be written");
    }

    /// Has it be about noon at the site, so that no day which is counted ends in a test.
    pub fn at_noon(&self) {
        let hour = now().rem_euclid(86_400) / 3_600;
        let offset = format!("{:+03}:00", 12 - hour);
        self.configure("[site]\n", &format!("[site]\nutc_offset = {offset:?}\n"));
    }

    /// Adds PEM files to the anchors for documents and for licenses.
    pub fn trust(&self, anchors: &[PathBuf]) {
        const LIST: &str = "anchors = [";
        let text = std::fs::read_to_string(self.config()).expect("gateway.toml is there");
        assert!(text.contains(LIST), "gateway.toml lists its anchors");
        let added: String = anchors.iter().map(|anchor| format!("{anchor:?}, ")).collect();
        let text = text.replace(LIST, &format!("{LIST}{added}"));
        std::fs::write(self.config(), text).expect("gateway.toml can be written");
    }

    /// Starts the gateway and waits until it is ready.
    pub fn serve(self) -> Site {
        self.serve_with(&[])
    }

    /// Starts the gateway with more options.
    pub fn serve_with(self, options: &[&str]) -> Site {
        self.serve_until(options, |answer| answer.status == 200)
    }

    /// Starts the gateway and waits until `/readyz` answers as it is wanted.
    pub fn serve_until(self, options: &[&str], wanted: impl Fn(&Answer) -> bool) -> Site {
        let listening = self.data().join("listening.json");
        let _ = std::fs::remove_file(&listening);
        let mut process = Process::start(&self, options);
        let addresses: Value = eventually("the gateway says where it listens", START, || {
            process.expect_running(&self.log());
            serde_json::from_slice(&std::fs::read(&listening).ok()?).ok()
        });
        let address = |name: &str| addresses[name].as_str().map(str::to_owned);
        let tls = format!("https://{}", address("https").expect("listening.json names https"));
        // A site for production has no plain listener.
        let base = address("http").map_or_else(|| tls.clone(), |address| format!("http://{address}"));
        eventually("/readyz answers as it should", START, || {
            process.expect_running(&self.log());
            wanted(&self.readyz(&base)?).then_some(())
        });
        let sandbox = std::fs::read(self.data().join("sandbox.json")).expect("sandbox.json is there");
        let sandbox: Value = serde_json::from_slice(&sandbox).expect("sandbox.json is JSON");
        let app = Caller::new(&base, sandbox["apps"][0]["api_key"].as_str());
        Site { process, folder: self, base, tls, sandbox, app }
    }

    /// The answer of `/readyz`, if there is one.
    fn readyz(&self, base: &str) -> Option<Answer> {
        if base.starts_with("http:") {
            return Caller::new(base, None).try_send("GET", "/readyz", &[], None).ok();
        }
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]);
        curl.arg(self.data().join("pki/trust/bundle.pem")).arg(format!("{base}/readyz"));
        let ran = Ran::of(&mut curl);
        let status = ran.text.parse().ok().filter(|_| ran.ok)?;
        Some(Answer { status, headers: HeaderMap::new(), body: Vec::new() })
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("serve.log")
    }
}

impl Site {
    /// A running site of one's own.
    pub fn start() -> Self {
        Folder::init().serve()
    }

    /// Ends the gateway with SIGTERM; gives back the folder and how it ended.
    pub fn stop(self) -> (Folder, ExitStatus) {
        let Self { process, folder, .. } = self;
        let status = process.terminate();
        (folder, status)
    }

    /// Ends the gateway with SIGKILL; gives back the folder as that left it.
    pub fn kill(self) -> Folder {
        let Self { mut process, folder, .. } = self;
        process.child.kill().and_then(|()| process.child.wait()).expect("the gateway can be killed");
        folder
    }

    /// The first app of the sandbox: business scopes, all service keys.
    pub fn app(&self) -> &Caller {
        &self.app
    }

    /// The app with this place in `sandbox.json`, with connections of its own.
    pub fn app_number(&self, index: usize) -> Caller {
        let key = self.sandbox["apps"][index]["api_key"].as_str().expect("the sandbox has this app");
        Caller::new(&self.base, Some(key))
    }

    /// Somebody who shows this API key, or none.
    pub fn stranger(&self, api_key: Option<&str>) -> Caller {
        Caller::new(&self.base, api_key)
    }

    /// `http://host:port`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `https://host:port`
    pub fn tls(&self) -> &str {
        &self.tls
    }

    /// The address of a listener by its name in `listening.json`.
    pub fn listener(&self, name: &str) -> String {
        let text = std::fs::read(self.data().join("listening.json")).expect("listening.json is there");
        let listening: Value = serde_json::from_slice(&text).expect("listening.json is JSON");
        listening[name].as_str().unwrap_or_else(|| panic!("{name} is not in {listening}")).to_owned()
    }

    /// `sandbox.json`
    pub fn sandbox(&self) -> &Value {
        &self.sandbox
    }

    /// The bundle of the sandbox's roots.
    pub fn ca_file(&self) -> PathBuf {
        let path = Path::new(self.sandbox["ca_file"].as_str().expect("sandbox.json names ca_file"));
        self.data().join(path) // an absolute path stays as it is
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.data()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.config()
    }

    /// Rewrites the configuration: each text is replaced wherever it stands, and must stand somewhere.
    pub fn configure(&self, changes: &[(&str, &str)]) {
        let mut text = std::fs::read_to_string(self.config()).expect("gateway.toml is there");
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in\n{text}");
            text = text.replace(from, to);
        }
        std::fs::write(self.config(), text).expect("gateway.toml can be written");
    }

    /// The admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.data().join("admin.sock")
    }

    /// Runs `license-gateway ARGUMENTS --config FILE` against this site.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(gateway());
        command.args(arguments).arg("--config").arg(self.config()).stdin(Stdio::null());
        command.output().expect("license-gateway can be started")
    }

    /// The audit log's entries, oldest first.
    pub fn audit(&self) -> Vec<Value> {
        const QUERY: &str = "SELECT CAST(entry AS TEXT) FROM audit_entries ORDER BY idx";
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg("-readonly").arg(self.data().join("gateway.db")).arg(QUERY);
        let rows = Ran::of(&mut sqlite).expect("sqlite3 reads the audit log").stdout;
        let text = String::from_utf8(rows).expect("entries are UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("an entry is JSON")).collect()
    }

    /// Waits until a checkpoint proves an answer's entry, as the app sees it: whoever polls a page for strangers instead
    /// takes up what one address may ask.
    pub fn proved(&self, answer: &Value) {
        let path = format!("/v1/audit/proofs/{}", answer["audit_index"]);
        eventually("a checkpoint covers it", Duration::from_secs(60), || {
            (self.app().get(&path).status == 200).then_some(())
        });
    }

    /// A connection to the plain listener from another address of this machine, such as 127.0.0.2.
    pub fn connect_from(&self, address: &str) -> TcpStream {
        let gateway = self.base().strip_prefix("http://").expect("it has a plain listener");
        let gateway: SocketAddr = gateway.parse().expect("an address and port");
        let from: SocketAddr = format!("{address}:0").parse().expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let connected = runtime.expect("a runtime").block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(from)?;
            socket.connect(gateway).await?.into_std()
        });
        let stream = connected.expect("the listener can be reached from there");
        stream.set_nonblocking(false).expect("it can wait");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("and not for ever");
        stream
    }

    /// The gateway's process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What the gateway has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.log()).unwrap_or_default()
    }

    /// The device workers that run now.
    pub fn workers(&self) -> Vec<Worker> {
        workers(self.pid())
    }

    /// The device's state as `GET /v1/devices` tells it to the maintenance app.
    pub fn device_state(&self, device: &str) -> String {
        let list = self.app_number(2).get("/v1/devices").expect(200).json();
        let items = list["items"].as_array().expect("a list has items");
        let found = items.iter().find(|item| item["id"] == device).expect("the device is listed");
        found["state"].as_str().expect("a device has a state").to_owned()
    }

    /// The PINs of all devices, from the files that the configuration names.
    pub fn pins(&self) -> Vec<String> {
        let config = std::fs::read_to_string(self.folder.config()).expect("gateway.toml is there");
        let files = config.lines().filter_map(|line| line.strip_prefix("pin_file = \"")?.strip_suffix('"'));
        let pins: Vec<String> = files
            .map(|file| std::fs::read_to_string(self.data().join(file)).expect("a device has a PIN file"))
            .map(|pin| pin.trim().to_owned())
            .collect();
        assert_eq!(pins.len(), 9, "{config}");
        pins
    }

    /// Breaks a simulated device; takes effect within a moment.
    pub fn fault(&self, device: &str, toml: &str) {
        let file = self.fault_file(device);
        let next = file.with_extension("tmp");
        std::fs::write(&next, toml)
            .and_then(|()| std::fs::rename(&next, &file))
            .expect("the device has a folder");
    }

    /// Mends a simulated device.
    pub fn mend(&self, device: &str) {
        std::fs::remove_file(self.fault_file(device)).expect("the device had a fault");
    }

    fn fault_file(&self, device: &str) -> PathBuf {
        self.data().join("hsm").join(device).join("fault.toml")
    }
}

/// The gateway's process, with a guard that outlives this test process.
struct Process {
    child: Child,
    guard: Child,
}

impl Process {
    fn start(folder: &Folder, options: &[&str]) -> Self {
        let log = File::create(folder.log()).expect("the log can be written");
        let child = Command::new(gateway())
            .args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--config"])
            .arg(folder.config())
            .args(options)
            .envs(folder.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway can be started");
        let guard = Self::guard(child.id(), folder.root.path());
        Self { child, guard }
    }

    /// A shell whose standard input ends with this test process, however that ends: then it stops the gateway and
    /// removes the folder. A shared site is never dropped, and a killed test drops nothing. Signals to the whole
    /// process group (Ctrl-C) do not concern it.
    fn guard(pid: u32, folder: &Path) -> Child {
        const SCRIPT: &str = "
            trap '' HUP INT TERM
            read -r _
            kill -TERM $0
            for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $0 || break; sleep 1; done
            kill -KILL $0
            rm -rf \"$1\"";
        Command::new("sh")
            .args(["-c", SCRIPT, &pid.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started")
    }

    fn expect_running(&mut self, log: &Path) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            let mut text = String::new();
            let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
            panic!("the gateway ended with {status}:\n{text}");
        }
    }

    fn terminate(mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        let status = self.wait(STOP);
        status.unwrap_or_else(|| panic!("the gateway did not end within {STOP:?} of SIGTERM"))
    }

    fn wait(&mut self, bound: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) if start.elapsed() < bound => std::thread::sleep(Duration::from_millis(10)),
                ended => return ended.ok().flatten(),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard first: it must not signal a process id that may by then be somebody else's.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            if self.wait(Duration::from_secs(5)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}
