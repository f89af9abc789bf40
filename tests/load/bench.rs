//! `load bench`: sites of its own, runs interleaved with their references, and the table.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tests::{Folder, Site};

use crate::generator::{self, Act, Measured, Plan};
use crate::process::Snapshot;
use crate::profile::{Profile, Target};
use crate::reference::{Direct, DirectSign, Key, Reference};
use crate::report::{Row, Verdict, in_sequence, median, run_heading, run_line};
use crate::{Fallible, runtime, say, softhsm};

/// What to measure and where to put it.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the rows go as JSON.
    #[arg(long, default_value = "target/bench.json")]
    out: PathBuf,
    /// Length of one run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// How often each comparison is repeated; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=21))]
    rounds: u32,
    /// PKCS#11 sessions of each SoftHSM2 device: its work is all in its process, so more than one only adds
    /// waiting for its locks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    softhsm_lanes: u32,
    /// These parts only; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What the audit log costs.
    Audit,
    /// The sandbox as it is made.
    Sandbox,
    /// What the gateway's own process costs.
    Edge,
    /// P-256 in SoftHSM2.
    Softhsm,
    /// How much of slow devices is used.
    Fleet,
    /// Devices that break under load.
    Fault,
    /// Worker processes against threads.
    Worker,
    /// Verification: the engine, and batches.
    Verify,
    /// Connections that nobody uses.
    Idle,
    /// Signing on SQLite and PostgreSQL, with and without idempotency keys, and in batches.
    Database,
    /// Stamps on PDFs and OFD packages.
    Stamps,
}

/// Devices of the sandbox's two groups.
pub(crate) const BUREAU: usize = 7;
pub(crate) const PORTAL: usize = 2;
const WARM_UP: Duration = Duration::from_millis(700);

pub(crate) struct Bench {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) duration: Duration,
    pub(crate) rounds: u32,
    rows: Vec<Row>,
    runs: Vec<Value>,
    notes: serde_json::Map<String, Value>,
}

/// Measures, prints and writes everything.
pub(crate) fn bench(options: &Options) -> Fallible<()> {
    let mut bench = Bench {
        runtime: runtime()?,
        duration: Duration::from_secs(options.seconds.into()),
        rounds: options.rounds,
        rows: Vec::new(),
        runs: Vec::new(),
        notes: serde_json::Map::new(),
    };
    bench.note("machine", machine()?);
    say(&run_heading());
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    if wanted(Part::Sandbox) {
        bench.sandbox()?;
    }
    if wanted(Part::Edge) {
        bench.edge()?;
    }
    if wanted(Part::Softhsm) {
        bench.softhsm(options.softhsm_lanes as usize)?;
    }
    if wanted(Part::Fleet) {
        bench.fleet_use()?;
    }
    if wanted(Part::Fault) {
        bench.faults()?;
        bench.lost_with_a_worker()?;
    }
    if wanted(Part::Worker) {
        bench.isolation()?;
    }
    if wanted(Part::Audit) {
        bench.audit()?;
    }
    if wanted(Part::Verify) {
        for row in crate::verify::rows(&bench.runtime, bench.duration, bench.rounds)? {
            bench.row(row);
        }
    }
    if wanted(Part::Idle) {
        let row = crate::idle::row(&bench.runtime)?;
        bench.row(row);
    }
    if wanted(Part::Database) {
        bench.databases()?;
    }
    if wanted(Part::Stamps) {
        bench.stamps()?;
    }
    bench.note("load_average_after", json!(fs::read_to_string("/proc/loadavg")?.trim()));
    bench.rows.sort_by_key(|row| row.name);
    say("");
    say(&Row::heading());
    for row in &bench.rows {
        say(&row.line());
    }
    let rows: Vec<Value> = bench.rows.iter().map(Row::json).collect();
    let document = json!({"rows": rows, "notes": bench.notes, "runs": bench.runs});
    if let Some(folder) = options.out.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create(&options.out)?;
    writeln!(file, "{document:#}")?;
    say(&format!("\nwritten to {}", options.out.display()));
    Ok(())
}

/// One thing to measure.
pub(crate) struct Run<'a> {
    pub(crate) name: &'a str,
    pub(crate) target: &'a Target,
    pub(crate) profile: Profile,
    pub(crate) connections: usize,
    pub(crate) rate: Option<f64>,
}

impl<'a> Run<'a> {
    pub(crate) fn closed(name: &'a str, target: &'a Target, profile: Profile, connections: usize) -> Self {
        Self { name, target, profile, connections, rate: None }
    }

    pub(crate) async fn measure(&self, duration: Duration, act: Option<Act>) -> Fallible<Measured> {
        let plan = Plan {
            address: self.target.address,
            request: self.profile.request(self.target).await?,
            connections: self.connections,
            warm_up: WARM_UP,
            duration,
            rate: self.rate,
            pid: self.target.pid,
        };
        Ok(generator::run(plan, act).await?)
    }
}

impl Bench {
    pub(crate) fn run(&mut self, run: &Run<'_>) -> Fallible<Measured> {
        self.run_for(run, self.duration, None)
    }

    fn run_for(&mut self, run: &Run<'_>, duration: Duration, act: Option<Act>) -> Fallible<Measured> {
        let measured = tokio::task::LocalSet::new().block_on(&self.runtime, run.measure(duration, act))?;
        self.note_run(run, &measured);
        Ok(measured)
    }

    pub(crate) fn note_run(&mut self, run: &Run<'_>, measured: &Measured) {
        say(&run_line(run.name, run.connections, measured));
        let mut value = measured.json();
        value["name"] = json!(run.name);
        value["profile"] = json!(run.profile.name());
        value["connections"] = json!(run.connections);
        value["rate"] = json!(run.rate);
        self.runs.push(value);
    }

    pub(crate) fn note(&mut self, name: &str, value: Value) {
        say(&format!("{name}: {value}"));
        self.notes.insert(name.to_owned(), value);
    }

    fn note_memory(&mut self, name: &str, site: &Site) -> Fallible<()> {
        let snapshot = Snapshot::take(site.pid())?;
        let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
        let workers: Vec<String> = snapshot
            .children
            .iter()
            .map(|worker| format!("{} {:.1}", worker.name, mebibytes(worker.resident)))
            .collect();
        let (now, peak) = (mebibytes(snapshot.root.resident), mebibytes(snapshot.root.peak));
        say(&format!("{name}, MiB: gateway {now:.1} (peak {peak:.1}), {}", workers.join(", ")));
        self.notes.insert(name.to_owned(), snapshot.memory());
        Ok(())
    }

    /// What the gateway complained about while nothing was broken on purpose: the last of it, and how much.
    fn note_warnings(&mut self, name: &str, site: &Site) {
        let log = site.log();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
        let last = &warnings[warnings.len().saturating_sub(5)..];
        self.note(name, json!({"count": warnings.len(), "last": last}));
    }

    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Everything on the sandbox as it is made, nine simulated devices.
    fn sandbox(&mut self) -> Fallible<()> {
        let folder = Folder::init();
        self.note("durable_4k_writes_per_second", json!(durable_writes(&folder.data())?.round()));
        let start = Instant::now();
        let site = folder.serve();
        self.note("start_to_ready_ms", json!(start.elapsed().as_millis()));
        let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
        let target = Target { pid: Some(site.pid()), ..target };
        std::thread::sleep(Duration::from_secs(1));
        self.note_memory("memory_idle", &site)?;

        let octets = self.run_for(
            &Run::closed("first requests", &target, Profile::SignSm2, 1),
            Duration::from_secs(1),
            None,
        )?;
        let echo = Reference::start(&words(&["echo", "--answer-octets"], octets.answer_octets), &[])?;
        let echo_target = echo_target(&target, &echo)?;
        self.sign_sm2(&site, &target, &echo_target)?;
        drop(echo);
        self.timestamp(&target)?;
        for (name, profile) in
            [("verify-sm2", Profile::VerifySm2), ("license", Profile::License), ("livez", Profile::Livez)]
        {
            self.run(&Run::closed(name, &target, profile, 64))?;
        }
        self.note_memory("memory_after_load", &site)?;
        self.note_warnings("warnings_simulated", &site);
        Ok(())
    }

    /// Signing on simulated devices with 1, 8 and 64 connections, interleaved with the bare server.
    fn sign_sm2(&mut self, site: &Site, target: &Target, echo: &Target) -> Fallible<()> {
        let mut compared = Vec::new();
        for round in 0..self.rounds {
            for connections in [1, 8, 64] {
                let signed =
                    self.run(&Run::closed("sign-sm2 simulated", target, Profile::SignSm2, connections))?;
                self.run(&Run::closed("sign-p256 simulated", target, Profile::SignP256, connections))?;
                let echoed = self.run(&Run::closed("hyper echo", echo, Profile::SignSm2, connections))?;
                if connections == 64 {
                    let direct = (1..=processors())
                        .map(|number| simulated(&site.data(), number, self.duration.as_secs_f64()))
                        .map(|(order, environment)| Reference::start(&order.arguments(), &[environment]));
                    let direct = self.together("direct sign simulated", direct.collect::<Fallible<_>>()?)?;
                    let signed = signed.per_cpu_second().unwrap_or_default();
                    let echoed = echoed.per_cpu_second().unwrap_or(f64::INFINITY);
                    compared.push((signed, in_sequence(&[direct.per_cpu_second, echoed])));
                }
            }
            if round == 0 {
                self.run(&Run::closed("sign-rsa simulated", target, Profile::SignRsa, 64))?;
            }
        }
        let why = "no goal is set for the simulated device; the reference leaves the output check out";
        self.row(Row {
            name: "sign_sm2",
            unit: "/CPU-s",
            value: median(compared.iter().map(|(value, _)| *value)),
            reference: median(compared.iter().map(|(_, reference)| *reference)),
            ratio: median(compared.iter().map(|(value, reference)| value / reference)),
            goal: "-",
            verdict: Verdict::Unknown(why.to_owned()),
        });
        Ok(())
    }

    /// Timestamps on simulated devices, interleaved with signatures by the same kind of key.
    fn timestamp(&mut self, target: &Target) -> Fallible<()> {
        let mut compared = Vec::new();
        for _ in 0..self.rounds {
            let mut rate = |name: &str, profile| {
                let run = self.run(&Run::closed(name, target, profile, 64))?;
                Ok::<_, Box<dyn std::error::Error>>(run.per_cpu_second().unwrap_or_default())
            };
            let stamped = rate("timestamp-sm2 simulated", Profile::TimestampSm2)?;
            let signed = rate("sign-sm2 simulated", Profile::SignSm2)?;
            rate("timestamp-p256 simulated", Profile::TimestampP256)?;
            compared.push((stamped, signed));
        }
        self.row(Row {
            name: "timestamp",
            unit: "/CPU-s",
            value: median(compared.iter().map(|(value, _)| *value)),
            reference: median(compared.iter().map(|(_, reference)| *reference)),
            ratio: median(compared.iter().map(|(value, reference)| value / reference)),
            goal: "-",
            verdict: Verdict::Unknown(
                "no goal is set; the reference is a signature by an SM2 key".to_owned(),
            ),
        });
        Ok(())
    }

    /// Reference processes that work at the same time.
    pub(crate) fn together(&mut self, name: &str, mut references: Vec<Reference>) -> Fallible<Direct> {
        for reference in &mut references {
            reference.begin()?;
        }
        let (mut rate, mut processors) = (0.0, 0.0);
        for reference in references {
            let one = reference.result()?;
            rate += one.per_second;
            processors += one.per_second / one.per_cpu_second;
        }
        let direct = Direct { per_second: rate, per_cpu_second: rate / processors };
        say(&format!("{name:<24} {rate:>14.0} {:>44.0} {processors:>15.2}", direct.per_cpu_second));
        self.runs.push(json!({
            "name": name, "ops_per_second": direct.per_second, "ops_per_cpu_second": direct.per_cpu_second,
        }));
        Ok(direct)
    }

    /// P-256 in four SoftHSM2 devices, against the parts that cannot be saved.
    fn softhsm(&mut self, lanes: usize) -> Fallible<()> {
        const GOAL: &str = ">= 0.80 of sign+verify+echo";
        let Some(module) = softhsm::module() else {
            self.row(Row::absent("sign_p256", "/CPU-s", GOAL, "SoftHSM2 is not installed"));
            return Ok(());
        };
        let folder = Folder::init();
        softhsm::install(&folder, &module, lanes)?;
        let site = folder.serve();
        let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
        let target = Target { pid: Some(site.pid()), ..target };
        let run = Run::closed("first requests", &target, Profile::SignP256, 1);
        let octets = self.run_for(&run, Duration::from_secs(1), None)?.answer_octets;
        let echo = Reference::start(&words(&["echo", "--answer-octets"], octets), &[])?;
        let echo_target = echo_target(&target, &echo)?;
        let seconds = self.duration.as_secs_f64();
        let mut compared = Vec::new();
        let mut slow = Vec::new();
        let mut failed = 0;
        let mut rates = Vec::new();
        for _ in 0..self.rounds {
            let signed = self.run(&Run::closed("sign-p256 SoftHSM2", &target, Profile::SignP256, 64))?;
            let echoed = self.run(&Run::closed("hyper echo", &echo_target, Profile::SignP256, 64))?;
            let sign = (0..processors())
                .map(|number| softhsm::direct(&site.data(), &module, number, seconds))
                .map(|(order, environment)| Reference::start(&order.arguments(), &[environment]));
            let sign = self.together("direct sign SoftHSM2", sign.collect::<Fallible<_>>()?)?;
            let verify = (0..processors())
                .map(|_| Reference::start(&words(&["direct-verify", "--seconds"], seconds), &[]));
            let verify = self.together("direct verify aws-lc", verify.collect::<Fallible<_>>()?)?;
            let echoed = echoed.per_cpu_second().unwrap_or(f64::INFINITY);
            let reference = in_sequence(&[sign.per_cpu_second, verify.per_cpu_second, echoed]);
            compared.push((signed.per_cpu_second().unwrap_or_default(), reference));
            failed += signed.failed();
            slow.push(signed.latency.quantile(0.99));
            rates.push(signed.per_second());
        }
        for connections in [1, 8] {
            self.run(&Run::closed("sign-p256 SoftHSM2", &target, Profile::SignP256, connections))?;
        }
        let half = median(rates).map(|rate| (rate / 2.0).round());
        let moderate =
            Run { rate: half, ..Run::closed("same, half the rate", &target, Profile::SignP256, 64) };
        let moderate = self.run(&moderate)?;
        self.note_memory("memory_after_load_softhsm", &site)?;
        let ratio = median(compared.iter().map(|(value, reference)| value / reference));
        self.row(Row {
            name: "sign_p256",
            unit: "/CPU-s",
            value: median(compared.iter().map(|(value, _)| *value)),
            reference: median(compared.iter().map(|(_, reference)| *reference)),
            ratio,
            goal: GOAL,
            verdict: Verdict::Met(ratio.is_some_and(|ratio| ratio >= 0.8)),
        });
        let p99 = median(slow);
        self.row(Row {
            name: "sign_p256_p99",
            unit: "ms, closed loop",
            value: p99,
            reference: None,
            ratio: None,
            goal: "<= 5 ms at 64 connections",
            verdict: Verdict::Met(p99.is_some_and(|p99| p99 <= 5.0)),
        });
        let p99 = moderate.latency.quantile(0.99);
        self.row(Row {
            name: "sign_p256_p99_half",
            unit: "ms at half that rate",
            value: Some(p99),
            reference: None,
            ratio: None,
            goal: "<= 5 ms at 64 connections",
            verdict: Verdict::Met(p99 <= 5.0),
        });
        self.note("sign_p256_failed_requests", json!(failed));
        self.note_warnings("warnings_softhsm", &site);
        self.note("sign_p256_authentication", json!("x-api-key"));
        Ok(())
    }
}

/// How many references work at once, at most one per SoftHSM2 device. A processor second of a machine whose
/// processors share a core is worth less when all are busy, as they are under load; so they are busy for the
/// references as well.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4))
}

pub(crate) fn echo_target(target: &Target, echo: &Reference) -> Fallible<Target> {
    Ok(Target { address: echo.greeting.parse()?, pid: Some(echo.pid()), ..target.clone() })
}

/// Signing directly in a simulated device.
pub(crate) fn simulated(data: &Path, number: usize, seconds: f64) -> (DirectSign, (String, String)) {
    let home = data.join("hsm").join(format!("d{number}"));
    let key = if number <= BUREAU { "demo-sm2" } else { "portal-sm2" };
    let order = DirectSign {
        module: data.join("hsm/libhsm_sim.so"),
        label: format!("d{number}"),
        pin_file: home.join("pin"),
        id: key.to_owned(),
        key: Key::Sm2,
        lanes: 1,
        seconds,
    };
    (order, ("HSM_SIM_CONFIG".to_owned(), home.join("hsm-sim.toml").display().to_string()))
}

fn words(first: &[&str], last: impl ToString) -> Vec<String> {
    first.iter().map(|word| (*word).to_owned()).chain([last.to_string()]).collect()
}

/// What the figures depend on and a reader cannot see in them.
fn machine() -> Fallible<Value> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(json!({
        "processors": std::thread::available_parallelism()?.get(),
        "model": model.map(|(_, name)| name),
        // The profile it was built with says how much to believe.
        "gateway_of": tests::gateway().parent().and_then(|folder| folder.file_name()?.to_str().map(str::to_owned)),
        "load_average_before": fs::read_to_string("/proc/loadavg")?.trim(),
    }))
}

/// How many small durable writes the disk takes one after another: what an audit log without groups would get.
fn durable_writes(folder: &Path) -> Fallible<f64> {
    const COUNT: u32 = 200;
    let path = folder.join("durable-writes");
    let mut file = fs::File::create(&path)?;
    let start = Instant::now();
    for _ in 0..COUNT {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
    }
    let rate = f64::from(COUNT) / start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}
