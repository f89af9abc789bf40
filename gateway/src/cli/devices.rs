//! `license-gateway device …`

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::Client;
use super::{CliError, Progress, Target, print, table, text};
use crate::probe::ProbeArguments;

/// See and operate the devices of a running gateway.
#[derive(Args)]
pub(crate) struct DeviceArguments {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Subcommand)]
enum DeviceCommand {
    /// Find out what a PKCS#11 device is, does and how fast, without a gateway; makes session objects only.
    ///
    /// Exit code 0: the gateway can use it. 1: it cannot; the report says why. 2: wrong usage.
    Probe(Box<ProbeArguments>),
    /// All devices, one a line.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// All that is known of one device.
    Show {
        /// The device's name.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Take a device out of service: it finishes what it has and takes nothing new.
    Drain {
        #[command(flatten)]
        act: Act,
        /// Wait until it has nothing left to do.
        #[arg(long)]
        wait: bool,
        /// Wait so many seconds at most; exit code 1 if it is not empty by then.
        #[arg(long, value_name = "SECONDS", requires = "wait")]
        timeout: Option<u64>,
    },
    /// Take a device out of service at once; what it has is answered, or tried on another device.
    Maintain {
        #[command(flatten)]
        act: Act,
    },
    /// Put a device back that was drained: it takes work again once a signature of it verified.
    Resume {
        #[command(flatten)]
        act: Act,
    },
    /// End a device's quarantine; it must pass a self-test first, which is made here.
    Release {
        #[command(flatten)]
        act: Act,
    },
    /// Give a device a new worker, also after a PIN that was refused.
    Restart {
        #[command(flatten)]
        act: Act,
    },
    /// Have a device prove every key and its arithmetic; exit code 1 if a check failed.
    SelfTest {
        #[command(flatten)]
        act: Act,
    },
    /// Take a blank device in for another, or for itself after a repair: it gets the keys of its group.
    Replace {
        /// The device whose place is taken; it goes into maintenance.
        old: String,
        /// The blank device; the same name if the old one came back blank.
        new: String,
        /// Why, for the record: 1 to 500 characters.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// What a device did, span by span.
    History {
        /// The device's name.
        id: String,
        /// From when, RFC 3339; a day ago if absent.
        #[arg(long)]
        from: Option<String>,
        /// Until when, RFC 3339; now if absent.
        #[arg(long)]
        to: Option<String>,
        /// Seconds of a span; minutes are kept for 48 hours, quarters of an hour for 90 days.
        #[arg(long, default_value_t = 900)]
        step: u64,
        #[command(flatten)]
        target: Target,
    },
    /// See or change what a simulated device of a sandbox breaks down with.
    Fault {
        /// The device's name.
        id: String,
        /// What to break, as in the simulator's fault file, such as 'latency_ms = 50.0'.
        #[arg(long, value_name = "TOML", group = "change")]
        set: Option<String>,
        /// The same from a file.
        #[arg(long, value_name = "FILE", group = "change")]
        file: Option<PathBuf>,
        /// Mend it.
        #[arg(long, group = "change")]
        clear: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// An act on one device.
#[derive(Args)]
struct Act {
    /// The device's name.
    id: String,
    /// Why, for the record: 1 to 500 characters.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    target: Target,
}

impl DeviceArguments {
    /// The one subcommand that asks no gateway.
    pub(super) fn into_probe(self) -> Result<ProbeArguments, Box<Self>> {
        match self.command {
            DeviceCommand::Probe(arguments) => Ok(*arguments),
            command => Err(Box::new(Self { command })),
        }
    }

    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            DeviceCommand::Probe(_) => false,
            DeviceCommand::List { target }
            | DeviceCommand::Show { target, .. }
            | DeviceCommand::Replace { target, .. }
            | DeviceCommand::History { target, .. }
            | DeviceCommand::Fault { target, .. } => target.json,
            DeviceCommand::Drain { act, .. }
            | DeviceCommand::Maintain { act }
            | DeviceCommand::Resume { act }
            | DeviceCommand::Release { act }
            | DeviceCommand::Restart { act }
            | DeviceCommand::SelfTest { act } => act.target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            DeviceCommand::Probe(_) => Ok(()), // it was run without a gateway
            DeviceCommand::List { target } => list(&target).await,
            DeviceCommand::Show { id, target } => show(&id, &target).await,
            DeviceCommand::Drain { act, wait, timeout } => {
                let mut client = act.target.connect().await?;
                let mut answer = act.send(&mut client, "drain").await?;
                if wait {
                    let end = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
                    wait_until_empty(&mut client, &act.id, end).await?;
                    answer["state"] = "maintenance".into();
                }
                act.tell(&answer);
                Ok(())
            }
            DeviceCommand::Maintain { act } => act.run("maintain").await,
            DeviceCommand::Resume { act } => act.run("resume").await,
            DeviceCommand::Release { act } => act.run("release").await,
            DeviceCommand::Restart { act } => act.run("restart").await,
            DeviceCommand::SelfTest { act } => self_test(&act).await,
            DeviceCommand::Replace { old, new, reason, target } => {
                replace(&old, &new, &reason, &target).await
            }
            DeviceCommand::History { id, from, to, step, target } => {
                history(&id, [("from", from), ("to", to)], step, &target).await
            }
            DeviceCommand::Fault { id, set, file, clear, target } => {
                let change = match (set, file, clear) {
                    (Some(toml), ..) => Some(json!({ "toml": toml })),
                    (None, Some(path), _) => {
                        let read = std::fs::read_to_string(&path);
                        let toml = read.map_err(|source| CliError::File { path, source })?;
                        Some(json!({ "toml": toml }))
                    }
                    (None, None, true) => Some(json!({})),
                    (None, None, false) => None,
                };
                fault(&id, change, &target).await
            }
        }
    }
}

impl Act {
    async fn run(&self, verb: &str) -> Result<(), CliError> {
        let answer = self.send(&mut self.target.connect().await?, verb).await?;
        self.tell(&answer);
        Ok(())
    }

    async fn send(&self, client: &mut Client, verb: &str) -> Result<Value, CliError> {
        let path = format!("{}/{verb}", path(&self.id)?);
        client.call(Method::POST, &path, Some(&json!({ "reason": self.reason }))).await
    }

    fn tell(&self, answer: &Value) {
        print(self.target.json, answer, |out| {
            writeln!(out, "{} is {} (audit entry {})", self.id, text(&answer["state"]), answer["audit_index"])
        });
    }
}

/// A device's path; what cannot be a name is the name of no device.
fn path(id: &str) -> Result<String, CliError> {
    match config::DeviceId::parse(id) {
        Ok(id) => Ok(format!("/v1/devices/{id}")),
        Err(error) => Err(CliError::NotDone(format!("{id:?} is the name of no device: it {error}"))),
    }
}

async fn list(target: &Target) -> Result<(), CliError> {
    let answer = target.connect().await?.call(Method::GET, "/v1/devices", None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("ID", false),
            ("GROUP", false),
            ("STATE", false),
            ("LOAD", true),
            ("LANES", true),
            ("LATENCY", true),
            ("SIGNED", true),
            ("FAILED", true),
            ("STARTS", true),
            ("LAST ERROR", false),
        ];
        let devices = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let row = |device: &Value| {
            let mut row =
                ["id", "group", "state", "load", "lanes"].map(|field| text(&device[field])).to_vec();
            row.push(milliseconds(&device["latency_us"]));
            row.extend(["signed", "failed", "worker_starts", "last_error"].map(|field| text(&device[field])));
            row
        };
        table::print(out, &columns, devices.iter().map(row))
    });
    Ok(())
}

async fn show(id: &str, target: &Target) -> Result<(), CliError> {
    let device = target.connect().await?.call(Method::GET, &path(id)?, None).await?;
    print(target.json, &device, |out| {
        for (name, value) in device.as_object().into_iter().flatten() {
            if !TABLES.contains(&name.as_str()) {
                line(out, name, value)?;
            }
        }
        line(out, "seconds_in_state", &device["states"]["seconds"])?;
        let keys = device["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        writeln!(out)?;
        let row = |key: &Value| vec![text(&key["id"]), text(&key["state"])];
        table::print(out, &[("KEY", false), ("STATE", false)], keys.iter().map(row))?;
        writeln!(out)?;
        let span = |name: &&str| {
            let (latency, errors) = (&device["latency"][*name], &device["errors"][*name]);
            let mut row = vec![(*name).to_owned(), text(&latency["count"])];
            row.extend(["p50_us", "p90_us", "p99_us", "max_us"].map(|figure| milliseconds(&latency[figure])));
            row.push(text(errors));
            row
        };
        let columns = [
            ("LAST", false),
            ("ANSWERS", true),
            ("P50", true),
            ("P90", true),
            ("P99", true),
            ("MAX", true),
            ("ERRORS", false),
        ];
        table::print(out, &columns, ["minute", "hour", "day"].iter().map(span))?;
        match device["fault"].as_str() {
            Some(fault) => writeln!(out, "\nit is commanded to break down:\n{}", fault.trim_end()),
            None => Ok(()),
        }
    });
    Ok(())
}

/// Members of a device that are shown as tables.
const TABLES: [&str; 7] = ["keys", "fault", "latency", "errors", "states", "lane_figures", "self_test"];

/// `name  value`, and for an object a line for each of its members.
fn line(out: &mut dyn Write, name: &str, value: &Value) -> std::io::Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Object(parts) => {
            parts.iter().try_for_each(|(part, value)| line(out, &format!("{name}.{part}"), value))
        }
        value => writeln!(out, "{name:28}{}", table::plain(&text(value))),
    }
}

async fn replace(old: &str, new: &str, reason: &str, target: &Target) -> Result<(), CliError> {
    path(old)?; // a name, at least
    let body = json!({ "reason": reason, "old": old });
    let mut client = target.connect().await?;
    let answer = client.call(Method::POST, &format!("{}/replace", path(new)?), Some(&body)).await?;
    let keys = answer["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    print(target.json, &answer, |out| {
        let row = |key: &Value| ["key", "from", "error"].map(|field| text(&key[field])).to_vec();
        let columns = [("KEY", false), ("FROM", false), ("ERROR", false)];
        table::print(out, &columns, keys.iter().map(row))?;
        writeln!(out, "\n{new} is {} (audit entry {})", text(&answer["state"]), answer["audit_index"])
    });
    match keys.iter().find(|key| !key["error"].is_null()) {
        None => Ok(()),
        Some(key) => Err(CliError::NotDone(format!("{new} lacks {}", text(&key["key"])))),
    }
}

async fn history(
    id: &str,
    times: [(&str, Option<String>); 2],
    step: u64,
    target: &Target,
) -> Result<(), CliError> {
    let mut path = format!("{}/history?step={step}", path(id)?);
    for (name, time) in times {
        if let Some(time) = time {
            let encoded: String = time.bytes().map(|octet| format!("%{octet:02X}")).collect();
            path.push_str(&format!("&{name}={encoded}"));
        }
    }
    let answer = target.connect().await?.call(Method::GET, &path, None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("START", false),
            ("SECONDS", true),
            ("STATE", false),
            ("SIGNED", true),
            ("FAILED", true),
            ("P50", true),
            ("P99", true),
            ("MAX", true),
            ("LOAD", true),
            ("CRASHES", true),
            ("ERRORS", false),
        ];
        let row = |span: &Value| {
            let mut row = ["start", "seconds", "state", "signed", "failed"].map(|f| text(&span[f])).to_vec();
            row.extend(["p50_us", "p99_us", "max_us"].map(|figure| milliseconds(&span[figure])));
            row.extend(["max_load", "crashes"].map(|figure| text(&span[figure])));
            let errors = span["errors"].as_object().into_iter().flatten();
            row.push(errors.map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", "));
            row
        };
        let spans = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        table::print(out, &columns, spans.iter().map(row))
    });
    Ok(())
}

async fn self_test(act: &Act) -> Result<(), CliError> {
    let answer = act.send(&mut act.target.connect().await?, "self-test").await?;
    let test = &answer["self_test"];
    print(act.target.json, &answer, |out| {
        let checks = test["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let row = |check: &Value| ["name", "outcome", "detail"].map(|field| text(&check[field])).to_vec();
        let columns = [("CHECK", false), ("OUTCOME", false), ("DETAIL", false)];
        table::print(out, &columns, checks.iter().map(row))?;
        writeln!(out, "\n{} ms, audit entry {}", test["took_ms"], answer["audit_index"])
    });
    match test["passed"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(CliError::NotDone(format!("{} failed its self-test", act.id))),
    }
}

async fn fault(id: &str, change: Option<Value>, target: &Target) -> Result<(), CliError> {
    let mut client = target.connect().await?;
    let answer = match &change {
        Some(change) => client.call(Method::PUT, &format!("{}/fault", path(id)?), Some(change)).await?,
        None => {
            let device = client.call(Method::GET, &path(id)?, None).await?;
            json!({"id": id, "fault": device["fault"]})
        }
    };
    print(target.json, &answer, |out| match answer["fault"].as_str() {
        Some(fault) => writeln!(out, "{id} is commanded to break down:\n{}", fault.trim_end()),
        None => writeln!(out, "{id} has no fault"),
    });
    Ok(())
}

/// How often a drained device is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

async fn wait_until_empty(client: &mut Client, id: &str, end: Option<Instant>) -> Result<(), CliError> {
    let mut progress = Progress::new();
    loop {
        let device = client.call(Method::GET, &path(id)?, None).await?;
        let (state, load) = (text(&device["state"]), &device["load"]);
        progress.say(format!("{id}: {state}, {load} left"));
        match state.as_str() {
            "draining" => {}
            "maintenance" => return Ok(()),
            // Somebody put it back, or it broke down before it was empty.
            other => return Err(CliError::NotDone(format!("{id} is {other} and no longer draining"))),
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(CliError::NotDone(format!("{id} still has {load} to do")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn milliseconds(microseconds: &Value) -> String {
    microseconds.as_f64().map(|time| format!("{:.2} ms", time / 1_000.0)).unwrap_or_default()
}
