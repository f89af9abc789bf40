//! One of nine devices breaks under load: what callers see in the second before, during and after; and a worker that
//! is killed with its sessions full.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Caller, Site, eventually, signal};

use crate::bench::{BUREAU, Bench, PORTAL};
use crate::connection::Connection;
use crate::fleet::{Both, device_names, site_with_sessions};
use crate::generator::Act;
use crate::profile::{DIGEST, Request, Target};
use crate::report::{Row, Verdict, median};
use crate::{Fallible, say};

/// What `fleet.deadline_ms` is when a configuration does not say.
const DEADLINE_MS: f64 = 3_000.0;
/// When the device breaks.
const BREAK_AFTER: Duration = Duration::from_secs(2);
const SESSIONS: usize = 4;
/// All devices take so long, so that they are the bound and not the processors.
const USUAL: &str = "latency_ms = 20.0\n";
const BACK: Duration = Duration::from_secs(60);

/// How d1 breaks; without a fault file its worker is killed.
const CASES: [(&str, Option<&str>); 4] = [
    ("killed", None),
    ("hung", Some("latency_ms = 20.0\n[[fault]]\nfunction = \"C_Sign\"\naction = \"hang\"\n")),
    ("slow", Some("latency_ms = 400.0\n")),
    ("lying", Some("latency_ms = 20.0\n[[fault]]\nfunction = \"C_Sign\"\naction = \"flip_bit\"\n")),
];

/// Both groups in one second.
struct Second {
    good: u64,
    failed: u64,
    /// The worse of both groups.
    p99: f64,
}

impl Both {
    fn second(&self, number: usize) -> Second {
        let parts = [&self.bureau, &self.portal];
        Second {
            good: parts.iter().map(|part| part.by_second[number].total()).sum(),
            failed: parts.iter().map(|part| part.errors_by_second[number]).sum(),
            p99: parts.iter().map(|part| part.by_second[number].quantile(0.99)).fold(0.0, f64::max),
        }
    }

    fn failed(&self) -> u64 {
        self.bureau.failed() + self.portal.failed()
    }
}

impl Bench {
    /// One device killed, hung, slow or lying, all on one site.
    pub(crate) fn faults(&mut self) -> Fallible<()> {
        let (site, target) = site_with_sessions(SESSIONS)?;
        for device in device_names() {
            site.fault(&device, USUAL);
        }
        let at = usize::try_from(BREAK_AFTER.as_secs())?;
        let (mut lines, mut failed, mut slowest, mut usual) = (Vec::new(), 0, 0.0_f64, 0.0_f64);
        for (place, (name, fault)) in CASES.into_iter().enumerate() {
            if place > 0 {
                back(&site)?;
            }
            // At least two seconds after the one in which it happens.
            let duration = BREAK_AFTER + self.duration.max(Duration::from_secs(3));
            let act = Act { after: BREAK_AFTER, what: breaking(&site, fault)? };
            let run = format!("d1 {name} at 2 s");
            let both = self.both_groups(&run, &target, SESSIONS, duration, Some(act))?;
            let [before, during, after] = [at - 1, at, at + 1].map(|second| both.second(second));
            let last = both.bureau.by_second.len();
            let rest = median((at + 1..last).map(|second| both.second(second).good as f64));
            let share = 1.0 - 1.0 / (BUREAU + PORTAL) as f64;
            let rate = median((0..at).map(|second| both.second(second).good as f64));
            let rest = rest.zip(rate).map(|(rest, rate)| rest / (rate * share)).unwrap_or_default();
            failed += both.failed();
            slowest = slowest.max(during.p99).max(after.p99);
            usual = usual.max(before.p99);
            if name == "hung" {
                self.row(Row {
                    name: "fault_hung_rest",
                    unit: "share of 8 of 9",
                    value: Some(rest),
                    reference: None,
                    ratio: Some(rest),
                    goal: ">= 0.95",
                    verdict: Verdict::Met(rest >= 0.95),
                });
            }
            lines.push((name, [before, during, after], both.failed(), rest));
        }
        say(&format!("\n{:<8} {:^24} {:^24} {:^24}", "d1", "second before", "during", "after"));
        let heading = format!("{:>6} {:>9} {:>7}", "good", "p99 ms", "failed");
        say(&format!("{:<8} {heading} {heading} {heading} {:>7} {:>6}", "", "failed", "rest"));
        let mut table = Vec::new();
        for (name, seconds, failed, rest) in lines {
            let cells = seconds.each_ref();
            let cells =
                cells.map(|second| format!("{:>6} {:>9.1} {:>7}", second.good, second.p99, second.failed));
            say(&format!("{name:<8} {} {failed:>7} {rest:>6.3}", cells.join(" ")));
            let second =
                |second: &Second| json!({"good": second.good, "failed": second.failed, "p99_ms": second.p99});
            table.push(json!({
                "d1": name, "before": second(&seconds[0]), "during": second(&seconds[1]),
                "after": second(&seconds[2]), "failed": failed, "rest": rest,
            }));
        }
        say("");
        self.note("fault_table", Value::Array(table));
        self.row(Row {
            name: "fault",
            unit: "failed requests",
            value: Some(failed as f64),
            reference: None,
            ratio: None,
            goal: "0",
            verdict: Verdict::Met(failed == 0),
        });
        self.row(Row {
            name: "fault_p99",
            unit: "ms, against before",
            value: Some(slowest),
            reference: Some(usual),
            ratio: Some(slowest / usual),
            goal: "<= 3000 ms (the deadline)",
            verdict: Verdict::Met(slowest <= DEADLINE_MS),
        });
        Ok(())
    }

    /// SIGKILL to a worker that has 64 requests under way: when the others have answered them, and when the device
    /// works again.
    pub(crate) fn lost_with_a_worker(&mut self) -> Fallible<()> {
        const LOST: usize = 64;
        const DEVICE_TIME: f64 = 400.0;
        let (site, target) = site_with_sessions(LOST)?;
        let operator = site.app_number(2);
        // Two devices share the work, so that half of it is in the one that is killed.
        for number in 3..=BUREAU {
            let reason = json!({"reason": "benchmark"});
            operator.post(&format!("/v1/devices/d{number}/drain"), &reason).expect(200);
        }
        let (mut last, mut ready_again, mut under_way, mut failed) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..self.rounds.max(3) {
            for device in ["d1", "d2"] {
                site.fault(device, &format!("latency_ms = {DEVICE_TIME}\n"));
            }
            std::thread::sleep(Duration::from_millis(100));
            let answers = tokio::task::LocalSet::new();
            let victim = device(&operator, "d1");
            let pid = u32::try_from(victim["worker_pid"].as_u64().unwrap_or_default())?;
            let site = &site;
            let kill = move || {
                let operator = site.app_number(2);
                let load = || device(&operator, "d1")["load"].as_u64().unwrap_or_default();
                let load = eventually("the device is full", BACK, || Some(load()).filter(|load| *load >= 48));
                // The next worker is not to be slow.
                site.fault("d1", "");
                signal(pid, "KILL");
                let killed = Instant::now();
                eventually("its next worker is ready", BACK, || {
                    let now = device(&operator, "d1");
                    (now["state"] == "ready" && now["worker_pid"] != pid).then_some(())
                });
                (load, killed, killed.elapsed())
            };
            let (killed, done) = std::thread::scope(|scope| {
                let killing = scope.spawn(kill);
                let done = answers.block_on(&self.runtime, all_at_once(&target, 2 * LOST));
                (killing.join(), done)
            });
            let (load, killed, ready) = killed.map_err(|_| "the worker was not killed")?;
            under_way.push(load as f64);
            ready_again.push(ready.as_secs_f64() * 1e3);
            for (good, at) in done {
                failed += usize::from(!good);
                let after = at.saturating_duration_since(killed).as_secs_f64() * 1e3;
                last.push(after);
            }
        }
        let slowest = last.iter().copied().fold(0.0, f64::max);
        self.note(
            "fault_lost_requests",
            json!({"in_the_worker": under_way, "ready_again_ms": ready_again, "last_answer_ms": slowest}),
        );
        self.row(Row {
            name: "fault_lost",
            unit: "failed of those in flight",
            value: Some(failed as f64),
            reference: median(under_way.iter().copied()),
            ratio: None,
            goal: "0",
            verdict: Verdict::Met(failed == 0),
        });
        self.row(Row {
            name: "fault_lost_last",
            unit: "ms from kill, one op's ms",
            value: Some(slowest),
            reference: Some(DEVICE_TIME),
            ratio: Some(slowest / DEVICE_TIME),
            goal: "<= 3000 ms (the deadline)",
            verdict: Verdict::Met(slowest <= DEADLINE_MS),
        });
        let ready = median(ready_again.iter().copied());
        self.row(Row {
            name: "fault_lost_ready",
            unit: "ms from kill to ready",
            value: ready,
            reference: None,
            ratio: None,
            goal: "-",
            verdict: Verdict::Unknown(
                "no goal is set; later losses in a row wait longer by design".to_owned(),
            ),
        });
        Ok(())
    }
}

/// Breaks d1.
fn breaking(site: &Site, fault: Option<&'static str>) -> Fallible<Box<dyn FnOnce() + Send>> {
    let Some(fault) = fault else {
        let worker = site.workers().into_iter().find(|worker| worker.serves("d1"));
        let pid = worker.ok_or("no worker of d1")?.pid;
        return Ok(Box::new(move || signal(pid, "KILL")));
    };
    let file = site.data().join("hsm/d1/fault.toml");
    Ok(Box::new(move || {
        // Seen by the simulator when whole; a failure shows as a run without a dip.
        let _ = fs::write(file.with_extension("tmp"), fault);
        let _ = fs::rename(file.with_extension("tmp"), &file);
    }))
}

/// Mends d1 and waits until it works again; an operator ends its quarantine.
fn back(site: &Site) -> Fallible<()> {
    site.fault("d1", USUAL);
    let operator = site.app_number(2);
    let mut waited = false;
    eventually("d1 is back", BACK, || {
        let state = device(&operator, "d1")["state"].clone();
        if state == "quarantined" {
            // Refused while its self-test fails; then it is asked again.
            operator.post("/v1/devices/d1/release", &json!({"reason": "benchmark"}));
        }
        let ready = state == "ready" && waited;
        waited = true;
        ready.then_some(())
    });
    // A device that has come back gets its full share after some seconds.
    std::thread::sleep(Duration::from_secs(6));
    Ok(())
}

fn device(operator: &Caller, id: &str) -> Value {
    let list = operator.get("/v1/devices").expect(200).json();
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().find(|item| item["id"] == id).cloned().unwrap_or_default()
}

/// Asks for so many signatures at once, each over a connection of its own: whether each came, and when.
async fn all_at_once(target: &Target, count: usize) -> Vec<(bool, Instant)> {
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"digest": DIGEST}});
    let request = Request::post(target, "/v1/signatures", &body);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..count as u64 {
        let (mut request, address) = (request.clone(), target.address);
        request.vary(number);
        asking.spawn_local(async move {
            let answer = async {
                let mut connection = Connection::open(address).await?;
                Ok::<_, std::io::Error>(connection.exchange(request.octets()).await?.status)
            };
            (answer.await.is_ok_and(|status| status == 201), Instant::now())
        });
    }
    let mut answers = Vec::with_capacity(count);
    while let Some(answer) = asking.join_next().await {
        answers.push(answer.unwrap_or_else(|_| (false, Instant::now())));
    }
    answers
}
