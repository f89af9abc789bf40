//! What a process per device costs and gives: the same site with its vendors' libraries in worker processes and on
//! threads of the gateway, one device and four.
//!
//! Threads share the gateway's environment, so all devices of a kind are tokens of one set-up; worker processes get
//! the same one, so that nothing differs but the isolation.

use std::fs;
use std::path::Path;

use serde_json::json;
use tests::{Folder, Site};

use crate::bench::{Bench, Run};
use crate::profile::{Profile, Target};
use crate::report::{Row, Verdict, median};
use crate::{Fallible, say, softhsm};

const CONNECTIONS: usize = 64;

/// What is compared: the library, the request, and how many devices there are.
struct Pair {
    row: &'static str,
    goal: Option<f64>,
    softhsm: bool,
    devices: usize,
}

const PAIRS: [Pair; 4] = [
    Pair { row: "worker", goal: Some(0.95), softhsm: true, devices: 1 },
    Pair { row: "worker_four", goal: Some(1.15), softhsm: true, devices: 4 },
    Pair { row: "worker_sim", goal: None, softhsm: false, devices: 1 },
    Pair { row: "worker_sim_four", goal: None, softhsm: false, devices: 4 },
];

/// One run's rate, median latency in ms, and processor microseconds per operation.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p50: f64,
    cost: f64,
}

impl Bench {
    /// Worker processes against threads, in turn on two sites.
    pub(crate) fn isolation(&mut self) -> Fallible<()> {
        let mut lines = Vec::new();
        for pair in &PAIRS {
            let goal = match pair.goal {
                Some(0.95) => ">= 0.95 of threads",
                Some(_) => ">= 1.15 of threads",
                None => "-",
            };
            if pair.softhsm && softhsm::module().is_none() {
                self.row(Row::absent(pair.row, "/s, against threads", goal, "SoftHSM2 is not installed"));
                continue;
            }
            let sites = [pair.site("process")?, pair.site("thread")?];
            let mut runs = [Vec::new(), Vec::new()];
            for _ in 0..self.rounds {
                for ((site, name), runs) in sites.iter().zip(["processes", "threads"]).zip(&mut runs) {
                    runs.push(self.isolated(pair, site, name)?);
                }
            }
            let [processes, threads] = &runs;
            let of = |runs: &[Figures], what: fn(&Figures) -> f64| {
                median(runs.iter().map(what)).unwrap_or_default()
            };
            // By round: what disturbs the machine disturbs both.
            let ratio = median(processes.iter().zip(threads).map(|(p, t)| p.rate / t.rate));
            let verdict = match (pair.goal, ratio) {
                (Some(goal), ratio) => Verdict::Met(ratio.is_some_and(|ratio| ratio >= goal)),
                (None, _) => Verdict::Unknown("no goal is set for the simulated device".to_owned()),
            };
            for (name, runs) in [("processes", processes), ("threads", threads)] {
                let (rate, p50, cost) =
                    (of(runs, |run| run.rate), of(runs, |run| run.p50), of(runs, |run| run.cost));
                lines.push((pair.row, name, rate, p50, cost));
            }
            self.row(Row {
                name: pair.row,
                unit: "/s, against threads",
                value: Some(of(processes, |run| run.rate)),
                reference: Some(of(threads, |run| run.rate)),
                ratio,
                goal,
                verdict,
            });
        }
        say(&format!("\n{:<16} {:<10} {:>9} {:>9} {:>12}", "", "", "ops/s", "p50 ms", "µs CPU/op"));
        for (row, name, rate, p50, cost) in &lines {
            say(&format!("{row:<16} {name:<10} {rate:>9.0} {p50:>9.3} {cost:>12.1}"));
        }
        say("");
        let table = lines.iter().map(|(row, name, rate, p50, cost)| {
            json!({"row": row, "isolation": name, "per_second": rate, "p50_ms": p50, "cpu_us_per_op": cost})
        });
        self.note("worker_table", table.collect());
        Ok(())
    }

    fn isolated(&mut self, pair: &Pair, site: &Site, name: &str) -> Fallible<Figures> {
        let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
        let target = Target { pid: Some(site.pid()), ..target };
        let profile = if pair.softhsm { Profile::SignP256 } else { Profile::SignSm2 };
        let name = format!("{} {name}", pair.row);
        let run = self.run(&Run::closed(&name, &target, profile, CONNECTIONS))?;
        if run.failed() > 0 {
            return Err(format!("{name}: {:?}", run.errors).into());
        }
        let cost = run.per_cpu_second().map_or(f64::NAN, |rate| 1e6 / rate);
        Ok(Figures { rate: run.per_second(), p50: run.latency.quantile(0.5), cost })
    }
}

impl Pair {
    /// A site whose group `bureau` is so many devices, and the group `portal` one or two simulated ones.
    fn site(&self, isolation: &str) -> Fallible<Site> {
        let mut folder = Folder::init();
        let data = folder.data();
        let simulators = joint_simulator(&data)?;
        folder.set_environment("HSM_SIM_CONFIG", &simulators);
        if self.softhsm {
            let module = softhsm::module().ok_or("SoftHSM2 is not installed")?;
            let conf = softhsm::install_jointly(&folder, &module, self.devices)?;
            folder.set_environment("SOFTHSM2_CONF", &conf);
        } else {
            softhsm::keep(&folder, self.devices)?;
        }
        for number in 1..=9 {
            let own = format!("env = {{ HSM_SIM_CONFIG = \"hsm/d{number}/hsm-sim.toml\" }}\n");
            let text = fs::read_to_string(folder.config())?;
            fs::write(folder.config(), text.replace(&own, ""))?;
        }
        folder.configure("[fleet]\n", &format!("[fleet]\nisolation = \"{isolation}\"\n"));
        Ok(folder.serve())
    }
}

/// One configuration of the simulator with all nine devices as slots; where it is.
fn joint_simulator(data: &Path) -> Fallible<String> {
    let home = data.join("hsm/joint");
    fs::create_dir_all(home.join("tokens"))?;
    let mut text = "store = \"tokens\"\nsession_limit = 256\n".to_owned();
    for number in 1..=9 {
        let serial = format!("SIM{number:06}");
        let token = data.join(format!("hsm/d{number}/tokens/{serial}"));
        std::os::unix::fs::symlink(token, home.join("tokens").join(&serial))?;
        text.push_str(&format!("\n[[slot]]\nid = {number}\nserial = \"{serial}\"\nmodel = \"SIM-SM2\"\n"));
    }
    let file = home.join("hsm-sim.toml");
    fs::write(&file, text)?;
    Ok(file.display().to_string())
}
