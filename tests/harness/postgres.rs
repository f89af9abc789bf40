//! A PostgreSQL server of one's own: Debian's programs, a temporary folder, a free port of 127.0.0.1.
//!
//! `store/tests` compiles this file too, so it uses the standard library and `tempfile` only. The server ends with
//! the test process, however that ends: a shell that keeps it waits for the end of its input.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where Debian puts the programs; the newest there is, is taken.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// The user that owns every database, with no other rights.
const USER: &str = "gateway";
/// Protects nothing: the server listens on loopback for the time of a test.
const PASSWORD: &str = "test only, \"%' included";
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Starts the server in `$1` and keeps it until input ends: with a word the folder stays, without it goes too.
const KEEPER: &str = r#"
folder=$1; shift
"$@" >>"$folder/log" 2>&1 </dev/null &
server=$!
echo "$server"
read -r word
kill -INT "$server" 2>/dev/null
wait "$server"
[ -n "$word" ] || rm -rf "$folder"
"#;

/// A server. Dropping it stops it and removes its folder.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    keeper: Option<Keeper>,
    databases: AtomicU32,
}

/// The shell that keeps a server, and the server's process.
struct Keeper {
    shell: Child,
    server: u32,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let folder =
            tempfile::Builder::new().prefix("postgres-").tempdir().expect("a temporary folder").keep();
        if let Some((user, group)) = account() {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).expect("root may give a folder away");
        }
        let password = folder.join("password");
        std::fs::write(&password, PASSWORD).expect("the folder can be written");
        std::fs::set_permissions(&password, PermissionsExt::from_mode(0o644)).expect("its owner may");
        let mut server =
            Self { programs: programs(), folder, port: 0, keeper: None, databases: AtomicU32::new(0) };
        let mut initdb = server.command("initdb");
        // ICU's order of texts is not that of SQLite and Rust: what relies on the server's is found out.
        initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]);
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--pgdata"]);
        initdb.arg(server.folder.join("data")).arg("--pwfile").arg(&password);
        ran(&mut initdb);
        server.begin();
        server.query(
            "postgres",
            &format!("CREATE ROLE {USER} LOGIN PASSWORD '{}'", PASSWORD.replace('\'', "''")),
        );
        server
    }

    /// Starts a server that was stopped or killed, on the port it had.
    pub fn begin(&mut self) {
        assert!(self.keeper.is_none(), "the server runs already");
        for _ in 0..5 {
            if self.port == 0 {
                self.port = free_port();
            }
            if self.try_begin() {
                return;
            }
            // Somebody else took the port; a server that is to come back has to get its own.
            if self.databases.load(Ordering::Relaxed) == 0 {
                self.port = 0;
            }
        }
        panic!("PostgreSQL does not start: {}", self.log());
    }

    /// Ends the server as an administrator would; clients lose their connections at once.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Kills the server and with it all its processes.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    /// An empty database of the user [`Postgres::url`] names.
    pub fn database(&self) -> String {
        let name = format!("site_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        name
    }

    /// Another database with the content of this one; whoever is connected to this one loses the connection.
    pub fn copy(&self, of: &str) -> String {
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{of}'");
        self.query("postgres", &end);
        let name = format!("site_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {name} OWNER {USER} TEMPLATE {of}"));
        name
    }

    /// The address of a database, without the password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The password for it.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file with the password, for a configuration.
    pub fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    /// Runs SQL as the server's superuser and answers the rows, columns parted by `|`.
    pub fn query(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"]);
        psql.args(["--host=127.0.0.1", "--username=postgres", "--dbname", database, "--command", sql]);
        psql.arg(format!("--port={}", self.port)).env("PGPASSWORD", PASSWORD);
        ran(&mut psql)
    }

    /// All of a database as SQL.
    pub fn dump(&self, database: &str) -> String {
        let mut dump = Command::new(self.programs.join("pg_dump"));
        dump.args(["--host=127.0.0.1", "--username=postgres"]).arg(format!("--port={}", self.port));
        ran(dump.arg(database).env("PGPASSWORD", PASSWORD))
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn try_begin(&mut self) -> bool {
        let mut shell = self.command("sh");
        shell.args(["-c", KEEPER, "sh"]).arg(&self.folder).arg(self.programs.join("postgres")).arg("-D");
        shell.arg(self.folder.join("data")).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        shell.args(["-c", "shared_buffers=32MB", "-c", "max_connections=300"]);
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // an interrupt at the terminal is not for it
            .spawn()
            .expect("sh can be run");
        let mut line = String::new();
        let said = shell.stdout.take().map(|output| BufReader::new(output).read_line(&mut line));
        let server =
            line.trim().parse().unwrap_or_else(|_| panic!("the keeper says the server's id: {said:?}"));
        self.keeper = Some(Keeper { shell, server });
        let started = Instant::now();
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        while started.elapsed() < START {
            if ready.status().expect("pg_isready can be run").success() && lives(server) {
                return true;
            }
            if !lives(server) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.end("INT");
        false
    }

    fn end(&mut self, signal: &str) {
        let Some(mut keeper) = self.keeper.take() else { return };
        let kill = Command::new("kill").arg(format!("-{signal}")).arg(keeper.server.to_string()).output();
        kill.expect("kill(1) can be run");
        let mut input = keeper.shell.stdin.take().expect("it was piped");
        let _ = input.write_all(b"keep\n"); // a keeper that is gone has nothing to be told
        drop(input);
        keeper.shell.wait().expect("the keeper ends");
    }

    /// A program run as the user that the server runs as: it refuses to be root.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = Command::new(if path.is_file() { path } else { program.into() });
        if let Some((user, group)) = account() {
            command.uid(user).gid(group);
        }
        command.current_dir(&self.folder).env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("INT");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port of 127.0.0.1 on which nobody listens. The system gives it to nobody who takes any port or connects to
/// somewhere: it lies below those that are given out, and so it is free again when whoever used it is gone.
pub fn free_port() -> u16 {
    const PORTS: std::ops::RangeInclusive<u16> = 10_000..=32_767;
    for _ in 0..1_000 {
        let port = PORTS.start() + (RandomState::new().hash_one(()) % PORTS.len() as u64) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("a port among {PORTS:?} is free");
}

/// The user `postgres` when this is root; otherwise the server runs as whoever runs the tests.
fn account() -> Option<(u32, u32)> {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let is_root =
        status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !is_root {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is there");
    let user = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Some(user.expect("this test needs PostgreSQL: apt-get install postgresql"))
}

fn programs() -> PathBuf {
    let versions =
        std::fs::read_dir(PROGRAMS).expect("this test needs PostgreSQL: apt-get install postgresql");
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .expect("this test needs PostgreSQL: apt-get install postgresql");
    Path::new(PROGRAMS).join(newest.to_string()).join("bin")
}

/// Whether the process exists and is not a zombie.
fn lives(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with('Z'))
}

fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
