//! `load`: asks a running gateway for the same thing again and again and says how often, how fast and at what cost;
//! `load bench`: starts sites of its own and fills the benchmark's table. Over HTTP only; no crate of the gateway is
//! linked.

mod audit;
mod bench;
mod connection;
mod crash;
mod databases;
mod edge;
mod fault;
mod fleet;
mod generator;
mod histogram;
mod idle;
mod isolation;
mod process;
mod profile;
mod reference;
mod report;
mod soak;
mod softhsm;
mod stamps;
mod verify;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::generator::Plan;
use crate::profile::{Profile, Target};
use crate::reference::DirectSign;

/// The result of whatever can fail in this program; the message is for a person.
pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Load generator and benchmark for a license gateway.
#[derive(Parser)]
#[command(name = "load", args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    load: Option<LoadArguments>,
}

#[derive(Subcommand)]
enum Task {
    /// Measure everything this build can give, on sites of its own.
    Bench(bench::Options),
    /// Break devices under load, on a site of its own, and see that nothing wrong or lost comes of it.
    Soak(soak::Options),
    /// Kill the gateway under load again and again and see that nothing is lost or done twice.
    Crash(crash::Options),
    /// A bare HTTP server to compare with.
    #[command(hide = true)]
    Echo {
        #[arg(long)]
        answer_octets: usize,
    },
    #[command(hide = true)]
    DirectSign(DirectSign),
    /// P-256 verification with nothing around it.
    #[command(hide = true)]
    DirectVerify {
        #[arg(long)]
        seconds: f64,
    },
}

#[derive(Args)]
struct LoadArguments {
    /// What to ask for.
    #[arg(long)]
    profile: Profile,
    /// A running sandbox's `sandbox.json`: says the address, the API key, the process and a license.
    #[arg(long)]
    sandbox: Option<PathBuf>,
    /// `http://ADDRESS:PORT`
    #[arg(long, required_unless_present = "sandbox")]
    base_url: Option<String>,
    /// Shown as `x-api-key`.
    #[arg(long)]
    api_key: Option<String>,
    /// A license in PEM, for the profile `license`.
    #[arg(long)]
    license: Option<PathBuf>,
    /// The gateway's process, to tell what it and its workers cost.
    #[arg(long)]
    pid: Option<u32>,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Requests per second, due at fixed moments; without it each connection sends as soon as it is answered.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Seconds of load before measuring begins.
    #[arg(long, default_value_t = 1)]
    warm_up: u32,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (cli.task, cli.load) {
        (Some(Task::Bench(options)), _) => told_what_to_test().and_then(|()| bench::bench(&options)),
        (Some(Task::Soak(options)), _) => told_what_to_test().and_then(|()| soak::soak(&options)),
        (Some(Task::Crash(options)), _) => told_what_to_test().and_then(|()| crash::crash(&options)),
        (Some(Task::Echo { answer_octets }), _) => reference::echo(answer_octets),
        (Some(Task::DirectSign(order)), _) => reference::direct_sign(&order),
        (Some(Task::DirectVerify { seconds }), _) => reference::direct_verify(seconds),
        (None, Some(arguments)) => load(&arguments),
        (None, None) => Err("--profile or a subcommand is required; see --help".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "load: {error}"); // the exit code says it too
            ExitCode::FAILURE
        }
    }
}

/// One line on standard output; nobody reading it any more is no reason to fail.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A runtime of one thread; see `generator`.
pub(crate) fn runtime() -> Fallible<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn load(arguments: &LoadArguments) -> Fallible<()> {
    let mut target = match (&arguments.sandbox, &arguments.base_url) {
        (Some(file), _) => Target::of_sandbox(file)?,
        (None, Some(url)) => {
            Target { address: profile::address(url)?, api_key: String::new(), license: None, pid: None }
        }
        (None, None) => return Err("--base-url or --sandbox is required".into()),
    };
    if let (Some(url), Some(_)) = (&arguments.base_url, &arguments.sandbox) {
        target.address = profile::address(url)?;
    }
    if let Some(key) = &arguments.api_key {
        target.api_key.clone_from(key);
    }
    target.license = arguments.license.clone().or(target.license);
    target.pid = arguments.pid.or(target.pid);
    let connections = arguments.connections as usize;
    let measured = tokio::task::LocalSet::new().block_on(&runtime()?, async {
        let plan = Plan {
            address: target.address,
            request: arguments.profile.request(&target).await?,
            connections,
            warm_up: Duration::from_secs(arguments.warm_up.into()),
            duration: Duration::from_secs(arguments.seconds.into()),
            rate: arguments.rate.map(f64::from),
            pid: target.pid,
        };
        Fallible::Ok(generator::run(plan, None).await?)
    })?;
    if arguments.json {
        let mut value = measured.json();
        value["profile"] = json!(arguments.profile.name());
        value["connections"] = json!(connections);
        value["rate"] = json!(arguments.rate);
        say(&value.to_string());
        return Ok(());
    }
    say(&report::run_heading());
    say(&report::run_line(&arguments.profile.name(), connections, &measured));
    if let Some(after) = &measured.after {
        for process in std::iter::once(&after.root).chain(&after.children) {
            let (now, peak) = (process.resident >> 10, process.peak >> 10);
            say(&format!(
                "{:<10} pid {:<8} resident {now} MiB, at most {peak} MiB",
                process.name, process.pid
            ));
        }
    }
    Ok(())
}

/// The harness looks beside the test executables' folder; this program lies beside the gateway itself. So unless it
/// was told what to test, it starts over with the paths in its environment.
#[expect(clippy::disallowed_methods, reason = "main may read the environment")]
fn told_what_to_test() -> Fallible<()> {
    let executable = std::env::current_exe()?;
    let things = [("LICENSE_GATEWAY_BIN", "license-gateway"), ("HSM_SIM_MODULE", "libhsm_sim.so")];
    let untold: Vec<_> = things.iter().filter(|(name, _)| std::env::var(name).is_err()).collect();
    if untold.is_empty() {
        return Ok(());
    }
    let mut again = Command::new(&executable);
    again.args(std::env::args_os().skip(1));
    for (name, file) in untold {
        let path = executable.with_file_name(file);
        if !path.is_file() {
            return Err(format!("{} is not there: build it, or set {name}", path.display()).into());
        }
        again.env(name, path);
    }
    Err(again.exec().into())
}
